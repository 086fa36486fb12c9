"""Ordered categories: densities against scipy's distributions, derivatives against differences."""

import numpy as np
import pytest
from scipy import stats

from skmixed.core.families.cumulative_links import ORDINAL

LATENT = {"logit": stats.logistic, "probit": stats.norm, "cloglog": stats.gumbel_l}
EVERY = pytest.mark.parametrize("link", list(ORDINAL))
PHI = np.array([0.2, -0.7, 0.4])  # five categories
ENDS = np.concatenate([[-np.inf, 0.0], np.cumsum(np.log1p(np.exp(PHI))), [np.inf]])
FAR = np.array([-25.0, -9.0, -2.0, 0.3, 1.0, 2.5, 9.0, 25.0])


def rows(n=400):
    rng = np.random.default_rng(1)
    return rng.normal(1.0, 1.2, n), rng.integers(0, 5, n).astype(float), rng.uniform(0.5, 3.0, n)


@EVERY
def test_density_is_that_of_an_interval(link):
    eta, y, weights = rows()
    family, latent = ORDINAL[link](tuple(PHI)), LATENT[link]
    k = y.astype(int)
    upper, lower = ENDS[k + 1] - eta, ENDS[k] - eta
    left, right = latent.cdf(upper) - latent.cdf(lower), latent.sf(lower) - latent.sf(upper)
    p = np.where(lower > 0.0, right, left)
    found = family.derivatives(eta, y, weights, PHI)[0].sum() + family.constant(y, weights, PHI)
    assert found == pytest.approx(-(weights @ np.log(p)), rel=1e-10)


@EVERY
def test_every_derivative_is_the_slope_of_the_one_before(link):
    eta, y, weights = rows()
    family, h = ORDINAL[link](tuple(PHI)), 1e-3

    def at(shift):
        return np.array(family.derivatives(eta + shift, y, weights, PHI, 4))

    slopes = (8.0 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12.0 * h)
    found = at(0.0)
    scale = np.abs(found[1:]).max(axis=1)[:, None]
    assert np.abs((slopes[:4] - found[1:]) / scale).max() < 1e-7
    assert (found[2] >= 0.0).all()
    for few, all_of_them in zip(family.derivatives(eta, y, weights, PHI), found, strict=False):
        np.testing.assert_allclose(few, all_of_them)


@EVERY
@pytest.mark.parametrize("place", range(3))
def test_derivatives_in_the_gaps(link, place):
    eta, y, weights = rows()
    family, h = ORDINAL[link](tuple(PHI)), 1e-3

    def at(shift):
        phi = PHI + shift * (np.arange(3) == place)
        f, g, w = family.derivatives(eta, y, weights, phi)
        return f.sum() + family.constant(y, weights, phi), g, w

    terms = zip(*[at(shift) for shift in (h, -h, 2 * h, -2 * h)], strict=True)
    slopes = [(8.0 * (up - down) - (far - back)) / (12.0 * h) for up, down, far, back in terms]
    f, g, w = family.by_phi(eta, y, weights, PHI)
    assert f[place].sum() == pytest.approx(slopes[0], rel=1e-7)
    np.testing.assert_allclose(g[place], slopes[1], atol=1e-7 * np.abs(g).max())
    np.testing.assert_allclose(w[place], slopes[2], atol=1e-7 * np.abs(w).max())


@EVERY
def test_second_derivatives_in_the_gaps(link):
    eta, y, weights = rows()
    family, h = ORDINAL[link](tuple(PHI)), 1e-3

    def slopes(phi):
        return family.by_phi(eta, y, weights, phi)[0].sum(axis=1)

    differences = [
        8.0 * (slopes(PHI + h * e) - slopes(PHI - h * e))
        - (slopes(PHI + 2 * h * e) - slopes(PHI - 2 * h * e))
        for e in np.eye(3)
    ]
    found = family.curvature_in_phi(eta, y, weights, PHI)
    np.testing.assert_allclose(found, np.array(differences) / (12.0 * h), rtol=1e-7, atol=1e-6)


@EVERY
def test_far_away_nothing_overflows(link):
    family, eta = ORDINAL[link](tuple(PHI)), np.repeat(FAR, 5)
    y = np.tile(np.arange(5.0), len(FAR))
    assert all(np.isfinite(part).all() for part in family.derivatives(eta, y, None, PHI, 4))
    assert all(np.isfinite(part).all() for part in family.by_phi(eta, y, None, PHI))


@EVERY
@pytest.mark.parametrize("variance", [0.0, 0.7, 9.0])
def test_probabilities_are_averages(link, variance):
    family, latent = ORDINAL[link](tuple(PHI)), LATENT[link]
    center = np.array([-3.0, 0.0, 1.2, 4.0])
    z, weights = np.polynomial.legendre.leggauss(2000)
    z, weights = 9.0 * z, 9.0 * weights * stats.norm.pdf(9.0 * z)
    eta = center[:, None] + np.sqrt(variance) * z
    each = np.diff(latent.cdf(ENDS[:, None, None] - eta), axis=0) @ weights
    found = family.probabilities(center, np.full(4, variance), PHI)
    np.testing.assert_allclose(found, each.T, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-14)


@EVERY
def test_rare_categories_keep_their_digits(link):
    family, latent = ORDINAL[link](tuple(PHI)), LATENT[link]
    found = family.probabilities(np.array([-30.0, 20.0]), None, PHI)
    if link != "probit":
        above = latent.sf(ENDS[-2] + 30.0)
        assert found[0, -1] == pytest.approx(above, rel=1e-12)
    assert found[1, 0] == pytest.approx(latent.cdf(-20.0), rel=1e-12)


@EVERY
def test_draws_follow_the_distribution(link):
    family, rng = ORDINAL[link](tuple(PHI)), np.random.default_rng(2)
    eta = np.full(100_000, 0.9)
    drawn = family.draw(eta, None, PHI, rng)
    expected = family.probabilities(eta[:1], None, PHI)[0]
    shares = np.bincount(drawn.astype(int), minlength=5) / len(eta)
    assert np.abs(shares - expected).max() < 4.5 * np.sqrt(0.25 / len(eta))
    below = family.cdf(np.arange(-1.0, 5.0), np.full(6, 0.9), None, PHI)
    np.testing.assert_allclose(below, np.concatenate([[0.0], np.cumsum(expected)]))


@EVERY
def test_thresholds_to_begin_with_give_the_shares_of_the_rows(link):
    counts = np.array([30.0, 50.0, 5.0, 15.0])
    family = ORDINAL[link].of_shares(counts)
    shift = -family.quantile(np.array([0.3]))
    found = family.probabilities(shift, None, family.first_phi)[0]
    np.testing.assert_allclose(found, counts / 100.0, atol=2e-3)
    assert ORDINAL[link].of_shares(np.array([3.0, 4.0])).n_dispersions == 0
