"""Many responses to the rows of one fit, as the sums that fitting them needs.

A response is X beta + Z b + e at the coefficients of the fit; kept are the sums of its deviation
from X beta with the stored columns. They are drawn without any row: given Z and X, the sums
[Z X]'W e are normal with covariance sigma^2 [Z X]'W[Z X], and what is left of e'W e is sigma^2
times a chi-square variable with as many degrees of freedom as rows are left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.basis import apply_basis
from skmixed.core.blocks import PairBlock
from skmixed.core.crossproducts import CrossProducts
from skmixed.core.elimination import Blocks
from skmixed.core.fit import Fit
from skmixed.core.layout import FloatArray, Rows
from skmixed.core.levels import multiply_levels, multiply_transposed
from skmixed.core.problem import Problem
from skmixed.core.summation import level_sums

_NULL = 1e-10
_MOST_ENTRIES = 5e7
_WIDEST = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """Sums of R responses, less their means X beta, in units of y and stored columns.

    Parameters
    ----------
    fixed : ndarray of shape (R, n_columns - 1)
        [1, features]'W y.
    squares : ndarray of shape (R,)
        y'W y.
    levels : list of ndarray of shape (k_f, R, n_levels_f)
        Z_f'W y of the columns carried by every used factor.
    effects : list of ndarray of shape (k_f, R, n_levels_f)
        The random effects of the terms behind them, in raw units; empty if they were not drawn.
    """

    fixed: FloatArray
    squares: FloatArray
    levels: Blocks
    effects: Blocks

    def __len__(self) -> int:
        """Return the number of responses."""
        return len(self.squares)


class NeedsRowsError(ValueError):
    """The sums of the error cannot be drawn from cross-products of this size."""


def draw_responses(fit: Fit, n_samples: int, generator: np.random.Generator) -> Responses:
    """Draw responses from a fitted model.

    Parameters
    ----------
    fit : Fit
        The model.
    n_samples : int
        How many.
    generator : Generator
        Where the numbers come from.

    Returns
    -------
    Responses
        With new random effects.

    Raises
    ------
    NeedsRowsError
        For several factors with too many random effects.
    """
    error = _Error.of(fit)
    fixed, squares, levels = error.draw(fit, n_samples, generator)
    effects, carried = draw_effects(fit, n_samples, generator)
    return _with_effects(fit, Responses(fixed, squares, levels, effects), carried)


def draw_effects(fit: Fit, n_samples: int, generator: np.random.Generator) -> tuple[Blocks, Blocks]:
    """Draw random effects from their estimated distribution.

    Parameters
    ----------
    fit : Fit
        The model.
    n_samples : int
        How many of each.
    generator : Generator
        Where the numbers come from.

    Returns
    -------
    effects : list of ndarray of shape (k_f, R, n_levels_f)
        Of the columns of the terms, in raw units.
    carried : list of ndarray of shape (k_f, R, n_levels_f)
        Of the stored columns that each factor carries.
    """
    undo = np.linalg.inv(fit.products.basis)
    effects, carried = [], []
    for factor, lam in zip(fit.spec.used_factors, fit.factors, strict=True):
        block = fit.products.factors[factor]
        shape = (len(lam), n_samples * len(block.index))
        drawn = np.sqrt(fit.sigma2) * lam @ generator.standard_normal(shape)
        effects.append(drawn.reshape(len(lam), n_samples, -1))
        back = undo[np.ix_(block.columns, fit.spec.factor_columns(factor))]
        carried.append((back @ drawn).reshape(len(back), n_samples, -1))
    return effects, carried


def _with_effects(fit: Fit, error: Responses, carried: Blocks) -> Responses:
    """Add Z b to the sums of e."""
    used = fit.spec.used_factors
    fixed, squares, levels = error.fixed.copy(), error.squares.copy(), []
    for position, (factor, b) in enumerate(zip(used, carried, strict=True)):
        block = fit.products.factors[factor]
        own = block.products[:, list(block.columns), None]
        products = multiply_levels(own, b[:, None])[:, 0]
        for other, c in zip(used, carried, strict=True):
            if other != factor:
                products = products + _through_pairs(fit.products, factor, other, c)
        squares += (b * (products + 2.0 * error.levels[position])).sum(axis=(0, 2))
        levels.append(error.levels[position] + products)
        features = block.products[:, :-1]
        for column, values in zip(features, b, strict=True):
            fixed += values @ column.T
    return Responses(fixed, squares, levels, error.effects)


def _pair(products: CrossProducts, i: int, j: int) -> PairBlock:
    return products.pairs[i, j] if i < j else products.pairs[j, i].transposed


def _through_pairs(products: CrossProducts, factor: int, other: int, c: FloatArray) -> FloatArray:
    """Return Z_f'W Z_g c, of shape (k_f, R, n_levels_f)."""
    pair = _pair(products, factor, other)
    n_levels, n = len(products.factors[factor].index), c.shape[1]
    result = np.zeros((pair.products.shape[0], n, n_levels))
    ends = np.searchsorted(pair.rows, np.arange(n_levels))
    for a, b in np.ndindex(*pair.products.shape[:2]):
        result[a] += np.add.reduceat(pair.products[a, b] * c[b][:, pair.columns], ends, axis=1)
    return result


