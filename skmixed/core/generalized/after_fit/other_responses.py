"""Random effects given other responses than those of a fit, at its parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from skmixed.core.generalized.after_fit.same_rows import point_of
from skmixed.core.generalized.approximation.modes import find_modes, first_carried
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray
from skmixed.core.sums.layout import Rows

_DECREMENT = 1e-8  # of the modes, in units of the log density: far below what a test can see


def predictors_given(
    fit: GeneralizedFit, rows: Rows, base: FloatArray, responses: Iterable[FloatArray]
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield responses with the linear predictors at the modes given them, (n,) each.

    `base`, (n,), is what they are without random effects. The response among the rows is one that
    the family can have; levels are those of the fit.
    """
    observations = Observations.of(fit.products.layout, rows, fit.spec, fit.family, base)
    point = point_of(observations, np.zeros(len(fit.beta)), fit.lambdas, fit.phi)
    for response in responses:
        given = observations.with_response(response)
        eta = np.empty(len(given.rows.columns))
        for block in given.blocks:
            carried = first_carried(block, fit.family, point)
            modes = find_modes(block, fit.family, point, carried, _DECREMENT)
            eta[block.places] = modes.visit.eta
        yield response, eta if given.cells is None else eta[given.cells]
