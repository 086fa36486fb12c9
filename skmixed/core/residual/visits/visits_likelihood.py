"""The criterion of a model whose residuals covary over visits, at one Sigma, with derivatives.

No random effects beside: V is block diagonal, with a block R_s, that of the visits seen, of Sigma
for every subject. With the sums T_s of `visits_sums`, L L' = [X y]'V^-1[X y] and its last pivot r,

    criterion = log|V| + [REML: log|X'V^-1 X|] + nu (1 + log(2 pi sigma^2)),   sigma^2 = r^2 / nu.

Let D_ij = sum_s (R_s^-1 T_s R_s^-1)_ij, so that L L' changes by -sum_ij E_ij D_ij along a symmetric
direction E of Sigma, W_m the middle matrix of `core.model.evaluation` and k_s = tr(W_m T_s):

    slope in Sigma = sum_s m_s R_s^-1 - Y_s,       Y_s = R_s^-1 k_s R_s^-1,
    curvature along E, F = sum_s tr(E R_s^-1 F (2 Y_s - m_s R_s^-1)) - sum_ij O_ij d(E)_ij d(F)_ij,

for m_s subjects. d(E) is the change of L L' in units of L, and O is 1 within X, for REML, 2 nu
beside y and nu for y itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import lapack

from skmixed.core.elimination.protocol import LostPrecisionError
from skmixed.core.linalg import FloatArray, IntArray, triangular_inverse
from skmixed.core.model.evaluation import CRITERION_DIGITS, CRITERION_ROUNDING
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import ModelSpec
from skmixed.core.residual.visits.visits_sums import VisitSums, as_weights, unpacked
from skmixed.core.sums.crossproducts import CrossProducts

_EPSILON = float(np.finfo(float).eps)  # relative rounding of a number


@dataclass(frozen=True, slots=True, eq=False)
class VisitModel:
    """The sums of a model in scaled units, and what does not change with Sigma."""

    sums: VisitSums
    independent: Problem  # the model of independent residuals of one variance
    columns: FloatArray  # (w, p + 1), scaled [X y] in terms of the columns summed
    places: tuple[IntArray, IntArray, IntArray]  # pattern and visits of every row of the sums
    diagonal: IntArray  # (w,), where squares of columns stand in packed ones

    @classmethod
    def of(cls, sums: VisitSums, base: CrossProducts, spec: ModelSpec) -> VisitModel:
        """Choose independent columns and their units, once for every Sigma.

        `base` is the sum over all rows of the same columns.
        """
        independent = Problem.of(base, spec)
        return cls(
            sums,
            independent,
            base.undo @ independent.model.to_raw * math.sqrt(base.unit),
            sums.patterns.pairs(),
            np.flatnonzero(np.equal(*np.triu_indices(len(base.basis)))),
        )

    @property
    def is_reml(self) -> bool:
        """Whether the likelihood is restricted."""
        return self.independent.spec.method == "reml"

    @property
    def degrees(self) -> float:
        """Divisor nu of the residual sum of squares."""
        return self.independent.degrees

    def within(self, forms: FloatArray) -> FloatArray:
        """Return packed forms in the columns summed, (m, w(w + 1)/2), in those of the model."""
        return np.asarray(self.columns.T @ unpacked(forms, len(self.columns)) @ self.columns)

    def contracted(self, middle: FloatArray) -> FloatArray:
        """Return tr(W T_s[u, v]), (s, V, V), of a symmetric W, (p + 1, p + 1)."""
        n_visits = self.sums.n_visits
        weights = as_weights(self.columns @ middle @ self.columns.T)
        which, first, second = self.places
        result = np.zeros((len(self.sums.counts), n_visits, n_visits))
        result[which, first, second] = self.sums.products @ weights
        result[which, second, first] = result[which, first, second]
        return result

    def residual_moments(self) -> tuple[FloatArray, FloatArray]:
        """Return second moments of least-squares residuals, (V, V), and numbers of subjects."""
        to_residual = np.append(-self.independent.least_squares[0], 1.0)
        total = self.contracted(np.outer(to_residual, to_residual)).sum(axis=0)
        together = self.sums.together
        return total / np.maximum(together, 1.0), together


@dataclass(frozen=True, eq=False)
class VisitEvaluation:
    """The model at one Sigma, relative to the residual variance and in scaled units."""

    model: VisitModel
    sigma: FloatArray  # (V, V)
    inverses: FloatArray  # (s, V, V), R_s^-1, zero for visits not seen
    log_det: float  # log|V|, but for weights
    lower: FloatArray  # (p + 1, p + 1), L

    @property
    def sigma2(self) -> float:
        """Residual variance of the first visit."""
        return float(self.lower[-1, -1] ** 2 / self.model.degrees)

    @cached_property
    def criterion(self) -> float:
        """-2 log-likelihood, restricted for REML, in the units of the data."""
        value = self.log_det + self.model.degrees * (1.0 + math.log(2.0 * math.pi * self.sigma2))
        if self.model.is_reml:
            value += 2.0 * float(np.log(self.lower.diagonal()[:-1]).sum())
        return float(value + self.model.independent.constant)

    @cached_property
    def rounding(self) -> float:
        """Error to expect in the criterion from rounding.

        Digits are lost where visits nearly determine each other, in their inverse and in what is
        left of the sums of squares.
        """
        model = self.model
        weights = np.abs(model.sums.pair_weights(self.inverses, *model.places))
        squares = weights @ np.abs(model.sums.products[:, model.diagonal])
        to_residual = model.columns @ (self.root[-1] * self.lower[-1, -1])
        left = float((np.abs(to_residual) @ np.sqrt(squares)) ** 2) / self.sigma2
        lost = float(np.einsum("sii,ii->", self.information, self.sigma) + left)
        return CRITERION_DIGITS * abs(self.criterion) + CRITERION_ROUNDING + _EPSILON * lost

    @cached_property
    def root(self) -> FloatArray:
        """The inverse of L, (p + 1, p + 1); its last row is (-beta, 1) / r."""
        return triangular_inverse(self.lower, lower=True)

    @cached_property
    def fixed_covariance(self) -> FloatArray:
        """V_b = (X'V^-1 X)^-1, (p, p)."""
        root = self.root[:-1, :-1]
        return np.asarray(root.T @ root)

    @cached_property
    def middle(self) -> FloatArray:
        """W_m, (p + 1, p + 1): w w' / sigma^2, and V_b beside it for REML."""
        residual = self.root[-1] * self.lower[-1, -1]
        middle = np.outer(residual, residual) / self.sigma2
        if self.model.is_reml:
            middle[:-1, :-1] += self.fixed_covariance
        return middle

    @cached_property
    def information(self) -> FloatArray:
        """R_s^-1 times the subjects of every pattern, (s, V, V)."""
        return self.model.sums.counts[:, None, None] * self.inverses

    def spread(self, middle: FloatArray) -> FloatArray:
        """Return R_s^-1 tr(W T_s) R_s^-1 of every pattern, (s, V, V)."""
        return np.asarray(self.inverses @ self.model.contracted(middle) @ self.inverses)

    @cached_property
    def spreads(self) -> FloatArray:
        """Y_s, (s, V, V)."""
        return self.spread(self.middle)

    @cached_property
    def gradient(self) -> FloatArray:
        """Derivative of the criterion in Sigma, (V, V)."""
        return np.asarray((self.information - self.spreads).sum(axis=0))

    @cached_property
    def pair_forms(self) -> FloatArray:
        """D_ij of visits i <= j in units of L, (V(V + 1)/2, p + 1, p + 1)."""
        which, first, second = self.model.places
        rows, columns = np.triu_indices(self.model.sums.n_visits)
        left = np.ascontiguousarray(self.inverses[which, first])
        right = left if not len(which) else np.ascontiguousarray(self.inverses[which, second])
        weights = left[:, rows] * right[:, columns]
        weights += left[:, columns] * right[:, rows]
        weights[first == second] *= 0.5
        forms = self.model.within(weights.T @ self.model.sums.products)
        return np.asarray(self.root @ forms @ self.root.T)

    def forms(self, directions: FloatArray) -> FloatArray:
        """Return d(E), (t, p + 1, p + 1), of directions, (t, V, V)."""
        rows, columns = np.triu_indices(self.model.sums.n_visits)
        weights = directions[:, rows, columns] * np.where(rows < columns, 2.0, 1.0)
        pairs, m = self.pair_forms, len(self.lower)
        return -(weights @ pairs.reshape(len(pairs), m * m)).reshape(-1, m, m)

    def quartic(self, directions: FloatArray, between: FloatArray) -> FloatArray:
        """Return sum_s tr(E R_s^-1 F C_s), (t, t), C_s being `between`, (s, V, V)."""
        flat = directions.reshape(len(directions), -1)
        n_visits = self.model.sums.n_visits
        squares = n_visits * n_visits
        form = self.inverses.reshape(-1, squares).T @ between.reshape(-1, squares)
        shaped = form.reshape((n_visits,) * 4)  # j, k, l, i
        through = flat @ shaped.transpose(3, 0, 1, 2).reshape(squares, squares) @ flat.T
        return np.asarray((through + through.T) / 2.0)

    def hessian(self, directions: FloatArray) -> FloatArray:
        """Return the second derivatives along directions of Sigma, (t, V, V): (t, t)."""
        hessian = self.quartic(directions, 2.0 * self.spreads - self.information)
        forms, nu = self.forms(directions), self.model.degrees
        weights = np.full((len(self.lower), len(self.lower)), nu)
        weights[:-1, :-1] = 1.0 if self.model.is_reml else 0.0
        flat = forms.reshape(len(forms), -1)
        return np.asarray(hessian - (flat * weights.ravel()) @ flat.T)


def evaluate_visits(model: VisitModel, sigma: FloatArray) -> VisitEvaluation:
    """Evaluate a model at a positive definite Sigma, (V, V).

    Raises `LostPrecisionError` where the sums have too few digits for it.
    """
    try:
        inverses, log_det = model.sums.inverses(sigma)
    except np.linalg.LinAlgError as error:
        raise LostPrecisionError("the covariance of the visits is singular") from error
    weights = model.sums.pair_weights(inverses, *model.places)
    gram = model.within(weights @ model.sums.products)
    lower, info = lapack.dpotrf(gram, lower=1, clean=1)
    if info or not (math.isfinite(lower[-1, -1]) and math.isfinite(log_det)):
        raise LostPrecisionError("too few digits are left for the residuals")
    return VisitEvaluation(model, sigma, inverses, log_det, lower)
