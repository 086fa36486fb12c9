"""The models of many groups at a glance, each in the layout of arm::display."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np
import pandas as pd

from skmixed.inference.summary import as_text, rounded


@dataclass(frozen=True, slots=True, eq=False)
class GroupModel:
    """The model of one group."""

    title: str  # which group
    coefficients: pd.DataFrame  # (k, 2), estimate and standard error of every coefficient
    notes: tuple[str, ...]  # sizes and deviances, a line each


@dataclass(frozen=True, slots=True, eq=False)
class GroupSummary:
    """What grouped models say; prints as text, shows as HTML in a notebook."""

    title: str
    models: tuple[GroupModel, ...]  # of the groups shown
    notes: tuple[str, ...]  # about all groups, a line each
    digits: int = 2  # decimals of estimates and standard errors

    def __str__(self) -> str:
        """Return the summary as text."""
        parts = [self.title]
        for model in self.models:
            table = as_text(self._texts(model))
            parts += ["", model.title, table, "---", *(f"  {note}" for note in model.notes)]
        return "\n".join([*parts, "", *self.notes])

    __repr__ = __str__

    def _texts(self, model: GroupModel) -> pd.DataFrame:
        texts = rounded(model.coefficients, self.digits)
        return texts.mask(model.coefficients.isna(), "-")

    def _repr_html_(self) -> str:
        parts = [f"<p><code>{html.escape(self.title)}</code></p>"]
        for model in self.models:
            parts.append(f"<p>{html.escape(model.title)}</p>")
            parts.append(self._texts(model).to_html(border=0))
            parts.append("<p>" + "<br>".join(map(html.escape, model.notes)) + "</p>")
        parts.append("<p>" + "<br>".join(map(html.escape, self.notes)) + "</p>")
        return "<div>" + "\n".join(parts) + "</div>"


def deviance_notes(
    n: float, k: int, deviance: float, null_deviance: float, sd: float, digits: int
) -> tuple[str, ...]:
    """Write the lines below the coefficients of a linear model, as arm::display does.

    `n` is the number of rows and `k` that of coefficients. The deviances are residual sums of
    squares, of the model and of the mean alone. `sd` is NaN where no row is left for it; it has
    `digits` decimals.
    """
    lines = [
        f"n = {n:.15g}, k = {k}",
        f"residual deviance = {deviance:.1f}, null deviance = {null_deviance:.1f} "
        f"(difference = {null_deviance - deviance:.1f})",
    ]
    if np.isfinite(sd):
        lines += [
            f"overdispersion parameter = {sd**2:.1f}",
            f"residual sd is sqrt(overdispersion) = {sd:.{digits}f}",
        ]
    return tuple(lines)
