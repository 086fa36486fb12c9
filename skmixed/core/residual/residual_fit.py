"""A fitted linear mixed model whose residuals are correlated or of unequal variance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skmixed.core.fit import Fit, check_penalties
from skmixed.core.linalg import FloatArray
from skmixed.core.model.evaluation import Evaluation, evaluate
from skmixed.core.model.problem import Problem, threads_for
from skmixed.core.model.spec import ModelSpec
from skmixed.core.residual.joint_derivatives import (
    JointCurvature,
    PhiDerivatives,
    joint_curvature,
)
from skmixed.core.residual.residual_problem import ResidualProblem, squared_distance
from skmixed.core.residual.residual_search import Start, search_jointly
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.residual.structure import ResidualParameter, ResidualStructure
from skmixed.core.search.newton import Newton
from skmixed.core.search.report import SolverReport
from skmixed.core.sums.crossproducts import CrossProducts

_GIVEN = SolverReport("none", True, 0, "theta and phi were given", ())


@dataclass(frozen=True, eq=False)
class ResidualFit(Fit):
    """A linear mixed model with a residual structure, and its estimates.

    `products` are those weighted by the inverse of the residual covariance at `phi`, of which all
    else follows as of any fit. `sigma2` is the residual variance of the reference stratum, at one
    of the covariate of a power.
    """

    tables: ResidualTables = field(kw_only=True)
    structure: ResidualStructure = field(kw_only=True)  # resolved by the tables
    phi: FloatArray = field(kw_only=True)  # (q,)

    @classmethod
    def of_tables(
        cls,
        tables: ResidualTables,
        spec: ModelSpec,
        solver: Newton | None = None,
        held: Mapping[int, float] | None = None,
        near: ResidualFit | None = None,
    ) -> ResidualFit:
        """Search for theta and phi together, some entries of phi being held at given values.

        The first search begins where a fit of the same model to like data, `near`, has ended.
        Raises ValueError where the likelihood has no maximum, or the tables do not tell phi.
        """
        problem = ResidualProblem.of(tables, spec)
        check_penalties(problem.independent, tables.base)
        begin = None if near is None else near._as_start(problem)
        plain, newton = problem.independent, solver or Newton()
        with threads_for(plain.structures, plain.n_levels, plain.rank):
            evaluation, report, phi = search_jointly(problem, newton, held or {}, begin)
        check_penalties(problem.independent, tables.base, evaluation.lambdas)
        structure, ratio = problem.structure.reported(phi)
        maps = problem.independent.model.random_maps
        lambdas = [
            ratio * (random_map @ lam)
            for random_map, lam in zip(maps, evaluation.lambdas, strict=True)
        ]
        tabled = problem.under(structure)
        at = tabled.at(phi)
        return cls(
            tables.weighted(at.combination),
            spec,
            tuple(at.scaled_lambdas(lambdas)),
            report,
            {"problem": at, "tabled": tabled},
            tables=tables,
            structure=structure,
            phi=phi,
        )

    def _as_start(self, problem: ResidualProblem) -> Start | None:
        """Return the estimates as a start for other data; None where phi is another there."""
        structure, ratio = problem.structure.reported(self.phi)
        if structure != self.structure:
            return None
        if self.is_singular:  # from which no slope leads away
            return self.phi, None
        lambdas = problem.independent.scaled_lambdas([lam / ratio for lam in self.lambdas])
        return self.phi, [lam @ lam.T for lam in lambdas]

    def refit(self, **changes: Any) -> Fit:
        """Fit a variant of the model to the same data; `changes` are fields of `ModelSpec`."""
        return type(self).of_tables(self.tables, replace(self.spec, **changes))

    def at_phi(self, phi: FloatArray) -> ResidualFit:
        """Return the same data and relative covariances at another phi, (q,)."""
        phi = np.asarray(phi, dtype=np.float64)
        problem = self.problem_at(phi)
        return replace(
            self,
            products=self.tables.combined(phi, self.structure, self.spec.weighting),
            scaled_lambdas=tuple(problem.scaled_lambdas(self.lambdas)),
            report=_GIVEN,
            phi=phi,
            _cache={"problem": problem},
        )

    def with_phi_held(self, held: Mapping[int, float]) -> ResidualFit:
        """Fit the same model to the same data with some entries of phi held."""
        return type(self).of_tables(self.tables, self.spec, None, held)

    def criterion_at(self, theta: FloatArray, phi: FloatArray | None = None) -> float:
        """Evaluate the profiled criterion at any theta, and phi, (q,), as `Fit.criterion_at`."""
        if phi is None:
            return super().criterion_at(theta)
        moved = self.at_phi(phi)
        return evaluate(moved.problem, moved.scaled_lambdas_at(theta)).criterion

    def _arranged(self) -> Problem:
        return self.problem_at(self.phi)

    def problem_at(self, phi: FloatArray) -> Problem:
        """Return the criterion at any phi, (q,), in units that do not depend on it."""
        return self._tabled.at(phi)

    def phi_gradient(
        self, phi: FloatArray, evaluation: Evaluation, middle: FloatArray
    ) -> FloatArray:
        """Return the derivative of the criterion in phi, (q,), at an evaluation of `problem_at`.

        `middle` is W_m, (p + 1, p + 1), which sigma and coefficients that are given may change.
        """
        return PhiDerivatives(self._tabled, evaluation, middle).gradient

    @property
    def _tabled(self) -> ResidualProblem:
        """The tables in these units."""
        return self.cached(
            "tabled", lambda: ResidualProblem.of(self.tables, self.spec, self.structure)
        )

    @property
    def squared_distance(self) -> float:
        """Squares of the response over those within levels, where these lie far apart."""
        return squared_distance(self._tabled.independent)

    @property
    def heaviest(self) -> float:
        """The largest weight of a table."""
        return float(np.abs(self._tabled.weighing(self.phi).weights).max())

    @property
    def relative_rounding(self) -> float:
        """Relative error to expect in sigma^2 from rounding, of tables that cancel too."""
        squares = np.abs(self._tabled.gram[:, -1, -1])
        summed = np.abs(self._tabled.weighing(self.phi).weights) @ squares
        of_tables = float(summed / self.optimum.square) * 2.0**-52
        return max(self.optimum.relative_rounding, of_tables)

    @property
    def row_products(self) -> CrossProducts:
        """Cross-products of the rows, as if their residuals were alike and independent."""
        return self.tables.base

    @property
    def mean_residual_variance(self) -> float:
        """Mean of the residual variances of rows of weight one, in squared units of y."""
        counts = self.tables.counts_for(self.spec.weighting)
        keys = np.array(self.tables.keys)
        return self.sigma2 * self.structure.mean_square(self.phi, keys, counts)

    @property
    def residual_parameters(self) -> tuple[ResidualParameter, ...]:
        """Parameters of the residual structure, by name."""
        return self.structure.parameters(self.phi)

    @property
    def curvature(self) -> JointCurvature:
        """Second derivatives of the criterion in theta and phi, and first ones of beta's errors."""
        return self.cached("curvature", self._curvature)

    def _curvature(self) -> JointCurvature:
        return joint_curvature(self._tabled, self.evaluation, self.phi)

    @property
    def n_parameters(self) -> int:
        """Independent coefficients, entries of theta, those of phi, and the residual variance."""
        return super().n_parameters + len(self.phi)

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood, restricted for a REML fit; without random terms, too, as R's gls."""
        return -0.5 * (self.criterion - self.penalty)
