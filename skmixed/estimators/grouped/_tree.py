"""The groups of a fit as a hierarchy: what each is called, its parent, and the group of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.hierarchy import Hierarchy
from skmixed.design.grouping import Grouping
from skmixed.design.tables import UNKNOWN, IntArray

ROOT = "pooled"


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """Groups by level, coarse to fine; level 0 is the root, which all rows belong to.

    Parameters
    ----------
    grouping : Grouping
        One factor a level: the first grouping column, the first two, ....
    hierarchy : Hierarchy
        Parents.
    counts : tuple of ndarray of shape (n_groups,)
        Sum of the weights of the rows, by level from the root.
    """

    grouping: Grouping
    hierarchy: Hierarchy
    counts: tuple[NDArray[np.float64], ...]

    @classmethod
    def learn(
        cls, groups: Mapping[str, Any], n_rows: int, weights: NDArray[np.float64] | None
    ) -> tuple[Tree, tuple[IntArray, ...]]:
        """Learn the groups of the rows.

        Parameters
        ----------
        groups : mapping of str to Series or ndarray of shape (n,)
            The grouping columns, coarse to fine.
        n_rows : int
            Number of rows.
        weights : ndarray of shape (n,) or None
            Positive weights.

        Returns
        -------
        tree : Tree
            The groups.
        codes : tuple of ndarray of int of shape (n,)
            The group of every row, by level from the root.
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
        return [ROOT, *(repr(name) if name == ROOT else name for name in self.names)]

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
        """Look up the groups of new rows.

        Parameters
        ----------
        groups : mapping of str to Series or ndarray of shape (n,), or None
            The grouping columns; None if nothing is known.
        n_rows : int
            Number of rows.

        Returns
        -------
        tuple of ndarray of int of shape (n,)
            By level from the root; `UNKNOWN` where a label is unknown or missing.
        """
        found = self.grouping.codes(groups or {}, n_rows)
        return (np.zeros(n_rows, dtype=np.intp), *found)


def deepest_known(codes: tuple[IntArray, ...]) -> IntArray:
    """Return the finest level in which the group of each row is known.

    Parameters
    ----------
    codes : tuple of ndarray of int of shape (n,)
        By level from the root, which everyone knows.

    Returns
    -------
    ndarray of int of shape (n,)
        Levels.
    """
    level = np.zeros(len(codes[0]), dtype=np.intp)
    for number, code in enumerate(codes):
        level[code != UNKNOWN] = number
    return level
