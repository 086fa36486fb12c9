"""Derivatives against finite differences and the textbook's matrices, on the boundary too."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skmixed.core.elimination import coupling
from skmixed.core.model.evaluation import average_information, evaluate, exact_hessian
from skmixed.core.model.problem import Problem
from tests.core.designs import draw_lambdas, random_design
from tests.core.strategies import BOUNDARIES, SEEDS, designs, examples
from tests.core.textbook import Textbook, directions_of, finite_difference, moved

# Two formulas for the same number.
ROUNDING = 1e-8
# What is left of the digits after the differences of a five-point rule.
DIFFERENCES = 1e-6
STEP = 1e-3
SMALL_STEP = 1e-4
# Plain units are accurate in dense algebra, and these traits leave it so.
TRAITS = ["offset", "scaled", "collinear", "response offset", "response scale", "spare factor"]

RATIOS = st.sampled_from([None, 0.5, 3.0])  # of a given sigma^2 to the profiled one
METHODS = pytest.mark.parametrize("method", ["reml", "ml"])


class Point:
    """A design at given lambdas: the core's evaluation and the textbook's.

    sigma^2 is profiled out, or given as a multiple of what it would be then.
    """

    def __init__(self, design, lambdas, ratio=None):
        self.design = design
        self.problem = Problem.of(design.products(), design.spec)
        scaled = design.scaled_lambdas(self.problem, lambdas)
        self.evaluation = evaluate(self.problem, scaled)
        self.omegas = [lam @ lam.T for lam in lambdas]
        self.textbook = Textbook(design, self.omegas)
        self.sigma2 = None
        if ratio is not None:
            self.evaluation = evaluate(self.problem, scaled, ratio * self.evaluation.sigma2)
            self.sigma2 = ratio * self.textbook.sigma2
            self.textbook = Textbook(design, self.omegas, self.sigma2)
        self.sizes = [len(lam) for lam in lambdas]
        # plain effects = to_plain @ scaled effects
        self.to_plain = [
            np.linalg.inv(design.to_scaled(self.problem, n)) for n in range(len(lambdas))
        ]

    @property
    def directions(self):
        """The symmetric directions of the scaled Omega, as the core takes them."""
        result = []
        for factor, k in enumerate(self.sizes):
            matrices = [E for f, E in directions_of(self.sizes) if f == factor]
            result.append((factor, np.stack(matrices) if matrices else np.zeros((0, k, k))))
        return result

    @property
    def plain_directions(self):
        """The same in plain units."""
        return [
            (factor, self.to_plain[factor] @ E @ self.to_plain[factor].T)
            for factor, E in directions_of(self.sizes)
        ]


def assert_close(ours, theirs, rtol, unit=None):
    """Compare matrices in the unit of their largest entry."""
    unit = np.abs(theirs).max(initial=0.0) if unit is None else unit
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=rtol * max(unit, 1e-3))


def assert_gradient_agrees(design, lambdas, ratio=None):
    point = Point(design, lambdas, ratio)
    for factor, gradient in enumerate(point.evaluation.gradient):
        T = point.to_plain[factor]
        theirs = T.T @ point.textbook.gradients()[factor] @ T
        unit = np.abs(point.evaluation.factorisation.total_information(factor)).max()
        assert_close(gradient, theirs, ROUNDING, unit)
        np.testing.assert_allclose(gradient, gradient.T, rtol=0, atol=1e-10 * unit)


@examples(60)
@given(designs(traits=TRAITS), SEEDS, BOUNDARIES, RATIOS)
def test_gradient_equals_the_textbook(design, seed, boundary, ratio):
    lambdas = draw_lambdas(design, np.random.default_rng(seed), boundary)
    assert_gradient_agrees(design, lambdas, ratio)


@examples(30)
@given(designs(traits=TRAITS), SEEDS, BOUNDARIES)
def test_criterion_at_a_given_scale(design, seed, boundary):
    lambdas = draw_lambdas(design, np.random.default_rng(seed), boundary)
    profiled = Point(design, lambdas)
    for ratio in (0.3, 1.0, 4.0):
        given = Point(design, lambdas, ratio)
        assert given.evaluation.sigma2 == ratio * profiled.evaluation.sigma2
        ours = given.evaluation.criterion - profiled.evaluation.criterion
        theirs = given.textbook.criterion - profiled.textbook.criterion
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(given.evaluation.beta, profiled.evaluation.beta)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_needs_to_be_left_where_the_scale_is_given(seed):
    """Fixed columns explain the response exactly, as they may a working response."""
    design = random_design(seed, n_slopes=(1,), n_fixed=2)
    _, X, _ = design.dense_columns()
    beta = np.arange(1.0, X.shape[1] + 1.0)
    design = replace(design, response=X @ beta)
    lambdas = draw_lambdas(design, np.random.default_rng(0))
    problem = Problem.of(design.products(), design.spec)
    found = evaluate(problem, design.scaled_lambdas(problem, lambdas), 1.0)
    assert found.square < 1e-10 * problem.model.gram[-1, -1]
    shift = evaluate(problem, found.lambdas, 2.0).criterion - found.criterion
    np.testing.assert_allclose(shift, problem.degrees * np.log(2.0), rtol=1e-8)


@examples(25)
@given(designs(traits=TRAITS), SEEDS, RATIOS)
def test_gradient_is_the_slope_of_the_criterion(design, seed, ratio):
    point = Point(design, draw_lambdas(design, np.random.default_rng(seed)), ratio)
    scaled = [lam @ lam.T for lam in point.evaluation.lambdas]
    assume(all(np.linalg.eigvalsh(omega)[0] > 5 * STEP for omega in scaled))

    def criterion(direction, step):
        roots = [np.linalg.cholesky(omega) for omega in moved(scaled, direction, step)]
        return evaluate(point.problem, roots, point.evaluation.scale).criterion

    for factor, E in directions_of(point.sizes):
        slope = np.sum(point.evaluation.gradient[factor] * E)
        numeric = finite_difference(lambda h, d=(factor, E): criterion(d, h), STEP)
        np.testing.assert_allclose(slope, numeric, rtol=DIFFERENCES, atol=DIFFERENCES * 10)


@METHODS
@pytest.mark.parametrize("boundary", ["inside", "edge", "zero"])
def test_slope_of_the_textbook_is_that_of_its_criterion(method, boundary):
    design = random_design(
        8, relations=("crossed",), n_slopes=(1, 0), terms=("unstructured",) * 2,
        weights="fractional", method=method,
    )  # fmt: skip
    omegas = [lam @ lam.T for lam in draw_lambdas(design, np.random.default_rng(1), boundary)]
    textbook = Textbook(design, omegas)
    for direction in directions_of([2, 1]):
        numeric = finite_difference(
            lambda h, d=direction: Textbook(design, moved(omegas, d, h)).criterion, STEP
        )
        np.testing.assert_allclose(textbook.slope(direction), numeric, rtol=1e-7, atol=1e-7)


@METHODS
@pytest.mark.parametrize("storage", ["dense", "pairs", "sparse"])
@pytest.mark.parametrize("n_slopes", [(0, 0, 0), (2, 1, 2)])
@pytest.mark.parametrize("boundary", ["inside", "edge", "zero"])
def test_gradient_of_crossed_factors(monkeypatch, method, storage, n_slopes, boundary):
    monkeypatch.setattr(coupling, "_DENSE_ABOVE", -1.0 if storage == "dense" else 2.0)
    monkeypatch.setattr(coupling, "_MOST_PAIRS", 1e9 if storage == "pairs" else -1)
    design = random_design(
        9, relations=("crossed", "crossed"), n_slopes=n_slopes, terms=("unstructured",) * 3,
        n_rows=40, method=method,
    )  # fmt: skip
    assert_gradient_agrees(design, draw_lambdas(design, np.random.default_rng(0), boundary))


@pytest.mark.parametrize("size", [1e-1, 1e-2, 2e-3, 1e-3, 5e-4, 1e-4, 1e-6])
def test_gradient_near_the_boundary(size):
    design = random_design(9, relations=("crossed",), n_slopes=(1, 1), terms=("unstructured",) * 2)
    lambdas = [np.array([[0.7, 0.0], [0.2, size]]) for _ in range(2)]
    assert_gradient_agrees(design, lambdas)


def differences_of_gradients(point):
    """Return second derivatives in plain units by differences of the textbook's slopes."""

    def slope_at(along, step, of):
        return Textbook(point.design, moved(point.omegas, along, step), point.sigma2).slope(of)

    return np.array(
        [
            [
                finite_difference(lambda h, d=d, e=e: slope_at(d, h, e), SMALL_STEP)
                for e in point.plain_directions
            ]
            for d in point.plain_directions
        ]
    )


