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
    """Bootstrap replicates of the estimates of a model.

    Parameters
    ----------
    kind : {"parametric", "residual", "cases"}
        How the replicates were generated.
    estimates : Series
        The estimates of the model itself: fixed coefficients, standard deviations and correlations
        of the random effects, the residual standard deviation or dispersion, and the entries of the
        statistic.
    replicates : DataFrame
        The same for each replicate, one per row; NaN where the refit failed, and for correlations
        that involve a standard deviation of zero.
    converged, singular : ndarray of bool of shape (n_samples,)
        Whether each refit converged, and whether it is singular.

    See Also
    --------
    bootstrap : The function that returns it.
    bootstrap_intervals : Confidence intervals from it.

    Notes
    -----
    It prints the estimate, bias (mean of the replicates minus the estimate) and standard error of
    each quantity.

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
        """Proportion of the replicates with a singular fit."""
        return float(self.singular.mean())

    @property
    def share_not_converged(self) -> float:
        """Proportion of the replicates whose search did not converge."""
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
    """Refit a model to bootstrap replicates of its data.

    Use it for standard errors and intervals of any function of a fit, and where Wald intervals are
    in doubt. `sim` is faster but conditions on the estimated variances; for a test of nested models
    use `skmixed.model_selection.bootstrap_test`.

    Read more in the user guide: :doc:`/guide/intervals`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    n_samples : int, default=1000
        Number of replicates.
    kind : {"parametric", "residual", "cases"}, default="parametric"
        How replicates are generated. "parametric" simulates responses from the fitted model.
        "residual", for linear models, resamples random effects and residuals, after centring and
        rescaling them to their estimated covariances. "cases" resamples whole levels of the
        outermost grouping factor with replacement.
    random : {"new", "fitted"}, default="new"
        Random effects in a parametric bootstrap: drawn anew for each replicate, or held at their
        conditional modes, so that inference is about these groups only (``use.u`` in lme4).
    statistic : callable, default=None
        Function of a fit (``model.fit_``) that returns further quantities: a number, array, Series
        or dict of numbers.
    X, y, sample_weight, groups : array-like, default=None
        The training data, as passed to ``fit``; the model does not store it. Needed for "residual"
        and "cases", and for "parametric" in generalized and nonlinear models and with several large
        factors. After `lmer`, `glmer`, `clmm` or `nlmer` the data frame X is enough: y and the
        weights, such as trials, are read from it.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed of the random number generator; pass an int for reproducible results.
    n_jobs : int or None, default=None
        Number of threads; None means one, and -1 one per processor. Results do not depend on it.
    verbose : int, default=0
        Whether to show a progress bar, if 1 or more.

    Returns
    -------
    Bootstrap
        The replicates.

    Raises
    ------
    ValueError
        For an unknown kind; if training data are needed but missing, or are not those of the fit;
        if the fit leaves no residual or its likelihood has no maximum; for fractional weights where
        responses are drawn; for "cases" with crossed factors; and for random="fitted" unless
        kind="parametric".

    See Also
    --------
    bootstrap_intervals : Percentile and basic intervals.
    confidence_intervals : Profile, Wald and bootstrap intervals.
    sim : Draws that condition on the estimated variances.
    skmixed.model_selection.bootstrap_test : Bootstrap tests of nested models.

    Notes
    -----
    In R: ``bootMer`` of lme4; as there, refits use the criterion of the model, REML or ML.

    With one grouping factor the parametric bootstrap of a linear model needs no rows:
    cross-products with a new response are drawn from their exact distribution, and all replicates
    are refitted together, starting from the optimum of the fit. With several factors replicates are
    refitted one by one.

    Replicates of a generalized model are refitted one by one. Those whose likelihood has no
    maximum, because the drawn responses are separated, are NaN and count as not converged.

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
        raise ValueError(f"random='fitted' needs kind='parametric', not kind={kind!r}")
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples} must be at least 1")
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
            "kind='residual' is for linear models: elsewhere the distribution of the residuals "
            "differs from row to row. Use kind='parametric' or kind='cases'"
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
            f"kind={kind!r} would mix residuals of different series and strata, which the "
            "residual structure tells apart: use kind='parametric'"
        )
    found, residual = series_of_fit(model, *rows, "the bootstrap of a residual structure")
    return ResidualReplicator(fit, found, residual, statistic, parameters_of(fit), random)


def bootstrap_intervals(
    result: Bootstrap, *, level: float = 0.95, method: Literal["percentile", "basic"] = "percentile"
) -> Table:
    """Compute confidence intervals from bootstrap replicates.

    Read more in the user guide: :doc:`/guide/intervals`.

    Parameters
    ----------
    result : Bootstrap
        The replicates, from `bootstrap`.
    level : float, default=0.95
        Confidence level of the intervals, between 0 and 1.
    method : {"percentile", "basic"}, default="percentile"
        "percentile" takes quantiles of the replicates; "basic" reflects these about the estimate.

    Returns
    -------
    Table
        Columns estimate, lower and upper; a row for each quantity. Failed replicates are left out.

    Raises
    ------
    ValueError
        For an unknown method, and a level outside (0, 1).

    See Also
    --------
    bootstrap : Generates the replicates.
    confidence_intervals : Profile, Wald and percentile bootstrap intervals in one call.

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
