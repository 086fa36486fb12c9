"""Warnings point at the line of the user's that led to them, or name the method in a worker."""

import inspect
import os
import re
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.model_selection import cross_validate as cross_validate_by_sklearn
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeRegressor

from skmixed import (
    BLUPEncoder,
    GroupedModels,
    MixedEffectsRegressor,
    MixedLinearRegressor,
    MixedLinearRegressorCV,
    MixedNonlinearRegressor,
    distributed,
    lmer,
)
from skmixed.core.search.newton import Newton
from skmixed.core.search.report import Iteration, SolverReport
from skmixed.display import PredictionDisplay, ResidualsDisplay
from skmixed.estimators.mixed._diagnosis import warn_about
from skmixed.exceptions import UnidentifiedWarning, warn
from skmixed.inference import bootstrap
from skmixed.model_selection import cross_val_predict, cross_validate
from tests.estimators.example import pupils

TABLE = pupils(60)
Y = TABLE["y"]
NUMBERS, GROUPS = TABLE[["x", "z"]], TABLE[["school"]]
X = TABLE[["x", "z", "school"]]
HALVES = np.full(len(Y), 0.5)
ALIKE = X.assign(school="all")  # one level, of which the variance is not identified
OTHER = X.assign(school=1)  # numbers in the place of text
ROWS = pd.DataFrame({"row": np.arange(len(Y))})

KNOWING = MixedLinearRegressor("(1 | school)").fit(X, Y)
GIVEN = MixedLinearRegressor().fit(NUMBERS, Y, groups=GROUPS)
MEANS = MixedLinearRegressor().fit(NUMBERS[["x"]], Y, groups=GROUPS)
EFFECTS = MixedEffectsRegressor(Ridge(0.1), max_iter=50).fit(NUMBERS, Y, groups=GROUPS)
GROUPED = GroupedModels().fit(NUMBERS, Y, groups=GROUPS)
CHOSEN = MixedLinearRegressorCV(cv=3).fit(NUMBERS, Y, groups=GROUPS)
ENDLESS = MixedEffectsRegressor(DecisionTreeRegressor(max_depth=3), "(1 | school)", max_iter=1)


def doubtful():
    return MixedLinearRegressor("(1 | school)")


def in_a_search(**how):
    return GridSearchCV(MixedLinearRegressor("(1 | school)"), {"method": ["reml", "ml"]}, **how)


