"""Rows taken out again leave the cross-products of the others."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skmixed.core.model.evaluation import evaluate
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from skmixed.core.sums.summation import choose_basis
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
def test_rows_taken_out_by_code(design, data):
    kept, out = data.draw(halves(design.n_rows))
    left = design.products().without(design.rows().take(out))
    assert_same(left, design.products(kept), ROUNDING)


@examples(40)
@given(designs(traits=[*MERGED, "dominated"]), st.data())
def test_what_is_left_gives_the_same_model(design, data):
    kept, out = data.draw(halves(design.n_rows))
    whole = design.products()
    direct = CrossProducts.of(design.layout, design.rows(kept), whole.basis)
    assert_same_model(design, whole.without(design.rows().take(out)), direct)


def test_few_rows_of_a_dominated_response_keep_their_digits():
    """Six rows do not see what dominates; they are summed about the shift of all rows."""
    traits = frozenset({"scaled", "offset", "dominated"})
    design = random_design(0, n_slopes=(0,), terms=("unstructured",), traits=traits, n_fixed=1)
    out = np.array([2, 3, 10, 11, 13, 20])
    kept = np.setdiff1d(np.arange(design.n_rows), out)
    whole = design.products()
    assert whole.basis[1:-1, -1].any()
    assert not choose_basis(design.columns[out])[1:-1, -1].any()
    assert_same_model(design, whole.without(design.rows().take(out)), design.products(kept))
    assert_same_model(design, design.products(kept).with_rows(design.rows(out)), whole)


def assert_same_model(design, ours, theirs):
    """Compare criterion and residual variance at one lambda."""
    lambdas = draw_lambdas(design, np.random.default_rng(0))
    problems = [Problem.of(products, design.spec) for products in (ours, theirs)]
    if not all(problem.is_determined for problem in problems):
        return
    found = [evaluate(problem, design.scaled_lambdas(problem, lambdas)) for problem in problems]
    np.testing.assert_allclose(found[0].criterion, found[1].criterion, rtol=1e-8)
    residuals = [
        evaluation.sigma2 / problem.model.response_scale**2
        for evaluation, problem in zip(found, problems, strict=True)
    ]
    np.testing.assert_allclose(*residuals, rtol=1e-7)


@examples(40)
@given(designs(traits=MERGED), st.data())
def test_sum_without_a_part(design, data):
    kept, out = data.draw(halves(design.n_rows))
    both = design.products(kept).with_rows(design.rows(out))
    taken = design.rows(out).at_levels(both.levels)
    assert_same(both.without(taken), design.products(kept), ROUNDING)


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
    left = whole.without(rows.take(out))
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
    rows = crossed().rows().take(level)
    left = crossed().products().without(rows)
    with pytest.raises(ValueError, match="not there"):
        left.without(rows.at_levels(left.levels))


def test_pairs_that_never_met_are_not_there():
    design = crossed(n_rows=12)
    rows = design.rows()
    met = np.zeros([len(index) for index in rows.indexes], dtype=bool)
    met[rows.codes] = True
    codes = tuple(np.array([level]) for level in np.argwhere(~met)[0])
    with pytest.raises(ValueError, match="never met"):
        design.products().without(replace(rows.take(np.array([0])), codes=codes))


def test_pairs_that_lose_their_rows_stay_with_zeros_among_many():
    rng = np.random.default_rng(5)
    n, sizes = 40_000, (900, 300)
    columns = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    codes = tuple(rng.integers(0, size, n) for size in sizes)
    indexes = tuple(
        GroupIndex((name,), (np.arange(size),)) for name, size in zip("gh", sizes, strict=True)
    )
    factors = FactorLayout(("g",), (0,)), FactorLayout(("h",), (0,))
    layout = Layout(("one", "x", "y"), factors)
    rows = Rows(columns, codes, indexes, rng.uniform(0.1, 1.0, n))
    out = np.arange(0, n, 20)
    whole = CrossProducts.of(layout, rows)
    left = whole.without(rows.take(out))
    rest = CrossProducts.of(layout, rows.take(np.setdiff1d(np.arange(n), out)), whole.basis)
    pair, direct = left.pairs[0, 1], rest.pairs[0, 1]
    assert pair.rows is whole.pairs[0, 1].rows
    occur = pair.counts > 0
    assert not pair.products[:, :, ~occur].any()
    np.testing.assert_array_equal(pair.counts[occur], direct.counts)
    np.testing.assert_allclose(pair.products[:, :, occur], direct.products, rtol=1e-12)
    spec = ModelSpec((0, 1), (Term(0, (0,)), Term(1, (0,))))
    found, wanted = (
        evaluate(Problem.of(products, spec), [np.eye(1), np.full((1, 1), 0.5)]).criterion
        for products in (left, rest)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
