import datetime
import pickle
import threading
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skmixed.design.tables import (
    UNKNOWN,
    Labels,
    column,
    column_names,
    is_frame,
    not_numeric,
    select,
    to_pandas,
)
from skmixed.design.wording import list_rows

DAYS = pd.date_range("2020-02-27", periods=4)


def check_round_trip(values, again=None):
    """Labels of the codes are the values, and looking the values up gives the codes again."""
    labels, codes = Labels.learn(values)
    assert codes.dtype == np.intp
    assert sorted(set(codes)) == list(range(len(labels)))
    assert list(labels.values[codes]) == list(values)
    again = values if again is None else again
    assert_array_equal(labels.codes(again), codes)
    assert_array_equal(pickle.loads(pickle.dumps(labels)).codes(again), codes)
    return labels, codes


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([3, 1, 2, 3]),
        np.array([3, 1, 2, 3], dtype=np.int8),
        np.array([200, 0, 255, 0], dtype=np.uint8),
        np.array([5, -7, 5, 10**15]),
        np.array([-(2**63), 2**63 - 1, 0]),
        np.array([2**63 + 6, 2**63 + 5, 2**63 + 7], dtype=np.uint64),
        np.array([2**64 - 1, 0, 3], dtype=np.uint64),
        pd.Series([10**30, 2, 10**30], dtype=object),
        pd.Series([0.5, -1.25, np.inf, 0.5]),
        np.array([0.5, 0.25, 0.5], dtype=np.float32),
        np.array([0.5, 2.0, 0.5], dtype=np.float16),
        np.array([0.1, 2.0, 0.1], dtype=np.longdouble),
        np.array([3.0, -0.0, 7.0, 3.0]),
        np.array([3.0, 2.0**70, -(2.0**63)]),
        np.array([3, 1, 2, 3], dtype=">i4"),
        pd.Series(np.array([0.5, 0.25], dtype=">f8")),
        pd.Series([True, False, True]),
        np.array([True, True]),
        pd.Series(["b", "a", "", "ä", "a"]),
        pd.Series(["b", "a"], dtype=object),
        pd.Series(["b", "a"], dtype="string"),
        np.array(["b", "a", "b"]),
        np.array([b"b", b"a"], dtype=object),
        pd.Series(DAYS),
        DAYS.to_numpy(),
        pd.Series(DAYS.tz_localize("Europe/Paris")),
        pd.Series(DAYS - DAYS[0]),
        pd.Series(DAYS.to_period("M")),
        pd.Series(pd.interval_range(0, 3)),
        pd.Series([datetime.date(2020, 1, 2), datetime.date(2019, 1, 2)]),
        pd.Series([Decimal("1.10"), Decimal("2")]),
        pd.Series([("a", 1), ("a", 2), ("a", 1)]),
        pd.Series([1, "a", 2.5, "b"], dtype=object),
        pd.Series([3, 1, 3], dtype="Int64"),
        pd.Series([True, False], dtype="boolean"),
        pd.Series(["b", "a", "b"]).astype("category"),
        pd.Series([3, 1, 3]).astype("category"),
    ],
    ids=lambda values: f"{type(values).__name__}-{values.dtype}",
)
def test_labels_of_every_type_are_found_again(values):
    check_round_trip(values)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint8", "uint16", "int64", "uint64"])
def test_integers_that_fill_the_range_of_their_type(dtype):
    info = np.iinfo(dtype)
    low, high = max(info.min, -200), min(info.max, 200)
    values = np.random.default_rng(0).permutation(np.arange(low, high + 1)).astype(dtype)
    labels, _ = check_round_trip(values)
    assert_array_equal(labels.values, np.arange(low, high + 1))


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5), min_size=1))
def test_any_integers(values):
    labels, _ = check_round_trip(np.array(values))
    assert_array_equal(labels.values, sorted(set(values)))


# pandas 2 takes the character of code 0 for the end of a string; half a surrogate pair is no text.
@given(
    st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=3), min_size=1)
)
def test_any_strings(values):
    labels, _ = check_round_trip(pd.Series(values, dtype=object))
    assert list(labels.values) == sorted(set(values))


