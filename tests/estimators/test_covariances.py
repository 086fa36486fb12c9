"""Covariance structures of random effects, as formulas and parameters have them."""

import pickle

import numpy as np
import pandas as pd
import pytest

from skmixed import (
    MixedClassifier,
    MixedEffectsRegressor,
    MixedGeneralizedRegressor,
    MixedLinearRegressor,
    OrdinalMixedClassifier,
    clmm,
    glmer,
    lmer,
)
from skmixed.exceptions import FormulaSyntaxError
from tests.structured import LATENT, MACHINES, RESPONSES, VISITS, machines, visits

TABLE = visits()
FUNCTIONS = {"diagonal": "diag"}


def check_estimates(model, figures):
    criterion, coefficients, deviations, correlations = figures
    assert model.criterion_ == pytest.approx(criterion, abs=1e-6)
    assert model.converged_
    np.testing.assert_allclose([model.intercept_, *model.coef_], coefficients, atol=2e-5)
    covariance = model.random_covariance_["g"].to_numpy()
    found = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(found, deviations, rtol=3e-4, atol=1e-4)
    np.testing.assert_allclose(covariance[0, 1:] / found[0] / found[1:], correlations, atol=2e-4)


@pytest.mark.parametrize("name", MACHINES)
def test_machines_are_those_of_r(name):
    formula = f"score ~ Machine + {FUNCTIONS.get(name, name)}(0 + Machine | Worker)"
    assert lmer(formula, machines()).criterion_ == pytest.approx(MACHINES[name], abs=1e-6)
    model = MixedLinearRegressor("(0 + Machine | Worker)", fixed="Machine", covariance=name)
    table = machines()
    model.fit(table[["Worker", "Machine"]], table["score"])
    assert model.criterion_ == pytest.approx(MACHINES[name], abs=1e-6)


@pytest.mark.parametrize(("name", "reml"), VISITS)
def test_visits_are_those_of_r(name, reml):
    model = lmer(f"y ~ x + {name}(0 + f | g)", TABLE, reml=reml)
    check_estimates(model, VISITS[name, reml])


@pytest.mark.parametrize(("rank", "reml"), LATENT)
def test_latent_effects_are_those_of_r(rank, reml):
    model = lmer(f"z ~ x + rr(0 + f | g, d={rank})", TABLE, reml=reml)
    check_estimates(model, LATENT[rank, reml])
    assert not model.is_singular_


@pytest.mark.parametrize(("response", "term"), RESPONSES)
def test_generalized_models_are_those_of_r(response, term):
    family = "binomial" if response == "hit" else "poisson"
    model = glmer(f"{response} ~ x + {term}", TABLE, family=family)
    check_estimates(model, RESPONSES[response, term])


# --- how they are written -------------------------------------------------------------------------

SAME = [
    ("us(0 + f | g)", "(0 + f | g)", "unstructured"),
    ("diag(0 + f | g)", "diag(0 + f | g, hom=FALSE)", "diagonal"),
    ("homdiag(0 + f | g)", "diag(0+f|g, hom = TRUE)", "identity"),
    ("cs(0 + f | g)", "cs(0 + f | g, hom=False)", "cs"),
    ("homcs(0 + f | g)", "cs(0 + f | g, hom=True)", "homcs"),
    ("ar1(0 + f | g)", "ar1(0 + t | g)", "ar1"),
    ("hetar1(0 + f | g)", "ar1(0 + f | g, hom = FALSE)", "hetar1"),
    ("toep(0 + f | g)", "toep(0 + t | g)", "toep"),
    ("homtoep(0 + f | g)", "toep(f - 1 | g, hom = T)", "homtoep"),
    ("rr(0 + f | g)", "rr(0 + f | g, 2)", "rr"),
    ("rr(0 + f | g, d = 1)", "(rr(0 + f | g, d=1))", "rr(1)"),
    ("fa(0 + f | g, d = 1)", "rr(0 + f | g, d=1) + diag(0 + f | g)", "fa(1)"),
]


