"""What grouped models say about weights and labels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmixed.design.source import Source
from skmixed.estimators._inputs import Columns
from skmixed.estimators._new_data import warn_about_kinds
from skmixed.estimators.grouped._shares import BLUP, Scheme
from skmixed.estimators.grouped._tree import Tree
from skmixed.exceptions import UnknownLevelWarning


def warn_about_weights(weights: NDArray[np.float64] | None, scheme: Scheme) -> None:
    """Warn about weights (n,) that are no frequencies, where variances depend on their scale."""
    if weights is None or scheme.name != BLUP or np.array_equal(weights, np.round(weights)):
        return
    warnings.warn(
        "sample weights that are not whole numbers are taken as frequencies, and what groups keep "
        "of their own depends on their scale",
        UserWarning,
        stacklevel=4,
    )


def warn_about_labels(
    tree: Tree,
    labels: Mapping[str, Any] | None,
    codes: tuple[NDArray[np.intp], ...],
    columns: Columns,
) -> None:
    """Warn where groups were not given, or no label is known because it changed its kind.

    The rows are then predicted as of unknown groups. `codes`, (n,) each, go by level from the root.
    """
    if labels is None:
        warnings.warn(
            f"no labels of {list(columns.from_argument)} are given to a model that was fitted with "
            "them, so its groups are left out. Pass groups=...",
            UnknownLevelWarning,
            stacklevel=5,
        )
        return
    if len(codes[1]) and (codes[1] < 0).all():
        source = Source(len(codes[1]), groups=labels)
        warn_about_kinds(tree.grouping, tree.names[:1], source)
