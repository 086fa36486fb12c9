"""Generalized models from whole formulas: responses of one and of two columns, missing rows."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skmixed import MixedClassifier, MixedGeneralizedRegressor, clmm, glmer, lmer
from skmixed.exceptions import UnidentifiedWarning
from tests import reference_set
from tests.estimators.test_generalized_regressor import NEW, X, Y

CBPP = reference_set.table("cbpp")
# lme4 1.1-31, its optimum polished with the criterion of exactly converged modes.
CRITERION = 184.0525637295142
BETA = [-0.9923327348730155, -1.1286720841679938, -1.5803138851795786]
ERRORS = [0.23247199232249, 0.30664249797638, 0.32663785055805, 0.42743658661551]


@pytest.mark.parametrize(
    ("left", "weights"),
    [
        ("cbind(incidence, size - incidence)", None),
        ("cbind( (incidence+0)*1 , size-incidence )", None),
        ("incidence / size", "size"),
        ("incidence / size", CBPP["size"]),
    ],
)
def test_cbpp_is_that_of_lme4(left, weights):
    model = glmer(f"{left} ~ C(period) + (1 | herd)", CBPP, weights=weights)
    assert model.criterion_ == pytest.approx(CRITERION, abs=1e-8)
    assert_allclose(model.coef_, BETA, rtol=1e-6)
    assert_allclose(np.sqrt(np.diag(model.coef_covariance_)), ERRORS, rtol=1e-5)
    assert model.formula_ == f"{left} ~ C(period) + (1 | herd)"
    assert model.n_dropped_ == 0
    assert list(model.feature_names_in_) == ["herd", "period"]
    rows = CBPP[["period", "herd"]]
    assert_allclose(model.predict(rows), model.predict(CBPP), rtol=1e-14)


def test_an_exposure_is_the_offset_of_its_logarithm():
    table = X.assign(y=Y)
    by_offset = glmer("y ~ x + (1 | shop) + offset(log(hours))", table, family="poisson")
    model = glmer("y ~ x + (1 | shop)", table, family="poisson", exposure="hours")
    by_hand = MixedGeneralizedRegressor("(1 | shop)", exposure="hours").fit(X, Y)
    for other in (by_offset, by_hand):
        assert_allclose(model.coef_, other.coef_, rtol=1e-8)
        assert_allclose(model.predict(NEW), other.predict(NEW), rtol=1e-8)
    again = MixedGeneralizedRegressor.from_dict(model.to_dict())
    assert_allclose(again.predict(NEW), model.predict(NEW), rtol=0.0)


TRIED = np.random.default_rng(0).random(len(X)) < 0.4


@pytest.mark.parametrize(
    ("labels", "second"),
    [
        (TRIED, True),
        (pd.array(TRIED, dtype="boolean"), True),
        (np.where(TRIED, "yes", "no"), "yes"),
        (pd.array(np.where(TRIED, "yes", "no"), dtype="string"), "yes"),
        (pd.Categorical(np.where(TRIED, "yes", "no"), categories=["yes", "no", "perhaps"]), "no"),
        (pd.Categorical(TRIED + 1), 2),
    ],
)
def test_the_second_of_two_labels_is_a_hit(labels, second):
    table = X.assign(y=labels)
    model = glmer("y ~ x + (1 | shop)", table)
    hits = glmer("hit ~ x + (1 | shop)", X.assign(hit=(table["y"] == second).astype(int)))
    assert_allclose(model.coef_, hits.coef_, rtol=1e-12)
    classifier = MixedClassifier("(1 | shop)", fixed="x").fit(X, (second != "no") == TRIED)
    assert_allclose(model.coef_, classifier.coef_, rtol=1e-12)


def test_labels_other_than_two():
    rng = np.random.default_rng(0)
    table = X.assign(three=rng.choice(list("abc"), len(X)), one="a", many=np.arange(len(X)))
    message = "'three' has 3 categories, 'a', 'b', 'c': a binomial response has two"
    with pytest.raises(ValueError, match=message):
        glmer("three ~ x + (1 | shop)", table)
    with pytest.raises(ValueError, match="'one' has 1 categories, 'a': a binomial"):
        glmer("one ~ x + (1 | shop)", table)
    with pytest.raises(ValueError, match=r"4, \.\.\.: a binomial response has two"):
        glmer("many ~ x + (1 | shop)", table.astype({"many": "category"}))
    with pytest.raises(ValueError, match="'three' is categorical; a numeric expression"):
        glmer("three ~ x + (1 | shop)", table, family="poisson")
    with pytest.raises(ValueError, match="'three' is categorical; a numeric expression"):
        lmer("three ~ x + (1 | shop)", table)
    missing = table.assign(two=np.where(table["three"] == "c", None, table["three"]))
    model = glmer("two ~ x + (1 | shop)", missing)
    assert model.n_dropped_ == (table["three"] == "c").sum()


def test_rows_with_missing_values_are_left_out():
    table = X.assign(y=Y.astype(float), n=Y + 5.0)
    for row, name in enumerate(["x", "hours", "y", "n"]):
        table.loc[row, name] = np.nan
    model = glmer("cbind(y, n - y) ~ x + (1 | shop)", table, weights="hours")
    assert model.n_dropped_ == 4
    counts = glmer("y ~ x + (1 | shop)", table, family="poisson", exposure="hours")
    assert counts.n_dropped_ == 3
    with pytest.raises(ValueError, match="3 rows have missing values"):
        glmer("y ~ x", table, family="poisson", exposure="hours", na_action="raise")


def test_more_nodes_and_a_link_are_handed_on():
    formula = "cbind(incidence, size - incidence) ~ C(period) + (1 | herd)"
    model = glmer(formula, CBPP, quadrature=25, link="probit", averaging="plug-in")
    assert model.fit_.quadrature == 25
    assert model.get_params()["link"] == "probit"
    assert model.averaging == "plug-in"


def test_rows_without_trials_say_nothing():
    more = CBPP.iloc[[0]].assign(incidence=0, size=0)
    table = CBPP.iloc[[*range(len(CBPP)), 0]].reset_index(drop=True)
    table.loc[len(CBPP), ["incidence", "size"]] = more[["incidence", "size"]].to_numpy()[0]
    model = glmer("cbind(incidence, size - incidence) ~ C(period) + (1 | herd)", table)
    assert model.criterion_ == pytest.approx(CRITERION, abs=1e-8)


def test_summary_is_in_the_layout_of_arm():
    model = glmer("cbind(incidence, size - incidence) ~ C(period) + (1 | herd)", CBPP)
    assert str(model.summary()).splitlines() == [
        "cbind(incidence, size - incidence) ~ C(period) + (1 | herd)",
        "               coef.est coef.se",
        "(Intercept)       -1.40    0.23",
        "C(period)[T.2]    -0.99    0.31",
        "C(period)[T.3]    -1.13    0.33",
        "C(period)[T.4]    -1.58    0.43",
        "",
        "Error terms:",
        " Groups Name        Std.Dev.",
        " herd   (Intercept)     0.64",
        "---",
        "number of obs: 56, groups: herd, 15",
        "family: binomial, link: logit, Laplace's approximation",
        "AIC = 194.1, deviance = 184.1",
        "The search converged.",
    ]
    counts = MixedGeneralizedRegressor(family="gamma").fit(X[["x"]], Y + 1.0)
    text = str(counts.summary(3))
    assert "number of obs: 400\nfamily: gamma, link: log, dispersion = " in text
    assert "Error terms" not in text


def test_errors_at_the_door():
    with pytest.raises(ValueError, match="is not cbind"):
        glmer("cbind(incidence) ~ 1 + (1 | herd)", CBPP)
    with pytest.raises(ValueError, match="is not cbind"):
        glmer("cbind(incidence, size, size) ~ 1 + (1 | herd)", CBPP)
    with pytest.raises(ValueError, match="requires family 'binomial', not 'poisson'"):
        glmer("cbind(incidence, size) ~ 1 + (1 | herd)", CBPP, family="poisson")
    with pytest.raises(ValueError, match=r"has -1[0-9]* in row"):
        glmer("cbind(incidence, incidence - size) ~ 1 + (1 | herd)", CBPP)
    with pytest.raises(ValueError, match="family"):
        glmer("incidence ~ 1 + (1 | herd)", CBPP, family="normal")
    with pytest.raises(TypeError, match="not accept 'nAGQ': write quadrature="):
        glmer("incidence ~ 1 + (1 | herd)", CBPP, nAGQ=9)
    with pytest.raises(ValueError, match="exposure names 'time'"):
        glmer("incidence ~ 1 + (1 | herd)", CBPP, family="poisson", exposure="time")
    with pytest.raises(ValueError, match="cbind"):
        lmer("cbind(incidence, size) ~ 1 + (1 | herd)", CBPP)


@pytest.mark.parametrize("fit", [lmer, glmer, clmm])
def test_an_intercept_beside_all_levels_of_a_factor_is_said(fit):
    rng = np.random.default_rng(8)
    table = pd.DataFrame({"g": np.arange(200) % 10, "f": rng.choice(["a", "b", "c"], 200)})
    eta = rng.normal(size=10)[table["g"]] + rng.logistic(size=200)
    table["y"] = eta if fit is lmer else (eta > 0).astype(int)
    if fit is clmm:
        table["y"] = np.digitize(eta, [-1.0, 1.0])
    options = {"family": "binomial"} if fit is glmer else {}
    with pytest.warns(UnidentifiedWarning, match="'g' share a column, or one that is the"):
        fit("y ~ 1 + (f || g)", table, **options)
