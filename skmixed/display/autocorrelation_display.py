"""Plot of the autocorrelation of residuals within series."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd

from skmixed.display._drawing import (
    BLUE,
    DASHED,
    DOTS,
    need_columns,
    panels,
    require_matplotlib,
    style,
)
from skmixed.inference.autocorrelation import autocorrelation

_COLUMNS = ["lag", "autocorrelation", "lower", "upper"]
_PANEL = (5.0, 3.0)  # inches: tells twenty lags apart


class AutocorrelationDisplay:
    """Autocorrelation plot of residuals (ACF), with limits for white noise.

    Use it to judge whether a longitudinal model needs a residual structure; see
    `skmixed.inference.autocorrelation`.

    Read more in the user guide: :doc:`/guide/serial_correlation`.

    Parameters
    ----------
    autocorrelations : DataFrame
        A row for each lag: lag, autocorrelation, lower and upper.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    axes_ : ndarray of Axes
        Array with these axes as its only entry.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    stems_ : LineCollection
        Lines from zero to the autocorrelations.
    points_ : Line2D
        End points of the lines.
    limits_ : list of Line2D
        Lower and upper limits.
    zero_ : Line2D
        Line at zero.

    See Also
    --------
    skmixed.inference.autocorrelation : The figures as a table.
    ResidualsDisplay : Residuals by fitted value and group, and Q-Q plots.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.display import AutocorrelationDisplay
    >>> data = load_sleepstudy()
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", data, residual="ar1(Days | Subject)")
    >>> display = AutocorrelationDisplay.from_estimator(model, data, data["Reaction"])
    >>> display.ax_.get_xlabel()
    'lag'
    """

    def __init__(self, autocorrelations: pd.DataFrame) -> None:
        self.autocorrelations = need_columns(autocorrelations, _COLUMNS, "autocorrelations")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        groups: Any = None,
        series: Any = None,
        time: Any = None,
        kind: Literal["normalized", "pearson", "response", "deviance", "quantile"] | None = None,
        max_lag: int | None = None,
        level: float = 0.95,
        ax: Any = None,
        stem_kwargs: dict[str, Any] | None = None,
        point_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> AutocorrelationDisplay:
        """Plot the autocorrelation of the residuals of a fitted model.

        Parameters
        ----------
        estimator : estimator
            A fitted mixed model, or a linear model with a residual structure.
        X, y, sample_weight, groups : array-like
            The training data, as passed to ``fit``, or new data. After `lmer`, `glmer`, `clmm` or
            `nlmer` the data frame X is enough: y and the weights, such as trials, are read from it.
        series, time : str, array-like of shape (n,) or None, default=None
            Series and time of each row, or names of the columns of X that hold them; see
            `skmixed.inference.autocorrelation`.
        kind : str or None, default=None
            Kind of residuals; None means "normalized" for linear models and "pearson" for others.
        max_lag : int or None, default=None
            The longest lag; see `skmixed.inference.autocorrelation`.
        level : float, default=0.95
            Probability that the autocorrelation of white noise at a single lag is within the
            limits, between 0 and 1.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        stem_kwargs, point_kwargs, line_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``vlines``, for the stems, and its ``plot``, for the
            points and the limits.

        Returns
        -------
        AutocorrelationDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the model is not a mixed model.
        ValueError
            For rows, times and options that `skmixed.inference.autocorrelation` does not accept.
        """
        require_matplotlib("AutocorrelationDisplay")
        table = autocorrelation(
            estimator,
            X,
            y,
            sample_weight,
            groups,
            series=series,
            time=time,
            kind=kind,
            max_lag=max_lag,
            level=level,
        )
        return cls(table.to_frame().reset_index()).plot(
            ax=ax, stem_kwargs=stem_kwargs, point_kwargs=point_kwargs, line_kwargs=line_kwargs
        )

    def plot(
        self,
        ax: Any = None,
        *,
        stem_kwargs: dict[str, Any] | None = None,
        point_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> AutocorrelationDisplay:
        """Plot the autocorrelations.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        stem_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``vlines``, for the stems.
        point_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the points.
        line_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the limits.

        Returns
        -------
        AutocorrelationDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        require_matplotlib("AutocorrelationDisplay")
        self.figure_, self.axes_ = panels(ax, 1, 1, _PANEL)
        self.ax_ = self.axes_[0]
        table = self.autocorrelations
        lags, values = table["lag"].to_numpy(), table["autocorrelation"].to_numpy()
        stems = style("collection", {"color": BLUE}, stem_kwargs, "stem_kwargs")
        self.stems_ = self.ax_.vlines(lags, 0.0, values, **stems)
        dots = style("line", {**DOTS, "color": BLUE, "markersize": 4}, point_kwargs, "point_kwargs")
        (self.points_,) = self.ax_.plot(lags, values, **dots)
        lines = style("line", DASHED, line_kwargs, "line_kwargs")
        self.limits_ = [self.ax_.plot(lags, table[side], **lines)[0] for side in ("lower", "upper")]
        self.zero_ = self.ax_.axhline(0.0, color="black", linewidth=0.8)
        self.ax_.set(xlabel="lag", ylabel="autocorrelation")
        return self
