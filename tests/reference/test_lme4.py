"""Every linear mixed model of the reference set, compared with lme4.

The committed figures are always compared with, the whole set where it is present
(tests/reference_set.py says where). One test per fit; it collects every disagreement before it
fails, so that one run shows the whole picture.
"""

import re
import warnings

import numpy as np
import pandas as pd
import pytest

import skmixed
from tests import reference_set

# At a fixed theta nothing is searched for: only rounding separates the two programs.
FIXED_THETA = 1e-9
# The criterion at the optimum may be below the reference, or above it by this much.
ABOVE_OPTIMUM = 1e-6
# The criterion is flat at the optimum: an excess of 1e-10 in it moves estimates by about 1e-5 of
# their natural unit (the element itself; for effects and covariances the standard deviations).
ESTIMATES = 1e-5
# Entries of theta, against the largest of them.
THETA = 1e-4
# A column whose standard deviation is 0, or nearly, has this much of sigma for its unit.
SMALLEST_UNIT = 1e-4

# Models whose criterion is exactly flat in the variance of a factor that is also a fixed
# effect: that variance, what rests on it, and the standard errors are arbitrary.
FLAT_FACTORS = {"cake_crossed_sing_reml": {"recipe"}}


class Comparison:
    """Collects disagreements between a fitted model and the figures of R."""

    def __init__(self):
        self.disagreements = []

    def close(self, what, ours, theirs, unit=None, tol=ESTIMATES):
        """Ask that each |ours - theirs| be at most tol units (by default |theirs|).

        NaN among theirs marks what R does not report.
        """
        ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
        if ours.shape != theirs.shape:
            self.disagreements.append(f"{what}: shape {ours.shape}, in R {theirs.shape}")
            return
        unit = np.broadcast_to(np.abs(theirs) if unit is None else unit, theirs.shape)
        bad = ~(np.abs(ours - theirs) <= tol * unit) & ~np.isnan(theirs)
        if bad.any():
            error = np.max(np.abs(ours - theirs)[bad] / unit[bad])
            self.disagreements.append(
                f"{what}: {bad.sum()} of {bad.size} differ, by up to {error:.2e} units; first "
                f"{ours[bad][0]!r}, in R {theirs[bad][0]!r}"
            )

    def that(self, what, holds):
        """Ask that a statement hold."""
        if not holds:
            self.disagreements.append(what)


def python_formula(formula, columns):
    """Write R's formula as ours: powers are **, dotted names stand in backticks."""
    dotted = {name for name in columns if "." in name}
    quoted = re.sub(r"[A-Za-z][\w.]*", lambda m: f"`{m[0]}`" if m[0] in dotted else m[0], formula)
    return quoted.replace("^", "**")


def compare_fixed_theta(comparison, model, figures):
    for point in figures["devfun_points"]:
        comparison.close(
            f"criterion at theta '{point['which']}'",
            model.fit_.criterion_at(np.asarray(point["theta"], dtype=float)),
            point["value"],
            tol=FIXED_THETA,
        )


def compare_criterion(comparison, model, figures):
    excess = model.criterion_ - figures["criterion"]
    comparison.that(f"criterion is {excess:.2e} above R's", excess <= ABOVE_OPTIMUM)
    comparison.that(f"criterion is {-excess:.2e} below R's", excess >= -1e-4)
    comparison.close("aic", model.aic_, figures["AIC"])
    comparison.close("bic", model.bic_, figures["BIC"])
    singular = figures["is_singular"] or figures["name"] in FLAT_FACTORS
    comparison.that(
        f"is_singular_ is {model.is_singular_}",
        bool(model.is_singular_) == figures["is_singular"] or figures["name"] in FLAT_FACTORS,
    )
    if not singular:
        largest = np.max(np.abs(figures["theta"]))
        comparison.close("theta", model.theta_, figures["theta"], largest, THETA)


def compare_fixed_effects(comparison, model, figures):
    covariance = model.coef_covariance_
    beta = np.asarray(model.coef_, dtype=float)
    if "(Intercept)" in covariance.index:
        beta = np.concatenate([[model.intercept_], beta])
    error = np.sqrt(np.diag(covariance.to_numpy()))
    if figures["dropped_columns"]:
        kept = beta != 0.0
        comparison.that(
            f"{(~kept).sum()} coefficients are 0, R dropped {figures['dropped_columns']}",
            (~kept).sum() == len(figures["dropped_columns"]),
        )
        beta, error = beta[kept], error[kept]
    theirs = np.array(list(figures["fixef"].values()))
    errors = np.array(list(figures["fixef_se"].values()))
    comparison.close("fixed effects", beta, theirs, np.maximum(np.abs(theirs), errors))
    if figures["name"] not in FLAT_FACTORS:
        comparison.close("standard errors", error, errors)


def units(covariance, sigma):
    """Standard deviations of the random columns of one factor, kept off zero."""
    return np.maximum(np.sqrt(np.diag(covariance)), SMALLEST_UNIT * sigma)


