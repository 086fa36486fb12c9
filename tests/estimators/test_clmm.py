"""Cumulative link mixed models from whole formulas."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from skmixed import OrdinalMixedClassifier, clmm
from tests.estimators.test_ordinal_classifier import X, Y

NAMES = np.array(["bad", "poor", "fair", "good"])
RATING = pd.Categorical.from_codes(Y, NAMES, ordered=True)
DATA = X.assign(rating=RATING, n=Y, text=NAMES[Y], w=np.arange(len(Y)) % 3)
ESTIMATOR = OrdinalMixedClassifier("(1 | g)", fixed="x + dose").fit(X, RATING)


@pytest.mark.parametrize("response", ["rating", "ordered(rating)", "n", "factor(n)", "2 * n"])
def test_it_is_the_estimator(response):
    model = clmm(f"{response} ~ x + dose + (1 | g)", DATA)
    assert model.criterion_ == ESTIMATOR.criterion_
    assert model.formula_ == f"{response} ~ x + dose + (1 | g)"
    assert model.n_dropped_ == 0
    np.testing.assert_array_equal(model.thresholds_, ESTIMATOR.thresholds_)
    shown = DATA[["g", "dose", "x"]]
    np.testing.assert_array_equal(model.predict_proba(shown), ESTIMATOR.predict_proba(X))


@pytest.mark.parametrize("library", ["polars", "pyarrow", "pandas"])
def test_the_order_is_that_of_the_column_in_every_library(library):
    data = DATA.rename(columns={"rating": "the rating"})
    if library == "polars":
        enum = pl.Series("the rating", NAMES[Y].tolist(), dtype=pl.Enum(NAMES.tolist()))
        data = pl.DataFrame({name: X[name].to_numpy() for name in X}).with_columns(enum)
    elif library == "pyarrow":
        data = pa.Table.from_pandas(data)
    model = clmm("`the rating` ~ x + dose + (1 | g)", data)
    assert model.classes_.tolist() == NAMES.tolist()
    assert model.criterion_ == pytest.approx(ESTIMATOR.criterion_, rel=1e-12)


def test_order_of_text():
    with pytest.warns(UserWarning, match="text categories are ordered alphabetically"):
        assert clmm("text ~ x + (1 | g)", DATA).classes_.tolist() == sorted(NAMES)
    model = clmm("text ~ x + dose + (1 | g)", DATA, categories=NAMES)
    assert model.criterion_ == ESTIMATOR.criterion_


def test_missing_rows_are_left_out():
    data = DATA.copy()
    data.loc[3, "rating"] = None
    data.loc[[5, 8], "x"] = np.nan
    data.loc[9, "g"] = np.nan
    model = clmm("rating ~ x + dose + (1 | g)", data)
    expected = clmm("rating ~ x + dose + (1 | g)", DATA.drop(index=[3, 5, 8, 9]))
    assert model.n_dropped_ == 4
    assert model.criterion_ == pytest.approx(expected.criterion_, rel=1e-12)
    assert "4 rows with missing values were left out" in str(model.summary())
    with pytest.raises(ValueError, match="1 in 'rating'"):
        clmm("rating ~ x + (1 | g)", data, na_action="raise")


def test_weights_links_nodes_and_offsets():
    model = clmm("rating ~ x + (1 | g)", DATA, weights="w + 1", link="probit", quadrature=5)
    again = OrdinalMixedClassifier("(1 | g)", fixed="x", link="probit", quadrature=5)
    again.fit(X, RATING, DATA["w"] + 1)
    assert model.criterion_ == again.criterion_
    moved = clmm("rating ~ x + offset(0.5 * x) + (1 | g)", DATA)
    plain = clmm("rating ~ x + (1 | g)", DATA)
    assert moved.criterion_ == pytest.approx(plain.criterion_, rel=1e-9)
    np.testing.assert_allclose(moved.coef_, plain.coef_ - 0.5, rtol=1e-5)


def test_what_is_wrong_is_said():
    with pytest.raises(TypeError, match="not accept 'nAGQ': write quadrature="):
        clmm("rating ~ x + (1 | g)", DATA, nAGQ=3)
    with pytest.raises(ValueError, match="has no response"):
        clmm("~ x + (1 | g)", DATA)
    with pytest.raises(ValueError, match="thresholds take the place"):
        clmm("rating ~ 0 + x + (1 | g)", DATA)
    with pytest.raises(ValueError, match="uses no column"):
        clmm("mark ~ x + (1 | g)", DATA)
    with pytest.raises(ValueError, match="Unknown label type"):
        clmm("x ~ dose + (1 | g)", DATA)
    with pytest.raises(TypeError, match="data is a ndarray; a formula requires a"):
        clmm("rating ~ x", DATA.to_numpy())
