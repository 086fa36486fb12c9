"""Lindstrom and Bates's algorithm: a linear mixed model, fitted again where it has led.

The curve is linearised at coefficients and random effects; the linear mixed model of these
pseudo-data has estimates, at which the curve is linearised again. What does not move any more is
the estimate (Lindstrom & Bates 1990, doi:10.2307/2532087). Convergence is linear; Anderson's
acceleration mixes the last few passes (Walker & Ni 2011, doi:10.1137/10078356X).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray
from skmixed.core.model.evaluation import Evaluation
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import ModelSpec
from skmixed.core.nonlinear.curve_rows import CurveRows
from skmixed.core.residual.fitting import fit_tables
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.search.newton import Newton
from skmixed.core.search.report import Callback, Iteration, SolverReport
from skmixed.core.sums.crossproducts import CrossProducts

_MOVES = 1e-7  # of a standard error: what moves less stands still
_HARDLY_MOVES = 1e-5  # likewise: what searches of the linear models leave where these are flat
_DEPTH = 5  # passes that are mixed: more are of older derivatives
_NEAR_END = 1.0  # standard errors: nearer, passes behave as a linear map, and are mixed
_ASTRAY = 3.0  # times the smallest move so far: mixing has led astray
_SHORTEST = 1e-4  # of a step: halved so often, it has no direction
_TO_AND_FRO = 0.8  # of the move two passes before: passes would end in a cycle
_FEWEST_SHARE = 0.125  # of a move: less is no headway
_RETREATS = 12  # halvings of a step to where no pseudo-data can be summed
_HIGHER_PENALISED = 1e-10  # relative: rounding of sums of squares
_RANK = 1e-12  # of a covariance: what rounding leaves of a variance of zero
_NOISE_ADDED = 2.0**-23  # of y'y, where nothing is left of it: half of the digits
_NEWTON_TOL = 1e-9  # of the criterion of the linear models, of which many follow each other


@dataclass(frozen=True, slots=True)
class _WarmNewton:
    """Newton's search from the relative covariances, (k, k) a factor, of the last pass."""

    lambdas: Blocks  # (k, k) a factor
    krylov: ClassVar[None] = None

    def solve(self, problem: Problem) -> tuple[Evaluation, SolverReport]:
        """Search once from there."""
        start = [lam @ lam.T for lam in problem.scaled_lambdas(self.lambdas)]
        return Newton(tol=_NEWTON_TOL).solve(problem, start)


@dataclass(frozen=True, slots=True, eq=False)
class Linearised:
    """A linear mixed model at the coefficients and effects where it was made."""

    beta: FloatArray  # (n_fixed,), where the curve was linearised
    effects: Blocks  # (n_levels, k) a used factor
    fit: Fit  # of the pseudo-data

    @property
    def moves(self) -> tuple[FloatArray, Blocks]:
        """How far the estimates are from there, (n_fixed,) and (n_levels, k)."""
        modes = zip(self.fit.modes, self.effects, strict=True)
        return self.fit.beta - self.beta, [new - old for new, old in modes]


