"""A fitted linear mixed model as plain values, and back, across versions of this package.

A stored model says which schema it is of. A change of what a fit is made of raises the number, and
a reader of the old one is kept, or the old one is refused with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from typing import Any

from sklearn.base import BaseEstimator

from skmixed.design.design import Design
from skmixed.design.records import checksum, read, write
from skmixed.estimators._columns import Columns
from skmixed.estimators._linear_state import LinearState
from skmixed.estimators._prediction_rows import LinearEstimates

FORMAT = "scikit-mixed model"
SCHEMA = 1  # of what is stored; raised when a stored model of before cannot be read as it stands

_MADE_ANEW = ("posterior", "design", "columns")  # fields of a state that are no plain values


def store(estimator: BaseEstimator, fitted: LinearState) -> dict[str, Any]:
    """Return a fitted estimator as plain values. Raises TypeError for what cannot be stored."""
    parameters = {}
    for name, value in estimator.get_params(deep=False).items():
        try:
            parameters[name] = write(value)
        except TypeError as error:
            raise TypeError(
                f"the parameter {name} of this {type(estimator).__name__} cannot be stored: {error}"
            ) from None
    model = {
        "format": FORMAT,
        "schema": SCHEMA,
        "version": version("scikit-mixed"),
        "estimator": type(estimator).__name__,
        "parameters": parameters,
        "fitted": _written_state(fitted),
    }
    return {**model, "checksum": checksum(model)}


def restore(estimator: type[BaseEstimator], state: type[LinearState], model: Any) -> Any:
    """Return the estimator that `store` has made plain values of.

    Raises ValueError for what is no stored model of this class and schema, or is damaged.
    """
    _check(estimator, model)
    try:
        parameters = {name: read(value) for name, value in model["parameters"].items()}
        fitted = _read_state(state, model["fitted"])
        again = estimator(**parameters)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"this stored {estimator.__name__} of version {model['version']} cannot be read: "
            f"{error}"
        ) from error
    again._fitted = fitted
    return again


def _check(estimator: type[BaseEstimator], model: Any) -> None:
    """Refuse what is no stored model of this class, in words."""
    if not isinstance(model, Mapping) or model.get("format") != FORMAT:
        raise ValueError(f"this is no stored model: its 'format' is not {FORMAT!r}")
    if model.get("schema") != SCHEMA:
        raise ValueError(
            f"this model was stored by version {model.get('version')} in schema "
            f"{model.get('schema')!r}; this version reads schema {SCHEMA}. Load it with the "
            "version that stored it, or fit it again"
        )
    if model.get("estimator") != estimator.__name__:
        raise ValueError(
            f"this is a stored {model.get('estimator')}: use {model.get('estimator')}.from_dict"
        )
    try:
        found = checksum({name: value for name, value in model.items() if name != "checksum"})
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"this stored model is damaged: {error}") from error
    if found != model.get("checksum"):
        raise ValueError(
            "this stored model is damaged: its checksum is not that of its contents, which were "
            "changed or cut short after it was stored"
        )


def _written_state(fitted: LinearState) -> dict[str, Any]:
    plain = [field.name for field in fields(fitted) if field.name not in _MADE_ANEW]
    written = {name: write(getattr(fitted, name)) for name in plain}
    updated = fitted.posterior is not fitted.fit
    return {
        **written,
        "posterior": write(fitted.posterior) if updated else None,
        "design": fitted.design.record(),
        "columns": _written_fields(fitted.columns),
        "estimates": _written_fields(fitted.estimates),
    }


def _read_state(state: type[LinearState], record: Mapping[str, Any]) -> LinearState:
    made = dict(record)
    estimates = _read_fields(LinearEstimates, made.pop("estimates"))
    design = Design.from_record(made.pop("design"))
    columns = _read_fields(Columns, made.pop("columns"))
    plain = {name: read(value) for name, value in made.items()}
    plain["posterior"] = plain["posterior"] or plain["fit"]
    fitted = state(**plain, design=design, columns=columns)
    fitted.__dict__["estimates"] = estimates  # predictions are those of before, to the bit
    return fitted


def _written_fields(part: Any) -> dict[str, Any]:
    return {field.name: write(getattr(part, field.name)) for field in fields(part)}


def _read_fields(part: type, record: Mapping[str, Any]) -> Any:
    return part(**{name: read(value) for name, value in record.items()})
