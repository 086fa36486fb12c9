"""Predictions, tables and summary of fitted grouped models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.validation import _num_samples

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.design.records import stored
from skmixed.design.wording import first_values
from skmixed.estimators._estimator import (
    FittedAttribute,
    FittedEstimator,
    check_choice,
    offered_if,
)
from skmixed.estimators.grouped._arguments import read_new, solves_at_once, warn_about_labels
from skmixed.estimators.grouped._group_fits import GroupFits
from skmixed.estimators.grouped._group_intervals import is_of_means, limits, why_no_intervals
from skmixed.estimators.grouped._group_tables import (
    blend_table,
    coefficient_names,
    coefficient_table,
    heterogeneity_table,
    reliability_table,
)
from skmixed.estimators.grouped._shares import BLUP
from skmixed.estimators.grouped._tree import GroupMapping, Tree
from skmixed.estimators.reading._columns import Columns
from skmixed.estimators.reading._input_table import read_groups, refuse_unknown
from skmixed.inference.fixed_effects.testing import check_probability
from skmixed.inference.summary import GroupModel, GroupSummary

_GROUPS_SHOWN = 30  # in a summary, a few screens; coef_table() has them all


def _has(name: str) -> Callable[[Any], bool]:
    """Return a test that the estimator has a method; it raises AttributeError if not."""

    def check(model: Any) -> bool:
        fitted = model._fitted
        getattr(model._inner() if fitted is None else fitted.pooled, name)
        return True

    return check


def _has_intervals(model: Any) -> bool:
    """Tell whether predictions have intervals, or may have after `fit`."""
    fitted = model._fitted
    if fitted is None:
        return solves_at_once(model._inner()) or is_of_means(model._inner())
    return why_no_intervals(fitted.group_fits) is None


class NoGroupsError(ValueError, AttributeError):
    """Error of a request that requires groups, to a model fitted without."""


@stored
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GroupedState:
    """Everything that a fit of grouped models has found."""

    n_features_in: int
    feature_names_in: NDArray[Any] | None  # (n_features_in,), of str
    columns: Columns  # what each column of X is
    inner_names: tuple[str, ...]  # of the inner estimator's columns
    is_matrix: bool  # whether the response has columns
    group_fits: GroupFits

    @property
    def tree(self) -> Tree:
        """The groups."""
        return self.group_fits.tree

    @property
    def pooled(self) -> Any:
        """The estimator fitted to all rows."""
        return self.group_fits.pooled

    @property
    def classes(self) -> NDArray[Any] | None:
        """The classes of a classifier, (n_classes,)."""
        return getattr(self.pooled, "classes_", None)

    @property
    def n_groups(self) -> dict[str, int]:
        """Number of groups of each grouping column."""
        return dict(zip(self.tree.names, self.tree.hierarchy.sizes[1:], strict=True))

    @property
    def estimators(self) -> GroupMapping:
        """A fitted estimator for every group, by its labels."""
        depth = self.tree.depth
        levels = range(depth, depth + 1) if depth else range(0)
        return GroupMapping(self.tree, levels, self.group_fits.estimator)

    @property
    def parent_estimators(self) -> GroupMapping:
        """A fitted estimator for every larger group, by its labels; ``()`` is for all rows."""
        levels = range(max(self.tree.depth, 1))
        return GroupMapping(self.tree, levels, self.group_fits.estimator)

    @property
    def fallback(self) -> pd.DataFrame:
        """Groups without an estimate of their own, the group used instead, and why."""
        return self.group_fits.failures.table()

    @property
    def weights(self) -> pd.DataFrame:
        """Weight of each group's own estimate."""
        self.check_groups("weights_")
        fits, tree = self.group_fits, self.tree
        if fits.scheme.name == BLUP and (pooled := fits.pooled_outputs()):
            return reliability_table(tree, pooled, fits.origin, self.inner_names)
        return pd.DataFrame(fits.shares[-1], tree.index(tree.depth), tree.level_names)

    def check_groups(self, what: str) -> None:
        """Raise NoGroupsError if the model was fitted without groups."""
        if not self.tree.depth:
            raise NoGroupsError(f"the model was fitted without groups, so there is no {what}")


