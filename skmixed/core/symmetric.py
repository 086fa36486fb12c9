"""Eigenvalues of a symmetric matrix of a few rows, without the checks that cost more than they."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from skmixed.core.layout import FloatArray


def eigenvalues(matrix: FloatArray) -> FloatArray:
    """Return the eigenvalues of a symmetric matrix, (k,), ascending; its lower triangle is read."""
    values, _, info = lapack.dsyev(matrix, compute_v=0, lower=1)
    return _checked(values, info)


def eigenpairs(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the eigenvalues of a symmetric matrix, (k,), ascending, and eigenvectors, (k, k).

    A column is an eigenvector. The lower triangle of the matrix is read.
    """
    values, vectors, info = lapack.dsyev(matrix, lower=1)
    return _checked(values, info), np.asarray(vectors)


def is_positive_definite(matrix: FloatArray) -> bool:
    """Tell whether a symmetric matrix has a Cholesky factor; its lower triangle is read.

    It has one if all eigenvalues are positive, but for rounding.
    """
    return bool(lapack.dpotrf(matrix, lower=1)[1] == 0)


def _checked(values: FloatArray, info: int) -> FloatArray:
    if info:
        raise np.linalg.LinAlgError("eigenvalues of a symmetric matrix did not converge")
    return np.asarray(values)
