"""Any regressor together with random effects."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import (
    MetaEstimatorMixin,
    RegressorMixin,
    clone,
)
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.utils import Tags, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import Method, Weighting
from skmixed.core.model.structures import STRUCTURES, StructureName
from skmixed.estimators._alternation import (
    Alternation,
    RandomPart,
    RegressorPart,
    check_takes_weights,
)
from skmixed.estimators._columns import RandomColumns, coarsest, declared
from skmixed.estimators._cross_fitting import folds_of_groups
from skmixed.estimators._effect_predictions import EffectPredictions, EffectState
from skmixed.estimators._estimator import FittedEstimator, UnknownLevels
from skmixed.estimators._numbers import check_lengths, read_weights, read_y
from skmixed.estimators._reading import InputTable
from skmixed.estimators._training_data import read_arguments
from skmixed.estimators.linear import MixedLinearRegressor
from skmixed.exceptions import warn


class MixedEffectsRegressor(
    EffectPredictions, MetaEstimatorMixin, RegressorMixin, FittedEstimator[EffectState]
):
    """Any regressor for the fixed part of a mixed model.

    ``y = f(X) + Z b + e``: a regressor f of scikit-learn's kind on the features, and random
    intercepts and slopes of groups as in `MixedLinearRegressor`. The two are fitted in turn, f to
    y - Z b and a linear mixed model to what f leaves, until the criterion of that model falls no
    more. What f leaves of a row is judged by rows of other groups, so that a flexible f does not
    take the effects of the groups, or the noise, for its own.

    Parameters
    ----------
    regressor : estimator, default=None
        The regressor f; None is `sklearn.ensemble.HistGradientBoostingRegressor()`. It gets the
        columns of X that are no grouping columns, as they come; whatever it does with missing
        values, categories or early stopping, it does here. A `LinearRegression` gives the
        coefficients, variances and predictions of `MixedLinearRegressor`.
    random : str, dict or None, default=None
        What varies over which groups, as in `MixedLinearRegressor`: ``"(1 + x | g)"``. None is a
        random intercept for every grouping column.
    context : dict of str to object, default=None
        Functions and values of your own that slopes in `random` may name, as in
        `MixedLinearRegressor`. Without it text from strangers runs no code
        (:doc:`what is safe </guide/security>`).
    group_features : str, int or list of these, default=None
        Columns of X that are grouping columns, by name or position, besides those named in
        `random`.
    covariance : {"unstructured", "diagonal", "identity"} or dict, default="unstructured"
        Covariance structure of the random effects.
    method : {"reml", "ml"}, default="reml"
        Restricted or full maximum likelihood.
    weighting : {"frequency", "precision"}, default="frequency"
        What `sample_weight` means. A frequency of w is w rows, to the regressor as well: it gets
        rows of whole-number weights so often, unless they are more than tenfold or
        ``cross_fit="oob"``. All other weights it gets as its `sample_weight`.
    handle_unknown : {"population", "error", "nan"}, default="population"
        What a row of an unknown or missing level gets in predictions: no effect of that factor, an
        error, or NaN.
    cross_fit : {"groups", "rows", "oob", "none"}, default="groups"
        How f predicts the rows it is judged by: by the rows of other groups, of the coarsest of
        nested factors or else the first; by other rows, of all groups; by those trees of a forest
        that have not seen the row, which takes one fit but needs a regressor with `oob_score`; or
        by all rows, its own among them. A `LinearRegression` needs none of these.
    cv : int, splitter or iterable of pairs, default=5
        Number of folds, or the folds themselves, in which every row must be tested once; a splitter
        that needs groups gets the levels of that factor.
    random_state : int, RandomState instance or None, default=None
        Of the folds where ``cross_fit="rows"``.
    max_iter : int, default=10
        Most iterations.
    tol : float, default=1e-3
        Decrease of the criterion a row that is not worth another iteration: 1e-3 is a thousandth
        of the residual variance.
    n_jobs : int or None, default=None
        Number of jobs over which the folds are spread.
    verbose : int, default=0
        Print a line an iteration if 1 or more.

    Attributes
    ----------
    regressor_ : estimator
        f, fitted to y - Z b of all rows.
    mixed_model_ : MixedLinearRegressor or None
        The model of what f leaves; None without groups.
    residual_variance_ : float
        sigma^2, with what f cannot explain in other groups or rows.
    criterion_ : float
        -2 log-likelihood of the model of residuals, restricted if method="reml"; NaN without
        groups.
    criteria_ : tuple of float
        The same of every iteration.
    n_groups_ : dict of str to int
        Number of levels of every factor.
    n_iter_ : int
        Number of iterations.
    converged_ : bool
        Whether the criterion had stopped falling.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if it has names.

    See Also
    --------
    MixedLinearRegressor : A linear fixed part.
    BLUPEncoder : Random intercepts as features of a regressor.

    Notes
    -----
    Coefficients of slopes in `random` that all groups share are fixed columns of the model of
    residuals, so that a random slope deviates from what f and they say of the column together; only
    the deviation is added to f.

    The alternation is the EM algorithm for f together with a direct search for the variances, as
    in mixed-effects forests (Hajjem, Bellavance & Larocque 2014,
    doi:10.1080/00949655.2012.741599), whose residuals are those of the training rows.

    Examples
    --------
    >>> from sklearn.ensemble import HistGradientBoostingRegressor
    >>> from skmixed import MixedEffectsRegressor
    >>> from skmixed.datasets import make_schools
    >>> pupils = make_schools()
    >>> X, y = pupils[["open", "agree", "social", "school", "class"]], pupils["extro"]
    >>> trees = HistGradientBoostingRegressor(max_iter=30, random_state=0)
    >>> model = MixedEffectsRegressor(trees, "(1 | school/class)").fit(X, y)
    >>> model.n_groups_
    {'class:school': 24, 'school': 6}
    >>> bool(model.score(X, y) > 0.98)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "regressor": [HasMethods(["fit", "predict"]), None],
        "random": [str, Mapping, None],
        "context": [Mapping, None],
        "group_features": [str, Integral, "array-like", None],
        "covariance": [StrOptions(set(STRUCTURES)), Mapping],
        "method": [StrOptions({"reml", "ml"})],
        "weighting": [StrOptions({"frequency", "precision"})],
        "handle_unknown": [StrOptions({"population", "error", "nan"})],
        "cross_fit": [StrOptions({"groups", "rows", "oob", "none"})],
        "cv": [Interval(Integral, 2, None, closed="left"), "cv_object"],
        "random_state": ["random_state"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    __metadata_request__fit: ClassVar = {"groups": True}
    __metadata_request__predict: ClassVar = {"groups": True, "interval": True}
    __metadata_request__score: ClassVar = {"groups": True}

    def __init__(
        self,
        regressor: Any = None,
        random: str | Mapping[str, Any] | None = None,
        *,
        context: Mapping[str, Any] | None = None,
        group_features: Any = None,
        covariance: StructureName | Mapping[str, StructureName] = "unstructured",
        method: Method = "reml",
        weighting: Weighting = "frequency",
        handle_unknown: UnknownLevels = "population",
        cross_fit: Literal["groups", "rows", "oob", "none"] = "groups",
        cv: Any = 5,
        random_state: Any = None,
        max_iter: int = 10,
        tol: float = 1e-3,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.regressor = regressor
        self.random = random
        self.context = context
        self.group_features = group_features
        self.covariance = covariance
        self.method = method
        self.weighting = weighting
        self.handle_unknown = handle_unknown
        self.cross_fit = cross_fit
        self.cv = cv
        self.random_state = random_state
        self.max_iter = max_iter
        self.tol = tol
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(self._regressor()).input_tags
        tags.input_tags.allow_nan = inner.allow_nan
        tags.input_tags.string = (
            inner.string or self.random is not None or self.group_features is not None
        )
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> Self:
        """Fit regressor and random effects.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The features, and the grouping columns unless `groups` is given.
        y : array-like of shape (n,)
            The response.
        sample_weight : None or array-like of shape (n,), default=None
            Nonnegative weights, for both parts; rows of weight 0 are left out.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, one column a grouping factor.

        Returns
        -------
        MixedEffectsRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            For invalid X, y, weights or labels, names that are not there, and weights for a
            regressor that takes none.
        FormulaSyntaxError
            If `random` cannot be read.
        """
        self._validate_params()
        table = InputTable.of(X)
        kept = _positive(sample_weight, table.n_rows)
        table, y, weights, given = read_arguments(self, table, y, sample_weight, groups)
        feature_names = table.feature_names
        table.check_shape(self)
        regressor = self._regressor()
        exact = _is_least_squares(regressor)
        out_of_bag = self.cross_fit == "oob" and not exact
        repeats = self.weighting == "frequency" and not out_of_bag
        check_takes_weights(regressor, weights, repeats=repeats)
        terms, columns = declared(self.random, self.group_features, table.names, given, None)
        roles = RandomColumns.of(columns, terms, all_features=exact)
        y = read_y(y, table.n_rows)
        if given is not None:
            check_lengths(table.n_rows, *given.values())
        model = MixedLinearRegressor(
            self.random,
            context=self.context,
            group_features=roles.group_features or None,
            covariance=self.covariance,
            method=self.method,
            weighting=self.weighting,
            fit_intercept=roles.formulas or not exact or regressor.fit_intercept,
            handle_unknown=self.handle_unknown,
            fixed=_fixed_formula(regressor, exact=exact) if roles.formulas else None,
        )
        random = None
        if terms:
            random = RandomPart.of(model, roles.table(table, given), y, weights)
        folds = folds_of_groups(
            kept,
            None if random is None else random.codes[coarsest(terms)],
            cross_fit="none" if exact else self.cross_fit,
            cv=self.cv,
            random_state=self.random_state,
        )
        if out_of_bag:
            regressor = clone(regressor).set_params(oob_score=True)
        features = roles.features(table)
        fixed = RegressorPart(regressor, features, weights, folds, out_of_bag, self.n_jobs, repeats)
        found = self._alternated(fixed, random, y, exact=exact)
        final = fixed.fit(y if found is None else y - found.effects)
        self._fitted = EffectState(
            n_features_in=len(table.names),
            feature_names_in=feature_names,
            roles=roles,
            regressor=final,
            **_random_part(random, found, fixed, y),
        )
        return self

    def _alternated(
        self, fixed: RegressorPart, random: RandomPart | None, y: FloatArray, *, exact: bool
    ) -> Alternation | None:
        """Find the variances and random effects."""
        if random is None:
            return None
        if exact:  # the mixed model has the features itself
            fit = random.fit(y)
            return Alternation(fit, random.effects(fit), (fit.criterion,), True)
        return Alternation.of(
            fixed, random, y, max_iter=self.max_iter, tol=self.tol, verbose=self.verbose
        )

    def _regressor(self) -> Any:
        """Return the parameter `regressor`, or its default."""
        return HistGradientBoostingRegressor() if self.regressor is None else self.regressor


def _random_part(
    random: RandomPart | None, found: Alternation | None, fixed: RegressorPart, y: FloatArray
) -> dict[str, Any]:
    """Return what the state says of the random part; warns where it is in doubt."""
    if random is None or found is None:
        squares = np.square(y - fixed.predictions(y))
        return {
            "mixed_model": None,
            "residual_variance": float(np.average(squares, weights=fixed.weights)),
            "criterion": np.nan,
            "criteria": (),
            "n_iter": 1,
            "converged": True,
        }
    model, n_iter = random.fitted(found.fit), len(found.criteria)
    if not found.converged:
        warn(
            f"the criterion was still falling after {n_iter} iterations; raise max_iter or tol",
            ConvergenceWarning,
        )
    return {
        "mixed_model": model,
        "residual_variance": model.residual_variance_,
        "criterion": model.criterion_,
        "criteria": found.criteria,
        "n_iter": n_iter,
        "converged": found.converged,
    }


def _fixed_formula(regressor: Any, *, exact: bool) -> str:
    """Return the fixed part of a model of residuals whose slopes are expressions."""
    if not exact:
        return "1"
    return "." if regressor.fit_intercept else "0 + ."


def _positive(sample_weight: Any, n_rows: int) -> NDArray[np.bool_]:
    """Tell which rows have a positive weight, (n_rows,)."""
    weights = read_weights(sample_weight, n_rows)
    return np.ones(n_rows, dtype=bool) if weights is None else weights > 0


def _is_least_squares(regressor: Any) -> bool:
    """Tell whether f is linear without a penalty, so that the whole is a linear mixed model."""
    return type(regressor) is LinearRegression and not regressor.positive
