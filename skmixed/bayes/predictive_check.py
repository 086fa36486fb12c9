"""Whether responses that a posterior would give look like those that were seen."""

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

_CHECKED_QUANTILES = (0.05, 0.95)  # of statistics of drawn responses
_EVERYTHING = "all rows"  # what the only group is called where there are none

Statistic = str | Callable[[FloatArray], float]
StatisticName = Literal["mean", "sd", "min", "max"]


@dataclass(frozen=True, eq=False)
class _GroupedRows:
    """Rows in the order of their groups."""

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
        """Return standard deviations, NaN of single rows."""
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
        """Return a user's statistic of every group and draw, (n_groups, R)."""
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
    """Statistics of observed responses beside those of responses drawn from a posterior.

    Parameters
    ----------
    observed : ndarray of shape (n,)
        The responses.
    replicated : ndarray of shape (n, n_draws)
        Responses drawn for the same rows.
    labels : Index of length n_groups
        Labels of the groups in which statistics are taken; one if there are none.
    codes : ndarray of shape (n,)
        The group of every row.
    observed_statistics : dict of str to ndarray of shape (n_groups,)
        Statistics of the responses, by name.
    replicated_statistics : dict of str to ndarray of shape (n_groups, n_draws)
        The same of the responses drawn.
    by : str or None
        What the groups are called.

    See Also
    --------
    posterior_predictive_check : Makes it.
    skmixed.display.PredictiveCheckDisplay : Draws it.

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
        """Shares of the draws whose statistics are larger, half of the equal ones, (n_groups,)."""
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
        note = "p_value: share of draws with a larger statistic; near 0 or 1 the model does not fit"
        return Table(f"Observed beside {n} draws", pd.concat(parts), (note,))


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
    """Compare responses with what the posterior would give for the same rows.

    Parameters
    ----------
    model : estimator
        The model that was sampled, or a fitted `BayesianMixedRegressor`.
    draws : PosteriorDraws
        Draws from its posterior, ``posterior_`` of a `BayesianMixedRegressor`.
    X : array-like or data frame of shape (n, n_features)
        Rows, those of the fit or others.
    y : array-like of shape (n,), default=None
        Their response; of a classifier the second class is 1, the first 0. Of a model by a whole
        formula, as of `lmer`, None reads it off X, and weights, too.
    sample_weight : None or array-like of shape (n,), default=None
        Their weights, where these are precisions: a row of weight w is drawn with residual variance
        sigma^2 / w; or numbers of trials. A row that stands for several is to be repeated instead.
    groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
        Their labels, if they were given as `groups` to `fit`.
    statistics : str, callable, or list or dict of these
        What is compared: "mean", "sd", "min", "max", or functions of responses, (n,), that return a
        number. All four by default; a dict names them.
    by : str, array-like of shape (n,) or None, default=None
        Take statistics within groups: a factor or grouping column of the model, or a label of every
        row.
    random : {"fitted", "new"}, default="fitted"
        Random effects of the levels: drawn given the data, or new ones for every level, as if other
        groups had been observed. Levels that the model does not know have new ones.
    n_draws : int, default=500
        Number of draws.
    random_state : None, int, RandomState or Generator, default=None
        Seed.

    Returns
    -------
    PredictiveCheck
        Statistics of both, and the share of draws whose statistic is larger.

    Raises
    ------
    ValueError
        For rows and labels as in `predict`, draws of another model, weights that are numbers of
        rows, unknown names, statistics that are no numbers, and several factors with too many
        random effects.
    MemoryError
        For more draws of rows than half of the memory of the machine holds.

    See Also
    --------
    prior_predict : Responses before any were seen.
    loo : How well rows are predicted by the others.
    skmixed.display.PredictiveCheckDisplay : Pictures of it.

    Notes
    -----
    With ``random="fitted"`` rows are compared with draws that know them, so that shares are nearer
    to one half than uniform ones (they are conservative) and means of groups always look well.
    ``random="new"`` asks whether the distribution of the effects suits, too [2]_.

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
                "random='new' is there for linear models: give rows of labels that the model does "
                "not know, whose effects are new"
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
            "sample_weight counts rows with weighting='frequency': repeat rows that stand for "
            "several, as each of them is drawn by itself"
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
    """Return statistics by name; raises ValueError for what is none, and for none at all."""
    if isinstance(statistics, str) or callable(statistics):
        statistics = [statistics]
    if isinstance(statistics, Mapping):
        found = dict(statistics)
    else:
        found = {each if isinstance(each, str) else _name_of(each): each for each in statistics}
        if len(found) < len(list(statistics)):
            raise ValueError(f"two statistics have one name: give a dict instead of {statistics!r}")
    for each in found.values():
        if not callable(each) and each not in _NAMED:
            raise ValueError(f"statistic {each!r} is neither a function nor one of {list(_NAMED)}")
    if not found:
        raise ValueError("statistics is empty: name one at least")
    return found


def _name_of(function: Any) -> str:
    return str(getattr(function, "__name__", function))


def _groups_of(
    by: Any, given: Any, draws: PosteriorDraws
) -> tuple[pd.Index[Any], IntArray, str | None]:
    """Return labels of groups, codes of rows, (n,), and the name of the groups.

    `given` are rows as a model observes them.
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
                f"by={by!r} is no grouping column of the model, which has {list(known)}: give the "
                "label of every row for groups of another kind"
            )
        columns = [np.asarray(known[part], dtype=object) for part in key]
        values = columns[0] if len(key) == 1 else list(zip(*columns, strict=True))
        labels = pd.Series(values, dtype=object)
    if len(labels) != n:
        raise ValueError(f"by has {len(labels)} labels for {n} rows")
    if labels.isna().any():
        raise ValueError(f"by has no label for row {int(np.argmax(labels.isna()))}")
    codes, found = pd.factorize(labels)
    return pd.Index(found, tupleize_cols=False), codes.astype(np.intp), name


def _taken(rows: _GroupedRows, name: str, statistic: Any, values: FloatArray) -> FloatArray:
    """Return a statistic of every group and column, (n_groups, R)."""
    if isinstance(statistic, str):
        return _NAMED[statistic](rows, values)
    found = rows.by_function(statistic, values)
    if found.shape != (len(rows.sizes), values.shape[1]) or found.dtype.kind not in "biuf":
        raise ValueError(f"the statistic {name!r} must return a number for responses, (n,)")
    return np.asarray(found, dtype=np.float64)
