"""Tests, intervals and comparisons against lmerTest, pbkrtest and lme4.

The committed figures are always compared with, the whole set where it is present.
"""

import json
import re
import warnings

import numpy as np
import pytest

import skmixed
from skmixed import inference
from skmixed.inference.conditional_aic import effective_parameters
from tests import reference_set
from tests.reference.test_lme4 import FLAT_FACTORS, python_formula

# lmerTest differences its derivatives numerically; ours are exact for one factor.
SATTERTHWAITE = 1e-4
# pbkrtest has the same formulas; what is left is where the two searches ended.
KENWARD_ROGER = 1e-6
STATISTIC = 1e-5
# Limits of the likelihood ratio, relative to the width of the interval: by root finding, and as
# lme4 interpolates them.
EXACT_LIMITS, SPLINE_LIMITS = 1e-5, 2e-3
WALD_LIMITS = 1e-5
SHARES = 1e-6
# Precision weights: lmerTest takes unweighted sums of squares for its sequential hypotheses.
UNWEIGHTED_IN_R = {"cbpp_lmm_w_ml", "cbpp_lmm_w_reml"}
# Columns that repeat others: types II and III say that they add nothing, R tests what it has kept.
DEPENDENT = {"sleep_rankdef_reml", "sleep_rankdef_ml"}
# Degrees of several restrictions: those of lmerTest vary by so much with the contrasts that state
# them, and here they do not.
JOINT = 5e-3
# Profiles of large data sets, and of many parameters, take seconds each and show nothing new.
FEW_ROWS = 5000

NAMES = reference_set.inference_names()


@pytest.fixture(scope="module")
def fitted():
    """Return a function that fits a model of the set, once."""
    known = {}

    def get(name):
        if name not in known:
            known.clear()
            figures = reference_set.inference_figures(name)
            table, weights = reference_set.model_data(
                figures, reference_set.table(figures["dataset"])
            )
            formula = python_formula(figures["formula"], table.columns)
            with warnings.catch_warnings():
                if name in FLAT_FACTORS:
                    warnings.simplefilter("ignore")
                model = skmixed.lmer(formula, table, reml=figures["REML"], weights=weights)
            known[name] = model, figures
        return known[name]

    return get


def figures_of(table, columns):
    """Columns of a table of R as numbers, rows of what it does not report left out."""
    places = [table["columns"].index(column) for column in columns]
    values = np.array(table["values"], dtype=float).reshape(-1, len(table["columns"]))
    values = values[:, places]
    return values[~np.isnan(values).any(axis=1)]


def assert_close(ours, theirs, tol):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=tol, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FLAT_FACTORS])
def test_tests_of_coefficients_and_terms(name, fitted):
    model, figures = fitted(name)
    for df, theirs, tol in [
        ("satterthwaite", (figures["lmerTest"] or {}).get("satterthwaite"), SATTERTHWAITE),
        ("kenward-roger", (figures["kenward_roger"] or {}).get("coefficients"), KENWARD_ROGER),
    ]:
        if theirs:
            ours = inference.coefficient_table(model, df=df).to_frame().dropna()
            wanted = figures_of(theirs, ["Estimate", "Std. Error", "df", "t value"])
            ours = ours[["estimate", "std_error", "df", "statistic"]].to_numpy()
            if not model.is_singular_:
                assert_close(ours[:, 2], wanted[:, 2], tol)
            assert_close(ours[:, 1], wanted[:, 1], STATISTIC)
    tests = [
        (type, "satterthwaite", (figures["lmerTest"] or {}).get(f"anova_type{type}"), SATTERTHWAITE)
        for type in (["I"] if name in DEPENDENT else ["I", "II", "III"])
    ]
    adjusted = None
    if name not in DEPENDENT:
        adjusted = (figures["kenward_roger"] or {}).get("anova_typeIII")
    for type, df, theirs, tol in [*tests, ("III", "kenward-roger", adjusted, KENWARD_ROGER)]:
        if theirs and theirs["values"]:
            ours = inference.anova(model, type, df=df).to_frame().dropna()
            wanted = figures_of(theirs, ["NumDF", "DenDF", "F value"])
            tol = 2e-3 if name in UNWEIGHTED_IN_R else tol
            assert_close(ours["num_df"].to_numpy(), wanted[:, 0], 0.0)
            single = wanted[:, 0] == 1 if df == "satterthwaite" else np.ones(len(wanted), bool)
            assert_close(ours["df"].to_numpy()[single], wanted[single, 1], tol)
            assert_close(ours["df"].to_numpy(), wanted[:, 1], max(tol, JOINT))
            assert_close(ours["statistic"].to_numpy(), wanted[:, 2], STATISTIC)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FLAT_FACTORS])
