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

from skmixed.core.layout import FloatArray
from skmixed.core.levels import multiply, multiply_right
from skmixed.core.pooling import Pooled
from skmixed.core.pooling_stage import Stage

_LARGEST = 24  # more coefficients than this share no correlations: the curvature has k^4 entries
_MOST_STEPS = 100
_ENOUGH = 1e-10  # predicted decrease of the criterion
_ROUNDING = 1e-12  # of the criterion, relative
_LEAST_START = 1e-3  # relative to the largest variance
_EXACT = 1e-13  # share of the sum of squares that is taken for rounding
_LEAST_NOISE = 1e-9  # share of the variance within parents; with less, W would lose its digits
_UNKNOWN = 1e-10


def solve_stage(stage: Stage) -> Pooled:
    """Maximise the restricted likelihood of one stage.

    Parameters
    ----------
    stage : Stage
        Estimates, in any units.

    Returns
    -------
    Pooled
        At the optimum with an unstructured covariance, if there are more groups, beyond one a
        parent, than coefficients. Where Akaike's criterion finds that this is no better than no
        difference between groups at all, a diagonal covariance is tried; and where that is no
        better either, Omega is zero.
    """
    k = stage.k
    if stage.noise is not None and stage.degrees <= 0.0:
        stage = replace(stage, noise=None)  # nothing is left to tell of s^2
        return Pooled.at(stage, np.zeros((k, k)))
    null = Pooled.at(stage, np.zeros((k, k)))
    if stage.degrees_between < 1 or _is_exact(null):
        return null
    if stage.noise is not None:
        rss = max(stage.noise.rss, _LEAST_NOISE * null.s2 * stage.degrees)
        if rss > stage.noise.rss:
            stage = replace(stage, noise=replace(stage.noise, rss=rss))
            null = Pooled.at(stage, np.zeros((k, k)))
    searches: list[_Full | _Diagonal] = [_Diagonal(k)]
    if k < stage.degrees_between and k <= _LARGEST:
        searches.insert(0, _Full(k))
    for search in searches:
        found = _searched(search, stage, null)
        if null.criterion - found.criterion > 2.0 * search.n_parameters:
            return found
    return null


def _is_exact(null: Pooled) -> bool:
    """Tell whether the means of the parents leave nothing but rounding."""
    stage = null.stage
    if stage.noise is None:
        return False
    images = np.einsum("ijg,jg->ig", stage.precision, stage.estimate)
    explained = float(np.vdot(stage.estimate, images))
    return bool(null.s2 * stage.degrees <= _EXACT * explained)


def _searched(search: _Full | _Diagonal, stage: Stage, null: Pooled) -> Pooled:
    """Return the optimum of one structure, found in units that suit it."""
    units, inverse = _units(stage.precision.mean(axis=2), isinstance(search, _Full))
    scaled = replace(
        stage,
        precision=multiply_right(multiply(units.T, stage.precision), units),
        estimate=inverse @ stage.estimate,
    )
    start = search.start(scaled, units.T @ _excess(null) @ units)
    found = _descend(search, Pooled.at(scaled, start))
    return Pooled.at(stage, units @ found.factor)


def _units(average: FloatArray, is_full: bool) -> tuple[FloatArray, FloatArray]:
    """Return T with T'PT = I for the average precision P, or diagonal of unit diagonal; and T^-1.

    Directions that no group knows anything about are left out of both.
    """
    scale = np.sqrt(np.diag(average))
    scale = 1.0 / np.where(scale > 0.0, scale, 1.0)
    if not is_full:
        return np.diag(scale), np.diag(1.0 / scale)
    values, vectors = np.linalg.eigh(average * scale[:, None] * scale)
    known = values > _UNKNOWN
    roots = np.where(known, 1.0 / np.sqrt(np.where(known, values, 1.0)), 0.0)
    units = scale[:, None] * vectors * roots
    return units, units.T @ average


def _descend(search: _Full | _Diagonal, point: Pooled) -> Pooled:
    radius = max(1.0, float(np.linalg.norm(point.factor)))
    rounding = _ROUNDING * (1.0 + abs(point.criterion))
    for _ in range(_MOST_STEPS):
        step, predicted = _trust_step(*search.model(point), radius)
        if predicted < _ENOUGH:
            break
        trial = search.moved(point, step)
        gain = point.criterion - trial.criterion
        length = float(np.linalg.norm(step))
        if gain > 0.1 * predicted:
            point = trial
            radius = max(radius, 2.0 * length) if gain > 0.7 * predicted else radius
        elif predicted < rounding:  # the last step, too small to be judged
            return trial if gain > -rounding else point
        else:
            radius = 0.3 * min(radius, length)
    return point


