"""Small dense algebra on every level at once: k x k matrices with the levels along the last axis.

Loops run over the k columns; numpy vectorises over the levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class LevelShrinkage:
    """What the levels of one factor contribute to V at a given lambda.

    With A = Z'W Z of a level, D = lambda'A lambda + I = L L'; nothing is divided by lambda, which
    may be singular.
    """

    log_det: float  # sum over levels of log|D|
    whitener: FloatArray  # (k, k, n_levels), T = L^-1 lambda', so that T'T = lambda D^-1 lambda'
    shrinker: FloatArray  # (k, k, n_levels), B = I - A T'T = (I + A Omega)^-1

    @classmethod
    def at(
        cls, products: FloatArray, lam: FloatArray, times: FloatArray | None = None
    ) -> LevelShrinkage:
        """Factor every level of A, (k, k, n_levels), at lambda, any square root of Omega.

        `times`, (n_levels,), says for k = 1 how many levels each stands for.
        """
        if len(lam) == 1:
            return _scalar(products, float(lam[0, 0]), times)
        lower, log_det = cholesky_plus_identity(multiply_right(multiply(lam.T, products), lam))
        whitener = forward_substitute(lower, lam.T[:, :, None])
        shrinker = _shrinker(products, lam, whitener)
        return cls(log_det, whitener, shrinker)


def _scalar(products: FloatArray, lam: float, times: FloatArray | None) -> LevelShrinkage:
    d = 1.0 + lam**2 * products
    logs = np.log(d)
    log_det = float(logs.sum() if times is None else (logs @ times)[0, 0])
    return LevelShrinkage(log_det, lam / np.sqrt(d), 1.0 / d)


def _shrinker(products: FloatArray, lam: FloatArray, whitener: FloatArray) -> FloatArray:
    """Return B = (I + A Omega)^-1; for k = 2 by its adjugate, which does not cancel."""
    k = len(lam)
    if k == 2:
        ao = multiply_right(products, lam @ lam.T)
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
    """Return the Cholesky factor of ``products + I`` of every level and the log-determinant.

    `products` is positive semidefinite, the factor lower triangular, both (k, k, n_levels); the
    log-determinant is summed over levels.
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
    """Solve ``lower @ x = right`` in every level, (k, m, n_levels).

    `lower` is (k, k, n_levels), `right` (k, m, n_levels), or (k, m, 1) for the same in every level.
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
    """Return ``left @ products[:, :, l]`` of every level l, (a, c, n_levels)."""
    b, c, n_levels = products.shape
    product: FloatArray = left @ products.reshape(b, c * n_levels)
    return product.reshape(len(left), c, n_levels)


def multiply_right(products: FloatArray, right: FloatArray) -> FloatArray:
    """Return ``products[:, :, l] @ right`` of every level l, (a, c, n_levels)."""
    return np.asarray(np.matmul(right.T, products))


def multiply_levels(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return ``left[:, :, l] @ right[:, :, l]`` of every level l, (a, c, ..., n_levels).

    Axes between the first two and the last are broadcast.
    """
    if left.shape[1] == 1:
        return left[:, 0, None, :] * right[None, 0, :, :]
    return np.asarray(np.einsum("ab...,bc...->ac...", left, right))


def multiply_transposed(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return ``left[:, :, l].T @ right[:, :, l]`` of every level l, (a, c, n_levels)."""
    return multiply_levels(left.swapaxes(0, 1), right)


def sum_of_grams(values: FloatArray) -> FloatArray:
    """Return the sum of ``values[a] @ values[a].T``, (m, m), of `values`, (k, m, n_levels)."""
    total = np.zeros((values.shape[1], values.shape[1]))
    for value in values:
        total += value @ value.T
    return total


def sum_children(values: FloatArray, parents: IntArray, n_parents: int) -> FloatArray:
    """Sum `values`, (a, b, n_levels), over the levels of each parent, (a, b, n_parents)."""
    a, b, n_levels = values.shape
    flat = values.reshape(a * b, n_levels)
    sums = np.empty((a * b, n_parents))
    for row, target in zip(flat, sums, strict=True):
        target[:] = np.bincount(parents, row, minlength=n_parents)
    return sums.reshape(a, b, n_parents)
