"""Where the criterion of a covariance over visits is lowest.

Newton's method in phi with the exact Hessian in a trust region, from the moments of least-squares
residuals. Ends that are none are found out: parameters that the data do not tell, and likelihoods
that grow for ever as the covariance becomes singular, because few subjects have all visits and some
contrast of visits is fitted exactly.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from skmixed.core.elimination.protocol import LostPrecisionError
from skmixed.core.linalg import FloatArray, trust_region_step
from skmixed.core.residual.visits.small_samples import fixed_terms
from skmixed.core.residual.visits.visits_likelihood import (
    VisitEvaluation,
    VisitModel,
    evaluate_visits,
)
from skmixed.core.residual.visits.visits_structure import (
    NEARLY_SINGULAR,
    VisitStructure,
    least_correlation_value,
)
from skmixed.core.search.report import Callback, Iteration, SolverReport
from skmixed.core.search.state import ESCAPE_GAIN, NO_GAIN, SMALLEST_RADIUS
from skmixed.core.search.trust_region import (
    ACCEPTED_RATIO,
    ROUNDING_MARGIN,
    is_interior,
    judged,
    new_radius,
)

_FITTED_EXACTLY = 1e-12  # of the mean square of all residuals: less is rounding
_LEAST_TO_START = 0.1  # of the correlations of a start, from which any others can be reached
_FEW_TOGETHER = 5  # subjects: fewer say too little of a correlation to start from it
_VANISHED = 1e-12  # the same with many: what is left has no digits
_UNTOLD = 1e-10  # of the largest eigenvalue: less information says nothing of a parameter
_MOST_ROUNDING = 1e-4  # of the criterion: more moves estimates by a part of their errors
_ENDED = "the criterion cannot be lowered further"
_CUT_SHORT = "the number of evaluations reached max_iter"
_LOST = (
    "the sums have too few digits: visits nearly determine each other, or lie many orders of "
    "magnitude apart. Centre the response or put the visits on one scale"
)


@dataclass(frozen=True, slots=True)
class VisitSearch:
    """Settings of a search."""

    tol: float = 1e-8  # a decrease of the criterion that does not matter
    max_iter: int = 200  # most evaluations
    callback: Callback | None = None  # called with every `Iteration`

    def solve(
        self,
        model: VisitModel,
        structure: VisitStructure,
        held: Mapping[int, float] | None = None,
        begin: FloatArray | None = None,
    ) -> tuple[FloatArray, VisitEvaluation, SolverReport]:
        """Minimise the criterion of a model that leaves a residual; return phi, (q,), there.

        Entries of phi may be held. The search begins from the moments of the residuals, or from a
        phi, (q,), that is known to be near. Raises ValueError if the data do not tell the
        parameters, or the covariance becomes singular on the way down.
        """
        held = held or {}
        starts = moment_starts(model, structure) if begin is None else [begin.copy()]
        best = self._from(model, structure, starts, held)
        for other in structure.other_starts(best.phi):
            again = self._from(model, structure, [other], held)
            if again.current.criterion < best.current.criterion - ESCAPE_GAIN:
                best, again = again, best
            best.n_evaluations += again.n_evaluations
        return best.phi, best.current, best.report()

    def _from(
        self,
        model: VisitModel,
        structure: VisitStructure,
        starts: Sequence[FloatArray],
        held: Mapping[int, float],
    ) -> _PhiSearch:
        """Search from the best of some starts, with entries of phi held."""
        for phi in starts:
            phi[list(held)] = list(held.values())
        search = _PhiSearch(self, model, structure, starts, list(held))
        while not search.has_ended and search.n_evaluations < self.max_iter:
            search.step()
        return search


class _PhiSearch:
    """Where a search stands."""

    def __init__(
        self,
        settings: VisitSearch,
        model: VisitModel,
        structure: VisitStructure,
        starts: Sequence[FloatArray],
        held: list[int],
    ) -> None:
        self.settings, self.model, self.structure = settings, model, structure
        self.held = held
        self.began = time.perf_counter()
        self.deviations = felt_deviations(*model.residual_moments())
        self.n_evaluations = 0
        found = [self.evaluate(phi) for phi in starts]
        place = int(np.argmin([each.criterion for each in found]))
        self.phi, self.current = starts[place], found[place]
        check_told(self.current, structure, self.phi)
        self.radius = 1.0
        self.trace: list[Iteration] = []
        self.converged, self.has_ended = False, False
        if structure.n_phi == 0:
            self.end(converged=True)

    def evaluate(self, phi: FloatArray) -> VisitEvaluation:
        self.n_evaluations += 1
        return evaluate_visits(self.model, self.structure.covariance(phi))

    def end(self, *, converged: bool) -> None:
        self.converged, self.has_ended = converged, True

    def step(self) -> None:
        """Try one step."""
        slope, hessian = local_model(self.current, self.structure, self.phi)
        slope[self.held] = hessian[self.held] = hessian[:, self.held] = 0.0
        units = self.structure.units(self.phi)
        slope, hessian = slope * units, hessian * np.outer(units, units)
        step, promised = trust_region_step(slope, hessian, self.radius)
        predicted, length = float(promised), float(np.linalg.norm(step))
        noise = ROUNDING_MARGIN * self.current.rounding
        if predicted < min(NO_GAIN, self.settings.tol):
            return self.end(converged=True)
        accepted = self.try_out(self.phi + units * step, predicted, length)
        is_last = predicted < max(self.settings.tol, noise)
        if is_last and self.is_interior and (accepted or predicted < noise):
            self.end(converged=True)
        elif self.radius < SMALLEST_RADIUS:
            self.end(converged=False)
        self.record(float(np.linalg.norm(slope)), length, accepted)
        return None

    def try_out(self, phi: FloatArray, predicted: float, length: float) -> bool:
        """Evaluate the criterion at another phi, (q,); go there if it is lower."""
        self.is_interior = is_interior(length, self.radius)
        try:
            trial = self.evaluate(phi)
        except LostPrecisionError:
            self.radius = length / 4.0
            return False
        gained = self.current.criterion - trial.criterion
        ratio = judged(gained, predicted, self.current.rounding)
        self.radius = float(new_radius(ratio, length, self.radius))
        if ratio <= ACCEPTED_RATIO:
            return False
        self.phi, self.current = phi, trial
        check_bounded(trial, self.structure, self.deviations)
        return True

    def record(self, gradient_norm: float, length: float, accepted: bool) -> None:
        seconds = time.perf_counter() - self.began
        line = Iteration(self.current.criterion, gradient_norm, length, accepted, seconds)
        self.trace.append(line)
        if self.settings.callback is not None:
            self.settings.callback(line)

    def report(self) -> SolverReport:
        """Return how the search went; what rounding has the say in has not converged."""
        is_lost = self.has_ended and not self.converged
        is_lost = is_lost or self.current.rounding > _MOST_ROUNDING
        message = _LOST if is_lost else _ENDED if self.converged else _CUT_SHORT
        converged = self.converged and not is_lost
        return SolverReport("newton", converged, self.n_evaluations, message, tuple(self.trace))


def local_model(
    evaluation: VisitEvaluation, structure: VisitStructure, phi: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the gradient, (q,), and the exact second derivatives, (q, q), in phi."""
    slopes = structure.slopes(phi)
    hessian = evaluation.hessian(slopes) + structure.curvature(phi, evaluation.gradient)
    return np.tensordot(slopes, evaluation.gradient, 2), hessian


