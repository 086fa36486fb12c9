"""Classes and counts are encoded on the scale of the link, and rows may have weights."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from skmixed import BLUPEncoder, MixedClassifier, MixedGeneralizedRegressor
from tests.estimators.example import pupils

TABLE = pupils()
X, Y = TABLE[["school", "class"]], TABLE["y"]
COUNTS = np.floor(np.exp(Y / 4)).to_numpy()
TARGETS = {
    "continuous": Y.to_numpy(),
    "binary": (Y > 3.0).to_numpy(),
    "multiclass": np.digitize(Y, [2.0, 4.0]),
    "count": COUNTS,
}


def effects(model, y, label="school"):
    """Random effects of the labels of every row, by an estimator of the package."""
    table = TABLE[["school", "class"]]
    model.set_params(random=f"(1 | {label})", group_features=["school", "class"]).fit(table, y)
    return model.random_effects_[label]["(Intercept)"].loc[table[label]].to_numpy()


def test_two_classes_are_encoded_by_log_odds():
    y = np.where(Y > 3.0, "above", "below")
    found = BLUPEncoder().fit(X, y)
    for place, label in enumerate(X):
        expected = -effects(MixedClassifier(), y == "above", label)
        assert_allclose(found.transform(X)[:, place], expected, rtol=1e-4, atol=1e-6)
    assert np.isnan(found.residual_variance_).all()


def test_every_class_of_more_has_its_own_log_odds():
    y = TARGETS["multiclass"]
    encoder = BLUPEncoder(columns="school").fit(X[["school"]], y)
    found = encoder.transform(X[["school"]])
    for place, label in enumerate(encoder.classes_):
        assert_allclose(found[:, place], effects(MixedClassifier(), y == label), rtol=1e-4)


def test_counts_are_encoded_by_logarithms_of_means():
    encoder = BLUPEncoder(target_type="count", extra=["sd"]).fit(X, COUNTS)
    model = MixedGeneralizedRegressor(family="poisson")
    expected = effects(model, COUNTS)
    found = encoder.transform(X)
    assert_allclose(found[:, 0], expected, rtol=1e-4)
    place = model.random_effects_["school"].index.get_indexer(X["school"])
    spread = np.sqrt(model.random_effects_covariance_["school"][place, 0, 0])
    assert_allclose(found[:, 1], spread, rtol=1e-4)
    with pytest.raises(ValueError, match="a count, zero or positive, but row 2 has y = -1"):
        BLUPEncoder(target_type="count").fit(X, np.where(np.arange(150) == 2, -1.0, COUNTS))


def test_slopes_of_classes():
    table = TABLE[["x", "school"]]
    y = TARGETS["binary"]
    found = BLUPEncoder(slopes="x").fit(table, y).transform(table)
    model = MixedClassifier("(x | school)").fit(table, y)
    expected = model.random_effects_["school"].loc[table["school"]]
    assert_allclose(found[:, 1:], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("target", ["binary", "count"])
def test_leaving_one_out_on_the_scale_of_the_link(target):
    rooms = pd.DataFrame({"room": [*(X["school"] + X["class"])[:-1], "alone"]})
    y, settings = TARGETS[target], {"target_type": target, "extra": ["sd", "count"]}
    found = BLUPEncoder(cross_fit="loo", **settings).fit_transform(rooms, y)
    each = BLUPEncoder(cv=KFold(len(rooms)), **settings).fit_transform(rooms, y)
    assert_array_equal(found[:, 2], each[:, 2])
    assert found[-1, 0] == found[-1, 2] == 0.0
    gaps = found[:, 0] - each[:, 0]
    assert np.sqrt(np.mean(gaps**2)) < 0.06 * each[:, 0].std()
    assert_allclose(np.median(found[:, 1] / each[:, 1]), 1.0, rtol=0.05)


@pytest.mark.parametrize("target", ["binary", "count"])
def test_noise_does_not_leak(target):
    rng = np.random.default_rng(1)
    found = []
    for _ in range(10):
        noise = pd.DataFrame({"noise": rng.integers(200, size=1_000)})
        y = rng.integers(2, size=1_000) if target == "binary" else rng.poisson(2.0, size=1_000)
        encoder = BLUPEncoder(target_type=target, random_state=0)
        encoded = encoder.fit_transform(noise, y)
        found.append(Ridge(alpha=1e-6).fit(encoded, y).score(encoded, y))
    assert np.mean(found) < 0.005


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("settings", [{}, {"joint": True}])
def test_a_weight_is_a_number_of_rows(target, settings):
    settings = {"target_type": target, "extra": ["sd", "count"], **settings}
    y, weights = TARGETS[target], np.random.default_rng(2).integers(3, size=len(X))
    again = np.repeat(np.arange(len(X)), weights)
    weighted = BLUPEncoder(**settings).fit(X, y, sample_weight=weights)
    repeated = BLUPEncoder(**settings).fit(X.iloc[again], y[again])
    # Of single rows a level for every row has no variance; weights here leave no such column.
    assert_allclose(weighted.transform(X), repeated.transform(X), rtol=1e-4, atol=1e-6)


def test_rows_without_weight_are_encoded_and_not_learned_from():
    table = X.assign(school=["only", *X["school"].iloc[1:]])
    weights = np.ones(len(X))
    weights[0] = 0.0
    cv = KFold(3)
    encoder = BLUPEncoder(cv=cv, extra=["count"])
    found = encoder.fit_transform(table, Y, sample_weight=weights)
    assert_array_equal(found[0, :2], [0.0, 0.0])
    assert "only" not in encoder.categories_[0]
    for train, test in cv.split(X):
        known = train[train > 0]
        rest = BLUPEncoder(extra=["count"]).fit(table.iloc[known], Y.iloc[known])
        assert_allclose(found[test], rest.transform(table.iloc[test]), rtol=1e-5, atol=1e-7)
    for wrong, message in [(-weights, "negative"), (0 * weights, "zero")]:
        with pytest.raises(ValueError, match="(?i)" + message):
            encoder.fit(table, Y, sample_weight=wrong)


@pytest.mark.parametrize("target", TARGETS)
def test_weights_that_are_shares_are_few_rows(target):
    share = np.full(len(X), 1.0 / len(X))
    encoder = BLUPEncoder(target_type=target)
    with pytest.warns(UserWarning, match=r"1 rows, fewer than \['school', 'class'\]"):
        encoder.fit(X, TARGETS[target], sample_weight=share)
    encoder.fit(X, TARGETS[target], sample_weight=0.1 + share)  # fifteen rows of five labels


def test_leaving_out_a_row_takes_its_whole_weight():
    weights = np.random.default_rng(3).uniform(0.5, 2.0, size=len(X))
    found = BLUPEncoder(cross_fit="loo", extra=["count"], columns="school").fit_transform(
        X[["school"]], Y, sample_weight=weights
    )
    totals = pd.Series(weights).groupby(X["school"]).transform("sum")
    assert_allclose(found[:, 1], totals - weights)


def test_weights_are_routed():
    weights = np.arange(1.0, 151.0)
    y = TARGETS["binary"]
    expected = BLUPEncoder(random_state=0).fit_transform(X, y, sample_weight=weights)
    with sklearn.config_context(enable_metadata_routing=True):
        encoder = BLUPEncoder(random_state=0).set_fit_request(sample_weight=True)
        last = LogisticRegression().set_fit_request(sample_weight=False)
        model = make_pipeline(encoder, last).fit(X, y, sample_weight=weights)
        plain = BLUPEncoder(random_state=0).set_fit_request(sample_weight=True)
        found = plain.fit_transform(X, y, sample_weight=weights)
    assert_array_equal(found, expected)
    shown = LogisticRegression().fit(expected, y)
    assert_allclose(model[-1].coef_, shown.coef_)


@pytest.mark.parametrize("dtype", [int, float])
def test_many_whole_numbers_are_numbers_and_few_are_classes(dtype):
    shops, prices = pd.DataFrame({"shop": list("abcd") * 20}), np.arange(80, dtype=dtype) // 2
    with pytest.warns(
        UserWarning,
        match="40 distinct whole numbers, which are treated as continuous",
    ):
        encoder = BLUPEncoder(cv=2).fit(shops, prices)
    assert encoder.target_type_ == "continuous"
    numbers = BLUPEncoder(target_type="continuous").fit(shops, prices)
    assert_array_equal(encoder.encodings_[0], numbers.encodings_[0])
    assert BLUPEncoder(target_type="multiclass").fit(shops, prices).classes_.size == 40
    assert BLUPEncoder().fit(shops, (prices // 2).astype(int)).target_type_ == "multiclass"
    words = np.char.add("p", prices.astype(int).astype(str))
    assert BLUPEncoder().fit(shops, words).classes_.size == 40


def test_few_whole_numbers_of_a_type_with_decimals_are_classes_with_a_warning():
    shops, ratings = pd.DataFrame({"shop": list("abcd") * 20}), 1.0 + np.arange(80) % 5
    for y in (ratings, ratings.astype(np.float32), pd.Series(ratings)):
        with pytest.warns(
            UserWarning, match="which are treated as classes: set target_type='continuous'"
        ):
            assert BLUPEncoder().fit(shops, y).target_type_ == "multiclass"
    assert BLUPEncoder(target_type="continuous").fit(shops, ratings).classes_ is None
    assert BLUPEncoder().fit(shops, ratings > 2.0).target_type_ == "binary"
    assert BLUPEncoder().fit(shops, (ratings > 2.0).astype(float)).target_type_ == "binary"


def test_targets_that_do_not_vary():
    for y in [np.zeros(150, dtype=int), np.full(150, "a"), np.ones(150, dtype=bool)]:
        encoder = BLUPEncoder(extra=["sd"])
        assert not encoder.fit_transform(X, y).any()
        assert not encoder.random_covariance_[0].any()
