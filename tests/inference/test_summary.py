"""The text of a summary, as a reader sees it.

The figures of sleepstudy are those of R: lme4's print and arm's display.
"""

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedLinearRegressor, lmer
from skmixed.datasets import load_sleepstudy
from skmixed.exceptions import UnidentifiedWarning

SLEEP = load_sleepstudy()


def assert_text(summary, expected):
    assert str(summary) == repr(summary) == expected.strip("\n")


def test_random_slopes():
    model = lmer("Reaction ~ Days + (Days | Subject)", SLEEP)
    assert_text(
        model.summary(),
        """
Reaction ~ Days + (Days | Subject)
            coef.est coef.se
(Intercept)   251.41    6.82
Days           10.47    1.55

Error terms:
 Groups   Name        Std.Dev. Corr
 Subject  (Intercept)    24.74
          Days            5.92 0.07
 Residual                25.59
---
number of obs: 180, groups: Subject, 18
AIC = 1755.6, DIC = 1760.3
deviance = 1751.9, REML criterion = 1743.6
The search converged.
""",
    )


def test_maximum_likelihood():
    model = lmer("Reaction ~ Days + (Days | Subject)", SLEEP, reml=False)
    assert_text(
        model.summary(),
        """
Reaction ~ Days + (Days | Subject)
            coef.est coef.se
(Intercept)   251.41    6.63
Days           10.47    1.50

Error terms:
 Groups   Name        Std.Dev. Corr
 Subject  (Intercept)    23.78
          Days            5.72 0.08
 Residual                25.59
---
number of obs: 180, groups: Subject, 18
AIC = 1763.9, DIC = 1751.9
deviance = 1751.9
The search converged.
""",
    )


def test_the_estimator_writes_its_formula_itself():
    X, y = load_sleepstudy(return_X_y=True)
    text = str(MixedLinearRegressor("(Days | Subject)").fit(X, y).summary())
    assert text.splitlines()[0] == "y ~ Days + (1 + Days | Subject)"
    text = str(MixedLinearRegressor(fit_intercept=False).fit(X[["Days"]], y).summary())
    assert text.splitlines()[0] == "y ~ 0 + Days"
    model = MixedLinearRegressor("(1 | Subject)", fixed="Days + offset(2 * Days)").fit(X, y)
    assert str(model.summary()).splitlines()[0] == "y ~ Days + offset(2 * Days) + (1 | Subject)"
    many = np.random.default_rng(0).normal(size=(180, 12))
    text = str(MixedLinearRegressor().fit(many, y, groups=X["Subject"]).summary())
    assert text.splitlines()[0] == "y ~ <12 columns> + (1 | Subject)"
    assert "x11" in text


def test_digits():
    model = lmer("Reaction ~ Days + (Days | Subject)", SLEEP)
    assert_text(
        model.summary(digits=3),
        """
Reaction ~ Days + (Days | Subject)
            coef.est coef.se
(Intercept)  251.405   6.825
Days          10.467   1.546

Error terms:
 Groups   Name        Std.Dev.  Corr
 Subject  (Intercept)   24.740
          Days           5.922 0.066
 Residual               25.592
---
number of obs: 180, groups: Subject, 18
AIC = 1755.6, DIC = 1760.3
deviance = 1751.9, REML criterion = 1743.6
The search converged.
""",
    )
    text = str(model.summary(digits=0))
    assert "(Intercept)      251       7" in text
    assert "residual sd = 47.7147, " in str(lmer("Reaction ~ Days", SLEEP).summary(digits=4))


@pytest.mark.parametrize("reml", [True, False])
def test_an_ordinary_linear_model(reml):
    model = lmer("Reaction ~ Days", SLEEP, reml=reml)
    # arm::display(lm(Reaction ~ Days, sleepstudy)); by maximum likelihood, n for n - 2.
    error, sd = ("6.61", "47.71") if reml else ("6.57", "47.45")
    assert_text(
        model.summary(),
        f"""
Reaction ~ Days
            coef.est coef.se
(Intercept)   251.41    {error}
Days           10.47    {"1.24" if reml else "1.23"}
---
n = 180, k = 2
residual sd = {sd}, R-Squared = 0.29
""",
    )
    assert model.summary().error_terms is None


