"""Which methods of an estimator take groups, and by what name."""

from __future__ import annotations

from inspect import signature
from typing import Any

from sklearn import get_config
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object


def _routing() -> bool:
    """Tell whether metadata routing is enabled."""
    return bool(get_config()["enable_metadata_routing"])


def accepts(estimator: Any, method: str) -> bool:
    """Tell whether a method takes `groups`, itself or, by routing, for what is inside.

    With metadata routing the requests decide; without it having the parameter is enough.
    """
    if get_routing_for_object(estimator).consumes(method, ["groups"]):
        return True
    return not _routing() and _has_parameter(estimator, method)


def _has_parameter(estimator: Any, method: str) -> bool:
    function = getattr(estimator, method, None)
    return callable(function) and "groups" in signature(function).parameters


def takes(estimator: Any, method: str) -> bool:
    """Tell whether ``groups=`` can be given to a prediction method as things are.

    Without metadata routing a meta-estimator other than a pipeline, which is asked for its last
    step, or a `TransformedTargetRegressor` must have the parameter itself.
    """
    if _routing():
        return accepts(estimator, method)
    inner = _inside(estimator)
    return _has_parameter(estimator, method) if inner is None else takes(inner, method)


def _inside(estimator: Any) -> Any:
    """Return the estimator to which `predict` hands its arguments even without routing."""
    if isinstance(estimator, Pipeline):
        return estimator.steps[-1][1]
    if isinstance(estimator, TransformedTargetRegressor):
        return estimator.regressor
    return None


def fit_names(estimator: Any) -> list[str]:
    """Return the names by which `fit` takes groups.

    ``["groups"]``, names such as ``"model__groups"`` for the steps of a pipeline without metadata
    routing, or none.
    """
    if not _routing():
        if isinstance(estimator, Pipeline):
            return [f"{key}__{name}" for key, step in estimator.steps for name in fit_names(step)]
        if isinstance(estimator, TransformedTargetRegressor):
            return fit_names(estimator.regressor)
    return ["groups"] if _is_estimator(estimator) and accepts(estimator, "fit") else []


def _is_estimator(step: Any) -> bool:
    return hasattr(step, "fit")


def innermost(estimator: Any) -> Any:
    """Return the model inside pipelines and meta-estimators."""
    while True:
        if isinstance(estimator, Pipeline):
            inner = estimator.steps[-1][1]
        else:
            inner = getattr(estimator, "regressor", getattr(estimator, "estimator", None))
        if not _is_estimator(inner) or isinstance(inner, type):
            return estimator
        estimator = inner


def check_reach(estimator: Any) -> None:
    """Refuse a meta-estimator that would keep the groups from the model inside it.

    Raises a ValueError if they reach it with metadata routing only, and that is off.
    """
    if _routing() or takes(estimator, "predict") or not accepts(innermost(estimator), "predict"):
        return
    raise ValueError(
        f"without metadata routing {type(estimator).__name__} does not hand groups to the "
        f"{type(innermost(estimator)).__name__} inside it. Enable it by "
        "sklearn.set_config(enable_metadata_routing=True), or make the groups columns of X; if "
        "they are meant for the splitter alone, give them as `split_by`"
    )
