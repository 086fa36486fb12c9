"""The table at the door: whatever kind X is of, the same numbers and labels come in."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skmixed import BLUPEncoder, GroupedModels, MixedEffectsRegressor, MixedLinearRegressor
from skmixed.estimators.reading._input_table import InputTable, pick_rows, read_groups

RNG = np.random.default_rng(7)
NUMBERS = np.column_stack([RNG.normal(size=(30, 2)), np.arange(30) % 5])
Y = NUMBERS[:, 0] + RNG.normal(size=5)[np.arange(30) % 5] + 0.1 * RNG.normal(size=30)
FRAME = pd.DataFrame(NUMBERS, columns=["a", "b", "shop"])

ARRAYS = {
    "array": NUMBERS,
    "fortran": np.asfortranarray(NUMBERS),
    "strided": np.repeat(NUMBERS, 2, axis=1)[:, ::2],
    "big-endian": NUMBERS.astype(">f8"),
    "extended": NUMBERS.astype(np.longdouble),
    "objects": NUMBERS.astype(object),
    "lists": NUMBERS.tolist(),
    "read-only": np.frombuffer(NUMBERS.tobytes()).reshape(NUMBERS.shape),
    "memmap": NUMBERS.view(np.memmap),
}
FRAMES = {
    "pandas": FRAME,
    "index": FRAME.set_index(np.arange(100, 130)),
    "objects": FRAME.astype(object),
    "nullable": FRAME.astype("Float64"),
    "arrow-backed": FRAME.astype("double[pyarrow]"),
    "polars": pl.from_pandas(FRAME),
    "pyarrow": pa.Table.from_pandas(FRAME),
    "integers": FRAME.set_axis([1, 2, 3], axis=1),
}
TABLES = {**ARRAYS, **{f"{name} frame": frame for name, frame in FRAMES.items()}}


@pytest.mark.parametrize("X", TABLES.values(), ids=TABLES)
def test_numbers_and_labels_are_the_same(X):
    table = InputTable.of(X)
    assert (table.n_rows, len(table.names)) == NUMBERS.shape
    assert_array_equal(table.numeric([0, 1]), NUMBERS[:, :2])
    assert_array_equal(table.numeric([2, 0]), NUMBERS[:, [2, 0]])
    assert table.numeric([0, 1, 2]).dtype == np.float64
    assert table.numeric([]).shape == (30, 0)
    labels = table.labels({"shop": 2}, allow_nan=False)["shop"]
    assert_array_equal(np.asarray(labels, dtype=float), NUMBERS[:, 2])
    some = table.take(np.array([4, 0]))
    assert_array_equal(some.numeric([1]), NUMBERS[[4, 0], 1:2])
    assert InputTable.of(table) is table
    picked = InputTable.of(pick_rows(X, np.array([4, 0])))
    assert_array_equal(picked.numeric([1]), NUMBERS[[4, 0], 1:2])


@pytest.mark.parametrize("name", FRAMES)
def test_columns_of_frames_go_by_name_too(name):
    table = InputTable.of(FRAMES[name])
    assert table.is_named
    last = table.names[-1]
    assert_array_equal(np.asarray(table.column(last), dtype=float), NUMBERS[:, 2])
    assert InputTable.of(table.select([last])).names == (last,)
    assert_array_equal(table.pandas.to_numpy(dtype=float), NUMBERS)


@pytest.mark.parametrize("X", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize(
    "model",
    [
        MixedLinearRegressor(group_features=[2]),
        GroupedModels(group_features=[2]),
        MixedEffectsRegressor(group_features=[2]),
        BLUPEncoder(columns=[2]),
    ],
    ids=lambda model: type(model).__name__,
)
def test_models_of_any_kind_of_table_are_the_same(model, X):
    ask = "transform" if isinstance(model, BLUPEncoder) else "predict"
    expected = getattr(model.fit(NUMBERS, Y), ask)(NUMBERS)
    np.testing.assert_allclose(getattr(model.fit(X, Y), ask)(X), expected, rtol=1e-9)
    assert model.n_features_in_ == 3


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (sparse.csr_matrix(NUMBERS), TypeError, "Sparse data was passed"),
        (NUMBERS[0], ValueError, "Expected 2D array, got 1D array"),
        (NUMBERS[:0], ValueError, "0 sample"),
        (NUMBERS[:, :0], ValueError, "0 feature"),
        (NUMBERS.astype(complex), ValueError, "Complex data not supported"),
        (pl.LazyFrame({"a": [1.0]}), TypeError, "lazy and has no rows yet"),
    ],
)
def test_what_is_no_table(X, error, message):
    with pytest.raises(error, match=message):
        InputTable.of(X)


@pytest.mark.parametrize("frame", [FRAME[:0], FRAME[[]], pl.from_pandas(FRAME)[:0]])
@pytest.mark.parametrize("model", [MixedLinearRegressor(), GroupedModels(), BLUPEncoder()])
def test_frames_without_rows_or_columns_are_not_fitted_to(model, frame):
    with pytest.raises(ValueError, match=r"0 (sample|feature)\(s\)|no column to encode"):
        model.fit(frame, Y[: len(frame)])
    if frame.shape[1]:
        with pytest.raises(ValueError, match=r"0 sample\(s\)"):
            MixedLinearRegressor(group_features=["shop"]).fit(frame, Y[:0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["array", "fortran", "objects", "polars frame", "nullable frame"])
def test_one_value_that_is_not_finite(kind, value):
    frame = FRAME.copy()
    frame.loc[3, "b"] = value
    X = frame.to_numpy() if kind in ARRAYS else pl.from_pandas(frame)
    with np.errstate(invalid="ignore"):  # pandas 2.1 tries whether infinity is an integer
        X = frame.convert_dtypes() if kind.startswith("nullable") else X
    X = np.asfortranarray(X) if kind == "fortran" else X
    X = X.astype(object) if kind == "objects" else X
    table = InputTable.of(X)
    assert_array_equal(table.numeric([0]), NUMBERS[:, :1])
    assert table.labels({"shop": 2}, allow_nan=False)
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        table.numeric([0, 1])
    if np.isnan(value):
        assert np.isnan(table.numeric([1], allow_nan=True)[3, 0])
    else:
        with pytest.raises(ValueError, match="infinity"):
            table.numeric([1], allow_nan=True)


def test_numbers_whose_sum_overflows_are_finite():
    X = np.full((4, 2), 1e308)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_array_equal(InputTable.of(X).numeric([0, 1]), X)
        assert_array_equal(InputTable.of(pd.DataFrame(X)).numeric([0, 1]), X)


def test_labels_that_are_not_finite():
    X = NUMBERS.copy()
    X[4, 2] = np.nan
    assert np.isnan(InputTable.of(X).labels({"shop": 2})["shop"][4])
    with pytest.raises(ValueError, match="'shop' is missing in rows 4"):
        InputTable.of(X).labels({"shop": 2}, allow_nan=False)
    InputTable.of(pd.DataFrame(X)).labels({"shop": 2}, allow_nan=False)
    X[4, 2] = np.inf
    for table in (X, pd.DataFrame(X), pl.DataFrame(X)):
        with pytest.raises(ValueError, match="'shop' is infinite in rows 4"):
            InputTable.of(table).labels({"shop": 2})


def test_reading_leaves_an_array_as_it_is():
    X = NUMBERS.copy()
    table = InputTable.of(X)
    assert table.values is X
    assert np.shares_memory(table.numeric([0, 1]), X)
    MixedLinearRegressor(group_features=[2]).fit(X, Y).predict(X)
    GroupedModels(group_features=[2]).fit(X, Y).predict(X)
    assert_array_equal(X, NUMBERS)


@pytest.mark.parametrize(
    ("groups", "names"),
    [
        (NUMBERS[:, 2], ["group"]),
        (NUMBERS[:, 1:], ["group0", "group1"]),
        (FRAME["shop"], ["shop"]),
        (FRAME[["shop", "a"]], ["shop", "a"]),
        (pl.from_pandas(FRAME[["shop"]]), ["shop"]),
        (pl.Series("shop", NUMBERS[:, 2]), ["shop"]),
        (pa.Table.from_pandas(FRAME[["shop"]]), ["shop"]),
        (NUMBERS[:, 2].tolist(), ["group"]),
    ],
)
def test_groups_of_any_kind_have_names(groups, names):
    found = read_groups(groups)
    assert list(found) == names
    assert all(len(labels) == 30 for labels in found.values())
