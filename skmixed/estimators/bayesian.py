"""The linear mixed model with its whole posterior, as a scikit-learn regressor."""

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
    """Linear mixed-effects model with its whole posterior, sampled from its cross-products.

    The model is that of `MixedLinearRegressor`. Coefficients, standard deviations and correlations
    have prior distributions, and what is said of them, of random effects and of new rows is
    averaged over all values, each by how well it suits the data.

    Parameters
    ----------
    random : str, dict or None, default=None
        What varies over which groups, as for `MixedLinearRegressor`.
    fixed : str or None, default=None
        Right-hand side of a formula for the fixed part, likewise.
    context : dict of str to object, default=None
        Functions and values of your own that `fixed` and `random` may name.
    group_features : str, int or list of these, default=None
        Columns of X that are grouping columns, besides those named in `random`.
    covariance : {"unstructured", "diagonal", "identity"} or dict, default="unstructured"
        Covariance structure of the random effects of a term; a dict gives it by factor.
    prior : {"weak", "rstanarm", "reference"} or Prior, default="weak"
        Prior distributions, as for `skmixed.bayes.sample`.
    n_draws : int, default=1000
        Number of draws of every chain.
    n_chains : int, default=4
        Number of chains.
    sampler : {"auto", "importance", "hamiltonian"}, default="auto"
        How variances are drawn, as for `skmixed.bayes.sample`.
    random_state : None, int, RandomState or Generator, default=None
        Seed of the draws, and so of everything.
    fit_intercept : bool, default=True
        Whether the fixed part has an intercept. A formula says so itself (``0 + x``).
    weighting : {"frequency", "precision"}, default="frequency"
        What `sample_weight` means: a row of weight w stands for w rows, or its residual variance is
        sigma^2 / w.
    handle_unknown : {"population", "error", "nan"}, default="population"
        What a row of an unknown or missing level gets in predictions: no effect of that factor,
        an error, or NaN.
    tol : float, default=1e-8
        Decrease of the criterion that does not matter, of the fit that the sampler begins with.
    n_jobs : int or None, default=None
        Threads that evaluate models of several factors. Draws do not depend on it.
    verbose : int, default=0
        Show a progress bar of the evaluations if 1 or more.

    Attributes
    ----------
    posterior_ : PosteriorDraws
        The draws, with diagnostics and a way to ArviZ.
    coef_ : ndarray of shape (n_fixed,)
        Posterior means of the fixed coefficients without the intercept.
    intercept_ : float
        Posterior mean of the fixed intercept; 0.0 if there is none.
    fixed_effects_ : Series of shape (p,)
        The same by name, the intercept first if there is one; NaN for columns that depend on others
        before them.
    coef_covariance_ : DataFrame of shape (p, p)
        Posterior covariance of the fixed coefficients, the intercept first if there is one.
    sigma_ : float
        Posterior mean of the residual standard deviation, in units of y.
    residual_variance_ : float
        Posterior mean of its square.
    random_covariance_ : dict of str to DataFrame of shape (k, k)
        Posterior means of the covariance matrices of the random effects of every factor.
    random_effects_ : dict of str to DataFrame of shape (n_levels, k)
        Posterior means of the random effects.
    random_effects_covariance_ : dict of str to ndarray of shape (n_levels, k, k)
        Their posterior covariances.
    log_evidence_ : float
        Log of the marginal likelihood of the data.
    efficiency_, pareto_k_ : float
        Effective share of the proposals of the sampler, and shape of the tail of their weights; of
        chains that follow the gradient the share of the draws, and NaN.
    n_groups_ : dict of str to int
        Number of levels of every factor, in the order of falling numbers, as random effects have.
    rank_ : int
        Number of independent fixed columns.
    n_iter_ : int
        Number of iterations of the fit that the sampler began with.
    design_ : Design
        What was learned of the columns.
    formula_ : str
        The model in lme4's syntax.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if it has names.

    See Also
    --------
    MixedLinearRegressor : The same model with estimated variances.
    skmixed.bayes.sample : Draws for a model that is fitted already.

    Notes
    -----
    `coef_`, `random_effects_` and predictions are averages of exact conditional moments, not of
    draws, and have hundreds of times less Monte Carlo error.

    Effective sample sizes and R-hat are no attributes, which a model would have or not have as
    arviz-stats is installed: ``posterior_.diagnostics()`` has them, with the extra ``bayes``.

    Where nothing is left for the residual, as where there are as many columns as rows, there is no
    posterior: coefficients and predictions are then those of `MixedLinearRegressor`, `posterior_`
    is not there, and what needs draws raises a ValueError.

    References
    ----------
    .. [1] Gelman, A. & Hill, J. (2007). Data analysis using regression and multilevel/hierarchical
       models. Cambridge University Press, :doi:`10.1017/CBO9780511790942`.

    Examples
    --------
    >>> from skmixed import BayesianMixedRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = BayesianMixedRegressor("(1 + Days | Subject)", random_state=0).fit(X, y)
    >>> model.coef_.round()
    array([10.])
    >>> mean, std = model.predict(X.head(2), return_std=True)
    >>> mean.round()
    array([254., 274.])
    """

    method: ClassVar[Method] = "reml"  # of the fit that the sampler begins with
    solver: ClassVar[str] = "newton"  # the same
    max_iter: ClassVar[int | None] = None  # the same
    residual: ClassVar[str | None] = None  # there is no sampler for structures of residuals

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
        """Fit the model and sample its posterior.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, grouping columns among them unless `groups` is given.
        y : array-like of shape (n,)
            The response.
        sample_weight : None or array-like of shape (n,), default=None
            Nonnegative weights; rows of weight 0 are left out. See `weighting`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, one column a grouping factor.

        Returns
        -------
        BayesianMixedRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            For invalid X, y, weights or labels, names that are not there, and a posterior that
            would not integrate to one.
        FormulaSyntaxError
            If `random` or `fixed` cannot be read.
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
            Decimals of the figures.
        correlations : bool, default=False
            Whether to show the correlations of the coefficients, too.

        Returns
        -------
        Table
            Posterior means, standard deviations and quantiles of all parameters.
        """
        fitted = self._state()
        table = fitted.sampled()._table()
        notes = table.notes
        if correlations:
            texts = below_diagonal(correlations_of(fitted.coef_covariance), digits)
            notes += (CORRELATIONS, *as_text(texts).splitlines())
        return type(table)(table.title, table.frame.round(digits), notes)
