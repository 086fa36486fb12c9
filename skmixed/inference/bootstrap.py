"""The bootstrap of a fitted mixed model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.fit import Fit
from skmixed.core.generalized.after_fit.redrawn import one_response_a_row
from skmixed.core.linalg import generator_of
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.rows.monte_carlo import check_exact
from skmixed.inference.components import parameters_of
from skmixed.inference.fitted import (
    GivenRows,
    check_maximum,
    determined_any_fit_of,
    observations_of_fit,
    rows_of_fit,
    series_of_fit,
    snapshot,
)
from skmixed.inference.fixed_effects.testing import check_probability
from skmixed.inference.replicators import (
    BootstrapKind,
    GeneralizedReplicator,
    LinearReplicator,
    NonlinearReplicator,
    Replicator,
    ResidualReplicator,
    Statistic,
    as_series,
    in_blocks,
)
from skmixed.inference.table import Table, TabularResult


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Bootstrap(TabularResult):
    """Estimates of a model from replicates of its data.

    Parameters
    ----------
    kind : {"parametric", "residual", "cases"}
        How the data were made.
    estimates : Series
        What the model itself estimates: fixed coefficients, standard deviations and correlations of
        the random effects, the residual standard deviation or the dispersion, and what the
        statistic says.
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
    random: Literal["new", "fitted"] = "new",
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
    model : estimator
        A fitted mixed model, linear or generalized.
    n_samples : int, default=1000
        Number of replicates.
    kind : {"parametric", "residual", "cases"}, default="parametric"
        Where replicates come from: drawn from the fitted model; the fitted means with random
        effects and residuals resampled, after both were centred and given the estimated
        covariances (linear models only); or whole levels of the outermost factor, drawn with
        replacement.
    random : {"new", "fitted"}, default="new"
        Random effects of a parametric bootstrap: new ones in every replicate, or those of the fit,
        which is then about these groups and not about others (lme4's ``use.u``).
    statistic : callable, default=None
        Further quantities: a function of a fit, such as ``fit_`` of the model, that returns a
        number, an array, a Series or a dict of numbers.
    X, y, sample_weight, groups : array-like, default=None
        The rows of the fit, as given to `fit`. A model does not keep them; "residual" and "cases"
        need them, and so does "parametric" of generalized models and for several large factors.
        After `lmer`, `glmer`, `clmm` or `nlmer` the data frame X is enough: y and the weights, such
        as trials, are read from it.
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
        fit left no residual or its likelihood has no maximum, for weights of drawn responses that
        are no whole numbers, for "cases" with crossed factors, and for random="fitted" of another
        kind than "parametric".

    See Also
    --------
    bootstrap_intervals : Percentile and basic intervals.

    Notes
    -----
    With one grouping factor the parametric bootstrap needs no row: the sums of a new response are
    drawn from their exact distribution given the cross-products, and all replicates are refitted in
    lock-step from the optimum of the fit. With several factors replicates are refitted one by one.
    As in lme4's ``bootMer``, the criterion is that of the model, REML or ML.

    Replicates of a generalized model are refitted one by one, from their own start, without reading
    the table again. Those whose likelihood has no maximum, as drawn responses that are separated,
    are NaN and count as not converged.

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
    fit = determined_any_fit_of(model)
    kinds = get_args(BootstrapKind)
    if kind not in kinds:
        raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, kinds))}")
    if random not in ("new", "fitted"):
        raise ValueError(f"random={random!r} is neither 'new' nor 'fitted'")
    if random == "fitted" and kind != "parametric":
        raise ValueError(f"random='fitted' is for kind='parametric', and not for kind={kind!r}")
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples}: at least one replicate is needed")
    replicator = _replicator(model, kind, statistic, (X, y, sample_weight, groups), random)
    blocks = in_blocks(
        replicator,
        n_samples,
        replicator.block_size,
        generator_of(random_state),
        n_jobs=n_jobs,
        name="bootstrap" if verbose else None,
    )
    names = [part.name for part in replicator.parameters]
    estimates = pd.Series([part.estimate for part in replicator.parameters], index=names)
    replicates = pd.DataFrame(np.concatenate([block.values for block in blocks]), columns=names)
    if statistic is not None:
        own = as_series(statistic(fit))
        estimates = pd.concat([estimates, own])
        more = pd.DataFrame([row for block in blocks for row in block.statistics])
        if not more.shape[1]:  # no replicate could be fitted
            more = pd.DataFrame(np.nan, range(n_samples), own.index)
        replicates = pd.concat([replicates, more.set_axis(own.index, axis=1)], axis=1)
    return Bootstrap(
        kind,
        estimates,
        replicates,
        np.concatenate([block.converged for block in blocks]),
        np.concatenate([block.singular for block in blocks]),
    )


def _replicator(
    model: Any,
    kind: BootstrapKind,
    statistic: Statistic | None,
    rows: GivenRows,
    random: str,
) -> Replicator:
    """Return what makes replicates of a model; `rows` are X, y, sample_weight and groups."""
    fit = determined_any_fit_of(model)
    parameters = parameters_of(fit)
    if isinstance(fit, NonlinearFit):
        return NonlinearReplicator.of(model, kind, statistic, rows, parameters, random)
    if isinstance(fit, Fit):
        check_exact(fit, "a bootstrap")
        if isinstance(fit, ResidualFit):
            return _residual_replicator(model, fit, kind, statistic, rows, random)
        found = None
        if rows[0] is not None or kind != "parametric":
            found = rows_of_fit(model, *rows, f"kind={kind!r}")
        return LinearReplicator(fit, kind, found, statistic, parameters, random)
    if kind == "residual":
        raise ValueError(
            "kind='residual' is for linear models: residuals of others differ in their "
            "distribution from row to row. Use kind='parametric' or kind='cases'"
        )
    check_maximum(fit, "a bootstrap")
    observations = observations_of_fit(model, *rows, "the bootstrap of a generalized model")
    if kind == "parametric":
        observations = one_response_a_row(observations)
    return GeneralizedReplicator(fit, kind, observations, statistic, parameters, random)


def _residual_replicator(
    model: Any,
    fit: ResidualFit,
    kind: str,
    statistic: Statistic | None,
    rows: GivenRows,
    random: str,
) -> Replicator:
    if kind != "parametric":
        raise ValueError(
            f"kind={kind!r} puts rows of different series and strata together, whose residuals "
            "differ by the residual structure: use kind='parametric'"
        )
    found, residual = series_of_fit(model, *rows, "the bootstrap of a residual structure")
    return ResidualReplicator(fit, found, residual, statistic, parameters_of(fit), random)


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
