"""Searches of one or two parameters begin where the criterion is lowest on a grid."""

import numpy as np
import pandas as pd
import pytest

from skmixed import lmer
from skmixed.core.model.dense import DenseStack
from skmixed.core.model.evaluation import evaluate
from skmixed.core.model.problem import Problem
from skmixed.core.model.stack import LockstepData
from skmixed.core.model.structures.named import STRUCTURES, joined
from skmixed.core.search.grid import is_gridded, lowest_on_grid
from skmixed.core.search.minque import minque_start
from skmixed.core.search.newton import Newton
from tests.core.optimum import best_of_other_searches

pytestmark = pytest.mark.filterwarnings("ignore::skmixed.exceptions.UnidentifiedWarning")


def draw_rows(seed, n_groups=8, n_cells=3, *, kept=1.0):
    """Draw one row of every group in every cell, some left out."""
    rng = np.random.default_rng(seed)
    table = pd.MultiIndex.from_product([range(n_groups), range(n_cells)], names=["g", "t"])
    table = table.to_frame(index=False)
    table["y"] = rng.standard_normal(n_groups)[table["g"]] + rng.standard_normal(len(table))
    table["h"] = rng.integers(0, 5, len(table))
    table["x"] = rng.standard_normal(len(table))
    table = table[rng.random(len(table)) < kept].reset_index(drop=True)
    return table.assign(f=pd.Categorical(table["t"]))


def problem_of(formula, *, times=1, **options):
    rows = [draw_rows(seed, **options) for seed in range(times)]
    fit = lmer(formula, pd.concat(rows, ignore_index=True)).fit_
    return Problem.of(fit.products, fit.spec)


ONE_FACTOR = ["(1 | g)", "(x || g)", "homcs(0 + f | g)", "ar1(0 + f | g)"]


@pytest.mark.parametrize("term", [*ONE_FACTOR, "(1 | g) + (1 | h)", "toep(0 + f | g)"])
def test_criteria_alone_are_those_with_derivatives(term):
    problem = problem_of(f"y ~ x + {term}")
    structure, rng = joined(problem.structures), np.random.default_rng(0)
    theta = np.abs(rng.standard_normal((7, structure.n_theta)))
    theta[0, ~structure.angles] = 0.0
    orders = np.tile(structure.natural_order, (7, 1))
    kinds = [DenseStack, LockstepData] if len(problem.structures) == 1 else [DenseStack]
    for kind in kinds:
        stack = kind.of(problem, 7)
        whole = stack.evaluate(theta, orders).criterion
        np.testing.assert_allclose(stack.criteria(theta, orders), whole, rtol=1e-12)


def test_few_deviations_and_angles_have_a_grid():
    gridded = {
        name: is_gridded(problem_of(f"y ~ 1 + {name}(0 + f | g)", times=2))
        for name in list(STRUCTURES)[3:-1]
    }
    assert [name for name, is_on in gridded.items() if is_on] == ["homcs", "ar1"]
    assert all(is_gridded(problem_of(f"y ~ 1 + {term}")) for term in ONE_FACTOR)
    assert is_gridded(problem_of("y ~ 1 + (1 | g) + (1 | h)"))
    assert not is_gridded(problem_of("y ~ 1 + (x | g)"))
    assert not is_gridded(
        problem_of("y ~ 1 + rr(0 + f | g, d=1)", n_cells=2, times=2)
    )  # signs of loadings


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + (1 | g) + (1 | h)"])
def test_the_valley_of_a_known_end_is_left_out(formula):
    """What is left is the lowest point where nothing is known, and nothing where that is."""
    fit = lmer(formula, draw_rows(3)).fit_
    problem = fit.problem
    alone = lowest_on_grid(problem, None)
    assert len(alone.omegas) == 1
    assert fit.criterion <= alone.criterion[0] < fit.criterion + 1.0
    assert evaluate(problem, [np.sqrt(omega) for omega in alone.omegas[0]]).criterion == (
        pytest.approx(alone.criterion[0], rel=1e-12)
    )
    assert not lowest_on_grid(problem, fit.evaluation.omegas).omegas


def test_an_end_beyond_the_grid_is_no_matter_of_it():
    problem = problem_of("y ~ x + (1 | g)")
    assert lowest_on_grid(problem, [np.array([[1e7]])]) is None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("term", ["(1 | g) + (1 | h)", "(x || g)", "ar1(0 + f | g)"])
def test_no_other_search_finds_a_lower_criterion(term, seed):
    table = pd.concat([draw_rows([seed, 1], kept=0.7), draw_rows([seed, 2], kept=0.7)])
    fit = lmer(f"y ~ x + {term}", table.reset_index(drop=True)).fit_
    best = best_of_other_searches(fit.problem, seed)
    assert fit.criterion <= best + 1e-6 + 10.0 * fit.evaluation.rounding


@pytest.mark.parametrize("seed", [0, 1, 2, 16, 17])
def test_equal_correlations_of_single_rows_are_an_intercept(seed):
    """Nothing tells their variance from the residual: the search must not go astray in rounding."""
    table = draw_rows(seed, n_groups=10, kept=0.9)
    intercept = lmer("y ~ t + (1 | g)", table)
    model = lmer("y ~ t + homcs(0 + f | g)", table)
    if intercept.is_singular_:  # correlations may be negative
        assert model.criterion_ <= intercept.criterion_ + 1e-8
        assert model.criterion_ > intercept.criterion_ - 5.0
    else:
        assert model.criterion_ == pytest.approx(intercept.criterion_, abs=1e-7)
    assert np.abs(model.fit_.scaled_lambdas[0]).max() < 1e3


def test_a_start_shares_evenly_what_nothing_tells_apart():
    """With one row a cell, the variance of effects and of the residual is the same."""
    problem = problem_of("y ~ 1 + ar1(0 + f | g)", n_groups=40, n_cells=9)
    (omega,) = minque_start(problem)
    own = problem.model.own[0]
    np.testing.assert_allclose(omega.diagonal() * own[0, 0, 0], 1.0, rtol=0.05)
    assert Newton().solve(problem)[1].converged
