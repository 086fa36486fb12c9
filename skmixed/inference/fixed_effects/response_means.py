"""Marginal means on the response scale, and category probabilities, of generalized models.

The mean response at x is averaged over groups: m = E g(x'beta + z'b), with the inverse link g and b
~ N(0, Omega). It depends on theta through the variance of z'b, its derivative in which is half the
second derivative in x'beta. The same holds for the probabilities of ordered categories, which also
depend on the gaps between thresholds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from skmixed.core.families.ordinal import Cumulative
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import BoolArray, FloatArray, IntArray
from skmixed.core.search.coordinates import Coordinates
from skmixed.core.sums.layout import CONSTANT
from skmixed.inference.fixed_effects.testing import t_p_values

NOTE = "Mean responses, averaged over groups; standard errors by the delta method."
INVERSE_LINK_NOTE = (
    "Inverse link of the linear predictor, with random effects of zero; standard errors by the "
    "delta method."
)
_Map = Callable[[FloatArray], FloatArray]

SHARES_NOTE = "Category probabilities, averaged over groups; standard errors by the delta method."
_SHARE_STEP = 1e-3  # second differences with this step keep nine digits
_SLOPE_STEP = 1e-4  # of the link of a mean: its square is far below the precision of an error


@dataclass(frozen=True, slots=True, eq=False)
class ResponseMeans:
    """Mean responses at combinations of levels."""

    fit: GeneralizedFit
    covariance: FloatArray  # (n_fixed + t + m,) twice, of beta, theta and phi
    means: FloatArray  # (m,); (m J,) of ordered categories, those of a combination together
    slopes: FloatArray  # (m, n_fixed + t), in beta and theta; (m J, n_fixed + t + J - 2)

    @classmethod
    def of(
        cls,
        fit: GeneralizedFit,
        covariance: FloatArray,
        rows: FloatArray,
        weights: FloatArray,
        unknown: BoolArray,
        offset: float = 0.0,
    ) -> ResponseMeans:
        """Average the means at rows of fixed columns, (n, n_fixed), with weights (m, n).

        The covariance is that of beta, theta and phi, and the offset that of each row. Means that
        are not estimable are `unknown`, (m,), and become NaN. Raises ValueError for a random slope
        whose column is not in the fixed part.
        """
        columns = _random_columns(fit, rows)
        variance, by_theta = _variances(fit, columns, len(rows))
        eta = rows @ fit.beta + offset
        if isinstance(fit.family, Cumulative):
            shares = _CategoryShares(fit.family, fit.phi, eta, variance)
            slopes = shares.slopes(rows, by_theta)
            found = cls(
                fit,
                covariance,
                (weights @ shares.values).ravel(),
                np.einsum("mn,njq->mjq", weights, slopes).reshape(-1, slopes.shape[-1]),
            )
            unknown = np.repeat(unknown, shares.values.shape[1])
            found.means[unknown], found.slopes[unknown] = np.nan, np.nan
            return found
        family = fit.mean_family
        means = family.integrated_mean(eta, variance)
        by_eta = family.integrated_slope(eta, variance)
        by_variance = by_eta * family.variance_weight(eta, variance)
        slopes = np.column_stack([by_eta[:, None] * rows, by_variance[:, None] * by_theta.T])
        found = cls(fit, covariance, weights @ means, weights @ slopes)
        found.means[unknown], found.slopes[unknown] = np.nan, np.nan
        return found

    def table(self, names: Any, level: float) -> pd.DataFrame:
        """Tabulate the means with intervals that are symmetric on the scale of the link."""
        errors, (eta_of, mean) = self._errors(self.slopes), self._link
        link = eta_of(self.means)
        ends = [mean(link + step) for step in (-_SLOPE_STEP, _SLOPE_STEP)]
        half = stats.norm.ppf((1.0 + level) / 2.0) * errors
        half = half * 2.0 * _SLOPE_STEP / (ends[1] - ends[0])
        limits = {"lower": mean(link - half), "upper": mean(link + half)}
        return pd.DataFrame({"estimate": self.means, "std_error": errors, **limits}, index=names)

    @property
    def _link(self) -> tuple[_Map, _Map]:
        """The link of means or probabilities, and its inverse."""
        family = self.fit.family
        if isinstance(family, Cumulative):
            return family.quantile, lambda eta: np.exp(family.log_cdf(eta))
        return self.fit.mean_family.eta_of, self.fit.mean_family.mean

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
        covariance = self.covariance[:size, :size].copy()
        covariance[infinite], covariance[:, infinite] = 0.0, 0.0
        squares = np.einsum("ri,ij,rj->r", slopes, covariance, slopes)
        unknown = (slopes[:, infinite] != 0.0).any(axis=1)
        return np.where(unknown, np.nan, np.sqrt(np.maximum(squares, 0.0)))


def inverse_link_means(frame: pd.DataFrame, fit: GeneralizedFit) -> pd.DataFrame:
    """Return linear predictors and their limits on the response scale, without tests."""
    family, eta = fit.mean_family, frame["estimate"].to_numpy()
    means = family.mean(eta)
    slopes = family.mean(eta + _SLOPE_STEP) - family.mean(eta - _SLOPE_STEP)
    columns = {"estimate": means, "std_error": slopes / (2.0 * _SLOPE_STEP) * frame["std_error"]}
    columns |= {limit: family.mean(frame[limit].to_numpy()) for limit in ("lower", "upper")}
    return pd.DataFrame(columns, index=frame.index)


@dataclass(frozen=True, slots=True, eq=False)
class _CategoryShares:
    """Probabilities of ordered categories over all groups, and their derivatives."""

    family: Cumulative
    phi: FloatArray  # (J - 2,)
    eta: FloatArray  # (n,)
    variance: FloatArray  # (n,), of z'b

    @property
    def values(self) -> FloatArray:
        """The probabilities, (n, J)."""
        return self._at(0.0, self.phi)

    def slopes(self, rows: FloatArray, by_theta: FloatArray) -> FloatArray:
        """Return derivatives in beta, theta and phi, (n, J, n_fixed + t + J - 2)."""
        below, above = self._at(-_SHARE_STEP, self.phi), self._at(_SHARE_STEP, self.phi)
        by_eta = (above - below) / (2.0 * _SHARE_STEP)
        by_variance = 0.5 * (above - 2.0 * self.values + below) / _SHARE_STEP**2
        by_phi = [
            (self._at(0.0, self.phi + step) - self._at(0.0, self.phi - step)) / (2.0 * _SHARE_STEP)
            for step in _SHARE_STEP * np.eye(len(self.phi))
        ]
        parts = [
            by_eta[..., None] * rows[:, None, :],
            by_variance[..., None] * by_theta.T[:, None, :],
            np.stack(by_phi, axis=-1) if by_phi else np.zeros((*by_eta.shape, 0)),
        ]
        return np.concatenate(parts, axis=-1)

    def _at(self, step: float, phi: FloatArray) -> FloatArray:
        return self.family.probabilities(self.eta + step, self.variance, phi)


def _random_columns(fit: GeneralizedFit, rows: FloatArray) -> list[FloatArray]:
    """Return the random columns of every used factor, (n, k), at rows of the fixed ones."""
    place_of = {column: rows[:, n] for n, column in enumerate(fit.spec.fixed)}
    place_of[CONSTANT] = np.ones(len(rows))
    found = []
    for factor in fit.spec.used_factors:
        columns = fit.spec.factor_columns(factor)
        if fit.products.factors[factor].index.is_whole:  # smooths are at their mean, zero
            found.append(np.zeros((len(rows), len(columns))))
            continue
        missing = [fit.products.layout.columns[c] for c in columns if c not in place_of]
        if missing:
            raise ValueError(
                f"{missing} have random slopes but are not in the fixed part, so their values are "
                "not known here: use scale='link', or predict(X, random='none') for rows with all "
                "columns"
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
