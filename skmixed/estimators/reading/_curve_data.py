"""Validation of the arguments of a nonlinear model: the curve, its inputs, and column roles."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.nonlinear.curve import Curve, GivenCurve
from skmixed.core.nonlinear.named_curves import CURVES, NAMES_IN_R
from skmixed.design.column_collection import Formulas
from skmixed.design.curve_parameters import parse_varying
from skmixed.design.formula import evaluate_expression, read_argument
from skmixed.design.grammar.expressions import variables
from skmixed.design.grammar.permitted import check_context
from skmixed.design.grammar.random_part import RandomTerm
from skmixed.design.grammar.syntax import split_formula
from skmixed.design.grammar.tokens import read_phrase
from skmixed.design.records import stored
from skmixed.design.source import Source
from skmixed.estimators.reading._columns import (
    Columns,
    check_given,
    choose_groups,
    column_place,
    listed,
)
from skmixed.estimators.reading._input_table import InputTable
from skmixed.estimators.reading._numbers import check_lengths, read_y
from skmixed.estimators.reading._training_data import cut, read_arguments, read_residual

_CALL = re.compile(r"\s*([A-Za-z_.][\w.]*)\s*\((.*)\)\s*", re.DOTALL)


@stored
@dataclass(frozen=True, eq=False)
class CurveRecipe:
    """A curve in storable form: its name or function, and its parameter names."""

    model: Any  # a name in `CURVES`, or a function
    names: tuple[str, ...]
    jacobian: Any = None  # a function, of a function
    way: Any = "exact"  # where derivatives come from
    inputs: tuple[str, ...] | None = None  # columns of X, where the model names them

    @classmethod
    def read(cls, model: Any, start: Any, jacobian: Any, context: Mapping[str, Any]) -> CurveRecipe:
        """Read the parameters of an estimator.

        Raises ValueError for an unknown name, a function without start, and a Jacobian of a curve
        by name.
        """
        inputs, names = None, None
        if isinstance(model, str):
            called = _CALL.fullmatch(model)
            arguments = [] if called is None else _arguments(model)
            name = model.strip() if called is None else called[1]
            model = context.get(name, NAMES_IN_R.get(name, name))
            if called is not None:
                inputs, names = _split_arguments(name, model, arguments, start)
        if callable(model):
            if not isinstance(start, Mapping) or not start:
                raise ValueError(
                    "a model that is a function needs start, a dict with a value of every "
                    "parameter by its name, as start={'a': 1.0, 'b': 0.5}"
                )
            return cls(model, names or tuple(map(str, start)), jacobian, "differences", inputs)
        if model not in CURVES:
            raise ValueError(
                f"model={model!r} is not a known curve; named curves are {list(CURVES)}, or R's "
                f"{list(NAMES_IN_R)}. For any other, pass a function f(parameters, X)"
            )
        if jacobian is not None:
            raise ValueError(f"the curve {model!r} has derivatives of its own: leave jacobian out")
        return cls(model, names or CURVES[model].usual_names, inputs=inputs)

    @property
    def curve(self) -> Curve:
        """The curve itself."""
        if isinstance(self.model, str):
            return CURVES[self.model](self.names)
        return GivenCurve(self.model, self.names, self.jacobian, self.way)

    @property
    def n_inputs(self) -> int | None:
        """Number of inputs, None where any number is allowed."""
        return len(CURVES[self.model].inputs) if isinstance(self.model, str) else None

    @property
    def text(self) -> str:
        """The curve as in a formula, without its inputs."""
        if isinstance(self.model, str):
            return self.model
        return str(getattr(self.model, "__name__", type(self.model).__name__))


@dataclass(frozen=True, slots=True, eq=False)
class CurveData:
    """Validated arguments of a fit, without rows of weight zero."""

    recipe: CurveRecipe
    source: Source
    columns: Columns
    terms: tuple[RandomTerm, ...]  # their slopes are parameters
    fixed: Mapping[str, str]  # formulas of parameters
    inputs: tuple[str, ...]  # columns of X
    values: FloatArray  # (n, m), of these
    y: FloatArray  # (n,)
    weights: FloatArray | None  # (n,), positive
    n_features: int
    feature_names: Any  # (n_features,), of str
    context: Mapping[str, Any]
    residual: str | None  # residual structure, as written


def read_curve_data(estimator: Any, X: Any, y: Any, sample_weight: Any, groups: Any) -> CurveData:
    """Validate the arguments of `MixedNonlinearRegressor.fit`; the estimator is not touched."""
    table, y, weights, given = read_arguments(estimator, X, y, sample_weight, groups)
    context = {} if estimator.context is None else check_context(estimator.context)
    recipe = CurveRecipe.read(estimator.model, estimator.start, estimator.jacobian, context)
    fixed = {str(name): text for name, text in (estimator.fixed or {}).items()}
    random, names = estimator.random, table.names
    over_all = isinstance(random, str) and "|" not in random
    terms = () if random is None or over_all else parse_varying(random, recipe.names)
    used = list(dict.fromkeys(name for term in terms for name in term.group))
    in_structure, labels = read_residual(estimator.residual, table, given, may_be_of_fitted=True)
    asked = estimator.inputs if recipe.inputs is None else recipe.inputs
    is_named = table.is_named and asked is not None
    by_formula = bool(fixed) or recipe.inputs is not None or is_named
    if given is None:
        found = choose_groups(names, estimator.group_features, used)
        columns = Columns(names, found, (), by_formula)
    else:
        check_given(given, estimator.group_features, used, names)
        columns = Columns(names, (), tuple(given), by_formula)
    columns = columns.with_labels(labels)
    there = [*columns.groups, *columns.from_argument]
    if over_all:
        terms = parse_varying({(name,): random for name in there}, recipe.names)
    if not terms and there:
        raise ValueError(
            f"there are grouping columns {there}, but random does not say which parameters vary: "
            f"for example, random='{recipe.names[0]} | {there[0]}'"
        )
    if not columns.by_formula:
        table.check_shape(estimator)
    source = cut(table, columns, estimator, fitting=True)
    if in_structure:
        source = replace(source, residual=in_structure)
    inputs = _chosen_inputs(asked, recipe, columns, fixed, context)
    values = input_values(table, inputs)
    response = read_y(y, source.n_rows)
    if given is not None:
        check_lengths(source.n_rows, *given.values())
        source = replace(source, groups=given)
    return CurveData(
        recipe,
        source,
        columns,
        terms,
        fixed,
        inputs,
        values,
        response,
        weights,
        len(names),
        table.feature_names,
        context,
        estimator.residual,
    )


def input_values(table: InputTable, inputs: Sequence[str]) -> FloatArray:
    """Return the inputs of a curve, (n, m): columns, or expressions of columns.

    Raises ValueError where one is not there, and for a function that learns from rows.
    """
    names = table.names
    missing = [name for name in inputs if name not in names and not is_expression(name, names)]
    if missing:
        raise ValueError(
            f"the curve has the inputs {missing}, which do not exist: X has {list(names)}"
        )
    if all(name in names for name in inputs):
        return table.numeric([names.index(name) for name in inputs])
    return np.column_stack([_input_of(table, name) for name in inputs])


def is_expression(text: Any, names: Sequence[str]) -> bool:
    """Tell whether an input of a curve is an expression rather than a column."""
    is_other = isinstance(text, str) and text not in names and not text.isidentifier()
    return is_other and bool(variables(text, names))


def _input_of(table: InputTable, text: str) -> FloatArray:
    """Return a column, or an expression, (n,)."""
    names = table.names
    if text in names:
        return table.numeric([names.index(text)])[:, 0]
    if not table.is_named:
        raise ValueError(f"the curve has the input {text!r}: X must be a data frame")
    read_argument(text, f"the input '{text}' of the curve", names)
    return evaluate_expression(text, Source(table.n_rows, frame=table.values).table, names)


def start_values(start: Any, names: Sequence[str], sizes: Sequence[int]) -> dict[str, FloatArray]:
    """Return starting values given by the user, (1,) or one per coefficient.

    Raises ValueError for other names and other lengths.
    """
    if start is None:
        return {}
    if not isinstance(start, Mapping):
        listed_start = list(start)
        if len(listed_start) != len(names):
            raise ValueError(
                f"start has {len(listed_start)} values, but the curve has the parameters "
                f"{list(names)}"
            )
        start = dict(zip(names, listed_start, strict=True))
    unknown = [name for name in start if name not in names]
    if unknown:
        raise ValueError(f"start names {unknown}, but the parameters are {list(names)}")
    found = {}
    for name, size in zip(names, sizes, strict=True):
        if name not in start:
            continue
        values = np.atleast_1d(np.asarray(start[name], dtype=np.float64))
        if values.shape not in ((1,), (size,)) or not np.isfinite(values).all():
            raise ValueError(
                f"start[{name!r}] is {start[name]!r}: pass a number, or one for each of its "
                f"{size} coefficients"
            )
        found[name] = values
    return found


def _arguments(text: str) -> list[str]:
    """Return the comma-separated arguments of a call, outside further brackets."""
    call = read_phrase(text).content
    if not call.is_call or len(call.tokens) == 3:
        return [""]
    found = [piece.text.strip() for piece in call.between(2, -1).split(",")]
    return [each.strip("`") if each.count("`") == 2 else each for each in found]


def _split_arguments(
    name: str, model: Any, arguments: Sequence[str], start: Any
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the inputs and the parameters among the arguments of a call."""
    if callable(model):
        known = set(start) if isinstance(start, Mapping) else set()
        inputs = tuple(each for each in arguments if each not in known)
        return inputs, tuple(each for each in arguments if each in known)
    if model not in CURVES:
        return (), tuple(arguments)
    n_inputs, n_names = len(CURVES[model].inputs), len(CURVES[model].usual_names)
    if len(arguments) != n_inputs + n_names or len(set(arguments)) < len(arguments):
        expected = ", ".join([*CURVES[model].inputs, *CURVES[model].usual_names])
        raise ValueError(
            f"{name} takes ({expected}), under names of your own, but was given {arguments}"
        )
    return tuple(arguments[:n_inputs]), tuple(arguments[n_inputs:])


