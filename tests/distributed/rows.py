"""Rows for every engine, and what it means that two fits are equal."""

import numpy as np
import pandas as pd

from skmixed import MixedLinearRegressor, distributed

N = 2_000
FEATURES = ["x", "z", "g", "h", "c"]


def table(n=N, seed=0):
    """Two grouping columns, of numbers and of text, categories of which one is rare, weights."""
    rng = np.random.default_rng(seed)
    g, h = rng.integers(0, 60, n), rng.integers(0, 12, n)
    x, z = rng.standard_normal(n), rng.standard_normal(n) + 50
    c = rng.choice(["red", "blue", "green"], n, p=[0.6, 0.39, 0.01])
    y = x + 2 * (c == "red") + rng.standard_normal(60)[g] + rng.standard_normal(12)[h]
    y += rng.standard_normal(60)[g] * x + rng.standard_normal(n)
    names = np.array([f"shop {i}" for i in range(12)], dtype=object)[h]
    w = rng.integers(0, 4, n)
    return pd.DataFrame({"x": x, "z": z, "g": g, "h": names, "c": c, "y": y, "w": w})


def model(random="(x | g) + (1 | h)", fixed="x * c + log(z)", **parameters):
    """Return a model whose search goes on until nothing changes."""
    return MixedLinearRegressor(random, fixed=fixed, tol=1e-13, **parameters)


def assert_same_fit(ours, theirs, rtol=1e-10):
    """Compare all that a fit estimates: the criterion to 1e-12, and what it is flat in."""
    assert ours.formula_ == theirs.formula_
    assert ours.n_groups_ == theirs.n_groups_
    assert list(ours.coef_covariance_.columns) == list(theirs.coef_covariance_.columns)
    np.testing.assert_allclose(ours.criterion_, theirs.criterion_, rtol=1e-12)
    close = {"rtol": 0, "atol": rtol * max(1.0, np.abs(theirs.coef_).max())}
    np.testing.assert_allclose(ours.coef_, theirs.coef_, **close)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(ours.theta_, theirs.theta_, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(ours.residual_variance_, theirs.residual_variance_, rtol=rtol)
    np.testing.assert_allclose(ours.coef_covariance_, theirs.coef_covariance_, rtol=10 * rtol)
    for name, effects in theirs.random_effects_.items():
        assert ours.random_effects_[name].index.equals(effects.index)
        np.testing.assert_allclose(ours.random_effects_[name], effects, atol=10 * rtol)
    assert list(ours.feature_names_in_) == list(theirs.feature_names_in_)


def whole_fit(rows, features=FEATURES, **parameters):
    """Fit in memory."""
    return model(**parameters).fit(rows[features], rows["y"], rows["w"])


def engine_fit(frame, features=FEATURES, **parameters):
    """Fit through an engine."""
    return distributed.fit(model(**parameters), frame, target="y", features=features, weight="w")
