"""Residuals against R and their distribution; tests of dispersion and zeros against simulation."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skmixed import MixedClassifier, MixedGeneralizedRegressor, MixedLinearRegressor, glmer
from skmixed.core.families.catalogue import family_of
from skmixed.core.generalized.after_fit.other_responses import predictors_given
from skmixed.core.generalized.after_fit.row_residuals import (
    deviance_residuals,
    pearson_residuals,
    probabilities,
)
from skmixed.datasets import load_sleepstudy
from skmixed.inference import residual_tests, residuals
from tests import reference_set

CBPP = reference_set.table("cbpp")
SHARES = "cbind(incidence, size - incidence) ~ C(period) + (1 | herd)"
RATES = "incidence ~ C(period) + offset(log(size)) + (1 | herd)"
# lme4 1.1-31, residuals(m, kind) of the first rows, optimised to 1e-10: period as a factor.
OF_SHARES = {
    "deviance": [-1.438031931, 0.9887432314, 2.356997981, -0.9368580307, -0.2431846875],
    "pearson": [-1.339861684, 1.075125968, 2.879615856, -0.677264047, -0.2390841792],
    "response": [-0.1653505086, 0.1082517509, 0.3184869299, -0.08402874607, -0.01843767803],
}
OF_RATES = {
    "deviance": [-1.1988192526, 1.03098259472, 2.21871082212, -0.864452453269],
    "pearson": [-1.0751788214, 1.16516006135, 2.93009626117, -0.61126019172],
    "response": [-2.20469110039, 1.45041729566, 2.97152323549, -0.373639021981],
}
# The same with weights 1, 2, 3 in turn, beginning with 2.
OF_WEIGHTED = {
    "deviance": [-1.72969882718, 1.4812415129, 2.23900248469, -1.23929618364],
    "pearson": [-1.54872429528, 1.63337289415, 2.96781639472, -0.876314735348],
    "response": [-2.26039293621, 1.2481635505, 2.98701815029, -0.383963757694],
}
WEIGHTS = 1.0 + np.arange(1, len(CBPP) + 1) % 3


@pytest.mark.parametrize("kind", ["deviance", "pearson", "response"])
def test_those_of_r(kind):
    shares = glmer(SHARES, CBPP)
    found = residuals(shares, CBPP, CBPP["incidence"] / CBPP["size"], CBPP["size"], kind=kind)
    assert_allclose(found[:5], OF_SHARES[kind], rtol=5e-6)
    rates = glmer(RATES, CBPP, family="poisson")
    assert_allclose(residuals(rates, CBPP, CBPP["incidence"], kind=kind)[:4], OF_RATES[kind], 5e-6)
    weighted = glmer(RATES, CBPP, family="poisson", weights=WEIGHTS)
    found = residuals(weighted, CBPP, CBPP["incidence"], WEIGHTS, kind=kind)
    assert_allclose(found[:4], OF_WEIGHTED[kind], rtol=5e-6)


def test_families_with_a_dispersion_as_in_r():
    # Gamma()$dev.resids and MASS::negative.binomial(2.5), at given means
    mean = np.array([0.7, 2.0, 2.4, 1.0])
    gamma, y = family_of("gamma"), np.array([0.5, 1.0, 2.5, 4.0])
    found = deviance_residuals(gamma, y, mean, None, np.array([0.3]))
    assert_allclose(found, [-0.318615602, -0.621525833, 0.0411016337, 1.796499729], rtol=1e-8)
    counts, y = family_of("negative_binomial"), np.array([0.0, 1.0, 3.0, 9.0])
    theta = np.log([2.5])
    found = deviance_residuals(counts, y, mean, None, theta)
    assert_allclose(found, [-1.110990724, -0.6106608198, 0.261188724, 3.491362034], rtol=1e-8)
    found = pearson_residuals(counts, y, mean, None, theta)
    assert_allclose(found, [-0.7395099729, -0.5270462767, 0.2766416676, 6.761234038], rtol=1e-8)


@pytest.mark.parametrize(
    ("name", "link", "sizes"),
    [
        ("binomial", "logit", np.array([1.0, 4.0, 30.0, 3000.0])),
        ("binomial", "cloglog", np.array([1.0, 4.0, 30.0, 3000.0])),
        ("poisson", "log", None),
        ("poisson", "log", np.array([0.5, 2.0, 10.0, 1000.0])),
        ("negative_binomial", "log", None),
        ("gamma", "log", None),
    ],
)
@pytest.mark.parametrize("deviation", [0.0, 0.4, 2.5])
def test_probabilities_are_integrals_over_new_effects(name, link, sizes, deviation):
    family, phi = family_of(name, link), np.array([1.2])
    center = np.array([-0.3, 0.1, -1.0, -2.0])
    y = family.mean(center)
    steps = family.steps(4, sizes)
    y = y if steps is None else np.round(y / steps + 1e-9) * steps
    below, upto = probabilities(family, y, sizes, phi, center, np.full(4, deviation**2))
    z = np.linspace(-9.0, 9.0, 40_001)
    density = stats.norm.pdf(z) * (z[1] - z[0])
    for row in range(4):
        at = center[row] + deviation * z
        many = None if sizes is None else np.full(len(z), sizes[row])
        less = y[row] if steps is None else y[row] - steps[row]
        for found, value in [(below[row], less), (upto[row], y[row])]:
            wanted = density @ family.cdf(np.full(len(z), value), at, many, phi)
            assert found == pytest.approx(wanted, abs=0.002 if deviation else 1e-10)


def grouped(rng, n=3000, n_levels=300, deviation=0.8):
    X = pd.DataFrame({"x": rng.normal(size=n), "g": rng.integers(n_levels, size=n)})
    return X, 0.3 + 0.5 * X["x"] + rng.normal(scale=deviation, size=n_levels)[X["g"]]


def drawn(family, eta, rng):
    mean = np.exp(eta)
    return {
        "poisson": lambda: rng.poisson(mean),
        "negative_binomial": lambda: rng.poisson(mean * rng.gamma(2.0, 0.5, len(eta))),
        "gamma": lambda: mean * rng.gamma(2.0, 0.5, len(eta)),
        "binomial": lambda: rng.binomial(6, mean / (1.0 + mean)) / 6.0,
    }[family]()


@pytest.mark.parametrize("family", ["poisson", "negative_binomial", "gamma", "binomial"])
@pytest.mark.parametrize("random", ["new", "fitted"])
def test_quantile_residuals_are_uniform_under_the_model(family, random):
    rng = np.random.default_rng(3)
    X, eta = grouped(rng)
    y = drawn(family, eta, rng)
    weights = np.full(len(y), 6.0) if family == "binomial" else None
    model = MixedGeneralizedRegressor("(1 | g)", family=family).fit(X, y, weights)
    found = residuals(model, X, y, weights, random=random, random_state=0)
    assert ((found > 0.0) & (found < 1.0)).all()
    assert stats.kstest(found, "uniform").statistic < 0.03
    if random == "new":  # the default; only "new" takes in the variance of groups
        default = residuals(model, X, y, weights, random_state=0)
        assert np.array_equal(found, default)
        means = pd.Series(found).groupby(X["g"]).mean()
        assert means.std() > 0.15
    assert not np.array_equal(found, residuals(model, X, y, weights, random=random)) or (
        family == "gamma"
    )


def test_two_classes_and_unknown_levels():
    rng = np.random.default_rng(0)
    X, eta = grouped(rng)
    y = np.where(rng.random(len(eta)) < 1.0 / (1.0 + np.exp(-eta)), "yes", "no")
    model = MixedClassifier("(1 | g)").fit(X, y)
    found = residuals(model, X, y, random_state=0)
    assert stats.kstest(found, "uniform").pvalue > 0.01
    probability = model.predict_proba(X, random="none")[:, 1]
    assert ((found < 1.0 - probability + 0.005) | (y == "yes")).all()
    response = residuals(model, X, y, kind="response")
    plain = MixedClassifier("(1 | g)", averaging="plug-in").fit(X, y).predict_proba(X)[:, 1]
    assert_allclose(response, (y == "yes") - plain, atol=1e-9)
    new = X.assign(g=10_000)
    same = residuals(model, new, y, random="fitted", random_state=0)
    assert_allclose(same, found, atol=1e-12)
    unknown = MixedClassifier("(1 | g)", handle_unknown="nan").fit(X, y)
    assert np.isnan(residuals(unknown, new, y, random="fitted", random_state=0)).all()
    assert np.isnan(residuals(unknown, new, y, kind="deviance")).all()
    with pytest.raises(ValueError, match="'maybe' in row 1, but the classes seen"):
        residuals(model, X.head(2), ["yes", "maybe"])


def test_linear_models():
    X, y = load_sleepstudy(return_X_y=True)
    weights = 1.0 + X["Days"] % 3
    model = MixedLinearRegressor("(1 + Days | Subject)", weighting="precision").fit(X, y, weights)
    left = y - model.predict(X)
    scaled = np.sqrt(weights) * left
    assert_allclose(residuals(model, X, y, weights, kind="response"), left)
    assert_allclose(residuals(model, X, y, weights, kind="deviance"), scaled)
    sigma = np.sqrt(model.residual_variance_)
    assert_allclose(residuals(model, X, y, weights, kind="pearson"), scaled / sigma)
    found = residuals(model, X, y, weights, random="fitted")
    assert_allclose(found, stats.norm.cdf(scaled / sigma))
    Z = np.column_stack([np.ones(len(y)), X["Days"]])
    covariance = model.random_covariance_["Subject"].to_numpy()
    spread = ((Z @ covariance) * Z).sum(axis=1) + sigma**2 / weights
    fixed = y - model.predict(X, random="none")
    assert_allclose(residuals(model, X, y, weights), stats.norm.cdf(fixed / np.sqrt(spread)))


def test_weights_of_counts_leave_their_quantiles():
    rng = np.random.default_rng(0)
    X, eta = grouped(rng, 400, 20)
    y, weights = rng.poisson(np.exp(eta)), rng.integers(1, 4, 400)
    model = MixedGeneralizedRegressor("(1 | g)").fit(X, y, weights)
    assert_allclose(
        residuals(model, X, y, weights, random_state=0), residuals(model, X, y, random_state=0)
    )
    rates = MixedGeneralizedRegressor("(1 | g)").fit(X, y / weights, weights)
    found = residuals(rates, X, y / weights, weights, random="fitted", random_state=0)
    by_exposure = MixedGeneralizedRegressor("(1 | g)", exposure="t").fit(X.assign(t=weights), y)
    other = residuals(by_exposure, X.assign(t=weights), y, random="fitted", random_state=0)
    assert_allclose(found, other, rtol=1e-6)


@pytest.mark.parametrize("formula", ["(1 | g)", "(1 + x | g)", "(1 | g) + (1 | h)", None])
def test_modes_of_the_fitted_response_are_those_of_the_fit(formula):
    rng = np.random.default_rng(0)
    X, eta = grouped(rng, 600, 30)
    X["h"] = rng.integers(8, size=600)
    y = rng.poisson(np.exp(eta))
    model = MixedGeneralizedRegressor(formula, fixed="x").fit(X, y)
    observed = model._observed_rows(X, y, None, None)
    rows, base = observed.rows_at_known_levels(), observed.fixed_part()
    _, found = next(predictors_given(model.fit_, rows, base, [observed.y]))
    assert_allclose(found, observed.predictor("error"), atol=1e-6)


@pytest.mark.parametrize(
    ("responses", "guilty"),
    [
        (lambda eta, rng: rng.poisson(np.exp(eta)), []),
        (lambda eta, rng: rng.poisson(np.exp(eta) * rng.gamma(3, 1 / 3, 800)), ["dispersion"]),
        (
            lambda eta, rng: np.where(rng.random(800) < 0.15, 0, rng.poisson(np.exp(eta))),
            ["dispersion", "zeros"],
        ),
        (lambda eta, rng: np.round(np.exp(eta)), ["dispersion"]),
    ],
)
def test_what_is_wrong_with_counts_is_found(responses, guilty):
    rng = np.random.default_rng(5)
    X, eta = grouped(rng, 800, 60)
    y = responses(eta, rng)
    model = MixedGeneralizedRegressor("(1 | g)").fit(X, y)
    tests = residual_tests(model, X, y, n_samples=100, random_state=0)
    found = tests.to_frame()
    assert list(found.index) == ["dispersion", "zeros", "uniformity"]
    assert list(found.columns) == ["observed", "expected", "ratio", "p_value"]
    assert found.loc["zeros", "observed"] == (y == 0).sum()
    assert_allclose(found["ratio"], found["observed"] / found["expected"])
    if guilty:
        assert (found.loc[guilty, "p_value"] < 0.03).all()
    else:
        assert (found["p_value"] > 0.05).all()
        assert_allclose(found["ratio"].iloc[:2], 1.0, atol=0.15)
    again = residual_tests(model, X, y, n_samples=100, random_state=0).to_frame()
    pd.testing.assert_frame_equal(found, again)


def test_shares_and_the_alternatives():
    rng = np.random.default_rng(1)
    X, eta = grouped(rng, 400, 40)
    trials = rng.integers(5, 20, 400).astype(float)
    chance = rng.beta(4.0 / (1.0 + np.exp(-eta)), 4.0 / (1.0 + np.exp(eta)))
    y = rng.binomial(trials.astype(int), chance) / trials
    model = glmer("y ~ x + (1 | g)", X.assign(y=y, n=trials), weights="n")
    p = {
        alternative: residual_tests(
            model, X, y, trials, alternative=alternative, n_samples=99, random_state=0
        ).to_frame()["p_value"]
        for alternative in ["two-sided", "greater", "less"]
    }
    assert p["greater"]["dispersion"] == pytest.approx(0.01)
    assert p["two-sided"]["dispersion"] == pytest.approx(0.02)
    assert p["less"]["dispersion"] == 1.0
    assert p["less"]["uniformity"] == p["greater"]["uniformity"]


def test_single_outcomes_have_no_dispersion():
    rng = np.random.default_rng(1)
    X, eta = grouped(rng, 400, 40)
    y = rng.random(400) < 1.0 / (1.0 + np.exp(-eta))
    model = MixedClassifier("(1 | g)").fit(X, y)
    table = residual_tests(model, X, y, n_samples=50, random_state=0)
    assert list(table.to_frame().index) == ["uniformity"]
    assert "Binary responses" in str(table)
    assert table.to_frame()["p_value"].item() > 0.05


@pytest.mark.study
@pytest.mark.parametrize("per_level", [4, 20])
def test_p_values_under_the_model_are_uniform(per_level):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(120):
        X, eta = grouped(rng, 40 * per_level, 40)
        y = rng.poisson(np.exp(eta))
        model = MixedGeneralizedRegressor("(1 | g)").fit(X, y)
        tests = residual_tests(model, X, y, n_samples=99, random_state=rng)
        found.append(tests.to_frame()["p_value"])
    p = pd.DataFrame(found)
    for name in ["dispersion", "zeros", "uniformity"]:
        assert (p[name] <= 0.1).mean() < 0.19, name  # three standard errors above
    assert (p["dispersion"] <= 0.5).mean() > 0.3


def test_errors_at_the_door():
    rng = np.random.default_rng(0)
    X, eta = grouped(rng, 100, 10)
    y = rng.poisson(np.exp(eta))
    model = MixedGeneralizedRegressor("(1 | g)").fit(X, y)
    with pytest.raises(ValueError, match="kind='studentized' is not one of quantile"):
        residuals(model, X, y, kind="studentized")
    with pytest.raises(ValueError, match="kind='pearson' needs random='fitted'"):
        residuals(model, X, y, kind="pearson", random="new")
    with pytest.raises(ValueError, match="random='old' is neither"):
        residuals(model, X, y, random="old")
    with pytest.raises(ValueError, match="3 has weight 0, so that nothing was observed"):
        residuals(model, X, y, np.arange(100) != 3)
    with pytest.raises(ValueError, match=r"row 0 has 3\.5 events"):
        residuals(model, X, y + 0.5)
    with pytest.raises(ValueError, match="zero or positive, but row 0"):
        residuals(model, X, y - 100.0)
    with pytest.raises(TypeError, match="a bare fit does not know"):
        residuals(model.fit_, X, y)
    with pytest.raises(ValueError, match="100 rows have levels of 'g' that are missing"):
        residual_tests(model, X.assign(g=77), y)
    with pytest.raises(ValueError, match="sample_weight counts rows"):
        residual_tests(model, X, y, np.full(100, 2.0))
    with pytest.raises(ValueError, match="alternative='both' is not"):
        residual_tests(model, X, y, alternative="both")
    with pytest.raises(ValueError, match="must be at least 1"):
        residual_tests(model, X, y, n_samples=0)
    linear = MixedLinearRegressor("(1 | g)").fit(X, eta + rng.normal(size=100))
    with pytest.raises(ValueError, match="sample_weight counts rows"):
        residual_tests(linear, X, y, np.full(100, 2.0))


def test_linear_models_are_tested_for_form_outliers_and_uniformity():
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(30), 10)
    X, effects = pd.DataFrame({"x": rng.normal(size=300), "g": g}), rng.normal(size=30)[g]

    def tested(noise, **settings):
        y = X["x"] + effects + noise
        model = MixedLinearRegressor("(1 | g)").fit(X, y)
        table = residual_tests(model, X, y, n_samples=199, random_state=0, **settings)
        assert table.to_frame().index.tolist() == ["dispersion", "outliers", "uniformity"]
        return table

    right = tested(rng.normal(size=300))
    assert (right["p_value"] > 0.05).all()
    assert "199 simulations with new random effects" in str(right)
    few = np.where(rng.random(300) < 0.05, 12.0, 0.0) * rng.choice([-1.0, 1.0], 300)
    heavy = tested(rng.normal(size=300) + few, alternative="greater")
    assert heavy.to_frame().loc["outliers", "p_value"] == pytest.approx(1 / 200)
    skewed = tested(4.0 * rng.exponential(size=300) ** 2)
    assert skewed.to_frame().loc["uniformity", "p_value"] == pytest.approx(1 / 200)
    # Precisions are drawn with: rows of weight w vary as sigma^2 / w.
    w = np.where(np.arange(300) % 2, 25.0, 1.0)
    y = X["x"] + effects + rng.normal(size=300) / np.sqrt(w)
    model = MixedLinearRegressor("(1 | g)", weighting="precision").fit(X, y, w)
    found = residual_tests(model, X, y, w, n_samples=99, random_state=0)
    assert (found["p_value"] > 0.05).all()


@pytest.mark.study
def test_p_values_of_linear_residual_tests_are_not_too_small():
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(20), 6)
    X, found = pd.DataFrame({"x": rng.normal(size=120), "g": g}), []
    for _ in range(200):
        y = X["x"] + rng.normal(size=20)[g] + rng.normal(size=120)
        model = MixedLinearRegressor("(1 | g)").fit(X, y)
        tests = residual_tests(model, X, y, n_samples=99, random_state=rng)
        found.append(tests["p_value"].to_numpy())
    assert (
        np.mean(np.array(found) <= 0.05, axis=0) < 0.05 + 3.0 * np.sqrt(0.05 * 0.95 / 200)
    ).all()
