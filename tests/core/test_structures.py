"""Every covariance structure goes the way of all others.

Measurements at five visits of every subject, whose effects vary together over the visits.
"""

import numpy as np
import pytest

from skmixed.core.batch.refits import refit_responses
from skmixed.core.batch.responses import ScaledResponses, draw_responses, replicate_problem
from skmixed.core.fit import Fit
from skmixed.core.model.dense import DenseStack
from skmixed.core.model.evaluation import evaluate, exact_hessian
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.model.structures.named import STRUCTURES, structure_named
from skmixed.core.search.coordinates import Coordinates, theta_gradient
from skmixed.core.search.em import EM
from skmixed.core.search.newton import Newton
from skmixed.core.search.state import em_step
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from skmixed.inference.components import components_of
from tests.core.optimum import best_of_other_searches
from tests.oracle import dense_fit, levels_to_columns

N_SUBJECTS, N_VISITS, N_ROWS, N_SITES = 12, 5, 100, 4
VISITS = tuple(range(1, N_VISITS + 1))


NAMES = [*list(STRUCTURES)[3:], "rr(1)", "rr(3)"]


def draw(seed, d=1.5, r=0.7, *, name="ar1", with_site=False, method="reml", times=1):
    """Draw rows of subjects at visits, some several times; return them with a model."""
    rng, n = np.random.default_rng(seed), times * N_ROWS
    subject = np.unique(rng.integers(0, times * N_SUBJECTS, n), return_inverse=True)[1]
    site = np.arange(n) % N_SITES
    visits = np.eye(N_VISITS)[rng.integers(0, N_VISITS, n)]
    lags = np.abs(np.subtract.outer(np.arange(N_VISITS), np.arange(N_VISITS)))
    root = d * np.linalg.cholesky(r**lags)
    effects = rng.standard_normal((times * N_SUBJECTS, N_VISITS)) @ root.T
    y = 1.0 + (visits * effects[subject]).sum(axis=1) + rng.standard_normal(n)
    y += with_site * rng.standard_normal(N_SITES)[site]
    columns = np.column_stack([np.ones(n), visits, y])
    names = ("(Intercept)", *[f"visit{n}" for n in VISITS], "y")
    factors = FactorLayout(("subject",), (0, *VISITS)), FactorLayout(("site",), (0,))
    indexes = tuple(
        GroupIndex(factor.key, (np.arange(code.max() + 1),))
        for factor, code in zip(factors, (subject, site), strict=True)
    )
    terms = (Term(0, VISITS, name), Term(1, (0,)))[: 1 + with_site]
    products = CrossProducts.of(
        Layout(names, factors), Rows(columns, (subject, site), indexes, None)
    )
    return products, ModelSpec((0,), terms, method), (y, columns[:, 1:-1], subject)


def draw_parameters(structures, seed):
    """Draw theta of factors side by side, all of its entries being felt."""
    rng = np.random.default_rng(seed)
    parts = [
        np.where(s.angles, rng.uniform(0.3, 1.2, s.n_theta), rng.uniform(0.7, 1.3, s.n_theta))
        for s in structures
    ]
    return np.concatenate(parts)


