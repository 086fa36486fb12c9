"""Rows of a data frame that a complete formula names, and the formula as parameters."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.linalg import FloatArray
from skmixed.design.column_collection import Formulas
from skmixed.design.formula import arithmetic_terms, evaluate_expression
from skmixed.design.grammar.covariances import structured_text
from skmixed.design.grammar.expressions import uses_all_columns, variables
from skmixed.design.grammar.permitted import check_context
from skmixed.design.grammar.random_part import RandomTerm
from skmixed.design.grammar.residual_terms import parse_residual
from skmixed.design.grammar.syntax import FormulaParts, split_formula
from skmixed.design.grammar.tokens import quoted
from skmixed.design.values import find_missing, refuse_dates
from skmixed.estimators.reading._columns import column_place
from skmixed.estimators.reading._input_table import InputTable
from skmixed.estimators.reading._written_response import WrittenResponse
from skmixed.exceptions import warn


@dataclass(frozen=True, slots=True, eq=False)
class FormulaRows:
    """Complete rows of a data frame that a complete formula names."""

    parts: FormulaParts
    text: str  # the formula as it was given
    names: tuple[str, ...]  # of all columns of the data
    features: tuple[str, ...]  # columns of the right-hand side, and that of exposures
    table: pd.DataFrame  # the columns that are named somewhere
    weights: NDArray[np.float64] | None  # (n,)
    n_dropped: int
    response: WrittenResponse  # the left-hand side, to be read again
    known: Mapping[str, Any]  # what formulas may name besides columns
    excludes_missing: bool  # whether results of incomplete rows are NaN

    @classmethod
    def read(
        cls,
        formula: str,
        data: Any,
        weights: Any,
        na_action: str,
        context: Mapping[str, Any] | None,
        exposure: str | None = None,
        *,
        residual: str | None = None,
        of_categories: bool = False,
    ) -> FormulaRows:
        """Read a formula and the rows of its data, as `lmer` documents.

        A response `of_categories` may stand in R's ``factor(...)`` or ``ordered(...)``.
        """
        if na_action not in ("drop", "exclude", "raise"):
            raise ValueError(f"na_action={na_action!r} is not 'drop', 'exclude' or 'raise'")
        parts = split_formula(formula)
        if parts.response is None:
            raise ValueError(f"the formula {formula!r} has no response: write 'y ~ ...'")
        if of_categories:
            inner = re.fullmatch(r"(?:as\.)?(?:factor|ordered)\s*\((.*)\)", parts.response.strip())
            parts = replace(parts, response=inner[1]) if inner else parts
        given = InputTable.of_frame(data)
        if given is None:
            raise TypeError(f"data is a {type(data).__name__}; a formula requires a data frame")
        names, known = given.names, check_context(context)
        right = _right_columns(parts, names)
        if exposure is not None:
            right.add(names[column_place(exposure, names, "exposure")])
        labels: tuple[str, ...] = ()
        if residual is not None:
            structure = parse_residual(residual)
            labels = structure.labels
            right |= {names[column_place(name, names, "residual")] for name in structure.columns}
        parts = _read_all(parts, weights, names, known, labels)
        left = {name for each in _responses(parts) for name in variables(each, names)}
        weighing = variables(weights, names) if isinstance(weights, str) else ()
        used = {*right, *left, *weighing}
        _refuse_repeated(names, used)
        table = given.pandas_of(used)
        weighed, weights = weights, _read_weights(weights, table, names, known)
        complete = _complete_rows(table, {*left, *right}, weights, na_action)
        n_dropped = int((~complete).sum())
        if n_dropped:
            table = table.loc[complete]
            weights = None if weights is None else weights[complete]
        features = tuple(name for name in table.columns if name in right)
        response = WrittenResponse(
            _responses(parts),
            tuple(sorted(left)),
            "categories" if of_categories else "numbers",
            weighed if isinstance(weighed, str) else None,
            tuple(weighing),
            weighed is not None and not isinstance(weighed, str),
        )
        return cls(
            parts,
            formula,
            names,
            features,
            table,
            weights,
            n_dropped,
            response,
            known,
            excludes_missing=na_action == "exclude",
        )

    def evaluate(self, expression: str, *, has_outcomes: bool = False) -> FloatArray:
        """Evaluate an expression on the left-hand side, (n,)."""
        return evaluate_expression(
            expression, self.table, self.names, self.known, has_outcomes=has_outcomes
        )

    def categories(self) -> Any:
        """Return the response as its labels, (n,): a column as it is, or numbers."""
        response = str(self.parts.response).strip()
        name = response.strip("`") if response.strip("`") in self.names else response
        return self.table[name] if name in self.names else self.evaluate(response)

    def trials(self, family: str) -> FloatArray | None:
        """Return successes and failures, (n, 2), of ``cbind``, None for others.

        Raises ValueError for another family than binomial, and for negative numbers.
        """
        both = _responses(self.parts)
        if len(both) == 1:
            return None
        if family != "binomial":
            raise ValueError(f"cbind(...) requires family 'binomial', not {family!r}")
        counts = np.column_stack([self.evaluate(each) for each in both])
        if (counts < 0.0).any():
            row = int(np.argmax((counts < 0.0).any(axis=1)))
            raise ValueError(f"{self.parts.response} has {counts[row].min():g} in row {row}")
        return counts

    def fit(self, model: Any, response: Any, weights: Any) -> None:
        """Fit an estimator to the rows."""
        table = self.table
        if uses_all_columns(self.parts.fixed) or model.group_features is not None:
            table = table[list(self.features)]
        state = model.fit(table, response, weights)._state()
        written = self.response
        if getattr(model, "family", None) == "binomial":
            written = replace(written, kind="outcomes")
        model._fitted = replace(
            state,
            columns=replace(state.columns, names=self.features),
            n_features_in=len(self.features),
            feature_names_in=np.array(self.features, dtype=object) if self.features else None,
            text=self.text,
            n_dropped=self.n_dropped,
            excludes_missing=self.excludes_missing,
            response=written,
        )


def _responses(parts: FormulaParts) -> tuple[str, ...]:
    """Return the expressions of the left-hand side: those in ``cbind(...)``, or one.

    Raises ValueError for ``cbind`` of other than two.
    """
    response = str(parts.response).strip()
    if not re.match(r"cbind\s*\(", response):
        return (response,)
    columns, depth, start = [], 0, response.index("(") + 1
    for place in range(start, len(response)):
        depth += (response[place] == "(") - (response[place] == ")")
        if depth == -1 or (depth == 0 and response[place] == ","):
            columns.append(response[start:place].strip())
            start = place + 1
    if len(columns) != 2 or not all(columns) or response[start:].strip():
        raise ValueError(f"{response!r} is not cbind(successes, failures), two columns of counts")
    return tuple(columns)


def _read_all(
    parts: FormulaParts,
    weights: Any,
    names: tuple[str, ...],
    context: Mapping[str, Any],
    labels: Collection[str],  # of a residual structure
) -> FormulaParts:
    """Read all formulas before any is evaluated. Raises ValueError for what is refused.

    A dot that stands for grouping columns, too, is written out; warns of it.
    """
    responses = _responses(parts)
    for response in responses:
        arithmetic_terms(response, names, frozenset(context))
    if isinstance(weights, str):
        arithmetic_terms(weights, names, frozenset(context))
    # For R a dot is every column but those of the response.
    left = {name for each in responses for name in variables(each, names)}
    every = tuple(name for name in names if name not in left)
    formulas = Formulas(names, (), context, every)
    formulas.read(parts, parts.random)
    if not uses_all_columns(parts.fixed):
        return parts
    groups = dict.fromkeys([*(name for term in parts.random for name in term.group), *labels])
    used = set(chain.from_iterable(formulas.read_fixed(parts).keys))
    meant = [name for name in groups if {name, f"`{name}`"} & used]
    if not meant:
        return parts
    warn(
        f"as in R, '.' includes the grouping columns {meant}, and with them as fixed effects "
        f"their random effects explain nothing: write '. - {' - '.join(map(quoted, meant))}' to "
        "exclude them",
        UserWarning,
    )
    keys = formulas.read_fixed(parts).keys
    terms = ["1" if () in keys else "0", *(":".join(key) for key in keys if key)]
    return replace(parts, fixed=" + ".join(terms))


def _refuse_repeated(names: tuple[str, ...], used: Collection[str]) -> None:
    """Raise ValueError for repeated column names that a formula uses."""
    repeated = sorted(name for name in used if names.count(name) > 1)
    if repeated:
        raise ValueError(
            "data has several columns of the name "
            f"{' and of the name '.join(map(repr, repeated))}, which the formula uses: give each "
            "a name of its own"
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
        raise ValueError(f"weights has shape {values.shape}, but data has {len(table)} rows")
    return values


def _right_columns(parts: FormulaParts, columns: tuple[str, ...]) -> set[str]:
    """Return the columns of the data that the right-hand side needs."""
    response = [name for each in _responses(parts) for name in variables(each, columns)]
    if uses_all_columns(parts.fixed):
        return set(columns).difference(response)
    slopes = [slope for term in parts.random for slope in term.slopes]
    smooths = [*parts.smooths, *(each for term in parts.random for each in term.smooths)]
    curves = [expression for smooth in smooths for expression in smooth.expressions]
    named = [
        name
        for expression in (parts.fixed, *slopes, *parts.offsets, *curves)
        for name in variables(expression, columns)
    ]
    groups = [name for term in parts.random for name in term.group]
    missing = [name for name in dict.fromkeys(groups) if name not in columns]
    if missing:
        raise ValueError(
            f"grouping columns {missing} do not exist: data has the columns {list(columns)}"
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
            f"{int(np.argmin(complete))}; there are {where}; na_action='drop' omits them"
        )
    if not complete.any():
        raise ValueError(f"no row is complete: every one has a missing value, {where}")
    return complete


def random_text(terms: tuple[RandomTerm, ...]) -> str | None:
    """Write random-effects terms as the parameter `random`."""
    bars = [
        structured_text(f"{term.left} | {_factor_text(term)}", term.covariance) for term in terms
    ]
    return " + ".join(bars) or None


def _factor_text(term: RandomTerm) -> str:
    return ":".join(map(quoted, term.group)) if term.members is None else term.name


def fixed_text(parts: FormulaParts) -> str:
    """Write fixed effects, smooth curves and offsets as the parameter `fixed`."""
    offsets = [f"offset({offset})" for offset in parts.offsets]
    return " + ".join([parts.fixed, *(smooth.text for smooth in parts.smooths), *offsets])
