"""Mixed-effects logistic regression as a scikit-learn classifier."""

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
from skmixed.estimators._estimator import Averaging, UnknownLevels
from skmixed.estimators.mixed._class_predictions import ClassPredictions
from skmixed.estimators.mixed._generalized_estimator import BaseGeneralized
from skmixed.estimators.mixed._generalized_predictions import KnownPredictor
from skmixed.estimators.mixed._generalized_state import GeneralizedState
from skmixed.estimators.reading._numbers import read_classes
from skmixed.estimators.reading._training_data import read_training_data
from skmixed.inference.fixed_effects.testing import check_probability


class MixedClassifier(ClassPredictions, BaseGeneralized):
    """Mixed-effects logistic regression for two classes, by maximum likelihood.

    For a binary outcome whose rows come in groups, such as purchases in shops. The probability of
    the second class is ``p = g(X beta + Z b)`` with random effects ``b ~ N(0, Omega)``, where g is
    the inverse link: the linear predictor has fixed effects, common to all rows, and random
    intercepts and slopes that vary between the levels of grouping factors. The likelihood
    integrates over the random effects by the Laplace approximation or adaptive Gauss-Hermite
    quadrature. Without groups it is unpenalised logistic regression.

    For proportions of several trials take `MixedGeneralizedRegressor` or `glmer`, for ordered
    categories `OrdinalMixedClassifier`, and for boosting or a forest in place of ``X beta``
    `MixedEffectsClassifier`. :doc:`Generalized models </guide/generalized>` explains the fit.

    Parameters
    ----------
    random : str, dict or None, default=None
        Random-effects terms in lme4's syntax, ``"(1 + x | shop)"``, or as a dict,
        ``{"shop": ["1", "x"]}``; see `MixedLinearRegressor`. If None, every grouping column has a
        random intercept.
    link : {"logit", "probit", "cloglog"}, default="logit"
        Link function of p: log odds, normal quantile, or log(-log(1 - p)).
    quadrature : int, default=1
        Number of adaptive Gauss-Hermite quadrature nodes per random effect. 1 is the Laplace
        approximation; more require a single grouping factor and at most 1,000 nodes in total. Many
        small groups need 9 or more.
    fixed : str or None, default=None
        Right-hand side of a formula for the fixed effects, as in `MixedLinearRegressor`; X must
        then be a data frame. If None, every column of X that is not a grouping column is a fixed
        effect. ``offset(...)`` enters the linear predictor with a coefficient of one.
    group_features : str, int, list of str or int, or None, default=None
        Grouping columns of X, by name or position, in addition to those named in `random`.
    covariance : str or dict, default="unstructured"
        Covariance structure of the random effects of each term: "unstructured", "diagonal",
        "identity", "cs" (compound symmetry), "homcs", "ar1", "hetar1", "toep" (Toeplitz),
        "homtoep", or one of reduced rank, such as "rr(2)" and "fa(2)"
        (:doc:`guide </guide/covariances>`). A dict sets it by grouping factor; a structure written
        in `random`, ``ar1(0 + t | g)``, takes precedence.
    relationship : dict of str to Relationship or data frame, default=None
        Known relationship matrices of the levels of grouping factors, as in `MixedLinearRegressor`:
        ``{"animal": K}`` with ``(1 | animal)`` or ``(0 + x | animal)``.
    prior : {"wishart"}, distribution, dict or None, default=None
        Prior on the random-effects covariance matrices that keeps the fit from being singular, as
        in `MixedLinearRegressor`; here it is a prior on the covariances themselves.
    fit_intercept : bool, default=True
        Whether to include a fixed intercept. If `fixed` is a formula, the formula decides:
        ``"0 + x"`` has none.
    handle_unknown : {"population", "error", "nan"}, default="population"
        How to predict rows whose level of a grouping factor is missing or was not seen in `fit`: as
        a new group of the population, with an error, or as NaN.
    averaging : {"integrate", "plug-in"}, default="integrate"
        How predictions treat the uncertainty of random effects. "integrate" averages probabilities
        over them: given their data for known levels, over the population for unknown ones (marginal
        predictions). "plug-in" inserts the conditional modes, zero for unknown levels, as lme4's
        ``predict`` does.
    max_iter : int, default=100
        Maximum number of criterion evaluations.
    tol : float, default=1e-8
        Convergence tolerance on the decrease of the criterion.
    verbose : int, default=0
        If 1 or more, print a line per iteration.
    context : dict of str to object, default=None
        User-defined functions and values that `fixed` and `random` may refer to. Without it,
        formulas from untrusted sources run no code (:doc:`security </guide/security>`).

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        Class labels; probabilities and coefficients refer to the second.
    coef_ : ndarray of shape (n_fixed,)
        Fixed-effect coefficients without the intercept, on the link scale; 0 for columns that are
        linearly dependent on earlier ones.
    intercept_ : float
        Fixed intercept, on the link scale; 0.0 if there is none.
    fixed_effects_ : Series of shape (n_coefs,)
        Fixed-effect coefficients by name, the intercept first; NaN for columns that are linearly
        dependent on earlier ones.
    coef_covariance_ : DataFrame of shape (n_coefs, n_coefs)
        Covariance matrix of the fixed-effect estimates, the intercept first, allowing for the
        estimation of the variance parameters; NaN for the columns in `separated_`.
    random_effects_ : dict of str to DataFrame of shape (n_levels, n_effects)
        Conditional modes of the random effects of each grouping factor, on the link scale.
    random_effects_covariance_ : dict of str to ndarray of shape (n_levels, n_effects, n_effects)
        Conditional covariance matrices of the random effects of each level, given y and the
        estimated parameters.
    random_covariance_ : dict of str to DataFrame of shape (n_effects, n_effects)
        Estimated covariance matrix of the random effects of each grouping factor.
    theta_ : ndarray of shape (n_theta,)
        Free entries of the Cholesky factors of `random_covariance_`, in lme4's order.
    criterion_, deviance_ : float
        -2 log-likelihood; with a `prior`, `criterion_` also includes `penalty_`. lme4's
        ``deviance(m)`` is another figure: the sum of squared deviance residuals, given the random
        effects.
    penalty_ : float
        -2 log density of the `prior` at the estimates, up to a constant; 0.0 without one.
    log_likelihood_, aic_, bic_ : float
        As R's ``logLik``, ``AIC`` and ``BIC``, the latter with rows counted by their weights.
    n_groups_ : dict of str to int
        Number of levels of each grouping factor, largest first, which is also the order of the
        random effects and of `theta_`.
    rank_ : int
        Number of linearly independent fixed-effect columns.
    n_iter_ : int
        Number of iterations of the optimiser.
    converged_, is_singular_ : bool
        Whether the search converged, and whether the fit is singular: a variance of zero or a
        correlation of +-1.
    separated_ : list of str
        Fixed-effect columns that separate the classes perfectly, so that their coefficients are
        infinite.
    approximation_shift_ : float
        Largest shift of an estimate, in standard errors, that adaptive quadrature would bring
        about; only for a single grouping factor and quadrature=1.
    fit_ : GeneralizedFit
        The underlying fit, which the functions of ``skmixed.inference`` read.
    n_features_in_ : int
        Number of columns of X seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X seen in `fit`; defined only if X has column names.

    See Also
    --------
    MixedGeneralizedRegressor : Counts, rates and proportions.
    OrdinalMixedClassifier : Ordered categories.
    MixedEffectsClassifier : Any classifier with random effects.
    glmer : Generalized models from an lme4 formula.

    Notes
    -----
    The likelihood is that of lme4, ``glmer(y ~ x + (1 | g), data, family = binomial)``, and
    glmmTMB, with all constants. The Laplace approximation is inaccurate where groups have few rows;
    a warning about `approximation_shift_` says when it matters.

    Groups are either columns of X, named in `random` or `group_features`, or the argument `groups`
    of `fit` and the prediction methods. Columns of X need no metadata routing.

    With several grouping factors, the standard errors take further evaluations; these are made when
    `coef_covariance_` is first read, or the model is copied or stored.

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
    >>> y = np.where(rng.random(600) < odds / (1 + odds), "sold", "left")
    >>> model = MixedClassifier("(1 | shop)").fit(X, y)
    >>> model.classes_
    array(['left', 'sold'], dtype='<U4')
    >>> model.coef_.round(2)
    array([-1.04])

    Predict a known shop and a new one:

    >>> model.predict_proba(pd.DataFrame({"price": [0.0, 0.0], "shop": [3, 99]})).round(2)
    array([[0.11, 0.89],
           [0.33, 0.67]])
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
        X : array-like or data frame of shape (n_samples, n_features)
            Training data, including the grouping columns unless `groups` is given. Must be dense;
            numbers are converted to double precision.
        y : array-like of shape (n_samples,)
            Class labels, of two classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights: a row of weight w counts as w rows; rows of weight 0 are ignored.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, one column per grouping factor. Factor names are those of the Series or
            data frame, otherwise "group", or "group0", "group1" and so on.

        Returns
        -------
        MixedClassifier
            Fitted estimator.

        Raises
        ------
        ValueError
            If X, y, weights or labels are invalid, y does not have two classes, a named column does
            not exist, or the model does not allow so many quadrature nodes.
        FormulaSyntaxError
            If `random` or `fixed` cannot be parsed.

        Warns
        -----
        ConvergenceWarning
            If columns separate the classes, or the search did not converge.
        UnidentifiedWarning
            If a variance is not identified, or the likelihood has no maximum.
        ApproximationWarning
            If adaptive quadrature would shift an estimate by more than half a standard error.
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
            Lower and upper limits; NaN for rows whose probability is NaN or depends on an infinite
            coefficient.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict_proba`, if `level` is not between 0 and 1, or for any other `kind`.

        See Also
        --------
        MixedGeneralizedRegressor.predict_interval : The method.

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
    """Raise ValueError for an invalid level, and for intervals of single responses."""
    check_probability(level)
    if kind != "mean":
        raise ValueError(
            f"kind={kind!r} is not available: a single response is one class or the other, and "
            "only its probability has an interval. Use kind='mean'"
        )
