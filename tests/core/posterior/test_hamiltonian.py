import numpy as np
import pytest
from scipy import stats

from skmixed.core.posterior import hamiltonian
from skmixed.core.posterior.bridge import bridged_integral
from skmixed.core.posterior.density_modes import HeightsOfMany, HeightsWithSlopes
from skmixed.core.posterior.hamiltonian import States, hamiltonian_sample, path
from skmixed.core.posterior.importance import importance_sample
from skmixed.core.posterior.integrated_likelihood import IntegratedLikelihood
from skmixed.core.posterior.mixing import effective_draws
from tests.core.posterior.dense_posterior import MODELS, Case


def skewed(x):
    """Logs of gamma variables beside each other, each pulled to the one before: a closed form."""
    shapes = 1.0 + np.arange(x.shape[1])
    moved = x - 0.5 * np.roll(x, 1, axis=1) * (np.arange(x.shape[1]) > 0)
    values = (shapes * moved - np.exp(moved)).sum(axis=1)
    own = shapes - np.exp(moved)
    slopes = own - 0.5 * np.roll(own, -1, axis=1) * (np.arange(x.shape[1]) < x.shape[1] - 1)
    return values, slopes


def drawn(sloped, starts, n_draws=1000, n_chains=4, seed=0, **more):
    def target(points):
        return sloped(points)[0], None

    generator = np.random.default_rng(seed)
    starts = np.atleast_2d(starts)
    return hamiltonian_sample(target, sloped, starts, n_draws, n_chains, generator, **more)


def test_paths_lead_back_and_keep_volume():
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(np.cov(rng.standard_normal((3, 50))))
    first = States(rng.standard_normal((2, 3)), np.empty(2), np.empty((2, 3)))
    states = States(first.points, *skewed(first.points))
    momenta, steps = rng.standard_normal((2, 3)), np.array([[0.3], [0.2]])
    ends, final = path(skewed, root, states, momenta, steps, 7)
    back, turned = path(skewed, root, ends, -final, steps, 7)
    np.testing.assert_allclose(back.points, states.points, atol=1e-12)
    np.testing.assert_allclose(turned, -momenta, atol=1e-12)

    def end(z):
        points = z[None, :3]
        there, after = path(
            skewed, root, States(points, *skewed(points)), z[None, 3:], steps[:1], 7
        )
        return np.concatenate([there.points[0], after[0]])

    z = np.concatenate([states.points[0], momenta[0]])
    jacobian = np.array([(end(z + h) - end(z - h)) / 2e-5 for h in 1e-5 * np.eye(6)])
    assert np.linalg.det(jacobian) == pytest.approx(1.0, abs=1e-6)


def test_a_density_of_closed_form_is_drawn_and_integrated():
    sample = drawn(skewed, np.zeros(6))
    x = sample.points
    moved = np.exp(x - 0.5 * np.roll(x, 1, axis=1) * (np.arange(6) > 0))
    worth = effective_draws(moved.reshape(4, 1000, 6))
    for number, shape in enumerate(1.0 + np.arange(6)):  # each is a gamma variable
        own = moved[:, number]
        assert abs(own.mean() - shape) < 4 * np.sqrt(shape / worth[number])
        cuts = stats.gamma(shape).ppf([0.05, 0.5, 0.95])
        tails = (own[:, None] < cuts).mean(axis=0)
        assert np.abs(tails - [0.05, 0.5, 0.95]).max() < 4 * 0.5 / np.sqrt(worth[number])
    evidence = np.log([1, 1, 2, 6, 24, 120]).sum()
    assert abs(sample.log_evidence - evidence) < 4 * sample.log_evidence_error
    assert sample.log_evidence_error < 0.1
    assert sample.efficiency > 0.3
    assert sample.r_hat < 1.02
    assert not sample.is_poor
    assert sample.n_divergent == 0
    assert np.isnan(sample.pareto_k)
    assert 0.7 < sample.acceptance < 0.95


def test_steps_from_the_density_stay_in_it(monkeypatch):
    monkeypatch.setattr(hamiltonian, "_LEARNING", (1,))  # nothing is learned: far from the best
    rng = np.random.default_rng(3)
    own = np.log(rng.gamma([1.0, 2.0], size=(4000, 2)))
    own[:, 1] += 0.5 * own[:, 0]
    density = HeightsWithSlopes(skewed)
    chains = hamiltonian._Chains(density, np.diag([2.0, 0.5]), rng)
    chains.step.log = np.log(0.5)
    states = States(own, *skewed(own))
    for _ in range(20):
        states, accepted = chains.moved(states)
    assert accepted < 0.97
    first = stats.kstest(np.exp(states.points[:, 0]), stats.gamma(1.0).cdf)
    moved = np.exp(states.points[:, 1] - 0.5 * states.points[:, 0])
    assert min(first.pvalue, stats.kstest(moved, stats.gamma(2.0).cdf).pvalue) > 0.001


