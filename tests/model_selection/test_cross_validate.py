"""cross_validate hands groups on, and is scikit-learn's otherwise."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, LeaveOneGroupOut
from sklearn.model_selection import cross_validate as sklearn_cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skmixed import MixedLinearRegressor
from skmixed.model_selection import cross_validate, make_group_scorer
from tests.model_selection.example import FOLDS, FRAME, SHOP, X, Y, loop

EXPECTED = loop(MixedLinearRegressor(), X, Y, SHOP, FOLDS.split(X))[1]


def test_the_groups_are_worth_something():
    assert (EXPECTED > 0.9).all()


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize(
    "scoring", [None, "r2", make_group_scorer(r2_score)], ids=["default", "name", "scorer"]
)
def test_equals_a_loop_by_hand(scoring, n_jobs, routing):
    scores = cross_validate(
        MixedLinearRegressor(), X, Y, groups=SHOP, cv=FOLDS, scoring=scoring, n_jobs=n_jobs
    )
    assert sorted(scores) == ["fit_time", "score_time", "test_score"]
    assert_allclose(scores["test_score"], EXPECTED)


@pytest.mark.parametrize(
    ("table", "labels"),
    [
        (X.to_numpy(), SHOP.to_numpy()),
        (X, SHOP.to_frame()),
        (X, SHOP.astype("category")),
        (X, SHOP.to_list()),
        (X.to_numpy().tolist(), SHOP.to_numpy(dtype=object)[:, None]),
        (pl.from_pandas(X), pl.from_pandas(SHOP)),
        (pl.from_pandas(X), pl.from_pandas(SHOP.to_frame())),
        (X, pd.Categorical(SHOP)),
    ],
    ids=["arrays", "frame", "category", "list", "lists", "polars", "polars frame", "categorical"],
)
def test_tables_of_any_kind(table, labels, routing):
    scores = cross_validate(MixedLinearRegressor(), table, Y, groups=labels, cv=FOLDS)
    assert_allclose(scores["test_score"], EXPECTED)


def test_several_factors():
    second = pd.Series(np.arange(len(Y)) % 7, name="day")
    both = pd.concat([SHOP, second], axis=1)
    scores = cross_validate(MixedLinearRegressor(), X, Y, groups=both, cv=FOLDS)
    expected = loop(MixedLinearRegressor(), X, Y, both, FOLDS.split(X))[1]
    assert_allclose(scores["test_score"], expected)


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), MixedLinearRegressor()),
        make_pipeline(MixedLinearRegressor()),
        Pipeline(
            [("a", StandardScaler()), ("b", make_pipeline("passthrough", MixedLinearRegressor()))]
        ),
        TransformedTargetRegressor(make_pipeline(StandardScaler(), MixedLinearRegressor())),
    ],
    ids=["pipeline", "one step", "nested", "target"],
)
@pytest.mark.parametrize("scoring", [None, "r2"])
def test_models_inside_others(model, scoring, routing):
    scores = cross_validate(
        model, X, Y, groups=SHOP, cv=FOLDS, scoring=scoring, error_score="raise"
    )
    assert_allclose(scores["test_score"], EXPECTED, rtol=1e-5)


def test_a_search_inside_with_routing():
    search = GridSearchCV(
        MixedLinearRegressor(),
        {"method": ["reml", "ml"]},
        cv=GroupKFold(3),
        scoring=make_group_scorer("r2"),
    )
    with sklearn.config_context(enable_metadata_routing=True):
        for scoring in [None, "r2"]:
            scores = cross_validate(search, X, Y, groups=SHOP, cv=FOLDS, scoring=scoring)
            assert (scores["test_score"] > 0.9).all()


def test_a_search_inside_without_routing():
    search = GridSearchCV(MixedLinearRegressor(), {"method": ["reml", "ml"]}, cv=3)
    with pytest.raises(ValueError, match="without metadata routing, GridSearchCV"):
        cross_validate(search, X, Y, groups=SHOP)
    columns = GridSearchCV(MixedLinearRegressor("(1 | shop)"), {"method": ["reml", "ml"]}, cv=3)
    scores = cross_validate(columns, FRAME, Y, groups=SHOP, cv=FOLDS)
    assert (scores["test_score"] > 0.9).all()
    plain = GridSearchCV(LinearRegression(), {"fit_intercept": [True, False]}, cv=GroupKFold(3))
    assert len(cross_validate(plain, X, Y, groups=SHOP, cv=GroupKFold(3))["test_score"]) == 3


def test_groups_in_columns_equal_scikit_learn(routing):
    model = MixedLinearRegressor("(1 | shop)")
    splits = list(GroupKFold(4).split(X, Y, SHOP))
    theirs = sklearn_cross_validate(
        model,
        FRAME,
        Y,
        cv=splits,
        scoring=["r2", "neg_mean_absolute_error"],
        return_train_score=True,
    )
    for asked in [{"groups": SHOP}, {"split_by": "shop"}, {"split_by": SHOP.to_list()}, {}]:
        ours = cross_validate(
            model,
            FRAME,
            Y,
            cv=GroupKFold(4),
            scoring=["r2", "neg_mean_absolute_error"],
            return_train_score=True,
            **asked,
        )
        assert list(ours) == list(theirs)
        for key in ours:
            if "time" not in key:
                assert_allclose(ours[key], theirs[key])


@pytest.mark.parametrize("place", [2, -1])
def test_groups_in_columns_of_an_array(place):
    array = np.column_stack([X, SHOP.str[-2:].astype(int)])
    model = MixedLinearRegressor(group_features=[place])
    expected = cross_validate(model, array, Y, split_by=array[:, 2], cv=GroupKFold(4))
    for asked in [{}, {"split_by": place}, {"split_by": "x2"}, {"groups": array[:, 2]}]:
        scores = cross_validate(model, array, Y, cv=GroupKFold(4), **asked)
        assert_allclose(scores["test_score"], expected["test_score"])


def test_other_estimators_leave_groups_to_the_splitter(routing):
    ours = cross_validate(LinearRegression(), X, Y, groups=SHOP, cv=GroupKFold(3))
    theirs = sklearn_cross_validate(
        LinearRegression(), X, Y, cv=list(GroupKFold(3).split(X, Y, SHOP))
    )
    assert_array_equal(ours["test_score"], theirs["test_score"])


def test_split_by_splits_and_no_more():
    block = np.arange(len(Y)) % 4
    scores = cross_validate(
        MixedLinearRegressor(), X, Y, groups=SHOP, split_by=block, cv=LeaveOneGroupOut()
    )
    splits = list(LeaveOneGroupOut().split(X, Y, block))
    assert_allclose(scores["test_score"], loop(MixedLinearRegressor(), X, Y, SHOP, splits)[1])


def test_several_metrics_and_scorers_of_ones_own(routing):
    def with_groups(estimator, X, y, groups):
        return -mean_absolute_error(y, estimator.predict(X, groups=groups))

    def without(estimator, X, y):
        assert list(X.columns) == ["x", "z"]
        return estimator.residual_variance_

    scores = cross_validate(
        MixedLinearRegressor(),
        X,
        Y,
        groups=SHOP,
        cv=FOLDS,
        return_train_score=True,
        scoring={
            "own": with_groups,
            "variance": without,
            "mae": make_group_scorer(mean_absolute_error, greater_is_better=False),
            "named": "neg_mean_absolute_error",
        },
    )
    assert_allclose(scores["test_own"], scores["test_named"])
    assert_allclose(scores["test_own"], scores["test_mae"])
    assert_allclose(scores["train_own"], scores["train_named"])
    assert_allclose(scores["test_variance"], scores["train_variance"])
    assert (scores["test_named"] > -0.6).all()


def test_a_scorer_that_returns_a_dict():
    def both(estimator, X, y, groups):
        prediction = estimator.predict(X, groups=groups)
        return {"r2": r2_score(y, prediction), "n": len(y)}

    scores = cross_validate(MixedLinearRegressor(), X, Y, groups=SHOP, cv=FOLDS, scoring=both)
    assert_allclose(scores["test_r2"], EXPECTED)
    assert_array_equal(scores["test_n"], [60] * 4)


def test_what_is_returned_besides():
    scores = cross_validate(
        MixedLinearRegressor(),
        X,
        Y,
        groups=SHOP,
        cv=FOLDS,
        return_estimator=True,
        return_indices=True,
        return_train_score=True,
        n_jobs=2,
    )
    for place, (train, test) in enumerate(FOLDS.split(X)):
        assert_array_equal(scores["indices"]["train"][place], train)
        assert_array_equal(scores["indices"]["test"][place], test)
        fitted = scores["estimator"][place]
        assert isinstance(fitted, MixedLinearRegressor)
        score = fitted.score(X.iloc[train], Y[train], groups=SHOP.iloc[train])
        assert_allclose(scores["train_score"][place], score)


def test_weights(routing):
    weights = np.random.default_rng(1).integers(1, 5, size=len(Y)).astype(float)
    model = MixedLinearRegressor()
    if routing:
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    scores = cross_validate(
        model, X, Y, groups=SHOP, cv=FOLDS, params={"sample_weight": weights}, return_estimator=True
    )
    train, test = next(FOLDS.split(X))
    fitted = MixedLinearRegressor().fit(X.iloc[train], Y[train], weights[train], groups=SHOP[train])
    assert_allclose(scores["estimator"][0].coef_, fitted.coef_)
    score_weights = weights[test] if routing else None
    expected = fitted.score(X.iloc[test], Y[test], score_weights, groups=SHOP[test])
    assert_allclose(scores["test_score"][0], expected)


class Fussy(RegressorMixin, BaseEstimator):
    """Someone else's model that takes groups, and dislikes one of them."""

    def __init__(self, dislikes="nothing"):
        self.dislikes = dislikes

    def fit(self, X, y, groups):
        if self.dislikes in set(groups):
            raise ValueError(f"not {self.dislikes}")
        self.means_ = pd.Series(y).groupby(np.asarray(groups)).mean()
        return self

    def predict(self, X, groups):
        return self.means_.reindex(groups).fillna(self.means_.mean()).to_numpy()