def test_r_squared_without_an_intercept_is_about_zero():
    x = SLEEP["Days"].to_numpy(dtype=float)
    y = SLEEP["Reaction"].to_numpy()
    residual = y - x * (x @ y) / (x @ x)
    expected = 1 - residual @ residual / (y @ y)
    assert f"R-Squared = {expected:.2f}" in str(lmer("Reaction ~ 0 + Days", SLEEP).summary())


def test_diagonal_and_identity_have_no_correlations():
    formula = "Reaction ~ Days + (Days | Subject)"
    model = lmer(formula, SLEEP, covariance="diagonal")
    table = """
 Groups   Name        Std.Dev.
 Subject  (Intercept)    25.05
          Days            5.99
 Residual                25.57
---
number of obs: 180, groups: Subject, 18
AIC = 1753.7, DIC = 1760.3
deviance = 1752.0, REML criterion = 1743.7
The search converged."""
    assert str(model.summary()).endswith(table)
    assert "Corr" not in model.summary().error_terms
    identity = lmer(formula, SLEEP, covariance="identity").summary().error_terms
    assert identity["Std.Dev."][0] == pytest.approx(identity["Std.Dev."][1])


def test_several_terms_on_a_factor_and_a_singular_fit():
    formula = "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject) + (1 | Days)"
    assert_text(
        lmer(formula, SLEEP).summary(),
        """
Reaction ~ Days + (1 | Subject) + (0 + Days | Subject) + (1 | Days)
            coef.est coef.se
(Intercept)   251.41    6.89
Days           10.47    1.56

Error terms:
 Groups   Name        Std.Dev.
 Subject  (Intercept)    25.05
 Subject  Days            5.99
 Days     (Intercept)     0.00
 Residual                25.57
---
number of obs: 180, groups: Subject, 18; Days, 10
AIC = 1755.7, DIC = 1760.3
deviance = 1752.0, REML criterion = 1743.7
The search converged to a singular fit: a variance is zero or a correlation is +-1.
""",
    )


def test_correlations_of_three_columns():
    table = SLEEP.assign(late=(SLEEP["Days"] > 4) * 1.0)
    terms = lmer("Reaction ~ Days + (Days + late | Subject)", table).summary().error_terms
    assert list(terms.columns) == ["Groups", "Name", "Std.Dev.", "Corr", ""]
    assert list(terms["Name"]) == ["(Intercept)", "Days", "late", ""]
    assert list(terms["Groups"]) == ["Subject", "", "", "Residual"]
    assert terms.iloc[:, 3:].notna().sum().tolist() == [2, 1]


def test_the_table_of_error_terms_is_the_covariance():
    model = lmer("Reaction ~ Days + (Days | Subject)", SLEEP)
    summary = model.summary()
    covariance = model.random_covariance_["Subject"].to_numpy()
    deviations = np.sqrt(np.diag(covariance))
    assert summary.error_terms["Std.Dev."].tolist() == pytest.approx(
        [*deviations, np.sqrt(model.residual_variance_)]
    )
    correlation = covariance[0, 1] / deviations.prod()
    assert summary.error_terms["Corr"][1] == pytest.approx(correlation)
    assert summary.coefficients["coef.est"].tolist() == [model.intercept_, *model.coef_]
    assert summary.coefficients["coef.se"].tolist() == pytest.approx(
        np.sqrt(np.diag(model.coef_covariance_))
    )


def test_a_correlation_that_does_not_exist_is_left_out():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=60), "g": np.arange(60) % 6})
    table["y"] = table["x"] + rng.normal(size=60) + rng.normal(size=6)[table["g"]] * table["x"]
    table["y"] -= table.groupby("g")["y"].transform("mean")  # no intercept varies
    summary = lmer("y ~ x + (x | g)", table).summary()
    assert "nan" not in str(summary)
    assert "nan" not in summary._repr_html_().lower()


