"""Models from whole lme4 formulas."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.design.expressions import uses_all_columns, variables
from skmixed.design.formula import evaluate_expression
from skmixed.design.syntax import FormulaParts, RandomTerm, split_formula
from skmixed.design.tables import is_frame, to_pandas
from skmixed.estimators.linear import MixedLinearRegressor

# What the formula and the arguments of R decide already, and where.
_DECIDED = {
    "method": "write reml=True or reml=False",
    "REML": "write reml=True or reml=False",
    "random": "write the random terms into the formula",
    "fixed": "write the fixed part into the formula",
    "groups": "name the grouping columns in the formula",
    "weighting": "weights are inverse variances, as in R; frequencies are the `sample_weight` of "
    "MixedLinearRegressor",
    "sample_weight": "write weights=...",
}


def lmer(
    formula: str,
    data: Any,
    *,
    reml: bool = True,
    weights: Any = None,
    na_action: Literal["drop", "raise"] = "drop",
    **params: Any,
) -> MixedLinearRegressor:
    """Fit a linear mixed model from an lme4 formula and a data frame.

    Parameters
    ----------
    formula : str
        Such as ``"extro ~ open + agree + (1 + open | school/class)"``. Without a bar it is an
        ordinary linear model.
    data : data frame
        Of pandas, polars, pyarrow or another library narwhals reads.
    reml : bool, default=True
        Restricted instead of full maximum likelihood.
    weights : str or array-like of shape (n,), default=None
        Prior weights as in R: the residual variance of a row is sigma^2 / weight. A string is an
        expression in the columns.
    na_action : {"drop", "raise"}, default="drop"
        Leave rows with missing values out and count them in ``n_dropped_``, or raise.
    **params
        Further parameters of `MixedLinearRegressor`.

    Returns
    -------
    MixedLinearRegressor
        Fitted, with attributes ``formula_`` and ``n_dropped_``. Its `predict` takes data frames
        that have the columns of the right-hand side.

    Raises
    ------
    FormulaSyntaxError
        If the formula cannot be read; the message points at the place.
    TypeError
        For parameters that the formula or `reml` decides, and data that is no data frame.
    ValueError
        For a formula without a response, columns that are not there, and, with
        na_action="raise", missing values.

    See Also
    --------
    MixedLinearRegressor : The estimator behind it.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> round(model.criterion_, 4)
    1743.6283
    """
    for name, instead in _DECIDED.items():
        if name in params:
            raise TypeError(f"lmer takes no {name!r}: {instead}")
    if na_action not in ("drop", "raise"):
        raise ValueError(f"na_action={na_action!r} is not 'drop' or 'raise'")
    parts = split_formula(formula)
    if parts.response is None:
        raise ValueError(f"the formula {formula!r} has no response: write 'y ~ ...'")
    table = _labelled(data)
    weights = _read_weights(weights, table)
    right = _right_columns(parts, list(table.columns))
    complete = _complete_rows(
        table, [*variables(parts.response, table.columns), *right], weights, na_action
    )
    n_dropped = int((~complete).sum())
    table = table.loc[complete]
    response = evaluate_expression(parts.response, table)
    model = MixedLinearRegressor(
        random=_random_text(parts.random),
        fixed=_fixed_text(parts),
        method="reml" if reml else "ml",
        weighting="precision",
        **params,
    )
    model.fit(table[right], response, None if weights is None else weights[complete])
    model._fitted = replace(model._state(), text=formula, n_dropped=n_dropped)
    return model


def _labelled(data: Any) -> pd.DataFrame:
    """Return the data with names that are text; TypeError if it is no data frame."""
    if not is_frame(data):
        raise TypeError(f"data is a {type(data).__name__}; a formula needs a data frame")
    table = to_pandas(data)
    return table.set_axis([str(name) for name in table.columns], axis=1)


def _read_weights(weights: Any, table: pd.DataFrame) -> NDArray[np.float64] | None:
    """Return weights, (n,), of an array or an expression, NaN where it has missing values."""
    if weights is None:
        return None
    if isinstance(weights, str):
        needed = list(variables(weights, table.columns))
        values = np.full(len(table), np.nan)
        complete = table[needed].notna().all(axis=1).to_numpy()
        values[complete] = evaluate_expression(weights, table.loc[complete])
        return values
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (len(table),):
        raise ValueError(f"weights has shape {values.shape}; data has {len(table)} rows")
    return values


def _right_columns(parts: FormulaParts, columns: list[str]) -> list[str]:
    """Return the columns of the data that the right-hand side needs."""
    response = variables(parts.response or "", columns) if parts.response else ()
    if uses_all_columns(parts.fixed):
        return [name for name in columns if name not in response]
    slopes = [slope for term in parts.random for slope in term.slopes]
    named = [
        name
        for expression in (parts.fixed, *slopes, *parts.offsets)
        for name in variables(expression, columns)
    ]
    groups = [name for term in parts.random for name in term.group]
    missing = [name for name in dict.fromkeys(groups) if name not in columns]
    if missing:
        raise ValueError(
            f"grouping columns {missing} are not there: data has the columns {columns}"
        )
    wanted = {*named, *groups}
    return [name for name in columns if name in wanted]


def _complete_rows(
    table: pd.DataFrame,
    columns: list[str],
    weights: NDArray[np.float64] | None,
    na_action: str,
) -> NDArray[np.bool_]:
    """Tell which rows have neither missing values nor missing weights, (n,).

    Raises ValueError for any other if na_action="raise", and if no row is complete.
    """
    complete = table[list(dict.fromkeys(columns))].notna().all(axis=1).to_numpy()
    if weights is not None:
        complete = complete & ~np.isnan(weights)
    if na_action == "raise" and not complete.all():
        raise ValueError(
            f"{int((~complete).sum())} rows have missing values, the first is row "
            f"{int(np.argmin(complete))}; na_action='drop' leaves them out"
        )
    if not complete.any():
        raise ValueError("no row is complete: every one has a missing value")
    return np.asarray(complete)


def _random_text(terms: tuple[RandomTerm, ...]) -> str | None:
    """Write the random terms as the parameter `random`."""
    bars = [f"({term.expression} | {':'.join(map(_quoted, term.group))})" for term in terms]
    return " + ".join(bars) or None


def _quoted(name: str) -> str:
    """Return a name as formulas take it, in backticks unless it is syntactic."""
    return name if re.fullmatch(r"[A-Za-z_.][\w.]*", name) else f"`{name}`"


def _fixed_text(parts: FormulaParts) -> str:
    """Write the fixed part and the offsets as the parameter `fixed`."""
    return " + ".join([parts.fixed, *(f"offset({offset})" for offset in parts.offsets)])
