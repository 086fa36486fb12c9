"""The levels of all encoded columns: what is known of them, and the rows it is learned from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.design.records import stored
from skmixed.design.tables import Labels
from skmixed.estimators._encoder_columns import (
    Roles,
    RowEncodings,
    learn_labels,
    look_up,
)
from skmixed.estimators._encodings import Encodings, LevelModel
from skmixed.exceptions import UnidentifiedWarning, warn


@stored
@dataclass(frozen=True, slots=True, eq=False)
class KnownLevels:
    """What an encoder keeps of the rows it was fitted to."""

    roles: Roles
    labels: list[Labels]  # of every encoded column, without a missing one
    sizes: list[int]  # number of levels, a missing label counted if it is one
    members: list[tuple[int, ...]]  # which of the encoded columns each model has
    encodings: list[list[Encodings]]  # of every model and target

    @property
    def encoded_names(self) -> list[str]:
        """Names of the encoded columns."""
        return [self.roles.names[i] for i in self.roles.encoded]

    @property
    def categories(self) -> list[NDArray[np.generic]]:
        """Labels of every encoded column, (n_levels,); a missing one that is a level comes last."""
        return [
            labels.values
            if size == len(labels)
            else np.append(labels.values.astype(object), np.array([np.nan], dtype=object))
            for labels, size in zip(self.labels, self.sizes, strict=True)
        ]

    @property
    def effects(self) -> list[FloatArray]:
        """Effects of the levels of every encoded column, (n_levels, n_targets k), by target."""
        found = {}
        for members, of_targets in zip(self.members, self.encodings, strict=True):
            for number, column in enumerate(members):
                found[column] = np.hstack([known.effects[number] for known in of_targets])
        return [found[column] for column in sorted(found)]

    def codes(self, columns: Sequence[NDArray[np.generic]]) -> list[IntArray]:
        """Look up the labels of further rows, (n,) a column, negative where unknown."""
        return [
            look_up(labels, size, values)
            for labels, size, values in zip(self.labels, self.sizes, columns, strict=True)
        ]

    def of_rows(self, codes: Sequence[IntArray]) -> RowEncodings:
        """Return effects, standard deviations and counts of rows with these codes."""
        n_targets = len(self.encodings[0])
        found: RowEncodings = [[np.empty(0)] * len(codes) for _ in range(n_targets)]
        for members, of_targets in zip(self.members, self.encodings, strict=True):
            for target, encodings in enumerate(of_targets):
                parts = encodings.of_rows([codes[column] for column in members])
                for column, values in zip(members, parts, strict=True):
                    found[target][column] = values
        return found


@dataclass(frozen=True, slots=True, eq=False)
class TrainingLevels:
    """The rows an encoder is fitted to, and the models of them."""

    roles: Roles
    labels: list[Labels]  # of every encoded column, without a missing one
    sizes: list[int]  # number of levels, a missing label counted if it is one
    codes: list[IntArray]  # (n,) a column, negative where there is no level
    members: list[tuple[int, ...]]  # which of the encoded columns each model has
    models: list[list[LevelModel]]  # of every set of columns and target
    fits: list[list[Fit]]  # to all rows

    @classmethod
    def of(
        cls,
        roles: Roles,
        columns: Sequence[Any],  # of labels, (n,) each
        slopes: FloatArray,  # (n, n_slopes)
        targets: FloatArray,
        *,
        joint: bool,
        missing_is_level: bool,
        deviations: bool,
    ) -> TrainingLevels:
        """Learn the labels and fit a model of every set of columns and target to all rows.

        `targets` is (n, n_targets); one model has all encoded columns if `joint`; conditional
        standard deviations are computed only if `deviations`.
        """
        names = [roles.names[i] for i in roles.encoded]
        learned = [
            learn_labels(name, values, missing_is_level)
            for name, values in zip(names, columns, strict=True)
        ]
        labels, codes, sizes = (list(part) for part in zip(*learned, strict=True))
        members: list[tuple[int, ...]] = [(column,) for column in range(len(names))]
        if joint:
            members = _joint_members(codes, sizes)
        models = [
            LevelModel.of_targets(
                slopes,
                targets,
                [f"{column}" for column in columns],
                [codes[column] for column in columns],
                [sizes[column] for column in columns],
                deviations=deviations,
            )
            for columns in members
        ]
        fits = [[model.fit() for model in of_targets] for of_targets in models]
        return cls(roles, labels, sizes, codes, members, models, fits)

    def known(self) -> KnownLevels:
        """Return what all rows say of the levels."""
        encodings = [
            [model.encodings(fit) for model, fit in zip(models, fits, strict=True)]
            for models, fits in zip(self.models, self.fits, strict=True)
        ]
        return KnownLevels(self.roles, self.labels, self.sizes, self.members, encodings)

    def without_folds(self, known: KnownLevels, folds: Iterable[IntArray]) -> RowEncodings:
        """Return what of every row is known from the rows outside its fold.

        Every row must be in one fold.
        """
        found = known.of_rows(self.codes)
        for fold in folds:
            for columns, models in zip(self.members, self.models, strict=True):
                codes = [self.codes[column][fold] for column in columns]
                for target, model in enumerate(models):
                    parts = model.without(fold).of_rows(codes)
                    for column, values in zip(columns, parts, strict=True):
                        found[target][column][fold] = values
        return found

    def without_each_row(self, known: KnownLevels) -> RowEncodings:
        """Return what of every row is known from the other rows.

        The variances are those of all rows.
        """
        found = known.of_rows(self.codes)
        for columns, models, fits in zip(self.members, self.models, self.fits, strict=True):
            for of_target, model, fit in zip(found, models, fits, strict=True):
                model.leave_each_row_out(fit, [of_target[column] for column in columns])
        return found

    @property
    def covariances(self) -> list[FloatArray]:
        """Covariance of the effects of every encoded column, (n_targets, k, k)."""
        found = {}
        for columns, fits in zip(self.members, self.fits, strict=True):
            for number, column in enumerate(columns):
                found[column] = np.stack([fit.covariances[number] for fit in fits])
        return [found[column] for column in sorted(found)]

    @property
    def residual_variances(self) -> FloatArray:
        """Residual variances, (n_models, n_targets)."""
        return np.array([[fit.sigma2 for fit in fits] for fits in self.fits])

    def warn(self) -> None:
        """Warn where encodings are zero for want of information, or a search did not end.

        UnidentifiedWarning: a column has one level, or a level for every row. ConvergenceWarning:
        the criterion can still be lowered.
        """
        names = [self.roles.names[i] for i in self.roles.encoded]
        for columns, fits in zip(self.members, self.fits, strict=True):
            useless = [names[columns[f]] for f in fits[0].unidentified]
            if useless:
                warn(
                    f"the encodings of {useless} are zero: a column with one level, or a level for "
                    "every row, says nothing of the target beyond the rows it was learned from",
                    UnidentifiedWarning,
                )
            if not all(fit.report.converged for fit in fits):
                warn(
                    f"the search for the variances of {[names[c] for c in columns]} did not "
                    "converge",
                    ConvergenceWarning,
                )


def _joint_members(codes: Sequence[IntArray], sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Put columns into one model, but each that divides the rows as one before into its own.

    Nothing would say which of the two has the effects.
    """
    together: list[int] = []
    alone: list[tuple[int, ...]] = []
    for column, size in enumerate(sizes):
        twin = any(
            size == sizes[other] and _divide_alike(codes[other], codes[column], size)
            for other in together
        )
        if twin:
            alone.append((column,))
        else:
            together.append(column)
    return [tuple(together), *alone]


def _divide_alike(first: IntArray, second: IntArray, size: int) -> bool:
    """Tell whether two columns of as many levels divide the rows, (n,), in the same way."""
    partner = np.full(size + 1, -1, dtype=np.intp)  # the last place is that of no label
    partner[first] = second
    return np.array_equal(partner[first], second) and len(np.unique(partner[:-1])) == size
