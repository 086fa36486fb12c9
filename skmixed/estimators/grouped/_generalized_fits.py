"""Generalized linear models of all groups at once, pooled by likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor

from skmixed.core.elimination.protocol import LostPrecisionError
from skmixed.core.families.binomial import Logit
from skmixed.core.families.family import MeanFamily
from skmixed.core.families.gamma import GammaFamily
from skmixed.core.families.poisson import Poisson
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.pooling.hierarchy import PooledHierarchy
from skmixed.core.pooling.likelihood import LikelihoodPool, PoolingRows, pool_by_likelihood
from skmixed.core.pooling.likelihood_errors import ParameterErrors, predictor_errors_of
from skmixed.core.pooling.own_estimates import own_estimates
from skmixed.design.records import stored, write
from skmixed.estimators.grouped._arguments import Training
from skmixed.estimators.grouped._group_fits import (
    Estimates,
    GroupFits,
    sampling_variances,
    standard_errors,
    uncentred,
    with_coefficients,
)
from skmixed.estimators.grouped._shares import Scheme
from skmixed.estimators.grouped._tree import Tree, deepest_known
from skmixed.estimators.mixed._generalized_predictions import observation_limits
from skmixed.estimators.reading._numbers import check_numbers

_MOST_COEFFICIENTS = 40  # of a group: more take minutes, and predictions are blended instead
_ROWS_PREDICTED = 2**14  # at a time: their gathered covariances take a megabyte for k = 3
_LARGEST_NUMBER = 1e75  # of X: the fourth power of a larger one has no number
_LEAST_DISPERSION = 1e-8  # of the gamma distribution: the pooled fit may be exact


def likelihood_of(pooled: Any) -> MeanFamily | None:
    """Return the family by whose likelihood a fitted estimator is pooled, None for no such one.

    That of `LogisticRegression` of two classes without an L1 penalty or class weights, of
    `PoissonRegressor` and of `GammaRegressor`.
    """
    kind = type(pooled)
    if kind is PoissonRegressor:
        return Poisson()
    if kind is GammaRegressor:
        return GammaFamily()
    if kind is not LogisticRegression or len(pooled.classes_) != 2:
        return None
    params = pooled.get_params()
    penalty, mixing = params.get("penalty", "deprecated"), params.get("l1_ratio")
    if penalty not in ("l2", None, "deprecated") or mixing not in (None, 0):
        return None
    return Logit() if pooled.class_weight is None else None


def pools_by_likelihood(pooled: Any, training: Training) -> bool:
    """Tell whether the groups of a fitted estimator are pooled by their likelihood."""
    n_coefficients = len(training.inner_names) + bool(getattr(pooled, "fit_intercept", False))
    if training.y.ndim != 1 or not 0 < n_coefficients <= _MOST_COEFFICIENTS:
        return False
    return likelihood_of(pooled) is not None


@stored
class GeneralizedGroupFits(GroupFits):
    """Coefficients of all groups, the generalized mixed model in which all vary."""

    def __init__(self, tree: Tree, scheme: Scheme, pooled: Any) -> None:
        super().__init__(tree, scheme, pooled)
        self.classes: NDArray[Any] | None = getattr(pooled, "classes_", None)
        self.errors: ParameterErrors | None = None  # where responses have intervals
        self.found: LikelihoodPool | None = None  # which tells of errors until they are known

    @property
    def parameter_errors(self) -> ParameterErrors | None:
        """How far the parameters may be off, found when first asked for; None for classes."""
        found = self.found
        if found is not None:
            self.errors = found.parameter_errors()
            self.found = None
        return self.errors

    def record(self) -> dict[str, Any]:
        """Return all that was found as a record, with errors of estimates, which need the rows."""
        errors, held = self.parameter_errors, super().record()
        del held["found"]
        return {**held, "errors": write(errors)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the estimates of a record."""
        return super().from_record({**record, "found": None})

    def fit(self, training: Training, codes: tuple[IntArray, ...]) -> None:
        """Fit and pool all groups; see `GroupFits`."""
        family = likelihood_of(self.pooled)
        assert family is not None
        self.family = family
        table = np.asarray(training.numbers, dtype=np.float64)
        y = training.y if self.classes is None else (training.y == self.classes[1]).astype(float)
        self.p = table.shape[1]
        self.origin = np.zeros(self.p)
        if self.pooled.fit_intercept:
            rows = np.ones(len(y)) if training.weights is None else training.weights
            self.origin = rows @ table / rows.sum()
        penalty = np.full(self.p + bool(self.pooled.fit_intercept), self._penalty(training))
        penalty[: len(penalty) - self.p] = 0.0
        grouped = PoolingRows(
            table - self.origin,
            y,
            training.weights,
            codes,
            self.tree.hierarchy,
            family,
            penalty,
            bool(self.pooled.fit_intercept),
        )
        usable = self.failures.usable()[-1]
        if np.abs(table).max(initial=0.0) > _LARGEST_NUMBER:
            raise ValueError(self._too_large(table, codes[-1]))
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                found = pool_by_likelihood(grouped, usable, self._coefficients_of_all())
                own = own_estimates(
                    grouped.columns,
                    y,
                    training.weights,
                    codes[-1],
                    self.tree.hierarchy.sizes[-1],
                    family,
                    found.model.phi,
                    penalty,
                    found.pooled.means[0][:, 0],
                )
        except (LostPrecisionError, np.linalg.LinAlgError) as error:
            raise ValueError(self._too_large(table, codes[-1])) from error
        if not all(np.isfinite(means).all() for means in found.pooled.means):
            raise ValueError(self._too_large(table, codes[-1]))
        self.shrunk, self.own = found.pooled, own.coef
        self.phi = found.model.phi  # (m,), dispersions
        self.found = found if self.classes is None else None
        self.own[:, ~usable] = np.nan
        self.own_se = np.sqrt(sampling_variances(own.information, self.origin))  # (n_groups, k)
        self.own_se[np.isnan(self.own.T)] = np.nan

    def _coefficients_of_all(self) -> FloatArray:
        """Return the coefficients of the estimator fitted to all rows, (k,), at the origin."""
        slopes = np.ravel(self.pooled.coef_)[: self.p].astype(float)
        if not self.pooled.fit_intercept:
            return slopes
        intercept = float(np.ravel(self.pooled.intercept_)[0]) + self.origin @ slopes
        return np.concatenate([[intercept], slopes])

    def _penalty(self, training: Training) -> float:
        """Return the penalty on the square of a coefficient, in -2 log-likelihood."""
        if self.classes is not None:
            params = self.pooled.get_params()
            is_free = params.get("penalty", "l2") is None or np.isinf(self.pooled.C)
            return 0.0 if is_free else 1.0 / float(self.pooled.C)
        weights = training.weights
        total = float(len(training.y) if weights is None else weights.sum())
        dispersion = 1.0
        if self.family.n_dispersions:
            mean = self.pooled.predict(training.table)
            squares = (training.y - mean) ** 2 / mean**2
            dispersion = max(float(np.average(squares, weights=weights)), _LEAST_DISPERSION)
        return float(self.pooled.alpha) * total / dispersion

    def _too_large(self, table: FloatArray, codes: IntArray) -> str:
        """Say that numbers are too large, and where they are largest."""
        sizes = np.abs(table).max(axis=1, initial=0.0)
        largest = self.tree.keys(self.tree.depth)[int(codes[int(sizes.argmax())])]
        return (
            "the coefficients of the groups are too large or too different to be shrunk; they "
            f"are largest in the group {largest}: rescale the columns, penalise "
            f"{type(self.pooled).__name__}, or fit the groups separately by shrinkage=None"
        )

    def predict(self, method: str, table: Any, codes: tuple[IntArray, ...]) -> NDArray[Any]:
        """Return the answers of `method` to rows, (n, ...); see `GroupFits`.

        They are averaged over what is not known of the coefficients.
        """
        center, variance = self._predictor(self._numbers(table, codes), codes)
        if not isinstance(self.family, Logit):
            return self.family.integrated_mean(center, variance)
        miss, hit = self.family.outcomes(center, variance)
        if method == "predict":
            assert self.classes is not None
            return np.asarray(self.classes[(hit > miss).astype(np.intp)])
        if method == "predict_proba":
            return np.column_stack([miss, hit])
        with np.errstate(divide="ignore"):
            logs = np.log(np.column_stack([miss, hit]))
        return logs if method == "predict_log_proba" else np.asarray(logs[:, 1] - logs[:, 0])

    @property
    def leaves_no_rest(self) -> bool:
        """Whether the responses are explained, so that nothing tells of their dispersion."""
        return self.classes is None and self.family.leaves_no_rest(self.phi)

    def limits(
        self, table: Any, codes: tuple[IntArray, ...], level: float, *, observation: bool
    ) -> FloatArray:
        """Return intervals of rows, (n, 2), those of the generalized mixed model."""
        numbers, family, known = self._numbers(table, codes), self.family, self.parameter_errors
        assert known is not None
        place, columns = self.tree.places(codes, deepest_known(codes)), self._columns(numbers)
        center = self._predictor(numbers, codes)[0]
        half = predictor_errors_of(self.shrunk, known, columns, place).half_widths(level)
        if observation:
            return observation_limits(family, self.phi, center, half, level)
        return np.column_stack([family.mean(center - half), family.mean(center + half)])

    def _columns(self, numbers: FloatArray) -> FloatArray:
        """Return the columns that have coefficients, (n, k), from those of rows, (n, p)."""
        if not self.pooled.fit_intercept:
            return numbers
        return np.column_stack([np.ones(len(numbers)), numbers])

    def _numbers(self, table: Any, codes: tuple[IntArray, ...]) -> FloatArray:
        """Return the columns of rows from the origin, (n, p)."""
        numbers = np.asarray(table if not len(codes[0]) else check_numbers(table))
        return np.asarray(numbers[:, : self.p] - self.origin)

    def _predictor(
        self, numbers: FloatArray, codes: tuple[IntArray, ...]
    ) -> tuple[FloatArray, FloatArray]:
        """Return mean and variance of the linear predictor of rows, (n,) each."""
        place = self.tree.places(codes, deepest_known(codes))
        coef = np.concatenate(self.shrunk.means, axis=1).T
        covariances = np.concatenate(self.shrunk.covariances_of_new_given_root, axis=2)
        spread = np.moveaxis(covariances, -1, 0)
        center, variance = np.empty(len(numbers)), np.empty(len(numbers))
        for first in range(0, len(numbers), _ROWS_PREDICTED):
            rows = slice(first, first + _ROWS_PREDICTED)
            columns = self._columns(numbers[rows])
            center[rows] = np.einsum("ij,ij->i", columns, coef[place[rows]])
            spanned = np.matmul(spread[place[rows]], columns[:, :, None])[:, :, 0]
            variance[rows] = np.einsum("ij,ij->i", columns, spanned)
        return center, np.maximum(variance, 0.0)

    def estimator(self, level: int, group: int) -> Any:
        """Return an estimator with the most likely coefficients of a group."""
        coef = uncentred(self.shrunk.means[level][:, group], self.origin)
        return with_coefficients(self.pooled, coef)

    def pooled_outputs(self) -> list[PooledHierarchy]:
        """Return the shrunk coefficients; see `GroupFits`."""
        return [self.shrunk]

    def estimates(self, *, shrunk: bool) -> Estimates:
        """Return the coefficients of the finest groups; see `GroupFits`."""
        values = self.shrunk.means[-1] if shrunk else self.own
        coef = uncentred(values.T, self.origin)[:, None]
        se = standard_errors(self.shrunk.covariances[-1], self.origin) if shrunk else self.own_se
        return Estimates(coef, se[:, None], np.full(coef.shape[:2], np.nan))
