"""Predictions for any part of a table by a model that is sent to where the rows are."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmixed.core.model.spec import ModelSpec
from skmixed.design.tables import column_names, select
from skmixed.exceptions import PartitionError


@dataclass(frozen=True, slots=True)
class _SlimFit:
    """What predictions need of a fit."""

    spec: ModelSpec


@dataclass(frozen=True, slots=True, eq=False)
class PartPredictor:
    """A fitted model without its cross-products, and the columns it reads."""

    model: Any  # MixedLinearRegressor
    features: tuple[str, ...]  # columns of X
    groups: tuple[str, ...]  # columns handed over as `groups`
    random: str | Sequence[str]  # argument of `predict`: "all", "none" or names of factors

    @classmethod
    def of(cls, model: Any, names: Sequence[str], random: str | Sequence[str]) -> PartPredictor:
        """Choose the columns that a fitted model needs from those of a table.

        The model itself finds out which are missing. Raises ValueError if it was fitted to an
        array.
        """
        known = getattr(model, "feature_names_in_", None)
        if known is None:
            raise ValueError("the model was fitted to an array, whose columns have no names")
        slim = copy.copy(model)
        slim.__dict__.pop("_posterior", None)
        slim.fit_ = _SlimFit(model.fit_.spec)
        features = tuple(str(name) for name in known if name in names)
        groups = tuple(name for name in model._columns.from_argument if name in names)
        return cls(slim, features, groups, random)

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return list(dict.fromkeys([*self.features, *self.groups]))

    def __call__(self, chunk: Any, name: str | None = None) -> NDArray[np.float64]:
        """Predict for a part of the rows, (n,), in units of y.

        Raises PartitionError if the rows are invalid; `name` says which part it is.
        """
        if not len(chunk):
            return np.empty(0)
        place = {column: i for i, column in enumerate(column_names(chunk))}
        X = select(chunk, [place[column] for column in self.features])
        groups = select(chunk, [place[column] for column in self.groups]) if self.groups else None
        try:
            prediction: NDArray[np.float64] = self.model.predict(X, groups, random=self.random)
        except (ValueError, TypeError) as error:
            raise PartitionError(f"{name}: {error}" if name else str(error)) from error
        return prediction
