"""Terms of many random columns: derivatives, optima and what does not depend on how they stand."""

import numpy as np
import pytest

from skmixed.core.elimination import levels
from skmixed.core.fit import Fit
from skmixed.core.model.dense import DenseStack
from skmixed.core.model.evaluation import average_information, evaluate, exact_hessian
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.model.stack import LockstepData
from skmixed.core.search.coordinates import Coordinates, theta_gradient
from skmixed.core.search.newton import Newton
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows

STEP = 1e-5


def crossproducts(columns, y, codes):
    """Sum rows over factors that all carry all columns, the first of which is constant."""
    table = np.ascontiguousarray(np.column_stack([columns, y]))
    names = tuple(f"c{number}" for number in range(table.shape[1]))
    carried = tuple(range(table.shape[1] - 1))
    factors, indexes, places = [], [], []
    for number, code in enumerate(codes):
        labels, place = np.unique(code, return_inverse=True)
        factors.append(FactorLayout((f"f{number}",), carried))
        indexes.append(GroupIndex((f"f{number}",), (labels,)))
        places.append(place.astype(np.intp))
    layout = Layout(names, tuple(factors))
    return CrossProducts.of(layout, Rows(table, tuple(places), tuple(indexes), None))


def draw(seed, k, *numbers, n=150):
    """Draw rows with k columns beside the constant, and one factor for each number of levels."""
    rng = np.random.default_rng(seed)
    columns = np.column_stack([np.ones(n), rng.standard_normal((n, k)) / np.arange(1, k + 1)])
    codes = [rng.integers(0, number, n) for number in numbers]
    y = rng.standard_normal(n)
    for code, number in zip(codes, numbers, strict=True):
        y += (columns * rng.standard_normal((number, k + 1))[code]).sum(axis=1) / 2.0
    return columns, y, codes


def spec_of(*terms, method="reml"):
    return ModelSpec((0, 1), terms, method, "precision")


WIDE_TERMS = {
    "two curves": ([1], [Term(0, tuple(range(1, 10)), "identity"), Term(0, (10, 11), "identity")]),
    "curves of groups": ([7], [Term(0, tuple(range(2, 11)), "identity"), Term(0, (0, 1))]),
    "free": ([30], [Term(0, tuple(range(9)))]),
    "diagonal": ([12], [Term(0, tuple(range(9)), "diagonal")]),
    "curves and groups": ([9, 1], [Term(0, (0,)), Term(1, tuple(range(1, 10)), "identity")]),
    "crossed": ([9, 7], [Term(f, tuple(range(8 + f)), "diagonal") for f in (0, 1)]),
}


def model(name, method="reml"):
    numbers, terms = WIDE_TERMS[name]
    columns, y, codes = draw(len(name), 11, *numbers)
    spec = spec_of(*terms, method=method)
    return Problem.of(crossproducts(columns, y, codes), spec), spec


def by_differences(function, theta):
    """Return central differences of a function of theta, one a row."""
    steps = STEP * np.eye(len(theta))
    return np.array([(function(theta + s) - function(theta - s)) / (2.0 * STEP) for s in steps])


@pytest.fixture(params=["by level", "by halves"])
def way(request, monkeypatch):
    """How many columns are factored and multiplied."""
    if request.param == "by halves":
        monkeypatch.setattr(levels, "_FEW_LEVELS", 0)
        monkeypatch.setattr(levels, "_MANY_PRODUCTS", 0)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("name", WIDE_TERMS)
def test_derivatives_of_many_columns_are_differences(name, method, way):
    problem, _ = model(name, method)
    coordinates = Coordinates.natural(problem.structures)
    rng = np.random.default_rng(0)
    theta = rng.uniform(0.3, 1.2, coordinates.places[-1].stop)
    theta[0] *= method == "ml"  # once inside, once on the boundary

    def at(theta):
        return evaluate(problem, coordinates.lambdas(theta))

    def gradient(theta):
        return theta_gradient(at(theta), coordinates, theta)

    found = at(theta)
    slopes = by_differences(lambda theta: at(theta).criterion, theta)
    np.testing.assert_allclose(gradient(theta), slopes, rtol=0, atol=1e-6 * np.abs(slopes).max())
    numbered = list(enumerate(coordinates.directions(theta)))
    curvature = coordinates.curvature(theta, found.gradient)
    second = by_differences(gradient, theta)
    unit = np.abs(second).max()
    if len(numbered) == 1:
        exact = exact_hessian(found, numbered) + curvature
        np.testing.assert_allclose(exact, second, rtol=0, atol=1e-6 * unit)
        stack = LockstepData.of(problem, 2).evaluate(
            np.tile(theta, (2, 1)), np.tile(coordinates.orders[0], (2, 1))
        )
        np.testing.assert_allclose(stack.hessian[1], second, rtol=0, atol=1e-6 * unit)
    dense = DenseStack.of(problem, 1).evaluate(
        theta[None], np.concatenate(coordinates.joint_orders())[None]
    )
    np.testing.assert_allclose(dense.criterion[0] + problem.constant, found.criterion, rtol=1e-11)
    np.testing.assert_allclose(dense.hessian[0], second, rtol=0, atol=1e-6 * unit)
    values = np.linalg.eigvalsh(average_information(found, numbered))
    assert values[0] > -1e-9 * values[-1]


