"""What fitted grouped models say of rows and tell people: predictions, tables, a summary."""

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
    """Return a test that the inner estimator has a method; it raises AttributeError if not."""

    def check(model: Any) -> bool:
        fitted = model._fitted
        getattr(model._inner() if fitted is None else fitted.pooled, name)
        return True

    return check


def _has_intervals(model: Any) -> bool:
    """Tell whether predictions have intervals, or may have once the model is fitted."""
    fitted = model._fitted
    if fitted is None:
        return solves_at_once(model._inner()) or is_of_means(model._inner())
    return why_no_intervals(fitted.group_fits) is None


class NoGroupsError(ValueError, AttributeError):
    """What needs groups was asked of a model that was fitted without."""


@stored
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GroupedState:
    """All that a fit of grouped models has found."""

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
        """The inner estimator, fitted to all rows."""
        return self.group_fits.pooled

    @property
    def classes(self) -> NDArray[Any] | None:
        """The classes of a classifier, (n_classes,)."""
        return getattr(self.pooled, "classes_", None)

    @property
    def n_groups(self) -> dict[str, int]:
        """Number of groups, by grouping column."""
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
        """Groups without an estimate of their own, what stands in, and why."""
        return self.group_fits.failures.table()

    @property
    def weights(self) -> pd.DataFrame:
        """How much of its own estimate each group keeps."""
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
    """Predictions, each by the nearest group that is known, and tables of fitted grouped models."""

    fallback: str

    pooled_ = FittedAttribute[Any]()
    classes_ = FittedAttribute[NDArray[Any]](optional=True)
    n_groups_ = FittedAttribute[dict[str, int]]()
    estimators_ = FittedAttribute[GroupMapping]()
    parent_estimators_ = FittedAttribute[GroupMapping]()
    fallback_ = FittedAttribute[pd.DataFrame]()
    weights_ = FittedAttribute[pd.DataFrame](optional=True)

    def _answer(self, method: str, X: Any, groups: Any) -> NDArray[Any]:
        """Return what `method` says of rows, (n, ...), after checking the arguments."""
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
                remedy = "fallback='parent' predicts them by the next larger group"
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
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_levels), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.
        interval : float or None, default=None
            Probability of intervals for observations, which are then returned beside the
            predictions: ``predict`` of a pipeline hands it on.

        Returns
        -------
        ndarray of shape (n,) or (n, n_outputs)
            A row whose group is unknown gets the prediction of the nearest parent that is known.
            With `interval` of shape (n, 3): predictions, and the ends that `predict_interval`
            returns.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            For invalid input, and, if fallback="error", for unknown groups. With `interval` also
            as in `predict_interval`, and where predictions have no intervals.

        Warns
        -----
        UnknownLevelWarning
            If no groups are given to a model that was fitted with them.
        """
        if interval is not None:
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
        """Predict intervals that hold the response, or its mean, with a given probability.

        There are some for `LinearRegression`, `Ridge`, `PoissonRegressor` and `GammaRegressor` with
        shrinkage="blup".

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_levels), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.
        level : float, default=0.95
            Probability, between 0 and 1.
        kind : {"observation", "mean"}, default="observation"
            Whether the interval is for a new observation of the row, or for the mean of all
            observations that could be made of it in its group.

        Returns
        -------
        ndarray of shape (n, 2)
            Lower and upper ends, in units of y.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict`, for a level that is no probability, and if no residual was left.

        Notes
        -----
        As in `MixedLinearRegressor.predict_interval`: prediction -+ t s. s^2 is the posterior
        variance of the row's x'b, in which a group that is not known varies as groups do in its
        nearest known parent; for an observation plus the residual variance; and twice what the
        prediction varies because the variances are estimates. t has Satterthwaite's degrees of
        freedom. With one grouping column and least squares it is the interval of the mixed model in
        which all coefficients vary. A penalty counts as information. Of Poisson and gamma
        regressions it is the interval of `MixedGeneralizedRegressor` for the model that was chosen.
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
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_levels), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.

        Returns
        -------
        ndarray of shape (n, n_classes)
            In the order of `classes_`; 0 for classes that a group never had.
        """
        return self._answer("predict_proba", X, groups)

    @offered_if(_has("predict_log_proba"))
    def predict_log_proba(self, X: Any, groups: Any = None) -> NDArray[Any]:
        """Predict the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_levels), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.

        Returns
        -------
        ndarray of shape (n, n_classes)
            In the order of `classes_`.
        """
        return self._answer("predict_log_proba", X, groups)

    @offered_if(_has("decision_function"))
    def decision_function(self, X: Any, groups: Any = None) -> NDArray[Any]:
        """Return the scores of the classes.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_levels), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.

        Returns
        -------
        ndarray of shape (n,) or (n, n_classes)
            As the estimator returns them; minus infinity for classes that a group never had.
        """
        return self._answer("decision_function", X, groups)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> float:
        """Return R^2 of the predictions, or the accuracy of a classifier.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        y : array-like of shape (n,) or (n, n_outputs)
            The true response.
        sample_weight : None or array-like of shape (n,), default=None
            Weights of the rows.
        groups : array-like of shape (n,) or (n, n_levels), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.

        Returns
        -------
        float
            The score.
        """
        prediction = self.predict(X, groups)
        judge = accuracy_score if is_classifier(self) else r2_score
        return float(judge(y, prediction, sample_weight=sample_weight))

    def coef_table(self, *, shrunk: bool = False) -> pd.DataFrame:
        """Tabulate the coefficients of the groups.

        Parameters
        ----------
        shrunk : bool, default=False
            Whether the coefficients that predict are wanted, with their standard errors given the
            variances, rather than the estimates of each group by itself.

        Returns
        -------
        DataFrame
            One row a group (and output): n, coefficients, standard errors, residual standard
            deviation. NaN where rows do not determine a coefficient, or the error is not known.

        Raises
        ------
        ValueError
            If there are no groups or no coefficients.
        """
        fitted = self._state()
        fitted.check_groups("coef_table()")
        return coefficient_table(fitted.group_fits, fitted.inner_names, shrunk=shrunk)

    def heterogeneity(self) -> pd.DataFrame:
        """Tabulate how much of the variance of each coefficient is between groups.

        Returns
        -------
        DataFrame
            A row for every level of groups and coefficient, the intercept being at zero: "sd"
            between groups; "share", its part in the variance of the estimates of the groups, the
            rest being sampling error; and Cochran's Q as "statistic" with "df" and "p_value", of
            the hypothesis that groups do not differ (F with the residual's degrees of freedom for
            least squares, otherwise chi-squared). Where predictions are blended, a row a level: sd
            of the deviations of groups, its share in their variance and the noise's, and a t test
            that own predictions help.

        Raises
        ------
        ValueError
            If nothing was estimated.
        """
        fitted = self._state()
        fitted.check_groups("heterogeneity()")
        fits = fitted.group_fits
        if pooled := fits.pooled_outputs():
            return heterogeneity_table(fitted.tree, pooled, fits.origin, fitted.inner_names)
        if not fits.blends:
            raise ValueError(
                f"shrinkage={fits.scheme.name!r} of {type(fitted.pooled).__name__} "
                "estimates no variances; shrinkage='blup' does"
            )
        return blend_table(fits)

    def summary(self, digits: int = 2, *, group: Any = None, shrunk: bool = False) -> GroupSummary:
        """Summarise the model of each group, as arm::display does.

        Parameters
        ----------
        digits : int, default=2
            Decimals of estimates, standard errors and standard deviations.
        group : label or tuple of labels, default=None
            One group, with a label of every level of a hierarchy, as `coef_table` names it; by
            default the first 30 groups.
        shrunk : bool, default=False
            Whether the coefficients that predict are shown, rather than the estimates of each
            group by itself.

        Returns
        -------
        GroupSummary
            Prints as text and shows as HTML in a notebook.

        Raises
        ------
        ValueError
            For a group that is not known.
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
        raise ValueError(f"group={group!r} is no group of {':'.join(names)}: they are {known}")
    return places[key]
