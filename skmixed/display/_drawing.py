"""What all displays draw with: matplotlib, asked for late, panels, colours, tables and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Okabe, M. & Ito, K. (2008), Color universal design: told apart with any colour vision.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "#8C8C8C"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def pyplot(caller: str) -> Any:
    """Import matplotlib for a method that draws.

    Parameters
    ----------
    caller : str
        Name of the method.

    Returns
    -------
    module
        `matplotlib.pyplot`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError(
            f"{caller} requires matplotlib, which the extra `plot` brings: "
            "pip install 'scikit-mixed[plot]'"
        ) from error
    return matplotlib.pyplot


def style(artist: str, defaults: Mapping[str, Any], given: Any, name: str) -> dict[str, Any]:
    """Merge the settings of an artist with what the user asks for.

    Parameters
    ----------
    artist : {"line", "collection"}
        What kind of artist it is; aliases such as c and lw are its own.
    defaults : mapping
        Settings of the display.
    given : mapping or None
        Settings of the user.
    name : str
        What the user's argument is called.

    Returns
    -------
    dict
        Settings by full names.

    Raises
    ------
    TypeError
        If these are no settings.
    """
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"{name} is a {type(given).__name__}, not a dict of matplotlib's settings")
    kind = Line2D if artist == "line" else LineCollection
    user = normalize_kwargs(dict(given or {}), kind)
    if artist == "collection" and "colors" in user:
        user["color"] = user.pop("colors")
    return {**defaults, **user}


def panels(
    ax: Any, n_panels: int, n_columns: int, size: tuple[float, float], caller: str
) -> tuple[Any, NDArray[Any]]:
    """Return the figure and the axes to draw on.

    Parameters
    ----------
    ax : None, Axes or array of Axes
        What the user gave: nothing, one that is used, or divided where there are several panels,
        or one for every panel.
    n_panels : int
        Number of panels.
    n_columns : int
        Number of columns they are arranged in.
    size : tuple of float
        Width and height of a panel, in inches, where a figure is made.
    caller : str
        Name of the method.

    Returns
    -------
    figure : Figure
        The figure.
    axes : ndarray of Axes of shape (n_panels,)
        The panels, row by row.

    Raises
    ------
    ValueError
        If there are not as many axes as panels.
    TypeError
        If they are no axes.
    """
    plt = pyplot(caller)
    n_columns = min(n_columns, n_panels)
    n_rows = -(-n_panels // n_columns)
    if ax is None:
        figure, grid = plt.subplots(
            n_rows,
            n_columns,
            figsize=(size[0] * n_columns, size[1] * n_rows),
            squeeze=False,
            layout="constrained",
        )
        axes = grid.ravel()
        for spare in axes[n_panels:]:
            spare.set_axis_off()
        return figure, axes[:n_panels]
    given = np.ravel(np.asarray(ax, dtype=object))
    if not all(hasattr(each, "plot") and hasattr(each, "figure") for each in given):
        raise TypeError(f"ax is a {type(ax).__name__}, not matplotlib's Axes or an array of them")
    if len(given) == n_panels:
        return given[0].figure, given
    if len(given) == 1 and given[0].get_subplotspec() is not None:
        parts = given[0].get_subplotspec().subgridspec(n_rows, n_columns)
        given[0].set_axis_off()
        cells = [parts[i // n_columns, i % n_columns] for i in range(n_panels)]
        return given[0].figure, np.array([given[0].figure.add_subplot(cell) for cell in cells])
    raise ValueError(f"panels: {n_panels}, axes given: {len(given)}; give an axes for each panel")


def need_columns(frame: Any, columns: Sequence[str], name: str) -> pd.DataFrame:
    """Check the table that a display is made of.

    Parameters
    ----------
    frame : DataFrame
        The table.
    columns : sequence of str
        Columns that it must have.
    name : str
        What it is called.

    Returns
    -------
    DataFrame
        A copy.

    Raises
    ------
    TypeError
        If it is none.
    ValueError
        If columns are missing, or there are no rows.
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"{name} is a {type(frame).__name__}, not a pandas DataFrame")
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"{name} lacks the columns {missing}; it has {list(frame.columns)}")
    if not len(frame):
        raise ValueError(f"{name} has no rows")
    return frame.copy()


def choose(name: str, given: Any, known: Sequence[str]) -> list[str]:
    """Return the names that are asked for.

    Parameters
    ----------
    name : str
        What the argument is called.
    given : None, str or list of str
        What the user gave; None is all.
    known : sequence of str
        The names there are.

    Returns
    -------
    list of str
        Those given, in their order.

    Raises
    ------
    ValueError
        If one is not there.
    """
    if given is None:
        return list(known)
    wanted = [given] if isinstance(given, str) else list(given)
    unknown = [each for each in wanted if each not in known]
    if unknown or not wanted:
        raise ValueError(f"{name}={given!r} is not among {list(known)}")
    return wanted
