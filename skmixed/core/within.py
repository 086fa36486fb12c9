"""Sums of squares within the levels of a factor, for data whose levels lie far apart.

Eliminating a random intercept by subtraction loses the digits of the residual where the levels
differ much more than the rows within them. With the sums of squares within levels, Q_w, nothing is
subtracted: R'V^-1 R = Q_w + sum over levels of C'C / (A (1 + lambda^2 A)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.groups import IntArray
from skmixed.core.layout import FloatArray

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
