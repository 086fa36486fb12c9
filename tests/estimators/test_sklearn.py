"""The estimator among scikit-learn's tools."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib import parallel_config
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.base import clone, is_regressor
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import BaggingRegressor, VotingRegressor
from sklearn.inspection import permutation_importance
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils.fixes import parse_version

from skmixed import MixedLinearRegressor
from skmixed.exceptions import UnknownLevelWarning
from tests.estimators.example import pupils

TABLE = pupils()
Y = TABLE["y"]
NAMED, NUMBERS, SCHOOL = TABLE[["x", "z", "school"]], TABLE[["x", "z"]], TABLE["school"]
# Before scikit-learn 1.8, cross-validation does not hand metadata to the score of a Pipeline.
ROUTES_TO_SCORES_OF_PIPELINES = parse_version(sklearn.__version__) >= parse_version("1.8")
FOLDS = KFold(5, shuffle=True, random_state=0)
MODEL = MixedLinearRegressor("(x | school)")


def scores_by_hand(model, X, folds, groups=None):
    scores = []
    for train, test in folds.split(X, Y, groups):
        fitted = clone(model).fit(X.iloc[train], Y.iloc[train])
        scores.append(fitted.score(X.iloc[test], Y.iloc[test]))
    return scores


def test_it_is_a_regressor():
    assert is_regressor(MODEL)


@pytest.mark.parametrize(
    "model",
    [
        MODEL,
        MixedLinearRegressor("(x | school)", fixed="x * z"),
        MixedLinearRegressor(group_features=["school"]),
        MixedLinearRegressor(group_features=[-1]),
    ],
    ids=["random", "formula", "name", "position"],
)
def test_cross_validation_with_groups_as_columns(model):
    expected = scores_by_hand(model, NAMED, FOLDS)
    assert_allclose(cross_val_score(model, NAMED, Y, cv=FOLDS), expected)
    assert np.mean(expected) > 0.6
    predicted = cross_val_predict(model, NAMED, Y, cv=FOLDS)
    train, test = next(FOLDS.split(NAMED))
    fitted = clone(model).fit(NAMED.iloc[train], Y.iloc[train])
    assert_allclose(predicted[test], fitted.predict(NAMED.iloc[test]))


def test_cross_validation_on_new_groups():
    folds = GroupKFold(5)
    expected = scores_by_hand(MODEL, NAMED, folds, SCHOOL)
    assert_allclose(cross_val_score(MODEL, NAMED, Y, cv=folds, groups=SCHOOL), expected)


def test_cross_validation_in_threads():
    expected = cross_val_score(MODEL, NAMED, Y, cv=FOLDS)
    with parallel_config("threading"):
        found = cross_val_score(MODEL, NAMED, Y, cv=FOLDS, n_jobs=2)
    assert_allclose(found, expected)


def test_a_search_over_models():
    grid = {
        "random": ["(1 | school)", "(x | school)", {"school": ["1", "z"]}],
        "fixed": [None, "x + z", "x * z"],
    }
    search = GridSearchCV(MixedLinearRegressor(), grid, cv=FOLDS).fit(NAMED, Y)
    assert search.best_params_["random"] == "(x | school)"
    assert len(search.cv_results_["params"]) == 9
    assert search.best_estimator_.n_groups_ == {"school": 5}
    assert_allclose(search.predict(NAMED), search.best_estimator_.predict(NAMED))


def scaler_beside_groups():
    return make_column_transformer(
        (StandardScaler(), ["x", "z"]), remainder="passthrough", verbose_feature_names_out=False
    )


def test_a_pipeline_with_groups_as_columns():
    plain = clone(MODEL).fit(NAMED, Y)
    named = make_pipeline(scaler_beside_groups().set_output(transform="pandas"), clone(MODEL))
    assert_allclose(named.fit(NAMED, Y).predict(NAMED), plain.predict(NAMED), rtol=1e-6)
    by_place = make_pipeline(scaler_beside_groups(), MixedLinearRegressor("(x0 | x2)"))
    assert_allclose(by_place.fit(NAMED, Y).predict(NAMED), plain.predict(NAMED), rtol=1e-6)
    assert_allclose(
        cross_val_score(named, NAMED, Y, cv=FOLDS),
        cross_val_score(plain, NAMED, Y, cv=FOLDS),
        rtol=1e-6,
    )
    search = GridSearchCV(
        named, {"mixedlinearregressor__random": ["(1 | school)", "(x | school)"]}, cv=FOLDS
    ).fit(NAMED, Y)
    assert search.best_params_ == {"mixedlinearregressor__random": "(x | school)"}


def test_a_pipeline_whose_steps_make_columns():
    pipe = make_pipeline(
        make_column_transformer((PolynomialFeatures(2), ["x", "z"]), remainder="passthrough"),
        MixedLinearRegressor(group_features=[-1]),
    ).fit(NAMED, Y)
    formula = MixedLinearRegressor("(1 | school)", fixed="x * z + I(x**2) + I(z**2)")
    assert_allclose(pipe.predict(NAMED), formula.fit(NAMED, Y).predict(NAMED), rtol=1e-6)


def test_a_transformed_response():
    y = np.exp(Y / 5)
    model = TransformedTargetRegressor(MODEL, func=np.log, inverse_func=np.exp).fit(NAMED, y)
    expected = np.exp(clone(MODEL).fit(NAMED, np.log(y)).predict(NAMED))
    assert_allclose(model.predict(NAMED), expected)


def test_ensembles_and_importances():
    voting = VotingRegressor([("a", MODEL), ("b", MixedLinearRegressor("(1 | school)"))])
    voting.fit(NAMED, Y)
    assert_allclose(
        voting.predict(NAMED), np.mean([m.predict(NAMED) for m in voting.estimators_], axis=0)
    )
    fitted = clone(MODEL).fit(NAMED, Y)
    importance = permutation_importance(fitted, NAMED, Y, n_repeats=3, random_state=0)
    assert (importance.importances_mean > 0.1).all()
    # BaggingRegressor hands arrays over: positions work, names cannot, and the error says so.
    bagging = BaggingRegressor(MixedLinearRegressor(group_features=[2]), 3, random_state=0)
    assert bagging.fit(NAMED, Y).score(NAMED, Y) > 0.7
    with pytest.raises(ValueError, match=r"without column names .* as in group_features="):
        BaggingRegressor(MODEL, 3, random_state=0).fit(NAMED, Y)


# --- the argument groups ---


def test_groups_without_routing():
    pipe = make_pipeline(StandardScaler(), MixedLinearRegressor())
    pipe.fit(NUMBERS, Y, mixedlinearregressor__groups=SCHOOL)
    plain = MixedLinearRegressor().fit(NUMBERS, Y, groups=SCHOOL)
    expected = plain.predict(NUMBERS, SCHOOL)
    assert_allclose(pipe.predict(NUMBERS, groups=SCHOOL), expected, rtol=1e-6)
    # The score of a Pipeline has no groups to give.
    with pytest.warns(UnknownLevelWarning):
        assert pipe.score(NUMBERS, Y) < plain.score(NUMBERS, Y, groups=SCHOOL)


@pytest.mark.parametrize("groups", [SCHOOL, SCHOOL.to_numpy(), TABLE[["school", "class"]]])
def test_routing_of_groups(groups):
    model = MixedLinearRegressor()
    expected = []
    rows = groups.iloc if hasattr(groups, "iloc") else groups
    for train, test in FOLDS.split(NUMBERS):
        fitted = clone(model).fit(NUMBERS.iloc[train], Y.iloc[train], groups=rows[train])
        expected.append(fitted.score(NUMBERS.iloc[test], Y.iloc[test], groups=rows[test]))
    assert np.mean(expected) > 0.6
    with config_context(enable_metadata_routing=True):
        result = cross_validate(model, NUMBERS, Y, cv=FOLDS, params={"groups": groups})
        assert_allclose(result["test_score"], expected)
        pipe = make_pipeline(StandardScaler(), MixedLinearRegressor())
        pipe.fit(NUMBERS, Y, groups=groups)
        plain = MixedLinearRegressor().fit(NUMBERS, Y, groups=groups)
        assert_allclose(
            pipe.predict(NUMBERS, groups=groups), plain.predict(NUMBERS, groups), rtol=1e-6
        )
        assert pipe.score(NUMBERS, Y, groups=groups) == pytest.approx(
            plain.score(NUMBERS, Y, groups=groups)
        )
        if not ROUTES_TO_SCORES_OF_PIPELINES:
            return
        result = cross_validate(pipe, NUMBERS, Y, cv=FOLDS, params={"groups": groups})
        assert_allclose(result["test_score"], expected, rtol=1e-5)
        search = GridSearchCV(pipe, {"mixedlinearregressor__method": ["reml", "ml"]}, cv=FOLDS)
        search.fit(NUMBERS, Y, groups=groups)
        assert search.best_score_ == pytest.approx(np.mean(expected), rel=0.01)


def test_routing_of_groups_to_a_splitter_as_well():
    with config_context(enable_metadata_routing=True):
        by_argument = cross_validate(
            MixedLinearRegressor(), NUMBERS, Y, cv=GroupKFold(5), params={"groups": SCHOOL}
        )
        # Groups that are columns of X are not to be given twice ...
        with pytest.raises(ValueError, match=r"the grouping columns \['school'\] are given"):
            cross_validate(
                MixedLinearRegressor("(1 | school)"),
                NAMED,
                Y,
                cv=GroupKFold(5),
                params={"groups": SCHOOL},
                error_score="raise",
            )
        # ... and need not be.
        model = MixedLinearRegressor("(1 | school)")
        model.set_fit_request(groups=False).set_score_request(groups=False)
        by_column = cross_validate(model, NAMED, Y, cv=GroupKFold(5), params={"groups": SCHOOL})
    assert_allclose(by_argument["test_score"], by_column["test_score"])


def test_routing_of_weights_and_groups():
    weights = pd.Series(np.arange(150) % 3 + 1)
    with config_context(enable_metadata_routing=True):
        model = MixedLinearRegressor().set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        result = cross_validate(
            model, NUMBERS, Y, cv=FOLDS, params={"groups": SCHOOL, "sample_weight": weights}
        )
    train, test = next(FOLDS.split(NUMBERS))
    fitted = MixedLinearRegressor().fit(
        NUMBERS.iloc[train], Y.iloc[train], weights.iloc[train], groups=SCHOOL.iloc[train]
    )
    assert result["test_score"][0] == pytest.approx(
        fitted.score(NUMBERS.iloc[test], Y.iloc[test], weights.iloc[test], groups=SCHOOL.iloc[test])
    )


def test_what_is_requested():
    routing = MixedLinearRegressor().get_metadata_routing()
    assert routing.fit.requests == {"sample_weight": None, "groups": True}
    assert routing.predict.requests["groups"] is True
    assert routing.score.requests == {"sample_weight": None, "groups": True}
