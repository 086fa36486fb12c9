"""Every type of every library through every entry: the figures of plain numbers, or an error."""

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from skmixed import (
    BLUPEncoder,
    GroupedModels,
    MixedEffectsRegressor,
    MixedLinearRegressor,
    distributed,
    lmer,
)
from skmixed.exceptions import PartitionError

pytest.importorskip("formulaic")

_rng = np.random.default_rng(11)
_N = 60
ROWS = pd.DataFrame({"x": _rng.standard_normal(_N), "g": np.arange(_N) % 6})
ROWS["v"] = _rng.integers(1, 5, _N)
ROWS["y"] = ROWS["x"] + 0.5 * ROWS["v"] + _rng.standard_normal(6)[ROWS["g"]]
ROWS["y"] += _rng.standard_normal(_N)


def in_pandas(dtype):
    return lambda v: ROWS.assign(v=v.astype(dtype))


def in_polars(convert):
    return lambda v: pl.from_pandas(ROWS).with_columns(v=convert(v))


def in_arrow(convert):
    def table(v):
        found = pa.Table.from_pandas(ROWS, preserve_index=False)
        return found.set_column(2, "v", convert(v))

    return table


def as_objects(kind):
    return lambda v: ROWS.assign(v=pd.Series([kind(int(each)) for each in v], dtype=object))


NUMBERS = {
    **{
        dtype: in_pandas(dtype)
        for dtype in (
            *("int8", "uint64", "float32", "float64", "Int16", "Float32", "Float64"),
            *("int8[pyarrow]", "uint32[pyarrow]", "float[pyarrow]", "double[pyarrow]"),
        )
    },
    "objects": in_pandas(object),
    "Decimal": as_objects(Decimal),
    "floats among objects": as_objects(lambda each: float(each) if each > 2 else each),
    "numpy's among objects": as_objects(np.int32),
    "decimals of arrow": in_pandas(pd.ArrowDtype(pa.decimal128(21, 0))),
    "object array": lambda v: pd.DataFrame(ROWS.assign(v=v).to_numpy(object), columns=[*ROWS]),
    "polars Int16": in_polars(lambda v: pl.Series(v.tolist(), dtype=pl.Int16)),
    "polars Float32": in_polars(lambda v: pl.Series(v.tolist()).cast(pl.Float32)),
    "polars Decimal": in_polars(lambda v: pl.Series([Decimal(int(each)) for each in v])),
    "pyarrow int32": in_arrow(lambda v: pa.array(v, pa.int32())),
    "pyarrow float32": in_arrow(lambda v: pa.array(v, pa.float32())),
    "pyarrow decimal": in_arrow(lambda v: pa.array([Decimal(int(each)) for each in v])),
}


def features(table):
    """Return the columns without the response, in the table's library."""
    return table.drop(columns="y") if isinstance(table, pd.DataFrame) else _without_y(table)


def _without_y(table):
    return table.select(["x", "g", "v"])


def _fit(table, fixed, random="(1 | g)"):
    return MixedLinearRegressor(random, fixed=fixed).fit(features(table), ROWS["y"])


def _array(table):
    values = table if isinstance(table, pd.DataFrame) else table.to_pandas()
    return values[["x", "v"]].to_numpy()


