"""The criterion at one value of the lambdas, its derivatives in Omega, and what follows from it.

With V = W^-1 + sum of Z_f (I x lambda_f lambda_f') Z_f', M = [X y]'V^-1[X y] = L L' and r^2 the
square of the last pivot of L, the criterion (-2 log-likelihood, beta profiled out) is

    log|V| + [REML: log|X'V^-1 X|] + nu log(2 pi sigma^2) + r^2 / sigma^2

with nu = n - p (REML) or n (ML) (Bates et al. 2015, doi:10.18637/jss.v067.i01, eqs 34 and 42).
sigma^2 is profiled out, r^2 / nu, or given.

In second derivatives, w = (-beta, 1), U = Z'V^-1[X y] and F = Z'V^-1 Z of every
level, V_b = (X'V^-1 X)^-1 and W_m the middle matrix. E and D are symmetric directions of Omega of
one factor each, Y_E = sum U'E U over its levels, h_E = (Y_E w)[:p] and q_E = w'Y_E w / sigma^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from skmixed.core.elimination.levels import multiply_levels
from skmixed.core.elimination.protocol import Blocks, Factorisation, LostPrecisionError, Reduced
from skmixed.core.linalg import (
    WIDE,
    FloatArray,
    block_diagonal,
    diagonals,
    transposed,
    triangular_inverse,
)
from skmixed.core.model.level_effects import LevelEffects
from skmixed.core.model.problem import Problem

CRITERION_DIGITS = 1e-13  # relative rounding of the criterion: some hundred units in its last place
CRITERION_ROUNDING = 1e-12  # the same where large terms cancel and the criterion is near zero
_SPARSE = 0.08  # share of entries: products of so few take less than those of all by BLAS
_EPSILON = float(np.finfo(float).eps)  # relative rounding of a number
_INDEPENDENT_OF_ROOT = ("sigma2", "to_residual", "beta_covariance", "cross", "grams", "gradient")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The model at one value of the lambdas, in scaled units."""

    problem: Problem
    lambdas: list[FloatArray]  # (k, k), of every used factor
    factorisation: Factorisation  # V in factored form
    reduced: Reduced  # [X y] after elimination of the random effects
    lower: FloatArray  # (p + 1, p + 1), L with L L' = [X y]'V^-1[X y]
    scale: float | None = None  # sigma^2 where it is given, in scaled units

    def with_lambdas(self, lambdas: list[FloatArray]) -> Evaluation:
        """Return the same evaluation under other square roots of the same covariances.

        Each `lam @ lam.T` must be unchanged up to rounding. All arrays are shared.
        """
        same = replace(self, lambdas=lambdas)
        for name in _INDEPENDENT_OF_ROOT:
            if name in self.__dict__:
                same.__dict__[name] = self.__dict__[name]
        return same

    @cached_property
    def omegas(self) -> Blocks:
        """Relative covariances of every factor, (k, k)."""
        return [lam @ lam.T for lam in self.lambdas]

    @property
    def square(self) -> float:
        """Residual sum of squares, r^2 = y'P y."""
        return float(self.lower[-1, -1] ** 2)

    @cached_property
    def sigma2(self) -> float:
        """Residual variance: r^2 / nu, or as given."""
        return self.square / self.problem.degrees if self.scale is None else self.scale

    @property
    def degrees(self) -> float:
        """Degrees of freedom of the residual variance: nu, infinite where it is given."""
        return self.problem.degrees if self.scale is None else np.inf

    @cached_property
    def criterion(self) -> float:
        """-2 log-likelihood, restricted for REML, in the units of the data, and the penalty."""
        value = self.problem.degrees * np.log(2.0 * np.pi * self.sigma2)
        value += self.factorisation.log_det + self.square / self.sigma2 + self.penalty
        if self.problem.spec.method == "reml":
            value += 2.0 * np.log(self.lower.diagonal()[:-1]).sum()
        return float(value + self.problem.constant)

    @cached_property
    def penalty(self) -> float:
        """What penalties of the covariances add to the criterion."""
        if not self.problem.penalties:
            return 0.0
        zipped = zip(self.problem.penalties, self.lambdas, strict=True)
        return sum(float(penalty.value(lam)) for penalty, lam in zipped)

    @cached_property
    def rounded_square(self) -> float:
        """Error to expect in the residual sum of squares from rounding.

        It is what is left of the squares of y and of what the fixed columns take off, which loses
        digits in proportion: beside offsets where the sums within levels are not kept, and where
        large coefficients of columns that resemble each other cancel.
        """
        model = self.problem.model
        gram = model.gram if model.within is None else model.within
        sizes = np.sqrt(np.abs(gram.diagonal()))
        return float(_EPSILON * (np.abs(self.to_residual) @ sizes) ** 2)

    @property
    def relative_rounding(self) -> float:
        """Relative error to expect in the residual sum of squares from rounding."""
        return self.rounded_square / max(self.square, self.scale or 0.0)

    @property
    def rounding(self) -> float:
        """Error to expect in the criterion from rounding."""
        rounding = CRITERION_DIGITS * abs(self.criterion) + CRITERION_ROUNDING
        return rounding + self.rounded_square / self.sigma2

    @cached_property
    def _fixed_root(self) -> FloatArray:
        """The inverse of L without its last row and column, (p, p)."""
        return triangular_inverse(self.lower[:-1, :-1], lower=True)

    @cached_property
    def to_residual(self) -> FloatArray:
        """The vector w = (-beta, 1), of shape (p + 1,), so that [X y] w = y - X beta."""
        w = np.empty(len(self.lower))
        w[-1] = 1.0
        np.matmul(-self.lower[-1, :-1], self._fixed_root, out=w[:-1])
        return w

    @property
    def beta(self) -> FloatArray:
        """Coefficients of the kept fixed columns, of shape (p,)."""
        return -self.to_residual[:-1]

    @cached_property
    def beta_covariance(self) -> FloatArray:
        """The matrix V_b = (X'V^-1 X)^-1, relative to sigma^2, of shape (p, p)."""
        return np.asarray(self._fixed_root.T @ self._fixed_root)

    @cached_property
    def middle(self) -> FloatArray:
        """W_m, (p + 1, p + 1): blockdiag(V_b, 0) + w w'/sigma^2 for REML, w w'/sigma^2 for ML."""
        w = self.to_residual
        middle = w[:, None] * (w / self.sigma2)
        if self.problem.spec.method == "reml":
            middle[:-1, :-1] += self.beta_covariance
        return middle

    @cached_property
    def cross(self) -> Blocks:
        """U = Z'V^-1[X y] of every factor, of shape (k, p + 1, n_levels)."""
        return self.reduced.cross()

    @cached_property
    def cross_of_levels(self) -> Blocks:
        """The same of levels: K Z'V^-1[X y] where these are related, of which b = Omega U w."""
        return self.problem.of_levels(self.cross)

    @cached_property
    def level_effects(self) -> Factorisation | LevelEffects:
        """What tells conditional covariances of the effects of levels, related or not."""
        if not self.problem.directions:
            return self.factorisation
        return LevelEffects.of(self.problem, self.lambdas, self.factorisation)

    @cached_property
    def grams(self) -> Blocks:
        """Sum over levels of u_a u_b', a and b columns of Z, of shape (k * k, (p + 1)^2)."""
        return [level_grams(cross) for cross in self.cross]

    @cached_property
    def gradient(self) -> Blocks:
        """Derivative of the criterion in Omega of every factor, of shape (k, k).

        The criterion changes by tr(G dOmega), with G = `slopes` of W_m.
        """
        return self.slopes(self.middle)

    def slopes(self, middle: FloatArray) -> Blocks:
        """Return sum F - sum U M U' over levels of every factor, (k, k), with F = Z'V^-1 Z.

        M is `middle`, (p + 1, p + 1). The derivative of the penalty is added.
        """
        result = []
        for factor, lam in enumerate(self.lambdas):
            if len(lam) < WIDE:
                lost = (self.grams[factor] @ middle.ravel()).reshape(lam.shape)
            else:
                flat = self.cross[factor].reshape(len(lam), -1)
                lost = flat @ np.matmul(middle, self.cross[factor]).reshape(len(lam), -1).T
            result.append(self.factorisation.total_information(factor) - lost)
            if self.problem.penalties:
                result[-1] += self.problem.penalties[factor].slope(lam)
        return result

    def scores(self) -> Blocks:
        """Return u = Z'V^-1(y - X beta) of every factor, of shape (k, n_levels)."""
        return [np.matmul(self.to_residual, cross) for cross in self.cross]


