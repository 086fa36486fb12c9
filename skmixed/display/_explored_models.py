"""What the explorer asks of a fitted model: its columns, centers and errors of rows of a group."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from skmixed.bayes.row_predictions import predictor_quantiles, predictor_variances
from skmixed.core.families.family import MeanFamily
from skmixed.core.generalized.after_fit.predictor_errors import predictor_errors
from skmixed.core.linalg import FloatArray, IntArray, semidefinite_root
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.surroundings import surroundings
from skmixed.core.rows.prediction_errors import PlainRows, PredictionErrors, effect_variances
from skmixed.design.tables import UNKNOWN
from skmixed.display._fitted_models import GroupColumns
from skmixed.estimators.grouped._generalized_fits import GeneralizedGroupFits
from skmixed.estimators.grouped._group_intervals import errors_of_places, why_no_intervals
from skmixed.estimators.grouped._linear_fits import LinearGroupFits
from skmixed.estimators.grouped.models import GroupedModels
from skmixed.estimators.mixed._bayesian_state import BayesianState
from skmixed.estimators.mixed._generalized_state import GeneralizedState
from skmixed.estimators.mixed._linear_state import LinearState
from skmixed.estimators.reading._input_table import InputTable
from skmixed.estimators.reading._prediction_rows import PredictionRows
from skmixed.estimators.reading._training_data import read_exposure
from skmixed.inference.fitted import snapshot

VARIANCES, EXCESS, SLOPE = "variances", "excess", "slope"
SPREAD = "spread"  # of the random effects, over which means of a family are averaged
NEW = -1  # the group that is not known, among the numbers of groups
_NEW_ALONE = np.array([NEW])  # of one row


class ExploredModel(ABC):
    """A fitted model whose linear predictor is linear in columns, with coefficients a group."""

    factor: str
    keys: list[tuple[Any, ...]]  # the labels of every group
    names: list[str]  # of the columns
    varying: list[int]  # places of the columns whose coefficients vary over groups
    base: float = 0.0  # variance of the log of variances besides that of the parameters
    family: MeanFamily | None = None  # None for the response itself
    averages: bool = False  # whether means are averaged over what is not known of random effects
    has_observations: bool = False  # whether intervals of observations are offered
    phi: FloatArray = np.zeros(0)  # dispersions of the family
    left_out: Sequence[str] = ()  # factors whose levels a group of this one does not tell
    effects_are_deviations: bool = True  # from a group that is not known
    has_offset: bool = False  # whether the last column is added to the predictor as it is

    @abstractmethod
    def columns(self, X: Any, groups: Any) -> FloatArray:
        """Return the columns of rows, (n, m), a constant first."""

    @abstractmethod
    def centers(self, columns: FloatArray, codes: IntArray) -> FloatArray:
        """Return the linear predictor of rows, (n,), of the groups by number, `NEW` for others."""

    @abstractmethod
    def quantities(self, columns: FloatArray, codes: IntArray) -> dict[str, FloatArray]:
        """Return, by name, functions of rows that are quadratic in the columns, (n,) each.

        `VARIANCES` at given variances, the `EXCESS` of mean squared errors over them, and a
        `SLOPE` for each of the independent parameters of variances; `SPREAD` where it is used.
        """

    @abstractmethod
    def effects(self) -> tuple[list[str], FloatArray, FloatArray]:
        """Return names, (k,), of effects of groups, estimates and their errors, (n, k) each."""

    def noise(self, columns: FloatArray) -> dict[str, float]:
        """Return what is to be added to the quantities for observations, from a row, (1, m)."""
        return {}

    def offsets(self, columns: FloatArray) -> FloatArray:
        """Return what is added to the predictor as it is, (n,)."""
        return columns[:, -1] if self.has_offset else np.zeros(len(columns))


def explored_model(estimator: Any, factor: str | None) -> ExploredModel:
    """Return what is asked of a fitted estimator, about one of its factors.

    A TypeError says that the explorer does not know the kind, a ValueError that there is nothing to
    show or no such factor.
    """
    estimator = snapshot(estimator)
    state = getattr(estimator, "_fitted", None)
    if isinstance(estimator, GroupedModels):
        return ExploredGroups(estimator, factor)
    if isinstance(state, BayesianState):
        return ExploredPosterior(estimator, factor)
    if isinstance(state, LinearState):
        return ExploredLinear(estimator, factor)
    if isinstance(state, GeneralizedState) and isinstance(state.fit.family, MeanFamily):
        return ExploredGeneralized(estimator, factor)
    raise TypeError(
        "explore shows fitted linear, generalized and Bayesian mixed models, classifiers of two "
        "classes and GroupedModels of linear models, or pipelines that end in one, not a "
        f"{type(estimator).__name__}; PredictionDisplay draws predictions of any estimator over a "
        "column"
    )


class ExploredMixed(ExploredModel):
    """A mixed model; levels of other factors are unknown unless those of this one tell them."""

    def __init__(self, model: Any, factor: str | None) -> None:
        self.model, self.state = model, model._state()
        grouping = GroupColumns.of(model)
        if not grouping.factors:
            raise ValueError("explore needs groups, and the model has no grouping factor")
        if self.state.design.memberships:
            raise ValueError(
                "explore shows rows of one level of a factor, and those of mm() have several, as "
                "have those of related levels with several effects"
            )
        self.factor = grouping.factor(factor)
        spec, indexes = self.state.fit.spec, [f.index for f in self.state.design.grouping.factors]
        self.position = [index.name for index in indexes].index(self.factor)
        if self.position not in spec.used_factors:
            raise ValueError(f"factor={self.factor!r} has no random effects")
        index = indexes[self.position]
        self.keys = list(zip(*(column.tolist() for column in index.labels), strict=True))
        self.place = spec.used_factors.index(self.position)
        labels = dict(zip(index.key, index.labels, strict=True))
        self.codes = list(self.state.design.grouping.codes(labels, len(index)))
        others = [each for each in spec.used_factors if not indexes[each].is_whole]
        for each in others:
            if (self.codes[each] == UNKNOWN).all():
                self.codes[each] = self._containing(each, self.codes[each])
        told = [each for each in others if (self.codes[each] != UNKNOWN).any()]
        self.left_out = [indexes[each].name for each in others if each not in told]
        self.varying = sorted({c for each in told for c in spec.factor_columns(each)})
        exposure = getattr(self.state.columns, "exposure", None)
        self.has_offset = bool(self.state.design.offsets) or exposure is not None
        self.names = [*self.state.design.layout.columns[:-1], *["offset"] * self.has_offset]

    def _containing(self, other: int, unknown: IntArray) -> IntArray:
        """Return the level of another factor in which each group has all its rows, (n,).

        They are unknown where some group has rows in several.
        """
        first, second = sorted((self.position, other))
        pairs = self.state.fit.products.pairs[first, second]
        if first == other:
            pairs = pairs.transposed
        found = pairs.parents(len(unknown))
        return unknown if found is None else found

    def columns(self, X: Any, groups: Any) -> FloatArray:
        """Return the columns of the layout but the response, and the offset if there is one."""
        table = InputTable.of(X)
        predictor = self.state.predictor
        rows = predictor.read(self.model, table, groups, "all", all_columns=True)[1]
        if not self.has_offset:
            return np.asarray(rows.columns)
        offset = np.zeros(len(rows.columns)) if rows.offset is None else rows.offset.copy()
        exposure = read_exposure(table, getattr(self.state.columns, "exposure", None))
        if exposure is not None:
            offset += np.log(exposure)
        return np.column_stack([rows.columns, offset])

    def rows(self, columns: FloatArray, codes: IntArray) -> PredictionRows:
        """Return rows of given columns and numbers of groups, offsets left out."""
        predictor = self.state.predictor
        indexes = tuple(factor.index for factor in predictor.design.grouping.factors)
        known = [
            np.where(codes == NEW, 0 if index.is_whole else UNKNOWN, of_groups[codes])
            for index, of_groups in zip(indexes, self.codes, strict=True)
        ]
        chosen = columns[:, : len(self.names) - self.has_offset]
        wanted = (True,) * len(predictor.spec.used_factors)
        return PredictionRows(predictor, chosen, tuple(known), indexes, None, wanted)

    def centers(self, columns: FloatArray, codes: IntArray) -> FloatArray:
        """Return X beta + Z b and offsets."""
        return self.rows(columns, codes).means("population") + self.offsets(columns)

    def effects(self) -> tuple[list[str], FloatArray, FloatArray]:
        """Return the random effects as users see them, with conditional errors."""
        labels = self.state.random_labels[self.place]
        modes = labels.summed(self.state.estimates.effects[self.place])
        covariance = labels.both_ways(self.state.conditional_covariance(self.place))
        variances = np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0)
        return [str(name) for name in labels.columns], modes, np.sqrt(variances)


class ExploredLinear(ExploredMixed):
    """A linear mixed model."""

    def __init__(self, model: Any, factor: str | None) -> None:
        super().__init__(model, factor)
        fit = self.state.fit
        if not fit.is_determined:
            raise ValueError("the fit left no residual, so that there are no intervals to show")
        self.has_observations = not isinstance(fit, ResidualFit)
        self.base = 2.0 / fit.problem.residual_degrees

    def quantities(self, columns: FloatArray, codes: IntArray) -> dict[str, FloatArray]:
        """Return those of `predict_interval` with kind="mean"."""
        return quantities_of(self._errors(columns, codes, observation=False))

    def noise(self, columns: FloatArray) -> dict[str, float]:
        """Return the residual variance and its slopes."""
        return _added(
            *(self._errors(columns, _NEW_ALONE, observation=own) for own in (False, True))
        )

    def _errors(
        self, columns: FloatArray, codes: IntArray, *, observation: bool
    ) -> PredictionErrors:
        fit, rows = self.state.fit, self.rows(columns, codes).rows
        nearby = surroundings(fit) if isinstance(fit, ResidualFit) else None
        asked = PlainRows(rows, observation)
        return PredictionErrors.about(fit, self.state.posterior, asked, nearby)


class ExploredGeneralized(ExploredMixed):
    """A generalized linear mixed model of a mean, or of the probability of the second class."""

    def __init__(self, model: Any, factor: str | None) -> None:
        super().__init__(model, factor)
        if self.state.fit.separated:
            raise ValueError(
                "some coefficients are infinite, because their columns tell outcomes apart: there "
                "is nothing to move in such columns, leave them out"
            )
        self.family, self.phi = self.state.fit.mean_family, self.state.fit.phi
        self.has_observations = not self.family.counts_trials
        self.averages = model._averages(self.state)

    def quantities(self, columns: FloatArray, codes: IntArray) -> dict[str, FloatArray]:
        """Return those of `predict_interval` with kind="mean", of the linear predictor."""
        fit, working, predicted = self.state.fit, self.state.working, self.rows(columns, codes)
        found = quantities_of(predictor_errors(fit, working, predicted.rows))
        if self.averages:
            grouped = tuple(not each for each in predicted.is_whole)
            found[SPREAD] = effect_variances(working, predicted.rows, grouped)
        return found


class ExploredPosterior(ExploredMixed):
    """A linear mixed model by its posterior: moments, and quantiles of standardised errors."""

    def __init__(self, model: Any, factor: str | None) -> None:
        super().__init__(model, factor)
        self.draws, self.has_observations = self.state.sampled(), True

    def quantities(self, columns: FloatArray, codes: IntArray) -> dict[str, FloatArray]:
        """Return posterior variances."""
        predicted = self.rows(columns, codes)
        further = self.state.further_products
        variances = predictor_variances(self.draws, predicted.rows, predicted.wanted, further)
        return {VARIANCES: variances}

    def noise(self, columns: FloatArray) -> dict[str, float]:
        """Return the posterior mean of the residual variance."""
        return {VARIANCES: float(self.state.estimates.residual_variance)}

    def quantiles(
        self, columns: FloatArray, codes: IntArray, tails: FloatArray, *, observation: bool
    ) -> FloatArray:
        """Return quantiles of what is predicted less its mean, by its deviation, (n, 2)."""
        predicted, further = self.rows(columns, codes), self.state.further_products
        found = predictor_quantiles(
            self.draws, predicted.rows, predicted.wanted, further, tails, observation=observation
        )
        variances = self.quantities(columns, codes)[VARIANCES]
        variances = variances + (self.noise(columns)[VARIANCES] if observation else 0.0)
        centers = predicted.means("population")
        deviations = np.sqrt(np.maximum(variances, np.finfo(float).tiny))
        return np.asarray((found - centers[:, None]) / deviations[:, None])


class ExploredGroups(ExploredModel):
    """Models of groups, shrunk to one another; a group that is not known has the model of all."""

    def __init__(self, model: GroupedModels, factor: str | None) -> None:
        self.model, self.state = model, model._state()
        grouping, fits = GroupColumns.of(model), self.state.group_fits
        reason = why_no_intervals(fits)
        if reason is not None:
            raise ValueError(f"explore shows predictions with their intervals: {reason}")
        self.factor = grouping.factor(factor)
        self.fits: Any = fits
        tree = self.state.tree
        self.keys = tree.keys(tree.depth)
        self.first = sum(len(tree.keys(level)) for level in range(tree.depth))
        numbers = [str(name) for name in self.state.inner_names]
        self.names = ["Intercept", *numbers]
        self.varying = list(range(0 if fits.pooled.fit_intercept else 1, len(self.names)))
        self.has_observations, self.effects_are_deviations = True, False
        if isinstance(fits, GeneralizedGroupFits):
            self.family, self.phi, self.averages = fits.family, fits.phi, True
            self.has_observations = not fits.family.counts_trials
        else:
            self.base = self._errors(np.eye(1, len(self.names)), _NEW_ALONE).base

    def columns(self, X: Any, groups: Any) -> FloatArray:
        """Return a constant and the numeric columns."""
        table = np.asarray(self.model._read(self.state, X, groups)[0], dtype=np.float64)
        return np.column_stack([np.ones(len(table)), table])

    def centers(self, columns: FloatArray, codes: IntArray) -> FloatArray:
        """Return x'b."""
        if isinstance(self.fits, LinearGroupFits):
            coef, x = np.concatenate(self.fits.final)[:, 0], columns[:, self.varying]
        else:
            coef, x = np.concatenate(self.fits.shrunk.means, axis=1).T, self._centred(columns)
        return np.asarray(np.einsum("ij,ij->i", x, coef[self._places(codes)]))

    def quantities(self, columns: FloatArray, codes: IntArray) -> dict[str, FloatArray]:
        """Return those of `predict_interval` with kind="mean", of the linear predictor."""
        found = quantities_of(self._errors(columns, codes))
        if self.averages:
            matrices = np.concatenate(self.fits.shrunk.covariances_of_new_given_root, axis=2)
            own, x = np.moveaxis(matrices, -1, 0)[self._places(codes)], self._centred(columns)
            found[SPREAD] = np.einsum("ij,ijk,ik->i", x, own, x, optimize=True)
        return found

    def noise(self, columns: FloatArray) -> dict[str, float]:
        """Return the residual variance and its slopes."""
        if self.family is not None:
            return {}
        return _added(
            *(self._errors(columns, _NEW_ALONE, observation=own) for own in (False, True))
        )

    def effects(self) -> tuple[list[str], FloatArray, FloatArray]:
        """Return the coefficients of groups with their errors."""
        table = self.model.coef_table(shrunk=True)
        k = (table.shape[1] - 2) // 2
        values = table.iloc[:, 1 : 1 + 2 * k].to_numpy(float)
        return [str(name) for name in table.columns[1 : 1 + k]], values[:, :k], values[:, k:]

    def _errors(
        self, columns: FloatArray, codes: IntArray, *, observation: bool = False
    ) -> PredictionErrors:
        return errors_of_places(
            self.fits, self._centred(columns), self._places(codes), observation=observation
        )

    def _places(self, codes: IntArray) -> IntArray:
        """Return the places of groups among those of all levels, the root for one not known."""
        return np.where(codes < 0, 0, codes + self.first)

    def _centred(self, columns: FloatArray) -> FloatArray:
        """Return the columns that have coefficients, (n, k), from the origin of the fit."""
        numbers = columns[:, 1:] - self.fits.origin * columns[:, :1]
        return np.column_stack([columns[:, :1], numbers]) if 0 in self.varying else numbers


