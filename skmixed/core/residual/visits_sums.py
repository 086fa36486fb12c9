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
from skmixed.core.residual.visits_patterns import Patterns
from skmixed.core.sums.layout import GroupIndex, Layout, Rows
from skmixed.core.sums.summation import apply_basis, change_of_basis, choose_basis, in_unit, unit_of

_MOST_MEMORY = 0.5  # of the machine: the search takes about as much again


@dataclass(frozen=True, slots=True, eq=False)
class VisitSums:
    """Products of the columns of every pair of visits, summed over the subjects of a pattern.

    ``+`` merges those of disjoint sets of subjects.
    """

    layout: Layout
    basis: FloatArray  # (w, w), T: the products are of [1, features, y] T
    subjects: GroupIndex  # whose rows are summed
    patterns: Patterns  # that the subjects have
    counts: IntArray  # (s,), subjects of every pattern
    products: FloatArray  # (m, w(w + 1)/2), of every pattern and pair of its visits, packed
    sum_log_weights: float = 0.0  # of the rows, in the unit
    unit: float = 1.0  # of the weights, a power of four

    @classmethod
    def of(
        cls, layout: Layout, rows: Rows, residual_rows: ResidualRows, n_visits: int
    ) -> VisitSums:
        """Sum rows of subjects at visits, in any order.

        Raises ValueError if a subject is twice at a visit, and MemoryError for sums that would not
        fit into this machine.
        """
        assert residual_rows.labels is not None
        patterns = Patterns.of(residual_rows, n_visits)
        check_memory(patterns, rows.columns.shape[1])
        basis, unit = choose_basis(rows.columns), unit_of(rows.weights)
        weights = in_unit(rows.weights, unit)
        columns = apply_basis(rows.columns, basis)
        if weights is not None:
            columns = columns * np.sqrt(weights)[:, None]
        return cls(
            layout,
            basis,
            residual_rows.labels,
            Patterns.numbered(patterns.numbers, n_visits),
            patterns.counts,
            np.concatenate([_pattern_products(columns, own) for own in patterns.rows]),
            0.0 if weights is None else float(np.log(weights).sum()),
            unit,
        )

    @classmethod
    def merged(cls, parts: Sequence[VisitSums]) -> VisitSums:
        """Merge sums of disjoint sets of subjects; the shift is that of the largest part.

        Raises ValueError if a subject is in two parts, whose rows would not be paired.
        """
        if len(parts) == 1:
            return parts[0]
        largest = max(parts, key=lambda part: part.n_rows)
        n_visits = largest.n_visits
        if any(part.layout != largest.layout or part.n_visits != n_visits for part in parts):
            raise ValueError("cannot add sums of different columns, factors or visits")
        subjects = _united([part.subjects for part in parts])
        unit = max(part.unit for part in parts)
        parts = [part.rebased(largest.basis).in_unit(unit) for part in parts]
        numbers = np.unique(np.concatenate([part.patterns.numbers for part in parts]))
        patterns = Patterns.numbered(numbers, n_visits)
        check_memory(patterns, len(largest.basis))
        ends = np.cumsum(patterns.n_pairs)
        counts = np.zeros(len(numbers), dtype=np.intp)
        products = np.zeros((ends[-1], largest.products.shape[1]))
        for part in parts:
            where, own = np.searchsorted(numbers, part.patterns.numbers), part.patterns.n_pairs
            counts[where] += part.counts
            shift = np.repeat(ends[where] - np.cumsum(own), own)
            products[shift + np.arange(len(shift))] += part.products
        return replace(
            largest,
            subjects=subjects,
            patterns=patterns,
            counts=counts,
            products=products,
            sum_log_weights=sum(part.sum_log_weights for part in parts),
            unit=unit,
        )

    def __add__(self, other: VisitSums) -> VisitSums:
        """Merge with the sums of other subjects."""
        return VisitSums.merged([self, other])

    def rebased(self, basis: FloatArray) -> VisitSums:
        """Return the same sums about another shift."""
        change = change_of_basis(self.basis, basis)
        if change is None:
            return self
        full = change.T @ unpacked(self.products, len(basis)) @ change
        return replace(self, basis=basis, products=packed(full))

    def in_unit(self, unit: float) -> VisitSums:
        """Return the same sums of weights in another unit, a power of four."""
        times = self.unit / unit
        if times == 1.0:
            return self
        return replace(
            self,
            unit=unit,
            sum_log_weights=self.sum_log_weights + self.n_rows * float(np.log(times)),
            products=times * self.products,
        )

    @property
    def n_visits(self) -> int:
        """Number V of planned visits."""
        return self.patterns.n_visits

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.counts @ self.patterns.seen.sum(axis=1))

    @property
    def n_complete(self) -> int:
        """Number of subjects with all visits."""
        return int(self.counts[self.patterns.seen.all(axis=1)].sum())

    @property
    def together(self) -> FloatArray:
        """Number of subjects who have both of two visits, (V, V)."""
        seen = self.patterns.seen.astype(np.float64)
        return np.asarray(seen.T @ (seen * self.counts[:, None]))

    @property
    def n_bytes(self) -> int:
        """Size of the sums."""
        return n_bytes(self.patterns, len(self.basis))


def n_bytes(patterns: Patterns, width: int) -> int:
    """Return the size of the sums of a number of columns, in bytes."""
    return 8 * int(patterns.n_pairs.sum()) * (width * (width + 1) // 2)


def check_memory(patterns: Patterns, width: int) -> None:
    """Raise MemoryError for sums of a number of columns that would not fit into this machine."""
    needed, installed = n_bytes(patterns, width), memory_installed()
    if installed is not None and needed > _MOST_MEMORY * installed:
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


def _united(indexes: Sequence[GroupIndex]) -> GroupIndex:
    """Return the subjects of all parts; raise ValueError if one is in two of them."""
    subjects, places = indexes[0].union(*indexes[1:])
    codes, times = np.unique(np.concatenate(places), return_counts=True)
    if (times > 1).any():
        torn = subjects.take(codes[times > 1][:1]).labels
        name = ":".join(str(column[0]) for column in torn)
        raise ValueError(
            f"the rows of {subjects.name} {name} are in two parts, and rows of different parts "
            "cannot be paired: keep all rows of a subject in one part"
        )
    return subjects


def _pattern_products(columns: FloatArray, rows: IntArray) -> FloatArray:
    """Return the packed sums of one pattern, (pairs, w(w + 1)/2), rows being (n_subjects, v)."""
    n_subjects, v = rows.shape
    width = columns.shape[1]
    wide = columns[rows].reshape(n_subjects, v * width)
    gram = (wide.T @ wide).reshape(v, width, v, width)
    first, second = np.triu_indices(v)
    return packed(gram[first, :, second, :])
