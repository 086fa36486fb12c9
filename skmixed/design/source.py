"""Rows as they come, before a design is learned from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.design.grammar.expressions import NamedColumns
from skmixed.design.tables import ConvertedColumns

NumericColumns = NDArray[np.float64] | Sequence[NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Source:
    """Rows as they come: what a design is learned from, and replayed on."""

    n_rows: int
    names: tuple[str, ...] = ()  # of the columns of `numeric`
    # All columns but the grouping columns, or None where formulas pick the columns.
    numeric: NumericColumns | None = None  # (n_rows, len(names)), or one by one (n_rows,) each
    frame: Any = None  # data frame of any library on which formulas are evaluated, or None
    groups: Mapping[str, Any] = field(default_factory=dict)  # grouping columns, (n_rows,) each
    residual: Mapping[str, Any] = field(default_factory=dict)  # of its structure, (n_rows,) each

    @cached_property
    def table(self) -> NamedColumns:
        """The data frame as formulas see it.

        Raises ValueError where there is none: a formula picks columns by name.
        """
        if self.frame is None:
            raise ValueError("a formula picks columns by name: X must be a data frame")
        return self.frame if isinstance(self.frame, pd.DataFrame) else ConvertedColumns(self.frame)
