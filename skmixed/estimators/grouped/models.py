"""One model per group, pooled by what the data say."""

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
    """One model per group, each shrunk to the model of the next larger group.

    Any scikit-learn regressor or classifier is fitted to the rows of every group. What a group has
    too few rows to say, it takes from its parent: the coefficients of a group, or its predictions,
    are pulled to those of the parent by as much as restricted maximum likelihood finds that the
    group deserves. Several grouping columns are a hierarchy, coarse to fine; the parent of the
    coarsest groups is all rows.

    Parameters
    ----------
    estimator : estimator or None, default=None
        The model of a group; None is `LinearRegression`.
    group_features : str, int or list of these, default=None
        Columns of X that are grouping columns, coarse to fine, by name or position.
    shrinkage : None, "blup", float, str, tuple or callable, default="blup"
        How a group is pooled with its parent. None: not at all. "blup": by estimated variances;
        of coefficients for linear and generalized linear estimators, otherwise of predictions
        (see Notes). A float: the share that a group keeps of its own predictions. scikit-lego's
        rules give every level a weight: "equal"; "relative" to its number of rows;
        ("constant", alpha), where the parent gets alpha; ("min_n_obs", n), the smallest group with
        n rows. A function gets the numbers of rows from all rows down to the group and returns the
        weights. It is called for parents too, whose chains are shorter; if it then fails or has
        weights for all levels, it gets 0 rows for the finer ones, whose weights the parent has.
    fallback : {"parent", "error"}, default="parent"
        What is done about groups that were not there in `fit`, are too small, or whose fit fails:
        their nearest parent stands in, or an error names them.
    min_samples : int or None, default=None
        Groups with fewer rows get no estimate of their own; more than there are rows is an error.
        None: fewer than coefficients, for
        least squares without shrinkage.
    use_pooled : bool, default=True
        Whether rules count all rows as a level above the coarsest groups. If False, the numbers of
        rows that a rule sees begin with those of the coarsest group, and unknown coarsest groups
        are an error. Not for "blup".
    n_jobs : int or None, default=None
        Number of fits that joblib runs at a time. Not used where all groups are solved in one
        computation: for `LinearRegression` and `Ridge`, and pooling by likelihood.
    verbose : int, default=0
        Whether fits are shown in a progress bar.

    Attributes
    ----------
    pooled_ : estimator
        Fitted to all rows, as if there were no groups.
    estimators_ : mapping of tuple to estimator
        The model of every group, by its labels; with one grouping column also by the label itself.
        With shrunk coefficients, where coefficients are shrunk. Made when asked for.
    parent_estimators_ : mapping of tuple to estimator
        The same for the larger groups, down to ``()``: what rows of unknown groups get.
    weights_ : DataFrame
        How much of its own estimate each group keeps: of every coefficient where these are shrunk
        (the share of the variance between groups that its data resolve), otherwise what the
        predictions of every level count, which add up to 1.
    fallback_ : DataFrame
        Groups without an estimate of their own, the group that stands in, and the reason.
    n_groups_ : dict of str to int
        Number of groups, by grouping column.
    classes_ : ndarray
        Classes, for classifiers.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if it has names.

    See Also
    --------
    MixedLinearRegressor : The linear mixed model; some coefficients can be common to all groups.
    MixedClassifier : The same for two classes.

    Notes
    -----
    *Coefficients* are shrunk for `LinearRegression`, `Ridge` and `TweedieRegressor`. Two stages:
    the estimates of the groups with their information matrices; then the covariance between groups
    by restricted maximum likelihood [1]_. For least squares on one grouping column this is the
    linear mixed model in which all coefficients vary. Where there are no more groups than
    coefficients, or Akaike's criterion finds an unstructured covariance no better than none,
    coefficients vary independently of each other, and if that is no better either, not at all:
    estimating many variances from few groups does more harm than leaving groups alike. A penalty
    counts as information.

    *By likelihood*, on the scale of the link, are pooled `PoissonRegressor`, `GammaRegressor`, and
    `LogisticRegression` of two classes without class weights or an L1 penalty, with up to 40
    coefficients: the generalized mixed model in which all coefficients vary, or the intercept, or
    none, by Laplace's approximation, whichever Akaike's criterion prefers; classes have to gain 10
    by it, as groups that differ by chance do more harm there than a small difference that is
    missed. Groups of one class take part. The penalty is on the coefficients of all rows. Means and
    probabilities are averaged over what is not known of the coefficients; `estimators_` have the
    most likely ones.

    *Predictions* are blended for any other estimator. Five more fits a group predict the rows left
    out of them; the variance components of these predictions give every group its share.
    Classes are blended by `predict_proba`, with the shares that make the rows left out the most
    likely. Groups of one class are fitted, or certain of it where the classifier cannot be.

    If grouping columns are all that X has, the estimator is fitted to a column of zeros.

    Unlike scikit-lego's, groups that were not there in `fit` get the prediction of their parent
    under every rule, and a function's weights may be any sequence. Its ("constant", alpha) gives
    alpha to the parent, as the code there does.

    Sample weights are frequencies, and are passed on to the estimator; in a pipeline, to its last
    step.

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
        """Fit a model to every group.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, grouping columns among them unless `groups` is given. Not sparse. The
            others go to the estimator: numbers in double precision, anything else as it comes.
        y : array-like of shape (n,) or (n, n_outputs)
            The response; of a classifier of one output.
        sample_weight : None or array-like of shape (n,), default=None
            Nonnegative weights; rows of weight 0 are left out.
        groups : array-like of shape (n,) or (n, n_levels), or data frame, default=None
            Labels, one column a level of the hierarchy, coarse to fine.

        Returns
        -------
        GroupedModels
            The fitted estimator.

        Raises
        ------
        ValueError
            For invalid input, and, if fallback="error", for groups that cannot be fitted.
        """
        self._validate_params()
        scheme = read_scheme(self.shrinkage, self.min_samples, uses_pooled=self.use_pooled)
        inner = self._inner()
        training = read_training(self, X, y, sample_weight, groups, inner)
        tree, codes = Tree.learn(training.groups, len(training.y), training.weights)
        if not tree.depth:
            warn(
                f"GroupedModels got no groups: one {type(inner).__name__} is fitted to all rows. "
                "Give groups=..., or name columns of X in group_features",
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
                    f"min_samples={self.min_samples} is more than the data have, "
                    f"{tree.counts[0][0]:.15g} rows: no group is as large"
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
