"""Trust regions: the step within a radius, how it is judged, and the radius after it.

Everything takes arrays with any leading axes, an entry a search; those of a single one have none,
and its numbers stay plain ones, which is why rules are products with truth values
(Nocedal & Wright 2006, doi:10.1007/978-0-387-40065-5, sections 4.1 and 4.3).
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from skmixed.core.linalg import FloatArray, eigenpairs

Number = TypeVar("Number", float, FloatArray)

ACCEPTED_RATIO = 1e-3  # of achieved to predicted decrease: a step is taken for any real progress
_POOR_RATIO = 0.1  # below, the quadratic model is far off, and the radius shrinks most
_FAIR_RATIO = 0.25  # below, the radius shrinks: the rule of Nocedal & Wright
_GOOD_RATIO = 0.75  # above, a step as long as the radius widens it: the same rule
_WIDENING = 2.5  # of the radius after a good step
_INTERIOR = 0.99  # of the radius: a longer step was cut by it, up to the error of the shift
_SMALL_GAIN = 1e-7  # predicted decrease that a rounded difference of two criteria cannot judge
_FLAT_DIRECTION = 1e-11  # eigenvalue, relative to the largest: less is rounding of the Hessian
_TINY = float(np.finfo(float).tiny)  # keeps quotients of zeros from being undefined
_SHIFT_ERROR = 1e-12  # of the length of a step that the radius cuts
_MOST_SHIFTS = 30  # Newton's method for the shift takes about five from its lower bound
ROUNDING_MARGIN = 10.0  # times the rounding to expect, which is known to an order of magnitude


def trust_region_step(
    gradient: FloatArray, hessian: FloatArray, radius: FloatArray | float
) -> tuple[FloatArray, FloatArray]:
    """Return the minimiser s, (..., t), of g's + s'Hs/2 over |s| <= radius, and its decrease.

    H, (..., t, t), may be indefinite. The step has nothing along directions that are flat to
    rounding. In the hard case (g has nothing along the lowest eigenvector) that eigenvector is
    added.
    """
    values, vectors = eigenpairs(hessian)
    along = (gradient[..., None, :] @ vectors)[..., 0, :]
    sizes = np.abs(values)
    floor = _FLAT_DIRECTION * np.maximum(sizes[..., :1], sizes[..., -1:]) + _TINY
    along = np.where(sizes <= floor, 0.0, along)
    inner = -along / np.maximum(values, floor)
    is_cut = (values[..., 0] < -floor[..., 0]) | ((inner * inner).sum(-1) > radius * radius)
    if is_cut.any():
        cut = _step_to_radius(values, along, floor, np.asarray(radius))
        inner = np.where(is_cut[..., None], cut, inner)
    predicted = -(inner * (along + values * inner / 2.0)).sum(-1)
    return (vectors @ inner[..., None])[..., 0], predicted


def _step_to_radius(
    values: FloatArray, along: FloatArray, floor: FloatArray, radius: FloatArray
) -> FloatArray:
    """Return steps of the length of the radius in the coordinates of the eigenvectors, (..., t).

    The shift s solves 1/|s| = 1/radius by Newton's method, which comes from below.
    """
    low = np.maximum(0.0, -values[..., :1]) + floor
    each = np.abs(along) / radius[..., None] - values  # no entry alone is longer than the radius
    shift = np.maximum(low, each.max(axis=-1, keepdims=True))
    for _ in range(_MOST_SHIFTS):
        curved = np.maximum(values + shift, floor)
        inner = -along / curved
        squares = inner * inner
        square = squares.sum(-1)
        excess = np.sqrt(square) / radius - 1.0
        if not (excess > _SHIFT_ERROR).any():
            break
        slope = np.maximum((squares / curved).sum(-1), _TINY)
        shift = shift + np.maximum(square / slope * excess, 0.0)[..., None]
    is_hard = excess < -_SHIFT_ERROR
    lacking = np.sqrt(np.maximum(radius * radius - squares[..., 1:].sum(-1), 0.0))
    inner[..., 0] = np.where(is_hard, np.copysign(lacking, -along[..., 0]), inner[..., 0])
    return np.asarray(inner)


def judged(gained: Number, predicted: Number, rounding: Number) -> Number:
    """Return achieved over predicted decrease, (...), one where both drown in rounding."""
    noise = ROUNDING_MARGIN * rounding
    is_small = (predicted < _SMALL_GAIN) | (predicted < noise)
    is_drowned: Any = is_small & (gained > -noise)
    share: Number = is_drowned + (1 - is_drowned) * (gained / predicted)
    return share


def is_interior(length: Number, radius: Number) -> Any:
    """Tell which steps the radius has not cut, (...)."""
    return length < _INTERIOR * radius


def new_radius(ratio: Number, length: Number, radius: Number) -> Number:
    """Return the radius after a step of some length that was judged, (...)."""
    is_fair: Any = ratio >= _FAIR_RATIO
    is_poor: Any = 1 - (ratio >= _POOR_RATIO)
    is_widened: Any = (ratio > _GOOD_RATIO) & (length >= _INTERIOR * radius)
    kept = is_fair * radius * (1.0 + (_WIDENING - 1.0) * is_widened)
    radius = kept + (1 - is_fair) * length / (2.0 + 2.0 * is_poor)
    return radius
