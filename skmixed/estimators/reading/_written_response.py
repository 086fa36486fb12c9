"""Response and weights that a complete formula names, read from data after the fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.design.formula import evaluate_expression
from skmixed.design.grammar.expressions import variables
from skmixed.design.grammar.permitted import check_context
from skmixed.design.records import stored
from skmixed.design.values import complete_rows
from skmixed.estimators.reading._input_table import InputTable


@stored
@dataclass(frozen=True, slots=True)
class WrittenResponse:
    """Left-hand side of a complete formula, and its weights, as expressions."""

    parts: tuple[str, ...]  # the response, or hits and misses of ``cbind``
    columns: tuple[str, ...]  # those that these name
    kind: str = "numbers"  # or "outcomes", where two categories will do, or "categories"
    weights: str | None = None  # expression
    weighing: tuple[str, ...] = ()  # the columns that it names
    has_array: bool = False  # whether weights came as an array, which no expression tells
    is_replaced: bool = False  # whether the model was refitted to another response

    @property
    def is_weighted(self) -> bool:
        """Whether expressions determine weights, including numbers of trials."""
        return len(self.parts) == 2 or self.weights is not None

    def read(
        self, X: Any, y: Any, sample_weight: Any, context: Mapping[str, Any] | None
    ) -> tuple[Any, Any]:
        """Return y and weights, (n,) each: those that are not given are read from X.

        Rows with missing values have NaN. Raises ValueError for columns that are not there, and for
        weights that the formula does not tell.
        """
        if y is None and self.is_replaced:
            raise ValueError(
                "the model was refitted to another response than its formula names: pass y"
            )
        if y is None and sample_weight is None and self.has_array:
            raise ValueError(
                "the weights of this model were given as an array, which it does not keep: pass "
                "sample_weight, or fit with weights='an expression in the columns'"
            )
        if sample_weight is None and self.is_weighted:
            sample_weight = self.weights_of(X, context)
        return (self._response(X, context) if y is None else y), sample_weight

    def weights_of(self, X: Any, context: Mapping[str, Any] | None) -> FloatArray:
        """Return weights, (n,): trials of ``cbind``, times any other weights."""
        has_trials = len(self.parts) == 2
        use = f"{'numbers of trials' if has_trials else 'weights'}: pass sample_weight"
        if self.has_array:
            raise ValueError(f"weights given as an array are part of the {use}")
        columns = (*(self.columns if has_trials else ()), *self.weighing)
        rows = _NamedRows.of(X, columns, use, context)
        found = np.ones(rows.table.n_rows)
        if has_trials:
            found = rows.numbers(self.parts[0]) + rows.numbers(self.parts[1])
        return found if self.weights is None else found * rows.numbers(self.weights)

    def _response(self, X: Any, context: Mapping[str, Any] | None) -> Any:
        rows = _NamedRows.of(X, self.columns, "response: pass y", context)
        first = self.parts[0]
        if self.kind == "categories":
            name = first.strip("`")
            names = rows.table.names
            return rows.table.pandas_of([name])[name] if name in names else rows.numbers(first)
        if len(self.parts) == 1:
            return rows.numbers(first, has_outcomes=self.kind == "outcomes")
        hits = rows.numbers(first)
        total = hits + rows.numbers(self.parts[1])
        return proportions(hits, total)

    def tells_weights(self, X: Any) -> bool:
        """Tell whether X has all columns from which weights are computed."""
        table = X if isinstance(X, InputTable) else InputTable.of_frame(X)
        columns = (*(self.columns if len(self.parts) == 2 else ()), *self.weighing)
        is_told = self.is_weighted and not self.has_array
        return is_told and table is not None and set(columns) <= set(table.names)

    def hint(self) -> str:
        """Describe y and weights of ``cbind`` for messages; empty for others."""
        if len(self.parts) == 1:
            return ""
        hits, misses = self.parts
        trials, _, subtracted = misses.rpartition("-")
        if subtracted.strip() != hits:
            trials = f"({hits} + {misses})"
        trials = trials.strip()
        return (
            f". For cbind({hits}, {misses}) they are proportions and trials, y = {hits} / "
            f"{trials} and sample_weight = {trials}; without y both are read from X"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _NamedRows:
    """A data frame with the columns that expressions name."""

    table: InputTable
    context: Mapping[str, Any]

    @classmethod
    def of(
        cls, X: Any, columns: Sequence[str], use: str, context: Mapping[str, Any] | None
    ) -> _NamedRows:
        """Look the columns up that are of some use. Raises ValueError where they are not there."""
        table = X if isinstance(X, InputTable) else InputTable.of_frame(X)
        if table is None or not table.is_named:
            came_as = type(X).__name__ if table is None else table.came_as
            raise ValueError(
                f"X is not a data frame but {came_as}, and the formula of the model reads the "
                f"columns {list(columns)}, its {use}"
            )
        missing = [name for name in columns if name not in table.names]
        if missing:
            raise ValueError(
                f"X has no columns {missing}, from which the formula of the model computes its "
                f"{use}"
            )
        return cls(table, check_context(context))

    def numbers(self, expression: str, *, has_outcomes: bool = False) -> FloatArray:
        """Evaluate an expression, (n,), NaN in rows with missing values."""
        names = list(variables(expression, self.table.names))
        table = self.table.pandas_of(names)[names]
        complete = complete_rows((table[name] for name in table), len(table))
        found = np.full(len(table), np.nan)
        if complete.any():
            found[complete] = evaluate_expression(
                expression,
                table.loc[complete],
                self.table.names,
                self.context,
                has_outcomes=has_outcomes,
            )
        return found


def proportions(successes: FloatArray, trials: FloatArray) -> FloatArray:
    """Return successes over trials, (n,): 0 of no trials, NaN where these are missing."""
    found = np.where(np.isnan(trials), np.nan, 0.0)
    return np.divide(successes, trials, out=found, where=trials > 0.0)
