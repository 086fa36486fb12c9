"""The model in the units the optimiser works in: centred where that is the same model, scaled.

Every column is multiplied by a power of two near the inverse of its root mean square, which rounds
nothing. The unit of the weights is one of the columns: weights of 4 are weights of 1 with twice the
columns. Fixed columns and the response keep the shift of the cross-products if there is an
intercept. Random columns keep it only in a term with an intercept whose structure may be shifted;
anywhere else shifting a slope would be another model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray, block_diagonal, eigenvalues
from skmixed.core.model.spec import ModelSpec
from skmixed.core.sums.blocks import PairBlock, transform
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import CONSTANT

_INDEPENDENT_SHARE = 1e-11  # left of a sum of squares: less is rounding of the cross-products


@dataclass(frozen=True, slots=True, eq=False)
class ColumnMaps:
    """How the columns of a model are made of the stored ones, w of them."""

    kept: tuple[int, ...]  # positions in `ModelSpec.fixed` of the p independent columns
    fixed_and_y: FloatArray  # (w, p + 1), scaled [X y] in terms of the stored columns
    scales: FloatArray  # (p + 1,), multipliers of these
    random: Blocks  # (carried, k), scaled Z of every used factor in terms of those it carries
    effects: Blocks  # (k, k), R of every used factor: raw effects = R @ scaled effects
    gram: FloatArray  # (p + 1, p + 1), [X y]'W[X y] of the cross-products that chose the columns

    @classmethod
    def of(cls, products: CrossProducts, spec: ModelSpec) -> ColumnMaps:
        """Choose independent columns and their scales by the cross-products."""
        undo = products.undo
        fixed_and_y = _fixed_and_response(products, spec, undo)
        scales = _power_of_two_scales(fixed_and_y, products)
        fixed_and_y *= scales
        gram = fixed_and_y.T @ products.gram @ fixed_and_y
        kept = independent_columns(gram[:-1, :-1])
        if len(kept) < len(gram) - 1:
            chosen = [*kept, -1]
            fixed_and_y, scales = fixed_and_y[:, chosen], scales[chosen]
            gram = gram[chosen][:, chosen]
        random = [_random_maps(products, spec, factor, undo) for factor in spec.used_factors]
        z_maps, raw_effects = [z for z, _ in random], [raw for _, raw in random]
        return cls(kept, fixed_and_y, scales, z_maps, raw_effects, gram)


@dataclass(frozen=True, slots=True, eq=False)
class ScaledModel:
    """Cross-products of the columns of one model, in scaled units.

    `within` is there where sums within the levels of a used factor are kept, which has a random
    intercept only, and no other factor has more random effects. `times` is there where levels of
    the only factor are put together (`skmixed.core.model.problem`).
    """

    kept: tuple[int, ...]  # positions in `ModelSpec.fixed` of the p independent columns
    to_raw: FloatArray  # (n_columns, p + 1), scaled [X y] in terms of the raw columns
    response_scale: float  # multiplier of the response, over the root of the unit of W
    log_scales: float  # sum of the logarithms of those of the p fixed columns, in W's own unit
    gram: FloatArray  # (p + 1, p + 1), [X y]'W[X y]
    random_maps: Blocks  # (k, k), R of every used factor: raw effects = R @ scaled effects
    own: Blocks  # (k, k, n_levels), Z'W Z of every used factor
    right: Blocks  # (k, p + 1, n_levels), Z'W[X y] of every used factor
    pairs: dict[tuple[int, int], FloatArray]  # (k_i, k_j, n_pairs), Z_i'W Z_j by positions
    within: FloatArray | None  # (p + 1, p + 1), `gram` of deviations from level means
    first: int | None  # position of the factor of `within`, which is to be eliminated first
    times: FloatArray | None = None  # (n_levels,), levels that each stands for; None for one each

    @classmethod
    def of(cls, products: CrossProducts, spec: ModelSpec) -> ScaledModel:
        """Select, shift and scale the columns of a model."""
        maps = ColumnMaps.of(products, spec)
        return cls.mapped(products, spec, maps, maps.gram)

    @classmethod
    def mapped(
        cls,
        products: CrossProducts,
        spec: ModelSpec,
        maps: ColumnMaps,
        gram: FloatArray | None = None,
    ) -> ScaledModel:
        """Do the same as is known from like cross-products, of the same shift.

        `gram`, (p + 1, p + 1), is [X y]'W[X y] where it is at hand.
        """
        fixed_and_y, root_unit = maps.fixed_and_y, math.sqrt(products.unit)
        if gram is None:
            gram = fixed_and_y.T @ products.gram @ fixed_and_y
        within = _scaled_within(products, spec, fixed_and_y)
        blocks = [products.factors[factor] for factor in spec.used_factors]
        zipped = list(zip(blocks, maps.random, strict=True))
        return cls(
            kept=maps.kept,
            to_raw=products.basis @ fixed_and_y / root_unit,
            response_scale=float(maps.scales[-1]) / root_unit,
            log_scales=float(np.log(maps.scales[:-1]).sum()),
            gram=gram,
            random_maps=[effects / root_unit for effects in maps.effects],
            own=[transform(block.products[:, block.columns], z, z) for block, z in zipped],
            right=[transform(block.products, z, fixed_and_y) for block, z in zipped],
            pairs=_scaled_pairs(products, spec, maps.random),
            within=None if within is None else within[1],
            first=None if within is None else within[0],
        )

    def n_levels(self, factor: int) -> float:
        """Return the number of levels of a used factor."""
        if self.times is None:
            return float(self.own[factor].shape[2])
        return float(np.round(self.times.sum()))

    def total(self, factor: int) -> FloatArray:
        """Return Z'W Z of a used factor, (k, k), summed over its levels."""
        own = self.own[factor]
        return np.asarray(own.sum(axis=2) if self.times is None else own @ self.times)

    def share_left(self, factor: int, columns: slice) -> float:
        """Return the smallest eigenvalue of the correlations of some random columns of a factor."""
        total = self.total(factor)[columns, columns]
        sizes = np.sqrt(total.diagonal())
        return float(eigenvalues(total / np.outer(sizes, sizes))[0]) if sizes.all() else 1.0


