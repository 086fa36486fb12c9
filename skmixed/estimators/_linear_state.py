"""From a table to all that a fit of a linear mixed model has found, its names and attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import pandas as pd
from numpy.typing import NDArray

from skmixed.core.fit import Fit, Posterior
from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import ModelSpec
from skmixed.core.rows.monte_carlo import MonteCarloErrors
from skmixed.core.search.auto import choose
from skmixed.core.search.average_information import IterativeSolver
from skmixed.core.search.em import EM
from skmixed.core.search.newton import Newton
from skmixed.core.search.report import Solver
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Rows
from skmixed.design.design import Design
from skmixed.design.records import read, stored, write
from skmixed.design.syntax import FormulaParts, RandomTerm
from skmixed.estimators._columns import Columns
from skmixed.estimators._diagnosis import (
    check_effects,
    check_sizes,
    check_weights,
    print_iteration,
    warn_about,
)
from skmixed.estimators._estimator import FittedAttribute
from skmixed.estimators._prediction_rows import LinearEstimates, Predictor
from skmixed.estimators._training_data import TrainingData, declaration

_MOST_EM_STEPS = 2_000  # for max_iter=None, EM's own default: its steps are cheap, but many
_MOST_EVALUATIONS = 200  # for max_iter=None, Newton's own default: far above what it takes
_SHOWN_COLUMNS = 10  # of a formula: more would not fit on a line, so they are only counted
# Parts of a record whose type goes without saying.
_BARE = {"design": "Design", "columns": "Columns", "estimates": "LinearEstimates"}


@stored
@dataclass(frozen=True, eq=False, kw_only=True)
class LinearState:
    """All that a fit of a linear mixed model has found; the rest is computed when asked for."""

    fit: Fit
    posterior: Fit | Posterior  # the fit, or what `update_groups` has made of it
    design: Design  # with the levels of `posterior`
    columns: Columns  # what each column of X is
    declaration: Mapping[str, str]  # the parameters that say so, as text
    n_features_in: int
    feature_names_in: NDArray[Any] | None  # (n_features_in,), of str
    terms: tuple[RandomTerm, ...]
    fixed: FormulaParts | None  # None: all columns that are no grouping columns
    text: str | None = None  # the whole formula, as given to `lmer`
    n_dropped: int | None = None  # rows that `lmer` left out

    @classmethod
    def of_table(cls, model: Any, data: TrainingData, **more: Any) -> Self:
        """Fit to a table as an estimator asks for; `more` are fields of a kind of this state."""
        design, rows = learn_rows(model, data, data.terms)
        products = CrossProducts.of(design.layout, rows)
        spec = checked_spec(model, design, products, data.weights, data.unnamed_groups)
        fit = Fit.of(products, spec, *search_of(model, products, spec))
        return cls.of(model, data, design, fit, **more)

    @classmethod
    def of_sums(
        cls,
        model: Any,
        data: TrainingData,  # as read from the table that was summed, or a part of it
        design: Design,
        products: CrossProducts,
        weights: FloatArray | None,  # some that are like those of the rows
    ) -> Self:
        """Fit to sums as an estimator asks for."""
        spec = checked_spec(model, design, products, weights, data.unnamed_groups)
        fit = Fit.of(products, spec, *search_of(model, products, spec))
        return cls.of(model, data, design, fit)

    @classmethod
    def of(cls, model: Any, data: TrainingData, design: Design, fit: Fit, **more: Any) -> Self:
        """Put together what a fit to a table has found; warns where it is in doubt."""
        warn_about(fit, data.unnamed_groups)
        return cls(
            fit=fit,
            posterior=fit,
            design=design,
            columns=data.columns,
            declaration=declaration(model),
            n_features_in=data.n_features,
            feature_names_in=data.feature_names,
            terms=data.terms,
            fixed=data.fixed,
            **more,
        )

    def with_rows(self, model: Any, rows: Rows) -> Self:
        """Fit to the rows so far and further ones; warns where what is found is in doubt."""
        products = self._products_with(rows)
        design = self.design.with_levels(products.levels)
        unnamed = () if self.feature_names_in is not None else self.columns.groups
        spec = checked_spec(model, design, products, rows.weights, unnamed)
        fit = Fit.of(products, spec, *search_of(model, products, spec))
        warn_about(fit, unnamed)
        return replace(self, fit=fit, posterior=fit, design=design)

    def with_effects_of(self, rows: Rows) -> Self:
        """Take the random effects from the rows so far and further ones, and keep the fit."""
        products = self._products_with(rows)
        posterior = Posterior.of(self.fit, products)
        return replace(self, posterior=posterior, design=self.design.with_levels(products.levels))

    def _products_with(self, rows: Rows) -> CrossProducts:
        """Return the sums over the rows so far and further ones."""
        return self.posterior.products + CrossProducts.of(self.design.layout, rows)

    def record(self) -> dict[str, Any]:
        """Return all of it as a record, with the estimates: predictions stay the same to the bit.

        No copy has to evaluate the model to tell them.
        """
        names = [field.name for field in fields(self) if field.name != "posterior"]
        held = {name: write(getattr(self, name)) for name in (*names, "estimates")}
        updated = self.posterior is not self.fit
        return {
            **held,
            **{name: held[name]["value"] for name in _BARE},
            "posterior": write(self.posterior) if updated else None,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the state of a record. Raises ValueError for text that no formula may hold."""
        typed = {name: {"type": part, "value": record[name]} for name, part in _BARE.items()}
        held = {name: read(value) for name, value in {**record, **typed}.items()}
        estimates = held.pop("estimates")
        held["design"].read_offsets(held["columns"].names)
        fitted = cls(**{**held, "posterior": held["posterior"] or held["fit"]})
        fitted.__dict__["estimates"] = estimates
        return fitted

    @cached_property
    def estimates(self) -> LinearEstimates:
        """The numbers."""
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
    def predictor(self) -> Predictor:
        """What predictions need."""
        return Predictor(
            self.design,
            self.fit.spec,
            self.columns,
            self.n_features_in,
            self.feature_names_in,
            self.estimates,
        )

    @property
    def formula(self) -> str:
        """The model in lme4's syntax."""
        return self.text or describe(self.design, self.terms, self.fixed)

    @property
    def coef(self) -> FloatArray:
        """Fixed coefficients without the intercept, (n_fixed,)."""
        return self.estimates.beta[int(self.design.has_intercept) :].copy()

    @property
    def intercept(self) -> float:
        """Fixed intercept; 0 if there is none."""
        return float(self.estimates.beta[0]) if self.design.has_intercept else 0.0

    @property
    def coef_covariance(self) -> pd.DataFrame:
        """Covariance matrix of the fixed coefficients, the intercept first if there is one."""
        names = self.design.fixed_names
        return pd.DataFrame(self.fit.beta_covariance, index=names, columns=names)

    @property
    def n_iter(self) -> int:
        """Number of iterations of the search, 1 for a closed form."""
        return max(1, self.fit.report.n_iter)

    @property
    def n_groups(self) -> dict[str, int]:
        """Number of levels of every factor that has a term."""
        return self.predictor.n_groups

    @property
    def random_covariance(self) -> dict[str, pd.DataFrame]:
        """Covariance matrix of the random effects of every factor."""
        return {
            factor.name: pd.DataFrame(covariance, index=factor.columns, columns=factor.columns)
            for factor, covariance in zip(self.random_labels, self.fit.covariances, strict=True)
        }

    @property
    def random_effects(self) -> dict[str, pd.DataFrame]:
        """BLUPs of every factor."""
        return {
            factor.name: pd.DataFrame(effects, factor.levels, factor.columns, copy=True)
            for factor, effects in zip(self.random_labels, self.estimates.effects, strict=True)
        }

    @property
    def random_effects_covariance(self) -> dict[str, FloatArray]:
        """Conditional covariance of the random effects of every factor."""
        return {
            factor.name: self.posterior.conditional_covariance(position)
            for position, factor in enumerate(self.random_labels)
        }

    @property
    def monte_carlo_errors(self) -> dict[str, pd.DataFrame]:
        """Monte Carlo standard errors of `random_covariance`; only of ``solver="iterative"``."""
        if self.fit.report.monte_carlo is None:
            raise AttributeError("no estimate of this model is random, so that none has this error")
        errors = MonteCarloErrors.of(self.fit).covariances
        return {
            factor.name: pd.DataFrame(error, index=factor.columns, columns=factor.columns)
            for factor, error in zip(self.random_labels, errors, strict=True)
        }

    @property
    def random_labels(self) -> list[RandomLabels]:
        """The labels of every factor that has a term."""
        spec = self.fit.spec
        return [
            RandomLabels.of(self.design, factor, spec.factor_columns(factor))
            for factor in spec.used_factors
        ]


