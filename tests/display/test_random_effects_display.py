"""The caterpillar plot draws the figures of random_effects_table, in order."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from skmixed import GroupedModels, MixedEffectsRegressor, MixedLinearRegressor, lmer
from skmixed.datasets import load_sleepstudy, make_mixed_regression, make_schools
from skmixed.display import RandomEffectsDisplay
from skmixed.inference import random_effects_table


@pytest.fixture(scope="module")
def model():
    X, y = load_sleepstudy(return_X_y=True)
    return MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)


def drawn(display, panel):
    """Estimates and interval ends of a panel, from below."""
    ends = np.array([segment[:, 0] for segment in display.intervals_[panel].get_segments()])
    return display.points_[panel].get_xdata(), ends


def test_panels_hold_sorted_estimates_and_their_intervals(model):
    display = RandomEffectsDisplay.from_estimator(model, level=0.9)
    table = random_effects_table(model, level=0.9, ranks=False).to_frame().reset_index()
    assert display.panels_ == [("Subject", "(Intercept)"), ("Subject", "Days")]
    for panel, (_, column) in enumerate(display.panels_):
        wanted = table[table["column"] == column].sort_values("estimate")
        estimates, ends = drawn(display, panel)
        assert np.array_equal(estimates, wanted["estimate"])
        assert np.array_equal(ends, wanted[["lower", "upper"]])
        labels = [text.get_text() for text in display.axes_[panel].get_yticklabels()]
        assert labels == list(wanted["level"])
    assert display.axes_[0].get_xlabel() == "(Intercept) [y]"
    assert display.axes_[1].get_xlabel() == "Days [y per unit of Days]"
    assert display.ax_ is display.axes_[0]
    assert display.figure_ is display.ax_.figure


def test_intervals_that_leave_out_zero_have_another_colour(model):
    display = RandomEffectsDisplay.from_estimator(model, columns="Days")
    _, ends = drawn(display, 0)
    apart = (ends[:, 0] > 0) | (ends[:, 1] < 0)
    colours = display.intervals_[0].get_colors()
    assert len(np.unique(colours, axis=0)) == 2
    assert len(np.unique(colours[apart], axis=0)) == 1
    assert 0 < apart.sum() < len(apart)


def test_sort_by_gives_all_panels_one_order(model):
    display = RandomEffectsDisplay.from_estimator(model, sort_by="Days")
    labels = [[text.get_text() for text in ax.get_yticklabels()] for ax in display.axes_]
    assert labels[0] == labels[1]
    assert np.all(np.diff(display.points_[1].get_xdata()) >= 0)


@pytest.mark.parametrize(("most", "lowest"), [(4, 2), (9, 4)])
def test_max_levels_draws_the_extremes(model, most, lowest):
    display = RandomEffectsDisplay.from_estimator(model, columns="Days", max_levels=most)
    effects = model.random_effects_["Subject"]["Days"].sort_values()
    wanted = pd.concat([effects.iloc[:lowest], effects.iloc[lowest - most :]])
    assert np.array_equal(display.points_[0].get_xdata(), wanted)
    gaps = np.diff(display.points_[0].get_ydata())
    assert list(gaps) == [2 if place == lowest - 1 else 1 for place in range(most - 1)]
    assert f"{most} of 18" in display.ax_.get_ylabel()


def test_thousands_of_levels_are_counted_not_named():
    data = make_mixed_regression(10_000, 1, n_levels=5_000, random_state=0)
    model = MixedLinearRegressor("(1 | group)").fit(data.data, data.target)
    display = RandomEffectsDisplay.from_estimator(model)
    assert len(display.points_[0].get_xdata()) == 5_000
    assert display.ax_.get_ylabel() == "group, 5,000 in order"
    assert len(display.ax_.get_yticks()) < 20
    assert max(display.figure_.get_size_inches()) < 10


def test_factors_have_panels_of_their_own():
    pupils = make_schools()
    model = lmer("extro ~ open + (1 + open | school) + (1 | class:school)", pupils)
    display = RandomEffectsDisplay.from_estimator(model)
    assert sorted(display.panels_) == [
        ("class:school", "(Intercept)"),
        ("school", "(Intercept)"),
        ("school", "open"),
    ]
    assert display.axes_[0].get_xlabel() == "(Intercept) [extro]"
    one = RandomEffectsDisplay.from_estimator(model, factor="school", columns=["open"])
    assert one.panels_ == [("school", "open")]


def test_coefficients_of_grouped_models_about_those_of_all_rows():
    pupils = make_schools()
    X = pupils[["open", "school", "class"]]
    model = GroupedModels(group_features=["school", "class"]).fit(X, pupils["extro"])
    display = RandomEffectsDisplay.from_estimator(model)
    table = model.coef_table(shrunk=True)
    for panel, column in enumerate(["(Intercept)", "open"]):
        estimates, ends = drawn(display, panel)
        order = np.argsort(table[column].to_numpy(), kind="stable")
        assert np.array_equal(estimates, table[column].to_numpy()[order])
        half = 1.959963984540054 * table[f"se {column}"].to_numpy()[order]
        assert np.allclose(ends[:, 1] - estimates, half)
    root = model.parent_estimators_[()]
    assert display.references_[1].get_xdata()[0] == pytest.approx(root.coef_[0])
    assert display.axes_[0].get_yticklabels()[0].get_text() == "VI:b"


def test_effects_beside_any_regressor():
    pupils = make_schools()
    X = pupils[["open", "school"]]
    model = MixedEffectsRegressor(LinearRegression(), "(1 | school)").fit(X, pupils["extro"])
    display = RandomEffectsDisplay.from_estimator(model)
    effects = model.random_effects_["school"]["(Intercept)"]
    assert np.array_equal(display.points_[0].get_xdata(), np.sort(effects))


def test_a_table_alone_is_enough(model):
    table = random_effects_table(model)
    for given in (table, table.to_frame(), table.to_frame().reset_index()):
        display = RandomEffectsDisplay(given, response="Reaction").plot()
        assert display.ax_.get_xlabel() == "(Intercept) [Reaction]"
        assert len(display.points_[0].get_xdata()) == 18
    with pytest.raises(ValueError, match=r"effects lacks the columns \['upper'\]"):
        RandomEffectsDisplay(table.to_frame().drop(columns="upper"))
    with pytest.raises(TypeError, match="effects is a dict, not a pandas DataFrame"):
        RandomEffectsDisplay({})


def test_axes_may_be_given(model):
    figure, axes = plt.subplots(1, 2)
    display = RandomEffectsDisplay.from_estimator(model, ax=axes)
    assert list(display.axes_) == list(axes)
    assert display.figure_ is figure
    _, ax = plt.subplots()
    display = RandomEffectsDisplay.from_estimator(model, ax=ax)
    assert len(display.axes_) == 2
    assert display.figure_ is ax.figure
    assert not ax.axison
    with pytest.raises(ValueError, match="there are 2 panels, but 3 axes"):
        display.plot(plt.subplots(1, 3)[1])
    with pytest.raises(TypeError, match="ax is a str, not matplotlib Axes"):
        display.plot("left")


def test_settings_reach_the_artists(model):
    display = RandomEffectsDisplay.from_estimator(
        model,
        columns="Days",
        point_kwargs={"c": "red", "ms": 9},
        interval_kwargs={"lw": 3.0, "colors": "green"},
        reference_kwargs={"ls": ":"},
    )
    assert display.points_[0].get_color() == "red"
    assert display.points_[0].get_markersize() == 9
    assert display.intervals_[0].get_linewidth() == [3.0]
    assert np.array_equal(display.intervals_[0].get_colors(), [[0, 0.5019607843137255, 0, 1]])
    assert display.references_[0].get_linestyle() == ":"
    with pytest.raises(TypeError, match="point_kwargs is a str"):
        display.plot(point_kwargs="red")


def test_wrong_arguments(model):
    draw = RandomEffectsDisplay.from_estimator
    with pytest.raises(ValueError, match=r"level=1\.5 is not a probability"):
        draw(model, level=1.5)
    with pytest.raises(ValueError, match=r"factor='shop' is not among \['Subject'\]"):
        draw(model, factor="shop")
    with pytest.raises(ValueError, match=r"columns='x' is not among \['\(Intercept\)', 'Days'\]"):
        draw(model, columns="x")
    with pytest.raises(ValueError, match="sort_by='x' is not a column of 'Subject'"):
        draw(model, sort_by="x")
    with pytest.raises(ValueError, match="max_levels=1 must be at least 2"):
        draw(model, max_levels=1)
    with pytest.raises(ValueError, match="is not fitted yet"):
        draw(MixedLinearRegressor())
    with pytest.raises(ValueError, match="is not fitted yet"):
        draw(GroupedModels())
    with pytest.raises(TypeError, match=r"not a module; for a pipeline, pass pipe\[-1\]"):
        draw(plt)
