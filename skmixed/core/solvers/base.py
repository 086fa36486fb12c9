"""What a search for the optimum is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from skmixed.core.evaluation import Evaluation
from skmixed.core.problem import Problem
from skmixed.core.solvers.report import Iteration, SolverReport

Callback = Callable[[Iteration], None]
"""Called with every line of the trace as it is written."""


class Solver(Protocol):
    """A search, with its settings."""

    def solve(self, problem: Problem) -> tuple[Evaluation, SolverReport]:
        """Minimise the criterion of a problem with at least one random term."""
        ...