class LinearAttributes:
    """The public attributes of a fitted linear mixed model."""

    fit_ = FittedAttribute[Fit]()
    design_ = FittedAttribute[Design]()
    formula_ = FittedAttribute[str]()
    n_dropped_ = FittedAttribute[int](optional=True)
    coef_ = FittedAttribute[FloatArray]()
    intercept_ = FittedAttribute[float]()
    coef_covariance_ = FittedAttribute[pd.DataFrame]()
    residual_variance_ = FittedAttribute[float]("estimates.residual_variance")
    theta_ = FittedAttribute[FloatArray]("estimates.theta")
    criterion_ = FittedAttribute[float]("estimates.criterion")
    rank_ = FittedAttribute[int]("estimates.rank")
    is_singular_ = FittedAttribute[bool]("estimates.is_singular")
    log_likelihood_ = FittedAttribute[float]("fit.log_likelihood")
    aic_ = FittedAttribute[float]("fit.aic")
    bic_ = FittedAttribute[float]("fit.bic")
    n_iter_ = FittedAttribute[int]()
    converged_ = FittedAttribute[bool]("fit.report.converged")
    solver_ = FittedAttribute[str]("fit.report.solver")
    n_groups_ = FittedAttribute[dict[str, int]]()
    random_covariance_ = FittedAttribute[dict[str, pd.DataFrame]]()
    random_effects_ = FittedAttribute[dict[str, pd.DataFrame]]()
    random_effects_covariance_ = FittedAttribute[dict[str, FloatArray]]()
    monte_carlo_errors_ = FittedAttribute[dict[str, pd.DataFrame]](optional=True)


