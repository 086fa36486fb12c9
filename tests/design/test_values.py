"""Kinds of values: which are numbers, which categories, which labels, and what is refused."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skmixed.design.formula import evaluate_expression, learn_matrix
from skmixed.design.tables import UNKNOWN, Labels, column
from skmixed.design.values import check_labels, kind_of, operand_kind

pytest.importorskip("formulaic")

OBJECTS = {"dtype": object}


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "x": [1.0, 2.5, 3.0, 4.0, 5.0, 6.0],
            "g": ["b", "a", "c", "a", "b", "c"],
            "flag": [True, False, True, True, False, False],
        }
    )


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "numbers"),
        (np.array([0.5, np.nan]), "numbers"),
        (pd.Series([1, None], dtype="Int64"), "numbers"),
        (pd.Series([1, None], **OBJECTS), "numbers"),
        (pd.Series([Decimal(1), 0.5, True, Fraction(1, 2)], **OBJECTS), "numbers"),
        (pa.chunked_array([[Decimal("1.5")], [None]]), "numbers"),
        (pl.Series([1, None]), "numbers"),
        (np.array([1j]), "complex numbers"),
        (np.array([True]), "truth values"),
        (pd.Series([True, None], dtype="boolean"), "truth values"),
        (pd.Series([None, False], **OBJECTS), "truth values"),
        (pl.Series([None, True]), "truth values"),
        (np.array(["a"]), "text"),
        (pd.Series([None, "a"]), "text"),
        (pd.Series([None, "a"], dtype="string"), "text"),
        (pl.Series(["a", None]), "text"),
        (pl.Series(["a"], dtype=pl.Categorical), "text"),
        (pa.array(["a", "b"]).dictionary_encode(), "text"),
        (pd.Categorical(["a"]), "text"),
        (pd.Categorical([1, 2]), "numbers"),
        (pd.Series([1, "a"], **OBJECTS), "others"),
        (pd.Series([(1, 2)], **OBJECTS), "others"),
        (pd.Series([b"a"], **OBJECTS), "others"),
        (np.array(["2024-02-29"], dtype="datetime64[D]"), "dates"),
        (pd.Series([pd.Timestamp(0).date(), None], **OBJECTS), "dates"),
        (pl.Series([pd.Timestamp(0).date(), None]), "dates"),
        (pd.Series([pd.Timedelta(1)], **OBJECTS), "durations"),
        (pl.Series([pd.Timedelta(1).to_pytimedelta()]), "durations"),
        ([], "nothing"),
        ([np.nan, np.nan], "nothing"),
        (pd.Series([None, pd.NA], **OBJECTS), "nothing"),
        (pl.Series([None, None], dtype=pl.String), "nothing"),
    ],
)
def test_kinds(values, kind):
    assert kind_of(values) == kind
    is_category = isinstance(getattr(values, "dtype", None), pd.CategoricalDtype)
    assert operand_kind(values) == ("categories" if is_category and kind != "text" else kind)


IDS = 2**60 + np.arange(3)


@pytest.mark.parametrize(
    "labels",
    [
        IDS.astype(float),
        pd.Series(IDS).astype(float),
        pd.Series(IDS, dtype="Float64"),
        pd.Series(IDS.astype(float)).astype(pd.ArrowDtype(pa.float64())),
        pd.Series(IDS.astype(float), **OBJECTS),
        pd.Series([3, *IDS.astype(float)], **OBJECTS),
        pd.Series(pd.Categorical(IDS.astype(float))),
        np.array([2.0**53]),
        np.array([-(2.0**53)]),
        np.array([2**24], dtype=np.float32),
        pd.Series([2**24], dtype="Float32"),
    ],
)
def test_labels_that_may_have_fallen_together_are_refused(labels):
    with pytest.raises(ValueError, match=r"inexact labels in X: .*'g' .* 2\*\*(53|24) .*'Int64'"):
        check_labels({"g": labels}, "X")


@pytest.mark.parametrize(
    "labels",
    [
        IDS,
        pd.Series([*IDS, None], dtype="Int64"),
        pd.Series([*IDS, None], **OBJECTS),
        pd.Series([*IDS, np.nan], **OBJECTS),
        pl.Series([*IDS.tolist(), None]),
        np.array([2.0**53 - 1, np.nan]),
        pd.Series(["1e300"]),
    ],
)
def test_labels_that_are_exact(labels):
    check_labels({"g": labels}, "X")


# The hash table of an old pandas itself ends texts at a NUL.
KEEPS_NUL = len(pd.factorize(np.array(["a", "a\0"], dtype=object))[1]) == 2


@pytest.mark.parametrize("library", [pl.DataFrame, lambda data: pl.DataFrame(data).to_arrow()])
def test_labels_of_other_libraries_stay_apart(library):
    wanted = [0, 1, -1, 2]
    texts = ["a", "a\0", None, "a\0\0"] if KEEPS_NUL else ["a", "b", None, "c"]
    for labels in ([*IDS[:2].tolist(), None, int(IDS[2])], texts):
        learned, codes = Labels.learn(column(library({"g": labels}), 0))
        assert_array_equal(codes, wanted)
        assert_array_equal(learned.codes(pd.Series(labels, **OBJECTS)), wanted)
    if not KEEPS_NUL:
        return
    complete = ["b", "b\0", "b\0\0"]  # numpy's own text would lose the end
    assert_array_equal(Labels.learn(column(library({"g": complete}), 0))[1], range(3))


TENTHS = np.array([0.1, 0.2, 3.0, 0.7])


@pytest.mark.parametrize("first", [np.float16, np.float32, np.float64, "Float32", "float[pyarrow]"])
@pytest.mark.parametrize("second", [np.float16, np.float32, np.float64, "Float32", "Float64"])
def test_labels_are_the_same_in_every_precision(first, second):
    labels, codes = Labels.learn(pd.Series(TENTHS).astype(first))
    assert_array_equal(labels.values, np.sort(TENTHS))
    assert_array_equal(labels.codes(pd.Series(TENTHS).astype(second)), codes)


@pytest.mark.parametrize("narrow", [np.float16, np.float32])
def test_labels_are_found_after_a_change_of_precision(narrow):
    as_double = TENTHS.astype(narrow).astype(float)
    for learned, other in ((TENTHS.astype(narrow), as_double), (as_double, TENTHS.astype(narrow))):
        labels, codes = Labels.learn(learned)
        assert_array_equal(labels.codes(other), codes)
    labels, _ = Labels.learn(TENTHS)
    assert_array_equal(labels.codes(np.array([0.1, 0.25, np.nan])), [0, UNKNOWN, UNKNOWN])


DAYS = pd.Series(pd.date_range("2024-02-28", periods=3))


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("second", range(4))
def test_dates_are_the_same_in_every_type(first, second):
    kinds = [DAYS, DAYS.dt.date, DAYS.astype(pd.ArrowDtype(pa.date32())), DAYS.to_numpy("M8[D]")]
    labels, codes = Labels.learn(kinds[first])
    assert_array_equal(codes, range(3))
    assert_array_equal(labels.codes(kinds[second]), codes)
    assert_array_equal(labels.codes(kinds[second][1:]), codes[1:])
    hours = kinds[first] if first == 0 else DAYS + pd.Timedelta(hours=second)
    assert_array_equal(labels.codes(hours) >= 0, first == 0 or second == 0)


@pytest.mark.parametrize("beside", ["", " + poly(x, 2)"])
def test_truth_values_are_a_factor_of_two_levels(frame, beside):
    flag = frame["flag"].to_numpy()
    learned, values = learn_matrix("0 + flag" + beside, frame)
    assert learned.names[:2] == ("flag[False]", "flag[True]")
    assert_array_equal(values[:, :2], np.column_stack([~flag, flag]))
    assert learned.categories == {"flag": (False, True)}
    for now in (frame["flag"].astype(object), frame["flag"] * 1, frame["flag"].astype("boolean")):
        assert_array_equal(learned.matrix(frame.assign(flag=now)), values)
    with pytest.raises(ValueError, match=r"'flag' held truth values .* other numbers than 0 and 1"):
        learned.matrix(frame.assign(flag=2))
    with pytest.raises(ValueError, match="'flag' was numeric in fitting and is categorical now"):
        learned.matrix(frame.assign(flag="True"))


@pytest.mark.parametrize("flags", [True, False])
def test_truth_values_have_two_levels_where_one_occurs(frame, flags):
    learned, values = learn_matrix("flag", frame.assign(flag=flags))
    assert learned.names == ("(Intercept)", "flag[T.True]")
    assert_array_equal(values[:, 1], np.full(len(frame), flags))
    assert_array_equal(learned.matrix(frame)[:, 1], frame["flag"])


@pytest.mark.parametrize("beside", ["", " + poly(x, 2)"])
@pytest.mark.parametrize(
    ("expression", "function"),
    [
        ("I(flag + flag)", lambda flag, x: 2 * flag),
        ("I(-flag)", lambda flag, x: -1 * flag),
        ("I(flag * x)", lambda flag, x: flag * x),
        ("exp(flag)", lambda flag, x: np.exp(1.0 * flag)),
        ("I(flag^2 / 3)", lambda flag, x: flag / 3),
    ],
)
def test_truth_values_are_numbers_where_one_calculates(frame, expression, function, beside):
    learned, values = learn_matrix(expression + beside, frame)
    wanted = function(frame["flag"].to_numpy(), frame["x"].to_numpy())
    assert_allclose(values[:, 1], wanted, rtol=1e-15)
    assert_array_equal(learned.matrix(frame), values)


@pytest.mark.parametrize("expression", ["flag", "I(flag)", "flag & (x > 0)", "flag == True"])
def test_truth_values_are_numbers_in_responses_and_offsets(frame, expression):
    assert_array_equal(evaluate_expression(expression, frame), frame["flag"])


def test_numbers_of_other_types_are_numbers(frame):
    x = frame["x"]
    expected = learn_matrix("x * g", frame)[1]
    for now in (
        x.astype(object),
        pd.Series([Decimal(str(value)) for value in x]),
        x.astype("Float64"),
        x.astype(pd.ArrowDtype(pa.float64())),
        pd.Series([Decimal(str(v)) for v in x], dtype=pd.ArrowDtype(pa.decimal128(12, 4))),
        x.astype(pd.SparseDtype(float)),
    ):
        learned, values = learn_matrix("x * g", frame.assign(x=now))
        assert not learned.known.categorical & {"x"}
        assert_array_equal(values, expected)
        assert_array_equal(evaluate_expression("x", frame.assign(x=now)), x)
    with pytest.raises(ValueError, match="'x' has missing values in row 1"):
        learn_matrix("x", frame.assign(x=pd.Series([1, None, *range(len(x) - 2)], dtype=object)))


DURATIONS = pd.Series(pd.to_timedelta(range(6), unit="D"))
DATES = pd.Timestamp("2024-02-28") + DURATIONS


@pytest.mark.parametrize("expression", ["x", "0 + x", "x:g", "I(2 * x)", "poly(x, 2)"])
@pytest.mark.parametrize(
    "values",
    [
        DURATIONS,
        DURATIONS.astype("timedelta64[s]"),
        DURATIONS.astype(object),
        DURATIONS.astype(pd.ArrowDtype(pa.duration("ms"))),
        DATES,
        DATES.dt.tz_localize("Asia/Tokyo"),
        DATES.dt.date,
        DATES.astype(pd.ArrowDtype(pa.date32())),
    ],
    ids=lambda values: str(values.dtype),
)
def test_dates_and_durations_are_refused(frame, values, expression):
    table = frame.assign(x=values)
    with pytest.raises(ValueError, match=r"'x' holds dates or durations .*: turn"):
        learn_matrix(expression, table)
    with pytest.raises(ValueError, match=r"'x' holds dates or durations .*: turn"):
        evaluate_expression("x", table)
    assert learn_matrix("C(x)", table)[1].shape == (6, 6)


def test_types_that_are_neither_numbers_nor_categories(frame):
    with pytest.raises(ValueError, match=r"'x' holds period\[M\], which is neither numbers nor"):
        learn_matrix("x", frame.assign(x=pd.period_range("2024-01", periods=6, freq="M")))


@pytest.mark.parametrize("beside", ["", " + poly(x, 2)"])
def test_categories_that_are_numbers_take_numbers_later(frame, beside):
    table = frame.assign(day=pd.Categorical([3, 1, 2, 3, 1, 2]))
    learned, values = learn_matrix("day" + beside, table)
    for now in ([3, 1, 2, 3, 1, 2], [3.0, 1.0, 2.0, 3.0, 1.0, 2.0]):
        assert_array_equal(learned.matrix(table.assign(day=now)), values)
    with pytest.raises(ValueError, match="'day' has values not seen in fitting: 7"):
        learned.matrix(table.assign(day=[3, 1, 2, 3, 1, 7]))
    with pytest.raises(ValueError, match="'g' was categorical in fitting and is numeric now"):
        learn_matrix("g", table)[0].matrix(table.assign(g=1))


@pytest.mark.parametrize("width", [1, 2])
def test_a_column_of_arrays_is_one_column(width):
    arrays = pl.Series([[n] * width for n in (1, 2, 1, 3)], dtype=pl.Array(pl.Int64, width))
    values = column(pl.DataFrame({"g": arrays}), 0)
    assert values.shape == (4,)
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        Labels.learn(values)