ENTRIES = {
    "feature": lambda t: _fit(t, None).predict(features(t)),
    "array": lambda t: MixedLinearRegressor().fit(_array(t), ROWS["y"], groups=ROWS["g"]).coef_,
    "formula": lambda t: _fit(t, "x + v").predict(features(t)),
    "formula, calculated": lambda t: _fit(t, "x + I(v^2)").predict(features(t)),
    "formula, formulaic": lambda t: _fit(t, "poly(v, 2)").predict(features(t)),
    "category": lambda t: _fit(t, "x + C(v)").predict(features(t)),
    "bar": lambda t: _fit(t, "x", "(v | g)").predict(features(t)),
    "offset": lambda t: _fit(t, "x + offset(v)").predict(features(t)),
    "response": lambda t: lmer("v ~ x + (1 | g)", t).coef_,
    "y": lambda t: MixedLinearRegressor("(1 | g)").fit(ROWS[["x", "g"]], t["v"]).coef_,
    "weights": lambda t: lmer("y ~ x + (1 | g)", t, weights="v").coef_,
    "sample_weight": lambda t: (
        MixedLinearRegressor("(1 | g)").fit(ROWS[["x", "g"]], ROWS["y"], t["v"]).coef_
    ),
    "labels": lambda t: MixedLinearRegressor("(1 | v)").fit(features(t), ROWS["y"]).coef_,
    "groups": lambda t: (
        MixedLinearRegressor()
        .fit(ROWS[["x"]], ROWS["y"], groups=t["v"])
        .predict(ROWS[["x"]], ROWS["v"])
    ),
    "new rows": lambda t: _fit(ROWS, "x + v").predict(features(t)),
    "new labels": lambda t: (
        MixedLinearRegressor("(1 | v)").fit(features(ROWS), ROWS["y"]).predict(features(t))
    ),
    "chunks": lambda t: _in_chunks(t, "x + v").coef_,
    "chunks, C": lambda t: _in_chunks(t, "C(v)").coef_,
    "encoder": lambda t: (
        BLUPEncoder(columns=["v"], cv=2).fit(features(t), ROWS["y"]).transform(features(t))
    ),
    "grouped": lambda t: (
        GroupedModels(group_features="g").fit(features(t), ROWS["y"]).predict(features(t))
    ),
    "effects": lambda t: (
        MixedEffectsRegressor(random="(1 | g)").fit(features(t), ROWS["y"]).predict(features(t))
    ),
}


def _in_chunks(table, fixed):
    model = MixedLinearRegressor("(1 | g)", fixed=fixed)
    return distributed.fit(model, [ROWS[:20], table, ROWS[20:]], target="y")


EXPECTED = {entry: figure(ROWS) for entry, figure in ENTRIES.items()}


