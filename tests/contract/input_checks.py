"""What an estimator takes: labels, numbers and tables of many kinds."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning

from tests.contract.data import (
    GROUPS,
    NUMBERS,
    X,
    answer,
    assert_same_answer,
    by_column,
    fitted,
    population,
    response,
)

CODE = pd.factorize(X["school"], sort=True)[0]
DAYS = pd.Timestamp("2024-02-27") + pd.to_timedelta(CODE, unit="D")

# Of every kind, the ways to write the same labels; those of one list know each other's.
LABELS = {
    "numbers": [
        pd.Series(CODE),
        pd.Series(CODE, dtype=np.uint8),
        pd.Series(CODE, dtype=float),
        pd.Series(CODE, dtype="Int64"),
        pd.Series(CODE, dtype=pd.ArrowDtype(pa.int64())),
        pd.Series(CODE, dtype=object),
        pd.Series(CODE).astype("category"),
    ],
    "text": [
        X["school"].astype(object),
        X["school"].astype(str),
        X["school"].astype("string"),
        X["school"].astype(pd.ArrowDtype(pa.string())),
        X["school"].astype("category"),
        pd.Series(pd.Categorical(X["school"], categories=["none", *X["school"].unique()])),
    ],
    "dates": [
        pd.Series(DAYS),
        pd.Series(DAYS).astype("datetime64[s]"),
        pd.Series(DAYS).astype(pd.ArrowDtype(pa.timestamp("us"))),
        pd.Series(DAYS).astype("category"),
    ],
    "days": [pd.Series([datetime.date(2024, 1, 1 + int(code)) for code in CODE])],
    "tuples": [pd.Series([("a", int(code)) for code in CODE])],
}
TRUTH = [
    pd.Series(CODE > 1),
    pd.Series(CODE > 1, dtype="boolean"),
    pd.Series(CODE > 1, dtype=object),
    pd.Series(CODE > 1, dtype=pd.ArrowDtype(pa.bool_())),
]
TABLES = {
    "pandas": lambda table: table,
    "categories": lambda table: table.astype(dict.fromkeys(GROUPS, "category")),
    "nullable": lambda table: table.convert_dtypes(),
    "arrow": lambda table: table.convert_dtypes(dtype_backend="pyarrow"),
    "polars": pl.from_pandas,
    "pyarrow": lambda table: pa.Table.from_pandas(table, preserve_index=False),
}


def check_labels_of_every_kind(estimator):
    expected = answer(fitted(estimator))
    for ways in LABELS.values():
        first = fitted(estimator, X.assign(school=ways[0]))
        for labels in ways:
            table = X.assign(school=labels)
            assert_allclose(answer(fitted(estimator, table), table), expected, rtol=1e-6)
            assert_allclose(answer(first, table), expected, rtol=1e-6)


def check_labels_that_are_truth_values(estimator):
    table = X.assign(school=np.where(CODE > 1, "yes", "no"))
    expected = answer(fitted(estimator, table), table)
    for labels in TRUTH:
        table = X.assign(school=labels)
        assert_allclose(answer(fitted(estimator, table), table), expected, rtol=1e-6)


def check_unknown_levels(estimator):
    model = fitted(estimator)
    unknown = np.isin(np.arange(len(X)), [0, 3, 50, 149])
    expected = np.where(unknown, population(model, X), answer(model))
    for school, letter in [("new", "new"), (None, None), (np.nan, "new")]:
        table = X.copy()
        table.loc[unknown, GROUPS] = [school, letter]
        kind = estimator.get_params().get("handle_unknown", estimator.get_params().get("fallback"))
        if kind == "error":
            with pytest.raises(ValueError, match="not seen in fit"):
                answer(model, table)
        else:
            found = np.where(unknown, np.nan, expected) if kind == "nan" else expected
            assert_allclose(answer(model, table), found, rtol=1e-12)
            assert_allclose(answer(model, table[unknown]), found[unknown], rtol=1e-12)


def check_tables_of_every_library(estimator):
    expected = fitted(estimator)
    models = {name: fitted(estimator, make(X)) for name, make in TABLES.items()}
    for model in models.values():
        assert list(model.feature_names_in_) == NUMBERS + GROUPS
        assert model.n_features_in_ == 4
        for make in TABLES.values():
            assert_allclose(answer(model, make(X)), answer(expected), rtol=1e-6)


def check_names_of_columns(estimator):
    model = fitted(estimator)
    if estimator.get_params().get("fixed") is None:
        for table in (X[[*GROUPS, *NUMBERS]], X.rename(columns={"x": "w"}), X[["x", *GROUPS]]):
            with pytest.raises(ValueError, match=r"feature names|features"):
                answer(model, table)
    if estimator.get_params().get("random") is None:
        array = X.assign(school=CODE, **{"class": pd.factorize(X["class"])[0]}).to_numpy(float)
        model = clone(estimator).set_params(group_features=[2, 3]).fit(array, response(estimator))
        assert not hasattr(model, "feature_names_in_")
        assert model.n_features_in_ == 4
        with pytest.raises(ValueError, match="3 features"):
            answer(model, array[:, :3])


def check_a_response_of_one_column(estimator):
    model = by_column(estimator)
    with pytest.warns(DataConversionWarning):
        model.fit(X, response(estimator).to_numpy()[:, None])
    assert answer(model).shape == (len(X),)
    assert_same_answer(answer(model), answer(fitted(estimator)))


def check_single_precision(estimator):
    """Numbers are taken as they are, and all is computed in double precision."""
    short = X.astype(dict.fromkeys(NUMBERS, np.float32))
    y = response(estimator).astype(np.float32)
    model = fitted(estimator, short, y)
    wide = fitted(estimator, short.astype(dict.fromkeys(NUMBERS, float)), y.astype(float))
    assert answer(model, short).dtype == np.float64
    assert_same_answer(answer(model, short), answer(wide, short))
    assert_allclose(answer(model, short), answer(fitted(estimator)), rtol=1e-5, atol=1e-5)


def check_whole_numbers_and_truth_values(estimator):
    table = X.assign(z=(X["z"] > 0).astype(float))
    expected = answer(fitted(estimator, table), table)
    kinds = [bool, np.int8, np.uint8, int, np.float16, "boolean", "Int64", "Float32"]
    if estimator.get_params().get("fixed") is None:  # to a formula, objects are categories
        kinds.append(object)
    for dtype in kinds:
        whole = table.astype({"z": dtype})
        model = fitted(estimator, whole)
        assert_same_answer(answer(model, whole), expected)
        assert_same_answer(answer(model, table), expected)
