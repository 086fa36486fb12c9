"""The bootstrap of a fitted mixed model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from skmixed.core.batch.error_sums import NeedsRowsError
from skmixed.core.batch.refits import refit_at, refit_responses, takes_lockstep
from skmixed.core.batch.responses import Responses, draw_responses
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, generator_of
from skmixed.core.rows.monte_carlo import check_exact
from skmixed.core.sums.layout import Rows
from skmixed.inference.components import Component, parameters_of, values_of
from skmixed.inference.fitted import determined_fit_of, rows_of_fit, snapshot
from skmixed.inference.resampling import (
    resample_levels,
    resample_residuals,
    responses_of_rows,
)
from skmixed.inference.table import Table, TabularResult
from skmixed.inference.testing import check_probability

# A block of replicates has its own random generator, and is what a thread does at a time.
_MOST_IN_BLOCK = 1_000  # replicates refitted in lock-step: a fifth of a second for a small factor
_ONE_BY_ONE = 25  # replicates in a block where each is refitted by itself: threads get shares
_BLOCK_CELLS = 4e6  # cross-products, or rows, times replicates: 32 MB

BootstrapKind = Literal["parametric", "residual", "cases"]
Statistic = Callable[[Fit], Any]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Bootstrap(TabularResult):
    """Estimates of a model from replicates of its data.

    Parameters
    ----------
    kind : {"parametric", "residual", "cases"}
        How the data were made.
    estimates : Series
        What the model itself estimates: fixed coefficients, standard deviations and correlations of
        the random effects, the residual standard deviation, and what the statistic says.
    replicates : DataFrame
        The same of every replicate, a row each; NaN where it could not be fitted, and for
        correlations with a standard deviation of zero.
    converged, singular : ndarray of bool of shape (n_samples,)
        Whether the refit arrived, and whether it is singular.

    See Also
    --------
    bootstrap : Makes it.
    bootstrap_intervals : Intervals from it.

    Notes
    -----
    It shows estimate, bias (the mean of the replicates less the estimate) and standard error of
    every quantity.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import bootstrap
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> bootstrap(model, 200, random_state=0).to_frame().columns.tolist()
    ['estimate', 'bias', 'std_error']
    """

    kind: str
    estimates: pd.Series[float]
    replicates: pd.DataFrame
    converged: NDArray[np.bool_]
    singular: NDArray[np.bool_]

    @property
    def share_singular(self) -> float:
        """Share of the replicates whose fit is singular."""
        return float(self.singular.mean())

    @property
    def share_not_converged(self) -> float:
        """Share of the replicates whose search did not arrive."""
        return 1.0 - float(self.converged.mean())

    def _table(self) -> Table:
        frame = pd.DataFrame(
            {
                "estimate": self.estimates,
                "bias": self.replicates.mean() - self.estimates,
                "std_error": self.replicates.std(),
            }
        )
        note = f"{self.share_singular:.1%} singular, {self.share_not_converged:.1%} not converged."
        title = f"{self.kind.capitalize()} bootstrap, {len(self.replicates)} replicates"
        return Table(title, frame, (note,))


def bootstrap(
    model: Any,
    n_samples: int = 1000,
    *,
    kind: BootstrapKind = "parametric",
    statistic: Statistic | None = None,
    X: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    random_state: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> Bootstrap:
    """Refit a model to replicates of its data.

    Parameters
    ----------
    model : MixedLinearRegressor
        Fitted.
    n_samples : int, default=1000
        Number of replicates.
    kind : {"parametric", "residual", "cases"}, default="parametric"
        Where replicates come from: drawn from the fitted model; the fitted means with random
        effects and residuals resampled, after both were centred and given the estimated
        covariances; or whole levels of the outermost factor, drawn with replacement.
    statistic : callable, default=None
        Further quantities: a function of a `Fit` that returns a number, an array, a Series or a
        dict of numbers.
    X, y, sample_weight, groups : array-like, default=None
        The rows of the fit, as given to `fit`. A model does not keep them; "residual" and "cases"
        need them, and so does "parametric" for several large factors.
    random_state : None, int, RandomState or Generator, default=None
        Seed. Replicates do not depend on `n_jobs`.
    n_jobs : int or None, default=None
        Number of threads; -1 is one a processor.
    verbose : int, default=0
        Show a progress bar if 1 or more.

    Returns
    -------
    Bootstrap
        The replicates.

    Raises
    ------
    ValueError
        For an unknown kind, if rows are needed and not given or are not those of the fit, if the
        fit left no residual, and for "cases" with crossed factors.

    See Also
    --------
    bootstrap_intervals : Percentile and basic intervals.

    Notes
    -----
    With one grouping factor the parametric bootstrap needs no row: the sums of a new response are
    drawn from their exact distribution given the cross-products, and all replicates are refitted in
    lock-step from the optimum of the fit. With several factors replicates are refitted one by one.
    As in lme4's ``bootMer``, the criterion is that of the model, REML or ML.

    References
    ----------
    .. [1] Carpenter, J. R., Goldstein, H. & Rasbash, J. (2003). A novel bootstrap procedure for
       assessing the relationship between class size and achievement. Applied Statistics 52(4),
       :doi:`10.1111/1467-9876.00415`, section 3.
    .. [2] Davison, A. C. & Hinkley, D. V. (1997). Bootstrap methods and their application.
       Cambridge University Press, :doi:`10.1017/CBO9780511802843`, section 3.8.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import bootstrap
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> result = bootstrap(model, 200, random_state=0)
    >>> result.replicates.shape
    (200, 6)
    """
    model = snapshot(model)
    fit = determined_fit_of(model)
    kinds = get_args(BootstrapKind)
    if kind not in kinds:
        raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, kinds))}")
    check_exact(fit, "a bootstrap")
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples}: at least one replicate is needed")
    rows = None
    if X is not None or kind != "parametric":
        rows = rows_of_fit(model, X, y, sample_weight, groups, f"kind={kind!r}")
    replicator = _Replicator(fit, kind, rows, statistic, parameters_of(fit))
    size = replicator.block_size
    sizes = [min(size, n_samples - first) for first in range(0, n_samples, size)]
    generators = generator_of(random_state).spawn(len(sizes))
    blocks = list(_in_parallel(replicator, sizes, generators, n_jobs, verbose))
    names = [part.name for part in replicator.parameters]
    estimates = pd.Series([part.estimate for part in replicator.parameters], index=names)
    replicates = pd.DataFrame(np.concatenate([block.values for block in blocks]), columns=names)
    if statistic is not None:
        own = _as_series(statistic(fit))
        estimates = pd.concat([estimates, own])
        more = pd.DataFrame([row for block in blocks for row in block.statistics])
        replicates = pd.concat([replicates, more.set_axis(own.index, axis=1)], axis=1)
    return Bootstrap(
        kind,
        estimates,
        replicates,
        np.concatenate([block.converged for block in blocks]),
        np.concatenate([block.singular for block in blocks]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _RefittedBlock:
    """Estimates of R replicates."""

    values: FloatArray  # (R, n_parameters), in the order of `parameters_of`
    converged: NDArray[np.bool_]  # (R,)
    singular: NDArray[np.bool_]  # (R,)
    statistics: list[pd.Series[float]]  # one a replicate, if a statistic is wanted


@dataclass(frozen=True, slots=True, eq=False)
class _Replicator:
    """Makes replicates of the data, a block at a time, and refits the model to them."""

    fit: Fit
    kind: str
    rows: Rows | None  # None where replicates are drawn without rows
    statistic: Statistic | None
    parameters: list[Component]  # what is tabulated

    @property
    def block_size(self) -> int:
        """Replicates in a block; by the data alone, so that results do not depend on threads."""
        if not takes_lockstep(self.fit):
            return _ONE_BY_ONE
        size = sum(block.products.size for block in self.fit.products.factors)
        if self.rows is not None:
            size = max(size, len(self.rows.columns))
        return int(max(1, min(_MOST_IN_BLOCK, _BLOCK_CELLS // size)))

    def __call__(self, n_samples: int, generator: np.random.Generator) -> _RefittedBlock:
        if self.kind == "cases":
            assert self.rows is not None
            refits, fits = resample_levels(
                self.fit, self.rows, n_samples, generator, self.statistic is not None
            )
        else:
            responses = self.responses(n_samples, generator)
            refits = refit_responses(self.fit, responses)
            fits = (refit_at(self.fit, responses, refits, n) for n in range(n_samples))
        statistics = []
        if self.statistic is not None:
            statistics = [
                _as_series(self.statistic(refit)) if np.isfinite(s2) else pd.Series(dtype=float)
                for refit, s2 in zip(fits, refits.sigma2, strict=True)
            ]
        values = values_of(self.fit, self.parameters, refits)
        return _RefittedBlock(values, refits.converged, refits.singular, statistics)

    def responses(self, n_samples: int, generator: np.random.Generator) -> Responses:
        if self.kind == "residual":
            assert self.rows is not None
            return resample_residuals(self.fit, self.rows, n_samples, generator)
        if self.rows is not None:
            return responses_of_rows(self.fit, self.rows, n_samples, generator)
        try:
            return draw_responses(self.fit, n_samples, generator)
        except NeedsRowsError as error:
            raise ValueError(f"{error}: bootstrap(model, X=X, y=y, ...)") from None


def _in_parallel(
    replicator: _Replicator,
    sizes: list[int],
    generators: list[np.random.Generator],
    n_jobs: int | None,
    verbose: int,
) -> Iterator[_RefittedBlock]:
    n_threads = (os.cpu_count() or 1) if n_jobs == -1 else max(1, n_jobs or 1)
    with (
        tqdm(total=sum(sizes), disable=not verbose, desc="bootstrap") as bar,
        ThreadPoolExecutor(n_threads) as pool,
    ):
        run = replicator, sizes, generators
        for block in map(*run) if n_threads == 1 else pool.map(*run):
            bar.update(len(block.values))
            yield block


def _as_series(value: Any) -> pd.Series[float]:
    if isinstance(value, pd.Series):
        return value
    if isinstance(value, Mapping):
        return pd.Series(value, dtype=float)
    values = np.atleast_1d(np.asarray(value, dtype=float)).ravel()
    single = len(values) == 1
    names = ["statistic"] if single else [f"statistic{n}" for n in range(len(values))]
    return pd.Series(values, index=names)


def bootstrap_intervals(
    result: Bootstrap, *, level: float = 0.95, method: Literal["percentile", "basic"] = "percentile"
) -> Table:
    """Compute confidence intervals from a bootstrap.

    Parameters
    ----------
    result : Bootstrap
        The replicates.
    level : float, default=0.95
        Confidence, between 0 and 1.
    method : {"percentile", "basic"}, default="percentile"
        Quantiles of the replicates, or these reflected about the estimate.

    Returns
    -------
    Table
        Columns estimate, lower and upper, a row a quantity. Replicates that could not be fitted are
        left out.

    Raises
    ------
    ValueError
        For an unknown method, and a level that is no probability.

    See Also
    --------
    bootstrap : Makes the replicates.

    References
    ----------
    .. [1] Davison, A. C. & Hinkley, D. V. (1997). Bootstrap methods and their application.
       Cambridge University Press, :doi:`10.1017/CBO9780511802843`, eqs 5.6 and 5.18.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import bootstrap, bootstrap_intervals
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> intervals = bootstrap_intervals(bootstrap(model, 500, random_state=0))
    >>> intervals.to_frame().columns.tolist()
    ['estimate', 'lower', 'upper']
    """
    check_probability(level)
    if method not in ("percentile", "basic"):
        raise ValueError(f"method={method!r} is neither 'percentile' nor 'basic'")
    tail = (1.0 - level) / 2.0
    ends = result.replicates.quantile([tail, 1.0 - tail])
    lower, upper = ends.iloc[0], ends.iloc[1]
    if method == "basic":
        lower, upper = 2.0 * result.estimates - upper, 2.0 * result.estimates - lower
    frame = pd.DataFrame({"estimate": result.estimates, "lower": lower, "upper": upper})
    title = f"{100 * level:.4g}% {method} intervals, {result.kind} bootstrap"
    return Table(title, frame, (f"From {len(result.replicates)} replicates.",))
