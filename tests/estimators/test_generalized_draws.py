"""Responses drawn from generalized models: their moments in closed form, groups and bookkeeping."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skmixed import MixedClassifier, MixedGeneralizedRegressor
from skmixed.core.families.family import gaussian_mean, logistic

N = 20_000


def counts(n=300, seed=1):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {"x": rng.normal(size=n), "hours": rng.uniform(0.5, 3.0, n), "g": np.arange(n) % 30}
    )
    eta = 0.3 + 0.4 * table["x"] + 0.5 * rng.normal(size=30)[table["g"]]
    return table, rng.poisson(table["hours"] * np.exp(eta))


TABLE, Y = counts()
MODEL = MixedGeneralizedRegressor("(1 | g)", exposure="hours").fit(TABLE, Y)
ROWS = pd.DataFrame({"x": [0.2, -1.0, 0.5], "hours": [1.0, 2.0, 1.5], "g": [3, 3, 999]})


def test_counts_have_the_moments_of_a_log_normal_mixture():
    drawn = MODEL.simulate(ROWS, n_samples=N, random_state=0)
    v = float(MODEL.random_covariance_["g"].iloc[0, 0])
    eta = MODEL.intercept_ + MODEL.coef_[0] * ROWS["x"] + np.log(ROWS["hours"])
    mean = np.exp(eta + v / 2.0).to_numpy()
    same = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    covariance = np.outer(mean, mean) * np.expm1(v) * same + np.diag(mean)
    error = np.sqrt(np.diag(covariance) / N)
    assert (np.abs(drawn.mean(axis=1) - mean) < 4.0 * error).all()
    sizes = np.outer(error, error) * np.sqrt(N)
    assert (np.abs(np.cov(drawn) - covariance) < 12.0 * sizes).all()
    assert_array_equal(drawn, np.round(drawn))


def test_modes_of_known_levels_are_kept():
    drawn = MODEL.simulate(ROWS.iloc[:2], n_samples=N, random_state=0, random="fitted")
    plain = MixedGeneralizedRegressor("(1 | g)", exposure="hours", averaging="plug-in")
    mean = plain.fit(TABLE, Y).predict(ROWS.iloc[:2])
    assert_allclose(drawn.mean(axis=1), mean, atol=4.0 * np.sqrt(mean.max() / N))
    assert_allclose(drawn.var(axis=1), mean, rtol=0.06)  # Poisson, nothing else


def test_rates_are_counts_over_exposures():
    exposures = np.array([2.0, 5.0, 8.0])
    drawn = MODEL.simulate(ROWS, sample_weight=exposures, n_samples=50, random_state=0)
    assert_allclose(drawn * exposures[:, None], np.round(drawn * exposures[:, None]), atol=1e-9)


def test_shares_are_those_of_whole_trials():
    rng = np.random.default_rng(2)
    trials = rng.integers(1, 30, 200).astype(float)
    group = np.arange(200) % 20
    hits = rng.binomial(trials.astype(int), logistic(0.5 + rng.normal(size=20))[group])
    model = MixedGeneralizedRegressor(family="binomial", group_features=[0])
    model.fit(group[:, None], hits / trials, trials)
    drawn = model.simulate([[0], [1]], sample_weight=[10, 10], n_samples=N, random_state=0)
    v = float(next(iter(model.random_covariance_.values())).iloc[0, 0])
    eta = np.array([model.intercept_])
    mean = gaussian_mean(logistic, eta, np.array([v]), 40)[0]
    square = gaussian_mean(lambda e: logistic(e) ** 2, eta, np.array([v]), 40)[0]
    variance = square - mean**2 + (mean - square) / 10.0
    assert_allclose(drawn.mean(axis=1), mean, atol=4.0 * np.sqrt(variance / N))
    assert_allclose(drawn.var(axis=1), variance, rtol=0.05)
    assert_allclose(drawn * 10.0, np.round(drawn * 10.0), atol=1e-9)
    with pytest.raises(ValueError, match="whole numbers of trials"):
        model.simulate([[0]], sample_weight=[1.5])
    with pytest.raises(ValueError, match="sample_weight is 0 in row 1"):
        model.simulate([[0], [1]], sample_weight=[1, 0])


def test_a_classifier_draws_its_classes():
    rng = np.random.default_rng(3)
    X = pd.DataFrame({"x": rng.normal(size=400), "g": np.arange(400) % 20})
    y = np.where(X["x"] + rng.normal(size=400) + rng.normal(size=20)[X["g"]] > 0.0, "yes", "no")
    model = MixedClassifier("(1 | g)").fit(X, y)
    drawn = model.simulate(X, n_samples=400, random_state=0)
    assert drawn.shape == (400, 400)
    assert set(np.unique(drawn)) == {"yes", "no"}
    share = (drawn == "yes").mean(axis=1)
    assert np.abs(share - model.predict_proba(X, random="none")[:, 1]).max() < 0.12
    again = MixedClassifier("(1 | g)").fit(X, drawn[:, 0])
    assert again.classes_.tolist() == ["no", "yes"]
    assert_array_equal(drawn, model.simulate(X, n_samples=400, random_state=0))
    with pytest.raises(ValueError, match="a MixedClassifier simulates one class per"):
        model.simulate(X, sample_weight=np.ones(400))
    with pytest.raises(ValueError, match="neither"):
        model.simulate(X, random="old")


def test_the_dispersion_is_drawn():
    rng = np.random.default_rng(4)
    group = np.arange(600) % 30
    mean = np.exp(1.0 + 0.3 * rng.normal(size=30))[group]
    for family, y in [
        ("gamma", rng.gamma(2.0, mean / 2.0)),
        ("negative_binomial", rng.poisson(mean * rng.gamma(2.0, 0.5, 600))),
    ]:
        model = MixedGeneralizedRegressor(family=family, group_features=[0]).fit(group[:, None], y)
        drawn = model.simulate([[0]], n_samples=N, random_state=0, random="fitted")
        b = float(next(iter(model.random_effects_.values())).loc[0].iloc[0])
        mu = np.exp(model.intercept_ + b)
        found = model.dispersion_
        variance = mu**2 * found if family == "gamma" else mu + mu**2 / found
        assert_allclose(drawn.mean(), mu, atol=4.0 * np.sqrt(variance / N))
        assert_allclose(drawn.var(), variance, rtol=0.1)


def test_counts_without_an_exact_number_are_drawn_all_the_same():
    huge = pd.DataFrame({"x": [0.0], "hours": [1e30], "g": [999]})
    drawn = MODEL.simulate(huge, n_samples=100, random_state=0)
    v = float(MODEL.random_covariance_["g"].iloc[0, 0])
    log_mean = np.log(drawn / 1e30).mean()
    assert_allclose(log_mean, MODEL.intercept_, atol=5.0 * np.sqrt(v / 100))
