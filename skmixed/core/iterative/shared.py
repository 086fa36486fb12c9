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

_FEW_EFFECTS = 64  # a factor with no more gets unit vectors; each costs a column of the basis
_NO_DIRECTION = 1e-6  # singular value, relative to the largest, below which a direction is rounding


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """The directions that factors share, and C~ on them."""

    basis: FloatArray  # Q, (width, s), orthonormal
    inner: FloatArray  # Q'C~Q, (s, s)
    unwhitened: FloatArray  # R'^-1 Q, (width, s)

    @classmethod
    def of(cls, c: Complement) -> Shared:
        """Find the directions of one complement."""
        columns = _columns(c)
        columns = np.concatenate([columns, columns - c.precondition(c(columns))], axis=1)
        spread = c.root_transposed(columns)
        lengths = np.linalg.norm(spread, axis=0)
        spread = spread[:, lengths > 0.0] / lengths[lengths > 0.0]
        left, sizes, _ = np.linalg.svd(spread, full_matrices=False)
        basis = np.ascontiguousarray(left[:, sizes > _NO_DIRECTION * sizes[0]])
        unwhitened = c.precondition(c.root(basis))
        inner = unwhitened.T @ c(unwhitened)
        return cls(basis, (inner + inner.T) / 2.0, unwhitened)

    @property
    def middle(self) -> FloatArray:
        """M, (s, s)."""
        return np.linalg.inv(self.inner) - np.eye(len(self.inner))


def _columns(c: Complement) -> FloatArray:
    """Return constants for all levels and unit vectors of small factors, (width, n)."""
    columns = []
    for f, (k, n_levels) in zip(c.layout.factors, c.layout.shapes, strict=True):
        few = k * n_levels <= _FEW_EFFECTS
        place = np.zeros((c.layout.width, k * n_levels if few else k))
        if few:
            place[c.layout.place(f)] = np.eye(k * n_levels)
        else:
            for a, part in enumerate(c.layout.part(place, f)):
                part[:, a] = 1.0
        columns.append(place)
    return np.concatenate(columns, axis=1)
