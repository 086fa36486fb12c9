"""What every function of inference does with a residual structure: honours it, or says why not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skmixed import MixedLinearRegressor, inference, lmer
from skmixed.core.model.evaluation import evaluate
from skmixed.datasets import load_orthodont, load_sleepstudy
from skmixed.inference import (
    bootstrap,
    coefficient_table,
    compare_models,
    confidence_intervals,
    icc,
    influence,
    profile,
    r2,
    sim,
    variance_partition,
)
from skmixed.inference.fixed_effects.degrees import Curvature

SLEEP, TEETH = load_sleepstudy(), load_orthodont()
Y = TEETH["distance"]


def teeth(residual, formula="distance ~ age * Sex", **params):
    return lmer(formula, TEETH, residual=residual, **params)


@pytest.fixture(scope="module")
def serial():
    return teeth("ar1(| Subject) * var(Sex)")


@pytest.fixture(scope="module")
def strata():
    return teeth("var(Sex)", "distance ~ age * Sex + (1 | Subject)")


# Of every function: how it is called, and why it is refused of correlated rows and of unequal
# variances; None where it honours the structure.
SERIES = "rows of a series depend on each other"
USES = {
    "anova": (lambda m: inference.anova(m), None, None),
    "autocorrelation": (
        lambda m: inference.autocorrelation(m, TEETH, Y, series="Subject"), None, None,
    ),
    "bootstrap": (lambda m: bootstrap(m, 3, X=TEETH, y=Y), None, None),
    "bootstrap without rows": (lambda m: bootstrap(m, 3), "the training data", "the training data"),
    "bootstrap of cases": (
        lambda m: bootstrap(m, 3, kind="cases", X=TEETH, y=Y), "use kind='parametric'",
        "use kind='parametric'",
    ),
    "bootstrap of residuals": (
        lambda m: bootstrap(m, 3, kind="residual", X=TEETH, y=Y), "use kind='parametric'",
        "use kind='parametric'",
    ),
    "bootstrap_intervals": (
        lambda m: inference.bootstrap_intervals(bootstrap(m, 3, X=TEETH, y=Y)), None, None,
    ),
    "coefficient_table": (lambda m: coefficient_table(m), None, None),
    "coefficient_table, Kenward-Roger": (
        lambda m: coefficient_table(m, df="kenward-roger"), "df='satterthwaite'",
        "df='satterthwaite'",
    ),
    "compare_models": (lambda m: compare_models(m, teeth(None)), None, None),
    "confidence_intervals": (lambda m: confidence_intervals(m), None, None),
    "confidence_intervals by profile": (
        lambda m: confidence_intervals(m, method="profile", level=0.5), None, None,
    ),
    "confidence_intervals by bootstrap": (
        lambda m: confidence_intervals(m, method="bootstrap", n_samples=3, X=TEETH, y=Y),
        None, None,
    ),
    "heritability": (
        lambda m: inference.heritability(m), "single residual variance", "single residual variance",
    ),
    "icc": (lambda m: icc(m), "no random terms", None),
    "influence": (lambda m: influence(m, TEETH, Y), SERIES, None),
    "linear_hypothesis": (lambda m: inference.linear_hypothesis(m, "age = 0"), None, None),
    "components": (lambda m: inference.components(m, "Z", TEETH), None, None),
    "is_singular": (lambda m: inference.is_singular(m), None, None),
    "log_likelihood": (lambda m: inference.log_likelihood(m, method="ml"), None, None),
    "model_matrix": (lambda m: inference.model_matrix(m, TEETH), None, None),
    "variance_table": (lambda m: inference.variance_table(m), None, None),
    "linear_predictor": (lambda m: inference.linear_predictor(m, TEETH), None, None),
    "loadings_table": (lambda m: inference.loadings_table(m), "no loadings", "no loadings"),
    "marginal_means": (lambda m: inference.marginal_means(m, "Sex"), None, None),
    "pool": (lambda m: inference.pool([m, m]), None, None),
    "profile": (lambda m: profile(m, level=0.5, points=1), None, None),
    "r2": (lambda m: r2(m), None, None),
    "random_effects_table": (
        lambda m: inference.random_effects_table(m), "no random effects", None,
    ),
    "ranova": (lambda m: inference.ranova(m), "no random terms", None),
    "residual_tests": (lambda m: inference.residual_tests(m, TEETH, Y), None, None),
    "residuals": (lambda m: inference.residuals(m, TEETH, Y, kind="normalized"), None, None),
    "residuals, studentised": (
        lambda m: inference.residuals(m, TEETH, Y, kind="studentised"), SERIES, None,
    ),
    "robust_covariance": (
        lambda m: inference.robust_covariance(m, TEETH, Y, cluster="Subject"),
        "needs independent residuals", None,
    ),
    "row_table": (lambda m: inference.row_table(m, TEETH, Y), None, None),
    "sim": (lambda m: sim(m, 3), None, None),
    "variance_partition": (lambda m: variance_partition(m), None, None),
    "variogram": (
        lambda m: inference.variogram(m, TEETH, Y, series="Subject", time="age"), None, None,
    ),
    "visit_covariance": (
        lambda m: inference.visit_covariance(m), "visits", "visits",
    ),
    "predict": (lambda m: m.predict(TEETH, return_std=True), None, None),
    "predict_interval": (lambda m: m.predict_interval(TEETH), None, None),
    "predict_interval by bootstrap": (
        lambda m: m.predict_interval(TEETH, method="bootstrap"), "method='analytic'",
        "method='analytic'",
    ),
    "simulate": (lambda m: m.simulate(TEETH), None, None),
    "loo_predict": (lambda m: m.loo_predict(TEETH, Y), SERIES, None),
    "update_groups": (lambda m: m.update_groups(TEETH, Y), "partial_fit", "partial_fit"),
    "summary": (lambda m: m.summary(), None, None),
}  # fmt: skip


@pytest.fixture(scope="module")
def visits():
    return teeth("us(age | Subject)")


# Of covariances over visits more is known than of other series.
OVER_VISITS = {"coefficient_table, Kenward-Roger": None, "visit_covariance": None}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", ["serial", "strata", "visits"])
def test_every_function_honours_a_structure_or_says_why_not(use, kind, request):
    call, of_series, of_strata = USES[use]
    reason = of_strata if kind == "strata" else of_series
    if kind == "visits":
        reason = OVER_VISITS.get(use, reason)
    model = request.getfixturevalue(kind)
    if reason is None:
        call(model)
    else:
        with pytest.raises((ValueError, TypeError), match=reason):
            call(model)


def test_the_table_names_every_function():
    classes = {name for name in inference.__all__ if name[0].isupper()}
    named = {use.split(" ")[0].rstrip(",") for use in USES}
    assert set(inference.__all__) - classes - named == {"proportional_odds"} | {
        name for name in inference.__all__ if "curve" in name or "smooth" in name
    }


# --- intervals ------------------------------------------------------------------------------------


def test_wald_intervals_are_those_of_nlme(serial):
    # intervals() of gls(distance ~ age*Sex, corAR1(~1|Subject), varIdent(~1|Sex)), nlme 3.1-162,
    # whose second derivatives are differences.
    found = confidence_intervals(serial).to_frame()
    wanted = {
        "ar1": [0.5815174, 0.85353349],
        "ratio Female/Male": [0.41208743, 0.77378365],
        "sigma": [2.2992069, 4.1333820],
    }
    for name, limits in wanted.items():
        assert_allclose(found.loc[name, ["lower", "upper"]].astype(float), limits, rtol=2e-4)


def held(model, place, value):
    """Deviance with an entry of phi held, by the search itself."""
    return model.fit_.with_method("ml").with_phi_held({place: value}).criterion


def test_a_profile_interval_ends_where_the_deviance_has_risen_enough(serial):
    table = confidence_intervals(serial, method="profile").to_frame()
    best = serial.fit_.with_method("ml").criterion
    for place, (name, phi_of) in enumerate(
        {"ar1": lambda r: 2.0 * np.arctanh(r), "ratio Female/Male": np.log}.items()
    ):
        for end in ("lower", "upper"):
            at = held(serial, place, phi_of(table.loc[name, end]))
            assert at - best == pytest.approx(3.8414588, abs=1e-4), (name, end)


def test_profiles_of_coefficients_search_the_structure_too(serial):
    """The profile of a coefficient is the deviance of the model whose response lacks its part."""
    limit = confidence_intervals(serial, method="profile").to_frame().loc["age", "upper"]
    less = TEETH.assign(distance=Y - limit * TEETH["age"])
    other = lmer(
        "distance ~ Sex + Sex:age - age", less.assign(age=TEETH["age"] * (TEETH["Sex"] == "Male")),
        residual="ar1(| Subject) * var(Sex)", reml=False,
    )  # fmt: skip
    full = serial.fit_.with_method("ml").criterion
    assert other.criterion_ - full == pytest.approx(3.8414588, abs=1e-3)


# --- degrees of freedom ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["serial", "strata"])
def test_curvature_is_that_of_differences(kind, request):
    fit = request.getfixturevalue(kind).fit_
    curvature = Curvature.of(fit)
    q = len(fit.phi)
    step = 1e-4

    def criterion(phi):
        return evaluate(fit.problem_at(phi), fit.scaled_lambdas).criterion

    def covariance(phi):
        return evaluate(fit.problem_at(phi), fit.scaled_lambdas).beta_covariance

    hessian, slopes = np.empty((q, q)), []
    moves = step * np.eye(q)
    for a in range(q):
        slopes.append(
            (covariance(fit.phi + moves[a]) - covariance(fit.phi - moves[a])) / (2 * step)
        )
        for b in range(q):
            ends = [
                criterion(fit.phi + i * moves[a] + j * moves[b]) * i * j
                for i in (1, -1)
                for j in (1, -1)
            ]
            hessian[a, b] = sum(ends) / (4 * step**2)
    assert_allclose(curvature.hessian[-q:, -q:], hessian, rtol=2e-3, atol=2e-3)
    assert_allclose(curvature.slopes[-q:], slopes, rtol=1e-5, atol=1e-8)


def test_degrees_of_two_separate_groups_are_their_own():
    """Without a correlation a stratum tells of its own coefficients only, by its own rows."""
    model = teeth("var(Sex)")
    table = coefficient_table(model).to_frame()
    boys, girls = (TEETH["Sex"] == sex for sex in ("Male", "Female"))
    own = lmer("distance ~ age", TEETH[girls])
    errors = np.sqrt(np.diag(own.coef_covariance_))
    assert_allclose(table["std_error"].iloc[:2].astype(float), errors, rtol=1e-6)
    assert_allclose(table["df"].iloc[:2].astype(float), girls.sum() - 2, rtol=1e-3)
    assert boys.sum() > girls.sum()


# --- variances ------------------------------------------------------------------------------------


def test_shares_count_the_mean_residual_variance(strata):
    parts = variance_partition(strata).to_frame()["estimate"].astype(float)
    of_rows = np.square(strata.residual_deviations_.loc[TEETH["Sex"]].to_numpy())
    assert_allclose(parts["residual"], of_rows.mean(), rtol=1e-9)
    fixed = strata.predict(TEETH, random="none")
    assert_allclose(parts["fixed"], np.var(fixed, ddof=1), rtol=1e-6)
    shares = r2(strata)
    assert_allclose(shares.conditional, 1.0 - parts["residual"] / parts.sum(), rtol=1e-9)


def test_models_are_compared_by_what_structures_add():
    small = teeth("ar1(| Subject)")
    large = teeth("ar1(| Subject) * var(Sex)")
    table = compare_models(small, large, names=["small", "large"]).to_frame()
    # anova() of the same models by gls: 11.58275 on one degree of freedom, AIC 456.5874, 447.0047.
    assert_allclose(table.loc["large", "statistic"], 11.58275, atol=1e-4)
    assert table.loc["large", "df"] == 1.0
    assert_allclose(table["aic"], [456.5874, 447.0047], atol=1e-3)
    plain = compare_models(teeth(None), small).to_frame()
    assert plain["n_parameters"].tolist() == [5, 6]
    assert plain["p_value"].iloc[1] < 1e-8


def test_drawn_coefficients_have_their_covariance(serial):
    draws = sim(serial, 20_000, random_state=0).coef
    scale = np.sqrt(np.diag(serial.coef_covariance_))
    found = np.cov((draws / scale).T)
    wanted = serial.coef_covariance_ / np.outer(scale, scale)
    assert_allclose(found, wanted, atol=0.05)


def test_the_bootstrap_finds_what_it_draws(serial):
    result = bootstrap(serial, 150, X=TEETH, y=Y, random_state=0)
    assert result.converged.mean() > 0.95
    names = ["ar1", "ratio Female/Male", "sigma"]
    means, estimates = result.replicates[names].mean(), result.estimates[names]
    assert_allclose(means, estimates, rtol=0.08)
    errors = np.sqrt(np.diag(serial.coef_covariance_))
    assert_allclose(result.replicates.iloc[:, :4].std(), errors, rtol=0.25)
    again = bootstrap(serial, 2, statistic=lambda fit: fit.phi[0], X=TEETH, y=Y, random_state=1)
    assert np.isfinite(again.replicates["statistic"]).all()


def test_influence_of_rows_is_that_of_known_weights(strata):
    variances = np.square(strata.residual_deviations_.loc[TEETH["Sex"]].to_numpy())
    known = lmer("distance ~ age * Sex + (1 | Subject)", TEETH, weights=1.0 / variances)
    found, wanted = (
        influence(model, TEETH, Y, *weights).to_frame()
        for model, weights in ((strata, ()), (known, (1.0 / variances,)))
    )
    assert_allclose(found["leverage"], wanted["leverage"], rtol=1e-3)
    assert_allclose(found["cooks_distance"], wanted["cooks_distance"], rtol=1e-2)


def test_intervals_of_predictions_hold_as_often_as_they_say():
    """In series of strong correlation, of observations of new series and of forecasts."""
    rng = np.random.default_rng(4)
    inside = {"new": [], "forecast": []}
    for _ in range(40):
        noise = rng.normal(size=(20, 8))
        for t in range(1, 8):
            noise[:, t] = 0.8 * noise[:, t - 1] + 0.6 * noise[:, t]
        table = pd.DataFrame({"g": np.repeat(np.arange(20), 8), "t": np.tile(np.arange(8), 20)})
        table["y"] = noise.ravel()
        early = table[table["t"] < 7]
        model = MixedLinearRegressor(fixed="1", residual="ar1(t | g)").fit(early, early["y"])
        late = table[table["t"] == 7]
        for name, rows, settings in (
            ("forecast", late, {"serial": True}),
            ("new", late.assign(g=-1), {}),
        ):
            low, high = model.predict_interval(rows, level=0.9, **settings).T
            inside[name].append(((low < late["y"]) & (late["y"] < high)).mean())
    for name, shares in inside.items():
        assert np.mean(shares) == pytest.approx(0.9, abs=0.035), name
    assert replace(model.fit_).phi is model.fit_.phi


@pytest.mark.parametrize(
    ("smaller", "larger", "n_added"),
    [
        (None, "ar1(| Subject)", 1),
        (None, "ar1(| Subject) * var(Sex)", 2),
        ("var(Sex)", "ar1(| Subject) * var(Sex)", 1),
        ("cs(age | Subject)", "toeplitz(age | Subject)", 2),
        ("ar1(age | Subject)", "us(age | Subject)", 8),
        (None, "us(age | Subject)", 9),
    ],
)
def test_between_residual_structures_the_ratio_is_plainly_chi_squared(smaller, larger, n_added):
    """No correlation and no difference of variances are inside the range of these structures."""
    found = compare_models(teeth(smaller), teeth(larger)).to_frame().iloc[1]
    assert found["df"] == n_added
    wanted = stats.chi2.sf(found["statistic"], n_added)
    assert_allclose(found[["p_value", "p_boundary"]].astype(float), wanted, rtol=1e-9)


def test_fixed_effects_and_random_effects_are_counted_beside_residual_structures():
    more = compare_models(teeth(None, "distance ~ age"), teeth("var(Sex)")).to_frame().iloc[1]
    assert more["p_boundary"] == pytest.approx(stats.chi2.sf(more["statistic"], 3), rel=1e-9)
    formula = "distance ~ age * Sex + (1 | Subject)"
    both = compare_models(teeth(None), teeth("var(Sex)", formula)).to_frame().iloc[1]
    tails = [stats.chi2.sf(both["statistic"], df) for df in (1, 2)]
    assert both["p_boundary"] == pytest.approx(np.mean(tails), rel=1e-9)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ("var(Sex)", "us(age | Subject)"),
        ("ar1(age | Subject)", "cs(age | Subject) * var(Sex)"),
        (None, "car1(age | Subject)"),
    ],
)
def test_no_p_value_by_the_boundary_is_given_where_models_are_not_plainly_nested(smaller, larger):
    found = compare_models(teeth(smaller), teeth(larger)).to_frame().iloc[1]
    assert np.isnan(found["p_boundary"])
