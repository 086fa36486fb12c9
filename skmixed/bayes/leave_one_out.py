"""How well every row is predicted by the others, variances and all estimated without it.

Given phi the density of a row without itself has a closed form, the coefficients and random effects
being integrated out: with e its residual at the posterior mean of its predictor and h the share of
sigma^2 / w that is the variance of that predictor,

    y ~ N(y - e / (1 - h), sigma^2 / (w (1 - h))).

Over phi the density is averaged by weights of one over itself, whose tail is smoothed. Where it is
too heavy, or the average has a large error, the row is subtracted from the sums and the posterior
sampled anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skmixed.bayes.generalized_draws import GeneralizedDraws
from skmixed.bayes.generalized_leave_out import (
    REFIT_DRAWS,
    generalized_left_out,
    generalized_levels_left_out,
)
from skmixed.bayes.left_out_means import LeftOutError, LeftOutMeans, in_doubt, refitted_density
from skmixed.bayes.levels_left_out import levels_left_out
from skmixed.bayes.posterior_draws import PosteriorDraws
from skmixed.bayes.priors import ModelPrior
from skmixed.bayes.sampling import draws_of
from skmixed.core.fit import Fit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.given_parameters import Posterior
from skmixed.core.linalg import FloatArray, generator_of
from skmixed.core.rows.prediction_errors import mean_predictions, mean_variances
from skmixed.core.sums.layout import Rows
from skmixed.core.sums.summed_rows import SummedRows
from skmixed.inference.fitted import (
    GivenRows,
    design_of,
    mixed_fit_of,
    observations_of_fit,
    rows_of_fit,
    snapshot,
)
from skmixed.inference.table import Table, TabularResult

_DENSITY_CELLS = 2e7  # rows times nodes whose densities are held at a time: 160 MB


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LeaveOneOut(TabularResult):
    """Log densities of rows, or of all rows of a level, each predicted by the others.

    Parameters
    ----------
    elpd : ndarray of shape (n,)
        Log predictive density of every row, or of all rows of a level at once, without itself.
    pareto_k : ndarray of shape (n,)
        Shape of the tail of its weights; above 0.7 the row or level was left out by a refit.
    is_refitted : ndarray of shape (n,)
        Whether it was.
    counts : ndarray of shape (n,)
        How often every row counts: frequency weights, else 1.
    levels : Index of length n or None, default=None
        Labels of the levels; None where rows are left out.
    monte_carlo_error : float, default=nan
        Standard error of the sum between seeds, from how single values of the variances move it.

    See Also
    --------
    loo : Makes it.
    stack : Weights models by it.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.bayes import loo, sample
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
    >>> result = loo(model, sample(model, random_state=0), X, y, random_state=0)
    >>> round(result.total / 10)
    -86
    """

    elpd: FloatArray
    pareto_k: FloatArray
    is_refitted: Any
    counts: FloatArray
    levels: pd.Index[Any] | None = None
    monte_carlo_error: float = float("nan")

    @property
    def total(self) -> float:
        """Sum of the log densities: the expected one of as many new rows, or levels of these."""
        return float(self.counts @ self.elpd)

    @property
    def error(self) -> float:
        """Standard error of the sum, over rows or levels."""
        n = float(self.counts.sum())
        apart = self.elpd - self.total / n
        return float(np.sqrt(n / (n - 1.0) * (self.counts @ apart**2)))

    def _table(self) -> Table:
        frame = pd.DataFrame(
            {
                "estimate": [self.total, -2.0 * self.total],
                "std_error": [self.error, 2 * self.error],
            },
            index=["elpd_loo", "looic"],
        )
        n = int(self.is_refitted.sum())
        what = "rows" if self.levels is None else f"levels of {self.levels.name}"
        note = f"largest k {self.pareto_k.max():.2f}; {n} {what} left out by a refit"
        if np.isfinite(self.monte_carlo_error):
            note += f"; Monte Carlo error of elpd_loo {self.monte_carlo_error:.2f}"
        return Table(f"{what[0].upper()}{what[1:]} predicted by the others", frame, (note,))


def loo(
    model: Any,
    draws: PosteriorDraws,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    groups: Any = None,
    leave_out: str | None = None,
    random_state: Any = None,
) -> LeaveOneOut:
    """Tell how well every row of the fit, or every group, is predicted by the others.

    Parameters
    ----------
    model : estimator
        The model that was sampled.
    draws : PosteriorDraws
        Draws from its posterior.
    X : array-like or data frame of shape (n, n_features)
        The rows that `fit` was given, in any order; the model does not keep them.
    y : array-like of shape (n,), default=None
        Their response. Of a model by a whole formula, as of `lmer`, None reads it off X, and
        weights, too.
    sample_weight : None or array-like of shape (n,), default=None
        Their weights, all positive.
    groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
        Their labels, if they were given as `groups` to `fit`.
    leave_out : str or None, default=None
        None leaves out each row by itself; the name of a factor leaves out all rows of the same
        level, whose joint density is then that of a new group.
    random_state : None, int, RandomState or Generator, default=None
        Seed of the draws after refits.

    Returns
    -------
    LeaveOneOut
        Log densities, their sum and its standard error. Of a row that stands for several, one is
        left out; of a level, all.

    Raises
    ------
    ValueError
        If these are not the rows of the fit, the draws are of another model, or the factor is none
        of the model; and where rows without a level do not determine a coefficient.

    See Also
    --------
    compare : Compares models by their evidence, which hangs on the prior.
    stack : Weights models by how well they predict.

    Notes
    -----
    Coefficients and random effects are integrated out before any row is left out, so that weights
    are far more even than those of rstanarm's or brms' ``loo``, which are given the effects. Rows
    whose weights have a shape k above 0.7 all the same, and up to twenty whose log density has a
    Monte Carlo error above 0.05, are subtracted from the sums, and the posterior of the rest is
    sampled: their density is the ratio of both evidences, or a mean over the draws of the rest
    where the prior does not integrate to one. What is left of a difference between seeds is told
    by `monte_carlo_error`, most of it of a few rows far from what the model expects.

    Levels of the only factor are left out in one pass over the rows, those of generalized models
    too; with several factors these have no such densities, and are refused. Levels of one of
    several factors of a linear model take as many evaluations of the likelihood, each, as there are
    values of the variances.

    References
    ----------
    .. [1] Vehtari, A., Gelman, A. & Gabry, J. (2017). Practical Bayesian model evaluation using
       leave-one-out cross-validation and WAIC. Statistics and Computing 27, 1413-1432,
       :doi:`10.1007/s11222-016-9696-4`.
    .. [2] Merkle, E. C., Furr, D. & Rabe-Hesketh, S. (2019). Bayesian comparison of latent
       variable models: conditional versus marginal likelihoods. Psychometrika 84, 802-829,
       :doi:`10.1007/s11336-019-09679-0`.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.bayes import loo, sample
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 | Subject)").fit(X, y)
    >>> draws = sample(model, random_state=0)
    >>> result = loo(model, draws, X, y, random_state=0)
    >>> round(result.total / 100)
    -9
    >>> by_level = loo(model, draws, X, y, leave_out="Subject", random_state=0)
    >>> by_level.elpd.shape
    (18,)
    """
    model = snapshot(model)
    fit = mixed_fit_of(model)
    design_of(model)  # which a bare fit has not
    given: GivenRows = model._with_response(X, y, sample_weight, groups)
    if isinstance(draws, GeneralizedDraws) or isinstance(fit, GeneralizedFit):
        return _generalized_loo(model, draws, given, leave_out, random_state)
    rows = rows_of_fit(model, *given, "leaving rows out")
    check_draws_of(draws, model.fit_)
    return left_out(draws, rows, leave_out, random_state)


def _generalized_loo(
    model: Any,
    draws: PosteriorDraws,
    given: GivenRows,
    leave_out: str | None,
    random_state: Any,
) -> LeaveOneOut:
    observations = observations_of_fit(model, *given, use="leaving rows out")
    check_draws_of(draws, model.fit_)
    assert isinstance(draws, GeneralizedDraws)
    if leave_out is not None:
        found = generalized_levels_left_out(draws, observations, leave_out, random_state)
        elpd, shapes, is_poor, error = found
        levels = draws.levels(leave_out).rename(leave_out)
        return LeaveOneOut(elpd, shapes, is_poor, np.ones(len(levels)), levels, error)
    elpd, shapes, is_poor, counts, error = generalized_left_out(draws, observations, random_state)
    return LeaveOneOut(elpd, shapes, is_poor, counts, monte_carlo_error=error)


def check_draws_of(draws: Any, fit: Any) -> None:
    """Raise an error for what is no draws, and for those from another posterior."""
    if not isinstance(draws, PosteriorDraws):
        raise TypeError(f"draws is a {type(draws).__name__}, not what sample returns")
    other = ValueError("these draws are not from the posterior of this model: sample it again")
    if isinstance(draws, GeneralizedDraws) != isinstance(fit, GeneralizedFit):
        raise other
    if isinstance(draws, GeneralizedDraws):
        if not draws.are_of(fit):
            raise other
        return
    own = draws.fit
    same_spec = own.spec.fixed == fit.spec.fixed and own.spec.terms == fit.spec.terms
    if own is not fit and not (same_spec and np.array_equal(own.products.gram, fit.products.gram)):
        raise other


def left_out(
    draws: PosteriorDraws, rows: Rows, leave_out: str | None, random_state: Any
) -> LeaveOneOut:
    """Leave every row of a fit, given with codes of its levels, or every level of a factor out."""
    if leave_out is None:
        return _rows_left_out(draws, rows, random_state)
    elpd, shapes, is_poor, error = levels_left_out(draws, rows, leave_out, random_state)
    levels = draws.levels(leave_out).rename(leave_out)
    return LeaveOneOut(elpd, shapes, is_poor, np.ones(len(levels)), levels, error)


def _rows_left_out(draws: PosteriorDraws, rows: Rows, random_state: Any) -> LeaveOneOut:
    fit = draws.fit
    weights = np.ones(len(rows.columns)) if rows.weights is None else rows.weights
    is_counted = fit.spec.weighting == "frequency"
    ones = np.ones(len(weights))
    counts, precisions = (weights, ones) if is_counted else (ones, weights)
    n, size = len(weights), max(1, int(_DENSITY_CELLS / len(draws.nodes)))
    elpd, shapes, errors = np.empty(n), np.empty(n), np.empty(n)
    is_wide, error = np.zeros(n, dtype=np.bool_), LeftOutError()
    for start in range(0, n, size):
        chosen = np.arange(start, min(start + size, n))
        some = rows.take(chosen)
        densities = [_densities(each, some, precisions[chosen]) for each in draws._posteriors()]
        means = LeftOutMeans.of(np.stack(densities))
        elpd[chosen], shapes[chosen], errors[chosen] = means.elpd, means.shapes, means.errors
        is_wide[chosen] = means.is_wide
        error.add_means(means.take(~means.is_wide), counts[chosen][~means.is_wide])
    is_poor = in_doubt(shapes, errors)
    for row in np.flatnonzero(is_wide & ~is_poor):
        error.add_single(errors[row], counts[row])
    if is_poor.any():
        generator, summed = generator_of(random_state), SummedRows.among(fit.products, rows)
        for row in np.flatnonzero(is_poor):
            elpd[row], own, shared = _refitted(draws, summed, int(row), is_counted, generator)
            error.add_single(own, counts[row], shared)
    return LeaveOneOut(elpd, shapes, is_poor, counts, monte_carlo_error=error.total)


def _densities(posterior: Posterior, rows: Rows, precisions: FloatArray) -> FloatArray:
    """Return log densities of rows without themselves at one phi, (n,)."""
    residuals = rows.columns[:, -1] - mean_predictions(posterior, rows)
    noise = posterior.sigma2 / precisions
    left = np.maximum(1.0 - mean_variances(posterior, rows) / noise, np.finfo(float).tiny)
    return _normal(residuals / left, noise / left)


def _normal(apart: FloatArray, variances: FloatArray) -> FloatArray:
    return np.asarray(-0.5 * (np.log(2.0 * np.pi * variances) + apart**2 / variances))


def _refitted(
    draws: PosteriorDraws,
    summed: SummedRows,
    row: int,
    is_counted: bool,
    generator: np.random.Generator,
) -> tuple[float, float, float]:
    """Return the log density of a row given the others, with errors, as `refitted_density` says."""
    fit, own = draws.fit, summed.rows.take(np.array([row]))
    weight = 1.0 if own.weights is None else float(own.weights[0])
    if is_counted and weight > 1.0:  # one of several
        once = Rows(own.columns, own.codes, own.indexes, np.ones(1))
        rest = fit.products.without(once)
        kept = [np.ones(len(block.index), dtype=bool) for block in fit.products.factors]
    else:
        rest = summed.without(np.array([row]))
        kept = []
        for code, block in zip(own.codes, fit.products.factors, strict=True):
            is_left = np.ones(len(block.index), dtype=bool)
            is_left[code[0]] = block.counts[code[0]] > 1
            kept.append(is_left)
    other = Fit.of(rest, fit.spec)
    codes = tuple(
        np.where(left, np.cumsum(left) - 1, -1)[code]
        for code, left in zip(own.codes, kept, strict=True)
    )
    prior = ModelPrior.of(fit, draws.prior).beside(other)
    again = draws_of(other, prior, REFIT_DRAWS, 4, generator, sampler=draws.sampler)
    placed = Rows(own.columns, codes, other.products.levels, None)
    values = []
    for posterior in again._posteriors():
        apart = own.columns[:, -1] - mean_predictions(posterior, placed)
        noise = posterior.sigma2 / (1.0 if is_counted else weight)
        values.append(_normal(apart, mean_variances(posterior, placed) + noise)[0])
    return refitted_density(
        (draws.log_evidence, draws.log_evidence_error),
        (again.log_evidence, again.log_evidence_error),
        np.array(values),
    )
