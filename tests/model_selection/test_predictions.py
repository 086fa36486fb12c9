"""cross_val_predict hands groups on, and is scikit-learn's otherwise."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, ShuffleSplit
from sklearn.model_selection import cross_val_predict as sklearn_cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmixed import MixedLinearRegressor
from skmixed.model_selection import cross_val_predict, cross_validate
from tests.model_selection.example import FOLDS, FRAME, SHOP, X, Y, loop

EXPECTED = loop(MixedLinearRegressor(), X, Y, SHOP, FOLDS.split(X))[0]


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize(
    ("table", "labels"),
    [(X, SHOP), (X.to_numpy(), SHOP.to_numpy()), (pl.from_pandas(X), pl.from_pandas(SHOP))],
    ids=["frame", "array", "polars"],
)
def test_equals_a_loop_by_hand(table, labels, n_jobs, routing):
    prediction = cross_val_predict(
        MixedLinearRegressor(), table, Y, groups=labels, cv=FOLDS, n_jobs=n_jobs
    )
    assert_allclose(prediction, EXPECTED)
    assert r2_score(Y, prediction) > 0.9


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), MixedLinearRegressor()),
        TransformedTargetRegressor(MixedLinearRegressor()),
    ],
    ids=["pipeline", "target"],
)
def test_models_inside_others(model, routing):
    prediction = cross_val_predict(model, X, Y, groups=SHOP, cv=FOLDS)
    assert_allclose(prediction, EXPECTED, rtol=1e-5)


def test_groups_in_columns_equal_scikit_learn(routing):
    model = MixedLinearRegressor("(1 | shop)")
    theirs = sklearn_cross_val_predict(model, FRAME, Y, cv=list(GroupKFold(4).split(X, Y, SHOP)))
    for asked in [{"groups": SHOP}, {"split_by": "shop"}, {}]:
        ours = cross_val_predict(model, FRAME, Y, cv=GroupKFold(4), **asked)
        assert_allclose(ours, theirs, rtol=1e-8)


def test_new_groups_get_the_population():
    # Every level of the test part is unknown, and nothing is said about it.
    prediction = cross_val_predict(MixedLinearRegressor(), X, Y, groups=SHOP, cv=GroupKFold(12))
    splits = GroupKFold(12).split(X, Y, SHOP)
    assert_allclose(prediction, loop(MixedLinearRegressor(), X, Y, SHOP, splits)[0])


class Shares(ClassifierMixin, BaseEstimator):
    """Share of each class in a group."""

    def fit(self, X, y, groups):
        self.classes_ = np.unique(y)
        table = pd.crosstab(np.asarray(groups), np.asarray(y), normalize="index")
        self.shares_ = table.reindex(columns=self.classes_, fill_value=0.0)
        return self

    def predict_proba(self, X, groups):
        return self.shares_.reindex(groups).to_numpy()

    def predict(self, X, groups):
        return self.classes_[self.predict_proba(X, groups).argmax(axis=1)]


def test_probabilities():
    high = np.where(Y > 0, "high", "low")
    shares = cross_val_predict(Shares(), X, high, groups=SHOP, cv=5, method="predict_proba")
    assert shares.shape == (len(Y), 2)
    assert (np.array(["high", "low"])[shares.argmax(axis=1)] == high).mean() > 0.8
    scores = cross_validate(Shares(), X, high, groups=SHOP, scoring=["roc_auc", "accuracy"])
    assert (scores["test_roc_auc"] > 0.8).all()
    theirs = sklearn_cross_val_predict(RidgeClassifier(), X, high, method="decision_function")
    ours = cross_val_predict(RidgeClassifier(), X, high, groups=SHOP, method="decision_function")
    assert_array_equal(ours, theirs)


def test_bad_input():
    with pytest.raises(ValueError, match="only works for partitions"):
        cross_val_predict(MixedLinearRegressor(), X, Y, groups=SHOP, cv=ShuffleSplit(2))
    with pytest.raises(TypeError, match="groups is a dict"):
        cross_val_predict(MixedLinearRegressor(), X, Y, groups={"shop": SHOP})
