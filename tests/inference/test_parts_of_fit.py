"""Matrices and vectors of a fit by name, and what R's VarCorr, isSingular and logLik say."""

import numpy as np
import pandas as pd
import pytest

from skmixed import BayesianMixedRegressor, MixedLinearRegressor, clmm, glmer, lmer, nlmer
from skmixed.datasets import load_orthodont, load_sleepstudy
from skmixed.inference import (
    components,
    is_singular,
    log_likelihood,
    marginal_means,
    model_matrix,
    variance_table,
)
from tests import reference_set
from tests.inference.test_named_results import crossed, trees

SLEEP = load_sleepstudy()


@pytest.fixture(scope="module")
def sleep():
    return lmer("Reaction ~ Days + (Days | Subject)", SLEEP)


def test_parts_as_getme(sleep):
    # lme4 1.1-31: getME(m, ...) of Z, Lambda, b, u and L
    Z = components(sleep, "Z", SLEEP)
    assert Z.shape == (180, 36)
    np.testing.assert_array_equal(Z[:3, :4].toarray(), [[1, 0, 0, 0], [1, 1, 0, 0], [1, 2, 0, 0]])
    lam = components(sleep, "Lambda").toarray()
    expected = [[0.966741773967, 0], [0.015169058896, 0.230909953208]]
    np.testing.assert_allclose(lam[:2, :2], expected, atol=1e-5)
    np.testing.assert_allclose(lam[2:4, 2:4], expected, atol=1e-5)
    assert np.count_nonzero(lam) == 54
    b, u = components(sleep, "b"), components(sleep, "u")
    np.testing.assert_allclose(b[:4], [2.2585, 9.1990, -40.3987, -8.6197], atol=1e-3)
    np.testing.assert_allclose(u[:4], [2.3363, 39.6845, -41.7886, -34.5840], atol=1e-2)
    np.testing.assert_allclose(lam @ u, b)
    L = components(sleep, "L", SLEEP).toarray()
    expected = [[3.42509647106, 0], [3.22432643801, 2.40826698498]]
    np.testing.assert_allclose(L[:2, :2], expected, rtol=1e-5)
    fitted = model_matrix(sleep, SLEEP).to_numpy() @ components(sleep, "beta") + Z @ b
    np.testing.assert_allclose(fitted, sleep.predict(SLEEP), rtol=1e-12)
    np.testing.assert_array_equal(components(sleep, "theta"), sleep.theta_)
    assert components(sleep, "sigma") == sleep.residual_variance_**0.5
    assert b[("Subject", "308", "Days")] == sleep.random_effects_["Subject"].loc["308", "Days"]


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + (x | firm) + (1 | clerk) + (1 | firm:shop)",
        "y ~ x + (x || firm/shop)",
        "y ~ x + cs(0 + C(firm) | clerk)",
        "y ~ s(x, 5) + (1 | clerk)",
        "y ~ x",
    ],
)
def test_parts_make_the_covariance_and_the_predictions(formula):
    table = crossed()
    model = lmer(formula, table)
    X = components(model, "X", table).toarray()
    Z, lam = components(model, "Z", table), components(model, "Lambda")
    fitted = X @ components(model, "beta") + Z @ components(model, "b").to_numpy()
    np.testing.assert_allclose(fitted, model.predict(table), rtol=1e-9)
    root = (Z @ lam).toarray()
    V = root @ root.T + np.eye(len(table))
    precision = np.linalg.inv(V)
    beta = np.linalg.solve(X.T @ precision @ X, X.T @ precision @ table["y"])
    np.testing.assert_allclose(components(model, "beta"), beta, rtol=1e-6)
    spherical = root.T @ precision @ (table["y"].to_numpy() - X @ beta)
    np.testing.assert_allclose(components(model, "u"), spherical, atol=1e-6)
    np.testing.assert_allclose(lam @ components(model, "u"), components(model, "b"), atol=1e-9)
    L = components(model, "L", table).toarray()
    inner = root.T @ root + np.eye(root.shape[1])
    np.testing.assert_allclose(L @ L.T, inner, atol=1e-8)


