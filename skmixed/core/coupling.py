"""Cross-products of an eliminated factor with the columns of all the others.

They meet in two ways: the dense complement subtracts, level by level, the outer products of their
rows, and the gradient needs the form of every row in a dense matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from skmixed.core.groups import IntArray
from skmixed.core.layout import FloatArray

_DENSE_ABOVE = 0.2
_MOST_PAIRS = 5_000_000
_CHUNK_BYTES = 2**27

Matrix = FloatArray | sparse.csr_matrix


@dataclass(frozen=True, eq=False)
class Coupling:
    """Z_1'W Z_2, one matrix of shape (n_levels, width) for each of the k columns of Z_1.

    All share one sparsity pattern; nearly full ones are kept dense.

    Parameters
    ----------
    pattern : sparse.csr_matrix of shape (n_levels, width) or None
        Where entries stand; None for dense ones.
    values : ndarray of shape (k, n_entries) or (k, n_levels, width)
        The entries.
    levels : ndarray of int of shape (n_entries,)
        Level of every entry; empty for dense ones.
    """

    pattern: sparse.csr_matrix | None
    values: FloatArray
    levels: np.ndarray

    @classmethod
    def of(
        cls, rows: np.ndarray, columns: np.ndarray, values: FloatArray, shape: tuple[int, int]
    ) -> Coupling:
        """Arrange entries given in any order.

        Parameters
        ----------
        rows, columns : ndarray of int of shape (n_entries,)
            Their places, no place twice.
        values : ndarray of shape (k, n_entries)
            The entries.
        shape : tuple of int
            (n_levels, width).

        Returns
        -------
        Coupling
            Sparse, or dense where more than a fifth of the entries are there.
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
        """Sum over the columns of Z_1, with weights that differ between levels.

        Parameters
        ----------
        weights : ndarray of shape (k, n_levels)
            Weight of every column and level.

        Returns
        -------
        ndarray or sparse.csr_matrix of shape (n_levels, width)
            The weighted sum.
        """
        spread = weights[:, :, None] if self.pattern is None else weights[:, self.levels]
        if len(self) == 1:
            return self._matrix(spread[0] * self.values[0])
        return self._matrix(np.asarray((spread * self.values).sum(axis=0)))

    def _matrix(self, values: FloatArray) -> Matrix:
        if self.pattern is None:
            return values
        pattern = self.pattern
        return sparse.csr_matrix((values, pattern.indices, pattern.indptr), shape=pattern.shape)

    @cached_property
    def pairs(self) -> sparse.csc_matrix | None:
        """Outer products of the rows of the only matrix, a column a level.

        Shape (width * width, n_levels): the lower triangle in Fortran order. None where that is
        not worth its memory: dense or several matrices, more than five million entries.
        """
        if self.pattern is None or len(self) > 1:
            return None
        counts = np.diff(self.pattern.indptr).astype(np.int64)
        if int((counts * (counts + 1)).sum()) // 2 > _MOST_PAIRS:
            return None
        width = self.pattern.shape[1]
        starts = self.pattern.indptr[self.levels]
        places = np.arange(len(self.levels)) - starts
        first = np.repeat(np.arange(len(self.levels)), places + 1)
        ends = np.cumsum(places + 1)
        second = np.arange(len(first)) - np.repeat(ends - places - 1 - starts, places + 1)
        columns = self.pattern.indices.astype(np.int64)
        where = columns[second] * width + columns[first]
        indptr = np.concatenate([[0], np.cumsum(counts * (counts + 1) // 2)])
        data = self.values[0, first] * self.values[0, second]
        return sparse.csc_matrix((data, where, indptr), shape=(width * width, len(counts)))

    def outer_sum(self, white: list[Matrix], weights: FloatArray) -> FloatArray:
        """Sum over levels the outer products of the rows.

        Parameters
        ----------
        white : list of matrices of shape (n_levels, width)
            k matrices whose Gram matrices add up to the sum wanted.
        weights : ndarray of shape (k, k, n_levels)
            H: the sum is of Z_2'Z_1 H Z_1'Z_2.

        Returns
        -------
        ndarray of shape (width, width)
            In Fortran order; the lower triangle counts.
        """
        if self.pairs is not None:
            width = white[0].shape[1]
            return np.asarray(self.pairs @ weights[0, 0]).reshape((width, width), order="F")
        total = dense_product(white[0], white[0])
        for matrix in white[1:]:
            total += dense_product(matrix, matrix)
        return total.T

    def level_forms(self, middle: FloatArray) -> FloatArray:
        """Return the form of every level's rows in a symmetric matrix.

        Parameters
        ----------
        middle : ndarray of shape (width, width)
            Its lower triangle in Fortran order, zero above.

        Returns
        -------
        ndarray of shape (k, k, n_levels)
            Rows a and b of a level with the matrix between them.
        """
        k, n_levels = len(self), self[0].shape[0]
        doubled = 2.0 * middle
        doubled[np.diag_indices_from(doubled)] *= 0.5
        if self.pairs is not None:
            return np.asarray(self.pairs.T @ doubled.ravel(order="F")).reshape(1, 1, n_levels)
        full = (doubled + doubled.T) * 0.5
        forms = np.empty((k, k, n_levels))
        chunk = max(1, _CHUNK_BYTES // (8 * len(full)))
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
        """Multiply the rows of levels, through a symmetric matrix, with sparse vectors.

        Parameters
        ----------
        middle : ndarray of shape (width, width)
            The symmetric matrix, in full.
        levels : ndarray of int of shape (n,)
            The level whose rows each vector meets.
        places : list of ndarray of int of shape (n,)
            Where the entries of the vectors stand.
        values : list of ndarray of shape (n,)
            The entries.

        Returns
        -------
        ndarray of shape (k, n)
            One product for each of the k rows of a level.
        """
        result = np.zeros((len(self), len(levels)))
        order = np.argsort(levels, kind="stable")
        sorted_levels = levels[order]
        chunk = max(1, _CHUNK_BYTES // (8 * len(middle)))
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

    def form_sum(self, weights: FloatArray, middle: FloatArray) -> FloatArray:
        """Return the sum over levels of B form B', where form is that of `level_forms`.

        Parameters
        ----------
        weights : ndarray of shape (k, k, n_levels)
            B.
        middle : ndarray of shape (width, width)
            As in `level_forms`.

        Returns
        -------
        ndarray of shape (k, k)
            The sum.
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
    """Return ``left.T @ right`` as a dense array.

    Parameters
    ----------
    left, right : ndarray or sparse.csr_matrix of shape (n_levels, width)
        Both dense or both sparse.

    Returns
    -------
    ndarray of shape (width, width)
        The product.
    """
    product = left.T @ right
    return np.asarray(product.toarray() if sparse.issparse(product) else product)


def level_products(left: Matrix, right: FloatArray) -> FloatArray:
    """Return the row sums of ``left * right``.

    Parameters
    ----------
    left : ndarray or sparse.csr_matrix of shape (n_levels, width)
        First factor.
    right : ndarray of shape (n_levels, width)
        Second factor.

    Returns
    -------
    ndarray of shape (n_levels,)
        The sums.
    """
    if sparse.issparse(left):
        return np.asarray(left.multiply(right).sum(axis=1)).ravel()
    return np.asarray((left * right).sum(axis=1))
