"""The picture of the autocorrelation of residuals."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from skmixed import lmer
from skmixed.datasets import load_sleepstudy
from skmixed.display import AutocorrelationDisplay
from skmixed.inference import autocorrelation

TABLE = load_sleepstudy()
ROWS = TABLE, TABLE["Reaction"]


@pytest.fixture(scope="module")
def model():
    return lmer("Reaction ~ Days + (1 | Subject)", TABLE)


def test_it_draws_the_table(model):
    shown = AutocorrelationDisplay.from_estimator(model, *ROWS, time="Days", max_lag=4, level=0.9)
    table = autocorrelation(model, *ROWS, time="Days", max_lag=4, level=0.9).to_frame()
    x, y = shown.points_.get_data()
    np.testing.assert_array_equal(x, np.arange(5))
    np.testing.assert_allclose(y, table["autocorrelation"])
    np.testing.assert_allclose(shown.limits_[1].get_ydata(), table["upper"])
    ends = np.array([segment[1] for segment in shown.stems_.get_segments()])
    np.testing.assert_allclose(ends, np.column_stack([x, y]))
    assert shown.zero_.get_ydata()[0] == 0.0
    assert (shown.ax_.get_xlabel(), shown.ax_.get_ylabel()) == ("lag", "autocorrelation")


def test_settings_and_axes_are_those_given(model):
    _, axes = plt.subplots(1, 2)
    settings = {"stem_kwargs": {"color": "red"}, "point_kwargs": {"marker": "s"}}
    shown = AutocorrelationDisplay.from_estimator(
        model, *ROWS, ax=axes[1], line_kwargs={"ls": ":"}, **settings
    )
    assert shown.ax_ is axes[1]
    assert shown.points_.get_marker() == "s"
    assert shown.limits_[0].get_linestyle() == ":"
    assert shown.plot() is shown
    assert shown.ax_ is not axes[1]


def test_tables_without_limits_are_refused():
    with pytest.raises(ValueError, match="lacks the columns"):
        AutocorrelationDisplay(TABLE)
