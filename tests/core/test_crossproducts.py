"""Cross-products are sums: additive in any split and order, and free of rows."""

import operator
import pickle
from dataclasses import fields, is_dataclass, replace
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skmixed.core.elimination.chain import Chain
from skmixed.core.elimination.crossed import Crossed
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from tests.core.designs import draw_lambdas, random_design
from tests.core.strategies import SEEDS, designs, examples
from tests.core.test_oracle_agreement import assert_agrees

# All but "dominated": a part of a few rows does not see that a feature dominates the response.
MERGED = ["offset", "scaled", "collinear", "response offset", "spare factor", "far apart"]
# Sums in another order, in units of the columns' root sums of squares.
ROUNDING = 1e-12


def by_label(products):
    """Return sums of levels and of pairs of levels under their labels."""
    labels = [list(zip(*block.index.labels, strict=True)) for block in products.factors]
    sums = {}
    for f, block in enumerate(products.factors):
        for level, label in enumerate(labels[f]):
            sums[f, label] = (block.counts[level], block.products[:, :, level])
    for (i, j), pair in products.pairs.items():
        for n, (row, column) in enumerate(zip(pair.rows, pair.columns, strict=True)):
            where = (i, j, labels[i][row], labels[j][column])
            sums[where] = (pair.counts[n], pair.products[:, :, n])
    assert len(sums) == sum(map(len, labels)) + sum(len(p.rows) for p in products.pairs.values())
    return sums


def assert_same(first, second, rtol=ROUNDING):
    """Compare two sets of sums about the shift of the first, and in its unit of weights."""
    second = second.rebased(first.basis).in_unit(first.unit)
    assert first.layout == second.layout
    assert first.n_rows == second.n_rows
    np.testing.assert_allclose(first.sum_weights, second.sum_weights, rtol=rtol)
    logs = first.sum_log_weights, second.sum_log_weights
    np.testing.assert_allclose(*logs, rtol=rtol, atol=rtol * first.n_rows)
    roots = np.sqrt(np.maximum(np.diag(first.gram), np.finfo(float).tiny))
    unit = np.outer(roots, roots)
    assert (np.abs(first.gram - second.gram) <= rtol * unit).all()
    ours, theirs = by_label(first), by_label(second)
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert ours[key][0] == theirs[key][0]
        unit = roots[list(first.layout.factors[key[0]].columns)][:, None]
        if len(key) == 2:
            unit = unit * roots
        else:
            unit = unit * roots[list(first.layout.factors[key[1]].columns)]
        assert (np.abs(ours[key][1] - theirs[key][1]) <= rtol * unit).all()


def bitwise_equal(first, second):
    """Tell whether two sets of sums about the same shift are the same numbers."""
    ours, theirs = by_label(first), by_label(second)
    return (
        np.array_equal(first.basis, second.basis)
        and np.array_equal(first.gram, second.gram)
        and ours.keys() == theirs.keys()
        and all(np.array_equal(ours[key][1], theirs[key][1]) for key in ours)
    )


def arrays(thing):
    """Yield every array in a nest of dataclasses and containers."""
    if isinstance(thing, np.ndarray):
        yield thing
    elif isinstance(thing, dict):
        yield from arrays(tuple(thing.values()))
    elif isinstance(thing, tuple | list):
        for part in thing:
            yield from arrays(part)
    elif is_dataclass(thing):
        yield from arrays(tuple(getattr(thing, field.name) for field in fields(thing)))


@st.composite
def splits(draw, n_rows):
    """Draw parts of the rows in some order, none of them empty."""
    count = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(SEEDS))
    part = rng.integers(count, size=n_rows)
    parts = [rng.permutation(np.flatnonzero(part == n)) for n in rng.permutation(count)]
    return [rows for rows in parts if len(rows)]


