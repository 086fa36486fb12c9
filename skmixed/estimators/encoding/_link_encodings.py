"""Effects of levels on the scale of a link, for targets that are classes or counts.

Where labels are all that a model has, the rows of a level are one row: their number and the sum of
their targets. Those of a fold are subtracted from it, and all folds are fitted at once, from the
optimum of all rows on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from skmixed.core.batch.intercepts import fit_intercepts
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.families.family import Family, trials_of
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.generalized.generalized_fitting import fit_at, working_model
from skmixed.core.generalized.joint_search.divergence import PURE_DEVIATION, pure_factors
from skmixed.core.generalized.joint_search.joint_newton import JointNewton, JointOptimum
from skmixed.core.generalized.joint_search.optimum import modes_at, optimum_of
from skmixed.core.generalized.joint_search.start import point_of
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.spec import ModelSpec
from skmixed.core.search.report import SolverReport
from skmixed.core.sums.layout import Layout, Rows
from skmixed.core.sums.summed_rows import SummedRows
from skmixed.estimators.encoding._encodings import (
    Encodings,
    LabelledRows,
    deviations_of,
    leave_rows_out_of_counts,
    nothing_known,
    spread_over,
    taken_out,
    write_without_rows,
)
from skmixed.exceptions import UnidentifiedWarning, warn

_TOLERANCE = 1e-6  # of the criterion in a fold: it moves encodings by a thousandth of their errors
_MOST_LOG_ODDS = 5.0  # of levels where the estimate of their variance has no bound
_UNLIKE = 1e-9  # of the largest target, by which targets differ at least
_AT_ONCE = 2**18  # sums of levels: so many numbers stay in the cache of a processor


@dataclass(frozen=True, slots=True, eq=False)
class LinkFit:
    """The optimum of a model of some rows."""

    observations: Observations
    optimum: JointOptimum
    report: SolverReport
    levels: list[IntArray]  # (m,) a column: those that have rows, among all
    counts: Blocks  # (m,) a column: rows, or the sum of their weights

    @property
    def sigma2(self) -> float:
        """NaN: the variance within levels is that of the family."""
        return float("nan")

    @property
    def unidentified(self) -> tuple[int, ...]:
        """Columns whose variance nothing tells."""
        return self.report.confounded

    @property
    def has_ended(self) -> bool:
        """Whether the search found the optimum, or that an estimate is infinite."""
        diverges = self.report.is_unbounded or self.optimum.separating is not None
        return self.report.converged or diverges

    @property
    def covariances(self) -> Blocks:
        """Covariance matrix of the effects of every column, (k, k)."""
        zipped = zip(
            self.observations.units.random_maps,
            self.optimum.evaluation.point.lambdas,
            strict=True,
        )
        roots = [R @ lam for R, lam in zipped]
        return [root @ root.T for root in roots]

    @property
    def beta(self) -> FloatArray:
        """Coefficients of the fixed columns, (n_fixed,)."""
        units, point = self.observations.units, self.optimum.evaluation.point
        return np.asarray((units.to_raw[:, :-1] @ point.beta)[list(self.observations.spec.fixed)])

    @property
    def modes(self) -> Blocks:
        """Effects of the levels that have rows, (m, k) a column."""
        return modes_at(self.observations, self.optimum)

    @property
    def whole(self) -> GeneralizedFit:
        """The fit with all that can be asked of it."""
        return fit_at(self.observations, self.optimum, self.report, 1)


@dataclass(frozen=True, slots=True, eq=False)
class LinkLevelModel:
    """A generalized linear mixed model of a target."""

    rows: Rows  # [1, slopes, adjusting, target] of the rows that are used
    places: IntArray  # (n,), where each of these rows stands in the table
    layout: Layout
    spec: ModelSpec
    family: Family
    deviations: bool  # whether conditional variances are wanted; they are zeros otherwise
    sums: FloatArray | None  # (3, n_levels), rows, weights and targets; None unless these suffice

    @classmethod
    def of(
        cls, labelled: LabelledRows, target: FloatArray, family: Family, *, deviations: bool
    ) -> LinkLevelModel:
        """Take the rows of a table, with a target, (n,)."""
        places = labelled.places
        rows = labelled.rows(target, places)
        spec = labelled.spec
        only_labels = len(spec.terms) == 1 and spec.fixed == (0,) and family.collapses
        sums = _sums_of(rows) if only_labels else None
        return cls(rows, places, labelled.layout, spec, family, deviations, sums)

    def fit(self) -> LinkFit | None:
        """Fit to all rows.

        None if all targets are the same, or other columns tell the classes apart: nothing is left
        to the labels.
        """
        return self._fitted(np.empty(0, dtype=np.intp), None)

    def explained_by_others(self, fit: LinkFit | None) -> str:
        """Say that other columns tell the classes apart, if they do."""
        if fit is not None or not self._has_others or np.ptp(self.rows.columns[:, -1]) == 0.0:
            return ""
        return "the columns to adjust for separate the classes"

    def encodings(self, fit: LinkFit | None) -> Encodings:
        """Return what a fit to all rows or some knows of every level; None knows nothing."""
        sizes = [len(index) for index in self.rows.indexes]
        if fit is None:
            return nothing_known(sizes, len(self.spec.terms[0].columns))
        modes, variances, prior = fit.modes, None, None
        if self._is_unbounded(fit):
            pure = pure_factors(fit.observations)
            modes = [
                _MOST_LOG_ODDS * (np.sign(own) if number in pure else np.clip(own, -1.0, 1.0))
                for number, own in enumerate(effects / _MOST_LOG_ODDS for effects in modes)
            ]
        if self.deviations:
            variances, prior = deviations_of(fit.whole, range(len(sizes))), fit.covariances
        return spread_over(sizes, fit.levels, modes, fit.counts, variances, prior)

    def without_each(self, folds: Sequence[IntArray], fit: LinkFit | None) -> Iterator[Encodings]:
        """Yield what the rows outside every fold, (m,) each, say, from the optimum of all on.

        Warns of folds in which nothing is left to the labels.
        """
        n_lost, outs = 0, [taken_out(self.places, fold) for fold in folds]
        step = max(1, _AT_ONCE // len(self.rows.indexes[0]))
        for first in range(0, len(outs), step):
            some = outs[first : first + step]
            for out, found in zip(some, self._at_once(some, fit), strict=True):
                if found is not None:
                    yield found
                    continue
                own = self._fitted(out, fit)
                if own is None and fit is not None and self._has_others:
                    n_lost += int(np.ptp(np.delete(self.rows.columns[:, -1], out)) > 0.0)
                yield self.encodings(own)
        if n_lost:
            warn(
                f"the rows of {n_lost} of {len(outs)} folds are encoded as zeros: in their "
                "training rows, the columns to adjust for separate the classes. Name fewer "
                "columns in `adjust`, or set adjust=False",
                UnidentifiedWarning,
            )

    def leave_each_row_out(self, fit: LinkFit | None, table: list[FloatArray]) -> None:
        """Write over the encodings of rows by all, (n, 2 k + 1) a column, those by the others.

        It is exact in the linear model that the rows are at the optimum, and that is nearly theirs.
        """
        if fit is None or self._is_unbounded(fit):
            for columns, codes in zip(table, self.rows.codes, strict=True):
                leave_rows_out_of_counts(columns, self.places, codes, self.rows.weights)
            return
        rows, _ = _at_own_levels(self.rows)
        observations = Observations.of(self.layout, rows, self._spec, self.family)
        working, rows = working_model(fit.whole, observations)
        summed = SummedRows.among(working.products, rows)
        write_without_rows(working, summed, self.places, table, self.rows.weights)

    def _is_unbounded(self, fit: LinkFit) -> bool:
        """Tell whether intercepts tell the classes apart, other columns helping or not."""
        if len(self.spec.terms[0].columns) > 1:
            return False
        largest = max(float(covariance[0, 0]) for covariance in fit.covariances)
        return fit.report.is_unbounded or largest > PURE_DEVIATION**2

    @property
    def _has_others(self) -> bool:
        """Whether there are columns beside the labels."""
        return self.rows.columns.shape[1] > 2

    @property
    def _spec(self) -> ModelSpec:
        return ModelSpec(self.spec.fixed, self.spec.terms, method="ml")

    def _at_once(
        self, outs: Sequence[IntArray], near: LinkFit | None
    ) -> Sequence[Encodings | None]:
        """Return what all rows but some, (m,) each, say; None what takes a search of its own."""
        if self.sums is None or near is None or not _is_near(near):
            return [None] * len(outs)
        left = np.array([self._sums_without(out) for out in outs])
        weights, means = left[:, 1], self._means(left[:, 1], left[:, 2])
        effects = np.zeros(weights.shape[1])
        effects[near.levels[0]] = near.modes[0][:, 0]
        found = fit_intercepts(
            self.family, weights, means, near.beta[0], near.covariances[0][0, 0], effects
        )
        # A level that is of neither extreme: it has several rows, and the variance is finite.
        has_both = [
            (self.family.ways_out(own[rows > 0.0]) == 0.0).any()
            for own, rows in zip(means, weights, strict=True)
        ]
        prior = found.omega if self.deviations else np.zeros(len(outs))
        variances = found.variances if self.deviations else np.zeros(effects.shape)
        return [
            Encodings(
                [found.effects[i][:, None]],
                [np.broadcast_to(variances, weights.shape)[i][:, None]],
                [weights[i]],
                [prior[i : i + 1]],
            )
            if found.settled[i] and has_both[i]
            else None
            for i in range(len(outs))
        ]

    def _fitted(self, out: IntArray, near: LinkFit | None) -> LinkFit | None:
        """Fit to the rows but some, (m,), from the optimum of all on if it is given."""
        rows, levels, counts = self._left(out)
        y = rows.columns[:, -1]
        if not len(y) or np.ptp(y) <= _UNLIKE * np.abs(y).max():
            return None
        observations = Observations.of(self.layout, rows, self._spec, self.family)
        start, search = None, JointNewton()
        if near is not None and _is_near(near):
            phi = near.optimum.evaluation.point.phi
            start = point_of(observations, near.beta, near.covariances, phi)
            search = JointNewton(tol=_TOLERANCE)
        optimum, report = optimum_of(observations, 1, search, start)
        has_ended = report.converged or report.is_unbounded
        if self._has_others and (optimum.separating is not None or not has_ended):
            return None  # other columns tell the classes apart, and leave nothing to the labels
        return LinkFit(observations, optimum, report, levels, counts)

    def _left(self, out: IntArray) -> tuple[Rows, list[IntArray], Blocks]:
        """Return all rows but some, (m,), their levels among all, and how many rows these have."""
        if self.sums is None:
            is_left = np.ones(len(self.places), dtype=bool)
            is_left[out] = False
            rows, levels = _at_own_levels(self.rows.take(np.flatnonzero(is_left)))
            of_rows = trials_of(rows.weights, len(rows.columns))
            zipped = zip(rows.codes, levels, strict=True)
            return rows, levels, [_summed(codes, of_rows, len(own)) for codes, own in zipped]
        counts, weights, totals = self._sums_without(out)
        own = np.flatnonzero(counts)
        columns = np.ones((len(own), 2))
        columns[:, 1] = self._means(weights[own], totals[own])
        index = self.rows.indexes[0].take(own)
        rows = Rows(columns, (np.arange(len(own)),), (index,), weights[own])
        return rows, [own], [weights[own]]

    def _means(self, weights: FloatArray, totals: FloatArray) -> FloatArray:
        """Return means of targets by weights and totals of any shape, 0 without weight."""
        target = self.rows.columns[:, -1]
        means = np.divide(totals, weights, out=np.zeros_like(totals), where=weights > 0.0)
        return np.clip(means, target.min(), target.max())  # which rounding may leave

    def _sums_without(self, out: IntArray) -> FloatArray:
        """Return the sums of all rows but some, (m,): (3, n_levels), exact zeros without rows."""
        assert self.sums is not None
        if not len(out):
            return self.sums
        left = self.sums - _sums_of(self.rows.take(out))
        return np.where(left[0] > 0.0, left, 0.0)


def _is_near(fit: LinkFit) -> bool:
    """Tell whether a fit to all rows is where one to most of them can begin."""
    return fit.report.converged and not fit.report.confounded


def _sums_of(rows: Rows) -> FloatArray:
    """Return numbers of rows, and sums of weights and of targets, (3, n_levels), of one column."""
    codes, size = rows.codes[0], len(rows.indexes[0])
    weights = trials_of(rows.weights, len(codes))
    counts = np.bincount(codes, minlength=size)
    targets = weights * rows.columns[:, -1]
    return np.array([counts, _summed(codes, weights, size), _summed(codes, targets, size)])


def _summed(codes: IntArray, values: FloatArray, size: int) -> FloatArray:
    """Sum values under their codes, (size,)."""
    return np.bincount(codes, values, size).astype(np.float64, copy=False)


def _at_own_levels(rows: Rows) -> tuple[Rows, list[IntArray]]:
    """Return rows with codes that count the levels they have, (m,) a column, and these."""
    levels = [
        np.flatnonzero(np.bincount(codes, minlength=len(index)))
        for codes, index in zip(rows.codes, rows.indexes, strict=True)
    ]
    codes = tuple(
        np.searchsorted(own, of_rows) for own, of_rows in zip(levels, rows.codes, strict=True)
    )
    zipped = zip(rows.indexes, levels, strict=True)
    indexes = tuple(index.take(own) for index, own in zipped)
    return Rows(rows.columns, codes, indexes, rows.weights), levels
