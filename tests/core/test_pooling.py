"""Two-stage estimation against explicit matrices."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import block_diag
from scipy.optimize import minimize

from skmixed.core.pooling.blending import BlendComponents, components
from skmixed.core.pooling.cells import Cells, fit_cells
from skmixed.core.pooling.hierarchy import Hierarchy, pool
from skmixed.core.pooling.stage import FirstStageResidual, PooledStage, PoolingStage
from skmixed.core.pooling.stage_search import solve_stage

K, GROUPS = 3, 20
PARENTS = np.repeat(np.arange(4), 5)
NOISES = [None, FirstStageResidual(50.0, 160.0, 100.0)]


def stage_of(noise, seed=0, spread=(2.0, 1.0, 0.3)):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(GROUPS, 8, K))
    precision = np.moveaxis(rows.transpose(0, 2, 1) @ rows / 8, 0, -1)
    estimate = (rng.normal(size=(GROUPS, K)) * np.array(spread)).T
    return PoolingStage(precision, estimate, PARENTS, 4, noise)


def dense(stage, omega):
    """V and X of all estimates, and the projection."""
    V = block_diag(*(omega + np.linalg.inv(p) for p in np.moveaxis(stage.precision, -1, 0)))
    X = np.kron(np.eye(4)[PARENTS], np.eye(K))
    inverse = np.linalg.inv(V)
    P = inverse - inverse @ X @ np.linalg.inv(X.T @ inverse @ X) @ X.T @ inverse
    return V, X, P


def dense_criterion(stage, omega):
    V, X, P = dense(stage, omega)
    y = stage.estimate.T.ravel()
    inner = X.T @ np.linalg.inv(V) @ X
    known = sum(np.linalg.slogdet(p)[1] for p in np.moveaxis(stage.precision, -1, 0))
    log_det = np.linalg.slogdet(V)[1] + known + np.linalg.slogdet(inner)[1]
    if stage.noise is None:
        return log_det + y @ P @ y
    degrees = stage.noise.n_rows - X.shape[1]
    return log_det + degrees * np.log((stage.noise.rss + y @ P @ y) / degrees)


@pytest.mark.parametrize("noise", NOISES)
def test_criterion_gradient_and_curvature(noise):
    stage = stage_of(noise)
    lam = np.tril(np.random.default_rng(1).normal(size=(K, K)))
    point = PooledStage.at(stage, lam)
    omega = lam @ lam.T
    assert_allclose(point.criterion, dense_criterion(stage, omega), rtol=1e-10)
    change = np.random.default_rng(2).normal(size=(K, K))
    change = 1e-5 * (change + change.T)
    above, below = (dense_criterion(stage, omega + sign * change) for sign in (1, -1))
    assert_allclose(np.sum(point.gradient * change), (above - below) / 2, rtol=1e-6)
    first, second = np.diag([1.0, 0.0, 0.0]), np.array([[0, 1, 0], [1, 0, 2], [0, 2, 0.5]])
    _, _, P = dense(stage, omega)
    q = P @ stage.estimate.T.ravel()
    left, right = (np.kron(np.eye(GROUPS), each) for each in (first, second))
    expected = q @ left @ P @ right @ q / point.s2
    if noise is not None:
        expected -= (q @ left @ q) * (q @ right @ q) / point.s2**2 / stage.degrees
    found = np.einsum("ab,abcd,cd", first, point.curvature, second)
    assert_allclose(found, expected, rtol=1e-8)
    assert_allclose(point.diagonal_curvature, np.einsum("aacc->ac", point.curvature))


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("spread", [(2.0, 1.0, 0.3), (9.0, 9.0, 9.0), (9.0, 0.1, 0.1)])
def test_the_optimum(noise, spread):
    stage = stage_of(noise, spread=spread)
    found = solve_stage(stage)
    assert np.any(found.omega - np.diag(np.diag(found.omega)))
    entries = np.tril_indices(K)

    def criterion(theta):
        lam = np.zeros((K, K))
        lam[entries] = theta
        return PooledStage.at(stage, lam).criterion

    rng = np.random.default_rng(0)
    best = min(minimize(criterion, rng.normal(size=6) * 3, method="BFGS").fun for _ in range(6))
    assert found.criterion <= best + 1e-6


def test_groups_without_information_do_not_count():
    stage = stage_of(None)
    empty = np.concatenate([stage.precision, np.zeros((K, K, 2))], axis=2)
    estimate = np.concatenate([stage.estimate, np.full((K, 2), 7.0)], axis=1)
    more = PoolingStage(empty, estimate, np.append(PARENTS, [0, 3]), 4)
    found, other = solve_stage(more), solve_stage(stage)
    assert_allclose(found.omega, other.omega, rtol=1e-6, atol=1e-8)
    assert_allclose(found.posterior_mean(found.mean)[:, -2:], found.mean[:, [0, 3]])


def test_posteriors_of_a_hierarchy_are_those_of_explicit_matrices():
    stage = stage_of(None, spread=(5.0, 4.0, 3.0))
    hierarchy = Hierarchy((np.zeros(4, dtype=int), PARENTS))
    found = pool(stage.precision, stage.estimate, hierarchy)
    coarse, fine = (each.between for each in found.stages)
    within = block_diag(*(np.linalg.inv(p) for p in np.moveaxis(stage.precision, -1, 0)))
    Z1, Z2 = np.kron(np.eye(4)[PARENTS], np.eye(K)), np.eye(GROUPS * K)
    between = Z1 @ np.kron(np.eye(4), coarse) @ Z1.T + Z2 @ np.kron(np.eye(GROUPS), fine) @ Z2.T
    V, X = within + between, np.kron(np.ones((GROUPS, 1)), np.eye(K))
    y, inverse = stage.estimate.T.ravel(), np.linalg.inv(V)
    covariance = np.linalg.inv(X.T @ inverse @ X)
    mean = covariance @ X.T @ inverse @ y
    expected = X @ mean + between @ inverse @ (y - X @ mean)
    assert_allclose(found.means[-1].T.ravel(), expected, rtol=1e-8)
    gap = X - between @ inverse @ X
    total = between - between @ inverse @ between + gap @ covariance @ gap.T
    blocks = np.einsum("gigj->ijg", total.reshape(GROUPS, K, GROUPS, K))
    assert_allclose(found.covariances[-1], blocks, rtol=1e-6, atol=1e-9)


def test_cells_merge():
    rng = np.random.default_rng(0)
    columns, codes = rng.normal(size=(60, 3)) + 1e6, np.arange(60) % 6
    weights = rng.integers(1, 4, size=60).astype(float)
    parents = np.array([0, 0, 1, 1, 1, 0])
    fine = Cells.of(columns, codes, 6, weights, centred=True)
    coarse = Cells.of(columns, parents[codes], 2, weights, centred=True)
    merged = fine.merged(parents, 2)
    assert_allclose(merged.products, coarse.products, rtol=1e-9)
    assert_allclose(merged.means, coarse.means, atol=1e-9)
    rows = np.flatnonzero(parents[codes] == 1)
    design = np.column_stack([np.ones(len(rows)), (columns - merged.origin)[rows, :2]])
    root = np.sqrt(weights[rows])
    y = (columns - merged.origin)[rows, 2]
    expected = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
    assert_allclose(fit_cells(merged, 2).coef[0, :, 1], expected, rtol=1e-8)


def test_components_of_predictions():
    rng = np.random.default_rng(0)
    n_rows = np.repeat([5.0, 20.0, 80.0], 400)
    deviation = rng.normal(size=(1200, 50)) * 0.8
    residual = deviation + rng.normal(size=(1200, 50)) * 1.5
    difference = deviation + rng.normal(size=(1200, 50)) * np.sqrt(2.0 / n_rows)[:, None]
    sums = [
        (a * b).sum(axis=1) for a, b in [(residual,) * 2, (residual, difference), (difference,) * 2]
    ]
    found = components(*sums, np.full(1200, 50.0), n_rows)
    assert_allclose([found.between, found.noise, found.error], [0.64, 2.25, 2.0], rtol=0.05)
    assert_allclose(found.share(np.array([20.0])), 0.64 / (0.64 + 0.1), rtol=0.05)
    useless = rng.normal(size=(1200, 50))
    pairs = [(residual, residual), (residual, useless), (useless, useless)]
    none = components(*[(a * b).sum(axis=1) for a, b in pairs], np.full(1200, 50.0), n_rows)
    assert_allclose(none.share(n_rows), 0.0, atol=0.1)
    assert BlendComponents(0.0, 1.0, 1.0).share(np.array([3.0])) == 0.0
