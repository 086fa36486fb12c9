"""Classifiers whose probabilities are blended, groups of one class among them."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.tree import DecisionTreeClassifier

from skmixed import GroupedModels
from skmixed.core.pooling.blending import mixture_shares
from tests.estimators.grouped.test_likelihood import loss_ratios, shops

TREE = DecisionTreeClassifier(max_depth=2, random_state=0)


def test_shares_are_the_most_likely():
    rng = np.random.default_rng(0)
    n_rows = np.repeat([4.0, 16.0, 64.0], 4000)
    own, parent = rng.uniform(0.05, 0.95, (2, 12000))
    share = 0.8 * n_rows / (n_rows + 10.0)
    hit = rng.random(12000) < share * own + (1.0 - share) * parent
    seen = [np.where(hit, p, 1.0 - p) for p in (own, parent)]
    found = mixture_shares(*seen, np.ones(12000), n_rows)
    assert_allclose(
        found.share(np.array([4.0, 16.0, 64.0])),
        0.8 * np.array([4 / 14, 16 / 26, 64 / 74]),
        atol=0.06,
    )
    hit = rng.random(12000) < parent
    seen = [np.where(hit, p, 1.0 - p) for p in (own, parent)]
    assert mixture_shares(*seen, np.ones(12000), n_rows).limit < 0.1
    assert mixture_shares(*np.zeros((2, 0)), np.zeros(0), np.zeros(0)).limit == 0.0


def test_shares_of_a_class_are_those_of_a_beta_distribution():
    """Shares of groups, shrunk to that of all rows by as much as their spread says."""
    rng = np.random.default_rng(1)
    shop = np.repeat(np.arange(400), 12)
    y = (rng.random(4800) < rng.beta(2.0, 4.0, 400)[shop]).astype(int)
    model = GroupedModels(DummyClassifier(), group_features=[0]).fit(shop[:, None], y)
    assert_allclose(model.weights_.iloc[:, 1], 12 / (12 + 6), atol=0.1)


@pytest.mark.parametrize(
    "estimator", [DummyClassifier(), TREE, GradientBoostingClassifier(n_estimators=4)]
)
def test_groups_of_one_class_take_part(estimator):
    X, y, p = shops(40, 8, (2.0, 0.0))
    pure = pd.Series(y).groupby(X["shop"]).transform("nunique").to_numpy() == 1
    assert pure.mean() > 0.2
    model = GroupedModels(estimator, group_features="shop").fit(X, y)
    assert not len(model.fallback_)
    found = model.predict_proba(X)[:, 1]
    alike = model.pooled_.predict_proba(X[["x"]])[:, 1]
    assert np.mean((found - p)[pure] ** 2) < 0.6 * np.mean((alike - p)[pure] ** 2)
    kind = DummyClassifier if isinstance(estimator, GradientBoostingClassifier) else type(estimator)
    one = model.estimators_[X["shop"][pure].iloc[0]]
    assert type(one) is kind
    assert len(one.classes_) == 1


def test_what_can_be_fitted_to_one_class_is_fitted():
    x = np.arange(20.0)[:, None]
    group, y = np.repeat(["a", "b"], 10), np.repeat(["no", "yes", "no"], [10, 5, 5])
    model = GroupedModels(TREE, shrinkage=None).fit(x, y, groups=group)
    assert not len(model.fallback_)
    assert_array_equal(model.predict_proba(x[:2], groups=group[:2]), [[1.0, 0.0]] * 2)
    logistic = GroupedModels(LogisticRegression(), shrinkage=None).fit(x, y, groups=group)
    assert logistic.fallback_["reason"].tolist() == ["one class only, 'no'"]


def test_three_classes():
    rng = np.random.default_rng(0)
    shop = np.repeat(np.arange(30), 10)
    shares = rng.dirichlet([0.5, 0.5, 0.5], 30)
    y = np.array([rng.choice(3, p=shares[g]) for g in shop])
    X = pd.DataFrame({"x": rng.normal(size=300), "shop": shop})
    model = GroupedModels(LogisticRegression(), group_features="shop").fit(X, y)
    found = model.predict_proba(X)
    assert_allclose(found.sum(axis=1), 1.0)
    assert_allclose(model.decision_function(X), np.log(found))
    assert log_loss(y, found) < 0.8 * log_loss(y, model.pooled_.predict_proba(X[["x"]]))


def test_a_gain_that_a_few_rows_make_is_chance():
    """Groups alike: what their own models seem to know is in single rows."""
    ratios = loss_ratios(DummyClassifier(), [10, 62, 90])
    assert_array_equal(ratios, 1.0)


@pytest.mark.study
@pytest.mark.parametrize(
    "estimator",
    [
        DummyClassifier(),
        DecisionTreeClassifier(max_depth=3, random_state=0),
        RandomForestClassifier(n_estimators=10, max_depth=4, random_state=0),
        HistGradientBoostingClassifier(max_iter=10, early_stopping=False, random_state=0),
    ],
)
def test_blending_is_not_worse_than_without_groups_in_a_hundred_designs(estimator):
    ratios = loss_ratios(estimator, range(100))
    assert ratios.mean() < 0.97
    assert ratios.max() < 1.02


@pytest.mark.study
@pytest.mark.parametrize("estimator", [LogisticRegression(), TREE])
def test_three_classes_are_not_worse_than_without_groups(estimator):
    ratios = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n_groups, spread = int(rng.choice([3, 10, 40])), rng.choice([0.0, 0.5, 1.5])
        shop = np.repeat(np.arange(n_groups), rng.integers(5, 40, n_groups))
        slopes, of_shop = rng.normal(size=(2, 3)), spread * rng.normal(size=(n_groups, 3))

        def drawn(groups, rng=rng, slopes=slopes, of_shop=of_shop):
            x = rng.normal(size=(len(groups), 2))
            return x, special.softmax(x @ slopes + of_shop[groups], axis=1)

        X, shares = drawn(shop)
        y = (rng.random(len(shop))[:, None] > shares.cumsum(axis=1)).sum(axis=1)
        y[:3] = [0, 1, 2]
        of_new = np.repeat(np.arange(n_groups), 30)
        new, truth = drawn(of_new)
        model = GroupedModels(estimator).fit(X, y, groups=shop)
        found = model.predict_proba(new, groups=of_new), model.pooled_.predict_proba(new)
        losses = [-np.sum(truth * np.log(np.maximum(each, 1e-12))) for each in found]
        ratios.append(losses[0] / losses[1])
    assert np.mean(ratios) < 0.98
    assert max(ratios) < 1.02
