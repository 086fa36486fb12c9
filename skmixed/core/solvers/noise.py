"""What random vectors leave uncertain in theta: the noise of the gradient through the Hessian."""

from __future__ import annotations

import numpy as np
from scipy.linalg import block_diag

from skmixed.core.evaluation import Evaluation
from skmixed.core.iterative.factorisation import IterativeFactorisation
from skmixed.core.layout import FloatArray
from skmixed.core.solvers.coordinates import Coordinates

_FELT_CURVATURE = 1e-9  # eigenvalue relative to the largest or 1: theta is not determined below
_STUDENT = 3.0  # Student's t: three standard errors from n vectors cover what three do of many


def theta_noise(
    coordinates: Coordinates, evaluation: Evaluation, hessian: FloatArray
) -> FloatArray:
    """Return the covariance of theta over draws of the random vectors, (t, t).

    Zero for what no random vector was needed for. `hessian`, (t, t), holds the second derivatives
    of the criterion at `evaluation`, which has random traces.
    """
    factorisation = evaluation.factorisation
    assert isinstance(factorisation, IterativeFactorisation)
    noise = []
    for f, (lam, pattern) in enumerate(zip(evaluation.factors, coordinates.patterns, strict=True)):
        samples = factorisation.estimated(f).samples
        n = len(samples)
        if n == 1:
            noise.append(np.zeros((len(pattern), len(pattern))))
            continue
        slopes = 2.0 * np.einsum("tij,nij->nt", pattern, samples @ lam, optimize=True)
        noise.append((1.0 + _STUDENT / n) ** 2 * np.atleast_2d(np.cov(slopes.T)) / n)
    inverse = inverse_felt(hessian)
    return np.asarray(inverse @ block_diag(*noise) @ inverse)


def relative_errors(
    coordinates: Coordinates, evaluation: Evaluation, covariance: FloatArray
) -> list[float]:
    """Return the largest Monte Carlo error of a variance of every factor, relative to it.

    `covariance`, (t, t), is that of `theta_noise`. Errors of zero variances count as zero.
    """
    worst = []
    zipped = zip(coordinates.places, coordinates.patterns, evaluation.factors, strict=True)
    for place, pattern, lam in zipped:
        slopes = 2.0 * np.diagonal(pattern @ lam.T, axis1=1, axis2=2)
        errors = np.einsum("ai,ab,bi->i", slopes, covariance[place, place], slopes)
        variances = np.diag(lam @ lam.T)
        seen = variances > 0
        relative = np.sqrt(np.maximum(errors[seen], 0.0)) / variances[seen]
        worst.append(float(relative.max(initial=0.0)))
    return worst


def inverse_felt(hessian: FloatArray) -> FloatArray:
    """Invert a Hessian, (t, t), along the directions in which it is felt; zero along others."""
    values, vectors = np.linalg.eigh(hessian)
    felt = values > _FELT_CURVATURE * max(1.0, float(np.abs(values).max(initial=0.0)))
    return np.asarray((vectors[:, felt] / values[felt]) @ vectors[:, felt].T)