def _chosen_inputs(
    asked: Any,
    recipe: CurveRecipe,
    columns: Columns,
    fixed: Mapping[str, str],
    context: Mapping[str, Any],
) -> tuple[str, ...]:
    """Return the inputs of the curve: those requested, or all other columns."""
    names = columns.names
    if asked is not None:
        found = [
            each if is_expression(each, names) else names[column_place(each, names, "inputs")]
            for each in listed(asked)
        ]
    else:
        taken = {name for text in fixed.values() for name in _named_in(text, names, context)}
        found = [names[place] for place in columns.numeric if names[place] not in taken]
    expected = recipe.n_inputs
    if len(found) != expected and expected is not None:
        wanted = CURVES[recipe.model].inputs
        raise ValueError(
            f"the curve {recipe.model!r} takes {expected} input{'s' * (expected > 1)}, "
            f"{' and '.join(wanted)}, but X has {len(found)} candidate column(s), {found}: "
            "choose by inputs=..."
        )
    return tuple(found)


def _named_in(text: str, names: Sequence[str], context: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns that a formula of a parameter names; it is read as in fitting."""
    parts = split_formula(text)
    Formulas(tuple(names), (), context).read(parts, ())
    found = [name for each in (parts.fixed, *parts.offsets) for name in variables(each, names)]
    return tuple(found)
