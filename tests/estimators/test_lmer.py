"""Whole formulas: the data, the weights and the columns they need."""

import re
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils._param_validation import InvalidParameterError

from skmixed import MixedLinearRegressor, clmm, glmer, lmer, nlmer
from skmixed.datasets import load_sleepstudy, make_schools
from skmixed.design.grammar.expressions import read_terms
from skmixed.design.grammar.syntax import split_formula
from skmixed.design.grammar.tokens import tokenize
from skmixed.exceptions import FormulaSyntaxError
from skmixed.inference import bootstrap
from tests.estimators.example import estimates, pupils

SLEEP = load_sleepstudy()
FORMULA = "Reaction ~ Days + (Days | Subject)"
MODEL = lmer(FORMULA, SLEEP)
TABLE = pupils()


def same_model(model, other=MODEL):
    assert_allclose(estimates(model), estimates(other), rtol=1e-7)


def test_it_is_the_estimator():
    assert isinstance(MODEL, MixedLinearRegressor)
    X, y = load_sleepstudy(return_X_y=True)
    for params in ({}, {"fixed": "Days"}):
        same_model(MixedLinearRegressor("(Days | Subject)", **params).fit(X, y))
    assert MODEL.formula_ == FORMULA
    assert MODEL.n_dropped_ == 0
    assert MODEL.criterion_ == pytest.approx(1743.6282719584906, abs=1e-6)
    ml = lmer(FORMULA, SLEEP, reml=False)
    assert ml.criterion_ == pytest.approx(1751.9393444631976, abs=1e-6)
    assert ml.method == "ml"


def test_parameters_of_the_estimator_are_passed_on():
    model = lmer(FORMULA, SLEEP, covariance="diagonal", handle_unknown="error")
    assert model.covariance == "diagonal"
    assert model.criterion_ == pytest.approx(
        lmer("Reaction ~ Days + (Days || Subject)", SLEEP).criterion_
    )
    with pytest.raises(ValueError, match="were not seen in fit"):
        model.predict(SLEEP.assign(Subject="new"))
    with pytest.raises(InvalidParameterError, match="'solver'"):
        lmer(FORMULA, SLEEP, solver="bobyqa")
    with pytest.raises(TypeError, match="REML"):
        lmer(FORMULA, SLEEP, REML=False)


# --- missing values ---

HOLES = SLEEP.astype({"Days": float}).assign(unused=np.nan)
HOLES.loc[3, "Reaction"] = np.nan
HOLES.loc[[3, 10], "Days"] = np.nan
HOLES.loc[20, "Subject"] = None
COMPLETE = SLEEP.drop(index=[3, 10, 20])


@pytest.mark.parametrize("convert", [lambda f: f, pl.from_pandas, pa.Table.from_pandas])
def test_incomplete_rows_are_left_out_and_counted(convert):
    model = lmer(FORMULA, convert(HOLES))
    same_model(model, lmer(FORMULA, COMPLETE))
    assert model.n_dropped_ == 3
    assert "3 rows with missing values were left out" in str(model.summary())
    assert "number of obs: 177" in str(model.summary())
    with pytest.raises(ValueError, match="3 rows have missing values, the first is row 3;"):
        lmer(FORMULA, convert(HOLES), na_action="raise")
    same_model(lmer(FORMULA, convert(SLEEP), na_action="raise"))


def test_only_columns_of_the_formula_count():
    one = HOLES.assign(Reaction=SLEEP["Reaction"], Subject=SLEEP["Subject"])
    assert lmer("Reaction ~ 1 + (1 | Subject)", one).n_dropped_ == 0
    for formula in (
        "Reaction ~ Days + (1 | Subject)",
        "Reaction ~ 1 + (0 + Days | Subject)",
        "Reaction ~ 1 + (1 | Subject) + offset(2 * Days)",
        "Reaction - Days ~ 1 + (1 | Subject)",
        "Reaction ~ I(Days^2) + (1 | Subject)",
    ):
        assert lmer(formula, one).n_dropped_ == 2
    assert "1 row with missing values was left out" in str(
        lmer("Reaction ~ 1 + (1 | Subject)", one.assign(Subject=HOLES["Subject"])).summary()
    )


