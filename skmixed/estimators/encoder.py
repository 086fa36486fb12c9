"""Categorical columns encoded by the target, shrunk by estimated variance components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import _check_feature_names_in

from skmixed.core.linalg import FloatArray
from skmixed.design.records import stored
from skmixed.estimators._cross_fitting import folds_of_rows
from skmixed.estimators._estimator import (
    FittedAttribute,
    FittedEstimator,
    UnknownLevels,
    header_of,
)
from skmixed.estimators.encoding._encoded_levels import KnownLevels, TrainingLevels
from skmixed.estimators.encoding._encoder_columns import (
    choose_roles,
    join_columns,
    joined_names,
    read_labels,
    refuse_new_labels,
    set_unknown_to_nan,
)
from skmixed.estimators.encoding._encoder_target import Target
from skmixed.estimators.encoding._other_columns import (
    OtherColumns,
    adjusting_columns,
    names_columns,
)
from skmixed.estimators.reading._input_table import InputTable
from skmixed.estimators.reading._numbers import read_weights


@stored
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EncoderState:
    """All that a fit of an encoder has found."""

    n_features_in: int
    feature_names_in: NDArray[Any] | None  # (n_features_in,), of str
    known: KnownLevels
    target_type: str
    classes: NDArray[Any] | None  # (n_classes,)
    random_covariance: list[FloatArray]  # (n_targets, k, k), an encoded column each
    residual_variance: FloatArray  # (n_models, n_targets)


class BLUPEncoder(TransformerMixin, FittedEstimator[EncoderState]):
    """Encode categorical columns by the target, with shrinkage that is estimated.

    A label becomes the BLUP of its random intercept in a mixed model of the target: the mean of its
    rows less that of all, shrunk towards zero by as much as the number of its rows and the
    variances between and within labels warrant. The variances are estimated, by REML in the linear
    model, so there is nothing to tune. `fit_transform` encodes every row by a model of other rows,
    so that what follows is not misled by encodings that know its own response.

    Parameters
    ----------
    columns : str, int or list of these, default=None
        Columns of X to encode, by name or position; None is all but the slopes and those that
        `adjust` names. The others must be numbers and are handed on, in their places.
    slopes : str, int or list of these, default=None
        Columns of numbers whose slopes vary over the labels, too: each gives one more encoding.
    joint : bool, default=False
        Whether one model has crossed effects of all encoded columns, each adjusted for the others,
        or every column has a model of its own; so has, in any case, one whose labels divide the
        rows as those of an earlier column do.
    adjust : bool, str, int or list of these, default=True
        What the effects of labels are adjusted for, so that a label does not carry what other
        columns say anyway: these are fixed effects of the same model. True is all columns that are
        not encoded, False none; or columns by name or position; or a formula such as
        ``"grade + log(age)"``. Missing numbers count as the mean of their column and as a column of
        their own. Unless False, columns of at most 100 labels that are not encoded need not be
        numbers: they become dummies, for the model and in what is handed on. Labels are adjusted
        for what they are given with: in a `ColumnTransformer` give the other columns too, and name
        the labels in `columns`.
    cv : int, splitter or iterable of pairs, default=5
        The folds of `fit_transform`, in which every row must be tested once. An integer makes
        `KFold`, or `StratifiedKFold` where the target has classes.
    cross_fit : {"kfold", "loo"}, default="kfold"
        Whether `fit_transform` encodes by models of the other folds, or by the model of all rows
        without the row itself, at its variance components, in closed form.
    shuffle : bool, default=True
        Whether rows are shuffled before they are split, where `cv` is an integer.
    random_state : int, RandomState instance or None, default=None
        Of the shuffling.
    handle_unknown : {"population", "nan", "error"}, default="population"
        What a label gets in `transform` that was not there in `fit`: zero, which is the mean, NaN,
        or an error.
    handle_missing : {"level", "unknown"}, default="level"
        Whether missing labels are a level of their own, as in scikit-learn's `TargetEncoder`, or
        unknown labels, whose rows are left out of the fit.
    extra : list of {"sd", "count"}, default=()
        Columns to add to each encoding: the conditional standard deviation of the BLUP, and the
        number of rows it comes from.
    target_type : {"auto", "continuous", "binary", "multiclass", "count"}, default="auto"
        What y is. By default text and whole numbers of at most 20 different values are classes, and
        all other numbers are continuous; a warning says so of more than 20 whole numbers, and of
        three to 20 that are of a type with decimals. Counts, by a Poisson model, have to be asked
        for.

    Attributes
    ----------
    categories_ : list of ndarray
        Labels of every encoded column, in the order of its encodings.
    encodings_ : list of ndarray of shape (n_labels, n_targets * k)
        BLUPs of every encoded column, of its intercepts and then its slopes; of the label "missing"
        the last line.
    random_covariance_ : list of ndarray of shape (n_targets, k, k)
        Estimated covariance of the random effects of every encoded column.
    residual_variance_ : ndarray of shape (n_models, n_targets)
        Estimated variance within labels, a line a model; NaN for classes and counts, where it
        follows from the mean.
    classes_ : ndarray or None
        The classes, if the target has any.
    target_type_ : str
        What y was taken for.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if it has names.

    See Also
    --------
    MixedLinearRegressor : The model as a regressor.
    MixedEffectsRegressor : Any regressor together with random effects.
    sklearn.preprocessing.TargetEncoder : Shrinkage by the variances of each label.

    Notes
    -----
    ``fit(X, y).transform(X)`` does not equal ``fit_transform(X, y)``; use the latter on training
    data.

    Classes and counts are encoded on the scale of the link, by generalized linear mixed models
    (Laplace's approximation): a label gets what it adds to the log-odds of the second of two
    classes, of every class of more against all others, or to the logarithm of the mean count.

    With ``cross_fit="loo"`` the encoding of a row falls as its own response rises, label by label
    and without noise. Linear models cannot use this. Trees can, and learn it instead of the
    target: before trees, stay with the folds.

    Examples
    --------
    >>> import pandas as pd
    >>> from skmixed import BLUPEncoder
    >>> X = pd.DataFrame({"shop": ["a"] * 6 + ["b"] * 3 + ["c"]})
    >>> y = [3.0, 3.2, 2.9, 3.1, 2.8, 3.3, 1.0, 1.3, 0.9, 2.9]
    >>> encoder = BLUPEncoder().fit(X, y)
    >>> encoder.transform(pd.DataFrame({"shop": ["a", "b", "c", "new"]})).round(2)
    array([[ 0.71],
           [-1.26],
           [ 0.55],
           [ 0.  ]])
    """

    _state_type: ClassVar[type] = EncoderState

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "columns": [str, Integral, "array-like", None],
        "slopes": [str, Integral, "array-like", None],
        "joint": ["boolean"],
        "adjust": [str, Integral, "array-like", "boolean"],
        "cv": ["cv_object"],
        "cross_fit": [StrOptions({"kfold", "loo"})],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "handle_unknown": [StrOptions({"population", "nan", "error"})],
        "handle_missing": [StrOptions({"level", "unknown"})],
        "extra": [list, tuple],
        "target_type": [StrOptions({"auto", "continuous", "binary", "multiclass", "count"})],
    }

    categories_ = FittedAttribute[list[NDArray[Any]]]("known.categories")
    encodings_ = FittedAttribute[list[FloatArray]]("known.effects")
    random_covariance_ = FittedAttribute[list[FloatArray]]()
    residual_variance_ = FittedAttribute[FloatArray]()
    target_type_ = FittedAttribute[str]()
    classes_ = FittedAttribute[NDArray[Any] | None]()

    def __init__(
        self,
        *,
        columns: Any = None,
        slopes: Any = None,
        joint: bool = False,
        adjust: Any = True,
        cv: Any = 5,
        cross_fit: Literal["kfold", "loo"] = "kfold",
        shuffle: bool = True,
        random_state: Any = None,
        handle_unknown: UnknownLevels = "population",
        handle_missing: Literal["level", "unknown"] = "level",
        extra: Sequence[str] = (),
        target_type: Literal["auto", "continuous", "binary", "multiclass", "count"] = "auto",
    ) -> None:
        self.columns = columns
        self.slopes = slopes
        self.joint = joint
        self.adjust = adjust
        self.cv = cv
        self.cross_fit = cross_fit
        self.shuffle = shuffle
        self.random_state = random_state
        self.handle_unknown = handle_unknown
        self.handle_missing = handle_missing
        self.extra = extra
        self.target_type = target_type

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = self.slopes is None
        return tags

    def get_metadata_routing(self) -> MetadataRouter:
        """Tell scikit-learn that the splitter may want metadata in `fit_transform`.

        Returns
        -------
        MetadataRouter
            Such as `groups` for a `GroupKFold`.
        """
        mapping = MethodMapping().add(caller="fit_transform", callee="split")
        router = MetadataRouter(owner=self).add_self_request(self)
        return router.add(splitter=self.cv, method_mapping=mapping)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn the encodings from all rows.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns.
        y : array-like of shape (n,)
            The target.
        sample_weight : None or array-like of shape (n,), default=None
            Nonnegative weights; a row of weight w stands for w rows, and those of weight 0 are left
            out. Weights that add up to fewer rows than there are labels are warned of.

        Returns
        -------
        BLUPEncoder
            The fitted encoder, for rows that are not those of X; for these use `fit_transform`.

        Raises
        ------
        ValueError
            For invalid X or y, and columns that are not there.
        """
        self._validate_params()
        self._fitted = self._learn(X, y, sample_weight)[1]
        return self

    def fit_transform(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> FloatArray:
        """Learn the encodings from all rows and encode each of these by others.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns.
        y : array-like of shape (n,)
            The target.
        sample_weight : None or array-like of shape (n,), default=None
            Nonnegative weights; a row of weight w stands for w rows, and those of weight 0 are left
            out.
        **params : dict
            Of the splitter: `groups`, say, for a `GroupKFold`. In a pipeline they need metadata
            routing.

        Returns
        -------
        ndarray of shape (n, n_columns)
            The columns of `transform`, but not its values.

        Raises
        ------
        ValueError
            As in `fit`, and if the folds do not test every row once.
        """
        self._validate_params()
        training, fitted, others = self._learn(X, y, sample_weight)
        if self.cross_fit == "loo":
            known = training.without_each_row(fitted.known)
        else:
            stratified = fitted.classes is not None
            folds = folds_of_rows(self, X, y, stratified=stratified, params=params)
            known = training.without_folds(fitted.known, folds)
        encoded = join_columns(fitted.known.roles, others, known, self.extra)
        self._fitted = fitted
        return encoded

    def transform(self, X: Any) -> FloatArray:
        """Encode rows by all rows of `fit`.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns.

        Returns
        -------
        ndarray of shape (n, n_columns)
            In the place of an encoded column its encodings: of every class or the one target the
            BLUP of the intercept, then of the slopes; standard deviations in the same order, if
            wanted; the count, if wanted. Other columns as they are.

        Raises
        ------
        ValueError
            For other columns than those of `fit`, and for unknown labels if
            handle_unknown="error".
        """
        fitted = self._state()
        levels = fitted.known
        table = InputTable.of(X)
        table.check_shape(self)
        table.check_columns(self, fitted)
        table.numeric(levels.roles.slopes)  # in which nothing may be missing
        others = levels.others.read(table)
        codes = levels.codes(read_labels(table, levels.roles))
        if self.handle_unknown == "error":
            refuse_new_labels(levels.encoded_names, codes)
        known = levels.of_rows(codes)
        if self.handle_unknown == "nan":
            set_unknown_to_nan(known, codes)
        return join_columns(levels.roles, others, known, self.extra)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns of X, if it had none.

        Returns
        -------
        ndarray of str objects
            "shop" for an intercept, "shop_price" for a slope, "shop_sd", "shop_price_sd" and
            "shop_count"; with a suffix for the class where there are more than two.
        """
        fitted = self._state()
        names = list(_check_feature_names_in(header_of(self, fitted), input_features))
        classes = [""]
        if fitted.target_type == "multiclass" and fitted.classes is not None:
            classes = [f"_{label}" for label in fitted.classes]
        dummies = fitted.known.others.endings
        joined = joined_names(fitted.known.roles, names, dummies, classes, self.extra)
        return np.asarray(joined, dtype=object)

    def _learn(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[TrainingLevels, EncoderState, dict[int, FloatArray]]:
        """Return what knows the rows, the state, and the columns that are handed on, (n, m) each.

        Warns where encodings are in doubt.
        """
        unknown = [name for name in self.extra if name not in ("sd", "count")]
        if unknown:
            raise ValueError(f"extra has {unknown}; it takes 'sd' and 'count'")
        table = InputTable.of(X)
        feature_names = table.feature_names
        table.check_shape(self)
        named = self.adjust if names_columns(self.adjust, table.names) else None
        roles = choose_roles(table.names, self.columns, self.slopes, named)
        labels = read_labels(table, roles)
        slopes = table.numeric(roles.slopes, name_by="columns")
        others = OtherColumns.learn(table, roles, with_dummies=self.adjust is not False)
        passed = others.read(table, name_by="columns")
        adjusting = adjusting_columns(table, self.adjust, roles, passed)
        weights = read_weights(sample_weight, table.n_rows)
        target = Target.read(y, self.target_type, table.n_rows, weights)
        training = TrainingLevels.of(
            roles,
            others,
            labels,
            (slopes, adjusting),
            target,
            weights,
            joint=self.joint,
            missing_is_level=self.handle_missing == "level",
            deviations="sd" in self.extra,
        )
        training.warn()
        fitted = EncoderState(
            n_features_in=len(table.names),
            feature_names_in=feature_names,
            known=training.known(),
            target_type=target.kind,
            classes=target.classes,
            random_covariance=training.covariances,
            residual_variance=training.residual_variances,
        )
        return training, fitted, passed
