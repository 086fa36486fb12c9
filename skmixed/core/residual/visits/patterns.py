"""Which of V planned visits subjects have: patterns, as numbers with a bit for every visit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import BoolArray, FloatArray, IntArray
from skmixed.core.residual.residual_rows import ResidualRows, series_name

MOST_VISITS = 52  # bits of a pattern, which is a key of tables too, and these are floats


@dataclass(frozen=True, slots=True, eq=False)
class Patterns:
    """The patterns that occur, and the rows of their subjects where these are known."""

    numbers: IntArray  # (s,), increasing
    n_visits: int  # V
    rows: tuple[IntArray, ...] = ()  # (subjects, visits seen), of every pattern

    @classmethod
    def of(cls, rows: ResidualRows, n_visits: int) -> Patterns:
        """Find the patterns of rows in any order.

        Raises ValueError if a subject is twice at a visit, and for more visits than can be had.
        """
        if n_visits > MOST_VISITS:
            raise ValueError(
                f"a covariance of {n_visits} visits has too many patterns of visits seen; at most "
                f"{MOST_VISITS} can be had: take ar1 or car1, whose sums do not grow with them"
            )
        row = _rows_of_subjects(rows, n_visits)
        seen = row >= 0
        numbers, which = np.unique(seen @ (1 << np.arange(n_visits)), return_inverse=True)
        order = np.argsort(which, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(which))[:-1])
        return cls(
            numbers,
            n_visits,
            tuple(row[own][:, seen[own[0]]] for own in members if len(own)),
        )

    @classmethod
    def numbered(cls, numbers: IntArray, n_visits: int) -> Patterns:
        """Make patterns of their numbers, (s,)."""
        return cls(numbers, n_visits)

    @property
    def seen(self) -> BoolArray:
        """Which visits every pattern has, (s, V)."""
        return np.asarray((self.numbers[:, None] >> np.arange(self.n_visits)) & 1, dtype=np.bool_)

    @property
    def counts(self) -> IntArray:
        """Number of subjects of every pattern, (s,)."""
        return np.array([len(rows) for rows in self.rows], dtype=np.intp)

    @property
    def n_pairs(self) -> IntArray:
        """Number of pairs u <= v of visits of every pattern, (s,)."""
        n_seen = self.seen.sum(axis=1)
        return np.asarray(n_seen * (n_seen + 1) // 2)

    def pairs(self) -> tuple[IntArray, IntArray, IntArray]:
        """Return the pattern and the visits u <= v, (m,) each, of all pairs, pattern by pattern."""
        seen = self.seen
        first, second = np.triu_indices(self.n_visits)
        which, pair = np.nonzero(seen[:, first] & seen[:, second])
        return which, first[pair], second[pair]

    def blocks(self, sigma: FloatArray) -> FloatArray:
        """Return R of every pattern, (s, V, V), with the identity for visits not seen."""
        return np.where(self._both, sigma, np.eye(self.n_visits))

    def inverses(self, blocks: FloatArray) -> FloatArray:
        """Return R^-1 of every pattern, (s, V, V), with zeros for visits not seen."""
        return np.where(self._both, np.linalg.inv(blocks), 0.0)

    @property
    def _both(self) -> BoolArray:
        seen = self.seen
        return np.asarray(seen[:, :, None] & seen[:, None, :])


def visits_of(rows: ResidualRows) -> IntArray:
    """Return the number of the visit of every row, (n,), -1 where it is not known."""
    assert rows.position is not None
    return np.where(rows.position >= 0.0, rows.position, -1.0).astype(np.intp)


def _rows_of_subjects(rows: ResidualRows, n_visits: int) -> IntArray:
    """Return the row of every subject and visit, (n_subjects, V), -1 where there is none."""
    assert rows.series is not None
    n_subjects = int(rows.series.max(initial=-1)) + 1
    own = np.arange(len(rows.series))
    place = rows.series * n_visits + visits_of(rows)
    found = np.full(n_subjects * n_visits, -1, dtype=np.intp)
    found[place] = own
    again = np.flatnonzero(found[place] != own)
    if len(again):
        row, same = int(again[0]), int(found[place[again[0]]])
        name = (
            "a subject" if rows.labels is None else f"{rows.labels.name} {series_name(rows, row)}"
        )
        raise ValueError(
            f"{name} is twice at one visit, in rows {row} and {same}: a subject has one row a "
            "visit, so drop or average the others"
        )
    return found.reshape(n_subjects, n_visits)
