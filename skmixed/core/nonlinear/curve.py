"""A curve: a function of parameters and inputs of a row, with its derivatives in the parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from skmixed.core.linalg import FloatArray

DerivativeWay = Literal["exact", "user", "complex step", "differences"]

_TINY_STEP = 1e-30  # of a complex step, which loses no digit however short it is
_RELATIVE_STEP = 6e-6  # of a central difference, relative: the cube root of rounding
_LONG_STEP = 1e-4  # of second differences of values, relative: the fourth root of rounding
_LEAST_SIZE = 1e-2  # parameters nearer zero are stepped as if they were this large
_AGREES = 1e-3  # relative: what differences of values may differ by from right derivatives


class Curve(ABC):
    """A curve of named parameters.

    `parameters` are (P, n), a value of every parameter in every row, and `inputs` (n, m).
    """

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""

    @property
    @abstractmethod
    def derivatives(self) -> DerivativeWay:
        """Where the first derivatives come from."""

    @abstractmethod
    def value(self, parameters: FloatArray, inputs: FloatArray) -> FloatArray:
        """Return the curve, (n,)."""

    @abstractmethod
    def slopes(self, parameters: FloatArray, inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the curve, (n,), and its derivatives in the parameters, (n, P)."""

    def bends(self, parameters: FloatArray, inputs: FloatArray) -> FloatArray:
        """Return its second derivatives, (n, P, P), here by differences of the first."""
        size = len(parameters)
        found = np.empty((parameters.shape[1], size, size))
        for place in range(size):
            moved, step = parameters.copy(), _step_of(parameters[place], _RELATIVE_STEP)
            moved[place] = parameters[place] + step
            above = self.slopes(moved, inputs)[1]
            moved[place] = parameters[place] - step
            found[:, :, place] = (above - self.slopes(moved, inputs)[1]) / (2.0 * step)[:, None]
        return _symmetric(found)


