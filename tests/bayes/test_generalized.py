import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logsumexp

from skmixed import MixedClassifier, MixedGeneralizedRegressor, OrdinalMixedClassifier
from skmixed.bayes import (
    Exponential,
    Flat,
    Gamma,
    HalfNormal,
    HalfT,
    Normal,
    Prior,
    compare,
    generalized_leave_out,
    loo,
    sample,
    stack,
)
from skmixed.bayes.generalized_leave_out import _without
from skmixed.bayes.generalized_sampling import generalized_draws_of
from skmixed.bayes.priors import ModelPrior
from skmixed.core.posterior.coefficient_prior import CoefficientPrior
from skmixed.core.posterior.joint_integrals import JointIntegrals
from skmixed.core.posterior.level_integrals import LevelIntegrals
from skmixed.core.posterior.level_leave_out import counts_of, densities_without
from skmixed.exceptions import SamplingWarning
from skmixed.inference.fitted import observations_of_fit
from tests.reference_set import committed_table

RSTANARM = json.loads((Path(__file__).parent / "rstanarm_generalized.json").read_text())


def cbpp():
    table = committed_table("cbpp")
    X = table[["herd", "period"]].astype(str)
    shares, sizes = table["incidence"] / table["size"], table["size"]
    model = MixedGeneralizedRegressor("(1 | herd)", fixed="period", family="binomial")
    return model.fit(X, shares, sizes), {"X": X, "y": shares, "sample_weight": sizes}


def counts(family="poisson", random="(x | g)"):
    table = pd.DataFrame({name: RSTANARM["table"][name] for name in ("x", "g", "y")})
    model = MixedGeneralizedRegressor(random, fixed="x", family=family)
    X, y = table[["x", "g"]], table["y"]
    return model.fit(X, y), {"X": X, "y": y}


def binary(n=60, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"x": rng.standard_normal(n), "g": np.arange(n) % 10})
    eta = 0.5 + X["x"] + rng.standard_normal(10)[X["g"]]
    y = np.where(rng.random(n) < expit(eta), "yes", "no")
    return MixedClassifier("(1 | g)").fit(X, y), {"X": X, "y": y}


def rstanarm_names(draws):
    """Draws of what rstanarm's summary has, by its names."""
    found = {name: draws.coef[:, :, n] for n, name in enumerate(draws.coef_names)}
    if "dispersion" in draws.parameters:
        found["reciprocal_dispersion"] = draws.parameters["dispersion"]
    for factor, covariances in draws.random_covariance.items():
        names = draws._columns(factor)
        for i, first in enumerate(names):
            for j, second in enumerate(names[: i + 1]):
                found[f"Sigma[{factor}:{first},{second}]"] = covariances[:, :, i, j]
        effects = draws.effects(factor)
        for level, label in enumerate(draws.levels(factor)):
            for i, first in enumerate(names):
                found[f"b[{first} {factor}:{label}]"] = effects[:, :, level, i]
    return {name.replace("period[T.", "period").replace("]]", "]"): f for name, f in found.items()}


@pytest.mark.parametrize("name", ["cbpp", "poisson", "negative_binomial"])
def test_posterior_is_that_of_rstanarm(name):
    if name == "cbpp":
        model, given = cbpp()
    else:
        model, given = counts(name, "(1 | g)" if name == "negative_binomial" else "(x | g)")
    draws = sample(model, "rstanarm", **given, random_state=1)
    assert draws.pareto_k < 0.7
    found, scores = rstanarm_names(draws), []
    found = {key.removesuffix("]") if "period" in key else key: f for key, f in found.items()}
    n = 0.5 * draws.efficiency * draws.log_density.size
    for row, (mean, mcse, sd, low, high, n_eff) in RSTANARM[name].items():
        values = found[row]
        scores.append((values.mean() - mean) / np.hypot(mcse, values.std() / np.sqrt(n)))
        wide = 4 * 2.1 * sd * np.sqrt(1 / n + 1 / n_eff) * (3 if row.startswith("Sigma") else 1)
        assert np.abs(np.quantile(values, [0.05, 0.95]) - [low, high]).max() < wide, row
    assert set(found) == set(RSTANARM[name])
    assert np.abs(scores).max() < 4


