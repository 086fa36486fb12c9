"""Intervals, profiles, and parts of the variance."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from skmixed import MixedLinearRegressor, lmer
from skmixed.datasets import load_sleepstudy
from skmixed.exceptions import UnidentifiedWarning
from skmixed.inference import (
    coefficient_table,
    confidence_intervals,
    icc,
    profile,
    r2,
    variance_partition,
)
from skmixed.inference.components import components_of
from skmixed.inference.profiling import constrained
from skmixed.inference.profiling.constrained import ConstrainedDeviance, deviance_at
from tests.inference.test_degrees import crossed

FORMULAS = [
    "y ~ x + z + (1 + x | g)",
    "y ~ x + z + (1 + x + z | g) + (1 | h)",
    "y ~ x + (x || g)",
    "y ~ x",
]


@pytest.fixture(scope="module")
def sleep():
    return lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())


@pytest.mark.parametrize("formula", FORMULAS)
def test_gradients_of_held_deviances(formula):
    table, weights = crossed()
    fit = lmer(formula, table, weights=weights, reml=False).fit_
    for component in components_of(fit):
        held = ConstrainedDeviance(fit, component)
        x, t = held.start + 0.02 * held.units, held.optimum + 0.01
        _, gradient, slope = held.evaluate(x, t)
        numeric = [
            (held.evaluate(x + e, t)[0] - held.evaluate(x - e, t)[0]) / 2e-5
            for e in 1e-5 * np.eye(len(x))
        ]
        np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-4)
        ends = [held.evaluate(x, t + e)[0] for e in (1e-5, -1e-5)]
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_optimum_of_a_held_deviance_is_that_of_the_fit(formula):
    table, weights = crossed()
    fit = lmer(formula, table, weights=weights, reml=False).fit_
    for component in components_of(fit):
        held = ConstrainedDeviance(fit, component)
        value, gradient, _ = held.evaluate(held.start, held.optimum)
        assert value == pytest.approx(fit.criterion, abs=1e-8)
        np.testing.assert_allclose(gradient * held.units, 0.0, atol=1e-3)
        assert held.value(held.optimum) == pytest.approx(component.estimate)


def test_profile_of_ordinary_regression_is_known():
    table, _ = crossed()
    model = lmer("y ~ x", table)
    ours = confidence_intervals(model, method="profile").to_frame()
    n, fit = 60, model.fit_.with_method("ml")
    # n log(1 + (b - b_0)^2 / (n se^2)) = q, se being the one with divisor n
    q = stats.chi2.ppf(0.95, 1)
    half = np.sqrt(n * np.expm1(q / n) * fit.beta_covariance[1, 1])
    slope = fit.beta[1]
    np.testing.assert_allclose(
        ours.loc["x", ["lower", "upper"]].astype(float), [slope - half, slope + half], rtol=1e-6
    )
    for limit in ours.loc["sigma", ["lower", "upper"]]:
        ratio = fit.sigma2 / limit**2
        assert n * (ratio - 1 - np.log(ratio)) == pytest.approx(q, rel=1e-5)


def test_limits_are_where_a_likelihood_ratio_is():
    # The profile of a variance that is dropped altogether is the ratio to the smaller model.
    table = load_sleepstudy()
    large = lmer("Reaction ~ Days + (Days || Subject)", table, reml=False)
    small = lmer("Reaction ~ Days + (1 | Subject)", table, reml=False)
    curves = profile(large, level=1 - 1e-12, points=2).to_frame()
    lowest = curves[curves["parameter"] == "sd_Days|Subject"].iloc[0]
    assert lowest["value"] == 0.0
    assert lowest["zeta"] == pytest.approx(-np.sqrt(small.criterion_ - large.criterion_))


def assert_a_refit_tells_the_same(seed):
    """At a limit of a coefficient the deviance of the model that holds it is up by the quantile."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {"f": rng.integers(0, 8, 150), "g": rng.integers(0, 7, 150), "x": rng.uniform(size=150)}
    )
    table["y"] = rng.normal(0, 0.9, 8)[table["f"]] - 0.5 * table["x"]
    table["y"] += rng.normal(0, 0.4, 7)[table["g"]] * (1 + table["x"]) + rng.normal(0, 1.2, 150)
    model = lmer("y ~ x + (x | f) + (x | g)", table, reml=False)
    limits = confidence_intervals(model, method="profile").to_frame()
    assert limits.loc[["sigma", "(Intercept)", "x"]].notna().all(axis=None)
    for limit in limits.loc["x", ["lower", "upper"]]:
        rows = table.assign(held=limit * table["x"])
        held = lmer("y ~ 1 + offset(held) + (x | f) + (x | g)", rows, reml=False)
        assert held.criterion_ - model.criterion_ == pytest.approx(
            stats.chi2.ppf(0.95, 1), abs=1e-3
        )


