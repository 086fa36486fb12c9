"""Estimated marginal means: expected values at chosen levels, averaged evenly over all others.

Pairwise comparisons are adjusted for their number.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from skmixed.core.families.ordinal import Cumulative
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.fixed_part import FixedPart
from skmixed.inference.fitted import (
    MixedFit,
    design_of,
    formula_of,
    mixed_fit_of,
    snapshot,
    threshold_names,
)
from skmixed.inference.fixed_effects.coefficients import function_frame, with_interval
from skmixed.inference.fixed_effects.ratios import exponentiated, ratio_name, ratio_note
from skmixed.inference.fixed_effects.response_means import (
    INVERSE_LINK_NOTE,
    NOTE,
    SHARES_NOTE,
    ResponseMeans,
    inverse_link_means,
)
from skmixed.inference.fixed_effects.robust import RobustCovariance
from skmixed.inference.fixed_effects.testing import (
    CoefficientTests,
    DfMethod,
    check_probability,
    is_determined,
    t_quantiles,
)
from skmixed.inference.table import Table, TabularResult


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MarginalMeans(TabularResult):
    """Estimated marginal means at combinations of levels.

    Parameters
    ----------
    table : Table
        A row for each combination, with its interval and the test that it is zero.
    functions : ndarray of shape (m, n_fixed)
        The means as linear functions of the coefficients; on a nonlinear response scale, their
        derivatives.

    See Also
    --------
    marginal_means : The function that returns it.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import marginal_means
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> marginal_means(model, "Days", at={"Days": [0, 9]}).pairs().to_frame()["estimate"].round(1)
    0 - 9   -94.2
    Name: estimate, dtype: float64
    """

    table: Table
    functions: FloatArray
    _compare: Callable[[IntArray, list[str]], pd.DataFrame]  # (r, 2), pairs of means, and names
    _level: float
    _categories: tuple[str, ...] = ()  # whose probabilities the rows of a combination are
    _ratios: str | None = None  # name of exponentiated differences, if shown

    def _table(self) -> Table:
        return self.table

    def pairs(self, adjust: Adjustment | None = None, *, within: str | Sequence[str] = ()) -> Table:
        """Compare all pairs of means; for ordered categories, within each category.

        Parameters
        ----------
        adjust : {"tukey", "bonferroni", "holm"} or None, default=None
            Adjustment of p-values and intervals for multiple comparisons. None makes none, as in
            lmerTest; emmeans defaults to "tukey".
        within : str or list of str, default=()
            Variables whose levels the two means must share, such as the visit when treatments are
            compared visit by visit. Adjustments are made separately for each combination of these
            levels, as after ``|`` in emmeans.

        Returns
        -------
        Table
            The first minus the second mean of each pair, in the order of the rows. With
            ``scale="inverse-link"`` their ratio, on the scale on which differences of linear
            predictors are ratios, such as odds ratios with the link "logit", as in emmeans.

        Raises
        ------
        ValueError
            For an unknown adjustment, or a variable that the means do not have.

        Notes
        -----
        "tukey" is exact for independent means with equal variances [1]_. "holm" has smaller
        p-values than "bonferroni" with the same guarantee, and the intervals of the latter.

        References
        ----------
        .. [1] Hochberg, Y. & Tamhane, A. C. (1987). Multiple comparison procedures. Wiley,
           :doi:`10.1002/9780470316672`, chapters 2 and 3.
        """
        index = self.table.frame.index
        names, n_each = [_label(label) for label in index], max(1, len(self._categories))
        shared = [within] if isinstance(within, str) else list(within)
        found, note = [], ""
        for means in _sharing(index[::n_each], shared):
            pairs = [
                (i * n_each + category, j * n_each + category)
                for i, j in itertools.combinations(means, 2)
                for category in range(n_each)
            ]
            sign = "-" if self._ratios is None else "/"
            labels = [f"{names[i]} {sign} {names[j]}" for i, j in pairs]
            frame = self._compare(np.reshape(pairs, (-1, 2)).astype(np.intp), labels)
            adjusted, note = adjusted_pairs(frame, len(means), self._level, adjust)
            found.append(adjusted)
        notes = [*self.table.notes, note]
        if shared and adjust is not None:
            notes.append(f"Adjusted separately for each {', '.join(shared)}.")
        frame, title = pd.concat(found), f"{self.table.title[:1].lower()}{self.table.title[1:]}"
        if self._ratios is None:
            return Table(f"Differences of {title}", frame, tuple(notes))
        notes[0] = ratio_note(self._ratios)
        return Table(f"{self._ratios} of {title}", exponentiated(frame), tuple(notes))


def _sharing(index: pd.Index[Any], shared: list[str]) -> list[list[int]]:
    """Return the positions of the means, (m,), grouped by the levels of some variables."""
    unknown = [name for name in shared if name not in index.names]
    if unknown:
        raise ValueError(f"the means have the variables {list(index.names)}, not {unknown}")
    if not shared:
        return [list(range(len(index)))]
    levels = list(zip(*[index.get_level_values(name) for name in shared], strict=True))
    places: dict[Any, list[int]] = {}
    for place, level in enumerate(levels):
        places.setdefault(level, []).append(place)
    return list(places.values())


def marginal_means(
    model: Any,
    specs: str | Sequence[str],
    *,
    at: Mapping[str, Any] | None = None,
    df: DfMethod = "auto",
    level: float = 0.95,
    covariance: RobustCovariance | None = None,
    scale: Literal["link", "response", "inverse-link"] = "link",
    offset: float | Literal["mean"] = 0.0,
) -> MarginalMeans:
    """Compute estimated marginal means at the levels of factors, averaged over other factors.

    Also known as least-squares means; their ``pairs()`` are pairwise contrasts. To test whether the
    means differ at all use `anova`, for other contrasts `linear_hypothesis`.

    Read more in the user guide: :doc:`/guide/inference`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    specs : str or list of str
        Variables at whose levels the means are computed.
    at : mapping of str to value or list of values, default=None
        Values of variables: one or several for those in `specs`, one for others. By default a
        categorical variable takes all its levels and a numeric variable its mean.
    df : {"auto", "satterthwaite", "kenward-roger", "residual", "normal"}, default="auto"
        Method for the degrees of freedom; see `coefficient_table`.
    level : float, default=0.95
        Confidence level of the intervals, between 0 and 1.
    covariance : RobustCovariance or None, default=None
        Result of `robust_covariance`, for cluster-robust standard errors; None uses the model-based
        covariance.
    scale : {"link", "response", "inverse-link"}, default="link"
        Scale of the means of a generalized model; it makes no difference for a linear one. "link":
        the linear predictor, for ordered categories relative to the first threshold. "response":
        the response averaged over groups, as ``predict(X, random="none")``; for ordered categories
        the probability of each, a row each. "inverse-link": the inverse link of the linear
        predictor and its limits, with random effects of zero: ``type = "response"`` of emmeans,
        whose ``pairs()`` are odds ratios, or rate ratios for counts.
    offset : float or "mean", default=0.0
        Value added to the linear predictors of a model with offsets or exposures; 0 gives rates,
        "mean" uses the mean offset of the training data.

    Returns
    -------
    MarginalMeans
        A row for each combination; columns estimate, std_error, df, statistic, p_value, lower and
        upper, without the test that the mean is zero on a nonlinear response scale. Means that are
        not estimable, such as those at combinations of levels without data, are NaN.

    Raises
    ------
    ValueError
        For variables that are not in the fixed part, and for a numeric variable that enters only
        within a transformation, whose mean is not stored: give its value in `at`. With
        scale="response" also for random slopes of columns that are not in the fixed part.

    See Also
    --------
    anova : Tests of the factors.
    linear_hypothesis : Other contrasts.

    Notes
    -----
    In R: ``emmeans(model, specs)``, or ``ls_means`` of lmerTest. The means are those of the
    population. On the link scale the random effects are zero; with scale="response" they are
    averaged over. ``scale="inverse-link"`` back-transforms the mean on the link scale, which gives
    the mean of a typical group; it is more extreme than the mean over all groups. With
    scale="response" levels of other factors are averaged on the response scale, standard errors
    include the uncertainty of the variances, and intervals are symmetric on the link scale.

    Offsets are zero unless `offset` is set; emmeans adds their mean. Weights count in the mean of a
    numeric variable, except for trials of proportions, which count as one row each, as in emmeans.

    References
    ----------
    .. [1] Searle, S. R., Speed, F. M. & Milliken, G. A. (1980). Population marginal means in the
       linear model: an alternative to least squares means. The American Statistician 34, 216-221,
       :doi:`10.1080/00031305.1980.10483031`, section 2.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import marginal_means
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> marginal_means(model, "Days", at={"Days": [0, 9]}).to_frame()[["estimate", "df"]].round(1)
          estimate    df
    Days
    0        251.4  17.0
    9        345.6  17.0
    """
    model = snapshot(model)
    tests = CoefficientTests.of(model, df, covariance)
    design = design_of(model)
    wanted = [specs] if isinstance(specs, str) else list(specs)
    if scale not in ("link", "response", "inverse-link"):
        raise ValueError(f"scale={scale!r} is not one of 'link', 'response', 'inverse-link'")
    fit, title = tests.fit, f"Estimated marginal means: {formula_of(model)}"
    grid = _grid(mixed_fit_of(model), design.fixed_design.part, wanted, dict(at or {}))
    rows = design.fixed_design.matrix(grid.reset_index(drop=True))
    weights, labels = _shares(grid, wanted)
    functions = weights @ rows
    unknown = ~is_determined(fit, functions)
    functions[unknown] = np.nan
    shift, said = _offset(model, offset)
    held = [*_fixed_numbers(design.fixed_design.part, grid, wanted), *said]
    if scale == "response" and isinstance(fit, GeneralizedFit):
        check_probability(level)
        response = ResponseMeans.of(fit, tests.joint_covariance, rows, weights, unknown, shift)
        categories = fit.family.category_names if isinstance(fit.family, Cumulative) else ()
        if categories:
            labels = _by_category(labels, categories)
        note = SHARES_NOTE if categories else NOTE
        notes = (note, *held) if covariance is None else (note, covariance._note(), *held)
        table = Table(title, response.table(labels, level), notes)
        slopes = response.slopes[:, : rows.shape[1]]
        return MarginalMeans(table, slopes, response.differences, level, categories)
    if threshold_names(fit):
        held = [f"Linear predictors minus the first threshold, {threshold_names(fit)[0]}.", *held]
    frame = function_frame(tests, functions, labels, np.full(len(functions), -shift))
    frame = with_interval(frame.assign(estimate=frame["estimate"] + shift), level)
    note, ratios = tests.note, None
    if scale == "inverse-link" and isinstance(fit, GeneralizedFit):
        if threshold_names(fit):
            raise ValueError(
                "scale='inverse-link' is a mean, which ordered categories do not have: use "
                "scale='response', their probabilities, or coefficient_table(exponentiate=True)"
            )
        frame, note, ratios = inverse_link_means(frame, fit), INVERSE_LINK_NOTE, ratio_name(fit)
    return MarginalMeans(
        Table(title, frame, (note, *held)),
        functions,
        lambda pairs, names: function_frame(
            tests, functions[pairs[:, 0]] - functions[pairs[:, 1]], names
        ),
        level,
        _ratios=ratios,
    )


def _offset(model: Any, offset: Any) -> tuple[float, list[str]]:
    """Return the value added to linear predictors, and notes about it."""
    mean = getattr(model._fitted, "mean_offset", None)
    if isinstance(offset, str) and offset == "mean":
        if mean is None:
            raise ValueError(
                "offset='mean' needs the mean offset of the training data, which this model does "
                "not have, because it has no offsets or was fitted in parts: give a number"
            )
        offset = mean
    if not isinstance(offset, Real) or not np.isfinite(float(offset)):
        raise ValueError(f"offset={offset!r} is neither a finite number nor 'mean'")
    if offset:
        return float(offset), [f"An offset of {float(offset):.6g} is included."]
    has_offsets = mean is not None or bool(model.design_.offsets)
    return 0.0, ["Offsets are zero."] if has_offsets else []


def _grid(fit: MixedFit, part: FixedPart, wanted: list[str], at: dict[str, Any]) -> pd.DataFrame:
    """Return every combination of levels and values."""
    known = [*part.levels, *part.numbers]
    unknown = [name for name in (*wanted, *at) if name not in known]
    if unknown or not wanted:
        raise ValueError(
            f"specs and at name {unknown or 'no variables'}: the fixed part has the variables "
            f"{known}"
        )
    values = {}
    for name in known:
        values[name] = _values(fit, part, name, at)
        if name not in wanted and name in part.numbers and len(values[name]) > 1:
            raise ValueError(f"at gives {name!r} several values: add it to specs, or give one")
    combinations = pd.MultiIndex.from_product(list(values.values()), names=list(values))
    return combinations.to_frame()


def _values(fit: MixedFit, part: FixedPart, name: str, at: dict[str, Any]) -> list[Any]:
    if name in at:
        given = at[name]
        chosen = [given] if isinstance(given, str) or np.ndim(given) == 0 else list(given)
        missing = [
            value for value in chosen if name in part.levels and value not in part.levels[name]
        ]
        if missing or not chosen:
            raise ValueError(f"{name!r} has no levels {missing}; it has {list(part.levels[name])}")
        return chosen
    if name in part.levels:
        return list(part.levels[name])
    columns = fit.products.layout.columns
    if name not in columns:
        raise ValueError(
            f"the mean of {name!r} is not known, because it enters the model only within a "
            f"transformation: give a value, at={{{name!r}: ...}}"
        )
    return [_mean(fit, columns.index(name))]


def _mean(fit: MixedFit, place: int) -> float:
    """Return the weighted mean of a column."""
    products = fit.row_products or fit.products
    means, _ = products.moments(np.eye(len(products.basis))[:, [place]])
    return float(means[0])


def _shares(grid: pd.DataFrame, wanted: list[str]) -> tuple[FloatArray, pd.Index[Any]]:
    """Return the weights of the rows of the grid in the mean of each combination, (m, n)."""
    rows = grid.reset_index(drop=True).groupby(
        [grid[name].to_numpy() for name in wanted], sort=False
    )
    numbers = rows.ngroup().to_numpy()
    index = rows.size().index
    index.names = wanted
    chosen = numbers == np.arange(len(index))[:, None]
    return chosen / chosen.sum(axis=1, keepdims=True), index


def _by_category(labels: pd.Index[Any], categories: tuple[str, ...]) -> pd.MultiIndex:
    """Return labels of combinations, (m,), crossed with all categories, (m J,)."""
    tuples = [label if isinstance(label, tuple) else (label,) for label in labels]
    names = [*labels.names, "category"]
    return pd.MultiIndex.from_tuples(
        [(*label, category) for label in tuples for category in categories], names=names
    )


def _fixed_numbers(part: FixedPart, grid: pd.DataFrame, wanted: list[str]) -> list[str]:
    held = [f"{name} = {grid[name].iloc[0]:.6g}" for name in part.numbers if name not in wanted]
    return [f"At {', '.join(held)}."] if held else []


def _label(label: Any) -> str:
    return ", ".join(map(str, label)) if isinstance(label, tuple) else str(label)


Adjustment = Literal["tukey", "bonferroni", "holm"]

_ADJUSTMENT_NOTES = {
    None: "p-values and intervals are not adjusted for multiple comparisons.",
    "tukey": "p-values and intervals: Tukey's method for {n_means} means.",
    "bonferroni": "p-values and intervals: Bonferroni's method for {n_pairs} comparisons.",
    "holm": "p-values: Holm's method for {n_pairs} comparisons; intervals: Bonferroni's.",
}
_INFINITE_DF = 1e5  # from here on scipy takes the studentized range as that of infinite df


def adjusted_pairs(
    frame: pd.DataFrame, n_means: int, level: float, adjust: Adjustment | None
) -> tuple[pd.DataFrame, str]:
    """Adjust p-values of differences, add their intervals, and describe the method in a note.

    `frame` has estimate, std_error, df, statistic and p_value of each difference between two of
    `n_means` means; those whose p-value is NaN do not count. `level` is the probability that all
    intervals hold jointly; without an adjustment, that each does. Raises ValueError for an unknown
    method.
    """
    if adjust not in _ADJUSTMENT_NOTES:
        allowed = ", ".join(repr(name) for name in _ADJUSTMENT_NOTES)
        raise ValueError(f"adjust={adjust!r} is not one of {allowed}")
    df = frame["df"].to_numpy(dtype=float)
    p_value = frame["p_value"].to_numpy(dtype=float)
    known = np.isfinite(p_value)
    n_pairs = int(known.sum())
    quantile = t_quantiles(level if adjust is None else 1.0 - (1.0 - level) / max(n_pairs, 1), df)
    if adjust == "tukey":
        finite = np.minimum(df, _INFINITE_DF)
        spread = np.sqrt(2.0) * np.abs(frame["statistic"].to_numpy(dtype=float))
        p_value = np.asarray(stats.studentized_range.sf(spread, n_means, finite))
        quantile = np.asarray(stats.studentized_range.isf(1.0 - level, n_means, finite))
        quantile = quantile / np.sqrt(2.0)
    elif adjust == "bonferroni":
        p_value = np.minimum(n_pairs * p_value, 1.0)
    elif adjust == "holm":
        p_value = _holm(p_value)
    half = quantile * frame["std_error"]
    lower, upper = frame["estimate"] - half, frame["estimate"] + half
    note = _ADJUSTMENT_NOTES[adjust].format(n_means=n_means, n_pairs=n_pairs)
    return frame.assign(p_value=p_value, lower=lower, upper=upper), note


def _holm(p_value: FloatArray) -> FloatArray:
    """Return the p-values of Holm's step-down method; NaN stays and does not count."""
    result = np.full(len(p_value), np.nan)
    order = np.argsort(p_value)[: int(np.isfinite(p_value).sum())]
    steps = np.arange(len(order), 0, -1) * p_value[order]
    result[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return result
