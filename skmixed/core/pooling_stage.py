"""First stage of two: estimates of sibling groups, with their information, and their parents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.core.groups import IntArray
from skmixed.core.layout import FloatArray
from skmixed.core.levels import sum_children

UNINFORMED = 1e-10  # eigenvalue of P at unit diagonal; less is a direction not known about


@dataclass(frozen=True, slots=True)
class Noise:
    """What the first stage left over."""

    rss: float  # residual sum of squares within groups
    n_rows: float  # number of rows, whose degrees of freedom the second stage shares
    degrees: float  # of freedom within groups; the search starts from their variance


@dataclass(frozen=True, eq=False)
class Stage:
    """Estimates of k coefficients of sibling groups and what they are shrunk to."""

    precision: FloatArray  # (k, k, n_groups), P, symmetric positive semidefinite
    estimate: FloatArray  # (k, n_groups), b; only P b matters
    parents: IntArray  # (n_groups,) parent of every group
    n_parents: int
    noise: Noise | None = None  # None where s^2 = 1 is known

    @property
    def k(self) -> int:
        """Number of coefficients."""
        return len(self.precision)

    @property
    def s2_within(self) -> float | None:
        """Residual variance within groups, where it is known."""
        if self.noise is None:
            return 1.0
        return self.noise.rss / self.noise.degrees if self.noise.degrees >= 1.0 else None

    @property
    def degrees_between(self) -> int:
        """Number of groups with information beyond one a parent."""
        informed = np.einsum("iig->g", self.precision) > 0.0
        return int(informed.sum()) - len(np.unique(self.parents[informed]))

    def by_parent(self, values: FloatArray) -> FloatArray:
        """Sum matrices, (a, b, n_groups), over the groups of each parent, (a, b, n_parents)."""
        if self.n_parents == 1:
            return np.asarray(values.sum(axis=2, keepdims=True))
        return sum_children(values, self.parents, self.n_parents)

    def of_parent(self, values: FloatArray) -> FloatArray:
        """Return the values, (..., n_parents), of the parent of each group, (..., n_groups).

        The last axis stays 1 where there is one parent.
        """
        return values if self.n_parents == 1 else values[..., self.parents]

    @cached_property
    def null_space(self) -> FloatArray:
        """Projections on what the groups of a parent leave unknown, (k, k, n_parents)."""
        total = np.moveaxis(self.by_parent(self.precision), 2, 0)
        scale = np.sqrt(np.einsum("pii->pi", total))
        scale = np.where(scale > 0.0, scale, 1.0)
        values, vectors = np.linalg.eigh(total / (scale[:, :, None] * scale[:, None]))
        unknown = values < UNINFORMED * self.k
        basis = np.where(unknown[:, None], vectors, 0.0) / scale[:, :, None]
        return np.moveaxis(basis @ basis.transpose(0, 2, 1), 0, 2)

    @cached_property
    def degrees(self) -> float:
        """Rows less the coefficients of the parents."""
        projections = np.moveaxis(self.null_space, 2, 0)
        unknown = float(np.linalg.matrix_rank(projections, hermitian=True).sum())
        rows = 0.0 if self.noise is None else self.noise.n_rows
        return rows - (self.k * self.n_parents - unknown)
