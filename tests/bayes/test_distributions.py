import numpy as np
import pytest
from scipy import integrate, stats

from skmixed.bayes import (
    LKJ,
    Exponential,
    Flat,
    Gamma,
    HalfNormal,
    HalfT,
    InverseGamma,
    Normal,
    Prior,
    Wishart,
)
from skmixed.bayes.correlation_distributions import correlation_root, partial_correlations
from skmixed.bayes.scale_distributions import Decov

SCALES = [
    (HalfT(3, 2.0), lambda s: stats.t(3, scale=2.0).cdf(s) * 2 - 1),
    (HalfT(1.5, 0.3), lambda s: stats.t(1.5, scale=0.3).cdf(s) * 2 - 1),
    (HalfNormal(4.0), stats.halfnorm(scale=4.0).cdf),
    (Exponential(0.5), stats.expon(scale=0.5).cdf),
    (Gamma(2.5, 3.0), stats.gamma(2.5, scale=3.0).cdf),
    (Gamma(1.0, 3.0), stats.expon(scale=3.0).cdf),
    (InverseGamma(2.0, 5.0), lambda s: stats.invgamma(2.0, scale=5.0).cdf(np.square(s))),
]


@pytest.mark.parametrize(("scale", "cdf"), SCALES, ids=[str(each) for each, _ in SCALES])
def test_scale_is_the_distribution_it_is_called(scale, cdf):
    total = integrate.quad(lambda u: np.exp(scale.logpdf(np.exp(u)) + u), -30, 60, limit=400)[0]
    assert total == pytest.approx(1.0, abs=1e-7)
    for low, high in [(0.5, 1.0), (1.0, 4.0)]:
        share = integrate.quad(lambda s: np.exp(scale.logpdf(s)), low, high)[0]
        assert share == pytest.approx(cdf(high) - cdf(low), abs=1e-8)
    draws = scale.sample(4_000, random_state=0)
    assert stats.kstest(draws, cdf).pvalue > 1e-3
    assert scale.logpdf(-1.0) == -np.inf
    assert scale.is_proper


def test_flat_is_flat_and_cannot_be_drawn():
    np.testing.assert_array_equal(Flat().logpdf([0.5, 7.0]), 0.0)
    np.testing.assert_allclose(Flat(log=True).logpdf([0.5, 7.0]), -np.log([0.5, 7.0]))
    assert not Flat().is_proper
    with pytest.raises(ValueError, match="improper"):
        Flat().sample(3)


def test_gamma_of_infinite_scale_is_a_power():
    power = Gamma(2.5, np.inf)
    np.testing.assert_allclose(power.logpdf([0.5, 7.0]), 1.5 * np.log([0.5, 7.0]), rtol=1e-14)
    np.testing.assert_array_equal(Gamma(1.0, np.inf).logpdf([0.0, 7.0]), Flat().logpdf([0.0, 7.0]))
    assert not power.is_proper
    with pytest.raises(ValueError, match="improper"):
        power.sample(3)


@pytest.mark.parametrize("eta", [0.7, 1.0, 2.5])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_lkj_density_of_partial_correlations_is_that_of_matrices(k, eta):
    z = LKJ(1.0).partial_draws(k, 20_000, np.random.default_rng(k))
    root = correlation_root(z, k)
    log_det = 2 * np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
    ratio = LKJ(eta).partial_logpdf(z, k) - LKJ(1.0).partial_logpdf(z, k)
    rest = ratio - (eta - 1) * log_det  # a constant, if the density is |R|^(eta - 1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-9)
    # and it integrates to one: the mean of the ratio of two densities
    weights = np.exp(ratio)
    assert weights.mean() == pytest.approx(1.0, abs=5 * weights.std() / np.sqrt(len(weights)))
    np.testing.assert_allclose(partial_correlations(root[3]), z[3], rtol=1e-9)


def test_lkj_of_two_columns_is_a_beta_and_of_three_uniform_over_matrices():
    for eta in (1.0, 3.0):
        r = LKJ(eta).sample(2, 5_000, random_state=1)[:, 0, 1]
        assert stats.kstest((r + 1) / 2, stats.beta(eta, eta).cdf).pvalue > 1e-3
        total = integrate.quad(
            lambda x, eta=eta: np.exp(LKJ(eta).partial_logpdf(np.tanh([[x]]), 2))[0], -20, 20
        )[0]
        assert total == pytest.approx(1.0, abs=1e-8)
    R = LKJ(1.0).sample(3, 20_000, random_state=2)
    for i, j in [(0, 1), (0, 2), (1, 2)]:  # uniform over matrices: every entry is beta(3/2, 3/2)
        assert stats.kstest((R[:, i, j] + 1) / 2, stats.beta(1.5, 1.5).cdf).pvalue > 1e-3
    np.testing.assert_allclose(np.linalg.eigvalsh(R).min() > 0, True)


def test_decov_integrates_to_one_and_is_what_it_draws():
    decov = Decov(1.0, 1.5, 2.0, 0.7)
    u = np.linspace(-12, 6, 900)
    first, second = np.meshgrid(u, u)
    grid = np.exp(decov.log_density(np.column_stack([first.ravel(), second.ravel()])))
    assert grid.sum() * (u[1] - u[0]) ** 2 == pytest.approx(1.0, abs=1e-3)
    one = np.exp(decov.log_density(u[:, None])).sum() * (u[1] - u[0])
    assert one == pytest.approx(1.0, abs=1e-6)
    drawn = np.log(decov.draw(40_000, 2, np.random.default_rng(0)))
    for box in [((-1, 0.5), (-0.5, 1)), ((-3, 0), (-3, 0))]:
        inside = [(low < x) & (x < high) for (low, high), x in zip(box, drawn.T, strict=True)]
        share = np.all(inside, axis=0).mean()
        cells = (first > box[0][0]) & (first < box[0][1]) & (second > box[1][0])
        cells &= second < box[1][1]
        expected = grid[cells.ravel()].sum() * (u[1] - u[0]) ** 2
        assert share == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HalfT(0, 1.0), r"HalfT\(df=0\): df must be a positive number"),
        (lambda: HalfT(3, -1.0), "scale must be a positive number"),
        (lambda: HalfNormal(np.inf), "scale must be a positive number"),
        (lambda: Gamma(np.inf, 1.0), "shape must be a positive number"),
        (lambda: Gamma(2.0, -np.inf), "scale must be a positive number"),
        (lambda: Wishart(df=0), r"Wishart\(df=0\): df must be a positive number"),
        (lambda: Exponential("1"), "mean must be a positive number"),
        (lambda: LKJ(np.nan), "eta must be a positive number"),
        (lambda: Normal(np.inf), "mean must be a finite number"),
        (lambda: Normal(0, 0), "sd must be a positive number"),
        (lambda: Flat(log=1), "log must be True or False"),
    ],
)
def test_bad_parameters_are_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "given",
    [
        {"scales": 3.0},
        {"scales": {"g": {"x": {"y": HalfT(3, 1)}}}},
        {"scales": {"g": LKJ(1)}},
        {"scales": Wishart()},
        {"coef": HalfT(3, 1.0)},
        {"coef": {"x": None}},
        {"sigma": Normal()},
        {"sigma": {"g": HalfT(3, 1)}},
        {"correlation": None},
    ],
)
def test_what_is_no_distribution_is_refused(given):
    with pytest.raises(TypeError, match=f"{next(iter(given))}.*must be"):
        Prior(**given)
