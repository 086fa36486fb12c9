"""What a search for the optimum is, and what it reports of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from skmixed.core.elimination.iterative.settings import Krylov
from skmixed.core.linalg import FloatArray
from skmixed.core.model.evaluation import Evaluation
from skmixed.core.model.problem import Problem


@dataclass(frozen=True, slots=True)
class Iteration:
    """One line of the trace of a search."""

    criterion: float  # value reached; NaN where the search goes by gradients alone
    gradient_norm: float  # Euclidean, in theta and scaled units, where the step began
    step: float  # length in theta, in scaled units
    accepted: bool  # whether the step was taken
    seconds: float  # since the search began
    start: tuple[int, int] = (1, 1)  # its number, 0 for several at once, and of all


@dataclass(frozen=True, slots=True, eq=False)
class MonteCarlo:
    """What random vectors leave uncertain.

    `covariance` is that of theta, in scaled units and the order of the factors, over draws of the
    random vectors for the same data.
    """

    n_probes: tuple[int, ...]  # random vectors of every factor; 0 where there was no need of any
    covariance: FloatArray  # (t, t), of theta


@dataclass(frozen=True, slots=True)
class SolverReport:
    """How a search went.

    It has converged if the criterion cannot be lowered further: the predicted decrease is below the
    tolerance and no direction off the boundary leads down. Variances of confounded factors are set
    to zero. It is unbounded if the random effects explain the response without a rest, so that the
    likelihood has no maximum; the optimum is then that of the response with a little noise.
    """

    solver: str  # name of the search
    converged: bool
    n_evaluations: int  # of the criterion
    message: str  # why the search ended, in a sentence
    trace: tuple[Iteration, ...]  # a line an iteration
    confounded: tuple[int, ...] = ()  # positions of factors that the criterion does not depend on
    is_unbounded: bool = False
    reason: str = ""  # why this search was taken, where there was a choice
    monte_carlo: MonteCarlo | None = field(default=None, compare=False)  # None without probes

    @property
    def n_iter(self) -> int:
        """Number of iterations."""
        return len(self.trace)


Callback = Callable[[Iteration], None]
"""Called with every line of the trace as it is written."""


class Solver(Protocol):
    """A search, with its settings."""

    @property
    def krylov(self) -> Krylov | None:
        """How crossed factors are to be solved for iteratively; None where they are not."""
        ...

    def solve(self, problem: Problem) -> tuple[Evaluation, SolverReport]:
        """Minimise the criterion of a problem with at least one random term."""
        ...