@pytest.mark.parametrize("seed", [13])  # a correlation is one at the estimates, not at a limit
def test_limits_of_singular_models_are_those_of_refits(seed):
    assert_a_refit_tells_the_same(seed)


@pytest.mark.study
@pytest.mark.parametrize("seed", range(50))
def test_limits_of_many_singular_models_are_those_of_refits(seed):
    assert_a_refit_tells_the_same(seed)


@pytest.mark.parametrize("error", [np.linalg.LinAlgError("no convergence"), OverflowError("huge")])
def test_one_profile_that_fails_leaves_the_others(monkeypatch, sleep, error):
    whole = confidence_intervals(sleep, method="profile").to_frame()
    evaluate = constrained.ConstrainedDeviance.evaluate

    def failing(self, x, t):
        if self.component.name == "Days" and t > self.optimum:
            raise error
        return evaluate(self, x, t)

    monkeypatch.setattr(constrained.ConstrainedDeviance, "evaluate", failing)
    with pytest.warns(UserWarning, match=r"the profile of Days is incomplete"):
        ours = confidence_intervals(sleep, method="profile").to_frame()
    assert np.isnan(ours.loc["Days", "upper"])
    assert ours.loc["Days", "lower"] == pytest.approx(whole.loc["Days", "lower"])
    pd.testing.assert_frame_equal(ours.drop(index="Days"), whole.drop(index="Days"))
    with pytest.warns(UserWarning, match=r"the profile of Days is incomplete"):
        curves = profile(sleep, points=1).to_frame()
    assert (curves["parameter"] == "Days").sum() == 2  # the lower end and the estimate


