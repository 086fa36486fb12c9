"""A model whose residuals have a structure, in scaled units: the criterion at any phi."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from skmixed.core.elimination.choose import arrange
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray
from skmixed.core.model.problem import Problem
from skmixed.core.model.scaling import ColumnMaps, ScaledModel
from skmixed.core.model.spec import ModelSpec
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.residual.structure import Combination, ResidualStructure, Weighing

_MOST_APART = 1e11  # of squares: beyond it, sums keep five digits or fewer of what is within levels
_ROUNDED = 1e-13  # of squares: what is left of them by subtraction may be rounding
_ADVICE = "drop the residual structure, "  # what to do about too many crossed random effects


@dataclass(frozen=True, eq=False)
class CombinedProblem(Problem):
    """The model at some phi, with the combination of tables that it is made of."""

    combination: Combination = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class ResidualProblem:
    """The M tables of a model in scaled units, the same ones at every phi."""

    structure: ResidualStructure  # resolved
    weighing: Weighing  # of the tables by it
    keys: FloatArray  # (M, d), of the tables
    counts: FloatArray  # (M,), of rows, pairs or series behind each
    independent: Problem  # the model of independent residuals of one variance
    gram: FloatArray  # (M, p + 1, p + 1)
    own: Blocks  # (M, k, k, n_levels) of every used factor
    right: Blocks  # (M, k, p + 1, n_levels) of every used factor
    pairs: dict[tuple[int, int], FloatArray]  # (M, k_i, k_j, n_pairs), by positions

    @classmethod
    def of(
        cls, tables: ResidualTables, spec: ModelSpec, resolved: ResidualStructure | None = None
    ) -> ResidualProblem:
        """Scale the tables of a model; they resolve its structure unless that is given."""
        keys, counts = np.array(tables.keys), tables.counts_for(spec.weighting)
        maps = ColumnMaps.of(tables.base, spec)
        scaled = [ScaledModel.mapped(table, spec, maps) for table in tables.tables]
        independent = Problem.of(tables.base, spec)
        structure = resolved or tables.resolved(spec.weighting)
        return cls(
            structure,
            structure.weighing(keys, counts),
            keys,
            counts,
            independent,
            np.array([model.gram for model in scaled]),
            [np.array([model.own[f] for model in scaled]) for f in range(len(maps.random))],
            [np.array([model.right[f] for model in scaled]) for f in range(len(maps.random))],
            {ij: np.array([model.pairs[ij] for model in scaled]) for ij in scaled[0].pairs},
        )

    def under(self, structure: ResidualStructure) -> ResidualProblem:
        """Return the same tables under a structure that is resolved otherwise."""
        if structure == self.structure:
            return self
        weighing = structure.weighing(self.keys, self.counts)
        return replace(self, structure=structure, weighing=weighing)

    def at(self, phi: FloatArray) -> CombinedProblem:
        """Return the model at phi, (q,)."""
        combination = self.weighing(phi)
        c, origin = combination.weights, self.independent
        model = replace(
            origin.model,
            gram=total(c, self.gram),
            own=[total(c, own) for own in self.own],
            right=[total(c, right) for right in self.right],
            pairs={ij: total(c, pair) for ij, pair in self.pairs.items()},
            within=None,
            first=None,
        )
        pairs = {ij: replace(pair, products=model.pairs[ij]) for ij, pair in origin.pairs.items()}
        return CombinedProblem(
            origin.spec,
            model,
            origin.structures,
            arrange(model.own, pairs, advice=_ADVICE),
            pairs,
            origin.n_observations,
            origin.constant + combination.log_det,
            combination=combination,
        )


def total(weights: FloatArray, tables: FloatArray) -> FloatArray:
    """Return combinations of M tables, (..., a, ...) from (M, a, ...), by weights (..., M)."""
    flat = weights @ tables.reshape(len(tables), -1)
    return np.asarray(flat.reshape(*weights.shape[:-1], *tables.shape[1:]))


def squared_distance(problem: Problem) -> float:
    """Return squares of the response over those that one random column by itself leaves.

    The largest of all columns and factors; it has digits as long as it is below 1e13 or so.
    """
    model, found = problem.model, 1.0
    square = float(model.gram[-1, -1])
    for own, right in zip(model.own, model.right, strict=True):
        for column in range(len(own)):
            seen = own[column, column] > 0.0
            between = float((right[column, -1, seen] ** 2 / own[column, column, seen]).sum())
            found = max(found, square / max(square - between, _ROUNDED * square))
    return found


def check_determined(problem: Problem) -> None:
    """Raise ValueError if a model of independent rows leaves nothing for the residuals."""
    if not problem.is_determined:
        raise ValueError(
            "nothing is left for the residuals, whose structure is to be estimated: there are as "
            "many independent fixed columns as rows, or they explain the response exactly"
        )
    apart = squared_distance(problem)
    if apart > _MOST_APART:
        raise ValueError(
            f"levels of a random intercept lie {apart**0.5:.0e} times farther apart than "
            "the rows within them, which leaves the sums of a residual structure too few digits: "
            "subtract from the response of every level its mean, rounded"
        )
