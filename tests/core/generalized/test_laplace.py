"""Laplace's approximation against dense algebra, and its derivatives against differences."""

from dataclasses import replace

import numpy as np
import pytest

from skmixed.core.elimination.protocol import LostPrecisionError
from skmixed.core.generalized.approximation import observations as cutting
from skmixed.core.generalized.approximation.laplace import evaluate_laplace
from skmixed.core.generalized.approximation.modes import Point
from skmixed.core.model.spec import Term
from skmixed.core.search.coordinates import Coordinates
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from tests.core.generalized.drawn import (
    DESIGNS,
    LINKS,
    ONE_FACTOR,
    dense_laplace,
    draw,
    penalised,
    random_point,
    raw,
)

CRITERION = 1e-11
GRADIENT = 1e-7
HESSIAN = 1e-6
STEP = 3e-4

EVERY = pytest.mark.parametrize(("name", "link"), LINKS)
DESIGN = pytest.mark.parametrize("design", DESIGNS)


class Line:
    """Evaluations near a point: beta, Omega along the bases of the structures, and phi."""

    def __init__(self, observations, point):
        self.observations, self.point = observations, point
        self.here = evaluate_laplace(observations, point)
        self.p = len(point.beta)
        self.bases = [structure.basis for structure in observations.structures]
        self.size = self.p + sum(map(len, self.bases)) + len(point.phi)

    def moved(self, step):
        """Evaluate a step away; Omega stays positive semidefinite for a small one inside."""
        at, lambdas = self.p, []
        for basis, lam in zip(self.bases, self.point.lambdas, strict=True):
            omega = lam @ lam.T + np.tensordot(step[at : at + len(basis)], basis, 1)
            values, vectors = np.linalg.eigh(omega)
            assert (values > -1e-12).all()
            lambdas.append(vectors * np.sqrt(np.maximum(values, 0.0)))
            at += len(basis)
        point = Point(self.point.beta + step[: self.p], lambdas, self.point.phi + step[at:])
        return evaluate_laplace(self.observations, point, self.here.remembered)

    def slopes(self, evaluation):
        parts = [evaluation.beta_slope]
        for basis, gradient in zip(self.bases, evaluation.gradient, strict=True):
            parts.append(np.einsum("eab,ab->e", basis, gradient))
        return np.concatenate([*parts, evaluation.phi_slope])

    def differences(self, direction):
        """Five-point differences of the criterion and of the gradient along a direction."""
        at = [self.moved(times * STEP * direction) for times in (1, -1, 2, -2)]
        values = [np.append(e.criterion, self.slopes(e)) for e in at]
        both = (8.0 * (values[0] - values[1]) - (values[2] - values[3])) / (12.0 * STEP)
        return both[0], both[1:]


@EVERY
@DESIGN
def test_criterion_is_the_dense_one(name, link, design):
    rng = np.random.default_rng(11)
    drawn = draw(rng, design, name, link)
    observations = drawn.observations()
    for boundary in [(), (0,)]:
        point = random_point(rng, observations, boundary)
        found = evaluate_laplace(observations, point).criterion
        expected = dense_laplace(drawn, *raw(observations, point), point.phi)
        assert found == pytest.approx(expected, rel=CRITERION)


@EVERY
@DESIGN
def test_gradient_and_hessian_are_differences(name, link, design):
    rng = np.random.default_rng(12)
    observations = draw(rng, design, name, link).observations()
    line = Line(observations, random_point(rng, observations))
    slope, smooth = line.slopes(line.here), line.size - len(line.point.phi)
    for direction in [np.eye(line.size)[0], rng.normal(size=line.size)]:
        direction = direction / np.linalg.norm(direction)
        value, gradient = line.differences(direction)
        assert value == pytest.approx(slope @ direction, abs=GRADIENT * np.abs(slope).max())
        if design in ONE_FACTOR and not direction[smooth:].any():
            expected = line.here.hessian @ direction[:smooth]
            scale = HESSIAN * np.abs(expected).max()
            np.testing.assert_allclose(gradient[:smooth], expected, atol=scale)
    if design in ONE_FACTOR:
        direction = np.append(rng.normal(size=smooth), np.zeros(line.size - smooth))
        direction /= np.linalg.norm(direction)
        expected = line.here.hessian @ direction[:smooth]
        scale = HESSIAN * np.abs(expected).max()
        np.testing.assert_allclose(line.differences(direction)[1][:smooth], expected, atol=scale)


