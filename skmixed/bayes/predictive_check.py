"""Posterior predictive checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import numpy as np
import pandas as pd

from skmixed.bayes.generalized_draws import GeneralizedDraws
from skmixed.bayes.leave_one_out import check_draws_of
from skmixed.bayes.posterior_draws import PosteriorDraws
from skmixed.bayes.row_predictions import drawn_responses
from skmixed.core.linalg import FloatArray, IntArray, generator_of
from skmixed.inference.fitted import snapshot
from skmixed.inference.table import Table, TabularResult

_CHECKED_QUANTILES = (0.05, 0.95)  # of statistics of replicated responses
_EVERYTHING = "all rows"  # name of the only group if there are no groups

Statistic = str | Callable[[FloatArray], float]
StatisticName = Literal["mean", "sd", "min", "max"]


@dataclass(frozen=True, eq=False)
class _GroupedRows:
    """Rows sorted by group."""

    order: IntArray  # (n,)
    starts: IntArray  # (n_groups,)
    sizes: IntArray  # (n_groups,)

    @classmethod
    def of(cls, codes: IntArray) -> _GroupedRows:
        """Sort rows by group."""
        sizes = np.bincount(codes)
        return cls(np.argsort(codes, kind="stable"), np.cumsum(sizes) - sizes, sizes)

    def mean(self, values: FloatArray) -> FloatArray:
        """Return means, (n_groups, R), of values, (n, R), in the order of groups."""
        return np.add.reduceat(values, self.starts) / self.sizes[:, None]

    def sd(self, values: FloatArray) -> FloatArray:
        """Return standard deviations, NaN for groups with a single row."""
        apart = values - np.repeat(self.mean(values), self.sizes, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = np.add.reduceat(apart**2, self.starts) / (self.sizes[:, None] - 1)
        return np.sqrt(variance)

    def min(self, values: FloatArray) -> FloatArray:
        """Return the smallest values."""
        return np.asarray(np.minimum.reduceat(values, self.starts))

    def max(self, values: FloatArray) -> FloatArray:
        """Return the largest values."""
        return np.asarray(np.maximum.reduceat(values, self.starts))

    def by_function(self, function: Callable[[FloatArray], float], values: FloatArray) -> Any:
        """Return a user's statistic for each group and draw, (n_groups, R)."""
        parts = np.split(values, self.starts[1:])
        return np.array([[function(column) for column in part.T] for part in parts])


