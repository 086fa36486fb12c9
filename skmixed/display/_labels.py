"""Labels that fit: names of rows, of points, and of coefficients with their units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_LABELLED = 60

_LONGEST_LABEL = 24
_INCHES_A_LABEL = 0.12
_INCHES_A_LETTER = 0.14


def label_text(label: Any) -> str:
    """Write a level, or the levels that make it up, as text that is short enough for an axis."""
    text = ":".join(map(str, label)) if isinstance(label, tuple) else str(label)
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"


def name_rows(
    ax: Any, labels: Sequence[Any], what: str, places: Any = None, *, along: str = "y"
) -> bool:
    """Name the rows of a panel, if there is room for their names.

    Parameters
    ----------
    ax : Axes
        The panel.
    labels : sequence
        Names of the rows, from below.
    what : str
        What they are, for the axis.
    places : array-like or None
        Where the rows are; 0, 1, ... by default.
    along : {"y", "x"}, default="y"
        The axis they are on; names along the horizontal one are upright where they are many.

    Returns
    -------
    bool
        Whether they are named; otherwise the axis says how many there are.
    """
    places = np.arange(len(labels)) if places is None else np.asarray(places)
    box = ax.get_window_extent()
    room = (box.height if along == "y" else box.width) / ax.figure.dpi
    named = len(labels) <= max(room / _INCHES_A_LABEL, 1)
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
) -> list[Any]:
    """Write labels beside points, wherever there is room.

    Parameters
    ----------
    ax : Axes
        The panel.
    points : ndarray of shape (n, 2)
        The points.
    labels : sequence of length n
        Their labels.
    occupied : ndarray of shape (m, 2)
        Points that no label may cover.

    Returns
    -------
    list of Annotation
        The labels that were written.
    """
    ax.figure.draw_without_rendering()  # settles the limits and the size of the axes
    width, height = 4.8 * ax.figure.dpi / 72.0, 8.0 * ax.figure.dpi / 72.0  # of a letter
    x, y = ax.transData.transform(points).T
    taken_x, taken_y = ax.transData.transform(occupied).T
    radius = 0.05 * ax.figure.dpi
    sides = taken_x - radius, taken_x + radius, taken_y - radius, taken_y + radius
    taken = list(zip(*sides, strict=True))
    written = []
    for place in range(len(points)):
        text = label_text(labels[place])
        box = (
            x[place] + 1.1 * radius,
            x[place] + width * (1 + len(text)),
            y[place],
            y[place] + height,
        )
        if any(_overlap(box, other) for other in taken):
            continue
        taken.append(box)
        offset = {"xytext": (4.8, 0.0), "textcoords": "offset points", "fontsize": 8}
        written.append(ax.annotate(text, points[place], **offset))
    return written


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Tell whether two boxes (left, right, bottom, top) overlap."""
    apart_x = one[0] > other[1] or other[0] > one[1]
    return not (apart_x or one[2] > other[3] or other[2] > one[3])


def coefficient_unit(column: str, response: str) -> str:
    """Write a coefficient with its unit.

    Parameters
    ----------
    column : str
        The column it belongs to.
    response : str
        Name of the response.

    Returns
    -------
    str
        As "Days [Reaction per unit of Days]".
    """
    if column == "(Intercept)":
        return f"{column} [{response}]"
    return f"{column} [{response} per unit of {column}]"
