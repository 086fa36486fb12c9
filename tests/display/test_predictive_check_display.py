"""Pictures of predictive checks show the figures of the check."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from skmixed import BayesianMixedRegressor, MixedLinearRegressor
from skmixed.bayes import posterior_predictive_check, sample
from skmixed.datasets import load_sleepstudy
from skmixed.display import PredictiveCheckDisplay


@pytest.fixture(scope="module")
def model():
    X, y = load_sleepstudy(return_X_y=True)
    return BayesianMixedRegressor("(Days | Subject)", random_state=0, n_draws=200).fit(X, y)


def test_densities_and_histograms_are_those_of_the_check(model):
    X, y = load_sleepstudy(return_X_y=True)
    display = PredictiveCheckDisplay.from_estimator(model, X, y, n_draws=100, random_state=0)
    assert display.panels_ == ["density", "mean", "sd", "min", "max"]
    check = posterior_predictive_check(model, model.posterior_, X, y, n_draws=100, random_state=0)
    np.testing.assert_array_equal(display.check.replicated, check.replicated)
    assert len(display.replicated_) == 50
    for line in [display.observed_[0], *display.replicated_[:3]]:
        x, density = line.get_data()
        assert (density * (x[1] - x[0])).sum() == pytest.approx(1.0, abs=0.02)
    x, density = display.observed_[0].get_data()
    step = x[1] - x[0]
    assert (x * density * step).sum() == pytest.approx(y.mean(), rel=0.01)
    assert [line.get_xdata()[0] for line in display.observed_[1:3]] == [
        pytest.approx(y.mean()),
        pytest.approx(y.std()),
    ]
    assert sum(bar.get_height() for bar in display.histograms_[0]) == 100
    assert display.axes_[2].get_title() == f"p = {check.p_values['sd'][0]:.2f}"
    assert display.axes_[1].get_xlabel() == "mean of y"


def test_intervals_by_group_are_quantiles_of_the_draws(model):
    X, y = load_sleepstudy(return_X_y=True)
    display = PredictiveCheckDisplay.from_estimator(
        model, X, y, by="Subject", statistics="sd", kind="sd", level=0.5, random_state=0
    )
    check = display.check
    order = np.argsort(check.observed_statistics["sd"])
    segments = np.array(display.intervals_[0].get_segments())
    low, high = np.quantile(check.replicated_statistics["sd"], [0.25, 0.75], axis=1)
    np.testing.assert_allclose(segments[:, 0, 0], low[order])
    np.testing.assert_allclose(segments[:, 1, 0], high[order])
    np.testing.assert_allclose(
        display.observed_[0].get_xdata(), check.observed_statistics["sd"][order]
    )
    assert display.axes_[0].get_ylabel() == "Subject"
    inside = (low <= check.observed_statistics["sd"]) & (check.observed_statistics["sd"] <= high)
    assert display.axes_[0].get_title() == f"{100 * inside.mean():.0f}% inside"


def test_settings_and_axes_are_taken_and_constants_have_a_density():
    X = pd.DataFrame({"g": np.repeat(np.arange(8), 4)})
    y = np.random.default_rng(0).standard_normal(32)
    model = MixedLinearRegressor("(1 | g)").fit(X, y)
    draws = sample(model, n_draws=30, random_state=0)
    figure, axes = plt.subplots(1, 2)
    display = PredictiveCheckDisplay.from_estimator(
        model,
        X,
        y,
        draws=draws,
        n_draws=20,
        kind=["density", "max"],
        ax=axes,
        replicated_kwargs={"color": "red"},
        observed_kwargs={"lw": 3},
    )
    assert display.figure_ is figure
    assert display.replicated_[0].get_color() == "red"
    assert display.observed_[0].get_linewidth() == 3
    assert display.histograms_[0][0].get_facecolor()[:3] == (1.0, 0.0, 0.0)
    same = np.zeros(32)
    check = display.check
    still = type(check)(
        same,
        np.zeros((32, 3)),
        check.labels,
        check.codes,
        {"mean": np.zeros(1)},
        {"mean": np.zeros((1, 3))},
        None,
    )
    assert PredictiveCheckDisplay(still).plot().panels_ == ["density", "mean"]


def test_what_cannot_be_drawn_is_refused(model):
    X, y = load_sleepstudy(return_X_y=True)
    plain = MixedLinearRegressor("(1 | Subject)").fit(X, y)
    with pytest.raises(TypeError, match="has no posterior draws: pass draws=sample"):
        PredictiveCheckDisplay.from_estimator(plain, X, y)
    with pytest.raises(ValueError, match="kind='median' is not among"):
        PredictiveCheckDisplay.from_estimator(model, X, y, kind="median")
    with pytest.raises(TypeError, match="pass the result of posterior_predictive_check"):
        PredictiveCheckDisplay(X)
    with pytest.raises(ValueError, match="level=2 is not a probability"):
        PredictiveCheckDisplay.from_estimator(model, X, y, level=2)
    with pytest.raises(TypeError, match="replicated_kwargs is a list"):
        PredictiveCheckDisplay.from_estimator(model, X, y, kind="mean", replicated_kwargs=[1])
