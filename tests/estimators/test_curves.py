"""Smooth curves in the fixed part and over levels, against mgcv and as any random effects."""

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmixed import (
    BLUPEncoder,
    MixedClassifier,
    MixedEffectsRegressor,
    MixedGeneralizedRegressor,
    MixedLinearRegressor,
    MixedLinearRegressorCV,
    clmm,
    distributed,
    glmer,
    lmer,
)
from skmixed.design.design import Design
from skmixed.exceptions import ExtrapolationWarning, FormulaSyntaxError
from skmixed.inference import (
    bootstrap,
    confidence_intervals,
    marginal_means,
    ranova,
    smooth_table,
    variance_partition,
)
from tests.curves import MGCV, curve_table

FOUR = "s(x0, k=20) + s(x1, k=20) + s(x2, k=20) + s(x3, k=20)"
ENDS = {"x0": [-0.2, 0.5, 1.3], "x2": [-0.2, 0.5, 1.3]}  # beyond the range, but for one


@pytest.fixture(scope="module")
def table():
    return curve_table()


def fitted(table, fixed, response="y", random=None, weights=None, **params):
    model = MixedLinearRegressor(random, fixed=fixed, tol=1e-12, **params)
    return model.fit(
        table.drop(columns=["y", "z", "hit", "count", "eta"]), table[response], weights
    )


@pytest.mark.parametrize(
    ("name", "fixed", "response"),
    [
        ("one", "s(x2, k=20)", "y"),
        ("ten", "x1 + s(x2)", "y"),
        ("bylevel", "h + s(x0, by=h)", "z"),
        ("bynumber", "x1 + s(x0, by=x3)", "z"),
        ("cyclic", "s(x0, bs='cp', low=0, high=1)", "z"),
    ],
)
def test_curves_are_those_of_mgcv(table, name, fixed, response):
    model, known = fitted(table, fixed, response), MGCV[name]
    means, errors = model.predict(table.head(6), return_std=True)
    assert model.residual_variance_ == pytest.approx(known["sigma2"], rel=1e-8)
    assert means == pytest.approx(known["fitted"], abs=1e-7)
    assert errors == pytest.approx(known["se"], abs=1e-7)


def test_several_curves_and_groups_are_those_of_mgcv(table):
    model, known = fitted(table, FOUR), MGCV["four"]
    assert model.residual_variance_ == pytest.approx(known["sigma2"], rel=1e-7)
    assert model.predict(table.head(6)) == pytest.approx(known["fitted"], abs=1e-6)
    found = smooth_table(model).to_frame()
    assert found["edf"].tolist() == pytest.approx(known["edf"], abs=1e-5)
    assert found["std_dev"].iloc[3] == 0.0
    # The constants of both criteria differ by the scale of the lines alone.
    assert model.criterion_ - known["reml"] == pytest.approx(
        fitted(table, FOUR, random="(1 | g)").criterion_ - MGCV["groups"]["reml"], abs=1e-4
    )


def test_precision_weights_are_those_of_mgcv(table):
    weights = np.tile([1, 2, 3], 80)
    model = fitted(table, "s(x2, k=20)", weights=weights, weighting="precision")
    assert model.residual_variance_ == pytest.approx(MGCV["weights"]["sigma2"], rel=1e-8)
    assert model.predict(table.head(6)) == pytest.approx(MGCV["weights"]["fitted"], abs=1e-7)


@pytest.mark.parametrize(
    ("name", "fixed", "response"),
    [("one", "s(x2, k=20)", "y"), ("cyclic", "s(x0, bs='cc', low=0, high=1)", "z")],
)
def test_beyond_the_range_curves_go_on_as_in_mgcv(table, name, fixed, response):
    model, known, rows = fitted(table, fixed, response), MGCV[name], pd.DataFrame(ENDS)
    if name == "one":
        with pytest.warns(ExtrapolationWarning, match=r"range of 's\(x2, k=20\)'.* rows 0, 2"):
            means, errors = model.predict(rows, return_std=True)
    else:
        means, errors = model.predict(rows, return_std=True)
    assert means == pytest.approx(known["beyond"], abs=1e-6)
    assert errors == pytest.approx(known["beyond_se"], abs=1e-6)