def evaluate(
    problem: Problem, lambdas: Sequence[FloatArray], scale: float | None = None
) -> Evaluation:
    """Evaluate a problem at lambda of every used factor, (k, k), in scaled units.

    Any square roots of the Omegas will do, singular ones too. `scale` is sigma^2 in scaled units
    where it is given; what rests on coefficients that nothing tells is then NaN. Nothing needs to
    be left for the residual where sigma^2 is given, or known by the problem. Raises
    `LostPrecisionError` if the cross-products do not have the digits that these need.
    """
    roots, model = list(lambdas), problem.model
    try:
        factorisation = problem.elimination.factorise(roots)
        reduced = factorisation.reduce(model.right)
    except np.linalg.LinAlgError as error:
        raise LostPrecisionError(
            f"the likelihood cannot be computed at some variances ({error}): rescale or centre the "
            "columns, or drop random terms"
        ) from error
    gram = reduced.remaining(model.gram, model.within)
    lower, info = lapack.dpotrf(gram, lower=1, clean=1)
    known = problem.sigma2 if scale is None else scale
    if info == len(gram) and known is not None:
        lower[-1, -1] = 0.0
    elif scale is not None and (info or not math.isfinite(lower[-1, -1])):
        lower = np.full_like(lower, np.nan)  # coefficients without information have no errors
    elif info or not math.isfinite(lower[-1, -1]):
        raise LostPrecisionError(
            "too few digits are left for the residual: it is nearly nothing beside an offset, "
            "a covariate or the differences between groups, or the model can follow every row. "
            "Rescale or centre the columns, or drop random terms"
        )
    return Evaluation(problem, roots, factorisation, reduced, lower, known)