class AnalyticCurve(Curve):
    """A curve whose exact derivatives take complex parameters, of which second ones are made."""

    @property
    def derivatives(self) -> DerivativeWay:
        return "exact"

    @abstractmethod
    def complex_slopes(self, parameters: Any, inputs: FloatArray) -> tuple[Any, Any]:
        """Return the curve, (n,), and its derivatives, (n, P), at real or complex parameters."""

    def value(self, parameters: FloatArray, inputs: FloatArray) -> FloatArray:
        return self.slopes(parameters, inputs)[0]

    def slopes(self, parameters: FloatArray, inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        with np.errstate(all="ignore"):
            return self.complex_slopes(parameters, inputs)

    def bends(self, parameters: FloatArray, inputs: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return complex_step(lambda p: self.complex_slopes(p, inputs)[1], parameters)


@dataclass(frozen=True, eq=False)
class GivenCurve(Curve):
    """A curve that a user has written."""

    function: Callable[[Any, Any], Any]
    own_names: tuple[str, ...]
    jacobian: Callable[[Any, Any], Any] | None  # of the user, (n, P)
    way: DerivativeWay

    @classmethod
    def of(
        cls,
        function: Callable[[Any, Any], Any],
        names: tuple[str, ...],
        jacobian: Callable[[Any, Any], Any] | None,
        parameters: FloatArray,  # (P, n), at the start
        inputs: FloatArray,
    ) -> GivenCurve:
        """Find out how to differentiate a function, at the start.

        Raises ValueError for values of a wrong length or that are no finite numbers, and for a
        Jacobian that is not that of the function.
        """
        curve = cls(function, names, jacobian, "differences" if jacobian is None else "user")
        values = curve.value(parameters, inputs)
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise ValueError(
                f"the model is {values[wrong[0]]} at the start, in {len(wrong)} rows, the first of "
                f"which is row {wrong[0]}: give other values as start"
            )
        differences = _differences(curve, parameters, inputs)
        if jacobian is not None:
            if not _agree(curve.slopes(parameters, inputs)[1], differences):
                raise ValueError(
                    "the jacobian is not that of the model: it differs from differences of its "
                    "values at the start. Column j, of shape (n,), is the derivative in parameter "
                    "j; leave jacobian out to have it made"
                )
            return curve
        stepped = _by_complex_step(function, parameters, inputs)
        if stepped is not None and _agree(stepped, differences):
            return cls(function, names, None, "complex step")
        return curve

    @property
    def names(self) -> tuple[str, ...]:
        return self.own_names

    @property
    def derivatives(self) -> DerivativeWay:
        return self.way

    def value(self, parameters: FloatArray, inputs: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            found = np.asarray(self.function(parameters, inputs), dtype=np.float64)
        if found.shape != parameters.shape[1:]:
            raise ValueError(
                f"the model returned an array of shape {found.shape}, and {parameters.shape[1:]} "
                "are needed, a value a row: it gets parameters of shape (n_parameters, n) and X of "
                "shape (n, n_inputs)"
            )
        return found

    def slopes(self, parameters: FloatArray, inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        values = self.value(parameters, inputs)
        if self.jacobian is not None:
            with np.errstate(all="ignore"):
                found = np.asarray(self.jacobian(parameters, inputs), dtype=np.float64)
            if found.shape != parameters.shape[::-1]:
                raise ValueError(
                    f"the jacobian returned an array of shape {found.shape}, and "
                    f"{parameters.shape[::-1]} are needed: a row a row, a column a parameter"
                )
            return values, found
        if self.way == "complex step":
            stepped = _by_complex_step(self.function, parameters, inputs)
            if stepped is not None:
                return values, stepped
        return values, _differences(self, parameters, inputs)

    def bends(self, parameters: FloatArray, inputs: FloatArray) -> FloatArray:
        if self.way != "differences":
            return super().bends(parameters, inputs)
        return _second_differences(self, parameters, inputs)


def complex_step(slopes: Callable[[Any], Any], parameters: FloatArray) -> FloatArray:
    """Return the derivatives, (n, P, P), of derivatives, (n, P), by complex steps."""
    size, n = parameters.shape
    found = np.empty((n, size, size))
    for place in range(size):
        moved = parameters.astype(np.complex128)
        moved[place] += 1j * _TINY_STEP
        found[:, :, place] = slopes(moved).imag / _TINY_STEP
    return found


def _by_complex_step(
    function: Callable[[Any, Any], Any], parameters: FloatArray, inputs: FloatArray
) -> FloatArray | None:
    """Return the derivatives, (n, P), None of a function that takes no complex numbers."""
    found = np.empty(parameters.shape[::-1])
    for place in range(len(parameters)):
        moved = parameters.astype(np.complex128)
        moved[place] += 1j * _TINY_STEP
        try:
            with np.errstate(all="ignore"):
                values = np.asarray(function(moved, inputs))
        except (TypeError, ValueError):
            return None
        if values.dtype.kind != "c" or values.shape != parameters.shape[1:]:
            return None
        found[:, place] = values.imag / _TINY_STEP
    return found


def _differences(curve: Curve, parameters: FloatArray, inputs: FloatArray) -> FloatArray:
    """Return the derivatives, (n, P), by central differences."""
    found = np.empty(parameters.shape[::-1])
    for place in range(len(parameters)):
        moved, step = parameters.copy(), _step_of(parameters[place], _RELATIVE_STEP)
        moved[place] = parameters[place] + step
        above = curve.value(moved, inputs)
        moved[place] = parameters[place] - step
        found[:, place] = (above - curve.value(moved, inputs)) / (2.0 * step)
    return found


def _second_differences(curve: Curve, parameters: FloatArray, inputs: FloatArray) -> FloatArray:
    """Return the second derivatives, (n, P, P), by differences of values."""
    size, n = parameters.shape
    steps = _step_of(parameters, _LONG_STEP)
    found = np.empty((n, size, size))

    def moved(first: int, second: int, one: float, other: float) -> FloatArray:
        place = parameters.copy()
        place[first] += one * steps[first]
        place[second] += other * steps[second]
        return curve.value(place, inputs)

    middle = curve.value(parameters, inputs)
    for i in range(size):
        own = moved(i, i, 0.5, 0.5) - 2.0 * middle + moved(i, i, -0.5, -0.5)
        found[:, i, i] = own / steps[i] ** 2
        for j in range(i):
            mixed = (
                moved(i, j, 1, 1) - moved(i, j, 1, -1) - moved(i, j, -1, 1) + moved(i, j, -1, -1)
            )
            found[:, i, j] = found[:, j, i] = mixed / (4.0 * steps[i] * steps[j])
    return found


def _step_of(parameters: FloatArray, relative: float) -> FloatArray:
    return relative * np.maximum(np.abs(parameters), _LEAST_SIZE)


def _symmetric(found: FloatArray) -> FloatArray:
    return (found + found.swapaxes(-1, -2)) / 2.0


def _agree(found: FloatArray, differences: FloatArray) -> bool:
    """Tell whether derivatives, (n, P), agree with differences, column by column."""
    sizes = np.abs(differences).max(axis=0, initial=0.0)
    return bool(np.isfinite(found).all()) and bool(
        (np.abs(found - differences) <= _AGREES * sizes + np.finfo(float).tiny).all()
    )
