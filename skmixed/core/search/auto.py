"""Choosing between exact elimination and iterative solution by what they would take."""

from __future__ import annotations

from dataclasses import dataclass

from skmixed.core.elimination.crossed import memory_installed, memory_needed
from skmixed.core.model.spec import ModelSpec
from skmixed.core.search.average_information import IterativeSolver
from skmixed.core.search.newton import Newton
from skmixed.core.search.report import Solver
from skmixed.core.sums.blocks import are_nested
from skmixed.core.sums.crossproducts import CrossProducts

_MEMORY_SHARE = 0.5  # of the memory of the machine; the rest is for the data and everybody else
_MUCH_SLOWER = 10.0  # times as long as the iterative search: more than exact estimates are worth
_LONG = 600.0  # seconds: up to ten minutes exact estimates are waited for whatever the ratio
_DENSE_RATE = 8e9  # width^3 a second in Cholesky factor and inverse; the order of one core
_OUTER_RATE = 1e8  # entries a second added to the complement by sparse outer products
_SPARSE_RATE = 6e8  # entries a second times a vector in passes over the pairs
TYPICAL_EVALUATIONS = 8  # of a search from MINQUE(0)
_ITERATIONS = 8  # of conjugate gradients in a typical solution for a random vector


@dataclass(frozen=True, slots=True)
class CrossedCost:
    """What a crossed design takes: memory for the exact elimination, time for both searches."""

    width: int  # random effects of the factors that are not eliminated
    memory: float  # bytes that the exact elimination needs, with those of a plan of the rows
    exact: float  # seconds, roughly
    iterative: float  # seconds, roughly

    @classmethod
    def of(cls, products: CrossProducts, spec: ModelSpec, n_probes: int) -> CrossedCost | None:
        """Estimate it from the numbers of levels and of pairs of levels that occur.

        None where the factors do not cross. `n_probes` is the number of random vectors a factor.
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
        exact = TYPICAL_EVALUATIONS * (width**3 / _DENSE_RATE + 2.0 * outer / _OUTER_RATE)
        passes = 2 * sum(n * columns[i] * columns[j] for (i, j), n in pairs.items())
        solved = n_probes * sum(columns.values())
        iterative = TYPICAL_EVALUATIONS * _ITERATIONS * passes * solved / _SPARSE_RATE
        memory = memory_needed(width, entries, k) + products.plan_bytes
        return cls(width, memory, exact, iterative)


def choose(
    products: CrossProducts, spec: ModelSpec, newton: Newton, iterative: IterativeSolver
) -> tuple[Solver, str]:
    """Choose a search for a model; return it and why, in a sentence.

    It is Newton's, but the iterative one where that cannot be or would take very long. The sentence
    is empty where there was nothing to choose.
    """
    cost = CrossedCost.of(products, spec, iterative.n_probes)
    if cost is None:
        return newton, ""
    size = f"a dense matrix of {cost.width} x {cost.width} random effects"
    need = f"{cost.memory / 2**30:.2g} GiB"
    installed = memory_installed()
    if installed is not None and cost.memory > _MEMORY_SHARE * installed:
        return iterative, (
            f"the exact elimination needs {need}, mostly for {size}, which is more than half "
            f"of the {installed / 2**30:.3g} GiB of this machine"
        )
    if cost.exact > max(_LONG, _MUCH_SLOWER * cost.iterative):
        return iterative, (
            f"the exact elimination needs {size}, by which it would take about "
            f"{cost.exact / max(cost.iterative, 1.0):.0f} times as long"
        )
    return newton, f"the exact elimination, with {size}, fits into memory ({need})"
