"""Training sets that are the whole less their test rows give what refits give."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, ShuffleSplit
from sklearn.model_selection import cross_validate as sklearn_cross_validate

from skmixed import MixedLinearRegressor, MixedLinearRegressorCV
from skmixed.model_selection import WithinGroupKFold, cross_val_predict, cross_validate
from tests.estimators.example import pupils

TABLE = pupils(300)
X, Y = TABLE[["x", "z", "school", "class"]], TABLE["y"]
RANDOM = ["(1 | school)", "(x | school)", "(1 | school/class)", "(1 | school) + (0 + z | class)"]
FOLDS = KFold(5, shuffle=True, random_state=1)


@pytest.fixture
def no_refit(monkeypatch):
    """Make every reading of a training set fail."""

    def refuse(*args, **kwargs):
        raise AssertionError("fit was called")

    monkeypatch.setattr(MixedLinearRegressor, "fit", refuse)


def weights():
    return 1.0 + np.arange(len(TABLE)) % 3


def settings():
    both = {"group_features": ["school", "class"]}
    for random in RANDOM:
        yield MixedLinearRegressor(random, **both), None
    yield MixedLinearRegressor(RANDOM[0], method="ml", **both), weights()
    yield MixedLinearRegressor(RANDOM[1], weighting="precision", **both), weights() / 2
    yield MixedLinearRegressor(RANDOM[1], covariance="diagonal", **both), None
    yield MixedLinearRegressor(RANDOM[0], fixed="x * z + I(x ** 2)", **both), None
    yield MixedLinearRegressor(fixed="x + z", random="(1 | school)", handle_unknown="nan"), None


@pytest.mark.parametrize("cv", [FOLDS, ShuffleSplit(3, test_size=0.3, random_state=0)], ids=str)
@pytest.mark.parametrize(("model", "sample_weight"), list(settings()), ids=str)
def test_scores_are_those_of_refits(model, sample_weight, cv, monkeypatch, request):
    params = None if sample_weight is None else {"sample_weight": sample_weight}
    theirs = sklearn_cross_validate(
        model, X, Y, cv=cv, params=params, return_estimator=True, return_train_score=True
    )
    request.getfixturevalue("no_refit")
    ours = cross_validate(
        model, X, Y, cv=cv, params=params, return_estimator=True, return_train_score=True
    )
    for key in ("test_score", "train_score"):
        assert_allclose(ours[key], theirs[key], rtol=1e-8)
    for mine, other in zip(ours["estimator"], theirs["estimator"], strict=True):
        assert type(mine) is MixedLinearRegressor
        assert_allclose(mine.criterion_, other.criterion_, rtol=1e-10)
        assert_allclose(mine.coef_, other.coef_, rtol=1e-6)
        assert mine.n_groups_ == other.n_groups_
        assert mine.formula_ == other.formula_
        assert mine.n_features_in_ == other.n_features_in_
        for name, effects in mine.random_effects_.items():
            pd.testing.assert_frame_equal(effects, other.random_effects_[name], rtol=1e-5)


def test_levels_that_a_training_set_lacks_are_unknown(no_refit):
    model = MixedLinearRegressor("(1 | school)", handle_unknown="nan", group_features="class")
    predictions = cross_val_predict(model, X, Y, cv=GroupKFold(5), split_by="school")
    assert np.isnan(predictions).all()


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_groups_by_argument(n_jobs, no_refit):
    model = MixedLinearRegressor("(x | school)")
    ours = cross_validate(model, X[["x", "z"]], Y, groups=X["school"], cv=FOLDS, n_jobs=n_jobs)
    theirs = cross_validate(
        MixedLinearRegressor("(x | school)"), X[["x", "z", "school"]], Y, cv=FOLDS
    )
    assert_allclose(ours["test_score"], theirs["test_score"], rtol=1e-8)


@pytest.mark.parametrize(
    ("params", "sample_weight"),
    [
        ({"fixed": "x + C(class)"}, None),  # categories are learned from the rows
        ({"fixed": "poly(x, 2)"}, None),
        ({}, np.arange(300) % 4),  # weights of zero
    ],
    ids=["categories", "transform", "zero weights"],
)
def test_what_cannot_be_subtracted_is_fitted_anew(params, sample_weight):
    model = MixedLinearRegressor("(1 | school)", group_features=["class"], **params)
    given = None if sample_weight is None else {"sample_weight": sample_weight}
    ours = cross_validate(model, X, Y, cv=FOLDS, params=given)["test_score"]
    theirs = sklearn_cross_validate(model, X, Y, cv=FOLDS, params=given)["test_score"]
    assert_allclose(ours, theirs)


def test_what_the_model_refuses_is_refused_as_ever():
    with (
        warnings.catch_warnings(),
        pytest.raises(ValueError, match=r"All the 5 fits failed"),
    ):
        cross_validate(MixedLinearRegressor("(1 | town)"), X, Y, cv=FOLDS)


def candidates(**params):
    return MixedLinearRegressorCV(RANDOM, **params)


@pytest.mark.parametrize(
    "cv", [FOLDS, WithinGroupKFold(4, shuffle=True, random_state=0), GroupKFold(4)], ids=str
)
@pytest.mark.parametrize("scoring", [None, "neg_mean_absolute_error"])
def test_the_choice_is_that_of_a_grid_search(cv, scoring, request):
    splits = list(cv.split(X, Y, None if cv is FOLDS else X["school"]))
    grid = GridSearchCV(
        MixedLinearRegressor(group_features=["school", "class"]),
        {"random": RANDOM},
        cv=splits,
        scoring=scoring,
    ).fit(X, Y)
    request.getfixturevalue("no_refit")
    model = candidates(cv=cv, scoring=scoring).fit(X, Y)
    assert model.random_ == grid.best_params_["random"]
    assert model.best_index_ == grid.best_index_
    assert model.n_splits_ == len(splits)
    assert_allclose(model.best_score_, grid.best_score_, rtol=1e-8)
    for key in ("mean_test_score", "std_test_score", "rank_test_score", "split0_test_score"):
        assert_allclose(model.cv_results_[key], grid.cv_results_[key], rtol=1e-8)
    assert model.cv_results_["params"] == grid.cv_results_["params"]
    assert_allclose(model.predict(X), grid.predict(X), rtol=1e-8)
    assert model.n_groups_ == grid.best_estimator_.n_groups_
    assert str(model.summary()) == str(grid.best_estimator_.summary())


def test_candidates_with_groups_by_argument():
    groups = X[["school", "class"]]
    by_argument = candidates(cv=FOLDS, n_jobs=2).fit(X[["x", "z"]], Y, groups=groups)
    assert by_argument.random_ == candidates(cv=FOLDS).fit(X, Y).random_
    assert by_argument.predict(X[["x", "z"]], groups=groups).shape == (300,)


def test_candidates_in_an_array():
    numbers = X.assign(
        school=pd.factorize(X["school"])[0], **{"class": pd.factorize(X["class"])[0]}
    )
    names = [text.replace("school", "x2").replace("class", "x3") for text in RANDOM]
    names = [text.replace("(x |", "(x0 |").replace("+ z |", "+ x1 |") for text in names]
    model = MixedLinearRegressorCV(names, cv=FOLDS).fit(numbers.to_numpy(), Y)
    assert model.best_index_ == candidates(cv=FOLDS).fit(X, Y).best_index_


def test_candidates_by_refits():
    params = {"fixed": "x + C(class)", "cv": FOLDS}
    model = MixedLinearRegressorCV(RANDOM[:2], **params).fit(X, Y, weights())
    grid = GridSearchCV(
        MixedLinearRegressor(fixed="x + C(class)"), {"random": RANDOM[:2]}, cv=FOLDS
    ).fit(X, Y, sample_weight=weights())
    assert_allclose(model.cv_results_["mean_test_score"], grid.cv_results_["mean_test_score"])


def test_rows_given_again_update_the_chosen_model():
    model = candidates(cv=FOLDS).fit(X, Y)
    leave_one_out = model.loo_predict(X, Y)
    assert leave_one_out.shape == (300,)
    before = model.random_effects_["school"]
    model.update_groups(X.assign(school="new"), Y)
    assert len(model.random_effects_["school"]) == len(before) + 1
    assert not hasattr(model, "partial_fit")


def test_what_the_search_refuses():
    with pytest.raises(ValueError, match="random is an empty list"):
        MixedLinearRegressorCV([]).fit(X, Y)
    with pytest.raises(ValueError, match=r"\['town'\] named in `random` do not exist"):
        MixedLinearRegressorCV(["(1 | school)", "(1 | town)"], group_features="class").fit(X, Y)
    with pytest.raises(ValueError, match=r"the score of candidate '\(1 \| school\)' is"):
        MixedLinearRegressorCV(
            RANDOM[:1], cv=GroupKFold(4), group_features="class", scoring=lambda m, X, y: np.nan
        ).fit(X, Y)
