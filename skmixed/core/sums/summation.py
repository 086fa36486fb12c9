"""One pass over rows: sums of products of their columns, within levels and pairs of levels.

Sums of squares within the levels of a factor are kept for data whose levels lie far apart:
eliminating a random intercept by subtraction loses the digits of the residual where the levels
differ much more than the rows within them. With the sums of squares within levels, Q_w, nothing is
subtracted: R'V^-1 R = Q_w + sum over levels of C'C / (A (1 + lambda^2 A)).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import sparse

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.sums.blocks import FactorBlock, PairBlock, pair_keys
from skmixed.core.sums.layout import CONSTANT, Layout, Rows

_DENSE_ENTRIES = 10_000  # of the selector, rows times levels: with more the sparse one is faster

Pairs = dict[tuple[int, int], PairBlock]


def gram_matrix(rows: Rows) -> FloatArray:
    """Return [1, features, y]'W[1, features, y], (n_columns, n_columns)."""
    columns = rows.columns
    weighted = columns if rows.weights is None else columns * rows.weights[:, None]
    return np.asarray(columns.T @ weighted)


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
    sums = np.empty((len(first), columns.shape[1], n_levels))
    indptr = np.arange(n + 1, dtype=codes.dtype)
    for column, target in zip(first, sums, strict=True):
        values = np.ascontiguousarray(column if weights is None else column * weights)
        selector = sparse.csc_matrix((values, codes, indptr), shape=(n_levels, n))
        target[:] = np.asarray(selector @ columns).T
    return sums


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


def factor_blocks(layout: Layout, rows: Rows) -> tuple[FactorBlock, ...]:
    """Sum within the levels of every factor; a level without rows gets zeros."""
    return tuple(
        _factor_block(rows, number, factor.columns) for number, factor in enumerate(layout.factors)
    )


def _factor_block(rows: Rows, number: int, z_columns: tuple[int, ...]) -> FactorBlock:
    codes, index = rows.codes[number], rows.indexes[number]
    ones = np.ones(len(codes))  # column 0 again, without its stride
    first = [ones if place == CONSTANT else rows.columns[:, place] for place in z_columns]
    products = level_sums(codes, len(index), first, rows.columns, rows.weights)
    if rows.weights is None:  # sums of ones are exact
        counts = products[0, CONSTANT].astype(np.intp)
    else:
        counts = np.bincount(codes, minlength=len(index))
    return FactorBlock(index, z_columns, counts, products)


def pair_blocks(rows: Rows, factors: tuple[FactorBlock, ...]) -> Pairs:
    """Sum within the pairs of levels that occur, for every two factors i < j."""
    return {
        (i, j): _pair_block(rows, factors, i, j) for i, j in combinations(range(len(factors)), 2)
    }


def _pair_block(rows: Rows, factors: tuple[FactorBlock, ...], i: int, j: int) -> PairBlock:
    first, second = factors[i], factors[j]
    codes = rows.codes
    if (parents := _containing_levels(codes[i], codes[j], len(first.index))) is not None:
        return _nested_pairs(first, second, parents)
    if (parents := _containing_levels(codes[j], codes[i], len(second.index))) is not None:
        return _nested_pairs(second, first, parents).transposed
    width = len(second.index)
    pairs, which = np.unique(pair_keys(codes[i], codes[j], width), return_inverse=True)
    counts, products = _pair_sums(rows, which, len(pairs), first.columns, second.columns)
    of_first, of_second = np.divmod(pairs, width)
    return PairBlock(of_first.astype(np.intp), of_second.astype(np.intp), counts, products)


def pair_blocks_like(rows: Rows, factors: tuple[FactorBlock, ...], pairs: Pairs) -> Pairs:
    """Sum within pairs of levels that are known; a pair without rows gets zeros."""
    result = {}
    for (i, j), known in pairs.items():
        if known.parents(len(factors[i].index)) is not None:
            which = rows.codes[i]
        else:
            which = known.find(rows.codes[i], rows.codes[j], len(factors[j].index))
        counts, products = _pair_sums(
            rows, which, len(known.rows), factors[i].columns, factors[j].columns
        )
        result[i, j] = PairBlock(known.rows, known.columns, counts, products)
    return result


def _pair_sums(
    rows: Rows, which: IntArray, n_pairs: int, first: tuple[int, ...], second: tuple[int, ...]
) -> tuple[IntArray, FloatArray]:
    products = np.empty((len(first), len(second), n_pairs))
    counts = np.bincount(which, minlength=n_pairs)
    columns, weights = rows.columns, rows.weights
    for a, u in enumerate(first):
        data = columns[:, u] if weights is None else columns[:, u] * weights
        for b, v in enumerate(second):
            products[a, b] = np.bincount(which, data * columns[:, v], minlength=n_pairs)
    return counts, products


def _containing_levels(fine: IntArray, coarse: IntArray, n_fine: int) -> IntArray | None:
    """Return the coarse level of every fine one, None where the factors are not nested."""
    parents = np.empty(n_fine, dtype=np.intp)
    parents[fine] = coarse
    return parents if np.array_equal(parents[fine], coarse) else None


def _nested_pairs(fine: FactorBlock, coarse: FactorBlock, parents: IntArray) -> PairBlock:
    """Read the pairs of nested factors off the products of the finer one."""
    products = fine.products[:, list(coarse.columns), :].copy()
    return PairBlock(np.arange(len(fine.index)), parents, fine.counts, products)


def within_block(rows: Rows, gram: FloatArray, factors: tuple[FactorBlock, ...]) -> Within | None:
    """Sum products of deviations within the levels of the largest factor, if they lie far apart."""
    if not factors:
        return None
    largest = max(range(len(factors)), key=lambda i: len(factors[i].index))
    if not is_far_apart(gram, factors[largest].products):
        return None
    return within_of(rows, factors, largest)


def within_of(rows: Rows, factors: tuple[FactorBlock, ...], factor: int) -> Within:
    """Sum products of deviations within the levels of one factor."""
    products = factors[factor].products
    return Within(factor, within_levels(rows.columns, rows.weights, rows.codes[factor], products))


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
    between = float(np.sum(products[0, -1] ** 2 / products[0, 0]))
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
    weighted = deviations if weights is None else deviations * weights[:, None]
    return np.asarray(deviations.T @ weighted)


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
