"""Lines are what the model predicts for the rows they stand for."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.cluster import DBSCAN
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from skmixed import (
    GroupedModels,
    MixedClassifier,
    MixedEffectsRegressor,
    MixedGeneralizedRegressor,
    MixedLinearRegressor,
    lmer,
)
from skmixed.datasets import load_sleepstudy, make_mixed_regression, make_schools
from skmixed.display import PredictionDisplay


@pytest.fixture(scope="module")
def sleep():
    X, y = load_sleepstudy(return_X_y=True)
    return MixedLinearRegressor("(1 + Days | Subject)").fit(X, y), X


@pytest.fixture(scope="module")
def pupils():
    frame = make_schools()
    kind = np.where(frame["open"] > 42, "high", np.where(frame["open"] < 38, "low", "mid"))
    return frame.assign(kind=kind)


def band(collection):
    """Lower and upper ends of a band, from left to right."""
    points = pd.DataFrame(collection.get_paths()[0].vertices, columns=["x", "y"])
    grouped = points.groupby("x")["y"]
    return np.column_stack([grouped.min(), grouped.max()])


@pytest.mark.parametrize("kind", ["mean", "observation"])
def test_lines_and_bands_are_predictions_and_intervals(sleep, kind):
    model, X = sleep
    display = PredictionDisplay.from_estimator(
        model, X, "Days", levels=["308", "335"], interval=kind, level=0.8, grid_resolution=5
    )
    days = np.linspace(0, 9, 5)
    for subject in ["308", "335"]:
        rows = pd.DataFrame({"Days": days, "Subject": subject})
        x, y = display.lines_[subject].get_data()
        assert np.array_equal(x, days)
        assert np.allclose(y, model.predict(rows))
        ends = model.predict_interval(rows, kind=kind, level=0.8)
        assert np.allclose(band(display.intervals_[subject]), ends)
    assert np.allclose(display.new_.get_ydata(), model.intercept_ + model.coef_[0] * days)
    assert display.background_ is None
    assert display.ax_.get_xlabel() == "Days"
    assert display.ax_.get_ylabel() == "prediction [y]"
    texts = [text.get_text() for text in display.figure_.legends[0].get_texts()]
    assert texts == ["308", "335", "new group"]


def test_of_many_groups_five_are_in_colour(sleep):
    model, X = sleep
    display = PredictionDisplay.from_estimator(model, X, "Days")
    assert len(display.lines_) == 5
    assert len(display.background_.get_segments()) == 13
    middle = model.predict(X.drop_duplicates("Subject").assign(Days=4.5))
    heights = [np.interp(4.5, *line.get_data()) for line in display.lines_.values()]
    assert heights[0] == pytest.approx(middle.min())
    assert heights[-1] == pytest.approx(middle.max())
    assert heights == sorted(heights)


@pytest.mark.parametrize("n_groups", [6, 7])
def test_no_two_groups_look_alike(sleep, n_groups):
    _, X = sleep
    chosen = X["Subject"].isin(X["Subject"].unique()[:n_groups])
    model = MixedLinearRegressor("(1 | Subject)").fit(X[chosen], X["Days"][chosen] % 3)
    for levels in [None, list(X["Subject"].unique()[:n_groups])]:
        display = PredictionDisplay.from_estimator(model, X[chosen], "Days", levels=levels)
        looks = {(line.get_color(), line.get_linestyle()) for line in display.lines_.values()}
        assert len(looks) == len(display.lines_)
    assert len(looks) == n_groups


def test_of_thousands_of_groups_two_hundred_are_grey():
    data = make_mixed_regression(15_000, 2, n_levels=5_000, n_slopes=1, random_state=0)
    model = MixedLinearRegressor("(1 + x0 | group)").fit(data.data, data.target)
    display = PredictionDisplay.from_estimator(model, data.data, "x0")
    assert len(display.lines_) == 5
    assert len(display.background_.get_segments()) == 200
    assert display.held == {"x1": pytest.approx(data.data["x1"].median())}
    assert display.figure_.legends[0].get_title().get_text() == "group\n200 more in grey"


def test_other_columns_are_held_at_typical_or_given_values(pupils):
    model = lmer("extro ~ kind + agree + (1 | school/class)", pupils)
    display = PredictionDisplay.from_estimator(model, pupils, "agree", levels=[("a", "I")])
    assert display.held == {"kind": pupils["kind"].mode()[0]}
    rows = pd.DataFrame({"agree": [20.0, 50.0], "kind": "low", "class": "a", "school": "I"})
    display = PredictionDisplay.from_estimator(
        model, pupils, "agree", levels=[("a", "I")], at={"kind": "low"}
    )
    x, y = display.lines_["a", "I"].get_data()
    assert np.allclose(np.interp(rows["agree"], x, y), model.predict(rows))
    assert display.ax_.get_title() == "at kind = low"
    assert display.ax_.get_ylabel() == "prediction [extro]"


def test_other_factors_are_at_a_new_level_unless_it_is_given(pupils):
    model = lmer("extro ~ agree + (1 | school) + (1 | class)", pupils)
    draw = PredictionDisplay.from_estimator
    rows = pd.DataFrame({"agree": [30.0], "school": ["I"], "class": [None]})
    display = draw(model, pupils, "agree", factor="school", levels=["I"])
    assert display.held["class"] == "(new)"
    x, y = display.lines_["I"].get_data()
    assert np.interp(30.0, x, y) == pytest.approx(model.predict(rows)[0])
    display = draw(model, pupils, "agree", factor="school", levels=["I"], at={"class": "b"})
    x, y = display.lines_["I"].get_data()
    wanted = model.predict(rows.assign(**{"class": "b"}))[0]
    assert np.interp(30.0, x, y) == pytest.approx(wanted)


def test_categories_have_points_and_bars(pupils):
    kind = pd.Categorical(pupils["kind"], ["low", "mid", "high"])
    table = pupils.assign(kind=kind)
    model = lmer("extro ~ kind + (1 | school)", table)
    display = PredictionDisplay.from_estimator(model, table, "kind", levels=["I", "VI"])
    labels = [text.get_text() for text in display.ax_.get_xticklabels()]
    assert labels == ["low", "mid", "high"]
    rows = pd.DataFrame({"kind": labels, "school": "VI"})
    assert np.allclose(display.lines_["VI"].get_ydata(), model.predict(rows))
    bars = [bar[:, 1] for bar in display.intervals_["VI"].get_segments()]
    assert np.allclose(bars, model.predict_interval(rows, kind="mean"))
    left, right = display.lines_["I"].get_xdata(), display.lines_["VI"].get_xdata()
    assert np.all(left < right)
    assert np.all(right - left < 1.0)


@pytest.mark.parametrize("position", [False, True])
def test_arrays_and_groups_by_argument(position):
    data = make_mixed_regression(200, 2, n_levels=5, random_state=0)
    if position:
        X, groups = data.data.to_numpy(), None
        model = MixedLinearRegressor(group_features=[2]).fit(X, data.target)
    else:
        X, groups = data.data[["x0", "x1"]].to_numpy(), data.groups["group"].to_numpy()
        model = MixedLinearRegressor().fit(X, data.target, groups=groups)
    display = PredictionDisplay.from_estimator(model, X, 1, groups=groups, levels=[3])
    x, y = display.lines_[3].get_data()
    first = np.full(len(x), np.median(X[:, 0]))
    threes = np.full(len(x), 3)
    rows = np.column_stack([first, x, threes] if position else [first, x])
    wanted = model.predict(rows) if position else model.predict(rows, groups=threes)
    assert np.allclose(y, wanted)
    assert display.held == {"x0": pytest.approx(first[0])}
    assert np.allclose(display.new_.get_ydata(), model.intercept_ + rows[:, :2] @ model.coef_)


def test_polars_frames():
    frame = pl.from_pandas(load_sleepstudy())
    model = lmer("Reaction ~ Days + (Days | Subject)", frame)
    display = PredictionDisplay.from_estimator(model, frame, "Days", levels=["308"])
    rows = pd.DataFrame({"Days": display.lines_["308"].get_xdata(), "Subject": "308"})
    assert np.allclose(display.lines_["308"].get_ydata(), model.predict(rows))


def test_grouped_models_have_the_intervals_of_their_rule(pupils):
    X = pupils[["open", "school", "class"]]
    model = GroupedModels(group_features=["school", "class"]).fit(X, pupils["extro"])
    display = PredictionDisplay.from_estimator(model, X, "open", levels=[("I", "a")])
    x, y = display.lines_["I", "a"].get_data()
    rows = pd.DataFrame({"open": x, "school": "I", "class": "a"})
    assert np.allclose(y, model.predict(rows))
    assert ("I", "a") in display.intervals_
    root = model.parent_estimators_[()]
    assert np.allclose(display.new_.get_ydata(), root.intercept_ + root.coef_[0] * x)


def test_any_regressor_with_random_effects(pupils):
    X = pupils[["open", "agree", "school"]]
    model = MixedEffectsRegressor(LinearRegression(), "(1 | school)").fit(X, pupils["extro"])
    display = PredictionDisplay.from_estimator(model, X, "open", levels=["II"])
    x, y = display.lines_["II"].get_data()
    rows = pd.DataFrame({"open": x, "agree": X["agree"].median(), "school": "II"})
    assert np.allclose(y, model.predict(rows))
    assert np.allclose(band(display.intervals_["II"]), model.predict_interval(rows, kind="mean"))


def test_a_pipeline_with_its_groups_named(pupils):
    X = pupils[["open", "school"]]
    encoder = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((encoder, ["school"]), remainder="passthrough")
    model = make_pipeline(columns, LinearRegression()).fit(X, pupils["extro"])
    display = PredictionDisplay.from_estimator(model, X, "open", factor="school", new=False)
    assert sorted(display.lines_) == sorted(X["school"].unique())
    x, y = display.lines_["V"].get_data()
    assert np.allclose(y, model.predict(pd.DataFrame({"open": x, "school": "V"})))
    assert display.new_ is None


@pytest.mark.parametrize("answer", ["error", "nan"])
def test_models_that_refuse_new_groups_are_not_asked(sleep, answer):
    _, X = sleep
    y = load_sleepstudy()["Reaction"]
    model = MixedLinearRegressor("(1 | Subject)", handle_unknown=answer).fit(X, y)
    display = PredictionDisplay.from_estimator(model, X, "Days", levels=["308"])
    assert display.new_ is None
    grouped = GroupedModels(group_features="Subject", fallback="error").fit(X, y)
    assert PredictionDisplay.from_estimator(grouped, X, "Days").new_ is None


def test_many_categories_are_counted_not_named(sleep):
    _, X = sleep
    table = X.assign(day=[f"a long name of day {i % 90}" for i in range(len(X))])
    model = lmer("Days ~ 1 + (1 | Subject)", table)
    display = PredictionDisplay.from_estimator(model, table, "day", levels=["308"])
    assert display.ax_.get_xlabel() == "day, 90 in order"
    assert len(display.ax_.get_xticks()) == 0


def test_a_model_without_groups_has_one_line():
    data = make_mixed_regression(50, 1, n_levels=5, random_state=0)
    X = data.data[["x0"]]
    model = MixedLinearRegressor().fit(X, data.target)
    display = PredictionDisplay.from_estimator(model, X, "x0")
    assert len(display.lines_) == 1
    assert not display.figure_.legends


def test_wrong_arguments(sleep, pupils):
    model, X = sleep
    draw = PredictionDisplay.from_estimator
    with pytest.raises(ValueError, match="feature='x' is not a column of X"):
        draw(model, X, "x")
    with pytest.raises(ValueError, match="feature=7 is not a column of X, which has 2"):
        draw(model, X, 7)
    with pytest.raises(ValueError, match="'Subject' is a grouping column of 'Subject'"):
        draw(model, X, "Subject")
    with pytest.raises(ValueError, match="factor='x' is not among"):
        draw(model, X, "Days", factor="x")
    with pytest.raises(ValueError, match=r"levels \['999'\] of 'Subject' are not among"):
        draw(model, X, "Days", levels=["308", "999"])
    with pytest.raises(ValueError, match=r"at has \['x'\], which cannot be held constant"):
        draw(model, X, "Days", at={"x": 1})
    with pytest.raises(ValueError, match="interval='box' is not 'auto'"):
        draw(model, X, "Days", interval="box")
    with pytest.raises(ValueError, match="level=0 is not a probability"):
        draw(model, X, "Days", level=0)
    with pytest.raises(ValueError, match="grid_resolution=1 must be at least 2"):
        draw(model, X, "Days", grid_resolution=1)
    with pytest.raises(ValueError, match="the model was not fitted with groups"):
        draw(model, X, "Days", groups=X["Subject"])
    for unfitted in [MixedLinearRegressor(), GroupedModels(), MixedEffectsRegressor()]:
        with pytest.raises(NotFittedError):
            draw(unfitted, X, "Days")
    with pytest.raises(TypeError, match="needs an estimator with predict"):
        draw(DBSCAN(), X, "Days")
    given = MixedLinearRegressor().fit(
        X[["Days"]], X["Days"] + 1.0 * (X.index % 7), groups=X["Subject"]
    )
    with pytest.raises(ValueError, match=r"fitted with groups=\.\.\.: pass the groups"):
        draw(given, X[["Days"]], "Days")


def split_plot():
    """Treatments of whole plots, which are numbered within them, and a dose within the plots."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"soil": np.repeat(["clay", "loam", "sand"], 60), "x": np.arange(180) % 6})
    rows["plot"] = np.tile(np.repeat(np.arange(10), 6), 3)
    rows["dose"] = rows["plot"] % 3
    whole = rng.normal(size=30)[np.arange(180) // 6]
    return rows.assign(y=rows["x"] + 3.0 * (rows["soil"] == "sand") + whole + rng.normal(size=180))


def test_a_new_plot_has_a_treatment_that_is_known():
    rows = split_plot()
    model = lmer("y ~ soil + x + (1 | soil:plot)", rows)
    display = PredictionDisplay.from_estimator(model, rows, "x")
    new = display.predictions.query("role == 'new'")
    usual = pd.DataFrame({"soil": "clay", "x": new["value"], "plot": 99})
    np.testing.assert_allclose(new["prediction"], model.predict(usual), rtol=1e-12)
    assert len(display.predictions.query("role != 'new'")["group"].unique()) == 30
    of_numbers = lmer("y ~ dose + x + (1 | dose:plot)", rows)
    new = PredictionDisplay.from_estimator(of_numbers, rows, "x").predictions.query("role == 'new'")
    usual = pd.DataFrame({"dose": 0, "x": new["value"], "plot": 99})
    np.testing.assert_allclose(new["prediction"], of_numbers.predict(usual), rtol=1e-12)


def test_no_group_is_new_where_all_its_columns_are_fixed():
    rows = split_plot().assign(site=lambda rows: rows["plot"].astype(str))
    model = lmer("y ~ soil + x + (x | soil) + (1 | site)", rows)
    by_soil = PredictionDisplay.from_estimator(model, rows, "x", factor="soil")
    assert by_soil.new_ is None
    by_site = PredictionDisplay.from_estimator(model, rows, "x", factor="site", at={"soil": "sand"})
    new = by_site.predictions.query("role == 'new'")
    sand = pd.DataFrame({"soil": "sand", "x": new["value"], "site": "none"})
    np.testing.assert_allclose(new["prediction"], model.predict(sand), rtol=1e-12)


@pytest.fixture(scope="module")
def shops():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"price": rng.normal(size=400), "days": rng.integers(1, 5, 400)})
    X["shop"] = np.arange(400) % 20
    return X, np.exp(0.5 * rng.normal(size=20))[X["shop"]] * np.exp(-0.4 * X["price"])


