"""What is found is found by its name, and in one order of factors."""

import numpy as np
import pandas as pd
import pytest

from skmixed import (
    BayesianMixedRegressor,
    MixedLinearRegressor,
    clmm,
    glmer,
    lmer,
    nlmer,
)
from skmixed.datasets import load_sleepstudy
from skmixed.inference import (
    anova,
    bootstrap,
    coefficient_table,
    confidence_intervals,
    linear_hypothesis,
    marginal_means,
    profile,
    random_effects_table,
    sim,
    variance_partition,
)
from skmixed.inference.profiling import profiles

SLEEP = load_sleepstudy()
CURVED = "Reaction ~ Days + I(Days^2) + (Days | Subject)"


@pytest.fixture(scope="module")
def curved():
    return lmer(CURVED, SLEEP)


def crossed():
    """Rows of 4 firms with 12 shops each, and of 20 clerks who work anywhere."""
    rng = np.random.default_rng(8)
    firm, shop, clerk = (rng.integers(0, n, 240) for n in (4, 12, 20))
    x = rng.normal(size=240)
    effects = rng.normal(size=4)[firm] + rng.normal(size=(4, 12))[firm, shop]
    y = x + effects + rng.normal(size=20)[clerk] + rng.normal(size=240)
    return pd.DataFrame({"firm": firm, "shop": shop, "clerk": clerk, "x": x, "y": y})


def trees():
    """Seven sizes of each of six trees."""
    rng = np.random.default_rng(2)
    tree, x = np.repeat(np.arange(6), 7), np.tile(np.linspace(-3.0, 3.0, 7), 6)
    y = (10.0 + rng.normal(size=6)[tree]) / (1.0 + np.exp(-x)) + 0.1 * rng.normal(size=42)
    return pd.DataFrame({"tree": tree, "x": x, "y": y})


def test_one_order_of_factors_everywhere():
    model = lmer("y ~ x + (x | firm) + (1 | clerk) + (1 | firm:shop)", crossed())
    order = ["firm:shop", "clerk", "firm"]  # by falling number of levels, as theta
    assert list(model.n_groups_.values()) == sorted(model.n_groups_.values(), reverse=True)
    for found in (
        model.n_groups_,
        model.random_effects_,
        model.random_effects_covariance_,
        model.random_covariance_,
    ):
        assert list(found) == order
    theta = [np.sqrt(model.random_covariance_[name].iloc[0, 0]) for name in order]
    np.testing.assert_allclose(model.theta_[:3] * model.residual_variance_**0.5, theta)
    index = random_effects_table(model).to_frame().index
    assert list(index.unique("factor")) == order
    assert list(sim(model, 2, random_state=0).random_effects) == order
    assert list(variance_partition(model).to_frame().index)[1:-1] == order
    names = confidence_intervals(model, parameters="random").to_frame().index
    assert list(dict.fromkeys(name.split("|")[1] for name in names)) == order


def test_tables_of_effects_hold_levels_of_any_types():
    model = lmer("y ~ x + (1 | clerk) + (1 | firm:shop)", crossed())
    levels = random_effects_table(model).to_frame().index.get_level_values("level")
    assert isinstance(levels[0], tuple)
    assert levels[-1] == 19
    draws = sim(model, 5, random_state=0)
    assert len(draws.random_effects_table().to_frame()) == len(levels)


def test_fixed_effects_by_name(curved):
    # R: fixef(lmer(Reaction ~ Days + I(Days^2) + (Days | Subject), sleepstudy))
    expected = {"(Intercept)": 255.449374, "Days": 7.434085, "I(Days ** 2)": 0.337022}
    pd.testing.assert_series_equal(
        curved.fixed_effects_, pd.Series(expected, name="estimate"), atol=1e-5, rtol=0
    )
    table = SLEEP.assign(Again=2.0 * SLEEP["Days"])
    model = lmer("Reaction ~ Days + Again + (1 | Subject)", table)
    assert np.isnan(model.fixed_effects_["Again"])  # and 0 in `coef_`
    X, y = SLEEP[["Days", "Subject"]], SLEEP["Reaction"]
    bare = MixedLinearRegressor("(1 | Subject)", fit_intercept=False).fit(X, y)
    assert bare.fixed_effects_.to_dict() == {"Days": bare.coef_[0]}
    with pytest.raises(AttributeError, match="not fitted"):
        MixedLinearRegressor().fixed_effects_  # noqa: B018
    assert "fixed_effects_" in dir(bare)