@pytest.mark.parametrize(("text", "other", "name"), SAME)
def test_all_spellings_are_one_model(text, other, name):
    model = lmer(f"y ~ x + {text}", TABLE)
    again = lmer(f"y ~ x + {other}", TABLE)
    X = TABLE[["x", "f", "g"]]
    given = MixedLinearRegressor("(0 + f | g)", fixed="x", covariance=name).fit(X, TABLE["y"])
    by_factor = MixedLinearRegressor(text, fixed="x", covariance={"g": "identity"})
    by_factor.fit(X, TABLE["y"])
    for each in (again, given, by_factor):
        assert each.criterion_ == pytest.approx(model.criterion_, abs=1e-8)
        np.testing.assert_allclose(each.predict(TABLE), model.predict(TABLE), atol=1e-5)
    if name != "identity":  # which has no bar of its own
        written = lmer(given.formula_, TABLE)
        assert written.criterion_ == pytest.approx(model.criterion_, abs=1e-8)


@pytest.mark.parametrize("column", ["f", "t", "`the visit`"])
@pytest.mark.parametrize("name", ["ar1", "toep", "hetar1"])
def test_columns_of_an_order_are_named_as_those_of_other_structures(name, column):
    """Whatever is made of the column to read its levels: numbers, and levels that never occur."""
    table = TABLE.assign(**{"the visit": TABLE["f"]})
    names = [f"{column.strip('`')}[{visit}]" for visit in range(1, 6)]
    model = lmer(f"y ~ x + {name}(0 + {column} | g)", table)
    assert list(model.random_effects_["g"]) == names
    assert list(pickle.loads(pickle.dumps(model)).random_covariance_["g"]) == names
    gap = pd.Categorical(table["t"] + (table["t"] > 2), categories=range(1, 7))
    model = lmer(f"y ~ x + ar1(0 + {column} | g)", table.assign(**{column.strip("`"): gap}))
    assert list(model.random_effects_["g"]) == [f"{column.strip('`')}[{n}]" for n in range(1, 7)]


def test_terms_of_one_column_have_no_structure():
    X = TABLE[["x", "f", "g"]]
    for name in ("cs", "ar1", "rr", "fa(3)", "toep"):
        model = MixedLinearRegressor("(1 | g)", fixed="x", covariance=name).fit(X, TABLE["y"])
        assert model.formula_ == "y ~ x + (1 | g)"
        assert [term.covariance for term in model.design_.terms] == ["unstructured"]


