"""Which engine holds the rows."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Any, Protocol

from skmixed.design.tables import is_frame
from skmixed.distributed._chunks import Chunks
from skmixed.distributed._dask import DaskFrame
from skmixed.distributed._duckdb import DuckRelation
from skmixed.distributed._files import ArrowFiles, parquet_files
from skmixed.distributed._partial import PartialSums
from skmixed.distributed._predicting import PartPredictor
from skmixed.distributed._spark import SparkFrame
from skmixed.distributed._summing import PartSummer


class Engine(Protocol):
    """Rows that may be many, wherever they are."""

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        ...

    def total(self, summing: PartSummer) -> PartialSums | None:
        """Return the sums over all rows, None where no row has weight."""
        ...

    def predicted(self, predictor: PartPredictor) -> Any:
        """Return predictions, not yet computed, as the engine's form of a column."""
        ...


def engine_of(frame: Any) -> Engine:
    """Return the engine of what `skmixed.distributed.fit` takes as `frame`.

    Nothing is read but, of an iterable, the first chunk. Raises TypeError for anything else.
    """
    library = type(frame).__module__.partition(".")[0]
    kind = type(frame).__name__
    if library in ("dask", "dask_expr") and hasattr(frame, "map_partitions"):
        return DaskFrame(frame)
    if library == "pyspark" and hasattr(frame, "mapInPandas"):
        return SparkFrame(frame)
    if library in ("duckdb", "_duckdb") and hasattr(frame, "project"):
        return DuckRelation(frame)
    if library == "pyarrow" and hasattr(frame, "get_fragments"):
        return ArrowFiles(frame)
    if isinstance(frame, str | PathLike):
        return ArrowFiles(parquet_files([frame]))
    if isinstance(frame, list | tuple) and frame and isinstance(frame[0], str | PathLike):
        return ArrowFiles(parquet_files(frame))
    if kind == "LazyFrame":
        raise TypeError(
            "a LazyFrame has no chunks of its own: write it by sink_parquet and pass the files, or "
            "pass frame.collect_batches()"
        )
    if not hasattr(frame, "shape") and isinstance(frame, Iterable):
        return Chunks(frame)
    if is_frame(frame):
        return Chunks([frame])
    raise TypeError(
        f"frame is a {library}.{kind}; a Dask or Spark DataFrame, a pyarrow Dataset, a list of "
        "parquet files, a DuckDB relation or an iterable of data frames is expected"
    )
