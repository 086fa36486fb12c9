import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.special import expit

from skmixed import MixedClassifier, MixedGeneralizedRegressor
from skmixed.core.generalized.after_fit.same_rows import evaluate_at, point_of
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.posterior import level_leave_out
from skmixed.core.posterior.level_draws import LevelDraws
from skmixed.core.posterior.level_integrals import LevelIntegrals
from skmixed.core.posterior.level_leave_out import densities_without
from skmixed.core.posterior.level_rows import ParameterPoints
from skmixed.core.sums.layout import Rows
from skmixed.inference.fitted import observations_of_fit

FAMILIES = ["binomial", "poisson", "negative_binomial", "gamma"]


def fitted(family, random="(x | g)", n=90, seed=0, weights=None):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"x": rng.standard_normal(n), "g": rng.integers(9, size=n).astype(str)})
    b = rng.standard_normal((9, 2)) * [0.8, 0.4]
    g, x = X["g"].astype(int), X["x"].to_numpy()
    eta = 0.3 + 0.6 * x + b[g, 0] + b[g, 1] * x
    if family == "binomial":
        model, y = MixedClassifier(random), (rng.random(n) < expit(eta)).astype(int)
    else:
        model = MixedGeneralizedRegressor(random, family=family)
        noise = 1.0 if family == "poisson" else rng.gamma(3.0, 1 / 3, n)
        y = np.exp(eta) * noise if family == "gamma" else rng.poisson(np.exp(eta) * noise)
    model.fit(X, y, weights)
    observations = observations_of_fit(model, X, y, weights, None, "this")
    return model, observations, X, y


def points_about(model, observations, n, seed=1, spread=0.2):
    rng = np.random.default_rng(seed)
    fit, found = model.fit_, []
    point = point_of(observations, fit.beta, fit.lambdas, fit.phi)
    for _ in range(n):
        lam = point.lambdas[0]
        found.append(
            point._replace(
                beta=point.beta + spread * rng.standard_normal(len(point.beta)),
                lambdas=[np.tril(lam + spread * rng.random(lam.shape))],
                phi=point.phi + spread * rng.standard_normal(len(point.phi)),
            )
        )
    roots = np.stack([each.lambdas[0] for each in found])
    betas, phis = np.stack([p.beta for p in found]), np.stack([p.phi for p in found])
    return ParameterPoints(betas, [roots], phis), found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("random", ["(1 | g)", "(x | g)"])
def test_likelihoods_are_those_that_are_evaluated_one_by_one(family, random):
    model, observations, *_ = fitted(family, random)
    integrals = LevelIntegrals.of(observations, model.fit_)
    points, single = points_about(model, observations, 7)
    found = integrals.log_likelihood(points)
    expected = [evaluate_at(observations, integrals.n_nodes, each).criterion for each in single]
    np.testing.assert_allclose(found, -0.5 * np.array(expected), rtol=1e-9)


def test_likelihood_is_that_of_dense_quadrature():
    model, observations, X, y = fitted("binomial", "(1 | g)")
    integrals = LevelIntegrals.of(observations, model.fit_)
    points, _ = points_about(model, observations, 2, spread=0.5)
    to_raw = observations.units.to_raw[list(model.fit_.spec.fixed), :-1]
    for row in range(2):
        beta = to_raw @ points.beta[row]
        sd = float(observations.units.random_maps[0][0, 0] * points.roots[0][row, 0, 0])
        eta, total = beta[0] + beta[1] * X["x"].to_numpy(), 0.0
        for level in np.unique(X["g"]):
            rows = (X["g"] == level).to_numpy()

            def height(b, rows=rows, eta=eta, sd=sd):
                p = expit(eta[rows] + b)
                return np.prod(np.where(y[rows] == 1, p, 1 - p)) * stats.norm.pdf(b, 0, sd)

            total += np.log(quad(height, -10 * sd, 10 * sd, epsabs=0, epsrel=1e-11, limit=200)[0])
        assert integrals.log_likelihood(points)[row] == pytest.approx(total, abs=1e-5)


def test_parameters_without_a_number_have_no_likelihood():
    model, observations, *_ = fitted("poisson", "(1 | g)")
    integrals = LevelIntegrals.of(observations, model.fit_)
    points, _ = points_about(model, observations, 3)
    points.beta[1, 0] = 1e200
    found = integrals.log_likelihood(points)
    assert np.isfinite(found).tolist() == [True, False, True]
    alone = integrals.log_likelihood(points.take(np.array([0, 2])))
    np.testing.assert_allclose(found[[0, 2]], alone, rtol=1e-12)


