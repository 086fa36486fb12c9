"""Levels of which a row belongs to several, as columns: what was learned of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from skmixed.core.elimination.crossed import check_memory
from skmixed.core.linalg import BoolArray, FloatArray
from skmixed.design.grammar.members import MembersTerm
from skmixed.design.records import stored
from skmixed.design.tables import UNKNOWN, Labels
from skmixed.design.values import are_other_kinds, kind_of
from skmixed.design.wording import list_rows

OTHERS = "others"  # what the column of all levels that are not known is called
_COPIES = 3  # of the columns at a time: themselves, the table of all columns, its shifted copy
_SHOWN = 3  # labels in an error: enough to see what is wrong


@stored
@dataclass(frozen=True, slots=True, eq=False)
class Membership:
    """The levels of several grouping columns, which share them.

    Every level is a column with the weights of rows in it. A further one, zero in all rows of a
    fit, is the length of the weights in levels that are not known: it has no estimated effect, and
    as much variance as these.
    """

    term: MembersTerm
    labels: Labels  # of all columns together

    @classmethod
    def learn(cls, term: MembersTerm, groups: Mapping[str, Any], n_rows: int) -> Membership:
        """Learn the levels that occur.

        Raises ValueError for missing labels and columns of other kinds of labels, and MemoryError
        where their columns would not fit into this machine.
        """
        parts = [Labels.learn(groups[name]) for name in term.groups]
        kinds = [kind_of(groups[name]) for name in term.groups]
        for name, (_, codes), kind in zip(term.groups, parts, kinds, strict=True):
            missing = np.flatnonzero(codes == UNKNOWN)
            if len(missing):
                raise ValueError(
                    f"Input groups contain NaN: grouping column {name!r} of {term.text} is missing "
                    f"in rows {list_rows(missing)}. Repeat another level of the row there, or give "
                    "it the weight 0"
                )
            if are_other_kinds(kinds[0], kind):
                raise ValueError(
                    f"the columns of {term.text} share their levels, but {term.groups[0]!r} holds "
                    f"{kinds[0]} and {name!r} {kind}"
                )
        distinct = [pd.Series(known.values) for known, _ in parts]
        labels, _ = Labels.learn(pd.concat(distinct, ignore_index=True))
        check_memory(
            8 * _COPIES * n_rows * len(labels),
            f"the {len(labels)} levels of {term.text} are a column each, which takes",
            ". Take coarser levels, or a sample of the rows",
        )
        return cls(term, labels)

    @property
    def size(self) -> int:
        """Number of columns."""
        return len(self.labels) + 1

    @property
    def column_labels(self) -> list[str]:
        """What every column is of, (n_columns,)."""
        return [*map(str, self.labels.values.tolist()), OTHERS]

    def columns(self, groups: Mapping[str, Any], n_rows: int) -> FloatArray:
        """Return the columns of rows, (n_rows, n_columns)."""
        weights = self.weights(groups, n_rows)
        found = np.zeros((n_rows, self.size))
        rows = np.arange(n_rows)
        for name, of_rows in zip(self.term.groups, weights.T, strict=True):
            codes = self._codes(name, groups, n_rows)
            np.add.at(found, (rows, codes), of_rows)  # the last column is that of UNKNOWN
        if found[:, UNKNOWN].any():
            _, others = self.with_others(groups, n_rows)
            found[:, UNKNOWN] = np.sqrt(others[:, len(self.labels) :].power(2).sum(axis=1)).ravel()
        return found

    def with_others(self, groups: Mapping[str, Any], n_rows: int) -> tuple[Labels, Any]:
        """Return weights of rows in known levels and others, a column each, sparsely.

        Labels of those others are returned, too. A row without labels is of others of its own.
        """
        weights, n_known = self.weights(groups, n_rows), len(self.labels)
        places = np.empty((n_rows, len(self.term.groups)), dtype=np.intp)
        given = [groups.get(name, np.full(n_rows, None)) for name in self.term.groups]
        for place, name in enumerate(self.term.groups):
            places[:, place] = self._codes(name, groups, n_rows)
        unknown = places == UNKNOWN
        named = np.column_stack([np.asarray(pd.Series(each), dtype=object) for each in given])
        others, codes = Labels.learn(pd.Series(named[unknown], dtype=object))
        nameless = codes == UNKNOWN
        codes[nameless] = len(others) + np.arange(int(nameless.sum()))
        places[unknown] = n_known + codes
        shape = (n_rows, n_known + int(codes.max(initial=-1)) + 1)
        rows = np.repeat(np.arange(n_rows), places.shape[1])
        entries = (weights.ravel(), (rows, places.ravel()))
        return others, sparse.csr_matrix(entries, shape=shape)

    def _codes(self, name: str, groups: Mapping[str, Any], n_rows: int) -> Any:
        if name not in groups:
            return np.full(n_rows, UNKNOWN, dtype=np.intp)
        return self.labels.codes(groups[name])

    def are_unknown(self, columns: FloatArray) -> BoolArray:
        """Tell which rows, given by their columns, (n, n_columns), have levels that are unknown."""
        return np.asarray(columns[:, UNKNOWN] != 0.0)

    def check_known(self, groups: Mapping[str, Any], n_rows: int) -> None:
        """Raise ValueError for further rows of a fit with levels that it does not know."""
        others, _ = self.with_others(groups, n_rows)
        if len(others):
            shown = others.values[:_SHOWN].tolist()
            raise ValueError(
                f"{self.term.text} has its levels from the first rows, and {len(others)} are not "
                f"among them, such as {shown}: call fit with all rows"
            )

    def weights(self, groups: Mapping[str, Any], n_rows: int) -> FloatArray:
        """Return the weights of rows in each grouping column, (n_rows, n_groups).

        Raises ValueError for weights that are missing, infinite or negative, and for rows of which
        all are zero, where they are to be scaled.
        """
        m = len(self.term.groups)
        if not self.term.weights or not groups.keys() & set(self.term.groups):
            return np.full((n_rows, m), 1.0 / m if self.term.is_scaled else 1.0)
        missing = [name for name in self.term.weights if name not in groups]
        if missing:
            raise ValueError(f"the weights {missing} of {self.term.text} are not there")
        weights = np.column_stack([_numbers(name, groups[name]) for name in self.term.weights])
        for name, of_rows in zip(self.term.weights, weights.T, strict=True):
            wrong = np.flatnonzero(~(np.isfinite(of_rows) & (of_rows >= 0.0)))
            if len(wrong):
                raise ValueError(
                    f"weights of {self.term.text} are finite and not negative, but {name!r} has "
                    f"{of_rows[wrong[0]]:g} in row {wrong[0]}"
                )
        if not self.term.is_scaled:
            return weights
        total = weights.sum(axis=1, keepdims=True)
        empty = np.flatnonzero(total[:, 0] == 0.0)
        if len(empty):
            raise ValueError(
                f"all weights of {self.term.text} are zero in rows {list_rows(empty)}, so that "
                "they have no sum to be divided by: scale=FALSE leaves weights as they are"
            )
        return np.asarray(weights / total)


def _numbers(name: str, values: Any) -> FloatArray:
    try:
        return np.asarray(pd.Series(values).to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError):
        raise ValueError(f"the weights {name!r} of a membership are not numbers") from None
