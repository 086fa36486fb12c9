"""Validation of the arguments of fits, further rows and predictions of a mixed model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_consistent_length

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.sums.layout import Rows
from skmixed.design.design import Design
from skmixed.design.formula import NO_CONTEXT
from skmixed.design.grammar.permitted import check_context
from skmixed.design.grammar.random_part import RandomTerm
from skmixed.design.grammar.residual_terms import parse_residual
from skmixed.design.grammar.syntax import FormulaParts
from skmixed.design.relationships import Relationship
from skmixed.design.source import Source
from skmixed.design.tables import Labels
from skmixed.design.values import are_other_kinds, kind_of
from skmixed.estimators.reading._columns import (
    Columns,
    declared,
    groups_as_in_fit,
    read_fixed,
    warn_without_groups,
)
from skmixed.estimators.reading._input_table import InputTable, pick_rows, read_groups
from skmixed.estimators.reading._numbers import (
    check_lengths,
    read_known_classes,
    read_weights,
    read_y,
)
from skmixed.estimators.reading._residual_columns import is_label, residual_columns
from skmixed.exceptions import UnknownLevelWarning, warn

_COLUMN_PARAMETERS = (
    *("random", "fixed", "group_features", "covariance", "fit_intercept", "context"),
    "residual",
)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """Validated arguments of a fit, without rows of weight zero."""

    source: Source
    columns: Columns  # what each column of X is
    terms: tuple[RandomTerm, ...]
    fixed: FormulaParts | None  # None: all columns that are not grouping columns
    y: FloatArray  # (n,)
    weights: FloatArray | None  # (n,), positive
    n_features: int  # of X, grouping columns among them
    feature_names: NDArray[Any] | None  # (n_features,), of str
    context: Mapping[str, Any]  # what formulas may name besides columns
    classes: NDArray[Any] | None = None  # of a classifier, whose y are their numbers
    exposure: FloatArray | None = None  # (n,), positive
    residual: str | None = None  # residual structure, as written

    @property
    def unnamed_groups(self) -> tuple[str, ...]:
        """The grouping columns of an array, perhaps not those meant; none of a table with names."""
        return () if self.feature_names is not None else self.columns.groups

    def learn(
        self,
        model: Any,
        terms: Sequence[RandomTerm],
        relationships: Mapping[str, Relationship] = NO_CONTEXT,
    ) -> tuple[Design, FloatArray, tuple[IntArray, ...]]:
        """Learn the design that an estimator asks for, as `Design.learn`."""
        return Design.learn(
            self.source,
            terms,
            self.fixed,
            fit_intercept=model.fit_intercept,
            covariance=model.covariance,
            context=self.context,
            y=self.y,
            residual=self.residual,
            relationships=relationships,
        )

    def mean_offset(self, design: Design) -> float | None:
        """Return the mean offset, including log exposures, None without any."""
        offset = with_exposure(design.offset(self.source), self.exposure)
        return None if offset is None else float(offset.mean())

    def known(self, model: Any, design: Design) -> dict[str, Any]:
        """Return the fields of a `MixedState` that do not depend on what is estimated."""
        return {
            "design": design,
            "columns": self.columns,
            "declaration": declaration(model),
            "n_features_in": self.n_features,
            "feature_names_in": self.feature_names,
            "terms": self.terms,
            "fixed": self.fixed,
        }


def read_training_data(
    estimator: BaseEstimator, X: Any, y: Any, sample_weight: Any, groups: Any
) -> TrainingData:
    """Validate the arguments of `MixedLinearRegressor.fit`; the estimator is not touched.

    The response of a classifier becomes numbers of classes. Raises what `fit` documents.
    """
    table, y, weights, given = read_arguments(estimator, X, y, sample_weight, groups)
    context = {} if estimator.context is None else check_context(estimator.context)
    fixed = read_fixed(estimator.fixed, estimator.fit_intercept)
    structure = getattr(estimator, "residual", None)
    in_structure, labels = read_residual(structure, table, given)
    terms, columns = declared(
        estimator.random, estimator.group_features, table.names, given, fixed, labels
    )
    columns = columns.with_exposure(getattr(estimator, "exposure", None))
    names = table.feature_names
    if not columns.by_formula:
        table.check_shape(estimator)
    source = cut(table, columns, estimator, fitting=True)
    if in_structure:
        source = replace(source, residual=in_structure)
    classes = None
    if isinstance(estimator, ClassifierMixin):
        values, classes = estimator._read_classes(y, source.n_rows)
    else:
        values = read_y(y, source.n_rows)
    if given is not None:
        check_lengths(source.n_rows, *given.values())
        source = replace(source, groups=given)
    n_features = len(table.names)
    exposure = read_exposure(table, columns.exposure)
    return TrainingData(
        source,
        columns,
        terms,
        fixed,
        values,
        weights,
        n_features,
        names,
        context,
        classes,
        exposure,
        structure,
    )


def read_residual(
    text: str | None,
    table: InputTable,
    given: Mapping[str, Any] | None,
    *,
    may_be_of_fitted: bool = False,  # whether a power may be one of the fitted values
) -> tuple[Mapping[str, Any], Collection[str]]:
    """Return the columns of a residual structure, and the names of those that are labels."""
    if text is None:
        return {}, ()
    parts = parse_residual(text)
    if parts.is_of_fitted and not may_be_of_fitted:
        raise ValueError(
            "power() of the fitted values requires MixedNonlinearRegressor: name a column, power(x)"
        )
    found = residual_columns(parts, table, given)
    return found, {*parts.labels, *(name for name, each in found.items() if is_label(each))}


def read_exposure(table: InputTable, name: str | None) -> FloatArray | None:
    """Return the exposure column, (n,), None if there is none.

    Raises ValueError if it is not there, and for one that is not positive.
    """
    if name is None:
        return None
    if name not in table.names:
        raise ValueError(f"the exposure column {name!r} does not exist: X has {list(table.names)}")
    exposure = table.numeric([table.names.index(name)])[:, 0]
    wrong = np.flatnonzero(exposure <= 0.0)
    if len(wrong):
        raise ValueError(
            f"exposures must be positive, but the column {name!r} has {exposure[wrong[0]]:g} in "
            f"row {wrong[0]}"
        )
    return exposure


def read_for_random(estimator: BaseEstimator, data: TrainingData) -> TrainingData:
    """Return the same data as read by an estimator that differs in its random part alone.

    Its grouping columns must be among those of `data`. No row is looked at.
    """
    names, given = data.columns.names, data.columns.from_argument or None
    terms, columns = declared(estimator.random, estimator.group_features, names, given, data.fixed)
    return replace(data, terms=terms, columns=columns)


def read_arguments(
    estimator: BaseEstimator, X: Any, y: Any, sample_weight: Any, groups: Any
) -> tuple[InputTable, Any, FloatArray | None, dict[str, Any] | None]:
    """Take in the arguments of a fit, and drop the rows of weight zero from all four.

    Groups are returned by name; neither they nor the columns nor y are validated yet.
    """
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, "
            "but the target y is None"
        )
    table = InputTable.of(X)
    if not table.n_rows:
        table.check_shape(estimator)
    weights = read_weights(sample_weight, table.n_rows)
    given = None if groups is None else read_groups(groups)
    if weights is None or weights.all():
        return table, y, weights, given
    check_consistent_length(table.values, y, *(given or {}).values())
    kept = np.flatnonzero(weights)
    if given is not None:
        given = {name: pick_rows(labels, kept) for name, labels in given.items()}
    return table.take(kept), pick_rows(y, kept), weights[kept], given


def cut(
    table: InputTable,
    columns: Columns,
    estimator: BaseEstimator,
    *,
    fitting: bool,
    needed: Collection[str] | None = None,  # grouping columns; None for all
) -> Source:
    """Cut a table into numeric and grouping columns, those of the argument `groups` left out.

    Of new rows grouping columns may be missing where formulas pick the others by name.
    """
    read = [name for name in columns.groups if needed is None or name in needed]
    if columns.by_formula:
        if not table.is_named:
            raise ValueError(
                "`fixed` is a formula, which requires column names: X must be a data frame, got "
                f"{table.came_as}"
            )
        present = {name: table.names.index(name) for name in read if name in table.names}
        return Source(table.n_rows, frame=table.values, groups=table.labels(present))
    # In fit every missing label is an error.
    places = {name: columns.group_places[name] for name in read}
    groups = table.labels(places, allow_nan=fitting)
    name_by = "group_features" if fitting else None
    numeric = table.numeric_columns(columns.numeric, estimator, name_by=name_by)
    names = tuple(columns.names[place] for place in columns.numeric)
    frame = table.values if table.is_named else None
    return Source(table.n_rows, names, numeric, frame, groups)


def read_new_data(
    estimator: Any,
    fitted: Any,  # what predictions need of the estimator's state
    X: Any,
    groups: Any,  # what `read_groups` returns
    needed: Collection[str] | None = None,  # grouping columns; None for all that are there
    residual: Collection[str] | None = (),  # columns of the residual structure; None as in fitting
) -> Source:
    """Validate the arguments of a prediction; grouping columns that are not there are left out.

    Warns if labels are needed, missing, and an unknown level is the population; raises ValueError
    for groups that the model was not fitted with.
    """
    columns: Columns = fitted.columns
    table = InputTable.of(X)
    structure = fitted.design.residual
    in_structure: Mapping[str, Any] = {}
    if structure is not None:
        in_structure = residual_columns(structure.parts, table, groups, residual)
    if not columns.by_formula:
        if fitted.feature_names_in is not None:
            spare = columns.groups_besides(needed or ())
            table = table.with_columns([*spare, *columns.residual], columns.names)
        table.check_columns(estimator, fitted)
    source = cut(table, columns, estimator, fitting=False, needed=needed)
    if in_structure:
        source = replace(source, residual=in_structure)
    by_argument = columns.from_argument if needed is None else needed
    found = groups_as_in_fit(columns, groups, source.n_rows, by_argument)
    if found is not None:
        return replace(source, groups=found)
    if groups is None and needed is not None:
        warn_without_groups(estimator, columns, needed, source.groups)
    return source


_CURES = {  # of labels of another kind than in fit
    "text": "convert them to text by column.astype(str)",
    "numbers": "convert them to numbers by pandas.to_numeric(column)",
}


def warn_about_kinds(known: Mapping[str, Labels], key: Iterable[str], groups: Any) -> None:
    """Warn where no label is known since labels of one kind were fitted and others are given.

    `known` has the labels of every grouping column; `key` is those of a factor of which no level is
    known.
    """
    for name, before, now in _changed_kinds(known, key, groups):
        warn(
            f"no label of {name!r} is known: labels were {before} in fit and are now {now}, "
            f"which never match: {_CURES.get(before, 'give them as in fit')}",
            UnknownLevelWarning,
        )


def _changed_kinds(
    columns: Mapping[str, Labels], names: Iterable[str], groups: Any
) -> Iterator[tuple[str, str, str]]:
    """Yield the columns whose labels were of one kind and are of another now, and both kinds."""
    for name in set(groups).intersection(names, columns):
        known, now = kind_of(columns[name].values), kind_of(groups[name])
        if are_other_kinds(known, now):
            yield name, known, now


def declaration(estimator: Any) -> dict[str, str]:
    """Return the parameters that determine the columns, as comparable text.

    Of the context these are the names: functions are others in another process.
    """
    values = {name: getattr(estimator, name, None) for name in _COLUMN_PARAMETERS}
    values["context"] = sorted(values["context"] or ())
    return {name: repr(value) for name, value in values.items()}


def read_batch(
    estimator: Any, fitted: Any, X: Any, y: Any, sample_weight: Any, groups: Any
) -> tuple[Rows, ResidualRows | None]:
    """Validate further rows for a fitted model and make their columns, levels of their own.

    What a residual structure knows of them is returned beside. `fitted` is the state of the
    estimator; X, y, sample_weight and groups are as in `MixedLinearRegressor.fit`. Rows of weight
    zero are left out, and offsets subtracted from y. Raises ValueError for invalid input, missing
    grouping columns, and parameters that have changed since the fit.
    """
    _, y, weights, source = _further(estimator, fitted, X, y, sample_weight, groups)
    design = fitted.design
    residual = None if design.residual is None else design.residual.rows(source.residual)
    return design.new_rows(source, read_y(y, source.n_rows), weights), residual


def read_observed(
    estimator: Any, fitted: Any, X: Any, y: Any, sample_weight: Any, groups: Any
) -> tuple[Rows, FloatArray | None]:
    """Validate further rows for a fitted generalized model, as `read_batch`.

    Classes become 0 and 1. Offsets and logarithms of exposures come beside the rows, (n,).
    """
    table, y, weights, source = _further(estimator, fitted, X, y, sample_weight, groups)
    if fitted.classes is None:
        values = read_y(y, source.n_rows)
    else:
        values = read_known_classes(y, source.n_rows, fitted.classes)
    rows = fitted.design.new_rows(source, values, weights)
    rows.columns[:, -1] = values
    exposure = read_exposure(table, fitted.columns.exposure)
    return rows, with_exposure(fitted.design.offset(source), exposure)


def with_exposure(offset: FloatArray | None, exposure: FloatArray | None) -> FloatArray | None:
    """Add log exposures, (n,), to an offset, (n,)."""
    if exposure is None:
        return offset
    return np.log(exposure) if offset is None else offset + np.log(exposure)


def _further(
    estimator: Any, fitted: Any, X: Any, y: Any, sample_weight: Any, groups: Any
) -> tuple[InputTable, Any, FloatArray | None, Source]:
    """Validate all of further rows but y, which is returned as it came."""
    changed = [
        name
        for name, value in declaration(estimator).items()
        if value != fitted.declaration.get(name, value)  # which models stored before lack
    ]
    if changed:
        raise ValueError(
            f"the parameters {changed}, which determine the columns of the model, have changed "
            "since fit: call fit with all rows"
        )
    table, y, weights, given = read_arguments(estimator, X, y, sample_weight, groups)
    source = read_new_data(estimator, fitted, table, given, residual=None)
    known = fitted.design.labels
    missing = [name for name in known if name not in source.groups]
    if missing:
        raise ValueError(
            f"labels of the grouping columns {missing} are missing; further rows require them"
        )
    for name, before, now in _changed_kinds(known, known, source.groups):
        raise ValueError(
            f"labels of {name!r} are {now}, but were {before} in fit, so that all would be new "
            "levels: convert them to the same kind"
        )
    return table, y, weights, source