def moment_starts(model: VisitModel, structure: VisitStructure) -> list[FloatArray]:
    """Return values of phi, (q,), near the second moments of the least-squares residuals."""
    moments, together = model.residual_moments()
    felt = felt_deviations(moments, together)
    overall = np.sqrt(moments.diagonal() @ together.diagonal() / together.trace())
    deviations = np.where(felt > 0.0, felt, overall)
    correlations = moments / np.outer(deviations, deviations)
    correlations[together < _FEW_TOGETHER] = 0.0
    np.fill_diagonal(correlations, 1.0)
    values, vectors = np.linalg.eigh(correlations)
    starts = []
    if _VANISHED < values[0] < _LEAST_TO_START:
        starts.append(structure.near(deviations, correlations, together))
    lifted = (vectors * np.maximum(values, _LEAST_TO_START)) @ vectors.T
    sizes = np.sqrt(lifted.diagonal())
    lifted /= np.outer(sizes, sizes)
    return [*starts, structure.near(deviations, lifted, together)]


def felt_deviations(moments: FloatArray, together: FloatArray) -> FloatArray:
    """Return the deviations, (V,), of moments, (V, V), zero where that may be rounding."""
    variances = moments.diagonal()
    overall = variances @ together.diagonal() / together.trace()
    return np.sqrt(np.where(variances > _FITTED_EXACTLY * overall, variances, 0.0))


