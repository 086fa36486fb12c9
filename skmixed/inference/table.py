"""Results that print, show in a notebook and convert to a data frame."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

_SMALLEST_P = 1e-4  # shown with four decimals; smaller ones as "<0.0001"
_WRITTEN_OUT = 1e5  # from here on five digits would need an exponent
_MOST_ROWS = 60  # of a table shown in full, about a screen, as in pandas
_ROWS_OF_LONG = 20  # shown of a longer one, half from either end


class TabularResult(ABC):
    """A result that is shown as a table."""

    __slots__ = ()

    @abstractmethod
    def _table(self) -> Table:
        """Return the table to show."""

    def to_frame(self) -> pd.DataFrame:
        """Return the figures as a data frame, a copy.

        Returns
        -------
        DataFrame
            The figures.
        """
        return self._table().frame.copy()

    def __getitem__(self, column: Any) -> Any:
        """Return a column by name, or several by a list of names, as a data frame would."""
        frame = self.to_frame()
        try:
            return frame[column]
        except KeyError:
            raise KeyError(
                f"{column!r} is not a column of this table, which has {list(frame.columns)}; for "
                "rows use to_frame().loc"
            ) from None

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the names of the columns, as a data frame does."""
        return iter(self.to_frame().columns)

    def __contains__(self, column: Any) -> bool:
        """Tell whether there is a column of this name."""
        return column in self.to_frame().columns

    def __str__(self) -> str:
        """Return the figures as text."""
        return _as_text(self._table())

    def __repr__(self) -> str:
        """Return the figures as text, for the prompt."""
        return str(self)

    def _repr_html_(self) -> str:
        return _as_html(self._table())


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Table(TabularResult):
    """A table of results, with a row for each coefficient, term, component or model.

    Printing it rounds the figures; a notebook shows it as HTML.

    Parameters
    ----------
    title : str
        Title line.
    frame : DataFrame
        The figures. Columns estimate, std_error, df, statistic, p_value, lower and upper have the
        same names in all tables.
    notes : tuple of str
        Notes on how the figures were computed, one per line.

    See Also
    --------
    coefficient_table : A function that returns a table.

    Notes
    -----
    ``table["estimate"]`` is a column, and ``table.to_frame()`` a data frame of all figures,
    unrounded.

    Examples
    --------
    >>> import pandas as pd
    >>> from skmixed.inference import Table
    >>> table = Table("Lengths", pd.DataFrame({"estimate": [1.5]}, index=["x"]), ("In metres.",))
    >>> print(table)
    Lengths
      estimate
    x      1.5
    In metres.
    >>> table["estimate"]
    x    1.5
    Name: estimate, dtype: float64
    """

    title: str
    frame: pd.DataFrame
    notes: tuple[str, ...] = ()

    def _table(self) -> Table:
        return self


def _as_text(table: Table) -> str:
    """Return a table as text; the middle of a long one is omitted."""
    table = _as_shown(table)
    texts = table.frame.to_string(formatters=_formatters(table, " "), **_extent(table))
    lines = [table.title, texts, *_notes(table)]
    return "\n".join(line.rstrip() for text in lines for line in text.splitlines())


def _as_html(table: Table) -> str:
    """Return a table as HTML; the middle of a long one is omitted."""
    table = _as_shown(table)
    texts = table.frame.to_html(border=0, formatters=_formatters(table), **_extent(table))
    notes = "<br>".join(map(html.escape, _notes(table)))
    return f"<div><p>{html.escape(table.title)}</p>\n{texts}\n<p>{notes}</p></div>"


def _as_shown(table: Table) -> Table:
    """Omit degrees of freedom that are all infinite, and boundary p-values that are all NaN.

    The notes say that such tests are Wald tests.
    """
    frame = table.frame
    bare = [name for name in ("df",) if name in frame and np.isinf(frame[name]).all()]
    bare += [name for name in ("p_boundary",) if name in frame and frame[name].isna().all()]
    return replace(table, frame=frame.drop(columns=bare)) if bare and len(frame) else table


def _extent(table: Table) -> dict[str, Any]:
    shown = _ROWS_OF_LONG if len(table.frame) > _MOST_ROWS else None
    return {"max_rows": shown, "show_dimensions": False, "na_rep": ""}


def _notes(table: Table) -> list[str]:
    n_rows = len(table.frame)
    more = [f"{n_rows} rows; use to_frame() for all."] if n_rows > _MOST_ROWS else []
    return [*more, *table.notes]


def _formatters(table: Table, space: str = "") -> dict[Any, Callable[[Any], str]]:
    return {name: partial(_text, name, space=space) for name in table.frame.columns}


def _text(column: Any, value: Any, space: str) -> str:
    return space + _bare_text(str(column), value)


def p_text(value: float) -> str:
    """Write a p-value with four decimals, a small one as "<0.0001"."""
    return f"<{_SMALLEST_P:g}" if value < _SMALLEST_P else f"{value:.4f}"


def _bare_text(column: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or np.isnan(value):
        return ""
    if column.startswith("p_"):
        return p_text(value)
    if np.isinf(value) or float(value).is_integer():
        return f"{value:g}" if abs(value) < _WRITTEN_OUT else f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= _WRITTEN_OUT else f"{value:.5g}"
