"""The deviance with one parameter held fixed, in coordinates in which it is a single number.

With sigma and the absolute Lambda = sigma lambda in raw units as coordinates
(`skmixed.inference.profiling.term_coordinates`), the deviance is smooth, on the boundary too. The
gradient is exact. As a function of sigma and Lambda it is

    f = log|V| + n log(2 pi sigma^2) + (y - X beta)'V^-1(y - X beta) / sigma^2,

minimised over beta, or over all of beta except one coefficient that is held, given which the others
follow by generalised least squares.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import linalg

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray
from skmixed.core.model.evaluation import Evaluation, evaluate
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import Term
from skmixed.inference.components import Component
from skmixed.inference.profiling.constrained_search import RoundSearch, Searcher
from skmixed.inference.profiling.term_coordinates import TermCoordinates, TermPoint

_LEAST_LOG = 7.0  # below the optimum: a thousandth of sigma, which leaves half of the digits
LEAST_DEVIATION = 0.1  # unit of a deviation near zero, in residual standard deviations


@dataclass(frozen=True, eq=False)
class Constrained(ABC):
    """A model with one parameter held at a value t, and free coordinates x, (m,).

    The first of these are those of the covariances of random effects. t is the parameter itself, or
    the angle of a correlation; for a scale it depends on the model.
    """

    fit: Any  # by maximum likelihood
    component: Component

    # --- the parameter ------------------------------------------------------------------------

    @cached_property
    def optimum(self) -> float:
        """The value of t at the optimum."""
        value = self.component.estimate
        if self.component.kind == "scale":
            return self.scale_optimum
        return float(np.arccos(value)) if self.component.kind == "cor" else value

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and largest t."""
        if self.component.kind == "scale":
            return self.least_scale, self.scale_bound
        if self.component.kind == "cor":
            assert self.component.term is not None
            return 0.0, float(np.arccos(self.component.term.structure.least_correlation))
        return (0.0, np.inf) if self.component.kind == "sd" else (-np.inf, np.inf)

    def value(self, t: float) -> float:
        """Return the parameter at a value of t."""
        if self.component.kind == "scale":
            return self.scale(t)
        return float(np.cos(t)) if self.component.kind == "cor" else t

    def limit(self, t: float) -> float:
        """Return the limit of an interval that ends at t."""
        return self.value(t)

    @property
    def rises(self) -> bool:
        """Whether the parameter rises with t, as the cosine of an angle does not."""
        if self.component.kind == "scale":
            return self.scale(0.0) < self.scale(1.0)
        return self.component.kind != "cor"

    @property
    def unit(self) -> float:
        """Unit of t: a standard error, a standard deviation, 1 for a logarithm or an angle."""
        part = self.component
        if part.kind == "coefficient":
            place = part.columns[0]
            return float(np.sqrt(self.fit.beta_covariance[place, place]))
        if part.term is None or part.kind == "cor":
            return 1.0
        return float(self.sizes(part.term)[list(part.columns)].max())

    # --- the free coordinates -----------------------------------------------------------------

    @cached_property
    def start(self) -> FloatArray:
        """The free coordinates at the optimum."""
        parts = []
        for term in self.terms:
            covariance = self.fit.term_covariance(term.term)
            parts.append(term.of_theta(term.structure.theta(covariance, term.order)))
        return np.concatenate([*parts, self.others]).astype(np.float64)

    @cached_property
    def units(self) -> FloatArray:
        """Scales of the free coordinates: deviations of the random effects, 1 for others."""
        units = []
        for term in self.terms:
            sizes = self.sizes(term.term)
            units.append(term.of_sizes(term.structure.sizes_of_theta(sizes[term.order])))
        return np.concatenate([*units, np.ones(len(self.others))])

    @property
    def n_of_effects(self) -> int:
        """Number of coordinates of the covariances of random effects."""
        return sum(term.n_free for term in self.terms)

    def apart(self, x: FloatArray) -> FloatArray:
        """Return coordinates like x, (m,), with uncorrelated effects: off any boundary."""
        parts = [
            term.of_theta(term.structure.theta(np.diag(self.sizes(term.term) ** 2), term.order))
            for term in self.terms
        ]
        return np.concatenate([*parts, x[self.n_of_effects :]])

    def others_like(self, x: FloatArray) -> list[FloatArray]:
        """Return further starting points near x, (m,), for other minima of the deviance.

        They are `apart`, and x without either effect of a held correlation, which may then take any
        value.
        """
        owned = [np.arange(term.n_free) < term.n_own for term in self.terms]
        places = np.flatnonzero(np.concatenate([np.empty(0, dtype=bool), *owned]))
        without = [np.where(np.arange(len(x)) == place, 0.0, x) for place in places]
        return [self.apart(x), *without]

    def sizes(self, term: Term) -> FloatArray:
        """Return the deviations of a term's effects, (k,), at least a share of the residual one."""
        position, block = self.fit.place_of(term)
        rows = np.linalg.norm(self.fit.problem.model.random_maps[position][block, block], axis=1)
        least = LEAST_DEVIATION * np.sqrt(self.fit.sigma2) * rows
        return np.asarray(np.maximum(np.sqrt(np.diag(self.fit.term_covariance(term))), least))

    @cached_property
    def terms(self) -> list[TermCoordinates]:
        """The terms whose covariances are free."""
        terms: list[TermCoordinates] = []
        given: tuple[Term, ...] = self.fit.spec.terms
        for term in given:
            if term.factor in self.fit.unidentified:
                continue
            order, held = term.structure.natural_order, tuple[int, ...]()
            part = self.component
            if term is part.term:
                order, held = term.structure.held(part.columns)
            position, block = self.fit.place_of(term)
            given_part = (held, part.columns, part.kind == "cor") if held else (held,)
            terms.append(TermCoordinates(term, position, block, order, *given_part))
        return terms

    def thetas(self, x: FloatArray, t: float) -> list[TermPoint]:
        """Return every term with its part of x and its theta."""
        ends = np.cumsum([term.n_free for term in self.terms], dtype=int)
        parts = zip(self.terms, np.split(x, ends)[:-1], strict=True)
        return [(term, part, term.theta(part, t)) for term, part in parts]

    def lambdas(self, found: list[TermPoint]) -> Blocks:
        """Return Lambda of every factor, (k, k) in raw units."""
        lambdas = [np.zeros((s.size, s.size)) for s in self.fit.problem.structures]
        for term, _, theta in found:
            lam = term.structure.lam(theta, term.order)
            lambdas[term.position][term.block, term.block] = lam
        return lambdas

    # --- what depends on the model ------------------------------------------------------------

    @property
    @abstractmethod
    def others(self) -> FloatArray:
        """The free coordinates at the optimum that are not of covariances of effects."""

    @property
    @abstractmethod
    def scale_optimum(self) -> float:
        """The value of t of a scale at the optimum."""

    @property
    def least_scale(self) -> float:
        """Least t of a scale."""
        return -float(np.inf)

    @property
    def scale_bound(self) -> float:
        """Largest t of a scale."""
        return float(np.inf)

    @abstractmethod
    def scale(self, t: float) -> float:
        """Return a scale at a value of t."""

    @abstractmethod
    def evaluate(self, x: FloatArray, t: float) -> tuple[float, FloatArray, float]:
        """Return the deviance, its gradient in the free coordinates x, (m,), and its slope in t."""

    @abstractmethod
    def searcher(self) -> Searcher:
        """Return the search for the lowest deviance at given t."""


