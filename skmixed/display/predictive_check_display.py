"""Plots of posterior predictive checks."""

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

_MOST_CURVES = 50  # densities of replications: more hide each other
_GRID = 512  # points of a density
_BANDWIDTH = 0.9  # of Silverman's rule, in deviations n^(-1/5)
_NORMAL_QUARTILES = 1.34  # distance between those of the standard normal distribution
_BARS = 30  # of a histogram
_DENSITY_MARGIN = 0.05  # of the range, added on each side so that densities end within the panel


class PredictiveCheckDisplay:
    """Posterior predictive check: the observed response beside replicated ones.

    Panels show the densities of both, or the distribution of a statistic over replications with its
    observed value: as a histogram, or, given groups, as intervals by group.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    check : PredictiveCheck
        Result of `skmixed.bayes.posterior_predictive_check`.
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
    panels_ : list of str
        Contents of the panels: "density", or names of statistics.
    replicated_ : list of Line2D
        Densities of replicated responses.
    observed_ : list of Line2D
        Density of the observed response, its statistics as lines in histograms, and as points
        beside intervals.
    histograms_ : list of BarContainer
        Statistics of the replications.
    intervals_ : list of LineCollection
        Statistics of the replications by group.

    See Also
    --------
    skmixed.bayes.posterior_predictive_check : The figures, with p-values.
    ResidualsDisplay : Residual plots.

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
                f"check is a {type(check).__name__}: pass the result of posterior_predictive_check"
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
        """Draw replicated responses from the posterior, and plot them beside the observed one.

        Parameters
        ----------
        estimator : estimator
            A fitted `BayesianMixedRegressor`, or the model that `draws` belong to.
        X : array-like or data frame of shape (n, n_features)
            The training data or new data.
        y : array-like of shape (n,), default=None
            Their response. None reads it, and the weights, from X, for a model fitted by a whole
            formula, such as that of `lmer`.
        draws : PosteriorDraws or None, default=None
            Posterior draws; None takes those of a `BayesianMixedRegressor`.
        sample_weight : None or array-like of shape (n,), default=None
            Precision weights of the rows.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Group labels of the rows, if they were passed to ``fit`` as `groups`.
        statistics : str, callable, or list or dict of these
            Test statistics; see `skmixed.bayes.posterior_predictive_check`.
        by : str, array-like of shape (n,) or None, default=None
            Groups within which the statistics are computed; see there.
        random : {"fitted", "new"}, default="fitted"
            Whether random effects are those of the groups in the data, or of new groups.
        n_draws : int, default=500
            Number of replications.
        random_state : int, RandomState instance, Generator or None, default=None
            Seed of the random number generator; pass an int for reproducible results.
        kind : str, list of str or None, default=None
            Panels to draw: "density" and names of statistics; None draws all.
        level : float, default=0.9
            Probability of the intervals of a statistic by group, between 0 and 1.
        ax : matplotlib Axes, array of Axes or None, default=None
            Axes to draw on: one for each panel, or a single one to divide. None creates a figure.
        replicated_kwargs : dict, default=None
            Keyword arguments for the lines, bars or intervals of the replicated data.
        observed_kwargs : dict, default=None
            Keyword arguments for the lines and points of the observed data.

        Returns
        -------
        PredictiveCheckDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            For a model without posterior draws.
        ValueError
            For unknown panels, and as in `skmixed.bayes.posterior_predictive_check`.
        """
        require_matplotlib("PredictiveCheckDisplay.from_estimator")
        estimator = snapshot(estimator)
        if draws is None:
            draws = getattr(estimator, "posterior_", None)
        if draws is None:
            raise TypeError(
                f"a {type(estimator).__name__} has no posterior draws: pass draws=sample(model), "
                "or a fitted BayesianMixedRegressor"
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
        """Plot the observed response beside the replicated ones.

        Parameters
        ----------
        ax : matplotlib Axes, array of Axes or None, default=None
            Axes to draw on: one for each panel, or a single one to divide. None creates a figure.
        kind : str, list of str or None, default=None
            Panels to draw: "density" and names of statistics; None draws all.
        level : float, default=0.9
            Probability of the intervals of a statistic by group, between 0 and 1.
        replicated_kwargs : dict, default=None
            Keyword arguments for the lines, bars or intervals of the replicated data.
        observed_kwargs : dict, default=None
            Keyword arguments for the lines and points of the observed data.

        Returns
        -------
        PredictiveCheckDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            For unknown panels, a wrong number of axes, and a level outside (0, 1).
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
        """Draw densities of the observed response and of some replications."""
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
        """Draw the distribution of a statistic over replications, and its observed value."""
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
        """Draw intervals of a statistic by group, ordered by the observed values."""
        check = self.check
        seen = check.observed_statistics[name]
        tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
        low, high = np.quantile(check.replicated_statistics[name], tails, axis=1)
        order = np.argsort(seen, kind="stable")
        places = np.arange(len(order))
        look = {"color": BLUE, "linewidth": 1.6, "label": f"{100 * level:g}% of draws"}
        look = style("collection", look, replicated, "replicated_kwargs")
        self.intervals_.append(ax.hlines(places, low[order], high[order], **look))
        look = {"color": VERMILION, "linestyle": "none", "marker": "o", "markersize": 4.0}
        look = style("line", look | {"label": "observed"}, observed, "observed_kwargs")
        self.observed_ += ax.plot(seen[order], places, **look)
        name_rows(ax, [check.labels[place] for place in order], str(check.by))
        inside = ((low <= seen) & (seen <= high)).mean()
        ax.set_title(f"{100 * inside:.0f}% inside", fontsize="medium")
        ax.set_xlabel(f"{name} of {self.response}")


def _smoothed(values: FloatArray, edges: FloatArray) -> FloatArray:
    """Return a kernel density of values at the middles of bins, with Silverman's bandwidth."""
    counts = np.histogram(values, edges)[0] / len(values)
    step = edges[1] - edges[0]
    quartiles = float(np.diff(np.percentile(values, [25.0, 75.0]))[0]) / _NORMAL_QUARTILES
    deviation = min(float(values.std()), quartiles) or float(values.std()) or step
    width = _BANDWIDTH * deviation * len(values) ** -0.2
    return np.asarray(gaussian_filter1d(counts / step, width / step, mode="constant"))
