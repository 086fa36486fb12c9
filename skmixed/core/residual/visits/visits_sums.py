"""Sums over subjects who were seen at some of V planned visits, by pattern of visits seen.

With R_s the covariance of the visits of pattern s, and W = [1, features, y],

    W'R^-1 W = sum over s, u, v of (R_s^-1)_uv T_s[u, v],     T_s[u, v] = sum of W_u'W_v,

over the subjects of the pattern. The T are all that any covariance over visits asks of the rows.
They stand in one matrix, a row for every pattern and pair u <= v of its visits, so that a sum over
all is one product of matrices. What is summed is symmetric in the columns, since T[v, u] is the
transpose of T[u, v] and both have the same weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.elimination.crossed import memory_installed
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.residual_tables import MOST_MEMORY
from skmixed.core.residual.visits.patterns import Patterns
from skmixed.core.sums.crossproducts import CrossProducts


@dataclass(frozen=True, slots=True, eq=False)
class VisitSums:
    """Products of w columns at every pair of visits, summed over the subjects of a pattern."""

    patterns: Patterns  # that the subjects have
    counts: IntArray  # (s,), subjects of every pattern
    products: FloatArray  # (m, w(w + 1)/2), of every pattern and pair of its visits, packed

    @classmethod
    def of(cls, columns: FloatArray, residual_rows: ResidualRows, n_visits: int) -> VisitSums:
        """Sum columns, (n, w), of subjects at visits, in any order.

        Raises ValueError if a subject is twice at a visit, and MemoryError for sums that would not
        fit into this machine.
        """
        patterns = Patterns.of(residual_rows, n_visits)
        check_memory(patterns, columns.shape[1])
        products = [_pattern_products(columns, own) for own in patterns.rows]
        numbered = Patterns.numbered(patterns.numbers, n_visits)
        return cls(numbered, patterns.counts, np.concatenate(products))

    @classmethod
    def merged(cls, parts: Sequence[VisitSums]) -> VisitSums:
        """Merge sums of the same columns over disjoint sets of subjects."""
        numbers = np.unique(np.concatenate([part.patterns.numbers for part in parts]))
        patterns = Patterns.numbered(numbers, parts[0].n_visits)
        counts = np.zeros(len(numbers), dtype=np.intp)
        products = np.zeros((int(patterns.n_pairs.sum()), parts[0].products.shape[1]))
        for part in parts:
            where = np.searchsorted(numbers, part.patterns.numbers)
            counts[where] += part.counts
            products[_places(patterns, where)] += part.products
        return cls(patterns, counts, products)

    def minus(self, part: VisitSums, times: float = 1.0) -> VisitSums:
        """Take out the sums of the same columns, times a factor, over some of the subjects.

        Raises ValueError for subjects whose pattern no others have.
        """
        own, numbers = self.patterns, part.patterns.numbers
        where = np.searchsorted(own.numbers, numbers)
        if not np.array_equal(own.numbers[np.minimum(where, len(own.numbers) - 1)], numbers):
            raise ValueError(
                "subjects are taken out that are not there: no others have such visits"
            )
        counts, products = self.counts.copy(), self.products.copy()
        counts[where] -= part.counts
        products[_places(own, where)] -= times * part.products
        kept = np.flatnonzero(counts)
        patterns = Patterns.numbered(own.numbers[kept], self.n_visits)
        return VisitSums(patterns, counts[kept], products[_places(own, kept)])

    def transformed(self, change: FloatArray, times: float = 1.0) -> VisitSums:
        """Return the sums of other columns, these times `change`, (w, w), and a factor."""
        full = change.T @ unpacked(self.products, len(change)) @ change
        return replace(self, products=times * packed(full))

    def weighted(self, base: CrossProducts, sigma: FloatArray) -> CrossProducts:
        """Return [1, features, y]'R^-1[1, features, y] in the place of a sum over all rows.

        `base` is that sum, of the same columns, and `sigma`, (V, V), the covariance of all visits.
        """
        inverses, log_det = self.inverses(sigma)
        triangle = self.pair_weights(inverses, *self.patterns.pairs()) @ self.products
        return replace(base, gram=unpacked(triangle, len(base.basis)), log_det=log_det)

    def inverses(self, sigma: FloatArray) -> tuple[FloatArray, float]:
        """Return R_s^-1, (s, V, V), zero for visits not seen, and log|R| of all rows."""
        blocks = self.patterns.blocks(sigma)
        lower = np.linalg.cholesky(blocks)
        log_dets = 2.0 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        return self.patterns.inverses(blocks), float(self.counts @ log_dets)

    @staticmethod
    def pair_weights(
        inverses: FloatArray, which: IntArray, first: IntArray, second: IntArray
    ) -> FloatArray:
        """Return what every row of the sums is multiplied with, (m,)."""
        return np.asarray(inverses[which, first, second] * np.where(first < second, 2.0, 1.0))

    @property
    def n_visits(self) -> int:
        """Number V of planned visits."""
        return self.patterns.n_visits

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.counts @ self.patterns.seen.sum(axis=1))

    @property
    def at_visits(self) -> FloatArray:
        """Number of rows at every visit, (V,)."""
        return self.together.diagonal()

    @property
    def n_complete(self) -> int:
        """Number of subjects with all visits."""
        return int(self.counts[self.patterns.seen.all(axis=1)].sum())

    @property
    def together(self) -> FloatArray:
        """Number of subjects who have both of two visits, (V, V)."""
        seen = self.patterns.seen.astype(np.float64)
        return np.asarray(seen.T @ (seen * self.counts[:, None]))


def n_bytes(patterns: Patterns, width: int) -> int:
    """Return the size of the sums of a number of columns, in bytes."""
    return 8 * int(patterns.n_pairs.sum()) * (width * (width + 1) // 2)


def check_memory(patterns: Patterns, width: int) -> None:
    """Raise MemoryError for sums of a number of columns that would not fit into this machine."""
    needed, installed = n_bytes(patterns, width), memory_installed()
    if installed is not None and needed > MOST_MEMORY * installed:
        raise MemoryError(
            f"sums over {len(patterns.numbers)} patterns of {patterns.n_visits} visits seen, of "
            f"{width} columns, would take {needed / 2**30:.1f} GiB; this machine has "
            f"{installed / 2**30:.1f} GiB. Take fewer visits or fixed columns, or ar1() or car1(), "
            "whose sums do not grow with the patterns"
        )


def packed(matrices: FloatArray) -> FloatArray:
    """Return the upper triangles of the symmetric parts of matrices, (m, w, w), row by row."""
    rows, columns = np.triu_indices(matrices.shape[-1])
    return np.asarray((matrices[..., rows, columns] + matrices[..., columns, rows]) / 2.0)


def unpacked(triangles: FloatArray, width: int) -> FloatArray:
    """Return the symmetric matrices, (m, w, w), of upper triangles, (m, w(w + 1)/2)."""
    rows, columns = np.triu_indices(width)
    place = np.empty((width, width), dtype=np.intp)
    place[rows, columns] = place[columns, rows] = np.arange(len(rows))
    return np.asarray(triangles[..., place])


def as_weights(matrix: FloatArray) -> FloatArray:
    """Return a symmetric matrix, (w, w), as weights of packed ones: tr(A B) is their product."""
    rows, columns = np.triu_indices(len(matrix))
    return np.asarray(
        (matrix[rows, columns] + matrix[columns, rows]) * np.where(rows < columns, 1.0, 0.5)
    )


def _places(patterns: Patterns, chosen: IntArray) -> IntArray:
    """Return the rows of sums that are those of some patterns, one after the other."""
    n_pairs = patterns.n_pairs
    own, ends = n_pairs[chosen], np.cumsum(n_pairs)
    shift = np.repeat(ends[chosen] - np.cumsum(own), own)
    return np.asarray(shift + np.arange(len(shift)))


def _pattern_products(columns: FloatArray, rows: IntArray) -> FloatArray:
    """Return the packed sums of one pattern, (pairs, w(w + 1)/2), rows being (n_subjects, v)."""
    n_subjects, v = rows.shape
    width = columns.shape[1]
    wide = columns[rows].reshape(n_subjects, v * width)
    gram = (wide.T @ wide).reshape(v, width, v, width)
    first, second = np.triu_indices(v)
    return packed(gram[first, :, second, :])
