"""The criterion of many data sets of one design at once, each at its own lambda.

One grouping factor, so that everything is a batched sum over levels. Blocks have the data sets
along their last axis but one, the levels along the last; what all data sets share has length one
there. Formulas and letters are those of `skmixed.core.model.evaluation`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import lapack

from skmixed.core.elimination.levels import (
    cholesky_plus_identity,
    invertible_root,
    multiply_levels,
    multiply_transposed,
)
from skmixed.core.linalg import WIDE, FloatArray, IntArray, semidefinite_root, transposed
from skmixed.core.model.covariance import Structure
from skmixed.core.model.evaluation import CRITERION_DIGITS, CRITERION_ROUNDING, traces_along
from skmixed.core.model.penalty import ScaledPenalty
from skmixed.core.model.problem import Problem

_DEPENDENT_PIVOT = 1e-11  # share of a sum of squares left of a column: rounding, as in scaling


@dataclass(frozen=True, slots=True, eq=False)
class LockstepData:
    """Scaled cross-products of R data sets with one factor.

    A level can stand for several in all that does not depend on X and y, as `counts` says.
    """

    own: FloatArray  # (k, k, R or 1, n_levels): Z'W Z
    fixed: FloatArray  # (k, p, R or 1, n_levels): Z'W X
    response: FloatArray  # (k, R, n_levels): Z'W y
    gram: FloatArray  # (R, p + 1, p + 1): [X y]'W[X y]
    structure: Structure  # of the covariance
    degrees: FloatArray  # (R,): nu
    reml: bool  # whether the criterion is restricted
    counts: FloatArray | None = None  # (n_levels,): levels each stands for; None: one
    penalty: ScaledPenalty | None = None  # of the covariance
    sigma2: float | None = None  # residual variance where it is known

    @classmethod
    def of(cls, problem: Problem, n: int) -> LockstepData:
        """Take the one data set of a problem with one factor n times."""
        model, reml = problem.model, problem.spec.method == "reml"
        (own,), (right,) = model.own, model.right
        one = cls(
            own=own[:, :, None],
            fixed=right[:, :-1, None],
            response=right[:, -1:],
            gram=model.gram[None],
            structure=problem.structures[0],
            degrees=np.array([problem.degrees]),
            reml=reml,
            penalty=problem.joint_penalty,
            sigma2=problem.sigma2,
        )
        return with_levels_merged(one).take(np.zeros(n, dtype=np.intp))

    def __len__(self) -> int:
        """Return the number of data sets."""
        return len(self.gram)

    @property
    def n_levels(self) -> float:
        """Number of levels of every data set."""
        return float(self.own.shape[3] if self.counts is None else self.counts.sum())

    @property
    def n_observations(self) -> FloatArray:
        """Number of observations, (R,)."""
        return np.asarray(self.degrees + self.fixed.shape[1] * self.reml)

    def total(self, factor: int = 0) -> FloatArray:
        """Return Z'W Z of the only factor, (R or 1, k, k), summed over levels."""
        own = self.own.transpose(2, 0, 1, 3)
        return np.asarray(own.sum(axis=3) if self.counts is None else own @ self.counts)

    def evaluate(self, theta: FloatArray, orders: IntArray) -> LockstepPoint:
        """Evaluate the criterion of every data set at theta, (R, t), and its derivatives.

        `orders`, (R, k), are pivot orders. Valid on the boundary.
        """
        lam = self.structure.lam(theta, orders)
        level = _Levels(self, *invertible_root(lam))
        found = self._eliminated(level)
        derivatives = _Derivatives(self, level, found)
        if self.penalty is not None:
            found.criterion[:] += self.penalty.value(lam)
            derivatives.gradient += self.penalty.slope(lam)
        slope, hessian = derivatives.in_theta(theta, orders)
        if self.penalty is not None:
            hessian += self.penalty.along(lam, self.structure.directions(theta, orders))
        return LockstepPoint(
            found.criterion,
            slope,
            hessian,
            derivatives.gradient,
            found.to_residual,
            found.sigma2,
        )

    def criteria(self, theta: FloatArray, orders: IntArray) -> FloatArray:
        """Return the criterion of every data set alone, (R,), as `evaluate` has it."""
        lam = self.structure.lam(theta, orders)
        found = self._eliminated(_Levels(self, lam))
        return found.criterion + (0.0 if self.penalty is None else self.penalty.value(lam))

    def fixed_covariances(self, lambdas: FloatArray) -> FloatArray:
        """Return V_b of every data set, (R, p, p), at lambdas, (R, k, k)."""
        return self._eliminated(_Levels(self, lambdas)).covariance

    def _eliminated(self, level: _Levels) -> Eliminated:
        return Eliminated.of(
            level.remaining, self.gram, level.log_det, self.degrees, self.reml, self.sigma2
        )

    def rounding(self, criterion: FloatArray, sigma2: FloatArray) -> FloatArray:
        """Return the error to expect in criteria from rounding, (R,), at residual variances."""
        return CRITERION_DIGITS * np.abs(criterion) + CRITERION_ROUNDING

    def take(self, chosen: IntArray | slice) -> LockstepData:
        """Return some of the data sets."""
        shared = self.own.shape[2] == 1
        return replace(
            self,
            own=self.own if shared else self.own[:, :, chosen],
            fixed=self.fixed if shared else self.fixed[:, :, chosen],
            response=self.response[:, chosen],
            gram=self.gram[chosen],
            degrees=self.degrees[chosen],
        )


