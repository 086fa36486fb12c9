"""Plots of profile likelihoods: signed roots of the deviance, or densities."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats
from scipy.interpolate import CubicSpline

from skmixed.display._drawing import (
    BLUE,
    DOTS,
    GREY,
    choose,
    need_columns,
    panels,
    require_matplotlib,
    style,
    unit_of,
)
from skmixed.display._fitted_models import mixed_model, predictor_of
from skmixed.inference.fitted import snapshot
from skmixed.inference.profiling.profiles import profile, split_curves

_COLUMNS = ["parameter", "value", "zeta"]
_CURVE_POINTS = 200  # of a curve: it looks smooth in a panel of three inches
_END_POINTS = 2_000  # of the inverted curve: interval limits to a fraction of a pixel
_MARKED_LEVELS = (0.5, 0.8, 0.95, 0.99)  # of intervals; curves extend to 0.99 by default
_END_SLACK = 1e-6  # of zeta: the last point of a curve is at the limit up to 1e-7


class ProfileDisplay:
    """Profile likelihood of each parameter.

    zeta is the signed square root of the difference between the profile deviance and its minimum.
    Where the curve is straight, a Wald interval is adequate; where it bends, the interval is
    asymmetric. Grey lines mark the 50, 80, 95 and 99% intervals, as far as the curve extends. The
    density is that of a parameter whose zeta is standard normal.

    Read more in the user guide: :doc:`/guide/intervals`.

    Parameters
    ----------
    curves : DataFrame
        Points of the curves: parameter, value and zeta, as in `profile`.
    response : str, default="y"
        Name of the response, for the units of standard deviations and of the intercept; the linear
        predictor in generalized models.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the first panel.
    axes_ : ndarray of Axes
        Axes of all panels, in the order of `panels_`.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    panels_ : list of str
        Parameter of each panel.
    lines_ : list of Line2D
        The curves.
    points_ : list of Line2D
        Computed points of the curves; none for densities.
    intervals_ : list of LineCollection
        Lines that mark interval limits; none for densities.

    See Also
    --------
    skmixed.inference.profile : The figures.
    skmixed.inference.confidence_intervals : Profile intervals as a table, by ``method="profile"``.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.display import ProfileDisplay
    >>> model = lmer("Reaction ~ Days + (1 | Subject)", load_sleepstudy())
    >>> display = ProfileDisplay.from_estimator(model, kind="density")
    >>> display.panels_
    ['sd_(Intercept)|Subject', 'sigma', '(Intercept)', 'Days']
    """

    def __init__(self, curves: pd.DataFrame, *, response: str = "y") -> None:
        self.curves = need_columns(curves, _COLUMNS, "curves")
        self.response = response

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        kind: Literal["zeta", "density"] = "zeta",
        parameters: str | list[str] | None = None,
        level: float = 0.99,
        points: int = 6,
        X: Any = None,
        y: Any = None,
        sample_weight: Any = None,
        groups: Any = None,
        ax: Any = None,
        line_kwargs: dict[str, Any] | None = None,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
    ) -> ProfileDisplay:
        """Plot the profile likelihood of a fitted model.

        Parameters
        ----------
        estimator : estimator
            A fitted mixed model, linear or generalized.
        kind : {"zeta", "density"}, default="zeta"
            What to draw: zeta, or the density of a parameter whose zeta is standard normal.
        parameters : str, list of str or None, default=None
            Names of the parameters, as in `confidence_intervals`; None draws all.
        level : float, default=0.99
            Extent of the curves: the limits of intervals at this confidence level.
        points : int, default=6
            Number of points on each side of the estimate.
        X, y, sample_weight, groups : array-like, default=None
            The training data, as passed to ``fit``; the model does not store it. Not needed for
            linear models. After `lmer`, `glmer`, `clmm` or `nlmer` the data frame X is enough: y
            and the weights, such as trials, are read from it.
        ax : matplotlib Axes, array of Axes or None, default=None
            Axes to draw on: one for each panel, or a single one to divide. None creates a figure.
        line_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the curves.
        point_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the points.
        interval_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``vlines``, for the interval limits.

        Returns
        -------
        ProfileDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            For an estimator without a likelihood.
        ValueError
            For an unknown kind or parameter, and as in `profile`.
        """
        require_matplotlib("ProfileDisplay.from_estimator")
        estimator = snapshot(estimator)
        model = mixed_model(estimator, "ProfileDisplay")
        curves = profile(
            model,
            level=level,
            points=points,
            X=X,
            y=y,
            sample_weight=sample_weight,
            groups=groups,
        ).to_frame()
        known = list(curves["parameter"].unique())
        wanted = choose("parameters", parameters, known)
        curves = curves[curves["parameter"].isin(wanted)].reset_index(drop=True)
        return cls(curves, response=predictor_of(model)).plot(
            ax,
            kind=kind,
            line_kwargs=line_kwargs,
            point_kwargs=point_kwargs,
            interval_kwargs=interval_kwargs,
        )

    def plot(
        self,
        ax: Any = None,
        *,
        kind: Literal["zeta", "density"] = "zeta",
        line_kwargs: dict[str, Any] | None = None,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
    ) -> ProfileDisplay:
        """Plot the curves.

        Parameters
        ----------
        ax : matplotlib Axes, array of Axes or None, default=None
            Axes to draw on: one for each panel, or a single one to divide. None creates a figure.
        kind : {"zeta", "density"}, default="zeta"
            What to draw: zeta, or the density of a parameter whose zeta is standard normal.
        line_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the curves.
        point_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``plot``, for the points.
        interval_kwargs : dict, default=None
            Keyword arguments for matplotlib's ``vlines``, for the interval limits.

        Returns
        -------
        ProfileDisplay
            The display, with its data and artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            For an unknown kind, and a wrong number of axes.
        """
        require_matplotlib("ProfileDisplay.plot")
        if kind not in ("zeta", "density"):
            raise ValueError(f"kind={kind!r} is neither 'zeta' nor 'density'")
        parts = split_curves(self.curves)
        self.figure_, self.axes_ = panels(ax, len(parts), 3, (3.2, 2.6))
        self.ax_, self.panels_ = self.axes_[0], [str(part["parameter"].iloc[0]) for part in parts]
        self.lines_: list[Any] = []
        self.points_: list[Any] = []
        self.intervals_: list[Any] = []
        look = style("line", {"color": BLUE, "linewidth": 1.6}, line_kwargs, "line_kwargs")
        for number, (axes, part) in enumerate(zip(self.axes_, parts, strict=True)):
            value, zeta = part["value"].to_numpy(float), part["zeta"].to_numpy(float)
            value, first = np.unique(value, return_index=True)
            curve = _curve(value, zeta[first])
            fine = np.linspace(value[0], value[-1], _CURVE_POINTS)
            height = curve(fine)
            if kind == "density":
                slope = np.maximum(curve(fine, 1), 0.0)
                height = stats.norm.pdf(height) * slope
            self.lines_ += axes.plot(fine, height, **look)
            if kind == "zeta":
                self._mark(axes, value, curve, point_kwargs, interval_kwargs)
            else:
                axes.set_ylim(bottom=0.0)
            axes.set(xlabel=_with_unit(self.panels_, number, self.response), ylabel=kind)
        return self

    def _mark(
        self, ax: Any, value: np.ndarray, curve: Any, point_kwargs: Any, interval_kwargs: Any
    ) -> None:
        """Draw the points and the lines that mark interval limits."""
        defaults: dict[str, Any] = {**DOTS, "color": BLUE, "markersize": 3.0}
        settings = style("line", defaults, point_kwargs, "point_kwargs")
        self.points_ += ax.plot(value, curve(value), **settings)
        zeta = curve(value)
        limits = stats.norm.ppf(0.5 + 0.5 * np.array(_MARKED_LEVELS))
        limits = np.concatenate([-limits, limits])
        limits = limits[(limits >= zeta[0] - _END_SLACK) & (limits <= zeta[-1] + _END_SLACK)]
        fine = np.linspace(value[0], value[-1], _END_POINTS)
        ends = np.interp(limits, curve(fine), fine)
        defaults = {"color": GREY, "linewidth": 0.8}
        settings = style("collection", defaults, interval_kwargs, "interval_kwargs")
        self.intervals_.append(ax.vlines(ends, 0.0, limits, **settings))
        ax.axhline(0.0, color="black", linewidth=0.8)


def _curve(value: np.ndarray, zeta: np.ndarray) -> Any:
    """Return zeta as a smooth function of the value."""
    if len(value) < 2:
        raise ValueError("a curve needs at least two points")
    return CubicSpline(value, zeta, bc_type="natural")


def _with_unit(names: list[str], number: int, response: str) -> str:
    """Write a parameter with its unit below; correlations and dispersions have none.

    Column names may look like parameters: those of random effects have a bar, and a second sigma or
    dispersion is a coefficient.
    """
    name = names[number]
    of_effects = "|" in name
    if of_effects and name.startswith("cor_"):
        return name
    if name == "dispersion" and name not in names[:number]:
        return name
    column = name.removeprefix("sd_").partition("|")[0] if of_effects else name
    is_residual = name == "sigma" and name not in names[:number]
    return f"{name}\n{f'[{response}]' if is_residual else unit_of(column, response)}"