def test_dependent_columns_are_named():
    table = SLEEP.assign(twice=2 * SLEEP["Days"], one=1.0)
    text = str(lmer("Reaction ~ Days + twice + one + (1 | Subject)", table).summary())
    note = "dropped, because they depend linearly on earlier columns: "
    assert text.endswith(note + "twice, one")
    assert "nan" not in text
    model = lmer("Reaction ~ Days + twice", table)
    text = str(model.summary())
    assert "Days           10.47    1.24\ntwice        dropped\n---" in text
    assert model.summary()._repr_html_().count("dropped") == 2
    assert model.summary().coefficients.loc["twice"].isna().all()
    assert model.coef_[1] == 0.0
    assert "n = 180, k = 2" in text
    assert text.endswith(note + "twice")
    assert "dropped" not in str(lmer("Reaction ~ Days", table).summary())


def test_nested_factors_are_ordered_by_their_number_of_levels():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": np.arange(120) % 4, "b": np.arange(120) // 4 % 3})
    table["y"] = rng.normal(size=120) + 2.0 * rng.normal(size=4)[table["a"]]
    table["y"] += rng.normal(size=(4, 3))[table["a"], table["b"]]
    text = str(lmer("y ~ 1 + (1 | a/b)", table).summary())
    assert "groups: b:a, 12; a, 4" in text
    lines = [line.split()[0] for line in text.splitlines() if "(Intercept)" in line][1:]
    assert lines == ["b:a", "a"]


def test_a_fixed_part_without_columns():
    text = str(lmer("Reaction ~ 0 + (1 | Subject)", SLEEP).summary())
    assert "coef.est coef.se\n\nError terms:" in text


def test_an_exact_fit_has_no_criteria():
    X, _ = load_sleepstudy(return_X_y=True)
    with pytest.warns(UnidentifiedWarning):
        model = MixedLinearRegressor("(1 | Subject)").fit(X, np.full(180, 3.0))
    assert_text(
        model.summary(),
        """
y ~ Days + (1 | Subject)
            coef.est coef.se
(Intercept)     3.00
Days            0.00

Error terms:
 Groups   Name        Std.Dev.
 Subject  (Intercept)     0.00
 Residual                 0.00
---
number of obs: 180, groups: Subject, 18
The fixed part fits the data exactly, so there is no variance left to estimate.
""",
    )


def test_a_search_that_did_not_arrive_says_so():
    X, y = load_sleepstudy(return_X_y=True)
    with pytest.warns(match="did not converge"):
        model = MixedLinearRegressor("(Days | Subject)", max_iter=1).fit(X, y)
    assert "The search did not converge: " in str(model.summary())


def test_large_numbers_of_rows_are_written_out():
    X, y = load_sleepstudy(return_X_y=True)
    weights = np.full(180, 10_000)
    model = MixedLinearRegressor("(1 | Subject)").fit(X, y, weights)
    assert "number of obs: 1800000, groups" in str(model.summary())
    assert "n = 1800000, k = 2" in str(
        MixedLinearRegressor().fit(X[["Days"]], y, weights).summary()
    )


def test_html():
    model = lmer("Reaction ~ Days + (Days | Subject)", SLEEP)
    text = model.summary()._repr_html_()
    for piece in ("<code>Reaction ~ Days + (Days | Subject)</code>", "251.41", "6.82", "0.07",
                  "number of obs: 180, groups: Subject, 18<br>AIC = 1755.6"):  # fmt: skip
        assert piece in text
    assert "nan" not in text.lower()
    assert "Error terms" not in lmer("Reaction ~ Days", SLEEP).summary()._repr_html_()


def test_html_escapes_what_users_name():
    evil = "<script>alert(1)</script>"
    table = SLEEP.set_axis(["Reaction", "<b>", evil], axis=1)
    summary = lmer(f"Reaction ~ `<b>` + (`<b>` | `{evil}`)", table).summary()
    text = summary._repr_html_()
    assert "<script>" not in text
    assert "<b>" not in text
    assert text.count("&lt;script&gt;") == 3  # formula, table and sizes
    assert evil in str(summary)
