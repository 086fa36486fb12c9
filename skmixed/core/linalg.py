"""Dense algebra of a few rows, array types and random numbers: what numpy and scipy leave open.

Matrices here are small, with any leading axes where their shape begins with dots. A single one goes
to LAPACK without the checks that would cost more than it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, cython_lapack, lapack

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


WIDE = 8  # columns: loops over pairs of so many take longer than LAPACK, or matrices by halves
_MANY_ROWS = 30  # of eigenvectors, which `eigh` finds by halves: of fewer, calls of it cost more
_VERY_MANY_ROWS = 100  # of a Hessian, of which one Cholesky factor takes a tenth of eigenvectors
_ZERO_PIVOT = 1e-12  # relative to the diagonal entry: what rounding leaves of a zero
_FLAT_DIRECTION = 1e-11  # eigenvalue, relative to the largest: less is rounding of the Hessian
_TINY = float(np.finfo(float).tiny)  # keeps quotients of zeros from being undefined
_SHIFT_ERROR = 1e-12  # of the length of a step that the radius cuts
_MOST_SHIFTS = 30  # Newton's method for the shift takes about five from its lower bound


def transposed(matrix: FloatArray) -> FloatArray:
    """Return the transposed matrices, (..., m, n) from (..., n, m), as a view."""
    return matrix.swapaxes(-1, -2)


def diagonal(matrix: FloatArray) -> FloatArray:
    """Return the diagonals of matrices, (..., k) from (..., k, k), as a view."""
    return matrix.diagonal(axis1=-2, axis2=-1)


def diagonals(matrices: FloatArray) -> FloatArray | None:
    """Return the diagonals, (..., k), of wide matrices, (..., k, k), with nothing beside them.

    None of others, and of narrow ones, with which this would not save anything.
    """
    if matrices.shape[-1] < WIDE:
        return None
    found = diagonal(matrices)
    return found if np.count_nonzero(matrices) == np.count_nonzero(found) else None


def traces(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return the traces of all products of matrices, (a, b), of (a, k, k) and (b, k, k)."""
    turned = right.swapaxes(1, 2).reshape(len(right), -1)
    return np.asarray(left.reshape(len(left), -1) @ turned.T)


def block_diagonal(blocks: Sequence[FloatArray]) -> FloatArray:
    """Put matrices, (..., k_i, m_i), along the diagonal of zeros, (..., k, m)."""
    if len(blocks) == 1:
        return blocks[0]
    shape = [sum(block.shape[axis] for block in blocks) for axis in (-2, -1)]
    result, row, column = np.zeros((*blocks[0].shape[:-2], *shape)), 0, 0
    for block in blocks:
        below, right = row + block.shape[-2], column + block.shape[-1]
        result[..., row:below, column:right] = block
        row, column = below, right
    return result


def triangular_inverse(matrix: FloatArray, *, lower: bool, unit: bool = False) -> FloatArray:
    """Return the inverse of a triangular matrix, (p, p), of which only the triangle is read.

    LAPACK writes to the terminal where there is nothing to invert.
    """
    if not len(matrix):
        return np.zeros((0, 0))
    return np.asarray(lapack.dtrtri(matrix, lower=lower, unitdiag=unit)[0])


def triangular_solution(
    matrix: FloatArray,
    right: FloatArray,
    *,
    lower: bool,
    unit: bool = False,
    transposes: bool = False,
) -> FloatArray:
    """Return T^-1 B, (p, m), of a triangular matrix, (p, p), or T'^-1 B if it `transposes` T.

    Only the triangle is read. LAPACK's `trtrs`, of scipy's `solve_triangular`, wakes all threads of
    OpenBLAS for three rows, too.
    """
    if not right.size:
        return right
    return np.asarray(blas.dtrsm(1.0, matrix, right, lower=lower, diag=unit, trans_a=transposes))


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
    if matrix.ndim > 2 or len(matrix) > _MANY_ROWS:
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
    alone = diagonals(matrix)
    if alone is not None:
        return np.sqrt(np.maximum(alone, 0.0))[..., None] * np.eye(matrix.shape[-1])
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


_UNLOCKED_FROM = 200  # rows: the factor of fewer takes a fifth of a millisecond, and no one waits
_POTRF = b"void (char *, int *, __pyx_t_5scipy_6linalg_13cython_lapack_d *, int *, int *)"


