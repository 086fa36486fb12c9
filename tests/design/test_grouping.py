import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from skmixed.design.grouping import Grouping
from skmixed.design.tables import UNKNOWN

COLUMNS = {
    "a": pd.Series(["x:y", "x", "x:y", "x"]),
    "b": pd.Series(["z", "y:z", "z", "w"]),
    "c": np.array([2, 1, 1, 2]),
}


def levels(grouping, factor):
    index = grouping.factors[factor].index
    return list(zip(*(list(labels) for labels in index.labels), strict=True))


def test_a_level_is_a_combination_that_occurs():
    grouping, (a, ab, bac) = Grouping.learn(COLUMNS, [("a",), ("a", "b"), ("b", "a", "c")])
    assert [factor.index.key for factor in grouping.factors] == [
        ("a",),
        ("a", "b"),
        ("b", "a", "c"),
    ]
    assert levels(grouping, 0) == [("x",), ("x:y",)]
    # "x:y" with "z" and "x" with "y:z" are different levels, though both read x:y:z.
    assert levels(grouping, 1) == [("x", "w"), ("x", "y:z"), ("x:y", "z")]
    assert len(levels(grouping, 2)) == 4
    assert_array_equal(a, [1, 0, 1, 0])
    assert_array_equal(ab, [2, 1, 2, 0])
    rows = list(zip(COLUMNS["b"], COLUMNS["a"], COLUMNS["c"], strict=True))
    assert [levels(grouping, 2)[code] for code in bac] == rows


def test_new_rows_are_looked_up_by_label():
    grouping, (learned, _) = Grouping.learn(COLUMNS, [("a", "b"), ("c",)])
    for again in (grouping, pickle.loads(pickle.dumps(grouping))):
        backwards = {name: values[::-1] for name, values in COLUMNS.items()}
        found, _ = again.codes(backwards, 4)
        assert_array_equal(found, learned[::-1])


def test_what_was_not_learned_is_unknown_factor_by_factor():
    grouping, _ = Grouping.learn(COLUMNS, [("a", "b"), ("a",), ("c",)])
    new = {"a": ["x", "x", "new", None], "b": ["w", "z", "w", "w"], "c": np.array([1, 9, 2, 2])}
    new = {name: pd.Series(values) for name, values in new.items()}
    ab, a, c = grouping.codes(new, 4)
    # The second row has labels that are known, but never came together.
    assert_array_equal(ab, [0, UNKNOWN, UNKNOWN, UNKNOWN])
    assert_array_equal(a, [0, 0, UNKNOWN, UNKNOWN])
    assert_array_equal(c, [0, UNKNOWN, 1, 1])


def test_a_column_that_is_not_there_is_unknown():
    grouping, _ = Grouping.learn(COLUMNS, [("a", "b"), ("c",)])
    ab, c = grouping.codes({"a": COLUMNS["a"], "c": COLUMNS["c"]}, 4)
    assert_array_equal(ab, [UNKNOWN] * 4)
    assert_array_equal(c, [1, 0, 0, 1])


def test_missing_labels_are_refused_when_learning():
    columns = {**COLUMNS, "b": pd.Series(["z", None, "z", np.nan])}
    with pytest.raises(ValueError, match=r"contain NaN: grouping column 'b' .* in rows 1, 3\."):
        Grouping.learn(columns, [("a", "b")])
    Grouping.learn(columns, [("a",), ("c",)])  # a column that is not used may have them
    many = {"g": np.full(30, np.nan)}
    with pytest.raises(ValueError, match=r"rows 0, 1, .* 9, \.\.\. \(30 in all\)"):
        Grouping.learn(many, [("g",)])


def test_a_label_that_cannot_be_hashed():
    with pytest.raises(TypeError, match=r"column 'g'.*unhashable.*string, a number"):
        Grouping.learn({"g": pd.Series([{"a": 1}, {"a": 2}])}, [("g",)])


def test_too_many_combinations_to_number():
    n = 1 << 13
    columns = {name: np.arange(n) for name in "abcde"}
    with pytest.raises(ValueError, match="too many combinations"):
        Grouping.learn(columns, [tuple("abcde")])
