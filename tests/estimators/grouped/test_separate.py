"""Without shrinkage: what plain loops over groups give, and what stands in where they cannot."""

import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skmixed import GroupedModels
from tests import reference_set
from tests.estimators.grouped.loops import rows_in_groups, separate_fits, separate_predictions

X, Y, GROUP = rows_in_groups()
CLASSES = np.array(["no", "maybe", "yes"], dtype=object)[np.digitize(Y, [-0.5, 1.5])]
WEIGHTS = np.random.default_rng(1).integers(1, 4, size=len(Y)).astype(float)


@pytest.mark.parametrize(
    "estimator",
    [
        LinearRegression(),
        LinearRegression(fit_intercept=False),
        LinearRegression(positive=True),
        Ridge(2.0),
        Ridge(0.5, fit_intercept=False),
        RandomForestRegressor(5, random_state=0),
        make_pipeline(StandardScaler(), Ridge()),
        KNeighborsRegressor(2),
    ],
    ids=str,
)
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_regressors(estimator, n_outputs):
    y = Y if n_outputs == 1 else np.column_stack([Y, Y**2])
    expected = separate_predictions(separate_fits(estimator, X, y, GROUP), X, GROUP)
    model = GroupedModels(estimator, shrinkage=None).fit(X, y, groups=GROUP)
    assert_allclose(model.predict(X, groups=GROUP), expected, rtol=1e-9, atol=1e-9)
    assert len(model.fallback_) == 0
    assert (model.weights_["group"] == 1.0).all()


@pytest.mark.parametrize(
    "estimator", [LinearRegression(), Ridge(), LinearRegression(positive=True)]
)
def test_weights_reach_the_estimators(estimator):
    expected = separate_predictions(separate_fits(estimator, X, Y, GROUP, WEIGHTS), X, GROUP)
    model = GroupedModels(estimator, shrinkage=None).fit(X, Y, WEIGHTS, groups=GROUP)
    assert_allclose(model.predict(X, groups=GROUP), expected, rtol=1e-9)


def test_weights_reach_the_last_step_of_a_pipeline():
    pipe = make_pipeline(StandardScaler(), Ridge())
    model = GroupedModels(pipe, shrinkage=None).fit(X, Y, WEIGHTS, groups=GROUP)
    rows = np.flatnonzero(GROUP == "g0003")
    pipe.fit(X[rows], Y[rows], ridge__sample_weight=WEIGHTS[rows])
    assert_allclose(model.estimators_["g0003"].predict(X), pipe.predict(X))


def test_weights_reach_the_last_step_of_a_pipeline_in_a_pipeline():
    pipe = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), Ridge()))
    nested = GroupedModels(pipe, shrinkage=None).fit(X, Y, WEIGHTS, groups=GROUP)
    flat = GroupedModels(make_pipeline(StandardScaler(), Ridge()), shrinkage=None)
    assert_allclose(
        nested.predict(X, GROUP), flat.fit(X, Y, WEIGHTS, groups=GROUP).predict(X, GROUP)
    )


def test_an_estimator_that_takes_no_weights():
    with pytest.raises(TypeError, match="KNeighborsRegressor does not accept sample_weight"):
        GroupedModels(KNeighborsRegressor()).fit(X, Y, WEIGHTS, groups=GROUP)


@pytest.mark.parametrize(
    ("estimator", "methods"),
    [
        (LogisticRegression(), ["predict", "predict_proba", "predict_log_proba"]),
        (LogisticRegression(), ["decision_function"]),
        (DecisionTreeClassifier(max_depth=2, random_state=0), ["predict", "predict_proba"]),
        (make_pipeline(StandardScaler(), LogisticRegression()), ["predict", "predict_proba"]),
    ],
    ids=str,
)
def test_classifiers(estimator, methods):
    kept = np.array([set(CLASSES[g == GROUP]) == set(CLASSES) for g in GROUP])
    model = GroupedModels(estimator, shrinkage=None).fit(X[kept], CLASSES[kept], groups=GROUP[kept])
    loops = separate_fits(estimator, X[kept], CLASSES[kept], GROUP[kept].to_numpy())
    for method in methods:
        found = getattr(model, method)(X[kept], groups=GROUP[kept])
        expected = separate_predictions(loops, X[kept], GROUP[kept], method)
        if method == "predict":
            assert_array_equal(found, expected)
        else:
            assert_allclose(found, expected)
    assert_array_equal(model.classes_, sorted(set(CLASSES)))


def test_methods_are_those_of_the_estimator():
    assert hasattr(GroupedModels(LogisticRegression()), "predict_proba")
    assert not hasattr(GroupedModels(LinearSVC()), "predict_proba")
    assert hasattr(GroupedModels(LinearSVC()), "decision_function")
    assert not hasattr(GroupedModels(), "decision_function")


