"""Trust regions: how a step within a radius is judged, and the radius after it.

Everything takes arrays with any leading axes, an entry a search; those of a single one have none,
and its numbers stay plain ones, which is why rules are products with truth values
(Nocedal & Wright 2006, doi:10.1007/978-0-387-40065-5, sections 4.1 and 4.3).
"""

from __future__ import annotations

from typing import Any, TypeVar

from skmixed.core.linalg import FloatArray

Number = TypeVar("Number", float, FloatArray)

ACCEPTED_RATIO = 1e-3  # of achieved to predicted decrease: a step is taken for any real progress
_POOR_RATIO = 0.1  # below, the quadratic model is far off, and the radius shrinks most
_FAIR_RATIO = 0.25  # below, the radius shrinks: the rule of Nocedal & Wright
_GOOD_RATIO = 0.75  # above, a step as long as the radius widens it: the same rule
_WIDENING = 2.5  # of the radius after a good step
_INTERIOR = 0.99  # of the radius: a longer step was cut by it, up to the error of the shift
_SMALL_GAIN = 1e-7  # predicted decrease that a rounded difference of two criteria cannot judge
ROUNDING_MARGIN = 10.0  # times the rounding to expect, which is known to an order of magnitude


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
