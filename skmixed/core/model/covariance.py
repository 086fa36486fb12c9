"""What a covariance structure is, and that of the independent terms of one factor.

A structure gives the relative covariance Omega = lambda lambda' as a function of parameters theta,
in which the boundary of singular covariances is an interior point, and says what searches, starts,
tests and displays ask of it. Its methods take arrays with any leading axes, an entry a data set;
those of a single fit have none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from skmixed.core.linalg import WIDE, BoolArray, FloatArray, IntArray, block_diagonal, transposed

_ROOT_STEP = 1e-6  # of central differences of lambda, whose entries are of the size of theta


@dataclass(frozen=True, slots=True)
class Structure(ABC):
    """Which covariances some random columns may have.

    `order`, (..., k), is a pivot order of the columns; structures that do not pivot ignore it. What
    has a body here is right for a structure without a boundary.
    """

    size: int  # number k of columns

    bar: ClassVar[str] = "|"  # between columns and factor, in a formula
    is_ordered: ClassVar[bool] = False  # whether another order of the columns is another model
    may_shift: ClassVar[bool] = False  # whether shifting columns by a constant is another theta

    @property
    @abstractmethod
    def n_theta(self) -> int:
        """Number t of free parameters."""

    @property
    @abstractmethod
    def basis(self) -> FloatArray:
        """Symmetric matrices whose span holds all covariances, (n, k, k), read-only."""

    @property
    @abstractmethod
    def deviations(self) -> tuple[tuple[int, ...], ...]:
        """The columns of every standard deviation."""

    @property
    @abstractmethod
    def correlations(self) -> tuple[tuple[int, int], ...]:
        """A pair of columns for every free correlation."""

    @abstractmethod
    def lam(self, theta: FloatArray, order: IntArray) -> FloatArray:
        """Return a root of Omega, (..., k, k), lower triangular once its rows are in `order`."""

    def omega(self, theta: FloatArray, order: IntArray) -> FloatArray:
        """Return Omega, (..., k, k)."""
        lam = self.lam(theta, order)
        return np.asarray(lam @ transposed(lam))

    @abstractmethod
    def directions(self, theta: FloatArray, order: IntArray) -> FloatArray:
        """Return the first derivatives Omega_a, (..., t, k, k)."""

    @abstractmethod
    def curvature(self, theta: FloatArray, order: IntArray, gradient: FloatArray) -> FloatArray:
        """Return tr(G Omega_ab), (..., t, t), of second derivatives and a symmetric G."""

    def both(
        self, theta: FloatArray, order: IntArray, gradient: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return `directions` and `curvature`, which may share what they are made of."""
        return self.directions(theta, order), self.curvature(theta, order, gradient)

    @abstractmethod
    def theta(self, omega: FloatArray, order: IntArray) -> FloatArray:
        """Return theta, (..., t), of a covariance of this structure, (..., k, k).

        Entries that stand for deviations are nonnegative, and exactly zero where Omega is singular.
        """

    @abstractmethod
    def projected(self, moment: FloatArray) -> FloatArray:
        """Return the covariance, (..., k, k), most likely for effects of this second moment."""

    @abstractmethod
    def lifted(self, omega: FloatArray) -> FloatArray:
        """Return a covariance near a combination of the basis, inside the boundary."""

    @property
    def one_unit(self) -> bool:
        """Whether all columns must be scaled alike."""
        return False

    @property
    def units(self) -> tuple[slice, ...]:
        """Columns that must be scaled alike; none need to by default."""
        return (slice(0, self.size),) if self.one_unit else ()

    @property
    def n_angles(self) -> int:
        """Number of entries of theta that are angles."""
        return 0

    @property
    def angles(self) -> BoolArray:
        """Which entries of theta, (t,), are angles, of unit one; others are as large as lambda."""
        return np.zeros(self.n_theta, dtype=np.bool_)

    @property
    def least_angle(self) -> float:
        """The angle from which on, to a right one, a law of one angle has every correlation."""
        return -np.pi / 2.0

    @property
    def rank_of_covariances(self) -> int:
        """The largest rank."""
        return self.size

    def is_curve(self, n_levels: float) -> bool:
        """Tell whether a term stands for a curve: columns of a basis, of different size by design.

        So do columns that share a variance if there is one level of them, or if they are many.
        """
        if self.size == 1 or (n_levels > 1 and self.size < WIDE):
            return False
        return self.one_unit and self.n_theta == 1

    @property
    def n_latent(self) -> int:
        """Number of latent effects, of which those of the columns are combinations; 0 for none."""
        return 0

    def loadings(self, omega: FloatArray) -> FloatArray:
        """Return the loadings of the columns on the latent effects, (..., k, n_latent)."""
        return np.zeros((*omega.shape[:-1], 0))

    @property
    def n_like_noise(self) -> int:
        """Number of effects of a level that may explain as many rows of it without a rest."""
        return self.rank_of_covariances

    @property
    def has_alternatives(self) -> bool:
        """Whether there are `alternatives` to any covariance."""
        return False

    def alternatives(self, omega: FloatArray) -> list[FloatArray]:
        """Return covariances, (..., k, k), to search from beside one: where there may be optima."""
        return []

    def rescaled(self, theta: FloatArray, change: FloatArray) -> FloatArray:
        """Return the derivative, (t, t), of theta in other units of the columns.

        `change`, (k, k), turns lambda into that in the other units.
        """
        slopes = self.root_slopes(theta, self.natural_order)
        return np.array([self.read(change @ slope) for slope in slopes]).T

    def root_slopes(self, theta: FloatArray, order: IntArray) -> FloatArray:
        """Return the first derivatives of lambda, (t, k, k); differences where none are written."""
        steps = _ROOT_STEP * np.eye(len(theta))
        moved = [self.lam(theta + step, order) - self.lam(theta - step, order) for step in steps]
        return np.array(moved) / (2.0 * _ROOT_STEP)

    @property
    def natural_order(self) -> IntArray:
        """The order that leaves every column where it stands."""
        return np.arange(self.size)

    @property
    def blocks(self) -> tuple[Structure, ...]:
        """The structures of the single terms."""
        return (self,)

    def slices(self) -> Iterator[tuple[Structure, slice, slice]]:
        """Yield the structure of every term, with its place among the columns and in theta."""
        column = parameter = 0
        for block in self.blocks:
            columns = slice(column, column + block.size)
            parameters = slice(parameter, parameter + block.n_theta)
            yield block, columns, parameters
            column, parameter = columns.stop, parameters.stop

    def read(self, lam: FloatArray) -> FloatArray:
        """Return theta in the natural order of one root of a covariance, (k, k)."""
        return self.theta(lam @ lam.T, self.natural_order)

    @property
    def has_pivots(self) -> bool:
        """Whether any order is ever better than another."""
        return False

    def pivot(self, omega: FloatArray, order: IntArray) -> IntArray:
        """Return a better pivot order, (..., k), the present one where it is good enough."""
        return order

    def held(self, columns: tuple[int, ...]) -> tuple[IntArray, tuple[int, ...]]:
        """Return an order in which theta has what belongs to one parameter, and the places of that.

        Of one column the deviation; of two the first deviation, and the two entries whose length is
        the second deviation and whose angle is that of the correlation; or one place, of an entry
        that `holding` knows.
        """
        raise NotImplementedError

    def holding(
        self, columns: tuple[int, ...], theta: FloatArray, value: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return theta, (t,), with a deviation or correlation at a value by the one entry held.

        And the derivatives of this entry, (t,): in the others, and in its own place in the value.
        Raises ArithmeticError where no entry has that value beside the others.
        """
        _, (place,) = self.held(columns)
        found, change = theta.copy(), np.zeros(len(theta))
        found[place], change[place] = value, 1.0
        return found, change

    @property
    def least_correlation(self) -> float:
        """What every correlation is at least."""
        return -1.0

    @property
    def tabulated(self) -> tuple[tuple[int, int], ...]:
        """A pair of columns for every correlation that a table of deviations shows."""
        return self.correlations

    @abstractmethod
    def sizes_of_theta(self, sizes: FloatArray) -> FloatArray:
        """Return the sizes of the entries of theta, (t,), of columns with deviations, (k,)."""

    def snapped(self, omega: FloatArray) -> FloatArray:
        """Return Omega in scaled units with what is nearly zero made exactly zero.

        It is `omega` itself where nothing is.
        """
        return omega

    def is_on_boundary(self, omega: FloatArray) -> BoolArray:
        """Tell which covariances, in scaled units, are singular up to rounding."""
        return np.zeros(omega.shape[:-2], dtype=np.bool_)

    def way_off(self, omega: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the lowest slope, (...), that leads off the boundary, and its direction.

        The direction, (..., k, k), is positive semidefinite and stays within the structure. Inside,
        the slope is infinite.
        """
        return np.full(omega.shape[:-2], np.inf), np.zeros_like(omega)

    def contains(self, other: Structure) -> bool:
        """Tell whether every covariance of some of the columns is one of these.

        `other` is their structure, and the columns beside them have no variance.
        """
        return False

    def independent_parts(self) -> tuple[tuple[tuple[int, ...], Structure], ...]:
        """Return the parts that are independent of each other, with their columns."""
        return ((tuple(range(self.size)), self),)

    @property
    def label(self) -> str:
        """What a table of deviations calls it; empty where these say it themselves."""
        return ""

    def written(self, columns: str, factor: str) -> str:
        """Write a term as a formula does."""
        return f"({columns} {self.bar if self.size > 1 else '|'} {factor})"


@dataclass(frozen=True, slots=True)
class BlockDiagonal(Structure):
    """The terms of one factor, side by side and independent of each other."""

    terms: tuple[Structure, ...]

    @property
    def blocks(self) -> tuple[Structure, ...]:
        return self.terms

    @property
    def n_theta(self) -> int:
        return sum(block.n_theta for block in self.terms)

    @property
    def basis(self) -> FloatArray:
        return _joint_basis(self)

    @property
    def n_angles(self) -> int:
        return sum(block.n_angles for block in self.terms)

    @property
    def angles(self) -> BoolArray:
        return np.concatenate([block.angles for block in self.terms])

    def rescaled(self, theta: FloatArray, change: FloatArray) -> FloatArray:
        return block_diagonal(
            [
                block.rescaled(theta[place], change[columns, columns])
                for block, columns, place in self.slices()
            ]
        )

    @property
    def deviations(self) -> tuple[tuple[int, ...], ...]:
        return tuple(
            tuple(columns.start + column for column in group)
            for block, columns, _ in self.slices()
            for group in block.deviations
        )

    @property
    def correlations(self) -> tuple[tuple[int, int], ...]:
        return tuple(
            (columns.start + i, columns.start + j)
            for block, columns, _ in self.slices()
            for i, j in block.correlations
        )

    def lam(self, theta: FloatArray, order: IntArray) -> FloatArray:
        return block_diagonal(
            [
                block.lam(theta[..., place], order[..., columns] - columns.start)
                for block, columns, place in self.slices()
            ]
        )

    def directions(self, theta: FloatArray, order: IntArray) -> FloatArray:
        shape = (*theta.shape[:-1], self.n_theta, self.size, self.size)
        result = np.zeros(shape)
        for block, columns, place in self.slices():
            own = block.directions(theta[..., place], order[..., columns] - columns.start)
            result[..., place, columns, columns] = own
        return result

    def root_slopes(self, theta: FloatArray, order: IntArray) -> FloatArray:
        result = np.zeros((self.n_theta, self.size, self.size))
        for block, columns, place in self.slices():
            own = block.root_slopes(theta[place], order[columns] - columns.start)
            result[place, columns, columns] = own
        return result

    def curvature(self, theta: FloatArray, order: IntArray, gradient: FloatArray) -> FloatArray:
        return block_diagonal(
            [
                block.curvature(
                    theta[..., place],
                    order[..., columns] - columns.start,
                    gradient[..., columns, columns],
                )
                for block, columns, place in self.slices()
            ]
        )

    def theta(self, omega: FloatArray, order: IntArray) -> FloatArray:
        parts = [
            block.theta(omega[..., columns, columns], order[..., columns] - columns.start)
            for block, columns, _ in self.slices()
        ]
        return np.concatenate(parts, axis=-1)

    @property
    def has_pivots(self) -> bool:
        return any(block.has_pivots for block in self.terms)

    def pivot(self, omega: FloatArray, order: IntArray) -> IntArray:
        parts = [
            block.pivot(omega[..., columns, columns], order[..., columns] - columns.start)
            + columns.start
            for block, columns, _ in self.slices()
        ]
        return np.concatenate(parts, axis=-1)

    def projected(self, moment: FloatArray) -> FloatArray:
        return block_diagonal([block.projected(moment[..., c, c]) for block, c, _ in self.slices()])

    def lifted(self, omega: FloatArray) -> FloatArray:
        return block_diagonal([block.lifted(omega[..., c, c]) for block, c, _ in self.slices()])

    def sizes_of_theta(self, sizes: FloatArray) -> FloatArray:
        parts = [block.sizes_of_theta(sizes[columns]) for block, columns, _ in self.slices()]
        return np.concatenate(parts)

    def snapped(self, omega: FloatArray) -> FloatArray:
        parts = [omega[..., columns, columns] for _, columns, _ in self.slices()]
        snapped = [block.snapped(part) for block, part in zip(self.terms, parts, strict=True)]
        if all(new is old for new, old in zip(snapped, parts, strict=True)):
            return omega
        return block_diagonal(snapped)

    def is_on_boundary(self, omega: FloatArray) -> BoolArray:
        found = [block.is_on_boundary(omega[..., c, c]) for block, c, _ in self.slices()]
        return np.asarray(np.any(found, axis=0))

    def way_off(self, omega: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
        best, direction = Structure.way_off(self, omega, gradient)
        for block, columns, _ in self.slices():
            own = omega[..., columns, columns], gradient[..., columns, columns]
            slope, inner = block.way_off(*own)
            full = np.zeros_like(omega)
            full[..., columns, columns] = inner
            direction = np.where((slope < best)[..., None, None], full, direction)
            best = np.minimum(slope, best)
        return best, direction

    def independent_parts(self) -> tuple[tuple[tuple[int, ...], Structure], ...]:
        return tuple(
            (tuple(columns.start + column for column in places), part)
            for block, columns, _ in self.slices()
            for places, part in block.independent_parts()
        )


@lru_cache(maxsize=64)
def _joint_basis(structure: BlockDiagonal) -> FloatArray:
    matrices = []
    for block, columns, _ in structure.slices():
        full = np.zeros((len(block.basis), structure.size, structure.size))
        full[:, columns, columns] = block.basis
        matrices.append(full)
    return read_only(np.concatenate(matrices))


def read_only(array: FloatArray) -> FloatArray:
    """Return an array that is kept, and must not be written to."""
    array.flags.writeable = False
    return array