@dataclass(eq=False)
class LindstromBates:
    """A search, pass by pass."""

    rows: CurveRows
    callback: Callback | None = None
    trace: list[Iteration] = field(default_factory=list)
    units: list[FloatArray] = field(default_factory=list)  # of coefficients, and effects a factor
    share: float = 1.0  # of a move that is made at most: less where passes go to and fro

    def linearise(self, beta: FloatArray, effects: Blocks, last: Fit | None) -> Linearised:
        """Fit the linear mixed model of the pseudo-data, from the variances of the last pass."""
        sums = self.rows.pseudo_sums(beta, effects)
        return Linearised(beta, effects, _fitted(sums, self.rows.spec, last))

    def search(
        self, beta: FloatArray, max_iter: int, near: float | None = None
    ) -> tuple[Linearised, SolverReport]:
        """Repeat passes from coefficients, (n_fixed,), and effects of zero.

        It ends when the estimates move by less than `near` standard errors. Raises
        FloatingPointError where the curve is not finite.
        """
        here = self.linearise(beta, self.rows.no_effects(), None)
        mixing = _Mixing()
        message, converged = f"max_iter={max_iter} was reached", False
        for _ in range(max_iter):
            if not mixing.places:  # which must be in the same units
                self.units = _units(here.fit)
            move = self._scaled(*here.moves)
            size = float(np.abs(move).max(initial=0.0))
            self._note(here, size)
            if size <= (near or _MOVES):
                message, converged = "the estimates stand still", True
                break
            following = self._following(here, move, size, mixing)
            if following is None:
                message = f"near its end the curve has no pseudo-data, where {self._mover(here)}"
                break
            here = following
        else:
            converged = size <= _HARDLY_MOVES
            message += f", where {self._mover(here)}"
        report = SolverReport(
            "lindstrom-bates", converged, len(self.trace), message, tuple(self.trace)
        )
        return here, report

    def _note(self, here: Linearised, size: float) -> None:
        line = Iteration(here.fit.criterion, size, size, True, 0.0)
        self.trace.append(line)
        if self.callback is not None:
            self.callback(line)

    def _following(
        self, here: Linearised, move: FloatArray, size: float, mixing: _Mixing
    ) -> Linearised | None:
        """Linearise at the next point, or on the way there; None where nothing can be summed."""
        beta, effects = self._next(here, move, size, mixing)
        for _ in range(_RETREATS):
            try:
                return self.linearise(beta, effects, here.fit)
            except (ValueError, ArithmeticError):
                mixing.forget()
                beta = (here.beta + beta) / 2.0
                effects = [
                    (old + new) / 2.0 for old, new in zip(here.effects, effects, strict=True)
                ]
        return None

    def _next(
        self, here: Linearised, move: FloatArray, size: float, mixing: _Mixing
    ) -> tuple[FloatArray, Blocks]:
        """Return the coefficients and effects to linearise at next."""
        if (size < _NEAR_END or mixing.places) and np.isfinite(move).all():
            mixed = mixing.add(self._scaled(here.beta, here.effects), move, size)
            if mixed is not None:
                beta, effects = self._unscaled(here, mixed)
                if np.isfinite(self._penalised(here, beta, effects)):
                    return beta, effects
        mixing.forget()
        self._shorten()
        return self._halved(here)

    def _shorten(self) -> None:
        """Make less of moves where they are as long as two passes before."""
        sizes = [line.step for line in self.trace[-3:]]
        if len(sizes) == 3 and sizes[2] > _TO_AND_FRO * sizes[0]:
            self.share = max(self.share / 2.0, _FEWEST_SHARE)

    def _halved(self, here: Linearised) -> tuple[FloatArray, Blocks]:
        """Return the estimates, or as much of the way there as lowers the penalised squares."""
        move, moves = here.moves
        before = self._penalised(here, here.beta, here.effects)
        share = self.share
        while share > _SHORTEST:
            beta = here.beta + share * move
            effects = [old + share * new for old, new in zip(here.effects, moves, strict=True)]
            after = self._penalised(here, beta, effects)
            if np.isfinite(after) and after <= before * (1.0 + _HIGHER_PENALISED):
                break
            share /= 2.0
        return beta, effects

    def _penalised(self, here: Linearised, beta: FloatArray, effects: Blocks) -> float:
        """Return the squares of residuals and effects, relative to their covariances.

        These are the estimates of a pass; beta is (n_fixed,).
        """
        fit, residual = here.fit, self.rows.residuals(beta, effects)
        known = self.rows.residual_rows(here.beta, here.effects)
        if isinstance(fit, ResidualFit) and known is not None:
            residual = fit.structure.whitened(fit.phi, known, residual[:, None])[:, 0]
        total = float(residual @ residual)
        for lam, own in zip(fit.lambdas, effects, strict=True):
            precision = np.linalg.pinv(lam @ lam.T, rcond=_RANK, hermitian=True)
            total += float(np.einsum("la,ab,lb->", own, precision, own))
        return total

    def _scaled(self, beta: FloatArray, effects: Blocks) -> FloatArray:
        """Return coefficients and effects in one vector, in units of their errors."""
        own, *of_factors = self.units
        parts = [each / unit for each, unit in zip(effects, of_factors, strict=True)]
        return np.concatenate([beta / own, *[part.ravel() for part in parts]])

    def _unscaled(self, here: Linearised, vector: FloatArray) -> tuple[FloatArray, Blocks]:
        own, *of_factors = self.units
        start, effects = len(own), []
        for old, unit in zip(here.effects, of_factors, strict=True):
            part = vector[start : start + old.size].reshape(old.shape)
            effects.append(part * unit)
            start += old.size
        return vector[: len(own)] * own, effects

    def _mover(self, here: Linearised) -> str:
        """Say what still moves most."""
        move = self._scaled(*here.moves)
        place = int(np.abs(move).argmax())
        n_fixed = len(here.beta)
        names = self.rows.layout.columns
        what = names[self.rows.spec.fixed[place]] if place < n_fixed else "a random effect"
        return f"{what} still moves by {abs(move[place]):.2g} standard errors a pass"


