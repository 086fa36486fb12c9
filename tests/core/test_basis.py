"""Shifts of columns: when there is one, and that it changes nothing but digits."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skmixed.core.sums.summation import apply_basis, change_of_basis, choose_basis
from tests.core.designs import on_grid
from tests.core.strategies import SEEDS, examples


def table(seed, n=50, n_features=2, offsets=(0.0, 0.0, 0.0), dominant=0.0, noise=1.0):
    """Return [1, features, y]; the features explain `dominant` of y."""
    rng = np.random.default_rng(seed)
    features = on_grid(rng.standard_normal((n, n_features)), 10)
    y = features.sum(axis=1) * dominant + on_grid(noise * rng.standard_normal(n), 10)
    columns = np.column_stack([np.ones(n), features, y])
    columns[:, 1:] += offsets[: n_features + 1]
    return columns


def is_unit_upper_triangular(matrix):
    return np.array_equal(matrix, np.triu(matrix)) and (np.diag(matrix) == 1.0).all()


@examples(60)
@given(SEEDS)
def test_ordinary_columns_are_not_shifted(seed):
    columns = table(seed)
    assert np.array_equal(choose_basis(columns), np.eye(4))
    assert apply_basis(columns, choose_basis(columns)) is columns


def test_integers_near_zero_are_not_shifted():
    columns = np.column_stack([np.ones(10), np.arange(10), np.arange(10)[::-1] % 7])
    assert np.array_equal(choose_basis(columns.astype(float)), np.eye(3))


@examples(60)
@given(SEEDS, st.sampled_from([-1e12, -1e6, 1e3, 2.0**30, 1e9]))
def test_column_far_from_zero_is_centred_within_its_spread(seed, offset):
    columns = table(seed, offsets=(offset, 0.0, 0.0))
    basis = choose_basis(columns)
    assert np.array_equal(np.argwhere(basis != np.eye(4)), [[0, 1]])
    shifted = apply_basis(columns, basis)[:, 1]
    assert abs(shifted.mean()) <= shifted.std()


@examples(100)
@given(SEEDS, st.sampled_from([-(2.0**40), 2.0**20, 1e6, 123456.0, -98765.5]), st.integers(0, 2))
def test_shifted_values_are_exact(seed, offset, column):
    offsets = np.zeros(3)
    offsets[column] = offset
    columns = table(seed, offsets=offsets)
    basis = choose_basis(columns)
    shift = -basis[0, column + 1]
    assert shift
    shifted = apply_basis(columns, basis)[:, column + 1]
    for before, after in zip(columns[:, column + 1], shifted, strict=True):
        assert Fraction(before) - Fraction(shift) == Fraction(after)


@pytest.mark.parametrize("value", [1.0, 3.0, -1e9, 0.1, 1e12 + 0.1, -1e150, 1e-300])
def test_constant_column_is_shifted_to_zero(value):
    columns = table(0)
    columns[:, 2] = value
    shifted = apply_basis(columns, choose_basis(columns))
    assert (shifted[:, 2] == 0.0).all()


def test_column_of_zeros_and_the_constant_stay():
    columns = table(0)
    columns[:, 1] = 0.0
    basis = choose_basis(columns)
    assert np.array_equal(basis, np.eye(4))
    assert (apply_basis(columns, basis)[:, 0] == 1.0).all()


def test_where_the_limit_of_four_standard_deviations_lies():
    spread = np.tile([-1.0, 1.0], 10)
    for mean, moves in [(3.9, False), (4.1, True), (-3.9, False), (-4.1, True)]:
        basis = choose_basis(np.column_stack([np.ones(20), spread + mean, np.zeros(20)]))
        assert (basis[0, 1] != 0.0) == moves


@examples(60)
@given(SEEDS, st.sampled_from([1e3, 2.0**20, 1e8]))
def test_features_that_explain_nearly_all_are_taken_off_the_response(seed, dominant):
    columns = table(seed, dominant=dominant)
    basis = choose_basis(columns)
    assert is_unit_upper_triangular(basis)
    rest = apply_basis(columns, basis)[:, -1]
    assert rest.std() < 3.0
    np.testing.assert_allclose(-basis[1:-1, -1], dominant, rtol=10 / dominant)


@examples(60)
@given(SEEDS, st.sampled_from([0.0, 1.0, 5.0]))
def test_features_that_explain_less_stay_in_the_response(seed, dominant):
    basis = choose_basis(table(seed, dominant=dominant))
    assert (basis[1:-1, -1] == 0.0).all()


def test_an_exact_fit_stays_in_the_response():
    columns = table(0, dominant=2.0**20, noise=0.0)
    basis = choose_basis(columns)
    assert (basis[1:-1, -1] == 0.0).all()


def test_few_rows_explain_nothing():
    columns = table(0, n=6, dominant=2.0**20)
    assert (choose_basis(columns)[1:-1, -1] == 0.0).all()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_rows(n):
    columns = table(0, n=n, offsets=(1e6, 0.0, 1e9))
    basis = choose_basis(columns)
    assert is_unit_upper_triangular(basis)
    assert np.abs(apply_basis(columns, basis)[:, 1:]).max() < 10.0


def test_many_rows_are_sampled_throughout():
    """The last rows alone lie far from zero; a sample of the first would not see them."""
    columns = table(0, n=20_000)
    columns[5_000:, 1] += 1e6
    assert np.array_equal(choose_basis(columns), np.eye(4))  # the spread is as large as the mean
    columns[:5_000, 1] += 1e6
    assert choose_basis(columns)[0, 1] != 0.0


@examples(100)
@given(SEEDS, st.sampled_from([0.0, 1e6, -1e9]), st.sampled_from([0.0, 1e5]))
def test_basis_is_unit_upper_triangular_and_keeps_the_constant(seed, offset, dominant):
    columns = table(seed, offsets=(offset, 0.0, -offset), dominant=dominant)
    basis = choose_basis(columns)
    assert is_unit_upper_triangular(basis)
    assert (basis[1:, :-1] == np.eye(4)[1:, :-1]).all()  # features are shifted, never mixed
    shifted = apply_basis(columns, basis)
    size = np.abs(columns).max() * 1e-15 * (1 + np.abs(basis).max())
    np.testing.assert_allclose(shifted, columns @ basis, rtol=0, atol=8 * size)
    assert shifted.flags.c_contiguous


def test_the_columns_given_are_not_changed():
    columns = table(0, offsets=(1e6, 0.0, 1e9))
    before = columns.copy()
    apply_basis(columns, choose_basis(columns))
    assert np.array_equal(columns, before)


def draw_bases(seed, count):
    """Draw shifts by small integers, with which all products are exact."""
    rng = np.random.default_rng(seed)
    bases = [np.eye(4) for _ in range(count)]
    for basis in bases:
        basis[0, 1:] = rng.integers(-8, 9, size=3)
        basis[1:3, 3] = rng.integers(-8, 9, size=2)
    return bases


@examples(100)
@given(SEEDS)
def test_change_of_basis_is_exact_and_composes(seed):
    first, second, third = draw_bases(seed, 3)
    columns = np.random.default_rng(seed).integers(-9, 10, size=(7, 4)).astype(float)
    changes = [change_of_basis(a, b) for a, b in [(first, second), (second, third), (first, third)]]
    one, two, both = [np.eye(4) if change is None else change for change in changes]
    assert np.array_equal((columns @ first) @ one, columns @ second)
    assert np.array_equal(one @ two, both)
    back = change_of_basis(second, first)
    assert np.array_equal(one @ (np.eye(4) if back is None else back), np.eye(4))
    assert is_unit_upper_triangular(one)


def test_no_change_between_equal_bases():
    (basis,) = draw_bases(0, 1)
    assert change_of_basis(basis, basis.copy()) is None


@pytest.mark.parametrize("seed", range(30))
def test_dominant_features_are_seen_among_dependent_columns(seed):
    """Dummies of all parts stand beside the constant, so that coefficients are not unique."""
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(100, 4_000)), int(rng.integers(2, 6))
    parts, feature = np.eye(k)[rng.integers(0, k, n)], rng.normal(size=n)
    y = 1e3 * feature + parts @ rng.normal(size=k) + rng.normal(size=n)
    columns = np.column_stack([np.ones(n), parts, feature, y])
    shifted = apply_basis(columns, choose_basis(columns))
    assert shifted[:, -1].std() < 2.0
