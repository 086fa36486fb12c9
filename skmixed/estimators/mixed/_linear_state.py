"""Fitting a linear mixed model to a table, and its fitted state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import pandas as pd

from skmixed.bayes.penalties import with_penalties
from skmixed.core.fit import Fit
from skmixed.core.given_parameters import Posterior
from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import ModelSpec
from skmixed.core.residual.fitting import fit_tables, tables_of
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.residual.summed_series import SummedSeries
from skmixed.core.rows.monte_carlo import MonteCarloErrors
from skmixed.core.search.auto import choose
from skmixed.core.search.average_information import IterativeSolver
from skmixed.core.search.em import EM
from skmixed.core.search.newton import Newton
from skmixed.core.search.report import Solver
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Rows
from skmixed.core.sums.summed_rows import SummedRows
from skmixed.design.design import Design
from skmixed.design.grammar.random_part import RandomTerm
from skmixed.design.records import stored
from skmixed.design.source import Source
from skmixed.estimators._estimator import FittedAttribute
from skmixed.estimators.mixed._diagnosis import (
    check_effects,
    check_known_variance,
    check_residual_structure,
    check_search_of_prior,
    check_sizes,
    check_weights,
    warn_about,
)
from skmixed.estimators.mixed._mixed_state import MixedState, NoiseAttributes
from skmixed.estimators.mixed._relations import of_members, related
from skmixed.estimators.mixed._search_lines import LongSearchNotice, print_iteration
from skmixed.estimators.mixed._series_ends import SeriesEnds
from skmixed.estimators.reading._prediction_rows import LinearEstimates
from skmixed.estimators.reading._training_data import TrainingData

_MOST_EM_STEPS = 2_000  # for max_iter=None with EM, whose steps are cheap but many
_MOST_EVALUATIONS = 200  # for max_iter=None with Newton's method: far more than it needs

Sums = CrossProducts | ResidualTables


@stored
@dataclass(frozen=True, eq=False, kw_only=True)
class LinearState(MixedState):
    """Everything that a fit of a linear mixed model has found."""

    fit: Fit
    posterior: Fit | Posterior  # the fit, or what `update_groups` has made of it
    ends: SeriesEnds | None = None  # last rows of series, from whose residuals forecasts start

    _bare: ClassVar[Mapping[str, str]] = {**MixedState._bare, "estimates": "LinearEstimates"}

    @classmethod
    def of_table(cls, model: Any, data: TrainingData, **more: Any) -> Self:
        """Fit to a table as an estimator specifies; `more` are fields of a subclass."""
        design, rows = learn_rows(model, data, data.terms)
        sums, ends = sums_of(design, rows, residual_rows_of(design, data.source))
        del rows  # as large as the table; frees its memory for the search
        search, asked = asked_fit(model, design, sums, data.weights, data.unnamed_groups)
        more["mean_offset"] = data.mean_offset(design)
        return cls.of(model, data, design, search(*asked), ends=ends, **more)

    @classmethod
    def of_sums(
        cls,
        model: Any,
        data: TrainingData,  # as read from the table that was summed, or a part of it
        design: Design,
        sums: Sums,
        weights: FloatArray | None,  # weights of the same kind as those of the rows
        near: ResidualFit | None = None,  # a fit of a residual structure to similar rows
        **more: Any,
    ) -> Self:
        """Fit to sums as an estimator specifies."""
        search, asked = asked_fit(model, design, sums, weights, data.unnamed_groups, near)
        return cls.of(model, data, design, search(*asked), **more)

    @classmethod
    def of(cls, model: Any, data: TrainingData, design: Design, fit: Fit, **more: Any) -> Self:
        """Assemble the state of a fit to a table; warns about doubtful results."""
        warn_about(fit, data.unnamed_groups)
        if fit.spec.relations:
            design = design.with_levels(fit.products.levels)
        return cls(fit=fit, posterior=fit, **data.known(model, design), **more)

    def with_rows(self, model: Any, rows: Rows, residual: ResidualRows | None) -> Self:
        """Fit to all rows so far and further ones; warns about doubtful results."""
        unnamed = () if self.feature_names_in is not None else self.columns.groups
        sums, ends = sums_of(self.design, rows, residual)
        so_far: Any = self.posterior.products
        if isinstance(self.fit, ResidualFit):
            so_far = self.fit.tables
        total: Sums = so_far + sums
        if self.ends is not None and ends is not None:
            ends = self.ends.with_others(ends)
        design = self.design.with_levels(products_of(total).levels)
        search, asked = asked_fit(model, design, total, rows.weights, unnamed)
        fit = search(*asked)
        warn_about(fit, unnamed)
        if fit.spec.relations:
            design = design.with_levels(fit.products.levels)
        return replace(self, fit=fit, posterior=fit, design=design, ends=ends, mean_offset=None)

    def with_effects_of(self, rows: Rows) -> Self:
        """Update the random effects with further rows, and keep the fit."""
        products = self.posterior.products + CrossProducts.of(self.design.layout, rows)
        posterior = Posterior.of(self.fit, products)
        design = self.design.with_levels(posterior.products.levels)
        return replace(self, posterior=posterior, design=design)

    def _held(self) -> dict[str, Any]:
        once = {"posterior": None} if self.posterior is self.fit else {}
        return {**super()._held(), **once}

    @classmethod
    def _fields_of(cls, held: dict[str, Any]) -> dict[str, Any]:
        return {**held, "posterior": held["posterior"] or held["fit"]}

    @cached_property
    def estimates(self) -> LinearEstimates:
        """Estimates as plain numbers."""
        fit = self.fit
        return LinearEstimates(
            beta=fit.beta,
            effects=self.posterior.modes,
            residual_variance=fit.sigma2,
            theta=fit.theta,
            criterion=fit.criterion,
            rank=fit.rank,
            is_singular=fit.is_singular,
        )

    @property
    def has_further_rows(self) -> bool:
        """Whether the random effects use more rows than the fit."""
        return self.posterior is not self.fit

    def conditional_covariance(self, position: int) -> FloatArray:
        """Return the covariance of random effects, given the data of `posterior`."""
        return self.posterior.conditional_covariance(position)

    @property
    def monte_carlo_errors(self) -> dict[str, pd.DataFrame]:
        """Monte Carlo standard errors of `random_covariance`; only of ``solver="iterative"``."""
        if self.fit.report.monte_carlo is None:
            raise AttributeError("this fit is exact and has no Monte Carlo errors")
        errors = MonteCarloErrors.of(self.fit).covariances
        return {
            each.name: pd.DataFrame(errors[position], each.columns, each.columns)
            for position, each in self.random_labels.items()
        }


class LinearAttributes(NoiseAttributes):
    """Public attributes of a fitted linear mixed model."""

    fit_ = FittedAttribute[Fit]()
    residual_variance_ = FittedAttribute[float]("estimates.residual_variance")
    penalty_ = FittedAttribute[float]("fit.penalty")
    solver_ = FittedAttribute[str]("fit.report.solver")
    monte_carlo_errors_ = FittedAttribute[dict[str, pd.DataFrame]](optional=True)


def learn_rows(model: Any, data: TrainingData, terms: Sequence[RandomTerm]) -> tuple[Design, Rows]:
    """Learn a design, and return the rows to sum under it, with any offset subtracted."""
    of_columns = of_members(model, terms) if getattr(model, "relationship", None) else {}
    design, columns, codes = data.learn(model, terms, of_columns)
    offset = design.offset(data.source)
    if offset is not None:
        columns[:, -1] -= offset
    return design, design.rows(columns, codes, data.weights)


def residual_rows_of(design: Design, source: Source) -> ResidualRows | None:
    """Return what the residual structure of a design, if any, needs of the rows."""
    return None if design.residual is None else design.residual.rows(source.residual)


def sums_of(
    design: Design, rows: Rows, residual: ResidualRows | None
) -> tuple[Sums, SeriesEnds | None]:
    """Return the sums over rows, and the last rows of series where forecasts need them."""
    if design.residual is None or residual is None:
        return CrossProducts.of(design.layout, rows), None
    structure, rows = design.residual.structure, _of_weights_that_differ(rows)
    sums = tables_of(design.layout, rows, residual, structure)
    return sums, SeriesEnds.of(rows, residual) if structure.is_carried else None


def summed_rows(
    design: Design, rows: Rows, residual: ResidualRows | None
) -> SummedRows | SummedSeries:
    """Return rows along with their sums, from which parts can be subtracted."""
    if design.residual is None or residual is None:
        return SummedRows.of(design.layout, rows)
    rows, structure = _of_weights_that_differ(rows), design.residual.structure
    return SummedSeries.of(design.layout, rows, residual, structure)


def _of_weights_that_differ(rows: Rows) -> Rows:
    """Return rows without weights if these are one, whatever they mean."""
    if rows.weights is None or (rows.weights != 1.0).any():
        return rows
    return replace(rows, weights=None)


def products_of(sums: Sums) -> CrossProducts:
    """Return the cross-products of the rows as if residuals had equal variance."""
    return sums.base if isinstance(sums, ResidualTables) else sums


def asked_fit(
    model: Any,
    design: Design,
    sums: Sums,
    weights: FloatArray | None,
    by_position: Sequence[str],
    near: ResidualFit | None = None,
) -> tuple[Callable[..., Fit], tuple[Any, ...]]:
    """Return the fit to sums that an estimator specifies, as a function and its arguments.

    The arguments here are those of `checked_spec`, and a fit to similar rows for `fit_tables`.
    """
    products = products_of(sums)
    spec = checked_spec(model, design, products, weights, by_position)
    if isinstance(sums, ResidualTables):
        check_residual_structure(model, sums.structure, weights)
        newton, _ = search_of(model, products, replace(spec, terms=()))
        return fit_tables, (sums, spec, newton, near)
    if getattr(model, "relationship", None):
        products, spec = related(model, products, spec)
    return Fit.of, (products, spec, *search_of(model, products, spec))


def search_of(model: Any, products: CrossProducts, spec: ModelSpec) -> tuple[Solver, str]:
    """Return the solver that the parameters of an estimator select, and why, if it was chosen."""
    callback = print_iteration if model.verbose else None
    if spec.is_penalised:
        check_search_of_prior(model.solver)
    if not isinstance(model.solver, str):
        return replace(model.solver, callback=model.solver.callback or callback), ""
    most = model.max_iter or _MOST_EVALUATIONS
    newton = Newton(tol=model.tol, max_iter=most, callback=callback)
    is_simple = len(spec.used_factors) < 2 or spec.is_penalised or spec.sigma2 is not None
    if model.solver == "newton" or (model.solver == "auto" and is_simple):
        return newton, ""
    iterative = IterativeSolver(tol=model.tol, max_iter=most, callback=callback)
    if model.solver == "auto":
        solver, reason = choose(products, spec, newton, iterative)
        if reason and solver is newton and callback is None:
            return replace(newton, callback=LongSearchNotice(reason)), reason
        return solver, reason
    em = EM(tol=model.tol, max_iter=model.max_iter or _MOST_EM_STEPS, callback=callback)
    return (em if model.solver == "em" else iterative), ""


def checked_spec(
    model: Any,
    design: Design,
    products: CrossProducts,
    weights: FloatArray | None,
    by_position: Sequence[str],
) -> ModelSpec:
    """Return the model that an estimator specifies; warns about `weights`, (n,), and few rows.

    `by_position` are the grouping columns of an array.
    """
    known = model.residual_variance
    spec = ModelSpec(design.fixed, design.terms, model.method, model.weighting, sigma2=known)
    if model._penalised_by is not None:
        spec = with_penalties(spec, products.layout.columns, products.levels, model._penalised_by)
    check_known_variance(model, spec)
    check_weights(weights, spec)
    check_sizes(products, spec)
    check_effects(products, spec, by_position)
    return spec
