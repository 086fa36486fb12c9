"""The autocorrelation of residuals within series."""

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
_PANEL = (5.0, 3.0)  # inches: twenty lags apart


class AutocorrelationDisplay:
    """Autocorrelation of residuals by lag, with the limits of white noise.

    Parameters
    ----------
    autocorrelations : DataFrame
        A row for every lag: lag, autocorrelation, lower and upper.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The picture.
    axes_ : ndarray of Axes
        The same, as the only entry.
    figure_ : matplotlib Figure
        The figure.
    stems_ : LineCollection
        Lines from zero to the autocorrelations.
    points_ : Line2D
        Their ends.
    limits_ : list of Line2D
        The lower and the upper limit.
    zero_ : Line2D
        The line at zero.

    See Also
    --------
    skmixed.inference.autocorrelation : The table.
    ResidualsDisplay : Residuals against fitted values and groups, and their quantiles.

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
        """Draw the autocorrelation of the residuals of a fitted model.

        Parameters
        ----------
        estimator : estimator
            Fitted, as for `skmixed.inference.autocorrelation`.
        X, y, sample_weight, groups : array-like
            The rows of the fit, as given to `fit`, or others. After `lmer`, `glmer`, `clmm` or
            `nlmer` the data frame X is enough: y and the weights, such as trials, are read from it.
        series, time : str, array-like of shape (n,) or None, default=None
            What is a series, and where its rows stand; names are those of columns of X. None is
            what the residual structure says, or else the finest groups and the order of the rows.
        kind : str or None, default=None
            Which residuals; None is "normalized" for linear models and "pearson" for others.
        max_lag : int or None, default=None
            The longest lag.
        level : float, default=0.95
            Probability of the limits.
        ax : Axes or None, default=None
            Where to draw; None makes a figure.
        stem_kwargs, point_kwargs, line_kwargs : dict, default=None
            Settings of the stems, for matplotlib's ``vlines``, of the points and of the limits, for
            ``plot``.

        Returns
        -------
        AutocorrelationDisplay
            The table and what was drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            For what is no mixed model.
        ValueError
            For rows, times and settings that `skmixed.inference.autocorrelation` does not take.
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
        """Draw the autocorrelations.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw; None makes a figure.
        stem_kwargs : dict, default=None
            Settings of the stems, for matplotlib's ``vlines``.
        point_kwargs : dict, default=None
            Settings of the points, for its ``plot``.
        line_kwargs : dict, default=None
            Settings of the limits, for its ``plot``.

        Returns
        -------
        AutocorrelationDisplay
            This display, with what was drawn.

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
