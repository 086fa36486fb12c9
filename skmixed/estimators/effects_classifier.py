"""Any classifier combined with random effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.utils._param_validation import HasMethods

from skmixed.core.families.binomial import Logit
from skmixed.core.linalg import FloatArray
from skmixed.core.model.structures.named import StructureName
from skmixed.estimators._estimator import Averaging, FittedAttribute, UnknownLevels
from skmixed.estimators.alternation._effect_estimator import BaseEffects, CrossFitting
from skmixed.estimators.alternation._learned_responses import Classes, LearnedResponse
from skmixed.estimators.alternation._random_parts import GeneralizedPart, RandomPart
from skmixed.estimators.classifier import MixedClassifier, check_probability_interval
from skmixed.estimators.mixed._class_predictions import ClassPredictions
from skmixed.estimators.reading._numbers import read_classes


class MixedEffectsClassifier(ClassPredictions, BaseEffects):
    """Any scikit-learn classifier of two classes combined with random effects.

    The log odds of the second class are ``a + c f(X) + Z b``, where f(X) are those of a classifier
    such as gradient boosting or a forest, and Z b random intercepts and slopes of the groups as in
    `MixedClassifier`. The two are fitted alternately, f to the classes given the group effects and
    a mixed model to the classes given the log odds of f, until the criterion of that model stops
    decreasing. The log odds of f come from cross-fitting over other groups, so that a flexible f
    absorbs neither the group effects nor the noise; a and c recalibrate it.

    If a linear fixed part will do, `MixedClassifier` is faster and has standard errors and tests.
    `BLUPEncoder` turns the groups into features instead, and `GroupedModels` fits a separate
    classifier for each group. :doc:`Any learner </guide/any_learner>` explains the method.

    Parameters
    ----------
    classifier : estimator, default=None
        Classifier f, with `predict_proba` and a `fit` that accepts `sample_weight`; None is
        `sklearn.ensemble.HistGradientBoostingClassifier()`. It receives the columns of X that are
        not grouping columns unchanged, and handles missing values, categories and early stopping as
        usual. With an unpenalised `LogisticRegression` (``C=numpy.inf``) the result is that of
        `MixedClassifier`.
    random : str, dict or None, default=None
        Random-effects terms, as in `MixedLinearRegressor`: ``"(1 + x | g)"``. If None, every
        grouping column has a random intercept.
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
    quadrature : int, default=1
        Number of adaptive Gauss-Hermite quadrature nodes per random effect, as in
        `MixedClassifier`.
    averaging : {"integrate", "plug-in"}, default="integrate"
        Whether probabilities are averaged over the uncertain random effects ("integrate") or use
        their conditional modes ("plug-in").
    handle_unknown : {"population", "error", "nan"}, default="population"
        How to predict rows whose level of a grouping factor is missing or was not seen in `fit`: as
        a new group of the population, with an error, or as NaN.
    cross_fit : {"groups", "rows", "oob", "none"}, default="groups"
        Rows from which f predicts the rows that the mixed model uses, as in
        `MixedEffectsRegressor`.
    cv : int, splitter or iterable of pairs, default=5
        Number of folds, a splitter, or the folds themselves; every row must be tested exactly once.
        A splitter that needs groups gets those of the factor that "groups" of `cross_fit` uses.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffled folds if ``cross_fit="rows"``.
    max_iter : int, default=10
        Maximum number of iterations.
    tol : float, default=1e-3
        Convergence tolerance on the decrease of the criterion per row.
    n_jobs : int or None, default=None
        Number of folds fitted in parallel by joblib; None means 1, -1 all processors.
    verbose : int, default=0
        If 1 or more, print a line per iteration.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        Class labels; log odds refer to the second.
    classifier_ : estimator
        f fitted to all rows given the random effects of the iteration before the best one, like the
        f for which `mixed_model_` has a and c.
    mixed_model_ : MixedClassifier or None
        Mixed model of the classes given the log odds of f, a fixed-effect column named "f" with
        coefficient c; None without groups.
    criterion_ : float
        -2 log-likelihood of `mixed_model_`; NaN without groups.
    criteria_ : tuple of float
        Value of `criterion_` at each iteration.
    random_effects_ : dict of str to DataFrame of shape (n_levels, n_effects)
        Conditional modes of the random effects of each grouping factor, in log odds.
    random_effects_covariance_ : dict of str to ndarray of shape (n_levels, n_effects, n_effects)
        Conditional covariance matrices of the random effects of each level, given y and the
        estimated parameters.
    random_covariance_ : dict of str to DataFrame of shape (n_effects, n_effects)
        Estimated covariance matrix of the random effects of each grouping factor.
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
    MixedClassifier : A linear fixed part.
    MixedEffectsRegressor : Numbers, counts and positive responses.
    GroupedModels : A separate classifier for each group.

    Notes
    -----
    A classifier accepts no offset. Let q be the probability of the second class according to f, and
    p that with the group effects. Rows of the second class have weight (1 - p) / (1 - q), those of
    the first p / q. With these weights the classes at every x are in proportion to the odds of f
    alone, and the gradient of the log-likelihood in f is the one it has with the offset. As the
    group effects are uncertain, p is averaged over them, which makes the alternation an EM
    algorithm for f.

    Probabilities of f that are 0 or 1, as trees may give, are moved inwards by half a row out of
    all.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn.ensemble import HistGradientBoostingClassifier
    >>> from skmixed import MixedEffectsClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"price": rng.uniform(-3, 3, size=800), "shop": np.arange(800) % 40})
    >>> log_odds = 2 * np.sin(X["price"]) + rng.normal(size=40)[X["shop"]]
    >>> y = np.where(rng.random(800) < 1 / (1 + np.exp(-log_odds)), "sold", "left")
    >>> trees = HistGradientBoostingClassifier(max_iter=20, random_state=0)
    >>> model = MixedEffectsClassifier(trees, "(1 | shop)").fit(X, y)
    >>> model.predict_proba(X[:3]).shape
    (3, 2)
    >>> model.n_groups_
    {'shop': 40}
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseEffects._parameter_constraints,
        "classifier": [HasMethods(["fit", "predict_proba"]), None],
    }

    classes_ = FittedAttribute[NDArray[Any]]("response.classes")
    classifier_ = FittedAttribute[Any]("learner")
    mixed_model_ = FittedAttribute[MixedClassifier | None]()

    def __init__(
        self,
        classifier: Any = None,
        random: str | Mapping[str, Any] | None = None,
        *,
        context: Mapping[str, Any] | None = None,
        group_features: Any = None,
        covariance: StructureName | Mapping[str, StructureName] = "unstructured",
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
        self.classifier = classifier
        self.random = random
        self.context = context
        self.group_features = group_features
        self.covariance = covariance
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

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> Self:
        """Fit the classifier and the random effects.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Training data: the features, and the grouping columns unless `groups` is given.
        y : array-like of shape (n_samples,)
            Class labels, of two classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights for both parts: a row of weight w counts as w rows; rows of weight 0
            are ignored.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, one column per grouping factor. Factor names are those of the Series or
            data frame, otherwise "group", or "group0", "group1" and so on.

        Returns
        -------
        MixedEffectsClassifier
            Fitted estimator.

        Raises
        ------
        ValueError
            If X, y, weights or labels are invalid, y does not have two classes, a named column does
            not exist, or the classifier does not accept `sample_weight`.
        FormulaSyntaxError
            If `random` cannot be parsed.

        Warns
        -----
        ConvergenceWarning
            If the criterion was still decreasing at the last iteration.
        UnidentifiedWarning
            If a variance is not identified, or the likelihood has no maximum.
        ApproximationWarning
            If adaptive quadrature would shift an estimate by more than half a standard error.
        """
        self._validate_params()
        self._fitted = self._state_of(X, y, sample_weight, groups)
        return self

    def predict_interval(
        self, X: Any, groups: Any = None, *, level: float = 0.95, kind: Literal["mean"] = "mean"
    ) -> FloatArray:
        """Predict confidence intervals for the probability of the second class.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        level : float, default=0.95
            Nominal coverage of the interval, between 0 and 1.
        kind : {"mean"}, default="mean"
            The interval is for the probability in the groups of the row; a single response is one
            class or the other, and has no interval.

        Returns
        -------
        ndarray of shape (n_samples, 2)
            Lower and upper limits, treating f as known; NaN for rows whose probability is NaN.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict_proba`, if `level` is not between 0 and 1, or for any other `kind`.
        """
        check_probability_interval(level, kind)
        center, known = self._known(self._state(), X, groups, "all")
        half = np.zeros(len(center)) if known is None else known.half_width(level)
        return np.column_stack([Logit().mean(center - half), Logit().mean(center + half)])

    def _probabilities(
        self, X: Any, groups: Any, random: str | Sequence[str]
    ) -> tuple[NDArray[Any], FloatArray, FloatArray]:
        fitted = self._state()
        center, known = self._known(fitted, X, groups, random)
        variance = None if known is None or not self._averages(fitted) else known.variance
        assert isinstance(fitted.response, Classes)
        return fitted.response.classes, *Logit().outcomes(center, variance)

    def _learner(self) -> Any:
        if self.classifier is not None:
            return self.classifier
        return HistGradientBoostingClassifier()

    def _is_whole(self, learner: Any) -> bool:
        if type(learner) is not LogisticRegression or learner.class_weight is not None:
            return False
        return learner.penalty is None or bool(np.isinf(learner.C))

    def _read_response(
        self, y: Any, n_rows: int, weights: FloatArray | None, exposure: FloatArray | None
    ) -> tuple[NDArray[Any], LearnedResponse]:
        codes, classes = read_classes(y, n_rows, type(self).__name__)
        labels = classes[codes.astype(np.intp)]
        return labels, Classes.of(classes, labels, weights)

    def _random_part(
        self,
        params: dict[str, Any],
        f_name: str | None,
        table: Any,
        y: Any,
        weights: FloatArray | None,
    ) -> RandomPart:
        model = MixedClassifier(**params, quadrature=self.quadrature, averaging=self.averaging)
        return GeneralizedPart.of(model, Logit(), table, y, weights, f_name)
