"""Serialization of fitted estimators as plain values, across versions of this package.

A stored model records its schema. Changing the content of a fit raises the schema number; the
reader of the old schema is kept, or the old schema is rejected with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn.base import BaseEstimator

from skmixed.design.records import SCHEMA, checksum, package_version, read, write
from skmixed.exceptions import StoredVersionWarning, warn

FORMAT = "scikit-mixed model"

_REMEDY = (
    f"this version reads schema {SCHEMA}. Load it with the version that stored it, or fit it again"
)
_UNREADABLE = (KeyError, IndexError, TypeError, ValueError, AttributeError)


def store(estimator: BaseEstimator, fitted: Any) -> dict[str, Any]:
    """Return a fitted estimator as plain values. Raises TypeError for what cannot be stored."""
    parameters = {}
    for name, value in estimator.get_params(deep=False).items():
        parameters[name] = write(value)
        try:
            checksum(parameters[name])
        except TypeError as error:
            raise TypeError(
                f"the parameter {name} of this {type(estimator).__name__} cannot be stored: {error}"
            ) from None
    model = {
        "format": FORMAT,
        "schema": SCHEMA,
        "version": package_version(),
        "estimator": type(estimator).__name__,
        "parameters": parameters,
        "fitted": write(fitted)["value"],
    }
    return {**model, "checksum": checksum(model)}


def restore(estimator: type[BaseEstimator], state: type, model: Any) -> Any:
    """Return the estimator that `store` turned into plain values.

    Raises ValueError if it is not an intact stored model of this class and schema.
    """
    _check(estimator, model)
    try:
        parameters = {name: read(value) for name, value in model["parameters"].items()}
        fitted = read({"type": state.__name__, "value": model["fitted"]})
        again = estimator(**parameters)
        again._check_formulas(fitted)
    except _UNREADABLE as error:
        raise ValueError(
            f"this stored {estimator.__name__} of version {model['version']} cannot be read: "
            f"{error}"
        ) from error
    again._fitted = fitted
    return again


def packed(estimator: BaseEstimator) -> dict[str, Any]:
    """Return parameters and fitted state of an estimator as plain values, as far as they have any.

    It names no class of this package but the estimator's own, so that every later version can read
    it, or say why not.
    """
    held = write(dict(vars(estimator)))
    return {"schema": SCHEMA, "version": package_version(), "held": held}


def unpacked(estimator: type[BaseEstimator], state: Any) -> dict[str, Any]:
    """Return the attributes that `packed` turned into plain values.

    Warns if another version did so. Raises ValueError for another schema and for damaged data.
    """
    name, now = estimator.__name__, package_version()
    known = state if isinstance(state, Mapping) else {}
    then, schema = known.get("version", "unknown"), known.get("schema")
    if schema != SCHEMA:
        raise ValueError(
            f"this {name} was stored by version {then} in schema {schema!r}; {_REMEDY}"
        )
    try:
        held: dict[str, Any] = read(known["held"])
    except _UNREADABLE as error:
        raise ValueError(
            f"this stored {name} of version {then} cannot be read by version {now}: {error}"
        ) from error
    if then != now:
        warn(
            f"this {name} was stored by version {then} of scikit-mixed and loaded by version "
            f"{now}, which may predict differently: compare its predictions, or fit it again",
            StoredVersionWarning,
        )
    return held


def _check(estimator: type[BaseEstimator], model: Any) -> None:
    """Raise ValueError unless this is an intact stored model of this class."""
    if not isinstance(model, Mapping) or model.get("format") != FORMAT:
        raise ValueError(f"this is not a stored model: its 'format' is not {FORMAT!r}")
    if model.get("schema") != SCHEMA:
        raise ValueError(
            f"this model was stored by version {model.get('version')} in schema "
            f"{model.get('schema')!r}; {_REMEDY}"
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
            "this stored model is damaged: its checksum does not match its contents, which were "
            "changed or truncated after it was stored"
        )
