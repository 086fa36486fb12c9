"""The deviance with one parameter held, in coordinates in which holding it is holding a number.

With sigma and the absolute Lambda = sigma lambda in raw units as coordinates, the deviance is
smooth, on the boundary too. Put first in the pivot order, a standard deviation is the one entry
of its row of Lambda; put second, a row is its standard deviation times (cos a, sin a), where cos a
is the correlation with the first. There both deviations are squares of coordinates, since with the
sign of one that of the correlation would change. The gradient is exact.

As a function of sigma and Lambda the deviance is

    f = log|V| + n log(2 pi sigma^2) + (y - X beta)'V^-1(y - X beta) / sigma^2,

minimised over beta, or over beta but for one coefficient that is held; that changes the others by
generalised least squares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.covariance import Structure
from skmixed.core.model.evaluation import evaluate
from skmixed.core.model.spec import Term
from skmixed.inference.components import Component

LEAST_DEVIATION = 0.1  # unit of a deviation near zero, in residual ones: neither nothing nor large


@dataclass(frozen=True, slots=True, eq=False)
class _TermCoordinates:
    """How the free coordinates x of one term make its theta, (t,), of absolute covariances.

    `held` are the places in theta of what the held parameter is part of, none where it is not of
    this term: of one place t is the entry itself; of three the entries are x_0^2, x_1^2 cos t and
    x_1^2 sin t.
    """

    term: Term
    position: int  # of its factor
    block: slice  # its columns within the factor
    order: IntArray  # (k,), what is held comes first
    held: tuple[int, ...]

    def theta(self, x: FloatArray, t: float) -> FloatArray:
        """Return theta at the free coordinates."""
        if not self.held:
            return x
        own = [t] if len(self.held) == 1 else [x[0] ** 2, *(x[1] ** 2 * _on_circle(t))]
        theta = np.empty(self.structure.n_theta)
        theta[list(self.held)] = own
        theta[self._rest] = x[self.n_own :]
        return theta

    def of_sizes(self, sizes: FloatArray) -> FloatArray:
        """Return the free coordinates of deviations, given in theta with no angle."""
        own = np.sqrt(sizes[list(self.held[:2])]) if self.n_own else np.empty(0)
        return np.concatenate([own, sizes[self._rest]])

    def of_theta(self, theta: FloatArray) -> FloatArray:
        """Return the free coordinates of theta."""
        sizes = theta.copy()
        if self.n_own:
            sizes[self.held[1]] = np.hypot(*theta[list(self.held[1:])])
        return self.of_sizes(sizes)

    def slopes(self, x: FloatArray, t: float, by_theta: FloatArray) -> tuple[FloatArray, float]:
        """Turn a gradient in theta into that in the free coordinates and the slope in t."""
        rest = by_theta[self._rest]
        if not self.held:
            return rest, 0.0
        if not self.n_own:
            return rest, float(by_theta[self.held[0]])
        first, turned = by_theta[self.held[0]], by_theta[list(self.held[1:])]
        own = [2.0 * x[0] * first, 2.0 * x[1] * (_on_circle(t) @ turned)]
        return np.array([*own, *rest]), float(x[1] ** 2 * (_on_circle(t + np.pi / 2.0) @ turned))

    @property
    def structure(self) -> Structure:
        """The covariance structure of the term."""
        return self.term.structure

    @property
    def n_own(self) -> int:
        """Number of free coordinates that the held parameter is turned with."""
        return 2 if len(self.held) > 1 else 0

    @property
    def n_free(self) -> int:
        """Number of free coordinates."""
        return self.structure.n_theta - (1 if self.held else 0)

    @property
    def _rest(self) -> list[int]:
        return [place for place in range(self.structure.n_theta) if place not in self.held]


def _on_circle(angle: float) -> FloatArray:
    return np.array([np.cos(angle), np.sin(angle)])


@dataclass(frozen=True, eq=False)
class ConstrainedDeviance:
    """The model with one parameter held at a value t.

    t is the value itself, its logarithm for sigma, and the angle of a correlation.
    """

    fit: Fit  # by maximum likelihood
    component: Component

    @cached_property
    def optimum(self) -> float:
        """The value of t at the optimum."""
        value = self.component.estimate
        if self.component.kind == "scale":
            return float(np.log(value))
        return float(np.arccos(value)) if self.component.kind == "cor" else value

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and largest t."""
        if self.component.kind == "cor":
            return 0.0, float(np.pi)
        return (0.0, np.inf) if self.component.kind == "sd" else (-np.inf, np.inf)

    def value(self, t: float) -> float:
        """Return the parameter at a value of t."""
        if self.component.kind == "scale":
            return float(np.exp(t))
        return float(np.cos(t)) if self.component.kind == "cor" else t

    @cached_property
    def start(self) -> FloatArray:
        """The free coordinates at the optimum, log sigma last unless it is held."""
        parts = []
        for term in self._terms:
            covariance = self.fit.term_covariance(term.term)
            parts.append(term.of_theta(term.structure.theta(covariance, term.order)))
        sigma = [] if self.component.kind == "scale" else [0.5 * np.log(self.fit.sigma2)]
        return np.concatenate([*parts, sigma]).astype(np.float64)

    @cached_property
    def units(self) -> FloatArray:
        """Sizes of the free coordinates: deviations of the random effects, 1 for log sigma."""
        units = []
        for term in self._terms:
            each = term.structure.lam(np.eye(term.structure.n_theta), term.order)
            sizes = (each.any(axis=-1) * self.sizes(term.term)).max(axis=-1)
            units.append(term.of_sizes(sizes))
        return np.concatenate([*units, np.ones(int(self.component.kind != "scale"))])

    def apart(self, x: FloatArray) -> FloatArray:
        """Return coordinates like x, (m,), of effects that are not correlated: off any boundary."""
        parts = [
            term.of_theta(term.structure.theta(np.diag(self.sizes(term.term) ** 2), term.order))
            for term in self._terms
        ]
        return np.concatenate([*parts, x[len(x) - int(self.component.kind != "scale") :]])

    def sizes(self, term: Term) -> FloatArray:
        """Return the deviations of a term's effects, (k,), at least a share of the residual one."""
        position, block = self.fit.place_of(term)
        rows = np.linalg.norm(self.fit.problem.model.random_maps[position][block, block], axis=1)
        least = LEAST_DEVIATION * np.sqrt(self.fit.sigma2) * rows
        return np.asarray(np.maximum(np.sqrt(np.diag(self.fit.term_covariance(term))), least))

    def evaluate(self, x: FloatArray, t: float) -> tuple[float, FloatArray, float]:
        """Return the deviance, its gradient in the free coordinates x, (m,), and its slope in t."""
        kind, columns = self.component.kind, self.component.columns
        log_sigma = t if kind == "scale" else float(x[-1])
        held = (columns[0], t) if kind == "coefficient" else None
        ends = np.cumsum([term.n_free for term in self._terms], dtype=int)
        parts = np.split(x, ends)[:-1]
        thetas = [term.theta(part, t) for term, part in zip(self._terms, parts, strict=True)]
        lambdas = [np.zeros((s.size, s.size)) for s in self.fit.problem.structures]
        for term, theta in zip(self._terms, thetas, strict=True):
            lam = term.structure.lam(theta, term.order)
            lambdas[term.position][term.block, term.block] = lam
        found = deviance_at(self.fit, lambdas, log_sigma, held)
        gradient, slope = [np.empty(0)], found.by_held
        for term, part, theta in zip(self._terms, parts, thetas, strict=True):
            by_omega = found.by_omegas[term.position][term.block, term.block]
            directions = term.structure.directions(theta, term.order)
            own, by_t = term.slopes(part, t, directions.reshape(len(theta), -1) @ by_omega.ravel())
            gradient.append(own)
            slope += by_t
        if kind == "scale":
            slope += found.by_log_sigma
        else:
            gradient.append(np.array([found.by_log_sigma]))
        return found.value, np.concatenate(gradient), slope

    @cached_property
    def _terms(self) -> list[_TermCoordinates]:
        terms = []
        for term in self.fit.spec.terms:
            order, held = term.structure.natural_order, tuple[int, ...]()
            if term is self.component.term:
                order, held = term.structure.held(self.component.columns)
            terms.append(_TermCoordinates(term, *self.fit.place_of(term), order, held))
        return terms


