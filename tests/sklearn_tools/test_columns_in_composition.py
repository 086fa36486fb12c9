"""Groups as columns of X where scikit-learn puts a model into another, without metadata routing."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import BaggingRegressor, StackingRegressor, VotingRegressor
from sklearn.feature_selection import RFE, SelectKBest, f_regression
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler

from skmixed import MixedLinearRegressor
from skmixed.exceptions import UnidentifiedWarning
from tests.sklearn_tools.shops import (
    BY_POSITION,
    CODED,
    FOLDS,
    MIXED,
    NUMBERS,
    PLAIN,
    SHOP,
    WITH_GROUPS,
    WITHOUT,
    X,
    Y,
)


def test_pipeline():
    double = FunctionTransformer(lambda table: table.assign(price=2.0 * table["price"]))
    pipe = make_pipeline(double, MIXED).fit(X, Y)
    assert pipe.score(X, Y) > WITH_GROUPS
    assert cross_val_score(pipe, X, Y, cv=FOLDS).min() > WITH_GROUPS
    assert cross_val_score(make_pipeline(double, PLAIN), NUMBERS, Y, cv=FOLDS).max() < WITHOUT


def test_column_transformer_that_returns_data_frames():
    scale = make_column_transformer(
        (StandardScaler(), ["price", "size"]),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    pipe = make_pipeline(scale, MIXED).fit(X, Y)
    assert pipe.score(X, Y) > WITH_GROUPS
    assert_allclose(pipe.predict(X), MIXED.fit(X, Y).predict(X), rtol=1e-6)
    scale_only = make_pipeline(StandardScaler(), PLAIN)
    assert scale_only.fit(NUMBERS, Y).score(NUMBERS, Y) < WITHOUT


def test_column_transformer_that_returns_arrays():
    # What is passed through comes last, so the last position is that of the shop.
    powers = make_column_transformer(
        (PolynomialFeatures(2, include_bias=False), ["price", "size"]), remainder="passthrough"
    )
    pipe = make_pipeline(powers, MixedLinearRegressor(group_features=[-1]))
    assert cross_val_score(pipe, X, Y, cv=FOLDS).min() > WITH_GROUPS
    with pytest.raises(ValueError, match=r"text in the columns at positions \[5\]"):
        make_pipeline(powers, PLAIN).fit(X, Y)


def test_permutation_importance():
    importance = permutation_importance(MIXED.fit(X, Y), X, Y, n_repeats=3, random_state=0)
    price, size, shop = importance.importances_mean
    assert shop > 1.0 > price > abs(size)
    plain = permutation_importance(PLAIN.fit(NUMBERS, Y), NUMBERS, Y, n_repeats=3, random_state=0)
    assert plain.importances_mean.max() < WITHOUT


def test_partial_dependence():
    model = MIXED.fit(X, Y)
    of_price = partial_dependence(model, X, ["price"], kind="average", grid_resolution=4)
    slope = np.diff(of_price["average"][0]) / np.diff(of_price["grid_values"][0])
    assert_allclose(slope, model.coef_[0])
    of_shop = partial_dependence(model, X, ["shop"], categorical_features=["shop"], kind="average")
    effects = model.random_effects_["shop"]["(Intercept)"][of_shop["grid_values"][0]]
    found = of_shop["average"][0]
    assert_allclose(found - found.mean(), effects - effects.mean())
    assert np.ptp(found) > 10.0 * np.ptp(of_price["average"][0]) / 4.0


def test_voting():
    other = MixedLinearRegressor("(price | shop)", fixed="price")
    voting = VotingRegressor([("a", MIXED), ("b", other)])
    assert cross_val_score(voting, X, Y, cv=FOLDS).min() > WITH_GROUPS
    plain = VotingRegressor([("a", PLAIN), ("b", LinearRegression())])
    assert cross_val_score(plain, NUMBERS, Y, cv=FOLDS).max() < WITHOUT


def test_stacking():
    members = [("a", MIXED), ("b", MixedLinearRegressor("(1 | shop)", fixed="1"))]
    assert (
        StackingRegressor(members, LinearRegression(), cv=FOLDS).fit(X, Y).score(X, Y) > WITH_GROUPS
    )
    plain = StackingRegressor([("a", PLAIN)], LinearRegression(), cv=FOLDS)
    assert plain.fit(NUMBERS, Y).score(NUMBERS, Y) < WITHOUT


def test_multi_output():
    both = np.column_stack([Y, -Y])
    assert MultiOutputRegressor(MIXED).fit(X, both).score(X, both) > WITH_GROUPS
    assert MultiOutputRegressor(PLAIN).fit(NUMBERS, both).score(NUMBERS, both) < WITHOUT


def test_transformed_target():
    y = np.exp(Y / 20.0)
    options = {"func": np.log, "inverse_func": np.exp}
    model = TransformedTargetRegressor(MIXED, **options)
    assert cross_val_score(model, X, y, cv=FOLDS).min() > WITH_GROUPS
    plain = TransformedTargetRegressor(PLAIN, **options)
    assert cross_val_score(plain, NUMBERS, y, cv=FOLDS).max() < WITHOUT


# --- bagging, which hands bare arrays to its members ---


def bagging(model, n_estimators=5, **params):
    return BaggingRegressor(model, n_estimators, random_state=0, **params)


def test_bagging_by_position():
    assert cross_val_score(bagging(BY_POSITION), X, Y, cv=FOLDS).min() > WITH_GROUPS
    assert cross_val_score(bagging(PLAIN), NUMBERS, Y, cv=FOLDS).max() < WITHOUT


@pytest.mark.parametrize("model", [MIXED, MixedLinearRegressor(group_features="shop")])
def test_bagging_by_name(model):
    with pytest.raises(ValueError, match=r"X is an array without column names \(transformers"):
        bagging(model).fit(X, Y)


@pytest.mark.parametrize(
    ("position", "order"),
    [
        (0, ["shop", "price", "size"]),
        (1, ["price", "shop", "size"]),
        (2, ["price", "size", "shop"]),
        (-1, ["price", "size", "shop"]),
    ],
)
@pytest.mark.parametrize("params", [{"max_features": 2}, {"bootstrap_features": True}])
def test_bagging_with_some_of_the_columns_and_text_as_labels(position, order, params):
    # The position is another column's in some members. Labels that are text give that away,
    model = bagging(MixedLinearRegressor(group_features=[position]), 20, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"positions shift|shifts positions"):
            model.fit(X[order], Y)


def test_bagging_with_some_of_the_columns_and_numbers_as_labels():
    # and so does, in a warning, a measured column that is taken for labels.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bagging(MixedLinearRegressor(group_features=[-1]), max_features=2).fit(CODED, Y)
    messages = [str(w.message) for w in caught if w.category is UnidentifiedWarning]
    assert any("'x1' is a grouping column by its position" in message for message in messages)


# --- selection of features ---


def test_selection_before_the_model():
    select = ColumnTransformer(
        [("numbers", SelectKBest(f_regression, k=1), ["price", "size"])], remainder="passthrough"
    )
    pipe = make_pipeline(select, MixedLinearRegressor(group_features=[-1]))
    assert cross_val_score(pipe, X, Y, cv=FOLDS).min() > WITH_GROUPS


def test_recursive_elimination_leaves_groups_alone_that_come_last():
    # coef_ has no entry for a grouping column, so it only lines up with the columns before it.
    selector = RFE(MixedLinearRegressor(group_features=[-1]), n_features_to_select=2)
    assert_array_equal(selector.fit(CODED, Y).support_, [True, False, True])
    assert selector.score(CODED, Y) > WITH_GROUPS
    assert RFE(PLAIN, n_features_to_select=1).fit(NUMBERS, Y).score(NUMBERS, Y) < WITHOUT


def test_recursive_elimination_with_the_groups_as_argument():
    selector = RFE(MixedLinearRegressor(), n_features_to_select=1).fit(NUMBERS, Y, groups=SHOP)
    assert_array_equal(selector.support_, [True, False])
    assert selector.estimator_.n_groups_ == {"shop": 12}
    assert selector.score(NUMBERS, Y, groups=SHOP) > WITH_GROUPS
