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

_FAR_APART = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Within:
    """Products of deviations from the means of the levels of one factor.

    Parameters
    ----------
    factor : int
        Position of the factor in the layout, the one with most levels.
    gram : ndarray of shape (n_columns, n_columns)
        Weighted products of the deviations of [1, features, y].
    """

    factor: int
    gram: FloatArray


def is_far_apart(gram: FloatArray, products: FloatArray) -> bool:
    """Return whether the means of the levels make up all but 1e-4 of the response.

    Parameters
    ----------
    gram : ndarray of shape (n_columns, n_columns)
        Weighted products of the columns.
    products : ndarray of shape (k, n_columns, n_levels)
        The same within every level, the constant first.

    Returns
    -------
    bool
        Then the residual would lose digits by subtraction.
    """
    between = float(np.sum(products[0, -1] ** 2 / products[0, 0]))
    return bool(gram[-1, -1] - between < _FAR_APART * gram[-1, -1])


def within_levels(
    columns: FloatArray, weights: FloatArray | None, codes: IntArray, products: FloatArray
) -> FloatArray:
    """Sum the products of deviations from level means, in a second pass over the rows.

    Parameters
    ----------
    columns : ndarray of shape (n, n_columns)
        [1, features, y].
    weights : ndarray of shape (n,) or None
        Positive weights.
    codes : ndarray of int of shape (n,)
        Level of every row.
    products : ndarray of shape (k, n_columns, n_levels)
        Products within every level, the constant first.

    Returns
    -------
    ndarray of shape (n_columns, n_columns)
        The sums.
    """
    means = products[0] / np.where(products[0, 0] > 0, products[0, 0], 1.0)
    deviations = columns - np.ascontiguousarray(means.T)[codes]
    weighted = deviations if weights is None else deviations * weights[:, None]
    return np.asarray(deviations.T @ weighted)


def by_subtraction(gram: FloatArray, products: FloatArray) -> FloatArray:
    """Return the same sums from the products alone, where the levels do not lie far apart.

    Parameters
    ----------
    gram : ndarray of shape (n_columns, n_columns)
        Weighted products of the columns.
    products : ndarray of shape (k, n_columns, n_levels)
        The same within every level, the constant first.

    Returns
    -------
    ndarray of shape (n_columns, n_columns)
        The sums.
    """
    return np.asarray(gram - (products[0] / products[0, 0]) @ products[0].T)


def between_parts(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return what two sets of rows add to the sums within levels by the difference of their means.

    Parameters
    ----------
    first, second : ndarray of shape (n_columns, n_levels)
        Sums of the columns in the levels that both sets have, the constant first.

    Returns
    -------
    ndarray of shape (n_columns, n_columns)
        Sum of w_1 w_2 / (w_1 + w_2) times the products of the differences (Chan, Golub & LeVeque
        1983, doi:10.1080/00031305.1983.10483115).
    """
    difference = first / first[0] - second / second[0]
    weight = first[0] * second[0] / (first[0] + second[0])
    return np.asarray((difference * weight) @ difference.T)
