"""What a search reports of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Iteration:
    """One line of the trace of a search.

    Parameters
    ----------
    criterion : float
        Value reached.
    gradient_norm : float
        Euclidean norm of the gradient in theta, in scaled units, where the step began.
    step : float
        Length of the step in theta, in scaled units.
    accepted : bool
        Whether the step was taken.
    seconds : float
        Time since the search began.
    """

    criterion: float
    gradient_norm: float
    step: float
    accepted: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class SolverReport:
    """How a search went.

    Parameters
    ----------
    solver : str
        Name of the search.
    converged : bool
        Whether the criterion cannot be lowered further: the predicted decrease is below the
        tolerance and no direction off the boundary leads down.
    n_evaluations : int
        Evaluations of the criterion.
    message : str
        Why the search ended, in a sentence.
    trace : tuple of Iteration
        A line an iteration.
    confounded : tuple of int
        Positions of the factors whose variance the criterion does not depend on; it is set to
        zero.
    is_unbounded : bool
        Whether the random effects explain the response without a rest, so that the likelihood has
        no maximum; the optimum is that of the response with a little noise.
    """

    solver: str
    converged: bool
    n_evaluations: int
    message: str
    trace: tuple[Iteration, ...]
    confounded: tuple[int, ...] = ()
    is_unbounded: bool = False

    @property
    def n_iter(self) -> int:
        """Number of iterations."""
        return len(self.trace)
