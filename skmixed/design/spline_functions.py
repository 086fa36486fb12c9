"""``bs``, ``cr`` and ``ns`` of formulas: splines that go on beyond their range as those of R do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from scipy.interpolate import BSpline

from skmixed.core.linalg import FloatArray

_ORDER = 4  # of natural splines: cubic


def spline_functions(formulaic: Any, beyond: list[str]) -> Mapping[str, Callable[..., Any]]:
    """Return the functions as formulaic calls them, each with the state that it keeps.

    What lies beyond the range that was learned is said in `beyond`.
    """

    def bs(x: Any, *args: Any, _state: Any = None, **settings: Any) -> Any:
        values, state = np.asarray(x, dtype=np.float64), {} if _state is None else _state
        found = formulaic.transforms.basis_spline(
            values, *args, _state=state, **{"extrapolation": "extend", **settings}
        )
        if settings.get("extrapolation") is None:
            _note(beyond, "bs", values, state, "the outer polynomials")
        return found

    def cr(x: Any, *args: Any, _state: Any = None, **settings: Any) -> Any:
        values, state = np.asarray(x, dtype=np.float64), {} if _state is None else _state
        found = formulaic.transforms.cubic_spline.cubic_spline(
            values, *args, _state=state, **settings
        )
        if settings.get("extrapolation", "extend") == "extend":
            knots = state["knots"]
            bounds = {"lower_bound": knots[0], "upper_bound": knots[-1]}
            _note(beyond, "cr", values, bounds, "straight lines")
        return found

    def ns(x: Any, *args: Any, _state: Any = None, **settings: Any) -> Any:
        values, state = np.asarray(x, dtype=np.float64), {} if _state is None else _state
        if not state:
            state.update(_learned(values, *args, **settings))
        columns = _natural(values, state)
        _note(beyond, "ns", values, state, "straight lines")
        return formulaic.materializers.types.FactorValues(
            dict(enumerate(columns.T, 1)),
            kind="numerical",
            spans_intercept=bool(state["include_intercept"]),
            drop_field=1,
            format="{name}[{field}]",
            encoded=False,
        )

    keeping = formulaic.utils.stateful_transforms.stateful_transform
    return {"bs": keeping(bs), "cr": keeping(cr), "ns": keeping(ns)}


def _note(beyond: list[str], name: str, x: FloatArray, state: Mapping[str, Any], how: str) -> None:
    """Say that values, (n,), are beyond the range of a spline."""
    low, high = state["lower_bound"], state["upper_bound"]
    if ((x < low) | (x > high)).any():
        beyond.append(f"{low:g} to {high:g}, the range of {name}(): it goes on as {how} there")


def _learned(
    x: FloatArray,
    df: int | None = None,
    knots: Iterable[float] | None = None,
    include_intercept: bool = False,
    lower_bound: float | None = None,
    upper_bound: float | None = None,
) -> dict[str, Any]:
    """Return knots and bounds of a natural spline of values, (n,), as R's ``ns`` chooses them."""
    low = float(x.min()) if lower_bound is None else float(lower_bound)
    high = float(x.max()) if upper_bound is None else float(upper_bound)
    if not low < high:
        raise ValueError(f"ns() has the range {low:g} to {high:g}: no spline lies in it")
    if knots is not None:
        if df is not None:
            raise ValueError("ns() takes df or knots, not both")
        inner = sorted(float(knot) for knot in knots)
    else:
        n_inner = (1 + include_intercept if df is None else int(df)) - 1 - include_intercept
        if n_inner < 0:
            raise ValueError(f"ns() with df={df} has no column: df is 1 or more")
        within = x[(x >= low) & (x <= high)]
        inner = np.quantile(within, np.linspace(0, 1, n_inner + 2)[1:-1]).tolist()
    if any(not low < knot < high for knot in inner):
        raise ValueError(f"a knot of ns() is not between {low:g} and {high:g}")
    return {
        "lower_bound": low,
        "upper_bound": high,
        "knots": inner,
        "include_intercept": bool(include_intercept),
    }


def _natural(x: FloatArray, state: Mapping[str, Any]) -> FloatArray:
    """Return the columns of a natural spline at values, (n,): (n, df).

    Of the cubic B-splines they are the combinations without curvature at the bounds; beyond these
    they are straight lines.
    """
    low, high = float(state["lower_bound"]), float(state["upper_bound"])
    knots = np.array([low] * _ORDER + list(state["knots"]) + [high] * _ORDER)
    splines = BSpline(knots, np.eye(len(knots) - _ORDER), _ORDER - 1)
    inside = np.clip(x, low, high)
    columns = splines(inside)
    beyond = np.flatnonzero(x != inside)
    if len(beyond):
        slopes = splines(inside[beyond], nu=1)
        columns[beyond] += slopes * (x - inside)[beyond, None]
    curvature = splines(np.array([low, high]), nu=2)
    if not state["include_intercept"]:
        columns, curvature = columns[:, 1:], curvature[:, 1:]
    rotation = np.linalg.qr(curvature.T, mode="complete")[0]
    return np.asarray(columns @ rotation[:, 2:])
