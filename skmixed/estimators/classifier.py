"""The generalized linear mixed model of two classes as a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from numpy.typing import NDArray
from sklearn.utils._param_validation import StrOptions

from skmixed.bayes.penalties import Penalising
from skmixed.core.families.binomial import Binomial
from skmixed.core.families.catalogue import BINOMIAL
from skmixed.core.linalg import FloatArray
from skmixed.core.model.structures.named import StructureName
from skmixed.estimators._estimator import UnknownLevels
from skmixed.estimators.mixed._class_predictions import ClassPredictions
from skmixed.estimators.mixed._generalized_estimator import Averaging, BaseGeneralized
from skmixed.estimators.mixed._generalized_predictions import KnownPredictor
from skmixed.estimators.mixed._generalized_state import GeneralizedState
from skmixed.estimators.reading._numbers import read_classes
from skmixed.estimators.reading._training_data import read_training_data
from skmixed.inference.fixed_effects.testing import check_probability


class MixedClassifier(ClassPredictions, BaseGeneralized):
    """Logistic mixed-effects model: two classes, and coefficients that vary over groups.

    The probability of the second class is ``p = g(X beta + Z b)`` with ``b ~ N(0, Omega)``, where
    g is the inverse of the link: coefficients common to all rows, and coefficients that vary over
    the levels of grouping factors. All are estimated together by maximum likelihood, the integral
    over the random effects being approximated by Laplace's method or by adaptive Gauss-Hermite
    quadrature. Without groups it is logistic regression without a penalty.

    Parameters
    ----------
    random : str, dict or None, default=None
        What varies over which groups: lme4's syntax, ``"(1 + x | shop)"``, or
        ``{"shop": ["1", "x"]}``, as in `MixedLinearRegressor`. None is a random intercept for
        every grouping column.
    link : {"logit", "probit", "cloglog"}, default="logit"
        Link of the probability: its log odds, its normal quantile, or log(-log(1 - p)).
    quadrature : int, default=1
        Nodes of the quadrature for every random column. 1 is Laplace's approximation; more need
        one grouping factor, and at most 1,000 nodes in all. Many small groups need 9 or more.
    fixed : str or None, default=None
        Right-hand side of a formula for the fixed part; X must then be a data frame (needs the
        extra ``formula``). None is every column of X that is no grouping column.
        ``offset(...)`` adds what is in the brackets with a coefficient of one.
    group_features : str, int or list of these, default=None
        Columns of X that are grouping columns, by name or position, besides those named in
        `random`.
    covariance : str or dict, default="unstructured"
        Covariance structure of the random effects of a term: "unstructured", "diagonal",
        "identity", "cs", "homcs", "ar1", "hetar1", "toep", "homtoep", or of a rank, "rr(2)" and
        "fa(2)". A dict gives it by factor; ``ar1(0 + t | g)`` in `random` goes before.
    relationship : dict of str to Relationship or data frame, default=None
        Known covariances of the levels of grouping columns, up to their variance, as for
        `MixedLinearRegressor`: ``{"animal": K}`` with ``(1 | animal)`` or ``(0 + x | animal)``.
    prior : {"wishart"}, distribution, dict or None, default=None
        Distributions of the covariances of random effects that keep fits from being singular, as
        for `MixedLinearRegressor`; here they are of the covariances themselves.
    fit_intercept : bool, default=True
        Whether the fixed part has an intercept. A formula says so itself (``0 + x``).
    handle_unknown : {"population", "error", "nan"}, default="population"
        What a row of an unknown or missing level gets in predictions: that of a group of which
        nothing is known, an error, or NaN.
    averaging : {"integrate", "plug-in"}, default="integrate"
        What becomes of random effects that are not known for certain. Probabilities are averaged
        over them, given the data of known levels and over all groups for unknown ones, or the most
        likely effects are put in, zero for unknown levels, as ``predict`` of lme4 does.
    max_iter : int, default=100
        Most evaluations of the criterion.
    tol : float, default=1e-8
        Decrease of the criterion that does not matter.
    verbose : int, default=0
        Print a line an iteration if 1 or more.
    context : dict of str to object, default=None
        Functions and values of your own that `fixed` and `random` may name
        (:doc:`what is safe </guide/security>`).

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The classes; probabilities and coefficients are those of the second.
    coef_ : ndarray of shape (n_fixed,)
        Fixed coefficients without the intercept, on the scale of the link; 0 for columns that
        depend on others before them.
    intercept_ : float
        Fixed intercept; 0.0 if there is none.
    fixed_effects_ : Series of shape (p,)
        The same by name, the intercept first if there is one; NaN for columns that depend on others
        before them.
    coef_covariance_ : DataFrame of shape (p, p)
        Covariance matrix of the fixed coefficients, the intercept first if there is one, the
        estimation of the variances in it. NaN for those of `separated_`.
    random_effects_ : dict of str to DataFrame of shape (n_levels, k)
        Conditional modes of every factor, on the scale of the link.
    random_effects_covariance_ : dict of str to ndarray of shape (n_levels, k, k)
        Their conditional covariance given y and the parameters.
    random_covariance_ : dict of str to DataFrame of shape (k, k)
        Estimated covariance matrix of the random effects of every factor.
    theta_ : ndarray
        Entries of its triangular root, in lme4's order.
    criterion_, deviance_ : float
        -2 log-likelihood; with a `prior` the criterion has `penalty_` added.
    penalty_ : float
        -2 log density of the prior at the estimates, up to a constant; 0.0 without one.
    log_likelihood_, aic_, bic_ : float
        As R's logLik, AIC and BIC, which here counts rows by their weights.
    n_groups_ : dict of str to int
        Number of levels of every factor, in the order of falling numbers, as the random effects
        and `theta_` have it.
    rank_ : int
        Number of independent fixed columns.
    n_iter_ : int
        Number of iterations of the search.
    converged_, is_singular_ : bool
        Whether the criterion cannot be lowered further, and whether a variance is zero or a
        correlation is +-1 at the optimum.
    separated_ : list of str
        Fixed columns that separate the classes, so that their coefficients are infinite.
    approximation_shift_ : float
        By how many standard errors quadrature would move the estimate that it moves most; for
        one factor and quadrature=1 only.
    fit_ : GeneralizedFit
        The fit itself.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if it has names.

    See Also
    --------
    MixedLinearRegressor : The model of a response that is a number.

    Notes
    -----
    Groups reach the model as columns of X, named in `random` or `group_features`, or by the
    argument `groups` of `fit` and of predictions. The first way needs no metadata routing.

    The likelihood is that of lme4 (``glmer(y ~ x + (1 | g), data, family = binomial)``) and
    glmmTMB, with all constants. Laplace's approximation errs where groups have few rows; the
    warning about `approximation_shift_` tells when it matters
    (:doc:`guide </guide/generalized>`).

    Standard errors of models of several factors take further evaluations, which are made when
    `coef_covariance_` is first asked for, or the model is copied or stored.

    References
    ----------
    .. [1] Breslow, N. E. & Clayton, D. G. (1993). Approximate inference in generalized linear mixed
       models. Journal of the American Statistical Association 88(421), :doi:`10.2307/2290687`.
    .. [2] Pinheiro, J. C. & Chao, E. C. (2006). Efficient Laplacian and adaptive Gaussian
       quadrature algorithms for multilevel generalized linear mixed models. Journal of
       Computational and Graphical Statistics 15(1), :doi:`10.1198/106186006X96962`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmixed import MixedClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"price": rng.normal(size=600), "shop": np.arange(600) % 30})
    >>> shops = rng.normal(size=30)
    >>> odds = np.exp(1.0 - X["price"] + shops[X["shop"]])
    >>> y = np.where(rng.random(600) < odds / (1 + odds), "bought", "left")
    >>> model = MixedClassifier("(1 | shop)").fit(X, y)
    >>> model.classes_
    array(['bought', 'left'], dtype='<U6')
    >>> known = model.predict_proba(pd.DataFrame({"price": [0.0, 0.0], "shop": [3, 99]}))
    >>> known.shape
    (2, 2)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseGeneralized._parameter_constraints,
        "link": [StrOptions(set(BINOMIAL))],
    }

    def __init__(
        self,
        random: str | Mapping[str, Sequence[str]] | None = None,
        *,
        link: Literal["logit", "probit", "cloglog"] = "logit",
        quadrature: int = 1,
        fixed: str | None = None,
        group_features: str | int | Sequence[str | int] | None = None,
        covariance: StructureName | Mapping[str, StructureName] = "unstructured",
        relationship: Mapping[str, Any] | None = None,
        prior: Penalising = None,
        fit_intercept: bool = True,
        handle_unknown: UnknownLevels = "population",
        averaging: Averaging = "integrate",
        max_iter: int = 100,
        tol: float = 1e-8,
        verbose: int = 0,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        self.random = random
        self.link = link
        self.quadrature = quadrature
        self.fixed = fixed
        self.group_features = group_features
        self.covariance = covariance
        self.relationship = relationship
        self.prior = prior
        self.fit_intercept = fit_intercept
        self.handle_unknown = handle_unknown
        self.averaging = averaging
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.context = context

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, grouping columns among them unless `groups` is given. Not sparse; numbers
            of any type are read into double precision.
        y : array-like of shape (n,)
            Labels of two classes.
        sample_weight : None or array-like of shape (n,), default=None
            Nonnegative weights: a row of weight w stands for w rows; those of weight 0 are left
            out.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, one column a grouping factor. Names come from a Series or data frame;
            otherwise they are "group", or "group0", "group1", ....

        Returns
        -------
        MixedClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            For invalid X, y, weights or labels, for one class or more than two, for names that are
            not there, and for more nodes of the quadrature than the model allows.
        FormulaSyntaxError
            If `random` or `fixed` cannot be read.

        Warns
        -----
        ConvergenceWarning
            If columns separate the classes, or the search did not arrive.
        UnidentifiedWarning
            If nothing tells a variance, or it has no maximum.
        ApproximationWarning
            If quadrature would move an estimate by more than half a standard error.
        """
        self._validate_params()
        data = read_training_data(self, X, y, sample_weight, groups)
        self._fitted = GeneralizedState.of_table(self, data, BINOMIAL[self.link]())
        return self

    def _read_classes(self, y: Any, n_rows: int) -> tuple[FloatArray, NDArray[Any]]:
        return read_classes(y, n_rows, type(self).__name__)

    def _probabilities(
        self, X: Any, groups: Any, random: str | Sequence[str]
    ) -> tuple[NDArray[Any], FloatArray, FloatArray]:
        fitted = self._state()
        family = fitted.fit.family
        assert isinstance(family, Binomial)
        assert fitted.classes is not None
        averages = self._averages(fitted)
        known = KnownPredictor.read(self, fitted, X, groups, random, all_columns=averages)
        return fitted.classes, *family.outcomes(known.center, known.variance if averages else None)

    def predict_interval(
        self,
        X: Any,
        groups: Any = None,
        *,
        level: float = 0.95,
        kind: Literal["mean"] = "mean",
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
            Lower and upper ends. NaN for rows whose probability is, and for those that depend on an
            infinite coefficient.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict_proba`, for a level that is no probability, and another kind.

        See Also
        --------
        MixedGeneralizedRegressor.predict_interval : How they are made.

        Examples
        --------
        >>> import numpy as np
        >>> import pandas as pd
        >>> from skmixed import MixedClassifier
        >>> rng = np.random.default_rng(0)
        >>> X = pd.DataFrame({"shop": np.arange(400) % 20})
        >>> y = rng.random(400) < 1 / (1 + np.exp(-rng.normal(size=20)[X["shop"]]))
        >>> model = MixedClassifier("(1 | shop)").fit(X, y)
        >>> model.predict_interval(pd.DataFrame({"shop": [3, 99]})).round(2)
        array([[0.34, 0.71],
               [0.12, 0.85]])
        """
        check_probability_interval(level, kind)
        return KnownPredictor.read(self, self._state(), X, groups).limits(level)


def check_probability_interval(level: float, kind: str) -> None:
    """Raise ValueError for a level that is no probability, and for intervals of a response."""
    check_probability(level)
    if kind != "mean":
        raise ValueError(
            f"kind={kind!r}: a single response is one class or the other, and only its "
            "probability has an interval: kind='mean'"
        )