class FittedGroups(FittedEstimator[GroupedState]):
    """Predictions, by the nearest known group, and tables of fitted grouped models."""

    fallback: str

    pooled_ = FittedAttribute[Any]()
    classes_ = FittedAttribute[NDArray[Any]](optional=True)
    n_groups_ = FittedAttribute[dict[str, int]]()
    estimators_ = FittedAttribute[GroupMapping]()
    parent_estimators_ = FittedAttribute[GroupMapping]()
    fallback_ = FittedAttribute[pd.DataFrame]()
    weights_ = FittedAttribute[pd.DataFrame](optional=True)

    def _answer(self, method: str, X: Any, groups: Any) -> NDArray[Any]:
        """Return the output of `method` for rows, (n, ...), after validation."""
        fitted = self._state()
        table, codes = self._read(fitted, X, groups)
        return fitted.group_fits.predict(method, table, codes)

    def _read(self, fitted: GroupedState, X: Any, groups: Any) -> tuple[Any, tuple[IntArray, ...]]:
        """Return the columns of the estimator, and the groups, (n,) by level from the root."""
        given = None if groups is None else read_groups(groups)
        table, labels = read_new(self, fitted, X, given)
        codes = fitted.tree.codes(labels, _num_samples(table))
        if fitted.tree.depth:
            if self.fallback == "error":
                what = f"labels of {list(fitted.tree.names)}"
                remedy = "fallback='parent' predicts them by their parent group"
                refuse_unknown(codes[-1], what, remedy)
            elif not fitted.group_fits.scheme.uses_pooled:
                what = f"labels of {fitted.tree.names[0]!r}"
                remedy = "use_pooled=True predicts them by the model of all rows"
                refuse_unknown(codes[1], what, remedy)
            warn_about_labels(fitted.tree, labels, codes, fitted.columns)
        return table, codes

    def predict(self, X: Any, groups: Any = None, *, interval: float | None = None) -> NDArray[Any]:
        """Predict the response.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        groups : array-like of shape (n_samples,) or (n_samples, n_levels), default=None
            Group labels, if `fit` was given `groups`.
        interval : float or None, default=None
            Coverage of prediction intervals to return alongside the predictions, such as 0.95;
            unlike `predict_interval`, this works through a pipeline's ``predict``.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions; rows of an unknown group get that of the nearest known parent. With
            `interval`, of shape (n_samples, 3): the predictions and the limits that
            `predict_interval` returns.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the input is invalid, or there are unknown groups and fallback="error". With
            `interval`, also as in `predict_interval`, and if the estimator has no intervals.

        Warns
        -----
        UnknownLevelWarning
            If the model was fitted with groups and none are given.
        """
        if interval is not None:
            check_probability(interval, "interval")
            return self._means_and_limits(X, groups, interval, observation=True)
        return self._answer("predict", X, groups)

    @offered_if(_has_intervals)
    def predict_interval(
        self,
        X: Any,
        groups: Any = None,
        *,
        level: float = 0.95,
        kind: Literal["observation", "mean"] = "observation",
    ) -> FloatArray:
        """Predict intervals for the response or for its mean.

        Available for `LinearRegression`, `Ridge`, `PoissonRegressor` and `GammaRegressor` with
        shrinkage="blup".

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        groups : array-like of shape (n_samples,) or (n_samples, n_levels), default=None
            Group labels, if `fit` was given `groups`.
        level : float, default=0.95
            Nominal coverage of the interval, between 0 and 1.
        kind : {"observation", "mean"}, default="observation"
            "observation" for a prediction interval of a new observation, "mean" for a confidence
            interval of the mean in the group of the row.

        Returns
        -------
        ndarray of shape (n_samples, 2)
            Lower and upper limits, in units of y.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict`, if `level` is not between 0 and 1, or if the fit leaves no residual
            variance.

        Notes
        -----
        As in `MixedLinearRegressor.predict_interval`, the interval is prediction -+ t s. s^2 is the
        posterior variance of x'b, in which an unknown group varies as groups do within its nearest
        known parent; for an observation, plus the residual variance; and plus twice the variance
        due to estimating the variance parameters. t has Satterthwaite's degrees of freedom. With
        one grouping column and least squares it is the interval of the mixed model in which all
        coefficients vary. A penalty counts as information. For Poisson and gamma regression it is
        the interval of `MixedGeneralizedRegressor` for the model chosen.
        """
        check_choice("kind", kind, ("observation", "mean"))
        found = self._means_and_limits(X, groups, level, observation=kind == "observation")
        return np.ascontiguousarray(found[:, 1:])

    def _means_and_limits(
        self, X: Any, groups: Any, level: float, *, observation: bool
    ) -> FloatArray:
        """Return predictions and the ends of their intervals, (n, 3).

        Raises a ValueError where there are no intervals.
        """
        check_probability(level)
        fitted = self._state()
        fits = fitted.group_fits
        reason = why_no_intervals(fits)
        if reason is not None:
            raise ValueError(reason)
        table, codes = self._read(fitted, X, groups)
        ends = limits(fits, table, codes, level, observation=observation)
        return np.column_stack([fits.predict("predict", table, codes), ends])

    @offered_if(_has("predict_proba"))
    def predict_proba(self, X: Any, groups: Any = None) -> NDArray[Any]:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        groups : array-like of shape (n_samples,) or (n_samples, n_levels), default=None
            Group labels, if `fit` was given `groups`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities in the order of `classes_`; 0 for classes that a group never had.
        """
        return self._answer("predict_proba", X, groups)

    @offered_if(_has("predict_log_proba"))
    def predict_log_proba(self, X: Any, groups: Any = None) -> NDArray[Any]:
        """Predict the log-probabilities of the classes.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        groups : array-like of shape (n_samples,) or (n_samples, n_levels), default=None
            Group labels, if `fit` was given `groups`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Log-probabilities in the order of `classes_`.
        """
        return self._answer("predict_log_proba", X, groups)

    @offered_if(_has("decision_function"))
    def decision_function(self, X: Any, groups: Any = None) -> NDArray[Any]:
        """Compute the decision function of the classes.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        groups : array-like of shape (n_samples,) or (n_samples, n_levels), default=None
            Group labels, if `fit` was given `groups`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Scores as the estimator returns them; minus infinity for classes that a group never had.
        """
        return self._answer("decision_function", X, groups)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> float:
        """Return R^2 of the predictions or, for classifiers, their accuracy.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True response.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.
        groups : array-like of shape (n_samples,) or (n_samples, n_levels), default=None
            Group labels, if `fit` was given `groups`.

        Returns
        -------
        float
            Score of ``predict(X, groups)``.
        """
        prediction = self.predict(X, groups)
        judge = accuracy_score if is_classifier(self) else r2_score
        return float(judge(y, prediction, sample_weight=sample_weight))

    def coef_table(self, *, shrunk: bool = False) -> pd.DataFrame:
        """Tabulate the coefficients of the groups.

        Parameters
        ----------
        shrunk : bool, default=False
            Whether to return the shrunk coefficients that predict, with their standard errors given
            the variances, rather than each group's own estimates.

        Returns
        -------
        DataFrame
            A row per group (and output): n, coefficients, standard errors and residual standard
            deviation; NaN for coefficients that the data do not determine and unknown standard
            errors.

        Raises
        ------
        ValueError
            If there are no groups or the estimator has no coefficients.
        """
        fitted = self._state()
        fitted.check_groups("coef_table()")
        return coefficient_table(fitted.group_fits, fitted.inner_names, shrunk=shrunk)

    def heterogeneity(self) -> pd.DataFrame:
        """Tabulate how much each coefficient varies between groups.

        Returns
        -------
        DataFrame
            A row per level of groups and coefficient, with the intercept at zero: "sd", the
            standard deviation between groups; "share", its fraction of the variance of the group
            estimates, the rest being sampling error; and Cochran's Q test of homogeneity,
            "statistic", "df" and "p_value" (F with the residual degrees of freedom for least
            squares, otherwise chi-squared). Where predictions are blended, a row per level: the
            standard deviation of the group deviations, its fraction of their variance plus noise,
            and a t test of whether the groups' own predictions help.

        Raises
        ------
        ValueError
            If no variances were estimated.
        """
        fitted = self._state()
        fitted.check_groups("heterogeneity()")
        fits = fitted.group_fits
        if pooled := fits.pooled_outputs():
            return heterogeneity_table(fitted.tree, pooled, fits.origin, fitted.inner_names)
        if not fits.blends:
            raise ValueError(
                f"shrinkage={fits.scheme.name!r} with {type(fitted.pooled).__name__} estimates "
                "no variances; use shrinkage='blup'"
            )
        return blend_table(fits)

    def summary(self, digits: int = 2, *, group: Any = None, shrunk: bool = False) -> GroupSummary:
        """Summarise the model of each group, as arm's ``display`` does.

        Parameters
        ----------
        digits : int, default=2
            Number of decimals shown.
        group : label or tuple of labels, default=None
            Group to show, with a label for every level of the hierarchy, as in `coef_table`; None
            for the first 30.
        shrunk : bool, default=False
            Whether to show the shrunk coefficients that predict rather than each group's own
            estimates.

        Returns
        -------
        GroupSummary
            Prints as text and shows as HTML in a notebook.

        Raises
        ------
        ValueError
            If the group is unknown.
        """
        fitted = self._state()
        fitted.check_groups("summary()")
        tree, found = fitted.tree, fitted.group_fits.estimates(shrunk=shrunk)
        names = coefficient_names(fitted.inner_names, found.coef.shape[2])
        keys, counts = tree.keys(tree.depth), tree.counts[-1]
        chosen = list(range(min(len(keys), _GROUPS_SHOWN)))
        if group is not None:
            chosen = [_place_of(group, keys, tree.names)]
        models = []
        for place in chosen:
            title = ", ".join(
                f"{name} = {label}" for name, label in zip(tree.names, keys[place], strict=True)
            )
            for output in range(found.coef.shape[1]):
                table = pd.DataFrame(
                    {"coef.est": found.coef[place, output], "coef.se": found.se[place, output]},
                    index=names,
                )
                sd = found.sd[place, output]
                lines = fitted.group_fits.notes(place, output, sd, digits, shrunk=shrunk)
                of_output = f"{title}, output {output}" if found.coef.shape[1] > 1 else title
                models.append(GroupModel(of_output, table, lines))
        sizes = "; ".join(f"{name}, {n}" for name, n in fitted.n_groups.items())
        notes = [f"number of obs: {counts.sum():.15g}, groups: {sizes}"]
        if group is None and len(keys) > _GROUPS_SHOWN:
            notes.append(f"{len(keys) - _GROUPS_SHOWN} more groups are in coef_table()")
        what = "shrunk to parents" if shrunk else "by itself"
        title = f"{type(fitted.pooled).__name__}, each group {what}"
        return GroupSummary(title, tuple(models), tuple(notes), digits)


def _place_of(group: Any, keys: Sequence[Any], names: Sequence[str]) -> int:
    """Return the place of a group among the keys; ValueError for one that is not there."""
    key = group if isinstance(group, tuple) else (group,)
    places = {tuple(each): place for place, each in enumerate(keys)}
    if key not in places:
        known = first_values([each if len(names) > 1 else each[0] for each in places])
        raise ValueError(f"group={group!r} is not a group of {':'.join(names)}; groups are {known}")
    return places[key]
