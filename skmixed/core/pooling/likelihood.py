"""Pooling by the likelihood of the rows, for responses of a family.

The coefficients of a group are those of its parent and a random effect on all of them: the
generalized linear mixed model in which all coefficients vary, by Laplace's approximation. At its
optimum the rows are those of a linear model whose residual variance is one, so that the groups have
information and estimates as least squares does, and what is made of them is the same. A group whose
responses are all at one extreme has no finite estimate, but a likelihood, and takes part like any
other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skmixed.core.families.family import Family
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.approximation.working_model import working_rows
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.generalized.generalized_fitting import fit_at
from skmixed.core.generalized.joint_search.divergence import PURE_DEVIATION
from skmixed.core.generalized.joint_search.joint_newton import JointNewton, JointOptimum
from skmixed.core.generalized.joint_search.optimum import laplace_optimum
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.pooling.hierarchy import Hierarchy, PooledHierarchy
from skmixed.core.pooling.likelihood_errors import ParameterErrors, embedded
from skmixed.core.pooling.stage import UNINFORMED, information_eigenpairs
from skmixed.core.search.report import SolverReport
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from skmixed.core.sums.summation import level_sums

_FEW_COEFFICIENTS = 6  # coefficients; more get no correlations, of which there would be many
_ABSURD = 1.001 * PURE_DEVIATION  # deviation of eta: columns separate classes, or rows are few
_FEW_ROWS = 3  # an effect or column, where intercepts vary: with so many, sizes are believed
_PARAMETER_COST = 2.0  # of a parameter, in -2 log-likelihood: Akaike's criterion
_DIFFERENCE_COST = 10.0  # that classes differ: of 200 designs chance lost 2 % in none, with 4 in 4
_SLOPE_COST = 2.0  # that they do in more than the intercept, likewise


@dataclass(frozen=True, slots=True, eq=False)
class PoolingRows:
    """Rows of the groups of a hierarchy, of p features and the response of a family."""

    features: FloatArray  # (n, p), from an origin
    y: FloatArray  # (n,)
    weights: FloatArray | None  # (n,), positive
    codes: tuple[IntArray, ...]  # (n,) by level from the root
    hierarchy: Hierarchy
    family: Family
    penalty: FloatArray  # (k,), of the squares of coefficients in -2 log-likelihood
    fit_intercept: bool

    @property
    def columns(self) -> FloatArray:
        """The columns that have coefficients, (n, k), the constant first if it is one."""
        if not self.fit_intercept:
            return self.features
        return np.column_stack([np.ones(len(self.y)), self.features])

    def of_usable(self, usable: NDArray[np.bool_]) -> PoolingRows:
        """Return the rows of some of the finest groups, (n_groups,)."""
        if usable.all():
            return self
        kept = np.flatnonzero(usable[self.codes[-1]])
        return replace(
            self,
            features=self.features[kept],
            y=self.y[kept],
            weights=None if self.weights is None else self.weights[kept],
            codes=tuple(codes[kept] for codes in self.codes),
        )

    def observations(self, varying: tuple[int, ...], covariance: str) -> Observations:
        """Return the rows of a model with a covariance of the coefficients that vary."""
        p = self.features.shape[1]
        codes, indexes, factors, terms = [], [], [], []
        for level in range(1, len(self.codes) if varying else 1):
            known, own = np.unique(self.codes[level], return_inverse=True)
            codes.append(own.astype(np.intp))
            indexes.append(GroupIndex((str(level),), (known,)))
            factors.append(FactorLayout((str(level),), tuple(range(p + 1))))
            terms.append(Term(level - 1, varying, covariance))
        layout = Layout(("1", *(f"x{j}" for j in range(p)), "y"), tuple(factors))
        columns = model_columns(self.features, self.y)
        rows = Rows(columns, tuple(codes), tuple(indexes), self.weights)
        spec = ModelSpec(self.used, tuple(terms), "ml")
        return Observations.of(layout, rows, spec, self.family)

    @property
    def used(self) -> tuple[int, ...]:
        """Positions of the columns that have coefficients, the constant being 0."""
        return tuple(range(0 if self.fit_intercept else 1, self.features.shape[1] + 1))

    @property
    def n_spare(self) -> int:
        """Number of finest groups beyond one a parent."""
        return len(np.unique(self.codes[-1])) - len(np.unique(self.codes[-2]))


def model_columns(features: FloatArray, y: FloatArray) -> FloatArray:
    """Return the columns of the model of groups, (n, p + 2), from features (n, p) and y, (n,)."""
    return np.column_stack([np.ones(len(features)), features, y])


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A model of the groups at its optimum."""

    observations: Observations
    optimum: JointOptimum
    report: SolverReport
    varying: IntArray  # (m,), positions among the k coefficients of those that vary

    @classmethod
    def of(
        cls, rows: PoolingRows, varying: tuple[int, ...] = (), covariance: str = "diagonal"
    ) -> _Candidate:
        """Search for the optimum, some columns varying."""
        observations = rows.observations(varying, covariance)
        to_raw = observations.units.to_raw[list(rows.used), :-1]
        penalty = to_raw.T @ (rows.penalty[:, None] * to_raw) if rows.penalty.any() else None
        is_empty = not (observations.rank or observations.structures)
        search = JointNewton(max_iter=1) if is_empty else JointNewton()
        optimum, report = laplace_optimum(observations, search, penalty=penalty)
        return cls(observations, optimum, report, np.searchsorted(rows.used, varying))

    @property
    def criterion(self) -> float:
        """-2 log-likelihood with the penalty; infinite where it is worth nothing.

        Variances are absurdly large where columns separate the classes within groups, and where
        Laplace's approximation errs, effects being as many as rows.
        """
        lambdas, observations = self.optimum.evaluation.point.lambdas, self.observations
        largest = max((float(np.linalg.norm(lam, 2)) for lam in lambdas), default=0.0)
        n_sought = max(observations.n_levels, default=0) + len(observations.spec.fixed) - 1
        is_full = len(self.varying) > 1 or _FEW_ROWS * n_sought > observations.n_rows
        if is_full and largest > _ABSURD:
            return np.inf
        return float(self.optimum.evaluation.criterion)

    @property
    def cost(self) -> float:
        """Akaike's criterion; classes, which tell little, have to tell more that groups differ.

        Means do not: their intervals would leave out a difference that is there.
        """
        count = sum(structure.n_theta for structure in self.observations.structures)
        found = self.criterion + _PARAMETER_COST * count
        if not count or not self.observations.family.counts_trials:
            return found
        return found + _DIFFERENCE_COST + _SLOPE_COST * (len(self.varying) > 1)

    @property
    def beta(self) -> FloatArray:
        """Coefficients of all rows, (k,)."""
        fixed = list(self.observations.spec.fixed)
        to_raw = self.observations.units.to_raw[:, :-1]
        return np.asarray((to_raw @ self.optimum.evaluation.point.beta)[fixed])

    def lambdas(self, depth: int) -> tuple[FloatArray, ...]:
        """Return roots of the covariances between groups, (k, k) by level below the root."""
        zipped = zip(
            self.observations.units.random_maps, self.optimum.evaluation.point.lambdas, strict=False
        )
        own = [to_raw @ lam for to_raw, lam in zipped]
        return embedded(own, self.varying, len(self.observations.spec.fixed), depth)


