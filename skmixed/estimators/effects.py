"""Any regressor combined with random effects."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

from sklearn.base import RegressorMixin
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import GammaRegressor, LinearRegression, PoissonRegressor
from sklearn.utils import Tags
from sklearn.utils._param_validation import HasMethods, StrOptions

from skmixed.core.families.catalogue import family_of
from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import Method, Weighting
from skmixed.core.model.structures.named import StructureName
from skmixed.estimators._estimator import Averaging, UnknownLevels
from skmixed.estimators.alternation._effect_estimator import BaseEffects, CrossFitting
from skmixed.estimators.alternation._effect_predictions import EffectPredictions
from skmixed.estimators.alternation._learned_responses import (
    LearnedResponse,
    Numbers,
    PositiveMeans,
)
from skmixed.estimators.alternation._random_parts import GeneralizedPart, LinearPart, RandomPart
from skmixed.estimators.generalized_regressor import MixedGeneralizedRegressor
from skmixed.estimators.linear import MixedLinearRegressor
from skmixed.estimators.reading._numbers import read_y

_LOSSES = {
    "gaussian": "squared_error",
    "poisson": "poisson",
    "negative_binomial": "poisson",
    "gamma": "gamma",
}
"""The loss of boosting that has the slope of a family."""

_MAXIMUM_LIKELIHOOD = {"poisson": PoissonRegressor, "gamma": GammaRegressor}
"""Linear regressors by family: without a penalty these estimate by maximum likelihood."""


class MixedEffectsRegressor(EffectPredictions, RegressorMixin, BaseEffects):
    """Any scikit-learn regressor combined with random effects.

    ``y = f(X) + Z b + e``: a regressor f, such as gradient boosting or a forest, for the features,
    and random intercepts and slopes of the groups as in `MixedLinearRegressor`. The two are fitted
    alternately, f to y - Z b and a linear mixed model to the residuals of f, until the criterion of
    that model stops decreasing. The residuals come from predictions cross-fitted over other groups,
    so that a flexible f absorbs neither the group effects nor the noise. For counts and positive
    responses, `family` makes it a generalized mixed model with mean ``exp(f(X) + Z b)``.

    If a linear fixed part will do, `MixedLinearRegressor` or `MixedGeneralizedRegressor` is faster
    and has standard errors and tests. `BLUPEncoder` turns the groups into features instead, and
    `GroupedModels` fits a separate f for each group. :doc:`Any learner </guide/any_learner>`
    explains the method.

    Parameters
    ----------
    regressor : estimator, default=None
        Regressor f; None is `sklearn.ensemble.HistGradientBoostingRegressor()`. It receives the
        columns of X that are not grouping columns unchanged, and handles missing values, categories
        and early stopping as usual. With `LinearRegression` the result is that of
        `MixedLinearRegressor`. For counts and positive responses, f must predict the mean, as with
        ``loss="poisson"``, the default then; a `PoissonRegressor` or `GammaRegressor` with
        ``alpha=0`` gives `MixedGeneralizedRegressor`.
    random : str, dict or None, default=None
        Random-effects terms, as in `MixedLinearRegressor`: ``"(1 + x | g)"``. If None, every
        grouping column has a random intercept.
    family : {"gaussian", "poisson", "negative_binomial", "gamma"}, default="gaussian"
        Distribution of the response: "gaussian" for any numbers, "poisson" or the overdispersed
        "negative_binomial" for counts, "gamma" for positive numbers. All but the first use a log
        link and maximum likelihood, and require that the regressor accept `sample_weight` (except
        "gamma") and predict no negative means.
    exposure : str, int or None, default=None
        Exposure column of X, by name or position, as in `MixedGeneralizedRegressor`: the mean is
        proportional to it. The regressor does not receive it and predicts rates, means per unit of
        exposure. Not for family="gaussian".
    context : dict of str to object, default=None
        User-defined functions and values that slopes in `random` may refer to. Without it, formulas
        from untrusted sources run no code (:doc:`security </guide/security>`).
    group_features : str, int, list of str or int, or None, default=None
        Grouping columns of X, by name or position, in addition to those named in `random`.
    covariance : str or dict, default="unstructured"
        Covariance structure of the random effects of each term: "unstructured", "diagonal",
        "identity", "cs" (compound symmetry), "homcs", "ar1", "hetar1", "toep" (Toeplitz),
        "homtoep", or one of reduced rank, such as "rr(2)" and "fa(2)"
        (:doc:`guide </guide/covariances>`). A dict sets it by grouping factor; a structure written
        in `random`, ``ar1(0 + t | g)``, takes precedence.
    method : {"reml", "ml"}, default="reml"
        Restricted (REML) or full (ML) maximum likelihood, for family="gaussian".
    weighting : {"frequency", "precision"}, default="frequency"
        Meaning of `sample_weight`: a row of weight w counts as w rows ("frequency"), or has
        residual variance sigma^2 / w ("precision"). Whole-number frequencies up to 10 reach the
        regressor as repeated rows, unless ``cross_fit="oob"``, all other weights as its
        `sample_weight`.
    quadrature : int, default=1
        Number of adaptive Gauss-Hermite quadrature nodes per random effect, as in
        `MixedGeneralizedRegressor`.
    averaging : {"integrate", "plug-in"}, default="integrate"
        Whether means of a family with a link are averaged over the uncertain random effects
        ("integrate") or use their conditional modes ("plug-in").
    handle_unknown : {"population", "error", "nan"}, default="population"
        How to predict rows whose level of a grouping factor is missing or was not seen in `fit`:
        without a random effect of that factor ("population"), with an error, or as NaN.
    cross_fit : {"groups", "rows", "oob", "none"}, default="groups"
        Rows from which f predicts the rows whose residuals are used: those of other groups
        ("groups"; of the coarsest of nested factors, or else the first), other rows of any group
        ("rows"), out-of-bag trees of a forest, which take a single fit but require a regressor with
        `oob_score` ("oob"), or all rows ("none"). Has no effect with `LinearRegression`.
    cv : int, splitter or iterable of pairs, default=5
        Number of folds, a splitter, or the folds themselves; every row must be tested exactly once.
        A splitter that needs groups gets those of the factor that "groups" of `cross_fit` uses.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffled folds if ``cross_fit="rows"``.
    max_iter : int, default=10
        Maximum number of iterations.
    tol : float, default=1e-3
        Convergence tolerance on the decrease of the criterion per row: 1e-3 is a thousandth of the
        residual variance.
    n_jobs : int or None, default=None
        Number of folds fitted in parallel by joblib; None means 1, -1 all processors.
    verbose : int, default=0
        If 1 or more, print a line per iteration.

    Attributes
    ----------
    regressor_ : estimator
        f fitted to all rows, with the random effects of the iteration before the best one removed
        from y.
    mixed_model_ : MixedLinearRegressor, MixedGeneralizedRegressor or None
        Mixed model of the residuals of f or, with another family, of y given log f(X), a
        fixed-effect column named "f"; None without groups.
    random_effects_ : dict of str to DataFrame of shape (n_levels, n_effects)
        BLUPs of each grouping factor, those of `mixed_model_`; levels are the rows.
    random_effects_covariance_ : dict of str to ndarray of shape (n_levels, n_effects, n_effects)
        Conditional covariance matrices of the random effects of each level.
    random_covariance_ : dict of str to DataFrame of shape (n_effects, n_effects)
        Estimated covariance matrix of the random effects of each grouping factor.
    residual_variance_ : float
        Residual variance sigma^2, in squared units of y, including the error of f in other groups
        or rows; only for family="gaussian".
    dispersion_ : float
        Dispersion of another family, as in `MixedGeneralizedRegressor`.
    criterion_ : float
        -2 log-likelihood of `mixed_model_`, restricted if method="reml"; NaN without groups.
    criteria_ : tuple of float
        Value of `criterion_` at each iteration.
    n_groups_ : dict of str to int
        Number of levels of each grouping factor.
    n_iter_ : int
        Number of iterations run.
    converged_ : bool
        Whether the criterion stopped decreasing within `max_iter` iterations.
    n_features_in_ : int
        Number of columns of X seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X seen in `fit`; defined only if X has column names.

    See Also
    --------
    MixedLinearRegressor : A linear fixed part.
    MixedEffectsClassifier : Two classes.
    BLUPEncoder : Random effects as features for any regressor.
    GroupedModels : A separate regressor for each group.

    Notes
    -----
    Random slopes are deviations: the slope common to all groups is a fixed effect of the model of
    the residuals, so that f and this coefficient together describe the column, and only the
    deviation is added to f.

    A regressor accepts no offset. Given Z b with mean m and variance v, f is fitted to counts times
    exp(-m - v / 2) with weights exp(m + v / 2), for which the Poisson loss has the gradient of the
    likelihood; or to positive responses times exp(v / 2 - m). The linear predictor is
    ``a + c log f(X) + Z b``, with c estimated on rows that f has not seen, along with the
    variances; c below 1 means that f is overconfident. The log of an exposure is part of m.

    The alternation is an EM algorithm for f with a direct search for the variances, as in
    mixed-effects random forests [1]_, which however use in-sample residuals.

    References
    ----------
    .. [1] Hajjem, A., Bellavance, F. & Larocque, D. (2014). Mixed-effects random forest for
       clustered data. Journal of Statistical Computation and Simulation 84(6),
       :doi:`10.1080/00949655.2012.741599`.

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
        **BaseEffects._parameter_constraints,
        "regressor": [HasMethods(["fit", "predict"]), None],
        "family": [StrOptions(set(_LOSSES))],
        "exposure": [str, Integral, None],
        "method": [StrOptions({"reml", "ml"})],
        "weighting": [StrOptions({"frequency", "precision"})],
    }

    __metadata_request__predict: ClassVar = {"groups": True, "interval": True}

    def __init__(
        self,
        regressor: Any = None,
        random: str | Mapping[str, Any] | None = None,
        *,
        family: Literal["gaussian", "poisson", "negative_binomial", "gamma"] = "gaussian",
        exposure: str | int | None = None,
        context: Mapping[str, Any] | None = None,
        group_features: Any = None,
        covariance: StructureName | Mapping[str, StructureName] = "unstructured",
        method: Method = "reml",
        weighting: Weighting = "frequency",
        quadrature: int = 1,
        averaging: Averaging = "integrate",
        handle_unknown: UnknownLevels = "population",
        cross_fit: CrossFitting = "groups",
        cv: Any = 5,
        random_state: Any = None,
        max_iter: int = 10,
        tol: float = 1e-3,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.regressor = regressor
        self.random = random
        self.family = family
        self.exposure = exposure
        self.context = context
        self.group_features = group_features
        self.covariance = covariance
        self.method = method
        self.weighting = weighting
        self.quadrature = quadrature
        self.averaging = averaging
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
        tags.target_tags.positive_only = self.family != "gaussian"
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> Self:
        """Fit the regressor and the random effects.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Training data: the features, and the grouping columns unless `groups` is given.
        y : array-like of shape (n_samples,)
            Response.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights for both parts, whose meaning `weighting` sets; rows of weight 0 are
            ignored.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, one column per grouping factor. Factor names are those of the Series or
            data frame, otherwise "group", or "group0", "group1" and so on.

        Returns
        -------
        MixedEffectsRegressor
            Fitted estimator.

        Raises
        ------
        ValueError
            If X, y, weights or labels are invalid, a named column does not exist, or the regressor
            needs but does not accept `sample_weight`.
        FormulaSyntaxError
            If `random` cannot be parsed.
        """
        self._validate_params()
        if self.family == "gaussian" and self.exposure is not None:
            raise ValueError(
                f"exposure={self.exposure!r} requires a log link, which family='gaussian' does "
                "not have: use family='poisson' for counts, or divide y by the exposure"
            )
        if self.family != "gaussian" and self.weighting == "precision":
            raise ValueError(
                f"weighting='precision' requires family='gaussian'; with family={self.family!r} "
                "weights are frequencies: leave weighting out"
            )
        self._fitted = self._state_of(X, y, sample_weight, groups)
        return self

    def _learner(self) -> Any:
        if self.regressor is not None:
            return self.regressor
        return HistGradientBoostingRegressor(loss=_LOSSES[self.family])

    def _is_whole(self, learner: Any) -> bool:
        if self.family == "gaussian":
            return type(learner) is LinearRegression and not learner.positive
        return type(learner) is _MAXIMUM_LIKELIHOOD.get(self.family) and learner.alpha == 0.0

    def _read_response(
        self, y: Any, n_rows: int, weights: FloatArray | None, exposure: FloatArray | None
    ) -> tuple[FloatArray, LearnedResponse]:
        values = read_y(y, n_rows)
        if self.family == "gaussian":
            return values, Numbers()
        return values, PositiveMeans.of(family_of(self.family), values, weights, exposure)

    def _random_part(
        self,
        params: dict[str, Any],
        f_name: str | None,
        table: Any,
        y: Any,
        weights: FloatArray | None,
    ) -> RandomPart:
        if self.family == "gaussian":
            linear = MixedLinearRegressor(**params, method=self.method, weighting=self.weighting)
            return LinearPart.of(linear, table, y, weights)
        model = MixedGeneralizedRegressor(
            **params,
            family=self.family,
            quadrature=self.quadrature,
            averaging=self.averaging,
        )
        return GeneralizedPart.of(model, family_of(self.family), table, y, weights, f_name)

    @property
    def _counts_rows(self) -> bool:
        return self.weighting == "frequency"
