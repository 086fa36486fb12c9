"""Cross-products of an eliminated factor with the columns of all the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from skmixed.core.layout import FloatArray

_DENSE_ABOVE = 0.2

Matrix = FloatArray | sparse.csr_matrix


@dataclass(frozen=True, slots=True, eq=False)
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
        order = np.lexsort((columns, rows))
        indptr = np.searchsorted(rows[order], np.arange(shape[0] + 1))
        pattern = sparse.csr_matrix((np.ones(len(order)), columns[order], indptr), shape=shape)
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
        return self._matrix(np.asarray((spread * self.values).sum(axis=0)))

    def _matrix(self, values: FloatArray) -> Matrix:
        if self.pattern is None:
            return values
        pattern = self.pattern
        return sparse.csr_matrix((values, pattern.indices, pattern.indptr), shape=pattern.shape)


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