def test_parts_with_weights_and_new_rows(sleep):
    weights = 1.0 + SLEEP["Days"] % 3
    model = lmer("Reaction ~ Days + (Days | Subject)", SLEEP, weights=weights)
    Z, lam = components(model, "Z", SLEEP), components(model, "Lambda")
    L = components(model, "L", SLEEP, sample_weight=weights).toarray()
    root = (Z @ lam).toarray() * np.sqrt(weights.to_numpy())[:, None]
    np.testing.assert_allclose(L @ L.T, root.T @ root + np.eye(36), rtol=1e-9, atol=1e-9)
    rows = pd.DataFrame({"Days": [2, 3], "Subject": ["309", "new"]}, index=["a", "b"])
    Z = components(sleep, "Z", rows).toarray()
    assert Z[0, 2:4].tolist() == [1.0, 2.0]
    assert not Z[1].any()
    assert model_matrix(sleep, rows[["Days"]]).loc["b"].to_dict() == {"(Intercept)": 1, "Days": 3}


def test_parts_of_other_models():
    table = reference_set.committed_table("cbpp")
    counts = glmer("incidence ~ period + (1 | herd)", table, family="poisson")
    X, Z = model_matrix(counts, table), components(counts, "Z", table)
    eta = X.to_numpy() @ components(counts, "beta") + Z @ components(counts, "b").to_numpy()
    assert list(X) == list(counts.fixed_effects_.index)
    counts.averaging = "plug-in"
    np.testing.assert_allclose(np.exp(eta), counts.predict(table))
    assert components(counts, "sigma") == 1.0
    with pytest.raises(ValueError, match="independent residuals of equal variance"):
        components(counts, "L", table)
    third = SLEEP.assign(third=pd.qcut(SLEEP["Reaction"], 3).cat.codes)
    assert list(model_matrix(clmm("third ~ Days + (1 | Subject)", third), third)) == ["Days"]
    X, y = load_sleepstudy(return_X_y=True)
    drawn = BayesianMixedRegressor("(1 | Subject)", n_draws=20, random_state=0).fit(X, y)
    assert list(model_matrix(drawn, X)) == ["(Intercept)", "Days"]
    with pytest.raises(TypeError, match="has posterior draws instead"):
        components(drawn, "b")
    curve = nlmer("y ~ SSlogis(x, Asym, xmid, scal) ~ Asym | tree", trees())
    np.testing.assert_allclose(components(curve, "b"), curve.random_effects_["tree"]["Asym"])
    for ask in (model_matrix, lambda model, X: components(model, "Z", X)):
        with pytest.raises(TypeError, match="predict_parameters"):
            ask(curve, trees())


def test_parts_that_are_not_there(sleep):
    with pytest.raises(ValueError, match="name='Zt' is not one of X, Z,"):
        components(sleep, "Zt")
    with pytest.raises(ValueError, match="'Z' needs rows, which the model does not store: pass X"):
        components(sleep, "Z")
    for ask in (lambda m: components(m, "b"), lambda m: model_matrix(m, SLEEP), variance_table):
        with pytest.raises(ValueError, match="not fitted yet"):
            ask(MixedLinearRegressor("(1 | Subject)"))


def test_variances_as_varcorr(sleep):
    # lme4 1.1-31: as.data.frame(VarCorr(m))
    frame = variance_table(sleep).to_frame()
    expected = [612.10015802477, 35.07171445094, 9.60440895116, 654.94000825996]
    np.testing.assert_allclose(frame["covariance"], expected, rtol=1e-4)
    expected = [24.7406579949841, 5.9221376588981, np.nan, 25.5917957216753]
    np.testing.assert_allclose(frame["sd"], expected, rtol=1e-5)
    assert frame["correlation"].iloc[2] == pytest.approx(0.0655512382381, rel=1e-3)
    assert frame["correlation"].notna().sum() == 1


def test_variances_of_other_models():
    table = crossed()
    frame = variance_table(lmer("y ~ x + (x || firm) + (1 | clerk)", table)).to_frame()
    assert list(frame.index.get_level_values("factor")) == ["clerk", "firm", "firm", "Residual"]
    assert frame["correlation"].isna().all()
    teeth = load_orthodont()
    strata = variance_table(lmer("distance ~ age", teeth, residual="var(Sex)")).to_frame()
    assert len(strata) == 2
    counts = reference_set.committed_table("cbpp")
    model = glmer("incidence ~ period + (1 | herd)", counts, family="poisson")
    assert len(variance_table(model).to_frame()) == 1
    curve = nlmer("y ~ SSlogis(x, Asym, xmid, scal) ~ Asym | tree", trees())
    frame = variance_table(curve).to_frame()
    assert frame["covariance"].iloc[-1] == curve.residual_variance_
    X, y = load_sleepstudy(return_X_y=True)
    drawn = BayesianMixedRegressor("(1 + Days | Subject)", n_draws=20, random_state=0).fit(X, y)
    frame = variance_table(drawn).to_frame()
    assert frame["covariance"].iloc[0] == drawn.random_covariance_["Subject"].iloc[0, 0]
    smooth = variance_table(lmer("y ~ s(x, 5) + (1 | clerk)", table)).to_frame()
    assert len(smooth) == 3