FLOATS = {dtype for dtype in NUMBERS if "loat" in dtype or "double" in dtype}


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("entry", sorted(ENTRIES.keys() - {"chunks, C"}))
def test_numbers_of_every_type_are_the_same_numbers(entry, dtype):
    if entry == "effects" and dtype in ("polars Decimal", "pyarrow decimal"):
        entry = "formula"  # an old regressor of scikit-learn cannot read them
    assert_allclose(
        ENTRIES[entry](NUMBERS[dtype](ROWS["v"])), EXPECTED[entry], rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("dtype", NUMBERS)
def test_categories_of_parts_are_integers_or_none_is(dtype):
    table = NUMBERS[dtype](ROWS["v"])
    if dtype in FLOATS:
        message = r"chunk 1: the categories of ('v'|a column) are integers in"
        with pytest.raises(PartitionError, match=message):
            ENTRIES["chunks, C"](table)
    else:
        assert_allclose(ENTRIES["chunks, C"](table), EXPECTED["chunks, C"], rtol=1e-6)


AS_LABELS = {"effects", "category", "labels", "groups", "new labels", "chunks, C", "encoder"}
DAYS = pd.to_timedelta(ROWS["v"], unit="D")
NO_NUMBERS = {
    "duration": lambda v: ROWS.assign(v=DAYS),
    "duration in seconds": lambda v: ROWS.assign(v=DAYS.astype("timedelta64[s]")),
    "durations among objects": lambda v: ROWS.assign(v=DAYS.astype(object)),
    "date": lambda v: ROWS.assign(v=pd.Timestamp(0) + DAYS),
    "dates among objects": lambda v: ROWS.assign(v=(pd.Timestamp(0) + DAYS).dt.date),
    "date of arrow": lambda v: ROWS.assign(
        v=(pd.Timestamp(0) + DAYS).astype(pd.ArrowDtype(pa.date32()))
    ),
    "polars Duration": in_polars(lambda v: pl.from_pandas(DAYS)),
    "pyarrow duration": in_arrow(lambda v: pa.array(DAYS)),
}


@pytest.mark.parametrize("dtype", NO_NUMBERS)
@pytest.mark.parametrize("entry", sorted(ENTRIES.keys() - AS_LABELS))
def test_dates_and_durations_are_refused_with_the_cure(entry, dtype):
    with pytest.raises(
        ValueError, match=r"dates (or|and) durations.* (numbers, such as days since|as)"
    ):
        ENTRIES[entry](NO_NUMBERS[dtype](ROWS["v"]))


TRUTHS = {
    "bool": in_pandas(bool),
    "boolean": in_pandas("boolean"),
    "bool[pyarrow]": in_pandas("bool[pyarrow]"),
    "objects": lambda v: ROWS.assign(v=v.astype(bool).astype(object)),
    "polars": in_polars(lambda v: pl.Series(v.astype(bool).tolist())),
    "pyarrow": in_arrow(lambda v: pa.array(v.astype(bool))),
}


@pytest.mark.parametrize("dtype", TRUTHS)
@pytest.mark.parametrize(
    "entry", ["feature", "formula", "bar", "offset", "response", "y", "grouped"]
)
def test_truth_values_of_every_type(entry, dtype):
    half = (ROWS["v"] > 2).astype(int)
    expected = ENTRIES[entry](ROWS.assign(v=half))
    assert_allclose(ENTRIES[entry](TRUTHS[dtype](half)), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", TRUTHS)
def test_truth_values_are_factors_in_formulas(dtype):
    half = (ROWS["v"] > 2).astype(int)
    words = ROWS.assign(v=np.where(half, "yes", "no"))
    for fixed, random in (("0 + v", "(1 | g)"), ("x:v", "(1 | g)"), ("x", "(0 + v | g)")):
        ours, theirs = _fit(TRUTHS[dtype](half), fixed, random), _fit(words, fixed, random)
        assert_allclose(ours.criterion_, theirs.criterion_, rtol=1e-12)
        assert_allclose(ours.predict(features(TRUTHS[dtype](half))), theirs.predict(words))


@pytest.mark.parametrize("scale", [1e100, 1e-100, 1e140, 1e-140])
@pytest.mark.parametrize("name", ["x", "y"])
def test_large_and_small_numbers_give_the_same_model(name, scale):
    rows = ROWS.assign(**{name: ROWS[name] * scale})
    model = MixedLinearRegressor("(1 | g)").fit(rows[["x", "g"]], rows["y"])
    plain = MixedLinearRegressor("(1 | g)").fit(ROWS[["x", "g"]], ROWS["y"])
    size = scale if name == "y" else 1.0
    predicted = model.predict(rows[["x", "g"]]) / size
    assert_allclose(predicted, plain.predict(ROWS[["x", "g"]]), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e155, 1e160, 1e300, 1e-153, 1e-160, 1e-200, 1e-300])
@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize("fixed", [None, "x"])
def test_numbers_whose_squares_are_none_are_refused(fixed, name, scale):
    rows = ROWS.assign(**{name: ROWS[name] * scale})
    with pytest.raises(ValueError, match=f"the numbers of '{name}' are so"):
        MixedLinearRegressor("(1 | g)", fixed=fixed).fit(rows[["x", "g"]], rows["y"])
    model = MixedLinearRegressor("(1 | g)", fixed=fixed)
    with pytest.raises(PartitionError, match=f"chunk 0: the numbers of '{name}' are so"):
        distributed.fit(model, [rows], target="y", features=["x", "g"])


def test_missing_values_reach_the_imputer_of_a_pipeline():
    rows = ROWS.assign(x=ROWS["x"].where(ROWS.index % 7 > 0))
    pipeline = make_pipeline(SimpleImputer(strategy="constant", fill_value=0.5), LinearRegression())
    model = GroupedModels(pipeline, group_features="g").fit(rows[["x", "g"]], rows["y"])
    filled = rows[["x", "g"]].fillna({"x": 0.5})
    assert_allclose(model.predict(rows[["x", "g"]]), model.predict(filled), rtol=1e-12)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        GroupedModels(group_features="g").fit(rows[["x", "g"]], rows["y"])


@pytest.mark.parametrize("fixed", [None, "x", "1"])
@pytest.mark.parametrize("library", [lambda rows: rows, pl.from_pandas, pa.Table.from_pandas])
def test_nothing_is_fitted_to_no_rows(fixed, library):
    rows, y = library(ROWS[["x", "g"]][:0]), ROWS["y"][:0]
    for groups in (None, ROWS["g"][:0]):
        random = "(1 | g)" if groups is None else None
        table = library(ROWS[["x"]][:0]) if groups is not None else rows
        with pytest.raises(ValueError, match="0 sample"):
            MixedLinearRegressor(random, fixed=fixed).fit(table, y, groups=groups)
    fitted = MixedLinearRegressor("(1 | g)", fixed=fixed).fit(ROWS[["x", "g"]], ROWS["y"])
    with pytest.raises(ValueError, match="0 sample"):
        fitted.partial_fit(rows, y)
    with pytest.raises(ValueError, match="data has no rows"):
        lmer("y ~ x + (1 | g)", library(ROWS[:0]))
