"""Fitted state of a Bayesian linear mixed model: the initial fit, and posterior draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from skmixed.bayes.posterior_draws import PosteriorDraws
from skmixed.bayes.sampling import checked_fit, draws_of
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, generator_of
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Rows
from skmixed.design.design import Design
from skmixed.design.records import stored
from skmixed.estimators._estimator import FittedAttribute
from skmixed.estimators.mixed._linear_state import LinearState
from skmixed.estimators.reading._prediction_rows import LinearEstimates
from skmixed.estimators.reading._training_data import TrainingData


@stored
@dataclass(frozen=True, eq=False, kw_only=True)
class BayesianState(LinearState):
    """State of the REML fit, and draws from the posterior."""

    draws: PosteriorDraws | None  # None where no residual variance is left

    @classmethod
    def of(cls, model: Any, data: TrainingData, design: Design, fit: Fit, **more: Any) -> Self:
        """Assemble the state of a fit to a table, and sample its posterior."""
        return super().of(model, data, design, fit, draws=_drawn(model, fit), **more)

    def with_rows(self, model: Any, rows: Rows, residual: ResidualRows | None) -> Self:
        """Fit to all rows so far and further ones, and sample the posterior anew."""
        again = super().with_rows(model, rows, residual)
        return replace(again, draws=_drawn(model, again.fit))

    def _held(self) -> dict[str, Any]:
        draws = self.draws and replace(self.draws, fit=None)
        return {**super()._held(), "draws": draws}

    @classmethod
    def _fields_of(cls, held: dict[str, Any]) -> dict[str, Any]:
        known = super()._fields_of(held)
        draws = held["draws"] and replace(held["draws"], fit=known["fit"])
        return {**known, "draws": draws}

    def sampled(self) -> PosteriorDraws:
        """Return the draws. Raises ValueError where there is no posterior."""
        if self.draws is None:
            raise ValueError(
                "no residual variance is left, so that there is no posterior to sample: remove "
                "columns or random effects, or add rows"
            )
        return self.draws

    @property
    def further_products(self) -> CrossProducts | None:
        """Sums of all rows that inform the random effects, if there are more than in the fit."""
        return self.posterior.products if self.has_further_rows else None

    @cached_property
    def estimates(self) -> LinearEstimates:
        """Posterior means, or the estimates of the fit where there is no posterior."""
        fit = self.fit
        if self.draws is None:
            return super().estimates
        return LinearEstimates(
            beta=self.draws.coef_mean,
            effects=self.draws.nodes.effect_means(fit, self.further_products),
            residual_variance=float(np.square(self.draws.sigma).mean()),
            theta=fit.theta,
            criterion=fit.criterion,
            rank=fit.rank,
            is_singular=fit.is_singular,
        )

    def conditional_covariance(self, position: int) -> FloatArray:
        """Return the posterior covariance of random effects, (n_levels, k, k)."""
        if self.draws is None:
            return super().conditional_covariance(position)
        return self.draws._averages(self.further_products)[position].covariance

    @property
    def coef_covariance(self) -> pd.DataFrame:
        """Posterior covariance of the fixed-effect coefficients."""
        if self.draws is None:
            return super().coef_covariance
        names = self.design.fixed_names
        return pd.DataFrame(self.draws.coef_covariance, index=names, columns=names)

    @property
    def random_covariance(self) -> dict[str, pd.DataFrame]:
        """Posterior mean of the covariance of the random effects of each factor."""
        if self.draws is None:
            return super().random_covariance
        means = [each.mean(axis=(0, 1)) for each in self.draws.random_covariance.values()]
        return {
            each.name: each.square(means[position]) for position, each in self.random_labels.items()
        }

    @property
    def sigma(self) -> float:
        """Posterior mean of the residual standard deviation."""
        if self.draws is None:
            return float(np.sqrt(self.fit.sigma2))
        return float(self.draws.sigma.mean())


def _drawn(model: Any, fit: Fit) -> PosteriorDraws | None:
    """Sample the posterior if it exists; otherwise `warn_about` has said why not."""
    if not fit.is_determined or fit.report.is_unbounded:
        return None
    return draws_of(
        checked_fit(fit),
        model.prior,
        model.n_draws,
        model.n_chains,
        generator_of(model.random_state),
        model.n_jobs,
        model.verbose,
        model.sampler,
    )


class BayesianAttributes:
    """Public attributes of a Bayesian linear mixed model."""

    posterior_ = FittedAttribute[PosteriorDraws]("draws", optional=True)
    design_ = FittedAttribute[Design]()
    formula_ = FittedAttribute[str]()
    coef_ = FittedAttribute[FloatArray]()
    intercept_ = FittedAttribute[float]()
    fixed_effects_ = FittedAttribute["pd.Series[float]"]()
    coef_covariance_ = FittedAttribute[pd.DataFrame]()
    sigma_ = FittedAttribute[float]()
    residual_variance_ = FittedAttribute[float]("estimates.residual_variance")
    random_covariance_ = FittedAttribute[dict[str, pd.DataFrame]]()
    random_effects_ = FittedAttribute[dict[str, pd.DataFrame]]()
    random_effects_covariance_ = FittedAttribute[dict[str, FloatArray]]()
    n_groups_ = FittedAttribute[dict[str, int]]()
    rank_ = FittedAttribute[int]("parameters.rank")
    n_iter_ = FittedAttribute[int]()
    log_evidence_ = FittedAttribute[float]("draws.log_evidence", optional=True)
    efficiency_ = FittedAttribute[float]("draws.efficiency", optional=True)
    pareto_k_ = FittedAttribute[float]("draws.pareto_k", optional=True)