def test_fixed_effects_of_other_models():
    X, y = load_sleepstudy(return_X_y=True)
    drawn = BayesianMixedRegressor("(1 | Subject)", n_draws=20, random_state=0).fit(X, y)
    assert drawn.fixed_effects_.to_list() == [drawn.intercept_, *drawn.coef_]
    slow = SLEEP.assign(slow=SLEEP["Reaction"] > 300, third=pd.qcut(SLEEP["Reaction"], 3))
    classes = glmer("slow ~ Days + (1 | Subject)", slow)
    assert classes.fixed_effects_.to_list() == [classes.intercept_, *classes.coef_]
    ordered = clmm("third ~ Days + (1 | Subject)", slow.assign(third=slow["third"].cat.codes))
    assert ordered.fixed_effects_.to_dict() == {"Days": ordered.coef_[0]}
    curve = nlmer("y ~ SSlogis(x, Asym, xmid, scal) ~ Asym | tree", trees())
    assert curve.fixed_effects_.to_list() == list(curve.coef_)
    assert list(curve.fixed_effects_.index) == list(curve.coef_covariance_)


def test_columns_of_tables_have_names(curved):
    table = coefficient_table(curved)
    assert table["p_value"].equals(table.to_frame()["p_value"])
    assert list(table) == list(table.to_frame().columns)
    assert "p_value" in table
    assert list(table[["estimate", "std_error"]]) == ["estimate", "std_error"]
    with pytest.raises(KeyError, match="'p' is not a column of this table, which has"):
        table["p"]
    estimates = table["estimate"]
    estimates.iloc[:] = 0.0  # a copy, so that tables stay as they are
    assert (table["estimate"] != 0.0).all()
    points = profile(curved, parameters=["sigma"], points=1)
    assert list(points["parameter"]) == ["sigma"] * 3
    means = marginal_means(curved, "Days", at={"Days": [0, 9]})
    assert "std_error" in means
    assert linear_hypothesis(curved, "Days")["df"].between(114.43, 114.44).all()
    assert list(bootstrap(curved, 2, random_state=0)) == ["estimate", "bias", "std_error"]


def test_a_summary_is_a_data_frame_too(curved):
    frame = curved.summary().to_frame()
    found = confidence_intervals(curved).to_frame()["estimate"]
    assert set(frame.index) == set(found.index)
    pd.testing.assert_series_equal(frame["estimate"], found[frame.index])
    errors = coefficient_table(curved).to_frame()["std_error"]
    pd.testing.assert_series_equal(frame["std_error"].iloc[:3], errors)
    assert frame["std_error"].iloc[3:].isna().all()
    slow = SLEEP.assign(third=pd.qcut(SLEEP["Reaction"], 3).cat.codes)
    ordered = clmm("third ~ Days + (1 | Subject)", slow).summary().to_frame()
    assert list(ordered.index) == ["0|1", "1|2", "Days", "sd_(Intercept)|Subject"]
    assert ordered["std_error"].notna().sum() == 3


def test_correlations_of_coefficients_on_request(curved):
    # R: print(summary(m), correlation = TRUE)
    text = str(curved.summary(correlations=True))
    expected = """
Correlations of coefficients:
             (Intercept)  Days
Days               -0.42
I(Days ** 2)        0.42 -0.84
"""
    assert expected in text
    assert "-0.84" in curved.summary(correlations=True)._repr_html_()
    assert "Correlations" not in str(curved.summary())
    X, y = load_sleepstudy(return_X_y=True)
    drawn = BayesianMixedRegressor("(1 | Subject)", n_draws=20, random_state=0).fit(X, y)
    lines = str(drawn.summary(correlations=True)).splitlines()
    assert lines[-3] == "Correlations of coefficients:"
    assert lines[-1].startswith("Days")


def test_sums_of_squares_of_terms(curved):
    # lmerTest 3.1-3: anova(m, type = 1), and type = 3 by either method
    first = anova(curved, 1)
    np.testing.assert_allclose(first["sum_sq"], [29894.80635893, 1079.50280354], rtol=1e-5)
    for df in ("satterthwaite", "kenward-roger"):
        third = anova(curved, df=df)
        np.testing.assert_allclose(third["sum_sq"], [4534.53526538, 1079.50280354], rtol=1e-5)
        np.testing.assert_array_equal(third["mean_sq"], third["sum_sq"])
    daily = anova(lmer("Reaction ~ C(Days) + (1 | Subject)", SLEEP))
    np.testing.assert_allclose(daily["sum_sq"], 9 * daily["mean_sq"])


