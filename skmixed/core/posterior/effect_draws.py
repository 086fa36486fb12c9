"""Draws of the random effects given draws of variances and coefficients, without rows.

Of one factor levels are independent: with D = lambda'A lambda + I = L L', b = lambda u,
u ~ N(D^-1 lambda'Z'W(y - X beta), sigma^2 D^-1). Of several, b = b* + Omega Z'V^-1(y - X beta -
Z b* - e*) with b* and e* drawn as before the data (Matheron's rule).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.core.batch.error_sums import ErrorSums
from skmixed.core.batch.responses import Responses, ScaledResponses
from skmixed.core.elimination.levels import (
    cholesky_plus_identity,
    multiply_levels,
    multiply_transposed,
)
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.posterior.coefficient_prior import raw_coefficients
from skmixed.core.posterior.several_factors import SeveralFactors

_LEVELS_TOGETHER = 64  # levels that share a stream of random numbers; draws depend on it
_DRAWS_TOGETHER = 100  # draws of several factors at a time; draws depend on it
_KEPT_CELLS = 2e7  # effects of several factors that are kept once they are drawn: 160 MB


@dataclass(frozen=True, eq=False)
class EffectDraws:
    """R draws of phi and beta, of which those of the random effects can be made at any time.

    Those of a level are the same whichever levels are asked for.
    """

    fit: Fit
    lambdas: Blocks  # (R, k, k) of every used factor, relative, raw units
    sigma: FloatArray  # (R,), in units of y
    beta: FloatArray  # (R, p), of the kept columns, raw units
    seed: int

    def of(self, position: int, levels: IntArray) -> FloatArray:
        """Draw the effects of some levels of a used factor, (R, len(levels), k), in raw units.

        Raises NeedsRowsError for several factors with too many random effects.
        """
        if len(self.lambdas) == 1:
            return self._of_one_factor(levels)
        n_cells = self.fit.problem.n_effects * len(self.sigma)
        if n_cells <= _KEPT_CELLS:
            effects = self._joint[position][:, :, levels]
        else:
            parts = [part[position][:, :, levels] for part in self._parts()]
            effects = np.concatenate(parts, axis=1)
        return self._raw(position, effects)

    @cached_property
    def _joint(self) -> Blocks:
        """The effects of several factors, (k, R, n_levels) each, in scaled units."""
        return [np.concatenate(parts, axis=1) for parts in zip(*self._parts(), strict=True)]

    def _parts(self) -> Iterator[Blocks]:
        """Draw the effects of several factors, some draws of phi at a time."""
        size, n = _DRAWS_TOGETHER, len(self.sigma)
        errors = ErrorSums.of(self.fit)
        for start in range(0, n, size):
            generator = np.random.default_rng([self.seed, start // size])
            yield self._together(errors, slice(start, min(start + size, n)), generator)

    def _raw(self, position: int, effects: FloatArray) -> FloatArray:
        """Bring effects, (k, R, n_levels), from scaled units, as (R, n_levels, k)."""
        model = self.fit.problem.model
        random_map = model.random_maps[position] / model.response_scale
        flat = random_map @ effects.reshape(len(effects), -1)
        return np.asarray(flat.reshape(effects.shape).transpose(1, 2, 0))

    def _scaled_beta(self, chosen: slice) -> FloatArray:
        """Return [-beta, 1] of the scaled columns, (R, p + 1), in units of the scaled response."""
        maps, shift = raw_coefficients(self.fit.problem)
        scaled = np.linalg.solve(maps, (self.beta[chosen] + shift).T).T
        return np.column_stack([-scaled, np.ones(len(scaled))])

    def _scaled_sigma(self, chosen: slice) -> FloatArray:
        return np.asarray(self.sigma[chosen] * self.fit.problem.model.response_scale)

    def _of_one_factor(self, levels: IntArray) -> FloatArray:
        problem = self.fit.problem
        (own,), (right,) = problem.model.own, problem.model.right
        k = len(right)
        blocks = levels // _LEVELS_TOGETHER
        found = np.empty((k, len(self.sigma), len(levels)))
        everything = slice(None)
        root = problem.scaled_lambdas(self.lambdas)[0].transpose(1, 2, 0)[..., None]
        beta, sigma = self._scaled_beta(everything), self._scaled_sigma(everything)
        for block in np.unique(blocks):
            generator = np.random.default_rng([self.seed, int(block)])
            start = block * _LEVELS_TOGETHER
            noise = generator.standard_normal((k, len(sigma), _LEVELS_TOGETHER))
            places = np.flatnonzero(blocks == block)
            chosen = levels[places]
            a = own[:, :, None, chosen]
            inner = multiply_levels(multiply_transposed(root, a), root)
            _, half, _ = cholesky_plus_identity(inner)
            score = np.einsum("apl,rp->arl", right[:, :, chosen], beta)
            target = multiply_transposed(root, score[:, None])
            white = multiply_levels(half, target)
            white += sigma[:, None] * noise[:, None, :, chosen - start]
            u = multiply_transposed(half, white)
            found[:, :, places] = multiply_levels(root, u)[:, 0]
        return self._raw(0, found)

    def _together(self, errors: ErrorSums, chosen: slice, generator: np.random.Generator) -> Blocks:
        """Draw all effects at some draws of phi, (k, R, n_levels) of every factor, scaled units."""
        fit, problem = self.fit, self.fit.problem
        model = problem.model
        lambdas = problem.scaled_lambdas([lam[chosen] for lam in self.lambdas])
        sigma, beta = self._scaled_sigma(chosen), self._scaled_beta(chosen)
        n = len(sigma)
        fixed, squares, levels = errors.draw(fit, n, generator)
        stretch = (self.sigma[chosen] / np.sqrt(fit.sigma2))[:, None]
        stretched = Responses(fixed, squares, [each * stretch for each in levels], [])
        noise = ScaledResponses.of(fit, stretched).levels
        prior = []
        for lam, own in zip(lambdas, model.own, strict=True):
            deviates = generator.standard_normal((n, len(own), own.shape[2]))
            prior.append((lam @ deviates).transpose(1, 0, 2) * sigma[:, None])
        spread = problem.elimination.multiply(prior)
        left = [
            np.einsum("apl,rp->arl", right, beta) - by_effects - by_noise
            for right, by_effects, by_noise in zip(model.right, spread, noise, strict=True)
        ]
        return [a + b for a, b in zip(prior, self._expected(lambdas, left), strict=True)]

    @cached_property
    def _several(self) -> SeveralFactors | None:
        return SeveralFactors.of(self.fit.problem)

    def _expected(self, lambdas: Blocks, right: Blocks) -> Blocks:
        """Return Omega_f Z_f'V^-1 r of every factor, (k, R, n_levels), of one r a lambda."""
        if self._several is not None:
            return self._several.effects(lambdas, right)
        found: Blocks = [np.empty(each.shape) for each in right]
        for number, single in enumerate(zip(*lambdas, strict=True)):
            factorisation = self.fit.problem.elimination.factorise(list(single))
            cross = factorisation.reduce([each[:, number : number + 1] for each in right]).cross()
            for effects, lam, score in zip(found, single, cross, strict=True):
                effects[:, number] = lam @ (lam.T @ score[:, 0])
        return found
