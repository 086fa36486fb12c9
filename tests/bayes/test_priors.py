import numpy as np
import pandas as pd
import pytest
from scipy import stats

from skmixed import MixedLinearRegressor
from skmixed.bayes import LKJ, Exponential, Flat, Gamma, HalfNormal, HalfT, Normal, Prior, sample
from skmixed.bayes.density import PosteriorDensity, starting_points
from skmixed.bayes.parametrization import Parametrization, RootCoordinates
from skmixed.bayes.priors import ModelPrior
from skmixed.core.posterior.integrated_likelihood import IntegratedLikelihood
from skmixed.datasets import load_sleepstudy
from skmixed.exceptions import SamplingWarning


def sleepstudy(random="(Days | Subject)", **more):
    X, y = load_sleepstudy(return_X_y=True)
    return X, y, MixedLinearRegressor(random, **more).fit(X, y).fit_


def grouped(n_groups, n=8, seed=0):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_groups), n)
    x = rng.standard_normal(len(g))
    y = 1 + x + rng.standard_normal(n_groups)[g] + rng.standard_normal(len(g))
    return pd.DataFrame({"x": x, "g": g.astype(str)}), y


def test_defaults_are_in_the_units_of_rows():
    X, y, fit = sleepstudy()
    prior = ModelPrior.of(fit, "weak")
    sd, days = y.std(), X["Days"].std()
    (term,) = prior.terms
    assert term.scales[0].scale == pytest.approx(2.5 * sd, rel=1e-12)
    assert term.scales[1].scale == pytest.approx(2.5 * sd / days, rel=1e-12)
    assert prior.noise.scale == pytest.approx(2.5 * sd, rel=1e-12)
    np.testing.assert_allclose(prior.coef.mean, [y.mean(), 0.0])
    np.testing.assert_allclose(
        prior.coef.precision, [(2.5 * sd) ** -2, (2.5 * sd / days) ** -2], rtol=1e-12
    )
    np.testing.assert_allclose(prior.coef.combinations, [[1.0, X["Days"].mean()], [0.0, 1.0]])
    stan = ModelPrior.of(fit, "rstanarm")
    assert stan.noise == Exponential(stan.noise.mean)
    assert stan.noise.mean == pytest.approx(sd)
    assert prior.is_proper
    assert stan.is_proper
    assert not ModelPrior.of(fit, "reference").is_proper


def test_units_keep_their_digits_beside_an_offset_and_are_about_zero_without_intercept():
    X, y, _ = sleepstudy()
    far = MixedLinearRegressor("(1 | Subject)").fit(X, y + 1e7).fit_
    assert ModelPrior.of(far, "weak").noise.scale == pytest.approx(2.5 * y.std(), rel=1e-9)
    fit = sleepstudy("(0 + Days | Subject)", fit_intercept=False)[2]
    prior = ModelPrior.of(fit, "weak")
    squares = np.mean(y**2) * len(y) / (len(y) - 1), np.mean(X["Days"] ** 2)
    assert prior.coef.precision[0] ** -0.5 == pytest.approx(
        2.5 * np.sqrt(squares[0] / squares[1]), rel=0.01
    )


def test_distributions_are_found_by_name():
    fit = sleepstudy()[2]
    given = Prior(
        scales={"Subject": {"Days": HalfNormal(7)}},
        correlation={"Subject": LKJ(3)},
        coef={"Days": Normal(1, 2), "(Intercept)": Flat()},
        sigma=HalfNormal(9),
    )
    prior = ModelPrior.of(fit, given)
    assert prior.terms[0].scales[1] == HalfNormal(7)
    assert isinstance(prior.terms[0].scales[0], HalfT)
    assert prior.terms[0].correlation == LKJ(3)
    assert prior.noise == HalfNormal(9)
    np.testing.assert_allclose(prior.coef.mean, [0, 1])
    np.testing.assert_allclose(prior.coef.precision, [0, 0.25])
    every = ModelPrior.of(fit, Prior(scales=HalfNormal(2), coef=Normal(0, 3)))
    assert every.terms[0].scales == (HalfNormal(2), HalfNormal(2))
    assert every.coef.precision[1] == pytest.approx(1 / 9)
    assert every.coef.mean[0] != 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Prior(scales={"subject": HalfT(3, 1)}), "'subject', which is not a factor"),
        (Prior(correlation={"g": LKJ()}), "'g', which is not a factor"),
        (Prior(scales={"Subject": {"days": HalfT(3, 1)}}), "'days', which is not a random column"),
        (Prior(coef={"days": Normal()}), "'days', which is not a fixed column"),
        ("weakly", "'weakly' is neither a Prior nor one of"),
    ],
)
def test_unknown_names_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ModelPrior.of(sleepstudy()[2], given)
    with pytest.raises(TypeError, match="neither a Prior"):
        ModelPrior.of(sleepstudy()[2], 3)


