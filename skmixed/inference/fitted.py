"""Access to the fit and the design behind a fitted estimator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Protocol, TypeVar

import pandas as pd

from skmixed.core.fit import Fit
from skmixed.core.generalized.after_fit.same_rows import same_rows
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray
from skmixed.core.model.fixed_part import FixedPart
from skmixed.core.nonlinear.curve_likelihood import IntegratedCurve
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.rows.leave_out import rows_at_levels
from skmixed.core.sums.layout import Rows

GivenRows = tuple[Any, Any, Any, Any]
"""X, y, sample_weight and groups as the user passes them, None where not needed."""

MixedFit = Fit | GeneralizedFit
AnyFit = Fit | GeneralizedFit | NonlinearFit
SomeFit = TypeVar("SomeFit", Fit, GeneralizedFit, MixedFit, AnyFit)


class FittedFixedDesign(Protocol):
    """The fixed part of a design, as inference reads it."""

    @property
    def part(self) -> FixedPart:
        """Terms, factors and numbers behind the fixed columns."""
        ...

    def matrix(self, table: pd.DataFrame) -> FloatArray:
        """Build the fixed columns of other rows."""
        ...


class FittedDesign(Protocol):
    """The part of a fitted estimator's design that inference reads."""

    @property
    def fixed_design(self) -> FittedFixedDesign:
        """The fixed part of the design."""
        ...

    @property
    def slopes(self) -> tuple[tuple[tuple[str, tuple[int, ...]], ...], ...]:
        """For each random term, the slopes as written, with the positions of their columns."""
        ...

    @property
    def curves(self) -> Sequence[Any]:
        """The population-level smooths."""
        ...

    @property
    def lines(self) -> Mapping[int, str]:
        """The columns that are linear parts of smooths, with their variables."""
        ...


def unwrapped(model: Any) -> Iterator[Any]:
    """Yield an estimator, and inward the last step of a pipeline or the best one of a search."""
    yield model
    while hasattr(model, "named_steps") or hasattr(model, "best_estimator_"):
        model = model[-1] if hasattr(model, "named_steps") else model.best_estimator_
        yield model


def fitted_inside(model: Any) -> Any:
    """Return the innermost model of a pipeline or a search."""
    *_, inner = unwrapped(model)
    return inner


def snapshot(model: Any) -> Any:
    """Return a copy of an estimator that refits in other threads do not change."""
    return copy(model) if hasattr(model, "_fitted") else model


def mixed_fit_of(model: Any) -> MixedFit:
    """Return the fit of a fitted mixed model, linear or generalized; a bare fit is returned as is.

    Raises TypeError for anything else, nonlinear models included, and ValueError for a model that
    is not fitted yet.
    """
    fit = any_fit_of(model)
    if isinstance(fit, NonlinearFit):
        raise TypeError(
            f"a {type(model).__name__} is a nonlinear mixed model, and this function takes linear "
            "and generalized ones only. coefficient_table, confidence_intervals, compare_models, "
            "linear_hypothesis, anova, bootstrap and random_effects_table accept it"
        )
    return fit


def any_fit_of(model: Any) -> AnyFit:
    """Return the fit of a mixed model of any kind; see `mixed_fit_of`."""
    is_fit = isinstance(model, Fit | GeneralizedFit | NonlinearFit)
    fit = model if is_fit else getattr(model, "fit_", None)
    if isinstance(fit, Fit | GeneralizedFit | NonlinearFit):
        return fit
    if hasattr(model, "mixed_model_"):
        raise TypeError(
            f"a {type(model).__name__} combines a learner with a mixed model: pass its "
            "mixed_model_, whose fixed part is the prediction of the learner"
        )
    if getattr(model, "_fitted", None) is not None:
        raise TypeError(
            f"a {type(model).__name__} has posterior draws instead of estimates with standard "
            "errors, and this function takes fits only: use its summary() and posterior_, or fit a "
            "MixedLinearRegressor to the same columns"
        )
    if hasattr(model, "fit"):
        kind = type(model).__name__
        if hasattr(model, "named_steps"):
            raise TypeError(
                "a Pipeline is not a mixed model: pass its last step, pipe[-1], with rows, if any, "
                "transformed by the other steps, pipe[:-1].transform(X)"
            )
        if hasattr(model, "best_estimator_"):
            raise TypeError(f"a {kind} is not a mixed model: pass its best_estimator_")
        if not hasattr(model, "random"):
            raise TypeError(f"a {kind} is not a mixed model; pass the step of it that is one")
        raise ValueError(f"this {type(model).__name__} is not fitted yet: call fit first")
    raise TypeError(f"expected a fitted mixed model, not a {type(model).__name__}")


