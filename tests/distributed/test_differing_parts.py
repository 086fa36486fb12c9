"""Parts of a table whose columns differ: in their categories, their types, and what they hold."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose

from skmixed import MixedLinearRegressor, distributed
from skmixed.exceptions import PartitionError
from tests.distributed.rows import assert_same_fit

pytest.importorskip("formulaic")

_rng = np.random.default_rng(5)
_N = 240
ROWS = pd.DataFrame(
    {
        "kind": np.repeat(["b", "a", "d", "c"], _N // 4),
        "x": _rng.standard_normal(_N),
        "g": _rng.integers(0, 8, _N),
    }
)
ROWS["late"] = ROWS["kind"].isin(["c", "d"])
ROWS["y"] = 4.0 * (ROWS["kind"] == "a") + 2.0 * ROWS["late"] + ROWS["x"]
ROWS["y"] += _rng.standard_normal(8)[ROWS["g"]] + _rng.standard_normal(_N)
SORTED = [part for _, part in ROWS.groupby("kind", sort=False)]


def model(fixed="kind", random="(1 | g)"):
    return MixedLinearRegressor(random, fixed=fixed, tol=1e-13)


def fitted(fixed="kind", random="(1 | g)", rows=ROWS):
    return model(fixed, random).fit(rows.drop(columns="y"), rows["y"])


def in_parts(parts, fixed="kind", random="(1 | g)", **arguments):
    return distributed.fit(model(fixed, random), parts, target="y", **arguments)


SPLITS = {
    "one": [ROWS],
    "by category": SORTED,
    "first of one category": [SORTED[0], pd.concat(SORTED[1:])],
    "last of one category": [pd.concat(SORTED[:-1]), SORTED[-1]],
    "overlapping": [pd.concat(SORTED[:2]), pd.concat(SORTED[2:])],
}
FORMULAS = [
    ("kind", "(1 | g)"),
    ("C(kind)", "(1 | g)"),
    ("0 + kind", "(1 | g)"),
    ("x * kind", "(1 | g)"),
    ("x:kind", "(1 | g)"),
    ("x", "(0 + kind || g)"),
    ("late", "(1 | g)"),
    ("0 + late", "(1 | g)"),
    ("x * late", "(late | g)"),
    ("C(late) + x", "(1 | g)"),
]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("fixed", "random"), FORMULAS)
def test_no_term_is_lost_where_a_part_has_one_category(fixed, random, split):
    assert_same_fit(in_parts(SPLITS[split], fixed, random), fitted(fixed, random), rtol=1e-7)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("dtypes", [["category"], ["category", object], ["string", "category"]])
def test_categories_of_parts_are_united_in_order(split, dtypes):
    parts = [
        part.assign(kind=part["kind"].astype(dtypes[number % len(dtypes)]))
        for number, part in enumerate(SPLITS[split])
    ]
    assert_same_fit(in_parts(parts), fitted(), rtol=1e-7)


def test_categories_that_are_numbers_are_united_in_order():
    numbers = ROWS["kind"].map({"a": 10, "b": 9, "c": 2, "d": 1})
    rows = ROWS.assign(kind=pd.Categorical(numbers))
    parts = [
        part.assign(kind=part["kind"].cat.remove_unused_categories()) for part in quarters(rows)
    ]
    assert_same_fit(in_parts(parts), fitted(rows=rows), rtol=1e-7)


def quarters(rows):
    return [rows.iloc[start : start + 60] for start in range(0, _N, 60)]


@pytest.mark.parametrize("fixed", ["kind", "x + kind"])
def test_a_category_that_was_not_there_is_refused_later(fixed):
    alone = fitted(fixed, rows=SORTED[0])
    message = "the column 'kind' has values not seen in fitting: 'a'; seen: 'b'"
    with pytest.raises(ValueError, match=message):
        alone.predict(SORTED[1])
    with pytest.raises(ValueError, match=message):
        alone.partial_fit(SORTED[1].drop(columns="y"), SORTED[1]["y"])


OTHER_KINDS = {
    "labels, text": ("g", lambda v: v.astype(str), "text", "numbers"),
    "labels, truth values": ("g", lambda v: v > 3, "truth values", "numbers"),
    "labels, dates": ("g", lambda v: pd.Timestamp(0) + pd.to_timedelta(v, "D"), "dates", "numbers"),
    "labels, categories": ("g", lambda v: v.astype(str).astype("category"), "text", "numbers"),
    "text of a column": ("x", lambda v: v.astype(str), "text", "numbers"),
    "numbers of categories": ("kind", lambda v: v.map(ord), "numbers", "text"),
    "truth values": ("x", lambda v: v > 0, "truth values", "numbers"),
}


@pytest.mark.parametrize("change", OTHER_KINDS)
@pytest.mark.parametrize("library", [lambda part: part, pl.from_pandas, pa.Table.from_pandas])
def test_a_part_of_another_kind_is_named(library, change):
    name, convert, now, before = OTHER_KINDS[change]
    parts = quarters(ROWS)
    parts[2] = parts[2].assign(**{name: convert(parts[2][name])})
    message = f"chunk 2: the column '{name}' holds {now}, but {before} in chunk 0: convert it to"
    with pytest.raises(PartitionError, match=message):
        in_parts([library(part) for part in parts], "x + kind")


@pytest.mark.parametrize("dtype", [np.int8, np.float64, "Int64", "int32[pyarrow]", object])
def test_numbers_of_other_types_are_the_same(dtype):
    parts = quarters(ROWS)
    parts[1] = parts[1].assign(g=parts[1]["g"].astype(dtype))
    parts[3] = parts[3].assign(x=parts[3]["x"].astype(object))
    assert_same_fit(in_parts(parts, "x + kind"), fitted("x + kind"), rtol=1e-7)


def files(folder, parts):
    for number, part in enumerate(parts):
        pq.write_table(
            pa.Table.from_pandas(part, preserve_index=False), folder / f"{number}.parquet"
        )
    return folder


FIRST_FILES = {
    "single precision": {"x": np.float32, "y": np.float32},
    "half a byte of labels": {"g": np.int8},
    "integers": {"x": np.int64, "y": np.int64},
    "dictionary": {"kind": "category"},
}


@pytest.mark.parametrize("dtypes", FIRST_FILES.values(), ids=FIRST_FILES)
@pytest.mark.parametrize("given", [str, ds.dataset])
def test_the_first_file_does_not_round_the_others(given, dtypes, tmp_path):
    rows = ROWS.assign(g=ROWS["g"] + 300 * (ROWS.index >= 60))
    rows[["x", "y"]] *= 10
    first = rows[:60].astype(dtypes)
    whole = pd.concat([first.astype({"x": float, "y": float, "kind": str}), rows[60:]])
    there = given(files(tmp_path, [first, rows[60:150], rows[150:]]))
    ours = distributed.fit(model("x + kind"), there, target="y", features=["x", "kind", "g"])
    theirs = model("x + kind").fit(whole[["x", "kind", "g"]], whole["y"])
    assert_same_fit(ours, theirs, rtol=1e-7)
    predicted = distributed.predict(theirs, there).read_all()["prediction"]
    assert_allclose(predicted, theirs.predict(whole), rtol=1e-12)


def test_labels_that_are_text_in_one_file_name_the_file(tmp_path):
    parts = quarters(ROWS)
    there = files(tmp_path, [parts[0], parts[1].assign(g=parts[1]["g"].astype(str))])
    with pytest.raises(
        PartitionError, match=r"1\.parquet\): the column 'g' holds text, but numbers"
    ):
        in_parts(str(there))


def test_a_schema_that_is_given_is_kept(tmp_path):
    parts = quarters(ROWS)
    parts[1] = parts[1].assign(g=parts[1]["g"].astype(str))
    schema = pa.Table.from_pandas(ROWS, preserve_index=False).schema
    there = ds.dataset(files(tmp_path, parts), schema=schema)
    assert_same_fit(in_parts(there), fitted(), rtol=1e-7)


def test_a_file_that_lacks_a_column_is_named(tmp_path):
    there = files(tmp_path, [ROWS[:90], ROWS[90:].drop(columns="x")])
    message = r"1\.parquet\) .*: the columns \['x'\] are missing; there are \['kind', 'g'"
    with pytest.raises(PartitionError, match=message):
        in_parts(str(there), "x + kind")


def test_a_column_of_the_path_is_a_column(tmp_path):
    ds.write_dataset(
        pa.Table.from_pandas(ROWS, preserve_index=False),
        tmp_path,
        format="parquet",
        partitioning=["late"],
        partitioning_flavor="hive",
    )
    there = ds.dataset(tmp_path, partitioning="hive")
    ours = distributed.fit(model(), there, target="y", features=["kind", "g"])
    assert_same_fit(ours, model().fit(ROWS[["kind", "g"]], ROWS["y"]), rtol=1e-7)


def test_integers_beside_a_missing_one_stay_exact(tmp_path):
    ids = 2**60 + np.arange(8)
    rows = ROWS.assign(g=ids[ROWS["g"]])
    fit = fitted(rows=rows)
    for missing in (pl.from_pandas(rows).with_columns(g=pl.Series([None, *rows["g"][1:]])),):
        expected = np.r_[fit.predict(rows[:1], random="none"), fit.predict(rows[1:])]
        assert_allclose(fit.predict(missing), expected, rtol=1e-12)
        pq.write_table(missing.to_arrow(), tmp_path / "part.parquet")
        predicted = distributed.predict(fit, str(tmp_path)).read_all()["prediction"]
        assert_allclose(predicted, expected, rtol=1e-12)
    with pytest.raises(ValueError, match=r"inexact labels in X: grouping column 'g' .* 2\*\*53"):
        fit.predict(rows.astype({"g": float}))
