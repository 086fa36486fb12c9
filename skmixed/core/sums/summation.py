"""Sums over rows that keep their digits: of shifted columns, within levels, about level means.

A shift of every column is chosen before the one pass over the rows and can be undone exactly.
Sums of squares within the levels of a factor are kept for data whose levels lie far apart:
eliminating a random intercept by subtraction loses the digits of the residual where the levels
differ much more than the rows within them. With the sums of squares within levels, Q_w, nothing is
subtracted: R'V^-1 R = Q_w + sum over levels of C'C / (A (1 + lambda^2 A)).

Weights are divided by one power of four first, so that no digit changes. With weights of 1e300 or
1e-300 products of columns would leave the range of floating-point numbers; and a search would look
for variances beside that of a row of weight one, which is like no row of the data. The root of a
power of four scales columns, and that of weights of one is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import lstsq

from skmixed.core.linalg import FloatArray, IntArray, least_squares, triangular_solution
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
    sample = np.ascontiguousarray(columns[:: max(1, n // _SAMPLE)])
    basis = np.eye(width)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sample[:, CONSTANT] @ sample / len(sample)
        centred = sample - mean
        gram = centred.T @ centred
    spread = np.sqrt(gram.diagonal() / len(sample))
    far = np.abs(mean) > _FAR_FROM_ZERO * spread
    far &= np.isfinite(spread)  # of squares that overflow there is nothing to be saved
    far[CONSTANT] = False
    for j in far.nonzero()[0].tolist():
        basis[CONSTANT, j] = -_nice_shift(sample[:, j], float(mean[j]), float(spread[j]))
    if len(sample) > 2 * width and width > 2 and np.isfinite(spread).all():
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
    result = columns.copy(order="K")
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
    return triangular_solution(old, new, lower=False, unit=True)


_DENSE_ENTRIES = 10_000  # of the selector, rows times levels: with more the sparse one is faster
_GRAM_ROWS = 2**12  # weighted at a time: few enough to stay in the cache until they are multiplied
_GRAM_RUN = 2**14  # numbers of every column multiplied at a time, likewise
_GRAM_COLUMNS = 8  # in Fortran order: up to so many are faster multiplied one by one
_GRAM_LEVELS = 64  # with fewer, sums of levels are long, and rounded more than those of blocks


def gram_matrix(
    columns: FloatArray,
    weights: FloatArray | None = None,
    places: Sequence[int] = (),
    by_level: FloatArray | None = None,
) -> FloatArray:
    """Return the products of columns, (n, n_columns), weighted by (n,): (n_columns, n_columns).

    `by_level`, (k, n_columns, n_levels), are those of k `places` by level, where they are known.
    """
    n, width = columns.shape
    in_fortran = columns.flags.f_contiguous and not columns.flags.c_contiguous
    is_known = weights is None or by_level is not None
    if n >= _GRAM_RUN and width <= _GRAM_COLUMNS and in_fortran and is_known:
        if by_level is None or by_level.shape[2] < _GRAM_LEVELS:
            return _gram_by_column(columns, weights, range(width))
        chosen = list(places)
        gram = _gram_by_column(columns, weights, np.setdiff1d(range(width), chosen).tolist())
        gram[chosen] = by_level.sum(axis=2)
        gram[:, chosen] = gram[chosen].T
        return gram
    if weights is None:
        return np.asarray(columns.T @ columns)
    total = np.zeros((width, width))
    run = _GRAM_RUN if in_fortran else _GRAM_ROWS
    for start in range(0, n, run):
        part = columns[start : start + run]
        total += part.T @ (part * weights[start : start + run, None])
    return total


def _gram_by_column(
    columns: FloatArray, weights: FloatArray | None, chosen: Sequence[int]
) -> FloatArray:
    """Do the same one column at a time, each in one piece; BLAS is slow for few of them.

    Products of columns that are not chosen are left zero.
    """
    gram = np.zeros((columns.shape[1], columns.shape[1]))
    for start in range(0, len(columns), _GRAM_RUN):
        rows = slice(start, start + _GRAM_RUN)
        part = columns[rows]
        for i, j in enumerate(chosen):
            column = part[:, j] if weights is None else part[:, j] * weights[rows]
            for other in chosen[: i + 1]:
                gram[j, other] += column @ part[:, other]
    return gram + np.tril(gram, -1).T


def are_summed_singly(codes: IntArray, n_levels: int, columns: FloatArray) -> bool:
    """Tell whether every column lies in one piece, and so is summed by itself."""
    return len(codes) * n_levels > _DENSE_ENTRIES and bool(columns.flags.f_contiguous)


def products_singly(
    codes: IntArray,
    counts: IntArray,
    places: Sequence[int],
    others: Sequence[int],
    columns: FloatArray,
    weighted: Mapping[int, FloatArray] | None,
) -> FloatArray:
    """Sum products of columns at k places with those at m others, (k, m, n_levels), one by one.

    `columns`, (n, n_columns), begin with ones. `codes` are the level of every row, (n,), of which
    there are `counts`, (n_levels,); `weighted` is the columns at the places times the weights.
    """
    selector = _selector(codes, len(counts))
    sums = np.empty((len(places), len(others), len(counts)))
    done: dict[frozenset[int], FloatArray] = {}
    for z, of_place in zip(places, sums, strict=True):
        selector.data = columns[:, z] if weighted is None else weighted[z]
        for other, target in zip(others, of_place, strict=True):
            both = frozenset((z, other))  # a product is summed once, either way around
            if both in done:
                target[:] = done[both]
            elif weighted is None and both == {CONSTANT}:
                target[:] = counts
            else:
                target[:] = selector @ columns[:, other]
            done[both] = target
    return sums


def level_sums(
    codes: IntArray,
    n_levels: int,
    first: list[FloatArray],
    columns: FloatArray,
    weights: FloatArray | None = None,
) -> FloatArray:
    """Sum products of columns within levels, (k, n_columns, n_levels), without sorting.

    The k columns of `first`, (n,) each, are multiplied with all of `columns`, (n, n_columns): in
    one pass each, or in Fortran order column by column. `codes` and `weights` are (n,).
    """
    if len(codes) * n_levels <= _DENSE_ENTRIES:
        return _dense_level_sums(codes, n_levels, first, columns, weights)
    if columns.shape[1] == 1 and len(first) == 1:
        column = first[0] * columns[:, 0]
        weighted = column if weights is None else column * weights
        return np.bincount(codes, weighted, n_levels).astype(np.float64, copy=False)[None, None]
    singly, selector = are_summed_singly(codes, n_levels, columns), _selector(codes, n_levels)
    sums = np.empty((len(first), columns.shape[1], n_levels))
    for column, target in zip(first, sums, strict=True):
        selector.data = np.ascontiguousarray(column if weights is None else column * weights)
        if singly:
            for j, of_column in enumerate(target):
                of_column[:] = selector @ columns[:, j]
        else:
            target[:] = np.asarray(selector @ columns).T
    return sums


def _selector(codes: IntArray, n_levels: int) -> sparse.csc_matrix:
    """Return a matrix, (n_levels, n), that sums rows within levels, once it has `data`, (n,)."""
    small, n = index_type(len(codes), n_levels), len(codes)
    places, indptr = codes.astype(small, copy=False), np.arange(n + 1, dtype=small)
    return sparse.csc_matrix((np.broadcast_to(1.0, n), places, indptr), shape=(n_levels, n))


def index_type(*sizes: int) -> type[np.signedinteger[Any]]:
    """Return the integers in which scipy keeps indices below these sizes."""
    return np.int32 if max(sizes) < 2**31 - 1 else np.int64


def _dense_level_sums(
    codes: IntArray,
    n_levels: int,
    first: list[FloatArray],
    columns: FloatArray,
    weights: FloatArray | None,
) -> FloatArray:
    """Sum by one dense product, which takes less time for few rows than a sparse matrix."""
    selector = (codes == np.arange(n_levels)[:, None]) * (1.0 if weights is None else weights)
    products = np.array(first)[:, None] * columns.T
    return np.asarray(products @ selector.T)


_FAR_APART = 1e-4  # of y'y within levels; with less, subtraction loses more than four digits


@dataclass(frozen=True, slots=True, eq=False)
class Within:
    """Products of deviations from the means of the levels of one factor."""

    factor: int  # position in the layout, of the factor with most levels
    gram: FloatArray  # (n_columns, n_columns), weighted products of deviations of [1, features, y]


def is_far_apart(gram: FloatArray, products: FloatArray) -> bool:
    """Tell whether all but 1e-4 of y'y is between levels: subtraction would lose digits.

    `gram`, (n_columns, n_columns), is of all rows, `products`, (k, n_columns, n_levels), of every
    level, the constant first.
    """
    between = float((products[0, -1] ** 2 / products[0, 0]).sum())
    return bool(gram[-1, -1] - between < _FAR_APART * gram[-1, -1])


def within_levels(
    columns: FloatArray, weights: FloatArray | None, codes: IntArray, products: FloatArray
) -> FloatArray:
    """Sum products of deviations from level means over the rows, (n_columns, n_columns).

    A second pass over `columns` [1, features, y], (n, n_columns), with their level, (n,), and the
    `products` within every level, (k, n_columns, n_levels), the constant first.
    """
    means = products[0] / np.where(products[0, 0] > 0, products[0, 0], 1.0)
    deviations = columns - np.ascontiguousarray(means.T)[codes]
    return gram_matrix(deviations, weights)


def by_subtraction(gram: FloatArray, products: FloatArray) -> FloatArray:
    """Return the same from the products alone, for levels that do not lie far apart.

    `gram`, (n_columns, n_columns), is of all rows, `products`, (k, n_columns, n_levels), of every
    level, the constant first.
    """
    return np.asarray(gram - (products[0] / products[0, 0]) @ products[0].T)


def between_parts(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return what the difference of the means of two sets of rows adds to sums within levels.

    `first` and `second`, (n_columns, n_levels), are sums of the columns in the levels that both
    sets have, the constant first. The result, (n_columns, n_columns), sums w_1 w_2 / (w_1 + w_2)
    times the products of the differences (Chan, Golub & LeVeque 1983,
    doi:10.1080/00031305.1983.10483115).
    """
    difference = first / first[0] - second / second[0]
    weight = first[0] * second[0] / (first[0] + second[0])
    return np.asarray((difference * weight) @ difference.T)


