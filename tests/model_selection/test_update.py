"""Models with another formula, other rows or parameters, against R 4.2.2 with lme4 1.1-31."""

import numpy as np
import pandas as pd
import pytest

from skmixed import BayesianMixedRegressor, MixedLinearRegressor, clmm, glmer, lmer, nlmer
from skmixed.datasets import load_sleepstudy
from skmixed.design.grammar.syntax import split_formula
from skmixed.design.grammar.updating import updated_parts
from skmixed.model_selection import refit, update
from tests.model_selection.changes import sleep_with_more


def parts_text(old, new):
    parts = updated_parts(split_formula(old), new)
    bars = [f"({term.left} | {term.name})" for term in parts.random]
    more = [*(each.text for each in parts.smooths), *(f"offset({each})" for each in parts.offsets)]
    return f"{parts.response} ~ {' + '.join([parts.fixed, *bars, *more])}"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # Of R: update(as.formula(old), as.formula(new)), but for the constant of bars.
        ("y ~ x + z + (1 | g)", ". ~ . - x", "y ~ z + (1 | g)"),
        ("y ~ x * z + (1 | g)", ". ~ . - x", "y ~ z + x:z + (1 | g)"),
        ("y ~ 0 + x + z + (1|g)", ". ~ . - x + (1 | h)", "y ~ 0 + z + (1 | g) + (1 | h)"),
        ("y ~ x - 1 + (1 | g)", ". ~ . + 1", "y ~ x + (1 | g)"),
        ("y ~ x + (1 | g)", ". ~ . - 1", "y ~ 0 + x + (1 | g)"),
        ("y ~ x + I(x^2)", "log(.) ~ . - I(x ^2)", "log(y) ~ x"),
        ("y ~ x + z", "~ w * (.) - w:z + offset(n)", "y ~ w + x + z + w:x + offset(n)"),
        ("y ~ x + z", "w ~ .:q", "w ~ x:q + z:q"),
        ("y ~ x + (1 | g)", ". ~ z", "y ~ z"),
        ("y ~ x + (1 | g) + (1 | h)", ". ~ . - (1 | h)", "y ~ x + (1 | g)"),
        # A dot in a product is the fixed part, where R multiplies the bars, too.
        ("y ~ x + z + (1 | g)", "~ .^2", "y ~ x + z + x:z + (1 | g)"),
        # Spelled by this package or by its user.
        ("y ~ x + I(x^2) + (x > 4)", "~ . - I(x ** 2)", "y ~ x + (x>4)"),
        ("y ~ s(x) + z + offset(log(n))", "~ . - s(x) - offset(log(n))", "y ~ z"),
        ("y ~ `a b` + x + (1 | g/h)", "~ . - x - (1 | g)", "y ~ `a b` + (1 | h:g)"),
    ],
)
def test_a_formula_is_updated_as_in_r(old, new, expected):
    if "(x > 4)" in old:
        pytest.importorskip("formulaic")
        old, expected = old.replace("(x > 4)", "I(x > 4)"), expected.replace("(x>4)", "I(x>4)")
    assert parts_text(old, new) == expected


def test_taking_out_what_is_not_there_names_what_is():
    with pytest.raises(ValueError, match=r"'- q' takes out .* x, \(1 \| g\)"):
        updated_parts(split_formula("y ~ x + (1 | g)"), ". ~ . - q")
    with pytest.raises(ValueError, match=r"'- \(1 \| h\)' takes out"):
        updated_parts(split_formula("y ~ x + (1 | g)"), ". ~ . - (1 | h)")


def test_an_updated_model_is_that_of_r():
    data = sleep_with_more()
    model = lmer("Reaction ~ Days + (Days | Subject)", data)
    formula = "log(.) ~ . + z - (Days | Subject) + (1 | Subject)"
    found = update(model, formula, data, reml=False)
    np.testing.assert_allclose(
        [found.intercept_, *found.coef_],
        [5.5301644902629, 0.0336691098122, -0.0100952658345],
        rtol=1e-7,
    )
    assert found.criterion_ == pytest.approx(-279.124491209, abs=1e-6)
    assert found.formula_ == "log(Reaction) ~ Days + z + (1 | Subject)"
    assert model.formula_ == "Reaction ~ Days + (Days | Subject)"


def test_only_the_criterion_changes_without_rows():
    data = load_sleepstudy()
    model = lmer("Reaction ~ Days + (Days | Subject)", data)
    again = update(model, method="ml")
    direct = lmer("Reaction ~ Days + (Days | Subject)", data, reml=False)
    assert again.criterion_ == pytest.approx(direct.criterion_, abs=1e-8)
    assert again.method == "ml"
    np.testing.assert_allclose(again.predict(data), direct.predict(data), rtol=1e-9)
    with pytest.raises(ValueError, match="a model does not keep its training data"):
        update(model, ". ~ . - Days")


def test_models_by_fit_are_updated_by_formula_and_by_parameters():
    X, y = load_sleepstudy(return_X_y=True)
    model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    found = update(model, "~ . + I(Days^2) - (1 + Days | Subject) + (1 | Subject)", X, y)
    direct = MixedLinearRegressor("(1 | Subject)", fixed="Days + I(Days^2)").fit(X, y)
    np.testing.assert_allclose(found.coef_, direct.coef_, rtol=1e-12)
    other = update(model, data=X, y=y, random="(1 | Subject)")
    assert other.criterion_ == pytest.approx(1786.4650846, abs=1e-6)  # lme4
    array = X[["Days"]].to_numpy()
    model = MixedLinearRegressor().fit(array, y, groups=X["Subject"])
    with pytest.raises(ValueError, match="X was an array, whose columns have no names"):
        update(model, "~ . - x0", array, y, groups=X["Subject"])


