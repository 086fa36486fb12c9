"""Covariance structures of the random effects of a factor, linear in their parameters theta.

The relative factor lambda of a structure (Omega = lambda lambda') is a sum of constant 0/1 matrices
times the entries of theta, so its derivatives are these constants.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from skmixed.core.groups import IntArray
from skmixed.core.layout import FloatArray

Kind = Literal["unstructured", "diagonal", "identity"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_PIVOT_RATIO = 4.0
_ZERO_PIVOT = 1e-12


@dataclass(frozen=True, slots=True)
class Block:
    """Covariance of the columns of one random-effects term.

    Parameters
    ----------
    kind : {"unstructured", "diagonal", "identity"}
        Structure of the block.
    size : int
        Number of columns.
    """

    kind: Kind
    size: int

    @property
    def n_theta(self) -> int:
        """Number of free parameters."""
        if self.kind == "unstructured":
            return self.size * (self.size + 1) // 2
        return self.size if self.kind == "diagonal" else 1

    def patterns(self, order: IntArray) -> FloatArray:
        """Return the constant matrices whose combination is lambda.

        Parameters
        ----------
        order : ndarray of int of shape (size,)
            Pivot order: lambda is lower triangular after its rows are put in this order.

        Returns
        -------
        ndarray of shape (n_theta, size, size)
            For an unstructured block in lme4's order, down the columns of the lower triangle.
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
        """Return theta of a relative covariance matrix.

        Parameters
        ----------
        omega : ndarray of shape (size, size)
            Positive semidefinite and of this structure.
        order : ndarray of int of shape (size,)
            Pivot order.

        Returns
        -------
        ndarray of shape (n_theta,)
            Diagonal entries are nonnegative, and exactly zero where `omega` is singular.
        """
        if self.kind == "unstructured":
            factor = semidefinite_cholesky(omega[order][:, order])
            return np.concatenate([factor[j:, j] for j in range(self.size)])
        scales = np.sqrt(np.maximum(np.diag(omega), 0.0))
        return scales if self.kind == "diagonal" else scales[:1]

    def pivot(self, omega: FloatArray, order: IntArray) -> IntArray:
        """Return a better pivot order, the present one where it is good enough.

        Parameters
        ----------
        omega : ndarray of shape (size, size)
            In scaled units.
        order : ndarray of int of shape (size,)
            The present order.

        Returns
        -------
        ndarray of int of shape (size,)
            By descending variance where a later variance exceeds an earlier one by a factor 4.
        """
        if self.kind != "unstructured":
            return order
        variances = np.diag(omega)[order]
        later = np.maximum.accumulate(variances[::-1])[::-1]
        if np.all(later[1:] <= _PIVOT_RATIO * variances[:-1]):
            return order
        return np.argsort(-np.diag(omega), kind="stable")


@dataclass(frozen=True, slots=True)
class Structure:
    """Covariance of all random columns of a factor: one block a term, terms independent.

    Parameters
    ----------
    blocks : tuple of Block
        In the order of the columns.
    """

    blocks: tuple[Block, ...]

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
        """Return the constant matrices of the blocks in the coordinates of the factor.

        Parameters
        ----------
        order : ndarray of int of shape (size,)
            Pivot order within every block.

        Returns
        -------
        ndarray of shape (n_theta, size, size)
            lambda is their combination with coefficients theta.
        """
        return _patterns(self, tuple(order.tolist()))

    def theta(self, omega: FloatArray, order: IntArray) -> FloatArray:
        """Return theta of a relative covariance matrix of this structure.

        Parameters
        ----------
        omega : ndarray of shape (size, size)
            Positive semidefinite.
        order : ndarray of int of shape (size,)
            Pivot order within every block.

        Returns
        -------
        ndarray of shape (n_theta,)
            The parameters.
        """
        return np.concatenate(
            [
                block.theta(omega[columns, columns], order[columns] - columns.start)
                for block, columns, _ in self.slices()
            ]
        )

    def factor(self, theta: FloatArray) -> FloatArray:
        """Return lambda in the order of the columns.

        Parameters
        ----------
        theta : ndarray of shape (n_theta,)
            In lme4's order.

        Returns
        -------
        ndarray of shape (size, size)
            Lower triangular.
        """
        patterns = self.patterns(self.natural_order)
        return (theta @ patterns.reshape(len(patterns), -1)).reshape(self.size, self.size)

    def pivot(self, omega: FloatArray, order: IntArray) -> IntArray:
        """Return the better pivot order of every block.

        Parameters
        ----------
        omega : ndarray of shape (size, size)
            In scaled units.
        order : ndarray of int of shape (size,)
            The present order.

        Returns
        -------
        ndarray of int of shape (size,)
            The order to use.
        """
        return np.concatenate(
            [
                block.pivot(omega[columns, columns], order[columns] - columns.start) + columns.start
                for block, columns, _ in self.slices()
            ]
        )


@lru_cache(maxsize=256)
def _patterns(structure: Structure, order: tuple[int, ...]) -> FloatArray:
    patterns = np.zeros((structure.n_theta, structure.size, structure.size))
    places = np.array(order)
    for block, columns, parameters in structure.slices():
        patterns[parameters, columns, columns] = block.patterns(places[columns] - columns.start)
    patterns.flags.writeable = False
    return patterns


def semidefinite_cholesky(matrix: FloatArray) -> FloatArray:
    """Lower Cholesky factor of a positive semidefinite matrix.

    Parameters
    ----------
    matrix : ndarray of shape (k, k)
        Symmetric positive semidefinite up to rounding.

    Returns
    -------
    ndarray of shape (k, k)
        A column is exactly zero where its pivot is at most 1e-12 of the diagonal entry.
    """
    rest = np.array(matrix, dtype=np.float64)
    factor = np.zeros_like(rest)
    for j in range(len(rest)):
        pivot = float(rest[j, j])
        if pivot > _ZERO_PIVOT * matrix[j, j]:
            column = rest[j:, j] / pivot**0.5
            factor[j:, j] = column
            rest[j:, j:] -= column[:, None] * column
    return factor
