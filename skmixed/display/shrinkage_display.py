"""Shrinkage plots: from the unpooled estimate of each group to the one that predicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.linalg import FloatArray
from skmixed.display._drawing import (
    BLACK,
    BLUE,
    DASHED,
    DOTS,
    GREY,
    VERMILION,
    add_legend,
    choose,
    label_points,
    need_columns,
    panels,
    require_matplotlib,
    style,
    unit_of,
)
from skmixed.display._fitted_models import predictor_of
from skmixed.display._group_estimates import group_estimates
from skmixed.inference.fitted import snapshot

_MOST_NAMED = 100  # arrows that are drawn in full and labelled: more hide each other
_TAIL = 0.01  # of many arrows, at each end, whose extreme starts may be outside the plot
_WILD = 1.5  # ratio of the range of starts to that without tails, above which tails are cut
_MARGIN = 0.05  # of the range about many arrows, as in matplotlib


class ShrinkageDisplay:
    """Shrinkage plot: an arrow for each group, from its unpooled to its shrunken estimate.

    With two coefficients the arrows are in their plane and point towards the common estimate. With
    one, unpooled estimates are on the horizontal axis and shrunken ones on the vertical axis:
    arrows start on the diagonal, where there is no shrinkage.

    Read more in the user guide: :doc:`/guide/shrinkage`.

    Parameters
    ----------
    own : DataFrame of shape (n_groups, n_coefficients)
        Unpooled estimates of each group; NaN if its rows do not determine them.
    shrunk : DataFrame of shape (n_groups, n_coefficients)
        Partially pooled estimates, for the same groups and coefficients.
    common : Series of length n_coefficients
        Estimates common to all groups.
    factor : str, default="group"
        Name of the grouping factor.
    response : str, default="y"
        Name of the response, for the axis labels.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    axes_ : ndarray of Axes
        Array with these axes as its only entry.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    arrows_ : Quiver
        The arrows, in the order of the groups that have both estimates.
    own_points_, shrunk_points_ : Line2D
        Start and end points of the arrows.
    common_ : Line2D
        The common estimate: a point, or with one coefficient a line.

    See Also
    --------
    RandomEffectsDisplay : Caterpillar plot of the shrunken effects with intervals.
    skmixed.GroupedModels : A model per group, with both estimates.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.display import ShrinkageDisplay
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> display = ShrinkageDisplay.from_estimator(model, X, y)
    >>> display.own.loc["335"].round(1).tolist(), display.shrunk.loc["335"].round(1).tolist()
    ([263.0, -2.9], [251.1, -0.3])
    """

    def __init__(
        self,
        own: pd.DataFrame,
        shrunk: pd.DataFrame,
        *,
        common: pd.Series,
        factor: str = "group",
        response: str = "y",
    ) -> None:
        self.shrunk = need_columns(shrunk, [], "shrunk")
        self.own = need_columns(own, list(self.shrunk.columns), "own")[list(self.shrunk.columns)]
        if not self.own.index.equals(self.shrunk.index):
            raise ValueError("own and shrunk have different groups: their indexes differ")
        missing = [name for name in self.shrunk.columns if name not in common.index]
        if missing:
            raise ValueError(f"common lacks the coefficients {missing}")
        self.common, self.factor, self.response = common, factor, response

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        y: Any = None,
        *,
        sample_weight: Any = None,
        groups: Any = None,
        factor: str | None = None,
        columns: str | list[str] | None = None,
        ax: Any = None,
        arrow_kwargs: dict[str, Any] | None = None,
        own_kwargs: dict[str, Any] | None = None,
        shrunk_kwargs: dict[str, Any] | None = None,
        common_kwargs: dict[str, Any] | None = None,
    ) -> ShrinkageDisplay:
        """Plot the shrinkage of a fitted model.

        Parameters
        ----------
        estimator : mixed model or GroupedModels
            A fitted model. `GroupedModels` store the unpooled estimates. For a mixed model they are
            fitted here, given its other estimates; for a generalized one by maximum likelihood, on
            the scale of the link, except for groups whose responses are all at one extreme.
        X : array-like or data frame of shape (n, n_features), default=None
            For a mixed model, the training data, which it does not store.
        y : array-like of shape (n,), default=None
            Their response. None reads it, and the weights, from X, for a model fitted by a whole
            formula, such as that of `lmer`.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows, as passed to ``fit``.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Group labels of the rows, if they were passed to ``fit`` as `groups`.
        factor : str or None, default=None
            Grouping factor; None takes the one with the most levels.
        columns : str, list of one or two str, or None, default=None
            One or two coefficients; None takes the first two that vary.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        arrow_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``quiver``, for the arrows.
        own_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the unpooled estimates.
        shrunk_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the shrunken estimates.
        common_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the common estimate.

        Returns
        -------
        ShrinkageDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            For an estimator without coefficients that vary between groups.
        ValueError
            If the training data of a mixed model are missing or are other rows, for unknown names,
            and for a model that is not fitted.

        Notes
        -----
        In a mixed model the unpooled estimates of a group are a least-squares fit of the columns
        with random effects to y minus all other parts of the model: its other coefficients and the
        effects of other factors. If all coefficients vary over one factor, this is the regression
        of y within each group.
        """
        require_matplotlib("ShrinkageDisplay.from_estimator")
        estimator = snapshot(estimator)
        estimates = group_estimates(estimator, X, y, sample_weight, groups, factor)
        known = list(estimates.shrunk.columns)
        wanted = choose("columns", known[:2] if columns is None else columns, known)
        return cls(
            estimates.own[wanted],
            estimates.shrunk[wanted],
            common=estimates.common[wanted],
            factor=estimates.factor,
            response=predictor_of(estimator),
        ).plot(
            ax,
            arrow_kwargs=arrow_kwargs,
            own_kwargs=own_kwargs,
            shrunk_kwargs=shrunk_kwargs,
            common_kwargs=common_kwargs,
        )

    def plot(
        self,
        ax: Any = None,
        *,
        arrow_kwargs: dict[str, Any] | None = None,
        own_kwargs: dict[str, Any] | None = None,
        shrunk_kwargs: dict[str, Any] | None = None,
        common_kwargs: dict[str, Any] | None = None,
    ) -> ShrinkageDisplay:
        """Plot the arrows.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        arrow_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``quiver``, for the arrows.
        own_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the unpooled estimates.
        shrunk_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the shrunken estimates.
        common_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the common estimate.

        Returns
        -------
        ShrinkageDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            For more than two coefficients.
        """
        require_matplotlib("ShrinkageDisplay.plot")
        names = list(self.shrunk.columns)
        if len(names) > 2:
            raise ValueError(f"arrows need one or two coefficients, not {names}")
        self.figure_, self.axes_ = panels(ax, 1, 1, (6.4, 4.8))
        self.ax_ = self.axes_[0]
        start, end = self._ends()
        self._draw_common(common_kwargs)
        few = len(start) <= _MOST_NAMED
        moved = end - start
        defaults = {"color": GREY, "width": 0.003 if few else 0.0012, "alpha": 0.8 if few else 0.25}
        defaults |= {"headwidth": 5.0, "headlength": 6.0} if few else {"headwidth": 1.0}
        self.arrows_ = self.ax_.quiver(
            *start.T,
            *moved.T,
            angles="xy",
            scale_units="xy",
            scale=1.0,
            **style("collection", defaults, arrow_kwargs, "arrow_kwargs"),
        )
        defaults = {**DOTS, "zorder": 3, "markersize": 5.0 if few else 1.5}
        first = {
            "color": VERMILION,
            "label": "unpooled",
            "markerfacecolor": "none",
        }
        settings = style("line", defaults | first, own_kwargs, "own_kwargs")
        (self.own_points_,) = self.ax_.plot(*start.T, **settings)
        last = {"color": BLUE, "label": "shrunk"}
        settings = style("line", defaults | last, shrunk_kwargs, "shrunk_kwargs")
        (self.shrunk_points_,) = self.ax_.plot(*end.T, **settings)
        self._name_axes(ax)
        self._limit(start, end)
        self._note(start)
        return self

    def _has_arrow(self) -> NDArray[np.bool_]:
        """Tell which groups have both estimates, (n_groups,)."""
        estimates = np.hstack([self.own.to_numpy(float), self.shrunk.to_numpy(float)])
        return np.isfinite(estimates).all(axis=1)

    def _ends(self) -> tuple[FloatArray, FloatArray]:
        """Return start and end points of the arrows in the plot, both (n_arrows, 2)."""
        known = self._has_arrow()
        own, shrunk = self.own.to_numpy(float)[known], self.shrunk.to_numpy(float)[known]
        if own.shape[1] == 1:
            return np.repeat(own, 2, axis=1), np.column_stack([own, shrunk])
        return own, shrunk

    def _draw_common(self, common_kwargs: dict[str, Any] | None) -> None:
        """Draw the common estimate: a point, or a line and the diagonal."""
        values = self.common[list(self.shrunk.columns)].to_numpy(float)
        if len(values) == 1:
            defaults = {**DASHED, "label": "common"}
            settings = style("line", defaults, common_kwargs, "common_kwargs")
            self.common_ = self.ax_.axhline(values[0], **settings)
            self.ax_.axline((values[0], values[0]), slope=1.0, color=GREY, linewidth=0.8)
            return
        defaults = {"color": BLACK, "marker": "+", "markersize": 8.0, "markeredgewidth": 2.0}
        defaults |= {"linestyle": "none", "zorder": 4, "label": "common"}
        settings = style("line", defaults, common_kwargs, "common_kwargs")
        (self.common_,) = self.ax_.plot(*values[:, None], **settings)

    def _limit(self, start: FloatArray, end: FloatArray) -> None:
        """Leave the most extreme starts of many arrows outside, and label the groups of a few."""
        if len(start) > _MOST_NAMED:
            low, high = np.quantile(start, [_TAIL, 1.0 - _TAIL], axis=0)
            low, high = np.minimum(low, end.min(axis=0)), np.maximum(high, end.max(axis=0))
            wild = np.ptp(start, axis=0) > _WILD * (high - low)
            if self.shrunk.shape[1] == 1:  # show the whole diagonal
                wild = np.repeat(wild[:1], 2)
            low = np.where(wild, low, np.minimum(start, end).min(axis=0))
            high = np.where(wild, high, np.maximum(start, end).max(axis=0))
            room = _MARGIN * (high - low)
            self.ax_.set(
                xlim=(low[0] - room[0], high[0] + room[0]),
                ylim=(low[1] - room[1], high[1] + room[1]),
            )
        else:
            self.ax_.margins(0.1)
            self.ax_.set_title(" ", fontsize="medium")  # reserves its room before labels are placed
            names = list(self.own.index[self._has_arrow()])
            label_points(self.ax_, start, names, np.vstack([start, end]))

    def _outside(self, start: FloatArray) -> int:
        """Count arrows that start outside the picture."""
        (left, right), (bottom, top) = self.ax_.get_xlim(), self.ax_.get_ylim()
        x, y = start.T
        return int(((x < left) | (x > right) | (y < bottom) | (y > top)).sum())

    def _name_axes(self, ax: Any) -> None:
        """Label the axes and draw the legend."""
        names = [f"{name} {unit_of(str(name), self.response)}" for name in self.shrunk.columns]
        if len(names) == 1:
            names = [f"{names[0]}, unpooled", f"{names[0]}, shrunken"]
        self.ax_.set(xlabel=names[0], ylabel=names[1])
        handles = [self.own_points_, self.shrunk_points_, self.common_]
        few = len(self.own_points_.get_xdata()) <= _MOST_NAMED
        look = {"fontsize": "small", "markerscale": 1.0 if few else 2.0}
        outside = {"loc": "outside upper center", "ncols": 3}
        add_legend(self.ax_, ax, outside, handles=handles, **look)

    def _note(self, start: FloatArray) -> None:
        """Give the number of groups, and of those not visible, in the title."""
        notes = [f"{len(start):,} levels of {self.factor}"]
        if outside := self._outside(start):
            notes.append(f"{outside:,} start outside")
        if left := len(self.shrunk) - len(start):
            notes.append(f"{left:,} more have no unpooled estimate")
        self.ax_.set_title(", ".join(notes), fontsize="medium")