def test_singularity(sleep):
    assert not is_singular(sleep)
    assert is_singular(sleep, tol=0.3)  # the least diagonal entry of Lambda is 0.231
    table = crossed().assign(none=np.arange(240) % 7)
    model = lmer("y ~ x + (1 | clerk) + (1 | none)", table)
    assert is_singular(model, tol=0.0) == model.is_singular_
    reduced = lmer("y ~ x + rr(0 + C(firm) | clerk, d=1)", table)
    assert not is_singular(reduced, tol=1e-8)
    with pytest.raises(ValueError, match="tol=-1"):
        is_singular(sleep, tol=-1)


def test_likelihoods_of_the_other_method(sleep):
    # lme4 1.1-31: logLik(m), logLik(m, REML = FALSE), logLik(refitML(m))
    assert log_likelihood(sleep) == pytest.approx(-871.81413597998, abs=1e-6)
    assert log_likelihood(sleep, method="ml") == pytest.approx(-875.992933216, abs=1e-4)
    full = lmer("Reaction ~ Days + (Days | Subject)", SLEEP, reml=False)
    refitted = log_likelihood(sleep, method="ml", refit=True)
    assert refitted == pytest.approx(full.log_likelihood_, abs=1e-8)
    assert log_likelihood(full, method="reml", refit=True) == pytest.approx(
        sleep.log_likelihood_, abs=1e-8
    )
    assert log_likelihood(full, method="reml") < sleep.log_likelihood_
    scaled = lmer("Reaction ~ Days + (Days | Subject)", SLEEP.assign(Days=SLEEP["Days"] * 1e3))
    assert log_likelihood(scaled, method="ml") == pytest.approx(-875.992933216, abs=1e-4)
    table = reference_set.committed_table("cbpp")
    counts = glmer("incidence ~ period + (1 | herd)", table, family="poisson")
    assert log_likelihood(counts, method="ml") == counts.log_likelihood_
    with pytest.raises(ValueError, match="no restricted likelihood"):
        log_likelihood(counts, method="reml")
    with pytest.raises(ValueError, match="neither 'ml' nor 'reml'"):
        log_likelihood(sleep, method="full")


def test_offsets_of_marginal_means():
    # emmeans 1.8.4-1: emmeans(g, "period") adds the mean of log(size), offset = 0 nothing
    table = reference_set.committed_table("cbpp")
    model = glmer("incidence ~ period + offset(log(size)) + (1 | herd)", table, family="poisson")
    mean = marginal_means(model, "period", offset="mean")
    np.testing.assert_allclose(mean["estimate"], [0.8901, 0.0460, -0.0762, -0.5010], atol=2e-3)
    without = marginal_means(model, "period")
    np.testing.assert_allclose(mean["estimate"] - without["estimate"], 2.5378775591)
    np.testing.assert_allclose(mean["std_error"], without["std_error"])
    assert "Offsets are zero." in str(without)
    assert "An offset of 2.53788 is included." in str(mean)
    given = marginal_means(model, "period", offset=1.0, scale="response")
    bare = marginal_means(model, "period", scale="response")
    np.testing.assert_allclose(given["estimate"], np.exp(1.0) * bare["estimate"], rtol=1e-10)
    np.testing.assert_allclose(given["lower"], np.exp(1.0) * bare["lower"], rtol=1e-10)
    pairs = marginal_means(model, "period", offset="mean").pairs()
    np.testing.assert_allclose(pairs["estimate"], without.pairs()["estimate"])
    plain = lmer("Reaction ~ Days + offset(2 * Days) + (1 | Subject)", SLEEP)
    found = marginal_means(plain, "Days", at={"Days": [0]}, offset="mean")
    assert found["estimate"].iloc[0] == pytest.approx(plain.intercept_ + 9.0)
    for wrong in ("median", np.nan):
        with pytest.raises(ValueError, match="offset="):
            marginal_means(plain, "Days", offset=wrong)
    none = lmer("Reaction ~ Days + (1 | Subject)", SLEEP)
    with pytest.raises(ValueError, match="needs the mean offset of the training data"):
        marginal_means(none, "Days", offset="mean")
