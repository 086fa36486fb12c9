"""Satterthwaite's degrees of freedom.

The variance l'C l of a linear function of the coefficients is an estimate, and is treated as a
multiple of chi-squared with the degrees of freedom that match its variance,

    df = 2 (l'C l)^2 / var(l'C l),     var(l'C l) = g'A g,

g being its derivative in the variance parameters and A their covariance (Giesbrecht & Burns 1985;
Kuznetsova, Brockhoff & Christensen 2017, doi:10.18637/jss.v082.i13). With the parameters theta and
log sigma^2, and v = l'V_b l,

    1 / df = 1 / nu + h'K^-1 h / v^2,     h = dv / d theta - q v / nu.
"""

from __future__ import annotations

import numpy as np

from skmixed.core.layout import FloatArray
from skmixed.inference.curvature import Curvature

_SAME_DEGREES = 1e-8  # relative spread of degrees of freedom that differ by rounding only


def satterthwaite(curvature: Curvature, covariance: FloatArray, rows: FloatArray) -> FloatArray:
    """Return the degrees of freedom of linear functions of the coefficients, (m,), at most nu.

    `covariance` is V_b, (p, p), and `rows`, (m, p), are the functions in scaled units.
    """
    v = np.einsum("mi,ij,mj->m", rows, covariance, rows)
    g = np.einsum("mi,tij,mj->mt", rows, curvature.slopes, rows)
    h = g - np.outer(v, curvature.shares / curvature.degrees)
    excess = np.einsum("mt,ts,ms->m", h, curvature.inverse, h)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(1.0 / (1.0 / curvature.degrees + excess / v**2))


def joint_degrees(degrees: FloatArray) -> float:
    """Return denominator degrees of freedom for a mean of q squared independent t statistics.

    The F distribution then has the mean of theirs, whose degrees are `degrees`, (q,); 2 if some t
    has no variance (Fai & Cornelius 1996, doi:10.1080/00949659608811740).
    """
    if np.ptp(degrees) < _SAME_DEGREES * degrees.max():
        return float(degrees.mean())
    if (degrees <= 2.0).any():
        return 2.0
    total = float((degrees / (degrees - 2.0)).sum())
    return 2.0 * total / (total - len(degrees))
