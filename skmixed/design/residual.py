"""The columns of a residual structure, learned once and replayed on new rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.residual.products import ResidualProduct
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.structure import ResidualStructure
from skmixed.core.residual.visits.visits_covariance import visit_structure
from skmixed.core.sums.layout import GroupIndex
from skmixed.design.grammar.residual_terms import ResidualParts, SeriesTerm, parse_residual
from skmixed.design.grouping import Grouping, number_levels
from skmixed.design.records import read, stored, write
from skmixed.design.tables import UNKNOWN, Labels
from skmixed.design.values import as_column, kind_of
from skmixed.design.wording import first_values, list_rows
from skmixed.exceptions import warn

_ROUNDING = 1e-9  # of a visit: nearer to a whole number, it is one


@stored
@dataclass(frozen=True, slots=True, eq=False)
class ResidualDesign:
    """What was learned about the columns of a residual structure."""

    text: str  # as it was written
    strata: Grouping | None  # combinations that have a variance each
    visits: Labels | None  # in order; None where positions are numbers, or there are none

    @classmethod
    def learn(
        cls,
        text: str,
        columns: Mapping[str, Any],
        levels: Mapping[str, Sequence[Any]] | None = None,  # of columns of strata or visits
    ) -> ResidualDesign:
        """Learn a structure from its columns, (n,) each, and levels that are known beforehand.

        Raises ValueError for missing values, and times and visits that the structure cannot have.
        """
        parts, levels = parse_residual(text), levels or {}
        term, visits, strata = parts.correlation, None, None
        if parts.strata:
            strata = Grouping.learn(_with_levels(columns, levels, parts.strata), [parts.strata])[0]
        if term is not None and term.order is not None and _has_visits(term, columns[term.order]):
            visits, codes = Labels.learn(columns[term.order])
            _refuse_missing(term.order, codes)
            if term.order in levels:
                visits = Labels(np.asarray(levels[term.order]))
            _check_visits(term, visits, is_sorted=not _has_categories(columns[term.order]))
        return cls(text, strata, visits)

    @property
    def structure(self) -> ResidualStructure:
        """The structure, to be fitted; raises ValueError for products that are not to be had."""
        parts, term = self.parts, self.parts.correlation
        if term is not None and self.visits is not None and _is_over_visits(term):
            if parts.strata or parts.has_power:
                raise ValueError(
                    f"{term.name}(...) may have a variance a visit, hom=False, but no var(...) or "
                    f"power(...) beside it, as {self.text!r} has: take ar1(...) or cs(...)"
                )
            visits = tuple(self.visit_labels)
            return visit_structure(term.name, visits, is_homogeneous=term.is_homogeneous)
        name = None if term is None else term.name
        return ResidualProduct.of(name, self.strata_labels, parts.has_power)

    @property
    def parts(self) -> ResidualParts:
        """The structure, taken apart."""
        return parse_residual(self.text)

    def record(self) -> dict[str, Any]:
        """Return all that was learned as a record."""
        return {"text": self.text, "strata": write(self.strata), "visits": write(self.visits)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ResidualDesign:
        """Return the design of a record. Raises ValueError for text that is no structure."""
        parse_residual(record["text"])
        return cls(record["text"], read(record["strata"]), read(record["visits"]))

    @property
    def strata_labels(self) -> list[str]:
        """Labels of the strata, in code order."""
        if self.strata is None:
            return []
        return _joined_labels(self.strata.factors[0].index)

    @property
    def visit_labels(self) -> list[str]:
        """Labels of the visits, in order."""
        if self.visits is None:
            return []
        is_number = self.visits.values.dtype.kind == "f"
        return [f"{each:.15g}" if is_number else str(each) for each in self.visits.values]

    @property
    def of_variances(self) -> tuple[str, ...]:
        """The columns that tell the variance of a row, but for its weight."""
        parts, term = self.parts, self.parts.correlation
        names = [*parts.strata, *([] if parts.power is None else [parts.power])]
        if term is not None and term.order is not None and term.has_own_variances:
            names.append(term.order)
        return tuple(dict.fromkeys(names))

    def rows(self, columns: Mapping[str, Any]) -> ResidualRows:
        """Return what the structure knows of rows to be summed, whose series may be new.

        Raises ValueError as `learn`, and for strata and visits that were not learned.
        """
        term, series, index = self.parts.correlation, None, None
        if term is not None:
            grouping, (series,) = Grouping.learn(columns, [term.series])
            index = grouping.factors[0].index
        position, stratum = self._positions(columns), self._strata(columns)
        self._refuse_unlearned(position, stratum)
        if term is not None and term.order is None and series is not None:
            position = numbers_within(series)
        return ResidualRows(series, index, position, stratum, self._values(columns))

    def known_rows(
        self, columns: Mapping[str, Any], n_rows: int, series: GroupIndex | None = None
    ) -> ResidualRows:
        """Return the same of any rows, whose series are looked up in an index, if one is given.

        `UNKNOWN` is what was not learned, is missing, or is not among the columns.
        """
        nothing = np.full(n_rows, UNKNOWN, dtype=np.intp)
        codes, stratum = nothing, self._strata(columns)
        if series is not None:
            (codes,) = Grouping.of_levels([series]).codes(columns, n_rows)
        if stratum is None and self.strata is not None:
            stratum = nothing
        value = self._values(columns)
        if value is None and self.parts.power is not None:
            value = np.full(n_rows, np.nan)
        return ResidualRows(codes, series, self._positions(columns), stratum, value)

    def drawn_rows(self, columns: Mapping[str, Any], n_rows: int) -> ResidualRows:
        """Return the same of rows to be drawn: those of one label are one series, known or not."""
        found, term = self.known_rows(columns, n_rows), self.parts.correlation
        self._refuse_unlearned(found.position, found.stratum)
        if term is None:
            return found
        missing = [name for name in term.series if name not in columns]
        if missing:
            raise ValueError(
                f"no labels of {missing} are given: rows of one series must be known to draw them"
            )
        series = number_levels(columns, term.series)
        position = numbers_within(series) if term.order is None else found.position
        return replace(found, series=series, position=position)

    def _positions(self, columns: Mapping[str, Any]) -> FloatArray | None:
        term = self.parts.correlation
        if term is None or term.order is None or not _needs_order(term):
            return None
        if term.order not in columns:
            return None
        if self.visits is not None:
            codes = self.visits.codes(columns[term.order])
            return np.asarray(codes, dtype=np.float64)
        position: FloatArray = columns[term.order]
        if term.name != "ar1":
            return np.asarray(position)
        whole = np.round(position)
        odd = np.flatnonzero(np.abs(position - whole) > _ROUNDING)
        if len(odd):
            raise ValueError(
                f"ar1(...) counts visits, and the column {term.order!r} has no whole number in "
                f"rows {list_rows(odd)}: take car1({term.order} | ...) for any times"
            )
        return whole

    def _strata(self, columns: Mapping[str, Any]) -> IntArray | None:
        if self.strata is None or any(name not in columns for name in self.parts.strata):
            return None
        return self.strata.codes(columns, len(columns[self.parts.strata[0]]))[0]

    def _values(self, columns: Mapping[str, Any]) -> FloatArray | None:
        name = self.parts.power
        if name is None or name not in columns:
            return None
        values: FloatArray = columns[name]
        wrong = np.flatnonzero(values <= 0.0)
        if len(wrong):
            raise ValueError(
                f"power({name}) takes positive numbers, and the column has {values[wrong[0]]:g} in "
                f"row {wrong[0]}: shift it, or make a column of its size"
            )
        return values

    def _refuse_unlearned(self, position: FloatArray | None, stratum: IntArray | None) -> None:
        """Raise ValueError for rows of visits or strata that are not known."""
        found: list[tuple[Any, str, list[str]]] = []
        if self.visits is not None:
            found.append((position, "visit", self.visit_labels))
        if stratum is not None:
            found.append((stratum, "stratum", self.strata_labels))
        for codes, what, known in found:
            rows = np.flatnonzero(codes == UNKNOWN)
            if len(rows):
                raise ValueError(
                    f"rows {list_rows(rows)} have no {what} of those that the residuals are known "
                    f"of, {first_values(known)}: give all of them in the first rows"
                )


def numbers_within(series: IntArray) -> FloatArray:
    """Return the numbers of rows within their series, (n,), from 1 in the order they come in."""
    order = np.argsort(series, kind="stable")
    is_first = np.append(True, np.diff(series[order]) != 0)[: len(series)]
    starts = np.maximum.accumulate(np.where(is_first, np.arange(len(series)), 0))
    numbers = np.empty(len(series))
    numbers[order] = np.arange(len(series)) - starts + 1.0
    return numbers


def _is_over_visits(term: SeriesTerm) -> bool:
    """Tell whether a structure is a covariance of planned visits."""
    return term.has_own_variances or term.name == "toeplitz"


def _needs_order(term: SeriesTerm) -> bool:
    """Tell whether anything depends on the column on the left of the bar."""
    return term.name != "cs" or not term.is_homogeneous


def _has_visits(term: SeriesTerm, values: Any) -> bool:
    """Tell whether positions are places among visits, and not the numbers of a column, (n,)."""
    if not _needs_order(term):
        return False
    is_number = kind_of(values) == "numbers" and isinstance(values, np.ndarray)
    if term.name == "car1" and not is_number:
        raise ValueError(
            f"car1(...) needs times that are numbers, and the column {term.order!r} holds none: "
            "turn them into numbers, or take ar1(...) for visits in an order"
        )
    return not (is_number and term.name in ("ar1", "car1") and term.is_homogeneous)


def _check_visits(term: SeriesTerm, visits: Labels, *, is_sorted: bool) -> None:
    """Warn of visits whose order, or whose distances, are perhaps not those meant."""
    values = visits.values
    if term.name not in ("ar1", "toeplitz") or len(values) < 3:
        return
    known = f"the visits {first_values(values.tolist())} in the column {term.order!r} are"
    if values.dtype.kind in "iuf":
        if np.ptp(np.diff(values.astype(np.float64))) > _ROUNDING:
            warn(
                f"{known} not evenly spaced, and {term.name}(...) takes them as one step apart",
                UserWarning,
            )
    elif is_sorted:
        warn(
            f"{known} taken in the order of the alphabet: give an ordered categorical, or numbers",
            UserWarning,
        )


def _has_categories(values: Any) -> bool:
    return isinstance(as_column(values).dtype, pd.CategoricalDtype)


def _with_levels(
    columns: Mapping[str, Any], levels: Mapping[str, Sequence[Any]], names: Sequence[str]
) -> Mapping[str, Any]:
    """Return columns in which all combinations of known levels occur, if there are any."""
    if not any(name in levels for name in names):
        return columns
    known = [list(levels.get(name, pd.unique(np.asarray(columns[name])))) for name in names]
    table = pd.MultiIndex.from_product(known, names=list(names)).to_frame(index=False)
    return {name: table[name] for name in names}


def _refuse_missing(name: str, codes: IntArray) -> None:
    rows = np.flatnonzero(codes == UNKNOWN)
    if len(rows):
        raise ValueError(
            f"Input X contains NaN: the column {name!r} that `residual` names is missing in rows "
            f"{list_rows(rows)}. Drop these rows"
        )


def _joined_labels(index: GroupIndex) -> list[str]:
    return [":".join(map(str, labels)) for labels in zip(*index.labels, strict=True)]