_NAMED: dict[str, Callable[[_GroupedRows, FloatArray], FloatArray]] = {
    "mean": _GroupedRows.mean,
    "sd": _GroupedRows.sd,
    "min": _GroupedRows.min,
    "max": _GroupedRows.max,
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PredictiveCheck(TabularResult):
    """Posterior predictive check: statistics of observed and replicated responses.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    observed : ndarray of shape (n,)
        Observed responses.
    replicated : ndarray of shape (n, n_draws)
        Responses drawn for the same rows.
    labels : Index of length n_groups
        Labels of the groups within which statistics are computed; one if there are no groups.
    codes : ndarray of shape (n,)
        Group of each row.
    observed_statistics : dict of str to ndarray of shape (n_groups,)
        Statistics of the observed responses, by name.
    replicated_statistics : dict of str to ndarray of shape (n_groups, n_draws)
        Statistics of the replicated responses, by name.
    by : str or None
        Name of the groups.

    See Also
    --------
    posterior_predictive_check : The function that returns it.
    skmixed.display.PredictiveCheckDisplay : Plot of it.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.bayes import posterior_predictive_check, sample
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
    >>> draws = sample(model, random_state=0)
    >>> check = posterior_predictive_check(model, draws, X, y, random_state=0)
    >>> check.replicated.shape
    (180, 500)
    >>> check.to_frame().columns.tolist()
    ['observed', 'mean', '5%', '95%', 'p_value']
    """

    observed: FloatArray
    replicated: FloatArray
    labels: pd.Index[Any]
    codes: IntArray
    observed_statistics: Mapping[str, FloatArray]
    replicated_statistics: Mapping[str, FloatArray]
    by: str | None

    @property
    def p_values(self) -> dict[str, FloatArray]:
        """Posterior predictive p-values, (n_groups,), with ties counted one half."""
        found = {}
        for name, drawn in self.replicated_statistics.items():
            seen = self.observed_statistics[name][:, None]
            share = (drawn > seen).mean(axis=1) + 0.5 * (drawn == seen).mean(axis=1)
            missing = np.isnan(seen[:, 0]) | np.isnan(drawn).any(axis=1)
            found[name] = np.where(missing, np.nan, share)
        return found

    def _table(self) -> Table:
        parts, p_values = [], self.p_values
        for name, drawn in self.replicated_statistics.items():
            low, high = np.quantile(drawn, _CHECKED_QUANTILES, axis=1)
            columns = {
                "observed": self.observed_statistics[name],
                "mean": drawn.mean(axis=1),
                "5%": low,
                "95%": high,
                "p_value": p_values[name],
            }
            index: Any = [name]
            if self.by is not None:
                names = ["statistic", self.by]
                index = pd.MultiIndex.from_tuples(
                    [(name, each) for each in self.labels], names=names
                )
            parts.append(pd.DataFrame(columns, index=index))
        n = self.replicated.shape[1]
        note = "p_value: proportion of draws with a larger statistic; 0 or 1 indicate misfit"
        return Table(f"Posterior predictive check, {n} draws", pd.concat(parts), (note,))


def posterior_predictive_check(
    model: Any,
    draws: PosteriorDraws,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    groups: Any = None,
    statistics: Statistic | Sequence[Statistic] | Mapping[str, Statistic] = (
        "mean",
        "sd",
        "min",
        "max",
    ),
    by: Any = None,
    random: Literal["fitted", "new"] = "fitted",
    n_draws: int = 500,
    random_state: Any = None,
) -> PredictiveCheck:
    """Compare observed responses with replications from the posterior predictive distribution.

    It shows whether a model reproduces the features of the data that matter. To compare models use
    `loo` and `stack`.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    model : estimator
        The model that was sampled, or a fitted `BayesianMixedRegressor`.
    draws : PosteriorDraws
        Draws from its posterior; ``posterior_`` of a `BayesianMixedRegressor`.
    X : array-like or data frame of shape (n, n_features)
        The training data or new data.
    y : array-like of shape (n,), default=None
        Their response. None reads it, and the weights, from X, for a model fitted by a whole
        formula, such as that of `lmer`. For a classifier the second class counts as 1, the first as
        0.
    sample_weight : None or array-like of shape (n,), default=None
        Precision weights, a row of weight w being drawn with residual variance sigma^2 / w; or
        numbers of trials. Repeat rows instead of using frequency weights.
    groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
        Group labels of the rows, if they were passed to ``fit`` as `groups`.
    statistics : str, callable, or list or dict of these
        Test statistics: "mean", "sd", "min", "max", or functions that map responses, (n,), to a
        number. Default is all four; a dict gives names.
    by : str, array-like of shape (n,) or None, default=None
        Groups within which statistics are computed: a grouping factor or column of the model, or a
        label for each row.
    random : {"fitted", "new"}, default="fitted"
        Whether random effects are drawn given the data, or anew as for other groups. Unknown levels
        always have new ones.
    n_draws : int, default=500
        Number of replications.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed of the random number generator; pass an int for reproducible results.

    Returns
    -------
    PredictiveCheck
        Statistics of observed and replicated responses, with posterior predictive p-values.

    Raises
    ------
    ValueError
        For rows and labels that ``predict`` does not accept, draws of another model, frequency
        weights, unknown names, statistics that are not numbers, and several factors with too many
        random effects.
    MemoryError
        If the draws need more than half of the machine's memory.

    See Also
    --------
    prior_predict : Responses drawn from the prior.
    loo : Leave-one-out cross-validation.
    skmixed.display.PredictiveCheckDisplay : Plots of the check.
    skmixed.inference.residual_tests : Simulation tests of generalized models without a posterior.

    Notes
    -----
    With ``random="fitted"`` the replications condition on the rows they are compared with: p-values
    are conservative, closer to one half than uniform ones, and group means always look well fitted.
    ``random="new"`` also checks the distribution of the random effects [2]_.

    References
    ----------
    .. [1] Gelman, A., Meng, X.-L. & Stern, H. (1996). Posterior predictive assessment of model
       fitness via realized discrepancies. Statistica Sinica 6(4), 733-807.
    .. [2] Gelman, A., Mechelen, I. V., Verbeke, G., Heitjan, D. F. & Meulders, M. (2005). Multiple
       imputation for model checking: completed-data plots with missing and latent data. Biometrics
       61(1), 74-85, :doi:`10.1111/j.0006-341X.2005.031010.x`.

    Examples
    --------
    >>> import numpy as np
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.bayes import posterior_predictive_check, sample
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
    >>> draws = sample(model, random_state=0)
    >>> check = posterior_predictive_check(
    ...     model, draws, X, y, statistics={"sd": "sd", "range": np.ptp}, random_state=0
    ... )
    >>> list(check.p_values)
    ['sd', 'range']
    """
    if not isinstance(n_draws, Integral) or isinstance(n_draws, bool) or n_draws < 1:
        raise ValueError(f"n_draws={n_draws!r} must be a whole number of at least 1")
    if random not in ("fitted", "new"):
        raise ValueError(f"random={random!r} is neither 'fitted' nor 'new'")
    named = _named(statistics)
    model = snapshot(model)
    fitted = model._state()
    check_draws_of(draws, fitted.fit)
    given = model._observed_rows(X, y, sample_weight, groups)
    labels, codes, name = _groups_of(by, given, draws)
    if isinstance(draws, GeneralizedDraws):
        if random == "new":
            raise ValueError(
                "random='new' needs a linear model: pass rows with unknown labels instead, whose "
                "effects are new"
            )
        settings = {"n_samples": int(n_draws), "random_state": random_state}
        drawn = draws.sample_y(X, groups, sample_weight=given.weights, **settings)
        replicated = given.coded(drawn)
    else:
        replicated = _replicated(draws, given, fitted, random, int(n_draws), random_state)
    rows = _GroupedRows.of(codes)
    seen, drawn = given.y[rows.order, None], replicated[rows.order]
    return PredictiveCheck(
        given.y,
        replicated,
        labels,
        codes,
        {key: _taken(rows, key, each, seen)[:, 0] for key, each in named.items()},
        {key: _taken(rows, key, each, drawn) for key, each in named.items()},
        name,
    )


def _replicated(
    draws: PosteriorDraws, given: Any, fitted: Any, random: str, n_draws: int, random_state: Any
) -> FloatArray:
    """Draw responses of rows of a linear model, (n, n_draws)."""
    if given.weights is not None and draws.fit.spec.weighting == "frequency":
        raise ValueError(
            "sample_weight counts rows with weighting='frequency': repeat the rows instead, so "
            "that each is drawn by itself"
        )
    return drawn_responses(
        draws,
        given.source,
        given.predicted if random == "fitted" else given.predicted.of_new_levels(),
        getattr(fitted, "further_products", None),
        n_draws,
        generator_of(random_state),
        precisions=given.weights,
    )


def _named(statistics: Any) -> dict[str, Statistic]:
    """Return statistics by name; raise ValueError for invalid ones, and if there are none."""
    if isinstance(statistics, str) or callable(statistics):
        statistics = [statistics]
    if isinstance(statistics, Mapping):
        found = dict(statistics)
    else:
        found = {each if isinstance(each, str) else _name_of(each): each for each in statistics}
        if len(found) < len(list(statistics)):
            raise ValueError(
                f"two statistics have the same name: pass a dict instead of {statistics!r}"
            )
    for each in found.values():
        if not callable(each) and each not in _NAMED:
            raise ValueError(f"statistic {each!r} is neither a function nor one of {list(_NAMED)}")
    if not found:
        raise ValueError("statistics is empty: pass at least one")
    return found


def _name_of(function: Any) -> str:
    return str(getattr(function, "__name__", function))


def _groups_of(
    by: Any, given: Any, draws: PosteriorDraws
) -> tuple[pd.Index[Any], IntArray, str | None]:
    """Return labels of groups, codes of rows, (n,), and the name of the groups.

    `given` are rows as read by the model.
    """
    n, known = len(given.y), given.source.groups
    if by is None:
        return pd.Index([_EVERYTHING]), np.zeros(n, dtype=np.intp), None
    if not isinstance(by, str):
        labels = pd.Series(np.asarray(by, dtype=object).ravel())
        name = str(getattr(by, "name", None) or "group")
    else:
        factors = draws.fit.products.factors
        keys = {each.index.name: each.index.key for each in factors if each.index.key}
        key, name = keys.get(by, (by,)), by
        if any(part not in known for part in key):
            raise ValueError(
                f"by={by!r} is not a grouping column of the model, which has {list(known)}: for "
                "other groups pass a label for each row"
            )
        columns = [np.asarray(known[part], dtype=object) for part in key]
        values = columns[0] if len(key) == 1 else list(zip(*columns, strict=True))
        labels = pd.Series(values, dtype=object)
    if len(labels) != n:
        raise ValueError(f"by has {len(labels)} labels, but there are {n} rows")
    if labels.isna().any():
        raise ValueError(f"by has no label for row {int(np.argmax(labels.isna()))}")
    codes, found = pd.factorize(labels)
    return pd.Index(found, tupleize_cols=False), codes.astype(np.intp), name


def _taken(rows: _GroupedRows, name: str, statistic: Any, values: FloatArray) -> FloatArray:
    """Return a statistic for each group and column, (n_groups, R)."""
    if isinstance(statistic, str):
        return _NAMED[statistic](rows, values)
    found = rows.by_function(statistic, values)
    if found.shape != (len(rows.sizes), values.shape[1]) or found.dtype.kind not in "biuf":
        raise ValueError(
            f"the statistic {name!r} must return one number for responses of shape (n,)"
        )
    return np.asarray(found, dtype=np.float64)