# pymc with nutpie, and an implementation of its own with 15 nodes, whose log Z had an error of .007
def test_figures_of_cbpp_with_normal_coefficients():
    model, given = cbpp()
    observations = observations_of_fit(model, *given.values(), None, "this")
    prior = ModelPrior.of(model.fit_, Prior(scales=HalfNormal(1.0)))
    plain = CoefficientPrior(np.eye(4), np.zeros(4), np.full(4, 2.5**-2))
    prior = replace(prior, coef=plain)
    draws = generalized_draws_of(model, observations, prior, 1000, 4, np.random.default_rng(0))
    assert draws.log_evidence == pytest.approx(-102.21, abs=4 * np.hypot(0.007, 0.008))
    means = [-1.413, -0.976, -1.109, -1.579, 0.733]
    sds = np.array([0.252, 0.302, 0.325, 0.419, 0.207])
    table = draws.to_frame()
    assert np.abs((table["mean"] - means) / sds).max() < 4 * np.sqrt(2 / 2000)
    np.testing.assert_allclose(table["sd"], sds, rtol=0.08)
    labels = list(draws.levels("herd"))
    effects, moments = draws.effects("herd"), draws.effect_moments("herd")
    for label, mean, sd in (("1", 0.587, 0.402), ("8", 0.622, 0.399)):
        own = effects[:, :, labels.index(label), 0]
        assert abs(own.mean() - mean) < 4 * sd * np.sqrt(2 / 2000)
        assert moments[0][labels.index(label), 0] == pytest.approx(mean, abs=0.05)


# all by the trapezoidal rule: over the intercept, the deviation, and the effect of every group
def test_evidence_and_moments_are_those_of_a_grid():
    hits, trials = np.array([0, 3, 5, 1]), np.array([4, 5, 5, 6])
    X = pd.DataFrame({"g": list("abcd")})
    model = MixedGeneralizedRegressor("(1 | g)", family="binomial")
    model.fit(X, hits / trials, trials)
    given = {"X": X, "y": hits / trials, "sample_weight": trials}
    prior = Prior(scales=HalfT(3, 1.0), coef={"(Intercept)": Normal(0.5, 1.0)})
    draws = sample(model, prior, **given, random_state=0)
    beta, sd = np.linspace(-4, 5, 73), np.exp(np.linspace(-8, 4, 121))
    u = np.linspace(-8, 8, 161)
    eta = beta[:, None, None] + sd[:, None] * u
    log_p = np.zeros((len(beta), len(sd)))
    for hit, trial in zip(hits, trials, strict=True):
        each = stats.binom.logpmf(hit, trial, expit(eta)) + stats.norm.logpdf(u)
        log_p += logsumexp(each, axis=2) + np.log(u[1] - u[0])
    log_p += stats.norm.logpdf(beta, 0.5, 1.0)[:, None] + HalfT(3, 1.0).logpdf(sd) + np.log(sd)
    evidence = logsumexp(log_p) + np.log(beta[1] - beta[0]) + np.log(np.log(sd[1] / sd[0]))
    assert draws.log_evidence == pytest.approx(evidence, abs=4 * draws.log_evidence_error)
    weights = np.exp(log_p - logsumexp(log_p))
    n = 0.5 * draws.efficiency * 4000
    drawn = [draws.coef[:, :, 0], draws.parameters["sd_(Intercept)|g"]]
    for axis, grid, values in zip((1, 0), (beta, sd), drawn, strict=True):
        share = weights.sum(axis=axis)
        mean = share @ grid
        spread = np.sqrt(share @ grid**2 - mean**2)
        assert abs(values.mean() - mean) < 4 * spread / np.sqrt(n)
        for cut in np.quantile(values, [0.05, 0.5, 0.95]):
            below, found = share @ (grid < cut), (values < cut).mean()
            assert abs(below - found) < 4 * np.sqrt(below * (1 - below) / n) + 0.01
    assert draws.coef_mean[0] == pytest.approx(drawn[0].mean(), abs=0.05)


