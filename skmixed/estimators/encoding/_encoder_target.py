"""The target of an encoder as numbers, and the family of its models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import type_of_target

from skmixed.core.families.binomial import Logit
from skmixed.core.families.family import Family
from skmixed.core.families.poisson import Poisson
from skmixed.core.linalg import FloatArray
from skmixed.estimators.reading._numbers import check_lengths, read_y
from skmixed.exceptions import warn

_KINDS = ("continuous", "binary", "multiclass", "count")
_MOST_CLASSES = 20  # that numbers are taken for: ratings have fewer values, counts and prices more


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A target as numbers."""

    kind: str  # one of `_KINDS`
    classes: NDArray[Any] | None  # (n_classes,), sorted; None for numbers
    # numbers, or indicators: of the second of two classes, of every class of more
    values: FloatArray  # (n, n_targets)

    @classmethod
    def read(cls, y: Any, kind: str, n_rows: int, weights: FloatArray | None) -> Target:
        """Validate y, (n,), as finite numbers, counts or classes.

        `kind` may also be "auto", for what scikit-learn's `type_of_target` says, but numbers of
        many values, which it takes for classes, are numbers. Classes are those of rows with a
        weight, (n,).
        """
        if np.asarray(y).dtype.kind == "f":
            assert_all_finite(y, input_name="y")
        found = _found_kind(y) if kind == "auto" else kind
        if found not in _KINDS:
            raise ValueError(
                f"Unknown label type: y is {found!r}, but the target must be 'continuous', "
                "'binary', 'multiclass' or 'count': pass a single column of numbers or classes, "
                "or set target_type"
            )
        if found in ("continuous", "count"):
            values = read_y(y, n_rows)
            if found == "count":
                Poisson().check(values, weights)
            return cls(found, None, values[:, None])
        labels = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        check_lengths(n_rows, labels)
        classes = np.unique(labels if weights is None else labels[weights > 0.0])
        if found == "binary" and len(classes) > 2:
            raise ValueError(f"target_type='binary', but y has {len(classes)} classes")
        chosen = classes[-1:] if found == "binary" else classes
        indicators = (labels[:, None] == chosen).astype(np.float64)
        return cls(found, classes, indicators)

    @property
    def family(self) -> Family | None:
        """The family of the models; None for the linear one."""
        if self.kind == "continuous":
            return None
        return Poisson() if self.kind == "count" else Logit()


def _found_kind(y: Any) -> str:
    """Return what a target is taken for, and warn where numbers may be meant otherwise.

    Raises scikit-learn's ValueError for what is none.
    """
    found = str(type_of_target(y, input_name="y"))
    values = np.asarray(y)
    if found != "multiclass" or values.dtype.kind not in "iuf":
        return found
    n_values = len(np.unique(values))
    if n_values <= _MOST_CLASSES:
        if values.dtype.kind == "f":
            warn(
                f"y has {n_values} distinct whole numbers of type {values.dtype}, which are "
                "treated as classes: set target_type='continuous' if they are measurements, "
                "'count' if they are counts, or 'multiclass' to confirm",
                UserWarning,
            )
        return found
    warn(
        f"y has {n_values} distinct whole numbers, which are treated as continuous: set "
        "target_type='multiclass' if they are classes, 'count' if they are counts, or "
        "'continuous' to confirm",
        UserWarning,
    )
    return "continuous"
