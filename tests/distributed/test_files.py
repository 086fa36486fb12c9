"""Parquet files and Arrow datasets, streamed."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from skmixed import MixedLinearRegressor, distributed
from skmixed.distributed._files import tables_of
from skmixed.exceptions import PartitionError
from tests.distributed.rows import assert_same_fit, engine_fit, table, whole_fit


@pytest.fixture
def files(tmp_path):
    rows = table()
    paths = [tmp_path / f"part-{i}.parquet" for i in range(4)]
    for i, path in enumerate(paths):
        rows[i * 500 : (i + 1) * 500].to_parquet(path, row_group_size=200)
    return rows, paths


def test_every_way_to_name_files(files, tmp_path):
    rows, paths = files
    whole = whole_fit(rows)
    for frame in (paths, list(map(str, paths)), tmp_path, str(tmp_path), ds.dataset(tmp_path)):
        assert_same_fit(engine_fit(frame), whole, rtol=1e-9)


def test_dictionaries_and_decimals(files, tmp_path):
    rows, _ = files
    arrow = pa.Table.from_pandas(rows, preserve_index=False)
    arrow = arrow.set_column(3, "h", arrow["h"].combine_chunks().dictionary_encode())
    whole_numbers = pa.array(np.round(rows["y"], 2)).cast(pa.decimal128(8, 2))
    arrow = arrow.set_column(5, "y", whole_numbers)
    fitted = engine_fit(ds.dataset(arrow))
    assert_same_fit(fitted, whole_fit(rows.assign(y=np.round(rows["y"], 2))), rtol=1e-9)


def test_columns_that_pandas_wrote_with_numbers(tmp_path):
    numbered = table().rename(columns={"g": 0, "x": 1, "y": 2})[[0, 1, 2]]
    numbered.to_parquet(tmp_path / "rows.parquet")
    named = numbered.rename(columns=str)
    model = MixedLinearRegressor(group_features="0").fit(named[["0", "1"]], named["2"])
    again = distributed.fit(MixedLinearRegressor(group_features="0"), tmp_path, target="2")
    np.testing.assert_allclose(again.coef_, model.coef_, rtol=1e-9)
    found = distributed.predict(model, tmp_path).read_all()["prediction"]
    np.testing.assert_allclose(found, model.predict(named[["0", "1"]]), rtol=1e-12)


def test_predictions_are_read_when_asked_for(files):
    rows, paths = files
    fitted = whole_fit(rows)
    reader = distributed.predict(fitted, paths)
    assert isinstance(reader, pa.RecordBatchReader)
    assert reader.schema.names == ["prediction"]
    found = reader.read_all()["prediction"].to_numpy()
    np.testing.assert_allclose(found, fitted.predict(rows), rtol=1e-12)


def test_damaged_file_is_named(files):
    _, paths = files
    data = paths[2].read_bytes()
    paths[2].write_bytes(data[:40] + bytes(len(data) - 400) + data[-360:])
    with pytest.raises(PartitionError, match=r"partition 2 \(.*part-2\.parquet\) cannot be read"):
        engine_fit(paths)


def flip_a_bit(path, column):
    """Damage one value of a column of a file without compression; its footer stays as it is."""
    start = pq.read_metadata(path).row_group(0).column(column).data_page_offset
    data = bytearray(path.read_bytes())
    data[start + 120] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("way", ["paths", "folder", "dataset"])
def test_a_bit_that_flipped_is_found_where_checksums_were_written(tmp_path, way):
    rows = table().select_dtypes("number")
    paths = [tmp_path / f"country={name}" / "rows.parquet" for name in "abc"]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        part = pa.Table.from_pandas(rows[number::3], preserve_index=False)
        plain = {"use_dictionary": False, "compression": "none"}
        pq.write_table(part, path, write_page_checksum=True, **plain)
    frame = {"paths": paths, "folder": tmp_path, "dataset": ds.dataset(tmp_path)}[way]
    model = MixedLinearRegressor("(1 | g)")
    distributed.fit(model, frame, target="y", features=["x", "g"])
    prediction = distributed.predict(model, frame).read_all()
    flip_a_bit(paths[1], rows.columns.get_loc("x"))
    damaged = pytest.raises(PartitionError, match=r"1 \(.*country=b/rows\.parquet\) cannot be read")
    with damaged:
        distributed.fit(model, frame, target="y", features=["x", "g"])
    with damaged:
        distributed.predict(model, frame).read_all()
    assert len(prediction) == len(rows)


@pytest.mark.parametrize("number", [0, 3])
def test_a_file_that_is_none_is_named(files, tmp_path, number):
    _, paths = files
    paths[number].write_bytes(b"<html>not found</html>")
    for frame in (paths, tmp_path):
        with pytest.raises(PartitionError, match=rf"part-{number}\.parquet.* magic bytes"):
            engine_fit(frame)


def test_invalid_value_names_the_file(files):
    rows, paths = files
    rows[500:1000].assign(y=np.nan).to_parquet(paths[1])
    with pytest.raises(PartitionError, match=r"partition 1 \(.*part-1\.parquet\): Input y"):
        engine_fit(paths)


def test_batches_are_put_together():
    batch = pa.RecordBatch.from_pydict({"x": np.zeros(300_000)})
    assert [len(t) for t in tables_of(iter([batch] * 5))] == [1_200_000, 300_000]


def test_progress_counts_the_rows(files, capsys):
    rows, paths = files
    engine_fit(paths)
    assert capsys.readouterr().err == ""
    fitted = engine_fit(paths, verbose=1)
    shown = capsys.readouterr().err
    assert "rows: 100%" in shown
    assert "2.00k/2.00k" in shown
    assert_same_fit(fitted, whole_fit(rows), rtol=1e-9)
    damaged = paths[1].read_bytes()[:-30]
    paths[1].write_bytes(damaged)
    with pytest.raises(PartitionError, match=r"part-1\.parquet"):
        engine_fit(paths, verbose=1)


CATEGORIES = {
    "integers": lambda codes: codes * 3 + 2,
    "fractions": lambda codes: codes / 2 - 1,
    "large integers": lambda codes: 2**60 + codes,
    "dates": lambda codes: np.datetime64("2024-03-01") + codes,
    "truth values": lambda codes: codes % 2 == 0,
}


def rows_of_categories(values, **kind):
    rows = table().drop(columns="c")
    codes = np.random.default_rng(8).permutation(np.arange(len(rows)) % 4)
    rows["k"] = pd.Categorical(values(codes), **kind)
    rows["y"] += np.array([0.0, 2.0, -1.0, 0.5])[codes]
    return rows


def fit_to_categories(frame, fixed="k + x", **arguments):
    model = MixedLinearRegressor("(1 | g)", fixed=fixed, tol=1e-13)
    return distributed.fit(model, frame, target="y", features=["k", "x", "g"], **arguments)


@pytest.mark.parametrize("values", CATEGORIES.values(), ids=CATEGORIES)
@pytest.mark.parametrize("given", [lambda paths: paths, ds.dataset], ids=["paths", "dataset"])
def test_categories_that_are_not_text_stay_categories(values, given, tmp_path):
    rows = rows_of_categories(values)
    whole = MixedLinearRegressor("(1 | g)", fixed="k + x", tol=1e-13)
    whole.fit(rows[["k", "x", "g"]], rows["y"])
    paths = [str(tmp_path / f"{i}.parquet") for i in range(3)]
    for part, path in zip((rows[:10], rows[10:900], rows[900:]), paths, strict=True):
        part = part.assign(k=part["k"].cat.remove_unused_categories())
        part.to_parquet(path, row_group_size=100)
    fitted = fit_to_categories(given(paths))
    assert_same_fit(fitted, whole, rtol=1e-7)
    assert list(fitted.coef_covariance_.columns) == list(whole.coef_covariance_.columns)
    found = distributed.predict(fitted, paths).read_all()["prediction"].to_numpy()
    np.testing.assert_allclose(found, whole.predict(rows[["k", "x", "g"]]), atol=1e-7)


def test_order_of_categories_that_is_not_in_the_file_is_asked_for(tmp_path):
    order = [8, 2, 11, 5]
    rows = rows_of_categories(CATEGORIES["integers"], categories=order, ordered=True)
    rows.to_parquet(tmp_path / "rows.parquet")
    fixed = "C(k) + x"
    with pytest.raises(PartitionError, match=r"rows\.parquet\) .*order of the categories of 'k'"):
        fit_to_categories(tmp_path, fixed=fixed)
    whole = MixedLinearRegressor("(1 | g)", fixed=fixed, tol=1e-13)
    whole.fit(rows[["k", "x", "g"]], rows["y"])
    fitted = fit_to_categories(tmp_path, fixed=fixed, categories={"k": order})
    assert list(fitted.coef_covariance_.columns) == list(whole.coef_covariance_.columns)
    assert_same_fit(fitted, whole, rtol=1e-7)
    found = distributed.predict(fitted, tmp_path).read_all()["prediction"].to_numpy()
    np.testing.assert_allclose(found, whole.predict(rows[["k", "x", "g"]]), atol=1e-7)


def test_polynomial_contrasts_of_an_order_are_refused(tmp_path):
    rows = rows_of_categories(np.array(["a", "b", "c", "d"]).__getitem__, ordered=True)
    rows.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match=r"'k' has levels in an order, .* write C\(k\)"):
        fit_to_categories(tmp_path)