def test_lines_of_a_classifier_are_probabilities(shops):
    X, size = shops
    y = np.where(np.random.default_rng(1).random(400) < size / (1.0 + size), "yes", "no")
    model = MixedClassifier("(1 | shop)").fit(X, y)
    display = PredictionDisplay.from_estimator(model, X, "price", levels=[3, 7], grid_resolution=4)
    rows = pd.DataFrame({"price": display.lines_[3].get_xdata(), "days": X["days"].median()})
    rows["shop"] = 3
    np.testing.assert_allclose(display.lines_[3].get_ydata(), model.predict_proba(rows)[:, 1])
    np.testing.assert_allclose(band(display.intervals_[3]), model.predict_interval(rows))
    rows["shop"] = 99
    np.testing.assert_allclose(display.new_.get_ydata(), model.predict_proba(rows)[:, 1])
    assert display.ax_.get_ylabel() == "prediction [probability of yes]"
    with pytest.raises(ValueError, match="a single response is one class or the other"):
        PredictionDisplay.from_estimator(model, X, "price", interval="observation")
    three = LogisticRegression().fit(X, np.arange(400) % 3)
    with pytest.raises(TypeError, match="regressor with a single output or a binary classifier"):
        PredictionDisplay.from_estimator(three, X, "price")


@pytest.mark.parametrize("kind", ["mean", "observation"])
def test_lines_of_counts_are_their_means(shops, kind):
    X, size = shops
    y = np.random.default_rng(1).poisson(X["days"] * size)
    model = MixedGeneralizedRegressor("(price | shop)", exposure="days").fit(X, y)
    display = PredictionDisplay.from_estimator(
        model, X, "price", levels=[3], grid_resolution=4, interval=kind, at={"days": 2}
    )
    rows = pd.DataFrame({"price": display.lines_[3].get_xdata(), "days": 2, "shop": 3})
    np.testing.assert_allclose(display.lines_[3].get_ydata(), model.predict(rows))
    ends = model.predict_interval(rows, kind=kind)
    np.testing.assert_allclose(band(display.intervals_[3]), ends)
