"""Plot of fixed coefficients with intervals, for one or several models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from skmixed.design.formula import INTERCEPT
from skmixed.display._drawing import (
    DASHED,
    DOTS,
    MARKERS,
    MOST_LABELLED,
    PALETTE,
    add_legend,
    choose,
    name_rows,
    need_columns,
    panels,
    require_matplotlib,
    style,
)
from skmixed.display._fitted_models import mixed_model, predictor_of
from skmixed.inference.fitted import snapshot, stated_places
from skmixed.inference.fixed_effects.testing import DfMethod
from skmixed.inference.intervals import confidence_intervals

_COLUMNS = ["model", "coefficient", "estimate", "lower", "upper"]
_SPREAD = 0.6  # of the distance between coefficients: how far apart the models are drawn
_TALLEST = 12.0  # inches: about a page, whatever the number of models


class CoefficientDisplay:
    """Coefficient plot: fixed coefficients with intervals, for one or several models.

    The estimates of several models are drawn side by side for comparison.

    Read more in the user guide: :doc:`/guide/inference`.

    Parameters
    ----------
    coefficients : DataFrame
        A row for each model and coefficient: model, coefficient, estimate, lower and upper.
    response : str, default="y"
        Name of the response, for the axis label.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    axes_ : ndarray of Axes
        Array with these axes as its only entry.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    points_ : list of Line2D
        Estimates of each model.
    intervals_ : list of LineCollection
        Intervals of each model.
    zero_ : Line2D
        Line at zero.

    See Also
    --------
    skmixed.inference.confidence_intervals : The intervals as a table.
    skmixed.inference.coefficient_table : Tests of the coefficients.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.display import CoefficientDisplay
    >>> data = load_sleepstudy()
    >>> models = {
    ...     "intercepts vary": lmer("Reaction ~ Days + (1 | Subject)", data),
    ...     "slopes vary, too": lmer("Reaction ~ Days + (Days | Subject)", data),
    ... }
    >>> display = CoefficientDisplay.from_estimators(models)
    >>> display.coefficients.round(1)
                  model coefficient  estimate  lower  upper
    0   intercepts vary        Days      10.5    8.9   12.1
    1  slopes vary, too        Days      10.5    7.2   13.7
    """

    def __init__(self, coefficients: pd.DataFrame, *, response: str = "y") -> None:
        self.coefficients = need_columns(coefficients, _COLUMNS, "coefficients")
        self.response = response

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        columns: str | list[str] | None = None,
        level: float = 0.95,
        method: Literal["wald", "profile", "bootstrap"] = "wald",
        df: DfMethod = "auto",
        n_samples: int = 1000,
        random_state: Any = None,
        ax: Any = None,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
        zero_kwargs: dict[str, Any] | None = None,
    ) -> CoefficientDisplay:
        """Plot the coefficients of a fitted model.

        Parameters
        ----------
        estimator : MixedLinearRegressor, MixedClassifier or MixedGeneralizedRegressor
            A fitted mixed model.
        columns : str, list of str or None, default=None
            Names of the coefficients; None draws all but the intercept.
        level : float, default=0.95
            Confidence level of the intervals, between 0 and 1.
        method : {"wald", "profile", "bootstrap"}, default="wald"
            Method for the intervals; see `confidence_intervals`.
        df : {"auto", "satterthwaite", "kenward-roger", "residual", "normal"}, default="auto"
            For "wald": method for the degrees of freedom; see `coefficient_table`.
        n_samples : int, default=1000
            For "bootstrap": number of replicates.
        random_state : int, RandomState instance, Generator or None, default=None
            For "bootstrap": seed of the random number generator; pass an int for reproducible
            results.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        point_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the estimates.
        interval_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``hlines``, for the intervals.
        zero_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``axvline``, for the line at zero.

        Returns
        -------
        CoefficientDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            For an estimator without fixed coefficients.
        ValueError
            For unknown names, and as in `confidence_intervals`.
        """
        require_matplotlib("CoefficientDisplay.from_estimator")
        return cls.from_estimators(
            {"": estimator},
            columns=columns,
            level=level,
            method=method,
            df=df,
            n_samples=n_samples,
            random_state=random_state,
            ax=ax,
            point_kwargs=point_kwargs,
            interval_kwargs=interval_kwargs,
            zero_kwargs=zero_kwargs,
        )

    @classmethod
    def from_estimators(
        cls,
        estimators: Mapping[str, Any],
        *,
        columns: str | list[str] | None = None,
        level: float = 0.95,
        method: Literal["wald", "profile", "bootstrap"] = "wald",
        df: DfMethod = "auto",
        n_samples: int = 1000,
        random_state: Any = None,
        ax: Any = None,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
        zero_kwargs: dict[str, Any] | None = None,
    ) -> CoefficientDisplay:
        """Plot the coefficients of several fitted models.

        Parameters
        ----------
        estimators : dict of str to mixed model
            Fitted models, keyed by their names for the legend.
        columns : str, list of str or None, default=None
            Names of the coefficients; None draws all but the intercept.
        level : float, default=0.95
            Confidence level of the intervals, between 0 and 1.
        method : {"wald", "profile", "bootstrap"}, default="wald"
            Method for the intervals; see `confidence_intervals`.
        df : {"auto", "satterthwaite", "kenward-roger", "residual", "normal"}, default="auto"
            For "wald": method for the degrees of freedom; see `coefficient_table`.
        n_samples : int, default=1000
            For "bootstrap": number of replicates.
        random_state : int, RandomState instance, Generator or None, default=None
            For "bootstrap": seed of the random number generator; pass an int for reproducible
            results.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        point_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the estimates.
        interval_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``hlines``, for the intervals.
        zero_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``axvline``, for the line at zero.

        Returns
        -------
        CoefficientDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimators` is not a dict of models, and for an estimator without fixed
            coefficients.
        ValueError
            For unknown names, and as in `confidence_intervals`.
        """
        require_matplotlib("CoefficientDisplay.from_estimators")
        if not isinstance(estimators, Mapping) or not estimators:
            raise TypeError(
                f"estimators={estimators!r} is not a dict of fitted models, keyed by their names "
                "for the legend"
            )
        tables = []
        for name, estimator in estimators.items():
            model = snapshot(mixed_model(estimator, "CoefficientDisplay"))
            table = confidence_intervals(
                model,
                method=method,
                level=level,
                df=df,
                n_samples=n_samples,
                random_state=random_state,
            ).to_frame()
            fit = model.fit_
            n_shown = sum(place in fit.kept for place in stated_places(fit))
            found = table.iloc[len(table) - n_shown :]  # the variances come first
            tables.append(found.rename_axis("coefficient").reset_index().assign(model=name))
        coefficients = pd.concat(tables, ignore_index=True)[_COLUMNS]
        known = list(coefficients["coefficient"].unique())
        others = [column for column in known if column != INTERCEPT]
        wanted = choose("columns", columns, known) if columns is not None else others or known
        chosen = coefficients[coefficients["coefficient"].isin(wanted)].reset_index(drop=True)
        responses = dict.fromkeys(predictor_of(estimator) for estimator in estimators.values())
        return cls(chosen, response=" or ".join(responses)).plot(
            ax,
            point_kwargs=point_kwargs,
            interval_kwargs=interval_kwargs,
            zero_kwargs=zero_kwargs,
        )

    def plot(
        self,
        ax: Any = None,
        *,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
        zero_kwargs: dict[str, Any] | None = None,
    ) -> CoefficientDisplay:
        """Plot the coefficients, the first one on top.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        point_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the estimates.
        interval_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``hlines``, for the intervals.
        zero_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``axvline``, for the line at zero.

        Returns
        -------
        CoefficientDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        require_matplotlib("CoefficientDisplay.plot")
        names = list(self.coefficients["coefficient"].unique())[::-1]
        models = list(self.coefficients["model"].unique())
        a_row = 0.1 * len(models) + 0.15  # inches, and 1.1 for the axis below and the legend
        height = 1.1 + a_row * len(names) if len(names) <= MOST_LABELLED else 6.4
        self.figure_, self.axes_ = panels(ax, 1, 1, (6.4, min(max(height, 2.2), _TALLEST)))
        self.ax_ = self.axes_[0]
        self.zero_ = self.ax_.axvline(0.0, **style("line", DASHED, zero_kwargs, "zero_kwargs"))
        named = name_rows(self.ax_, names, "coefficient")
        if not named:  # numbers would count from below, not from the top
            self.ax_.set_yticks([])
        shifts = np.linspace(0.5, -0.5, len(models)) * _SPREAD if len(models) > 1 else [0.0]
        self.points_, self.intervals_ = [], []
        for number, (model, shift) in enumerate(zip(models, shifts, strict=True)):
            part = self.coefficients[self.coefficients["model"] == model]
            places = np.array([names.index(each) for each in part["coefficient"]]) + shift
            look = {"color": PALETTE[number % len(PALETTE)], "linewidth": 1.6 if named else 0.6}
            settings = style("collection", look, interval_kwargs, "interval_kwargs")
            lines = self.ax_.hlines(places, part["lower"], part["upper"], **settings)
            self.intervals_.append(lines)
            look = {**DOTS, "color": look["color"], "marker": MARKERS[number % len(MARKERS)]}
            look |= {"markersize": 5.0 if named else 1.5, "zorder": 3}
            look |= {"label": model} if model else {}
            settings = style("line", look, point_kwargs, "point_kwargs")
            self.points_ += self.ax_.plot(part["estimate"], places, **settings)
        self.ax_.set_xlabel(f"estimate [{self.response} per unit of the column]")
        if len(models) > 1:
            legend = {"handles": self.points_, "fontsize": "small", "ncols": min(len(models), 3)}
            add_legend(self.ax_, ax, {"loc": "outside upper center"}, **legend)
        return self