def _trust_step(slope: FloatArray, hessian: FloatArray, radius: float) -> tuple[FloatArray, float]:
    """Return a step no longer than the radius, and the decrease that the quadratic predicts.

    Along an eigenvector of negative curvature it goes downhill as far as the radius, also where
    the slope is zero, as it is at a variance of zero that should not be.
    """
    values, vectors = np.linalg.eigh(hessian)
    along = vectors.T @ slope
    floor = 1e-12 * max(1.0, float(np.abs(values).max()))
    step = -along / np.maximum(np.abs(values), floor)
    down = values < -floor
    step[down] = np.where(along[down] > 0.0, -radius, radius)
    length = float(np.linalg.norm(step))
    if length > radius:
        step *= radius / length
    predicted = -float(along @ step + 0.5 * values @ step**2)
    return vectors @ step, predicted


def _excess(null: Pooled) -> FloatArray:
    """Return the products of scores beyond what the variance within groups explains."""
    within = null.stage.s2_within or null.s2
    products = null.score @ null.score.T
    return np.asarray(products / within - products / null.s2 - null.gradient)


class _Full:
    """Unstructured covariance: a lower triangular change in the eigenvectors of Omega.

    Parameters
    ----------
    k : int
        Number of coefficients.
    """

    def __init__(self, k: int) -> None:
        self.rows, self.columns = np.tril_indices(k)
        self.n_parameters = len(self.rows)

    def start(self, stage: Stage, excess: FloatArray) -> FloatArray:
        """Return a square root of a first estimate, one scoring step from zero."""
        k = stage.k
        p = stage.precision.reshape(k * k, -1)
        information = (p @ p.T).reshape(k, k, k, k).transpose(0, 2, 1, 3).reshape(k * k, k * k)
        omega = np.linalg.lstsq(information, excess.ravel(), rcond=None)[0].reshape(k, k)
        values, vectors = np.linalg.eigh(0.5 * (omega + omega.T))
        least = max(_LEAST_START * float(values[-1]), 1e-6)
        return np.asarray(vectors * np.sqrt(np.maximum(values, least)))

    def model(self, point: Pooled) -> tuple[FloatArray, FloatArray]:
        """Return gradient and Hessian in the entries of the change."""
        u, roots, _ = np.linalg.svd(point.factor)
        k, i, j = len(roots), self.rows, self.columns
        gradient = u.T @ point.gradient @ u
        turn = np.kron(u, u)
        curvature = (turn.T @ point.curvature.reshape(k * k, k * k) @ turn).reshape(k, k, k, k)
        curvature = curvature + curvature.transpose(1, 0, 2, 3)
        curvature = curvature + curvature.transpose(0, 1, 3, 2)
        hessian = curvature[i[:, None], j[:, None], i, j] * roots[j][:, None] * roots[j]
        hessian += np.where(j[:, None] == j, 2.0 * gradient[i[:, None], i], 0.0)
        return 2.0 * gradient[i, j] * roots[j], 0.5 * (hessian + hessian.T)

    def moved(self, point: Pooled, step: FloatArray) -> Pooled:
        """Evaluate the stage after a step."""
        u, roots, _ = np.linalg.svd(point.factor)
        root = np.diag(roots)
        root[self.rows, self.columns] += step
        return Pooled.at(point.stage, u @ root)


class _Diagonal:
    """Coefficients that vary independently of each other.

    Parameters
    ----------
    k : int
        Number of coefficients.
    """

    def __init__(self, k: int) -> None:
        self.n_parameters = k

    def start(self, stage: Stage, excess: FloatArray) -> FloatArray:
        """Return a square root of a first estimate, one scoring step from zero."""
        p = stage.precision
        information = np.einsum("ijg,ijg->ij", p, p)
        omega = np.linalg.lstsq(information, np.diag(excess), rcond=None)[0]
        least = max(_LEAST_START * float(omega.max()), 1e-6)
        return np.diag(np.sqrt(np.maximum(omega, least)))

    def model(self, point: Pooled) -> tuple[FloatArray, FloatArray]:
        """Return gradient and Hessian in the square roots of the variances."""
        roots, slope = np.diag(point.factor), np.diag(point.gradient)
        hessian = 4.0 * roots[:, None] * roots * point.diagonal_curvature
        return 2.0 * slope * roots, hessian + np.diag(2.0 * slope)

    def moved(self, point: Pooled, step: FloatArray) -> Pooled:
        """Evaluate the stage after a step."""
        return Pooled.at(point.stage, point.factor + np.diag(step))
