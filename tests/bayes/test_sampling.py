import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp

from skmixed import MixedLinearRegressor
from skmixed.bayes import LKJ, Exponential, Flat, Gamma, HalfT, Normal, Prior, sample
from skmixed.bayes.density import starting_points
from skmixed.bayes.priors import ModelPrior
from skmixed.core.posterior import effect_draws
from skmixed.core.posterior.effect_draws import EffectDraws
from skmixed.core.posterior.integrated_likelihood import IntegratedLikelihood
from skmixed.datasets import load_sleepstudy
from skmixed.exceptions import SamplingWarning, UnidentifiedWarning
from tests.reference_set import committed_table

RSTANARM = json.loads((Path(__file__).parent / "rstanarm.json").read_text())
MODELS = {
    "sleepstudy": ("(Days | Subject)", "Reaction"),
    "Dyestuff": ("(1 | Batch)", "Yield"),
    "Dyestuff2": ("(1 | Batch)", "Yield"),
    "Penicillin": ("(1 | plate) + (1 | sample)", "diameter"),
}


def fitted(name, **more):
    random, response = MODELS[name]
    table = committed_table(name)
    return MixedLinearRegressor(random, **more).fit(table.drop(columns=response), table[response])


def rstanarm_names(draws):
    """Draws of what rstanarm's summary has, by its names."""
    found = {name: draws.coef[:, :, n] for n, name in enumerate(draws.coef_names)}
    found["sigma"] = draws.sigma
    for factor, covariances in draws.random_covariance.items():
        names = draws._columns(factor)
        for i, first in enumerate(names):
            for j, second in enumerate(names[: i + 1]):
                found[f"Sigma[{factor}:{first},{second}]"] = covariances[:, :, i, j]
        effects = draws.effects(factor)
        for level, label in enumerate(draws.levels(factor)):
            for i, first in enumerate(names):
                found[f"b[{first} {factor}:{label}]"] = effects[:, :, level, i]
    return found


@pytest.mark.parametrize("name", MODELS)
def test_posterior_is_that_of_rstanarm(name):
    draws = sample(fitted(name), "rstanarm", random_state=1)
    assert draws.pareto_k < 0.7
    found, scores = rstanarm_names(draws), []
    n = 0.5 * draws.efficiency * draws.sigma.size  # of chains: less than that of weights
    for row, (mean, mcse, sd, low, high, n_eff) in RSTANARM[name].items():
        values = found[row]
        error = np.hypot(mcse, values.std() / np.sqrt(n))
        scores.append((values.mean() - mean) / error)
        # a quantile's error is about that of a mean times 2.1 in a normal tail, more in a long one
        wide = 4 * 2.1 * sd * np.sqrt(1 / n + 1 / n_eff) * (3 if row.startswith("Sigma") else 1)
        assert np.abs(np.quantile(values, [0.05, 0.95]) - [low, high]).max() < wide, row
    assert set(found) == set(RSTANARM[name])
    assert np.abs(scores).max() < 4


