"""Routing of groups: which methods accept them, and what the model and the splitter get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from numbers import Integral
from typing import Any

from sklearn import get_config
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import _num_samples

from skmixed.design.curve_parameters import with_parentheses
from skmixed.design.grammar.syntax import parse_random
from skmixed.design.grouping import combine
from skmixed.estimators.grouped._subset_fits import last_step
from skmixed.estimators.reading._columns import listed
from skmixed.estimators.reading._input_table import InputTable, names_of, read_groups
from skmixed.model_selection._splitters import complete_codes


def _routing() -> bool:
    """Tell whether metadata routing is enabled."""
    return bool(get_config()["enable_metadata_routing"])


def accepts(estimator: Any, method: str) -> bool:
    """Tell whether a method accepts `groups`, itself or, by routing, for an inner estimator.

    With metadata routing the requests decide, without it the parameter.
    """
    if get_routing_for_object(estimator).consumes(method, ["groups"]):
        return True
    return not _routing() and _has_parameter(estimator, method)


def _has_parameter(estimator: Any, method: str) -> bool:
    function = getattr(estimator, method, None)
    return callable(function) and "groups" in signature(function).parameters


def takes(estimator: Any, method: str) -> bool:
    """Tell whether ``groups=`` can be passed to a prediction method under the current settings.

    Without metadata routing, a meta-estimator must have the parameter itself, except for pipelines,
    whose last step counts, and `TransformedTargetRegressor`.
    """
    if _routing():
        return accepts(estimator, method)
    inner = _inside(estimator)
    return _has_parameter(estimator, method) if inner is None else takes(inner, method)


def _inside(estimator: Any) -> Any:
    """Return the estimator to which `predict` passes its arguments even without routing."""
    last = last_step(estimator)
    if isinstance(last, TransformedTargetRegressor):
        return last.regressor
    return None if last is estimator else last


def fit_names(estimator: Any) -> list[str]:
    """Return the names by which `fit` accepts groups.

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
    """Return the model inside pipelines and meta-estimators: the first that has groups of its own.

    What such a model holds, as `MixedEffectsRegressor` holds its regressor, knows no groups.
    """
    while True:
        estimator = last_step(estimator)
        if hasattr(estimator, "group_features"):
            return estimator
        inner = getattr(estimator, "regressor", getattr(estimator, "estimator", None))
        if not _is_estimator(inner) or isinstance(inner, type):
            return estimator
        estimator = inner


def check_reach(estimator: Any) -> None:
    """Raise ValueError for a meta-estimator that would not pass groups to the model inside it.

    That is, if they reach it only with metadata routing, which is disabled.
    """
    if _routing() or takes(estimator, "predict") or not accepts(innermost(estimator), "predict"):
        return
    raise ValueError(
        f"without metadata routing, {type(estimator).__name__} does not pass groups to the "
        f"{type(innermost(estimator)).__name__} inside it. Enable it by "
        "sklearn.set_config(enable_metadata_routing=True), or make the groups columns of X; if "
        "they are meant for the splitter alone, pass them as `split_by`"
    )


def groups_for_model(estimator: Any, X: Any, groups: Any) -> Any:
    """Return the groups that `fit` and `predict` get.

    None for an estimator that takes no groups or finds them among the columns of X. Raises a
    ValueError if they cannot reach the model inside it.
    """
    if groups is None or not (fit_names(estimator) or takes(estimator, "predict")):
        return None
    if _reads_columns(estimator, X):
        return None
    check_reach(estimator)
    return groups


def _reads_columns(estimator: Any, X: Any) -> bool:
    """Tell whether the grouping columns that a model declares are columns of X."""
    model = innermost(estimator)
    if getattr(model, "group_features", None) is not None:
        return True
    used = {name for factor in _factors(model) for name in factor}
    return bool(used) and used <= set(names_of(X))


