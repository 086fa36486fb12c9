"""Every family against scipy's distributions, differences, and integrals."""

import numpy as np
import pytest
from scipy import stats

from skmixed.core.families.catalogue import BINOMIAL, FAMILIES, family_of
from skmixed.core.families.family import gaussian_mean

# A new family has a line here: how its response is made of uniform numbers, and its distribution.
LINKS = [(name, family.link) for name, families in FAMILIES.items() for family in families]
EVERY = pytest.mark.parametrize(("name", "link"), LINKS)
PHI = {"gamma": np.array([0.7]), "negative_binomial": np.array([0.4])}
DIFFERENCES = 1e-7
ROUNDING = 1e-11


def response(name, rng, n):
    """Plausible and implausible responses with weights, in the units of the family."""
    weights = rng.integers(1, 6, n).astype(float)
    if name == "binomial":
        return rng.integers(0, weights + 1) / weights, weights
    if name == "gamma":
        return rng.gamma(2.0, 1.0, n), weights
    return rng.poisson(3.0, n).astype(float), weights


def log_density(name, y, mean, weights, phi):
    if name == "binomial":
        return stats.binom.logpmf(np.round(y * weights), weights, mean)
    if name == "poisson":
        return weights * stats.poisson.logpmf(y, mean)
    size = np.exp(phi[0])
    if name == "gamma":
        return weights * stats.gamma.logpdf(y, size, scale=mean / size)
    return weights * stats.nbinom.logpmf(y, size, size / (size + mean))


def distribution(name, mean, weights, phi):
    """The frozen distribution of hits, counts or responses, of weight one but for trials."""
    if name == "binomial":
        return stats.binom(weights, mean)
    if name == "poisson":
        return stats.poisson(mean)
    size = np.exp(phi[0])
    if name == "gamma":
        return stats.gamma(size, scale=mean / size)
    return stats.nbinom(size, size / (size + mean))


@EVERY
def test_density_is_that_of_the_distribution(name, link):
    rng, family = np.random.default_rng(1), family_of(name, link)
    y, weights = response(name, rng, 200)
    phi = PHI.get(name, np.empty(0))
    eta = rng.normal(0.0, 0.8, 200)
    expected = log_density(name, y, family.mean(eta), weights, phi).sum()
    found = family.derivatives(eta, y, weights, phi)[0].sum() + family.constant(y, weights, phi)
    assert -found == pytest.approx(expected, rel=ROUNDING)


@EVERY
def test_every_derivative_is_the_slope_of_the_one_before(name, link):
    rng, family = np.random.default_rng(2), family_of(name, link)
    y, weights = response(name, rng, 300)
    phi = PHI.get(name, np.empty(0))
    eta, h = rng.normal(0.0, 1.5, 300), 1e-3

    def at(shift):
        return np.array(family.derivatives(eta + shift, y, weights, phi, 4))

    slopes = (8.0 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12.0 * h)
    found = at(0.0)
    scale = np.abs(found[1:]).max(axis=1)[:, None]
    assert np.abs((slopes[:4] - found[1:]) / scale).max() < DIFFERENCES
    assert (found[2] >= 0.0).all()
    for few, all_of_them in zip(family.derivatives(eta, y, weights, phi), found, strict=False):
        np.testing.assert_allclose(few, all_of_them)


@EVERY
def test_weights_multiply(name, link):
    rng, family = np.random.default_rng(3), family_of(name, link)
    y, weights = response(name, rng, 50)
    phi, eta = PHI.get(name, np.empty(0)), rng.normal(size=50)
    plain = np.array(family.derivatives(eta, y, None, phi, 4))
    np.testing.assert_allclose(family.derivatives(eta, y, weights, phi, 4), weights * plain)


@pytest.mark.parametrize("name", PHI)
@pytest.mark.parametrize("phi", [-1.0, 0.6, 3.3, 3.5, 9.0, 20.0])
def test_derivatives_in_dispersion(name, phi):
    rng, family = np.random.default_rng(4), family_of(name)
    y, weights = response(name, rng, 200)
    eta, h = rng.normal(1.0, 0.5, 200), 1e-3

    def at(shift):
        moved = np.array([phi + shift])
        f, g, w = family.derivatives(eta, y, weights, moved)
        return f.sum() + family.constant(y, weights, moved), g, w

    terms = zip(*[at(shift) for shift in (h, -h, 2 * h, -2 * h)], strict=True)
    slopes = [(8.0 * (up - down) - (far - back)) / (12.0 * h) for up, down, far, back in terms]
    total, g, w = family.by_phi(eta, y, weights, np.array([phi]))
    assert total.sum() == pytest.approx(slopes[0], rel=DIFFERENCES, abs=1e-7)
    np.testing.assert_allclose(g[0], slopes[1], rtol=1e-6, atol=1e-6 * np.abs(at(0.0)[1]).max())
    np.testing.assert_allclose(w[0], slopes[2], rtol=1e-6, atol=1e-6 * np.abs(at(0.0)[2]).max())


