"""The groups of a fit as a hierarchy: what each is called, its parent, and the group of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.linalg import IntArray
from skmixed.core.pooling.hierarchy import Hierarchy
from skmixed.design.grouping import Grouping
from skmixed.design.tables import UNKNOWN

_ROOT = "pooled"


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