def test_sums_of_squares_of_a_linear_model():
    table = crossed()
    found = anova(lmer("y ~ x + C(firm)", table), 1)
    codes = np.eye(4)[table["firm"]]
    design = np.column_stack([np.ones(len(table)), table["x"], codes[:, 1:]])
    fitted = [
        design[:, :k] @ np.linalg.lstsq(design[:, :k], table["y"], rcond=None)[0] for k in (1, 2, 5)
    ]
    expected = [np.square(fitted[k + 1] - fitted[k]).sum() for k in range(2)]
    np.testing.assert_allclose(found["sum_sq"], expected, rtol=1e-10)
    slow = SLEEP.assign(slow=SLEEP["Reaction"] > 300)
    assert "sum_sq" not in anova(glmer("slow ~ Days + (1 | Subject)", slow))
    series = lmer("Reaction ~ Days", SLEEP, residual="ar1(Days | Subject)")
    assert "sum_sq" not in anova(series)


def test_contrasts_have_their_intervals_beside_them(curved):
    # lmerTest 3.1-3: contest(m, L, joint = FALSE, confint = TRUE)
    found = linear_hypothesis(curved, [[0, 1, 0], [1, 9, 81]])
    np.testing.assert_allclose(found["lower"], [1.85014718538, 318.29225989128], rtol=1e-6)
    np.testing.assert_allclose(found["upper"], [13.0180228399, 381.0176329370], rtol=1e-6)
    narrow = linear_hypothesis(curved, "Days = 1", level=0.5).to_frame()
    assert found["lower"].iloc[0] < narrow["lower"].iloc[0] < narrow["upper"].iloc[0]
    table = coefficient_table(curved, level=0.95)
    expected = confidence_intervals(curved, parameters="fixed").to_frame()
    pd.testing.assert_frame_equal(table[["estimate", "lower", "upper"]], expected)
    assert "lower" not in coefficient_table(curved)
    for function in (
        coefficient_table,
        lambda model, level: linear_hypothesis(model, "Days", level=level),
    ):
        with pytest.raises(ValueError, match="level"):
            function(curved, level=95)


@pytest.mark.parametrize("method", ["wald", "profile", "bootstrap"])
def test_intervals_of_some_parameters(curved, method):
    settings = {"method": method, "n_samples": 20, "random_state": 0}
    every = confidence_intervals(curved, **settings).to_frame()
    for parameters in ("Days", ["sigma", "Days"], "fixed", "random"):
        chosen = confidence_intervals(curved, parameters=parameters, **settings).to_frame()
        pd.testing.assert_frame_equal(chosen, every.loc[chosen.index], rtol=1e-6)
        names = {"fixed": 3, "random": 3, "Days": 1}.get(str(parameters), 2)
        assert len(chosen) == names
    for unknown in ("days", [], ["fixed"]):
        with pytest.raises(ValueError, match="the model has"):
            confidence_intervals(curved, parameters=unknown, **settings)


def test_intervals_of_some_parameters_of_ordered_categories():
    slow = SLEEP.assign(third=pd.qcut(SLEEP["Reaction"], 3).cat.codes)
    model = clmm("third ~ Days + (1 | Subject)", slow)
    every = confidence_intervals(model).to_frame()
    chosen = confidence_intervals(model, parameters=["1|2"]).to_frame()
    pd.testing.assert_frame_equal(chosen, every.loc[["1|2"]])
    assert list(confidence_intervals(model, parameters="fixed").to_frame().index) == [
        "0|1",
        "1|2",
        "Days",
    ]


def test_a_profile_that_fails_leaves_the_others(curved, monkeypatch):
    solve = profiles.ProfileCurve.solve

    def failing(curve, target):
        if curve.constrained.component.name == "Days":
            raise FloatingPointError("a search went astray")
        return solve(curve, target)

    expected = confidence_intervals(curved, method="profile").to_frame()
    monkeypatch.setattr(profiles.ProfileCurve, "solve", failing)
    with pytest.warns(UserWarning, match="the profile of Days is incomplete") as caught:
        found = confidence_intervals(curved, method="profile").to_frame()
    assert len(caught) == 2
    assert found.loc["Days", ["lower", "upper"]].isna().all()
    pd.testing.assert_frame_equal(found.drop("Days"), expected.drop("Days"))
