"""Intervals of what several parameters of a residual structure make: correlations, ratios."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import toeplitz
from scipy.optimize import minimize

from skmixed import lmer
from skmixed.datasets import load_orthodont
from skmixed.inference import bootstrap, confidence_intervals
from skmixed.inference.components import components_of
from skmixed.inference.profiling.constrained_residual import ResidualDeviance
from skmixed.inference.profiling.profiles import ProfileCurve

TEETH = load_orthodont()
VISITS = 4
CHI2 = 3.841458820694124  # its 95% quantile, of one degree of freedom
AGE, IS_BOY = TEETH["age"], TEETH["Sex"] == "Male"
X = np.column_stack([np.ones(len(TEETH)), AGE, IS_BOY, AGE * IS_BOY]).astype(float)
Y = TEETH["distance"].to_numpy()


def deviance(sigma):
    """-2 log-likelihood of all subjects' four visits, beta being that of least squares."""
    root = np.linalg.cholesky(sigma)
    white = np.linalg.inv(root) @ np.column_stack([X, Y]).reshape(-1, VISITS, 5)
    gram = white.reshape(-1, 5).T @ white.reshape(-1, 5)
    square = gram[4, 4] - gram[4, :4] @ np.linalg.solve(gram[:4, :4], gram[:4, 4])
    log_det = 2.0 * len(white) * np.log(root.diagonal()).sum()
    return log_det + square + len(Y) * np.log(2.0 * np.pi)


def of_any(x):
    """Covariance of log deviations and Fisher's z of the six correlations."""
    correlations = np.eye(VISITS) / 2.0
    correlations[np.triu_indices(VISITS, 1)] = np.tanh(x[VISITS:])
    sizes = np.exp(x[:VISITS])
    return np.outer(sizes, sizes) * (correlations + correlations.T)


def of_lags(x):
    """The same of one deviation and correlations by lag."""
    return np.exp(2.0 * x[0]) * toeplitz([1.0, *np.tanh(x[1:])])


def least(covariance, start, place, value, relative=None):
    """Return the least deviance with an entry held, or the difference of two."""

    def at(free):
        x = np.insert(free, place, 0.0)
        x[place] = value + (0.0 if relative is None else x[relative])
        sigma = covariance(x)
        return deviance(sigma) if np.linalg.eigvalsh(sigma)[0] > 0.0 else 1e10

    free = np.delete(start, place)
    for _ in range(2):
        free = minimize(at, free, method="BFGS", options={"gtol": 1e-5}).x
    return at(free)


@pytest.fixture(scope="module")
def any_covariance():
    return lmer("distance ~ age * Sex", TEETH, residual="us(age | Subject)")


def limits(model, name):
    """Return the ends of the interval of one parameter, of the fit by maximum likelihood."""
    fit = model.fit_.with_method("ml")
    (part,) = (each for each in components_of(fit) if each.name == name)
    curve = ProfileCurve(ResidualDeviance(fit, part), fit.criterion)
    return [curve.constrained.limit(curve.solve(sign * CHI2**0.5)[0]) for sign in (-1.0, 1.0)]


@pytest.mark.parametrize(
    ("name", "place", "relative"),
    [("correlation 10:12", 7, None), ("correlation 8:14", 6, None), ("ratio 12/8", 2, 0)],
)
def test_profile_limits_of_visits_are_where_the_dense_deviance_has_risen_enough(
    any_covariance, name, place, relative
):
    best = any_covariance.fit_.with_method("ml")
    sigma = best.visit_covariance
    sizes = np.sqrt(np.diag(sigma))
    r = (sigma / np.outer(sizes, sizes))[np.triu_indices(VISITS, 1)]
    start = np.concatenate([np.log(sizes), np.arctanh(r)])
    assert_allclose(deviance(of_any(start)), best.criterion, rtol=1e-10)
    back = np.arctanh if relative is None else np.log
    for end in limits(any_covariance, name):
        risen = least(of_any, start, place, back(end), relative)
        assert risen - best.criterion == pytest.approx(CHI2, abs=1e-3), end


def test_profile_limits_of_lags_are_where_the_dense_deviance_has_risen_enough():
    model = lmer("distance ~ age * Sex", TEETH, residual="toeplitz(age | Subject)")
    best = model.fit_.with_method("ml")
    r = [parameter.value for parameter in best.residual_parameters]
    start = np.concatenate([[0.5 * np.log(best.sigma2)], np.arctanh(r)])
    for lag in (1, 2, 3):
        for end in limits(model, f"toeplitz {lag}"):
            risen = least(of_lags, start, lag, np.arctanh(end))
            assert risen - best.criterion == pytest.approx(CHI2, abs=1e-3), (lag, end)


@pytest.mark.parametrize(
    ("formula", "residual"),
    [
        ("distance ~ age * Sex", "us(age | Subject)"),
        ("distance ~ age", "ar1(| Subject) * var(Sex)"),
        ("distance ~ age + (1 | Sex)", "toeplitz(age | Subject)"),
        ("distance ~ age + (1 | Subject)", "var(Sex)"),
    ],
)
def test_gradients_with_a_parameter_held_are_those_of_differences(formula, residual):
    fit = lmer(formula, TEETH, residual=residual, reml=False).fit_
    for part in components_of(fit):
        held = ResidualDeviance(fit, part)
        x = held.start + 0.05 * np.cos(np.arange(len(held.start)))
        t, step = held.optimum + 0.1 * held.unit, 1e-5
        _, gradient, slope = held.evaluate(x, t)
        moves = step * np.eye(len(x))
        found = [(held.evaluate(x + m, t)[0] - held.evaluate(x - m, t)[0]) / 2e-5 for m in moves]
        assert_allclose(gradient, found, rtol=1e-5, atol=1e-4, err_msg=part.name)
        if not held.is_conditioned:
            ends = [held.evaluate(x, t + sign * step * held.unit)[0] for sign in (1.0, -1.0)]
            by_t = (ends[0] - ends[1]) / (2.0 * step * held.unit)
            assert slope == pytest.approx(by_t, rel=1e-5, abs=1e-4), part.name


def test_a_profile_of_lags_goes_beside_random_effects():
    """Effects of a factor of two levels are searched with the correlations of visits."""
    model = lmer("distance ~ age + (1 | Sex)", TEETH, residual="toeplitz(age | Subject)")
    wald = confidence_intervals(model).to_frame().loc["toeplitz 2", ["lower", "upper"]]
    assert_allclose(limits(model, "toeplitz 2"), wald.astype(float), atol=0.1)


def test_bootstrap_intervals_of_visits_are_percentiles_of_their_replicates(any_covariance):
    rows = {"X": TEETH, "y": TEETH["distance"], "random_state": 3}
    table = confidence_intervals(
        any_covariance, method="bootstrap", n_samples=40, **rows
    ).to_frame()
    drawn = bootstrap(any_covariance, 40, **rows).replicates
    names = [name for name in table.index if name.startswith(("ratio", "correlation"))]
    assert len(names) == 9
    wanted = pd.DataFrame(np.quantile(drawn[names], [0.025, 0.975], axis=0).T, names)
    assert_allclose(table.loc[names, ["lower", "upper"]].astype(float), wanted, rtol=1e-9)
