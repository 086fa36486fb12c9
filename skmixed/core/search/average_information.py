"""Average-information REML with random traces, for crossed factors that are solved iteratively.

The gradient is estimated with the same random vectors in every evaluation, so that it is a smooth
function of theta and the search converges as if it were exact (Gilmour, Thompson & Cullis 1995,
doi:10.2307/2533274, with traces by random vectors). The criterion is not evaluated on the way: a
step is judged by the gradients at both of its ends.

What random vectors leave uncertain in theta is the noise of the gradient through the Hessian.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.elimination.iterative.settings import Krylov
from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.linalg import (
    FloatArray,
    block_diagonal,
    diagonal,
    inverse_felt,
    trust_region_step,
)
from skmixed.core.model.evaluation import Evaluation, evaluate
from skmixed.core.model.problem import Problem
from skmixed.core.search.coordinates import Coordinates, local_model, theta_gradient
from skmixed.core.search.minque import minque_start
from skmixed.core.search.newton import Newton
from skmixed.core.search.report import Callback, MonteCarlo, SolverReport
from skmixed.core.search.state import SearchState
from skmixed.core.search.trust_region import ACCEPTED_RATIO, new_radius

_NESTED = "the factors are nested, which is eliminated exactly without a dense matrix"


@dataclass(frozen=True, slots=True)
class IterativeSolver:
    """Stochastic solver for crossed factors too large for a dense factorisation.

    For ``MixedLinearRegressor(solver=...)``; ``solver="iterative"`` is this solver with its
    defaults. Linear systems are solved by preconditioned conjugate gradients; traces and the
    log-determinant are estimated with random probe vectors, so that the variances have a Monte
    Carlo error, which is reported. Single and nested factors are still eliminated exactly.
    :doc:`The benchmark </benchmarks/scaling>` shows for which sizes it pays.

    Parameters
    ----------
    precision : float, default=1e-3
        Target Monte Carlo standard error of every variance, relative to the variance. The number of
        probe vectors is increased until it is reached, up to `max_probes`.
    n_probes : int, default=16
        Initial number of probe vectors per factor. Factors with few more levels than that are
        computed exactly.
    max_probes : int, default=512
        Maximum number of probe vectors per factor.
    random_state : int, default=0
        Seed of the probe vectors. Another seed shows how far results depend on them.
    tol : float, default=1e-8
        Convergence tolerance on the decrease of the criterion. The search also stops when the next
        step is a tenth of the Monte Carlo error.
    max_iter : int, default=200
        Maximum number of gradient evaluations.
    callback : callable or None, default=None
        Called with every `Iteration`, whose criterion is NaN.

    Raises
    ------
    ValueError
        If a setting is out of range.

    See Also
    --------
    MixedLinearRegressor : Takes it as the parameter `solver`.

    Notes
    -----
    An evaluation costs some tens of passes over the observed pairs of levels for every 32 probe
    vectors; memory is a few times that of the pairs. Estimates, predictions with their standard
    errors, Wald tests and intervals are available as usual. Profiles, likelihood comparisons and
    bootstraps require the exact likelihood and raise an error. There is one search, from one
    starting point.

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
        if problem.elimination.krylov is None:
            found, report = Newton(self.tol, self.max_iter, self.callback).solve(problem)
            return found, replace(report, reason=_NESTED)
        search = IterativeSearch(problem, self)
        search.run()
        return search.finish()


_FLAT_ESTIMATED = 1e-6  # slope and curvature relative to the information: less is a solver's error
_LEAST_UNEXPLAINED = 1e-10  # r^2 as a share of y'Wy: solutions have no more digits (`Krylov.tol`)
_SHORTEST_STEP = 1e-6  # of radii, in units of theta: the criterion changes with its square
_LOST_RADIUS = 1e-3  # digits lost within it are lost where the search stands, too
_UNMOVED = 1e-12  # change of an Omega that is rounding of its eigenvectors
_MOST_ESCAPES = 5  # steps off the boundary; more would go to and fro between it and the zeros
_LARGEST_GAIN = 1e-4  # predicted decrease above which noise is no reason to end
_BESIDE_NOISE = 0.1  # of the Monte Carlo error: such a step adds half a percent to it


