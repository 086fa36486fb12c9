"""Grouping columns turned into levels of factors, looked up again on new rows; factors' columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from skmixed.core.linalg import IntArray
from skmixed.core.model.spec import Term
from skmixed.core.model.structures.named import structures_of_terms
from skmixed.core.sums.layout import CONSTANT, FactorLayout, GroupIndex
from skmixed.design.grammar.random_part import RandomTerm
from skmixed.design.records import read, stored, write
from skmixed.design.tables import UNKNOWN, Labels
from skmixed.design.wording import list_rows


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """Levels of one grouping factor."""

    index: GroupIndex
    combinations: Labels | None  # numbers of the combinations that occur; None for one column


@stored
@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """What was learned about the grouping columns."""

    columns: dict[str, Labels]  # labels of every grouping column
    factors: tuple[Factor, ...]

    @classmethod
    def learn(
        cls, columns: Mapping[str, Any], keys: Sequence[tuple[str, ...]], n_rows: int = 0
    ) -> tuple[Grouping, tuple[IntArray, ...]]:
        """Learn the levels that occur, and the level of every row: one array (n,) per factor.

        Every key names the columns whose combinations are the levels of a factor; without any all
        rows are one level. Raises ValueError if a grouping column has missing values.
        """
        used = dict.fromkeys(name for key in keys for name in key)
        labels: dict[str, Labels] = {}
        column_codes: dict[str, IntArray] = {}
        for name in used:
            labels[name], column_codes[name] = _learn_labels(name, columns[name])
            _refuse_missing(name, column_codes[name])
        factors, codes = [], []
        for key in keys:
            factor, of_rows = _learn_factor(key, labels, column_codes, n_rows)
            factors.append(factor)
            codes.append(of_rows)
        return cls(labels, tuple(factors)), tuple(codes)

    @classmethod
    def of_levels(cls, indexes: Sequence[GroupIndex]) -> Grouping:
        """Return the grouping that looks up exactly these levels, given in code order."""
        columns: dict[str, Labels] = {}
        for index in sorted(indexes, key=lambda index: len(index.key)):
            for name, labels in zip(index.key, index.labels, strict=True):
                # A factor of one column comes first: the codes of its labels are its levels.
                if name not in columns:
                    alone = len(index.key) == 1
                    columns[name] = Labels(labels) if alone else Labels.learn(labels)[0]
        return cls(columns, tuple(_factor_of_levels(index, columns) for index in indexes))

    def record(self) -> dict[str, Any]:
        """Return all levels as a record."""
        factors = [
            (each.index.key, None if each.combinations is None else each.combinations.values)
            for each in self.factors
        ]
        columns = {name: write(labels.values) for name, labels in self.columns.items()}
        return {"columns": columns, "factors": write(factors)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Grouping:
        """Return the grouping of a record."""
        columns = {name: Labels(read(labels)) for name, labels in record["columns"].items()}
        factors = read(record["factors"])
        return cls(columns, tuple(_factor(key, columns, found) for key, found in factors))

    def codes(self, columns: Mapping[str, Any], n_rows: int) -> tuple[IntArray, ...]:
        """Look up the levels of new rows: one array of shape (n_rows,) per factor.

        `UNKNOWN` stands for levels that were not learned, and for all rows where a grouping column
        is not among `columns`.
        """
        missing = np.full(n_rows, UNKNOWN, dtype=np.intp)
        by_column = {
            name: labels.codes(columns[name]) if name in columns else missing
            for name, labels in self.columns.items()
        }
        return tuple(self._factor_codes(factor, by_column, n_rows) for factor in self.factors)

    def _factor_codes(
        self, factor: Factor, by_column: dict[str, IntArray], n_rows: int
    ) -> IntArray:
        key = factor.index.key
        if factor.index.is_whole:
            return np.zeros(n_rows, dtype=np.intp)
        if factor.combinations is None:
            return by_column[key[0]]
        return factor.combinations.codes(_combination(key, self.columns, by_column))


def number_levels(columns: Mapping[str, Any], key: tuple[str, ...]) -> IntArray:
    """Give numbers from 0 to the levels of one factor, (n,), whether or not a fit knows them.

    A row with a missing label is a level of its own.
    """
    learned = {name: _learn_labels(name, columns[name]) for name in key}
    labels = {name: known for name, (known, _) in learned.items()}
    combined = _combination(key, labels, {name: codes for name, (_, codes) in learned.items()})
    missing = np.flatnonzero(combined == UNKNOWN)
    combined[missing] = -1 - np.arange(len(missing))
    return np.unique(combined, return_inverse=True)[1].astype(np.intp, copy=False)


def numbers_to_draw(columns: Mapping[str, Any], key: tuple[str, ...]) -> IntArray:
    """Give the same numbers, (n,), to draw an effect for each.

    Raises ValueError where a grouping column is not given.
    """
    missing = [name for name in key if name not in columns]
    if missing:
        raise ValueError(
            f"no labels of the grouping columns {missing} are given: rows that share an effect "
            "must be known to draw it"
        )
    return number_levels(columns, key)


def _learn_factor(
    key: tuple[str, ...], labels: dict[str, Labels], codes: dict[str, IntArray], n_rows: int
) -> tuple[Factor, IntArray]:
    if len(key) < 2:
        of_rows = codes[key[0]] if key else np.zeros(n_rows, dtype=np.intp)
        return _factor(key, labels, None), of_rows
    combinations, of_rows = Labels.learn(_combination(key, labels, codes))
    return _factor(key, labels, combinations.values), of_rows


def _factor(
    key: tuple[str, ...], labels: Mapping[str, Labels], combinations: IntArray | None
) -> Factor:
    """Return a factor, given the numbers of the combinations that occur, (n_levels,)."""
    if combinations is None:
        return Factor(GroupIndex(key, tuple(labels[name].values for name in key)), None)
    parts = np.unravel_index(combinations, [len(labels[name]) for name in key])
    arrays = tuple(labels[name].values[part] for name, part in zip(key, parts, strict=True))
    return Factor(GroupIndex(key, arrays), Labels(combinations))


def _factor_of_levels(index: GroupIndex, columns: Mapping[str, Labels]) -> Factor:
    if len(index.key) < 2:
        return Factor(index, None)
    zipped = zip(index.key, index.labels, strict=True)
    codes = {name: columns[name].codes(labels) for name, labels in zipped}
    return Factor(index, Labels(_combination(index.key, columns, codes)))


def _combination(
    key: tuple[str, ...], labels: Mapping[str, Labels], codes: Mapping[str, IntArray]
) -> IntArray:
    return combine(key, [codes[name] for name in key], [len(labels[name]) for name in key])


def combine(key: Sequence[Any], codes: Sequence[IntArray], sizes: Sequence[int]) -> IntArray:
    """Give numbers to combinations of several columns, (n,); `UNKNOWN` where one of them is.

    They are in the order of the codes, of which the last varies fastest. Raises ValueError if there
    are more possible combinations than an integer can number.
    """
    if prod(max(1, int(size)) for size in sizes) > np.iinfo(np.intp).max:
        raise ValueError(f"the columns {key} have too many combinations of labels to number")
    combined = np.zeros(len(codes[0]), dtype=np.intp)
    unknown = np.zeros(len(combined), dtype=bool)
    for of_rows, size in zip(codes, sizes, strict=True):
        unknown |= of_rows == UNKNOWN
        combined = combined * size + of_rows
    combined[unknown] = UNKNOWN
    return combined


def _learn_labels(name: str, values: Any) -> tuple[Labels, IntArray]:
    try:
        return Labels.learn(values)
    except TypeError as error:
        raise TypeError(
            f"a label of the grouping column {name!r} cannot be looked up ({error}): every "
            "argument must be a string, a number or another hashable value"
        ) from error


def _refuse_missing(name: str, codes: IntArray) -> None:
    if codes.min(initial=0) > UNKNOWN:
        return
    rows = np.flatnonzero(codes == UNKNOWN)
    raise ValueError(
        f"Input groups contain NaN: grouping column {name!r} is missing in rows "
        f"{list_rows(rows)}. Drop these rows or give them a label of their own"
    )


def structures_asked(
    covariance: str | Mapping[str, str], random: Sequence[RandomTerm]
) -> list[str]:
    """Return the name of the covariance structure of every random term.

    It is that of the formula, where this has one.
    """
    factors = [term.name for term in random]
    if not isinstance(covariance, str):
        unknown = sorted(set(covariance) - set(factors))
        if unknown:
            raise ValueError(
                f"covariance names factors {unknown} that the model does not have; "
                f"it has {sorted(set(factors))}"
            )
    names = [
        covariance if isinstance(covariance, str) else covariance.get(factor, "unstructured")
        for factor in factors
    ]
    for name in names:
        structures_of_terms(name, 1)
    return [term.covariance or name for term, name in zip(random, names, strict=True)]


def factor_layouts(
    keys: Sequence[tuple[str, ...]], terms: Sequence[Term]
) -> tuple[FactorLayout, ...]:
    """Return the columns of every factor, the constant first."""
    layouts = []
    for number, key in enumerate(keys):
        slopes = {column for term in terms if term.factor == number for column in term.columns} - {
            CONSTANT
        }
        layouts.append(FactorLayout(key, (CONSTANT, *sorted(slopes))))
    return tuple(layouts)
