"""All numbers of the explorer: what its page multiplies, and nothing that it would estimate.

With u the columns of a model about a reference, scaled, a prediction is linear in u, and what its
interval is made of is quadratic: a number for every pair of columns, times their product. What a
group adds is not zero only for pairs with a column that varies over groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.display._column_tables import ColumnTables, column_tables
from skmixed.display._explored_models import (
    NEW,
    SPREAD,
    VARIANCES,
    ExploredModel,
    ExploredPosterior,
    explored_model,
    titles,
)
from skmixed.display._fitted_models import GroupColumns, frame_of
from skmixed.estimators.reading._input_table import InputTable
from skmixed.inference.fixed_effects.testing import check_probability

_POINTS_AT_ONCE = 100_000  # of all groups and pairs: some tens of megabytes
_MOST_SCALED = 2000  # rows of which columns take their scale
_ALLOWED = 1e-5  # errors of numbers of groups, relative to the least variance: unseen in intervals
_KINDS = ((np.int8, 127.0), (np.int16, 32767.0), (np.float32, np.inf))  # with their largest
_LIBRARY = 1.37  # megabytes of Bokeh's scripts, and what else is the same in all pages
_BASE64 = 4.0 / 3.0  # characters a byte


@dataclass(frozen=True, slots=True, eq=False)
class OwnPart:
    """What groups add to a form for some pairs of columns, in numbers of one size."""

    places: IntArray  # (n_some,), of the pairs
    values: NDArray[Any]  # (n_groups, n_some), over `scale`
    scale: FloatArray  # (n_some,)


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """A function of rows that is quadratic in their columns."""

    common: FloatArray  # (n_pairs,), of a group that is not known
    parts: list[OwnPart]  # what groups add

    @property
    def bytes_a_group(self) -> int:
        """Bytes that each group takes."""
        return sum(each.values.itemsize * len(each.places) for each in self.parts)


@dataclass(frozen=True, slots=True, eq=False)
class ExplorerTables:
    """What the page multiplies."""

    model: ExploredModel
    tables: ColumnTables
    labels: list[str]
    level: float
    center: FloatArray  # (m,), reference of the columns of the model
    scale: FloatArray  # (m,)
    pairs: tuple[IntArray, IntArray]  # (n_pairs,) each, places of columns
    varying: IntArray  # (k,), scaled columns whose coefficients vary over groups
    coefficients: FloatArray  # (m,), of a group that is not known
    own: NDArray[np.float32]  # (n_groups, k), what a group adds
    forms: dict[str, Form]
    noise: dict[str, float]  # what observations add to forms
    quantiles: dict[str, NDArray[np.float32]]  # (n_groups + 1, 2), of a posterior, new group last
    effect_names: list[str]
    effects: NDArray[np.float32]  # (n_groups, n_effects, 2): estimate and half the interval

    @classmethod
    def of(
        cls,
        estimator: Any,
        X: Any,
        groups: Any,
        factor: str | None,
        level: float,
        reference: Mapping[str, Any],
        max_size: float,  # megabytes of the page
        transform: Callable[[Any], Any],  # what the estimator is given of X
    ) -> ExplorerTables:
        """Compute all of a fitted estimator; `explore` says what is raised."""
        check_probability(level)
        model = explored_model(estimator, factor)
        tables, at_rows = _read(estimator, model, X, groups, reference, transform)
        basis, center, scale = _basis(model, tables, at_rows)
        varying = np.flatnonzero((basis[:, model.varying] != 0.0).any(axis=1))
        first, second, n_own = _pairs(len(basis), varying)
        n, labels = len(model.keys), titles(model.keys)
        names, estimates, errors = model.effects()
        always = _bytes_always(labels, len(varying), len(names))
        _check_size(n, always, max_size, "at least ")
        forms = _forms(model, basis, (first, second), n_own)
        own_bytes = sum(form.bytes_a_group for form in forms.values())
        _check_size(n, always + _BASE64 * own_bytes, max_size)
        coefficients = _linear(model, basis, np.array([NEW]))[:, 0]
        own = (_linear(model, basis, np.arange(n)) - coefficients[:, None])[varying].T
        half = stats.norm.ppf((1.0 + level) / 2.0) * errors
        effects = np.stack([estimates, half], axis=2)
        return cls(
            model,
            tables,
            labels,
            level,
            center,
            scale,
            (first, second),
            varying,
            coefficients,
            own.astype(np.float32),
            forms,
            model.noise(basis[:1]) if model.has_observations else {},
            _quantiles(model, tables, level),
            names,
            effects.astype(np.float32),
        )

    def scaled(self, places: Mapping[str, int] | None = None) -> FloatArray:
        """Return the scaled columns, (m,), at values of columns by their places."""
        columns = self.tables.columns(places)
        return np.asarray((columns - self.center * columns[0]) / self.scale)


def _read(
    estimator: Any,
    model: ExploredModel,
    X: Any,
    groups: Any,
    reference: Mapping[str, Any],
    transform: Callable[[Any], Any],
) -> tuple[ColumnTables, FloatArray]:
    """Return what the columns of X do, and the columns of the model in some of its rows."""
    table, grouping, as_frame = frame_of(X), GroupColumns.of(estimator), InputTable.of(X).is_named
    names = list(table.columns)
    labels = pd.DataFrame(index=table.index)
    if grouping.from_argument:
        labels = grouping.read_argument(groups, grouping.columns)
    elif groups is not None:
        raise ValueError("groups were given, but the model was not fitted with groups=...")
    lacking = [name for name in grouping.columns if name not in (*names, *labels.columns)]
    if lacking:
        raise ValueError(
            f"X has no columns {lacking}, which make the groups of the last step: let the steps "
            'before it keep the names, as set_output(transform="pandas") does'
        )
    evaluated = set(estimator.design_.variables) if hasattr(estimator, "design_") else set()
    own = [name for name in grouping.factors[model.factor] if name in evaluated]
    if own:
        raise ValueError(
            f"formulas evaluate {own}, which also make the groups of {model.factor!r}: a group "
            "cannot be moved to another value of them; choose another factor"
        )
    movable = [name for name in names if name not in grouping.columns or name in evaluated]
    wrong = [name for name in reference if name not in movable]
    if wrong:
        raise ValueError(f"reference has {wrong}, which can not be moved; {movable} can")
    whole = pd.concat([table, labels], axis=1)

    def read(rows: pd.DataFrame) -> FloatArray:
        rows_of_X: Any = rows[names]
        given = rows[list(labels.columns)] if grouping.from_argument else None
        return model.columns(transform(rows_of_X if as_frame else rows_of_X.to_numpy()), given)

    tables = column_tables(read, whole, movable, model.names, reference)
    complete = whole.dropna(subset=movable)
    some = np.linspace(0, len(complete) - 1, min(len(complete), _MOST_SCALED)).astype(int)
    return tables, read(complete.iloc[some].reset_index(drop=True))


def _basis(
    model: ExploredModel, tables: ColumnTables, at_rows: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return raw columns of the units of scaled ones, (m, m), their center and scale, (m,) each."""
    center, scale = at_rows.mean(axis=0), at_rows.std(axis=0)
    center[0] = 0.0
    if model.has_offset:
        center[-1] = 0.0
    small = scale <= 1e-9 * np.maximum(1.0, np.abs(center))  # a constant but for rounding
    scale[small] = np.maximum(1.0, np.abs(at_rows).max(axis=0))[small]
    scale[0] = 1.0
    basis = np.diag(scale)
    basis[0] = center
    basis[0, 0] = 1.0
    return basis, center, scale


