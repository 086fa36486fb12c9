"""Draws from a density of a few dimensions, by a proposal that learns from its own weights.

The proposal begins as t distributions about the modes. In every round all points so far are
weighted against all proposals so far (Cornuet et al. 2012, doi:10.1111/j.1467-9469.2011.00756.x),
and a mixture is fitted to them. Draws are the states of chains of independence Metropolis with the
last proposal, started from points drawn by weight: no burn-in, and no tuning.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from skmixed.core.linalg import FloatArray, IntArray, eigenpairs
from skmixed.core.posterior.pareto_tail import UNTRUSTED, pareto_k
from skmixed.core.posterior.t_mixture import TMixture, fitted_mixture, weighted_moments

_CLIMBING_STEP = 1e-4  # of differences for slopes; coordinates are of the size of one
_HESSIAN_STEP = 0.02  # of second differences: rounding stays far below them
_LEAST_CURVATURE = 0.01  # of -log density at a mode: a deviation of ten, wide in all coordinates
_SLOPE_TOLERANCE = 1e-3  # of the search for modes, which need not be exact
_NOWHERE = 1e10  # in the place of an infinite -log density, so that a search turns back
_SAME_MODE = 0.5  # deviations within which two searches ended at one mode
_NEGLIGIBLE_MODE = 1e-6  # share of the mass, by Laplace's approximation: not worth a component
_MOST_ROUNDS = 4  # of learning at most; of these the first two or three matter
_COMPONENTS = 4  # of the mixture; more hold few points each
_WIDE_SHARE = 0.12  # of the component with wide tails, which costs so much efficiency
_ENOUGH = 0.85  # efficiency with which learning ends
_WORSE = 0.02  # loss of efficiency for which an earlier proposal is taken again
_POOR = 0.2  # efficiency below which learning is tried again, twice as long
_WANTED = 0.5  # efficiency that thinning makes up for
_MOST_THINNING = 20  # proposals a draw: above, draws take too long, and a warning says so

Target = Callable[[FloatArray], tuple[FloatArray, Any]]
"""Return log densities, (n,), of points, (n, d), and what else of them is worth keeping."""


@dataclass(frozen=True, eq=False)
class ImportanceSample:
    """N weighted points, and the chains that walk over them."""

    points: FloatArray  # (N, d)
    log_density: FloatArray  # (N,)
    log_weights: FloatArray  # (N,), density over proposal
    sums: Any  # what the density gave of every point
    chains: IntArray  # (n_chains, n_draws), places among the points
    acceptance: float  # share of proposals that chains moved to
    thinning: int  # proposals for each draw
    n_evaluations: int  # of the density, all searches and rounds included

    @property
    def weights(self) -> FloatArray:
        """The weights, (N,), of sum one."""
        return np.asarray(np.exp(self.log_weights - logsumexp(self.log_weights)))

    @property
    def efficiency(self) -> float:
        """Effective share of the points, 1 / (N sum w^2)."""
        return float(1.0 / (len(self.points) * np.square(self.weights).sum()))

    @property
    def pareto_k(self) -> float:
        """Shape of the tail of the weights."""
        return pareto_k(self.log_weights)

    @property
    def is_poor(self) -> bool:
        """Whether weights are too unequal to be trusted."""
        return self.pareto_k > UNTRUSTED or self.efficiency < _POOR

    @property
    def log_evidence(self) -> float:
        """Log of the integral of the density."""
        return float(logsumexp(self.log_weights) - math.log(len(self.points)))

    @property
    def log_evidence_error(self) -> float:
        """Monte Carlo standard error of the same."""
        return math.sqrt(max(0.0, 1.0 / self.efficiency - 1.0) / len(self.points))


class _Evaluations:
    """A density that counts its evaluations."""

    def __init__(self, target: Target) -> None:
        self._target, self.n = target, 0

    def __call__(self, points: FloatArray) -> tuple[FloatArray, Any]:
        self.n += len(points)
        return self._target(points)

    def height(self, points: FloatArray) -> FloatArray:
        """Return -log density, (n,), large where there is none."""
        values = self(points)[0]
        return np.where(np.isfinite(values), -values, _NOWHERE)


def equal_places(weights: FloatArray, n: int, generator: np.random.Generator) -> IntArray:
    """Return n places, in random order, of points that equal weights would stand for, (n,).

    They are made from all points by systematic resampling, and so better than as many draws.
    """
    shares = (np.arange(n) + generator.random()) / n
    chosen = np.searchsorted(np.cumsum(weights), shares)
    return generator.permutation(np.minimum(chosen, len(weights) - 1))


def n_planned(d: int, n_draws: int, n_chains: int) -> int:
    """Return how many evaluations the rounds and the draws take if nothing is tried again."""
    return _a_round(d) * (_MOST_ROUNDS + 1) + n_draws * n_chains


def _a_round(d: int) -> int:
    """Return the number of points of a round."""
    return max(400, 150 * d)


def importance_sample(
    target: Target,
    starts: FloatArray,
    n_draws: int,
    n_chains: int,
    generator: np.random.Generator,
) -> ImportanceSample:
    """Sample a density, searching for its modes from starts, (m, d).

    If weights are poor, learning begins again and is twice as long; if they still are, draws are
    thinned so that they depend on each other no more than good ones do. Whoever calls looks at
    `is_poor`.
    """
    density = _Evaluations(target)
    first = _about_modes(density, starts)
    proposal = _learned(density, first, _MOST_ROUNDS, _COMPONENTS, generator)
    sample = _walked(density, proposal, n_draws, n_chains, 1, generator)
    if sample.is_poor:
        again = _learned(density, first, 2 * _MOST_ROUNDS, 2 * _COMPONENTS, generator)
        second = _walked(density, again, n_draws, n_chains, 1, generator)
        if not second.is_poor or second.efficiency > sample.efficiency:
            proposal, sample = again, second
    if sample.is_poor and sample.efficiency < _WANTED:
        thinning = min(_MOST_THINNING, math.ceil(_WANTED / sample.efficiency))
        sample = _walked(density, proposal, n_draws, n_chains, thinning, generator)
    return replace(sample, n_evaluations=density.n)


def _about_modes(density: _Evaluations, starts: FloatArray) -> TMixture:
    """Return t distributions about the modes, two a mode, sharing by mass."""
    modes: list[FloatArray] = []
    scales: list[FloatArray] = []
    masses: list[float] = []
    for start in starts:
        mode, height = _climbed(density, start)
        scale = _curvature_inverse(density, mode)
        apart = [mode - other for other in modes]
        distances = [
            math.sqrt(float(step @ np.linalg.solve(known, step)))
            for step, known in zip(apart, scales, strict=True)
        ]
        if min(distances, default=np.inf) < _SAME_MODE:
            continue
        modes.append(mode)
        scales.append(scale)
        masses.append(0.5 * float(np.linalg.slogdet(scale)[1]) - height)
    shares = np.exp(np.array(masses) - logsumexp(masses))
    kept = np.flatnonzero(shares > _NEGLIGIBLE_MODE)
    shares = np.maximum(shares[kept], 1.0 / (10.0 * len(kept)))
    shares /= shares.sum()
    centres, spread = np.stack(modes)[kept], np.stack(scales)[kept]
    n = len(kept)
    return TMixture(
        np.concatenate([0.8 * shares, 0.2 * shares]),
        np.concatenate([centres, centres]),
        np.concatenate([spread, 4.0 * spread]),
        np.repeat([5.0, 3.0], n),
    )


def _climbed(density: _Evaluations, start: FloatArray) -> tuple[FloatArray, float]:
    """Return a mode, (d,), and -log density there."""
    d = len(start)
    steps = _CLIMBING_STEP * np.eye(d)

    def value_and_slope(point: FloatArray) -> tuple[float, FloatArray]:
        heights = density.height(np.concatenate([point[None], point + steps, point - steps]))
        return float(heights[0]), (heights[1 : d + 1] - heights[d + 1 :]) / (2.0 * _CLIMBING_STEP)

    found = minimize(
        value_and_slope,
        start,
        jac=True,
        method="BFGS",
        options={"gtol": _SLOPE_TOLERANCE, "maxiter": 200},
    )
    return np.asarray(found.x), float(found.fun)


def _curvature_inverse(density: _Evaluations, mode: FloatArray) -> FloatArray:
    """Return the inverse of the second derivatives of -log density, (d, d), no wider than ten."""
    d, h = len(mode), _HESSIAN_STEP
    steps = h * np.eye(d)
    signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    pairs = [(i, j) for i in range(d) for j in range(i + 1)]
    points = [mode + a * steps[i] + b * steps[j] for i, j in pairs for a, b in signs]
    heights = density.height(np.array(points)).reshape(-1, 4)
    hessian = np.empty((d, d))
    for (i, j), (up, across, back, down) in zip(pairs, heights, strict=True):
        hessian[i, j] = hessian[j, i] = (up - across - back + down) / (4.0 * h * h)
    values, vectors = eigenpairs(hessian)
    return np.asarray((vectors / np.maximum(values, _LEAST_CURVATURE)) @ vectors.T)


def _learned(
    density: _Evaluations,
    proposal: TMixture,
    n_rounds: int,
    n_components: int,
    generator: np.random.Generator,
) -> TMixture:
    """Improve a proposal round by round; return the best, the last where they are alike."""
    proposals, efficiencies = [proposal], []
    points, values = [], []
    for number in range(n_rounds + 1):
        size = _a_round(proposal.centres.shape[1])
        points.append(proposals[-1].draw(size, generator))
        values.append(density(points[-1])[0])
        log_weights = values[-1] - proposals[-1].log_density(points[-1])
        weights = np.exp(log_weights - logsumexp(log_weights))
        efficiencies.append(1.0 / (size * np.square(weights).sum()))
        if (number and efficiencies[-1] > _ENOUGH) or number == n_rounds:
            break
        every = np.concatenate(points)
        weights = _pooled_weights(every, np.concatenate(values), proposals)
        fits = [fitted_mixture(every, weights, n_components, generator) for _ in range(2)]
        scores = [float(weights @ fit.log_density(every)) for fit in fits]
        best = fits[int(np.argmax(scores))]
        proposals.append(best.with_wide(_WIDE_SHARE, *weighted_moments(every, weights)))
    best_round = int(np.argmax(efficiencies))
    is_better = efficiencies[best_round] > efficiencies[-1] + _WORSE
    return proposals[best_round if is_better else -1]


def _pooled_weights(
    points: FloatArray, values: FloatArray, proposals: list[TMixture]
) -> FloatArray:
    """Weight points of equally many draws of each proposal, (n,); the largest are cut."""
    densities = np.stack([proposal.log_density(points) for proposal in proposals])
    log_weights = values - logsumexp(densities, axis=0)
    weights = np.exp(log_weights - logsumexp(log_weights))
    weights = np.minimum(weights, weights.mean() * math.sqrt(len(weights)))
    return np.asarray(weights / weights.sum())


def _walked(
    density: _Evaluations,
    proposal: TMixture,
    n_draws: int,
    n_chains: int,
    thinning: int,
    generator: np.random.Generator,
) -> ImportanceSample:
    """Draw from a proposal, and let chains walk over what is drawn, side by side."""
    length = n_draws * thinning
    points = proposal.draw(length * n_chains, generator)
    values, sums = density(points)
    log_weights = values - proposal.log_density(points)
    states, moved = _states(log_weights, n_chains, length, generator)
    chains = states[:, thinning - 1 :: thinning]
    return ImportanceSample(points, values, log_weights, sums, chains, moved, thinning, 0)


def with_factors(
    sample: ImportanceSample, log_factors: FloatArray, generator: np.random.Generator
) -> ImportanceSample:
    """Return the same points with weights times factors, logs (N,), and other chains over them."""
    log_weights, thinning = sample.log_weights + log_factors, sample.thinning
    n_chains, n_draws = sample.chains.shape
    states, moved = _states(log_weights, n_chains, n_draws * thinning, generator)
    chains = states[:, thinning - 1 :: thinning]
    log_density = sample.log_density + log_factors
    return replace(
        sample,
        log_density=log_density,
        log_weights=log_weights,
        chains=chains,
        acceptance=moved,
    )


def _states(
    log_weights: FloatArray, n_chains: int, length: int, generator: np.random.Generator
) -> tuple[IntArray, float]:
    """Let chains walk over points, each over its own: states, (n_chains, length), and moves."""
    weights = np.exp(log_weights - logsumexp(log_weights))
    places = np.arange(length * n_chains).reshape(n_chains, length)
    thresholds = np.log(generator.random((n_chains, length)))
    now = generator.choice(len(log_weights), n_chains, p=weights)
    states = np.empty((n_chains, length), dtype=np.intp)
    moved = 0
    for step in range(length):
        proposed = places[:, step]
        goes = thresholds[:, step] < log_weights[proposed] - log_weights[now]
        now = np.where(goes, proposed, now)
        states[:, step] = now
        moved += int(goes.sum())
    return states, moved / (length * n_chains)
