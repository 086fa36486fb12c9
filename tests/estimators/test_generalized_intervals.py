"""How sure predictions of generalized models are: against R, brute force and simulation."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skmixed import MixedClassifier, MixedGeneralizedRegressor, glmer
from skmixed.core.families.binomial import Cloglog, Logit, Probit
from skmixed.core.families.gamma import GammaFamily
from skmixed.core.families.negative_binomial import NegativeBinomial
from skmixed.core.families.poisson import Poisson
from skmixed.core.generalized.after_fit.predictive import Mixture
from skmixed.datasets import load_sleepstudy
from tests import reference_set

# cbpp: cbind(incidence, size - incidence) ~ period + (1 | herd), rows of herds 1, 15, 8 and two of
# a new one. Predictions of lme4 2.0 with allow.new.levels, errors of glmmTMB 1.1 (se.fit=TRUE), of
# the linear predictor and of the mean.
HERDS = pd.DataFrame({"period": list("12413"), "herd": ["1", "15", "8", "new", "new"]})
HERD_MEANS = [0.3082076514299, 0.0511086196096, 0.0847513454158, 0.1980491548144, 0.0739729272416]
HERD_POPULATION = 0.0838719548524  # period 2, re.form=NA
HERD_LINK_ERRORS = [0.378330128527, 0.480500784975, 0.535802880699, 0.683039757231, 0.722206159575]
HERD_ERRORS = [0.0806659157961, 0.0233026199428, 0.0415614649418, 0.1084842320733, 0.0494718182206]

# sleepstudy: round((Reaction / 50)^2) ~ Days + (Days | Subject), Poisson; the same programs.
NIGHTS = pd.DataFrame({"Days": [0, 9, 4, 4], "Subject": ["308", "335", "372", "new"]})
NIGHT_MEANS = [27.3487981537, 25.5715373608, 38.2854497275, 33.7252011410]
NIGHT_LINK_ERRORS = [0.0875726593390, 0.1101937435436, 0.0497228330998, 0.2472023045792]
NIGHT_ERRORS = [2.39500653724, 2.81782427705, 1.90366091127, 8.33694540823]


@pytest.fixture(scope="module")
def cbpp():
    table = reference_set.committed_table("cbpp")
    table = table.assign(herd=table["herd"].astype(str), period=table["period"].astype(str))
    return glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", table)


@pytest.fixture(scope="module")
def nights():
    table = load_sleepstudy()
    table["y"] = ((table["Reaction"] / 50.0) ** 2).round()
    return glmer("y ~ Days + (Days | Subject)", table, family="poisson")


def plugged_in(model):
    """The same fit with other predictions."""
    again = type(model).from_dict(model.to_dict())
    return again.set_params(averaging="plug-in")


def spread(family, limits):
    """Half the widths of intervals of the mean, on the scale of the link."""
    low, high = family.eta_of(limits[:, 0]), family.eta_of(limits[:, 1])
    return 0.5 * (high - low)


def test_figures_of_lme4_and_glmmtmb(cbpp, nights):
    plain = plugged_in(cbpp)
    means, errors = plain.predict(HERDS, return_std=True)
    assert_allclose(means, HERD_MEANS, rtol=2e-6)
    assert_allclose(errors, HERD_ERRORS, rtol=3e-6)
    assert plain.predict(HERDS.iloc[[1]], random="none") == pytest.approx(HERD_POPULATION, rel=1e-6)
    plain = plugged_in(nights)
    means, errors = plain.predict(NIGHTS, return_std=True)
    assert_allclose(means, NIGHT_MEANS, rtol=1e-6)
    assert_allclose(errors, NIGHT_ERRORS, rtol=1e-5)


def test_intervals_of_the_mean_are_those_of_the_link(cbpp, nights):
    for model, rows, link_errors in (
        (cbpp, HERDS, HERD_LINK_ERRORS),
        (nights, NIGHTS, NIGHT_LINK_ERRORS),
    ):
        half = spread(model.fit_.family, model.predict_interval(rows, kind="mean", level=0.9))
        degrees = spread(
            model.fit_.family, model.predict_interval(rows, kind="mean", level=0.5)
        ) / np.array(link_errors)
        assert (half > 1.6448 * np.array(link_errors)).all()
        assert (degrees > 0.67448).all()
        # of a new group about as many as groups less one, of a known one many
        n_groups = len(next(iter(model.random_effects_.values())))
        factor = half / np.array(link_errors)
        assert stats.t.ppf(0.95, 2.0 * n_groups) < factor[-1] < stats.t.ppf(0.95, n_groups / 3.0)
        assert factor[2] < stats.t.ppf(0.95, 200.0)


def test_dispersions_are_taken_as_known():
    """glmmTMB's errors of a gamma and a negative binomial model have its uncertainty in them."""
    table = load_sleepstudy()
    figures = {
        "gamma": [0.0429392287710, 0.0471503243526, 0.0249102966415, 0.1245971641498],
        "negative_binomial": [0.0923249372736, 0.1159668092341, 0.0531835623687, 0.2461108838460],
    }
    for family, errors in figures.items():
        y = table["Reaction"] if family == "gamma" else ((table["Reaction"] / 50.0) ** 2).round()
        model = MixedGeneralizedRegressor("(Days | Subject)", family=family, averaging="plug-in")
        model.fit(table[["Days", "Subject"]], y)
        means, deviations = model.predict(NIGHTS, return_std=True)
        assert_allclose(deviations / means, errors, rtol=0.01)


