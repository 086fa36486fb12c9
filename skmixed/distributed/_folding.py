"""Chunks that come one after another, summed into one set of sums."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pandas as pd
from joblib import effective_n_jobs
from sklearn.utils.parallel import Parallel, delayed
from tqdm.auto import tqdm

from skmixed.core.linalg import FloatArray
from skmixed.distributed._partial import PartialSums, merged
from skmixed.distributed._summing import PartSummer

_PENDING_BYTES = 2**28  # small sums wait up to this size: few merges, and no burden on memory


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
        total = merged(self._parts)
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


def gathered(frames: Iterable[pd.DataFrame], n_rows: int) -> Iterator[pd.DataFrame]:
    """Put small data frames together to ones of at least `n_rows` rows, the last of fewer."""
    waiting: list[pd.DataFrame] = []
    for frame in frames:
        waiting.append(frame)
        if sum(map(len, waiting)) >= n_rows:
            yield pd.concat(waiting, ignore_index=True)
            waiting = []
    if waiting:
        yield pd.concat(waiting, ignore_index=True)
