"""Exposures and offsets behind transformers of columns: kept, or refused where they are spoiled."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmixed import MixedClassifier, MixedGeneralizedRegressor

RNG = np.random.default_rng(0)
X = pd.DataFrame(
    {"price": RNG.uniform(10.0, 20.0, size=300), "days": RNG.integers(1, 30, size=300)}
)
X["shop"] = np.arange(300) % 15
RATE = np.exp(1.5 - 0.1 * X["price"] + 0.5 * RNG.normal(size=15)[X["shop"]])
Y = RNG.poisson(X["days"] * RATE)
BY_NAME = [
    MixedGeneralizedRegressor("(1 | shop)", exposure="days"),
    MixedGeneralizedRegressor("(1 | shop)", fixed="price + offset(log(days))"),
]


def scaler(output):
    scale = make_column_transformer(
        (StandardScaler(), ["price"]), remainder="passthrough", verbose_feature_names_out=False
    )
    return scale.set_output(transform=output)


EXPECTED = BY_NAME[0].fit(X, Y).predict(X, interval=0.9)


@pytest.mark.parametrize("model", BY_NAME)
@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_columns_that_are_passed_through_keep_their_meaning(model, output):
    pipeline = make_pipeline(scaler(output), model).fit(X, Y)
    assert_allclose(pipeline.predict(X, interval=0.9), EXPECTED, rtol=1e-6)


@pytest.mark.parametrize("places", [(2, 1), (-1, -2)])
def test_positions_after_a_transformer_that_makes_arrays(places):
    group, exposure = places
    model = MixedGeneralizedRegressor(group_features=[group], exposure=exposure)
    pipeline = make_pipeline(scaler("default"), model).fit(X, Y)
    assert_allclose(pipeline.predict(X, interval=0.9), EXPECTED, rtol=1e-6)


@pytest.mark.parametrize("model", BY_NAME)
def test_a_standardised_exposure_is_refused(model):
    scale = StandardScaler().set_output(transform="pandas")
    with pytest.raises(ValueError, match=r"exposures must be positive|log\(days\)' is not finite"):
        make_pipeline(scale, model).fit(X, Y)


def test_an_offset_of_a_classifier():
    table, y = X.assign(known=0.3 * (X["price"] - 15.0)), (np.median(Y) < Y).astype(int)
    model = MixedClassifier("(1 | shop)", fixed="days + offset(known)")
    scale = make_column_transformer(
        (StandardScaler(), ["price"]), remainder="passthrough", verbose_feature_names_out=False
    ).set_output(transform="pandas")
    pipeline = make_pipeline(scale, model).fit(table, y)
    expected = model.fit(table, y).predict_proba(table)
    assert_allclose(pipeline.predict_proba(table), expected, rtol=1e-6)
