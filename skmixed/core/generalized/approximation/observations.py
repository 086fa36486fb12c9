"""The rows of a generalized model, sorted by level and cut into blocks that stay in the cache.

The weights of the working model change with the parameters, so that the rows are gone through again
and again. Nested factors make blocks of whole levels of the coarsest one, which are independent of
each other given the parameters; factors that cross make one block. Equal rows of one level are put
together where the family needs no more than their sums of weights and of y.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy import sparse

from skmixed.core.elimination.protocol import Blocks, Elimination
from skmixed.core.families.family import Family, trials_of
from skmixed.core.generalized.approximation.arrangement import (
    Arrangement,
    Crossing,
    Nested,
    own_products,
    times,
)
from skmixed.core.linalg import WIDE, FloatArray, IntArray
from skmixed.core.model.covariance import Structure
from skmixed.core.model.penalty import ScaledPenalty
from skmixed.core.model.scaling import ScaledModel
from skmixed.core.model.spec import ModelSpec
from skmixed.core.rows.scaled import ScaledTable
from skmixed.core.sums.blocks import FactorBlock
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Layout, Rows, count_integers
from skmixed.core.sums.plan import PairPlan
from skmixed.core.sums.summation import (
    apply_basis,
    choose_basis,
    gram_matrix,
    index_type,
    level_sums,
    refuse_squares,
)

_BLOCK_ROWS = 40_000  # a few arrays of so many numbers stay in the cache of a processor
_GLANCED_ROWS = 2_000  # looked at first, to give up at a column that has nearly no equal values
_MOST_VALUES = 64  # distinct ones of a column; more promise few equal rows
_WORTHWHILE = 0.7  # distinct rows as a share of all, above which nothing is put together


@dataclass(frozen=True, slots=True, eq=False)
class RowBlock:
    """Rows of whole levels, in scaled units, of p fixed columns and k random ones a factor."""

    places: IntArray  # (n,), where the rows stand among `Observations.rows`
    fixed: FloatArray  # (n, p) in Fortran order, X
    random: Blocks  # (k, n) a factor, Z; a single column of ones takes no memory
    y: FloatArray  # (n,)
    weights: FloatArray | None  # (n,), None for ones
    offset: FloatArray | None  # (n,)
    codes: list[IntArray]  # (n,) a factor: level of every row among those of the block
    levels: list[IntArray]  # (n_levels,) a factor: where they stand among all levels
    parts: IntArray  # (n,) part of every row; parts share no level
    parts_of: list[IntArray]  # (n_levels,) a factor: the part of every level
    n_parts: int
    arrangement: Arrangement  # how the levels lie to each other

    def predictor(self, beta: FloatArray) -> FloatArray:
        """Return the offset and X beta, (n,)."""
        eta = self.fixed @ beta
        return eta if self.offset is None else eta + self.offset

    def effects(self, effects: Blocks) -> FloatArray:
        """Return Z b, (n,), of effects, (k, 1, n_levels) a factor."""
        parts: list[FloatArray] = []
        for z, codes, columns in zip(self.random, self.codes, effects, strict=True):
            if _are_of_one_level(columns):
                parts.append(columns[:, 0, 0] @ z)
                continue
            zipped = zip(z, columns[:, 0], strict=True)
            parts += [times(column, effect[codes]) for column, effect in zipped]
        if not parts:
            return np.zeros(len(self.y))
        total = parts[0]
        for part in parts[1:]:
            total += part
        return total

    def sums(self, values: FloatArray) -> Blocks:
        """Return Z'v of values, (n,), as (k, 1, n_levels) a factor."""
        found = []
        for columns, codes, own in zip(self.random, self.codes, self.levels, strict=True):
            if len(own) == 1 and len(columns) >= WIDE:
                found.append((columns @ values)[:, None, None])
                continue
            sums = [_summed(codes, times(z, values), len(own)) for z in columns]
            found.append(np.stack(sums)[:, None])
        return found

    def cross(self, weights: FloatArray) -> Blocks:
        """Return Z'W X of weights, (n,), as (k, p, n_levels) a factor."""
        return [
            level_sums(codes, len(own), [times(z, weights) for z in columns], self.fixed)
            for columns, codes, own in zip(self.random, self.codes, self.levels, strict=True)
        ]

    def own(self, weights: FloatArray) -> Blocks:
        """Return Z'W Z of weights, (n,), as (k, k, n_levels) a factor."""
        return [
            own_products(z, weights, codes, len(own))
            for z, codes, own in zip(self.random, self.codes, self.levels, strict=True)
        ]

    def gram(self, weights: FloatArray) -> FloatArray:
        """Return X'W X, (p, p), of weights, (n,)."""
        return gram_matrix(self.fixed, weights)

    def elimination(self, weights: FloatArray) -> Elimination:
        """Return the random columns under weights, (n,), arranged to be eliminated."""
        return self.arrangement.filled(self.random, self.codes, weights)

    def part_sums(self, values: FloatArray, of_levels: Blocks) -> FloatArray:
        """Sum values of rows, (n,), and of levels, (n_levels,) a factor, within parts.

        The result is (n_parts,).
        """
        total = _summed(self.parts, values, self.n_parts)
        for parts, value in zip(self.parts_of, of_levels, strict=True):
            total += _summed(parts, value, self.n_parts)
        return total


