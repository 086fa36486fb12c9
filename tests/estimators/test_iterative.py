"""MixedLinearRegressor(solver="iterative"), from a user's side, beside solver="newton"."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skmixed import IterativeSolver, MixedLinearRegressor, distributed
from skmixed.core.search import auto
from skmixed.inference import (
    bootstrap,
    coefficient_table,
    compare_models,
    confidence_intervals,
    icc,
    profile,
    ranova,
)
from skmixed.model_selection import MixedLinearRegressorCV
from tests import reference_set

RANDOM = "(1 + x | user) + (1 | item)"
N = 6000


def simulate():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "user": rng.integers(0, 250, N),
            "item": rng.integers(0, 180, N),
            "x": rng.standard_normal(N),
            "z": rng.standard_normal(N),
        }
    )
    effects = [sd * rng.standard_normal(n) for sd, n in ((0.7, 250), (0.4, 250), (0.5, 180))]
    y = 1.0 + 0.5 * table["x"] + effects[0][table["user"]] + effects[2][table["item"]]
    y += effects[1][table["user"]] * table["x"] + rng.standard_normal(N)
    return table, y


@pytest.fixture(scope="module")
def fitted():
    X, y = simulate()
    exact = MixedLinearRegressor(RANDOM, solver="newton").fit(X, y)
    return exact, MixedLinearRegressor(RANDOM, solver="iterative").fit(X, y), X, y


def test_estimates_and_effects(fitted):
    exact, ours, _, _ = fitted
    assert ours.solver_ == "iterative"
    assert ours.converged_
    np.testing.assert_allclose(ours.coef_, exact.coef_, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.coef_covariance_, exact.coef_covariance_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours.criterion_, exact.criterion_, rtol=0, atol=0.5)
    errors = ours.monte_carlo_errors_
    for name, covariance in exact.random_covariance_.items():
        difference = np.abs(ours.random_covariance_[name] - covariance)
        assert (difference <= 3.0 * errors[name] + 1e-6).all(axis=None)
        effects = exact.random_effects_[name]
        assert list(ours.random_effects_[name].index) == list(effects.index)
        np.testing.assert_allclose(ours.random_effects_[name], effects, rtol=0, atol=1e-3)
        np.testing.assert_allclose(
            ours.random_effects_covariance_[name],
            exact.random_effects_covariance_[name],
            rtol=0.01,
            atol=1e-4,
        )
    assert not hasattr(exact, "monte_carlo_errors_")


def test_predictions_and_their_errors(fitted):
    exact, ours, X, _ = fitted
    rows = X.head(40).copy()
    rows.loc[[3, 7], "user"] = 10_000
    rows.loc[[7, 9], "item"] = 10_000
    mean, errors = exact.predict(rows, return_std=True)
    found, found_errors = ours.predict(rows, return_std=True)
    np.testing.assert_allclose(found, mean, rtol=0, atol=1e-3)
    np.testing.assert_allclose(found_errors, errors, rtol=0.002)
    np.testing.assert_allclose(
        ours.predict_interval(rows), exact.predict_interval(rows), rtol=0, atol=0.01
    )


def test_everything_that_follows_a_fit(fitted):
    exact, ours, X, y = fitted
    for ask in (coefficient_table, confidence_intervals, icc):
        mine, theirs = ask(ours).to_frame(), ask(exact).to_frame()
        numbers = theirs.select_dtypes("number").columns
        np.testing.assert_allclose(mine[numbers], theirs[numbers], rtol=0.01, atol=1e-3)
    np.testing.assert_allclose(ours.loo_predict(X, y), exact.loo_predict(X, y), atol=2e-3)
    loaded = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(loaded.predict(X), ours.predict(X))
    np.testing.assert_allclose(
        loaded.predict(X[:5], return_std=True)[1], ours.predict(X[:5], return_std=True)[1]
    )
    more = pickle.loads(pickle.dumps(ours)).update_groups(X[:50], y[:50] + 1.0)
    other = pickle.loads(pickle.dumps(exact)).update_groups(X[:50], y[:50] + 1.0)
    np.testing.assert_allclose(more.predict(X), other.predict(X), atol=2e-3)


def test_summary_says_what_is_random_and_why(fitted):
    text = str(fitted[1].summary())
    assert "solver: iterative (solver='iterative' was asked for)" in text
    assert "random vectors: user 16, item 16" in text
    assert "Monte Carlo s.e. of Std.Dev.: user " in text
    assert "REML criterion = " in text
    assert "deviance" not in text
    assert "Monte Carlo" not in str(fitted[0].summary())


@pytest.mark.parametrize(
    "ask",
    [
        profile,
        ranova,
        lambda model: compare_models(model, model),
        lambda model: bootstrap(model, 2),
        lambda model: confidence_intervals(model, method="profile"),
        lambda model: confidence_intervals(model, method="bootstrap", n_samples=2),
        lambda model: coefficient_table(model, df="kenward-roger"),
    ],
)
def test_what_needs_the_exact_likelihood_is_refused(fitted, ask):
    with pytest.raises(ValueError, match="solver='iterative', which estimates it"):
        ask(fitted[1])


def test_intervals_of_predictions_by_bootstrap_are_refused(fitted):
    with pytest.raises(ValueError, match="solver='iterative', which estimates it"):
        fitted[1].predict_interval(fitted[2].head(2), method="bootstrap")


def test_settings_are_a_parameter(fitted):
    _, ours, X, y = fitted
    solver = IterativeSolver(precision=0.01, n_probes=32, random_state=5)
    model = clone(MixedLinearRegressor(RANDOM, solver=solver))
    assert model.solver == solver
    model.fit(X, y)
    assert model.fit_.report.monte_carlo.n_probes[1] in (0, 32)
    np.testing.assert_allclose(model.theta_, ours.theta_, rtol=0.01)
    with pytest.raises(ValueError, match="solver"):
        MixedLinearRegressor(solver="cholesky").fit(X[["x"]], y)


def test_auto_takes_it_where_memory_is_short(fitted, monkeypatch):
    exact, _, X, y = fitted
    monkeypatch.setattr(auto, "memory_installed", lambda: 2**21)
    model = MixedLinearRegressor(RANDOM).fit(X, y)
    assert model.solver_ == "iterative"
    assert "of this machine" in str(model.summary())
    np.testing.assert_allclose(model.theta_, exact.theta_, rtol=0.005)


def test_rows_in_chunks_and_rows_added(fitted):
    _, ours, X, y = fitted
    table = X.assign(y=y)
    chunks = (table[start : start + 1000] for start in range(0, N, 1000))
    model = MixedLinearRegressor(RANDOM, solver="iterative")
    streamed = distributed.fit(model, chunks, target="y")
    np.testing.assert_allclose(streamed.theta_, ours.theta_, rtol=1e-6)
    half = MixedLinearRegressor(RANDOM, solver="iterative").partial_fit(X[:3000], y[:3000])
    np.testing.assert_allclose(half.partial_fit(X[3000:], y[3000:]).theta_, ours.theta_, rtol=1e-6)


def test_cross_validation_of_random_parts(fitted):
    _, _, X, y = fitted
    model = MixedLinearRegressorCV(
        ["(1 | user)", "(1 | user) + (1 | item)"], solver="iterative", cv=2
    ).fit(X, y)
    assert model.random_ == "(1 | user) + (1 | item)"
    assert model.solver_ == "iterative"


def test_a_response_without_a_rest_is_an_error_that_says_so():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"g": rng.integers(0, 60, 900), "h": rng.integers(0, 50, 900)})
    y = rng.standard_normal(60)[X["g"]] + rng.standard_normal(50)[X["h"]]
    model = MixedLinearRegressor("(1 | g) + (1 | h)", solver="iterative")
    with pytest.raises(ArithmeticError, match="solver='iterative' has too few digits"):
        model.fit(X, y)


@reference_set.needs_whole_set
@pytest.mark.parametrize("name", ["insteval_2_reml", "insteval_2_ml", "insteval_3_reml"])
def test_university_ratings_as_lme4_fits_them(name):
    figures = reference_set.whole_set_figures(name)
    data = reference_set.model_data(figures, reference_set.whole_set_table("InstEval"))[0]
    random = "(1 | s) + (1 | d)" + (" + (1 | dept:service)" if "_3_" in name else "")
    fixed = "C(service)" if "_3_" in name else "1"
    method = "ml" if name.endswith("_ml") else "reml"
    model = MixedLinearRegressor(random, fixed=fixed, method=method, solver="iterative")
    model.fit(data.drop(columns="y"), data["y"])
    np.testing.assert_allclose(model.theta_**2, np.square(figures["theta"]), rtol=0.005)
    np.testing.assert_allclose(np.sqrt(model.residual_variance_), figures["sigma"], rtol=1e-4)
    np.testing.assert_allclose(model.criterion_, figures["criterion"], rtol=0, atol=2.0)


@pytest.mark.parametrize("solver", ["iterative", IterativeSolver()])
def test_lines_of_the_trace_leave_out_the_criterion(fitted, capsys, solver):
    MixedLinearRegressor(RANDOM, solver=solver, verbose=1).fit(*fitted[2:])
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.startswith("gradient ") for line in lines)
