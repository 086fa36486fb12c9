"""A start close to the optimum, from the cross-products alone.

Minimum norm quadratic unbiased estimation at zero prior variances, MINQUE(0) (Rao 1971,
doi:10.1016/0047-259X(71)90001-7): one linear system, no factorisation. With P the residual
projection of least squares, for directions E and D of the covariances and V_E = Z E Z',

    sum over D of tr(P V_E P V_D) psi_D + tr(P V_E) sigma^2 = y'P V_E P y.

In a balanced design it is the REML estimate itself.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.linalg import lapack

from skmixed.core.blocks import PairBlock
from skmixed.core.covariance import Structure
from skmixed.core.elimination import Blocks
from skmixed.core.evaluation import level_grams
from skmixed.core.layout import FloatArray
from skmixed.core.problem import Problem
from skmixed.core.symmetric import eigenpairs

_N_PROJECTED = 8  # fixed columns in the traces: each takes a pass, and a start need not be exact
_LEAST_SHARE = 0.01  # of the largest variance: a start is inside, where all slopes are felt
_RANK_CUTOFF = 1e-12  # singular values of the system, relative to the largest: less is confounded
_NOISE_SHARE = 1e-3  # of the mean square that level means leave: keeps variance ratios finite
_NO_RESIDUAL = 1e-12  # of the residual sum of squares: what subtraction leaves of nothing
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
    contrast = np.append(-beta, 1.0)
    directions = [_directions(structure) for structure in problem.structures]
    root = _projection_root(gram[:p, :p])
    projected = [_projected(right[:, : len(root)], root) for right in problem.model.right]
    scores = [np.matmul(contrast, right) for right in problem.model.right]
    flat = [matrices.reshape(len(matrices), -1) for matrices in directions]

    traces, squares = [], []
    for factor, (matrices, block, score) in enumerate(zip(flat, projected, scores, strict=True)):
        kept = problem.model.total(factor) - np.einsum("apl,bpl->ab", block, block)
        traces.append(matrices @ kept.ravel())
        squares.append(matrices @ (score @ score.T).ravel())
    system = _system(problem, flat, projected)
    t, q = np.concatenate(traces), np.concatenate(squares)
    full = np.empty((len(t) + 1, len(t) + 1))
    full[:-1, :-1], full[:-1, -1], full[-1, :-1] = system, t, t
    full[-1, -1] = problem.n_observations - p
    solution = lapack.dgelss(full, np.append(q, residual), cond=_RANK_CUTOFF)[1]
    noise = _noise(problem, float(solution[-1]), residual, scores)
    parts = np.split(solution[:-1] / noise, np.cumsum([len(m) for m in directions])[:-1])
    return [
        _positive(structure, (part @ matrices).reshape(structure.size, structure.size))
        for structure, part, matrices in zip(problem.structures, parts, flat, strict=True)
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
        residual - float(np.sum(score[0] ** 2 / np.maximum(own[0, 0], _TINY_WEIGHT)))
        for own, score in zip(model.own, scores, strict=True)
    ]
    degrees = problem.n_observations - problem.rank
    floor = _NOISE_SHARE * max(min(within), _NO_RESIDUAL * residual) / degrees
    return float(max(estimate, floor))


def _projection_root(gram: FloatArray) -> FloatArray:
    """Return the Cholesky factor of the cross-products of the first few fixed columns."""
    few = min(_N_PROJECTED, len(gram))
    return np.asarray(np.linalg.cholesky(gram[:few, :few]))


def _projected(right: FloatArray, root: FloatArray) -> FloatArray:
    """Return Z'X times the inverse transpose of `root`, of shape (k, p, n_levels)."""
    k, p, n_levels = right.shape
    if p == 0:
        return right
    flat = right.transpose(1, 0, 2).reshape(p, k * n_levels)
    solved = lapack.dtrtri(root, lower=1)[0] @ flat
    return np.asarray(solved.reshape(p, k, n_levels).transpose(1, 0, 2))


@lru_cache(maxsize=64)
def _directions(structure: Structure) -> FloatArray:
    """Return a basis of the symmetric matrices of a structure, of shape (t, k, k)."""
    basis = []
    for block, columns, _ in structure.slices():
        places = range(columns.start, columns.stop)
        if block.kind == "identity":
            basis.append([(i, i) for i in places])
        else:
            basis += [[(i, i)] for i in places]
        if block.kind == "unstructured":
            basis += [[(i, j), (j, i)] for i in places for j in range(columns.start, i)]
    matrices = np.zeros((len(basis), structure.size, structure.size))
    for matrix, entries in zip(matrices, basis, strict=True):
        for i, j in entries:
            matrix[i, j] = 1.0
    return matrices


def _system(problem: Problem, flat: Blocks, projected: Blocks) -> FloatArray:
    """Return tr(P V_E P V_D) of all directions, of shape (t, t)."""
    ends = np.cumsum([0] + [len(matrices) for matrices in flat])
    system = np.empty((ends[-1], ends[-1]))
    grams = [level_grams(block) for block in projected]
    for i, own in enumerate(problem.model.own):
        pairs = [(i, PairBlock.diagonal(own))]
        pairs += [(j, pair) for (first, j), pair in problem.pairs.items() if first == i]
        for j, pair in pairs:
            form = _pair_form(pair, projected[i], projected[j], problem.model.times)
            part = flat[i] @ form @ flat[j].T + (flat[i] @ grams[i]) @ (flat[j] @ grams[j]).T
            system[ends[i] : ends[i + 1], ends[j] : ends[j + 1]] = part
            system[ends[j] : ends[j + 1], ends[i] : ends[i + 1]] = part.T
    return system


def _pair_form(
    pair: PairBlock, first: FloatArray, second: FloatArray, times: FloatArray | None
) -> FloatArray:
    """Return the matrix whose form in vec E and vec D is tr(V_E V_D) - 2 tr(X K X'V_E V_D).

    With A the products of a pair of levels and R = Z_i'X K X'Z_j those of their projections on
    the fixed columns, it is the sum of A_ac A_bd - 2 A_ac R_bd over pairs of levels, in row (a, b)
    and column (c, d).
    """
    k, m, n_pairs = pair.products.shape
    through = np.zeros_like(pair.products)
    is_own = pair.rows is pair.columns
    for column in range(first.shape[1]):
        left = first[:, column] if is_own else first[:, column][:, pair.rows]
        right = second[:, column] if is_own else second[:, column][:, pair.columns]
        through += left[:, None] * right[None]
    products = pair.products.reshape(k * m, n_pairs)
    counted = products if times is None else products * times
    mixed = products @ (counted - 2.0 * through.reshape(k * m, n_pairs)).T
    form = mixed.reshape(k, m, k, m).transpose(0, 2, 1, 3).reshape(k * k, m * m)
    return np.asarray(form)


def _positive(structure: Structure, omega: FloatArray) -> FloatArray:
    """Lift the eigenvalues of every block to a hundredth of the largest, and to 1e-4 at least."""
    result = np.zeros_like(omega)
    for block, columns, _ in structure.slices():
        part = omega[columns, columns]
        if block.kind == "unstructured":
            values, vectors = eigenpairs(part)
            floor = _LEAST_SHARE * max(float(values[-1]), _LEAST_SHARE)
            result[columns, columns] = (vectors * np.maximum(values, floor)) @ vectors.T
        else:
            variances = np.diag(part)
            floor = _LEAST_SHARE * max(float(variances.max()), _LEAST_SHARE)
            result[columns, columns] = np.diag(np.maximum(variances, floor))
    return result