class IterativeSearch(SearchState):
    """Average-information search by estimated gradients, where it stands and how it got there.

    The crossed factors of the problem are arranged for iterative solution.
    """

    def __init__(self, problem: Problem, settings: IterativeSolver) -> None:
        super().__init__(problem, settings)
        self.settings = settings
        self.escapes = 0
        omegas = minque_start(problem)
        self.move_to(omegas)
        flat = self.flat_factors(self.hessian, _FLAT_ESTIMATED)
        if flat:
            self.confounded = tuple(flat)
            self.move_to([np.zeros_like(o) if f in flat else o for f, o in enumerate(omegas)])

    def evaluate(self, theta: FloatArray) -> Evaluation:
        """Set the model up at theta."""
        self.n_evaluations += 1
        found = evaluate(self.problem, self.coordinates.lambdas(theta))
        if found.square < _LEAST_UNEXPLAINED * self.problem.model.gram[-1, -1]:
            raise LostPrecisionError(
                "the random effects explain the response almost without a rest, for which "
                "solver='iterative' has too few digits: drop a random term, or see whether the "
                "response is computed from the groups"
            )
        return found

    def move_to(self, omegas: Blocks) -> None:
        """Start afresh from given covariances."""
        super().move_to(omegas)
        self.update_derivatives()

    def update_derivatives(self) -> None:
        """Compute gradient and average information where the search stands."""
        self.slope, self.hessian = local_model(self.current, self.coordinates, self.theta)
        self.drop_confounded(self.slope, self.hessian)

    def run(self) -> None:
        """Search until nothing is left to gain."""
        while self.n_evaluations < self.settings.max_iter:
            if not self.descend():
                continue
            if self.snap() or self.leave_boundary() or self.take_more_probes():
                continue
            self.converged = True
            self.message = "the criterion cannot be lowered further"
            return

    def descend(self) -> bool:
        """Try one step; return whether the search has arrived."""
        units = self.units()
        slope, hessian = self.slope * units, self.hessian * np.outer(units, units)
        step, promised = trust_region_step(slope, hessian, self.radius)
        predicted = float(promised)
        length = float(np.linalg.norm(step))
        if self.has_arrived(predicted, units * step):
            return True
        theta = self.theta + units * step
        try:
            trial = self.evaluate(theta)
        except LostPrecisionError:
            if self.radius < _LOST_RADIUS:
                raise
            self.radius = length / 4.0
            return False
        there = theta_gradient(trial, self.coordinates, theta) * units
        ratio = -float((slope + there) @ step) / 2.0 / predicted
        self.radius = new_radius(ratio, length, self.radius)
        accepted = ratio > ACCEPTED_RATIO
        if accepted:
            self.theta, self.current = theta, trial
            self.pivot()
            self.update_derivatives()
        self.record(np.nan, float(np.linalg.norm(slope)), length, accepted)
        return False

    def has_arrived(self, predicted: float, step: FloatArray) -> bool:
        """Tell whether the step to go matters neither to the criterion nor beside the noise."""
        if predicted < self.settings.tol or self.radius < _SHORTEST_STEP:
            return True
        if predicted > _LARGEST_GAIN:
            return False
        noise = self.noise()
        errors = np.sqrt(np.diag(noise))
        return bool((np.abs(step) <= _BESIDE_NOISE * errors).all())

    def snap(self) -> bool:
        """Put exact zeros for variances that are nearly nothing; return whether that moved."""
        omegas = self.omegas
        zipped = zip(self.problem.structures, omegas, strict=True)
        trial = [structure.snapped(omega) for structure, omega in zipped]
        if all(
            np.allclose(a, b, rtol=0.0, atol=_UNMOVED) for a, b in zip(trial, omegas, strict=True)
        ):
            return False
        before = (self.coordinates, self.theta, self.current, self.slope, self.hessian, self.radius)
        self.move_to(trial)
        if self.way_off() is None:  # the optimum is there
            return True
        (self.coordinates, self.theta, self.current, self.slope, self.hessian, self.radius) = before
        return False

    def leave_boundary(self) -> bool:
        """Step off the boundary where the slope leads down; return whether it did."""
        found = self.way_off()
        if found is None or found[0] in self.confounded or self.escapes == _MOST_ESCAPES:
            return False
        self.escapes += 1
        omegas, (factor, direction) = self.omegas, found
        size = max(1.0, float(np.linalg.eigvalsh(omegas[factor])[-1]))
        for exponent in range(1, 5):  # less than 1e-4 would be snapped to zero again
            moved = list(omegas)
            moved[factor] = omegas[factor] + 10.0**-exponent * size * direction
            self.move_to(moved)
            if float((self.current.gradient[factor] * direction).sum()) < 0.0:
                break  # still going down there
        return True

    def take_more_probes(self) -> bool:
        """Take as many random vectors as the precision asks for; return whether that is more."""
        elimination = self.problem.elimination
        krylov, wanted = elimination.krylov, []
        assert krylov is not None
        noise = self.noise()
        for f, error in enumerate(relative_errors(self.coordinates, self.theta, noise)):
            n = krylov.number(f)
            worst = error / self.settings.precision
            enough = n if worst <= 1.0 else int(np.ceil(n * worst**2))
            wanted.append(max(n, min(enough, self.settings.max_probes)))
        if wanted == [krylov.number(f) for f in range(len(wanted))]:
            return False
        krylov = replace(krylov, by_factor=tuple(wanted))
        self.problem = replace(self.problem, elimination=elimination.with_krylov(krylov))
        self.current = self.evaluate(self.theta)
        self.update_derivatives()
        return True

    def noise(self) -> FloatArray:
        """Return the covariance of theta over draws of the random vectors, (t, t)."""
        return theta_noise(self.coordinates, self.current, self.theta, self.hessian)

    def total_covariance(self) -> FloatArray:
        """Return the Monte Carlo covariance of theta, (t, t), with the step left undone."""
        left = inverse_felt(self.hessian, _FELT_CURVATURE) @ self.slope
        noise = self.noise()
        return noise + np.outer(left, left)

    @property
    def n_probes(self) -> tuple[int, ...]:
        """Random vectors of every factor; 0 where there was no need of any."""
        factorisation = self.current.factorisation
        return tuple(len(factorisation.samples(f)) for f in range(len(self.coordinates.places)))

    def finish(self) -> tuple[Evaluation, SolverReport]:
        """Put exact zeros, rows back in their natural order, and report."""
        omegas, structures = self.omegas, self.problem.structures
        exact = [s.snapped(o) for s, o in zip(structures, omegas, strict=True)]
        close = [
            np.allclose(a, b, rtol=0.0, atol=_UNMOVED) for a, b in zip(exact, omegas, strict=True)
        ]
        ended = [a if same else b for a, b, same in zip(exact, omegas, close, strict=True)]
        self.coordinates = Coordinates.natural(self.problem.structures)
        self.theta = self.coordinates.theta(ended)
        if all(np.array_equal(a, b) for a, b in zip(ended, omegas, strict=True)):
            self.current = self.current.with_lambdas(self.coordinates.lambdas(self.theta))
        else:
            self.current = self.evaluate(self.theta)
        self.update_derivatives()
        report = SolverReport(
            "iterative",
            self.converged,
            self.n_evaluations,
            self.message,
            tuple(self.trace),
            self.confounded,
            reason="solver='iterative' was asked for",
            monte_carlo=MonteCarlo(self.n_probes, self.total_covariance()),
        )
        return self.current, report