def test_a_level_that_only_occurs_in_incomplete_rows_is_no_level():
    holes = HOLES.assign(Subject=SLEEP["Subject"].astype("category"))
    holes.loc[holes["Subject"] == "308", "Reaction"] = np.nan
    model = lmer("Reaction ~ factor(Days) + (1 | Subject)", holes)
    assert model.n_groups_ == {"Subject": 17}
    letters = TABLE.assign(y=TABLE["y"].where(TABLE["class"] != "c"))
    assert lmer("y ~ class + (1 | school)", letters).coef_.shape == (1,)


def test_columns_with_missing_values_are_named():
    table = HOLES.assign(w=1.0)
    table.loc[:4, "w"] = np.nan
    where = r"1 in 'Reaction', 1 in 'Subject', 5 in 'weights'"
    with pytest.raises(ValueError, match=r"7 rows .* row 0; there are 2 in 'Days', " + where):
        lmer(FORMULA, table, weights="w", na_action="raise")
    with pytest.raises(ValueError, match=r"every one has a missing value, 180 in 'unused'$"):
        lmer("Reaction ~ unused + (1 | Subject)", SLEEP.assign(unused=np.nan))


@pytest.mark.parametrize("response", ["Reaction", "`Reaction`", "log(Reaction)"])
def test_a_response_that_is_not_finite_is_called_as_it_was_written(response):
    endless = 0.0 if "log" in response else -np.inf
    table = SLEEP.assign(Reaction=SLEEP["Reaction"].where(SLEEP.index != 7, endless))
    with pytest.raises(ValueError, match=rf"^'{re.escape(response)}' is not finite in row 7 "):
        lmer(f"{response} ~ Days + (1 | Subject)", table)


def test_two_columns_of_one_name_are_refused_where_they_are_used():
    table = pd.concat([SLEEP, SLEEP[["Days"]]], axis=1)
    with pytest.raises(ValueError, match="several columns of the name 'Days', which the formula"):
        lmer(FORMULA, table)
    assert lmer("Reaction ~ 1 + (1 | Subject)", table).n_groups_ == {"Subject": 18}


def test_nothing_is_complete():
    with pytest.raises(ValueError, match="no row is complete"):
        lmer(FORMULA, SLEEP.assign(Days=np.nan))
    with pytest.raises(ValueError, match="na_action='omit' is not 'drop', 'exclude' or 'raise'"):
        lmer(FORMULA, SLEEP, na_action="omit")


# --- weights ---


def test_weights_by_name_expression_and_array():
    weights = 1.0 + SLEEP["Days"] % 3
    model = lmer(FORMULA, SLEEP, weights=weights)
    # R: lmer(Reaction ~ Days + (Days | Subject), sleepstudy, weights = 1 + (Days %% 3))
    assert model.criterion_ == pytest.approx(1733.5435464657764, abs=1e-6)
    same_model(lmer(FORMULA, SLEEP.assign(w=weights), weights="w"), model)
    same_model(lmer(FORMULA, SLEEP.assign(**{"my w": weights}), weights="my w"), model)
    same_model(lmer(FORMULA, SLEEP, weights="1 + Days % 3"), model)
    same_model(lmer(FORMULA, SLEEP, weights="1 + (Days %% 3)"), model)
    same_model(lmer(FORMULA, SLEEP, weights=list(weights)), model)
    same_model(lmer(FORMULA, pl.from_pandas(SLEEP), weights=pl.Series(weights.tolist())), model)
    assert model.weighting == "precision"


def test_rows_without_a_weight_are_incomplete():
    weights = pd.Series(1.0, index=SLEEP.index).where(~SLEEP.index.isin([3, 10, 20]))
    same_model(lmer(FORMULA, SLEEP, weights=weights), lmer(FORMULA, COMPLETE))
    model = lmer(FORMULA, SLEEP.assign(w=weights), weights="2 * w / 2")
    same_model(model, lmer(FORMULA, COMPLETE))
    assert model.n_dropped_ == 3
    # A weight of zero leaves a row out as well, but it is not missing.
    model = lmer(FORMULA, SLEEP, weights=weights.fillna(0.0))
    same_model(model, lmer(FORMULA, COMPLETE))
    assert model.n_dropped_ == 0


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"weights has shape \(3,\), but data has 180 rows"),
        (2.0, r"weights has shape \(\)"),
        ("w", "'w' uses no column of the data"),
        ("Days + w", "refers to 'w'"),
        (-np.ones(180), "Negative values"),
        ("Subject", "'Subject' is categorical"),
    ],
)
def test_bad_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        lmer(FORMULA, SLEEP, weights=weights)


