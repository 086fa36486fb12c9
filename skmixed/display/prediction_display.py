"""Predictions of groups over a feature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from skmixed.display._drawing import (
    BLACK,
    GREY,
    MARKERS,
    PALETTE,
    add_legend,
    label_text,
    name_rows,
    need_columns,
    panels,
    require_matplotlib,
    style,
)
from skmixed.display._prediction_grid import PredictionGrid
from skmixed.inference.fitted import snapshot

_COLUMNS = ["group", "value", "prediction", "lower", "upper", "role"]
_BARS_WIDTH = 0.5  # of the distance between categories, over which the bars of groups lie
_DASHES = ("-", ":", "-.")  # of groups in colour, each as often as there are colours
_MOST_HELD = 4  # values in the title: more do not fit on its line
_MOST_DISTINCT = 50  # grey lines that can be followed: more are drawn fainter
_PLAIN_NUMBERS = 1e5  # below it three digits say enough; above, .3g turns to powers of ten


class PredictionDisplay:
    """Predictions over a feature, a line a group, with intervals.

    All other features are held at a value. A few groups are drawn in colour with their intervals,
    others thin and grey, and what a new group is predicted dashed.

    Parameters
    ----------
    predictions : DataFrame
        A row for every group and value of the feature: group, value, prediction, lower, upper (NaN
        where there is no interval) and role, one of "shown", "background" and "new".
    feature : str, default="feature"
        Name of the feature.
    factor : str, default="group"
        What the groups are called.
    response : str, default="y"
        Name of the response, the unit of the axis.
    held : dict of str to object, default=None
        Values at which other features are held.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The picture.
    axes_ : ndarray of Axes
        The same, as the only entry.
    figure_ : matplotlib Figure
        The figure.
    lines_ : dict of object to Line2D
        Lines of the groups in colour.
    intervals_ : dict of object to PolyCollection or LineCollection
        Their intervals: bands, or bars where the feature has categories.
    background_ : LineCollection or None
        Lines of other groups.
    new_ : Line2D or None
        The line of a new group.

    See Also
    --------
    skmixed.MixedLinearRegressor.predict_interval : The figures.
    sklearn.inspection.PartialDependenceDisplay : Averages over the rows, without groups.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.display import PredictionDisplay
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> display = PredictionDisplay.from_estimator(model, X, "Days", levels=["308", "335"])
    >>> sorted(display.lines_)
    ['308', '335']
    """

    def __init__(
        self,
        predictions: pd.DataFrame,
        *,
        feature: str = "feature",
        factor: str = "group",
        response: str = "y",
        held: Mapping[str, Any] | None = None,
    ) -> None:
        self.predictions = need_columns(predictions, _COLUMNS, "predictions")
        self.feature, self.factor, self.response = feature, factor, response
        self.held = dict(held or {})

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        feature: str | int,
        *,
        groups: Any = None,
        factor: str | list[str] | None = None,
        levels: list[Any] | None = None,
        at: Mapping[str, Any] | None = None,
        interval: str | None = "auto",
        level: float = 0.95,
        new: bool = True,
        grid_resolution: int = 50,
        ax: Any = None,
        line_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
        background_kwargs: dict[str, Any] | None = None,
        new_kwargs: dict[str, Any] | None = None,
    ) -> PredictionDisplay:
        """Draw the predictions of a fitted model over a feature.

        Parameters
        ----------
        estimator : estimator
            Fitted. `MixedLinearRegressor`, `MixedGeneralizedRegressor`, `MixedClassifier`,
            `MixedEffectsRegressor` and `GroupedModels` know their groups; of any other regressor,
            as a pipeline, `factor` names the columns. A classifier of two classes is shown by the
            probability of the second.
        X : array-like or data frame of shape (n, n_features)
            Rows that tell which values are usual, as those of the fit.
        feature : str or int
            The feature, by name or position: numbers, or labels of categories.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of the rows, if they were given as `groups` to `fit`.
        factor : str, list of str or None, default=None
            The grouping factor, or its columns; None is the one with most levels.
        levels : list or None, default=None
            The groups in colour, as labels, or tuples of them for a factor of several columns. None
            is all up to 6 groups; of more, 5 from the lowest to the highest prediction, and up to
            200 grey ones.
        at : mapping of str to object, default=None
            Values at which other features are held, or labels of other grouping columns. Otherwise
            these are the median of numbers, the most frequent of other values, and a new group.
        interval : {"auto", "mean", "observation"} or None, default="auto"
            Whether intervals are for the mean of a group at these values, or for an observation.
            "auto" is "mean" for models that have `predict_interval`, and None for others.
        level : float, default=0.95
            Probability of the intervals.
        new : bool, default=True
            Whether to draw what a group that is not known is predicted, if the model answers such.
        grid_resolution : int, default=50
            Number of values of a feature of numbers, between its extremes.
        ax : Axes, default=None
            Where to draw; None makes a figure.
        line_kwargs : dict, default=None
            Settings of lines in colour, for matplotlib's ``plot``.
        interval_kwargs : dict, default=None
            Settings of intervals, for its ``fill_between`` or ``vlines``.
        background_kwargs : dict, default=None
            Settings of grey lines, for its ``LineCollection``.
        new_kwargs : dict, default=None
            Settings of the line of a new group, for its ``plot``.

        Returns
        -------
        PredictionDisplay
            The predictions and what was drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            For an estimator without `predict`.
        ValueError
            For unknown names or levels, and for intervals of a model without any.

        Notes
        -----
        An interval is that of `predict_interval`; of a classifier it is that of the probability.
        Where another factor is held at a new group, it includes how much the levels of that factor
        differ. No interval is drawn of the line of a new group; rows of an unknown level in
        `predict_interval` tell it.
        """
        require_matplotlib("PredictionDisplay.from_estimator")
        estimator = snapshot(estimator)
        grid = PredictionGrid.of(estimator, X, feature, groups, factor, at, grid_resolution)
        kind = grid.interval_kind(interval, level)
        return cls(
            grid.predictions(levels, kind, level, new=new),
            feature=grid.feature,
            factor=grid.factor,
            response=grid.response,
            held=grid.held_in_model,
        ).plot(
            ax,
            line_kwargs=line_kwargs,
            interval_kwargs=interval_kwargs,
            background_kwargs=background_kwargs,
            new_kwargs=new_kwargs,
        )

    def plot(
        self,
        ax: Any = None,
        *,
        line_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
        background_kwargs: dict[str, Any] | None = None,
        new_kwargs: dict[str, Any] | None = None,
    ) -> PredictionDisplay:
        """Draw the predictions.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw; None makes a figure.
        line_kwargs : dict, default=None
            Settings of lines in colour, for matplotlib's ``plot``.
        interval_kwargs : dict, default=None
            Settings of intervals, for its ``fill_between`` or ``vlines``.
        background_kwargs : dict, default=None
            Settings of grey lines, for its ``LineCollection``.
        new_kwargs : dict, default=None
            Settings of the line of a new group, for its ``plot``.

        Returns
        -------
        PredictionDisplay
            This display, with what was drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        require_matplotlib("PredictionDisplay.plot")
        self.figure_, self.axes_ = panels(ax, 1, 1, (7.2, 4.4))
        self.ax_ = self.axes_[0]
        values, place = self.predictions["value"], None
        if not pd.api.types.is_numeric_dtype(values):
            categories = list(dict.fromkeys(values))
            place = {category: number for number, category in enumerate(categories)}
            name_rows(self.ax_, categories, self.feature, along="x")
        else:
            self.ax_.set_xlabel(self.feature)
        parts = {
            role: dict(list(part.groupby("group", sort=False)))
            for role, part in self.predictions.groupby("role")
        }
        self.background_ = self._background(parts.get("background", {}), place, background_kwargs)
        self._shown(parts.get("shown", {}), place, line_kwargs, interval_kwargs)
        self.new_ = None
        for part in parts.get("new", {}).values():
            look = {"color": BLACK, "linestyle": "--", "linewidth": 1.4, "label": "new group"}
            settings = style("line", look, new_kwargs, "new_kwargs")
            (self.new_,) = self.ax_.plot(_places(part, place), part["prediction"], **settings)
        self._name_axes()
        self._name_lines(len(parts.get("background", {})), ax)
        return self

    def _background(self, parts: dict[Any, pd.DataFrame], place: Any, given: Any) -> Any:
        """Draw the thin grey lines, and return them."""
        if not parts:
            return None
        from matplotlib.collections import LineCollection

        segments = [
            np.column_stack([_places(part, place), part["prediction"]]) for part in parts.values()
        ]
        look = {"color": GREY, "linewidth": 0.6, "zorder": 0}
        look["alpha"] = 0.5 if len(segments) <= _MOST_DISTINCT else 0.3
        settings = style("collection", look, given, "background_kwargs")
        lines = self.ax_.add_collection(LineCollection(segments, **settings))
        self.ax_.autoscale_view()
        return lines

    def _shown(self, parts: dict[Any, pd.DataFrame], place: Any, lines: Any, bands: Any) -> None:
        """Draw lines in colour with their intervals."""
        self.lines_, self.intervals_ = {}, {}
        for number, (group, part) in enumerate(parts.items()):
            turn, place_of_colour = divmod(number, len(PALETTE) - 1)  # black is for a new group
            colour, dashes = PALETTE[place_of_colour], _DASHES[turn % len(_DASHES)]
            where = _places(part, place)
            look = {"color": colour, "linewidth": 1.8, "label": label_text(group)}
            look["linestyle"] = dashes
            if place is not None:  # beside each other, as bars would hide each other
                where = where + _BARS_WIDTH * ((number + 0.5) / len(parts) - 0.5)
                look |= {
                    "linestyle": ":",
                    "linewidth": 1.0,
                    "marker": MARKERS[number % len(MARKERS)],
                }
            settings = style("line", look, lines, "line_kwargs")
            (self.lines_[group],) = self.ax_.plot(where, part["prediction"], **settings)
            low, high = part["lower"].to_numpy(float), part["upper"].to_numpy(float)
            if np.isnan(low).all():
                continue
            look = {"color": colour, "alpha": 0.18, "linewidth": 0.0}
            if place is not None:
                look |= {"alpha": 1.0, "linewidth": 1.4}
            settings = style("collection", look, bands, "interval_kwargs")
            draw = self.ax_.fill_between if place is None else self.ax_.vlines
            self.intervals_[group] = draw(where, low, high, **settings)

    def _name_axes(self) -> None:
        """Name what is predicted, and what is held."""
        self.ax_.set_ylabel(f"prediction [{self.response}]")
        held = [f"{name} = {_value_text(value)}" for name, value in self.held.items()]
        if held:
            text = ", ".join(held[:_MOST_HELD]) + (", …" if len(held) > _MOST_HELD else "")
            self.ax_.set_title(f"at {text}", fontsize="small")

    def _name_lines(self, n_others: int, ax: Any) -> None:
        """Draw the legend: beside the picture, or within axes that were given."""
        handles = [*self.lines_.values(), *([] if self.new_ is None else [self.new_])]
        if not handles or not any(label != () for label in self.lines_):
            return
        title = self.factor + (f"\n{n_others:,} more in grey" if n_others else "")
        settings: dict[str, Any] = {"handles": handles, "title": title, "fontsize": "small"}
        settings |= {"title_fontsize": "small", "framealpha": 0.8}
        add_legend(self.ax_, ax, {"loc": "outside right upper"}, **settings)


def _value_text(value: Any) -> str:
    """Write a value at which a feature is held."""
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return f"{value:.3g}" if abs(float(value)) < _PLAIN_NUMBERS else f"{value:,.0f}"
    return label_text(value)


def _places(part: pd.DataFrame, place: Mapping[Any, int] | None) -> np.ndarray:
    """Return where the values lie on the horizontal axis."""
    if place is None:
        return part["value"].to_numpy(float)
    return np.array([float(place[value]) for value in part["value"]])