def test_draws_depend_on_the_seed_and_not_on_units():
    model, given = counts("poisson", "(1 | g)")
    one = sample(model, **given, n_draws=100, random_state=0)
    again = sample(model, **given, n_draws=100, random_state=0)
    np.testing.assert_allclose(one.phi, again.phi, rtol=1e-8)
    np.testing.assert_allclose(one.effects("g"), again.effects("g"), rtol=1e-8)
    some = one.effects("g", ["g07", "g02"])
    np.testing.assert_allclose(some, one.effects("g")[:, :, [7, 2]], rtol=1e-12)
    X = given["X"].assign(x=60 * given["X"]["x"])
    moved = MixedGeneralizedRegressor("(1 | g)", fixed="x", family="poisson").fit(X, given["y"])
    two = sample(moved, X=X, y=given["y"], n_draws=100, random_state=0)
    np.testing.assert_allclose(two.coef[:, :, 1], one.coef[:, :, 1] / 60, rtol=1e-3, atol=1e-5)
    other = sample(model, **given, n_draws=100, random_state=1)
    assert (other.phi != one.phi).any()


def test_units_of_gamma_responses_do_not_matter():
    _, given = counts()
    X, y = given["X"], given["y"] + 0.5
    model = MixedGeneralizedRegressor("(1 | g)", fixed="x", family="gamma")
    one, two = (
        sample(model.fit(X, unit * y), X=X, y=unit * y, n_draws=100, random_state=0)
        for unit in (1.0, 1000.0)
    )
    np.testing.assert_allclose(
        two.coef, one.coef + np.array([np.log(1000), 0]), rtol=1e-4, atol=1e-4
    )
    dispersions = [each.parameters["dispersion"] for each in (one, two)]
    np.testing.assert_allclose(*dispersions, rtol=1e-4)


@pytest.mark.parametrize("prior", [Exponential(1.0), HalfT(3, 2.0)])
def test_distributions_of_a_shape_integrate_to_one(prior):
    model, _ = counts("negative_binomial", "(1 | g)")
    found = ModelPrior.of(model.fit_, Prior(shape=prior))
    log_s = np.linspace(-30, 30, 20001)
    density = found.noise.logpdf(np.exp(log_s)) + log_s
    assert np.exp(density).sum() * (log_s[1] - log_s[0]) == pytest.approx(1.0, abs=1e-4)
    drawn = found.noise.sample(4000, 0) ** -2.0
    quantile = np.median(drawn)
    share = prior.sample(100_000, 1) < quantile
    assert share.mean() == pytest.approx(0.5, abs=0.03)


def test_predictions_average_over_levels_that_are_not_known():
    model, given = binary()
    draws = sample(model, **given, random_state=0)
    new = pd.DataFrame({"x": [0.2, 0.2, -1.0], "g": [99, 3, 3]})
    means, stds = draws.predict(new, return_std=True)
    beta = draws.coef.reshape(-1, 2)
    sd = draws.parameters["sd_(Intercept)|g"].ravel()
    rng = np.random.default_rng(0)
    unknown = expit(beta @ [1, 0.2] + sd * rng.standard_normal(len(sd)))
    own = draws.effects("g", [3])[:, :, 0, 0].ravel()
    known = expit(beta @ [1, 0.2] + own)
    assert means[0] == pytest.approx(unknown.mean(), abs=0.02)
    assert means[1] == pytest.approx(known.mean(), abs=0.01)
    np.testing.assert_allclose(stds[:2], [unknown.std(), known.std()], rtol=0.1)
    population = draws.predict(new, random="none")
    np.testing.assert_allclose(population[:2], means[0], rtol=1e-12)
    limits = draws.predict_interval(new, level=0.9, kind="mean")
    np.testing.assert_allclose(limits[1], np.quantile(known, [0.05, 0.95]), rtol=1e-6)
    drawn = draws.sample_y(new, n_samples=2000, random_state=0)
    assert set(np.unique(drawn)) == {"no", "yes"}
    np.testing.assert_allclose((drawn == "yes").mean(axis=1), means, atol=0.05)
    with pytest.raises(ValueError, match="number of trials"):
        draws.predict_interval(new)
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        draws.predict_interval(new, level=1.5)


