import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from skmixed import BayesianMixedRegressor, MixedClassifier, MixedLinearRegressor
from skmixed.bayes import (
    LKJ,
    Exponential,
    Flat,
    Gamma,
    HalfNormal,
    InverseGamma,
    Prior,
    compare,
    sample,
    sampling,
)
from skmixed.bayes.density import PosteriorDensity, starting_points
from skmixed.bayes.parametrization import RootCoordinates
from skmixed.bayes.priors import ModelPrior
from skmixed.core.posterior import hamiltonian
from skmixed.core.posterior.hamiltonian import HamiltonianSample
from skmixed.core.posterior.integrated_likelihood import IntegratedLikelihood
from skmixed.core.posterior.mixing import effective_draws
from skmixed.exceptions import SamplingWarning

PRIORS = {
    "weak": "weak",
    "rstanarm": "rstanarm",
    "reference": "reference",
    "lighter": Prior(scales=HalfNormal(1.0), sigma=Gamma(2.0, 1.0), correlation=LKJ(2)),
    "away from zero": Prior(scales=InverseGamma(2.0, 1.0), sigma=Exponential(1.0)),
}


def table(k, n_groups, n, seed=5):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({f"x{i}": rng.standard_normal(n) for i in range(1, k)})
    g, h = rng.integers(n_groups, size=n), rng.integers(9, size=n)
    Z = np.column_stack([np.ones(n), X])
    effects = rng.standard_normal((n_groups, k)) * np.linspace(1.0, 0.4, k)
    y = Z.sum(axis=1) + (Z * effects[g]).sum(axis=1) + rng.standard_normal(n)
    X["g"], X["h"] = g.astype(str), h.astype(str)
    return X, y + 0.5 * rng.standard_normal(9)[h]


def fitted(random, k=3, n_groups=20, n=300, **settings):
    X, y = table(k, n_groups, n)
    used = [c for c in X if c not in "gh" or f"| {c}" in random or f"/{c}" in random]
    return MixedLinearRegressor(random, **settings).fit(X[used], y)


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize(
    ("random", "settings"),
    [
        ("(x1 + x2 | g)", {}),
        ("(x1 + x2 || g)", {}),
        ("(x1 | g) + (0 + x2 | g) + (1 | h)", {}),
        ("(x1 + x2 | g)", {"covariance": "identity"}),
        ("(1 | g/h)", {}),
        (None, {}),
    ],
)
def test_gradients_are_those_of_differences(random, settings, name):
    fit = fitted(random or "", **settings).fit_ if random else None
    if fit is None:
        X, y = table(3, 20, 300)
        fit = MixedLinearRegressor(None).fit(X[["x1", "x2"]], y).fit_
    prior = ModelPrior.of(fit, PRIORS[name])
    starts = starting_points(fit, prior)
    coordinates = RootCoordinates(prior.parametrization, starts[0], prior.root_degrees)
    density = PosteriorDensity(IntegratedLikelihood.of(fit, prior.coef), prior, coordinates)
    (v,), h = coordinates.points(starts[:1]), 1e-5
    v = np.stack([v * 1.05 + 0.03, v * 0.9 + 0.01])
    values, slopes = density.with_slopes(v)
    np.testing.assert_allclose(values, density(v)[0], rtol=1e-12)
    steps = h * np.eye(v.shape[1])
    apart = [(density(v + step)[0] - density(v - step)[0]) / (2 * h) for step in steps]
    np.testing.assert_allclose(slopes, np.transpose(apart), rtol=1e-6, atol=1e-5)
    outside = density.with_slopes(np.full((1, v.shape[1]), -1.0))
    if random:
        assert outside[0] == -np.inf
        assert not outside[1].any()


def assert_alike(one, other):
    """Compare means and quantiles of all parameters within their Monte Carlo errors."""
    for name, values in one.parameters.items():
        others, spread = other.parameters[name], values.std()
        worths = [
            float(min(effective_draws(each[:, :, None])[0], each.size)) for each in (values, others)
        ]
        error = np.sqrt(sum(1.0 / worth for worth in worths))
        assert abs(values.mean() - others.mean()) < 4.5 * spread * error, name
        assert abs(values.std() / others.std() - 1.0) < 4.5 * error, name
        for share in (0.05, 0.5, 0.95):
            tail = (others < np.quantile(values, share)).mean()
            assert abs(tail - share) < 4.5 * np.sqrt(share * (1 - share)) * error, name
    errors = np.hypot(one.log_evidence_error, other.log_evidence_error)
    assert abs(one.log_evidence - other.log_evidence) < 4 * errors + 0.02
    spreads = np.sqrt(np.diag(one.coef_covariance))
    assert np.abs(one.coef_mean - other.coef_mean).max() < 0.05 * spreads.max()
    np.testing.assert_allclose(np.sqrt(np.diag(other.coef_covariance)), spreads, rtol=0.1)


def test_ten_parameters_are_those_of_weighted_proposals():
    model = fitted("(x1 + x2 + x3 | g)", k=4, n_groups=30)
    one, other = (
        sample(model, Prior(correlation=LKJ(1.5)), sampler=name, n_draws=500, random_state=0)
        for name in ("importance", "hamiltonian")
    )
    assert one.phi.shape[2] == other.phi.shape[2] == 11
    assert (one.sampler, other.sampler) == ("importance", "hamiltonian")
    assert_alike(one, other)
    assert other.efficiency > 0.4
    for moments in zip(one.effect_moments("g"), other.effect_moments("g"), strict=True):
        assert np.abs(moments[0] - moments[1]).max() < 0.05


