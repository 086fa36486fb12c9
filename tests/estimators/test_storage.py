"""Fitted models as plain values: what comes back predicts to the bit, and damage is found."""

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold

from skmixed import (
    IterativeSolver,
    MixedClassifier,
    MixedGeneralizedRegressor,
    MixedLinearRegressor,
    MixedLinearRegressorCV,
    OrdinalMixedClassifier,
    lmer,
)
from skmixed.datasets import load_sleepstudy

STORED = Path(__file__).parent / "stored_models"


def through_json(model):
    return json.loads(json.dumps(model.to_dict(), default=lambda array: array.tolist()))


def pupils():
    rng = np.random.default_rng(5)
    n = 240
    table = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "kind": rng.choice(["new", "old", "rare"], n),
            "school": rng.integers(0, 12, n),
            "teacher": rng.choice([f"t{i}" for i in range(20)], n),
        }
    )
    effects = rng.normal(size=12)[table.school] + rng.normal(size=n)
    return table, table.x.to_numpy() + effects


def models():
    table, y = pupils()
    crossed = "(1 + x | school) + (1 | teacher)"
    updated = MixedLinearRegressor("(1 | school)").fit(table[["x", "school"]][:200], y[:200])
    updated.update_groups(table[["x", "school"]][200:].assign(school=99), y[200:])
    arrays = table[["x", "school"]].to_numpy()
    labels = table.school.map(lambda number: f"s{number}").to_numpy()
    columns = table[["x", "school", "teacher"]]
    moments = table[["x", "school"]].assign(school=pd.to_datetime("2020-01-01"))
    moments["school"] += pd.to_timedelta(table.school, unit="D")
    formula = "x + poly(x, 2) + bs(x, df=4) + C(kind, contr.sum)"
    return {
        "crossed": (MixedLinearRegressor(crossed), columns, y, {}),
        "array": (MixedLinearRegressor(group_features=[1]), arrays, y, {}),
        "argument": (MixedLinearRegressor(), arrays[:, :1], y, {"groups": labels}),
        "formula": (MixedLinearRegressor("(1 | school)", fixed=formula), table, y, {}),
        "slopes": (MixedLinearRegressor("(scale(x) || school)", fixed="x*kind"), table, y, {}),
        "polars": (MixedLinearRegressor(crossed), pl.from_pandas(columns), y, {}),
        "days": (MixedLinearRegressor("(1 | school)"), moments, y, {}),
        "iterative": (
            MixedLinearRegressor(crossed, solver=IterativeSolver(precision=0.1)), columns, y, {}
        ),
        "precision": (
            MixedLinearRegressor("(1 | school/teacher)", weighting="precision"),
            columns,
            y,
            {"sample_weight": np.linspace(0.5, 2.0, len(y))},
        ),
        "no groups": (MixedLinearRegressor(), table[["x"]], y, {}),
        "updated": (updated, table[["x", "school"]], None, {}),
    }  # fmt: skip


@pytest.mark.parametrize("name", models())
def test_stored_model_predicts_to_the_bit(name):
    model, X, y, given = models()[name]
    if y is not None:
        model.fit(X, y, **given)
    groups = {key: given[key] for key in given if key == "groups"}
    again = MixedLinearRegressor.from_dict(through_json(model))
    np.testing.assert_array_equal(again.predict(X, **groups), model.predict(X, **groups))
    assert str(again.summary()) == str(model.summary())
    assert again.get_params().keys() == model.get_params().keys()
    for factor, effects in model.random_effects_.items():
        pd.testing.assert_frame_equal(again.random_effects_[factor], effects, check_exact=True)
    if model.fit_.report.monte_carlo is None and name != "no groups":
        mean, std = model.predict(X, return_std=True, **groups)
        again_mean, again_std = again.predict(X, return_std=True, **groups)
        np.testing.assert_array_equal(again_mean, mean)
        np.testing.assert_allclose(again_std, std, rtol=1e-12)


@pytest.mark.parametrize(
    "estimator", [MixedClassifier, MixedGeneralizedRegressor, OrdinalMixedClassifier]
)
def test_stored_models_of_families_predict_to_the_bit(estimator):
    table, y = pupils()
    X, y = table[["x", "school"]], np.digitize(y, [-1.0, 1.0])
    model = estimator("(x | school)").fit(X, y > 0 if estimator is MixedClassifier else y)
    stored = through_json(model)
    again = estimator.from_dict(stored)
    asked = ["predict", *(["predict_proba"] if hasattr(model, "predict_proba") else [])]
    for name in asked:
        np.testing.assert_array_equal(getattr(again, name)(X), getattr(model, name)(X))
    assert str(again.summary()) == str(model.summary())
    stored["fitted"]["covariance"]["value"][0][0] += 1e-9
    with pytest.raises(ValueError, match="damaged: its checksum"):
        estimator.from_dict(stored)


