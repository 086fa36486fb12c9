"""Refits of a generalized model to responses drawn from it, and to other rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.generalized.generalized_fitting import fit_at
from skmixed.core.generalized.joint_search.joint_newton import JointNewton, JointOptimum
from skmixed.core.generalized.joint_search.optimum import optimum_of
from skmixed.core.linalg import FloatArray
from skmixed.core.rows.linear_predictor import linear_predictor
from skmixed.core.search.report import SolverReport

_NOT_COMPUTED = (LostPrecisionError, ArithmeticError, np.linalg.LinAlgError)


@dataclass(frozen=True, slots=True, eq=False)
class Estimated:
    """The estimates of one refit, in units of the data; NaN where there is no maximum."""

    beta: FloatArray  # (n_fixed,)
    covariances: Blocks  # (k, k) of the random effects of every used factor
    scales: FloatArray  # (1,), the dispersion; (0,) of a family without one
    thresholds: FloatArray  # (J - 1,), between ordered categories; (0,) of other families
    converged: bool
    singular: bool  # whether some covariance matrix is


@dataclass(frozen=True, slots=True, eq=False)
class Refitted:
    """The optimum of a model of other data, if there is one."""

    observations: Observations | None
    optimum: JointOptimum | None
    report: SolverReport | None
    quadrature: int

    @classmethod
    def of(cls, observations: Observations | None, quadrature: int) -> Refitted:
        """Search for the optimum; impossible data and those without a maximum have none."""
        if observations is None:
            return cls(None, None, None, quadrature)
        if not observations.family.has_maximum(observations.given.columns[:, -1]):
            return cls(observations, None, None, quadrature)
        try:
            optimum, report = optimum_of(observations, quadrature, JointNewton())
        except _NOT_COMPUTED:
            return cls(observations, None, None, quadrature)
        if optimum.separating is not None or report.is_unbounded:
            return cls(observations, None, None, quadrature)
        return cls(observations, optimum, report, quadrature)

    @property
    def fit(self) -> GeneralizedFit | None:
        """All of it, None where there is no maximum."""
        if self.observations is None or self.optimum is None or self.report is None:
            return None
        return fit_at(self.observations, self.optimum, self.report, self.quadrature)

    @property
    def beta(self) -> FloatArray | None:
        """Coefficients in units of the data, (n_fixed,), None where there is no maximum."""
        if self.observations is None or self.optimum is None:
            return None
        raw = self.observations.units.to_raw[:, :-1] @ self.optimum.evaluation.point.beta
        return np.asarray(raw[list(self.observations.spec.fixed)])

    def estimates(self, fit: GeneralizedFit) -> Estimated:
        """Return the estimates of the parameters of a fit."""
        found = self.beta
        if self.observations is None or self.optimum is None or self.report is None:
            beta, scales = np.full_like(fit.beta, np.nan), np.full(len(fit.scales), np.nan)
            omegas = [np.full_like(omega, np.nan) for omega in fit.covariances]
            return Estimated(beta, omegas, scales, _thresholds(fit, beta, fit.phi), False, False)
        point, units = self.optimum.evaluation.point, self.observations.units
        roots = [R @ lam for R, lam in zip(units.random_maps, point.lambdas, strict=True)]
        assert found is not None
        return Estimated(
            found,
            [root @ root.T for root in roots],
            np.array([*fit.scales_at(point.phi).values()]),
            _thresholds(fit, found, point.phi),
            self.report.converged and len(units.kept) == len(fit.kept),
            any(bool((np.diag(lam) == 0.0).any()) for lam in point.lambdas),
        )


def _thresholds(fit: GeneralizedFit, beta: FloatArray, phi: FloatArray) -> FloatArray:
    return fit.thresholds_at(beta, phi) if fit.has_thresholds else np.empty(0)


@dataclass(frozen=True, slots=True, eq=False)
class GeneralizedRefits:
    """Estimates of R replicates, in units of the data; NaN where there is no maximum."""

    beta: FloatArray  # (R, n_fixed)
    covariances: Blocks  # (R, k_f, k_f): of the random effects of every used factor
    scales: FloatArray  # (R, 1), dispersions; (R, 0) of a family without one
    thresholds: FloatArray  # (R, J - 1), between ordered categories; (R, 0) of other families
    converged: NDArray[np.bool_]  # (R,)
    singular: NDArray[np.bool_]  # (R,), whether some covariance matrix is

    @classmethod
    def of(cls, found: Sequence[Estimated]) -> GeneralizedRefits:
        """Stack the estimates of replicates."""
        return cls(
            np.array([each.beta for each in found]),
            [np.array(omegas) for omegas in zip(*[e.covariances for e in found], strict=True)],
            np.array([each.scales for each in found]),
            np.array([each.thresholds for each in found]),
            np.array([each.converged for each in found]),
            np.array([each.singular for each in found]),
        )


def draw_observations(
    fit: GeneralizedFit,
    observations: Observations,
    n_samples: int,
    generator: np.random.Generator,
    random: str = "new",
) -> Iterator[Observations | None]:
    """Yield the rows of a fit with responses drawn from it; None where one is impossible.

    Random effects are drawn, too, or are their modes if `random` is "fitted".
    """
    rows, modes = observations.given, fit.modes
    for _ in range(n_samples):
        effects = modes
        if random == "new":
            effects = [
                generator.standard_normal((len(known), len(lam))) @ lam.T
                for known, lam in zip(modes, fit.lambdas, strict=True)
            ]
        eta = linear_predictor(fit.spec, rows.columns, rows.codes, fit.beta, effects)
        if observations.offset is not None:
            eta += observations.offset
        y = fit.family.draw(eta, rows.weights, fit.phi, generator)
        try:
            yield observations.with_response(y)
        except ValueError:
            yield None


def one_response_a_row(observations: Observations) -> Observations:
    """Return rows each of which has a response of its own, to draw it.

    A row of weight w has w responses, unless the family needs their sum alone. Raises ValueError
    for weights that are no whole numbers.
    """
    weights = observations.given.weights
    if weights is None or observations.family.collapses:
        return observations
    counts = np.round(weights)
    wrong = np.flatnonzero(counts != weights)
    if len(wrong):
        raise ValueError(
            "responses are drawn for whole numbers of rows, and sample_weight is "
            f"{weights[wrong[0]]:g} in row {wrong[0]}"
        )
    return observations.repeated(counts.astype(np.intp))
