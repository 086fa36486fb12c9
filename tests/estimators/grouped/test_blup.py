"""Shrinkage by REML: the mixed model where there is one, and better predictions."""

import warnings
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    TweedieRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from skmixed import GroupedModels, MixedLinearRegressor
from skmixed.core.pooling.cells import fit_cells
from skmixed.datasets import load_sleepstudy
from skmixed.estimators.grouped import _estimator_fits
from skmixed.exceptions import UnknownLevelWarning
from tests.estimators.grouped.loops import rows_in_groups


def balanced(n_groups=12, seed=0):
    """Rows of groups with the same X; returns a table with x0, x1, group and y."""
    rng = np.random.default_rng(seed)
    X = np.tile(rng.normal(size=(9, 2)), (n_groups, 1))
    group = np.repeat(np.arange(n_groups), 9)
    coef = np.array([1.0, -0.5]) + rng.normal(size=(n_groups, 2)) * [0.8, 0.3]
    y = rng.normal(size=n_groups)[group] + np.einsum("ij,ij->i", X, coef[group])
    table = pd.DataFrame(X, columns=["x0", "x1"]).assign(group=group)
    return table, y + rng.normal(size=len(y))


@pytest.mark.parametrize("shrunk", [False, True])
def test_a_table_solves_the_groups_once_for_all_outputs(shrunk, monkeypatch):
    X, y = balanced()
    model = GroupedModels(Ridge(), group_features="group").fit(X, np.column_stack([y, y**2, -y]))
    calls = []

    def counted(*args):
        calls.append(args)
        return fit_cells(*args)

    monkeypatch.setattr("skmixed.estimators.grouped._linear_fits.fit_cells", counted)
    assert len(model.coef_table(shrunk=shrunk)) == 36
    assert len(calls) == 1


@pytest.mark.parametrize("unbalanced", [False, True])
def test_least_squares_is_the_mixed_model(unbalanced):
    X, y = load_sleepstudy(return_X_y=True) if unbalanced else balanced()
    if unbalanced:
        kept = np.random.default_rng(0).random(len(y)) < 0.7
        X, y = X[kept].rename(columns={"Subject": "group"}), y[kept]
    names = [name for name in X.columns if name != "group"]
    mixed = MixedLinearRegressor(f"({' + '.join(names)} | group)", tol=1e-10).fit(X, y)
    model = GroupedModels(group_features="group").fit(X, y)
    assert_allclose(model.predict(X), mixed.predict(X), rtol=1e-6, atol=1e-6)
    new = X.assign(group="new") if unbalanced else X.assign(group=-1)
    new["group"] = new["group"].astype(X["group"].dtype)
    assert_allclose(model.predict(new), mixed.predict(new), rtol=1e-6, atol=1e-6)
    shrunk = model.coef_table(shrunk=True)
    effects = mixed.random_effects_["group"]
    assert_allclose(shrunk["(Intercept)"], mixed.intercept_ + effects["(Intercept)"], rtol=1e-5)
    assert_allclose(shrunk["residual sd"], np.sqrt(mixed.residual_variance_), rtol=1e-6)
    between = np.sqrt(np.diag(mixed.random_covariance_["group"]))
    assert_allclose(model.heterogeneity()["sd"], between, rtol=1e-5)


def test_a_balanced_hierarchy_is_the_nested_mixed_model():
    rng = np.random.default_rng(4)
    x = np.tile(np.linspace(-1.0, 1.0, 8), 60)
    school, letter = np.repeat(np.arange(15), 32), np.tile(np.repeat(np.arange(4), 8), 15)
    of_school, of_class = 2.0 * rng.normal(size=(15, 2)), rng.normal(size=(15, 4, 2))
    intercept = of_school[school, 0] + of_class[school, letter, 0]
    y = intercept + (of_school[school, 1] + of_class[school, letter, 1]) * x + rng.normal(size=480)
    X = pd.DataFrame({"x": x, "school": school, "class": letter})
    mixed = MixedLinearRegressor("(x | school/class)", tol=1e-10).fit(X, y)
    model = GroupedModels(group_features=["school", "class"]).fit(X, y)
    assert_allclose(model.predict(X), mixed.predict(X), rtol=1e-5, atol=1e-5)
    new = X.assign(**{"class": 99})
    assert_allclose(model.predict(new), mixed.predict(new), rtol=1e-5, atol=1e-5)
    assert list(model.heterogeneity().index.unique("groups")) == ["school", "class"]