@pytest.mark.parametrize(
    ("learned", "looked_up"),
    [
        (np.array([3, 1, 2]), np.array([3.0, 1.0, 2.0])),
        (np.array([3, 1, 2]), pd.Series([3, 1, 2], dtype="Int64")),
        (np.array([3, 1, 2]), pd.Series([3, 1, 2], dtype=object)),
        (np.array([3, 1, 2]), np.array([3, 1, 2], dtype=np.uint8)),
        (pd.Series(["b", "a"]), np.array(["b", "a"])),
        (np.array(["b", "a"]), pd.Series(["b", "a"], dtype="string")),
        (pd.Series(["b", "a"]), pd.Series(pd.Categorical(["b", "a"], categories=["x", "b", "a"]))),
        (pd.Series(["b", "a"]).astype("category"), pd.Series(["b", "a"])),
        (pd.Series(DAYS).astype("datetime64[ns]"), pd.Series(DAYS).astype("datetime64[s]")),
        (pd.Series(DAYS.tz_localize("UTC")), pd.Series(DAYS.tz_localize("UTC")).astype(object)),
    ],
)
def test_equal_labels_of_another_type_are_the_same(learned, looked_up):
    check_round_trip(learned, again=looked_up)


def test_labels_are_sorted_and_categories_keep_their_order():
    assert list(Labels.learn(pd.Series(["b", "c", "a"]))[0].values) == ["a", "b", "c"]
    assert list(Labels.learn(pd.Series([10, 9]))[0].values) == [9, 10]
    categories = pd.Categorical(["a", "c", "a"], categories=["z", "c", "y", "a"], ordered=True)
    labels, codes = Labels.learn(pd.Series(categories))
    assert list(labels.values) == ["c", "a"]
    assert_array_equal(codes, [1, 0, 1])


@pytest.mark.parametrize(
    "values",
    [
        [1.0, np.nan, 2.0],
        pd.Series(["a", None, "b"]),
        pd.Series(["a", np.nan, "b"], dtype=object),
        pd.Series(["a", None, "b"]).astype("category"),
        pd.Series([1, None, 2], dtype="Int64"),
        pd.Series([pd.Timestamp("2020"), pd.NaT, pd.Timestamp("2021")]),
    ],
)
def test_missing_labels_are_unknown(values):
    values = values if isinstance(values, pd.Series) else np.array(values)
    labels, codes = Labels.learn(values)
    assert_array_equal(codes, [0, UNKNOWN, 1])
    assert_array_equal(labels.codes(values), codes)


def test_labels_that_were_not_learned_are_unknown():
    labels, _ = Labels.learn(pd.Series(["a", "b"]))
    assert_array_equal(labels.codes(pd.Series(["c", "b", None])), [UNKNOWN, 1, UNKNOWN])
    assert_array_equal(labels.codes(pd.Series(["c", "b", None]).astype("category")), [-1, 1, -1])
    assert_array_equal(labels.codes(np.array([1, 2])), [UNKNOWN, UNKNOWN])
    numbers, _ = Labels.learn(np.array([1, 2]))
    assert_array_equal(numbers.codes(pd.Series(["1", "2"])), [UNKNOWN, UNKNOWN])


def test_a_category_column_without_rows_of_its_own():
    labels, codes = Labels.learn(pd.Series(pd.Categorical([None, None], categories=["a"])))
    assert len(labels) == 0
    assert_array_equal(codes, [UNKNOWN, UNKNOWN])
    assert_array_equal(labels.codes(pd.Series(["a"])), [UNKNOWN])


def test_learning_leaves_the_column_as_it_was():
    values = pd.Series(["b", "a", "b"], index=[5, 5, 1], name="g")
    copy = values.copy()
    Labels.learn(values)
    pd.testing.assert_series_equal(values, copy)


