"""Derivatives of the criterion in theta and phi together.

With A = Z'R^-1 Z, C = Z'R^-1[X y] and the BLUP coefficients b = Omega Z'V^-1[X y] of every column,
a change dR^-1 of the weights changes M = [X y]'V^-1[X y] by its quadratic form in [X y] - Z b, and
log|V| by dlog|R| + tr(H dA), where H = var(b | y, beta) / sigma^2. For second derivatives, with
T_a = dC_a - dA_a b and B = (I + A Omega)^-1 of every level,

    d2M_ab = form of d2R^-1 - sum T_a'H T_b + T_b'H T_a,
    d2M_aE = - sum (B T_a)'E U + U'E B T_a,
    [log|V|]_ab = d2log|R| + tr(H d2A_ab) - tr(H dA_a H dA_b),   [log|V|]_aE = tr(B dA_a B'E).

Letters are those of `skmixed.core.model.evaluation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.core.elimination.chain import ChainFactorisation
from skmixed.core.elimination.levels import multiply, multiply_levels
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.evaluation import Evaluation, evaluate, exact_hessian
from skmixed.core.residual.residual_problem import CombinedProblem, ResidualProblem, total
from skmixed.core.residual.structure import Combination
from skmixed.core.search.coordinates import Coordinates, theta_gradient

_CENTRAL_STEP = 1e-4  # in units of theta, of central differences of the gradient


@dataclass(frozen=True, eq=False)
class PhiDerivatives:
    """Derivatives in phi, (q,), of a model at one theta and phi."""

    problem: ResidualProblem
    evaluation: Evaluation  # of a `CombinedProblem`
    given: FloatArray | None = None  # (p + 1, p + 1), W_m, where it is not that of the optimum

    @property
    def combination(self) -> Combination:
        """How the tables make up the model."""
        problem = self.evaluation.problem
        assert isinstance(problem, CombinedProblem)
        return problem.combination

    @cached_property
    def effects(self) -> Blocks:
        """BLUP coefficients b of every factor, (k, p + 1, n_levels)."""
        zipped = zip(self.evaluation.omegas, self.evaluation.cross, strict=True)
        return [multiply(omega, cross) for omega, cross in zipped]

    @cached_property
    def conditional(self) -> Blocks:
        """H of every level of every factor, (k, k, n_levels)."""
        factorisation = self.evaluation.factorisation
        return [factorisation.conditional_covariance(f) for f in range(len(self.effects))]

    @cached_property
    def pair_levels(self) -> dict[tuple[int, int], tuple[IntArray, IntArray]]:
        """Levels of both factors of the pairs that occur, (n_pairs,) each."""
        pairs = self.problem.independent.pairs
        return {ij: (pair.rows, pair.columns) for ij, pair in pairs.items()}

    @cached_property
    def forms(self) -> FloatArray:
        """What a unit of every table changes the criterion by, (M,), but for log|R|."""
        problem = self.problem
        middle = self.evaluation.middle if self.given is None else self.given
        found = problem.gram.reshape(len(problem.gram), -1) @ middle.ravel()
        weighted = [np.matmul(middle, b) for b in self.effects]
        for (i, j), (rows, columns) in self.pair_levels.items():
            right = self.effects[j].transpose(1, 0, 2)[:, :, columns]
            moment = multiply_levels(weighted[i][:, :, rows], right)
            found = found + 2.0 * _dot(problem.pairs[i, j], moment + self._covariance(i, j))
        zipped = zip(
            problem.right, problem.own, weighted, self.effects, self.conditional, strict=True
        )
        for right, own, left, b, h in zipped:
            moment = multiply_levels(left, b.transpose(1, 0, 2)) + h
            found = found - 2.0 * _dot(right, left) + _dot(own, moment)
        return np.asarray(found)

    def _covariance(self, i: int, j: int) -> FloatArray:
        """Return the block of H of two factors at the pairs that occur, (k_i, k_j, n_pairs).

        As var(a + b) - var(a) - var(b) of their effects, halved.
        """
        levels = dict(zip((i, j), self.pair_levels[i, j], strict=True))
        n, sizes = len(levels[i]), [len(b) for b in self.effects]
        codes = [levels.get(f, np.zeros(n, dtype=np.intp)) for f in range(len(sizes))]
        found = np.empty((sizes[i], sizes[j], n))
        for a, b in np.ndindex(sizes[i], sizes[j]):
            random = [np.zeros((size, n)) for size in sizes]
            random[i][a] = random[j][b] = 1.0
            both = self.evaluation.factorisation.effect_variances(random, codes)
            alone = self.conditional[i][a, a][levels[i]] + self.conditional[j][b, b][levels[j]]
            found[a, b] = (both - alone) / 2.0
        return found

    @property
    def gradient(self) -> FloatArray:
        """Derivative of the criterion in phi, (q,)."""
        return self.combination.slopes @ self.forms + self.combination.log_det_slope

    @cached_property
    def own_slopes(self) -> Blocks:
        """Changes dA of every factor, (q, k, k, n_levels)."""
        return [total(self.combination.slopes, own) for own in self.problem.own]

    @cached_property
    def right_slopes(self) -> Blocks:
        """Changes dC of every factor, (q, k, p + 1, n_levels)."""
        return [total(self.combination.slopes, right) for right in self.problem.right]

    @cached_property
    def rests(self) -> Blocks:
        """T = dC - dA b of every factor, (q, k, p + 1, n_levels)."""
        zipped = zip(self.right_slopes, self.own_slopes, self.effects, strict=True)
        return [
            right - (own * b if len(b) == 1 else np.einsum("qabl,bpl->qapl", own, b))
            for right, own, b in zipped
        ]

    @cached_property
    def form_slopes(self) -> FloatArray:
        """Changes dM, (q, p + 1, p + 1)."""
        change = total(self.combination.slopes, self.problem.gram)
        for b, rest, right in zip(self.effects, self.rests, self.right_slopes, strict=True):
            change = change - _flat((rest + right).swapaxes(1, 2), 2) @ _flat(b.swapaxes(0, 1), 1).T
        for (i, j), (rows, columns) in self.pair_levels.items():
            tables = total(self.combination.slopes, self.problem.pairs[i, j])
            left, right = self.effects[i][:, :, rows], self.effects[j][:, :, columns]
            change = change + 2.0 * np.einsum("apl,qabl,brl->qpr", left, tables, right)
        return np.asarray((change + change.transpose(0, 2, 1)) / 2.0)


@dataclass(frozen=True, eq=False)
class JointCurvature:
    """Second derivatives of the criterion in theta and phi, and first derivatives of V_b.

    theta is in scaled units and the natural order of its entries. The second derivative in one of
    them and log sigma^2 is `shares`, and in log sigma^2 alone nu.
    """

    hessian: FloatArray  # (t + q, t + q), sigma^2 being profiled out
    shares: FloatArray  # (t + q,), -d log r^2, times nu
    slopes: FloatArray  # (t + q, p, p), dV_b, of the scaled columns


def joint_curvature(
    problem: ResidualProblem, evaluation: Evaluation, phi: FloatArray
) -> JointCurvature:
    """Differentiate at an evaluation of the problem at phi, (q,).

    Exact for one factor or none; for several, second derivatives are central differences of the
    exact gradient.
    """
    coordinates = Coordinates.natural(evaluation.problem.structures)
    theta = coordinates.read(evaluation.lambdas)
    changes = _form_changes(PhiDerivatives(problem, evaluation), coordinates, theta)
    w, covariance = evaluation.to_residual, evaluation.beta_covariance
    if len(coordinates.structures) > 1:
        hessian = _differences(problem, coordinates, theta, phi)
    else:
        hessian = joint_model(problem, evaluation, coordinates, theta)[1]
    return JointCurvature(
        hessian,
        np.asarray(-(changes @ w @ w) / evaluation.sigma2),
        -covariance @ changes[:, :-1, :-1] @ covariance,
    )


def _differences(
    problem: ResidualProblem, coordinates: Coordinates, theta: FloatArray, phi: FloatArray
) -> FloatArray:
    """Return central differences of the gradient in theta and phi, (t + q, t + q)."""
    units = np.concatenate([coordinates.units(theta), np.ones(len(phi))])
    rows = []
    for step in _CENTRAL_STEP * np.diag(units):
        ends = []
        for sign in (1.0, -1.0):
            moved = theta + sign * step[: len(theta)]
            combined = problem.at(phi + sign * step[len(theta) :])
            at_moved = evaluate(combined, coordinates.lambdas(moved))
            ends.append(joint_gradient(problem, at_moved, coordinates, moved))
        rows.append((ends[0] - ends[1]) / (2.0 * step.sum()))
    hessian = np.array(rows)
    return np.asarray((hessian + hessian.T) / 2.0)


def joint_gradient(
    problem: ResidualProblem, evaluation: Evaluation, coordinates: Coordinates, theta: FloatArray
) -> FloatArray:
    """Return the gradient in (theta, phi), (t + q,), for any factors."""
    of_theta = theta_gradient(evaluation, coordinates, theta) if len(theta) else theta
    return np.concatenate([of_theta, PhiDerivatives(problem, evaluation).gradient])


def _form_changes(
    in_phi: PhiDerivatives, coordinates: Coordinates, theta: FloatArray
) -> FloatArray:
    """Return dM in theta and phi, (t + q, p + 1, p + 1)."""
    of_phi = in_phi.form_slopes
    zipped = zip(coordinates.directions(theta), in_phi.evaluation.grams, strict=True)
    of_theta = [
        -(directions.reshape(len(directions), -1) @ gram).reshape(-1, *of_phi.shape[1:])
        for directions, gram in zipped
    ]
    return np.concatenate([*of_theta, of_phi])


def _dot(tables: FloatArray, other: FloatArray) -> FloatArray:
    """Return the inner product of every table, (M, ...), with an array, (M,)."""
    return np.asarray(tables.reshape(len(tables), -1) @ other.ravel())


def joint_model(
    problem: ResidualProblem,
    evaluation: Evaluation,
    coordinates: Coordinates,
    theta: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return gradient, (t + q,), and Hessian in (theta, phi), for one factor or none."""
    in_phi = PhiDerivatives(problem, evaluation)
    combination = in_phi.combination
    t, q = len(theta), len(combination.slopes)
    gradient, hessian = np.zeros(t + q), np.zeros((t + q, t + q))
    gradient[t:] = in_phi.gradient
    changes = _form_changes(in_phi, coordinates, theta)
    hessian[t:, t:] = combination.curvatures @ in_phi.forms + combination.log_det_curvature
    if t:
        (directions,) = coordinates.directions(theta)
        flat = directions.reshape(t, -1)
        gradient[:t] = flat @ evaluation.gradient[0].ravel()
        hessian[t:, t:] -= _through_effects(in_phi)
        hessian[t:, :t] = _mixed(in_phi).reshape(q, flat.shape[1]) @ flat.T
    hessian[t:] += _through_fixed(evaluation, changes[t:], changes)
    hessian[:t, t:] = hessian[t:, :t].T
    if t:
        hessian[:t, :t] = exact_hessian(evaluation, [(0, directions)])
        hessian[:t, :t] += coordinates.curvature(theta, evaluation.gradient)
    return gradient, (hessian + hessian.T) / 2.0


