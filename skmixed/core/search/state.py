"""Where a trust-region search in theta stands, and how it got there."""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray
from skmixed.core.model.evaluation import Evaluation
from skmixed.core.model.problem import Problem
from skmixed.core.search.coordinates import Coordinates, local_model
from skmixed.core.search.report import Callback, Iteration
from skmixed.core.search.starts import is_like_residual


class SearchSettings(Protocol):
    """What a search is told."""

    @property
    def callback(self) -> Callback | None:
        """Called with every iteration."""
        ...


class SearchState:
    """State of a trust-region search, and the moves that do not depend on how steps are judged."""

    current: Evaluation
    theta: FloatArray
    radius: float

    def __init__(self, problem: Problem, settings: SearchSettings) -> None:
        self.problem = problem
        self._callback = settings.callback
        self.began = time.perf_counter()
        self.trace: list[Iteration] = []
        self.n_evaluations = 0
        self.confounded: tuple[int, ...] = ()
        self.converged, self.message = False, "the number of evaluations reached max_iter"
        self.coordinates = Coordinates.natural(problem)

    def evaluate(self, theta: FloatArray) -> Evaluation:
        """Set the model up at theta, (t,)."""
        raise NotImplementedError

    @property
    def omegas(self) -> Blocks:
        """Relative covariances, (k, k) of every factor, where the search stands."""
        return [lam @ lam.T for lam in self.current.lambdas]

    def units(self) -> FloatArray:
        """Return the unit in which each entry of theta is measured: 1, or its factor's largest."""
        units = np.ones_like(self.theta)
        for place in self.coordinates.places:
            units[place] = max(1.0, float(np.abs(self.theta[place]).max()))
        return units

    def move_to(self, omegas: Blocks) -> None:
        """Start afresh from given covariances."""
        self.coordinates = self.coordinates.pivoted(omegas)
        self.theta = self.coordinates.theta(omegas)
        self.current = self.evaluate(self.theta)
        self.radius = max(1.0, float(np.linalg.norm(self.theta / self.units())) / 2.0)

    def pivot(self) -> None:
        """Change to better coordinates where there are any."""
        omegas = self.omegas
        better = self.coordinates.pivoted(omegas)
        if better is not self.coordinates:
            self.coordinates = better
            self.theta = better.theta(omegas)
            self.current = self.current.with_lambdas(better.factors(self.theta))

    def derivatives(self) -> tuple[FloatArray, FloatArray]:
        """Return gradient, (t,), and second derivatives, (t, t), in theta at this point."""
        return local_model(self.current, self.coordinates.patterns)

    def drop_confounded(self, slope: FloatArray, hessian: FloatArray) -> None:
        """Zero, in place, slopes and curvatures of confounded factors: they are but rounding."""
        for factor in self.confounded:
            place = self.coordinates.places[factor]
            slope[place], hessian[place], hessian[:, place] = 0.0, 0.0, 0.0

    def flat_factors(self, hessian: FloatArray, least: float) -> list[int]:
        """Return the factors in which neither slope nor curvature is felt.

        Their variance cannot be told from other parts of the model. `hessian`, (t, t), is in theta;
        what is felt is at least `least`, relative to the information on the effects.
        """
        flat = []
        for f, place in enumerate(self.coordinates.places):
            if is_like_residual(self.problem, f):
                flat.append(f)
                continue
            felt = least * np.trace(self.current.factorisation.total_information(f))
            slope = np.abs(self.current.gradient[f]).max()
            if slope < felt and np.abs(hessian[place]).max() < felt:
                flat.append(f)
        return flat

    def record(self, criterion: float, gradient_norm: float, step: float, accepted: bool) -> None:
        """Write a line of the trace."""
        seconds = time.perf_counter() - self.began
        line = Iteration(criterion, gradient_norm, step, accepted, seconds)
        self.trace.append(line)
        if self._callback is not None:
            self._callback(line)
