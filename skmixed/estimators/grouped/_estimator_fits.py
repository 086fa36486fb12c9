"""One fitted estimator per group, with blended predictions or shrunk coefficients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import TweedieRegressor

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.pooling.hierarchy import PooledHierarchy, pool
from skmixed.design.records import stored
from skmixed.estimators.grouped._arguments import Training
from skmixed.estimators.grouped._group_fits import (
    Estimates,
    GroupFits,
    sampling_variances,
    standard_errors,
    uncentred,
    with_coefficients,
)
from skmixed.estimators.grouped._shares import (
    BLUP,
    Scheme,
    blend,
    moved_to_parents,
    nested_shares,
    own_shares,
    shares_of,
)
from skmixed.estimators.grouped._subset_fits import answers, fit_all, jobs_of
from skmixed.estimators.grouped._tree import Tree, deepest_known

_GLM_FLOOR = 1e-12  # of |mean|: a fit that is certain is not divided by zero
_LARGEST_EXPONENT = 700.0  # exp(710) is infinite
_NO_INFORMATION = (
    "its coefficients or columns are too large for a finite information matrix: rescale the "
    "columns, or penalise the estimator"
)
_BLENDED = ("predict_proba", "decision_function")


@dataclass(frozen=True, slots=True)
class EstimatorFamily:
    """Mean, variance and penalty of a generalized linear estimator without a likelihood."""

    mean: Callable[[FloatArray], FloatArray]  # of the linear predictor, (n,)
    slope: Callable[[FloatArray], FloatArray]  # dmean / dpredictor, of the mean, (n,)
    variance: Callable[[FloatArray], FloatArray]  # of the mean, (n,), for a dispersion of 1
    penalty: Callable[[float], float]  # added to the information of a slope, of the sum of weights


def family_of(estimator: Any) -> EstimatorFamily | None:
    """Return the family of a fitted `TweedieRegressor`, None for any other estimator."""
    if type(estimator) is not TweedieRegressor:
        return None
    power, alpha = float(estimator.power), float(estimator.alpha)
    is_log = estimator.link == "log" or (estimator.link == "auto" and power > 0.0)
    return EstimatorFamily(
        (lambda eta: np.exp(np.minimum(eta, _LARGEST_EXPONENT))) if is_log else (lambda eta: eta),
        (lambda mean: mean) if is_log else np.ones_like,
        lambda mean: np.maximum(np.abs(mean), _GLM_FLOOR) ** power,
        lambda total: alpha * total,
    )


@dataclass(frozen=True, slots=True, eq=False)
class GroupInformation:
    """Information of a group's rows on its coefficients."""

    estimate: FloatArray  # (k,), the intercept, taken at the origin, first if there is one
    matrix: FloatArray  # (k, k), information with the penalty, for a dispersion of 1
    pearson: float  # weighted sum of squared Pearson residuals
    total: float  # sum of the weights

    @property
    def is_finite(self) -> bool:
        """Whether all of it is finite."""
        parts = self.estimate, self.matrix, self.pearson
        return all(bool(np.isfinite(part).all()) for part in parts)


def information(
    family: EstimatorFamily,
    estimator: Any,
    table: FloatArray,
    y: FloatArray,
    weights: FloatArray | None,
    origin: FloatArray,
) -> GroupInformation:
    """Return the information at the estimate of a group, the estimator being fitted to its rows.

    X'WX with the weights of iterated least squares, plus the penalty. `table` is (n, p); `y` and
    `weights` are (n,); the intercept is taken at `origin`, (p,).
    """
    slopes = np.ravel(estimator.coef_).astype(float)
    intercept = float(np.ravel(estimator.intercept_)[0]) if estimator.fit_intercept else 0.0
    mean = family.mean(table @ slopes + intercept)
    slope, variance = family.slope(mean), family.variance(mean)
    rows = np.ones(len(y)) if weights is None else weights
    total = float(rows.sum())
    design, estimate = table, slopes
    if estimator.fit_intercept:
        design = np.column_stack([np.ones(len(y)), table - origin])
        estimate = np.concatenate([[intercept + origin @ slopes], slopes])
    matrix = design.T @ (design * (rows * slope**2 / variance)[:, None])
    place = np.arange(len(estimate) - len(slopes), len(estimate))
    matrix[place, place] += family.penalty(total)
    pearson = float((rows * (y - mean) ** 2 / variance).sum())
    return GroupInformation(estimate, matrix, pearson, total)


