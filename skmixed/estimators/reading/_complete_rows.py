"""Complete rows, and results padded with NaN for the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd

from skmixed.core.linalg import BoolArray, FloatArray
from skmixed.design.values import complete_rows
from skmixed.estimators._estimator import check_choice
from skmixed.estimators.reading._chosen_effects import ChosenEffects
from skmixed.estimators.reading._input_table import InputTable, pick_rows, read_groups

MissingRows = Literal["raise", "nan"]


def leaves_gaps(fitted: Any, missing: MissingRows | None) -> bool:
    """Tell whether rows with missing values give NaN results rather than an error.

    None is as a model was fitted. Raises ValueError for another word, and for NaN of an estimator
    that takes another learner's predictions.
    """
    if missing is None:
        return bool(getattr(fitted, "excludes_missing", False))
    if missing == "nan" and not hasattr(fitted, "excludes_missing"):
        raise ValueError(
            "missing='nan' is available for mixed models only; f handles missing values in its "
            "own way, and histogram-based boosting accepts them"
        )
    check_choice("missing", missing, ("raise", "nan"))
    return missing == "nan"


@dataclass(frozen=True, slots=True, eq=False)
class CompleteRows:
    """Rows with their missing values located."""

    table: InputTable  # X
    others: tuple[Any, ...]  # y, weights or groups, (n,) each, None where they are not given
    complete: BoolArray  # (n,)

    @classmethod
    def to_predict(
        cls, fitted: Any, X: Any, groups: Any, random: str | Sequence[str] = "all"
    ) -> CompleteRows:
        """Find the rows that can be predicted, a missing label being an unknown level."""
        table = InputTable.of(X)
        names = _needed(fitted, table, random) - set(fitted.columns.groups)
        return cls(table, (groups,), _complete(table, names))

    @classmethod
    def of_fit(cls, fitted: Any, X: Any, y: Any, sample_weight: Any, groups: Any) -> CompleteRows:
        """Find the rows that a fit would have used."""
        table = InputTable.of(X)
        complete = _complete(table, _needed(fitted, table, "all") | set(fitted.columns.groups))
        given = {} if groups is None else read_groups(groups)
        for values in (y, sample_weight, *given.values()):
            if values is not None:
                missing = np.asarray(pd.isna(np.asarray(values, dtype=object)))
                complete &= ~missing.reshape(len(complete), -1).any(axis=1)
        return cls(table, (y, sample_weight, groups), complete)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """X and what else was given, of the complete rows."""
        chosen = np.flatnonzero(self.complete)
        others = [None if each is None else pick_rows(each, chosen) for each in self.others]
        return self.table.take(chosen).values, *others

    def spread(self, find: Callable[..., Any], *, n_columns: int = 0, n_results: int = 1) -> Any:
        """Call a function with the complete rows, and pad its results with NaN.

        It returns arrays of shape (m,), or (m, n_columns), one or several.
        """
        if self.complete.all():
            return find(self.table.values, *self.others)
        shape = (0, n_columns) if n_columns else (0,)
        found: Any = np.empty(shape) if n_results == 1 else (np.empty(shape),) * n_results
        if self.complete.any():
            found = find(*self.arguments)
        if n_results == 1:
            return self._spread(found)
        return tuple(self._spread(each) for each in found)

    def predicted(self, predict: Callable[..., Any], **settings: Any) -> Any:
        """Return the predictions of a regressor for complete rows, NaN for the others."""
        return self.spread(
            partial(predict, **settings),
            n_columns=3 if settings.get("interval") is not None else 0,
            n_results=2 if settings["return_std"] else 1,
        )

    def _spread(self, found: FloatArray) -> FloatArray:
        result = np.full((len(self.complete), *found.shape[1:]), np.nan)
        result[self.complete] = found
        return result


def _needed(fitted: Any, table: InputTable, random: str | Sequence[str]) -> set[str]:
    """Return the names of the columns of X without which a row has no prediction."""
    design, columns = fitted.design, fitted.columns
    chosen = ChosenEffects.of(random, design, list(fitted.n_groups))
    factors = [
        place
        for place, factor in enumerate(design.grouping.factors)
        if factor.index.is_whole or factor.index.name in chosen.factors
    ]
    needed = design.needed(factors).difference(chosen.left_out(design))
    names = set() if columns.by_formula else {columns.names[place] for place in columns.numeric}
    names |= design.variables_of(needed, table.names)
    names |= set() if columns.exposure is None else {columns.exposure}
    return names | set(getattr(fitted, "inputs", ()))


def _complete(table: InputTable, names: set[str]) -> BoolArray:
    """Tell which rows have no missing value in some columns, those of X among them, (n,)."""
    columns = (pd.Series(table.pandas[name]) for name in names.intersection(table.names))
    return complete_rows(columns, table.n_rows)
