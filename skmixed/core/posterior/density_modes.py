"""Modes of a density, and t distributions about them.

A search sees heights, -log density, with slopes and curvatures: by differences of many heights at
once, or by exact slopes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from skmixed.core.linalg import FloatArray, eigenpairs
from skmixed.core.posterior.t_mixture import TMixture

_CLIMBING_STEP = 1e-4  # of differences for slopes; coordinates are of the size of one
_HESSIAN_STEP = 0.02  # of second differences: rounding stays far below them
_EXACT_SLOPE_STEP = 1e-3  # of differences of exact slopes, which have more digits
_LEAST_CURVATURE = 0.01  # of -log density at a mode: a deviation of ten, wide in all coordinates
_SLOPE_TOLERANCE = 1e-3  # of the search for modes, which need not be exact
_NOWHERE = 1e10  # in the place of an infinite -log density, so that a search turns back
_SAME_MODE = 0.5  # deviations within which two searches ended at one mode
_NEGLIGIBLE_MODE = 1e-6  # share of the mass, by Laplace's approximation: not worth a component

Target = Callable[[FloatArray], tuple[FloatArray, Any]]
"""Return log densities, (n,), of points, (n, d), and what else of them is worth keeping."""
SlopedTarget = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""Return log densities, (n,), of points, (n, d), and their gradients, (n, d)."""


class Heights(ABC):
    """What a search for modes sees of a density; it counts evaluations."""

    n: int  # of them so far

    @abstractmethod
    def with_slope(self, point: FloatArray) -> tuple[float, FloatArray]:
        """Return -log density of a point, (d,), and its gradient, (d,)."""

    @abstractmethod
    def hessian(self, point: FloatArray) -> FloatArray:
        """Return second derivatives of -log density, (d, d)."""


class HeightsOfMany(Heights):
    """A density of which many evaluations at once cost little: derivatives are differences."""

    def __init__(self, target: Target) -> None:
        self._target, self.n = target, 0

    def __call__(self, points: FloatArray) -> tuple[FloatArray, Any]:
        """Return what the target returns."""
        self.n += len(points)
        return self._target(points)

    def _heights(self, points: FloatArray) -> FloatArray:
        return _finite(self(points)[0])

    def with_slope(self, point: FloatArray) -> tuple[float, FloatArray]:
        """Return -log density of a point, (d,), and its gradient, (d,)."""
        d, steps = len(point), _CLIMBING_STEP * np.eye(len(point))
        heights = self._heights(np.concatenate([point[None], point + steps, point - steps]))
        return float(heights[0]), (heights[1 : d + 1] - heights[d + 1 :]) / (2.0 * _CLIMBING_STEP)

    def hessian(self, point: FloatArray) -> FloatArray:
        """Return second derivatives of -log density, (d, d)."""
        d, h = len(point), _HESSIAN_STEP
        steps = h * np.eye(d)
        signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
        pairs = [(i, j) for i in range(d) for j in range(i + 1)]
        points = [point + a * steps[i] + b * steps[j] for i, j in pairs for a, b in signs]
        heights = self._heights(np.array(points)).reshape(-1, 4)
        hessian = np.empty((d, d))
        for (i, j), (up, across, back, down) in zip(pairs, heights, strict=True):
            hessian[i, j] = hessian[j, i] = (up - across - back + down) / (4.0 * h * h)
        return hessian


class HeightsWithSlopes(Heights):
    """A density with exact slopes."""

    def __init__(self, target: SlopedTarget) -> None:
        self._target, self.n = target, 0

    def __call__(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return what the target returns."""
        self.n += len(points)
        return self._target(points)

    def with_slope(self, point: FloatArray) -> tuple[float, FloatArray]:
        """Return -log density of a point, (d,), and its gradient, (d,)."""
        values, slopes = self(point[None])
        return float(_finite(values)[0]), -slopes[0]

    def hessian(self, point: FloatArray) -> FloatArray:
        """Return second derivatives of -log density, (d, d)."""
        steps = _EXACT_SLOPE_STEP * np.eye(len(point))
        up, down = (-self(point + sign * steps)[1] for sign in (1.0, -1.0))
        hessian = (up - down) / (2.0 * _EXACT_SLOPE_STEP)
        return np.asarray((hessian + hessian.T) / 2.0)


def _finite(values: FloatArray) -> FloatArray:
    """Return -log densities, (n,), large where there is none."""
    return np.where(np.isfinite(values), -values, _NOWHERE)


def about_modes(density: Heights, starts: FloatArray) -> TMixture:
    """Return t distributions about the modes found from starts, (m, d), two a mode, by mass."""
    modes: list[FloatArray] = []
    scales: list[FloatArray] = []
    masses: list[float] = []
    for start in starts:
        mode, height = _climbed(density, start)
        scale = _curvature_inverse(density, mode)
        apart = [mode - other for other in modes]
        distances = [
            math.sqrt(float(step @ np.linalg.solve(known, step)))
            for step, known in zip(apart, scales, strict=True)
        ]
        if min(distances, default=np.inf) < _SAME_MODE:
            continue
        modes.append(mode)
        scales.append(scale)
        masses.append(0.5 * float(np.linalg.slogdet(scale)[1]) - height)
    shares = np.exp(np.array(masses) - logsumexp(masses))
    kept = np.flatnonzero(shares > _NEGLIGIBLE_MODE)
    shares = np.maximum(shares[kept], 1.0 / (10.0 * len(kept)))
    shares /= shares.sum()
    centres, spread = np.stack(modes)[kept], np.stack(scales)[kept]
    n = len(kept)
    return TMixture(
        np.concatenate([0.8 * shares, 0.2 * shares]),
        np.concatenate([centres, centres]),
        np.concatenate([spread, 4.0 * spread]),
        np.repeat([5.0, 3.0], n),
    )


def _climbed(density: Heights, start: FloatArray) -> tuple[FloatArray, float]:
    """Return a mode, (d,), and -log density there."""
    found = minimize(
        density.with_slope,
        start,
        jac=True,
        method="BFGS",
        options={"gtol": _SLOPE_TOLERANCE, "maxiter": 200},
    )
    return np.asarray(found.x), float(found.fun)


def _curvature_inverse(density: Heights, mode: FloatArray) -> FloatArray:
    """Return the inverse of the second derivatives of -log density, (d, d), no wider than ten."""
    values, vectors = eigenpairs(density.hessian(mode))
    return np.asarray((vectors / np.maximum(values, _LEAST_CURVATURE)) @ vectors.T)
