"""Marginal means of generalized models, of the link and of the response."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skmixed import MixedClassifier, glmer, lmer
from skmixed.core.search.coordinates import Coordinates
from skmixed.datasets import load_cbpp, load_sleepstudy
from skmixed.inference import coefficient_table, linear_hypothesis, marginal_means


@pytest.fixture(scope="module")
def shops():
    rng = np.random.default_rng(2)
    n, n_shops = 600, 30
    X = pd.DataFrame({"x": rng.normal(1.0, 1.0, n), "shop": np.arange(n) % n_shops})
    X["kind"] = rng.choice(list("abc"), n)
    X["day"] = rng.choice(["work", "rest"], n)
    level, slope = rng.normal(size=(2, n_shops)) * [[0.8], [0.4]]
    kind = X["kind"].map({"a": 0.0, "b": 0.5, "c": -0.4}).astype(float)
    X["eta"] = 0.2 + kind + level[X["shop"]] + (0.3 + slope[X["shop"]]) * X["x"]
    X["count"] = rng.poisson(np.exp(0.5 * X["eta"]))
    X["bought"] = rng.random(n) < 1.0 / (1.0 + np.exp(-X["eta"]))
    return X


@pytest.fixture(scope="module")
def bought(shops):
    return glmer("bought ~ kind + day + x + (x | shop)", shops, family="binomial")


def test_means_of_the_link_are_functions_of_the_coefficients(bought, shops):
    found = marginal_means(bought, "kind").to_frame()
    x = shops["x"].mean()
    wanted = {"a": [1, 0, 0, 0.5, x], "b": [1, 1, 0, 0.5, x], "c": [1, 0, 1, 0.5, x]}
    for kind, function in wanted.items():
        test = linear_hypothesis(bought, [function]).to_frame()
        beta = coefficient_table(bought).to_frame()["estimate"].to_numpy()
        assert found.loc[kind, "estimate"] == pytest.approx(np.dot(function, beta), rel=1e-10)
        statistic = found.loc[kind, "statistic"]
        assert statistic == pytest.approx(test["statistic"].iloc[-1], rel=1e-8)
        assert found.loc[kind, "p_value"] == pytest.approx(2.0 * stats.norm.sf(abs(statistic)))
    assert np.isinf(found["df"]).all()


def test_means_of_the_response_are_those_of_the_population(bought, shops):
    found = marginal_means(bought, "kind", at={"x": 0.5}, scale="response").to_frame()
    for kind in "abc":
        rows = pd.DataFrame({"kind": kind, "day": ["rest", "work"], "x": 0.5})
        expected = bought.predict(rows, random="none").mean()
        assert found.loc[kind, "estimate"] == pytest.approx(expected, rel=1e-8)
    assert list(found.columns) == ["estimate", "std_error", "lower", "upper"]
    assert ((found["lower"] > 0.0) & (found["upper"] < 1.0)).all()
    means = marginal_means(bought, "day", scale="response").to_frame()
    held = pd.DataFrame({"kind": list("abc"), "day": "work", "x": shops["x"].mean()})
    expected = bought.predict(held, random="none").mean()
    assert means.loc["work", "estimate"] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_errors_are_those_of_all_parameters(shops, family):
    """By differences of means that are integrated anew at other coefficients and variances."""
    response = "bought" if family == "binomial" else "count"
    model = glmer(f"{response} ~ kind + x + (x | shop)", shops, family=family)
    fit, x = model.fit_, 1.2
    coordinates = Coordinates.natural(fit.problem.structures)
    theta = coordinates.read(fit.working.scaled_lambdas)
    parameters = np.concatenate([fit.beta, theta])
    nodes = np.linspace(-8.0, 8.0, 801)
    weights = np.exp(-0.5 * nodes**2) / np.exp(-0.5 * nodes**2).sum()

    def means(parameters):
        (lam,) = coordinates.lambdas(parameters[4:])
        root = fit.problem.model.random_maps[0] @ lam
        deviation = np.linalg.norm(np.array([1.0, x]) @ root)
        kinds = np.array([[1.0, 0, 0, x], [1, 1, 0, x], [1, 0, 1, x]])
        eta = (kinds @ parameters[:4])[:, None] + deviation * nodes
        return fit.family.mean(eta) @ weights

    slopes = []
    for place in range(len(parameters)):
        step = 1e-5 * np.eye(len(parameters))[place]
        slopes.append((means(parameters + step) - means(parameters - step)) / 2e-5)
    slopes = np.array(slopes).T
    covariance = slopes @ fit.parameter_covariance @ slopes.T
    result = marginal_means(model, "kind", at={"x": x}, scale="response")
    found = result.to_frame()
    assert_allclose(found["estimate"], means(parameters), rtol=1e-8)
    assert_allclose(found["std_error"], np.sqrt(np.diag(covariance)), rtol=1e-5)
    pairs = result.pairs().to_frame()
    contrast = np.array([1.0, 0.0, -1.0])
    assert pairs.loc["a - c", "std_error"] == pytest.approx(
        np.sqrt(contrast @ covariance @ contrast), rel=1e-5
    )
    assert pairs.loc["a - c", "estimate"] == pytest.approx(contrast @ found["estimate"])
    # intervals are symmetric about the link of the mean
    low, link, high = (fit.family.eta_of(found[c]) for c in ("lower", "estimate", "upper"))
    assert_allclose(high - link, link - low, rtol=1e-6)
    slope = (fit.family.mean(link + 1e-5) - fit.family.mean(link - 1e-5)) / 2e-5
    assert_allclose(high - link, 1.959964 * found["std_error"] / slope, rtol=1e-5)


def test_without_groups_they_are_those_of_a_generalized_linear_model(shops):
    model = glmer("count ~ kind", shops, family="poisson")
    found = marginal_means(model, "kind", scale="response").to_frame()
    means, sizes = shops.groupby("kind")["count"].mean(), shops["kind"].value_counts()
    assert_allclose(found["estimate"], means, rtol=1e-7)
    assert_allclose(found["std_error"], np.sqrt(means / sizes.loc[list("abc")]), rtol=1e-6)


def test_numbers_are_held_at_the_mean_of_the_rows(shops):
    weights = np.arange(len(shops)) % 3 + 1.0
    model = MixedClassifier("(1 | shop)", fixed="kind + x")
    model.fit(shops[["x", "kind", "shop"]], shops["bought"], sample_weight=weights)
    notes = marginal_means(model, "kind").table.notes
    assert f"At x = {np.average(shops['x'], weights=weights):.6g}." in notes


def test_slopes_outside_of_the_fixed_part(shops):
    model = glmer("count ~ kind + (x | shop)", shops, family="poisson")
    assert np.isfinite(marginal_means(model, "kind").to_frame()["estimate"]).all()
    with pytest.raises(ValueError, match=r"\['x'\] have random slopes but .* fixed part"):
        marginal_means(model, "kind", scale="response")
    with pytest.raises(ValueError, match="scale='mean' is not one of 'link'"):
        marginal_means(model, "kind", scale="mean")
    with pytest.raises(ValueError, match="df='satterthwaite' needs a linear"):
        marginal_means(model, "kind", df="satterthwaite")


def test_linear_models_have_one_scale(shops):
    model = lmer("eta ~ kind + (1 | shop)", shops)
    first, second = (marginal_means(model, "kind", scale=s) for s in ("link", "response"))
    pd.testing.assert_frame_equal(first.to_frame(), second.to_frame())


@pytest.mark.filterwarnings("ignore:the columns")
def test_infinite_coefficients_have_no_error(shops):
    table = shops.assign(bought=shops["bought"] | (shops["kind"] == "c"))
    model = glmer("bought ~ kind + (1 | shop)", table, family="binomial")
    for scale in ("link", "response"):
        found = marginal_means(model, "kind", scale=scale).to_frame()["std_error"]
        assert np.isfinite(found["a"])
        assert np.isfinite(found["b"])
        assert np.isnan(found["c"])


def test_inverse_link_means_and_odds_ratios_are_those_of_emmeans():
    """emmeans(m, pairwise ~ period, type = "response") of emmeans 1.10, m by glmer of lme4."""
    model = glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", load_cbpp())
    means = marginal_means(model, "period", scale="inverse-link")
    found = means.to_frame()
    assert list(found) == ["estimate", "std_error", "lower", "upper"]
    np.testing.assert_allclose(found["estimate"], [0.1981, 0.0839, 0.0740, 0.0484], atol=1e-4)
    np.testing.assert_allclose(found["std_error"], [0.0367, 0.0236, 0.0224, 0.0196], atol=4e-4)
    np.testing.assert_allclose(found["lower"], [0.1357, 0.0478, 0.0404, 0.0216], atol=5e-4)
    np.testing.assert_allclose(found["upper"], [0.2799, 0.1433, 0.1318, 0.1048], atol=1e-3)
    pairs = means.pairs("tukey")
    table = pairs.to_frame()
    assert table.index[0] == "1 / 2"
    np.testing.assert_allclose(
        table["estimate"], [2.6964, 3.0901, 4.8537, 1.1460, 1.8001, 1.5707], rtol=1e-3
    )
    np.testing.assert_allclose(table["p_value"][:3], [0.0059, 0.0027, 0.0010], atol=1e-3)
    np.testing.assert_allclose(table["p_value"][3:], [0.9837, 0.5843, 0.7807], atol=0.012)
    assert "Odds ratios" in str(pairs)
    # A ratio of odds is that of the coefficients, and its error the delta method's.
    ratios = coefficient_table(model, exponentiate=True, level=0.95).to_frame()
    plain = coefficient_table(model, level=0.95).to_frame()
    np.testing.assert_allclose(
        ratios.loc["period[T.2]", "estimate"], 1.0 / table["estimate"].iloc[0]
    )
    np.testing.assert_allclose(ratios["std_error"], ratios["estimate"] * plain["std_error"])
    for limit in ("estimate", "lower", "upper"):
        np.testing.assert_allclose(ratios[limit], np.exp(plain[limit]))
    for same in ("statistic", "p_value"):
        np.testing.assert_array_equal(ratios[same], plain[same])
    # tidy(m, exponentiate = TRUE, conf.int = TRUE) of broom.mixed
    np.testing.assert_allclose(ratios["estimate"], [0.2470, 0.3709, 0.3236, 0.2060], atol=2e-4)
    np.testing.assert_allclose(ratios["std_error"], [0.0571, 0.1124, 0.1045, 0.0870], atol=2e-3)


def test_ratios_say_what_they_are_of():
    data = load_cbpp()
    counts = glmer("incidence ~ period + (1 | herd)", data, family="poisson", exposure="size")
    means = marginal_means(counts, "period", scale="inverse-link")
    # emmeans of the same model, offset = 0: 0.1925, 0.0828, 0.0732, 0.0479; ratio 2.33
    np.testing.assert_allclose(means["estimate"], [0.1925, 0.0828, 0.0732, 0.0479], atol=2e-4)
    assert means.pairs()["estimate"].iloc[0] == pytest.approx(2.33, abs=0.01)
    assert "Rate ratios" in str(means.pairs())
    assert "Rate ratios" in str(coefficient_table(counts, exponentiate=True))
    trials = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    probit = glmer(trials, data, link="probit")
    with pytest.raises(ValueError, match="not logarithms of ratios"):
        coefficient_table(probit, exponentiate=True)
    of_probit = marginal_means(probit, "period", scale="inverse-link").pairs()
    assert of_probit.to_frame().index[0] == "1 - 2"
    on_link = marginal_means(probit, "period").pairs()
    np.testing.assert_array_equal(of_probit["estimate"], on_link["estimate"])
    assert "Hazard" in str(
        coefficient_table(glmer(trials, data, link="cloglog"), exponentiate=True)
    )
    linear = lmer("Reaction ~ Days + (1 | Subject)", load_sleepstudy())
    at = {"Days": [0, 9]}
    same = marginal_means(linear, "Days", at=at, scale="inverse-link")
    pd.testing.assert_frame_equal(same.to_frame(), marginal_means(linear, "Days", at=at).to_frame())