def test_reductions_of_random_terms(name, fitted):
    model, figures = fitted(name)
    theirs = (figures["lmerTest"] or {}).get("ranova")
    if not theirs:
        return
    ours = inference.ranova(model).to_frame()
    columns = ["n_parameters", "log_likelihood", "aic", "statistic", "df", "p_value"]
    got = ours[columns].to_numpy()
    wanted = np.array(theirs["values"], dtype=float)
    assert got.shape == wanted.shape
    # R lists terms by number of levels, we in the order of the formula; ties by the statistic.
    order = [np.lexsort((np.round(v[1:, 3], 4), np.round(v[1:, 1], 4))) + 1 for v in (got, wanted)]
    np.testing.assert_allclose(got[0, :3], wanted[0, :3], rtol=1e-8)
    np.testing.assert_allclose(got[order[0]], wanted[order[1]], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_wald_intervals(name, fitted):
    model, figures = fitted(name)
    if name in FLAT_FACTORS:
        return
    theirs = np.array(figures["confint_wald"]["values"], dtype=float)
    ours = inference.confidence_intervals(model, df="normal").to_frame().tail(len(theirs))
    width = np.ptp(theirs, axis=1)[:, None]
    assert np.max(np.abs(ours[["lower", "upper"]].to_numpy() - theirs) / width) < WALD_LIMITS


@pytest.mark.parametrize("name", NAMES)
def test_profile_intervals(name, fitted):
    model, figures = fitted(name)
    exact = (figures["confint_profile_exact"] or {}).get("limits", {})
    spline = figures["confint_profile"] or {"rows": [], "values": []}
    if model.fit_.products.n_rows > FEW_ROWS or not (exact or spline["rows"]):
        return
    ours = inference.confidence_intervals(model, method="profile").to_frame()
    compare_limits(ours, dict(zip(spline["rows"], spline["values"], strict=True)), SPLINE_LIMITS)
    compare_limits(ours, exact, EXACT_LIMITS)


def compare_limits(ours, theirs, tol):
    """Compare by name, ours being the same up to the spelling of factors and columns."""
    known = {plain(name): ours.loc[name, ["lower", "upper"]] for name in ours.index}
    for name, limits in theirs.items():
        wanted = np.array([np.nan if limit is None else limit for limit in limits], dtype=float)
        mine = known[plain(name)].to_numpy(dtype=float)
        error = np.abs(mine - wanted)[~np.isnan(wanted)]
        assert np.all(error <= tol * np.ptp(mine)), f"{name}: {mine}, in R {wanted}"


def plain(name):
    """Write a parameter without what R and we spell differently."""
    name = re.sub(r"\[(?:T\.)?([^]]*)\]", r"\1", name.removeprefix("beta_"))
    column, bar, factor = name.partition("|")
    factor = re.sub(r"\.\d+$", "", factor)
    return column + bar + ":".join(sorted(factor.split(":")))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FLAT_FACTORS])
def test_parts_of_the_variance(name, fitted):
    model, figures = fitted(name)
    if figures["effective_parameters"]:
        omegas = [lam @ lam.T for lam in model.fit_.evaluation.lambdas]
        ours = effective_parameters(model.fit_, omegas)
        assert ours == pytest.approx(figures["effective_parameters"], rel=1e-5)
    if figures["weights"]:  # the means over rows are weighted here, unweighted there
        return
    explained = inference.r2(model)
    assert explained.marginal == pytest.approx(figures["r2"]["marginal"], abs=SHARES)
    assert explained.conditional == pytest.approx(figures["r2"]["conditional"], abs=SHARES)
    shares = inference.icc(model).to_frame()["estimate"]
    assert shares["all factors"] == pytest.approx(figures["r2"]["icc_adjusted"], abs=SHARES)
    for factor, theirs in (figures["icc"] or {}).items():
        key = factor if factor in shares.index else ":".join(reversed(factor.split(":")))
        assert shares[key] == pytest.approx(theirs, abs=SHARES)


@pytest.mark.parametrize("name", ["lrt_sleep", "lrt_sleep_reml", "lrt_machines"])
def test_likelihood_ratios(name):
    theirs = reference_set.comparison(name)
    table = reference_set.table(theirs["dataset"])
    models = [skmixed.lmer(f, table, reml=theirs["REML"]) for f in theirs["formulas"]]
    ours = inference.compare_models(*models).to_frame()
    for column, key in [
        ("n_parameters", "npar"), ("aic", "AIC"), ("bic", "BIC"), ("log_likelihood", "log_lik"),
        ("statistic", "chisq"), ("df", "df"), ("p_value", "p"),
    ]:  # fmt: skip
        np.testing.assert_allclose(
            ours[column], np.array(theirs[key], dtype=float), rtol=1e-8, atol=1e-9
        )


def test_marginal_means_are_those_of_lmertest():
    theirs = reference_set.comparison("lsmeans_ergo")
    model = skmixed.lmer(theirs["formula"], reference_set.table("ergoStool"))
    means = inference.marginal_means(model, "Type")
    columns = {
        "estimate": "Estimate", "std_error": "Std. Error", "df": "df", "statistic": "t value",
        "lower": "lower", "upper": "upper", "p_value": "Pr(>|t|)",
    }  # fmt: skip
    for ours, figures in [(means, "ls_means"), (means.pairs(), "difflsmeans")]:
        frame = ours.to_frame()
        assert list(frame.index) == theirs[figures]["levels"]
        for column, name in columns.items():
            np.testing.assert_allclose(frame[column], theirs[figures][name], rtol=1e-6)


@reference_set.needs_whole_set
def test_f_tests_of_the_tutorial():
    path = reference_set.WHOLE_SET / "fits" / "seed_anova_F.json"
    table = reference_set.whole_set_table("extroversion")
    for test in json.loads(path.read_text(encoding="utf-8"))["tests"]:
        models = [skmixed.lmer(test[size], table) for size in ["small", "large"]]
        last = inference.compare_models(*models).to_frame().iloc[1]
        assert last["statistic"] == pytest.approx(test["F"], rel=1e-8)
        assert last["num_df"] == test["df"]
        assert last["df"] == test["resid_df"][1]
        assert last["p_value"] == pytest.approx(test["p"], rel=1e-6)


@reference_set.needs_whole_set
def test_committed_figures_are_those_of_the_whole_set():
    for path in reference_set.INFERENCE.glob("*.json"):
        if not path.stem.startswith("l"):
            assert reference_set.inference_figures(path.stem) == reference_set.whole_set_inference(
                path.stem
            )
