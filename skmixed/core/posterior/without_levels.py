"""Densities of all rows of a level given the rows of the others, at given variances.

With M_g = [X y]'V_g^-1[X y] = [A_g c_g; c_g' s_g] of the rows of one level, V being block-diagonal,
and Q, h and u of all rows as in `integrated_likelihood`, Q_ = Q - A_g/sigma^2 and h_ and u_ alike,

    -2 log p(y_g | others) = log|V_g| + n_g log(2 pi sigma^2) + s_g/sigma^2 - u'u + u_'u_
                             + log|Q| - log|Q_|.

With several factors a level is taken out of the sums, and the likelihoods of all rows and of the
others are compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from skmixed.core.elimination.levels import (
    cholesky_plus_identity,
    multiply_levels,
    multiply_transposed,
)
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray, diagonal
from skmixed.core.model.stack import cholesky
from skmixed.core.posterior.coefficient_prior import CoefficientPrior
from skmixed.core.posterior.integrated_likelihood import GivenVariances, IntegratedLikelihood
from skmixed.core.rows.leave_out import UNDETERMINED
from skmixed.core.rows.scaled import ScaledTable
from skmixed.core.sums.summation import level_sums
from skmixed.core.sums.summed_rows import SummedRows

_SUMS_CELLS = 4e6  # numbers in cross-products of levels that are made at a time: 32 MB


class UndeterminedError(ValueError):
    """Without one level the others do not determine coefficients whose distribution is flat."""


@dataclass(frozen=True, eq=False)
class LevelDensities:
    """The rows of a fit, of which whole levels of one factor are left out."""

    fit: Fit
    prior: CoefficientPrior
    summed: SummedRows  # with codes of the levels of the fit
    factor: int  # its position in the layout

    def at(self, lambdas: Blocks, sigma: FloatArray, levels: IntArray) -> FloatArray:
        """Return log densities of some levels without themselves, (R, len(levels)).

        They are given at R lambdas of every used factor, (R, k, k), in raw units, and residual
        deviations, (R,), in units of y. Raises UndeterminedError.
        """
        likelihood = IntegratedLikelihood.of(self.fit, self.prior)
        given = likelihood.given(likelihood.sums(lambdas, len(sigma)), sigma)
        is_alone = self.fit.spec.used_factors == (self.factor,)
        if is_alone and self.fit.problem.model.within is None:
            return self._of_one_factor(likelihood, given, lambdas[0], sigma, levels)
        found = np.empty((len(sigma), len(levels)))
        for place, level in enumerate(levels):
            rest = self._rest(int(level))
            others = rest.given(rest.sums(lambdas, len(sigma)), sigma)
            found[:, place] = given.log_likelihood - others.log_likelihood
        return found

    def rows_of(self, level: int) -> IntArray:
        """Return the places of the rows of a level."""
        return np.flatnonzero(self.summed.rows.codes[self.factor] == level)

    def without(self, level: int) -> Fit:
        """Return the data without a level, at the lambdas of the fit. Raises UndeterminedError."""
        other = self.fit.at(self.summed.without(self.rows_of(level)))
        if other.kept != self.fit.kept:
            raise UndeterminedError
        return other

    def _rest(self, level: int) -> IntegratedLikelihood:
        return IntegratedLikelihood.of(self.without(level), self.prior)

    def _of_one_factor(
        self,
        likelihood: IntegratedLikelihood,
        given: GivenVariances,
        lambdas: FloatArray,
        sigma: FloatArray,
        levels: IntArray,
    ) -> FloatArray:
        found = np.empty((len(sigma), len(levels)))
        size = max(1, int(_SUMS_CELLS / len(self.fit.problem.model.gram) ** 2))
        scaled = self.fit.problem.scaled_lambdas([lambdas])[0]
        units = sigma * self.fit.problem.model.response_scale
        for start in range(0, len(levels), size):
            part = _LevelSums.of(self, likelihood, levels[start : start + size])
            for r, lam in enumerate(scaled):
                one = given.take(np.array([r]))
                found[r, start : start + size] = part.densities(one, lam, float(units[r]))
        return found


@dataclass(frozen=True, eq=False)
class _LevelSums:
    """Cross-products of the rows of some levels of the only factor, in scaled units."""

    own: FloatArray  # (k, k, n_levels), Z'W Z
    right: FloatArray  # (k, q, n_levels), Z'W[X y]
    gram: FloatArray  # (n_levels, q, q), [X y]'W[X y]
    counts: FloatArray  # (n_levels,), numbers of rows
    constants: FloatArray  # (n_levels,), what brings log densities to units of y
    prior_precision: FloatArray  # (p, p), of the coefficients

    @classmethod
    def of(
        cls, given: LevelDensities, likelihood: IntegratedLikelihood, levels: IntArray
    ) -> _LevelSums:
        """Sum the rows of some levels."""
        fit, rows = given.fit, given.summed.rows
        model, codes = fit.problem.model, rows.codes[given.factor]
        places = np.full(len(rows.indexes[given.factor]), -1)
        places[levels] = np.arange(len(levels))
        chosen = np.flatnonzero(places[codes] >= 0)
        some, own = rows.take(chosen), places[codes[chosen]]
        is_counted, weights = fit.spec.weighting == "frequency", some.weights
        columns, n = ScaledTable.of(fit, some).fixed, len(levels)
        gram = level_sums(own, n, list(columns.T), columns, weights).transpose(2, 0, 1)
        counts = np.bincount(own, weights if is_counted else None, n).astype(np.float64)
        unit = 1.0 if is_counted else fit.products.unit
        constants = counts * math.log(model.response_scale * math.sqrt(unit))
        if weights is not None and not is_counted:
            constants += 0.5 * np.bincount(own, np.log(weights / unit), n)
        return cls(
            model.own[0][:, :, levels],
            model.right[0][:, :, levels],
            gram,
            counts,
            constants,
            likelihood.prior.precision,
        )

    def densities(self, given: GivenVariances, lam: FloatArray, sigma: float) -> FloatArray:
        """Return log densities of the levels, (n_levels,), at one lambda, (k, k), and sigma.

        `given` has the coefficients of all rows there, of which it is the only one.
        """
        root, variance = lam[:, :, None], sigma**2
        inner = multiply_levels(multiply_transposed(root, self.own), root)
        lower, half, _ = cholesky_plus_identity(inner)
        white = multiply_levels(half, multiply_transposed(root, self.right))
        reduced = self.gram - np.einsum("kil,kjl->lij", white, white)
        p = len(self.prior_precision)
        whole, u = given.lower[0], given.whitened[0]
        information = whole @ whole.T
        rest, lost = cholesky(information - reduced[:, :p, :p] / variance)
        share = np.square(diagonal(rest)) / np.diag(information)
        if lost.any() or (p and (share < UNDETERMINED).any()):
            raise UndeterminedError
        target = whole @ u - reduced[:, :p, p] / variance
        left = np.linalg.solve(rest, target[:, :, None])[:, :, 0]
        log_det = 2.0 * sum(np.log(lower[j, j]) for j in range(len(lower)))
        log_det = log_det + 2.0 * np.log(np.diag(whole)).sum() - 2.0 * np.log(diagonal(rest)).sum(1)
        squares = reduced[:, p, p] / variance - u @ u + np.square(left).sum(axis=1)
        constant = self.counts * math.log(2.0 * math.pi * variance)
        return np.asarray(-0.5 * (log_det + squares + constant) + self.constants)
