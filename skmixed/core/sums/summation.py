"""One pass over rows: sums of products of their columns, within levels and pairs of levels.

Sums of squares within the levels of a factor are kept for data whose levels lie far apart:
eliminating a random intercept by subtraction loses the digits of the residual where the levels
differ much more than the rows within them. With the sums of squares within levels, Q_w, nothing is
subtracted: R'V^-1 R = Q_w + sum over levels of C'C / (A (1 + lambda^2 A)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from skmixed.core.linalg import FloatArray, IntArray

_DENSE_ENTRIES = 10_000  # of the selector, rows times levels: with more the sparse one is faster
_GRAM_ROWS = 2**12  # weighted at a time: few enough to stay in the cache until they are multiplied


def gram_matrix(columns: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Return the products of columns, (n, n_columns), weighted by (n,): (n_columns, n_columns)."""
    if weights is None:
        return np.asarray(columns.T @ columns)
    total = np.zeros((columns.shape[1], columns.shape[1]))
    for start in range(0, len(columns), _GRAM_ROWS):
        part = columns[start : start + _GRAM_ROWS]
        total += part.T @ (part * weights[start : start + _GRAM_ROWS, None])
    return total


def level_sums(
    codes: IntArray,
    n_levels: int,
    first: list[FloatArray],
    columns: FloatArray,
    weights: FloatArray | None = None,
) -> FloatArray:
    """Sum products of columns within levels, (k, n_columns, n_levels), without sorting.

    The k columns of `first`, (n,) each, are multiplied with all of `columns`, (n, n_columns) in C
    order, in one pass each. `codes` and `weights` are (n,).
    """
    n = len(codes)
    if n * n_levels <= _DENSE_ENTRIES:
        return _dense_level_sums(codes, n_levels, first, columns, weights)
    small = index_type(n, n_levels)
    places, indptr = codes.astype(small, copy=False), np.arange(n + 1, dtype=small)
    sums = np.empty((len(first), columns.shape[1], n_levels))
    for column, target in zip(first, sums, strict=True):
        values = np.ascontiguousarray(column if weights is None else column * weights)
        selector = sparse.csc_matrix((values, places, indptr), shape=(n_levels, n))
        target[:] = np.asarray(selector @ columns).T
    return sums


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
    selector = np.zeros((n_levels, len(codes)))
    selector[codes, np.arange(len(codes))] = 1.0 if weights is None else weights
    products = np.array(first)[:, None] * columns.T
    return products @ selector.T


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
