import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logsumexp

from skmixed import MixedClassifier, MixedGeneralizedRegressor
from skmixed.core.generalized.after_fit.same_rows import evaluate_at, point_of
from skmixed.core.posterior.joint_integrals import JointDraws, JointIntegrals
from skmixed.core.posterior.level_integrals import LevelIntegrals
from skmixed.core.posterior.level_rows import ParameterPoints
from skmixed.inference.fitted import observations_of_fit
from tests.core.posterior.test_level_integrals import FAMILIES, fitted, points_about


def crossed(n=60):
    """Rows of two levels each of two factors, whose four effects a grid can integrate."""
    rng = np.random.default_rng(2)
    X = pd.DataFrame({"g": np.arange(n) % 2, "h": rng.integers(2, size=n)}).astype(str)
    y = (rng.random(n) < 0.3 + 0.4 * (X["g"] == "1")).astype(int)
    model = MixedClassifier("(1 | g) + (1 | h)").fit(X, y)
    return model, observations_of_fit(model, X, y, None, None, "this"), X, y


def test_approximation_is_laplaces():
    model, observations, *_ = crossed()
    integrals = JointIntegrals.of(observations, model.fit_)
    point = point_of(observations, np.array([0.2]), [np.eye(1), 0.5 * np.eye(1)], np.zeros(0))
    points = ParameterPoints(
        point.beta[None], [lam[None] for lam in point.lambdas], np.zeros((1, 0))
    )
    expected = -0.5 * evaluate_at(observations, 1, point).criterion
    assert integrals.log_likelihood(points)[0] == pytest.approx(expected, abs=1e-7)


def test_corrections_and_effects_of_crossed_factors_are_those_of_a_grid():
    model, observations, X, y = crossed(16)
    integrals = JointIntegrals.of(observations, model.fit_)
    sds = 1.0, 1.5
    grid = np.linspace(-5, 5, 25)
    log_p = 0.0
    shape = {("g", "0"): 0, ("g", "1"): 1, ("h", "0"): 2, ("h", "1"): 3}
    axes = [grid.reshape([-1 if axis == place else 1 for axis in range(4)]) for place in range(4)]
    for g, h, hit in zip(X["g"], X["h"], y, strict=True):
        eta = 0.2 + sds[0] * axes[shape["g", g]] + sds[1] * axes[shape["h", h]]
        log_p = log_p + np.log(expit(eta) if hit else expit(-eta))
    for axis in axes:
        log_p = log_p + stats.norm.logpdf(axis)
    whole = logsumexp(log_p) + 4 * np.log(grid[1] - grid[0])
    weights = np.exp(log_p - logsumexp(log_p))
    means = [float((weights * axis).sum()) for axis in axes]
    n = 600
    to_raw = observations.units.to_raw[list(model.fit_.spec.fixed), :-1]
    beta = np.full((n, 1), 0.2 / to_raw[0, 0])
    maps = observations.units.random_maps
    roots = [np.full((n, 1, 1), sd / m[0, 0]) for sd, m in zip(sds, maps, strict=True)]
    points = ParameterPoints(beta, roots, np.zeros((n, 0)))
    laplace = integrals.log_likelihood(points.take(slice(1)))[0]
    factors = np.array([f for f, _ in integrals.corrected(points, np.arange(n), 5)])
    ratios = np.exp(factors + laplace - whole)
    assert ratios.mean() == pytest.approx(1.0, abs=4 * ratios.std() / np.sqrt(n))
    assert 0.0 < ratios.std() < 0.3
    draws = JointDraws(integrals, points, np.arange(n), 5)
    shares = ratios / ratios.sum()
    names = [index.name for index in model.fit_.products.levels]
    for position, name in enumerate(names):
        effects = draws.of(position, np.arange(2))[:, :, 0]
        sd, places = sds["gh".index(name)], (0, 1) if name == "g" else (2, 3)
        expected = [sd * means[place] for place in places]
        error = 4 * effects.std(axis=0) / np.sqrt(n)
        assert (np.abs(shares @ effects - expected) < error + 0.02).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_corrections_are_what_quadrature_adds(family):
    model, observations, *_ = fitted(family, "(x | g)")
    points, _ = points_about(model, observations, 2)
    by_levels = LevelIntegrals.of(observations, model.fit_).log_likelihood(points)
    integrals = JointIntegrals.of(observations, model.fit_)
    laplace = integrals.log_likelihood(points)
    for row in range(2):
        many = points.take(np.full(400, row))
        factors = np.array([f for f, _ in integrals.corrected(many, np.arange(400), 1)])
        ratios = np.exp(factors - (by_levels[row] - laplace[row]))
        assert ratios.mean() == pytest.approx(1.0, abs=4 * ratios.std() / np.sqrt(400) + 1e-3)


def test_points_without_a_number_have_no_likelihood():
    model, observations, *_ = fitted("poisson", "(1 | g)")
    integrals = JointIntegrals.of(observations, model.fit_)
    points, _ = points_about(model, observations, 2)
    points.beta[1, 0] = 1e200
    assert np.isfinite(integrals.log_likelihood(points)).tolist() == [True, False]


def test_rows_without_effects_have_their_likelihood():
    X = np.linspace(-1, 1, 20)[:, None]
    y = np.arange(20) % 4
    model = MixedGeneralizedRegressor(family="poisson").fit(X, y)
    observations = observations_of_fit(model, X, y, None, None, "this")
    integrals = JointIntegrals.of(observations, model.fit_)
    to_raw = observations.units.to_raw[list(model.fit_.spec.fixed), :-1]
    beta = np.linalg.solve(to_raw, [0.3, -0.2])[None]
    points = ParameterPoints(beta, [], np.zeros((1, 0)))
    expected = stats.poisson.logpmf(y, np.exp(0.3 - 0.2 * X[:, 0])).sum()
    assert integrals.log_likelihood(points)[0] == pytest.approx(expected, rel=1e-10)
    assert [factor for factor, _ in integrals.corrected(points, np.arange(1), 0)] == [0.0]
