"""Coordinates of a term's covariance in which one of its parameters is a single number.

Put first in the pivot order, a standard deviation is the only entry of its row of Lambda; put
second, a row is its standard deviation times (cos a, sin a), where cos a is the correlation with
the first. There both standard deviations are squares of coordinates, since the sign of one would
change that of the correlation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.covariance import Structure
from skmixed.core.model.spec import Term


@dataclass(frozen=True, slots=True, eq=False)
class TermCoordinates:
    """Map from the free coordinates x of one term to its theta, (t,), of absolute covariances.

    `held` are the positions in theta of the held parameter, none if it is not of this term. If
    there is one, the structure determines the entry; if there are three, the entries are x_0^2,
    x_1^2 cos t and x_1^2 sin t.
    """

    term: Term
    position: int  # of its factor
    block: slice  # its columns within the factor
    order: IntArray  # (k,), what is held comes first
    held: tuple[int, ...]
    columns: tuple[int, ...] = ()  # of the parameter that is held
    is_angle: bool = False  # whether t is the angle of a correlation

    def theta(self, x: FloatArray, t: float) -> FloatArray:
        """Return theta at the free coordinates."""
        if not self.held:
            return x
        theta = np.zeros(self.structure.n_theta)
        theta[self._rest] = x[self.n_own :]
        if len(self.held) == 1:
            return self._held_entry(theta, t)[0]
        theta[list(self.held)] = [x[0] ** 2, *(x[1] ** 2 * _on_circle(t))]
        return theta

    def _held_entry(self, theta: FloatArray, t: float) -> tuple[FloatArray, FloatArray]:
        """Return theta with the held entry, and its derivatives in the others and in t."""
        value, slope = (np.cos(t), -np.sin(t)) if self.is_angle else (t, 1.0)
        found, change = self.structure.holding(self.columns, theta, float(value))
        change[self.held[0]] *= slope
        return found, change

    def of_sizes(self, sizes: FloatArray) -> FloatArray:
        """Return the free coordinates of deviations, given in theta with no angle."""
        own = np.sqrt(sizes[list(self.held[:2])]) if self.n_own else np.empty(0)
        return np.concatenate([own, sizes[self._rest]])

    def of_theta(self, theta: FloatArray) -> FloatArray:
        """Return the free coordinates of theta."""
        sizes = theta.copy()
        if self.n_own:
            sizes[self.held[1]] = np.hypot(*theta[list(self.held[1:])])
        return self.of_sizes(sizes)

    def slopes(self, x: FloatArray, t: float, by_theta: FloatArray) -> tuple[FloatArray, float]:
        """Convert a gradient in theta to that in the free coordinates and the slope in t."""
        rest = by_theta[self._rest]
        if not self.held:
            return rest, 0.0
        if not self.n_own:
            place = self.held[0]
            change = by_theta[place] * self._held_entry(self.theta(x, t), t)[1]
            return rest + change[self._rest], float(change[place])
        first, turned = by_theta[self.held[0]], by_theta[list(self.held[1:])]
        own = [2.0 * x[0] * first, 2.0 * x[1] * (_on_circle(t) @ turned)]
        return np.array([*own, *rest]), float(x[1] ** 2 * (_on_circle(t + np.pi / 2.0) @ turned))

    def changes(self, x: FloatArray, t: float) -> FloatArray:
        """Return the derivatives of theta, (t, n_free), in the free coordinates."""
        found = np.zeros((self.structure.n_theta, self.n_free))
        found[self._rest, np.arange(self.n_own, self.n_free)] = 1.0
        if len(self.held) == 1:
            found[self.held[0]] = self._held_entry(self.theta(x, t), t)[1][self._rest]
        if self.n_own:
            found[self.held[0], 0] = 2.0 * x[0]
            found[list(self.held[1:]), 1] = 2.0 * x[1] * _on_circle(t)
        return found

    def bends(self, t: float, by_theta: FloatArray) -> FloatArray:
        """Return the diagonal contribution of theta's second derivatives in x, (n_free,)."""
        found = np.zeros(self.n_free)
        if self.n_own:
            turned = by_theta[list(self.held[1:])]
            found[:2] = 2.0 * by_theta[self.held[0]], 2.0 * float(_on_circle(t) @ turned)
        return found

    @property
    def structure(self) -> Structure:
        """The covariance structure of the term."""
        return self.term.structure

    @property
    def n_own(self) -> int:
        """Number of free coordinates in the rotation of the held parameter."""
        return 2 if len(self.held) > 1 else 0

    @property
    def n_free(self) -> int:
        """Number of free coordinates."""
        return self.structure.n_theta - (1 if self.held else 0)

    @property
    def _rest(self) -> list[int]:
        return [place for place in range(self.structure.n_theta) if place not in self.held]


def _on_circle(angle: float) -> FloatArray:
    return np.array([np.cos(angle), np.sin(angle)])


TermPoint = tuple[TermCoordinates, FloatArray, FloatArray]
"""A term with its free coordinates, (n_free,), and its theta, (t,), at some point."""
