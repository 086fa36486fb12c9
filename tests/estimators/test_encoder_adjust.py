"""Effects of labels are those of a model that has the other columns, too."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from skmixed import BLUPEncoder, MixedClassifier, MixedLinearRegressor
from skmixed.exceptions import UnidentifiedWarning
from tests.estimators.example import pupils

TABLE = pupils().assign(sex=np.where(np.random.default_rng(1).random(150) < 0.5, "f", "m"))
X, Y = TABLE[["x", "z", "school"]], TABLE["y"]


def effects(table, y, fixed):
    """BLUPs of the school of every row, by the regressor with a formula for the fixed part."""
    model = MixedLinearRegressor("(1 | school)", fixed=fixed).fit(table, y)
    return model.random_effects_["school"]["(Intercept)"].loc[table["school"]].to_numpy()


def encoded(table, adjust=True, columns="school", y=Y, **settings):
    """Encodings of the column that is encoded, of all rows by all of them."""
    encoder = BLUPEncoder(columns=columns, adjust=adjust, **settings).fit(table, y)
    place = list(encoder.get_feature_names_out()).index("school")
    return encoder.transform(table)[:, place]


def test_labels_are_adjusted_for_the_other_columns():
    assert_allclose(encoded(X), effects(TABLE, Y, "x + z"), rtol=1e-5)
    assert_allclose(encoded(X, "z"), effects(TABLE, Y, "z"), rtol=1e-5)
    assert_allclose(encoded(X, [0]), effects(TABLE, Y, "x"), rtol=1e-5)
    assert_allclose(encoded(X, False), effects(TABLE, Y, "1"), rtol=1e-5)
    formula = "x * z + np.exp(x)"
    assert_allclose(encoded(X, formula), effects(TABLE, Y, formula), rtol=1e-5)
    assert_allclose(encoded(X, "~ ."), encoded(X), rtol=1e-9)
    named = BLUPEncoder(adjust=["x", "z"]).fit(X, Y)  # the rest is encoded
    assert_allclose(named.transform(X)[:, 2], encoded(X))


def test_a_label_does_not_carry_the_effect_of_another_column():
    """Every label has its own range of t, and an effect of its own that new ones do not share."""
    rng = np.random.default_rng(0)
    label = rng.integers(40, size=2_000)
    t = label + rng.normal(scale=0.3, size=2_000)
    table = pd.DataFrame({"t": t, "label": label})
    y = 2.0 * t + rng.normal(scale=2.0, size=40)[label] + rng.normal(size=2_000)
    spread = {}
    for adjust in (False, True):
        encoder = BLUPEncoder(columns="label", adjust=adjust, random_state=0)
        found = encoder.fit_transform(table, y)
        model = Ridge(alpha=1e-6).fit(found, y)
        new = encoder.transform(pd.DataFrame({"t": t, "label": -1}))
        spread[adjust] = np.sqrt(np.mean((model.predict(new) - 2.0 * t) ** 2))
    assert spread[False] > 5.0
    assert spread[True] < 1.0


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("y", [Y, (Y > 3.0).astype(int)])
def test_cross_fitting_is_a_fit_to_the_other_folds(joint, y):
    table = TABLE[["x", "sex", "school", "class"]]
    settings = {"columns": ["school", "class"], "adjust": True, "joint": joint, "extra": ["sd"]}
    cv = KFold(4, shuffle=True, random_state=3)
    found = BLUPEncoder(cv=cv, **settings).fit_transform(table, y)
    for train, test in cv.split(table):
        rest = BLUPEncoder(**settings).fit(table.iloc[train], y.iloc[train])
        assert_allclose(found[test], rest.transform(table.iloc[test]), rtol=1e-3, atol=1e-4)


def test_classes_are_adjusted_on_the_scale_of_the_link():
    y = (Y > 3.0).to_numpy()
    model = MixedClassifier("(1 | school)").fit(X, y)
    expected = model.random_effects_["school"]["(Intercept)"].loc[X["school"]]
    assert_allclose(encoded(X, y=y), expected, rtol=1e-4)


def test_leaving_one_out_is_exact_at_the_variance_components():
    encoder = BLUPEncoder(columns="school", adjust=True, cross_fit="loo")
    found = encoder.fit_transform(X, Y)[:, 2]
    ratio = encoder.random_covariance_[0][0, 0, 0] / encoder.residual_variance_[0, 0]
    Z = (X[["school"]].to_numpy() == np.unique(X["school"])).astype(float)
    F = np.column_stack([np.ones(150), X[["x", "z"]]])
    for row in (0, 60):
        rest = np.delete(np.arange(150), row)
        V = np.eye(149) + ratio * Z[rest] @ Z[rest].T
        solved = np.linalg.solve(V, np.column_stack([F[rest], Y.iloc[rest]]))
        beta = np.linalg.solve(F[rest].T @ solved[:, :3], F[rest].T @ solved[:, 3])
        b = ratio * Z[rest].T @ (solved[:, 3] - solved[:, :3] @ beta)
        assert_allclose(found[row], Z[row] @ b, rtol=1e-7)


def test_missing_constant_and_collinear_columns():
    gaps = np.random.default_rng(5).random(150) < 0.2
    table = X.assign(x=X["x"].where(~gaps))
    filled = table.assign(x=table["x"].fillna(7.0), gap=gaps.astype(float), school=X["school"])
    for adjust in (True, "x + z"):
        assert_allclose(encoded(table, adjust), encoded(filled, "x + z + gap"), rtol=1e-6)
    assert np.isnan(BLUPEncoder(columns="school", adjust=True).fit_transform(table, Y)).any()
    useless = {"one": 1.0, "none": np.nan, "twice": 2.0 * X["x"] - X["z"], "flag": True}
    more = table.assign(**useless)[["one", "none", "twice", "flag", *table]]
    plain = BLUPEncoder(columns="school", adjust=True).fit(X, Y)
    again = BLUPEncoder(columns="school", adjust=True).fit(X.assign(**useless), Y)
    assert_allclose(again.encodings_[0], plain.encodings_[0], rtol=1e-6)
    assert np.isfinite(encoded(more)).all()


def test_few_labels_beside_those_encoded_become_dummies():
    table = TABLE[["x", "sex", "school"]].copy()
    table.loc[3, "sex"] = None
    encoder = BLUPEncoder(columns="school", adjust=True).fit(table, Y)
    assert list(encoder.get_feature_names_out()) == ["x", "sex_m", "sex_missing", "school"]
    found = encoder.transform(table)
    assert_array_equal(found[:, 1], table["sex"] == "m")
    assert_array_equal(found[:, 2], table["sex"].isna())
    dummies = TABLE.assign(m=found[:, 1], none=found[:, 2])
    assert_allclose(found[:, 3], effects(dummies, Y, "x + m + none"), rtol=1e-5)
    new = pd.DataFrame({"x": [1.0, 2.0], "sex": ["other", "m"], "school": ["new", "mid"]})
    assert_array_equal(encoder.transform(new)[:, :3], [[1.0, 0.0, 0.0], [2.0, 1.0, 0.0]])
    assert encoder.transform(new)[0, 3] == 0.0
    for same in [
        table.to_numpy(dtype=object),
        table.astype({"sex": "category"}),
        pl.from_pandas(table),
    ]:
        given = -1 if isinstance(same, np.ndarray) else "school"
        again = BLUPEncoder(columns=given, adjust=True).fit(same, Y)
        assert_allclose(again.transform(same), found, rtol=1e-9)
    with pytest.raises(ValueError, match=r"'sex'.*not numeric: encode them, or name.* `columns`"):
        BLUPEncoder(columns="school", adjust=False).fit(table, Y)
    streets = table.assign(street=[f"s{i}" for i in range(150)])
    with pytest.raises(ValueError, match="'street' has 150 labels, too many for dummies"):
        BLUPEncoder(columns="school", adjust=True).fit(streets, Y)


def test_in_a_column_transformer_with_the_other_columns():
    encoder = BLUPEncoder(columns="school", adjust=True, random_state=0)
    parts = make_column_transformer((encoder, ["x", "z", "school"]), n_jobs=2)
    model = make_pipeline(parts, Ridge()).fit(TABLE, Y)
    alone = BLUPEncoder(columns="school", adjust=True, random_state=0).fit_transform(X, Y)
    assert_allclose(model[-1].coef_, Ridge().fit(alone, Y).coef_)
    other = BLUPEncoder(columns="school", adjust=True, random_state=1).fit_transform(X, Y)
    assert not np.array_equal(alone[:, 2], other[:, 2])


def test_a_stored_encoder_makes_the_same_dummies():
    table = TABLE[["x", "sex", "school"]]
    encoder = BLUPEncoder(columns="school", adjust="x + sex").fit(table, Y)
    again = BLUPEncoder.from_dict(encoder.to_dict())
    assert_array_equal(again.transform(table), encoder.transform(table))


def test_errors_and_warnings_say_what_to_do():
    for settings, message in [
        ({"adjust": "y ~ x"}, "leave out 'y ~'"),
        ({"adjust": "x + (1 | school)"}, "`fixed` contains random-effects terms"),
        ({"adjust": "x + offset(z)"}, r"adjust='x \+ offset\(z\)' contains an offset"),
        ({"adjust": "x + age"}, "age"),
        ({"adjust": ["age"]}, "adjust names 'age'"),
        ({"adjust": 7}, r"7, but X has 3 feature\(s\)\. Where a meta-estimator"),
        ({"adjust": ["school"]}, r"the columns \['school'\] are given both in"),
    ]:
        with pytest.raises(ValueError, match=message):
            BLUPEncoder(columns="school", **settings).fit(X, Y)
    with pytest.raises(ValueError, match="X must be a data frame"):
        BLUPEncoder(columns=2, adjust="x + z").fit(X.to_numpy(dtype=object), Y)
    few = (
        TABLE[["school"]]
        .iloc[:12]
        .assign(**{f"v{i}": np.random.default_rng(i).normal(size=12) for i in range(12)})
    )
    with pytest.warns(UnidentifiedWarning, match="as many as the rows.*adjust=False"):
        found = encoded(few, y=Y.iloc[:12])
    assert not found.any()


def test_columns_that_separate_the_classes_leave_nothing_to_the_labels():
    y = X["x"] > 0.3
    with pytest.warns(UnidentifiedWarning, match="the columns to adjust for separate the"):
        found = encoded(X, y=y)
    assert not found.any()
    assert np.isfinite(encoded(X, False, y=y)).all()


def test_columns_that_separate_the_classes_outside_of_a_fold_are_said():
    y = X["x"] > 0.3
    last = np.arange(len(X)) >= 140
    y = y.where(~last, ~y)  # only with these rows are there exceptions
    cv = KFold(15)
    encoder = BLUPEncoder(columns="school", cv=cv)
    with pytest.warns(UnidentifiedWarning, match="1 of 15 folds are encoded as zeros: in"):
        found = encoder.fit_transform(X, y)[:, 2]
    assert not found[last].any()
    assert np.isfinite(found).all()


def test_labels_that_tell_the_classes_apart_beside_other_columns():
    """They are as far apart as without these, and not zero: it is they that tell."""
    y = X["school"].isin(["mid", "east"])
    for cross_fit in ("kfold", "loo"):
        encoder = BLUPEncoder(columns="school", cross_fit=cross_fit, random_state=0)
        assert_array_equal(encoder.fit_transform(X, y)[:, 2], np.where(y, 5.0, -5.0))
    assert_array_equal(encoder.transform(X)[:, 2], np.where(y, 5.0, -5.0))
    joint = BLUPEncoder(columns=["school", "class"], joint=True, random_state=0)
    found = joint.fit_transform(TABLE[["x", "school", "class"]], y)
    assert found[y, 1].min() > 2.0 > -2.0 > found[~y, 1].max()
    assert np.abs(found[:, 2]).max() < 0.5


def test_labels_and_other_columns_that_tell_the_classes_apart_together():
    """No estimate of either is finite; encodings are."""
    of_school = X["school"].isin(["mid", "east"]).to_numpy()
    y = np.where(of_school, "a", np.where(X["x"] > 0.0, "b", "c"))
    found = BLUPEncoder(columns="school", random_state=0).fit(X, y).transform(X)
    assert np.abs(found[:, 2:]).max() == 5.0
    assert (found[of_school, 2] == 5.0).all()
    assert (found[of_school, 3:].max(axis=0) + 4.0 < found[~of_school, 3:].min(axis=0)).all()
