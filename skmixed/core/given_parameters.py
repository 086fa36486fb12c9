"""The random effects of a fitted linear mixed model given other data than the fit's.

They are those at the parameters that were estimated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit, modes_at
from skmixed.core.linalg import FloatArray
from skmixed.core.model.evaluation import Evaluation
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import ModelSpec
from skmixed.core.sums.crossproducts import CrossProducts


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """What data say of the random effects at given parameters."""

    at: Fit  # the data, at the relative covariances
    beta: FloatArray  # (n_fixed,), coefficients in raw units
    beta_covariance: FloatArray  # (n_fixed, n_fixed), their covariance
    sigma2: float  # residual variance, in squared units of y

    @classmethod
    def of(cls, fit: Fit, products: CrossProducts) -> Posterior:
        """Take the parameters of a fit to other data of the same layout.

        The other data stand in place of those of the fit, not beside them.
        """
        return cls(fit.at(products), fit.beta, fit.beta_covariance, fit.sigma2)

    def with_parameters(self, fit: Fit) -> Posterior:
        """Return what the same data say at the parameters of another fit."""
        return Posterior.of(fit, self.products)

    @property
    def products(self) -> CrossProducts:
        """The data."""
        return self.at.products

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self.at.spec

    @property
    def problem(self) -> Problem:
        """The model of the data, in scaled units."""
        return self.at.problem

    @property
    def evaluation(self) -> Evaluation:
        """The model of the data at the relative covariances, in scaled units."""
        return self.at.evaluation

    @property
    def is_determined(self) -> bool:
        """Whether the data leave anything for the residual."""
        return self.at.is_determined

    @property
    def scaled_beta_covariance(self) -> FloatArray:
        """Covariance of the coefficients of the scaled columns, (p, p), in squared units of y."""
        return np.asarray(self.from_raw @ self.beta_covariance @ self.from_raw.T)

    @property
    def from_raw(self) -> FloatArray:
        """The map from coefficients to those of the scaled columns, (p, n_fixed)."""
        model, fixed = self.problem.model, list(self.spec.fixed)
        kept, to_raw = list(model.kept), model.to_raw[fixed, :-1]
        back = np.zeros(to_raw.T.shape)
        back[:, kept] = np.linalg.inv(to_raw[kept])
        return back

    @property
    def modes(self) -> Blocks:
        """Conditional means of the random effects of every used factor, shape (n_levels, k).

        b = Omega Z'V^-1(y - X beta).
        """
        model = self.problem.model
        target = np.zeros(len(model.to_raw))
        target[list(self.spec.fixed)] = -self.beta
        target[-1] = 1.0
        rest = model.response_scale * target - model.to_raw[:, -1]
        fixed = np.linalg.lstsq(model.to_raw[:, :-1], rest, rcond=None)[0]
        return modes_at(self.evaluation, np.append(fixed, 1.0))

    def conditional_covariance(self, position: int) -> FloatArray:
        """Covariance of the random effects of every level, shape (n_levels, k, k), as of `Fit`."""
        return self.at.conditional_covariance(position) * (self.sigma2 / self.at.sigma2)
