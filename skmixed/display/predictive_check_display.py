"""Observed responses beside those that a posterior would give."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d

from skmixed.bayes.posterior_draws import PosteriorDraws
from skmixed.bayes.predictive_check import PredictiveCheck, posterior_predictive_check
from skmixed.core.linalg import FloatArray
from skmixed.display._drawing import (
    BLACK,
    BLUE,
    VERMILION,
    choose,
    given_settings,
    name_rows,
    panels,
    require_matplotlib,
    style,
)
from skmixed.display._fitted_models import response_of
from skmixed.inference.fitted import snapshot
from skmixed.inference.fixed_effects.testing import check_probability

_MOST_CURVES = 50  # densities of draws: more hide each other
_GRID = 512  # points of a density
_BANDWIDTH = 0.9  # of Silverman's rule, in deviations n^(-1/5)
_NORMAL_QUARTILES = 1.34  # distance between those of the standard normal distribution
_BARS = 30  # of a histogram
_DENSITY_MARGIN = 0.05  # of the range beside it, so that densities end within the panel


class PredictiveCheckDisplay:
    """Observed responses beside responses drawn from a posterior for the same rows.

    Densities of both; or, a panel a statistic, the distribution of the statistic over draws and
    where the observed one lies, as a histogram, or, if there are groups, as intervals by group.

    Parameters
    ----------
    check : PredictiveCheck
        What `skmixed.bayes.posterior_predictive_check` returns.
    response : str, default="y"
        Name of the response, the unit of the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The first panel.
    axes_ : ndarray of Axes
        All panels, in the order of `panels_`.
    figure_ : matplotlib Figure
        The figure.
    panels_ : list of str
        What the panels show: "density", or names of statistics.
    replicated_ : list of Line2D
        Densities of draws.
    observed_ : list of Line2D
        What was observed: its density, lines in histograms, and points beside intervals.
    histograms_ : list of BarContainer
        Statistics of draws.
    intervals_ : list of LineCollection
        The same by group.

    See Also
    --------
    skmixed.bayes.posterior_predictive_check : The figures.
    ResidualsDisplay : What the model leaves.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.bayes import sample
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.display import PredictiveCheckDisplay
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
    >>> draws = sample(model, random_state=0)
    >>> display = PredictiveCheckDisplay.from_estimator(model, X, y, draws=draws, random_state=0)
    >>> display.panels_
    ['density', 'mean', 'sd', 'min', 'max']
    """

    def __init__(self, check: PredictiveCheck, *, response: str = "y") -> None:
        if not isinstance(check, PredictiveCheck):
            raise TypeError(
                f"check is a {type(check).__name__}, not what posterior_predictive_check returns"
            )
        self.check, self.response = check, response

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        draws: PosteriorDraws | None = None,
        sample_weight: Any = None,
        groups: Any = None,
        statistics: Any = ("mean", "sd", "min", "max"),
        by: Any = None,
        random: Literal["fitted", "new"] = "fitted",
        n_draws: int = 500,
        random_state: Any = None,
        kind: str | list[str] | None = None,
        level: float = 0.9,
        ax: Any = None,
        replicated_kwargs: dict[str, Any] | None = None,
        observed_kwargs: dict[str, Any] | None = None,
    ) -> PredictiveCheckDisplay:
        """Draw responses from the posterior of a fitted model, and show them beside others.

        Parameters
        ----------
        estimator : estimator
            A fitted `BayesianMixedRegressor`, or the model that `draws` are of.
        X : array-like or data frame of shape (n, n_features)
            Rows, those of the fit or others.
        y : array-like of shape (n,), default=None
            Their response. Of a model by a whole formula, as of `lmer`, None reads it off X, and
            weights, too.
        draws : PosteriorDraws or None, default=None
            Draws from the posterior; None takes those of a `BayesianMixedRegressor`.
        sample_weight : None or array-like of shape (n,), default=None
            Their weights, where these are precisions.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Their labels, if they were given as `groups` to `fit`.
        statistics : str, callable, or list or dict of these
            As of `skmixed.bayes.posterior_predictive_check`.
        by : str, array-like of shape (n,) or None, default=None
            Groups in which statistics are taken, likewise.
        random : {"fitted", "new"}, default="fitted"
            Random effects given the data, or those of new groups.
        n_draws : int, default=500
            Number of draws.
        random_state : None, int, RandomState or Generator, default=None
            Seed.
        kind : str, list of str or None, default=None
            The panels, of "density" and the names of the statistics; None is all.
        level : float, default=0.9
            Probability of the intervals by group.
        ax : Axes or array of Axes, default=None
            Where to draw: an axes for every panel, or one that is divided. None makes a figure.
        replicated_kwargs : dict, default=None
            Settings of what is drawn of the draws: lines, bars or intervals.
        observed_kwargs : dict, default=None
            Settings of lines and points of what was observed.

        Returns
        -------
        PredictiveCheckDisplay
            The figures and what was drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            For a model without draws.
        ValueError
            As of `skmixed.bayes.posterior_predictive_check`, and for unknown panels.
        """
        require_matplotlib("PredictiveCheckDisplay.from_estimator")
        estimator = snapshot(estimator)
        if draws is None:
            draws = getattr(estimator, "posterior_", None)
        if draws is None:
            raise TypeError(
                f"a {type(estimator).__name__} has no posterior: pass draws=sample(model), or a "
                "fitted BayesianMixedRegressor"
            )
        check = posterior_predictive_check(
            estimator,
            draws,
            X,
            y,
            sample_weight,
            groups=groups,
            statistics=statistics,
            by=by,
            random=random,
            n_draws=n_draws,
            random_state=random_state,
        )
        return cls(check, response=response_of(estimator)).plot(
            ax,
            kind=kind,
            level=level,
            replicated_kwargs=replicated_kwargs,
            observed_kwargs=observed_kwargs,
        )

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str | list[str] | None = None,
        level: float = 0.9,
        replicated_kwargs: dict[str, Any] | None = None,
        observed_kwargs: dict[str, Any] | None = None,
    ) -> PredictiveCheckDisplay:
        """Draw what was observed beside the draws.

        Parameters
        ----------
        ax : Axes or array of Axes, default=None
            Where to draw: an axes for every panel, or one that is divided. None makes a figure.
        kind : str, list of str or None, default=None
            The panels, of "density" and the names of the statistics; None is all.
        level : float, default=0.9
            Probability of the intervals by group.
        replicated_kwargs : dict, default=None
            Settings of what is drawn of the draws: lines, bars or intervals.
        observed_kwargs : dict, default=None
            Settings of lines and points of what was observed.

        Returns
        -------
        PredictiveCheckDisplay
            This display, with what was drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            For unknown panels, a wrong number of axes, and a level that is no probability.
        """
        require_matplotlib("PredictiveCheckDisplay.plot")
        check_probability(level)
        known = ["density", *self.check.observed_statistics]
        self.panels_ = choose("kind", kind, known)
        self.figure_, self.axes_ = panels(ax, len(self.panels_), 3, (4.0, 3.2))
        self.ax_ = self.axes_[0]
        self.replicated_: list[Any] = []
        self.observed_: list[Any] = []
        self.histograms_: list[Any] = []
        self.intervals_: list[Any] = []
        for axes, name in zip(self.axes_, self.panels_, strict=True):
            if name == "density":
                self._density(axes, replicated_kwargs, observed_kwargs)
            elif self.check.by is None:
                self._histogram(axes, name, replicated_kwargs, observed_kwargs)
            else:
                self._intervals(axes, name, level, replicated_kwargs, observed_kwargs)
        return self

    def _density(self, ax: Any, replicated: Any, observed: Any) -> None:
        """Draw densities of the responses, and of some draws."""
        check = self.check
        drawn = check.replicated[:, :_MOST_CURVES]
        low, high = min(check.observed.min(), drawn.min()), max(check.observed.max(), drawn.max())
        margin = _DENSITY_MARGIN * (high - low) or 1.0
        edges = np.linspace(low - margin, high + margin, _GRID + 1)
        middles = (edges[1:] + edges[:-1]) / 2.0
        look = {"color": BLUE, "alpha": 0.25, "linewidth": 0.6}
        look = style("line", look, replicated, "replicated_kwargs")
        for values in drawn.T:
            self.replicated_ += ax.plot(middles, _smoothed(values, edges), **look)
        self.replicated_[0].set_label(f"{drawn.shape[1]} draws")
        look = {"color": BLACK, "linewidth": 1.6, "label": "observed"}
        look = style("line", look, observed, "observed_kwargs")
        self.observed_ += ax.plot(middles, _smoothed(check.observed, edges), **look)
        ax.set(xlabel=self.response, ylabel="density", ylim=(0.0, None))
        ax.legend(fontsize="small")

    def _histogram(self, ax: Any, name: str, replicated: Any, observed: Any) -> None:
        """Draw the distribution of a statistic over draws, and the observed one."""
        drawn = self.check.replicated_statistics[name][0]
        seen = float(self.check.observed_statistics[name][0])
        look = {"color": BLUE, "alpha": 0.5, **given_settings(replicated, "replicated_kwargs")}
        kept = drawn[np.isfinite(drawn)]
        self.histograms_.append(ax.hist(kept, bins=min(_BARS, max(1, len(kept))), **look)[2])
        look = style("line", {"color": BLACK, "linewidth": 1.6}, observed, "observed_kwargs")
        self.observed_.append(ax.axvline(seen, **look))
        p_value = float(self.check.p_values[name][0])
        ax.set_title(f"p = {p_value:.2f}", fontsize="medium")
        ax.set(xlabel=f"{name} of {self.response}", ylabel="draws")

    def _intervals(self, ax: Any, name: str, level: float, replicated: Any, observed: Any) -> None:
        """Draw intervals of a statistic by group, in the order of what was observed."""
        check = self.check
        seen = check.observed_statistics[name]
        tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
        low, high = np.quantile(check.replicated_statistics[name], tails, axis=1)
        order = np.argsort(seen, kind="stable")
        places = np.arange(len(order))
        look = {"color": BLUE, "linewidth": 1.6, "label": f"{100 * level:g} % of draws"}
        look = style("collection", look, replicated, "replicated_kwargs")
        self.intervals_.append(ax.hlines(places, low[order], high[order], **look))
        look = {"color": VERMILION, "linestyle": "none", "marker": "o", "markersize": 4.0}
        look = style("line", look | {"label": "observed"}, observed, "observed_kwargs")
        self.observed_ += ax.plot(seen[order], places, **look)
        name_rows(ax, [check.labels[place] for place in order], str(check.by))
        inside = ((low <= seen) & (seen <= high)).mean()
        ax.set_title(f"{100 * inside:.0f} % inside", fontsize="medium")
        ax.set_xlabel(f"{name} of {self.response}")


def _smoothed(values: FloatArray, edges: FloatArray) -> FloatArray:
    """Return a kernel density of values at the middles of bins, with Silverman's bandwidth."""
    counts = np.histogram(values, edges)[0] / len(values)
    step = edges[1] - edges[0]
    quartiles = float(np.diff(np.percentile(values, [25.0, 75.0]))[0]) / _NORMAL_QUARTILES
    deviation = min(float(values.std()), quartiles) or float(values.std()) or step
    width = _BANDWIDTH * deviation * len(values) ** -0.2
    return np.asarray(gaussian_filter1d(counts / step, width / step, mode="constant"))