class ConstrainedNormal(Constrained):
    """A model of normal responses with one parameter held; t of sigma is its logarithm."""

    @property
    def scale_optimum(self) -> float:
        """The logarithm of sigma."""
        return float(np.log(np.sqrt(self.fit.sigma2)))

    def scale(self, t: float) -> float:
        """Return sigma."""
        return float(np.exp(t))

    @property
    def least_scale(self) -> float:
        """The logarithm of nearly zero: effects of a level may explain all its rows."""
        return self.scale_optimum - _LEAST_LOG

    def limit(self, t: float) -> float:
        """Return the limit of an interval that ends at t; for sigma, zero without a residual."""
        is_nothing = self.component.kind == "scale" and t <= self.least_scale
        return 0.0 if is_nothing else self.value(t)


@dataclass(frozen=True, eq=False)
class ConstrainedDeviance(ConstrainedNormal):
    """A linear mixed model with one parameter held.

    The logarithm of sigma is the last free coordinate, unless it is held or known.
    """

    fit: Fit

    @property
    def others(self) -> FloatArray:
        """The logarithm of sigma, unless it is held, or known."""
        is_free = self.component.kind != "scale" and self.fit.spec.sigma2 is None
        return np.array([self.scale_optimum]) if is_free else np.empty(0)

    def searcher(self) -> RoundSearch:
        """Return a search without second derivatives."""
        return RoundSearch(self)

    def evaluate(self, x: FloatArray, t: float) -> tuple[float, FloatArray, float]:
        """Return the deviance, its gradient in the free coordinates x, (m,), and its slope in t."""
        kind, columns = self.component.kind, self.component.columns
        log_sigma = float(x[-1]) if len(self.others) else self.scale_optimum
        log_sigma = t if kind == "scale" else log_sigma
        held = (columns[0], t) if kind == "coefficient" else None
        terms = self.thetas(x, t)
        found = deviance_at(self.fit.problem, self.lambdas(terms), log_sigma, held)
        return self._derivatives(found, terms, t)

    def _derivatives(
        self, found: Deviance, terms: list[TermPoint], t: float
    ) -> tuple[float, FloatArray, float]:
        """Return the same, from the points at the terms' thetas."""
        kind = self.component.kind
        gradient, slope = [np.empty(0)], found.by_held
        for term, part, theta in terms:
            by_omega = found.by_omegas[term.position][term.block, term.block]
            directions = term.structure.directions(theta, term.order)
            own, by_t = term.slopes(part, t, directions.reshape(len(theta), -1) @ by_omega.ravel())
            gradient.append(own)
            slope += by_t
        if kind == "scale":
            slope += found.by_log_sigma
        elif len(self.others):
            gradient.append(np.array([found.by_log_sigma]))
        return found.value, np.concatenate(gradient), slope