# --- offsets ---


def test_an_offset_has_coefficient_one():
    model = lmer("Reaction ~ Days + offset(10 * Days) + (Days | Subject)", SLEEP)
    assert_allclose(model.coef_, MODEL.coef_ - 10.0, rtol=1e-8)
    assert model.criterion_ == pytest.approx(MODEL.criterion_)
    assert_allclose(model.predict(SLEEP), MODEL.predict(SLEEP))
    assert_allclose(model.predict(SLEEP, random="none"), MODEL.predict(SLEEP, random="none"))


def test_offsets_are_taken_from_new_rows():
    offset = np.random.default_rng(0).normal(scale=50.0, size=180)
    table = SLEEP.assign(o=offset, Reaction=SLEEP["Reaction"] + 2.0 * offset)
    model = lmer("Reaction ~ Days + offset(o) + offset(o) + (Days | Subject)", table)
    same_model(model)
    assert_allclose(model.predict(table), MODEL.predict(SLEEP) + 2.0 * offset)
    assert_allclose(model.predict(table.assign(o=0.0)), MODEL.predict(SLEEP))
    with pytest.raises(ValueError, match="'o' uses no column of the data"):
        model.predict(SLEEP)
    fixed = MixedLinearRegressor("(Days | Subject)", fixed="Days + offset(2 * o)")
    same_model(fixed.fit(table[["o", "Days", "Subject"]], table["Reaction"]))


# --- no bar: ordinary least squares ---


def closed_form(X, y):
    """Coefficients and R's lm figures: sigma, AIC, BIC, R squared about the mean."""
    n, p = X.shape
    beta = np.linalg.lstsq(X, y, rcond=None)[0]
    rss = ((y - X @ beta) ** 2).sum()
    deviance = n * (np.log(2 * np.pi * rss / n) + 1)
    return {
        "beta": beta,
        "sigma2": rss / (n - p),
        "aic": deviance + 2 * (p + 1),
        "bic": deviance + np.log(n) * (p + 1),
        "log_likelihood": -deviance / 2,
        "covariance": rss / (n - p) * np.linalg.inv(X.T @ X),
        "r_squared": 1 - rss / ((y - y.mean()) ** 2).sum(),
    }


def dummies(labels):
    return np.column_stack([labels == label for label in sorted(set(labels))[1:]]).astype(float)


x, z = TABLE["x"].to_numpy(), TABLE["z"].to_numpy()
ONE, LETTER = np.ones(150), dummies(TABLE["class"])


LINEAR = {
    "x + z": [ONE, x, z],
    "1": [ONE],
    "x * z": [ONE, x, z, x * z],
    "x + I(x**2)": [ONE, x, x**2],
    "x + I(x^2)": [ONE, x, x**2],
    "exp(x) + log1p(abs(z))": [ONE, np.exp(x), np.log1p(np.abs(z))],
    "0 + x + z": [x, z],
    "x + z - 1": [x, z],
    "class": [ONE, *LETTER.T],
    "class + x:class": [ONE, *LETTER.T, x * (1 - LETTER.sum(axis=1)), *(x * LETTER.T)],
    "factor(number)": [ONE, *LETTER.T],
    "C(number) + z": [ONE, *LETTER.T, z],
}


