"""Groups as an argument, with metadata routing."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.ensemble import VotingRegressor
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version

from skmixed import MixedLinearRegressor
from skmixed.exceptions import UnknownLevelWarning
from tests.sklearn_tools.shops import (
    FOLDS,
    MIXED,
    NUMBERS,
    REGION,
    SHOP,
    WITH_GROUPS,
    WITHOUT,
    X,
    Y,
)

LOST = r"no labels of \['shop'\] are given"
BY_SHOP = {"params": {"groups": SHOP}, "cv": FOLDS}
needs_routing_to_scores_of_pipelines = pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.8"),
    reason="this scikit-learn hands no metadata to the score of a Pipeline in cross-validation",
)


@pytest.fixture(autouse=True)
def _routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_cross_validation_and_curves():
    model = MixedLinearRegressor()
    expected = cross_val_score(MIXED, X, Y, cv=FOLDS)
    assert_allclose(cross_val_score(model, NUMBERS, Y, **BY_SHOP), expected)
    assert expected.min() > WITH_GROUPS
    _, _, test = learning_curve(model, NUMBERS, Y, train_sizes=[1.0], **BY_SHOP)
    assert_allclose(test[0], expected)
    _, test = validation_curve(
        model, NUMBERS, Y, param_name="method", param_range=["reml"], **BY_SHOP
    )
    assert_allclose(test[0], expected)


def test_cross_validation_in_processes():
    found = cross_val_score(MixedLinearRegressor(), NUMBERS, Y, n_jobs=2, **BY_SHOP)
    assert found.min() > WITH_GROUPS


@pytest.mark.parametrize(
    "groups",
    [
        pd.DataFrame({"shop": SHOP, "region": REGION}),
        pl.DataFrame({"shop": SHOP.to_list(), "region": REGION.to_list()}),
        pd.DataFrame({"shop": SHOP, "region": REGION}).to_numpy(),
    ],
    ids=["pandas", "polars", "array"],
)
def test_several_columns_of_groups_are_cut_into_folds(groups):
    table = X.assign(region=REGION)
    expected = cross_val_score(
        MixedLinearRegressor("(1 | shop) + (1 | region)"), table, Y, cv=FOLDS
    )
    model = MixedLinearRegressor()
    found = cross_validate(
        model, NUMBERS, Y, cv=FOLDS, params={"groups": groups}, return_estimator=True
    )
    assert_allclose(found["test_score"], expected, rtol=1e-6)
    assert expected.min() > WITH_GROUPS
    assert list(found["estimator"][0].n_groups_.values()) == [12, 8]


def test_a_dict_of_groups_is_refused():
    with pytest.raises(ValueError, match="groups is a dict, which scikit-learn cannot split"):
        cross_validate(
            MixedLinearRegressor(), NUMBERS, Y, cv=FOLDS, params={"groups": {"shop": SHOP}}
        )


def test_a_pipeline():
    pipe = make_pipeline(StandardScaler(), MixedLinearRegressor()).fit(NUMBERS, Y, groups=SHOP)
    expected = MIXED.fit(X, Y).predict(X)
    assert_allclose(pipe.predict(NUMBERS, groups=SHOP), expected, rtol=1e-6)
    assert pipe.score(NUMBERS, Y, groups=SHOP) == pytest.approx(r2_score(Y, expected))


@needs_routing_to_scores_of_pipelines
def test_a_pipeline_in_cross_validation_and_search():
    pipe = make_pipeline(StandardScaler(), MixedLinearRegressor())
    assert cross_val_score(pipe, NUMBERS, Y, **BY_SHOP).min() > WITH_GROUPS
    search = GridSearchCV(pipe, {"mixedlinearregressor__method": ["reml", "ml"]}, cv=FOLDS)
    assert search.fit(NUMBERS, Y, groups=SHOP).best_score_ > WITH_GROUPS


def test_a_search():
    search = GridSearchCV(MixedLinearRegressor(), {"method": ["reml", "ml"]}, cv=FOLDS)
    search.fit(NUMBERS, Y, groups=SHOP)
    assert search.best_score_ > WITH_GROUPS
    assert search.score(NUMBERS, Y, groups=SHOP) > WITH_GROUPS
    # It has no groups for predict: that is for the model it found.
    with pytest.raises(TypeError, match="unexpected keyword argument 'groups'"):
        search.predict(NUMBERS, groups=SHOP)
    found = search.best_estimator_.predict(NUMBERS, groups=SHOP)
    assert r2_score(Y, found) > WITH_GROUPS


def test_selection_of_features():
    selector = SequentialFeatureSelector(MixedLinearRegressor(), n_features_to_select=1, cv=FOLDS)
    assert list(selector.fit(NUMBERS, Y, groups=SHOP).get_support()) == [True, False]


# --- beside a splitter that takes groups as well ---


def aliased():
    model = MixedLinearRegressor()
    return model.set_fit_request(groups="store").set_score_request(groups="store")


def test_an_alias_beside_the_groups_of_a_splitter():
    folds = GroupKFold(4)
    params = {"groups": REGION, "store": SHOP}
    found = cross_val_score(aliased(), NUMBERS, Y, cv=folds, params=params)
    expected = []
    for train, test in folds.split(NUMBERS, Y, REGION):
        fitted = clone(MIXED).fit(X.iloc[train], Y.iloc[train])
        expected.append(fitted.score(X.iloc[test], Y.iloc[test]))
    assert_allclose(found, expected)
    assert min(expected) > WITH_GROUPS
    search = GridSearchCV(aliased(), {"method": ["reml", "ml"]}, cv=folds)
    assert search.fit(NUMBERS, Y, **params).best_score_ > WITH_GROUPS


@needs_routing_to_scores_of_pipelines
def test_an_alias_in_a_pipeline():
    pipe = make_pipeline(StandardScaler(), aliased().set_predict_request(groups="store"))
    params = {"groups": REGION, "store": SHOP}
    found = cross_val_score(pipe, NUMBERS, Y, cv=GroupKFold(4), params=params)
    assert found.min() > WITH_GROUPS
    assert r2_score(Y, pipe.fit(NUMBERS, Y, store=SHOP).predict(NUMBERS, store=SHOP)) > WITH_GROUPS


def test_without_an_alias_the_groups_of_the_splitter_are_those_of_the_model():
    found = cross_val_score(
        MixedLinearRegressor(), NUMBERS, Y, cv=GroupKFold(4), params={"groups": SHOP}
    )
    assert found.max() < WITHOUT  # every shop of a test fold is new


COLUMNS_TWICE = "given both|are not among `groups`"
REMEDY = r"\.set_fit_request\(groups=False\)\.set_score_request\(groups=False\)"


@pytest.mark.parametrize(
    "groups", [SHOP, REGION, REGION.to_numpy()], ids=["same", "other", "array"]
)
@pytest.mark.parametrize("model", [MIXED, MixedLinearRegressor(group_features="shop")])
def test_columns_of_x_beside_a_splitter_that_takes_groups(model, groups):
    options = {"cv": GroupKFold(4), "params": {"groups": groups}}
    with pytest.raises(ValueError, match=rf"(?s)({COLUMNS_TWICE}).*{REMEDY}"):
        cross_val_score(model, X, Y, **options)
    fit_only = clone(model).set_fit_request(groups=False)
    with pytest.raises(ValueError, match=rf"fitted with grouping columns \['shop'\] .*{REMEDY}"):
        cross_val_score(fit_only, X, Y, error_score="raise", **options)
    # What the message says is what helps.
    told = clone(model).set_fit_request(groups=False).set_score_request(groups=False)
    found = cross_val_score(told, X, Y, **options)
    assert (found.max() < WITHOUT) if groups is SHOP else (found.min() > WITH_GROUPS)


# --- where scikit-learn hands groups to fit and not to predict ---


def lossy_tools():
    model = MixedLinearRegressor
    yield "r2", lambda **p: cross_val_score(model(**p), NUMBERS, Y, scoring="r2", **BY_SHOP).max()
    yield (
        "predict",
        lambda **p: r2_score(Y, cross_val_predict(model(**p), NUMBERS, Y, **BY_SHOP)),
    )
    yield (
        "voting",
        lambda **p: (
            VotingRegressor([("a", model(**p))]).fit(NUMBERS, Y, groups=SHOP).score(NUMBERS, Y)
        ),
    )


LOSSY = dict(lossy_tools())


@pytest.mark.parametrize("tool", LOSSY)
def test_lost_groups_are_loud(tool):
    with pytest.warns(UnknownLevelWarning, match=LOST):
        assert LOSSY[tool]() < WITHOUT


@pytest.mark.parametrize("tool", ["predict", "voting"])
def test_lost_groups_are_an_error_if_that_is_asked_for(tool):
    with pytest.raises(ValueError, match="'shop' that are missing or were not seen"):
        LOSSY[tool](handle_unknown="error")


def test_lost_groups_in_a_scorer_are_an_error_if_that_is_asked_for():
    model = MixedLinearRegressor(handle_unknown="error")
    with pytest.raises(ValueError, match="rows have levels of 'shop'"):
        cross_val_score(model, NUMBERS, Y, scoring="r2", error_score="raise", **BY_SHOP)
    with pytest.warns(UserWarning, match=r"Scoring failed"):
        scores = cross_val_score(model, NUMBERS, Y, scoring="r2", **BY_SHOP)
    assert np.isnan(scores).all()
