"""A structure that is not linear in theta goes the way of all others.

Measurements at five visits of every subject, whose effects are autoregressive over the visits.
"""

import numpy as np
import pytest
from scipy.optimize import minimize

from skmixed.core.batch.refits import refit_responses
from skmixed.core.batch.responses import ScaledResponses, draw_responses, replicate_problem
from skmixed.core.fit import Fit
from skmixed.core.model.evaluation import evaluate
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.model.structures import STRUCTURES
from skmixed.core.search.coordinates import Coordinates, local_model, theta_gradient
from skmixed.core.search.em import EM
from skmixed.core.search.newton import Newton
from skmixed.core.search.state import em_step
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from skmixed.inference.components import components_of
from tests.core.autoregressive import Autoregressive
from tests.core.optimum import best_of_other_searches
from tests.oracle import dense_fit, levels_to_columns

N_SUBJECTS, N_VISITS, N_ROWS, N_SITES = 12, 5, 100, 4
VISITS = tuple(range(1, N_VISITS + 1))


@pytest.fixture(autouse=True)
def autoregressive(monkeypatch):
    monkeypatch.setitem(STRUCTURES, "autoregressive", Autoregressive)


def draw(seed, d=1.5, r=0.7, *, with_site=False, method="reml"):
    """Draw rows of subjects at visits, some several times; return them with a model."""
    rng = np.random.default_rng(seed)
    subject = np.unique(rng.integers(0, N_SUBJECTS, N_ROWS), return_inverse=True)[1]
    site = np.arange(N_ROWS) % N_SITES
    visits = np.eye(N_VISITS)[rng.integers(0, N_VISITS, N_ROWS)]
    lags = np.abs(np.subtract.outer(np.arange(N_VISITS), np.arange(N_VISITS)))
    root = d * np.linalg.cholesky(r**lags)
    effects = rng.standard_normal((N_SUBJECTS, N_VISITS)) @ root.T
    y = 1.0 + (visits * effects[subject]).sum(axis=1) + rng.standard_normal(N_ROWS)
    y += with_site * rng.standard_normal(N_SITES)[site]
    columns = np.column_stack([np.ones(N_ROWS), visits, y])
    names = ("(Intercept)", *[f"visit{n}" for n in VISITS], "y")
    factors = FactorLayout(("subject",), (0, *VISITS)), FactorLayout(("site",), (0,))
    indexes = tuple(
        GroupIndex(factor.key, (np.arange(code.max() + 1),))
        for factor, code in zip(factors, (subject, site), strict=True)
    )
    terms = (Term(0, VISITS, "autoregressive"), Term(1, (0,)))[: 1 + with_site]
    products = CrossProducts.of(
        Layout(names, factors), Rows(columns, (subject, site), indexes, None)
    )
    return products, ModelSpec((0,), terms, method), (y, columns[:, 1:-1], subject)