@pytest.mark.parametrize("right", LINEAR)
@pytest.mark.parametrize("reml", [True, False])
def test_a_formula_without_bars_is_least_squares(right, reml):
    X = LINEAR[right]
    table = TABLE.assign(number=TABLE["class"].map({"a": 2, "b": 3, "c": 10}))
    model = lmer(f"y ~ {right}", table, reml=reml)
    expected = closed_form(np.column_stack(X), TABLE["y"].to_numpy())
    has_intercept = X[0] is ONE
    found = [model.intercept_, *model.coef_] if has_intercept else model.coef_
    assert_allclose(np.sort(found), np.sort(expected["beta"]), rtol=1e-7)
    assert model.aic_ == pytest.approx(expected["aic"])
    assert model.bic_ == pytest.approx(expected["bic"])
    assert model.log_likelihood_ == pytest.approx(expected["log_likelihood"])
    # As lm, with n - p in the denominator; by maximum likelihood it is n.
    n, p = 150, len(expected["beta"])
    factor = 1.0 if reml else (n - p) / n
    assert model.residual_variance_ == pytest.approx(factor * expected["sigma2"])
    variances = np.sort(np.diag(expected["covariance"]))
    assert_allclose(np.sort(np.diag(model.coef_covariance_)), factor * variances, rtol=1e-6)
    if has_intercept:
        r_squared = abs(expected["r_squared"])  # the rounding of a zero has a sign
        assert f"R-Squared = {r_squared:.2f}" in str(model.summary())
    assert f"residual sd = {np.sqrt(model.residual_variance_):.2f}" in str(model.summary())
    assert_allclose(model.predict(table), np.column_stack(X) @ expected["beta"])


def test_polynomials_are_orthogonal_and_replayed():
    model = lmer("y ~ poly(x, 2) + (1 | school)", TABLE)
    plain = lmer("y ~ x + I(x^2) + (1 | school)", TABLE)
    assert_allclose(model.predict(TABLE), plain.predict(TABLE), rtol=1e-6)
    new = pd.DataFrame({"x": [-10.0, 0.0, 10.0], "school": "north"})
    assert_allclose(model.predict(new), plain.predict(new), rtol=1e-6)


def test_cell_means():
    schools = make_schools(n_pupils=8)
    model = lmer("extro ~ school * class - 1", schools)
    means = schools.groupby(["school", "class"])["extro"].mean()
    assert model.coef_.shape == (24,)
    assert model.intercept_ == 0.0
    cells = means.index.to_frame(index=False)
    assert_allclose(model.predict(cells), means)


# --- columns and formulas ---


@pytest.mark.parametrize(
    ("formula", "names"),
    [
        ("re.action ~ day.s + (day.s | sub.ject)", ["re.action", "day.s", "sub.ject"]),
        ("`re.action` ~ `day.s` + (`day.s` | `sub.ject`)", ["re.action", "day.s", "sub.ject"]),
        ("`my y` ~ `a b` + (`a b` | `g h`)", ["my y", "a b", "g h"]),
        ("class ~ lambda + (lambda | for)", ["class", "lambda", "for"]),
        ("log ~ exp + (exp | C)", ["log", "exp", "C"]),
        ("`y|1` ~ `a+b` + (`a+b` | `g/h:i`)", ["y|1", "a+b", "g/h:i"]),
        ("Réaction ~ días + (días | été)", ["Réaction", "días", "été"]),
    ],
    ids=str,
)
def test_names_of_every_kind(formula, names):
    table = SLEEP.set_axis(names, axis=1)
    model = lmer(formula, table)
    same_model(model)
    assert list(model.random_effects_) == [names[2]]
    assert list(model.random_effects_[names[2]].columns) == ["(Intercept)", names[1]]
    assert_allclose(model.predict(table[names[:0:-1]]), MODEL.predict(SLEEP))


@pytest.mark.parametrize("convert", [pl.from_pandas, pa.Table.from_pandas])
def test_tables_of_other_libraries(convert):
    model = lmer(FORMULA, convert(SLEEP))
    same_model(model)
    assert_allclose(model.predict(convert(SLEEP)), MODEL.predict(SLEEP))
    same_model(
        lmer("y ~ x * class + (x | school)", convert(TABLE)),
        lmer("y ~ x * class + (x | school)", TABLE),
    )


def test_columns_that_are_not_strings():
    same_model(lmer("`0` ~ `1` + (`1` | `2`)", SLEEP.set_axis([0, 1, 2], axis=1)))


def test_the_response_may_be_an_expression():
    model = lmer("log(Reaction) ~ Days + (1 | Subject)", SLEEP)
    logged = SLEEP.assign(l=np.log(SLEEP["Reaction"]))
    same_model(model, lmer("l ~ Days + (1 | Subject)", logged))