@stored
class EstimatorGroupFits(GroupFits):
    """Estimators of all groups, with blended predictions or shrunk coefficients.

    `own` has the estimators by level from the root, None where there is none; `final` has what
    predicts, the same or copies with shrunk coefficients.
    """

    def __init__(
        self, tree: Tree, scheme: Scheme, pooled: Any, *, n_jobs: int | None, verbose: int
    ) -> None:
        super().__init__(tree, scheme, pooled)
        self.n_jobs, self.verbose = n_jobs, verbose
        self.classes = getattr(pooled, "classes_", None)
        self.shrunk: PooledHierarchy | None = None  # coefficients, where these are shrunk

    def fit(self, training: Training, codes: tuple[IntArray, ...]) -> None:
        """Fit an estimator to every group; see `GroupFits`."""
        fit = partial(
            fit_all,
            estimator=self.pooled,
            training=training,
            is_certain=self.scheme.name == BLUP,
            n_jobs=self.n_jobs,
            verbose=self.verbose,
        )
        self.no_response, self.has_no_columns = training.y[:0].copy(), not training.inner_names
        usable = self.failures.usable()
        levels = range(1, self.tree.depth + 1)
        jobs = jobs_of(codes, np.arange(len(training.y)), levels, usable)
        self.own: list[list[Any]] = [[None] * size for size in self.tree.hierarchy.sizes]
        self.own[0][0] = self.pooled
        for job, model in zip(jobs, fit(jobs), strict=True):
            if isinstance(model, str):
                self.failures.reasons[job.level, job.group] = model
            else:
                self.own[job.level][job.group] = model
        self.final = self.own
        family = None
        if self.scheme.name == BLUP and self.tree.depth and np.ndim(training.y) == 1:
            family = family_of(self.pooled)
        if family is not None:
            self._shrink(family, training, codes[-1])
        else:
            self._share_out(training, codes, fit)

    def _share_out(self, training: Training, codes: tuple[IntArray, ...], fit: Any) -> None:
        """Find the weight of each level in a prediction."""
        hierarchy, counts = self.tree.hierarchy, self.tree.counts
        if self.scheme.name == BLUP and self.tree.depth:
            method = "predict" if self.classes is None else self._blended()
            self.blends = blend(
                training, codes, self.tree, self.failures.usable(), fit, method, self.classes
            )
            kept = [
                found.kept(of_level)
                for found, of_level in zip(self.blends, counts[1:], strict=True)
            ]
            shares = nested_shares(kept, hierarchy)
        elif self.scheme.name == BLUP:
            shares = [np.ones((1, 1))]
        else:
            shares = shares_of(self.scheme, hierarchy, counts)
            if not self.scheme.uses_pooled:
                self.failures.refuse_last_resort()
        self.shares = moved_to_parents(shares, self.failures.usable(), hierarchy)

    def _blended(self) -> str:
        """Return the method whose answers are blended to predict classes.

        Raises a ValueError if the estimator has none.
        """
        model = self.pooled
        allowed = _BLENDED[:1] if self.scheme.name == BLUP else _BLENDED
        for name in allowed:
            if hasattr(model, name):
                return name
        raise ValueError(
            f"{type(model).__name__} has no {' or '.join(allowed)}, which pooling classifiers "
            "requires: wrap it in CalibratedClassifierCV, or fit the groups separately by "
            "shrinkage=None"
        )

    def _shrink(self, family: EstimatorFamily, training: Training, codes: IntArray) -> None:
        """Shrink the coefficients of the finest groups to their parents'."""
        table = np.asarray(training.numbers, dtype=np.float64)
        y = training.y
        self.origin = np.average(table, axis=0, weights=training.weights)
        own = self.own[-1]
        found: list[GroupInformation | None] = [None] * len(own)
        for job in jobs_of([codes], np.arange(len(y)), [0]):
            if own[job.group] is not None:
                weights = None if training.weights is None else training.weights[job.rows]
                each = information(
                    family, own[job.group], table[job.rows], y[job.rows], weights, self.origin
                )
                if each.is_finite:
                    found[job.group] = each
                    continue
                own[job.group] = None
                self.failures.reasons[self.tree.depth, job.group] = _NO_INFORMATION
        k = table.shape[1] + bool(self.pooled.fit_intercept)
        precision, estimate = np.zeros((k, k, len(own))), np.zeros((k, len(own)))
        known = [(place, each) for place, each in enumerate(found) if each is not None]
        dispersion = _dispersion([each for _, each in known], k)
        for place, each in known:
            precision[:, :, place] = each.matrix / dispersion
            estimate[:, place] = each.estimate
        self.precision = precision  # (k, k, n_groups), zero where there is no estimate
        try:
            self.shrunk = pool(precision, estimate, self.tree.hierarchy)
        except np.linalg.LinAlgError as error:
            largest = int(np.argmax(np.abs(estimate).max(axis=0) + np.abs(precision).max((0, 1))))
            raise ValueError(
                "the coefficients of the groups are too large or too different to be shrunk; "
                f"they are largest in the group {self.tree.keys(self.tree.depth)[largest]}: "
                f"rescale the columns, penalise {type(self.pooled).__name__}, or fit the groups "
                "separately by shrinkage=None"
            ) from error
        self.final = [
            [with_coefficients(self.pooled, row) for row in uncentred(means.T, self.origin)]
            for means in self.shrunk.means
        ]
        self.shares = own_shares(self.tree)

    def estimator(self, level: int, group: int) -> Any:
        """Return the fitted estimator of a group, or of the ancestor used instead."""
        if self.final[level][group] is None:
            level, group = self.failures.stand_in(level, group)
        return self.final[level][group]

    def pooled_outputs(self) -> list[PooledHierarchy]:
        """Return the shrunk coefficients, if there are any; see `GroupFits`."""
        return [] if self.shrunk is None else [self.shrunk]

    def estimates(self, *, shrunk: bool) -> Estimates:
        """Return the coefficients of fitted estimators, or raise a ValueError if they have none."""
        if not hasattr(self.pooled, "coef_"):
            raise ValueError(
                f"{type(self.pooled).__name__} has no coefficients to tabulate; estimators_ has "
                "the model of each group"
            )
        coef = _stacked(self.final[-1] if shrunk else self.own[-1], self.pooled)
        if self.has_no_columns:
            coef = coef[..., :-1]
        se, sd = np.full(coef.shape, np.nan), np.full(coef.shape[:2], np.nan)
        if self.shrunk is not None and shrunk:
            se[:, 0] = standard_errors(self.shrunk.covariances[-1], self.origin)
        elif self.shrunk is not None:
            se[:, 0] = np.sqrt(sampling_variances(self.precision, self.origin))
        return Estimates(coef, se, sd)

    def predict(self, method: str, table: Any, codes: tuple[IntArray, ...]) -> NDArray[Any]:
        """Return the answers of `method` to rows, (n, ...); see `GroupFits`."""
        if not self.tree.depth:
            return np.asarray(getattr(self.pooled, method)(table))
        if not len(codes[0]):
            return self._no_answers(method)
        if method == "decision_function" and self.blends:
            return self._log_odds(self.predict("predict_proba", table, codes))
        models = [model for of_level in self.final for model in of_level]
        shares = self._shares_of_rows(codes)
        if np.isin(shares, (0.0, 1.0)).all():
            places = self.tree.places(codes, shares.argmax(axis=1))
            return answers(models, method, table, places, self.classes)
        if method == "predict_log_proba":
            with np.errstate(divide="ignore"):
                return np.asarray(np.log(self.predict("predict_proba", table, codes)))
        places = np.column_stack([self.tree.places(codes, at) for at in range(len(codes))])
        if method != "predict" or self.classes is None:
            found = answers(models, method, table, places, self.classes, shares)
            # Shares that add up to one but for rounding may have probabilities a little above.
            return np.minimum(found, 1.0) if method == "predict_proba" else found
        values = answers(models, self._blended(), table, places, self.classes, shares)
        best = values.argmax(axis=1) if values.ndim == 2 else (values > 0.0).astype(np.intp)
        return np.asarray(self.classes[best])

    @staticmethod
    def _log_odds(probabilities: FloatArray) -> FloatArray:
        """Return the scores of blended probabilities, (n, n_classes): logarithms, or log odds."""
        logs = np.log(np.maximum(probabilities, np.finfo(float).tiny))
        return np.asarray(logs[:, 1] - logs[:, 0] if logs.shape[1] == 2 else logs)

    def _no_answers(self, method: str) -> NDArray[Any]:
        """Return what `method` says of no rows, (0, ...)."""
        if method == "predict" or self.classes is None:
            return self.no_response
        n_classes = len(self.classes)
        if method == "decision_function" and n_classes == 2:
            return np.empty(0)
        return np.empty((0, n_classes))

    def _shares_of_rows(self, codes: tuple[IntArray, ...]) -> FloatArray:
        """Return the weight of each level for each row, (n, n_levels)."""
        level = deepest_known(codes)
        result = np.zeros((len(level), len(codes)))
        for at, shares in enumerate(self.shares):
            rows = np.flatnonzero(level == at)
            result[rows, : at + 1] = shares[codes[at][rows]]
        return result


def _dispersion(found: list[GroupInformation], k: int) -> float:
    """Return the Pearson estimate of the dispersion that the groups have in common."""
    degrees = sum(max(each.total - k, 0.0) for each in found)
    total = sum(each.pearson for each in found)
    # With less than one degree of freedom there is nothing to estimate it from.
    return total / degrees if degrees >= 1.0 and total > 0.0 else 1.0


def _stacked(models: Sequence[Any], pooled: Any) -> FloatArray:
    """Return the coefficients of estimators, (n_groups, n_outputs, k), NaN where there are none."""
    with_intercept = hasattr(pooled, "intercept_") and getattr(pooled, "fit_intercept", True)
    coef = np.atleast_2d(pooled.coef_)
    shape = (len(coef), coef.shape[1] + bool(with_intercept))
    result = np.full((len(models), *shape), np.nan)
    for place, model in enumerate(models):
        if model is None or np.shape(np.atleast_2d(model.coef_)) != coef.shape:
            continue
        result[place, :, shape[1] - coef.shape[1] :] = model.coef_
        if with_intercept:
            result[place, :, 0] = model.intercept_
    return result