def test_curve_over_levels_is_independent_effects_beside_its_line(table):
    model = fitted(table, "s(x0)", "z", "(s(x0, 6) | h)")
    basis = model.design_._smooths[1].smooth.basis
    wide = table.assign(line=basis.columns(table["x0"].to_numpy())[:, 0])
    names = [f"b{n}" for n in range(4)]
    wide[names] = basis.columns(table["x0"].to_numpy())[:, 1:]
    written = "(1 + line | h) + (0 + b0 + b1 + b2 + b3 | other)"
    same = MixedLinearRegressor(
        written, fixed="s(x0)", covariance={"other": "identity"}, tol=1e-12
    ).fit(wide.assign(other=wide["h"]), wide["z"])
    assert model.criterion_ == pytest.approx(same.criterion_, abs=1e-6)
    assert model.predict(table) == pytest.approx(
        same.predict(wide.assign(other=wide["h"])), abs=1e-5
    )
    assert model.n_groups_ == {"h": 3}


def test_formula_has_curves_anywhere_in_its_sum(table):
    first = lmer("z ~ x1 + s(x0) + (1 | g)", table)
    second = lmer("z ~ (s(x0) + x1) + (1 | g)", table)
    assert first.predict(table) == pytest.approx(second.predict(table))
    assert "s(x0)" in first.formula_


def test_groups_do_not_see_curves(table):
    model = fitted(table, "s(x2)", random="(1 | g)")
    assert list(model.random_effects_) == list(model.random_covariance_) == ["g"]
    assert model.n_groups_ == {"g": 12}
    without = model.predict(table, random="none")
    effects = model.random_effects_["g"]["(Intercept)"].loc[table["g"]].to_numpy()
    assert model.predict(table) - without == pytest.approx(effects)
    assert np.ptp(without) > 5  # the curve is part of what all groups have


def test_models_of_curves_are_copied_and_kept(table):
    model = fitted(table, "h + s(x0, by=h)", "z", "(s(x0, 6) | g)")
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(table), model.predict(table))
    stored = MixedLinearRegressor.from_dict(model.to_dict())
    assert np.array_equal(stored.predict(table), model.predict(table))


def test_rows_are_added_where_the_range_is_given(table):
    fixed = "h + s(x0, low=0, high=1, by=h)"
    whole = fitted(table, fixed, "z", "(1 | g)")
    model = MixedLinearRegressor("(1 | g)", fixed=fixed, tol=1e-12)
    for part in (table.iloc[:100], table.iloc[100:]):
        model.partial_fit(part.drop(columns=["y", "z", "hit", "count", "eta"]), part["z"])
    assert model.predict(table) == pytest.approx(whole.predict(table), abs=1e-8)
    with pytest.raises(ValueError, match=r"'x0' is outside of the range .* in row 0"):
        model.partial_fit(table.head(1).assign(x0=1.5), table["z"].head(1))
    with pytest.raises(ValueError, match=r"low=0.00.*high=0.99"):
        fitted(table, "s(x0)", "z").partial_fit(table.head(9), table["z"].head(9))