def test_a_variance_of_zero():
    X, y = balanced()
    same = y.to_numpy() if hasattr(y, "to_numpy") else y
    slopes = np.column_stack([np.ones(9), X[["x0", "x1"]].head(9)])
    only = same.reshape(12, 9)
    fitted = slopes @ np.linalg.lstsq(slopes, only.T, rcond=None)[0]
    level = fitted.mean(axis=0) - fitted.mean()
    y = 3.0 * level[X["group"]] + np.random.default_rng(2).normal(size=len(X))
    model = GroupedModels(group_features="group").fit(X, y)
    mixed = MixedLinearRegressor("(x0 + x1 | group)", tol=1e-10).fit(X, y)
    assert mixed.is_singular_
    assert_allclose(model.predict(X), mixed.predict(X), atol=1e-4)


def test_groups_that_do_not_differ_are_left_alike():
    X, y = balanced()
    residual = np.random.default_rng(1).normal(size=len(y))
    model = GroupedModels(group_features="group").fit(X, residual)
    pooled_fit = LinearRegression().fit(X[["x0", "x1"]], residual)
    assert_allclose(model.predict(X), pooled_fit.predict(X[["x0", "x1"]]))
    assert (model.weights_ == 0.0).all(axis=None)
    assert (model.heterogeneity()["p_value"] > 0.01).all()


@pytest.mark.filterwarnings("ignore::skmixed.exceptions.UnidentifiedWarning")
def test_groups_with_fewer_rows_than_coefficients_say_what_they_know():
    X, y, group = rows_in_groups(n_groups=60, n=240, p=3)
    table = pd.DataFrame(X, columns=list("abc")).assign(group=group)
    kept = np.ones(len(y), dtype=bool)
    kept[np.flatnonzero(group < "g0030")[::2]] = False
    mixed = MixedLinearRegressor("(a + b + c | group)", tol=1e-10).fit(table[kept], y[kept])
    model = GroupedModels(group_features="group").fit(table[kept], y[kept])
    assert_allclose(model.predict(table), mixed.predict(table), rtol=1e-4, atol=1e-4)
    assert len(model.fallback_) == 0
    assert model.coef_table()["a"].isna().any()
    assert model.coef_table(shrunk=True)["a"].notna().all()


def test_groups_that_are_all_alike_but_for_noise_free_data():
    X, y, group = rows_in_groups(noise=0.0)
    model = GroupedModels().fit(X, y, groups=group)
    assert_allclose(model.predict(X, groups=group), y, rtol=1e-5, atol=1e-5)
    same = GroupedModels().fit(X, X.sum(axis=1), groups=group)
    assert_allclose(same.predict(X, groups=group), X.sum(axis=1), atol=1e-8)
    constant = GroupedModels().fit(X, np.ones(len(y)), groups=group)
    assert_allclose(constant.predict(X, groups=group), 1.0)


def test_several_outputs_are_shrunk_apart():
    X, y, group = rows_in_groups()
    both = GroupedModels().fit(X, np.column_stack([y, y**2]), groups=group)
    for output, values in enumerate([y, y**2]):
        alone = GroupedModels().fit(X, values, groups=group).predict(X, groups=group)
        assert_allclose(both.predict(X, groups=group)[:, output], alone, rtol=1e-6, atol=1e-6)
    assert both.coef_table().index.names == ["output", "group"]
    assert both.estimators_["g0001"].coef_.shape == (2, 2)


@pytest.mark.parametrize("estimator", [LinearRegression(), Ridge(3.0)])
def test_far_columns_and_units_do_not_matter(estimator):
    X, y, group = rows_in_groups()
    near = GroupedModels(LinearRegression()).fit(X, y, groups=group)
    far = GroupedModels(LinearRegression()).fit(1e3 * X + 1e7, y, groups=group)
    found = far.predict(1e3 * X + 1e7, groups=group)
    assert_allclose(found, near.predict(X, groups=group), rtol=1e-5, atol=1e-5)
    ridge = GroupedModels(estimator).fit(X + 1e6, y, groups=group)
    other = GroupedModels(estimator).fit(X, y, groups=group)
    assert_allclose(ridge.predict(X + 1e6, groups=group), other.predict(X, groups=group), atol=1e-4)


