"""Refitting a model with another formula, other data or other parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from sklearn.base import clone

from skmixed.core.fit import Fit
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.design.grammar.expressions import uses_all_columns
from skmixed.design.grammar.syntax import FormulaParts, split_formula
from skmixed.design.grammar.updating import updated_parts
from skmixed.estimators.formulas import fit_formula, nlmer, read_formula
from skmixed.estimators.mixed._diagnosis import warn_about
from skmixed.estimators.mixed._linear_state import LinearState, search_of
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.estimators.mixed._mixed_state import MixedState
from skmixed.estimators.reading._formula_rows import fixed_text, random_text
from skmixed.estimators.reading._training_data import declaration
from skmixed.inference.fitted import snapshot

_OF_THE_SEARCH = frozenset({"method", "solver", "max_iter", "tol", "n_jobs", "verbose"})


@dataclass(frozen=True, slots=True, eq=False)
class GivenRows:
    """Data of a model, as users pass them."""

    X: Any = None  # a data frame with the response, of a model by a whole formula
    y: Any = None
    sample_weight: Any = None
    groups: Any = None
    na_action: Literal["drop", "raise"] = "drop"

    @property
    def are_there(self) -> bool:
        """Whether any are given."""
        return self.X is not None


def update(
    model: Any,
    formula: str | None = None,
    data: Any = None,
    y: Any = None,
    *,
    sample_weight: Any = None,
    groups: Any = None,
    na_action: Literal["drop", "raise"] = "drop",
    **params: Any,
) -> Any:
    """Refit a model with a changed formula, other data or other parameters.

    The counterpart of R's ``update``. :doc:`Changing models </guide/changing_models>` shows it with
    `drop1`, `add1` and `step`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model of any kind; it is left unchanged.
    formula : str or None, default=None
        Change of the formula, as in R: a dot stands for what was on that side, so that
        ``". ~ . - x + (1 | g)"`` removes a term and adds another, and ``"log(.) ~ ."`` transforms
        the response. Without ``~`` it is the right-hand side. None keeps the formula.
    data : array-like or data frame of shape (n_samples, n_features), default=None
        Data to fit, which a model does not keep: the data frame given to `lmer`, `glmer`, `clmm` or
        `nlmer`, or X as given to `fit`. May be None if only `method` or settings of the optimiser
        of a linear model change, which takes cross-products alone.
    y : array-like of shape (n_samples,), default=None
        Response, for a model fitted by `fit`.
    sample_weight : array-like of shape (n_samples,) or str, default=None
        Sample weights, if the model had any; for a model fitted from a formula, its ``weights``.
    groups : array-like, default=None
        Group labels, if `fit` was given `groups`.
    na_action : {"drop", "raise"}, default="drop"
        Treatment of incomplete rows, for a model fitted from a formula.
    **params
        Parameters of the estimator to change, such as ``method="ml"``, ``quadrature=9`` or, for a
        model fitted by `fit`, ``random="(1 | g)"``. For linear models ``reml=False`` means
        ``method="ml"``.

    Returns
    -------
    estimator
        A new fitted estimator of the same class.

    Raises
    ------
    ValueError
        If data are required but not given, a weighted linear model gets no weights, a term to
        remove is not in the model, the columns to name in a formula have no names, and as in `fit`.
    TypeError
        If `model` is not a mixed model, a parameter is unknown, or a formula is given for a
        nonlinear model.
    FormulaSyntaxError
        If the formula cannot be parsed.

    See Also
    --------
    drop1 : Test each fixed-effect term by removing it.
    refit : Refit the same model to another response.
    skmixed.inference.compare_models : Test one model against another.

    Notes
    -----
    Unlike in R, removing a term that is not in the model is an error. A dot within a product, as in
    ``~ .^2``, stands for the fixed effects; random-effects terms and offsets are kept beside it.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.model_selection import update
    >>> data = load_sleepstudy()
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", data)
    >>> update(model, ". ~ . - Days", data).formula_
    'Reaction ~ 1 + (1 + Days | Subject)'
    >>> round(update(model, method="ml").criterion_, 2)
    1751.94
    """
    model = fitted_estimator(snapshot(model))
    params = _parameters(model, params)
    rows = GivenRows(data, y, sample_weight, groups, na_action)
    state = model._state()
    if formula is not None and isinstance(state.fit, NonlinearFit):
        raise TypeError(
            "the formula of a nonlinear model cannot be updated: pass random='...', fixed={...} "
            "or start={...} as parameters, or write the formula anew"
        )
    if not rows.are_there:
        return _searched_again(model, formula, params)
    if y is not None:
        rows = evaluated(model, rows)
    _check_weights(state, rows)
    return changed(model, formula, rows, params)


def fitted_estimator(model: Any) -> MixedEstimator[Any]:
    """Return a fitted estimator of a mixed model, typed as such.

    Raises TypeError for anything else, NotFittedError if it is not fitted.
    """
    if not isinstance(model, MixedEstimator):
        raise TypeError(
            "model must be a fitted mixed model, such as MixedLinearRegressor or what lmer "
            f"returns, not a {type(model).__name__}"
        )
    model._state()
    return model


def _parameters(model: MixedEstimator[Any], params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters to change. Raises TypeError for unknown ones."""
    known = model.get_params(deep=False)
    changed = dict(params)
    if "reml" in changed and "reml" not in known and "method" in known:
        changed["method"] = "reml" if changed.pop("reml") else "ml"
    unknown = [name for name in changed if name not in known]
    if unknown:
        hint = "; for weights use `sample_weight`" if "weights" in unknown else ""
        raise TypeError(
            f"a {type(model).__name__} has no parameters {unknown}; it has {sorted(known)}{hint}"
        )
    if model._state().text is not None:
        decided = [name for name in ("random", "fixed") if name in changed]
        if decided and not isinstance(model._state().fit, NonlinearFit):
            raise TypeError(
                f"the model was fitted from a formula, which determines {' and '.join(decided)}: "
                "change the formula, as in '. ~ . + (1 | g)'"
            )
    return changed


