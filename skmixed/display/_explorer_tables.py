"""All numbers of the explorer: what its page multiplies, and nothing that it would estimate.

With u the columns of a model about a reference, scaled, a prediction is linear in u, and what its
interval is made of is quadratic: a number for every pair of columns, times their product. What a
group adds is not zero only for pairs with a column that varies over groups.
"""

from __future__ import annotations

from collections.abc import Mapping
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
_LARGEST_SHORT = 32767  # of an integer of 16 bits
_LIBRARY = 1.75  # megabytes of Bokeh's scripts, and what else is the same in all pages
_BASE64 = 4.0 / 3.0  # characters a byte


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """A function of rows that is quadratic in their columns."""

    common: FloatArray  # (n_pairs,), of a group that is not known
    own: NDArray[Any]  # (n_groups, n_own), what a group adds to the first pairs, over `scale`
    scale: FloatArray  # (n_own,)


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
    effects: NDArray[np.float32]  # (n_groups, n_effects, 3): estimate, lower and upper

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
    ) -> ExplorerTables:
        """Compute all of a fitted estimator; `explore` says what is raised."""
        check_probability(level)
        model = explored_model(estimator, factor)
        tables, at_rows = _read(estimator, model, X, groups, reference)
        basis, center, scale = _basis(model, tables, at_rows)
        varying = np.flatnonzero((basis[:, model.varying] != 0.0).any(axis=1))
        first, second, n_own = _pairs(len(basis), varying)
        _check_size(model, len(varying), n_own, basis, max_size)
        forms = _forms(model, basis, varying, (first, second), n_own)
        new, n = np.full(len(basis), NEW), len(model.keys)
        coefficients = model.centers(basis, new)
        own = np.stack(
            [
                model.centers(np.tile(basis[place], (n, 1)), np.arange(n)) - coefficients[place]
                for place in varying
            ],
            axis=1,
        )
        names, estimates, errors = model.effects()
        half = stats.norm.ppf((1.0 + level) / 2.0) * errors
        effects = np.stack([estimates, estimates - half, estimates + half], axis=2)
        return cls(
            model,
            tables,
            titles(model.keys),
            level,
            center,
            scale,
            (first, second),
            varying,
            coefficients,
            own.astype(np.float32),
            forms,
            model.noise() if model.has_observations else {},
            _quantiles(model, tables, level),
            names,
            effects.astype(np.float32),
        )

    def scaled(self, places: Mapping[str, int] | None = None) -> FloatArray:
        """Return the scaled columns, (m,), at values of columns by their places."""
        columns = self.tables.columns(places)
        return np.asarray((columns - self.center * columns[0]) / self.scale)


def _read(
    estimator: Any, model: ExploredModel, X: Any, groups: Any, reference: Mapping[str, Any]
) -> tuple[ColumnTables, FloatArray]:
    """Return what the columns of X do, and the columns of the model in some of its rows."""
    table, grouping, as_frame = frame_of(X), GroupColumns.of(estimator), InputTable.of(X).is_named
    names = list(table.columns)
    labels = pd.DataFrame(index=table.index)
    if grouping.from_argument:
        labels = grouping.read_argument(groups, grouping.columns)
    elif groups is not None:
        raise ValueError("groups were given, but the model was not fitted with groups=...")
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
        return model.columns(rows_of_X if as_frame else rows_of_X.to_numpy(), given)

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
    varying: IntArray,
    pairs: tuple[IntArray, IntArray],
    n_own: int,
) -> dict[str, Form]:
    """Return quadratic functions by their values at columns and sums of two of them."""
    first, second = pairs
    points = basis[first] + np.where(first != second, 1.0, 0.0)[:, None] * basis[second]
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
        if name == SPREAD:  # of effects: of pairs that both vary
            own = own[:, : len(varying) * (len(varying) + 1) // 2]
        forms[name] = _stored(name, common, own)
    return forms


def _coefficients(values: FloatArray, first: IntArray, second: IntArray) -> FloatArray:
    """Return coefficients of products of pairs, (n_pairs, n), from values at their sums.

    Where a column has no pair with itself, its own value is zero.
    """
    single = np.flatnonzero(first == second)
    alone = np.zeros((int(max(first.max(), second.max())) + 1, values.shape[1]))
    alone[first[single]] = values[single]
    crossed = values - alone[first] - alone[second]
    crossed[single] = values[single]
    return crossed


def _stored(name: str, common: FloatArray, own: FloatArray) -> Form:
    """Return a form in few bytes: corrections of variances, and slopes, as 16-bit integers."""
    if name in (VARIANCES, SPREAD):
        return Form(common, own.astype(np.float32), np.ones(own.shape[1]))
    scale = np.abs(own).max(axis=0, initial=0.0) / _LARGEST_SHORT
    units = np.where(scale > 0.0, scale, 1.0)
    return Form(common, np.round(own / units).astype(np.int16), units)


def _check_size(
    model: ExploredModel, k: int, n_own: int, basis: FloatArray, max_size: float
) -> None:
    """Raise ValueError, with the figure, if the page would be too large."""
    names = model.quantities(basis[:1], np.array([NEW]))
    of_forms = sum(
        {VARIANCES: 4.0 * n_own, SPREAD: 2.0 * k * (k + 1)}.get(name, 2.0 * n_own) for name in names
    )
    n_effects = len(model.varying)
    bytes_a_group = _BASE64 * (of_forms + 4.0 * k + 12.0 * n_effects)
    bytes_a_group += float(np.mean([len(str(key)) + 4 for key in model.keys[:1000]]))
    total = _LIBRARY + bytes_a_group * len(model.keys) / 1e6
    if total > max_size:
        raise ValueError(
            f"the page would have {total:.1f} MB, {len(model.keys):,} groups of "
            f"{bytes_a_group:,.0f} bytes and {_LIBRARY:g} MB of scripts, and max_size={max_size:g} "
            f"allows {max_size:g} MB: fit fewer columns that vary over groups, choose a factor of "
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
