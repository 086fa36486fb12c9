"""Target encoding of categorical columns, shrunk by estimated variance components."""

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
    warn_of_fractions,
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
    """Everything that a fit of an encoder has found."""

    n_features_in: int
    feature_names_in: NDArray[Any] | None  # (n_features_in,), of str
    known: KnownLevels
    target_type: str
    classes: NDArray[Any] | None  # (n_classes,)
    random_covariance: list[FloatArray]  # (n_targets, k, k), an encoded column each
    residual_variance: FloatArray  # (n_models, n_targets)


class BLUPEncoder(TransformerMixin, FittedEstimator[EncoderState]):
    """Target encoder for categorical features, with estimated shrinkage.

    For categories of high cardinality, such as postcodes, shops or users, before any regressor or
    classifier. Each label is replaced by the BLUP of its random intercept in a mixed model of the
    target: the deviation of its mean from the overall mean, shrunk towards zero according to its
    number of rows and the variances within and between labels. The variances are estimated, by REML
    in the linear model, so there is nothing to tune. `fit_transform` encodes every row by a model
    fitted to other rows, so that the target does not leak into the features that follow.

    Use it where the final model is up to you. To keep random effects, their variances and intervals
    in the model itself, take `MixedLinearRegressor` or, with boosting or a forest,
    `MixedEffectsRegressor`. :doc:`Encoding </guide/encoding>` explains it.

    Parameters
    ----------
    columns : str, int, list of str or int, or None, default=None
        Columns of X to encode, by name or position. If None, all but the slopes and those that
        `adjust` names, with a warning for columns of a data frame that hold more than 200 different
        fractional values. The other columns must be numeric and are passed through in place.
    slopes : str, int, list of str or int, or None, default=None
        Numeric columns with random slopes over the labels as well; each adds an encoding.
    joint : bool, default=False
        Whether one model has crossed random effects of all encoded columns, each adjusted for the
        others, rather than one model per column. A column that divides the rows as an earlier one
        does always has its own.
    adjust : bool, str, int or list of str or int, default=True
        Fixed effects of the model, for which the encodings are adjusted so that a label does not
        repeat what other columns say. True for all columns that are not encoded, False for none, or
        columns by name or position, or a formula, ``"grade + log(age)"``. Missing numbers are
        replaced by the mean of their column, with an indicator. Unless False, further columns of at
        most 100 labels that are not encoded become dummies, in the model and in the output. In a
        `ColumnTransformer`, pass the other columns too and name the labels in `columns`.
    cv : int, splitter or iterable of pairs, default=5
        Folds of `fit_transform`; every row must be tested exactly once. An integer makes a `KFold`,
        or a `StratifiedKFold` if the target has classes.
    cross_fit : {"kfold", "loo"}, default="kfold"
        Whether `fit_transform` encodes by models of the other folds ("kfold"), or by leaving out
        each row in closed form, at the variances estimated from all rows ("loo").
    shuffle : bool, default=True
        Whether to shuffle the rows before splitting, if `cv` is an integer.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling.
    handle_unknown : {"population", "nan", "error"}, default="population"
        Encoding in `transform` of labels that were not seen in `fit`: zero, the population mean,
        NaN, or an error.
    handle_missing : {"level", "unknown"}, default="level"
        Whether missing labels are a level of their own, as in scikit-learn's `TargetEncoder`, or
        treated as unknown, with their rows left out of the fit.
    extra : list of {"sd", "count"}, default=()
        Additional columns per encoding: the conditional standard deviation of the BLUP ("sd"), and
        the number of rows of the label ("count").
    target_type : {"auto", "continuous", "binary", "multiclass", "count"}, default="auto"
        Type of y. "auto" treats text and whole numbers of at most 20 distinct values as classes and
        all other numbers as continuous; it warns about more than 20 whole numbers, and about three
        to 20 of a floating-point type. "count" uses a Poisson model and is never chosen
        automatically.

    Attributes
    ----------
    categories_ : list of ndarray
        Labels of each encoded column, in the order of its encodings.
    encodings_ : list of ndarray of shape (n_labels, n_targets * n_effects)
        BLUPs of each encoded column: intercepts, then slopes. A level for missing labels is the
        last row.
    random_covariance_ : list of ndarray of shape (n_targets, n_effects, n_effects)
        Estimated covariance of the random effects of each encoded column.
    residual_variance_ : ndarray of shape (n_models, n_targets)
        Estimated variance within labels, a row per model; NaN for classes and counts, where it
        follows from the mean.
    classes_ : ndarray or None
        Classes of the target, if any.
    target_type_ : str
        Type of the target.
    n_features_in_ : int
        Number of columns of X seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X seen in `fit`; defined only if X has column names.

    See Also
    --------
    MixedLinearRegressor : The mixed model as a regressor.
    MixedEffectsRegressor : Any regressor combined with random effects.
    sklearn.preprocessing.TargetEncoder : Shrinkage label by label, without adjustment.

    Notes
    -----
    ``fit(X, y).transform(X)`` differs from ``fit_transform(X, y)``; use the latter for training
    data.

    Classes and counts are encoded on the link scale, by generalized linear mixed models with the
    Laplace approximation: the effect of a label on the log odds of the second of two classes, of
    each of several classes against the rest, or on the log of the mean count.

    With ``cross_fit="loo"`` the encoding of a row decreases as its own response increases,
    deterministically within each label. Linear models cannot exploit this, but trees do, and learn
    it instead of the target: use folds before trees.

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
        columns: Any = None,
        *,
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
        """Return the metadata routing of the splitter in `fit_transform`.

        Returns
        -------
        MetadataRouter
            Routes metadata such as `groups` for a `GroupKFold`.
        """
        mapping = MethodMapping().add(caller="fit_transform", callee="split")
        router = MetadataRouter(owner=self).add_self_request(self)
        return router.add(splitter=self.cv, method_mapping=mapping)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn the encodings from all rows.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,)
            Target.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights: a row of weight w counts as w rows; rows of weight 0 are ignored. A
            warning is given if the weights sum to less than the number of labels.

        Returns
        -------
        BLUPEncoder
            Fitted encoder, for rows other than the training data; for these use `fit_transform`.

        Raises
        ------
        ValueError
            If X or y is invalid, or a named column does not exist.
        """
        self._validate_params()
        self._fitted = self._learn(X, y, sample_weight)[1]
        return self

    def fit_transform(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> FloatArray:
        """Learn the encodings and encode each training row by other rows.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,)
            Target.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights: a row of weight w counts as w rows; rows of weight 0 are ignored.
        **params : dict
            Parameters of the splitter, such as `groups` for a `GroupKFold`. In a pipeline these
            require metadata routing.

        Returns
        -------
        ndarray of shape (n_samples, n_columns)
            Cross-fitted encodings, in the columns of `transform`.

        Raises
        ------
        ValueError
            As in `fit`, and if the folds do not test every row exactly once.
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
        """Encode rows by the encodings learned in `fit`.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_columns)
            Each encoded column is replaced by its encodings: for every class, or for the single
            target, the BLUP of the intercept, then of the slopes; then their standard deviations
            and the count, if requested. Other columns are passed through.

        Raises
        ------
        ValueError
            If the columns are not those of `fit`, or there are unknown labels and
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
        """Return the names of the output columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns of X, if it had none in `fit`.

        Returns
        -------
        ndarray of str objects
            "shop" for an intercept, "shop_price" for a slope, "shop_sd", "shop_price_sd" and
            "shop_count"; with a suffix for the class if there are more than two.
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
        """Return the levels with their rows, the state, and the passed-through columns, (n, m).

        Warns about doubtful encodings.
        """
        unknown = [name for name in self.extra if name not in ("sd", "count")]
        if unknown:
            raise ValueError(f"extra contains {unknown}; only 'sd' and 'count' are allowed")
        table = InputTable.of(X)
        feature_names = table.feature_names
        table.check_shape(self)
        named = self.adjust if names_columns(self.adjust, table.names) else None
        roles = choose_roles(table.names, self.columns, self.slopes, named)
        labels = read_labels(table, roles)
        if self.columns is None and table.is_named:
            warn_of_fractions(roles, labels)
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
