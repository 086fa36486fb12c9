"""The search for crossed factors that are solved iteratively: its settings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from skmixed.core.evaluation import Evaluation
from skmixed.core.iterative.factorisation import Iterative
from skmixed.core.iterative.settings import Krylov
from skmixed.core.problem import Problem
from skmixed.core.solvers.average_information import IterativeSearch
from skmixed.core.solvers.base import Callback
from skmixed.core.solvers.newton import Newton
from skmixed.core.solvers.report import SolverReport

_NESTED = "the factors are nested, which is eliminated exactly without a dense matrix"


@dataclass(frozen=True, slots=True)
class IterativeSolver:
    """Search for crossed factors whose dense complement does not fit into memory.

    Equations are solved by preconditioned conjugate gradients, traces are estimated with random
    vectors, and so is the log-determinant of the criterion. Estimates have a Monte Carlo error,
    which is reported. For ``MixedLinearRegressor(solver=...)``; ``solver="iterative"`` is this with
    the values below. Nested factors, or a single one, are eliminated exactly nonetheless.

    Parameters
    ----------
    precision : float, default=1e-3
        Monte Carlo standard error wanted of every variance, relative to it. The number of random
        vectors is raised, at most to `max_probes`, until that is reached.
    n_probes : int, default=16
        Random vectors a factor to begin with. Factors of not many more levels
        are computed exactly.
    max_probes : int, default=512
        Most random vectors a factor.
    random_state : int, default=0
        Seed of the random vectors. Another seed shows how far results depend on them.
    tol : float, default=1e-8
        Decrease of the criterion that does not matter. The search also ends when the next step is
        a tenth of the Monte Carlo error.
    max_iter : int, default=200
        Most evaluations of the gradient.
    callback : callable or None, default=None
        Called with every `Iteration`, of which the criterion is NaN.

    Raises
    ------
    ValueError
        For settings that make no sense.

    See Also
    --------
    skmixed.MixedLinearRegressor : Takes it as parameter `solver`.

    Notes
    -----
    An evaluation costs some tens of passes over the pairs of levels that occur for every 32 random
    vectors, and memory is a few times that of the pairs. Estimates, predictions and their standard
    errors, Wald tests and intervals are available as ever; profiles, comparisons of likelihoods and
    bootstraps, which need the likelihood exactly, are refused. There is one search from one start.

    References
    ----------
    .. [1] Kuendig, P. & Sigrist, F. (2025). Scalable computations for generalized mixed effects
       models with crossed random effects using Krylov subspace methods. arXiv:2505.09552.
    .. [2] Ghosh, S., Hastie, T. & Owen, A. (2022). Backfitting for large scale crossed random
       effects regressions. Annals of Statistics 50(1), arXiv:2007.10612.

    Examples
    --------
    >>> import numpy as np
    >>> from skmixed import IterativeSolver, MixedLinearRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = np.column_stack([rng.integers(0, 300, 5000), rng.integers(0, 200, 5000)])
    >>> y = rng.normal(size=300)[X[:, 0]] + rng.normal(size=200)[X[:, 1]] + rng.normal(size=5000)
    >>> solver = IterativeSolver(random_state=1)
    >>> model = MixedLinearRegressor(group_features=[0, 1], solver=solver).fit(X, y)
    >>> model.solver_
    'iterative'
    >>> exact = MixedLinearRegressor(group_features=[0, 1], solver="newton").fit(X, y)
    >>> np.allclose(model.theta_, exact.theta_, rtol=0.005)
    True
    """

    precision: float = 1e-3
    n_probes: int = 16
    max_probes: int = 512
    random_state: int = 0
    tol: float = 1e-8
    max_iter: int = 200
    callback: Callback | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.precision > 0.0:
            raise ValueError(f"precision={self.precision!r} is not a positive number")
        if not 2 <= self.n_probes <= self.max_probes:
            raise ValueError(
                f"n_probes={self.n_probes!r} and max_probes={self.max_probes!r}: two random "
                "vectors are the least, and there cannot be more than max_probes"
            )
        if self.random_state < 0:
            raise ValueError(f"random_state={self.random_state!r} is negative; a seed is not")

    @classmethod
    def again(cls, krylov: Krylov) -> IterativeSolver:
        """Set the search up for another model of the same data.

        Parameters
        ----------
        krylov : Krylov
            Settings that an earlier search ended with.

        Returns
        -------
        IterativeSolver
            With the same random vectors.
        """
        most = max(cls().max_probes, krylov.n_probes)
        return cls(n_probes=krylov.n_probes, max_probes=most, random_state=krylov.seed)

    @property
    def krylov(self) -> Krylov:
        """Settings of the elimination at the start."""
        return Krylov(self.n_probes, self.random_state)

    def solve(self, problem: Problem) -> tuple[Evaluation, SolverReport]:
        """Minimise the criterion.

        Parameters
        ----------
        problem : Problem
            The model, with at least one random term.

        Returns
        -------
        evaluation : Evaluation
            The model at the optimum.
        report : SolverReport
            How it got there, and what random vectors leave uncertain.
        """
        if not isinstance(problem.elimination, Iterative):
            found, report = Newton(self.tol, self.max_iter, self.callback).solve(problem)
            return found, replace(report, reason=_NESTED)
        search = IterativeSearch(problem, self)
        search.run()
        return search.finish()
