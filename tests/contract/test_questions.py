"""Every estimator finds the groups that it declares, for folds of known and of new groups."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline

from skmixed import MixedEffectsRegressor, MixedLinearRegressor, MixedLinearRegressorCV
from skmixed.model_selection import WithinGroupKFold, cross_val_predict, cross_validate
from skmixed.model_selection._task import Task
from tests.contract.data import X, response
from tests.contract.instances import ON_GROUPS

# Some of the tables have many small groups, for which Laplace's approximation is coarse.
pytestmark = pytest.mark.filterwarnings("ignore")
QUESTIONS = {"known_groups": WithinGroupKFold(2), "new_groups": GroupKFold(2)}

ONE_FACTOR = {
    type(each): each
    for each in reversed(ON_GROUPS)
    if "school" in str(getattr(each, "random", None))
    and "class" not in f"{each.random}{getattr(each, 'residual', None)}"
}


def for_new_groups(estimator):
    """Return a copy that predicts rows of unknown groups."""
    known = estimator.get_params()
    if known.get("handle_unknown") not in (None, "population"):
        return clone(estimator).set_params(handle_unknown="population")
    return clone(estimator)


def by_name(estimator):
    """Return a copy that names its grouping column, with random intercepts where that is all."""
    copy = for_new_groups(estimator).set_params(group_features="school")
    random = copy.get_params().get("random")
    return copy.set_params(random=None) if random and "|" in random else copy


# A setting or two of every class, in the forms in which it declares its groups.
DECLARED = {
    **{
        f"{type(each).__name__} by name": by_name(each)
        for each in {type(each): each for each in reversed(ON_GROUPS)}.values()
    },
    **{
        f"{type(each).__name__} {each.random}": for_new_groups(each) for each in ONE_FACTOR.values()
    },
    "candidates": MixedLinearRegressorCV([None, "(1 | school)", "(x | school)"], cv=3),
    "by position": MixedEffectsRegressor(LinearRegression(), group_features=[2]),
}
TABLE = X.drop(columns="class")


@pytest.mark.parametrize("name", DECLARED)
def test_declared_groups_are_found(name):
    estimator = DECLARED[name]
    y = response(estimator)
    folds = cross_validate(
        estimator, TABLE, y, cv=2, generalize_to="both", return_indices=True, error_score="raise"
    )
    pipeline = Task.of(make_pipeline("passthrough", estimator), TABLE, y, None, None)
    for question, splitter in QUESTIONS.items():
        wanted = [test for _, test in splitter.split(TABLE, y, TABLE["school"])]
        in_pipeline = [test for _, test in pipeline.splits_for(question, 2, None, None)]
        for found in (folds[f"indices_{question}"]["test"], in_pipeline):
            for one, other in zip(found, wanted, strict=True):
                assert_array_equal(one, other)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("name", ["MixedEffectsRegressor by name", "by position", "candidates"])
def test_predictions_of_rows_left_out(name, question):
    estimator = DECLARED[name]
    y = response(estimator)
    predicted = cross_val_predict(estimator, TABLE, y, cv=2, generalize_to=question)
    splits = QUESTIONS[question].split(TABLE, y, TABLE["school"])
    for train, test in splits:
        fit = clone(estimator).fit(TABLE.iloc[train], y.iloc[train])
        np.testing.assert_allclose(predicted[test], fit.predict(TABLE.iloc[test]), rtol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        MixedEffectsRegressor(LinearRegression(), "(1 | school)"),
        MixedEffectsRegressor(LinearRegression(), group_features="school"),
        MixedLinearRegressorCV(["(1 | school)"], cv=3),
        MixedLinearRegressor("(1 | school)"),
    ],
    ids=lambda model: type(model).__name__,
)
def test_groups_as_well_as_columns_are_for_the_splitter(model):
    y = response(model)
    wanted = cross_validate(model, TABLE, y, cv=2, generalize_to="both")
    given = cross_validate(model, TABLE, y, cv=2, generalize_to="both", groups=TABLE["school"])
    by_splitter = cross_validate(model, TABLE, y, cv=GroupKFold(2))
    for key in ["test_score_known_groups", "test_score_new_groups"]:
        np.testing.assert_allclose(given[key], wanted[key], rtol=1e-10)
    np.testing.assert_allclose(by_splitter["test_score"], wanted["test_score_new_groups"])