@examples(80)
@given(designs(traits=MERGED), st.data())
def test_parts_add_up_in_any_split_and_order(design, data):
    parts = [design.products(rows) for rows in data.draw(splits(design.n_rows))]
    whole = design.products()
    # Parts of two or three rows choose other shifts than the whole.
    assert_same(whole, reduce(operator.add, parts), 1e-9)
    assert_same(whole, reduce(lambda done, part: part + done, parts), 1e-9)


@examples(40)
@given(designs(traits=MERGED), st.data())
def test_merged_parts_give_the_same_model(design, data):
    products = reduce(operator.add, map(design.products, data.draw(splits(design.n_rows))))
    lambdas = draw_lambdas(design, np.random.default_rng(0))
    ours = design.in_plain_units(design.fit_at(lambdas, products))
    theirs = design.in_plain_units(design.fit_at(lambdas))
    np.testing.assert_allclose(ours["criterion"], theirs["criterion"], rtol=1e-8)
    np.testing.assert_allclose(ours["sigma2"], theirs["sigma2"], rtol=1e-8)


def test_parts_may_each_have_their_own_shift():
    design = random_design(0, traits={"offset"}, n_slopes=(1,), n_rows=60)
    first, second = design.products(slice(0, 20)), design.products(slice(20, 60))
    moved = second.rebased(shifted(second.basis, 3.0))
    assert not np.array_equal(first.basis, moved.basis)
    merged = first + moved
    assert np.array_equal(merged.basis, moved.basis)  # of the larger part
    assert_same(design.products(), merged)
    assert_same(merged, moved + first)


def shifted(basis, by):
    basis = basis.copy()
    basis[0, 1] -= by
    return basis


@examples(40)
@given(designs(traits=["offset", "response offset", "dominated"]), st.floats(-10, 10))
def test_rebasing_is_undone_by_rebasing(design, by):
    products = design.products()
    assert_same(products, products.rebased(shifted(products.basis, by)), 1e-11)
    assert products.rebased(products.basis.copy()) is products


def test_rebasing_is_summing_about_the_other_shift():
    design = random_design(1, relations=("crossed",), n_slopes=(2, 1), terms=("unstructured",) * 2)
    basis = np.eye(len(design.layout.columns))
    basis[0, 1:] = [-2.0, 0.5, 1.0, 4.0]
    direct = CrossProducts.of(design.layout, design.rows(), basis)
    assert np.array_equal(direct.basis, basis)
    rebased = design.products().rebased(basis)
    assert_same(direct, rebased)


def test_two_parts_without_a_level_in_common():
    design = random_design(2, n_slopes=(1,), n_rows=40)
    early = design.codes[0] < 2
    parts = [design.products(early), design.products(~early)]
    assert len(parts[0].factors[0].index) == 2
    assert_same(design.products(), parts[0] + parts[1])


def sums_of(keys, labels, codes, y, weights=None):
    """Return cross-products of a response and random intercepts."""
    columns = np.column_stack([np.ones(len(y)), y])
    layout = Layout(("1", "y"), tuple(FactorLayout(key, (0,)) for key in keys))
    indexes = tuple(GroupIndex(key, label) for key, label in zip(keys, labels, strict=True))
    return CrossProducts.of(layout, Rows(columns, tuple(codes), indexes, weights))


def test_labels_of_interactions_are_compared_column_by_column():
    key, y = ("u", "v"), np.array([1.0, 2.0, 4.0])
    first = sums_of([key], [(np.array(["a:b"]), np.array(["c"]))], [np.zeros(3, int)], y)
    second = sums_of([key], [(np.array(["a"]), np.array(["b:c"]))], [np.zeros(3, int)], 10 * y)
    merged = first + second
    assert by_label(merged)[0, ("a:b", "c")][1][0, 1] == 7.0
    assert by_label(merged)[0, ("a", "b:c")][1][0, 1] == 70.0
    assert len((merged + first).factors[0].index) == 2


