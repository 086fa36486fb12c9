"""Sums within levels: the dense way of few rows and the sparse way of many say the same."""

import numpy as np
import pytest

from skmixed.core.sums import summation


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
