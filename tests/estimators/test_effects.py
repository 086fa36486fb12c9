"""A regressor with random effects: least squares gives the mixed model, others do no worse."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit, cross_val_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.estimator_checks import check_sample_weight_equivalence_on_dense_data

from skmixed import MixedEffectsRegressor, MixedLinearRegressor
from skmixed.exceptions import UnidentifiedWarning, UnknownLevelWarning
from skmixed.model_selection import cross_validate
from tests.estimators.example import pupils

TABLE = pupils()
X, Y = TABLE[["x", "z", "school", "class"]], TABLE["y"]
NUMBERS, GROUPS = X[["x", "z"]], X[["school", "class"]]
RANDOM = [
    "(1 | school)",
    "(x | school)",
    "(x || school) + (1 | class)",
    "(1 | school/class)",
    "(I(x ** 2) | school)",
]


def curves(n_rows=2_000, n_groups=150, seed=0):
    """Rows of a curve with shifts of groups, one feature of which tells the groups apart."""
    rng = np.random.default_rng(seed)
    group = rng.integers(n_groups, size=n_rows)
    shift, tag = rng.normal(size=n_groups), rng.uniform(size=n_groups)
    table = pd.DataFrame({"a": rng.uniform(size=n_rows), "tag": tag[group], "group": group})
    mean = 3.0 * np.sin(6.0 * table["a"])
    return table, mean + shift[group] + rng.normal(scale=0.5, size=n_rows), mean, shift


def boosting(**params):
    return HistGradientBoostingRegressor(max_iter=30, random_state=0, **params)


@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_least_squares_gives_the_linear_mixed_model(random, method):
    settings = {"method": method, "group_features": ["school", "class"]}
    ours = MixedEffectsRegressor(LinearRegression(), random, **settings).fit(X, Y)
    theirs = MixedLinearRegressor(random, **settings).fit(X, Y)
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)
    assert_allclose(ours.regressor_.coef_, theirs.coef_, rtol=1e-8)
    assert ours.criterion_ == pytest.approx(theirs.criterion_, rel=1e-12)
    for name, effects in theirs.random_effects_.items():
        assert_allclose(ours.random_effects_[name], effects, rtol=1e-9, atol=1e-12)
        assert_allclose(ours.random_covariance_[name], theirs.random_covariance_[name])
        assert_allclose(
            ours.random_effects_covariance_[name], theirs.random_effects_covariance_[name]
        )


def test_a_nearly_linear_regressor_comes_close():
    table, settings = X[["x", "z", "school"]], {"cross_fit": "none", "tol": 1e-9, "max_iter": 99}
    ridge = MixedEffectsRegressor(Ridge(1e-6), "(1 | school)", method="ml", **settings)
    theirs = MixedLinearRegressor("(1 | school)", method="ml").fit(table, Y)
    assert_allclose(ridge.fit(table, Y).predict(table), theirs.predict(table), atol=0.02)


def test_a_curve_and_the_variances_are_found():
    table, y, mean, shift = curves()
    model = MixedEffectsRegressor(boosting(), "(1 | group)").fit(table, y)
    assert model.random_covariance_["group"].iloc[0, 0] == pytest.approx(shift.var(), rel=0.2)
    assert model.residual_variance_ == pytest.approx(0.25, rel=0.25)
    assert np.sqrt(np.mean((model.predict(table, random="none") - mean) ** 2)) < 0.35
    effects = model.random_effects_["group"]["(Intercept)"]
    assert np.corrcoef(effects, shift[effects.index])[0, 1] > 0.95


def test_other_groups_keep_a_flexible_regressor_from_the_effects():
    """A forest that may split by the tag of a group learns the group."""
    table, y, _, shift = curves(n_rows=1_000)
    forest = RandomForestRegressor(20, random_state=0)
    found = {
        cross_fit: MixedEffectsRegressor(
            forest, "(1 | group)", cross_fit=cross_fit, max_iter=1, tol=0.0
        )
        for cross_fit in ["groups", "none"]
    }
    variance = {}
    for cross_fit, model in found.items():
        with pytest.warns(ConvergenceWarning, match="after 1 iterations"):
            model.fit(table, y)
        variance[cross_fit] = model.random_covariance_["group"].iloc[0, 0]
    assert variance["none"] < 0.5 * variance["groups"]
    assert variance["groups"] == pytest.approx(shift.var(), rel=0.35)


def test_out_of_bag():
    table, y, _, shift = curves(n_rows=1_000)
    model = MixedEffectsRegressor(
        RandomForestRegressor(50, min_samples_leaf=5, random_state=0),
        "(1 | group)",
        cross_fit="oob",
    ).fit(table, y)
    assert model.random_covariance_["group"].iloc[0, 0] == pytest.approx(shift.var(), rel=0.4)
    with pytest.raises(ValueError, match="oob_score"):
        MixedEffectsRegressor(Ridge(), "(1 | group)", cross_fit="oob").fit(table, y)


def test_groups_by_argument_are_groups_in_columns():
    model = MixedEffectsRegressor(Ridge(), group_features=["school", "class"]).fit(X, Y)
    other = MixedEffectsRegressor(Ridge()).fit(NUMBERS, Y, groups=GROUPS)
    assert_allclose(other.predict(NUMBERS, groups=GROUPS), model.predict(X), rtol=1e-9)
    array = NUMBERS.to_numpy()
    labels = GROUPS.to_numpy()
    third = MixedEffectsRegressor(Ridge()).fit(array, Y, groups=labels)
    assert_allclose(third.predict(array, groups=labels), model.predict(X), rtol=1e-9)
    assert third.n_groups_ == {"group0": 5, "group1": 3}
    places = MixedEffectsRegressor(Ridge(), "(x0 | x2)").fit(X.iloc[:, :3].to_numpy(), Y)
    names = MixedEffectsRegressor(Ridge(), "(x | school)").fit(X.iloc[:, :3], Y)
    assert_allclose(places.predict(X.iloc[:, :3].to_numpy()), names.predict(X.iloc[:, :3]))
    table = pl.from_pandas(X)
    fourth = MixedEffectsRegressor(Ridge(), group_features=["school", "class"]).fit(table, Y)
    assert_allclose(fourth.predict(table), model.predict(X), rtol=1e-9)


def test_predictions_for_some_factors_and_none():
    model = MixedEffectsRegressor(Ridge(), "(1 | school/class)").fit(X, Y)
    f = model.regressor_.predict(NUMBERS)
    assert_allclose(model.predict(NUMBERS, random="none"), f)
    school = model.random_effects_["school"]["(Intercept)"].loc[X["school"]].to_numpy()
    assert_allclose(model.predict(X, random=["school"]), f + school)
    new = X.assign(school="new")
    assert_allclose(model.predict(new), f)
    nan = MixedEffectsRegressor(Ridge(), "(1 | school)", handle_unknown="nan").fit(
        X[["x", "z", "school"]], Y
    )
    assert np.isnan(nan.predict(new[["x", "z", "school"]])).all()
    with pytest.raises(ValueError, match=r"random names the grouping factors \['shop'\]"):
        model.predict(X, random=["shop"])
    by_argument = MixedEffectsRegressor(Ridge()).fit(NUMBERS, Y, groups=X["school"])
    with pytest.warns(UnknownLevelWarning, match="no labels of"):
        prediction = by_argument.predict(NUMBERS)
    assert_allclose(prediction, by_argument.regressor_.predict(NUMBERS))


def test_intervals():
    table, y, _, _ = curves(n_rows=1_500)
    model = MixedEffectsRegressor(boosting(), "(1 | group)").fit(table, y)
    low, high = model.predict_interval(table, level=0.9).T
    assert np.mean((low < y) & (y < high)) == pytest.approx(0.93, abs=0.05)
    assert_allclose((low + high) / 2, model.predict(table))
    rows = pd.concat([table.head(20), table.head(3).assign(group=-1)])
    for kind in ("mean", "observation"):
        width = np.ptp(model.predict_interval(rows, kind=kind), axis=1)
        of_residuals = model.mixed_model_.predict_interval(rows[["group"]], kind=kind)
        assert_allclose(width, np.ptp(of_residuals, axis=1))
    for settings in [{"level": 1.0}, {"kind": "all"}]:
        with pytest.raises(ValueError, match="is no"):
            model.predict_interval(table, **settings)


def test_intervals_around_least_squares_are_those_of_the_linear_mixed_model():
    table = X[["x", "z", "school"]]
    rows = pd.concat([table.head(5), table.head(2).assign(school=-1)])
    model = MixedEffectsRegressor(LinearRegression(), "(x | school)").fit(table, Y)
    linear = MixedLinearRegressor("(x | school)").fit(table, Y)
    for kind in ("mean", "observation"):
        expected = linear.predict_interval(rows, level=0.8, kind=kind)
        assert_allclose(model.predict_interval(rows, level=0.8, kind=kind), expected, rtol=1e-6)


def test_intervals_know_what_the_random_effects_learned_since():
    table, y, _, _ = curves(n_rows=1_500)
    model = MixedEffectsRegressor(boosting(), "(1 | group)").fit(table, y)
    more = table.iloc[:40].assign(group=-1)
    known = table.iloc[:2].assign(group=[-1, table["group"][0]])
    before, of_model = model.predict(known), model.mixed_model_
    new = np.ptp(model.predict_interval(known, kind="mean"), axis=1)
    of_model.update_groups(more[["group"]], np.full(40, 2.0))
    assert model.predict(known)[0] - before[0] == pytest.approx(2.0, abs=0.1)
    mean = model.predict_interval(known, kind="mean")
    assert_allclose(mean.mean(axis=1), model.predict(known))
    of_residuals = of_model.predict_interval(known[["group"]], kind="mean")
    assert_allclose(np.ptp(mean, axis=1), np.ptp(of_residuals, axis=1))
    assert np.ptp(mean, axis=1)[0] < 0.5 * new[0]


def test_what_leaves_nothing_has_no_intervals():
    exact = DecisionTreeRegressor(random_state=0)
    for random, groups in [(None, None), ("(1 | g)", None)]:
        table = NUMBERS if random is None else NUMBERS.assign(g=np.arange(len(NUMBERS)) % 7)
        y = NUMBERS.iloc[:, 0].to_numpy() * 2.0
        model = MixedEffectsRegressor(exact, random, cross_fit="none")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnidentifiedWarning)
            model.fit(table, y, groups=groups)
        with pytest.raises(ValueError, match=r"fit.* exactly"):
            model.predict(table, interval=0.9)


def test_without_groups():
    model = MixedEffectsRegressor(Ridge()).fit(NUMBERS, Y)
    assert_array_equal(model.predict(NUMBERS), Ridge().fit(NUMBERS, Y).predict(NUMBERS))
    assert model.mixed_model_ is None
    assert model.random_effects_ == {} == model.random_covariance_
    assert model.random_effects_covariance_ == {}
    width = np.ptp(model.predict_interval(NUMBERS), axis=1)
    assert_allclose(width, 2 * 1.959964 * np.sqrt(model.residual_variance_), rtol=1e-6)


def test_early_stopping_missing_values_and_categories_stay_the_regressors():
    table, y, _, _ = curves(n_rows=1_000)
    table["a"] = table["a"].where(np.arange(1_000) % 10 > 0)
    table["kind"] = pd.Categorical(np.where(table["tag"] > 0.5, "high", "low"))
    trees = HistGradientBoostingRegressor(
        max_iter=100, early_stopping=True, categorical_features="from_dtype", random_state=0
    )
    model = MixedEffectsRegressor(trees, "(1 | group)").fit(table, y)
    assert model.regressor_.n_iter_ < 100
    assert model.regressor_.is_categorical_.tolist() == [False, False, True]
    assert model.score(table, y) > 0.9


def test_weights():
    copies = np.random.default_rng(0).integers(0, 4, size=len(X))
    rows = np.repeat(np.arange(len(X)), copies)
    settings = {"random": "(x | school)", "tol": 1e-8, "max_iter": 50}
    table = X[["x", "z", "school"]]
    weighted = MixedEffectsRegressor(Ridge(), **settings).fit(table, Y, copies)
    repeated = MixedEffectsRegressor(Ridge(), **settings).fit(table.iloc[rows], Y.iloc[rows])
    assert_allclose(weighted.predict(table), repeated.predict(table), rtol=1e-4)
    assert weighted.criterion_ == pytest.approx(repeated.criterion_, rel=1e-6)
    with pytest.raises(ValueError, match="KNeighborsRegressor does not accept it"):
        MixedEffectsRegressor(KNeighborsRegressor(), "(1 | school)").fit(table, Y, copies / 2)


@pytest.mark.parametrize(
    "regressor",
    [HistGradientBoostingRegressor(max_iter=20), KNeighborsRegressor()],
    ids=["leaves count rows", "takes no weights"],
)
def test_whole_number_weights_are_rows_to_any_regressor(regressor):
    copies = np.random.default_rng(0).integers(0, 4, size=len(X))
    rows = np.repeat(np.arange(len(X)), copies)
    table = X[["x", "z", "school"]]
    weighted = MixedEffectsRegressor(regressor, "(1 | school)").fit(table, Y, copies)
    repeated = MixedEffectsRegressor(regressor, "(1 | school)").fit(table.iloc[rows], Y.iloc[rows])
    assert_allclose(weighted.predict(table), repeated.predict(table), rtol=1e-8)
    check = check_sample_weight_equivalence_on_dense_data
    check("MixedEffectsRegressor", MixedEffectsRegressor(regressor))


def test_many_copies_are_weights():
    """So many that rows would take room: trees get them as they are."""
    seen = []

    class Recorder(DecisionTreeRegressor):
        def fit(self, X, y, sample_weight=None):
            seen.append((len(X), sample_weight))
            return super().fit(X, y, sample_weight)

    weights = np.full(len(X), 11.0)
    model = MixedEffectsRegressor(Recorder(max_depth=2), "(1 | school)", cross_fit="none")
    model.fit(X[["x", "z", "school"]], Y, weights)
    assert all(n_rows == len(X) for n_rows, _ in seen)
    assert_allclose(seen[-1][1], weights)


@pytest.mark.parametrize("cv", [3, KFold(3), GroupKFold(3)])
@pytest.mark.parametrize("cross_fit", ["groups", "rows"])
def test_folds(cv, cross_fit):
    table = X[["x", "z", "school"]]
    weights = (np.arange(len(X)) % 4 > 0).astype(float)
    model = MixedEffectsRegressor(
        Ridge(), "(1 | school)", cv=cv, cross_fit=cross_fit, random_state=0
    ).fit(table, Y, weights)
    assert model.score(table, Y) > 0.4
    with pytest.raises(ValueError, match="cv does not test every row exactly once"):
        model.set_params(cv=ShuffleSplit(3, random_state=0)).fit(table, Y)


def test_in_scikit_learns_tools():
    table = X[["x", "z", "school"]]
    model = MixedEffectsRegressor(make_pipeline(StandardScaler(), Ridge()), "(1 | school)")
    assert cross_val_score(model, table, Y, cv=KFold(3, shuffle=True, random_state=0)).min() > 0.4
    scores = cross_validate(
        MixedEffectsRegressor(Ridge()),
        NUMBERS,
        Y,
        groups=X["school"],
        generalize_to="known_groups",
        cv=3,
    )
    assert scores["test_score"].min() > 0.4
    kernel = MixedEffectsRegressor(KernelRidge(0.1, kernel="rbf"), "(1 | school)").fit(table, Y)
    whole = TransformedTargetRegressor(kernel, func=np.cbrt, inverse_func=lambda v: v**3)
    assert whole.fit(table, Y).score(table, Y) > 0.4
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(StandardScaler(), MixedEffectsRegressor(Ridge()))
        fitted = pipeline.fit(NUMBERS, Y, groups=X["school"])
        assert fitted.predict(NUMBERS, groups=X["school"]).shape == (len(X),)


def test_verbose_and_jobs(capsys):
    table = X[["x", "z", "school"]]
    one = MixedEffectsRegressor(Ridge(), "(1 | school)", verbose=1).fit(table, Y)
    assert capsys.readouterr().out.count("criterion") == one.n_iter_ == len(one.criteria_)
    with parallel_config(backend="threading"):
        two = MixedEffectsRegressor(Ridge(), "(1 | school)", n_jobs=2).fit(table, Y)
    assert_array_equal(one.predict(table), two.predict(table))
    assert one.criterion_ == min(one.criteria_)


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="no column is left for the regressor"):
        MixedEffectsRegressor(Ridge(), "(1 | school)").fit(X[["school"]], Y)
    with pytest.raises(ValueError, match=r"grouping columns \['shop'\] named in `random`"):
        MixedEffectsRegressor(Ridge(), "(1 | shop)").fit(X, Y)
    with pytest.raises(ValueError, match="grouping columns are given both by `groups`"):
        MixedEffectsRegressor(Ridge(), group_features=["school"]).fit(X, Y, groups=X["class"])
    model = MixedEffectsRegressor(Ridge(), "(1 | school)").fit(X[["x", "z", "school"]], Y)
    with pytest.raises(ValueError, match="groups were given, but"):
        model.predict(X[["x", "z", "school"]], groups=X["class"])
    with pytest.raises(ValueError, match="must be a data frame"):
        MixedEffectsRegressor(Ridge(), "(I(x0 ** 2) | x2)").fit(X.iloc[:, :3].to_numpy(), Y)
