"""What the criterion asks of any way to eliminate the random effects, and what is exact has to say.

V = W^-1 + sum over factors of Z_f (I x Omega_f) Z_f', relative to the residual variance. Blocks of
cross-products have the levels along their last axis.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from skmixed.core.elimination.iterative.settings import Krylov
from skmixed.core.linalg import FloatArray, IntArray

Blocks = list[FloatArray]


class LostPrecisionError(ArithmeticError, ValueError):
    """The cross-products have too few digits for this model."""


class Reduced(Protocol):
    """Columns R, given as Z_f'R of every factor, after the random effects are eliminated."""

    def remaining(self, gram: FloatArray, within: FloatArray | None = None) -> FloatArray:
        """Return R'V^-1 R, (m, m), from R'W R, (m, m).

        `within` is the same of deviations from the means of the levels of the factor that is
        eliminated first, a random intercept; from them nothing is lost by subtraction.
        """
        ...

    def cross(self) -> Blocks:
        """Return Z_f'V^-1 R of every factor, (k_f, m, n_levels_f)."""
        ...


class Factorisation(Protocol):
    """V at one value of the lambdas, in factored form."""

    @property
    def log_det(self) -> float:
        """log|V|, less what the weights add."""
        ...

    @property
    def log_det_error(self) -> float:
        """Monte Carlo standard error of `log_det`."""
        return 0.0

    def reduce(self, right: Blocks) -> Reduced:
        """Eliminate the random effects from columns given as Z_f'R of every factor."""
        ...

    def information(self, factor: int) -> FloatArray:
        """Return Z_f'V^-1 Z_f of every level, (k, k, n_levels)."""
        ...

    def total_information(self, factor: int) -> FloatArray:
        """Return the sum of `information` over levels, (k, k)."""
        ...

    def samples(self, factor: int) -> FloatArray:
        """Return what each of n random vectors says of a part of `total_information`, (n, k, k).

        None are needed where all of it is computed.
        """
        k = len(self.total_information(factor))
        return np.empty((0, k, k))

    def conditional_covariance(self, factor: int) -> FloatArray:
        """Return var(b | y, beta) / sigma^2 of every level of a factor, (k, k, n_levels).

        It is Omega - Omega Z_f'V^-1 Z_f Omega, without the subtraction.
        """
        ...

    def effect_variances(self, random: Blocks, codes: list[IntArray]) -> FloatArray:
        """Return var(z'b | y, beta) / sigma^2 of n rows, (n,), those of the fit or others.

        It is z'C z with C the conditional covariance of all random effects, across factors too.
        Every factor gives its z, (k_f, n), zeros where a row has no known level of it, and the
        codes, (n,), any level where there is none.
        """
        ...


class Elimination(Protocol):
    """Cross-products of the random columns, arranged for one order of elimination."""

    @property
    def krylov(self) -> Krylov | None:
        """How systems are solved and traces estimated; None where all is computed."""
        return None

    @property
    def outermost(self) -> int | None:
        """The factor whose levels hold whole levels of every other; None where factors cross."""
        return None

    def factorise(self, lambdas: list[FloatArray], /) -> Factorisation:
        """Factor V at the lambdas given, one a factor in the caller's order."""
        ...

    def multiply(self, effects: Blocks) -> Blocks:
        """Return Z_f'W times the sum over g of Z_g effects_g, (k, m, n_levels) for every factor.

        `effects` are m columns of random effects of every factor, (k, m, n_levels).
        """
        ...

    def with_krylov(self, krylov: Krylov) -> Elimination:
        """Return the same with other settings, where there are any."""
        return self
