"""The model in the units the optimiser works in: centred where that is the same model, scaled.

Every column is multiplied by a power of two near the inverse of its root mean square, which rounds
nothing. Fixed columns and the response keep the shift of the cross-products if there is an
intercept. Random columns keep it only in an unstructured term with an intercept, where it is a
reparametrisation; anywhere else shifting a slope would be another model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from skmixed.core.blocks import transform
from skmixed.core.crossproducts import CrossProducts
from skmixed.core.elimination import Blocks
from skmixed.core.layout import CONSTANT, FloatArray
from skmixed.core.spec import ModelSpec, Term

_DEPENDENT = 1e-11


@dataclass(frozen=True, slots=True, eq=False)
class ScaledModel:
    """Cross-products of the columns of one model, in scaled units.

    Parameters
    ----------
    kept : tuple of int
        Positions in `ModelSpec.fixed` of the fixed columns that are independent, left to right.
    to_raw : ndarray of shape (n_columns, p + 1)
        The scaled columns [X y] in terms of the raw columns of the layout.
    response_scale : float
        Multiplier of the response.
    log_scales : float
        Sum of the logarithms of the multipliers of the p fixed columns.
    gram : ndarray of shape (p + 1, p + 1)
        [X y]'W[X y].
    random_maps : list of ndarray of shape (k, k)
        R of every used factor: effects of raw columns = R @ effects of scaled columns.
    own : list of ndarray of shape (k, k, n_levels)
        Z'W Z of every used factor.
    right : list of ndarray of shape (k, p + 1, n_levels)
        Z'W[X y] of every used factor.
    pairs : dict of (int, int) to ndarray of shape (k_i, k_j, n_pairs)
        Z_i'W Z_j, by positions among the used factors.
    within : ndarray of shape (p + 1, p + 1) or None
        [X y]'W[X y] of deviations from the means of the levels of a factor, where they are kept,
        it has a random intercept only, and no other has more random effects.
    first : int or None
        Position of that factor, which is to be eliminated first.
    times : ndarray of shape (n_levels,) or None
        How many levels each level of the only factor stands for, where levels are put together
        (`skmixed.core.collapse`); None for one each.
    """

    kept: tuple[int, ...]
    to_raw: FloatArray
    response_scale: float
    log_scales: float
    gram: FloatArray
    random_maps: Blocks
    own: Blocks
    right: Blocks
    pairs: dict[tuple[int, int], FloatArray]
    within: FloatArray | None
    first: int | None
    times: FloatArray | None = None

    @classmethod
    def of(cls, products: CrossProducts, spec: ModelSpec) -> ScaledModel:
        """Select, shift and scale the columns of a model.

        Parameters
        ----------
        products : CrossProducts
            Of all columns.
        spec : ModelSpec
            The model.

        Returns
        -------
        ScaledModel
            Its cross-products.
        """
        undo = np.asarray(lapack.dtrtri(products.basis, unitdiag=1)[0])
        fixed, response = _fixed_maps(products, spec, undo)
        scales = _power_of_two_scales(fixed, products)
        fixed = fixed * scales
        kept = independent_columns(fixed.T @ products.gram @ fixed)
        response_scale = float(_power_of_two_scales(response[:, None], products)[0])
        right_map = np.column_stack([fixed[:, kept], response * response_scale])
        maps = [_random_map(products, spec, factor, undo) for factor in spec.used_factors]
        blocks = [products.factors[factor] for factor in spec.used_factors]
        own = [
            transform(block.products[:, list(block.columns)], z_map, z_map)
            for block, z_map in zip(blocks, maps, strict=True)
        ]
        within = _scaled_within(products, spec, right_map)
        return cls(
            kept=kept,
            to_raw=products.basis @ right_map,
            response_scale=response_scale,
            log_scales=float(np.log(scales[list(kept)]).sum()),
            gram=right_map.T @ products.gram @ right_map,
            random_maps=[
                _raw_effects(products, spec, factor, z_map)
                for factor, z_map in zip(spec.used_factors, maps, strict=True)
            ],
            own=own,
            right=[
                transform(block.products, z_map, right_map)
                for block, z_map in zip(blocks, maps, strict=True)
            ],
            pairs=_scaled_pairs(products, spec, maps),
            within=None if within is None else within[1],
            first=None if within is None else within[0],
        )

    def n_levels(self, factor: int) -> float:
        """Return the number of levels of a used factor."""
        if self.times is None:
            return float(self.own[factor].shape[2])
        return float(np.round(self.times.sum()))

    def total(self, factor: int) -> FloatArray:
        """Return Z'W Z of a used factor, summed over its levels."""
        own = self.own[factor]
        return np.asarray(own.sum(axis=2) if self.times is None else own @ self.times)


