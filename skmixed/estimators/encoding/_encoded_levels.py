"""Levels of all encoded columns: their estimates, and the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.design.records import stored
from skmixed.design.tables import UNKNOWN, Labels
from skmixed.estimators.encoding._encoder_columns import (
    Roles,
    RowEncodings,
    learn_labels,
    look_up,
)
from skmixed.estimators.encoding._encoder_target import Target
from skmixed.estimators.encoding._encodings import (
    EncodingModel,
    Encodings,
    LabelledRows,
    LevelModel,
)
from skmixed.estimators.encoding._link_encodings import LinkFit, LinkLevelModel
from skmixed.estimators.encoding._other_columns import OtherColumns
from skmixed.estimators.reading._input_table import pick_rows
from skmixed.estimators.reading._training_data import warn_about_kinds
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
    others: OtherColumns  # the columns that are not encoded

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
        """Look up the labels of further rows, (n,) a column, negative where unknown.

        Warns where no label is known because they differ in kind.
        """
        found = []
        for name, labels, size, values in zip(
            self.encoded_names, self.labels, self.sizes, columns, strict=True
        ):
            codes = look_up(labels, size, values)
            if len(codes) and (codes == UNKNOWN).all():
                warn_about_kinds({name: labels}, [name], {name: values})
            found.append(codes)
        return found

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
    others: OtherColumns
    labels: list[Labels]  # of every encoded column, without a missing one
    sizes: list[int]  # number of levels, a missing label counted if it is one
    codes: list[IntArray]  # (n,) a column, negative where there is no level
    members: list[tuple[int, ...]]  # which of the encoded columns each model has
    n_varying: int  # k, the constant and the slopes
    models: list[list[EncodingModel]]  # of every set of columns and target
    fits: list[list[Any]]  # to all rows; None where a target is constant, and linear ones not
    n_weighed: float | None  # sum of the weights; None without

    @classmethod
    def of(
        cls,
        roles: Roles,
        others: OtherColumns,
        columns: Sequence[Any],  # of labels, (n,) each
        fixed: tuple[FloatArray, FloatArray],  # slopes and adjusting columns, (n, s) and (n, p)
        target: Target,
        weights: FloatArray | None,  # (n,)
        *,
        joint: bool,
        missing_is_level: bool,
        deviations: bool,
    ) -> TrainingLevels:
        """Learn the labels and fit a model of every set of columns and target to all rows.

        Conditional standard deviations are computed only if `deviations`. Labels of rows without
        weight alone are not known.
        """
        names = [roles.names[i] for i in roles.encoded]
        learned = [
            _weighted_labels(name, values, weights, missing_is_level)
            for name, values in zip(names, columns, strict=True)
        ]
        labels, codes, sizes = (list(part) for part in zip(*learned, strict=True))
        members: list[tuple[int, ...]] = [(column,) for column in range(len(names))]
        if joint:
            members = _joint_members(codes, sizes)
        models: list[list[EncodingModel]] = []
        for chosen in members:
            labelled = LabelledRows(
                *fixed,
                weights,
                [f"{column}" for column in chosen],
                [codes[column] for column in chosen],
                [sizes[column] for column in chosen],
            )
            models.append(
                [
                    LevelModel.of(labelled, values, deviations=deviations)
                    if target.family is None
                    else LinkLevelModel.of(labelled, values, target.family, deviations=deviations)
                    for values in target.values.T
                ]
            )
        fits = [[model.fit() for model in of_targets] for of_targets in models]
        k = 1 + fixed[0].shape[1]
        n_weighed = None if weights is None else float(weights.sum())
        return cls(roles, others, labels, sizes, codes, members, k, models, fits, n_weighed)

    def known(self) -> KnownLevels:
        """Return what all rows say of the levels."""
        encodings = [
            [model.encodings(fit) for model, fit in zip(models, fits, strict=True)]
            for models, fits in zip(self.models, self.fits, strict=True)
        ]
        return KnownLevels(
            self.roles, self.labels, self.sizes, self.members, encodings, self.others
        )

    def without_folds(self, known: KnownLevels, folds: Sequence[IntArray]) -> RowEncodings:
        """Return what of every row is known from the rows outside its fold.

        Every row must be in one fold.
        """
        found = known.of_rows(self.codes)
        for columns, models, fits in zip(self.members, self.models, self.fits, strict=True):
            codes = [[self.codes[column][fold] for column in columns] for fold in folds]
            for of_target, model, fit in zip(found, models, fits, strict=True):
                others = model.without_each(folds, fit)
                for fold, own, encodings in zip(folds, codes, others, strict=True):
                    for column, values in zip(columns, encodings.of_rows(own), strict=True):
                        of_target[column][fold] = values
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
        none = np.zeros((self.n_varying, self.n_varying))
        for columns, fits in zip(self.members, self.fits, strict=True):
            for number, column in enumerate(columns):
                found[column] = np.stack(
                    [none if fit is None else fit.covariances[number] for fit in fits]
                )
        return [found[column] for column in sorted(found)]

    @property
    def residual_variances(self) -> FloatArray:
        """Residual variances, (n_models, n_targets); NaN for classes and counts."""
        sigma2 = [[np.nan if fit is None else fit.sigma2 for fit in fits] for fits in self.fits]
        return np.array(sigma2)

    def warn(self) -> None:
        """Warn where encodings are zero for want of information, or a search did not end.

        UserWarning: weights are shares. UnidentifiedWarning: a column has one level, or a level for
        every row, or the columns it is adjusted for leave nothing. ConvergenceWarning: the
        criterion can still be lowered.
        """
        names = [self.roles.names[i] for i in self.roles.encoded]
        light = [name for name, size in zip(names, self.sizes, strict=True) if self._is_light(size)]
        if light:
            warn(
                f"the sample weights sum to {self.n_weighed:.3g} rows, fewer than {light} have "
                "labels, and encodings are shrunk accordingly: a row of weight w counts as w "
                "rows. Multiply relative weights by the number of rows",
                UserWarning,
            )
        zipped_models = zip(self.members, self.models, self.fits, strict=True)
        for columns, models, of_targets in zipped_models:
            fits = [fit for fit in of_targets if fit is not None]
            unidentified = {columns[f] for f in fits[0].unidentified} if fits else set()
            unidentified |= {column for column in columns if self.sizes[column] == 1}
            useless = [names[c] for c in sorted(unidentified) if names[c] not in light]
            if useless:
                warn(
                    f"the encodings of {useless} are zero: a column with a single level, or a "
                    "level per row, carries no information beyond its training rows",
                    UnidentifiedWarning,
                )
            zipped = zip(models, of_targets, strict=True)
            reasons = [model.explained_by_others(fit) for model, fit in zipped]
            if any(reasons):
                some = "" if all(reasons) else f" for {sum(map(bool, reasons))} of the classes"
                warn(
                    f"the encodings of {[names[c] for c in columns]} are zero{some}: "
                    f"{max(reasons)}: name fewer columns in `adjust`, or set adjust=False",
                    UnidentifiedWarning,
                )
            if not all(_has_ended(fit) for fit in fits):
                warn(
                    f"the search for the variances of {[names[c] for c in columns]} did not "
                    "converge",
                    ConvergenceWarning,
                )

    def _is_light(self, n_levels: int) -> bool:
        """Tell whether weights add up to less than a row a level."""
        return self.n_weighed is not None and self.n_weighed < n_levels


def _has_ended(fit: Fit | LinkFit) -> bool:
    """Tell whether a search found what there is to find."""
    return fit.has_ended if isinstance(fit, LinkFit) else fit.report.converged


def _weighted_labels(
    name: str,
    values: Any,  # (n,)
    weights: FloatArray | None,
    missing_is_level: bool,
) -> tuple[Labels, IntArray, int]:
    """Learn the levels of one column from its rows with a weight, as `learn_labels`."""
    if weights is None or weights.all():
        return learn_labels(name, values, missing_is_level)
    kept = pick_rows(values, np.flatnonzero(weights))
    labels, _, size = learn_labels(name, kept, missing_is_level)
    return labels, look_up(labels, size, values), size


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
