"""Ordinary least squares from cross-products."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from skmixed.core.layout import FloatArray


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
