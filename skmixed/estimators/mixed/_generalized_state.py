"""Fitting a generalized linear mixed model to a table, and its fitted state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from skmixed.bayes.penalties import with_penalties
from skmixed.core.families.family import Family, fractional_events
from skmixed.core.generalized.after_fit.further_rows import with_further_rows
from skmixed.core.generalized.approximation.working_model import WorkingFit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.generalized.generalized_fitting import fit_rows
from skmixed.core.generalized.joint_search.joint_newton import JointNewton
from skmixed.core.given_parameters import Posterior
from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import ModelSpec
from skmixed.core.sums.layout import Rows
from skmixed.design.design import Design
from skmixed.design.records import stored, write
from skmixed.estimators._estimator import FittedAttribute
from skmixed.estimators.mixed._diagnosis import (
    position_hint,
    warn_about_shared_columns,
)
from skmixed.estimators.mixed._mixed_state import MixedAttributes, MixedState
from skmixed.estimators.mixed._relations import of_columns
from skmixed.estimators.mixed._search_lines import print_iteration
from skmixed.estimators.reading._prediction_rows import MixedEstimates
from skmixed.estimators.reading._training_data import TrainingData, with_exposure
from skmixed.exceptions import ApproximationWarning, UnidentifiedWarning, warn

_LARGE_SHIFT = 0.5  # standard errors: a larger shift changes conclusions


@stored
@dataclass(frozen=True, eq=False, kw_only=True)
class GeneralizedState(MixedState):
    """Everything that a fit of a generalized linear mixed model has found."""

    fit: GeneralizedFit
    classes: NDArray[Any] | None = None  # (2,), of a classifier
    further: WorkingFit | None = None  # the working model of all rows so far, if more came
    has_sizes: bool = False  # whether weights are trials or exposures, and not all one

    _bare: ClassVar[Mapping[str, str]] = {**MixedState._bare, "estimates": "MixedEstimates"}

    @classmethod
    def of_table(cls, model: Any, data: TrainingData, family: Family) -> Self:
        """Fit to a table as an estimator specifies; warns about doubtful results."""
        related = of_columns(model, data.terms)
        design, columns, codes = data.learn(model, data.terms, related)
        offset = with_exposure(design.offset(data.source), data.exposure)
        rows = design.rows(columns, codes, data.weights)
        fit = fit_generalized(model, design, rows, family, offset)
        found = cls.of_fit(model, data, design, fit)
        return replace(found, mean_offset=data.mean_offset(design))

    @classmethod
    def of_fit(cls, model: Any, data: TrainingData, design: Design, fit: GeneralizedFit) -> Self:
        """Assemble the state of a fit to a table; warns about doubtful results."""
        sizes = fit.family.sizes(data.y, data.weights)
        has_sizes = data.classes is None and sizes is not None and bool((sizes != 1.0).any())
        known = data.known(model, design)
        found = cls(fit=fit, classes=data.classes, has_sizes=has_sizes, **known)
        _warn_of_fractions(fit.family, data.y, data.weights)
        warn_about_generalized(found, data.unnamed_groups)
        return found

    def with_effects_of(self, rows: Rows, offset: FloatArray | None) -> Self:
        """Update the random effects with further rows, and keep the fit."""
        further = with_further_rows(self.fit, self.working, rows, offset)
        design = self.design.with_levels(further.products.levels)
        return replace(self, further=further, design=design)

    @property
    def sizes_asked(self) -> str | None:
        """What the weights of the fit are: trials or exposures, None of weights that count rows."""
        if not self.has_sizes:
            return None
        return "numbers of trials" if self.fit.mean_family.counts_trials else "exposures"

    @property
    def working(self) -> WorkingFit:
        """The working model of all rows so far, at the parameters of the fit."""
        return self.further or self.fit.working

    @property
    def has_further_rows(self) -> bool:
        """Whether the random effects use more rows than the fit."""
        return self.further is not None

    @property
    def posterior(self) -> Posterior:
        """All rows so far at the estimates, from which predictions are computed."""
        return self.fit.posterior_of(self.working)

    def conditional_covariance(self, position: int) -> FloatArray:
        """Return the covariance of random effects, given all rows so far."""
        return self.working.conditional_covariance(position)

    def record(self) -> dict[str, Any]:
        """Return the state as a record, with the standard errors, which need the rows."""
        return {**super().record(), "covariance": write(self.fit.scaled_parameter_covariance)}

    @classmethod
    def _fields_of(cls, held: dict[str, Any]) -> dict[str, Any]:
        covariance = held.pop("covariance")
        held["fit"].cached("covariance", lambda: covariance)
        return held

    @cached_property
    def estimates(self) -> MixedEstimates:
        """Estimates as plain numbers."""
        fit = self.fit
        return MixedEstimates(
            beta=fit.beta,
            effects=fit.modes_of(self.working),
            theta=fit.theta,
            criterion=fit.criterion,
            rank=fit.rank,
            is_singular=fit.is_singular,
        )

    @property
    def dispersion(self) -> float:
        """Dispersion in its usual parametrisation, 1 for a family without one."""
        return self.fit.family.dispersion(self.fit.phi)

    @property
    def separated(self) -> list[str]:
        """Names of the fixed-effect columns with infinite coefficients."""
        return [self.design.fixed_names[place] for place in self.fit.separated]

    @property
    def approximation_shift(self) -> float | None:
        """Largest shift of an estimate by quadrature, in standard errors."""
        shift = self.fit.approximation_shift
        known = np.empty(0) if shift is None else np.abs(shift[np.isfinite(shift)])
        return float(known.max()) if len(known) else None


def fit_generalized(
    model: Any, design: Design, rows: Rows, family: Family, offset: FloatArray | None
) -> GeneralizedFit:
    """Fit to rows of a design, with an offset, (n,), as an estimator specifies."""
    spec = ModelSpec(design.fixed, design.terms, "ml", "frequency")
    if model._penalised_by is not None:
        spec = with_penalties(spec, design.layout.columns, rows.indexes, model._penalised_by)
    return fit_rows(
        design.layout,
        rows,
        spec,
        family,
        offset=offset,
        quadrature=model.quadrature,
        search=JointNewton(model.tol, model.max_iter, print_iteration if model.verbose else None),
    )


class GeneralizedAttributes(MixedAttributes):
    """Public attributes of a fitted generalized linear mixed model."""

    fit_ = FittedAttribute[GeneralizedFit]()
    deviance_ = FittedAttribute[float]("fit.deviance")
    penalty_ = FittedAttribute[float]("fit.penalty")
    separated_ = FittedAttribute[list[str]]()
    approximation_shift_ = FittedAttribute[float](optional=True)


def _warn_of_fractions(family: Family, y: FloatArray, weights: FloatArray | None) -> None:
    """Warn about responses, (n,), that are not whole numbers of events.

    Fractional weights of proportions are not numbers of trials but prior weights, as in `glmer`.
    """
    sizes = family.sizes(y, weights)
    if np.array_equal(y, np.round(y)):
        return
    if family.counts_trials and sizes is not None and not np.array_equal(sizes, np.round(sizes)):
        return
    fractional = fractional_events(family, y, sizes)[1]
    if not fractional.any():
        return
    if family.counts_trials:
        what, unit = (
            "proportions that are not whole numbers of successes given their trials",
            "trials",
        )
        instead = "Pass the numbers of trials as sample_weight; without it, every row is one trial"
    else:
        what, unit = "responses that are not whole numbers", "counts"
        instead = "For rates, pass the counts with exposure='the exposure column'"
        if not family.n_dispersions:
            instead += ", or the exposures as sample_weight"
    warn(
        f"y has {fractional.sum()} {what}, the first {y[np.argmax(fractional)]:g}; "
        f"family={family.name.replace(' ', '_')!r} treats them as {unit} all the same, and "
        f"variances and standard errors depend on the unit. {instead}",
        UserWarning,
    )


def warn_about_generalized(
    fitted: GeneralizedState,
    by_position: Sequence[str] = (),  # grouping columns of an array, perhaps not those meant
) -> None:
    """Warn about estimates that are infinite, set by convention or poorly approximated.

    ConvergenceWarning: columns separate the responses, or the search did not converge.
    UnidentifiedWarning: a variance has no maximum or is hardly identified. ApproximationWarning:
    quadrature would shift an estimate considerably.
    """
    fit = fitted.fit
    factors = [fit.products.factors[factor].index.name for factor in fit.spec.used_factors]
    warn_about_shared_columns(fit.products, fit.spec)
    for factor in fit.unidentified:
        name = fit.products.factors[factor].index.name
        why = "binary responses do not identify its variance"
        if fit.family.n_dispersions and fitted.classes is None:
            why = "the dispersion already describes the variation of single rows"
        warn(
            f"grouping factor {name!r} has a level per row, and {why}: its variance is set to "
            "zero" + position_hint(name, by_position),
            UnidentifiedWarning,
        )
    if fit.report.is_unbounded:
        hints = "".join(position_hint(name, by_position) for name in factors)
        warn(
            f"{fit.report.message}. Check whether the response is computed from the groups, or "
            "remove terms: there are many random effects for so few rows" + hints,
            UnidentifiedWarning,
        )
    elif fitted.separated:
        names = [*fit.threshold_names] if fit.has_thresholds else []
        thresholds = [names[place] for place in fit.separated_thresholds]
        columns = [name for name in fitted.separated if name not in thresholds]
        also = f", as are the thresholds {thresholds}" if thresholds else ""
        warn(
            f"the columns {columns} separate the responses, so that the likelihood has no "
            f"maximum: their coefficients are infinite{also}; they are reported where the search "
            "stopped, without standard errors. Predictions are valid. If the coefficients "
            "matter, remove such columns or merge rare categories",
            ConvergenceWarning,
        )
    elif not fit.report.converged:
        hint = ". Increase max_iter" if "max_iter" in fit.report.message else ""
        warn(f"the search did not converge: {fit.report.message}{hint}", ConvergenceWarning)
    if fit.untold and not fit.report.is_unbounded:
        names = [fit.products.factors[fit.spec.used_factors[f]].index.name for f in fit.untold]
        warn(
            f"the random effects of {names} have standard deviations above 10 on the link scale, "
            "where counts of zero, proportions of 0 or 1 and classes are certain and hardly say "
            "how large they are. Check whether the response is computed from the groups, or "
            "remove terms if there are many random effects for so few rows",
            UnidentifiedWarning,
        )
    shift = fitted.approximation_shift
    if shift is not None and shift > _LARGE_SHIFT:
        warn(
            "the Laplace approximation of the likelihood is too coarse for these data: "
            f"quadrature would shift an estimate by {shift:.1f} standard errors. Fit with "
            "quadrature=9, and with more nodes to check that it is enough",
            ApproximationWarning,
        )
