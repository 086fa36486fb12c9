"""The iterative elimination against the dense one, at given variances.

With a unit vector for every level nothing is random, and only rounding separates the two.
"""

from itertools import product
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given

from skmixed.core.elimination.iterative import estimates
from skmixed.core.elimination.iterative.conjugate_gradients import quadrature, solve
from skmixed.core.elimination.iterative.estimates import estimate_taken, estimate_total
from skmixed.core.elimination.iterative.settings import Krylov
from skmixed.core.elimination.stacking import symmetric
from skmixed.core.model.evaluation import evaluate
from skmixed.core.model.problem import Problem
from skmixed.core.search.coordinates import Coordinates, local_model
from tests.core.designs import draw_lambdas, random_design
from tests.core.strategies import BOUNDARIES, SEEDS, designs, examples

EXACT = Krylov(n_probes=10**6, tol=1e-13, probe_tol=1e-13)
CROSSED = ("crossed", "partial")


class EverySign(Krylov):
    """All vectors of signs of a factor, whose mean is the trace itself."""

    def number(self, factor):
        return self.n_probes

    def is_exact(self, factor, n_levels):
        return False

    def signs(self, purpose, n, chosen):
        return np.array(list(product([-1.0, 1.0], repeat=n))).T[:, chosen.start : chosen.stop]


def both(design, lambdas, krylov=EXACT):
    """Return the exact and the iterative evaluation, None where the factors do not cross."""
    products = design.products()
    exact = Problem.of(products, design.spec)
    iterative = Problem.of(products, design.spec, krylov)
    if iterative.elimination.krylov is None:
        return None
    lambdas = design.scaled_lambdas(exact, lambdas)
    return evaluate(exact, lambdas), evaluate(iterative, lambdas)


def assert_close(ours, theirs, rtol, size=None):
    size = np.abs(theirs).max(initial=0.0) if size is None else size
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=rtol * max(size, 1e-300))


@examples(60)
@given(
    designs(relations=CROSSED, n_factors=(2, 3), traits=["spare factor", "collinear"]),
    BOUNDARIES,
    SEEDS,
)
def test_everything_is_as_with_a_dense_complement(design, boundary, seed):
    found = both(design, draw_lambdas(design, np.random.default_rng(seed), boundary))
    if found is None:
        return
    exact, ours = found
    assert_close(ours.lower, exact.lower, 1e-10)
    for f in range(len(exact.lambdas)):
        assert_close(ours.cross[f], exact.cross[f], 1e-8)
        total = exact.factorisation.total_information(f)
        assert_close(ours.factorisation.total_information(f), total, 1e-9)
        assert_close(ours.gradient[f], exact.gradient[f], 1e-8, np.abs(total).max())
        levels = exact.factorisation.information(f)
        assert_close(ours.factorisation.information(f), levels, 1e-9)
        covariance = exact.factorisation.conditional_covariance(f)
        assert_close(ours.factorisation.conditional_covariance(f), covariance, 1e-9)
    coordinates = Coordinates.natural(exact.problem.structures)
    theta = coordinates.read(exact.lambdas)
    with patch("skmixed.core.search.coordinates.is_small", return_value=False):
        models = [local_model(evaluation, coordinates, theta) for evaluation in (ours, exact)]
    for mine, theirs in zip(*models, strict=True):
        assert_close(mine, theirs, 1e-7, np.abs(theirs).max(initial=1.0))


@examples(30)
@given(designs(relations=CROSSED, n_factors=(2, 3), traits=()), BOUNDARIES, SEEDS)
def test_variances_of_rows_are_as_with_a_dense_complement(design, boundary, seed):
    rng = np.random.default_rng(seed)
    found = both(design, draw_lambdas(design, rng, boundary))
    if found is None:
        return
    exact, ours = found
    own = exact.problem.model.own
    random = [rng.standard_normal((block.shape[0], 9)) for block in own]
    codes = [rng.integers(0, block.shape[2], 9) for block in own]
    expected = exact.factorisation.effect_variances(random, codes)
    assert_close(ours.factorisation.effect_variances(random, codes), expected, 1e-9)


def small_design(seed=0, **options):
    given = {"relations": ("crossed",), "n_slopes": (1, 0), "traits": ()}
    return random_design(seed, **{**given, "terms": ("unstructured",) * 2, **options})


def fixed_lambdas(design):
    return draw_lambdas(design, np.random.default_rng(5), "inside")


def dense_complement(evaluation, scale):
    """Return C of the exact elimination, in the order of its columns."""
    eye = np.eye(len(evaluation.factorisation.complement))
    return scale(eye).T @ symmetric(evaluation.factorisation.complement) @ scale(eye) + eye


