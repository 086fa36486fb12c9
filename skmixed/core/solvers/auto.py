"""Choosing between exact elimination and iterative solution by what they would take."""

from __future__ import annotations

from dataclasses import dataclass

from skmixed.core.blocks import are_nested
from skmixed.core.crossed import memory_installed, memory_needed
from skmixed.core.crossproducts import CrossProducts
from skmixed.core.evaluation import Evaluation
from skmixed.core.problem import Problem
from skmixed.core.solvers.base import Solver
from skmixed.core.solvers.iterative import IterativeSolver
from skmixed.core.solvers.newton import Newton
from skmixed.core.solvers.report import SolverReport
from skmixed.core.spec import ModelSpec

_SHARE = 0.5
_MUCH_SLOWER = 10.0
_LONG = 600.0
_DENSE_RATE, _OUTER_RATE, _SPARSE_RATE = 8e9, 1e8, 6e8
_EVALUATIONS, _ITERATIONS = 8, 8


@dataclass(frozen=True, slots=True)
class Effort:
    """What a crossed design takes.

    Parameters
    ----------
    width : int
        Random effects of the factors that are not eliminated.
    memory : float
        Bytes that the exact elimination needs.
    exact, iterative : float
        Seconds that the searches take, roughly.
    """

    width: int
    memory: float
    exact: float
    iterative: float

    @classmethod
    def of(cls, products: CrossProducts, spec: ModelSpec, n_probes: int) -> Effort | None:
        """Estimate it from the sizes of the factors and the pairs of levels that occur.

        Parameters
        ----------
        products : CrossProducts
            The data.
        spec : ModelSpec
            The model.
        n_probes : int
            Random vectors a factor.

        Returns
        -------
        Effort or None
            None where the factors do not cross.
        """
        used = spec.used_factors
        columns = {f: len(spec.factor_columns(f)) for f in used}
        n_levels = {f: len(products.factors[f].index) for f in used}
        pairs = {
            (i, j): len(pair.rows)
            for (i, j), pair in products.pairs.items()
            if i in columns and j in columns
        }
        if are_nested(n_levels, pairs):
            return None
        eliminated = max(used, key=lambda f: columns[f] * n_levels[f])
        width = sum(columns[f] * n_levels[f] for f in used if f != eliminated)
        entries = sum(
            n * columns[i if j == eliminated else j]
            for (i, j), n in pairs.items()
            if eliminated in (i, j)
        )
        k = columns[eliminated]
        outer = k * entries * (entries / n_levels[eliminated])
        exact = _EVALUATIONS * (width**3 / _DENSE_RATE + 2.0 * outer / _OUTER_RATE)
        passes = 2 * sum(n * columns[i] * columns[j] for (i, j), n in pairs.items())
        solved = n_probes * sum(columns.values())
        iterative = _EVALUATIONS * _ITERATIONS * passes * solved / _SPARSE_RATE
        return cls(width, memory_needed(width, entries, k), exact, iterative)


@dataclass(frozen=True, slots=True)
class Auto:
    """Newton's method, but the iterative search where that cannot be or would take very long.

    Parameters
    ----------
    newton : Newton
        The search with exact elimination.
    iterative : IterativeSolver
        The other.
    """

    newton: Newton
    iterative: IterativeSolver

    def choose(self, products: CrossProducts, spec: ModelSpec) -> tuple[Solver, str]:
        """Choose a search for a model.

        Parameters
        ----------
        products : CrossProducts
            The data.
        spec : ModelSpec
            The model.

        Returns
        -------
        solver : Solver
            The search.
        reason : str
            Why, in a sentence; empty where there was nothing to choose.
        """
        effort = Effort.of(products, spec, self.iterative.n_probes)
        if effort is None:
            return self.newton, ""
        size = f"a dense matrix of {effort.width} x {effort.width} random effects"
        need = f"{effort.memory / 2**30:.2g} GiB"
        installed = memory_installed()
        if installed is not None and effort.memory > _SHARE * installed:
            return self.iterative, (
                f"the exact elimination needs {need}, mostly for {size}, which is more than half "
                f"of the {installed / 2**30:.3g} GiB of this machine"
            )
        if effort.exact > max(_LONG, _MUCH_SLOWER * effort.iterative):
            return self.iterative, (
                f"the exact elimination needs {size}, by which it would take about "
                f"{effort.exact / max(effort.iterative, 1.0):.0f} times as long"
            )
        return self.newton, f"the exact elimination, with {size}, fits into memory ({need})"

    def solve(self, problem: Problem) -> tuple[Evaluation, SolverReport]:
        """Minimise the criterion with exact elimination."""
        return self.newton.solve(problem)
