"""Residuals are y less predictions, and quantiles are ordered."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeRegressor

from skmixed import (
    GroupedModels,
    MixedClassifier,
    MixedEffectsRegressor,
    MixedGeneralizedRegressor,
    MixedLinearRegressor,
)
from skmixed.datasets import load_sleepstudy, make_mixed_regression, make_schools
from skmixed.display import ResidualsDisplay
from skmixed.inference import influence, residuals


@pytest.fixture(scope="module")
def rows():
    return load_sleepstudy(return_X_y=True)


@pytest.fixture(scope="module")
def model(rows):
    return MixedLinearRegressor("(1 + Days | Subject)").fit(*rows)


def test_four_panels_of_a_mixed_model(model, rows):
    X, y = rows
    display = ResidualsDisplay.from_estimator(model, X, y)
    assert display.panels_ == ["fitted", "groups", "residuals_qq", "effects_qq"]
    fitted, residual = display.scatter_.get_data()
    assert np.array_equal(fitted, model.predict(X))
    assert np.allclose(residual, influence(model, X, y).to_frame()["residual"])
    assert np.array_equal(display.residual_quantiles_.get_ydata(), np.sort(residual))
    medians = [line.get_ydata()[0] for line in display.groups_["medians"]]
    by_subject = display.residuals["residual"].groupby(X["Subject"]).median().sort_values()
    assert np.allclose(medians, by_subject)
    labels = [text.get_text() for text in display.axes_[1].get_xticklabels()]
    assert labels == list(by_subject.index)
    effects = model.random_effects_["Subject"]
    deviations = np.sqrt(np.diag(model.random_covariance_["Subject"]))
    for place, line in enumerate(display.effect_quantiles_):
        wanted = np.sort(effects.iloc[:, place]) / deviations[place]
        assert np.allclose(line.get_ydata(), wanted)
        assert np.allclose(line.get_xdata(), -line.get_xdata()[::-1])


def test_thousands_of_groups_and_rows():
    data = make_mixed_regression(20_000, 1, n_levels=5_000, random_state=0)
    model = MixedLinearRegressor("(1 | group)").fit(data.data, data.target)
    display = ResidualsDisplay.from_estimator(model, data.data, data.target, random_state=0)
    assert len(display.residuals) == 20_000
    assert len(display.scatter_.get_xdata()) == 1_000
    assert display.axes_[0].get_title() == "1,000 of 20,000 rows"
    assert display.axes_[1].get_xlabel() == "group, 5,000 in order"
    ordered = np.sort(display.residuals["residual"])
    drawn = display.residual_quantiles_.get_ydata()
    assert len(drawn) <= 1_000
    assert drawn[[0, -1]].tolist() == ordered[[0, -1]].tolist()
    whole = display.plot(kind="fitted", subsample=None)
    assert len(whole.scatter_.get_xdata()) == 20_000
    assert whole.residual_quantiles_ is None


def test_precision_weights_scale_the_residuals():
    data = make_mixed_regression(200, 1, n_levels=5, random_state=0)
    weight = np.random.default_rng(0).uniform(0.5, 4.0, 200)
    model = MixedLinearRegressor("(1 | group)", weighting="precision")
    model.fit(data.data, data.target, sample_weight=weight)
    display = ResidualsDisplay.from_estimator(model, data.data, data.target, sample_weight=weight)
    wanted = (data.target - model.predict(data.data)) * np.sqrt(weight)
    assert np.allclose(display.residuals["residual"], wanted)


def test_groups_by_argument_and_a_factor_of_two_columns():
    pupils = make_schools()
    X, y, groups = pupils[["open"]].to_numpy(), pupils["extro"], pupils[["school", "class"]]
    model = MixedLinearRegressor("(1 | school/class)").fit(X, y, groups=groups)
    display = ResidualsDisplay.from_estimator(model, X, y, groups=groups)
    assert display.factor == "class:school"
    pairs = groups[["class", "school"]].itertuples(index=False, name=None)
    assert set(display.residuals["group"]) == set(pairs)
    school = ResidualsDisplay.from_estimator(model, X, y, groups=groups, factor="school")
    assert set(school.residuals["group"]) == set(groups["school"])
    with pytest.raises(ValueError, match=r"factor='x' is not among"):
        ResidualsDisplay.from_estimator(model, X, y, groups=groups, factor="x")


def test_grouped_models_have_no_random_effects_to_draw():
    pupils = make_schools()
    X, y = pupils[["open", "school"]], pupils["extro"]
    model = GroupedModels(group_features="school").fit(X, y)
    display = ResidualsDisplay.from_estimator(model, X, y)
    assert display.panels_ == ["fitted", "groups", "residuals_qq"]
    assert np.allclose(display.residuals["residual"], y - model.predict(X))
    with pytest.raises(ValueError, match="kind='effects_qq' is not among"):
        ResidualsDisplay.from_estimator(model, X, y, kind="effects_qq")


def test_any_regressor_with_random_effects():
    pupils = make_schools()
    X, y = pupils[["open", "school"]], pupils["extro"]
    tree = DecisionTreeRegressor(max_depth=3, random_state=0)
    model = MixedEffectsRegressor(tree, "(1 | school)").fit(X, y)
    display = ResidualsDisplay.from_estimator(model, X, y)
    assert len(display.panels_) == 4
    assert np.allclose(display.residuals["residual"], y - model.predict(X))


def test_generalized_models_have_normal_scores_of_quantiles():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=600), "g": np.arange(600) % 20})
    eta = 0.5 * X["x"] + rng.normal(size=20)[X["g"]]
    y = rng.poisson(np.exp(eta))
    model = MixedGeneralizedRegressor("(1 | g)").fit(X, y)
    display = ResidualsDisplay.from_estimator(model, X, y, random_state=0)
    assert len(display.panels_) == 4
    found = display.residuals["residual"]
    between = residuals(model, X, y, random="fitted", random_state=0)
    assert np.allclose(norm.cdf(found), between)
    assert np.allclose(display.residuals["fitted"], model.predict(X))
    assert display.standardised
    labels = [axes.get_ylabel() for axes in display.axes_[:3]]
    assert labels == ["quantile residual"] * 3
    line = display.axes_[2].get_lines()[1]
    assert line.get_slope() == 1.0
    labels = np.where(rng.random(600) < 1.0 / (1.0 + np.exp(-eta)), "yes", "no")
    classes = MixedClassifier("(1 | g)").fit(X, labels)
    display = ResidualsDisplay.from_estimator(classes, X, labels, random_state=0)
    assert np.allclose(display.residuals["fitted"], classes.predict_proba(X)[:, 1])
    assert abs(display.residuals["residual"].mean()) < 0.1
    huge = y.copy()
    huge[0] = 100_000
    display = ResidualsDisplay.from_estimator(model, X, huge)
    assert np.isfinite(display.residuals["residual"]).all()


def test_a_model_without_groups_or_without_variance():
    data = make_mixed_regression(100, 1, n_levels=5, random_state=0)
    X = data.data[["x0"]]
    model = MixedLinearRegressor().fit(X, data.target)
    display = ResidualsDisplay.from_estimator(model, X, data.target)
    assert display.panels_ == ["fitted", "residuals_qq"]


def test_wrong_arguments(model, rows):
    X, y = rows
    draw = ResidualsDisplay.from_estimator
    with pytest.raises(ValueError, match="kind='box' is not among"):
        draw(model, X, y, kind="box")
    with pytest.raises(ValueError, match="subsample=0 is not a positive number"):
        draw(model, X, y, subsample=0)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        draw(model, X, y[:5])
    with pytest.raises(ValueError, match="is not fitted yet"):
        draw(MixedEffectsRegressor(), X, y)
    with pytest.raises(TypeError, match="group_kwargs is a str, not a dict"):
        draw(model, X, y, kind="groups", group_kwargs="red")
    with pytest.raises(TypeError, match=r"sklearn\.metrics\.PredictionErrorDisplay"):
        draw(LinearRegression(), X, y)
    grouped = GroupedModels(LogisticRegression(), group_features="Subject").fit(X, y > y.median())
    with pytest.raises(TypeError, match="predicts classes"):
        draw(grouped, X, y > y.median())
