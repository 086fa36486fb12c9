"""Laws of correlation: equal, falling with the distance, and of the distance alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from skmixed.core.linalg import BoolArray, FloatArray, IntArray, diagonal
from skmixed.core.model.covariance import read_only
from skmixed.core.model.structures.correlated import Bends, Correlated
from skmixed.core.model.structures.linear_roots import symmetric_units

_LEAST_EIGENVALUE = 0.05  # of correlations to start from, the mean one being 1
_STRONGEST = 0.9  # autocorrelation to start from
_STRONGEST_PARTIAL = 0.6  # the same of partial ones, of which there are several
_NONE_LEFT = 1e-12  # of the variance: what goes before determines all that follows
_IMAGINARY_STEP = 2.0**-100  # its square is nothing beside any number, and it divides exactly
_N_EXTREMES = 65  # correlations, of a whole family, of which some one is nearly the lowest


ComplexArray = NDArray[np.complex128]
Numbers = TypeVar("Numbers", FloatArray, ComplexArray)
Recursion = tuple[Numbers, list[Numbers], list[Numbers]]
"""Correlations at lags 0 to m, and what they were made of before each lag."""


@dataclass(frozen=True, slots=True)
class CompoundSymmetric(Correlated):
    """One correlation r of all pairs, from -1 / (k - 1) to 1; 1 - r = k / (k - 1) sin^2 x."""

    function: ClassVar[str] = "cs"

    @property
    def n_angles(self) -> int:
        return int(self.size > 1)

    @property
    def basis(self) -> FloatArray:
        return _exchangeable(self.size) if self.is_homogeneous else symmetric_units(self.size)

    @property
    def correlations(self) -> tuple[tuple[int, int], ...]:
        return ((0, 1),) if self.n_angles else ()

    @property
    def least_angle(self) -> float:
        return 0.0

    @property
    def _excess(self) -> float:
        return self.size / max(self.size - 1.0, 1.0)

    def correlation(self, angles: FloatArray) -> FloatArray:
        if not self.n_angles:
            return np.ones((*angles.shape[:-1], 1, 1))
        off = 1.0 - np.eye(self.size)
        r = 1.0 - self._excess * np.square(np.sin(angles[..., None]))
        return np.asarray(np.eye(self.size) + r * off)

    def changes(self, angles: FloatArray) -> FloatArray:
        slope = -self._excess * np.sin(2.0 * angles[..., None, None])
        return np.asarray(slope * (1.0 - np.eye(self.size)))

    def bends(self, angles: FloatArray, weights: FloatArray) -> FloatArray:
        beside = weights.sum(axis=(-2, -1)) - diagonal(weights).sum(axis=-1)
        return _of_one(-2.0 * self._excess * np.cos(2.0 * angles) * beside[..., None])

    def read_angles(self, correlation: FloatArray, is_seen: BoolArray) -> FloatArray:
        if not self.n_angles:
            return np.zeros((*correlation.shape[:-2], 0))
        off = is_seen & ~np.eye(self.size, dtype=bool)
        r = np.where(off, correlation, 0.0).sum(axis=(-2, -1)) / np.maximum(off.sum((-2, -1)), 1)
        square = np.clip((1.0 - r) / self._excess, 0.0, 1.0)
        return np.asarray(np.arcsin(np.sqrt(square))[..., None])

    def inside(self, angles: FloatArray) -> FloatArray:
        least = np.sqrt(_LEAST_EIGENVALUE)
        return np.clip(angles, np.arcsin(least), np.arccos(least))

    def at_edge(self, angles: FloatArray, share: float) -> tuple[FloatArray, BoolArray]:
        square = np.square(np.sin(angles))
        is_equal, is_opposed = square < share, 1.0 - square < share
        moved = np.where(is_equal, 0.0, np.where(is_opposed, np.pi / 2.0, angles))
        return moved, is_equal | is_opposed

    def with_correlation(
        self, angles: FloatArray, place: int, r: float
    ) -> tuple[FloatArray, FloatArray]:
        square = np.clip((1.0 - r) / self._excess, 0.0, 1.0)
        angle = np.arcsin(np.sqrt(square))
        slope = -self._excess * np.sin(2.0 * angle)
        return np.array([angle]), np.array([1.0 / slope if slope else 0.0])

    @property
    def least_correlation(self) -> float:
        return -1.0 / max(self.size - 1, 1)

    @property
    def far_apart(self) -> FloatArray:
        return self.inside(np.array([[0.0], [np.pi / 2.0]])[: 2 * self.n_angles])

    @property
    def extremes(self) -> FloatArray:
        return self.correlation(np.array([[0.0], [np.pi / 2.0]])[:, : self.n_angles])

    def _has_law_of(self, other: Correlated) -> bool:
        return isinstance(other, CompoundSymmetric) or other.size <= 2


@dataclass(frozen=True, slots=True)
class Autoregressive(Correlated):
    """Correlations r^|i - j| of columns in their order; r = sin x.

    Noise beside them is told apart: with it correlations fall at once, and then as before.
    """

    function: ClassVar[str] = "ar1"
    homogeneous_by_default: ClassVar[bool] = True
    is_ordered: ClassVar[bool] = True

    @property
    def n_angles(self) -> int:
        return int(self.size > 1)

    @property
    def basis(self) -> FloatArray:
        return _of_lags(self.size) if self.is_homogeneous else symmetric_units(self.size)

    @property
    def correlations(self) -> tuple[tuple[int, int], ...]:
        return ((0, 1),) if self.n_angles else ()

    def correlation(self, angles: FloatArray) -> FloatArray:
        if not self.n_angles:
            return np.ones((*angles.shape[:-1], 1, 1))
        return np.asarray(np.sin(angles[..., None]) ** _lags(self.size))

    def changes(self, angles: FloatArray) -> FloatArray:
        x, lags = angles[..., None, None], _lags(self.size)
        return np.asarray(lags * np.sin(x) ** np.maximum(lags - 1, 0) * np.cos(x))

    def bends(self, angles: FloatArray, weights: FloatArray) -> FloatArray:
        x, lags = angles[..., None, None], _lags(self.size)
        r, slope = np.sin(x), np.cos(x)
        twice = lags * (lags - 1) * r ** np.maximum(lags - 2, 0)
        bend = twice * slope**2 - lags * r ** np.maximum(lags, 1)
        return _of_one((bend * weights[..., None, :, :]).sum(axis=(-2, -1)))

    @property
    def n_like_noise(self) -> int:
        return min(self.size, 2)

    def read_angles(self, correlation: FloatArray, is_seen: BoolArray) -> FloatArray:
        """Read them off the least distance that is seen."""
        if not self.n_angles:
            return np.zeros((*correlation.shape[:-2], 0))
        means, known = _by_lag(correlation, is_seen)
        lag = np.argmax(known, axis=-1)[..., None]
        mean = np.take_along_axis(means, lag, -1)
        root = np.abs(mean) ** (1.0 / (lag + 1.0))
        r = np.where((mean < 0.0) & (lag % 2 == 1), 0.0, np.copysign(root, mean))
        return np.asarray(np.arcsin(np.clip(r, -1.0, 1.0)))

    def inside(self, angles: FloatArray) -> FloatArray:
        return np.asarray(np.arcsin(np.clip(np.sin(angles), -_STRONGEST, _STRONGEST)))

    def at_edge(self, angles: FloatArray, share: float) -> tuple[FloatArray, BoolArray]:
        return _at_right_angles(angles, share)

    def with_correlation(
        self, angles: FloatArray, place: int, r: float
    ) -> tuple[FloatArray, FloatArray]:
        return _angle_of(r)

    @property
    def far_apart(self) -> FloatArray:
        return np.asarray(np.arcsin([[_STRONGEST], [-_STRONGEST]])[: 2 * self.n_angles])

    @property
    def extremes(self) -> FloatArray:
        r = np.linspace(-1.0, 1.0, _N_EXTREMES)
        return self.correlation(np.arcsin(r)[:, None][:, : self.n_angles])

    def _has_law_of(self, other: Correlated) -> bool:
        return isinstance(other, Autoregressive) and other.size in (self.size, 1)


@dataclass(frozen=True, slots=True)
class Toeplitz(Correlated):
    """A correlation for every distance of columns in their order.

    Partial autocorrelations are sin x, from which the correlations follow by Levinson's recursion,
    positive semidefinite for every x.
    """

    function: ClassVar[str] = "toep"
    is_ordered: ClassVar[bool] = True

    @property
    def n_angles(self) -> int:
        return self.size - 1

    @property
    def basis(self) -> FloatArray:
        return _of_lags(self.size) if self.is_homogeneous else symmetric_units(self.size)

    @property
    def correlations(self) -> tuple[tuple[int, int], ...]:
        return tuple((0, lag) for lag in range(1, self.size))

    def correlation(self, angles: FloatArray) -> FloatArray:
        return np.asarray(_autocorrelations(np.sin(angles))[..., _lags(self.size)])

    def changes(self, angles: FloatArray) -> FloatArray:
        return self.with_changes(angles)[1]

    def bends(self, angles: FloatArray, weights: FloatArray) -> FloatArray:
        return self.with_changes(angles)[2](weights)

    def with_changes(self, angles: FloatArray) -> tuple[FloatArray, FloatArray, Bends]:
        x, lag, lags = _stepped(angles), _lags(self.size), _of_lags(self.size)
        lags = lags.reshape(self.size, -1)
        moved: ComplexArray = np.sin(x)
        recursion = _recursion(moved)

        def bends(weights: FloatArray) -> FloatArray:
            of_lags = weights.reshape(*weights.shape[:-2], 1, -1) @ lags.T
            slopes = _slopes_in_partials(moved, recursion, of_lags) * np.cos(x)
            return np.asarray(slopes.imag / _IMAGINARY_STEP)

        r = recursion[0]
        own = r[..., 0, :].real if self.n_angles else np.ones((*angles.shape[:-1], 1))
        return own[..., lag], (r.imag / _IMAGINARY_STEP)[..., lag], bends

    def read_angles(self, correlation: FloatArray, is_seen: BoolArray) -> FloatArray:
        """Take a distance that is not seen to add nothing to those before it."""
        means, known = _by_lag(correlation, is_seen)
        found = np.zeros(means.shape)
        r, phi = np.zeros(means.shape), np.zeros((*means.shape[:-1], 0))
        left = np.ones(means.shape[:-1])
        for lag in range(self.n_angles):
            inner = (phi * r[..., :lag][..., ::-1]).sum(axis=-1)
            is_open = known[..., lag] & (left > _NONE_LEFT)
            partial = (means[..., lag] - inner) / np.where(is_open, left, np.inf)
            partial = np.clip(partial, -1.0, 1.0)
            r[..., lag] = partial * left + inner
            turned = phi - partial[..., None] * phi[..., ::-1]
            phi = np.concatenate([turned, partial[..., None]], axis=-1)
            left = left * (1.0 - partial**2)
            found[..., lag] = partial
        return np.asarray(np.arcsin(found))

    def inside(self, angles: FloatArray) -> FloatArray:
        partial = np.clip(np.sin(angles), -_STRONGEST_PARTIAL, _STRONGEST_PARTIAL)
        return np.asarray(np.arcsin(partial))

    def at_edge(self, angles: FloatArray, share: float) -> tuple[FloatArray, BoolArray]:
        return _at_right_angles(angles, share)

    def with_correlation(
        self, angles: FloatArray, place: int, r: float
    ) -> tuple[FloatArray, FloatArray]:
        partial = np.sin(angles)
        partial[place] = 0.0
        own, by_partial = _with_changes(partial)
        left = by_partial[place, place + 1]
        if not left > _NONE_LEFT or abs(r - own[place + 1]) > left:
            raise ArithmeticError("no partial autocorrelation makes this correlation")
        partial[place] = np.clip((r - own[place + 1]) / left, -1.0, 1.0)
        first = _with_changes(partial)[1][:, place + 1]
        found, change = angles.copy(), -first * np.cos(angles) / left
        angle, slope = _angle_of(float(partial[place]))
        found[place], change[place] = angle[0], 1.0 / left
        change *= slope[0]
        return found, change

    @property
    def far_apart(self) -> FloatArray:
        signs = np.array(list(product([1.0, -1.0], repeat=min(2, self.n_angles))))
        angles = np.zeros((len(signs), self.n_angles))
        angles[:, : signs.shape[1]] = signs * np.arcsin(_STRONGEST_PARTIAL)
        return angles[: len(signs) * bool(self.n_angles)]

    @property
    def extremes(self) -> FloatArray:
        frequencies = np.linspace(0.0, np.pi, _N_EXTREMES)[:, None, None]
        return np.asarray(np.cos(frequencies * _lags(self.size)))

    def _has_law_of(self, other: Correlated) -> bool:
        is_special = isinstance(other, CompoundSymmetric | Autoregressive | Toeplitz)
        return (is_special and other.size == self.size) or other.size == 1


def _stepped(values: FloatArray) -> ComplexArray:
    """Return values, (..., m), each moved alone by an imaginary step, (..., m, m).

    The imaginary part of a smooth function of them is its derivative times the step, to all digits.
    """
    return np.asarray(values[..., None, :] + _IMAGINARY_STEP * 1j * np.eye(values.shape[-1]))


def _autocorrelations(partial: Numbers) -> Numbers:
    """Return the correlations at lags 0 to m, by Levinson's recursion, of partial ones, (..., m).

    With phi the coefficients of the best prediction from the lags before, and e its error,
    r_h = p_h e + sum phi_j r_(h - j).
    """
    return _recursion(partial)[0]


def _recursion(partial: Numbers) -> Recursion[Numbers]:
    """Return the correlations, (..., m + 1), and phi, (..., h), and e, (...), before each lag."""
    m = partial.shape[-1]
    r = np.ones((*partial.shape[:-1], m + 1), dtype=partial.dtype)
    phis, errors = [partial[..., :0]], [r[..., 0]]
    for lag in range(m):
        p, phi, error = partial[..., lag], phis[-1], errors[-1]
        r[..., lag + 1] = p * error + (phi * r[..., lag:0:-1]).sum(axis=-1) if lag else p
        turned = phi - p[..., None] * phi[..., ::-1] if lag else phi
        phis.append(np.concatenate([turned, p[..., None]], axis=-1))
        errors.append(error * (1.0 - p * p))
    return r, phis, errors


def _slopes_in_partials(
    partial: ComplexArray, recursion: Recursion[ComplexArray], weights: FloatArray
) -> ComplexArray:
    """Return the derivatives, (..., m), of a weighted sum of the correlations at lags 0 to m.

    The recursion is gone through backwards: what is said to depend on a number is a slope in it.
    """
    (r, phis, errors), m = recursion, partial.shape[-1]
    shape = np.broadcast_shapes(r.shape, weights.shape)
    in_r = np.broadcast_to(weights, shape).astype(partial.dtype)
    slopes = np.empty((*shape[:-1], m), dtype=partial.dtype)
    in_phi, in_error = np.zeros_like(slopes), np.zeros(shape[:-1], dtype=partial.dtype)
    for lag in reversed(range(m)):
        p, phi, error, own = partial[..., lag], phis[lag], errors[lag], in_r[..., lag + 1]
        slopes[..., lag] = in_phi[..., lag] + error * (own - 2.0 * p * in_error)
        in_error = in_error * (1.0 - p * p) + p * own
        if lag:
            before, back = in_phi[..., :lag], phi[..., ::-1]
            slopes[..., lag] -= (before * back).sum(axis=-1)
            in_r[..., 1 : lag + 1] += own[..., None] * back
            in_phi = before - p[..., None] * before[..., ::-1] + own[..., None] * r[..., lag:0:-1]
    return slopes


def _with_changes(partial: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the correlations at lags 0 to m, (m + 1,), and derivatives in partial ones, (m, .)."""
    moved = _autocorrelations(_stepped(partial))
    return _autocorrelations(partial), moved.imag / _IMAGINARY_STEP


