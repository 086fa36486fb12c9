"""Rows of a Spark DataFrame, summed by the executors."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from skmixed.distributed._chunks import joined_frames, sum_chunks
from skmixed.distributed._partial_sums import FAN_IN, PartialSums, merged_sums
from skmixed.distributed._parts import PartPredictor, PartSummer
from skmixed.exceptions import PartitionError

_JOINED_ROWS = 2**18  # rows summed at once: Spark hands over some thousands at a time
_SCHEMA = "sums binary"


class SparkFrame:
    """A Spark DataFrame: one set of sums per partition, merged in a tree.

    Spark places the tasks, and repeats those of lost executors.
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.names: list[str] = list(frame.columns)

    def total(self, summing: PartSummer) -> PartialSums | None:
        """Sum over the partitions; the driver merges the last few sums."""
        chosen = self._frame.select(*map(_quoted, summing.columns))
        number = chosen.rdd.getNumPartitions()

        def sum_partition(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
            name = f"partition {_partition_number()}"
            named = ((name, frame) for frame in joined_frames(frames, _JOINED_ROWS))
            yield _as_row(sum_chunks(summing, named))

        sums = chosen.mapInPandas(sum_partition, _SCHEMA)
        while number > FAN_IN:
            number = -(-number // FAN_IN)
            sums = sums.repartition(number).mapInPandas(_merge_rows, _SCHEMA)
        try:
            return merged_sums(pickle.loads(row["sums"]) for row in sums.collect())
        except Exception as error:
            found = re.search(r"PartitionError: (.*)", str(error))
            if found is None:
                raise
            raise PartitionError(found[1]) from error

    def predicted(self, predictor: PartPredictor) -> Any:
        """Return a Spark Column."""
        from pyspark.sql.functions import pandas_udf, struct

        def predict(frame: pd.DataFrame) -> pd.Series:
            return pd.Series(predictor(frame, f"partition {_partition_number()}"))

        columns = struct(*map(_quoted, predictor.columns))
        return pandas_udf(predict, "double")(columns).alias("prediction")


def _quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def _partition_number() -> int:
    """Return the number of the partition of the running task, -1 outside a task."""
    from pyspark import TaskContext

    context = TaskContext.get()
    return -1 if context is None else int(context.partitionId())


def _as_row(partial: PartialSums | None) -> pd.DataFrame:
    return pd.DataFrame({"sums": [pickle.dumps(partial, protocol=pickle.HIGHEST_PROTOCOL)]})


def _merge_rows(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    yield _as_row(merged_sums(pickle.loads(sums) for frame in frames for sums in frame["sums"]))
