"""Covariance structures of the random effects of a factor, linear in their parameters theta.

The root lambda of a relative covariance (Omega = lambda lambda') is a sum of constant 0/1 matrices
times the entries of theta, so its derivatives are these constants.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray

Kind = Literal["unstructured", "diagonal", "identity"]
KINDS: tuple[Kind, ...] = get_args(Kind)

PIVOT_RATIO = 4.0  # of variances: nearer ones stand in any order, not swapped to and fro
ZERO_PIVOT = 1e-12  # relative to the diagonal entry: what rounding leaves of a zero


@dataclass(frozen=True, slots=True)
class Block:
    """Covariance of the columns of one random-effects term."""

    kind: Kind
    size: int  # number of columns

    @property
    def n_theta(self) -> int:
        """Number of free parameters."""
        if self.kind == "unstructured":
            return self.size * (self.size + 1) // 2
        return self.size if self.kind == "diagonal" else 1

    def patterns(self, order: IntArray) -> FloatArray:
        """Return the constant matrices whose combination is lambda, (n_theta, size, size).

        Rows put in `order` make lambda lower triangular. The parameters of an unstructured block
        are in lme4's order, down the columns of the lower triangle.
        """
        patterns = np.zeros((self.n_theta, self.size, self.size))
        if self.kind == "unstructured":
            places = [(i, j) for j in range(self.size) for i in range(j, self.size)]
            for a, (i, j) in enumerate(places):
                patterns[a, order[i], j] = 1.0
        elif self.kind == "diagonal":
            patterns[np.arange(self.size), np.arange(self.size), np.arange(self.size)] = 1.0
        else:
            patterns[0] = np.eye(self.size)
        return patterns

    def theta(self, omega: FloatArray, order: IntArray) -> FloatArray:
        """Return theta, (n_theta,), of a relative covariance of this structure, (size, size).

        `omega` is positive semidefinite. Diagonal entries of lambda are nonnegative, and exactly
        zero where `omega` is singular.
        """
        if self.kind == "unstructured":
            lower = semidefinite_cholesky(omega[order][:, order])
            return np.concatenate([lower[j:, j] for j in range(self.size)])
        scales = np.sqrt(np.maximum(np.diag(omega), 0.0))
        return scales if self.kind == "diagonal" else scales[:1]

    def pivot(self, omega: FloatArray, order: IntArray) -> IntArray:
        """Return a better pivot order, (size,), or the present one where it is good enough.

        Variances are compared in scaled units. The better order is that of falling variance; it is
        taken where a later variance exceeds an earlier one by a factor of 4.
        """
        if self.kind != "unstructured":
            return order
        variances = np.diag(omega)[order]
        later = np.maximum.accumulate(variances[::-1])[::-1]
        if np.all(later[1:] <= PIVOT_RATIO * variances[:-1]):
            return order
        return np.argsort(-np.diag(omega), kind="stable")


@dataclass(frozen=True, slots=True)
class Structure:
    """Covariance of all random columns of a factor: one block a term, terms independent."""

    blocks: tuple[Block, ...]  # in the order of the columns

    @property
    def size(self) -> int:
        """Number of columns."""
        return sum(block.size for block in self.blocks)

    @property
    def n_theta(self) -> int:
        """Number of free parameters."""
        return sum(block.n_theta for block in self.blocks)

    @property
    def natural_order(self) -> IntArray:
        """The order that leaves every column where it stands."""
        return np.arange(self.size)

    def slices(self) -> Iterator[tuple[Block, slice, slice]]:
        """Yield every block with its place among the columns and among theta."""
        column = parameter = 0
        for block in self.blocks:
            columns = slice(column, column + block.size)
            parameters = slice(parameter, parameter + block.n_theta)
            yield block, columns, parameters
            column, parameter = columns.stop, parameters.stop

    def patterns(self, order: IntArray) -> FloatArray:
        """Return the constant matrices whose combination is lambda, (n_theta, size, size).

        `order`, (size,), is the pivot order; it permutes columns within their block only.
        """
        return _patterns(self, tuple(order.tolist()))

    def theta(self, omega: FloatArray, order: IntArray) -> FloatArray:
        """Return theta, (n_theta,), of a relative covariance of this structure, (size, size).

        As `Block.theta` for every block.
        """
        return np.concatenate(
            [
                block.theta(omega[columns, columns], order[columns] - columns.start)
                for block, columns, _ in self.slices()
            ]
        )

    def factor(self, theta: FloatArray) -> FloatArray:
        """Return lambda, lower triangular and (size, size), of theta in lme4's order."""
        patterns = self.patterns(self.natural_order)
        return (theta @ patterns.reshape(len(patterns), -1)).reshape(self.size, self.size)

    def pivot(self, omega: FloatArray, order: IntArray) -> IntArray:
        """Return the better pivot order of every block, (size,), for `omega` in scaled units."""
        return np.concatenate(
            [
                block.pivot(omega[columns, columns], order[columns] - columns.start) + columns.start
                for block, columns, _ in self.slices()
            ]
        )


@lru_cache(maxsize=256)
def _patterns(structure: Structure, order: tuple[int, ...]) -> FloatArray:
    """Return the patterns of a structure, read-only because they are kept."""
    patterns = np.zeros((structure.n_theta, structure.size, structure.size))
    places = np.array(order)
    for block, columns, parameters in structure.slices():
        patterns[parameters, columns, columns] = block.patterns(places[columns] - columns.start)
    patterns.flags.writeable = False
    return patterns


def semidefinite_cholesky(matrix: FloatArray) -> FloatArray:
    """Return the lower Cholesky factor of a positive semidefinite matrix, (k, k).

    A column is exactly zero where its pivot is at most 1e-12 of the diagonal entry, so the matrix
    may be indefinite by rounding.
    """
    rest = np.array(matrix, dtype=np.float64)
    lower = np.zeros_like(rest)
    for j in range(len(rest)):
        pivot = float(rest[j, j])
        if pivot > ZERO_PIVOT * matrix[j, j]:
            column = rest[j:, j] / pivot**0.5
            lower[j:, j] = column
            rest[j:, j:] -= column[:, None] * column
    return lower