_FELT_CURVATURE = 1e-9  # eigenvalue relative to the largest or 1: theta is not determined below
_STUDENT = 3.0  # Student's t: three standard errors from n vectors cover what three do of many


def theta_noise(
    coordinates: Coordinates, evaluation: Evaluation, theta: FloatArray, hessian: FloatArray
) -> FloatArray:
    """Return the covariance of theta, (t,), over draws of the random vectors, (t, t).

    Zero for what no random vector was needed for. `hessian`, (t, t), holds the second derivatives
    of the criterion at `evaluation`, which has random traces.
    """
    noise = []
    for f, directions in enumerate(coordinates.directions(theta)):
        samples, t = evaluation.factorisation.samples(f), len(directions)
        n = len(samples)
        if not n:
            noise.append(np.zeros((t, t)))
            continue
        slopes = directions.reshape(t, -1) @ samples.reshape(n, -1).T
        noise.append((1.0 + _STUDENT / n) ** 2 * np.atleast_2d(np.cov(slopes)) / n)
    inverse = inverse_felt(hessian, _FELT_CURVATURE)
    return np.asarray(inverse @ block_diagonal(noise) @ inverse)


def relative_errors(
    coordinates: Coordinates, theta: FloatArray, covariance: FloatArray
) -> list[float]:
    """Return the largest Monte Carlo error of a variance of every factor, relative to it.

    `covariance`, (t, t), is that of `theta_noise`. Errors of zero variances count as zero.
    """
    worst = []
    zipped = zip(
        coordinates.places, coordinates.directions(theta), coordinates.lambdas(theta), strict=True
    )
    for place, directions, lam in zipped:
        slopes = diagonal(directions)
        errors = np.einsum("ai,ab,bi->i", slopes, covariance[place, place], slopes)
        variances = np.diag(lam @ lam.T)
        seen = variances > 0
        relative = np.sqrt(np.maximum(errors[seen], 0.0)) / variances[seen]
        worst.append(float(relative.max(initial=0.0)))
    return worst
