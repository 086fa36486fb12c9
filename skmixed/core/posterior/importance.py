"""Draws from a density of a few dimensions, by a proposal that learns from its own weights.

The proposal begins as t distributions about the modes. In every round all points so far are
weighted against all proposals so far (Cornuet et al. 2012, doi:10.1111/j.1467-9469.2011.00756.x),
and a mixture is fitted to them. Draws are the states of chains of independence Metropolis with the
last proposal, started from points drawn by weight: no burn-in, and no tuning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.posterior.density_modes import HeightsOfMany, Target, about_modes
from skmixed.core.posterior.pareto_tail import UNTRUSTED, pareto_k
from skmixed.core.posterior.posterior_sample import PosteriorSample
from skmixed.core.posterior.t_mixture import TMixture, fitted_mixture, weighted_moments

_MOST_ROUNDS = 4  # of learning at most; of these the first two or three matter
_COMPONENTS = 4  # of the mixture; more hold few points each
_WIDE_SHARE = 0.12  # of the component with wide tails, which costs so much efficiency
_ENOUGH = 0.85  # efficiency with which learning ends
_WORSE = 0.02  # loss of efficiency for which an earlier proposal is taken again
_POOR = 0.2  # efficiency below which learning is tried again, twice as long
_WANTED = 0.5  # efficiency that thinning makes up for
_MOST_THINNING = 20  # proposals a draw: above, draws take too long, and a warning says so


@dataclass(frozen=True, eq=False, kw_only=True)
class ImportanceSample(PosteriorSample):
    """Points drawn from a proposal, weighted, and chains that moved to them or stayed."""

    log_weights: FloatArray  # (N,), density over proposal
    proposal: TMixture

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

    If weights are poor, learning begins again and is twice as long. If they are less efficient than
    wanted, draws are thinned so that they depend on each other no more than good ones do. Whoever
    calls looks at `is_poor`.
    """
    density = HeightsOfMany(target)
    first = about_modes(density, starts)
    proposal = _learned(density, first, _MOST_ROUNDS, _COMPONENTS, generator)
    sample = _walked(density, proposal, n_draws, n_chains, 1, generator)
    if sample.is_poor:
        again = _learned(density, first, 2 * _MOST_ROUNDS, 2 * _COMPONENTS, generator)
        second = _walked(density, again, n_draws, n_chains, 1, generator)
        if not second.is_poor or second.efficiency > sample.efficiency:
            sample = second
    return replace(thinned(sample, density, generator), n_evaluations=density.n)


def thinned(
    sample: ImportanceSample, target: Target, generator: np.random.Generator
) -> ImportanceSample:
    """Return a sample of as many draws from more proposals, as many as make up for its efficiency.

    It is the same where that is high enough.
    """
    n_chains, n_draws = sample.chains.shape
    thinning = min(_MOST_THINNING, math.ceil(_WANTED / sample.efficiency))
    if thinning <= sample.thinning:
        return sample
    again = _walked(target, sample.proposal, n_draws, n_chains, thinning, generator)
    return replace(again, n_evaluations=sample.n_evaluations + len(again.points))


def _learned(
    density: HeightsOfMany,
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
    target: Target,
    proposal: TMixture,
    n_draws: int,
    n_chains: int,
    thinning: int,
    generator: np.random.Generator,
) -> ImportanceSample:
    """Draw from a proposal, and let chains walk over what is drawn, side by side."""
    length = n_draws * thinning
    points = proposal.draw(length * n_chains, generator)
    values, sums = target(points)
    log_weights = values - proposal.log_density(points)
    states, moved = _states(log_weights, n_chains, length, generator)
    return ImportanceSample(
        points=points,
        log_density=values,
        sums=sums,
        chains=states[:, thinning - 1 :: thinning],
        acceptance=moved,
        thinning=thinning,
        n_evaluations=0,
        log_weights=log_weights,
        proposal=proposal,
    )


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
