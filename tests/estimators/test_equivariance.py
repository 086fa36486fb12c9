"""A change of units or of order changes the fit by exactly what it must."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy, make_mixed_regression

X, Y = load_sleepstudy(return_X_y=True)
SLOPE = MixedLinearRegressor("(Days | Subject)")
BASE = SLOPE.fit(X, Y)
SAMPLE = load_sleepstudy().sample(frac=0.7, random_state=2)
CRITERION = 1743.628271958490  # lme4, tight


def fit(frame, random="(Days | Subject)", **params):
    model = MixedLinearRegressor(random, **params)
    return model.fit(frame.drop(columns="Reaction"), frame["Reaction"])


def close(first, second, rel=1e-8):
    np.testing.assert_allclose(first, second, rtol=rel, atol=rel * np.max(np.abs(second)))


@pytest.mark.parametrize("exponent", range(-6, 7))
def test_scaled_random_slope(exponent):
    k = 10.0**exponent
    model = SLOPE.fit(X.assign(Days=X["Days"] * k), Y)
    assert model.criterion_ - 2 * np.log(k) == pytest.approx(CRITERION, abs=1e-6)
    close(model.predict(X.assign(Days=X["Days"] * k)), BASE_PREDICTIONS)
    assert model.random_covariance_["Subject"].loc["Days", "Days"] * k**2 == pytest.approx(
        SLOPE_VARIANCE, rel=1e-8
    )


BASE_PREDICTIONS = BASE.predict(X)
SLOPE_VARIANCE = BASE.random_covariance_["Subject"].loc["Days", "Days"]
UNBALANCED = fit(SAMPLE)
COLUMNS = SAMPLE[["Days", "Subject"]]
UNBALANCED_PREDICTIONS = UNBALANCED.predict(COLUMNS)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.floats(-6, 6), st.booleans(), st.floats(-1e6, 1e6))
def test_response_in_other_units(exponent, negative, shift):
    a = (-1) ** negative * 10.0**exponent
    shift *= abs(a)
    model = fit(SAMPLE.assign(Reaction=a * SAMPLE["Reaction"] + shift))
    degrees = len(SAMPLE) - 2
    assert model.criterion_ - 2 * degrees * np.log(abs(a)) == pytest.approx(
        UNBALANCED.criterion_, rel=1e-8
    )
    close((model.predict(COLUMNS) - shift) / a, UNBALANCED_PREDICTIONS)
    close(model.theta_, UNBALANCED.theta_, rel=1e-6)
    assert model.residual_variance_ / a**2 == pytest.approx(UNBALANCED.residual_variance_, rel=1e-7)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.floats(-6, 6), st.floats(-1e3, 1e3))
def test_column_in_other_units(exponent, shift):
    a = 10.0**exponent
    changed = SAMPLE.assign(Days=a * (SAMPLE["Days"] + shift))
    model = fit(changed)
    assert model.criterion_ - 2 * np.log(a) == pytest.approx(UNBALANCED.criterion_, rel=1e-8)
    close(model.predict(changed[["Days", "Subject"]]), UNBALANCED_PREDICTIONS)
    assert model.coef_[0] * a == pytest.approx(UNBALANCED.coef_[0], rel=1e-6)


def test_shifting_a_slope_under_a_diagonal_covariance_is_another_model():
    shifted = X.assign(Days=X["Days"] + 50)
    model = MixedLinearRegressor("(Days || Subject)").fit(shifted, Y)
    assert model.criterion_ == pytest.approx(1778.37840360, abs=1e-7)
    diagonal = MixedLinearRegressor("(Days | Subject)", covariance="diagonal").fit(shifted, Y)
    assert diagonal.criterion_ == pytest.approx(model.criterion_, abs=1e-8)


@pytest.mark.parametrize("labels", ["int", "category", "date", "bool"])
def test_relabelled_levels(labels):
    frame = SAMPLE
    if labels == "bool":
        frame = SAMPLE.assign(Subject=np.where(SAMPLE["Subject"] > "340", "b", "a"))
    subjects = frame["Subject"]
    numbers = pd.factorize(subjects)[0]
    relabelled = {
        "int": 7 - 3 * numbers,
        "category": subjects.astype("category"),
        "date": pd.Timestamp("2020-01-01") + pd.to_timedelta(numbers, unit="D"),
        "bool": subjects == "b",
    }
    changed = frame.assign(Subject=relabelled[labels])
    model, other = fit(changed), fit(frame)
    assert model.criterion_ == pytest.approx(other.criterion_, rel=1e-12)
    names = ["Days", "Subject"]
    close(model.predict(changed[names]), other.predict(frame[names]))


def test_order_of_rows_and_columns():
    shuffled = SAMPLE.sample(frac=1, random_state=0)[["Subject", "Reaction", "Days"]]
    model = fit(shuffled)
    assert model.criterion_ == pytest.approx(UNBALANCED.criterion_, rel=1e-12)
    close(
        model.predict(shuffled[["Subject", "Days"]]),
        pd.Series(UNBALANCED_PREDICTIONS, index=SAMPLE.index)[shuffled.index],
    )


def test_sums_of_parts_are_sums_of_the_whole():
    whole = UNBALANCED.fit_.products
    parts = [
        fit(part).fit_.products for part in (SAMPLE.iloc[:40], SAMPLE.iloc[40:90], SAMPLE.iloc[90:])
    ]
    merged = type(UNBALANCED.fit_).of(parts[2] + parts[0] + parts[1], UNBALANCED.fit_.spec)
    assert merged.products.n_rows == whole.n_rows
    assert merged.criterion == pytest.approx(UNBALANCED.criterion_, rel=1e-11)
    close(merged.beta, UNBALANCED.fit_.beta)
    close(merged.theta, UNBALANCED.theta_, rel=1e-6)


def test_prediction_in_batches():
    batches = [UNBALANCED.predict(COLUMNS.iloc[start : start + 7]) for start in range(0, 126, 7)]
    np.testing.assert_array_equal(np.concatenate(batches), UNBALANCED_PREDICTIONS)


@pytest.mark.parametrize("weighting", ["frequency", "precision"])
def test_weights(weighting):
    data = make_mixed_regression(300, 3, n_levels=(20, 7), random_state=0)
    frame, y = data.data, data.target
    features = [name for name in frame if not name.startswith("group")]
    groups = frame.drop(columns=features)
    weights = np.random.default_rng(0).integers(0, 4, len(y)).astype(float)
    model = MixedLinearRegressor(weighting=weighting)
    weighted = model.fit(frame[features], y, weights, groups=groups).criterion_
    predicted = model.predict(frame[features], groups=groups)
    kept = np.flatnonzero(weights)
    if weighting == "frequency":
        rows = np.repeat(np.arange(len(y)), weights.astype(int))
        model.fit(frame[features].iloc[rows], np.asarray(y)[rows], groups=groups.iloc[rows])
    else:
        part = (frame[features].iloc[kept], np.asarray(y)[kept], weights[kept])
        model.fit(*part, groups=groups.iloc[kept])
    assert weighted == pytest.approx(model.criterion_, rel=1e-10)
    close(predicted, model.predict(frame[features], groups=groups))
