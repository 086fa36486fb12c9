"""Any estimator: a fit a group, whose answers are blended or whose coefficients are shrunk."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmixed.core.hierarchy import PooledHierarchy, pool
from skmixed.estimators.grouped._answers import answers, mixed
from skmixed.estimators.grouped._fallback import Failures
from skmixed.estimators.grouped._fitting import fit_all, jobs_of
from skmixed.estimators.grouped._information import Family, Information, family_of, information
from skmixed.estimators.grouped._out_of_fold import Blend, blend
from skmixed.estimators.grouped._rows import Training
from skmixed.estimators.grouped._shares import (
    BLUP,
    Scheme,
    Shares,
    nested_shares,
    shares_of,
    without,
)
from skmixed.estimators.grouped._tree import Tree, deepest_known

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

BLENDED = ("predict_proba", "decision_function")


class EstimatorsRoad:
    """A fitted estimator for every group of every level.

    Parameters
    ----------
    tree : Tree
        The groups.
    scheme : Scheme
        How groups are pooled.
    failures : Failures
        Where groups without an estimate are noted.
    classes : ndarray or None
        All classes; None for regressors.

    Attributes
    ----------
    own : list of lists
        The fitted estimators, by level from the root; None where there is none.
    final : list of lists
        What predicts: the same, or copies with shrunk coefficients.
    shares : list of ndarray
        What the answers of the levels count.
    blends : list of Blend
        How the shares were found, where predictions are blended by "blup".
    """

    def __init__(self, tree: Tree, scheme: Scheme, failures: Failures, classes: Any) -> None:
        self.tree, self.scheme, self.failures, self.classes = tree, scheme, failures, classes
        self.blends: list[Blend] = []
        self.pooled: PooledHierarchy | None = None
        self.origin: FloatArray | None = None
        self.dispersion = 1.0

    def fit(
        self,
        training: Training,
        codes: tuple[IntArray, ...],
        pooled: Any,
        settings: dict[str, Any],
    ) -> None:
        """Fit all groups.

        Parameters
        ----------
        training : Training
            The rows.
        codes : tuple of ndarray of int of shape (n,)
            Group of every row, by level from the root.
        pooled : estimator
            Fitted to all rows.
        settings : dict
            The estimator to clone, min_samples, n_jobs and verbose.
        """
        estimator, min_samples = settings["estimator"], settings["min_samples"]
        fit = partial(
            fit_all,
            estimator,
            table=training.table,
            y=training.y,
            weights=training.weights,
            n_jobs=settings["n_jobs"],
            verbose=settings["verbose"],
        )
        if min_samples is not None:
            self.failures.add_small(min_samples, f"min_samples={min_samples}")
        usable = self.failures.usable()
        jobs = [
            job
            for job in jobs_of(codes, np.arange(len(training.y)), range(1, self.tree.depth + 1))
            if usable[job.level][job.group]
        ]
        self.own: list[list[Any]] = [[None] * size for size in self.tree.hierarchy.sizes]
        self.own[0][0] = pooled
        for job, model in zip(jobs, fit(jobs), strict=True):
            if isinstance(model, str):
                self.failures.reasons[job.level, job.group] = model
            else:
                self.own[job.level][job.group] = model
        self.final = self.own
        family = None
        if self.scheme.name == BLUP and self.tree.depth:
            n_classes = None if self.classes is None else len(self.classes)
            family = family_of(estimator, n_classes)
        if family is not None and np.ndim(training.y) == 1:
            self._shrink(family, training, codes[-1])
        else:
            self._share_out(training, codes, fit)

    def _share_out(self, training: Training, codes: tuple[IntArray, ...], fit: Any) -> None:
        hierarchy, counts = self.tree.hierarchy, self.tree.counts
        if self.scheme.name == BLUP and self.tree.depth:
            method = "predict" if self.classes is None else self._blended()
            self.blends = blend(training, codes, self.tree, fit, method, self.classes)
            kept = [
                found.components.share(of_level)
                for found, of_level in zip(self.blends, counts[1:], strict=True)
            ]
            shares = nested_shares(kept, hierarchy)
        elif self.scheme.name == BLUP:
            shares = [np.ones((1, 1))]
        else:
            shares = shares_of(self.scheme, hierarchy, counts)
        self.shares: Shares = without(shares, self.failures.usable(), hierarchy)

    def _blended(self) -> str:
        """Return the method whose answers are blended to predict classes."""
        model = self.own[0][0]
        allowed = BLENDED[:1] if self.scheme.name == BLUP else BLENDED
        for name in allowed:
            if hasattr(model, name):
                return name
        raise ValueError(
            f"{type(model).__name__} has no {' or '.join(allowed)}, which pooling classifiers "
            "needs: wrap it in CalibratedClassifierCV, or fit the groups apart by shrinkage=None"
        )

    def _shrink(self, family: Family, training: Training, codes: IntArray) -> None:
        """Shrink the coefficients of the finest groups to their parents'."""
        table = np.asarray(training.table, dtype=np.float64)
        y = training.y if self.classes is None else (training.y == self.classes[1]).astype(float)
        self.origin = np.average(table, axis=0, weights=training.weights)
        own = self.own[-1]
        found: list[Information | None] = [None] * len(own)
        for job in jobs_of([codes], np.arange(len(y)), [0]):
            if own[job.group] is not None:
                weights = None if training.weights is None else training.weights[job.rows]
                found[job.group] = information(
                    family, own[job.group], table[job.rows], y[job.rows], weights, self.origin
                )
        k = table.shape[1] + bool(self.own[0][0].fit_intercept)
        precision, estimate = np.zeros((k, k, len(own))), np.zeros((k, len(own)))
        known = [(place, each) for place, each in enumerate(found) if each is not None]
        if family.has_dispersion:
            self.dispersion = _dispersion([each for _, each in known], k)
        for place, each in known:
            precision[:, :, place] = each.matrix / self.dispersion
            estimate[:, place] = each.estimate
        self.precision = precision
        self.pooled = pool(precision, estimate, self.tree.hierarchy)
        self.final = [
            [self._with_coefficients(row) for row in self.uncentred(means.T)]
            for means in self.pooled.means
        ]
        self.shares = [np.eye(level + 1)[[-1] * size] for level, size in self._sizes()]

    def _sizes(self) -> list[tuple[int, int]]:
        return list(enumerate(self.tree.hierarchy.sizes))

    def uncentred(self, coef: FloatArray) -> FloatArray:
        """Move intercepts from the origin to zero.

        Parameters
        ----------
        coef : ndarray of shape (..., k)
            Coefficients at the origin.

        Returns
        -------
        ndarray of shape (..., k)
            At zero.
        """
        if not self.own[0][0].fit_intercept or self.origin is None:
            return coef
        result = coef.copy()
        result[..., 0] -= coef[..., 1:] @ self.origin
        return result

    def _with_coefficients(self, coef: FloatArray) -> Any:
        pooled = self.own[0][0]
        model = copy.copy(pooled)
        slopes = coef[1:] if pooled.fit_intercept else coef
        model.coef_ = slopes.reshape(np.shape(pooled.coef_))
        if pooled.fit_intercept:
            intercept = np.asarray(coef[0]).reshape(np.shape(pooled.intercept_))
            model.intercept_ = intercept if intercept.ndim else float(intercept)
        return model

    def estimator(self, level: int, group: int) -> Any:
        """Return the estimator of a group, or of the ancestor that stands in for it.

        Parameters
        ----------
        level : int
            0 is the root.
        group : int
            Number of the group in its level.

        Returns
        -------
        estimator
            Fitted.
        """
        chain = self.tree.hierarchy.ancestors(level)
        models = (self.final[at][chain[at][group]] for at in range(level, -1, -1))
        return next(model for model in models if model is not None)

    def predict(self, method: str, table: Any, codes: Sequence[IntArray]) -> NDArray[Any]:
        """Answer for rows by the estimators of their groups.

        Parameters
        ----------
        method : str
            What is asked.
        table : ndarray or data frame of shape (n, n_columns)
            The rows.
        codes : sequence of ndarray of int of shape (n,)
            Their groups, by level from the root.

        Returns
        -------
        ndarray of shape (n, ...)
            The answers; a row of an unknown group gets that of its nearest known ancestor.
        """
        if not self.tree.depth:
            return np.asarray(getattr(self.own[0][0], method)(table))
        shares = self._of_rows(codes)
        if np.isin(shares, (0.0, 1.0)).all():
            level = shares.argmax(axis=1)
            offsets = np.cumsum([0, *self.tree.hierarchy.sizes])
            place = np.choose(level, codes) + offsets[level]
            models = [model for of_level in self.final for model in of_level]
            return answers(models, method, table, place, self.classes)
        if method == "predict_log_proba":
            with np.errstate(divide="ignore"):
                return np.asarray(np.log(self.predict("predict_proba", table, codes)))
        asked = method
        if method == "predict" and self.classes is not None:
            asked = self._blended()
        values = mixed(self.final, asked, table, codes, shares, self.classes)
        if asked == method or self.classes is None:
            return values
        best = values.argmax(axis=1) if values.ndim == 2 else (values > 0.0).astype(np.intp)
        return np.asarray(self.classes[best])

    def _of_rows(self, codes: Sequence[IntArray]) -> FloatArray:
        level = deepest_known(tuple(codes))
        result = np.zeros((len(level), len(codes)))
        for at, shares in enumerate(self.shares):
            rows = np.flatnonzero(level == at)
            result[rows, : at + 1] = shares[codes[at][rows]]
        return result


def _dispersion(found: list[Information], k: int) -> float:
    """Return the Pearson estimate that the groups have in common."""
    degrees = sum(max(each.total - k, 0.0) for each in found)
    total = sum(each.pearson for each in found)
    return total / degrees if degrees >= 1.0 and total > 0.0 else 1.0
