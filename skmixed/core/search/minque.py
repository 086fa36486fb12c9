"""Where a search begins: variances from the cross-products alone, by MINQUE(0).

Minimum norm quadratic unbiased estimation at zero prior variances (Rao 1971,
doi:10.1016/0047-259X(71)90001-7): one linear system, no factorisation. With P the residual
projection of least squares, for directions E and D of the covariances and V_E = Z E Z',

    sum over D of tr(P V_E P V_D) psi_D + tr(P V_E) sigma^2 = y'P V_E P y.

In a balanced design it is the REML estimate itself.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.linalg import (
    WIDE,
    FloatArray,
    diagonals,
    triangular_inverse,
)
from skmixed.core.model.evaluation import sums_along
from skmixed.core.model.problem import Problem
from skmixed.core.sums.blocks import PairBlock

_N_PROJECTED = 8  # fixed columns in the traces: each takes a pass, and a start need not be exact
_RANK_CUTOFF = 1e-12  # singular values of the system, relative to the largest: less is confounded
_NOISE_SHARE = 1e-3  # of the mean square that level means leave: keeps variance ratios finite
_NO_RESIDUAL = 1e-12  # of the residual sum of squares: what subtraction leaves of nothing
_MANY_EQUATIONS = 100  # the singular values of more take longer than the rest of a start
_TINY_WEIGHT = 1e-300  # divisor where the first column of a level is zero, and so its score


def minque_start(problem: Problem) -> Blocks:
    """Estimate the relative covariances, (k, k) of every factor, by MINQUE(0).

    They are positive definite, of the structure wanted, and in scaled units. Of the fixed columns
    only the first eight enter the projections in tr(P V_E P V_D), which keeps the cost at a few
    passes over levels and pairs; all enter the residuals.
    """
    gram = problem.model.gram
    p = len(gram) - 1
    beta, residual = problem.least_squares
    root = _projection_root(gram[:p, :p])
    projected = [_projected(right[:, : len(root)], root) for right in problem.model.right]
    scores = [right[:, p] - np.matmul(beta, right[:, :p]) for right in problem.model.right]
    bases = [structure.basis for structure in problem.structures]
    ends = list(accumulate((len(matrices) for matrices in bases), initial=0))
    places = [slice(*place) for place in pairwise(ends)]

    system = np.empty((ends[-1] + 1, ends[-1] + 1))
    target = np.empty(len(system))
    system[-1, -1], target[-1] = problem.n_observations - p, residual
    _fill_traces(system, places, problem, bases, projected)
    flat = [matrices.reshape(len(matrices), -1) for matrices in bases]
    for factor, (place, matrices) in enumerate(zip(places, flat, strict=True)):
        score, block = scores[factor], projected[factor].reshape(len(scores[factor]), -1)
        kept = problem.model.total(factor) - block @ block.T
        system[place, -1] = system[-1, place] = matrices @ kept.ravel()
        target[place] = matrices @ (score @ score.T).ravel()
    if problem.sigma2 is None:
        solution = _solution(system, target)
        noise = _noise(problem, float(solution[-1]), residual, scores)
    else:
        noise = problem.sigma2
        solution = _solution(system[:-1, :-1], target[:-1] - noise * system[:-1, -1])
    return [
        structure.lifted((solution[place] @ matrices / noise).reshape(structure.size, -1))
        for structure, place, matrices in zip(problem.structures, places, flat, strict=True)
    ]


def _noise(problem: Problem, estimate: float, residual: float, scores: Blocks) -> float:
    """Keep the residual variance off zero, by what varies within levels.

    Where the levels lie so far apart that the sums within them are kept, these give it.
    """
    model = problem.model
    if model.within is not None:
        degrees = problem.n_observations - max(map(model.n_levels, range(len(model.own))))
        if degrees > 0 and model.within[-1, -1] > 0:
            return float(model.within[-1, -1] / degrees)
    within = [
        residual - float((score[0] ** 2 / np.maximum(own[0, 0], _TINY_WEIGHT)).sum())
        for own, score in zip(model.own, scores, strict=True)
    ]
    degrees = problem.n_observations - problem.rank
    floor = _NOISE_SHARE * max(min(within), _NO_RESIDUAL * residual) / degrees
    return float(max(estimate, floor))


def _projection_root(gram: FloatArray) -> FloatArray:
    """Return the Cholesky factor of the cross-products of the first few fixed columns."""
    few = min(_N_PROJECTED, len(gram))
    root, info = lapack.dpotrf(gram[:few, :few], lower=1, clean=1)
    if info:
        raise LostPrecisionError(
            "too few digits are left for the fixed columns, which are nearly dependent: rescale or "
            "centre the columns, or drop some"
        )
    return np.asarray(root)


def _projected(right: FloatArray, root: FloatArray) -> FloatArray:
    """Return Z'X times the inverse transpose of `root`, of shape (k, p, n_levels)."""
    k, p, n_levels = right.shape
    if p == 0:
        return right
    flat = right.transpose(1, 0, 2).reshape(p, k * n_levels)
    solved = triangular_inverse(root, lower=True) @ flat
    return np.asarray(solved.reshape(p, k, n_levels).transpose(1, 0, 2))


