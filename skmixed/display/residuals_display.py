"""Residual plots: against fitted values, by group, and Q-Q plots."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from skmixed.display._drawing import (
    BLUE,
    DOTS,
    GREY,
    MARKERS,
    MOST_LABELLED,
    PALETTE,
    choose,
    given_settings,
    name_rows,
    need_columns,
    panels,
    require_matplotlib,
    style,
)
from skmixed.display._fitted_models import (
    are_standardised,
    residuals_of,
    response_of,
    standardised_effects,
)
from skmixed.inference.fitted import snapshot

_PANELS = ("fitted", "groups", "residuals_qq", "effects_qq")
_MOST_POINTS = 1_000  # points of a panel: more hide each other


class ResidualsDisplay:
    """Residual plots of a fitted model.

    There are up to four panels: residuals against fitted values; residuals by group, sorted by
    median; and normal Q-Q plots of the residuals and of the random effects. For generalized models
    the residuals are normal scores of quantile residuals, standard normal for any family if the
    model is correct.

    Read more in the user guide: :doc:`/guide/generalized` and :doc:`/guide/shrinkage`.

    Parameters
    ----------
    residuals : DataFrame
        A row for each row of the data: fitted, residual (both in units of y) and, if there are
        groups, group.
    effects : DataFrame or None, default=None
        Random effects: factor, column, and standardised, the effect divided by its standard
        deviation in the model.
    factor : str, default="group"
        Name of the grouping factor.
    response : str, default="y"
        Name of the response, for the axis labels.
    standardised : bool, default=False
        Whether residuals are standard normal if the model is correct, rather than in units of y.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the first panel.
    axes_ : ndarray of Axes
        Axes of all panels, in the order of `panels_`.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    panels_ : list of str
        Contents of the panels.
    scatter_ : Line2D or None
        Residuals against fitted values.
    groups_ : dict or PolyCollection or None
        Boxes, as returned by matplotlib's ``bxp``, or the band for many groups.
    residual_quantiles_ : Line2D or None
        Q-Q plot of the residuals.
    effect_quantiles_ : list of Line2D or None
        Q-Q plots of the random effects, one for each column.

    See Also
    --------
    skmixed.inference.residuals : The residuals themselves, of all kinds.
    skmixed.inference.residual_tests : Tests of dispersion, zeros and uniformity.
    skmixed.inference.influence : Leverage and Cook's distance.
    sklearn.metrics.PredictionErrorDisplay : Residuals of any regressor.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.display import ResidualsDisplay
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> display = ResidualsDisplay.from_estimator(model, X, y)
    >>> display.panels_
    ['fitted', 'groups', 'residuals_qq', 'effects_qq']
    """

    def __init__(
        self,
        residuals: pd.DataFrame,
        *,
        effects: pd.DataFrame | None = None,
        factor: str = "group",
        response: str = "y",
        standardised: bool = False,
    ) -> None:
        self.residuals = need_columns(residuals, ["fitted", "residual"], "residuals")
        wanted = ["factor", "column", "standardised"]
        self.effects = None if effects is None else need_columns(effects, wanted, "effects")
        self.factor, self.response, self.standardised = factor, response, standardised

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        groups: Any = None,
        kind: str | list[str] | None = None,
        factor: str | None = None,
        subsample: int | None = _MOST_POINTS,
        random_state: Any = None,
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        group_kwargs: dict[str, Any] | None = None,
    ) -> ResidualsDisplay:
        """Plot the residuals of a fitted model.

        Parameters
        ----------
        estimator : estimator
            A fitted MixedLinearRegressor, MixedClassifier, MixedGeneralizedRegressor or
            MixedEffectsRegressor, or GroupedModels of a regressor.
        X : array-like or data frame of shape (n, n_features)
            The training data or new data.
        y : array-like of shape (n,), default=None
            Their response. None reads it, and the weights, from X, for a model fitted by a whole
            formula, such as that of `lmer`.
        sample_weight : array-like of shape (n,), default=None
            Precision weights, by whose square roots residuals are multiplied, so that their
            variance is that of a row with weight one; or numbers of trials. Other weights are
            ignored.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Group labels of the rows, if they were passed to ``fit`` as `groups`.
        kind : str, list of str or None, default=None
            Panels to draw, of "fitted", "groups", "residuals_qq" and "effects_qq"; None draws all
            available ones.
        factor : str or None, default=None
            Grouping factor of the panel "groups"; None takes the one with the most levels.
        subsample : int or None, default=1000
            Maximum number of points in a scatter or Q-Q plot, of a random sample or a selection of
            quantiles; None draws all.
        random_state : int, RandomState instance, Generator or None, default=None
            Seed for the sample, and for the randomisation of discrete quantile residuals; pass an
            int for reproducible results.
        ax : matplotlib Axes, array of Axes or None, default=None
            Axes to draw on: one for each panel, or a single one to divide. None creates a figure.
        scatter_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the points.
        line_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the reference lines.
        group_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``bxp`` or ``fill_between``, for the boxes or the
            band of the groups.

        Returns
        -------
        ResidualsDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            For other classifiers and estimators.
        ValueError
            For unknown names, arguments with different numbers of rows, and a model that is not
            fitted.

        Notes
        -----
        Residuals are y minus predictions with all random effects. On training data they vary less
        than the noise, and much less for a flexible regressor; new data tell more. For a
        generalized model they are those of `skmixed.inference.residuals` with random="fitted";
        under over-dispersion their Q-Q plot is steeper than the line.

        Random effects are those of the fit; being shrunk, they vary by less than one standard
        deviation.
        """
        require_matplotlib("ResidualsDisplay.from_estimator")
        estimator = snapshot(estimator)
        residuals, factor = residuals_of(
            estimator, X, y, sample_weight, groups, factor, random_state
        )
        return cls(
            residuals,
            effects=standardised_effects(estimator),
            factor=factor or "group",
            response=response_of(estimator),
            standardised=are_standardised(estimator),
        ).plot(
            ax,
            kind=kind,
            subsample=subsample,
            random_state=random_state,
            scatter_kwargs=scatter_kwargs,
            line_kwargs=line_kwargs,
            group_kwargs=group_kwargs,
        )

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str | list[str] | None = None,
        subsample: int | None = _MOST_POINTS,
        random_state: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        group_kwargs: dict[str, Any] | None = None,
    ) -> ResidualsDisplay:
        """Plot the residuals.

        Parameters
        ----------
        ax : matplotlib Axes, array of Axes or None, default=None
            Axes to draw on: one for each panel, or a single one to divide. None creates a figure.
        kind : str, list of str or None, default=None
            Panels to draw, of "fitted", "groups", "residuals_qq" and "effects_qq"; None draws all
            available ones.
        subsample : int or None, default=1000
            Maximum number of points in a scatter or Q-Q plot, of a random sample or a selection of
            quantiles; None draws all.
        random_state : int, RandomState instance, Generator or None, default=None
            Seed for the sample; pass an int for reproducible results.
        scatter_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the points.
        line_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the reference lines.
        group_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``bxp`` or ``fill_between``, for the boxes or the
            band of the groups.

        Returns
        -------
        ResidualsDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            For a panel without data, and a wrong number of axes.
        """
        require_matplotlib("ResidualsDisplay.plot")
        if subsample is not None and subsample < 1:
            raise ValueError(f"subsample={subsample!r} is not a positive number")
        self.panels_ = choose("kind", kind, self._possible())
        self.figure_, self.axes_ = panels(ax, len(self.panels_), 2, (4.4, 3.6))
        self.ax_ = self.axes_[0]
        self.scatter_ = self.groups_ = self.residual_quantiles_ = None
        self.effect_quantiles_: list[Any] | None = None
        lines = style("line", {"color": "black", "linewidth": 0.8}, line_kwargs, "line_kwargs")
        draw = {
            "fitted": lambda axes: self._fitted(axes, subsample, random_state, scatter_kwargs),
            "groups": lambda axes: self._groups(axes, group_kwargs),
            "residuals_qq": lambda axes: self._residuals(axes, subsample, scatter_kwargs, lines),
            "effects_qq": lambda axes: self._effects(axes, subsample, scatter_kwargs, lines),
        }
        for axes, name in zip(self.axes_, self.panels_, strict=True):
            draw[name](axes)
            if name in ("fitted", "groups"):
                axes.axhline(0.0, **lines)
        return self

    @property
    def _label(self) -> str:
        """Label of the residual axis."""
        return "quantile residual" if self.standardised else f"residual [{self.response}]"

    def _possible(self) -> list[str]:
        """Return the panels for which there are data."""
        there = {"groups": "group" in self.residuals, "effects_qq": self.effects is not None}
        return [name for name in _PANELS if there.get(name, True)]

    def _fitted(self, ax: Any, subsample: int | None, random_state: Any, given: Any) -> None:
        """Draw the residuals, or a sample of them, against the fitted values."""
        data = self.residuals[["fitted", "residual"]].to_numpy(float)
        if subsample is not None and len(data) > subsample:
            generator = np.random.default_rng(random_state)
            data = data[np.sort(generator.choice(len(data), subsample, replace=False))]
        look = _look_of_points(len(data) <= _MOST_POINTS // 2)
        (self.scatter_,) = ax.plot(*data.T, **style("line", look, given, "scatter_kwargs"))
        ax.set(xlabel=f"fitted value [{self.response}]", ylabel=self._label)
        if len(data) < len(self.residuals):
            ax.set_title(f"{len(data):,} of {len(self.residuals):,} rows", fontsize="medium")

    def _groups(self, ax: Any, given: Any) -> None:
        """Draw boxes of the groups, or a band between quartiles if there are many."""
        quartiles = _quartiles(self.residuals)
        if len(quartiles) <= MOST_LABELLED:
            self.groups_ = _boxes(ax, quartiles, self.factor, given)
        else:
            places = np.arange(len(quartiles))
            look = {"color": BLUE, "alpha": 0.35, "linewidth": 0.0, "label": "interquartile range"}
            settings = style("collection", look, given, "group_kwargs")
            self.groups_ = ax.fill_between(places, quartiles["q1"], quartiles["q3"], **settings)
            ax.plot(places, quartiles["med"], color="black", linewidth=1.2, label="median")
            ax.legend(fontsize="small", loc="upper left")
            ax.set_xlabel(f"{self.factor}, {len(quartiles):,} in order")
        ax.set_ylabel(self._label)

    def _residuals(self, ax: Any, subsample: int | None, given: Any, lines: Any) -> None:
        """Draw the Q-Q plot of the residuals, with the line of the model or through quartiles."""
        values = np.sort(self.residuals["residual"].to_numpy(float))
        quarters = np.percentile(values, [25.0, 75.0])
        expected, values = _quantiles(values, subsample)
        look = _look_of_points(True)
        (self.residual_quantiles_,) = ax.plot(
            expected, values, **style("line", look, given, "scatter_kwargs")
        )
        slope = float(np.diff(quarters)[0] / np.diff(stats.norm.ppf([0.25, 0.75]))[0])
        middle = float(quarters.mean())
        if self.standardised:
            middle, slope = 0.0, 1.0
        ax.axline((0.0, middle), slope=slope, **lines)
        ax.set(xlabel="normal quantile", ylabel=self._label)

    def _effects(self, ax: Any, subsample: int | None, given: Any, lines: Any) -> None:
        """Draw the Q-Q plots of the random effects, with the line of slope one."""
        assert self.effects is not None
        self.effect_quantiles_ = []
        parts = list(self.effects.groupby(["factor", "column"], sort=False))
        several = self.effects["factor"].nunique() > 1
        for number, ((factor, column), part) in enumerate(parts):
            values = np.sort(part["standardised"].to_numpy(float))
            look = _look_of_points(True) | {"color": PALETTE[number % len(PALETTE)]}
            look |= {"marker": MARKERS[number % len(MARKERS)]}
            look |= {"label": f"{column} | {factor}" if several else str(column)}
            settings = style("line", look, given, "scatter_kwargs")
            self.effect_quantiles_ += ax.plot(*_quantiles(values, subsample), **settings)
        ax.axline((0.0, 0.0), slope=1.0, **lines)
        ax.legend(fontsize="small", loc="upper left")
        ax.set(xlabel="normal quantile", ylabel="random effect [standard deviations]")


def _look_of_points(few: bool) -> dict[str, Any]:
    """Return the style of points, small and faint unless they are few."""
    look = {**DOTS, "color": BLUE, "markeredgewidth": 0.0}
    return look | {"markersize": 4.0 if few else 3.0, "alpha": 0.8 if few else 0.5}


def _quartiles(residuals: pd.DataFrame) -> pd.DataFrame:
    """Return extremes and quartiles of each group, (n_groups, 5), sorted by median."""
    grouped = residuals.groupby("group", sort=False)["residual"]
    found = grouped.quantile(np.array([0.0, 0.25, 0.5, 0.75, 1.0])).unstack()
    found.columns = ["whislo", "q1", "med", "q3", "whishi"]
    return found.sort_values("med", kind="stable")


def _boxes(ax: Any, quartiles: pd.DataFrame, factor: str, given: Any) -> Any:
    """Draw a box for each group, with whiskers to the extremes."""
    entries = [dict(row, label=label, fliers=[]) for label, row in quartiles.iterrows()]
    defaults = {"boxprops": {"color": BLUE}, "medianprops": {"color": "black"}}
    defaults |= {"whiskerprops": {"color": GREY}, "capprops": {"color": GREY}}
    settings = defaults | given_settings(given, "group_kwargs")
    places = np.arange(len(entries))
    boxes = ax.bxp(entries, positions=places, showfliers=False, **settings)
    name_rows(ax, list(quartiles.index), factor, places, along="x")
    return boxes


def _quantiles(
    values: NDArray[np.float64], most: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return normal quantiles and ordered values, both (n,), or at most `most` of them.

    Values are sorted. The i-th of n, from 1, is at the quantile of probability (i - 1/2) / n; the
    first and the last are always included.
    """
    n = len(values)
    expected = stats.norm.ppf((np.arange(n) + 0.5) / n)
    if most is not None and n > most:
        # Evenly spaced in the normal quantile, so that the tails are complete.
        targets = np.linspace(expected[0], expected[-1], most)
        chosen = np.unique(np.searchsorted(expected, targets).clip(0, n - 1))
        return expected[chosen], values[chosen]
    return expected, values