@dataclass(frozen=True, slots=True, eq=False)
class RandomLabels:
    """Labels of the random effects of one factor."""

    name: str  # of the factor
    columns: list[str]  # whose effects vary, (k,)
    levels: pd.Index[Any]  # (n_levels,), a MultiIndex for a factor of several columns

    @classmethod
    def of(cls, design: Design, factor: int, places: Sequence[int]) -> RandomLabels:
        """Read the labels off the design of a fitted model; the columns at `places` vary."""
        index = design.grouping.factors[factor].index
        if len(index.key) == 1:
            levels: pd.Index[Any] = pd.Index(index.labels[0], name=index.key[0])
        else:
            levels = pd.MultiIndex.from_arrays(index.labels, names=index.key)
        return cls(index.name, [design.layout.columns[place] for place in places], levels)


def describe(design: Design, terms: Sequence[RandomTerm], fixed: FormulaParts | None) -> str:
    """Write the model as a formula in lme4's syntax; many columns are only counted."""
    if fixed is not None:
        parts = [fixed.fixed, *(f"offset({offset})" for offset in fixed.offsets)]
    else:
        names = [
            name for place, name in zip(design.fixed, design.fixed_names, strict=True) if place
        ]
        parts = names if len(names) <= _SHOWN_COLUMNS else [f"<{len(names)} columns>"]
        if not design.has_intercept:
            parts = ["0", *parts]
    bars = [
        spec.structure.written(term.expression, term.name)
        for term, spec in zip(terms, design.terms, strict=True)
    ]
    return "y ~ " + (" + ".join([*parts, *bars]) or "1")


def learn_rows(model: Any, data: TrainingData, terms: Sequence[RandomTerm]) -> tuple[Design, Rows]:
    """Learn a design, and make the rows that are summed under it, the response less any offset."""
    design, columns, codes = Design.learn(
        data.source,
        terms,
        data.fixed,
        fit_intercept=model.fit_intercept,
        covariance=model.covariance,
        context=data.context,
        y=data.y,
    )
    offset = design.offset(data.source)
    if offset is not None:
        columns[:, -1] -= offset
    return design, design.rows(columns, codes, data.weights)


def search_of(model: Any, products: CrossProducts, spec: ModelSpec) -> tuple[Solver, str]:
    """Return the search that the parameters of an estimator ask for, and why, if it was chosen."""
    callback = print_iteration if model.verbose else None
    if not isinstance(model.solver, str):
        return replace(model.solver, callback=model.solver.callback or callback), ""
    most = model.max_iter or _MOST_EVALUATIONS
    newton = Newton(tol=model.tol, max_iter=most, callback=callback)
    if model.solver == "newton" or (model.solver == "auto" and len(spec.used_factors) < 2):
        return newton, ""
    iterative = IterativeSolver(tol=model.tol, max_iter=most, callback=callback)
    if model.solver == "auto":
        return choose(products, spec, newton, iterative)
    em = EM(tol=model.tol, max_iter=model.max_iter or _MOST_EM_STEPS, callback=callback)
    return (em if model.solver == "em" else iterative), ""


def checked_spec(
    model: Any,
    design: Design,
    products: CrossProducts,
    weights: FloatArray | None,
    by_position: Sequence[str],
) -> ModelSpec:
    """Return the model that an estimator asks for; warns about `weights`, (n,), and few rows.

    `by_position` are the grouping columns of an array.
    """
    spec = ModelSpec(design.fixed, design.terms, model.method, model.weighting)
    check_weights(weights, spec)
    check_sizes(products, spec)
    check_effects(products, spec, by_position)
    return spec
