"""Progress bar over the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tqdm.auto import tqdm


def folds_bar(total: int, verbose: int) -> tqdm[Any]:
    """Return a progress bar over a number of folds, shown if `verbose`."""
    return tqdm(total=total, desc="folds", unit="", disable=not verbose)


class CountedFolds:
    """Splitter of given folds that advances a progress bar after each fold."""

    def __init__(self, splits: Sequence[Any], bar: tqdm[Any]) -> None:
        self.splits = splits
        self.bar = bar

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[tuple[Any, Any]]:
        """Yield the folds."""
        for fold in self.splits:
            yield fold
            self.bar.update()

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds."""
        return len(self.splits)
