"""Cross-products of the random effects of all factors, written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray
from skmixed.core.sums.blocks import PairBlock


def places_of(shapes: Sequence[tuple[int, int]]) -> list[slice]:
    """Return where the effects of factors of shape (k, n_levels) stand side by side."""
    ends = accumulate((k * n for k, n in shapes), initial=0)
    return [slice(start, stop) for start, stop in pairwise(ends)]


def products_of_effects(own: Blocks, pairs: Mapping[tuple[int, int], PairBlock]) -> FloatArray:
    """Return Z'WZ of all q random effects, (q, q), from its blocks in the levels and their pairs.

    The effects of a factor stand column by column, and within a column level by level.
    """
    shapes = [(block.shape[0], block.shape[2]) for block in own]
    places = places_of(shapes)
    products = np.zeros((places[-1].stop, places[-1].stop))
    for (k, n_levels), place, of_levels in zip(shapes, places, own, strict=True):
        level = np.arange(n_levels)
        block = products[place, place].reshape(k, n_levels, k, n_levels)
        block[:, level, :, level] = of_levels.transpose(2, 0, 1)
    for (i, j), pair in pairs.items():
        block = products[places[i], places[j]].reshape(*shapes[i], *shapes[j])
        block[:, pair.rows, :, pair.columns] = pair.products.transpose(2, 0, 1)
        products[places[j], places[i]] = products[places[i], places[j]].T
    return products
