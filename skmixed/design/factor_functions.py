"""R's functions of factors in formulas: ``cut``, ``relevel``, ``interaction``, ``as.numeric`` ...

What they find out about a whole column, breaks and levels, they keep for new rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.linalg import FloatArray
from skmixed.design.wording import first_values, row_numbers

_MOST_DIGITS = 12  # of a label of cut(), as in R
_CUT_BEYOND = 1e-3  # of the range: so far R's cut() goes beyond what it divides

State = dict[str, Any]


def factor_functions(formulaic: Any) -> Mapping[str, Callable[..., Any]]:
    """Return the functions as formulaic calls them, each with the state that it keeps."""
    keeping = formulaic.utils.stateful_transforms.stateful_transform
    values = formulaic.materializers.types.FactorValues

    def dummy(x: Any, levels: Any = None, *, _state: Any = None) -> Any:
        columns = _dummies(_levels_kept(x, _state), x, levels)
        if len(columns) == 1 and levels is not None:
            return next(iter(columns.values()))
        return values(columns, kind="numerical", format="{name}[{field}]", encoded=False)

    return {
        "dummy": keeping(dummy),
        "cut": keeping(cut),
        "relevel": keeping(relevel),
        "ordered": keeping(ordered),
        "as_ordered": keeping(ordered),
        "as_numeric": keeping(as_numeric),
        "as_double": keeping(as_numeric),
        "as_integer": keeping(as_integer),
        "as_character": as_character,
        "interaction": interaction,
        "ifelse": ifelse,
    }


def levels_of(x: Any) -> list[Any]:
    """Return the levels of a column that occur, sorted or in the order of its categories."""
    column = pd.Series(x)
    if isinstance(column.dtype, pd.CategoricalDtype):
        return list(column.cat.remove_unused_categories().cat.categories)
    found: list[Any] = pd.unique(column).tolist()
    return sorted(found)


def _levels_kept(x: Any, state: State) -> list[Any]:
    """Return the levels that were learned."""
    levels: list[Any] = state.setdefault("levels", levels_of(x))
    return levels


def _named_level(levels: Sequence[Any], name: Any, function: str) -> Any:
    """Return the level of a name. Raises ValueError if there is none."""
    for level in levels:
        if level == name or _text(level) == _text(name):
            return level
    raise ValueError(f"{function}() names the level {name!r}; there are {first_values(levels)}")


def relevel(x: Any, ref: Any, *, _state: Any = None) -> pd.Categorical:
    """Return categories of which one is the first, the reference."""
    levels = _levels_kept(x, _state)
    first = _named_level(levels, ref, "relevel")
    return _categories(x, [first, *(level for level in levels if level != first)])


def ordered(x: Any, levels: Any = None, *, _state: Any = None) -> pd.Categorical:
    """Return categories in an order, whose contrasts are polynomial."""
    if "levels" not in _state and levels is not None:
        known = levels_of(x)
        _state["levels"] = [_named_level(known, level, "ordered") for level in levels]
    return _categories(x, _levels_kept(x, _state), ordered=True)


def _categories(x: Any, levels: Sequence[Any], *, ordered: bool = False) -> pd.Categorical:
    """Return a column as categories of these levels; others come last, to be refused."""
    others = [level for level in levels_of(x) if level not in levels]
    return pd.Categorical(np.asarray(x), categories=[*levels, *others], ordered=ordered)


def interaction(*factors: Any) -> Any:
    """Return combinations of levels as categories, ``a.b``; those of the first vary fastest."""
    texts = [np.array([_text(value) for value in pd.Series(each)], object) for each in factors]
    found = pd.Series([".".join(each) for each in zip(*texts, strict=True)], dtype=object)
    levels = [[_text(level) for level in levels_of(each)] for each in factors]
    every = [".".join(chosen[::-1]) for chosen in product(*levels[::-1])]
    known = set(found)
    return pd.Categorical(found, categories=[label for label in every if label in known])


def ifelse(test: Any, yes: Any, no: Any) -> Any:
    """Return one value or another by row, (n,); text makes categories."""
    found = np.where(np.asarray(test, dtype=bool), yes, no)
    return pd.Series(found, dtype=object) if found.dtype.kind == "U" else found


def as_character(x: Any) -> pd.Series[Any]:
    """Return values as text, numbers as R writes them."""
    return pd.Series([_text(value) for value in pd.Series(x)], dtype=object)


def _text(value: Any) -> str:
    """Write a level as R does: TRUE, and numbers with 15 digits at most."""
    if isinstance(value, bool | np.bool_):
        return "TRUE" if value else "FALSE"
    return f"{value:.15g}" if isinstance(value, int | float | np.number) else str(value)


def as_numeric(x: Any, *, _state: Any = None) -> FloatArray:
    """Return numbers: of categories those of their levels, of text what it says.

    Raises ValueError for text that is no number, and for levels that were not learned.
    """
    column = _marked(x)
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes = pd.Index(_levels_kept(column, _state)).get_indexer(np.asarray(column))
        if (codes < 0).any():
            unseen = pd.unique(column[codes < 0]).tolist()
            raise ValueError(f"as.numeric() has levels not seen in fitting: {first_values(unseen)}")
        return np.asarray(codes + 1.0)
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(np.isnan(numbers))
    if len(wrong):
        raise ValueError(
            f"as.numeric() has text that is no number in {row_numbers(wrong)}: "
            f"{column.iloc[wrong[0]]!r}"
        )
    return np.asarray(numbers)


def _marked(x: Any) -> pd.Series[Any]:
    """Return a column, categories where ``factor()`` made it some."""
    metadata = getattr(x, "__formulaic_metadata__", None)
    is_factor = getattr(getattr(metadata, "kind", None), "value", "") == "categorical"
    return pd.Series(x).astype("category") if is_factor else pd.Series(x)


def as_integer(x: Any, *, _state: Any = None) -> FloatArray:
    """Return the same without digits after the point."""
    return np.asarray(np.trunc(as_numeric(x, _state=_state)))


def _dummies(known: Sequence[Any], x: Any, levels: Any) -> dict[str, FloatArray]:
    """Return 0 and 1 for levels of a column, (n,) each: for those given, or all but the first."""
    given = [levels] if isinstance(levels, str | int | float) else levels
    if given is None:
        chosen = list(known[1:])
    else:
        chosen = [_named_level(known, level, "dummy") for level in given]
    column = pd.Series(x).astype(object)
    return {_text(level): (column == level).to_numpy(dtype=np.float64) for level in chosen}


def cut(
    x: Any,
    breaks: Any,
    labels: Any = None,
    *,
    include_lowest: bool = False,
    right: bool = True,
    dig_lab: int = 3,
    ordered_result: bool = False,
    _state: Any = None,
) -> Any:
    """Divide numbers, (n,), into intervals as R does; with labels=False into their numbers.

    Raises ValueError for breaks that are none, and for numbers outside of all intervals.
    """
    values = np.asarray(x, dtype=np.float64)
    if "breaks" not in _state:
        _state["breaks"] = _breaks(values, breaks)
    found = np.asarray(_state["breaks"], dtype=np.float64)
    codes = np.searchsorted(found, values, side="left" if right else "right") - 1
    if include_lowest:
        codes[values == found[0 if right else -1]] = 0 if right else len(found) - 2
    outside = np.flatnonzero((codes < 0) | (codes >= len(found) - 1))
    if len(outside):
        raise ValueError(
            f"cut() has intervals from {found[0]:g} to {found[-1]:g}, and "
            f"{row_numbers(outside)} lie outside, such as {values[outside[0]]:g}: give breaks that "
            "hold all rows, as c(-Inf, 0, Inf), or include.lowest=TRUE"
        )
    if labels is False:
        return codes + 1.0
    texts = _interval_labels(found, right, include_lowest, dig_lab) if labels is None else labels
    if len(texts) != len(found) - 1 or len(set(texts)) < len(texts):
        raise ValueError(
            f"cut() has {len(found) - 1} intervals, and needs as many labels, all different"
        )
    used = _state.setdefault("used", np.unique(codes).tolist())
    seen = [texts[code] for code in used]
    others = [texts[code] for code in np.unique(codes) if code not in used]
    categories = [*seen, *others]
    return pd.Categorical([texts[code] for code in codes], categories, ordered=bool(ordered_result))


def _breaks(values: FloatArray, breaks: Any) -> list[float]:
    """Return the ends of intervals, (n + 1,): those given, or of so many of one width."""
    if isinstance(breaks, list | tuple):
        found = sorted(float(each) for each in breaks)
        if len(found) < 2 or len(set(found)) < len(found):
            raise ValueError("cut() needs breaks that differ, two or more")
        return found
    if isinstance(breaks, bool) or int(breaks) != breaks or breaks < 2:
        raise ValueError(f"cut() takes a number of intervals, 2 or more, or their ends: {breaks!r}")
    low, high = float(values.min()), float(values.max())
    if low == high:
        beyond = abs(low) * _CUT_BEYOND
        ends = np.linspace(low - beyond, high + beyond, int(breaks) + 1)
    else:
        beyond = (high - low) * _CUT_BEYOND
        ends = np.linspace(low, high, int(breaks) + 1)
        ends[0], ends[-1] = low - beyond, high + beyond
    return [float(each) for each in ends]


def _interval_labels(
    breaks: FloatArray, right: bool, include_lowest: bool, digits: int
) -> list[str]:
    """Return the labels of intervals, with as many digits as tell their ends apart."""
    for n_digits in range(int(digits), max(_MOST_DIGITS, int(digits)) + 1):
        ends = [_end(each, n_digits) for each in breaks]
        if all(first != second for first, second in pairwise(ends)):
            break
    left, last = ("(", "]") if right else ("[", ")")
    found = [f"{left}{first},{second}{last}" for first, second in pairwise(ends)]
    if include_lowest and right:
        found[0] = f"[{found[0][1:]}"
    elif include_lowest:
        found[-1] = f"{found[-1][:-1]}]"
    return found


def _end(value: float, digits: int) -> str:
    """Write an end as R's ``formatC(digits=, width=1)`` does."""
    if np.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return f"{value:.{digits}g}"