def test_a_ridge_penalty_of_zero_is_least_squares():
    X, y, group = rows_in_groups()
    ridge = GroupedModels(Ridge(0.0)).fit(X, y, groups=group).predict(X, groups=group)
    assert_allclose(ridge, GroupedModels().fit(X, y, groups=group).predict(X, groups=group))


def test_estimators_predict_as_the_model_does():
    X, y, group = rows_in_groups()
    for estimator in (LinearRegression(), Ridge(), TweedieRegressor(power=1.5)):
        response = np.exp(y / y.std()) if isinstance(estimator, TweedieRegressor) else y
        model = GroupedModels(estimator).fit(X, response, groups=group)
        rows = (group == "g0002").to_numpy()
        expected = model.estimators_[("g0002",)].predict(X[rows])
        assert_allclose(model.predict(X[rows], groups=group[rows]), expected)
        assert type(model.estimators_["g0002"]) is type(estimator)
        unknown = model.parent_estimators_[()].predict(X[rows])
        assert_allclose(model.predict(X[rows], groups=["new"] * rows.sum()), unknown)


def logistic_rows(n_groups, size, seed):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(n_groups), size)
    x = rng.normal(size=(len(group), 1))
    of_group = rng.normal(size=(n_groups, 2)) * [1.0, 0.5]
    eta = of_group[group, 0] + (1.0 + of_group[group, 1]) * x[:, 0]
    return x, (rng.random(len(group)) < 1.0 / (1.0 + np.exp(-eta))).astype(int), group, eta


def test_logistic_coefficients_are_shrunk():
    x, y, group, eta = logistic_rows(60, 25, seed=0)
    errors = {}
    for shrinkage in ("blup", None):
        model = GroupedModels(LogisticRegression(C=100.0), shrinkage=shrinkage)
        found = model.fit(x, y, groups=group).decision_function(x, groups=group)
        errors[shrinkage] = np.mean((found - eta) ** 2)
    pooled = np.mean((LogisticRegression(C=100.0).fit(x, y).decision_function(x) - eta) ** 2)
    model = GroupedModels(LogisticRegression(C=100.0)).fit(x, y, groups=group)
    assert errors["blup"] < 0.7 * min(errors[None], pooled)
    assert 0.5 < model.heterogeneity()["sd"].iloc[0] < 1.5
    assert model.predict_proba(x, groups=group).shape == (len(y), 2)
    assert model.coef_table(shrunk=True).notna().all().drop("residual sd").all()


def held_out(model, n_groups, size, spread, seed, target=None):
    """Mean squared error of a model for new rows of the same groups, about their true means."""
    rng = np.random.default_rng(seed)
    p = 3
    coef = 1.0 + spread * rng.normal(size=(n_groups, p + 1))
    group = np.repeat(np.arange(n_groups), size)
    fresh = np.repeat(np.arange(n_groups), 20)
    X, new = rng.normal(size=(len(group), p)), rng.normal(size=(len(fresh), p))
    y = coef[group, 0] + np.einsum("ij,ij->i", X, coef[group, 1:]) + rng.normal(size=len(group))
    truth = coef[fresh, 0] + np.einsum("ij,ij->i", new, coef[fresh, 1:])
    return [float(np.mean((fit(X, y, group, new, fresh) - truth) ** 2)) for fit in model]


def grouped(estimator, shrinkage):
    def fit(X, y, group, new, fresh):
        model = GroupedModels(estimator, shrinkage=shrinkage).fit(X, y, groups=group)
        return model.predict(new, groups=fresh)

    return fit


def pooled(estimator):
    return lambda X, y, group, new, fresh: estimator.fit(X, y).predict(new)


def errors_of(estimator, n_groups, size, spread, n_repeats):
    """Errors of blup, separate and pooled fits: means, and standard error of blup less the best."""
    fits = [grouped(estimator, "blup"), grouped(estimator, None), pooled(estimator)]
    found = np.array([held_out(fits, n_groups, size, spread, seed) for seed in range(n_repeats)])
    best = found[:, 1:].mean(axis=0).argmin() + 1
    difference = found[:, 0] - found[:, best]
    return found.mean(axis=0), difference.mean(), difference.std() / np.sqrt(n_repeats)