def independent_columns(gram: FloatArray) -> tuple[int, ...]:
    """Choose a basis among columns, left to right, from their cross-products, (p, p).

    A column is taken if more than 1e-11 of its sum of squares is left after regression on those
    taken before it. Going left to right, not by size, makes the choice the same for weighted and
    repeated rows.
    """
    rest = gram.copy()
    kept = []
    for j, square in enumerate(gram.diagonal().tolist()):
        pivot = float(rest[j, j])
        if pivot > _INDEPENDENT_SHARE * square:
            kept.append(j)
            if j + 1 < len(rest):
                column = rest[:, j] / math.sqrt(pivot)
                rest -= column[:, None] * column
    return tuple(kept)


def _fixed_and_response(products: CrossProducts, spec: ModelSpec, undo: FloatArray) -> FloatArray:
    """Express the p fixed columns and the response in the w stored columns, (w, p + 1)."""
    width = len(undo)
    maps = np.eye(width)[:, [*spec.fixed, -1]]
    foreign = [j for j in range(width - 1) if j not in spec.fixed]
    if not spec.has_intercept:
        maps[:, :-1] = undo[:, spec.fixed]
        maps[:, -1] -= undo[:, foreign] @ products.basis[foreign, -1]
    elif foreign:  # their shifts may stay
        maps[foreign, -1] = -products.basis[foreign, -1]
    return maps


def _power_of_two_scales(
    maps: FloatArray, products: CrossProducts, alike: Sequence[slice] = ()
) -> FloatArray:
    """Return powers of two that bring root mean squares near one, 1 for a column of zeros, (p,).

    The p columns are given in the stored ones by `maps`, (n_columns, p). The largest of those that
    are `alike` says the scale of all of them.
    """
    mean_squares = ((products.gram @ maps) * maps).sum(axis=0) / products.sum_weights
    for columns in alike:
        mean_squares[columns] = mean_squares[columns].max()
    return np.array(
        [
            math.ldexp(1.0, -round(0.5 * math.log2(each))) if 0.0 < each < math.inf else 1.0
            for each in mean_squares.tolist()
        ]
    )


def _random_maps(
    products: CrossProducts, spec: ModelSpec, factor: int, undo: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Express the random columns of a factor in those its block carries, (carried, k).

    Returns R, (k, k), too, with effects of the raw columns = R @ effects of the scaled ones.
    """
    carried = list(products.factors[factor].columns)
    maps, effects = [], []
    for term in spec.factor_terms(factor):
        structure, places = term.structure, list(term.columns)
        is_shifted = structure.may_shift and CONSTANT in places
        columns = (np.eye(len(undo)) if is_shifted else undo)[:, places]
        scales = _power_of_two_scales(columns, products, structure.units)
        own = (columns * scales)[carried]
        maps.append(own)
        effects.append(products.basis[places][:, carried] @ own)
    return np.concatenate(maps, axis=1), block_diagonal(effects)


def _scaled_pairs(
    products: CrossProducts, spec: ModelSpec, maps: Blocks
) -> dict[tuple[int, int], FloatArray]:
    """Return Z_i'W Z_j of the pairs of levels, by positions among the used factors."""
    position = {factor: n for n, factor in enumerate(spec.used_factors)}
    return {
        (position[i], position[j]): transform(pair.products, maps[position[i]], maps[position[j]])
        for (i, j), pair in products.pairs.items()
        if i in position and j in position
    }


def _scaled_within(
    products: CrossProducts, spec: ModelSpec, right_map: FloatArray
) -> tuple[int, FloatArray] | None:
    """Return the sums within levels where eliminating their factor first can use them.

    As the position of that factor and [X y]'W[X y] of the deviations, (p + 1, p + 1).
    """
    within = products.within
    if within is None or within.factor not in spec.used_factors:
        return None
    if spec.factor_columns(within.factor) != (CONSTANT,):
        return None
    n_effects = {
        factor: len(spec.factor_columns(factor)) * len(products.factors[factor].index)
        for factor in spec.used_factors
    }
    if max(n_effects.values()) > n_effects[within.factor]:
        return None
    position = spec.used_factors.index(within.factor)
    return position, np.asarray(right_map.T @ within.gram @ right_map)


def scaled_pairs(
    products: CrossProducts, spec: ModelSpec, model: ScaledModel
) -> dict[tuple[int, int], PairBlock]:
    """Return the scaled products of pairs of levels, by positions i < j among used factors."""
    used = spec.used_factors
    return {
        (i, j): replace(products.pairs[used[i], used[j]], products=scaled)
        for (i, j), scaled in model.pairs.items()
    }
