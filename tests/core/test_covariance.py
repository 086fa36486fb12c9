"""Laws of covariance structures: theta and Omega determine each other, and zeros are exact."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skmixed.core.model.structures import KINDS, Block, Structure, semidefinite_cholesky
from tests.core.strategies import SEEDS, examples

SIZES = st.integers(1, 5)


@st.composite
def blocks(draw):
    return Block(draw(st.sampled_from(KINDS)), draw(st.integers(1, 4)))


@st.composite
def structures(draw):
    return Structure(tuple(draw(st.lists(blocks(), min_size=1, max_size=3))))


def draw_order(structure, rng):
    """Draw a pivot order, which permutes columns within each block only."""
    parts = [
        rng.permutation(np.arange(columns.start, columns.stop))
        for _, columns, _ in structure.slices()
    ]
    return np.concatenate(parts)


def draw_theta(structure, rng, order):
    """Draw a theta that gives lambda a diagonal well above zero."""
    theta = rng.standard_normal(structure.n_theta)
    for block, columns, parameters in structure.slices():
        if block.kind == "unstructured":
            patterns = block.patterns(order[columns] - columns.start)
            rows = patterns[:, order[columns] - columns.start]
            on_diagonal = np.einsum("tii->t", rows) > 0
        else:
            on_diagonal = np.ones(block.n_theta, dtype=bool)
        part = theta[parameters]
        part[on_diagonal] = 0.1 + np.abs(part[on_diagonal])
    return theta


@examples(60)
@given(SIZES, SEEDS)
def test_cholesky_of_a_definite_matrix_is_numpys(k, seed):
    root = np.random.default_rng(seed).standard_normal((k, k + 3))
    matrix = root @ root.T
    np.testing.assert_allclose(
        semidefinite_cholesky(matrix), np.linalg.cholesky(matrix), rtol=1e-8, atol=1e-8
    )


@examples(100)
@given(SIZES, SEEDS, st.data())
def test_cholesky_of_a_semidefinite_matrix_has_exactly_zero_columns(k, seed, data):
    rank = data.draw(st.integers(0, k))
    root = np.random.default_rng(seed).integers(-4, 5, size=(k, rank)).astype(float)
    matrix = root @ root.T
    factor = semidefinite_cholesky(matrix)
    np.testing.assert_allclose(factor @ factor.T, matrix, rtol=0, atol=1e-9 * (1 + matrix.max()))
    assert np.array_equal(factor, np.tril(factor))
    assert (np.diag(factor) >= 0).all()
    zero_pivots = np.diag(factor) == 0
    assert (factor[:, zero_pivots] == 0).all()
    assert (
        np.count_nonzero(~zero_pivots) == np.linalg.matrix_rank(root) if rank else zero_pivots.all()
    )


@pytest.mark.parametrize(
    ("matrix", "factor"),
    [
        ([[0.0, 0.0], [0.0, 4.0]], [[0, 0], [0, 2]]),
        ([[4.0, 0.0], [0.0, 0.0]], [[2, 0], [0, 0]]),
        ([[4.0, -6.0], [-6.0, 9.0]], [[2, 0], [-3, 0]]),
        ([[0.0, 0.0], [0.0, 0.0]], [[0, 0], [0, 0]]),
        ([[1e-30, 0.0], [0.0, 1e30]], [[1e-15, 0], [0, 1e15]]),
    ],
)
def test_cholesky_on_the_boundary(matrix, factor):
    matrix = np.array(matrix)
    before = matrix.copy()
    np.testing.assert_allclose(semidefinite_cholesky(matrix), factor, rtol=1e-15, atol=0)
    assert np.array_equal(matrix, before)


@examples(60)
@given(SIZES, SEEDS, st.integers(-60, 60))
def test_cholesky_does_not_depend_on_units(k, seed, exponent):
    """Powers of two round nothing, so the zeros are the same bit for bit."""
    rng = np.random.default_rng(seed)
    root = rng.integers(-4, 5, size=(k, max(1, k - 1))).astype(float)
    units = 2.0 ** rng.integers(-abs(exponent), abs(exponent) + 1, size=k)
    plain = semidefinite_cholesky(root @ root.T)
    scaled = semidefinite_cholesky(np.outer(units, units) * (root @ root.T))
    np.testing.assert_array_equal(scaled, units[:, None] * plain)


@pytest.mark.parametrize(
    ("kind", "n_theta"), [("unstructured", 6), ("diagonal", 3), ("identity", 1)]
)
def test_numbers_of_parameters(kind, n_theta):
    block = Block(kind, 3)
    assert block.n_theta == n_theta
    assert block.patterns(np.arange(3)).shape == (n_theta, 3, 3)
    structure = Structure((block, Block("unstructured", 1)))
    assert (structure.size, structure.n_theta) == (4, n_theta + 1)


def test_theta_is_in_the_order_of_lme4():
    """Down the columns of the lower triangle."""
    structure = Structure((Block("unstructured", 3),))
    factor = structure.factor(np.arange(1.0, 7.0))
    assert np.array_equal(factor, [[1, 0, 0], [2, 4, 0], [3, 5, 6]])
    theta = structure.theta(factor @ factor.T, structure.natural_order)
    np.testing.assert_allclose(theta, np.arange(1.0, 7.0), rtol=1e-14)


@examples(100)
@given(structures(), SEEDS)
def test_factor_is_linear_with_the_patterns_as_derivatives(structure, seed):
    rng = np.random.default_rng(seed)
    first, second = rng.standard_normal((2, structure.n_theta))
    patterns = structure.patterns(structure.natural_order)
    assert set(np.unique(patterns)) <= {0.0, 1.0}
    np.testing.assert_allclose(
        structure.factor(first + second), structure.factor(first) + structure.factor(second),
        rtol=0, atol=1e-14,
    )  # fmt: skip
    for n, pattern in enumerate(patterns):
        assert np.array_equal(structure.factor(np.eye(structure.n_theta)[n]), pattern)


@examples(150)
@given(structures(), SEEDS)
def test_theta_of_omega_of_theta_under_any_pivot_order(structure, seed):
    rng = np.random.default_rng(seed)
    order = draw_order(structure, rng)
    theta = draw_theta(structure, rng, order)
    factor = np.tensordot(theta, structure.patterns(order), axes=1)
    omega = factor @ factor.T
    np.testing.assert_allclose(structure.theta(omega, order), theta, rtol=0, atol=1e-9)


@examples(100)
@given(structures(), SEEDS)
def test_every_pivot_order_gives_a_square_root_of_the_same_omega(structure, seed):
    rng = np.random.default_rng(seed)
    factor = structure.factor(rng.standard_normal(structure.n_theta))
    omega = factor @ factor.T
    for _ in range(3):
        order = draw_order(structure, rng)
        root = np.tensordot(structure.theta(omega, order), structure.patterns(order), axes=1)
        np.testing.assert_allclose(
            root @ root.T, omega, rtol=0, atol=1e-10 * (1 + np.abs(omega).max())
        )
        permuted = root[order]
        for block, columns, _ in structure.slices():
            if block.kind == "unstructured":
                assert np.array_equal(
                    permuted[columns, columns], np.tril(permuted[columns, columns])
                )


@examples(60)
@given(structures(), SEEDS)
def test_theta_of_a_singular_omega_has_exact_zeros(structure, seed):
    rng = np.random.default_rng(seed)
    theta = draw_theta(structure, rng, structure.natural_order)
    factor = structure.factor(theta)
    # No effect of some columns: their rows and columns of lambda are zero.
    for block, columns, _ in structure.slices():
        gone = columns if block.kind == "identity" else rng.integers(columns.start, columns.stop)
        factor[gone] = 0.0
    omega = factor @ factor.T
    again = structure.factor(structure.theta(omega, structure.natural_order))
    gone = np.diag(omega) == 0.0
    assert gone.any()
    assert not again[gone].any()
    assert not again[:, gone].any()
    np.testing.assert_allclose(again @ again.T, omega, rtol=0, atol=1e-9)


@examples(100)
@given(structures(), SEEDS)
def test_blocks_are_independent_of_each_other(structure, seed):
    rng = np.random.default_rng(seed)
    order = draw_order(structure, rng)
    factor = np.tensordot(rng.standard_normal(structure.n_theta), structure.patterns(order), axes=1)
    outside = np.ones_like(factor, dtype=bool)
    for _, columns, _ in structure.slices():
        outside[columns, columns] = False
    assert not factor[outside].any()
    stops = [(columns.stop, parameters.stop) for _, columns, parameters in structure.slices()]
    assert stops[-1] == (structure.size, structure.n_theta)


@examples(100)
@given(structures(), SEEDS)
def test_pivot_puts_large_variances_first_where_it_matters(structure, seed):
    rng = np.random.default_rng(seed)
    variances = np.exp(rng.normal(0.0, 2.0, size=structure.size))
    order = draw_order(structure, rng)
    better = structure.pivot(np.diag(variances), order)
    for block, columns, _ in structure.slices():
        assert np.array_equal(np.sort(better[columns]), np.arange(columns.start, columns.stop))
        if block.kind != "unstructured":
            assert np.array_equal(better[columns], order[columns])
            continue
        seen = variances[better[columns]]
        assert all(seen[m] <= 4.0 * seen[n] for n in range(len(seen)) for m in range(n, len(seen)))
    assert np.array_equal(structure.pivot(np.diag(variances), better), better)


def test_pivot_leaves_a_good_order_alone():
    structure = Structure((Block("unstructured", 2),))
    order = np.array([0, 1])
    assert np.array_equal(structure.pivot(np.diag([1.0, 3.9]), order), [0, 1])
    assert np.array_equal(structure.pivot(np.diag([1.0, 4.1]), order), [1, 0])
    assert np.array_equal(structure.pivot(np.zeros((2, 2)), order), [0, 1])
