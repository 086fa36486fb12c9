"""Curves whose parameters are not known for certain: means, deviations and quantiles over them.

The parameters of a row are normal. Sums over them are Gauss and Hermite's for one to three that
are uncertain, and over points of a sequence of low discrepancy for more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special, stats

from skmixed.core.linalg import FloatArray, IntArray, semidefinite_root
from skmixed.core.nonlinear.curve import Curve

_NODES = (15, 11, 9)  # a direction, for one to three: means are right to about 1e-8
_MOST_DIRECTIONS = 3  # for which a grid is smaller than a sequence
_LOG2_POINTS = 9  # of the points of a sequence
_CHUNK = 200_000  # rows times points: arrays of a few megabytes
_QUANTILE_STEPS = 10  # of Newton's within an interval, which leave rounding


@dataclass(frozen=True, eq=False)
class UncertainCurve:
    """A curve in rows, at parameters that are normal."""

    curve: Curve
    inputs: FloatArray  # (n, m)
    center: FloatArray  # (P, n), means of the parameters
    which: IntArray  # (r,), parameters that are uncertain
    covariance: FloatArray  # (n, r, r), of these

    def moments(self) -> tuple[FloatArray, FloatArray]:
        """Return the means and the deviations of the curve, (n,) each."""
        _, weights = _points(self._size)
        means, squares = np.empty(len(self.inputs)), np.empty(len(self.inputs))
        for rows, values in self._values(self._size, weights):
            means[rows] = values @ weights
            squares[rows] = np.square(values - means[rows, None]) @ weights
        return means, np.sqrt(squares)

    def quantiles(self, tails: tuple[float, ...], sigma: FloatArray) -> FloatArray:
        """Return quantiles, (n, q), of the curve and of noise of deviations sigma, (n,)."""
        size = _MOST_DIRECTIONS + 1  # of points that are equally likely
        _, weights = _points(size)
        found = np.empty((len(self.inputs), len(tails)))
        for rows, values in self._values(size, weights):
            noise = sigma[rows]
            is_exact = noise == 0.0
            found[rows][is_exact] = np.quantile(values[is_exact], tails, axis=1).T
            noisy = _mixture_quantiles(values[~is_exact], tails, noise[~is_exact])
            found[rows][~is_exact] = noisy
        return found

    @property
    def _size(self) -> int:
        return len(self.which)

    def _values(self, size: int, weights: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
        """Yield rows with the values of the curve at all points, (rows, points)."""
        nodes, _ = _points(size)
        step = max(1, _CHUNK // len(weights))
        for first in range(0, len(self.inputs), step):
            rows = slice(first, first + step)
            roots = semidefinite_root(self.covariance[rows])
            used = nodes[:, : roots.shape[2]]
            n, m = len(roots), len(nodes)
            parameters = np.repeat(self.center[:, rows, None], m, axis=2)
            parameters[self.which] += np.einsum("npr,mr->pnm", roots, used)
            inputs = np.repeat(self.inputs[rows], m, axis=0)
            values = self.curve.value(parameters.reshape(len(parameters), -1), inputs)
            yield rows, values.reshape(n, m)


@lru_cache(maxsize=16)
def _points(size: int) -> tuple[FloatArray, FloatArray]:
    """Return points of standard normal numbers, (m, r), and their weights, (m,)."""
    if size <= _MOST_DIRECTIONS:
        nodes, weights = special.roots_hermitenorm(_NODES[size - 1])
        grid = np.stack(np.meshgrid(*[nodes] * size, indexing="ij"), axis=-1)
        product = np.prod(np.meshgrid(*[weights] * size, indexing="ij"), axis=0).ravel()
        return grid.reshape(-1, size), product / product.sum()
    sequence = stats.qmc.Sobol(max(size, _MOST_DIRECTIONS + 1), seed=np.random.default_rng(0))
    points = stats.norm.ppf(sequence.random_base2(_LOG2_POINTS - 1))
    both = np.vstack([points, -points])  # odd moments are exactly zero
    return both, np.full(len(both), 1.0 / len(both))


def _mixture_quantiles(
    values: FloatArray, tails: tuple[float, ...], sigma: FloatArray
) -> FloatArray:
    """Return quantiles, (n, q), of normal distributions about values, (n, m), equally mixed.

    Their deviations are sigma, (n,). Newton's steps are kept within an interval that shrinks to
    where the distribution crosses.
    """
    found = np.empty((len(values), len(tails)))
    deviation = np.hypot(values.std(axis=1), sigma)
    for place, tail in enumerate(tails):
        reach = sigma * abs(float(stats.norm.ppf(tail))) + sigma
        low, high = values.min(axis=1) - reach, values.max(axis=1) + reach
        at = values.mean(axis=1) + float(stats.norm.ppf(tail)) * deviation
        for _ in range(_QUANTILE_STEPS):
            at = np.where((at > low) & (at < high), at, (low + high) / 2.0)
            z = (at[:, None] - values) / sigma[:, None]
            excess = special.ndtr(z).mean(axis=1) - tail
            low, high = np.where(excess < 0.0, at, low), np.where(excess < 0.0, high, at)
            density = np.exp(-z * z / 2.0).mean(axis=1) / (sigma * np.sqrt(2.0 * np.pi))
            at = at - excess / np.maximum(density, np.finfo(float).tiny)
        found[:, place] = np.where((at >= low) & (at <= high), at, (low + high) / 2.0)
    return found
