"""Rows as they come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.design.tables import to_pandas


@dataclass(frozen=True, eq=False)
class Source:
    """Rows as they come: what a design is learned from, and replayed on.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    names : tuple of str
        Names of the columns of `numeric`.
    numeric : ndarray of shape (n_rows, len(names)) or None
        The columns that are no grouping columns; None where formulas pick the columns.
    frame : data frame or None
        The table formulas are evaluated on.
    groups : mapping of str to Series or array of shape (n_rows,)
        The grouping columns.
    """

    n_rows: int
    names: tuple[str, ...] = ()
    numeric: NDArray[np.float64] | None = None
    frame: Any = None
    groups: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def pandas(self) -> pd.DataFrame:
        """The table as one of pandas."""
        if self.frame is None:
            raise ValueError("a formula picks columns by name: X must be a data frame")
        return to_pandas(self.frame)
