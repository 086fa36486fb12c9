"""Exceptions and warnings of the package."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import MutableMapping
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

__all__ = [
    "ApproximationWarning",
    "ExtrapolationWarning",
    "FormulaSyntaxError",
    "LostPrecisionWarning",
    "PartitionError",
    "SamplingWarning",
    "StoredVersionWarning",
    "UnidentifiedWarning",
    "UnknownLevelWarning",
]


class FormulaSyntaxError(ValueError):
    """Error of a formula that cannot be parsed; its message marks the position.

    Parameters
    ----------
    expected : str
        What is wrong at the position, or what was expected there.
    text : str
        Formula, on one line.
    position : int
        Position in `text`, counted from 0.
    """

    def __init__(self, expected: str, text: str, position: int) -> None:
        super().__init__(expected, text, position)
        self.expected = expected
        self.text = text
        self.position = position

    def __str__(self) -> str:
        """Return the reason, the formula, and a caret beneath the place."""
        line = re.sub(r"\s", " ", self.text)
        return f"{self.expected}\n    {line}\n    {' ' * self.position}^"


class ApproximationWarning(UserWarning):
    """The Laplace approximation of a generalized model is too coarse for its data.

    More quadrature nodes, ``quadrature=9``, remove it (:doc:`guide </guide/generalized>`).
    """


class ExtrapolationWarning(UserWarning):
    """Predictions extrapolate a curve beyond the range of its training data."""


class SamplingWarning(UserWarning):
    """Posterior draws, or summaries of them, are unreliable."""


class UnidentifiedWarning(UserWarning):
    """A parameter that the data do not identify was set by convention."""


class UnknownLevelWarning(UserWarning):
    """Predictions leave out random effects because no group labels were given."""


class LostPrecisionWarning(UserWarning):
    """Estimates have few accurate digits, as the residual variance is relatively tiny."""


class StoredVersionWarning(UserWarning):
    """A pickled or stored model was made by another version of this package."""


class PartitionError(ValueError):
    """Error of a part of distributed data that cannot be read or summed; it names the part."""


def shown(value: Any) -> str:
    """Return how an error shows a value: a column or table by its kind, anything else as it is."""
    shape = getattr(value, "shape", ())
    return f"a {type(value).__name__} of shape {tuple(shape)}" if shape else repr(value)


# Packages whose frames may lie between the user's code and a warning.
_BETWEEN = frozenset(
    {"skmixed", "sklearn", "joblib", "dask", "distributed", "tlz", "toolz", "cytoolz", "pyspark"}
    | {"concurrent", "contextlib", "copy", "functools", "multiprocessing", "runpy", "skops"}
    | {"threading"}
)
# Modules that start worker processes, below which no user code runs.
_STARTERS = ("multiprocessing.spawn", "joblib.externals.loky.backend")
# Warnings given while a joblib Parallel runs, which every fold would repeat.
_said: MutableMapping[Any, set[tuple[type[Warning], str]]] = WeakKeyDictionary()
_in_workers: dict[str, dict[Any, int]] = {}  # warnings given there already, by method


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line of the user's that led here: the first outside of what may stand between.

    Threads and processes that were started for a task have none. There the public method that was
    called is named in the place of the file, ``<MixedLinearRegressor.fit>``. What the fits of one
    cross-validation or search say alike, but for numbers, is said once.
    """
    method, parallel = "", None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = _module_of(frame)
        if module.startswith(_STARTERS):
            break
        if module == "joblib.parallel" and hasattr(frame.f_locals.get("self"), "n_jobs"):
            parallel = frame.f_locals["self"]
        if module.partition(".")[0] not in _BETWEEN:
            said = set() if parallel is None else _said.setdefault(parallel, set())
            kind = category, re.sub(r"[\d.]+", "", message)
            if kind in said:
                return
            scope, file = frame.f_globals, frame.f_code.co_filename
            registry = scope.setdefault("__warningregistry__", {})
            module = scope.get("__name__", "")
            warnings.warn_explicit(message, category, file, frame.f_lineno, module, registry)
            said.add(kind)  # not reached if it is an error, as every fold must raise it
            return
        found = _method_of(frame)
        if "." in found or "." not in method:
            method = found or method
        frame = frame.f_back
    registry = _in_workers.setdefault(method, {})
    warnings.warn_explicit(message, category, f"<{method or 'skmixed'}>", 1, "skmixed", registry)


def _module_of(frame: FrameType) -> str:
    """Return the name of the module of a frame, also where Python runs it by ``-m``."""
    spec = frame.f_globals.get("__spec__")
    return getattr(spec, "name", None) or frame.f_globals.get("__name__", "")


def _method_of(frame: FrameType) -> str:
    """Return class and public method of the estimator that a frame of ours works for, if any."""
    owner, name = frame.f_locals.get("self"), frame.f_code.co_name
    if owner is None or not _module_of(frame).startswith("skmixed."):
        return ""
    inner = getattr(owner, "estimator", None), getattr(owner, "model", None)
    for estimator in (owner, *inner, frame.f_locals.get("model")):
        if hasattr(estimator, "get_params"):
            name = getattr(owner, "stands_for", name)
            return type(estimator).__name__ + ("" if name.startswith("_") else f".{name}")
    return ""
