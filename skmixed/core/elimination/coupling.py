"""Cross-products of an eliminated factor with the columns of all the others.

They meet in two ways: the dense complement subtracts, level by level, the outer products of their
rows, and the gradient needs the form of every row in a dense matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np
from scipy import sparse

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.sums.summation import index_type

_DENSE_ABOVE = 0.2  # share of entries that occur; with more, dense products are the faster ones
_MOST_PAIRS = 5_000_000  # entries of the outer products: 80 megabytes with their places
_MOST_DENSE_PRODUCTS = 3e7  # of two columns of all levels: 240 megabytes
_WORK_BYTES = 2**27  # of the rows of some levels times a dense matrix: 128 megabytes at a time

Matrix = FloatArray | sparse.csr_matrix


@dataclass(frozen=True, eq=False)
class Coupling:
    """Z_1'W Z_2, one matrix of shape (n_levels, width) for each of the k columns of Z_1.

    All share one sparsity pattern; where more than a fifth of the entries occur, they are dense.
    """

    pattern: sparse.csr_matrix | None  # (n_levels, width), where entries stand; None: dense
    values: FloatArray  # (k, n_entries); dense: (k, n_levels, width)
    levels: IntArray  # (n_entries,) level of every entry; dense: empty

    @classmethod
    def of(
        cls, rows: IntArray, columns: IntArray, values: FloatArray, shape: tuple[int, int]
    ) -> Coupling:
        """Arrange `values`, (k, n_entries), of entries in any order, no place given twice.

        `rows` and `columns` are (n_entries,), `shape` is (n_levels, width).
        """
        if len(rows) > _DENSE_ABOVE * shape[0] * shape[1]:
            dense = np.zeros((len(values), *shape))
            dense[:, rows, columns] = values
            return cls(None, dense, np.empty(0, dtype=np.intp))
        numbers = sparse.csr_matrix((np.arange(len(rows)), (rows, columns)), shape=shape)
        numbers.sort_indices()
        order = numbers.data
        pattern = sparse.csr_matrix(
            (np.ones(len(order)), numbers.indices, numbers.indptr), shape=shape
        )
        return cls(pattern, np.ascontiguousarray(values[:, order]), rows[order])

    def __len__(self) -> int:
        """Return k."""
        return len(self.values)

    def __getitem__(self, column: int) -> Matrix:
        """Return the matrix of one column of Z_1."""
        return self._matrix(self.values[column])

    def combine(self, weights: FloatArray) -> Matrix:
        """Sum over the columns of Z_1, with weights (k, n_levels), to (n_levels, width)."""
        spread = weights[:, :, None] if self.pattern is None else weights[:, self.levels]
        if len(self) == 1:
            return self._matrix(spread[0] * self.values[0])
        return self._matrix(np.asarray((spread * self.values).sum(axis=0)))

    def _matrix(self, values: FloatArray) -> Matrix:
        if self.pattern is None:
            return values
        pattern = self.pattern
        return sparse.csr_matrix((values, pattern.indices, pattern.indptr), shape=pattern.shape)

    def taken(self, values: FloatArray) -> Coupling:
        """Return the same pattern with other values, of which the values here are the places."""
        taken = replace(self, values=values[self.values.astype(np.intp)])
        if len(self) == 1:
            taken.__dict__["_pair_places"] = self._pair_places
        return taken

    def beside(self, columns: FloatArray) -> Coupling:
        """Return the same with further columns at the right, of which all entries occur.

        `columns` are (k, m, n_levels).
        """
        further = columns.transpose(0, 2, 1)
        if self.pattern is None:
            return Coupling(None, np.concatenate([self.values, further], axis=2), self.levels)
        (n_levels, width), m = self.pattern.shape, columns.shape[1]
        rows = np.concatenate([self.levels, np.repeat(np.arange(n_levels), m)])
        places = np.concatenate([self.pattern.indices, np.tile(width + np.arange(m), n_levels)])
        values = np.concatenate([self.values, further.reshape(len(self), -1)], axis=1)
        return Coupling.of(rows, places, values, (n_levels, width + m))

    @property
    def pairs(self) -> sparse.csc_matrix | None:
        """Outer products of the rows of the only matrix, (width * width, n_levels).

        Every column is the lower triangle of a level in Fortran order. None where that is not worth
        its memory: dense or several matrices, more than five million entries.
        """
        products = self._sparse_products if len(self) == 1 else None
        return None if products is None else products[0]

    @property
    def outer_products(self) -> FloatArray | list[sparse.csr_matrix] | None:
        """Products of rows a <= b of the levels, and of b and a, of every pair of matrices.

        None where they would be too many. Of dense matrices, (width * (width + 1) / 2, n_pairs,
        n_levels) in the order of `triu_indices`, otherwise for every pair as in `pairs`, by rows.
        """
        if self.pattern is not None:
            products = self._sparse_products
            return None if products is None else [product.tocsr() for product in products]
        _, n_levels, width = self.values.shape
        i, j = np.triu_indices(width)
        n_pairs = len(self) * (len(self) + 1) // 2
        if n_pairs * len(i) * n_levels > _MOST_DENSE_PRODUCTS:
            return None
        found = np.empty((len(i), n_pairs, n_levels))
        columns = self.values.transpose(0, 2, 1)
        for place, (a, b) in enumerate(combinations_with_replacement(range(len(self)), 2)):
            np.multiply(columns[a, i], columns[b, j], out=found[:, place])
            if a != b:
                found[:, place] += columns[b, i] * columns[a, j]
        return found

    @cached_property
    def _sparse_products(self) -> list[sparse.csc_matrix] | None:
        """Lower triangles of `outer_products`, (width * width, n_levels) each."""
        if self.pattern is None or self._pair_places is None:
            return None
        n_levels, width = self.pattern.shape
        repeats, second, where, indptr = self._pair_places
        found = []
        for a, b in combinations_with_replacement(range(len(self)), 2):
            data = self.values[a].take(second)
            data *= np.repeat(self.values[b], repeats)
            if a != b:
                data += self.values[b].take(second) * np.repeat(self.values[a], repeats)
            found.append(sparse.csc_matrix((data, where, indptr), shape=(width * width, n_levels)))
        return found

    @cached_property
    def _pair_places(self) -> tuple[IntArray, IntArray, IntArray, IntArray] | None:
        """How often each entry comes first in `pairs`, what is second, their places and starts."""
        if self.pattern is None:
            return None
        counts = np.diff(self.pattern.indptr).astype(np.int64)
        if int((counts * (counts + 1)).sum()) // 2 > _MOST_PAIRS:
            return None
        width = self.pattern.shape[1]
        starts = self.pattern.indptr[self.levels]
        places = np.arange(len(self.levels)) - starts
        repeats = places + 1
        first = np.repeat(np.arange(len(self.levels)), repeats)
        ends = np.cumsum(places + 1)
        second = np.arange(len(first)) - np.repeat(ends - places - 1 - starts, places + 1)
        columns = self.pattern.indices.astype(np.int64)
        where = columns[second] * width + columns[first]
        indptr = np.concatenate([[0], np.cumsum(counts * (counts + 1) // 2)])
        small = index_type(width * width, len(first) + 1)
        return repeats, second, where.astype(small), indptr.astype(small)

    def outer_sum(self, white: list[Matrix], weights: FloatArray) -> FloatArray:
        """Return Z_2'Z_1 H Z_1'Z_2 summed over levels, (width, width).

        H is `weights`, (k, k, n_levels); the Gram matrices of the k in `white`, (n_levels, width),
        add up to the same sum. In Fortran order; only the lower triangle counts.
        """
        if self.pairs is not None:
            width = white[0].shape[1]
            return np.asarray(self.pairs @ weights[0, 0]).reshape((width, width), order="F")
        total = dense_product(white[0], white[0])
        for matrix in white[1:]:
            total += dense_product(matrix, matrix)
        return total.T

    def level_forms(self, middle: FloatArray) -> FloatArray:
        """Return A M A' of the rows A of every level and symmetric M, (k, k, n_levels).

        `middle`, (width, width), is the lower triangle of M in Fortran order, zero above.
        """
        k, n_levels = len(self), self[0].shape[0]
        doubled = 2.0 * middle
        doubled[np.diag_indices_from(doubled)] *= 0.5
        if self.pairs is not None:
            return np.asarray(self.pairs.T @ doubled.ravel(order="F")).reshape(1, 1, n_levels)
        full = (doubled + doubled.T) * 0.5
        forms = np.empty((k, k, n_levels))
        chunk = max(1, _WORK_BYTES // (full.itemsize * len(full)))
        for start in range(0, n_levels, chunk):
            levels = slice(start, start + chunk)
            for a in range(k):
                half = self[a][levels] @ full
                for b in range(k):
                    forms[a, b, levels] = level_products(self[b][levels], half)
        return forms

    def entries_times(
        self,
        middle: FloatArray,
        levels: IntArray,
        places: list[IntArray],
        values: list[FloatArray],
    ) -> FloatArray:
        """Multiply rows of levels, through a symmetric matrix, with n sparse vectors, (k, n).

        `middle` is the matrix in full, (width, width). `levels`, (n,), are those whose k rows each
        vector meets; `places` and `values`, (n,) each, are where its entries stand and what they
        are.
        """
        result = np.zeros((len(self), len(levels)))
        order = np.argsort(levels, kind="stable")
        sorted_levels = levels[order]
        chunk = max(1, _WORK_BYTES // (middle.itemsize * len(middle)))
        for start in range(0, self[0].shape[0], chunk):
            first, last = np.searchsorted(sorted_levels, [start, start + chunk])
            chosen = order[first:last]
            if not len(chosen):
                continue
            for row, matrix in zip(result, map(self.__getitem__, range(len(self))), strict=True):
                half = matrix[start : start + chunk] @ middle
                for place, value in zip(places, values, strict=True):
                    row[chosen] += value[chosen] * half[levels[chosen] - start, place[chosen]]
        return result

    def rows_times(self, levels: IntArray, weights: FloatArray, right: FloatArray) -> FloatArray:
        """Return, for each of n rows, the k rows of its level times a matrix, weighted, (n, m).

        `levels` is (n,), `weights` (k, n), `right` (width, m).
        """
        present, which = np.unique(levels, return_inverse=True)
        total = np.zeros((len(levels), right.shape[1]))
        for column, weight in enumerate(weights):
            total += weight[:, None] * (self[column][present] @ right)[which]
        return total

    def form_sum(self, weights: FloatArray, middle: FloatArray) -> FloatArray:
        """Return B A M A' B' summed over levels, (k, k), with A M A' of `level_forms`.

        B is `weights`, (k, k, n_levels).
        """
        k = len(self)
        if self.pairs is not None:
            return np.asarray((weights**2 * self.level_forms(middle)).sum(axis=2))
        doubled = 2.0 * middle.T
        doubled[np.diag_indices_from(doubled)] *= 0.5
        shrunk = [self.combine(row) for row in weights]
        total = np.empty((k, k))
        for a in range(k):
            for b in range(a + 1):
                product = dense_product(shrunk[a], shrunk[b])
                if a != b:
                    product = (product + product.T) / 2.0
                total[a, b] = total[b, a] = np.vdot(doubled, product)
        return total


def dense_product(left: Matrix, right: Matrix) -> FloatArray:
    """Return ``left.T @ right`` as a dense array; both are dense or both sparse."""
    product = left.T @ right
    return np.asarray(product.toarray() if sparse.issparse(product) else product)


def level_products(left: Matrix, right: FloatArray) -> FloatArray:
    """Return the row sums of ``left * right``, (n_levels,); the right one is dense."""
    if sparse.issparse(left):
        return np.asarray(left.multiply(right).sum(axis=1)).ravel()
    return np.asarray((left * right).sum(axis=1))
