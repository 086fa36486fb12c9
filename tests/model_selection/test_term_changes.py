"""Terms left out and added, against R 4.2.2 with lme4 1.1-31 and lmerTest 3.1-3."""

import numpy as np
import pytest

from skmixed import BayesianMixedRegressor, MixedLinearRegressor, clmm, glmer, lmer
from skmixed.model_selection import add1, drop1, step, update
from tests.model_selection.changes import sleep_with_more


@pytest.fixture(scope="module")
def data():
    return sleep_with_more()


@pytest.fixture(scope="module")
def model(data):
    return lmer("Reaction ~ Days*f + I(Days^2) + (Days | Subject)", data)


# drop1(m), drop1(m, ddf = "Kenward-Roger"): Sum Sq, NumDF, DenDF, F, Pr(>F).
BY_F = {
    "satterthwaite": [
        [1079.502803538, 1, 139.156616664, 1.615929788280, 0.205780994171],
        [156.200504399, 2, 148.375087224, 0.116909862196, 0.889747253397],
    ],
    "kenward-roger": [
        [1079.502803538, 1, 139.002932404, 1.61592978828, 0.205783334395],
        [154.034217327, 2, 148.300093345, 0.11528848252, 0.891188824205],
    ],
}


@pytest.mark.parametrize("df", list(BY_F))
def test_dropped_terms_have_the_f_tests_of_lmertest(model, df):
    frame = drop1(model, df=df).to_frame()
    assert frame.index.tolist() == ["I(Days ** 2)", "Days:f"]
    columns = ["sum_sq", "num_df", "df", "statistic", "p_value"]
    np.testing.assert_allclose(frame[columns], BY_F[df], rtol=3e-5)
    np.testing.assert_allclose(frame["sum_sq"], frame["mean_sq"] * frame["num_df"])


def test_dropped_terms_have_the_likelihood_ratios_of_lme4(model):
    frame = drop1(model, test="lrt").to_frame()
    np.testing.assert_allclose(
        frame["aic"], [1771.79708172, 1771.46049995, 1768.03782811], rtol=1e-9
    )
    np.testing.assert_allclose(
        frame[["statistic", "p_value"]].iloc[1:],
        [[1.663418229980, 0.197142432604], [0.240746389814, 0.886589504282]],
        rtol=1e-5,
    )
    assert frame["df"].tolist()[1:] == [1.0, 2.0]


def test_generalized_models_have_those_of_glmer(data):
    rows = data.assign(slow=(data["Reaction"] > 300) * 1)
    model = glmer("slow ~ Days + f + (1 | Subject)", rows)
    expected = {"<none>": 184.291969043, "Days": 242.573607418, "f": 180.326206989}
    for frame in (
        drop1(model, X=rows).to_frame(),
        drop1(model, X=rows, y=rows["slow"], test="lrt").to_frame(),
    ):
        np.testing.assert_allclose(frame["aic"], list(expected.values()), rtol=1e-6)
        assert frame.index.tolist() == list(expected)
    with pytest.raises(ValueError, match="no F test"):
        drop1(model, X=rows, test="f")
    with pytest.raises(ValueError, match="pass X, the data frame"):
        drop1(model)


@pytest.mark.parametrize(
    "fixed",
    [
        "f * h2",
        "0 + f + h2",  # without f, h2 has a column for every level
        "0 + f * Days",
        "Days * f + h2",
        "poly(Days, 2) * f",
        "C(f, contr.sum) * h2",
        "f:h2 + Days",
        "0 + f:h2 + Days",
    ],
)
def test_a_term_less_is_the_fit_without_it(data, fixed):
    rows = data.assign(h2=np.array(["p", "q"])[np.arange(180) % 2])
    model = lmer(f"Reaction ~ {fixed} + (1 | Subject)", rows)
    frame = drop1(model, test="lrt").to_frame()
    for name in frame.index[1:]:
        without = update(model, f". ~ . - {name}", rows, method="ml")
        assert -2.0 * frame["log_likelihood"][name] == pytest.approx(without.criterion_, abs=1e-6)
        assert frame["n_parameters"][name] == without.fit_.n_parameters