def level_grams(cross: FloatArray) -> FloatArray:
    """Sum the products of the columns of U over levels: (k, m, n_levels) to (k * k, m * m).

    In row (a, b), of columns of Z, stands the sum of u_a u_b'.
    """
    k, m, n_levels = cross.shape
    flat = cross.reshape(k * m, n_levels)
    gram = (flat @ flat.T).reshape(k, m, k, m)
    return np.asarray(gram.transpose(0, 2, 1, 3).reshape(k * k, m * m))


Directions = list[tuple[int, FloatArray]]
"""Positions of factors, with t symmetric directions of shape (t, k, k) each."""


def average_information(evaluation: Evaluation, directions: Directions) -> FloatArray:
    """Return the average information along t directions, (t, t), for any factors.

    With the working variates f_E = Z E u, it is f'P f / sigma^2 - q q'/nu, where sigma^2 is
    profiled out (Gilmour, Thompson & Cullis 1995, doi:10.2307/2533274). It is positive semidefinite
    and equals the exact second derivatives of the criterion on average over y. Those of the penalty
    are exact.
    """
    scores = evaluation.scores()
    n_directions = sum(len(matrices) for _, matrices in directions)
    variates = [np.zeros((len(u), n_directions, u.shape[1])) for u in scores]
    start = 0
    for factor, matrices in directions:
        stop = start + len(matrices)
        variates[factor][:, start:stop] = np.matmul(matrices, scores[factor]).transpose(1, 0, 2)
        start = stop
    products = evaluation.problem.elimination.multiply(variates)
    through = np.zeros((n_directions, n_directions))
    for variate, product in zip(variates, products, strict=True):
        for rows, columns in zip(variate, product, strict=True):
            through += rows @ columns.T
    through = evaluation.factorisation.reduce(products).remaining(through)
    y = _response_terms(evaluation, directions)
    h, q = y @ evaluation.to_residual, _quadratic(evaluation, y)
    fixed = h[:, :-1] @ evaluation.beta_covariance @ h[:, :-1].T
    information = (through - fixed) / evaluation.sigma2
    information += _penalty_along(evaluation, directions)
    return np.asarray(information - q[:, None] * q / evaluation.degrees)


def _penalty_along(evaluation: Evaluation, directions: Directions) -> FloatArray | float:
    """Return the second derivatives of the penalty along t directions, (t, t), 0 without one."""
    penalties, lambdas = evaluation.problem.penalties, evaluation.lambdas
    if not penalties:
        return 0.0
    return block_diagonal([penalties[f].along(lambdas[f], each) for f, each in directions])


