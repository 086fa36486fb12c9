"""Tables of sums over pairs of rows, from which the cross-products at any phi are combined.

Each table is a set of cross-products of the same layout, shift and levels. They add, part by part,
as long as every series is in one part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skmixed.core.elimination.crossed import memory_installed
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.spec import Weighting
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.structure import Combination, Key, ResidualStructure, Selection
from skmixed.core.sums.blocks import FactorBlock, PairBlock
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import GroupIndex, Layout, Rows
from skmixed.core.sums.plan import Plan
from skmixed.core.sums.summation import apply_basis, in_unit, level_sums

MOST_MEMORY = 0.5  # of the machine: the search takes about as much again


@dataclass(frozen=True, eq=False)
class ResidualTables:
    """Everything that fitting a residual structure needs to know of the data."""

    structure: ResidualStructure
    base: CrossProducts  # of independent rows of one variance
    keys: tuple[Key, ...]  # of the M tables
    counts: FloatArray  # (M,), of rows, pairs or series behind each
    weighted_counts: FloatArray  # (M,), the same by sums of the weights of rows
    tables: tuple[CrossProducts, ...]  # Z'T W and W'T W of every T
    series: GroupIndex | None = None  # the series whose rows are in them
    sizes: IntArray | None = None  # (n_series,) rows of each

    @classmethod
    def of(
        cls,
        layout: Layout,
        rows: Rows,
        residual_rows: ResidualRows,
        structure: ResidualStructure,
        basis: FloatArray | None = None,
        among: CrossProducts | None = None,
    ) -> ResidualTables:
        """Sum over rows of the layout, whose series are whole.

        Levels and pairs of levels may be looked up `among` those of sums that the rows are part of.
        Raises ValueError for series that meet several levels of a factor, or for what the structure
        refuses, and MemoryError for tables that would not fit into this machine.
        """
        plan = Plan.of(layout, rows, None if among is None else among.pairs)
        base = CrossProducts.summed(plan, rows.columns, rows.weights, basis)
        selections = structure.selections(residual_rows)
        check_memory(base, len({each.key for each in selections}))
        if structure.is_correlated:
            _check_series(layout, rows, residual_rows)
        summed = _PairSums.of(base, rows)
        found: dict[Key, tuple[float, float, CrossProducts]] = {}
        for each in selections:
            table = (each.count, summed.weight(each), summed.table(each))
            found[each.key] = _added(found[each.key], table) if each.key in found else table
        keys = tuple(sorted(found))
        series = residual_rows.labels if structure.is_correlated else None
        sizes = None
        if series is not None and residual_rows.series is not None:
            sizes = np.bincount(residual_rows.series, minlength=len(series))
        return cls(
            structure,
            base,
            keys,
            np.array([found[key][0] for key in keys]),
            np.array([found[key][1] for key in keys]),
            tuple(found[key][2] for key in keys),
            series,
            sizes,
        )

    def counts_for(self, weighting: Weighting) -> FloatArray:
        """Return the counts, (M,), as weights of some meaning have them.

        Raises ValueError for weights that count rows which depend on each other.
        """
        if weighting == "precision" or np.array_equal(self.counts, self.weighted_counts):
            return self.counts
        if self.structure.is_correlated:
            raise ValueError(
                "sample weights that count rows have no meaning for residuals that depend on each "
                "other: repeat the rows as series of their own, or let the weights be precisions, "
                "weights='precision'"
            )
        return self.weighted_counts

    def resolved(self, weighting: Weighting) -> ResidualStructure:
        """Return the structure as the tables determine it; raises ValueError where they do not."""
        return self.structure.resolved(np.array(self.keys), self.counts_for(weighting))

    @property
    def n_bytes(self) -> int:
        """Size of the tables in bytes."""
        return len(self.tables) * bytes_of(self.base)

    def combined(
        self, phi: FloatArray, structure: ResidualStructure, weighting: Weighting = "precision"
    ) -> CrossProducts:
        """Return the cross-products weighted by R^-1 at phi, (q,), of a resolved structure."""
        counts = self.counts_for(weighting)
        return self.weighted(structure.weighing(np.array(self.keys), counts)(phi))

    def weighted(self, combination: Combination) -> CrossProducts:
        """Return the combination of the tables as cross-products."""
        c = combination.weights.tolist()
        base = self.base

        def total(arrays: Sequence[FloatArray]) -> FloatArray:
            result = np.zeros_like(arrays[0])
            for weight, array in zip(c, arrays, strict=True):
                result += weight * array
            return result

        return replace(
            base,
            log_det=combination.log_det,
            gram=total([table.gram for table in self.tables]),
            factors=tuple(
                replace(block, products=total([t.factors[f].products for t in self.tables]))
                for f, block in enumerate(base.factors)
            ),
            pairs={
                ij: replace(pair, products=total([t.pairs[ij].products for t in self.tables]))
                for ij, pair in base.pairs.items()
            },
        )

    def without(self, rows: Rows, residual_rows: ResidualRows) -> ResidualTables:
        """Take out some of the rows that were summed: whole series, where these matter.

        The codes of `rows` count the levels of `base`. Raises ValueError if nothing is left, or
        series are torn, or rows are taken out that are not there.
        """
        base = self.base
        if len(rows.columns) >= base.n_rows:
            raise ValueError(
                f"{len(rows.columns)} of {base.n_rows} rows are taken out: nothing is left"
            )
        part = self._of_part(rows, residual_rows)
        series, sizes = _series_left(self, part)
        left = base.minus(part.base.in_unit(base.unit))
        return replace(self, base=left, series=series, sizes=sizes, **self._left(part))

    def _of_part(self, rows: Rows, residual_rows: ResidualRows) -> ResidualTables:
        """Sum over some of the rows, whose codes count the levels of `base`, about its shift."""
        base = self.base
        return ResidualTables.of(base.layout, rows, residual_rows, self.structure, base.basis, base)

    def _left(self, part: ResidualTables) -> dict[str, Any]:
        """Return what is left of keys, counts and tables without those of a part of the rows.

        A part of few values, which have tables of their own, is taken out of points between them
        by tables of the opposite sign.
        """
        keys = tuple(sorted({*self.keys, *part.keys}))
        counts = np.zeros((2, len(keys)))
        tables = []
        unit = self.base.unit
        nothing, empty = _emptied(self.base), _emptied(part.base.in_unit(unit))
        mine, theirs = ({key: m for m, key in enumerate(each.keys)} for each in (self, part))
        for m, key in enumerate(keys):
            whole, gone = nothing, empty
            if key in mine:
                whole = self.tables[mine[key]]
                counts[:, m] = self.counts[mine[key]], self.weighted_counts[mine[key]]
            if key in theirs:
                gone = part.tables[theirs[key]].in_unit(unit)
                counts[:, m] -= part.counts[theirs[key]], part.weighted_counts[theirs[key]]
            tables.append(whole.minus(gone))
        counts[1, counts[0] == 0.0] = 0.0  # of weights rounding may be left
        left = {"counts": counts[0], "weighted_counts": counts[1], "tables": tuple(tables)}
        return {"keys": keys, **left}

    def __add__(self, other: ResidualTables) -> ResidualTables:
        """Merge with the tables of other rows; raise ValueError where a series is in both."""
        return type(self).merged([self, other])

    @classmethod
    def merged(cls, parts: Sequence[ResidualTables]) -> ResidualTables:
        """Merge tables of disjoint sets of whole series."""
        first, *rest = parts
        if not rest:
            return first
        if any(part.structure != first.structure for part in rest):
            raise ValueError("cannot add tables of different residual structures")
        return type(first)._united(parts)

    @classmethod
    def _united(cls, parts: Sequence[ResidualTables]) -> ResidualTables:
        """Merge tables of one structure."""
        first = parts[0]
        series, sizes = united_series(parts)
        keys = tuple(sorted({key for part in parts for key in part.keys}))
        places = [{key: m for m, key in enumerate(part.keys)} for part in parts]
        counts = np.zeros((2, len(keys)))
        tables = []
        for m, key in enumerate(keys):
            own = []
            for part, place in zip(parts, places, strict=True):
                if key in place:
                    at = place[key]
                    counts[:, m] += part.counts[at], part.weighted_counts[at]
                    own.append(part.tables[at])
                else:
                    own.append(_emptied(part.base))
            tables.append(CrossProducts.merged(own))
        base = CrossProducts.merged([part.base for part in parts])
        return cls(first.structure, base, keys, counts[0], counts[1], tuple(tables), series, sizes)


def bytes_of(base: CrossProducts) -> int:
    """Return the size in bytes of one table."""
    factors = sum(block.products.nbytes for block in base.factors)
    return base.gram.nbytes + factors + sum(p.products.nbytes for p in base.pairs.values())


def check_memory(base: CrossProducts, n_tables: int) -> None:
    """Raise MemoryError where tables like some cross-products would not fit into the machine."""
    needed, installed = n_tables * bytes_of(base), memory_installed()
    if installed is not None and needed > MOST_MEMORY * installed:
        raise MemoryError(
            f"this residual structure needs {n_tables} tables of sums, about "
            f"{needed / 2**30:.1f} GiB; this machine has {installed / 2**30:.1f} GiB. Round the "
            "times or covariates of the residual structure, or drop columns"
        )


def _added(
    one: tuple[float, float, CrossProducts], other: tuple[float, float, CrossProducts]
) -> tuple[float, float, CrossProducts]:
    """Add two tables of one key over the same rows."""
    first, second = one[2], other[2]
    table = replace(
        first,
        gram=first.gram + second.gram,
        factors=tuple(
            replace(mine, products=mine.products + theirs.products)
            for mine, theirs in zip(first.factors, second.factors, strict=True)
        ),
        pairs={
            ij: replace(pair, products=pair.products + second.pairs[ij].products)
            for ij, pair in first.pairs.items()
        },
    )
    return one[0] + other[0], one[1] + other[1], table


def _emptied(base: CrossProducts) -> CrossProducts:
    """Return zeros in the place of all sums."""
    return replace(
        base,
        gram=np.zeros_like(base.gram),
        factors=tuple(replace(b, products=np.zeros_like(b.products)) for b in base.factors),
        pairs={
            ij: replace(pair, products=np.zeros_like(pair.products))
            for ij, pair in base.pairs.items()
        },
    )


def united_series(
    parts: Sequence[ResidualTables],
) -> tuple[GroupIndex | None, IntArray | None]:
    """Return the series of all parts; raise ValueError where one is in several."""
    if any(part.series is None or part.sizes is None for part in parts):
        return None, None
    indexes = [part.series for part in parts if part.series is not None]
    union, places = indexes[0].union(*indexes[1:])
    sizes, times = np.zeros((2, len(union)), dtype=np.intp)
    for part, place in zip(parts, places, strict=True):
        sizes[place] += 0 if part.sizes is None else part.sizes
        times[place] += 1
    torn = np.flatnonzero(times > 1)
    if len(torn):
        label = ":".join(str(column[torn[0]]) for column in union.labels)
        raise ValueError(
            f"the rows of {len(torn)} series of {union.name!r}, {label!r} for one, are in several "
            "parts: residuals that depend on each other need every series whole, so divide the "
            "rows by it"
        )
    return union, sizes


def _series_left(
    whole: ResidualTables, part: ResidualTables
) -> tuple[GroupIndex | None, IntArray | None]:
    """Return the series that stay; raise ValueError where some rows of one do."""
    if whole.series is None or whole.sizes is None or part.series is None or part.sizes is None:
        return None, None
    found = whole.series.find(part.series)
    torn = np.flatnonzero(whole.sizes[found] != part.sizes)
    if len(torn):
        label = ":".join(str(column[torn[0]]) for column in part.series.labels)
        raise ValueError(
            f"some rows of {len(torn)} series of {part.series.name!r}, {label!r} for one, are taken"
            " out and others are not: residuals that depend on each other need every series whole"
        )
    kept = np.setdiff1d(np.arange(len(whole.series)), found)
    return whole.series.take(kept), whole.sizes[kept]


def _check_series(layout: Layout, rows: Rows, residual_rows: ResidualRows) -> None:
    """Raise ValueError where a series has rows in several levels of a factor."""
    series = residual_rows.series
    assert series is not None
    for factor, codes, index in zip(layout.factors, rows.codes, rows.indexes, strict=True):
        of_series = np.zeros(int(series.max(initial=-1)) + 1, dtype=np.intp)
        of_series[series] = codes
        torn = np.flatnonzero(of_series[series] != codes)
        if len(torn):
            name = ":".join(factor.key)
            label = ":".join(str(column[codes[torn[0]]]) for column in index.labels)
            raise ValueError(
                f"a series of correlated residuals has rows in several levels of {name!r}, "
                f"{label!r} among them (row {int(torn[0])}): every series must lie within one "
                "level of each grouping factor. Make series of the levels, as in "
                f"'ar1(time | {name})', or drop the random term of {name!r}"
            )


@dataclass(frozen=True, eq=False)
class _PairSums:
    """Rows in the units of cross-products, to be summed over pairs."""

    base: CrossProducts
    columns: FloatArray  # (n, n_columns), shifted, times the root of the weights
    codes: tuple[IntArray, ...]  # (n,) a factor
    pair_codes: dict[tuple[int, int], IntArray]  # (n,) of every two factors that cross
    row_weights: FloatArray | None  # (n,), as they were given

    @classmethod
    def of(cls, base: CrossProducts, rows: Rows) -> _PairSums:
        columns = apply_basis(rows.columns, base.basis)
        weights = in_unit(rows.weights, base.unit)
        if weights is not None:
            columns = columns * np.sqrt(weights)[:, None]
        sizes = [len(index) for index in base.levels]
        crossed = {
            (i, j): pair.find(rows.codes[i], rows.codes[j], sizes[j])
            for (i, j), pair in base.pairs.items()
            if len(pair.rows) not in (sizes[i], sizes[j])
        }
        return cls(base, columns, rows.codes, crossed, rows.weights)

    def weight(self, selection: Selection) -> float:
        """Return the count of a selection by sums of weights of rows, where it counts rows."""
        if self.row_weights is None or selection.second is not None or selection.runs is not None:
            return selection.count
        own = self.row_weights
        if selection.first is not None:
            own = own[selection.first]
        return float(own.sum() if selection.weights is None else own @ selection.weights)

    def table(self, selection: Selection) -> CrossProducts:
        """Sum the pairs of a selection."""
        if selection.first is None and selection.weights is None and selection.runs is None:
            return self.base
        columns, rows = self.columns, None
        if selection.runs is not None:
            order, starts = selection.runs
            columns = np.add.reduceat(columns[order], starts, axis=0)
            rows = order[starts]
        first = columns if selection.first is None else columns[selection.first]
        second = first if selection.second is None else columns[selection.second]
        if selection.first is not None:
            rows = selection.first if rows is None else rows[selection.first]
        return self._summed(first, second, rows, selection)

    def _summed(
        self, first: FloatArray, second: FloatArray, rows: IntArray | None, selection: Selection
    ) -> CrossProducts:
        weights = selection.weights
        left = first if weights is None else first * weights[:, None]
        gram = left.T @ second
        is_one = selection.second is None

        def sums(
            codes: IntArray, n: int, places: Sequence[int], others: slice | list[int]
        ) -> FloatArray:
            own = codes if rows is None else codes[rows]
            found = level_sums(own, n, [first[:, z] for z in places], second[:, others], weights)
            if is_one:
                return found
            back = [second[:, z] for z in places]
            return found + level_sums(own, n, back, first[:, others], weights)

        factors = tuple(
            replace(block, products=sums(codes, len(block.index), block.columns, slice(None)))
            for block, codes in zip(self.base.factors, self.codes, strict=True)
        )
        pairs = {}
        for (i, j), pair in self.base.pairs.items():
            z, others = factors[i].columns, list(factors[j].columns)
            if (i, j) in self.pair_codes:
                products = sums(self.pair_codes[i, j], len(pair.rows), z, others)
            else:
                products = _nested_products(factors[i], factors[j], pair)
            pairs[i, j] = replace(pair, products=np.ascontiguousarray(products))
        gram = gram if is_one else gram + gram.T
        return replace(self.base, gram=gram, factors=factors, pairs=pairs)


def _nested_products(first: FactorBlock, second: FactorBlock, pair: PairBlock) -> FloatArray:
    """Read the products of pairs off the finer of two factors, (k_first, k_second, n_pairs)."""
    if len(pair.rows) == len(first.index):
        return first.products[:, list(second.columns)]
    products = second.products[:, list(first.columns)]
    return products.transpose(1, 0, 2)[:, :, pair.columns]
