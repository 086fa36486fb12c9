"""Predictions of a fitted linear mixed model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmixed.core.layout import FloatArray
from skmixed.design.design import Source
from skmixed.design.tables import UNKNOWN
from skmixed.estimators._data import warn_about_kinds


def predict_rows(model: Any, source: Source, wanted: set[str]) -> FloatArray:
    """Return X beta + Z b of some factors.

    Parameters
    ----------
    model : MixedLinearRegressor
        Fitted.
    source : Source
        The rows.
    wanted : set of str
        The factors whose random effects are added.

    Returns
    -------
    ndarray of shape (n,)
        In units of y; `handle_unknown` decides about rows of unknown levels.
    """
    columns = model.design_.columns(source)
    # BLAS would round by the number of rows, and a row must not depend on the others.
    fixed = columns[:, list(model.design_.fixed)]
    prediction: FloatArray = np.einsum("ij,j->i", fixed, model._beta)
    offset = model.design_.offset(source)
    if offset is not None:
        prediction += offset
    if wanted:
        _add_random_effects(model, prediction, columns, source, wanted)
    return prediction


def _add_random_effects(
    model: Any, prediction: FloatArray, columns: FloatArray, source: Source, wanted: set[str]
) -> None:
    spec, grouping = model.fit_.spec, model.design_.grouping
    codes = grouping.codes(source.groups, source.n_rows)
    for factor, effects in zip(spec.used_factors, model._effects, strict=True):
        index = grouping.factors[factor].index
        if index.name not in wanted:
            continue
        level = codes[factor]
        unknown = level == UNKNOWN
        if unknown.any():
            if unknown.all():
                warn_about_kinds(grouping, index.key, source)
            _meet_unknown(model.handle_unknown, index.name, unknown, prediction)
        for column, effect in zip(spec.factor_columns(factor), effects.T, strict=True):
            prediction += np.where(unknown, 0.0, effect[level]) * columns[:, column]


def _meet_unknown(
    handle_unknown: str, factor: str, unknown: NDArray[np.bool_], prediction: FloatArray
) -> None:
    if handle_unknown == "error":
        rows = np.flatnonzero(unknown)
        raise ValueError(
            f"{len(rows)} rows have levels of {factor!r} that were not seen in fit, or "
            f"missing ones, the first in row {rows[0]}; handle_unknown='population' predicts "
            "them without that factor's effect"
        )
    if handle_unknown == "nan":
        prediction[unknown] = np.nan
