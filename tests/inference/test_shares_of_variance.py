"""Variance shares of generalized models against performance, formulas by hand and repeated rows."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import special

from skmixed import MixedClassifier, MixedGeneralizedRegressor, glmer
from skmixed.core.families.catalogue import FAMILIES, family_of
from skmixed.inference import icc, r2, variance_partition
from tests import reference_set

CBPP = reference_set.table("cbpp")
SHARES = "cbind(incidence, size - incidence) ~ C(period) + (1 | herd)"
# performance 0.10.2 of models of lme4 1.1-31 optimised to 1e-10: r2_nakagawa, conditional and
# marginal, and icc. The mean of the counts is exp of the intercept of the model without periods.
LOGIT = [0.1873145332, 0.0854160717, 0.1114151018]
COUNTS = [0.610943996087, 0.409675818809, 0.34094516825]
NULL_MEAN = 1.60612884427


def test_two_outcomes_are_those_of_r():
    model = glmer(SHARES, CBPP)
    found = r2(model)
    # rtol: where the search of lme4 ended
    assert_allclose([found.conditional, found.marginal], LOGIT[:2], rtol=2e-6)
    assert_allclose(icc(model).to_frame()["estimate"], LOGIT[2], rtol=2e-6)
    table = variance_partition(model).to_frame()
    assert list(table.index) == ["fixed", "herd", "residual"]
    assert table.loc["residual", "estimate"] == pytest.approx(np.pi**2 / 3)
    assert table["share"].sum() == pytest.approx(1.0)
    assert "On the scale of the link." in str(variance_partition(model))
    for other in (pickle.loads(pickle.dumps(model)), type(model).from_dict(model.to_dict())):
        assert r2(other).marginal == found.marginal


def test_counts_are_those_of_r():
    model = glmer("incidence ~ C(period) + (1 | herd)", CBPP, family="poisson")
    found = r2(model, mean=NULL_MEAN)
    assert_allclose([found.conditional, found.marginal], COUNTS[:2], rtol=2e-6)
    assert_allclose(icc(model, mean=NULL_MEAN).to_frame()["estimate"], COUNTS[2], rtol=2e-6)
    own = variance_partition(model).to_frame().loc["residual", "estimate"]
    assert own == pytest.approx(np.log1p(1.0 / CBPP["incidence"].mean()))
    own = variance_partition(model, scale="observation").to_frame().loc["residual", "estimate"]
    assert own == pytest.approx(1.0 / CBPP["incidence"].mean())


@pytest.mark.parametrize(
    ("name", "link", "latent", "observed"),
    [
        ("binomial", "logit", np.pi**2 / 3, 1.0 / (0.3 * 0.7)),
        ("binomial", "probit", 1.0, 2 * np.pi * 0.21 * np.exp(special.ndtri(0.3) ** 2)),
        ("binomial", "cloglog", np.pi**2 / 6, 0.3 / 0.7 / np.log(0.7) ** 2),
        ("poisson", "log", np.log(1 + 1 / 0.3), 1 / 0.3),
        ("negative_binomial", "log", special.polygamma(1, 1 / (1 / 0.3 + 0.5)), 1 / 0.3 + 0.5),
        ("gamma", "log", special.polygamma(1, 2.0), 0.5),
    ],
)
def test_formulas_of_the_families(name, link, latent, observed):
    family, phi, mean = family_of(name, link), np.log([2.0]), np.array([0.3])
    assert family.latent_variance(mean, phi).item() == pytest.approx(latent)
    found = family.variance(mean, phi) / family.mean_slope(mean) ** 2
    assert found.item() == pytest.approx(observed)


@pytest.mark.parametrize("kind", [kind for kinds in FAMILIES.values() for kind in kinds])
def test_slope_of_the_mean_is_its_derivative(kind):
    family, eta, step = kind(), np.linspace(-3.0, 1.2, 7), 1e-6
    numeric = (family.mean(eta + step) - family.mean(eta - step)) / (2 * step)
    assert_allclose(family.mean_slope(family.mean(eta)), numeric, rtol=1e-7)


def shops(n=400):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": 50.0 + rng.normal(size=n), "z": rng.normal(size=n)})
    X["shop"] = rng.integers(20, size=n)
    X["day"] = rng.integers(7, size=n)
    effects = rng.normal(scale=0.5, size=(20, 2))[X["shop"]]
    eta = 0.4 * (X["x"] - 50.0) + effects[:, 0] + effects[:, 1] * X["z"]
    return X, eta, rng


def test_slopes_several_factors_and_columns_by_hand():
    X, eta, rng = shops()
    y = rng.poisson(np.exp(eta))
    model = MixedGeneralizedRegressor("(1 + z | shop) + (1 | day)", fixed="x + z").fit(X, y)
    table = variance_partition(model).to_frame()["estimate"]
    fixed = X[["x", "z"]].to_numpy() @ model.coef_
    assert table["fixed"] == pytest.approx(fixed.var(ddof=1), rel=1e-9)
    Z = np.column_stack([np.ones(len(y)), X["z"]])
    covariance = model.random_covariance_["shop"].to_numpy()
    by_hand = ((Z @ covariance) * Z).sum(axis=1).mean()
    assert table["shop"] == pytest.approx(by_hand, rel=1e-9)
    assert table["day"] == pytest.approx(model.random_covariance_["day"].iloc[0, 0], rel=1e-9)
    assert "averaged over rows" in str(icc(model))
    names = ["shop", "day", "all factors"]
    assert list(icc(model).to_frame().index) == names


@pytest.mark.parametrize("classes", [True, False])
def test_weights_that_count_rows_are_rows(classes):
    X, eta, rng = shops()
    weights = rng.integers(1, 4, len(X))
    if classes:
        model, y = MixedClassifier("(1 | shop)"), rng.random(len(X)) < special.expit(eta)
    else:
        model, y = MixedGeneralizedRegressor("(1 | shop)"), rng.poisson(np.exp(eta))
    weighted = model.fit(X, y, weights)
    shares = variance_partition(weighted, scale="observation").to_frame()
    every = np.repeat(np.arange(len(X)), weights)
    repeated = type(model)("(1 | shop)").fit(X.iloc[every], np.asarray(y)[every])
    other = variance_partition(repeated, scale="observation").to_frame()
    pd.testing.assert_frame_equal(shares, other, rtol=1e-6)


def test_errors_and_extremes():
    X, eta, rng = shops()
    model = MixedGeneralizedRegressor("(1 | shop)").fit(X, rng.poisson(np.exp(eta)))
    with pytest.raises(ValueError, match="scale='data' is neither 'latent' nor 'observation'"):
        r2(model, scale="data")
    with pytest.raises(
        ValueError, match=r"mean=-1\.0 is not a possible mean of a poisson response"
    ):
        icc(model, mean=-1.0)
    shares = MixedGeneralizedRegressor("(1 | shop)", family="binomial").fit(
        X, rng.integers(0, 2, 400)
    )
    with pytest.raises(
        ValueError, match=r"mean=1\.5 is not a possible mean of a binomial response"
    ):
        variance_partition(shares, mean=1.5)
    alone = MixedGeneralizedRegressor().fit(X[["x"]], rng.poisson(np.exp(eta)))
    with pytest.raises(ValueError, match="no random terms"):
        icc(alone)
    assert r2(alone).marginal == pytest.approx(r2(alone).conditional, rel=1e-12)