def _of_one(bend: FloatArray) -> FloatArray:
    """Return second derivatives in one angle or none, (..., m), as those in pairs, (..., m, m)."""
    return np.asarray(bend.reshape(*bend.shape, bend.shape[-1]))


def _angle_of(r: float) -> tuple[FloatArray, FloatArray]:
    """Return x with sin x = r, and its derivative in r, zero where it has none, (1,) each."""
    angle = np.arcsin(np.clip(r, -1.0, 1.0))
    slope = np.cos(angle)
    return np.array([angle]), np.array([1.0 / slope if slope else 0.0])


def _at_right_angles(angles: FloatArray, share: float) -> tuple[FloatArray, BoolArray]:
    """Move angles whose sine is nearly 1 or -1 there, and tell which these are."""
    sines = np.sin(angles)
    is_near = 1.0 - np.abs(sines) < share
    return np.where(is_near, np.copysign(np.pi / 2.0, sines), angles), is_near


def _by_lag(correlation: FloatArray, is_seen: BoolArray) -> tuple[FloatArray, BoolArray]:
    """Return the mean of what is seen at lags 1 to k - 1, and whether anything is, (..., k - 1)."""
    k = correlation.shape[-1]
    sums, numbers = np.zeros((2, *correlation.shape[:-2], k - 1))
    for lag in range(1, k):
        own = is_seen.diagonal(lag, axis1=-2, axis2=-1)
        values = correlation.diagonal(lag, axis1=-2, axis2=-1)
        sums[..., lag - 1] = np.where(own, values, 0.0).sum(axis=-1)
        numbers[..., lag - 1] = own.sum(axis=-1)
    return sums / np.maximum(numbers, 1.0), numbers > 0.0


@lru_cache(maxsize=64)
def _lags(size: int) -> IntArray:
    """Return the distance of every pair of columns, (k, k)."""
    lags = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    lags.flags.writeable = False
    return lags


@lru_cache(maxsize=64)
def _of_lags(size: int) -> FloatArray:
    """Return a matrix with ones for every distance, (k, k, k)."""
    return read_only((_lags(size) == np.arange(size)[:, None, None]).astype(np.float64))


@lru_cache(maxsize=64)
def _exchangeable(size: int) -> FloatArray:
    """Return the matrices of one variance and of one covariance."""
    own = np.eye(size)
    return read_only(np.stack([own, 1.0 - own])[: min(size, 2)])