# log of the integral over both parameters by the trapezoidal rule, E sd, and quantiles of the sd,
# all with rstanarm's distributions of the coefficients
@pytest.mark.parametrize("name", ["Dyestuff", "Dyestuff2"])
@pytest.mark.parametrize("prior", ["weak", "rstanarm"])
def test_evidence_and_moments_are_those_of_a_grid(name, prior):
    fit = fitted(name).fit_
    distributions = ModelPrior.of(fit, prior)
    likelihood = IntegratedLikelihood.of(fit, distributions.coef)
    draws = sample(fit, prior, random_state=3)
    centre, spread = draws.phi.mean(axis=(0, 1)), draws.phi.std(axis=(0, 1))
    low = 14 if name == "Dyestuff2" else 10
    first = np.linspace(centre[0] - low * spread[0], centre[0] + 8 * spread[0], 500)
    second = np.linspace(centre[1] - 8 * spread[1], centre[1] + 10 * spread[1], 300)
    phi = np.column_stack([each.ravel() for each in np.meshgrid(first, second)])
    lambdas = distributions.parametrization.lambdas(phi)
    given = likelihood.given(likelihood.sums(lambdas, len(phi)), np.exp(phi[:, 1]))
    values = given.log_likelihood + distributions.log_density(phi)
    cell = np.log((first[1] - first[0]) * (second[1] - second[0]))
    evidence = logsumexp(values) + cell
    assert abs(draws.log_evidence - evidence) < 4 * draws.log_evidence_error
    if prior == "rstanarm":  # figures of an independent quadrature
        assert evidence == pytest.approx(
            {"Dyestuff": -168.84029, "Dyestuff2": -87.29497}[name], abs=2e-4
        )
    weights = np.exp(values - logsumexp(values))
    n = 0.5 * draws.efficiency * draws.sigma.size
    for place, parameter in enumerate(np.exp(phi.T)):
        drawn = np.exp(draws.phi[:, :, place])
        exact = weights @ parameter
        sd = np.sqrt(weights @ parameter**2 - exact**2)
        assert abs(drawn.mean() - exact) < 4 * sd / np.sqrt(n)
        for cut in np.quantile(drawn, [0.05, 0.5, 0.95]):
            share = weights @ (parameter < cut)
            tail = (drawn < cut).mean()
            assert abs(share - tail) < 4 * np.sqrt(share * (1 - share) / n)
    means = given.means[:, 0]
    mean = weights @ means
    variance = weights @ (means**2 + given.covariances[:, 0, 0]) - mean**2
    assert draws.coef_mean[0] == pytest.approx(
        mean, rel=1e-9, abs=4 * np.sqrt(weights @ (means - mean) ** 2 / n)
    )
    assert draws.coef_covariance[0, 0] == pytest.approx(variance, rel=0.06)


def test_evidence_tells_models_apart():
    X, y = load_sleepstudy(return_X_y=True)
    s = float(np.std(y, ddof=1))
    scales = {"Subject": {"(Intercept)": HalfT(3, s), "Days": HalfT(3, s / 4)}}
    expected = {
        "(Days | Subject)": -890.303,
        "(Days || Subject)": -889.402,
        "(1 | Subject)": -908.793,
    }
    for random, evidence in expected.items():  # an independent implementation, errors 0.007
        own = scales if "Days" in random else {"Subject": HalfT(3, s)}
        prior = Prior(scales=own, sigma=Exponential(s))
        draws = sample(MixedLinearRegressor(random).fit(X, y), prior, random_state=0)
        assert draws.log_evidence == pytest.approx(evidence, abs=0.04)


def test_rao_blackwell_means_agree_with_nuts_and_beat_its_error():
    X, y = load_sleepstudy(return_X_y=True)
    s = float(np.std(y, ddof=1))
    scales = {"Subject": {"(Intercept)": HalfT(3, s), "Days": HalfT(3, s / 4)}}
    coef = {"(Intercept)": Normal(300, 200), "Days": Normal(0, 50)}
    prior = Prior(scales=scales, correlation=LKJ(2), coef=coef, sigma=HalfT(3, s))
    means = [
        sample(MixedLinearRegressor("(Days | Subject)").fit(X, y), prior, random_state=n).coef_mean
        for n in range(3)
    ]
    # numpyro 0.22, 12,000 draws: Days 10.4392 +- .026
    assert np.abs(np.array(means)[:, 1] - 10.4392).max() < 4 * 0.026
    assert np.ptp(np.array(means)[:, 1]) < 0.005


def test_draws_depend_on_the_seed_alone():
    model = fitted("Penicillin")
    one, two = (sample(model, n_draws=50, random_state=4, n_jobs=n) for n in (1, 2))
    np.testing.assert_allclose(one.phi, two.phi, rtol=1e-8)
    np.testing.assert_allclose(one.coef, two.coef, rtol=1e-8)
    np.testing.assert_allclose(one.effects("sample"), two.effects("sample"), rtol=1e-8)
    np.testing.assert_allclose(
        one.effects("sample", ["B"]), one.effects("sample")[:, :, [1]], rtol=1e-8
    )
    first, other = (sample(fitted("Dyestuff"), n_draws=50, random_state=n) for n in (4, 5))
    assert (first.phi != other.phi).any()


