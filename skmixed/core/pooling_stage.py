"""First stage of two: estimates of sibling groups, with their information, and their parents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.core.groups import IntArray
from skmixed.core.layout import FloatArray
from skmixed.core.levels import sum_children

_NULL = 1e-10


@dataclass(frozen=True, slots=True)
class Noise:
    """What the first stage left over.

    Parameters
    ----------
    rss : float
        Residual sum of squares within groups.
    n_rows : float
        Number of rows, whose degrees of freedom the second stage shares.
    degrees : float
        Degrees of freedom within groups; the search starts from their variance.
    """

    rss: float
    n_rows: float
    degrees: float


@dataclass(frozen=True, eq=False)
class Stage:
    """Estimates of sibling groups and what they are shrunk to.

    Parameters
    ----------
    precision : ndarray of shape (k, k, n_groups)
        P, symmetric positive semidefinite.
    estimate : ndarray of shape (k, n_groups)
        b; only P b matters.
    parents : ndarray of int of shape (n_groups,)
        Parent of every group.
    n_parents : int
        Number of parents.
    noise : Noise or None
        None where s^2 = 1 is known.
    """

    precision: FloatArray
    estimate: FloatArray
    parents: IntArray
    n_parents: int
    noise: Noise | None = None

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
        """Sum over the groups of each parent.

        Parameters
        ----------
        values : ndarray of shape (a, b, n_groups)
            One matrix a group.

        Returns
        -------
        ndarray of shape (a, b, n_parents)
            The sums.
        """
        if self.n_parents == 1:
            return np.asarray(values.sum(axis=2, keepdims=True))
        return sum_children(values, self.parents, self.n_parents)

    def of_parent(self, values: FloatArray) -> FloatArray:
        """Return the value of the parent of each group.

        Parameters
        ----------
        values : ndarray of shape (..., n_parents)
            One array a parent.

        Returns
        -------
        ndarray of shape (..., n_groups or 1)
            One array a group; the same for all if there is one parent.
        """
        return values if self.n_parents == 1 else values[..., self.parents]

    @cached_property
    def null_space(self) -> FloatArray:
        """Projections on what the groups of a parent leave unknown, of shape (k, k, n_parents)."""
        total = np.moveaxis(self.by_parent(self.precision), 2, 0)
        scale = np.sqrt(np.einsum("pii->pi", total))
        scale = np.where(scale > 0.0, scale, 1.0)
        values, vectors = np.linalg.eigh(total / (scale[:, :, None] * scale[:, None]))
        unknown = values < _NULL * self.k
        basis = np.where(unknown[:, None], vectors, 0.0) / scale[:, :, None]
        return np.moveaxis(basis @ basis.transpose(0, 2, 1), 0, 2)

    @cached_property
    def degrees(self) -> float:
        """Rows less the coefficients of the parents."""
        projections = np.moveaxis(self.null_space, 2, 0)
        unknown = float(np.linalg.matrix_rank(projections, hermitian=True).sum())
        rows = 0.0 if self.noise is None else self.noise.n_rows
        return rows - (self.k * self.n_parents - unknown)
