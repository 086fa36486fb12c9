"""Rows to predict with a fitted mixed model: means, standard errors, and simulation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmixed.core.batch.error_sums import NeedsRowsError
from skmixed.core.batch.refits import refit_responses, refit_without_products
from skmixed.core.batch.responses import Responses, ScaledResponses, draw_responses
from skmixed.core.fit import Fit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.given_parameters import Posterior
from skmixed.core.linalg import BoolArray, FloatArray, IntArray
from skmixed.core.model.spec import ModelSpec
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.rows.linear_predictor import linear_predictor, x_beta, z_b
from skmixed.core.rows.prediction_errors import mean_variances
from skmixed.core.sums.layout import GroupIndex, Rows
from skmixed.design.design import Design
from skmixed.design.grouping import numbers_to_draw
from skmixed.design.records import stored
from skmixed.design.source import Source
from skmixed.design.tables import UNKNOWN
from skmixed.estimators.reading._chosen_effects import ChosenEffects
from skmixed.estimators.reading._columns import Columns
from skmixed.estimators.reading._input_table import read_groups, refuse_unknown
from skmixed.estimators.reading._training_data import read_new_data, warn_about_kinds
from skmixed.inference.parameter_values import ParameterValues

_REPLICATES_AT_ONCE = 250  # refitted in lock-step; draws depend on it, memory grows with it


@stored
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MixedEstimates:
    """Estimates of a fit."""

    beta: FloatArray  # (n_fixed,), in raw units
    effects: list[FloatArray]  # conditional modes of every used factor, (n_levels, k)
    theta: FloatArray  # in lme4's order
    criterion: float  # -2 log-likelihood, restricted for REML
    rank: int  # number of independent fixed columns
    is_singular: bool


@stored
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LinearEstimates(MixedEstimates):
    """Estimates of a linear mixed model."""

    residual_variance: float  # in squared units of y


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """What predictions require of a fitted model: no sums."""

    design: Design
    spec: ModelSpec
    columns: Columns  # what each column of X is
    n_features_in: int
    feature_names_in: NDArray[Any] | None  # (n_features_in,), of str
    estimates: MixedEstimates

    @property
    def n_groups(self) -> dict[str, int]:
        """Number of levels of every factor that has a term."""
        factors = self.design.grouping.factors
        indexes = {factor: factors[factor].index for factor in self.spec.used_factors}
        return {
            index.name: self.spec.members(factor) or len(index)
            for factor, index in indexes.items()
            if not index.is_whole
        }

    def read(
        self,
        model: Any,
        X: Any,
        groups: Any,
        random: str | Sequence[str],
        *,
        all_columns: bool = False,  # also those of random effects that are not selected
        residual: Collection[str] = (),  # columns of the residual structure that are needed
    ) -> tuple[Source, PredictionRows]:
        """Validate the arguments of a prediction by an estimator, and make its rows."""
        chosen = ChosenEffects.of(random, self.design, list(self.n_groups))
        given = None if groups is None else read_groups(groups)
        needed = self.grouping_columns(chosen.factors)
        source = read_new_data(model, self, X, given, needed, residual)
        return source, self.rows(source, chosen, all_columns=all_columns)

    def grouping_columns(self, wanted: Collection[str]) -> set[str]:
        """Return the names of the grouping columns whose combinations are levels of factors."""
        indexes = [factor.index for factor in self.design.grouping.factors]
        keys = [(index.name, index.key) for index in indexes]  # two may have one name
        keys += [(name, each.term.columns) for name, each in self.design.memberships.items()]
        return {name for factor, key in keys if factor in wanted for name in key}

    def rows(
        self, source: Source, effects: ChosenEffects, *, all_columns: bool = False
    ) -> PredictionRows:
        """Make the columns and look up the levels; the effects that are chosen are predicted.

        Curves of all rows always are. Warns where no level of one of these is known because labels
        differ in kind.
        """
        indexes = tuple(factor.index for factor in self.design.grouping.factors)
        used = self.spec.used_factors
        chosen = tuple(
            indexes[factor].is_whole or indexes[factor].name in effects.factors for factor in used
        )
        codes: tuple[IntArray, ...] = tuple(
            np.full(source.n_rows, UNKNOWN, dtype=np.intp) for _ in indexes
        )
        if any(chosen):
            codes = self.design.codes(source)
        varying = None if all_columns else list(compress(used, chosen))
        left_out = () if all_columns else effects.left_out(self.design)
        columns = self.design.columns(source, varying, left_out)
        offset = self.design.offset(source)
        found = PredictionRows(self, columns, codes, indexes, offset, chosen, effects.parts)
        for factor, keep in zip(used, chosen, strict=True):
            if keep and source.n_rows and found.are_unknown(factor).all():
                key = self.grouping_columns({indexes[factor].name})
                warn_about_kinds(self.design.labels, key, source.groups)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class PredictionRows:
    """Rows ready to be predicted."""

    by: Predictor
    columns: FloatArray  # (n, n_columns - 1), of the layout but for the response
    codes: tuple[IntArray, ...]  # (n,) a factor; `UNKNOWN` where the level is not known
    indexes: tuple[GroupIndex, ...]  # the known levels
    offset: FloatArray | None  # (n,), added to every prediction
    wanted: tuple[bool, ...]  # which of the used factors are part of the prediction
    # Which effects are, of the factors of which not all are, by their places in the layout.
    parts: Mapping[int, BoolArray] = field(default_factory=dict)  # (k,)

    def refuse_parts(self, instead: str) -> None:
        """Raise ValueError if only some effects of a factor are selected."""
        if self.parts:
            names = [self.indexes[factor].name for factor in self.parts]
            raise ValueError(
                f"random selects only some random effects of {', '.join(names)}, for which only "
                f"plug-in predictions are available: {instead}"
            )

    def are_unknown(self, factor: int) -> BoolArray:
        """Tell which rows, (n,), have an unknown level of a factor."""
        membership = self.by.design.memberships.get(self.indexes[factor].name)
        if membership is None:
            return np.asarray(self.codes[factor] == UNKNOWN)
        places = self.by.spec.factor_terms(factor)[0].columns[: membership.size]
        return membership.are_unknown(self.columns[:, list(places)])

    @property
    def rows(self) -> Rows:
        """The same as rows of the layout, zeros standing for the response."""
        response = np.zeros(len(self.columns))
        return Rows(np.column_stack([self.columns, response]), self.codes, self.indexes, None)

    @property
    def rows_of_wanted(self) -> Rows:
        """The same, with unknown levels for the factors that are not selected."""
        codes = list(self.codes)
        for factor, keep in zip(self.by.spec.used_factors, self.wanted, strict=True):
            if not keep:
                codes[factor] = np.full(len(self.columns), UNKNOWN, dtype=np.intp)
        return replace(self.rows, codes=tuple(codes))

    @property
    def is_whole(self) -> list[bool]:
        """Which of the used factors has all rows in one level: its effects make curves."""
        return [self.indexes[factor].is_whole for factor in self.by.spec.used_factors]

    def of_new_levels(self) -> PredictionRows:
        """Return the same rows with no level known; curves of all rows stay as they are."""
        codes = list(self.codes)
        for factor, is_whole in zip(self.by.spec.used_factors, self.is_whole, strict=True):
            if not is_whole:
                codes[factor] = np.full(len(self.columns), UNKNOWN, dtype=np.intp)
        return replace(self, codes=tuple(codes))

    def coefficient_part(self) -> FloatArray:
        """Return X beta and the offset, (n,), in units of y."""
        prediction = x_beta(self.by.spec, self.columns, self.by.estimates.beta)
        if self.offset is not None:
            prediction += self.offset
        return prediction

    def fixed_part(self) -> FloatArray:
        """Return X beta, the curves of all rows and the offset, (n,), in units of y."""
        return self.coefficient_part() + self._effects(self.is_whole)

    def _effects(self, wanted: Sequence[bool]) -> FloatArray:
        by = self.by
        effects = by.estimates.effects
        if self.parts:
            effects = [
                own * self.parts.get(factor, np.True_)
                for factor, own in zip(by.spec.used_factors, effects, strict=True)
            ]
        return z_b(by.spec, self.columns, self.codes, effects, wanted)

    def means(self, handle_unknown: str) -> FloatArray:
        """Return X beta + Z b of the wanted factors, (n,), in units of y.

        `handle_unknown`, as of the model, decides about rows of unknown levels.
        """
        spec, prediction = self.by.spec, self.fixed_part()
        for factor, keep in zip(spec.used_factors, self.wanted, strict=True):
            unknown = self.are_unknown(factor)
            if keep and unknown.any():
                name = self.indexes[factor].name
                remedy = "handle_unknown='population' predicts them without that factor's effect"
                if handle_unknown == "error":
                    codes = np.where(unknown, UNKNOWN, 0)
                    refuse_unknown(codes, f"levels of {name!r}", remedy)
                if handle_unknown == "nan":
                    prediction[unknown] = np.nan
        grouped = [keep and not w for keep, w in zip(self.wanted, self.is_whole, strict=True)]
        return prediction + self._effects(grouped)

    def deviations(self, posterior: Fit | Posterior) -> FloatArray:
        """Return the standard errors of `means`, (n,), in units of y."""
        return np.sqrt(mean_variances(posterior, self.rows, self.wanted))


def simulate_rows(
    fit: Fit,
    source: Source,
    predicted: PredictionRows,  # the same rows, all factors wanted
    n_samples: int,
    random: str,
    generator: np.random.Generator,
    values: ParameterValues | None = None,  # parameters in the place of the estimates
    weights: FloatArray | None = None,  # (n,), precisions
) -> FloatArray:
    """Simulate responses, (n, n_samples), in units of y, as `draw_predictors`."""
    drawn = draw_predictors(fit, source, predicted, n_samples, random, generator, values)
    noise = generator.standard_normal(drawn.shape)
    design = predicted.by.design.residual
    if design is not None and isinstance(fit, ResidualFit):
        rows = design.drawn_rows(source.residual, source.n_rows)
        noise = fit.structure.coloured(fit.phi, rows, noise)
    if weights is not None:
        noise /= np.sqrt(weights)[:, None]
    return drawn + (np.sqrt(fit.sigma2) if values is None else values.sigma) * noise


def draw_predictors(
    fit: Fit | GeneralizedFit,
    source: Source,
    predicted: PredictionRows,  # the same rows, all factors wanted
    n_samples: int,
    random: str,
    generator: np.random.Generator,
    values: ParameterValues | None = None,  # parameters in the place of the estimates
) -> FloatArray:
    """Simulate X beta + Z b of rows, including offsets, (n, n_samples).

    Curves of all rows are as estimated. The effects of known levels are drawn too if `random` is
    "new", and are their modes if it is "fitted". Raises ValueError if labels are not given.
    """
    by, roots = predicted.by, [np.sqrt(fit.sigma2) * lam for lam in fit.lambdas]
    if values is not None:
        estimates, roots = replace(by.estimates, beta=values.beta), values.roots
        predicted = replace(predicted, by=replace(by, estimates=estimates))
    drawn = np.repeat(predicted.fixed_part()[:, None], n_samples, axis=1)
    for position, factor in enumerate(fit.spec.used_factors):
        if predicted.is_whole[position]:
            continue
        if fit.spec.members(factor):
            drawn += _drawn_of_members(
                fit, position, source, predicted, n_samples, random, generator, roots[position]
            )
            continue
        effects = drawn_effects(
            fit, position, source, predicted, n_samples, random, generator, roots[position]
        )
        for column, place in enumerate(fit.spec.factor_columns(factor)):
            drawn += predicted.columns[:, place, None] * effects[:, column]
    return drawn


def _drawn_of_members(
    fit: Fit | GeneralizedFit,
    position: int,  # of a used factor, of whose levels a row has several
    source: Source,
    predicted: PredictionRows,
    n_samples: int,
    random: str,
    generator: np.random.Generator,
    root: FloatArray,  # (k, k), of the covariance of its effects
) -> FloatArray:
    """Draw Z b of rows for one factor, (n, n_samples), as `draw_predictors` has it."""
    factor = fit.spec.used_factors[position]
    by, name = predicted.by, predicted.indexes[factor].name
    membership = by.design.memberships[name]
    _, weights = membership.with_others(source.groups, source.n_rows)
    n_levels = len(membership.labels)
    total, start = np.zeros((source.n_rows, n_samples)), 0
    n_others, names = weights.shape[1] - n_levels, by.design.layout.columns
    for term in fit.spec.factor_terms(factor):
        stop, size = start + len(term.columns), term.copies
        drawn = [membership.draw(generator, n_others, n_samples) for _ in term.effects]
        effects = np.tensordot(root[start:stop:size, start:stop:size], np.stack(drawn), axes=1)
        if random == "fitted":
            modes = by.estimates.effects[position][0, start:stop].reshape(-1, size)
            effects[:, :n_levels] = membership.of_levels(modes)[:, :, None]
        for name, of_levels in zip(term.effects, effects, strict=True):
            varying = predicted.columns[:, names.index(name), None]
            total += varying * (weights @ of_levels)
        start = stop
    return total


def drawn_effects(
    fit: Any,
    position: int,  # of a used factor
    source: Source,
    predicted: PredictionRows,  # the same rows, all factors wanted
    n_samples: int,
    random: str,
    generator: np.random.Generator,
    root: FloatArray | None = None,  # (k, k), of their covariance, by default the estimated one
) -> FloatArray:
    """Simulate the random effects of each row's level of a factor, (n, k, n_samples).

    Rows of one label share them; those of known levels are their modes if `random` is "fitted".
    Raises ValueError if labels are not given.
    """
    factor = fit.spec.used_factors[position]
    codes = predicted.codes[factor]
    known = codes != UNKNOWN
    numbers = numbers_to_draw(source.groups, predicted.indexes[factor].key)
    lam = np.sqrt(fit.sigma2) * fit.lambdas[position] if root is None else root
    shape = (numbers.max(initial=-1) + 1, len(lam), n_samples)
    effects = np.einsum("ab,lbs->las", lam, generator.standard_normal(shape))[numbers]
    directions = fit.problem.directions if isinstance(fit, Fit) else ()
    related = directions[position] if directions else None
    if related is not None:
        effects *= np.sqrt(related.mean_square)
        of_levels = lam[0, 0] * related.draw(generator, n_samples)
        effects[known, 0] = of_levels.T[codes[known]]
    if random == "fitted":
        modes = predicted.by.estimates.effects[position]
        effects[known] = modes[codes[known]][:, :, None]
    return effects


def prediction_pivots(
    fit: Fit,
    rows: Rows,  # as in `mean_variances`
    *,
    observation: bool,  # whether noise is part of what is predicted
    n_samples: int,
    generator: np.random.Generator,
) -> FloatArray:
    """Draw errors of predictions over their standard errors, variances estimated anew, (R, n).

    Every replicate draws random effects and data, refits, and predicts the rows; the error is what
    was to be predicted, at the effects drawn, less the prediction. R counts the replicates that
    could be fitted. All rows share the random numbers of their noise and of unknown levels, so that
    a row does not depend on the others. Raises ValueError for several factors with too many random
    effects, and if R is zero.
    """
    parts = []
    for first in range(0, n_samples, _REPLICATES_AT_ONCE):
        size = min(_REPLICATES_AT_ONCE, n_samples - first)
        try:
            responses = draw_responses(fit, size, generator)
        except NeedsRowsError:
            raise ValueError(
                "this model has too many random effects of several factors to be simulated from "
                "cross-products: use method='analytic'"
            ) from None
        noise = np.sqrt(fit.sigma2) * generator.standard_normal(size)
        new_effects = [
            np.sqrt(fit.sigma2 * fit.problem.mean_square(position))
            * generator.standard_normal((size, len(lam)))
            @ lam.T
            for position, lam in enumerate(fit.lambdas)
        ]
        refits = refit_responses(fit, responses)
        scaled = ScaledResponses.of(fit, responses)
        for number in np.flatnonzero(np.isfinite(refits.sigma2)):
            again = refit_without_products(fit, scaled, refits, int(number))
            error = _prediction_errors(
                fit, again, rows, responses, [b[number] for b in new_effects], int(number)
            )
            variance = mean_variances(again, rows)
            if observation:
                error = error + noise[number]
                variance = variance + again.sigma2
            # a row of zeros has neither variance nor error
            parts.append(error / np.sqrt(np.maximum(variance, np.finfo(float).tiny)))
    if not parts:
        raise ValueError(
            f"the model could not be refitted to any of {n_samples} bootstrap samples: use "
            "method='analytic'"
        )
    return np.stack(parts)


def _prediction_errors(
    fit: Fit,
    again: Fit,
    rows: Rows,
    responses: Responses,
    new_effects: list[FloatArray],  # (k,) of every used factor, of levels that are not known
    number: int,
) -> FloatArray:
    """Return X beta + Z b as drawn less its prediction, (n,)."""
    effects, codes = [], list(rows.codes)
    used = zip(fit.spec.used_factors, again.modes, responses.effects, new_effects, strict=True)
    for factor, modes, drawn, new in used:
        effects.append(np.vstack([drawn[:, number].T - modes, new]))
        codes[factor] = np.where(codes[factor] < 0, len(modes), codes[factor])
    return linear_predictor(fit.spec, rows.columns, codes, fit.beta - again.beta, effects)
