"""The exact trust-region step for a handful of parameters."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from skmixed.core.layout import FloatArray
from skmixed.core.symmetric import eigenpairs

_FLAT = 1e-11


def trust_region_step(gradient: FloatArray, hessian: FloatArray, radius: float) -> FloatArray:
    """Minimise g's + s'Hs/2 over |s| <= radius.

    Parameters
    ----------
    gradient : ndarray of shape (t,)
        g.
    hessian : ndarray of shape (t, t)
        H, symmetric; it may be indefinite.
    radius : float
        Longest step allowed.

    Returns
    -------
    ndarray of shape (t,)
        The step; nothing along directions that are flat to rounding. In the hard case (g has
        nothing along the lowest eigenvector) that eigenvector is added (Nocedal & Wright 2006,
        doi:10.1007/978-0-387-40065-5, section 4.3).
    """
    values, vectors = eigenpairs(hessian)
    along = vectors.T @ gradient
    floor = _FLAT * float(np.abs(values).max()) + np.finfo(float).tiny
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
    high = low + 1.001 * float(np.linalg.norm(along)) / radius + floor

    def excess(shift: float) -> float:
        return float(1.0 / np.linalg.norm(step(shift)) - 1.0 / radius)

    if not excess(low) < 0.0 < excess(high):  # nothing but rounding between them
        return np.asarray(vectors @ step(high))
    return np.asarray(vectors @ step(brentq(excess, low, high)))
