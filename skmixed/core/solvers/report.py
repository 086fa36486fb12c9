"""What a search reports of itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from skmixed.core.layout import FloatArray


@dataclass(frozen=True, slots=True)
class Iteration:
    """One line of the trace of a search.

    Parameters
    ----------
    criterion : float
        Value reached; NaN where the search goes by gradients alone.
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


@dataclass(frozen=True, slots=True, eq=False)
class MonteCarlo:
    """What random vectors leave uncertain.

    Parameters
    ----------
    n_probes : tuple of int
        Random vectors of every factor; 0 where there was no need of any.
    covariance : ndarray of shape (t, t)
        Of the entries theta of the relative factors, in scaled units and the order of the factors,
        over draws of the random vectors for the same data.
    """

    n_probes: tuple[int, ...]
    covariance: FloatArray


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
    reason : str
        Why this search was taken, where there was a choice.
    monte_carlo : MonteCarlo or None
        What random vectors leave uncertain; None for searches without.
    """

    solver: str
    converged: bool
    n_evaluations: int
    message: str
    trace: tuple[Iteration, ...]
    confounded: tuple[int, ...] = ()
    is_unbounded: bool = False
    reason: str = ""
    monte_carlo: MonteCarlo | None = field(default=None, compare=False)

    @property
    def n_iter(self) -> int:
        """Number of iterations."""
        return len(self.trace)
