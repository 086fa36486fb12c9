"""Whether coefficients are the same at every threshold."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from skmixed import MixedClassifier, OrdinalMixedClassifier, clmm
from skmixed.inference import proportional_odds
from tests.estimators.test_ordinal_classifier import X, Y


def drawn(n, n_levels, slope_above, seed=0, covered=0.8):
    """Draw three categories; the chance of the highest goes with its own slope of x."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"x": rng.normal(size=n), "z": rng.normal(size=n)})
    data["g"] = rng.integers(0, n_levels, n)
    rest = 0.4 * data["z"] + rng.normal(size=n_levels)[data["g"]]
    share = rng.random(n)
    above_low = 1.0 / (1.0 + np.exp(-(1.0 + covered * data["x"] + rest)))
    above_high = 1.0 / (1.0 + np.exp(-(-1.5 + slope_above * data["x"] + rest)))
    data["y"] = (share < above_low).astype(int) + (share < np.minimum(above_low, above_high))
    return data


def test_brant_test_without_random_effects():
    model = OrdinalMixedClassifier(fixed="x + dose").fit(X, Y)
    found = proportional_odds(model, X, Y, random_state=0)
    assert found.table.frame.columns.tolist()[:4] == ["proportional", "0|1", "1|2", "2|3"]
    # R: coef(glm(I(y > k) ~ x + dose, binomial))
    of_r = [
        [0.4279926980, 0.7903408867, -0.4616502291],
        [0.5909310474, 0.6214263157, -0.8058784905],
        [0.5792970087, 0.5454312518, -0.4642232341],
    ]
    np.testing.assert_allclose(found.table.frame[["0|1", "1|2", "2|3"]].T, of_r, rtol=1e-6)
    # Brant (1990), section 2.1, by its formulas: chi-squared of x, dose b and c, and of all
    squares = found.table.frame["statistic"] * 2 * 99 / 98
    np.testing.assert_allclose(squares, [2.818, 0.745, 3.915], rtol=0.3)
    assert (found.num_df, found.df) == (6, 94)
    assert found.statistic * 6 * 99 / 94 == pytest.approx(7.648, rel=0.4)
    assert found.p_value == stats.f.sf(found.statistic, 6, 94)


@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_coefficients_are_those_of_two_classes(link):
    model = OrdinalMixedClassifier("(1 | g)", fixed="x", link=link).fit(X, Y)
    found = proportional_odds(model, X, Y, n_samples=5, random_state=0).table.frame
    for threshold, name in enumerate(["0|1", "1|2", "2|3"]):
        upto = MixedClassifier("(1 | g)", fixed="x", link=link).fit(X, threshold >= Y)
        assert found.loc["x", name] == pytest.approx(-upto.coef_[0], rel=1e-6)


def test_what_differs_is_found_and_what_does_not_is_left():
    data = drawn(1200, 40, slope_above=0.1)
    formula = "y ~ x + z + offset(0.1 * z) + (1 | g)"
    found = proportional_odds(clmm(formula, data), data, data["y"], n_samples=25, random_state=0)
    p_value = found.table.frame["p_value"]
    assert p_value["x"] < 1e-3 < 0.05 < p_value["z"]
    assert found.p_value < 1e-3
    assert found.table.frame.loc["x", "0|1"] == pytest.approx(0.8, abs=0.3)
    assert found.table.frame.loc["x", "1|2"] == pytest.approx(0.1, abs=0.3)
    assert "All columns: F(2, 23)" in str(found)


def test_weights_are_rows():
    data = drawn(300, 10, slope_above=0.8)
    weights = np.arange(300) % 3
    again = data.loc[data.index.repeat(weights)]
    model = OrdinalMixedClassifier("(1 | g)", fixed="x")
    rows = model.fit(again, again["y"]), again, again["y"]
    repeated = proportional_odds(*rows, n_samples=4, random_state=0).table.frame
    weighted = proportional_odds(
        model.fit(data, data["y"], weights), data, data["y"], weights, n_samples=4, random_state=0
    ).table.frame
    np.testing.assert_allclose(weighted.iloc[:, :3], repeated.iloc[:, :3], rtol=1e-5)
    halves = model.fit(data, data["y"], weights + 0.5)
    with pytest.raises(ValueError, match="whole numbers of rows"):
        proportional_odds(halves, data, data["y"], weights + 0.5, n_samples=4)


def test_threads_draw_the_same(capfd):
    data = drawn(150, 10, slope_above=0.8)
    rows = clmm("y ~ x + (1 | g)", data), data, data["y"]
    alone = proportional_odds(*rows, n_samples=12, random_state=3, verbose=1)
    assert "data sets: 100%" in capfd.readouterr().err
    two = proportional_odds(*rows, n_samples=12, random_state=3, n_jobs=2)
    assert not capfd.readouterr().err
    pd.testing.assert_frame_equal(alone.table.frame, two.table.frame, check_exact=True)


def test_what_is_infinite_at_one_threshold_is_missing():
    data = drawn(300, 10, slope_above=0.8)
    data["never"] = (data["y"] < 2) & (data["x"] > 0)  # no row of the highest category
    model = OrdinalMixedClassifier("(1 | g)", fixed="x + never").fit(data, data["y"])
    found = proportional_odds(model, data, data["y"], n_samples=12, random_state=0)
    assert np.isnan(found.table.frame["1|2"]).all()
    assert np.isnan(found.p_value)
    assert np.isfinite(found.table.frame["0|1"]).all()


def test_what_is_wrong_is_said():
    data = drawn(300, 10, slope_above=0.8)
    model = clmm("y ~ x + (1 | g)", data)
    with pytest.raises(ValueError, match="n_samples=0 must be at least 1"):
        proportional_odds(model, data, data["y"], n_samples=0)
    with pytest.raises(ValueError, match="n_samples=1 is too small: 1 differences"):
        proportional_odds(model, data, data["y"], n_samples=1)
    with pytest.raises(ValueError, match="not the rows the model was fitted to"):
        proportional_odds(model, data[1:], data["y"][1:])
    with pytest.raises(ValueError, match="no fixed columns"):
        proportional_odds(clmm("y ~ 1 + (1 | g)", data), data, data["y"])
    two = data.assign(y=data["y"] > 0)
    with pytest.raises(ValueError, match="two categories have one threshold"):
        proportional_odds(clmm("y ~ x + (1 | g)", two), two, two["y"])
    binary = MixedClassifier("(1 | g)", fixed="x").fit(two, two["y"])
    with pytest.raises(TypeError, match="not a MixedClassifier"):
        proportional_odds(binary, two, two["y"])
