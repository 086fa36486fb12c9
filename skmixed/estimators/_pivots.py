"""Bootstrap distributions of the errors of predictions."""

from __future__ import annotations

import numpy as np

from skmixed.core.batch.error_sums import NeedsRowsError
from skmixed.core.batch.refits import refit_responses, refit_without_products
from skmixed.core.batch.responses import Responses, ScaledResponses, draw_responses
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.rows.prediction_errors import mean_variances
from skmixed.core.sums.layout import Rows

_REPLICATES_AT_ONCE = 250  # refitted in lock-step; draws depend on it, memory grows with it


def prediction_pivots(
    fit: Fit,
    rows: Rows,  # as in `mean_variances`
    *,
    observation: bool,  # whether noise is part of what is predicted
    n_samples: int,
    generator: np.random.Generator,
) -> FloatArray:
    """Draw errors of predictions over their standard errors, variances estimated anew, (R, n).

    Every replicate draws random effects and data, refits, and predicts the rows; the error is what
    was to be predicted, at the effects drawn, less the prediction. R counts the replicates that
    could be fitted. All rows share the random numbers of their noise and of unknown levels, so that
    a row does not depend on the others. Raises ValueError for several factors with too many random
    effects.
    """
    parts = []
    for first in range(0, n_samples, _REPLICATES_AT_ONCE):
        size = min(_REPLICATES_AT_ONCE, n_samples - first)
        try:
            responses = draw_responses(fit, size, generator)
        except NeedsRowsError:
            raise ValueError(
                "this model has too many random effects of several factors to be simulated from "
                "sums: use method='analytic'"
            ) from None
        noise = np.sqrt(fit.sigma2) * generator.standard_normal(size)
        new_effects = [
            np.sqrt(fit.sigma2) * generator.standard_normal((size, len(lam))) @ lam.T
            for lam in fit.factors
        ]
        refits = refit_responses(fit, responses)
        scaled = ScaledResponses.of(fit, responses)
        for number in np.flatnonzero(np.isfinite(refits.sigma2)):
            again = refit_without_products(fit, scaled, refits, int(number))
            error = _prediction_errors(
                fit, again, rows, responses, [b[number] for b in new_effects], int(number)
            )
            variance = mean_variances(again, rows)
            if observation:
                error = error + noise[number]
                variance = variance + again.sigma2
            # a row of zeros has neither variance nor error
            parts.append(error / np.sqrt(np.maximum(variance, np.finfo(float).tiny)))
    return np.stack(parts)


def _prediction_errors(
    fit: Fit,
    again: Fit,
    rows: Rows,
    responses: Responses,
    new_effects: list[FloatArray],  # (k,) of every used factor, of levels that are not known
    number: int,
) -> FloatArray:
    """Return X beta + Z b as drawn less its prediction, (n,)."""
    error = rows.columns[:, list(fit.spec.fixed)] @ (fit.beta - again.beta)
    used = zip(fit.spec.used_factors, again.modes, responses.effects, new_effects, strict=True)
    for factor, modes, drawn, new in used:
        level: IntArray = rows.codes[factor]
        difference = drawn[:, number].T - modes
        effects = np.where((level >= 0)[:, None], difference[level], new)
        error += (effects * rows.columns[:, list(fit.spec.factor_columns(factor))]).sum(axis=1)
    return error
