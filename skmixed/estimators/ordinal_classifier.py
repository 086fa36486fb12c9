"""Cumulative link mixed model of ordered categories as a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import Tags
from sklearn.utils._param_validation import StrOptions

from skmixed.bayes.penalties import Penalising
from skmixed.core.families.cumulative_links import ORDINAL
from skmixed.core.families.ordinal import Cumulative
from skmixed.core.linalg import FloatArray
from skmixed.core.model.structures.named import StructureName
from skmixed.design.formula import INTERCEPT
from skmixed.design.records import stored
from skmixed.estimators._estimator import (
    Averaging,
    FittedAttribute,
    Refused,
    UnknownLevels,
    averaged_as,
)
from skmixed.estimators.mixed._class_predictions import FromProbabilities
from skmixed.estimators.mixed._generalized_estimator import (
    BaseGeneralized,
    refuse_missing,
)
from skmixed.estimators.mixed._generalized_predictions import KnownPredictor
from skmixed.estimators.mixed._generalized_state import GeneralizedState
from skmixed.estimators.reading._complete_rows import CompleteRows, MissingRows, leaves_gaps
from skmixed.estimators.reading._numbers import read_ordered
from skmixed.estimators.reading._training_data import read_training_data


@stored
@dataclass(frozen=True, eq=False, kw_only=True)
class OrdinalState(GeneralizedState):
    """Everything that a fit of a cumulative link mixed model has found."""

    @property
    def thresholds(self) -> FloatArray:
        """Thresholds between the categories, (J - 1,)."""
        return self.fit.thresholds

    @property
    def separated(self) -> list[str]:
        """Names of fixed-effect columns with infinite coefficients, and of infinite thresholds."""
        columns = [name for name in super().separated if name != INTERCEPT]
        names = self.fit.threshold_names
        return columns + [names[place] for place in self.fit.separated_thresholds]

    @property
    def intercept(self) -> float:
        """Unavailable; the AttributeError hides it from the estimator."""
        raise AttributeError("this model has thresholds_ instead of intercept_")

    @property
    def fixed_effects(self) -> pd.Series[float]:
        """Fixed-effect coefficients by name, without the intercept."""
        return super().fixed_effects.iloc[1:]

    @property
    def coef_covariance(self) -> pd.DataFrame:
        """Covariance matrix of the fixed-effect estimates, without the intercept."""
        return super().coef_covariance.iloc[1:, 1:]


class OrdinalMixedClassifier(FromProbabilities, BaseGeneralized):
    """Cumulative link mixed model for ordered categories: ratings, grades, stages.

    Thresholds cut a latent response ``X beta + Z b + e`` into categories,
    ``P(y <= j) = F(threshold_j - X beta - Z b)``, with random effects ``b ~ N(0, Omega)`` that vary
    between groups and e logistic, normal or Gumbel. A positive coefficient makes higher categories
    more probable, equally at every threshold: with the logit link, this is the proportional-odds
    model. The likelihood integrates over the random effects by the Laplace approximation or
    adaptive Gauss-Hermite quadrature.

    `clmm` fits the same model from a formula. For two classes take `MixedClassifier`; for many
    ordered values treated as numbers, `MixedLinearRegressor`.
    :doc:`Ordered categories </guide/ordinal>` explains the model.

    Parameters
    ----------
    random : str, dict or None, default=None
        Random-effects terms in lme4's syntax, ``"(1 + x | shop)"``, or as a dict,
        ``{"shop": ["1", "x"]}``; see `MixedLinearRegressor`. If None, every grouping column has a
        random intercept.
    link : {"logit", "probit", "cloglog"}, default="logit"
        Link function of the cumulative probabilities: F is logistic, normal, or
        ``1 - exp(-exp(x))``, which is the proportional-hazards model.
    categories : "auto" or array-like of shape (n_classes,), default="auto"
        Categories, lowest first. "auto" takes the order of an ordered categorical (pandas) or an
        Enum (polars); otherwise it sorts numbers by size and text alphabetically, with a warning.
    quadrature : int, default=1
        Number of adaptive Gauss-Hermite quadrature nodes per random effect. 1 is the Laplace
        approximation; more require a single grouping factor and at most 1,000 nodes in total.
    fixed : str or None, default=None
        Right-hand side of a formula for the fixed effects, as in `MixedLinearRegressor`; X must
        then be a data frame. If None, every column of X that is not a grouping column is a fixed
        effect. The thresholds take the place of the intercept, which the formula must keep.
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
    handle_unknown : {"population", "error", "nan"}, default="population"
        How to predict rows whose level of a grouping factor is missing or was not seen in `fit`: as
        a new group of the population, with an error, or as NaN.
    averaging : {"integrate", "plug-in"}, default="integrate"
        How predictions treat the uncertainty of random effects. "integrate" averages probabilities
        over them: given their data for known levels, over the population for unknown ones (marginal
        predictions). "plug-in" inserts the conditional modes, zero for unknown levels.
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
    classes_ : ndarray of shape (n_classes,)
        Categories, lowest first.
    thresholds_ : ndarray of shape (n_classes - 1,)
        Thresholds between the categories, on the link scale.
    coef_ : ndarray of shape (n_fixed,)
        Fixed-effect coefficients, on the link scale; 0 for columns that are linearly dependent on
        earlier ones.
    fixed_effects_ : Series of shape (n_fixed,)
        Fixed-effect coefficients by name; NaN for columns that are linearly dependent on earlier
        ones.
    coef_covariance_ : DataFrame of shape (n_fixed, n_fixed)
        Covariance matrix of the fixed-effect estimates, allowing for the estimation of thresholds
        and variance parameters; NaN for the columns in `separated_`.
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
        -2 log-likelihood; with a `prior`, `criterion_` also includes `penalty_`.
    penalty_ : float
        -2 log density of the `prior` at the estimates, up to a constant; 0.0 without one.
    log_likelihood_, aic_, bic_ : float
        As R's ``logLik``, ``AIC`` and ``BIC``.
    n_groups_ : dict of str to int
        Number of levels of each grouping factor, largest first, which is also the order of the
        random effects and of `theta_`.
    rank_ : int
        Number of linearly independent fixed-effect columns, one of them for the first threshold.
    n_iter_ : int
        Number of iterations of the optimiser.
    converged_, is_singular_ : bool
        Whether the search converged, and whether the fit is singular: a variance of zero or a
        correlation of +-1.
    separated_ : list of str
        Fixed-effect columns that separate the categories perfectly, so that their coefficients are
        infinite, and the thresholds that are infinite with them.
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
    clmm : The same model from a formula.
    MixedClassifier : Two classes.
    skmixed.inference.proportional_odds : Test whether coefficients are equal at all thresholds.

    Notes
    -----
    In R: ``ordinal::clmm(y ~ x + (1 | g))``. `predict` returns the most probable category; where
    the order matters, ``predict_proba(X) @ scores`` are expected scores.

    References
    ----------
    .. [1] Tutz, G. & Hennevogl, W. (1996). Random effects in ordinal regression models.
       Computational Statistics & Data Analysis 22(5), :doi:`10.1016/0167-9473(96)00004-7`.
    .. [2] McCullagh, P. (1980). Regression models for ordinal data. Journal of the Royal
       Statistical Society B 42(2), :doi:`10.1111/j.2517-6161.1980.tb01109.x`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmixed import OrdinalMixedClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"price": rng.normal(size=600), "shop": np.arange(600) % 30})
    >>> latent = rng.logistic(size=600) - X["price"] + rng.normal(size=30)[X["shop"]]
    >>> stars = np.digitize(latent, [-1.0, 0.5]) + 1
    >>> model = OrdinalMixedClassifier("(1 | shop)").fit(X, stars)
    >>> model.thresholds_.round(1)
    array([-0.7,  1. ])

    Probabilities of one, two and three stars in a known shop and in a new one:

    >>> model.predict_proba(pd.DataFrame({"price": [0.0, 0.0], "shop": [3, 99]})).round(2)
    array([[0.41, 0.37, 0.22],
           [0.36, 0.35, 0.3 ]])
    """

    fit_intercept = True  # takes the place of the first threshold

    _state_type: ClassVar[type[GeneralizedState]] = OrdinalState

    predict_interval = Refused(
        "a category has no interval; use predict_proba for its probability, or "
        "marginal_means(scale='response') for intervals of proportions"
    )

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        name: allowed
        for name, allowed in {
            **BaseGeneralized._parameter_constraints,
            "link": [StrOptions(set(ORDINAL))],
            "categories": [StrOptions({"auto"}), "array-like"],
        }.items()
        if name != "fit_intercept"
    }

    __metadata_request__predict_proba: ClassVar = {"groups": True}
    __metadata_request__predict_log_proba: ClassVar = {"groups": True}

    classes_ = FittedAttribute[NDArray[Any]]()
    thresholds_ = FittedAttribute[FloatArray]()

    def __init__(
        self,
        random: str | Mapping[str, Sequence[str]] | None = None,
        *,
        link: Literal["logit", "probit", "cloglog"] = "logit",
        categories: Any = "auto",
        quadrature: int = 1,
        fixed: str | None = None,
        group_features: str | int | Sequence[str | int] | None = None,
        covariance: StructureName | Mapping[str, StructureName] = "unstructured",
        relationship: Mapping[str, Any] | None = None,
        prior: Penalising = None,
        handle_unknown: UnknownLevels = "population",
        averaging: Averaging = "integrate",
        max_iter: int = 100,
        tol: float = 1e-8,
        verbose: int = 0,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        self.random = random
        self.link = link
        self.categories = categories
        self.quadrature = quadrature
        self.fixed = fixed
        self.group_features = group_features
        self.covariance = covariance
        self.relationship = relationship
        self.prior = prior
        self.handle_unknown = handle_unknown
        self.averaging = averaging
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.context = context

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # for the unordered classes of scikit-learn's checks
        return tags

    def _read_classes(self, y: Any, n_rows: int) -> tuple[FloatArray, NDArray[Any]]:
        return read_ordered(y, n_rows, self.categories, type(self).__name__)

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Training data, including the grouping columns unless `groups` is given. Must be dense;
            numbers are converted to double precision.
        y : array-like of shape (n_samples,)
            Labels of two or more categories, in the order of `categories`.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights: a row of weight w counts as w rows; rows of weight 0 are ignored.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, one column per grouping factor. Factor names are those of the Series or
            data frame, otherwise "group", or "group0", "group1" and so on.

        Returns
        -------
        OrdinalMixedClassifier
            Fitted estimator.

        Raises
        ------
        ValueError
            If X, y, weights or labels are invalid, y has a single class or labels not in
            `categories`, a named column does not exist, the formula has no intercept, or the model
            does not allow so many quadrature nodes.
        FormulaSyntaxError
            If `random` or `fixed` cannot be parsed.

        Warns
        -----
        UserWarning
            If text labels are ordered alphabetically.
        ConvergenceWarning
            If columns separate the categories, or the search did not converge.
        UnidentifiedWarning
            If a variance is not identified, or the likelihood has no maximum.
        ApproximationWarning
            If adaptive quadrature would shift an estimate by more than half a standard error.
        """
        self._validate_params()
        data = read_training_data(self, X, y, sample_weight, groups)
        counts = np.bincount(data.y.astype(np.intp), data.weights)
        assert data.classes is not None
        names = tuple(map(str, data.classes.tolist()))
        family = ORDINAL[self.link].of_shares(counts.astype(np.float64), names)
        self._fitted = OrdinalState.of_table(self, data, family)
        return self

    def predict(
        self, X: Any, groups: Any = None, *, random: str | Sequence[str] = "all"
    ) -> NDArray[Any]:
        """Predict the most probable category.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        random : {"all", "none"} or list of str, default="all"
            Grouping factors whose levels are used, as in `predict_proba`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Category from `classes_`, the lowest if several are equally probable.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict_proba`, and if a row has no probability under handle_unknown="nan".
        """
        probabilities = self.predict_proba(X, groups, random=random)
        refuse_missing(probabilities[:, 0], "they have no class: use predict_proba")
        return self.classes_[probabilities.argmax(axis=1)]

    def predict_proba(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        missing: MissingRows | None = None,
        averaging: Averaging | None = None,
    ) -> FloatArray:
        """Predict the probabilities of the categories.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`. A model with a formula picks its columns by name,
            so that column order and further columns do not matter.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        random : {"all", "none"} or list of str, default="all"
            Grouping factors whose levels are used: all, none, or those named. Levels of the other
            factors are treated as unknown.
        missing : {"raise", "nan"} or None, default=None
            Whether missing values in the columns the model needs raise an error or give NaN
            predictions, as in R. None means "nan" for a model fitted with na_action="exclude",
            otherwise "raise".
        averaging : {"integrate", "plug-in"} or None, default=None
            Treatment of uncertain random effects, in place of that of the constructor, which None
            keeps. "plug-in" is that of lme4's ``predict``.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities in the order of `classes_`. With ``averaging="integrate"``, averaged over
            the random effects: given their data for known levels, over the population for unknown
            ones. ``random="none"`` thus gives the proportions of the categories in the population.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the input is invalid, `random` names an unknown grouping factor, or there are unknown
            levels and handle_unknown="error".

        Warns
        -----
        UnknownLevelWarning
            If the model was fitted with groups and none are given.
        """
        if averaging is not None:
            model = averaged_as(self, averaging)
            chosen: FloatArray = model.predict_proba(X, groups, random=random, missing=missing)
            return chosen
        fitted = self._state()
        if leaves_gaps(fitted, missing):
            rows = CompleteRows.to_predict(fitted, X, groups)
            find = partial(self.predict_proba, random=random, missing="raise")
            found: FloatArray = rows.spread(find, n_columns=len(fitted.fit.thresholds) + 1)
            return found
        averages = self._averages(fitted)
        known = KnownPredictor.read(self, fitted, X, groups, random, all_columns=averages)
        family = fitted.fit.family
        assert isinstance(family, Cumulative)
        variance = known.variance if averages else None
        return family.probabilities(known.center, variance, fitted.fit.phi)