def test_intervals_of_counts_hold_what_is_asked_for():
    model, given = counts("negative_binomial", "(1 | g)")
    draws = sample(model, **given, random_state=0)
    limits = draws.predict_interval(given["X"], level=0.8)
    inside = (limits[:, 0] <= given["y"]) & (given["y"] <= limits[:, 1])
    assert 0.75 < inside.mean() < 0.95
    drawn = draws.sample_y(given["X"].head(5), n_samples=4000, random_state=1)
    np.testing.assert_allclose(
        np.quantile(drawn, [0.1, 0.9], axis=1, method="inverted_cdf").T, limits[:5], atol=1
    )


def test_exposures_are_offsets_of_predictions():
    _, given = counts()
    X = given["X"].assign(hours=np.tile([0.5, 1.0, 2.0, 4.0], 24))
    model = MixedGeneralizedRegressor("(1 | g)", fixed="x", family="poisson", exposure="hours")
    model.fit(X, given["y"])
    draws = sample(model, X=X, y=given["y"], n_draws=100, random_state=0)
    rows = X.iloc[[0, 0]].assign(hours=[1.0, 3.0])
    one, three = draws.predict(rows)
    assert three == pytest.approx(3 * one, rel=1e-10)
    assert draws.sample_y(rows, n_samples=3, random_state=0).shape == (2, 3)


def test_rows_left_out_are_those_of_posteriors_without_them():
    model, given = cbpp()
    draws = sample(model, "rstanarm", **given, random_state=0)
    result = loo(model, draws, **given, random_state=0)
    assert result.total == pytest.approx(-100.5, abs=0.5)
    observations = observations_of_fit(model, *given.values(), None, "this")
    for row in np.argsort(result.elpd)[:1]:
        rest = _without(observations, np.array([row]), counts_of(observations))
        again = generalized_draws_of(model, rest, draws.prior, 500, 4, np.random.default_rng(0))
        points = draws.points(again.nodes.means, again.nodes.phi)
        values = densities_without(draws.integrals, points)[:, row]
        error = np.std(np.exp(values - values.max())) / np.mean(np.exp(values - values.max()))
        expected = logsumexp(values) - np.log(len(values))
        assert result.elpd[row] == pytest.approx(expected, abs=0.02 + 4 * error / 20)


def test_rows_of_heavy_weights_are_left_out_by_a_refit(monkeypatch):
    model, given = counts()
    draws = sample(model, "rstanarm", **given, random_state=0)
    smoothed = loo(model, draws, **given, random_state=0)
    second, first = np.sort(smoothed.pareto_k)[-2:]
    monkeypatch.setattr(generalized_leave_out, "UNTRUSTED", (first + second) / 2)
    result = loo(model, draws, **given, random_state=0)
    assert result.is_refitted.sum() == 1
    row = int(np.argmax(result.is_refitted))
    assert result.elpd[row] != smoothed.elpd[row]
    assert result.elpd[row] == pytest.approx(smoothed.elpd[row], abs=0.5)
    np.testing.assert_array_equal(np.delete(result.elpd, row), np.delete(smoothed.elpd, row))
    other, _ = counts("poisson", "(1 | g)")
    with pytest.raises(ValueError, match="belong to another model or fit"):
        loo(other, draws, **given)


def test_models_are_compared_by_evidence_and_rows_left_out():
    draws, results = {}, {}
    for name in ("poisson", "negative_binomial"):
        model, given = counts(name, "(1 | g)")
        draws[name] = sample(model, **given, n_draws=250, random_state=0)
        results[name] = loo(model, draws[name], **given, random_state=0)
    assert compare(draws).to_frame().index[0] == "negative_binomial"
    assert stack(results).to_frame().index[0] == "negative_binomial"