@cache
def _unlocked_potrf() -> Callable[..., None] | None:
    """Return LAPACK's dpotrf, called without the lock of the interpreter; None where it differs."""
    capsule = getattr(cython_lapack, "__pyx_capi__", {}).get("dpotrf")
    if capsule is None:
        return None
    api = ctypes.pythonapi
    name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    kinds = (ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    pointer = ctypes.PYFUNCTYPE(*kinds)(("PyCapsule_GetPointer", api))
    if name(capsule) != _POTRF:
        return None
    arguments = (ctypes.c_char_p, *[ctypes.c_void_p] * 4)
    return ctypes.CFUNCTYPE(None, *arguments)(pointer(capsule, _POTRF))


def cholesky_in_place(matrix: FloatArray) -> bool:
    """Put the upper Cholesky factor, U'U, into the upper triangle of a matrix, (m, m), by rows.

    The other triangle is neither read nor written. Returns False where there is no factor.
    scipy holds the lock of the interpreter meanwhile, so that threads wait for each other; large
    matrices go to the same routine without it.
    """
    potrf = _unlocked_potrf() if len(matrix) >= _UNLOCKED_FROM else None
    if potrf is None:
        factor, info = lapack.dpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
        if not np.shares_memory(factor, matrix):
            matrix[:] = factor.T
        return bool(info == 0)
    numbers = np.array([len(matrix), 0], dtype=np.intc)
    place = numbers.ctypes.data
    potrf(b"L", place, matrix.ctypes.data, place, place + numbers.itemsize)
    return bool(numbers[1] == 0)


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
    to_residual = np.empty(p + 1)
    to_residual[p] = 1.0
    np.negative(coef, out=to_residual[:p])
    return np.asarray(coef), float(to_residual @ gram @ to_residual)


def trust_region_step(
    gradient: FloatArray, hessian: FloatArray, radius: FloatArray | float
) -> tuple[FloatArray, FloatArray]:
    """Return the minimiser s, (..., t), of g's + s'Hs/2 over |s| <= radius, and its decrease.

    H, (..., t, t), may be indefinite. The step has nothing along directions that are flat to
    rounding. In the hard case (g has nothing along the lowest eigenvector) that eigenvector is
    added (Nocedal & Wright 2006, doi:10.1007/978-0-387-40065-5, section 4.3).
    """
    if hessian.ndim == 2 and len(hessian) > _VERY_MANY_ROWS:
        lower, info = lapack.dpotrf(hessian, lower=1)
        inner = -lapack.dpotrs(lower, gradient, lower=1)[0]
        if not info and inner @ inner <= np.square(radius):
            return np.asarray(inner), np.asarray(-(inner @ gradient) / 2.0)
    values, vectors = eigenpairs(hessian)
    if hessian.ndim == 2 and values[0] > _FLAT_DIRECTION * values[-1] + _TINY:
        along = gradient @ vectors
        shrunk = -along / values
        if shrunk @ shrunk <= np.square(radius):
            return vectors @ shrunk, np.asarray(-(shrunk @ along) / 2.0)
    along = (gradient[..., None, :] @ vectors)[..., 0, :]
    sizes = np.abs(values)
    floor = _FLAT_DIRECTION * np.maximum(sizes[..., :1], sizes[..., -1:]) + _TINY
    along = np.where(sizes <= floor, 0.0, along)
    inner = -along / np.maximum(values, floor)
    is_cut = (values[..., 0] < -floor[..., 0]) | ((inner * inner).sum(-1) > radius * radius)
    if is_cut.any():
        cut = _step_to_radius(values, along, floor, np.asarray(radius))
        inner = np.where(is_cut[..., None], cut, inner)
    predicted = -(inner * (along + values * inner / 2.0)).sum(-1)
    return (vectors @ inner[..., None])[..., 0], predicted


def _step_to_radius(
    values: FloatArray, along: FloatArray, floor: FloatArray, radius: FloatArray
) -> FloatArray:
    """Return steps of the length of the radius in the coordinates of the eigenvectors, (..., t).

    The shift s solves 1/|s| = 1/radius by Newton's method, which comes from below.
    """
    low = np.maximum(0.0, -values[..., :1]) + floor
    each = np.abs(along) / radius[..., None] - values  # no entry alone is longer than the radius
    shift = np.maximum(low, each.max(axis=-1, keepdims=True))
    for _ in range(_MOST_SHIFTS):
        curved = np.maximum(values + shift, floor)
        inner = -along / curved
        squares = inner * inner
        square = squares.sum(-1)
        excess = np.sqrt(square) / radius - 1.0
        if not (excess > _SHIFT_ERROR).any():
            break
        slope = np.maximum((squares / curved).sum(-1), _TINY)
        shift = shift + np.maximum(square / slope * excess, 0.0)[..., None]
    is_hard = excess < -_SHIFT_ERROR
    lacking = np.sqrt(np.maximum(radius * radius - squares[..., 1:].sum(-1), 0.0))
    inner[..., 0] = np.where(is_hard, np.copysign(lacking, -along[..., 0]), inner[..., 0])
    return np.asarray(inner)


def generator_of(random_state: Any) -> np.random.Generator:
    """Return a generator of random numbers.

    A Generator is returned itself, so that a second call goes on from there; a RandomState gives a
    seed, and goes on too; from None every call starts anew.
    """
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(0, 2**31, size=4)  # 124 bits
    return np.random.default_rng(random_state)
