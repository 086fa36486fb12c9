"""Bayesian linear mixed model as a scikit-learn regressor."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skmixed.bayes.priors import PRIOR_NAMES, Prior, PriorName
from skmixed.bayes.sampling import SamplerName
from skmixed.core.model.spec import Method, Weighting
from skmixed.estimators._estimator import UnknownLevels
from skmixed.estimators.mixed._bayesian_predictions import BayesianPredictions
from skmixed.estimators.mixed._bayesian_state import BayesianAttributes, BayesianState
from skmixed.estimators.mixed._summed_estimator import GrowingEstimator
from skmixed.estimators.reading._training_data import read_training_data
from skmixed.inference.summary import CORRELATIONS, as_text, below_diagonal, correlations_of

BayesianStructure = Literal["unstructured", "diagonal", "identity"]


class BayesianMixedRegressor(
    BayesianPredictions, BayesianAttributes, GrowingEstimator[BayesianState]
):
    """Bayesian linear mixed-effects model with its full posterior distribution.

    The model of `MixedLinearRegressor`, with prior distributions on coefficients, standard
    deviations and correlations. Random effects and predictions are averaged over the posterior, so
    that their uncertainty includes that of the variances: worthwhile where there are few groups.
    Draws come from cross-products, at a cost that does not depend on the number of rows.

    To draw from the posterior of a model that is already fitted, take `skmixed.bayes.sample`, which
    also takes generalized models. :doc:`The posterior </guide/posterior>` explains priors and
    samplers.

    Parameters
    ----------
    random : str, dict or None, default=None
        Random-effects terms, as in `MixedLinearRegressor`: ``"(1 + x | g)"``. If None, every
        grouping column has a random intercept.
    fixed : str or None, default=None
        Right-hand side of a formula for the fixed effects, as in `MixedLinearRegressor`.
    context : dict of str to object, default=None
        User-defined functions and values that `fixed` and `random` may refer to. Without it,
        formulas from untrusted sources run no code (:doc:`security </guide/security>`).
    group_features : str, int, list of str or int, or None, default=None
        Grouping columns of X, by name or position, in addition to those named in `random`.
    covariance : {"unstructured", "diagonal", "identity"} or dict, default="unstructured"
        Covariance structure of the random effects of each term; a dict sets it by grouping factor.
    prior : {"weak", "rstanarm", "reference"} or Prior, default="weak"
        Prior distributions, as in `skmixed.bayes.sample`.
    n_draws : int, default=1000
        Number of draws per chain.
    n_chains : int, default=4
        Number of chains.
    sampler : {"auto", "importance", "hamiltonian"}, default="auto"
        Sampler of the variance parameters, as in `skmixed.bayes.sample`.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed of the draws; the fit is reproducible if it is set.
    fit_intercept : bool, default=True
        Whether to include a fixed intercept. If `fixed` is a formula, the formula decides:
        ``"0 + x"`` has none.
    weighting : {"frequency", "precision"}, default="frequency"
        Meaning of `sample_weight`: a row of weight w counts as w rows ("frequency"), as in
        scikit-learn, or has residual variance sigma^2 / w ("precision"), as with lme4's
        ``weights``.
    handle_unknown : {"population", "error", "nan"}, default="population"
        How to predict rows whose level of a grouping factor is missing or was not seen in `fit`:
        without a random effect of that factor ("population"), with an error, or as NaN.
    tol : float, default=1e-8
        Convergence tolerance on the decrease of the criterion, in the fit from which the sampler
        starts.
    n_jobs : int or None, default=None
        Number of threads for models with several grouping factors. Draws do not depend on it.
    verbose : int, default=0
        If 1 or more, show a progress bar of the evaluations.

    Attributes
    ----------
    posterior_ : PosteriorDraws
        Posterior draws, with diagnostics and conversion to ArviZ.
    coef_ : ndarray of shape (n_fixed,)
        Posterior means of the fixed-effect coefficients without the intercept, in units of y per
        unit of the column.
    intercept_ : float
        Posterior mean of the fixed intercept, in units of y; 0.0 if there is none.
    fixed_effects_ : Series of shape (n_coefs,)
        Posterior means of the fixed-effect coefficients by name, the intercept first; NaN for
        columns that are linearly dependent on earlier ones.
    coef_covariance_ : DataFrame of shape (n_coefs, n_coefs)
        Posterior covariance matrix of the fixed-effect coefficients, the intercept first.
    sigma_ : float
        Posterior mean of the residual standard deviation, in units of y.
    residual_variance_ : float
        Posterior mean of the residual variance, in squared units of y.
    random_covariance_ : dict of str to DataFrame of shape (n_effects, n_effects)
        Posterior mean of the covariance matrix of the random effects of each grouping factor.
    random_effects_ : dict of str to DataFrame of shape (n_levels, n_effects)
        Posterior means of the random effects of each grouping factor.
    random_effects_covariance_ : dict of str to ndarray of shape (n_levels, n_effects, n_effects)
        Posterior covariance matrices of the random effects of each level.
    log_evidence_ : float
        Log marginal likelihood of the data.
    efficiency_, pareto_k_ : float
        Efficiency of importance sampling (effective fraction of the proposals) and the Pareto k of
        the weights; for Hamiltonian chains the effective fraction of the draws, and NaN.
    n_groups_ : dict of str to int
        Number of levels of each grouping factor, largest first, which is also the order of the
        random effects.
    rank_ : int
        Number of linearly independent fixed-effect columns.
    n_iter_ : int
        Number of iterations of the fit from which the sampler starts.
    design_ : Design
        What was learned about the columns of X.
    formula_ : str
        Model formula in lme4's syntax.
    n_features_in_ : int
        Number of columns of X seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X seen in `fit`; defined only if X has column names.

    See Also
    --------
    MixedLinearRegressor : The same model with estimated variances.
    skmixed.bayes.sample : Draw from the posterior of a fitted model.
    skmixed.bayes.Prior : Prior distributions.

    Notes
    -----
    `coef_`, `random_effects_` and predictions average exact conditional moments rather than draws,
    which reduces their Monte Carlo error several hundredfold.

    Effective sample sizes and R-hat are in ``posterior_.diagnostics()``, which requires the extra
    ``bayes``.

    Where no residual variance is left, as with as many columns as rows, there is no posterior:
    coefficients and predictions are those of `MixedLinearRegressor`, `posterior_` does not exist,
    and methods that need draws raise a ValueError.

    References
    ----------
    .. [1] Gelman, A. & Hill, J. (2007). Data analysis using regression and multilevel/hierarchical
       models. Cambridge University Press, :doi:`10.1017/CBO9780511790942`.

    Examples
    --------
    >>> import pandas as pd
    >>> from skmixed import BayesianMixedRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = BayesianMixedRegressor("(1 + Days | Subject)", random_state=0).fit(X, y)
    >>> model.coef_.round()
    array([10.])

    95% credible intervals for the response of a known subject and of a new one:

    >>> rows = pd.DataFrame({"Days": [9, 9], "Subject": ["308", "new"]})
    >>> model.predict_interval(rows).round()
    array([[372., 489.],
           [199., 492.]])
    """

    method: ClassVar[Method] = "reml"  # of the fit from which the sampler starts
    solver: ClassVar[str] = "newton"  # the same
    max_iter: ClassVar[int | None] = None  # the same
    residual: ClassVar[str | None] = None  # there is no sampler for residual structures

    _state_type: ClassVar[type[BayesianState]] = BayesianState

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GrowingEstimator._parameter_constraints,
        "covariance": [StrOptions({"unstructured", "diagonal", "identity"}), Mapping],
        "prior": [StrOptions(set(PRIOR_NAMES)), Prior],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "sampler": [StrOptions(set(get_args(SamplerName)))],
        "random_state": ["random_state", np.random.Generator],
    }

    def __init__(
        self,
        random: str | Mapping[str, Any] | None = None,
        *,
        fixed: str | None = None,
        context: Mapping[str, Any] | None = None,
        group_features: Any = None,
        covariance: BayesianStructure | Mapping[str, BayesianStructure] = "unstructured",
        prior: Prior | PriorName = "weak",
        n_draws: int = 1000,
        n_chains: int = 4,
        sampler: SamplerName = "auto",
        random_state: Any = None,
        fit_intercept: bool = True,
        weighting: Weighting = "frequency",
        handle_unknown: UnknownLevels = "population",
        tol: float = 1e-8,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.random = random
        self.fixed = fixed
        self.context = context
        self.group_features = group_features
        self.covariance = covariance
        self.prior = prior
        self.n_draws = n_draws
        self.n_chains = n_chains
        self.sampler = sampler
        self.random_state = random_state
        self.fit_intercept = fit_intercept
        self.weighting = weighting
        self.handle_unknown = handle_unknown
        self.tol = tol
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> Self:
        """Fit the model and draw from its posterior.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Training data, including the grouping columns unless `groups` is given. Must be dense;
            numbers are converted to double precision.
        y : array-like of shape (n_samples,)
            Response.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights, whose meaning `weighting` sets; rows of weight 0 are ignored.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, one column per grouping factor. Factor names are those of the Series or
            data frame, otherwise "group", or "group0", "group1" and so on.

        Returns
        -------
        BayesianMixedRegressor
            Fitted estimator.

        Raises
        ------
        ValueError
            If X, y, weights or labels are invalid, a named column does not exist, or the posterior
            would be improper.
        FormulaSyntaxError
            If `random` or `fixed` cannot be parsed.
        """
        self._validate_params()
        data = read_training_data(self, X, y, sample_weight, groups)
        self._fitted = BayesianState.of_table(self, data)
        return self

    def summary(self, digits: int = 2, *, correlations: bool = False) -> Any:
        """Summarise the posterior.

        Parameters
        ----------
        digits : int, default=2
            Number of decimals shown.
        correlations : bool, default=False
            Whether to show the correlations of the fixed-effect estimates as well.

        Returns
        -------
        Table
            Posterior means, standard deviations and quantiles of the parameters.
        """
        fitted = self._state()
        table = fitted.sampled()._table()
        notes = table.notes
        if correlations:
            texts = below_diagonal(correlations_of(fitted.coef_covariance), digits)
            notes += (CORRELATIONS, *as_text(texts).splitlines())
        return type(table)(table.title, table.frame.round(digits), notes)
