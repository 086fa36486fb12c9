"""Lambda of several factors side by side: block diagonal, of as many rows as random effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from skmixed.core.layout import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class StackedScale:
    """Lambda_2 = blockdiag(lambda_f x I); a vector where every factor has one random column."""

    diagonal: FloatArray | None  # (width,), if that is all
    matrix: sparse.csr_matrix | None  # (width, width), otherwise

    @classmethod
    def of(cls, lambdas: list[FloatArray], n_levels: list[int]) -> StackedScale:
        """Stack lambdas, (k, k) each, over the numbers of levels of their factors.

        The order is column by column, and within a column level by level.
        """
        if all(len(lam) == 1 for lam in lambdas):
            scales = [lam[0, 0] for lam in lambdas]
            return cls(np.repeat(scales, n_levels), None)
        blocks = [
            sparse.kron(lam, sparse.identity(n)) for lam, n in zip(lambdas, n_levels, strict=True)
        ]
        return cls(None, sparse.csr_matrix(sparse.block_diag(blocks)))

    def times(self, columns: FloatArray) -> FloatArray:
        """Return Lambda_2 times columns, (width, m)."""
        if self.diagonal is not None:
            return self.diagonal[:, None] * columns
        assert self.matrix is not None
        return np.asarray(self.matrix @ columns)

    def transpose_times(self, columns: FloatArray) -> FloatArray:
        """Return Lambda_2' times columns, (width, m)."""
        if self.diagonal is not None:
            return self.diagonal[:, None] * columns
        assert self.matrix is not None
        return np.asarray(self.matrix.T @ columns)

    def inner(self, lower: FloatArray) -> FloatArray:
        """Return the lower triangle of Lambda_2'A Lambda_2, (width, width).

        `lower` is that of A; both are in Fortran order, and nothing is said of the upper triangle.
        """
        if self.diagonal is not None:
            return (lower.T * self.diagonal[:, None] * self.diagonal).T
        full = self.transpose_times(symmetric(lower))
        return np.asfortranarray(self.transpose_times(full.T))

    def outer(self, lower: FloatArray) -> FloatArray:
        """Return the lower triangle of Lambda_2 A Lambda_2', zero above where `lower` is."""
        if self.diagonal is not None:
            return self.inner(lower)
        full = self.times(symmetric(lower))
        return np.asfortranarray(np.tril(self.times(full.T)))


def symmetric(lower: FloatArray) -> FloatArray:
    """Return a symmetric matrix in full and in Fortran order, given its lower triangle."""
    strict = np.tril(lower, -1)
    return np.asfortranarray(np.tril(lower) + strict.T)
