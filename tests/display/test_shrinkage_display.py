"""Arrows go from least squares in each group to the estimates that predict."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from skmixed import GroupedModels, MixedEffectsRegressor, MixedLinearRegressor, lmer
from skmixed.datasets import load_sleepstudy, make_mixed_regression, make_schools
from skmixed.display import ShrinkageDisplay


@pytest.fixture(scope="module")
def rows():
    return load_sleepstudy(return_X_y=True)


def arrows(display):
    """Starts and ends of the arrows."""
    quiver = display.arrows_
    return quiver.XY, quiver.XY + np.column_stack([quiver.U, quiver.V])


def test_arrows_of_a_mixed_model(rows):
    X, y = rows
    model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    display = ShrinkageDisplay.from_estimator(model, X, y)
    effects = model.random_effects_["Subject"]
    fixed = np.array([model.intercept_, *model.coef_])
    own = [np.polyfit(X["Days"][X["Subject"] == s], y[X["Subject"] == s], 1) for s in effects.index]
    start, end = arrows(display)
    assert np.allclose(start, np.array(own)[:, ::-1])
    assert np.allclose(end, effects + fixed)
    assert np.allclose(np.column_stack(display.own_points_.get_data()), start)
    assert np.allclose(np.column_stack(display.shrunk_points_.get_data()), end)
    assert np.ravel(display.common_.get_data()) == pytest.approx([251.405, 10.467], abs=1e-3)
    assert display.ax_.get_xlabel() == "(Intercept) [y]"
    assert display.ax_.get_ylabel() == "Days [y per unit of Days]"
    labels = [text.get_text() for text in display.ax_.texts]
    assert set(labels) <= set(effects.index)
    assert len(labels) > 12


def test_labels_do_not_overlap_each_other_nor_points():
    pupils = make_schools()
    X = pupils[["open", "agree", "school", "class"]]
    model = GroupedModels(group_features=["school", "class"]).fit(X, pupils["extro"])
    display = ShrinkageDisplay.from_estimator(model, columns=["open", "agree"])
    display.figure_.canvas.draw()
    boxes = [text.get_window_extent() for text in display.ax_.texts]
    assert 10 < len(boxes) < 24
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    points = display.ax_.transData.transform(np.vstack(arrows(display)))
    assert not any(box.contains(*point) for box in boxes for point in points)


def test_what_does_not_vary_is_held_at_the_model(rows):
    X, y = rows
    model = MixedLinearRegressor("(1 | Subject)").fit(X, y)
    display = ShrinkageDisplay.from_estimator(model, X, y)
    left = (y - model.coef_[0] * X["Days"]).groupby(X["Subject"]).mean()
    start, end = arrows(display)
    assert np.allclose(start, np.column_stack([left, left]))
    wanted = model.intercept_ + model.random_effects_["Subject"]["(Intercept)"]
    assert np.allclose(end, np.column_stack([left, wanted]))
    assert display.common_.get_ydata()[0] == pytest.approx(model.intercept_)


def test_other_factors_are_held_at_their_effects():
    pupils = make_schools()
    model = lmer("extro ~ open + (1 | school/class)", pupils)
    display = ShrinkageDisplay.from_estimator(model, pupils, pupils["extro"], factor="school")
    rest = pupils["extro"] - model.coef_[0] * pupils["open"]
    effects = model.random_effects_["class:school"]["(Intercept)"]
    places = pd.MultiIndex.from_frame(pupils[["class", "school"]])
    own = (rest - effects.loc[places].to_numpy()).groupby(pupils["school"]).mean()
    assert np.allclose(display.own["(Intercept)"], own.loc[display.own.index])
    finest = ShrinkageDisplay.from_estimator(model, pupils, pupils["extro"])
    assert finest.factor == "class:school"
    assert finest.response == "extro"


def test_weights_and_groups_by_argument():
    data = make_mixed_regression(300, 1, n_levels=6, n_slopes=1, random_state=0)
    X, groups = data.data[["x0"]], data.groups
    weight = np.random.default_rng(0).integers(1, 4, 300)
    model = MixedLinearRegressor({"group": ["1", "x0"]})
    model.fit(X, data.target, sample_weight=weight, groups=groups)
    display = ShrinkageDisplay.from_estimator(
        model, X, data.target, sample_weight=weight, groups=groups
    )
    for level in display.own.index:
        mine = groups["group"].to_numpy() == level
        slope, intercept = np.polyfit(X["x0"][mine], data.target[mine], 1, w=np.sqrt(weight[mine]))
        assert display.own.loc[level].to_numpy() == pytest.approx([intercept, slope])


def test_groups_that_determine_nothing_have_no_arrow():
    data = make_mixed_regression(200, 1, n_levels=20, n_slopes=1, random_state=0)
    once = data.data.drop_duplicates("group").query("group < 3").index
    kept = data.data.index.isin(once) | (data.data["group"] >= 3)
    X, y = data.data[kept], data.target[kept]
    model = MixedLinearRegressor("(1 + x0 | group)").fit(X, y)
    display = ShrinkageDisplay.from_estimator(model, X, y)
    assert len(arrows(display)[0]) == 17
    assert display.own.isna().all(axis=1).sum() == 3
    assert not display.shrunk.isna().any(axis=None)
    assert "3 more have no unpooled estimate" in display.ax_.get_title()


def test_thousands_of_groups_with_wild_estimates():
    data = make_mixed_regression(12_000, 1, n_levels=5_000, n_slopes=1, random_state=0)
    model = MixedLinearRegressor("(1 + x0 | group)").fit(data.data, data.target)
    display = ShrinkageDisplay.from_estimator(model, data.data, data.target)
    start, end = arrows(display)
    assert len(start) > 4_000
    left, right = display.ax_.get_xlim()
    assert np.all((end[:, 0] > left) & (end[:, 0] < right))
    outside = np.mean((start[:, 0] < left) | (start[:, 0] > right))
    assert 0.0 < outside < 0.05
    assert "start outside" in display.ax_.get_title()
    assert not display.ax_.texts


def test_later_rows_of_update_groups_are_no_part_of_it(rows):
    X, y = rows
    model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    before = ShrinkageDisplay.from_estimator(model, X, y)
    model.update_groups(X.head(10).assign(Subject="0"), y.head(10))
    after = ShrinkageDisplay.from_estimator(model, X, y)
    pd.testing.assert_frame_equal(after.own, before.own)
    pd.testing.assert_frame_equal(after.shrunk, before.shrunk)


def test_grouped_models_have_both_estimates():
    pupils = make_schools()
    X = pupils[["open", "agree", "school", "class"]]
    model = GroupedModels(group_features=["school", "class"]).fit(X, pupils["extro"])
    display = ShrinkageDisplay.from_estimator(model, columns=["open", "agree"])
    wanted = ["open", "agree"]
    start, end = arrows(display)
    assert np.array_equal(start, model.coef_table()[wanted])
    assert np.allclose(end, model.coef_table(shrunk=True)[wanted])
    root = model.parent_estimators_[()]
    assert np.ravel(display.common_.get_data()) == pytest.approx(root.coef_)
    one = ShrinkageDisplay.from_estimator(model, columns="agree")
    assert np.array_equal(arrows(one)[0], model.coef_table()[["agree", "agree"]])


def test_wrong_arguments(rows):
    X, y = rows
    model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    draw = ShrinkageDisplay.from_estimator
    with pytest.raises(ValueError, match="needs the training data"):
        draw(model)
    with pytest.raises(ValueError, match="these are not the rows the model was fitted to"):
        draw(model, X, 2.0 * y)
    with pytest.raises(ValueError, match="factor='x' is not a factor of the model"):
        draw(model, X, y, factor="x")
    with pytest.raises(ValueError, match="columns='x' is not among"):
        draw(model, X, y, columns="x")
    with pytest.raises(ValueError, match="the model has no random effects"):
        draw(MixedLinearRegressor().fit(X[["Days"]], y), X[["Days"]], y)
    with pytest.raises(TypeError, match="a MixedEffectsRegressor has a learner in their place"):
        draw(MixedEffectsRegressor(LinearRegression(), "(1 | Subject)").fit(X, y), X, y)
    three = pd.DataFrame(np.zeros((2, 3)), columns=list("abc"))
    with pytest.raises(ValueError, match="one or two coefficients, not"):
        ShrinkageDisplay(three, three, common=three.iloc[0]).plot()
    with pytest.raises(ValueError, match="own and shrunk have different groups"):
        ShrinkageDisplay(three, three[::-1], common=three.iloc[0])
    with pytest.raises(ValueError, match=r"common lacks the coefficients \['a'\]"):
        ShrinkageDisplay(three, three, common=three.iloc[0, 1:])
    grouped = GroupedModels(group_features="Subject").fit(X, y)
    with pytest.raises(ValueError, match="factor is for mixed models"):
        draw(grouped, factor="Subject")