def test_numbers_that_are_none_do_not_lead_a_profile_astray(monkeypatch, sleep):
    whole = confidence_intervals(sleep, method="profile").to_frame()
    calls, evaluate = [], constrained.deviance_at

    def spoiled(*given):
        found = evaluate(*given)
        calls.append(None)
        return replace(found, value=np.nan) if len(calls) % 97 == 0 else found

    monkeypatch.setattr(constrained, "deviance_at", spoiled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ours = confidence_intervals(sleep, method="profile").to_frame()
    known = ours.notna()
    assert known.mean(axis=None) > 0.8
    np.testing.assert_allclose(ours.to_numpy()[known], whole.to_numpy()[known], rtol=1e-4)


def test_profile_intervals_reach_the_boundary():
    rng = np.random.default_rng(1)
    y = rng.normal(size=60)
    y -= np.repeat(y.reshape(10, 6).mean(axis=1), 6)
    X = pd.DataFrame({"x": rng.normal(size=60), "g": np.repeat(np.arange(10), 6).astype(str)})
    model = MixedLinearRegressor("(1 + x | g)").fit(X, y)
    assert model.is_singular_
    ours = confidence_intervals(model, method="profile").to_frame()
    intercept = ours.loc["sd_(Intercept)|g"]
    assert intercept["estimate"] == intercept["lower"] == 0.0
    assert intercept["upper"] > 0.0
    assert ours.loc["cor_x.(Intercept)|g"].isna().all()
    wald = confidence_intervals(model).to_frame()
    assert wald.loc["sd_(Intercept)|g", ["lower", "upper"]].isna().all()
    assert wald.loc[["sigma", "x"]].notna().all(axis=None)


def test_what_nothing_tells_apart_has_no_interval():
    table, _ = crossed()
    X = table[["x", "g"]].assign(row=np.arange(60))
    with pytest.warns(UnidentifiedWarning):
        model = MixedLinearRegressor("(1 | g) + (1 | row)").fit(X, table["y"])
    plain = MixedLinearRegressor("(1 | g)").fit(X[["x", "g"]], table["y"])
    for method in ["wald", "profile"]:
        ours = confidence_intervals(model, method=method).to_frame()
        assert ours.loc["sd_(Intercept)|row", ["lower", "upper"]].isna().all()
        expected = confidence_intervals(plain, method=method).to_frame()
        pd.testing.assert_frame_equal(ours.loc[expected.index], expected, rtol=1e-5)
    assert "sd_(Intercept)|row" not in set(profile(model, points=1).to_frame()["parameter"])
    for df in ["satterthwaite", "kenward-roger"]:
        pd.testing.assert_frame_equal(
            coefficient_table(model, df=df).to_frame(),
            coefficient_table(plain, df=df).to_frame(),
            rtol=1e-5,
        )


def test_profiles_do_not_depend_on_units(sleep):
    table = load_sleepstudy()
    table = table.assign(Days=table["Days"] * 1e4 + 1e6, Reaction=table["Reaction"] / 1e3)
    other = confidence_intervals(
        lmer("Reaction ~ Days + (0 + I(Days - 1e6) | Subject)", table), method="profile"
    ).to_frame()
    plain = confidence_intervals(
        lmer("Reaction ~ Days + (0 + Days | Subject)", load_sleepstudy()), method="profile"
    ).to_frame()
    np.testing.assert_allclose(other.iloc[0] * 1e7, plain.iloc[0], rtol=1e-5)
    np.testing.assert_allclose(other.loc["Days"] * 1e7, plain.loc["Days"], rtol=1e-5)
    np.testing.assert_allclose(other.loc["sigma"] * 1e3, plain.loc["sigma"], rtol=1e-6)


def test_wald_intervals_of_variances_are_those_of_the_curvature():
    # Of a balanced one-way design: log sd of the residual has variance 1 / (2 (n - g)).
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(8), 5)
    y = 2.0 * rng.normal(size=8)[g] + rng.normal(size=40)
    model = MixedLinearRegressor("(1 | g)").fit(pd.DataFrame({"g": g.astype(str)}), y)
    ours = confidence_intervals(model).to_frame().loc["sigma"]
    half = stats.norm.ppf(0.975) / np.sqrt(2 * 32)
    np.testing.assert_allclose(
        ours[["lower", "upper"]].astype(float), ours["estimate"] * np.exp([-half, half]), rtol=1e-6
    )


def test_intervals_widen_with_the_level(sleep):
    for method in ["wald", "profile"]:
        tables = [
            confidence_intervals(sleep, method=method, level=level).to_frame()
            for level in (0.8, 0.99)
        ]
        assert (tables[1]["lower"] < tables[0]["lower"]).all()
        assert (tables[1]["upper"] > tables[0]["upper"]).all()


def test_profile_curves_rise(sleep):
    curves = profile(sleep, points=2).to_frame()
    for name, curve in curves.groupby("parameter"):
        assert (np.diff(curve["value"]) > 0).all(), name
        assert (np.diff(curve["zeta"]) > 0).all(), name
        assert 0.0 in curve["zeta"].to_numpy()


@pytest.mark.parametrize(("of_y", "of_x"), [(1e-12, 1.0), (1e14, 1.0), (1e-6, 1e6), (1.0, 1e-6)])
@pytest.mark.parametrize("noise", [False, True], ids=["slopes", "no variance"])
def test_profiles_take_as_many_steps_in_any_unit(monkeypatch, of_y, of_x, noise):
    table = load_sleepstudy()
    if noise:
        table["Reaction"] = np.random.default_rng(0).permutation(table["Reaction"])
    steps = []

    def counted(*given):
        steps[-1] += 1
        return deviance_at(*given)

    monkeypatch.setattr(constrained, "deviance_at", counted)
    frames = []
    for y, x in [(1.0, 1.0), (of_y, of_x)]:
        rows = table.assign(Reaction=y * table["Reaction"], Days=x * table["Days"])
        model = lmer("Reaction ~ Days + (Days || Subject)", rows)
        steps.append(0)
        frames.append(confidence_intervals(model, method="profile").to_frame())
        frames[-1][frames[-1].index.str.contains("Days")] *= x
        frames[-1] /= y
    np.testing.assert_allclose(frames[1], frames[0], rtol=1e-8, atol=1e-8)
    assert steps[1] <= 1.5 * steps[0]  # rounding may lead a search another way


