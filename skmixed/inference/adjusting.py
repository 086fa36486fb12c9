"""Comparisons of every two of several means, allowing for their number."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from skmixed.core.layout import FloatArray
from skmixed.inference.testing import t_quantiles

Adjustment = Literal["tukey", "bonferroni", "holm"]

_NOTES = {
    None: "p-values and intervals are not adjusted for their number.",
    "tukey": "p-values and intervals: Tukey's method for {n_means} means.",
    "bonferroni": "p-values and intervals: Bonferroni's method for {n_pairs} comparisons.",
    "holm": "p-values: Holm's method for {n_pairs} comparisons; intervals: Bonferroni's.",
}
_INFINITE_DF = 1e5  # from here on scipy takes the studentized range for that of infinitely many


def adjusted_pairs(
    frame: pd.DataFrame, n_means: int, level: float, adjust: Adjustment | None
) -> tuple[pd.DataFrame, str]:
    """Adjust p-values of differences, add their intervals, and say so in a note.

    `frame` has estimate, std_error, df, statistic and p_value of every difference between two of
    `n_means` means; those whose p-value is NaN do not count. `level` is the probability that all
    intervals hold; without an adjustment, that each does. Raises ValueError for an unknown method.
    """
    if adjust not in _NOTES:
        allowed = ", ".join(repr(name) for name in _NOTES)
        raise ValueError(f"adjust={adjust!r} is not one of {allowed}")
    df = frame["df"].to_numpy(dtype=float)
    p_value = frame["p_value"].to_numpy(dtype=float)
    known = np.isfinite(p_value)
    n_pairs = int(known.sum())
    quantile = t_quantiles(level if adjust is None else 1.0 - (1.0 - level) / max(n_pairs, 1), df)
    if adjust == "tukey":
        finite = np.minimum(df, _INFINITE_DF)
        spread = np.sqrt(2.0) * np.abs(frame["statistic"].to_numpy(dtype=float))
        p_value = np.asarray(stats.studentized_range.sf(spread, n_means, finite))
        quantile = np.asarray(stats.studentized_range.isf(1.0 - level, n_means, finite))
        quantile = quantile / np.sqrt(2.0)
    elif adjust == "bonferroni":
        p_value = np.minimum(n_pairs * p_value, 1.0)
    elif adjust == "holm":
        p_value = _holm(p_value)
    half = quantile * frame["std_error"]
    lower, upper = frame["estimate"] - half, frame["estimate"] + half
    note = _NOTES[adjust].format(n_means=n_means, n_pairs=n_pairs)
    return frame.assign(p_value=p_value, lower=lower, upper=upper), note


def _holm(p_value: FloatArray) -> FloatArray:
    """Return the p-values of Holm's step-down method; NaN stays and does not count."""
    result = np.full(len(p_value), np.nan)
    order = np.argsort(p_value)[: int(np.isfinite(p_value).sum())]
    steps = np.arange(len(order), 0, -1) * p_value[order]
    result[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return result
