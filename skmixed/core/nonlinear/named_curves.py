"""Curves by name: those that start themselves in R, parametrised as there, with derivatives.

They take complex parameters, so that second derivatives are exact, too. Every one knows a grid of
its nonlinear parameters and the columns in which it is linear given these, which makes starts.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.nonlinear.curve import AnalyticCurve

_LARGEST_EXP = 700.0  # of e, before numbers end
_SMALL_ARGUMENT = 1e-3  # arguments up to which a series of four terms has all digits
_TIMES = np.geomspace(0.05, 60.0, 24)  # rates by the length of the axis: from a line to a jump
_WHERE = np.linspace(-0.25, 1.25, 16)  # places along the axis and somewhat beyond
_WIDTHS = np.array([0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5])  # of a rise, by the length of the axis
_POWERS = np.array([0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])  # of a time, from slow to abrupt


@dataclass(frozen=True, eq=False)
class NamedCurve(AnalyticCurve):
    """A curve of the catalogue; the names of its parameters are R's unless others are given."""

    own_names: tuple[str, ...] = ()

    inputs: ClassVar[tuple[str, ...]] = ("x",)  # what it is a curve of
    usual_names: ClassVar[tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        return self.own_names or self.usual_names

    @abstractmethod
    def grid(self, inputs: FloatArray) -> FloatArray:
        """Return values of the nonlinear parameters to start from, (G, q), in units of theirs."""

    @abstractmethod
    def columns(self, grid: FloatArray, inputs: FloatArray) -> FloatArray:
        """Return the columns in which the curve is linear at points of a grid, (G, n, c)."""

    @abstractmethod
    def joined(self, grid: FloatArray, coefficients: FloatArray, inputs: FloatArray) -> FloatArray:
        """Return the parameters, (G, P), of points of a grid, (G, q), and coefficients, (G, c).

        They are not finite where there are none.
        """


class Logistic(NamedCurve):
    """Asym / (1 + exp((xmid - x) / scal))."""

    usual_names = ("Asym", "xmid", "scal")

    def complex_slopes(self, parameters: Any, inputs: FloatArray) -> tuple[Any, Any]:
        asym, middle, scale = parameters
        z = (inputs[:, 0] - middle) / scale
        share = _sigmoid(z)
        steep = asym * share * _sigmoid(-z) / scale
        return asym * share, np.stack([share, -steep, -steep * z], axis=-1)

    def grid(self, inputs: FloatArray) -> FloatArray:
        return _rises(inputs, np.concatenate([_WIDTHS, -_WIDTHS]))

    def columns(self, grid: FloatArray, inputs: FloatArray) -> FloatArray:
        return np.asarray(_sigmoid((inputs[:, 0] - grid[:, :1]) / grid[:, 1:])[..., None])

    def joined(self, grid: FloatArray, coefficients: FloatArray, inputs: FloatArray) -> FloatArray:
        return np.hstack([coefficients, grid])


class FourParameterLogistic(NamedCurve):
    """A + (B - A) / (1 + exp((xmid - x) / scal))."""

    usual_names = ("A", "B", "xmid", "scal")

    def complex_slopes(self, parameters: Any, inputs: FloatArray) -> tuple[Any, Any]:
        left, right, middle, scale = parameters
        z = (inputs[:, 0] - middle) / scale
        share, rest = _sigmoid(z), _sigmoid(-z)
        steep = (right - left) * share * rest / scale
        value = left + (right - left) * share
        return value, np.stack([rest, share, -steep, -steep * z], axis=-1)

    def grid(self, inputs: FloatArray) -> FloatArray:
        return _rises(inputs, _WIDTHS)

    def columns(self, grid: FloatArray, inputs: FloatArray) -> FloatArray:
        z = (inputs[:, 0] - grid[:, :1]) / grid[:, 1:]
        return np.stack([_sigmoid(-z), _sigmoid(z)], axis=-1)

    def joined(self, grid: FloatArray, coefficients: FloatArray, inputs: FloatArray) -> FloatArray:
        return np.hstack([coefficients, grid])


class Asymptotic(NamedCurve):
    """Asym + (R0 - Asym) exp(-exp(lrc) x)."""

    usual_names = ("Asym", "R0", "lrc")

    def complex_slopes(self, parameters: Any, inputs: FloatArray) -> tuple[Any, Any]:
        asym, start, log_rate = parameters
        rate, x = np.exp(log_rate), inputs[:, 0]
        left = _exp(-rate * x)
        value = asym + (start - asym) * left
        return value, np.stack([1.0 - left, left, -(start - asym) * left * rate * x], axis=-1)

    def grid(self, inputs: FloatArray) -> FloatArray:
        return _rates(inputs[:, 0])

    def columns(self, grid: FloatArray, inputs: FloatArray) -> FloatArray:
        left = _exp(-grid * inputs[:, 0])
        return np.stack([1.0 - left, left], axis=-1)

    def joined(self, grid: FloatArray, coefficients: FloatArray, inputs: FloatArray) -> FloatArray:
        return np.hstack([coefficients, np.log(grid)])


class AsymptoticOffset(NamedCurve):
    """Asym (1 - exp(-exp(lrc) (x - c0)))."""

    usual_names = ("Asym", "lrc", "c0")

    def complex_slopes(self, parameters: Any, inputs: FloatArray) -> tuple[Any, Any]:
        asym, log_rate, offset = parameters
        rate, past = np.exp(log_rate), inputs[:, 0] - offset
        left = _exp(-rate * past)
        slope = asym * left * rate
        return asym * (1.0 - left), np.stack([1.0 - left, slope * past, -slope], axis=-1)

    def grid(self, inputs: FloatArray) -> FloatArray:
        return _rates(inputs[:, 0])

    def columns(self, grid: FloatArray, inputs: FloatArray) -> FloatArray:
        left = _exp(-grid * (inputs[:, 0] - inputs[:, 0].min()))
        return np.stack([np.ones_like(left), -left], axis=-1)

    def joined(self, grid: FloatArray, coefficients: FloatArray, inputs: FloatArray) -> FloatArray:
        asym, fallen = coefficients.T
        first = inputs[:, 0].min() + np.log(fallen / asym) / grid[:, 0]
        return np.stack([asym, np.log(grid[:, 0]), first], axis=-1)


class AsymptoticOrigin(NamedCurve):
    """Asym (1 - exp(-exp(lrc) x))."""

    usual_names = ("Asym", "lrc")

    def complex_slopes(self, parameters: Any, inputs: FloatArray) -> tuple[Any, Any]:
        asym, log_rate = parameters
        rate, x = np.exp(log_rate), inputs[:, 0]
        left = _exp(-rate * x)
        return asym * (1.0 - left), np.stack([1.0 - left, asym * left * rate * x], axis=-1)

    def grid(self, inputs: FloatArray) -> FloatArray:
        return _rates(inputs[:, 0])

    def columns(self, grid: FloatArray, inputs: FloatArray) -> FloatArray:
        return np.asarray((1.0 - _exp(-grid * inputs[:, 0]))[..., None])

    def joined(self, grid: FloatArray, coefficients: FloatArray, inputs: FloatArray) -> FloatArray:
        return np.hstack([coefficients, np.log(grid)])


class Biexponential(NamedCurve):
    """A1 exp(-exp(lrc1) x) + A2 exp(-exp(lrc2) x)."""

    usual_names = ("A1", "lrc1", "A2", "lrc2")

    def complex_slopes(self, parameters: Any, inputs: FloatArray) -> tuple[Any, Any]:
        x, parts = inputs[:, 0], []
        value = 0.0
        for size, log_rate in (parameters[:2], parameters[2:]):
            rate = np.exp(log_rate)
            left = _exp(-rate * x)
            value = value + size * left
            parts += [left, -size * left * rate * x]
        return value, np.stack(parts, axis=-1)

    def grid(self, inputs: FloatArray) -> FloatArray:
        rates = _rates(inputs[:, 0])[:, 0]
        fast, slow = np.meshgrid(rates, rates, indexing="ij")
        return np.stack([fast[fast > slow], slow[fast > slow]], axis=-1)

    def columns(self, grid: FloatArray, inputs: FloatArray) -> FloatArray:
        return np.asarray(_exp(-grid[:, None, :] * inputs[:, :1]))

    def joined(self, grid: FloatArray, coefficients: FloatArray, inputs: FloatArray) -> FloatArray:
        rates = np.log(grid)
        return np.stack([coefficients[:, 0], rates[:, 0], coefficients[:, 1], rates[:, 1]], axis=-1)


class FirstOrder(NamedCurve):
    """One compartment with absorption of first order.

    Dose exp(lKe + lKa - lCl) (exp(-exp(lKe) x) - exp(-exp(lKa) x)) / (exp(lKa) - exp(lKe)).
    """

    inputs = ("dose", "time")
    usual_names = ("lKe", "lKa", "lCl")

    def complex_slopes(self, parameters: Any, inputs: FloatArray) -> tuple[Any, Any]:
        out, into, clearance = np.exp(parameters)
        dose, time = inputs.T
        value, slopes = _absorbed(out, into, time)
        scale = dose / clearance
        return scale * value, np.stack(
            [scale * out * slopes[0], scale * into * slopes[1], -scale * value], axis=-1
        )

    def grid(self, inputs: FloatArray) -> FloatArray:
        rates = _rates(inputs[:, 1])[:, 0]
        out, into = np.meshgrid(rates, rates, indexing="ij")
        return np.stack([out[out < into], into[out < into]], axis=-1)

    def columns(self, grid: FloatArray, inputs: FloatArray) -> FloatArray:
        out, into = grid[:, :1], grid[:, 1:]
        return np.asarray((inputs[:, 0] * _absorbed(out, into, inputs[:, 1])[0])[..., None])

    def joined(self, grid: FloatArray, coefficients: FloatArray, inputs: FloatArray) -> FloatArray:
        return np.hstack([np.log(grid), -np.log(coefficients)])


class Gompertz(NamedCurve):
    """Asym exp(-b2 b3^x)."""

    usual_names = ("Asym", "b2", "b3")

    def complex_slopes(self, parameters: Any, inputs: FloatArray) -> tuple[Any, Any]:
        asym, size, base = parameters
        x = inputs[:, 0]
        power = _exp(x * np.log(base))
        share = _exp(-size * power)
        value = asym * share
        slopes = [share, -value * power, -value * size * x * power / base]
        return value, np.stack(slopes, axis=-1)

    def grid(self, inputs: FloatArray) -> FloatArray:
        x = inputs[:, 0]
        rates, where = np.meshgrid(_rates(x)[:, 0], _WHERE, indexing="ij")
        middle = x.min() + where * np.ptp(x)
        return np.stack([_exp(rates * middle).ravel(), np.exp(-rates.ravel())], axis=-1)

    def columns(self, grid: FloatArray, inputs: FloatArray) -> FloatArray:
        power = _exp(inputs[:, 0] * np.log(grid[:, 1:]))
        return np.asarray(_exp(-grid[:, :1] * power)[..., None])

    def joined(self, grid: FloatArray, coefficients: FloatArray, inputs: FloatArray) -> FloatArray:
        return np.hstack([coefficients, grid])


class MichaelisMenten(NamedCurve):
    """Vm x / (K + x)."""

    usual_names = ("Vm", "K")

    def complex_slopes(self, parameters: Any, inputs: FloatArray) -> tuple[Any, Any]:
        most, half = parameters
        x = inputs[:, 0]
        share = x / (half + x)
        return most * share, np.stack([share, -most * share / (half + x)], axis=-1)

    def grid(self, inputs: FloatArray) -> FloatArray:
        return np.asarray(np.abs(inputs[:, 0]).max() / _TIMES[:, None])

    def columns(self, grid: FloatArray, inputs: FloatArray) -> FloatArray:
        return (inputs[:, 0] / (grid + inputs[:, 0]))[..., None]

    def joined(self, grid: FloatArray, coefficients: FloatArray, inputs: FloatArray) -> FloatArray:
        return np.hstack([coefficients, grid])


class Weibull(NamedCurve):
    """Asym - Drop exp(-exp(lrc) x^pwr)."""

    usual_names = ("Asym", "Drop", "lrc", "pwr")

    def complex_slopes(self, parameters: Any, inputs: FloatArray) -> tuple[Any, Any]:
        asym, drop, log_rate, power = parameters
        x = inputs[:, 0]
        log_x = np.log(np.where(x > 0.0, x, 1.0))
        risen = np.where(x > 0.0, _exp(log_rate + power * log_x), np.where(x == 0.0, 0.0, np.nan))
        left = _exp(-risen)
        slope = drop * left * risen
        slopes = [np.ones_like(left), -left, slope, slope * log_x]
        return asym - drop * left, np.stack(slopes, axis=-1)

    def grid(self, inputs: FloatArray) -> FloatArray:
        x = inputs[:, 0]
        where = x.max() * np.linspace(0.05, 1.0, 12)  # where the drop is done but for 1 / e
        powers, where = np.meshgrid(_POWERS, where, indexing="ij")
        return np.stack([(-powers * np.log(where)).ravel(), powers.ravel()], axis=-1)

    def columns(self, grid: FloatArray, inputs: FloatArray) -> FloatArray:
        x = inputs[:, 0]
        log_x = np.log(np.where(x > 0.0, x, np.finfo(float).tiny))
        left = _exp(-_exp(grid[:, :1] + grid[:, 1:] * log_x))
        return np.stack([np.ones_like(left), -left], axis=-1)

    def joined(self, grid: FloatArray, coefficients: FloatArray, inputs: FloatArray) -> FloatArray:
        return np.hstack([coefficients, grid])


CURVES: dict[str, type[NamedCurve]] = {
    "logistic": Logistic,
    "four_parameter_logistic": FourParameterLogistic,
    "asymptotic": Asymptotic,
    "asymptotic_offset": AsymptoticOffset,
    "asymptotic_origin": AsymptoticOrigin,
    "biexponential": Biexponential,
    "first_order": FirstOrder,
    "gompertz": Gompertz,
    "michaelis_menten": MichaelisMenten,
    "weibull": Weibull,
}
"""Curves by name."""

NAMES_IN_R = {
    "SSlogis": "logistic",
    "SSfpl": "four_parameter_logistic",
    "SSasymp": "asymptotic",
    "SSasympOff": "asymptotic_offset",
    "SSasympOrig": "asymptotic_origin",
    "SSbiexp": "biexponential",
    "SSfol": "first_order",
    "SSgompertz": "gompertz",
    "SSmicmen": "michaelis_menten",
    "SSweibull": "weibull",
}
"""What R calls them."""


def _exp(exponent: Any) -> Any:
    """Return the exponential, of large exponents the largest number there is room for."""
    if np.iscomplexobj(exponent):
        return np.exp(np.minimum(exponent.real, _LARGEST_EXP) + 1j * exponent.imag)
    return np.exp(np.minimum(exponent, _LARGEST_EXP))


def _sigmoid(z: Any) -> Any:
    return 1.0 / (1.0 + _exp(-z))


def _absorbed(out: Any, into: Any, time: FloatArray) -> tuple[Any, tuple[Any, Any]]:
    """Return ke ka (e^(-ke t) - e^(-ka t)) / (ka - ke), (..., n), and its slopes in ke and ka.

    It is ke ka t e^(-ke t) h((ka - ke) t) for h(u) = (1 - e^-u) / u, also where the two are equal.
    """
    u = (into - out) * time
    is_small = np.abs(u) < _SMALL_ARGUMENT
    safe = np.where(is_small, 1.0, u)
    h = np.where(is_small, 1.0 - u / 2.0 * (1.0 - u / 3.0 * (1.0 - u / 4.0)), -_expm1(-safe) / safe)
    series = -0.5 + u / 3.0 * (1.0 - u * 0.375 * (1.0 - u * 4.0 / 15.0))
    slope = np.where(is_small, series, (_exp(-safe) - h) / safe)
    decay = time * _exp(-out * time)
    value = out * into * decay * h
    by_out = into * decay * h - time * value - out * into * decay * slope * time
    by_into = out * decay * h + out * into * decay * slope * time
    return value, (by_out, by_into)


def _expm1(exponent: Any) -> Any:
    if np.iscomplexobj(exponent):
        return np.expm1(np.minimum(exponent.real, _LARGEST_EXP) + 1j * exponent.imag)
    return np.expm1(np.minimum(exponent, _LARGEST_EXP))


def _rates(x: FloatArray) -> FloatArray:
    """Return rates, (G, 1), falling, by which a curve is done along some part of the axis."""
    length = float(np.ptp(x)) or float(np.abs(x).max(initial=0.0)) or 1.0
    return _TIMES[::-1, None] / length


def _rises(inputs: FloatArray, widths: FloatArray) -> FloatArray:
    """Return middles and widths of a rise along the axis, (G, 2); falls have negative widths."""
    x = inputs[:, 0]
    length = float(np.ptp(x)) or 1.0
    where, widths = np.meshgrid(_WHERE, widths, indexing="ij")
    return np.stack([x.min() + where.ravel() * length, widths.ravel() * length], axis=-1)
