"""The functions that formulas may call, and what they may be given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Function:
    """How a function is called: with columns first, and settings (numbers, text) after them."""

    call: Callable[..., Any] | None = None  # None where formulaic has it
    n_columns: int = 1  # leading arguments, which are needed
    n_settings: int = 0  # most further arguments without a keyword
    keywords: frozenset[str] = frozenset()  # of settings
    learns: bool = False  # numbers from the whole column, kept for new rows
    n_more: int = 0  # most further columns
    takes_text: bool = False  # whether text may stand in the place of a column


def _learning(n_settings: int, *keywords: str) -> Function:
    return Function(None, 1, n_settings, frozenset(keywords), learns=True)


_MOST_MORE = 8  # columns beside the first two of pmax() and interaction()


ELEMENTWISE: Mapping[str, Callable[[Any], Any]] = {  # of one array of numbers
    "I": lambda x: x,
    "abs": np.abs,
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "ceiling": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "exp": np.exp,
    "exp10": lambda x: np.power(10.0, x),
    "exp2": np.exp2,
    "expm1": np.expm1,
    "floor": np.floor,
    "log": np.log,
    "log10": np.log10,
    "log1p": np.log1p,
    "log2": np.log2,
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
    "trunc": np.trunc,
}
_BOUNDS = ("lower_bound", "upper_bound", "extrapolation")
_UFUNCS = (
    "abs absolute arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt ceil cos cosh deg2rad "
    "degrees exp exp2 expm1 fabs floor fmax fmin fmod hypot log log10 log1p log2 logaddexp maximum "
    "minimum mod negative power rad2deg radians reciprocal rint sign sin sinh sqrt square tan tanh "
    "trunc"
)

FUNCTIONS: Mapping[str, Function] = {
    **{name: Function(call) for name, call in ELEMENTWISE.items()},
    "ifelse": Function(np.where, 3, takes_text=True),
    "pmax": Function(lambda *x: reduce(np.maximum, x), 2, n_more=_MOST_MORE),
    "pmin": Function(lambda *x: reduce(np.minimum, x), 2, n_more=_MOST_MORE),
    "interaction": Function(None, 2, n_more=_MOST_MORE),
    "cut": _learning(2, "breaks", "labels", "include_lowest", "right", "dig_lab", "ordered_result"),
    "relevel": _learning(1, "ref"),
    "dummy": _learning(1, "levels"),
    "ordered": _learning(1, "levels"),
    "as_ordered": _learning(1, "levels"),
    "as_numeric": _learning(0),
    "as_double": _learning(0),
    "as_integer": _learning(0),
    "as_character": Function(None, 1),
    "C": Function(None, 1, 1, frozenset({"contrasts", "levels"})),
    "hashed": Function(None, 1, 1, frozenset({"levels"})),
    "center": _learning(0),
    "scale": _learning(0, "center", "scale", "ddof"),
    "standardize": _learning(0, "center", "rescale", "ddof"),
    "poly": _learning(1, "degree", "raw"),
    "bs": _learning(1, "df", "knots", "degree", "include_intercept", *_BOUNDS),
    "ns": _learning(1, "df", "knots", "include_intercept", *_BOUNDS[:2]),
    **{
        name: _learning(1, "df", "knots", "constraints", *_BOUNDS)  # of formulaic and of patsy
        for name in ("cc", "cr", "cs")
    },
    **{f"np.{name}": Function(None, getattr(np, name).nin) for name in _UFUNCS.split(" ")},
    "np.where": Function(None, 3),
    "np.clip": Function(None, 3),
}
"""By the name of a call."""

CONTRASTS: Mapping[str, frozenset[str]] = {
    "contr.treatment": frozenset({"base"}),
    "contr.sum": frozenset(),
    "contr.helmert": frozenset({"reverse", "scale"}),
    "contr.poly": frozenset({"scores"}),
    "contr.custom": frozenset({"names"}),
    "contr.SAS": frozenset({"base"}),
    "contr.diff": frozenset({"backward"}),
    "Treatment": frozenset({"reference"}),
    "Sum": frozenset(),
    "Helmert": frozenset({"reverse", "scale"}),
    "Poly": frozenset({"scores"}),
    "Diff": frozenset({"backward"}),
}
"""What may stand second in ``C()``, by itself or called, with the names of its settings."""

ROOTS = frozenset({"np", "contr"})  # what stands before a dot in the names above
CONSTANTS: Mapping[str, float] = {"pi": math.pi, "Inf": math.inf}
SPELLINGS: Mapping[str, str] = {
    "factor": "C",
    "as.factor": "C",
    **{
        f"as.{kind}": f"as_{kind}"
        for kind in ("numeric", "double", "integer", "character", "ordered")
    },
}
"""Functions of R whose names Python does not take, and what they are called there."""
# What formulaic is given beside its own functions.
FOR_FORMULAIC: Mapping[str, Any] = {
    **{name: each.call for name, each in FUNCTIONS.items() if each.call is not None},
    "c": lambda *values: list(values),
    **CONSTANTS,
}
# How else the functions of R are said that are not there.
INSTEAD: Mapping[str, str] = {
    "s": "the curve s(x) is a term of the sum by itself, and s(x, by=z) is z times one",
    "as.logical": "I(x > 0) is 1 where x is above 0",
    "is.na": "make the column beforehand, by pandas.isna",
    "lag": "what a row gets would depend on its neighbours: make the column beforehand",
    "Q": "write `my column` in backticks",
    "mean": "center(x) is x less its mean, which new rows keep",
    "sd": "scale(x) is in standard deviations, which new rows keep",
    "std": "scale(x) is in standard deviations, which new rows keep",
    "np.mean": "center(x) is x less its mean, which new rows keep",
    "np.std": "scale(x) is in standard deviations, which new rows keep",
}