def _best_candidate(rows: PoolingRows) -> _Candidate:
    """Return the model of least cost.

    No coefficient varies, or the intercept, or all do, independently of each other or correlated.
    """
    found = [_Candidate.of(rows)]
    if rows.n_spare < 1:
        return found[0]
    k = len(rows.used)
    if rows.fit_intercept and k > 1:
        found.append(_Candidate.of(rows, rows.used[:1]))
    least = min(each.criterion for each in found)
    found.append(_Candidate.of(rows, rows.used))
    differ = found[-1].criterion < least - _PARAMETER_COST
    if differ and 1 < k < min(_FEW_COEFFICIENTS + 1, rows.n_spare):
        found.append(_Candidate.of(rows, rows.used, "unstructured"))
    return min(found, key=lambda each: each.cost)


@dataclass(frozen=True, slots=True, eq=False)
class LikelihoodPool:
    """Groups that were pooled by their likelihood."""

    pooled: PooledHierarchy  # of the working rows, s^2 being one
    model: GeneralizedFit  # the mixed model, its factors the levels below the root, if any vary
    varying: IntArray  # (m,), positions of the coefficients that vary

    def parameter_errors(self) -> ParameterErrors:
        """Return how far the parameters may be off, which takes some time."""
        return ParameterErrors.of(self.model, self.varying, self.pooled.hierarchy.depth)


def pool_by_likelihood(
    rows: PoolingRows, usable: NDArray[np.bool_], alike: FloatArray
) -> LikelihoodPool:
    """Shrink every group to its parent by as much as the likelihood of the rows says.

    Groups that are not `usable`, (n_groups,), say nothing. `alike`, (k,), are the coefficients of
    all rows where groups do not differ.
    """
    told = rows.of_usable(usable)
    best = _best_candidate(told)
    lambdas = best.lambdas(rows.hierarchy.depth)
    precision, estimate = _working_estimates(told, best)
    root = best.beta if len(best.varying) else alike
    pooled = PooledHierarchy(precision, estimate, rows.hierarchy, lambdas, root=root)
    model = fit_at(best.observations, best.optimum, best.report, quadrature=1)
    return LikelihoodPool(pooled, model, best.varying)


def _working_estimates(rows: PoolingRows, found: _Candidate) -> tuple[FloatArray, FloatArray]:
    """Return information, (k, k, n_groups), and estimates, (k, n_groups), of the finest groups.

    They are those of the linear model that a generalized one is at its optimum.
    """
    working = working_rows(found.observations, found.optimum.evaluation)
    sizes = rows.hierarchy.sizes[-1]
    codes = rows.codes[-1]
    if found.observations.cells is not None:  # equal rows of one group were put together
        together = np.empty(len(working.columns), dtype=np.intp)
        together[found.observations.cells] = codes
        codes = together
    used = list(found.observations.spec.fixed)
    columns = np.ascontiguousarray(working.columns[:, [*used, -1]])
    sums = level_sums(codes, sizes, list(columns[:, :-1].T), columns, working.weights)
    precision = sums[:, :-1]
    values, vectors = information_eigenpairs(np.moveaxis(precision, -1, 0))
    roots = np.where(values > UNINFORMED, 1.0 / np.where(values > UNINFORMED, values, 1.0), 0.0)
    estimate = np.einsum("gij,gj,gkj,kg->ig", vectors, roots, vectors, sums[:, -1], optimize=True)
    return np.ascontiguousarray(precision), np.ascontiguousarray(estimate)
