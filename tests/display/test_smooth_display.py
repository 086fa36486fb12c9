"""The picture of curves shows what the model predicts, less the mean over the range."""

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedClassifier, MixedLinearRegressor
from skmixed.display import SmoothDisplay
from tests.curves import curve_table

TABLE = curve_table()
ROWS = TABLE.drop(columns=["y", "z", "hit", "count", "eta"])


@pytest.fixture(scope="module")
def model():
    return MixedLinearRegressor("(1 | g)", fixed="h + s(x0, 5, by=h) + s(x2, 5)").fit(
        ROWS, TABLE["z"]
    )


def test_curves_are_differences_of_predictions(model):
    display = SmoothDisplay.from_estimator(model, ROWS)
    assert display.panels_ == [f"s(x0, 5, by=h)[{h}]" for h in ("hi", "lo", "mid")] + ["s(x2, 5)"]
    for level, line in zip(("hi", "lo", "mid"), display.lines_, strict=False):
        x, y = line.get_data()
        rows = pd.DataFrame({"x0": x, "h": level, "x2": 0.5})
        predicted = model.predict(rows, random="none")
        assert y - y[0] == pytest.approx(predicted - predicted[0], abs=1e-9)
        assert y.mean() == pytest.approx(0.0, abs=0.02 * np.ptp(y))
    assert display.axes_[3].get_xlabel() == "x2"
    assert display.axes_[3].get_ylabel() == "s(x2, 5) [y]"


def test_rows_of_a_level_are_marked_in_its_panel(model):
    display = SmoothDisplay.from_estimator(model, ROWS, curves=["s(x2, 5)", "s(x0, 5, by=h)[lo]"])
    marked = [np.unique(rug.get_xdata()[::3]) for rug in display.rugs_]
    assert np.array_equal(marked[0], np.unique(ROWS["x2"]))
    assert np.array_equal(marked[1], np.unique(ROWS["x0"][ROWS["h"] == "lo"]))
    assert not SmoothDisplay.from_estimator(model).rugs_


def test_bands_are_those_of_the_predictions():
    model = MixedLinearRegressor(fixed="0 + s(x0, by=x3)").fit(ROWS, TABLE["z"])
    display = SmoothDisplay.from_estimator(model, level=0.5)
    x, y = display.lines_[0].get_data()
    means, errors = model.predict(pd.DataFrame({"x0": x, "x3": 1.0}), return_std=True)
    assert y == pytest.approx(means, abs=1e-9)
    assert display.curves["upper"].to_numpy() - y == pytest.approx(
        0.6744897501960817 * errors, abs=1e-9
    )


def test_curves_of_classes_are_on_the_scale_of_the_link():
    model = MixedClassifier(fixed="s(x2)").fit(ROWS, TABLE["hit"])
    display = SmoothDisplay.from_estimator(model)
    assert display.axes_[0].get_ylabel() == "s(x2) [logit(y)]"
    x, y = display.lines_[0].get_data()
    eta = np.log(1 / (1 / model.predict_proba(pd.DataFrame({"x2": x}))[:, 1] - 1))
    assert y - y[0] == pytest.approx(eta - eta[0], abs=1e-6)


def test_models_without_curves_and_unknown_curves_are_refused(model):
    with pytest.raises(ValueError, match="no smooth terms"):
        SmoothDisplay.from_estimator(
            MixedLinearRegressor("(1 | g)", fixed="x0").fit(ROWS, TABLE["z"])
        )
    with pytest.raises(ValueError, match="curves='s' is not among"):
        SmoothDisplay.from_estimator(model, curves="s")
