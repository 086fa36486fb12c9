"""Rows of a Dask DataFrame, summed where they are."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pandas as pd

from skmixed.distributed._partial import Partial, merged
from skmixed.distributed._predicting import Predicting
from skmixed.distributed._summing import Summing
from skmixed.exceptions import PartitionError

_FAN_IN = 8  # so many sums are merged in one task


class DaskFrame:
    """A Dask DataFrame; its partitions are summed as tasks and the sums merged in a tree.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
        Its scheduler places the tasks, and repeats those of lost workers.
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.names: list[str] = [str(name) for name in frame.columns]

    def total(self, summing: Summing) -> Partial | None:
        """Sum over the partitions, by the scheduler in charge."""
        import dask
        from dask.diagnostics import ProgressBar

        parts = self._frame[summing.columns].to_delayed()
        sums = [
            dask.delayed(summing)(part, f"partition {number}") for number, part in enumerate(parts)
        ]
        while len(sums) > 1:
            groups = [sums[i : i + _FAN_IN] for i in range(0, len(sums), _FAN_IN)]
            sums = [dask.delayed(merged)(group) for group in groups]
        try:
            with ProgressBar() if summing.verbose else nullcontext():
                total: Partial | None = dask.compute(sums[0])[0]
        except PartitionError:
            raise
        except Exception as error:
            _name_unreadable(parts, error)
            raise
        return total

    def predicted(self, predicting: Predicting) -> Any:
        """Return a Dask Series."""
        import dask

        return self._frame[predicting.columns].map_partitions(
            _predict, dask.delayed(predicting), meta=pd.Series(dtype=float, name="prediction")
        )


def _predict(chunk: pd.DataFrame, predicting: Predicting) -> pd.Series[float]:
    return pd.Series(predicting(chunk), index=chunk.index, name="prediction")


def _name_unreadable(parts: list[Any], error: Exception) -> None:
    """Find the partition whose own tasks raised an error, by making one after the other."""
    import dask

    if type(error).__name__ in ("KilledWorker", "FutureCancelledError", "TimeoutError"):
        return  # the engine's, not a partition's
    for number, part in enumerate(parts):
        try:
            dask.compute(dask.delayed(len)(part))
        except Exception as found:
            raise PartitionError(f"partition {number} cannot be read: {found}") from found
