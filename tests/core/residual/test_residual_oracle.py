"""Fits of residual structures against the textbook's dense formulas."""

from dataclasses import replace

import numpy as np
import pytest

from skmixed.core.fit import Fit
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.residual.visits.visits_covariance import visit_structure
from tests.core.residual.series_designs import FACTORS, STRUCTURES, SeriesDesign, structure_of


def fitted(name, design, method):
    return ResidualFit.of_tables(design.tables(structure_of(name)), design.spec(method))


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("name", STRUCTURES)
def test_estimates_are_those_of_dense_algebra_at_the_same_parameters(name, factors, method):
    design = SeriesDesign.drawn(
        4, factors, whole="car1" not in name, n_series=20, weighted=bool(len(name) % 2)
    )
    fit = fitted(name, design, method)
    R = design.covariance_of_residuals(name, fit)
    dense, criterion = design.dense(R, fit.lambdas, reml=method == "reml")
    assert fit.criterion == pytest.approx(criterion, rel=1e-11)
    assert fit.beta == pytest.approx(dense.beta, rel=1e-8, abs=1e-9)
    assert fit.beta_covariance == pytest.approx(dense.beta_covariance, rel=1e-8, abs=1e-10)
    assert fit.sigma2 == pytest.approx(dense.sigma2, rel=1e-10)
    for mine, theirs in zip(fit.modes, dense.modes, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("name", STRUCTURES)
def test_no_parameter_near_the_optimum_is_better(name):
    design = SeriesDesign.drawn(5, "intercept", whole="car1" not in name)
    fit = fitted(name, design, "reml")
    for place in range(len(fit.phi)):
        for step in (-1e-3, 1e-3):
            moved = fit.phi + step * (np.arange(len(fit.phi)) == place)
            assert fit.criterion_at(fit.theta, moved) > fit.criterion - 1e-8


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_one_planned_visit_has_no_parameters_beside_a_random_term(method):
    design = SeriesDesign.drawn(6, "intercept")
    chosen = np.unique(design.series, return_index=True)[1]
    rows, residual_rows = design.rows(chosen)
    residual_rows = replace(residual_rows, position=np.zeros(len(chosen)))
    structure = visit_structure("us", ("only",), is_homogeneous=True)
    tables = ResidualTables.of(design.layout, rows, residual_rows, structure)
    fit = ResidualFit.of_tables(tables, design.spec(method))
    plain = Fit.of(tables.base, design.spec(method))
    assert fit.criterion == pytest.approx(plain.criterion, abs=1e-8)
    assert len(fit.phi) == 0
