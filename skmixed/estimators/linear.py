"""Linear mixed model as a scikit-learn regressor."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Self

from sklearn.utils._param_validation import Interval, StrOptions

from skmixed.bayes.penalties import Penalising
from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import Method, Weighting
from skmixed.core.model.structures.named import StructureName
from skmixed.core.rows.leave_out import leave_levels_out, leave_rows_out
from skmixed.core.search.average_information import IterativeSolver
from skmixed.estimators._estimator import (
    SolverName,
    UnknownLevels,
)
from skmixed.estimators.mixed._linear_predictions import LinearPredictions
from skmixed.estimators.mixed._linear_state import LinearAttributes, LinearState
from skmixed.estimators.mixed._mixed_estimator import PENALISING
from skmixed.estimators.mixed._summed_estimator import GrowingEstimator, SummedEstimator
from skmixed.estimators.reading._training_data import read_training_data


class BaseMixedRegressor(LinearPredictions, LinearAttributes, SummedEstimator[LinearState]):
    """Methods of a fitted linear mixed model.

    A subclass has the parameters of `MixedLinearRegressor` and its own `fit`.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **SummedEstimator._parameter_constraints,
        "method": [StrOptions({"reml", "ml"})],
        "solver": [StrOptions({"auto", "newton", "em", "iterative"}), IterativeSolver],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "prior": PENALISING,
    }

    prior: Penalising = None

    @property
    def _penalised_by(self) -> Penalising:
        return self.prior

    def loo_predict(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        leave_out: str | None = None,
    ) -> FloatArray:
        """Predict each training row, or each group, by the model fitted to the others.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            The training data, with the rows in any order; the model does not keep them.
        y : array-like of shape (n_samples,), default=None
            Their response; a model fitted from a formula reads it from X if it is None.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights, all positive; read from X as y is.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Their group labels, if `fit` was given `groups`.
        leave_out : str or None, default=None
            None leaves out each row by itself; the name of a grouping factor leaves out all rows of
            a level at a time.

        Returns
        -------
        ndarray of shape (n_samples,)
            Predictions in units of y: for a known group without the row itself or, with
            `leave_out`, for a new group.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the rows are not those of the fit, `leave_out` is not a grouping factor of the model,
            the fit leaves no residual variance, or residuals are correlated.

        Notes
        -----
        Fixed and random effects are exactly those given the other rows, at the relative variances
        estimated from all rows, so that nothing is refitted. The cost is one evaluation of the
        criterion and a pass over the rows; leaving out the levels of a crossed or nested factor
        takes one evaluation per level.

        Examples
        --------
        >>> from skmixed import MixedLinearRegressor
        >>> from skmixed.datasets import load_sleepstudy
        >>> X, y = load_sleepstudy(return_X_y=True)
        >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
        >>> model.loo_predict(X, y)[:3].round(1)
        array([254.9, 276.3, 299.1])
        >>> model.loo_predict(X, y, leave_out="Subject")[:3].round(1)
        array([251.8, 261.6, 271.4])
        """
        fitted = self._state()
        given = self._with_response(X, y, sample_weight, groups)
        rows = self._rows_of_fit(fitted, *given)
        if leave_out is None:
            return leave_rows_out(fitted.fit, rows)
        if leave_out not in fitted.n_groups:
            raise ValueError(
                f"leave_out={leave_out!r} is not a grouping factor of the model, which has "
                f"{list(fitted.n_groups)}; None leaves out single rows"
            )
        names = [index.name for index in fitted.fit.products.levels]
        return leave_levels_out(fitted.fit, rows, names.index(leave_out))