def _factors(model: Any) -> list[tuple[str, ...]]:
    """Return the grouping columns of every factor that a model declares in `random`."""
    if not hasattr(model, "group_features"):  # some other estimator
        return []
    bars = [
        each
        for each in candidates_of(getattr(model, "random", None))
        if isinstance(each, Mapping) or (each is not None and "|" in each)
    ]
    return [term.group for each in bars for term in parse_random(with_parentheses(each))]


def candidates_of(random: Any) -> list[Any]:
    """Return the random parts of a model: one, or the list that a search chooses from."""
    if random is None or isinstance(random, str | Mapping):
        return [random]
    return list(random)


def _declared_columns(estimator: Any, finest: bool) -> list[Any]:
    """Return the columns by which to split, as the model inside an estimator declares them.

    Names or positions, none if it declares none. Of nested factors the coarsest, with the columns
    of those nested in it after it if the finest are wanted; of crossed ones the first declared
    only.
    """
    model = innermost(estimator)
    factors = _factors(model)
    if not factors:
        return listed(getattr(model, "group_features", None))[:1]
    coarse = min(factors, key=len)
    if not finest:
        return list(coarse)
    fine = max((factor for factor in factors if set(coarse) <= set(factor)), key=len)
    return [*coarse, *(name for name in reversed(fine) if name not in coarse)]


def groups_for_splitter(
    estimator: Any, X: Any, groups: Any, split_by: Any, *, search: bool, finest: bool = False
) -> Any:
    """Return the labels that the splitter gets, (n,) or None.

    Those of `split_by`, of the argument `groups`, or, if neither is given and `search` is true, of
    the columns of X that the model declares; of nested factors the coarsest, or the finest if that
    is wanted.
    """
    if split_by is not None:
        names = _as_names(split_by, _num_samples(X))
        return split_by if names is None else _combined(names, X, groups)
    if groups is None:
        names = _declared_columns(estimator, finest) if search else []
        return _combined(names, X, None) if names else None
    found = read_groups(groups)
    names = _declared_columns(estimator, finest)
    if len(found) > 1 and names and all(name in found for name in names):
        return _combined(names, X, groups)
    return next(iter(found.values()))


def _as_names(split_by: Any, n_rows: int) -> list[Any] | None:
    """Return the columns that `split_by` names, None if it is labels."""
    if isinstance(split_by, str | Integral):
        return [split_by]
    named = isinstance(split_by, list | tuple) and len(split_by) != n_rows
    if named and split_by and all(isinstance(entry, str | Integral) for entry in split_by):
        return list(split_by)
    return None


def _combined(names: Sequence[Any], X: Any, groups: Any) -> Any:
    """Return one column, or codes of the combinations of several, sorted by the first; (n,).

    Raises a ValueError if labels of a combination are missing.
    """
    columns = [_named(name, X, groups) for name in names]
    if len(columns) == 1:
        return columns[0]
    codes = [
        complete_codes(each, f"label of {n!r}") for n, each in zip(names, columns, strict=True)
    ]
    return combine(names, codes, [int(of_row.max(initial=0)) + 1 for of_row in codes])


def _named(name: Any, X: Any, groups: Any) -> Any:
    """Return a column of the groups or else of X, by name or position, or raise a ValueError."""
    found = {} if groups is None else read_groups(groups)
    if isinstance(name, str):
        if name in found:
            return found[name]
        names = names_of(X)
        if name in names:
            return InputTable.of(X).column(name)
        raise ValueError(
            f"the column {name!r} to split by does not exist: groups has {list(found)} and X has "
            f"{list(names)}. Name one of them in `split_by`, or pass the labels themselves"
        )
    places = list(found.values()) if found else range(len(names_of(X)))
    if not -len(places) <= name < len(places):
        raise ValueError(
            f"the column {name} to split by does not exist: {'groups' if found else 'X'} has "
            f"{len(places)} columns"
        )
    return places[name] if found else InputTable.of(X).column(places[name])
