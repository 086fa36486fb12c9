"""The deviance of a model with a residual structure, with one parameter of any kind held.

The parameters phi of the structure are free coordinates beside those of the covariances and log
sigma. A parameter that is one entry of phi is held by fixing that. One that is a function of
several, such as the correlation of two visits, is held on its own scale by a constraint on the
search; the slope of the deviance is then the Lagrange multiplier.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.structure import ResidualParameter
from skmixed.inference.components import range_of, scale_of, steepness
from skmixed.inference.profiling.constrained import ConstrainedDeviance, deviance_at
from skmixed.inference.profiling.constrained_search import ConditionedSearch, RoundSearch


@dataclass(frozen=True, eq=False)
class ResidualDeviance(ConstrainedDeviance):
    """A linear mixed model with a residual structure and one parameter held.

    t of a parameter of the structure is its entry of phi or, if there are several, its value on the
    scale of its Wald interval.
    """

    fit: ResidualFit

    @cached_property
    def place(self) -> int | None:
        """The entry of phi that is held, if one is."""
        if self.component.kind != "residual":
            return None
        entries = np.flatnonzero(self._parameter(self.fit.phi).slopes)
        return int(entries[0]) if len(entries) == 1 else None

    @property
    def is_conditioned(self) -> bool:
        """Whether a parameter is held that depends on several entries of phi."""
        return self.component.kind == "residual" and self.place is None

    def _parameter(self, phi: FloatArray) -> ResidualParameter:
        return self.fit.structure.parameters(phi)[self.component.columns[0]]

    def _scaled(self, value: float) -> tuple[float, Any]:
        """Return a value on the scale of its range, and the way back."""
        scaled = scale_of(value, range_of(self.fit, self.component))
        if scaled is None:
            raise FloatingPointError(f"{self.component.name} is on the boundary of its range")
        return scaled

    @property
    def optimum(self) -> float:
        """The value of t at the optimum."""
        if self.is_conditioned:
            return self._scaled(self.component.estimate)[0]
        return super().optimum if self.place is None else float(self.fit.phi[self.place])

    def value(self, t: float) -> float:
        """Return the parameter at a value of t."""
        if self.is_conditioned:
            return float(self._scaled(self.component.estimate)[1](t))
        if self.place is None:
            return super().value(t)
        phi = self.fit.phi.copy()
        phi[self.place] = t
        return self._parameter(phi).value

    @property
    def others(self) -> FloatArray:
        """The logarithm of sigma and phi, except for what is held."""
        return np.append(super().others, self._free(self.fit.phi))

    def _free(self, phi: FloatArray) -> FloatArray:
        return phi if self.place is None else np.delete(phi, self.place)

    def searcher(self) -> RoundSearch:
        """Return a search without second derivatives, constrained if need be."""
        return ConditionedSearch(self) if self.is_conditioned else super().searcher()

    def condition(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Return t at the free coordinates x, (m,), and its derivatives, (m,)."""
        phi = x[len(x) - len(self.fit.phi) :]
        parameter = self._parameter(phi)
        slopes = np.zeros(len(x))
        t = self._scaled(parameter.value)[0]
        slopes[len(x) - len(phi) :] = parameter.slopes * steepness(parameter)
        return t, slopes

    def evaluate(self, x: FloatArray, t: float) -> tuple[float, FloatArray, float]:
        """Return the deviance, its gradient in the free coordinates x, (m,), and its slope in t."""
        n_free = len(self._free(self.fit.phi))
        head, phi = x[: len(x) - n_free], x[len(x) - n_free :]
        if self.place is not None:
            phi = np.insert(phi, self.place, t)
        kind, columns = self.component.kind, self.component.columns
        log_sigma = t if kind == "scale" else float(head[-1])
        held = (columns[0], t) if kind == "coefficient" else None
        terms = self.thetas(head, t)
        found = deviance_at(self.fit.problem_at(phi), self.lambdas(terms), log_sigma, held)
        value, gradient, slope = self._derivatives(found, terms, t)
        in_phi = self.fit.phi_gradient(phi, found.evaluation, found.middle)
        if self.place is not None:
            slope += in_phi[self.place]
        gradient = np.append(gradient, self._free(in_phi))
        if self.is_conditioned:
            _, change = self.condition(x)
            slope = float(change @ gradient / (change @ change))
        return value, gradient, slope
