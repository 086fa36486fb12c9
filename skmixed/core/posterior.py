"""Random effects given data and parameters that were estimated from other data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.crossproducts import CrossProducts
from skmixed.core.elimination import Blocks
from skmixed.core.fit import Fit
from skmixed.core.layout import FloatArray


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

    @property
    def products(self) -> CrossProducts:
        """The data."""
        return self.at.products

    @property
    def modes(self) -> Blocks:
        """Conditional means of the random effects of every used factor, shape (n_levels, k).

        b = Omega Z'V^-1(y - X beta).
        """
        model, evaluation = self.at.problem.model, self.at.evaluation
        target = np.zeros(len(model.to_raw))
        target[list(self.at.spec.fixed)] = -self.beta
        target[-1] = 1.0
        contrast = np.ones(model.to_raw.shape[1])
        rest = model.response_scale * target - model.to_raw[:, -1]
        contrast[:-1] = np.linalg.lstsq(model.to_raw[:, :-1], rest, rcond=None)[0]
        return [
            (random_map @ (lam @ (lam.T @ np.matmul(contrast, cross)))).T / model.response_scale
            for random_map, lam, cross in zip(
                model.random_maps, evaluation.factors, evaluation.cross, strict=True
            )
        ]

    def conditional_covariance(self, position: int) -> FloatArray:
        """Covariance of the random effects of every level, shape (n_levels, k, k), as of `Fit`."""
        return self.at.conditional_covariance(position) * (self.sigma2 / self.at.sigma2)
