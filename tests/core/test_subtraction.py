"""Rows taken out again leave the cross-products of the others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skmixed.core.model.evaluation import evaluate
from skmixed.core.model.problem import Problem
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.groups import GroupIndex
from skmixed.core.sums.layout import FactorLayout, Layout, Rows
from tests.core.designs import draw_lambdas, random_design
from tests.core.strategies import SEEDS, designs, examples
from tests.core.test_crossproducts import MERGED, assert_same

# Relative to the sums before the rows were taken out.
ROUNDING = 1e-9


@st.composite
def halves(draw, n_rows):
    """Draw rows to keep and rows to take out, some of each; often whole levels."""
    rng = np.random.default_rng(draw(SEEDS))
    out = rng.random(n_rows) < draw(st.sampled_from([0.1, 0.5, 0.8]))
    out[rng.choice(n_rows, 2, replace=False)] = True, False
    return np.flatnonzero(~out), np.flatnonzero(out)


@examples(80)
@given(designs(traits=MERGED), st.data())
def test_difference_is_what_the_other_rows_give(design, data):
    kept, out = data.draw(halves(design.n_rows))
    assert_same(design.products() - design.products(out), design.products(kept), ROUNDING)


@examples(80)
@given(designs(traits=MERGED), st.data())
def test_rows_taken_out_by_code(design, data):
    kept, out = data.draw(halves(design.n_rows))
    left = design.products().without(design.rows().take(out))
    assert_same(left, design.products(kept), ROUNDING)


@examples(40)
@given(designs(traits=[*MERGED, "dominated"]), st.data())
def test_what_is_left_gives_the_same_model(design, data):
    kept, out = data.draw(halves(design.n_rows))
    lambdas = draw_lambdas(design, np.random.default_rng(0))
    whole = design.products()
    for left in (whole.without(design.rows().take(out)), whole - design.products(out)):
        direct = Problem.of(design.products(kept), design.spec)
        problem = Problem.of(left, design.spec)
        if not (problem.is_determined and direct.is_determined):
            continue
        ours = evaluate(problem, design.scaled_lambdas(problem, lambdas))
        theirs = evaluate(direct, design.scaled_lambdas(direct, lambdas))
        np.testing.assert_allclose(ours.criterion, theirs.criterion, rtol=1e-8)
        residual = ours.sigma2 / problem.model.response_scale**2
        np.testing.assert_allclose(
            residual, theirs.sigma2 / direct.model.response_scale**2, rtol=1e-7
        )


@examples(40)
@given(designs(traits=MERGED), st.data())
def test_sum_minus_part(design, data):
    kept, out = data.draw(halves(design.n_rows))
    first, second = design.products(kept), design.products(out)
    assert_same((first + second) - second, first, ROUNDING)


def test_weights_that_leave_a_residue_leave_no_level():
    """0.1 + 0.2 - 0.3 is not zero; the count of rows is."""
    layout = Layout(("one", "y"), (FactorLayout(("g",), (0,)),))
    index = GroupIndex(("g",), (np.array(["a", "b"]),))
    columns = np.column_stack([np.ones(4), [1.0, 2.0, 3.0, 4.0]])
    weights = np.array([0.1, 0.2, 0.3, 1.0])
    rows = Rows(columns, (np.array([0, 0, 0, 1]),), (index,), weights)
    left = CrossProducts.of(layout, rows).without(rows.take(np.array([2, 0, 1])))
    assert left.factors[0].index.labels[0].tolist() == ["b"]
    assert left.factors[0].counts.tolist() == [1]


def test_levels_far_apart_keep_their_digits():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(20), 10)
    y = 1e6 * rng.normal(size=20)[codes] + rng.normal(size=200)
    layout = Layout(("one", "y"), (FactorLayout(("g",), (0,)),))
    index = GroupIndex(("g",), (np.arange(20),))
    rows = Rows(np.column_stack([np.ones(200), y]), (codes,), (index,))
    out = rng.choice(200, 60, replace=False)
    kept = np.setdiff1d(np.arange(200), out)
    whole = CrossProducts.of(layout, rows)
    direct = CrossProducts.of(layout, rows.take(kept), whole.basis)
    for left in (
        whole.without(rows.take(out)),
        whole - CrossProducts.of(layout, rows.take(out), whole.basis),
    ):
        np.testing.assert_allclose(left.within.gram[1, 1], direct.within.gram[1, 1], rtol=1e-9)


def crossed(**options):
    return random_design(
        3, relations=("crossed",), n_slopes=(0, 0), terms=("diagonal", "diagonal"), **options
    )


def test_nothing_may_be_left():
    with pytest.raises(ValueError, match="nothing is left"):
        crossed().products().without(crossed().rows())


def test_rows_are_taken_out_once():
    level = np.flatnonzero(crossed().rows().codes[0] == 0)
    left = crossed().products().without(crossed().rows().take(level))
    with pytest.raises(ValueError, match=r"not there|than there are"):
        left - crossed().products(level)


def test_columns_must_be_the_same():
    with pytest.raises(ValueError, match="different columns"):
        crossed().products() - crossed(traits=("collinear",)).products()
