"""The same cross-products for other columns: put in another order, left out, or zero everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from skmixed.core.blocks import FactorBlock, PairBlock
from skmixed.core.crossproducts import CrossProducts
from skmixed.core.groups import IntArray
from skmixed.core.layout import FactorLayout, FloatArray, Layout

_ABSENT = -1  # the place of a column that is not there: any number below 0


def united_layout(layouts: Sequence[Layout]) -> Layout:
    """Return a layout with the columns of several, found by name, in the order they are met.

    Raises ValueError if the layouts have different factors.
    """
    keys = [factor.key for factor in layouts[0].factors]
    if any([factor.key for factor in layout.factors] != keys for layout in layouts):
        raise ValueError("cannot unite layouts of different factors")
    names = tuple(dict.fromkeys(name for layout in layouts for name in layout.columns[:-1]))
    factors = []
    for number, key in enumerate(keys):
        used = {layout.columns[i] for layout in layouts for i in layout.factors[number].columns}
        factors.append(FactorLayout(key, tuple(i for i, n in enumerate(names) if n in used)))
    return Layout((*names, layouts[0].columns[-1]), tuple(factors))


def arranged(products: CrossProducts, layout: Layout) -> CrossProducts:
    """Return cross-products as if summed over the columns of another layout, found by name.

    The factors are the same. A column that `products` does not have is zero in all of its rows.
    Raises ValueError if a column is left out that the response was shifted by.
    """
    old = products.layout
    if old == layout:
        return products
    place = {name: i for i, name in enumerate(old.columns[:-1])}
    where = np.array([place.get(name, _ABSENT) for name in layout.columns[:-1]] + [old.response])
    dropped = np.setdiff1d(np.arange(len(old.columns)), where)
    if products.basis[dropped, -1].any():
        raise ValueError("a column is left out that the response was shifted by")
    basis = _spread(products.basis, where, where)
    basis[np.diag_indices_from(basis)] = 1.0
    chosen = [
        _random_places(where, theirs.columns, mine.columns)
        for mine, theirs in zip(products.factors, layout.factors, strict=True)
    ]
    return replace(
        products,
        layout=layout,
        basis=basis,
        gram=_spread(products.gram, where, where),
        factors=tuple(
            FactorBlock(
                block.index, wanted.columns, block.counts, _spread(block.products, rows, where)
            )
            for block, wanted, rows in zip(products.factors, layout.factors, chosen, strict=True)
        ),
        pairs={
            (i, j): PairBlock(
                pair.rows, pair.columns, pair.counts, _spread(pair.products, chosen[i], chosen[j])
            )
            for (i, j), pair in products.pairs.items()
        },
        within=products.within
        and replace(products.within, gram=_spread(products.within.gram, where, where)),
    )


def _random_places(where: IntArray, wanted: Sequence[int], there: Sequence[int]) -> IntArray:
    """Return where the random columns that are wanted stand among those that are there."""
    known = {column: i for i, column in enumerate(there)}
    return np.array([known.get(int(where[column]), _ABSENT) for column in wanted])


def _spread(values: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
    """Return rows and columns of a table, zeros where they are absent."""
    result = np.zeros((len(rows), len(columns), *values.shape[2:]))
    to_rows, to_columns = np.flatnonzero(rows >= 0), np.flatnonzero(columns >= 0)
    picked = values[np.ix_(rows[to_rows], columns[to_columns])]
    result[np.ix_(to_rows, to_columns)] = picked
    return result
