"""The exact trust-region step for a handful of parameters."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from skmixed.core.layout import FloatArray
from skmixed.core.symmetric import eigenpairs

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
