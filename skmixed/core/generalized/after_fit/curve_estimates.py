"""What a fit says of a curve: its coefficients, their errors, and how many they are worth.

A curve has fixed coefficients without a penalty and random effects of one variance, tau^2. With C
the covariance of the errors of all coefficients, P the penalties sigma^2 / tau^2 and K the
cross-products,

    F = (K + P)^-1 K = I - C P / sigma^2

is what an estimate gets of a coefficient. Its trace over the curve is the number of effective
degrees of freedom; tr(2 F - F F) is the one of reference of Wood (2013, doi:10.1093/biomet/ass048).
A coefficient without a penalty counts as one in both. For the others tr(F F) needs
C P C, which is the derivative of C when all penalties grow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.fit import Fit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import Term

_PENALTY_STEP = 1e-4  # of lambda, relative: differences err by its square


@dataclass(frozen=True, slots=True, eq=False)
class CurveEstimate:
    """A curve of all rows as estimated, the fixed coefficients first."""

    coefficients: FloatArray  # (m,), in raw units
    covariance: FloatArray  # (m, m), of their errors at the estimated variances
    means: FloatArray  # (m,), of the columns over the rows
    moments: FloatArray  # (m, m), sums of products of the columns about their means
    deviation: float  # tau, in units of y or of the link
    edf: float  # effective degrees of freedom
    reference: float  # those of reference

    @classmethod
    def of(cls, fit: Fit | GeneralizedFit, term: Term, free: tuple[int, ...]) -> CurveEstimate:
        """Take a curve out of a fit; `free` are the places in the layout of its fixed columns."""
        term = next(own for own in fit.spec.terms if own == term)  # equal is not enough there
        position, block = fit.place_of(term)
        fixed = [fit.spec.fixed.index(place) for place in free]
        fixed = [place for place in fixed if place in fit.kept]
        used = [*(fit.spec.fixed[place] for place in fixed), *term.columns]
        chosen = np.eye(len(fit.products.layout.columns))[:, used]
        means, moments = fit.products.moments(chosen)
        variance = float(fit.term_covariance(term)[0, 0])
        penalised = 0.0, 0.0
        if variance > 0.0:
            working = fit.working if isinstance(fit, GeneralizedFit) else fit
            penalised = _worth(working, position, block, variance / working.sigma2)
        return cls(
            np.append(fit.beta[fixed], fit.modes[position][0, block]),
            _joint_covariance(fit, position, block, fixed),
            means,
            moments * fit.products.total_weight,
            float(np.sqrt(variance)),
            len(fixed) + penalised[0],
            len(fixed) + penalised[1],
        )


def _joint_covariance(
    fit: Fit | GeneralizedFit, position: int, block: slice, fixed: list[int]
) -> FloatArray:
    """Return the covariance of the errors of coefficients and effects, (m, m), in raw units."""
    to_fixed = fit.problem.model.to_raw[[fit.spec.fixed[place] for place in fixed], :-1]
    maps = np.vstack([to_fixed, -_given_way(fit, position)[block]])
    joint = maps @ fit.scaled_beta_covariance @ maps.T
    joint[len(fixed) :, len(fixed) :] += fit.conditional_covariance(position)[0, block, block]
    return np.asarray(joint)


def _given_way(fit: Fit | GeneralizedFit, position: int) -> FloatArray:
    """Return Omega Z'V^-1 X of the only level of a factor, (k, p), in raw effects."""
    evaluation, model = fit.evaluation, fit.problem.model
    cross = evaluation.cross[position][:, :-1, 0]
    return np.asarray(model.random_maps[position] @ evaluation.omegas[position] @ cross)


def _worth(fit: Fit, position: int, block: slice, ratio: float) -> tuple[float, float]:
    """Return tr F and tr(2 F - F F) of the penalised columns of a curve.

    `ratio` is tau^2 / sigma^2.
    """
    variances, slopes = fit.cached(f"curves {position}", lambda: _error_variances(fit, position))
    kept, squared = variances[block] / ratio, slopes[block] / ratio
    return float((1.0 - kept).sum()), float((1.0 - squared).sum())


def _error_variances(fit: Fit, position: int) -> tuple[FloatArray, FloatArray]:
    """Return relative variances of the errors of effects, (k,), and their falls with P, (k,)."""
    ends = []
    for step in (_PENALTY_STEP, -_PENALTY_STEP):
        moved = fit.moved([(1.0 + step) * lam for lam in fit.scaled_lambdas], "other penalties")
        ends.append(_variances_at(moved, position))
    # The penalties fall by twice the step.
    return _variances_at(fit, position), (ends[0] - ends[1]) / (4.0 * _PENALTY_STEP)


def _variances_at(fit: Fit, position: int) -> FloatArray:
    """Return the variances of the errors of effects, (k,), relative to sigma^2."""
    given, maps = _given_way(fit, position), fit.problem.model.random_maps[position]
    relative = fit.evaluation.factorisation.conditional_covariance(position)[:, :, 0]
    variances = ((maps @ relative) * maps).sum(axis=1)
    variances += ((given @ fit.evaluation.beta_covariance) * given).sum(axis=1)
    return np.asarray(variances)
