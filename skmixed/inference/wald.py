"""Wald intervals: from the curvature of the criterion at the optimum."""

from __future__ import annotations

from typing import Any

import numpy as np

from skmixed.core.fit import Fit
from skmixed.core.layout import FloatArray
from skmixed.core.solvers.coordinates import Coordinates
from skmixed.core.spec import Term
from skmixed.inference.components import Component
from skmixed.inference.curvature import Curvature, theta_directions

Limits = tuple[float, float]

_AT_ONE = 1e-12  # from a correlation of +-1: nearer is on the boundary, but for rounding


def variance_limits(fit: Fit, components: list[Component], quantile: float) -> list[Limits]:
    """Return intervals of standard deviations, correlations and sigma by the delta method.

    Deviations are taken to be normal on the scale of their logarithm, correlations on that of
    Fisher's z = atanh r. `components` have no coefficients among them; `quantile` is the half-width
    in standard errors. NaN where the estimate is on the boundary, zero or of absolute value one.
    """
    curvature = Curvature.of(fit)
    covariance = curvature.log_covariance()
    changes = _covariance_changes(fit)
    limits = []
    for component in components:
        scale = _scale(component.estimate, component.kind == "cor")
        if scale is None:
            limits.append((float("nan"), float("nan")))
            continue
        gradient = _gradient(fit, component, changes)
        half = quantile * float(np.sqrt(gradient @ covariance @ gradient))
        middle, back = scale
        with np.errstate(over="ignore"):  # nothing is known of a variance next to zero
            limits.append((float(back(middle - half)), float(back(middle + half))))
    return limits


def _scale(estimate: float, is_correlation: bool) -> tuple[float, Any] | None:
    """Return the estimate on its scale, and the way back; None on the boundary."""
    if is_correlation:
        inside = abs(estimate) < 1.0 - _AT_ONE
        return (float(np.arctanh(estimate)), np.tanh) if inside else None
    return (float(np.log(estimate)), np.exp) if estimate > 0.0 else None


def _covariance_changes(fit: Fit) -> list[FloatArray]:
    """Return the derivative in theta of every factor's covariance, (t_f, k, k).

    It is over sigma^2, in raw units.
    """
    evaluation = fit.evaluation
    directions = theta_directions(evaluation, Coordinates.natural(fit.problem).patterns)
    return [
        random_map @ change @ random_map.T
        for random_map, change in zip(fit.problem.model.random_maps, directions, strict=True)
    ]


def _gradient(fit: Fit, component: Component, changes: list[FloatArray]) -> FloatArray:
    """Return the derivative in theta and log sigma^2 of a component on its scale, (t + 1,)."""
    places = np.cumsum([0] + [len(change) for change in changes])
    gradient = np.zeros(places[-1] + 1)
    if component.kind != "cor":
        gradient[-1] = 0.5
    if component.term is None:
        return gradient
    position, offset = _place(fit, component.term)
    omega = fit.covariances[position] / fit.sigma2
    own = gradient[places[position] : places[position + 1]]
    i = offset + component.columns[0]
    by_variance = changes[position][:, i, i] / omega[i, i]
    if component.kind == "sd":
        own[:] = by_variance / 2.0
        return gradient
    j = offset + component.columns[1]
    root = np.sqrt(omega[i, i] * omega[j, j])
    by_other = changes[position][:, j, j] / omega[j, j]
    r = component.estimate
    own[:] = changes[position][:, i, j] / root - r * (by_variance + by_other) / 2.0
    own /= 1.0 - r**2
    return gradient


def _place(fit: Fit, term: Term) -> tuple[int, int]:
    """Return the position of a term's factor and where its columns begin there."""
    siblings = fit.spec.factor_terms(term.factor)
    before = siblings[: next(n for n, sibling in enumerate(siblings) if sibling is term)]
    start = sum(len(sibling.columns) for sibling in before)
    return fit.spec.used_factors.index(term.factor), start
