"""GroupedModels among scikit-learn's tools."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils import get_tags

from skmixed import GroupedModels
from skmixed.model_selection import cross_val_predict as predict_with_groups
from tests.estimators.grouped.loops import rows_in_groups

NUMBERS, Y, GROUP = rows_in_groups()
X = pd.DataFrame(NUMBERS, columns=["x", "z"]).assign(group=GROUP)
FOLDS = KFold(4, shuffle=True, random_state=0)


def by_hand(model):
    found = np.empty(len(Y))
    for train, test in FOLDS.split(X):
        found[test] = clone(model).fit(X.iloc[train], Y[train]).predict(X.iloc[test])
    return found


def test_it_is_what_its_estimator_is():
    assert is_regressor(GroupedModels())
    assert is_classifier(GroupedModels(LogisticRegression()))


def test_tags_are_those_of_the_estimator():
    for inner in (Ridge(), LogisticRegression(), HistGradientBoostingRegressor()):
        tags, own = get_tags(GroupedModels(inner)), get_tags(inner)
        assert tags.estimator_type == own.estimator_type
        assert tags.input_tags.allow_nan == own.input_tags.allow_nan
        assert tags.target_tags.multi_output == own.target_tags.multi_output
        assert not tags.input_tags.sparse
        assert not tags.no_validation
    tags = get_tags(GroupedModels(HistGradientBoostingRegressor(), group_features=[0]))
    assert tags.input_tags.string
    assert not tags.input_tags.allow_nan  # a missing label is an error


def test_cross_validation_with_groups_as_columns():
    model = GroupedModels(group_features="group")
    assert_allclose(cross_val_predict(model, X, Y, cv=FOLDS), by_hand(model))
    assert cross_val_score(model, X, Y, cv=FOLDS).min() > 0.5


def test_cross_validation_that_hands_groups_on():
    found = predict_with_groups(GroupedModels(), X[["x", "z"]], Y, groups=X["group"], cv=FOLDS)
    assert_allclose(found, by_hand(GroupedModels(group_features="group")), rtol=1e-6)


def test_routing_hands_groups_to_fit_and_score():
    with sklearn.config_context(enable_metadata_routing=True):
        params = {"groups": GROUP}
        scores = cross_val_score(GroupedModels(), X[["x", "z"]], Y, cv=FOLDS, params=params)
    assert scores.min() > 0.5


def test_a_search_over_shrinkage_and_the_estimator():
    grid = {"shrinkage": [None, "blup"], "estimator__alpha": [0.1, 1000.0]}
    search = GridSearchCV(GroupedModels(Ridge(), group_features="group"), grid, cv=FOLDS)
    assert search.fit(X, Y).best_params_["estimator__alpha"] == 0.1


def test_in_a_pipeline():
    scale = make_column_transformer((StandardScaler(), ["x", "z"]), remainder="passthrough")
    pipe = make_pipeline(scale, GroupedModels(group_features=[-1])).fit(X, Y)
    expected = GroupedModels(group_features="group").fit(X, Y).predict(X)
    assert_allclose(pipe.predict(X), expected, rtol=1e-5, atol=1e-6)


def test_missing_values_reach_an_estimator_that_takes_them():
    holes = X.copy()
    holes.loc[::7, "x"] = np.nan
    boosting = HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=2)
    model = GroupedModels(boosting, group_features="group", shrinkage=None).fit(holes, Y)
    rows = (GROUP == "g0001").to_numpy()
    alone = boosting.fit(holes.loc[rows, ["x", "z"]], Y[rows])
    assert_allclose(model.predict(holes[rows]), alone.predict(holes.loc[rows, ["x", "z"]]))
    with pytest.raises(ValueError, match="NaN"):
        GroupedModels(group_features="group").fit(holes, Y)


def test_parallel_fits_with_a_progress_bar(capsys):
    tree = DecisionTreeRegressor(max_depth=2, random_state=0)
    one = GroupedModels(tree, group_features="group").fit(X, Y)
    two = GroupedModels(tree, group_features="group", n_jobs=2, verbose=1).fit(X, Y)
    assert_allclose(two.predict(X), one.predict(X))
    assert "groups" in capsys.readouterr().err


def test_groups_cannot_be_given_twice_or_as_a_dict():
    with pytest.raises(ValueError, match="grouping columns are given both by `groups`"):
        GroupedModels(group_features="group").fit(X, Y, groups=GROUP)
    with pytest.raises(TypeError, match="groups is a dict"):
        GroupedModels().fit(NUMBERS, Y, groups={"group": GROUP})
    without = GroupedModels(LinearRegression(fit_intercept=False), group_features=[0])
    with pytest.raises(ValueError, match="nothing is left for LinearRegression without an int"):
        without.fit(X[["group"]], Y)


def test_without_groups_there_are_no_tables():
    with pytest.warns(
        UserWarning, match=r"was given no groups: one LinearRegression is fitted to all"
    ):
        model = GroupedModels().fit(NUMBERS, Y)
    assert_allclose(model.predict(NUMBERS), model.pooled_.predict(NUMBERS))
    assert len(model.estimators_) == 0
    assert list(model.parent_estimators_) == [()]
    for ask in (model.coef_table, model.heterogeneity, model.summary):
        with pytest.raises(ValueError, match="fitted without groups"):
            ask()
    with pytest.raises(ValueError, match="no coefficients"):
        GroupedModels(DecisionTreeRegressor()).fit(NUMBERS, Y, groups=GROUP).coef_table()


def test_without_groups_a_data_frame_is_predicted_without_a_warning():
    for inner in (None, Ridge(), DecisionTreeRegressor(max_depth=2)):
        with pytest.warns(UserWarning, match="was given no groups"):
            model = GroupedModels(inner).fit(X[["x", "z"]], Y)
        assert_allclose(model.predict(X[["x", "z"]]), model.pooled_.predict(model_input(model)))


def model_input(model):
    """The columns as the estimator of all rows takes them."""
    return X[["x", "z"]] if hasattr(model.pooled_, "feature_names_in_") else NUMBERS


def test_a_summary_of_one_group_says_what_that_of_all_says_of_it():
    model = GroupedModels(group_features="group").fit(X, Y)
    found = model.summary()
    key = model.coef_table().index[2]
    alone = model.summary(group=key)
    assert len(alone.models) == 1
    assert str(alone.models[0].coefficients) == str(found.models[2].coefficients)
    assert alone.models[0].title == found.models[2].title
    with pytest.raises(ValueError, match=r"group='nobody' is not a group of group; groups are"):
        model.summary(group="nobody")


def test_a_summary_names_a_group_of_a_hierarchy_by_all_its_labels():
    parts = np.where(np.arange(len(X)) % 2, "odd", "even")
    model = GroupedModels(group_features=["group", "part"]).fit(X.assign(part=parts), Y)
    key = model.coef_table().index[3]
    assert model.summary(group=key).models[0].title == f"group = {key[0]}, part = {key[1]}"
    with pytest.raises(ValueError, match="is not a group of group:part"):
        model.summary(group=key[0])


def test_summaries_are_text_and_html():
    model = GroupedModels(group_features="group").fit(X, Y)
    text = str(model.summary())
    assert text.count("residual sd is sqrt(overdispersion)") == 8
    assert "shrunk to parents" in str(model.summary(shrunk=True))
    assert model.summary()._repr_html_().count("<table") == 8
    many = GroupedModels(shrinkage=None).fit(NUMBERS, Y, groups=np.arange(160) // 4)
    assert "10 more groups" in str(many.summary())