def test_a_class_that_a_group_never_had():
    group = np.repeat(["a", "b"], 30)
    x = np.tile(np.arange(30.0), 2)[:, None]
    y = np.where(group == "a", np.arange(60) % 3, np.arange(60) % 2)
    model = GroupedModels(DecisionTreeClassifier(random_state=0), shrinkage=None)
    found = model.fit(x, y, groups=group).predict_proba(x, groups=group)
    assert found.shape == (60, 3)
    assert (found[group == "b", 2] == 0.0).all()
    logistic = GroupedModels(LogisticRegression(), shrinkage=None).fit(x, y, groups=group)
    assert (logistic.decision_function(x, groups=group)[group == "b", 2] == -np.inf).all()


def school_rows():
    """Schools and classes; class (s1, c) has two rows, (s2, a) is constant, (s3, a) collinear."""
    rng = np.random.default_rng(3)
    school = np.repeat(["s0", "s1", "s2", "s3"], 30)
    letter = np.tile(np.repeat(["a", "b", "c"], 10), 4)
    kept = ~((school == "s1") & (letter == "c") & (np.arange(120) % 10 > 1))
    table = pd.DataFrame({"x": rng.normal(size=120), "z": rng.normal(size=120)})
    table.loc[(school == "s2") & (letter == "a"), "z"] = 0.3
    rows = (school == "s3") & (letter == "a")
    table.loc[rows, "z"] = 2.0 * table.loc[rows, "x"]
    table = table.assign(school=school, letter=letter, y=table["x"] + rng.normal(size=120))
    return table[kept].reset_index(drop=True)


def test_a_hierarchy_falls_back_to_the_nearest_parent():
    table = school_rows()
    model = GroupedModels(group_features=["school", "letter"], shrinkage=None)
    model.fit(table.drop(columns="y"), table["y"])
    assert model.n_groups_ == {"school": 4, "letter": 12}
    assert model.fallback_.to_dict("list") == {
        "group": [("s1", "c")],
        "used": [("s1",)],
        "reason": ["2 rows are too few for 3 coefficients"],
    }
    new = pd.DataFrame(
        {
            "x": 0.5,
            "z": -1.0,
            "school": ["s1", "s1", "s9", None, "s0"],
            "letter": ["c", "new", "a", "a", None],
        }
    )
    schools = separate_fits(
        LinearRegression(),
        table[["x", "z"]].to_numpy(),
        table["y"].to_numpy(),
        table["school"].to_numpy(),
    )
    pooled = LinearRegression().fit(table[["x", "z"]], table["y"])
    one = new[["x", "z"]].head(1)
    of_school = {name: fit.predict(one.to_numpy())[0] for name, fit in schools.items()}
    expected = [of_school["s1"]] * 2 + [pooled.predict(one)[0]] * 2 + [of_school["s0"]]
    assert_allclose(model.predict(new), expected, rtol=1e-10)
    assert_allclose(model.parent_estimators_[("s1",)].coef_, schools["s1"].coef_)
    assert_allclose(model.parent_estimators_[()].coef_, pooled.coef_)
    assert model.weights_.loc[("s1", "c")].tolist() == [0.0, 1.0, 0.0]


def test_collinear_groups_are_those_of_the_estimator():
    table = school_rows()
    model = GroupedModels(group_features=["school", "letter"], shrinkage=None)
    model.fit(table.drop(columns="y"), table["y"])
    for key in [("s2", "a"), ("s3", "a")]:
        rows = (table["school"] == key[0]) & (table["letter"] == key[1])
        alone = LinearRegression().fit(table.loc[rows, ["x", "z"]], table.loc[rows, "y"])
        assert_allclose(model.estimators_[key].coef_, alone.coef_, rtol=1e-9, atol=1e-12)
        assert_allclose(model.estimators_[key].intercept_, alone.intercept_, rtol=1e-9)


def test_order_of_levels_is_the_users():
    table = school_rows()
    model = GroupedModels(group_features=["letter", "school"], shrinkage=None)
    model.fit(table.drop(columns="y"), table["y"])
    assert list(model.n_groups_) == ["letter", "school"]
    assert next(iter(model.estimators_)) == ("a", "s0")


def test_fallback_error_names_the_groups():
    table = school_rows()
    model = GroupedModels(group_features=["school", "letter"], shrinkage=None, fallback="error")
    with pytest.raises(ValueError, match=r"\('s1', 'c'\): 2 rows are too few for 3 coeff.*parent"):
        model.fit(table.drop(columns="y"), table["y"])
    model.set_params(group_features=["school"]).fit(table[["x", "z", "school"]], table["y"])
    with pytest.raises(ValueError, match=r"1 rows .* not seen in fit, .* first in row 0"):
        model.predict(pd.DataFrame({"x": [0.0], "z": [0.0], "school": ["s9"]}))


