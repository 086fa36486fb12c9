"""Levels of a factor whose effects have known correlations, made of ones without any.

Effects b ~ N(0, sigma^2 lambda^2 K) of one random column are T u of independent ones, T T' = K.
With a = diag(Z'WZ) of the levels that have rows and a^1/2 K a^1/2 = Q diag(d) Q', one such
T = a^-1/2 Q d^1/2 has T'Z'WZ T = diag(d): the directions u are levels of a factor like any other,
of which all else follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.elimination.crossed import check_memory
from skmixed.core.linalg import FloatArray, IntArray, semidefinite_root
from skmixed.core.model.relation import RANK_LOST, Relation
from skmixed.core.model.scaling import ScaledModel
from skmixed.core.sums.blocks import PairBlock
from skmixed.core.sums.layout import GroupIndex

_NEGATIVE = 1e-8  # of the largest eigenvalue: rounding of matrices that were written as text
_EIGEN_MATRICES = 6  # of the size of K at a time: K of the levels with rows, work of eigh, Q, T


@dataclass(frozen=True, slots=True, eq=False)
class LevelDirections:
    """Independent effects u of which those of related levels are made, b = T u + rest."""

    of_levels: FloatArray  # (n_levels, n_directions), T
    rest: FloatArray  # (n_levels,), variance of what no level with rows tells, relative
    rest_root: FloatArray  # (n_levels, rank), a root of its covariance
    mean_square: float  # mean of the diagonal of K

    def __len__(self) -> int:
        """Return the number of directions."""
        return int(self.of_levels.shape[1])

    def spread(self, of_directions: FloatArray) -> FloatArray:
        """Return what belongs to levels, (..., n_levels), of what belongs to directions."""
        return np.asarray(of_directions @ self.of_levels.T)

    def gather(self, of_levels: FloatArray) -> FloatArray:
        """Return sums over directions, (..., n_directions), of those over levels."""
        return np.asarray(of_levels @ self.of_levels)

    def draw(self, generator: np.random.Generator, n: int) -> FloatArray:
        """Draw n sets of effects with covariance K, (n, n_levels)."""
        drawn = self.spread(generator.standard_normal((n, len(self))))
        if self.rest_root.shape[1]:
            more = generator.standard_normal((n, self.rest_root.shape[1]))
            drawn += more @ self.rest_root.T
        return drawn


def rotated(
    model: ScaledModel,
    pairs: Mapping[tuple[int, int], PairBlock],
    indexes: list[GroupIndex],
    relations: list[Relation | None],
) -> tuple[ScaledModel, dict[tuple[int, int], PairBlock], tuple[LevelDirections | None, ...]]:
    """Put directions in the place of related levels, whose factors have one random column each.

    Everything is by the positions of the used factors. Raises ValueError for levels that a relation
    does not know, and MemoryError where the eigenvectors would not fit into this machine.
    """
    scales = [1.0 if relation is None else relation.scale for relation in relations]
    model, pairs = _in_units(model, pairs, scales)
    own, right = list(model.own), list(model.right)
    found: list[LevelDirections | None] = []
    for position, (index, relation) in enumerate(zip(indexes, relations, strict=True)):
        if relation is None:
            found.append(None)
            continue
        places = relation.index.find(index)
        directions, values = _directions(relation.matrix, places, own[position][0, 0])
        own[position] = values[None, None]
        right[position] = directions.gather(right[position])
        found.append(directions)
    sizes = [block.shape[2] for block in model.own]
    turned = {
        (i, j): _turned(pair, (sizes[i], sizes[j]), found[i], found[j])
        for (i, j), pair in pairs.items()
    }
    products = {ij: pair.products for ij, pair in turned.items()}
    changed = replace(model, own=own, right=right, pairs=products, within=None, first=None)
    return changed, turned, tuple(found)


def _in_units(
    model: ScaledModel, pairs: Mapping[tuple[int, int], PairBlock], scales: list[float]
) -> tuple[ScaledModel, Mapping[tuple[int, int], PairBlock]]:
    """Multiply the random column of every factor, in which its levels' covariance has its unit."""
    if all(scale == 1.0 for scale in scales):
        return model, pairs
    zipped = list(zip(model.own, model.right, model.random_maps, scales, strict=True))
    changed = replace(
        model,
        own=[own * scale**2 for own, _, _, scale in zipped],
        right=[right * scale for _, right, _, scale in zipped],
        random_maps=[random_map * scale for _, _, random_map, scale in zipped],
    )
    scaled = {
        (i, j): replace(pair, products=pair.products * (scales[i] * scales[j]))
        for (i, j), pair in pairs.items()
    }
    return changed, scaled