def test_every_column_but_the_response():
    table = TABLE[["y", "x", "z", "school"]]
    model = lmer("y ~ . - school + (1 | school)", table)
    same_model(model, lmer("y ~ x + z + (1 | school)", table))
    assert_allclose(model.predict(table.drop(columns="y")), model.predict(table))


def test_double_bars():
    model = lmer("Reaction ~ Days + (Days || Subject)", SLEEP)
    assert model.criterion_ == pytest.approx(1743.6692935813126, abs=1e-6)
    same_model(model, lmer("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", SLEEP))


def test_categorical_slopes():
    """(kind | group) has a column per contrast; (0 + kind | group) is the same model."""
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"kind": list("uvw") * 60, "group": np.repeat(np.arange(12), 15)})
    effects = rng.normal(scale=2.0, size=(12, 3))
    means = effects[table["group"], table["kind"].map("uvw".index)]
    table["y"] = means + rng.normal(size=180)
    model = lmer("y ~ kind + (kind | group)", table)
    columns = list(model.random_effects_["group"].columns)
    assert columns == ["(Intercept)", "kind[T.v]", "kind[T.w]"]
    other = lmer("y ~ kind + (0 + kind | group)", table)
    assert model.criterion_ == pytest.approx(other.criterion_, abs=1e-6)
    assert_allclose(model.predict(table), other.predict(table), atol=1e-3)
    new = pd.DataFrame({"kind": ["w", "u"], "group": [3, 99]})
    expected = model.predict(table[(table["group"] == 3) & (table["kind"] == "w")])[0]
    assert model.predict(new)[0] == pytest.approx(expected)
    assert model.predict(new)[1] == pytest.approx(model.intercept_)
    with pytest.raises(ValueError, match="not seen in fitting: 'q'"):
        model.predict(new.assign(kind="q"))


@pytest.mark.parametrize(
    ("formula", "error", "message"),
    [
        ("Days + (Days | Subject)", ValueError, "has no response: write 'y ~ ...'"),
        ("~ Days + (Days | Subject)", ValueError, "has no response"),
        ("Reaction ~ Dayz + (1 | Subject)", ValueError, "'Dayz', which is neither a column nor"),
        ("Reaction ~ Days + (Dayz | Subject)", ValueError, "refers to 'Dayz'"),
        (
            "Reaction ~ Days + (1 | Sub)",
            ValueError,
            r"\['Sub'\] do not exist: data has the columns \['Reaction', 'Days', 'Subject'\]",
        ),
        ("React ~ Days", ValueError, "'React' uses no column of the data"),
        ("Subject ~ Days", ValueError, "'Subject' is categorical"),
        ("Reaction ~ Days + (Days | Subject", FormulaSyntaxError, r"never closed\n.*\n +\^"),
        ("Reaction ~ Days + (Days | )", FormulaSyntaxError, r"expected a term .*\n.*\n +\^"),
    ],
)
def test_bad_formulas(formula, error, message):
    with pytest.raises(error, match=message):
        lmer(formula, SLEEP)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"method": "ml"}, "accept 'method': write reml=True or reml=False"),
        ({"REML": False}, "accept 'REML': write reml="),
        ({"random": "(1 | Subject)"}, "accept 'random': write the random terms into the formula"),
        ({"fixed": "Days"}, "accept 'fixed'"),
        ({"groups": SLEEP["Subject"]}, "accept 'groups': name the grouping columns in the formula"),
        ({"weighting": "frequency"}, "accept 'weighting': weights are precisions, as in R"),
        ({"sample_weight": SLEEP["Days"]}, "accept 'sample_weight': write weights="),
    ],
)
def test_what_the_formula_and_reml_decide(params, message):
    with pytest.raises(TypeError, match=message):
        lmer(FORMULA, SLEEP, **params)


@pytest.mark.parametrize("fit", [lmer, glmer, clmm, nlmer])
def test_data_in_the_place_of_the_formula_are_recognised(fit):
    name = fit.__name__
    with pytest.raises(TypeError, match=rf"{name} takes the formula first.*{name}\('y ~ x', data"):
        fit(SLEEP, "y ~ x")
    with pytest.raises(TypeError, match="formula is a int; a string, as in R, is expected"):
        fit(3, SLEEP)