def test_groups_of_one_class_and_fits_that_fail():
    x = np.arange(30.0)[:, None]
    group = np.repeat(["a", "b", "c"], 10)
    y = np.where(group == "b", 1, np.arange(30) % 2)
    model = GroupedModels(LogisticRegression(), shrinkage=None).fit(x, y, groups=group)
    assert model.fallback_["reason"].tolist() == ["one class only, 1"]
    counts = np.where(group == "c", -1.0, np.arange(30.0))
    counts[0] = 2.0
    with pytest.raises(ValueError, match="out of the valid range"):
        GroupedModels(PoissonRegressor()).fit(x, counts, groups=group)
    near = GroupedModels(KNeighborsClassifier(5), shrinkage=None, min_samples=11)
    near.fit(x, np.arange(30) % 2, groups=group)
    assert set(near.fallback_["used"]) == {()}
    assert set(near.fallback_["reason"]) == {"10 rows are too few for min_samples=11"}


def test_an_error_within_a_group():
    class Picky(Ridge):
        def fit(self, X, y, sample_weight=None):
            if len(y) < 12:
                raise RuntimeError("too picky")
            return super().fit(X, y, sample_weight)

    group = np.repeat(["a", "b"], [10, 20])
    model = GroupedModels(Picky(), shrinkage=None).fit(X[:30], Y[:30], groups=group)
    assert model.fallback_["reason"].tolist() == ["RuntimeError: too picky"]
    assert_allclose(model.predict(X[:10], groups=group[:10]), model.pooled_.predict(X[:10]))


def test_columns_of_text_reach_a_pipeline():
    table = school_rows().drop(columns="z")
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["letter"]), remainder="passthrough"
    )
    pipe = make_pipeline(encode, Ridge())
    model = GroupedModels(pipe, group_features="school", shrinkage=None)
    model.fit(table.drop(columns="y"), table["y"])
    rows = table["school"] == "s2"
    pipe.fit(table.loc[rows, ["x", "letter"]], table.loc[rows, "y"])
    found = model.predict(table[rows].drop(columns="y"))
    assert_allclose(found, pipe.predict(table.loc[rows, ["x", "letter"]]))


@pytest.mark.parametrize("shrinkage", [None, "blup", "equal"])
def test_no_rows_have_no_predictions_but_their_shape(shrinkage):
    table = school_rows()[["letter", "x", "school"]]
    encode = OneHotEncoder(handle_unknown="ignore")
    settings = {"group_features": "school", "shrinkage": shrinkage}
    classes = CLASSES[: len(table)]
    three = GroupedModels(make_pipeline(encode, LogisticRegression()), **settings)
    three.fit(table, classes)
    assert three.predict(table[:0]).shape == (0,)
    assert three.predict(table[:0]).dtype == three.predict(table).dtype
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        assert getattr(three, method)(table[:0]).shape == (0, 3)
    two = GroupedModels(make_pipeline(encode, LogisticRegression()), **settings)
    assert two.fit(table, classes == "yes").decision_function(table[:0]).shape == (0,)
    ridge = GroupedModels(make_pipeline(encode, Ridge()), **settings)
    assert ridge.fit(table, np.ones((len(table), 2))).predict(table[:0]).shape == (0, 2)


@reference_set.needs_whole_set
def test_the_cells_of_the_tutorial_are_those_of_r():
    table = reference_set.whole_set_table("extroversion")
    features = ["open", "agree", "social"]
    path = reference_set.WHOLE_SET / "fits" / "seed_dlply.json"
    theirs = json.loads(path.read_text(encoding="utf-8"))["models"]
    for shrinkage in (None, "blup"):
        model = GroupedModels(group_features=["school", "class"], shrinkage=shrinkage)
        model.fit(table[[*features, "school", "class"]], table["extro"])
        found = model.coef_table()
        assert len(found) == len(theirs) == 24
        for cell in theirs:
            row = found.loc[(cell["school"], cell["class"])]
            assert row["n"] == cell["n"]
            assert_allclose(row["residual sd"], cell["residual_sd"], rtol=1e-9)
            for name in ["(Intercept)", *features]:
                assert_allclose(row[name], cell["coef"][name], rtol=1e-7)
                assert_allclose(row[f"se {name}"], cell["se"][name], rtol=1e-7)
        display = str(model.summary())
        for line in theirs[0]["arm_display"][1:]:
            assert line.split()[-1] in display
