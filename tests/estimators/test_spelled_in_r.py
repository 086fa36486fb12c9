"""What is written in R, met where it is typed here."""

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedGeneralizedRegressor, clmm, glmer, lmer, nlmer
from skmixed.datasets import load_cbpp, load_sleepstudy
from skmixed.inference import anova, compare_models, confidence_intervals

TRIALS = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("control", "max_iter and tol"),
        ("offset", "offset\\(x\\) into the formula"),
        ("subset", "data.query"),
        ("contrasts", "C\\(x, contr.sum\\)"),
        ("ziformula", "MixedClassifier"),
        ("dispformula", "residual='var\\(f\\)' of lmer"),
    ],
)
def test_arguments_of_r_are_named_with_what_to_write(name, instead):
    data = load_sleepstudy()
    for fit in (lmer, glmer, clmm):
        refusal = f"{fit.__name__} does not accept '{name}': .*{instead}"
        with pytest.raises(TypeError, match=refusal):
            fit("Reaction ~ Days + (1 | Subject)", data, **{name: None})


def test_correlations_of_nlme_are_residual_structures():
    with pytest.raises(TypeError, match="lmer does not accept 'correlation': write residual='ar1"):
        lmer("Reaction ~ Days + (1 | Subject)", load_sleepstudy(), correlation="AR1")
    with pytest.raises(TypeError, match="nlmer does not accept 'control'"):
        nlmer("y ~ SSlogis(x, Asym, xmid, scal) ~ Asym | g", pd.DataFrame(), control=None)


@pytest.mark.parametrize(
    "family", ["binomial(link='probit')", 'binomial(link = "probit")', "Binomial('probit')"]
)
def test_a_family_may_hold_its_link(family):
    data = load_cbpp()
    expected = glmer(TRIALS, data, family="binomial", link="probit")
    found = glmer(TRIALS, data, family=family)
    assert (found.family, found.link) == ("binomial", "probit")
    np.testing.assert_array_equal(found.coef_, expected.coef_)


def test_families_of_r_by_name():
    data = load_cbpp()
    formula = "incidence ~ period + (1 | herd)"
    for family in ("Poisson", "poisson(link='log')", "poisson()"):
        assert glmer(formula, data, family=family).family == "poisson"
    positive = data.assign(incidence=data["incidence"] + 1.0)
    assert glmer(formula, positive, family="Gamma(link='log')").family == "gamma"
    with pytest.raises(ValueError, match="write lmer"):
        glmer(formula, data, family="gaussian")
    with pytest.raises(ValueError, match="another link"):
        glmer(TRIALS, data, family="binomial(link='probit')", link="cloglog")
    with pytest.raises(ValueError, match="'family' parameter"):
        glmer(formula, data, family="tweedie")
    with pytest.raises(ValueError, match="'family' parameter"):
        MixedGeneralizedRegressor(family="Poisson").fit(np.ones((3, 1)), np.ones(3))


def test_intervals_by_the_names_of_r():
    model = lmer("Reaction ~ Days + (1 | Subject)", load_sleepstudy())
    expected = confidence_intervals(model, method="wald").to_frame()
    pd.testing.assert_frame_equal(confidence_intervals(model, method="Wald").to_frame(), expected)
    settings = {"n_samples": 5, "random_state": 0}
    pd.testing.assert_frame_equal(
        confidence_intervals(model, method="boot", **settings).to_frame(),
        confidence_intervals(model, method="bootstrap", **settings).to_frame(),
    )


def test_two_models_are_compared_by_another_function():
    data = load_sleepstudy()
    small, large = (lmer(f"Reaction ~ {x} + (1 | Subject)", data) for x in ("1", "Days"))
    with pytest.raises(TypeError, match=r"compare_models\(m1, m2\)"):
        anova(small, large)
    assert len(compare_models(small, large).to_frame()) == 2


def test_one_prediction_may_plug_in_random_effects():
    """predict(m, data.frame(period, herd = "99"), type = "response", allow.new.levels = TRUE)."""
    model = glmer(TRIALS, load_cbpp())
    new = pd.DataFrame({"period": list("1234"), "herd": "99"})
    found = model.predict(new, averaging="plug-in")
    np.testing.assert_allclose(found, [0.1981, 0.0839, 0.0740, 0.0484], atol=1e-4)
    plugged = glmer(TRIALS, load_cbpp(), averaging="plug-in")
    np.testing.assert_array_equal(found, plugged.predict(new))
    np.testing.assert_array_equal(model.predict(new), plugged.predict(new, averaging="integrate"))
    mean, error = model.predict(new, averaging="plug-in", return_std=True)
    np.testing.assert_array_equal(mean, found)
    assert (error > 0.0).all()
    assert model.averaging == "integrate"
    with pytest.raises(ValueError, match="neither 'integrate' nor 'plug-in'"):
        model.predict(new, averaging="plugin")
