"""Chunks of rows that arrive one after another, reduced to sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np
import pandas as pd
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.utils.parallel import Parallel, delayed
from tqdm.auto import tqdm

from skmixed.core.linalg import FloatArray
from skmixed.distributed._partial_sums import PartialSums, merged_sums
from skmixed.distributed._parts import PartPredictor, PartSummer
from skmixed.estimators.reading._input_table import InputTable
from skmixed.exceptions import PartitionError

_PENDING_BYTES = 2**28  # small sums are pooled up to this size: few merges, little memory


class ChunkTotal:
    """Sums over the chunks so far.

    A merge costs as much as there are levels, so sums wait until together they are as large as
    those already merged. Memory stays within a few times the size of the result.
    """

    def __init__(self) -> None:
        self._parts: list[PartialSums] = []

    @property
    def basis(self) -> FloatArray | None:
        """The basis that further chunks should be summed about, (n_columns, n_columns), or None."""
        return self._parts[0].products.basis if self._parts else None

    def add(self, partial: PartialSums | None) -> None:
        """Take in the sums over one more chunk, None if it has no rows."""
        if partial is None:
            return
        self._parts.append(partial)
        first, *others = (part.n_bytes for part in self._parts)
        if sum(others) > max(first, _PENDING_BYTES):
            self._merge()

    def total(self) -> PartialSums | None:
        """Return the sums over all chunks, None where no row has weight."""
        self._merge()
        return self._parts[0] if self._parts else None

    def _merge(self) -> None:
        total = merged_sums(self._parts)
        self._parts = [] if total is None else [total]


def sum_chunks(
    summing: PartSummer,
    named_chunks: Iterable[tuple[str, Any]],
    *,
    n_rows: int | None = None,  # of all chunks, for the progress bar; None if not known
    verbose: bool = False,
) -> PartialSums | None:
    """Sum over named chunks, as many at a time as the model's `n_jobs` says.

    The first chunk is summed alone and chooses the basis of the others. None where no row has
    weight.
    """
    fold, remaining = ChunkTotal(), iter(named_chunks)
    n_jobs = effective_n_jobs(summing.model.n_jobs)
    with tqdm(total=n_rows, desc="rows", unit="", unit_scale=True, disable=not verbose) as bar:
        while taken := list(islice(remaining, 1 if fold.basis is None else n_jobs)):
            basis = fold.basis
            tasks = (delayed(summing)(chunk, name, basis) for name, chunk in taken)
            for partial in Parallel(n_jobs=len(taken), prefer="threads")(tasks):
                fold.add(partial)
            bar.update(sum(len(chunk) for _, chunk in taken))
    return fold.total()


def joined(parts: Iterable[Any], n_rows: int, join: Callable[[list[Any]], Any]) -> Iterator[Any]:
    """Join small tables to ones of at least `n_rows` rows, the last of fewer."""
    waiting: list[Any] = []
    for part in parts:
        waiting.append(part)
        if sum(map(len, waiting)) >= n_rows:
            yield join(waiting)
            waiting = []
    if waiting:
        yield join(waiting)


def joined_frames(frames: Iterable[pd.DataFrame], n_rows: int) -> Iterator[pd.DataFrame]:
    """Join small data frames to ones of at least `n_rows` rows, the last of fewer."""
    return joined(frames, n_rows, partial(pd.concat, ignore_index=True))


class Chunks:
    """An iterable of data frames of any library; a generator is used up."""

    def __init__(self, chunks: Iterable[Any]) -> None:
        named = _named(chunks)
        try:
            first = next(named)
        except StopIteration:
            raise ValueError("there are no chunks") from None
        table = InputTable.of_frame(first[1])
        if table is None:
            raise TypeError(
                f"the first chunk is a {type(first[1]).__name__}; every chunk must be a data "
                "frame with column names"
            )
        self.names = list(table.names)
        self._named = chain([first], named)

    def total(self, summing: PartSummer) -> PartialSums | None:
        """Sum over the chunks in turn."""
        return sum_chunks(summing, self._named, verbose=summing.verbose)

    def predicted(self, predictor: PartPredictor) -> Iterator[NDArray[np.float64]]:
        """Yield one array of predictions per chunk, (n_rows,)."""
        return (predictor(chunk, name) for name, chunk in self._named)


def _named(chunks: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Give every chunk a name; raise PartitionError with it for one that cannot be made."""
    remaining, number = iter(chunks), 0
    while True:
        name = f"chunk {number}"
        try:
            chunk = next(remaining)
        except StopIteration:
            return
        except Exception as error:
            raise PartitionError(f"{name} cannot be read: {error}") from error
        yield name, chunk
        number += 1
