"""Derivatives of the likelihood of single clusters, against differences of dense likelihoods."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skmixed.core.generalized.after_fit.same_rows import evaluate_at
from skmixed.core.generalized.approximation import observations as observations_module
from skmixed.core.generalized.approximation.cluster_scores import cluster_slopes
from skmixed.core.generalized.approximation.modes import Point
from skmixed.core.search.coordinates import Coordinates
from skmixed.core.sums.layout import Rows
from tests.core.generalized.drawn import dense_laplace, draw, random_point, raw

STEP = 1e-4  # central differences err by its square, and by rounding over it


def alone(drawn, own):
    """The rows of one cluster, with the levels that they are of."""
    rows = drawn.rows
    codes, indexes = [], []
    for of_rows, index in zip(rows.codes, rows.indexes, strict=True):
        present, codes_of = np.unique(of_rows[own], return_inverse=True)
        codes.append(codes_of)
        indexes.append(index.take(present))
    weights = None if rows.weights is None else rows.weights[own]
    few = Rows(rows.columns[own], tuple(codes), tuple(indexes), weights)
    return replace(drawn, rows=few, offset=None if drawn.offset is None else drawn.offset[own])


def product_quadrature(drawn, beta, lam, phi, n_nodes):
    """-2 log-likelihood of rows of one level, the nodes about the mode found by Newton's method."""
    rows, family = drawn.rows, drawn.family
    X, y = rows.columns[:, list(drawn.spec.fixed)], rows.columns[:, -1]
    w = np.ones(len(y)) if rows.weights is None else rows.weights
    Z = rows.columns[:, list(drawn.spec.factor_columns(0))] @ lam
    base, u = X @ beta + drawn.offset, np.zeros(Z.shape[1])
    for _ in range(100):
        _, g, v = family.derivatives(base + Z @ u, y, w, phi)
        hessian = (Z.T * v) @ Z + np.eye(len(u))
        u = u - np.linalg.solve(hessian, Z.T @ g + u)
    inverse = np.linalg.inv(np.linalg.cholesky(hessian))
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    grid = np.stack(np.meshgrid(*[nodes] * len(u), indexing="ij"), -1).reshape(-1, len(u))
    logs = np.log(weights / np.sqrt(2 * np.pi))
    logs = np.stack(np.meshgrid(*[logs] * len(u), indexing="ij"), -1).reshape(-1, len(u)).sum(1)
    at = u + grid @ inverse
    h = [family.derivatives(base + Z @ v, y, w, phi)[0].sum() + 0.5 * v @ v for v in at]
    total = np.exp(logs + 0.5 * (grid**2).sum(axis=1) - np.array(h)).sum()
    return -2 * np.log(total) + np.linalg.slogdet(hessian)[1] + 2 * family.constant(y, w, phi)


def differences(observations, point, criterion):
    """Central differences of a function of raw beta, lambdas and phi, (p + t + m,)."""
    coordinates = Coordinates.natural(observations.structures)
    theta = coordinates.theta([lam @ lam.T for lam in point.lambdas])
    ends = np.cumsum([len(point.beta), len(theta)])
    parameters = np.concatenate([point.beta, theta, point.phi])

    def at(values):
        beta, there, phi = np.split(values, ends)
        lambdas = coordinates.lambdas(there) if len(there) else []
        return criterion(*raw(observations, Point(beta, lambdas, phi)), phi)

    steps = STEP * np.eye(len(parameters))
    return np.array([(at(parameters + s) - at(parameters - s)) / (2 * STEP) for s in steps])


@pytest.mark.parametrize("name", ["binomial", "poisson", "gamma", "negative_binomial"])
@pytest.mark.parametrize("design", ["one column", "two columns", "nested, coarse first"])
def test_each_cluster_has_the_slopes_of_its_likelihood_by_laplace(name, design, monkeypatch):
    monkeypatch.setattr(observations_module, "_BLOCK_ROWS", 50)
    rng = np.random.default_rng(len(design))
    drawn = draw(rng, design, name)
    observations = drawn.observations()
    point = random_point(rng, observations)
    coarsest = min(drawn.rows.codes, key=lambda codes: codes.max())
    clusters = coarsest // 2  # of two levels each
    n = int(clusters.max()) + 1
    found = cluster_slopes(observations, point, 1, clusters, n)
    for cluster in (0, n - 1):
        own = alone(drawn, clusters == cluster)
        wanted = differences(
            observations,
            point,
            lambda beta, lams, phi, own=own: dense_laplace(own, beta, lams, phi),
        )
        assert_allclose(found[cluster], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["binomial", "negative_binomial"])
@pytest.mark.parametrize("design", ["one column", "two columns"])
def test_each_level_has_the_slopes_of_its_likelihood_by_quadrature(name, design):
    rng = np.random.default_rng(3)
    drawn = draw(rng, design, name)
    observations = drawn.observations()
    point = random_point(rng, observations)
    (codes,) = drawn.rows.codes
    found = cluster_slopes(observations, point, 5, codes, int(codes.max()) + 1)
    for level in (0, 4):
        own = alone(drawn, codes == level)
        wanted = differences(
            observations,
            point,
            lambda beta, lams, phi, own=own: product_quadrature(own, beta, lams[0], phi, 5),
        )
        assert_allclose(found[level], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("structure", ["unstructured", "diagonal", "identity"])
@pytest.mark.parametrize("n_nodes", [1, 3])
def test_slopes_of_clusters_add_up_to_the_gradient_on_the_boundary_too(structure, n_nodes):
    rng = np.random.default_rng(4)
    drawn = draw(rng, "two columns", "poisson", structure=structure)
    observations = drawn.observations()
    for boundary in ((), (0,)):
        point = random_point(rng, observations, boundary)
        coordinates = Coordinates.natural(observations.structures)
        theta = coordinates.theta([lam @ lam.T for lam in point.lambdas])
        wanted = evaluate_at(observations, n_nodes, point).slopes(coordinates, theta)
        (codes,) = drawn.rows.codes
        found = cluster_slopes(observations, point, n_nodes, codes, int(codes.max()) + 1)
        assert_allclose(found.sum(axis=0), wanted, rtol=1e-9, atol=1e-9)


def test_crossed_factors_have_slopes_of_clusters_that_hold_both():
    rng = np.random.default_rng(5)
    drawn = draw(rng, "crossed", "poisson", n=200)
    region = (np.arange(200) >= 90).astype(np.intp)  # no level of it is in two
    codes = tuple(
        np.where(region, size // 2 + own % (size - size // 2), own % (size // 2))
        for own, size in zip(drawn.rows.codes, (12, 5), strict=True)
    )
    drawn = replace(drawn, rows=replace(drawn.rows, codes=codes))
    observations = drawn.observations()
    point = random_point(rng, observations)
    found = cluster_slopes(observations, point, 1, region, 2)
    own = alone(drawn, region == 1)
    wanted = differences(
        observations, point, lambda beta, lams, phi: dense_laplace(own, beta, lams, phi)
    )
    assert_allclose(found[1], wanted, rtol=1e-5, atol=1e-5)
