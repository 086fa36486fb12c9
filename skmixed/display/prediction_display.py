"""Plot of predictions by group over a feature."""

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
_BARS_WIDTH = 0.5  # of the distance between categories: how far apart the bars are drawn
_DASHES = ("-", ":", "-.")  # of highlighted groups, each as often as there are colours
_MOST_HELD = 4  # values in the title: more do not fit on its line
_MOST_DISTINCT = 50  # grey lines that can be told apart: more are drawn fainter
_PLAIN_NUMBERS = 1e5  # below, three digits are enough; above, .3g would use an exponent


class PredictionDisplay:
    """Predictions over a feature, one line per group, with intervals.

    All other features are held constant. A few groups are highlighted and have intervals; other
    groups are thin grey lines, and the prediction for a new group is dashed.

    Read more in the user guide: :doc:`/guide/prediction`.

    Parameters
    ----------
    predictions : DataFrame
        A row for each group and value of the feature: group, value, prediction, lower, upper (NaN
        without an interval) and role: "shown", "background" or "new".
    feature : str, default="feature"
        Name of the feature.
    factor : str, default="group"
        Name of the grouping factor.
    response : str, default="y"
        Name of the response, for the axis label.
    held : dict of str to object, default=None
        Values at which other features are held.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    axes_ : ndarray of Axes
        Array with these axes as its only entry.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    lines_ : dict of object to Line2D
        Lines of the highlighted groups, by group.
    intervals_ : dict of object to PolyCollection or LineCollection
        Their intervals: bands, or bars for a categorical feature.
    background_ : LineCollection or None
        Lines of the other groups.
    new_ : Line2D or None
        Line of a new group.

    See Also
    --------
    skmixed.MixedLinearRegressor.predict_interval : The figures.
    explore : An interactive page of the same, with controls for all features.
    sklearn.inspection.PartialDependenceDisplay : Averages over rows, without groups.

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
        """Plot the predictions of a fitted model over a feature.

        Parameters
        ----------
        estimator : estimator
            A fitted estimator. `MixedLinearRegressor`, `MixedGeneralizedRegressor`,
            `MixedClassifier`, `MixedEffectsRegressor` and `GroupedModels` know their groups; for
            any other regressor, such as a pipeline, set `factor` to the grouping columns. A binary
            classifier is shown by the probability of its second class.
        X : array-like or data frame of shape (n, n_features)
            Rows that define the range of the features and the typical values, such as the training
            data.
        feature : str or int
            The feature, by name or position; numeric or categorical.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Group labels of the rows, if they were passed to ``fit`` as `groups`.
        factor : str, list of str or None, default=None
            The grouping factor, or its columns; None takes the one with the most levels.
        levels : list or None, default=None
            Labels of the groups to highlight, tuples for a factor of several columns. None
            highlights all of up to 6 groups; of more, 5 from the lowest to the highest prediction,
            with up to 200 others in grey.
        at : mapping of str to object, default=None
            Values at which other features are held, and labels of other grouping columns. Others
            are held at the median if numeric, at the most frequent value otherwise, and at a new
            group.
        interval : {"auto", "mean", "observation"} or None, default="auto"
            Whether to draw confidence intervals for the mean, or prediction intervals for a new
            observation. "auto" means "mean" for models with a method ``predict_interval``, None for
            others.
        level : float, default=0.95
            Confidence level of the intervals, between 0 and 1.
        new : bool, default=True
            Whether to draw the prediction for a new group, if the model makes one.
        grid_resolution : int, default=50
            Number of equally spaced values of a numeric feature.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        line_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the lines of highlighted groups.
        interval_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``fill_between`` or ``vlines``, for the intervals.
        background_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``LineCollection``, for the lines of other groups.
        new_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the line of a new group.

        Returns
        -------
        PredictionDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            For an estimator without ``predict``.
        ValueError
            For unknown names or levels, and for intervals of a model that has none.

        Notes
        -----
        Intervals are those of ``predict_interval``; for a classifier, of the probability. If
        another factor is held at a new group, they include the variance between its levels. The
        line of a new group has no interval; pass rows with an unknown level to ``predict_interval``
        for one.
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
        """Plot the predictions.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        line_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the lines of highlighted groups.
        interval_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``fill_between`` or ``vlines``, for the intervals.
        background_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``LineCollection``, for the lines of other groups.
        new_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the line of a new group.

        Returns
        -------
        PredictionDisplay
            The display, with its data and artists as attributes.

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
        """Draw the lines of highlighted groups with their intervals."""
        self.lines_, self.intervals_ = {}, {}
        for number, (group, part) in enumerate(parts.items()):
            turn, place_of_colour = divmod(number, len(PALETTE) - 1)  # black is for a new group
            colour, dashes = PALETTE[place_of_colour], _DASHES[turn % len(_DASHES)]
            where = _places(part, place)
            look = {"color": colour, "linewidth": 1.8, "label": label_text(group)}
            look["linestyle"] = dashes
            if place is not None:  # side by side, as bars would hide each other
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
        """Label the axes, and give the values held constant in the title."""
        self.ax_.set_ylabel(f"prediction [{self.response}]")
        held = [f"{name} = {_value_text(value)}" for name, value in self.held.items()]
        if held:
            text = ", ".join(held[:_MOST_HELD]) + (", …" if len(held) > _MOST_HELD else "")
            self.ax_.set_title(f"at {text}", fontsize="small")

    def _name_lines(self, n_others: int, ax: Any) -> None:
        """Draw the legend: beside the plot, or within axes that were given."""
        handles = [*self.lines_.values(), *([] if self.new_ is None else [self.new_])]
        if not handles or not any(label != () for label in self.lines_):
            return
        title = self.factor + (f"\n{n_others:,} more in grey" if n_others else "")
        settings: dict[str, Any] = {"handles": handles, "title": title, "fontsize": "small"}
        settings |= {"title_fontsize": "small", "framealpha": 0.8}
        add_legend(self.ax_, ax, {"loc": "outside right upper"}, **settings)


def _value_text(value: Any) -> str:
    """Write a value at which a feature is held constant."""
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return f"{value:.3g}" if abs(float(value)) < _PLAIN_NUMBERS else f"{value:,.0f}"
    return label_text(value)


def _places(part: pd.DataFrame, place: Mapping[Any, int] | None) -> np.ndarray:
    """Return the positions of the values on the horizontal axis."""
    if place is None:
        return part["value"].to_numpy(float)
    return np.array([float(place[value]) for value in part["value"]])