def _are_of_one_level(effects: FloatArray) -> bool:
    """Tell whether many effects, (k, 1, n_levels), are those of a single level."""
    return effects.shape[2] == 1 and len(effects) >= WIDE


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """All rows of a model, and the units that they are in."""

    blocks: tuple[RowBlock, ...]
    layout: Layout
    given: Rows  # as they were given
    offset: FloatArray | None  # (n,), of these
    rows: Rows  # all of them, equal ones put together
    cells: IntArray | None  # (n,), where every given row stands among these; None: as given
    family: Family
    spec: ModelSpec
    structures: tuple[Structure, ...]  # covariance of every used factor
    units: ScaledModel  # of no levels: the maps to and from scaled units
    basis: FloatArray  # (n_columns, n_columns), of the shifted columns
    n_levels: tuple[int, ...]  # of every used factor
    is_nested: bool  # whether of every two factors one lies within the other
    n_rows: int  # as they were given
    counted: CrossProducts  # of rows as they were given, weights that count them in it; no levels
    constant: float | None  # of the likelihood; None where it depends on the dispersion

    @classmethod
    def of(
        cls,
        layout: Layout,
        rows: Rows,
        spec: ModelSpec,
        family: Family,
        offset: FloatArray | None = None,
        *,
        together: bool = True,
    ) -> Observations:
        """Sort, scale and cut the rows of a layout; the offset is (n,).

        Equal rows are put together unless that is ruled out, as where they are of several clusters.
        Raises ValueError for an impossible response, and for columns whose squares overflow.
        """
        y = rows.columns[:, layout.response]
        family.check(y, rows.weights)
        constant = None
        if not family.n_dispersions:
            constant = family.constant(y, rows.weights, family.first_phi)
        summed = _summed_columns(layout, rows)
        _refuse_squares(summed, rows)
        units, basis, counted = ScaledModel.of(summed, spec), summed.basis, summed
        if rows.weights is not None and family.sizes(y, rows.weights) is None:
            counted = _summed_columns(layout, rows, rows.weights, basis)
        given, given_offset, cells = rows, offset, None
        if together and family.collapses:
            rows, offset, cells = collapsed(layout, rows, spec, offset)
        sizes = [len(rows.indexes[factor]) for factor in spec.used_factors]
        codes = [rows.codes[factor] for factor in spec.used_factors]
        pairs = {
            (i, j): PairPlan.of((codes[i], codes[j]), (sizes[i], sizes[j]))
            for i, j in combinations(range(len(sizes)), 2)
        }
        nested = Nested.of(pairs, sizes)
        table = _Table(units, basis, spec, rows, offset, layout.response)
        blocks = table.nested(nested, codes) if nested else table.crossing(pairs, sizes, codes)
        structures = tuple(spec.structure(factor) for factor in spec.used_factors)
        return cls(
            tuple(blocks),
            layout,
            given,
            given_offset,
            rows,
            cells,
            family,
            spec,
            structures,
            units,
            basis,
            tuple(sizes),
            nested is not None,
            len(y),
            counted,
            constant,
        )

    @property
    def weight(self) -> float:
        """Total weight of the rows, their number where they have none."""
        return float(trials_of(self.rows.weights, len(self.rows.columns)).sum())

    @property
    def rank(self) -> int:
        """Number of independent fixed columns."""
        return len(self.units.kept)

    @property
    def penalties(self) -> tuple[ScaledPenalty, ...]:
        """The penalties of every used factor; none at all where no term has one."""
        return self.spec.penalties(self.units.random_maps)

    def is_penalised(self, factor: int) -> bool:
        """Tell whether the covariance of some term of a used factor has a penalty."""
        return self.spec.is_penalised and bool(self.penalties[factor].parts)

    def with_response(self, y: FloatArray) -> Observations:
        """Return the same rows with another response, (n,), in the order they were given in.

        Raises ValueError for an impossible one.
        """
        family, response, weights = self.family, self.layout.response, self.given.weights
        family.check(y, weights)
        constant = self.constant
        if constant is not None:
            constant = family.constant(y, weights, family.first_phi)
        given = _with_column(self.given, response, y)
        rows = given
        if self.cells is not None:
            together, _ = _put_together(y, weights, self.cells, len(self.rows.columns))
            rows = _with_column(self.rows, response, together)
        values = rows.columns[:, response]
        blocks = tuple(replace(block, y=values[block.places]) for block in self.blocks)
        return replace(self, blocks=blocks, given=given, rows=rows, constant=constant)

    def repeated(self, times: IntArray) -> Observations:
        """Return every given row so many times, (n,), each of weight one."""
        again = np.repeat(np.arange(len(times)), times)
        rows = self.given.take(again)
        rows = Rows(rows.columns, rows.codes, rows.indexes, None)
        offset = None if self.offset is None else self.offset[again]
        return Observations.of(self.layout, rows, self.spec, self.family, offset)