@pytest.mark.parametrize("size", [6, 100])
def test_it_beats_separate_and_pooled_fits(size):
    (blup, separate, together), *_ = errors_of(LinearRegression(), 30, size, 0.4, 10)
    assert blup < separate
    assert blup < 0.9 * together


@pytest.mark.study
@pytest.mark.parametrize("n_groups", [3, 6, 10, 30, 100])
@pytest.mark.parametrize("size", [3, 6, 20, 100])
@pytest.mark.parametrize("spread", [0.0, 0.1, 0.5, 3.0])
def test_it_is_never_worse_than_the_better_of_the_two(n_groups, size, spread):
    errors, difference, error = errors_of(LinearRegression(), n_groups, size, spread, 40)
    assert difference < max(4.0 * error, 0.1 * errors[1:].min())


@pytest.mark.study
@pytest.mark.parametrize("size", [10, 40, 200])
@pytest.mark.parametrize("spread", [0.0, 0.3, 2.0])
def test_blended_forests_are_never_worse_than_the_better_of_the_two(size, spread):
    forest = RandomForestRegressor(20, min_samples_leaf=3, random_state=0)
    errors, difference, error = errors_of(forest, 8, size, spread, 8)
    assert difference < max(4.0 * error, 0.1 * errors[1:].min())


def test_predictions_of_trees_are_blended():
    tree = DecisionTreeRegressor(max_depth=4, random_state=0)
    fits = [grouped(tree, "blup"), grouped(tree, None), pooled(tree)]
    blup, separate, together = np.mean([held_out(fits, 10, 40, 0.7, s) for s in range(3)], axis=0)
    assert blup < min(separate, together)


class Counted(DecisionTreeClassifier):
    """A tree that notes the sizes of what it is fitted to."""

    sizes: ClassVar[list[int]] = []

    def fit(self, X, y):
        self.sizes.append(len(y))
        return super().fit(X, y)


def test_groups_that_are_too_small_are_fitted_to_no_folds():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"x": rng.normal(size=200), "a": np.arange(200) % 4})
    rows["b"] = np.arange(200) // 4 % 5
    y = (rows["x"] + rows["a"] + rng.normal(size=200) > 1.5).astype(int)
    settings = {"group_features": ["a", "b"], "min_samples": 20}
    model = GroupedModels(Counted(max_depth=2, random_state=0), **settings).fit(rows, y)
    # All rows and four groups of 50, of which folds leave four fifths; none of the groups of ten.
    assert sorted(Counted.sizes) == [40] * 20 + [50] * 4 + [160] * 5 + [200]
    assert (model.weights_["b"] == 0.0).all()


def test_the_shares_of_blended_predictions():
    X, y, group = rows_in_groups(n_groups=5, n=400)
    tree = DecisionTreeRegressor(max_depth=4, random_state=0)
    model = GroupedModels(tree).fit(X, y, groups=group)
    weights = model.weights_
    assert list(weights.columns) == ["pooled", "group"]
    assert_allclose(weights.sum(axis=1), 1.0)
    assert weights["group"].between(0.3, 1.0).all()
    table = model.heterogeneity()
    assert table.loc["group", "p_value"] < 0.05
    own = model.estimators_["g0001"].predict(X)
    share = weights.loc["g0001", "group"]
    expected = share * own + (1 - share) * model.pooled_.predict(X)
    assert_allclose(model.predict(X, groups=["g0001"] * len(X)), expected)


def test_groups_that_are_alike_keep_little_of_their_own():
    X, _, group = rows_in_groups(n_groups=5, n=400)
    y = X[:, 0] + np.random.default_rng(0).normal(size=400)
    model = GroupedModels(LinearRegression(positive=True)).fit(X, y, groups=group)
    assert model.weights_["group"].max() < 0.3


def test_probabilities_are_blended():
    X, y, group = rows_in_groups(n_groups=4, n=400)
    classes = np.digitize(y, np.quantile(y, [0.3, 0.6]))
    tree = DecisionTreeClassifier(max_depth=3, random_state=0)
    model = GroupedModels(tree).fit(X, classes, groups=group)
    found = model.predict_proba(X, groups=group)
    assert_allclose(found.sum(axis=1), 1.0)
    assert_allclose(model.predict(X, groups=group), found.argmax(axis=1))
    assert model.score(X, classes, groups=group) > model.pooled_.score(X, classes)


