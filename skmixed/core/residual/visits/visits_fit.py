"""The repeated-measures model: a fit whose residuals covary over visits, without random effects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.model.evaluation import Evaluation
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import ModelSpec
from skmixed.core.residual.joint_derivatives import JointCurvature
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_problem import check_determined
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.residual.visits.small_samples import FixedTerms, fixed_terms
from skmixed.core.residual.visits.visits_likelihood import (
    VisitEvaluation,
    VisitModel,
    evaluate_visits,
)
from skmixed.core.residual.visits.visits_search import VisitSearch, local_model
from skmixed.core.residual.visits.visits_structure import VisitStructure
from skmixed.core.residual.visits.visits_tables import VisitTables
from skmixed.core.search.newton import Newton
from skmixed.core.search.report import SolverReport

_GIVEN = SolverReport("none", True, 0, "phi was given", ())


@dataclass(frozen=True, eq=False)
class VisitsFit(ResidualFit):
    """A linear model of subjects at planned visits, which any of their residuals covary over.

    `sigma2` is the residual variance of the first visit.
    """

    tables: VisitTables = field(kw_only=True)
    structure: VisitStructure = field(kw_only=True)

    @classmethod
    def of_tables(
        cls,
        tables: ResidualTables,
        spec: ModelSpec,
        solver: Newton | None = None,
        held: Mapping[int, float] | None = None,
        near: ResidualFit | None = None,
    ) -> VisitsFit:
        """Search for phi, some entries of which may be held at given values.

        The search begins where a fit of the same model to like data, `near`, has ended. Raises
        ValueError where the likelihood has no maximum, or the sums do not tell phi.
        """
        assert isinstance(tables, VisitTables)
        tables.counts_for(spec.weighting)
        newton = solver or Newton()
        model = VisitModel.of(tables.sums, tables.base, spec)
        check_determined(model.independent)
        search = VisitSearch(newton.tol, newton.max_iter, newton.callback)
        begin = None
        if near is not None and near.structure == tables.structure:
            begin = near.phi
        phi, _, report = search.solve(model, tables.structure, held, begin)
        products = tables.combined(phi, tables.structure, spec.weighting)
        return cls(products, spec, (), report, tables=tables, structure=tables.structure, phi=phi)

    @property
    def model(self) -> VisitModel:
        """The sums in scaled units."""
        return self.cached(
            "model", lambda: VisitModel.of(self.tables.sums, self.tables.base, self.spec)
        )

    @property
    def at_visits(self) -> VisitEvaluation:
        """The model at the estimates, in scaled units."""
        sigma = self.structure.covariance(self.phi)
        return self.cached("at visits", lambda: evaluate_visits(self.model, sigma))

    @property
    def visit_covariance(self) -> FloatArray:
        """Covariance matrix of the residuals of the visits, (V, V), in squared units of y."""
        return np.asarray(self.sigma2 * self.structure.covariance(self.phi))

    @property
    def mean_residual_variance(self) -> float:
        """Mean of the residual variances of rows of weight one, in squared units of y."""
        rows = self.tables.sums.at_visits
        return float(self.visit_covariance.diagonal() @ rows / rows.sum())

    def at_phi(self, phi: FloatArray) -> VisitsFit:
        phi = np.asarray(phi)
        products = self.tables.combined(phi, self.structure, self.spec.weighting)
        cache = {"model": self.model}
        return replace(self, products=products, report=_GIVEN, _cache=cache, phi=phi)

    def problem_at(self, phi: FloatArray) -> Problem:
        evaluation = evaluate_visits(self.model, self.structure.covariance(phi))
        origin = self.model.independent
        model = replace(origin.model, gram=evaluation.lower @ evaluation.lower.T, within=None)
        constant = origin.constant + evaluation.log_det
        return replace(origin, model=model, constant=constant)

    def phi_gradient(
        self, phi: FloatArray, evaluation: Evaluation, middle: FloatArray
    ) -> FloatArray:
        at_visits = evaluate_visits(self.model, self.structure.covariance(phi))
        change = (at_visits.information - at_visits.spread(middle)).sum(axis=0)
        return np.tensordot(self.structure.slopes(phi), change, 2)

    def _curvature(self) -> JointCurvature:
        evaluation, slopes = self.at_visits, self.structure.slopes(self.phi)
        forms = evaluation.forms(slopes)
        root = evaluation.root[:-1, :-1]
        return JointCurvature(
            local_model(evaluation, self.structure, self.phi)[1],
            -evaluation.model.degrees * forms[:, -1, -1],
            -root.T @ forms[:, :-1, :-1] @ root,
        )

    @property
    def fixed_terms(self) -> FixedTerms:
        """The terms of Kenward and Roger, along the covariance itself and its changes in phi."""
        return self.cached("fixed terms", self._fixed_terms)

    def _fixed_terms(self) -> FixedTerms:
        evaluation, slopes = self.at_visits, self.structure.slopes(self.phi)
        return fixed_terms(evaluation, np.concatenate([evaluation.sigma[None], slopes]))
