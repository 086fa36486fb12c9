"""Nonlinear mixed models as estimators: what is read, what is refused, what is predicted."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import integrate, stats
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupKFold, cross_val_predict

from skmixed import MixedNonlinearRegressor, lmer, nlmer
from skmixed.exceptions import FormulaSyntaxError, UnidentifiedWarning, UnknownLevelWarning
from skmixed.inference import (
    anova,
    bootstrap,
    coefficient_table,
    compare_models,
    confidence_intervals,
    linear_hypothesis,
    marginal_means,
    r2,
    random_effects_table,
    ranova,
)
from tests.core.nonlinear.curve_tables import plots, table

ORANGE = pd.DataFrame(table("orange")).assign(Tree=lambda t: t["Tree"].astype(int))
THEOPH = pd.DataFrame(table("theoph"))
PLOTS = pd.DataFrame(plots())
X, Y = ORANGE[["Tree", "age"]], ORANGE["circumference"]
START = {"top": 190.0, "middle": 700.0, "scale": 350.0}


def logistic(parameters, X):
    top, middle, scale = parameters
    return top / (1.0 + np.exp((middle - X[:, 0]) / scale))


def logistic_slopes(parameters, X):
    top, middle, scale = parameters
    z = (X[:, 0] - middle) / scale
    share = 1.0 / (1.0 + np.exp(-z))
    steep = top * share * (1.0 - share) / scale
    return np.stack([share, -steep, -steep * z], axis=-1)


def trees(**settings):
    return MixedNonlinearRegressor("logistic", random="Asym | Tree", **settings)


MODEL = trees().fit(X, Y)
UNKNOWN = pd.DataFrame({"Tree": [3, 99], "age": [1000.0, 1000.0]})


# --- what is read ---------------------------------------------------------------------------------


def test_figures_of_nlmer():
    assert MODEL.criterion_ == pytest.approx(263.14377020076, rel=1e-9)
    np.testing.assert_allclose(MODEL.coef_, [192.053220, 727.906390, 348.073066], rtol=1e-6)
    assert MODEL.random_covariance_["Tree"].loc["Asym", "Asym"] ** 0.5 == pytest.approx(
        31.64633, rel=1e-5
    )
    assert MODEL.parameter_names_ == ("Asym", "xmid", "scal")
    assert (MODEL.derivatives_, MODEL.inputs_, MODEL.n_groups_) == ("exact", ("age",), {"Tree": 5})
    assert MODEL.formula_ == "y ~ logistic(age, Asym, xmid, scal) ~ (Asym | Tree)"
    assert MODEL.log_likelihood_ == -0.5 * MODEL.criterion_
    assert MODEL.aic_ == pytest.approx(MODEL.criterion_ + 10.0)


@pytest.mark.parametrize(
    "random", ["(Asym | Tree)", "(0 + Asym | Tree)", {"Tree": ["Asym"]}, "Asym"]
)
def test_ways_to_say_what_varies(random):
    settings = {"group_features": "Tree"} if random == "Asym" else {}
    model = MixedNonlinearRegressor("logistic", random=random, **settings).fit(X, Y)
    assert model.criterion_ == pytest.approx(MODEL.criterion_, rel=1e-12)


@pytest.mark.parametrize("kind", ["polars", "pyarrow", "array", "argument", "swapped", "r"])
def test_kinds_of_tables(kind):
    model = trees()
    if kind == "polars":
        found = model.fit(pl.DataFrame({"Tree": X["Tree"], "age": X["age"]}), Y.to_numpy())
    elif kind == "pyarrow":
        found = model.fit(pa.table({"Tree": X["Tree"], "age": X["age"]}), Y.to_numpy())
    elif kind == "array":
        found = model.set_params(random="Asym", group_features=[0]).fit(X.to_numpy(float), Y)
    elif kind == "argument":
        found = model.fit(X[["age"]], Y, groups=X["Tree"])
    elif kind == "r":
        found = model.set_params(model="SSlogis(age, Asym, xmid, scal)").fit(ORANGE, Y)
    else:
        order = np.random.default_rng(0).permutation(len(X))
        found = model.fit(X.iloc[order], Y.iloc[order])
    assert found.criterion_ == pytest.approx(MODEL.criterion_, rel=1e-11)
    np.testing.assert_allclose(found.coef_, MODEL.coef_, rtol=1e-7)


@pytest.mark.parametrize(("jacobian", "way"), [(logistic_slopes, "user"), (None, "complex step")])
def test_a_function_is_the_curve_of_the_same_form(jacobian, way):
    model = MixedNonlinearRegressor(logistic, START, random="top | Tree", jacobian=jacobian)
    model.fit(X, Y)
    assert model.derivatives_ == way
    assert model.criterion_ == pytest.approx(MODEL.criterion_, rel=1e-10)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    with pytest.raises(TypeError, match=r"the parameter \w+ .* cannot be stored"):
        model.to_dict()


def test_a_function_without_complex_numbers_takes_differences():
    def real(parameters, X):
        return logistic(np.asarray(parameters, dtype=float), X) if np.isrealobj(parameters) else 0

    model = MixedNonlinearRegressor(real, START, random="top | Tree").fit(X, Y)
    assert model.derivatives_ == "differences"
    assert model.criterion_ == pytest.approx(MODEL.criterion_, rel=1e-8)


def test_inputs_may_be_expressions():
    """Of columns by name, calculated anew for new rows, as those of the response."""
    data = ORANGE.assign(years=ORANGE["age"] / 365.0)
    plain = MixedNonlinearRegressor("logistic", random="Asym | Tree", inputs="years")
    plain.fit(data[["Tree", "years"]], Y)
    text = "circumference ~ SSlogis(age / 365, A, B, C) ~ A | Tree"
    for model in (
        nlmer(text, data),
        trees(inputs="age / 365").fit(X, Y),
        trees().set_params(model="SSlogis(age / 365, Asym, xmid, scal)").fit(X, Y),
    ):
        assert model.inputs_ == ("age / 365",)
        assert model.criterion_ == pytest.approx(plain.criterion_, rel=1e-12)
        polars = pl.DataFrame({"age": X["age"], "Tree": X["Tree"]})
        np.testing.assert_allclose(model.predict(polars), plain.predict(data), rtol=1e-9)
        again = MixedNonlinearRegressor.from_dict(model.to_dict())
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
    for wrong, message in (
        ("scale(age)", "a function that learns from all rows"),
        ("log(year)", r"inputs names 'log\(year\)'"),
        ("log(age - 500)", "is not finite in rows 0, "),
    ):
        with pytest.raises(ValueError, match=message):
            trees(inputs=wrong).fit(X, Y)


def test_a_start_from_which_nothing_is_seen_is_said():
    with pytest.raises(ValueError, match=r"Asym=1e\+06, xmid=1e\+05, scal=10: pass start"):
        trees(start={"Asym": 1e6, "xmid": 1e5, "scal": 10.0}).fit(X, Y)


def test_formulas_of_parameters():
    data = PLOTS.assign(treatment=np.where(PLOTS["treated"] == 1.0, "a", "b"))
    settings = {"random": "Asym | site", "inputs": "x", "method": "lindstrom-bates"}
    model = MixedNonlinearRegressor("logistic", fixed={"Asym": "1 + treatment"}, **settings)
    model.fit(data, data["y"])
    assert model.criterion_ == pytest.approx(2252.68677281, rel=1e-9)  # of nlme
    assert list(model.coef_covariance_) == [
        *("Asym.(Intercept)", "Asym.treatment[T.b]", "xmid", "scal")
    ]
    found = model.predict_parameters(data.iloc[[0, 27]], random="none")
    np.testing.assert_allclose(found[:, 0], np.cumsum(model.coef_[:2])[::-1], rtol=1e-12)
    without = MixedNonlinearRegressor("logistic", fixed={"Asym": "0 + treatment"}, **settings)
    without.fit(data, data["y"])
    assert without.criterion_ == pytest.approx(model.criterion_, rel=1e-9)
    np.testing.assert_allclose(without.predict(data), model.predict(data), rtol=1e-6)
    shifted = {"Asym": "1 + treatment + offset(10 * treated)"}
    offset = MixedNonlinearRegressor("logistic", fixed=shifted, **settings).fit(data, data["y"])
    np.testing.assert_allclose(offset.predict(data), model.predict(data), rtol=1e-6)


def test_starts_may_be_given_in_part_or_a_value_a_coefficient():
    one = trees(start={"xmid": 600.0}).fit(X, Y)
    data = ORANGE.assign(late=ORANGE["Tree"] > 3)
    both = trees(start={"Asym": [180.0, 20.0]}, fixed={"Asym": "1 + late"}, inputs="age")
    both.fit(data, Y)
    assert one.criterion_ == pytest.approx(MODEL.criterion_, rel=1e-9)
    assert both.criterion_ < MODEL.criterion_
    assert trees(start=[190, 700, 340]).fit(X, Y).criterion_ == pytest.approx(one.criterion_)


def test_nested_factors():
    data = PLOTS[["x", "site", "plot"]]
    model = MixedNonlinearRegressor(random="(Asym | site/plot)", method="lindstrom-bates")
    model.fit(data, PLOTS["y"])
    assert model.criterion_ == pytest.approx(2135.04036783, rel=1e-9)  # of nlme
    assert model.n_groups_ == {"plot:site": 36, "site": 12}
    exact = clone(model).set_params(method="laplace").fit(data, PLOTS["y"])
    assert exact.criterion_ < model.criterion_
    assert exact.predict(data).shape == (len(data),)


def test_nlmer_is_the_estimator_and_drops_incomplete_rows():
    data = ORANGE.assign(note="a")
    data.loc[3, "age"] = np.nan
    model = nlmer("circumference ~ SSlogis(age, A, B, C) ~ A | Tree", data)
    assert model.n_dropped_ == 1
    assert model.parameter_names_ == ("A", "B", "C")
    assert model.formula_ == "circumference ~ SSlogis(age, A, B, C) ~ A | Tree"
    assert list(model.feature_names_in_) == ["Tree", "age"]
    complete = X.drop(index=3)
    direct = trees().fit(complete, Y.drop(index=3))
    assert model.criterion_ == pytest.approx(direct.criterion_, rel=1e-12)
    np.testing.assert_allclose(model.predict(complete), direct.predict(complete), rtol=1e-12)
    given = nlmer(
        "log(circumference) ~ f(age, a, b) ~ a | Tree",
        ORANGE,
        start={"a": 5.0, "b": 500.0},
        context={"f": lambda p, X: p[0] - p[1] / X[:, 0]},
    )
    line = lmer("log(circumference) ~ I(1 / age) + (1 | Tree)", ORANGE, reml=False)
    assert given.criterion_ == pytest.approx(line.criterion_, rel=1e-10)
    assert nlmer("circumference ~ SSlogis(age, A, B, C) ~ 1", ORANGE).random_effects_ == {}


def test_a_curve_that_is_a_line_is_the_linear_model():
    """Laplace's approximation is exact where the curve is linear in what varies."""
    line = lmer("y ~ x + (x | site)", PLOTS, reml=False)

    def f(parameters, X):
        return parameters[0] + parameters[1] * X[:, 0]

    for method in ("laplace", "lindstrom-bates"):
        settings = {"random": "a + b | site", "inputs": "x", "method": method}
        model = MixedNonlinearRegressor(f, {"a": 0.0, "b": 0.0}, **settings)
        model.fit(PLOTS[["x", "site"]], PLOTS["y"])
        assert model.criterion_ == pytest.approx(line.criterion_, rel=1e-9)
        np.testing.assert_allclose(model.coef_, [line.intercept_, line.coef_[0]], rtol=1e-5)
        found = model.predict(PLOTS[["x", "site"]])
        np.testing.assert_allclose(found, line.predict(PLOTS), rtol=1e-5)


