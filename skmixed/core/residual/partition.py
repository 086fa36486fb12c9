"""Rows and pairs of rows divided among tables: by class, and over fixed points of a number.

A function of a number that is different for every pair of rows, such as the gap between two times,
is the polynomial through its values at fixed points: what a table is multiplied by is needed at
these alone. The points do not depend on the data, so that tables of parts are of the same points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.residual.structure import Key
from skmixed.core.sums.layout import unique_rows

Values = TypeVar("Values", FloatArray, IntArray)

_GAP_DIGITS = 11  # of a number after its first: what differs by less is rounding of differences


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the entries, that go into tables of one key."""

    key: Key
    members: IntArray | None = None  # (m,) which entries; None for all
    weights: FloatArray | None = None  # (m,)

    def of(self, values: Values) -> Values:
        """Return the values, (n,), of the members."""
        return values if self.members is None else values[self.members]

    def narrowed(self, label: float, members: IntArray | None) -> Part:
        """Return some of the members, (m,), under a longer key."""
        key = (*self.key, label)
        if members is None:
            return Part(key, self.members, self.weights)
        return Part(
            key,
            members if self.members is None else self.members[members],
            None if self.weights is None else self.weights[members],
        )

    def weighted(self, label: float, weights: FloatArray) -> Part:
        """Return the same members, (m,), with further weights under a longer key."""
        both = weights if self.weights is None else self.weights * weights
        return Part((*self.key, label), self.members, both)


Cut = Callable[[Part], list[Part]]


def divided(kind: float, *cuts: Cut) -> list[Part]:
    """Divide all entries by one cut after the other."""
    parts = [Part((kind,))]
    for cut in cuts:
        parts = [smaller for part in parts for smaller in cut(part)]
    return parts


def under(label: float) -> Cut:
    """Keep entries together, under a longer key."""
    return lambda part: [part.narrowed(label, None)]


def by_class(values: Values) -> Cut:
    """Divide entries by the values, (n,), that they have."""

    def cut(part: Part) -> list[Part]:
        own = part.of(values)
        if not len(own):
            return []
        if (own == own[0]).all():
            return [part.narrowed(float(own[0]), None)]
        codes, first = unique_rows([own])
        order = np.argsort(codes, kind="stable")
        members = np.split(order, np.searchsorted(codes[order], np.arange(1, len(first))))
        return [
            part.narrowed(float(own[at]), each) for at, each in zip(first, members, strict=True)
        ]

    return cut


def rounded(values: FloatArray) -> FloatArray:
    """Return positive numbers, (n,), without the last digits, which differences have lost."""
    if not (values % 1.0).any():
        return values
    exponent = np.floor(np.log10(values))
    unit = 10.0 ** (exponent - _GAP_DIGITS)
    return np.asarray(np.round(values / unit) * unit)


@dataclass(frozen=True, slots=True)
class Points:
    """Fixed points of a number: `count` in every segment of some width."""

    width: float
    count: int

    @property
    def unit_nodes(self) -> FloatArray:
        """Chebyshev's points of (-1, 1), (count,)."""
        return np.cos((2 * np.arange(self.count) + 1) * np.pi / (2 * self.count))

    def are_fewer(self, values: FloatArray) -> bool:
        """Tell whether there are fewer points near these values, (n,), than distinct ones."""
        n_points = self.count * len(np.unique(np.floor(values / self.width)))
        return n_points < len(np.unique(values))

    def cut(self, values: FloatArray, label: Callable[[float], float] = float) -> Cut:
        """Divide entries over the points near their values, (n,).

        `label` makes of a point what the key says.
        """
        segments = np.floor(values / self.width)

        def over_points(part: Part) -> list[Part]:
            parts = []
            for smaller in by_class(segments)(part):
                middle = (smaller.key[-1] + 0.5) * self.width
                nodes = middle + self.unit_nodes * self.width / 2.0
                whole = Part(part.key, smaller.members, smaller.weights)
                shares = self._shares(nodes, smaller.of(values))
                parts += [
                    whole.weighted(label(float(node)), share)
                    for node, share in zip(nodes, shares, strict=True)
                ]
            return parts

        return over_points

    def _shares(self, nodes: FloatArray, values: FloatArray) -> FloatArray:
        """Return Lagrange's polynomials of the nodes at values, (count, n)."""
        places = np.arange(self.count)
        signs = (-1.0) ** places * np.sin((2 * places + 1) * np.pi / (2 * self.count))
        distances = values - nodes[:, None]
        is_node = distances == 0.0
        shares = signs[:, None] / np.where(is_node, 1.0, distances)
        shares /= shares.sum(axis=0)
        at_node = is_node.any(axis=0)
        shares[:, at_node] = is_node[:, at_node]
        return np.asarray(shares)
