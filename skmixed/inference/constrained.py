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

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray
from skmixed.core.model.evaluation import evaluate
from skmixed.core.model.spec import Term
from skmixed.core.model.structures import Block, semidefinite_cholesky
from skmixed.inference.components import Component

LEAST_DEVIATION = 0.1  # unit of a deviation near zero, in residual ones: neither nothing nor large


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
        if self.component.kind == "sigma":
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
        if self.component.kind == "sigma":
            return float(np.exp(t))
        return float(np.cos(t)) if self.component.kind == "cor" else t

    @cached_property
    def start(self) -> FloatArray:
        """The free coordinates at the optimum, log sigma last unless it is held."""
        parts = []
        for term in self.fit.spec.terms:
            covariance = self.fit.term_covariance(term)[
                np.ix_(self._order(term), self._order(term))
            ]
            parts.append(self._free_start(term, covariance))
        sigma = [] if self.component.kind == "sigma" else [0.5 * np.log(self.fit.sigma2)]
        x = np.concatenate([*parts, sigma]).astype(np.float64)
        x[self._squared] **= 0.5
        return x

    @cached_property
    def units(self) -> FloatArray:
        """Sizes of the free coordinates: deviations of the random effects, 1 for log sigma."""
        units = []
        for term in self.fit.spec.terms:
            sizes, patterns = self.sizes(term), self._patterns(term, 1.0)[1]
            units.append(np.array([sizes[p.any(axis=1)].max() for p in patterns]))
        joint = np.concatenate([*units, np.ones(int(self.component.kind != "sigma"))])
        joint[self._squared] **= 0.5
        return joint

    def sizes(self, term: Term) -> FloatArray:
        """Return the deviations of a term's effects, (k,), at least a share of the residual one."""
        position, block = self.fit.place_of(term)
        rows = np.linalg.norm(self.fit.problem.model.random_maps[position][block, block], axis=1)
        least = LEAST_DEVIATION * np.sqrt(self.fit.sigma2) * rows
        return np.asarray(np.maximum(np.sqrt(np.diag(self.fit.term_covariance(term))), least))

    def evaluate(self, x: FloatArray, t: float) -> tuple[float, FloatArray, float]:
        """Return the deviance, its gradient in the free coordinates x, (m,), and its slope in t."""
        kind, columns = self.component.kind, self.component.columns
        log_sigma = t if kind == "sigma" else float(x[-1])
        held = (columns[0], t) if kind == "coefficient" else None
        lambdas = [np.zeros((s.size, s.size)) for s in self.fit.problem.structures]
        start = 0
        x, by_coordinate = self._unfolded(x)
        for term, position, block in self._places:
            constant, patterns = self._patterns(term, t)
            stop = start + len(patterns)
            lambdas[position][block, block] = constant + np.tensordot(x[start:stop], patterns, 1)
            start = stop
        found = deviance_at(self.fit, lambdas, log_sigma, held)
        gradient, slope = [], found.by_held
        start = 0
        for term, position, block in self._places:
            by = found.by_lambdas[position][block, block]
            patterns = self._patterns(term, t)[1]
            gradient.append(np.einsum("aij,ij->a", patterns, by))
            if term is self.component.term:
                slope += self._slope(by, x[start : start + len(patterns)], t)
            start += len(patterns)
        if kind == "sigma":
            slope += found.by_log_sigma
        else:
            gradient.append(np.array([found.by_log_sigma]))
        return found.value, np.concatenate([np.empty(0), *gradient]) * by_coordinate, slope

    def _unfolded(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Square the coordinates that stand for deviations; return the derivatives too."""
        x, derivative = x.copy(), np.ones(len(x))
        derivative[self._squared] = 2.0 * x[self._squared]
        x[self._squared] **= 2
        return x, derivative

    @cached_property
    def _squared(self) -> list[int]:
        """Return the places of the deviations whose correlation is held."""
        if self.component.kind != "cor":
            return []
        start = 0
        for term in self.fit.spec.terms:
            if term is self.component.term:
                break
            start += len(self._all_patterns(term))
        return [start, start + 1]

    @cached_property
    def _places(self) -> list[tuple[Term, int, slice]]:
        """Every term, the position of its factor, and its columns there."""
        return [(term, *self.fit.place_of(term)) for term in self.fit.spec.terms]

    def _order(self, term: Term) -> list[int]:
        """Return the pivot order of a term: what is held comes first."""
        first = list(self.component.columns) if term is self.component.term else []
        if term.kind != "unstructured":
            first = []
        return first + [i for i in range(len(term.columns)) if i not in first]

    def _all_patterns(self, term: Term) -> FloatArray:
        """Return the patterns that Lambda of a term is a combination of, (n_theta, k, k)."""
        order = np.array(self._order(term))
        return Block(term.kind, len(term.columns)).patterns(order)

    def _patterns(self, term: Term, t: float) -> tuple[FloatArray, FloatArray]:
        """Return Lambda of a term as a constant and the patterns of its free coordinates."""
        patterns = self._all_patterns(term)
        constant = np.zeros(patterns.shape[1:])
        if term is not self.component.term:
            return constant, patterns
        if self.component.kind == "sd":
            held = self._held_pattern(term)
            free = np.array([p for n, p in enumerate(patterns) if n != held])
            return t * patterns[held], free.reshape(-1, *constant.shape)
        second = self._second(term)
        turned = np.cos(t) * patterns[1] + np.sin(t) * patterns[second]
        others = [p for n, p in enumerate(patterns) if n not in (0, 1, second)]
        return constant, np.array([patterns[0], turned, *others])

    def _held_pattern(self, term: Term) -> int:
        """Return the number of the pattern that a standard deviation multiplies."""
        if term.kind == "diagonal":
            return self.component.columns[0]
        return 0

    def _second(self, term: Term) -> int:
        """Return the number of the pattern of the second diagonal entry."""
        return len(term.columns)

    def _slope(self, by: FloatArray, x: FloatArray, t: float) -> float:
        """Return the derivative in t through Lambda of the term."""
        assert self.component.term is not None
        patterns = self._all_patterns(self.component.term)
        if self.component.kind == "sd":
            return float((patterns[self._held_pattern(self.component.term)] * by).sum())
        second = patterns[self._second(self.component.term)]
        return float(x[1] * ((np.cos(t) * second - np.sin(t) * patterns[1]) * by).sum())

    def _free_start(self, term: Term, covariance: FloatArray) -> FloatArray:
        """Return the free coordinates of a term, deviations not yet their roots."""
        k = len(covariance)
        if term.kind != "unstructured":
            theta = np.sqrt(np.diag(covariance))
            theta = theta if term.kind == "diagonal" else theta[:1]
        else:
            lower = semidefinite_cholesky(covariance)
            theta = np.concatenate([lower[j:, j] for j in range(k)])
        if term is not self.component.term:
            return theta
        if self.component.kind == "sd":
            return np.delete(theta, self._held_pattern(term))
        second = self._second(term)
        length = np.hypot(theta[1], theta[second])
        return np.concatenate([[theta[0], length], np.delete(theta, [0, 1, second])])


@dataclass(frozen=True, slots=True, eq=False)
class Deviance:
    """The deviance at one point, with its derivatives."""

    value: float  # -2 log-likelihood
    by_lambdas: Blocks  # (k, k) a factor, in Lambda
    by_log_sigma: float  # at given Lambda
    by_held: float  # in the coefficient that is held; 0 without


def deviance_at(
    fit: Fit, lambdas: Blocks, log_sigma: float, held: tuple[int, float] | None = None
) -> Deviance:
    """Return the full deviance, minimised over the coefficients that are not held.

    `lambdas` are Lambda of every factor, (k, k) in raw units: any square roots of the covariances.
    `held` is the place among the fixed columns, and the value, of a coefficient that is held.
    """
    problem, model = fit.problem, fit.problem.model
    sigma = float(np.exp(log_sigma))
    scaled = problem.scaled_lambdas([lam / sigma for lam in lambdas])
    s = (sigma * model.response_scale) ** 2
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
    by_omega = evaluation.slopes(np.outer(w, w / s))
    by_scaled = [2.0 * slope @ lam for slope, lam in zip(by_omega, scaled, strict=True)]
    by_lambdas = [
        np.asarray(linalg.solve(random_map, slope, transposed=True)) / sigma
        for random_map, slope in zip(model.random_maps, by_scaled, strict=True)
    ]
    by_log_sigma = 2.0 * (problem.n_observations - square / s) - sum(
        float((slope * lam).sum()) for slope, lam in zip(by_scaled, scaled, strict=True)
    )
    return Deviance(value, by_lambdas, by_log_sigma, by_held)
