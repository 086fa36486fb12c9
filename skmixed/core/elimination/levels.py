"""Small dense algebra on every level at once: k x k matrices with the levels along the last axis.

Loops run over the columns where they are few, and numpy vectorises over the levels. Many columns
go to LAPACK and BLAS, level by level or in halves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import lapack

from skmixed.core.linalg import (
    WIDE,
    FloatArray,
    IntArray,
    diagonals,
    left_singular,
    triangular_inverse,
)

_NO_ROOT = 1e-170  # singular value in the place of zero: its square is zero, its inverse is not
_MANY_LEVELS = 2_000  # over which loops run as fast as memory is read
_FEW_LEVELS = 64  # to which LAPACK brings less overhead, a level, than loops, a pair of columns
_LONG_SUMS = 6  # terms: shorter sums are as fast with the levels along the last axis
_MANY_PRODUCTS = 50_000  # fewer do not pay for bringing the levels to the front and back


@dataclass(frozen=True, eq=False)
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
    back: FloatArray  # (k, k, n_levels), L^-1 S^-1 Q'; D of one column

    @classmethod
    def at(
        cls, products: FloatArray, lam: FloatArray, times: FloatArray | None = None
    ) -> LevelShrinkage:
        """Factor every level of A, (k, k, n_levels), at lambda, any square root of Omega.

        `times`, (n_levels,), says for k = 1 how many levels each stands for.
        """
        if len(lam) == 1:
            return _scalar(products, float(lam[0, 0]), times)
        alone = diagonals(lam)
        if alone is not None:
            roots = np.maximum(np.abs(alone), _NO_ROOT)[:, None]
            _, half, log_det = cholesky_plus_identity(roots[:, None] * products * roots)
            whitener, back = half * roots, half / roots
        else:
            root, inverse = invertible_root(lam)
            inner = multiply_right(multiply(root.T, products), root)
            _, half, log_det = cholesky_plus_identity(inner)
            whitener, back = multiply_right(half, root.T), multiply_right(half, inverse)
        return cls(log_det, whitener, back)

    @cached_property
    def shrinker(self) -> FloatArray:
        """B = (I + A Omega)^-1 of every level, (k, k, n_levels)."""
        if len(self.back) == 1:
            return np.asarray(1.0 / self.back)
        return multiply_transposed(self.back, self.whitener)

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
    return LevelShrinkage(log_det, lam / np.sqrt(d), d)


def invertible_root(lam: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return a root of the same covariances that has an inverse, and that inverse, (..., k, k).

    It is Q S of ``lam = Q S P'``; a zero in S stands for the smallest number with an inverse, and
    nothing that is squared can tell the two apart.
    """
    vectors, roots = left_singular(lam)
    roots = np.maximum(roots, _NO_ROOT)[..., None, :]
    return vectors * roots, (vectors / roots).swapaxes(-1, -2)