def test_numbers_and_strings_are_different_labels():
    key, y = ("g",), np.array([1.0, 2.0])
    numbers = sums_of([key], [(np.array([1, 2]),)], [np.arange(2)], y)
    strings = sums_of([key], [(np.array(["1", "b"]),)], [np.arange(2)], 10 * y)
    merged = numbers + strings + numbers
    sums = {label: entry[1][0, 1] for (_, label), entry in by_label(merged).items()}
    assert sums == {(1,): 2.0, (2,): 4.0, ("1",): 10.0, ("b",): 20.0}


def test_nesting_may_be_lost_by_merging():
    design = random_design(
        3, relations=("nested",), n_slopes=(1, 0), terms=("unstructured",) * 2, n_rows=40
    )
    fine, coarse = design.codes
    halves = [np.arange(40) < 20, np.arange(40) >= 20]
    elsewhere = np.where(halves[0], coarse, (coarse + 1) % (coarse.max() + 1))
    both = set(fine[:20]) & set(fine[20:])
    assert both
    design = replace(design, codes=(fine, elsewhere))
    parts = [design.products(half) for half in halves]
    for part in parts:
        assert isinstance(Problem.of(part, design.spec).elimination, Chain)
    merged = parts[0] + parts[1]
    assert isinstance(Problem.of(merged, design.spec).elimination, Crossed)
    assert_same(design.products(), merged)
    assert_agrees(design, draw_lambdas(design, np.random.default_rng(0)))


@pytest.mark.parametrize("seed", range(3))
def test_sums_within_levels_are_merged_where_no_part_lost_their_digits(seed):
    """Every part keeps them of the factor it has most levels of; of the first one they are lost."""
    rng, n = np.random.default_rng(seed), 400
    first, second = rng.integers(0, 40, n), rng.integers(0, 60, n)
    effects = 1e6 * rng.normal(size=60)
    y = [effects[first] + rng.normal(size=n), effects[second] + rng.normal(size=n)]
    keys = [("f",), ("g",)]
    names = [[np.arange(40)], [np.arange(10)]], [[np.arange(40, 45)], [np.arange(10, 70)]]
    codes = [first, first % 10], [second % 5, second]
    parts = [sums_of(keys, *of_part) for of_part in zip(names, codes, y, strict=True)]
    assert [part.within.factor for part in parts] == [0, 1]
    merged = (parts[0] + parts[1]).within
    assert merged.factor == 1
    means = [np.bincount(c[1], v) / np.bincount(c[1]) for c, v in zip(codes, y, strict=True)]
    left = [v - mean[c[1]] for c, v, mean in zip(codes, y, means, strict=True)]
    assert merged.gram[-1, -1] == pytest.approx(sum(r @ r for r in left), rel=1e-12)


def test_nesting_may_be_found_in_either_order_of_the_factors():
    fine, coarse = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 0, 1, 1])
    labels = [(np.array(["a", "b", "c"]),), (np.array(["A", "B"]),)]
    y = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    for order in [(0, 1), (1, 0)]:
        codes, names = [(fine, coarse)[n] for n in order], [labels[n] for n in order]
        products = sums_of([("f",), ("g",)], names, codes, y)
        pair = products.pairs[0, 1]
        found = set(zip(pair.rows, pair.columns, pair.products[0, 0], strict=True))
        expected = {(0, 0, 2.0), (1, 0, 2.0), (2, 1, 2.0)}
        assert found == {(e[order[0]], e[order[1]], e[2]) for e in expected}
        spec = ModelSpec((0,), (Term(0, (0,)), Term(1, (0,))))
        assert isinstance(Problem.of(products, spec).elimination, Chain)


@pytest.mark.parametrize("weights", [[2.0, 1.0, 3.0, 1.0, 2.0, 4.0], [1.0] * 6])
def test_integer_weights_are_repeated_rows_bitwise(weights):
    weights = np.array(weights)
    rows = np.repeat(np.arange(6), weights.astype(int))
    codes = [np.array([0, 1, 0, 1, 2, 2]), np.array([0, 0, 1, 1, 0, 1])]
    labels = [(np.arange(3),), (np.arange(2),)]
    y = np.array([3.0, -1.0, 4.0, -1.0, 5.0, -9.0])
    keys = [("f",), ("g",)]
    weighted = sums_of(keys, labels, codes, y, weights).in_unit(1.0)
    repeated = sums_of(keys, labels, [code[rows] for code in codes], y[rows])
    assert bitwise_equal(weighted, repeated)
    assert weighted.sum_weights == repeated.sum_weights == len(rows)
    assert (weighted.n_rows, repeated.n_rows) == (6, len(rows))


