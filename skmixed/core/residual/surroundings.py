"""A model with a residual structure a small step of each of its parameters from the optimum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skmixed.core.linalg import inverse_felt
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.rows.prediction_errors import NO_CURVATURE, THETA_STEP, MovedFits


def surroundings(fit: ResidualFit) -> MovedFits:
    """Return the surroundings of a fit in theta and phi, evaluated once and kept in its cache."""
    return fit.cached("moved", lambda: _evaluated(fit))


def _evaluated(fit: ResidualFit) -> MovedFits:
    covariance = 2.0 * inverse_felt(fit.curvature.hessian, NO_CURVATURE)
    found = MovedFits.around(fit, covariance)
    steps = THETA_STEP * np.maximum(1.0, np.abs(fit.phi))
    pairs = [
        (fit.at_phi(fit.phi + move), fit.at_phi(fit.phi - move))
        for move in steps[:, None] * np.eye(len(steps))
    ]
    return replace(found, steps=np.append(found.steps, steps), pairs=[*found.pairs, *pairs])
