"""Intervals of predictions by models of groups: those of the mixed model, where it is one."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    TweedieRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeRegressor

from skmixed import GroupedModels, MixedGeneralizedRegressor, MixedLinearRegressor

RNG = np.random.default_rng(0)
X = pd.DataFrame({"x": RNG.normal(size=240), "a": np.arange(240) % 8, "b": np.arange(240) % 24})
EFFECTS = RNG.normal(size=(24, 2)) * 0.5 + RNG.normal(size=(8, 2))[np.arange(24) % 8]
Y = 1.0 + EFFECTS[X["b"], 0] + (0.5 + EFFECTS[X["b"], 1]) * X["x"] + RNG.normal(size=240)
NEW = pd.DataFrame({"x": [0.0, 1.0, -3.0, 0.5, 2.0], "a": [0, 7, 3, 99, 98], "b": [8, 7, 77, 5, 6]})
KINDS = ["mean", "observation"]
MEANS = np.exp(0.3 + 0.4 * X["x"] + 0.4 * EFFECTS[X["b"], 0])
COUNTS = RNG.poisson(MEANS)
DURATIONS = RNG.gamma(3.0, MEANS / 3.0)
GENERALIZED = {"poisson": (PoissonRegressor, COUNTS), "gamma": (GammaRegressor, DURATIONS)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", [None, np.arange(240) % 3 + 1])
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_one_factor_of_least_squares_is_the_mixed_model(kind, weights, shift):
    far, new = X.assign(x=X["x"] + shift), NEW.assign(x=NEW["x"] + shift)
    grouped = GroupedModels(group_features="a").fit(far[["x", "a"]], Y, weights)
    mixed = MixedLinearRegressor("(x | a)").fit(far[["x", "a"]], Y, weights)
    found = grouped.predict_interval(new[["x", "a"]], level=0.9, kind=kind)
    expected = mixed.predict_interval(new[["x", "a"]], level=0.9, kind=kind)
    assert_allclose(np.ptp(found, axis=1), np.ptp(expected, axis=1), rtol=2e-2)
    assert_allclose(found.mean(axis=1), grouped.predict(new[["x", "a"]]))


@pytest.mark.parametrize("kind", KINDS)
def test_groups_in_groups_are_nearly_the_mixed_model(kind):
    """Stage by stage the variances are not quite those of the joint likelihood."""
    grouped = GroupedModels(group_features=["a", "b"]).fit(X, Y)
    mixed = MixedLinearRegressor("(x | a/b)").fit(X, Y)
    found, expected = (each.predict_interval(NEW, kind=kind) for each in (grouped, mixed))
    assert_allclose(np.ptp(found, axis=1), np.ptp(expected, axis=1), rtol=0.15)


@pytest.mark.parametrize("family", GENERALIZED)
@pytest.mark.parametrize("random", ["(1 | a)", "(1 | a/b)"])
def test_of_a_family_they_are_the_generalized_mixed_model_s(family, random):
    inner, y = GENERALIZED[family]
    names = ["a", "b"] if "b" in random else ["a"]
    grouped = GroupedModels(inner(alpha=0.0), group_features=names).fit(X[["x", *names]], y)
    assert not grouped.weights_["x"].any()
    mixed = MixedGeneralizedRegressor(random, family=family).fit(X[["x", *names]], y)
    for kind in KINDS:
        found, expected = (
            each.predict_interval(NEW[["x", *names]], level=0.9, kind=kind)
            for each in (grouped, mixed)
        )
        assert_allclose(found, expected, rtol=1e-4)
    copy = pickle.loads(pickle.dumps(grouped))
    beside = grouped.predict(NEW[["x", *names]], interval=0.9)
    assert_array_equal(copy.predict(NEW[["x", *names]], interval=0.9), beside)
    assert_allclose(beside[:, 0], mixed.predict(NEW[["x", *names]]), rtol=1e-4)


@pytest.mark.parametrize("inner", [PoissonRegressor(alpha=0.0), GammaRegressor(alpha=0.0)])
def test_groups_alike_and_groups_too_small(inner):
    y = np.exp(0.3 * X["x"]).round() + 1.0
    alike = GroupedModels(inner, group_features="a").fit(X[["x", "a"]], y)
    assert not alike.weights_.to_numpy().any()
    found = alike.predict(NEW[["x", "a"]], interval=0.9)
    assert_allclose(found[:, 0], clone(inner).fit(X[["x"]], y).predict(NEW[["x"]]))
    assert (found[:, 1] < found[:, 0]).all()
    assert (found[:, 0] < found[:, 2]).all()
    few = (X["a"] != 3) | (np.arange(240) < 60)
    model = GroupedModels(inner, group_features="a", min_samples=20)
    model.fit(X.loc[few, ["x", "a"]], MEANS[few])
    assert model.fallback_["group"].tolist() == [(3,)]
    rows = pd.DataFrame({"x": [0.5, 0.5], "a": [3, 99]})
    assert_array_equal(*model.predict(rows, interval=0.9))
    assert model.predict(rows.head(0), interval=0.9).shape == (0, 3)


def test_a_penalty_next_to_nothing_is_least_squares():
    ridge, plain = (
        GroupedModels(inner, group_features="a").fit(X[["x", "a"]], Y)
        for inner in (Ridge(1e-8), LinearRegression())
    )
    rows = NEW[["x", "a"]]
    found, expected = ridge.predict_interval(rows), plain.predict_interval(rows)
    assert_allclose(np.ptp(found, axis=1), np.ptp(expected, axis=1), rtol=3e-2)


def test_without_an_intercept():
    inner = LinearRegression(fit_intercept=False)
    grouped = GroupedModels(inner, group_features="a").fit(X[["x", "a"]], Y)
    mixed = MixedLinearRegressor("(0 + x | a)", fit_intercept=False).fit(X[["x", "a"]], Y)
    found, expected = (each.predict_interval(NEW[["x", "a"]]) for each in (grouped, mixed))
    assert_allclose(np.ptp(found, axis=1), np.ptp(expected, axis=1), rtol=2e-2)


@pytest.mark.parametrize("routing", [False, True])
def test_a_pipeline_hands_the_level_on(routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        model = GroupedModels(group_features=["a", "b"])
        pipeline = make_pipeline(FunctionTransformer(), model).fit(X, Y)
        found = pipeline.predict(NEW, interval=0.8)
    assert_array_equal(found[:, 0], pipeline.predict(NEW))
    assert_array_equal(found[:, 1:], model.predict_interval(NEW, level=0.8))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (GroupedModels(group_features="a", shrinkage=None), "shrinkage='none' estimates no"),
        (GroupedModels(PoissonRegressor(), group_features="a", shrinkage=0.5), "'keep' estimates"),
        (GroupedModels(DecisionTreeRegressor(), group_features="a"), "DecisionTreeRegressor have"),
        (GroupedModels(TweedieRegressor(), group_features="a"), "TweedieRegressor have"),
        (GroupedModels(LogisticRegression(), group_features="a"), "predicts classes"),
        (GroupedModels(DummyClassifier(), group_features="a"), "predicts classes"),
        (GroupedModels(), "intervals require groups"),
    ],
)
def test_what_has_no_intervals(model, message):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "GroupedModels was given no groups")
        model.fit(X[["x", "a"]], COUNTS > 0 if is_classifier(model) else COUNTS)
    with pytest.raises(ValueError, match=message):
        model.predict(NEW[["x", "a"]], interval=0.9)
    assert not hasattr(model, "predict_interval")


def test_what_leaves_no_residual_has_no_intervals():
    for y in (EFFECTS[X["a"], 0] * X["x"], np.zeros(240)):
        model = GroupedModels(group_features="a").fit(X[["x", "a"]], y)
        with pytest.raises(ValueError, match="the models of the groups fit their rows"):
            model.predict(NEW[["x", "a"]], interval=0.9)
    few = X[["x", "b"]].iloc[:48]  # two rows a group, for two coefficients
    model = GroupedModels(group_features="b").fit(few, Y[:48])
    with pytest.raises(ValueError, match="the models of the groups fit their rows"):
        model.predict(few, interval=0.9)
    model = GroupedModels(GammaRegressor(alpha=0.0, tol=1e-10, max_iter=1000), group_features="a")
    model.fit(X[["x", "a"]], np.exp(0.3 * X["x"]))
    with pytest.raises(ValueError, match="the models of the groups fit their rows"):
        model.predict(NEW[["x", "a"]], interval=0.9)


def test_several_responses_have_no_intervals():
    model = GroupedModels(group_features="a").fit(X[["x", "a"]], np.column_stack([Y, Y]))
    with pytest.raises(ValueError, match="y has 2 columns"):
        model.predict(NEW[["x", "a"]], interval=0.9)


def test_no_rows_and_wrong_settings():
    model = GroupedModels(group_features="a").fit(X[["x", "a"]], Y)
    with pytest.raises(ValueError, match="interval=90"):
        model.predict(NEW[["x", "a"]], interval=90)
    with pytest.raises(ValueError, match="kind='all'"):
        model.predict_interval(NEW[["x", "a"]], kind="all")