def test_negative_binomial_is_poisson_at_its_limit_without_losing_digits():
    rng = np.random.default_rng(5)
    y, eta = rng.poisson(4.0, 100).astype(float), rng.normal(1.0, 0.5, 100)
    poisson, counts = family_of("poisson"), family_of("negative_binomial")
    nothing, far = np.empty(0), np.array([25.0])
    expected = poisson.derivatives(eta, y, None, nothing)[0].sum()
    expected += poisson.constant(y, None, nothing)
    found = counts.derivatives(eta, y, None, far)[0].sum() + counts.constant(y, None, far)
    assert found == pytest.approx(expected, rel=1e-9)
    assert abs(counts.by_phi(eta, y, None, far)[0].sum()) < 1e-6


@EVERY
def test_link_undoes_the_mean(name, link):
    family, eta = family_of(name, link), np.linspace(-4.0, 1.5, 41)
    np.testing.assert_allclose(family.eta_of(family.mean(eta)), eta, rtol=1e-10, atol=1e-10)


@EVERY
@pytest.mark.parametrize("variance", [0.0, 1e-4, 0.9, 4.0, 9.0, 60.0, 900.0])
def test_integrated_mean_is_the_integral(name, link, variance):
    family, center = family_of(name, link), np.array([-3.0, -0.4, 0.0, 1.2, 2.5])
    found = family.integrated_mean(center, np.full(5, variance))
    if link == "log":
        np.testing.assert_allclose(found, np.exp(center + variance / 2.0))
        return
    nodes, weights = np.polynomial.legendre.leggauss(30)
    panels = np.linspace(-9.0, 9.0, 1001)
    z = ((panels[1:] + panels[:-1])[:, None] + np.diff(panels)[:, None] * nodes).ravel() / 2.0
    weight = (np.diff(panels)[:, None] * weights).ravel() / 2.0 * stats.norm.pdf(z)
    expected = [weight @ family.mean(mean + z * np.sqrt(variance)) for mean in center]
    np.testing.assert_allclose(found, expected, atol=2e-13)


@pytest.mark.parametrize("link", list(BINOMIAL))
def test_outcomes_keep_the_digits_of_what_is_rare(link):
    family, eta = BINOMIAL[link](), np.array([-30.0, -4.0, 0.0, 0.7, 3.0, 6.0])
    miss, hit = family.outcomes(eta)
    exact = {
        "logit": (stats.logistic.sf(eta), stats.logistic.cdf(eta)),
        "probit": (stats.norm.sf(eta), stats.norm.cdf(eta)),
        "cloglog": (np.exp(-np.exp(eta)), -np.expm1(-np.exp(eta))),
    }[link]
    np.testing.assert_allclose(miss, exact[0], rtol=1e-13)
    np.testing.assert_allclose(hit, exact[1], rtol=1e-13)
    center, variance = eta[1:5], np.array([0.0, 0.5, 2.0, 4.0])
    miss, hit = family.outcomes(center, variance)
    np.testing.assert_allclose(hit, family.integrated_mean(center, variance), rtol=ROUNDING)
    np.testing.assert_allclose(miss + hit, 1.0, rtol=1e-14)


@EVERY
def test_variance_and_distribution_function(name, link):
    rng, family = np.random.default_rng(6), family_of(name, link)
    n = 60
    phi, eta = PHI.get(name, np.empty(0)), rng.normal(0.0, 0.8, n)
    trials = rng.integers(1, 9, n).astype(float) if name == "binomial" else None
    mean, hits = family.mean(eta), np.ones(n) if trials is None else trials
    truth = distribution(name, mean, hits, phi)
    y = truth.ppf(rng.uniform(size=n))
    np.testing.assert_allclose(family.cdf(y / hits, eta, trials, phi), truth.cdf(y), rtol=1e-9)
    np.testing.assert_allclose(family.variance(mean, phi) * hits, truth.var(), rtol=1e-9)
    np.testing.assert_array_equal(family.cdf(-np.ones(n), eta, trials, phi), 0.0)


@EVERY
def test_draws_have_the_distribution(name, link):
    family, n = family_of(name, link), 40_000
    phi, eta = PHI.get(name, np.empty(0)), np.full(n, 0.3)
    trials = np.full(n, 4.0) if name == "binomial" else None
    hits = 1.0 if trials is None else 4.0
    drawn = family.draw(eta, trials, phi, np.random.default_rng(7)) * hits
    truth = distribution(name, float(family.mean(np.array([0.3]))[0]), hits, phi)
    for quantile in [0.1, 0.3, 0.5, 0.8, 0.95]:
        at = truth.ppf(quantile)
        assert (drawn <= at).mean() == pytest.approx(truth.cdf(at), abs=0.012)


