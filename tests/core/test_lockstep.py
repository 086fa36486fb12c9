"""Replicates are drawn as the model says, and refitted in lock-step as they are one by one."""

import numpy as np
import pytest
from hypothesis import assume, given

from skmixed import MixedLinearRegressor
from skmixed.core.batch.error_sums import NeedsRowsError
from skmixed.core.batch.refits import (
    refit_at,
    refit_responses,
    refit_stack,
    shared_stack,
    stack_of_levels,
    takes_lockstep,
)
from skmixed.core.batch.responses import (
    ScaledResponses,
    draw_responses,
    replicate_problem,
    sum_responses,
)
from skmixed.core.fit import Fit
from skmixed.core.model.evaluation import evaluate, exact_hessian
from skmixed.core.model.stack import with_levels_merged
from skmixed.core.search.coordinates import Coordinates, local_model
from skmixed.core.search.newton import Newton
from tests.core.designs import draw_lambdas, random_design
from tests.core.strategies import BOUNDARIES, SEEDS, designs, examples

TAME = ["scaled", "spare factor", "collinear"]


def drawn_fit(design, seed, boundary="inside"):
    fit = design.fit_at(draw_lambdas(design, np.random.default_rng(seed), boundary))
    assume(fit.is_determined)
    return fit


@examples(40)
@given(designs(n_factors=(1, 1), traits=TAME), BOUNDARIES, SEEDS)
def test_criterion_and_derivatives_of_a_stack(design, boundary, seed):
    fit = drawn_fit(design, seed, boundary)
    responses = draw_responses(fit, 3, np.random.default_rng(seed))
    scaled = ScaledResponses.of(fit, responses)
    stack = shared_stack(fit, scaled)
    coordinates = Coordinates.natural(fit.problem.structures)
    (lam,) = fit.scaled_lambdas
    theta = coordinates.theta([lam @ lam.T])
    (lam,) = coordinates.lambdas(theta)
    point = stack.evaluate(np.tile(theta, (3, 1)), np.tile(coordinates.orders, (3, 1)))
    for number in range(3):
        one = evaluate(replicate_problem(fit, scaled, number), [lam])
        unit = 1.0 + abs(one.criterion)
        ours = point.criterion[number] + fit.problem.constant
        assert ours == pytest.approx(one.criterion, abs=1e-9 * unit)
        np.testing.assert_allclose(point.gradient[number], one.gradient[0], atol=1e-7 * unit)
        slope, hessian = local_model(one, coordinates, theta)
        np.testing.assert_allclose(point.slope[number], slope, atol=1e-7 * unit)
        exact = exact_hessian(one, [(0, coordinates.directions(theta)[0])])
        if np.linalg.eigvalsh(hessian)[0] > 0 and np.abs(hessian - exact).max() > 0:
            scale = 1.0 + np.abs(hessian).max()
            if np.linalg.eigvalsh(point.hessian[number])[0] > 1e-6 * scale:
                np.testing.assert_allclose(point.hessian[number], hessian, atol=1e-6 * scale)


@examples(40)
@given(designs(n_factors=(1, 1), traits=TAME), BOUNDARIES, SEEDS)
def test_lockstep_arrives_where_newton_does(design, boundary, seed):
    fit = drawn_fit(design, seed, boundary)
    assume(takes_lockstep(fit))
    assert_as_low_as_newton(fit, seed)


def test_lockstep_looks_for_a_lower_optimum_without_a_weak_term():
    design = random_design(
        644, relations=(), n_slopes=(1,), terms=("unstructured",), traits=frozenset(), n_fixed=1,
        intercept=False, weights="integer", weighting="frequency", method="reml",
    )  # fmt: skip
    fit = design.fit_at(draw_lambdas(design, np.random.default_rng(644), "inside"))
    assert_as_low_as_newton(fit, 644)


def assert_as_low_as_newton(fit, seed, n=8):
    responses = draw_responses(fit, n, np.random.default_rng(seed))
    refits, scaled = refit_responses(fit, responses), ScaledResponses.of(fit, responses)
    for number in range(n):
        problem = replicate_problem(fit, scaled, number)
        best, _ = Newton().solve(problem)
        ours = evaluate(problem, [refits.scaled_lambdas[0][number]]).criterion
        assert ours <= best.criterion + 1e-6 + 1e-10 * abs(best.criterion)
    assert refits.converged.all()


