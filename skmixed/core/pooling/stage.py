"""Two-stage estimation: coefficients of many groups, each shrunk to its parent.

First stage: every group g has an estimate b_g of its k coefficients with covariance s^2 P_g^-1.
Second stage: b_g = m + u_g + error with u_g ~ N(0, s^2 Omega), where m belongs to the parent of the
group. Omega, and s^2 where the first stage left a residual, maximise the restricted likelihood

    d = sum over g of log|I + P_g Omega| + sum over parents of log|sum of W_g|
        + sum over g of (b_g - m)'W_g (b_g - m) / s^2,     W_g = (I + P_g Omega)^-1 P_g

(van Houwelingen, Arends & Stijnen 2002, doi:10.1002/sim.1040; Jackson, Riley & White 2011,
doi:10.1002/sim.4172). Only the information P_g and P_g b_g occur, so that a group with fewer rows
than coefficients says what it knows. With the residual of least squares, d is the restricted
likelihood of the linear mixed model in which all coefficients vary.

A hierarchy is taken stage by stage, from fine to coarse: what the children know of their parent is
again an estimate, sum of W_g, with its information. Going back down, the posterior of each parent
is the prior mean of its children (Gelman & Hill 2006, ch. 12-13, doi:10.1017/CBO9780511790942).

Groups, and parents, lie along the last axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.core.elimination.levels import (
    LevelShrinkage,
    multiply_levels,
    multiply_right,
    multiply_transposed,
    sum_children,
)
from skmixed.core.linalg import FloatArray, IntArray

UNINFORMED = 1e-10  # eigenvalue of P at unit diagonal; less is a direction not known about
NOISELESS = 1e-13  # residual, as a share of the sum of squares, that rounding alone leaves


@dataclass(frozen=True, slots=True)
class FirstStageResidual:
    """What the first stage left over."""

    rss: float  # residual sum of squares within groups
    n_rows: float  # number of rows, whose degrees of freedom the second stage shares
    degrees: float  # of freedom within groups; the search starts from their variance


@dataclass(frozen=True, eq=False)
class PoolingStage:
    """Estimates of k coefficients of sibling groups and what they are shrunk to."""

    precision: FloatArray  # (k, k, n_groups), P, symmetric positive semidefinite
    estimate: FloatArray  # (k, n_groups), b; only P b matters
    parents: IntArray  # (n_groups,) parent of every group
    n_parents: int
    noise: FirstStageResidual | None = None  # None where s^2 = 1 is known

    @property
    def k(self) -> int:
        """Number of coefficients."""
        return len(self.precision)

    @property
    def s2_within(self) -> float | None:
        """Residual variance within groups, where it is known."""
        if self.noise is None:
            return 1.0
        return self.noise.rss / self.noise.degrees if self.noise.degrees >= 1.0 else None

    @property
    def degrees_between(self) -> int:
        """Number of groups with information beyond one a parent."""
        informed = np.einsum("iig->g", self.precision) > 0.0
        return int(informed.sum()) - len(np.unique(self.parents[informed]))

    def by_parent(self, values: FloatArray) -> FloatArray:
        """Sum matrices, (a, b, n_groups), over the groups of each parent, (a, b, n_parents)."""
        if self.n_parents == 1:
            return np.asarray(values.sum(axis=2, keepdims=True))
        return sum_children(values, self.parents, self.n_parents)

    def of_parent(self, values: FloatArray) -> FloatArray:
        """Return the values, (..., n_parents), of the parent of each group, (..., n_groups).

        The last axis stays 1 where there is one parent.
        """
        return values if self.n_parents == 1 else values[..., self.parents]

    @cached_property
    def null_space(self) -> FloatArray:
        """Projections on what the groups of a parent leave unknown, (k, k, n_parents)."""
        total = np.moveaxis(self.by_parent(self.precision), 2, 0)
        values, vectors = information_eigenpairs(total)
        basis = np.where((values < UNINFORMED * self.k)[:, None], vectors, 0.0)
        return np.moveaxis(basis @ basis.transpose(0, 2, 1), 0, 2)

    @cached_property
    def degrees(self) -> float:
        """Rows less the coefficients of the parents."""
        projections = np.moveaxis(self.null_space, 2, 0)
        unknown = float(np.linalg.matrix_rank(projections, hermitian=True).sum())
        rows = 0.0 if self.noise is None else self.noise.n_rows
        return rows - (self.k * self.n_parents - unknown)


def information_eigenpairs(information: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return eigenvalues (..., k) of information at unit diagonal, and vectors, (..., k, k).

    The vectors are in the units of the information, so that v'Pv is the eigenvalue.
    """
    scale = np.sqrt(np.einsum("...ii->...i", information))
    scale = np.where(scale > 0.0, scale, 1.0)
    values, vectors = np.linalg.eigh(information / (scale[..., :, None] * scale[..., None, :]))
    return values, vectors / scale[..., :, None]


_LEAST_S2 = 1e-60  # below any s^2 of data: keeps its logarithm finite where nothing is left


