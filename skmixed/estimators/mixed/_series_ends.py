"""The last row of every series, from which forecasts carry over residuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.sums.layout import GroupIndex, Rows, concatenated_labels
from skmixed.design.records import stored


@stored
@dataclass(frozen=True, slots=True, eq=False)
class SeriesEnds:
    """The last row of every series."""

    columns: FloatArray  # (n_series, n_columns), of the layout
    codes: tuple[IntArray, ...]  # (n_series,) a factor: its level
    indexes: tuple[GroupIndex, ...]  # what the codes count
    residual: ResidualRows  # of the same rows, each a series

    @classmethod
    def of(cls, rows: Rows, residual: ResidualRows) -> SeriesEnds:
        """Keep the last row of every series: that of the largest position, or the last to come."""
        assert residual.series is not None
        n_rows = len(rows.columns)
        position = np.arange(n_rows) if residual.position is None else residual.position
        order = np.lexsort((position, residual.series))
        is_last = np.append(np.diff(residual.series[order]) != 0, True)[:n_rows]
        last, chosen = rows.take(order[is_last]), residual.take(order[is_last])
        return cls(np.ascontiguousarray(last.columns), last.codes, last.indexes, chosen)

    def with_others(self, other: SeriesEnds) -> SeriesEnds:
        """Return the last rows of these and of other series."""
        one, two = self.residual, other.residual
        assert one.labels is not None
        assert two.labels is not None

        def joined(name: str) -> Any:
            values = getattr(one, name), getattr(two, name)
            return None if values[0] is None else np.concatenate(values)

        indexes, codes = [], []
        for n, index in enumerate(self.indexes):
            merged, places = index.union(other.indexes[n])
            indexes.append(merged)
            codes.append(np.concatenate([places[0][self.codes[n]], places[1][other.codes[n]]]))
        labels = [
            concatenated_labels(*pair)
            for pair in zip(one.labels.labels, two.labels.labels, strict=True)
        ]
        residual = ResidualRows(
            np.arange(len(labels[0])),
            GroupIndex(one.labels.key, tuple(labels)),
            *(joined(name) for name in ("position", "stratum", "value")),
        )
        columns = np.concatenate([self.columns, other.columns])
        return SeriesEnds(columns, tuple(codes), tuple(indexes), residual)

    def at_levels(self, indexes: Sequence[GroupIndex]) -> Rows:
        """Return them as rows whose codes count the levels of a fit."""
        return Rows(self.columns, self.codes, self.indexes, None).at_levels(indexes)
