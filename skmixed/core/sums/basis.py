"""Shifts of columns: chosen so that sums of squares keep their digits, undone exactly."""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import lstsq, solve_triangular

from skmixed.core.linalg import FloatArray, least_squares
from skmixed.core.sums.layout import CONSTANT

_SAMPLE = 4096  # rows that are looked at, at least: a shift need only be near the mean
_FAR_FROM_ZERO = 4.0  # standard deviations; nearer, sums of squares lose about one digit at most
_DOMINATED = 0.03  # of the spread of y; its square says that three digits of y'y are at stake
_CLEARLY_UNEXPLAINED = 0.1  # of y'y, centred; far more than `_DOMINATED`: rounding cannot decide
_EXPLAINED_EXACTLY = 1e-12  # of the spread of y; less is rounding, and no residual to keep
_RANK_TOLERANCE = 1e-10  # of the largest singular value; less is taken for collinear features
_ROUNDED_SPREAD = 1e-14  # of the mean; less is rounding of a constant column


def choose_basis(columns: FloatArray) -> FloatArray:
    """Choose the shift of every column, as unit upper triangular T, (n_columns, n_columns).

    The columns to sum are ``columns @ T`` for `columns` [1, features, y], (n, n_columns); a sample
    of the rows decides. Columns within four standard deviations of zero stay, so integers stay
    integers. A constant column is shifted to zero, any other by its mean, rounded to a power of two
    near its spread, so that the shifted values are exact. Where the features explain the response
    but for three percent of its spread, their contribution is taken off as well.
    """
    n, width = columns.shape
    sample = columns[:: max(1, n // _SAMPLE)]
    basis = np.eye(width)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sample[:, CONSTANT] @ sample / len(sample)
        centred = sample - mean
        gram = centred.T @ centred
    spread = np.sqrt(gram.diagonal() / len(sample))
    far = np.abs(mean) > _FAR_FROM_ZERO * spread
    far[CONSTANT] = False
    for j in far.nonzero()[0].tolist():
        basis[CONSTANT, j] = -_nice_shift(sample[:, j], float(mean[j]), float(spread[j]))
    if len(sample) > 2 * width and width > 2:
        rest = least_squares(gram[1:, 1:])[1]
        if not rest > _CLEARLY_UNEXPLAINED * gram[-1, -1]:
            basis[:, -1] -= basis[:, :-1] @ _dominant_coef(sample @ basis)
    return basis


def _dominant_coef(sample: FloatArray) -> FloatArray:
    """Return the least-squares coefficients if they explain nearly all of y, else zeros."""
    features, response = sample[:, :-1], sample[:, -1]
    coef = np.asarray(lstsq(features, response, cond=_RANK_TOLERANCE)[0])
    unexplained = (response - features @ coef).std() / (response.std() or 1.0)
    return coef if _EXPLAINED_EXACTLY < unexplained < _DOMINATED else np.zeros_like(coef)


def _nice_shift(values: FloatArray, mean: float, spread: float) -> float:
    """Round the mean of a column to a number that subtracts exactly."""
    if spread <= _ROUNDED_SPREAD * abs(mean):
        return float(values[0])
    unit = 2.0 ** math.floor(math.log2(spread))
    return round(mean / unit) * unit


def apply_basis(columns: FloatArray, basis: FloatArray) -> FloatArray:
    """Return ``columns @ basis``, (n, n_columns), touching only the columns that change.

    `basis` is unit upper triangular, (n_columns, n_columns). Where nothing changes, the result is
    `columns` itself, otherwise a new array.
    """
    shifts, coef = basis[CONSTANT, 1:], basis[1:-1, -1]
    if not np.count_nonzero(shifts) and not np.count_nonzero(coef):
        return columns
    result = columns.copy()
    for j in shifts[:-1].nonzero()[0].tolist():
        result[:, j + 1] += shifts[j]
    response = result[:, -1]
    if np.count_nonzero(coef):  # of shifted features, or offsets would drown the response
        response += result[:, 1:-1] @ coef
    response += shifts[-1] - coef @ shifts[:-1]
    return result


def change_of_basis(old: FloatArray, new: FloatArray) -> FloatArray | None:
    """Return R with ``columns @ new == (columns @ old) @ R``, None where nothing changes.

    All three are unit upper triangular, (n_columns, n_columns).
    """
    if np.array_equal(old, new):
        return None
    return np.asarray(solve_triangular(old, new, unit_diagonal=True))
