"""The linear mixed model that a generalized one is at its optimum.

Its rows have weights w = f'', the working response eta - offset - f' / w and a residual variance of
one.
"""

from __future__ import annotations

import numpy as np

from skmixed.core.families.family import Family
from skmixed.core.fit import Fit
from skmixed.core.generalized.approximation.laplace import LaplaceEvaluation
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.approximation.penalised import PenalisedEvaluation
from skmixed.core.generalized.approximation.quadrature import QuadratureEvaluation
from skmixed.core.linalg import FloatArray
from skmixed.core.model.evaluation import Evaluation, evaluate
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Rows

_LEAST_WORKING_WEIGHT = 1e-60  # of the largest: a row that is certain still has a working response


class WorkingFit(Fit):
    """The linear mixed model that a generalized one is at its optimum, with residual variance 1."""

    @property
    def evaluation(self) -> Evaluation:
        """The model at the optimum, in scaled units."""
        scale = self.problem.model.response_scale**2
        return self.cached("evaluation", lambda: evaluate(self.problem, self.scaled_lambdas, scale))

    @property
    def is_determined(self) -> bool:
        """Whether anything is left for the residual, which here is given."""
        return True


def working_products(
    observations: Observations, evaluation: LaplaceEvaluation | QuadratureEvaluation
) -> CrossProducts:
    """Sum the rows as those of a linear mixed model."""
    working = working_rows(observations, evaluation)
    return CrossProducts.of(observations.layout, working, observations.basis)


def working_rows(
    observations: Observations,
    evaluation: LaplaceEvaluation | QuadratureEvaluation | PenalisedEvaluation,
) -> Rows:
    """Return the rows, equal ones put together, as those of a linear mixed model."""
    rows, family, point = observations.rows, observations.family, evaluation.point
    weights, response = np.empty(len(rows.columns)), np.empty(len(rows.columns))
    for block, kept in zip(observations.blocks, evaluation.remembered, strict=True):
        eta = block.predictor(point.beta) + block.effects(kept.effects)
        w, linear = linearised(family, point.phi, block.y, block.weights, eta)
        shift = 0.0 if block.offset is None else block.offset
        weights[block.places], response[block.places] = w, linear - shift
    columns = rows.columns.copy(order="K")
    columns[:, observations.layout.response] = response
    return Rows(columns, rows.codes, rows.indexes, weights)


def linearised(
    family: Family, phi: FloatArray, y: FloatArray, weights: FloatArray | None, eta: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return weights and responses of the working model at eta, offsets in them, (n,) each."""
    _, g, w = family.derivatives(eta, y, weights, phi)
    w = np.maximum(w, _LEAST_WORKING_WEIGHT * w.max(initial=1.0))
    return w, eta - g / w
