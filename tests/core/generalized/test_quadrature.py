"""Quadrature against integrals and Laplace's approximation, its gradient against differences."""

from dataclasses import replace

import numpy as np
import pytest

from skmixed.core.generalized.approximation import observations as cutting
from skmixed.core.generalized.approximation.laplace import evaluate_laplace
from skmixed.core.generalized.approximation.modes import Point
from skmixed.core.generalized.approximation.quadrature import evaluate_quadrature
from skmixed.core.generalized.generalized_fitting import fit_rows
from skmixed.core.search.coordinates import Coordinates
from tests import reference_set
from tests.core.generalized.drawn import LINKS, draw, penalised, random_point
from tests.core.generalized.reading import read
from tests.core.generalized.test_generalized_fit import CBPP

GRADIENT = 1e-7
STEP = 3e-4


class Line:
    """The criterion with some nodes, as a function of beta, theta and phi."""

    def __init__(self, observations, point, n_nodes):
        self.observations, self.n_nodes = observations, n_nodes
        self.laplace = evaluate_laplace(observations, point)
        self.coordinates = Coordinates.natural(observations.structures)
        self.theta = self.coordinates.read(point.lambdas)
        self.parameters = np.concatenate([point.beta, self.theta, point.phi])
        self.cuts = [len(point.beta), len(point.beta) + len(self.theta)]

    def at(self, parameters):
        beta, theta, phi = np.split(parameters, self.cuts)
        point = Point(beta, self.coordinates.lambdas(theta), phi)
        kept = self.laplace.remembered
        return evaluate_quadrature(
            self.observations, self.laplace, self.n_nodes, point, kept, 1e-22
        )


@pytest.mark.parametrize(("name", "link"), LINKS)
@pytest.mark.parametrize(
    ("design", "n_nodes"),
    [("one column", 1), ("one column", 4), ("two columns", 3), ("three columns", 2)],
)
@pytest.mark.parametrize("kind", ["inside", "zero", "penalised"])
def test_gradient_is_differences(name, link, design, n_nodes, kind):
    rng = np.random.default_rng(41)
    drawn = draw(rng, design, name, link, n=60)
    observations = (penalised(drawn) if kind == "penalised" else drawn).observations()
    point = random_point(rng, observations, (0,) if kind == "zero" else ())
    line = Line(observations, point, n_nodes)
    slopes = line.at(line.parameters).slopes(line.coordinates, line.theta)
    direction = rng.normal(size=len(slopes))
    direction /= np.linalg.norm(direction)
    values = [
        line.at(line.parameters + times * STEP * direction).criterion for times in (1, -1, 2, -2)
    ]
    expected = (8.0 * (values[0] - values[1]) - (values[2] - values[3])) / (12.0 * STEP)
    assert slopes @ direction == pytest.approx(expected, abs=GRADIENT * np.abs(slopes).max())


@pytest.mark.parametrize("design", ["one column", "two columns", "three columns"])
def test_one_node_is_laplace(design, monkeypatch):
    monkeypatch.setattr(cutting, "_BLOCK_ROWS", 30)
    rng = np.random.default_rng(42)
    observations = draw(rng, design, "gamma").observations()
    point = random_point(rng, observations)
    here = evaluate_laplace(observations, point)
    one = evaluate_quadrature(observations, here, 1, point, here.remembered, 1e-22)
    assert one.criterion == pytest.approx(here.criterion, rel=1e-12)
    natural = Coordinates.natural(observations.structures)
    theta = natural.read(point.lambdas)
    np.testing.assert_allclose(one.slopes(natural, theta), here.slopes(natural, theta), rtol=1e-6)


