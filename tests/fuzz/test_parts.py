"""Random tables in random parts, of any library and types, give the fit of the whole."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from skmixed import MixedLinearRegressor, distributed
from tests.fuzz.cases import seeds

pytest.importorskip("formulaic")

FEATURES = ["x", "v", "g", "h", "kind"]
MODELS = [
    ("x + kind", "(1 | g)"),
    ("x * kind", "(x | g) + (1 | h)"),
    ("x + C(v)", "(1 | g/h)"),
    ("0 + kind + x:v", "(v | h)"),
    (None, "(1 | g)"),
]
# Other ways to write the same values; chosen part by part.
SPELLINGS = {
    "x": [float, "Float64", "double[pyarrow]", object],
    "v": ["int8", "int64", "uint16", "Int64", "int32[pyarrow]"],
    "g": [int, "int16", "Int32", "int64[pyarrow]"],
    "h": [object, "string", "category", "string[pyarrow]"],
    "kind": [object, "string", "category"],
}
LIBRARIES = [lambda part: part, pl.from_pandas, pa.Table.from_pandas]


def draw_rows(rng):
    """Draw a table; levels and categories may be in some of the parts only."""
    n = int(rng.choice([40, 90, 200]))
    rows = pd.DataFrame({"x": rng.normal(size=n), "v": rng.integers(0, 4, n)})
    rows["g"] = rng.integers(0, 9, n)
    rows["h"] = np.array(["a", "b", "a:b", "", "é"], dtype=object)[rng.integers(0, 5, n)]
    rows["kind"] = np.array(["red", "green", "blue"], dtype=object)[rng.integers(0, 3, n)]
    rows["w"] = rng.integers(1, 4, n).astype(float)
    rows["y"] = rows["x"] + rng.normal(size=9)[rows["g"]] + (rows["kind"] == "red")
    rows["y"] = (rows["y"] + rng.normal(size=n)) * 10.0 ** rng.choice([-8, 0, 0, 8])
    by = rng.choice(["none", "kind", "g", "h"])
    return rows if by == "none" else rows.sort_values(by, kind="stable", ignore_index=True)


def cut(rng, rows):
    """Cut rows into parts, some of them empty."""
    places = np.sort(rng.integers(0, len(rows) + 1, rng.integers(0, 7)))
    return np.split(np.arange(len(rows)), places)


def spelt(rng, part):
    """Write a part in other types, as a table of some library."""
    chosen = {name: kinds[rng.integers(len(kinds))] for name, kinds in SPELLINGS.items()}
    library = LIBRARIES[rng.integers(3)]
    if library is not LIBRARIES[0]:  # objects are not numbers there
        chosen["x"] = float
    return library(part.astype(chosen).reset_index(drop=True))


def assert_same(ours, theirs, rows):
    np.testing.assert_allclose(ours.criterion_, theirs.criterion_, rtol=1e-9)
    size = np.abs(rows["y"]).max()
    np.testing.assert_allclose(
        ours.predict(rows[FEATURES]), theirs.predict(rows[FEATURES]), rtol=0, atol=1e-6 * size
    )
    assert ours.n_groups_ == theirs.n_groups_


@seeds(25, 400)
def test_parts_of_a_table_are_the_table(seed):
    rng = np.random.default_rng(seed)
    rows = draw_rows(rng)
    fixed, random = MODELS[rng.integers(len(MODELS))]
    if fixed is None:
        rows = rows.assign(kind=1.0, h=rng.integers(0, 5, len(rows)))
    weight = "w" if rng.random() < 0.4 else None
    model = MixedLinearRegressor(random, fixed=fixed, tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        whole = model.fit(rows[FEATURES], rows["y"], rows["w"] if weight else None)
        parts = [rows.iloc[places] for places in cut(rng, rows)]
        given = [part if fixed is None else spelt(rng, part) for part in parts]
        again = MixedLinearRegressor(random, fixed=fixed, tol=1e-12)
        names = {"target": "y", "features": FEATURES, "weight": weight}
        assert_same(distributed.fit(again, given, **names), whole, rows)


@seeds(15, 300)
def test_rows_that_come_later_are_rows(seed):
    rng = np.random.default_rng(seed)
    rows = draw_rows(rng)
    rows = rows.assign(h=rows["h"].astype("category"))
    half = len(rows) // 2
    later = [places + half for places in cut(rng, rows.iloc[half:]) if len(places)]
    model = MixedLinearRegressor("(1 | g) + (1 | h)", fixed="x + v", tol=1e-12)
    scale = 10.0 ** rng.choice([-300, -12, 0, 0, 12]) if rng.random() < 0.3 else None
    model.set_params(weighting="precision")
    weights = None if scale is None else rows["w"] * scale
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        whole = model.fit(rows[FEATURES], rows["y"], weights)
        again = MixedLinearRegressor(**model.get_params())
        for places in [np.arange(half), *later]:
            part = rows.iloc[places]
            w = None if weights is None else weights.iloc[places]
            again.partial_fit(part[FEATURES], part["y"], w)
    assert_same(again, whole, rows)
