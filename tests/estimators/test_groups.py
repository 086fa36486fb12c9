"""Every way to say what the groups are gives the same model."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skmixed import MixedLinearRegressor
from skmixed.exceptions import UnknownLevelWarning
from tests.estimators.example import SCHOOLS, estimates, pupils

TABLE = pupils()
X, Y = TABLE[["x", "z"]], TABLE["y"]
SCHOOL = TABLE["school"]
SLOPE = MixedLinearRegressor("(1 + x | school)").fit(TABLE[["x", "z", "school"]], Y)
INTERCEPT = MixedLinearRegressor("(1 | school)").fit(TABLE[["x", "z", "school"]], Y)
CROSSED = MixedLinearRegressor("(1 | school) + (1 | class)").fit(TABLE.drop(columns="y"), Y)


def same_model(model, other=INTERCEPT):
    assert_allclose(estimates(model), estimates(other), rtol=1e-7)
    assert list(model.n_groups_.values()) == list(other.n_groups_.values())


def fitted_values(model=INTERCEPT):
    return model.predict(TABLE[list(model.feature_names_in_)])


# --- the argument groups ---


@pytest.mark.parametrize(
    ("groups", "name"),
    [
        (SCHOOL, "school"),
        (SCHOOL.rename(None), "group"),
        (SCHOOL.rename(3), "3"),
        (SCHOOL.set_axis(range(500, 650)), "school"),
        (SCHOOL.to_numpy(), "group"),
        (SCHOOL.to_numpy(dtype=str), "group"),
        (list(SCHOOL), "group"),
        (tuple(SCHOOL), "group"),
        (SCHOOL.to_numpy()[:, None], "group"),
        (SCHOOL.to_frame(), "school"),
        (SCHOOL.astype("category"), "school"),
        (pd.Categorical(SCHOOL), "group"),
        (pd.Index(SCHOOL, name="school"), "school"),
        (pl.Series("school", list(SCHOOL)), "school"),
        (pl.Series("school", list(SCHOOL), dtype=pl.Categorical), "school"),
        (pl.Series("school", list(SCHOOL), dtype=pl.Enum(SCHOOLS)), "school"),
        (pl.DataFrame({"school": list(SCHOOL)}), "school"),
        (pa.table({"school": list(SCHOOL)}), "school"),
        (pa.chunked_array([list(SCHOOL)]), "group"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_factor_by_argument(groups, name):
    model = MixedLinearRegressor().fit(X, Y, groups=groups)
    same_model(model)
    assert list(model.n_groups_) == [name]
    assert_allclose(model.predict(X, groups), fitted_values())
    assert_allclose(model.predict(X, list(SCHOOL)), fitted_values())
    # The name is what `random` refers to.
    slope = MixedLinearRegressor(f"(1 + x | `{name}`)").fit(X, Y, groups=groups)
    same_model(slope, SLOPE)


@pytest.mark.parametrize(
    ("groups", "names"),
    [
        (TABLE[["school", "class"]], ["school", "class"]),
        (pl.from_pandas(TABLE[["school", "class"]]), ["school", "class"]),
        (pa.Table.from_pandas(TABLE[["school", "class"]]), ["school", "class"]),
        (TABLE[["school", "class"]].to_numpy(), ["group0", "group1"]),
        (TABLE[["school", "class"]].to_numpy().tolist(), ["group0", "group1"]),
        (TABLE[["school", "class"]].set_axis([0, 1], axis=1), ["0", "1"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_several_columns_are_crossed_factors(groups, names):
    model = MixedLinearRegressor().fit(X, Y, groups=groups)
    same_model(model, CROSSED)
    assert list(model.n_groups_) == names
    assert_allclose(model.predict(X, groups), fitted_values(CROSSED))


def test_new_groups_are_matched_by_name_else_by_place():
    both = TABLE[["school", "class"]]
    model = MixedLinearRegressor().fit(X, Y, groups=both)
    expected = fitted_values(CROSSED)
    assert_allclose(model.predict(X, both[["class", "school"]].assign(more=1)), expected)
    assert_allclose(model.predict(X, both.to_numpy()), expected)
    with pytest.raises(
        ValueError,
        match=r"\['class', 'other'\], but the model was fitted with \['school', 'class'\]",
    ):
        model.predict(X, both.set_axis(["class", "other"], axis=1))
    with pytest.raises(ValueError, match="groups has the columns"):
        model.predict(X, both[["school"]])
    # Names that begin alike are names all the same.
    grouped = both.set_axis(["group_s", "group_c"], axis=1)
    model.fit(X, Y, groups=grouped)
    with pytest.raises(ValueError, match="groups has the columns"):
        model.predict(X, grouped.set_axis(["group_c", "group_d"], axis=1))
    # One column cannot be mistaken for another, whatever it is called.
    single = MixedLinearRegressor().fit(X, Y, groups=SCHOOL)
    assert_allclose(single.predict(X, SCHOOL.rename("other")), fitted_values())


def test_part_of_the_groups_may_go_unused():
    model = MixedLinearRegressor("(1 + x | school)").fit(X, Y, groups=TABLE[["class", "school"]])
    same_model(model, SLOPE)
    assert list(model.n_groups_) == ["school"]


def test_groups_without_fixed_columns():
    model = MixedLinearRegressor("(1 | school)", fixed="1").fit(TABLE, Y)
    assert model.coef_.shape == (0,)
    only = MixedLinearRegressor("(1 | school)").fit(TABLE[["school"]], Y)
    same_model(only, model)
    ids = SCHOOL.map(SCHOOLS.index).to_numpy()[:, None]
    same_model(MixedLinearRegressor(group_features=[0]).fit(ids, Y), model)


# --- columns of X ---

NAMED = TABLE[["x", "school", "z"]]
CODED = NAMED.assign(school=SCHOOL.map(SCHOOLS.index).astype(float))


@pytest.mark.parametrize(
    "table",
    [
        NAMED,
        NAMED.set_axis(range(7, 157)),
        NAMED.astype({"school": "category"}),
        NAMED.convert_dtypes(),
        CODED,
        pl.from_pandas(NAMED),
        pl.from_pandas(NAMED).with_columns(pl.col("school").cast(pl.Categorical)),
        pa.Table.from_pandas(NAMED),
        pa.Table.from_pandas(NAMED.astype({"school": "category"})),
    ],
    ids=lambda value: type(value).__module__.split(".")[0],
)
def test_columns_of_a_data_frame(table):
    for params in (
        {"random": "(1 | school)"},
        {"random": "(1 | school)", "group_features": ["school"]},
        {"random": {"school": "1"}},
        {"random": {"school": ["1"]}},
        {"random": "(1 | school)", "fixed": "x + z"},
        {"fixed": "x + z", "group_features": "school"},
        {"group_features": "school"},
        {"group_features": ["school"]},
        {"group_features": 1},
        {"group_features": [-2]},
        {"group_features": np.array([1])},
        {"group_features": ["school", 1]},
    ):
        model = MixedLinearRegressor(**params).fit(table, Y)
        same_model(model)
        assert list(model.n_groups_) == ["school"]
        assert_allclose(model.predict(table), fitted_values())
    same_model(MixedLinearRegressor("(x | school)").fit(table, Y), SLOPE)


@pytest.mark.parametrize(
    "table",
    [CODED.to_numpy(), NAMED.to_numpy(), CODED.to_numpy().tolist(), CODED.to_numpy(dtype=">f8")],
    ids=["numbers", "objects", "lists", "foreign bytes"],
)
def test_columns_of_an_array(table):
    for params in (
        {"group_features": 1},
        {"group_features": [-2]},
        {"group_features": ["x1"]},
        {"random": "(1 | x1)"},
    ):
        model = MixedLinearRegressor(**params).fit(table, Y)
        same_model(model)
        assert list(model.n_groups_) == ["x1"]
        assert not hasattr(model, "feature_names_in_")
        assert_allclose(model.predict(table), fitted_values())
    same_model(MixedLinearRegressor("(x0 | x1)").fit(table, Y), SLOPE)


def test_grouping_columns_leave_the_fixed_part_in_the_order_of_x():
    table = TABLE[["school", "z", "class", "x"]]
    model = MixedLinearRegressor(group_features=["class", "school"]).fit(table, Y)
    assert list(model.n_groups_) == ["school", "class"]
    assert_allclose(model.coef_, CROSSED.coef_[::-1], rtol=1e-6)
    # A column listed in group_features only is neither fixed nor, beside `random`, a factor.
    model = MixedLinearRegressor("(1 | school)", group_features=["class"]).fit(table, Y)
    assert_allclose(model.coef_, INTERCEPT.coef_[::-1], rtol=1e-7)
    assert list(model.n_groups_) == ["school"]


def test_integer_column_names_are_no_feature_names():
    table = CODED.set_axis([10, 11, 12], axis=1)
    model = MixedLinearRegressor("(1 | `11`)").fit(table, Y)
    same_model(model)
    same_model(MixedLinearRegressor(group_features=[1]).fit(table, Y))
    assert_allclose(model.predict(table.to_numpy()), fitted_values())


# --- labels of every type ---

CODE = SCHOOL.map(sorted(SCHOOLS).index).to_numpy()
START = pd.Timestamp("2024-02-27")
LABELS = {
    "int": np.array([7, -3, 10**12, 0, 5])[CODE],
    "small int": np.array([0, 100, -100, 127, -128], dtype=np.int8)[CODE],
    "unsigned": np.array([0, 1, 2**64 - 1, 3, 4], dtype=np.uint64)[CODE],
    "float": np.array([0.1, -2.5, 1e15, 0.0, 3.0])[CODE],
    "str": pd.Series(SCHOOL, dtype="str"),
    "objects": pd.Series(SCHOOL, dtype=object),
    "string": pd.Series(SCHOOL, dtype="string"),
    "nullable int": pd.Series(CODE, dtype="Int64"),
    "category": SCHOOL.astype("category"),
    "category in its own order": pd.Series(pd.Categorical(SCHOOL, categories=SCHOOLS)),
    "ordered, with an unused one": pd.Series(
        pd.Categorical(SCHOOL, categories=["none", *SCHOOLS[::-1]], ordered=True)
    ),
    "category of numbers": pd.Series(CODE).astype("category"),
    "datetime": pd.Series(START + pd.to_timedelta(CODE, unit="D")),
    "datetime64": (START + pd.to_timedelta(CODE, unit="D")).to_numpy(),
    "time zone": pd.Series(START + pd.to_timedelta(CODE, unit="D")).dt.tz_localize("Asia/Tokyo"),
    "timedelta": pd.Series(pd.to_timedelta(CODE, unit="D")),
    "period": pd.Series(pd.period_range("2024", periods=5, freq="M")[CODE]),
    "interval": pd.Series(pd.cut(CODE, 5)),
    "date": pd.Series([datetime.date(2024, 1, 1 + int(code)) for code in CODE]),
    "mixed": pd.Series(np.array([1, "1", 2.5, "x", b"x"], dtype=object)[CODE]),
    "tuples": pd.Series([("a", int(code)) for code in CODE]),
    "words with signs": pd.Series(np.array([" ", "a:b", "ä", "<b>", "(1 | g)"], object)[CODE]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_type(kind):
    labels = LABELS[kind]
    model = MixedLinearRegressor().fit(X, Y, groups=labels)
    same_model(model)
    assert_allclose(model.predict(X, groups=labels), fitted_values())
    some = [3, 140, 7]
    of_some = labels.iloc[some] if isinstance(labels, pd.Series) else labels[some]
    assert_allclose(model.predict(X.iloc[some], groups=of_some), fitted_values()[some])
    # Effects are found by label.
    effects = model.random_effects_[next(iter(model.n_groups_))]
    assert set(effects.index) == set(pd.Series(labels))

    table = X.assign(g=labels)
    by_name = MixedLinearRegressor("(1 | g)").fit(table, Y)
    same_model(by_name)
    assert_allclose(by_name.predict(table), fitted_values())


def test_two_levels_of_booleans():
    labels = (SCHOOL < "north").to_numpy()
    model = MixedLinearRegressor().fit(X, Y, groups=labels)
    words = np.where(labels, "yes", "no")
    other = MixedLinearRegressor().fit(X, Y, groups=words)
    same_model(model, other)
    assert_allclose(model.predict(X, labels), other.predict(X, words))
    assert list(model.random_effects_["group"].index) == [False, True]


def test_categories_set_the_order_of_the_levels_and_unused_ones_are_no_levels():
    labels = pd.Categorical(SCHOOL, categories=["none", *SCHOOLS])
    model = MixedLinearRegressor().fit(X, Y, groups=labels)
    assert model.n_groups_ == {"group": 5}
    by_category = MixedLinearRegressor().fit(X, Y, groups=pd.Series(labels, name="g"))
    assert list(by_category.random_effects_["g"].index) == SCHOOLS


def test_polars_dates_and_booleans():
    table = pl.DataFrame(
        {
            "x": TABLE["x"].to_list(),
            "z": TABLE["z"].to_list(),
            "day": [datetime.date(2024, 1, 1 + int(code)) for code in CODE],
        }
    )
    model = MixedLinearRegressor("(1 | day)").fit(table, Y)
    same_model(model)
    assert_allclose(model.predict(table), fitted_values())


# --- nesting and interactions ---

NESTED = MixedLinearRegressor("(1 | school/class)").fit(TABLE.drop(columns="y"), Y)


@pytest.mark.parametrize(
    "random",
    [
        "(1 | school) + (1 | school:class)",
        "(1 | school:class) + (1 | school)",
        "(1 | school) + (1 | class:school)",
        "(1 | school) + (1 | class:school:school2)",
        {"school/class": ["1"]},
        {"school/class": "1"},
        {("school", "class"): ["1"], "school": ["1"]},
        {"school": "1", "school:class": ["1"]},
    ],
    ids=str,
)
def test_nesting_in_other_words(random):
    table = TABLE.drop(columns="y").assign(school2=SCHOOL.str.upper())
    params = {"fixed": "x + z", "random": random}
    model = MixedLinearRegressor(**params).fit(table, Y)
    assert model.criterion_ == pytest.approx(NESTED.criterion_, rel=1e-10)
    assert_allclose(model.predict(table), fitted_values(NESTED), rtol=1e-6)
    assert sorted(model.n_groups_.values()) == [5, 15]


def test_nested_columns_that_come_as_groups():
    groups = TABLE[["school", "class"]]
    model = MixedLinearRegressor("(1 | school/class)").fit(X, Y, groups=groups)
    same_model(model, NESTED)
    assert_allclose(model.predict(X, groups), fitted_values(NESTED))
    model = MixedLinearRegressor("(1 | group0/group1)").fit(X, Y, groups=groups.to_numpy())
    same_model(model, NESTED)


def test_a_nested_factor_equals_a_column_of_both_labels():
    joined = TABLE.assign(both=SCHOOL + "/" + TABLE["class"]).drop(columns=["y", "class"])
    model = MixedLinearRegressor("(1 | both) + (1 | school)").fit(joined, Y)
    same_model(model, NESTED)
    effects = NESTED.random_effects_["class:school"]
    assert effects.index.names == ["class", "school"]
    own = model.random_effects_["both"]["(Intercept)"]
    for letter, school in effects.index:
        expected = own[f"{school}/{letter}"]
        assert effects.loc[(letter, school), "(Intercept)"] == pytest.approx(expected, rel=1e-6)


def test_labels_with_a_colon_do_not_collide():
    a = np.array(["x:y", "x", "x:y", "x"], dtype=object)
    b = np.array(["z", "y:z", "w", "w"], dtype=object)
    which = np.random.default_rng(1).integers(4, size=len(TABLE))
    table = X.assign(a=a[which], b=b[which])
    model = MixedLinearRegressor("(1 | a:b)").fit(table, Y)
    assert model.n_groups_ == {"a:b": 4}
    plain = MixedLinearRegressor().fit(X, Y, groups=which)
    same_model(model, plain)
    assert_allclose(model.predict(table), plain.predict(X, which))


def test_factors_whose_names_join_to_the_same_text():
    table = TABLE.drop(columns="y").assign(**{"school:class": TABLE["class"]})
    random = {("school", "class"): ["1"], "`school:class`": ["1"]}
    model = MixedLinearRegressor(random).fit(table, Y)
    plain = MixedLinearRegressor("(1 | school:class) + (1 | class)").fit(TABLE.drop(columns="y"), Y)
    assert model.criterion_ == pytest.approx(plain.criterion_, rel=1e-10)
    assert_allclose(model.predict(table), plain.predict(TABLE.drop(columns="y")), rtol=1e-6)


@pytest.mark.parametrize(
    "random",
    [
        "(1 + x || school)",
        "(1 | school) + (0 + x | school)",
        "(0 + x | school) + (1 | school)",
        {"school": ["1", "x"]},
    ],
    ids=str,
)
def test_uncorrelated_terms(random):
    table = TABLE[["x", "z", "school"]]
    covariance = "diagonal" if isinstance(random, dict) else "unstructured"
    model = MixedLinearRegressor(random, covariance=covariance).fit(table, Y)
    other = MixedLinearRegressor("(1 + x | school)", covariance={"school": "diagonal"})
    other.fit(table, Y)
    assert model.criterion_ == pytest.approx(other.criterion_, rel=1e-10)
    assert_allclose(model.predict(table), other.predict(table), rtol=1e-6)
    assert_allclose(
        model.random_covariance_["school"].loc[["(Intercept)", "x"], ["(Intercept)", "x"]],
        other.random_covariance_["school"],
        rtol=1e-5,
    )


def test_identity_covariance_is_one_variance():
    table = TABLE[["x", "z", "school"]]
    model = MixedLinearRegressor("(1 + x | school)", covariance="identity").fit(table, Y)
    covariance = model.random_covariance_["school"].to_numpy()
    assert_allclose(covariance, covariance[0, 0] * np.eye(2), rtol=1e-12)
    assert len(model.theta_) == 1


def test_no_groups_is_ordinary_least_squares():
    model = MixedLinearRegressor().fit(X, Y)
    design = np.column_stack([np.ones(len(X)), X])
    beta = np.linalg.lstsq(design, Y.to_numpy(), rcond=None)[0]
    assert_allclose([model.intercept_, *model.coef_], beta, rtol=1e-10)
    assert model.n_groups_ == {}
    assert model.random_effects_ == {}
    assert model.theta_.shape == (0,)
    assert not model.is_singular_
    assert_allclose(model.predict(X), design @ beta)
    without = MixedLinearRegressor(fit_intercept=False).fit(X, Y)
    assert_allclose(without.coef_, np.linalg.lstsq(X.to_numpy(), Y.to_numpy(), rcond=None)[0])
    assert without.intercept_ == 0.0


def test_row_order_does_not_matter():
    order = np.random.default_rng(2).permutation(len(TABLE))
    shuffled = TABLE.iloc[order]
    model = MixedLinearRegressor("(x | school/class)").fit(
        shuffled.drop(columns="y"), shuffled["y"]
    )
    other = MixedLinearRegressor("(x | school/class)").fit(TABLE.drop(columns="y"), Y)
    assert model.criterion_ == pytest.approx(other.criterion_, rel=1e-10)
    assert_allclose(model.predict(TABLE.drop(columns="y")), fitted_values(other), rtol=1e-5)


def test_a_fit_leaves_its_arguments_as_they_were():
    table, y = NAMED.copy(), Y.copy()
    groups = SCHOOL.to_numpy(copy=True)
    array = X.to_numpy(copy=True)
    array.flags.writeable = groups.flags.writeable = False
    MixedLinearRegressor("(x | school)").fit(table, y)
    MixedLinearRegressor("(x | school)", fixed="x * z").fit(table, y)
    pd.testing.assert_frame_equal(table, NAMED)
    pd.testing.assert_series_equal(y, Y)
    model = MixedLinearRegressor().fit(array, y.to_numpy(), groups=groups)
    assert_array_equal(array, X)
    with pytest.warns(UnknownLevelWarning):
        model.predict(array)
