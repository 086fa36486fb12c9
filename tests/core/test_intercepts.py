"""Several models of random intercepts at once: each is the lowest point of its own criterion."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize

from skmixed.core.batch.intercepts import fit_intercepts
from skmixed.core.families.binomial import Logit
from skmixed.core.families.poisson import Poisson

FAMILIES = {"binary": Logit(), "counts": Poisson()}


def sums(family, seed, deviation=1.0, n_models=4, n_levels=40):
    """Weights and means of levels, some without rows."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 9, size=(n_models, n_levels)).astype(float)
    mean = family.mean(-0.5 + deviation * rng.normal(size=n_levels))
    draw = rng.binomial(weights.astype(int), np.minimum(mean, 1.0))
    totals = draw if isinstance(family, Logit) else rng.poisson(weights * mean)
    return weights, np.divide(totals, weights, out=np.zeros(weights.shape), where=weights > 0.0)


def density(family, eta, weight, mean):
    """-log density of a level, up to a constant."""
    if isinstance(family, Logit):
        return weight * (np.logaddexp(0.0, eta) - mean * eta)
    return weight * (np.exp(eta) - mean * eta)


def criterion(family, weights, means, beta, deviation):
    """Laplace's approximation level by level, its modes sought by Brent's method: (l, modes)."""
    total, modes = 0.0, []
    for weight, mean in zip(weights, means, strict=True):

        def half(u, weight=weight, mean=mean):
            return density(family, beta + deviation * u, weight, mean) + 0.5 * u * u

        u = optimize.minimize_scalar(half, tol=1e-11).x
        p = family.mean(np.array([beta + deviation * u]))[0]
        information = weight * (p * (1.0 - p) if isinstance(family, Logit) else p)
        total += 2.0 * half(u) + np.log1p(information * deviation**2)
        modes.append(deviation * u)
    return total, np.array(modes)


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_model_is_at_its_own_minimum(kind):
    family = FAMILIES[kind]
    weights, means = sums(family, 0, n_models=2, n_levels=15)
    found = fit_intercepts(family, weights, means, -0.5, 1.0, np.zeros(15))
    assert found.settled.all()
    for line in range(2):
        own = weights[line], means[line]
        best = optimize.minimize(
            lambda at, own=own: criterion(family, *own, *at)[0],
            [found.beta[line] + 0.1, np.sqrt(found.omega[line]) + 0.1],
            method="Nelder-Mead",
            options={"xatol": 1e-7, "fatol": 1e-11},
        )
        expected = [best.x[0], best.x[1] ** 2]
        assert_allclose([found.beta[line], found.omega[line]], expected, rtol=1e-4, atol=1e-5)
        modes = criterion(family, *own, found.beta[line], np.sqrt(found.omega[line]))[1]
        assert_allclose(found.effects[line], modes, atol=1e-6)
        empty = weights[line] == 0.0
        assert_allclose(found.effects[line][empty], 0.0)
        assert_allclose(found.variances[line][empty], found.omega[line])


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_variance_of_zero_is_an_optimum_or_is_left(kind):
    family = FAMILIES[kind]
    weights, means = sums(family, 1, deviation=0.0, n_models=30)
    found = fit_intercepts(family, weights, means, -0.5, 0.05, np.zeros(40))
    left = fit_intercepts(family, weights, means, -0.5, 0.0, np.zeros(40))
    assert found.settled.mean() > 0.9
    both = found.settled & left.settled
    assert 5 < (found.omega[both] == 0.0).sum() < both.sum()
    assert_allclose(found.omega[both], left.omega[both], rtol=1e-3, atol=1e-6)
    zero = found.settled & (found.omega == 0.0)
    whole = (weights * means).sum(axis=1) / weights.sum(axis=1)
    assert_allclose(family.mean(found.beta[zero]), whole[zero], rtol=1e-6)
    assert not found.effects[zero].any()


def test_what_has_no_optimum_is_not_settled():
    weights, means = sums(Logit(), 2)
    means[1] = np.arange(40) % 2  # no level of both kinds
    found = fit_intercepts(Logit(), weights, means, -0.5, 1.0, np.zeros(40))
    assert found.settled.tolist() == [True, False, True, True]
    counts, rates = sums(Poisson(), 3)
    rates[0] = 1e300
    found = fit_intercepts(Poisson(), counts, rates, -0.5, 1.0, np.zeros(40))
    assert found.settled.tolist() == [False, True, True, True]
