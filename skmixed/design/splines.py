"""Bases of penalised cubic splines: B-splines at even knots, in the order of their penalty.

The second differences of the coefficients are penalised (Eilers & Marx 1996,
doi:10.1214/ss/1038425655), at the knots of mgcv's "ps" and "cp". Their penalty says nothing of
straight lines, or of the constant where the curve goes around. In the eigenvectors of what it is
about, over the roots of the eigenvalues, coefficients are independent with one variance, so that
the curve is random effects. These columns have mean zero over the range, as those of mgcv over the
rows, and their mean square sum there is one: the deviation of the effects is that of the curve from
its line. Restricted likelihood does not depend on what is taken off; full likelihood does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse

from skmixed.core.linalg import FloatArray, IntArray

_KNOT_MARGIN = 1e-3  # of the range, on both sides of it, as in mgcv
_DEGREE = 3  # of the pieces
_N_NODES = 4  # of Gauss and Legendre in a piece: exact to degree 7, products have 6


@dataclass(frozen=True, slots=True)
class SplineBasis:
    """The columns of a curve of one variable over a range, or around a period."""

    k: int  # number of B-splines
    low: float
    high: float
    is_cyclic: bool

    @property
    def ends(self) -> tuple[float, float]:
        """The first and the last knot between which the pieces lie."""
        margin = 0.0 if self.is_cyclic else _KNOT_MARGIN * (self.high - self.low)
        return self.low - margin, self.high + margin

    @property
    def n_pieces(self) -> int:
        """Number of cubic pieces."""
        return self.k if self.is_cyclic else self.k - _DEGREE

    @property
    def n_penalised(self) -> int:
        """Number of penalised columns."""
        return self.k - 1 if self.is_cyclic else self.k - 2

    @property
    def center(self) -> float:
        """Where the line is zero."""
        return (self.low + self.high) / 2.0

    def columns(self, x: FloatArray, *, has_constant: bool = False) -> FloatArray:
        """Return the columns at values x, (n,): any constant, any line, and the penalised ones.

        The line is x less the center of the range. Every row is computed from itself alone. Beyond
        the ends all of them are straight lines.
        """
        parts: list[FloatArray] = [penalised_map(self.k, self.is_cyclic)]
        if not self.is_cyclic:
            first, last = self.ends
            knots = first + (last - first) / self.n_pieces * (np.arange(self.k) - 1.0)
            parts.insert(0, np.asarray(knots - self.center)[:, None])
        if has_constant:
            parts.insert(0, np.ones((self.k, 1)))
        return np.asarray(self.splines(x) @ np.hstack(parts))

    def splines(self, x: FloatArray) -> sparse.csr_matrix:
        """Return the B-splines at values x, (n,): (n, k), four of them not zero in a row."""
        first, last = self.ends
        places = (x - first) / (last - first) * self.n_pieces
        if self.is_cyclic:
            places = places % self.n_pieces
        piece = np.clip(places.astype(np.int32), 0, self.n_pieces - 1)
        values = _values(places - piece)
        columns = piece[:, None] + np.arange(_DEGREE + 1, dtype=np.int32)
        if self.is_cyclic:
            columns %= self.k
        starts = np.arange(0, values.size + 1, _DEGREE + 1)
        return sparse.csr_matrix((values.ravel(), columns.ravel(), starts), (len(x), self.k))

    def are_outside(self, x: FloatArray) -> IntArray:
        """Return which values lie outside of the range."""
        if self.is_cyclic:
            return np.empty(0, dtype=np.intp)
        return np.flatnonzero((x < self.low) | (x > self.high))


def _values(u: FloatArray) -> FloatArray:
    """Return the four B-splines at places within a piece, (n,), of length one: (n, 4).

    Before it and after it they go on as straight lines.
    """
    t = np.clip(u, 0.0, 1.0)
    v = 1.0 - t
    values = np.empty((len(u), _DEGREE + 1))
    for place, w in ((0, v), (3, t)):
        square = w * w
        values[:, place] = square * w / 6.0
        values[:, 2 - place // 3] = 2.0 / 3.0 - square + 0.5 * square * w
    beyond = np.flatnonzero(u != t)
    if len(beyond):
        t, rest = t[beyond], (u - t)[beyond]
        v = 1.0 - t
        slopes = [-(v**2) / 2, 1.5 * t**2 - 2 * t, 2 * v - 1.5 * v**2, t**2 / 2]
        values[beyond] += np.stack(slopes, axis=1) * rest[:, None]
    return values


@lru_cache(maxsize=64)  # sizes of bases are few
def penalised_map(k: int, is_cyclic: bool) -> FloatArray:
    """Return what makes the penalised columns of the B-splines, (k, n_penalised)."""
    basis = SplineBasis(k, 0.0, 1.0, is_cyclic)
    if is_cyclic:
        differences = np.roll(np.eye(k), 1, axis=1) + np.roll(np.eye(k), -1, axis=1) - 2 * np.eye(k)
    else:
        differences = np.diff(np.eye(k), 2, axis=0)
    values, vectors = np.linalg.eigh(differences.T @ differences)
    n_penalised = basis.n_penalised
    columns = vectors[:, -n_penalised:] / np.sqrt(values[-n_penalised:])
    columns *= np.where(columns[-1] < 0.0, -1.0, 1.0)  # LAPACK's sign is any
    nodes, weights = np.polynomial.legendre.leggauss(_N_NODES)
    first, last = basis.ends
    places = (np.arange(basis.n_pieces)[:, None] + (nodes + 1.0) / 2.0).ravel() / basis.n_pieces
    splines = basis.splines(first + places * (last - first)).toarray()
    moments = (splines.T * np.tile(weights, basis.n_pieces)) @ splines / (2.0 * basis.n_pieces)
    columns -= moments.sum(axis=0) @ columns  # the B-splines add up to one
    columns /= np.sqrt(np.trace(columns.T @ moments @ columns))
    columns.setflags(write=False)
    return np.asarray(columns)
