"""Further rows for a fitted model."""

from __future__ import annotations

from typing import Any

from skmixed.core.sums.layout import Rows
from skmixed.design.design import Design
from skmixed.design.source import Source
from skmixed.design.tables import is_text
from skmixed.estimators._data import read_rows
from skmixed.estimators._new_data import read_new_data
from skmixed.estimators._numbers import read_y

_COLUMN_PARAMETERS = ("random", "fixed", "group_features", "covariance", "fit_intercept")


def declaration(estimator: Any) -> dict[str, str]:
    """Return the parameters that say what the columns are, as text that can be compared."""
    return {name: repr(getattr(estimator, name)) for name in _COLUMN_PARAMETERS}


def read_batch(
    estimator: Any, fitted: Any, X: Any, y: Any, sample_weight: Any, groups: Any
) -> Rows:
    """Validate further rows for a fitted model and make their columns, levels of their own.

    `fitted` is the state of the estimator; X, y, sample_weight and groups are as in
    `MixedLinearRegressor.fit`. Rows of weight zero are left out. Raises ValueError for invalid
    input, missing grouping columns, and parameters that have changed since the fit.
    """
    changed = [
        name for name, value in declaration(estimator).items() if value != fitted.declaration[name]
    ]
    if changed:
        raise ValueError(
            f"the parameters {changed} have changed since fit, and with them the columns of the "
            "model: call fit with all rows"
        )
    X, y, weights, given = read_rows(X, y, sample_weight, groups)
    source = read_new_data(estimator, fitted, X, given, need_groups=False)
    missing = [name for name in fitted.design.grouping.columns if name not in source.groups]
    if missing:
        raise ValueError(
            f"no labels of the grouping columns {missing} are given; further rows need them"
        )
    _check_kinds(fitted.design, source)
    return fitted.design.new_rows(source, read_y(y, source.n_rows), weights)


def _check_kinds(design: Design, source: Source) -> None:
    """Raise ValueError for text where labels were numbers, or numbers where they were text."""
    for name, labels in design.grouping.columns.items():
        known, now = is_text(labels.values), is_text(source.groups[name])
        if None not in (known, now) and known != now:
            kinds = ("text", "numbers") if known else ("numbers", "text")
            raise ValueError(
                f"labels of {name!r} are {kinds[1]}, but were {kinds[0]} in fit, so that all would "
                "be new levels: turn them into the same kind"
            )