@pytest.mark.parametrize("structure", ["identity", "diagonal"])
@pytest.mark.parametrize("name", ["binomial", "gamma"])
def test_many_columns_of_one_level_have_the_same_derivatives(name, structure):
    rng = np.random.default_rng(15)
    drawn = draw(rng, "none", name)
    n, columns = len(drawn.rows.columns), drawn.rows.columns
    many = rng.normal(size=(n, 9)) * (rng.random((n, 9)) < 0.4)
    layout = Layout(
        ("1", "x", "z", *map(str, range(9)), "y"), (FactorLayout(("m",), (0, *range(3, 12))),)
    )
    rows = Rows(
        np.column_stack([columns[:, :3], many, columns[:, 3]]),
        (np.zeros(n, dtype=np.intp),),
        (GroupIndex(("m",), (np.zeros(1, dtype=int),)),),
        drawn.rows.weights,
    )
    spec = replace(drawn.spec, terms=(Term(0, tuple(range(3, 12)), structure),))
    drawn = replace(drawn, layout=layout, rows=rows, spec=spec)
    observations = drawn.observations()
    line = Line(observations, random_point(rng, observations))
    smooth = line.size - len(line.point.phi)
    expected = dense_laplace(drawn, *raw(observations, line.point), line.point.phi)
    assert line.here.criterion == pytest.approx(expected, rel=CRITERION)
    for _ in range(2):
        direction = np.append(rng.normal(size=smooth), np.zeros(line.size - smooth))
        direction /= np.linalg.norm(direction)
        value, gradient = line.differences(direction)
        slope = line.slopes(line.here)
        assert value == pytest.approx(slope @ direction, abs=GRADIENT * np.abs(slope).max())
        found = line.here.hessian @ direction[:smooth]
        np.testing.assert_allclose(gradient[:smooth], found, atol=HESSIAN * np.abs(found).max())


@DESIGN
@pytest.mark.parametrize("structure", [None, "diagonal"])
def test_penalties_have_the_same_derivatives(design, structure):
    rng = np.random.default_rng(14)
    plain = draw(rng, design, "binomial", "logit", structure=structure)
    observations = penalised(plain).observations()
    point = random_point(rng, observations)
    line, without = Line(observations, point), evaluate_laplace(plain.observations(), point)
    expected = sum(
        float(penalty.value(lam))
        for penalty, lam in zip(observations.penalties, point.lambdas, strict=True)
    )
    assert line.here.criterion - without.criterion == pytest.approx(expected, rel=1e-9)
    for _ in range(2):
        direction = rng.normal(size=line.size) / np.sqrt(line.size)
        value, gradient = line.differences(direction)
        slope = line.slopes(line.here)
        assert value == pytest.approx(slope @ direction, abs=GRADIENT * np.abs(slope).max())
        change = gradient - without.hessian @ direction
        ours = (line.here.hessian - without.hessian) @ direction
        if design in ONE_FACTOR:
            np.testing.assert_allclose(ours, change, atol=HESSIAN * np.abs(gradient).max())


@EVERY
@pytest.mark.parametrize("design", ["one column", "nested", "crossed"])
def test_gradient_at_zero_is_the_score_test(name, link, design):
    rng = np.random.default_rng(13)
    observations = draw(rng, design, name, link).observations()
    zero = [np.zeros((s.size, s.size)) for s in observations.structures]
    point = random_point(rng, observations)._replace(lambdas=zero)
    here = evaluate_laplace(observations, point)
    for factor, gradient in enumerate(here.gradient):
        v = rng.normal(size=len(gradient))
        values = []
        for size in (3e-7, 6e-7):  # a one-sided difference in omega, of second order
            lambdas = list(zero)
            lambdas[factor] = np.sqrt(size) * np.outer(v, np.eye(len(v))[0])
            values.append(evaluate_laplace(observations, point._replace(lambdas=lambdas)).criterion)
        slope = (4.0 * values[0] - values[1] - 3.0 * here.criterion) / 6e-7
        assert v @ gradient @ v == pytest.approx(slope, rel=1e-3, abs=0.05)


