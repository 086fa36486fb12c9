"""A plan made at the first pass over rows serves other values and parts of the rows."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skmixed import MixedLinearRegressor
from skmixed.core.elimination import choose
from skmixed.core.elimination.crossed import memory_needed
from skmixed.core.model.problem import Problem
from skmixed.core.sums import keys
from skmixed.core.sums import plan as planning
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from skmixed.core.sums.plan import Plan
from skmixed.core.sums.summed_rows import SummedRows
from tests.core.designs import random_design
from tests.core.strategies import SEEDS, designs, examples
from tests.core.test_crossproducts import MERGED, assert_same, bitwise_equal

CROSSED = {"n_slopes": (1, 1), "terms": ("unstructured",) * 2}


def filled_again(rows, seed):
    """Return the same rows with other features, responses and weights."""
    rng = np.random.default_rng(seed)
    columns = rows.columns.copy()
    columns[:, 1:] += rng.standard_normal(columns[:, 1:].shape)
    return replace(rows, columns=columns, weights=rng.uniform(0.5, 2.0, len(columns)))


@examples(60)
@given(designs(traits=MERGED), SEEDS)
def test_a_plan_filled_again_is_a_sum_from_scratch(design, seed):
    rows = design.rows()
    plan = Plan.of(design.layout, rows)
    assert bitwise_equal(design.products(), CrossProducts.filled(plan, rows.columns, rows.weights))
    other = filled_again(rows, seed)
    again = CrossProducts.filled(plan, other.columns, other.weights)
    assert bitwise_equal(again, CrossProducts.of(design.layout, other))
    for mine, theirs in zip(plan.indexes, again.levels, strict=True):
        assert mine is theirs


@examples(60)
@given(designs(traits=MERGED), st.data())
def test_parts_of_a_plan_add_up(design, data):
    rows = design.rows()
    summed = SummedRows.of(design.layout, rows)
    out = np.flatnonzero(np.random.default_rng(data.draw(SEEDS)).random(design.n_rows) < 0.4)
    if not 0 < len(out) < design.n_rows:
        return
    left = summed.without(out)
    assert bitwise_equal(left, summed.products.without(rows.take(out)))
    kept = np.setdiff1d(np.arange(design.n_rows), out)
    assert_same(left, CrossProducts.of(design.layout, design.rows(kept), left.basis), 1e-9)


@pytest.mark.parametrize("relation", ["nested", "crossed"])
def test_rows_taken_out_need_no_plan(relation):
    design = random_design(2, relations=(relation,), **CROSSED)
    summed = SummedRows.of(design.layout, design.rows())
    out = np.arange(0, design.n_rows, 3)
    unpickled = pickle.loads(pickle.dumps(summed))
    assert unpickled.plan is None
    assert bitwise_equal(unpickled.without(out), summed.without(out))
    among = SummedRows.among(summed.products, design.rows())
    assert bitwise_equal(among.without(out), summed.without(out))


@pytest.mark.parametrize("bits", [63, 8])
def test_pairs_are_sorted_with_and_without_their_rows_in_the_key(bits, monkeypatch):
    monkeypatch.setattr(keys, "_KEY_BITS", bits)
    rng = np.random.default_rng(0)
    first, second = rng.integers(7, size=300), rng.integers(5, size=300)
    pair = planning.PairPlan.of((first, second), (7, 5))
    expected = np.unique(np.stack([first, second]), axis=1, return_counts=True)
    np.testing.assert_array_equal(np.stack([pair.rows, pair.columns]), expected[0])
    np.testing.assert_array_equal(pair.counts, expected[1])
    np.testing.assert_array_equal(pair.rows[pair.of_rows], first)
    np.testing.assert_array_equal(pair.columns[pair.of_rows], second)


def test_factors_that_cross_in_the_last_row_only():
    n = 3 * planning._GLANCE
    fine = np.arange(n) % (n // 2)
    coarse = fine % 5
    coarse[-1] = (coarse[-1] + 1) % 5
    columns = np.column_stack([np.ones(n), np.arange(n)])
    layout = Layout(("1", "y"), (FactorLayout(("f",), (0,)), FactorLayout(("g",), (0,))))
    indexes = (GroupIndex(("f",), (np.arange(n // 2),)), GroupIndex(("g",), (np.arange(5),)))
    plan = Plan.of(layout, Rows(columns, (fine, coarse), indexes))
    assert len(plan.pairs[0, 1].rows) == n // 2 + 1
    nested = Plan.of(layout, Rows(columns, (fine, fine % 5), indexes))
    assert nested.pairs[0, 1].of_rows is None


def test_bytes_are_those_of_the_rows():
    design = random_design(1, relations=("crossed",), n_rows=4000, **CROSSED)
    rows = design.rows()
    plan = Plan.of(design.layout, rows)
    levels_and_order = (2 * 4 + 4) * 4000
    assert plan.n_bytes == levels_and_order
    CrossProducts.filled(plan, rows.columns, rows.weights)  # slopes ask for the pair of every row
    ones = 0 if rows.weights is not None else 8 * len(plan.pairs[0, 1].rows)
    assert plan.n_bytes == levels_and_order + 8 * 4000 + ones


def test_no_fit_keeps_a_plan():
    rng = np.random.default_rng(0)
    groups = rng.integers(20, size=(3000, 2))
    X, y = rng.standard_normal((3000, 1)), rng.standard_normal(3000)
    model = MixedLinearRegressor().fit(X, y, groups=groups)
    assert len(pickle.dumps(model)) < 8 * 3000


def test_a_plan_counts_where_memory_is_short(monkeypatch):
    design = random_design(2, relations=("crossed",), n_rows=4000, **CROSSED)
    rows = design.rows()
    plan = Plan.of(design.layout, rows)
    kept = CrossProducts.filled(plan, rows.columns, rows.weights)
    alone = CrossProducts.of(design.layout, rows)
    assert (kept.plan_bytes, alone.plan_bytes) == (plan.n_bytes, 0)
    elimination = Problem.of(alone, design.spec).elimination
    entries = len(alone.pairs[0, 1].rows) * elimination.layout.shapes[0][0]
    k = len(alone.factors[elimination.layout.eliminated].columns)
    enough = memory_needed(elimination.layout.width, entries, k)
    monkeypatch.setattr(choose, "memory_installed", lambda: enough)
    Problem.of(alone, design.spec)
    with pytest.raises(MemoryError, match="crossed factors need"):
        Problem.of(kept, design.spec)