@dataclass(frozen=True, slots=True, eq=False)
class Deviance:
    """The deviance at one point, with its derivatives."""

    value: float  # -2 log-likelihood
    by_omegas: Blocks  # (k, k) a factor, in the absolute covariance Lambda Lambda'
    by_log_sigma: float  # at given covariances
    by_held: float  # in the coefficient that is held; 0 without
    evaluation: Evaluation
    middle: FloatArray  # (p + 1, p + 1), W_m of the residuals at the coefficients that are held


def deviance_at(
    problem: Problem, lambdas: Blocks, log_sigma: float, held: tuple[int, float] | None = None
) -> Deviance:
    """Return the full deviance, minimised over the coefficients that are not held.

    `lambdas` are Lambda of each factor, (k, k) in raw units: any square roots of the covariances.
    `held` is the position, among the fixed columns, and the value of a held coefficient. Raises
    ArithmeticError if it cannot be computed.
    """
    model = problem.model
    sigma = math.exp(log_sigma)  # raises OverflowError
    s = (sigma * model.response_scale) ** 2
    if not (0.0 < s < np.inf and all(np.isfinite(lam).all() for lam in lambdas)):
        raise OverflowError("a deviation leaves the range of floating-point numbers")
    scaled = problem.scaled_lambdas([lam / sigma for lam in lambdas])
    evaluation = evaluate(problem, scaled, s)
    square, w, by_held = evaluation.square, evaluation.to_residual, 0.0
    if held is not None:
        place = problem.spec.fixed[held[0]]
        row = model.to_raw[place, :-1]
        target = held[1] * model.response_scale + model.to_raw[place, -1]
        along = evaluation.beta_covariance @ row
        off = (target - float(row @ evaluation.beta)) / float(row @ along)
        w = w - np.append(along * off, 0.0)
        square += off**2 * float(row @ along)
        by_held = 2.0 * off * model.response_scale / s
    value = evaluation.criterion + (square - evaluation.square) / s
    middle = np.outer(w, w / s)
    by_scaled = evaluation.slopes(middle)
    if not all(np.isfinite(slope).all() for slope in by_scaled):
        raise FloatingPointError("a derivative of the deviance is not a finite number")
    by_omegas = [
        _carried(random_map, slope) / sigma**2
        for random_map, slope in zip(model.random_maps, by_scaled, strict=True)
    ]
    by_log_sigma = 2.0 * (problem.n_observations - square / s) - 2.0 * sum(
        float(((slope @ lam) * lam).sum()) for slope, lam in zip(by_scaled, scaled, strict=True)
    )
    return Deviance(value, by_omegas, by_log_sigma, by_held, evaluation, middle)


def _carried(random_map: FloatArray, gradient: FloatArray) -> FloatArray:
    """Turn the derivative in the covariance of scaled effects into that of raw ones, (k, k)."""
    half = linalg.solve(random_map, gradient, transposed=True)
    return np.asarray(linalg.solve(random_map, half.T, transposed=True))