def test_lost_groups_are_a_warning():
    X, y, group = rows_in_groups()
    model = GroupedModels().fit(X, y, groups=group)
    with pytest.warns(UnknownLevelWarning, match=r"no labels of \['group'\]"):
        found = model.predict(X)
    assert_allclose(found, model.parent_estimators_[()].predict(X))
    numbered = GroupedModels().fit(X, y, groups=np.arange(len(y)) % 7)
    with pytest.warns(UnknownLevelWarning, match="no label of 'group' is known: labels were"):
        numbered.predict(X, groups=group)


def poisson_rows():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=60), "g": np.repeat(list("abcdef"), 10)})
    return X, rng.poisson(3.0, 60).astype(float)


def test_a_group_without_finite_information_is_named(monkeypatch):
    X, y = poisson_rows()
    information = _estimator_fits.information

    def spoiled(family, estimator, table, *rest):
        found = information(family, estimator, table, *rest)
        is_third = np.array_equal(table[:, 0], X["x"][20:30])
        return replace(found, matrix=found.matrix * np.inf) if is_third else found

    monkeypatch.setattr(_estimator_fits, "information", spoiled)
    tweedie = TweedieRegressor(power=1.5)
    model = GroupedModels(tweedie, group_features="g", fallback="parent").fit(X, y)
    assert model.fallback_["group"].tolist() == [("c",)]
    assert "finite information matrix" in model.fallback_["reason"][0]
    assert np.isfinite(model.predict(X)).all()
    with pytest.raises(ValueError, match=r"\('c',\): its coefficients or columns are too large"):
        GroupedModels(tweedie, group_features="g", fallback="error").fit(X, y)


def test_groups_whose_numbers_are_too_large_to_be_shrunk_are_named():
    X, y = poisson_rows()
    X.loc[X["g"] == "c", "x"] *= 1e155
    for estimator in (PoissonRegressor, lambda **given: TweedieRegressor(power=1.5, **given)):
        model = GroupedModels(estimator(alpha=0.0, max_iter=2), group_features="g")
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            with pytest.raises(ValueError, match=r"largest in the group \('.',\): rescale"):
                model.fit(X, y)


@pytest.mark.parametrize("value", [0.1, 1e6 + 0.1, -1e-3 / 3.0, 0.125])
def test_a_constant_column_has_no_slope(value):
    """The rounding of its mean is no spread, by which a slope could be told."""
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"g": np.arange(80) % 8, "z": np.full(80, value)})
    y = rng.normal(size=8)[table["g"]] + rng.normal(size=80)
    model = GroupedModels(group_features="g").fit(table, y)
    of_zeros = GroupedModels(group_features="g").fit(table.assign(z=0.0), y)
    expected = of_zeros.predict(table.assign(z=0.0))
    assert_allclose(model.predict(table), expected, rtol=1e-12)
    assert_allclose(model.predict(table.assign(z=value + 1.0)), expected, rtol=1e-12)
    without = GroupedModels(group_features="g").fit(table[["g"]], y)
    assert_allclose(expected, without.predict(table[["g"]]), rtol=1e-3)


@pytest.mark.parametrize("learner", [LinearRegression(), Ridge()], ids=["least squares", "ridge"])
@pytest.mark.parametrize("shrinkage", ["blup", None])
@pytest.mark.parametrize(("size", "word"), [(1e200, "large"), (1e-200, "small")])
def test_numbers_whose_squares_leave_the_range_are_refused(size, word, shrinkage, learner):
    rng = np.random.default_rng(4)
    table = pd.DataFrame({"g": np.arange(40) % 4, "x": rng.normal(size=40)})
    model = GroupedModels(learner, group_features="g", shrinkage=shrinkage)
    with pytest.raises(ValueError, match=f"'x' are so {word}.*other units"):
        model.fit(table.assign(x=size * table["x"]), rng.normal(size=40))
    if word == "large":
        with pytest.raises(ValueError, match="'y' are so large"):
            model.fit(table, size * rng.normal(size=40))