def independent_columns(gram: FloatArray) -> tuple[int, ...]:
    """Choose a basis among columns, left to right.

    Parameters
    ----------
    gram : ndarray of shape (p, p)
        Cross-products of the columns.

    Returns
    -------
    tuple of int
        The columns of which more than 1e-11 of the sum of squares is left after regression on
        the chosen ones before them. Going left to right, not by size, makes the choice the same
        for weighted and repeated rows.
    """
    rest = gram.copy()
    kept = []
    for j in range(len(gram)):
        if rest[j, j] > _DEPENDENT * gram[j, j]:
            kept.append(j)
            column = rest[:, j] / np.sqrt(rest[j, j])
            rest -= np.outer(column, column)
    return tuple(kept)


def _fixed_maps(
    products: CrossProducts, spec: ModelSpec, undo: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Express the fixed columns and the response in the stored columns."""
    width = len(products.basis)
    columns = list(spec.fixed)
    fixed = (np.eye(width) if spec.has_intercept else undo)[:, columns]
    foreign = [j for j in range(width - 1) if j not in spec.fixed]
    response = np.eye(width)[:, -1]
    if spec.has_intercept:  # their shifts may stay
        response[foreign] = -products.basis[foreign, -1]
    else:
        response -= undo[:, foreign] @ products.basis[foreign, -1]
    return fixed, response


def _power_of_two_scales(maps: FloatArray, products: CrossProducts) -> FloatArray:
    squares = np.einsum("ij,ik,kj->j", maps, products.gram, maps)
    return power_of_two_scales(squares / products.sum_weights)


def power_of_two_scales(mean_squares: FloatArray) -> FloatArray:
    """Return powers of two that bring root mean squares near one.

    Parameters
    ----------
    mean_squares : ndarray of shape (p,)
        Mean square of every column.

    Returns
    -------
    ndarray of shape (p,)
        Multipliers; 1 for a column of zeros.
    """
    positive = np.where(mean_squares > 0, mean_squares, 1.0)
    return np.exp2(-np.round(0.5 * np.log2(positive)))


def _random_map(
    products: CrossProducts, spec: ModelSpec, factor: int, undo: FloatArray
) -> FloatArray:
    """Express the random columns of a factor in the columns its block carries."""
    carried = list(products.factors[factor].columns)
    return np.concatenate(
        [_term_map(products, term, carried, undo) for term in spec.factor_terms(factor)],
        axis=1,
    )


def _term_map(
    products: CrossProducts, term: Term, carried: list[int], undo: FloatArray
) -> FloatArray:
    shifted = term.kind == "unstructured" and CONSTANT in term.columns
    basis = np.eye(len(undo)) if shifted else undo
    columns = basis[:, list(term.columns)]
    scales = _power_of_two_scales(columns, products)
    if term.kind == "identity":  # one variance, hence one unit
        scales[:] = scales.min()
    return np.asarray((columns * scales)[carried])


def _raw_effects(
    products: CrossProducts, spec: ModelSpec, factor: int, z_map: FloatArray
) -> FloatArray:
    """Return R with effects of the raw columns = R @ effects of the scaled ones."""
    carried = list(products.factors[factor].columns)
    raw = products.basis[carried][:, carried] @ z_map
    effects = []
    start = 0
    size = z_map.shape[1]
    for term in spec.factor_terms(factor):
        rows = [carried.index(column) for column in term.columns]
        block = np.zeros((len(rows), size))
        block[:, start : start + len(rows)] = raw[rows, start : start + len(rows)]
        effects.append(block)
        start += len(rows)
    return np.concatenate(effects)


def _scaled_pairs(
    products: CrossProducts, spec: ModelSpec, maps: Blocks
) -> dict[tuple[int, int], FloatArray]:
    position = {factor: n for n, factor in enumerate(spec.used_factors)}
    return {
        (position[i], position[j]): transform(pair.products, maps[position[i]], maps[position[j]])
        for (i, j), pair in products.pairs.items()
        if i in position and j in position
    }


def _scaled_within(
    products: CrossProducts, spec: ModelSpec, right_map: FloatArray
) -> tuple[int, FloatArray] | None:
    """Return the sums within levels where eliminating their factor first can use them."""
    within = products.within
    if within is None or within.factor not in spec.used_factors:
        return None
    if spec.factor_columns(within.factor) != (CONSTANT,):
        return None
    n_effects = {
        factor: len(spec.factor_columns(factor)) * len(products.factors[factor].index)
        for factor in spec.used_factors
    }
    if max(n_effects.values()) > n_effects[within.factor]:
        return None
    position = spec.used_factors.index(within.factor)
    return position, np.asarray(right_map.T @ within.gram @ right_map)
