"""Probabilities calibrated by rows of other groups, or by other rows of the same."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold
from sklearn.tree import DecisionTreeClassifier

from skmixed import GroupedModels, MixedClassifier, MixedEffectsClassifier
from skmixed.exceptions import UnknownLevelWarning
from skmixed.model_selection import WithinGroupKFold

RNG = np.random.default_rng(0)
EFFECT = RNG.normal(size=60)


def bought(shops, n):
    X = pd.DataFrame({"price": RNG.normal(size=n), "shop": RNG.choice(shops, size=n)})
    p = 1.0 / (1.0 + np.exp(X["price"] - EFFECT[X["shop"]]))
    return X, (RNG.uniform(size=n) < p).astype(int)


X, Y = bought(np.arange(10), 400)
ROWS = {"known": bought(np.arange(10), 1_000), "new": bought(np.arange(10, 60), 1_000)}
TREES = GroupedModels(
    DecisionTreeClassifier(min_samples_leaf=3, random_state=0), group_features="shop"
)
MIXED = MixedClassifier("(1 | shop)")
LOGISTIC = GroupedModels(LogisticRegression(), group_features="shop")
AROUND = MixedEffectsClassifier(LogisticRegression(C=np.inf), "(1 | shop)")
SPLITTERS = {"known": WithinGroupKFold(3), "new": GroupKFold(3)}


def loss(model, kind):
    rows, truth = ROWS[kind]
    return log_loss(truth, model.predict_proba(rows)[:, 1])


def calibrated(model, kind):
    folds = list(SPLITTERS[kind].split(X, Y, X["shop"]))
    return CalibratedClassifierCV(model, cv=folds, ensemble=False).fit(X, Y)


@pytest.mark.parametrize("kind", SPLITTERS)
def test_what_is_too_sure_becomes_less_so(kind):
    assert loss(calibrated(TREES, kind), kind) < 0.8 * loss(TREES.fit(X, Y), kind)


@pytest.mark.parametrize("kind", SPLITTERS)
def test_what_is_calibrated_stays_as_it_is(kind):
    assert loss(calibrated(MIXED, kind), kind) == pytest.approx(
        loss(MIXED.fit(X, Y), kind), abs=0.02
    )


@pytest.mark.parametrize("model", [MIXED, TREES, LOGISTIC, AROUND], ids=str)
def test_groups_are_routed_to_the_splitter(model):
    with sklearn.config_context(enable_metadata_routing=True):
        routed = sklearn.clone(model).set_fit_request(groups=False)
        found = CalibratedClassifierCV(routed, cv=GroupKFold(3)).fit(X, Y, groups=X["shop"])
    folds = list(GroupKFold(3).split(X, Y, X["shop"]))
    expected = CalibratedClassifierCV(model, cv=folds).fit(X, Y)
    probabilities = found.predict_proba(X)
    assert_allclose(probabilities, expected.predict_proba(X))
    assert_allclose(probabilities.sum(axis=1), 1.0)
    assert ((probabilities > 0.0) & (probabilities < 1.0)).all()
    assert log_loss(Y, probabilities[:, 1]) < log_loss(Y, np.full(len(Y), Y.mean()))
    # No leak: what a member was calibrated by is of shops it has not met.
    for member, (train, test) in zip(found.calibrated_classifiers_, folds, strict=True):
        assert member.estimator.n_groups_["shop"] == X["shop"].iloc[train].nunique()
        assert not set(X["shop"].iloc[train]) & set(X["shop"].iloc[test])


def test_groups_of_the_splitter_are_not_given_twice():
    with sklearn.config_context(enable_metadata_routing=True):
        model = CalibratedClassifierCV(MIXED, cv=GroupKFold(3))
        with pytest.raises(ValueError, match=r"are given both.*set_fit_request\(groups=False\)"):
            model.fit(X, Y, groups=X["shop"])


def test_groups_beside_x_are_lost_with_a_warning():
    with sklearn.config_context(enable_metadata_routing=True):
        model = CalibratedClassifierCV(MixedClassifier(), cv=GroupKFold(3))
        with pytest.warns(UnknownLevelWarning, match="no labels"):
            model.fit(X[["price"]], Y, groups=X["shop"])
