"""The deviance of a model with a residual structure, one parameter of any kind held.

Its parameters phi are free coordinates beside those of the covariances and log sigma. Derivatives
in phi are central differences at given covariances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.inference.components import Component
from skmixed.inference.profiling.constrained import ConstrainedDeviance, Deviance, deviance_at

_PHI_STEP = 1e-5  # differences of a deviance of thousands keep eight digits of a slope


@dataclass(frozen=True, eq=False)
class ResidualDeviance(ConstrainedDeviance):
    """A linear mixed model with a residual structure and one parameter held.

    t of a parameter of the structure is the entry of phi that it is a function of.
    """

    fit: ResidualFit

    @cached_property
    def place(self) -> int | None:
        """The entry of phi that is held, if one is."""
        if self.component.kind != "residual":
            return None
        return entry_of(self.fit, self.component)

    @property
    def optimum(self) -> float:
        """The value of t at the optimum."""
        return super().optimum if self.place is None else float(self.fit.phi[self.place])

    def value(self, t: float) -> float:
        """Return the parameter at a value of t."""
        if self.place is None:
            return super().value(t)
        phi = self.fit.phi.copy()
        phi[self.place] = t
        return self.fit.structure.parameters(phi)[self.component.columns[0]].value

    @property
    def others(self) -> FloatArray:
        """The logarithm of sigma and phi, but for what is held."""
        return np.append(super().others, self._free(self.fit.phi))

    def _free(self, phi: FloatArray) -> FloatArray:
        return phi if self.place is None else np.delete(phi, self.place)

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

        def at(phi: FloatArray) -> Deviance:
            return deviance_at(self.fit.problem_at(phi), self.lambdas(terms), log_sigma, held)

        value, gradient, slope = self._derivatives(at(phi), terms, t)
        in_phi = np.empty(len(phi))
        for n, step in enumerate(_PHI_STEP * np.eye(len(phi))):
            in_phi[n] = (at(phi + step).value - at(phi - step).value) / (2.0 * _PHI_STEP)
        if self.place is not None:
            slope += in_phi[self.place]
        return value, np.append(gradient, self._free(in_phi)), slope


def entry_of(fit: ResidualFit, component: Component) -> int | None:
    """Return the entry of phi that a parameter of the structure is a function of, if it is one."""
    entries = np.flatnonzero(fit.residual_parameters[component.columns[0]].slopes)
    return int(entries[0]) if len(entries) == 1 else None
