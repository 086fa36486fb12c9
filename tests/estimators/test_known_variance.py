"""Known residual variances: meta-analyses as metafor 3.8-1 fits them, and dense algebra."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skmixed import MixedLinearRegressor, lmer
from skmixed.datasets import load_sleepstudy
from skmixed.inference import (
    bootstrap,
    coefficient_table,
    compare_models,
    confidence_intervals,
    linear_hypothesis,
    ranova,
    robust_covariance,
    sim,
    smooth_table,
)
from tests.inference.test_robust import classes
from tests.oracle import levels_to_columns

# Log risk ratios of tuberculosis with and without BCG vaccine (Colditz et al. 1994,
# doi:10.1001/jama.1994.03510330076038), with escalc(measure = "RR") of metafor: yi, vi, absolute
# latitude and year.
TRIALS = pd.DataFrame(
    [
        (-0.8893113339202, 0.32558476500396, 44, 1948),
        (-1.5853886572014, 0.19458112139814, 55, 1949),
        (-1.3480731482997, 0.41536796536797, 42, 1960),
        (-1.4415511900213, 0.02001003190225, 52, 1977),
        (-0.2175473222113, 0.05121017216963, 13, 1973),
        (-0.7861155858189, 0.00690561845591, 44, 1953),
        (-1.6208982235984, 0.22301724757232, 19, 1973),
        (0.0119523335238, 0.00396157929782, 13, 1980),
        (-0.4694176487381, 0.05643421046325, 27, 1968),
        (-1.3713448034728, 0.07302479361303, 42, 1961),
        (-0.3393588283384, 0.01241221397156, 18, 1974),
        (0.4459134005714, 0.53250584520015, 33, 1969),
        (-0.0173139482169, 0.07140465968399, 33, 1976),
    ],
    columns=["y", "v", "latitude", "year"],
).assign(trial=range(13))
TRIALS["w"] = 1.0 / TRIALS["v"]
# rma(yi, vi, method, control = list(threshold = 1e-14)): tau2, b, se and logLik. Of REML metafor
# adds log|X'X| / 2 to the likelihood.
RMA = {
    "REML": (0.313243258136, -0.714532342158, 0.179781516105, -12.202371415494 - np.log(13) / 2),
    "ML": (0.280028137269, -0.711199135474, 0.171896808777, -12.665076348277),
}
# rma(yi, vi, mods = ~ ablat + year, method): tau2, b, se.
REGRESSION = {
    "REML": (
        0.11078469694691,
        [-3.54535301985948, -0.02801132944423, 0.00190748044747],
        [29.09562223259726, 0.01023394323100, 0.01468368589202],
    ),
    "ML": (
        0.02687319931410,
        [6.61092417493633, -0.03085142265981, -0.00319006208008],
        [18.19132589866824, 0.00628705770644, 0.00917980703569],
    ),
}
# rma.mv(y ~ x + z, 1/w, random = ~ 1 | school/room, method, control = list(rel.tol = 1e-12)) of
# the classes: sigma2 of schools and rooms, b, se, and of ML logLik; and of REML coef_test with
# vcovCR(cluster = school, type = "CR2") of clubSandwich 0.5.8: SE and df_Satt.
MULTILEVEL = {
    "REML": (
        [0.203264510608, 0.451252818322],
        [0.904304900710, 0.440728915194, -0.863916001018],
        [0.278961320575, 0.117933046053, 0.482358336971],
    ),
    "ML": (
        [0.0859068076814, 0.4575047991068],
        [0.884177608003, 0.445420347084, -0.765137864784],
        [0.249476673342, 0.116867844263, 0.426198099965],
    ),
}
MULTILEVEL_LOG_LIKELIHOOD, MULTILEVEL_AIC = -130.606927056, 271.213854112
MULTILEVEL_CR2 = (
    [0.226557787018, 0.125133475079, 0.594162262158],
    [6.42335221807, 7.25994666045, 5.19491327412],
)


def meta(formula, **params):
    return lmer(formula, TRIALS, weights="w", residual_variance=1.0, **params)


def figures(model):
    between = [float(each.iloc[0, 0]) for each in model.random_covariance_.values()]
    coefficients = np.append(model.intercept_, model.coef_)
    return between, coefficients, np.sqrt(np.diag(model.coef_covariance_))


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("solver", ["auto", "em"])
def test_meta_analysis_as_metafor(method, solver):
    model = meta("y ~ 1 + (1 | trial)", reml=method == "REML", solver=solver)
    tau2, b, se, log_likelihood = RMA[method]
    (between,), (mean,), (error,) = figures(model)
    assert_allclose([between, mean, error], [tau2, b, se], rtol=1e-6)
    assert model.log_likelihood_ == pytest.approx(log_likelihood, abs=1e-9)
    assert model.residual_variance_ == pytest.approx(1.0, rel=1e-15)
    assert not model.is_singular_
    (between,), *rest = figures(meta("y ~ latitude + year + (1 | trial)", reml=method == "REML"))
    tau2, *wanted = REGRESSION[method]
    assert_allclose(between, tau2, rtol=1e-5)
    assert_allclose(rest, wanted, rtol=1e-5)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_several_levels_as_metafor(method):
    data = classes()
    formula = "y ~ x + z + (1 | school/room)"
    model = lmer(formula, data, weights="w", residual_variance=1.0, reml=method == "REML")
    variances, b, se = MULTILEVEL[method]
    found, *rest = figures(model)
    assert_allclose(sorted(found), sorted(variances), rtol=1e-5)
    assert_allclose(rest, [b, se], rtol=1e-6)
    if method == "ML":
        assert model.log_likelihood_ == pytest.approx(MULTILEVEL_LOG_LIKELIHOOD, abs=1e-8)
        assert model.aic_ == pytest.approx(MULTILEVEL_AIC, abs=1e-8)
        return
    robust = robust_covariance(model, data, data["y"], data["w"])
    table = coefficient_table(model, covariance=robust).to_frame()
    assert_allclose(table[["std_error", "df"]].T, MULTILEVEL_CR2, rtol=1e-5)


def test_the_table_is_metafors_with_normal_tests():
    # rma(yi, vi): zval -3.9744, ci.lb -1.0669, ci.ub -0.3622
    model = meta("y ~ 1 + (1 | trial)")
    row = coefficient_table(model, df="normal", level=0.95).to_frame().iloc[0]
    assert_allclose(row[["statistic", "lower", "upper"]], [-3.9744, -1.0669, -0.3622], atol=6e-5)
    limits = confidence_intervals(model).to_frame().loc["sd_(Intercept)|trial"]
    width = np.log(limits["upper"] / limits["lower"]) / (2.0 * stats.norm.ppf(0.975))
    X, y = np.ones((13, 1)), TRIALS["y"].to_numpy()
    low, middle, high = (
        dense_criterion(X, y, np.diag(TRIALS["v"] + model.theta_[0] ** 2 * np.exp(2 * h)), True)
        for h in (-1e-3, 0.0, 1e-3)
    )
    assert width == pytest.approx(np.sqrt(2e-6 / (low - 2 * middle + high)), rel=1e-5)
    assert "sigma" not in confidence_intervals(model).to_frame().index


def test_without_random_effects_it_is_the_fixed_effect_model():
    # rma(yi, vi, method = "FE"): -0.430284 (se 0.0405), which is the weighted mean
    model = meta("y ~ 1")
    total = TRIALS["w"].sum()
    assert model.intercept_ == pytest.approx((TRIALS["w"] * TRIALS["y"]).sum() / total, rel=1e-12)
    row = coefficient_table(model).to_frame().iloc[0]
    assert row["std_error"] == pytest.approx(total**-0.5, rel=1e-12)
    assert np.isinf(row["df"])
    table = compare_models(model, meta("y ~ latitude")).to_frame()
    slope = coefficient_table(meta("y ~ latitude")).to_frame().loc["latitude", "statistic"]
    assert table["statistic"].iloc[1] == pytest.approx(slope**2, rel=1e-9)


# --- dense algebra --------------------------------------------------------------------------------


def dense_criterion(X, y, V, reml):
    inverse = np.linalg.inv(V)
    information = X.T @ inverse @ X
    beta = np.linalg.solve(information, X.T @ inverse @ y)
    residual = y - X @ beta
    value = np.linalg.slogdet(V)[1] + residual @ inverse @ residual
    if reml:
        value += np.linalg.slogdet(information)[1]
    return value + (len(y) - reml * X.shape[1]) * np.log(2 * np.pi)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("formula", ["(x | school)", "(1 | school) + (1 | wave)", "(x || room)"])
def test_the_criterion_and_its_optimum(formula, reml):
    data = classes()
    data["wave"] = np.arange(len(data)) % 5
    known = 1.3
    model = lmer(f"y ~ x + {formula}", data, weights="w", residual_variance=known, reml=reml)
    X = np.column_stack([np.ones(len(data)), data["x"]])
    V = np.diag(known / data["w"])
    for name, omega in model.random_covariance_.items():
        codes = data[name].to_numpy()
        Z = levels_to_columns(codes, X[:, : len(omega)], codes.max() + 1)
        V += Z @ np.kron(np.eye(codes.max() + 1), omega) @ Z.T
    wanted = dense_criterion(X, data["y"].to_numpy(), V, reml)
    assert model.criterion_ == pytest.approx(wanted, abs=1e-9)
    fit, theta = model.fit_, model.fit_.theta
    rng = np.random.default_rng(0)
    for size in (1e-3, 0.05, 0.5, 2.0):
        moved = [fit.criterion_at(theta + size * rng.normal(size=len(theta))) for _ in range(8)]
        assert min(moved) >= fit.criterion - 1e-9
    assert model.converged_


@pytest.mark.parametrize("weighting", ["precision", "frequency"])
def test_what_weights_mean(weighting):
    data = classes()
    X, y = data[["x", "z", "school"]], data["y"]
    counts = 1.0 + data.index.to_numpy() % 3

    def fitted(variance, X, y, weights):
        model = MixedLinearRegressor(
            "(x | school)", weighting=weighting, residual_variance=variance
        )
        return model.fit(X, y, weights)

    one = fitted(0.8, X, y, counts)
    if weighting == "frequency":
        places = np.repeat(data.index, counts.astype(int))
        other = fitted(0.8, X.loc[places], y.loc[places], None)
    else:
        other = fitted(0.4, X, y, counts / 2.0)
    assert one.criterion_ == pytest.approx(other.criterion_, abs=1e-9)
    assert_allclose(one.coef_covariance_, other.coef_covariance_, rtol=1e-6, atol=1e-12)
    scaled = fitted(0.8 * 1e6, X, 1e3 * y, counts)
    assert_allclose(scaled.coef_, 1e3 * one.coef_, rtol=1e-6)


def test_equal_variances_and_one_estimate_a_group_are_told_apart():
    rng = np.random.default_rng(4)
    y = rng.normal(0.0, 2.0, 30)
    X = pd.DataFrame({"g": np.arange(30)})
    model = MixedLinearRegressor("(1 | g)", residual_variance=1.0).fit(X, y)
    assert model.random_covariance_["g"].iloc[0, 0] == pytest.approx(y.var(ddof=1) - 1.0, rel=1e-8)
    shrunk = model.intercept_ + (1 - 1 / y.var(ddof=1)) * (y - y.mean())
    assert_allclose(model.predict(X), shrunk, rtol=1e-7)
    small = MixedLinearRegressor("(1 | g)", residual_variance=9.0).fit(X.assign(x=y**2), y)
    assert small.is_singular_
    assert np.isinf(coefficient_table(small).to_frame()["df"]).all()
    both = linear_hypothesis(small, np.eye(2))
    assert both.p_value == pytest.approx(stats.chi2.sf(2 * both.statistic, 2), rel=1e-12)
    assert small.random_covariance_["g"].iloc[0, 0] == 0.0


def test_a_response_without_a_rest_has_its_errors():
    X = pd.DataFrame({"x": np.arange(6.0), "g": [0, 0, 1, 1, 2, 2]})
    model = MixedLinearRegressor("(1 | g)", residual_variance=2.0).fit(X, 1.0 + X["x"])
    assert_allclose(model.coef_, [1.0], rtol=1e-9)
    assert model.coef_covariance_.loc["x", "x"] == pytest.approx(2.0 / 17.5, rel=1e-9)


# --- what else a model does -----------------------------------------------------------------------


def test_bootstraps_and_draws_know_it():
    data = classes()
    model = lmer("y ~ x + (1 | school)", data, weights="w", residual_variance=1.0)
    found = bootstrap(model, 400, random_state=0).replicates
    assert list(found) == ["(Intercept)", "x", "sd_(Intercept)|school"]
    errors = coefficient_table(model).to_frame()["std_error"]
    assert_allclose(found[["(Intercept)", "x"]].std(), errors, rtol=0.12)
    draws = sim(model, 300, random_state=0)
    assert_allclose(draws.sigma, 1.0)
    slower = lmer("y ~ x + (1 | school) + (1 | region)", data, weights="w", residual_variance=1.0)
    assert bootstrap(slower, 3, random_state=0).replicates.notna().all(axis=None)


def test_profiles_hold_it():
    model = meta("y ~ 1 + (1 | trial)", reml=False)
    table = confidence_intervals(model, method="profile").to_frame()
    assert list(table.index) == ["sd_(Intercept)|trial", "(Intercept)"]
    low, high = table.loc["sd_(Intercept)|trial", ["lower", "upper"]]
    X, y = np.ones((13, 1)), TRIALS["y"].to_numpy()
    for end in (low, high):
        V = np.diag(TRIALS["v"] + end**2)
        rise = dense_criterion(X, y, V, False) - model.criterion_
        assert rise == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-6)


def test_tests_and_comparisons_know_it():
    model = meta("y ~ latitude + (1 | trial)")
    for df in ("satterthwaite", "kenward-roger", "residual"):
        row = coefficient_table(model, df=df).to_frame().loc["latitude"]
        assert 3 < row["df"] < 100
    assert linear_hypothesis(model, "latitude = 0", df="kenward-roger").num_df == 1
    table = ranova(model).to_frame()
    without = meta("y ~ latitude").fit_.criterion - model.criterion_
    assert table["statistic"].iloc[1] == pytest.approx(without, abs=1e-8)
    free = lmer("y ~ latitude + (1 | trial)", TRIALS.assign(trial=TRIALS.trial // 2), weights="w")
    held = lmer(
        "y ~ latitude + (1 | trial)",
        TRIALS.assign(trial=TRIALS.trial // 2),
        weights="w",
        residual_variance=1.0,
    )
    compared = compare_models(held, free).to_frame()
    assert compared["n_parameters"].tolist() == [3, 4]


def test_a_curve_is_tested_by_chi_squared():
    data = classes()
    known = lmer("y ~ s(x) + (1 | school)", data, residual_variance=1.0)
    row = smooth_table(known).to_frame().iloc[0]
    assert row["p_value"] == pytest.approx(stats.chi2.sf(row["statistic"], row["ref_df"]))


def test_further_rows_predictions_and_groups():
    X, y = load_sleepstudy(return_X_y=True)
    settings = {"random": "(1 + Days | Subject)", "residual_variance": 650.0}
    whole = MixedLinearRegressor(**settings).fit(X, y)
    parts = MixedLinearRegressor(**settings)
    for part in (slice(0, 70), slice(70, None)):
        parts.partial_fit(X.iloc[part], y.iloc[part])
    assert_allclose(parts.theta_, whole.theta_, rtol=1e-8)
    assert whole.residual_variance_ == pytest.approx(650.0, rel=1e-14)
    mean, error = whole.predict(X.head(3), return_std=True)
    assert np.isfinite(mean).all()
    assert (error > 0).all()
    assert whole.predict_interval(X.head(3)).shape == (3, 2)
    assert whole.loo_predict(X, y).shape == y.shape
    assert whole.simulate(X, n_samples=2, random_state=0).shape[0] == len(X)
    before = whole.fit_
    whole.update_groups(X.assign(Subject="new"), y)
    assert whole.fit_ is before


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"residual_variance": 0.0}, "residual_variance"),
        ({"residual_variance": -1.0}, "residual_variance"),
        ({"residual_variance": np.nan}, "residual_variance"),
        ({"residual_variance": np.inf}, "residual_variance"),
        ({"residual_variance": 1.0, "solver": "iterative"}, "use 'auto' or 'newton'"),
        ({"residual_variance": 1.0, "residual": "var(half)"}, "leave one out"),
    ],
)
def test_what_it_cannot_be(params, reason):
    X = pd.DataFrame({"x": np.arange(20.0), "g": np.arange(20) % 5, "half": np.arange(20) % 2})
    y = X["x"] + np.sin(X["g"])
    with pytest.raises(ValueError, match=reason):
        MixedLinearRegressor("(1 | g)", **params).fit(X, y)
