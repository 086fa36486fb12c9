"""Caterpillar plots of random effects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from skmixed.display._drawing import (
    BLUE,
    DASHED,
    DOTS,
    GREY,
    MOST_LABELLED,
    choose,
    name_rows,
    need_columns,
    panels,
    require_matplotlib,
    style,
    unit_of,
)
from skmixed.display._fitted_models import mixed_model, predictor_of
from skmixed.display._group_estimates import grouped_effects
from skmixed.estimators.grouped.models import GroupedModels
from skmixed.inference.fitted import fitted_inside, snapshot
from skmixed.inference.fixed_effects.testing import check_probability
from skmixed.inference.random_effects import random_effects_table
from skmixed.inference.table import Table

_COLUMNS = ["factor", "level", "column", "estimate", "lower", "upper"]


class RandomEffectsDisplay:
    """Caterpillar plot: random effects of all levels, sorted, with intervals.

    There is a panel for each grouping factor and each column with random effects. Levels whose
    interval excludes the reference (zero for random effects) are coloured.

    Read more in the user guide: :doc:`/guide/intervals`.

    Parameters
    ----------
    effects : Table or DataFrame
        A row for each factor, level and column (in the index or as columns) with estimate, lower
        and upper, as in `random_effects_table`, and reference if that is not 0.
    response : str, default="y"
        Name of the response, for the axis labels.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the first panel.
    axes_ : ndarray of Axes
        Axes of all panels, in the order of `panels_`.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    panels_ : list of tuple of str
        Factor and column of each panel.
    points_ : list of Line2D
        Estimates of each panel.
    intervals_ : list of LineCollection
        Intervals of each panel, from bottom to top.
    references_ : list of Line2D
        Reference lines.

    See Also
    --------
    skmixed.inference.random_effects_table : The figures as a table, with expected ranks.
    ShrinkageDisplay : Unpooled beside shrunken estimates.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.display import RandomEffectsDisplay
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> display = RandomEffectsDisplay.from_estimator(model)
    >>> display.panels_
    [('Subject', '(Intercept)'), ('Subject', 'Days')]
    """

    def __init__(self, effects: Table | pd.DataFrame, *, response: str = "y") -> None:
        self.effects = need_columns(_as_columns(effects), _COLUMNS, "effects")
        if "reference" not in self.effects:
            self.effects["reference"] = 0.0
        self.response = response

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        factor: str | list[str] | None = None,
        columns: str | list[str] | None = None,
        level: float = 0.95,
        sort_by: str | None = None,
        max_levels: int | None = None,
        ax: Any = None,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
        reference_kwargs: dict[str, Any] | None = None,
    ) -> RandomEffectsDisplay:
        """Plot the random effects of a fitted model.

        Parameters
        ----------
        estimator : mixed model, MixedEffectsRegressor or GroupedModels
            A fitted model, a pipeline that ends in one, or a search over one. Effects of
            generalized models are on the scale of the link. For `GroupedModels` the coefficients of
            the finest groups are drawn, about those of all rows, with intervals if standard errors
            are known.
        factor : str, list of str or None, default=None
            Grouping factors to draw; None draws all.
        columns : str, list of str or None, default=None
            Columns whose effects are drawn; None draws all.
        level : float, default=0.95
            Confidence level of the intervals, between 0 and 1.
        sort_by : str or None, default=None
            Column by whose effects all panels of a factor are sorted; None sorts each panel by its
            own.
        max_levels : int or None, default=None
            Number of levels per panel, half of them the lowest and half the highest; None draws
            all.
        ax : matplotlib Axes, array of Axes or None, default=None
            Axes to draw on: one for each panel, or a single one to divide. None creates a figure.
        point_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the estimates.
        interval_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``hlines``, for the intervals.
        reference_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``axvline``, for the reference line.

        Returns
        -------
        RandomEffectsDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            For an estimator without random effects or coefficients by group.
        ValueError
            For unknown names, a level outside (0, 1), and a model that is not fitted.
        """
        require_matplotlib("RandomEffectsDisplay.from_estimator")
        estimator = snapshot(fitted_inside(estimator))
        check_probability(level)
        if isinstance(estimator, GroupedModels):
            effects = grouped_effects(estimator, level)
        else:
            model = mixed_model(estimator, "RandomEffectsDisplay", effects=True)
            effects = _as_columns(random_effects_table(model, level=level, ranks=False))
        factors = choose("factor", factor, list(effects["factor"].unique()))
        effects = effects[effects["factor"].isin(factors)]
        wanted = choose("columns", columns, list(effects["column"].unique()))
        effects = effects[effects["column"].isin(wanted)].reset_index(drop=True)
        return cls(effects, response=predictor_of(estimator)).plot(
            ax,
            sort_by=sort_by,
            max_levels=max_levels,
            point_kwargs=point_kwargs,
            interval_kwargs=interval_kwargs,
            reference_kwargs=reference_kwargs,
        )

    def plot(
        self,
        ax: Any = None,
        *,
        sort_by: str | None = None,
        max_levels: int | None = None,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
        reference_kwargs: dict[str, Any] | None = None,
    ) -> RandomEffectsDisplay:
        """Plot the random effects.

        Parameters
        ----------
        ax : matplotlib Axes, array of Axes or None, default=None
            Axes to draw on: one for each panel, or a single one to divide. None creates a figure.
        sort_by : str or None, default=None
            Column by whose effects all panels of a factor are sorted; None sorts each panel by its
            own.
        max_levels : int or None, default=None
            Number of levels per panel, half of them the lowest and half the highest; None draws
            all.
        point_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the estimates.
        interval_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``hlines``, for the intervals.
        reference_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``axvline``, for the reference line.

        Returns
        -------
        RandomEffectsDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            For an unknown column to sort by, fewer than two levels, and a wrong number of axes.
        """
        require_matplotlib("RandomEffectsDisplay.plot")
        if max_levels is not None and max_levels < 2:
            raise ValueError(f"max_levels={max_levels!r} must be at least 2, one level at each end")
        parts = {
            key: _sorted(part, self.effects, sort_by)
            for key, part in self.effects.groupby(["factor", "column"], sort=False)
        }
        shown = max(min(len(part), max_levels or len(part)) for part in parts.values())
        # Inches: 0.16 for a row and 1.1 for axis and title; unlabelled rows need no room.
        height = 1.1 + 0.16 * shown if shown <= MOST_LABELLED else 5.5
        widest = max(part["column"].nunique() for _, part in self.effects.groupby("factor"))
        beside = widest if widest > 1 else 3  # factors that have one column stand side by side
        size = (4.4, max(height, 2.2))
        self.figure_, self.axes_ = panels(ax, len(parts), beside, size)
        self.panels_ = list(parts)
        self.points_: list[Any] = []
        self.intervals_: list[Any] = []
        self.references_: list[Any] = []
        for axes, ((factor, column), part) in zip(self.axes_, parts.items(), strict=True):
            settings = point_kwargs, interval_kwargs, reference_kwargs
            self._draw(axes, _extremes(part, max_levels), len(part), *settings)
            axes.set_xlabel(f"{column} {unit_of(str(column), self.response)}")
            if len({name for name, _ in parts}) > 1:
                axes.set_title(factor, fontsize="medium")
        self.ax_ = self.axes_[0]
        return self

    def _draw(
        self,
        ax: Any,
        part: pd.DataFrame,
        n_levels: int,
        points: Any,
        intervals: Any,
        reference: Any,
    ) -> None:
        """Draw one panel, its rows from bottom to top."""
        gap = len(part) < n_levels
        places = np.arange(len(part)) + gap * (np.arange(len(part)) >= len(part) // 2)
        factor = str(part["factor"].iloc[0])
        what = f"{factor}, {len(part)} of {n_levels:,}" if gap else factor
        name_rows(ax, list(part["level"]), what, places)
        lower, upper = part["lower"].to_numpy(float), part["upper"].to_numpy(float)
        zero = float(part["reference"].iloc[0])
        apart = (lower > zero) | (upper < zero)
        defaults = {  # many rows have thin, faint lines and small points, but visible ones
            "color": np.where(apart, BLUE, GREY),
            "linewidth": np.clip(160.0 / len(part), 0.6, 1.6),
            "alpha": np.clip(300.0 / len(part), 0.5, 1.0),
        }
        settings = style("collection", defaults, intervals, "interval_kwargs")
        self.intervals_.append(ax.hlines(places, lower, upper, **settings))
        defaults = {**DOTS, "color": "black", "zorder": 3}
        defaults["markersize"] = np.clip(240.0 / len(part), 1.2, 4.0)
        settings = style("line", defaults, points, "point_kwargs")
        self.points_ += ax.plot(part["estimate"].to_numpy(float), places, **settings)
        settings = style("line", DASHED, reference, "reference_kwargs")
        self.references_.append(ax.axvline(zero, **settings))
        if gap:
            ax.axhline(len(part) // 2, color=GREY, linestyle=":", linewidth=0.8)


def _as_columns(effects: Any) -> Any:
    """Return a table with factor, level and column as columns instead of the index."""
    frame = effects.to_frame() if isinstance(effects, Table) else effects
    if isinstance(frame, pd.DataFrame) and list(frame.index.names) == _COLUMNS[:3]:
        return frame.reset_index()
    return frame


def _sorted(part: pd.DataFrame, effects: pd.DataFrame, sort_by: str | None) -> pd.DataFrame:
    """Return the effects of a panel in ascending order, of its own column or of `sort_by`."""
    if sort_by is None:
        return part.sort_values("estimate", kind="stable")
    factor = part["factor"].iloc[0]
    keys = effects[(effects["factor"] == factor) & (effects["column"] == sort_by)]
    if keys.empty:
        known = list(effects.loc[effects["factor"] == factor, "column"].unique())
        raise ValueError(f"sort_by={sort_by!r} is not a column of {factor!r}, which has {known}")
    order = keys.sort_values("estimate", kind="stable")["level"]
    return part.set_index("level", drop=False).loc[list(order)]


def _extremes(part: pd.DataFrame, max_levels: int | None) -> pd.DataFrame:
    """Return the lowest and the highest rows, `max_levels` in all; if odd, one more high."""
    if max_levels is None or len(part) <= max_levels:
        return part
    lowest = max_levels // 2
    return pd.concat([part.iloc[:lowest], part.iloc[lowest - max_levels :]])
