"""Scorers that hand groups to the prediction."""

import copy
import pickle

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression
from sklearn.metrics import make_scorer, mean_absolute_error, mean_pinball_loss, r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.model_selection import cross_validate as sklearn_cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmixed import MixedLinearRegressor
from skmixed.model_selection import make_group_scorer
from tests.model_selection.example import SHOP, X, Y, loop

MAE = make_group_scorer(mean_absolute_error, greater_is_better=False)


@pytest.fixture(scope="module")
def model():
    return MixedLinearRegressor().fit(X, Y, groups=SHOP)


def test_call(model):
    prediction = model.predict(X, groups=SHOP)
    assert MAE(model, X, Y, groups=SHOP) == -mean_absolute_error(Y, prediction)
    weights = np.arange(len(Y))
    expected = -mean_absolute_error(Y, prediction, sample_weight=weights)
    assert MAE(model, X, Y, groups=SHOP, sample_weight=weights) == expected


def test_arguments_of_the_metric(model):
    scorer = make_group_scorer(mean_pinball_loss, greater_is_better=False, alpha=0.9)
    expected = -mean_pinball_loss(Y, model.predict(X, groups=SHOP), alpha=0.9)
    assert scorer(model, X, Y, groups=SHOP) == expected
    assert repr(scorer).startswith("make_group_scorer(mean_pinball_loss, greater_is_better=False")


@pytest.mark.parametrize(
    "given",
    ["neg_mean_absolute_error", make_scorer(mean_absolute_error, greater_is_better=False), MAE],
)
def test_of_a_scorer(given, model):
    assert make_group_scorer(given)(model, X, Y, SHOP) == MAE(model, X, Y, SHOP)


def test_an_estimator_without_groups_is_scored_without():
    plain = LinearRegression().fit(X, Y)
    assert MAE(plain, X, Y, groups=SHOP) == -mean_absolute_error(Y, plain.predict(X))


def test_pipeline_without_routing():
    pipeline = make_pipeline(StandardScaler(), MixedLinearRegressor())
    pipeline.fit(X, Y, mixedlinearregressor__groups=SHOP)
    assert make_group_scorer("r2")(pipeline, X, Y, groups=SHOP) > 0.9


def test_in_tools_of_scikit_learn_with_routing():
    pipeline = make_pipeline(StandardScaler(), MixedLinearRegressor())
    folds = KFold(4, shuffle=True, random_state=0)
    _, expected = loop(MixedLinearRegressor(), X, Y, SHOP, folds.split(X))
    with sklearn.config_context(enable_metadata_routing=True):
        scores = sklearn_cross_validate(
            pipeline,
            X,
            Y,
            cv=folds,
            scoring={"r2": make_group_scorer("r2"), "mae": MAE},
            params={"groups": SHOP},
        )
        grid = {"mixedlinearregressor__method": ["ml", "reml"]}
        search = GridSearchCV(pipeline, grid, scoring=make_group_scorer(r2_score), cv=folds)
        search.fit(X, Y, groups=SHOP)
    assert_allclose(scores["test_r2"], expected)
    assert (scores["test_mae"] > -0.6).all()
    assert_allclose(search.cv_results_["mean_test_score"][1], expected.mean())


def test_weights_by_routing():
    weights = np.where(SHOP == "shop 00", 3.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        scores = sklearn_cross_validate(
            MixedLinearRegressor().set_fit_request(sample_weight=False),
            X,
            Y,
            cv=GroupKFold(3),
            scoring=make_group_scorer("r2").set_score_request(sample_weight=True),
            params={"groups": SHOP, "sample_weight": weights},
        )
    assert np.isfinite(scores["test_score"]).all()


def test_copies(model):
    for scorer in [pickle.loads(pickle.dumps(MAE)), copy.deepcopy(MAE)]:
        assert scorer(model, X, Y, SHOP) == MAE(model, X, Y, SHOP)


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "message"),
    [
        (
            ["r2"],
            {"greater_is_better": False},
            ValueError,
            "the metric itself to set response_method, greater_is_better",
        ),
        (
            [MAE],
            {"alpha": 1},
            ValueError,
            "the metric itself to set response_method, greater_is_better",
        ),
        (["no such thing"], {}, ValueError, "no such thing"),
        ([3], {}, TypeError, "a metric or the name of a scorer, got 3"),
    ],
)
def test_what_makes_no_scorer(arguments, settings, error, message):
    with pytest.raises(error, match=message):
        make_group_scorer(*arguments, **settings)


def test_unknown_request():
    with pytest.raises(TypeError, match=r"groups and sample_weight, not \['weights'\]"):
        make_group_scorer("r2").set_score_request(weights=True)