@dataclass(frozen=True, slots=True, eq=False)
class _Error:
    """A square root of [Z X]'W[Z X]: the largest factor by level, the rest after it.

    Parameters
    ----------
    first : int or None
        The factor taken first.
    root : ndarray of shape (k, k, n_levels)
        A root of its Z'W Z; columns of zeros where it has lower rank.
    white : ndarray of shape (k, rest, n_levels)
        With root' white = Z'W[X, other factors].
    rest : ndarray of shape (rest, rank)
        A root of what the first factor leaves of the others.
    rank : int
        Of all together.
    """

    first: int | None
    root: FloatArray
    white: FloatArray
    rest: FloatArray
    rank: int

    @classmethod
    def of(cls, fit: Fit) -> _Error:
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
        kept = values > _NULL * values[:, -1:]
        scales = np.sqrt(np.where(kept, values, 1.0))
        root = units[:, :, None] * vectors * (kept * scales)[:, None, :]
        inverse = (vectors * (kept / scales)[:, None, :] / units[:, :, None]).transpose(1, 2, 0)
        right = [block.products[:, :-1]]
        right += [_spread(products, first, other) for other in others]
        white = multiply_transposed(inverse, np.concatenate(right, axis=1))
        flat = white.transpose(1, 0, 2).reshape(white.shape[1], -1)
        rest = _semidefinite_root(_joint(products, others) - flat @ flat.T, flat)
        rank = int(kept.sum()) + rest.shape[1]
        return cls(first, root.transpose(1, 2, 0), white, rest, rank)

    def draw(
        self, fit: Fit, n_samples: int, generator: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, Blocks]:
        """Draw the sums of errors: with the features, of squares, with the factors."""
        sigma = np.sqrt(fit.sigma2)
        inner = sigma * generator.standard_normal((n_samples, self.rest.shape[1]))
        rest = inner @ self.rest.T
        squares = np.square(inner).sum(axis=1)
        left = max(0.0, fit.problem.n_observations - self.rank)
        if left > 0:
            squares = squares + fit.sigma2 * generator.chisquare(left, n_samples)
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


def _spread(products: CrossProducts, first: int, other: int) -> FloatArray:
    """Return Z_1'W Z_g as blocks of shape (k_1, k_g * n_levels_g, n_levels_1)."""
    pair = _pair(products, first, other)
    k, m = pair.products.shape[:2]
    n_levels, width = len(products.factors[first].index), len(products.factors[other].index)
    full = np.zeros((k, m, width, n_levels))
    full[:, :, pair.columns, pair.rows] = pair.products
    return full.reshape(k, m * width, n_levels)


