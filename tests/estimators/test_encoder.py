"""Encodings are BLUPs, of all rows, of the rows outside a fold, or without each row."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit, StratifiedKFold
from sklearn.pipeline import make_pipeline

from skmixed import BLUPEncoder, MixedLinearRegressor
from skmixed.exceptions import UnidentifiedWarning, UnknownLevelWarning
from tests.estimators.example import pupils

TABLE = pupils()
X, Y = TABLE[["school", "class"]], TABLE["y"]
NUMBERED = pd.factorize(TABLE["class"])[0]


def blups(random, table, y, fixed=()):
    """Effects of every factor by the regressor, on rows of the table itself."""
    columns = [*fixed, "school", "class"]
    features = ["school", "class"]
    model = MixedLinearRegressor(random, group_features=features).fit(table[columns], y)
    return model.random_effects_


def test_encodings_are_the_blups_of_one_model_a_column():
    found = BLUPEncoder().fit(X, Y).transform(X)
    for place, name in enumerate(X):
        effects = blups(f"(1 | {name})", TABLE, Y)[name]["(Intercept)"]
        assert_allclose(found[:, place], effects.loc[X[name]], rtol=1e-5)


def test_joint_encodings_are_the_blups_of_one_crossed_model():
    encoder = BLUPEncoder(joint=True).fit(X, Y)
    effects = blups("(1 | school) + (1 | class)", TABLE, Y)
    for place, name in enumerate(X):
        expected = effects[name]["(Intercept)"].loc[X[name]]
        assert_allclose(encoder.transform(X)[:, place], expected, rtol=1e-5, atol=1e-8)
    assert encoder.residual_variance_.shape == (1, 1)


def test_columns_that_divide_the_rows_alike_are_not_crossed():
    table = X.assign(again=X["school"].str.upper())
    found = BLUPEncoder(joint=True).fit(table, Y).transform(table)
    assert_allclose(found[:, :2], BLUPEncoder(joint=True).fit(X, Y).transform(X))
    assert_allclose(found[:, 2:], BLUPEncoder().fit(X[["school"]], Y).transform(X[["school"]]))


def test_slopes_deviations_and_counts():
    table = TABLE[["x", "school"]]
    encoder = BLUPEncoder(slopes="x", extra=["sd", "count"]).fit(table, Y)
    model = MixedLinearRegressor("(x | school)").fit(table, Y)
    effects = model.random_effects_["school"]
    covariance = model.random_effects_covariance_["school"]
    place = effects.index.get_indexer(table["school"])
    found = encoder.transform(table)
    assert list(encoder.get_feature_names_out()) == [
        "x",
        "school",
        "school_x",
        "school_sd",
        "school_x_sd",
        "school_count",
    ]
    assert_array_equal(found[:, 0], table["x"])
    assert_allclose(found[:, 1:3], effects.to_numpy()[place], rtol=1e-5)
    deviations = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    assert_allclose(found[:, 3:5], deviations[place], rtol=1e-5)
    assert_array_equal(found[:, 5], table.groupby("school")["x"].transform("size"))
    new = encoder.transform(pd.DataFrame({"x": [2.0], "school": ["new"]}))
    prior = np.sqrt(np.diag(model.random_covariance_["school"]))
    assert_allclose(new[0], [2.0, 0.0, 0.0, *prior, 0.0], rtol=1e-5)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("target", ["continuous", "binary", "multiclass", "count"])
def test_cross_fitting_is_a_fit_to_the_other_folds(joint, target):
    y = {"continuous": Y, "binary": Y > 3, "multiclass": pd.cut(Y, 3, labels=["l", "m", "h"])}
    y = np.asarray(y.get(target, np.floor(np.exp(Y / 4))))
    kind = StratifiedKFold if target in ("binary", "multiclass") else KFold
    cv = kind(4, shuffle=True, random_state=3)
    settings = {"joint": joint, "extra": ["sd", "count"]}
    if target == "count":
        settings["target_type"] = target
    found = BLUPEncoder(cv=4, random_state=3, **settings).fit_transform(X, y)
    assert_array_equal(found, BLUPEncoder(cv=cv, **settings).fit_transform(X, y))
    for train, test in cv.split(X, y):
        expected = BLUPEncoder(**settings).fit(X.iloc[train], y[train]).transform(X.iloc[test])
        assert_allclose(found[test], expected, rtol=1e-4, atol=1e-6)


def test_a_level_that_no_other_fold_has_is_encoded_as_zero():
    table = X.assign(school=["alone", *X["school"].iloc[1:]])
    found = BLUPEncoder(extra=["count"], cv=KFold(3)).fit_transform(table, Y)
    assert_array_equal(found[0, :2], [0.0, 0.0])


def test_leaving_one_out_is_exact_at_the_variance_components():
    table = TABLE.assign(rare=np.where(np.arange(150) < 3, "rare", TABLE["school"]))
    table.loc[3, "rare"] = "once"
    encoder = BLUPEncoder(columns="rare", cross_fit="loo", extra=["sd", "count"])
    found = encoder.fit_transform(table[["rare"]], Y)
    between, within = encoder.random_covariance_[0][0, 0, 0], encoder.residual_variance_[0, 0]
    for row in [0, 3, 70]:
        rest = table.drop(index=row)
        n = rest.groupby("rare")["y"].size()
        shrinkage = n / (n + within / between)
        means = rest.groupby("rare")["y"].mean()
        centre = (shrinkage * means).sum() / shrinkage.sum()
        expected = (shrinkage * (means - centre)).get(table["rare"][row], 0.0)
        size = n.get(table["rare"][row], 0)
        spread = np.sqrt(between * within / (within + size * between))
        assert_allclose(found[row], [expected, spread, size], rtol=1e-6, atol=1e-14)


def test_leaving_one_out_of_crossed_columns():
    encoder = BLUPEncoder(joint=True, cross_fit="loo")
    found = encoder.fit_transform(X, Y)
    model = MixedLinearRegressor("(1 | school) + (1 | class)").fit(X, Y)
    without = model.loo_predict(X, Y)
    assert np.corrcoef(found.sum(axis=1), without)[0, 1] > 0.999


def test_missing_labels():
    table = X.copy()
    table.loc[:20, "school"] = None
    level = BLUPEncoder().fit(table, Y)
    filled = table.fillna({"school": "missing"})
    assert_allclose(level.transform(table), BLUPEncoder().fit(filled, Y).transform(filled))
    assert pd.isna(level.categories_[0][-1])
    unknown = BLUPEncoder(columns="school", handle_missing="unknown").fit(table[["school"]], Y)
    found = unknown.transform(table[["school"]]).ravel()
    there = table["school"].notna().to_numpy()
    assert (found[~there] == 0.0).all()
    kept = table[["school"]][there]
    assert_allclose(found[there], BLUPEncoder().fit(kept, Y[there]).transform(kept).ravel())
    for cross_fit in ["kfold", "loo"]:
        unknown.set_params(cross_fit=cross_fit)
        assert (unknown.fit_transform(table[["school"]], Y)[~there] == 0.0).all()


def test_unknown_labels():
    new = pd.DataFrame({"school": ["north", "new", None], "class": ["a", "a", "a"]})
    found = BLUPEncoder().fit(X, Y).transform(new)
    assert found[0, 0] != 0.0
    assert_array_equal(found[1:, 0], [0.0, 0.0])
    found = BLUPEncoder(handle_unknown="nan").fit(X, Y).transform(new)
    assert np.isnan(found).tolist() == [[False, False], [True, False], [True, False]]
    with pytest.raises(
        ValueError,
        match="'school' has labels that are missing or were not seen in fit, in rows 1, 2",
    ):
        BLUPEncoder(handle_unknown="error").fit(X, Y).transform(new)


def test_levels_that_determine_the_target():
    y = X["school"] == "mid"
    for settings in [{}, {"joint": True}, {"cross_fit": "loo"}]:
        found = BLUPEncoder(**settings).fit_transform(X, y)[:, 0]
        assert np.isfinite(found).all()
        assert found[y].min() > 2.0
        assert found[~y].max() < 0.0
    assert_array_equal(BLUPEncoder().fit_transform(X, y)[:, 0], np.where(y, 5.0, -5.0))


def test_a_constant_target():
    assert not BLUPEncoder().fit_transform(X, np.full(len(X), 2.5)).any()


def test_labels_that_say_nothing():
    table = pd.DataFrame({"id": np.arange(150), "same": "a"})
    with pytest.warns(UnidentifiedWarning, match="encodings of") as caught:
        found = BLUPEncoder().fit_transform(table, Y)
    assert len(caught) == 2
    assert not found.any()


@pytest.mark.parametrize("target", ["continuous", "binary", "multiclass", "count"])
def test_one_label_says_nothing_of_any_target(target):
    y = np.digitize(Y, [2.0] if target == "binary" else [2.0, 4.0])
    with pytest.warns(UnidentifiedWarning, match=r"\['same'\] are zero: a column with a single"):
        found = BLUPEncoder(target_type=target).fit_transform(X.assign(same="a")[["same"]], y)
    assert not found.any()


def test_tables_and_output():
    expected = BLUPEncoder().fit(X, Y).transform(X)
    for table in [pl.from_pandas(X), X.astype("category"), X.to_numpy(dtype=object)]:
        assert_allclose(BLUPEncoder().fit(table, Y).transform(table), expected, rtol=1e-12)
    for kind in ["pandas", "polars"]:
        out = BLUPEncoder().set_output(transform=kind).fit_transform(X, Y)
        assert list(out.columns) == ["school", "class"]
    y = np.digitize(Y, [2.0, 4.0])
    encoder = BLUPEncoder(columns=["class"]).set_output(transform="pandas")
    out = encoder.fit_transform(TABLE[["x", "class"]], y)
    assert list(out.columns) == ["x", "class_0", "class_1", "class_2"]
    assert np.isfinite(out).all(axis=None)


def test_whole_numbers_as_numbers():
    y = np.digitize(Y, [2.0, 4.0])
    assert BLUPEncoder().fit(X, y).target_type_ == "multiclass"
    assert BLUPEncoder(target_type="continuous").fit_transform(X, y).shape == (150, 2)


def test_in_a_column_transformer():
    numbers = ("passthrough", ["x", "z"])
    columns = make_column_transformer((BLUPEncoder(random_state=0), ["school"]), numbers)
    model = make_pipeline(columns, Ridge()).fit(TABLE[["x", "z", "school"]], Y)
    plain = Ridge().fit(TABLE[["x", "z"]], Y)
    assert model.score(TABLE, Y) > plain.score(TABLE[["x", "z"]], Y) + 0.3


def test_groups_of_the_splitter():
    school = X["school"]
    expected = BLUPEncoder(columns="class", cv=GroupKFold(5)).fit_transform(
        X[["class"]], Y, groups=school
    )
    with sklearn.config_context(enable_metadata_routing=True):
        encoder = BLUPEncoder(cv=GroupKFold(5).set_split_request(groups=True))
        model = make_pipeline(encoder, Ridge()).fit(X[["class"]], Y, groups=school)
        found = encoder.fit_transform(X[["class"]], Y, groups=school)
    assert model[0].get_feature_names_out().tolist() == ["class"]
    assert_array_equal(found, expected)
    for train, test in GroupKFold(5).split(X, Y, school):
        rest = BLUPEncoder().fit(X[["class"]].iloc[train], Y.iloc[train])
        assert_allclose(found[test], rest.transform(X[["class"]].iloc[test]), atol=1e-6)


def test_errors_say_what_to_do():
    for settings, message in [
        ({"columns": "shop"}, r"columns names 'shop'.*X has the columns \['school', 'class'\]"),
        ({"slopes": 2}, r"2, but X has 2 feature\(s\)\. Where a meta-estimator"),
        ({"slopes": [0, 1]}, "no column to encode"),
        ({"columns": 0, "slopes": 0}, r"the columns \['school'\] are given both in"),
        ({"extra": ["mean"]}, r"\['mean'\]; only 'sd' and 'count' are allowed"),
        ({"slopes": "school"}, "not numeric"),
        ({"target_type": "binary"}, "y has 150 classes"),
    ]:
        with pytest.raises(ValueError, match=message):
            BLUPEncoder(**settings).fit(X, Y)
    with pytest.raises(ValueError, match="cv does not test every row exactly once"):
        BLUPEncoder(cv=ShuffleSplit(3, random_state=0)).fit_transform(X, Y)
    with pytest.raises(ValueError, match="all labels of the column 'school' are missing"):
        BLUPEncoder(handle_missing="unknown").fit(X.assign(school=None), Y)
    with pytest.raises(ValueError, match="continuous-multioutput"):
        BLUPEncoder().fit(X, TABLE[["y", "x"]])


@pytest.mark.filterwarnings("ignore::skmixed.exceptions.UnidentifiedWarning")
@pytest.mark.parametrize(
    ("n_rows", "settings", "message"),
    [
        (4, {}, "cv=5 folds need at least as many rows, but n_samples=4"),
        (1, {"cv": 2}, "cv=2 folds need at least as many rows, but n_samples=1"),
        (
            9,
            {"target_type": "multiclass"},
            "cv=5 folds need a class of y with as many rows, but the largest has 1",
        ),
    ],
)
def test_more_folds_than_rows(n_rows, settings, message):
    with pytest.raises(ValueError, match=message):
        BLUPEncoder(**settings).fit_transform(X[:n_rows], Y[:n_rows])
    one = BLUPEncoder(cross_fit="loo", target_type="continuous")
    assert not one.fit_transform(X[:1], Y[:1]).any()


def test_a_failed_fit_changes_nothing():
    encoder = BLUPEncoder().fit(X, Y)
    before = encoder.transform(X)
    state = dict(vars(encoder))
    with pytest.raises(ValueError, match="NaN"):
        encoder.fit(X.rename(columns={"class": "room"}), Y.where(Y < 5))
    assert vars(encoder).keys() == state.keys()
    assert_array_equal(encoder.transform(X), before)


def test_noise_does_not_leak_into_training_folds():
    """A column of noise is worth as much in training as on new rows: nothing."""
    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(20):
        noise = pd.DataFrame({"noise": rng.integers(300, size=1_000)})
        y = rng.normal(size=1_000)
        encoded = BLUPEncoder(random_state=0).fit_transform(noise, y)
        gaps.append(Ridge(alpha=1e-6).fit(encoded, y).score(encoded, y))
    assert np.mean(gaps) < 0.005


def test_labels_of_another_kind_than_in_fit_are_said():
    encoder = BLUPEncoder(columns=["class"]).fit(TABLE[["class"]].assign(**{"class": NUMBERED}), Y)
    with pytest.warns(UnknownLevelWarning, match="'class' is known: labels were numbers in"):
        encoded = encoder.transform(pd.DataFrame({"class": NUMBERED.astype(str)}))
    assert_array_equal(np.asarray(encoded), 0.0)
