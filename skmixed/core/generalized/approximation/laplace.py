"""Laplace's approximation of the likelihood in (beta, theta, phi), with its exact gradient.

With f = -log density of a row, w = f'' at the modes, w1 and w2 its derivatives, u the spherical
random effects and V = W^-1 + Z Omega Z',

    l = 2 sum f + u'u + log|V|, less what the weights add,

is -2 log-likelihood. With a the variances of z'b of the rows, c = w1 a and r = Z'c, one more column
of the elimination gives t = Z'V^-1 W^-1 c, and for every factor, with s = -Z'g,

    dl = tr(G dOmega),    G = sum over levels of Z'V^-1 Z - s s' + (s t' + t s') / 2,
    dl / dbeta = 2 X'g + X'V^-1 W^-1 c,
    dl / dphi = 2 sum f_phi + a'w_phi - r'Omega Z'V^-1 W^-1 g_phi.

Nothing divides by lambda: it is the evaluation of a linear mixed model at the weights w.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.families.family import Family
from skmixed.core.generalized.approximation.curvature import (
    Working,
    exact_hessian,
    information_products,
)
from skmixed.core.generalized.approximation.modes import (
    Modes,
    Point,
    Remembered,
    find_modes,
    first_carried,
)
from skmixed.core.generalized.approximation.observations import Observations, RowBlock
from skmixed.core.linalg import FloatArray, block_diagonal
from skmixed.core.search.coordinates import Coordinates

LEAST_DECREMENT = 1e-20  # of the modes: the gradient is then exact to rounding


@dataclass(frozen=True, eq=False)
class LaplaceEvaluation:
    """The approximation at one point, in scaled units, with what the next one starts from."""

    observations: Observations
    point: Point
    criterion: float  # -2 log-likelihood, corrected to the modes, and the penalty
    beta_slope: FloatArray  # (p,)
    gradient: Blocks  # (k, k) a factor, G
    phi_slope: FloatArray  # (m,)
    products: FloatArray  # (p + d, p + d), second derivatives, or of working variates; or empty
    is_exact: bool  # whether `products` are second derivatives
    # those in phi and in beta, phi of 2 sum f + u'u at the modes; None if not known
    phi_curvature: FloatArray | None  # (m, p + m)
    fixed_information: FloatArray  # (p, p), X'V^-1 X
    remembered: list[Remembered]  # of every block
    decrement: float
    n_passes: float  # over all rows, to find the modes

    @property
    def lambdas(self) -> Blocks:
        """Lambda of every factor, (k, k)."""
        return self.point.lambdas

    @property
    def is_finite(self) -> bool:
        """Whether the criterion and its derivatives are numbers."""
        parts = [self.beta_slope, *self.gradient, self.phi_slope, self.products]
        parts.append(self.fixed_information)
        return np.isfinite(self.criterion) and all(np.isfinite(part).all() for part in parts)

    def with_lambdas(self, lambdas: Blocks) -> LaplaceEvaluation:
        """Return the same evaluation under other square roots of the same covariances."""
        return replace(self, point=self.point._replace(lambdas=lambdas))

    def advanced(self, point: Point, gain: float) -> LaplaceEvaluation:
        """Return what is expected at parameters so near that second derivatives stay the same."""
        remembered = [kept.advanced(point) for kept in self.remembered]
        criterion = self.criterion - gain
        return replace(self, point=point, criterion=criterion, remembered=remembered)

    def slopes(self, coordinates: Coordinates, theta: FloatArray) -> FloatArray:
        """Return the gradient in beta, theta and phi, (p + t + m,)."""
        parts = [
            matrices.reshape(len(matrices), -1) @ gradient.ravel()
            for matrices, gradient in zip(coordinates.directions(theta), self.gradient, strict=True)
        ]
        return np.concatenate([self.beta_slope, *parts, self.phi_slope])

    def curvature(self, coordinates: Coordinates, theta: FloatArray) -> FloatArray:
        """Return second derivatives in beta and theta, (p + t, p + t), as `hessian` has them."""
        p = len(self.beta_slope)
        if not coordinates.structures:
            return self.hessian
        maps = []
        zipped = zip(coordinates.structures, coordinates.directions(theta), strict=True)
        for structure, matrices in zipped:
            basis = structure.basis.reshape(len(structure.basis), -1)
            along = matrices.reshape(len(matrices), -1)
            maps.append(np.linalg.solve(basis @ basis.T, basis @ along.T))
        sizes = [part.shape for part in maps]
        change = np.zeros((p + sum(n for n, _ in sizes), p + sum(t for _, t in sizes)))
        change[:p, :p] = np.eye(p)
        row = column = p
        for part in maps:
            change[row : row + len(part), column : column + part.shape[1]] = part
            row, column = row + len(part), column + part.shape[1]
        result = change.T @ self.hessian @ change
        result[p:, p:] += coordinates.curvature(theta, self.gradient)
        return np.asarray(result)

    @cached_property
    def hessian(self) -> FloatArray:
        """Second derivatives in beta and in Omega along the bases of the structures.

        Of shape (p + d, p + d). They are exact for one factor. For several, with the working
        variates F = Z E s, 2 X'V^-1 F stands for those in beta and Omega, and for those in Omega
        F'V^-1 F and what the estimation of beta adds to it.
        """
        p, penalties = len(self.beta_slope), self.observations.penalties
        result = self.products if self.is_exact else 2.0 * self.products
        if not self.is_exact:
            mixed = self.products[:p, p:]
            result[p:, p:] = self.products[p:, p:]
            if p:
                result[p:, p:] += (
                    mixed.T @ np.linalg.lstsq(self.fixed_information, mixed, rcond=None)[0]
                )
        if penalties:
            zipped = zip(penalties, self.lambdas, self.observations.structures, strict=True)
            along = [each.along(lam, structure.basis) for each, lam, structure in zipped]
            result = result + block_diagonal([np.zeros((p, p)), *along])
        return result


def evaluate_laplace(
    observations: Observations,
    point: Point,
    before: list[Remembered] | None = None,
    tolerance: float = LEAST_DECREMENT,
    *,
    is_curved: bool = True,
) -> LaplaceEvaluation:
    """Evaluate the approximation; the modes are sought from those of an evaluation `before`.

    Without curvature there are no second derivatives.
    """
    family, terms = observations.family, []
    share = tolerance / max(1, len(observations.blocks))
    for number, rows in enumerate(observations.blocks):
        tangent = None
        if before is None:
            carried = first_carried(rows, family, point)
        else:
            carried, tangent = before[number].predicted(point)
        modes = find_modes(rows, family, point, carried, share, tangent)
        terms.append(_terms_of(observations, rows, point, modes, is_curved))
    constant = sum(term.constant for term in terms)
    if observations.constant is not None:
        constant = observations.constant
    criterion = float(sum(term.criterion for term in terms) + 2.0 * constant)
    gradient = [np.sum(parts, axis=0) for parts in zip(*[t.gradient for t in terms], strict=True)]
    for factor, penalty in enumerate(observations.penalties):
        criterion += float(penalty.value(point.lambdas[factor]))
        gradient[factor] = gradient[factor] + penalty.slope(point.lambdas[factor])
    sizes = [len(rows.y) for rows in observations.blocks]
    passes = np.dot([term.n_steps for term in terms], sizes) / max(1, sum(sizes))
    return LaplaceEvaluation(
        observations,
        point,
        criterion,
        np.sum([term.beta_slope for term in terms], axis=0),
        gradient,
        np.sum([term.phi_slope for term in terms], axis=0),
        np.sum([term.products for term in terms], axis=0),
        len(observations.structures) <= 1,
        _summed([term.phi_curvature for term in terms]),
        np.sum([term.fixed_information for term in terms], axis=0),
        [term.remembered for term in terms],
        float(sum(term.decrement for term in terms)),
        float(passes),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Terms:
    """What a block adds."""

    criterion: float
    constant: float
    beta_slope: FloatArray  # (p,)
    gradient: Blocks  # (k, k) a factor
    phi_slope: FloatArray  # (m,)
    products: FloatArray  # (p + d, p + d)
    phi_curvature: FloatArray | None  # (m, p + m)
    fixed_information: FloatArray  # (p, p)
    remembered: Remembered
    decrement: float
    n_steps: int


@dataclass(frozen=True, slots=True, eq=False)
class RowDerivatives:
    """Derivatives of -log densities at the modes, in eta and the dispersions."""

    w: FloatArray  # (n,), second ones in eta
    w1: FloatArray  # (n,), third ones
    w2: FloatArray  # (n,), fourth ones
    variances: FloatArray  # (n,), of z'b, a
    f_phi: FloatArray  # (m, n), first ones in phi
    g_phi: FloatArray  # (m, n), of the first ones in eta
    w_phi: FloatArray  # (m, n), of the second ones

    @classmethod
    def of(cls, family: Family, rows: RowBlock, point: Point, modes: Modes) -> RowDerivatives:
        """Go through the rows of a block."""
        eta = modes.visit.eta
        w, w1, w2 = family.derivatives(eta, rows.y, rows.weights, point.phi, 4)[2:]
        variances = np.zeros(len(rows.y))
        if rows.codes:
            variances = modes.factorisation.effect_variances(rows.random, rows.codes)
        by_phi = family.by_phi(eta, rows.y, rows.weights, point.phi)
        return cls(w, w1, w2, variances, *by_phi)

    @property
    def c(self) -> FloatArray:
        """What log|V| changes by with eta, (n,)."""
        return self.w1 * self.variances


@dataclass(frozen=True, slots=True, eq=False)
class EliminatedColumns:
    """Columns of a block without their random effects: X, c and the derivatives of g in phi."""

    by_level: Blocks  # (k, 1, n_levels) a factor, r
    cross: Blocks  # (k, p, n_levels), Z'W X
    shifts: list[Blocks]  # (k, 1, n_levels) a factor and entry of phi, the derivative of Z'g
    gram: FloatArray  # (p, p), X'W X
    remaining: FloatArray  # (p + 1 + m, p + 1 + m)
    solved: Blocks  # (k, p + 1 + m, n_levels), Z'V^-1 of the columns
    knows_phi: bool  # whether the family tells second derivatives in phi

    @classmethod
    def of(
        cls,
        family: Family,
        rows: RowBlock,
        point: Point,
        modes: Modes,
        derivatives: RowDerivatives,
    ) -> EliminatedColumns:
        """Eliminate the random effects at their modes."""
        p, w, c, g_phi = rows.fixed.shape[1], derivatives.w, derivatives.c, derivatives.g_phi
        by_level, cross = rows.sums(c), rows.cross(w)
        shifts = [rows.sums(g) for g in g_phi]
        right = [
            np.concatenate([own, r, *moved], axis=1)
            for own, r, *moved in zip(cross, by_level, *shifts, strict=True)
        ]
        reduced = modes.factorisation.reduce(right)
        gram = np.zeros((p + 1 + len(g_phi),) * 2)
        gram[:p, :p] = rows.gram(w)
        gram[:p, p] = gram[p, :p] = rows.fixed.T @ c
        in_phi = family.curvature_in_phi(modes.visit.eta, rows.y, rows.weights, point.phi)
        if in_phi is not None:
            gram[p + 1 :, p + 1 :], gram[p + 1 :, :p] = in_phi, g_phi @ rows.fixed
            gram[:p, p + 1 :] = gram[p + 1 :, :p].T
        knows_phi, remaining = in_phi is not None, reduced.remaining(gram)
        return cls(by_level, cross, shifts, gram[:p, :p], remaining, reduced.cross(), knows_phi)


def _terms_of(
    observations: Observations, rows: RowBlock, point: Point, modes: Modes, is_curved: bool
) -> _Terms:
    family, visit, p = observations.family, modes.visit, rows.fixed.shape[1]
    own = RowDerivatives.of(family, rows, point, modes)
    found = EliminatedColumns.of(family, rows, point, modes, own)
    remaining = found.remaining
    working = _working(rows, point, modes, own, found)
    through = _through_modes(point, found.by_level, found.solved, len(own.g_phi))
    constant = 0.0
    if observations.constant is None:
        constant = family.constant(rows.y, rows.weights, point.phi)
    return _Terms(
        _corrected(point, modes, found.by_level),
        constant,
        2.0 * (rows.fixed.T @ visit.g) + remaining[:p, p],
        _slopes(working),
        2.0 * own.f_phi.sum(axis=1) + own.w_phi @ own.variances - through,
        _second_order(observations, working) if is_curved else np.zeros((0, 0)),
        2.0 * np.delete(remaining[p + 1 :], p, axis=1) if found.knows_phi else None,
        remaining[:p, :p],
        Remembered(point, visit.effects, modes.scores, found.cross, found.shifts, modes.tangent),
        modes.decrement,
        modes.n_steps,
    )


def _working(
    rows: RowBlock,
    point: Point,
    modes: Modes,
    own: RowDerivatives,
    found: EliminatedColumns,
) -> Working:
    p = rows.fixed.shape[1]
    return Working(
        rows,
        point.lambdas,
        modes,
        w=own.w,
        w1=own.w1,
        curved=own.w2 * own.variances,
        cross=found.cross,
        through=[u[:, :p] for u in found.solved],
        scores=[s[:, 0] for s in modes.scores],
        leverages=[t[:, p] for t in found.solved],
        fixed_information=found.remaining[:p, :p],
        fixed_gram=found.gram,
    )


def _second_order(observations: Observations, working: Working) -> FloatArray:
    """Return second derivatives, exact for one factor, else working variates' products."""
    make = exact_hessian if len(observations.structures) <= 1 else information_products
    return make(working, observations.structures)