def _with_column(rows: Rows, place: int, values: FloatArray) -> Rows:
    columns = rows.columns.copy(order="K")
    columns[:, place] = values
    return Rows(columns, rows.codes, rows.indexes, rows.weights)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Rows that are to be cut into blocks."""

    units: ScaledModel
    basis: FloatArray  # (n_columns, n_columns)
    spec: ModelSpec
    rows: Rows
    offset: FloatArray | None  # (n,)
    response: int

    def nested(self, nested: Nested, codes: list[IntArray]) -> Iterator[RowBlock]:
        """Yield blocks of whole levels of the coarsest factor."""
        n, order = len(self.rows.columns), nested.order
        if not order:
            for start in range(0, n, _BLOCK_ROWS):
                yield self._block(np.arange(start, min(start + _BLOCK_ROWS, n)), [], [], nested)
            return
        ranks = nested.ranks()
        ranked = [rank[of_rows] for rank, of_rows in zip(ranks, codes, strict=True)]
        by_rank = [np.argsort(rank) for rank in ranks]
        of_rows = sorted_order(ranked[order[0]], nested.sizes[order[0]])
        outer = order[-1]
        ends = np.cumsum(np.bincount(ranked[outer], minlength=nested.sizes[outer]))
        parents = {
            (s, t): ranks[order[t]][its[by_rank[order[s]]]]
            for (s, t), its in nested.parents.items()
        }
        for low, high in _cuts(ends):
            rows = of_rows[ends[low - 1] if low else 0 : ends[high - 1]]
            first, levels, local = [0] * len(order), [np.empty(0, np.intp)] * len(order), []
            for s, factor in enumerate(order):
                bounds = (low, high)
                if factor != outer:
                    of_levels = parents[s, len(order) - 1]
                    bounds = tuple(np.searchsorted(of_levels, [low, high]).tolist())
                first[factor] = bounds[0]
                levels[factor] = by_rank[factor][slice(*bounds)]
            local = [ranked[f][rows] - first[f] for f in range(len(order))]
            inside = Nested(
                order,
                {
                    (s, t): its[first[order[s]] :][: len(levels[order[s]])] - first[order[t]]
                    for (s, t), its in parents.items()
                },
                [len(own) for own in levels],
            )
            yield self._block(rows, local, levels, inside)

    def crossing(
        self, pairs: dict[tuple[int, int], PairPlan], sizes: list[int], codes: list[IntArray]
    ) -> Iterator[RowBlock]:
        """Yield all rows as one block."""
        levels = [np.arange(size) for size in sizes]
        widths = [len(self.spec.factor_columns(factor)) for factor in self.spec.used_factors]
        largest = max(range(len(sizes)), key=lambda factor: widths[factor] * sizes[factor])
        rows = sorted_order(codes[largest], sizes[largest])
        local = [of_rows[rows] for of_rows in codes]
        arrangement = Crossing.of(
            {ij: pair.part(rows) for ij, pair in pairs.items()}, sizes, widths, local
        )
        yield self._block(rows, local, levels, arrangement)

    def _scaled(self, rows: IntArray) -> ScaledTable:
        return ScaledTable.in_units(self.units, self.basis, self.spec, self.rows.take(rows))

    def _block(
        self,
        rows: IntArray,
        codes: list[IntArray],
        levels: list[IntArray],
        arrangement: Nested | Crossing,
    ) -> RowBlock:
        table, given = self._scaled(rows), self.rows.weights
        parts, parts_of = np.zeros(len(rows), np.intp), [np.zeros(len(o), np.intp) for o in levels]
        n_parts = 1
        if isinstance(arrangement, Nested) and levels:
            order, last = arrangement.order, len(levels) - 1
            parts, n_parts = codes[order[last]], len(levels[order[last]])
            for s, factor in enumerate(order):
                parts_of[factor] = np.arange(n_parts) if s == last else arrangement.parents[s, last]
        return RowBlock(
            rows,
            np.asfortranarray(table.fixed[:, :-1]),
            [_plain(z) for z in table.random],
            self.rows.columns[rows, self.response],
            None if given is None else given[rows],
            None if self.offset is None else self.offset[rows],
            codes,
            levels,
            parts,
            parts_of,
            n_parts,
            arrangement,
        )


def _plain(z: FloatArray) -> FloatArray:
    """Return random columns, (k, n), a single one of ones as one number for all rows."""
    return np.broadcast_to(1.0, z.shape) if len(z) == 1 and (z == 1.0).all() else z


def _summed(codes: IntArray, values: FloatArray, size: int) -> FloatArray:
    """Sum values under their codes, (size,)."""
    return np.bincount(codes, values, minlength=size).astype(np.float64, copy=False)


def _cuts(ends: IntArray) -> Iterator[tuple[int, int]]:
    """Yield ranges of levels of about `_BLOCK_ROWS` rows, given where their rows end."""
    low = 0
    while low < len(ends):
        before = int(ends[low - 1]) if low else 0
        high = max(low + 1, int(np.searchsorted(ends, before + _BLOCK_ROWS, side="right")))
        yield low, high
        low = high


def sorted_order(codes: IntArray, size: int) -> IntArray:
    """Return a stable order of codes below a size, (n,), by transposing a sparse matrix."""
    if (codes[1:] >= codes[:-1]).all():
        return np.arange(len(codes))
    small = index_type(len(codes), size)
    rows = np.arange(len(codes) + 1, dtype=small)
    matrix = sparse.csr_matrix((rows[:-1], codes.astype(small), rows), shape=(len(codes), size))
    return np.asarray(matrix.tocsc().data, dtype=np.intp)


def _summed_columns(
    layout: Layout,
    rows: Rows,
    weights: FloatArray | None = None,
    basis: FloatArray | None = None,
) -> CrossProducts:
    """Sum the products of all columns over all rows, without levels."""
    if basis is None:
        basis = choose_basis(rows.columns)
        basis[:, -1] = np.eye(len(basis))[-1]  # the response stays as it is
    n, width = rows.columns.shape
    factors = tuple(
        FactorBlock(
            index.take(np.empty(0, dtype=np.intp)),
            factor.columns,
            np.empty(0, dtype=np.intp),
            np.empty((len(factor.columns), width, 0)),
        )
        for factor, index in zip(layout.factors, rows.indexes, strict=True)
    )
    with np.errstate(over="ignore", invalid="ignore"):
        gram = gram_matrix(apply_basis(rows.columns, basis), weights)
    total = float(n if weights is None else weights.sum())
    return CrossProducts(layout, basis, n, total, 0.0, gram, factors, {})


def _refuse_squares(products: CrossProducts, rows: Rows) -> None:
    """Raise ValueError for a column whose squares overflow or vanish; those of y may vanish."""
    squares = products.gram.diagonal().copy()
    squares[-1] = np.maximum(squares[-1], 1.0)
    basis = products.basis
    refuse_squares(products.layout.columns, squares, lambda: apply_basis(rows.columns, basis))


def collapsed(
    layout: Layout, rows: Rows, spec: ModelSpec, offset: FloatArray | None
) -> tuple[Rows, FloatArray | None, IntArray | None]:
    """Put together the rows that differ in y alone, where that saves much.

    The sums of their weights and of their weighted y are those of one row each. The third is where
    every row has gone, (n,), None where they stay as they are.
    """
    used = {*spec.fixed, *(column for term in spec.terms for column in term.columns)} - {0}
    columns = [rows.columns[:, column] for column in sorted(used)]
    if offset is not None:
        columns.append(offset)
    keys = _cells(columns, len(rows.columns))
    if keys is None:
        return rows, offset, None
    for factor in range(len(rows.codes)):  # all that the sums are kept of
        size = len(rows.indexes[factor])
        counted = count_integers(keys * size + rows.codes[factor])
        if counted is None:
            return rows, offset, None
        keys = counted[0]
    n_cells = int(keys.max(initial=-1)) + 1
    if n_cells > _WORTHWHILE * len(keys):
        return rows, offset, None
    first = np.empty(n_cells, dtype=np.intp)
    first[keys[::-1]] = np.arange(len(keys))[::-1]
    together = rows.take(first)
    y, total = _put_together(rows.columns[:, layout.response], rows.weights, keys, n_cells)
    together.columns[:, layout.response] = y
    fewer = Rows(together.columns, together.codes, together.indexes, total)
    return fewer, None if offset is None else offset[first], keys


def _put_together(
    y: FloatArray, weights: FloatArray | None, cells: IntArray, n_cells: int
) -> tuple[FloatArray, FloatArray]:
    """Return the mean response of cells and their weight, (n_cells,) each."""
    weights = trials_of(weights, len(y))
    total = _summed(cells, weights, n_cells)
    return _summed(cells, weights * y, n_cells) / total, total


def _cells(columns: list[FloatArray], n: int) -> IntArray | None:
    """Give rows that agree in every column one number, (n,); None at a column of many values."""
    keys = np.zeros(n, dtype=np.intp)
    for column in columns:
        values = np.unique(column[:_GLANCED_ROWS])
        if len(values) > _MOST_VALUES:
            return None
        codes = np.minimum(np.searchsorted(values, column), len(values) - 1)
        if not np.array_equal(values[codes], column):
            return None
        counted = count_integers(keys * len(values) + codes)
        if counted is None:
            return None
        keys = counted[0]
    return keys
