"""A model is the old or the new one, never parts of both: in threads, interrupted, or warned."""

import pickle
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from sklearn.base import is_classifier
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from skmixed import (
    BLUPEncoder,
    GroupedModels,
    MixedClassifier,
    MixedEffectsRegressor,
    MixedLinearRegressor,
    MixedLinearRegressorCV,
    distributed,
)
from skmixed.exceptions import UnidentifiedWarning

SAMPLED, LAST = 15, 20  # lines at which an action is interrupted: of all, and of the last


def table(seed, levels):
    rng = np.random.default_rng(seed)
    group = rng.choice(levels, 60)
    effect = dict(zip(levels, rng.normal(size=len(levels)), strict=True))
    X = pd.DataFrame({"x": rng.normal(size=60), "g": group})
    return X, 10.0 * seed + X["x"] + X["g"].map(effect).astype(float) + rng.normal(size=60)


X, Y = table(0, list("bdfh"))
NEW_X, NEW_Y = table(1, list("abcdefgh"))


def fit(model, X, y):
    """Fit to y, or for a classifier to whether it is large."""
    return model.fit(X, y > y.mean() if is_classifier(model) else y)


ESTIMATORS = {
    "linear": MixedLinearRegressor("(x | g)"),
    "classes": MixedClassifier("(1 | g)"),
    "search": MixedLinearRegressorCV("(1 | g)", cv=2),
    "groups": GroupedModels(group_features="g"),
    "groups of trees": GroupedModels(
        DecisionTreeRegressor(max_depth=1), group_features="g", shrinkage=None
    ),
    "encoder": BLUPEncoder(columns="g"),
    "effects": MixedEffectsRegressor(LinearRegression(), "(1 | g)"),
    "effects of trees": MixedEffectsRegressor(
        RandomForestRegressor(2, random_state=0), "(1 | g)", cross_fit="none", max_iter=2
    ),
}
ACTIONS = {name: (name, lambda model: fit(model, NEW_X, NEW_Y)) for name in ESTIMATORS} | {
    "partial_fit": ("linear", lambda model: model.partial_fit(NEW_X, NEW_Y)),
    "update_groups": ("linear", lambda model: model.update_groups(NEW_X, NEW_Y)),
    "update_groups of classes": (
        "classes",
        lambda model: model.update_groups(NEW_X, (NEW_Y - NEW_Y.mean()) > 0.0),
    ),
    "fit_transform": ("encoder", lambda model: model.fit_transform(NEW_X, NEW_Y)),
    "distributed": (
        "linear",
        lambda model: distributed.fit(model, [NEW_X.assign(y=NEW_Y)], target="y"),
    ),
    "predict": ("linear", lambda model: model.predict_interval(X)),
}


def answer(model):
    methods = ("decision_function", "predict", "transform")
    return next(getattr(model, name) for name in methods if hasattr(model, name))(X)


def run(action, model, error=None, at=0):
    """Do something, raising an error at one line of the package; return how many lines ran."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        if "/skmixed/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            count += 1
            if count == at:
                raise error
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action(model)
    except (KeyboardInterrupt, MemoryError):
        assert error is not None
    finally:
        sys.settrace(before)
    return count


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ACTIONS)
def test_an_interrupt_leaves_the_old_model_or_the_new(name):
    kind, action = ACTIONS[name]
    stored = pickle.dumps(fit(ESTIMATORS[kind], X, Y))
    model = pickle.loads(stored)
    old = answer(model)
    n_lines = run(action, model)
    new = answer(model)
    assert name == "predict" or not np.array_equal(old, new)
    sampled = np.random.default_rng(0).choice(np.arange(1, n_lines), SAMPLED, replace=False)
    for at in {*sampled.tolist(), *range(n_lines - LAST, n_lines + 1)}:
        model = pickle.loads(stored)
        run(action, model, KeyboardInterrupt if at % 2 else MemoryError, at)
        found = answer(model)
        assert np.array_equal(found, old) or np.array_equal(found, new), at


def answers_while(model, change):
    """Ask a model again and again while another thread changes it; return all different answers."""
    found, done = {}, threading.Event()

    def serve():
        while not done.is_set():
            values = answer(model)
            found[values.tobytes()] = values

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        change()
    finally:
        done.set()
        thread.join()
    return found.values()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["linear", "classes", "groups", "encoder", "effects"])
def test_threads_see_one_fit_or_the_other(name):
    model = ESTIMATORS[name]
    new = answer(fit(model, NEW_X, NEW_Y))
    old = answer(fit(model, X, Y))

    def change():
        for number in range(40):
            fit(model, *((X, Y) if number % 2 else (NEW_X, NEW_Y)))

    for found in answers_while(model, change):
        assert np.array_equal(found, old) or np.array_equal(found, new)


def test_threads_see_no_effect_of_another_group():
    rng = np.random.default_rng(0)
    model = MixedLinearRegressor("(1 | g)").fit(X, Y)
    before = answer(model)

    def change():
        for _ in range(200):
            rows = pd.DataFrame({"x": rng.normal(size=3), "g": rng.choice(list("aceg"), 3)})
            model.update_groups(rows, rng.normal(size=3))

    for found in answers_while(model, change):
        np.testing.assert_allclose(found, before, rtol=1e-9)


@pytest.mark.parametrize("name", ["linear", "search", "encoder", "effects"])
def test_a_warning_turned_into_an_error_keeps_the_old_model(name):
    model = fit(ESTIMATORS[name], X, Y)
    before, one_level = answer(model), X.assign(g="only")
    with pytest.raises(UnidentifiedWarning):
        model.fit(one_level, Y)
    np.testing.assert_array_equal(answer(model), before)
    if name == "linear":
        with pytest.raises(UnidentifiedWarning):
            distributed.fit(model, [one_level.assign(y=Y)], target="y")
        np.testing.assert_array_equal(answer(model), before)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_way_to_pickle_keeps_the_model(name):
    model = fit(ESTIMATORS[name], X, Y)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):  # skops takes the first
        again = pickle.loads(pickle.dumps(model, protocol))
        np.testing.assert_array_equal(answer(again), answer(model))
