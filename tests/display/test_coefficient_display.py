"""The picture of coefficients draws the figures of confidence_intervals."""

import numpy as np
import pytest

from skmixed import GroupedModels, MixedEffectsRegressor, MixedLinearRegressor, lmer
from skmixed.datasets import load_sleepstudy, make_mixed_regression
from skmixed.display import CoefficientDisplay
from skmixed.inference import confidence_intervals


def ends(lines):
    return np.array([segment[:, 0] for segment in lines.get_segments()])


@pytest.fixture(scope="module")
def models():
    data = make_mixed_regression(400, 3, n_levels=10, random_state=0)
    X, y = data.data, data.target
    return {
        "both": MixedLinearRegressor("(1 | group)").fit(X, y),
        "fewer": MixedLinearRegressor("(1 | group)").fit(X.drop(columns="x1"), y),
    }


@pytest.mark.parametrize("method", ["wald", "profile"])
def test_estimates_and_intervals(models, method):
    display = CoefficientDisplay.from_estimator(models["both"], method=method, level=0.8)
    wanted = confidence_intervals(models["both"], method=method, level=0.8).to_frame()
    wanted = wanted.loc[["x0", "x1", "x2"]]
    assert np.array_equal(display.points_[0].get_xdata(), wanted["estimate"])
    assert np.array_equal(ends(display.intervals_[0]), wanted[["lower", "upper"]])
    labels = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert labels == ["x2", "x1", "x0"]
    assert np.all(np.diff(display.points_[0].get_ydata()) < 0)
    assert display.ax_.get_xlabel() == "estimate [y per unit of the column]"
    assert not display.figure_.legends


def test_bootstrap_intervals(models):
    settings = {"method": "bootstrap", "n_samples": 20, "random_state": 0}
    display = CoefficientDisplay.from_estimator(models["both"], **settings)
    wanted = confidence_intervals(models["both"], **settings).to_frame().loc[["x0", "x1", "x2"]]
    assert np.array_equal(ends(display.intervals_[0]), wanted[["lower", "upper"]])


def test_several_models_side_by_side(models):
    display = CoefficientDisplay.from_estimators(models)
    assert [line.get_label() for line in display.points_] == ["both", "fewer"]
    first, second = (line.get_ydata() for line in display.points_)
    assert len(first) == 3
    assert np.allclose(first[[0, 2]] - second, 0.6)
    assert len({line.get_color() for line in display.points_}) == 2
    assert len({line.get_marker() for line in display.points_}) == 2
    names = [text.get_text() for text in display.figure_.legends[0].get_texts()]
    assert names == ["both", "fewer"]


def test_the_intercept_is_left_out_unless_it_is_all_or_asked_for(models):
    display = CoefficientDisplay.from_estimator(models["both"], columns=["(Intercept)", "x1"])
    assert list(display.coefficients["coefficient"]) == ["(Intercept)", "x1"]
    alone = lmer("Reaction ~ 1 + (1 | Subject)", load_sleepstudy())
    display = CoefficientDisplay.from_estimator(alone)
    assert list(display.coefficients["coefficient"]) == ["(Intercept)"]
    assert display.response == "Reaction"


def test_dropped_columns_are_not_there():
    data = make_mixed_regression(100, 2, n_levels=5, random_state=0)
    X = data.data.assign(twice=2.0 * data.data["x0"])
    model = MixedLinearRegressor("(1 | group)").fit(X, data.target)
    display = CoefficientDisplay.from_estimator(model)
    assert list(display.coefficients["coefficient"]) == ["x0", "x1"]


def test_hundreds_of_coefficients():
    data = make_mixed_regression(1_000, 300, n_levels=5, random_state=0)
    model = MixedLinearRegressor("(1 | group)").fit(data.data, data.target)
    display = CoefficientDisplay.from_estimator(model, df="normal")
    assert len(display.points_[0].get_xdata()) == 300
    assert display.ax_.get_ylabel() == "coefficient, 300 in order"
    assert max(display.figure_.get_size_inches()) < 10


def test_wrong_arguments(models):
    draw = CoefficientDisplay.from_estimator
    with pytest.raises(ValueError, match="columns='x7' is not among"):
        draw(models["both"], columns="x7")
    with pytest.raises(ValueError, match="method='guess' is not one of"):
        draw(models["both"], method="guess")
    with pytest.raises(TypeError, match="not a GroupedModels"):
        draw(GroupedModels())
    with pytest.raises(TypeError, match="needs fixed coefficients"):
        draw(MixedEffectsRegressor())
    with pytest.raises(TypeError, match="not a dict of fitted models"):
        CoefficientDisplay.from_estimators(list(models.values()))