@EVERY
def test_deviance_is_twice_the_loss_of_log_density(name, link):
    rng, family = np.random.default_rng(8), family_of(name, link)
    y, weights = response(name, rng, 80)
    phi = np.zeros(1) if name == "gamma" else PHI.get(name, np.empty(0))
    mean = family.mean(rng.normal(size=80))
    best = log_density(name, y, np.where(y == 0.0, 1e-300, y), weights, phi)
    expected = 2.0 * (best - log_density(name, y, mean, weights, phi))
    np.testing.assert_allclose(weights * family.deviance(y, mean, phi), expected, atol=1e-9)


@EVERY
def test_start_is_finite_and_ways_out_lower_f(name, link):
    rng, family = np.random.default_rng(9), family_of(name, link)
    y, weights = response(name, rng, 100)
    phi = PHI.get(name, np.empty(0))
    start, ways = family.start(y, weights), family.ways_out(y)
    assert np.isfinite(start).all()
    f = [family.derivatives(start + step * ways, y, weights, phi)[0] for step in (0.0, 1.0, 5.0)]
    assert (f[1][ways != 0] < f[0][ways != 0]).all()
    assert (f[2][ways != 0] < f[1][ways != 0]).all()


def test_what_is_not_a_response_is_named_with_its_row():
    y = np.array([1.0, 0.5, -0.25])
    with pytest.raises(ValueError, match=r"0 or 1, or a share.*row 2 has y = -0\.25"):
        family_of("binomial").check(y, None)
    with pytest.raises(ValueError, match=r"poisson response is a count.*row 2"):
        family_of("poisson").check(y, None)
    with pytest.raises(ValueError, match=r"negative binomial response is a count.*row 2"):
        family_of("negative_binomial").check(y, None)
    with pytest.raises(ValueError, match=r"gamma response is positive.*row 1 has y = 0"):
        family_of("gamma").check(np.array([1.0, 0.0]), None)
    with pytest.raises(ValueError, match=r"family must be one of 'binomial'.*'tweedie'"):
        family_of("tweedie")
    with pytest.raises(ValueError, match=r"must be 'auto' or 'log': 'logit'"):
        family_of("poisson", "logit")
    with pytest.raises(ValueError, match="whole numbers of trials"):
        family_of("binomial").draw(y, y + 1.0, np.empty(0), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "link", "tolerance"),
    [
        ("binomial", "probit", 1e-12),
        ("poisson", "log", 1e-12),
        ("gamma", "log", 1e-12),
        ("binomial", "logit", 0.04),
    ],
)
def test_centers_are_those_whose_means_are_given(name, link, tolerance):
    family, eta = family_of(name, link), np.linspace(-1.5, 1.5, 7)
    for variance in (0.1, 0.6, 1.5):
        center = family.center_behind(eta, variance)
        averaged = family.integrated_mean(center, np.full(7, variance))
        np.testing.assert_allclose(averaged, family.mean(eta), rtol=tolerance)


def test_the_variance_behind_a_variance_of_counts():
    """exp(eta) of a normal eta has the variance exp(v) - 1, relative to its squared mean."""
    family = family_of("poisson", "auto")
    for variance in (1e-9, 0.3, 2.0):
        assert family.variance_behind(np.expm1(variance)) == pytest.approx(variance, rel=1e-12)


@pytest.mark.parametrize("link", list(BINOMIAL))
def test_averaged_probabilities_are_none_above_one(link):
    center, variance = np.linspace(-60.0, 60.0, 4001), np.linspace(0.0, 9.0, 4001)
    for found in BINOMIAL[link]().outcomes(center, variance):
        assert 0.999 < found.max() <= 1.0


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_absurd_variances_need_no_more_nodes_than_large_ones(link):
    family = family_of("binomial", link)
    center, absurd = np.array([0.0, 3.0]), np.array([1e20, 1e12])
    np.testing.assert_allclose(family.integrated_mean(center, absurd), 0.5, atol=1e-3)


def test_deviations_over_absurd_variances_are_those_of_a_uniform_variable():
    center, absurd = np.array([0.0, 3.0]), np.array([1e20, 1e12])
    found = family_of("binomial", "logit").mean_deviation(center, absurd, absurd)
    np.testing.assert_allclose(found, np.sqrt(1.0 / 12.0), atol=1e-3)


@pytest.mark.parametrize("deviation", [1e2, 1e4, 1e12, 1e150])
def test_the_nodes_of_a_mean_are_bounded_whatever_the_deviation(deviation):
    asked = []

    def step(eta):
        asked.append(len(eta))
        return (eta > 0.0) + 0.5 * (eta == 0.0)

    found = gaussian_mean(step, np.array([0.0, deviation]), np.full(2, deviation**2), 10)
    assert len(asked) <= 2 * 10 * 100 + 1
    np.testing.assert_allclose(found, [0.5, 0.8413447], atol=2e-3)