def _linear(model: ExploredModel, basis: FloatArray, codes: IntArray) -> FloatArray:
    """Return the coefficients of scaled columns, (m, n), of n groups."""
    steps = np.vstack([np.zeros_like(basis[:1]), basis[1:]])
    values = np.stack(
        [model.centers(np.tile(basis[0] + step, (len(codes), 1)), codes) for step in steps]
    )
    values[1:] -= values[0]
    return values


def _points(basis: FloatArray, first: IntArray, second: IntArray) -> FloatArray:
    """Return rows at which quadratic functions are asked for, (n_pairs, m).

    With e_0 the reference and e_j a step from it, they are e_0, e_0 + e_j, e_0 - e_j for the pair
    of e_0 and e_j, and e_0 + e_j + e_k: the constant of all is one, as models take it to be.
    """
    steps = np.vstack([np.zeros_like(basis[:1]), basis[1:]])
    signs = np.where((first == 0) != (second == 0), -1.0, 1.0)
    both = steps[first] + np.where(first != second, 1.0, 0.0)[:, None] * steps[second]
    return np.asarray(basis[0] + signs[:, None] * both)


def _pairs(m: int, varying: IntArray) -> tuple[IntArray, IntArray, int]:
    """Return pairs of m columns, (n_pairs,) each; the first ones have a column that varies."""
    rest = np.setdiff1d(np.arange(m), varying)
    order = np.concatenate([varying, rest])
    one, two = np.triu_indices(m)
    k = len(varying)
    rank = np.where(two < k, 0, np.where(one < k, 1, 2))
    sorted_places = np.argsort(rank, kind="stable")
    return (
        order[one[sorted_places]].astype(np.int32),
        order[two[sorted_places]].astype(np.int32),
        int((rank < 2).sum()),
    )


