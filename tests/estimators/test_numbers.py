"""What is no number, or no label, is refused by name."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmixed import (
    GroupedModels,
    MixedEffectsClassifier,
    MixedEffectsRegressor,
    MixedLinearRegressor,
)
from tests.estimators.example import pupils

TABLE = pupils()
Y = TABLE["y"]
NUMBERS, NAMED = TABLE[["x", "z"]], TABLE[["x", "z", "school"]]
CODES = np.column_stack([NUMBERS, pd.factorize(TABLE["school"])[0]])  # all numbers
MODEL = MixedLinearRegressor(group_features=[2])
DAYS = pd.Series(pd.date_range("2024", periods=150))


def with_label(label, rows=(4, 77), array=CODES):
    array = array.copy()
    array[list(rows), 2] = label
    return array


# --- missing and infinite labels ---


@pytest.mark.parametrize("convert", [np.asarray, np.float32, np.ndarray.tolist])
@pytest.mark.parametrize("handle_unknown", ["population", "nan", "error"])
def test_nan_among_the_labels_of_an_array(convert, handle_unknown):
    table = convert(with_label(np.nan))
    model = MixedLinearRegressor(group_features=[2], handle_unknown=handle_unknown)
    message = r"column 'x2' is missing in rows 4, 77\. .*a label of their own"
    with pytest.raises(ValueError, match=f"NaN: grouping {message}"):
        model.fit(table, Y)
    model.fit(CODES, Y)
    with pytest.raises(ValueError, match=f"Input X contains NaN: grouping {message}"):
        model.predict(table)
    population = model.predict(table, random="none")  # for which no label is needed
    np.testing.assert_allclose(population, model.predict(CODES, random="none"), rtol=1e-6)


def test_long_lists_of_rows_are_cut():
    model = MixedLinearRegressor(group_features=[2]).fit(CODES, Y)
    with pytest.raises(ValueError, match=r"8, 9, \.\.\. \(50 in all\)"):
        model.predict(with_label(np.nan, range(50)))


def missing_in_frames():
    frame = pd.DataFrame(with_label(np.nan), columns=["x", "z", "school"])
    yield "floats", frame
    yield "nullable", frame.astype({"school": "Int64"})
    yield "arrow", frame.astype({"school": pd.ArrowDtype(pa.float64())})
    yield "objects", frame.astype({"school": object})
    yield "polars", pl.from_pandas(frame)
    yield "pyarrow", pa.Table.from_pandas(frame)


@pytest.mark.parametrize("table", [table for _, table in missing_in_frames()])
def test_missing_labels_of_a_data_frame_are_unknown_levels(table):
    frame = pd.DataFrame(CODES, columns=["x", "z", "school"])
    model = MixedLinearRegressor("(1 | school)").fit(frame, Y)
    expected = model.predict(frame)
    expected[[4, 77]] = model.predict(frame, random="none")[[4, 77]]
    assert_allclose(model.predict(table), expected)


@pytest.mark.parametrize("missing", [np.nan, None])
def test_missing_labels_of_objects_and_of_groups_are_unknown_levels(missing):
    objects = NAMED.to_numpy()
    model = MixedLinearRegressor(group_features=[2]).fit(objects, Y)
    expected = model.predict(objects)
    expected[[4, 77]] = model.predict(objects, random="none")[[4, 77]]
    assert_allclose(model.predict(with_label(missing, array=objects)), expected)
    by_argument = MixedLinearRegressor().fit(NUMBERS, Y, groups=CODES[:, 2])
    labels = with_label(np.nan)[:, 2]
    assert_allclose(by_argument.predict(NUMBERS, groups=labels), expected, rtol=1e-6)


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
def test_an_infinite_label_is_refused_everywhere(infinite):
    table = with_label(infinite)
    frame = pd.DataFrame(table, columns=["x", "z", "school"])
    message = "grouping column '{}' is infinite in rows 4, 77"
    for model, X, name in [
        (MixedLinearRegressor(group_features=[2]), table, "x2"),
        (MixedLinearRegressor("(1 | school)"), frame, "school"),
        (MixedLinearRegressor("(1 | school)"), frame.astype({"school": "Float64"}), "school"),
        (MixedLinearRegressor("(1 | school)"), pl.from_pandas(frame), "school"),
        (MixedLinearRegressor("(1 | school)", fixed="x"), frame, "school"),
    ]:
        with pytest.raises(ValueError, match=message.format(name)):
            model.fit(X, Y)
        model.fit(pd.DataFrame(CODES, columns=frame.columns) if X is not table else CODES, Y)
        with pytest.raises(ValueError, match="infinite labels in X: .*" + message.format(name)):
            model.predict(X)
    groups = table[:, 2]
    with pytest.raises(ValueError, match="infinite labels in groups: .*" + message.format("group")):
        MixedLinearRegressor().fit(NUMBERS, Y, groups=groups)
    model = MixedLinearRegressor().fit(NUMBERS, Y, groups=CODES[:, 2])
    with pytest.raises(ValueError, match="infinite labels in groups"):
        model.predict(NUMBERS, groups=groups)


# --- columns, responses and weights ---


@pytest.mark.parametrize(
    "column",
    [
        DAYS.dt.tz_localize("UTC"),
        DAYS - DAYS[0],
        DAYS.dt.to_period("D"),
        pd.Series([datetime.date(2024, 1, 1)] * 150),
        pd.Series([datetime.time(1)] * 150),
        pd.Series([[1]] * 150),
        pd.Series([b"1"] * 150),
        TABLE["school"].astype(pd.ArrowDtype(pa.string())),
        DAYS.astype(pd.ArrowDtype(pa.timestamp("us"))),
        pl.Series([datetime.date(2024, 1, 1)] * 150),
        pl.Series([datetime.timedelta(1)] * 150),
        pl.Series([[1]] * 150),
        pl.Series([{"a": 1}] * 150),
        pl.Series([b"1"] * 150),
        pl.Series(list(TABLE["school"]), dtype=pl.Categorical),
    ],
    ids=lambda column: f"{type(column).__module__.split('.')[0]} {column.dtype}",
)
def test_a_column_of_something_else_is_named(column):
    if isinstance(column, pl.Series):
        table = pl.from_pandas(NAMED).with_columns(other=column)
        tables = [table, table.to_arrow()]
    else:
        tables = [NAMED.assign(other=column)]
    for table in tables:
        with pytest.raises(ValueError, match=r"columns \['other'\] are not numeric: encode them"):
            MixedLinearRegressor("(1 | school)").fit(table, Y)
        with pytest.raises(ValueError, match=r"'other'.* are not numeric: encode them"):
            MixedLinearRegressor().fit(table, Y)


@pytest.mark.parametrize("numbers", [list(range(150)), [Decimal(i) for i in range(150)]])
def test_objects_that_are_numbers(numbers):
    expected = MixedLinearRegressor().fit(NUMBERS.assign(w=np.arange(150)), Y)
    model = MixedLinearRegressor().fit(NUMBERS.assign(w=pd.Series(numbers, dtype=object)), Y)
    assert_allclose(model.coef_, expected.coef_)


@pytest.mark.parametrize("values", [DAYS.to_numpy(), (DAYS - DAYS[0]).to_numpy()])
def test_dates_are_no_numbers(values):
    message = r"holds dates or durations \((datetime|timedelta)64.*\): turn them into numbers"
    both = np.column_stack([values, values])
    for params in ({}, {"group_features": [0]}):
        with pytest.raises(ValueError, match=f"X {message}"):
            MixedLinearRegressor(**params).fit(both, Y)
    with pytest.raises(ValueError, match=f"y {message}"):
        MixedLinearRegressor().fit(NUMBERS, values)
    with pytest.raises(ValueError, match=f"y {message}"):
        MixedLinearRegressor().fit(NUMBERS, pd.Series(values))
    with pytest.raises(ValueError, match=f"sample_weight {message}"):
        MixedLinearRegressor().fit(NUMBERS, Y, values)


@pytest.mark.parametrize("convert", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
def test_sparse_input_says_how_to_make_it_dense(convert):
    message = r"dense data is required\. Use '\.toarray\(\)'"
    for model in (MixedLinearRegressor(), MixedLinearRegressor(group_features=[2])):
        with pytest.raises(TypeError, match=message):
            model.fit(convert(CODES), Y)
        with pytest.raises(TypeError, match=message):
            model.fit(CODES, Y).predict(convert(CODES))
    with pytest.raises(TypeError, match=r"groups is a sparse .*: pass groups\.toarray\(\)"):
        MixedLinearRegressor().fit(NUMBERS, Y, groups=convert(CODES[:, 2:]))


@pytest.mark.parametrize("groups", [None, TABLE["school"]])
def test_complex_numbers_are_refused(groups):
    for X, y in ((NUMBERS * 1j, Y), (NUMBERS.to_numpy() * 1j, Y), (NUMBERS, Y.to_numpy() * 1j)):
        with pytest.raises(ValueError, match="Complex data not supported"):
            MixedLinearRegressor().fit(X, y, groups=groups)


@pytest.mark.parametrize(
    "model",
    [
        MixedEffectsRegressor(random="(1 | school)"),
        MixedEffectsClassifier(random="(1 | school)"),
        GroupedModels(LogisticRegression(), group_features="school"),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("time", [DAYS, DAYS - DAYS[0]], ids=["dates", "durations"])
def test_times_are_no_features_of_other_estimators(model, time):
    """Numpy would take them in the unit in which they happen to be stored."""
    table = TABLE[["school"]].assign(x=time.to_numpy())
    y = (TABLE["y"] > TABLE["y"].median()).astype(int)
    with pytest.raises(ValueError, match="'x' holds dates or durations"):
        clone(model).fit(table, y)
    fitted = clone(model).fit(TABLE[["school", "x"]], y)
    with pytest.raises(ValueError, match="'x' holds dates or durations"):
        fitted.predict(table[["school", "x"]])


def test_a_pipeline_may_take_times():
    days = FunctionTransformer(lambda frame: frame.apply(lambda x: (x - DAYS[0]).dt.days))
    model = GroupedModels(make_pipeline(days, LinearRegression()), group_features="school")
    times = TABLE[["school"]].assign(x=DAYS.to_numpy())
    numbers = TABLE[["school"]].assign(x=np.arange(len(DAYS)))
    of_numbers = clone(model).set_params(estimator=LinearRegression()).fit(numbers, Y)
    found, expected = model.fit(times, Y).predict(times), of_numbers.predict(numbers)
    assert np.isfinite(found).all()
    assert np.corrcoef(found, expected)[0, 1] > 0.9
