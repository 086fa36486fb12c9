"""Rows: parts of the predictor, missing values, fitted values and residuals side by side."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skmixed import (
    BayesianMixedRegressor,
    MixedClassifier,
    MixedEffectsClassifier,
    MixedLinearRegressor,
    clmm,
    glmer,
    lmer,
    nlmer,
)
from skmixed.datasets import load_sleepstudy
from skmixed.inference import influence, linear_predictor, residuals, row_table
from tests import reference_set
from tests.inference.test_named_results import crossed, trees

SLEEP = load_sleepstudy()


@pytest.fixture(scope="module")
def sleep():
    return lmer("Reaction ~ Days + (Days | Subject)", SLEEP)


@pytest.fixture(scope="module")
def counts():
    table = reference_set.committed_table("cbpp")
    return glmer("incidence ~ period + (1 | herd)", table, family="poisson"), table


def with_gaps():
    """The table with a missing response, a missing number and a missing label."""
    table = SLEEP.copy()
    table.loc[2, "Reaction"] = np.nan
    table["Days"] = table["Days"].astype(float)
    table.loc[6, "Days"] = np.nan
    table.loc[11, "Subject"] = None
    return table


def test_parts_of_the_effects_of_a_factor(sleep):
    # lme4 1.1-31: predict(m, nd, re.form = ...), and random.only = TRUE
    rows = SLEEP.iloc[[0, 1, 94]]
    expected = {
        "(1 | Subject)": [253.663655798, 264.130941758, 328.164735516],
        "~ (0 + Days | Subject)": [251.405104848, 271.071366574, 327.787309319],
    }
    for random, values in expected.items():
        np.testing.assert_allclose(sleep.predict(rows, random=random), values, atol=2e-4)
    found = linear_predictor(sleep, rows, fixed=False)
    np.testing.assert_allclose(found, [2.2585509499, 11.4575267155, 69.4035474610], atol=2e-4)
    found = linear_predictor(sleep, rows, random="(1 | Subject)", fixed=False)
    np.testing.assert_allclose(found, [2.2585509499, 2.2585509499, 34.8904868291], atol=2e-4)
    assert list(found.index) == [0, 1, 94]
    whole = sleep.predict(rows, random="(1 + Days | Subject)", return_std=True)
    for part, other in zip(whole, sleep.predict(rows, return_std=True), strict=True):
        np.testing.assert_array_equal(part, other)


def test_parts_of_several_factors():
    table = crossed()
    model = lmer("y ~ x + (x || firm/shop) + (1 | clerk)", table)
    effects = model.random_effects_
    shops = pd.MultiIndex.from_frame(table[["shop", "firm"]])
    of_shops = effects["shop:firm"]["(Intercept)"].loc[shops].to_numpy()
    of_clerks = effects["clerk"]["(Intercept)"].loc[table["clerk"]].to_numpy()
    population = model.predict(table, random="none")
    found = model.predict(table, random="(1 | firm:shop) + (1 | clerk)")
    np.testing.assert_allclose(found, population + of_shops + of_clerks, rtol=1e-12)
    of_firms = effects["firm"].loc[table["firm"]].to_numpy()
    slopes = of_firms[:, 1] + effects["shop:firm"]["x"].loc[shops].to_numpy()
    found = model.predict(table, random="(0 + x | firm/shop)")
    np.testing.assert_allclose(found, population + slopes * table["x"], rtol=1e-12)


def test_columns_that_parts_do_not_need_may_be_missing():
    table = crossed()
    model = lmer("y ~ 1 + (I(x^2) | firm) + (1 | clerk)", table)
    few = table[["firm", "clerk"]]
    found = model.predict(few, random="(1 | firm) + (1 | clerk)")
    np.testing.assert_array_equal(found, model.predict(table, random="(1 | firm) + (1 | clerk)"))
    np.testing.assert_array_equal(
        model.predict(few[["clerk"]], random=["clerk"]), model.predict(table, random=["clerk"])
    )
    gaps = table.assign(x=np.nan)
    np.testing.assert_array_equal(
        model.predict(gaps, random="(1 | firm)", missing="nan"),
        model.predict(table, random="(1 | firm)"),
    )


@pytest.mark.parametrize(
    ("random", "match"),
    [
        ("(1 | firm)", r"factor 'firm'; the model has \['Subject'\]"),
        ("(Hours | Subject)", "effects \\['Hours'\\] of 'Subject', which has \\['1', 'Days'\\]"),
        ("(s(Days) | Subject)", r"random='\(s\(Days\) \| Subject\)' names a smooth"),
        ("(1 | Subject", "never closed"),
    ],
)
def test_parts_that_are_not_there(sleep, random, match):
    for ask in (sleep.predict, lambda X, **more: linear_predictor(sleep, X, **more)):
        with pytest.raises(ValueError, match=match):
            ask(SLEEP, random=random)


def test_errors_of_parts_are_not_known(sleep, counts):
    with pytest.raises(ValueError, match=r"some random effects of Subject.* leave return_std out"):
        sleep.predict(SLEEP, random="(1 | Subject)", return_std=True)
    table = crossed().assign(count=lambda t: np.round(np.exp(0.2 * t["y"])))
    model = glmer("count ~ x + (x | firm)", table, family="poisson")
    with pytest.raises(ValueError, match="linear_predictor, or averaging='plug-in'"):
        model.predict(table, random="(1 | firm)")
    eta = linear_predictor(model, table, random="(1 | firm)")
    again = clone(model).set_params(averaging="plug-in")
    again._fitted = model._fitted
    np.testing.assert_allclose(again.predict(table, random="(1 | firm)"), np.exp(eta))
    curve = nlmer("y ~ SSlogis(x, Asym, xmid, scal) ~ Asym + xmid | tree", trees())
    with pytest.raises(ValueError, match=r"name grouping factors"):
        curve.predict(trees(), random="(0 + Asym | tree)")
    with pytest.raises(TypeError, match="predict_parameters"):
        linear_predictor(curve, trees())


def test_linear_predictors_of_other_models(counts):
    model, table = counts
    # lme4 1.1-31: predict(g), predict(g, random.only = TRUE), predict(g, re.form = NA)
    rows = table.iloc[:3]
    np.testing.assert_allclose(linear_predictor(model, rows), [1.5279, 0.4030, 0.2088], atol=1e-3)
    random_only = linear_predictor(model, rows, fixed=False)
    np.testing.assert_allclose(random_only, [0.2511] * 3, atol=1e-3)
    population = linear_predictor(model, rows, random="none")
    np.testing.assert_allclose(population, [1.2768, 0.1519, -0.0423], atol=1e-3)
    X, y = load_sleepstudy(return_X_y=True)
    drawn = BayesianMixedRegressor("(1 + Days | Subject)", n_draws=20, random_state=0).fit(X, y)
    np.testing.assert_array_equal(linear_predictor(drawn, X), drawn.predict(X))
    with pytest.raises(ValueError, match="leave return_std out"):
        drawn.predict(X, random="(1 | Subject)", return_std=True)
    third = SLEEP.assign(third=pd.qcut(SLEEP["Reaction"], 3).cat.codes)
    ordered = clmm("third ~ Days + (1 | Subject)", third)
    eta = linear_predictor(ordered, third) - ordered.thresholds_[0]
    expected = ordered.coef_[0] * third["Days"]
    expected = expected + ordered.random_effects_["Subject"].loc[third["Subject"]].to_numpy()[:, 0]
    assert np.ptp(eta - expected) < 1e-9
    with pytest.raises(TypeError, match="bare fit"):
        linear_predictor(model.fit_, table)


def test_incomplete_rows_are_padded_as_by_na_exclude(sleep):
    # lme4 1.1-31 with na.action = na.exclude: residuals, fitted and hatvalues
    table = with_gaps()
    model = lmer("Reaction ~ Days + (Days | Subject)", table, na_action="exclude")
    assert model.n_dropped_ == 3
    found = residuals(model, table, table["Reaction"], kind="response")
    expected = [-12.259484, -21.692646, np.nan, 3.886731, 20.720970, 59.981308, np.nan, -101.715915]
    np.testing.assert_allclose(found[:8], expected, atol=2e-4)
    assert np.flatnonzero(np.isnan(found)).tolist() == [2, 6, 11]
    expected = [0.253965915787, 0.192108435241, np.nan, 0.120572998552]
    rows = influence(model, table, table["Reaction"])
    np.testing.assert_allclose(rows["leverage"][:4], expected, rtol=1e-4)
    assert rows.to_frame().index.equals(table.index)
    levels = influence(model, table, table["Reaction"], by="Subject")
    assert levels.to_frame().notna().all(axis=None)
    padded = row_table(model, table, table["Reaction"], leverage=True).to_frame()
    np.testing.assert_array_equal(padded["residual"], found)
    assert padded["leverage"].isna().sum() == 3
    again = pickle.loads(pickle.dumps(model))
    assert np.isnan(residuals(again, table, table["Reaction"])).sum() == 3
    again = MixedLinearRegressor.from_dict(model.to_dict())
    assert np.isnan(again.predict(table)).sum() == 1
    for function in (residuals, influence, row_table):
        with pytest.raises(ValueError, match=r"NaN|missing values"):
            function(model, table, table["Reaction"], missing="raise")
        with pytest.raises(ValueError, match="missing='no' is neither"):
            function(model, table, table["Reaction"], missing="no")


def test_incomplete_rows_are_an_error_unless_asked(sleep):
    table = with_gaps()
    with pytest.raises(ValueError, match="'Days' has missing values in row 6"):
        sleep.predict(table)
    found = sleep.predict(table, missing="nan")
    assert np.flatnonzero(np.isnan(found)).tolist() == [6]  # a label that is missing is unknown
    complete = table["Days"].notna()
    np.testing.assert_array_equal(found[complete], sleep.predict(table[complete]))
    means, errors = sleep.predict(table, missing="nan", return_std=True)
    assert np.isnan(means[6])
    assert np.isnan(errors[6])
    assert np.isfinite(errors).sum() == 179
    assert sleep.predict(table, missing="nan", interval=0.9).shape == (180, 3)
    nothing = sleep.predict(table.assign(Days=np.nan), missing="nan", return_std=True)
    assert np.isnan(nothing).all()
    assert nothing[0].shape == (180,)
    assert linear_predictor(sleep, table, missing="nan").isna().sum() == 1
    X = SLEEP[["Days", "Subject"]].assign(Subject=SLEEP["Subject"].astype(int)).to_numpy(float)
    plain = MixedLinearRegressor(group_features=[1]).fit(X, SLEEP["Reaction"])
    X[3, 0] = np.nan
    assert np.flatnonzero(np.isnan(plain.predict(X, missing="nan"))).tolist() == [3]


def test_incomplete_rows_of_other_models():
    table = with_gaps().assign(slow=SLEEP["Reaction"] > 300)
    classes = glmer("slow ~ Days + (1 | Subject)", table, na_action="exclude")
    assert np.flatnonzero(np.isnan(classes.predict(table))).tolist() == [6]
    of_estimator = MixedClassifier("(1 | Subject)").fit(SLEEP[["Days", "Subject"]], table["slow"])
    shares = of_estimator.predict_proba(table[["Days", "Subject"]], missing="nan")
    assert shares.shape == (180, 2)
    assert np.flatnonzero(np.isnan(shares[:, 1])).tolist() == [6]
    third = table.assign(third=pd.qcut(SLEEP["Reaction"], 3).cat.codes)
    ordered = clmm("third ~ Days + (1 | Subject)", third, na_action="exclude")
    assert np.isnan(ordered.predict_proba(third)).all(axis=1).sum() == 1
    assert np.isnan(residuals(ordered, third, third["third"], random_state=0)).sum() == 2
    count = third.assign(count=np.round(SLEEP["Reaction"] / 50))
    poisson = glmer("count ~ Days + (1 | Subject)", count, family="poisson", na_action="exclude")
    assert np.isnan(poisson.predict(count, return_std=True)).sum() == 2
    curve_rows = trees()
    curve_rows.loc[4, "x"] = np.nan
    curve = nlmer("y ~ SSlogis(x, Asym, xmid, scal) ~ Asym | tree", curve_rows, na_action="exclude")
    assert np.flatnonzero(np.isnan(curve.predict(curve_rows))).tolist() == [4]
    drawn = BayesianMixedRegressor("(1 | Subject)", n_draws=20, random_state=0)
    drawn.fit(SLEEP[["Days", "Subject"]], SLEEP["Reaction"])
    gaps = with_gaps()[["Days", "Subject"]]
    assert np.isnan(drawn.predict(gaps, missing="nan", return_std=True)).sum() == 2
    other = MixedEffectsClassifier(MixedClassifier(), "(1 | Subject)")
    X = SLEEP[["Days", "Subject"]]
    other.fit(X, SLEEP["Reaction"] > 300)
    with pytest.raises(ValueError, match="missing='nan' is available for mixed models"):
        other.predict_proba(X, missing="nan")


def test_fitted_values_and_residuals_side_by_side(sleep, counts):
    # broom.mixed: augment(m), columns .fitted, .fixed, .resid, .hat, .cooksd
    rows = SLEEP.set_index(pd.RangeIndex(1000, 1180))
    frame = row_table(sleep, rows, rows["Reaction"], leverage=True).to_frame()
    assert frame.index.equals(rows.index)
    np.testing.assert_allclose(frame["fitted"], sleep.predict(rows), rtol=1e-12)
    np.testing.assert_allclose(frame["population"], sleep.predict(rows, random="none"))
    np.testing.assert_allclose(frame["fitted"] + frame["residual"], rows["Reaction"])
    pearson = residuals(sleep, rows, rows["Reaction"], kind="pearson")
    np.testing.assert_array_equal(frame["pearson"], pearson)
    np.testing.assert_allclose(frame["cooks_distance"].iloc[0], 0.00496313, rtol=1e-4)
    slow = SLEEP.assign(slow=np.where(SLEEP["Reaction"] > 300, "yes", "no"))
    classes = MixedClassifier("(1 | Subject)").fit(slow[["Days", "Subject"]], slow["slow"])
    frame = row_table(classes, slow[["Days", "Subject"]], slow["slow"]).to_frame()
    assert set(frame["y"]) == {0.0, 1.0}
    assert frame["fitted"].between(0, 1).all()
    third = SLEEP.assign(third=pd.qcut(SLEEP["Reaction"], 3).cat.codes)
    ordered = clmm("third ~ Days + (1 | Subject)", third)
    with pytest.raises(TypeError, match="categories in an order"):
        row_table(ordered, third, third["third"])


def test_residuals_of_curves_and_posteriors():
    table = trees()
    curve = nlmer("y ~ SSlogis(x, Asym, xmid, scal) ~ Asym | tree", table)
    found = residuals(curve, table, table["y"], kind="response")
    assert 0.05 < found.std() < 0.15
    scaled = residuals(curve, table, table["y"], kind="pearson")
    np.testing.assert_allclose(scaled, found / curve.residual_variance_**0.5)
    X, y = load_sleepstudy(return_X_y=True)
    drawn = BayesianMixedRegressor("(1 | Subject)", n_draws=20, random_state=0).fit(X, y)
    found = residuals(drawn, X, y, kind="response")
    np.testing.assert_allclose(found, y - drawn.predict(X))
    for model, rows, response in ((curve, table, table["y"]), (drawn, X, y)):
        with pytest.raises(TypeError, match="'response' and 'pearson'"):
            residuals(model, rows, response)
        assert len(row_table(model, rows, response).to_frame()) == len(response)
