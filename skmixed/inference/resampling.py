"""Bootstrap replicates generated from the rows of a fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from skmixed.core.batch.refits import Refits, refit_stack, stack_of_levels, takes_lockstep
from skmixed.core.batch.responses import Responses, draw_effects, sum_responses
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, IntArray, semidefinite_root
from skmixed.core.rows.linear_predictor import z_b
from skmixed.core.rows.prediction_errors import mean_predictions
from skmixed.core.sums.blocks import are_nested
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.keys import pair_keys, sort_keys, split_keys
from skmixed.core.sums.layout import GroupIndex, Rows

_UNSPANNED = 1e-10  # of the largest variance: less in some direction is rounding error


def responses_of_rows(
    fit: Fit, rows: Rows, n_samples: int, generator: np.random.Generator, random: str = "new"
) -> Responses:
    """Draw responses from the model, row by row, and sum them.

    Random effects are as in `draw_effects`. A row of frequency weight w has one error of variance
    sigma^2 / w, the mean of w rows; the sum of squares within it is drawn separately.
    """
    effects, _ = draw_effects(fit, n_samples, generator, random)
    noise = generator.standard_normal((len(rows.columns), n_samples)) * np.sqrt(fit.sigma2)
    if rows.weights is not None:
        noise /= np.sqrt(rows.weights)[:, None]
    drawn = sum_responses(fit, rows, noise + _drawn_part(fit, rows, effects))
    within = fit.problem.n_observations - len(rows.columns)
    if within > 0:
        more = fit.sigma2 * generator.chisquare(within, n_samples)
        drawn = replace(drawn, squares=drawn.squares + more)
    return replace(drawn, effects=effects)


def _drawn_part(fit: Fit, rows: Rows, effects: Blocks) -> FloatArray:
    """Return Z b, (n, R), or (n, 1) without random effects.

    Effects are (k, R, n_levels) for each factor.
    """
    by_level = [b.transpose(2, 0, 1) for b in effects]
    return z_b(fit.spec, rows.columns, rows.codes, by_level).reshape(len(rows.columns), -1)


def resample_residuals(
    fit: Fit, rows: Rows, n_samples: int, generator: np.random.Generator
) -> Responses:
    """Resample random effects and residuals, and sum the responses they make.

    Both are first centred and given the estimated covariances, since BLUPs are shrunk and residuals
    too small. Population-level smooths stay as they are. Raises ValueError for rows that stand for
    several, whose residuals are not known.
    """
    if fit.spec.weighting == "frequency" and rows.weights is not None and np.ptp(rows.weights):
        raise ValueError(
            "weights count rows, whose single residuals are not known: repeat the rows instead, or "
            "use kind='parametric'"
        )
    _refuse_related(fit)
    modes = fit.modes
    residuals = rows.columns[:, -1] - mean_predictions(fit, rows)
    root = np.ones(len(residuals)) if rows.weights is None else np.sqrt(rows.weights)
    pool = residuals * root
    pool -= pool.mean()
    pool *= np.sqrt(fit.sigma2 / np.mean(np.square(pool)))
    effects = []
    used = zip(modes, fit.covariances, fit.spec.used_factors, strict=True)
    for b, covariance, factor in used:
        if rows.indexes[factor].is_whole:
            effects.append(np.repeat(b.T[:, None], n_samples, axis=1))
            continue
        levels = generator.integers(0, len(b), (n_samples, len(b)))
        effects.append(_with_covariance(b, covariance).T[:, levels])
    chosen = generator.integers(0, len(pool), (len(pool), n_samples))
    drawn = pool[chosen] / root[:, None] + _drawn_part(fit, rows, effects)
    return replace(sum_responses(fit, rows, drawn), effects=effects)


def _refuse_related(fit: Fit) -> None:
    """Raise ValueError for levels that are not exchangeable, or of which rows have several."""
    for factor in fit.spec.used_factors:
        if fit.spec.members(factor):
            raise ValueError(
                f"levels of {fit.products.factors[factor].index.name!r} are not exchangeable, "
                "because they are related or rows belong to several: use kind='parametric'"
            )
    if fit.spec.relations:
        raise ValueError(
            "related levels are not exchangeable and cannot be resampled: use kind='parametric'"
        )


def _with_covariance(effects: FloatArray, covariance: FloatArray) -> FloatArray:
    """Centre effects, (n_levels, k), and give them a covariance as far as they span it."""
    centred = effects - effects.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    kept = values > _UNSPANNED * max(float(values[-1]), np.finfo(float).tiny)
    white = centred @ (vectors[:, kept] / np.sqrt(values[kept]))
    root = semidefinite_root(covariance)
    # Of all square roots, the one nearest to rescaling the effects in place.
    turned, _, back = np.linalg.svd(root.T @ (vectors[:, kept] * np.sqrt(values[kept])))
    return np.asarray(white @ (turned[:, : int(kept.sum())] @ back).T @ root.T)


def outer_factor(
    fit: Fit | GeneralizedFit, instead: str = "kind='parametric' or kind='residual'"
) -> int:
    """Return the position in the layout of the factor that contains all others.

    Raises ValueError if there are no factors, or none contains the others; the message suggests
    `instead`.
    """
    blocks = fit.products.factors
    grouped = [factor for factor in fit.spec.used_factors if not blocks[factor].index.is_whole]
    if not grouped:
        raise ValueError("a model without groups has no levels to resample")
    sizes = {factor: len(blocks[factor].index) for factor in grouped}
    n_pairs = {ij: len(fit.products.pairs[ij].rows) for ij in combinations(sorted(grouped), 2)}
    if not are_nested(sizes, n_pairs):
        raise ValueError(
            "the factors are crossed, so resampling levels of one would split those of another: "
            f"use {instead}"
        )
    return min(grouped, key=lambda factor: (sizes[factor], -grouped.index(factor)))


def resample_levels(
    fit: Fit, rows: Rows, n_samples: int, generator: np.random.Generator, with_fits: bool
) -> tuple[Refits, Iterable[Fit]]:
    """Refit to levels of the outermost factor drawn with replacement.

    The fits behind the estimates are empty unless requested.
    """
    _refuse_related(fit)
    factor = outer_factor(fit)
    n_levels = len(rows.indexes[factor])
    draws = generator.integers(0, n_levels, (n_samples, n_levels))
    if takes_lockstep(fit) and not with_fits:
        return refit_stack(fit, stack_of_levels(fit, rows, draws)), ()
    whole = WholeLevels.of(rows, factor)
    layout, basis = fit.products.layout, fit.products.basis
    drawn = (whole.drawn(draw)[0] for draw in draws)
    fits = [Fit.of(CrossProducts.of(layout, rows, basis), fit.spec) for rows in drawn]
    return estimates_of(fit, fits), fits


@dataclass(frozen=True, slots=True, eq=False)
class WholeLevels:
    """Rows sorted by the level of one factor, for drawing whole levels."""

    rows: Rows
    order: IntArray  # (n,) rows level by level
    ends: IntArray  # (n_levels + 1,) start of each level in this order, and the end of the last
    sizes: list[IntArray]  # (n_levels,) per factor: how many of its levels occur in each level
    places: list[IntArray]  # (n,) per factor: position of each row's level among these

    @classmethod
    def of(cls, rows: Rows, factor: int) -> WholeLevels:
        """Sort rows by the level of a factor, and number the levels of all factors within it."""
        codes, n_levels = rows.codes[factor], len(rows.indexes[factor])
        sizes, places = [], []
        for inner, index in zip(rows.codes, rows.indexes, strict=True):
            order, starts, distinct = sort_keys(pair_keys(codes, inner, len(index)))
            pair = np.empty(len(codes), dtype=np.intp)
            pair[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(codes)))
            sizes.append(np.bincount(split_keys(distinct, len(index))[0], minlength=n_levels))
            places.append(pair - (np.cumsum(sizes[-1]) - sizes[-1])[codes])
        order = np.argsort(codes, kind="stable")
        return cls(
            rows, order, np.searchsorted(codes[order], np.arange(n_levels + 1)), sizes, places
        )

    def drawn(self, draw: IntArray) -> tuple[Rows, IntArray]:
        """Return the rows of some levels, (m,), and their positions among all rows.

        Each draw of a level becomes a level of its own, except for the one that holds all rows.
        """
        lengths = np.diff(self.ends)[draw]
        copies = np.repeat(np.arange(len(draw)), lengths)
        shift = self.ends[draw] - (np.cumsum(lengths) - lengths)
        chosen = self.order[np.arange(len(copies)) + shift[copies]]
        indexes, codes = [], []
        for index, sizes, places in zip(self.rows.indexes, self.sizes, self.places, strict=True):
            if index.is_whole:
                codes.append(np.zeros(len(chosen), dtype=np.intp))
                indexes.append(index)
                continue
            first = np.cumsum(sizes[draw]) - sizes[draw]
            codes.append(first[copies] + places[chosen])
            labels = np.arange(int(sizes[draw].sum()))
            indexes.append(GroupIndex(index.key, (labels,) * len(index.key)))
        rows = replace(self.rows.take(chosen), codes=tuple(codes), indexes=tuple(indexes))
        return rows, chosen


def estimates_of(fit: Fit, fits: list[Fit]) -> Refits:
    """Stack estimates; fits that lost columns or their residual count as not converged."""
    full = [len(other.kept) == len(fit.kept) and other.is_determined for other in fits]
    return Refits(
        np.stack([other.beta for other in fits]),
        np.array([other.sigma2 for other in fits]),
        [
            np.stack(lambdas)
            for lambdas in zip(*[other.scaled_lambdas for other in fits], strict=True)
        ],
        [np.stack(omegas) for omegas in zip(*[other.covariances for other in fits], strict=True)],
        np.array([o.report.converged and f for o, f in zip(fits, full, strict=True)], dtype=bool),
        np.array([other.criterion for other in fits]),
    )