def test_effects_of_several_factors_are_drawn_once_or_alike(monkeypatch):
    kept = sample(fitted("Penicillin"), n_draws=40, random_state=4)
    drawn_again = replace(kept)
    times = []
    together = EffectDraws._together
    monkeypatch.setattr(
        EffectDraws, "_together", lambda *given: times.append(1) or together(*given)
    )
    first = [kept.effects(factor) for factor in ("plate", "sample", "plate")]
    assert len(times) == 2  # 160 draws, a hundred at a time
    np.testing.assert_allclose(first[0], first[2], rtol=1e-8)
    monkeypatch.setattr(effect_draws, "_KEPT_CELLS", 0)
    again = [drawn_again.effects(factor) for factor in ("plate", "sample", "plate")]
    assert len(times) == 2 + 6
    for one, other in zip(first, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8)


def test_sums_that_came_in_parts_and_chunks_say_the_same():
    X, y = load_sleepstudy(return_X_y=True)
    whole = sample(fitted("sleepstudy"), n_draws=100, random_state=0)
    model = MixedLinearRegressor("(Days | Subject)")
    model.partial_fit(X[:90], y[:90]).partial_fit(X[90:], y[90:])
    merged = sample(model, n_draws=100, random_state=0)
    np.testing.assert_allclose(merged.phi, whole.phi, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(merged.coef_mean, whole.coef_mean, rtol=1e-6)
    assert merged.log_evidence == pytest.approx(whole.log_evidence, abs=1e-6)


def test_units_of_columns_and_response_do_not_matter():
    X, y = load_sleepstudy(return_X_y=True)
    one = sample(MixedLinearRegressor("(Days | Subject)").fit(X, y), n_draws=200, random_state=0)
    moved = X.assign(Days=60.0 * X["Days"])
    two = sample(
        MixedLinearRegressor("(Days | Subject)").fit(moved, 7.0 * y + 1000.0),
        n_draws=200,
        random_state=0,
    )
    np.testing.assert_allclose(two.sigma, 7.0 * one.sigma, rtol=1e-3)
    np.testing.assert_allclose(two.coef_mean, one.coef_mean * [7, 7 / 60] + [1000, 0], rtol=1e-4)
    shift = len(y) * np.log(7.0)
    assert two.log_evidence == pytest.approx(one.log_evidence - shift, abs=1e-3)
    ratio = two.effects("Subject") / one.effects("Subject")
    np.testing.assert_allclose(np.median(ratio, axis=(0, 1, 2)), [7, 7 / 60], rtol=1e-3)


def test_the_origin_of_a_column_does_not_matter_to_other_effects():
    X, y = load_sleepstudy(return_X_y=True)
    moved = X.assign(Days=60.0 * X["Days"] - 500.0)
    one, two = (
        sample(MixedLinearRegressor("(1 | Subject)").fit(given, y), n_draws=200, random_state=0)
        for given in (X, moved)
    )
    np.testing.assert_allclose(two.phi, one.phi, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(60.0 * two.coef[:, :, 1], one.coef[:, :, 1], rtol=1e-5)
    intercepts = two.coef[:, :, 0] - 500.0 * two.coef[:, :, 1]
    np.testing.assert_allclose(intercepts, one.coef[:, :, 0], rtol=1e-5)
    assert two.log_evidence == pytest.approx(one.log_evidence, abs=1e-5)


def test_frequency_weights_are_repeated_rows():
    X, y = load_sleepstudy(return_X_y=True)
    w = np.random.default_rng(0).integers(1, 4, len(y))
    twice = np.repeat(np.arange(len(y)), w)
    weighted = MixedLinearRegressor("(Days | Subject)").fit(X, y, w)
    repeated = MixedLinearRegressor("(Days | Subject)").fit(X.iloc[twice], y.iloc[twice])
    one, two = (sample(model, n_draws=60, random_state=0) for model in (weighted, repeated))
    np.testing.assert_allclose(one.coef_mean, two.coef_mean, rtol=1e-6)
    assert one.log_evidence == pytest.approx(two.log_evidence, abs=1e-5)


@pytest.mark.parametrize("random", [None, "(1 | g)", "(x | g) + (1 | h)"])
def test_moments_of_effects_are_those_of_many_draws(random):
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "x": rng.standard_normal(90),
            "g": rng.integers(6, size=90).astype(str),
            "h": rng.integers(5, size=90).astype(str),
        }
    )
    y = table["x"] + rng.standard_normal(6)[table["g"].astype(int)] + rng.standard_normal(90)
    used = ["x", *[c for c in "gh" if random and f"| {c}" in random]]
    draws = sample(MixedLinearRegressor(random).fit(table[used], y), n_draws=200, random_state=0)
    n = 0.4 * draws.efficiency * draws.sigma.size
    error = 4 / np.sqrt(2 * n)  # of a standard deviation, relative
    spread = draws.coef.std(axis=(0, 1))
    scores = (draws.coef.mean(axis=(0, 1)) - draws.coef_mean) / spread * np.sqrt(n)
    assert np.abs(scores).max() < 4
    np.testing.assert_allclose(np.sqrt(np.diag(draws.coef_covariance)), spread, rtol=error)
    for factor in draws.random_covariance:
        mean, covariance = draws.effect_moments(factor)
        effects = draws.effects(factor)
        spread = effects.std(axis=(0, 1))
        assert np.abs((effects.mean(axis=(0, 1)) - mean) / spread * np.sqrt(n)).max() < 4.5
        sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        np.testing.assert_allclose(sd, spread, rtol=1.1 * error)