@EVERY
@pytest.mark.parametrize("design", ONE_FACTOR[1:])
@pytest.mark.parametrize("lost", [1, 3])
def test_derivatives_in_theta_hold_on_the_boundary(name, link, design, lost):
    """Of lambda the last or all columns are zero; in theta the criterion is smooth there."""
    rng = np.random.default_rng(18)
    observations = draw(rng, design, name, link, n=90).observations()
    point = random_point(rng, observations)
    for lam in point.lambdas:
        lam[:, max(0, len(lam) - lost) :] = 0.0
    coordinates = Coordinates.natural(observations.structures)
    theta = coordinates.read(point.lambdas)
    here = evaluate_laplace(observations, point)
    cuts = [len(point.beta), len(point.beta) + len(theta)]
    parameters = np.concatenate([point.beta, theta, point.phi])

    def at(moved):
        beta, inside, phi = np.split(moved, cuts)
        there = Point(beta, coordinates.lambdas(inside), phi)
        found = evaluate_laplace(observations, there, here.remembered)
        return np.append(found.criterion, found.slopes(coordinates, inside))

    direction = rng.normal(size=len(parameters))
    direction[cuts[1] :] = 0.0  # the second derivatives given are those in beta and theta
    direction /= np.linalg.norm(direction)
    values = [at(parameters + times * STEP * direction) for times in (1, -1, 2, -2)]
    found = (8.0 * (values[0] - values[1]) - (values[2] - values[3])) / (12.0 * STEP)
    slopes = here.slopes(coordinates, theta)
    assert found[0] == pytest.approx(slopes @ direction, abs=GRADIENT * np.abs(slopes).max())
    expected = here.curvature(coordinates, theta) @ direction[: cuts[1]]
    scale = HESSIAN * np.abs(expected).max()
    np.testing.assert_allclose(found[1:][: cuts[1]], expected, atol=scale)


@pytest.mark.parametrize("design", DESIGNS)
def test_blocks_add_up_to_one(design, monkeypatch):
    rng = np.random.default_rng(14)
    drawn = draw(rng, design, "gamma")
    whole = drawn.observations()
    monkeypatch.setattr(cutting, "_BLOCK_ROWS", 30)
    cut = drawn.observations()
    assert (len(cut.blocks) > 1) == ("crossed" not in design)
    point = random_point(rng, whole)
    one, many = evaluate_laplace(whole, point), evaluate_laplace(cut, point)
    assert many.criterion == pytest.approx(one.criterion, rel=1e-13)
    np.testing.assert_allclose(many.beta_slope, one.beta_slope, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(many.hessian, one.hessian, rtol=1e-8, atol=1e-7)
    seen = [np.concatenate(parts) for parts in zip(*[b.levels for b in cut.blocks], strict=True)]
    for levels, size in zip(seen, cut.n_levels, strict=True):
        np.testing.assert_array_equal(np.sort(levels), np.arange(size))


def test_equal_rows_are_put_together():
    rng = np.random.default_rng(15)
    drawn = draw(rng, "one column", n=1000, offset=False)
    drawn.rows.columns[:, 1:3] = np.round(np.clip(drawn.rows.columns[:, 1:3], -1.0, 1.0))
    together = drawn.observations()
    assert sum(len(block.y) for block in together.blocks) < 200
    point = random_point(rng, together)
    expected = dense_laplace(drawn, *raw(together, point), point.phi)
    assert evaluate_laplace(together, point).criterion == pytest.approx(expected, rel=CRITERION)


def test_modes_are_found_from_far_away():
    rng = np.random.default_rng(16)
    drawn = draw(rng, "two columns", "poisson")
    observations = drawn.observations()
    point = random_point(rng, observations)
    far = point._replace(lambdas=[30.0 * lam for lam in point.lambdas], beta=point.beta + 4.0)
    near = evaluate_laplace(observations, far)
    again = evaluate_laplace(observations, point, near.remembered)
    expected = evaluate_laplace(observations, point).criterion
    assert again.criterion == pytest.approx(expected, rel=1e-12)
    dense = dense_laplace(drawn, *raw(observations, far), far.phi)
    assert near.criterion == pytest.approx(dense, rel=1e-9)


def test_modes_are_exact_where_the_data_say_nearly_all():
    """Weights of a million, and levels with fewer rows than random columns."""
    rng = np.random.default_rng(17)
    drawn = draw(rng, "two columns", "poisson", n=24)
    drawn.rows.weights[:] = 10.0 ** rng.uniform(5.0, 7.0, 24)
    observations = drawn.observations()
    point = random_point(rng, observations)
    point = point._replace(lambdas=[5.0 * lam for lam in point.lambdas], beta=point.beta + 6.0)
    here = evaluate_laplace(observations, point)
    assert here.decrement < 1e-12
    again = evaluate_laplace(observations, point, here.remembered)
    np.testing.assert_allclose(again.beta_slope, here.beta_slope, atol=1e-3)
    assert again.criterion == pytest.approx(here.criterion, rel=1e-13)


def test_modes_that_are_not_found_are_no_evaluation(monkeypatch):
    rng = np.random.default_rng(19)
    observations = draw(rng, "crossed", "poisson").observations()
    monkeypatch.setattr("skmixed.core.generalized.approximation.modes._MOST_MODE_STEPS", 1)
    point = random_point(rng, observations)
    far = point._replace(lambdas=[30.0 * lam for lam in point.lambdas], beta=point.beta + 4.0)
    with pytest.raises(LostPrecisionError, match="random effects were not found"):
        evaluate_laplace(observations, far)
