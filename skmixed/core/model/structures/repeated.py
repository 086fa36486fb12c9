"""The covariance of a few effects of a level, where every level has columns of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import BoolArray, FloatArray, IntArray
from skmixed.core.model.covariance import Structure, read_only


@dataclass(frozen=True, slots=True)
class Repeated(Structure):
    """Effects of k kinds, alike in each of m levels and independent between these.

    The m columns of the first kind stand first, then those of the next: Omega is the Kronecker
    product of a covariance of the kinds, (k, k), and the identity.
    """

    kinds: Structure  # covariance of the effects of one level

    @property
    def times(self) -> int:
        """Number m of levels."""
        return self.size // self.kinds.size

    def _small(self, omega: FloatArray) -> FloatArray:
        return np.asarray(omega[..., :: self.times, :: self.times])

    def _traced(self, matrix: FloatArray) -> FloatArray:
        """Return the sum over levels of a matrix, (..., k m, k m), as (..., k, k)."""
        k, m = self.kinds.size, self.times
        split = matrix.reshape(*matrix.shape[:-2], k, m, k, m)
        return np.asarray(np.einsum("...ambm->...ab", split))

    def _wide(self, small: FloatArray) -> FloatArray:
        """Return the product with the identity, (..., k m, k m)."""
        shape = (*small.shape[:-2], self.size, self.size)
        eye = np.eye(self.times)[:, None]
        return np.asarray((small[..., :, None, :, None] * eye).reshape(shape))

    def _kinds_in(self, order: IntArray) -> IntArray:
        return np.asarray(order[..., :: self.times] // self.times)

    def _columns_in(self, order: IntArray) -> IntArray:
        """Return the order of columns, (..., k m), of an order of the kinds, (..., k)."""
        columns = order[..., None] * self.times + np.arange(self.times)
        return np.asarray(columns.reshape(*order.shape[:-1], self.size))

    @property
    def n_theta(self) -> int:
        return self.kinds.n_theta

    @property
    def n_angles(self) -> int:
        return self.kinds.n_angles

    @property
    def angles(self) -> BoolArray:
        return self.kinds.angles

    @property
    def basis(self) -> FloatArray:
        return read_only(self._wide(self.kinds.basis))

    @property
    def units(self) -> tuple[slice, ...]:
        m = self.times
        return tuple(slice(kind * m, (kind + 1) * m) for kind in range(self.kinds.size))

    @property
    def deviations(self) -> tuple[tuple[int, ...], ...]:
        m = self.times
        return tuple(
            tuple(kind * m + level for kind in group for level in range(m))
            for group in self.kinds.deviations
        )

    @property
    def correlations(self) -> tuple[tuple[int, int], ...]:
        return tuple((i * self.times, j * self.times) for i, j in self.kinds.correlations)

    @property
    def rank_of_covariances(self) -> int:
        return self.kinds.rank_of_covariances * self.times

    def lam(self, theta: FloatArray, order: IntArray) -> FloatArray:
        return self._wide(self.kinds.lam(theta, self._kinds_in(order)))

    def directions(self, theta: FloatArray, order: IntArray) -> FloatArray:
        return self._wide(self.kinds.directions(theta, self._kinds_in(order)))

    def curvature(self, theta: FloatArray, order: IntArray, gradient: FloatArray) -> FloatArray:
        return self.kinds.curvature(theta, self._kinds_in(order), self._traced(gradient))

    def root_slopes(self, theta: FloatArray, order: IntArray) -> FloatArray:
        return self._wide(self.kinds.root_slopes(theta, self._kinds_in(order)))

    def theta(self, omega: FloatArray, order: IntArray) -> FloatArray:
        return self.kinds.theta(self._small(omega), self._kinds_in(order))

    def projected(self, moment: FloatArray) -> FloatArray:
        return self._wide(self.kinds.projected(self._traced(moment) / self.times))

    def lifted(self, omega: FloatArray) -> FloatArray:
        return self._wide(self.kinds.lifted(self._small(omega)))

    def rescaled(self, theta: FloatArray, change: FloatArray) -> FloatArray:
        return self.kinds.rescaled(theta, self._small(change))

    def pivot(self, omega: FloatArray, order: IntArray) -> IntArray:
        return self._columns_in(self.kinds.pivot(self._small(omega), self._kinds_in(order)))

    def held(self, columns: tuple[int, ...]) -> tuple[IntArray, tuple[int, ...]]:
        order, places = self.kinds.held(tuple(column // self.times for column in columns))
        return self._columns_in(order), places

    def holding(
        self, columns: tuple[int, ...], theta: FloatArray, value: float
    ) -> tuple[FloatArray, FloatArray]:
        kinds = tuple(column // self.times for column in columns)
        return self.kinds.holding(kinds, theta, value)

    def sizes_of_theta(self, sizes: FloatArray) -> FloatArray:
        return self.kinds.sizes_of_theta(sizes[:: self.times])

    def snapped(self, omega: FloatArray) -> FloatArray:
        small = self._small(omega)
        snapped = self.kinds.snapped(small)
        return omega if snapped is small else self._wide(snapped)

    def is_on_boundary(self, omega: FloatArray) -> BoolArray:
        return self.kinds.is_on_boundary(self._small(omega))

    def way_off(self, omega: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
        slope, direction = self.kinds.way_off(self._small(omega), self._traced(gradient))
        return slope, self._wide(direction)
