"""A table of results that prints, shows in a notebook and turns into a data frame."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

_SMALLEST_P = 1e-4
_MANY = 1e5


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Table:
    """Results with a row for every coefficient, term, component or model.

    Parameters
    ----------
    title : str
        What it shows.
    frame : DataFrame
        The figures. Columns are called estimate, std_error, df, statistic, p_value, lower and
        upper where they are these.
    notes : tuple of str
        How the figures were computed, a line each.

    See Also
    --------
    coefficient_table : A function that returns one.

    Examples
    --------
    >>> import pandas as pd
    >>> from skmixed.inference import Table
    >>> print(Table("Lengths", pd.DataFrame({"estimate": [1.5]}, index=["x"]), ("In metres.",)))
    Lengths
      estimate
    x      1.5
    In metres.
    """

    title: str
    frame: pd.DataFrame
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Return the figures as a data frame of one's own.

        Returns
        -------
        DataFrame
            The figures.
        """
        return self.frame.copy()

    def __str__(self) -> str:
        """Return the table as text."""
        lines = [self.title, self._texts().to_string(), *self.notes]
        return "\n".join(line.rstrip() for text in lines for line in text.splitlines())

    def __repr__(self) -> str:
        """Return the table as text, for the prompt."""
        return str(self)

    def _repr_html_(self) -> str:
        notes = "<br>".join(map(html.escape, self.notes))
        return "\n".join(
            [
                f"<div><p>{html.escape(self.title)}</p>",
                self._texts().to_html(border=0),
                f"<p>{notes}</p></div>",
            ]
        )

    def _texts(self) -> pd.DataFrame:
        texts = {
            name: [_text(name, value) for value in self.frame[name]] for name in self.frame.columns
        }
        return pd.DataFrame(texts, index=self.frame.index, columns=self.frame.columns)


def _text(column: Any, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or np.isnan(value):
        return ""
    if str(column).startswith("p_") and value < _SMALLEST_P:
        return f"<{_SMALLEST_P:g}"
    if str(column).startswith("p_"):
        return f"{value:.4f}"
    if np.isinf(value) or float(value).is_integer():
        return f"{value:g}" if abs(value) < _MANY else f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= _MANY else f"{value:.5g}"
