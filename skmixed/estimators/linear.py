"""The linear mixed model as a scikit-learn regressor."""

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
    """What a linear mixed model does once it is fitted.

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
        y: Any,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        leave_out: str | None = None,
    ) -> FloatArray:
        """Predict every row the model was fitted to by the model of the other rows.

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
        leave_out : str or None, default=None
            None leaves out each row by itself; the name of a factor leaves out all rows of the
            same level.

        Returns
        -------
        ndarray of shape (n,)
            Predictions in units of y: of a known group without the row itself, or, with
            `leave_out`, of a new group.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If these are not the rows of the fit, for an unknown factor, if the fit left no
            residual, and if residuals are correlated.

        Notes
        -----
        The relative variances stay those of all rows, so that no refit is needed; coefficients and
        random effects are those of the other rows, exactly. The cost is that of one evaluation of
        the criterion and a pass over the rows; to leave out levels of a factor that is crossed with
        another or lies within one takes an evaluation a level.

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
        rows = self._rows_of_fit(fitted, X, y, sample_weight, groups)
        if leave_out is None:
            return leave_rows_out(fitted.fit, rows)
        if leave_out not in fitted.n_groups:
            raise ValueError(
                f"leave_out={leave_out!r} is no factor of the model, which has "
                f"{list(fitted.n_groups)}; None leaves out single rows"
            )
        names = [index.name for index in fitted.fit.products.levels]
        return leave_levels_out(fitted.fit, rows, names.index(leave_out))