def test_operator_and_preconditioner_are_those_of_the_dense_complement():
    design = small_design()
    exact, ours = both(design, fixed_lambdas(design))
    c = ours.factorisation.complement
    dense = dense_complement(exact, c.scale)
    eye = np.eye(len(dense))
    assert_close(c(eye), dense, 1e-12)
    blocks = np.linalg.inv(c.precondition(eye))
    assert_close(c.root(eye) @ c.root_transposed(eye), blocks, 1e-12)
    root = c.root(eye)
    normalised = np.linalg.inv(root) @ dense @ np.linalg.inv(root).T
    shared = ours.factorisation.shared
    assert_close(shared.basis.T @ shared.basis, np.eye(shared.basis.shape[1]), 1e-12)
    assert_close(shared.inner, shared.basis.T @ normalised @ shared.basis, 1e-11)
    assert_close(root.T @ shared.unwhitened, shared.basis, 1e-11)
    np.testing.assert_allclose(np.linalg.slogdet(blocks)[1], c.log_det_diagonal, rtol=1e-12)
    (factor,), ((k, n_levels),) = c.layout.factors, c.layout.shapes
    same_level = np.kron(np.ones((k, k)), np.eye(n_levels))
    assert factor != c.eliminated
    assert_close(blocks, dense * same_level, 1e-12)


@pytest.mark.parametrize("zero", [False, True])
def test_mean_over_all_signs_is_the_trace_itself(zero, monkeypatch):
    monkeypatch.setattr(estimates, "_AFFORDABLE_WORK", 0)
    monkeypatch.setattr(estimates, "_LEAST_LEVEL_VECTORS", 0)
    design = small_design(3)
    lambdas = fixed_lambdas(design)
    if zero:
        lambdas[1] = np.zeros_like(lambdas[1])
    exact, ours = both(design, lambdas)
    v = ours.factorisation
    for f, own in enumerate(exact.problem.model.own):
        n_levels = own.shape[2]
        if n_levels > 12:
            continue
        every = EverySign(n_probes=2**n_levels, tol=1e-13, probe_tol=1e-13)
        found = estimate_total(v.complement, v.shared, f, every, v.solve)
        assert len(found.samples) == 2**n_levels
        assert_close(found.total, exact.factorisation.total_information(f), 1e-9)
        levels = exact.factorisation.information(f)
        taken = estimate_taken(v.complement, v.shared, f, every, v.solve)
        assert_close(v.complement.alone(f) - taken, levels, 1e-9)


@pytest.mark.parametrize("shared", [True, False])
def test_log_determinant_is_within_its_error_and_unbiased(shared, monkeypatch):
    if not shared:
        monkeypatch.setattr("skmixed.core.elimination.iterative.estimates._UNIT_VECTOR_EFFECTS", 0)
    design = small_design(1, n_slopes=(1, 1))
    lambdas = fixed_lambdas(design)
    misses, errors = [], []
    for seed in range(30):
        exact, ours = both(design, lambdas, Krylov(n_probes=16, seed=seed))
        misses.append(ours.factorisation.log_det - exact.factorisation.log_det)
        errors.append(ours.factorisation.log_det_estimate.error)
    assert (np.abs(misses) < 5.0 * np.array(errors) + 1e-8).all()
    assert np.abs(np.mean(misses)) < 3.0 * np.mean(errors) / np.sqrt(30) + 1e-8


def test_columns_are_solved_each_by_itself():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((40, 40))
    matrix = root @ root.T + 40.0 * np.eye(40)
    right = rng.standard_normal((40, 5)) * [1.0, 1e-6, 1e6, 0.0, 1.0]
    diagonal = np.diag(matrix)[:, None]
    solved = solve(lambda x: matrix @ x, lambda x: x / diagonal, right, 1e-12, 200)
    assert solved.converged
    expected = np.linalg.solve(matrix, right)
    for mine, theirs in zip(solved.solution.T, expected.T, strict=True):
        assert_close(mine, theirs, 1e-10)


def test_too_few_iterations_are_reported():
    matrix = np.diag(np.arange(1.0, 50.0))
    solved = solve(lambda x: matrix @ x, lambda x: x, np.ones((49, 1)), 1e-12, 3)
    assert not solved.converged
    assert solved.n_iter == 3


def test_quadrature_of_a_function_of_a_matrix():
    rng = np.random.default_rng(1)
    root = rng.standard_normal((30, 30))
    matrix = root @ root.T / 30.0 + np.eye(30)
    vectors = rng.standard_normal((30, 4))
    solved = solve(lambda x: matrix @ x, lambda x: x, vectors, 1e-10, 100, keep_all=True)
    found, first = quadrature(solved.lengths, solved.ratios, np.log)
    unit = vectors / np.linalg.norm(vectors, axis=0)
    values, basis = np.linalg.eigh(matrix)
    expected = np.log(values) @ (basis.T @ unit) ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(first, np.einsum("im,ij,jm->m", unit, matrix, unit), rtol=1e-12)


def test_more_signs_keep_the_first():
    few, many = Krylov(4, seed=7), Krylov(64, seed=7)
    np.testing.assert_array_equal(few.signs(1, 100, range(4)), many.signs(1, 100, range(64))[:, :4])
    assert set(np.unique(many.signs(0, 100, range(9)))) == {-1.0, 1.0}
    assert not np.array_equal(few.signs(1, 100, range(4)), few.signs(2, 100, range(4)))