def _through_effects(in_phi: PhiDerivatives) -> FloatArray:
    """Return tr(H dA_a H dA_b) + 2 tr(W_m T_a'H T_b), (q, q), of one factor."""
    (h,), (own,), (rest,) = in_phi.conditional, in_phi.own_slopes, in_phi.rests
    through, seen = _times(h, own), _times(h, rest)
    weighted = np.matmul(2.0 * in_phi.evaluation.middle, rest)
    traces = _inner(through, through.swapaxes(1, 2))
    return np.asarray(traces + _inner(weighted, seen))


def _mixed(in_phi: PhiDerivatives) -> FloatArray:
    """Return sum B dA_a B' - B T_a W_m U' - U W_m T_a'B', (q, k, k), of one factor."""
    evaluation = in_phi.evaluation
    (own,), (rest,), (cross,) = in_phi.own_slopes, in_phi.rests, evaluation.cross
    factorisation = evaluation.factorisation
    assert isinstance(factorisation, ChainFactorisation)
    shrinker = factorisation.levels[0].shrinker
    half, through = _times(shrinker, own), _times(shrinker, rest)
    weighted = np.matmul(evaluation.middle, cross)
    traces = _flat(half, 2) @ _flat(shrinker, 1).T
    forms = _flat(through, 2) @ _flat(weighted, 1).T
    return np.asarray(traces - forms - forms.transpose(0, 2, 1))


