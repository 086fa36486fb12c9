"""Nonlinear mixed model as a scikit-learn regressor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions

from skmixed.core.model.spec import Weighting
from skmixed.core.model.structures.named import StructureName
from skmixed.core.nonlinear.curve_rows import CurveRows
from skmixed.core.nonlinear.nonlinear_fit import NonlinearMethod
from skmixed.estimators._estimator import Refused, UnknownLevels
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.estimators.mixed._nonlinear_predictions import NonlinearPredictions
from skmixed.estimators.mixed._nonlinear_state import NonlinearState
from skmixed.estimators.reading._curve_data import read_curve_data


class MixedNonlinearRegressor(NonlinearPredictions):
    """Nonlinear mixed-effects model: a curve whose parameters vary between groups.

    For growth curves, dose-response curves and pharmacokinetics: ``y = f(phi, x) + e`` with normal
    noise e. Each parameter in phi is a linear mixed model ``X beta + Z b`` of its own: a common
    coefficient or a formula of fixed effects, plus random effects ``b ~ N(0, Omega)`` of the
    groups. All parameters are estimated jointly by maximum likelihood.

    `nlmer` fits the same model from a formula. For straight lines or smooth curves without a
    parametric form, take `MixedLinearRegressor`. :doc:`Growth curves </guide/nonlinear>` lists the
    curves and explains the fit.

    Parameters
    ----------
    model : str or callable, default="logistic"
        Curve. By name: "logistic", "four_parameter_logistic", "asymptotic", "asymptotic_offset",
        "asymptotic_origin", "biexponential", "first_order", "gompertz", "michaelis_menten" and
        "weibull" are R's self-starting models with R's parameters, also known by R's names,
        "SSlogis". A name may be called with the columns and parameter names to use:
        ``"logistic(age, top, middle, scale)"``. Or a function ``f(parameters, X)`` of parameters of
        shape (n_parameters, n_samples) and inputs of shape (n_samples, n_inputs) that returns
        (n_samples,).
    start : dict, array-like or None, default=None
        Starting values: a number for each parameter by name, or one for each of its coefficients.
        Named curves supply those not given. A function needs all of them, and takes its parameter
        names from here.
    random : str, dict or None, default=None
        Parameters that vary between groups: ``"Asym + xmid | tree"``, ``"(Asym | site/plot)"`` or
        ``{"tree": ["Asym", "xmid"]}``; without a bar, ``"Asym"``, over every grouping column. None
        means no random effects: nonlinear least squares.
    fixed : dict or None, default=None
        Fixed-effects formulas of parameters, ``{"Asym": "1 + treatment"}``; X must then be a data
        frame. Parameters not in it have a single coefficient. ``offset(...)`` adds the expression
        in brackets.
    inputs : str, int, list of str or int, or None, default=None
        Columns of X that are the inputs of the curve, in its order, by name or position, or
        expressions of columns, ``"log(dose)"``. If None, all columns that are neither grouping
        columns nor named in `fixed`.
    group_features : str, int, list of str or int, or None, default=None
        Grouping columns of X, by name or position, in addition to those named in `random`.
    covariance : str or dict, default="unstructured"
        Covariance structure of the random effects of each term, as in `MixedLinearRegressor`. A
        dict sets it by grouping factor.
    residual : str or None, default=None
        Residual variances, as in `MixedLinearRegressor`: one per stratum, ``"var(stratum)"``,
        proportional to a power of a column, ``"power(x)"``, or both, multiplied. With
        method="lindstrom-bates" also correlations, ``"ar1(visit | subject)"``, and a power of the
        fitted values, ``"power()"``, as nlme's ``varPower()``. Columns of strata and series are not
        inputs of the curve. None is a single variance.
    method : {"laplace", "lindstrom-bates"}, default="laplace"
        Estimation method: the Laplace approximation of the likelihood, as lme4's ``nlmer``, or the
        Lindstrom-Bates algorithm, which fits a linearised mixed model repeatedly, as nlme's
        ``nlme``.
    reml : bool, default=False
        Whether to use restricted maximum likelihood; only with method="lindstrom-bates".
    jacobian : callable or None, default=None
        Derivatives of a function `model`, called like it, of shape (n_samples, n_parameters). If
        None, complex-step derivatives where the function accepts complex numbers, otherwise finite
        differences; `derivatives_` says which.
    weighting : {"frequency", "precision"}, default="frequency"
        Meaning of `sample_weight`: a row of weight w counts as w rows ("frequency"), or has
        residual variance sigma^2 / w ("precision").
    handle_unknown : {"population", "error", "nan"}, default="population"
        How to predict rows whose level of a grouping factor is missing or was not seen in `fit`: as
        a new group of the population, with an error, or as NaN.
    averaging : {"integrate", "plug-in"}, default="integrate"
        How predictions treat the uncertainty of random effects. "integrate" averages curves over
        them: given their data for known levels, over the population for unknown ones (marginal
        predictions). "plug-in" inserts the conditional modes, zero for unknown levels, as R's
        ``predict`` does.
    max_iter : int, default=100
        Maximum number of steps of each search.
    tol : float, default=1e-8
        Convergence tolerance on the decrease of the criterion.
    verbose : int, default=0
        If 1 or more, print a line per iteration.
    context : dict of str to object, default=None
        User-defined functions and values that `fixed` and `model` may refer to. Without it,
        formulas from untrusted sources run no code (:doc:`security </guide/security>`).

    Attributes
    ----------
    coef_ : ndarray of shape (n_fixed,)
        Fixed-effect coefficients of all parameters, in the order of `parameter_names_` and of their
        formulas.
    fixed_effects_ : Series of shape (n_fixed,)
        Fixed-effect coefficients by name; NaN for those that the data do not identify.
    coef_covariance_ : DataFrame of shape (n_fixed, n_fixed)
        Covariance matrix of the fixed-effect estimates. With the Laplace approximation it allows
        for the estimation of the variance parameters; with Lindstrom-Bates it is that of the last
        linearised model, as in ``nlme``.
    parameter_names_ : tuple of str
        Names of the parameters of the curve.
    inputs_ : tuple of str
        Names of the inputs of the curve.
    derivatives_ : str
        Source of the derivatives of the curve: "exact", "user", "complex step" or "differences".
    random_effects_ : dict of str to DataFrame of shape (n_levels, n_effects)
        Conditional modes of the random effects of each grouping factor, a column per parameter.
    random_effects_covariance_ : dict of str to ndarray of shape (n_levels, n_effects, n_effects)
        Conditional covariance matrices of the random effects of each level, given y and the
        estimated parameters.
    random_covariance_ : dict of str to DataFrame of shape (n_effects, n_effects)
        Estimated covariance matrix of the random effects of each grouping factor.
    residual_variance_ : float
        Residual variance, in squared units of y; with `residual`, that of the reference stratum,
        where the covariate of a power is one.
    residual_parameters_ : Series of shape (n_parameters,)
        Residual correlations, ratios of standard deviations and powers, by name; only with
        `residual`.
    residual_deviations_ : Series
        Residual standard deviation of every stratum, in units of y, the reference first; only with
        `residual`.
    theta_ : ndarray of shape (n_theta,)
        Relative covariance parameters: the free entries of the Cholesky factors of the covariance
        matrices over the residual variance, in lme4's order.
    criterion_ : float
        -2 log-likelihood, restricted if reml=True.
    log_likelihood_, aic_, bic_ : float
        As R's ``logLik``, ``AIC`` and ``BIC``.
    n_groups_ : dict of str to int
        Number of levels of each grouping factor, largest first, which is also the order of the
        random effects and of `theta_`.
    rank_ : int
        Number of coefficients that the data identify.
    n_iter_ : int
        Number of steps of the search.
    converged_, is_singular_ : bool
        Whether the search converged, and whether the fit is singular: a variance of zero or a
        correlation of +-1.
    fit_ : NonlinearFit
        The underlying fit, which the functions of ``skmixed.inference`` read.
    n_features_in_ : int
        Number of columns of X seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X seen in `fit`; defined only if X has column names.

    See Also
    --------
    nlmer : The same model from a formula.
    MixedLinearRegressor : Lines, and smooth curves without a parametric form.

    Notes
    -----
    The rows are held in memory during the fit and not kept afterwards. The search has converged
    when the criterion changes by less than 1e-4 per standard error along every parameter; otherwise
    a warning names the parameters that still move.

    References
    ----------
    .. [1] Lindstrom, M. J. & Bates, D. M. (1990). Nonlinear mixed effects models for repeated
       measures data. Biometrics 46(3), :doi:`10.2307/2532087`.
    .. [2] Pinheiro, J. C. & Bates, D. M. (1995). Approximations to the log-likelihood function in
       the nonlinear mixed-effects model. Journal of Computational and Graphical Statistics 4(1),
       :doi:`10.1080/10618600.1995.10474663`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmixed import MixedNonlinearRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"age": np.tile(np.arange(1.0, 9.0), 10), "tree": np.arange(80) // 8})
    >>> top = 100.0 + 10.0 * rng.normal(size=10)[X["tree"]]
    >>> y = top / (1.0 + np.exp(4.0 - X["age"])) + rng.normal(size=80)
    >>> model = MixedNonlinearRegressor("logistic", random="Asym | tree").fit(X, y)
    >>> model.coef_.round(1)
    array([101.3,   4. ,   1. ])
    >>> model.predict(pd.DataFrame({"age": [4.0, 8.0], "tree": [3, 3]})).round()
    array([ 51., 100.])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **{
            name: allowed
            for name, allowed in MixedEstimator._parameter_constraints.items()
            if name != "fit_intercept"
        },
        "model": [str, callable],
        "start": [Mapping, "array-like", None],
        "fixed": [Mapping, None],
        "inputs": [str, Integral, "array-like", None],
        "residual": [str, None],
        "method": [StrOptions({"laplace", "lindstrom-bates"})],
        "reml": ["boolean"],
        "jacobian": [callable, None],
        "weighting": [StrOptions({"frequency", "precision"})],
        "averaging": [StrOptions({"integrate", "plug-in"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    partial_fit = Refused(
        "a curve is relinearised at every step, so that batches of rows cannot be added up: "
        "call fit with all rows"
    )
    update_groups = Refused("estimating new groups requires all rows: call fit with all rows")

    def __init__(
        self,
        model: str | Callable[[Any, Any], Any] = "logistic",
        start: Mapping[str, Any] | Sequence[float] | None = None,
        *,
        random: str | Mapping[str, Sequence[str]] | None = None,
        fixed: Mapping[str, str] | None = None,
        inputs: str | int | Sequence[str | int] | None = None,
        group_features: str | int | Sequence[str | int] | None = None,
        covariance: StructureName | Mapping[str, StructureName] = "unstructured",
        residual: str | None = None,
        method: NonlinearMethod = "laplace",
        reml: bool = False,
        jacobian: Callable[[Any, Any], Any] | None = None,
        weighting: Weighting = "frequency",
        handle_unknown: UnknownLevels = "population",
        averaging: Literal["integrate", "plug-in"] = "integrate",
        max_iter: int = 100,
        tol: float = 1e-8,
        verbose: int = 0,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.start = start
        self.random = random
        self.fixed = fixed  # type: ignore[assignment]
        self.inputs = inputs
        self.group_features = group_features
        self.covariance = covariance
        self.residual = residual
        self.method = method
        self.reml = reml
        self.jacobian = jacobian
        self.weighting = weighting
        self.handle_unknown = handle_unknown
        self.averaging = averaging
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.context = context

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # on data that do not follow the curve
        return tags

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
        MixedNonlinearRegressor
            Fitted estimator.

        Raises
        ------
        ValueError
            If X, y, weights or labels are invalid; a named column does not exist; a function has no
            starting values, or returns values that are not finite or of another length; the
            Jacobian is not that of the function; the curve is not finite near the starting values;
            there are fewer rows than coefficients; or the method or the data do not allow the
            residual structure.
        FormulaSyntaxError
            If `random`, `fixed` or `residual` cannot be parsed.

        Warns
        -----
        ConvergenceWarning
            If the search did not converge, or a coefficient is not identified.
        UserWarning
            If there are as many random effects as rows.
        """
        self._validate_params()
        if self.reml and self.method == "laplace":
            raise ValueError(
                "reml=True requires method='lindstrom-bates': the Laplace approximation is of "
                "the full likelihood"
            )
        data = read_curve_data(self, X, y, sample_weight, groups)
        self._fitted = NonlinearState.of_table(self, data)
        return self

    def _rows_of_fit(
        self, fitted: NonlinearState, X: Any, y: Any, sample_weight: Any, groups: Any
    ) -> CurveRows:
        """Read the training data again."""
        data = read_curve_data(self, X, y, sample_weight, groups)
        return fitted.rows_once_more(self, data)

    def _check_formulas(self, fitted: NonlinearState) -> None:
        for design in fitted.parts.designs:
            if design is not None:
                design.read_expressions(fitted.columns.names)
