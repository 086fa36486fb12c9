"""Fitted attributes that are computed when asked for."""

from __future__ import annotations

from typing import Any

import pandas as pd
from sklearn.utils.validation import check_is_fitted

from skmixed.core.fit import Fit, Posterior
from skmixed.core.linalg import FloatArray
from skmixed.core.rows.monte_carlo import MonteCarloErrors
from skmixed.design.design import Design
from skmixed.estimators._labels import RandomLabels


class LabelledAttributes:
    """Estimates of a fitted linear mixed model under their labels."""

    fit_: Fit
    design_: Design
    _posterior: Fit | Posterior  # the fit, or what `update_groups` has made of it
    _effects: list[FloatArray]  # BLUPs of every used factor, (n_levels, k)

    @property
    def coef_covariance_(self) -> pd.DataFrame:
        """Covariance matrix of the fixed coefficients, the intercept first if there is one."""
        check_is_fitted(self)
        names = self.design_.fixed_names
        return pd.DataFrame(self.fit_.beta_covariance, index=names, columns=names)

    @property
    def log_likelihood_(self) -> float:
        """Log-likelihood, restricted for a REML fit with random terms."""
        check_is_fitted(self)
        return self.fit_.log_likelihood

    @property
    def aic_(self) -> float:
        """Akaike's information criterion."""
        check_is_fitted(self)
        return self.fit_.aic

    @property
    def bic_(self) -> float:
        """Bayesian information criterion."""
        check_is_fitted(self)
        return self.fit_.bic

    @property
    def random_covariance_(self) -> dict[str, pd.DataFrame]:
        """Covariance matrix of the random effects of every factor."""
        check_is_fitted(self)
        return {
            factor.name: pd.DataFrame(covariance, index=factor.columns, columns=factor.columns)
            for factor, covariance in zip(self._random_labels(), self.fit_.covariances, strict=True)
        }

    @property
    def random_effects_(self) -> dict[str, pd.DataFrame]:
        """BLUPs of every factor."""
        check_is_fitted(self)
        return {
            factor.name: pd.DataFrame(effects, factor.levels, factor.columns, copy=True)
            for factor, effects in zip(self._random_labels(), self._effects, strict=True)
        }

    @property
    def random_effects_covariance_(self) -> dict[str, FloatArray]:
        """Conditional covariance of the random effects of every factor."""
        check_is_fitted(self)
        return {
            factor.name: self._posterior.conditional_covariance(position)
            for position, factor in enumerate(self._random_labels())
        }

    @property
    def monte_carlo_errors_(self) -> dict[str, pd.DataFrame]:
        """Monte Carlo standard errors of `random_covariance_`; only of ``solver="iterative"``."""
        check_is_fitted(self)
        if self.fit_.report.monte_carlo is None:
            raise AttributeError("no estimate of this model is random, so that none has this error")
        errors = MonteCarloErrors.of(self.fit_).covariances
        return {
            factor.name: pd.DataFrame(error, index=factor.columns, columns=factor.columns)
            for factor, error in zip(self._random_labels(), errors, strict=True)
        }

    def _random_labels(self) -> list[RandomLabels]:
        """Return the labels of every factor that has a term."""
        return [
            RandomLabels.of(self.design_, factor, self.fit_.spec.factor_columns(factor))
            for factor in self.fit_.spec.used_factors
        ]

    def __sklearn_is_fitted__(self) -> Any:
        """Tell scikit-learn whether `fit` has worked."""
        return hasattr(self, "fit_")
