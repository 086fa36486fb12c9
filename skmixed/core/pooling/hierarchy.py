"""Pooling in a hierarchy of groups: up from fine to coarse, then down again.

What the children say of their parent, m with information sum of W, is the parent's own estimate in
the next stage up. The scale s^2 is found in the finest stage and known in the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

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


@dataclass(frozen=True, eq=False)
class PooledHierarchy:
    """Posterior of all groups of a hierarchy.

    The fields are all that it follows from; what is made of them is found when asked for, and not
    stored with them.
    """

    precision: FloatArray  # (k, k, n_groups), of the finest groups: their information times s^2
    estimate: FloatArray  # (k, n_groups), of the finest groups
    hierarchy: Hierarchy
    lambdas: tuple[FloatArray, ...]  # (k, k) a level below the root; the finest relative to s^2
    noise: FirstStageResidual | None = None  # of the finest groups; None where s^2 = 1
    root: FloatArray | None = None  # (k,), coefficients of all rows; None: what the groups say

    @cached_property
    def stages(self) -> tuple[PooledStage, ...]:
        """The levels below the root, coarse to fine."""
        return self._stages_above(())

    def _stages_above(self, finer: tuple[PooledStage, ...]) -> tuple[PooledStage, ...]:
        """Return all stages, coarse to fine, the finest of which are known."""
        stages = list(finer)
        for level in range(self.hierarchy.depth - len(finer), 0, -1):
            below = stages[0] if stages else None
            stage = self._stage(level, below)
            stages.insert(0, PooledStage.at(stage, self.lambdas[level - 1]))
        return tuple(stages)

    def _stage(self, level: int, below: PooledStage | None) -> PoolingStage:
        """Return what the groups of a level say: the finest, or those above a pooled stage."""
        parents, n_parents = self.hierarchy.parents[level - 1], self.hierarchy.sizes[level - 1]
        if below is None:
            return PoolingStage(self.precision, self.estimate, parents, n_parents, self.noise)
        return PoolingStage(below.total / below.s2, below.mean, parents, n_parents)

    @cached_property
    def means(self) -> tuple[FloatArray, ...]:
        """Posterior means, (k, n_groups) a level, the root first."""
        means = [self.stages[0].mean if self.root is None else self.root[:, None]]
        for stage in self.stages:
            means.append(stage.posterior_mean(means[-1]))
        return tuple(means)

    def with_lambda(self, level: int, lam: FloatArray) -> PooledHierarchy:
        """Return the posterior with another lambda, (k, k), of a level below the root, from 0."""
        lambdas = (*self.lambdas[:level], lam, *self.lambdas[level + 1 :])
        moved = replace(self, lambdas=lambdas)
        vars(moved)["stages"] = moved._stages_above(self.stages[level + 1 :])
        return moved

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
    found = PooledHierarchy(precision, estimate, hierarchy, (), noise)
    stages: list[PooledStage] = []
    for level in range(hierarchy.depth, 0, -1):
        stages.insert(0, solve_stage(found._stage(level, stages[0] if stages else None)))
    lambdas, told = tuple(stage.lam for stage in stages), stages[-1].stage.noise
    found = replace(found, lambdas=lambdas, noise=told)
    vars(found)["stages"] = tuple(stages)
    return found