def compare_random_part(comparison, model, figures):
    sigma = figures["sigma"]
    comparison.close("sigma", np.sqrt(model.residual_variance_), sigma)
    names = set(model.random_effects_)
    comparison.that(f"the factors are {names}", names == set(figures["ranef"]))
    flat = FLAT_FACTORS.get(figures["name"], set())
    for factor in (names & set(figures["ranef"])) - flat:
        covariance = np.array(figures["covariance"][factor])
        unit = units(covariance, sigma)
        comparison.close(
            f"covariance of {factor}",
            model.random_covariance_[factor].to_numpy(),
            covariance,
            np.outer(unit, unit),
        )
        compare_effects(comparison, model, factor, figures["ranef"][factor], unit)
        if not flat:
            compare_conditional_variances(comparison, model, factor, figures, unit)


def compare_effects(comparison, model, factor, theirs, unit):
    ours = model.random_effects_[factor]
    labels = level_labels(ours.index)
    comparison.that(f"{factor} has {len(labels)} levels", len(labels) == theirs["n_levels"])
    missing = [level for level in theirs["levels"] if level not in labels]
    comparison.that(f"{factor} lacks the levels {missing[:5]}", not missing)
    if missing:
        return
    rows = [labels[level] for level in theirs["levels"]]
    comparison.close(f"effects of {factor}", ours.to_numpy()[rows], theirs["values"], unit)
    # R lists 20 levels of a large factor, and this sum over all of them.
    square = np.array(theirs["sum_sq"])
    floor = len(labels) * unit**2
    comparison.close(
        f"sum of squared effects of {factor}",
        (ours.to_numpy() ** 2).sum(axis=0),
        square,
        np.maximum(square, floor),
    )


def compare_conditional_variances(comparison, model, factor, figures, unit):
    theirs = figures["ranef"][factor]
    labels = level_labels(model.random_effects_[factor].index)
    rows = [labels[level] for level in theirs["levels"]]
    comparison.close(
        f"conditional variances of {factor}",
        np.asarray(model.random_effects_covariance_[factor])[rows],
        np.array(theirs["postVar"], dtype=float),
        np.outer(unit, unit),
    )


def level_labels(index):
    """Position of every level by R's label, which joins the parts of a compound one by ':'."""
    parts = [label if isinstance(label, tuple) else (label,) for label in index]
    return {":".join(str(part) for part in label): i for i, label in enumerate(parts)}


def compare_predictions(comparison, model, figures):
    predict = figures["predict"]
    frame = reference_set.ordered(pd.DataFrame(predict["newdata"]), figures["factor_levels"])
    unit = np.maximum(np.abs(predict["conditional"]), figures["sigma"])
    replaced = [new["factor"] for new in predict["new_level"]]

    def compare(what, theirs, frame=frame, **kwargs):
        comparison.close(f"prediction, {what}", model.predict(frame, **kwargs), theirs, unit)

    compare("all effects", predict["conditional"])
    compare("population", predict["re_form_NA"], random="none")
    for factor, values in predict["single_factors"].items():
        compare(f"{factor} alone", values, random=[factor])
    for new in predict["new_level"]:
        changed = frame.assign(**{new["factor"]: new["new_value"]})
        compare(f"new level of {new['factor']}", new["values"], changed)
    if predict["all_new_levels"]:
        changed = frame.assign(**dict.fromkeys(replaced, "__new__"))
        compare("new levels everywhere", predict["all_new_levels"], changed)


def compare_with_lme4(figures, table):
    data, weights = reference_set.model_data(figures, table)
    formula = python_formula(figures["formula"], data.columns)
    comparison = Comparison()
    with warnings.catch_warnings():
        # Singular and rank-deficient fits warn, rightly; that is tested elsewhere.
        warnings.simplefilter("ignore")
        model = skmixed.lmer(formula, data, reml=figures["REML"], weights=weights)
        compare_fixed_theta(comparison, model, figures)
        compare_criterion(comparison, model, figures)
        compare_fixed_effects(comparison, model, figures)
        compare_random_part(comparison, model, figures)
        compare_predictions(comparison, model, figures)
    assert not comparison.disagreements, "\n".join([formula, *comparison.disagreements])


def cases():
    """All committed fits, then what the whole set has besides, or one skip for its absence."""
    committed = reference_set.committed_names()
    others = [name for name in reference_set.whole_set_names() if name not in committed]
    if not others:
        others = [pytest.param("whole-set", marks=reference_set.needs_whole_set)]
    return committed + others


@pytest.mark.parametrize("name", cases())
def test_lme4(name):
    if name in reference_set.committed_names():
        figures = reference_set.committed_figures(name)
        table = reference_set.committed_table(figures["dataset"])
    else:
        figures = reference_set.whole_set_figures(name)
        table = reference_set.whole_set_table(figures["dataset"])
    compare_with_lme4(figures, table)


@reference_set.needs_whole_set
def test_committed_figures_are_those_of_the_whole_set():
    for name in reference_set.committed_names():
        figures = reference_set.committed_figures(name)
        assert figures == reference_set.whole_set_figures(name)
        table = reference_set.committed_table(figures["dataset"])
        theirs = reference_set.whole_set_table(figures["dataset"])
        for column in table:
            assert table[column].tolist() == theirs[column].tolist()
