"""All random effects of a small model at once: the criterion and its derivatives."""

import numpy as np
import pytest

from skmixed.core.model.dense import DenseStack
from skmixed.core.model.evaluation import evaluate
from skmixed.core.model.problem import Problem
from skmixed.core.model.stack import LockstepData
from skmixed.core.search.coordinates import Coordinates, theta_gradient
from tests.core.optimum import draw_problem, draw_scarce_problem

STEP = 1e-5  # of central differences
N_POINTS = 3


def gradient_at(problem, theta):
    coordinates = Coordinates.natural(problem.structures)
    evaluation = evaluate(problem, coordinates.lambdas(theta))
    return evaluation, theta_gradient(evaluation, coordinates, theta)


def hessian_at(problem, theta):
    """Return second derivatives by differences of the gradient."""
    moves = STEP * np.eye(len(theta))
    return np.array(
        [
            (gradient_at(problem, theta + move)[1] - gradient_at(problem, theta - move)[1])
            / (2.0 * STEP)
            for move in moves
        ]
    )


@pytest.mark.parametrize("draw", [draw_problem, draw_scarce_problem])
@pytest.mark.parametrize("seed", range(12))
def test_criterion_and_derivatives(draw, seed):
    problem = Problem.of(*draw(seed))
    kinds = [DenseStack, LockstepData] if len(problem.structures) == 1 else [DenseStack]
    for kind in kinds:
        stack = kind.of(problem, N_POINTS)
        theta = np.random.default_rng(seed).normal(size=(N_POINTS, stack.structure.n_theta))
        orders = np.tile(stack.structure.natural_order, (N_POINTS, 1))
        point = stack.evaluate(theta, orders)
        for number in range(N_POINTS):
            one, slope = gradient_at(problem, theta[number])
            ours = point.criterion[number] + problem.constant
            unit = 1.0 + np.abs(slope).max()
            assert ours == pytest.approx(one.criterion, rel=1e-10, abs=1e-8)
            np.testing.assert_allclose(point.slope[number], slope, atol=1e-7 * unit)
            hessian = hessian_at(problem, theta[number])
            size = 1.0 + np.abs(hessian).max()
            np.testing.assert_allclose(point.hessian[number], hessian, atol=1e-5 * size)