@dataclass(frozen=True, eq=False)
class PooledStage:
    """A stage at one value of Omega."""

    stage: PoolingStage
    lam: FloatArray  # (k, k), lambda, a square root of Omega
    criterion: float  # -2 restricted log-likelihood up to a constant
    s2: float
    groups: LevelShrinkage  # of P, so that B = (I + P Omega)^-1
    weight: FloatArray  # (k, k, n_groups), W
    total: FloatArray  # (k, k, n_parents), sum of W over the groups of a parent: its information
    covariance: FloatArray  # (k, k, n_parents), inverse of `total`: of the means
    mean: FloatArray  # (k, n_parents), m
    score: FloatArray  # (k, n_groups), W (b - m)

    @classmethod
    def at(cls, stage: PoolingStage, lam: FloatArray) -> PooledStage:
        """Evaluate the restricted likelihood at lambda, (k, k), any square root of Omega."""
        groups = LevelShrinkage.at(stage.precision, lam)
        weight = multiply_levels(groups.shrinker, stage.precision)
        weight = (weight + weight.swapaxes(0, 1)) / 2.0
        total = stage.by_parent(weight)
        determinant, covariance = _inverses(total + stage.null_space)
        pull = stage.by_parent(_image(weight, stage.estimate)[:, None])
        mean = multiply_levels(covariance, pull)[:, 0]
        deviation = stage.estimate - stage.of_parent(mean)
        score = _image(weight, deviation)
        quadratic = float(np.vdot(score, deviation))
        log_det = groups.log_det + determinant
        criterion, s2 = log_det + quadratic, 1.0
        if stage.noise is not None:
            s2 = max((stage.noise.rss + quadratic) / stage.degrees, _LEAST_S2)
            criterion = log_det + stage.degrees * float(np.log(s2))
        return cls(stage, lam, criterion, s2, groups, weight, total, covariance, mean, score)

    @property
    def omega(self) -> FloatArray:
        """Covariance between groups, relative to s^2."""
        return np.asarray(self.lam @ self.lam.T)

    @cached_property
    def gradient(self) -> FloatArray:
        """Derivative of the criterion in Omega, (k, k)."""
        k = self.stage.k
        if self.stage.n_parents == 1:
            fixed = multiply_right(self.weight, self.covariance[:, :, 0])
        else:
            fixed = multiply_levels(self.weight, self.stage.of_parent(self.covariance))
        fixed = self.weight.reshape(k, -1) @ fixed.reshape(k, -1).T
        between = self.score @ self.score.T / self.s2
        return np.asarray(self.weight.sum(axis=2) - fixed - between)

    @cached_property
    def curvature(self) -> FloatArray:
        """Average information on Omega, (k, k, k, k): q'D P E q / s^2.

        D and E are unit matrices, of entries (a, b) and (c, d), and P is the projection W - W (sum
        of W)^-1 W of all groups of a parent.
        """
        k, score = self.stage.k, self.score
        flat = self.weight.reshape(k * k, -1).T
        pairs = (score[:, None] * score).reshape(k * k, -1)
        info = (pairs @ flat).reshape(k, k, k, k).transpose(0, 2, 3, 1)  # from [a, d, b, c]
        if self.stage.n_parents == 1:
            images = (score @ flat).reshape(k, k, k, 1)
        else:
            images = np.array([self.stage.by_parent(own * self.weight) for own in score])
        covered = np.einsum("abip,ijp->abjp", images, self.covariance).reshape(k * k, -1)
        covered = covered @ images.reshape(k * k, -1).T
        info = info - covered.reshape(k, k, k, k).transpose(0, 1, 3, 2)
        if self.stage.noise is not None:
            slope = score @ score.T
            info = info - slope[:, :, None, None] * slope / (self.s2 * self.stage.degrees)
        return np.asarray(info / self.s2)

    @cached_property
    def diagonal_curvature(self) -> FloatArray:
        """The same for the variances alone, (k, k)."""
        k, score = self.stage.k, self.score
        info = np.einsum("ag,cg,acg->ac", score, score, self.weight)
        images = self.stage.by_parent(score[:, None] * self.weight)
        covered = np.einsum("aip,ijp->ajp", images, self.covariance).reshape(k, -1)
        info = info - covered @ images.reshape(k, -1).T
        if self.stage.noise is not None:
            slope = (score**2).sum(axis=1)
            info = info - np.outer(slope, slope) / (self.s2 * self.stage.degrees)
        return np.asarray(info / self.s2)

    @property
    def between(self) -> FloatArray:
        """Covariance of the groups about their parents, (k, k)."""
        return self.s2 * self.omega

    @property
    def conditional(self) -> FloatArray:
        """Covariance of every group given data and parent, (k, k, n_groups)."""
        return np.asarray(self.s2 * self._shrunk)

    @cached_property
    def _shrunk(self) -> FloatArray:
        """Omega (P Omega + I)^-1, (k, k, n_groups)."""
        return multiply_transposed(self.groups.whitener, self.groups.whitener)

    def posterior_mean(self, mean: FloatArray) -> FloatArray:
        """Return the means of the groups, (k, n_groups), given those of the parents."""
        of_parent = self.stage.of_parent(mean)
        pull = _image(self.stage.precision, self.stage.estimate - of_parent)
        return np.asarray(of_parent + _image(self._shrunk, pull))

    def posterior_covariance(self, covariance: FloatArray) -> FloatArray:
        """Return covariances of the groups, (k, k, n_groups), given those of the parents."""
        spread = multiply_transposed(self.groups.shrinker, self.stage.of_parent(covariance))
        return np.asarray(self.conditional + multiply_levels(spread, self.groups.shrinker))


def _image(matrices: FloatArray, vectors: FloatArray) -> FloatArray:
    """Multiply matrix and vector of every group, (k, n_groups)."""
    return np.asarray(np.einsum("abg,bg->ag", matrices, vectors))


def _inverses(matrices: FloatArray) -> tuple[float, FloatArray]:
    """Return the sum of the log-determinants and the inverses, (k, k, n_parents)."""
    first = np.moveaxis(matrices, 2, 0)
    log_det = float(np.linalg.slogdet(first)[1].sum())
    return log_det, np.moveaxis(np.asarray(np.linalg.inv(first), dtype=float), 0, 2)
