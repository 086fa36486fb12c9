"""Laplace's approximation of the likelihood of a nonlinear model, with its exact gradient.

With b = lambda u, -2 log L = log|D| + n (1 + log(2 pi w / n)), where w is the least of
|y - f|^2 + |u|^2 over u and D = lambda'J'J lambda + I there, J being the derivatives of the curve
in the parameters that vary; sigma is profiled. The modes move with the parameters: with second
derivatives S of the curve, H = I + lambda' sum(J J' - r S) lambda is the Hessian at the modes, and
the gradient has v = H^-1 lambda' sum(q), where q are the derivatives of log|D| in the parameters of
a row. All sums are over rows, all blocks of effects in batch. Where rows have variances exp(2
e'phi) of their own, residuals and derivatives are over their roots, and their logarithms are added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray, block_diagonal
from skmixed.core.nonlinear.curve_rows import CurveRows, times_roots
from skmixed.core.nonlinear.effect_blocks import EffectBlocks
from skmixed.core.residual.products import ResidualProduct
from skmixed.core.residual.residual_fit import ResidualFit

_MOST_STEPS_TO_MODES = 60  # of the search for modes, which takes a few from near by
_MOST_MODE_HALVINGS = 12  # of a step of a block: a shorter one has no direction
_AT_MODES = 1e-19  # of the squares: what a step promises at modes that are exact to rounding
_SLOW = 0.5  # of what the last step promised: the Hessian is of somewhere else
_GOOD_ENOUGH = 1e-13  # likewise, where steps cannot be made to lower the squares any more
_HIGHER_SQUARES = 1e-12  # relative: rounding of sums of squares
_NO_PHI: FloatArray = np.zeros(0)  # of residuals of one variance


@dataclass(frozen=True, eq=False)
class CurveLikelihood:
    """The rows of a nonlinear model, ready to be integrated over its random effects."""

    rows: CurveRows
    blocks: EffectBlocks
    structure: ResidualProduct | None = None  # variances of rows, resolved

    @classmethod
    def of(cls, rows: CurveRows, structure: ResidualProduct | None = None) -> CurveLikelihood:
        """Lay the random effects out. Raises ValueError where they are too many for that."""
        codes = [rows.codes[factor] for factor in rows.spec.used_factors]
        return cls(rows, EffectBlocks.of(codes, rows.sizes, len(rows.y)), structure)

    @cached_property
    def log_slopes(self) -> FloatArray:
        """Derivatives of the logarithm of deviations of rows in phi, (q, n)."""
        noise = self.rows.noise
        if self.structure is None or noise is None:
            return np.zeros((0, len(self.rows.y)))
        unit = np.eye(self.structure.n_phi)
        return np.array([self.structure.log_deviations(each, noise.rows) for each in unit])

    @cached_property
    def counts(self) -> FloatArray:
        """How many rows every row stands for, (n,)."""
        rows = self.rows
        if rows.weights is None or rows.spec.weighting == "precision":
            return np.ones(len(rows.y))
        return rows.weights

    def phi_of(self, fit: Fit) -> tuple[FloatArray, float]:
        """Return phi, (q,), of a linear model near, and what its sigma is less than that here."""
        if self.structure is None or not isinstance(fit, ResidualFit):
            return _NO_PHI, 1.0
        return fit.phi, self.structure.reported(fit.phi)[1]

    def roots(self, phi: FloatArray) -> FloatArray | None:
        """Return the roots of the weights of rows, (n,), over their deviations; None for ones."""
        if not len(phi):
            return self.rows.roots
        return times_roots(np.exp(-(phi @ self.log_slopes)), self.rows.roots)

    def log_det(self, phi: FloatArray) -> float:
        """Return the logarithm of the product of the variances of rows."""
        return 2.0 * float(phi @ self.log_slopes @ self.counts) if len(phi) else 0.0

    def effects(self, u: FloatArray, lambdas: Blocks) -> Blocks:
        """Return b = lambda u by factor, (n_levels, k), of (n_blocks, n_slots)."""
        return [own @ lam.T for own, lam in zip(self.blocks.split(u), lambdas, strict=True)]

    def spherical(self, effects: Blocks, lambdas: Blocks) -> FloatArray:
        """Return u, (n_blocks, n_slots), of b = lambda u, zero where lambda is."""
        return self.blocks.joined(
            [own @ np.linalg.pinv(lam).T for own, lam in zip(effects, lambdas, strict=True)]
        )

    def at(
        self, beta: FloatArray, lambdas: Blocks, near: IntegratedCurve, phi: FloatArray = _NO_PHI
    ) -> IntegratedCurve:
        """Evaluate the likelihood, the modes being searched for from those of a point nearby.

        Its Hessian makes steps of Newton's; where these are no good, steps are Gauss and Newton's.
        Raises ArithmeticError where the curve is not finite, or the modes are not found.
        """
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                return self._searched(self.near(beta, lambdas, near.u, phi), near.known_inverse)
        except np.linalg.LinAlgError as error:  # of numbers that have left their range
            raise ArithmeticError("the modes of the random effects were not found") from error

    def _searched(self, here: IntegratedCurve, inverse: FloatArray | None) -> IntegratedCurve:
        """Search for the modes from a point, at first by the inverse Hessian of another.

        Where Gauss and Newton's steps are slow, as those of large residuals are, the Hessian of the
        point itself makes the next one.
        """
        promised = np.inf
        for _ in range(_MOST_STEPS_TO_MODES):
            step, promise = here.step(inverse)
            if abs(promise) <= _AT_MODES * here.square:
                return here
            if inverse is not None and not 0.0 < promise < _SLOW * promised:
                inverse = None
                continue
            moved = self._shortened(here, step)
            if moved is None:
                if promise <= _GOOD_ENOUGH * here.square:
                    return here
                break
            is_slow = inverse is None and promise > _SLOW * promised
            here, promised = moved, promise
            if is_slow:
                inverse, promised = here.inverse_hessian, np.inf
        raise ArithmeticError("the modes of the random effects were not found")

    def near(
        self, beta: FloatArray, lambdas: Blocks, u: FloatArray, phi: FloatArray = _NO_PHI
    ) -> IntegratedCurve:
        """Return a point to search from: u, (n_blocks, n_slots), are no modes."""
        rows = self.rows
        parameters = rows.parameters(beta, self.effects(u, lambdas))
        value, slopes = rows.curve.slopes(parameters, rows.inputs)
        roots = self.roots(phi)
        residual, slopes = times_roots(rows.y - value, roots), times_roots(slopes, roots)
        if not (np.isfinite(residual).all() and np.isfinite(slopes).all()):
            raise ArithmeticError("the curve is not finite")
        return IntegratedCurve(self, beta, lambdas, u, parameters, residual, slopes, phi, roots)

    def _shortened(self, here: IntegratedCurve, step: FloatArray) -> IntegratedCurve | None:
        """Take a step, (n_blocks, n_slots), halved in the blocks whose squares it raises.

        None where nothing is lower.
        """
        share, rows = np.ones(len(step)), self.rows
        for _ in range(_MOST_MODE_HALVINGS):
            u = here.u + share[:, None] * step
            parameters = rows.parameters(here.beta, self.effects(u, here.lambdas))
            residual = times_roots(rows.y - rows.curve.value(parameters, rows.inputs), here.roots)
            squares = self.blocks.of_blocks(residual**2) + (u * u).sum(axis=1)
            is_higher = ~(squares <= here.squares * (1.0 + _HIGHER_SQUARES))
            if not is_higher.any():
                return self.near(here.beta, here.lambdas, u, here.phi)
            share[is_higher] /= 2.0
        share[is_higher] = 0.0
        if not share.any():
            return None
        return self.near(here.beta, here.lambdas, here.u + share[:, None] * step, here.phi)


@dataclass(frozen=True, eq=False)
class IntegratedCurve:
    """The likelihood at a point; it is what it says at the modes."""

    of: CurveLikelihood
    beta: FloatArray  # (n_fixed,)
    lambdas: Blocks  # (k, k) a used factor, relative to sigma
    u: FloatArray  # (n_blocks, n_slots), spherical random effects
    parameters: FloatArray  # (P, n)
    residual: FloatArray  # (n,), times `roots`, as what follows
    slopes: FloatArray  # (n, P)
    phi: FloatArray  # (q,), of variances of rows
    roots: FloatArray | None  # (n,), of the weights over these variances

    @property
    def _varying(self) -> IntArray:
        return self.of.rows.made_of.varying

    @cached_property
    def _root(self) -> FloatArray:
        """Lambda of all factors, (K, K)."""
        return block_diagonal(self.lambdas) if self.lambdas else np.zeros((0, 0))

    @cached_property
    def _z(self) -> FloatArray:
        """Derivatives of the curve in u, (n, K)."""
        return np.asarray(self.slopes[:, self._varying] @ self._root)

    @cached_property
    def squares(self) -> FloatArray:
        """Penalised squares of every block, (n_blocks,)."""
        return np.asarray(self.of.blocks.of_blocks(self.residual**2) + (self.u**2).sum(axis=1))

    @cached_property
    def square(self) -> float:
        """Penalised squares of all."""
        return float(self.squares.sum())

    @cached_property
    def _d(self) -> FloatArray:
        """D of every block, (n_blocks, n_slots, n_slots)."""
        products = self.of.blocks.matrices(self._z[:, :, None] * self._z[:, None, :])
        return products + np.eye(self.of.blocks.n_slots)

    def step(self, inverse: FloatArray | None) -> tuple[FloatArray, float]:
        """Return a step towards the modes, (n_blocks, n_slots), and what it promises.

        It is that of an inverse Hessian, of the same shape as D, or Gauss and Newton's.
        """
        slope = self.of.blocks.vectors(self._z * self.residual[:, None]) - self.u
        if inverse is None:
            step = np.linalg.solve(self._d, slope[..., None])[..., 0]
        else:
            step = np.matmul(inverse, slope[..., None])[..., 0]
        return np.asarray(step), float((step * slope).sum())

    @property
    def known_inverse(self) -> FloatArray | None:
        """The inverse Hessian in u, (n_blocks, n_slots, n_slots), where the gradient needed it."""
        return self.__dict__.get("inverse_hessian")

    @cached_property
    def inverse_hessian(self) -> FloatArray:
        """The same at this point, (n_blocks, n_slots, n_slots)."""
        root, own = self._root, self.slopes[:, self._varying]
        of_own = self._own_bends[:, :, self._varying]
        bent = own[:, :, None] * own[:, None, :] - self.residual[:, None, None] * of_own
        hessian = self.of.blocks.matrices(root.T @ bent @ root) + np.eye(self.of.blocks.n_slots)
        return np.asarray(np.linalg.inv(hessian))

    @cached_property
    def _bends(self) -> FloatArray:
        """Second derivatives of the curve, (n, P, P)."""
        rows = self.of.rows
        return times_roots(rows.curve.bends(self.parameters, rows.inputs), self.roots)

    @property
    def effects(self) -> Blocks:
        """Random effects, (n_levels, k) a factor."""
        return self.of.effects(self.u, self.lambdas)

    @property
    def sigma2(self) -> float:
        """Residual variance."""
        return self.square / self.of.rows.n_observations

    @cached_property
    def criterion(self) -> float:
        """-2 log-likelihood."""
        return self.criterion_at(self.sigma2)

    def criterion_at(self, sigma2: float) -> float:
        """Return -2 log-likelihood at a residual variance."""
        n = self.of.rows.n_observations
        log_det = float(np.linalg.slogdet(self._d)[1].sum())
        log_det += self.of.log_det(self.phi)
        likelihood = n * math.log(2.0 * math.pi * sigma2) + self.square / sigma2
        return log_det + likelihood - self.of.rows.log_weights

    @cached_property
    def _through(self) -> FloatArray:
        """D^-1 times the derivatives of the curve in u, at the effects of every row, (n, K)."""
        inverse = self.of.blocks.pairs_at_rows(np.asarray(np.linalg.inv(self._d)))
        return np.asarray(np.einsum("nkc,nc->nk", inverse, self._z))

    @cached_property
    def _own_bends(self) -> FloatArray:
        """Second derivatives in a parameter that varies and any, (n, K, P)."""
        return self._bends[:, self._varying]

    @cached_property
    def _q(self) -> FloatArray:
        """Derivatives of log|D| in the parameters of rows, (n, P)."""
        along = self._through @ self._root.T
        return np.asarray(2.0 * np.einsum("nk,nkp->np", along, self._own_bends))

    @cached_property
    def _v(self) -> FloatArray:
        """H^-1 times the derivatives of log|D| in u, at the effects of every row, (n, K)."""
        slope = self.of.blocks.vectors(self._q[:, self._varying] @ self._root)
        return self.of.blocks.at_rows(np.matmul(self.inverse_hessian, slope[..., None])[..., 0])

    @property
    def _along(self) -> FloatArray:
        """How far that moves the curve, (n,)."""
        return np.asarray(np.einsum("nk,nk->n", self._z, self._v))

    @cached_property
    def gradient(self) -> tuple[FloatArray, FloatArray]:
        """Derivatives of the criterion in beta, (n_fixed,), and in all of lambda, (K, K)."""
        return self.gradient_at(self.sigma2)

    def gradient_at(self, sigma2: float) -> tuple[FloatArray, FloatArray]:
        """Return the same at a residual variance."""
        rows, r, varying = self.of.rows, self.residual, self._varying
        own = self.slopes[:, varying]
        total = self._q - (self._along + 2.0 * r / sigma2)[:, None] * self.slopes
        total += r[:, None] * np.einsum("nk,nkp->np", self._v @ self._root.T, self._own_bends)
        fixed, owners = rows.made_of.fixed, rows.made_of.owners
        by_beta = np.einsum("nc,nc->c", total[:, owners[fixed]], rows.columns[:, fixed])
        u = self.of.blocks.at_rows(self.u)
        by_lambda = 2.0 * own.T @ self._through + (own * r[:, None]).T @ self._v
        by_lambda += total[:, varying].T @ u
        return by_beta, by_lambda

    @property
    def phi_gradient(self) -> FloatArray:
        """Derivatives of the criterion in phi, (q,)."""
        return self.phi_gradient_at(self.sigma2)

    def phi_gradient_at(self, sigma2: float) -> FloatArray:
        """Return the same at a residual variance."""
        r, of = self.residual, self.of
        if not len(self.phi):
            return _NO_PHI
        leverage = np.einsum("nk,nk->n", self._z, self._through)
        explained = r * r / sigma2 + leverage + self._along * r
        return np.asarray(2.0 * of.log_slopes @ (of.counts - explained))
