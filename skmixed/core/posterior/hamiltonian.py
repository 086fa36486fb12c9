"""Draws from a density of many dimensions, by chains that follow its gradient.

Each chain has a momentum and moves by leapfrog steps (Neal 2011, doi:10.1201/b10905-6, equations
5.18 to 5.20), all of them side by side. Lengths of paths are random (there, section 5.4.2), between
a fifth and a half of a turn of a normal density, as was best in posteriors of 22 and 37 dimensions.
Positions are seen in units of the curvature at the mode, then of the covariance of the states so
far, and the step is tuned by dual averaging (Hoffman & Gelman 2014, JMLR 15, equation 6). Nothing
is learned any more while draws are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.posterior.bridge import bridged_integral
from skmixed.core.posterior.density_modes import (
    HeightsOfMany,
    HeightsWithSlopes,
    SlopedTarget,
    Target,
    about_modes,
)
from skmixed.core.posterior.mixing import effective_draws, split_r_hat
from skmixed.core.posterior.posterior_sample import PosteriorSample

_WANTED_ACCEPTANCE = 0.8  # of paths: Stan's, above the best for endless dimensions, 0.65
_TURN = 0.75 * math.pi  # mean length of a path; pi is half a turn of a standard normal density
_SHORTEST_PATH, _LONGEST_PATH = 0.5, 1.5  # lengths of paths over the mean one, evenly between
_STEP_JITTER = 0.1  # share by which the steps of chains differ, so that none goes in circles
_MOST_LEAPS = 64  # of a path: more only where steps are far too small
_LARGEST_LEAP = 1.5  # in units of deviations; leapfrog steps of a normal density fail at two
_LEARNING = (100, 200, 50)  # steps before a metric, before the next, and with the last one
_FIRST_LEFT_OUT = 0.5  # of the states before the first metric, which still come from afar
_STATES_A_DIMENSION = 5.0  # states that count as much as the metric before, for each dimension
_GAMMA, _DELAY, _KAPPA = 0.05, 10.0, 0.75  # of dual averaging, as in the paper
_DIVERGENT = 1_000.0  # error of the energy with which a path has left the density, Stan's too
_START_POINTS = 50  # proposals a chain, of which its start is chosen by weight
_MOST_R_HAT = 1.05  # above, chains have not come to the same place; between 1.01 and Gelman's 1.1
_R_HAT_OF_FEW = 4.0  # over the number of draws: what chance adds to it in some ten coordinates
_LEAST_STATES = 10  # draws a dimension in a half of them, whose covariance a bridge needs
_LEAST_WORTH = 100.0  # independent draws a chain should be worth at the least (Vehtari et al. 2021)
_FEW_DIVERGENT = 0.01  # share of paths that may fail


@dataclass(frozen=True, eq=False, kw_only=True)
class HamiltonianSample(PosteriorSample):
    """The states of chains, all of equal weight, chain by chain."""

    n_divergent: int  # paths that left the density
    evidence: tuple[float, float]  # log of the integral and its standard error, or NaN

    @property
    def weights(self) -> FloatArray:
        """The weights, (N,), of sum one."""
        return np.full(len(self.points), 1.0 / len(self.points))

    @property
    def efficiency(self) -> float:
        """What a draw is worth in the coordinate that mixes worst, one at most."""
        return min(1.0, self._worth / len(self.points))

    @property
    def pareto_k(self) -> float:
        """NaN: there are no weights."""
        return math.nan

    @property
    def log_evidence(self) -> float:
        """Log of the integral of the density, by a bridge to a normal one."""
        return self.evidence[0]

    @property
    def log_evidence_error(self) -> float:
        """Monte Carlo standard error of the same."""
        return self.evidence[1]

    @cached_property
    def _states(self) -> FloatArray:
        return self.points.reshape(*self.chains.shape, -1)

    @cached_property
    def _worth(self) -> float:
        return float(effective_draws(self._states).min())

    @cached_property
    def r_hat(self) -> float:
        """R-hat of the coordinate that mixes worst."""
        return float(split_r_hat(self._states).max())

    @property
    def is_poor(self) -> bool:
        """Whether chains did not mix, or left the density too often."""
        n_chains, n_draws = self.chains.shape
        wanted = min(_LEAST_WORTH, 0.1 * n_draws) * n_chains
        too_often = self.n_divergent > _FEW_DIVERGENT * self.chains.size
        most = _MOST_R_HAT + _R_HAT_OF_FEW / n_draws
        return not (self.r_hat < most and self._worth > wanted) or too_often


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """Where C chains are."""

    points: FloatArray  # (C, d)
    values: FloatArray  # (C,), log densities
    slopes: FloatArray  # (C, d), their gradients


@dataclass(slots=True, eq=False)
class _Step:
    """A step that dual averaging tunes, beginning from a log of its own."""

    log: float
    _first: float
    _average: float
    _error: float
    _n: int

    @classmethod
    def of(cls, log: float) -> _Step:
        return cls(log, log, log, 0.0, 0)

    def learn(self, acceptance: float) -> None:
        """Lengthen or shorten it, given a mean probability of acceptance."""
        self._n += 1
        n = self._n
        share = 1.0 / (n + _DELAY)
        self._error += share * (_WANTED_ACCEPTANCE - acceptance - self._error)
        log = math.log(10.0) + self._first - math.sqrt(n) / _GAMMA * self._error
        self.log = min(log, math.log(_LARGEST_LEAP))
        self._average += n**-_KAPPA * (self.log - self._average)

    def settle(self) -> None:
        """Take the average of the steps that were tried."""
        self.log = self._average


def n_paths(n_draws: int, n_chains: int) -> int:
    """Return how many paths are followed, with those that learn."""
    return (sum(_LEARNING) + n_draws) * n_chains


def path(
    density: SlopedTarget,
    root: FloatArray,
    states: States,
    momenta: FloatArray,
    steps: FloatArray,
    n: int,
) -> tuple[States, FloatArray]:
    """Follow n leapfrog steps, (C, 1), with momenta, (C, d): the ends, and momenta there.

    Momenta have unit masses in the coordinates in which `root`, (d, d), is the covariance's. With
    momenta turned about, a path leads back to where it began.
    """
    points, values, slopes = states.points, states.values, states.slopes
    with np.errstate(over="ignore", invalid="ignore"):  # of paths that have left the density
        for _ in range(n):
            momenta = momenta + 0.5 * steps * (slopes @ root)
            points = points + steps * (momenta @ root.T)
            values, slopes = density(points)
            momenta = momenta + 0.5 * steps * (slopes @ root)
    return States(points, values, slopes), momenta


class _Chains:
    """Chains side by side, with their metric and step."""

    def __init__(
        self, density: HeightsWithSlopes, root: FloatArray, generator: np.random.Generator
    ) -> None:
        self._density, self._generator = density, generator
        self._root = root  # (d, d), Cholesky factor of the covariance that positions are seen in
        self.step = _Step.of(-0.25 * math.log(len(root)))
        self.n_divergent = 0

    def moved(self, states: States) -> tuple[States, float]:
        """Let every chain follow a path, and accept its end or not; return mean probabilities."""
        draw, (n_chains, d) = self._generator, states.points.shape
        momenta = draw.standard_normal((n_chains, d))
        steps = math.exp(self.step.log) * draw.uniform(
            1.0 - _STEP_JITTER, 1.0 + _STEP_JITTER, (n_chains, 1)
        )
        length = _TURN * draw.uniform(_SHORTEST_PATH, _LONGEST_PATH)
        n_steps = min(_MOST_LEAPS, max(1, round(length / math.exp(self.step.log))))
        thresholds = np.log(draw.random(n_chains))
        energy = 0.5 * np.square(momenta).sum(axis=1) - states.values
        ends, momenta = path(self._density, self._root, states, momenta, steps, n_steps)
        with np.errstate(over="ignore", invalid="ignore"):
            gain = energy - (0.5 * np.square(momenta).sum(axis=1) - ends.values)
            gain = np.where(np.isfinite(ends.values) & ~np.isnan(gain), gain, -np.inf)
        self.n_divergent += int((np.isfinite(ends.values) & (gain < -_DIVERGENT)).sum())
        goes = thresholds < gain
        chosen = States(
            np.where(goes[:, None], ends.points, states.points),
            np.where(goes, ends.values, states.values),
            np.where(goes[:, None], ends.slopes, states.slopes),
        )
        return chosen, float(np.exp(np.minimum(gain, 0.0)).mean())

    def learned(self, states: States) -> States:
        """Learn the metric and the step, and return where the chains are then."""
        d = states.points.shape[1]
        for number, length in enumerate(_LEARNING):
            seen = []
            for _ in range(length):
                states, acceptance = self.moved(states)
                self.step.learn(acceptance)
                seen.append(states.points)
            self.step.settle()
            self.step = _Step.of(self.step.log)
            if number < len(_LEARNING) - 1:
                first = int(_FIRST_LEFT_OUT * length) if number == 0 else 0
                every = np.concatenate(seen[first:])
                share = len(every) / (len(every) + _STATES_A_DIMENSION * d)
                before = self._root @ self._root.T
                covariance = share * np.atleast_2d(np.cov(every.T)) + (1.0 - share) * before
                self._root = np.asarray(np.linalg.cholesky(covariance))
        self.n_divergent = 0
        return states


def hamiltonian_sample(
    target: Target,
    sloped: SlopedTarget,
    starts: FloatArray,
    n_draws: int,
    n_chains: int,
    generator: np.random.Generator,
    *,
    has_evidence: bool = True,
) -> HamiltonianSample:
    """Sample a density that is also given with its gradient, from modes found from starts, (m, d).

    Of few draws there is no evidence. Whoever calls looks at `is_poor`.
    """
    density, of_values = HeightsWithSlopes(sloped), HeightsOfMany(target)
    first = about_modes(density, starts)
    proposed = first.draw(_START_POINTS * n_chains, generator)
    log_weights = of_values(proposed)[0] - first.log_density(proposed)
    weights = np.exp(log_weights - log_weights.max())
    weights = np.minimum(weights, weights.mean() * math.sqrt(len(weights)))
    chosen = generator.choice(len(proposed), n_chains, p=weights / weights.sum())
    root = np.linalg.cholesky(first.scales[int(np.argmax(first.shares))])
    chains = _Chains(density, np.asarray(root), generator)
    states = chains.learned(States(proposed[chosen], *density(proposed[chosen])))
    shape = (n_chains, n_draws)
    points, values = np.empty((*shape, starts.shape[1])), np.empty(shape)
    acceptance = 0.0
    for number in range(n_draws):
        states, accepted = chains.moved(states)
        points[:, number], values[:, number] = states.points, states.values
        acceptance += accepted / n_draws
    evidence = (math.nan, math.nan)
    if has_evidence and values.size >= 2 * _LEAST_STATES * points.shape[2]:
        evidence = bridged_integral(of_values, points, values, generator)
    return HamiltonianSample(
        points=points.reshape(-1, points.shape[2]),
        log_density=values.ravel(),
        sums=None,
        chains=np.arange(values.size).reshape(shape),
        acceptance=acceptance,
        thinning=1,
        n_evaluations=density.n + of_values.n,
        n_divergent=chains.n_divergent,
        evidence=evidence,
    )
