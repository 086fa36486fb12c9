"""Penalties of covariances, -2 log of densities of these, that keep an optimum off the boundary.

With v the variances of the deviations of a structure, all relative to sigma^2, a penalty is

    -c log|Omega| + sum of a log v + r v^p + a constant.

It has a value, a derivative in Omega and second ones along directions of Omega, like the criterion
that it is added to, and takes roots of Omega: lambdas, (..., k, k), with any leading axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import BoolArray, FloatArray, transposed


@dataclass(frozen=True, slots=True)
class VariancePenalty:
    """What a v, the mean of the variances of some columns, adds: a log v + r v^p."""

    columns: tuple[int, ...]
    log: float  # a
    rate: float = 0.0  # r
    power: float = 1.0  # p


@dataclass(frozen=True, slots=True)
class Penalty:
    """The penalty of one term, in the units of the data."""

    determinant: float  # c, nonnegative
    variances: tuple[VariancePenalty, ...] = ()
    constant: float = 0.0
    name: str = ""  # of the distributions behind it


@dataclass(frozen=True, slots=True, eq=False)
class ScaledPenalty:
    """The penalties of terms side by side, of columns in scaled units."""

    parts: tuple[tuple[Penalty, slice, FloatArray], ...]  # with (k, k): raw effects of scaled ones

    @classmethod
    def joined(cls, penalties: Sequence[ScaledPenalty], sizes: Sequence[int]) -> ScaledPenalty:
        """Put the penalties of factors of so many columns side by side."""
        parts, start = [], 0
        for each, size in zip(penalties, sizes, strict=True):
            for penalty, place, change in each.parts:
                parts.append((penalty, slice(start + place.start, start + place.stop), change))
            start += size
        return cls(tuple(parts))

    def value(self, lam: FloatArray) -> FloatArray:
        """Return the penalty, (...), infinite where a covariance that it keeps off is singular."""
        total = np.zeros(lam.shape[:-2])
        for penalty, place, change in self.parts:
            raw = change @ lam[..., place, place]
            found = np.full(total.shape, penalty.constant)
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                if penalty.determinant:
                    found -= 2.0 * penalty.determinant * np.linalg.slogdet(raw)[1]
                for part in penalty.variances:
                    v = np.square(raw[..., list(part.columns), :]).sum(axis=-1).mean(axis=-1)
                    found += part.log * np.log(v) + part.rate * v**part.power
            total += np.where(np.isnan(found), np.inf, found)
        return total

    def slope(self, lam: FloatArray) -> FloatArray:
        """Return the derivative in Omega, (..., k, k); of singular ones it means nothing."""
        result = np.zeros(lam.shape)
        for penalty, place, change in self.parts:
            root = lam[..., place, place]
            if penalty.determinant:
                inverse = _inverse(root)
                result[..., place, place] -= penalty.determinant * (transposed(inverse) @ inverse)
            for part in penalty.variances:
                form, first, _ = _of_variance(part, change, root)
                result[..., place, place] += first[..., None, None] * form
        return result

    def along(self, lam: FloatArray, directions: FloatArray) -> FloatArray:
        """Return second derivatives, (..., t, t), along symmetric directions, (..., t, k, k)."""
        t = directions.shape[-3]
        result = np.zeros((*lam.shape[:-2], t, t))
        for penalty, place, change in self.parts:
            root, own = lam[..., place, place], directions[..., place, place]
            if penalty.determinant:
                inverse = _inverse(root)[..., None, :, :]
                turned = (inverse @ own @ transposed(inverse)).reshape(*own.shape[:-2], -1)
                result += penalty.determinant * (turned @ transposed(turned))
            for part in penalty.variances:
                form, _, second = _of_variance(part, change, root)
                felt = (own * form).sum(axis=(-2, -1))
                result += second[..., None, None] * (felt[..., :, None] * felt[..., None, :])
        return result


def _inverse(root: FloatArray) -> FloatArray:
    """Return inverses of roots, (..., k, k), the identity in the place of singular ones."""
    is_singular: BoolArray = np.isneginf(np.linalg.slogdet(root)[1])
    regular = np.where(is_singular[..., None, None], np.eye(root.shape[-1]), root)
    return np.asarray(np.linalg.inv(regular), dtype=np.float64)


def _of_variance(
    part: VariancePenalty, change: FloatArray, root: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return S, (k, k), with v = tr(S Omega), and first and second derivatives in v, (...)."""
    log, rate, power = part.log, part.rate, part.power
    rows = change[list(part.columns)]
    v = np.square(rows @ root).sum(axis=-1).mean(axis=-1)
    v = np.where(v > 0.0, v, 1.0)
    first = log / v + rate * power * v ** (power - 1.0)
    second = -log / v**2 + rate * power * (power - 1.0) * v ** (power - 2.0)
    return rows.T @ rows / len(rows), first, second
