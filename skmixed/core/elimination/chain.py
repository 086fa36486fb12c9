"""Elimination of nested factors: finest first, every level in one batch, nothing dense.

Let V_t contain the random effects of the t finest factors. With N_t = lambda (lambda'A lambda +
I)^-1 lambda' of every level of factor t, where A = Z_t'V_{t-1}^-1 Z_t,

    a'V_t^-1 b = a'V_{t-1}^-1 b - sum over levels of (Z_t'V_{t-1}^-1 a)' N_t (Z_t'V_{t-1}^-1 b).

The boundary is an ordinary point.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.core.elimination.levels import (
    LevelShrinkage,
    multiply_by_parent,
    multiply_levels,
    multiply_transposed,
    sum_products,
)
from skmixed.core.elimination.protocol import Blocks, Elimination, Factorisation
from skmixed.core.linalg import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Chain(Elimination):
    """Factors each of whose levels lies within one level of the next; one factor, or none, too."""

    order: list[int]  # the factors, finest first
    own: Blocks  # (k, k, n_levels) a stage: Z'W Z of every level
    between: dict[tuple[int, int], FloatArray]  # (k_s, k_t, n_levels_s), Z_s'W Z_t, stages s < t
    parents: dict[tuple[int, int], IntArray]  # (n_levels_s,) the level of t that contains each of s
    times: FloatArray | None = None  # (n_levels,), how many levels each of one factor stands for

    def factorise(self, lambdas: list[FloatArray]) -> ChainFactorisation:
        """Factor V at the lambdas given, one a factor in the caller's order."""
        own, between = list(self.own), dict(self.between)
        stages = range(len(own))
        levels: list[LevelShrinkage] = []
        for s in stages:
            levels.append(LevelShrinkage.at(own[s], lambdas[self.order[s]], self.times))
            white = {t: multiply_levels(levels[s].whitener, between[s, t]) for t in stages[s + 1 :]}
            for t in stages[s + 1 :]:
                for u in stages[t:]:
                    n_parents = own[t].shape[2]
                    lost = sum_products(white[t], white[u], self.parents[s, t], n_parents)
                    if u == t:
                        own[t] = own[t] - lost
                    else:
                        between[t, u] = between[t, u] - lost
        return ChainFactorisation(self, levels, own, between)

    @property
    def outermost(self) -> int | None:
        """The coarsest factor."""
        return self.order[-1] if self.order else None

    def multiply(self, effects: Blocks) -> Blocks:
        """Return Z_f'W times the sum over g of Z_g effects_g, as `Elimination` says."""
        columns = [effects[f] for f in self.order]
        result = [multiply_levels(own, mine) for own, mine in zip(self.own, columns, strict=True)]
        for (s, t), products in self.between.items():
            parents, n_levels = self.parents[s, t], columns[t].shape[2]
            result[s] += multiply_by_parent(products, columns[t], parents)
            result[t] += sum_products(products, columns[s], parents, n_levels)
        return [result[self.order.index(f)] for f in range(len(self.order))]


