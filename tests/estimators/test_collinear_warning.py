"""Columns that nearly determine each other cost digits, and users are told."""

import warnings

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedLinearRegressor
from skmixed.exceptions import LostPrecisionWarning


def table(apart, n=120):
    """Return columns x0 and x1 that differ by noise of a given size, groups and a response."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(n)
    groups = np.arange(n) % 12
    effects = rng.standard_normal((12, 2))[groups]
    X = pd.DataFrame({"x0": x, "x1": x + apart * rng.standard_normal(n), "g": groups})
    return X, x + effects[:, 0] + effects[:, 1] * x + rng.standard_normal(n)


def test_slopes_that_are_nearly_collinear_are_warned_of():
    X, y = table(2e-4)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")  # the search may say that it ran out of digits, too
        MixedLinearRegressor("(x0 + x1 | g)").fit(X, y)
    lost = [str(one.message) for one in said if one.category is LostPrecisionWarning]
    assert any("a random-effects term of 'g'" in message for message in lost)


def test_fixed_columns_that_are_nearly_collinear_are_warned_of():
    X, y = table(1e-5)
    steep = y + 1e6 * (X.x1 - X.x0)
    with pytest.warns(LostPrecisionWarning, match="the residual variance is what remains where"):
        MixedLinearRegressor("(1 | g)").fit(X, steep)


def test_columns_a_hundredth_apart_are_not():
    X, y = table(1e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MixedLinearRegressor("(x0 || g)").fit(X, y)
        MixedLinearRegressor("(x0 + x1 | g)").fit(X, y)