class MixedLinearRegressor(BaseMixedRegressor, GrowingEstimator[LinearState]):
    """Linear mixed-effects model, fitted by restricted or full maximum likelihood.

    ``y = X beta + Z b + e`` with ``b ~ N(0, sigma^2 Lambda Lambda')`` and ``e ~ N(0, sigma^2)``:
    coefficients common to all rows, and coefficients that vary over the levels of grouping
    factors. The variances are estimated, and each level's deviations (BLUPs) are shrunk towards
    zero by as much as its data deserve. Without groups it is ordinary least squares.

    Parameters
    ----------
    random : str, dict or None, default=None
        What varies over which groups: lme4's syntax, ``"(1 + Days | Subject)"``,
        ``"(1 | school/class)"``, ``"(x || g)"``, ``"(1 | mm(a, b))"`` for rows of several
        levels, or ``{"school/class": ["1", "open"]}``. None is a random intercept for every
        grouping column.
    fixed : str or None, default=None
        Right-hand side of a formula for the fixed part, ``"open + agree * x"``; X must then be a
        data frame (needs the extra ``formula``). None is every column of X that is no grouping
        column.
    context : dict of str to object, default=None
        Functions and values of your own that `fixed` and `random` may name, ``{"f": f}`` for
        ``f(x)``. Without it formulas hold columns, numbers, text, operators and known functions
        only, and text from strangers runs no code
        (:doc:`what is safe </guide/security>`).
    group_features : str, int or list of these, default=None
        Columns of X that are grouping columns, by name or position, besides those named in
        `random`.
    covariance : str or dict, default="unstructured"
        Covariance structure of the random effects of a term: "unstructured", "diagonal",
        "identity", "cs", "homcs", "ar1", "hetar1", "toep", "homtoep", or of a rank, "rr(2)" and
        "fa(2)". A dict gives it by factor; ``ar1(0 + t | g)`` in `random` goes before.
    residual : str or None, default=None
        Correlation and variances of the residuals; None is none, and one. Within every series
        ``"ar1(visit | subject)"`` and, at any times, ``"car1(time | subject)"`` fall with the
        distance, ``"cs(| subject)"`` is one correlation, ``"toeplitz(visit | subject)"`` one for
        every distance, and ``"us(visit | subject)"`` a covariance for every pair of visits. The
        standard deviation has one value for every ``"var(stratum)"``, or is proportional to a
        power of a column, ``"power(x)"``. A correlation may be multiplied by these:
        ``"ar1(visit | subject) * var(sex)"``; ``hom=False`` gives every visit a variance of its
        own. Columns of series and strata, and visits that are no numbers, are no fixed columns
        unless `fixed` names them, and have no random intercept unless `random` does.
    relationship : dict of str to Relationship or data frame, default=None
        Known covariances of the levels of grouping columns, up to their variance: kinship,
        phylogeny, distance, ``{"animal": K}``. A `skmixed.Relationship` is shared by clones of the
        estimator, a data frame is copied. Levels without rows get effects from those that have
        some. One effect of such a level, ``(1 | animal)``, is faster than several, ``(x |
        animal)``.
    residual_variance : float or None, default=None
        The residual variance of a row of weight one, in squared units of y, where it is known and
        not to be estimated. With ``weighting="precision"`` that of a row of weight w is
        ``residual_variance / w``: estimates with known standard errors have 1, and weights of one
        over the squares of these (:doc:`meta-analysis </guide/meta_analysis>`). With frequency
        weights every one of the w rows has it. None estimates it.
    method : {"reml", "ml"}, default="reml"
        Restricted or full maximum likelihood.
    prior : {"wishart"}, distribution, dict or None, default=None
        Distributions of the covariances of random effects, whose density the likelihood is
        multiplied by, so that no fit is singular: "wishart" or ``Wishart(df)``, a ``Gamma`` of
        shape above 1 or an ``InverseGamma`` of every standard deviation, or a `Prior` with `scales`
        of these and ``LKJ(eta)`` of eta above 1; all of ``skmixed.bayes``. They are of covariances
        over the residual variance. A dict gives it by factor, others having none. None is plain
        likelihood.
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
    solver : {"auto", "newton", "em", "iterative"} or IterativeSolver, default="auto"
        Search for the optimum: Newton's method with a trust region ("newton"); the EM algorithm
        (slow, but no step of it raises the criterion) with a last few Newton steps; for massive
        crossed factors conjugate gradients and random traces ("iterative", or an `IterativeSolver`
        with settings). "auto" is Newton's method unless crossed factors would need more than half
        of the memory of the machine, or very much longer, and then the iterative search.
    max_iter : int or None, default=None
        Most evaluations of the criterion, most steps for EM; None is 200 and 2,000.
    tol : float, default=1e-8
        Decrease of the criterion that does not matter.
    n_jobs : int or None, default=None
        Threads of `skmixed.distributed.fit` for rows that come as files or chunks. `fit` itself
        takes one: summing is a quarter of it or less, so that threads over blocks of rows do not
        pay (measured in docs/benchmarks/scaling.md).
    verbose : int, default=0
        Print a line an iteration if 1 or more; `skmixed.distributed.fit` shows a progress bar of
        the rows, too. With 0, a fit of crossed factors that takes more than five seconds logs one
        line with its size and about how long it will take, to the logger "skmixed".

    Attributes
    ----------
    coef_ : ndarray of shape (n_fixed,)
        Fixed coefficients without the intercept, in units of y per unit of the column; 0 for
        columns that depend on others before them.
    intercept_ : float
        Fixed intercept, in units of y; 0.0 if there is none.
    fixed_effects_ : Series of shape (p,)
        The same by name, the intercept first if there is one; NaN for columns that depend on others
        before them.
    coef_covariance_ : DataFrame of shape (p, p)
        Covariance matrix of the fixed coefficients, the intercept first if there is one.
    random_effects_ : dict of str to DataFrame of shape (n_levels, k)
        BLUPs (conditional modes) of every factor.
    random_effects_covariance_ : dict of str to ndarray of shape (n_levels, k, k)
        Their conditional covariance given y and the parameters.
    random_covariance_ : dict of str to DataFrame of shape (k, k)
        Estimated covariance matrix of the random effects of every factor.
    residual_variance_ : float
        sigma^2, in squared units of y, estimated or as given; with unequal variances that of the
        first row of `residual_deviations_`.
    residual_parameters_ : Series of shape (q,)
        Correlations, ratios of standard deviations and powers, by name; only with `residual`.
    residual_deviations_ : Series
        Standard deviation of the residuals of every stratum or visit, in units of y, the reference
        first; only with `residual`.
    theta_ : ndarray
        Relative covariance parameters in lme4's order.
    criterion_ : float
        -2 log-likelihood, restricted if method="reml", with lme4's constants; with a `prior` plus
        `penalty_`, the sum being what is minimised.
    penalty_ : float
        -2 log density of the prior at the estimates, up to a constant; 0.0 without one.
    log_likelihood_, aic_, bic_ : float
        As R's logLik, AIC and BIC; of a model without random terms always by full likelihood, and
        never with the penalty.
    n_groups_ : dict of str to int
        Number of levels of every factor, in the order of falling numbers, as the random effects
        and `theta_` have it.
    rank_ : int
        Number of independent fixed columns.
    n_iter_ : int
        Number of iterations of the search; 1 where a closed form needs none.
    converged_, is_singular_ : bool
        Whether the criterion cannot be lowered further, and whether a variance is zero or a
        correlation is +-1 at the optimum.
    solver_ : str
        The search that was used; ``fit_.report.reason`` says why, where there was a choice.
    monte_carlo_errors_ : dict of str to DataFrame of shape (k, k)
        Monte Carlo standard errors of `random_covariance_`, for the iterative search only.
    fit_ : Fit
        The fit itself, free of rows.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
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
        self._validate_params()
        data = read_training_data(self, X, y, sample_weight, groups)
        self._fitted = LinearState.of_table(self, data)
        return self