def test_summaries_need_no_extra_and_name_what_is_not_there():
    draws = sample(fitted("sleepstudy"), n_draws=100, random_state=0)
    table = draws.to_frame()
    assert list(table.columns) == ["mean", "sd", "5%", "50%", "95%"]
    assert table.loc["Days", "mean"] == draws.coef_mean[1]
    with pytest.raises(ValueError, match="'subject' is not a factor of the model"):
        draws.effects("subject")
    with pytest.raises(ValueError, match="'1' is not a level of 'Subject'"):
        draws.effects("Subject", ["308", "1"])


def test_what_cannot_be_sampled_is_refused():
    X, y = load_sleepstudy(return_X_y=True)
    model = MixedLinearRegressor("(1 | Subject)")
    with pytest.raises(ValueError, match="not fitted yet"):
        sample(model)
    exact = MixedLinearRegressor().fit(np.arange(6.0)[:, None], np.arange(6.0))
    with pytest.raises(ValueError, match="fits the data exactly"):
        sample(exact)
    rng = np.random.default_rng(0)
    crossed = pd.DataFrame(rng.integers(6, size=(60, 2)).astype(str), columns=["g", "h"])
    model = MixedLinearRegressor("(1 | g) + (1 | h)", solver="iterative").fit(crossed, y[:60])
    with pytest.raises(ValueError, match="no exact likelihood"):
        sample(model)
    serial = MixedLinearRegressor("(1 | Subject)", residual="ar1(Days | Subject)").fit(X, y)
    with pytest.raises(ValueError, match="without residual="):
        sample(serial)
    with pytest.raises(ValueError, match="n_draws=0"):
        sample(fitted("Dyestuff"), n_draws=0)


def test_structures_without_distributions_are_refused():
    X, y = load_sleepstudy(return_X_y=True)
    X = X.assign(a=X["Days"] % 3, b=X["Days"] ** 2)
    model = MixedLinearRegressor("(0 + Days + a + b | Subject)", covariance="cs")
    with pytest.raises(ValueError, match="which has no priors"):
        sample(model.fit(X, y))