def quantities_of(errors: PredictionErrors) -> dict[str, FloatArray]:
    """Return the errors of rows as functions that are quadratic in their columns."""
    root = semidefinite_root(errors.covariance) if len(errors.covariance) else errors.covariance
    slopes = (root.T @ errors.log_slopes) * errors.variances
    found = {VARIANCES: errors.variances, EXCESS: errors.squares - errors.variances}
    return found | {f"{SLOPE}{number}": each for number, each in enumerate(slopes)}


def _added(mean: PredictionErrors, observation: PredictionErrors) -> dict[str, float]:
    """Return by how much the errors of an observation of one row are larger than of its mean."""
    less, more = quantities_of(mean), quantities_of(observation)
    return {name: float(more[name][0] - less[name][0]) for name in less}


def t_quantiles(level: float, size: int) -> FloatArray:
    """Return quantiles of t of 1 / x degrees of freedom for x from 0 to 1, (size,)."""
    with np.errstate(divide="ignore"):
        degrees = 1.0 / np.linspace(0.0, 1.0, size)
    tail = (1.0 + level) / 2.0
    return np.append(stats.norm.ppf(tail), stats.t.ppf(tail, degrees[1:]))


def titles(keys: Sequence[tuple[Any, ...]]) -> list[str]:
    """Write the labels of groups, each different from all others."""
    seen: dict[str, int] = {}
    found = []
    for key in keys:
        text = ":".join(map(str, key))
        seen[text] = seen.get(text, 0) + 1
        found.append(text if seen[text] == 1 else f"{text} ({type(key[0]).__name__})")
    return found