@METHODS
@pytest.mark.parametrize("boundary", ["inside", "edge", "zero"])
@pytest.mark.parametrize("weights", [None, "fractional"])
@pytest.mark.parametrize("n_slopes", [0, 1, 2])
@pytest.mark.parametrize("ratio", [None, 0.5])
def test_exact_hessian_is_the_slope_of_the_gradient(method, boundary, weights, n_slopes, ratio):
    for seed, terms in enumerate(["unstructured", "diagonal", "split", "no intercept"]):
        design = random_design(
            seed, n_slopes=(n_slopes,), terms=(terms,), weights=weights, method=method,
            intercept=seed != 1, n_fixed=seed % 3,
        )  # fmt: skip
        lambdas = draw_lambdas(design, np.random.default_rng(seed), boundary)
        point = Point(design, lambdas, ratio)
        theirs = differences_of_gradients(point)
        hessian = exact_hessian(point.evaluation, point.directions)
        assert_close(hessian, theirs, DIFFERENCES)
        np.testing.assert_allclose(hessian, hessian.T, rtol=1e-10, atol=1e-12)


@examples(60)
@given(designs(traits=TRAITS), SEEDS, BOUNDARIES, RATIOS)
def test_average_information(design, seed, boundary, ratio):
    point = Point(design, draw_lambdas(design, np.random.default_rng(seed), boundary), ratio)
    ours = average_information(point.evaluation, point.directions)
    theirs = point.textbook.average_information(point.plain_directions)
    assert_close(ours, theirs, ROUNDING)
    np.testing.assert_allclose(ours, ours.T, rtol=0, atol=1e-10 * np.abs(ours).max())
    values = np.linalg.eigvalsh((ours + ours.T) / 2)
    assert values[0] >= -1e-10 * max(1.0, values[-1])


def test_average_information_is_the_mean_of_exact_second_derivatives():
    """Over responses drawn from the model at the very parameters, in distribution."""
    design = random_design(3, n_slopes=(0,), n_rows=200)
    lambdas = [np.array([[0.8]])]
    _, X, (Z,) = design.dense_columns()
    rng = np.random.default_rng(0)
    exact, average = [], []
    for _ in range(400):
        effects = 0.8 * rng.standard_normal(Z.shape[1])
        y = X @ np.ones(X.shape[1]) + Z @ effects + rng.standard_normal(200)
        point = Point(replace(design, response=y), lambdas)
        exact.append(exact_hessian(point.evaluation, point.directions)[0, 0])
        average.append(average_information(point.evaluation, point.directions)[0, 0])
    error = np.std(np.subtract(exact, average)) / np.sqrt(len(exact))
    assert abs(np.mean(exact) - np.mean(average)) < 4 * error
