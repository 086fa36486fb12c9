"""Rows of a DuckDB relation."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import Parameter, Signature
from itertools import count
from typing import Any

import pandas as pd

from skmixed._extras import missing
from skmixed.distributed._chunks import sum_chunks
from skmixed.distributed._files import BLOCK_ROWS, pandas_of, tables_of
from skmixed.distributed._partial_sums import PartialSums
from skmixed.distributed._parts import PartPredictor, PartSummer
from skmixed.exceptions import PartitionError

_POSITIONAL = Parameter.POSITIONAL_ONLY
_numbers = count()


class DuckRelation:
    """A DuckDB relation, streamed in blocks of rows.

    DuckDB runs the relation's query in its own threads while the blocks are summed.
    """

    def __init__(
        self,
        relation: Any,
        connection: Any = None,  # the relation's, for predictions; None: DuckDB's default
    ) -> None:
        self._relation, self._connection = relation, connection
        self.names: list[str] = list(relation.columns)

    def total(self, summing: PartSummer) -> PartialSums | None:
        """Sum over the blocks in turn."""
        return sum_chunks(summing, self._chunks(summing.columns), verbose=summing.verbose)

    def predicted(self, predictor: PartPredictor) -> Any:
        """Register the model as a function and return the expression that calls it."""
        import duckdb

        try:
            import pyarrow as pa
        except ImportError as error:
            raise missing("pyarrow", "duckdb", "predicting in DuckDB") from error
        names = predictor.columns
        types = dict(zip(self._relation.columns, self._relation.types, strict=True))

        def predict(*columns: Any) -> Any:
            table = pa.table(dict(zip(names, columns, strict=True)))
            return pa.array(predictor(pandas_of(table)))

        parameters = [Parameter(f"column_{i}", _POSITIONAL) for i in range(len(names))]
        predict.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        name = f"skmixed_predict_{next(_numbers)}"
        (self._connection or duckdb).create_function(
            name,
            predict,
            [types[column] for column in names],
            "DOUBLE",
            type="arrow",
            null_handling="special",
        )
        return duckdb.FunctionExpression(name, *map(duckdb.ColumnExpression, names))

    def _chunks(self, columns: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        import duckdb

        chosen = self._relation.select(*map(duckdb.ColumnExpression, columns))
        try:
            read = getattr(chosen, "to_arrow_reader", None) or chosen.fetch_arrow_reader
            for number, table in enumerate(tables_of(read(BLOCK_ROWS))):
                yield f"block {number}", pandas_of(table)
        except (duckdb.Error, OSError) as error:
            raise PartitionError(f"the relation cannot be read: {error}") from error
