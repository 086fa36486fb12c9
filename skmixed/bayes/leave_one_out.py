"""Leave-one-out cross-validation, with all parameters re-estimated without the row.

Given phi the density of a row without itself has a closed form, the coefficients and random effects
being integrated out: with e its residual at the posterior mean of its predictor and h the share of
sigma^2 / w that is the variance of that predictor,

    y ~ N(y - e / (1 - h), sigma^2 / (w (1 - h))).

Over phi the density is averaged with weights inverse to itself, whose tail is smoothed. If that is
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

_DENSITY_CELLS = 2e7  # rows times nodes whose densities are held at once: 160 MB


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LeaveOneOut(TabularResult):
    """Result of leave-one-out, or leave-one-group-out, cross-validation.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    elpd : ndarray of shape (n,)
        Log predictive density of each row, or jointly of all rows of a level, given the others.
    pareto_k : ndarray of shape (n,)
        Pareto k of the importance weights; rows and levels above 0.7 were refitted.
    is_refitted : ndarray of shape (n,)
        Whether the row or level was left out by a refit.
    counts : ndarray of shape (n,)
        Number of times that each row counts: frequency weights, otherwise 1.
    levels : Index of length n or None, default=None
        Labels of the levels; None if rows were left out.
    monte_carlo_error : float, default=nan
        Monte Carlo standard error of the sum of `elpd`.

    See Also
    --------
    loo : The function that returns it.
    stack : Model weights from several of them.

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
        """Sum of the log densities: the expected log pointwise predictive density, elpd."""
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
        note = f"largest Pareto k {self.pareto_k.max():.2f}; {n} {what} left out by a refit"
        if np.isfinite(self.monte_carlo_error):
            note += f"; Monte Carlo error of elpd_loo {self.monte_carlo_error:.2f}"
        return Table(f"Leave-one-out cross-validation over {what}", frame, (note,))


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
    """Estimate predictive accuracy by leave-one-out cross-validation.

    Rows, or with `leave_out` whole groups, are predicted from the others, without refits where
    importance weights are reliable. Compare models with `stack`; `compare` uses the evidence
    instead.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    model : estimator
        The model that was sampled.
    draws : PosteriorDraws
        Draws from its posterior.
    X : array-like or data frame of shape (n, n_features)
        The training data, in any order; the model does not store it.
    y : array-like of shape (n,), default=None
        Their response. None reads it, and the weights, from X, for a model fitted by a whole
        formula, such as that of `lmer`.
    sample_weight : None or array-like of shape (n,), default=None
        Weights of the rows, as passed to ``fit``, all positive.
    groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
        Group labels of the rows, if they were passed to ``fit`` as `groups`.
    leave_out : str or None, default=None
        None leaves out single rows; the name of a grouping factor leaves out all rows of a level,
        which are then predicted jointly as a new group.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed for the draws after refits; pass an int for reproducible results.

    Returns
    -------
    LeaveOneOut
        Log predictive densities, their sum and its standard error. Of a row with a frequency weight
        a single one is left out.

    Raises
    ------
    ValueError
        If these are not the training data, the draws belong to another model, the factor is
        unknown, or the other rows do not determine all coefficients.

    See Also
    --------
    stack : Model weights by predictive accuracy.
    compare : Model comparison by evidence, which depends on the priors.
    skmixed.model_selection.cross_validate : Cross-validation of any score, with refits.

    Notes
    -----
    Coefficients and random effects are integrated out before a row is left out, so the importance
    weights are far more even than those of ``loo`` in rstanarm or brms, which condition on the
    effects. Rows with Pareto k above 0.7, and up to twenty whose log density has a Monte Carlo
    error above 0.05, are subtracted from the sums, and the posterior of the rest is sampled. Their
    density is the ratio of the evidences, or, under an improper prior, an average over the draws.
    `monte_carlo_error` is the variation between seeds that remains, most of it due to a few
    outlying rows.

    Levels of a single factor are left out in one pass over the rows, in generalized models too.
    Generalized models with several factors are not supported. In a linear model with several
    factors each level takes as many evaluations of the likelihood as there are values of the
    variances.

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
    """Raise an error unless `draws` are draws from the posterior of this fit."""
    if not isinstance(draws, PosteriorDraws):
        raise TypeError(f"draws is a {type(draws).__name__}: pass the result of sample")
    other = ValueError("these draws belong to another model or fit: call sample(model) again")
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
    """Leave out each row of a fit, given with codes of its levels, or each level of a factor."""
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
    """Return the log density of a row given the others, with errors; see `refitted_density`."""
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
