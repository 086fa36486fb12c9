"""Posterior predictions of a generalized model: means, quantiles and draws.

Given a draw, the linear predictor of a row has a known part, and for unknown levels a normal one,
over which means are integrated. Each row is computed from itself alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from skmixed.bayes.row_predictions import chosen_draws, drawn_predictors
from skmixed.core.families.family import MeanFamily
from skmixed.core.linalg import FloatArray
from skmixed.core.rows.linear_predictor import z_b

if TYPE_CHECKING:
    from skmixed.bayes.generalized_draws import GeneralizedDraws

_DRAWS_OF_MEANS = 1_000  # averaged for a mean: an error of 3% of the standard deviation
_PREDICTED_CELLS = 2**19  # rows times draws at a time: some arrays of 4 MB


@dataclass(frozen=True, slots=True, eq=False)
class PredictedRows:
    """Rows to predict from posterior draws."""

    draws: GeneralizedDraws
    source: Any  # grouping columns and the rest of the table
    rows: Any  # `PredictionRows`
    log_exposure: FloatArray | None  # (n,)
    is_missing: Any  # (n,), rows without a prediction

    @classmethod
    def read(cls, draws: GeneralizedDraws, X: Any, groups: Any, random: Any) -> PredictedRows:
        """Validate the arguments of a prediction by the model that was sampled."""
        model = draws.model
        source, rows, exposure = model._rows_to_predict(
            model._state(), X, groups, random, all_columns=True
        )
        is_missing = np.isnan(rows.means(model.handle_unknown))
        return cls(draws, source, rows, exposure, is_missing)

    @property
    def family(self) -> MeanFamily:
        """The family of the responses."""
        family: MeanFamily = self.draws.fit.mean_family
        return family

    def means(self) -> FloatArray:
        """Return posterior means of the mean response, (n,), averaged over unknown levels."""
        found = np.empty(len(self.is_missing))
        for chosen, center, variance in self._predictors(_DRAWS_OF_MEANS):
            found[chosen] = self._mean(center, variance).mean(axis=1)
        return np.where(self.is_missing, np.nan, found)

    def deviations(self) -> FloatArray:
        """Return posterior standard deviations of the means of the rows' own groups, (n,)."""
        found = np.empty(len(self.is_missing))
        for chosen, center, variance in self._predictors(_DRAWS_OF_MEANS, drawn=True):
            found[chosen] = self._mean(center, variance).std(axis=1)
        return np.where(self.is_missing, np.nan, found)

    def quantiles(
        self, probabilities: FloatArray, sizes: FloatArray | None, *, observation: bool
    ) -> FloatArray:
        """Return quantiles, (n, m), of the means of the rows' own groups, or of observations."""
        draws = self.draws
        found = np.empty((len(self.is_missing), len(probabilities)))
        total = draws.n_chains * draws.n_draws
        generator = np.random.default_rng([draws.seed, 1])
        method: Literal["inverted_cdf", "linear"] = "inverted_cdf" if observation else "linear"
        for chosen, center, variance in self._predictors(total, drawn=True):
            if observation:
                phi = draws.phi.reshape(total, -1)
                own = None if sizes is None else sizes[chosen]
                values = drawn_observations(draws, center, phi, own, generator)
            else:
                values = self._mean(center, variance)
            found[chosen] = np.quantile(values, probabilities, axis=1, method=method).T
        found[self.is_missing] = np.nan
        return found

    def _predictors(
        self, most: int, *, drawn: bool = False
    ) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
        """Yield linear predictors, (m, R), of batches of rows at R draws, and variances.

        The variances are those of levels that are left out or unknown, unless effects are `drawn`
        for these.
        """
        draws, rows = self.draws, self.rows
        total = draws.n_chains * draws.n_draws
        which = np.arange(0, total, max(1, -(-total // most)))
        beta = draws.coef.reshape(total, -1)[which]
        roots = draws._parametrization.roots(draws.phi.reshape(total, -1)[which])
        spec, n = draws.fit.spec, len(self.is_missing)
        size = max(1, _PREDICTED_CELLS // len(which))
        generator = np.random.default_rng([draws.seed, 2])
        for start in range(0, n, size):
            chosen = slice(start, min(start + size, n))
            columns = rows.columns[chosen]
            center = np.einsum("ij,rj->ir", columns[:, list(spec.fixed)], beta)
            for shift in (rows.offset, self.log_exposure):
                if shift is not None:
                    center += shift[chosen, None]
            variance = np.zeros(center.shape)
            codes, effects = [code[chosen] for code in rows.codes], []
            for position, factor in enumerate(spec.used_factors):
                is_wanted = rows.wanted[position]
                if not is_wanted:
                    codes[factor] = np.full(len(columns), -1)
                levels, own = np.unique(codes[factor], return_inverse=True)
                felt = levels >= 0
                of_levels = np.zeros((len(levels), roots[position].shape[1], len(which)))
                if felt.any():
                    known = draws._effect_draws.of(position, levels[felt])[which]
                    of_levels[felt] = known.transpose(1, 2, 0)
                effects.append(of_levels)
                z = columns[:, list(spec.factor_columns(factor))]
                through = np.einsum("ia,rab->irb", z, roots[position])
                unknown = codes[factor] < 0
                if is_wanted and drawn:
                    new = generator.standard_normal(through.shape)
                    center += np.where(unknown[:, None], (through * new).sum(axis=2), 0.0)
                else:
                    variance += np.where(unknown[:, None], np.square(through).sum(axis=2), 0.0)
                codes[factor] = np.where(unknown, -1, own)
            center += z_b(spec, columns, codes, effects)
            yield chosen, center, variance

    def _mean(self, center: FloatArray, variance: FloatArray) -> FloatArray:
        """Return mean responses, averaged over normal predictors, (m, R)."""
        found = self.family.mean(center)
        felt = variance > 0.0
        found[felt] = self.family.integrated_mean(center[felt], variance[felt])
        return np.asarray(found)


def sampled_responses(
    draws: GeneralizedDraws,
    X: Any,
    groups: Any,
    sizes: FloatArray | None,
    n_samples: int,
    generator: np.random.Generator,
) -> FloatArray:
    """Draw responses of rows, (n, n_samples), each column from one draw of all parameters."""
    predicted = PredictedRows.read(draws, X, groups, "all")
    phi, beta, chosen = chosen_draws(draws, n_samples, generator)

    def known(position: int, levels: Any) -> FloatArray:
        return np.asarray(draws._effect_draws.of(position, levels)[chosen])

    eta = drawn_predictors(draws, predicted.source, predicted.rows, phi, beta, known, generator)
    if predicted.log_exposure is not None:
        eta += predicted.log_exposure[:, None]
    return drawn_observations(draws, eta, phi, sizes, generator)


def drawn_observations(
    draws: GeneralizedDraws,
    eta: FloatArray,  # (n, R)
    phi: FloatArray,  # (R, d)
    sizes: FloatArray | None,  # (n,), trials or exposures
    generator: np.random.Generator,
) -> FloatArray:
    """Draw responses of the family at predictors, (n, R)."""
    weights = None if sizes is None else np.repeat(sizes, eta.shape[1])
    dispersions = np.tile(draws.dispersions(phi).T, len(eta))
    family = draws.fit.family
    return np.asarray(family.draw(eta.ravel(), weights, dispersions, generator)).reshape(eta.shape)
