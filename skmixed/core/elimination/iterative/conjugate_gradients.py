"""Preconditioned conjugate gradients for many right-hand sides at once.

Every column is a system of its own; they share the passes over the matrix. The recurrence is that
of Hestenes & Stiefel (1952, doi:10.6028/jres.049.044); its coefficients are the tridiagonal matrix
of Lanczos' process, from which functions of the matrix follow (Golub & Meurant 2009,
doi:10.1515/9781400833887, chapter 6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import FloatArray

Operator = Callable[[FloatArray], FloatArray]

_WORTH_CUTTING = 0.75  # share of unfinished columns; with fewer, dropping the others pays


@dataclass(frozen=True, slots=True, eq=False)
class Solutions:
    """Solutions of C x = b, with the coefficients of the iterations that led to them.

    Step lengths and ratios of squared residuals are complete if all columns were kept to the end;
    they are 1 and 0 in a column that has ended.
    """

    solution: FloatArray  # (width, m)
    n_iter: int  # of the column that took most
    converged: bool  # whether every column reached its tolerance
    lengths: list[FloatArray]  # (m,) of every iteration
    ratios: list[FloatArray]  # (m,) of every iteration


def solve(
    operator: Operator,
    precondition: Operator,  # multiplies by the inverse of the preconditioner
    right: FloatArray,
    tol: float,
    max_iter: int,
    *,
    keep_all: bool = False,
) -> Solutions:
    """Solve C x = b for every column b of `right`, (width, m), C symmetric positive definite.

    A column ends when its residual, in the norm of the preconditioner, is `tol` times that at the
    start. The value b'x falls short of b'C^-1 b by the square of the error only. With `keep_all`
    columns stay until the last has ended, so that the coefficients are complete.
    """
    solution = np.zeros_like(right)
    active = np.arange(right.shape[1])
    x, r = np.zeros_like(right), right.copy()
    z = precondition(r)
    squares = np.einsum("ij,ij->j", r, z)
    goal = tol**2 * squares
    p = z.copy()
    lengths: list[FloatArray] = []
    ratios: list[FloatArray] = []
    n_iter = 0
    while (unfinished := squares > goal).any() and n_iter < max_iter:
        if not keep_all and unfinished.mean() < _WORTH_CUTTING:
            solution[:, active] = x
            active = active[unfinished]
            x, r, p = x[:, unfinished], r[:, unfinished], p[:, unfinished]
            squares, goal = squares[unfinished], goal[unfinished]
            unfinished = unfinished[unfinished]
        q = operator(p)
        length = np.divide(
            squares, np.einsum("ij,ij->j", p, q), out=np.zeros(len(q.T)), where=unfinished
        )
        x += length * p
        r -= length * q
        z = precondition(r)
        before, squares = squares, np.einsum("ij,ij->j", r, z)
        stays = unfinished & (squares > goal)
        ratio = np.divide(squares, before, out=np.zeros(len(q.T)), where=stays)
        p = z + ratio * p
        n_iter += 1
        lengths.append(np.where(unfinished, length, 1.0))
        ratios.append(ratio)
    solution[:, active] = x
    return Solutions(solution, n_iter, not bool((squares > goal).any()), lengths, ratios)


def quadrature(
    lengths: list[FloatArray], ratios: list[FloatArray], function: Operator
) -> tuple[FloatArray, FloatArray]:
    """Return v'f(C)v by Gauss quadrature and v'C v of unit vectors v, (m,) each, C preconditioned.

    The coefficients of the iterations of `solve` give Lanczos' process with v the preconditioned
    first residual; `function` is f, applied to arrays of eigenvalues.
    """
    steps, below = np.array(lengths), np.array(ratios)
    n_iter, m = steps.shape
    diagonal = 1.0 / steps
    diagonal[1:] += below[:-1] / steps[:-1]
    beside = np.sqrt(below[:-1]) / steps[:-1]
    matrices = np.zeros((m, n_iter, n_iter))
    places = np.arange(n_iter)
    matrices[:, places, places] = diagonal.T
    matrices[:, places[1:], places[:-1]] = beside.T
    values, vectors = np.linalg.eigh(matrices)
    weights = np.square(vectors[:, 0, :])
    return (weights * function(np.maximum(values, np.finfo(float).tiny))).sum(axis=1), diagonal[0]
