"""Stirling's series of the gamma function, for differences that would cancel without it."""

from __future__ import annotations

from typing import TypeVar

from skmixed.core.linalg import FloatArray

Number = TypeVar("Number", float, FloatArray)

LARGE_ARGUMENT = 30.0  # from which three terms of the series are exact to rounding


def stirling(z: Number) -> Number:
    """Return log Gamma(z) - (z - 1/2) log z + z - log(2 pi) / 2."""
    return (1.0 - (1.0 / 30.0 - (1.0 / 105.0 - 3.0 / 420.0 / z**2) / z**2) / z**2) / (12.0 * z)


def stirling_slope(z: Number) -> Number:
    """Return its derivative, digamma(z) - log z + 1 / (2 z)."""
    return -(1.0 - (0.1 - (1.0 / 21.0 - 0.05 / z**2) / z**2) / z**2) / (12.0 * z**2)