def cholesky_plus_identity(products: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Return the Cholesky factor of ``products + I`` of every level, its inverse, and log|.|.

    `products` is positive semidefinite, (k, k, ..., n_levels), factor and inverse are lower
    triangular, of the same shape; the log-determinant is summed over levels.
    """
    k, n_levels = len(products), products[0, 0].size
    if k < WIDE or n_levels > _MANY_LEVELS:
        lower, log_det = _cholesky_by_columns(products)
        return lower, _inverse_by_columns(lower), log_det
    if n_levels <= _FEW_LEVELS:
        try:
            return _cholesky_by_level(products)
        except np.linalg.LinAlgError:  # by rounding, where loops go on
            pass
    lower, inverse, h = np.zeros(products.shape), np.zeros(products.shape), k // 2
    lower[:h, :h], inverse[:h, :h], first = cholesky_plus_identity(products[:h, :h])
    below = multiply_levels(products[h:, :h], inverse[:h, :h].swapaxes(0, 1))
    rest = products[h:, h:] - multiply_levels(below, below.swapaxes(0, 1))
    lower[h:, h:], inverse[h:, h:], second = cholesky_plus_identity(rest)
    lower[h:, :h] = below
    inverse[h:, :h] = -multiply_levels(inverse[h:, h:], multiply_levels(below, inverse[:h, :h]))
    return lower, inverse, first + second


def _cholesky_by_level(products: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Do it by LAPACK, which finds the inverse of an upper triangle without exchanging rows."""
    if products[0, 0].size == 1:
        inner = np.array(products.reshape(len(products), -1), order="F")
        inner.ravel(order="K")[:: len(inner) + 1] += 1.0
        whole, info = lapack.dpotrf(inner, lower=1, clean=1, overwrite_a=1)
        if info:
            raise np.linalg.LinAlgError("not positive definite")
        log_det = 2.0 * float(np.log(whole.diagonal()).sum())
        inverse = triangular_inverse(whole, lower=True)
        return whole.reshape(products.shape), inverse.reshape(products.shape), log_det
    lower = np.asarray(np.linalg.cholesky(_levels_first(products) + np.eye(len(products))))
    inverse = np.linalg.inv(lower.swapaxes(-1, -2)).swapaxes(-1, -2)
    log_det = 2.0 * float(np.log(lower.diagonal(axis1=-2, axis2=-1)).sum())
    return _levels_last(lower), _levels_last(inverse), log_det


def _cholesky_by_columns(products: FloatArray) -> tuple[FloatArray, float]:
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


def _inverse_by_columns(lower: FloatArray) -> FloatArray:
    inverse = np.zeros(lower.shape)
    for i in range(len(lower)):
        inverse[i, i] = 1.0 / lower[i, i]
        for j in range(i):
            value = lower[i, j] * inverse[j, j]
            for m in range(j + 1, i):
                value += lower[i, m] * inverse[m, j]
            inverse[i, j] = -value * inverse[i, i]
    return inverse


def _levels_first(matrices: FloatArray) -> FloatArray:
    """Bring the levels of (a, b, ...) to the front, (..., a, b), contiguous."""
    return np.ascontiguousarray(matrices.transpose(*range(2, matrices.ndim), 0, 1))


def _levels_last(matrices: FloatArray) -> FloatArray:
    """Return a view of (..., a, b) with the levels at the end, (a, b, ...)."""
    return matrices.transpose(-2, -1, *range(matrices.ndim - 2))


def multiply(left: FloatArray, products: FloatArray) -> FloatArray:
    """Return ``left @ products[:, :, l]`` of every level l, (a, c, n_levels)."""
    b, c, n_levels = products.shape
    product: FloatArray = left @ products.reshape(b, c * n_levels)
    return product.reshape(len(left), c, n_levels)


def multiply_right(products: FloatArray, right: FloatArray) -> FloatArray:
    """Return ``products[:, :, l] @ right`` of every level l, (a, c, n_levels)."""
    if products.shape[2] == 1:
        return np.asarray(products[:, :, 0] @ right)[:, :, None]
    return np.asarray(np.matmul(right.T, products))


def multiply_levels(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return ``left[:, :, l] @ right[:, :, l]`` of every level l, (a, c, ..., n_levels).

    Axes between the first two and the last are broadcast.
    """
    if left.shape[1] == 1:
        return left[:, 0, None, :] * right[None, 0, :, :]
    if left.shape[1] >= _LONG_SUMS and left.shape[2:] == (1,):
        return np.asarray(np.tensordot(left[:, :, 0], right, axes=1))
    if left.shape[1] >= _LONG_SUMS and left.size * right.shape[1] >= _MANY_PRODUCTS:
        return _levels_last(np.matmul(_levels_first(left), _levels_first(right)))
    return np.asarray(np.einsum("ab...,bc...->ac...", left, right))


def multiply_transposed(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return ``left[:, :, l].T @ right[:, :, l]`` of every level l, (a, c, n_levels)."""
    return multiply_levels(left.swapaxes(0, 1), right)


def sum_of_grams(values: FloatArray) -> FloatArray:
    """Return the sum of ``values[a] @ values[a].T``, (m, m), of `values`, (k, m, n_levels)."""
    if len(values) >= WIDE:
        flat = values.transpose(1, 0, 2).reshape(values.shape[1], -1)
        return np.asarray(flat @ flat.T)
    total = values[0] @ values[0].T
    for value in values[1:]:
        total += value @ value.T
    return np.asarray(total)


def multiply_by_parent(left: FloatArray, right: FloatArray, parents: IntArray) -> FloatArray:
    """Return ``left[:, :, l] @ right[:, :, parents[l]]`` of every level l, (a, c, n_levels)."""
    if right.shape[2] == 1:
        return np.asarray(np.matmul(right[:, :, 0].T, left))
    return multiply_levels(left, right[:, :, parents])


def sum_products(
    left: FloatArray, right: FloatArray, parents: IntArray, n_parents: int
) -> FloatArray:
    """Sum ``left[:, :, l].T @ right[:, :, l]`` over the levels of each parent, (a, c, n)."""
    if n_parents > 1:
        return sum_children(multiply_transposed(left, right), parents, n_parents)
    flat = (each.transpose(1, 0, 2).reshape(each.shape[1], -1) for each in (left, right))
    return np.asarray(next(flat) @ next(flat).T)[:, :, None]


def sum_children(values: FloatArray, parents: IntArray, n_parents: int) -> FloatArray:
    """Sum `values`, (a, b, n_levels), over the levels of each parent, (a, b, n_parents)."""
    a, b, n_levels = values.shape
    flat = values.reshape(a * b, n_levels)
    sums = np.empty((a * b, n_parents))
    for row, target in zip(flat, sums, strict=True):
        target[:] = np.bincount(parents, row, minlength=n_parents)
    return sums.reshape(a, b, n_parents)