def test_columns_that_would_change_are_refused_in_words(data):
    rows = data.assign(h2=np.array(["p", "q"])[np.arange(180) % 2])
    model = lmer("Reaction ~ f + f:Days + h2:Days + (1 | Subject)", rows)
    with pytest.raises(ValueError, match="without f:Days the columns of the other"):
        drop1(model, ["f:Days"], test="lrt")


def test_models_without_a_formula_have_a_term_a_column(data):
    X = data[["Days", "z", "Subject"]]
    model = MixedLinearRegressor("(1 | Subject)").fit(X, data["Reaction"])
    named = lmer("Reaction ~ Days + z + (1 | Subject)", data)
    np.testing.assert_allclose(drop1(model).to_frame(), drop1(named).to_frame(), rtol=1e-8)
    assert step(model).formula == "y ~ Days + (1 | Subject)"


def test_what_can_be_left_out_is_said(model):
    assert drop1(model, "~ I(Days^2)").to_frame().index.tolist() == ["I(Days ** 2)"]
    with pytest.raises(ValueError, match="'f' is contained in another term, which"):
        drop1(model, ["f"])
    with pytest.raises(ValueError, match=r"\['q'\] are not terms of the model, which"):
        drop1(model, ["q"])
    with pytest.raises(ValueError, match="is not one of"):
        drop1(model, test="Chisq")


def test_added_terms_have_the_figures_of_the_larger_model(data, model):
    frame = add1(model, "~ . + z", X=data).to_frame()
    # drop1(update(m, . ~ . + z), "z") of lmerTest
    np.testing.assert_allclose(
        frame[["sum_sq", "df", "statistic", "p_value"]],
        [[795.53, 141.62, 1.1917, 0.2768]],
        rtol=2e-4,
    )
    frame = add1(model, ["z"], X=data, test="lrt").to_frame()
    # anova(m, update(m, . ~ . + z)) of lme4
    assert frame.loc["z", "statistic"] == pytest.approx(1.2399, abs=5e-5)
    assert frame.loc["z", "p_value"] == pytest.approx(0.2655, abs=5e-5)


def test_interactions_wait_for_the_terms_within_them(data):
    model = lmer("Reaction ~ Days + (1 | Subject)", data)
    assert add1(model, "~ . + Days:f + f + z:f", X=data).to_frame().index.tolist() == ["f"]


def test_random_terms_are_added_by_likelihood_ratios(data):
    model = lmer("Reaction ~ Days + (1 | Subject)", data)
    frame = add1(model, ["(0 + Days | Subject)"], X=data).to_frame()
    assert frame["statistic"].iloc[1] == pytest.approx(42.7954, abs=1e-3)  # lme4, refit = FALSE
    assert frame["p_boundary"].iloc[1] == pytest.approx(frame["p_value"].iloc[1] / 2.0)
    with pytest.raises(ValueError, match="one kind at a time"):
        add1(model, ["z", "(0 + Days | Subject)"], X=data)


def test_missing_values_of_a_further_column_are_an_error(data):
    rows = data.assign(z=data["z"].mask(data.index == 3))
    model = lmer("Reaction ~ Days + (1 | Subject)", data)
    with pytest.raises(ValueError, match="missing values"):
        add1(model, ["z"], X=rows)
    with pytest.raises(ValueError, match="pass X"):
        add1(model, ["z"])
    with pytest.raises(ValueError, match="has no term"):
        add1(model, ["Days"], X=data)