class MixedLinearRegressor(BaseMixedRegressor, GrowingEstimator[LinearState]):
    """Linear mixed-effects model, fitted by REML or maximum likelihood.

    For a numeric response whose rows come in groups, such as pupils in schools or visits of
    patients: ``y = X beta + Z b + e`` has fixed effects beta, common to all rows, and random
    effects ``b ~ N(0, sigma^2 Lambda Lambda')``, intercepts and slopes that vary between the levels
    of grouping factors. The variances are estimated, and the effects of each level (BLUPs) are
    shrunk towards zero accordingly, which is partial pooling. Without groups it is ordinary least
    squares.

    `lmer` fits the same model from an lme4 formula. For classes take `MixedClassifier`, for counts,
    rates and proportions `MixedGeneralizedRegressor`, for boosting or a forest in place of
    ``X beta`` `MixedEffectsRegressor`, for a separate model per group `GroupedModels`, and for the
    full posterior distribution `BayesianMixedRegressor` (:doc:`which estimator? </which>`).
    :doc:`Random effects </guide/random_effects>` explains the terms,
    :doc:`shrinkage </guide/shrinkage>` what becomes of them.

    Parameters
    ----------
    random : str, dict or None, default=None
        Random-effects terms in lme4's syntax: ``"(1 + Days | Subject)"``, ``"(1 | school/class)"``
        (nested), ``"(x || g)"`` (uncorrelated), ``"(1 | mm(a, b))"`` (multiple membership); or a
        dict, ``{"school/class": ["1", "open"]}``. If None, every grouping column has a random
        intercept.
    fixed : str or None, default=None
        Right-hand side of a formula for the fixed effects, ``"open + agree * region"``; X must then
        be a data frame. Text columns become categories; functions of whole columns, such as
        ``poly`` and ``scale``, require the extra ``formula``. If None, every column of X that is
        not a grouping column is a fixed effect, and must be numeric.
    context : dict of str to object, default=None
        User-defined functions and values that `fixed` and `random` may refer to: ``{"f": f}`` for
        ``f(x)``. Without it, formulas may contain only columns, numbers, text, operators and known
        functions, so that those from untrusted sources run no code
        (:doc:`security </guide/security>`).
    group_features : str, int, list of str or int, or None, default=None
        Grouping columns of X, by name or position, in addition to those named in `random`.
    covariance : str or dict, default="unstructured"
        Covariance structure of the random effects of each term: "unstructured", "diagonal",
        "identity", "cs" (compound symmetry), "homcs", "ar1", "hetar1", "toep" (Toeplitz),
        "homtoep", or one of reduced rank, such as "rr(2)" and "fa(2)"
        (:doc:`guide </guide/covariances>`). A dict sets it by grouping factor; a structure written
        in `random`, ``ar1(0 + t | g)``, takes precedence.
    residual : str or None, default=None
        Correlation and variances of the residuals; None for independent ones of equal variance.
        Within each series, ``"ar1(visit | subject)"`` and ``"car1(time | subject)"`` (continuous
        time) decay with distance, ``"cs(| subject)"`` is a constant correlation,
        ``"toeplitz(visit | subject)"`` has one for every distance, and ``"us(visit | subject)"`` an
        unstructured covariance of the visits. ``"var(stratum)"`` gives every stratum its own
        standard deviation, and ``"power(x)"`` makes it proportional to a power of a column; ``*``
        combines them, ``"ar1(visit | subject) * var(sex)"``. With ``hom=False`` every visit has its
        own variance. Columns that name series, strata or non-numeric visits are neither fixed
        effects nor grouping columns unless `fixed` or `random` names them. See
        :doc:`repeated measures </guide/repeated_measures>`.
    relationship : dict of str to Relationship or data frame, default=None
        Known relationship matrices of the levels of grouping factors, up to a variance that is
        estimated: kinship, phylogeny or distance, ``{"animal": K}``
        (:doc:`guide </guide/related_levels>`). A `Relationship` is shared by clones of the
        estimator, a data frame is copied. Levels without rows are predicted from related ones. One
        effect per level, ``(1 | animal)``, is faster than several, ``(x | animal)``.
    residual_variance : float or None, default=None
        Known residual variance of a row of weight one, in squared units of y; None to estimate it.
        With ``weighting="precision"`` that of a row of weight w is ``residual_variance / w``: for
        estimates with known standard errors, set it to 1 and the weights to one over the squared
        standard errors (:doc:`meta-analysis </guide/meta_analysis>`). With frequency weights, each
        of the w rows has this variance.
    method : {"reml", "ml"}, default="reml"
        Restricted (REML) or full (ML) maximum likelihood (:doc:`guide </guide/reml>`).
    prior : {"wishart"}, distribution, dict or None, default=None
        Prior on the random-effects covariance matrices, relative to the residual variance, which
        keeps the fit from being singular: its density multiplies the likelihood. "wishart" or
        ``Wishart(df)``, a ``Gamma`` of shape above 1 or an ``InverseGamma`` for every standard
        deviation, or a `Prior` with `scales` of these kinds and ``LKJ(eta)`` with eta above 1; all
        from ``skmixed.bayes``. A dict sets it by grouping factor; factors not in it have none. None
        is plain likelihood.
    fit_intercept : bool, default=True
        Whether to include a fixed intercept. If `fixed` is a formula, the formula decides:
        ``"0 + x"`` has none.
    weighting : {"frequency", "precision"}, default="frequency"
        Meaning of `sample_weight`: a row of weight w counts as w rows ("frequency"), as in
        scikit-learn, or has residual variance sigma^2 / w ("precision"), as with lme4's
        ``weights``.
    handle_unknown : {"population", "error", "nan"}, default="population"
        How to predict rows whose level of a grouping factor is missing or was not seen in `fit`:
        without a random effect of that factor ("population"), with an error, or as NaN. Labels may
        be missing in data frames, object arrays and `groups`; in a plain numeric array X, NaN is an
        error. Infinite labels are always an error.
    solver : {"auto", "newton", "em", "iterative"} or IterativeSolver, default="auto"
        Optimiser: Newton's method with a trust region ("newton"); the EM algorithm, slow but
        monotone, with a few final Newton steps ("em"); or, for massive crossed factors, conjugate
        gradients and stochastic traces ("iterative", or an `IterativeSolver` with settings). "auto"
        is "newton" unless crossed factors would need more than half of the machine's memory or far
        more time, and then "iterative".
    max_iter : int or None, default=None
        Maximum number of criterion evaluations, or of EM steps; None for 200 and 2,000.
    tol : float, default=1e-8
        Convergence tolerance on the decrease of the criterion.
    n_jobs : int or None, default=None
        Number of threads of `skmixed.distributed.fit` for data in files or chunks. `fit` itself
        uses one, as summing the rows is a quarter of its time or less
        (:doc:`measured </benchmarks/scaling>`).
    verbose : int, default=0
        If 1 or more, print a line per iteration, and show a progress bar in
        `skmixed.distributed.fit`. If 0, a fit of crossed factors that takes more than five seconds
        logs one line with its size and expected duration to the logger "skmixed".

    Attributes
    ----------
    coef_ : ndarray of shape (n_fixed,)
        Fixed-effect coefficients without the intercept, in units of y per unit of the column; 0 for
        columns that are linearly dependent on earlier ones.
    intercept_ : float
        Fixed intercept, in units of y; 0.0 if there is none.
    fixed_effects_ : Series of shape (n_coefs,)
        Fixed-effect coefficients by name, the intercept first; NaN for columns that are linearly
        dependent on earlier ones.
    coef_covariance_ : DataFrame of shape (n_coefs, n_coefs)
        Covariance matrix of the fixed-effect estimates, the intercept first.
    random_effects_ : dict of str to DataFrame of shape (n_levels, n_effects)
        BLUPs (conditional modes) of the random effects of each grouping factor, a row per level.
    random_effects_covariance_ : dict of str to ndarray of shape (n_levels, n_effects, n_effects)
        Conditional covariance matrices of the random effects of each level, given y and the
        estimated parameters.
    random_covariance_ : dict of str to DataFrame of shape (n_effects, n_effects)
        Estimated covariance matrix of the random effects of each grouping factor.
    residual_variance_ : float
        Residual variance sigma^2 in squared units of y, estimated or as given; if variances are
        unequal, that of the first row of `residual_deviations_`.
    residual_parameters_ : Series of shape (n_parameters,)
        Residual correlations, ratios of standard deviations and powers, by name; only with
        `residual`.
    residual_deviations_ : Series
        Residual standard deviation of every stratum or visit, in units of y, the reference first;
        only with `residual`.
    theta_ : ndarray of shape (n_theta,)
        Relative covariance parameters: the free entries of Lambda, in lme4's order.
    criterion_ : float
        Minimised criterion: -2 log-likelihood, restricted if method="reml", with lme4's constants,
        plus `penalty_` if there is a `prior`.
    penalty_ : float
        -2 log density of the `prior` at the estimates, up to a constant; 0.0 without one.
    log_likelihood_, aic_, bic_ : float
        As R's ``logLik``, ``AIC`` and ``BIC``, never with the penalty; of a model without random
        effects always by full likelihood.
    n_groups_ : dict of str to int
        Number of levels of each grouping factor, largest first, which is also the order of the
        random effects and of `theta_`.
    rank_ : int
        Number of linearly independent fixed-effect columns.
    n_iter_ : int
        Number of iterations of the optimiser; 1 where a closed form needs none.
    converged_, is_singular_ : bool
        Whether the search converged, and whether the fit is singular: a variance of zero or a
        correlation of +-1.
    solver_ : str
        Optimiser used; where there was a choice, ``fit_.report.reason`` says why.
    monte_carlo_errors_ : dict of str to DataFrame of shape (n_effects, n_effects)
        Monte Carlo standard errors of `random_covariance_`; only with the iterative solver.
    fit_ : Fit
        The underlying fit, which holds no rows of data; the functions of ``skmixed.inference`` read
        it.
    n_features_in_ : int
        Number of columns of X seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X seen in `fit`; defined only if X has column names.

    See Also
    --------
    lmer : The same model from an lme4 formula.
    MixedLinearRegressorCV : Choose the random effects by cross-validation.
    fit_many : Fit one model to each of many responses.
    MixedGeneralizedRegressor : Counts, rates, proportions and positive responses.
    BayesianMixedRegressor : The same model with its full posterior.

    Notes
    -----
    Fitting reads the rows once, into cross-products. Its further cost depends on the number of
    levels and, for crossed factors, on the pairs of levels that occur, not on the number of rows.

    Groups are either columns of X, named in `random` or `group_features`, or the argument `groups`
    of `fit` and `predict`. Columns of X need no metadata routing in scikit-learn's tools.

    In R: ``lmer(y ~ x + (1 + x | g), data)``.

    References
    ----------
    .. [1] Bates, D., Maechler, M., Bolker, B. & Walker, S. (2015). Fitting linear mixed-effects
       models using lme4. Journal of Statistical Software 67(1), :doi:`10.18637/jss.v067.i01`.

    Examples
    --------
    >>> import pandas as pd
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> print(model.summary())
    y ~ Days + (1 + Days | Subject)
                coef.est coef.se
    (Intercept)   251.41    6.82
    Days           10.47    1.55
    <BLANKLINE>
    Error terms:
     Groups   Name        Std.Dev. Corr
     Subject  (Intercept)    24.74
              Days            5.92 0.07
     Residual                25.59
    ---
    number of obs: 180, groups: Subject, 18
    AIC = 1755.6, DIC = 1760.3
    deviance = 1751.9, REML criterion = 1743.6
    The search converged.

    Predict a known subject and a new one, with 95% prediction intervals:

    >>> rows = pd.DataFrame({"Days": [9, 9], "Subject": ["308", "new"]})
    >>> model.predict(rows).round(1)
    array([430.7, 345.6])
    >>> model.predict_interval(rows).round(1)
    array([[372.3, 489. ],
           [206.1, 485.1]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMixedRegressor._parameter_constraints,
        "residual": [str, None],
        "relationship": [Mapping, None],
        "residual_variance": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        random: str | Mapping[str, Any] | None = None,
        *,
        fixed: str | None = None,
        context: Mapping[str, Any] | None = None,
        group_features: Any = None,
        covariance: StructureName | Mapping[str, StructureName] = "unstructured",
        residual: str | None = None,
        relationship: Mapping[str, Any] | None = None,
        residual_variance: float | None = None,
        method: Method = "reml",
        prior: Penalising = None,
        fit_intercept: bool = True,
        weighting: Weighting = "frequency",
        handle_unknown: UnknownLevels = "population",
        solver: SolverName | IterativeSolver = "auto",
        max_iter: int | None = None,
        tol: float = 1e-8,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.random = random
        self.fixed = fixed
        self.context = context
        self.group_features = group_features
        self.covariance = covariance
        self.residual = residual
        self.relationship = relationship
        self.residual_variance = residual_variance
        self.method = method
        self.prior = prior
        self.fit_intercept = fit_intercept
        self.weighting = weighting
        self.handle_unknown = handle_unknown
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> Self:
        """Fit the model.

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
        MixedLinearRegressor
            Fitted estimator.

        Raises
        ------
        ValueError
            If X, y, weights or labels are invalid, or a named column does not exist.
        FormulaSyntaxError
            If `random` or `fixed` cannot be parsed.

        See Also
        --------
        partial_fit : Fit to further rows as well.
        skmixed.distributed.fit : Fit to data in files, in DuckDB or on a cluster.
        """
        self._validate_params()
        data = read_training_data(self, X, y, sample_weight, groups)
        self._fitted = LinearState.of_table(self, data)
        return self
