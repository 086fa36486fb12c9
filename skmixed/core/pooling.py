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
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from skmixed.core.groups import IntArray
from skmixed.core.layout import FloatArray

_NULL = 1e-10
_LEAST = 1e-60


@dataclass(frozen=True, slots=True)
class Noise:
    """What the first stage left over.

    Parameters
    ----------
    rss : float
        Residual sum of squares within groups.
    n_rows : float
        Number of rows, whose degrees of freedom the second stage shares.
    degrees : float
        Degrees of freedom within groups; the search starts from their variance.
    """

    rss: float
    n_rows: float
    degrees: float


@dataclass(frozen=True, eq=False)
class Stage:
    """Estimates of sibling groups and what they are shrunk to.

    Parameters
    ----------
    precision : ndarray of shape (n_groups, k, k)
        P, symmetric positive semidefinite.
    estimate : ndarray of shape (n_groups, k)
        b; only P b matters.
    parents : ndarray of int of shape (n_groups,)
        Parent of every group.
    n_parents : int
        Number of parents.
    noise : Noise or None
        None where s^2 = 1 is known.
    """

    precision: FloatArray
    estimate: FloatArray
    parents: IntArray
    n_parents: int
    noise: Noise | None = None

    @property
    def k(self) -> int:
        """Number of coefficients."""
        return int(self.precision.shape[1])

    @property
    def s2_within(self) -> float | None:
        """Residual variance within groups, where it is known."""
        if self.noise is None:
            return 1.0
        return self.noise.rss / self.noise.degrees if self.noise.degrees >= 1.0 else None

    @property
    def degrees_between(self) -> int:
        """Number of groups with information beyond one a parent."""
        informed = np.einsum("gii->g", self.precision) > 0.0
        return int(informed.sum()) - len(np.unique(self.parents[informed]))

    def by_parent(self, values: FloatArray) -> FloatArray:
        """Sum over the groups of each parent.

        Parameters
        ----------
        values : ndarray of shape (n_groups, ...)
            One value, or array of values, a group.

        Returns
        -------
        ndarray of shape (n_parents, ...)
            The sums.
        """
        flat = values.reshape(len(values), -1)
        if self.n_parents == 1:
            sums = np.ones((1, len(flat))) @ flat
        else:
            sums = np.asarray(self._selector @ flat)
        return sums.reshape(self.n_parents, *values.shape[1:])

    @cached_property
    def _selector(self) -> sparse.csr_matrix:
        places = (self.parents, np.arange(len(self.parents)))
        shape = (self.n_parents, len(self.parents))
        return sparse.csr_matrix((np.ones(len(self.parents)), places), shape=shape)

    @cached_property
    def null_space(self) -> FloatArray:
        """Projections on what the groups of a parent leave unknown, of shape (n_parents, k, k)."""
        total = self.by_parent(self.precision)
        scale = np.sqrt(np.einsum("gii->gi", total))
        scale = np.where(scale > 0.0, scale, 1.0)
        values, vectors = np.linalg.eigh(total / (scale[:, :, None] * scale[:, None]))
        unknown = values < _NULL * self.k
        basis = np.where(unknown[:, None], vectors, 0.0) / scale[:, :, None]
        return np.asarray(basis @ _transposed(basis))

    @cached_property
    def degrees(self) -> float:
        """Rows less the coefficients of the parents."""
        unknown = np.linalg.matrix_rank(self.null_space, hermitian=True).sum()
        rows = 0.0 if self.noise is None else self.noise.n_rows
        return rows - float(self.k * self.n_parents - unknown)

    def at(self, factor: FloatArray) -> Pooled:
        """Evaluate the restricted likelihood.

        Parameters
        ----------
        factor : ndarray of shape (k, k)
            A square root of Omega.

        Returns
        -------
        Pooled
            The stage at Omega.
        """
        half = self.precision @ factor
        lower = np.asarray(np.linalg.cholesky(factor.T @ half + np.eye(self.k)), dtype=float)
        log_det = 2.0 * float(np.log(np.einsum("gii->gi", lower)).sum())
        root = _forward(lower, _transposed(half))
        weight = self.precision - _transposed(root) @ root
        pull = weight @ self.estimate[:, :, None]
        total = self.by_parent(weight)
        covariance = np.asarray(np.linalg.inv(total + self.null_space), dtype=float)
        mean = (covariance @ self.by_parent(pull))[:, :, 0]
        deviation = self.estimate - mean[self.parents]
        score = (weight @ deviation[:, :, None])[:, :, 0]
        quadratic = float(np.vdot(score, deviation))
        log_det += float(np.linalg.slogdet(total + self.null_space)[1].sum())
        criterion, s2 = log_det + quadratic, 1.0
        if self.noise is not None:
            s2 = max((self.noise.rss + quadratic) / self.degrees, _LEAST)
            criterion = log_det + self.degrees * float(np.log(s2))
        return Pooled(self, factor, criterion, s2, lower, weight, total, covariance, mean, score)