@pytest.mark.parametrize(("name", "link"), LINKS)
def test_many_nodes_are_the_integral(name, link):
    rng = np.random.default_rng(43)
    drawn = draw(rng, "one column", name, link, n=60)
    observations = drawn.observations()
    point = random_point(rng, observations)
    here = evaluate_laplace(observations, point)
    found = evaluate_quadrature(observations, here, 25, point, here.remembered, 1e-22)
    u = np.linspace(-9.0, 9.0, 3001)
    rows, family = drawn.rows, drawn.family
    beta = (observations.units.to_raw[:, :-1] @ point.beta)[:3]
    lam = float((observations.units.random_maps[0] @ point.lambdas[0])[0, 0])
    base = rows.columns[:, :3] @ beta + drawn.offset
    eta = base[:, None] + lam * u
    f = np.array([
        family.derivatives(e, np.full(len(u), y), np.full(len(u), w), point.phi)[0]
        for e, y, w in zip(eta, rows.columns[:, -1], rows.weights, strict=True)
    ])  # fmt: skip
    by_level = np.zeros((15, len(u)))
    np.add.at(by_level, rows.codes[0], f)
    logs = -by_level - 0.5 * u**2 - 0.5 * np.log(2.0 * np.pi)
    top = logs.max(axis=1)
    total = top + np.log(np.exp(logs - top[:, None]).sum(axis=1) * (u[1] - u[0]))
    constant = family.constant(rows.columns[:, -1], rows.weights, point.phi)
    assert found.criterion == pytest.approx(-2.0 * total.sum() + 2.0 * constant, abs=1e-6)


# lme4 1.1-31 with nAGQ = 25; the likelihood, with all constants, by 200 nodes.
def test_cbpp_is_that_of_lme4():
    drawn = read(reference_set.table("cbpp"), CBPP, "binomial")
    found = fit_rows(drawn.layout, drawn.rows, drawn.spec, drawn.family, quadrature=25)
    assert found.report.converged
    assert found.quadrature == 25
    assert found.log_likelihood == pytest.approx(-91.98336903731064, abs=1e-9)
    assert found.theta[0] == pytest.approx(0.6475184779969677, abs=1e-6)
    expected = [-1.3992304442938, -0.9914036724383, -1.1278194668904, -1.5794707503573]
    np.testing.assert_allclose(found.beta, expected, atol=1e-6)
    assert found.approximation_shift is None


def test_shift_tells_where_quadrature_goes():
    drawn = read(reference_set.table("cbpp"), CBPP, "binomial")
    model = drawn.layout, drawn.rows, drawn.spec, drawn.family
    laplace, finer = fit_rows(*model), fit_rows(*model, quadrature=9)
    errors = np.sqrt(np.diag(laplace.parameter_covariance))
    moved = np.append(finer.beta - laplace.beta, finer.theta - laplace.theta) / errors
    np.testing.assert_allclose(laplace.approximation_shift, moved, atol=2e-3)


def test_few_binary_rows_a_level_ask_for_quadrature():
    rng = np.random.default_rng(44)
    codes = np.arange(900) // 3
    drawn = draw(rng, "one column", n=900, weights=False, offset=False)
    index = replace(drawn.rows.indexes[0], labels=(np.arange(300),))
    y = rng.random(900) < 1.0 / (1.0 + np.exp(-rng.normal(0.0, 2.0, 300)[codes]))
    drawn.rows.columns[:, -1] = y
    rows = replace(drawn.rows, codes=(codes,), indexes=(index,))
    found = fit_rows(drawn.layout, rows, drawn.spec, drawn.family)
    assert found.approximation_shift[-1] > 0.5


def test_zero_variance_stays():
    rng = np.random.default_rng(45)
    drawn = draw(rng, "one column", "poisson", n=150, offset=False)
    drawn.rows.columns[:, -1] = 2.0 + np.arange(150) % 2
    model = drawn.layout, drawn.rows, drawn.spec, drawn.family
    found, laplace = fit_rows(*model, quadrature=7), fit_rows(*model)
    assert found.theta[0] == 0.0
    assert found.criterion == pytest.approx(laplace.criterion, abs=1e-9)


def test_what_is_not_possible_is_said():
    rng = np.random.default_rng(46)
    crossed, wide = draw(rng, "crossed"), draw(rng, "three columns")
    for drawn, nodes, text in [
        (crossed, 5, r"quadrature=5 needs one grouping factor, and the model has 2"),
        (wide, 11, r"takes 11\^3 nodes, more than 1000: use at most 10"),
        (wide, 0, "at least 1"),
    ]:
        with pytest.raises(ValueError, match=text):
            fit_rows(drawn.layout, drawn.rows, drawn.spec, drawn.family, quadrature=nodes)