@pytest.mark.parametrize(
    ("fixed", "reason"),
    [
        ("s()", "expected what it is a curve of"),
        ("s(x0, x1)", "several variables"),
        ("s(x0, k=3)", "k is the number of B-splines, from 4 to 1,000"),
        ("s(x0, k=5000)", "k is the number"),
        ("s(x0, k=x1)", "k is the number"),
        ("s(x0, m=2)", "not m: the penalty is of second differences"),
        ("s(x0, fx=TRUE)", "splines without a penalty"),
        ("s(x0, bs='tp')", "bs is 'ps'"),
        ("s(x0, low=1, high=0)", "low = 1 is not below high = 0"),
        ("s(x0, low=0, low=0)", "low is given twice"),
        ("s(x0, 8, k=8)", "k is given twice"),
        ("s(x0, k=1e9)", "k is the number"),
        ("s(x0, k=99999999999999999999)", "k is the number"),
        ("s(x0, low=1e999)", "too large"),
        ("s(x0, low=x1)", "low and high are numbers"),
        ("s(x0, low=0 + 1)", "low and high are numbers"),
        ("s(x0, bs=x1)", "bs is 'ps'"),
        ("s(x0, **k)", "expected|several variables"),
        ("s(x0,)", "expected an argument"),
        ("s(x0, k=)", "expected a value of k"),
        ("s(s(x0))", "a curve cannot be made of curves"),
        ("s(x0):x1", "s\\(x, by=z\\)"),
        ("x1*s(x0)", "s\\(x, by=z\\)"),
        ("log(s(x0))", "a curve is a term of the sum by itself"),
        ("x1 - s(x0)", "can be added, not subtracted"),
        ("s(x0) + s(x0)", "is there twice"),
    ],
)
def test_curves_that_cannot_be_read_are_refused(table, fixed, reason):
    with pytest.raises(FormulaSyntaxError, match=reason):
        fitted(table, fixed, "z")


@pytest.mark.parametrize(
    ("fixed", "reason"),
    [
        ("s(nowhere)", "'nowhere' uses no column"),
        ("s(h)", "'h' is categorical"),
        ("s(x0, by=nowhere)", "nowhere"),
        ("s(x0, by=x1 + x2)", "not one column"),
        ("s(scale(x0))", "learns from all rows"),
        ("s(x0, by=scale(x1))", "not one column"),
        ("s(x0, by=__import__('os'))", "cannot evaluate|neither a column"),
        ("s(x0.__class__)", "uses no column"),
        ("s(x0[0])", "index"),
        ("s((lambda: x0)())", "cannot evaluate"),
        ("s(__import__('os'))", "uses no column"),
        ("s(I(x0 * 0))", "is the same in all rows"),
        ("s(I(x0 > 0.5))", "has 2 values"),
        ("s(x0, low=0.5, high=2)", "outside of the range"),
        ("s(log(x0 - 0.5))", "not finite"),
    ],
)
def test_curves_that_cannot_be_made_are_refused(table, fixed, reason):
    with pytest.raises(ValueError, match=reason):
        fitted(table, fixed, "z")


def test_missing_values_of_a_curve_are_refused_and_left_out(table):
    holes = table.assign(x0=table["x0"].where(table.index > 3))
    with pytest.raises(ValueError, match="'x0' has missing values in rows 0, 1, 2, 3"):
        fitted(holes, "s(x0)", "z")
    assert lmer("z ~ s(x0)", holes).n_dropped_ == 4


@pytest.mark.parametrize(
    ("name", "fixed", "response", "coupling"),
    [
        ("one", "s(x2, k=20)", "y", 1e-3),
        ("ten", "x1 + s(x2)", "y", 2e-3),
        ("bylevel", "h + s(x0, by=h)", "z", 2e-3),
        ("bynumber", "x1 + s(x0, by=x3)", "z", 1e-3),
    ],
)
def test_degrees_of_freedom_and_tests_are_those_of_mgcv(table, name, fixed, response, coupling):
    known = MGCV[name]
    found = smooth_table(fitted(table, fixed, response)).to_frame()
    assert found["edf"].tolist() == pytest.approx(known["edf"], abs=1e-6)
    assert found["ref_df"].tolist() == pytest.approx(known["ref_df"], abs=1e-5)
    # mgcv adds what couples the last two directions, whose sign depends on the basis.
    assert found["statistic"].tolist() == pytest.approx(known["statistic"], rel=coupling)
    assert (found["p_value"] < 1e-10).all()


