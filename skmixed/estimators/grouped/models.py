"""One model per group, partially pooled."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, Literal

from sklearn.linear_model import LinearRegression
from sklearn.utils import Tags, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from skmixed.estimators._estimator import FittedEstimator
from skmixed.estimators.grouped._arguments import (
    read_training,
    solves_at_once,
)
from skmixed.estimators.grouped._estimator_fits import EstimatorGroupFits
from skmixed.estimators.grouped._fitted_groups import FittedGroups, GroupedState
from skmixed.estimators.grouped._generalized_fits import (
    GeneralizedGroupFits,
    pools_by_likelihood,
)
from skmixed.estimators.grouped._group_fits import GroupFits
from skmixed.estimators.grouped._linear_fits import LinearGroupFits, refuse_large
from skmixed.estimators.grouped._shares import BLUP, read_scheme
from skmixed.estimators.grouped._subset_fits import fit_pooled
from skmixed.estimators.grouped._tree import Tree
from skmixed.exceptions import warn


class GroupedModels(FittedGroups, FittedEstimator[GroupedState]):
    """One model per group, each shrunk towards the model of its parent group.

    Fits a scikit-learn regressor or classifier to the rows of every group, with partial pooling:
    its coefficients, or else its predictions, are shrunk towards those of the parent group by as
    much as REML finds the group's data warrant, so that groups with few rows borrow from the rest.
    Several grouping columns form a hierarchy, coarse to fine, below the model of all rows.

    Use it if every coefficient may differ between groups, or for any estimator. If only
    some effects vary, or factors are crossed, take `MixedLinearRegressor`; if groups differ only by
    an additive effect on top of one flexible model, `MixedEffectsRegressor`.
    :doc:`Grouped models </guide/grouped_models>` explains the choice.

    Parameters
    ----------
    estimator : estimator or None, default=None
        Estimator to fit to each group; None is `LinearRegression`.
    group_features : str, int, list of str or int, or None, default=None
        Grouping columns of X, coarse to fine, by name or position.
    shrinkage : None, "blup", float, str, tuple or callable, default="blup"
        How a group is pooled with its parent. None: not at all. "blup": by estimated variances, of
        the coefficients of linear and generalized linear estimators and otherwise of predictions
        (see Notes). A float: the weight of the group's own predictions. scikit-lego's rules weight
        all levels: "equal"; "relative" to their numbers of rows; ("constant", alpha), where the
        parent gets alpha; ("min_n_obs", n), the smallest group with n rows. A function maps the
        numbers of rows, from all rows down to the group, to weights. It is also called for parents,
        with fewer levels; if it then fails or returns weights for all levels, it is called with 0
        rows for the finer ones, whose weights the parent gets.
    fallback : {"parent", "error"}, default="parent"
        For groups that were not seen in `fit`, are too small or whose fit fails: use the nearest
        parent, or raise an error that names them.
    min_samples : int or None, default=None
        Groups with fewer rows get no estimate of their own; more than there are rows is an error.
        None: for least squares without shrinkage, the number of coefficients; otherwise no limit.
    use_pooled : bool, default=True
        Whether weighting rules count all rows as a level above the coarsest groups. If False, the
        numbers of rows that a rule sees begin with the coarsest group, and unknown coarsest groups
        are an error. Not for "blup".
    n_jobs : int or None, default=None
        Number of groups fitted in parallel by joblib; None means 1, -1 all processors. No effect
        where all groups are solved in one computation: `LinearRegression`, `Ridge`, and pooling by
        likelihood.
    verbose : int, default=0
        If 1 or more, show a progress bar over the fits.

    Attributes
    ----------
    pooled_ : estimator
        Estimator fitted to all rows, ignoring groups (complete pooling).
    estimators_ : mapping of tuple to estimator
        Fitted estimator of every group, keyed by its labels; with one grouping column also by the
        label itself. They have the shrunk coefficients if coefficients are shrunk. Created on
        access.
    parent_estimators_ : mapping of tuple to estimator
        Fitted estimators of the larger groups, down to ``()``, all rows, which predicts unknown
        groups.
    weights_ : DataFrame
        Weight of each group's own estimate: for every coefficient where coefficients are shrunk
        (its reliability: the fraction of the variance between groups that the data resolve),
        otherwise the weights of the predictions of every level, which sum to 1.
    fallback_ : DataFrame
        Groups without an estimate of their own, the group used instead, and the reason.
    n_groups_ : dict of str to int
        Number of groups for each grouping column.
    classes_ : ndarray
        Class labels, for classifiers.
    n_features_in_ : int
        Number of columns of X seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X seen in `fit`; defined only if X has column names.

    See Also
    --------
    MixedLinearRegressor : Some coefficients vary between groups, others are common to all.
    MixedClassifier : The same for two classes.
    MixedEffectsRegressor : One regressor for all groups, plus random effects.

    Notes
    -----
    *Coefficients* are shrunk for `LinearRegression`, `Ridge` and `TweedieRegressor`, in two stages:
    the estimates of the groups with their information matrices, then the covariance between groups
    by REML [1]_. For least squares with one grouping column this is the linear mixed model in which
    all coefficients vary [2]_. With no more groups than coefficients, or if an unstructured
    covariance has no better AIC than none, coefficients vary independently; if that is no better
    either, they do not vary: estimating many variances from few groups does more harm than treating
    groups as equal. A penalty counts as information.

    *By likelihood*, on the link scale: `PoissonRegressor`, `GammaRegressor` and binary
    `LogisticRegression` without class weights or an L1 penalty, with up to 40 coefficients. The
    model is a generalized mixed model, by the Laplace approximation, in which all coefficients,
    only the intercept, or none vary, whichever AIC prefers; for classes the gain must be 10, as
    modelling chance differences does more harm there than missing small ones. Groups with a single
    class take part. The penalty applies to the common coefficients. Means and probabilities are
    averaged over the uncertain coefficients; `estimators_` have their modes.

    *Predictions* are blended for all other estimators. Five further fits per group predict held-out
    rows, and the variance components of these predictions determine the weight of each group.
    Classes are blended by `predict_proba`, with weights that maximise the likelihood of the
    held-out rows. Groups with a single class are fitted or, if the classifier cannot be, predict it
    with certainty.

    If X has only grouping columns, the estimator is fitted to a column of zeros.

    Unlike in scikit-lego, unknown groups get the prediction of their parent under every rule, and a
    function may return any sequence. ("constant", alpha) gives alpha to the parent, as the code
    there does.

    Sample weights are frequencies and are passed to the estimator; in a pipeline, to its last step.

    References
    ----------
    .. [1] van Houwelingen, H. C., Arends, L. R. & Stijnen, T. (2002). Advanced methods in
       meta-analysis: multivariate approach and meta-regression. Statistics in Medicine 21(4),
       :doi:`10.1002/sim.1040`.
    .. [2] Gelman, A. & Hill, J. (2006). Data Analysis Using Regression and Multilevel/Hierarchical
       Models, chapters 12 and 13. Cambridge University Press, :doi:`10.1017/CBO9780511790942`.

    Examples
    --------
    >>> from skmixed import GroupedModels
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = GroupedModels(group_features="Subject").fit(X, y)
    >>> model.predict(X.head(2)).round(2)
    array([253.66, 273.33])
    >>> model.coef_table().head(2).round(2)
              n  (Intercept)   Days  se (Intercept)  se Days  residual sd
    Subject
    308      10.0       244.19  21.76           28.08     5.26        47.78
    309      10.0       205.05   2.26            5.22     0.98         8.87
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "group_features": [str, Integral, "array-like", None],
        "shrinkage": [str, Real, tuple, list, callable, None],
        "fallback": [StrOptions({"parent", "error"})],
        "min_samples": [Interval(Integral, 1, None, closed="left"), None],
        "use_pooled": ["boolean"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    __metadata_request__fit: ClassVar = {"groups": True}
    __metadata_request__predict: ClassVar = {"groups": True, "interval": True}
    __metadata_request__predict_proba: ClassVar = {"groups": True}
    __metadata_request__predict_log_proba: ClassVar = {"groups": True}
    __metadata_request__decision_function: ClassVar = {"groups": True}
    __metadata_request__score: ClassVar = {"groups": True}

    def __init__(
        self,
        estimator: Any = None,
        *,
        group_features: Any = None,
        shrinkage: Any = "blup",
        fallback: Literal["parent", "error"] = "parent",
        min_samples: int | None = None,
        use_pooled: bool = True,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.group_features = group_features
        self.shrinkage = shrinkage
        self.fallback = fallback
        self.min_samples = min_samples
        self.use_pooled = use_pooled
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        tags, inner = super().__sklearn_tags__(), get_tags(self._inner())
        tags.estimator_type = inner.estimator_type
        tags.regressor_tags = inner.regressor_tags
        tags.classifier_tags = inner.classifier_tags
        tags.target_tags = inner.target_tags
        tags.target_tags.required = True
        tags.non_deterministic = inner.non_deterministic
        # To scikit-learn this says that every column may have missing values.
        tags.input_tags.allow_nan = inner.input_tags.allow_nan and self.group_features is None
        tags.input_tags.string = self.group_features is not None
        if inner.classifier_tags is not None:
            tags.classifier_tags.multi_label = False
            tags.target_tags.multi_output = False
        return tags

    def _inner(self) -> Any:
        """Return the estimator that is cloned for every group."""
        return LinearRegression() if self.estimator is None else self.estimator

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None
    ) -> GroupedModels:
        """Fit a model to each group.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Training data, including the grouping columns unless `groups` is given. Must be dense.
            The other columns are passed to the estimator: numbers in double precision, anything
            else unchanged.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Response; classifiers take a single output.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights; rows of weight 0 are left out.
        groups : array-like of shape (n_samples,) or (n_samples, n_levels), default=None
            Group labels, one column per level of the hierarchy, coarse to fine.

        Returns
        -------
        GroupedModels
            Fitted estimator.

        Raises
        ------
        ValueError
            If the input is invalid, or, with fallback="error", if groups cannot be fitted.
        """
        self._validate_params()
        scheme = read_scheme(self.shrinkage, self.min_samples, uses_pooled=self.use_pooled)
        inner = self._inner()
        training = read_training(self, X, y, sample_weight, groups, inner)
        tree, codes = Tree.learn(training.groups, len(training.y), training.weights)
        if not tree.depth:
            warn(
                f"GroupedModels was given no groups: one {type(inner).__name__} is fitted to all "
                "rows. Pass groups=..., or name columns of X in group_features",
                UserWarning,
            )
        at_once = solves_at_once(inner) and bool(tree.depth)
        if at_once:
            refuse_large(training)
        pooled = fit_pooled(inner, training)
        group_fits: GroupFits
        if at_once:
            group_fits = LinearGroupFits(tree, scheme, pooled, len(training.inner_names))
        elif scheme.name == BLUP and tree.depth and pools_by_likelihood(pooled, training):
            group_fits = GeneralizedGroupFits(tree, scheme, pooled)
        else:
            group_fits = EstimatorGroupFits(
                tree, scheme, pooled, n_jobs=self.n_jobs, verbose=self.verbose
            )
        if self.min_samples is not None:
            if tree.depth and self.min_samples > tree.counts[0][0]:
                raise ValueError(
                    f"min_samples={self.min_samples} exceeds the {tree.counts[0][0]:.15g} rows "
                    "of the data: no group is as large"
                )
            group_fits.failures.add_small(self.min_samples, f"min_samples={self.min_samples}")
        group_fits.fit(training, codes)
        if self.fallback == "error":
            group_fits.failures.refuse()
        names = training.feature_names
        solved_at_once = isinstance(group_fits, LinearGroupFits)
        if solved_at_once and names is not None and training.inner_names:
            pooled.feature_names_in_ = names[training.columns.numeric]
        self._fitted = GroupedState(
            n_features_in=training.n_features,
            feature_names_in=names,
            columns=training.columns,
            inner_names=tuple(training.inner_names),
            is_matrix=training.y.ndim == 2,
            group_fits=group_fits,
        )
        return self