def test_moments_of_effects_are_integrals():
    model, observations, X, y = fitted("poisson", "(x | g)", n=40)
    integrals = LevelIntegrals.of(observations, model.fit_)
    points, _ = points_about(model, observations, 1)
    means, covariances = integrals.effect_moments(points)
    random_map, units = observations.units.random_maps[0], observations.units
    root = random_map @ points.roots[0][0]
    beta = units.to_raw[list(model.fit_.spec.fixed), :-1] @ points.beta[0]
    prior = stats.multivariate_normal(np.zeros(2), root @ root.T)
    labels = model.fit_.products.levels[0].labels[0]
    rows = (X["g"] == labels[2]).to_numpy()
    x, count = X["x"].to_numpy()[rows], y[rows]

    grid = np.linspace(-4.0, 4.0, 401)  # a smooth integrand: the trapezoidal rule is exact
    first, second = (each.ravel() for each in np.meshgrid(grid, grid))
    mean = np.exp(beta[0] + beta[1] * x + first[:, None] + second[:, None] * x)
    weights = np.exp((count * np.log(mean) - mean).sum(axis=1))
    weights *= prior.pdf(np.column_stack([first, second]))
    weights /= weights.sum()
    assert means[2] == pytest.approx([weights @ first, weights @ second], abs=1e-4)
    variance = weights @ first**2 - (weights @ first) ** 2
    assert covariances[2, 0, 0] == pytest.approx(variance, rel=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_drawn_effects_have_the_moments_of_quadrature(family):
    model, observations, *_ = fitted(family, "(x | g)")
    integrals = LevelIntegrals.of(observations, model.fit_)
    one, _ = points_about(model, observations, 1)
    means, covariances = integrals.effect_moments(one)
    many = one.take(np.zeros(2000, dtype=int))
    draws = LevelDraws(integrals, many, seed=3)
    effects = draws.of(0, np.arange(9))
    sds = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    assert np.abs((effects.mean(axis=0) - means) / sds * np.sqrt(2000)).max() < 4.5
    np.testing.assert_allclose(effects.std(axis=0), sds, rtol=0.1)
    assert min(draws.efficiencies.values()) > 0.7
    np.testing.assert_array_equal(draws.of(0, np.array([4, 1])), effects[:, [4, 1]])


@pytest.mark.parametrize("family", ["binomial", "gamma"])
def test_rows_left_out_are_quotients_of_integrals(family):
    model, observations, *_ = fitted(family, "(1 | g)", n=30)
    points, _ = points_about(model, observations, 3)
    integrals = LevelIntegrals.of(observations, model.fit_)
    found = densities_without(integrals, points)
    whole = integrals.log_likelihood(points)
    for row in (0, 7, 29):
        kept = np.delete(np.arange(30), row)
        rest = likelihood_of_some(model, observations, kept, points)
        np.testing.assert_allclose(found[:, row], whole - rest, rtol=1e-6, atol=1e-7)


def likelihood_of_some(model, observations, kept, points):
    """Log likelihoods of some of the rows at points in the units of all."""
    rows = observations.given.take(kept)
    levels, codes = np.unique(rows.codes[0], return_inverse=True)
    rows = Rows(rows.columns, (codes,), (rows.indexes[0].take(levels),), None)
    other = Observations.of(observations.layout, rows, observations.spec, observations.family)
    found = LevelIntegrals.of(other, model.fit_)
    return found.log_likelihood(in_units(points, observations, other))


def test_rows_left_out_of_large_levels_weight_their_nodes(monkeypatch):
    model, observations, *_ = fitted("poisson", "(1 | g)", n=400)
    integrals = LevelIntegrals.of(observations, model.fit_)
    points, _ = points_about(model, observations, 3, spread=0.05)
    weighted = densities_without(integrals, points)
    monkeypatch.setattr(level_leave_out, "_FEW_ROWS_OF_LEVEL", 100)
    np.testing.assert_allclose(densities_without(integrals, points), weighted, atol=2e-3)


def test_one_of_the_rows_that_a_weight_counts_is_left_out():
    weights = np.ones(90)
    weights[:5] = 3.0
    model, observations, X, y = fitted("poisson", "(1 | g)", weights=weights)
    points, _ = points_about(model, observations, 2)
    found = densities_without(LevelIntegrals.of(observations, model.fit_), points)
    again = np.repeat(np.arange(90), weights.astype(int))
    repeated = MixedGeneralizedRegressor("(1 | g)", family="poisson").fit(X.iloc[again], y[again])
    other = observations_of_fit(repeated, X.iloc[again], y[again], None, None, "this")
    moved = in_units(points, observations, other)
    same = densities_without(LevelIntegrals.of(other, repeated.fit_), moved)
    first = np.searchsorted(again, np.arange(90))
    np.testing.assert_allclose(found, same[:, first], rtol=1e-6)


def in_units(points, before, after):
    fixed = list(before.spec.fixed)
    change = np.linalg.solve(after.units.to_raw[fixed, :-1], before.units.to_raw[fixed, :-1])
    turn = np.linalg.solve(after.units.random_maps[0], before.units.random_maps[0])
    return ParameterPoints(points.beta @ change.T, [turn @ points.roots[0]], points.phi)
