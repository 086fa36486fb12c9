"""Newton's method in theta and phi together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.linalg import FloatArray, eigenpairs, semidefinite_cholesky
from skmixed.core.model.evaluation import Evaluation, evaluate
from skmixed.core.residual.joint_derivatives import joint_gradient, joint_model
from skmixed.core.residual.residual_problem import ResidualProblem, check_determined
from skmixed.core.search.coordinates import Coordinates, local_model
from skmixed.core.search.minque import minque_start
from skmixed.core.search.newton import Newton
from skmixed.core.search.report import SolverReport
from skmixed.core.search.state import ESCAPE_GAIN
from skmixed.core.search.theta_search import ThetaSearch
from skmixed.core.search.unbounded import NoMaximumError, evaluate_bounded

_HOPELESS = 4.0  # a parameter above the lowest criterion found: a start with none lower near
_WAY = (0.25, 0.5, 0.75)  # of the way to a known end, where to look for a ridge before it
_LEVEL = 1e-6  # of the largest second derivative: rounding, or what no data of this size tell
_IN_PHI = 1e-2  # of the length of a direction: what is less is no part of it
_STEEP = 1e-3  # a slope in phi that no end of a search has
_FAR_ALONG = 1e3  # of phi: far out, whatever it stands for
_FORWARD_STEP = 1e-5  # of phi, in forward differences of the gradient: half of its digits


_EXPLAINED = (
    "the likelihood has no maximum: fixed and random effects explain some rows without a rest, and "
    "the variance of their residuals runs to zero. Drop random terms, or merge strata"
)


class RunawayError(ValueError):
    """A parameter of the residual structure runs to infinity."""


def search_jointly(
    problem: ResidualProblem,
    settings: Newton,
    held: Mapping[int, float],
    near: Start | None = None,
) -> End:
    """Minimise the criterion in theta and phi, entries of phi being held where given.

    The first search begins `near` an end for like data, if one is known. Returns phi, (q,), last.
    Raises ValueError where the likelihood has no maximum.
    """
    check_determined(problem.independent)
    spent, found, failure = 0, None, None
    starts: list[Start] = [(phi, None) for phi in problem.structure.starts]
    if near is not None:
        starts[0] = near
    for start, omegas in starts:
        phi = start.copy()
        phi[list(held)] = list(held.values())
        search = ResidualSearch(problem, settings, phi, tuple(held))
        try:
            again = search.unless_known(found, omegas)
        except (RunawayError, LostPrecisionError) as error:
            failure = error
            again = None
        except NoMaximumError:
            failure = RunawayError(_EXPLAINED)
            again = None
        spent += search.n_evaluations
        if again is not None and _is_lower(again, found):
            found = again
    if found is None:
        raise failure or ValueError("no search was begun")
    phi = found[2]
    phi[list(held)] = list(held.values())  # which steps move by rounding
    return found[0], replace(found[1], n_evaluations=spent), phi


End = tuple[Evaluation, SolverReport, FloatArray]
"""The model where a search has ended, how it went, and phi, (q,)."""
Start = tuple[FloatArray, Blocks | None]
"""Where to begin: phi, (q,), and relative covariances, (k, k) a factor, scaled, where known."""


def _is_lower(end: End, known: End | None) -> bool:
    return known is None or end[0].criterion < known[0].criterion - ESCAPE_GAIN


class ResidualSearch(ThetaSearch):
    """A search in (theta, phi), phi after theta, from one start."""

    def __init__(
        self,
        tabled: ResidualProblem,
        settings: Newton,
        phi: FloatArray,
        held: tuple[int, ...] = (),
    ) -> None:
        super().__init__(tabled.independent, settings)
        self.tabled = tabled
        self.derivatives = self._joint_model
        self.is_exact = len(tabled.independent.structures) < 2
        self.n_theta = sum(structure.n_theta for structure in tabled.independent.structures)
        self.theta = np.concatenate([np.zeros(self.n_theta), phi])
        self.held = [self.n_theta + place for place in held]

    def unless_known(self, known: End | None, omegas: Blocks | None = None) -> End | None:
        """Search from phi and what it says of theta; None where that would end at a known end.

        It would where the start is high above that, or the criterion falls all the way to it. What
        theta begins from may be given as `omegas`, (k, k) a factor.
        """
        if omegas is None:
            at = self.tabled.at(self.phi)
            omegas = minque_start(at) if at.structures else []
        if known is not None:
            value = self._value(self.phi, omegas)
            highest = known[0].criterion + _HOPELESS * len(self.phi)
            if value > highest or self._leads_down(value, omegas, known):
                return None
        self.start(omegas)
        while self.n_evaluations < self.settings.max_iter:
            if self.descend() and self.has_ended():
                break
        self.check_told_apart()
        evaluation, report = self.finish()
        return evaluation, report, self.phi.copy()

    def check_told_apart(self) -> None:
        """Raise ValueError where the criterion is flat along phi, alone or with theta."""
        if self._local is None:
            return
        _, gradient, hessian = self._local
        falling = np.flatnonzero((np.abs(gradient) > _STEEP) & (hessian.diagonal() == 0.0))
        if len(falling):  # on a straight line, so that no step is the best one
            far = self.phi.copy()
            far[falling[-1] - self.n_theta] = -_FAR_ALONG * np.sign(gradient[falling[-1]])
            self._refuse(far)
        felt = np.flatnonzero(hessian.diagonal())
        values, vectors = eigenpairs(hessian[np.ix_(felt, felt)])
        in_phi = felt >= self.n_theta
        for value, vector in zip(values, vectors.T, strict=True):
            if value > _LEVEL * max(1.0, float(values[-1])) or not in_phi.any():
                return
            if np.abs(vector[in_phi]).max() < _IN_PHI:
                continue
            place = int(felt[in_phi][np.abs(vector[in_phi]).argmax()]) - self.n_theta
            name = self.tabled.structure.parameters(self.phi)[place].name
            others = (
                ""
                if np.abs(vector[~in_phi]).max(initial=0.0) < _IN_PHI
                else (
                    " apart from the random effects: leave out one of the two, or make series of "
                    "more rows"
                )
            )
            raise ValueError(
                f"the rows do not tell {name!r} of the residual structure"
                f"{others or ': leave it out, or merge strata of few rows'}"
            )

    def _value(self, phi: FloatArray, omegas: Blocks) -> float:
        """Return the criterion at phi, (q,), and relative covariances, (k, k) a factor."""
        self.n_evaluations += 1
        roots = [semidefinite_cholesky(omega) for omega in omegas]
        return evaluate(self.tabled.at(phi), roots).criterion

    def _leads_down(self, value: float, omegas: Blocks, known: End) -> bool:
        """Tell whether the criterion falls all the way from a start to a known end."""
        end, _, phi = known
        for share in _WAY:
            zipped = zip(omegas, end.omegas, strict=True)
            between = [omega + share * (there - omega) for omega, there in zipped]
            last, value = value, self._value(self.phi + share * (phi - self.phi), between)
            if value > last:
                return False
        return bool(end.criterion <= value)

    @property
    def phi(self) -> FloatArray:
        """Parameters of the residual structure where the search stands, (q,)."""
        return self.theta[self.n_theta :]

    def theta_of(self, omegas: Blocks) -> FloatArray:
        theta = super().theta_of(omegas) if omegas else np.empty(0)
        return np.concatenate([theta, self.phi])

    def evaluate(self, theta: FloatArray) -> Evaluation:
        self.n_evaluations += 1
        problem = self.tabled.at(theta[self.n_theta :])
        if not self.n_theta:
            return evaluate(problem, [])
        return evaluate_bounded(problem, self.coordinates.lambdas(theta))

    def _joint_model(
        self, evaluation: Evaluation, coordinates: Coordinates, theta: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return gradient, (t + q,), and Hessian in theta and phi; none in what is held."""
        of_theta = theta[: self.n_theta]
        if self.is_exact:
            gradient, hessian = joint_model(self.tabled, evaluation, coordinates, of_theta)
        else:
            gradient, hessian = self._differenced(evaluation, coordinates, theta)
        for place in self.held:
            gradient[place] = hessian[place] = hessian[:, place] = 0.0
        return gradient, hessian

    def _differenced(
        self, evaluation: Evaluation, coordinates: Coordinates, theta: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the model of several factors, with differences of the gradient along phi."""
        t = self.n_theta
        gradient = joint_gradient(self.tabled, evaluation, coordinates, theta[:t])
        hessian = np.zeros((len(theta), len(theta)))
        hessian[:t, :t] = local_model(evaluation, coordinates, theta[:t])[1]
        for place in set(range(t, len(theta))) - set(self.held):
            moved = theta.copy()
            moved[place] += _FORWARD_STEP
            ahead = joint_gradient(self.tabled, self.evaluate(moved), coordinates, theta[:t])
            hessian[place] = hessian[:, place] = (ahead - gradient) / _FORWARD_STEP
        hessian[t:, t:] = (hessian[t:, t:] + hessian[t:, t:].T) / 2.0
        return gradient, hessian

    def gradient_of(self, evaluation: Evaluation, theta: FloatArray) -> FloatArray:
        return joint_gradient(self.tabled, evaluation, self.coordinates, theta[: self.n_theta])

    def descend(self) -> bool:
        has_arrived = super().descend()
        self._refuse(self.phi)
        return has_arrived

    def _refuse(self, phi: FloatArray) -> None:
        """Raise RunawayError where phi, (q,), is far out."""
        advice = self.tabled.structure.runaway(phi)
        if advice is not None:
            raise RunawayError(f"the likelihood has no maximum that can be reached: {advice}")

    def goes_on_straight(self, lambdas: Blocks, gained: float) -> bool:
        return bool(lambdas) and super().goes_on_straight(lambdas, gained)
