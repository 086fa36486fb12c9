"""Fitted estimators by group, made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from skmixed.estimators.grouped._tree import Tree


class GroupMapping(Mapping[tuple[Any, ...], Any]):
    """A fitted estimator for every group of some levels; `make` returns it by level and group."""

    def __init__(self, tree: Tree, levels: range, make: Callable[[int, int], Any]) -> None:
        self._tree, self._levels, self._make = tree, levels, make

    @cached_property
    def _places(self) -> dict[tuple[Any, ...], tuple[int, int]]:
        return {
            key: (level, group)
            for level in self._levels
            for group, key in enumerate(self._tree.keys(level))
        }

    def __getitem__(self, key: Any) -> Any:
        """Return the estimator of a group: a tuple of labels, or the label if it is one."""
        place = self._places.get(key) if isinstance(key, tuple) else None
        if place is None and self._tree.depth == 1:
            place = self._places.get((key,))
        if place is None:
            raise KeyError(key)
        return self._make(*place)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Return the groups in the order of the tables."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self._places)

    def __repr__(self) -> str:
        """Return how many there are."""
        return f"<{len(self)} estimators by {self._tree.names}>"
