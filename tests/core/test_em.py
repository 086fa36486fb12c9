"""The EM algorithm never raises the criterion and ends where Newton's method does."""

import numpy as np
import pytest

from skmixed import lmer
from skmixed.core.model.evaluation import evaluate
from skmixed.core.model.problem import Problem
from skmixed.core.search.coordinates import Coordinates
from skmixed.core.search.em import EM
from skmixed.core.search.newton import Newton
from skmixed.core.search.state import em_step
from skmixed.datasets import load_sleepstudy
from tests.core.optimum import draw_problem

UNBALANCED = load_sleepstudy().sample(frac=0.6, random_state=1)
FORMULAS = [
    "Reaction ~ Days + (Days | Subject)",
    "Reaction ~ Days + (Days || Subject)",
    "Reaction ~ 1 + (1 | Subject) + (1 | Days)",
]


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("formula", FORMULAS)
def test_em_agrees_with_newton(formula, reml):
    em = lmer(formula, UNBALANCED, reml=reml, solver="em")
    newton = lmer(formula, UNBALANCED, reml=reml, solver="newton")
    assert em.solver_ == "em"
    assert em.converged_
    assert em.criterion_ == pytest.approx(newton.criterion_, abs=1e-9)
    np.testing.assert_allclose(em.theta_, newton.theta_, rtol=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_every_em_step_lowers_the_criterion(seed):
    problem = Problem.of(*draw_problem(seed))
    coordinates = Coordinates.natural(problem.structures)
    lams = [np.eye(s.size) for s in problem.structures]
    evaluation = evaluate(problem, lams)
    for _ in range(30):
        before = evaluation.criterion
        omegas = em_step(evaluation)
        lams = coordinates.lambdas(coordinates.theta(omegas))
        for structure, omega, lam in zip(problem.structures, omegas, lams, strict=True):
            np.testing.assert_allclose(lam @ lam.T, omega, atol=1e-9 * np.abs(omega).max())
            assert len(structure.blocks) > 0
        evaluation = evaluate(problem, lams)
        assert evaluation.criterion <= before + evaluation.rounding


def test_the_trace_lists_every_step():
    lines = []
    products, spec = draw_problem(3)
    evaluation, report = EM(callback=lines.append).solve(Problem.of(products, spec))
    assert list(report.trace) == lines
    assert report.n_iter == len(lines)
    assert lines[-1].criterion == pytest.approx(evaluation.criterion, abs=1e-8)
    newton, _ = Newton().solve(Problem.of(products, spec))
    assert evaluation.criterion <= newton.criterion + 1e-7


def test_a_zero_variance_is_an_exact_zero():
    batches = np.repeat(np.arange(6), 5).astype(str)
    balanced = np.tile([-2.0, -1.0, 0.0, 1.0, 2.0], 6)  # less between than chance would have
    frame = load_sleepstudy().head(30).assign(Reaction=balanced, Subject=batches)
    model = lmer("Reaction ~ 1 + (1 | Subject)", frame, solver="em", max_iter=50)
    assert model.theta_[0] == 0.0
    assert model.is_singular_
    assert model.converged_