def test_someone_elses_model():
    scores = cross_validate(Fussy(), X, Y, groups=SHOP, cv=FOLDS, scoring="r2")
    assert (scores["test_score"] > 0.8).all()


def test_error_score():
    model = Fussy("shop 00")
    settings = {"groups": SHOP, "cv": GroupKFold(3), "scoring": "r2"}
    with pytest.warns(FitFailedWarning, match="not shop 00"):
        scores = cross_validate(model, X, Y, error_score=-7.0, **settings)
    assert (scores["test_score"] == -7.0).sum() == 2
    with pytest.raises(ValueError, match="not shop 00"):
        cross_validate(model, X, Y, error_score="raise", **settings)


def test_groups_in_params(routing):
    scores = cross_validate(MixedLinearRegressor(), X, Y, params={"groups": SHOP}, cv=FOLDS)
    assert_allclose(scores["test_score"], EXPECTED)


def test_arguments_are_left_alone():
    model, params = MixedLinearRegressor(), {"groups": SHOP}
    before = FRAME.copy()
    cross_validate(model, X, Y, params=params, cv=FOLDS)
    assert list(params) == ["groups"]
    assert not hasattr(model, "coef_")
    pd.testing.assert_frame_equal(FRAME, before)


PIPELINE = make_pipeline(StandardScaler(), MixedLinearRegressor())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"groups": {"shop": SHOP}}, TypeError, "groups is a dict"),
        ({"groups": SHOP[:9]}, ValueError, "inconsistent numbers of samples"),
        ({"groups": SHOP, "params": {"groups": SHOP}}, ValueError, "by `groups` and in `params`"),
        (
            {
                "estimator": PIPELINE,
                "groups": SHOP,
                "params": {"mixedlinearregressor__groups": SHOP},
            },
            ValueError,
            r"\['mixedlinearregressor__groups'\] in `params`",
        ),
        (
            {"groups": SHOP, "split_by": "town"},
            ValueError,
            r"'town' to split by does not exist: groups has \['shop'\] and X has \['x', 'z'\]",
        ),
        ({"groups": SHOP, "split_by": 3}, ValueError, "3 to split by does not exist: groups has 1"),
        ({"split_by": 3}, ValueError, "3 to split by does not exist: X has 2 columns"),
        ({"groups": SHOP, "scoring": r2_score}, ValueError, "looks like it is a metric"),
        ({"cv": GroupKFold(3)}, ValueError, "should not be None"),
        ({"random_state": 3}, ValueError, "random_state requires generalize_to; otherwise"),
        ({"generalize_to": "both"}, ValueError, "the model names none in `random`"),
        ({"generalize_to": "rows"}, ValueError, "'both' or None, got 'rows'"),
        (
            {"generalize_to": "both", "groups": SHOP, "cv": KFold()},
            ValueError,
            "generalize_to='both' determines the splitter",
        ),
    ],
)
def test_bad_input(settings, error, message):
    settings = {"estimator": MixedLinearRegressor(), **settings}
    with pytest.raises(error, match=message):
        cross_validate(X=X, y=Y, **settings)
