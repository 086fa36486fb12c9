"""Generalized linear mixed model as a scikit-learn regressor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import _num_samples

from skmixed.bayes.penalties import Penalising
from skmixed.core.families.catalogue import FAMILIES, family_of
from skmixed.core.families.family import explained_deviance
from skmixed.core.model.structures.named import StructureName
from skmixed.estimators._estimator import FittedAttribute, UnknownLevels
from skmixed.estimators.mixed._generalized_estimator import (
    Averaging,
    BaseGeneralized,
    refuse_missing,
)
from skmixed.estimators.mixed._generalized_predictions import GeneralizedPredictions
from skmixed.estimators.mixed._generalized_state import GeneralizedState
from skmixed.estimators.reading._input_table import InputTable
from skmixed.estimators.reading._numbers import read_weights, read_y
from skmixed.estimators.reading._training_data import read_exposure, read_training_data

FamilyName = Literal["poisson", "binomial", "gamma", "negative_binomial"]


class MixedGeneralizedRegressor(RegressorMixin, GeneralizedPredictions):
    """Generalized linear mixed-effects model for counts, rates, proportions and positive responses.

    The mean of the response is ``mu = g(X beta + Z b)`` with random effects ``b ~ N(0, Omega)``,
    where g is the inverse link: the linear predictor has fixed effects, common to all rows, and
    random intercepts and slopes that vary between the levels of grouping factors. The likelihood
    integrates over the random effects by the Laplace approximation or adaptive Gauss-Hermite
    quadrature.

    `glmer` fits the same model from an lme4 formula. For classes take `MixedClassifier`, for a
    normal response `MixedLinearRegressor`, and for boosting in place of ``X beta``
    `MixedEffectsRegressor`. :doc:`Generalized models </guide/generalized>` explains the fit,
    :doc:`after the fit </guide/after_generalized>` what can be done with it.

    Parameters
    ----------
    random : str, dict or None, default=None
        Random-effects terms in lme4's syntax, ``"(1 + x | shop)"``, or as a dict,
        ``{"shop": ["1", "x"]}``; see `MixedLinearRegressor`. If None, every grouping column has a
        random intercept.
    family : {"poisson", "binomial", "gamma", "negative_binomial"}, default="poisson"
        Distribution of the response: counts; proportions of trials, whose numbers are
        `sample_weight`; positive numbers with a standard deviation proportional to the mean; or
        overdispersed counts with variance mu + mu^2 / theta.
    link : {"auto", "log", "logit", "probit", "cloglog"}, default="auto"
        Link function: the logarithm or, for proportions, one of the other three. "auto" is "log",
        and "logit" for proportions.
    exposure : str, int or None, default=None
        Exposure column of X, by name or position, such as the time or area over which events were
        counted: the mean is proportional to it. Its logarithm enters the linear predictor as an
        offset, and it is not a fixed effect. Requires the log link.
    quadrature : int, default=1
        Number of adaptive Gauss-Hermite quadrature nodes per random effect. 1 is the Laplace
        approximation; more require a single grouping factor and at most 1,000 nodes in total.
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
        How predictions treat the uncertainty of random effects. "integrate" averages means over
        them: given their data for known levels, over the population for unknown ones (marginal
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
        As R's ``logLik``, ``AIC`` and ``BIC``, the latter with rows counted by their weights unless
        these are trials.
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
    dispersion_ : float
        For "gamma" the squared coefficient of variation of the response, for "negative_binomial"
        theta; otherwise 1.0.
    separated_ : list of str
        Fixed-effect columns that separate the responses, so that their coefficients are infinite:
        for instance, all counts are zero wherever a dummy is one.
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
    glmer : The same model from an lme4 formula.
    MixedClassifier : Two classes.
    OrdinalMixedClassifier : Ordered categories.
    MixedLinearRegressor : Normal responses.

    Notes
    -----
    The likelihood is that of glmmTMB, with all constants, and for counts and proportions also that
    of lme4's ``glmer``, which treats the dispersion of the gamma distribution differently. The
    dispersion is estimated jointly with the other parameters.

    With several grouping factors, the standard errors take further evaluations; these are made when
    `coef_covariance_` is first read, or the model is copied or stored.

    References
    ----------
    .. [1] Breslow, N. E. & Clayton, D. G. (1993). Approximate inference in generalized linear mixed
       models. Journal of the American Statistical Association 88(421), :doi:`10.2307/2290687`.
    .. [2] Brooks, M. E. et al. (2017). glmmTMB balances speed and flexibility among packages for
       zero-inflated generalized linear mixed modeling. The R Journal 9(2),
       :doi:`10.32614/RJ-2017-066`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmixed import MixedGeneralizedRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"hours": rng.uniform(1, 5, 400), "shop": np.arange(400) % 20})
    >>> rates = np.exp(1.0 + 0.5 * rng.normal(size=20))
    >>> y = rng.poisson(X["hours"] * rates[X["shop"]])
    >>> model = MixedGeneralizedRegressor("(1 | shop)", exposure="hours").fit(X, y)
    >>> round(model.intercept_, 2)
    1.06
    >>> model.predict(pd.DataFrame({"hours": [1.0, 2.0], "shop": [3, 3]})).round(2)
    array([2.84, 5.68])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseGeneralized._parameter_constraints,
        "family": [StrOptions(set(FAMILIES))],
        "link": [StrOptions({"auto"} | {each.link for own in FAMILIES.values() for each in own})],
        "exposure": [str, Integral, None],
    }

    dispersion_ = FittedAttribute[float]()

    def __init__(
        self,
        random: str | Mapping[str, Sequence[str]] | None = None,
        *,
        family: FamilyName = "poisson",
        link: Literal["auto", "log", "logit", "probit", "cloglog"] = "auto",
        exposure: str | int | None = None,
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
        self.family = family
        self.link = link
        self.exposure = exposure
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

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self.family != "binomial"
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Training data, including the grouping columns unless `groups` is given. Must be dense;
            numbers are converted to double precision.
        y : array-like of shape (n_samples,)
            Response: counts, proportions or positive numbers, according to `family`.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights: a row of weight w counts as w rows, a proportion as that of w
            trials; rows of weight 0 are ignored.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, one column per grouping factor. Factor names are those of the Series or
            data frame, otherwise "group", or "group0", "group1" and so on.

        Returns
        -------
        MixedGeneralizedRegressor
            Fitted estimator.

        Raises
        ------
        ValueError
            If X, y, weights or labels are invalid, the family does not allow a response or the
            link, a named column does not exist, or the model does not allow so many quadrature
            nodes.
        FormulaSyntaxError
            If `random` or `fixed` cannot be parsed.

        Warns
        -----
        ConvergenceWarning
            If columns separate the responses, or the search did not converge.
        UnidentifiedWarning
            If a variance is not identified, or the likelihood has no maximum.
        ApproximationWarning
            If adaptive quadrature would shift an estimate by more than half a standard error.
        """
        self._validate_params()
        family = family_of(self.family, self.link)
        if self.exposure is not None and family.link != "log":
            raise ValueError(
                f"exposure={self.exposure!r} requires the link 'log', but that of family "
                f"{self.family!r} is {family.link!r}: pass numbers of trials as sample_weight"
            )
        data = read_training_data(self, X, y, sample_weight, groups)
        self._fitted = GeneralizedState.of_table(self, data, family)
        return self

    def score(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, groups: Any = None
    ) -> float:
        """Return D^2, the fraction of the deviance explained.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        y : array-like of shape (n_samples,), default=None
            True response. If None, the response named by the formula of `glmer` is read from X.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights; for proportions, the numbers of trials. If None, those named by the
            formula of `glmer` are read from X; otherwise all rows have the same weight.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.

        Returns
        -------
        float
            1 - deviance(predict(X, groups)) / deviance(mean of y), with the deviance of the family
            at the fitted dispersion, as in `sklearn.linear_model.PoissonRegressor`: 1 is the best
            score, 0 that of a constant. With exposures, the constant is the overall rate. If y is
            constant, 1 for exact predictions and otherwise 0.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict`, if the family does not allow a response, or if a row has no prediction
            under handle_unknown="nan".
        """
        fitted = self._state()
        if y is None or fitted.response is not None:
            X, y, sample_weight, groups = self._with_response(X, y, sample_weight, groups)
        table = InputTable.of(X)
        n_rows = _num_samples(table.values)
        truth, weights = read_y(y, n_rows), read_weights(sample_weight, n_rows)
        if weights is None:
            weights = np.ones(n_rows)
        exposure = read_exposure(table, fitted.columns.exposure)
        if exposure is None:
            exposure = np.ones(n_rows)
        family, phi = fitted.fit.mean_family, fitted.fit.phi
        family.check(truth, weights)
        constant = exposure * float(weights @ truth / (weights @ exposure))
        means = self.predict(table, groups)
        refuse_missing(means, "they have no prediction to score: leave them out")
        return explained_deviance(family, phi, truth, means, constant, weights)