def test_curve_that_is_a_line_counts_one(table):
    found = smooth_table(fitted(table, "s(x3, k=8)", "eta")).to_frame()
    line = fitted(table, "x3", "eta")
    assert found["edf"].tolist() == [1.0]
    assert found["std_dev"].tolist() == [0.0]
    statistic = (line.coef_[0] ** 2 / line.coef_covariance_.iloc[1, 1],)
    assert found["statistic"].tolist() == pytest.approx(statistic)
    assert found["p_value"].tolist() == pytest.approx([stats.f.sf(statistic[0], 1, 238)])


def test_summary_says_what_a_curve_is(table):
    text = str(fitted(table, "s(x2)", random="(1 | g)").summary())
    assert "s(x2)[line]" in text
    assert re.search(r"Smooth terms:\n +edf ref_df statistic p_value\ns\(x2\) +\d", text)
    assert "groups: g, 12\n" in text
    with pytest.raises(ValueError, match="has no smooth terms"):
        smooth_table(fitted(table, "x2"))


def test_tables_name_a_curve_once(table):
    model = fitted(table, "s(x2)", random="(s(x0, 5) | g)")
    names = ["sd_(Intercept)|g", "cor_s(x0, 5)[line].(Intercept)|g", "sd_s(x0, 5)[line]|g"]
    intervals = confidence_intervals(model).to_frame()
    assert intervals.index[:6].tolist() == [*names, "sd_s(x0, 5)|g", "sd_s(x2)", "sigma"]
    assert ranova(model).to_frame().index[-2:].tolist() == ["(s(x0, 5) | g)", "s(x2)"]
    parts = variance_partition(model).to_frame()
    assert parts.index.tolist() == ["fixed", "g", "residual"]
    fixed = model.predict(table, random="none")
    assert parts["estimate"]["fixed"] == pytest.approx(np.var(fixed, ddof=1))


def test_marginal_means_hold_curves_at_their_mean_over_the_range(table):
    model = fitted(table, "h + s(x0, low=0, high=1)", "z")
    means = marginal_means(model, "h").to_frame()
    x = (np.arange(2000) + 0.5) / 2000
    grid = pd.DataFrame({"x0": x, "h": "lo"})
    assert means["estimate"].loc["lo"] == pytest.approx(model.predict(grid).mean(), abs=1e-3)


def test_draws_keep_the_curve_and_bootstraps_refit_it(table):
    model = fitted(table, "s(x2)", random="(1 | g)")
    rows = table.head(50)
    drawn = model.simulate(rows, n_samples=400, random_state=0)
    sd = np.sqrt(model.residual_variance_ + model.random_covariance_["g"].iloc[0, 0])
    assert drawn.std(axis=1) == pytest.approx(np.full(50, sd), rel=0.2)
    for kind in ("parametric", "residual", "cases"):
        found = bootstrap(
            model, 5, kind=kind, X=table.drop(columns="y"), y=table["y"], random_state=0
        )
        assert np.isfinite(found.to_frame().to_numpy()).all()


# glmmTMB 1.1.5 with the penalised columns in diag(0 + ... | one), their variances tied by `map`:
# -2 log-likelihood, deviations, coefficients and first fitted values. mgcv's method = "ML" takes
# the coefficients from the penalised likelihood, so that its criterion cannot be below.
OF_FAMILIES = {
    "binomial": {
        "criterion": 260.072384293,
        "mgcv": 260.084147264,
        "sd": [2.311514, 0.0],
        "coef": [0.274572, 3.148145],
        "fitted": [0.92612, 0.41554, 0.15550, 0.38234],
    },
    "poisson": {
        "criterion": 737.810126858,
        "mgcv": 737.832658928,
        "sd": [1.3829087, 0.1087455],
        "coef": [0.565648, 1.352998],
        "fitted": [8.159866, 1.614870, 1.318942, 2.231916],
    },
}