def residual_fit_of(fit: AnyFit) -> ResidualFit | None:
    """Return the linear fit with a residual structure that a fit is or contains, or None."""
    near = fit.linear if isinstance(fit, NonlinearFit) else fit
    return near if isinstance(near, ResidualFit) else None


def fit_of(model: Any, use: str = "this", instead: str = "") -> Fit:
    """Return the fit of a linear mixed model; see `mixed_fit_of`.

    Raises TypeError for a generalized one; the message says what `use` is limited to linear models,
    and what to use `instead`.
    """
    fit = mixed_fit_of(model)
    if isinstance(fit, GeneralizedFit):
        raise TypeError(
            f"a {type(model).__name__} is a generalized linear mixed model, and {use} takes linear "
            "ones only, which have a residual variance of their own"
            + (f": {instead}" if instead else "")
        )
    return fit


def determined_fit_of(model: Any, use: str = "this", instead: str = "") -> Fit:
    """Return the fit of a linear mixed model that leaves a residual; see `fit_of`.

    Raises ValueError if the fixed part fits the data exactly.
    """
    return _determined(fit_of(model, use, instead))


def determined_mixed_fit_of(model: Any) -> MixedFit:
    """Return the fit of a mixed model that leaves a residual; see `mixed_fit_of`.

    Raises ValueError if the fixed part of a linear model fits the data exactly.
    """
    return _determined(mixed_fit_of(model))


def determined_any_fit_of(model: Any) -> AnyFit:
    """Return the fit of a mixed model of any kind; see `determined_mixed_fit_of`."""
    return _determined(any_fit_of(model))


def _determined(fit: SomeFit) -> SomeFit:
    if not fit.is_determined:
        raise ValueError(
            "the fixed part fits the data exactly and leaves no residual variance, so there are no "
            "standard errors: remove columns or add rows"
        )
    return fit


def check_unpenalised(fit: AnyFit, what: str) -> None:
    """Raise ValueError for a fit with priors; `what` is the comparison of likelihoods it is for."""
    if fit.spec.is_penalised:
        raise ValueError(
            f"{what} needs likelihoods at their maxima, and a model fitted with a prior is not at "
            "its own: fit it with prior=None, or compare predictions by cross-validation"
        )


def design_of(model: Any) -> FittedDesign:
    """Return the design of a fitted estimator; raise TypeError for a bare fit."""
    design: FittedDesign | None = getattr(model, "design_", None)
    if design is None:
        mixed_fit_of(model)
        raise TypeError("expected a fitted estimator: a bare fit does not know its terms")
    return design


def formula_of(model: Any) -> str:
    """Return the formula of a fitted model, in one line."""
    written = str(getattr(model, "formula_", "linear mixed model"))
    residual = getattr(getattr(model, "design_", None), "residual", None)
    if residual is not None:
        written += f", residual {residual.text}"
    return " ".join(written.split())


def coefficient_names(fit: AnyFit) -> list[str]:
    """Return the names of all fixed columns."""
    return [fit.products.layout.columns[place] for place in fit.spec.fixed]


def stated_places(fit: AnyFit) -> list[int]:
    """Return the positions of the coefficients that are reported and tested.

    Where thresholds take the place of the intercept, it is left out.
    """
    return list(range(len(threshold_names(fit)) > 0, len(fit.spec.fixed)))