# Every one is a call in one line.
WEEKS = X.assign(week=np.array(["early", "late", "mid"])[ROWS["row"] % 3], pupil=ROWS["row"] // 3)
TOEPLITZ = MixedLinearRegressor(fixed="x", residual="toeplitz(week | pupil)")
CURVE = MixedNonlinearRegressor("asymptotic_origin", random="Asym | pupil", inputs="x")
CURVES = MixedNonlinearRegressor("asymptotic_origin", random="Asym | school", inputs="x")
CURVES.fit(X.assign(x=1.0 + X["x"] ** 2), 1.0 + np.abs(Y))
PAIRS = X.assign(x=1.0 + X["x"] ** 2, pupil=ROWS["row"])
CALLS = {
    "curves of few rows": lambda: CURVE.fit(PAIRS, 1.0 + np.abs(Y)),
    "curves without groups": lambda: CURVES.predict(PAIRS[["x"]]),
    "an order of visits": lambda: TOEPLITZ.fit(WEEKS, Y),
    "lmer": lambda: lmer("y ~ x + (1 | school)", ALIKE.assign(y=Y)),
    "a dot of groups": lambda: lmer("y ~ . + (1 | x)", ALIKE.assign(y=Y)[["y", "x"]]),
    "fit": lambda: doubtful().fit(ALIKE, Y),
    "fit with weights": lambda: doubtful().fit(X, Y, HALVES),
    "partial_fit": lambda: doubtful().partial_fit(ALIKE, Y),
    "predict": lambda: GIVEN.predict(NUMBERS),
    "score": lambda: GIVEN.score(NUMBERS, Y),
    "predict_interval": lambda: GIVEN.predict_interval(NUMBERS),
    "text for numbers": lambda: KNOWING.predict(OTHER),
    "CV fit": lambda: MixedLinearRegressorCV("(1 | school)", cv=3).fit(ALIKE, Y),
    "CV predict": lambda: CHOSEN.predict(NUMBERS),
    "effects fit": lambda: ENDLESS.fit(X, Y),
    "effects predict": lambda: EFFECTS.predict(NUMBERS),
    "grouped fit without groups": lambda: GroupedModels().fit(NUMBERS, Y),
    "grouped fit": lambda: GroupedModels().fit(NUMBERS, Y, HALVES, groups=GROUPS),
    "grouped predict": lambda: GROUPED.predict(NUMBERS),
    "grouped text for numbers": lambda: GROUPED.predict(NUMBERS, np.zeros(len(Y))),
    "encoder fit": lambda: BLUPEncoder().fit(ROWS, Y),
    "encoder fit_transform": lambda: BLUPEncoder().fit_transform(ROWS, Y),
    "pipeline": lambda: make_pipeline(FunctionTransformer(), doubtful()).fit(ALIKE, Y),
    "grid search": lambda: in_a_search(cv=3).fit(ALIKE, Y),
    "cross_validate": lambda: cross_validate(doubtful(), ALIKE, Y, cv=3),
    "cross_validate of scikit-learn": lambda: cross_validate_by_sklearn(doubtful(), ALIKE, Y, cv=3),
    "cross_val_predict": lambda: cross_val_predict(doubtful(), ALIKE, Y, cv=3),
    "distributed": lambda: distributed.fit(doubtful(), [ALIKE.assign(y=Y)], target="y"),
    "distributed predict": lambda: list(distributed.predict(MEANS, [NUMBERS])),
    "bootstrap": lambda: bootstrap(KNOWING, 2, statistic=lambda fit: GIVEN.predict(NUMBERS)[0]),
    "residuals display": lambda: ResidualsDisplay.from_estimator(KNOWING, OTHER, Y, kind="fitted"),
    "prediction display": lambda: PredictionDisplay.from_estimator(KNOWING, OTHER, feature="x"),
}


def caught_from(call):
    """Return file and line of every warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return {(warning.filename, warning.lineno) for warning in caught}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_line_is_the_users(call):
    assert caught_from(call) == {(__file__, inspect.getsourcelines(call)[1])}


def test_a_method_of_the_users_own_is_the_users_line():
    class Model(MixedLinearRegressor):
        def fit(self, X, y):
            return super().fit(X, y)

    assert caught_from(lambda: Model("(1 | school)").fit(ALIKE, Y)) == {
        (__file__, inspect.getsourcelines(Model.fit)[1] + 1)
    }


def test_a_warning_is_given_once_a_line():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            warn("on a line of the user's", UserWarning)
        for _ in range(3):
            warn("on a line of the user's", UserWarning)
    first, second = (warning.lineno for warning in caught)
    assert second == first + 2


def test_filters_see_the_module_of_the_user():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", module=__name__.replace(".", r"\."))
        doubtful().fit(ALIKE, Y)
    assert not caught


def test_threads_name_the_method():
    fit = "<MixedLinearRegressor.fit>", 1
    with ThreadPoolExecutor(1) as pool:
        assert caught_from(lambda: pool.submit(doubtful().fit, ALIKE, Y).result()) == {fit}
        predicted = caught_from(lambda: pool.submit(EFFECTS.predict, NUMBERS).result())
        assert predicted == {("<MixedEffectsRegressor.predict>", 1)}
    with joblib.parallel_config("threading"):
        search = lambda: in_a_search(cv=3, n_jobs=2).fit(ALIKE, Y)  # noqa: E731
        refit = __file__, inspect.getsourcelines(search)[1]
        assert caught_from(search) == {fit, refit}
        folds = lambda: cross_validate(doubtful(), ALIKE, Y, cv=3, n_jobs=2)  # noqa: E731
        assert caught_from(folds) == {fit}


def test_threads_of_dask_name_the_method():
    dask = pytest.importorskip("dask")
    frame = pytest.importorskip("dask.dataframe").from_pandas(NUMBERS, npartitions=3)
    with dask.config.set(scheduler="threads"):
        lines = caught_from(lambda: distributed.predict(GIVEN, frame).compute())
    assert lines == {("<MixedLinearRegressor.predict>", 1)}


IN_PROCESSES = """
import multiprocessing
from sklearn.model_selection import GridSearchCV
from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy

if __name__ == "__main__":
    X, y = load_sleepstudy(return_X_y=True)
    alike = X.assign(Subject="all")
    model = MixedLinearRegressor("(1 | Subject)")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(model.fit, (alike, y))
    GridSearchCV(model, {"verbose": [0]}, n_jobs=2, cv=2).fit(alike, y)
"""


def test_processes_name_the_method(tmp_path):
    path = tmp_path / "of_the_user.py"
    path.write_text(IN_PROCESSES)
    environment = {**os.environ, "PYTHONWARNINGS": "always"}
    command = [sys.executable, path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = [line for line in done.stderr.splitlines() if "UnidentifiedWarning" in line]
    refit = f"{path}:{len(IN_PROCESSES.splitlines())}"
    method = "<MixedLinearRegressor.fit>:1"
    assert [line.partition(": ")[0] for line in found] == [method, method, method, refit]


def said_by(call):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        call()
    return [(str(each.message), each.filename) for each in said]


@pytest.mark.parametrize("table", [ALIKE, X.assign(school=np.arange(len(Y)) // 2)])
def test_folds_and_candidates_say_once_what_all_of_them_say(table):
    model = MixedLinearRegressor("(x | school)")
    candidates = {"method": ["reml", "ml"], "tol": [1e-8, 1e-6]}
    search = GridSearchCV(model, candidates, cv=4, refit=False, error_score="raise")
    for call in (
        lambda: cross_validate_by_sklearn(model, table, Y, cv=4),
        lambda: search.fit(table, Y),
        lambda: search.fit(table, Y),  # which is another search
    ):
        said = said_by(call)
        assert len(said) == len({re.sub("[0-9]+", "", text) for text, _ in said}) >= 1
        assert {file for _, file in said} == {__file__}


def test_a_warning_that_is_an_error_fails_every_fold():
    search = GridSearchCV(doubtful(), {"tol": [1e-8, 1e-6]}, cv=3, refit=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnidentifiedWarning)
        with pytest.raises(ValueError, match="All the 6 fits failed"):
            search.fit(ALIKE, Y)


def test_as_many_effects_as_rows_are_warned_of_before_the_search(monkeypatch):
    def searched(*args):
        raise AssertionError("the search has begun")

    monkeypatch.setattr(Newton, "solve", searched)
    table = TABLE.assign(kind=np.arange(len(TABLE)) % 20)
    with pytest.raises(
        UnidentifiedWarning, match=r"'school' has \d+ .* for 60 rows.* use a common"
    ):
        lmer("y ~ x + (factor(kind) | school)", table)


def test_very_many_parameters_are_warned_of_before_the_search(monkeypatch):
    def searched(*args):
        raise AssertionError("the search has begun")

    monkeypatch.setattr(Newton, "solve", searched)
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.standard_normal((200, 25)), np.arange(200) % 5])
    columns = " + ".join(f"x{number}" for number in range(25))
    with pytest.raises(UnidentifiedWarning, match="26 random effects of 'x25' has 351 parameters"):
        MixedLinearRegressor(f"({columns} | x25)").fit(X, rng.standard_normal(200))


@pytest.mark.parametrize(
    ("falls", "hint"),
    [(1.0, r"Increase max_iter$"), (1e-13, r"\. The criterion hardly decreases any more")],
)
def test_more_iterations_are_advised_where_they_help(falls, hint):
    trace = tuple(Iteration(100.0 - falls * i, 1e-3, 1e-3, True, 0.0) for i in range(20))
    message = "the number of evaluations reached max_iter"
    report = SolverReport("newton", False, 20, message, trace)
    with pytest.warns(ConvergenceWarning, match=hint) as said:
        warn_about(replace(KNOWING.fit_, report=report))
    assert len(said) == 1
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warn_about(replace(KNOWING.fit_, report=replace(report, is_unbounded=True)))
    assert not any("Increase max_iter" in str(each.message) for each in said)
