"""The linear mixed model as a scikit-learn regressor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skmixed.core.crossproducts import CrossProducts
from skmixed.core.fit import Fit
from skmixed.core.solvers.base import Solver
from skmixed.core.solvers.em import EM
from skmixed.core.solvers.newton import Newton
from skmixed.core.spec import Method, ModelSpec, Weighting
from skmixed.design.design import Design, Source
from skmixed.design.tables import UNKNOWN
from skmixed.estimators._data import (
    TrainingData,
    chosen_factors,
    read_new_data,
    read_training_data,
    warn_about_kinds,
)
from skmixed.estimators._diagnosis import (
    check_sizes,
    check_weights,
    print_iteration,
    warn_about,
)
from skmixed.estimators._documentation import DocumentedMixin
from skmixed.estimators._labels import RandomLabels, describe
from skmixed.inference.summary import Summary, summarise

FloatArray = NDArray[np.float64]


class MixedLinearRegressor(DocumentedMixin, RegressorMixin, BaseEstimator):
    """Linear mixed-effects model, fitted by restricted or full maximum likelihood.

    ``y = X beta + Z b + e`` with ``b ~ N(0, sigma^2 Lambda Lambda')`` and ``e ~ N(0, sigma^2)``:
    coefficients common to all rows, and coefficients that vary over the levels of grouping
    factors. The variances are estimated, and each level's deviations (BLUPs) are shrunk towards
    zero by as much as its data deserve. Without groups it is ordinary least squares.

    Parameters
    ----------
    random : str, dict or None, default=None
        What varies over which groups: lme4's syntax, ``"(1 + Days | Subject)"``,
        ``"(1 | school/class)"``, ``"(x || g)"``, or ``{"school/class": ["1", "open"]}``. None is a
        random intercept for every grouping column.
    fixed : str or None, default=None
        Right-hand side of a formula for the fixed part, ``"open + agree * x"``; X must then be a
        data frame (needs the extra ``formula``). None is every column of X that is no grouping
        column.
    group_features : str, int or list of these, default=None
        Columns of X that are grouping columns, by name or position, besides those named in
        `random`.
    covariance : {"unstructured", "diagonal", "identity"} or dict, default="unstructured"
        Covariance structure of the random effects of a term; a dict gives it by factor.
    method : {"reml", "ml"}, default="reml"
        Restricted or full maximum likelihood.
    fit_intercept : bool, default=True
        Whether the fixed part has an intercept. A formula says so itself (``0 + x``).
    weighting : {"frequency", "precision"}, default="frequency"
        What `sample_weight` means: a row of weight w stands for w rows, as in scikit-learn, or
        its residual variance is sigma^2 / w, as lme4's ``weights``.
    handle_unknown : {"population", "error", "nan"}, default="population"
        What a row of an unknown or missing level gets in predictions: no effect of that factor,
        an error, or NaN. Labels are missing where data frames, arrays of objects and `groups` say
        so. In a plain array of numbers X, NaN among the labels is an error as elsewhere in X;
        an infinite label is one everywhere.
    solver : {"auto", "newton", "em"}, default="auto"
        Search for the optimum: Newton's method with a trust region ("auto" and "newton"), or the
        EM algorithm (slow, but no step of it raises the criterion) with a last few Newton steps.
    max_iter : int or None, default=None
        Most evaluations of the criterion for Newton's method, most steps for EM; None is 200 and
        2,000.
    tol : float, default=1e-8
        Decrease of the criterion that does not matter.
    n_jobs : int or None, default=None
        Accepted for uniformity; fitting is one batched computation.
    verbose : int, default=0
        Print a line an iteration if 1 or more.

    Attributes
    ----------
    coef_ : ndarray of shape (n_fixed,)
        Fixed coefficients without the intercept, in units of y per unit of the column; 0 for
        columns that depend on others before them.
    intercept_ : float
        Fixed intercept, in units of y; 0.0 if there is none.
    coef_covariance_ : DataFrame of shape (p, p)
        Covariance matrix of the fixed coefficients, the intercept first if there is one.
    random_effects_ : dict of str to DataFrame of shape (n_levels, k)
        BLUPs (conditional modes) of every factor.
    random_effects_covariance_ : dict of str to ndarray of shape (n_levels, k, k)
        Their conditional covariance given y and the parameters.
    random_covariance_ : dict of str to DataFrame of shape (k, k)
        Estimated covariance matrix of the random effects of every factor.
    residual_variance_ : float
        sigma^2, in squared units of y.
    theta_ : ndarray
        Relative covariance parameters in lme4's order.
    criterion_ : float
        -2 log-likelihood, restricted if method="reml", with lme4's constants.
    log_likelihood_, aic_, bic_ : float
        As R's logLik, AIC and BIC; of a model without random terms always by full likelihood.
    n_groups_ : dict of str to int
        Number of levels of every factor.
    rank_ : int
        Number of independent fixed columns.
    n_iter_ : int
        Number of iterations of the search; 1 where a closed form needs none.
    converged_, is_singular_ : bool
        Whether the criterion cannot be lowered further, and whether a variance is zero or a
        correlation is +-1 at the optimum.
    solver_ : str
        The search that was used.
    fit_ : Fit
        The fit itself, free of rows.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X, if it has names.

    See Also
    --------
    lmer : The same model from a whole lme4 formula.

    Notes
    -----
    One pass over the rows forms cross-products; after that the cost depends on the number of
    levels, and for crossed factors on the pairs of levels that occur, but not on n.

    Groups reach the model as columns of X, named in `random` or `group_features`, or by the
    argument `groups` of `fit` and `predict`. The first way needs no metadata routing.

    In lme4: ``lmer(y ~ x + (1 + x | g), data)``.

    References
    ----------
    .. [1] Bates, D., Maechler, M., Bolker, B. & Walker, S. (2015). Fitting linear mixed-effects
       models using lme4. Journal of Statistical Software 67(1), :doi:`10.18637/jss.v067.i01`.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> model.coef_.round(3)
    array([10.467])
    >>> model.predict(X.head(2)).round(2)
    array([253.66, 273.33])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "random": [str, Mapping, None],
        "fixed": [str, None],
        "group_features": [str, Integral, "array-like", None],
        "covariance": [StrOptions({"unstructured", "diagonal", "identity"}), Mapping],
        "method": [StrOptions({"reml", "ml"})],
        "fit_intercept": ["boolean"],
        "weighting": [StrOptions({"frequency", "precision"})],
        "handle_unknown": [StrOptions({"population", "error", "nan"})],
        "solver": [StrOptions({"auto", "newton", "em"})],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    __metadata_request__fit: ClassVar = {"groups": True}
    __metadata_request__predict: ClassVar = {"groups": True}
    __metadata_request__score: ClassVar = {"groups": True}

    def __init__(
        self,
        random: str | Mapping[str, Any] | None = None,
        *,
        fixed: str | None = None,
        group_features: Any = None,
        covariance: str | Mapping[str, str] = "unstructured",
        method: Method = "reml",
        fit_intercept: bool = True,
        weighting: Weighting = "frequency",
        handle_unknown: str = "population",
        solver: str = "auto",
        max_iter: int | None = None,
        tol: float = 1e-8,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.random = random
        self.fixed = fixed
        self.group_features = group_features
        self.covariance = covariance
        self.method = method
        self.fit_intercept = fit_intercept
        self.weighting = weighting
        self.handle_unknown = handle_unknown
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        # `categorical` stays False: to scikit-learn it says that all of X is whole numbers.
        tags.input_tags.string = any(
            part is not None for part in (self.random, self.fixed, self.group_features)
        )
        tags.input_tags.two_d_array = self.fixed is None  # a formula needs a data frame
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None
    ) -> MixedLinearRegressor:
        """Fit the model.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, grouping columns among them unless `groups` is given. Not sparse; numbers
            of any type are read into double precision.
        y : array-like of shape (n,)
            The response.
        sample_weight : None or array-like of shape (n,), default=None
            Nonnegative weights; rows of weight 0 are left out. See `weighting`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, one column a grouping factor. Names come from a Series or data frame;
            otherwise they are "group", or "group0", "group1", ....

        Returns
        -------
        MixedLinearRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            For invalid X, y, weights or labels, and names that are not there.
        FormulaSyntaxError
            If `random` or `fixed` cannot be read.
        """
        data = read_training_data(self, X, y, sample_weight, groups)
        design, columns, codes = Design.learn(
            data.source,
            data.terms,
            data.fixed,
            fit_intercept=self.fit_intercept,
            covariance=self.covariance,
        )
        offset = design.offset(data.source)
        columns[:, -1] = data.y if offset is None else data.y - offset
        products = CrossProducts.of(design.layout, design.rows(columns, codes, data.weights))
        spec = ModelSpec(design.fixed, design.terms, self.method, self.weighting)
        check_weights(data.weights, spec)
        check_sizes(products, spec)
        fit = Fit.of(products, spec, self._solver())
        self._adopt(data, design, fit)
        return self

    def _solver(self) -> Solver:
        search, most = (EM, 2_000) if self.solver == "em" else (Newton, 200)
        callback = print_iteration if self.verbose else None
        return search(tol=self.tol, max_iter=self.max_iter or most, callback=callback)

    def _adopt(self, data: TrainingData, design: Design, fit: Fit) -> None:
        """Set the fitted attributes, all at once and only after everything has worked."""
        self.n_features_in_ = data.n_features
        for name in ("feature_names_in_", "n_dropped_"):  # of an earlier fit
            self.__dict__.pop(name, None)
        if data.feature_names is not None:
            self.feature_names_in_ = data.feature_names
        self.fit_ = fit
        self.design_ = design
        self._columns = data.columns
        self._beta = fit.beta
        self._effects = fit.modes
        self.coef_ = self._beta[1:] if design.has_intercept else self._beta.copy()
        self.intercept_ = float(self._beta[0]) if design.has_intercept else 0.0
        self.residual_variance_ = fit.sigma2
        self.theta_ = fit.theta
        self.criterion_ = fit.criterion
        self.rank_ = fit.rank
        self.n_iter_ = max(1, fit.report.n_iter)
        self.converged_ = fit.report.converged
        self.is_singular_ = fit.is_singular
        self.solver_ = fit.report.solver
        self.n_groups_ = {factor.index.name: len(factor.index) for factor in fit.products.factors}
        self.formula_ = describe(design, data.terms, data.fixed)
        warn_about(fit)

    def predict(
        self, X: Any, groups: Any = None, *, random: str | Sequence[str] = "all"
    ) -> FloatArray:
        """Predict the response.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`. A model with a formula picks its columns by name: others, the
            response and their order do not matter.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.
        random : {"all", "none"} or list of str, default="all"
            Which factors' random effects are added: all, none (the population), or those named
            (lme4's ``re.form``).

        Returns
        -------
        ndarray of shape (n,)
            X beta + Z b, in units of y and double precision. A row whose level of a factor is
            unknown or missing gets no effect of that factor, unless `handle_unknown` says
            otherwise.

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
        check_is_fitted(self)
        wanted = chosen_factors(random, list(self.n_groups_))
        source = read_new_data(self, X, groups, need_groups=bool(wanted))
        columns = self.design_.columns(source)
        prediction = columns[:, list(self.design_.fixed)] @ self._beta
        offset = self.design_.offset(source)
        if offset is not None:
            prediction += offset
        if wanted:
            self._add_random_effects(prediction, columns, source, wanted)
        return prediction

    def _add_random_effects(
        self, prediction: FloatArray, columns: FloatArray, source: Source, wanted: set[str]
    ) -> None:
        spec = self.fit_.spec
        codes = self.design_.grouping.codes(source.groups, source.n_rows)
        for factor, effects in zip(spec.used_factors, self._effects, strict=True):
            index = self.design_.grouping.factors[factor].index
            if index.name not in wanted:
                continue
            level = codes[factor]
            unknown = level == UNKNOWN
            if unknown.any():
                if unknown.all():
                    warn_about_kinds(self.design_.grouping, index.key, source)
                self._meet_unknown(index.name, unknown, prediction)
            for column, effect in zip(spec.factor_columns(factor), effects.T, strict=True):
                prediction += np.where(unknown, 0.0, effect[level]) * columns[:, column]

    def _meet_unknown(
        self, factor: str, unknown: NDArray[np.bool_], prediction: FloatArray
    ) -> None:
        if self.handle_unknown == "error":
            rows = np.flatnonzero(unknown)
            raise ValueError(
                f"{len(rows)} rows have levels of {factor!r} that were not seen in fit, or "
                f"missing ones, the first in row {rows[0]}; handle_unknown='population' predicts "
                "them without that factor's effect"
            )
        if self.handle_unknown == "nan":
            prediction[unknown] = np.nan

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
        prediction = self.predict(X, groups)
        return float(r2_score(y, prediction, sample_weight=sample_weight))

    def summary(self, digits: int = 2) -> Summary:
        """Summarise the fit as arm::display and print(lmer) do.

        Parameters
        ----------
        digits : int, default=2
            Decimals of estimates, standard errors and standard deviations.

        Returns
        -------
        Summary
            Prints as text and shows as HTML in a notebook.
        """
        check_is_fitted(self)
        return summarise(self.fit_, self.formula_, getattr(self, "n_dropped_", 0), digits)

    @property
    def coef_covariance_(self) -> pd.DataFrame:
        """Covariance matrix of the fixed coefficients, the intercept first if there is one."""
        check_is_fitted(self)
        names = self.design_.fixed_names
        return pd.DataFrame(self.fit_.beta_covariance, index=names, columns=names)

    @property
    def log_likelihood_(self) -> float:
        """Log-likelihood, restricted for a REML fit with random terms."""
        check_is_fitted(self)
        return self.fit_.log_likelihood

    @property
    def aic_(self) -> float:
        """Akaike's information criterion."""
        check_is_fitted(self)
        return self.fit_.aic

    @property
    def bic_(self) -> float:
        """Bayesian information criterion."""
        check_is_fitted(self)
        return self.fit_.bic

    @property
    def random_covariance_(self) -> dict[str, pd.DataFrame]:
        """Covariance matrix of the random effects of every factor."""
        check_is_fitted(self)
        return {
            factor.name: pd.DataFrame(covariance, index=factor.columns, columns=factor.columns)
            for factor, covariance in zip(self._random_frames(), self.fit_.covariances, strict=True)
        }

    @property
    def random_effects_(self) -> dict[str, pd.DataFrame]:
        """BLUPs of every factor."""
        check_is_fitted(self)
        return {
            factor.name: pd.DataFrame(effects, factor.levels, factor.columns, copy=True)
            for factor, effects in zip(self._random_frames(), self._effects, strict=True)
        }

    @property
    def random_effects_covariance_(self) -> dict[str, FloatArray]:
        """Conditional covariance of the random effects of every factor."""
        check_is_fitted(self)
        return {
            factor.name: self.fit_.conditional_covariance(position)
            for position, factor in enumerate(self._random_frames())
        }

    def _random_frames(self) -> list[RandomLabels]:
        return [
            RandomLabels.of(self.design_, factor, self.fit_.spec.factor_columns(factor))
            for factor in self.fit_.spec.used_factors
        ]
