"""Shifts of columns: chosen so that sums of squares keep their digits, undone exactly."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lstsq, solve_triangular

from skmixed.core.layout import CONSTANT, FloatArray
from skmixed.core.least_squares import least_squares

_SAMPLE = 4096
_FAR_FROM_ZERO = 4.0
_DOMINATED = 0.03
_WITHOUT_DOUBT = 0.1
_EXPLAINED_EXACTLY = 1e-12


def choose_basis(columns: FloatArray) -> FloatArray:
    """Choose the shift of every column from a sample of the rows.

    Columns that lie within four standard deviations of zero stay as they are, so integers stay
    integers. A constant column is shifted to zero; any other by its mean, rounded to a power of
    two near its spread, so that the shifted values are exact. Where the features explain the
    response but for three percent of its spread, their contribution is taken off as well.

    Parameters
    ----------
    columns : ndarray of shape (n, n_columns)
        [1, features, y].

    Returns
    -------
    ndarray of shape (n_columns, n_columns)
        Unit upper triangular T; the columns to sum are ``columns @ T``.
    """
    n, width = columns.shape
    sample = columns[:: max(1, n // _SAMPLE)]
    basis = np.eye(width)
    mean = sample.mean(axis=0)
    with np.errstate(over="ignore"):
        spread = np.sqrt(np.square(sample - mean).mean(axis=0))
    far = np.abs(mean) > _FAR_FROM_ZERO * spread
    far[CONSTANT] = False
    for j in np.flatnonzero(far):
        basis[CONSTANT, j] = -_nice_shift(sample[:, j], mean[j], spread[j])
    if len(sample) > 2 * width and width > 2:
        basis[:, -1] -= basis[:, :-1] @ _dominant_coef(sample @ basis)
    return basis


def _dominant_coef(sample: FloatArray) -> FloatArray:
    """Least-squares coefficients if they explain nearly all of the response, else zeros."""
    gram = sample.T @ sample
    if least_squares(gram)[1] > _WITHOUT_DOUBT * gram[-1, -1]:
        return np.zeros(len(gram) - 1)
    features, response = sample[:, :-1], sample[:, -1]
    coef = np.asarray(lstsq(features, response, cond=1e-10)[0])
    unexplained = (response - features @ coef).std() / (response.std() or 1.0)
    return coef if _EXPLAINED_EXACTLY < unexplained < _DOMINATED else np.zeros_like(coef)


def _nice_shift(values: FloatArray, mean: float, spread: float) -> float:
    """Round the mean of a column to a number that subtracts exactly."""
    if spread <= 1e-14 * abs(mean):
        return float(values[0])
    unit = 2.0 ** np.floor(np.log2(spread))
    return float(np.round(mean / unit) * unit)


def apply_basis(columns: FloatArray, basis: FloatArray) -> FloatArray:
    """Return ``columns @ basis``, touching only the columns that change.

    Parameters
    ----------
    columns : ndarray of shape (n, n_columns)
        [1, features, y].
    basis : ndarray of shape (n_columns, n_columns)
        Unit upper triangular.

    Returns
    -------
    ndarray of shape (n, n_columns)
        `columns` itself where nothing changes, otherwise a new array.
    """
    shifts, coef = basis[CONSTANT, 1:], basis[1:-1, -1]
    if not shifts.any() and not coef.any():
        return columns
    result = columns.copy()
    for j in np.flatnonzero(shifts[:-1]) + 1:
        result[:, j] += basis[CONSTANT, j]
    response = result[:, -1]
    if coef.any():  # of shifted features, or offsets would drown the response
        response += result[:, 1:-1] @ coef
    response += shifts[-1] - coef @ shifts[:-1]
    return result


def change_of_basis(old: FloatArray, new: FloatArray) -> FloatArray | None:
    """Return R with ``columns @ new == (columns @ old) @ R``, None where nothing changes.

    Parameters
    ----------
    old, new : ndarray of shape (n_columns, n_columns)
        Unit upper triangular.

    Returns
    -------
    ndarray of shape (n_columns, n_columns) or None
        Unit upper triangular, None for the identity.
    """
    if np.array_equal(old, new):
        return None
    return np.asarray(solve_triangular(old, new, unit_diagonal=True))