class ChainFactorisation(Factorisation):
    """V of a chain of nested factors, in factored form."""

    def __init__(
        self,
        chain: Chain,
        levels: list[LevelShrinkage],
        own: Blocks,
        between: dict[tuple[int, int], FloatArray],
    ) -> None:
        self.chain = chain
        self.levels = levels
        self.own = own  # (k, k, n_levels) a stage s: Z_s'V_{s-1}^-1 Z_s
        self.between = between  # (k_s, k_t, n_levels_s), Z_s'V_{s-1}^-1 Z_t
        self._information: dict[int, FloatArray] = {}

    @property
    def log_det(self) -> float:
        """log|V|, less what the weights add."""
        return sum(level.log_det for level in self.levels)

    def reduce(self, right: Blocks) -> ChainReduced:
        """Eliminate the random effects from columns given as Z_f'R of every factor."""
        chain, stages = self.chain, range(len(self.levels))
        rest = [right[f] for f in chain.order]
        white: Blocks = []
        for s in stages:
            white.append(multiply_levels(self.levels[s].whitener, rest[s]))
            if s + 1 < len(stages):
                undone = multiply_transposed(self.levels[s].whitener, white[s])
            for t in stages[s + 1 :]:
                n_parents, parents = rest[t].shape[2], chain.parents[s, t]
                rest[t] = rest[t] - sum_products(self.between[s, t], undone, parents, n_parents)
        return ChainReduced(self, rest, white)

    def information(self, factor: int) -> FloatArray:
        """Return Z_f'V^-1 Z_f of every level, (k, k, n_levels)."""
        if factor not in self._information:
            self._information[factor] = self._stage_information(self.chain.order.index(factor))
        return self._information[factor]

    def _stage_information(self, s: int) -> FloatArray:
        information = multiply_levels(self.levels[s].shrinker, self.own[s])
        for t in range(s + 1, len(self.levels)):
            whitener = self.levels[t].whitener.swapaxes(0, 1)
            white = multiply_by_parent(self.paths[s, t], whitener, self.chain.parents[s, t])
            information -= multiply_levels(white, white.swapaxes(0, 1))
        return information

    def total_information(self, factor: int) -> FloatArray:
        """Return the sum of `information` over levels, (k, k)."""
        information, times = self.information(factor), self.chain.times
        return np.asarray(information.sum(axis=-1) if times is None else information @ times)

    def conditional_covariance(self, factor: int) -> FloatArray:
        """Return var(b | y, beta) / sigma^2 of every level of a factor, (k, k, n_levels)."""
        s = self.chain.order.index(factor)
        if s + 1 == len(self.levels):
            return multiply_transposed(self.levels[s].whitener, self.levels[s].whitener)
        k, _, n_levels = self.own[s].shape
        effects = np.broadcast_to(np.eye(k)[:, :, None], (k, k, n_levels))
        paths = self._whitened(s, effects, np.arange(n_levels)).values()
        return np.asarray(sum(multiply_transposed(white, white) for _, white in paths))

    def effect_variances(self, random: Blocks, codes: list[IntArray]) -> FloatArray:
        """Return var(z'b | y, beta) / sigma^2 of n rows, (n,), as `Factorisation` says."""
        stages = range(len(self.levels))
        paths = [
            self._whitened(s, random[self.chain.order[s]][:, None], codes[self.chain.order[s]])
            for s in stages
        ]
        variances = np.zeros(codes[0].shape[0])
        for t in stages:
            whole: list[tuple[IntArray, FloatArray]] = []
            for level, white in ((path[t][0], path[t][1][:, 0]) for path in paths[: t + 1]):
                rest = white
                for other, sums in whole:
                    is_same = level == other
                    sums += is_same * rest
                    rest = ~is_same * rest
                whole.append((level, rest))
            for _, sums in whole:
                variances += np.square(sums).sum(axis=0)
        return variances

    def _whitened(
        self, s: int, z: FloatArray, of_rows: IntArray
    ) -> dict[int, tuple[IntArray, FloatArray]]:
        """Return, for stages t from s on, the levels of rows, (n,), and whitened z, (k_t, m, n).

        `z`, (k, m, n), and `of_rows`, (n,), are m sets of coefficients of the effects of stage s
        and their levels. A row may say that a level lies within another than in the fit, or within
        none that is known, so that each factor goes up by the levels that contained its own.
        """
        found: dict[int, tuple[IntArray, FloatArray]] = {}
        rest: dict[int, FloatArray] = {s: z}
        for t in range(s, len(self.levels)):
            level = of_rows if t == s else self.chain.parents[s, t][of_rows]
            whitener = _of_rows(self.levels[t].whitener, level)
            white = multiply_levels(whitener, rest[t])
            found[t] = (level, white)
            if t + 1 < len(self.levels):
                undone = multiply_transposed(whitener, white)
            for u in range(t + 1, len(self.levels)):
                lost = multiply_transposed(_of_rows(self.between[t, u], level), undone)
                rest[u] = rest[u] - lost if u in rest else -lost
        return found

    @cached_property
    def paths(self) -> dict[tuple[int, int], FloatArray]:
        """Z_s'V_{t-1}^-1 Z_t of every level of s, for s < t."""
        paths: dict[tuple[int, int], FloatArray] = {}
        for s in range(len(self.levels)):
            self._add_paths(s, paths)
        return paths

    def _add_paths(self, s: int, paths: dict[tuple[int, int], FloatArray]) -> None:
        later = range(s + 1, len(self.levels))
        for u in later:
            paths[s, u] = multiply_levels(self.levels[s].shrinker, self.between[s, u])
        for t in later:
            whitener, parents = self.levels[t].whitener, self.chain.parents[s, t]
            for u in later[t - s :]:
                white = multiply_levels(whitener, self.between[t, u])
                step = multiply_transposed(whitener, white)
                paths[s, u] -= multiply_by_parent(paths[s, t], step, parents)


def _of_rows(products: FloatArray, level: IntArray) -> FloatArray:
    """Return what belongs to the levels of rows, (a, b, n); once for all of a single level."""
    return products if products.shape[2] == 1 else products[:, :, level]


class ChainReduced:
    """Columns R after elimination of a chain."""

    def __init__(self, factorisation: ChainFactorisation, rest: Blocks, white: Blocks) -> None:
        self.factorisation = factorisation
        self.rest = rest  # (k, m, n_levels) a stage s: Z_s'V_{s-1}^-1 R
        self.white = white  # the same times the whitener of the stage

    def remaining(self, gram: FloatArray, within: FloatArray | None = None) -> FloatArray:
        """Return R'V^-1 R, (m, m), as `Reduced` says."""
        v = self.factorisation
        for level, *parts in zip(v.levels, v.own, self.rest, self.white, strict=True):
            gram, within = level.remaining(gram, within, *parts), None
        return gram

    def cross(self) -> Blocks:
        """Return Z_f'V^-1 R of every factor, (k_f, m, n_levels_f)."""
        v, chain = self.factorisation, self.factorisation.chain
        result: Blocks = [np.empty(0)] * len(chain.order)
        for s, factor in enumerate(chain.order):
            value = multiply_levels(v.levels[s].shrinker, self.rest[s])
            for t in range(s + 1, len(chain.order)):
                step = multiply_transposed(v.levels[t].whitener, self.white[t])
                value -= multiply_by_parent(v.paths[s, t], step, chain.parents[s, t])
            result[factor] = value
        return result