def _searched_again(
    model: MixedEstimator[Any], formula: str | None, params: dict[str, Any]
) -> MixedEstimator[Any]:
    """Refit to the sums of a model, if only the criterion or the search changes."""
    state, fit = model._state(), model._state().fit
    is_summed = isinstance(fit, Fit) and not isinstance(fit, ResidualFit)
    if formula is not None or set(params) - _OF_THE_SEARCH or not is_summed or fit.spec.relations:
        raise ValueError(
            "a model does not keep its training data: pass data (the data frame of a formula, "
            "or X and y), and sample_weight and groups if it had them"
        )
    if state.has_further_rows or type(state) is not LinearState:
        raise ValueError(
            "this model has been updated since its fit, or is a posterior or a search: pass the "
            "training data as data and y"
        )
    again = clone(model).set_params(**params)
    again._validate_params()
    spec = replace(fit.spec, method=again.method)
    found = Fit.of(fit.products, spec, *search_of(again, fit.products, spec))
    warn_about(found)
    again._fitted = replace(state, fit=found, posterior=found, declaration=declaration(again))
    return again


def _check_weights(state: MixedState, rows: GivenRows) -> None:
    """Raise ValueError for a weighted linear model that gets no weights."""
    fit = state.fit
    if rows.sample_weight is not None or not isinstance(fit, Fit):
        return
    sums = fit.row_products
    if sums.total_weight != sums.n_rows or sums.total_log_weight:
        raise ValueError(
            "the model has weights, which it does not keep: pass sample_weight, or fit an "
            "unweighted model by its own formula"
        )


def changed(
    model: MixedEstimator[Any], formula: str | None, rows: GivenRows, params: dict[str, Any]
) -> MixedEstimator[Any]:
    """Fit the changed model to data."""
    state, again = model._state(), clone(model).set_params(**params)
    if isinstance(state.fit, NonlinearFit):
        return _nonlinear(model, again, rows)
    if formula is None:
        if state.text is None or rows.y is not None:
            return again.fit(rows.X, rows.y, rows.sample_weight, groups=rows.groups)
        return fit_formula(again, state.text, rows.X, rows.sample_weight, rows.na_action)
    parts = updated_parts(parts_of(model), formula)
    if parts.response is None or rows.y is not None:
        again.random, again.fixed = random_text(parts.random), fixed_text(parts)
        again.fit_intercept = True  # a formula says it
        return again.fit(rows.X, rows.y, rows.sample_weight, groups=rows.groups)
    if rows.groups is not None:
        raise ValueError(
            "the formula names its response, so that all columns, including the groups, must be "
            "in data"
        )
    again.fit_intercept = True
    text = formula_text(parts)
    return fit_formula(again, text, rows.X, rows.sample_weight, rows.na_action)


def _nonlinear(
    model: MixedEstimator[Any], again: MixedEstimator[Any], rows: GivenRows
) -> MixedEstimator[Any]:
    """Fit a nonlinear model with other parameters or data."""
    state = model._state()
    if state.text is None or rows.y is not None:
        return again.fit(rows.X, rows.y, rows.sample_weight, groups=rows.groups)
    params = again.get_params(deep=False)
    for name in ("model", "inputs", "weighting"):
        params.pop(name)
    if params.pop("random") != model.random:
        raise TypeError(
            "the formula of a nonlinear model determines its random effects: write it anew"
        )
    return nlmer(state.text, rows.X, weights=rows.sample_weight, na_action=rows.na_action, **params)


def evaluated(model: MixedEstimator[Any], rows: GivenRows) -> GivenRows:
    """Return data with the response that the formula of a model names, unless it is given."""
    text = model._state().text
    if text is None or not rows.are_there:
        return rows
    if rows.y is not None or isinstance(model._state().fit, NonlinearFit):
        given = rows.X, rows.y, rows.sample_weight, rows.groups
        return GivenRows(*model._with_response(*given, of_fit=True), rows.na_action)
    read, y, weights = read_formula(model, text, rows.X, rows.sample_weight, rows.na_action)
    return GivenRows(read.table, y, weights)


def parts_of(model: MixedEstimator[Any]) -> FormulaParts:
    """Return a fitted model as parts of a formula, with the response if it has a name.

    Raises ValueError for fixed-effect columns without names.
    """
    state = model._state()
    if state.text is not None:
        parts = split_formula(state.text)
        if uses_all_columns(parts.fixed):
            parts = replace(parts, fixed=_fixed_of_names(state))
        return parts
    if state.fixed is not None:
        return replace(state.fixed, random=state.terms)
    if state.feature_names_in is None:
        raise ValueError(
            "X was an array, whose columns have no names for a formula: fit a data frame, or "
            "leave out columns of X instead"
        )
    return FormulaParts(None, _fixed_of_names(state), state.terms, ())


def _fixed_of_names(state: MixedState) -> str:
    """Return the formula of fixed effects that no formula, or a dot, names."""
    design = state.design
    names = [":".join(operands) for operands in design.fixed_design.terms.values()]
    return " + ".join(names if design.has_intercept else ["0", *names]) or "1"


def formula_text(parts: FormulaParts) -> str:
    """Return a complete formula as text."""
    right = [fixed_text(parts), random_text(parts.random)]
    return f"{parts.response} ~ {' + '.join(part for part in right if part)}"
