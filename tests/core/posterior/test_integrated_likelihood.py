import numpy as np
import pytest
from scipy.special import gammaln

from skmixed import MixedLinearRegressor
from skmixed.core.posterior.coefficient_prior import CoefficientPrior
from skmixed.core.posterior.conditional import Average, effect_moments, posterior_at
from skmixed.core.posterior.effect_draws import EffectDraws
from skmixed.core.posterior.integrated_likelihood import IntegratedLikelihood
from skmixed.core.posterior.reduced_sums import Reduction
from skmixed.datasets import load_sleepstudy
from tests.core.posterior.dense_posterior import MODELS, Case

WEIGHTS = [None, "frequency", "precision"]


def given(case, fit=None, n=1):
    likelihood = IntegratedLikelihood.of(fit or case.fit, case.prior)
    lambdas = [np.repeat(lam[None], n, axis=0) for lam in case.lambdas]
    return likelihood.given(likelihood.sums(lambdas, n), np.full(n, case.sigma))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("prior", ["flat", "proper", "singular"])
@pytest.mark.parametrize("name", MODELS)
def test_likelihood_is_that_of_the_dense_normal(name, prior, weights):
    for seed, shift in enumerate([0.0, 500.0]):
        case = Case(name, prior=prior, weights=weights, shift=shift, seed=seed)
        found = given(case).log_likelihood[0]
        assert found == pytest.approx(case.dense_log_likelihood(), rel=1e-9, abs=4e-9 * (1 + shift))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", MODELS)
