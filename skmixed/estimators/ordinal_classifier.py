"""The cumulative link mixed model of ordered categories as a scikit-learn classifier."""

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
from skmixed.estimators._estimator import FittedAttribute, Refused, UnknownLevels
from skmixed.estimators.mixed._class_predictions import FromProbabilities
from skmixed.estimators.mixed._generalized_estimator import (
    Averaging,
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
    """All that a fit of a cumulative link mixed model has found."""

    @property
    def thresholds(self) -> FloatArray:
        """Thresholds between the categories, (J - 1,)."""
        return self.fit.thresholds

    @property
    def separated(self) -> list[str]:
        """Names of the fixed columns whose coefficients are infinite, and of such thresholds."""
        columns = [name for name in super().separated if name != INTERCEPT]
        names = self.fit.threshold_names
        return columns + [names[place] for place in self.fit.separated_thresholds]

    @property
    def intercept(self) -> float:
        """Not there; an AttributeError leaves the estimator without it."""
        raise AttributeError("thresholds_ take the place of intercept_")

    @property
    def fixed_effects(self) -> pd.Series[float]:
        """Fixed coefficients by name, without the intercept."""
        return super().fixed_effects.iloc[1:]

    @property
    def coef_covariance(self) -> pd.DataFrame:
        """Covariance matrix of the coefficients, without the intercept."""
        return super().coef_covariance.iloc[1:, 1:]


class OrdinalMixedClassifier(FromProbabilities, BaseGeneralized):
    """Cumulative link mixed model: categories in an order, and effects that vary over groups.

    Behind a response stands a latent number ``X beta + Z b + e``, with ``b ~ N(0, Omega)`` and e
    logistic, normal or Gumbel, and thresholds cut it into categories:
    ``P(y <= j) = F(threshold_j - X beta - Z b)``. A positive coefficient makes higher categories
    more probable, by as much at every threshold: with the logistic link these are proportional
    odds. All parameters are estimated together by maximum likelihood, the integral over the random
    effects being approximated by Laplace's method or by adaptive Gauss-Hermite quadrature.

    Parameters
    ----------
    random : str, dict or None, default=None
        What varies over which groups: lme4's syntax, ``"(1 + x | shop)"``, or
        ``{"shop": ["1", "x"]}``, as in `MixedLinearRegressor`. None is a random intercept for
        every grouping column.
    link : {"logit", "probit", "cloglog"}, default="logit"
        Link of the cumulative probabilities: F is logistic, normal, or ``1 - exp(-exp(x))``, which
        makes hazards proportional.
    categories : "auto" or array-like of shape (n_classes,), default="auto"
        The categories, lowest first. "auto" takes the order of an ordered categorical (pandas), or
        an Enum (polars), and otherwise sorts numbers by size, and text by the alphabet, with a
        warning.
    quadrature : int, default=1
        Nodes of the quadrature for every random column. 1 is Laplace's approximation; more need
        one grouping factor, and at most 1,000 nodes in all.
    fixed : str or None, default=None
        Right-hand side of a formula for the fixed part; X must then be a data frame (needs the
        extra ``formula``). None is every column of X that is no grouping column. Thresholds take
        the place of an intercept, which the formula keeps.
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
    handle_unknown : {"population", "error", "nan"}, default="population"
        What a row of an unknown or missing level gets in predictions: that of a group of which
        nothing is known, an error, or NaN.
    averaging : {"integrate", "plug-in"}, default="integrate"
        What becomes of random effects that are not known for certain. Probabilities are averaged
        over them, given the data of known levels and over all groups for unknown ones, or the most
        likely effects are put in, zero for unknown levels.
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
    classes_ : ndarray of shape (n_classes,)
        The categories, lowest first.
    thresholds_ : ndarray of shape (n_classes - 1,)
        Thresholds between them, on the scale of the link.
    coef_ : ndarray of shape (n_fixed,)
        Fixed coefficients, on the scale of the link; 0 for columns that depend on others before
        them.
    fixed_effects_ : Series of shape (n_fixed,)
        The same by name; NaN for columns that depend on others before them.
    coef_covariance_ : DataFrame of shape (n_fixed, n_fixed)
        Covariance matrix of the fixed coefficients, the estimation of thresholds and variances in
        it. NaN for those of `separated_`.
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
        As R's logLik, AIC and BIC.
    n_groups_ : dict of str to int
        Number of levels of every factor, in the order of falling numbers, as the random effects
        and `theta_` have it.
    rank_ : int
        Number of independent fixed columns, one of them for the first threshold.
    n_iter_ : int
        Number of iterations of the search.
    converged_, is_singular_ : bool
        Whether the criterion cannot be lowered further, and whether a variance is zero or a
        correlation is +-1 at the optimum.
    separated_ : list of str
        Fixed columns that separate the categories, so that their coefficients are infinite, and
        the thresholds that are so with them.
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
    clmm : The same from a formula and a data frame.
    MixedClassifier : Two classes.

    Notes
    -----
    In R: ``ordinal::clmm(y ~ x + (1 | g))``. `predict` returns the most probable category; where
    the order counts, ``predict_proba(X) @ scores`` has expected scores.

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
    >>> model.predict_proba(pd.DataFrame({"price": [0.0], "shop": [99]})).shape
    (1, 3)
    """

    fit_intercept = True  # the place of the first threshold

    _state_type: ClassVar[type[GeneralizedState]] = OrdinalState

    predict_interval = Refused(
        "a category has no interval, and marginal_means(scale='response') has those of shares; "
        "predict_proba says how probable each is"
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
        tags.classifier_tags.poor_score = True  # of classes in no order, as scikit-learn tests it
        return tags

    def _read_classes(self, y: Any, n_rows: int) -> tuple[FloatArray, NDArray[Any]]:
        return read_ordered(y, n_rows, self.categories, type(self).__name__)

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, grouping columns among them unless `groups` is given. Not sparse; numbers
            of any type are read into double precision.
        y : array-like of shape (n,)
            Labels of two or more categories, whose order `categories` tells.
        sample_weight : None or array-like of shape (n,), default=None
            Nonnegative weights: a row of weight w stands for w rows; those of weight 0 are left
            out.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, one column a grouping factor. Names come from a Series or data frame;
            otherwise they are "group", or "group0", "group1", ....

        Returns
        -------
        OrdinalMixedClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            For invalid X, y, weights or labels, for one class, labels that `categories` lacks,
            names that are not there, a formula without an intercept, and for more nodes of the
            quadrature than the model allows.
        FormulaSyntaxError
            If `random` or `fixed` cannot be read.

        Warns
        -----
        UserWarning
            If text is taken in the order of the alphabet.
        ConvergenceWarning
            If columns separate the categories, or the search did not arrive.
        UnidentifiedWarning
            If nothing tells a variance, or it has no maximum.
        ApproximationWarning
            If quadrature would move an estimate by more than half a standard error.
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
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, if they were given as `groups` to `fit`.
        random : {"all", "none"} or list of str, default="all"
            Which factors' effects are known, as in `predict_proba`.

        Returns
        -------
        ndarray of shape (n,)
            Of `classes_`, the lowest of those that are as probable.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict_proba`, and if handle_unknown="nan" leaves a row without a probability.
        """
        probabilities = self.predict_proba(X, groups, random=random)
        refuse_missing(probabilities[:, 0], "they have no class: ask predict_proba")
        return self.classes_[probabilities.argmax(axis=1)]

    def predict_proba(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        missing: MissingRows | None = None,
    ) -> FloatArray:
        """Predict the probabilities of the categories.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`. A model with a formula picks its columns by name: others, the
            response and their order do not matter.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, if they were given as `groups` to `fit`.
        random : {"all", "none"} or list of str, default="all"
            Factors whose levels are looked at: all, none, or those named. Levels of the others are
            taken as unknown.
        missing : {"raise", "nan"} or None, default=None
            Whether rows with missing values in columns that are needed are an error, or have NaN
            for predictions, as in R. None is "raise", or "nan" of a model by na_action="exclude".

        Returns
        -------
        ndarray of shape (n, n_classes)
            In the order of `classes_`. With ``averaging="integrate"`` they are averaged over what
            is not known of the random effects: of a known level given its data, of an unknown one
            over all groups. So ``random="none"`` has the shares of the categories in the
            population.

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
