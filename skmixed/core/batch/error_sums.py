"""Sums of errors drawn without rows, from a square root of [Z X]'W[Z X]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.elimination.levels import multiply_levels, multiply_transposed
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray
from skmixed.core.sums.blocks import pair_between
from skmixed.core.sums.crossproducts import CrossProducts

_NULL_SPACE = 1e-10  # eigenvalue, the diagonal being one, that is rounding of sums over many rows
_MOST_ENTRIES = 5e7  # of Z_1'W Z_g with its zeros: 400 MB
_WIDEST = 2_000  # random effects beside the largest factor: seconds for the eigenvectors


class NeedsRowsError(ValueError):
    """The sums of the error cannot be drawn from cross-products of this size."""


@dataclass(frozen=True, slots=True, eq=False)
class ErrorSums:
    """A square root of [Z X]'W[Z X]: the largest factor by level, the rest after it."""

    first: int | None  # the factor taken first
    root: FloatArray  # (k, k, n_levels): of its Z'W Z; columns of zeros where it has lower rank
    white: FloatArray  # (k, rest, n_levels): root' white = Z'W[X, other factors]
    rest: FloatArray  # (rest, rank): root of what the first factor leaves of the others
    rank: int  # of all together

    @classmethod
    def of(cls, fit: Fit) -> ErrorSums:
        """Take the root of the cross-products of a fit.

        Raises NeedsRowsError if the factors beside the largest have too many random effects.
        """
        products, used = fit.products, fit.spec.used_factors
        gram = products.gram[:-1, :-1]
        if not used:
            rest = _semidefinite_root(gram)
            return cls(None, np.empty((0, 0, 0)), np.empty((0, 0, 0)), rest, rest.shape[1])
        first = max(used, key=lambda factor: len(products.factors[factor].index))
        block = products.factors[first]
        others = [factor for factor in used if factor != first]
        _check_width(products, block.products.shape, others)
        own = block.products[:, list(block.columns)].transpose(2, 0, 1)
        units = np.sqrt(np.maximum(np.diagonal(own, axis1=1, axis2=2), np.finfo(float).tiny))
        values, vectors = np.linalg.eigh(own / (units[:, :, None] * units[:, None, :]))
        kept = values > _NULL_SPACE * values[:, -1:]
        scales = np.sqrt(np.where(kept, values, 1.0))
        root = units[:, :, None] * vectors * (kept * scales)[:, None, :]
        inverse = (vectors * (kept / scales)[:, None, :] / units[:, :, None]).transpose(1, 2, 0)
        right = [block.products[:, :-1]]
        right += [_dense_pair(products, first, other) for other in others]
        white = multiply_transposed(inverse, np.concatenate(right, axis=1))
        flat = white.transpose(1, 0, 2).reshape(white.shape[1], -1)
        rest = _semidefinite_root(_joint_gram(products, others) - flat @ flat.T, flat)
        rank = int(kept.sum()) + rest.shape[1]
        return cls(first, root.transpose(1, 2, 0), white, rest, rank)

    def draw(
        self, fit: Fit, n_samples: int, generator: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, Blocks]:
        """Draw R sums of errors with the residual variance of a fit.

        Returns [1, features]'W e, (R, n_columns - 1), e'W e, (R,), and Z_f'W e of the columns
        carried by every used factor, (k_f, R, n_levels_f).
        """
        variance = fit.sigma2 / fit.products.unit
        sigma = np.sqrt(variance)
        inner = sigma * generator.standard_normal((n_samples, self.rest.shape[1]))
        rest = inner @ self.rest.T
        squares = np.square(inner).sum(axis=1)
        left = max(0.0, fit.problem.n_observations - self.rank)
        if left > 0:
            squares = squares + variance * generator.chisquare(left, n_samples)
        width = len(fit.products.gram) - 1
        if self.first is None:
            return rest, squares, []
        k, _, n_levels = self.root.shape
        v = sigma * generator.standard_normal((k, n_samples, n_levels))
        v *= (np.square(self.root).sum(axis=0) > 0)[:, None]
        squares = squares + np.square(v).sum(axis=(0, 2))
        for values, column in zip(v, self.white, strict=True):
            rest = rest + values @ column.T
        levels: dict[int, FloatArray] = {
            self.first: multiply_levels(self.root[:, :, None], v[:, None])[:, 0]
        }
        start = width
        for factor in fit.spec.used_factors:
            if factor == self.first:
                continue
            block = fit.products.factors[factor]
            k, n_levels = len(block.columns), len(block.index)
            part = rest[:, start : start + k * n_levels].reshape(n_samples, k, n_levels)
            levels[factor] = part.transpose(1, 0, 2)
            start += k * n_levels
        return rest[:, :width], squares, [levels[factor] for factor in fit.spec.used_factors]


def _check_width(products: CrossProducts, shape: tuple[int, ...], others: list[int]) -> None:
    width = sum(len(products.factors[f].columns) * len(products.factors[f].index) for f in others)
    if others and (width > _WIDEST or shape[0] * shape[2] * width > _MOST_ENTRIES):
        raise NeedsRowsError(
            f"the errors of a model with {width} random effects beside those of its largest "
            "factor cannot be drawn from sums: give the rows of the fit"
        )


def _dense_pair(products: CrossProducts, first: int, other: int) -> FloatArray:
    """Return Z_1'W Z_g with zeros, (k_1, k_g * n_levels_g, n_levels_1)."""
    pair = pair_between(products.pairs, first, other)
    k, m = pair.products.shape[:2]
    n_levels, width = len(products.factors[first].index), len(products.factors[other].index)
    full = np.zeros((k, m, width, n_levels))
    full[:, :, pair.columns, pair.rows] = pair.products
    return full.reshape(k, m * width, n_levels)


def _joint_gram(products: CrossProducts, factors: list[int]) -> FloatArray:
    """Return [X Z]'W[X Z] of the features and some factors, (width, width), column by column."""
    parts = [[products.gram[:-1, :-1]]]
    for factor in factors:
        block = products.factors[factor]
        below = block.products[:, :-1].transpose(0, 2, 1).reshape(-1, len(products.gram) - 1)
        row = [below]
        for other in factors[: factors.index(factor)]:
            pair = _dense_pair(products, factor, other)
            row.append(pair.transpose(0, 2, 1).reshape(len(below), -1))
        n_levels = len(block.index)
        own = np.einsum("abl,lm->albm", block.products[:, list(block.columns)], np.eye(n_levels))
        row.append(own.reshape(len(below), len(below)))
        parts.append(row)
    sizes = [row[0].shape[0] for row in parts]
    joint = np.zeros((sum(sizes), sum(sizes)))
    start = 0
    for size, row in zip(sizes, parts, strict=True):
        lower = np.concatenate(row, axis=1)
        joint[start : start + size, : lower.shape[1]] = lower
        joint[: lower.shape[1], start : start + size] = lower.T
        start += size
    return joint


def _semidefinite_root(matrix: FloatArray, taken: FloatArray | None = None) -> FloatArray:
    """Return a square root of a semidefinite matrix, (m, rank).

    `taken`, (m, n), is what was subtracted from the matrix, as rows of squares; what is left is
    measured against both.
    """
    total = np.diag(matrix) if taken is None else np.diag(matrix) + np.square(taken).sum(axis=1)
    units = np.sqrt(np.maximum(total, np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(matrix / np.outer(units, units))
    kept = values > _NULL_SPACE
    return np.asarray(units[:, None] * vectors[:, kept] * np.sqrt(values[kept]))
