"""Shared fitted state of all mixed models, with names, labels and attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.linalg import FloatArray, transposed
from skmixed.core.model.spec import ModelSpec, factors_of, wholes
from skmixed.design.design import Design
from skmixed.design.grammar.random_part import RandomTerm
from skmixed.design.grammar.syntax import FormulaParts
from skmixed.design.memberships import Membership
from skmixed.design.records import read, write
from skmixed.estimators._estimator import FittedAttribute
from skmixed.estimators.reading._columns import Columns
from skmixed.estimators.reading._prediction_rows import MixedEstimates, Predictor
from skmixed.estimators.reading._written_response import WrittenResponse
from skmixed.inference.fitted import residual_fit_of

_SHOWN_COLUMNS = 10  # of a formula: more would not fit on a line and are only counted


@dataclass(frozen=True, eq=False, kw_only=True)
class MixedState:
    """Everything that a fit of a mixed model has found; the rest is computed on demand."""

    fit: Any  # `Fit` or `GeneralizedFit`
    design: Design
    columns: Columns  # what each column of X is
    declaration: Mapping[str, str]  # the parameters that say so, as text
    n_features_in: int
    feature_names_in: NDArray[Any] | None  # (n_features_in,), of str
    terms: tuple[RandomTerm, ...]
    fixed: FormulaParts | None  # None: all columns that are not grouping columns
    text: str | None = None  # the whole formula, as given to `lmer` or `glmer`
    n_dropped: int | None = None  # rows that these left out
    mean_offset: float | None = None  # over the rows of one fit, None if there are none
    excludes_missing: bool = False  # whether results of such rows are NaN, as na_action="exclude"
    response: WrittenResponse | None = None  # what a whole formula says of y and weights

    # Parts of a record whose type goes without saying.
    _bare: ClassVar[Mapping[str, str]] = {"design": "Design", "columns": "Columns"}

    def record(self) -> dict[str, Any]:
        """Return the state as a record, with the estimates: predictions stay the same to the bit.

        No copy has to evaluate the model again.
        """
        held = {name: write(value) for name, value in self._held().items()}
        return {**held, **{name: held[name]["value"] for name in self._bare}}

    def _held(self) -> dict[str, Any]:
        """Return what is written into a record: the fields, and the estimates."""
        names = [field.name for field in fields(self)]
        return {name: getattr(self, name) for name in (*names, "estimates")}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the state of a record; ValueError for text that formulas may not contain."""
        typed = {name: {"type": part, "value": record[name]} for name, part in cls._bare.items()}
        held = {name: read(value) for name, value in {**record, **typed}.items()}
        estimates = held.pop("estimates")
        held["design"].read_expressions(held["columns"].names)
        fitted = cls(**cls._fields_of(held))
        fitted.__dict__["estimates"] = estimates
        return fitted

    @classmethod
    def _fields_of(cls, held: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of what was read from a record."""
        return held

    @cached_property
    def estimates(self) -> MixedEstimates:
        """Estimates as plain numbers."""
        raise NotImplementedError

    @property
    def parameters(self) -> Any:
        """The estimates where they are there, else the fit: it finds these without any effects."""
        return vars(self).get("estimates", self.fit)

    def conditional_covariance(self, position: int) -> FloatArray:
        """Return the covariance of random effects given the data, (n_levels, k, k)."""
        covariance: FloatArray = self.fit.conditional_covariance(position)
        return covariance

    @property
    def sizes_asked(self) -> str | None:
        """What the weights of the fit are, if rows without any would be others than those meant."""
        return None

    @property
    def predictor(self) -> Predictor:
        """What predictions require."""
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
        """Fixed-effect coefficients without the intercept, (n_fixed,)."""
        return self.estimates.beta[int(self.design.has_intercept) :].copy()

    @property
    def intercept(self) -> float:
        """Fixed intercept; 0 if there is none."""
        return float(self.estimates.beta[0]) if self.design.has_intercept else 0.0

    @property
    def fixed_effects(self) -> pd.Series[float]:
        """Fixed-effect coefficients by name, NaN for linearly dependent columns."""
        values = self.estimates.beta.copy()
        if self.estimates.rank < len(values):
            values[np.setdiff1d(np.arange(len(values)), self.fit.kept)] = np.nan
        return pd.Series(values, self.design.fixed_names, name="estimate")

    @property
    def coef_covariance(self) -> pd.DataFrame:
        """Covariance matrix of the fixed-effect estimates, the intercept first."""
        names = self.design.fixed_names
        return pd.DataFrame(self.fit.beta_covariance, index=names, columns=names)

    @property
    def residual_parameters(self) -> pd.Series[float] | None:
        """Parameters of the residual structure by name, None without one."""
        fit = residual_fit_of(self.fit)
        if fit is None:
            return None
        found = {each.name: each.value for each in fit.residual_parameters}
        return pd.Series(found, dtype=np.float64, name="estimate")

    @property
    def residual_deviations(self) -> pd.Series[float] | None:
        """Residual standard deviations of strata or visits."""
        fit = residual_fit_of(self.fit)
        if fit is None:
            return None
        named = fit.structure.named_deviations(fit.phi)
        relative = {name or "all rows": deviation for name, deviation in named}
        return np.sqrt(self.fit.sigma2) * pd.Series(relative, name="residual sd")

    @property
    def n_iter(self) -> int:
        """Number of iterations of the search, 1 for a closed form."""
        return max(1, self.fit.report.n_iter)

    @property
    def n_groups(self) -> dict[str, int]:
        """Number of levels of each factor that has a term."""
        known, factors = self.predictor.n_groups, self.design.grouping.factors
        names = [factors[factor].index.name for factor in factors_of(self.fit.ordered_terms)]
        return {name: known[name] for name in names if name in known}

    @property
    def random_covariance(self) -> dict[str, pd.DataFrame]:
        """Covariance matrix of the random effects of each factor."""
        return {
            each.name: each.square(self.fit.covariances[position])
            for position, each in self.random_labels.items()
        }

    @property
    def random_effects(self) -> dict[str, pd.DataFrame]:
        """BLUPs of each factor."""
        effects = self.estimates.effects
        return {
            each.name: each.of_levels(effects[position])
            for position, each in self.random_labels.items()
        }

    @property
    def random_effects_covariance(self) -> dict[str, FloatArray]:
        """Conditional covariance of the random effects of each factor."""
        return {
            each.name: each.both_ways(self.conditional_covariance(position))
            for position, each in self.random_labels.items()
        }

    @property
    def random_labels(self) -> dict[int, RandomLabels]:
        """The labels of every factor that has a term, by its position among these.

        They come in the order of theta, by falling number of levels. The effects that make curves
        of all rows are of none.
        """
        spec, factors = self.fit.spec, self.design.grouping.factors
        return {
            spec.used_factors.index(factor): labels_of(self.design, spec, factor)
            for factor in factors_of(self.fit.ordered_terms)
            if not factors[factor].index.is_whole
        }


class MixedAttributes:
    """Public attributes of a fitted mixed model."""

    fit_ = FittedAttribute[Any]()
    design_ = FittedAttribute[Design]()
    formula_ = FittedAttribute[str]()
    n_dropped_ = FittedAttribute[int](optional=True)
    coef_ = FittedAttribute[FloatArray]()
    intercept_ = FittedAttribute[float]()
    fixed_effects_ = FittedAttribute["pd.Series[float]"]()
    coef_covariance_ = FittedAttribute[pd.DataFrame]()
    theta_ = FittedAttribute[FloatArray]("parameters.theta")
    criterion_ = FittedAttribute[float]("parameters.criterion")
    rank_ = FittedAttribute[int]("parameters.rank")
    is_singular_ = FittedAttribute[bool]("parameters.is_singular")
    log_likelihood_ = FittedAttribute[float]("fit.log_likelihood")
    aic_ = FittedAttribute[float]("fit.aic")
    bic_ = FittedAttribute[float]("fit.bic")
    n_iter_ = FittedAttribute[int]()
    converged_ = FittedAttribute[bool]("fit.report.converged")
    n_groups_ = FittedAttribute[dict[str, int]]()
    random_covariance_ = FittedAttribute[dict[str, pd.DataFrame]]()
    random_effects_ = FittedAttribute[dict[str, pd.DataFrame]]()
    random_effects_covariance_ = FittedAttribute[dict[str, FloatArray]]()


class NoiseAttributes(MixedAttributes):
    """Public attributes of a fitted mixed model with a residual variance."""

    residual_parameters_ = FittedAttribute["pd.Series[float]"](optional=True)
    residual_deviations_ = FittedAttribute["pd.Series[float]"](optional=True)


@dataclass(frozen=True, slots=True, eq=False)
class RandomLabels:
    """Labels of the random effects of one factor."""

    name: str  # of the factor
    columns: list[str]  # whose effects vary, (k,)
    levels: pd.Index[Any]  # (n_levels,), a MultiIndex for a factor of several columns
    sums: FloatArray  # of the effects of a model, (k, n_effects), to those of the columns

    @classmethod
    def of(cls, design: Design, spec: ModelSpec, factor: int) -> RandomLabels:
        """Read the labels off the design of a fitted model."""
        index = design.grouping.factors[factor].index
        if len(index.key) == 1:
            levels: pd.Index[Any] = pd.Index(index.labels[0], name=index.key[0])
        else:
            levels = pd.MultiIndex.from_arrays(index.labels, names=index.key)
        columns = [design.layout.columns[place] for place in spec.shown_columns(factor)]
        return cls(index.name, _told_apart(columns), levels, spec.shown_sums(factor))

    def summed(self, effects: FloatArray) -> FloatArray:
        """Return what belongs to columns, (..., k), of what belongs to effects, (..., n_effects).

        These are the same but where several parts make one structure.
        """
        is_same = len(self.sums) == self.sums.shape[1]
        return effects if is_same else np.asarray(effects @ self.sums.T)

    def of_levels(self, effects: FloatArray) -> pd.DataFrame:
        """Label effects, (n_levels, n_effects)."""
        return pd.DataFrame(self.summed(effects), self.levels, self.columns, copy=True)

    def both_ways(self, covariances: FloatArray) -> FloatArray:
        """Return covariances of what belongs to columns, (..., k, k), of those of effects."""
        return transposed(self.summed(transposed(self.summed(covariances))))

    def square(self, covariance: FloatArray) -> pd.DataFrame:
        """Label a covariance of effects, (n_effects, n_effects)."""
        return pd.DataFrame(self.both_ways(covariance), self.columns, self.columns)


@dataclass(frozen=True, slots=True, eq=False)
class MemberLabels(RandomLabels):
    """Labels of the random effects of levels that have columns of their own, one level of these.

    The effects of what varies stand one after the other, those of levels that are not known at the
    end of each.
    """

    membership: Membership

    def summed(self, effects: FloatArray) -> FloatArray:
        """Return what belongs to levels and columns, (..., n_levels, k), of a single level."""
        found = effects.reshape(*effects.shape[:-2], len(self.columns), -1)
        return transposed(self.membership.of_levels(found))

    def of_levels(self, effects: FloatArray) -> pd.DataFrame:
        """Label effects, (1, n_effects)."""
        return pd.DataFrame(self.summed(effects), self.levels, self.columns, copy=True)

    def both_ways(self, covariances: FloatArray) -> FloatArray:
        """Return covariances of the effects of every level, (n_levels, k, k), of (1, all, all)."""
        k = len(self.columns)
        found = covariances.reshape(k, covariances.shape[-1] // k, k, -1)
        root = self.membership.root
        if root is None:
            return np.einsum("albl->lab", found)[: len(self.levels)]
        found = found[:, :-1, :, :-1].swapaxes(1, 2)  # (k, k, n_columns, n_columns)
        return np.moveaxis(((root @ found) * root).sum(axis=-1), 2, 0)

    def square(self, covariance: FloatArray) -> pd.DataFrame:
        """Label a covariance of effects, (n_effects, n_effects)."""
        size = self.membership.size
        return pd.DataFrame(covariance[::size, ::size], self.columns, self.columns)


def labels_of(design: Design, spec: ModelSpec, factor: int) -> RandomLabels:
    """Return the labels of the random effects of one factor of a fitted model."""
    index = design.grouping.factors[factor].index
    membership = design.memberships.get(index.name)
    if membership is None:
        return RandomLabels.of(design, spec, factor)
    columns = [name for term in spec.factor_terms(factor) for name in term.effects]
    levels = pd.Index(membership.labels.values, name=index.name)
    return MemberLabels(index.name, columns, levels, np.empty((0, 0)), membership)


def _told_apart(names: list[str]) -> list[str]:
    """Return names of which those that were there before have their number after a dot."""
    return [
        f"{name}.{names[:place].count(name)}" if name in names[:place] else name
        for place, name in enumerate(names)
    ]


def describe(design: Design, terms: Sequence[RandomTerm], fixed: FormulaParts | None) -> str:
    """Write the model as a formula in lme4's syntax; many columns are only counted."""
    if fixed is not None:
        curves = [smooth.text for smooth in fixed.smooths]
        parts = [fixed.fixed, *curves, *(f"offset({offset})" for offset in fixed.offsets)]
    else:
        names = [
            name for place, name in zip(design.fixed, design.fixed_names, strict=True) if place
        ]
        parts = names if len(names) <= _SHOWN_COLUMNS else [f"<{len(names)} columns>"]
        if not design.has_intercept:
            parts = ["0", *parts]
    bars = [
        spec.written(term.left, term.name) if not spec.members else f"({term.left} | {term.name})"
        for term, made in zip(terms, design.terms_made, strict=True)
        for spec, *_ in (wholes(made)[:1] if term.smooths else wholes(made))
    ]
    return "y ~ " + (" + ".join([*parts, *bars]) or "1")