@pytest.mark.parametrize("with_site", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_gradient_and_hessian_in_theta(name, with_site):
    products, spec, _ = draw(0, name=name, with_site=with_site)
    problem = Problem.of(products, spec)
    coordinates = Coordinates.natural(problem.structures)
    theta = draw_parameters(problem.structures, 1)

    def found(at):
        return evaluate(problem, coordinates.lambdas(at))

    def slope(at):
        return theta_gradient(found(at), coordinates, at)

    steps = 1e-5 * np.eye(len(theta))
    ends = [(found(theta + s), found(theta - s)) for s in steps]
    differences = [(up.criterion - down.criterion) / 2e-5 for up, down in ends]
    np.testing.assert_allclose(slope(theta), differences, rtol=1e-6, atol=1e-5)
    slopes = np.array([slope(theta + s) - slope(theta - s) for s in steps]) / 2e-5
    directions = coordinates.directions(theta)
    if not with_site:
        exact = exact_hessian(found(theta), list(enumerate(directions)))
        exact += coordinates.curvature(theta, found(theta).gradient)
        np.testing.assert_allclose(exact, slopes, rtol=1e-5, atol=1e-4)
    else:
        order = np.concatenate(coordinates.joint_orders())
        point = DenseStack.of(problem, 1).evaluate(theta[None], order[None])
        np.testing.assert_allclose(point.slope[0], differences, rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(point.hessian[0], slopes, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("name", NAMES)
def test_the_fit_is_that_of_dense_algebra(name, method):
    products, spec, (y, visits, subject) = draw(1, name=name, method=method)
    fit = Fit.of(products, spec)
    structure = structure_named(name, N_VISITS)
    Z = levels_to_columns(subject, visits, subject.max() + 1)

    def dense(theta):
        lam = structure.lam(theta, structure.natural_order)
        return dense_fit(y, np.ones((N_ROWS, 1)), [Z], [lam], reml=method == "reml")

    truth = dense(fit.theta)
    assert fit.report.converged
    assert fit.criterion == pytest.approx(truth.criterion, abs=1e-9)
    np.testing.assert_allclose(fit.modes[0], truth.modes[0], atol=1e-7)
    assert fit.criterion_at(fit.theta) == pytest.approx(fit.criterion, abs=1e-9)
    rng = np.random.default_rng(0)
    for size in (1e-2, 0.3):
        others = fit.theta + size * rng.standard_normal((10, len(fit.theta)))
        assert all(dense(other).criterion > fit.criterion - 1e-8 for other in others)


@pytest.mark.parametrize("name", NAMES)
def test_no_other_search_finds_a_lower_criterion(name):
    products, spec, _ = draw(2, name=name)
    fit = Fit.of(products, spec)
    assert fit.report.converged
    assert fit.criterion <= best_of_other_searches(fit.problem, 2, 3) + 1e-6


@pytest.mark.parametrize("name", ["homcs", "hetar1", "toep", "rr"])
def test_no_other_search_finds_a_lower_criterion_with_a_second_factor(name):
    products, spec, _ = draw(5, name=name, with_site=True)
    fit = Fit.of(products, spec)
    assert fit.report.converged
    assert fit.criterion <= best_of_other_searches(fit.problem, 5, 2) + 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_a_variance_of_zero_is_an_optimum(name):
    """There are no effects of the visits at all, whatever their covariance."""
    products, spec, _ = draw(8, d=0.0, name=name)
    fit = Fit.of(products, spec)
    assert fit.report.converged
    assert fit.criterion <= best_of_other_searches(fit.problem, 0, 2) + 1e-6


@pytest.mark.parametrize("name", ["cs", "homtoep", "rr"])
def test_em_ends_at_the_same_optimum(name):
    products, spec, _ = draw(4, name=name)
    problem = Problem.of(products, spec)
    found = EM(max_iter=50).solve(problem)[0].criterion
    assert found >= Newton().solve(problem)[0].criterion - 1e-7


@pytest.mark.parametrize("name", ["cs", "ar1", "toep"])
def test_em_lowers_the_criterion(name):
    products, spec, _ = draw(4, name=name)
    problem = Problem.of(products, spec)
    coordinates = Coordinates.natural(problem.structures)
    evaluation = evaluate(problem, [np.eye(N_VISITS)])
    for _ in range(10):
        before = evaluation.criterion
        omegas = em_step(evaluation)
        evaluation = evaluate(problem, coordinates.lambdas(coordinates.theta(omegas)))
        assert evaluation.criterion <= before + evaluation.rounding


@pytest.mark.parametrize("name", ["cs", "ar1", "homtoep", "rr"])
def test_lockstep_arrives_where_newton_does(name):
    products, spec, _ = draw(5, name=name, times=5)
    fit = Fit.of(products, spec)
    responses = draw_responses(fit, 4, np.random.default_rng(0))
    refits, scaled = refit_responses(fit, responses), ScaledResponses.of(fit, responses)
    for number in range(4):
        problem = replicate_problem(fit, scaled, number)
        best = Newton().solve(problem)[0].criterion
        ours = evaluate(problem, [refits.scaled_lambdas[0][number]]).criterion
        assert ours <= best + 1e-6


def test_what_is_estimated_has_names():
    products, spec, _ = draw(6)
    fit = Fit.of(products, spec)
    found = {component.name: component.estimate for component in components_of(fit)}
    d, x = fit.theta
    assert found["sd_visit1,...,visit5|subject"] == pytest.approx(d * np.sqrt(fit.sigma2))
    assert found["cor_visit2.visit1|subject"] == pytest.approx(np.sin(x))
    assert fit.n_parameters == 4
