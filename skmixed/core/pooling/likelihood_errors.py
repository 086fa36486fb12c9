"""How far groups pooled by their likelihood may be off, all parameters being estimates.

At given coefficients of all rows and given variances the covariance of a group is the posterior one
of the working rows; that of a group that is not known has what varies below its parent. What
the estimation of the parameters adds is J V J', V being their covariance and J the derivatives of
the predictor, as for every generalized mixed model (`generalized.after_fit.predictor_errors`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.elimination.levels import multiply_transposed
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.pooling.hierarchy import PooledHierarchy
from skmixed.core.pooling.pooled_errors import by_place, quadratic_forms
from skmixed.core.rows.prediction_errors import MovedFits, PredictionErrors


@dataclass(frozen=True, slots=True, eq=False)
class ParameterErrors:
    """How far the coefficients of all rows and the t parameters of variances may be off."""

    covariance: FloatArray  # (k + t, k + t); zero where a coefficient is infinite
    infinite: tuple[int, ...]  # positions of coefficients that are
    steps: FloatArray  # (t,)
    moved: FloatArray  # (t, 2, depth, k, k), lambdas by level a step up and down of each of them

    @classmethod
    def of(cls, model: GeneralizedFit, varying: IntArray, depth: int) -> ParameterErrors:
        """Return what a mixed model of groups in `depth` levels says of its parameters.

        `varying`, (m,), are the positions of the coefficients that vary.
        """
        k, t = len(model.beta), len(model.theta)
        covariance = model.parameter_covariance[: k + t, : k + t].copy()
        infinite = list(model.separated)
        covariance[infinite], covariance[:, infinite] = 0.0, 0.0
        nearby = MovedFits.around(model.working, covariance[k:, k:])
        moved = np.zeros((t, 2, depth, k, k))
        for pair, ends in zip(nearby.pairs, moved, strict=True):
            ends[:] = [embedded(end.lambdas, varying, k, depth) for end in pair]
        return cls(covariance, tuple(infinite), nearby.steps, moved)

    def around(self, pooled: PooledHierarchy) -> MovedFits:
        """Return pooled groups a step of every parameter of variances away."""
        t = len(self.steps)
        pairs = [
            (replace(pooled, lambdas=tuple(up)), replace(pooled, lambdas=tuple(down)))
            for up, down in self.moved
        ]
        return MovedFits(self.steps, pairs, self.covariance[-t:, -t:] if t else np.zeros((0, 0)))


def embedded(
    lambdas: Sequence[FloatArray], varying: IntArray, k: int, depth: int
) -> tuple[FloatArray, ...]:
    """Return roots of covariances of k coefficients, (k, k) a level, from those of some, (m, m).

    `varying`, (m,), are the positions of these; without any, no level has a root.
    """
    found = tuple(np.zeros((k, k)) for _ in range(depth))
    for root, lam in zip(found, lambdas, strict=False):
        root[np.ix_(varying, varying)] = lam
    return found


def predictor_errors_of(
    pooled: PooledHierarchy, known: ParameterErrors, columns: FloatArray, place: IntArray
) -> PredictionErrors:
    """Assess x'b of rows; `columns` and `place` are as in `pooled_errors`.

    NaN where it depends on an infinite coefficient. The degrees of freedom are Satterthwaite's.
    """

    def variances(moved: PooledHierarchy) -> FloatArray:
        matrices = np.concatenate(moved.covariances_of_new, axis=2)
        return quadratic_forms(columns, matrices, place)

    def logs(moved: PooledHierarchy) -> FloatArray:
        return np.log(np.maximum(variances(moved), np.finfo(float).tiny))

    def predicted(moved: PooledHierarchy) -> FloatArray:
        coef = np.concatenate(moved.means, axis=1).T
        return np.asarray(np.einsum("ij,ij->i", columns, coef[place]))

    nearby, log_slopes = known.around(pooled), np.zeros((0, len(columns)))
    matrices = np.concatenate(pooled.covariances_of_new_given_root, axis=2)
    squares = quadratic_forms(columns, matrices, place)
    along = [by_place(columns, np.concatenate(_slopes_in_root(pooled), axis=2), place)]
    if nearby.pairs:
        along.append(nearby.slopes(predicted).T)
        log_slopes = nearby.slopes(logs)
    jacobian = np.column_stack(along)
    squares += np.maximum(np.einsum("ij,ij->i", jacobian @ known.covariance, jacobian), 0.0)
    squares[(columns[:, list(known.infinite)] != 0.0).any(axis=1)] = np.nan
    return PredictionErrors(squares, variances(pooled), log_slopes, nearby.covariance, 0.0)


def _slopes_in_root(pooled: PooledHierarchy) -> list[FloatArray]:
    """Return derivatives of the coefficients of groups in those of all rows, (k, k, n_groups)."""
    found = [np.eye(len(pooled.precision))[:, :, None]]
    for stage in pooled.stages:
        found.append(multiply_transposed(stage.groups.shrinker, stage.stage.of_parent(found[-1])))
    return found