def test_poor_weights_are_warned_of():
    # of one level the data say nothing beside a flat coefficient, and the tail is the prior's
    rng = np.random.default_rng(3)
    g = np.repeat([0, 1], 8)
    X = pd.DataFrame({"x": g * rng.standard_normal(16), "g": g.astype(str)})
    y = 1 + X["x"] + rng.standard_normal(16)
    with pytest.warns(UnidentifiedWarning):
        model = MixedLinearRegressor("(0 + x | g)").fit(X, y)
    with pytest.warns(SamplingWarning, match="Pareto k is"):
        sample(model, Prior(scales=HalfT(0.1, 1.0), coef=Flat()), random_state=0)


@pytest.mark.parametrize(
    ("random", "prior"),
    [
        ("(x | g)", "rstanarm"),  # whose joint density of deviations is infinite where all vanish
        ("(x + z | g)", "rstanarm"),
        ("(1 | g)", Prior(scales=Gamma(0.3, 1.0))),
    ],
)
def test_densities_that_are_infinite_at_zero_do_not_hold_the_search_there(random, prior):
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(8), 6)
    X = pd.DataFrame({"x": rng.standard_normal(48), "z": rng.standard_normal(48), "g": g})
    y = 1 + X["x"] + 0.05 * rng.standard_normal(8)[g] + rng.standard_normal(48)
    model = MixedLinearRegressor(random).fit(X, y)
    draws = [sample(model, prior, n_draws=250, random_state=seed) for seed in range(2)]
    assert all(each.efficiency > 0.6 for each in draws)
    assert all(each.pareto_k < 0.7 for each in draws)
    first, second = (each.parameters["sd_(Intercept)|g"] for each in draws)
    assert abs(first.mean() - second.mean()) < 5 * first.std() / np.sqrt(0.3 * first.size)


def test_other_optima_are_starts():
    rng = np.random.default_rng(21)
    table = pd.DataFrame(rng.integers(5, size=(14, 2)).astype(str), columns=["g", "h"])
    table["h"] = np.where(rng.random(14) < 0.7, table["g"], table["h"])
    y = rng.standard_normal(14) + 2.0 * rng.standard_normal(5)[table["g"].astype(int)]
    fit = MixedLinearRegressor("(1 | g) + (1 | h)").fit(table, y).fit_
    starts = starting_points(fit, ModelPrior.of(fit, "weak"))
    assert len(starts) == 2
    assert np.abs(starts[1] - starts[0]).max() > 0.5
    assert sample(fit, n_draws=200, random_state=0).efficiency > 0.5


def test_both_modes_of_a_posterior_have_their_share():
    # two factors that nearly are one, in a table that stays the same if they change places: most
    # of the variance belongs to one of them, by distributions with a peak at zero and long tails
    rng = np.random.default_rng(0)
    a = 2.0 * rng.standard_normal(12)
    g = np.repeat(np.arange(12), 3)
    y = np.concatenate([a[g], a[:2], a[:2]]) + 0.5 * rng.standard_normal(40)
    y[-2:] = y[-4:-2]
    table = pd.DataFrame(
        {"g": np.append(g, [0, 0, 1, 1]), "h": np.append(g, [1, 1, 0, 0])}, dtype=str
    )
    model = MixedLinearRegressor("(1 | g) + (1 | h)").fit(table, y)
    draws = sample(model, Prior(scales=HalfT(1.0, 0.03)), random_state=0)
    first, second = (draws.parameters[f"sd_(Intercept)|{factor}"] for factor in "gh")
    assert (np.minimum(first, second) > 0.5 * np.maximum(first, second)).mean() < 0.03
    assert draws.efficiency > 0.5
    assert np.abs((first > second).mean(axis=1) - 0.5).max() < 0.1  # each chain has both
    assert abs((first > second).mean() - 0.5) < 4 * 0.5 / np.sqrt(0.5 * draws.efficiency * 4000)


def test_a_bar_shows_the_evaluations_where_it_is_asked_for(capsys):
    model = fitted("Penicillin")
    sample(model, n_draws=10, random_state=0)
    assert not capsys.readouterr().err
    sample(model, n_draws=10, random_state=0, verbose=1)
    assert "posterior: 100%" in capsys.readouterr().err