def test_a_dot_of_all_columns_is_written_out():
    data = sleep_with_more().drop(columns=["f", "h"])
    model = lmer("Reaction ~ . - Subject + (1 | Subject)", data)
    assert update(model, "~ . - z", data).formula_ == "Reaction ~ Days + (1 | Subject)"


def test_a_weighted_model_asks_for_its_weights():
    data = sleep_with_more().assign(w=np.linspace(1.0, 2.0, 180))
    model = lmer("Reaction ~ Days + (1 | Subject)", data, weights="w")
    with pytest.raises(ValueError, match="pass sample_weight"):
        update(model, ". ~ . - Days", data)
    found = update(model, ". ~ . + z", data, sample_weight="w")
    direct = lmer("Reaction ~ Days + z + (1 | Subject)", data, weights="w")
    np.testing.assert_allclose(found.coef_, direct.coef_, rtol=1e-12)


def test_other_kinds_are_updated_or_say_why_not():
    data = sleep_with_more().assign(slow=lambda t: (t["Reaction"] > 300) * 1)
    model = glmer("slow ~ Days + (1 | Subject)", data)
    assert update(model, "~ . + z", data, quadrature=5).quadrature == 5
    ordered = data.assign(rank=pd.cut(data["Reaction"], 3, labels=False))
    ranked = update(clmm("rank ~ Days + (1 | Subject)", ordered), "~ . + z", ordered)
    assert ranked.formula_ == "rank ~ Days + z + (1 | Subject)"
    X = data[["Days", "Subject"]]
    posterior = BayesianMixedRegressor("(1 | Subject)", n_draws=20, n_chains=1, random_state=0)
    posterior.fit(X, data["Reaction"])
    found = update(posterior, data=X, y=data["Reaction"], random="(Days | Subject)")
    assert found.formula_ == "y ~ Days + (1 + Days | Subject)"
    with pytest.raises(TypeError, match="no parameters"):
        update(model, data=data, nodes=3)
    with pytest.raises(TypeError, match="the model was fitted from a formula, which"):
        update(model, data=data, random="(Days | Subject)")
    with pytest.raises(TypeError, match="model must be a fitted mixed model, such"):
        update("model", "~ .")


def trees():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"age": np.tile(np.arange(1.0, 9.0), 10), "tree": np.arange(80) // 8})
    top = 100.0 + 10.0 * rng.normal(size=10)[data["tree"]]
    return data.assign(size=top / (1.0 + np.exp(4.0 - data["age"])) + rng.normal(size=80))


def test_a_nonlinear_model_takes_parameters_and_responses():
    data = trees()
    model = nlmer("size ~ SSlogis(age, Asym, xmid, scal) ~ Asym | tree", data)
    again = update(model, data=data, max_iter=50)
    np.testing.assert_allclose(again.coef_, model.coef_, rtol=1e-6)
    with pytest.raises(TypeError, match="nonlinear"):
        update(model, "~ .", data)
    twice = refit(model, 2.0 * data["size"], data)
    np.testing.assert_allclose(twice.coef_, model.coef_ * [2.0, 1.0, 1.0], rtol=1e-5)


def test_another_response_of_the_same_rows_is_that_of_r():
    data = load_sleepstudy()
    model = lmer("Reaction ~ Days + (Days | Subject)", data)
    found = refit(model, data["Reaction"] + 20.0 * np.cos(np.arange(180)), data)
    # Of lmer; refit of lme4 1.1-31 ends at the same coefficients and reports another criterion.
    assert found.criterion_ == pytest.approx(1785.62502147, abs=1e-6)
    np.testing.assert_allclose(
        [found.intercept_, *found.coef_], [251.6828559872, 10.4071926202], rtol=1e-7
    )
    np.testing.assert_allclose(
        found.theta_, [0.7574523206866, 0.0376110680653, 0.1826791806808], rtol=5e-4
    )
    assert model.criterion_ == pytest.approx(1743.6282720, abs=1e-6)


@pytest.mark.parametrize("weights", [None, "w"])
def test_a_refit_is_a_fit(weights):
    data = sleep_with_more().assign(w=np.linspace(1.0, 3.0, 180))
    formula = "Reaction ~ poly(Days, 2) + f + (1 | Subject) + (1 | h) + offset(Days)"
    model = lmer(formula, data, weights=weights)
    y = data["Reaction"] + 30.0 * data["z"]
    found = refit(model, y, data, sample_weight=weights and data["w"])
    direct = lmer(formula, data.assign(Reaction=y), weights=weights)
    assert found.criterion_ == pytest.approx(direct.criterion_, rel=1e-10)
    np.testing.assert_allclose(found.coef_, direct.coef_, rtol=1e-7)
    np.testing.assert_allclose(found.predict(data), direct.predict(data), rtol=1e-8)


def test_a_refit_refuses_other_rows():
    data = load_sleepstudy()
    model = lmer("Reaction ~ Days + (Days | Subject)", data)
    with pytest.raises(ValueError, match="pass X"):
        refit(model, data["Reaction"])
    with pytest.raises(ValueError, match="not the rows"):
        refit(model, data["Reaction"][:90], data.head(90))
    with pytest.raises(ValueError, match="not the rows"):
        refit(model, data["Reaction"], data.assign(Days=data["Days"] + 1.0))


def test_a_refit_of_events_is_a_fit():
    data = load_sleepstudy().assign(slow=lambda t: (t["Reaction"] > 300) * 1)
    model = glmer("slow ~ Days + (1 | Subject)", data)
    other = (data["Reaction"] > 310) * 1
    direct = glmer("slow ~ Days + (1 | Subject)", data.assign(slow=other))
    assert refit(model, other, data).criterion_ == pytest.approx(direct.criterion_, abs=1e-8)
