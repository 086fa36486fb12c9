"""Predictions of a fitted linear mixed model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.rows.prediction_errors import mean_variances
from skmixed.core.sums.groups import GroupIndex
from skmixed.core.sums.layout import Rows
from skmixed.design.source import Source
from skmixed.design.tables import UNKNOWN
from skmixed.estimators._new_data import warn_about_kinds


@dataclass(frozen=True, slots=True, eq=False)
class PredictionRows:
    """Rows ready to be predicted."""

    columns: FloatArray  # (n, n_columns - 1), of the layout but for the response
    codes: tuple[IntArray, ...]  # (n,) a factor; `UNKNOWN` where the level is not known
    indexes: tuple[GroupIndex, ...]  # the known levels
    offset: FloatArray | None  # (n,), added to every prediction
    wanted: tuple[bool, ...]  # which of the used factors are part of the prediction

    @classmethod
    def read(cls, model: Any, source: Source, wanted: set[str]) -> PredictionRows:
        """Make the columns and look up the levels; the factors named in `wanted` are predicted.

        Warns where no level of one of these is known because labels differ in kind.
        """
        design, spec = model.design_, model.fit_.spec
        columns = design.columns(source)
        grouping = design.grouping
        indexes = tuple(factor.index for factor in grouping.factors)
        chosen = tuple(indexes[factor].name in wanted for factor in spec.used_factors)
        codes: tuple[IntArray, ...] = tuple(
            np.full(source.n_rows, UNKNOWN, dtype=np.intp) for _ in indexes
        )
        if any(chosen):
            codes = grouping.codes(source.groups, source.n_rows)
        for factor, keep in zip(spec.used_factors, chosen, strict=True):
            if keep and source.n_rows and (codes[factor] == UNKNOWN).all():
                warn_about_kinds(grouping, indexes[factor].key, source)
        return cls(columns, codes, indexes, design.offset(source), chosen)

    @property
    def rows(self) -> Rows:
        """The same as rows of the layout, zeros standing for the response."""
        response = np.zeros(len(self.columns))
        return Rows(np.column_stack([self.columns, response]), self.codes, self.indexes, None)

    def fixed_part(self, model: Any) -> FloatArray:
        """Return X beta and the offset, (n,), in units of y."""
        # BLAS would round by the number of rows, and a row must not depend on the others.
        fixed = self.columns[:, list(model.design_.fixed)]
        prediction: FloatArray = np.einsum("ij,j->i", fixed, model._beta)
        if self.offset is not None:
            prediction += self.offset
        return prediction

    def means(self, model: Any) -> FloatArray:
        """Return X beta + Z b of the wanted factors, (n,), in units of y.

        `handle_unknown` of the model decides about rows of unknown levels.
        """
        spec, prediction = model.fit_.spec, self.fixed_part(model)
        zipped = zip(spec.used_factors, model._effects, self.wanted, strict=True)
        for factor, effects, keep in zipped:
            if not keep:
                continue
            level = self.codes[factor]
            unknown = level == UNKNOWN
            if unknown.any():
                name = self.indexes[factor].name
                _handle_unknown(model.handle_unknown, name, unknown, prediction)
            for column, effect in zip(spec.factor_columns(factor), effects.T, strict=True):
                prediction += np.where(unknown, 0.0, effect[level]) * self.columns[:, column]
        return prediction

    def deviations(self, model: Any) -> FloatArray:
        """Return the standard errors of `means`, (n,), in units of y."""
        return np.sqrt(mean_variances(model._posterior, self.rows, self.wanted))


def _handle_unknown(
    handle_unknown: str, factor: str, unknown: NDArray[np.bool_], prediction: FloatArray
) -> None:
    """Raise ValueError for unknown rows, or write NaN over their predictions, or do neither."""
    if handle_unknown == "error":
        rows = np.flatnonzero(unknown)
        raise ValueError(
            f"{len(rows)} rows have levels of {factor!r} that were not seen in fit, or "
            f"missing ones, the first in row {rows[0]}; handle_unknown='population' predicts "
            "them without that factor's effect"
        )
    if handle_unknown == "nan":
        prediction[unknown] = np.nan
