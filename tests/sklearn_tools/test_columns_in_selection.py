"""Groups as columns of X in scikit-learn's model selection, without metadata routing."""

import numpy as np
from joblib import parallel_config
from numpy.testing import assert_allclose
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)

from skmixed import MixedLinearRegressor
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


def test_cross_val_score():
    assert cross_val_score(MIXED, X, Y, cv=FOLDS).min() > WITH_GROUPS
    assert cross_val_score(MIXED, X, Y, cv=FOLDS, scoring="r2").min() > WITH_GROUPS
    assert cross_val_score(PLAIN, NUMBERS, Y, cv=FOLDS).max() < WITHOUT


def test_cross_val_score_on_new_groups():
    # The splitter has groups of its own; of a shop that was not in fit nothing is known.
    folds = GroupKFold(4)
    assert cross_val_score(MIXED, X, Y, cv=folds, groups=SHOP).max() < WITHOUT


def test_cross_validate():
    scoring = ["r2", "neg_mean_absolute_error"]
    options = {
        "cv": FOLDS,
        "scoring": scoring,
        "return_estimator": True,
        "return_train_score": True,
    }
    result = cross_validate(MIXED, X, Y, **options)
    assert result["test_r2"].min() > WITH_GROUPS
    assert result["train_r2"].min() > WITH_GROUPS
    assert all(fitted.n_groups_ == {"shop": 12} for fitted in result["estimator"])
    plain = cross_validate(PLAIN, NUMBERS, Y, **options)
    assert plain["test_r2"].max() < WITHOUT
    error = "test_neg_mean_absolute_error"
    assert -result[error].mean() < 1.0 < 3.0 < -plain[error].mean()


def test_cross_val_predict():
    assert r2_score(Y, cross_val_predict(MIXED, X, Y, cv=FOLDS)) > WITH_GROUPS
    assert r2_score(Y, cross_val_predict(PLAIN, NUMBERS, Y, cv=FOLDS)) < WITHOUT


MODELS = {
    "random": ["(1 | shop)", "(price | shop)", {"shop": ["1", "size"]}],
    "fixed": [None, "1", "price"],
    "covariance": ["unstructured", "diagonal"],
    "method": ["reml", "ml"],
}
NO_GROUPS = {"random": [None], "fixed": ["price + size"]}


def test_grid_search():
    search = GridSearchCV(MixedLinearRegressor(), [MODELS, NO_GROUPS], cv=FOLDS).fit(X, Y)
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == 37
    assert scores[:-1].min() > WITH_GROUPS
    assert scores[-1] < WITHOUT
    assert search.best_params_["fixed"] != "1"
    assert search.score(X, Y) == r2_score(Y, search.predict(X)) > WITH_GROUPS


def test_randomized_search():
    search = RandomizedSearchCV(MixedLinearRegressor(), MODELS, n_iter=5, cv=FOLDS, random_state=0)
    search.fit(X, Y)
    assert len(search.cv_results_["params"]) == 5
    assert search.cv_results_["mean_test_score"].min() > WITH_GROUPS
    plain = RandomizedSearchCV(PLAIN, {"method": ["reml", "ml"]}, n_iter=2, cv=FOLDS)
    assert plain.fit(NUMBERS, Y).best_score_ < WITHOUT


def test_learning_curve():
    sizes = [0.3, 1.0]
    _, train, test = learning_curve(MIXED, X, Y, cv=FOLDS, train_sizes=sizes)
    assert min(train.min(), test.min()) > WITH_GROUPS
    assert test[1].mean() > test[0].mean()
    _, _, plain = learning_curve(PLAIN, NUMBERS, Y, cv=FOLDS, train_sizes=sizes)
    assert plain.mean(axis=1).max() < WITHOUT


def test_validation_curve():
    options = {"param_name": "fixed", "param_range": ["1", "price"], "cv": FOLDS}
    _, test = validation_curve(MIXED, X, Y, **options)
    assert test.min() > WITH_GROUPS
    assert test[1].mean() > test[0].mean()
    _, plain = validation_curve(PLAIN, NUMBERS, Y, **options)
    assert plain.max() < WITHOUT


def test_processes():
    """Models, labels and read-only memory maps travel to other processes and back."""
    expected = cross_val_score(MIXED, X, Y, cv=FOLDS)
    with parallel_config("loky", n_jobs=2, max_nbytes="1K"):
        assert_allclose(cross_val_score(MIXED, X, Y, cv=FOLDS), expected)
        assert_allclose(cross_val_score(BY_POSITION, CODED, Y.to_numpy(), cv=FOLDS), expected)
        result = cross_validate(MIXED, X, Y, cv=FOLDS, return_estimator=True)
        plain = cross_val_score(PLAIN, NUMBERS, Y, cv=FOLDS)
    assert np.min(expected) > WITH_GROUPS
    assert plain.max() < WITHOUT
    for fitted in result["estimator"]:
        assert r2_score(Y, fitted.predict(X)) > WITH_GROUPS