def test_a_shared_variance_is_one_parameter():
    table, _ = crossed()
    X = table[["x", "g"]]
    model = MixedLinearRegressor("(1 + x | g)", covariance="identity").fit(X, table["y"])
    for method in ["wald", "profile", "bootstrap"]:
        how = {"n_samples": 100, "random_state": 0} if method == "bootstrap" else {}
        ours = confidence_intervals(model, method=method, **how).to_frame()
        assert list(ours.index) == ["sd_(Intercept),x|g", "sigma", "(Intercept)", "x"]
        assert (ours["lower"] < ours["estimate"]).all()


def test_bad_settings_are_explained(sleep):
    with pytest.raises(ValueError, match="method='exact' is not one of 'wald', 'profile'"):
        confidence_intervals(sleep, method="exact")
    for function in [confidence_intervals, profile]:
        with pytest.raises(ValueError, match="not a probability"):
            function(sleep, level=95)
    with pytest.raises(ValueError, match="points=0"):
        profile(sleep, points=0)


def test_parts_add_up(sleep):
    parts = variance_partition(sleep).to_frame()
    explained = r2(sleep)
    assert parts["share"].sum() == pytest.approx(1.0)
    assert explained.marginal == pytest.approx(parts.loc["fixed", "share"])
    assert explained.conditional == pytest.approx(1 - parts.loc["residual", "share"])
    assert "averaged over rows" in str(icc(sleep))


@pytest.mark.parametrize("name", ["fixed", "residual", "all factors"])
def test_factors_may_be_called_as_parts_are(sleep, name):
    table = load_sleepstudy().rename(columns={"Subject": name})
    model = lmer(f"Reaction ~ Days + (Days | `{name}`)", table)
    for function in [variance_partition, icc]:
        wanted, found = (function(fitted).to_frame() for fitted in (sleep, model))
        assert list(found.index) == [name if part == "Subject" else part for part in wanted.index]
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert r2(model).marginal == pytest.approx(r2(sleep).marginal, rel=1e-12)


def test_parts_of_models_without_groups():
    table, _ = crossed()
    model = lmer("y ~ x", table)
    explained = r2(model)
    assert explained.marginal == explained.conditional
    with pytest.raises(ValueError, match="no random terms"):
        icc(model)
    constant = MixedLinearRegressor().fit(np.ones((4, 1)), np.ones(4))
    assert np.isnan(r2(constant).marginal)


def test_offsets_of_columns_do_not_matter(sleep):
    table = load_sleepstudy()
    table["Days"] += 1e5
    shifted = lmer("Reaction ~ Days + (Days | Subject)", table)
    assert r2(shifted).marginal == pytest.approx(r2(sleep).marginal, rel=1e-6)


@pytest.mark.parametrize(
    "result",
    [variance_partition, icc, r2, confidence_intervals, lambda m: profile(m, points=1)],
    ids=["partition", "icc", "r2", "intervals", "profile"],
)
def test_results_print_and_show(result, sleep):
    shown = result(sleep)
    assert str(shown) == str(shown).rstrip()
    assert "<table" in shown._repr_html_()
    frame = shown.to_frame()
    frame.iloc[0, 0] = "changed" if isinstance(frame.iloc[0, 0], str) else np.nan
    assert shown.to_frame().iloc[0, 0] != frame.iloc[0, 0]


def test_deviations_within_one_error_of_zero_have_no_wald_limits():
    rng = np.random.default_rng(4)
    rng.normal(size=56)
    data = pd.DataFrame({"g": np.repeat(np.arange(8), 6)})
    data["y"] = rng.normal(size=48) + 0.3 * rng.normal(size=8)[data["g"]]
    model = lmer("y ~ 1 + (1 | g)", data)
    table = confidence_intervals(model)
    row = table.to_frame().loc["sd_(Intercept)|g"]
    assert 0.0 < row["estimate"] < 0.2
    assert row[["lower", "upper"]].isna().all()
    assert "No Wald limits for sd_(Intercept)|g: zero is within one standard error" in str(table)
    profile = confidence_intervals(model, method="profile").to_frame().loc["sd_(Intercept)|g"]
    assert profile["lower"] == 0.0
    assert profile["upper"] < 1.0
    clear = confidence_intervals(lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy()))
    assert clear.to_frame().notna().all(axis=None)
    assert "No Wald limits" not in str(clear)