def test_other_kinds_work_or_say_why_not(data):
    ranked = data.assign(rank=(data["Reaction"] // 80).astype(int))
    model = clmm("rank ~ Days + (1 | Subject)", ranked)
    assert drop1(model, X=ranked).to_frame().index.tolist() == ["<none>", "Days"]
    correlated = lmer("Reaction ~ Days + z", data, residual="ar1(Days | Subject)")
    assert step(correlated).formula == "Reaction ~ Days"
    penalised = lmer("Reaction ~ Days + (1 | Subject)", data, prior="wishart")
    with pytest.raises(ValueError, match="prior"):
        drop1(penalised)
    posterior = BayesianMixedRegressor("(1 | Subject)", n_draws=20, n_chains=1, random_state=0)
    posterior.fit(data[["Days", "Subject"]], data["Reaction"])
    for function in (drop1, step, lambda model: add1(model, "~ . + z", X=data)):
        with pytest.raises(TypeError, match="has a posterior"):
            function(posterior)


# step(m) of lmerTest for Reaction ~ Days*f + I(Days^2) + z + (Days | Subject) + (1 | h):
# Eliminated, Sum Sq, DenDF, F and Pr(>F).
FIXED = {
    "Days:f": [1, 163.4816505, 147.3731737, 0.1224520595, 0.884838243],
    "f": [2, 152.5810077, 141.0432112, 0.1156831031, 0.8908418862],
    "z": [3, 792.5306087, 145.5200048, 1.21668133, 0.2718337218],
    "I(Days ** 2)": [4, 1079.5028035, 143.0001202, 1.6557522602, 0.2002569557],
    "Days": [0, 30030.9390201, 16.9999837, 45.8529615559, 3.263824470e-06],
}
# step(m, ddf = "Kenward-Roger", keep = "z").
KEPT = {
    "Days:f": [1, 161.1987922, 147.2840497, 0.1207421384, 0.8863500969],
    "f": [2, 152.37164, 141.0044095, 0.1155243657, 0.890983099],
    "I(Days ** 2)": [3, 1125.9443913, 142.0024311, 1.7285332636, 0.1907176952],
    "Days": [0, 30172.0565642, 16.989928, 46.0858344187, 3.170855614e-06],
    "z": [0, 742.8308198, 146.5392424, 1.1346252812, 0.2885428568],
}


@pytest.mark.parametrize(
    ("expected", "settings"),
    [(FIXED, {}), (KEPT, {"df": "kenward-roger", "keep": ["z"]})],
)
def test_steps_are_those_of_lmertest(data, expected, settings):
    model = lmer("Reaction ~ Days*f + I(Days^2) + z + (Days | Subject) + (1 | h)", data)
    steps = step(model, X=data, **settings)
    assert steps.random.index.tolist() == ["<none>", "(1 | h)", "Days in (Days | Subject)"]
    assert steps.random["step"].tolist()[1:] == [1.0, 0.0]
    np.testing.assert_allclose(
        steps.random["log_likelihood"], [-861.0685872, -861.0685872, -881.2628096], rtol=1e-8
    )
    assert steps.random["p_value"].iloc[2] == pytest.approx(1.697307897e-09, rel=1e-4)
    fixed = steps.fixed.loc[list(expected), ["step", "sum_sq", "df", "statistic", "p_value"]]
    np.testing.assert_allclose(fixed, list(expected.values()), rtol=2e-4)
    kept = [name for name in expected if expected[name][0] == 0]
    assert set(steps.model.design_.fixed_design.terms) == set(kept)
    assert steps.formula == steps.model.formula_


def test_an_ordinary_linear_model_may_be_left(data):
    steps = step(lmer("z ~ f + Days + (1 | Subject)", data))
    # step(m) of lmerTest: the lm that is left has F tests of its own.
    assert steps.random["step"].tolist()[1:] == [1.0]
    np.testing.assert_allclose(
        steps.fixed[["step", "statistic", "p_value"]],
        [[1, 1.875371044e-03, 0.9981264063], [2, 3.342158463e-05, 0.9953938170]],
        rtol=1e-6,
    )
    assert steps.formula == "z ~ 1"
    with pytest.raises(ValueError, match="pass X to step"):
        _ = steps.model


def test_steps_go_forward_and_both_ways(data):
    scope = "~ . + Days * f + z + (0 + Days | Subject)"
    begin = lmer("Reaction ~ 1 + (1 | Subject)", data)
    forward = step(begin, direction="forward", scope=scope, X=data)
    assert forward.formula == "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)"
    assert forward.model.formula_ == forward.formula
    both = step(lmer("Reaction ~ z + (1 | Subject)", data), direction="both", scope=scope, X=data)
    assert both.formula == forward.formula
    assert both.fixed["change"].tolist()[:2] == ["dropped", "added"]
    with pytest.raises(ValueError, match="direction='forward' requires the terms"):
        step(begin, direction="forward")
    with pytest.raises(ValueError, match="pass X"):
        step(begin, direction="both", scope=scope)
    with pytest.raises(ValueError, match="is not 'backward'"):
        step(begin, direction="back")


def test_steps_print_what_became_of_every_term(data):
    steps = step(lmer("Reaction ~ Days + z + (1 | Subject)", data))
    assert "dropped" in str(steps)
    assert steps.to_frame()["part"].tolist() == ["random", "random", "fixed", "fixed"]
