"""The deviance of a nonlinear model with one parameter held, by Laplace's approximation.

Coordinates of the covariances are those of linear models, with Lambda absolute. They are followed
by the coefficients, in standard errors from their estimates, the logarithm of sigma, and phi of a
residual structure, except for what is held. Gradients are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray
from skmixed.core.nonlinear.curve_likelihood import IntegratedCurve
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.inference.profiling.constrained import ConstrainedNormal
from skmixed.inference.profiling.constrained_search import NewtonSearch
from skmixed.inference.profiling.term_coordinates import TermPoint


@dataclass(frozen=True, eq=False)
class ConstrainedCurve(ConstrainedNormal):
    """A nonlinear model with one parameter held; t of a ratio is phi, its logarithm."""

    fit: NonlinearFit
    at_optimum: IntegratedCurve
    _kept: dict[str, IntegratedCurve] = field(default_factory=dict)  # modes near the next ones

    is_exact = False  # second derivatives are known by what the gradient does

    # --- the parameter ------------------------------------------------------------------------

    @property
    def optimum(self) -> float:
        """The value of t at the optimum."""
        if self.component.kind == "residual":
            return float(self.at_optimum.phi[self.component.columns[0]])
        return super().optimum

    def value(self, t: float) -> float:
        """Return the parameter at a value of t."""
        if self.component.kind != "residual":
            return super().value(t)
        structure, place = self.at_optimum.of.structure, self.component.columns[0]
        assert structure is not None
        phi = self.at_optimum.phi.copy()
        phi[place] = t
        return structure.parameters(phi)[place].value

    # --- the free coordinates -----------------------------------------------------------------

    @cached_property
    def _errors(self) -> FloatArray:
        """Standard errors of the coefficients, (n_fixed,), 0 for those that are not parameters."""
        return np.sqrt(np.maximum(np.diag(self.fit.beta_covariance), 0.0))

    @cached_property
    def _free(self) -> list[int]:
        """Places of the coefficients that are free."""
        held = self.component.columns[:1] if self.component.kind == "coefficient" else ()
        return [place for place in self.fit.kept if place not in held]

    @cached_property
    def _free_phi(self) -> list[int]:
        held = self.component.columns[:1] if self.component.kind == "residual" else ()
        return [place for place in range(len(self.at_optimum.phi)) if place not in held]

    @property
    def others(self) -> FloatArray:
        """Coefficients in standard errors from their estimates, the logarithm of sigma, and phi."""
        log_sigma = [] if self.component.kind == "scale" else [self.scale_optimum]
        return np.concatenate(
            [np.zeros(len(self._free)), log_sigma, self.at_optimum.phi[self._free_phi]]
        )

    def searcher(self) -> NewtonSearch:
        """Return a search with approximate second derivatives."""
        return NewtonSearch(self)

    # --- the deviance -------------------------------------------------------------------------

    def evaluate_all(self, x: FloatArray, t: float) -> tuple[float, FloatArray, float, FloatArray]:
        """Return the same with second derivatives in x, (m, m), none of which are known."""
        return *self.evaluate(x, t), np.zeros((len(x), len(x)))

    def evaluate(self, x: FloatArray, t: float) -> tuple[float, FloatArray, float]:
        """Return the deviance, its gradient in the free coordinates x, (m,), and its slope in t."""
        kind, terms = self.component.kind, self.thetas(x, t)
        beta, log_sigma, phi = self._parts(x[self.n_of_effects :], t)
        sigma = math.exp(log_sigma)
        lambdas = self.lambdas(terms)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            point = self._at(beta, [lam / sigma for lam in lambdas], phi)
            by_beta, by_lambda = point.gradient_at(sigma**2)
            by_phi = point.phi_gradient_at(sigma**2)
        by_absolute = self._blocks(by_lambda / sigma)
        by_log_sigma = 2.0 * (point.of.rows.n_observations - point.square / sigma**2)
        by_log_sigma -= sum(
            float((own * lam).sum()) for own, lam in zip(by_absolute, lambdas, strict=True)
        )
        gradient, slope = self._of_terms(terms, by_absolute, t)
        gradient.append(by_beta[self._free] * self._errors[self._free])
        if kind == "scale":
            slope += by_log_sigma
        else:
            gradient.append(np.array([by_log_sigma]))
        gradient.append(by_phi[self._free_phi])
        if kind == "coefficient":
            slope += float(by_beta[self.component.columns[0]])
        elif kind == "residual":
            slope += float(by_phi[self.component.columns[0]])
        return point.criterion_at(sigma**2), np.concatenate(gradient), slope

    def _parts(self, others: FloatArray, t: float) -> tuple[FloatArray, float, FloatArray]:
        """Return the coefficients, (n_fixed,), the logarithm of sigma, and phi, (q,)."""
        kind, columns = self.component.kind, self.component.columns
        free, rest = np.split(others, [len(self._free)])
        beta, phi = self.fit.beta.copy(), self.at_optimum.phi.copy()
        beta[self._free] += free * self._errors[self._free]
        if kind == "coefficient":
            beta[columns[0]] = t
        log_sigma = t
        if kind != "scale":
            log_sigma, rest = float(rest[0]), rest[1:]
        phi[self._free_phi] = rest
        if kind == "residual":
            phi[columns[0]] = t
        return beta, log_sigma, phi

    def _at(self, beta: FloatArray, lambdas: Blocks, phi: FloatArray) -> IntegratedCurve:
        """Integrate, searching for the modes from those of the last point."""
        if not all(np.isfinite(part).all() for part in (beta, phi, *lambdas)):
            raise OverflowError("a parameter leaves the range of floating-point numbers")
        near = self._kept.get("point", self.at_optimum)
        point = near.of.at(beta, lambdas, near, phi)
        if not np.isfinite(point.criterion):
            raise FloatingPointError("the deviance is not a finite number")
        self._kept["point"] = point
        return point

    def _blocks(self, by_lambda: FloatArray) -> Blocks:
        """Return the blocks of factors, (k, k) each, of derivatives in all of lambda, (K, K)."""
        ends = accumulate((len(lam) for lam in self.fit.lambdas), initial=0)
        return [by_lambda[first:end, first:end] for first, end in pairwise(ends)]

    def _of_terms(
        self, terms: list[TermPoint], by_lambdas: Blocks, t: float
    ) -> tuple[list[FloatArray], float]:
        """Return the gradient in the coordinates of every term, and the slope in t."""
        gradient, slope = [np.empty(0)], 0.0
        for term, part, theta in terms:
            by_own = by_lambdas[term.position][term.block, term.block]
            slopes = term.structure.root_slopes(theta, term.order)
            own, by_t = term.slopes(part, t, np.einsum("tab,ab->t", slopes, by_own))
            gradient.append(own)
            slope += by_t
        return gradient, slope
