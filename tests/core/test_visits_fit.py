"""Fits of the repeated-measures model, and what tests of its coefficients ask of it."""

import pickle

import numpy as np
import pytest

from skmixed.core.residual.visits.visits_covariance import AnyCovariance, LagCovariance
from skmixed.core.residual.visits.visits_fit import VisitsFit
from tests.core.trials import Trial, draw_trial

KINDS = range(len(draw_trial(0).structures()))


def dense_gls(trial, V, reml=True):
    """-2 log-likelihood with nothing profiled but beta, and (X'V^-1 X)^-1 and beta."""
    inverse = np.linalg.inv(V)
    information = trial.X.T @ inverse @ trial.X
    beta = np.linalg.solve(information, trial.X.T @ inverse @ trial.y)
    rest = trial.y - trial.X @ beta
    n = len(trial.y) - (trial.X.shape[1] if reml else 0)
    value = np.linalg.slogdet(V)[1] + rest @ inverse @ rest + n * np.log(2.0 * np.pi)
    if reml:
        value += np.linalg.slogdet(information)[1]
    return value, np.linalg.inv(information), beta


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("kind", KINDS)
def test_fits_are_those_of_the_whole_matrix(kind, method):
    trial = draw_trial(kind + 50, 3, 30, weighted=kind % 2 == 1)
    fit = trial.fit(trial.structures()[kind], method)
    assert isinstance(fit, VisitsFit)
    V = trial.dense_covariance(fit.visit_covariance)
    criterion, covariance, beta = dense_gls(trial, V, method == "reml")
    assert fit.criterion == pytest.approx(criterion, rel=1e-11)
    assert fit.log_likelihood == -fit.criterion / 2.0
    assert fit.n_parameters == trial.X.shape[1] + len(fit.phi) + 1
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-8)
    np.testing.assert_allclose(fit.beta_covariance, covariance, rtol=1e-8, atol=1e-12)
    assert fit.sigma2 == pytest.approx(fit.visit_covariance[0, 0])
    rows = fit.visit_covariance.diagonal()[trial.visit]
    assert fit.mean_residual_variance == pytest.approx(rows.mean())
    other = fit.with_method("ml")
    assert isinstance(other, VisitsFit)
    assert other.spec.method == "ml"


def test_pickles_hold_no_rows_and_say_the_same():
    trial = draw_trial(60)
    fit = trial.fit(AnyCovariance(trial.labels()))
    again = pickle.loads(pickle.dumps(fit))
    assert again.criterion == fit.criterion
    np.testing.assert_array_equal(again.curvature.hessian, fit.curvature.hessian)
    larger = draw_trial(60, 4, 300, missing=0.0).fit(AnyCovariance(trial.labels()))
    smaller = draw_trial(60, 4, 60, missing=0.0).fit(AnyCovariance(trial.labels()))
    more = len(pickle.dumps(larger)) - len(pickle.dumps(smaller))
    assert more < 240 * 40  # the label and the rows of every subject


def test_parameters_may_be_held():
    trial = draw_trial(61)
    structure = LagCovariance(trial.labels(), "ar1", True)
    fit = trial.fit(structure)
    held = fit.with_phi_held({1: fit.phi[1] + 0.3})
    assert held.phi[1] == fit.phi[1] + 0.3
    assert held.criterion > fit.criterion + 1e-3
    assert fit.criterion_at(np.empty(0), held.phi) == pytest.approx(held.criterion)
    back = fit.with_phi_held({1: fit.phi[1]})
    np.testing.assert_allclose(back.phi, fit.phi, atol=1e-6)


def test_exact_fits_are_refused():
    trial = draw_trial(62)
    exact = Trial(trial.X, trial.X @ np.arange(1.0, 7.0), trial.subject, trial.visit, 4)
    with pytest.raises(ValueError, match="nothing is left for the residuals"):
        exact.fit(AnyCovariance(trial.labels()))


