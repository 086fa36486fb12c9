"""Penalties of covariances: their derivatives, the criterion with them, and where it is lowest."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

from skmixed.core.batch.refits import refit_responses
from skmixed.core.batch.responses import ScaledResponses, draw_responses, replicate_problem
from skmixed.core.fit import Fit
from skmixed.core.linalg import block_diagonal
from skmixed.core.model.dense import DenseStack
from skmixed.core.model.evaluation import average_information, evaluate, exact_hessian
from skmixed.core.model.penalty import Penalty, ScaledPenalty, VariancePenalty
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.model.stack import LockstepData
from skmixed.core.search.coordinates import Coordinates, local_model, theta_gradient
from skmixed.core.search.newton import Newton
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from tests.core.dense_search import Parameters
from tests.core.designs import draw_lambdas, random_design
from tests.core.strategies import SEEDS, examples
from tests.core.textbook import finite_difference

WISHART = Penalty(1.5)
STEP = 1e-3
DIFFERENCES = 1e-6  # what is left of the digits after the differences of a five-point rule


def draw_penalty(structure, rng):
    """Draw a penalty of a structure, every part of which is there."""
    parts = tuple(
        VariancePenalty(group, log, rate, power)
        for group in structure.deviations
        for log, rate, power in [(rng.normal(), rng.uniform(0.1, 2.0), rng.choice([0.5, -1.0]))]
    )
    return Penalty(rng.uniform(0.5, 3.0), parts, rng.normal())


def random_penalty(sizes, rng):
    """Draw penalties of independent terms of some sizes, in other units than their columns'."""
    parts, start = [], 0
    for k in sizes:
        variances = tuple(
            VariancePenalty(
                tuple(rng.permutation(k)[: rng.integers(1, k + 1)].tolist()),
                rng.normal(), rng.uniform(0.1, 2.0), rng.choice([0.5, -1.0, 2.0]),
            )
            for _ in range(2)
        )  # fmt: skip
        change = rng.normal(size=(k, k)) + 2.0 * np.eye(k)
        penalty = Penalty(rng.uniform(0.5, 3.0), variances, rng.normal())
        parts.append((penalty, slice(start, start + k), change))
        start += k
    return ScaledPenalty(tuple(parts))


def draw_omega(size, rng):
    root = rng.normal(size=(size, size)) / np.sqrt(size)
    return root @ root.T + 0.5 * np.eye(size)


def symmetric(size, rng):
    matrix = rng.normal(size=(size, size))
    return (matrix + matrix.T) / 2.0


# --- the penalty alone ------------------------------------------------------------------------


