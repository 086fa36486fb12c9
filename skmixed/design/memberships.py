"""Levels as columns, those of which a row has several or that are related: what was learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from skmixed.core.elimination.crossed import check_memory
from skmixed.core.linalg import BoolArray, FloatArray, semidefinite_root
from skmixed.core.model.relation import RANK_LOST
from skmixed.design.grammar.members import MembersTerm
from skmixed.design.records import stored
from skmixed.design.relationships import Relationship
from skmixed.design.tables import UNKNOWN, Labels
from skmixed.design.values import are_other_kinds, kind_of
from skmixed.design.wording import list_rows

OTHERS = "others"  # what the column of all levels that are not known is called
_COPIES = 3  # of the columns at a time: themselves, the table of all columns, its shifted copy
_SHOWN = 3  # labels in an error: enough to see what is wrong


@stored
@dataclass(frozen=True, slots=True, eq=False)
class Membership:
    """The levels of several grouping columns, which share them, or of one.

    Every level is a column with the weights of rows in it; of related levels these are multiplied
    by a root of their covariance, so that the effects of columns are independent. A further one,
    zero in all rows of a fit, is the length of the weights in levels that are not known: it has no
    estimated effect, and as much variance as these.
    """

    term: MembersTerm
    labels: Labels  # of all grouping columns together
    root: FloatArray | None = None  # (n_levels, n_columns - 1), R of effects R u; None: u itself
    spare: float = 1.0  # standard deviation of levels that are not known, relative

    @classmethod
    def learn(
        cls,
        term: MembersTerm,
        groups: Mapping[str, Any],
        n_rows: int,
        related: Relationship | None = None,
    ) -> Membership:
        """Learn the levels that occur, or take those of a relationship.

        Raises ValueError for missing labels, columns of other kinds of labels, and levels that the
        relationship does not know, and MemoryError where the columns would not fit into this
        machine.
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
        n_columns = len(labels) if related is None else len(related)
        check_memory(
            8 * _COPIES * n_rows * n_columns,
            f"the {n_columns} levels of {term.text} are a column each, which takes",
            ". Take coarser levels, or a sample of the rows",
        )
        if related is None:
            return cls(term, labels)
        found = cls._of_related(term, related)
        _refuse_unrelated(term.text, found.labels, labels)
        return found

    @classmethod
    def _of_related(cls, term: MembersTerm, related: Relationship) -> Membership:
        spare = float(np.sqrt(related.matrix.diagonal().mean()))
        root = semidefinite_root(related.matrix)
        felt = np.square(root).sum(axis=0) > RANK_LOST * np.square(root).sum(axis=0).max()
        return cls(term, Labels(related.labels), np.ascontiguousarray(root[:, felt]), spare)

    @property
    def size(self) -> int:
        """Number of columns."""
        return 1 + (len(self.labels) if self.root is None else self.root.shape[1])

    @property
    def column_labels(self) -> list[str]:
        """What every column is of, (n_columns,): a level, or a number."""
        levels = self.labels.values.tolist() if self.root is None else range(1, self.size)
        return [*map(str, levels), OTHERS]

    def of_levels(self, effects: FloatArray) -> FloatArray:
        """Return the effects of levels, (..., n_levels), of those of columns, (..., n_columns)."""
        known = effects[..., : self.size - 1]
        return known if self.root is None else np.asarray(known @ self.root.T)

    def draw(self, generator: np.random.Generator, n_others: int, n_samples: int) -> FloatArray:
        """Draw effects of the known levels and others, (n_levels + n_others, n_samples)."""
        known = self.of_levels(generator.standard_normal((n_samples, self.size))).T
        others = generator.standard_normal((n_others, n_samples))
        return np.concatenate([known, self.spare * others])

    def columns(self, groups: Mapping[str, Any], n_rows: int) -> FloatArray:
        """Return the columns of rows, (n_rows, n_columns)."""
        n_levels = len(self.labels)
        _, weights = self.with_others(groups, n_rows)
        found = np.zeros((n_rows, self.size))
        known, others = weights[:, :n_levels], weights[:, n_levels:]
        found[:, :UNKNOWN] = known.toarray() if self.root is None else known @ self.root
        if others.shape[1]:
            found[:, UNKNOWN] = self.spare * np.sqrt(others.power(2).sum(axis=1)).ravel()
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


def _refuse_unrelated(name: str, known: Labels, labels: Labels) -> None:
    """Raise ValueError for levels that a relationship does not know."""
    missing = known.codes(labels.values) == UNKNOWN
    if missing.any():
        shown = labels.values[missing][:_SHOWN].tolist()
        raise ValueError(
            f"the relationship of {name!r} does not know {int(missing.sum())} of its levels, such "
            f"as {shown}; those that it knows are like {known.values[:1].tolist()}"
        )


def _numbers(name: str, values: Any) -> FloatArray:
    try:
        return np.asarray(pd.Series(values).to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError):
        raise ValueError(f"the weights {name!r} of a membership are not numbers") from None