def test_first_look_ups_from_many_threads_agree():
    values = np.random.default_rng(0).permutation(50_000) * 7
    learned, codes = Labels.learn(values)
    fresh = pickle.loads(pickle.dumps(learned))  # without its hash table
    start, found = threading.Barrier(8), [None] * 8

    def look_up(i):
        start.wait()
        found[i] = fresh.codes(values)

    threads = [threading.Thread(target=look_up, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found:
        assert_array_equal(each, codes)


FRAME = pd.DataFrame({"x": [1.5, 2.5], "g": ["a", "b"], "n": [1, 2]})


@pytest.mark.parametrize(
    "make", [lambda f: f, pl.from_pandas, lambda f: pa.Table.from_pandas(f, preserve_index=False)]
)
def test_tables_of_every_library_are_read_alike(make):
    frame = make(FRAME)
    assert is_frame(frame)
    assert column_names(frame) == ["x", "g", "n"]
    assert list(column(frame, 1)) == ["a", "b"]
    chosen = select(frame, [2, 0])
    assert type(chosen) is type(frame)
    assert column_names(chosen) == ["n", "x"]
    assert to_pandas(frame).to_dict("list") == FRAME.to_dict("list")


@pytest.mark.parametrize("other", [FRAME["x"], FRAME.to_numpy(), [[1]], {"x": [1]}, None, 3])
def test_what_is_no_table(other):
    assert not is_frame(other)


def test_a_lazy_table_has_to_be_collected():
    with pytest.raises(TypeError, match=r"LazyFrame is lazy .* collect it first"):
        is_frame(pl.from_pandas(FRAME).lazy())


def test_categories_of_other_libraries_stay_categories():
    enum = pl.Series("g", ["a", "b", "a"], dtype=pl.Enum(["b", "a", "c"]))
    converted = to_pandas(pl.DataFrame({"g": enum}))["g"]
    assert list(converted) == ["a", "b", "a"]
    assert list(converted.cat.categories) == ["b", "a", "c"]
    dictionary = pa.table({"g": pa.array(["b", "a", "b"]).dictionary_encode()})
    assert isinstance(to_pandas(dictionary)["g"].dtype, pd.CategoricalDtype)
    assert list(column(dictionary, 0)) == ["b", "a", "b"]


def test_column_names_are_strings():
    assert column_names(pd.DataFrame({0: [1], 1: [2]})) == ["0", "1"]


def test_columns_that_are_not_numeric():
    table = pd.DataFrame(
        {
            "number": [1.0, 2.0],
            "whole": pd.Series([1, None], dtype="Int64"),
            "truth": [True, False],
            "objects": pd.Series([1, Decimal(2)], dtype=object),
            "nothing": pd.Series([None, None], dtype=object),
            "arrow": pd.Series([1, 2], dtype=pd.ArrowDtype(pa.int8())),
            "text": ["1", "2"],
            "mixed": pd.Series([1, "2"], dtype=object),
            "days": DAYS[:2],
            "kinds": pd.Categorical([1, 2]),
        }
    )
    assert not_numeric(table) == ["text", "mixed", "days", "kinds"]
    polars = pl.DataFrame({"a": [1], "b": [True], "c": [None], "d": ["1"], "e": [b"1"]})
    assert not_numeric(polars) == ["d", "e"]
    assert not_numeric(polars.to_arrow()) == ["d", "e"]


def test_rows_are_listed_up_to_ten():
    assert list_rows([4, 77]) == "4, 77"
    assert list_rows(np.arange(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (12 in all)"


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_dates_and_durations_of_arrow(unit, zone):
    dates = pd.Series(DAYS)
    in_arrow = dates.dt.tz_localize(zone).astype(pd.ArrowDtype(pa.timestamp(unit, zone)))
    durations = (dates - dates[0]).astype(pd.ArrowDtype(pa.duration(unit)))
    for values in (in_arrow, durations):
        labels, codes = Labels.learn(values)
        assert_array_equal(codes, range(4))
        assert_array_equal(labels.codes(values), codes)
        missing = values.copy()
        missing[1] = None
        assert_array_equal(labels.codes(missing), [0, -1, 2, 3])
