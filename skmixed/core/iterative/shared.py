"""What the factors share: the few directions along which C, preconditioned, is nearly singular.

A constant for all levels of a factor can hardly be told from one of another factor, nor the effect
of a level of a small factor from a constant for those levels of others that meet it only. In them
lie the lowest eigenvalues of C~ = R^-1 C R'^-1, R R' being the preconditioner, and most of what is
random in traces and log-determinants. With Q an orthonormal basis of them and of what one step of
the preconditioned iteration makes of them, C~^-1 is about I + Q M Q' with M = (Q'C~Q)^-1 - I.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.iterative.complement import Complement
from skmixed.core.layout import FloatArray

_FEW = 64
_DEPENDENT = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """The directions, and C~ on them.

    Parameters
    ----------
    basis : ndarray of shape (width, s)
        Q.
    inner : ndarray of shape (s, s)
        Q'C~Q.
    unwhitened : ndarray of shape (width, s)
        R'^-1 Q.
    """

    basis: FloatArray
    inner: FloatArray
    unwhitened: FloatArray

    @classmethod
    def of(cls, c: Complement) -> Shared:
        """Find them."""
        columns = _columns(c)
        columns = np.concatenate([columns, columns - c.precondition(c(columns))], axis=1)
        spread = c.root_transposed(columns)
        lengths = np.linalg.norm(spread, axis=0)
        spread = spread[:, lengths > 0.0] / lengths[lengths > 0.0]
        left, sizes, _ = np.linalg.svd(spread, full_matrices=False)
        basis = np.ascontiguousarray(left[:, sizes > _DEPENDENT * sizes[0]])
        unwhitened = c.precondition(c.root(basis))
        inner = unwhitened.T @ c(unwhitened)
        return cls(basis, (inner + inner.T) / 2.0, unwhitened)

    @property
    def middle(self) -> FloatArray:
        """M, of shape (s, s)."""
        return np.linalg.inv(self.inner) - np.eye(len(self.inner))


def _columns(c: Complement) -> FloatArray:
    """Return constants for all levels, and the unit vectors of factors of few effects."""
    columns = []
    for f, (k, n_levels) in zip(c.stacking.factors, c.stacking.shapes, strict=True):
        few = k * n_levels <= _FEW
        place = np.zeros((c.stacking.width, k * n_levels if few else k))
        if few:
            place[c.stacking.place(f)] = np.eye(k * n_levels)
        else:
            for a, part in enumerate(c.stacking.part(place, f)):
                part[:, a] = 1.0
        columns.append(place)
    return np.concatenate(columns, axis=1)
