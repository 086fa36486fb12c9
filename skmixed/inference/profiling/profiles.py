"""Profile likelihoods of all parameters: signed roots of the deviance, and their inverses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from skmixed.core.fit import Fit
from skmixed.core.linalg import BoolArray, FloatArray
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.rows.monte_carlo import check_exact
from skmixed.exceptions import warn
from skmixed.inference.components import (
    Component,
    chosen_components,
    components_of,
    identified_part,
    is_identified,
)
from skmixed.inference.fitted import (
    AnyFit,
    GivenRows,
    check_maximum,
    curve_of_fit,
    determined_any_fit_of,
    formula_of,
    observations_of_fit,
    snapshot,
)
from skmixed.inference.fixed_effects.testing import check_probability
from skmixed.inference.profiling.constrained import Constrained, ConstrainedDeviance
from skmixed.inference.profiling.constrained_curve import ConstrainedCurve
from skmixed.inference.profiling.constrained_likelihood import ConstrainedLikelihood
from skmixed.inference.profiling.constrained_residual import ResidualDeviance
from skmixed.inference.profiling.constrained_search import NOT_COMPUTED, Searcher
from skmixed.inference.table import Table, TabularResult


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Profile(TabularResult):
    """Profile likelihood of each parameter, as signed roots of the deviance.

    Read more in the user guide: :doc:`/guide/intervals`.

    Parameters
    ----------
    title : str
        Title with the formula of the model.
    curves : DataFrame
        Points of the curves: columns parameter, value and zeta, sorted by value within a parameter.
        zeta is the signed square root of the difference between the profile deviance and its
        minimum. It is compared with standard normal quantiles, and linear in the value if a Wald
        interval is adequate.

    See Also
    --------
    profile : The function that returns it.
    skmixed.display.ProfileDisplay : Plots of the curves.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import profile
    >>> model = lmer("Reaction ~ 1 + (1 | Subject)", load_sleepstudy())
    >>> print(profile(model, points=1))
    Profile likelihood: Reaction ~ 1 + (1 | Subject)
                           points   lower zeta_lower   upper zeta_upper
    parameter
    sd_(Intercept)|Subject      3  21.379    -2.5758  59.946     2.5758
    sigma                       3  38.608    -2.5758  51.435     2.5758
    (Intercept)                 3   273.6    -2.5758  323.42     2.5758
    """

    title: str
    curves: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """Return the curves as a data frame, a copy.

        Returns
        -------
        DataFrame
            Columns parameter, value and zeta.
        """
        return self.curves.copy()

    def _table(self) -> Table:
        parts = split_curves(self.curves)
        lowest = pd.DataFrame([part.iloc[0] for part in parts]).set_index("parameter")
        highest = pd.DataFrame([part.iloc[-1] for part in parts]).set_index("parameter")
        ranges = {
            "points": [len(part) for part in parts],
            "lower": lowest["value"],
            "zeta_lower": lowest["zeta"],
            "upper": highest["value"].to_numpy(),
            "zeta_upper": highest["zeta"].to_numpy(),
        }
        return Table(self.title, pd.DataFrame(ranges))


def split_curves(curves: pd.DataFrame) -> list[pd.DataFrame]:
    """Return each curve by itself: one begins with a new parameter, or where zeta decreases.

    A column may have the name of another parameter, such as sigma. Every curve goes through zero.
    """
    names, zeta = curves["parameter"], curves["zeta"]
    before = zeta.shift()
    begins = (names != names.shift()) | ((zeta < before) & (zeta <= 0.0) & (before >= 0.0))
    return [part for _, part in curves.groupby(begins.cumsum())]


def profile(
    model: Any,
    *,
    parameters: str | Sequence[str] | None = None,
    level: float = 0.99,
    points: int = 6,
    X: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
) -> Profile:
    """Compute the profile likelihood of each parameter.

    Use it to see how far the likelihood is from quadratic; for intervals alone,
    `confidence_intervals` with ``method="profile"`` is faster.

    Read more in the user guide: :doc:`/guide/intervals`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    parameters : str, list of str or None, default=None
        Names of the parameters, as in `confidence_intervals`; None for all.
    level : float, default=0.99
        Extent of the curves: the limits of intervals at this confidence level, or the boundary.
    points : int, default=6
        Number of points on each side of the estimate, equally spaced in zeta.
    X, y, sample_weight, groups : array-like, default=None
        The training data, as passed to ``fit``; the model does not store it. Not needed for linear
        models. After `lmer`, `glmer`, `clmm` or `nlmer` the data frame X is enough: y and the
        weights, such as trials, are read from it.

    Returns
    -------
    Profile
        The curves: ``to_frame()`` has columns parameter, value and zeta. Parameters are named as in
        `confidence_intervals`; those that the data do not identify are left out. A curve that
        cannot be followed to its end is shorter, with a warning.

    Raises
    ------
    ValueError
        If the model is not fitted, leaves no residual or has no maximum of the likelihood; for an
        invalid level or number of points and unknown parameters; if training data are needed but
        missing or are other rows; and for nonlinear models fitted by Lindstrom and Bates's method,
        which maximises no likelihood.

    Warns
    -----
    UserWarning
        If a curve cannot be followed to its end.

    See Also
    --------
    confidence_intervals : Intervals at one level.
    skmixed.display.ProfileDisplay : Plots of the curves.
    skmixed.model_selection.profile_range : Profile of the range of a relationship.

    Notes
    -----
    In R: ``profile(model)``. As there, the profiles are those of the full likelihood, and a model
    fitted by REML is refitted; with a prior, those of the penalised likelihood. Each point is a
    minimum of the deviance over all other parameters. For a generalized model the deviance has the
    approximation that the model was fitted by.

    References
    ----------
    .. [1] Bates, D., Maechler, M., Bolker, B. & Walker, S. (2015). Fitting linear mixed-effects
       models using lme4. Journal of Statistical Software 67(1), :doi:`10.18637/jss.v067.i01`,
       section 5.1.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import profile
    >>> model = lmer("Reaction ~ Days + (1 | Subject)", load_sleepstudy())
    >>> curves = profile(model, level=0.95, points=1).to_frame()
    >>> curves[curves["parameter"] == "Days"].round(2)
      parameter  value  zeta
    9      Days   8.89 -1.96
    10     Days  10.47  0.00
    11     Days  12.05  1.96
    """
    check_probability(level)
    if points < 1:
        raise ValueError(f"points={points!r} is not a positive number")
    model = snapshot(model)
    targets = farthest_zeta(level) * np.arange(1, points + 1) / points
    rows = [
        (component.name, value, zeta)
        for component, curve in profiled(model, (X, y, sample_weight, groups), parameters)[1]
        if curve is not None
        for value, zeta in _points_of(curve, targets)
    ]
    curves = pd.DataFrame(rows, columns=["parameter", "value", "zeta"])
    return Profile(f"Profile likelihood: {formula_of(model)}", curves)


def farthest_zeta(level: float) -> float:
    """Return the largest absolute zeta within an interval at this level."""
    return float(np.sqrt(stats.chi2.ppf(level, 1)))


def profiled(
    model: Any,
    rows: GivenRows = (None, None, None, None),
    parameters: str | Sequence[str] | None = None,
) -> tuple[AnyFit, list[tuple[Component, ProfileCurve | None]]]:
    """Return the ML fit of a model, and its parameters with the starts of their curves.

    There is none for parameters that the data do not identify, or that cannot be computed. `rows`
    are X, y, sample_weight and groups, which models other than linear ones need; `parameters` are
    those requested.
    """
    given = determined_any_fit_of(model)
    constrain: Callable[[Component], Constrained]
    if isinstance(given, NonlinearFit):
        curve = curve_of_fit(model, *rows, "a profile likelihood")
        return given, _curves(given, partial(ConstrainedCurve, given, at_optimum=curve), parameters)
    if isinstance(given, Fit):
        check_exact(given, "a profile")
        fit = given.with_method("ml")
        part = identified_part(fit)
        constrain = partial(ConstrainedDeviance, part)
        if isinstance(part, ResidualFit):
            constrain = partial(ResidualDeviance, part)
        return fit, _curves(fit, constrain, parameters)
    check_maximum(given, "a profile")
    observations = observations_of_fit(model, *rows, "a profile likelihood")
    constrain = partial(ConstrainedLikelihood, given, observations=observations)
    return given, _curves(given, constrain, parameters)


def _curves(
    fit: AnyFit,
    constrain: Callable[[Component], Constrained],
    parameters: str | Sequence[str] | None,
) -> list[tuple[Component, ProfileCurve | None]]:
    """Start the curve of each requested parameter, except for thresholds."""
    found = []
    for part in chosen_components(components_of(fit), parameters):
        if part.kind == "threshold":
            continue
        curve = None
        if is_identified(fit, part):
            with of_one_parameter(part):
                curve = ProfileCurve(constrain(part), fit.criterion)
        found.append((part, curve))
    return found


@contextmanager
def of_one_parameter(part: Component) -> Iterator[None]:
    """Turn an error in the profile of one parameter into a warning."""
    try:
        yield
    except (NoLimitError, *NOT_COMPUTED) as error:
        warn(
            f"the profile of {part.name} is incomplete, and missing limits are NaN: {error}",
            UserWarning,
        )


def _points_of(curve: ProfileCurve, targets: FloatArray) -> list[tuple[float, float]]:
    """Return the points of one curve, by value."""
    constrained = curve.constrained
    found = {constrained.optimum: 0.0}
    for sign in (-1.0, 1.0):
        with of_one_parameter(constrained.component):
            for t, zeta in _side(curve, sign * targets):
                found[t] = zeta
    direction = 1.0 if constrained.rises else -1.0
    return sorted((constrained.value(t), direction * zeta) for t, zeta in found.items())


def _side(curve: ProfileCurve, targets: FloatArray) -> Iterator[tuple[float, float]]:
    """Yield points away from the optimum, up to the boundary."""
    for target in targets:
        t, zeta = curve.solve(float(target))
        yield t, zeta
        if t in curve.constrained.bounds:
            return


_NEXT_TO_ZERO = 1e-2  # units of a coordinate: nearer to zero, its slope is nearly zero too
_AWAY_FROM_ZERO = 0.3  # units: the deviance is the same for both signs, and zero can be a maximum
_NOT_LOWER = 1e-3  # of the deviance: lower by more, another fit is better
_SAME_DEVIANCE = 1e-4  # of a limit, a tenth of what matters: ends of two searches of one minimum
_MOST_MENDED = 10  # attempts at one limit, each from a lower minimum
_ZETA_ERROR = 1e-7  # of a limit: it moves the probability of an interval by less
_NARROWEST = 1e-9  # of a bracket, relative to the distance from the optimum
_MOST_TRIALS = 60  # for one limit: Newton takes a handful, halving to the narrowest bracket 30
_MOST_GROWTH = 3.0  # of the distance from the optimum in one step: far jumps end in other minima
_FIRST_STEP = 0.05  # units of the parameter: short, since there is no slope yet
_FARTHEST = 1e12  # units from the optimum, or its size: if still likely, there is no limit


class NoLimitError(RuntimeError):
    """A limit of one parameter cannot be found; the message says why."""


@dataclass(slots=True, eq=False)
class ProfileCurve:
    """The signed root of the profile deviance of one parameter.

    zeta = sign(t - t_0) (f(t) - f(t_0))^(1/2), f being the deviance minimised over everything else;
    it is linear if the log-likelihood is quadratic. Each search starts from the end of one nearer
    to the optimum, since there can be other minima far from it.
    """

    constrained: Constrained  # the model with the parameter held
    minimum: float  # the deviance at the optimum
    _points: dict[float, tuple[float, float, FloatArray]] = field(  # by t: zeta, slope, x (m,)
        default_factory=dict
    )
    _searcher: Searcher = field(init=False)

    def __post_init__(self) -> None:
        """Begin at the optimum."""
        self._searcher = self.constrained.searcher()
        self._points[self.constrained.optimum] = (0.0, 0.0, self.constrained.start)

    def zeta(self, t: float) -> tuple[float, float]:
        """Return zeta at t, and its derivative, 0 at the optimum."""
        if t not in self._points:
            self._points[t] = self._minimised(t)
        return self._points[t][:2]

    def _minimised(self, t: float) -> tuple[float, float, FloatArray]:
        optimum = self.constrained.optimum
        between = [other for other in self._points if min(optimum, t) <= other <= max(optimum, t)]
        nearest = min(between, key=lambda other: abs(other - t))
        x, units = self._points[nearest][2], self.constrained.units
        starts = [x]
        is_symmetric = (np.abs(x) < _NEXT_TO_ZERO * units) & self._of_effects
        if is_symmetric.any():
            starts.append(np.where(is_symmetric, _AWAY_FROM_ZERO * units, x))
        return self._point(t, self._searched(t, starts))

    @property
    def _of_effects(self) -> BoolArray:
        """Which of the free coordinates make a covariance of effects, (m,)."""
        return np.arange(len(self.constrained.start)) < self.constrained.n_of_effects

    def _searched(self, t: float, starts: list[FloatArray]) -> FloatArray:
        """Minimise from each start, (m,), and return the coordinates of the lowest end."""
        if not len(starts[0]):
            return starts[0]
        best = min((self._searcher.lowest(x, t) for x in starts), key=lambda end: end.value)
        self._searcher.learn(best)
        return best.x

    def _point(self, t: float, x: FloatArray) -> tuple[float, float, FloatArray]:
        """Return zeta, its slope and the coordinates, where these are the lowest at t."""
        value, _, slope = self.constrained.evaluate(x, t)
        if not value > self.minimum - _NOT_LOWER:
            name, at = self.constrained.component.name, self.constrained.value(t)
            raise NoLimitError(
                f"the likelihood at {name} = {at:.5g} is higher than at the estimates, which are "
                "not at its maximum"
                if value < self.minimum
                else f"the likelihood cannot be computed at {name} = {at:.5g}"
            )
        zeta = float(np.sqrt(max(value - self.minimum, 0.0)))
        zeta = zeta if t > self.constrained.optimum else -zeta
        return zeta, slope / (2.0 * zeta) if zeta else 0.0, x

    def _mended(self, t: float) -> bool:
        """Minimise again at a limit t, from starts that do not depend on the path.

        If that is lower, it is kept, points farther out are discarded, and the result is True.
        """
        optimum, (zeta, _, x) = self.constrained.optimum, self._points[t]
        if not self._of_effects.any():
            return False
        again = self._point(t, self._searched(t, self.constrained.others_like(x)))
        if again[0] ** 2 > zeta**2 - _SAME_DEVIANCE:
            return False
        farther = [p for p in self._points if min(optimum, p) < t < max(optimum, p)]
        for point in farther:
            del self._points[point]
        self._points[t] = again
        return True

    def solve(self, target: float) -> tuple[float, float]:
        """Find t where zeta is `target`, which is not zero; return t and zeta there.

        If zeta stays closer to zero up to the bound of the parameter, t is that bound. Raises
        NoLimitError if the profile likelihood does not decrease far enough, or cannot be computed.
        """
        for _ in range(_MOST_MENDED):
            t, zeta = self._solved(target)
            if not self._mended(t):
                return t, zeta
        raise NoLimitError(
            f"no likelihood limit of {self.constrained.component.name!r} was found: the profile "
            "likelihood has too many local minima"
        )

    def _solved(self, target: float) -> tuple[float, float]:
        """Find the same, by searches from one point to the next alone."""
        optimum = self.constrained.optimum
        sign = float(np.sign(target))
        bound = self.constrained.bounds[int(target > 0)]
        if bound in self._points and abs(self._points[bound][0]) <= abs(target):
            return bound, self._points[bound][0]
        inner, outer = optimum, bound
        t = self._first(sign, target)
        for _ in range(_MOST_TRIALS):
            zeta, slope = self.zeta(t)
            if abs(zeta - target) < _ZETA_ERROR:
                return t, zeta
            if sign * (zeta - target) > 0:
                outer = t
            elif t == bound:
                return bound, zeta
            else:
                inner = t
            if abs(outer - inner) < _NARROWEST * abs(inner - optimum):
                return t, zeta  # another minimum takes over here, or rounding error
            t = self._next(t, inner, outer, slope and (target - zeta) / slope)
            if abs(t - optimum) > _FARTHEST * max(self.constrained.unit, abs(optimum)):
                break
        raise NoLimitError(
            f"no likelihood limit of {self.constrained.component.name!r} was found: the profile "
            "likelihood does not decrease far enough"
        )

    def _first(self, sign: float, target: float) -> float:
        """Return a first guess, from the points known on this side or by a short step."""
        optimum, (low, high) = self.constrained.optimum, self.constrained.bounds
        points = [t for t in self._points if sign * (t - optimum) > 0 and self._points[t][0] != 0]
        if points:
            t = min(points, key=lambda point: abs(self._points[point][0] - target))
            zeta, slope = self._points[t][:2]
            guess = t + (target - zeta) / slope if slope > 0 else optimum + (t - optimum) / 2.0
        else:
            guess = optimum + sign * self._first_step
        if sign * (guess - optimum) <= 0:
            guess = optimum + sign * self._first_step
        edge = high if sign > 0 else low
        return guess if low < guess < high else (optimum + edge) / 2.0

    @property
    def _first_step(self) -> float:
        """First distance from the optimum; for a coefficient the deviance is nearly a parabola."""
        is_coefficient = self.constrained.component.kind == "coefficient"
        return self.constrained.unit if is_coefficient else _FIRST_STEP * self.constrained.unit

    def _next(self, t: float, inner: float, outer: float, step: float) -> float:
        """Take a Newton step, kept within the bracket and from growing too fast."""
        optimum, is_open = self.constrained.optimum, outer not in self._points
        farthest = optimum + _MOST_GROWTH * (t - optimum)
        if step and min(inner, outer) < t + step < max(inner, outer):
            guess = t + step
            return guess if abs(guess - optimum) <= abs(farthest - optimum) else farthest
        if not np.isfinite(outer):
            return farthest
        if is_open and abs(outer - inner) <= abs(inner - optimum):
            return outer
        return (inner + outer) / 2.0
