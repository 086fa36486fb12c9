"""Where the criterion falls without end: told apart from a residual that is merely small."""

from dataclasses import replace

import numpy as np
import pytest

from skmixed.core.fit import Fit
from skmixed.core.model.evaluation import evaluate
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.search.unbounded import NoMaximumError, evaluate_bounded, is_unbounded
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from tests.core.designs import random_design

TWO = {"n_slopes": (0, 0), "terms": ("unstructured", "unstructured")}
SHAPES = {
    "one": {},
    "slope": {"n_slopes": (1,), "terms": ("unstructured",)},
    "nested": {"relations": ("nested",), **TWO},
    "crossed": {"relations": ("crossed",), **TWO},
}


def level_effects(design, rng):
    """Draw what the levels of the first factor add to the response, by all its random columns."""
    columns = design.random(0).columns
    effects = rng.standard_normal((design.codes[0].max() + 1, columns.shape[1]))
    return (columns * effects[design.codes[0]]).sum(axis=1)


def problem_with(shape, rest, *, seed=0, n_rows=200, **options):
    """Return a problem whose response is what its levels add and noise of a given size."""
    rng = np.random.default_rng(seed)
    design = random_design(seed, n_rows=n_rows, **SHAPES[shape], **options)
    y = level_effects(design, rng) + rest * rng.standard_normal(n_rows)
    return Problem.of(replace(design, response=y).products(), design.spec)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
def test_without_a_rest(shape, seed, method):
    assert is_unbounded(problem_with(shape, 0.0, seed=seed, method=method))


@pytest.mark.parametrize("rest", [1e-3, 1e-5, 1e-6])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
def test_with_a_rest(shape, seed, rest):
    assert not is_unbounded(problem_with(shape, rest, seed=seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_little_noise_gives_the_criterion_a_minimum(shape):
    problem = problem_with(shape, 0.0)
    noisy = problem.with_noise()
    assert not is_unbounded(noisy)
    total = problem.model.gram[-1, -1]
    assert noisy.model.gram[-1, -1] == pytest.approx(total * (1 + 2.0**-30), rel=1e-15)
    huge = [1e6 * np.eye(structure.size) for structure in problem.structures]
    with pytest.raises(NoMaximumError):
        evaluate_bounded(problem, huge)
    assert evaluate_bounded(noisy, huge).criterion == evaluate(noisy, huge).criterion


def test_as_many_levels_as_observations_keep_it_bounded():
    """A level for every row: the criterion does not fall, whatever the levels explain."""
    design = random_design(1, n_rows=30)
    codes = np.arange(30)
    design = replace(design, codes=(codes,), labels=((codes,),))
    assert not is_unbounded(Problem.of(design.products(), design.spec))


def test_one_factor_of_two_can_leave_nothing():
    """With levels for every row beside it, all covariances together do not.

    By maximum likelihood, fixed columns and three levels span all six rows, but the levels alone
    do not: the criterion falls with three times the logarithm of their variance.
    """
    rng = np.random.default_rng(0)
    n, codes = 6, (np.array([0, 0, 1, 1, 2, 2]), np.arange(6))
    columns = np.column_stack([np.ones(n), rng.standard_normal((n, 4))])
    layout = Layout(
        ("(Intercept)", "x0", "x1", "x2", "y"),
        (FactorLayout(("a",), (0,)), FactorLayout(("b",), (0,))),
    )
    indexes = tuple(
        GroupIndex(factor.key, (np.unique(code),))
        for factor, code in zip(layout.factors, codes, strict=True)
    )
    products = CrossProducts.of(layout, Rows(columns, codes, indexes, None))
    spec = ModelSpec((0, 1, 2, 3), (Term(0, (0,)), Term(1, (0,))), "ml")
    problem = Problem.of(products, spec)
    large, none = np.array([[1e5]]), np.zeros((1, 1))
    assert not is_unbounded(problem)
    assert is_unbounded(problem, [large, none])
    assert not is_unbounded(problem, [none, none])
    assert Fit.of(products, spec).report.is_unbounded