def test_crossed_factors_are_those_of_weighted_proposals():
    model = fitted("(x1 | g) + (1 | h)", k=2, n_groups=8, n=120)
    one, other = (
        sample(model, sampler=name, n_draws=300, random_state=0)
        for name in ("importance", "hamiltonian")
    )
    assert_alike(one, other)


def test_sigma_alone_has_a_closed_form():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 2)), rng.standard_normal(40)
    model = MixedLinearRegressor(None).fit(X, y)
    draws = sample(model, "reference", sampler="hamiltonian", random_state=0)
    residuals = y - model.predict(X)
    precisions = np.square(residuals).sum() / draws.sigma**2  # chi-squared, of n - p
    worth = effective_draws(draws.sigma[:, :, None])[0]
    assert abs(precisions.mean() - 37) < 4 * np.sqrt(2 * 37 / min(worth, 4000))
    assert np.isnan(draws.log_evidence)
    with pytest.raises(ValueError, match="has no evidence"):
        compare([draws])


@pytest.fixture
def learning_is_short(monkeypatch):
    monkeypatch.setattr(hamiltonian, "_LEARNING", (20, 20, 10))


def test_many_parameters_are_drawn_along_the_gradient(monkeypatch, learning_is_short):
    model = fitted("(x1 | g)", k=2)
    assert sample(model, n_draws=20, random_state=0).sampler == "importance"
    monkeypatch.setattr(sampling, "_MOST_WEIGHTED", 3)
    draws = sample(model, n_draws=100, random_state=0)
    assert draws.sampler == "hamiltonian"
    assert draws.n_divergent == 0
    assert "divergent transitions 0" in str(draws.diagnostics())
    assert sample(model, n_draws=20, sampler="importance").sampler == "importance"


def test_draws_do_not_depend_on_threads_and_chains_may_be_one(learning_is_short):
    model = fitted("(x1 | g) + (1 | h)", k=2)
    one, two = (
        sample(model, n_draws=20, sampler="hamiltonian", random_state=0, n_jobs=n) for n in (1, 2)
    )
    np.testing.assert_array_equal(one.phi, two.phi)
    alone = sample(model, n_draws=50, n_chains=1, sampler="hamiltonian", random_state=0)
    assert alone.coef.shape == (1, 50, 2)


def test_a_bar_shows_paths(capsys, learning_is_short):
    sample(fitted("(1 | g)"), n_draws=10, sampler="hamiltonian", random_state=0, verbose=1)
    assert "posterior: 100%" in capsys.readouterr().err


def test_chains_that_have_not_mixed_are_warned_of(monkeypatch, learning_is_short):
    monkeypatch.setattr(HamiltonianSample, "r_hat", 1.3)
    with pytest.warns(SamplingWarning, match="the largest R-hat is 1.30"):
        sample(fitted("(1 | g)"), n_draws=20, sampler="hamiltonian", random_state=0)


def test_what_has_no_gradient_and_no_name_is_refused():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"g": rng.integers(8, size=60).astype(str)})
    y = rng.random(60) < 0.5
    model = MixedClassifier("(1 | g)").fit(X, y)
    with pytest.raises(ValueError, match="needs a linear model"):
        sample(model, X=X, y=y, sampler="hamiltonian")
    with pytest.raises(ValueError, match="sampler='nuts' is not one of"):
        sample(fitted("(1 | g)"), sampler="nuts")
    with pytest.raises(ValueError, match="sampler"):
        BayesianMixedRegressor("(1 | g)", sampler="nuts").fit(X, y.astype(float))


def test_the_estimator_takes_a_sampler(learning_is_short):
    X, y = table(2, 8, 80)
    model = BayesianMixedRegressor("(x1 | g)", sampler="hamiltonian", n_draws=50, random_state=0)
    model.fit(X[["x1", "g"]], y)
    assert model.posterior_.sampler == "hamiltonian"
    assert np.isnan(model.pareto_k_)
    low, high = model.predict_interval(X[["x1", "g"]], level=0.5).T
    assert 0.3 < ((low < y) & (y < high)).mean() < 0.7


def test_flat_deviations_have_the_density_of_a_grid():
    X, y = table(2, 12, 100)
    model = MixedLinearRegressor("(1 | g)").fit(X[["x1", "g"]], y)
    prior = Prior(scales=Flat(), sigma=HalfNormal(2.0))
    draws = sample(model, prior, sampler="hamiltonian", random_state=1)
    own = ModelPrior.of(model.fit_, prior)
    likelihood = IntegratedLikelihood.of(model.fit_, own.coef)
    grid = np.stack(np.meshgrid(np.linspace(-6, 2, 300), np.linspace(-0.6, 0.6, 120)), -1)
    phi = grid.reshape(-1, 2)
    given = likelihood.given(
        likelihood.sums(own.parametrization.lambdas(phi), len(phi)), np.exp(phi[:, 1])
    )
    values = given.log_likelihood + own.log_density(phi)
    weights = np.exp(values - values.max())
    weights /= weights.sum()
    drawn = draws.phi[:, :, 0]
    worth = min(effective_draws(drawn[:, :, None])[0], drawn.size)
    for share in (0.05, 0.5, 0.95):
        cut = np.quantile(drawn, share)
        exact = weights @ (phi[:, 0] < cut)
        assert abs(exact - share) < norm.ppf(0.9999) * np.sqrt(share * (1 - share) / worth) + 2e-3