def _response_terms(evaluation: Evaluation, directions: Directions) -> FloatArray:
    """Return Y_E of every direction, of shape (t, p + 1, p + 1)."""
    m = len(evaluation.to_residual)
    return np.concatenate(
        [
            matrices.reshape(len(matrices), -1) @ evaluation.grams[factor]
            if matrices.shape[-1] < WIDE
            else sums_along(matrices, evaluation.cross[factor])
            for factor, matrices in directions
        ]
    ).reshape(-1, m, m)


def sums_along(matrices: FloatArray, cross: FloatArray) -> FloatArray:
    """Return the sum of U'E U over levels, (t, m * m), of t directions and U, (k, m, n_levels)."""
    found = diagonals(matrices)
    if found is not None:
        return np.asarray(found @ np.matmul(cross, transposed(cross)).reshape(len(cross), -1))
    return np.asarray(matrices.reshape(len(matrices), -1) @ level_grams(cross))


def _quadratic(evaluation: Evaluation, y: FloatArray) -> FloatArray:
    """Return q_E of every direction, of shape (t,)."""
    w = evaluation.to_residual
    return np.asarray(y @ w @ w / evaluation.sigma2)


def exact_hessian(evaluation: Evaluation, directions: Directions) -> FloatArray:
    """Return the exact second derivatives along t directions, (t, t), for one grouping factor.

    REML: sum tr(F E (2 U W_m U' - F) D) - tr(W_m Y_E W_m Y_D) + (1 - 1/nu) q_E q_D;
    ML: the last two terms are -(2/sigma^2) h_E'V_b h_D - q_E q_D / nu. `directions` has one entry.
    """
    ((_, matrices),) = directions
    hessian = _information_along(evaluation, matrices)
    hessian = (hessian + hessian.T) / 2.0 + _penalty_along(evaluation, directions)
    y = _response_terms(evaluation, directions)
    q = _quadratic(evaluation, y)
    if evaluation.problem.spec.method == "reml":
        my = evaluation.middle @ y
        hessian -= my.reshape(len(y), -1) @ my.transpose(0, 2, 1).reshape(len(y), -1).T
        return np.asarray(hessian + (1.0 - 1.0 / evaluation.degrees) * q[:, None] * q)
    h = (y @ evaluation.to_residual)[:, :-1]
    hessian -= 2.0 / evaluation.sigma2 * (h @ evaluation.beta_covariance @ h.T)
    return np.asarray(hessian - q[:, None] * q / evaluation.degrees)


def _information_along(evaluation: Evaluation, matrices: FloatArray) -> FloatArray:
    """Return the sum of tr(F E (2 U W_m U' - F) D) over levels, (t, t), of t directions."""
    (cross,) = evaluation.cross
    information = evaluation.factorisation.information(0)
    weighted = np.matmul(2.0 * evaluation.middle, cross)
    times = evaluation.problem.model.times
    second = (
        np.einsum("apl,bpl->abl", cross, weighted)
        if len(cross) < WIDE
        else multiply_levels(cross, weighted.swapaxes(0, 1))
    )
    second -= information if times is None else information * times
    return traces_along(matrices, information, second)


def traces_along(matrices: FloatArray, first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the sum of tr(A E B D) over levels, (t, t), of t directions, (t, k, k).

    `first` and `second` are A and B, symmetric, (k, k, n_levels). Diagonal directions pick entries
    that belong together. Otherwise the sum is a form in vec E and vec D, of k^4 numbers, unless so
    few directions are asked for that E A and D B cost less.
    """
    along = diagonals(matrices)
    if along is not None:
        return np.asarray(along @ np.einsum("abl,abl->ab", first, second) @ along.T)
    t, (k, _, n_levels) = len(matrices), first.shape
    if k >= WIDE and n_levels * t * (2 * k + t) < (n_levels + t) * k**2:
        one, other = (
            np.tensordot(matrices, each, axes=1).reshape(t, k, k, n_levels)
            for each in (first, second)
        )
        return np.asarray(one.reshape(t, -1) @ other.transpose(0, 2, 1, 3).reshape(t, -1).T)
    quartic = first.reshape(k * k, n_levels) @ second.reshape(k * k, n_levels).T
    form = quartic.reshape(k, k, k, k).transpose(1, 2, 3, 0).reshape(k * k, k * k)
    flat = matrices.reshape(t, -1)
    if k >= WIDE and np.count_nonzero(flat) < _SPARSE * flat.size:
        few = sparse.csr_matrix(flat)
        return np.asarray((few @ (few @ form).T).T)
    return np.asarray(flat @ form @ flat.T)
