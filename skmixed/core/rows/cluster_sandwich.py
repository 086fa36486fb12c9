"""Covariance of coefficients that is right whatever the covariance of rows within clusters.

With X_j, V_j and residuals e_j of cluster j, M = (X'V^-1 X)^-1 and adjustments A_j,

    robust covariance = M (sum of s_j s_j') M,     s_j = X_j'V_j^-1 A_j e_j,

A_j = I for CR0 (Liang & Zeger 1986), the root of J / (J - 1) for CR1, and for CR2 what makes it
unbiased if the model is true (`cluster_adjustment`). Of a function c of the coefficients, with
G_j = X_j'V_j^-1 A_j X_j, F_j = X_j'V_j^-1 A_j V_j A_j V_j^-1 X_j, u_j = G_j'M c and
d_j = c'M F_j M c, it is a form in e whose matrix has the entries

    P_ij = [i = j] d_j - u_i'M u_j,     degrees of freedom = (tr P)^2 / sum of P_ij^2

(Pustejovsky & Tipton 2018, doi:10.1080/07350015.2016.1247004). Sums over pairs of clusters are
products of sums over clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import linalg

from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.rows.cluster_adjustment import adjusted_scores
from skmixed.core.rows.scaled import ScaledTable
from skmixed.core.sums.layout import Rows
from skmixed.core.sums.summation import level_sums

ALL_ZERO = 1e-8  # of the model's variance: less is the rounding of scores that are all zero

SandwichKind = Literal["CR0", "CR1", "CR2"]


@dataclass(frozen=True, slots=True, eq=False)
class ClusterSandwich:
    """A cluster-robust covariance with its degrees of freedom, in the scaled units of a fit."""

    scores: FloatArray  # (J, p), s_j
    bread: FloatArray  # (p, p), M
    seen: FloatArray  # (J, p, p), G_j
    spread: FloatArray  # (J, p, p), F_j
    scale: float  # multiplier of the response

    @classmethod
    def of(
        cls,
        fit: Fit,
        rows: Rows,
        clusters: IntArray,
        n_clusters: int,
        kind: SandwichKind,
        *,
        counts_rows: bool,
    ) -> ClusterSandwich:
        """Sum the rows of a fit, with codes that count its levels, within clusters, (n,).

        Every level of the used factors lies within one cluster. Weights count rows, or are
        precisions. Raises MemoryError for CR2 where a
        cluster is too large for its adjustment.
        """
        table = ScaledTable.of(fit, rows)
        if kind == "CR2":
            found = adjusted_scores(fit, rows, table, clusters, n_clusters, counts_rows)
        else:
            factor = 1.0 if kind == "CR0" else n_clusters / (n_clusters - 1.0)
            found = _plain_scores(fit, rows, table, clusters, n_clusters, factor)
        return cls(found[0], fit.evaluation.beta_covariance, found[1], found[2], table.scale)

    @property
    def covariance(self) -> FloatArray:
        """Covariance of the coefficients of the scaled columns, (p, p), in squared units of y."""
        errors = self.scores @ self.bread / self.scale
        return np.asarray(errors.T @ errors)

    def degrees(self, functions: FloatArray) -> FloatArray:
        """Return Satterthwaite's degrees of freedom of functions of coefficients, (m,).

        NaN where residuals are zero whatever the responses, as of a column of one cluster.
        """
        found = [self._moments(function[None]) for function in functions]
        return np.array(
            [
                2.0 * mean[0, 0] ** 2 / spread
                if mean[0, 0] > ALL_ZERO * function @ self.bread @ function
                else np.nan
                for function, (mean, spread) in zip(functions, found, strict=True)
            ]
        )

    def joint_degrees(self, functions: FloatArray) -> float:
        """Return the degrees of freedom of Hotelling's T^2 for q functions, (q, p), together.

        Those of a Wishart matrix whose entries vary in total as those of the estimated covariance
        of the functions, in units in which its mean is the identity; NaN as for single functions.
        """
        mean, _ = self._moments(functions)
        values, vectors = linalg.eigh(mean, functions @ self.bread @ functions.T)
        if values[0] <= ALL_ZERO:
            return np.nan
        values, vectors = np.linalg.eigh(mean)
        root = vectors / np.sqrt(values) @ vectors.T
        _, spread = self._moments(root @ functions)
        q = len(functions)
        return float(q * (q + 1) / spread)

    def scale_and_degrees(self, functions: FloatArray) -> tuple[float, float]:
        """Return what Wald's F of q functions, (q, p), is multiplied by, and its denominator.

        Those of Hotelling's T^2; NaN where there are too few clusters.
        """
        q, total = len(functions), self.joint_degrees(functions)
        left = total - q + 1.0
        return (left / total, left) if left > 0.0 else (np.nan, np.nan)

    def _moments(self, functions: FloatArray) -> tuple[FloatArray, float]:
        """Return the mean of the covariance of functions, (q, q), and what its entries vary.

        Both by the model, relative to the residual variance; entries in both triangles count.
        """
        along = functions @ self.bread
        u = np.einsum("qa,jab->jqb", along, self.seen)
        own = along @ self.spread @ along.T
        lost = u @ self.bread @ u.transpose(0, 2, 1)
        n, q, p = u.shape
        flat = u.reshape(n, q * p)
        sums = (flat.T @ flat).reshape(q, p, q, p).transpose(0, 2, 1, 3)
        turned = self.bread @ sums
        ends = np.diagonal(own, axis1=1, axis2=2)
        losses = np.diagonal(lost, axis1=1, axis2=2)
        pairs = own - 2.0 * lost
        spread = float(
            (own * pairs).sum() + (ends.sum(axis=1) * (ends - 2.0 * losses).sum(1)).sum()
        )
        spread += float(np.einsum("stab,stba->", turned, turned))
        spread += float(np.einsum("stab,tsba->", turned, turned))
        return (own - lost).sum(axis=0), spread


def _plain_scores(
    fit: Fit,
    rows: Rows,
    table: ScaledTable,
    clusters: IntArray,
    n_clusters: int,
    factor: float,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return s_j, G_j and F_j where every A_j is the root of a factor times I."""
    evaluation = fit.evaluation
    p = len(evaluation.beta)
    fixed = table.fixed[:, :p]
    reduced = [part for _, part in table.reduced(evaluation.lambdas, evaluation.cross_of_levels)]
    right = np.concatenate(reduced)
    right[:, p] -= right[:, :p] @ evaluation.beta
    sums = level_sums(clusters, n_clusters, list(fixed.T), right, rows.weights)
    information = np.ascontiguousarray(sums[:, :p].transpose(2, 0, 1))
    information = (information + information.transpose(0, 2, 1)) / 2.0
    root = float(np.sqrt(factor))
    return root * sums[:, p].T, root * information, factor * information