def with_levels_merged(stack: LockstepData) -> LockstepData:
    """Put levels together that differ in their responses only.

    Levels with the same Z'W Z and Z'W X may be turned into each other by any rotation. One turns m
    of them so that the first has all of X, and k others all that is left of y. The criterion is the
    same everywhere, and balanced designs keep few levels.
    """
    k, p, shared, n_levels = stack.fixed.shape
    if shared != 1 or stack.counts is not None:
        return stack
    own, fixed = stack.own[:, :, 0], stack.fixed[:, :, 0]
    table = np.concatenate([own.reshape(k * k, n_levels), fixed.reshape(k * p, n_levels)])
    classes = np.unique(table, axis=1, return_inverse=True)[1].ravel()
    sizes = np.bincount(classes)
    if not (sizes > k + 1).any():
        return stack
    n = len(stack)
    parts: list[tuple[FloatArray, ...]] = []
    alone = np.flatnonzero(sizes[classes] <= k + 1)
    parts.append(
        (own[:, :, alone], fixed[:, :, alone], stack.response[:, :, alone], np.ones(len(alone)))
    )
    for number in np.flatnonzero(sizes > k + 1):
        members = np.flatnonzero(classes == number)
        m = float(len(members))
        y = stack.response[:, :, members]
        mean = y.mean(axis=2, keepdims=True)
        centred = (y - mean).transpose(1, 0, 2)
        root = semidefinite_root(centred @ centred.transpose(0, 2, 1))
        x = np.zeros((k, p, k + 1))
        x[:, :, 0] = np.sqrt(m) * fixed[:, :, members[0]]
        response = np.empty((k, n, k + 1))
        response[:, :, :1], response[:, :, 1:] = np.sqrt(m) * mean, root.transpose(1, 0, 2)
        counts = np.zeros(k + 1)
        counts[0] = m
        parts.append((np.repeat(own[:, :, members[:1]], k + 1, axis=2), x, response, counts))
    merged = [np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True)]
    return replace(
        stack,
        own=merged[0][:, :, None],
        fixed=merged[1][:, :, None],
        response=merged[2],
        counts=merged[3],
    )