def test_stored_model_learns_on():
    table, y = pupils()
    X = table[["x", "school"]]
    model = MixedLinearRegressor("(1 | school)").fit(X[:150], y[:150])
    again = MixedLinearRegressor.from_dict(through_json(model))
    again.partial_fit(X[150:], y[150:])
    np.testing.assert_allclose(again.coef_, model.partial_fit(X[150:], y[150:]).coef_, rtol=1e-12)


def test_lmer_and_search_over_candidates_are_stored():
    sleep = load_sleepstudy()
    model = lmer(
        "Reaction ~ Days + (Days | Subject)", sleep.assign(Days=sleep.Days.where(sleep.Days != 3))
    )
    again = MixedLinearRegressor.from_dict(through_json(model))
    assert again.n_dropped_ == model.n_dropped_ == 18
    assert str(again.summary()) == str(model.summary())
    X, y = load_sleepstudy(return_X_y=True)
    search = MixedLinearRegressorCV(["(1 | Subject)", "(1 + Days | Subject)"], cv=3).fit(X, y)
    found = MixedLinearRegressorCV.from_dict(through_json(search))
    assert found.random_ == search.random_
    np.testing.assert_array_equal(found.predict(X), search.predict(X))
    with pytest.raises(ValueError, match=r"use MixedLinearRegressorCV\.from_dict"):
        MixedLinearRegressor.from_dict(search.to_dict())
    search.set_params(cv=KFold(3))
    with pytest.raises(TypeError, match="parameter cv of this MixedLinearRegressorCV cannot be"):
        search.to_dict()


def sleepstudy():
    X, y = load_sleepstudy(return_X_y=True)
    return MixedLinearRegressor("(1 + Days | Subject)").fit(X, y), X


def test_damage_is_found():
    model = through_json(sleepstudy()[0])
    refused = pytest.raises(ValueError, match="damaged: its checksum")
    changed = copy.deepcopy(model)
    changed["fitted"]["estimates"]["beta"]["value"][0] += 1e-9
    with refused:
        MixedLinearRegressor.from_dict(changed)
    without = {key: value for key, value in model.items() if key != "checksum"}
    with refused:
        MixedLinearRegressor.from_dict(without)
    short = copy.deepcopy(model)
    short["fitted"]["estimates"]["effects"].pop()
    with refused:
        MixedLinearRegressor.from_dict(short)
    with pytest.raises(ValueError, match="this is not a stored model: its 'format'"):
        MixedLinearRegressor.from_dict([1, 2])


def signed(model):
    """Return a model with the checksum of what it holds now."""
    from skmixed.design.records import checksum

    bare = {key: value for key, value in model.items() if key != "checksum"}
    return {**bare, "checksum": checksum(bare)}


def test_other_schemas_and_unknown_types_are_refused_with_a_reason():
    model = sleepstudy()[0].to_dict()
    with pytest.raises(ValueError, match="schema 99; this version reads schema 1"):
        MixedLinearRegressor.from_dict(signed({**model, "schema": 99}))
    foreign = copy.deepcopy(model)
    foreign["parameters"]["random"] = {"type": "os.system", "value": "true"}
    with pytest.raises(ValueError, match=r"'os\.system' is no kind of value"):
        MixedLinearRegressor.from_dict(signed(foreign))
    other = copy.deepcopy(model)
    del other["fitted"]["fit"]["value"]["krylov"]
    with pytest.raises(ValueError, match="which are others now"):
        MixedLinearRegressor.from_dict(signed(other))
    unknown = {**model, "parameters": {**model["parameters"], "momentum": 0.9}}
    with pytest.raises(ValueError, match="momentum"):
        MixedLinearRegressor.from_dict(signed(unknown))


def test_what_cannot_be_stored_is_named():
    X, y = load_sleepstudy(return_X_y=True)
    with pytest.raises(NotFittedError):
        MixedLinearRegressor().to_dict()
    called = MixedLinearRegressor("(1 | Subject)", solver=IterativeSolver(callback=print))
    with pytest.raises(TypeError, match="parameter solver"):
        called.fit(X, y).to_dict()


def test_model_stored_by_this_schema_is_read():
    """The file was written by version 0.1.0; a later version reads it, or says why not."""
    stored = json.loads((STORED / "schema_1.json").read_text("utf-8"))
    model = MixedLinearRegressor.from_dict(stored["model"])
    new = pd.DataFrame(stored["new_rows"])
    np.testing.assert_allclose(model.predict(new), stored["predictions"], rtol=1e-12)
