"""Range of a spatial correlation by profile likelihood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats
from scipy.spatial import distance
from sklearn.base import clone

from skmixed.core.fit import Fit
from skmixed.design.relationships import Relationship, relations_of

_POINTS = 12  # of the log range, in which the likelihood is smooth and mostly unimodal
_SAME_RANGE = 1e-4  # of the log range: far below its standard error
_BEYOND = 4.0  # times the largest distance: beyond, the correlation is nearly flat


@dataclass(frozen=True, eq=False)
class RangeProfile:
    """Profile likelihood of the range of a spatial correlation.

    Parameters
    ----------
    range : float
        Maximum-likelihood estimate of the range, in units of the coordinates.
    interval : tuple of float
        Confidence limits of the range; 0 or infinity where the likelihood does not fall far enough
        within the ranges searched.
    table : DataFrame of shape (n_ranges, 2)
        Columns "range" and "criterion", -2 log-likelihood, restricted if that of the model is.
    estimator : MixedLinearRegressor
        Model fitted at the estimated range.

    See Also
    --------
    profile_range : Returns it.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.model_selection import profile_range
    >>> places = pd.DataFrame({"east": np.arange(20.0)}, index=[f"p{i:02d}" for i in range(20)])
    >>> X = pd.DataFrame({"place": np.repeat(places.index, 2)})
    >>> y = np.sin(np.repeat(places["east"], 2) / 2.0) + np.tile([-0.2, 0.2], 20)
    >>> found = profile_range(
    ...     MixedLinearRegressor("(1 | place)"), X, y, places, factor="place", limits=(0.5, 20.0)
    ... )
    >>> found.table.columns.tolist()
    ['range', 'criterion']
    """

    range: float
    interval: tuple[float, float]
    table: pd.DataFrame
    estimator: Any


def profile_range(
    model: Any,
    X: Any,
    y: Any,
    coordinates: pd.DataFrame,
    *,
    factor: str,
    smoothness: float = 1.5,
    limits: tuple[float, float] | None = None,
    level: float = 0.95,
    sample_weight: Any = None,
    groups: Any = None,
) -> RangeProfile:
    """Estimate the range of a Matern correlation between places by profile likelihood.

    Parameters
    ----------
    model : MixedLinearRegressor
        Unfitted model with a random intercept of `factor`; it is cloned and given the relationship.
    X : array-like or data frame of shape (n_samples, n_features)
        Training data, as for its `fit`.
    y : array-like of shape (n_samples,)
        Response.
    coordinates : DataFrame of shape (n_places, n_dimensions)
        Coordinates of the places, indexed by the levels of `factor`.
    factor : str
        Grouping column of the places.
    smoothness : float, default=1.5
        Smoothness of the correlation, as in `Relationship.matern`.
    limits : tuple of two floats, default=None
        Ranges to search between; None for half of the smallest to four times the largest distance.
    level : float, default=0.95
        Confidence level of the interval, between 0 and 1.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.
    groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
        Group labels, if they are not columns of X.

    Returns
    -------
    RangeProfile
        Range, its confidence interval, and the model fitted at it.

    Raises
    ------
    ValueError
        If `limits` are not positive and increasing, and as in `fit` and `Relationship`.

    See Also
    --------
    skmixed.Relationship.matern : The correlation at a given range.

    Notes
    -----
    The rows are read and summed once; each range takes an eigendecomposition and an optimisation of
    the variances. The confidence interval comprises the ranges whose deviance exceeds the minimum
    by at most a quantile of the chi-squared distribution with one degree of freedom.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.model_selection import profile_range
    >>> rng = np.random.default_rng(0)
    >>> places = pd.DataFrame({"east": np.arange(40.0)}, index=[f"p{i:02d}" for i in range(40)])
    >>> smooth = np.convolve(rng.normal(size=50), np.ones(11) / 2.0, mode="valid")
    >>> X = pd.DataFrame({"place": np.repeat(places.index, 3)})
    >>> y = np.repeat(smooth, 3) + rng.normal(scale=0.3, size=120)
    >>> model = MixedLinearRegressor("(1 | place)")
    >>> found = profile_range(model, X, y, places, factor="place")
    >>> found.interval[0] < found.range < found.interval[1]
    True
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level!r} is not between 0 and 1")
    lower, upper = _limits(coordinates) if limits is None else limits
    if not 0.0 < lower < upper < np.inf:
        raise ValueError(f"limits={limits!r} must be two positive, finite, increasing ranges")

    def related(length: float) -> Relationship:
        return Relationship.matern(coordinates, length, smoothness=smoothness)

    def fitted(length: float) -> Any:
        once = clone(model).set_params(relationship={factor: related(length)})
        return once.fit(X, y, sample_weight, groups=groups)

    fit: Fit = fitted(float(np.sqrt(lower * upper))).fit_
    keys = [each.key for each in fit.products.layout.factors]
    tried: dict[float, float] = {}

    def criterion(log_length: float) -> float:
        length = float(np.exp(log_length))
        if length not in tried:
            relations = relations_of({factor: related(length)}, keys)
            tried[length] = fit.refit(relations=relations).criterion
        return tried[length]

    best = _lowest(criterion, np.linspace(np.log(lower), np.log(upper), _POINTS))
    interval = _interval(criterion, best, np.log(lower), np.log(upper), level)
    table = pd.DataFrame(sorted(tried.items()), columns=["range", "criterion"])
    return RangeProfile(float(np.exp(best)), interval, table, fitted(float(np.exp(best))))


def _limits(coordinates: Any) -> tuple[float, float]:
    apart = distance.pdist(np.asarray(coordinates, dtype=np.float64))
    apart = apart[apart > 0.0]
    if not len(apart):
        raise ValueError("all places coincide, so that the range is not identified")
    return 0.5 * float(apart.min()), _BEYOND * float(apart.max())


def _lowest(criterion: Callable[[float], float], points: np.ndarray[Any, Any]) -> float:
    """Return the minimiser of a function, searched from the points of a grid."""
    values = [criterion(point) for point in points]
    place = int(np.argmin(values))
    ends = points[max(place - 1, 0)], points[min(place + 1, len(points) - 1)]
    found = optimize.minimize_scalar(
        criterion, bounds=ends, method="bounded", options={"xatol": _SAME_RANGE}
    )
    return float(found.x if found.fun <= values[place] else points[place])


def _interval(
    criterion: Callable[[float], float], best: float, lower: float, upper: float, level: float
) -> tuple[float, float]:
    """Return the ranges where the criterion exceeds its minimum by a quantile of chi-squared."""
    limit = criterion(best) + stats.chi2.ppf(level, 1)

    def above(log_length: float) -> float:
        return criterion(log_length) - limit

    ends = []
    for end, otherwise in ((lower, 0.0), (upper, np.inf)):
        if end == best or above(end) <= 0.0:
            ends.append(otherwise)
        else:
            first, last = sorted((end, best))
            root = optimize.brentq(above, first, last, xtol=_SAME_RANGE)
            ends.append(float(np.exp(root)))
    return ends[0], ends[1]
