"""Rows with their responses, as a fitted mixed model reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.linalg import FloatArray
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.sums.layout import Rows
from skmixed.design.source import Source
from skmixed.design.tables import UNKNOWN
from skmixed.estimators.reading._input_table import InputTable, refuse_unknown
from skmixed.estimators.reading._numbers import read_known_classes, read_weights, read_y
from skmixed.estimators.reading._prediction_rows import PredictionRows
from skmixed.estimators.reading._training_data import read_exposure


@dataclass(frozen=True, slots=True, eq=False)
class ObservedRows:
    """Rows with their responses, training data or others."""

    y: FloatArray  # (n,), 0 and 1 of a classifier
    weights: FloatArray | None  # (n,), positive
    predicted: PredictionRows  # all factors wanted
    exposure: FloatArray | None  # (n,)
    classes: NDArray[Any] | None  # (2,), of a classifier
    residual: ResidualRows | None  # of a residual structure
    given: InputTable  # X
    source: Source  # the same with its groups, as predictions read it

    @classmethod
    def of(cls, model: Any, X: Any, y: Any, sample_weight: Any, groups: Any) -> ObservedRows:
        """Validate the arguments of a function that compares responses with a fitted model.

        Raises ValueError for rows of weight zero, and for labels that are none of the classes.
        """
        fitted, table = model._state(), InputTable.of(X)
        design = fitted.design.residual
        names = () if design is None else design.parts.columns
        source, rows = fitted.predictor.read(
            model, table, groups, "all", all_columns=True, residual=names
        )
        residual = None if design is None else design.drawn_rows(source.residual, source.n_rows)
        classes = getattr(fitted, "classes", None)
        weights = read_weights(sample_weight, table.n_rows)
        if weights is not None and not weights.all():
            raise ValueError(
                f"row {int(np.argmin(weights))} has weight 0, so that nothing was observed "
                "there: leave such rows out of X and y"
            )
        if classes is None:
            response = read_y(y, table.n_rows)
        else:
            response = read_known_classes(y, table.n_rows, classes)
        exposure = read_exposure(table, fitted.columns.exposure)
        return cls(response, weights, rows, exposure, classes, residual, table, source)

    @property
    def table(self) -> pd.DataFrame:
        """The columns of X by name."""
        return self.given.pandas

    def fixed_part(self) -> FloatArray:
        """Return the linear predictor without random effects, offsets in it, (n,)."""
        return self._exposed(self.predicted.fixed_part())

    def coefficient_part(self) -> FloatArray:
        """Return the same without curves, whose effects are random ones to the likelihood."""
        return self._exposed(self.predicted.coefficient_part())

    def predictor(self, handle_unknown: str) -> FloatArray:
        """Return the linear predictor at the modes of the random effects, (n,)."""
        return self._exposed(self.predicted.means(handle_unknown))

    def random_variance(self, covariances: list[FloatArray], *, known_too: bool) -> FloatArray:
        """Return the variance of z'b, (n,), of levels that are not known, or of all levels.

        `covariances` are those of the used factors, (k, k); curves of all rows have no variance.
        """
        spec, columns = self.predicted.by.spec, self.predicted.columns
        variance = np.zeros(len(columns))
        whole = self.predicted.is_whole
        for factor, covariance, is_whole in zip(spec.used_factors, covariances, whole, strict=True):
            if is_whole:
                continue
            z = columns[:, list(spec.factor_columns(factor))]
            if not known_too:
                z = z * (self.predicted.codes[factor] == UNKNOWN)[:, None]
            variance += ((z @ covariance) * z).sum(axis=1)
        return variance

    def rows_at_known_levels(self) -> Rows:
        """Return the rows of the layout; raises ValueError if some level is not that of the fit."""
        rows = self.predicted.rows
        for factor in self.predicted.by.spec.used_factors:
            name = rows.indexes[factor].name
            remedy = "pass the training data, or other rows of its levels"
            refuse_unknown(rows.codes[factor], f"levels of {name!r}", remedy)
        columns = rows.columns.copy()
        columns[:, -1] = self.y
        return Rows(columns, rows.codes, rows.indexes, self.weights)

    def coded(self, responses: NDArray[Any]) -> FloatArray:
        """Return responses as `simulate` draws them, of any shape, as `y` is."""
        if self.classes is None:
            return responses
        return (responses == self.classes[1]).astype(np.float64)

    def _exposed(self, predictor: FloatArray) -> FloatArray:
        return predictor if self.exposure is None else predictor + np.log(self.exposure)
