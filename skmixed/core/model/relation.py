"""Known covariances between the levels of a factor: kinship, phylogeny, distance."""

from __future__ import annotations

from dataclasses import dataclass

from skmixed.core.linalg import FloatArray
from skmixed.core.sums.layout import GroupIndex


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """Known covariance of the levels of one factor, relative to the variance of the factor."""

    index: GroupIndex  # its levels
    matrix: FloatArray  # (n, n), K, symmetric and positive semidefinite
