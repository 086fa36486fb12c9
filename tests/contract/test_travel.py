"""Every estimator is the same after a journey: by pickle, by skops, as a dictionary."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import clone, is_classifier
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from skmixed import (
    BLUPEncoder,
    GroupedModels,
    IterativeSolver,
    MixedEffectsRegressor,
    MixedLinearRegressor,
    MixedLinearRegressorCV,
    lmer,
)
from skmixed.design import records
from skmixed.estimators import _storage
from skmixed.exceptions import StoredVersionWarning
from tests.contract.data import GROUPS, TABLE, X, Y, answer, assert_same_answer, fitted, response
from tests.contract.instances import ON_ARRAYS, ON_GROUPS

OWN = "skmixed."
SETTINGS = [
    *ON_GROUPS,
    MixedLinearRegressor(solver=IterativeSolver(n_probes=4)),
    MixedLinearRegressor("(bs(x, df=3) | school)", fixed="poly(x, 2) * C(z > 0)"),
    MixedLinearRegressorCV(["(1 | school)", "(x | school)"], cv=KFold(3), scoring="r2"),
    GroupedModels(make_pipeline(StandardScaler(), Ridge()), shrinkage=None),
    GroupedModels(DecisionTreeRegressor(max_depth=2, random_state=0)),
    MixedEffectsRegressor(RandomForestRegressor(2, max_depth=2, random_state=0)),
    BLUPEncoder(slopes=["x"], columns=GROUPS, extra=("sd", "count")),
    BLUPEncoder(columns=GROUPS, joint=True, cv=KFold(3)),
]


def through_skops(model):
    """Dump and load; return the model with the types of this package that had to be trusted."""
    data = skops.io.dumps(model)
    asked = skops.io.get_untrusted_types(data=data)
    own = [name for name in asked if name.startswith(OWN)]
    return skops.io.loads(data, trusted=asked), own


def of_own_classes(model):
    """Name the classes of the estimators of this package that are in a model."""
    models = {type(model), type(getattr(model, "mixed_model_", None) or model)}
    return sorted(f"{each.__module__}.{each.__name__}" for each in models)


def fit_to_groups(estimator):
    if isinstance(estimator, BLUPEncoder):
        return clone(estimator).fit(X, Y)
    return fitted(estimator)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", SETTINGS, ids=str)
def test_skops_needs_to_trust_estimators_alone(estimator):
    again, own = through_skops(estimator)
    assert repr(again) == repr(estimator)
    assert own == of_own_classes(estimator)
    model = fit_to_groups(estimator)
    again, own = through_skops(model)
    assert own == of_own_classes(model)
    np.testing.assert_array_equal(answer(again), answer(model))
    refitted = again.fit(X, response(estimator))
    assert_same_answer(answer(refitted), answer(fit_to_groups(estimator)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", ON_ARRAYS, ids=str)
def test_skops_keeps_models_of_arrays(estimator):
    rng = np.random.default_rng(0)
    table = np.column_stack([np.arange(60) % 6, rng.normal(size=60), rng.integers(0, 4, 60)])
    y = np.abs(table[:, 1] + rng.normal(size=60))
    model = clone(estimator).fit(table, y > 1 if is_classifier(estimator) else y)
    again, own = through_skops(model)
    assert own == of_own_classes(model)
    np.testing.assert_array_equal(answer(again, table), answer(model, table))


def test_curves_travel():
    table = TABLE.assign(x=np.linspace(0, 9, len(TABLE)))
    model = lmer("z ~ s(x) + s(y, by=class) + (s(x, 6) | school)", table)
    for again in (through_skops(model)[0], pickle.loads(pickle.dumps(model))):
        assert str(again.summary()) == str(model.summary())
        np.testing.assert_array_equal(again.predict(table), model.predict(table))


def test_what_was_computed_from_a_fit_can_be_asked_of_its_copies():
    model = lmer("y ~ x + offset(0.1 * z) + (x || school) + (1 | class)", TABLE)
    for again in (through_skops(model)[0], pickle.loads(pickle.dumps(model))):
        assert str(again.summary()) == str(model.summary())
        more = TABLE.assign(school="new")
        np.testing.assert_array_equal(
            again.update_groups(more, Y).predict(more),
            pickle.loads(pickle.dumps(model)).update_groups(more, Y).predict(more),
        )
    groups = fitted(GroupedModels())
    again = through_skops(groups)[0]
    pd.testing.assert_frame_equal(again.coef_table(shrunk=True), groups.coef_table(shrunk=True))
    pd.testing.assert_frame_equal(again.heterogeneity(), groups.heterogeneity())
    assert str(again.summary()) == str(groups.summary())


def test_labels_of_any_type_are_pickled_and_refused_in_words_as_plain_values():
    places = np.array([complex(0, 1), complex(1, 0), complex(2, 0)], dtype=object)
    table = pd.DataFrame({"x": np.arange(12.0) ** 2 % 7, "g": places[np.arange(12) % 3]})
    y = np.arange(12.0) % 5
    model = MixedLinearRegressor("(1 | g)").fit(table, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(table), model.predict(table))
    with pytest.raises(TypeError, match="a complex cannot be stored"):
        model.to_dict()


def test_another_version_warns_and_predicts_the_same(monkeypatch):
    model = fitted(MixedLinearRegressor())
    stored, dumped = pickle.dumps(model), skops.io.dumps(model)
    monkeypatch.setattr(_storage, "package_version", lambda: "99.1")
    with pytest.warns(
        StoredVersionWarning, match=r"99\.1, which may predict differently: compare"
    ) as said:
        again = pickle.loads(stored)
    assert said[0].filename == __file__
    with pytest.warns(StoredVersionWarning) as said:
        skops.io.loads(dumped, trusted=of_own_classes(model))
    assert said[0].filename == __file__
    np.testing.assert_array_equal(answer(again), answer(model))


def test_another_schema_is_refused_in_words(monkeypatch):
    model = fitted(GroupedModels())
    monkeypatch.setattr(_storage, "SCHEMA", 99)
    stored = pickle.dumps(model)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"GroupedModels was stored by version .* in schema 99;"):
        pickle.loads(stored)
    with pytest.raises(ValueError, match="version unknown in schema None"):
        MixedLinearRegressor().__setstate__({"random": "(1 | school)"})


def test_a_fit_made_of_other_parts_is_refused_in_words(monkeypatch):
    stored = pickle.dumps(encoder())
    monkeypatch.delitem(records._PARTS, "KnownLevels")
    with pytest.raises(ValueError, match=r"stored BLUPEncoder of version .*'KnownLevels' is no"):
        pickle.loads(stored)


def encoder():
    return BLUPEncoder(columns=GROUPS, slopes="x", extra=("sd",)).fit(X, Y)


def test_encoder_as_plain_values():
    model = encoder()
    text = json.dumps(model.to_dict(), default=lambda array: array.tolist())
    again = BLUPEncoder.from_dict(json.loads(text))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    assert again.get_params() == model.get_params()
    assert list(again.get_feature_names_out()) == list(model.get_feature_names_out())
    with pytest.raises(ValueError, match=r"use BLUPEncoder\.from_dict"):
        MixedLinearRegressor.from_dict(model.to_dict())
    classes = np.where(Y.median() > Y, "low", "high")
    several = BLUPEncoder(columns=GROUPS).fit(X, classes)
    again = BLUPEncoder.from_dict(several.to_dict())
    np.testing.assert_array_equal(again.transform(X), several.transform(X))
    assert list(again.classes_) == ["high", "low"]


@pytest.mark.parametrize("estimator", [GroupedModels(), MixedEffectsRegressor(LinearRegression())])
def test_what_holds_other_estimators_has_no_plain_form(estimator):
    for call in (fitted(estimator).to_dict, lambda: type(estimator).from_dict({})):
        with pytest.raises(TypeError, match="have no plain form"):
            call()
