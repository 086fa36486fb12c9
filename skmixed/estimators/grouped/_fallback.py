"""Groups that have no estimate of their own, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.estimators.grouped._tree import Tree

_FAILURES_SHOWN = 5  # groups that an error names: enough to recognise a common cause


@dataclass(slots=True)
class Failures:
    """Groups without an estimate of their own, with the reasons."""

    tree: Tree
    reasons: dict[tuple[int, int], str] = field(default_factory=dict)  # by level and group

    def usable(self) -> list[NDArray[np.bool_]]:
        """Return which groups have an estimate of their own, (n_groups,) by level from the root."""
        masks = [np.ones(size, dtype=bool) for size in self.tree.hierarchy.sizes]
        for level, group in self.reasons:
            masks[level][group] = False
        return masks

    def add_small(self, needed: float, what: str) -> None:
        """Note the groups with fewer than `needed` rows, the least that `what` can do with."""
        texts: dict[float, str] = {}
        for level in range(1, self.tree.depth + 1):
            counts = self.tree.counts[level]
            for group in np.flatnonzero(counts < needed).tolist():
                n = float(counts[group])
                text = texts.setdefault(n, f"{n:.15g} rows are too few for {what}")
                self.reasons.setdefault((level, group), text)

    def table(self) -> pd.DataFrame:
        """Tabulate the groups, whose estimate stands in for theirs, and why.

        The columns are "group" and "used", tuples of labels with ``()`` for all rows, and "reason".
        """
        usable = self.usable()
        keys = {level: self.tree.keys(level) for level in range(self.tree.depth + 1)}
        rows: list[tuple[Any, Any, str]] = []
        for (level, group), reason in sorted(self.reasons.items()):
            chain = self.tree.hierarchy.ancestors(level)
            at = next(at for at in range(level, -1, -1) if usable[at][chain[at][group]])
            rows.append((keys[level][group], keys[at][int(chain[at][group])], reason))
        return pd.DataFrame(rows, columns=["group", "used", "reason"])

    def refuse(self) -> None:
        """Raise a ValueError that names the first of the groups, if there are any."""
        if not self.reasons:
            return
        table = self.table()
        shown = "; ".join(
            f"{group}: {reason}"
            for group, reason in zip(
                table["group"].head(_FAILURES_SHOWN),
                table["reason"].head(_FAILURES_SHOWN),
                strict=True,
            )
        )
        more = "" if len(table) <= _FAILURES_SHOWN else f"; ... ({len(table)} in all)"
        raise ValueError(
            f"groups without an estimate of their own: {shown}{more}. fallback='parent' gives them "
            "the estimate of the next larger group"
        )


def refuse_unknown(tree: Tree, codes: Sequence[NDArray[np.intp]]) -> None:
    """Raise a ValueError if rows are of groups that were not there in fit.

    `codes`, (n,) each, go by level from the root. The error counts the rows and names the first.
    """
    unknown = np.flatnonzero(codes[-1] < 0)
    if len(unknown):
        raise ValueError(
            f"{len(unknown)} rows have labels of {list(tree.names)} that were not seen in fit, or "
            f"missing ones, the first in row {unknown[0]}; fallback='parent' predicts them by the "
            "next larger group"
        )