@pytest.mark.parametrize("family", OF_FAMILIES)
def test_curves_of_families_are_those_of_glmmtmb(table, family):
    known = OF_FAMILIES[family]
    if family == "binomial":
        model = MixedClassifier(fixed="s(x2) + s(x1)", tol=1e-12).fit(table, table["hit"])
        means = model.predict_proba(table.head(4))[:, 1]
    else:
        model = MixedGeneralizedRegressor(fixed="s(x2) + s(x1)", family=family, tol=1e-12)
        means = model.fit(table, table["count"]).predict(table.head(4))
    assert model.criterion_ == pytest.approx(known["criterion"], abs=1e-6)
    assert 0.0 < known["mgcv"] - model.criterion_ < 0.03
    assert smooth_table(model).to_frame()["std_dev"].tolist() == pytest.approx(
        known["sd"], abs=2e-5
    )
    assert model.coef_ == pytest.approx(known["coef"], abs=1e-4)
    assert means == pytest.approx(known["fitted"], rel=5e-5)


def test_full_likelihood_is_near_that_of_mgcv(table):
    """Its columns have mean zero over the rows, and here over the range."""
    model = fitted(table, "s(x2, k=20)", method="ml")
    assert model.criterion_ == pytest.approx(1172.2407998, abs=1e-3)
    assert model.predict(table.head(3)) == pytest.approx(
        [13.03503870, 7.66146311, 7.14884033], abs=2e-5
    )


def test_formulas_of_families_have_curves(table):
    data = table.assign(rank=pd.Categorical(np.digitize(table["eta"], [5, 9]), ordered=True))
    assert smooth_table(glmer("hit ~ s(x2, 6) + (1 | g)", data)).to_frame()["edf"].iloc[0] > 2
    assert smooth_table(clmm("rank ~ s(x2, 6) + (1 | g)", data)).to_frame()["edf"].iloc[0] > 2


def test_no_curve_stands_where_there_is_no_formula_of_a_model(table):
    with pytest.raises(ValueError, match="s\\(x0\\)"):
        BLUPEncoder(columns=["g"], adjust="s(x0)").fit(table, table["y"])
    with pytest.raises(FormulaSyntaxError, match="belongs to `fixed`"):
        fitted(table, "x0", random="(1 | g) + s(x0)")
    with pytest.raises(FormulaSyntaxError, match="'s' cannot be part of the response"):
        lmer("s(y) ~ x0", table)


def test_any_learner_has_curves_of_groups_beside_it(table):
    X = table[["x0", "x1", "g"]]
    model = MixedEffectsRegressor(LinearRegression(), random="(s(x0, 5) | g)").fit(X, table["z"])
    assert model.random_effects_["g"].shape == (12, 5)
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("kind", ["polars", "pyarrow"])
def test_tables_of_any_library_have_curves(table, kind):
    model, X = fitted(table, "s(x0, 6, by=h)", "z"), table[["x0", "h"]]
    other = pl.from_pandas(X) if kind == "polars" else pa.Table.from_pandas(X)
    again = MixedLinearRegressor(fixed="s(x0, 6, by=h)", tol=1e-12).fit(other, table["z"])
    assert np.array_equal(again.predict(other), model.predict(table))


