"""Predictions, for rows of known and unknown groups."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LinearRegression

from skmixed import MixedEffectsRegressor, MixedLinearRegressor, lmer
from skmixed.datasets import load_sleepstudy
from skmixed.exceptions import UnknownLevelWarning
from tests.estimators.example import pupils

TABLE = pupils()
Y = TABLE["y"]
NAMED = TABLE[["x", "z", "school", "class"]]
NUMBERS, GROUPS = TABLE[["x", "z"]], TABLE[["school", "class"]]
RANDOM = "(1 + x | school) + (1 | class)"


def fit(**params):
    return MixedLinearRegressor(RANDOM, **params).fit(NAMED, Y)


MODEL = fit()


def population(model=MODEL, table=NAMED):
    return model.intercept_ + table[["x", "z"]].to_numpy() @ model.coef_


def effect_of(factor, table=NAMED, model=MODEL):
    """Z b of one factor, level by level; 0 where the level is not known."""
    effects = model.random_effects_[factor].reindex(table[factor]).fillna(0.0)
    x = table["x"].to_numpy()
    return effects["(Intercept)"].to_numpy() + (
        effects["x"].to_numpy() * x if "x" in effects else 0
    )


def test_conditional_population_and_single_factors():
    assert_allclose(MODEL.predict(NAMED), population() + effect_of("school") + effect_of("class"))
    assert_allclose(MODEL.predict(NAMED, random="all"), MODEL.predict(NAMED))
    assert_allclose(MODEL.predict(NAMED, random="none"), population())
    assert_allclose(MODEL.predict(NAMED, random=[]), population())
    for names in (["school"], ["class"], ("class", "school"), {"school": 1}, np.array(["class"])):
        expected = population() + sum(effect_of(name) for name in names)
        assert_allclose(MODEL.predict(NAMED, random=names), expected)


def test_nested_factors_by_name():
    model = MixedLinearRegressor("(1 | school/class)").fit(NAMED, Y)
    rows = pd.MultiIndex.from_frame(NAMED[["class", "school"]])
    inner = model.random_effects_["class:school"].loc[rows, "(Intercept)"].to_numpy()
    assert_allclose(model.predict(NAMED, random=["class:school"]), population(model) + inner)
    outer = effect_of("school", model=model)
    assert_allclose(model.predict(NAMED), population(model) + inner + outer)


@pytest.mark.parametrize(
    ("random", "message"),
    [
        ("school", "random='school' is not 'all', 'none' or a list"),
        (None, "random=None is not 'all'"),
        (["town"], r"\['town'\], but the model has \['school', 'class'\]"),
    ],
)
def test_random_effects_that_are_not_there(random, message):
    with pytest.raises(ValueError, match=message):
        MODEL.predict(NAMED, random=random)


# --- unknown levels ---

# Rows: both known, unknown school, unknown class, both unknown, missing school, missing class.
SIX = NAMED.iloc[:6].assign(
    school=["north", "new", "south", "new", None, "east"],
    **{"class": ["a", "b", "new", "new", "c", np.nan]},
)
SCHOOL_UNKNOWN = [False, True, False, True, True, False]
CLASS_UNKNOWN = [False, False, True, True, False, True]


def by_hand(table):
    return population(table=table) + effect_of("school", table) + effect_of("class", table)


def test_population_leaves_out_unknown_levels_factor_by_factor():
    predicted = MODEL.predict(SIX)
    assert_allclose(predicted, by_hand(SIX))
    assert_allclose(predicted[3], population(table=SIX)[3])
    assert_allclose(predicted[1], (population(table=SIX) + effect_of("class", SIX))[1])


def test_nan_marks_rows_of_unknown_levels():
    model = fit(handle_unknown="nan")
    unknown = np.logical_or(SCHOOL_UNKNOWN, CLASS_UNKNOWN)
    assert_allclose(model.predict(SIX), np.where(unknown, np.nan, by_hand(SIX)))
    # Only the factors that are asked for count.
    one = model.predict(SIX, random=["school"])
    assert_array_equal(np.isnan(one), SCHOOL_UNKNOWN)
    assert_allclose(model.predict(SIX, random="none"), population(table=SIX))


def test_error_names_the_factor_and_the_first_row():
    model = fit(handle_unknown="error")
    with pytest.raises(ValueError, match=r"3 rows have levels of 'school' .* first in row 1;"):
        model.predict(SIX)
    with pytest.raises(ValueError, match=r"3 rows have levels of 'class' .* first in row 2;"):
        model.predict(SIX, random=["class"])
    assert_allclose(model.predict(SIX, random="none"), population(table=SIX))
    assert_allclose(model.predict(NAMED), MODEL.predict(NAMED))


def test_handle_unknown_can_change_after_the_fit():
    model = fit().set_params(handle_unknown="nan")
    assert np.isnan(model.predict(SIX)).sum() == 5


@pytest.mark.parametrize("handle_unknown", ["population", "nan"])
def test_unknown_rows_leave_other_rows_alone(handle_unknown):
    model = fit(handle_unknown=handle_unknown)
    mixed = pd.concat([SIX, NAMED, SIX], ignore_index=True)
    assert_allclose(model.predict(mixed)[6:-6], MODEL.predict(NAMED), rtol=1e-12)


def test_known_labels_in_a_combination_that_is_new():
    some = NAMED[(NAMED["school"] != "north") | (NAMED["class"] != "a")]
    model = MixedLinearRegressor("(1 | school/class)").fit(some, Y[some.index])
    new = NAMED[(NAMED["school"] == "north") & (NAMED["class"] == "a")]
    assert_allclose(model.predict(new), model.predict(new, random=["school"]), rtol=1e-12)


def test_labels_of_another_type_are_unknown():
    codes = NAMED.assign(school=NAMED["school"].map(sorted(set(NAMED["school"])).index))
    model = MixedLinearRegressor(RANDOM).fit(codes, Y)
    same = model.predict(codes.astype({"school": float}))
    assert_allclose(same, model.predict(codes), rtol=1e-12)
    with pytest.warns(UnknownLevelWarning, match="no label of 'school' is known: labels were"):
        other = model.predict(codes.astype({"school": str}))
    assert_allclose(other, model.predict(codes, random=["class"]), rtol=1e-12)


# --- rows ---


@pytest.mark.parametrize("fixed", [None, "x + z", "poly(x, 2) * z"])
def test_rows_do_not_depend_on_each_other(fixed):
    model = MixedLinearRegressor(RANDOM, fixed=fixed).fit(NAMED, Y)
    table = pd.concat([NAMED, SIX], ignore_index=True)
    whole = model.predict(table)
    order = np.random.default_rng(0).permutation(len(table))
    assert_allclose(model.predict(table.iloc[order]), whole[order], rtol=1e-12)
    for size in (1, 7, 100):
        parts = [model.predict(table[i : i + size]) for i in range(0, len(table), size)]
        assert_allclose(np.concatenate(parts), whole, rtol=1e-12)


def test_the_index_of_a_table_means_nothing():
    assert_array_equal(MODEL.predict(NAMED.set_axis([1] * 150)), MODEL.predict(NAMED))
    by_groups = MixedLinearRegressor(RANDOM).fit(NUMBERS, Y, groups=GROUPS)
    shuffled = GROUPS.set_axis(range(150, 0, -1))
    assert_allclose(by_groups.predict(NUMBERS, shuffled), MODEL.predict(NAMED), rtol=1e-9)


@pytest.mark.parametrize("fixed", [None, "x * z"])
def test_a_prediction_leaves_its_arguments_as_they_were(fixed):
    model = MixedLinearRegressor(RANDOM, fixed=fixed).fit(NAMED, Y)
    table = SIX.copy()
    model.predict(table)
    pd.testing.assert_frame_equal(table, SIX)
    array = SIX.fillna("none").to_numpy()
    before = array.copy()
    array.flags.writeable = False
    MixedLinearRegressor("(1 + x0 | x2) + (1 | x3)").fit(NAMED.to_numpy(), Y).predict(array)
    assert_array_equal(array, before)


def test_a_prediction_leaves_the_model_as_it_was():
    model = fit()
    before = model.predict(NAMED)
    attributes = set(vars(model))
    model.predict(SIX)
    model.predict(NAMED.iloc[:1], random="none")
    assert set(vars(model)) == attributes
    assert_array_equal(model.predict(NAMED), before)
    before[:] = 0.0  # what is returned is the caller's
    assert model.predict(NAMED).any()


# --- groups at predict ---


@pytest.mark.parametrize("handle_unknown", ["population", "nan", "error"])
def test_no_groups_for_a_model_that_has_them(handle_unknown):
    model = MixedLinearRegressor(RANDOM, handle_unknown=handle_unknown)
    model.fit(NUMBERS, Y, groups=GROUPS)
    assert_allclose(model.predict(NUMBERS, random="none"), population(), rtol=1e-9)
    if handle_unknown == "population":
        message = r"\['school', 'class'\] .* random='none' if that is intended"
        with pytest.warns(UnknownLevelWarning, match=message) as caught:
            assert_allclose(model.predict(NUMBERS), population(), rtol=1e-9)
        assert caught[0].filename == __file__
        with pytest.warns(UnknownLevelWarning):
            model.score(NUMBERS, Y)
    elif handle_unknown == "nan":
        assert np.isnan(model.predict(NUMBERS)).all()
    else:
        with pytest.raises(ValueError, match="150 rows have levels of 'school'"):
            model.predict(NUMBERS)


def test_groups_for_a_model_that_has_none():
    linear = MixedLinearRegressor().fit(NUMBERS, Y)
    with pytest.raises(ValueError, match=r"groups were given, but .* without any"):
        linear.predict(NUMBERS, GROUPS)
    with pytest.raises(
        ValueError, match=r"fitted with grouping columns \['school', 'class'\] of X"
    ):
        MODEL.predict(NAMED, GROUPS)


def test_groups_of_the_wrong_kind():
    model = MixedLinearRegressor(RANDOM).fit(NUMBERS, Y, groups=GROUPS)
    with pytest.raises(TypeError, match="groups is a dict"):
        model.predict(NUMBERS, dict(GROUPS))
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[150, 149, 149\]"):
        model.predict(NUMBERS, GROUPS[1:])
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[1, 150, 150\]"):
        model.predict(NUMBERS[:1], GROUPS)


def test_score_is_that_of_the_predictions():
    residual = Y - MODEL.predict(NAMED)
    r_squared = 1 - (residual**2).sum() / ((Y - Y.mean()) ** 2).sum()
    assert MODEL.score(NAMED, Y) == pytest.approx(r_squared)
    by_groups = MixedLinearRegressor(RANDOM).fit(NUMBERS, Y, groups=GROUPS)
    assert by_groups.score(NUMBERS, Y, groups=GROUPS) == pytest.approx(r_squared)


# --- columns at predict ---


@pytest.mark.parametrize(
    "table",
    [
        NAMED[["z", "x", "school", "class"]],
        NAMED.assign(more=1),
        NAMED.drop(columns="z"),
        NAMED.drop(columns="school"),
        NAMED.rename(columns={"x": "X"}),
    ],
    ids=["order", "more", "fewer", "no group", "renamed"],
)
def test_feature_names_are_checked_without_a_formula(table):
    with pytest.raises(ValueError, match="feature names should match"):
        MODEL.predict(table)


def test_the_number_of_features_is_checked_without_a_formula():
    model = MixedLinearRegressor(group_features=[2, 3]).fit(NAMED.to_numpy(), Y)
    with pytest.raises(ValueError, match=r"X has 3 features, but .* expecting 4 features"):
        model.predict(NAMED.to_numpy()[:, :3])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        MODEL.predict(NAMED.to_numpy())


@pytest.mark.parametrize(
    "convert", [lambda t: t, pl.from_pandas, pa.Table.from_pandas], ids=["pandas", "polars", "pa"]
)
def test_the_population_needs_no_grouping_columns(convert):
    table = NAMED[["school", "x", "class", "z"]]
    model = MixedLinearRegressor(RANDOM).fit(table, Y)
    expected = population(model)
    for names in (["x", "z"], ["x", "class", "z"], ["school", "x", "z"]):
        assert_allclose(model.predict(convert(table[names]), random="none"), expected)
    # The other columns are looked at as ever.
    for bad, message in [
        (table[["z", "x"]], "must be in the same order"),
        (table[["x"]], "now missing:\n- z"),
        (table[["x", "z"]].assign(w=1.0), "unseen at fit time:\n- w"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.predict(convert(bad), random="none")
    for random, missing in (("all", "- class\n- school"), (["school"], "- school")):
        with pytest.raises(ValueError, match=f"now missing:\n{missing}\n$"):
            model.predict(table[["x", "z"]], random=random)
    unnamed = MixedLinearRegressor(group_features=[0, 2]).fit(table.to_numpy(), Y)
    with pytest.raises(ValueError, match="X has 2 features"):
        unnamed.predict(table[["x", "z"]].to_numpy(), random="none")


def test_a_formula_picks_its_columns_by_name():
    model = lmer("y ~ x * z + (x | school/class)", TABLE)
    expected = model.predict(TABLE)
    for table in (
        NAMED,
        NAMED[["class", "z", "school", "x"]],
        NAMED.assign(y="unknown", more=np.nan),
        NAMED.astype({"school": "category"}),
        pl.from_pandas(NAMED[["z", "class", "school", "x"]]),
        pa.Table.from_pandas(NAMED),
    ):
        assert_allclose(model.predict(table), expected, rtol=1e-10)
    with pytest.raises(ValueError, match="column 'z' is missing; the columns are 'x', 'school'"):
        model.predict(NAMED[["x", "school", "class"]])
    with pytest.raises(ValueError, match="X must be a data frame"):
        model.predict(NAMED.to_numpy())


def test_a_formula_without_its_grouping_columns_predicts_the_population():
    model = lmer("y ~ x + z + (1 | school) + (1 | class)", TABLE)
    with pytest.warns(UnknownLevelWarning, match=r"\['school', 'class'\]"):
        predicted = model.predict(NUMBERS)
    assert_allclose(predicted, population(model))
    with pytest.warns(UnknownLevelWarning, match=r"no labels of \['class'\]"):
        predicted = model.predict(NAMED.drop(columns="class"))
    assert_allclose(predicted, model.predict(NAMED, random=["school"]))
    assert_allclose(model.predict(NUMBERS, random="none"), population(model))


def test_a_category_of_the_fixed_part_must_be_known():
    model = lmer("y ~ x + class + (1 | school)", TABLE)
    with pytest.raises(ValueError, match="column 'class' has values not seen in fitting: 'new'"):
        model.predict(SIX.fillna("a"))
    factor = lmer("y ~ factor(n) + (1 | school)", TABLE.assign(n=np.arange(150) % 3))
    with pytest.raises(ValueError, match="not seen in fitting: 7"):
        factor.predict(SIX.assign(n=7))
    # Fewer categories than in fitting are fine, and the order of the rows does not matter.
    some = TABLE[TABLE["class"] != "a"]
    assert_allclose(model.predict(some), model.predict(TABLE)[some.index])


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_holes_in_the_fixed_part(hole):
    holes = NAMED.assign(x=np.where(np.arange(150) == 5, hole, NAMED["x"]))
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        MODEL.predict(holes)
    model = MixedLinearRegressor("(1 | school)", fixed="x").fit(NAMED, Y)
    with pytest.raises(ValueError, match=r"'x' (has missing values|is not finite) in row 5"):
        model.predict(holes)


def test_fit_and_predict_on_tables_of_different_libraries():
    for fit_on in (NAMED, pl.from_pandas(NAMED), pa.Table.from_pandas(NAMED)):
        model = MixedLinearRegressor(RANDOM).fit(fit_on, Y)
        for table in (NAMED, pl.from_pandas(NAMED), pa.Table.from_pandas(NAMED)):
            predicted = model.predict(table)
            assert isinstance(predicted, np.ndarray)
            assert_allclose(predicted, MODEL.predict(NAMED), rtol=1e-7)


def test_labels_of_another_kind_are_pointed_out():
    X, y = load_sleepstudy(return_X_y=True)
    model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
    numbers = X.assign(Subject=X["Subject"].astype(int))
    with pytest.warns(UnknownLevelWarning, match="'Subject' is known: labels were text in fit"):
        prediction = model.predict(numbers)
    assert_allclose(prediction, model.predict(X, random="none"))
    model.fit(numbers, y)
    with pytest.warns(UnknownLevelWarning, match="no label of 'Subject' is known: labels"):
        model.predict(X)


def two_factors():
    """Slopes of a number and of categories, each at a factor of its own."""
    rng = np.random.default_rng(4)
    table = pd.DataFrame({"a": rng.integers(0, 8, 200), "b": rng.integers(0, 9, 200)})
    table = table.assign(x=rng.normal(size=200), z=rng.normal(size=200))
    table["kind"] = rng.choice(list("uvw"), 200)
    effects = rng.normal(size=(2, 9))
    table["y"] = table["x"] + effects[0][table["a"]] * table["z"] + effects[1][table["b"]]
    return table.assign(y=table["y"] + rng.normal(size=200))


NEEDED = {
    "none": ["x"],
    "a": ["x", "a", "z"],
    "b": ["x", "b", "kind"],
}


@pytest.mark.parametrize("random", NEEDED)
def test_only_what_a_prediction_uses_has_to_be_there(random):
    table = two_factors()
    chosen = random if random == "none" else [random]
    model = lmer("y ~ x + (1 + z | a) + (0 + kind | b)", table)
    rows, used = table.head(20), table.head(20)[NEEDED[random]]
    expected = model.predict(rows, random=chosen, return_std=True)
    unknown = used.assign(**{n: None for n in ("z", "kind", "a", "b") if n not in used})
    for given in (used, unknown, unknown.assign(kind=used.get("kind", "new"))):
        found = model.predict(given, random=chosen, return_std=True)
        np.testing.assert_array_equal(found, expected)
    by_hand = model.intercept_ + model.coef_[0] * rows["x"]
    if random == "a":
        of_rows = model.random_effects_["a"].loc[rows["a"]].to_numpy()
        by_hand += of_rows[:, 0] + of_rows[:, 1] * rows["z"]
    if random == "b":
        effects = model.random_effects_["b"].loc[rows["b"]].to_numpy()
        kinds = [f"kind[{kind}]" for kind in rows["kind"]]
        columns = model.random_effects_["b"].columns.get_indexer(kinds)
        by_hand += effects[np.arange(20), columns]
    np.testing.assert_allclose(expected[0], by_hand, rtol=1e-9)


def test_only_the_labels_that_are_left_out_are_warned_of():
    table = two_factors()
    X, y = table[["x", "z"]], table["y"]
    by_name = MixedLinearRegressor("(z | a) + (1 | b)").fit(table[["x", "z", "a", "b"]], y)
    by_argument = MixedLinearRegressor("(z | a) + (1 | b)").fit(X, y, groups=table[["a", "b"]])
    both = MixedEffectsRegressor(LinearRegression(), "(1 | a) + (1 | b)")
    both = both.fit(table[["x", "z", "a", "b"]], y)
    expected = by_name.predict(table[["x", "z", "a", "b"]], random=["a"])
    np.testing.assert_array_equal(by_name.predict(table[["x", "z", "a"]], random=["a"]), expected)
    found = by_argument.predict(X, groups=table[["a"]], random=["a"])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with_a = both.predict(table[["x", "z", "a"]], random=["a"])
    np.testing.assert_array_equal(with_a, both.predict(table[["x", "z", "a", "b"]], random=["a"]))
    with pytest.warns(UnknownLevelWarning, match=r"no labels of \['a'\]"):
        by_argument.predict(X, random=["a"])
    with pytest.raises(ValueError, match=r"groups has the columns \['b'\]"):
        by_argument.predict(X, groups=table[["b"]], random=["a"])
