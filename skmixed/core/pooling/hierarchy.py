"""Pooling in a hierarchy of groups: up from fine to coarse, then down again.

What the children say of their parent, m with information sum of W, is the parent's own estimate in
the next stage up. The scale s^2 is found in the finest stage and known in the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.pooling.stage import FirstStageResidual, PooledStage, PoolingStage
from skmixed.core.pooling.stage_search import solve_stage


@dataclass(frozen=True, slots=True, eq=False)
class Hierarchy:
    """Groups in levels, each within a group of the level above."""

    parents: tuple[IntArray, ...]  # (n_groups,) a level, coarse to fine; first 0, the root

    @property
    def depth(self) -> int:
        """Number of levels below the root."""
        return len(self.parents)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of groups of every level, the root first."""
        return (1, *(len(parents) for parents in self.parents))

    def ancestors(self, level: int) -> list[IntArray]:
        """Return the ancestors of the groups of a level, (n_groups,) for every level from the root.

        The last are the groups themselves.
        """
        chain = [np.arange(self.sizes[level])]
        for parents in reversed(self.parents[:level]):
            chain.insert(0, parents[chain[0]])
        return chain


@dataclass(frozen=True, slots=True, eq=False)
class PooledHierarchy:
    """Posterior of all groups of a hierarchy."""

    stages: tuple[
        PooledStage, ...
    ]  # a level below the root, coarse to fine; the finest relative to s^2
    means: tuple[FloatArray, ...]  # (k, n_groups) a level, the root first: posterior means

    @property
    def s2(self) -> float:
        """Residual variance; 1 where it was known."""
        return self.stages[-1].s2

    @property
    def covariances(self) -> tuple[FloatArray, ...]:
        """Posterior covariances in every level, the root first, (k, k, n_groups)."""
        root = self.stages[0]
        return tuple(self._down_from(root.covariance * root.s2))

    @property
    def covariances_of_new(self) -> tuple[FloatArray, ...]:
        """Covariances of a finest group that lies in a group of a level, (k, k, n_groups) each.

        The root is first. In the finest level they are the posterior covariances, above with what
        varies in all levels below.
        """
        return self._with_levels_below(list(self.covariances))

    @property
    def covariances_of_new_given_root(self) -> tuple[FloatArray, ...]:
        """The same given the coefficients of all rows, which count as known."""
        root = np.zeros_like(self.stages[0].covariance)
        return self._with_levels_below(self._down_from(root))

    def _with_levels_below(self, found: list[FloatArray]) -> tuple[FloatArray, ...]:
        """Return covariances in every level, the root first, with what varies below each."""
        below = np.zeros_like(self.stages[0].between)
        for level in range(len(self.stages) - 1, -1, -1):
            below = below + self.stages[level].between
            found[level] = found[level] + below[:, :, None]
        return tuple(found)

    def _down_from(self, root: FloatArray) -> list[FloatArray]:
        """Return posterior covariances in every level, given that of the root, (k, k, 1)."""
        found = [root]
        for stage in self.stages:
            found.append(stage.posterior_covariance(found[-1]))
        return found


def pool(
    precision: FloatArray,
    estimate: FloatArray,
    hierarchy: Hierarchy,
    noise: FirstStageResidual | None = None,
) -> PooledHierarchy:
    """Shrink every group to its parent by as much as the data say.

    `estimate`, (k, n_groups), and `precision`, (k, k, n_groups), their information times s^2, are
    of the finest groups; estimates without information may be anything finite. Without `noise`, the
    residual of the first stage, s^2 = 1.
    """
    stages: list[PooledStage] = []
    for level in range(hierarchy.depth, 0, -1):
        parents, n_parents = hierarchy.parents[level - 1], hierarchy.sizes[level - 1]
        point = solve_stage(PoolingStage(precision, estimate, parents, n_parents, noise))
        stages.insert(0, point)
        precision = point.total / point.s2
        estimate, noise = point.mean, None
    means = [estimate]
    for stage in stages:
        means.append(stage.posterior_mean(means[-1]))
    return PooledHierarchy(tuple(stages), tuple(means))
