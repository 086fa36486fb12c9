"""Plots of smooth terms with pointwise bands, a panel each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from skmixed.display._drawing import (
    BLUE,
    GREY,
    choose,
    given_settings,
    need_columns,
    panels,
    require_matplotlib,
    style,
)
from skmixed.display._fitted_models import frame_of, mixed_model, predictor_of
from skmixed.inference.fitted import design_of, snapshot
from skmixed.inference.fixed_effects.testing import check_probability
from skmixed.inference.smooth_terms import curve_points

_COLUMNS = ["curve", "argument", "x", "estimate", "lower", "upper"]
_POINTS_OF_CURVE = 200  # it looks smooth in a panel of three inches
_RUG_HEIGHT = 0.03  # of the panel: seen, and out of the way of the curve


class SmoothDisplay:
    """The smooth terms ``s(x)`` of a model, centred over their range, with pointwise bands.

    The bands take the smoothness as known. A smooth that multiplies a number, ``s(x, by=z)``, is
    shown as the coefficient of that number.

    Read more in the user guide: :doc:`/guide/curves`.

    Parameters
    ----------
    curves : DataFrame
        Points of the smooths: curve, argument (the variable), x, estimate, lower and upper.
    response : str, default="y"
        Name of the response, for the axis labels; the linear predictor in generalized models.
    rows : dict of str to ndarray of shape (n,), default=None
        Values of the variables in the data, marked as a rug at the bottom of the panels.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the first panel.
    axes_ : ndarray of Axes
        Axes of all panels, in the order of `panels_`.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    panels_ : list of str
        Smooth of each panel.
    lines_ : list of Line2D
        The curves.
    bands_ : list of FillBetweenPolyCollection
        The pointwise bands.
    rugs_ : list of Line2D
        The rugs; empty without X.

    See Also
    --------
    skmixed.inference.smooth_table : Effective degrees of freedom and tests of the smooths.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.display import SmoothDisplay
    >>> X = pd.DataFrame({"x": np.linspace(0, 1, 100)})
    >>> y = np.sin(6 * X["x"]) + 0.1 * np.cos(77 * np.arange(100) ** 2)
    >>> model = MixedLinearRegressor(fixed="s(x)").fit(X, y)
    >>> SmoothDisplay.from_estimator(model, X).panels_
    ['s(x)']
    """

    def __init__(
        self,
        curves: pd.DataFrame,
        *,
        response: str = "y",
        rows: dict[str, Any] | None = None,
    ) -> None:
        self.curves = need_columns(curves, _COLUMNS, "curves")
        self.response = response
        self.rows = {} if rows is None else rows

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        curves: str | list[str] | None = None,
        level: float = 0.95,
        ax: Any = None,
        line_kwargs: dict[str, Any] | None = None,
        band_kwargs: dict[str, Any] | None = None,
        rug_kwargs: dict[str, Any] | None = None,
    ) -> SmoothDisplay:
        """Plot the smooth terms of a fitted model.

        Parameters
        ----------
        estimator : estimator
            A fitted mixed model, linear or generalized, with smooth terms.
        X : data frame of shape (n, n_features), default=None
            Rows to mark at the bottom of the panels, such as the training data.
        curves : str, list of str or None, default=None
            Names of the smooths, as in `smooth_table`; None draws all.
        level : float, default=0.95
            Pointwise confidence level of the bands, between 0 and 1.
        ax : matplotlib Axes, array of Axes or None, default=None
            Axes to draw on: one for each panel, or a single one to divide. None creates a figure.
        line_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the curves.
        band_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``fill_between``, for the bands.
        rug_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the marks of the rows.

        Returns
        -------
        SmoothDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator is not a mixed model.
        ValueError
            For a model without smooth terms, an unknown smooth, and a level outside (0, 1).
        """
        require_matplotlib("SmoothDisplay.from_estimator")
        check_probability(level)
        estimator = snapshot(estimator)
        model = mixed_model(estimator, "SmoothDisplay")
        found = curve_points(model, _POINTS_OF_CURVE, level)
        wanted = choose("curves", curves, list(found["curve"].unique()))
        found = pd.concat([found[found["curve"] == name] for name in wanted], ignore_index=True)
        rows = None
        if X is not None:
            table, known = frame_of(X), design_of(model).curves
            rows = {curve.name: curve.marked(table) for curve in known if curve.name in wanted}
        return cls(found, response=predictor_of(model), rows=rows).plot(
            ax, line_kwargs=line_kwargs, band_kwargs=band_kwargs, rug_kwargs=rug_kwargs
        )

    def plot(
        self,
        ax: Any = None,
        *,
        line_kwargs: dict[str, Any] | None = None,
        band_kwargs: dict[str, Any] | None = None,
        rug_kwargs: dict[str, Any] | None = None,
    ) -> SmoothDisplay:
        """Plot the smooth terms.

        Parameters
        ----------
        ax : matplotlib Axes, array of Axes or None, default=None
            Axes to draw on: one for each panel, or a single one to divide. None creates a figure.
        line_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the curves.
        band_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``fill_between``, for the bands.
        rug_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the marks of the rows.

        Returns
        -------
        SmoothDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            For a wrong number of axes.
        """
        require_matplotlib("SmoothDisplay.plot")
        grouped = self.curves.groupby("curve", sort=False)
        parts = {str(name): part for name, part in grouped}
        self.figure_, self.axes_ = panels(ax, len(parts), 3, (3.2, 2.6))
        self.ax_, self.panels_ = self.axes_[0], list(parts)
        self.lines_: list[Any] = []
        self.bands_: list[Any] = []
        self.rugs_: list[Any] = []
        look = style("line", {"color": BLUE, "linewidth": 1.6}, line_kwargs, "line_kwargs")
        band = {"color": BLUE, "alpha": 0.2, "linewidth": 0.0}
        band |= given_settings(band_kwargs, "band_kwargs")
        for axes, (name, part) in zip(self.axes_, parts.items(), strict=True):
            x = part["x"].to_numpy(float)
            self.bands_.append(axes.fill_between(x, part["lower"], part["upper"], **band))
            self.lines_ += axes.plot(x, part["estimate"], **look)
            if name in self.rows:
                self._mark(axes, np.asarray(self.rows[name], dtype=float), rug_kwargs)
            argument = str(part["argument"].iloc[0])
            axes.set(xlabel=argument, ylabel=f"{name} [{self.response}]", xlim=(x[0], x[-1]))
        return self

    def _mark(self, axes: Any, values: np.ndarray, given: Any) -> None:
        """Mark the values of rows at the bottom of a panel."""
        defaults = {"color": GREY, "linewidth": 0.5, "marker": "", "alpha": 0.5}
        settings = style("line", defaults, given, "rug_kwargs")
        x = np.repeat(values, 3)
        x[2::3] = np.nan  # between one mark and the next
        height = np.tile([0.0, _RUG_HEIGHT, np.nan], len(values))
        self.rugs_ += axes.plot(x, height, transform=axes.get_xaxis_transform(), **settings)
