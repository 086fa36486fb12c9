"""Levels of grouping factors and their union, whatever the labels are."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skmixed.core.sums.layout import GroupIndex, concatenated_labels, unique_rows
from tests.core.strategies import examples

TEXTS = st.text("ab:0", max_size=3)
NUMBERS = st.integers(-3, 3)
KINDS = {
    "texts": (TEXTS, str),
    "numbers": (NUMBERS, np.int64),
    "small numbers": (NUMBERS, np.int8),
    "floats": (st.sampled_from([-1.5, 0.0, 0.5, 2.0]), np.float64),
    "booleans": (st.booleans(), bool),
    "mixed": (st.one_of(TEXTS, NUMBERS, st.none()), object),
    "tuples": (st.tuples(NUMBERS, NUMBERS), object),
}


def labels_of(values, dtype):
    if dtype is not object:
        return np.array(values, dtype=dtype)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@st.composite
def indexes(draw, kinds, key=("g", "h")):
    """Draw levels without repetition; `kinds` names the labels of each column of the key."""
    values, dtypes = zip(*[KINDS[kind] for kind in kinds], strict=True)
    rows = draw(st.lists(st.tuples(*values), unique=True, min_size=1, max_size=6))
    columns = zip(*rows, strict=True)
    labels = tuple(labels_of(c, dtype) for c, dtype in zip(columns, dtypes, strict=True))
    return GroupIndex(key[: len(kinds)], labels)


def levels(index):
    return list(zip(*[column.tolist() for column in index.labels], strict=True))


@st.composite
def pairs(draw):
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=2))
    others = [draw(st.sampled_from([kind, "mixed", "texts"])) for kind in kinds]
    return draw(indexes(kinds)), draw(indexes(others))


@examples(200)
@given(pairs())
def test_union_holds_every_level_once(both):
    first, second = both
    index, (of_first, of_second) = first.union(second)
    merged = levels(index)
    assert len(index) == len(merged) == len(set(levels(first)) | set(levels(second)))
    assert set(merged) == set(levels(first)) | set(levels(second))
    assert [merged[n] for n in of_first] == levels(first)
    assert [merged[n] for n in of_second] == levels(second)
    assert index.key == first.key


@examples(60)
@given(st.lists(st.sampled_from(["texts", "numbers", "floats"]), min_size=1, max_size=2), st.data())
def test_union_of_labels_with_an_order_is_sorted_and_symmetric(kinds, data):
    first, second = data.draw(indexes(kinds)), data.draw(indexes(kinds))
    (one, places), (other, swapped) = first.union(second), second.union(first)
    if levels(first) != levels(second):  # the same levels stay in their order
        assert levels(one) == sorted(levels(one))
    assert levels(one) == levels(other)
    assert np.array_equal(places[0], swapped[1])
    assert np.array_equal(places[1], swapped[0])


@examples(60)
@given(pairs(), st.data())
def test_union_is_associative_in_its_levels(both, data):
    first, second = both
    third = data.draw(indexes(["mixed"] * len(first.key)))
    left = first.union(second)[0].union(third)[0]
    right = first.union(second.union(third)[0])[0]
    together, places = first.union(second, third)
    assert set(levels(left)) == set(levels(right)) == set(levels(together))
    assert len(left) == len(right) == len(together)
    for index, where in zip((first, second, third), places, strict=True):
        assert levels(together.take(where)) == levels(index)


@examples(60)
@given(pairs())
def test_union_with_itself_changes_no_level(both):
    for index in both:
        union, places = index.union(index)
        assert len(union) == len(index)
        assert np.array_equal(*places)


def test_labels_are_compared_column_by_column():
    key = ("u", "v")
    first = GroupIndex(key, (np.array(["a:b"]), np.array(["c"])))
    second = GroupIndex(key, (np.array(["a"]), np.array(["b:c"])))
    assert levels(first.union(second)[0]) == [("a", "b:c"), ("a:b", "c")]


def test_numbers_stay_numbers_beside_texts():
    first = GroupIndex(("g",), (np.array([1, 2]),))
    second = GroupIndex(("g",), (np.array(["1", "x"]),))
    union, _ = first.union(second)
    assert set(levels(union)) == {(1,), (2,), ("1",), ("x",)}


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_mixed_labels_find_their_place_in_any_order_of_merging(order):
    parts = [np.array([1, 5]), np.array(["a", "1"]), np.array([5, 7])]
    indexes = [GroupIndex(("g",), (labels,)) for labels in parts]
    first, second, third = (indexes[n] for n in order)
    union, (_, places) = first.union(second)[0].union(third)
    assert [levels(union)[n] for n in places] == levels(third)
    assert len(union) == 5
    assert set(levels(union)) == {(1,), (5,), (7,), ("a",), ("1",)}


def test_longer_texts_are_not_cut():
    first = GroupIndex(("g",), (np.array(["a"]),))
    second = GroupIndex(("g",), (np.array(["abcdef"]),))
    assert levels(first.union(second)[0]) == [("a",), ("abcdef",)]


def test_equal_numbers_of_different_types_are_one_level():
    first = GroupIndex(("g",), (np.array([1, 2], dtype=np.int8),))
    second = GroupIndex(("g",), (np.array([2.0, 3.0]),))
    assert [float(label) for (label,) in levels(first.union(second)[0])] == [1.0, 2.0, 3.0]


def test_dates_are_labels():
    first = GroupIndex(("g",), (np.array(["2020-01-02", "2020-01-01"], dtype="datetime64[D]"),))
    second = GroupIndex(("g",), (np.array(["2020-01-01"], dtype="datetime64[ns]"),))
    union, places = first.union(second)
    assert len(union) == 2
    assert places[0].tolist() == [1, 0]
    assert places[1].tolist() == [0]


def test_levels_of_different_factors_cannot_be_merged():
    first = GroupIndex(("g",), (np.array([1]),))
    second = GroupIndex(("h",), (np.array([1]),))
    with pytest.raises(ValueError, match="'g' with 'h'"):
        first.union(second)


def test_name_is_that_of_lme4():
    index = GroupIndex(("class", "school"), (np.array([1]), np.array([2])))
    assert index.name == "class:school"


def test_take_selects_in_the_order_given():
    index = GroupIndex(("g", "h"), (np.array(["a", "b", "c"]), np.array([1, 2, 3])))
    assert levels(index.take(np.array([2, 0]))) == [("c", 3), ("a", 1)]
    assert len(index.take(np.array([], dtype=int))) == 0


@examples(100)
@given(st.lists(st.tuples(TEXTS, NUMBERS), min_size=1, max_size=30))
def test_distinct_rows_are_numbered_in_sorted_order(rows):
    columns = [np.array([row[0] for row in rows]), np.array([row[1] for row in rows])]
    codes, first = unique_rows(columns)
    distinct = sorted(set(rows))
    assert [distinct[code] for code in codes] == rows
    assert [rows[place] for place in first] == distinct
    assert all(place == rows.index(row) for place, row in zip(first, distinct, strict=True))


def test_many_columns_of_many_labels_do_not_overflow():
    rng = np.random.default_rng(0)
    columns = [rng.integers(10**6, size=2000) for _ in range(12)]
    columns = [np.concatenate([column, column]) for column in columns]
    codes, first = unique_rows(columns)
    assert np.array_equal(codes[:2000], codes[2000:])
    assert len(first) == 2000


def test_concatenation_keeps_the_kind_of_equal_kinds():
    assert concatenated_labels(np.array(["a"]), np.array(["bcd"])).dtype.kind == "U"
    assert concatenated_labels(np.array([1]), np.array([2])).dtype.kind == "i"
    assert concatenated_labels(np.array([1]), np.array(["a"])).tolist() == [1, "a"]
