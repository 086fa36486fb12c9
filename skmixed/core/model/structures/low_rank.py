"""Covariances of reduced rank: what varies are combinations of few latent effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skmixed.core.linalg import (
    BoolArray,
    FloatArray,
    IntArray,
    diagonal,
    eigenpairs,
    eigenvalues,
    semidefinite_cholesky,
    transposed,
)
from skmixed.core.model.covariance import Structure
from skmixed.core.model.structures.linear_roots import (
    NEARLY_ZERO,
    ON_BOUNDARY,
    PIVOT_RATIO,
    Linear,
    least_variance,
    permuted,
    places_of_triangle,
    symmetric_units,
    triangle,
)

_N_LOADINGS = 4  # starts beside the first: of twenty fits to noisy data, one had a lower optimum
_LOADINGS_SEED = 18  # of the draws: any number would do


@dataclass(frozen=True, slots=True)
class LowRank(Linear):
    """Covariances of a rank d at most; lambda is the first d columns of a lower triangle.

    Its entries are the loadings of the columns on d independent latent effects. Of lower rank it is
    on the boundary.
    """

    rank: int = 2

    may_shift: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= self.size:
            raise ValueError(
                f"a covariance of {self.size} columns has a rank from 1 to {self.size}, "
                f"not {self.rank}"
            )

    @property
    def n_theta(self) -> int:
        return self.rank * self.size - self.rank * (self.rank - 1) // 2

    @property
    def basis(self) -> FloatArray:
        return symmetric_units(self.size)

    @property
    def deviations(self) -> tuple[tuple[int, ...], ...]:
        return tuple((column,) for column in range(self.size))

    @property
    def correlations(self) -> tuple[tuple[int, int], ...]:
        return self.tabulated if self.rank > 1 else ()  # all are 1 or -1

    @property
    def tabulated(self) -> tuple[tuple[int, int], ...]:
        return tuple((i, j) for i in range(self.size) for j in range(i + 1, self.size))

    def patterns(self, order: IntArray) -> FloatArray:
        if order.ndim == 1:
            return triangle(tuple(order.tolist()))[: self.n_theta]
        natural = triangle(tuple(range(self.size)))[: self.n_theta]
        return np.moveaxis(natural[:, np.argsort(order, axis=-1)], 0, -3)

    def theta(self, omega: FloatArray, order: IntArray) -> FloatArray:
        rows, columns = places_of_triangle(self.size)
        root = self._root(permuted(omega, order))
        return np.asarray(root[..., rows[: self.n_theta], columns[: self.n_theta]])

    def _root(self, omega: FloatArray) -> FloatArray:
        """Return the first d columns of a lower triangle, (..., k, d).

        The diagonal has no negative entry. Rows of what does not vary are exactly zero.
        """
        lower = semidefinite_cholesky(omega)
        if not lower[..., self.rank :].any():
            return lower[..., : self.rank]
        values, vectors = np.linalg.eigh(omega)
        root = (vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :])[..., -self.rank :]
        turned = transposed(np.asarray(np.linalg.qr(transposed(root), mode="r")))
        signs = np.where(diagonal(turned[..., : self.rank, :]) < 0.0, -1.0, 1.0)
        varies = diagonal(omega)[..., None] > 0.0
        return np.asarray(np.tril(turned * signs[..., None, :]) * varies + 0.0)

    @property
    def has_pivots(self) -> bool:
        return self.size > 1

    def pivot(self, omega: FloatArray, order: IntArray) -> IntArray:
        """Return the order in which the largest variance left comes first, d times.

        The present one stays where no pivot of it is less than a quarter of what is left.
        """
        is_shared = order.ndim == 1
        rest = permuted(omega, order)
        shape = rest.shape[:-2]
        places = np.broadcast_to(np.arange(self.size), (*shape, self.size)).copy()
        is_bad, left, own = np.zeros(shape, dtype=np.bool_), rest, rest
        for step in range(self.rank):
            variances = diagonal(own)
            is_bad |= variances[..., step:].max(axis=-1) > PIVOT_RATIO * variances[..., step]
            own = _eliminated(own, np.full(shape, step))
            chosen = step + np.argmax(
                np.take_along_axis(diagonal(left), places, -1)[..., step:], axis=-1
            )
            here = np.take_along_axis(places, chosen[..., None], -1)
            np.put_along_axis(places, chosen[..., None], places[..., step : step + 1], -1)
            places[..., step : step + 1] = here
            left = _eliminated(left, here[..., 0])
        if not is_bad.any():
            return order
        full = np.broadcast_to(order, places.shape) if is_shared else order
        return np.where(is_bad[..., None], np.take_along_axis(full, places, -1), full)

    def held(self, columns: tuple[int, ...]) -> tuple[IntArray, tuple[int, ...]]:
        rest = [column for column in range(self.size) if column not in columns]
        places = (0,) if len(columns) == 1 else (0, 1, self.size)
        return np.array([*columns, *rest]), places

    def projected(self, moment: FloatArray) -> FloatArray:
        return self._truncated(moment, np.zeros(moment.shape[:-2])[..., None])

    def lifted(self, omega: FloatArray) -> FloatArray:
        return self._truncated(omega, least_variance(eigenvalues(omega)[..., -1:]))

    @property
    def has_alternatives(self) -> bool:
        return True

    def alternatives(self, omega: FloatArray) -> list[FloatArray]:
        """Draw loadings of the same size: the criterion may have an optimum for every subspace."""
        shape = (_N_LOADINGS, self.size, self.rank)
        drawn = np.random.default_rng(_LOADINGS_SEED).standard_normal(shape) / np.sqrt(
            self.rank * self.size
        )
        size = diagonal(omega).sum(axis=-1)[..., None, None]
        return [size * (root @ root.T) for root in drawn]

    def _truncated(self, omega: FloatArray, least: FloatArray) -> FloatArray:
        """Return the d largest eigenvalues alone, none below `least`, (..., 1)."""
        values, vectors = eigenpairs(omega)
        kept, vectors = np.maximum(values[..., -self.rank :], least), vectors[..., -self.rank :]
        return np.asarray((vectors * kept[..., None, :]) @ transposed(vectors))

    def snapped(self, omega: FloatArray) -> FloatArray:
        values, vectors = eigenpairs(omega)
        small = values < NEARLY_ZERO * np.maximum(1.0, values[..., -1:])
        small[..., : -self.rank] = False  # as they have to be
        if not small.any():
            return omega
        values[..., : -self.rank] = 0.0
        kept = vectors * np.where(small, 0.0, values)[..., None, :]
        is_changed = np.asarray(small.any(axis=-1))[..., None, None]
        return np.where(is_changed, kept @ transposed(vectors), omega)

    def is_on_boundary(self, omega: FloatArray) -> BoolArray:
        values = eigenvalues(omega)
        least = ON_BOUNDARY * np.maximum(1.0, values[..., -1])
        return np.asarray(values[..., -self.rank] < least)

    def way_off(self, omega: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
        values, vectors = eigenpairs(omega)
        null = values < ON_BOUNDARY * np.maximum(1.0, values[..., -1:])
        vectors = vectors * null[..., None, :]
        slopes, inner = eigenpairs(transposed(vectors) @ gradient @ vectors)
        direction = vectors @ inner[..., :1]
        slope = np.where(null[..., -self.rank], slopes[..., 0], np.inf)
        return slope, direction @ transposed(direction)

    def contains(self, other: Structure) -> bool:
        return other.size == self.size and other.rank_of_covariances <= self.rank

    @property
    def rank_of_covariances(self) -> int:
        return self.rank

    @property
    def n_latent(self) -> int:
        return self.rank

    def loadings(self, omega: FloatArray) -> FloatArray:
        """Return the first d columns of a lower triangle, (..., k, d), whose square this is."""
        return self._root(omega)

    @property
    def label(self) -> str:
        return "rr"

    def written(self, columns: str, factor: str) -> str:
        return f"rr({columns} | {factor}, d={self.rank})"


def _eliminated(matrix: FloatArray, place: IntArray) -> FloatArray:
    """Return what one row and column, at a place, (...), leave of semidefinite matrices."""
    column = np.take_along_axis(matrix, place[..., None, None], -1)
    pivot = np.take_along_axis(column, place[..., None, None], -2)
    safe = np.where(pivot > 0.0, pivot, np.inf)
    return np.asarray(matrix - column * transposed(column) / safe)