def _forms(
    model: ExploredModel,
    basis: FloatArray,
    pairs: tuple[IntArray, IntArray],
    n_own: int,
) -> dict[str, Form]:
    """Return quadratic functions by their values at `_points`."""
    first, second = pairs
    points = _points(basis, first, second)
    of_new = model.quantities(points, np.full(len(points), NEW))
    n, parts = len(model.keys), []
    size = max(1, _POINTS_AT_ONCE // n)
    for start in range(0, n_own, size):
        some = points[start : min(start + size, n_own)]
        codes = np.tile(np.arange(n), len(some))
        found = model.quantities(np.repeat(some, n, axis=0), codes)
        parts.append({name: each.reshape(len(some), n) for name, each in found.items()})
    forms = {}
    for name, values in of_new.items():
        added = np.concatenate([part[name] for part in parts]) - values[:n_own, None]
        common = _coefficients(values[:, None], first, second)[:, 0]
        own = _coefficients(added, first[:n_own], second[:n_own]).T
        forms[name] = common, own
    allowed = {}
    for name in (VARIANCES, *[SPREAD] * (SPREAD in forms)):
        allowed[name] = _ALLOWED * _least_at_reference(*forms[name], pairs)
    return {
        name: _stored(common, own, allowed.get(name, allowed[VARIANCES]))
        for name, (common, own) in forms.items()
    }


def _least_at_reference(
    common: FloatArray, own: FloatArray, pairs: tuple[IntArray, IntArray]
) -> float:
    """Return the least value of a form, of any group, where all scaled columns are zero."""
    (place,) = np.flatnonzero((pairs[0] == 0) & (pairs[1] == 0))
    added = own[:, place] if place < own.shape[1] else np.zeros(1)
    return max(0.0, float(common[place] + added.min()))


def _coefficients(values: FloatArray, first: IntArray, second: IntArray) -> FloatArray:
    """Return coefficients of products of pairs, (n_pairs, n), from values at `_points`.

    The product of a column with itself that is not among the pairs has none.
    """
    m = int(max(first.max(), second.max())) + 1
    column, with_one = np.maximum(first, second), (first == 0) != (second == 0)
    squared = (first == second) & (first > 0)
    constant, up, down = (np.zeros((m, values.shape[1])) for _ in range(3))
    constant += values[(first == 0) & (second == 0)].sum(axis=0)
    has_square = np.isin(np.arange(m), first[squared])
    up[column[squared]], down[column[with_one]] = values[squared], values[with_one]
    up[~has_square] = (
        2.0 * constant[~has_square] - down[~has_square]
    )  # linear: as far above as below
    linear, square = (up - down) / 2.0, (up + down) / 2.0 - constant
    alone = linear + square
    found = values - constant[0] - alone[first] - alone[second]
    found[with_one], found[squared] = linear[column[with_one]], square[column[squared]]
    is_constant = (first == 0) & (second == 0)
    found[is_constant] = values[is_constant]
    return found


def _stored(common: FloatArray, own: FloatArray, allowed: float) -> Form:
    """Return a form whose numbers, (n_groups, n_own), are as short as errors `allowed` make them.

    A pair for which no group adds more than that is left out.
    """
    largest, parts = np.abs(own).max(axis=0, initial=0.0), []
    left = np.flatnonzero(largest > allowed)
    for kind, most in _KINDS:
        is_short = largest[left] <= allowed * most
        some, left = left[is_short], left[~is_short]
        if len(some):
            scale = np.ones(len(some)) if np.isinf(most) else largest[some] / most
            values = own[:, some] / scale
            values = values if np.isinf(most) else np.round(values)
            parts.append(OwnPart(some.astype(np.int32), values.astype(kind), scale))
    return Form(common, parts)


def _bytes_always(labels: list[str], k: int, n_effects: int) -> float:
    """Return the bytes that a group takes whatever its numbers are."""
    letters = float(np.mean([len(label.encode()) + 4 for label in labels[:_MOST_SCALED]]))
    return letters + _BASE64 * (4.0 * k + 8.0 * n_effects)


def _check_size(n: int, bytes_a_group: float, max_size: float, least: str = "") -> None:
    """Raise ValueError, with the figure, if the page would be too large."""
    total = _LIBRARY + bytes_a_group * n / 1e6
    if total > max_size:
        raise ValueError(
            f"the page would have {least}{total:.1f} MB, {n:,} groups of {bytes_a_group:,.0f} "
            f"bytes and {_LIBRARY:g} MB of scripts, and max_size={max_size:g} allows "
            f"{max_size:g} MB: fit fewer columns that vary over groups, choose a factor of "
            "fewer levels, or raise max_size"
        )


def _quantiles(
    model: ExploredModel, tables: ColumnTables, level: float
) -> dict[str, NDArray[np.float32]]:
    """Return standardised quantiles of a posterior at the reference, of all groups and a new."""
    if not isinstance(model, ExploredPosterior):
        return {}
    tails = np.array([(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    codes = np.append(np.arange(len(model.keys)), NEW)
    rows = np.tile(tables.columns(), (len(codes), 1))
    return {
        kind: model.quantiles(rows, codes, tails, observation=kind == "observation").astype(
            np.float32
        )
        for kind in ("mean", "observation")
    }
