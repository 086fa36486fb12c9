"""Covariance structures whose root lambda is linear in theta.

It is a sum of constant 0/1 matrices times the entries of theta, so that the derivatives are made of
these constants.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from scipy import sparse

from skmixed.core.linalg import (
    WIDE,
    BoolArray,
    FloatArray,
    IntArray,
    diagonal,
    eigenpairs,
    eigenvalues,
    semidefinite_cholesky,
    transposed,
)
from skmixed.core.model.covariance import BlockDiagonal, Structure, read_only

PIVOT_RATIO = 4.0  # of variances: nearer ones stand in any order, not swapped to and fro
# Eigenvalues of Omega are relative to the largest of the structure or to 1, whichever is larger.
ON_BOUNDARY = 1e-6  # less counts as zero where directions off the boundary are sought
NEARLY_ZERO = 1e-4  # tried as an exact zero: a deviation of 1 % of the residual's
_LEAST_SHARE = 0.01  # of the largest variance: a start is inside, where all slopes are felt


class Linear(Structure):
    """A structure with lambda linear in theta: a combination of 0/1 patterns L_a.

    Then Omega_a = L_a lambda' + lambda L_a' and Omega_ab = L_a L_b' + L_b L_a'.
    """

    __slots__ = ()

    @abstractmethod
    def patterns(self, order: IntArray) -> FloatArray:
        """Return the patterns, (..., t, k, k)."""

    def lam(self, theta: FloatArray, order: IntArray) -> FloatArray:
        flat = _flat(self.patterns(order))
        shape = (*theta.shape[:-1], self.size, self.size)
        return np.asarray((theta[..., None, :] @ flat).reshape(shape))

    def directions(self, theta: FloatArray, order: IntArray) -> FloatArray:
        half = self.patterns(order) @ transposed(self.lam(theta, order))[..., None, :, :]
        return np.asarray(half + transposed(half))

    def root_slopes(self, theta: FloatArray, order: IntArray) -> FloatArray:
        return self.patterns(order)

    def curvature(self, theta: FloatArray, order: IntArray, gradient: FloatArray) -> FloatArray:
        patterns = self.patterns(order)
        through = _flat(gradient[..., None, :, :] @ patterns)
        if order.ndim == 1 and gradient.ndim == 2 and self.size >= WIDE:
            return np.asarray(2.0 * (_sparse_patterns(self, tuple(order.tolist())) @ through.T))
        return np.asarray(2.0 * (_flat(patterns) @ transposed(through)))

    def sizes_of_theta(self, sizes: FloatArray) -> FloatArray:
        rows = self.patterns(self.natural_order).any(axis=-1)
        return np.asarray((rows * sizes).max(axis=-1))

    def read(self, lam: FloatArray) -> FloatArray:
        theta = np.asarray(lam.ravel()[_flat(self.patterns(self.natural_order)).argmax(axis=1)])
        if np.array_equal(self.lam(theta, self.natural_order), lam):
            return theta
        return super().read(lam)


def _flat(matrices: FloatArray) -> FloatArray:
    return matrices.reshape(*matrices.shape[:-2], matrices.shape[-2] * matrices.shape[-1])


@lru_cache(maxsize=16)
def _sparse_patterns(structure: Linear, order: tuple[int, ...]) -> sparse.csr_matrix:
    """Return the patterns of a wide structure, (t, k k), which no step of a search changes."""
    return sparse.csr_matrix(_flat(structure.patterns(np.array(order))))


@dataclass(frozen=True, slots=True)
class Unstructured(Linear):
    """Any covariance; theta goes down the columns of the lower triangle of lambda, as in lme4."""

    may_shift: ClassVar[bool] = True

    @property
    def n_theta(self) -> int:
        return self.size * (self.size + 1) // 2

    @property
    def basis(self) -> FloatArray:
        return symmetric_units(self.size)

    @property
    def deviations(self) -> tuple[tuple[int, ...], ...]:
        return tuple((column,) for column in range(self.size))

    @property
    def correlations(self) -> tuple[tuple[int, int], ...]:
        return tuple((i, j) for i in range(self.size) for j in range(i + 1, self.size))

    def patterns(self, order: IntArray) -> FloatArray:
        if order.ndim == 1:
            return triangle(tuple(order.tolist()))
        natural = triangle(tuple(range(self.size)))
        return np.moveaxis(natural[:, np.argsort(order, axis=-1)], 0, -3)

    def theta(self, omega: FloatArray, order: IntArray) -> FloatArray:
        rows, columns = places_of_triangle(self.size)
        return np.asarray(semidefinite_cholesky(permuted(omega, order))[..., rows, columns])

    @property
    def has_pivots(self) -> bool:
        return self.size > 1

    def pivot(self, omega: FloatArray, order: IntArray) -> IntArray:
        """Return the order of falling variance where a later one is four times an earlier one."""
        if self.size == 1:
            return order
        variances = diagonal(omega)
        if variances.ndim == 1:
            return _order_of_one(variances, order)
        is_shared = order.ndim == 1
        present = variances[..., order] if is_shared else np.take_along_axis(variances, order, -1)
        later = np.maximum.accumulate(present[..., ::-1], axis=-1)[..., ::-1]
        bad = (later[..., 1:] > PIVOT_RATIO * present[..., :-1]).any(axis=-1, keepdims=True)
        if not bad.any():
            return order
        return np.where(bad, np.argsort(-variances, axis=-1, kind="stable"), order)

    def held(self, columns: tuple[int, ...]) -> tuple[IntArray, tuple[int, ...]]:
        rest = [column for column in range(self.size) if column not in columns]
        places = (0,) if len(columns) == 1 else (0, 1, self.size)
        return np.array([*columns, *rest]), places

    def projected(self, moment: FloatArray) -> FloatArray:
        return np.asarray((moment + transposed(moment)) / 2.0)

    def lifted(self, omega: FloatArray) -> FloatArray:
        values, vectors = eigenpairs(omega)
        values = np.maximum(values, least_variance(values[..., -1:]))
        return np.asarray((vectors * values[..., None, :]) @ transposed(vectors))

    def snapped(self, omega: FloatArray) -> FloatArray:
        values, vectors = eigenpairs(omega)
        small = values < NEARLY_ZERO * np.maximum(1.0, values[..., -1:])
        if not small.any():
            return omega
        kept = vectors * np.where(small, 0.0, values)[..., None, :]
        is_changed = np.asarray(small.any(axis=-1))[..., None, None]
        return np.where(is_changed, kept @ transposed(vectors), omega)

    def is_on_boundary(self, omega: FloatArray) -> BoolArray:
        values = eigenvalues(omega)
        return np.asarray(values[..., 0] < ON_BOUNDARY * np.maximum(1.0, values[..., -1]))

    def way_off(self, omega: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
        values, vectors = eigenpairs(omega)
        null = values < ON_BOUNDARY * np.maximum(1.0, values[..., -1:])
        vectors = vectors * null[..., None, :]
        slopes, inner = eigenpairs(transposed(vectors) @ gradient @ vectors)
        direction = vectors @ inner[..., :1]
        slope = np.where(null.any(axis=-1), slopes[..., 0], np.inf)
        return slope, direction @ transposed(direction)

    def contains(self, other: Structure) -> bool:
        return True


class _Uncorrelated(Linear):
    """Independent columns, of which no order is better than another."""

    __slots__ = ()

    def directions(self, theta: FloatArray, order: IntArray) -> FloatArray:
        return np.asarray(2.0 * theta[..., None, None] * self.patterns(order))

    def curvature(self, theta: FloatArray, order: IntArray, gradient: FloatArray) -> FloatArray:
        alone = diagonal(self.patterns(order))
        return diagonal_matrix(2.0 * (diagonal(gradient) @ alone.T))

    @property
    def correlations(self) -> tuple[tuple[int, int], ...]:
        return ()

    def lifted(self, omega: FloatArray) -> FloatArray:
        variances = diagonal(omega)
        least = least_variance(variances.max(axis=-1, keepdims=True))
        return diagonal_matrix(np.maximum(variances, least))

    def snapped(self, omega: FloatArray) -> FloatArray:
        small = are_small(omega, NEARLY_ZERO)
        if not small.any():
            return omega
        return np.where(small[..., :, None] & small[..., None, :], 0.0, omega)

    def is_on_boundary(self, omega: FloatArray) -> BoolArray:
        return np.asarray(are_small(omega, ON_BOUNDARY).any(axis=-1))


@dataclass(frozen=True, slots=True)
class Diagonal(_Uncorrelated):
    """Independent columns, a variance each; theta are their deviations."""

    bar: ClassVar[str] = "||"

    @property
    def n_theta(self) -> int:
        return self.size

    @property
    def basis(self) -> FloatArray:
        return diagonal_units(self.size)

    @property
    def deviations(self) -> tuple[tuple[int, ...], ...]:
        return tuple((column,) for column in range(self.size))

    def patterns(self, order: IntArray) -> FloatArray:
        return diagonal_units(self.size)

    def theta(self, omega: FloatArray, order: IntArray) -> FloatArray:
        return np.sqrt(np.maximum(diagonal(omega), 0.0))

    def held(self, columns: tuple[int, ...]) -> tuple[IntArray, tuple[int, ...]]:
        return self.natural_order, columns

    def projected(self, moment: FloatArray) -> FloatArray:
        return diagonal_matrix(np.maximum(diagonal(moment), 0.0))

    def way_off(self, omega: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
        slopes = np.where(are_small(omega, ON_BOUNDARY), diagonal(gradient), np.inf)
        direction = diagonal_units(self.size)[np.argmin(slopes, axis=-1)]
        return slopes.min(axis=-1), direction

    def independent_parts(self) -> tuple[tuple[tuple[int, ...], Structure], ...]:
        return tuple((columns, Unstructured(1)) for columns in self.deviations)

    def written(self, columns: str, factor: str) -> str:
        """Write columns of their own with two bars, those of a category with one."""
        is_each_named = len(columns.removeprefix("0 + ").split(" + ")) == self.size
        plain = Structure.written(self, columns, factor)
        return plain if is_each_named else f"diag({columns} | {factor})"


@dataclass(frozen=True, slots=True)
class Identity(_Uncorrelated):
    """Independent columns of one variance; theta is their deviation."""

    bar: ClassVar[str] = "|identity|"

    @property
    def one_unit(self) -> bool:
        return True

    @property
    def n_theta(self) -> int:
        return 1

    @property
    def basis(self) -> FloatArray:
        return _one_variance(self.size)

    @property
    def deviations(self) -> tuple[tuple[int, ...], ...]:
        return (tuple(range(self.size)),)

    def patterns(self, order: IntArray) -> FloatArray:
        return _one_variance(self.size)

    def theta(self, omega: FloatArray, order: IntArray) -> FloatArray:
        return np.sqrt(np.maximum(omega[..., 0, :1], 0.0))

    def held(self, columns: tuple[int, ...]) -> tuple[IntArray, tuple[int, ...]]:
        return self.natural_order, (0,)

    def projected(self, moment: FloatArray) -> FloatArray:
        variance = np.maximum(diagonal(moment), 0.0).mean(axis=-1)
        return np.asarray(variance[..., None, None] * np.eye(self.size))

    def way_off(self, omega: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
        slope = diagonal(gradient).sum(axis=-1)
        slope = np.where(self.is_on_boundary(omega), slope, np.inf)
        return slope, np.broadcast_to(np.eye(self.size), omega.shape)

    def independent_parts(self) -> tuple[tuple[tuple[int, ...], Structure], ...]:
        part = Unstructured(1) if self.size == 1 else self
        return ((tuple(range(self.size)), part),)


class LinearBlocks(Linear, BlockDiagonal):
    """Terms of which all are linear in theta, and so all together; many columns go by terms."""

    __slots__ = ()

    def lam(self, theta: FloatArray, order: IntArray) -> FloatArray:
        kind = BlockDiagonal if self.size >= WIDE else Linear
        return kind.lam(self, theta, order)

    def directions(self, theta: FloatArray, order: IntArray) -> FloatArray:
        kind = BlockDiagonal if self.size >= WIDE else Linear
        return kind.directions(self, theta, order)

    def curvature(self, theta: FloatArray, order: IntArray, gradient: FloatArray) -> FloatArray:
        kind = BlockDiagonal if self.size >= WIDE else Linear
        return kind.curvature(self, theta, order, gradient)

    def patterns(self, order: IntArray) -> FloatArray:
        if order.ndim > 1:
            return _joint_patterns(self, order)
        return _kept_patterns(self, tuple(order.tolist()))


@lru_cache(maxsize=256)
def _kept_patterns(structure: LinearBlocks, order: tuple[int, ...]) -> FloatArray:
    return read_only(_joint_patterns(structure, np.array(order)))


def _joint_patterns(structure: BlockDiagonal, order: IntArray) -> FloatArray:
    """Put the patterns of all terms, which are linear, side by side, (..., t, k, k)."""
    patterns = np.zeros((*order.shape[:-1], structure.n_theta, structure.size, structure.size))
    for block, columns, place in structure.slices():
        assert isinstance(block, Linear)
        own = block.patterns(order[..., columns] - columns.start)
        patterns[..., place, columns, columns] = own
    return patterns


@lru_cache(maxsize=64)
def places_of_triangle(size: int) -> tuple[IntArray, IntArray]:
    """Return rows and columns of the entries of a lower triangle, down its columns."""
    columns, rows = np.triu_indices(size)
    return rows, columns


@lru_cache(maxsize=256)
def triangle(order: tuple[int, ...]) -> FloatArray:
    """Return a unit matrix for every entry of a lower triangle with rows in `order`."""
    rows, columns = places_of_triangle(len(order))
    patterns = np.zeros((len(rows), len(order), len(order)))
    patterns[np.arange(len(rows)), np.array(order)[rows], columns] = 1.0
    return read_only(patterns)


@lru_cache(maxsize=64)
def symmetric_units(size: int) -> FloatArray:
    """Return the symmetric matrices of one variance or covariance, variances first."""
    rows, columns = np.tril_indices(size, -1)
    matrices = np.zeros((len(rows), size, size))
    matrices[np.arange(len(rows)), rows, columns] = 1.0
    return read_only(np.concatenate([diagonal_units(size), matrices + transposed(matrices)]))


@lru_cache(maxsize=64)
def diagonal_units(size: int) -> FloatArray:
    """Return the matrices of one variance, (k, k, k)."""
    places = np.arange(size)
    matrices = np.zeros((size, size, size))
    matrices[places, places, places] = 1.0
    return read_only(matrices)


@lru_cache(maxsize=64)
def _one_variance(size: int) -> FloatArray:
    return read_only(np.eye(size)[None])


def _order_of_one(variances: FloatArray, order: IntArray) -> IntArray:
    """Return the pivot order, (k,), of one covariance with variances, (k,)."""
    least = np.inf
    for variance in variances[order].tolist():
        if variance > PIVOT_RATIO * least:
            return np.argsort(-variances, kind="stable")
        least = min(least, variance)
    return order


def permuted(omega: FloatArray, order: IntArray) -> FloatArray:
    """Put rows and columns in order, (..., k, k)."""
    if order.ndim == 1:
        return omega[..., order[:, None], order]
    rows = np.take_along_axis(omega, order[..., :, None], axis=-2)
    return np.take_along_axis(rows, order[..., None, :], axis=-1)


def least_variance(largest: FloatArray) -> FloatArray:
    """Return a hundredth of the largest variance, and at least 1e-4."""
    return np.asarray(_LEAST_SHARE * np.maximum(largest, _LEAST_SHARE))


def are_small(omega: FloatArray, share: float) -> BoolArray:
    """Tell which variances are less than a share of the largest one or of 1, (..., k)."""
    variances = diagonal(omega)
    largest = variances.max(axis=-1, keepdims=True)
    return np.asarray(variances < share * np.maximum(1.0, largest))


def diagonal_matrix(values: FloatArray) -> FloatArray:
    """Return diagonal matrices, (..., k, k)."""
    return np.asarray(values[..., None] * np.eye(values.shape[-1]))
