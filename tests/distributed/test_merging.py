"""Cross-products merged many at a time are those of one pass."""

import numpy as np
import pandas as pd
import pytest

from skmixed.core.sums.crossproducts import CrossProducts, arranged, united_layout
from skmixed.core.sums.layout import FactorLayout, Layout, Rows
from skmixed.design.grouping import Grouping
from skmixed.distributed._chunks import joined_frames

LAYOUT = Layout(
    ("(Intercept)", "x", "z", "y"),
    (FactorLayout(("g",), (0, 1)), FactorLayout(("h", "g"), (0,)), FactorLayout(("k",), (0, 2))),
)


def sums(table, layout=LAYOUT):
    """Sum over a table, with the levels that occur in it."""
    grouping, codes = Grouping.learn(table, [factor.key for factor in layout.factors])
    names = layout.columns[1:]
    columns = np.column_stack([np.ones(len(table)), table[list(names)]])
    return CrossProducts.of(layout, Rows(columns, codes, tuple(f.index for f in grouping.factors)))


def table(n=500, far=0.0):
    rng = np.random.default_rng(1)
    labels = np.array([f"level {i}" for i in range(40)], dtype=object)
    numbers = rng.integers(0, 40, n)
    return pd.DataFrame(
        {
            "g": labels[numbers],
            "h": rng.integers(0, 5, n),
            "k": rng.integers(10**9, 10**9 + 30, n) * 10**6,
            "x": rng.standard_normal(n) + 100,
            "z": rng.standard_normal(n),
            "y": rng.standard_normal(n) + far * numbers,
        }
    )


def assert_same_sums(ours, theirs):
    theirs = theirs.rebased(ours.basis).in_order()
    np.testing.assert_allclose(ours.gram, theirs.gram, rtol=1e-11, atol=1e-9)
    for mine, other in zip(ours.factors, theirs.factors, strict=True):
        for labels, expected in zip(mine.index.labels, other.index.labels, strict=True):
            np.testing.assert_array_equal(labels, expected)
        np.testing.assert_array_equal(mine.counts, other.counts)
        np.testing.assert_allclose(mine.products, other.products, rtol=1e-11, atol=1e-9)
    for key, pair in ours.pairs.items():
        np.testing.assert_array_equal(pair.rows, theirs.pairs[key].rows)
        np.testing.assert_array_equal(pair.columns, theirs.pairs[key].columns)
        np.testing.assert_array_equal(pair.counts, theirs.pairs[key].counts)
        np.testing.assert_allclose(pair.products, theirs.pairs[key].products, atol=1e-9)


@pytest.mark.parametrize("far", [0.0, 1e4])
@pytest.mark.parametrize("size", [40, 250, 500])
def test_merged_sums_are_those_of_one_pass(size, far):
    rows = table(far=far)
    parts = [sums(rows[i : i + size]) for i in range(0, len(rows), size)]
    merged = CrossProducts.merged([CrossProducts.merged(parts[:3]), *parts[3:]]).in_order()
    assert_same_sums(merged, sums(rows))
    if far:
        np.testing.assert_allclose(
            merged.within.gram, sums(rows).rebased(merged.basis).within.gram, rtol=1e-7, atol=1e-6
        )


def test_labels_of_several_types_stay_apart():
    rows = table().assign(g=np.resize(np.array([1, "1", 2.5, "b"], dtype=object), 500))
    merged = CrossProducts.merged([sums(rows[:200]), sums(rows[200:].assign(g=[7] * 300))])
    labels = merged.factors[0].index.labels[0].tolist()
    assert set(labels) == {1, "1", 2.5, "b", 7}
    assert len(labels) == 5


def test_column_that_a_part_does_not_have_is_zero_there():
    rows = table()
    narrow = Layout(("(Intercept)", "x", "y"), (FactorLayout(("g",), (0,)),))
    wide = Layout(("(Intercept)", "x", "z", "y"), (FactorLayout(("g",), (0, 2)),))
    rows.loc[:199, "z"] = 0.0
    parts = [sums(rows[:200], narrow), sums(rows[200:], wide)]
    layout = united_layout([part.layout for part in parts])
    merged = CrossProducts.merged([arranged(part, layout) for part in parts]).in_order()
    assert_same_sums(arranged(merged, wide), sums(rows, wide))


def test_column_that_the_response_leans_on_cannot_be_left_out():
    rows = table()
    rows["y"] = 1e4 * rows["z"] + rows["y"]
    whole = sums(rows)
    assert whole.basis[2, -1] != 0
    without = Layout(("(Intercept)", "x", "y"), (FactorLayout(("g",), (0,)),))
    with pytest.raises(ValueError, match="shifted by"):
        arranged(whole, without)


def test_layouts_of_other_factors_are_not_united():
    with pytest.raises(ValueError, match="different factors"):
        united_layout([LAYOUT, Layout(LAYOUT.columns)])


def test_small_frames_are_put_together():
    frames = [pd.DataFrame({"x": range(3)})] * 7
    assert list(map(len, joined_frames(iter(frames), 8))) == [9, 9, 3]
