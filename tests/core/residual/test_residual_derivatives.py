"""Derivatives of the criterion in theta and phi against differences, and searches with phi held."""

import numpy as np
import pytest

from skmixed.core.model.evaluation import evaluate
from skmixed.core.residual.joint_derivatives import joint_curvature, joint_gradient, joint_model
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_problem import ResidualProblem
from skmixed.core.search.coordinates import Coordinates
from tests.core.residual.series_designs import STRUCTURES, SeriesDesign, structure_of


class Point:
    """The criterion of a design near a fixed theta and phi."""

    def __init__(self, name, factors, method="reml", seed=3):
        design = SeriesDesign.drawn(seed, factors, whole="car1" not in name, n_series=20)
        self.problem = ResidualProblem.of(design.tables(structure_of(name)), design.spec(method))
        self.coordinates = Coordinates.natural(self.problem.independent.structures)
        self.t = sum(s.n_theta for s in self.problem.independent.structures)
        q = self.problem.structure.n_phi
        self.x = np.concatenate([np.linspace(0.9, 0.5, self.t), np.linspace(0.3, -0.2, q)])

    def evaluation(self, x):
        lambdas = self.coordinates.lambdas(x[: self.t])
        return evaluate(self.problem.at(x[self.t :]), lambdas)

    def differences(self, function, step=1e-5):
        steps = step * np.eye(len(self.x))
        ends = [(function(self.x + s), function(self.x - s)) for s in steps]
        return np.array([(ahead - behind) / (2 * step) for ahead, behind in ends])

    def gradient(self, x):
        return joint_gradient(self.problem, self.evaluation(x), self.coordinates, x[: self.t])


@pytest.mark.parametrize("factors", ["chain", "crossed"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_gradient_is_that_of_differences(name, factors):
    point = Point(name, factors)
    wanted = point.differences(lambda x: point.evaluation(x).criterion)
    found = point.gradient(point.x)
    assert found == pytest.approx(wanted, abs=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("factors", ["none", "slope", "uncorrelated"])
@pytest.mark.parametrize("name", ["ar1 var power", "car1", "cs var"])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_second_derivatives_are_those_of_differences(name, factors, method):
    point = Point(name, factors, method)
    wanted = point.differences(point.gradient)
    evaluation = point.evaluation(point.x)
    theta = point.x[: point.t]
    gradient, found = joint_model(point.problem, evaluation, point.coordinates, theta)
    assert gradient == pytest.approx(point.gradient(point.x), rel=1e-10)
    assert found == pytest.approx(wanted, abs=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("factors", ["none", "slope", "chain", "crossed"])
def test_curvature_has_the_derivatives_of_errors_and_of_the_residual(factors):
    point = Point("ar1 var", factors)
    found = joint_curvature(point.problem, point.evaluation(point.x), point.x[point.t :])
    errors = point.differences(lambda x: point.evaluation(x).beta_covariance)
    assert found.slopes == pytest.approx(errors, abs=1e-6 * np.abs(errors).max())
    degrees = point.problem.independent.degrees
    shares = -degrees * point.differences(lambda x: np.log(point.evaluation(x).square))
    assert found.shares == pytest.approx(shares, abs=1e-6 * np.abs(shares).max())
    hessian = point.differences(point.gradient, 1e-4)
    assert found.hessian == pytest.approx(hessian, abs=1e-5 * np.abs(hessian).max())


@pytest.mark.parametrize("factors", ["none", "slope", "crossed"])
def test_phi_may_be_held(factors):
    design = SeriesDesign.drawn(3, factors, n_series=20)
    fit = ResidualFit.of_tables(design.tables(structure_of("ar1 var")), design.spec())
    same = fit.with_phi_held({0: float(fit.phi[0])})
    assert same.criterion == pytest.approx(fit.criterion, abs=1e-7)
    held = fit.with_phi_held({0: float(fit.phi[0]) + 0.4})
    assert held.phi[0] == float(fit.phi[0]) + 0.4
    assert held.criterion > fit.criterion + 1e-3
    for step in (-0.01, 0.01):
        moved = held.phi + np.array([0.0, step, 0.0])
        assert held.criterion_at(held.theta, moved) > held.criterion - 1e-8


@pytest.mark.parametrize("name", ["ar1", "cs var", "car1 power"])
def test_ends_of_a_search_are_stationary(name):
    design = SeriesDesign.drawn(6, "chain", whole="car1" not in name, n_series=30)
    fit = ResidualFit.of_tables(design.tables(structure_of(name)), design.spec())
    assert fit.report.converged
    coordinates = Coordinates.natural(fit.problem.structures)
    theta = coordinates.read(list(fit.scaled_lambdas))
    problem = ResidualProblem.of(fit.tables, fit.spec, fit.structure)
    at = evaluate(problem.at(fit.phi), fit.problem.scaled_lambdas(fit.lambdas))
    assert joint_gradient(problem, at, coordinates, theta) == pytest.approx(0.0, abs=1e-3)
