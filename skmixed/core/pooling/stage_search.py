"""The search for the covariance between the groups of one stage.

Newton's method in the entries of a square root of Omega, as for mixed models, so that a variance of
zero is an ordinary point. In every step the coordinates are the eigenvectors of Omega, by falling
variance, and the change E of the root diag(r) is lower triangular in them. With the gradient G and
the curvature K in Omega, the derivatives in E_ij and E_kl are

    2 G_ij r_j     and     K[e_i e_j' + e_j e_i', e_k e_l' + e_l e_k'] r_j r_l + 2 G_ik (if j = l).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skmixed.core.elimination.levels import multiply, multiply_right
from skmixed.core.linalg import FloatArray, semidefinite_root, trust_region_step
from skmixed.core.pooling.stage import (
    NOISELESS,
    UNINFORMED,
    PooledStage,
    PoolingStage,
    information_eigenpairs,
)

_MOST_CORRELATED = 24  # coefficients; more get no correlations: the curvature has k^4 entries
_MOST_STEPS = 100  # far more than Newton's method takes: ends a search that rounding keeps going
_LEAST_DECREASE = 1e-10  # predicted, of the criterion: far below what any estimate shows
_CRITERION_DIGITS = 1e-12  # of the criterion: a smaller predicted decrease cannot be judged
_LEAST_START = 1e-3  # of the largest variance: off zero, where the slope in its root vanishes
_LEAST_VARIANCE = 1e-6  # to start from where none is positive, in the units of the search
_LEAST_NOISE = 1e-9  # share of the variance within parents; with less, W would lose its digits


def solve_stage(stage: PoolingStage) -> PooledStage:
    """Maximise the restricted likelihood of one stage, with estimates in any units.

    The covariance is unstructured if there are more groups, beyond one a parent, than coefficients.
    Where Akaike's criterion finds that this is no better than no difference between groups at all,
    a diagonal covariance is tried; and where that is no better either, Omega is zero.
    """
    k = stage.k
    if stage.noise is not None and stage.degrees <= 0.0:
        stage = replace(stage, noise=None)  # nothing is left to tell of s^2
        return PooledStage.at(stage, np.zeros((k, k)))
    null = PooledStage.at(stage, np.zeros((k, k)))
    if stage.degrees_between < 1 or _is_exact(null):
        return null
    if stage.noise is not None:
        rss = max(stage.noise.rss, _LEAST_NOISE * null.s2 * stage.degrees)
        if rss > stage.noise.rss:
            stage = replace(stage, noise=replace(stage.noise, rss=rss))
            null = PooledStage.at(stage, np.zeros((k, k)))
    searches: list[UnstructuredSearch | DiagonalSearch] = [DiagonalSearch(k)]
    if k < stage.degrees_between and k <= _MOST_CORRELATED:
        searches.insert(0, UnstructuredSearch(k))
    for search in searches:
        found = _optimum(search, stage, null)
        if null.criterion - found.criterion > 2.0 * search.n_parameters:  # Akaike's criterion
            return found
    return null


def _is_exact(null: PooledStage) -> bool:
    """Tell whether the means of the parents leave nothing but rounding."""
    stage = null.stage
    if stage.noise is None:
        return False
    images = np.einsum("ijg,jg->ig", stage.precision, stage.estimate)
    explained = float(np.vdot(stage.estimate, images))
    return bool(null.s2 * stage.degrees <= NOISELESS * explained)


def _optimum(
    search: UnstructuredSearch | DiagonalSearch, stage: PoolingStage, null: PooledStage
) -> PooledStage:
    """Return the optimum of one structure, found in units that suit it."""
    scaled, units, _ = in_units(stage, search)
    start = search.start(scaled, units.T @ _excess(null) @ units)
    found = _descend(search, PooledStage.at(scaled, start))
    return PooledStage.at(stage, units @ found.lam)


def in_units(
    stage: PoolingStage, search: UnstructuredSearch | DiagonalSearch
) -> tuple[PoolingStage, FloatArray, FloatArray]:
    """Return a stage in units that suit a search, the units T, and T^-1, (k, k)."""
    units, inverse = _units(stage.precision.mean(axis=2), isinstance(search, UnstructuredSearch))
    scaled = replace(
        stage,
        precision=multiply_right(multiply(units.T, stage.precision), units),
        estimate=inverse @ stage.estimate,
    )
    return scaled, units, inverse


def _units(average: FloatArray, is_full: bool) -> tuple[FloatArray, FloatArray]:
    """Return T with T'PT = I for the average P, (k, k), or diagonal of unit diagonal; and T^-1.

    Directions that no group knows anything about are left out of both.
    """
    if not is_full:
        scale = np.sqrt(np.diag(average))
        scale = np.where(scale > 0.0, scale, 1.0)
        return np.diag(1.0 / scale), np.diag(scale)
    values, vectors = information_eigenpairs(average)
    known = values > UNINFORMED
    units = vectors * np.where(known, 1.0 / np.sqrt(np.where(known, values, 1.0)), 0.0)
    return units, units.T @ average


def _descend(search: UnstructuredSearch | DiagonalSearch, point: PooledStage) -> PooledStage:
    """Return the point that trust-region Newton steps lead to."""
    radius = max(1.0, float(np.linalg.norm(point.lam)))
    rounding = _CRITERION_DIGITS * (1.0 + abs(point.criterion))
    for _ in range(_MOST_STEPS):
        step, predicted = trust_region_step(*search.derivatives(point), radius)
        if predicted < _LEAST_DECREASE:
            break
        trial = search.moved(point, step)
        gain = point.criterion - trial.criterion
        length = float(np.linalg.norm(step))
        if gain > 0.1 * predicted:  # a tenth of what was predicted is worth the step
            point = trial
            if gain > 0.7 * predicted:  # the quadratic holds, and may hold farther away
                radius = max(radius, 2.0 * length)
        elif predicted < rounding:  # the last step, too small to be judged
            return trial if gain > -rounding else point
        else:
            radius = 0.3 * min(radius, length)  # clearly shorter than the step that failed
    return point


def _excess(null: PooledStage) -> FloatArray:
    """Return the products of scores beyond what the variance within groups explains, (k, k)."""
    within = null.stage.s2_within or null.s2
    products = null.score @ null.score.T
    return np.asarray(products / within - products / null.s2 - null.gradient)


class UnstructuredSearch:
    """Unstructured covariance: a lower triangular change in the eigenvectors of Omega."""

    def __init__(self, k: int) -> None:
        self.rows, self.columns = np.tril_indices(k)
        self.n_parameters = len(self.rows)

    def sizes(self, lam: FloatArray) -> FloatArray:
        """Return the root of Omega that each parameter changes, (n_parameters,)."""
        return np.asarray(np.linalg.svd(lam)[1][self.columns])

    def start(self, stage: PoolingStage, excess: FloatArray) -> FloatArray:
        """Return a square root of a first estimate, (k, k), one scoring step from zero."""
        k = stage.k
        p = stage.precision.reshape(k * k, -1)
        information = (p @ p.T).reshape(k, k, k, k).transpose(0, 2, 1, 3).reshape(k * k, k * k)
        omega = np.linalg.lstsq(information, excess.ravel(), rcond=None)[0].reshape(k, k)
        omega = 0.5 * (omega + omega.T)
        largest = float(np.linalg.eigvalsh(omega)[-1])
        return semidefinite_root(omega, max(_LEAST_START * largest, _LEAST_VARIANCE))

    def derivatives(self, point: PooledStage) -> tuple[FloatArray, FloatArray]:
        """Return gradient and Hessian in the entries of the change."""
        u, roots, _ = np.linalg.svd(point.lam)
        k, i, j = len(roots), self.rows, self.columns
        gradient = u.T @ point.gradient @ u
        turn = np.kron(u, u)
        curvature = (turn.T @ point.curvature.reshape(k * k, k * k) @ turn).reshape(k, k, k, k)
        curvature = curvature + curvature.transpose(1, 0, 2, 3)
        curvature = curvature + curvature.transpose(0, 1, 3, 2)
        hessian = curvature[i[:, None], j[:, None], i, j] * roots[j][:, None] * roots[j]
        hessian += np.where(j[:, None] == j, 2.0 * gradient[i[:, None], i], 0.0)
        return 2.0 * gradient[i, j] * roots[j], 0.5 * (hessian + hessian.T)

    def moved(self, point: PooledStage, step: FloatArray) -> PooledStage:
        """Evaluate the stage after a step."""
        u, roots, _ = np.linalg.svd(point.lam)
        root = np.diag(roots)
        root[self.rows, self.columns] += step
        return PooledStage.at(point.stage, u @ root)


class DiagonalSearch:
    """Coefficients that vary independently of each other."""

    def __init__(self, k: int) -> None:
        self.n_parameters = k

    def sizes(self, lam: FloatArray) -> FloatArray:
        """Return the root of Omega that each parameter changes, (n_parameters,)."""
        return np.abs(np.diag(lam))

    def start(self, stage: PoolingStage, excess: FloatArray) -> FloatArray:
        """Return a square root of a first estimate, (k, k), one scoring step from zero."""
        p = stage.precision
        information = np.einsum("ijg,ijg->ij", p, p)
        omega = np.linalg.lstsq(information, np.diag(excess), rcond=None)[0]
        least = max(_LEAST_START * float(omega.max()), _LEAST_VARIANCE)
        return np.diag(np.sqrt(np.maximum(omega, least)))

    def derivatives(self, point: PooledStage) -> tuple[FloatArray, FloatArray]:
        """Return gradient and Hessian in the square roots of the variances."""
        roots, slope = np.diag(point.lam), np.diag(point.gradient)
        hessian = 4.0 * roots[:, None] * roots * point.diagonal_curvature
        return 2.0 * slope * roots, hessian + np.diag(2.0 * slope)

    def moved(self, point: PooledStage, step: FloatArray) -> PooledStage:
        """Evaluate the stage after a step."""
        return PooledStage.at(point.stage, point.lam + np.diag(step))