@dataclass(frozen=True, eq=False)
class Pooled:
    """A stage at one value of Omega.

    Parameters
    ----------
    stage : Stage
        The data.
    factor : ndarray of shape (k, k)
        lambda, a square root of Omega.
    criterion : float
        -2 restricted log-likelihood up to a constant.
    s2 : float
        s^2.
    lower : ndarray of shape (n_groups, k, k)
        Cholesky factor of lambda'P lambda + I.
    weight : ndarray of shape (n_groups, k, k)
        W.
    total : ndarray of shape (n_parents, k, k)
        Sum of W over the groups of each parent: its information.
    covariance : ndarray of shape (n_parents, k, k)
        Inverse of `total`, of the means.
    mean : ndarray of shape (n_parents, k)
        m.
    score : ndarray of shape (n_groups, k)
        W (b - m).
    """

    stage: Stage
    factor: FloatArray
    criterion: float
    s2: float
    lower: FloatArray
    weight: FloatArray
    total: FloatArray
    covariance: FloatArray
    mean: FloatArray
    score: FloatArray

    @property
    def omega(self) -> FloatArray:
        """Covariance between groups, relative to s^2."""
        return np.asarray(self.factor @ self.factor.T)

    @cached_property
    def gradient(self) -> FloatArray:
        """Derivative of the criterion in Omega, of shape (k, k)."""
        k = self.stage.k
        fixed = self.weight @ self.covariance[self.stage.parents]
        fixed = _transposed(fixed).reshape(-1, k).T @ self.weight.reshape(-1, k)
        between = self.score.T @ self.score / self.s2
        return np.asarray(self.weight.sum(axis=0) - fixed - between)

    @cached_property
    def curvature(self) -> FloatArray:
        """Average information on Omega, of shape (k, k, k, k): q'D P E q / s^2.

        D and E are unit matrices, of entries (a, b) and (c, d), and P is the projection
        W - W (sum of W)^-1 W of all groups of a parent.
        """
        n_groups, k = self.score.shape
        pairs = (self.score[:, :, None] * self.score[:, None]).reshape(n_groups, k * k)
        info = (pairs.T @ self.weight.reshape(n_groups, k * k)).reshape(k, k, k, k)
        info = info.transpose(0, 2, 3, 1)  # from [a, d, b, c]
        if self.stage.n_parents == 1:
            images = (self.score.T @ self.weight.reshape(n_groups, k * k)).reshape(1, k, k, k)
        else:
            images = self.stage.by_parent(self.score[:, :, None, None] * self.weight[:, None])
        covered = (images.reshape(-1, k * k, k) @ self.covariance).transpose(0, 2, 1)
        covered = covered.reshape(-1, k * k).T @ images.transpose(0, 3, 1, 2).reshape(-1, k * k)
        info = info - covered.reshape(k, k, k, k).transpose(0, 1, 3, 2)
        if self.stage.noise is not None:
            slope = self.score.T @ self.score
            info = info - slope[:, :, None, None] * slope / (self.s2 * self.stage.degrees)
        return np.asarray(info / self.s2)

    @cached_property
    def diagonal_curvature(self) -> FloatArray:
        """The same for the variances alone, of shape (k, k)."""
        info = np.einsum("ga,gc,gac->ac", self.score, self.score, self.weight)
        images = self.stage.by_parent(self.score[:, :, None] * self.weight)
        info = info - np.einsum("pai,pij,pcj->ac", images, self.covariance, images, optimize=True)
        if self.stage.noise is not None:
            slope = (self.score**2).sum(axis=0)
            info = info - np.outer(slope, slope) / (self.s2 * self.stage.degrees)
        return np.asarray(info / self.s2)

    @property
    def between(self) -> FloatArray:
        """Covariance of the groups about their parents, of shape (k, k)."""
        return self.s2 * self.omega

    @property
    def conditional(self) -> FloatArray:
        """Covariance of every group given data and parent, of shape (n_groups, k, k)."""
        return np.asarray(self.s2 * self._shrunk)

    @cached_property
    def _shrunk(self) -> FloatArray:
        """Omega (P Omega + I)^-1, without subtraction, which loses digits where Omega is large."""
        root = _forward(self.lower, np.broadcast_to(self.factor.T, self.lower.shape))
        return np.asarray(_transposed(root) @ root)

    def posterior_mean(self, mean: FloatArray) -> FloatArray:
        """Return the estimates of the groups, given those of their parents.

        Parameters
        ----------
        mean : ndarray of shape (n_parents, k)
            Posterior means of the parents.

        Returns
        -------
        ndarray of shape (n_groups, k)
            Posterior means of the groups.
        """
        of_parent = mean[self.stage.parents]
        pull = self.stage.precision @ (self.stage.estimate - of_parent)[:, :, None]
        return np.asarray(of_parent + (self._shrunk @ pull)[:, :, 0])

    def posterior_covariance(self, covariance: FloatArray) -> FloatArray:
        """Return how sure the estimates of the groups are, given how sure those of their parents.

        Parameters
        ----------
        covariance : ndarray of shape (n_parents, k, k)
            Posterior covariances of the parents.

        Returns
        -------
        ndarray of shape (n_groups, k, k)
            Posterior covariances of the groups.
        """
        passed = np.eye(self.stage.k) - self._shrunk @ self.stage.precision
        spread = passed @ covariance[self.stage.parents] @ _transposed(passed)
        return np.asarray(self.conditional + spread)


def _transposed(matrices: FloatArray) -> FloatArray:
    return matrices.transpose(0, 2, 1)


def _forward(lower: FloatArray, right: FloatArray) -> FloatArray:
    """Solve ``lower @ x = right`` in every group; one step a row, all groups at once."""
    solution = np.empty(right.shape)
    for i in range(lower.shape[1]):
        row = right[:, i]
        if i:
            row = row - (lower[:, i, None, :i] @ solution[:, :i])[:, 0]
        solution[:, i] = row / lower[:, i, i, None]
    return solution