def test_coefficients_are_those_of_the_dense_posterior(name, weights):
    case = Case(name, weights=weights, seed=3)
    found, (mean, covariance) = given(case), case.dense_posterior()
    np.testing.assert_allclose(found.means[0], mean[:3], rtol=1e-9)
    np.testing.assert_allclose(found.covariances[0], covariance[:3, :3], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", [name for name in MODELS if name != "no factor"])
def test_moments_of_effects_are_those_of_the_dense_posterior(name, weights):
    case = Case(name, weights=weights, seed=4)
    found, (mean, covariance) = given(case), case.dense_posterior()
    at = posterior_at(case.fit, case.lambdas, found.means[0], found.covariances[0], case.sigma)
    start = 3
    for effects, spread in effect_moments(at):
        size, k = effects.size, effects.shape[1]
        np.testing.assert_allclose(effects.ravel(), mean[start : start + size], rtol=1e-8)
        for level, block in enumerate(spread):
            place = slice(start + level * k, start + (level + 1) * k)
            np.testing.assert_allclose(block, covariance[place, place], rtol=1e-8, atol=1e-12)
        start += size


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", [name for name in MODELS if name != "no factor"])
def test_draws_at_fixed_variances_are_of_the_dense_posterior(name, weights):
    n = 6_000 if len(MODELS[name][1]) == 1 else 600
    case = Case(name, weights=weights, seed=5)
    mean, covariance = case.dense_posterior()
    beta = given(case, n=n).draw(np.random.default_rng(0))
    lambdas = [np.repeat(lam[None], n, axis=0) for lam in case.lambdas]
    draws = EffectDraws(case.fit, lambdas, np.full(n, case.sigma), beta, seed=1)
    sizes = [own.shape[2] for own in case.fit.problem.model.own]
    effects = [draws.of(f, np.arange(size)).reshape(n, -1) for f, size in enumerate(sizes)]
    drawn = np.concatenate([beta, *effects], axis=1)
    sd = np.sqrt(np.diag(covariance))
    assert np.abs((drawn.mean(axis=0) - mean) / sd * np.sqrt(n)).max() < 4.5
    apart = (np.cov(drawn.T) - covariance) / np.outer(sd, sd)
    assert np.abs(apart).max() * np.sqrt(n) < 6.5  # of a thousand entries, of sd sqrt(2) at most
    few = draws.of(0, np.array([2, 0]))
    np.testing.assert_array_equal(few, draws.of(0, np.arange(sizes[0]))[:, [2, 0]])


def test_reference_prior_gives_the_restricted_likelihood():
    X, y = load_sleepstudy(return_X_y=True)
    fit = MixedLinearRegressor("(Days | Subject)").fit(X, y).fit_
    nu = fit.problem.degrees
    likelihood = IntegratedLikelihood.of(fit, CoefficientPrior.flat(2))
    constant = gammaln(nu / 2) - np.log(2) + nu / 2 * (1 - np.log(nu / 2))
    for theta in [fit.theta, np.array([1.2, 0.1, 0.4]), np.array([0.3, 0.0, 0.0])]:
        lam = np.array([[theta[0], 0.0], [theta[1], theta[2]]])
        center = np.log(np.sqrt(fit.sigma2))
        grid = np.linspace(center - 1.5, center + 1.5, 3001)
        lambdas = [np.repeat(lam[None], len(grid), axis=0)]
        values = likelihood.given(likelihood.sums(lambdas, len(grid)), np.exp(grid)).log_likelihood
        top = values.max()
        total = top + np.log(np.exp(values - top).sum() * (grid[1] - grid[0]))
        assert total == pytest.approx(constant - fit.criterion_at(theta) / 2, abs=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_merged_sums_are_sums_of_all(name):
    case = Case(name, seed=6, n=80)
    model = MixedLinearRegressor(case.random)
    for part in (slice(0, 35), slice(35, None)):
        model.partial_fit(case.X.iloc[part], case.y[part])
    merged = given(case, model.fit_).log_likelihood[0]
    assert merged == pytest.approx(given(case).log_likelihood[0], rel=1e-10)


@pytest.mark.parametrize("name", ["nested", "crossed", "one slope"])
def test_results_do_not_depend_on_threads_or_neighbours(name):
    case = Case(name, seed=7)
    rng = np.random.default_rng(0)
    lambdas = [lam * rng.uniform(0.1, 2.0, (150, 1, 1)) for lam in case.lambdas]
    lambdas = case.fit.problem.scaled_lambdas(lambdas)
    one, two = (Reduction(case.fit.problem).at(lambdas, n) for n in (1, 2))
    np.testing.assert_array_equal(one.gram, two.gram)
    alone = Reduction(case.fit.problem).at([lam[7:8] for lam in lambdas])
    np.testing.assert_allclose(alone.gram[0], one.gram[7], rtol=1e-12)


def test_levels_of_many_sizes_and_sums_within_levels_are_as_single_evaluations():
    rng = np.random.default_rng(2)
    sizes = rng.integers(1, 5, 6_000)
    g = np.repeat(np.arange(6_000), sizes)
    for spread in [1.0, 1e6]:
        x = rng.standard_normal(len(g))
        y = x + spread * rng.standard_normal(6_000)[g] + rng.standard_normal(len(g))
        fit = MixedLinearRegressor().fit(x[:, None], y, groups=g).fit_
        lam = np.array([[[0.7]], [[spread]]])
        found = Reduction(fit.problem).at([lam])
        many = Reduction(fit.problem)._by_single([lam])
        np.testing.assert_allclose(found.log_det, many.log_det, rtol=1e-12)
        np.testing.assert_allclose(found.gram, many.gram, rtol=1e-10, atol=1e-10)


def test_average_is_that_of_a_mixture():
    rng = np.random.default_rng(1)
    means, weights = rng.standard_normal((7, 3, 2)), rng.dirichlet(np.ones(7))
    roots = rng.standard_normal((7, 3, 2, 2))
    covariances = roots @ roots.swapaxes(-1, -2)
    found = Average.of(zip(means, covariances, strict=True), weights)
    mean = np.einsum("r,rlk->lk", weights, means)
    second = np.einsum("r,rla,rlb->lab", weights, means, means)
    expected = np.einsum("r,rlab->lab", weights, covariances) + second
    np.testing.assert_allclose(found.mean, mean)
    np.testing.assert_allclose(found.covariance, expected - mean[..., :, None] * mean[..., None, :])
    error = np.sqrt(np.einsum("r,rlk->lk", weights**2, (means - mean) ** 2))
    np.testing.assert_allclose(found.error, error)
