"""Points that stand for a density, and chains over them: what every sampler returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from skmixed.core.linalg import FloatArray, IntArray


@dataclass(frozen=True, eq=False, kw_only=True)
class PosteriorSample(ABC):
    """N weighted points, and the chains that walked over them."""

    points: FloatArray  # (N, d)
    log_density: FloatArray  # (N,)
    sums: Any  # what the density gave of every point
    chains: IntArray  # (n_chains, n_draws), places among the points
    acceptance: float  # share of proposals that chains moved to
    thinning: int  # proposals for each draw
    n_evaluations: int  # of the density, all searches and rounds included

    @property
    @abstractmethod
    def weights(self) -> FloatArray:
        """The weights, (N,), of sum one."""

    @property
    @abstractmethod
    def efficiency(self) -> float:
        """How many independent draws a point is worth, one at best."""

    @property
    @abstractmethod
    def pareto_k(self) -> float:
        """Shape of the tail of the weights; NaN of points that have none."""

    @property
    @abstractmethod
    def log_evidence(self) -> float:
        """Log of the integral of the density."""

    @property
    @abstractmethod
    def log_evidence_error(self) -> float:
        """Monte Carlo standard error of the same."""
