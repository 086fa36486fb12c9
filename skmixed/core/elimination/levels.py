"""Small dense algebra on every level at once: k x k matrices with the levels along the last axis.

Loops run over the k columns; numpy vectorises over the levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray, left_singular

_NO_ROOT = 1e-170  # singular value in the place of zero: its square is zero, its inverse is not


@dataclass(frozen=True, slots=True, eq=False)
class LevelShrinkage:
    """What the levels of one factor contribute to V at a given lambda, which may be singular.

    With A = Z'W Z of a level and any root R of Omega, D = R'A R + I = L L'. From R = Q S with
    orthogonal Q and diagonal S, and T = L^-1 R', follows B = Q S^-1 L'^-1 T without a subtraction,
    where I - A T'T would lose digits in proportion to A Omega.
    """

    log_det: float  # sum over levels of log|D|
    whitener: (
        FloatArray  # (k, k, n_levels), T, so that T'T = lambda (lambda'A lambda + I)^-1 lambda'
    )
    shrinker: FloatArray  # (k, k, n_levels), B = (I + A Omega)^-1

    @classmethod
    def at(
        cls, products: FloatArray, lam: FloatArray, times: FloatArray | None = None
    ) -> LevelShrinkage:
        """Factor every level of A, (k, k, n_levels), at lambda, any square root of Omega.

        `times`, (n_levels,), says for k = 1 how many levels each stands for.
        """
        if len(lam) == 1:
            return _scalar(products, float(lam[0, 0]), times)
        root, inverse = invertible_root(lam)
        lower, log_det = cholesky_plus_identity(multiply_right(multiply(root.T, products), root))
        half = inverse_lower(lower)
        whitener = multiply_right(half, root.T)
        shrinker = multiply_transposed(multiply_right(half, inverse), whitener)
        return cls(log_det, whitener, shrinker)

    def remaining(
        self,
        gram: FloatArray,
        within: FloatArray | None,
        own: FloatArray,
        right: FloatArray,
        white: FloatArray,
    ) -> FloatArray:
        """Return R'V^-1 R, (m, m), for V of these levels, from R'W R, (m, m), as `Reduced` says.

        `own` is Z'W Z, (k, k, n_levels), `right` Z'W R, (k, m, n_levels), and `white` the whitener
        times that.
        """
        if within is None:
            return gram - sum_of_grams(white)
        if len(own) != 1:
            raise ValueError("means of levels stand for one random column, the constant")
        return within + sum_of_grams(right * np.sqrt(self.shrinker / own))


def _scalar(products: FloatArray, lam: float, times: FloatArray | None) -> LevelShrinkage:
    d = 1.0 + lam**2 * products
    logs = np.log(d)
    log_det = float(logs.sum() if times is None else (logs @ times)[0, 0])
    return LevelShrinkage(log_det, lam / np.sqrt(d), 1.0 / d)


def invertible_root(lam: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return a root of the same covariances that has an inverse, and that inverse, (..., k, k).

    It is Q S of ``lam = Q S P'``; a zero in S stands for the smallest number with an inverse, and
    nothing that is squared can tell the two apart.
    """
    vectors, roots = left_singular(lam)
    roots = np.maximum(roots, _NO_ROOT)[..., None, :]
    return vectors * roots, (vectors / roots).swapaxes(-1, -2)


def cholesky_plus_identity(products: FloatArray) -> tuple[FloatArray, float]:
    """Return the Cholesky factor of ``products + I`` of every level and the log-determinant.

    `products` is positive semidefinite, the factor lower triangular, both (k, k, n_levels); the
    log-determinant is summed over levels.
    """
    k = len(products)
    lower = np.zeros(products.shape)
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


def inverse_lower(lower: FloatArray) -> FloatArray:
    """Invert the lower triangular matrix of every level, (k, k, n_levels)."""
    inverse = np.zeros(lower.shape)
    for i in range(len(lower)):
        inverse[i, i] = 1.0 / lower[i, i]
        for j in range(i):
            value = lower[i, j] * inverse[j, j]
            for m in range(j + 1, i):
                value += lower[i, m] * inverse[m, j]
            inverse[i, j] = -value * inverse[i, i]
    return inverse


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
    total = values[0] @ values[0].T
    for value in values[1:]:
        total += value @ value.T
    return np.asarray(total)


def sum_children(values: FloatArray, parents: IntArray, n_parents: int) -> FloatArray:
    """Sum `values`, (a, b, n_levels), over the levels of each parent, (a, b, n_parents)."""
    a, b, n_levels = values.shape
    flat = values.reshape(a * b, n_levels)
    sums = np.empty((a * b, n_parents))
    for row, target in zip(flat, sums, strict=True):
        target[:] = np.bincount(parents, row, minlength=n_parents)
    return sums.reshape(a, b, n_parents)
