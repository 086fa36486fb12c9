"""Least squares of a curve without random effects: a fit of its own, or a start for others."""

from __future__ import annotations

import math

import numpy as np

from skmixed.core.linalg import FloatArray, trust_region_step
from skmixed.core.nonlinear.curve_rows import CurveRows
from skmixed.core.search.report import Iteration, SolverReport
from skmixed.core.search.trust_region import new_radius

_NEGLIGIBLE_STEP = 1e-9  # of the residual: what a step promises at an optimum to nearly all digits
_NO_RADIUS = 1e-12  # relative to the steps that were taken: nothing is lower
_FREE_RADIUS = 1e3  # times the first step: no bound until a step has failed
_SETTLED_PROMISE = 1e-10  # of the squares: a promise so small at the end is rounding's
_LOWER = 1e-4  # achieved to predicted decrease: a step is taken for any real progress


def pooled_least_squares(
    rows: CurveRows, beta: FloatArray, max_iter: int
) -> tuple[FloatArray, SolverReport]:
    """Search for the coefficients, (n_fixed,), that are best without random effects.

    Steps are Gauss and Newton's within a trust region, in units of the columns. Raises
    FloatingPointError where the curve is not finite at the start.
    """
    effects = rows.no_effects()
    made_of = rows.made_of
    residual = rows.residuals(beta, effects)
    square = float(residual @ residual)
    if not np.isfinite(square):
        raise FloatingPointError("the curve is not finite at the start")
    radius, trace = np.inf, []
    message, converged = f"max_iter={max_iter} was reached", False
    columns: FloatArray | None = None
    for _ in range(max_iter):
        if columns is None:
            slopes = rows.curve.slopes(rows.parameters(beta, effects), rows.inputs)[1]
            owners = made_of.owners[made_of.fixed]
            columns = rows.weighted(slopes[:, owners] * rows.columns[:, made_of.fixed])
            gram = columns.T @ columns
            units = 1.0 / np.sqrt(np.where(gram.diagonal() > 0.0, gram.diagonal(), np.inf))
            gram *= units[:, None] * units
            slope = -units * (columns.T @ residual)
        step, promised = trust_region_step(2.0 * slope, 2.0 * gram, radius)
        predicted = float(promised)
        length = float(np.linalg.norm(step))
        tried = beta + units * step
        moved = rows.residuals(tried, effects)
        lower = square - float(moved @ moved)
        ratio = lower / predicted if predicted > 0.0 and math.isfinite(lower) else -1.0
        taken = bool(ratio > _LOWER)
        trace.append(Iteration(square, float(2.0 * np.linalg.norm(slope)), length, taken, 0.0))
        if predicted <= _NEGLIGIBLE_STEP**2 * square:
            converged, message = True, "a step promises nothing"
            if lower >= 0.0:
                beta = tried
            break
        if taken:
            beta, residual, columns = tried, moved, None
            square -= lower
        radius = float(new_radius(ratio, length, min(radius, _FREE_RADIUS * length)))
        if radius <= _NO_RADIUS * np.sqrt(square):
            converged = predicted <= _SETTLED_PROMISE * square
            message = "no shorter step is lower"
            break
    return beta, SolverReport("gauss-newton", converged, len(trace), message, tuple(trace))