LEAST_WEIGHT = 1e-200  # of the largest: times squares of columns, less is soon rounded to zero
WEIGHTS_TOO_UNLIKE = (
    "the largest sample weights are more than 1e200 times the smallest, which count for nothing "
    "beside them: give such rows a weight of zero, or correct the weights"
)


def unit_of(weights: FloatArray | None) -> float:
    """Return the power of four nearest to the mean of positive weights, (n,); 1 without any.

    Raises ValueError if some vanish beside others.
    """
    if weights is None or not len(weights):
        return 1.0
    largest = float(weights.max())
    shares = weights / largest
    if shares.min() < LEAST_WEIGHT:
        raise ValueError(WEIGHTS_TOO_UNLIKE)
    return 4.0 ** round(0.5 * (math.log2(shares.mean()) + math.log2(largest)))


def in_unit(weights: FloatArray | None, unit: float) -> FloatArray | None:
    """Return weights, (n,), divided by a unit."""
    return weights if weights is None or unit == 1.0 else weights / unit


_LEAST_SUM_OF_SQUARES = 1e-290  # of a sum of squares: smaller numbers have lost digits, or are zero


def check_squares(
    names: Sequence[str], gram: FloatArray, columns: FloatArray, basis: FloatArray
) -> None:
    """Raise ValueError for a column whose squares overflow, or vanish though it is not zero.

    `gram`, (n_columns, n_columns), are the products of the columns, (n, n_columns), about a shift.
    """
    refuse_squares(names, gram.diagonal(), lambda: apply_basis(columns, basis))


def refuse_squares(
    names: Sequence[str], squares: FloatArray, columns: Callable[[], FloatArray]
) -> None:
    """Raise ValueError as `check_squares`, given sums of squares, (m,).

    `columns` makes the columns, (n, m), which few data need.
    """
    if bool((squares < np.inf).all() and (squares >= _LEAST_SUM_OF_SQUARES).all()):
        return
    for name, column, square in zip(names, columns().T, squares.tolist(), strict=True):
        if not square < np.inf or (square < _LEAST_SUM_OF_SQUARES and column.any()):
            size = "large" if not square < np.inf else "small"
            raise ValueError(
                f"the numbers of {name!r} are so {size} that their squares leave the range of "
                "double precision: give it in other units"
            )
