"""Folds within groups."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV

from skmixed import MixedLinearRegressor
from skmixed.model_selection import WithinGroupKFold
from tests.model_selection.example import shops


def folds(groups, **settings):
    return list(WithinGroupKFold(**settings).split(np.zeros(len(groups)), groups=groups))


@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=8),
    n_splits=st.integers(2, 6),
    shuffle=st.booleans(),
    seed=st.integers(0, 99),
)
def test_folds_are_a_partition_even_within_groups(sizes, n_splits, shuffle, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    if len(groups) < n_splits:
        return
    splits = folds(
        groups, n_splits=n_splits, shuffle=shuffle, random_state=seed if shuffle else None
    )
    assert_array_equal(
        np.sort(np.concatenate([test for _, test in splits])), np.arange(len(groups))
    )
    counts = np.array([np.bincount(groups[test], minlength=len(sizes)) for _, test in splits])
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1
    several = np.flatnonzero(np.array(sizes) > 1)
    for train, test in splits:
        assert np.isin(several, groups[train]).all()
        assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(groups)))


def test_successive_rows_go_to_successive_folds():
    splits = folds(["b", "a", "b", "a", "b", "a"], n_splits=3)
    assert [test.tolist() for _, test in splits] == [[0, 1], [2, 3], [4, 5]]


def test_shuffling_is_repeatable_and_does_something():
    groups = np.repeat(np.arange(5), 8)
    first, again = (folds(groups, shuffle=True, random_state=3) for _ in range(2))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    other = folds(groups)
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    "kind",
    [
        list,
        np.array,
        pd.Series,
        pl.Series,
        pd.Categorical,
        pd.Index,
        lambda v: np.array(v)[:, None],
    ],
)
def test_labels_of_any_kind(kind):
    labels = ["u", "v", "v", "u", "v", "u", "u"]
    expected = folds(np.array(labels), n_splits=2)
    for (train, test), (known_train, known_test) in zip(
        folds(kind(labels), n_splits=2), expected, strict=True
    ):
        assert_array_equal(train, known_train)
        assert_array_equal(test, known_test)


def test_conventions_of_splitters():
    splitter = WithinGroupKFold(4, shuffle=True, random_state=1)
    assert splitter.get_n_splits() == 4
    assert repr(splitter) == "WithinGroupKFold(n_splits=4, random_state=1, shuffle=True)"
    assert splitter.get_metadata_routing().consumes("split", ["groups"]) == {"groups"}


def test_in_a_grid_search_with_routing():
    X, y = shops()
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            MixedLinearRegressor(), {"method": ["reml", "ml"]}, cv=WithinGroupKFold(3)
        ).fit(X[["x", "z"]], y, groups=X["shop"])
    assert search.best_score_ > 0.9


@pytest.mark.parametrize(
    ("settings", "groups", "message"),
    [
        ({}, None, "WithinGroupKFold requires `groups`, the"),
        ({}, ["a", "b", "a"], "n_splits=5 exceeds the number of rows, 3"),
        ({"n_splits": 2}, pd.Series(["a", None, "a"]), "1 rows have no group, the first is row 1"),
        ({"n_splits": 2}, np.zeros((3, 2)), r"groups has the columns \['group0', 'group1'\]"),
        ({"n_splits": 1}, ["a", "b", "a"], "must be an integer of at least 2, got 1"),
        ({"n_splits": True}, ["a", "b", "a"], "must be an integer of at least 2, got True"),
        ({"n_splits": 2.0}, ["a", "b", "a"], r"must be an integer of at least 2, got 2\.0"),
        ({"n_splits": 2, "random_state": 0}, ["a", "b", "a"], "unless shuffle=True"),
    ],
)
def test_what_cannot_be_split(settings, groups, message):
    with pytest.raises(ValueError, match=message):
        list(WithinGroupKFold(**settings).split(np.zeros(3), groups=groups))
