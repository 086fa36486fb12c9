"""Predictions for any part of a table by a model that is sent to where the rows are."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmixed.core.spec import ModelSpec
from skmixed.design.tables import column_names, select
from skmixed.exceptions import PartitionError


@dataclass(frozen=True, slots=True)
class _Specification:
    """What predictions need of a fit."""

    spec: ModelSpec


@dataclass(frozen=True, slots=True, eq=False)
class Predicting:
    """A fitted model without its cross-products.

    Parameters
    ----------
    model : MixedLinearRegressor
        Fitted.
    features : tuple of str
        Columns of X.
    groups : tuple of str
        Columns that are handed over as `groups`.
    random : {"all", "none"} or sequence of str
        Argument of `predict`.
    """

    model: Any
    features: tuple[str, ...]
    groups: tuple[str, ...]
    random: str | Sequence[str]

    @classmethod
    def by(cls, model: Any, names: Sequence[str], random: str | Sequence[str]) -> Predicting:
        """Choose the columns a model needs from those of a table.

        Parameters
        ----------
        model : MixedLinearRegressor
            Fitted to columns with names.
        names : sequence of str
            Columns of the table.
        random : {"all", "none"} or sequence of str
            Argument of `predict`.

        Returns
        -------
        Predicting
            Columns that are missing are found out by the model.
        """
        known = getattr(model, "feature_names_in_", None)
        if known is None:
            raise ValueError("the model was fitted to an array, whose columns have no names")
        slim = copy.copy(model)
        slim.__dict__.pop("_posterior", None)
        slim.fit_ = _Specification(model.fit_.spec)
        features = tuple(str(name) for name in known if name in names)
        groups = tuple(name for name in model._columns.from_argument if name in names)
        return cls(slim, features, groups, random)

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return list(dict.fromkeys([*self.features, *self.groups]))

    def __call__(self, chunk: Any, name: str | None = None) -> NDArray[np.float64]:
        """Predict for a part of the rows.

        Parameters
        ----------
        chunk : data frame
            The part.
        name : str, optional
            What it is called in errors.

        Returns
        -------
        ndarray of shape (n,)
            In units of y.
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
