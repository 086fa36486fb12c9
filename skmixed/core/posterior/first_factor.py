"""One factor, eliminated from any columns at many lambdas at once.

With D = lambda'A lambda + I of every level and T = D^-1/2 lambda', what is left of columns R is
R'W R less the sum over levels of (T C)'(T C), C = Z'W R. Products of two rows of C are made once,
so that all entries of T'T cost one matrix product for all lambdas.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np
from scipy import sparse

from skmixed.core.elimination.coupling import Coupling, Matrix
from skmixed.core.elimination.levels import (
    cholesky_plus_identity,
    multiply_levels,
    multiply_transposed,
)
from skmixed.core.linalg import BoolArray, FloatArray, IntArray

Products = FloatArray | list[sparse.csr_matrix]
"""Of all pairs of a and b: (n_cells, n_pairs, n_levels), or (n_cells, n_levels) for each."""

CELLS_AT_A_TIME = 2e5  # numbers, of all lambdas: arrays of 1.6 MB, which stay in the cache


@dataclass(frozen=True, eq=False)
class LevelRoots:
    """The levels of a factor at R lambdas."""

    whitener: FloatArray  # (k, k, R, n_levels), T
    pivots: FloatArray  # (R, n_levels), of D for k = 1
    log_det: FloatArray  # (R,), sum over levels of log|D|


@dataclass(frozen=True, eq=False)
class FirstFactor:
    """The sums of a factor beside m columns, of which pairs i <= j are the cells i m + j."""

    own: FloatArray  # (k, k, n_levels), A = Z'W Z
    products: Products  # of rows a <= b of C
    cells: IntArray  # (n_cells,), those that are not all zeros, ascending
    gram: FloatArray  # (n_cells,), R'W R
    inner: IntArray  # (q (q + 1) / 2,), the cells of pairs of the last q columns
    within: FloatArray | None  # as `inner`: R'W R of deviations from means of the levels
    counts: FloatArray | None  # (n_levels,), how many levels each stands for

    @classmethod
    def of(
        cls,
        own: FloatArray,
        columns: Coupling,
        gram: FloatArray,
        within: FloatArray | None = None,
        counts: FloatArray | None = None,
        q: int | None = None,
    ) -> FirstFactor | None:
        """Multiply the columns C; None where they are too many.

        `gram`, (m, m), is R'W R, and `within`, (q, q), the same of the last q columns, beside a
        random intercept.
        """
        made = columns.outer_products
        if made is None:
            return None
        m = len(gram)
        q = m if q is None else q
        occurs = np.triu(np.ones((m, m), dtype=np.bool_))
        cells = np.flatnonzero(occurs)
        if isinstance(made, list):
            occurs &= gram != 0.0
            occurs[np.triu_indices(m)] |= _occurs_in(made[0])[cells]
            occurs[-q:, -q:] = np.triu(np.ones((q, q), dtype=np.bool_))
            cells = np.flatnonzero(occurs)
            made = [each[cells] for each in made]
        i, j = np.divmod(cells, m)
        inner = np.flatnonzero(i >= m - q)
        if within is not None:
            within = within[np.triu_indices(q)]
        return cls(own, made, cells, gram[i, j], inner, within, counts)

    @cached_property
    def _inner_products(self) -> Matrix:
        """Products beside a random intercept, (q (q + 1) / 2, n_levels)."""
        if isinstance(self.products, list):
            return self.products[0][self.inner]
        return np.asarray(self.products[self.inner, 0])

    def levels(self, lambdas: FloatArray) -> LevelRoots:
        """Factor every level at R lambdas, (R, k, k)."""
        root = lambdas.transpose(1, 2, 0)[..., None]
        inner = multiply_levels(multiply_transposed(root, self.own[:, :, None]), root)
        lower, half, _ = cholesky_plus_identity(inner)
        logs = np.log(np.stack([lower[j, j] for j in range(len(lower))])).sum(axis=0)
        log_det = 2.0 * (logs.sum(axis=1) if self.counts is None else logs @ self.counts)
        whitener = multiply_levels(half, root.swapaxes(0, 1))
        return LevelRoots(whitener, np.square(lower[0, 0]), np.asarray(log_det))

    def left(self, levels: LevelRoots) -> FloatArray:
        """Return what is left of R'W R at R lambdas, (R, n_cells)."""
        white = levels.whitener
        pairs = combinations_with_replacement(range(len(white)), 2)
        shares = [(white[:, a] * white[:, b]).sum(axis=0) for a, b in pairs]
        found = self.gram - _spread(shares, self.products)
        if self.within is not None:
            share = 1.0 / (levels.pivots * self.own[0, 0])
            found[:, self.inner] = self.within + _spread([share], self._inner_products)
        return np.asarray(found)

    def slopes(self, levels: LevelRoots, weights: FloatArray) -> FloatArray:
        """Return derivatives in Omega of log|D| plus what is left, weighted, (R, k, k).

        `weights`, (R, n_cells), are of `left`. With B' = (I + Omega A)^-1 = I - T'T A, that of T'T
        is B' dOmega B, and that of log|D| is tr(A B' dOmega).
        """
        white, n = levels.whitener, levels.whitener.shape[2]
        k = len(white)
        kept = -multiply_levels(multiply_transposed(white, white), self.own[:, :, None])
        kept[range(k), range(k)] += 1.0
        felt, gathered = np.empty(kept.shape), _gathered(weights, self.products)
        for place, (a, b) in enumerate(combinations_with_replacement(range(k), 2)):
            felt[a, b] = felt[b, a] = gathered[place] * (-1.0 if a == b else -0.5)
        own = self.own if self.counts is None else self.own * self.counts
        further = own[:, :, None] + multiply_transposed(kept, felt)
        rows = further.transpose(2, 0, 1, 3).reshape(n, k, -1)
        columns = kept.transpose(2, 0, 3, 1).reshape(n, -1, k)
        return np.asarray(rows @ columns)

    def inner_left(self, found: FloatArray) -> FloatArray:
        """Return what is left of the last q columns in full, (R, q, q), of that of all cells."""
        n = int(np.sqrt(2 * len(self.inner)))
        gram = np.empty((len(found), n, n))
        i, j = np.triu_indices(n)
        gram[:, i, j] = gram[:, j, i] = found[:, self.inner]
        return gram