@pytest.mark.parametrize("with_site", [False, True])
def test_gradient_and_hessian_in_theta(with_site):
    products, spec, _ = draw(0, with_site=with_site)
    problem = Problem.of(products, spec)
    coordinates = Coordinates.natural(problem.structures)
    theta = np.array([0.8, 1.1, 0.6])[: 2 + with_site]

    def found(at):
        return evaluate(problem, coordinates.lambdas(at))

    steps = 1e-5 * np.eye(len(theta))
    slope, hessian = local_model(found(theta), coordinates, theta)
    ends = [(found(theta + s), found(theta - s)) for s in steps]
    differences = [(up.criterion - down.criterion) / 2e-5 for up, down in ends]
    np.testing.assert_allclose(slope, differences, rtol=1e-6, atol=1e-5)
    if not with_site:  # of several factors it is the average information
        slopes = [
            theta_gradient(found(theta + s), coordinates, theta + s)
            - theta_gradient(found(theta - s), coordinates, theta - s)
            for s in steps
        ]
        np.testing.assert_allclose(hessian, np.array(slopes) / 2e-5, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize(("seed", "d", "r"), [(1, 1.5, 0.7), (2, 0.7, -0.5), (3, 2.0, 0.0)])
def test_newton_arrives_at_the_dense_optimum(seed, d, r, method):
    products, spec, (y, visits, subject) = draw(seed, d, r, method=method)
    fit = Fit.of(products, spec)
    structure = Autoregressive(N_VISITS)
    Z = levels_to_columns(subject, visits, subject.max() + 1)
    X = np.ones((N_ROWS, 1))

    def dense(theta):
        lam = structure.lam(theta, structure.natural_order)
        return dense_fit(y, X, [Z], [lam], reml=method == "reml")

    searches = [
        minimize(lambda theta: dense(theta).criterion, [1.0, x], method="Nelder-Mead",
                 options={"xatol": 1e-7, "fatol": 1e-11})
        for x in (-1.5, 1.5)
    ]  # fmt: skip
    best = min(searches, key=lambda search: search.fun)
    assert fit.report.converged
    assert fit.report.n_evaluations < 60
    assert fit.criterion == pytest.approx(best.fun, abs=1e-8)
    np.testing.assert_allclose(fit.theta, [abs(best.x[0]), best.x[1]], atol=1e-4)
    truth = dense(fit.theta)
    assert fit.criterion == pytest.approx(truth.criterion, abs=1e-9)
    np.testing.assert_allclose(fit.modes[0], truth.modes[0], atol=1e-9)
    assert fit.criterion_at(fit.theta) == pytest.approx(fit.criterion, abs=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_no_other_search_finds_a_lower_criterion_with_a_second_factor(seed):
    products, spec, _ = draw(seed, with_site=True)
    fit = Fit.of(products, spec)
    assert fit.report.converged
    assert fit.criterion <= best_of_other_searches(fit.problem, seed) + 1e-6


def test_a_variance_of_zero_is_an_optimum():
    """Effects of the visits that are the same for all subjects but for noise of no variance."""
    products, spec, _ = draw(8, d=0.0)
    fit = Fit.of(products, spec)
    assert fit.report.converged
    assert fit.criterion <= best_of_other_searches(fit.problem, 0) + 1e-6


def test_em_lowers_the_criterion_and_ends_at_the_same_optimum():
    products, spec, _ = draw(4)
    problem = Problem.of(products, spec)
    coordinates = Coordinates.natural(problem.structures)
    evaluation = evaluate(problem, [np.eye(N_VISITS)])
    for _ in range(20):
        before = evaluation.criterion
        omegas = em_step(evaluation)
        evaluation = evaluate(problem, coordinates.lambdas(coordinates.theta(omegas)))
        assert evaluation.criterion <= before + evaluation.rounding
    found = EM().solve(problem)[0].criterion
    assert found == pytest.approx(Newton().solve(problem)[0].criterion, abs=1e-8)


def test_lockstep_arrives_where_newton_does():
    products, spec, _ = draw(5)
    fit = Fit.of(products, spec)
    responses = draw_responses(fit, 20, np.random.default_rng(0))
    refits, scaled = refit_responses(fit, responses), ScaledResponses.of(fit, responses)
    assert refits.converged.all()
    for number in range(20):
        problem = replicate_problem(fit, scaled, number)
        best = Newton().solve(problem)[0].criterion
        ours = evaluate(problem, [refits.scaled_lambdas[0][number]]).criterion
        assert ours <= best + 1e-6


def test_what_is_estimated_has_names():
    products, spec, _ = draw(6)
    fit = Fit.of(products, spec)
    found = {component.name: component.estimate for component in components_of(fit)}
    d, x = fit.theta
    assert found["sd_visit1,visit2,visit3,visit4,visit5|subject"] == pytest.approx(
        d * np.sqrt(fit.sigma2)
    )
    assert found["cor_visit2.visit1|subject"] == pytest.approx(np.tanh(x / 2.0))
    assert fit.n_parameters == 4