def _summed(parts: list[FloatArray | None]) -> FloatArray | None:
    """Add what blocks know, None if they do not."""
    known = [part for part in parts if part is not None]
    return np.sum(known, axis=0) if known else None


def _corrected(point: Point, modes: Modes, by_level: Blocks) -> float:
    """Return 2 h + log|V| at the modes, to second order in what is left to them."""
    value = 2.0 * modes.visit.objective + modes.factorisation.log_det - modes.decrement
    zipped = zip(point.lambdas, modes.visit.carried, modes.ahead, by_level, strict=True)
    for lam, carried, ahead, r in zipped:
        value -= float(np.vdot(lam.T @ r[:, 0], lam.T @ (carried - ahead)[:, 0]))
    return value


def _slopes(working: Working) -> Blocks:
    """Return G of every factor, (k, k), with s and t of `Working`."""
    gradient = []
    for factor, (s, t) in enumerate(zip(working.scores, working.leverages, strict=True)):
        mixed = s @ t.T
        own = working.modes.factorisation.total_information(factor)
        gradient.append(own - s @ s.T + 0.5 * (mixed + mixed.T))
    return gradient


def _through_modes(point: Point, by_level: Blocks, solved: Blocks, n_columns: int) -> FloatArray:
    """Return r'Omega y of the last columns y of `solved`, (n_columns,)."""
    total = np.zeros(n_columns)
    for lam, r, columns in zip(point.lambdas, by_level, solved, strict=True):
        effects = lam @ (lam.T @ r[:, 0])
        total += np.tensordot(
            effects, columns[:, columns.shape[1] - n_columns :], axes=([0, 1], [0, 2])
        )
    return total
