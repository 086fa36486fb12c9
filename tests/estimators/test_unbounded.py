"""Levels that explain the response without a rest: the likelihood has no maximum, the fit says so.

The estimates are those of a response with next to no noise: effects of the groups as if their means
were the data, and predictions equal to the response.
"""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skmixed import MixedLinearRegressor
from skmixed.core.fit import Fit
from skmixed.exceptions import UnidentifiedWarning

RNG = np.random.default_rng(0)
MEANS, SLOPES = RNG.standard_normal(24), RNG.standard_normal(24)
GROUP = np.repeat(np.arange(24), 4)
OTHER = RNG.permutation(np.arange(96) % 7)
TABLE = pd.DataFrame({
    "x": RNG.standard_normal(24)[GROUP] + np.tile([0.0, 0.0, 1.0, 1.0], 24),
    "g": GROUP,
    "s": GROUP // 4,
    "h": OTHER,
})  # fmt: skip
BETWEEN = RNG.standard_normal(7)

CASES = {
    "intercept": ("(1 | g)", MEANS[GROUP]),
    "whole numbers": ("(1 | g)", np.round(3 * MEANS)[GROUP]),
    "far from zero": ("(1 | g)", 2.0**30 + np.round(64 * MEANS)[GROUP]),
    "beside a covariate": ("(1 | g)", MEANS[GROUP] + 2 * TABLE["x"].to_numpy()),
    "slope": ("(x | g)", MEANS[GROUP] + SLOPES[GROUP] * TABLE["x"].to_numpy()),
    "nested": ("(1 | s/g)", (MEANS + BETWEEN[np.arange(24) // 4])[GROUP]),
    "nested, coarse alone": ("(1 | s/g)", BETWEEN[GROUP // 4]),
    "crossed": ("(1 | g) + (1 | h)", MEANS[GROUP] + BETWEEN[OTHER]),
    "crossed, one alone": ("(1 | g) + (1 | h)", MEANS[GROUP]),
}
SETTINGS = [{}, {"method": "ml"}, {"solver": "em"}, {"covariance": "diagonal"}]
WITHOUT_REST = r"the random effects of '.* explains? the response"


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("case", CASES)
def test_predictions_follow_the_response_and_a_warning_says_why(case, unit, settings):
    random, y = CASES[case]
    model = MixedLinearRegressor(random, **settings)
    with pytest.warns(UnidentifiedWarning, match=WITHOUT_REST) as caught:
        model.fit(TABLE, unit * y)
    assert len(caught) == 1
    assert model.converged_
    spread = unit * y.std()
    np.testing.assert_allclose(model.predict(TABLE), unit * y, rtol=0, atol=1e-5 * spread)
    assert 0.0 < model.residual_variance_ < 1e-7 * spread**2
    assert np.isfinite(model.criterion_)
    assert np.isfinite(model.loo_predict(TABLE, unit * y)).all()


def test_only_the_factors_that_explain_it_are_named():
    random, y = CASES["crossed, one alone"]
    with pytest.warns(UnidentifiedWarning, match="effects of 'g' explain"):
        MixedLinearRegressor(random).fit(TABLE, y)


def test_variances_are_those_of_the_means_of_the_levels():
    with pytest.warns(UnidentifiedWarning):
        model = MixedLinearRegressor("(1 | g)").fit(TABLE[["g"]], MEANS[GROUP])
    between = model.random_covariance_["g"].iloc[0, 0]
    assert between == pytest.approx(MEANS.var(ddof=1), rel=1e-6)
    assert model.intercept_ == pytest.approx(MEANS.mean(), abs=1e-8)


def test_variances_of_nested_factors_are_those_of_a_model_of_the_means():
    """With a row for every level of the finer factor, that factor is the residual."""
    random, y = CASES["nested"]
    with pytest.warns(UnidentifiedWarning):
        model = MixedLinearRegressor(random).fit(TABLE[["g", "s"]], y)
    means = MixedLinearRegressor("(1 | s)").fit(TABLE[["s"]].iloc[::4], y[::4])
    found, wanted = model.random_covariance_, means.random_covariance_
    assert found["s"].iloc[0, 0] == pytest.approx(wanted["s"].iloc[0, 0], rel=1e-4)
    assert found["g:s"].iloc[0, 0] == pytest.approx(means.residual_variance_, rel=1e-4)


@pytest.mark.filterwarnings("ignore:grouping factor 'g' has 24 random effects for 24 rows")
def test_frequency_weights_on_a_row_for_every_level():
    X, y = TABLE[["x", "g"]].iloc[::4], MEANS
    with pytest.warns(UnidentifiedWarning, match=WITHOUT_REST):
        model = MixedLinearRegressor("(1 | g)").fit(X, y, np.tile([1.0, 2.0, 3.0], 8))
    np.testing.assert_allclose(model.predict(X), y, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("random", "ratio"),
    [("(1 | g)", 1e3), ("(1 | g)", 1e6), ("(1 | g)", 1e9), ("(1 | s/g)", 1e3), ("(1 | s/g)", 1e5)],
)
def test_a_small_rest_is_a_rest(random, ratio):
    noise = np.round(8 * np.random.default_rng(1).standard_normal(96))
    y = ratio * np.round(8 * MEANS)[GROUP] + noise
    model = MixedLinearRegressor(random).fit(TABLE[["g", "s"]], y)
    within = np.sum((y - (np.bincount(GROUP, y) / 4)[GROUP]) ** 2)
    assert model.residual_variance_ == pytest.approx(within / 72, rel=1e-3)


def test_a_pickle_and_later_rows_keep_the_convention():
    y = pd.Series(MEANS[GROUP])
    with pytest.warns(UnidentifiedWarning, match=WITHOUT_REST):
        model = MixedLinearRegressor("(1 | g)").fit(TABLE, y)
    with pytest.warns(UnidentifiedWarning, match=WITHOUT_REST):
        again = clone(model).fit(TABLE[:48], y[:48])
    with pytest.warns(UnidentifiedWarning, match=WITHOUT_REST):
        again.partial_fit(TABLE[48:], y[48:])
    copy = pickle.loads(pickle.dumps(model))
    assert copy.fit_.sigma2 == model.residual_variance_
    assert copy.fit_.criterion == model.criterion_
    assert again.residual_variance_ == pytest.approx(model.residual_variance_, rel=1e-6)
    noisy = y + 0.1 * np.random.default_rng(2).standard_normal(96)
    again.partial_fit(TABLE, noisy)
    assert not again.fit_.report.is_unbounded
    assert again.residual_variance_ > 1e-4


@pytest.mark.parametrize("seed", [6, 9, 12, 15])
def test_a_likelihood_without_maximum_and_lost_digits_is_fitted_with_a_warning(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 9))
    x = rng.normal(size=n)
    X = pd.DataFrame({"x": x, "z": x + 1e-4 * rng.normal(size=n)})
    X["g"], X["h"] = rng.integers(0, 3, n), rng.integers(0, 3, n)
    y = 1e5 * x + 1e3 * rng.normal(size=n)
    model = MixedLinearRegressor("(1 + z | g) + (1 + x + z | h)", fit_intercept=False, method="ml")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    assert any(issubclass(each.category, UnidentifiedWarning) for each in caught)


def test_more_slopes_than_rows_are_warned_of_before_the_search(monkeypatch):
    def searched(*given, **more):
        raise RuntimeError("the search began")

    monkeypatch.setattr(Fit, "of", searched)
    X = TABLE.assign(kind=pd.Categorical(GROUP % 5))
    model = MixedLinearRegressor("(kind | g)", fixed="x")
    with (
        pytest.warns(UnidentifiedWarning, match="factor 'g' has 120 random effects for 96 rows"),
        pytest.raises(RuntimeError, match="began"),
    ):
        model.fit(X, RNG.standard_normal(96))


@pytest.mark.parametrize(
    ("random", "n_rows", "says"),
    [
        ("(x | s) + (x | h)", 26, True),  # 2 x 7 and 2 x 7
        ("(x | s) + (x | h)", 28, True),
        ("(x | s) + (x | h)", 29, False),
        ("(1 | s) + (x | h)", 21, True),
        ("(1 | s) + (x || h)", 22, False),
        ("(1 | s) + (1 | h)", 14, False),  # intercepts alone are another matter
    ],
)
def test_slopes_of_all_factors_together_may_be_as_many_as_the_rows(random, n_rows, says):
    rows = np.arange(n_rows)
    table = pd.DataFrame({"x": RNG.standard_normal(n_rows), "s": rows % 7, "h": rows // 2 % 7})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MixedLinearRegressor(random).fit(table, RNG.standard_normal(n_rows))
    found = [each for each in caught if "random effects in total for" in str(each.message)]
    assert len(found) == says
    assert all(f"for {n_rows} rows" in str(each.message) for each in found)