def _times(left: FloatArray, tables: FloatArray) -> FloatArray:
    """Return the product with every table, (q, k, m, n_levels), at every level, left (k, k)."""
    if len(left) == 1:
        return np.asarray(left[0, 0] * tables)
    return np.asarray(np.einsum("abl,qbml->qaml", left, tables))


def _inner(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the inner product of every two arrays, (a, ...) and (b, ...), (a, b)."""
    return np.asarray(_flat(first, 1) @ _flat(second, 1).T)


def _flat(arrays: FloatArray, n_kept: int) -> FloatArray:
    """Return arrays with one axis in the place of all but the first few."""
    return arrays.reshape(*arrays.shape[:n_kept], math.prod(arrays.shape[n_kept:]))


def _through_fixed(evaluation: Evaluation, rows: FloatArray, columns: FloatArray) -> FloatArray:
    """Return what fixed effects and sigma^2 add to second derivatives, given dM of both, (a, b)."""
    w, covariance = evaluation.to_residual, evaluation.beta_covariance
    h_rows, h_columns = (rows @ w)[:, :-1], (columns @ w)[:, :-1]
    q_rows, q_columns = rows @ w @ w / evaluation.sigma2, columns @ w @ w / evaluation.sigma2
    change = -2.0 / evaluation.sigma2 * (h_rows @ covariance @ h_columns.T)
    change -= q_rows[:, None] * q_columns / evaluation.degrees
    if evaluation.problem.spec.method == "reml":
        left, right = covariance @ rows[:, :-1, :-1], covariance @ columns[:, :-1, :-1]
        change -= _inner(left, right.swapaxes(1, 2))
    return np.asarray(change)
