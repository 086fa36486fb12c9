"""Rows that come as an iterable of data frames, read once, one chunk at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmixed.design.tables import column_names, is_frame
from skmixed.distributed._folding import sum_chunks
from skmixed.distributed._partial import PartialSums
from skmixed.distributed._predicting import PartPredictor
from skmixed.distributed._summing import PartSummer
from skmixed.exceptions import PartitionError


class Chunks:
    """An iterable of data frames of any library; a generator is used up."""

    def __init__(self, chunks: Iterable[Any]) -> None:
        named = _named(chunks)
        try:
            first = next(named)
        except StopIteration:
            raise ValueError("there are no chunks") from None
        if not is_frame(first[1]):
            raise TypeError(
                f"the first chunk is a {type(first[1]).__name__}; every chunk must be a data "
                "frame, whose columns have names"
            )
        self.names = column_names(first[1])
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