@dataclass(frozen=True, slots=True, eq=False)
class LockstepPoint:
    """Data sets at their lambdas, with first and second derivatives in theta."""

    criterion: FloatArray  # (R,): -2 log-likelihood less a constant; inf: digits are lost
    slope: FloatArray  # (R, t): gradient in theta
    hessian: FloatArray  # (R, t, t): exact second derivatives in theta
    gradient: FloatArray  # (R, k, k): G, the derivative in Omega
    to_residual: FloatArray  # (R, p + 1): (-beta, 1)
    sigma2: FloatArray  # (R,): residual variances

    def put(self, places: IntArray, other: LockstepPoint, chosen: IntArray) -> None:
        """Overwrite data sets by some of another point."""
        for name in self.__slots__:
            getattr(self, name)[places] = getattr(other, name)[chosen]

    def take(self, chosen: IntArray) -> LockstepPoint:
        """Return some of the data sets."""
        return LockstepPoint(*(getattr(self, name)[chosen] for name in self.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class Eliminated:
    """What is known once the random effects are eliminated."""

    criterion: FloatArray  # (R,): as in `LockstepPoint`
    to_residual: FloatArray  # (R, p + 1): (-beta, 1)
    sigma2: FloatArray  # (R,): residual variances
    covariance: FloatArray  # (R, p, p): V_b, relative to sigma^2

    @classmethod
    def of(
        cls,
        remaining: FloatArray,
        gram: FloatArray,
        log_det: FloatArray,
        degrees: FloatArray,
        reml: bool,
        known: float | None = None,
    ) -> Eliminated:
        """Solve for beta and sigma^2, given [X y]'V^-1[X y], (R, p + 1, p + 1), and log|V|, (R,).

        sigma^2 may be `known`. `gram`, (R or 1, p + 1, p + 1), is [X y]'W[X y], beside which a
        column may be nothing.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            lower, lost = cholesky(remaining)
            lost |= _is_dependent(lower, gram)
            diagonals = np.diagonal(lower, axis1=1, axis2=2)
            square = diagonals[:, -1] ** 2
            sigma2 = square / degrees if known is None else np.full(len(square), known)
            criterion = log_det + degrees * (1.0 + np.log(2.0 * np.pi * sigma2))
            if known is not None:
                criterion += square / sigma2 - degrees
            if reml:
                criterion += 2.0 * np.log(diagonals[:, :-1]).sum(axis=1)
        criterion[lost] = np.inf
        inverse = np.linalg.inv(lower)
        root = inverse[:, :-1, :-1]
        to_residual = inverse[:, -1] * diagonals[:, -1:]
        return cls(criterion, to_residual, sigma2, root.transpose(0, 2, 1) @ root)


def cholesky(matrices: FloatArray) -> tuple[FloatArray, np.ndarray]:
    """Return Cholesky factors, (R, m, m), and which matrices have none: theirs is the identity."""
    try:
        return np.asarray(np.linalg.cholesky(matrices)), np.zeros(len(matrices), dtype=bool)
    except np.linalg.LinAlgError:
        lower = np.tile(np.eye(matrices.shape[1]), (len(matrices), 1, 1))
        lost = np.ones(len(matrices), dtype=bool)
        for number in np.flatnonzero(np.isfinite(matrices).all(axis=(1, 2))):
            factor, info = lapack.dpotrf(matrices[number], lower=1, clean=1)
            if info == 0:
                lower[number], lost[number] = factor, False
        return lower, lost


def _is_dependent(lower: FloatArray, gram: FloatArray) -> np.ndarray:
    """Tell where a fixed column depends on those before it, (R,)."""
    left = np.square(np.diagonal(lower, axis1=1, axis2=2)[:, :-1])
    total = np.diagonal(gram, axis1=1, axis2=2)[:, :-1]
    return np.asarray((left <= _DEPENDENT_PIVOT * total).any(axis=1))


class _Levels:
    """What the levels of every data set contribute to the criterion.

    `root`, (R, k, k), is any root of Omega; with its inverse, the derivatives can be told too.
    """

    def __init__(self, stack: LockstepData, root: FloatArray, inverse: FloatArray | None = None):
        own, p = stack.own, stack.fixed.shape[1]
        root = root.transpose(1, 2, 0)[..., None]
        inner = multiply_levels(multiply_transposed(root, own), root)
        lower, half, _ = cholesky_plus_identity(inner)
        logs = np.log(lower.diagonal()).sum(axis=-1)
        self.log_det = 2.0 * (logs.sum(axis=1) if stack.counts is None else logs @ stack.counts)
        whitener = multiply_levels(half, root.swapaxes(0, 1))
        n, n_levels = root.shape[2], own.shape[3]
        right = np.empty((len(own), p + 1, n, n_levels))
        right[:, :p], right[:, p] = stack.fixed, stack.response
        white = multiply_levels(whitener, right)
        flat = white.transpose(2, 1, 0, 3).reshape(n, p + 1, -1)
        self.remaining = stack.gram - flat @ flat.transpose(0, 2, 1)
        if inverse is not None:
            back = multiply_levels(half, inverse.transpose(1, 2, 0)[..., None])
            self.cross = multiply_transposed(back, white)
            self.information = multiply_transposed(back, multiply_levels(whitener, own))


class _Derivatives:
    """First and second derivatives of the criterion in Omega, as `exact_hessian` has them."""

    def __init__(self, stack: LockstepData, level: _Levels, found: Eliminated) -> None:
        middle = found.to_residual[:, :, None] * found.to_residual[:, None, :]
        middle /= found.sigma2[:, None, None]
        if stack.reml:
            middle[:, :-1, :-1] += found.covariance
        self.stack, self.middle, self.to_residual = stack, middle, found.to_residual
        self.sigma2, self.covariance = found.sigma2, found.covariance
        k, m, n, n_levels = level.cross.shape
        self.k, self.m, self.n = k, m, n
        cross = np.ascontiguousarray(level.cross.transpose(2, 0, 1, 3))
        flat = cross.reshape(n, k * m, n_levels)
        grams = (flat @ flat.transpose(0, 2, 1)).reshape(n, k, m, k, m)
        self.grams = grams.transpose(0, 1, 3, 2, 4).reshape(n, k * k, m * m)
        information = np.ascontiguousarray(level.information.transpose(2, 0, 1, 3))
        lost = (self.grams @ middle.reshape(n, m * m, 1)).reshape(n, k, k)
        counted = information if stack.counts is None else information * stack.counts
        self.gradient = counted.sum(axis=3) - lost
        weighted = 2.0 * middle[:, None] @ cross
        second = -counted
        if k >= WIDE:
            of_levels = cross.transpose(0, 3, 1, 2) @ weighted.transpose(0, 3, 2, 1)
            second += of_levels.transpose(0, 2, 3, 1)
        else:
            for a in range(k):
                for b in range(k):
                    second[:, a, b] += (cross[:, a] * weighted[:, b]).sum(axis=1)
        self.both = information, second

    def in_theta(self, theta: FloatArray, orders: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return gradient, (R, t), and second derivatives, (R, t, t), in theta."""
        structure = self.stack.structure
        directions, curvature = structure.both(theta, orders, self.gradient)
        hessian = self.along(directions) + curvature
        flat = directions.reshape(*theta.shape, self.k**2)
        slope = (flat @ self.gradient.reshape(self.n, -1, 1))[:, :, 0]
        return slope, (hessian + transposed(hessian)) / 2.0

    def along(self, directions: FloatArray) -> FloatArray:
        """Return second derivatives, (R, t, t), along directions of Omega, (R, t, k, k)."""
        n, m = self.n, self.m
        nu = self.stack.degrees[:, None, None] if self.stack.sigma2 is None else np.inf
        t = directions.shape[1]
        flat = directions.reshape(n, t, -1)
        hessian = self._traces_along(directions)
        y = (flat @ self.grams).reshape(n, t, m, m)
        seen = (y @ self.to_residual[:, None, :, None])[..., 0]
        q = (seen @ self.to_residual[:, :, None])[..., 0] / self.sigma2[:, None]
        outer = q[:, :, None] * q[:, None, :]
        if self.stack.reml:
            through = self.middle[:, None] @ y
            turned = through.transpose(0, 1, 3, 2).reshape(n, t, -1)
            hessian -= through.reshape(n, t, -1) @ turned.transpose(0, 2, 1)
            return np.asarray(hessian + (1.0 - 1.0 / nu) * outer)
        h = seen[:, :, :-1]
        fixed = h @ self.covariance @ h.transpose(0, 2, 1) / self.sigma2[:, None, None]
        return np.asarray(hessian - 2.0 * fixed - outer / nu)

    def _traces_along(self, directions: FloatArray) -> FloatArray:
        """Return the sums of tr(F E (2 U W_m U' - F) D) over levels, (R, t, t)."""
        n, k = self.n, self.k
        if k >= WIDE:  # one at a time: the form in vec E and vec D is large
            zipped = zip(directions, *self.both, strict=True)
            return np.stack([traces_along(*each) for each in zipped])
        first, second = (each.reshape(n, k * k, -1) for each in self.both)
        quartic = (first @ second.transpose(0, 2, 1)).reshape(n, k, k, k, k)
        form = quartic.transpose(0, 2, 3, 4, 1).reshape(n, k * k, k * k)
        flat = directions.reshape(n, -1, k * k)
        return np.asarray(flat @ form @ flat.transpose(0, 2, 1))
