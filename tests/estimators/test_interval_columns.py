"""Predictions beside the ends of their intervals, asked of a pipeline by a keyword."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import PoissonRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmixed import (
    GroupedModels,
    MixedEffectsRegressor,
    MixedGeneralizedRegressor,
    MixedLinearRegressor,
    MixedLinearRegressorCV,
)
from skmixed.exceptions import UnknownLevelWarning

RNG = np.random.default_rng(0)
X = pd.DataFrame({"x": RNG.normal(size=120), "g": np.arange(120) % 12})
ETA = 0.5 + 0.3 * X["x"] + 0.5 * RNG.normal(size=12)[X["g"]]
CONTINUOUS = ETA + RNG.normal(size=120)
RESPONSES = {
    "linear": (MixedLinearRegressor("(1 | g)"), CONTINUOUS),
    "chosen": (MixedLinearRegressorCV(["(1 | g)", "(x | g)"], cv=3), CONTINUOUS),
    "any learner": (MixedEffectsRegressor(Ridge(), "(1 | g)"), CONTINUOUS),
    "models of groups": (GroupedModels(group_features="g"), CONTINUOUS),
    "counts of groups": (
        GroupedModels(PoissonRegressor(), group_features="g"),
        RNG.poisson(np.exp(ETA)),
    ),
    "counts": (MixedGeneralizedRegressor("(1 | g)"), RNG.poisson(np.exp(ETA))),
}


@pytest.mark.parametrize("kind", RESPONSES)
@pytest.mark.parametrize("routing", [False, True])
def test_a_pipeline_hands_the_level_on(kind, routing):
    model, y = RESPONSES[kind]
    with sklearn.config_context(enable_metadata_routing=routing):
        pipeline = make_pipeline(FunctionTransformer(), model).fit(X, y)
        found = pipeline.predict(X.head(5), interval=0.9)
        assert_array_equal(found[:, 0], pipeline.predict(X.head(5)))
    limits = pipeline[-1].predict_interval(X.head(5), level=0.9)
    assert_array_equal(found[:, 1:], limits)


@pytest.mark.parametrize("routing", [False, True])
def test_groups_are_handed_on_beside_the_level(routing):
    model, y = MixedLinearRegressor(), CONTINUOUS
    with sklearn.config_context(enable_metadata_routing=routing):
        pipeline = make_pipeline(FunctionTransformer(), model)
        given = {"groups" if routing else "mixedlinearregressor__groups": X["g"]}
        pipeline.fit(X[["x"]], y, **given)
        found = pipeline.predict(X[["x"]].head(5), groups=X["g"].head(5), interval=0.9)
    limits = model.predict_interval(X[["x"]].head(5), X["g"].head(5), level=0.9)
    assert_array_equal(found[:, 1:], limits)


def test_the_scale_of_the_response_is_left_behind_by_the_ends_too():
    model = MixedLinearRegressor("(1 | g)")
    logs = TransformedTargetRegressor(model, func=np.log, inverse_func=np.exp)
    found = logs.fit(X, np.exp(CONTINUOUS)).predict(X, interval=0.9)
    assert_allclose(np.log(found), model.fit(X, CONTINUOUS).predict(X, interval=0.9))


@pytest.mark.parametrize("kind", ["linear", "chosen", "counts"])
def test_what_an_interval_does_not_go_with(kind):
    model, y = RESPONSES[kind]
    model.fit(X, y)
    with pytest.raises(ValueError, match="return_std=True and interval cannot be"):
        model.predict(X, interval=0.9, return_std=True)
    with pytest.raises(ValueError, match="random='none' cannot be combined with interval"):
        model.predict(X, interval=0.9, random="none")
    with pytest.raises(ValueError, match=r"use interval=0\.9"):
        model.predict(X, interval=90)


@pytest.mark.filterwarnings("ignore:the fixed effects fit the data exactly")
def test_without_a_residual_there_is_no_interval():
    model = MixedLinearRegressor("(1 | g)").fit(X, 2.0 * X["x"])
    with pytest.raises(ValueError, match=r"residual|exactly"):
        model.predict(X, interval=0.9)


def test_a_learner_adds_all_effects_in_its_interval():
    model = MixedEffectsRegressor(Ridge(), "(1 | g)").fit(X, CONTINUOUS)
    with pytest.raises(ValueError, match="random='none' cannot be combined with interval"):
        model.predict(X, interval=0.9, random="none")


@pytest.mark.parametrize("kind", RESPONSES)
@pytest.mark.parametrize("level", [0.0, 1.5, np.nan, "0.9", [0.5, 0.9]])
def test_levels_that_are_no_probabilities(kind, level):
    model, y = RESPONSES[kind]
    model = clone(model).fit(X, y)
    with pytest.raises((ValueError, TypeError), match=r"interval=.* is not a probability"):
        model.predict(X, interval=level)


@pytest.mark.parametrize("kind", RESPONSES)
def test_rows_are_read_once_and_so_warned_of_once(kind):
    model, y = RESPONSES[kind]
    by_argument = {"group_features": None} if "groups" in kind else {"random": None}
    model = clone(model).set_params(**by_argument).fit(X[["x"]], y, groups=X["g"])
    with pytest.warns(UnknownLevelWarning) as caught:
        found = model.predict(X[["x"]].head(3), interval=0.9)
    assert len(caught) == 1
    assert found.shape == (3, 3)
