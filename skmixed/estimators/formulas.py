"""Models from whole lme4 formulas."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.design.design import Formulas
from skmixed.design.expressions import uses_all_columns, variables
from skmixed.design.formula import arithmetic_terms, evaluate_expression
from skmixed.design.permitted import check_context
from skmixed.design.syntax import FormulaParts, RandomTerm, split_formula
from skmixed.design.values import find_missing, refuse_dates
from skmixed.estimators._reading import InputTable
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
    context: Mapping[str, Any] | None = None,
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
    context : dict of str to object, default=None
        Functions and values of your own that `formula` and `weights` may name, ``{"f": f}`` for
        ``f(x)``. Without it both hold columns, numbers, text, operators and known functions only,
        and text from strangers runs no code (:doc:`what is safe </guide/security>`).
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
        For a formula without a response, columns that are not there, what formulas may not hold,
        a ``.`` that would stand for a grouping column too, and, with na_action="raise", missing
        values.

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
    given = InputTable.of_frame(data)
    if given is None:
        raise TypeError(f"data is a {type(data).__name__}; a formula needs a data frame")
    names, known = given.names, check_context(context)
    right = _right_columns(parts, names)
    _read_all(parts, weights, names, known)
    left = variables(parts.response, names)
    weighing = variables(weights, names) if isinstance(weights, str) else ()
    used = {*right, *left, *weighing}
    _refuse_repeated(names, used)
    table = given.pandas_of(used)
    weights = _read_weights(weights, table, names, known)
    complete = _complete_rows(table, {*left, *right}, weights, na_action)
    n_dropped = int((~complete).sum())
    if n_dropped:
        table = table.loc[complete]
        weights = None if weights is None else weights[complete]
    response = evaluate_expression(parts.response, table, names, known)
    model = MixedLinearRegressor(
        random=_random_text(parts.random),
        fixed=_fixed_text(parts),
        context=context,
        method="reml" if reml else "ml",
        weighting="precision",
        **params,
    )
    features = [name for name in table.columns if name in right]
    if uses_all_columns(parts.fixed) or "group_features" in params:
        table = table[features]
    state = model.fit(table, response, weights)._state()
    model._fitted = replace(
        state,
        columns=replace(state.columns, names=tuple(features)),
        n_features_in=len(features),
        feature_names_in=np.array(features, dtype=object) if features else None,
        text=formula,
        n_dropped=n_dropped,
    )
    return model


def _read_all(
    parts: FormulaParts, weights: Any, names: tuple[str, ...], context: Mapping[str, Any]
) -> None:
    """Read all formulas before any is evaluated. Raises ValueError for what is refused."""
    response = str(parts.response)
    arithmetic_terms(response, names, frozenset(context))
    if isinstance(weights, str):
        arithmetic_terms(weights, names, frozenset(context))
    # For R a dot is every column but those of the response.
    every = tuple(name for name in names if name not in variables(response, names))
    formulas = Formulas(names, (), context, every)
    formulas.read(parts, parts.random)
    if not uses_all_columns(parts.fixed):
        return
    groups = dict.fromkeys(name for term in parts.random for name in term.group)
    used = set(chain.from_iterable(formulas.read_fixed(parts).keys))
    meant = [name for name in groups if {name, f"`{name}`"} & used]
    if meant:
        raise ValueError(
            f"in R '.' stands for the grouping columns {meant}, too: write "
            f"'. - {' - '.join(map(_quoted, meant))}' if they are to be left out of the fixed part"
        )


def _refuse_repeated(names: tuple[str, ...], used: Collection[str]) -> None:
    """Raise ValueError for columns of one name that a formula uses."""
    repeated = sorted(name for name in used if names.count(name) > 1)
    if repeated:
        raise ValueError(
            f"data has several columns of the name {' and of the name '.join(map(repr, repeated))}"
            ", which the formula uses: give each its own"
        )


def _missing(table: pd.DataFrame, names: Collection[str]) -> dict[str, NDArray[np.bool_]]:
    """Tell which rows have a missing value, (n,), of every column that has any."""
    found = {name: find_missing(table[name]) for name in names}
    return {
        name: np.asarray(rows) for name, rows in found.items() if rows is not None and rows.any()
    }


def _read_weights(
    weights: Any, table: pd.DataFrame, names: tuple[str, ...], context: Mapping[str, Any]
) -> NDArray[np.float64] | None:
    """Return weights, (n,), of an array or an expression, NaN where it has missing values."""
    if weights is None:
        return None
    if isinstance(weights, str):
        values = np.full(len(table), np.nan)
        missing = _missing(table, variables(weights, names))
        complete = ~np.logical_or.reduce([np.zeros(len(table), dtype=bool), *missing.values()])
        values[complete] = evaluate_expression(weights, table.loc[complete], names, context)
        return values
    refuse_dates(weights, "weights")
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (len(table),):
        raise ValueError(f"weights has shape {values.shape}; data has {len(table)} rows")
    return values


def _right_columns(parts: FormulaParts, columns: tuple[str, ...]) -> set[str]:
    """Return the columns of the data that the right-hand side needs."""
    response = variables(parts.response or "", columns) if parts.response else ()
    if uses_all_columns(parts.fixed):
        return set(columns).difference(response)
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
            f"grouping columns {missing} are not there: data has the columns {list(columns)}"
        )
    return {*named, *groups}


def _complete_rows(
    table: pd.DataFrame,
    names: Collection[str],
    weights: NDArray[np.float64] | None,
    na_action: str,
) -> NDArray[np.bool_]:
    """Tell which rows have neither missing values nor missing weights, (n,).

    Raises ValueError for any other if na_action="raise", and if no row is complete.
    """
    if not len(table):
        raise ValueError("data has no rows")
    missing = _missing(table, names)
    if weights is not None and np.isnan(weights).any():
        missing["weights"] = np.isnan(weights)
    complete = ~np.logical_or.reduce([np.zeros(len(table), dtype=bool), *missing.values()])
    where = ", ".join(f"{int(rows.sum())} in {name!r}" for name, rows in sorted(missing.items()))
    if na_action == "raise" and missing:
        raise ValueError(
            f"{int((~complete).sum())} rows have missing values, the first is row "
            f"{int(np.argmin(complete))}; there are {where}; na_action='drop' leaves them out"
        )
    if not complete.any():
        raise ValueError(f"no row is complete: every one has a missing value, {where}")
    return complete


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
