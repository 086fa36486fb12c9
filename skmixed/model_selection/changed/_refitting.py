"""Refitting a model to another response on the same rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sklearn.base import clone

from skmixed.core.batch.responses import replicate_products, sum_responses
from skmixed.core.fit import Fit
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.rows.leave_out import rows_at_levels
from skmixed.core.rows.monte_carlo import check_exact
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.design.grammar.expressions import uses_all_columns
from skmixed.estimators.mixed._diagnosis import warn_about
from skmixed.estimators.mixed._linear_state import LinearState, search_of
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.estimators.mixed._mixed_state import MixedState
from skmixed.estimators.reading._written_response import WrittenResponse
from skmixed.inference.fitted import snapshot
from skmixed.model_selection.changed._updates import fitted_estimator


def refit(
    model: Any, y: Any, X: Any = None, *, sample_weight: Any = None, groups: Any = None
) -> Any:
    """Refit a model to another response on the same rows.

    Parameters
    ----------
    model : estimator
        A fitted mixed model of any kind; it is left unchanged.
    y : array-like of shape (n_samples,)
        New response.
    X, sample_weight, groups : array-like
        The training data, as passed to `fit`, which a model does not keep. For a model fitted from
        a formula, X is the data frame without the rows omitted from the fit. For `glmer` with
        ``cbind``, y is the proportion of successes and sample_weight the number of trials.

    Returns
    -------
    estimator
        A new fitted estimator of the same class.

    Raises
    ------
    ValueError
        If X is not given, the rows are not those of the fit, and if `fit` rejects y.
    TypeError
        If `model` is not a mixed model.

    See Also
    --------
    update : Change the formula, data or parameters.
    skmixed.inference.bootstrap : Refit to many simulated responses.

    Notes
    -----
    In R: ``refit(m, newresp)``. A linear model keeps its cross-products, so that only those with
    the response are recomputed; formulas learn nothing new.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.model_selection import refit
    >>> data = load_sleepstudy()
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", data)
    >>> refit(model, data["Reaction"] / 1000, data).coef_.round(5)
    array([0.01047])
    """
    model = fitted_estimator(snapshot(model))
    if X is None:
        raise ValueError(
            "refitting to another response requires the training data, which the model does not "
            "keep: pass X, and sample_weight and groups if fit had them"
        )
    X, y, sample_weight, groups = model._with_response(X, y, sample_weight, groups)
    state = model._state()
    is_summed = isinstance(state.fit, Fit) and not isinstance(state.fit, ResidualFit)
    is_exact = is_summed and state.fit.krylov is None and not state.fit.spec.relations
    if is_exact and type(state) is LinearState:
        return _from_sums(model, y, X, sample_weight, groups)
    return fitted_again(model, y, X, sample_weight, groups)


def _from_sums(
    model: MixedEstimator[Any], y: Any, X: Any, sample_weight: Any, groups: Any
) -> MixedEstimator[Any]:
    state: LinearState = model._state()
    fit = state.fit
    rows, _ = model._series_of_fit(state, X, y, sample_weight, groups)
    rows = rows_at_levels(fit, rows, with_response=False)
    products = with_response(fit, rows)
    found = Fit.of(products, fit.spec, *search_of(model, products, fit.spec))
    warn_about(found)
    again = clone(model)
    again._fitted = replace(state, fit=found, posterior=found, response=_of_another(state))
    return again


def with_response(fit: Fit, rows: Any) -> CrossProducts:
    """Return the cross-products of a fit with the response of the same rows in the place of its."""
    check_exact(fit, "another response")
    means = rows.columns[:, list(fit.spec.fixed)] @ fit.beta
    responses = sum_responses(fit, rows, (rows.columns[:, -1] - means)[:, None])
    return replicate_products(fit, responses, 0)


def fitted_again(
    model: MixedEstimator[Any], y: Any, X: Any, sample_weight: Any, groups: Any, start: Any = None
) -> MixedEstimator[Any]:
    """Fit an estimator like a fitted one to rows with another response.

    A nonlinear one goes on from its coefficients unless another `start` is given.
    """
    state, again = model._state(), clone(model)
    if isinstance(state.fit, NonlinearFit):
        again.set_params(start=state.start_again if start is None else start)
    if state.fixed is not None and uses_all_columns(state.fixed.fixed):
        X = X[list(state.columns.names)]
    again.fit(X, y, sample_weight, groups=groups)
    again._fitted = replace(
        again._state(),
        text=state.text,
        n_dropped=state.n_dropped,
        excludes_missing=state.excludes_missing,
        response=_of_another(state),
    )
    return again


def _of_another(state: MixedState) -> WrittenResponse | None:
    """Return what a whole formula says of weights, where the response is another than it names."""
    return None if state.response is None else replace(state.response, is_replaced=True)