def stated_names(fit: AnyFit) -> list[str]:
    """Return the names of the coefficients that are reported and tested."""
    names = coefficient_names(fit)
    return [names[place] for place in stated_places(fit)]


def threshold_names(fit: AnyFit) -> list[str]:
    """Return the names of the thresholds between ordered categories; empty for other responses."""
    if not isinstance(fit, GeneralizedFit) or not fit.has_thresholds:
        return []
    return fit.threshold_names


def infinite_columns(fit: GeneralizedFit) -> list[str]:
    """Return the names of the columns whose coefficients are infinite."""
    names = coefficient_names(fit)
    return [names[place] for place in stated_places(fit) if place in fit.separated]


def infinite_names(fit: GeneralizedFit) -> list[str]:
    """Return the names of infinite coefficients and thresholds."""
    names = threshold_names(fit)
    return infinite_columns(fit) + [names[place] for place in fit.separated_thresholds]


def rows_of_fit(model: Any, X: Any, y: Any, sample_weight: Any, groups: Any, use: str) -> Rows:
    """Read the training rows of a linear fit again, in any order, with codes of the fit's levels.

    `use` says what needs them. Raises ValueError if they are missing, or are other rows.
    """
    given = given_rows(model, X, y, sample_weight, groups, use)
    return rows_at_levels(model.fit_, model._rows_of_fit(model._fitted, *given))


def series_of_fit(
    model: Any, X: Any, y: Any, sample_weight: Any, groups: Any, use: str
) -> tuple[Rows, ResidualRows]:
    """Read the training rows of a linear fit with a residual structure; see `rows_of_fit`."""
    given = given_rows(model, X, y, sample_weight, groups, use)
    rows, residual = model._series_of_fit(model._fitted, *given)
    try:
        rows = rows.at_levels(model.fit_.products.levels)
    except ValueError:
        rows = None
    if rows is None or len(rows.columns) != model.fit_.products.n_rows:
        raise ValueError(f"these are not the rows the model was fitted to, which {use} needs")
    return rows, residual


def observations_of_fit(
    model: Any, X: Any, y: Any, sample_weight: Any, groups: Any, use: str
) -> Observations:
    """Read the training rows of a generalized fit; see `rows_of_fit`."""
    given = given_rows(model, X, y, sample_weight, groups, use)
    rows, offset = model._rows_of_fit(model._fitted, *given)
    written = model._fitted.response
    return same_rows(model.fit_, rows, offset, "" if written is None else written.hint())


def curve_of_fit(
    model: Any, X: Any, y: Any, sample_weight: Any, groups: Any, use: str
) -> IntegratedCurve:
    """Return the likelihood of the training rows of a nonlinear fit at its estimates.

    See `rows_of_fit`.
    """
    given = given_rows(model, X, y, sample_weight, groups, use)
    rows = model._rows_of_fit(model._fitted, *given)
    found: IntegratedCurve = model.fit_.likelihood_of(rows)
    return found


def given_rows(model: Any, X: Any, y: Any, sample_weight: Any, groups: Any, use: str) -> GivenRows:
    """Return the training rows; y and weights are read from X if a whole formula names them."""
    design_of(model)  # a bare fit has none
    is_read = model._fitted.response is not None
    if X is None or (y is None and not is_read):
        raise ValueError(
            f"{use} needs the training data, which the model does not store: pass "
            + (
                "X, the data frame with the columns of the formula"
                if is_read
                else "X and y, and sample_weight and groups if fit had them"
            )
        )
    given: GivenRows = model._with_response(X, y, sample_weight, groups, of_fit=True)
    return given


def check_maximum(fit: GeneralizedFit, use: str) -> None:
    """Raise ValueError for a fit without finite estimates for `use` to start from."""
    if fit.separated:
        raise ValueError(
            f"{use} starts from the estimates, and the coefficients of {infinite_columns(fit)} are "
            "infinite: remove these columns or merge rare categories"
        )
    if fit.report.is_unbounded:
        raise ValueError(
            f"{use} starts from the estimates, and a variance of this model has no finite "
            "estimate: remove the term"
        )