def test_scikit_learn_takes_curves_for_parameters(table):
    rows = table[["x0", "x1", "x2", "g"]]
    pipe = make_pipeline(
        ColumnTransformer([("scale", StandardScaler(), ["x0", "x1"])], remainder="passthrough"),
        MixedLinearRegressor("(1 | remainder__g)"),
    ).set_output(transform="pandas")
    search = GridSearchCV(
        pipe,
        {"mixedlinearregressor__fixed": ["scale__x0", "s(scale__x0, 6)"]},
        cv=3,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        search.fit(rows, table["z"])
    assert search.best_params_ == {"mixedlinearregressor__fixed": "s(scale__x0, 6)"}


def test_more_columns_than_rows_are_no_hindrance(table):
    model = fitted(table.head(24), "s(x0, k=40)", "z")
    assert np.isfinite(model.predict(table.head(24))).all()
    few = table.assign(x0=np.arange(240) % 5)
    assert smooth_table(fitted(few, "s(x0, k=10)", "z")).to_frame()["edf"].iloc[0] <= 4.0 + 1e-9


def test_files_have_curves_with_a_given_range(table, tmp_path):
    for number in range(3):
        part = table.iloc[80 * number : 80 * number + 80].drop(columns=["y", "hit"])
        part.to_parquet(tmp_path / f"{number}.parquet")
    fixed = "h + s(x0, 6, low=0, high=1, by=h)"
    model = MixedLinearRegressor("(1 | g)", fixed=fixed, tol=1e-12)
    model = distributed.fit(model, sorted(map(str, tmp_path.glob("*.parquet"))), target="z")
    whole = fitted(table, fixed, "z", "(1 | g)")
    assert model.predict(table) == pytest.approx(whole.predict(table), abs=1e-8)
    with pytest.raises(ValueError, match=r"low=0\."):
        distributed.fit(
            MixedLinearRegressor("(1 | g)", fixed="s(x0, 6)"),
            sorted(map(str, tmp_path.glob("*.parquet"))),
            target="z",
        )


def test_means_of_a_response_hold_curves_at_their_mean(table):
    model = MixedGeneralizedRegressor("(1 | g)", fixed="h + s(x0, 6)", family="poisson")
    model.fit(table, table["count"])
    link = marginal_means(model, "h").to_frame()["estimate"]
    mean = marginal_means(model, "h", scale="response").to_frame()["estimate"]
    half = model.random_covariance_["g"].iloc[0, 0] / 2
    assert mean.to_numpy() == pytest.approx(np.exp(link.to_numpy() + half), rel=1e-6)


def test_rows_left_out_are_those_of_ridge_regression_with_its_penalties(table):
    model = fitted(table, "s(x2, k=12)")
    basis, x = model.design_._smooths[0].smooth.basis, table["x2"].to_numpy()
    columns = np.column_stack([np.ones(240), basis.columns(x)])
    sd = smooth_table(model).to_frame()["std_dev"].iloc[0]
    penalty = np.r_[0.0, 0.0, np.full(10, model.residual_variance_ / sd**2)]
    hat = columns @ np.linalg.solve(columns.T @ columns + np.diag(penalty), columns.T)
    y = table["y"].to_numpy()
    left_out = y - (y - hat @ y) / (1.0 - np.diag(hat))
    X = table.drop(columns=["y", "z", "hit", "count", "eta"])
    assert model.loo_predict(X, y) == pytest.approx(left_out, abs=1e-7)
    assert smooth_table(model).to_frame()["edf"].iloc[0] == pytest.approx(np.trace(hat) - 1.0)


def test_stored_text_is_read_as_in_fitting(table):
    record = fitted(table, "s(x0)", "z").design_.record()
    for curve, message in (
        ("s(x0.real)", "uses no column"),
        ("s(x0 + x0.real)", "attributes"),
        ("print(x0)", "expected a curve"),
    ):
        (held, places), *_ = record["smooths"]
        changed = {**record, "smooths": [[{**held, "text": curve}, places]]}
        with pytest.raises(ValueError, match=message):
            Design.from_record(changed).read_expressions(("x0", "x1"))


@pytest.mark.parametrize("fixed", ["s(x0, 6)", "s(x0, 6, low=0, high=1)"])
def test_random_parts_are_chosen_beside_curves(table, fixed):
    choices = ["(1 | g)", "(x1 | g)"]
    search = MixedLinearRegressorCV(choices, fixed=fixed, cv=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        search.fit(table[["x0", "x1", "g"]], table["z"])
    alone = fitted(table, fixed, "z", search.random_)
    assert search.predict(table) == pytest.approx(alone.predict(table), abs=1e-5)
    assert ranova(search).to_frame().index[-1] == fixed
