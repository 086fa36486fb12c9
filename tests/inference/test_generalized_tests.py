"""Tests of the coefficients of generalized models, with R's figures."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from skmixed import MixedClassifier, MixedGeneralizedRegressor, glmer
from skmixed.datasets import load_sleepstudy
from skmixed.inference import (
    anova,
    coefficient_table,
    compare_models,
    confidence_intervals,
    linear_hypothesis,
)
from tests import reference_set


def binary_rows(n: int = 600, seed: int = 0) -> pd.DataFrame:
    """Draw binary responses of 30 groups."""
    rng = np.random.default_rng(seed)
    group, level = rng.integers(0, 30, n), rng.integers(0, 3, n)
    x = rng.normal(size=n) + 100.0
    eta = 0.5 * (x - 100.0) + 0.8 * rng.normal(size=30)[group] + 0.3 * (level == 1)
    y = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    columns = {"y": y, "x": x, "level": np.array(list("abc"))[level], "group": group}
    return pd.DataFrame(columns).astype({"group": str})


@pytest.fixture(scope="module")
def binary_model() -> MixedClassifier:
    return glmer("y ~ x + level + (1 | group)", binary_rows(), family="binomial")


def test_statistics_are_z_by_the_errors_of_the_coefficients(binary_model):
    frame = coefficient_table(binary_model).frame
    errors = np.sqrt(np.diag(binary_model.coef_covariance_))
    np.testing.assert_allclose(frame["std_error"], errors, rtol=1e-7)
    np.testing.assert_allclose(frame["statistic"], frame["estimate"] / errors, rtol=1e-7)
    assert np.isinf(frame["df"]).all()
    assert frame.equals(coefficient_table(binary_model, df="normal").frame)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger", "residual"])
def test_degrees_of_freedom_of_linear_models_are_refused(binary_model, df):
    with pytest.raises(ValueError, match=f"df='{df}'.*use df='auto' or df='normal'"):
        coefficient_table(binary_model, df=df)


def test_a_joint_test_is_chi_squared(binary_model):
    names = binary_model.coef_covariance_.columns[2:]
    covariance = binary_model.coef_covariance_.loc[names, names].to_numpy()
    beta = coefficient_table(binary_model).frame.loc[names, "estimate"].to_numpy()
    test = linear_hypothesis(binary_model, list(names))
    np.testing.assert_allclose(test.statistic, beta @ np.linalg.solve(covariance, beta), rtol=1e-8)
    assert (test.num_df, test.df) == (2, np.inf)
    assert f"chi2(2) = {test.statistic:.5g}" in str(test)


def test_infinite_coefficients_have_no_errors():
    table = binary_rows()
    table["only"] = ((table["group"] == "3") & (table["y"] == 1)).astype(float)
    with pytest.warns(UserWarning, match="only"):
        model = glmer("y ~ x + only + (1 | group)", table, family="binomial")
    found = coefficient_table(model)
    assert found.frame.loc["only"].drop(["estimate", "df"]).isna().all()
    assert np.isfinite(found.frame.loc["x"].drop("df")).all()
    assert "Infinite, without standard errors: only." in str(found)
    assert np.isnan(linear_hypothesis(model, ["only", "x"]).p_value)


def cattle() -> pd.DataFrame:
    table = reference_set.committed_table("cbpp")
    odd = np.where(table["herd"].astype(int) % 2 == 1, "odd", "even")
    return table.assign(odd=odd, row=np.arange(len(table)).astype(str))


@pytest.fixture(scope="module")
def factorial() -> MixedGeneralizedRegressor:
    formula = "cbind(incidence, size - incidence) ~ period * odd + (1 | herd)"
    return glmer(formula, cattle(), family="binomial")


# glmmTMB 1.1.5, at its tightest tolerances: coef(summary(m))$cond.
FACTORIAL = {
    "estimate": [
        *[-1.201941217523, -1.818869958572, -1.816371693761, -1.423696026378],
        *[-0.352848670247, 1.181153706684, 1.021796443620, -0.221982115259],
    ],
    "std_error": [
        *[0.318799800801, 0.645087292422, 0.643938659556, 0.661015318681],
        *[0.443228798424, 0.739456103091, 0.752157598615, 0.866459229548],
    ],
    "p_value": [
        *[0.00016311224758, 0.00480877667884, 0.00479157646996, 0.03125571337378],
        *[0.42598148829572, 0.11019268229080, 0.17430915260531, 0.79780063198765],
    ],
}
# car 3.1, Anova(m, type) of the same, by contr.sum for type III; statistics of type I are
# differences of Wald's statistics of coefficients from a term on.
TERMS = {
    "I": [23.4631590431634, 0.0400072296454, 4.1613817010757],
    "II": [22.744095186927375, 0.040007229645389, 4.161381701075725],
    "III": [25.992153310949707, 0.098571800795934, 4.161380782321938],
}


def test_coefficients_are_those_of_glmmtmb(factorial):
    frame = coefficient_table(factorial).frame
    for name, expected in FACTORIAL.items():
        np.testing.assert_allclose(frame[name], expected, rtol=3e-5)


@pytest.mark.parametrize("kind", TERMS)
def test_terms_are_those_of_car(factorial, kind):
    found = anova(factorial, kind)
    np.testing.assert_allclose(found.frame["statistic"], TERMS[kind], rtol=1e-4)
    assert found.frame["num_df"].tolist() == [3, 1, 3]
    expected = stats.chi2.sf(found.frame["statistic"], found.frame["num_df"])
    np.testing.assert_allclose(found.frame["p_value"], expected)
    assert str(found).startswith(f"Analysis of deviance, type {kind}: cbind(")


@pytest.mark.parametrize("kind", ["I", "II", "III"])
def test_tests_of_terms_do_not_depend_on_the_reference_level(factorial, kind):
    table = cattle()
    table["period"] = pd.Categorical(table["period"], ["3", "1", "4", "2"])
    formula = "cbind(incidence, size - incidence) ~ period * odd + (1 | herd)"
    other = anova(glmer(formula, table, family="binomial"), kind).frame
    pd.testing.assert_frame_equal(other, anova(factorial, kind).frame, rtol=1e-6)


def test_terms_with_infinite_coefficients_are_not_tested():
    table = binary_rows()
    rare = (table["level"] == "c") & (table["y"] == 0)
    with pytest.warns(UserWarning, match="level"):
        model = glmer("y ~ x * level + (1 | group)", table[~rare], family="binomial")
    found = anova(model, "II")
    assert np.isnan(found.frame.loc["level", "statistic"])
    assert "level is not tested: its coefficients are infinite." in str(found)
    assert found.frame.loc["level", "num_df"] == 2


def test_intervals_are_those_of_glmmtmb():
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    found = confidence_intervals(glmer(formula, cattle(), family="binomial")).frame
    expected = [  # confint(m): Wald, the deviation by its logarithm
        (0.372443215503, 1.107551536588),
        (-1.854169313113, -0.942895619715),
        (-1.593340539134, -0.391324046587),
        (-1.768869638127, -0.488472956901),
        (-2.418074022268, -0.742553351917),
    ]
    np.testing.assert_allclose(found[["lower", "upper"]], expected, rtol=2e-6)
    assert found.index[0] == "sd_(Intercept)|herd"


def test_intervals_of_a_dispersion_and_a_correlation_are_those_of_glmmtmb():
    model = glmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy(), family="gamma")
    found = confidence_intervals(model)
    error = np.sqrt(1.38498884893e-2)  # of the logarithm of one over the squared sigma
    middle = -5.0302503447482
    expected = {
        "sd_(Intercept)|Subject": (0.0676097042927, 0.1504563725051),
        "sd_Days|Subject": (0.0115949839202, 0.0264376535793),
        # By the delta method from its own parameter theta, r = theta / sqrt(1 + theta^2).
        "cor_Days.(Intercept)|Subject": (-0.541872380188, 0.500095048251),
        "dispersion": tuple(np.exp(middle + np.array([-1.0, 1.0]) * 1.959963984540 * error)),
        "Days": (0.0247781468995, 0.0429217639374),
    }
    for name, limits in expected.items():
        # Its search ends by "singular convergence", 5e-6 from the estimates.
        np.testing.assert_allclose(found.frame.loc[name, ["lower", "upper"]], limits, rtol=5e-5)
    assert "deviations and the dispersion on the logarithmic scale" in str(found)


def test_intervals_do_not_depend_on_units():
    table = load_sleepstudy()
    formula = "Reaction ~ Days + (Days | Subject)"
    one = confidence_intervals(glmer(formula, table, family="gamma")).frame
    table["Days"] = 1000.0 * table["Days"] + 3e5
    other = confidence_intervals(glmer(formula, table, family="gamma")).frame
    for name, unit in {"dispersion": 1.0, "sd_Days|Subject": 1e3, "Days": 1e3}.items():
        np.testing.assert_allclose(other.loc[name] * unit, one.loc[name], rtol=1e-5)


def test_a_variance_without_maximum_has_no_interval():
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(20), 5)
    X = pd.DataFrame({"x": rng.normal(size=100), "group": group})
    with pytest.warns(UserWarning, match="group"):
        model = MixedClassifier("(1 | group)").fit(X, group % 2)
    found = confidence_intervals(model).frame
    assert found.iloc[0][["lower", "upper"]].isna().all()
    assert np.isfinite(found.iloc[0]["estimate"])


def test_copies_and_bare_fits_have_the_same_tests(binary_model):
    expected = anova(binary_model, "II").frame
    copy = pickle.loads(pickle.dumps(binary_model))
    pd.testing.assert_frame_equal(anova(copy, "II").frame, expected, rtol=1e-12)
    pd.testing.assert_frame_equal(
        coefficient_table(binary_model.fit_).frame, coefficient_table(copy).frame, rtol=1e-12
    )
    assert compare_models(binary_model, copy).frame["statistic"].iloc[1] == 0.0


@pytest.mark.parametrize("shift", [30.0, 1e4])
def test_tests_do_not_depend_on_where_columns_are_zero(shift):
    table = binary_rows()
    table["x"] = table["x"] - 100.0
    one = glmer("y ~ x * level + (1 | group)", table, family="binomial")
    table["x"] = table["x"] + shift
    other = glmer("y ~ x * level + (1 | group)", table, family="binomial")
    for kind in ("I", "III"):
        names = ["x:level"]  # main effects are another hypothesis where x has another zero
        found = [anova(model, kind).frame.loc[names] for model in (one, other)]
        pd.testing.assert_frame_equal(*found, rtol=1e-6)
    # Slopes have the same test, wherever x is zero, by type II, where x is within x:level.
    found = [anova(model, "II").frame.loc[["x", "x:level"]] for model in (one, other)]
    pd.testing.assert_frame_equal(*found, rtol=1e-6)
