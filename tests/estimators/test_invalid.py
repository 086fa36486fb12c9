"""What cannot be fitted says so, and what barely can has a sensible answer."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from skmixed import MixedLinearRegressor
from skmixed.exceptions import FormulaSyntaxError, UnidentifiedWarning
from tests.estimators.example import pupils

TABLE = pupils()
X, Y, SCHOOL = TABLE[["x", "z"]], TABLE["y"], TABLE["school"]
NAMED = TABLE[["x", "z", "school"]]


def with_hole(values, row=4, hole=np.nan):
    values = values.copy()
    values.iloc[row] = hole
    return values


# --- groups ---


@pytest.mark.parametrize(
    ("groups", "name"),
    [
        (with_hole(SCHOOL), "school"),
        (with_hole(SCHOOL, hole=None), "school"),
        (with_hole(SCHOOL).astype("category"), "school"),
        (with_hole(SCHOOL).tolist(), "group"),
        (pl.Series("s", [*SCHOOL[:4], None, *SCHOOL[5:]]), "s"),
        (with_hole(pd.Series(np.arange(150.0) // 10)).to_numpy(), "group"),
        (with_hole(pd.Series(np.arange(150) // 10, dtype="Int64"), hole=pd.NA), "group"),
        (with_hole(pd.Series(pd.to_datetime("2024")).repeat(150), hole=pd.NaT), "group"),
        (TABLE[["school", "class"]].assign(school=with_hole(SCHOOL)), "school"),
    ],
    ids=range(9),
)
def test_missing_labels_at_fit(groups, name):
    message = rf"groups contain NaN: grouping column '{name}' is missing in rows 4\. "
    with pytest.raises(ValueError, match=message):
        MixedLinearRegressor().fit(X, Y, groups=groups)


@pytest.mark.parametrize("fixed", [None, "x + z"])
def test_missing_labels_in_a_column_of_x(fixed):
    table = NAMED.assign(school=with_hole(with_hole(SCHOOL), 77))
    model = MixedLinearRegressor("(1 | school)", fixed=fixed)
    with pytest.raises(ValueError, match="column 'school' is missing in rows 4, 77"):
        model.fit(table, Y)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"group_features": ["school"]}, ValueError, "grouping columns are given both by `groups`"),
        ({"random": "(1 | school)"}, ValueError, r"\['school'\] are given both as `groups` and"),
        ({"random": "(1 | school) + (1 | x)"}, ValueError, r"\['x'\].* leave out `groups`"),
        ({"random": "(1 | nope)"}, ValueError, r"\['nope'\] .* not among `groups`, .*\['school'\]"),
    ],
)
def test_groups_given_both_ways(params, error, message):
    with pytest.raises(error, match=message):
        MixedLinearRegressor(**params).fit(NAMED, Y, groups=SCHOOL)


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ({"school": SCHOOL}, TypeError, "dict, which scikit-learn cannot split into folds"),
        (SCHOOL[:-1], ValueError, r"inconsistent numbers of samples: \[150, 149\]"),
        (TABLE[["school", "class"]].iloc[:10], ValueError, "inconsistent numbers of samples"),
        ("school", ValueError, r"groups has shape \(\)"),
        (np.zeros((150, 2, 1)), ValueError, r"groups has shape \(150, 2, 1\)"),
        (np.zeros((150, 0)), ValueError, r"groups has shape \(150, 0\)"),
        (TABLE[[]], ValueError, r"groups has the columns \[\]"),
        (TABLE[["school", "school"]], ValueError, r"\['school', 'school'\]: each must have a"),
        (pl.LazyFrame({"a": [1]}), TypeError, "LazyFrame is lazy"),
        (pd.Series([{"a": 1}] * 150), TypeError, "'group' cannot be looked up"),
    ],
    ids=range(10),
)
def test_groups_that_are_none(groups, error, message):
    with pytest.raises(error, match=message):
        MixedLinearRegressor().fit(X, Y, groups=groups)


@pytest.mark.parametrize(
    ("params", "table", "message"),
    [
        (
            {"random": "(1 | town)"},
            NAMED,
            r"\['town'\] named in `random` do not exist: X has the columns \['x', 'z', 'school'\]",
        ),
        (
            {"random": "(1 | town)", "fixed": "x"},
            NAMED,
            r"\['town'\] named in `random` do not exist",
        ),
        ({"random": "(1 | school/town)"}, NAMED, r"columns \['town'\] named in `random`"),
        (
            {"random": "(1 | school)"},
            NAMED.to_numpy(),
            r"X is an array without column names \(transformers",
        ),
        ({"group_features": ["town"]}, NAMED, r"'town', but X has the columns \['x', 'z'"),
        ({"group_features": [3]}, NAMED, r"3, but X has 3 columns\. Where a meta-estimator"),
        ({"group_features": [-4]}, NAMED, r"-4, but X has 3 columns\. Where a meta-estimator"),
        ({"group_features": [1.0]}, NAMED, r"1\.0; it accepts names and positions of"),
        (
            {"group_features": [False, True, True]},
            NAMED,
            "group_features contains False; it accepts",
        ),
        ({"group_features": [None]}, NAMED, "group_features contains None; it accepts"),
        ({"random": "(w | school)"}, NAMED, "refers to 'w', which is neither a column nor"),
        ({"random": "(x2 | x1)"}, X.to_numpy(), r"slopes \['x2'\] of 'x1' are not among"),
        (
            {"random": "(1 | school)"},
            NAMED.assign(s=1).set_axis(["x", "z", "school", "school"], axis=1),
            r"\['school'\] of grouping columns occur more",
        ),
    ],
    ids=range(13),
)
def test_columns_that_are_not_there(params, table, message):
    with pytest.raises(ValueError, match=message):
        MixedLinearRegressor(**params).fit(table, Y)


# --- X and y ---


@pytest.mark.parametrize("groups", [None, SCHOOL])
@pytest.mark.parametrize(
    ("hole", "message"), [(np.nan, "Input X contains NaN"), (np.inf, "Input X contains infinity")]
)
def test_holes_in_x(hole, message, groups):
    table = X.assign(z=with_hole(X["z"], hole=hole))
    for given in (table, table.to_numpy(), pl.from_pandas(table)):
        with pytest.raises(ValueError, match=message):
            MixedLinearRegressor().fit(given, Y, groups=groups)
    if groups is not None:
        for random, fixed in [("(1 | school)", None), ("(z | school)", "x"), ("(1 | school)", "z")]:
            model = MixedLinearRegressor(random, fixed=fixed)
            expected = "'z' (has missing values|is not finite) in row 4" if fixed else message
            with pytest.raises(ValueError, match=expected):
                model.fit(table.assign(school=SCHOOL), Y)
        # A formula does not look at columns it does not use.
        MixedLinearRegressor("(1 | school)", fixed="x").fit(table.assign(school=SCHOOL), Y)


@pytest.mark.parametrize("form", [pd.DataFrame, pl.from_pandas, np.asarray])
def test_holes_are_counted_by_column(form):
    table = X.assign(x=with_hole(X["x"]), z=with_hole(X["z"]))
    table.loc[[9, 11], "z"] = np.nan
    first, second = ("0", "1") if form is np.asarray else ("'x'", "'z'")
    message = rf"column {first} in 1, {second} in 3 of 150 rows, first in row 4 \(counted from 0"
    with pytest.raises(ValueError, match=message):
        MixedLinearRegressor().fit(form(table), Y, groups=SCHOOL)
    model = MixedLinearRegressor().fit(form(X), Y, groups=SCHOOL)
    with pytest.raises(ValueError, match=message):
        model.predict(form(table), groups=SCHOOL)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        (with_hole(Y), "Input y contains NaN"),
        (with_hole(Y, hole=np.inf), "Input y contains infinity"),
        (Y[:-1], r"inconsistent numbers of samples: \[149, 150\]"),
        (TABLE[["y", "x"]], "y should be a 1d array"),
        (SCHOOL, "y is text, such as .south., and a regressor needs numbers"),
    ],
    ids=range(6),
)
def test_bad_responses(y, message):
    for model in (MixedLinearRegressor("(1 | school)"), MixedLinearRegressor(fixed="x + z")):
        with pytest.raises(ValueError, match=message):
            model.fit(NAMED, y)
        assert not vars(model).keys() - model.get_params().keys()


def test_a_response_of_one_column_is_raveled_with_a_warning():
    with pytest.warns(DataConversionWarning):
        model = MixedLinearRegressor("(1 | school)").fit(NAMED, TABLE[["y"]])
    other = MixedLinearRegressor("(1 | school)").fit(NAMED, Y.tolist())
    assert model.criterion_ == other.criterion_


@pytest.mark.parametrize(
    "params",
    [{}, {"group_features": [0]}, {"random": "(1 | x0)"}],
    ids=["none", "position", "name"],
)
@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (X["x"].to_numpy(), ValueError, "Expected 2D array, got 1D array"),
        (X["x"], ValueError, "Expected a 2-dimensional container"),
        (np.empty((0, 2)), ValueError, "0 sample"),
        (np.empty((150, 0)), ValueError, r"0 feature\(s\) \(shape=\(150, 0\)\)"),
        (sparse.csr_array(X), TypeError, "dense data is required"),
        (X.to_numpy() * 1j, ValueError, "Complex data not supported"),
        (pl.from_pandas(X).lazy(), TypeError, "LazyFrame is lazy"),
    ],
    ids=range(7),
)
def test_bad_tables(table, error, message, params):
    with pytest.raises(error, match=message):
        MixedLinearRegressor(**params).fit(table, Y)


@pytest.mark.parametrize(
    "column",
    [
        SCHOOL,
        SCHOOL.astype(object),
        SCHOOL.astype("category"),
        SCHOOL.astype("string"),
        pd.Series(pd.date_range("2024", periods=150)),
        pd.Series(pd.Categorical(np.arange(150) % 3)),
    ],
    ids=lambda column: str(column.dtype),
)
def test_columns_that_are_no_numbers_say_what_to_do(column):
    message = r"columns \['town'\] are not numeric: encode them.*`group_features`, .* by `fixed`"
    table = NAMED.assign(town=column)
    with pytest.raises(ValueError, match=message):
        MixedLinearRegressor("(1 | school)").fit(table, Y)
    with pytest.raises(ValueError, match=message):
        MixedLinearRegressor().fit(X.assign(town=column), Y)
    with pytest.raises(ValueError, match=message):
        MixedLinearRegressor().fit(X.assign(town=column), Y, groups=SCHOOL)
    if not isinstance(column.dtype, pd.CategoricalDtype):
        with pytest.raises(ValueError, match=message):
            MixedLinearRegressor("(1 | school)").fit(pl.from_pandas(table), Y)


def test_columns_that_are_no_numbers_in_an_array():
    message = r"text in the columns at positions \[3\]\. Encode .*: group_features=\[3\]"
    array = NAMED.assign(town="a").to_numpy()
    for values in (array, array.tolist(), array.astype(str)):
        with pytest.raises(ValueError, match=message):
            MixedLinearRegressor(group_features=[2]).fit(values, Y)
    with pytest.raises(ValueError, match=r"positions \[2, 3\]\. Encode"):
        MixedLinearRegressor().fit(array, Y)
    with pytest.raises(ValueError, match=r"positions \[3\]\. Encode"):
        MixedLinearRegressor().fit(NAMED.assign(school=1, town="a").to_numpy(), Y, groups=SCHOOL)
    model = MixedLinearRegressor(group_features=[2]).fit(
        NAMED.assign(town=TABLE["z"] ** 2).to_numpy(), Y
    )
    with pytest.raises(ValueError, match=r"positions \[3\], which were numbers in fit"):
        model.predict(array)
    # Digits are numbers, for scikit-learn as well.
    digits = MixedLinearRegressor().fit(X.to_numpy().astype(str), Y)
    assert_allclose(digits.coef_, MixedLinearRegressor().fit(X, Y).coef_)
    with pytest.raises(ValueError, match="inhomogeneous"):
        MixedLinearRegressor().fit([[1, "a"], [2]], [1, 2])


def test_names_and_positions_that_an_array_does_not_have():
    with pytest.raises(ValueError, match=r"'school', but X has the columns \['x0'"):
        MixedLinearRegressor(group_features="school").fit(NAMED.to_numpy(), Y)
    with pytest.raises(ValueError, match=r"3, but X has 3 columns\. Where a meta-estimator"):
        MixedLinearRegressor(group_features=[3]).fit(NAMED.to_numpy(), Y)


def test_a_measured_column_that_is_taken_for_groups_by_position():
    message = "'x1' is a grouping column by its position"
    with pytest.warns(UnidentifiedWarning, match=message):
        MixedLinearRegressor(group_features=[1]).fit(X.to_numpy(), Y)
    with pytest.warns(UnidentifiedWarning, match=message):
        MixedLinearRegressor("(1 + x0 | x1)").fit(X.to_numpy(), Y)
    with pytest.warns(UnidentifiedWarning) as caught:
        MixedLinearRegressor(group_features=["z"]).fit(X, Y)
    assert "position" not in str(caught[0].message)


# --- parameters ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("random", 3),
        ("random", ["(1 | school)"]),
        ("fixed", 3),
        ("fixed", ["x"]),
        ("group_features", 1.5),
        ("covariance", "toeplitz"),
        ("covariance", None),
        ("residual", 3),
        ("residual", ["var(school)"]),
        ("method", "REML"),
        ("prior", "flat"),
        ("fit_intercept", "yes"),
        ("weighting", "sampling"),
        ("handle_unknown", "ignore"),
        ("solver", "lbfgs"),
        ("max_iter", 0),
        ("max_iter", 1.5),
        ("tol", 0),
        ("tol", "small"),
        ("n_jobs", 1.5),
        ("verbose", -1),
    ],
)
def test_parameters_are_checked_by_fit(name, value):
    model = MixedLinearRegressor(**{name: value})  # not by the constructor
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter"):
        model.fit(X, Y)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"fixed": "x", "fit_intercept": False}, ValueError, r"write '0 \+ \.\.\.' in `fixed`"),
        ({"fixed": "y ~ x"}, ValueError, "leave out 'y ~'"),
        ({"fixed": "x + (1 | school)"}, ValueError, "`fixed` contains random-effects terms"),
        ({"fixed": "x +"}, FormulaSyntaxError, "expected"),
        ({"random": "x"}, FormulaSyntaxError, r"\^"),
        ({"random": "(1 | school"}, FormulaSyntaxError, "never closed"),
        ({"random": ""}, FormulaSyntaxError, "expected"),
        ({"residual": "ar1(school)"}, FormulaSyntaxError, "of one bar"),
        ({"residual": "var(town)"}, ValueError, "'town', which does not exist: X has the"),
        ({"random": {"school": []}}, ValueError, "names no columns"),
        ({"random": "(1 | school)", "covariance": {"town": "diagonal"}}, ValueError, "town"),
        ({"random": "(1 | school)", "covariance": {"school": "toeplitz"}}, ValueError, "toeplitz"),
    ],
    ids=range(12),
)
def test_parameters_that_do_not_fit_together(params, error, message):
    with pytest.raises(error, match=message):
        MixedLinearRegressor(**params).fit(NAMED, Y)


def test_a_formula_needs_a_data_frame():
    with pytest.raises(ValueError, match="X must be a data frame, got ndarray"):
        MixedLinearRegressor(fixed="x0").fit(X.to_numpy(), Y)
    with pytest.raises(ValueError, match="X must be a data frame, got list"):
        MixedLinearRegressor(fixed="x0").fit(X.to_numpy().tolist(), Y)


def test_too_few_iterations_warn():
    model = MixedLinearRegressor("(x + z | school)", max_iter=1)
    with pytest.warns(ConvergenceWarning, match=r"\. Increase max_iter"):
        model.fit(NAMED, Y)
    assert not model.converged_
    assert np.isfinite(model.predict(NAMED)).all()


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.predict(X),
        lambda model: model.score(X, Y),
        lambda model: model.summary(),
        lambda model: model.aic_,
        lambda model: model.random_effects_,
        lambda model: model.coef_covariance_,
    ],
)
def test_before_fit(use):
    with pytest.raises(NotFittedError):
        use(MixedLinearRegressor())


# --- limits that have an answer ---


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_constant_response(method):
    model = MixedLinearRegressor("(x | school)", method=method)
    with pytest.warns(UnidentifiedWarning, match="the fixed effects fit the data exactly"):
        model.fit(NAMED, np.full(150, 3.25))
    assert model.intercept_ == pytest.approx(3.25)
    assert_allclose(model.coef_, 0.0, atol=1e-12)
    assert model.residual_variance_ == 0.0
    assert_allclose(model.theta_, 0.0)
    assert_allclose(model.predict(NAMED), 3.25)
    assert model.criterion_ == -np.inf
    assert_allclose(model.random_effects_["school"], 0.0)


def test_constant_response_without_groups():
    model = MixedLinearRegressor().fit(X, np.full(150, 3.25))
    assert model.intercept_ == pytest.approx(3.25)
    assert_allclose(model.coef_, 0.0, atol=1e-12)
    assert model.residual_variance_ == 0.0


def test_a_response_that_the_fixed_part_explains():
    y = 1.0 + X["x"] - 2.0 * X["z"]
    with pytest.warns(UnidentifiedWarning):
        model = MixedLinearRegressor("(1 | school)").fit(NAMED, y)
    assert_allclose([model.intercept_, *model.coef_], [1.0, 1.0, -2.0], rtol=1e-10)
    assert_allclose(model.predict(NAMED), y)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("labels", ["one level", "a level for every row"])
def test_groups_that_tell_nothing(method, labels):
    groups = np.zeros(150, dtype=int) if labels == "one level" else np.arange(150)
    model = MixedLinearRegressor(method=method)
    linear = MixedLinearRegressor(method=method).fit(X, Y)
    if method == "reml" or labels == "a level for every row":
        with pytest.warns(UnidentifiedWarning, match="'group' is not identified and set to zero"):
            model.fit(X, Y, groups=groups)
    else:  # the likelihood itself says zero
        model.fit(X, Y, groups=groups)
    assert_allclose(model.coef_, linear.coef_, rtol=1e-8)
    assert model.intercept_ == pytest.approx(linear.intercept_)
    assert model.criterion_ == pytest.approx(linear.criterion_)
    assert_allclose(model.predict(X, groups), linear.predict(X), rtol=1e-8)
    assert model.n_groups_ == {"group": len(set(groups))}


@pytest.mark.parametrize("random", ["(1 | school)", "(x | school)"])
def test_a_single_level_has_no_variance(random):
    with pytest.warns(UnidentifiedWarning, match="'school' is not identified and set to zero"):
        model = MixedLinearRegressor(random).fit(NAMED.assign(school="north"), Y)
    assert_allclose(model.theta_, 0.0)
    assert model.is_singular_


def test_a_factor_among_the_fixed_columns():
    dummies = pd.get_dummies(SCHOOL, dtype=float)
    model = MixedLinearRegressor("(1 | school)", fit_intercept=False)
    with pytest.warns(UnidentifiedWarning, match="the variance of 'school' is not identified"):
        model.fit(dummies.assign(school=SCHOOL), Y)
    assert_allclose(model.random_effects_["school"], 0.0, atol=1e-6)
    assert_allclose(model.coef_, Y.groupby(SCHOOL).mean(), rtol=1e-8)


def test_as_many_fixed_columns_as_rows():
    rng = np.random.default_rng(0)
    wide, y = rng.normal(size=(20, 30)), rng.normal(size=20)
    with pytest.warns(UnidentifiedWarning, match="the fixed effects fit the data exactly"):
        model = MixedLinearRegressor().fit(wide, y, groups=np.arange(20) // 4)
    assert_allclose(model.predict(wide, groups=np.arange(20) // 4), y)
    assert model.rank_ == 20
    assert_allclose(model.theta_, 0.0)
    linear = MixedLinearRegressor().fit(wide, y)
    assert_allclose(linear.predict(wide), y)
    assert_allclose(linear.coef_, model.coef_)


def test_a_single_row():
    model = MixedLinearRegressor().fit(X[:1], Y[:1])
    assert model.predict(X[:1]) == pytest.approx(Y[:1])
    with pytest.warns(UnidentifiedWarning):
        model = MixedLinearRegressor().fit(X[:1], Y[:1], groups=["a"])
    assert model.predict(X[:1], ["a"]) == pytest.approx(Y[:1])


def test_dependent_columns_get_zero_and_change_nothing():
    table = NAMED.assign(twice=2 * NAMED["x"] + 1, constant=5.0)
    model = MixedLinearRegressor("(1 | school)").fit(table, Y)
    full = MixedLinearRegressor("(1 | school)").fit(NAMED, Y)
    assert_allclose(model.coef_, [*full.coef_, 0.0, 0.0], rtol=1e-8)
    assert model.rank_ == full.rank_ == 3
    assert model.criterion_ == pytest.approx(full.criterion_)
    assert_allclose(model.predict(table), full.predict(NAMED))
    errors = np.diag(model.coef_covariance_)
    assert_allclose(errors[:3], np.diag(full.coef_covariance_), rtol=1e-7)
    assert_allclose(errors[3:], 0.0)


def test_boolean_and_small_types_are_numbers():
    table = NAMED.assign(z=NAMED["z"] > 0)
    model = MixedLinearRegressor("(1 | school)").fit(table, Y)
    other = MixedLinearRegressor("(1 | school)").fit(table.astype({"z": np.int8}), Y)
    third = MixedLinearRegressor("(1 | school)").fit(table.astype({"z": "boolean"}), Y)
    assert_allclose(model.coef_, other.coef_)
    assert_allclose(model.coef_, third.coef_)