def test_separated_responses_have_a_posterior():
    x = np.repeat([0.0, 1.0], 20)
    X = pd.DataFrame({"x": x, "g": np.arange(40) % 8})
    y = np.where(x == 1, 1, np.arange(40) % 3 == 0)
    with pytest.warns(Warning, match="infinite|separate"):
        model = MixedClassifier("(1 | g)").fit(X, y)
    draws = sample(model, X=X, y=y, random_state=0)
    assert draws.pareto_k < 0.7
    assert 1.0 < draws.coef_mean[1] < 10.0
    with pytest.raises(ValueError, match="separate"):
        sample(model, Prior(coef=Flat()), X=X, y=y)


def test_tables_and_trees_have_the_dispersion():
    model, given = counts("negative_binomial", "(1 | g)")
    draws = sample(model, **given, n_draws=50, random_state=0)
    assert draws.to_frame().index[-1] == "dispersion"
    assert draws.parameters["dispersion"].min() > 0
    with pytest.raises(AttributeError, match="no residual standard deviation"):
        _ = draws.sigma


def test_what_cannot_be_sampled_is_refused():
    model, given = binary()
    with pytest.raises(ValueError, match="pass X and y"):
        sample(model)
    with pytest.raises(ValueError, match="not the rows"):
        sample(model, X=given["X"], y=given["y"][::-1])
    with pytest.raises(ValueError, match="'reference' has flat"):
        sample(model, "reference", **given)
    with pytest.raises(ValueError, match="flat prior for a standard deviation"):
        sample(model, Prior(scales=Flat()), **given)
    with pytest.raises(ValueError, match="needs a linear model"):
        sample(model, Prior(sigma=HalfT(3, 1)), **given)
    with pytest.raises(ValueError, match="the family of this model is binomial"):
        sample(model, Prior(shape=HalfT(3, 1)), **given)
    ordered = OrdinalMixedClassifier("(1 | g)").fit(given["X"], np.arange(60) % 3)
    with pytest.raises(ValueError, match="ordinal models"):
        sample(ordered, X=given["X"], y=np.arange(60) % 3)
    model.update_groups(given["X"].head(3), given["y"][:3])
    with pytest.raises(ValueError, match="update_groups"):
        sample(model, **given)


def test_integrals_by_importance_have_the_evidence_of_quadrature(monkeypatch):
    model, given = counts("poisson", "(1 | g)")
    one = sample(model, **given, n_draws=150, random_state=0)
    monkeypatch.setattr(LevelIntegrals, "of", lambda *given: None)
    two = sample(model, **given, n_draws=150, random_state=0)
    assert isinstance(two.integrals, JointIntegrals)
    error = np.hypot(one.log_evidence_error, two.log_evidence_error)
    assert two.log_evidence == pytest.approx(one.log_evidence, abs=4 * error)
    assert two.efficiency > 0.5
    n = 0.5 * two.efficiency * 600
    spread = np.sqrt(np.diag(one.coef_covariance))
    assert np.abs((two.coef_mean - one.coef_mean) / spread).max() < 4 * np.sqrt(2 / n)
    mean, covariance = one.effect_moments("g")
    drawn = two.effects("g").reshape(-1, 12)
    sd = np.sqrt(covariance[:, 0, 0])
    assert np.abs((drawn.mean(axis=0) - mean[:, 0]) / sd).max() < 4.5 * np.sqrt(2 / n)
    np.testing.assert_allclose(two.effects("g", ["g05"])[:, :, 0], two.effects("g")[:, :, 5])
    with pytest.raises(ValueError, match="a single grouping factor"):
        loo(model, two, **given)