@pytest.mark.parametrize("name", WIDE_TERMS)
def test_the_optimum_is_that_of_dense_algebra(name):
    """No step along any parameter lowers the criterion of the marginal covariance of all rows."""
    numbers, terms = WIDE_TERMS[name]
    columns, y, codes = draw(len(name), 11, *numbers)
    fit = Fit.of(crossproducts(columns, y, codes), spec_of(*terms))
    assert fit.report.converged

    def criterion(theta):
        covariance, start = np.eye(len(y)), 0
        for term in fit.ordered_terms:
            stop = start + term.structure.n_theta
            root = term.structure.lam(theta[start:stop], term.structure.natural_order)
            z = columns[:, list(term.columns)] @ root
            code = codes[term.factor]
            covariance += (z @ z.T) * (code[:, None] == code)
            start = stop
        inverse = np.linalg.inv(covariance)
        X = columns[:, :2]
        information = X.T @ inverse @ X
        rest = y - X @ np.linalg.solve(information, X.T @ inverse @ y)
        degrees = len(y) - 2
        sigma2 = rest @ inverse @ rest / degrees
        return (
            np.linalg.slogdet(covariance)[1]
            + np.linalg.slogdet(information)[1]
            + degrees * (1.0 + np.log(2.0 * np.pi * sigma2))
        )

    theta = fit.theta
    lowest = criterion(theta)
    np.testing.assert_allclose(fit.criterion, lowest, rtol=1e-10)
    for number in range(len(theta)):
        for step in (-0.02, 0.02):
            assert criterion(theta + step * (np.arange(len(theta)) == number)) > lowest - 1e-8


def test_curves_do_not_depend_on_their_order_or_unit():
    columns, y, codes = draw(3, 18, 1)
    halves = tuple(range(1, 10)), tuple(range(10, 19))
    spec = spec_of(*(Term(0, half, "identity") for half in halves))
    first = Fit.of(crossproducts(columns, y, codes), spec)
    swapped = np.column_stack([columns[:, :1], 8.0 * columns[:, 10:], columns[:, 1:10]])
    other = ModelSpec((0, 10), spec.terms, "reml", "precision")
    second = Fit.of(crossproducts(swapped, y, codes), other)
    np.testing.assert_allclose(second.criterion, first.criterion, rtol=1e-11)
    np.testing.assert_allclose(second.theta * [8.0, 1.0], first.theta[::-1], rtol=1e-5, atol=1e-7)


def test_a_curve_that_looks_like_noise_at_first_is_followed():
    """From MINQUE(0) alone the search ends where a spike is noise."""
    rng = np.random.default_rng(21)
    x = np.sort(rng.uniform(size=100))
    y = 30.0 * np.exp(-(((x - 0.5) / 0.02) ** 2)) + rng.standard_normal(100)
    waves = np.cos(np.pi * np.outer(x, np.arange(1, 25))) / np.arange(1, 25) ** 2
    columns = np.column_stack([np.ones(100), x, waves])
    products = crossproducts(columns, y, [np.zeros(100)])
    spec = spec_of(Term(0, tuple(range(2, 26)), "identity"))
    fit = Fit.of(products, spec)
    ends = [
        Newton().solve(fit.problem, [10.0**power * np.eye(24)])[0].criterion
        for power in range(-4, 9, 2)
    ]
    assert fit.criterion < min(ends) + 1e-6
    assert max(ends) > min(ends) + 1.0
    assert fit.report.n_evaluations < 60


def test_a_search_with_more_effects_than_rows_ends_early_and_says_so():
    products = crossproducts(*draw(5, 19, 30, n=200))
    spec = ModelSpec((0,), (Term(0, tuple(range(20))),))
    report = Fit.of(products, spec).report
    assert not report.converged
    assert report.n_evaluations < 120  # of 200
    assert "210 parameters takes too long and was ended early" in report.message
