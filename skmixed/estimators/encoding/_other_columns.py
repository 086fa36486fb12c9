"""Other columns of an encoder: passed through, and adjusted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.sums.layout import CONSTANT
from skmixed.design.design import Design
from skmixed.design.records import stored
from skmixed.design.source import Source
from skmixed.design.tables import Labels
from skmixed.estimators.encoding._encoder_columns import Roles, learn_labels, look_up
from skmixed.estimators.reading._columns import read_fixed
from skmixed.estimators.reading._input_table import InputTable

_MOST_DUMMIES = 100  # labels of a column beside those encoded: with more it is to be encoded itself


@stored
@dataclass(frozen=True, slots=True, eq=False)
class OtherColumns:
    """How the columns that are not encoded become numbers: as they are, or labels as dummies."""

    places: tuple[int, ...]  # of all of them
    labelled: tuple[int, ...]  # of those that become dummies, one a label but the first
    labels: list[Labels]  # of every such column, without a missing one
    sizes: list[int]  # numbers of their levels, a missing label counted if it is one

    @classmethod
    def learn(cls, table: InputTable, roles: Roles, *, with_dummies: bool) -> OtherColumns:
        """Find the columns of labels among them, which are none unless `with_dummies`.

        Raises ValueError for too many labels.
        """
        labelled = [
            place
            for place in roles.others
            if with_dummies and place not in roles.slopes and table.has_labels(place)
        ]
        labels, sizes = [], []
        for place in labelled:
            known, _, size = learn_labels(roles.names[place], table.column(place), True)
            if size > _MOST_DUMMIES:
                raise ValueError(
                    f"the column {roles.names[place]!r} has {size} labels, too many for dummies: "
                    "encode it by `columns`, or leave it out of X"
                )
            labels.append(known)
            sizes.append(size)
        return cls(roles.others, tuple(labelled), labels, sizes)

    def read(self, table: InputTable, name_by: str | None = None) -> dict[int, FloatArray]:
        """Return each column by position, (n, 1) of numbers, NaN among them, or (n, m) of dummies.

        Raises ValueError for infinite numbers, and for text where numbers are wanted; `name_by` is
        as in `InputTable.numeric`.
        """
        numbers = [place for place in self.places if place not in self.labelled]
        values = table.numeric(numbers, name_by=name_by, allow_nan=True)
        found = {place: values[:, [i]] for i, place in enumerate(numbers)}
        for place, labels, size in zip(self.labelled, self.labels, self.sizes, strict=True):
            codes = look_up(labels, size, table.column(place))
            found[place] = (codes[:, None] == np.arange(1, size)).astype(np.float64)
        return found

    @property
    def endings(self) -> dict[int, list[str]]:
        """What is added to the name of a column for each of its dummies, by position."""
        found = {}
        for place, labels, size in zip(self.labelled, self.labels, self.sizes, strict=True):
            names = [f"_{label}" for label in labels.values]
            found[place] = [*names, "_missing"][1:size]
        return found


def names_columns(adjust: Any, names: Sequence[str]) -> bool:
    """Tell whether the parameter `adjust` names columns of X, and is no formula and no yes or no.

    Text that is no name of a column is a formula.
    """
    if isinstance(adjust, str):
        return adjust in names
    return adjust is not None and not isinstance(adjust, bool | np.bool_)


def adjusting_columns(
    table: InputTable, adjust: Any, roles: Roles, others: dict[int, FloatArray]
) -> FloatArray:
    """Return the fixed columns that labels are adjusted for, (n, p), without a constant.

    They are finite: a number that is missing is the mean of its column, which gets a column beside
    it that says so. `others` are what `OtherColumns.read` returns. Raises what a formula does.
    """
    if isinstance(adjust, str) and not names_columns(adjust, roles.names):
        return _by_formula(table, adjust, roles)
    chosen: Sequence[int] = ()
    if names_columns(adjust, roles.names):
        chosen = roles.adjusting
    elif adjust:
        chosen = [place for place in roles.others if place not in roles.slopes]
    parts = [filled for place in chosen for filled in _filled(others[place])]
    return np.hstack(parts) if parts else np.empty((table.n_rows, 0))


def _filled(columns: FloatArray) -> list[FloatArray]:
    """Return columns, (n, m), with means for NaN, and what tells where these were, (n, m)."""
    missing = np.isnan(columns)
    if not missing.any():
        return [columns]
    counts = np.maximum(1, (~missing).sum(axis=0))
    means = np.where(missing, 0.0, columns).sum(axis=0) / counts
    return [np.where(missing, means, columns), missing.astype(np.float64)]


def _by_formula(table: InputTable, formula: str, roles: Roles) -> FloatArray:
    """Return the columns of a formula, (n, p), and those that tell where its numbers are missing.

    Raises ValueError for an array, and for a formula that is none, or has offsets or curves.
    """
    parts = read_fixed(formula.removeprefix("~"), fit_intercept=True)
    assert parts is not None
    if parts.offsets:
        raise ValueError(f"adjust={formula!r} contains an offset, which is not supported")
    if parts.smooths:
        raise ValueError(
            f"adjust={formula!r} contains the smooth curve {parts.smooths[0].text!r}, whose "
            "smoothness would have to be estimated: use the unpenalised splines bs(x, df=5) or "
            "ns(x, df=4)"
        )
    if not table.is_named:
        raise ValueError(
            f"adjust={formula!r} is a formula, which requires column names: X must be a data "
            f"frame, got {table.came_as}"
        )
    frame, beside = table.pandas, []
    for place in roles.others:
        if not table.has_labels(place):
            filled = _filled(table.numeric([place], allow_nan=True))
            if len(filled) > 1:
                frame = frame.assign(**{roles.names[place]: filled[0][:, 0]})
                beside.append(filled[1])
    groups = {roles.names[place]: table.column(place) for place in roles.encoded}
    source = Source(table.n_rows, frame=frame, groups=groups)
    design, columns, _ = Design.learn(source, [], parts)
    fixed = [place for place in design.fixed if place != CONSTANT]
    return np.hstack([columns[:, fixed], *beside])