def _fitted(sums: CrossProducts | ResidualTables, spec: ModelSpec, last: Fit | None) -> Fit:
    """Fit a linear mixed model to pseudo-data, beginning where the last pass has ended."""
    if isinstance(sums, ResidualTables):
        near = last if isinstance(last, ResidualFit) else None
        return fit_tables(sums, spec, Newton(tol=_NEWTON_TOL), near)
    search = None if last is None or not last.spec.terms else _WarmNewton(last.lambdas)
    fit = Fit.of(sums, spec, search)
    if fit.report.is_unbounded:  # not from the last pass: searches from nearby end far apart
        fit = Fit.of(_with_noise(sums), spec)
        fit = replace(fit, report=replace(fit.report, is_unbounded=True))
    return fit


def _with_noise(products: CrossProducts) -> CrossProducts:
    """Return the pseudo-data with a little noise that has nothing to do with any column."""
    gram = products.gram.copy()
    gram[-1, -1] *= 1.0 + _NOISE_ADDED
    return replace(products, gram=gram)


def _units(fit: Fit) -> list[FloatArray]:
    """Return standard errors of coefficients, (n_fixed,), and deviations, (k,) a factor."""
    errors = np.sqrt(np.maximum(np.diag(fit.beta_covariance), 0.0))
    deviations = [np.sqrt(np.diag(each)) for each in fit.covariances]
    return [np.where(each > 0.0, each, 1.0) for each in (errors, *deviations)]


@dataclass(eq=False)
class _Mixing:
    """Anderson's acceleration of a fixed point."""

    places: list[FloatArray] = field(default_factory=list)  # (m,) each, the last of them
    moves: list[FloatArray] = field(default_factory=list)  # (m,) each, from these
    smallest: float = np.inf

    def add(self, place: FloatArray, move: FloatArray, size: float) -> FloatArray | None:
        """Return where to go next from a place with a move, None where mixing has led astray."""
        if size > _ASTRAY * self.smallest:
            return None
        self.smallest = min(self.smallest, size)
        self.places, self.moves = [*self.places, place][-_DEPTH:], [*self.moves, move][-_DEPTH:]
        if len(self.places) == 1:
            return place + move
        of_places, of_moves = np.diff(self.places, axis=0), np.diff(self.moves, axis=0)
        shares = np.linalg.lstsq(of_moves.T, move, rcond=_RANK)[0]
        return np.asarray(place + move - (of_places + of_moves).T @ shares)

    def forget(self) -> None:
        """Begin anew."""
        self.places, self.moves, self.smallest = [], [], np.inf