def test_crossed_factors_are_sampled():
    rng = np.random.default_rng(4)
    X = pd.DataFrame({"g": np.arange(80) % 8, "h": np.arange(80) // 8})
    y = rng.poisson(np.exp(1 + 0.5 * rng.standard_normal(8)[X["g"]]))
    model = MixedGeneralizedRegressor("(1 | g) + (1 | h)", family="poisson").fit(X, y)
    draws = sample(model, X=X, y=y, n_draws=50, random_state=0)
    assert draws.pareto_k < 0.7
    assert draws.effects("h").shape == (4, 50, 10, 1)
    mean, covariance = draws.effect_moments("g")
    modes = model.random_effects_["g"].to_numpy()
    assert np.abs(mean - modes).max() < np.sqrt(covariance).max()
    new = pd.DataFrame({"g": [0, 99], "h": [1, 1]})
    assert draws.predict(new).shape == (2,)


@pytest.mark.study
def test_few_binary_rows_of_wide_effects_are_warned_of():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"g": np.arange(60) % 30, "h": rng.permutation(60) % 30})
    y = rng.integers(2, size=60)
    model = MixedClassifier("(1 | g) + (1 | h)").fit(X, y)
    prior = Prior(scales=Gamma(400, 0.02))
    with pytest.warns(SamplingWarning, match="to_pymc"):
        sample(model, prior, X=X, y=y, n_draws=25, random_state=0)


def test_coefficients_alone_are_sampled():
    x = np.linspace(-1, 1, 30)
    y = np.random.default_rng(0).poisson(np.exp(0.5 + x))
    model = MixedGeneralizedRegressor(family="poisson").fit(x[:, None], y)
    prior = Prior(coef={"(Intercept)": Normal(0, 1), "x0": Normal(0, 1)})
    draws = sample(model, prior, X=x[:, None], y=y, n_draws=200, random_state=0)
    grid = np.linspace(-2, 3, 251)
    first, second = (each.ravel() for each in np.meshgrid(grid, grid))
    log_p = stats.poisson.logpmf(y, np.exp(first[:, None] + second[:, None] * x)).sum(axis=1)
    log_p += stats.norm.logpdf(first) + stats.norm.logpdf(second)  # the mean of x is zero
    evidence = logsumexp(log_p) + 2 * np.log(grid[1] - grid[0])
    assert draws.log_evidence == pytest.approx(evidence, abs=4 * draws.log_evidence_error)
    weights = np.exp(log_p - logsumexp(log_p))
    assert draws.coef_mean[1] == pytest.approx(weights @ second, abs=0.03)


def test_levels_left_out_are_those_of_models_without_them(monkeypatch):
    rng = np.random.default_rng(0)
    g = np.arange(40) % 5
    X = pd.DataFrame({"x": rng.standard_normal(40), "g": g})
    y = rng.poisson(np.exp(0.5 + 0.3 * X["x"] + 0.7 * rng.standard_normal(5)[g]))
    model = MixedGeneralizedRegressor("(1 | g)", family="poisson").fit(X, y)
    draws = sample(model, X=X, y=y, random_state=0)
    found = loo(model, draws, X, y, leave_out="g", random_state=0)
    assert list(found.levels) == [0, 1, 2, 3, 4]
    monkeypatch.setattr(generalized_leave_out, "UNTRUSTED", -np.inf)
    again = loo(model, draws, X, y, leave_out="g", random_state=0)
    assert again.is_refitted.all()
    np.testing.assert_allclose(found.elpd, again.elpd, atol=0.5)
    rest = g != 3
    other = sample(
        MixedGeneralizedRegressor("(1 | g)", family="poisson").fit(X[rest], y[rest]),
        draws.prior,
        X=X[rest],
        y=y[rest],
        random_state=1,
    )
    coef, sd = other.coef.reshape(-1, 2), other.parameters["sd_(Intercept)|g"].reshape(-1, 1)
    z = np.linspace(-6.0, 6.0, 61)
    eta = coef[:, :1] + coef[:, 1:] * X["x"].to_numpy()[~rest]
    eta = eta[:, None] + (sd * z)[:, :, None]
    logs = stats.poisson.logpmf(y[~rest], np.exp(eta)).sum(axis=2) + stats.norm.logpdf(z)
    expected = np.log(np.exp(logs).sum(axis=1).mean() * (z[1] - z[0]))
    assert again.elpd[3] == pytest.approx(expected, abs=0.15)
    with pytest.raises(ValueError, match="'x' is not a factor"):
        loo(model, draws, X, y, leave_out="x")
