"""Marginal means of a generalized model on the scale of its response.

The mean of the response at x is that over all groups: m = E g(x'beta + z'b), g being the inverse of
the link and b ~ N(0, Omega). It depends on theta by the variance of z'b, in which its derivative is
half the second one in x'beta.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import BoolArray, FloatArray, IntArray
from skmixed.core.search.coordinates import Coordinates
from skmixed.core.sums.layout import CONSTANT
from skmixed.inference.testing import t_p_values

NOTE = "Means of the response over all groups; errors by the delta method."
_SLOPE_STEP = 1e-4  # of the link of a mean: its square is far below the digits of an error


@dataclass(frozen=True, slots=True, eq=False)
class ResponseMeans:
    """Means of the response at combinations of levels."""

    fit: GeneralizedFit
    means: FloatArray  # (m,)
    slopes: FloatArray  # (m, n_fixed + t), in beta and theta

    @classmethod
    def of(
        cls, fit: GeneralizedFit, rows: FloatArray, weights: FloatArray, unknown: BoolArray
    ) -> ResponseMeans:
        """Average the means at rows of fixed columns, (n, n_fixed), by weights, (m, n).

        Those that are not determined are `unknown`, (m,), and NaN. Raises ValueError for a random
        slope whose column is not in the fixed part.
        """
        columns = _random_columns(fit, rows)
        variance, by_theta = _variances(fit, columns, len(rows))
        eta, family = rows @ fit.beta, fit.mean_family
        means = family.integrated_mean(eta, variance)
        by_eta = family.integrated_slope(eta, variance)
        by_variance = by_eta * family.variance_weight(eta, variance)
        slopes = np.column_stack([by_eta[:, None] * rows, by_variance[:, None] * by_theta.T])
        found = cls(fit, weights @ means, weights @ slopes)
        found.means[unknown], found.slopes[unknown] = np.nan, np.nan
        return found

    def table(self, names: Any, level: float) -> pd.DataFrame:
        """Tabulate the means with intervals that are symmetric on the scale of the link."""
        errors, family = self._errors(self.slopes), self.fit.mean_family
        link = family.eta_of(self.means)
        ends = [family.mean(link + step) for step in (-_SLOPE_STEP, _SLOPE_STEP)]
        half = stats.norm.ppf((1.0 + level) / 2.0) * errors
        half = half * 2.0 * _SLOPE_STEP / (ends[1] - ends[0])
        limits = {"lower": family.mean(link - half), "upper": family.mean(link + half)}
        return pd.DataFrame({"estimate": self.means, "std_error": errors, **limits}, index=names)

    def differences(self, pairs: IntArray, names: list[str]) -> pd.DataFrame:
        """Tabulate the differences of pairs of means, (r, 2), with their tests."""
        first, second = pairs.T
        estimates = self.means[first] - self.means[second]
        errors = self._errors(self.slopes[first] - self.slopes[second])
        with np.errstate(divide="ignore", invalid="ignore"):
            statistics = estimates / errors
        degrees = np.full(len(estimates), np.inf)
        columns = {
            "estimate": estimates,
            "std_error": errors,
            "df": degrees,
            "statistic": statistics,
            "p_value": t_p_values(statistics, degrees),
        }
        return pd.DataFrame(columns, index=pd.Index(names))

    def _errors(self, slopes: FloatArray) -> FloatArray:
        """Return standard errors, (r,), of functions with slopes, (r, n_fixed + t)."""
        size, infinite = slopes.shape[1], list(self.fit.separated)
        covariance = self.fit.parameter_covariance[:size, :size].copy()
        covariance[infinite], covariance[:, infinite] = 0.0, 0.0
        squares = np.einsum("ri,ij,rj->r", slopes, covariance, slopes)
        unknown = (slopes[:, infinite] != 0.0).any(axis=1)
        return np.where(unknown, np.nan, np.sqrt(np.maximum(squares, 0.0)))


def _random_columns(fit: GeneralizedFit, rows: FloatArray) -> list[FloatArray]:
    """Return the random columns of every used factor, (n, k), at rows of the fixed ones."""
    place_of = {column: rows[:, n] for n, column in enumerate(fit.spec.fixed)}
    place_of[CONSTANT] = np.ones(len(rows))
    found = []
    for factor in fit.spec.used_factors:
        columns = fit.spec.factor_columns(factor)
        missing = [fit.products.layout.columns[c] for c in columns if c not in place_of]
        if missing:
            raise ValueError(
                f"the slopes of {missing} vary over groups, but they are not in the fixed part, so "
                "that their values here are not known: take scale='link', or predict(X, "
                "random='none') of rows with all columns"
            )
        found.append(np.column_stack([place_of[column] for column in columns]))
    return found


def _variances(
    fit: GeneralizedFit, columns: list[FloatArray], n: int
) -> tuple[FloatArray, FloatArray]:
    """Return the variance of z'b, (n,), and its derivatives in theta, (t, n)."""
    if not columns:
        return np.zeros(n), np.zeros((0, n))
    coordinates = Coordinates.natural(fit.problem.structures)
    omegas = [lam @ lam.T for lam in fit.working.scaled_lambdas]
    total, slopes = np.zeros(n), []
    zipped = zip(
        columns,
        fit.problem.model.random_maps,
        omegas,
        coordinates.directions(coordinates.theta(omegas)),
        strict=True,
    )
    for z, random_map, omega, directions in zipped:
        scaled = z @ random_map
        total += np.einsum("ni,ij,nj->n", scaled, omega, scaled)
        slopes.append(np.einsum("ni,tij,nj->tn", scaled, directions, scaled))
    return total, np.concatenate(slopes)
