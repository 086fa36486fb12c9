"""A linear mixed model on its cross-products: what `evaluate` computes the criterion from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import linalg

from skmixed.core.elimination.choose import arrange
from skmixed.core.elimination.iterative.settings import Krylov
from skmixed.core.elimination.protocol import Blocks, Elimination
from skmixed.core.linalg import FloatArray, least_squares
from skmixed.core.model.covariance import Structure
from skmixed.core.model.scaling import ScaledModel, scaled_pairs
from skmixed.core.model.spec import ModelSpec
from skmixed.core.sums.blocks import PairBlock
from skmixed.core.sums.crossproducts import CrossProducts

_EXACT_FIT = 1e-14  # of y'Wy for each column: what rounding leaves of a residual of zero
_NOISE = 2.0**-30  # of y'Wy: 1e-9, less than any data mean and far more than rounding


@dataclass(frozen=True, eq=False)
class Problem:
    """A linear mixed model on its cross-products, ready to be evaluated."""

    spec: ModelSpec
    model: ScaledModel  # its cross-products, in scaled units
    structures: tuple[Structure, ...]  # covariance of every used factor
    elimination: Elimination  # how the random effects are eliminated
    pairs: dict[tuple[int, int], PairBlock]  # scaled products of the pairs of levels that occur
    n_observations: float  # rows, or the sum of frequency weights
    constant: float  # beside the scaled criterion: scales of the columns, precision weights

    @classmethod
    def of(cls, products: CrossProducts, spec: ModelSpec, krylov: Krylov | None = None) -> Problem:
        """Set up a model; with `krylov`, crossed factors are solved for by conjugate gradients."""
        model = ScaledModel.of(products, spec)
        pairs = scaled_pairs(products, spec, model)
        frequency = spec.weighting == "frequency"
        n = products.sum_weights if frequency else float(products.n_rows)
        nu = n - len(model.kept) if spec.method == "reml" else n
        constant = -2.0 * nu * float(np.log(model.response_scale))
        if spec.method == "reml":
            constant -= 2.0 * model.log_scales
        if not frequency:
            constant -= products.sum_log_weights
        structures = tuple(spec.structure(factor) for factor in spec.used_factors)
        return cls(
            spec,
            model,
            structures,
            arrange(model.own, pairs, model.first, krylov),
            pairs,
            n,
            constant,
        )

    def with_noise(self) -> Problem:
        """Return the same model for the response with a little noise.

        The noise has nothing to do with any column and a sum of squares of 1e-9 of that of the
        response. It keeps the criterion from falling without end.
        """
        gram, within = self.model.gram.copy(), self.model.within
        noise = _NOISE * gram[-1, -1]
        gram[-1, -1] += noise
        if within is not None:
            within = within.copy()
            within[-1, -1] += noise
        return replace(self, model=replace(self.model, gram=gram, within=within))

    def scaled_lambdas(self, lambdas: Blocks) -> Blocks:
        """Return lambda of every used factor in scaled units, given in those of the data."""
        return [
            np.asarray(linalg.solve(random_map, lam))
            for random_map, lam in zip(self.model.random_maps, lambdas, strict=True)
        ]

    @property
    def rank(self) -> int:
        """Number of independent fixed columns."""
        return len(self.model.kept)

    @property
    def degrees(self) -> float:
        """Divisor nu of the residual sum of squares."""
        reml = self.spec.method == "reml"
        return self.n_observations - self.rank if reml else self.n_observations

    @cached_property
    def least_squares(self) -> tuple[FloatArray, float]:
        """Coefficients, (p,), and residual sum of squares without random effects."""
        return least_squares(self.model.gram)

    @cached_property
    def is_determined(self) -> bool:
        """Whether anything is left for the residual: more rows than fixed columns, no exact fit."""
        gram = self.model.gram
        if self.n_observations <= self.rank:
            return False
        return bool(self.least_squares[1] > _EXACT_FIT * len(gram) * gram[-1, -1])
