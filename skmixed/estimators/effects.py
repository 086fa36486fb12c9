"""Any regressor together with random effects, of numbers and of counts."""

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
from skmixed.estimators._estimator import UnknownLevels
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
from skmixed.estimators.mixed._generalized_estimator import Averaging
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
    """Any regressor for the fixed part of a mixed model.

    ``y = f(X) + Z b + e``: a regressor f of scikit-learn's kind on the features, and random
    intercepts and slopes of groups as in `MixedLinearRegressor`. The two are fitted in turn, f to
    y - Z b and a linear mixed model to what f leaves, until the criterion of that model falls no
    more. What f leaves of a row is judged by rows of other groups, so that a flexible f does not
    take the effects of the groups, or the noise, for its own.

    Counts and positive numbers have their `family`: their mean is ``exp(f(X) + Z b)``, in a
    generalized linear mixed model as `MixedGeneralizedRegressor`.

    Parameters
    ----------
    regressor : estimator, default=None
        The regressor f; None is `sklearn.ensemble.HistGradientBoostingRegressor()`. It gets the
        columns of X that are no grouping columns, as they come; whatever it does with missing
        values, categories or early stopping, it does here. A `LinearRegression` gives the
        coefficients, variances and predictions of `MixedLinearRegressor`. Of counts and positive
        numbers it predicts the mean, as with ``loss="poisson"``, which is the default there, and a
        `PoissonRegressor` or `GammaRegressor` with ``alpha=0`` gives `MixedGeneralizedRegressor`.
    random : str, dict or None, default=None
        What varies over which groups, as in `MixedLinearRegressor`: ``"(1 + x | g)"``. None is a
        random intercept for every grouping column.
    family : {"gaussian", "poisson", "negative_binomial", "gamma"}, default="gaussian"
        What the response is: any numbers; counts whose variance is the mean, or larger; or positive
        numbers. But for the first the link is the logarithm, the fit by maximum likelihood, and the
        regressor must take `sample_weight` ("gamma" does without), and predict no negative means.
    exposure : str, int or None, default=None
        Column of X, by name or position, that the mean is proportional to, as in
        `MixedGeneralizedRegressor`: the time or the area in which was counted. The regressor does
        not get it, and predicts means for an exposure of one: rates. Not for family="gaussian".
    context : dict of str to object, default=None
        Functions and values of your own that slopes in `random` may name, as in
        `MixedLinearRegressor`. Without it text from strangers runs no code
        (:doc:`what is safe </guide/security>`).
    group_features : str, int or list of these, default=None
        Columns of X that are grouping columns, by name or position, besides those named in
        `random`.
    covariance : str or dict, default="unstructured"
        Covariance structure of the random effects of a term: "unstructured", "diagonal",
        "identity", "cs", "homcs", "ar1", "hetar1", "toep", "homtoep", or of a rank, "rr(2)" and
        "fa(2)". A dict gives it by factor; ``ar1(0 + t | g)`` in `random` goes before.
    method : {"reml", "ml"}, default="reml"
        Restricted or full maximum likelihood, of family="gaussian".
    weighting : {"frequency", "precision"}, default="frequency"
        What `sample_weight` means. A frequency of w is w rows, to the regressor as well: it gets
        rows of whole-number weights so often, unless they are more than tenfold or
        ``cross_fit="oob"``. All other weights it gets as its `sample_weight`.
    quadrature : int, default=1
        Nodes of the quadrature for every random column, as in `MixedGeneralizedRegressor`.
    averaging : {"integrate", "plug-in"}, default="integrate"
        Whether means of a family with a link are averaged over what is not known of the random
        effects, or have the most likely ones put in.
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
        f, fitted to y - Z b of all rows, or of a family to y without what exposures and Z b, as of
        the iteration before the best, make of it.
    mixed_model_ : MixedLinearRegressor, MixedGeneralizedRegressor or None
        The model of what f leaves, or of a family that of y given log f(X), a fixed column named
        "f"; None without groups.
    residual_variance_ : float
        sigma^2, with what f cannot explain in other groups or rows; of family="gaussian".
    dispersion_ : float
        That of another family, as of `MixedGeneralizedRegressor`.
    criterion_ : float
        -2 log-likelihood of `mixed_model_`, restricted if method="reml"; NaN without groups.
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
    MixedEffectsClassifier : Two classes.
    BLUPEncoder : Random intercepts as features of a regressor.

    Notes
    -----
    Coefficients of slopes in `random` that all groups share are fixed columns of the model of
    residuals, so that a random slope deviates from what f and they say of the column together; only
    the deviation is added to f.

    A regressor takes no offset: given Z b, whose mean is m and whose variance is v, f is fitted to
    counts times exp(-m - v / 2), with exp(m + v / 2) as weights, by which its Poisson loss has the
    slope in f of the likelihood; to positive numbers times exp(v / 2 - m). Linear predictors are
    ``a + c log f(X) + Z b``: c, estimated with the variances from rows that f has not seen, is
    below 1 for an f that is too sure of them. The logarithm of an exposure is part of m.

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
        if self.family == "gaussian" and self.exposure is not None:
            raise ValueError(
                f"exposure={self.exposure!r} needs the link 'log', which family='gaussian' has "
                "not: take family='poisson' for counts, or divide y by the exposure"
            )
        if self.family != "gaussian" and self.weighting == "precision":
            raise ValueError(
                f"weighting='precision' is of family='gaussian'; in family {self.family!r} "
                "weights are numbers of rows: leave it out"
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
