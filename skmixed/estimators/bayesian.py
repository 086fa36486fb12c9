"""The linear mixed model with its whole posterior, as a scikit-learn regressor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _num_samples, check_scalar

from skmixed.bayes.leave_one_out import LeaveOneOut, left_out
from skmixed.bayes.priors import PRIOR_NAMES, Prior, PriorName
from skmixed.bayes.row_predictions import (
    drawn_responses,
    mixture_quantiles,
    predictor_moments,
    total_variance,
)
from skmixed.core.linalg import FloatArray, generator_of
from skmixed.core.model.spec import Method, Weighting
from skmixed.core.rows.leave_out import rows_at_levels
from skmixed.core.sums.layout import Rows
from skmixed.estimators._estimator import UnknownLevels, check_choice, check_level
from skmixed.estimators.mixed._bayesian_state import BayesianAttributes, BayesianState
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.estimators.reading._training_data import read_batch, read_training_data

BayesianStructure = Literal["unstructured", "diagonal", "identity"]


class BayesianMixedRegressor(BayesianAttributes, RegressorMixin, MixedEstimator[BayesianState]):
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
        Effective share of the proposals of the sampler, and shape of the tail of their weights.
    n_groups_ : dict of str to int
        Number of levels of every factor.
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
        **MixedEstimator._parameter_constraints,
        "covariance": [StrOptions({"unstructured", "diagonal", "identity"}), Mapping],
        "prior": [StrOptions(set(PRIOR_NAMES)), Prior],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state", np.random.Generator],
        "weighting": [StrOptions({"frequency", "precision"})],
        "n_jobs": [Integral, None],
    }

    __metadata_request__partial_fit: ClassVar = {"groups": True}

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

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> Self:
        """Sample the posterior given further rows beside those seen before.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, as in `fit`.
        y : array-like of shape (n,)
            The response.
        sample_weight : None or array-like of shape (n,), default=None
            Nonnegative weights.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`; new levels are welcome.

        Returns
        -------
        BayesianMixedRegressor
            The estimator, given all rows so far.

        Raises
        ------
        ValueError
            As in `fit`, and as in `MixedLinearRegressor.partial_fit`.
        """
        self._validate_params()
        fitted = self._fitted
        if fitted is None:
            return self.fit(X, y, sample_weight, groups=groups)
        rows = read_batch(self, fitted, X, y, sample_weight, groups)
        self._fitted = fitted.with_rows(self, *rows)
        return self

    def update_groups(
        self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None
    ) -> Self:
        """Learn the random effects of old and new levels from further rows, and nothing else.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, as in `fit`.
        y : array-like of shape (n,)
            The response.
        sample_weight : None or array-like of shape (n,), default=None
            Nonnegative weights.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.

        Returns
        -------
        BayesianMixedRegressor
            The estimator, its random effects and predictions given all rows so far, under the
            posterior of coefficients and variances of the last fit.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `partial_fit`.
        """
        fitted = self._state()
        rows, _ = read_batch(self, fitted, X, y, sample_weight, groups)
        self._fitted = fitted.with_effects_of(rows)
        return self

    @overload
    def predict(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        return_std: Literal[False] = False,
    ) -> FloatArray: ...

    @overload
    def predict(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        return_std: Literal[True],
    ) -> tuple[FloatArray, FloatArray]: ...

    def predict(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        return_std: bool = False,
    ) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Predict the response.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.
        random : {"all", "none"} or list of str, default="all"
            Which factors' random effects are added: all, none (the population), or those named.
        return_std : bool, default=False
            Whether to return posterior standard deviations too.

        Returns
        -------
        y_mean : ndarray of shape (n,)
            Posterior means of X beta + Z b, in units of y. A row whose level of a factor is unknown
            or missing gets no effect of that factor, unless `handle_unknown` says otherwise.
        y_std : ndarray of shape (n,)
            Posterior standard deviations of these, if return_std is True. An unknown level widens
            them by the variance of its effects; the noise of single observations is not in them.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            For invalid input, an unknown factor in `random`, and, if handle_unknown="error", for
            unknown levels.

        Warns
        -----
        UnknownLevelWarning
            If no groups are given to a model that was fitted with them.
        """
        fitted = self._state()
        _, rows = fitted.predictor.read(self, X, groups, random)
        means = rows.means(self.handle_unknown)
        if not return_std:
            return means
        moments = predictor_moments(
            fitted.sampled(), rows.rows, rows.wanted, fitted.further_products
        )
        return means, np.where(np.isnan(means), np.nan, np.sqrt(total_variance(*moments)))

    def predict_interval(
        self,
        X: Any,
        groups: Any = None,
        *,
        level: float = 0.95,
        kind: Literal["observation", "mean"] = "observation",
    ) -> FloatArray:
        """Predict intervals that hold the response, or its mean, with a given probability.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, as in `predict`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.
        level : float, default=0.95
            Probability, between 0 and 1.
        kind : {"observation", "mean"}, default="observation"
            Whether the interval is for a new observation of the row, of weight one, or for
            X beta + Z b.

        Returns
        -------
        ndarray of shape (n, 2)
            Quantiles of the posterior distribution, in units of y: as much lies below the interval
            as above. NaN for rows whose prediction is.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict`, and for a level that is no probability.
        """
        check_level(level)
        check_choice("kind", kind, ("observation", "mean"))
        fitted = self._state()
        _, rows = fitted.predictor.read(self, X, groups, "all")
        means = rows.means(self.handle_unknown)
        moments = predictor_moments(
            fitted.sampled(),
            rows.rows,
            rows.wanted,
            fitted.further_products,
            observation=kind == "observation",
        )
        tail = (1.0 - level) / 2.0
        limits = mixture_quantiles(*moments, np.array([tail, 1.0 - tail]))
        if rows.offset is not None:
            limits += rows.offset[:, None]
        limits[np.isnan(means)] = np.nan
        return limits

    def sample_y(
        self, X: Any, groups: Any = None, *, n_samples: int = 1, random_state: Any = None
    ) -> FloatArray:
        """Draw responses of rows from the posterior predictive distribution.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, as in `predict`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`. Rows of one label share an effect,
            whether or not the model knows it.
        n_samples : int, default=1
            Number of draws.
        random_state : None, int, RandomState or Generator, default=None
            Seed.

        Returns
        -------
        ndarray of shape (n, n_samples)
            Responses in units of y, of weight one. Every column has coefficients, variances and
            random effects of one draw of the posterior, and new effects of levels that the model
            does not know.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict`, and for several factors with too many random effects.
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        fitted = self._state()
        source, rows = fitted.predictor.read(self, X, groups, "all", all_columns=True)
        return drawn_responses(
            fitted.sampled(),
            source,
            rows,
            fitted.further_products,
            n_samples,
            generator_of(random_state),
        )

    def loo(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> LeaveOneOut:
        """Tell how well every row of the fit is predicted by the others.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The rows that `fit` was given, in any order; the model does not keep them.
        y : array-like of shape (n,)
            Their response.
        sample_weight : None or array-like of shape (n,), default=None
            Their weights, all positive.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Their labels, if they were given as `groups` to `fit`.

        Returns
        -------
        LeaveOneOut
            As of `skmixed.bayes.loo`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If these are not the rows of the fit.
        """
        fitted = self._state()
        rows = self._rows_of_fit(fitted, X, y, sample_weight, groups)
        return left_out(fitted.sampled(), rows_at_levels(fitted.fit, rows), self.random_state)

    def _rows_of_fit(
        self, fitted: BayesianState, X: Any, y: Any, sample_weight: Any, groups: Any
    ) -> Rows:
        """Read the rows of the fit once more. Raises ValueError for rows of weight zero."""
        rows, _ = read_batch(self, fitted, X, y, sample_weight, groups)
        if len(rows.columns) != _num_samples(X):
            raise ValueError(
                "rows of weight zero are no part of the fit: leave them out of X and y"
            )
        return rows

    def summary(self, digits: int = 2) -> Any:
        """Summarise the posterior.

        Parameters
        ----------
        digits : int, default=2
            Decimals of the figures.

        Returns
        -------
        Table
            Posterior means, standard deviations and quantiles of all parameters.
        """
        table = self._state().sampled()._table()
        return type(table)(table.title, table.frame.round(digits), table.notes)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> float:
        """Return the coefficient of determination of the predictions.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        y : array-like of shape (n,)
            The true response.
        sample_weight : None or array-like of shape (n,), default=None
            Weights of the rows.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.

        Returns
        -------
        float
            R^2 of ``predict(X, groups)``.
        """
        return float(r2_score(y, self.predict(X, groups), sample_weight=sample_weight))
