"""The hierarchy of groups: labels, parents, failures, and the group of each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.linalg import IntArray
from skmixed.core.pooling.hierarchy import Hierarchy
from skmixed.design.grouping import Grouping
from skmixed.design.records import stored
from skmixed.design.tables import UNKNOWN

_ROOT = "pooled"
_FAILURES_SHOWN = 5  # groups that an error names: enough to recognise a common cause


@stored
@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """Groups by level, coarse to fine; level 0 is the root, which all rows belong to."""

    grouping: Grouping  # one factor a level: the first grouping column, the first two, ...
    hierarchy: Hierarchy
    counts: tuple[NDArray[np.float64], ...]  # sums of weights, (n_groups,) by level from the root

    @classmethod
    def learn(
        cls, groups: Mapping[str, Any], n_rows: int, weights: NDArray[np.float64] | None
    ) -> tuple[Tree, tuple[IntArray, ...]]:
        """Return the groups of the rows, and the group of every row, (n,) by level from the root.

        `groups` has the labels, (n,) by name, coarse to fine; `weights`, (n,), are positive.
        """
        names = tuple(groups)
        keys = [names[: level + 1] for level in range(len(names))]
        grouping, learned = Grouping.learn(groups, keys)
        codes = (np.zeros(n_rows, dtype=np.intp), *learned)
        parents = []
        for level in range(1, len(codes)):
            of_group = np.empty(len(grouping.factors[level - 1].index), dtype=np.intp)
            of_group[codes[level]] = codes[level - 1]
            parents.append(of_group)
        hierarchy = Hierarchy(tuple(parents))
        counts = tuple(
            np.bincount(code, weights, minlength=size).astype(float)
            for code, size in zip(codes, hierarchy.sizes, strict=True)
        )
        return cls(grouping, hierarchy, counts), codes

    @property
    def depth(self) -> int:
        """Number of grouping columns."""
        return self.hierarchy.depth

    @property
    def names(self) -> tuple[str, ...]:
        """The grouping columns, coarse to fine."""
        return self.grouping.factors[-1].index.key if self.grouping.factors else ()

    @property
    def level_names(self) -> list[str]:
        """Names of the levels, the root first; a grouping column called like it comes in quotes."""
        return [_ROOT, *(repr(name) if name == _ROOT else name for name in self.names)]

    def keys(self, level: int) -> list[tuple[Any, ...]]:
        """Return the labels of the groups of a level as tuples; the root is ``()``."""
        if level == 0:
            return [()]
        labels = self.grouping.factors[level - 1].index.labels
        return list(zip(*(column.tolist() for column in labels), strict=True))

    def index(self, level: int) -> pd.Index[Any]:
        """Return the labels of the groups of a level, for the rows of a table."""
        index = self.grouping.factors[level - 1].index
        if level == 1:
            return pd.Index(index.labels[0], name=index.key[0])
        return pd.MultiIndex.from_arrays(index.labels, names=index.key)

    def places(self, codes: tuple[IntArray, ...], level: IntArray | int) -> IntArray:
        """Return where the groups of rows stand among those of all levels, the root first, (n,).

        `codes`, (n,) each, go by level from the root; `level`, (n,), is the one that counts.
        """
        return np.choose(level, codes) + np.cumsum([0, *self.hierarchy.sizes])[level]

    def codes(self, groups: Mapping[str, Any] | None, n_rows: int) -> tuple[IntArray, ...]:
        """Return the groups of new rows, (n,) by level from the root.

        `UNKNOWN` where a label is unknown or missing, and everywhere below the root if `groups` is
        None.
        """
        found = self.grouping.codes(groups or {}, n_rows)
        return (np.zeros(n_rows, dtype=np.intp), *found)


def deepest_known(codes: tuple[IntArray, ...]) -> IntArray:
    """Return the finest level in which each row's group is known, (n,); all know the root."""
    level = np.zeros(len(codes[0]), dtype=np.intp)
    for number, code in enumerate(codes):
        level[code != UNKNOWN] = number
    return level


@dataclass
class Failures:
    """Groups without an estimate of their own, with the reasons."""

    tree: Tree
    reasons: dict[tuple[int, int], str] = field(default_factory=dict)  # by level and group

    def usable(self) -> list[NDArray[np.bool_]]:
        """Return which groups have an estimate of their own, (n_groups,) by level from the root."""
        masks = [np.ones(size, dtype=bool) for size in self.tree.hierarchy.sizes]
        for level, group in self.reasons:
            masks[level][group] = False
        return masks

    def add_small(self, needed: float, what: str) -> None:
        """Note the groups with fewer than `needed` rows, the least that `what` can do with."""
        texts: dict[float, str] = {}
        for level in range(1, self.tree.depth + 1):
            counts = self.tree.counts[level]
            for group in np.flatnonzero(counts < needed).tolist():
                n = float(counts[group])
                text = texts.setdefault(n, f"{n:.15g} rows are too few for {what}")
                self.reasons.setdefault((level, group), text)

    def refuse_last_resort(self) -> None:
        """Raise a ValueError where a coarsest group fails, all rows being no larger group."""
        failed = [key for key in self.reasons if key[0] == 1]
        if failed:
            label, reason = self.tree.keys(1)[failed[0][1]], self.reasons[failed[0]]
            raise ValueError(
                f"{label} has no model of its own, {reason}, and with use_pooled=False no parent "
                "group takes its place"
            )

    def stand_in(self, level: int, group: int) -> tuple[int, int]:
        """Return the level and number of a group, or of its nearest ancestor with an estimate."""
        while (level, group) in self.reasons:
            group = int(self.tree.hierarchy.parents[level - 1][group])
            level -= 1
        return level, group

    def table(self) -> pd.DataFrame:
        """Tabulate the groups, whose estimate stands in for theirs, and why.

        The columns are "group" and "used", tuples of labels with ``()`` for all rows, and "reason".
        """
        keys = [self.tree.keys(level) for level in range(self.tree.depth + 1)]
        rows: list[tuple[Any, Any, str]] = []
        for (level, group), reason in sorted(self.reasons.items()):
            at, other = self.stand_in(level, group)
            rows.append((keys[level][group], keys[at][other], reason))
        return pd.DataFrame(rows, columns=["group", "used", "reason"])

    def refuse(self) -> None:
        """Raise a ValueError that names the first of the groups, if there are any."""
        if not self.reasons:
            return
        table = self.table()
        shown = "; ".join(
            f"{group}: {reason}"
            for group, reason in zip(
                table["group"].head(_FAILURES_SHOWN),
                table["reason"].head(_FAILURES_SHOWN),
                strict=True,
            )
        )
        more = "" if len(table) <= _FAILURES_SHOWN else f"; ... ({len(table)} in all)"
        raise ValueError(
            f"groups without an estimate of their own: {shown}{more}. fallback='parent' gives "
            "them the estimate of their parent group"
        )


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
