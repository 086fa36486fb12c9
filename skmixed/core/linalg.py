"""Dense algebra of a few rows, array types and random numbers: what numpy and scipy leave open.

Matrices here are small, and LAPACK is called without the checks that would cost more than it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.optimize import brentq

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


def eigenvalues(matrix: FloatArray) -> FloatArray:
    """Return the eigenvalues of a symmetric matrix, (k,), ascending; its lower triangle is read."""
    values, _, info = lapack.dsyev(matrix, compute_v=0, lower=1)
    return _checked(values, info)


def eigenpairs(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the eigenvalues of a symmetric matrix, (k,), ascending, and eigenvectors, (k, k).

    A column is an eigenvector. The lower triangle of the matrix is read.
    """
    values, vectors, info = lapack.dsyev(matrix, lower=1)
    return _checked(values, info), np.asarray(vectors)


def is_positive_definite(matrix: FloatArray) -> bool:
    """Tell whether a symmetric matrix has a Cholesky factor; its lower triangle is read.

    It has one if all eigenvalues are positive, but for rounding.
    """
    return bool(lapack.dpotrf(matrix, lower=1)[1] == 0)


def _checked(values: FloatArray, info: int) -> FloatArray:
    if info:
        raise np.linalg.LinAlgError("eigenvalues of a symmetric matrix did not converge")
    return np.asarray(values)


def least_squares(gram: FloatArray) -> tuple[FloatArray, float]:
    """Regress the last column on the others, given their cross-products, (p + 1, p + 1).

    Returns the coefficients, (p,), the shortest solution if the matrix is exactly singular, and the
    residual sum of squares, which rounding may make negative.
    """
    p = len(gram) - 1
    if p == 0:
        return np.empty(0), float(gram[0, 0])
    *_, coef, info = lapack.dgesv(gram[:p, :p], gram[:p, p])
    if info:
        coef = np.asarray(np.linalg.lstsq(gram[:p, :p], gram[:p, p], rcond=None)[0])
    return coef, float(gram[p, p] - gram[:p, p] @ coef)


def generator_of(random_state: Any) -> np.random.Generator:
    """Return a generator of random numbers.

    A Generator is returned itself, so that a second call goes on from there; a RandomState gives a
    seed, and goes on too; from None every call starts anew.
    """
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(0, 2**31, size=4)  # 124 bits
    return np.random.default_rng(random_state)


FLAT_DIRECTION = 1e-11  # eigenvalue, relative to the largest: less is rounding of the Hessian
ACCEPTED_RATIO = 1e-3  # of achieved to predicted decrease: a step is taken for any real progress
POOR_RATIO = 0.1  # below, the quadratic model is far off, and the radius shrinks most
FAIR_RATIO = 0.25  # below, the radius shrinks: the rule of Nocedal & Wright 2006, section 4.1
GOOD_RATIO = 0.75  # above, a step as long as the radius widens it: the same rule
WIDENING = 2.5  # of the radius after a good step
INTERIOR = 0.99  # of the radius: a longer step was cut by it, up to the error of the shift


def trust_region_step(gradient: FloatArray, hessian: FloatArray, radius: float) -> FloatArray:
    """Return the minimiser s, (t,), of g's + s'Hs/2 over |s| <= radius; H may be indefinite.

    It has nothing along directions that are flat to rounding. In the hard case (g has nothing along
    the lowest eigenvector) that eigenvector is added (Nocedal & Wright 2006,
    doi:10.1007/978-0-387-40065-5, section 4.3).
    """
    values, vectors = eigenpairs(hessian)
    along = vectors.T @ gradient
    floor = FLAT_DIRECTION * float(np.abs(values).max()) + np.finfo(float).tiny
    along[np.abs(values) <= floor] = 0.0

    def step(shift: float) -> FloatArray:
        return np.asarray(-along / np.maximum(values + shift, floor))

    convex = values[0] >= -floor
    if convex and np.linalg.norm(step(0.0)) <= radius:
        return np.asarray(vectors @ step(0.0))
    low = max(0.0, -float(values[0])) + floor
    if np.linalg.norm(step(low)) <= radius:  # hard case
        inner = step(low)
        inner[0] = np.copysign(np.sqrt(radius**2 - np.sum(inner[1:] ** 2)), -along[0])
        return np.asarray(vectors @ inner)
    # |step| is at most |along| / shift; a thousandth more makes the bracket strict.
    high = low + 1.001 * float(np.linalg.norm(along)) / radius + floor

    def excess(shift: float) -> float:
        return float(1.0 / np.linalg.norm(step(shift)) - 1.0 / radius)

    if not excess(low) < 0.0 < excess(high):  # nothing but rounding between them
        return np.asarray(vectors @ step(high))
    return np.asarray(vectors @ step(brentq(excess, low, high)))