def second_differences(function, x, step=1e-4):
    """Second derivatives of a function of x, by differences."""
    n = len(x)
    found = np.empty((n, n))
    steps = step * np.eye(n)
    for i in range(n):
        for j in range(n):
            a, b = steps[i], steps[j]
            corners = function(x + a + b) - function(x + a - b)
            corners -= function(x - a + b) - function(x - a - b)
            found[i, j] = corners / (4.0 * step**2)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_degrees_of_freedom_of_satterthwaite(kind):
    # 2 v^2 / var(v), with the derivatives of everything in log sigma^2 and phi by differences
    trial = draw_trial(kind + 70, 3, 40)
    structure = trial.structures()[kind]
    fit = trial.fit(structure)
    functions = np.eye(trial.X.shape[1])

    def at(x):
        sigma = np.exp(x[0]) * structure.covariance(x[1:])
        return dense_gls(trial, trial.dense_covariance(sigma))

    x = np.append(np.log(fit.sigma2), fit.phi)
    covariance = 2.0 * np.linalg.inv(second_differences(lambda x: at(x)[0], x))
    slopes = np.array([
        (at(x + s)[1].diagonal() - at(x - s)[1].diagonal()) / 2e-5 for s in 1e-5 * np.eye(len(x))
    ])  # fmt: skip
    v = fit.beta_covariance.diagonal()
    expected = 2.0 * v**2 / np.einsum("ap,ab,bp->p", slopes, covariance, slopes)
    curvature = fit.curvature
    v_b = fit.evaluation.beta_covariance
    to_raw = fit.problem.model.to_raw[: len(functions), :-1]
    rows = functions @ to_raw
    along = np.einsum("pi,aij,pj->ap", rows, curvature.slopes, rows)
    v_rows = np.einsum("pi,ij,pj->p", rows, v_b, rows)
    nu = fit.problem.degrees
    h = along / v_rows - curvature.shares[:, None] / nu
    inverse = np.linalg.inv(curvature.hessian)
    found = 1.0 / (1.0 / nu + np.einsum("ap,ab,bp->p", h, inverse, h))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_terms_of_kenward_and_roger(kind):
    # Kenward & Roger (1997), equations as they stand, along sigma^2 and the slopes of Sigma
    trial = draw_trial(kind + 80, 3, 20)
    structure = trial.structures()[kind]
    fit = trial.fit(structure)
    sigma = structure.covariance(fit.phi)
    directions = [sigma, *structure.slopes(fit.phi)]
    V, X = trial.dense_covariance(sigma), trial.X
    G = [trial.dense_covariance(direction) for direction in directions]
    inverse = np.linalg.inv(V)
    v_b = np.linalg.inv(X.T @ inverse @ X)
    P = [-X.T @ inverse @ g @ inverse @ X for g in G]
    Q = [[X.T @ inverse @ g @ inverse @ h @ inverse @ X for h in G] for g in G]
    information = np.array([
        [
            np.trace(inverse @ G[r] @ inverse @ G[s])
            - 2.0 * np.trace(v_b @ Q[r][s])
            + np.trace(v_b @ P[r] @ v_b @ P[s])
            for s in range(len(G))
        ]
        for r in range(len(G))
    ])  # fmt: skip
    terms = fit.fixed_terms
    np.testing.assert_allclose(terms.information, information, rtol=1e-7, atol=1e-8)
    weights = 2.0 * np.linalg.inv(information)
    middle = sum(
        weights[r, s] * (Q[r][s] - P[r] @ v_b @ P[s]) for r in range(len(G)) for s in range(len(G))
    )
    to_raw = fit.problem.model.to_raw[: X.shape[1], :-1]  # X scaled = X raw to_raw
    np.testing.assert_allclose(
        terms.forms, [to_raw.T @ p @ to_raw for p in P], rtol=1e-7, atol=1e-8
    )
    scaled = fit.evaluation.beta_covariance
    found = terms.weighted_products(weights)
    found = found - np.einsum("rs,rij,jk,skl->il", weights, terms.forms, scaled, terms.forms)
    np.testing.assert_allclose(found, to_raw.T @ middle @ to_raw, rtol=1e-6, atol=1e-8)