def check_told(evaluation: VisitEvaluation, structure: VisitStructure, phi: FloatArray) -> None:
    """Raise ValueError if the data say nothing of some parameters."""
    directions = np.concatenate([evaluation.sigma[None], structure.slopes(phi)])
    without_mean = evaluation.quartic(directions, evaluation.information)
    sizes = np.sqrt(without_mean.diagonal())
    if (sizes > 0.0).all():
        information = fixed_terms(evaluation, directions).information
        if np.linalg.eigvalsh(information / np.outer(sizes, sizes))[0] > _UNTOLD:
            return
    raise ValueError(_untold(evaluation.model.sums.together, structure))


def _untold(together: FloatArray, structure: VisitStructure) -> str:
    """Say which parameters the data do not tell, and what to do."""
    wanted = f"take {structure.simpler}" if structure.simpler else "leave visits out"
    absent = np.flatnonzero(together.diagonal() == 0.0)
    if len(absent):
        return f"no row is at the visit {structure.visits[absent[0]]!r}: leave it out"
    for name, i, j in structure.free_correlations:
        lag = j - i
        alone = together[i, j] if name.startswith("correlation") else together.trace(lag)
        if alone == 0.0:
            apart = f"at both {structure.visits[i]!r} and {structure.visits[j]!r}"
            where = apart if name.startswith("correlation") else f"at two visits {lag} apart"
            return f"no subject was seen {where}, so that {structure.written} is not told: {wanted}"
    return (
        f"the data do not tell the parameters of {structure.written} apart: a visit has too few "
        f"rows, or the fixed part follows them. Drop fixed columns, or {wanted}"
    )


def check_bounded(
    evaluation: VisitEvaluation, structure: VisitStructure, deviations: FloatArray
) -> None:
    """Raise ValueError if the covariance has become singular.

    Standard deviations are compared with those of least-squares residuals, (V,).
    """
    sums, rank = evaluation.model.sums, len(evaluation.lower) - 1
    sizes = np.sqrt(evaluation.sigma.diagonal())
    vanished = np.flatnonzero(sizes * np.sqrt(evaluation.sigma2) < NEARLY_SINGULAR * deviations)
    if len(vanished):
        raise ValueError(
            f"the likelihood of {structure.written} has no maximum: it grows for ever as the "
            f"variance of the visit {structure.visits[vanished[0]]!r} vanishes, because the fixed "
            "part fits its rows exactly. Leave the visit out, fit by REML, or give all visits one "
            "variance"
        )
    least = least_correlation_value(evaluation.sigma)
    if least > (NEARLY_SINGULAR if sums.n_complete <= sums.n_visits + rank else _VANISHED):
        return
    raise ValueError(
        f"the likelihood of {structure.written} has no maximum: it grows for ever as the "
        f"covariance of the {sums.n_visits} visits becomes singular, because some combination of "
        f"visits is fitted exactly in the few subjects who have it ({sums.n_complete} of "
        f"{sums.counts.sum()} have all visits). Leave out visits that few subjects have"
        + (f", or take {structure.simpler}, with fewer parameters" if structure.simpler else "")
    )