def _solution(system: FloatArray, target: FloatArray) -> FloatArray:
    """Solve a positive semidefinite system, (t, t), for (t,); the shortest of many solutions.

    It is shortest in units in which each part explains alike: what cannot be told from the residual
    shares its variance evenly.
    """
    squares = system.diagonal()
    is_felt = squares > _RANK_CUTOFF * squares.max()
    units = is_felt / np.sqrt(np.where(is_felt, squares, 1.0))
    scaled = system * units[:, None] * units
    if len(system) > _MANY_EQUATIONS:
        lower, info = lapack.dpotrf(scaled, lower=1)
        if (
            not info
            and lapack.dpocon(lower, np.abs(scaled).sum(axis=0).max(), uplo="L")[0] > _RANK_CUTOFF
        ):
            return np.asarray(units * lapack.dpotrs(lower, target * units, lower=1)[0])
    return np.asarray(units * lapack.dgelss(scaled, target * units, cond=_RANK_CUTOFF)[1])


def _fill_traces(
    system: FloatArray, places: list[slice], problem: Problem, bases: Blocks, projected: Blocks
) -> None:
    """Write tr(P V_E P V_D) of all directions into the system, (> t, > t), in place."""
    sums = [sums_along(*each) for each in zip(bases, projected, strict=True)]
    for i, own in enumerate(problem.model.own):
        pairs = [(i, PairBlock.diagonal(own))]
        pairs += [(j, pair) for (first, j), pair in problem.pairs.items() if first == i]
        for j, pair in pairs:
            rest = _rest_of_pairs(pair, projected[i], projected[j], problem.model.times)
            part = _traces(bases[i], bases[j], pair.products, rest) + sums[i] @ sums[j].T
            system[places[i], places[j]] = part
            system[places[j], places[i]] = part.T


def _rest_of_pairs(
    pair: PairBlock, first: FloatArray, second: FloatArray, times: FloatArray | None
) -> FloatArray:
    """Return A - 2 R of pairs of levels, (k, m, n_pairs), A being their products.

    R = Z_i'X K X'Z_j are the products of their projections on the fixed columns.
    """
    products = pair.products
    through = np.zeros(products.shape)
    is_own = pair.rows is pair.columns
    for column in range(first.shape[1]):
        left = first[:, column] if is_own else first[:, column][:, pair.rows]
        right = second[:, column] if is_own else second[:, column][:, pair.columns]
        through += left[:, None] * right[None]
    return np.asarray((products if times is None else products * times) - 2.0 * through)


def _traces(
    first: FloatArray, second: FloatArray, products: FloatArray, rest: FloatArray
) -> FloatArray:
    """Return tr(V_E V_D) - 2 tr(X K X'V_E V_D), of directions, (t, k, k) and (u, m, m), (t, u).

    It is the sum over pairs of levels of E_ab A_ac B_bd D_cd, with A = `products` and B = `rest`,
    (k, m, n_pairs). Diagonal directions pick entries of A and B that belong together.
    """
    along, across = diagonals(first), diagonals(second)
    if along is not None and across is not None:
        return np.asarray(along @ np.einsum("acl,acl->ac", products, rest) @ across.T)
    k, m, n_pairs = products.shape
    if max(k, m) >= WIDE and n_pairs == 1:
        through = products[:, :, 0].T @ first @ rest[:, :, 0]
        return np.asarray(through.reshape(len(first), -1) @ second.reshape(len(second), -1).T)
    mixed = products.reshape(k * m, n_pairs) @ rest.reshape(k * m, n_pairs).T
    form = mixed.reshape(k, m, k, m).transpose(0, 2, 1, 3).reshape(k * k, m * m)
    flat = [each.reshape(len(each), -1) for each in (first, second)]
    if max(k, m) < WIDE:
        return np.asarray(flat[0] @ form @ flat[1].T)
    sides = [sparse.csr_matrix(each) for each in flat]  # of few entries
    return np.asarray((sides[1] @ (sides[0] @ form).T).T)
