"""Drawing shared by all displays: panels, colours, styles, legends, labels and checks.

matplotlib is imported inside the functions, so that importing the displays does not need it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed._extras import missing
from skmixed.design.formula import INTERCEPT

# Okabe, M. & Ito, K. (2008), Color universal design: safe for colour-blind readers.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "#8C8C8C"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHED: Mapping[str, Any] = {"color": BLACK, "linestyle": "--", "linewidth": 0.8}
DOTS: Mapping[str, Any] = {"linestyle": "none", "marker": "o"}

MOST_LABELLED = 60  # rows for which a panel grows to label each: more do not fit on a page
_LONGEST_LABEL = 24  # letters: a longer label leaves too little of the panel
_INCHES_A_LABEL = 0.12  # height of a line of matplotlib's small type, 8.3 points
_INCHES_A_LETTER = 0.14  # twice the width of a letter of small type: room between labels in a row
_NOTE_SIZE = 8.0  # points: labels beside points are a little smaller than those of the axes
_NOTE_LETTER = 4.8  # points: mean width of a letter of that size, 0.6 of it
_POINT_RADIUS = 0.05  # inches about a point that labels leave free: the marker and its edge


def require_matplotlib(caller: str) -> None:
    """Raise an ImportError that says how to install matplotlib, if it is missing."""
    try:
        importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise missing("matplotlib", "plot", caller) from error


def style(artist: str, defaults: Mapping[str, Any], given: Any, name: str) -> dict[str, Any]:
    """Return the settings of a "line" or "collection" by full names, overridden by the user's.

    Aliases such as c and lw are those of the artist.
    """
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    kind = Line2D if artist == "line" else LineCollection
    user = normalize_kwargs(given_settings(given, name), kind)
    if artist == "collection" and "colors" in user:
        user["color"] = user.pop("colors")
    return {**defaults, **user}


def given_settings(given: Any, name: str) -> dict[str, Any]:
    """Return the settings of a user; raise TypeError if they are not a dict."""
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"{name} is a {type(given).__name__}, not a dict of matplotlib's settings")
    return dict(given or {})


def panels(
    ax: Any, n_panels: int, n_columns: int, size: tuple[float, float]
) -> tuple[Any, NDArray[Any]]:
    """Return the figure and the axes to draw on, (n_panels,), row by row.

    `ax` is None for a new figure, with panels of `size` inches; a single axes, divided if there are
    several panels; or an axes for each panel. Raises ValueError for another number of axes and
    TypeError for anything else.
    """
    import matplotlib.pyplot as plt

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
        raise TypeError(f"ax is a {type(ax).__name__}, not matplotlib Axes or an array of them")
    if len(given) == n_panels:
        return given[0].figure, given
    if len(given) == 1 and given[0].get_subplotspec() is not None:
        parts = given[0].get_subplotspec().subgridspec(n_rows, n_columns)
        given[0].set_axis_off()
        cells = [parts[i // n_columns, i % n_columns] for i in range(n_panels)]
        return given[0].figure, np.array([given[0].figure.add_subplot(cell) for cell in cells])
    raise ValueError(f"there are {n_panels} panels, but {len(given)} axes: pass one for each panel")


def add_legend(axes: Any, given: Any, outside: Mapping[str, Any], **settings: Any) -> None:
    """Draw a legend: within axes given by the user, otherwise where `outside` says."""
    if given is None:
        axes.figure.legend(**outside, **settings)
    else:
        axes.legend(**settings)


def need_columns(frame: Any, columns: Sequence[str], name: str) -> pd.DataFrame:
    """Return a copy of the table behind a display.

    Raises TypeError if it is not a DataFrame, and ValueError if it lacks columns or rows.
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
    """Return the names that an argument asks for, in its order; None asks for all.

    Raises ValueError for unknown names and an empty list.
    """
    if given is None:
        return list(known)
    wanted = [given] if isinstance(given, str) else list(given)
    unknown = [each for each in wanted if each not in known]
    if unknown or not wanted:
        raise ValueError(f"{name}={given!r} is not among {list(known)}")
    return wanted


def label_text(label: Any) -> str:
    """Write a level, or a tuple of levels, as text short enough for an axis."""
    text = ":".join(map(str, label)) if isinstance(label, tuple) else str(label)
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"


def unit_of(column: str, response: str) -> str:
    """Write the unit of a coefficient, as "[Reaction per unit of Days]"."""
    return f"[{response}]" if column == INTERCEPT else f"[{response} per unit of {column}]"


def name_rows(
    ax: Any, labels: Sequence[Any], what: str, places: Any = None, *, along: str = "y"
) -> bool:
    """Label the rows of a panel if the labels fit, and return whether they do.

    Rows are counted from the bottom, at 0, 1, ... unless `places` says where; along "x" many labels
    are vertical. If they do not fit, the axis label gives the number of rows.
    """
    places = np.arange(len(labels)) if places is None else np.asarray(places)
    box = ax.get_window_extent()
    room = (box.height if along == "y" else box.width) / ax.figure.dpi
    named = len(labels) <= max(room / _INCHES_A_LABEL, 1)
    # Room for a marker beside a row, or one percent of many rows.
    margin = 0.7 if len(labels) <= MOST_LABELLED else 0.01 * len(labels)
    limits = {f"{along}lim": (places.min() - margin, places.max() + margin)}
    title = what if named else f"{what}, {len(labels):,} in order"
    ax.set(**limits, **{f"{along}label": title})
    if named:
        texts = [label_text(label) for label in labels]
        ticks = ax.set_yticks if along == "y" else ax.set_xticks
        upright = along == "x" and sum(map(len, texts)) * _INCHES_A_LETTER > room
        ticks(places, texts, fontsize="small", rotation=90 if upright else 0)
    elif along == "x":
        ax.set_xticks([])
    return named


def label_points(
    ax: Any, points: NDArray[Any], labels: Sequence[Any], occupied: NDArray[Any]
) -> None:
    """Label points (n, 2) wherever labels overlap neither each other nor `occupied`.

    `occupied` are points, (m, 2). Boxes are estimated from the number of letters.
    """
    ax.figure.draw_without_rendering()  # settles the limits and the size of the axes
    dots_a_point = ax.figure.dpi / 72.0
    width, height = _NOTE_LETTER * dots_a_point, _NOTE_SIZE * dots_a_point
    x, y = ax.transData.transform(points).T
    taken_x, taken_y = ax.transData.transform(occupied).T
    radius = _POINT_RADIUS * ax.figure.dpi
    sides = taken_x - radius, taken_x + radius, taken_y - radius, taken_y + radius
    taken = list(zip(*sides, strict=True))
    for place in range(len(points)):
        text = label_text(labels[place])
        box = (
            x[place] + 1.1 * radius,  # clear of the label's own point
            x[place] + width * (1 + len(text)),
            y[place],
            y[place] + height,
        )
        if any(_overlap(box, other) for other in taken):
            continue
        taken.append(box)
        offset = {"xytext": (_NOTE_LETTER, 0.0), "textcoords": "offset points"}
        ax.annotate(text, points[place], fontsize=_NOTE_SIZE, **offset)


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Tell whether two boxes (left, right, bottom, top) overlap."""
    apart_x = one[0] > other[1] or other[0] > one[1]
    return not (apart_x or one[2] > other[3] or other[2] > one[3])
