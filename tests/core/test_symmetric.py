"""Eigenvalues and Cholesky factors of small symmetric matrices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skmixed.core.linalg import (
    block_diagonal,
    eigenpairs,
    eigenvalues,
    is_positive_definite,
    least_squares,
    semidefinite_cholesky,
)
from tests.core.strategies import SEEDS, examples

SIZES = st.integers(1, 5)


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_eigenvalues_and_vectors(k):
    root = np.random.default_rng(k).standard_normal((k, k))
    matrix = root + root.T
    before = matrix.copy()
    values, vectors = eigenpairs(matrix)
    np.testing.assert_allclose((vectors * values) @ vectors.T, matrix, atol=1e-13)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), atol=1e-13)
    np.testing.assert_allclose(eigenvalues(matrix), values, atol=1e-13)
    assert (np.diff(values) >= 0).all()
    np.testing.assert_array_equal(matrix, before)


def test_only_the_lower_triangle_is_read():
    matrix = np.array([[2.0, 9.0], [1.0, 3.0]])
    np.testing.assert_allclose(eigenvalues(matrix), np.linalg.eigvalsh([[2.0, 1.0], [1.0, 3.0]]))
    assert is_positive_definite(matrix)


@pytest.mark.parametrize(
    ("diagonal", "expected"), [([1.0, 2.0], True), ([0.0, 1.0], False), ([1.0, -1.0], False)]
)
def test_positive_definite(diagonal, expected):
    assert is_positive_definite(np.diag(diagonal)) is expected


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("seed", range(20))
def test_least_squares_of_columns_that_nearly_depend_on_each_other(seed, k):
    """A constant, dummies of all its parts, and a sum of these with a feature that is there."""
    rng = np.random.default_rng([seed, k])
    n = int(rng.integers(30, 300))
    parts = np.eye(k)[rng.integers(0, k, n)]
    feature = rng.normal(size=n)
    X = np.column_stack([np.ones(n), parts, feature, 1.7 * feature + parts @ rng.normal(size=k)])
    y = 1e3 * feature + parts @ rng.normal(size=k) + rng.normal(size=n)
    columns = np.column_stack([X, y])
    coef, square = least_squares(columns.T @ columns)
    expected = y - X @ np.linalg.lstsq(X, y, rcond=1e-10)[0]
    total = y @ y
    assert square == pytest.approx(expected @ expected, abs=1e-13 * total)
    assert np.abs(coef).max() < 1e4
    np.testing.assert_allclose(X @ coef, y - expected, atol=1e-9 * np.sqrt(total))


def test_least_squares_of_zeros_and_nothing():
    coef, square = least_squares(np.array([[0.0, 0.0, 0.0], [0.0, 4.0, 2.0], [0.0, 2.0, 3.0]]))
    np.testing.assert_allclose(coef, [0.0, 0.5], rtol=1e-14)
    assert square == pytest.approx(2.0)
    coef, square = least_squares(np.array([[5.0]]))
    assert (coef.shape, square) == ((0,), 5.0)
    assert np.isnan(least_squares(np.array([[np.inf, 1.0], [1.0, 1.0]]))[1])


def test_no_eigenvalues_is_an_error():
    with pytest.raises(np.linalg.LinAlgError):
        eigenvalues(np.full((3, 3), np.nan))


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


def test_a_batch_is_as_its_matrices_are():
    roots = np.random.default_rng(0).standard_normal((2, 3, 4, 2))
    matrices = roots @ roots.swapaxes(-1, -2)
    values, vectors = eigenpairs(matrices)
    lower = semidefinite_cholesky(matrices)
    for place in np.ndindex(2, 3):
        single = matrices[place]
        np.testing.assert_allclose(values[place], eigenpairs(single)[0], atol=1e-12)
        np.testing.assert_allclose(eigenvalues(matrices)[place], eigenvalues(single), atol=1e-12)
        np.testing.assert_allclose((vectors[place] * values[place]) @ vectors[place].T, single)
        np.testing.assert_array_equal(lower[place], semidefinite_cholesky(single))


def test_blocks_along_the_diagonal():
    first, second = np.ones((5, 1, 1)), 2.0 * np.ones((5, 2, 2))
    joint = block_diagonal([first, second])
    assert joint.shape == (5, 3, 3)
    np.testing.assert_array_equal(joint[3], [[1, 0, 0], [0, 2, 2], [0, 2, 2]])
    assert block_diagonal([first]) is first