def _occurs_in(products: Matrix) -> BoolArray:
    """Tell which rows of a sparse matrix have any entries, (n_rows,)."""
    return np.asarray(np.diff(sparse.csr_matrix(products).indptr) > 0)


def _spread(shares: list[FloatArray], products: Products | Matrix) -> FloatArray:
    """Sum products over pairs and levels by shares of every pair, (R, n_levels): (R, n_cells)."""
    if isinstance(products, np.ndarray):
        joined = shares[0] if len(shares) == 1 else np.concatenate(shares, axis=1)
        return np.asarray(joined @ products.reshape(len(products), -1).T)
    matrices = products if isinstance(products, list) else [products]
    return np.asarray(sum(map(_spread_sparse, shares, matrices)))


def _spread_sparse(shares: FloatArray, products: sparse.csr_matrix) -> FloatArray:
    if len(shares) == 1:
        return np.asarray(products @ shares[0])[None]
    return np.asarray(products @ np.ascontiguousarray(shares.T)).T


def _gathered(weights: FloatArray, products: Products) -> list[FloatArray]:
    """Sum products over cells by weights, (R, n_cells): (R, n_levels) for every pair."""
    if isinstance(products, list):
        columns = np.ascontiguousarray(weights.T)
        return [np.asarray(product.T @ columns).T for product in products]
    found = weights @ products.reshape(len(products), -1)
    return np.split(found, products.shape[1], axis=1)