@examples(40)
@given(designs(weights="integer", weighting="frequency"))
def test_integer_weights_are_repeated_rows(design):
    rows = np.repeat(np.arange(design.n_rows), design.weights.astype(int))
    repeated = replace(design, weights=None).products(rows)
    weighted = design.products().in_unit(1.0)
    weighted = replace(weighted, n_rows=len(rows), sum_log_weights=0.0)
    assert_same(uncounted(weighted), uncounted(repeated), 1e-9)


def uncounted(products):
    def forget(block):
        return replace(block, counts=0 * block.counts)

    return replace(
        products,
        factors=tuple(forget(block) for block in products.factors),
        pairs={key: forget(pair) for key, pair in products.pairs.items()},
    )


def test_integers_are_not_shifted():
    y = np.array([3.0, -1.0, 4.0, 1.0, -5.0, 9.0])
    products = sums_of([("g",)], [(np.arange(2),)], [np.array([0, 1, 0, 1, 0, 1])], y)
    assert np.array_equal(products.basis, np.eye(2))
    assert np.array_equal(products.gram, [[6.0, y.sum()], [y.sum(), (y**2).sum()]])


def test_other_columns_or_factors_cannot_be_added():
    y, codes = np.arange(4.0), [np.array([0, 1, 0, 1])]
    first = sums_of([("f",)], [(np.arange(2),)], codes, y)
    second = sums_of([("g",)], [(np.arange(2),)], codes, y)
    with pytest.raises(ValueError, match="different columns or factors"):
        first + second


@pytest.mark.parametrize("weights", [None, "fractional"])
def test_memory_does_not_grow_with_rows(weights):
    n = 4001
    design = random_design(
        4, relations=("crossed", "nested"), n_slopes=(1, 0, 2), terms=("unstructured",) * 3,
        n_rows=n, weights=weights,
    )  # fmt: skip
    products = design.products()
    problem = Problem.of(products, design.spec)
    for thing in [products, problem, products + products]:
        found = list(arrays(thing))
        assert found
        assert max(max(array.shape, default=0) for array in found) < 100
        assert all(array.base is None or array.base.size < n for array in found)
    twice = products + products
    assert len(pickle.dumps(twice)) <= 1.1 * len(pickle.dumps(products))


def test_counts_are_of_rows_whatever_their_weights():
    design = random_design(5, weights="fractional", n_rows=30)
    products = design.products(slice(0, 10)) + design.products(slice(10, 30))
    counts = {label: entry[0] for (_, label), entry in by_label(products).items()}
    whole = design.products()
    expected = {label: entry[0] for (_, label), entry in by_label(whole).items()}
    assert counts == expected
    assert sum(counts.values()) == 30


def test_sums_within_levels_keep_their_digits_when_parts_are_merged():
    """Levels a million times further apart than the rows within them."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(6), 8)
    deviations = rng.integers(-8, 9, size=48) / 16.0
    y = 2.0**20 * rng.permutation(6)[codes] + deviations
    order = rng.permutation(48)
    whole = sums_of([("g",)], [(np.arange(6),)], [codes], y)
    parts = []
    for rows in np.array_split(order, 4):
        levels, of_rows = np.unique(codes[rows], return_inverse=True)
        parts.append(sums_of([("g",)], [(levels,)], [of_rows], y[rows]))
    merged = reduce(operator.add, parts)
    means = np.bincount(codes, deviations) / 8
    expected = np.sum((deviations - means[codes]) ** 2)
    for products in (whole, merged):
        assert products.within is not None
        np.testing.assert_allclose(products.within.gram[1, 1], expected, rtol=1e-9)
