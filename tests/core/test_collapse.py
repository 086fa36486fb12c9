"""Levels put together: the same criterion, derivatives and optimum from a handful of levels."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

import skmixed.core.fit
from skmixed.core.fit import Fit
from skmixed.core.model.evaluation import evaluate
from skmixed.core.model.problem import Problem, collapsed
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.search.coordinates import Coordinates, local_model
from skmixed.core.search.em import EM
from skmixed.core.search.minque import minque_start
from skmixed.core.search.newton import Newton
from skmixed.core.search.starts import other_starts
from skmixed.core.search.state import em_step
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows

N_LEVELS = 6_000


def draw(seed=0, *, n_features=2, weights=None, slopes=(), between=1.0, noise=1.0, sizes=(1, 6)):
    """Draw the cross-products of many small levels of a few sizes."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(N_LEVELS), rng.integers(*sizes, N_LEVELS))
    n = len(codes)
    features = rng.standard_normal((n, n_features))
    y = between * rng.standard_normal(N_LEVELS)[codes] + noise * rng.standard_normal(n)
    names = ("1", *[f"x{j}" for j in range(n_features)], "y")
    layout = Layout(names, (FactorLayout(("g",), (0, *slopes)),))
    if weights is not None:
        weights = rng.choice(weights, n)
    columns = np.column_stack([np.ones(n), features, features.sum(axis=1) + y])
    index = GroupIndex(("g",), (np.arange(N_LEVELS),))
    return CrossProducts.of(layout, Rows(columns, (codes,), (index,), weights))


def model(method="reml", columns=(0,), n_features=2, weighting="frequency"):
    return ModelSpec(tuple(range(1 + n_features)), (Term(0, columns),), method, weighting)


CASES = {
    "reml": (draw(), model()),
    "ml": (draw(1), model("ml")),
    "no features": (draw(2, n_features=0), model(n_features=0)),
    "balanced": (draw(3, sizes=(4, 5)), model()),
    "weights": (draw(4, weights=[1.0, 2.0]), model()),
    "precision": (draw(5, weights=[1.0, 2.0]), model("ml", weighting="precision")),
    "no variance": (draw(6, between=0.0), model()),
}


@pytest.fixture(params=CASES)
def pair(request):
    problem = Problem.of(*CASES[request.param])
    return problem, collapsed(problem)


@pytest.mark.parametrize("theta", [0.0, 0.3, 1.0, 20.0])
def test_criterion_and_derivatives_are_the_same(pair, theta):
    full, few = (evaluate(problem, [np.array([[theta]])]) for problem in pair)
    assert few.criterion == pytest.approx(full.criterion, abs=1e-10 * abs(full.criterion))
    np.testing.assert_allclose(few.beta, full.beta, rtol=1e-10, atol=1e-12)
    assert few.sigma2 == pytest.approx(full.sigma2, rel=1e-11)
    coordinates, at = Coordinates.natural(pair[0].structures), np.array([theta])
    scale = float(full.factorisation.total_information(0)[0, 0]) * (1 + theta)
    models = (local_model(evaluation, coordinates, at) for evaluation in (few, full))
    for mine, theirs in zip(*models, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-10 * scale)
    np.testing.assert_allclose(em_step(few)[0], em_step(full)[0], rtol=1e-9, atol=1e-12)


def test_start_is_the_same(pair):
    full, few = (minque_start(problem)[0] for problem in pair)
    np.testing.assert_allclose(few, full, rtol=1e-8)


def test_few_levels_stand_for_all(pair):
    full, few = (problem.model for problem in pair)
    assert few.own[0].shape[2] < 200
    assert few.n_levels(0) == pytest.approx(N_LEVELS)
    assert full.n_levels(0) == N_LEVELS
    np.testing.assert_allclose(few.total(0), full.total(0), rtol=1e-12)


@pytest.mark.parametrize("solver", [Newton(), EM()], ids=["newton", "em"])
def test_optimum_is_the_same(pair, solver):
    (full, plain), (few, report) = (solver.solve(problem) for problem in pair)
    assert report.converged
    assert few.criterion == pytest.approx(full.criterion, abs=1e-6)
    np.testing.assert_allclose(few.lambdas, full.lambdas, rtol=1e-4, atol=1e-12)
    assert len(other_starts(few)) == len(other_starts(full))
    assert report.confounded == plain.confounded


@pytest.mark.parametrize("name", CASES)
def test_a_fit_has_the_effects_of_all_levels(name, monkeypatch):
    fit = Fit.of(*CASES[name])
    assert fit.modes[0].shape == (N_LEVELS, 1)
    assert fit.problem.model.times is None
    copy = pickle.loads(pickle.dumps(fit))
    np.testing.assert_array_equal(copy.modes[0], fit.modes[0])
    monkeypatch.setattr(skmixed.core.fit, "collapsed", lambda problem: problem)
    plain = Fit.of(*CASES[name])
    assert fit.criterion == pytest.approx(plain.criterion, abs=1e-6)
    np.testing.assert_allclose(fit.modes[0], plain.modes[0], atol=1e-5)


def test_a_level_for_every_row_is_like_the_residual():
    problem = Problem.of(replace(draw(sizes=(1, 2)), within=None), model())
    evaluation, report = Newton().solve(collapsed(problem))
    assert evaluation.problem.model.times is not None
    assert report.confounded == (0,)


def test_levels_that_explain_the_response_keep_their_noise():
    """Beside features that vary within the levels, so that no sums within them are kept."""
    products = draw(noise=0.0)
    fit = Fit.of(products, model())
    assert products.within is None
    assert fit.report.is_unbounded
    again = evaluate(Problem.of(products, model()).with_noise(), fit.scaled_lambdas)
    assert fit.criterion == pytest.approx(again.criterion, rel=0.0, abs=again.rounding)
    assert again.rounding < 1e-6 * abs(again.criterion)  # the noise is 1e-9 of the squares
    assert fit.modes[0].std() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(
    ("products", "spec"),
    [
        (draw(weights=[0.5, 1.0]), model()),
        (draw(slopes=(1,)), model(columns=(0, 1))),
        (draw(n_features=0, noise=1e-5), model(n_features=0)),
        (draw(weights=[1.0, 1e5]), model()),
    ],
    ids=["fractional weights", "slope", "sums within levels", "large sizes"],
)
def test_others_are_left_as_they_are(products, spec):
    problem = Problem.of(products, spec)
    assert collapsed(problem) is problem


@pytest.mark.parametrize("case", CASES)
def test_estimates_are_those_of_single_levels(case):
    fit = Fit.of(*CASES[case])
    whole = fit.moved(fit.scaled_lambdas, "all levels")
    assert fit.optimum.problem.model.times is not None
    assert whole.optimum is whole.evaluation
    for name in ("criterion", "sigma2", "beta", "beta_covariance", "covariances"):
        ours, theirs = np.asarray(getattr(fit, name)), np.asarray(getattr(whole, name))
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14 * np.abs(theirs).max())
