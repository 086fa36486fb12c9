"""Columns of text in arrays that should hold numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np


def refuse_text(X: Any, positions: Iterable[int] | None = None, *, fitting: bool) -> None:
    """Raise ValueError for columns of an array that hold text, saying what to do with them.

    X is an array whose values could not be read as numbers; `positions` are those that should be
    numeric, None for all. Text that spells a number does not count.
    """
    try:
        values = np.asarray(X, dtype=object)
    except ValueError:  # rows of unequal length
        return
    if values.ndim != 2:
        return
    places = range(values.shape[1]) if positions is None else positions
    found = [place for place in places if any(map(_is_word, values[:, place]))]
    if not found:
        return
    remedy = ", which were numbers in fit"
    if fitting:
        remedy = (
            ". Encode them or, if they are grouping columns, name their positions: "
            f"group_features={found}. If that was done, a meta-estimator handed on some of the "
            "columns only, which shifts positions: let it keep all of them"
        )
    raise ValueError(
        f"X is an array with text in the columns at positions {found}{remedy}"
    ) from None


def _is_word(value: Any) -> bool:
    """Tell whether a value is text that does not spell a number."""
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False