def test_a_ridge_is_told_and_modes_apart_are():
    def apart(x):
        ends = -0.5 * np.square(x - 8.0).sum(axis=1), -0.5 * np.square(x + 8.0).sum(axis=1)
        share = 1.0 / (1.0 + np.exp(np.clip(ends[1] - ends[0], -700, 700)))[:, None]
        return np.logaddexp(*ends), share * (8.0 - x) + (1.0 - share) * (-8.0 - x)

    found = drawn(apart, [[7.0, 7.0], [-7.0, -7.0]], n_draws=100, seed=2)
    assert found.is_poor
    assert found.r_hat > 1.5


def test_short_chains_have_no_evidence_and_no_alarm():
    for n_draws in (1, 3, 10):
        sample = drawn(skewed, np.zeros(2), n_draws=n_draws, n_chains=1)
        assert np.isnan(sample.log_evidence)
        assert not sample.is_poor
        assert sample.points.shape == (n_draws, 2)
    assert np.isnan(drawn(skewed, np.zeros(2), n_draws=200, has_evidence=False).log_evidence)


def test_the_same_seed_gives_the_same_draws():
    one, two, other = (drawn(skewed, np.ones(2), 20, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.points, two.points)
    assert (one.points != other.points).any()


def test_bridges_find_the_integral_of_a_normal_density():
    rng = np.random.default_rng(1)
    normal = stats.multivariate_normal(np.ones(4), np.diag([1.0, 4.0, 9.0, 0.1]))
    points = normal.rvs((4, 600), random_state=rng)
    found = [
        bridged_integral(lambda x: (normal.logpdf(x) - 5.0, None), points, values, rng)
        for values in [normal.logpdf(points) - 5.0] * 8
    ]
    values, errors = np.array(found).T
    assert np.abs(values + 5.0).max() < 4 * errors.mean()
    assert errors.max() < 0.05


def test_derivatives_by_differences_are_those_of_exact_slopes():
    exact = HeightsWithSlopes(skewed)
    differences = HeightsOfMany(lambda x: (skewed(x)[0], None))
    at = np.array([0.3, -0.2, 0.5])
    (value, slope), (same, other) = exact.with_slope(at), differences.with_slope(at)
    assert value == pytest.approx(same, rel=1e-12)
    np.testing.assert_allclose(slope, other, rtol=1e-6)
    np.testing.assert_allclose(exact.hessian(at), differences.hessian(at), rtol=1e-3, atol=1e-3)
    assert (exact.n, differences.n) == (7, 31)


@pytest.mark.parametrize("weights", [None, "precision", "frequency"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_the_likelihood_are_those_of_differences(name, weights):
    case = Case(name, weights=weights, seed=2)
    likelihood, rng = IntegratedLikelihood.of(case.fit, case.prior), np.random.default_rng(0)
    lambdas = [np.repeat(lam[None], 3, 0) * rng.uniform(0.5, 1.5, 3)[:, None, None]
               for lam in case.lambdas]  # fmt: skip
    sigma, h = case.sigma * np.array([0.8, 1.0, 1.3]), 1e-5

    def at(lambdas, sigma):
        return likelihood.given(likelihood.sums(lambdas, 3), sigma).log_likelihood

    values, slopes, in_sigma = likelihood.with_slopes(lambdas, sigma)
    np.testing.assert_allclose(values, at(lambdas, sigma), rtol=1e-12)
    apart = (at(lambdas, sigma * np.exp(h)) - at(lambdas, sigma * np.exp(-h))) / (2 * h)
    np.testing.assert_allclose(in_sigma, apart, rtol=1e-6, atol=1e-6)
    for f, lam in enumerate(lambdas):
        for a, b in np.ndindex(lam.shape[1:]):
            ends = []
            for step in (h, -h):
                moved = [each.copy() for each in lambdas]
                moved[f][:, a, b] += step
                ends.append(at(moved, sigma))
            apart = (ends[0] - ends[1]) / (2 * h)
            np.testing.assert_allclose(slopes[f][:, a, b], apart, rtol=1e-6, atol=1e-6)


def test_both_samplers_find_the_same_integral():
    one = drawn(skewed, np.zeros(3))
    other = importance_sample(
        lambda x: (skewed(x)[0], None), np.zeros((1, 3)), 1000, 4, np.random.default_rng(0)
    )
    errors = np.hypot(one.log_evidence_error, other.log_evidence_error)
    assert abs(one.log_evidence - other.log_evidence) < 4 * errors
