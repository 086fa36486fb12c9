"""Nonlinear mixed models, curves whose parameters vary over groups, as a regressor."""

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
    """Nonlinear mixed-effects model: a curve whose parameters vary over groups.

    The response is ``y = f(phi, x) + e`` with normal noise e. Every parameter in phi is X beta +
    Z b of its own: one coefficient common to all rows, or a formula of them, and random effects of
    the groups with ``b ~ N(0, Omega)``. All are estimated together by maximum likelihood.

    Parameters
    ----------
    model : str or callable, default="logistic"
        The curve. By name: "logistic", "four_parameter_logistic", "asymptotic",
        "asymptotic_offset", "asymptotic_origin", "biexponential", "first_order", "gompertz",
        "michaelis_menten", "weibull", which are R's self-starting ones with R's parameters and
        formulas (:doc:`growth curves </guide/nonlinear>`), or by R's names, "SSlogis". With the
        columns and names of your own in brackets, ``"logistic(age, top, middle, scale)"``. Or a
        function ``f(parameters, X)`` that returns (n,), from parameters of shape (n_parameters, n)
        and the inputs, (n, n_inputs).
    start : dict, array-like or None, default=None
        Where the search starts: a number for every parameter by its name, or one for each of its
        coefficients. Curves by name start themselves where it is None, or says nothing of a
        parameter. A function needs it, and takes the names of its parameters from it.
    random : str, dict or None, default=None
        Which parameters vary over which groups: ``"Asym + xmid | tree"``,
        ``"(Asym | site/plot)"``, or ``{"tree": ["Asym", "xmid"]}``; without groups, ``"Asym"``,
        over every grouping column. None is no random effects: nonlinear least squares.
    fixed : dict or None, default=None
        Formulas of parameters, ``{"Asym": "1 + treatment"}``; X must then be a data frame. The
        others are one coefficient. ``offset(...)`` adds what is in the brackets.
    inputs : str, int, list of these or None, default=None
        Columns of X that the curve is of, by name or position, in its order, or expressions in
        these, ``"log(dose)"``. None is all that are neither grouping columns nor named in `fixed`.
    group_features : str, int or list of these, default=None
        Columns of X that are grouping columns, by name or position, besides those named in
        `random`.
    covariance : str or dict, default="unstructured"
        Covariance structure of the random effects of a term, as in `MixedLinearRegressor`. A dict
        gives it by factor.
    residual : str or None, default=None
        Variances of the residuals, as in `MixedLinearRegressor`: one for every ``"var(stratum)"``,
        or proportional to a power of a column's size, ``"power(x)"``, or both multiplied. By
        method="lindstrom-bates" also correlations, ``"ar1(visit | subject)"``, and ``"power()"``,
        which is one of the fitted values, as ``varPower()`` of nlme. Columns of strata and series
        are no inputs of the curve. None is one variance.
    method : {"laplace", "lindstrom-bates"}, default="laplace"
        Laplace's approximation of the likelihood, what lme4's ``nlmer`` maximises, or a linear
        mixed model fitted again where it has led, what ``nlme`` does.
    reml : bool, default=False
        Restricted maximum likelihood, of method="lindstrom-bates" alone.
    jacobian : callable or None, default=None
        Derivatives of a function ``model``, called as it is, of shape (n, n_parameters). Without it
        they are made by complex steps where the function takes complex numbers, else by
        differences; `derivatives_` says which.
    weighting : {"frequency", "precision"}, default="frequency"
        What `sample_weight` means: numbers of rows, or inverse variances of the noise.
    handle_unknown : {"population", "error", "nan"}, default="population"
        What a row of an unknown or missing level gets in predictions: that of a group of which
        nothing is known, an error, or NaN.
    averaging : {"integrate", "plug-in"}, default="integrate"
        What becomes of random effects that are not known for certain. Curves are averaged over
        them, given the data of known levels and over all groups for unknown ones, or the most
        likely effects are put in, zero for unknown levels, as ``predict`` of R does.
    max_iter : int, default=100
        Most steps of each search.
    tol : float, default=1e-8
        Decrease of the criterion that does not matter.
    verbose : int, default=0
        Print a line an iteration if 1 or more.
    context : dict of str to object, default=None
        Functions and values of your own that `fixed` and `model` may name
        (:doc:`what is safe </guide/security>`).

    Attributes
    ----------
    coef_ : ndarray of shape (n_fixed,)
        Coefficients of all parameters, in the order of `parameter_names_` and their formulas.
    fixed_effects_ : Series of shape (n_fixed,)
        The same by name; NaN for coefficients that the rows do not tell from others.
    coef_covariance_ : DataFrame of shape (n_fixed, n_fixed)
        Their covariance matrix. By Laplace's method the estimation of variances is in it; by
        Lindstrom and Bates's it is that of the last linear model, as in ``nlme``.
    parameter_names_ : tuple of str
        Names of the parameters.
    inputs_ : tuple of str
        Columns that the curve is of.
    derivatives_ : str
        Where the derivatives of the curve came from: "exact", "user", "complex step" or
        "differences".
    random_effects_ : dict of str to DataFrame of shape (n_levels, k)
        Modes of the random effects of every factor, a column a parameter.
    random_effects_covariance_ : dict of str to ndarray of shape (n_levels, k, k)
        Their conditional covariance given y and the parameters.
    random_covariance_ : dict of str to DataFrame of shape (k, k)
        Estimated covariance matrix of the random effects of every factor.
    residual_variance_ : float
        Variance of the noise, in squared units of y; with `residual` that of the reference
        stratum, at one of the covariate of a power.
    residual_parameters_ : Series of shape (q,)
        Ratios of standard deviations, powers and correlations, by name; only with `residual`.
    residual_deviations_ : Series
        Standard deviation of the noise of every stratum, in units of y, the reference first; only
        with `residual`.
    theta_ : ndarray
        Entries of the triangular root of the covariances over the residual variance, in lme4's
        order.
    criterion_ : float
        -2 log-likelihood, restricted for reml=True.
    log_likelihood_, aic_, bic_ : float
        As R's logLik, AIC and BIC.
    n_groups_ : dict of str to int
        Number of levels of every factor, in the order of falling numbers, as the random effects
        and `theta_` have it.
    rank_ : int
        Number of coefficients that the rows tell from each other.
    n_iter_ : int
        Number of steps of the search.
    converged_, is_singular_ : bool
        Whether the search has arrived, and whether a variance is zero or a correlation is +-1.
    fit_ : NonlinearFit
        The fit itself.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if it has names.

    See Also
    --------
    MixedLinearRegressor : Lines instead of curves, and smooth curves without parameters.
    nlmer : The same from a formula.

    Notes
    -----
    The rows are held while the model is fitted and are not kept. A search has converged if the
    criterion changes by less than 1e-4 a standard error along every parameter; otherwise a warning
    says what still moves.

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
        "a curve is linearised again at every step, so that rows do not add up to a fit: call fit "
        "with all of them"
    )
    update_groups = Refused(
        "the curves of new groups take the rows of all: call fit with all of them"
    )

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
        tags.regressor_tags.poor_score = True  # on data of any other form than the curve's
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, grouping columns among them unless `groups` is given.
        y : array-like of shape (n,)
            The response.
        sample_weight : None or array-like of shape (n,), default=None
            Nonnegative weights, whose meaning `weighting` says; rows of weight 0 are left out.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, one column a grouping factor. Names come from a Series or data frame;
            otherwise they are "group", or "group0", "group1", ....

        Returns
        -------
        MixedNonlinearRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            For invalid X, y, weights or labels, for names that are not there, for a function
            without start or that returns no number or another length, for a Jacobian that is not
            that of the function, for a curve that has no value near the start, for fewer rows
            than coefficients, and for residuals that the method or the rows do not allow.
        FormulaSyntaxError
            If `random`, `fixed` or `residual` cannot be read.

        Warns
        -----
        ConvergenceWarning
            If the search did not arrive, or the rows do not tell a coefficient.
        UserWarning
            If there are as many random effects as rows.
        """
        self._validate_params()
        if self.reml and self.method == "laplace":
            raise ValueError(
                "reml=True is for method='lindstrom-bates': Laplace's approximation is one of the "
                "full likelihood"
            )
        data = read_curve_data(self, X, y, sample_weight, groups)
        self._fitted = NonlinearState.of_table(self, data)
        return self

    def _rows_of_fit(
        self, fitted: NonlinearState, X: Any, y: Any, sample_weight: Any, groups: Any
    ) -> CurveRows:
        """Read the rows of the fit once more."""
        data = read_curve_data(self, X, y, sample_weight, groups)
        return fitted.rows_once_more(self, data)

    def _check_formulas(self, fitted: NonlinearState) -> None:
        for design in fitted.parts.designs:
            if design is not None:
                design.read_expressions(fitted.columns.names)
