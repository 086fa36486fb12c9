"""[X y]'V^-1[X y] and log|V| at many lambdas at once, in scaled units."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.core.elimination.coupling import Coupling
from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.problem import Problem, collapsed
from skmixed.core.model.stack import LockstepData
from skmixed.core.one_thread import one_thread
from skmixed.core.posterior.first_factor import CELLS_AT_A_TIME, FirstFactor
from skmixed.core.posterior.several_factors import SeveralFactors

_LAMBDAS_A_TASK = 64  # lambdas that a thread takes at a time, at most: progress is seen by these
_LEAST_A_TASK = 4  # of several factors, whose products are read once for all of them
_WIDE_COMPLEMENT = 2_000  # effects: of 1,100, two threads of BLAS save a tenth at most

Progress = Callable[[int], object]
"""Called with the number of evaluations done since the last call."""


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
        model, elimination = self.problem.model, self.problem.elimination
        q = len(model.gram)
        grams, dets = np.full((len(lambdas[0]), q, q), np.nan), np.full(len(lambdas[0]), -np.inf)
        for number, single in enumerate(zip(*lambdas, strict=True)):
            try:
                factorisation = elimination.factorise(list(single))
                reduced = factorisation.reduce(model.right)
            except (np.linalg.LinAlgError, LostPrecisionError):
                continue
            grams[number] = reduced.remaining(model.gram, model.within)
            dets[number] = factorisation.log_det
        return ReducedSums(grams, dets)
