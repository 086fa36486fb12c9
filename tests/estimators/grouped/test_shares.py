"""Shares set by hand: scikit-lego's rules, a number, a function."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor

from skmixed import GroupedModels, MixedLinearRegressor


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
        ("min_n_obs", "shrinkage='min_n_obs' requires a number"),
        ("median", "'blup', None, a weight between 0 and 1"),
        (1.5, "between 0 and 1"),
        (("constant", -0.1), "alpha of shrinkage='constant' is -0.1"),
        (("equal", 2), r"shrinkage=\('equal', 2\) is not one of 'blup'"),
        (lambda n: [1.0], r"expected \d finite weights"),
        (
            lambda n: [-1.0] + [2.0] * (len(n) - 1),
            r"shrinkage\(\[90, 40\]\) returned \[-1\.0, 2\.0\]",
        ),
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


def towns():
    """A hierarchy without any column beside the labels."""
    labels = pd.DataFrame({"land": ["x"] * 4, "area": ["n", "n", "s", "s"], "town": list("abcd")})
    return labels, np.array([1.0, 3.0, 2.0, 4.0])


@pytest.mark.parametrize("estimator", [DummyRegressor(), LinearRegression(), Ridge()])
def test_all_rows_need_not_count(estimator):
    X, y = towns()
    settings = {"group_features": list(X), "use_pooled": False}
    model = GroupedModels(estimator, shrinkage="relative", **settings).fit(X, y)
    means = np.column_stack([np.full(4, 2.5), [2, 2, 3, 3], y])  # of land, area and town
    assert_allclose(model.predict(X), means @ [4 / 7, 2 / 7, 1 / 7])
    assert (model.weights_["pooled"] == 0.0).all()
    equal = GroupedModels(estimator, shrinkage=lambda sizes: [1] * len(sizes), **settings)
    assert_allclose(equal.fit(X, y).predict(X), means.mean(axis=1))
    kept = GroupedModels(estimator, shrinkage=0.5, **settings).fit(X, y)
    assert_allclose(kept.predict(X), means @ [0.25, 0.25, 0.5])
    assert_allclose(kept.predict(X.assign(area="new")), 2.5)
    with pytest.raises(ValueError, match=r"4 rows have labels of 'land'.*use_pooled=True"):
        kept.predict(X.assign(land="new"))
    with pytest.raises(ValueError, match="use_pooled=False applies to weighting rules"):
        GroupedModels(estimator, **settings).fit(X, y)


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize(
    ("shrinkage", "weights"),
    [
        ("relative", lambda n: np.array(n) / sum(n)),
        ("equal", lambda n: np.array([0.5, 0.5])),
        (("constant", 0.2), lambda n: np.array([0.2, 0.8])),
        (("min_n_obs", 25), lambda n: np.array([0.0, 1.0] if n[1] >= 25 else [1.0, 0.0])),
        (lambda n: [1.0] + [3.0] * (len(n) - 1), lambda n: np.array([0.25, 0.75])),
    ],
)
def test_all_rows_do_not_count_in_two_columns(shrinkage, weights, library):
    rows = library(X.to_dict("list"))
    model = GroupedModels(
        LinearRegression(), group_features=GROUPS, shrinkage=shrinkage, use_pooled=False
    ).fit(rows, Y)
    for key, (_, *sizes) in SIZES.items():
        school = (X["school"] == key[0]).to_numpy()
        own = school & (X["letter"] == key[1]).to_numpy()
        parts = [LinearRegression().fit(X.loc[of, ["x"]], Y[of]) for of in (school, own)]
        expected = np.column_stack([part.predict(X.loc[own, ["x"]]) for part in parts])
        found = model.predict(library(X[own].to_dict("list")))
        assert_allclose(found, expected @ weights(sizes), rtol=1e-8)
        new = library(X[own].assign(letter="new").to_dict("list"))
        assert_allclose(model.predict(new), expected[:, 0], rtol=1e-8)
    with pytest.raises(ValueError, match="90 rows have labels of 'school'"):
        model.predict(library(X.assign(school="new").to_dict("list")))


@pytest.mark.parametrize("use_pooled", [True, False])
def test_more_rows_asked_of_a_group_than_there_are(use_pooled):
    model = GroupedModels(group_features=GROUPS, shrinkage=("min_n_obs", 91), use_pooled=use_pooled)
    with pytest.raises(ValueError, match="91"):
        model.fit(X, Y)


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_an_imputer_sees_what_is_missing_where_all_rows_do_not_count(library):
    gaps = X.assign(x=X["x"].where(X.index % 7 > 0))
    pipeline = make_pipeline(SimpleImputer(), LinearRegression())
    model = GroupedModels(
        pipeline, group_features=GROUPS, shrinkage="relative", use_pooled=False
    ).fit(library(gaps.to_dict("list")), Y)
    school = (X["school"] == "s").to_numpy()
    own = school & (X["letter"] == "a").to_numpy()
    parts = [clone(pipeline).fit(gaps.loc[of, ["x"]], Y[of]) for of in (school, own)]
    expected = np.column_stack([part.predict(gaps.loc[own, ["x"]]) for part in parts])
    found = model.predict(library(gaps[own].to_dict("list")))
    assert_allclose(found, expected @ [50 / 80, 30 / 80], rtol=1e-8)


def test_a_coarsest_group_without_a_model_where_all_rows_do_not_count():
    X, y = towns()
    model = GroupedModels(
        DummyRegressor(), group_features="town", shrinkage=None, use_pooled=False, min_samples=2
    )
    with pytest.raises(ValueError, match=r"\('a',\) has no model of its own, 1 rows are too few"):
        model.fit(X[["town"]], y)


@pytest.mark.parametrize(
    "function", [lambda sizes: [0.1, 0.2, 0.3, 0.4], lambda sizes: np.array([1, 2, 3, 4]) * 1.0]
)
def test_functions_of_fixed_length(function):
    X, y = towns()
    model = GroupedModels(DummyRegressor(), group_features=list(X), shrinkage=function).fit(X, y)
    means = np.column_stack([np.full(4, 2.5), np.full(4, 2.5), [2, 2, 3, 3], y])
    assert_allclose(model.predict(X), means @ [0.1, 0.2, 0.3, 0.4])
    assert_allclose(model.predict(X.assign(town="new")), means @ [0.1, 0.2, 0.7, 0.0])
    scaled = GroupedModels(
        DummyRegressor(),
        group_features=list(X),
        shrinkage=lambda sizes: np.array([1, 1, 1, 5]) * sizes,
    ).fit(X, y)
    assert_allclose(scaled.predict(X.assign(town="new")), means @ [0.4, 0.4, 0.2, 0.0])


@pytest.mark.parametrize("shrinkage", ["blup", None, "relative"])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_groups_without_columns_are_means(shrinkage, n_outputs):
    rng = np.random.default_rng(0)
    shop = np.repeat(np.arange(12), 10)
    y = rng.normal(size=12)[shop] + rng.normal(size=120)
    y = y if n_outputs == 1 else np.column_stack([y, -y])
    X = pd.DataFrame({"shop": shop})
    model = GroupedModels(group_features="shop", shrinkage=shrinkage).fit(X, y)
    table = model.coef_table()
    assert {"(Intercept)", "se (Intercept)"} <= set(table.columns)
    means = pd.DataFrame(y).groupby(shop).mean().to_numpy()
    assert_allclose(table["(Intercept)"], means.T.ravel())
    if shrinkage is None:
        assert_allclose(
            model.predict(X), y * 0 + (means[shop] if n_outputs > 1 else means[shop, 0])
        )
    if shrinkage == "blup" and n_outputs == 1:
        mixed = MixedLinearRegressor("(1 | shop)").fit(X, y)
        assert_allclose(model.predict(X), mixed.predict(X), rtol=1e-5, atol=1e-6)
        of_shop = model.estimators_[3].predict(np.zeros((1, 1)))
        assert_allclose(of_shop, model.predict(X.iloc[30:31]))


def test_more_rows_than_there_are_cannot_be_asked_for():
    X, y = towns()
    for settings in ({"min_samples": 5}, {"shrinkage": ("min_n_obs", 5)}):
        model = GroupedModels(DummyRegressor(), group_features=list(X), **settings)
        with pytest.raises(ValueError, match="4"):
            model.fit(X, y)


@pytest.mark.parametrize(
    "first",
    [
        SimpleImputer(),
        "passthrough",
        FunctionTransformer(),
        make_column_transformer((SimpleImputer(), [0]), remainder="passthrough"),
    ],
    ids=str,
)
def test_an_imputer_sees_what_is_missing(first):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(80, 2)), columns=["a", "b"])
    y = X["a"] - X["b"] + rng.normal(size=80)
    X.loc[::7, "a"] = np.nan
    shop = np.repeat(np.arange(4), 20)
    inner = make_pipeline(first, SimpleImputer(), Ridge())
    for table in (X, X.to_numpy()):
        model = GroupedModels(inner, shrinkage=None).fit(table, y, groups=shop)
        alone = clone(inner).fit(table[:20], y[:20]).predict(table[:20])
        assert_allclose(model.predict(table[:20], groups=shop[:20]), alone)
    with pytest.raises(ValueError, match="NaN"):
        GroupedModels(Ridge(solver="lsqr")).fit(X, y, groups=shop)
