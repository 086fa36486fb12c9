"""The covariance of a few effects, the same for every level that has columns of its own."""

import numpy as np
import pytest

from skmixed.core.model.structures.linear_roots import Diagonal, Unstructured
from skmixed.core.model.structures.repeated import Repeated

TIMES = 3  # levels


@pytest.fixture(params=[Unstructured, Diagonal])
def kinds(request):
    return request.param(2)


def wide(matrix):
    return np.kron(matrix, np.eye(TIMES))


def test_all_is_the_product_with_the_identity(kinds):
    rng = np.random.default_rng(0)
    structure = Repeated(2 * TIMES, kinds)
    small, order = np.array([1, 0]), np.array([3, 4, 5, 0, 1, 2])
    theta = rng.standard_normal(kinds.n_theta)
    np.testing.assert_allclose(structure.lam(theta, order), wide(kinds.lam(theta, small)))
    for mine, theirs in zip(
        structure.directions(theta, order), kinds.directions(theta, small), strict=True
    ):
        np.testing.assert_allclose(mine, wide(theirs))
    omega = structure.lam(theta, order) @ structure.lam(theta, order).T
    again = structure.lam(structure.theta(omega, order), order)
    np.testing.assert_allclose(again @ again.T, omega)
    rescaled = structure.rescaled(theta, np.eye(2 * TIMES))
    np.testing.assert_allclose(rescaled, kinds.rescaled(theta, np.eye(2)))
    assert structure.basis.shape == (kinds.n_theta, 2 * TIMES, 2 * TIMES)
    several = structure.lam(np.stack([theta, 2.0 * theta]), order)
    np.testing.assert_allclose(several[1], 2.0 * several[0])


def test_second_derivatives_are_differences_of_the_first(kinds):
    rng = np.random.default_rng(1)
    structure, order = Repeated(2 * TIMES, kinds), np.arange(2 * TIMES)
    theta, gradient = rng.standard_normal(kinds.n_theta), rng.standard_normal((2 * TIMES,) * 2)
    gradient = gradient + gradient.T
    steps = 1e-6 * np.eye(len(theta))
    ends = [
        [np.tensordot(structure.directions(theta + sign * step, order), gradient, axes=2)
         for step in steps] for sign in (1.0, -1.0)
    ]  # fmt: skip
    expected = (np.array(ends[0]) - np.array(ends[1])) / 2e-6
    np.testing.assert_allclose(
        structure.curvature(theta, order, gradient), expected, rtol=1e-6, atol=1e-7
    )


def test_moments_are_means_over_levels(kinds):
    rng = np.random.default_rng(2)
    structure, order = Repeated(2 * TIMES, kinds), np.arange(2 * TIMES)
    effects = rng.standard_normal((2, TIMES))
    moment = np.outer(effects.ravel(), effects.ravel())
    found = structure.projected(moment)
    np.testing.assert_allclose(found, wide(kinds.projected(effects @ effects.T / TIMES)))
    large = wide(np.diag([1.0, 100.0]))
    pivoted = structure.pivot(large, order)
    assert pivoted.tolist() == ([3, 4, 5, 0, 1, 2] if isinstance(kinds, Unstructured) else [*order])
    zero = wide(np.diag([1.0, 1e-9]))
    assert structure.is_on_boundary(zero)
    assert not structure.is_on_boundary(large)
    assert structure.snapped(large) is large
    np.testing.assert_allclose(structure.snapped(zero), wide(np.diag([1.0, 0.0])))
    slope, direction = structure.way_off(zero, -np.eye(2 * TIMES))
    assert slope == pytest.approx(-TIMES)
    np.testing.assert_allclose(direction, wide(np.diag([0.0, 1.0])), atol=1e-12)
