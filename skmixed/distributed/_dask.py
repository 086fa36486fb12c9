"""Rows of a Dask DataFrame, summed where they are."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pandas as pd

from skmixed.distributed._partial_sums import FAN_IN, PartialSums, merged_sums
from skmixed.distributed._parts import PartPredictor, PartSummer
from skmixed.exceptions import PartitionError


class DaskFrame:
    """A Dask DataFrame; its partitions are summed as tasks and the sums merged in a tree.

    Its scheduler places the tasks, and repeats those of lost workers.
    """

    def __init__(self, frame: Any) -> None:
        is_named = all(isinstance(name, str) for name in frame.columns)
        self._frame = frame if is_named else frame.rename(columns=str)
        self.names: list[str] = list(self._frame.columns)

    def total(self, summing: PartSummer) -> PartialSums | None:
        """Sum over the partitions with the current scheduler."""
        import dask
        from dask.diagnostics import ProgressBar

        parts = self._frame[summing.columns].to_delayed()
        sums = [
            dask.delayed(summing)(part, f"partition {number}") for number, part in enumerate(parts)
        ]
        while len(sums) > 1:
            groups = [sums[i : i + FAN_IN] for i in range(0, len(sums), FAN_IN)]
            sums = [dask.delayed(merged_sums)(group) for group in groups]
        try:
            with ProgressBar() if summing.verbose else nullcontext():
                total: PartialSums | None = dask.compute(sums[0])[0]
        except PartitionError:
            raise
        except Exception as error:
            _raise_unreadable(parts, error)
            raise
        return total

    def predicted(self, predictor: PartPredictor) -> Any:
        """Return a Dask Series."""
        import dask

        return self._frame[predictor.columns].map_partitions(
            _predict, dask.delayed(predictor), meta=pd.Series(dtype=float, name="prediction")
        )


def _predict(chunk: pd.DataFrame, predictor: PartPredictor) -> pd.Series[float]:
    return pd.Series(predictor(chunk), index=chunk.index, name="prediction")


def _raise_unreadable(parts: list[Any], error: Exception) -> None:
    """Raise PartitionError for the first partition whose own tasks fail, found by running each.

    Returns if none fails, or if the error is the engine's.
    """
    import dask

    if type(error).__name__ in ("KilledWorker", "FutureCancelledError", "TimeoutError"):
        return  # the engine's, not a partition's
    for number, part in enumerate(parts):
        try:
            dask.compute(dask.delayed(len)(part))
        except Exception as found:
            raise PartitionError(f"partition {number} cannot be read: {found}") from found
