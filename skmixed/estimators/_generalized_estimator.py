"""What the estimators of generalized linear mixed models have in common."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skmixed.core.linalg import FloatArray
from skmixed.core.rows.prediction_errors import effect_variances
from skmixed.estimators._estimator import UnknownLevels
from skmixed.estimators._generalized_state import GeneralizedAttributes, GeneralizedState
from skmixed.estimators._mixed_estimator import MixedEstimator
from skmixed.estimators._reading import InputTable
from skmixed.estimators._training_data import read_exposure

Averaging = Literal["integrate", "plug-in"]


class BaseGeneralized(GeneralizedAttributes, MixedEstimator[GeneralizedState]):
    """What a generalized linear mixed model does once it is fitted."""

    averaging: Averaging
    handle_unknown: UnknownLevels

    _state_type: ClassVar[type[GeneralizedState]] = GeneralizedState

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **MixedEstimator._parameter_constraints,
        "quadrature": [Interval(Integral, 1, None, closed="left")],
        "averaging": [StrOptions({"integrate", "plug-in"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def _predictors(
        self, fitted: GeneralizedState, X: Any, groups: Any, random: str | Sequence[str]
    ) -> tuple[FloatArray, FloatArray | None]:
        """Return what is known of eta of rows: its mean, (n,), and its variance, (n,).

        The variance is that of the random effects, given the data of known levels, and of their
        distribution for others; None where it is not to be averaged over.
        """
        averages = self.averaging == "integrate" and bool(fitted.fit.spec.terms)
        table = InputTable.of(X)
        _, rows = fitted.predictor.read(self, table, groups, random, all_columns=averages)
        center = rows.means(self.handle_unknown)
        exposure = read_exposure(table, fitted.columns.exposure)
        if exposure is not None:
            center += np.log(exposure)
        if not averages:
            return center, None
        variance = effect_variances(fitted.fit.working, rows.rows_of_wanted)
        return center, np.maximum(variance, 0.0)
