"""Small dense algebra on every level at once: k x k matrices with the levels along the last axis.

Loops run over the k columns; numpy vectorises over the levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.groups import IntArray
from skmixed.core.layout import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class LevelFactor:
    """What one set of levels contributes to V at a given lambda.

    With A = Z'W Z of a level and D = lambda'A lambda + I = L L':

    Parameters
    ----------
    log_det : float
        Sum over levels of log|D|.
    whitener : ndarray of shape (k, k, n_levels)
        T = L^-1 lambda', so that T'T = lambda D^-1 lambda'.
    shrinker : ndarray of shape (k, k, n_levels)
        B = I - A T'T = (I + A Omega)^-1.
    """

    log_det: float
    whitener: FloatArray
    shrinker: FloatArray

    @classmethod
    def at(
        cls, products: FloatArray, factor: FloatArray, times: FloatArray | None = None
    ) -> LevelFactor:
        """Factor every level.

        Parameters
        ----------
        products : ndarray of shape (k, k, n_levels)
            A, symmetric positive semidefinite.
        factor : ndarray of shape (k, k)
            lambda; any square root of Omega.
        times : ndarray of shape (n_levels,) or None
            How many levels each stands for; for k = 1.

        Returns
        -------
        LevelFactor
            Valid on the boundary, where lambda is singular.
        """
        k = len(factor)
        if k == 1:
            return _scalar(products, float(factor[0, 0]), times)
        half = multiply(factor.T, products)
        lower, log_det = cholesky_plus_identity(multiply_right(half, factor))
        whitener = forward_substitute(lower, factor.T[:, :, None])
        shrinker = _shrinker(products, factor, whitener, half)
        return cls(log_det, whitener, shrinker)


def _scalar(products: FloatArray, factor: float, times: FloatArray | None) -> LevelFactor:
    d = 1.0 + factor**2 * products
    logs = np.log(d)
    log_det = float(logs.sum() if times is None else (logs @ times)[0, 0])
    return LevelFactor(log_det, factor / np.sqrt(d), 1.0 / d)


def _shrinker(
    products: FloatArray, factor: FloatArray, whitener: FloatArray, half: FloatArray
) -> FloatArray:
    """Return B = (I + A Omega)^-1; for k = 2 by its adjugate, which does not cancel."""
    k = len(factor)
    if k == 2:
        ao = multiply_right(products, factor @ factor.T)
        (a, b), (c, d) = ao[0], ao[1]
        det = 1.0 + a + d + (a * d - b * c)
        shrinker = np.empty_like(ao)
        shrinker[0, 0], shrinker[0, 1] = (1.0 + d) / det, -b / det
        shrinker[1, 0], shrinker[1, 1] = -c / det, (1.0 + a) / det
        return shrinker
    shrinker = -multiply_levels(products, multiply_transposed(whitener, whitener))
    shrinker[np.arange(k), np.arange(k)] += 1.0
    return shrinker


def cholesky_plus_identity(products: FloatArray) -> tuple[FloatArray, float]:
    """Cholesky factor of ``products + I`` of every level.

    Parameters
    ----------
    products : ndarray of shape (k, k, n_levels)
        Symmetric positive semidefinite.

    Returns
    -------
    lower : ndarray of shape (k, k, n_levels)
        Lower triangular.
    log_det : float
        Sum over levels of the log-determinant.
    """
    k = len(products)
    lower = np.zeros_like(products)
    log_det = 0.0
    for j in range(k):
        pivot = 1.0 + products[j, j]
        for i in range(j):
            pivot -= lower[j, i] ** 2
        np.maximum(pivot, 1.0, out=pivot)  # what it is at least, whatever rounding says
        log_det += float(np.log(pivot).sum())
        lower[j, j] = np.sqrt(pivot)
        for i in range(j + 1, k):
            entry = products[i, j].copy()
            for m in range(j):
                entry -= lower[i, m] * lower[j, m]
            lower[i, j] = entry / lower[j, j]
    return lower, log_det


def forward_substitute(lower: FloatArray, right: FloatArray) -> FloatArray:
    """Solve ``lower @ x = right`` in every level.

    Parameters
    ----------
    lower : ndarray of shape (k, k, n_levels)
        Lower triangular.
    right : ndarray of shape (k, m, n_levels or 1)
        One matrix a level, or the same for every level.

    Returns
    -------
    ndarray of shape (k, m, n_levels)
        The solutions.
    """
    k, m, n_levels = len(right), right.shape[1], lower.shape[2]
    solution = np.empty((k, m, n_levels))
    for i in range(k):
        for c in range(m):
            value = np.empty(n_levels)
            value[:] = right[i, c]
            for j in range(i):
                value -= lower[i, j] * solution[j, c]
            solution[i, c] = value / lower[i, i]
    return solution


def multiply(left: FloatArray, products: FloatArray) -> FloatArray:
    """Return ``left @ products[:, :, l]`` of every level l.

    Parameters
    ----------
    left : ndarray of shape (a, b)
        The same for every level.
    products : ndarray of shape (b, c, n_levels)
        One matrix a level.

    Returns
    -------
    ndarray of shape (a, c, n_levels)
        The products.
    """
    b, c, n_levels = products.shape
    product: FloatArray = left @ products.reshape(b, c * n_levels)
    return product.reshape(len(left), c, n_levels)


def multiply_right(products: FloatArray, right: FloatArray) -> FloatArray:
    """Return ``products[:, :, l] @ right`` of every level l.

    Parameters
    ----------
    products : ndarray of shape (a, b, n_levels)
        One matrix a level.
    right : ndarray of shape (b, c)
        The same for every level.

    Returns
    -------
    ndarray of shape (a, c, n_levels)
        The products.
    """
    return np.asarray(np.matmul(right.T, products))


def multiply_levels(left: FloatArray, right: FloatArray) -> FloatArray:
    """Multiply two matrices in every level.

    Parameters
    ----------
    left : ndarray of shape (a, b, ..., n_levels)
        First factors.
    right : ndarray of shape (b, c, ..., n_levels)
        Second factors; further axes between are broadcast.

    Returns
    -------
    ndarray of shape (a, c, ..., n_levels)
        ``left[:, :, l] @ right[:, :, l]``.
    """
    if left.shape[1] == 1:
        return left[:, 0, None, :] * right[None, 0, :, :]
    return np.asarray(np.einsum("ab...,bc...->ac...", left, right))


def multiply_transposed(left: FloatArray, right: FloatArray) -> FloatArray:
    """Multiply the transpose of a matrix with another in every level.

    Parameters
    ----------
    left : ndarray of shape (b, a, n_levels)
        Matrices to transpose.
    right : ndarray of shape (b, c, n_levels)
        Second factors.

    Returns
    -------
    ndarray of shape (a, c, n_levels)
        ``left[:, :, l].T @ right[:, :, l]``.
    """
    return multiply_levels(left.swapaxes(0, 1), right)


def sum_of_grams(values: FloatArray) -> FloatArray:
    """Sum ``values[a] @ values[a].T`` over the first axis.

    Parameters
    ----------
    values : ndarray of shape (k, m, n_levels)
        The k factors.

    Returns
    -------
    ndarray of shape (m, m)
        Symmetric positive semidefinite.
    """
    total = np.zeros((values.shape[1], values.shape[1]))
    for value in values:
        total += value @ value.T
    return total


def sum_children(values: FloatArray, parents: IntArray, n_parents: int) -> FloatArray:
    """Sum over the levels contained in each coarser level.

    Parameters
    ----------
    values : ndarray of shape (a, b, n_levels)
        One matrix a fine level.
    parents : ndarray of int of shape (n_levels,)
        Coarse level of every fine one.
    n_parents : int
        Number of coarse levels.

    Returns
    -------
    ndarray of shape (a, b, n_parents)
        The sums.
    """
    a, b, n_levels = values.shape
    flat = values.reshape(a * b, n_levels)
    sums = np.empty((a * b, n_parents))
    for row, target in zip(flat, sums, strict=True):
        target[:] = np.bincount(parents, row, minlength=n_parents)
    return sums.reshape(a, b, n_parents)
