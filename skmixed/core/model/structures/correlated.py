"""Covariances D C D of standard deviations and of correlations that follow a law.

The deviations d are one for all columns, or the squares of entries of theta: a correlation has a
sign, so that a deviation must not change its own, and zero is an interior point of its root. What
follows in theta are angles, in which the law C is smooth up to and across its boundary.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from skmixed.core.linalg import (
    BoolArray,
    FloatArray,
    IntArray,
    diagonal,
    eigenvalues,
    semidefinite_cholesky,
    transposed,
)
from skmixed.core.model.covariance import Structure
from skmixed.core.model.structures.linear_roots import (
    NEARLY_ZERO,
    ON_BOUNDARY,
    Diagonal,
    Identity,
    Unstructured,
    are_small,
    diagonal_matrix,
    diagonal_units,
    least_variance,
)

_SCORING_STEPS = 50  # of the most likely covariance; half a dozen where it is not on the boundary
_SCORING_HALVINGS = 20  # of one of them: a millionth of it must gain
_SCORED = 1e-15  # of the log-likelihood, predicted to be left: rounding
_LEAST_VALUE = 1e-10  # eigenvalue relative to the largest: of less there is no likelihood
_LEAST_HELD = 1e-8  # deviation that is held in the place of zero, where its root has no slope
_NO_SLOPE = 1e-12  # of the gradient: less is rounding of a slope of zero


Bends = Callable[[FloatArray], FloatArray]
"""Second derivatives of a sum of correlations, (..., m, m), as a function of its weights."""


@dataclass(frozen=True, slots=True)
class Correlated(Structure):
    """Omega = D C D; theta is one deviation, or the roots of k, and the angles of C."""

    is_homogeneous: bool = False  # whether all columns have one deviation

    function: ClassVar[str]  # in a formula
    homogeneous_by_default: ClassVar[bool] = False  # there

    @property
    @abstractmethod
    def n_angles(self) -> int:
        """Number m of angles."""

    @abstractmethod
    def correlation(self, angles: FloatArray) -> FloatArray:
        """Return C, (..., k, k), of angles, (..., m)."""

    @abstractmethod
    def changes(self, angles: FloatArray) -> FloatArray:
        """Return the derivatives of C, (..., m, k, k)."""

    @abstractmethod
    def bends(self, angles: FloatArray, weights: FloatArray) -> FloatArray:
        """Return the second derivatives, (..., m, m), of a sum of the entries of C.

        They are weighted, (..., k, k), symmetrically.
        """

    def with_changes(self, angles: FloatArray) -> tuple[FloatArray, FloatArray, Bends]:
        """Return C, `changes`, and `bends` as a function of weights, (..., k, k)."""
        return self.correlation(angles), self.changes(angles), partial(self.bends, angles)

    @abstractmethod
    def read_angles(self, correlation: FloatArray, is_seen: BoolArray) -> FloatArray:
        """Return the angles, (..., m), of the entries of C that are seen, (..., k, k).

        Those of no C are near the mean of what they say.
        """

    @abstractmethod
    def inside(self, angles: FloatArray) -> FloatArray:
        """Return angles moved away from singular correlations."""

    @abstractmethod
    def at_edge(self, angles: FloatArray, share: float) -> tuple[FloatArray, BoolArray]:
        """Return angles moved onto the boundary where they are near, and which are, (..., m)."""

    @property
    @abstractmethod
    def far_apart(self) -> FloatArray:
        """Angles to search from, (n, m): none far from all of them."""

    @property
    @abstractmethod
    def extremes(self) -> FloatArray:
        """Correlations in which linear functions of C have their minimum, (n, k, k)."""

    @property
    def one_unit(self) -> bool:
        return self.is_homogeneous

    @property
    def n_theta(self) -> int:
        return self._n_own + self.n_angles

    @property
    def _n_own(self) -> int:
        return 1 if self.is_homogeneous else self.size

    @property
    def angles(self) -> BoolArray:
        return np.arange(self.n_theta) >= self._n_own

    @property
    def deviations(self) -> tuple[tuple[int, ...], ...]:
        columns = range(self.size)
        return (tuple(columns),) if self.is_homogeneous else tuple((i,) for i in columns)

    # --- covariances --------------------------------------------------------------------------

    def _sizes(self, theta: FloatArray) -> FloatArray:
        """Return the deviations, (..., k)."""
        own = theta[..., : self._n_own]
        return np.repeat(own, self.size, axis=-1) if self.is_homogeneous else own * own

    def omega(self, theta: FloatArray, order: IntArray) -> FloatArray:
        return self._covariance(theta)

    def _covariance(self, theta: FloatArray) -> FloatArray:
        d = self._sizes(theta)
        c = self.correlation(theta[..., self._n_own :])
        return np.asarray(d[..., :, None] * d[..., None, :] * c)

    def lam(self, theta: FloatArray, order: IntArray) -> FloatArray:
        return semidefinite_cholesky(self._covariance(theta))

    def directions(self, theta: FloatArray, order: IntArray) -> FloatArray:
        law = self._law(theta)
        return self._directions(theta, *law[:2], law[2][0])

    def curvature(self, theta: FloatArray, order: IntArray, gradient: FloatArray) -> FloatArray:
        return self._curvature(theta, gradient, *self._law(theta))

    def both(
        self, theta: FloatArray, order: IntArray, gradient: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        law = self._law(theta)
        curvature = self._curvature(theta, gradient, *law)
        return self._directions(theta, *law[:2], law[2][0]), curvature

    def _law(self, theta: FloatArray) -> tuple[FloatArray, FloatArray, tuple[FloatArray, Bends]]:
        """Return the deviations, (..., k), C, (..., k, k), and derivatives of C."""
        angles = theta[..., self._n_own :]
        correlation, changes, bends = self.with_changes(angles)
        return self._sizes(theta), correlation, (changes, bends)

    def _directions(
        self, theta: FloatArray, d: FloatArray, c: FloatArray, changes: FloatArray
    ) -> FloatArray:
        rows = c * d[..., None, :]
        if self.is_homogeneous:
            of_sizes = (rows + transposed(rows))[..., None, :, :]
        else:
            half = 2.0 * theta[..., : self.size, None, None] * diagonal_units(self.size)
            half = half @ rows[..., None, :, :]
            of_sizes = half + transposed(half)
        outer = d[..., :, None] * d[..., None, :]
        return np.concatenate([of_sizes, outer[..., None, :, :] * changes], axis=-3)

    def _curvature(
        self,
        theta: FloatArray,
        gradient: FloatArray,
        d: FloatArray,
        c: FloatArray,
        both_changes: tuple[FloatArray, Bends],
    ) -> FloatArray:
        (changes, bends), twice = both_changes, 2.0 * gradient
        own = twice * c  # second derivatives in the deviations
        mixed = ((twice[..., None, :, :] * changes) @ d[..., None, :, None])[..., 0]
        of_angles = bends(gradient * d[..., :, None] * d[..., None, :])
        if self.is_homogeneous:
            own, mixed = own.sum(axis=(-2, -1), keepdims=True), mixed.sum(axis=-1, keepdims=True)
        else:
            roots = theta[..., : self.size]
            slope = (own @ d[..., None])[..., 0]
            own = 4.0 * roots[..., :, None] * roots[..., None, :] * own
            own = own + diagonal_matrix(2.0 * slope)
            mixed = 2.0 * roots[..., None, :] * mixed
        upper = np.concatenate([own, transposed(mixed)], axis=-1)
        return np.concatenate([upper, np.concatenate([mixed, of_angles], axis=-1)], axis=-2)

    def theta(self, omega: FloatArray, order: IntArray) -> FloatArray:
        variances = np.maximum(diagonal(omega), 0.0)
        return self._theta_of(variances, self._angles_of(omega, np.sqrt(variances)))

    def _theta_of(self, variances: FloatArray, angles: FloatArray) -> FloatArray:
        if self.is_homogeneous:
            own = np.sqrt(variances.mean(axis=-1, keepdims=True))
        else:
            own = np.sqrt(np.sqrt(variances))
        return np.concatenate([own, angles], axis=-1)

    def _angles_of(self, omega: FloatArray, sizes: FloatArray) -> FloatArray:
        """Return the angles nearest to a symmetric matrix, (..., k, k), given deviations."""
        outer = sizes[..., :, None] * sizes[..., None, :]
        is_seen = outer > 0.0
        correlation = np.clip(omega / np.where(is_seen, outer, np.inf), -1.0, 1.0)
        return self.read_angles(correlation, is_seen)

    def held(self, columns: tuple[int, ...]) -> tuple[IntArray, tuple[int, ...]]:
        if len(columns) == 1 or self.deviations == (columns,):
            return self.natural_order, (0 if self.is_homogeneous else columns[0],)
        return self.natural_order, (self._n_own + abs(columns[1] - columns[0]) - 1,)

    def holding(
        self, columns: tuple[int, ...], theta: FloatArray, value: float
    ) -> tuple[FloatArray, FloatArray]:
        _, (place,) = self.held(columns)
        if place < self._n_own:
            if self.is_homogeneous:
                return Structure.holding(self, columns, theta, value)
            root = np.sqrt(max(value, _LEAST_HELD))  # zero itself has no slope in the root
            found, change = Structure.holding(self, columns, theta, root)
            return found, change / (2.0 * root)
        angles, change = self.with_correlation(theta[self._n_own :], place - self._n_own, value)
        padding = np.zeros(self._n_own)
        found = np.concatenate([theta[: self._n_own], angles])
        return found, np.concatenate([padding, change])

    @abstractmethod
    def with_correlation(
        self, angles: FloatArray, place: int, r: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return angles, (m,), of which one makes its correlation r, and its derivatives, (m,).

        Those are in the other angles, and in its own place in r. Raises ArithmeticError where there
        is none beside the others.
        """

    def sizes_of_theta(self, sizes: FloatArray) -> FloatArray:
        own = sizes.mean(keepdims=True) if self.is_homogeneous else np.sqrt(sizes)
        return np.concatenate([own, np.ones(self.n_angles)])

    def rescaled(self, theta: FloatArray, change: FloatArray) -> FloatArray:
        ratios = diagonal(change)
        own = ratios[:1] if self.is_homogeneous else np.sqrt(ratios)
        return np.diag(np.concatenate([own, np.ones(self.n_angles)]))

    # --- starts, and the boundary -------------------------------------------------------------

    def projected(self, moment: FloatArray) -> FloatArray:
        found = np.zeros(moment.shape)
        for place in np.ndindex(moment.shape[:-2]):
            found[place] = self._most_likely(moment[place])
        return found

    def _most_likely(self, moment: FloatArray) -> FloatArray:
        """Minimise log|Omega| + tr(Omega^-1 S) by Fisher's scoring, S, (k, k), being the moment."""
        order = self.natural_order
        theta = self.theta(moment, order)

        def value(at: FloatArray) -> tuple[float, FloatArray]:
            omega = self._covariance(at)
            values = eigenvalues(omega)
            if not values[0] > _LEAST_VALUE * values[-1]:
                return np.inf, omega
            inverse = np.asarray(np.linalg.inv(omega), dtype=np.float64)
            return float(np.log(values).sum() + np.vdot(inverse, moment)), inverse

        best, inverse = value(theta)
        for _ in range(_SCORING_STEPS if np.isfinite(best) else 0):
            flat = self.directions(theta, order).reshape(self.n_theta, -1)
            slope = flat @ (inverse - inverse @ moment @ inverse).ravel()
            information = flat @ np.kron(inverse, inverse) @ flat.T
            step = -np.linalg.lstsq(information, slope, rcond=None)[0]
            if -slope @ step < _SCORED * (1.0 + abs(best)):
                break
            for _ in range(_SCORING_HALVINGS):
                trial = value(theta + step)
                if trial[0] < best:
                    break
                step = step / 2.0
            else:
                break
            theta, (best, inverse) = theta + step, trial
        return self._covariance(theta)

    def lifted(self, omega: FloatArray) -> FloatArray:
        variances = diagonal(omega)
        if self.is_homogeneous:
            mean = np.maximum(variances.mean(axis=-1, keepdims=True), least_variance(np.zeros(1)))
            variances = np.repeat(mean, self.size, axis=-1)
        else:
            least = least_variance(variances.max(axis=-1, keepdims=True))
            variances = np.maximum(variances, least)
        angles = self.inside(self._angles_of(omega, np.sqrt(variances)))
        return self._covariance(self._theta_of(variances, angles))

    @property
    def has_alternatives(self) -> bool:
        return self.n_angles > 0

    def alternatives(self, omega: FloatArray) -> list[FloatArray]:
        variances = diagonal(omega)
        least = least_variance(variances.max(axis=-1, keepdims=True))
        variances = np.maximum(variances, least)
        shape = (*variances.shape[:-1], self.n_angles)
        return [
            self._covariance(self._theta_of(variances, np.broadcast_to(angles, shape)))
            for angles in self.far_apart
        ]

    def snapped(self, omega: FloatArray) -> FloatArray:
        variances, gone = np.maximum(diagonal(omega), 0.0), self._gone(omega, NEARLY_ZERO)
        angles = self._angles_of(omega, np.sqrt(variances))
        moved, is_near = self.at_edge(angles, NEARLY_ZERO)
        is_changed = (gone & (variances > 0.0)).any(axis=-1) | (is_near & (moved != angles)).any(
            axis=-1
        )
        if not is_changed.any():
            return omega
        snapped = self._covariance(self._theta_of(np.where(gone, 0.0, variances), moved))
        return np.where(is_changed[..., None, None], snapped, omega)

    def _gone(self, omega: FloatArray, share: float) -> BoolArray:
        """Tell which variances are nearly zero, (..., k): all or none of one deviation."""
        small = are_small(omega, share)
        return small & small.all(axis=-1, keepdims=True) if self.is_homogeneous else small

    def is_on_boundary(self, omega: FloatArray) -> BoolArray:
        sizes = np.sqrt(np.maximum(diagonal(omega), 0.0))
        _, is_near = self.at_edge(self._angles_of(omega, sizes), ON_BOUNDARY)
        return np.asarray(self._gone(omega, ON_BOUNDARY).any(axis=-1) | is_near.any(axis=-1))

    def way_off(self, omega: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Look where one deviation alone, or all of them where none is left, may grow.

        Elsewhere the search itself leaves: there second derivatives in theta are negative.
        """
        gone = self._gone(omega, ON_BOUNDARY)
        best, direction = np.full(gone.shape[:-1], np.inf), np.zeros_like(omega)
        if not self.is_homogeneous:
            sizes = np.where(gone, 0.0, np.sqrt(np.maximum(diagonal(omega), 0.0)))
            c = self.correlation(self._angles_of(omega, sizes))
            along = ((gradient * c) @ sizes[..., None])[..., 0]
            is_held = along > _NO_SLOPE * np.abs(gradient).max(axis=(-2, -1))[..., None]
            slopes = np.where(gone & ~is_held, diagonal(gradient), np.inf)
            best = slopes.min(axis=-1)
            direction = diagonal_units(self.size)[np.argmin(slopes, axis=-1)] + direction
        every = (gradient[..., None, :, :] * self.extremes).sum(axis=(-2, -1))
        lowest = np.where(gone.all(axis=-1), every.min(axis=-1), np.inf)
        is_lower = lowest < best
        joint = self.extremes[np.argmin(every, axis=-1)]
        direction = np.where(is_lower[..., None, None], joint, direction)
        return np.minimum(best, lowest), direction

    # --- other structures ---------------------------------------------------------------------

    def contains(self, other: Structure) -> bool:
        if self.is_homogeneous:
            if other.size != self.size:
                return False
            return isinstance(other, Identity) or (
                isinstance(other, Correlated) and other.is_homogeneous and self._has_law_of(other)
            )
        if isinstance(other, Diagonal | Identity) or other.size == 1:
            return True
        if self.size == 2:
            return isinstance(other, Unstructured | Correlated)
        return isinstance(other, Correlated) and self._has_law_of(other)

    @abstractmethod
    def _has_law_of(self, other: Correlated) -> bool:
        """Tell whether every correlation of another, perhaps of some columns, follows this law."""

    @property
    def label(self) -> str:
        if self.size == 1:
            return ""
        is_default = self.is_homogeneous == self.homogeneous_by_default
        prefix = "" if is_default else "hom" if self.is_homogeneous else "het"
        return prefix + self.function

    def written(self, columns: str, factor: str) -> str:
        return f"{self.label}({columns} | {factor})"
