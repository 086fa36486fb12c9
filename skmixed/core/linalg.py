"""Dense algebra of a few rows, array types and random numbers: what numpy and scipy leave open.

Matrices here are small, with any leading axes where their shape begins with dots. A single one goes
to LAPACK without the checks that would cost more than it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


_ZERO_PIVOT = 1e-12  # relative to the diagonal entry: what rounding leaves of a zero


def transposed(matrix: FloatArray) -> FloatArray:
    """Return the transposed matrices, (..., m, n) from (..., n, m), as a view."""
    return matrix.swapaxes(-1, -2)


def diagonal(matrix: FloatArray) -> FloatArray:
    """Return the diagonals of matrices, (..., k) from (..., k, k), as a view."""
    return matrix.diagonal(axis1=-2, axis2=-1)


def block_diagonal(blocks: Sequence[FloatArray]) -> FloatArray:
    """Put square matrices, (..., k_i, k_i), along the diagonal of zeros, (..., k, k)."""
    if len(blocks) == 1:
        return blocks[0]
    size = sum(block.shape[-1] for block in blocks)
    result, start = np.zeros((*blocks[0].shape[:-2], size, size)), 0
    for block in blocks:
        stop = start + block.shape[-1]
        result[..., start:stop, start:stop] = block
        start = stop
    return result


def triangular_inverse(matrix: FloatArray, *, lower: bool, unit: bool = False) -> FloatArray:
    """Return the inverse of a triangular matrix, (p, p), of which only the triangle is read.

    LAPACK writes to the terminal where there is nothing to invert.
    """
    if not len(matrix):
        return np.zeros((0, 0))
    return np.asarray(lapack.dtrtri(matrix, lower=lower, unitdiag=unit)[0])


def eigenvalues(matrix: FloatArray) -> FloatArray:
    """Return the eigenvalues of symmetric matrices, (..., k), ascending.

    The lower triangle is read.
    """
    if matrix.ndim > 2:
        return np.asarray(np.linalg.eigvalsh(matrix), dtype=np.float64)
    values, _, info = lapack.dsyev(matrix, compute_v=0, lower=1)
    return _checked(values, info)


def eigenpairs(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the eigenvalues of symmetric matrices, (..., k), ascending, and eigenvectors.

    A column of (..., k, k) is an eigenvector. The lower triangle is read.
    """
    if matrix.ndim > 2:
        values, vectors = np.linalg.eigh(matrix)
        return values, vectors
    values, vectors, info = lapack.dsyev(matrix, lower=1)
    return _checked(values, info), np.asarray(vectors)


def left_singular(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the left singular vectors, (..., k, k), and singular values, (..., k), descending."""
    if matrix.ndim > 2:
        vectors, values, _ = np.linalg.svd(matrix)
        return vectors, values
    vectors, values, _, info = lapack.dgesdd(matrix)
    return np.asarray(vectors), _checked(values, info)


def semidefinite_cholesky(matrix: FloatArray) -> FloatArray:
    """Return the lower Cholesky factors of positive semidefinite matrices, (..., k, k).

    A column is exactly zero where its pivot is at most 1e-12 of the diagonal entry, so the matrix
    may be indefinite by rounding.
    """
    if matrix.ndim == 2:
        lower, info = lapack.dpotrf(matrix, lower=1, clean=1)
        if not info and (lower.diagonal() ** 2 > _ZERO_PIVOT * matrix.diagonal()).all():
            return np.asarray(lower)
    lower = np.zeros(matrix.shape)
    for j in range(matrix.shape[-1]):
        left = matrix[..., j:, j]
        for i in range(j):
            left = left - lower[..., j:, i] * lower[..., j, i, None]
        pivot = left[..., :1]
        is_felt = pivot > _ZERO_PIVOT * matrix[..., j, j, None]
        lower[..., j:, j] = left / np.sqrt(np.where(is_felt, pivot, np.inf)) + 0.0  # no -0.0
    return lower


def semidefinite_root(matrix: FloatArray, least: float = 0.0) -> FloatArray:
    """Return R with R R' of symmetric matrices, (..., k, k), eigenvalues being `least` at least."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.maximum(values, least))[..., None, :])


def inverse_felt(hessian: FloatArray, least: float) -> FloatArray:
    """Invert a Hessian, (t, t), along the directions in which it is felt; zero along others.

    Eigenvalues are felt above `least` times the largest, or times 1 if that is larger.
    """
    values, vectors = np.linalg.eigh(hessian)
    felt = values > least * max(1.0, float(np.abs(values).max(initial=0.0)))
    return np.asarray((vectors[:, felt] / values[felt]) @ vectors[:, felt].T)


def is_positive_definite(matrix: FloatArray) -> bool:
    """Tell whether a symmetric matrix has a Cholesky factor; its lower triangle is read.

    It has one if all eigenvalues are positive, but for rounding.
    """
    return bool(lapack.dpotrf(matrix, lower=1)[1] == 0)


def _checked(values: FloatArray, info: int) -> FloatArray:
    if info:
        raise np.linalg.LinAlgError("eigenvalues or singular values did not converge")
    return np.asarray(values)


_CLEARLY_INDEPENDENT = 1e-8  # pivot, of its square: no eigenvalue is near rounding, nor slow


def least_squares(gram: FloatArray) -> tuple[FloatArray, float]:
    """Regress the last column on the others, given their cross-products, (p + 1, p + 1).

    Returns the coefficients, (p,), and the residual sum of squares, which rounding may make
    negative; both are NaN where a product is not finite. Of columns that depend on each other, to
    rounding, the coefficients are the shortest in units of the columns.
    """
    p = len(gram) - 1
    if not np.isfinite(gram).all():
        return np.full(p, np.nan), np.nan
    own, right, squares = gram[:p, :p], gram[:p, p], gram.diagonal()[:p]
    lower, info = lapack.dpotrf(own, lower=1)
    if not info and (lower.diagonal() ** 2 > _CLEARLY_INDEPENDENT * squares).all():
        coef = lapack.dpotrs(lower, right, lower=1)[0] if p else right
    else:
        units = 1.0 / np.sqrt(np.where(squares > 0.0, squares, np.inf))
        inverse = inverse_felt(own * units[:, None] * units, p * np.finfo(float).eps)
        coef = units * (inverse @ (right * units))
    to_residual = np.ones(p + 1)
    np.negative(coef, out=to_residual[:p])
    return np.asarray(coef), float(to_residual @ gram @ to_residual)


def generator_of(random_state: Any) -> np.random.Generator:
    """Return a generator of random numbers.

    A Generator is returned itself, so that a second call goes on from there; a RandomState gives a
    seed, and goes on too; from None every call starts anew.
    """
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(0, 2**31, size=4)  # 124 bits
    return np.random.default_rng(random_state)
