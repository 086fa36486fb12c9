"""Dependence of the residuals within a series: by lag, and by distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.inference.fitted import MixedFit, design_of, formula_of, mixed_fit_of, snapshot
from skmixed.inference.fixed_effects.testing import check_probability
from skmixed.inference.residuals import Observed, ResidualKind, residuals_of
from skmixed.inference.table import Table

_STEP_ROUNDING = 1e-6  # of a lag: nearer to a whole number of steps, it is one
_LAGS_A_DECADE = 10  # of the longest series: nlme's number of lags, 10 log10(rows)
_MOST_COMPARED = 20_000_000  # pairs of rows: more take gigabytes


def autocorrelation(
    model: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    *,
    series: Any = None,
    time: Any = None,
    kind: ResidualKind | None = None,
    max_lag: int | None = None,
    level: float = 0.95,
) -> Table:
    """Estimate the autocorrelation of residuals within series, by lag.

    Use it to see whether a longitudinal model needs a residual structure, or whether the one it has
    is enough. It takes equally spaced times; for irregular times use `variogram`.

    Read more in the user guide: :doc:`/guide/serial_correlation`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model, or a linear model with a residual structure.
    X, y, sample_weight, groups : array-like
        The training data, as passed to ``fit``, or new data. After `lmer`, `glmer`, `clmm` or
        `nlmer` the data frame X is enough: y and the weights, such as trials, are read from it.
    series : str or array-like of shape (n,), default=None
        The series of each row, or the name of the column of X that holds it. None takes the series
        of the residual structure, or else the grouping factor with the most levels.
    time : str or array-like of shape (n,), default=None
        The time of each row within its series, or the name of the column of X that holds it. Times
        must be whole multiples of the smallest gap; a time without a row leaves a gap in the
        series. None takes the times or visits of the residual structure if it has them, or else the
        order of the rows.
    kind : {"normalized", "pearson", "response", "deviance", "quantile"} or None, default=None
        Kind of residuals; see `residuals`. Normalized residuals, the default for linear models, are
        uncorrelated if the residual structure is correct. Pearson residuals, the default for other
        models, show the correlation that a structure has to explain.
    max_lag : int or None, default=None
        The longest lag; None is 10 log10(n), n being the length of the longest series, as in R, or
        the longest lag that occurs if that is shorter.
    level : float, default=0.95
        Probability that the autocorrelation of white noise at a single lag is within the limits,
        between 0 and 1.

    Returns
    -------
    Table
        A row for each lag at which there are pairs of rows, from 0: autocorrelation, n_pairs, and
        the limits lower and upper for white noise. Indexed by lag.

    Raises
    ------
    TypeError
        If the model is not a mixed model, or has no residuals of this kind.
    ValueError
        If the arguments differ in their numbers of rows, two rows of a series have the same time,
        times are not multiples of their smallest gap, max_lag is below one, or neither the
        arguments nor the model define the series.

    See Also
    --------
    variogram : The counterpart for unequally spaced times.
    residuals : The residuals themselves.
    skmixed.display.AutocorrelationDisplay : Plot of the autocorrelation.

    Notes
    -----
    The estimate is the mean product of residuals a lag apart, over all series, divided by the mean
    square of all residuals. In R: ``ACF(model, resType = "normalized")`` of nlme, which uses the
    order of the rows, whatever their times. The limits are those of its plot: a normal quantile
    divided by the square root of the number of pairs. In groups with few rows the residuals have a
    slightly negative autocorrelation even without a serial one, because they nearly sum to zero.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import autocorrelation
    >>> data = load_sleepstudy()
    >>> model = lmer("Reaction ~ Days + (1 | Subject)", data)
    >>> table = autocorrelation(model, data, data["Reaction"], time="Days", max_lag=3)
    >>> table.to_frame().round(3)
         autocorrelation  n_pairs  lower  upper
    lag
    0              1.000      180    NaN    NaN
    1              0.383      162 -0.154  0.154
    2              0.089      144 -0.163  0.163
    3             -0.111      126 -0.175  0.175
    """
    if max_lag is not None and max_lag < 1:
        raise ValueError(f"max_lag={max_lag} must be at least 1, the lag of neighbours")
    check_probability(level)
    model = snapshot(model)
    rows = _SeriesResiduals.of(model, X, y, sample_weight, groups, series, time, kind)
    steps = rows.steps()
    longest = int(np.bincount(rows.series).max())
    if max_lag is None:
        max_lag = int(min(longest - 1, _LAGS_A_DECADE * np.log10(longest)))
    products, counts = _by_lag(rows, steps, max_lag)
    lags = np.flatnonzero(counts)
    found = products[lags] / counts[lags]
    limits = stats.norm.isf((1.0 - level) / 2.0) / np.sqrt(counts[lags])
    limits[0] = np.nan  # the autocorrelation at lag 0 is one by definition
    frame = pd.DataFrame(
        {
            "autocorrelation": found / found[0],
            "n_pairs": counts[lags],
            "lower": -limits,
            "upper": limits,
        },
        index=pd.Index(lags, name="lag"),
    )
    note = f"{rows.kind} residuals; {100 * level:.4g}% limits for white noise."
    return Table(f"Autocorrelation: {formula_of(model)}", frame, (note.capitalize(),))


def variogram(
    model: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    *,
    series: Any = None,
    time: Any = None,
    kind: ResidualKind | None = None,
    n_bins: int = 20,
    max_distance: float | None = None,
) -> Table:
    """Estimate the semivariogram of residuals within series, by distance in time.

    Use it instead of `autocorrelation` where times are unequally spaced.

    Read more in the user guide: :doc:`/guide/serial_correlation`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model, or a linear model with a residual structure.
    X, y, sample_weight, groups : array-like
        The training data, as passed to ``fit``, or new data. After `lmer`, `glmer`, `clmm` or
        `nlmer` the data frame X is enough: y and the weights, such as trials, are read from it.
    series, time : str or array-like of shape (n,), default=None
        As in `autocorrelation`, but times may be any numbers, and two rows may share one.
    kind : {"normalized", "pearson", "response", "deviance", "quantile"} or None, default=None
        Kind of residuals; see `autocorrelation`.
    n_bins : int, default=20
        Number of bins, with about the same number of pairs each, if there are more distinct
        distances than that.
    max_distance : float or None, default=None
        The largest distance, in the unit of the times; None uses all pairs.

    Returns
    -------
    Table
        A row for each bin: distance (the median), semivariance (half the mean squared difference of
        the residuals) and n_pairs.

    Raises
    ------
    TypeError
        If the model is not a mixed model, or has no residuals of this kind.
    ValueError
        If the arguments differ in their numbers of rows, n_bins is below one, there are no pairs of
        rows or too many, or neither the arguments nor the model define the series.

    See Also
    --------
    autocorrelation : The counterpart for equally spaced times.
    residuals : The residuals themselves.

    Notes
    -----
    Independent residuals with unit variance have a semivariance of one at every distance; a
    semivariance that rises towards one means that residuals close in time are alike. In R:
    ``Variogram(model, form = ~ time)`` of nlme, which loses the pairs at the smallest distance when
    it bins; here they are in the first bin.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import variogram
    >>> data = load_sleepstudy()
    >>> model = lmer("Reaction ~ Days + (1 | Subject)", data)
    >>> table = variogram(model, data, data["Reaction"], time="Days", max_distance=3)
    >>> table.to_frame().round(3)
       distance  semivariance  n_pairs
    0       1.0         0.505      162
    1       2.0         0.764      144
    2       3.0         0.957      126
    """
    if n_bins < 1:
        raise ValueError(f"n_bins={n_bins} must be at least 1")
    model = snapshot(model)
    rows = _SeriesResiduals.of(model, X, y, sample_weight, groups, series, time, kind)
    distances, halves = _pairs(rows, np.inf if max_distance is None else max_distance)
    values = np.unique(distances)
    if len(values) > n_bins:
        ends = np.unique(np.quantile(distances, np.arange(1, n_bins) / n_bins))
        code = np.searchsorted(ends, distances)
    else:
        code = np.searchsorted(values, distances)
    by_class = pd.DataFrame({"distance": distances, "semivariance": halves}).groupby(code)
    frame = by_class.agg({"distance": "median", "semivariance": "mean"})
    frame = frame.assign(n_pairs=by_class.size()).reset_index(drop=True)
    note = f"{rows.kind} residuals.".capitalize()
    return Table(f"Variogram: {formula_of(model)}", frame, (note,))


@dataclass(frozen=True, slots=True, eq=False)
class _SeriesResiduals:
    """Residuals sorted by series and time."""

    kind: str
    residuals: FloatArray  # (n,)
    series: IntArray  # (n,) ascending
    times: FloatArray  # (n,) ascending within a series

    @classmethod
    def of(
        cls,
        model: Any,
        X: Any,
        y: Any,
        sample_weight: Any,
        groups: Any,
        series: Any,
        time: Any,
        kind: ResidualKind | None,
    ) -> _SeriesResiduals:
        fit = mixed_fit_of(model)
        design_of(model)  # a bare fit has none
        kind = kind or ("pearson" if isinstance(fit, GeneralizedFit) else "normalized")
        observed: Observed = model._observed_rows(X, y, sample_weight, groups)
        found, known = residuals_of(model, observed, kind), observed.residual
        if series is not None:
            codes = _codes(_column(observed, series, "series"))
        elif known is not None and known.series is not None:
            codes = known.series
        else:
            codes = _finest_codes(fit, observed)
        if time is not None:
            times = _times(_column(observed, time, "time"))
        elif series is None and known is not None and known.position is not None:
            times = known.position
        else:
            times = np.asarray(pd.Series(codes).groupby(codes).cumcount(), dtype=np.float64)
        is_known = np.isfinite(found)
        found, codes, times = found[is_known], codes[is_known], times[is_known]
        order = np.lexsort((times, codes))
        numbers = np.unique(codes[order], return_inverse=True)[1]
        return cls(kind, found[order], numbers, times[order])

    def steps(self) -> IntArray:
        """Return the times as whole numbers from zero, (n,), of their smallest gap."""
        gaps = np.diff(self.times)[np.diff(self.series) == 0]
        if not len(gaps):
            raise ValueError("every series has a single row, so there are no pairs of rows")
        unit = gaps.min()
        if unit <= 0.0:
            raise ValueError(
                f"{np.count_nonzero(gaps <= 0.0)} rows share series and time with another: "
                "average them, or use variogram(...), which allows ties"
            )
        steps = (self.times - self.times.min()) / unit
        whole = np.round(steps)
        if (np.abs(steps - whole) > _STEP_ROUNDING * np.maximum(whole, 1.0)).any():
            raise ValueError(
                f"times are not multiples of their smallest gap, {unit:g}: use variogram(...), "
                "which takes any times, or time=None, the order of the rows"
            )
        return np.asarray(whole, dtype=np.intp)


def _by_lag(rows: _SeriesResiduals, steps: IntArray, max_lag: int) -> tuple[FloatArray, IntArray]:
    """Return sums of products of residuals, and numbers of pairs, by lag, (max_lag + 1,) each."""
    place = rows.series * (int(steps.max()) + max_lag + 1) + steps  # no lag leads to another series
    products, counts = np.zeros(max_lag + 1), np.zeros(max_lag + 1, dtype=np.intp)
    for lag in range(max_lag + 1):
        later = np.minimum(np.searchsorted(place, place + lag), len(place) - 1)
        is_pair = place[later] == place + lag
        products[lag] = rows.residuals[is_pair] @ rows.residuals[later[is_pair]]
        counts[lag] = np.count_nonzero(is_pair)
    return products, counts


def _pairs(rows: _SeriesResiduals, max_distance: float) -> tuple[FloatArray, FloatArray]:
    """Return the distance and half the squared difference of each pair of rows in a series."""
    distances, halves, n_pairs = [], [], 0
    for apart in range(1, int(np.bincount(rows.series).max())):
        is_pair = rows.series[apart:] == rows.series[:-apart]
        gaps = rows.times[apart:] - rows.times[:-apart]
        is_pair &= gaps <= max_distance
        if not is_pair.any():
            break
        n_pairs += int(is_pair.sum())
        if n_pairs > _MOST_COMPARED:
            raise ValueError(
                f"the series have more than {_MOST_COMPARED:,} pairs of rows: set max_distance, "
                "or pass some of the series only"
            )
        change = (rows.residuals[apart:] - rows.residuals[:-apart])[is_pair]
        distances.append(gaps[is_pair])
        halves.append(0.5 * np.square(change))
    if not distances:
        raise ValueError("no two rows of a series are within max_distance of each other")
    return np.concatenate(distances), np.concatenate(halves)


def _finest_codes(fit: MixedFit, observed: Observed) -> IntArray:
    """Return the codes, (n,), of the factor with most levels."""
    sizes = {
        factor: len(fit.products.factors[factor].index)
        for factor in fit.spec.used_factors
        if fit.products.layout.factors[factor].key
    }
    if not sizes:
        raise ValueError(
            "the model has neither series nor groups: pass series= to say which rows form one"
        )
    codes: IntArray = observed.rows_at_known_levels().codes[max(sizes, key=lambda f: sizes[f])]
    return codes


def _column(observed: Observed, given: Any, name: str) -> Any:
    """Return a column of X, or an argument that is one, (n,)."""
    n_rows = len(observed.y)
    if isinstance(given, str):
        if given not in observed.table:
            raise ValueError(f"{name}={given!r} is not among the columns {list(observed.table)}")
        return observed.table[given].reset_index(drop=True)
    values = pd.Series(np.asarray(given)) if np.ndim(given) == 1 else None
    if values is None or len(values) != n_rows:
        raise ValueError(f"{name} has shape {np.shape(given)}, but there are {n_rows} rows")
    return values


def _codes(labels: Any) -> IntArray:
    """Return the code of each row's series, (n,); a row without a label is one by itself."""
    codes = np.array(pd.factorize(labels)[0], dtype=np.intp)
    missing = np.flatnonzero(codes < 0)
    codes[missing] = len(codes) + np.arange(len(missing))
    return codes


def _times(values: Any) -> FloatArray:
    """Return times as numbers, (n,): the levels of an ordered category by position."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.cat.codes.replace(-1, np.nan)
    elif values.dtype.kind in "mM":
        values = (values - values.min()) / pd.Timedelta(days=1)
    try:
        times = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("time has entries that are not numbers") from error
    if not np.isfinite(times).all():
        raise ValueError(f"time is missing in row {int(np.argmin(np.isfinite(times)))}")
    return times
