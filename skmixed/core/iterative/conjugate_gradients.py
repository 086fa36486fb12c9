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

from skmixed.core.layout import FloatArray

Operator = Callable[[FloatArray], FloatArray]

_WORTH_CUTTING = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """Solutions of a set of systems.

    Parameters
    ----------
    solution : ndarray of shape (width, m)
        The solutions.
    n_iter : int
        Iterations of the column that took most.
    converged : bool
        Whether all residuals are as small as was asked for.
    lengths, ratios : list of ndarray of shape (m,)
        Step lengths and ratios of squared residuals of every iteration, where all columns were
        kept to the end; 1 and 0 for a column that has ended.
    """

    solution: FloatArray
    n_iter: int
    converged: bool
    lengths: list[FloatArray]
    ratios: list[FloatArray]


def solve(
    operator: Operator,
    precondition: Operator,
    right: FloatArray,
    tol: float,
    max_iter: int,
    *,
    keep_all: bool = False,
) -> Solved:
    """Solve C x = b for every column b.

    Parameters
    ----------
    operator : callable
        Multiplies columns by C, symmetric and positive definite.
    precondition : callable
        Multiplies columns by the inverse of the preconditioner.
    right : ndarray of shape (width, m)
        The columns.
    tol : float
        A column ends when its residual, in the norm of the preconditioner, is that much smaller
        than at the start.
    max_iter : int
        Most iterations.
    keep_all : bool
        Whether columns stay until the last has ended, for the coefficients.

    Returns
    -------
    Solved
        For every column; b'x falls short of b'C^-1 b by the square of the error only.
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
    while (going := squares > goal).any() and n_iter < max_iter:
        if not keep_all and going.mean() < _WORTH_CUTTING:
            solution[:, active] = x
            active = active[going]
            x, r, p = x[:, going], r[:, going], p[:, going]
            squares, goal = squares[going], goal[going]
            going = going[going]
        q = operator(p)
        length = np.divide(
            squares, np.einsum("ij,ij->j", p, q), out=np.zeros(len(q.T)), where=going
        )
        x += length * p
        r -= length * q
        z = precondition(r)
        before, squares = squares, np.einsum("ij,ij->j", r, z)
        goes_on = going & (squares > goal)
        ratio = np.divide(squares, before, out=np.zeros(len(q.T)), where=goes_on)
        p = z + ratio * p
        n_iter += 1
        lengths.append(np.where(going, length, 1.0))
        ratios.append(ratio)
    solution[:, active] = x
    return Solved(solution, n_iter, not bool((squares > goal).any()), lengths, ratios)


def quadrature(
    lengths: list[FloatArray], ratios: list[FloatArray], function: Operator
) -> tuple[FloatArray, FloatArray]:
    """Approximate v'f(C)v for the preconditioned C and unit vectors v, Lanczos' process done.

    Parameters
    ----------
    lengths, ratios : list of ndarray of shape (m,)
        Coefficients of the iterations of `solve`, v being its preconditioned first residual.
    function : callable
        f, of arrays of eigenvalues.

    Returns
    -------
    values : ndarray of shape (m,)
        v'f(C)v by Gauss quadrature.
    first : ndarray of shape (m,)
        v'C v.
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
