"""How far estimates would move with other random vectors, by the delta method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray
from skmixed.core.search.coordinates import Coordinates


@dataclass(frozen=True, slots=True, eq=False)
class MonteCarloErrors:
    """Monte Carlo standard errors of the estimates of one fit, in units of the data.

    They tell how far the estimates would move with other random vectors, the data staying as they
    are.
    """

    covariances: Blocks  # (k, k), of the entries of every used factor's covariance
    sigma2: float  # of the residual variance
    criterion: float  # of -2 log-likelihood at the estimates

    @classmethod
    def of(cls, fit: Fit) -> MonteCarloErrors:
        """Assess a fit by `IterativeSolver`.

        Raises ValueError if nothing in the fit is random.
        """
        noise = fit.report.monte_carlo
        if noise is None:
            raise ValueError("this fit was computed without random vectors: nothing is random")
        evaluation = fit.evaluation
        coordinates = Coordinates.natural(fit.problem.structures)
        changes = coordinates.directions(coordinates.read(evaluation.lambdas))
        by_scores = [
            np.einsum("tij,il,jl->t", change, u, u, optimize=True)
            for change, u in zip(changes, evaluation.scores(), strict=True)
        ]
        logs = -np.concatenate(by_scores) / (evaluation.sigma2 * fit.problem.degrees)
        covariances = []
        zipped = zip(fit.problem.model.random_maps, changes, coordinates.places, strict=True)
        for (random_map, change, place), covariance in zip(zipped, fit.covariances, strict=True):
            slopes = covariance * logs[:, None, None]
            slopes[place] += fit.sigma2 * (random_map @ change @ random_map.T)
            covariances.append(_errors(slopes, noise.covariance))
        sigma2 = float(_errors(fit.sigma2 * logs, noise.covariance))
        return cls(covariances, sigma2, evaluation.factorisation.log_det_error)


def check_exact(fit: Fit, what: str) -> None:
    """Raise ValueError if a fit was made with random vectors.

    `what` needs the criterion or its parts exactly; it is the subject of the message.
    """
    if fit.krylov is not None:
        raise ValueError(
            f"{what} would need the exact likelihood, and this model was fitted with "
            "solver='iterative', which estimates it with random vectors: fit it with "
            "solver='newton' if memory allows, or take Wald intervals and tests"
        )


def _errors(slopes: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return standard errors of functions of theta, (...), given their derivatives, (t, ...)."""
    flat = slopes.reshape(len(slopes), -1)
    squares = np.einsum("ai,ab,bi->i", flat, covariance, flat, optimize=True)
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)).reshape(slopes.shape[1:]))
