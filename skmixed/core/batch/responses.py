"""Many responses to the rows of one fit, as the sums that fitting them needs.

A response is X beta + Z b + e at the coefficients of the fit; kept are the sums of its deviation
from X beta with the stored columns. They are drawn without any row: given Z and X, the sums
[Z X]'W e are normal with covariance sigma^2 [Z X]'W[Z X], and what is left of e'W e is sigma^2
times a chi-square variable with as many degrees of freedom as rows are left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.batch.error_sums import ErrorSums
from skmixed.core.elimination.levels import multiply_levels
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray
from skmixed.core.model.problem import Problem
from skmixed.core.sums.blocks import pair_between
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Rows
from skmixed.core.sums.summation import apply_basis, in_unit, level_sums


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """Sums of R responses, less their means X beta, in units of y, stored columns and weights."""

    fixed: FloatArray  # (R, n_columns - 1): [1, features]'W y
    squares: FloatArray  # (R,): y'W y
    levels: Blocks  # (k_f, R, n_levels_f): Z_f'W y of the columns of every used factor
    effects: Blocks  # (k_f, R, n_levels_f): b of the terms, in raw units; empty if not drawn

    def __len__(self) -> int:
        """Return the number of responses."""
        return len(self.squares)


def draw_responses(
    fit: Fit, n_samples: int, generator: np.random.Generator, random: str = "new"
) -> Responses:
    """Draw responses from a fitted model, with "new" random effects or the "fitted" ones.

    Raises NeedsRowsError for several factors with too many random effects.
    """
    error = ErrorSums.of(fit)
    fixed, squares, levels = error.draw(fit, n_samples, generator)
    effects, carried = draw_effects(fit, n_samples, generator, random)
    return _with_effects(fit, Responses(fixed, squares, levels, effects), carried)


def draw_effects(
    fit: Fit, n_samples: int, generator: np.random.Generator, random: str = "new"
) -> tuple[Blocks, Blocks]:
    """Draw random effects from their estimated distribution, (k_f, R, n_levels_f) a used factor.

    They are the modes in every draw if `random` is "fitted". Returns those of the terms' columns,
    in raw units, and those of the stored columns that each factor carries.
    """
    undo = fit.products.undo
    effects, carried = [], []
    directions = fit.problem.directions or [None] * len(fit.lambdas)
    modes = fit.modes if random == "fitted" else [None] * len(fit.lambdas)
    zipped = zip(fit.spec.used_factors, fit.lambdas, directions, modes, strict=True)
    for factor, lam, related, known in zipped:
        block = fit.products.factors[factor]
        shape = (len(lam), n_samples * len(block.index))
        if known is not None:
            drawn = np.repeat(known.T[:, None], n_samples, axis=1).reshape(shape)
        else:
            if related is None:
                unit = generator.standard_normal(shape)
            else:
                unit = related.draw(generator, n_samples).reshape(shape)
            drawn = np.sqrt(fit.sigma2) * lam @ unit
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
                products = products + _times_pairs(fit.products, factor, other, c)
        squares += (b * (products + 2.0 * error.levels[position])).sum(axis=(0, 2))
        levels.append(error.levels[position] + products)
        features = block.products[:, :-1]
        for column, values in zip(features, b, strict=True):
            fixed += values @ column.T
    return Responses(fixed, squares, levels, error.effects)


def _times_pairs(products: CrossProducts, factor: int, other: int, c: FloatArray) -> FloatArray:
    """Return Z_f'W Z_g c, (k_f, R, n_levels_f)."""
    pair = pair_between(products.pairs, factor, other)
    n_levels, n = len(products.factors[factor].index), c.shape[1]
    result = np.zeros((pair.products.shape[0], n, n_levels))
    seen, starts = np.unique(pair.rows, return_index=True)
    for a, b in np.ndindex(*pair.products.shape[:2]):
        terms = pair.products[a, b] * c[b][:, pair.columns]
        result[a][:, seen] += np.add.reduceat(terms, starts, axis=1)
    return result


def sum_responses(fit: Fit, rows: Rows, deviations: FloatArray) -> Responses:
    """Sum given responses over the rows of a fit.

    The rows have codes that count its levels; `deviations`, (n, R), are the responses less X beta,
    in units of y.
    """
    stored = apply_basis(rows.columns, fit.products.basis)[:, :-1]
    weights = in_unit(rows.weights, fit.products.unit)
    weighted = deviations if weights is None else deviations * weights[:, None]
    levels = []
    for factor in fit.spec.used_factors:
        block = fit.products.factors[factor]
        sums = level_sums(
            rows.codes[factor],
            len(block.index),
            [stored[:, column] for column in block.columns],
            deviations,
            weights,
        )
        levels.append(sums)
    squares = np.einsum("nr,nr->r", deviations, weighted)
    return Responses(weighted.T @ stored, squares, levels, [])


@dataclass(frozen=True, slots=True, eq=False)
class ScaledResponses:
    """Sums of R responses, less their means X beta, in the units of a problem."""

    fixed: FloatArray  # (R, p): X'W y
    squares: FloatArray  # (R,): y'W y
    levels: Blocks  # (k_f, R, n_levels_f): Z_f'W y

    @classmethod
    def of(cls, fit: Fit, responses: Responses) -> ScaledResponses:
        """Bring responses to the units of a fit."""
        model, undo = fit.problem.model, fit.products.undo
        scale = model.response_scale * fit.products.unit
        fixed_map = (undo @ model.to_raw)[:-1, :-1]
        levels = []
        found = fit.problem.directions or [None] * len(model.random_maps)
        used = fit.spec.used_factors
        zipped = zip(used, model.random_maps, responses.levels, found, strict=True)
        for factor, random_map, sums, related in zipped:
            carried = list(fit.products.factors[factor].columns)
            z_map = undo[np.ix_(carried, fit.spec.factor_columns(factor))] @ random_map
            flat = z_map.T @ sums.reshape(len(sums), -1)
            of_levels = scale * flat.reshape(-1, *sums.shape[1:])
            levels.append(of_levels if related is None else related.gather(of_levels))
        squares = scale * model.response_scale * responses.squares
        return cls(scale * responses.fixed @ fixed_map, squares, levels)


def replicate_problem(fit: Fit, scaled: ScaledResponses, number: int) -> Problem:
    """Return the problem of the same rows with one of the responses."""
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


def replicate_products(
    fit: Fit, responses: Responses, number: int, beta: FloatArray | None = None
) -> CrossProducts:
    """Return the cross-products of one response, as if its rows had been summed.

    Factors that the model does not use keep no sums of y. The response is that of the sums and
    X beta, at the coefficients of the fit or others, (n_fixed,).
    """
    products, p = fit.products, len(fit.products.gram) - 1
    undo = products.undo[:-1, :-1]
    target = products.basis[:-1, -1].copy()
    target[list(fit.spec.fixed)] += fit.beta if beta is None else beta
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