@pytest.mark.parametrize("data", [SLEEP.to_numpy(), dict(SLEEP), SLEEP.to_numpy().tolist(), None])
def test_data_must_be_a_data_frame(data):
    with pytest.raises(TypeError, match="a formula requires a data frame"):
        lmer(FORMULA, data)


def test_the_data_stay_as_they_were():
    table = HOLES.copy()
    lmer(FORMULA, table, weights="1 + Days")
    pd.testing.assert_frame_equal(table, HOLES)


def test_a_dot_is_every_column_but_the_response():
    data = load_sleepstudy().assign(age=np.arange(180) % 18)
    dot = lmer("Reaction ~ . - Subject + (1 | Subject)", data)
    named = lmer("Reaction ~ Days + age + (1 | Subject)", data)
    assert dot.criterion_ == pytest.approx(named.criterion_)
    assert_allclose(dot.predict(data), named.predict(data))
    both = lmer(
        "Reaction ~ .^2 - Subject - Days:Subject + (1 | Subject)",
        data[["Reaction", "Days", "Subject"]],
    )
    assert both.coef_.shape == (1,)
    with pytest.warns(UserWarning, match=r"\['Subject'\], and with them as fixed effects"):
        lmer("Reaction ~ .^2 - Subject + (1 | Subject)", data)


@pytest.mark.filterwarnings("ignore::skmixed.exceptions.UnidentifiedWarning")
def test_a_dot_is_the_grouping_columns_too_as_in_r():
    data = load_sleepstudy().assign(z=np.sin(np.arange(180)))
    with pytest.warns(UserWarning, match=r"write '\. - Subject' to exclude them"):
        model = lmer("Reaction ~ . + (1 | Subject)", data)
    assert model.fit_.rank == 20
    # lmer of lme4 1.1-31
    assert model.criterion_ == pytest.approx(1605.983876, abs=1e-6)
    assert_allclose(model.coef_[:2], [10.46765305, -128.22077891], rtol=1e-8)


def test_features_are_the_columns_of_the_right_side():
    table = TABLE.assign(more=1.0)
    model = lmer("y ~ x + (1 | school)", table)
    assert model.feature_names_in_.tolist() == [name for name in table if name in ("x", "school")]
    assert model.n_features_in_ == 2
    alone = lmer("y ~ 1", table)
    assert alone.n_features_in_ == 0
    assert not hasattr(alone, "feature_names_in_")
    assert set(lmer("y ~ .", table[["y", "x", "more"]]).feature_names_in_) == {"x", "more"}


def test_refits_do_not_read_the_formula_again():
    readers = (tokenize, split_formula, read_terms)
    model = lmer(FORMULA, SLEEP)
    model.predict(SLEEP)
    read = [reader.cache_info().misses for reader in readers]
    simulated = model.simulate(SLEEP, n_samples=2, random_state=0)
    for response in simulated.T:
        clone(model).fit(SLEEP, response)
        lmer(FORMULA, SLEEP.assign(Reaction=response))
    search = GridSearchCV(model, {"method": ["reml", "ml"], "solver": ["newton"]}, cv=2)
    search.fit(SLEEP, SLEEP["Reaction"])
    bootstrap(model, n_samples=5, random_state=0)
    model.partial_fit(SLEEP, SLEEP["Reaction"])
    assert [reader.cache_info().misses for reader in readers] == read


def test_formulas_of_columns_need_no_formulaic(monkeypatch):
    monkeypatch.setitem(sys.modules, "formulaic", None)
    data = SLEEP.assign(kind=np.where(SLEEP["Days"] % 2, "odd", "even"))
    model = lmer("log(Reaction) ~ Days * kind + I(Days^2) + (Days | Subject)", data)
    assert np.isfinite(model.predict(data.iloc[:2])).all()
    with pytest.raises(ImportError, match=r"'poly\(Days, 2\)' needs formulaic"):
        lmer("Reaction ~ poly(Days, 2) + (1 | Subject)", SLEEP)
