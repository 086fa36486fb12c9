"""What inference says of cumulative link models: thresholds, and no intercept."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from skmixed import OrdinalMixedClassifier, clmm
from skmixed.display import CoefficientDisplay, ResidualsDisplay, ShrinkageDisplay
from skmixed.inference import (
    anova,
    bootstrap,
    coefficient_table,
    compare_models,
    confidence_intervals,
    influence,
    linear_hypothesis,
    marginal_means,
    r2,
    residuals,
    sim,
)
from tests.estimators.test_ordinal_classifier import OF_R, X, Y

mpl.use("Agg")

NAMES = ["bad", "poor", "fair", "good"]
RATING = pd.Categorical.from_codes(Y, NAMES, ordered=True)
COLUMNS = ["x", "dose[T.b]", "dose[T.c]"]
THRESHOLDS = ["bad|poor", "poor|fair", "fair|good"]
MODEL = OrdinalMixedClassifier("(1 | g)", fixed="x + dose").fit(X, RATING)
_, OF_R_CRITERION, ENDS, COEF, ENDS_ERRORS, COEF_ERRORS, VARIANCES = OF_R["logit"]


def test_tables_are_those_of_r():
    frame = coefficient_table(MODEL).frame
    assert frame.index.tolist() == COLUMNS
    np.testing.assert_allclose(frame["estimate"], COEF, rtol=1e-4)
    np.testing.assert_allclose(frame["std_error"], COEF_ERRORS, rtol=1e-4)
    summary = MODEL.summary(digits=4)
    assert summary.coefficients.index.tolist() == COLUMNS
    assert summary.thresholds.index.tolist() == THRESHOLDS
    np.testing.assert_allclose(summary.thresholds["threshold"], ENDS, rtol=1e-3)
    np.testing.assert_allclose(summary.thresholds["std.err"], ENDS_ERRORS, rtol=1e-4)
    text = str(summary)
    assert "dispersion" not in text
    assert text.count("(Intercept)") == 1  # of the groups
    assert "poor|fair    0.0970  0.1679" in text
    assert "poor|fair" in summary._repr_html_()


def test_intervals_are_normal_ones():
    frame = confidence_intervals(MODEL, level=0.9).frame
    assert frame.index.tolist() == ["sd_(Intercept)|g", *THRESHOLDS, *COLUMNS]
    half = stats.norm.ppf(0.95) * np.array([*ENDS_ERRORS, *COEF_ERRORS])
    np.testing.assert_allclose(frame["upper"][1:], np.array([*ENDS, *COEF]) + half, rtol=1e-3)
    assert frame["estimate"].iloc[0] == pytest.approx(np.sqrt(VARIANCES[0]), rel=1e-3)
    assert frame["lower"].iloc[0] > 0.0


def test_information_criteria_count_thresholds():
    n_parameters = 3 + 3 + 1
    assert MODEL.fit_.n_parameters == n_parameters
    assert MODEL.aic_ == pytest.approx(OF_R_CRITERION + 2 * n_parameters, abs=1e-4)
    assert MODEL.bic_ == pytest.approx(OF_R_CRITERION + np.log(600) * n_parameters, abs=1e-4)


def test_hypotheses_are_about_coefficients():
    assert linear_hypothesis(MODEL, "x = 0.5").p_value == pytest.approx(0.5432, abs=1e-3)
    matrix = linear_hypothesis(MODEL, [[0, 1, -1]])
    named = linear_hypothesis(MODEL, "dose[T.b] = dose[T.c]")
    assert matrix.statistic == pytest.approx(named.statistic, rel=1e-12)
    with pytest.raises(ValueError, match="the coefficients are 'x', 'dose"):
        linear_hypothesis(MODEL, "(Intercept) = 0")
    wald = anova(MODEL).frame
    assert wald.index.tolist() == ["x", "dose"]
    smaller = OrdinalMixedClassifier("(1 | g)", fixed="x").fit(X, RATING)
    ratio = compare_models(smaller, MODEL).frame
    assert ratio["df"].iloc[1] == 2
    assert ratio["statistic"].iloc[1] == pytest.approx(wald["statistic"].iloc[1], rel=0.05)


def test_draws_have_the_errors_of_the_estimates():
    draws = sim(MODEL, 20_000, random_state=0)
    assert draws.coef.columns.tolist() == COLUMNS
    assert draws.thresholds.columns.tolist() == THRESHOLDS
    together = pd.concat([draws.thresholds, draws.coef], axis=1)
    errors = [*ENDS_ERRORS, *COEF_ERRORS]
    np.testing.assert_allclose(together.std(), errors, rtol=0.025)
    fit = MODEL.fit_
    expected = np.sqrt(fit.thresholds_covariance[0, 2] / np.prod(together.std().iloc[[0, 2]]))
    assert np.sqrt(together.corr().iloc[0, 2]) == pytest.approx(expected, abs=0.02)
    assert (draws.thresholds.diff(axis=1).iloc[:, 1:] > 0).all(axis=None)
    assert sim(OrdinalMixedClassifier().fit(X[["x"]], Y > 1), 5).thresholds.shape == (5, 1)


def test_bootstrap():
    result = bootstrap(MODEL, 30, X=X, y=RATING, random_state=1)
    assert result.replicates.columns.tolist() == [*THRESHOLDS, *COLUMNS, "sd_(Intercept)|g"]
    errors = np.array([*ENDS_ERRORS, *COEF_ERRORS])
    np.testing.assert_allclose(result.replicates.std().iloc[:6], errors, rtol=0.5)


def test_replicates_without_the_highest_category_have_no_estimates():
    x = np.random.default_rng(4).normal(size=200)
    latent = x + np.random.default_rng(5).logistic(size=200)
    y = np.digitize(latent, [-1.0, np.sort(latent)[-1]])  # one row is in the highest
    table = pd.DataFrame({"x": x})
    result = bootstrap(OrdinalMixedClassifier().fit(table, y), 40, X=table, y=y, random_state=0)
    missing = result.replicates.isna().all(axis=1)
    assert 5 <= missing.sum() <= 30  # each with probability 1 / e
    assert not result.converged[missing].any()
    assert result.replicates["1|2"].max() < 15.0


def test_profiles_are_those_of_coefficients_and_deviations():
    model = OrdinalMixedClassifier("(1 | g)", fixed="x").fit(X, RATING)
    limits = confidence_intervals(model, method="profile", X=X, y=RATING).frame
    assert limits.index.tolist() == ["sd_(Intercept)|g", "x"]
    wald = confidence_intervals(model).frame
    assert limits.loc["x", "upper"] == pytest.approx(wald.loc["x", "upper"], abs=0.01)


def test_shares_are_those_of_emmeans():
    # emmeans 1.8.4 of R: emmeans(clm(y ~ x + dose), ~ y | dose, mode = "prob"), dose b
    model = OrdinalMixedClassifier(fixed="x + dose").fit(X, RATING)
    means = marginal_means(model, "dose", scale="response")
    of_b = means.to_frame().loc["b"]
    assert of_b.index.tolist() == NAMES
    np.testing.assert_allclose(of_b["estimate"], [0.1430, 0.2191, 0.3606, 0.2773], atol=6e-5)
    np.testing.assert_allclose(of_b["std_error"], [0.0185, 0.0195, 0.0227, 0.0280], atol=6e-5)
    pairs = means.pairs(adjust="tukey").to_frame()
    assert pairs.index[:2].tolist() == ["a, bad - b, bad", "a, poor - b, poor"]
    assert len(pairs) == 3 * 4


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_shares_are_averages_with_the_errors_of_all_parameters(link):
    model = OrdinalMixedClassifier("(1 | g)", fixed="x + dose", link=link).fit(X, RATING)
    found = marginal_means(model, "dose", at={"x": 0.3}, scale="response").to_frame()
    rows = pd.DataFrame({"x": 0.3, "dose": list("abc"), "g": -1})
    np.testing.assert_allclose(
        found["estimate"], model.predict_proba(rows, random="none").ravel(), rtol=1e-12
    )
    fit, family = model.fit_, model.fit_.family
    sd, p = fit.lambdas[0][0, 0], len(fit.beta)
    at = np.array([*fit.beta, sd, *fit.phi])

    def of_a(values):
        center, variance = values[[0]] + 0.3 * values[1], values[[p]] ** 2
        return family.probabilities(center, variance, values[p + 1 :])[0]

    steps = 1e-5 * np.eye(len(at))
    slopes = np.array([(of_a(at + step) - of_a(at - step)) / 2e-5 for step in steps]).T
    slopes[:, p] *= sd / fit.working.scaled_lambdas[0][0, 0]  # its covariance is in scaled units
    errors = np.sqrt(np.diag(slopes @ fit.parameter_covariance @ slopes.T))
    np.testing.assert_allclose(found["std_error"].iloc[:4], errors, rtol=1e-5)
    on_the_link = marginal_means(model, "dose")
    assert "minus the first threshold, bad|poor" in str(on_the_link)
    expected = coefficient_table(model).frame.loc["dose[T.b]", "estimate"]
    assert on_the_link.pairs().frame["estimate"].iloc[0] == pytest.approx(-expected)


@pytest.mark.parametrize("random", ["new", "fitted"])
def test_quantile_residuals_are_uniform(random):
    rng = np.random.default_rng(8)
    data = pd.DataFrame({"x": rng.normal(size=4000), "g": rng.integers(0, 200, 4000)})
    latent = data["x"] + rng.normal(size=200)[data["g"]] + rng.logistic(size=4000)
    y = np.searchsorted([-1.0, 0.5, 1.5], latent)
    model = OrdinalMixedClassifier("(1 | g)").fit(data, y)
    found = residuals(model, data, y, random=random, random_state=0)
    assert stats.kstest(found, "uniform").pvalue > 0.01
    flipped = residuals(model, data, y[::-1], random=random, random_state=0)
    assert np.corrcoef(flipped, data["x"])[0, 1] < -0.1
    with pytest.raises(TypeError, match="no mean: ask predict_proba"):
        residuals(model, data, y, kind="pearson")
    with pytest.raises(TypeError, match="no mean"):
        r2(model)


def test_displays():
    shown = CoefficientDisplay.from_estimator(MODEL).coefficients
    assert shown["coefficient"].tolist() == COLUMNS
    ShrinkageDisplay.from_estimator(MODEL, X=X, y=RATING)
    ResidualsDisplay.from_estimator(MODEL, X, RATING)
    by_level = influence(MODEL, X, RATING, by="g").frame
    assert by_level.columns.tolist() == ["leverage", "cooks_distance", *COLUMNS]


def test_infinite_estimates_are_named():
    x = np.arange(60.0)
    y = np.repeat([0, 1, 2], 20)
    with pytest.warns(UserWarning, match="separate"):
        model = OrdinalMixedClassifier().fit(pd.DataFrame({"x": x}), y)
    assert "infinite, because of separation: x" in str(model.summary())
    assert "Infinite, without standard errors: x, 0|1, 1|2." in str(coefficient_table(model))
    with pytest.raises(ValueError, match=r"coefficients of \['x'\] are infinite"):
        bootstrap(model, 2, X=pd.DataFrame({"x": x}), y=y)


@pytest.fixture(scope="module")
def halves():
    """Rows of which a half, told by z, is in the highest category whatever else is said."""
    rng = np.random.default_rng(4)
    data = pd.DataFrame(
        {"x": rng.normal(size=500), "g": np.arange(500) % 25, "z": np.repeat([0, 1], 250)}
    )
    latent = data["x"] + rng.normal(size=25)[data["g"]] + rng.logistic(size=500)
    data["y"] = np.where(data["z"] == 1, 3, np.digitize(latent, [-1.0, 1.0]))
    return data


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_finite_thresholds_beside_a_separated_one_are_those_without_its_rows(halves, link):
    with pytest.warns(UserWarning, match=r"infinite, as are the thresholds \['2\|3'\]"):
        model = clmm("y ~ x + z + (1 | g)", halves, link=link)
    assert model.separated_ == ["z", "2|3"]
    half = clmm("y ~ x + (1 | g)", halves[halves["z"] == 0], link=link)
    np.testing.assert_allclose(model.thresholds_[:2], half.thresholds_, rtol=1e-4)
    found, expected = (confidence_intervals(each).frame for each in (model, half))
    np.testing.assert_allclose(found.loc[expected.index], expected, rtol=1e-3)
    assert np.isnan(found.loc[["z", "2|3"], ["lower", "upper"]]).all(axis=None)
    draws = sim(model, 4000, random_state=0).thresholds
    errors = (expected["upper"] - expected["lower"])[["0|1", "1|2"]] / (2 * 1.959964)
    np.testing.assert_allclose(draws[["0|1", "1|2"]].std(), errors, rtol=0.06)
    assert (draws["2|3"] == model.thresholds_[2]).all()


def test_thresholds_stay_where_the_first_one_goes(halves):
    lowest = halves.assign(y=np.where(halves["z"] == 1, 0, halves["y"] + 1))
    with pytest.warns(UserWarning, match=r"infinite, as are the thresholds \['0\|1'\]"):
        model = clmm("y ~ x + z + (1 | g)", lowest)
    half = clmm("y ~ x + (1 | g)", lowest[lowest["z"] == 0])
    others = ["1|2", "2|3"]
    found, expected = (confidence_intervals(each).frame.loc[others] for each in (model, half))
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    draws = sim(model, 4000, random_state=0).thresholds
    errors = (expected["upper"] - expected["lower"]) / (2 * 1.959964)
    np.testing.assert_allclose(draws[others].std(), errors, rtol=0.06)
    assert (draws["0|1"] == model.thresholds_[0]).all()
