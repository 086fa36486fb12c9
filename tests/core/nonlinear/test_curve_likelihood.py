"""Laplace's approximation against its formula, written densely, and against differences."""

import numpy as np
import pytest
from scipy import optimize

from skmixed.core.linalg import block_diagonal
from skmixed.core.nonlinear.curve_likelihood import CurveLikelihood
from tests.core.nonlinear.curve_tables import plots, rows_of, start_of, theoph

RNG = np.random.default_rng(0)
GROUPS = {
    "one": (["site"], ["Asym", "xmid"]),
    "nested": (["plot", "site"], ["Asym", "xmid"]),
    "crossed": (["site", "year"], ["Asym"]),
}


def designed(kind, *, weighting="frequency", weighted=True):
    data = plots(n_sites=4)
    groups, random = GROUPS[kind]
    weights = RNG.uniform(0.5, 2.0, len(data["y"])) if weighted else None
    fixed = [(data["treated"], "Asym")]
    settings = {"weights": weights, "weighting": weighting, "fixed": fixed}
    rows = rows_of(data, "y", ["x"], groups, "logistic", random, **settings)
    beta = np.array([185.0, 700.0, 330.0, 4.0])
    lambdas = [np.tril(RNG.uniform(0.5, 4.0, (len(random), len(random)))) for _ in groups]
    return rows, beta, lambdas


def criterion_of(rows, beta, lambdas):
    """Minimise over u with scipy, and put the formula together densely."""
    sizes = rows.sizes
    z_of_u = []
    for factor, (levels, k) in enumerate(sizes):
        at_level = np.eye(levels)[rows.codes[factor]]
        z_of_u.append((at_level[:, :, None, None] * lambdas[factor]).transpose(0, 2, 1, 3)
                      .reshape(len(at_level), k, levels * k))  # fmt: skip
    to_parameters = np.zeros((len(rows.y), len(rows.offsets), sum(n * k for n, k in sizes)))
    start = place = 0
    for factor in z_of_u:
        for column in range(factor.shape[1]):
            owner = rows.made_of.varying[place + column]
            to_parameters[:, owner, start : start + factor.shape[2]] += factor[:, column]
        place, start = place + factor.shape[1], start + factor.shape[2]
    root = np.ones(len(rows.y)) if rows.weights is None else np.sqrt(rows.weights)
    population = rows.parameters(beta, rows.no_effects())

    def residual(u):
        parameters = population + (to_parameters @ u).T
        return np.append(root * (rows.y - rows.curve.value(parameters, rows.inputs)), u)

    def jacobian(u):
        slopes = rows.curve.slopes(population + (to_parameters @ u).T, rows.inputs)[1]
        z = np.einsum("np,npu->nu", slopes, to_parameters)
        return np.vstack([-root[:, None] * z, np.eye(len(u))])

    tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
    u = optimize.least_squares(residual, np.zeros(start), jacobian, method="lm", **tight).x
    d = jacobian(u).T @ jacobian(u)
    is_frequency = rows.spec.weighting == "frequency" and rows.weights is not None
    n = rows.weights.sum() if is_frequency else len(rows.y)
    square = residual(u) @ residual(u)
    value = np.linalg.slogdet(d)[1] + n * (1.0 + np.log(2.0 * np.pi * square / n))
    return value if is_frequency or rows.weights is None else value - np.log(rows.weights).sum()


def evaluated(rows, beta, lambdas):
    likelihood = CurveLikelihood.of(rows)
    u = likelihood.spherical(rows.no_effects(), lambdas)
    return likelihood.at(beta, lambdas, likelihood.near(beta, lambdas, u))


@pytest.mark.parametrize("kind", GROUPS)
@pytest.mark.parametrize("weighting", ["frequency", "precision"])
def test_the_criterion_is_the_formula(kind, weighting):
    rows, beta, lambdas = designed(kind, weighting=weighting)
    found = evaluated(rows, beta, lambdas).criterion
    assert found == pytest.approx(criterion_of(rows, beta, lambdas), rel=1e-10)


@pytest.mark.parametrize("kind", GROUPS)
def test_the_gradient_is_that_of_differences(kind):
    rows, beta, lambdas = designed(kind)
    point = evaluated(rows, beta, lambdas)
    by_beta, by_lambda = point.gradient

    def moved(beta, lambdas):
        return point.of.at(beta, lambdas, point).criterion

    for place, step in enumerate(1e-5 * np.abs(beta)):
        away = step * np.eye(len(beta))[place]
        found = (moved(beta + away, lambdas) - moved(beta - away, lambdas)) / (2.0 * step)
        assert by_beta[place] == pytest.approx(found, rel=1e-5, abs=1e-6)
    column = 0
    for factor, lam in enumerate(lambdas):
        k = len(lam)
        for i, j in zip(*np.tril_indices(k), strict=True):
            above, below = ([each.copy() for each in lambdas] for _ in range(2))
            above[factor][i, j] += 1e-5
            below[factor][i, j] -= 1e-5
            found = (moved(beta, above) - moved(beta, below)) / 2e-5
            expected = by_lambda[column + i, column + j]
            assert expected == pytest.approx(found, rel=1e-5, abs=1e-5)
        column += k


def test_a_variance_of_zero_is_an_ordinary_point():
    rows, beta, _ = designed("one", weighted=False)
    lam = np.diag([3.0, 0.0])
    found = evaluated(rows, beta, [lam])
    assert found.criterion == pytest.approx(criterion_of(rows, beta, [lam]), rel=1e-10)
    assert (found.effects[0][:, 1] == 0.0).all()
    assert np.isfinite(block_diagonal([found.gradient[1]])).all()


def test_levels_that_cross_may_not_be_too_many(monkeypatch):
    monkeypatch.setattr("skmixed.core.nonlinear.effect_blocks._MOST_BLOCK_ENTRIES", 100)
    rows, _, _ = designed("crossed")
    with pytest.raises(ValueError, match=r"matrices of 1 x 13 x 13.*method='lindstrom-bates'"):
        CurveLikelihood.of(rows)


def test_where_the_curve_is_not_finite_there_is_no_likelihood():
    rows = theoph()
    with pytest.raises(ArithmeticError, match="not finite"):
        evaluated(rows, np.array([np.nan, 0.5, -3.2]), [np.eye(2)])
    assert np.isfinite(evaluated(rows, start_of(rows), [np.eye(2)]).criterion)
