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
    """Warn about weights that are no frequencies, where variances depend on their scale.

    Parameters
    ----------
    weights : ndarray of shape (n,) or None
        Positive weights.
    scheme : Scheme
        How groups are pooled.

    Warns
    -----
    UserWarning
        If they are not whole numbers.
    """
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

    Parameters
    ----------
    tree : Tree
        The groups of the fit.
    labels : mapping of str to Series or ndarray, or None
        What was given.
    codes : tuple of ndarray of int of shape (n,)
        The groups of the rows, by level from the root.
    columns : Columns
        What each column of X is.

    Warns
    -----
    UnknownLevelWarning
        If the predictions are those for unknown groups.
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