def _directions(
    matrix: FloatArray, places: IntArray, own: FloatArray
) -> tuple[LevelDirections, FloatArray]:
    """Return the directions of levels at places of K, and d; `own` is Z'WZ, (n_levels,)."""
    seen = np.flatnonzero(own > 0.0)
    check_memory(
        8 * _EIGEN_MATRICES * len(places) * len(seen),
        f"the eigenvectors of {len(seen)} related levels need",
        ". Relate fewer levels, or coarser ones",
    )
    whole = _is_whole(places, len(matrix))
    among = matrix if whole else matrix[np.ix_(places, places)]
    of_seen = among if len(seen) == len(places) else among[np.ix_(seen, seen)]
    root = np.sqrt(own[seen])
    values, vectors = np.linalg.eigh(root[:, None] * of_seen * root)
    if values[0] < -_NEGATIVE * values[-1]:
        raise ValueError(
            "a relationship is positive semidefinite: this one has a negative eigenvalue "
            f"({values[0] / values[-1]:.1e} of its largest, as the rows weigh the levels)"
        )
    kept = values > RANK_LOST * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    sizes = np.sqrt(values)
    told = vectors * (sizes / root[:, None])
    n_levels = len(places)
    rest, rest_root = np.zeros(n_levels), np.empty((n_levels, 0))
    of_levels = told
    if len(seen) < n_levels:
        hidden = np.setdiff1d(np.arange(n_levels), seen)
        of_levels = np.empty((n_levels, len(values)))
        of_levels[seen] = told
        of_levels[hidden] = among[np.ix_(hidden, seen)] * root @ (vectors / sizes)
        left = among[np.ix_(hidden, hidden)] - of_levels[hidden] @ of_levels[hidden].T
        rest[hidden] = np.maximum(left.diagonal(), 0.0)
        part = semidefinite_root(0.5 * (left + left.T))
        rest_root = np.zeros((n_levels, part.shape[1]))
        rest_root[hidden] = part
    mean_square = float(among.diagonal().mean())
    return LevelDirections(of_levels, rest, rest_root, mean_square), values


def _is_whole(places: IntArray, size: int) -> bool:
    return len(places) == size and bool((places == np.arange(size)).all())


def _turned(
    pair: PairBlock,
    sizes: tuple[int, int],
    first: LevelDirections | None,
    second: LevelDirections | None,
) -> PairBlock:
    """Return the products of all pairs of directions, or of levels where a factor has none.

    `sizes` are the numbers of levels of the two factors.
    """
    if first is None and second is None:
        return pair
    k_first, k_second, _ = pair.products.shape
    dense = np.zeros((k_first, k_second, *sizes))
    dense[:, :, pair.rows, pair.columns] = pair.products
    if first is not None:
        dense = first.of_levels.T @ dense
    if second is not None:
        dense = dense @ second.of_levels
    rows, columns = np.indices(dense.shape[2:]).reshape(2, -1)
    counts = np.zeros(len(rows), dtype=np.intp)
    return PairBlock(rows, columns, counts, dense.reshape(k_first, k_second, -1))
