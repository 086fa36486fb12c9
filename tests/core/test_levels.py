"""Algebra on every level at once, against exact fractions."""

import numpy as np
import pytest

from skmixed.core.elimination import levels
from skmixed.core.elimination.levels import LevelShrinkage, multiply_transposed
from tests.core.rational import fractions, identity, relative_error, solve

N_LEVELS = 8
SIZES = [1.0, 1e2, 1e4, 1e6, 1e8]


def design(k, size, n_rows):
    """Draw Z'Z of some levels, (k, k, n_levels), about as large as `size`."""
    z = np.random.default_rng([k, n_rows]).normal(size=(N_LEVELS, n_rows, k))
    return size * np.einsum("lni,lnj->ijl", z, z) / n_rows


def root(k, kind):
    """Draw a square root of a covariance."""
    lam = np.tril(np.random.default_rng(k).uniform(0.3, 1.0, (k, k)))
    if kind == "uneven":
        lam *= 10.0 ** np.linspace(0.0, -6.0, k)[:, None]
    elif kind == "singular":
        lam[:, -1] = 0.0
    elif kind == "diagonal":
        lam = np.diag(np.append(lam.diagonal()[1:] - 0.65, 0.0))
    elif kind == "full":
        lam = lam @ np.linalg.qr(np.random.default_rng(k).normal(size=(k, k)))[0]
    return lam


@pytest.fixture(params=["by level", "by halves", "by columns"])
def way(request, monkeypatch):
    """How many columns are factored, whatever the number of levels."""
    monkeypatch.setattr(levels, "_FEW_LEVELS", np.inf if request.param == "by level" else 0)
    monkeypatch.setattr(levels, "_MANY_LEVELS", 0 if request.param == "by columns" else np.inf)
    monkeypatch.setattr(levels, "_MANY_PRODUCTS", 0)


@pytest.mark.parametrize("kind", ["lower", "full", "uneven", "singular"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_nothing_cancels_where_the_effects_are_large(k, size, kind):
    check_digits(k, size, kind, range(N_LEVELS))


@pytest.mark.parametrize("kind", ["diagonal", "lower", "uneven", "singular"])
def test_nothing_cancels_among_many_columns(kind, way):
    check_digits(9, 1e8, kind, [0, N_LEVELS - 1])
    check_digits(9, 1e8, kind, [0], n_levels=1)


def check_digits(k, size, kind, chosen, n_levels=N_LEVELS):
    products, lam = design(k, size, 30)[:, :, :n_levels], root(k, kind)
    found = LevelShrinkage.at(products, lam)
    covariances = multiply_transposed(found.whitener, found.whitener)
    omega = fractions(lam) @ fractions(lam).T
    for level in chosen:
        exact = solve(identity(k) + fractions(products[:, :, level]) @ omega, identity(k))
        assert relative_error(found.shrinker[:, :, level], exact) < 1e-13
        if omega.any():
            assert relative_error(covariances[:, :, level], omega @ exact) < 1e-13


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8])
def test_no_variance_shrinks_nothing(k):
    found = LevelShrinkage.at(design(k, 1e8, 30), np.zeros((k, k)))
    assert found.log_det == 0.0
    np.testing.assert_array_equal(found.shrinker, np.broadcast_to(np.eye(k)[:, :, None], (k, k, 8)))
    assert not multiply_transposed(found.whitener, found.whitener).any()


@pytest.mark.parametrize("k", [2, 3, 5, 8])
def test_columns_without_variance_have_exact_zeros(k):
    lam = root(k, "lower")
    lam[-1] = 0.0
    found = LevelShrinkage.at(design(k, 1e4, 30), lam)
    covariances = multiply_transposed(found.whitener, found.whitener)
    np.testing.assert_allclose(covariances[-1], 0.0, atol=1e-300)
