"""What a Bayesian model says is what its draws say, and what a fit says where data are plenty."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from skmixed import BayesianMixedRegressor, MixedLinearRegressor
from skmixed.bayes import HalfNormal, Prior, sample
from skmixed.bayes.row_predictions import mixture_quantiles
from skmixed.datasets import load_sleepstudy

ROWS = pd.DataFrame({"Days": [0.0, 9.0, 4.0, 4.0], "Subject": ["308", "309", "new", None]})


@pytest.fixture(scope="module")
def model():
    X, y = load_sleepstudy(return_X_y=True)
    return BayesianMixedRegressor("(Days | Subject)", random_state=0).fit(X, y)


def parts(model, rows):
    """Every draw of X beta + Z b of rows with known or unknown levels, (n_draws, n)."""
    draws = model.posterior_
    n = draws.n_chains * draws.n_draws
    beta, rng = draws.coef.reshape(n, 2), np.random.default_rng(5)
    z = np.column_stack([np.ones(len(rows)), rows["Days"]])
    found = np.empty((n, len(rows)))
    covariance = draws.random_covariance["Subject"].reshape(n, 2, 2)
    for place, subject in enumerate(rows["Subject"]):
        if subject in draws.levels("Subject"):
            b = draws.effects("Subject", [subject]).reshape(n, 2)
        else:
            root = np.linalg.cholesky(covariance)
            b = np.einsum("nab,nb->na", root, rng.standard_normal((n, 2)))
        found[:, place] = (beta + b) @ z[place]
    return found, draws.sigma.reshape(n)


def test_predictions_are_moments_of_draws(model):
    drawn, _ = parts(model, ROWS)
    n = 0.5 * model.efficiency_ * len(drawn)
    known = [0, 1]
    mean, std = model.predict(ROWS, return_std=True)
    error = drawn.std(axis=0) / np.sqrt(n)
    assert np.abs((drawn.mean(axis=0) - mean) / error)[known].max() < 4
    assert mean[2] == pytest.approx(model.predict(ROWS, random="none")[2])
    np.testing.assert_allclose(std, drawn.std(axis=0), rtol=0.08)
    population = model.predict(ROWS, random="none", return_std=True)
    z = np.column_stack([np.ones(4), ROWS["Days"]])
    np.testing.assert_allclose(population[0], z @ [model.intercept_, *model.coef_])
    exact = np.sqrt(((z @ model.coef_covariance_.to_numpy()) * z).sum(axis=1))
    np.testing.assert_allclose(population[1], exact, rtol=0.05)


@pytest.mark.parametrize("kind", ["mean", "observation"])
def test_intervals_hold_as_many_draws_as_they_say(model, kind):
    drawn, sigma = parts(model, ROWS)
    if kind == "observation":
        drawn = drawn + sigma[:, None] * np.random.default_rng(1).standard_normal(drawn.shape)
    limits = model.predict_interval(ROWS, level=0.8, kind=kind)
    for share in ((drawn < limits[:, 0]).mean(axis=0), (drawn > limits[:, 1]).mean(axis=0)):
        np.testing.assert_allclose(share, 0.1, atol=0.025)
    sampled = model.sample_y(ROWS, n_samples=3_000, random_state=0)
    assert sampled.shape == (4, 3_000)
    if kind == "observation":
        for row, (low, high) in zip(sampled, limits, strict=True):
            assert ((row > low) & (row < high)).mean() == pytest.approx(0.8, abs=0.035)


def test_quantiles_of_mixtures_are_those_of_their_distribution():
    rng = np.random.default_rng(0)
    means, variances = rng.standard_normal((30, 5)), rng.uniform(0.0, 2.0, (30, 5))
    probabilities = np.array([0.01, 0.5, 0.9])
    found = mixture_quantiles(means, variances, probabilities)
    for row in range(5):
        shares = stats.norm.cdf(found[row][:, None], means[:, row], np.sqrt(variances[:, row]))
        np.testing.assert_allclose(shares.mean(axis=1), probabilities, atol=1e-10)


def test_rows_of_one_new_label_share_an_effect(model):
    rows = pd.DataFrame({"Days": [0.0, 0.0, 0.0], "Subject": ["a", "a", "b"]})
    drawn = model.sample_y(rows, n_samples=4_000, random_state=0)
    correlations = np.corrcoef(drawn)
    assert correlations[0, 1] > correlations[0, 2] + 0.15
    again = model.sample_y(rows, n_samples=4_000, random_state=0)
    np.testing.assert_allclose(drawn, again, rtol=1e-8)


def test_attributes_are_those_of_the_draws(model):
    draws = model.posterior_
    np.testing.assert_allclose([model.intercept_, *model.coef_], draws.coef_mean, rtol=1e-8)
    mean, covariance = draws.effect_moments("Subject")
    frame = model.random_effects_["Subject"]
    assert list(frame.index[:2]) == ["308", "309"]
    spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    assert (np.abs(frame.to_numpy() - mean) < 0.05 * spread).all()
    np.testing.assert_allclose(model.random_effects_covariance_["Subject"], covariance, rtol=1e-8)
    expected = draws.random_covariance["Subject"].mean(axis=(0, 1))
    np.testing.assert_allclose(model.random_covariance_["Subject"], expected)
    assert model.sigma_ == pytest.approx(draws.sigma.mean())
    assert model.log_evidence_ == draws.log_evidence
    assert "sigma" in str(model.summary())
    assert model.n_groups_ == {"Subject": 18}
    fit = MixedLinearRegressor("(Days | Subject)").fit(*load_sleepstudy(return_X_y=True))
    alone = sample(fit, random_state=0)
    np.testing.assert_allclose(alone.phi, draws.phi, rtol=1e-8)


def test_further_rows_are_learned_or_their_groups_alone():
    X, y = load_sleepstudy(return_X_y=True)
    first = X["Subject"] < "350"
    settings = {"random_state": 0, "n_draws": 300}
    whole = BayesianMixedRegressor("(Days | Subject)", **settings).fit(X, y)
    model = BayesianMixedRegressor("(Days | Subject)", **settings).partial_fit(X[first], y[first])
    before = model.coef_.copy()
    model.update_groups(X[~first], y[~first])
    np.testing.assert_array_equal(model.coef_, before)
    assert len(model.random_effects_["Subject"]) == 18
    assert len(model.random_effects_covariance_["Subject"]) == 18
    mean, std = model.predict(X[~first], return_std=True)
    expected, deviations = whole.predict(X[~first], return_std=True)
    assert np.abs(mean - expected).max() < deviations.max()
    drawn = model.sample_y(X[~first], n_samples=400, random_state=1)
    assert np.abs(drawn.mean(axis=1) - mean).max() < 4.5 * np.hypot(std, model.sigma_).max() / 20
    model.partial_fit(X[:1].assign(Subject="other"), y[:1])
    assert len(model.random_effects_["Subject"]) == 19


def test_offsets_and_curves_are_part_of_all_predictions():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.uniform(0, 6, 120), "g": (np.arange(120) % 8).astype(str)})
    y = np.sin(X["x"]) + 5.0 * X["x"] + 0.3 * rng.standard_normal(120)
    y += rng.standard_normal(8)[X["g"].astype(int)]
    model = BayesianMixedRegressor(
        "(1 | g)", fixed="s(x) + offset(5 * x)", random_state=0, n_draws=200
    ).fit(X, y)
    means, std = model.predict(X, return_std=True)
    assert np.sqrt(np.mean((means - y) ** 2)) < 0.4
    limits = model.predict_interval(X, level=0.9)
    assert ((limits[:, 0] < y) & (y < limits[:, 1])).mean() > 0.8
    drawn = model.sample_y(X, n_samples=400, random_state=0)
    assert np.abs(drawn.mean(axis=1) - means).max() < 0.15
    assert (std < 0.6).all()
    assert any("s(x)" in name for name in model.posterior_.parameters)


def test_weights_of_precision_and_parameters_are_checked():
    X, y = load_sleepstudy(return_X_y=True)
    w = np.where(X["Days"] > 4, 4.0, 1.0)
    settings = {"random_state": 0, "n_draws": 100, "weighting": "precision"}
    one = BayesianMixedRegressor("(1 | Subject)", **settings).fit(X, y, w)
    two = BayesianMixedRegressor("(1 | Subject)", **settings).fit(X, y, 100.0 * w)
    np.testing.assert_allclose(one.coef_, two.coef_, rtol=2e-2)
    assert two.sigma_ == pytest.approx(10.0 * one.sigma_, rel=0.1)
    assert np.isfinite(one.loo(X, y, w).total)
    for wrong in ({"prior": "flat"}, {"n_draws": 0}, {"covariance": "ar1"}, {"n_chains": 1.5}):
        with pytest.raises(ValueError, match=f"The '{next(iter(wrong))}' parameter"):
            BayesianMixedRegressor("(1 | Subject)", **wrong).fit(X, y)
    prior = Prior(scales={"person": HalfNormal(3)})
    with pytest.raises(ValueError, match="'person', which is not a factor"):
        BayesianMixedRegressor("(1 | Subject)", prior=prior).fit(X, y)
    with pytest.raises(ValueError, match="level=2 is not a probability"):
        one.predict_interval(X, level=2)


def test_groups_without_a_level_are_nan_where_asked():
    X, y = load_sleepstudy(return_X_y=True)
    model = BayesianMixedRegressor(
        "(1 | Subject)", handle_unknown="nan", random_state=0, n_draws=50
    ).fit(X, y)
    assert list(np.isnan(model.predict(ROWS))) == [False, False, True, True]
    assert list(np.isnan(model.predict(ROWS, return_std=True)[1])) == [False, False, True, True]
    assert np.isnan(model.predict_interval(ROWS)[2:]).all()


def test_progress_is_shown_where_asked(capsys):
    X, y = load_sleepstudy(return_X_y=True)
    BayesianMixedRegressor("(1 | Subject)", verbose=1, random_state=0, n_draws=50).fit(X, y)
    assert "posterior" in capsys.readouterr().err


def test_a_fit_that_leaves_no_residual_has_no_posterior():
    x = np.arange(6.0)
    model = BayesianMixedRegressor(random_state=0).fit(x[:, None], 2.0 * x + 1.0)
    np.testing.assert_allclose(model.predict([[10.0]]), 21.0)
    assert not hasattr(model, "posterior_")
    assert not hasattr(model, "pareto_k_")
    assert model.sigma_ == 0.0
    for ask in (
        lambda: model.predict([[1.0]], return_std=True),
        lambda: model.predict_interval([[1.0]]),
        lambda: model.sample_y([[1.0]]),
        lambda: model.loo(x[:, None], 2.0 * x + 1.0),
        model.summary,
    ):
        with pytest.raises(ValueError, match="no residual variance is left, so that there"):
            ask()
    again = BayesianMixedRegressor.from_dict(model.to_dict())
    np.testing.assert_array_equal(again.predict(x[:, None]), model.predict(x[:, None]))