@dataclass(frozen=True, slots=True, eq=False)
class Deviance:
    """The deviance at one point, with its derivatives."""

    value: float  # -2 log-likelihood
    by_omegas: Blocks  # (k, k) a factor, in the absolute covariance Lambda Lambda'
    by_log_sigma: float  # at given covariances
    by_held: float  # in the coefficient that is held; 0 without


def deviance_at(
    fit: Fit, lambdas: Blocks, log_sigma: float, held: tuple[int, float] | None = None
) -> Deviance:
    """Return the full deviance, minimised over the coefficients that are not held.

    `lambdas` are Lambda of every factor, (k, k) in raw units: any square roots of the covariances.
    `held` is the place among the fixed columns, and the value, of a coefficient that is held.
    Raises an ArithmeticError where
    it cannot be computed.
    """
    problem, model = fit.problem, fit.problem.model
    sigma = math.exp(log_sigma)  # raises OverflowError
    s = (sigma * model.response_scale) ** 2
    if not (0.0 < s < np.inf and all(np.isfinite(lam).all() for lam in lambdas)):
        raise OverflowError("a deviation leaves the range of floating-point numbers")
    scaled = problem.scaled_lambdas([lam / sigma for lam in lambdas])
    evaluation = evaluate(problem, scaled, s)
    square, w, by_held = evaluation.square, evaluation.to_residual, 0.0
    if held is not None:
        place = fit.spec.fixed[held[0]]
        row = model.to_raw[place, :-1]
        target = held[1] * model.response_scale + model.to_raw[place, -1]
        along = evaluation.beta_covariance @ row
        off = (target - float(row @ evaluation.beta)) / float(row @ along)
        w = w - np.append(along * off, 0.0)
        square += off**2 * float(row @ along)
        by_held = 2.0 * off * model.response_scale / s
    value = evaluation.criterion + (square - evaluation.square) / s
    by_scaled = evaluation.slopes(np.outer(w, w / s))
    if not all(np.isfinite(slope).all() for slope in by_scaled):
        raise FloatingPointError("a derivative of the deviance is not a finite number")
    by_omegas = [
        _carried(random_map, slope) / sigma**2
        for random_map, slope in zip(model.random_maps, by_scaled, strict=True)
    ]
    by_log_sigma = 2.0 * (problem.n_observations - square / s) - 2.0 * sum(
        float(((slope @ lam) * lam).sum()) for slope, lam in zip(by_scaled, scaled, strict=True)
    )
    return Deviance(value, by_omegas, by_log_sigma, by_held)


def _carried(random_map: FloatArray, gradient: FloatArray) -> FloatArray:
    """Turn the derivative in the covariance of scaled effects into that of raw ones, (k, k)."""
    half = linalg.solve(random_map, gradient, transposed=True)
    return np.asarray(linalg.solve(random_map, half.T, transposed=True))
