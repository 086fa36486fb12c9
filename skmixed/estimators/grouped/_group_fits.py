"""Shared parts of the fits of all groups, whatever the estimator."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.pooling.hierarchy import PooledHierarchy
from skmixed.core.pooling.stage import UNINFORMED, information_eigenpairs
from skmixed.design.records import read, write
from skmixed.estimators.grouped._arguments import Training
from skmixed.estimators.grouped._shares import Blend, Scheme, Shares
from skmixed.estimators.grouped._tree import Failures, Tree


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Coefficients of the finest groups, with their standard errors."""

    coef: FloatArray  # (n_groups, n_outputs, k), NaN where there are none
    se: FloatArray  # (n_groups, n_outputs, k), NaN where they are not known
    sd: FloatArray  # (n_groups, n_outputs), of the residuals, NaN where there is none


class GroupFits(ABC):
    """Estimates of all groups, and how they are put together in a prediction."""

    origin: FloatArray  # (p,), where shrunk intercepts are taken
    shares: Shares  # what the levels count in a prediction, where coefficients are not pooled
    blends: list[Blend]  # by level, how that was found for predictions under "blup"; else empty

    def __init__(self, tree: Tree, scheme: Scheme, pooled: Any) -> None:
        self.tree, self.scheme = tree, scheme
        self.pooled = pooled  # the inner estimator, fitted to all rows
        self.failures = Failures(tree)
        self.blends = []

    def record(self) -> dict[str, Any]:
        """Return all that was found as a record; the tree is in it once."""
        held = {name: write(value) for name, value in vars(self).items() if name != "failures"}
        return {**held, "reasons": write(self.failures.reasons)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the estimates of a record."""
        held = {name: read(value) for name, value in record.items()}
        fits, reasons = cls.__new__(cls), held.pop("reasons")
        vars(fits).update(held, failures=Failures(held["tree"], reasons))
        return fits

    @abstractmethod
    def fit(self, training: Training, codes: tuple[IntArray, ...]) -> None:
        """Fit all groups that have not failed; `codes`, (n,) each, go by level from the root."""

    @abstractmethod
    def predict(self, method: str, table: Any, codes: tuple[IntArray, ...]) -> NDArray[Any]:
        """Return the answers of `method` to rows, (n, ...).

        `codes`, (n,) each, go by level from the root; a row of an unknown group gets the answer of
        its nearest known ancestor.
        """

    @abstractmethod
    def estimator(self, level: int, group: int) -> Any:
        """Return a fitted estimator that predicts as a group does."""

    @abstractmethod
    def pooled_outputs(self) -> list[PooledHierarchy]:
        """Return the shrunk coefficients of every output; none where predictions are blended."""

    @abstractmethod
    def estimates(self, *, shrunk: bool) -> Estimates:
        """Return the coefficients of the finest groups, shrunk or of each group by itself."""

    def notes(
        self, group: int, output: int, sd: float, digits: int, *, shrunk: bool
    ) -> tuple[str, ...]:
        """Return the lines under the coefficients of a group in the summary."""
        return (f"n = {self.tree.counts[-1][group]:.15g}",)


def with_coefficients(pooled: Any, coef: FloatArray) -> Any:
    """Return a copy of a fitted estimator with coefficients (k,), the intercept first if any."""
    model = copy.copy(pooled)
    slopes = np.zeros(np.shape(pooled.coef_))  # of the one column of an estimator that has none
    if len(coef) > bool(pooled.fit_intercept):
        slopes[...] = (coef[1:] if pooled.fit_intercept else coef).reshape(slopes.shape)
    model.coef_ = slopes
    if pooled.fit_intercept:
        intercept = np.asarray(coef[0]).reshape(np.shape(pooled.intercept_))
        model.intercept_ = intercept if intercept.ndim else float(intercept)
    return model


def uncentred(coef: FloatArray, origin: FloatArray) -> FloatArray:
    """Return coefficients (..., k), the intercept, if any, moved from the origin (p,) to zero."""
    if coef.shape[-1] == len(origin):
        return coef
    result = coef.copy()
    result[..., 0] -= coef[..., 1:] @ origin
    return result


def to_zero(k: int, origin: FloatArray) -> FloatArray:
    """Return the matrix (k, k) that takes coefficients from the origin (p,) to zero."""
    return uncentred(np.eye(k), origin).T


def standard_errors(covariances: FloatArray, origin: FloatArray) -> FloatArray:
    """Return the standard errors (n_groups, k) of covariances (k, k, n_groups), taken to zero."""
    turn = to_zero(len(covariances), origin)
    moved = turn @ np.moveaxis(covariances, -1, 0) @ turn.T
    return np.sqrt(np.maximum(np.einsum("gii->gi", moved), 0.0))


def sampling_variances(precision: FloatArray, origin: FloatArray) -> FloatArray:
    """Return sampling variances (n_groups, k) from information (k, k, n_groups), taken to zero.

    NaN where the information does not determine the estimates.
    """
    values, vectors = information_eigenpairs(np.moveaxis(precision, -1, 0))
    informed = values > UNINFORMED
    known = np.asarray(informed.all(axis=1))
    roots = np.where(known[:, None], 1.0 / np.sqrt(np.where(informed, values, 1.0)), 0.0)
    half = to_zero(len(precision), origin) @ (vectors * roots[:, None])
    return np.where(known[:, None], (half**2).sum(axis=2), np.nan)
