"""Generalized linear mixed models of counts, shares and positive numbers as a regressor."""

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
    """Generalized linear mixed-effects model: counts, rates, shares and positive numbers.

    The mean of the response is ``mu = g(X beta + Z b)`` with ``b ~ N(0, Omega)``, where g is the
    inverse of the link: coefficients common to all rows, and coefficients that vary over the levels
    of grouping factors. All are estimated together by maximum likelihood, the integral over the
    random effects being approximated by Laplace's method or by adaptive Gauss-Hermite quadrature.

    Parameters
    ----------
    random : str, dict or None, default=None
        What varies over which groups: lme4's syntax, ``"(1 + x | shop)"``, or
        ``{"shop": ["1", "x"]}``, as in `MixedLinearRegressor`. None is a random intercept for
        every grouping column.
    family : {"poisson", "binomial", "gamma", "negative_binomial"}, default="poisson"
        Distribution of the response: counts; shares of trials, `sample_weight` being the numbers of
        trials; positive numbers whose deviation is proportional to their mean; counts with the
        variance mu + mu^2 / theta.
    link : {"auto", "log", "logit", "probit", "cloglog"}, default="auto"
        Link of the mean: the logarithm, or for shares one of the other three. "auto" is "log", and
        "logit" for shares.
    exposure : str, int or None, default=None
        Column of X, by name or position, that the mean is proportional to: the time or the area in
        which was counted. Its logarithm is added to the predictor; it is no fixed column. For the
        link "log".
    quadrature : int, default=1
        Nodes of the quadrature for every random column. 1 is Laplace's approximation; more need
        one grouping factor, and at most 1,000 nodes in all.
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
        What becomes of random effects that are not known for certain. Means are averaged over them,
        given the data of known levels and over all groups for unknown ones, or the most likely
        effects are put in, zero for unknown levels, as ``predict`` of lme4 does.
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
        As R's logLik, AIC and BIC, which here counts rows by their weights, unless
        these are trials.
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
    dispersion_ : float
        For "gamma" the squared coefficient of variation of the response, for "negative_binomial"
        theta; 1.0 for the others.
    separated_ : list of str
        Fixed columns that separate the responses, so that their coefficients are infinite: counts
        of zero wherever a column is not zero.
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
    MixedClassifier : Two classes.
    MixedLinearRegressor : The model of a normal response.

    Notes
    -----
    The likelihood is that of glmmTMB, with all constants, and for counts and shares also that of
    lme4's ``glmer``, whose dispersion of the gamma distribution is another. The dispersion is
    estimated together with the rest.

    Standard errors of models of several factors take further evaluations, which are made when
    `coef_covariance_` is first asked for, or the model is copied or stored.

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
        X : array-like or data frame of shape (n, n_features)
            The columns, grouping columns among them unless `groups` is given. Not sparse; numbers
            of any type are read into double precision.
        y : array-like of shape (n,)
            The response: counts, shares or positive numbers, as `family` says.
        sample_weight : None or array-like of shape (n,), default=None
            Nonnegative weights: a row of weight w stands for w rows, a share for that of w trials;
            rows of weight 0 are left out.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, one column a grouping factor. Names come from a Series or data frame;
            otherwise they are "group", or "group0", "group1", ....

        Returns
        -------
        MixedGeneralizedRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            For invalid X, y, weights or labels, for responses that the family cannot have, for a
            link that is not one of it, for names that are not there, and for more nodes of the
            quadrature than the model allows.
        FormulaSyntaxError
            If `random` or `fixed` cannot be read.

        Warns
        -----
        ConvergenceWarning
            If columns separate the responses, or the search did not arrive.
        UnidentifiedWarning
            If nothing tells a variance, or it has no maximum.
        ApproximationWarning
            If quadrature would move an estimate by more than half a standard error.
        """
        self._validate_params()
        family = family_of(self.family, self.link)
        if self.exposure is not None and family.link != "log":
            raise ValueError(
                f"exposure={self.exposure!r} needs the link 'log', and that of family "
                f"{self.family!r} is {family.link!r}: numbers of trials are sample_weight"
            )
        data = read_training_data(self, X, y, sample_weight, groups)
        self._fitted = GeneralizedState.of_table(self, data, family)
        return self

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> float:
        """Return D^2, the share of the deviance that is explained.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        y : array-like of shape (n,)
            The true response.
        sample_weight : None or array-like of shape (n,), default=None
            Weights of the rows, for shares numbers of trials.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, if they were given as `groups` to `fit`.

        Returns
        -------
        float
            1 - deviance(predict(X, groups)) / deviance(mean of y), of the family at the fitted
            dispersion, as `sklearn.linear_model.PoissonRegressor` has it: 1 is the best, a constant
            has 0. With exposures the mean is that of all responses a unit of exposure. Where y
            is constant it is 1 if y is predicted, else 0.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict`, for responses that the family cannot have, and if handle_unknown="nan"
            leaves a row without a prediction.
        """
        fitted = self._state()
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
        refuse_missing(means, "they have no prediction to be judged: leave them out")
        return explained_deviance(family, phi, truth, means, constant, weights)
