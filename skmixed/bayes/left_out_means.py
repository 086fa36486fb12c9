"""Densities of left-out data, averaged over parameters drawn given all data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from skmixed.core.linalg import BoolArray, FloatArray
from skmixed.core.posterior.pareto_tail import UNTRUSTED, smoothed_weights

_MOST_ERROR = 0.05  # of a log density: an error of five percent
_MOST_REFITS = 20  # only to reduce errors: each takes a tenth of a second or more


@dataclass(frozen=True, slots=True, eq=False)
class LeftOutMeans:
    """Averages of densities of n rows or levels over S nodes, weighted by their inverses.

    A node changes the log of an average by about w (p / mean - 1), w being its weight and p the
    density there: the delta method, as in Vehtari et al. 2017, section 2.1.
    """

    elpd: FloatArray  # (n,), log densities
    shapes: FloatArray  # (n,), of the tails of weights
    moves: FloatArray  # (S, n), of the log densities, by every node

    @classmethod
    def of(cls, densities: FloatArray) -> LeftOutMeans:
        """Average log densities of left-out data, given the rest, at nodes of all data, (S, n).

        The weights have their tails smoothed.
        """
        n = densities.shape[1]
        elpd, shapes, moves = np.empty(n), np.empty(n), np.empty(densities.shape)
        for place, values in enumerate(densities.T):
            log_weights, shapes[place] = smoothed_weights(-values)
            elpd[place] = logsumexp(log_weights + values)
            moves[:, place] = np.exp(log_weights + values - elpd[place]) - np.exp(log_weights)
        return cls(elpd, shapes, moves)

    def take(self, chosen: BoolArray) -> LeftOutMeans:
        """Return some of them."""
        return LeftOutMeans(self.elpd[chosen], self.shapes[chosen], self.moves[:, chosen])

    @property
    def is_wide(self) -> BoolArray:
        """Whether they have large errors or heavy tails, (n,)."""
        return np.asarray((self.errors > _MOST_ERROR) | (self.shapes > UNTRUSTED))

    @property
    def errors(self) -> FloatArray:
        """Monte Carlo standard errors of the log densities, (n,)."""
        return np.asarray(np.sqrt(np.square(self.moves).sum(axis=0)))


class LeftOutError:
    """The Monte Carlo error of a sum of log densities that depend on the same nodes."""

    def __init__(self) -> None:
        self._moves: FloatArray | float = 0.0
        self._of_all, self._apart = 0.0, 0.0

    def add_means(self, means: LeftOutMeans, counts: FloatArray) -> None:
        """Add averages, counted as often as (n,) says."""
        self._moves = self._moves + means.moves @ counts

    def add_single(self, error: float, count: float, of_all: float = 0.0) -> None:
        """Add a log density with an error of its own, and one that others share."""
        self._of_all += count * of_all
        self._apart += (count * error) ** 2

    @property
    def total(self) -> float:
        """Standard error of the sum."""
        moved = float(np.square(self._moves).sum())
        return float(np.sqrt(moved + self._of_all**2 + self._apart))


def in_doubt(shapes: FloatArray, errors: FloatArray) -> BoolArray:
    """Tell which need a refit, (n,): heavy tails of weights, and the largest errors."""
    order = np.argsort(-errors, kind="stable")[:_MOST_REFITS]
    found = shapes > UNTRUSTED
    found[order] |= errors[order] > _MOST_ERROR
    return np.asarray(found)


def refitted_density(
    evidence: tuple[float, float], rest: tuple[float, float], at_rest: FloatArray
) -> tuple[float, float, float]:
    """Return a log density by a refit, its error, and the error shared by all such.

    It is the ratio of the evidence of all data to that of the rest, each with its error; under an
    improper prior, the mean of densities at draws given the rest, of logs (S,).
    """
    value = evidence[0] - rest[0]
    if np.isfinite(value):
        return float(value), rest[1], evidence[1]
    value = float(logsumexp(at_rest) - np.log(len(at_rest)))
    return value, float(np.exp(at_rest - value).std() / np.sqrt(len(at_rest))), 0.0