def test_structures_stand_beside_other_terms_and_in_nested_factors():
    table = TABLE.assign(h=TABLE["g"] // 6)
    model = lmer("y ~ x + homcs(0 + f | h/g) + (1 | t)", table)
    assert [term.covariance for term in model.design_.terms] == ["homcs", "homcs", "unstructured"]
    by_name = MixedLinearRegressor(
        "(0 + f | h/g) + (1 | t)", fixed="x", covariance={"g:h": "homcs", "h": "homcs"}
    ).fit(table[["x", "f", "g", "h", "t"]], table["y"])
    assert by_name.criterion_ == pytest.approx(model.criterion_, abs=1e-7)


REFUSED = {
    "cs(0 + f || g)": "the bar is single",
    "cs(0 + f | g, hom=2)": "hom is TRUE or FALSE",
    "homcs(0 + f | g, hom=TRUE)": "takes nothing",
    "cs(0 + f | g, d=2)": "takes hom",
    "rr(0 + f | g, hom=TRUE)": "takes d",
    "rr(0 + f | g, d=0)": "number of latent effects",
    "rr(0 + f | g, d=2, 3)": "takes d",
    "cs(0 + f | g):x": "not part of an interaction",
    "log(cs(0 + f | g))": r"\|",
    "x - cs(0 + f | g)": "added, not subtracted",
    "cs(0 + f | g | x)": "one bar",
    "cs(0 + f | g) + homcs(0 + f | g)": "is there twice",
    "ar1(0 + f | )": "expected a term",
    "ar1(f, 0 | g)": "expected ar1",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_meant_is_refused(text):
    with pytest.raises((FormulaSyntaxError, ValueError), match=REFUSED[text]):
        lmer(f"y ~ 1 + {text}", TABLE)


def test_splines_keep_their_name():
    assert lmer("y ~ cs(x, df=3) + (1 | g)", TABLE).converged_


# --- an order -------------------------------------------------------------------------------------


def test_columns_without_an_order_are_refused():
    with pytest.raises(ValueError, match=r"the columns of \(1 \+ f \| g\) have no order"):
        lmer("y ~ x + ar1(f | g)", TABLE)
    with pytest.raises(ValueError, match="have no order, which the covariance 'toep'"):
        MixedLinearRegressor("(1 + x | g)", covariance="toep").fit(TABLE[["x", "g"]], TABLE["y"])


@pytest.mark.parametrize("times", [[1, 2, 3, 5, 6], [0, 0.5, 1, 1.5, 2], [1, 2, 4, 8, 16]])
def test_times_that_are_not_equally_spaced_are_refused(times):
    table = TABLE.assign(t=np.array(times)[TABLE["t"] - 1])
    with pytest.raises(ValueError, match=r"equally spaced whole numbers; they are .* ordered cat"):
        lmer("y ~ x + ar1(0 + t | g)", table)


def test_times_may_be_any_equally_spaced_whole_numbers():
    table = TABLE.assign(t=5.0 * TABLE["t"] - 20.0)
    model = lmer("y ~ x + ar1(0 + t | g)", table)
    assert model.criterion_ == pytest.approx(VISITS["ar1", True][0], abs=1e-6)
    assert next(iter(model.random_effects_["g"])) == "t[-15.0]"
    with pytest.raises(ValueError, match="values not seen in fitting: 10"):
        model.predict(table.assign(t=10.0))


def test_levels_between_that_never_occur_keep_their_place():
    """Effects of the first and third visit are two steps apart, whoever came to the second."""
    table = TABLE[TABLE["t"] != 2]
    with pytest.raises(ValueError, match="equally spaced"):
        lmer("y ~ x + ar1(0 + t | g)", table)
    model = lmer("y ~ x + ar1(0 + f | g)", table)
    effects = model.random_covariance_["g"].to_numpy()
    assert effects.shape == (5, 5)
    correlation = effects[0] / effects[0, 0]
    np.testing.assert_allclose(correlation, correlation[1] ** np.arange(5), atol=1e-12)
    other = lmer("y ~ x + ar1(0 + f2 | g)", table.assign(f2=pd.Categorical(table["t"])))
    assert other.criterion_ > model.criterion_ + 1.0
    with pytest.raises(ValueError, match=r"has no rows of \[2\]"):
        lmer("y ~ x + hetar1(0 + f | g)", table)


def test_columns_may_be_the_times_themselves():
    times = {f"t{time}": (TABLE["t"] == time).astype(float) for time in range(1, 6)}
    table = pd.DataFrame({"x": TABLE["x"], **times, "g": TABLE["g"]})
    random = {"g": list(times)}
    model = MixedLinearRegressor(random, fixed="x", covariance="toep").fit(table, TABLE["y"])
    assert model.criterion_ == pytest.approx(VISITS["toep", True][0], abs=1e-6)


# --- estimators -----------------------------------------------------------------------------------


def test_estimators_of_classes_and_counts_take_structures():
    X = TABLE[["x", "f", "g"]]
    classifier = MixedClassifier("cs(0 + f | g)", fixed="x").fit(X, TABLE["hit"])
    figures = RESPONSES["hit", "cs(0 + f | g)"]
    assert classifier.criterion_ == pytest.approx(figures[0], abs=1e-6)
    counts = MixedGeneralizedRegressor(
        "(0 + f | g)", fixed="x", covariance="ar1", family="poisson"
    ).fit(X, TABLE["count"])
    figures = RESPONSES["count", "ar1(0 + f | g)"]
    assert counts.criterion_ == pytest.approx(figures[0], abs=1e-6)
    ordered = np.clip(TABLE["count"], 0, 2)
    by_formula = clmm("o ~ x + ar1(0 + t | g)", TABLE.assign(o=ordered))
    ordinal = OrdinalMixedClassifier("(0 + f | g)", fixed="x", covariance="ar1").fit(X, ordered)
    assert ordinal.criterion_ == pytest.approx(by_formula.criterion_, abs=1e-7)
    assert ordinal.criterion_ < clmm("o ~ x + (1 | g)", TABLE.assign(o=ordered)).criterion_


def test_effects_beside_a_learner_take_structures():
    X = TABLE[["x", "t", "g"]]
    model = MixedEffectsRegressor(random="ar1(0 + t | g)").fit(X, TABLE["y"])
    correlation = model.random_covariance_["g"].to_numpy()
    np.testing.assert_allclose(np.diag(correlation), correlation[0, 0])
    assert correlation[0, 1] > 0.0
