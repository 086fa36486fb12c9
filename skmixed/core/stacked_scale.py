"""Lambda of several factors side by side: block diagonal, of as many rows as random effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from skmixed.core.layout import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class StackedScale:
    """Lambda_2 = blockdiag(lambda_f x I); a vector where every factor has one random column.

    Parameters
    ----------
    diagonal : ndarray of shape (width,) or None
        Its diagonal, if that is all.
    matrix : sparse.csr_matrix of shape (width, width) or None
        Otherwise the matrix.
    """

    diagonal: FloatArray | None
    matrix: sparse.csr_matrix | None

    @classmethod
    def of(cls, factors: list[FloatArray], n_levels: list[int]) -> StackedScale:
        """Stack lambdas.

        Parameters
        ----------
        factors : list of ndarray of shape (k, k)
            lambda of every factor.
        n_levels : list of int
            Their numbers of levels.

        Returns
        -------
        StackedScale
            In the order column by column, and within a column level by level.
        """
        if all(len(factor) == 1 for factor in factors):
            scales = [factor[0, 0] for factor in factors]
            return cls(np.repeat(scales, n_levels), None)
        blocks = [
            sparse.kron(factor, sparse.identity(n))
            for factor, n in zip(factors, n_levels, strict=True)
        ]
        return cls(None, sparse.csr_matrix(sparse.block_diag(blocks)))

    def times(self, columns: FloatArray) -> FloatArray:
        """Return Lambda_2 times columns of shape (width, m)."""
        if self.diagonal is not None:
            return self.diagonal[:, None] * columns
        assert self.matrix is not None
        return np.asarray(self.matrix @ columns)

    def transpose_times(self, columns: FloatArray) -> FloatArray:
        """Return Lambda_2' times columns of shape (width, m)."""
        if self.diagonal is not None:
            return self.diagonal[:, None] * columns
        assert self.matrix is not None
        return np.asarray(self.matrix.T @ columns)

    def inner(self, lower: FloatArray) -> FloatArray:
        """Return the lower triangle of Lambda_2'A Lambda_2.

        Parameters
        ----------
        lower : ndarray of shape (width, width)
            Lower triangle of A, in Fortran order.

        Returns
        -------
        ndarray of shape (width, width)
            In Fortran order; nothing is said of the upper triangle.
        """
        if self.diagonal is not None:
            return (lower.T * self.diagonal[:, None] * self.diagonal).T
        full = self.transpose_times(symmetric(lower))
        return np.asfortranarray(self.transpose_times(full.T))

    def outer(self, lower: FloatArray) -> FloatArray:
        """Return the lower triangle of Lambda_2 A Lambda_2', as `inner`."""
        if self.diagonal is not None:
            return self.inner(lower)
        full = self.times(symmetric(lower))
        return np.asfortranarray(np.tril(self.times(full.T)))


def symmetric(lower: FloatArray) -> FloatArray:
    """Fill the upper triangle of a symmetric matrix.

    Parameters
    ----------
    lower : ndarray of shape (width, width)
        Its lower triangle; the upper one is not read.

    Returns
    -------
    ndarray of shape (width, width)
        In Fortran order.
    """
    strict = np.tril(lower, -1)
    return np.asfortranarray(np.tril(lower) + strict.T)