def _joint(products: CrossProducts, factors: list[int]) -> FloatArray:
    """Return [X Z]'W[X Z] of the features and some factors, column by column."""
    parts = [[products.gram[:-1, :-1]]]
    for factor in factors:
        block = products.factors[factor]
        below = block.products[:, :-1].transpose(0, 2, 1).reshape(-1, len(products.gram) - 1)
        row = [below]
        for other in factors[: factors.index(factor)]:
            spread = _spread(products, factor, other)
            row.append(spread.transpose(0, 2, 1).reshape(len(below), -1))
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
    """Return a square root with as many columns as the matrix has rank.

    Parameters
    ----------
    matrix : ndarray of shape (m, m)
        Positive semidefinite.
    taken : ndarray of shape (m, ...) or None
        What was subtracted from its diagonal, as rows of squares; what is left is measured by it.

    Returns
    -------
    ndarray of shape (m, rank)
        The root.
    """
    total = np.diag(matrix) if taken is None else np.diag(matrix) + np.square(taken).sum(axis=1)
    units = np.sqrt(np.maximum(total, np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(matrix / np.outer(units, units))
    kept = values > _NULL
    return np.asarray(units[:, None] * vectors[:, kept] * np.sqrt(values[kept]))


def sum_responses(fit: Fit, rows: Rows, deviations: FloatArray) -> Responses:
    """Sum given responses over the rows of a fit.

    Parameters
    ----------
    fit : Fit
        The model.
    rows : Rows
        Its rows, with codes that count its levels.
    deviations : ndarray of shape (n, R)
        The responses less X beta, in units of y.

    Returns
    -------
    Responses
        Their sums.
    """
    stored = apply_basis(rows.columns, fit.products.basis)[:, :-1]
    weighted = deviations if rows.weights is None else deviations * rows.weights[:, None]
    levels = []
    for factor in fit.spec.used_factors:
        block = fit.products.factors[factor]
        sums = level_sums(
            rows.codes[factor],
            len(block.index),
            [stored[:, column] for column in block.columns],
            deviations,
            rows.weights,
        )
        levels.append(sums)
    squares = np.einsum("nr,nr->r", deviations, weighted)
    return Responses(weighted.T @ stored, squares, levels, [])


@dataclass(frozen=True, slots=True, eq=False)
class ScaledResponses:
    """Sums of responses in the units of a problem.

    Parameters
    ----------
    fixed : ndarray of shape (R, p)
        X'W y.
    squares : ndarray of shape (R,)
        y'W y.
    levels : list of ndarray of shape (k_f, R, n_levels_f)
        Z_f'W y.
    """

    fixed: FloatArray
    squares: FloatArray
    levels: Blocks

    @classmethod
    def of(cls, fit: Fit, responses: Responses) -> ScaledResponses:
        """Bring responses to the units of a fit."""
        model, undo = fit.problem.model, np.linalg.inv(fit.products.basis)
        scale = model.response_scale
        fixed_map = (undo @ model.to_raw)[:-1, :-1]
        levels = []
        zipped = zip(fit.spec.used_factors, model.random_maps, responses.levels, strict=True)
        for factor, random_map, sums in zipped:
            carried = list(fit.products.factors[factor].columns)
            z_map = undo[np.ix_(carried, fit.spec.factor_columns(factor))] @ random_map
            flat = z_map.T @ sums.reshape(len(sums), -1)
            levels.append(scale * flat.reshape(-1, *sums.shape[1:]))
        return cls(scale * responses.fixed @ fixed_map, scale**2 * responses.squares, levels)


def replicate_problem(fit: Fit, scaled: ScaledResponses, number: int) -> Problem:
    """Return the problem of one response.

    Parameters
    ----------
    fit : Fit
        The model.
    scaled : ScaledResponses
        Sums of the responses.
    number : int
        Which of them.

    Returns
    -------
    Problem
        Of the same rows with another response.
    """
    problem, model = fit.problem, fit.problem.model
    p = len(model.kept)
    gram = model.gram.copy()
    gram[:p, p] = gram[p, :p] = scaled.fixed[number]
    gram[p, p] = scaled.squares[number]
    right = []
    for block, sums in zip(model.right, scaled.levels, strict=True):
        changed = block.copy()
        changed[:, p] = sums[:, number]
        right.append(changed)
    to_raw = model.to_raw.copy()
    to_raw[:, p] = 0.0
    to_raw[list(fit.spec.fixed), p] = -model.response_scale * fit.beta
    to_raw[-1, p] = model.response_scale
    changed_model = replace(model, gram=gram, right=right, to_raw=to_raw, within=None, first=None)
    return replace(problem, model=changed_model)


def replicate_products(fit: Fit, responses: Responses, number: int) -> CrossProducts:
    """Return the cross-products of one response, as if its rows had been summed.

    Parameters
    ----------
    fit : Fit
        The model.
    responses : Responses
        Sums of the responses.
    number : int
        Which of them.

    Returns
    -------
    CrossProducts
        Factors that the model does not use keep no sums of y.
    """
    products, p = fit.products, len(fit.products.gram) - 1
    undo = np.linalg.inv(products.basis)[:-1, :-1]
    target = products.basis[:-1, -1].copy()
    target[list(fit.spec.fixed)] += fit.beta
    mean = undo @ target
    gram = products.gram.copy()
    through = gram[:p, :p] @ mean
    gram[:p, p] = gram[p, :p] = through + responses.fixed[number]
    gram[p, p] = mean @ through + 2.0 * mean @ responses.fixed[number] + responses.squares[number]
    factors = list(products.factors)
    for factor, sums in zip(fit.spec.used_factors, responses.levels, strict=True):
        block = factors[factor]
        changed = block.products.copy()
        changed[:, p] = np.einsum("abl,b->al", block.products[:, :p], mean) + sums[:, number]
        factors[factor] = replace(block, products=changed)
    return replace(products, gram=gram, factors=tuple(factors), within=None)
