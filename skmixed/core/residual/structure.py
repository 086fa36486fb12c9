"""What a residual structure is: which sums over pairs of rows it needs, and what it makes of them.

The inverse of the residual covariance, relative to sigma^2, is a combination of constant matrices,
R(phi)^-1 = sum of c_m(phi) T_m, over pairs of rows of a series. So the cross-products weighted by
it are the same combination of tables of sums, and log|R| is made of phi and the numbers of rows or
series behind the tables.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.residual.residual_rows import ResidualRows

Key = tuple[float, ...]
"""What tells a table from others of a structure; tables of one key are added."""


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The pairs of rows that are summed in one table, as z_a w_b' + z_b w_a', or as z w'.

    Where there are `runs`, the columns are first summed over runs of rows, and a and b are runs.
    """

    key: Key
    count: float  # what stands for the table in log|R|: its rows, pairs or series
    first: IntArray | None = None  # (m,) rows a; None for all
    second: IntArray | None = None  # (m,) rows b; None where every row is paired with itself
    weights: FloatArray | None = None  # (m,) of the pairs
    runs: tuple[IntArray, IntArray] | None = None  # (n,) rows in order, and (n_runs,) their starts


@dataclass(frozen=True, slots=True, eq=False)
class Combination:
    """How M tables make up R^-1 at some phi, (q,), and log|R|, with two derivatives."""

    weights: FloatArray  # (M,), c
    slopes: FloatArray  # (q, M), of c
    curvatures: FloatArray  # (q, q, M), of c
    log_det: float  # log|R|
    log_det_slope: FloatArray  # (q,)
    log_det_curvature: FloatArray  # (q, q)


Weighing = Callable[[FloatArray], Combination]


@dataclass(frozen=True, slots=True, eq=False)
class ResidualParameter:
    """A parameter of a residual structure as it is reported."""

    name: str  # such as "ar1", "ratio Male/Female" or "power"
    value: float
    lower: float  # what the value cannot be below
    upper: float
    slopes: FloatArray  # (q,), derivatives of the value in phi
    null: float  # the value at which it makes no difference: 0 of a correlation, 1 of a ratio


class ResidualStructure(ABC):
    """A family of residual covariances, relative to sigma^2; it holds no rows.

    A structure as declared is `resolved` by the tables to be fitted, which says what phi is
    relative to. phi has no bounds.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def is_correlated(self) -> bool:
        """Whether rows of a series depend on each other, so that series must stay whole."""

    def contains(self, other: ResidualStructure) -> bool:
        """Tell whether every covariance of another structure is one of this, inside its range."""
        return self == other

    @property
    def n_visits(self) -> int:
        """Number V of planned visits that it has variances or correlations of; 0 where of none."""
        return 0

    @property
    @abstractmethod
    def needed(self) -> tuple[str, ...]:
        """The fields of `ResidualRows` that it asks for."""

    @abstractmethod
    def selections(self, rows: ResidualRows) -> list[Selection]:
        """Return which pairs of rows are summed in which table; raise ValueError for bad rows."""

    @abstractmethod
    def resolved(self, keys: FloatArray, counts: FloatArray) -> ResidualStructure:
        """Return the structure as tables of these keys, (M, d), and counts, (M,), determine it.

        Raises ValueError where they do not tell its parameters.
        """

    def reported(self, phi: FloatArray) -> tuple[ResidualStructure, float]:
        """Return the structure relative to the sigma that is reported, at the same phi.

        The second is sigma of this structure over that.
        """
        return self, 1.0

    @property
    @abstractmethod
    def n_phi(self) -> int:
        """Number q of parameters, of a resolved structure."""

    @property
    @abstractmethod
    def starts(self) -> FloatArray:
        """Values of phi to begin from, (s, q), the first one first."""

    @abstractmethod
    def weighing(self, keys: FloatArray, counts: FloatArray) -> Weighing:
        """Return the function of phi, (q,), that says how the tables make up R^-1, and log|R|.

        The tables have keys, (M, d), and counts, (M,).
        """

    @abstractmethod
    def parameters(self, phi: FloatArray) -> tuple[ResidualParameter, ...]:
        """Return the parameters by name at phi, (q,)."""

    def runaway(self, phi: FloatArray) -> str | None:
        """Return what to do where phi, (q,), is on its way to infinity; None where it is not."""
        return None

    @abstractmethod
    def deviations(self, phi: FloatArray, rows: ResidualRows) -> FloatArray:
        """Return the standard deviation of the residual of every row, (n,), relative to sigma."""

    def mean_square(self, phi: FloatArray, keys: FloatArray, counts: FloatArray) -> float:
        """Return the mean square of `deviations`, given keys, (M, d), and counts, (M,)."""
        return 1.0

    def named_deviations(self, phi: FloatArray) -> list[tuple[str, float]]:
        """Return the classes of rows that differ in `deviations`, the reference first, with them.

        Where a covariate makes a difference, it is taken to be one.
        """
        return [("", 1.0)]

    def visit_correlations(self, phi: FloatArray) -> FloatArray | None:
        """Return the correlations of planned visits, (V, V); None where there are none."""
        return None

    @property
    def holds_intercept(self) -> bool:
        """Whether a variance that all rows of a series share is part of it already."""
        return False

    @property
    def is_carried(self) -> bool:
        """Whether the last residual of a series is all that the others tell of those to come."""
        return False

    def carried(self, phi: FloatArray, gaps: FloatArray) -> FloatArray:
        """Return the correlation with the last residual of a series at gaps, (m,)."""
        raise NotImplementedError

    @abstractmethod
    def whitened(self, phi: FloatArray, rows: ResidualRows, values: FloatArray) -> FloatArray:
        """Return L^-1 times values, (n, m), with L L' = R of these rows."""

    @abstractmethod
    def coloured(self, phi: FloatArray, rows: ResidualRows, values: FloatArray) -> FloatArray:
        """Return L times values, (n, m), with L L' = R: of white noise, residuals."""


def draw(
    structure: ResidualStructure,
    phi: FloatArray,
    rows: ResidualRows,
    rng: np.random.Generator,
    n_draws: int = 1,
) -> FloatArray:
    """Draw residuals of rows, (n, n_draws), relative to sigma."""
    n = len(structure.deviations(phi, rows))
    return structure.coloured(phi, rows, rng.standard_normal((n, n_draws)))
