"""[X y]'V^-1[X y] and log|V| at many lambdas at once, in scaled units."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.core.elimination.coupling import Coupling
from skmixed.core.elimination.protocol import (
    Blocks,
    Factorisation,
    LostPrecisionError,
    Reduced,
)
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.problem import Problem, collapsed
from skmixed.core.model.stack import LockstepData
from skmixed.core.one_thread import one_thread
from skmixed.core.posterior.first_factor import CELLS_AT_A_TIME, FirstFactor, LevelRoots
from skmixed.core.posterior.several_factors import SeveralFactors

_LAMBDAS_A_TASK = 64  # lambdas that a thread takes at a time, at most: progress is seen by these
_LEAST_A_TASK = 4  # of several factors, whose products are read once for all of them
_WIDE_COMPLEMENT = 2_000  # effects: of 1,100, two threads of BLAS save a tenth at most

Progress = Callable[[int], object]
"""Called with the number of evaluations done since the last call."""
WayBack = Callable[[FloatArray], Blocks]
"""Return derivatives of log|V| + tr(W M) in R lambdas of every factor, M being the sums.

They are (R, k, k), and W is (R, q, q), symmetric.
"""


@dataclass(frozen=True, slots=True, eq=False)
class ReducedSums:
    """What is left of the sums of squares once the random effects are eliminated."""

    gram: FloatArray  # (R, p + 1, p + 1), [X y]'V^-1[X y]; NaN where digits are lost
    log_det: FloatArray  # (R,), log|V| less what the weights add

    def take(self, chosen: IntArray) -> ReducedSums:
        """Return those of some lambdas."""
        return ReducedSums(self.gram[chosen], self.log_det[chosen])

    @classmethod
    def joined(cls, parts: list[ReducedSums]) -> ReducedSums:
        """Put several in a row."""
        grams, dets = zip(*[(part.gram, part.log_det) for part in parts], strict=True)
        return cls(np.concatenate(grams), np.concatenate(dets))


@dataclass(frozen=True, slots=True, eq=False)
class ReducedLevels:
    """One factor at R lambdas, and the way to derivatives."""

    factor: FirstFactor
    lambdas: FloatArray  # (R, k, k)
    levels: LevelRoots

    def slopes(self, weights: FloatArray) -> Blocks:
        """Return derivatives in the lambdas, given weights, (R, q, q), as `WayBack` says."""
        i, j = np.triu_indices(weights.shape[1])
        by_cell = np.where(i == j, 1.0, 2.0) * weights[:, i, j]
        in_omega = self.factor.slopes(self.levels, by_cell)
        return [2.0 * in_omega @ self.lambdas]


@dataclass(frozen=True, slots=True, eq=False)
class ReducedFactors:
    """Any factors at R lambdas, each by itself, and the way to derivatives."""

    lambdas: Blocks  # (R, k, k) of every factor
    single: list[tuple[Factorisation, Reduced] | None]  # None where digits are lost

    def slopes(self, weights: FloatArray) -> Blocks:
        """Return derivatives in the lambdas, given weights, (R, q, q), as `WayBack` says."""
        slopes = [np.zeros(lam.shape) for lam in self.lambdas]
        for number, found in enumerate(self.single):
            if found is None:
                continue
            factorisation, reduced = found
            for f, cross in enumerate(reduced.cross()):
                felt = np.tensordot(weights[number], cross, (1, 1)).swapaxes(0, 1)
                felt = np.tensordot(felt, cross, ((1, 2), (1, 2)))
                in_omega = factorisation.total_information(f) - felt
                slopes[f][number] = 2.0 * in_omega @ self.lambdas[f][number]
        return slopes


class Reduction:
    """A problem, arranged to be evaluated at many lambdas."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def at(self, lambdas: Blocks, n_jobs: int = 1, progress: Progress | None = None) -> ReducedSums:
        """Evaluate at R lambdas of every used factor, (R, k, k), in scaled units.

        They are shared out among threads; results do not depend on how many.
        """
        if not lambdas:
            raise ValueError("a model without random effects has no lambda")
        n, size = len(lambdas[0]), self._n_at_once
        slices = [slice(start, start + size) for start in range(0, n, size)]

        def of_slice(chosen: slice) -> ReducedSums:
            found = self._by_batch([lam[chosen] for lam in lambdas])
            if progress is not None:
                progress(len(found.gram))
            return found

        several = n_jobs > 1 and len(slices) > 1
        with one_thread() if several or not self._is_wide else nullcontext():
            if not several:
                return ReducedSums.joined([of_slice(chosen) for chosen in slices])
            with ThreadPoolExecutor(n_jobs) as pool:
                return ReducedSums.joined(list(pool.map(of_slice, slices)))

    def with_way_back(self, lambdas: Blocks) -> tuple[ReducedSums, WayBack]:
        """Evaluate at R lambdas of every used factor, and tell how derivatives follow."""
        if self.several is not None:
            several = self.several.with_way_back(lambdas)
            return ReducedSums(several.gram, several.log_det), several.slopes
        if self._one is None:
            single = [self._single(list(each)) for each in zip(*lambdas, strict=True)]
            return self._sums_of(single), ReducedFactors(lambdas, single).slopes
        levels = self._one.levels(lambdas[0])
        sums = ReducedSums(self._one.inner_left(self._one.left(levels)), levels.log_det)
        return sums, ReducedLevels(self._one, lambdas[0], levels).slopes

    @property
    def _is_wide(self) -> bool:
        """Whether BLAS shares out single factorisations among its threads to some use."""
        return self.several is not None and self.several.layout.width > _WIDE_COMPLEMENT

    @cached_property
    def several(self) -> SeveralFactors | None:
        """Several factors, where many lambdas at once are faster than single ones."""
        return SeveralFactors.of(self.problem) if len(self.problem.model.own) > 1 else None

    @cached_property
    def _one(self) -> FirstFactor | None:
        """The only factor; levels of equal size are put together where that changes nothing."""
        if len(self.problem.model.own) != 1:
            return None
        model = collapsed(self.problem).model
        own, right, counts = model.own[0], model.right[0], model.times
        if counts is None and model.within is None:
            merged = LockstepData.of(self.problem, 1)
            own, counts = merged.own[:, :, 0], merged.counts
            right = np.concatenate([merged.fixed[:, :, 0], merged.response], axis=1)
        columns = Coupling(None, right.transpose(0, 2, 1), np.empty(0, dtype=np.intp))
        return FirstFactor.of(own, columns, model.gram, model.within, counts)

    @property
    def _n_at_once(self) -> int:
        if self._one is not None:
            return max(1, int(CELLS_AT_A_TIME / self._one.own.size))
        if self.several is not None:
            size = int(CELLS_AT_A_TIME / self.several.n_cells)
            return min(_LAMBDAS_A_TASK, max(_LEAST_A_TASK, size))
        return _LAMBDAS_A_TASK

    def _by_batch(self, lambdas: Blocks) -> ReducedSums:
        if self._one is not None:
            levels = self._one.levels(lambdas[0])
            left = self._one.left(levels)
            return ReducedSums(self._one.inner_left(left), levels.log_det)
        if self.several is not None:
            return ReducedSums(*self.several.at(lambdas))
        return self._by_single(lambdas)

    def _by_single(self, lambdas: Blocks) -> ReducedSums:
        return self._sums_of(self._single(list(each)) for each in zip(*lambdas, strict=True))

    def _single(self, lambdas: Blocks) -> tuple[Factorisation, Reduced] | None:
        """Eliminate at one lambda of every factor, (k, k); None where digits are lost."""
        try:
            factorisation = self.problem.elimination.factorise(lambdas)
            return factorisation, factorisation.reduce(self.problem.model.right)
        except (np.linalg.LinAlgError, LostPrecisionError):
            return None

    def _sums_of(self, single: Iterable[tuple[Factorisation, Reduced] | None]) -> ReducedSums:
        model, parts = self.problem.model, []
        for found in single:
            gram, log_det = np.full(model.gram.shape, np.nan), -np.inf
            if found is not None:
                factorisation, reduced = found
                gram, log_det = reduced.remaining(model.gram, model.within), factorisation.log_det
            parts.append(ReducedSums(gram[None], np.array([log_det])))
        return ReducedSums.joined(parts)
