"""Exact linear algebra: floating-point numbers are fractions, and so are sums and quotients."""

from fractions import Fraction

import numpy as np


def fractions(matrix):
    """Return an array of floating-point numbers as the fractions they are."""
    return np.vectorize(lambda value: Fraction(float(value)), otypes=[object])(matrix)


def floats(matrix):
    """Return an array of fractions, each rounded once."""
    return np.asarray(matrix).astype(float)


def solve(matrix, right):
    """Solve a system of fractions, (n, n) and (n, m), by elimination."""
    left, right = matrix.copy(), right.copy()
    for j in range(len(left)):
        pivot = j + int(np.argmax(left[j:, j] != 0))
        left[[j, pivot]], right[[j, pivot]] = left[[pivot, j]], right[[pivot, j]]
        right[j] = right[j] / left[j, j]
        left[j] = left[j] / left[j, j]
        for i in range(len(left)):
            if i != j and left[i, j]:
                right[i] = right[i] - left[i, j] * right[j]
                left[i] = left[i] - left[i, j] * left[j]
    return right


def identity(n):
    """Return the identity in fractions."""
    return fractions(np.eye(n))


def relative_error(found, exact):
    """Return the largest error of a matrix relative to its largest entry."""
    exact = floats(exact)
    return np.abs(found - exact).max() / np.abs(exact).max()
