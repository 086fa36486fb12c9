"""Sums within levels: the dense way of few rows and the sparse way of many say the same."""

import numpy as np
import pytest

from skmixed.core.sums import summation
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from skmixed.core.sums.summed_rows import SummedRows
from tests.core.test_crossproducts import assert_same


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_first", [1, 2])
@pytest.mark.parametrize(("n_rows", "n_levels"), [(1, 1), (30, 7), (400, 20)])
def test_dense_and_sparse_sums(n_rows, n_levels, n_first, weighted, monkeypatch):
    rng = np.random.default_rng(0)
    codes = rng.integers(n_levels, size=n_rows)
    columns = rng.standard_normal((n_rows, 4))
    weights = rng.uniform(0.5, 2.0, n_rows) if weighted else None
    given = (codes, n_levels, list(columns.T[:n_first]), columns, weights)
    dense = summation.level_sums(*given)
    monkeypatch.setattr(summation, "_DENSE_ENTRIES", 0)
    sparse = summation.level_sums(*given)
    assert dense.shape == (n_first, 4, n_levels)
    assert dense.flags.c_contiguous
    np.testing.assert_allclose(dense, sparse, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_levels", [(5, 3), (300, 70)])
@pytest.mark.parametrize("slopes", [((0,), (0,)), ((0, 2), (0, 1, 2))])
def test_columns_in_either_order_have_the_same_sums(slopes, n_levels, weighted):
    rng = np.random.default_rng(0)
    n = 2**14 + 100  # more rows than are multiplied at a time
    by_row = np.column_stack([np.ones(n), 1e6 + rng.standard_normal(n), rng.random((n, 2))])
    codes = tuple(rng.permutation(np.arange(n) % size) for size in n_levels)
    indexes = tuple(
        GroupIndex((name,), (np.arange(size),)) for name, size in zip("gh", n_levels, strict=True)
    )
    factors = tuple(FactorLayout((name,), z) for name, z in zip("gh", slopes, strict=True))
    layout = Layout(("1", "x", "z", "y"), factors)
    weights = rng.uniform(0.5, 2.0, n) if weighted else None
    rows = Rows(by_row, codes, indexes, weights)
    turned = Rows(np.asfortranarray(by_row), codes, indexes, weights)
    sums = CrossProducts.of(layout, rows)
    assert_same(CrossProducts.of(layout, turned), sums, 1e-12)
    shifted = by_row @ sums.basis
    given = shifted if weights is None else shifted * weights[:, None]
    np.testing.assert_allclose(sums.gram, shifted.T @ given, rtol=1e-11, atol=1e-9)
    out = np.arange(0, n, 7)
    np.testing.assert_array_equal(turned.take(out).columns, rows.take(out).columns)
    mine, other = (SummedRows.of(layout, each).without(out) for each in (turned, rows))
    assert_same(mine, other, 1e-11)
