"""Eigenvalues of small symmetric matrices."""

import numpy as np
import pytest

from skmixed.core.linalg import eigenpairs, eigenvalues, is_positive_definite


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


def test_no_eigenvalues_is_an_error():
    with pytest.raises(np.linalg.LinAlgError):
        eigenvalues(np.full((3, 3), np.nan))
