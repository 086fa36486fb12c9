"""Access of the displays to fitted estimators: the model, its groups, residuals and effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.estimators.effects import MixedEffectsRegressor
from skmixed.estimators.grouped.models import GroupedModels
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.estimators.reading._input_table import InputTable, read_groups
from skmixed.inference.fitted import unwrapped
from skmixed.inference.residuals import residuals

_EPSILON = float(np.finfo(np.float64).eps)  # closer to 0 or 1, a normal score is not finite


def mixed_model(estimator: Any, display: str, *, effects: bool = False) -> Any:
    """Return the fitted mixed model of an estimator, for the named display.

    With `effects`, that inside a `MixedEffectsRegressor` is accepted. Raises TypeError if there is
    none, NotFittedError if it is not fitted, and ValueError if it was fitted without groups.
    """
    kind = type(estimator).__name__
    if isinstance(estimator, MixedEffectsRegressor):
        if not effects:
            raise TypeError(
                f"{display} needs fixed coefficients, and a {kind} has a learner in their place: "
                "fit a MixedLinearRegressor"
            )
        check_is_fitted(estimator)
        if estimator.mixed_model_ is None:
            raise ValueError(f"this {kind} was fitted without groups")
        return estimator.mixed_model_
    if not hasattr(estimator, "random"):
        raise TypeError(
            f"{display} needs a fitted mixed model, not a {kind}; for a pipeline, pass "
            "pipe[-1], with rows transformed by the other steps, pipe[:-1].transform(X); for a "
            "search, its best_estimator_ or the last step of that"
        )
    check_is_fitted(estimator)
    return estimator


def model_inside(estimator: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return the innermost model of a pipeline or a search, and what transforms tables for it."""
    layers = list(unwrapped(estimator))
    before = [each[:-1] for each in layers if isinstance(each, Pipeline) and len(each) > 1]
    return layers[-1], lambda table: reduce(lambda rows, step: step.transform(rows), before, table)


def several_outputs(display: str) -> ValueError:
    """Return the error for models with several outputs."""
    return ValueError(f"{display} needs a model with a single output: fit one for each column of y")


def response_of(estimator: Any) -> str:
    """Return the name of the response: that in a formula, otherwise y."""
    left, _, right = str(getattr(estimator, "formula_", "")).partition("~")
    return left.strip() if right and left.strip() else "y"


def predictor_of(estimator: Any) -> str:
    """Return the name of the linear predictor: the response, or its link."""
    family = getattr(getattr(estimator, "fit_", None), "family", None)
    response = response_of(estimator)
    return response if family is None else f"{family.link}({response})"


def as_objects(labels: Sequence[Any] | pd.Index[Any]) -> NDArray[np.object_]:
    """Return labels as an array of objects, (n,), in which tuples stay whole."""
    array = np.empty(len(labels), dtype=object)
    array[:] = list(labels)
    return array


def frame_of(X: Any) -> pd.DataFrame:
    """Return a table of columns by name, "x0", "x1", ... for an array."""
    return InputTable.of(X).pandas.reset_index(drop=True)


@dataclass(frozen=True, slots=True)
class GroupColumns:
    """Grouping factors of a fitted estimator; for `GroupedModels`, the finest groups."""

    factors: Mapping[str, tuple[str, ...]]  # the grouping columns of every factor
    sizes: Mapping[str, int]  # number of levels of every factor
    from_argument: bool  # whether the columns come by the argument `groups`

    @classmethod
    def of(cls, estimator: Any) -> GroupColumns:
        """Read the factors of a fitted estimator; other estimators have none."""
        if isinstance(estimator, GroupedModels):
            groups = estimator._state()
            names = groups.tree.names
            if not names:
                return cls({}, {}, False)
            size = len(groups.tree.counts[-1])
            key = ":".join(map(str, names))
            return cls({key: names}, {key: size}, bool(groups.columns.from_argument))
        model = estimator
        fitted = getattr(estimator, "_fitted", None)
        columns = getattr(fitted, "columns", None)
        if isinstance(estimator, MixedEffectsRegressor) and fitted is not None:
            model, columns = fitted.mixed_model, fitted.roles.columns
        design = getattr(model, "design_", None)
        if design is None or columns is None:
            return cls({}, {}, False)
        indexes = [each.index for each in design.grouping.factors if not each.index.is_whole]
        factors = {index.name: tuple(map(str, index.key)) for index in indexes}
        sizes = {index.name: len(index) for index in indexes}
        return cls(factors, sizes, bool(columns.from_argument))

    @property
    def columns(self) -> list[str]:
        """All grouping columns."""
        return list(dict.fromkeys(name for key in self.factors.values() for name in key))

    def factor(self, given: str | None = None) -> str:
        """Return the factor asked for, by default the one with the most levels.

        Raises ValueError for an unknown one.
        """
        if given is None:
            return max(self.factors, key=lambda name: self.sizes[name])
        if given not in self.factors:
            raise ValueError(f"factor={given!r} is not among {list(self.factors)}")
        return given

    def read_argument(self, groups: Any, needed: Sequence[str]) -> pd.DataFrame:
        """Return the argument `groups` as a table with the columns needed.

        Raises ValueError if it is missing.
        """
        if groups is None:
            raise ValueError("the model was fitted with groups=...: pass the groups of these rows")
        columns = read_groups(groups).items()
        table = pd.DataFrame(
            {name: pd.Series(values).reset_index(drop=True) for name, values in columns}
        )
        if not set(needed) <= set(table.columns):
            table.columns = self.columns  # arrays get the names of the fit
        return table

    def labels(self, factor: str, X: Any, groups: Any) -> pd.Series:
        """Return the labels of a factor, (n,), tuples if it has several columns."""
        key = list(self.factors[factor])
        table = self.read_argument(groups, key) if self.from_argument else frame_of(X)
        if len(key) == 1:
            return table[key[0]]
        return pd.Series(as_objects(list(zip(*(table[name] for name in key), strict=True))))


