"""Known covariances between the levels of a factor: kinship, phylogeny, distance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from skmixed.core.linalg import FloatArray
from skmixed.core.sums.layout import GroupIndex

RANK_LOST = 1e-13  # of the largest eigenvalue: rounding of a covariance of lower rank


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """Known covariance of the levels of one factor, relative to the variance of the factor."""

    index: GroupIndex  # its levels
    matrix: FloatArray  # (n, n), K, symmetric and positive semidefinite

    @property
    def scale(self) -> float:
        """A power of two near the inverse of a typical deviation of a level."""
        mean = float(self.matrix.diagonal().mean())
        return math.ldexp(1.0, -round(0.5 * math.log2(mean))) if mean > 0.0 else 1.0