FAMILIES = {
    "poisson": (Poisson(), np.empty(0), None),
    "rates": (Poisson(), np.empty(0), np.full(12, 2.5)),
    "negative binomial": (NegativeBinomial(), np.array([0.5]), None),
    "gamma": (GammaFamily(), np.array([1.0]), None),
    "wide gamma": (GammaFamily(), np.array([-1.0]), None),
    "shares": (Logit(), np.empty(0), np.arange(1.0, 13.0) ** 3),
    "cloglog shares": (Cloglog(), np.empty(0), np.arange(1.0, 13.0)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_quantiles_of_mixtures(name):
    family, phi, sizes = FAMILIES[name]
    rng = np.random.default_rng(0)
    center, deviation = rng.uniform(-3.0, 8.0, 12), 10.0 ** rng.uniform(-3.0, 0.3, 12)
    mixture = Mixture(family, phi, center, deviation, sizes)
    nodes = np.linspace(-8.5, 8.5, 20_001)
    weights = np.exp(-0.5 * nodes**2) / np.exp(-0.5 * nodes**2).sum()

    def below(y, row):
        size = None if sizes is None else np.full(len(nodes), sizes[row])
        eta = center[row] + deviation[row] * nodes
        return weights @ family.cdf(np.full(len(nodes), y), eta, size, phi)

    steps = family.steps(12, sizes)
    for probability in (0.025, 0.4, 0.975):
        found = mixture.quantiles(probability)
        for row, y in enumerate(found):
            assert mixture.cdf(found)[row] == pytest.approx(below(y, row), abs=1e-7)
            if steps is None:
                assert below(y, row) == pytest.approx(probability, abs=1e-7)
            else:
                assert below(y, row) > probability - 1e-7
                assert y < 0.5 * steps[row] or below(y - steps[row], row) < probability + 1e-7


@pytest.mark.parametrize("family", [Logit(), Probit(), Cloglog(), Poisson()])
def test_deviations_of_averaged_means(family):
    center = np.array([-2.0, 0.3, 1.0])
    variance, averaged = np.array([0.8, 1e-6, 0.2]), np.array([0.5, 1.0, 0.0])
    nodes = np.linspace(-8.5, 8.5, 4_001)
    weights = np.exp(-0.5 * nodes**2) / np.exp(-0.5 * nodes**2).sum()
    for row in range(3):
        eta = center[row] + np.sqrt(variance[row]) * nodes
        inner = family.mean(eta[:, None] + np.sqrt(averaged[row]) * nodes[::8]) @ (
            weights[::8] / weights[::8].sum()
        )
        mean = weights @ inner
        expected = np.sqrt(weights @ np.square(inner - mean))
        found = family.mean_deviation(center, variance, averaged)[row]
        assert found == pytest.approx(expected, rel=1e-6)
        by_slope = family.variance_weight(center, averaged)[row]
        step = 1e-4
        ends = [family.integrated_mean(center, averaged + s)[row] for s in (0.0, step)]
        moved = family.integrated_mean(center + by_slope * step, averaged)[row]
        assert moved - ends[0] == pytest.approx(ends[1] - ends[0], rel=2e-3)


def shops(n=300, n_shops=15, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"x": rng.normal(size=n), "shop": np.arange(n) % n_shops})
    return X, 0.4 + 0.5 * X["x"] + 0.7 * rng.normal(size=n_shops)[X["shop"]], rng


def test_errors_of_population_means():
    X, eta, rng = shops()
    model = MixedGeneralizedRegressor("(1 | shop)").fit(X, rng.poisson(np.exp(eta)))
    rows = pd.DataFrame({"x": [0.0, 1.5]})
    means, errors = model.predict(rows, random="none", return_std=True)
    covariance = model.fit_.parameter_covariance  # of intercept, slope and theta, in some unit
    theta = model.theta_[0]
    unit = theta / model.fit_.working.scaled_lambdas[0][0, 0]
    for row, x in enumerate(rows["x"]):
        log_slopes = np.array([1.0, x, theta * unit])  # of x'beta + theta^2 / 2
        square = log_slopes @ covariance @ log_slopes
        expected = means[row] * np.sqrt(np.expm1(square) * np.exp(square))  # of a lognormal
        assert errors[row] == pytest.approx(expected, rel=1e-5)
    _, of_new = model.predict(rows.assign(shop=99), return_std=True)
    assert (of_new > 3.0 * errors).all()


def test_without_groups_it_is_a_generalized_linear_model():
    X, eta, rng = shops()
    y = rng.poisson(np.exp(eta))
    model = MixedGeneralizedRegressor().fit(X[["x"]], y)
    design = np.column_stack([np.ones(len(X)), X["x"]])
    mean = model.predict(X[["x"]])
    covariance = np.linalg.inv((design.T * mean) @ design)
    root = np.sqrt(np.einsum("ij,jk,ik->i", design, covariance, design))
    limits = model.predict_interval(X[["x"]], kind="mean")
    expected = mean[:, None] * np.exp(np.outer(root, stats.norm.ppf([0.025, 0.975])))
    assert_allclose(limits, expected, rtol=1e-7)


def test_further_rows_narrow_the_interval():
    X, eta, rng = shops()
    model = MixedGeneralizedRegressor("(x | shop)").fit(X, rng.poisson(np.exp(eta)))
    rows = pd.DataFrame({"x": [0.0], "shop": [99]})
    before = model.predict_interval(rows, kind="mean")
    others = model.predict_interval(X, kind="mean")
    model.update_groups(pd.concat([rows] * 8), rng.poisson(2.0, 8))
    after = model.predict_interval(rows, kind="mean")
    assert np.diff(after) < 0.6 * np.diff(before)
    assert_allclose(model.predict_interval(X, kind="mean"), others, rtol=1e-6)


def test_observations_lie_within_their_intervals():
    X, eta, rng = shops(2000, 40)
    new = X.assign(shop=1000 + np.arange(len(X)))
    new_eta = 0.4 + 0.5 * X["x"] + 0.7 * rng.normal(size=len(X))
    for family in ("poisson", "gamma", "negative_binomial"):

        def drawn(eta, family=family):
            if family == "gamma":
                return rng.gamma(3.0, np.exp(eta) / 3.0)
            noise = rng.gamma(2.0, 0.5, len(eta)) if family == "negative_binomial" else 1.0
            return rng.poisson(np.exp(eta) * noise)

        model = MixedGeneralizedRegressor("(1 | shop)", family=family).fit(X, drawn(eta))
        for rows, linear in ((X, eta), (new, new_eta)):
            low, high = model.predict_interval(rows, level=0.8).T
            y = drawn(linear)
            held = np.mean((y >= low) & (y <= high))
            assert 0.75 < held < (0.85 if family == "gamma" else 0.95)  # those of counts hold more


def test_shares_need_their_trials():
    X, eta, rng = shops()
    trials = rng.integers(1, 20, len(X))
    y = rng.binomial(trials, 1.0 / (1.0 + np.exp(-eta))) / trials
    model = MixedGeneralizedRegressor("(1 | shop)", family="binomial")
    model.fit(X, y, sample_weight=trials)
    low, high = model.predict_interval(X, sample_weight=trials).T
    assert_allclose(low * trials, np.round(low * trials), atol=1e-9)
    assert np.mean((y >= low) & (y <= high)) > 0.94
    assert ((low >= 0.0) & (high <= 1.0)).all()
    with pytest.raises(ValueError, match="kind='mean' for an interval of the probability"):
        model.predict_interval(X)
    with pytest.raises(ValueError, match="sample_weight is 0 in row 1"):
        model.predict_interval(X.head(2), sample_weight=[1.0, 0.0])


def test_unknown_groups_are_missing_throughout():
    X, eta, rng = shops()
    counts = rng.poisson(np.exp(eta))
    rows = pd.DataFrame({"x": [0.0, 0.0, 0.0], "shop": [3.0, 99.0, np.nan]})
    known = np.array([True, False, False])
    model = MixedGeneralizedRegressor("(1 | shop)", handle_unknown="nan").fit(X, counts)
    for averaging in ("integrate", "plug-in"):
        model.set_params(averaging=averaging)
        for values in model.predict(rows, return_std=True):
            assert_array_equal(np.isfinite(values), known)
    for kind in ("mean", "observation"):
        limits = model.predict_interval(rows, kind=kind)
        assert_array_equal(np.isfinite(limits).all(axis=1), known)
        assert_array_equal(np.isnan(limits).all(axis=1), ~known)
    with pytest.raises(ValueError, match="2 rows have group labels that are missing"):
        model.score(rows, [1.0, 2.0, 3.0])
    classes = MixedClassifier("(1 | shop)", handle_unknown="nan").fit(X, counts > 1)
    assert_array_equal(np.isfinite(classes.predict_proba(rows)).all(axis=1), known)
    assert_array_equal(np.isfinite(classes.predict_log_proba(rows)).all(axis=1), known)
    assert_array_equal(np.isfinite(classes.decision_function(rows)), known)
    assert_array_equal(np.isfinite(classes.predict_interval(rows)).all(axis=1), known)
    for each in (model, classes):
        each.set_params(handle_unknown="error")
        with pytest.raises(ValueError, match="'shop'"):
            each.predict_interval(rows)


def test_a_single_class_has_no_interval():
    X, eta, rng = shops()
    model = MixedClassifier("(1 | shop)").fit(X, rng.random(len(X)) < 1.0 / (1.0 + np.exp(-eta)))
    limits = model.predict_interval(X)
    p = model.predict_proba(X)[:, 1]
    assert ((limits[:, 0] < p) & (p < limits[:, 1])).all()
    with pytest.raises(ValueError, match=r"probability has an interval\. Use kind='mean'"):
        model.predict_interval(X, kind="observation")
    with pytest.raises(ValueError, match="level"):
        model.predict_interval(X, level=95)


@pytest.mark.filterwarnings("ignore:the columns")
def test_rows_with_an_infinite_coefficient_have_no_interval():
    X, eta, rng = shops()
    X["rare"] = (np.arange(len(X)) < 12).astype(float)
    y = (rng.random(len(X)) < 1.0 / (1.0 + np.exp(-eta))) | (X["rare"] == 1.0)
    model = MixedClassifier("(1 | shop)").fit(X, y)
    assert model.separated_ == ["rare"]
    limits = model.predict_interval(X)
    assert_array_equal(np.isnan(limits).all(axis=1), X["rare"] == 1.0)
    assert np.isfinite(limits[12:]).all()
    without = MixedClassifier("(1 | shop)").fit(X[12:][["x", "shop"]], y[12:])
    assert_allclose(limits[12:], without.predict_interval(X[12:][["x", "shop"]]), rtol=1e-3)


def test_intervals_survive_storage(cbpp):
    again = MixedGeneralizedRegressor.from_dict(cbpp.to_dict())
    limits = cbpp.predict_interval(HERDS, kind="mean")
    assert_allclose(again.predict_interval(HERDS, kind="mean"), limits, rtol=1e-10)


def test_several_factors_and_a_variance_of_zero():
    rng = np.random.default_rng(8)
    X = pd.DataFrame({"rater": rng.integers(0, 9, 300), "item": rng.integers(0, 12, 300)})
    y = rng.poisson(np.exp(0.5 + 0.6 * rng.normal(size=12)[X["item"]]))
    model = MixedGeneralizedRegressor("(1 | rater) + (1 | item)").fit(X, y)
    rows = pd.DataFrame({"rater": [0, 99, 0, 99], "item": [0, 0, 99, 99]})
    widths = np.diff(np.log(model.predict_interval(rows, kind="mean")))[:, 0]
    assert widths[0] <= widths[1] < widths[2] <= widths[3]
    assert np.isfinite(widths).all()
