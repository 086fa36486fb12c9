"""Further rows of known groups, and new groups."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline

from skmixed import MixedLinearRegressor, MixedLinearRegressorCV
from skmixed.datasets import make_schools
from skmixed.model_selection import WithinGroupKFold, cross_val_predict, cross_validate
from tests.model_selection.example import FRAME, SHOP, X, Y

SCHOOLS = make_schools(n_pupils=10)
PUPILS, EXTRO = SCHOOLS[["open", "class", "school"]], SCHOOLS["extro"]


def test_the_answers_differ():
    scores = cross_validate(
        MixedLinearRegressor(),
        X,
        Y,
        groups=SHOP,
        cv=4,
        generalize_to="both",
        return_train_score=True,
    )
    table = pd.DataFrame(scores)
    assert table.shape == (4, 8)
    assert (table["test_score_known_groups"] > 0.9).all()
    assert table["test_score_new_groups"].mean() < 0.3
    assert (table["train_score_new_groups"] > 0.9).all()


@pytest.mark.parametrize("random_state", [None, 3])
def test_each_question_is_a_splitter(random_state):
    shuffle = random_state is not None
    both = cross_validate(
        MixedLinearRegressor(), X, Y, groups=SHOP, generalize_to="both", random_state=random_state
    )
    for question, splitter in [("known_groups", WithinGroupKFold), ("new_groups", GroupKFold)]:
        one = cross_validate(
            MixedLinearRegressor(),
            X,
            Y,
            groups=SHOP,
            generalize_to=question,
            random_state=random_state,
        )
        cv = splitter(5, shuffle=shuffle, random_state=random_state)
        same = cross_validate(MixedLinearRegressor(), X, Y, groups=SHOP, cv=cv)
        assert_allclose(one["test_score"], same["test_score"])
        assert_allclose(both[f"test_score_{question}"], same["test_score"])


@pytest.mark.parametrize("random_state", [None, 3])
def test_predictions_answer_a_question(random_state):
    shuffle = random_state is not None
    for question, splitter in [("known_groups", WithinGroupKFold), ("new_groups", GroupKFold)]:
        predicted = cross_val_predict(
            MixedLinearRegressor(),
            X,
            Y,
            groups=SHOP,
            cv=3,
            generalize_to=question,
            random_state=random_state,
        )
        cv = splitter(3, shuffle=shuffle, random_state=random_state)
        same = cross_val_predict(MixedLinearRegressor(), X, Y, groups=SHOP, cv=cv)
        assert_array_equal(predicted, same)


def test_predictions_that_are_no_answer_are_refused():
    with pytest.raises(ValueError, match="generalize_to='both' would give two predictions"):
        cross_val_predict(MixedLinearRegressor(), X, Y, groups=SHOP, generalize_to="both")
    with pytest.raises(ValueError, match="random_state requires generalize_to; otherwise"):
        cross_val_predict(MixedLinearRegressor(), X, Y, groups=SHOP, random_state=1)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_one_bar_counts_all_folds(capsys, n_jobs):
    cross_validate(
        MixedLinearRegressor(),
        X,
        Y,
        groups=SHOP,
        generalize_to="both",
        cv=3,
        verbose=1,
        n_jobs=n_jobs,
    )
    MixedLinearRegressorCV(["(1 | shop)"], cv=4, verbose=1).fit(FRAME, Y)
    shown = capsys.readouterr()
    assert "6/6" in shown.err
    assert "4/4" in shown.err
    assert "Parallel" not in shown.out + shown.err


def test_groups_in_columns_declared_by_the_model():
    expected = cross_validate(MixedLinearRegressor(), X, Y, groups=SHOP, generalize_to="both")
    for model in [
        MixedLinearRegressor("(1 | shop)"),
        MixedLinearRegressor(group_features=["shop"]),
        MixedLinearRegressor(group_features="shop"),
        MixedLinearRegressor(group_features=2),
        make_pipeline("passthrough", MixedLinearRegressor("(1 | shop)")),
    ]:
        scores = cross_validate(model, FRAME, Y, generalize_to="both")
        assert list(scores) == list(expected)
        for key in ["test_score_known_groups", "test_score_new_groups"]:
            assert_allclose(scores[key], expected[key])


def left_out(model, columns, frame=PUPILS, **settings):
    """Return, for every fold, which levels of some columns are in the test part only."""
    indices = cross_validate(model, frame, EXTRO, return_indices=True, **settings)["indices"]
    level = PUPILS.groupby(columns).ngroup().to_numpy()
    return [
        set(level[test]) - set(level[train])
        for train, test in zip(indices["train"], indices["test"], strict=True)
    ]


NESTED = MixedLinearRegressor("(1 | school/class)")
BY_ARGUMENT = {
    "model": NESTED,
    "frame": PUPILS[["open"]],
    "groups": PUPILS[["class", "school"]],
}


@pytest.mark.parametrize("given", [{"model": NESTED}, BY_ARGUMENT], ids=["columns", "argument"])
def test_nested_groups(given):
    # New groups are new schools, and known ones are known down to the class.
    new = left_out(columns=["school"], generalize_to="new_groups", cv=3, **given)
    assert [len(schools) for schools in new] == [2, 2, 2]
    known = left_out(columns=["school", "class"], generalize_to="known_groups", cv=3, **given)
    assert known == [set()] * 3
    # New classes of known schools.
    by_class = {"split_by": ["school", "class"], "cv": 4, "generalize_to": "new_groups", **given}
    assert [len(classes) for classes in left_out(columns=["school", "class"], **by_class)] == [
        6
    ] * 4


def test_crossed_groups_go_by_the_first():
    model = MixedLinearRegressor("(1 | class) + (1 | school)")
    assert [len(c) for c in left_out(model, ["class"], generalize_to="new_groups", cv=4)] == [1] * 4
    other = left_out(model, ["school"], generalize_to="new_groups", cv=3, split_by="school")
    assert [len(schools) for schools in other] == [2] * 3


def test_several_columns_of_groups_go_by_the_first():
    both = PUPILS[["school", "class"]]
    model = MixedLinearRegressor()
    settings = {"frame": PUPILS[["open"]], "groups": both, "generalize_to": "new_groups", "cv": 3}
    assert [len(s) for s in left_out(model, ["school"], **settings)] == [2] * 3
    settings |= {"groups": both.to_numpy(), "split_by": 1}
    assert sum(len(c) for c in left_out(model, ["class"], **settings)) == 4


def test_missing_labels_are_pointed_out():
    frame = PUPILS.assign(**{"class": PUPILS["class"].where(np.arange(len(PUPILS)) != 7)})
    with pytest.raises(ValueError, match="1 rows have no label of 'class', the first is row 7"):
        cross_validate(NESTED, frame, EXTRO, generalize_to="known_groups")


def test_more_folds_than_groups():
    with pytest.raises(ValueError, match="greater than the number of groups"):
        cross_validate(NESTED, PUPILS, EXTRO, generalize_to="new_groups", cv=7)


def test_a_group_of_one_row_is_no_obstacle():
    labels = SHOP.where(np.arange(len(SHOP)) != 5, "pop-up")
    scores = cross_validate(
        MixedLinearRegressor(),
        X,
        Y,
        groups=labels,
        generalize_to="known_groups",
        return_indices=True,
    )
    assert_array_equal(np.isfinite(scores["test_score"]), True)
    assert sum(5 in test for test in scores["indices"]["test"]) == 1
