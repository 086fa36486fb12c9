"""Random effects given further rows, at the parameters that were estimated.

The rows so far are those of a linear mixed model, their quadratic approximation at the modes. That
of the further rows is made anew at the modes of all until these stay. The modes of levels that have
further rows alone are exact; for others, what the rows so far say stays their approximation.
"""

from __future__ import annotations

import numpy as np

from skmixed.core.generalized.approximation.working_model import WorkingFit, linearised
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray
from skmixed.core.rows.linear_predictor import x_beta, z_b
from skmixed.core.sums.layout import Rows

_MOST_APPROXIMATIONS = 200  # it takes five to ten
_LONGEST_ETA_STEP = 2.0  # after the first: where mu = exp(eta), a step too far needs many back
_SMALL_ETA_STEP = 1e-6  # relative: the next one is its square


def with_further_rows(
    fit: GeneralizedFit, working: WorkingFit, rows: Rows, offset: FloatArray | None
) -> WorkingFit:
    """Return the working model of the rows so far and further ones, which have an offset, (n,).

    `working` is that of the rows so far, at the parameters of the fit. Raises ValueError for an
    impossible response.
    """
    family, y = fit.family, rows.columns[:, -1].copy()
    family.check(y, rows.weights)
    shift = np.zeros(len(y)) if offset is None else offset
    base = shift + x_beta(fit.spec, rows.columns, fit.beta)
    eta, last = family.start(y, rows.weights), np.inf
    columns = rows.columns.copy()
    for step in range(_MOST_APPROXIMATIONS):
        weights, response = linearised(family, fit.phi, y, rows.weights, eta)
        columns[:, -1] = response - shift
        summed = Rows(columns, rows.codes, rows.indexes, weights)
        found = working.at(working.products.with_rows(summed))
        modes = fit.modes_of(found)
        codes = rows.at_levels(found.products.levels).codes
        change = base + z_b(fit.spec, rows.columns, codes, modes) - eta
        size = float(np.abs(change).max(initial=0.0))
        if last < _SMALL_ETA_STEP * max(1.0, float(np.abs(eta).max(initial=0.0))):
            return found
        last = size
        eta = eta + (
            change if not step else _LONGEST_ETA_STEP / max(_LONGEST_ETA_STEP, size) * change
        )
    raise ValueError(
        "the random effects given these rows were not found: the model is too far from them"
    )
