"""Any classifier together with random effects."""

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
from skmixed.estimators._estimator import FittedAttribute, UnknownLevels
from skmixed.estimators.alternation._effect_estimator import BaseEffects, CrossFitting
from skmixed.estimators.alternation._learned_responses import Classes, LearnedResponse
from skmixed.estimators.alternation._random_parts import GeneralizedPart, RandomPart
from skmixed.estimators.classifier import MixedClassifier, check_probability_interval
from skmixed.estimators.mixed._class_predictions import ClassPredictions
from skmixed.estimators.mixed._generalized_estimator import Averaging
from skmixed.estimators.reading._numbers import read_classes


class MixedEffectsClassifier(ClassPredictions, BaseEffects):
    """Any classifier for the fixed part of a logistic mixed model of two classes.

    The log odds of the second class are ``a + c f(X) + Z b``: those of a classifier f of
    scikit-learn's kind on the features, and random intercepts and slopes of groups as in
    `MixedClassifier`. The two are fitted in turn, f to the classes given the effects of the groups,
    and a mixed model to the classes given the log odds of f, until the criterion of that model
    falls no more. What f says of a row is then learned from rows of other groups, so that a
    flexible f does not take the effects of the groups, or the noise, for its own; a and c say how
    far it is to be believed.

    Parameters
    ----------
    classifier : estimator, default=None
        The classifier f, with `predict_proba` and a `fit` that takes `sample_weight`; None is
        `sklearn.ensemble.HistGradientBoostingClassifier()`. It gets the columns of X that are no
        grouping columns, as they come; whatever it does with missing values, categories or early
        stopping, it does here. A `LogisticRegression` without a penalty (``C=numpy.inf``) gives
        `MixedClassifier`.
    random : str, dict or None, default=None
        What varies over which groups, as in `MixedClassifier`: ``"(1 + x | g)"``. None is a random
        intercept for every grouping column.
    context : dict of str to object, default=None
        Functions and values of your own that slopes in `random` may name
        (:doc:`what is safe </guide/security>`).
    group_features : str, int or list of these, default=None
        Columns of X that are grouping columns, by name or position, besides those named in
        `random`.
    covariance : str or dict, default="unstructured"
        Covariance structure of the random effects of a term: "unstructured", "diagonal",
        "identity", "cs", "homcs", "ar1", "hetar1", "toep", "homtoep", or of a rank, "rr(2)" and
        "fa(2)". A dict gives it by factor; ``ar1(0 + t | g)`` in `random` goes before.
    quadrature : int, default=1
        Nodes of the quadrature for every random column, as in `MixedClassifier`.
    averaging : {"integrate", "plug-in"}, default="integrate"
        Whether probabilities are averaged over what is not known of the random effects, or have
        the most likely ones put in.
    handle_unknown : {"population", "error", "nan"}, default="population"
        What a row of an unknown or missing level gets in predictions: that of a group of which
        nothing is known, an error, or NaN.
    cross_fit : {"groups", "rows", "oob", "none"}, default="groups"
        By which rows f is judged, as in `MixedEffectsRegressor`.
    cv : int, splitter or iterable of pairs, default=5
        Number of folds, or the folds themselves, in which every row must be tested once; a splitter
        that needs groups gets the levels of that factor.
    random_state : int, RandomState instance or None, default=None
        Of the folds where ``cross_fit="rows"``.
    max_iter : int, default=10
        Most iterations.
    tol : float, default=1e-3
        Decrease of the criterion a row that is not worth another iteration.
    n_jobs : int or None, default=None
        Number of jobs over which the folds are spread.
    verbose : int, default=0
        Print a line an iteration if 1 or more.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The classes; effects are those of the log odds of the second.
    classifier_ : estimator
        f, fitted to all rows given the random effects of the iteration before the best, as the f
        was to which `mixed_model_` has a and c.
    mixed_model_ : MixedClassifier or None
        The model of the classes given the log odds of f, a fixed column named "f", whose
        coefficient is c; None without groups.
    criterion_ : float
        -2 log-likelihood of that model; NaN without groups.
    criteria_ : tuple of float
        The same of every iteration.
    random_effects_ : dict of str to DataFrame of shape (n_levels, k)
        Conditional modes of every factor, in log odds.
    random_effects_covariance_ : dict of str to ndarray of shape (n_levels, k, k)
        Their conditional covariance.
    random_covariance_ : dict of str to DataFrame of shape (k, k)
        Estimated covariance matrix of the random effects of every factor.
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
    MixedClassifier : A linear fixed part.
    MixedEffectsRegressor : Numbers and counts.

    Notes
    -----
    A classifier takes no offset. With o the effects of a row's groups, q the probability of the
    second class by f, and p that with the effects, rows of the second class weigh (1 - p) / (1 - q)
    and those of the first p / q. So weighted, the classes at every x are in proportion to the odds
    of f alone, whatever f is, and the slope of the log-likelihood in f is the one it has with the
    offset. As o is not known for certain, p is averaged over it, which makes the alternation the EM
    algorithm for f.

    Probabilities of f that are 0 or 1, as those of trees may be, count as half a row of all.

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
        """Fit classifier and random effects.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The features, and the grouping columns unless `groups` is given.
        y : array-like of shape (n,)
            Labels of two classes.
        sample_weight : None or array-like of shape (n,), default=None
            Nonnegative weights: a row of weight w stands for w rows, to the classifier as well;
            rows of weight 0 are left out.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, one column a grouping factor.

        Returns
        -------
        MixedEffectsClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            For invalid X, y, weights or labels, for one class or more than two, names that are not
            there, and a classifier that takes no weights.
        FormulaSyntaxError
            If `random` cannot be read.

        Warns
        -----
        ConvergenceWarning
            If the criterion was still falling.
        UnidentifiedWarning
            If nothing tells a variance, or it has no maximum.
        ApproximationWarning
            If quadrature would move an estimate by more than half a standard error.
        """
        self._validate_params()
        self._fitted = self._state_of(X, y, sample_weight, groups)
        return self

    def predict_interval(
        self, X: Any, groups: Any = None, *, level: float = 0.95, kind: Literal["mean"] = "mean"
    ) -> FloatArray:
        """Predict intervals of the probability of the second class.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, if they were given as `groups` to `fit`.
        level : float, default=0.95
            Probability, between 0 and 1.
        kind : {"mean"}, default="mean"
            The interval is for the probability in the groups of the row. A single response is one
            class or the other, and has none.

        Returns
        -------
        ndarray of shape (n, 2)
            Lower and upper ends, f being taken for known; NaN for rows whose probability is.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict_proba`, for a level that is no probability, and another kind.
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