@pytest.mark.parametrize("relations", [(), ("nested",), ("crossed",), ("crossed", "nested")])
def test_sums_of_drawn_responses(relations):
    """Means and covariances of the sums are those of rows with this V."""
    count = len(relations) + 1
    design = random_design(
        4, relations=relations, n_slopes=(1,) + (0,) * (count - 1),
        terms=("unstructured",) * count, traits=(), n_fixed=2, intercept=True,
        weights="fractional", weighting="precision", method="reml",
    )  # fmt: skip
    fit = design.fit_at(draw_lambdas(design, np.random.default_rng(0), "inside"))
    n = 20_000
    drawn = draw_responses(fit, n, np.random.default_rng(0))
    rows, w = design.rows(), design.weights / fit.products.unit
    V = np.diag(1.0 / design.weights)
    for factor, lam in zip(fit.spec.used_factors, fit.lambdas, strict=True):
        z = rows.columns[:, list(fit.spec.factor_columns(factor))] @ lam
        codes = rows.codes[factor]
        V += (z @ z.T) * (codes[:, None] == codes)
    V *= fit.sigma2
    assert np.array_equal(fit.products.basis[:-1, :-1], np.eye(len(rows.columns.T) - 1))
    sums = [rows.columns[:, :-1].T * w]
    for factor in fit.spec.used_factors:
        block = fit.products.factors[factor]
        for column in block.columns:
            member = rows.codes[factor] == np.arange(len(block.index))[:, None]
            sums.append(member * (rows.columns[:, column] * w))
    S = np.concatenate(sums)
    ours = np.concatenate(
        [drawn.fixed] + [block.transpose(1, 0, 2).reshape(n, -1) for block in drawn.levels], axis=1
    )
    theirs = S @ V @ S.T
    unit = np.sqrt(np.maximum(np.diag(theirs), 1e-12))
    error = (np.cov(ours.T) - theirs) / np.outer(unit, unit)
    assert np.abs(error).max() < 6.0 * np.sqrt(2.0 / n)
    assert drawn.squares.mean() == pytest.approx((np.diag(V) * w).sum(), rel=0.02)
    # The sums of one response fit together: rows with them exist.
    gram = np.concatenate([ours, drawn.squares[:, None]], axis=1)[0]
    projected = ours[0] @ np.linalg.pinv(S / np.sqrt(w) @ (S / np.sqrt(w)).T) @ ours[0]
    assert projected <= gram[-1] * (1.0 + 1e-9)


@examples(20)
@given(designs(n_factors=(1, 2), traits=TAME), SEEDS)
def test_summed_responses_are_refitted_as_rows_are(design, seed):
    fit = drawn_fit(design, seed)
    rng = np.random.default_rng(seed)
    rows = design.rows()
    noise = np.sqrt(fit.sigma2) * rng.standard_normal((design.n_rows, 2))
    refits = refit_responses(fit, sum_responses(fit, rows, noise))
    columns = rows.columns.copy()
    columns[:, -1] = columns[:, list(fit.spec.fixed)] @ fit.beta + noise[:, 1]
    other = type(rows)(columns, rows.codes, rows.indexes, rows.weights)
    theirs = Fit.of(type(fit.products).of(design.layout, other), fit.spec)
    assume(theirs.is_determined and not theirs.report.confounded)
    whole = refit_at(fit, sum_responses(fit, rows, noise), refits, 1)
    assert whole.criterion == pytest.approx(
        theirs.criterion, abs=1e-5 + 1e-9 * abs(whole.criterion)
    )
    again = Fit.of(whole.products, fit.spec)
    assert again.criterion == pytest.approx(
        theirs.criterion, abs=1e-5 + 1e-9 * abs(again.criterion)
    )


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_levels_that_are_alike_are_put_together(method):
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(30), np.resize([4, 5], 30))
    x = np.concatenate([np.arange(size) for size in np.resize([4.0, 5.0], 30)])
    model = MixedLinearRegressor("(1 + x0 | group)", method=method)
    y = (
        rng.standard_normal(len(g))
        + rng.standard_normal(30)[g]
        + 0.3 * x * rng.standard_normal(30)[g]
    )
    fit = model.fit(x[:, None], y, groups=g).fit_
    scaled = ScaledResponses.of(fit, draw_responses(fit, 5, rng))
    stack = shared_stack(fit, scaled)
    small = with_levels_merged(stack)
    assert small.response.shape == (2, 5, 6)
    assert small.counts.sum() == 30
    theta = fit.problem.structures[0].read(fit.scaled_lambdas[0])
    arguments = np.tile(theta, (5, 1)), np.tile(np.arange(2), (5, 1))
    ours, theirs = small.evaluate(*arguments), stack.evaluate(*arguments)
    for name in ("criterion", "slope", "hessian", "gradient", "to_residual", "sigma2"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-8, atol=1e-8)


def test_all_levels_once_are_the_data():
    design = random_design(1, n_slopes=(1,), weights="integer", method="ml")
    fit = Fit.of(design.products(), design.spec)
    q = len(fit.products.factors[0].index)
    stack = stack_of_levels(fit, design.rows(), np.arange(q)[None])
    refits = refit_stack(fit, stack)
    np.testing.assert_allclose(refits.beta[0], fit.beta, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(refits.sigma2, fit.sigma2, rtol=1e-6)


def test_large_crossed_factors_need_rows(monkeypatch):
    monkeypatch.setattr("skmixed.core.batch.error_sums._WIDEST", 3)
    design = random_design(0, relations=("crossed",), n_slopes=(0, 0), terms=("unstructured",) * 2)
    fit = design.fit_at([np.eye(1), np.eye(1)])
    with pytest.raises(NeedsRowsError, match="give the rows"):
        draw_responses(fit, 2, np.random.default_rng(0))
