"""What a fit keeps of its responses, so that it can be told from one to other rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import ModelSpec
from skmixed.core.sums.layout import Rows

SAME_SUM = 1e-8  # relative, of sums over the same rows in another order: rounding, with room


@dataclass(frozen=True, slots=True, eq=False)
class ResponseSums:
    """Sums of the responses of all rows, before equal ones are put together."""

    weight: float  # sum of the weights
    total: float  # sum of weights and responses
    square: float  # sum of weights and squared responses
    of_levels: tuple[FloatArray, ...]  # (n_levels,), the total of the levels of every used factor
    offset: float = 0.0  # mean of the offsets

    @classmethod
    def of(cls, rows: Rows, spec: ModelSpec, offset: FloatArray | None = None) -> ResponseSums:
        """Sum the last column of rows, whose offset is (n,)."""
        y = rows.columns[:, -1]
        weights = np.ones(len(y)) if rows.weights is None else rows.weights
        weighted = weights * y
        sizes = [len(rows.indexes[factor]) for factor in spec.used_factors]
        of_levels = tuple(
            np.bincount(rows.codes[factor], weighted, size).astype(np.float64)
            for factor, size in zip(spec.used_factors, sizes, strict=True)
        )
        return cls(
            float(weights.sum()),
            float(weighted.sum()),
            float(weighted @ y),
            of_levels,
            0.0 if offset is None else float(weights @ offset / weights.sum()),
        )

    def are_those_of(self, other: ResponseSums) -> bool:
        """Tell whether responses agree with others but for rounding, whatever the factors."""
        mine, theirs = ((s.weight, s.total, s.square) for s in (self, other))
        scale = np.sqrt(self.weight * self.square)  # no total is larger
        return bool(np.allclose(mine, theirs, rtol=SAME_SUM, atol=SAME_SUM * scale))