@pytest.mark.parametrize(
    ("random", "covariance"),
    [
        ("(Days | Subject)", "unstructured"),
        ("(Days || Subject)", "unstructured"),
        ("(Days | Subject)", "diagonal"),
        ("(Days | Subject)", "identity"),
        ("(1 | Subject) + (0 + Days | Subject)", "unstructured"),
    ],
)
@pytest.mark.parametrize("name", ["weak", "rstanarm"])
def test_draws_are_of_the_density_in_the_coordinates(random, covariance, name):
    X, y = load_sleepstudy(return_X_y=True)
    fit = MixedLinearRegressor(random, covariance=covariance).fit(X, y).fit_
    prior = ModelPrior.of(fit, name)
    phi = prior.draw(30_000, np.random.default_rng(0))
    d = prior.parametrization.size
    assert phi.shape == (30_000, d)
    # the density of a wide normal proposal, weighted by the prior's, integrates to one and has the
    # draws' probabilities of a box
    centre, spread = np.median(phi, axis=0), 1.6 * phi.std(axis=0)
    rng = np.random.default_rng(1)
    points = centre + spread * rng.standard_t(4, (60_000, d))
    z = (points - centre) / spread
    log_proposal = (stats.t(4).logpdf(z) - np.log(spread)).sum(axis=1)
    weights = np.exp(prior.log_density(points) - log_proposal)
    error = weights.std() / np.sqrt(len(weights))
    assert weights.mean() == pytest.approx(1.0, abs=5 * error)
    assert error < 0.05
    low, high = np.quantile(phi, [0.1, 0.7], axis=0)
    inside = ((points > low) & (points < high)).all(axis=1)
    share = ((phi > low) & (phi < high)).all(axis=1).mean()
    assert (weights * inside).mean() == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize(
    "random", ["(Days | Subject)", "(Days || Subject)", "(1 | Subject) + (0 + Days | Subject)"]
)
def test_coordinates_come_back_from_covariances(random):
    fit = sleepstudy(random)[2]
    parametrization = Parametrization.of(fit)
    rng = np.random.default_rng(0)
    phi = rng.uniform(-0.5, 0.5, (1, parametrization.size))
    phi[:, parametrization.is_deviation] += 3.0
    covariances = parametrization.covariances(phi)
    again = parametrization.read([each[0] for each in covariances], float(np.exp(phi[0, -1])))
    is_scale = parametrization.is_deviation.copy()
    is_scale[-1] = True
    np.testing.assert_allclose(again[is_scale], phi[0, is_scale], rtol=1e-10)
    expected = 0.8 * np.tanh(phi[0, ~is_scale])  # correlations are pulled inside
    np.testing.assert_allclose(np.tanh(again[~is_scale]), expected, rtol=1e-8)


def test_density_of_the_search_has_its_jacobian():
    fit = sleepstudy()[2]
    prior = ModelPrior.of(fit, "weak")
    coordinates = RootCoordinates(
        prior.parametrization, starting_points(fit, prior)[0], prior.root_degrees
    )
    likelihood = IntegratedLikelihood.of(fit, prior.coef)
    density = PosteriorDensity(likelihood, prior, coordinates)
    v = np.array([[1.1, 0.8, 0.2, 3.2], [0.7, 1.4, -0.4, 3.3]])
    phi = coordinates.phi(v)
    np.testing.assert_allclose(coordinates.points(phi), v, rtol=1e-12)
    steps = 1e-6 * np.eye(4)
    slopes = [
        np.linalg.slogdet((coordinates.phi(each + steps) - coordinates.phi(each - steps)) / 2e-6)[1]
        for each in v
    ]
    np.testing.assert_allclose(coordinates.log_jacobian(v), slopes, rtol=1e-6)
    values, sums = density(np.vstack([v, [[-1.0, 1.0, 0.0, 3.0]], [[1.0, 1.0, 0.0, 90.0]]]))
    assert values[2] == values[3] == -np.inf
    expected = likelihood.given(sums.take(np.arange(2)), np.exp(phi[:, -1])).log_likelihood
    np.testing.assert_allclose(
        values[:2], expected + prior.log_density(phi) + coordinates.log_jacobian(v)
    )


def test_improper_posteriors_are_refused():
    X, y = grouped(2)
    model = MixedLinearRegressor("(1 | g)").fit(X, y)
    with pytest.raises(ValueError, match="leave 1 of its 2 effects"):
        sample(model, "reference")
    with pytest.warns(SamplingWarning, match="posterior without a mean"):
        sample(
            model, Prior(scales=Flat(), sigma=Flat(log=True), coef={"x": Flat()}), random_state=0
        )
    with pytest.raises(ValueError, match="cannot exclude a variance of zero"):
        sample(model, Prior(scales=Flat(log=True)))
    # the group itself among the fixed columns leaves nothing for its effects
    X4, y4 = grouped(4)
    X4["between"] = X4["g"].astype(int) ** 2.0
    X4["more"] = X4["g"].astype(int) * 1.0
    crowded = MixedLinearRegressor("(1 | g)").fit(X4, y4)
    with pytest.raises(ValueError, match="leave 1 of its 4 effects"):
        sample(crowded, "reference")
    # a density that grows as s takes two effects more than a flat one
    four = MixedLinearRegressor("(1 | g)").fit(*grouped(4))
    with pytest.raises(ValueError, match="leave 3 of its 4 effects, and more than 3 are needed"):
        sample(four, Prior(scales=Gamma(3.0, np.inf), coef=Flat()))
    sample(four, Prior(scales=Gamma(1.5, np.inf), coef=Flat()), n_draws=20, random_state=0)
    slopes = MixedLinearRegressor("(x | g)").fit(*grouped(2, seed=1))
    with pytest.raises(ValueError, match="standard deviation of '\\(Intercept\\)' over 'g'"):
        sample(slopes, "reference")


def test_residual_deviation_may_not_be_flat_where_effects_can_follow_every_row():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"g": [str(i) for i in range(12)] + ["0", "1"]})
    y = rng.standard_normal(14)
    model = MixedLinearRegressor("(1 | g)").fit(X, y)
    with pytest.raises(ValueError, match="improper"):
        sample(
            MixedLinearRegressor("(1 | g)").fit(X[:12].assign(g=list("abcdefghijkk")), y[:12]),
            Prior(sigma=Flat(log=True), scales=Flat(log=True)),
        )
    assert sample(model, Prior(sigma=Flat(log=True)), n_draws=20, random_state=0).n_draws == 20
