"""Shares set by hand: scikit-lego's rules, a number, a function."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor

from skmixed import GroupedModels


def table_of(n=90):
    rng = np.random.default_rng(0)
    school = np.repeat(["s", "t"], [50, 40])
    letter = np.concatenate([np.repeat(["a", "b"], [30, 20]), np.repeat(["a", "b"], [5, 35])])
    x = rng.normal(size=n)
    return pd.DataFrame({"x": x, "school": school, "letter": letter}), x + rng.normal(size=n)


X, Y = table_of()
GROUPS = ["school", "letter"]
SIZES = {("s", "a"): [90, 50, 30], ("s", "b"): [90, 50, 20], ("t", "a"): [90, 40, 5]}

# What scikit-lego 0.9.10 computes for these numbers of rows.
RULES = {
    "equal": ("equal", lambda n: [1 / 3, 1 / 3, 1 / 3]),
    "relative": ("relative", lambda n: np.array(n) / sum(n)),
    "constant": (("constant", 0.2), lambda n: [0.04, 0.16, 0.8]),
    "half": ("constant", lambda n: [0.25, 0.25, 0.5]),
    "share": (0.8, lambda n: [0.04, 0.16, 0.8]),
    "min_n_obs": (("min_n_obs", 25), lambda n: [0, 0, 1] if n[2] >= 25 else [0, 1, 0]),
    "function": (
        lambda n: [0.0] * (len(n) - 2) + n[:-3:-1],
        lambda n: np.array([0, n[2], n[1]]) / (n[1] + n[2]),
    ),
    "none": (None, lambda n: [0, 0, 1]),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    "estimator", [LinearRegression(), DecisionTreeRegressor(max_depth=2, random_state=0)], ids=str
)
def test_predictions_are_weighted(name, estimator):
    shrinkage, weights = RULES[name]
    model = GroupedModels(estimator, group_features=GROUPS, shrinkage=shrinkage).fit(X, Y)
    for key, sizes in SIZES.items():
        expected = np.asarray(weights(sizes), dtype=float)
        assert_allclose(model.weights_.loc[key], expected)
        rows = ((X["school"] == key[0]) & (X["letter"] == key[1])).to_numpy()
        school = (X["school"] == key[0]).to_numpy()
        parts = [
            type(estimator)(**estimator.get_params()).fit(X.loc[of, ["x"]], Y[of])
            for of in (np.ones(len(X), bool), school, rows)
        ]
        predicted = np.column_stack([part.predict(X.loc[rows, ["x"]]) for part in parts])
        assert_allclose(model.predict(X[rows]), predicted @ expected, rtol=1e-8)


def test_min_n_obs_takes_min_samples():
    model = GroupedModels(group_features=GROUPS, shrinkage="min_n_obs", min_samples=25).fit(X, Y)
    assert model.weights_.loc[("t", "a")].tolist() == [0.0, 1.0, 0.0]
    assert set(model.fallback_["group"]) == {("s", "b"), ("t", "a")}


@pytest.mark.parametrize(
    ("shrinkage", "message"),
    [
        ("min_n_obs", "needs a number of rows"),
        ("median", "is none of 'blup'"),
        (1.5, "between 0 and 1"),
        (("constant", -0.1), "alpha of shrinkage='constant' is -0.1"),
        (("equal", 2), "is none of"),
        (lambda n: [1.0], r"expected \d finite weights"),
        (lambda n: [-1.0] + [2.0] * (len(n) - 1), "cannot be negative"),
    ],
)
def test_rules_that_are_none(shrinkage, message):
    with pytest.raises(ValueError, match=message):
        GroupedModels(group_features=GROUPS, shrinkage=shrinkage).fit(X, Y)


def test_probabilities_are_averaged():
    X = table_of()[0].drop(columns="letter")
    y = (Y > 0.0).astype(int)
    model = GroupedModels(LogisticRegression(), group_features="school", shrinkage=0.25).fit(X, y)
    rows = X["school"] == "s"
    pooled = LogisticRegression().fit(X[["x"]], y).predict_proba(X[["x"]])[rows]
    own = LogisticRegression().fit(X.loc[rows, ["x"]], y[rows]).predict_proba(X.loc[rows, ["x"]])
    found = model.predict_proba(X[rows])
    assert_allclose(found, 0.75 * pooled + 0.25 * own)
    assert_allclose(np.exp(model.predict_log_proba(X[rows])), found)


def test_scores_are_averaged_where_there_are_no_probabilities():
    X = table_of()[0].drop(columns="letter")
    y = (Y > 0.0).astype(int)
    model = GroupedModels(LinearSVC(), group_features="school", shrinkage=0.5).fit(X, y)
    assert_allclose(model.predict(X), model.decision_function(X) > 0.0)
    with pytest.raises(
        ValueError, match=r"LinearSVC has no predict_proba, .* CalibratedClassifier"
    ):
        GroupedModels(LinearSVC(), group_features="school").fit(X, y)


@pytest.mark.skipif(not find_spec("sklego"), reason="scikit-lego is not installed")
@pytest.mark.parametrize("name", ["equal", "relative", "constant", "min_n_obs"])
def test_scikit_lego_agrees(name):
    from sklego.meta import GroupedPredictor

    settings = {"constant": {"alpha": 0.2}, "min_n_obs": {"min_n_obs": 25}}.get(name, {})
    theirs = GroupedPredictor(LinearRegression(), GROUPS, shrinkage=name, shrinkage_kwargs=settings)
    ours = GroupedModels(group_features=GROUPS, shrinkage=RULES[name][0])
    assert_allclose(ours.fit(X, Y).predict(X), theirs.fit(X, Y).predict(X), rtol=1e-8)