@examples(15)
@given(SEEDS, st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_derivatives_are_slopes(seed, sizes):
    rng = np.random.default_rng(seed)
    penalty = random_penalty(sizes, rng)
    omegas = [draw_omega(k, rng) for k in sizes]
    directions = [block_diagonal([symmetric(k, rng) / np.sqrt(k) for k in sizes]) for _ in range(3)]
    omega = block_diagonal(omegas)
    lam = np.linalg.cholesky(omega)

    def value(E, h):
        return float(penalty.value(np.linalg.cholesky(omega + h * E)))

    def slope(E, h, D):
        return float((penalty.slope(np.linalg.cholesky(omega + h * E)) * D).sum())

    second = penalty.along(lam, np.array(directions))
    for i, E in enumerate(directions):
        found = (penalty.slope(lam) * E).sum()
        numeric = finite_difference(lambda h, E=E: value(E, h), STEP)
        np.testing.assert_allclose(found, numeric, rtol=DIFFERENCES, atol=DIFFERENCES)
        for j, D in enumerate(directions):
            numeric = finite_difference(lambda h, E=E, D=D: slope(E, h, D), STEP)
            np.testing.assert_allclose(second[i, j], numeric, rtol=DIFFERENCES, atol=DIFFERENCES)


def test_any_root_and_any_leading_axes_will_do():
    rng = np.random.default_rng(0)
    penalty = random_penalty([3], rng)
    omegas = [draw_omega(3, rng) for _ in range(4)]
    directions = np.array([[symmetric(3, rng) for _ in range(2)] for _ in omegas])
    roots = np.array([np.linalg.cholesky(omega) for omega in omegas])
    turned = roots @ np.linalg.qr(rng.normal(size=(4, 3, 3)))[0]
    for one, lam in enumerate(roots):
        for many in (roots, turned):
            np.testing.assert_allclose(penalty.value(many)[one], penalty.value(lam), rtol=1e-12)
            np.testing.assert_allclose(penalty.slope(many)[one], penalty.slope(lam), rtol=1e-9)
            along = penalty.along(many, directions)[one]
            np.testing.assert_allclose(along, penalty.along(lam, directions[one]), rtol=1e-9)


def test_a_singular_covariance_costs_infinitely_much():
    inside, zero, edge = np.eye(2), np.zeros((2, 2)), np.array([[1.0, 0.0], [1.0, 0.0]])
    lam = np.array([inside, zero, edge])
    one = slice(0, 2), np.eye(2)
    scales = tuple(VariancePenalty((column,), -1.5) for column in (0, 1))
    lkj = tuple(VariancePenalty((column,), 2.0 - 1.0, 1.0, 0.5) for column in (0, 1))
    for penalty, of_edge in [
        (WISHART, np.inf), (Penalty(0.0, scales), 0.0), (Penalty(2.0, lkj), np.inf)
    ]:  # fmt: skip
        scaled = ScaledPenalty(((penalty, *one),))
        value = scaled.value(lam)
        assert np.isfinite(value[0])
        assert value[1] == np.inf
        assert value[2] == np.inf if of_edge == np.inf else np.isfinite(value[2])
        assert np.isfinite(scaled.slope(lam)).all()
        assert np.isfinite(scaled.along(lam, np.ones((3, 1, 2, 2)))).all()


# --- beside the criterion ---------------------------------------------------------------------

MODELS = [
    {"terms": ("unstructured",), "n_slopes": (1,)},
    {"terms": ("unstructured",), "n_slopes": (2,), "traits": frozenset({"offset"})},
    {"terms": ("split",), "n_slopes": (1,)},
    {"terms": ("identity",), "n_slopes": (2,), "traits": frozenset({"scaled"})},
    {"terms": ("diagonal",), "n_slopes": (1,), "method": "ml", "weights": "integer"},
    {"terms": ("homcs",), "n_slopes": (2,)},
    {"terms": ("hetar1",), "n_slopes": (2,), "method": "ml"},
    {"terms": ("unstructured",) * 2, "n_slopes": (1, 0), "relations": ("crossed",)},
    {"terms": ("diagonal", "cs"), "n_slopes": (0, 1), "relations": ("nested",), "method": "ml"},
]


def penalised(design, seed=0):
    """Return a design whose terms have drawn penalties."""
    rng = np.random.default_rng(seed)
    terms = tuple(replace(t, penalty=draw_penalty(t.structure, rng)) for t in design.spec.terms)
    return replace(design, spec=replace(design.spec, terms=terms))


@pytest.mark.parametrize("options", MODELS)
def test_local_model_of_the_penalised_criterion(options):
    problem = Problem.of(*_given(penalised(random_design(3, n_rows=40, **options))))
    coordinates = Coordinates.natural(problem.structures)
    rng = np.random.default_rng(1)
    starts = [s.lifted(draw_omega(s.size, rng)) for s in problem.structures]
    omegas = [s.projected(o) for s, o in zip(problem.structures, starts, strict=True)]
    theta = coordinates.theta(omegas)

    def at(moved):
        return evaluate(problem, coordinates.lambdas(moved))

    slope, hessian = _exact_model(at(theta), coordinates, theta)
    for a, step in enumerate(np.eye(len(theta))):
        numeric = finite_difference(lambda h, e=step: at(theta + h * e).criterion, STEP)
        np.testing.assert_allclose(slope[a], numeric, rtol=1e-6, atol=1e-5)
        numeric = finite_difference(
            lambda h, e=step: theta_gradient(at(theta + h * e), coordinates, theta + h * e), STEP
        )
        np.testing.assert_allclose(hessian[a], numeric, rtol=1e-5, atol=1e-4)


def _exact_model(evaluation, coordinates, theta):
    """Return gradient and second derivatives, whatever their signs."""
    if len(coordinates.structures) > 1:
        return local_model(evaluation, coordinates, theta)
    numbered = list(enumerate(coordinates.directions(theta)))
    curvature = coordinates.curvature(theta, evaluation.gradient)
    hessian = exact_hessian(evaluation, numbered) + curvature
    return theta_gradient(evaluation, coordinates, theta), hessian


def _given(design):
    return design.products(), design.spec


def test_the_penalty_is_exact_beside_the_average_information():
    design = random_design(
        5, terms=("unstructured",) * 2, n_slopes=(1, 1), relations=("crossed",), n_rows=60
    )
    penalised_design = penalised(design)
    plain, given = (Problem.of(*_given(each)) for each in (design, penalised_design))
    rng = np.random.default_rng(2)
    lambdas = [np.linalg.cholesky(draw_omega(2, rng)) for _ in range(2)]
    directions = [(f, np.array([symmetric(2, rng) for _ in range(2)])) for f in range(2)]
    found = average_information(evaluate(given, lambdas), directions)
    without = average_information(evaluate(plain, lambdas), directions)
    expected = block_diagonal(
        [given.penalties[f].along(lambdas[f], matrices) for f, matrices in directions]
    )
    np.testing.assert_allclose(found - without, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("options", MODELS)
def test_searches_side_by_side_see_the_same_criterion(options):
    problem = Problem.of(*_given(penalised(random_design(4, n_rows=40, **options))))
    kinds = [DenseStack] if len(problem.structures) > 1 else [DenseStack, LockstepData]
    coordinates = Coordinates.natural(problem.structures)
    rng = np.random.default_rng(3)
    theta = np.array(
        [
            coordinates.theta([s.lifted(draw_omega(s.size, rng)) for s in problem.structures])
            for _ in range(3)
        ]
    )
    order = np.concatenate(coordinates.joint_orders())
    for kind in kinds:
        point = kind.of(problem, 3).evaluate(theta, np.tile(order, (3, 1)))
        for number, each in enumerate(theta):
            evaluation = evaluate(problem, coordinates.lambdas(each))
            slope, hessian = _exact_model(evaluation, coordinates, each)
            ours = point.criterion[number] + problem.constant
            np.testing.assert_allclose(ours, evaluation.criterion, rtol=1e-10)
            np.testing.assert_allclose(point.slope[number], slope, rtol=1e-7, atol=1e-7)
            scale = np.abs(hessian).max()
            np.testing.assert_allclose(point.hessian[number], hessian, atol=1e-6 * scale)


# --- the optimum ------------------------------------------------------------------------------


def balanced(n_levels, n_rows, seed=0, spread=0.0):
    """Draw rows of a balanced one-way layout, and the sums of squares between and within."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n_levels, n_rows)) + spread * rng.normal(size=(n_levels, 1))
    between = n_rows * np.square(y.mean(axis=1) - y.mean()).sum()
    within = np.square(y - y.mean(axis=1, keepdims=True)).sum()
    layout = Layout(("1", "y"), (FactorLayout(("g",), (0,)),))
    codes = np.repeat(np.arange(n_levels), n_rows).astype(np.intp)
    index = GroupIndex(("g",), (np.arange(n_levels),))
    columns = np.column_stack([np.ones(y.size), y.ravel()])
    return CrossProducts.of(layout, Rows(columns, (codes,), (index,), None)), between, within


def one_way(products, penalty, method="reml"):
    return Fit.of(products, ModelSpec((0,), (Term(0, (0,), penalty=penalty),), method))


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("spread", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("c", [0.5, 1.5, 4.0])
def test_optimum_of_a_balanced_layout(method, spread, c):
    """With eta = 1 + m omega it minimises a log eta + nu log(W + B / eta) - c log(eta - 1)."""
    n_levels, m = 8, 5
    products, between, within = balanced(n_levels, m, 3, spread)
    reml = method == "reml"
    a, nu = n_levels - reml, n_levels * m - reml

    def slope(log):
        eta = 1.0 + np.exp(log)
        share = between / (eta * within + between)
        return a - nu * share - c * eta / (eta - 1.0)

    omega = np.exp(brentq(slope, -20.0, 20.0, xtol=1e-14)) / m
    fit = one_way(products, Penalty(c), method)
    assert fit.theta[0] ** 2 == pytest.approx(omega, rel=1e-5)
    assert fit.report.converged
    assert not fit.is_singular
    expected = nu * (1.0 + np.log(2.0 * np.pi * (within + between / (1.0 + m * omega)) / nu))
    expected += n_levels * np.log(1.0 + m * omega)
    expected += np.log(n_levels * m / (1.0 + m * omega)) if reml else 0.0
    assert fit.penalty == pytest.approx(-c * np.log(omega), abs=1e-6)
    assert fit.criterion == pytest.approx(expected - c * np.log(omega), rel=1e-10)
    assert fit.log_likelihood == pytest.approx(-expected / 2.0, rel=1e-6)
    assert fit.aic == pytest.approx(expected + 2.0 * 3.0, rel=1e-6)


@pytest.mark.parametrize("n_levels", [2, 3, 4])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_a_variance_that_nothing_holds_is_refused(n_levels, method):
    """Far out the criterion rises as (q - 1 or q) log omega, and the penalty falls as c log."""
    products, _, _ = balanced(n_levels, 6)
    held = n_levels - (method == "reml")
    fit = one_way(products, Penalty(held - 0.5), method)
    assert fit.report.converged
    assert not fit.is_singular
    with pytest.raises(ValueError, match="prior of 'g' leaves the penalised likelihood without"):
        one_way(products, Penalty(held + 0.1), method)
    falling = Penalty(0.0, (VariancePenalty((0,), -held - 0.1, 1.0, 0.5),))
    assert one_way(products, falling, method).report.converged


def test_variances_that_are_held_alone_but_not_together_are_refused():
    """Two crossed factors of two levels: three effects hold penalties of twice 1.5 log omega."""
    rng = np.random.default_rng(0)
    codes = tuple(np.tile(np.repeat([0, 1], m), 16 // m).astype(np.intp) for m in (4, 8))
    x = rng.normal(size=32)
    layout = Layout(("1", "x", "y"), (FactorLayout(("g",), (0, 1)), FactorLayout(("h",), (0, 1))))
    indexes = tuple(GroupIndex((name,), (np.arange(2),)) for name in "gh")
    columns = np.column_stack([np.ones(32), x, rng.normal(size=32)])
    products = CrossProducts.of(layout, Rows(columns, codes, indexes, None))

    def fit(c):
        terms = tuple(Term(factor, (1,), penalty=Penalty(c)) for factor in (0, 1))
        return Fit.of(products, ModelSpec((0,), terms))

    assert fit(1.4).report.converged
    with pytest.raises(ValueError, match="leaves the penalised likelihood without a maximum"):
        fit(1.6)


def test_levels_of_single_rows_are_told_by_the_penalty():
    """The likelihood does not depend on their variance at all."""
    products, _, _ = balanced(12, 1)
    with pytest.raises(ValueError, match="an effect for every row"):
        one_way(products, WISHART)
    penalty = Penalty(0.0, (VariancePenalty((0,), -1.0, 2.0, 0.5),))
    fit = one_way(products, penalty)
    assert fit.theta[0] == pytest.approx(1.0, rel=1e-5)  # minimum of -2 log s + 2 s
    assert not fit.unidentified
    assert not fit.is_singular


@pytest.mark.parametrize(
    "options",
    [
        {"terms": ("unstructured",), "n_slopes": (1,)},
        {"terms": ("diagonal",), "n_slopes": (2,)},
        {"terms": ("unstructured", "unstructured"), "n_slopes": (1, 0), "relations": ("nested",)},
        {"terms": ("unstructured", "identity"), "n_slopes": (0, 1), "relations": ("crossed",)},
    ],
)
@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("seed", range(3))
def test_no_dense_search_ends_lower(options, method, seed):
    design = random_design(seed, n_rows=36, method=method, **options)
    proper = [
        replace(
            term,
            penalty=Penalty(
                1.0 if term.structure.correlations else 0.0,
                tuple(VariancePenalty(g, -0.5, 1.0, 0.5) for g in term.structure.deviations),
            ),
        )
        for term in design.spec.terms
    ]
    design = replace(design, spec=replace(design.spec, terms=tuple(proper)))
    fit = Fit.of(design.products(), design.spec)
    assert fit.report.converged
    assert not fit.is_singular
    parameters = Parameters(design)

    def value(theta):
        found, slope = parameters.criterion(theta)
        slopes = []
        zipped = zip(parameters.lambdas(theta), parameters.masks, strict=True)
        for position, (lam, masks) in enumerate(zipped):
            scaled = design.to_scaled(fit.problem, position)
            penalty = fit.problem.penalties[position]
            found += float(penalty.value(scaled @ lam))
            by_omega = scaled.T @ penalty.slope(scaled @ lam) @ scaled
            slopes.append(2.0 * np.einsum("aij,ij->a", masks, by_omega @ lam))
        return found + design.criterion_change, slope + np.concatenate(slopes)

    here = parameters.theta(design.plain_lambdas(fit))
    assert value(here)[0] == pytest.approx(fit.criterion, rel=1e-8)
    rng = np.random.default_rng(seed)
    starts = [here, parameters.theta(draw_lambdas(design, rng)), np.where(here > 0.3, 0.2, 0.8)]
    ends = [minimize(value, start, jac=True, method="BFGS").fun for start in starts]
    assert fit.criterion <= min(ends) + 1e-7 * abs(fit.criterion)


@pytest.mark.parametrize(
    "options",
    [
        {"terms": ("unstructured",), "n_slopes": (1,)},
        {"terms": ("unstructured",) * 2, "n_slopes": (0, 0), "relations": ("crossed",)},
    ],
)
def test_refits_to_drawn_responses_keep_the_penalty(options):
    design = random_design(7, n_rows=60, **options)
    terms = [
        replace(t, penalty=Penalty(0.5 if t.structure.correlations else 0.0,
                tuple(VariancePenalty(g, -0.5, 1.0, 0.5) for g in t.structure.deviations)))
        for t in design.spec.terms
    ]  # fmt: skip
    design = replace(design, spec=replace(design.spec, terms=tuple(terms)))
    fit = Fit.of(design.products(), design.spec)
    responses = draw_responses(fit, 12, np.random.default_rng(0))
    refits = refit_responses(fit, responses)
    assert refits.converged.all()
    assert not refits.singular.any()
    scaled = ScaledResponses.of(fit, responses)
    for number in range(12):
        one, _ = Newton().solve(replicate_problem(fit, scaled, number))
        at = evaluate(one.problem, [lam[number] for lam in refits.scaled_lambdas])
        assert at.criterion == pytest.approx(one.criterion, abs=1e-6)


def test_a_shift_and_other_units_of_columns_change_nothing():
    """A determinant changes by a constant under any linear map of the random columns."""
    design = random_design(13, terms=("unstructured",), n_slopes=(1,), n_rows=60)
    terms = tuple(replace(t, penalty=WISHART) for t in design.spec.terms)
    design = replace(design, spec=replace(design.spec, terms=terms))
    column = terms[0].columns[1] - 1
    shift, scale = design.shift.copy(), design.scale.copy()
    shift[column], scale[column] = 64.0, 2.0**-8
    moved = replace(design, shift=shift, scale=scale)
    first, second = (Fit.of(each.products(), each.spec) for each in (design, moved))
    change = -2.0 * 1.5 * np.log(1.0 / scale[column])
    assert second.penalty - first.penalty == pytest.approx(change, abs=1e-6)
    one, other = (each.plain_lambdas(fit)[0] for each, fit in ((design, first), (moved, second)))
    np.testing.assert_allclose(one @ one.T, other @ other.T, rtol=1e-5, atol=1e-8)