# --- what is refused ------------------------------------------------------------------------------

REFUSED = [
    ({"model": "exponential"}, "model='exponential' is not a known curve"),
    ({"model": logistic}, "a model that is a function needs start"),
    ({"model": logistic, "start": {"a": 1.0}, "random": "a | Tree"}, "not enough values to unpack"),
    ({"start": {"Asym": "much"}}, "could not convert string to float"),
    ({"start": {"asym": 1.0}}, r"\['asym'\], but the parameters are \['Asym'"),
    ({"start": [1.0, 2.0]}, "2 values, but the curve has the parameters"),
    ({"start": {"Asym": [1.0, 2.0]}}, "one for each of its 1 coefficients"),
    ({"random": "Asym + top | Tree"}, "'top', which is no parameter"),
    ({"random": "1 | Tree"}, "says nothing of what varies over 'Tree'"),
    ({"random": None, "group_features": "Tree"}, "random does not say which parameters vary"),
    ({"random": "Asym | Wood"}, r"\['Wood'\] named in `random` do not exist"),
    ({"fixed": {"top": "1"}}, "fixed has a formula of 'top', which is no parameter"),
    ({"fixed": {"Asym": "1 + (1 | Tree)"}}, "what varies over groups belongs to random"),
    ({"inputs": ["age", "Tree"]}, r"1 input, x, but X has 2 candidate column\(s\)"),
    ({"jacobian": logistic_slopes}, "has derivatives of its own"),
    ({"reml": True}, "method='lindstrom-bates': the Laplace approximation"),
    ({"model": "SSlogis(age, Asym)"}, r"SSlogis takes \(x, Asym, xmid, scal\)"),
    ({"model": logistic, "start": START, "random": "top | Tree",
      "jacobian": lambda p, X: np.ones((len(X), 3))}, "the jacobian is not that of the model"),
    ({"model": lambda p, X: p[0] * np.nan, "start": {"Asym": 1.0}}, "the model is nan at the"),
    ({"model": lambda p, X: X[:3, 0], "start": {"Asym": 1.0}}, r"shape \(3,\), and \(35,\) are"),
    ({"covariance": {"Wood": "diagonal"}}, r"covariance names factors \['Wood'\]"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_what_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        trees().set_params(**settings).fit(X, Y)


def test_further_refusals():
    with pytest.raises(ValueError, match="3 coefficients requires more rows: n_samples"):
        trees().fit(X.iloc[:3], Y.iloc[:3])
    with pytest.raises(FormulaSyntaxError):
        trees().set_params(random="(Asym | ").fit(X, Y)
    with pytest.raises(ValueError, match="X must be a data frame"):
        trees(group_features=[0]).set_params(random="Asym", fixed={"Asym": "1 + x1"}).fit(
            X.to_numpy(), Y
        )
    with pytest.raises(AttributeError, match="a curve is relinearised at every step"):
        MODEL.partial_fit(X, Y)
    with pytest.raises(AttributeError, match="has no update_groups"):
        MODEL.update_groups(X, Y)
    with pytest.raises(ValueError, match="has 2 parts: write response ~ curve ~ random"):
        nlmer("circumference ~ SSlogis(age, A, B, C)", ORANGE)
    with pytest.raises(ValueError, match=r"has no random effects: write 'A \| group'"):
        nlmer("circumference ~ SSlogis(age, A, B, C) ~ A", ORANGE)
    with pytest.raises(TypeError, match="'random': write the random terms into the"):
        nlmer("circumference ~ SSlogis(age, A, B, C) ~ A | Tree", ORANGE, random="A | Tree")
    with pytest.raises(ValueError, match=r"\['year'\], which do not exist: data has"):
        nlmer("circumference ~ SSlogis(year, A, B, C) ~ A | Tree", ORANGE)


def test_what_does_not_arrive_says_what_moves():
    theoph = MixedNonlinearRegressor(
        "SSfol(Dose, Time, lKe, lKa, lCl)", random="lKa + lCl || Subject", max_iter=3
    )
    with pytest.warns(ConvergenceWarning, match=r"\. Increase max_iter"):
        theoph.set_params(method="lindstrom-bates").fit(THEOPH, THEOPH["conc"])


def test_responses_that_groups_explain_without_a_rest():
    data = pd.DataFrame({"age": [1.0, 2.0, 3.0, 4.0] * 5, "Tree": np.repeat(np.arange(5), 4)})
    y = (100.0 + 7.0 * data["Tree"]) / (1.0 + np.exp(2.0 - data["age"]))
    with pytest.warns(UnidentifiedWarning, match="the likelihood has no maximum"):
        model = trees().fit(data, y)
    np.testing.assert_allclose(model.predict(data), y, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:the search did not converge")
@pytest.mark.filterwarnings("ignore:random effects explain the response without a rest")
def test_levels_of_few_rows_are_told():
    few = X[(X["Tree"] > 3) | X["age"].isin([118, 1582])]
    with pytest.warns(UnidentifiedWarning, match=r"3 of 5 levels of 'Tree' .*'1' has 2, and 2 par"):
        trees().set_params(random="Asym + xmid || Tree").fit(few, Y[few.index])
    alone = ORANGE.assign(row=np.arange(len(ORANGE)))[["row", "age"]]
    with pytest.warns(UnidentifiedWarning, match="'0' has 1, and 1 parameter varies"):
        trees().set_params(random="Asym | row").fit(alone, Y)


# --- what is predicted ----------------------------------------------------------------------------


def test_new_groups_get_the_mean_of_all():
    """Integrated over the random effects, compared with an integral by scipy."""
    theoph = MixedNonlinearRegressor(
        "SSfol(Dose, Time, lKe, lKa, lCl)", random="lKa | Subject", method="lindstrom-bates"
    ).fit(THEOPH, THEOPH["conc"])
    row = pd.DataFrame({"Dose": [4.0], "Time": [1.0], "Subject": [99.0]})
    deviation = float(theoph.random_covariance_["Subject"].iloc[0, 0]) ** 0.5
    curve = theoph._fitted.recipe.curve

    def value(b):
        parameters = (theoph.coef_ + np.array([0.0, b, 0.0]))[:, None]
        return float(curve.value(parameters, row[["Dose", "Time"]].to_numpy())[0])

    def integrand(b):
        return value(b) * stats.norm.pdf(b, scale=deviation)

    expected, _ = integrate.quad(integrand, -8.0 * deviation, 8.0 * deviation, epsabs=1e-12)
    assert theoph.predict(row)[0] == pytest.approx(expected, rel=1e-7)
    with pytest.warns(UnknownLevelWarning):
        without = theoph.predict(row[["Dose", "Time"]])
    np.testing.assert_allclose(without, expected, rtol=1e-7)
    assert theoph.predict(row, random="none")[0] == pytest.approx(expected, rel=1e-7)
    plug_in = clone(theoph).set_params(averaging="plug-in").fit(THEOPH, THEOPH["conc"])
    assert plug_in.predict(row)[0] == pytest.approx(value(0.0), rel=1e-12)


def test_known_groups_are_averaged_over_what_is_not_known_of_them():
    wide = THEOPH.iloc[::3]
    settings = {"random": "lKa + lCl || Subject", "method": "lindstrom-bates"}
    model = MixedNonlinearRegressor("SSfol(Dose, Time, lKe, lKa, lCl)", **settings)
    model.fit(wide, wide["conc"])
    row = wide.iloc[[1]]
    level = list(model.random_effects_["Subject"].index).index(row["Subject"].iloc[0])
    mean = model.random_effects_["Subject"].iloc[level].to_numpy()
    covariance = model.random_effects_covariance_["Subject"][level]
    draws = np.random.default_rng(0).multivariate_normal(mean, covariance, 200_000)
    parameters = np.repeat(model.coef_[:, None], len(draws), axis=1)
    parameters[1:] += draws.T
    inputs = np.repeat(row[["Dose", "Time"]].to_numpy(), len(draws), axis=0)
    values = model._fitted.recipe.curve.value(parameters, inputs)
    error = values.std() / np.sqrt(len(draws))
    assert abs(model.predict(row)[0] - values.mean()) < 4.0 * error


def test_unknown_levels():
    assert np.isfinite(MODEL.predict(UNKNOWN)).all()
    nan = trees(handle_unknown="nan").fit(X, Y)
    assert np.isnan(nan.predict(UNKNOWN)).tolist() == [False, True]
    assert np.isnan(nan.predict_interval(UNKNOWN)[1]).all()
    error = trees(handle_unknown="error").fit(X, Y)
    with pytest.raises(ValueError, match="levels of 'Tree'"):
        error.predict(UNKNOWN)


def test_intervals_hold_what_they_should():
    observation = MODEL.predict_interval(UNKNOWN, level=0.9)
    mean = MODEL.predict_interval(UNKNOWN, level=0.9, kind="mean")
    assert (observation[:, 0] < mean[:, 0]).all()
    assert (observation[:, 1] > mean[:, 1]).all()
    assert np.diff(mean)[1] > 3.0 * np.diff(mean)[0]
    three = MODEL.predict(UNKNOWN, interval=0.9)
    np.testing.assert_array_equal(three[:, 1:], observation)
    center, deviation = MODEL.predict(UNKNOWN, return_std=True)
    # Asym is all that varies and the curve is linear in it, so that intervals are nearly normal
    half = stats.norm.ppf(0.95) * deviation
    np.testing.assert_allclose(mean, np.stack([center - half, center + half], axis=-1), rtol=0.02)
    rng = np.random.default_rng(1)
    new = pd.DataFrame({"Tree": np.arange(100, 2100), "age": 1000.0})
    limits = MODEL.predict_interval(new, level=0.8)
    share = ((MODEL.simulate(new, random_state=rng)[:, 0] - limits.T).prod(axis=0) < 0).mean()
    assert 0.75 < share < 0.88  # coefficients are known to the draws


def test_simulated_responses():
    fitted = MODEL.simulate(X, n_samples=2000, random_state=0, random="fitted")
    np.testing.assert_allclose(fitted.mean(axis=1), MODEL.predict(X), atol=1.0)
    new = MODEL.simulate(X, n_samples=2000, random_state=0)
    within = np.cov(new[:2])
    expected = MODEL.random_covariance_["Tree"].iloc[0, 0]
    share = MODEL.predict(X.iloc[:2], random="none") / MODEL.coef_[0]
    assert within[0, 1] == pytest.approx(expected * share.prod(), rel=0.15)


def test_tools_of_scikit_learn():
    folds = GroupKFold(5)
    found = cross_val_predict(trees(), X, Y, groups=X["Tree"], cv=folds)
    assert np.corrcoef(found, Y)[0, 1] > 0.8
    assert MODEL.score(X, Y) > 0.95
    apart = trees().fit(X[["age"]], Y, groups=X["Tree"])
    assert apart.score(X[["age"]], Y, groups=X["Tree"]) == pytest.approx(MODEL.score(X, Y))
    stored = MixedNonlinearRegressor.from_dict(MODEL.to_dict())
    np.testing.assert_array_equal(stored.predict(X), MODEL.predict(X))


# --- what is made of the fit ----------------------------------------------------------------------


def test_tables_and_tests():
    found = coefficient_table(MODEL).to_frame()
    np.testing.assert_allclose(found["estimate"], MODEL.coef_)
    np.testing.assert_allclose(
        found["std_error"], np.sqrt(np.diag(MODEL.coef_covariance_)), rtol=1e-8
    )
    assert np.isinf(found["df"]).all()
    with pytest.raises(ValueError, match="nonlinear ones have Wald tests"):
        coefficient_table(MODEL, df="satterthwaite")
    tested = linear_hypothesis(MODEL, "xmid = 700")
    assert 0.1 < tested.p_value < 0.9
    assert list(anova(MODEL).to_frame().index) == ["Asym", "xmid", "scal"]
    effects = random_effects_table(MODEL).to_frame()
    assert len(effects) == 5


def test_summary_says_how_it_was_fitted():
    text = str(MODEL.summary())
    for part in ("Asym", "Tree", "Residual", "Laplace's approximation, derivatives: exact",
                 "number of obs: 35, groups: Tree, 5", "The search converged."):  # fmt: skip
        assert part in text
    least = MixedNonlinearRegressor().fit(X[["age"]], Y)
    assert "least squares" in str(least.summary())
    restricted = trees(method="lindstrom-bates", reml=True).fit(X, Y)
    assert "REML criterion = 239.5" in str(restricted.summary())


def test_models_are_compared():
    least = MixedNonlinearRegressor(inputs="age").fit(X[["age"]], Y)
    found = compare_models(least, MODEL).to_frame()
    assert found["statistic"].iloc[1] == pytest.approx(least.criterion_ - MODEL.criterion_)
    assert found["p_boundary"].iloc[1] < 1e-5
    line = lmer("circumference ~ age + (1 | Tree)", ORANGE, reml=False)
    with pytest.raises(ValueError, match="models of one kind"):
        compare_models(line, MODEL)
    with pytest.raises(ValueError, match="not fitted to the same data"):
        compare_models(MODEL, trees().fit(X, Y + 1.0))
    restricted = trees(method="lindstrom-bates", reml=True).fit(X, Y)
    other = trees(method="lindstrom-bates", reml=True, fixed={"Asym": "1 + Tree"}, inputs="age")
    with pytest.raises(ValueError, match="fit it with reml=False"):
        compare_models(restricted, other.fit(X, Y))


def test_intervals_of_parameters():
    wald = confidence_intervals(MODEL, method="wald").to_frame()
    assert list(wald.index) == ["sd_Asym|Tree", "sigma", "Asym", "xmid", "scal"]
    assert (wald["lower"] < wald["estimate"]).all()
    drawn = confidence_intervals(
        MODEL, method="bootstrap", n_samples=40, random_state=0, X=X, y=Y
    ).to_frame()
    assert (drawn["lower"] < wald["estimate"]).all()
    with pytest.raises(
        ValueError, match="a bootstrap of a nonlinear model needs the training data"
    ):
        bootstrap(MODEL, 10)
    with pytest.raises(ValueError, match="use kind='parametric'"):
        bootstrap(MODEL, 10, kind="cases", X=X, y=Y)


@pytest.mark.parametrize("function", [r2, ranova, marginal_means])
def test_what_is_made_for_other_models_says_so(function):
    arguments = ("age",) if function is marginal_means else ()
    with pytest.raises(
        TypeError, match="is a nonlinear mixed model, and this function takes linear"
    ):
        function(MODEL, *arguments)
