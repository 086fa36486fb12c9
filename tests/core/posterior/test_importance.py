import numpy as np
import pytest
from scipy import stats

from skmixed.core.posterior import importance
from skmixed.core.posterior.importance import importance_sample
from skmixed.core.posterior.pareto_tail import pareto_k, smoothed_weights
from skmixed.core.posterior.reduced_sums import ReducedSums
from skmixed.core.posterior.t_mixture import TMixture, fitted_mixture


def as_target(log_density):
    def target(points):
        n = len(points)
        return log_density(points), ReducedSums(np.zeros((n, 1, 1)), np.zeros(n))

    return target


def drawn(log_density, starts, n_draws=1000, seed=0):
    starts = np.atleast_2d(starts)
    return importance_sample(
        as_target(log_density), starts, n_draws, 4, np.random.default_rng(seed)
    )


def test_mixture_density_is_that_of_its_parts_and_draws_are_of_it():
    rng = np.random.default_rng(0)
    scales = np.array([[[2.0, 0.5], [0.5, 1.0]], [[0.3, 0.0], [0.0, 0.2]]])
    centres, shares = np.array([[0.0, 1.0], [3.0, -1.0]]), np.array([0.7, 0.3])
    mixture = TMixture(shares, centres, scales, np.array([5.0, 30.0]))
    points = mixture.draw(50_000, rng)
    parts = [
        share * stats.multivariate_t(centre, scale, df).pdf(points[:100])
        for share, centre, scale, df in zip(shares, centres, scales, (5, 30), strict=True)
    ]
    np.testing.assert_allclose(mixture.log_density(points[:100]), np.log(sum(parts)))
    np.testing.assert_allclose(points.mean(axis=0), shares @ centres, atol=0.03)
    fit = fitted_mixture(points[:5000], np.full(5000, 1 / 5000), 4, rng)
    gain = fit.log_density(points[5000:]).mean() - mixture.log_density(points[5000:]).mean()
    assert -0.05 < gain <= 0.0


@pytest.mark.parametrize("d", [1, 3, 8])
def test_a_normal_density_is_integrated_and_drawn(d):
    rng = np.random.default_rng(d)
    root = rng.standard_normal((d, d)) / np.sqrt(d) + np.eye(d)
    centre = rng.standard_normal(d) * 5
    normal = stats.multivariate_normal(centre, root @ root.T)
    sample = drawn(lambda x: 3.0 + normal.logpdf(x).reshape(-1), np.zeros(d))
    assert abs(sample.log_evidence - 3.0) < 4 * sample.log_evidence_error
    assert not sample.is_poor
    assert sample.chains.shape == (4, 1000)
    draws = sample.points[sample.chains].reshape(-1, d)
    n = len(draws) * sample.efficiency
    z = np.linalg.solve(root, (draws - centre).T)
    assert np.abs(z.mean(axis=1)).max() < 4.5 / np.sqrt(n) * 1.3
    assert np.abs(z.var(axis=1) - 1).max() < 0.12
    assert sample.points[sample.chains].shape == (4, 1000, d)


def test_modes_far_apart_are_found_from_their_starts():
    def log_density(x):
        parts = [stats.norm(at, 0.3).logpdf(x[:, 0]) + np.log(w) for at, w in ((-8, 0.3), (8, 0.7))]
        return np.logaddexp(*parts)

    sample = drawn(log_density, [[-7.0], [7.5]])
    share = (sample.points[sample.chains] > 0).mean()
    assert abs(sample.log_evidence) < 4 * sample.log_evidence_error + 1e-12
    assert share == pytest.approx(0.7, abs=0.04)


def test_what_is_poor_is_tried_again_thinned_and_said():
    def ridge(x):
        narrow = stats.norm(0, 0.005).logpdf(x[:, 1:] - np.sin(3 * x[:, :1])).sum(axis=1)
        return stats.norm(0, 1.0).logpdf(x[:, 0]) + narrow

    sample = drawn(ridge, np.zeros(4), n_draws=100)
    assert sample.thinning > 1
    assert len(sample.points) == 400 * sample.thinning
    assert sample.is_poor
    heavy = drawn(lambda x: stats.cauchy.logpdf(x[:, 0]) + 0.9 * np.log1p(x[:, 0] ** 2), [0.0])
    assert heavy.pareto_k > 0.7


def test_the_same_seed_gives_the_same_draws():
    one, two, other = (
        drawn(lambda x: -0.5 * np.square(x).sum(axis=1), np.ones(2), 50, seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.points, two.points)
    np.testing.assert_array_equal(one.chains, two.chains)
    assert (one.points != other.points).any()


def test_shape_of_pareto_weights():
    rng = np.random.default_rng(0)
    for shape in (0.2, 0.5, 0.9):
        weights = stats.genpareto(shape).rvs(20_000, random_state=rng) + 1.0
        found = [pareto_k(np.log(part)) for part in np.split(weights, 5)]
        assert np.mean(found) == pytest.approx(shape, abs=0.12)
    log_weights, k = smoothed_weights(np.log(weights))
    assert np.exp(log_weights).sum() == pytest.approx(1.0)
    assert k > 0.7
    assert smoothed_weights(np.zeros(100))[1] == -np.inf


def test_a_second_try_that_is_good_is_taken(monkeypatch):
    learned, tries = importance._learned, []

    def worse_at_first(density, first, n_rounds, n_components, generator):
        tries.append((n_rounds, n_components))
        if len(tries) > 1:
            return learned(density, first, n_rounds, n_components, generator)
        return TMixture(np.ones(1), np.zeros((1, 2)), 1e-4 * np.eye(2)[None], np.array([30.0]))

    monkeypatch.setattr(importance, "_learned", worse_at_first)
    sample = drawn(lambda x: -0.5 * np.square(x).sum(axis=1), np.ones(2), n_draws=200)
    (rounds, components), again = tries
    assert again == (2 * rounds, 2 * components)
    assert sample.thinning == 1
    assert not sample.is_poor
    assert sample.efficiency > 0.8
