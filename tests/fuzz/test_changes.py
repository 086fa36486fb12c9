"""A model goes through fits, updates, failures, copies and interrupts as if each came alone."""

import copy
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedLinearRegressor, distributed
from tests.contract.test_one_state import ACTIONS, ESTIMATORS, X, Y, answer, run
from tests.fuzz.cases import seeds

EVERY = 7  # lines: a prime, so that over all of them every part of a loop is met


def draw_rows(rng):
    """Draw rows of some of eight groups."""
    n = int(rng.integers(12, 60))
    levels = rng.choice(list("abcdefgh"), int(rng.integers(2, 9)), replace=False)
    rows = pd.DataFrame({"x": rng.normal(size=n), "g": rng.choice(levels, n)})
    return rows, rng.normal(size=n) + rows["x"] + rows["g"].map(ord) % 5


def broken(rng, rows, y):
    """Return rows and a response that no method takes."""
    kind = rng.integers(5)
    if kind == 0:
        return rows.assign(x=np.nan), y
    if kind == 1:
        return rows, np.where(np.arange(len(y)) == 3, np.inf, y)
    if kind == 2:
        return rows[["x"]], y
    return (rows, y[:-1]) if kind == 3 else (rows.assign(x="text"), y)


def state_of(model):
    """Return what the model says, in numbers."""
    return [answer(model), model.criterion_, *map(np.asarray, model.random_effects_.values())]


def assert_unchanged(model, before):
    for ours, theirs in zip(state_of(model), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def fresh(rows, y):
    return MixedLinearRegressor("(x | g)", tol=1e-12).fit(rows, y)


@seeds(12, 300)
def test_a_model_is_the_fit_of_its_rows_whatever_happened_to_it(seed):
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        rows, y = draw_rows(rng)
        model = fresh(rows, y)
        for _ in range(8):
            before = state_of(model)
            more, more_y = draw_rows(rng)
            step = rng.integers(6)
            if step == 0:
                model.fit(more, more_y)
                rows, y = more, more_y
            elif step == 1:
                model.partial_fit(more, more_y)
                rows, y = pd.concat([rows, more]), np.concatenate([y, more_y])
            elif step == 2:
                distributed.fit(model, [more.assign(y=more_y)], target="y")
                rows, y = more, more_y
            elif step == 3:
                method = rng.choice(["fit", "partial_fit", "update_groups", "loo_predict"])
                with pytest.raises((ValueError, TypeError)):
                    getattr(model, method)(*broken(rng, more, more_y))
                assert_unchanged(model, before)
            elif step == 4:
                model = [copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m))][
                    rng.integers(3)
                ](model)
                assert_unchanged(model, before)
            else:
                updated = copy.copy(model).update_groups(more, more_y)
                assert_unchanged(model, before)  # a copy has a state of its own
                assert set(updated.random_effects_["g"].index) >= set(more["g"])
        expected = fresh(rows, y)
        assert model.criterion_ == pytest.approx(expected.criterion_, rel=1e-9)
        np.testing.assert_allclose(answer(model), answer(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.study
@pytest.mark.filterwarnings("ignore")
@seeds(0, EVERY)
@pytest.mark.parametrize("name", ACTIONS)
def test_an_interrupt_at_any_line_leaves_the_old_model_or_the_new(name, seed):
    kind, action = ACTIONS[name]
    stored = pickle.dumps(ESTIMATORS[kind].fit(X, Y))
    model = pickle.loads(stored)
    old = answer(model)
    n_lines = run(action, model)
    new = answer(model)
    for at in range(1 + seed, n_lines + 1, EVERY * (1 + n_lines // 20_000)):
        model = pickle.loads(stored)
        run(action, model, KeyboardInterrupt if at % 2 else MemoryError, at)
        found = answer(model)
        assert np.array_equal(found, old) or np.array_equal(found, new), at


@seeds(2, 30)
def test_threads_are_answered_by_one_state_while_another_learns(seed):
    rng = np.random.default_rng(seed)
    batches = [draw_rows(rng) for _ in range(15)]
    method = ["update_groups", "partial_fit"][seed % 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = fresh(*draw_rows(rng))
        alone = copy.deepcopy(model)
        allowed = {answer(alone).tobytes()}
        for rows, y in batches:
            allowed.add(answer(getattr(alone, method)(rows, y)).tobytes())
        done, found = threading.Event(), []

        def serve():
            while not done.is_set():
                found.append(answer(model).tobytes())

        with ThreadPoolExecutor(3) as threads:
            served = [threads.submit(serve) for _ in range(3)]
            try:
                for rows, y in batches:
                    getattr(model, method)(rows, y)
            finally:
                done.set()
            for each in served:
                each.result()
    assert set(found) <= allowed