def residuals_of(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    groups: Any,
    factor: str | None,
    random_state: Any,
) -> tuple[pd.DataFrame, str | None]:
    """Return fitted value, residual and group of each row, and the name of the factor.

    Without groups there are neither column nor factor. Residuals are multiplied by the square root
    of precision weights, and divided by the standard deviation of their stratum relative to that of
    the reference; for generalized models they are normal scores of quantile residuals. Raises
    TypeError for other classifiers and foreign estimators, and ValueError for several outputs and
    an unknown factor.
    """
    kind = type(estimator).__name__
    if not (isinstance(estimator, GroupedModels) or hasattr(estimator, "random")):
        raise TypeError(
            f"ResidualsDisplay needs a fitted model of this package, not a {kind}; for others use "
            "sklearn.metrics.PredictionErrorDisplay"
        )
    check_is_fitted(estimator)
    if isinstance(estimator, MixedEstimator):
        given = estimator._with_response(X, y, sample_weight, groups, of_fit=True)
        X, y, sample_weight, groups = given
    if are_standardised(estimator):
        between = residuals(
            estimator, X, y, sample_weight, groups, random="fitted", random_state=random_state
        )
        if is_classifier(estimator):
            fitted = estimator.predict_proba(X, groups=groups)[:, 1]
        else:
            fitted = estimator.predict(X, groups=groups)
        residual = special.ndtri(np.clip(between, _EPSILON, 1.0 - _EPSILON))
    elif is_classifier(estimator):
        raise TypeError(f"ResidualsDisplay needs a regressor, and this {kind} predicts classes")
    else:
        response = column_or_1d(y, dtype=np.float64)
        check_consistent_length(X, response, sample_weight)
        fitted = np.asarray(estimator.predict(X, groups=groups), dtype=np.float64)
        if fitted.ndim > 1:
            raise several_outputs("ResidualsDisplay")
        residual = response - fitted
        if getattr(estimator, "residual", None) is not None:  # in units of the reference stratum
            residual = residuals(estimator, X, y, sample_weight, groups, kind="deviance")
        elif sample_weight is not None and getattr(estimator, "weighting", "") == "precision":
            residual = residual * np.sqrt(column_or_1d(sample_weight, dtype=np.float64))
    table = pd.DataFrame({"fitted": fitted, "residual": residual})
    grouping = GroupColumns.of(estimator)
    if not grouping.factors:
        return table, None
    factor = grouping.factor(factor)
    table["group"] = grouping.labels(factor, X, groups)
    return table, factor


def are_standardised(estimator: Any) -> bool:
    """Tell whether an estimator's residuals are normal scores, standard normal if it is correct."""
    return isinstance(getattr(estimator, "fit_", None), GeneralizedFit)


def standardised_effects(estimator: Any) -> pd.DataFrame | None:
    """Return factor, column and standardised: random effects divided by their deviations.

    Columns with zero variance are left out; None if nothing remains.
    """
    tables = []
    for factor, effects in getattr(estimator, "random_effects_", {}).items():
        deviations = np.sqrt(np.diag(estimator.random_covariance_[factor]))
        for place, column in enumerate(effects.columns):
            if deviations[place] > 0.0:
                scaled = effects.iloc[:, place].to_numpy() / deviations[place]
                table = {"factor": factor, "column": column, "standardised": scaled}
                tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True) if tables else None
