"""Many cross-products merged at once, their levels matched by hashing the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.linalg import IntArray
from skmixed.core.sums.blocks import FactorBlock, PairBlock, pair_keys
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.groups import GroupIndex, LabelArray, concatenated_labels, unique_rows
from skmixed.design.tables import Labels


def merge(parts: Sequence[CrossProducts]) -> CrossProducts:
    """Merge the cross-products of disjoint sets of rows, all of the same layout.

    The result equals their sum, except that levels and pairs stand in any order: see `in_order`.
    Every label is hashed once, however many parts there are.
    """
    if len(parts) == 1:
        return parts[0]
    largest = max(parts, key=lambda part: part.n_rows)
    parts = [part.rebased(largest.basis) for part in parts]
    if any(part.within is not None for part in parts):
        return reduce(add, parts)
    united = [
        _united_levels([part.factors[number].index for part in parts])
        for number in range(len(largest.factors))
    ]
    return replace(
        largest,
        n_rows=sum(part.n_rows for part in parts),
        sum_weights=sum(part.sum_weights for part in parts),
        sum_log_weights=sum(part.sum_log_weights for part in parts),
        gram=np.sum([part.gram for part in parts], axis=0),
        factors=tuple(
            _merged_block([part.factors[number] for part in parts], index, places)
            for number, (index, places) in enumerate(united)
        ),
        pairs={
            (i, j): _merged_pairs(
                [part.pairs[i, j] for part in parts], united[i][1], united[j][1], len(united[j][0])
            )
            for i, j in largest.pairs
        },
    )


def _united_levels(indexes: list[GroupIndex]) -> tuple[GroupIndex, list[IntArray]]:
    """Return all levels, and per part the places of its levels among them, (n_levels,) each."""
    key = indexes[0].key
    codes, labels = [], []
    for column in range(len(key)):
        together = reduce(concatenated_labels, [index.labels[column] for index in indexes])
        of_column, known = _hashed(together)
        codes.append(of_column)
        labels.append(known)
    ends = np.cumsum([len(index) for index in indexes])[:-1]
    if len(key) == 1:
        return GroupIndex(key, (labels[0],)), np.split(codes[0], ends)
    combined = np.zeros(len(codes[0]), dtype=np.intp)
    for of_column, known in zip(codes, labels, strict=True):
        combined = pd.factorize(combined * len(known) + of_column)[0].astype(np.intp, copy=False)
    first = np.empty(combined.max(initial=-1) + 1, dtype=np.intp)
    first[combined[::-1]] = np.arange(len(combined))[::-1]
    found = tuple(known[of_column[first]] for of_column, known in zip(codes, labels, strict=True))
    return GroupIndex(key, found), np.split(combined, ends)


def _hashed(labels: LabelArray) -> tuple[IntArray, LabelArray]:
    """Return codes, (n,), and distinct labels; objects such as strings are not sorted."""
    if labels.dtype != object:
        learned, codes = Labels.learn(labels)
        return codes, learned.values
    codes, uniques = pd.factorize(labels)
    return codes.astype(np.intp, copy=False), np.asarray(uniques)


def _merged_block(
    blocks: list[FactorBlock], index: GroupIndex, places: list[IntArray]
) -> FactorBlock:
    """Add up blocks of one factor whose levels go to the given places of `index`."""
    k, width = blocks[0].products.shape[:2]
    counts = np.zeros(len(index), dtype=blocks[0].counts.dtype)
    products = np.zeros((k, width, len(index)))
    for block, where in zip(blocks, places, strict=True):
        counts[where] += block.counts
        for target, sums in zip(
            products.reshape(k * width, -1), block.products.reshape(k * width, -1), strict=True
        ):
            target[where] += sums
    return FactorBlock(index, blocks[0].columns, counts, products)


def _merged_pairs(
    pairs: list[PairBlock], rows: list[IntArray], columns: list[IntArray], width: int
) -> PairBlock:
    """Add up blocks of one pair of factors; `width` counts the levels of the second."""
    keys = np.concatenate(
        [
            pair_keys(of_row[pair.rows], of_column[pair.columns], width)
            for pair, of_row, of_column in zip(pairs, rows, columns, strict=True)
        ]
    )
    order = np.argsort(keys, kind="stable")  # merges the sorted runs, in one pass where they are
    keys = keys[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))[: len(keys)]
    counts = np.add.reduceat(np.concatenate([pair.counts for pair in pairs])[order], starts)
    products = np.empty((*pairs[0].products.shape[:2], len(starts)))
    for a, b in np.ndindex(products.shape[:2]):
        sums = np.concatenate([pair.products[a, b] for pair in pairs])[order]
        products[a, b] = np.add.reduceat(sums, starts)
    of_row, of_column = np.divmod(keys[starts], width)
    return PairBlock(of_row.astype(np.intp), of_column.astype(np.intp), counts, products)


def in_order(products: CrossProducts) -> CrossProducts:
    """Return the same cross-products with sorted levels and pairs.

    Levels stand where a fit to all rows together puts them; categories are sorted too.
    """
    ranks = [_ranks(block.index) for block in products.factors]
    if all(rank is None for rank in ranks) and all(map(_is_sorted, products.pairs.values())):
        return products
    places = [
        np.arange(len(block.index)) if rank is None else rank
        for rank, block in zip(ranks, products.factors, strict=True)
    ]
    return replace(
        products,
        factors=tuple(
            _ordered_block(block, place)
            for block, place in zip(products.factors, places, strict=True)
        ),
        pairs={
            (i, j): _ordered_pairs(pair, places[i], places[j], len(places[j]))
            for (i, j), pair in products.pairs.items()
        },
    )


def _ranks(index: GroupIndex) -> IntArray | None:
    """Return the rank of every level in sorted order, (n_levels,), None if they are sorted."""
    if len(index.key) == 1 and _increases(index.labels[0]):
        return None
    return unique_rows(list(index.labels))[0]


def _increases(labels: NDArray[Any]) -> bool:
    try:
        return bool(np.all(labels[1:] > labels[:-1]))
    except TypeError:  # labels of mixed types have no order
        return True


def _is_sorted(pair: PairBlock) -> bool:
    keys = pair_keys(pair.rows, pair.columns, int(pair.columns.max(initial=0)) + 1)
    return _increases(keys)


def _ordered_block(block: FactorBlock, place: IntArray) -> FactorBlock:
    """Return a block whose levels are moved to the given places, (n_levels,)."""
    order = np.empty_like(place)
    order[place] = np.arange(len(place))
    index = block.index.take(order)
    return FactorBlock(index, block.columns, block.counts[order], block.products[:, :, order])


def _ordered_pairs(pair: PairBlock, rows: IntArray, columns: IntArray, width: int) -> PairBlock:
    """Return a block of pairs whose levels are moved to the given places, sorted."""
    of_row, of_column = rows[pair.rows], columns[pair.columns]
    order = np.argsort(pair_keys(of_row, of_column, width), kind="stable")
    products = pair.products[:, :, order]
    return PairBlock(of_row[order], of_column[order], pair.counts[order], products)
