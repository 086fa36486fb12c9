"""Laws of covariance structures: theta and Omega determine each other, and zeros are exact."""

from functools import partial
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skmixed.core.model.covariance import BlockDiagonal
from skmixed.core.model.structures.correlations import (
    Autoregressive,
    CompoundSymmetric,
    Toeplitz,
)
from skmixed.core.model.structures.linear_roots import Diagonal, Identity, Unstructured
from skmixed.core.model.structures.low_rank import LowRank
from skmixed.core.model.structures.named import (
    STRUCTURES,
    StructureName,
    is_ordered,
    joined,
    structure_named,
    structures_of_terms,
)
from tests.core.strategies import SEEDS, examples

SIZES = st.integers(1, 5)
LINEAR = [Unstructured, Diagonal, Identity]
LAWS = [CompoundSymmetric, Autoregressive, Toeplitz]
CORRELATED = [*LAWS, *(partial(law, is_homogeneous=True) for law in LAWS)]


def low_rank(size, rank=2):
    return LowRank(size, min(rank, size))


def of_rank_one(size):
    return LowRank(size, 1)


LOW = [low_rank, of_rank_one]
KINDS = [*LINEAR, *CORRELATED, *LOW]


@st.composite
def structures(draw, kinds=KINDS):
    blocks = st.builds(lambda kind, size: kind(size), st.sampled_from(kinds), st.integers(1, 4))
    return joined(tuple(draw(st.lists(blocks, min_size=1, max_size=3))))


def draw_order(structure, rng):
    """Draw a pivot order, which permutes columns within each block only."""
    parts = [
        rng.permutation(np.arange(columns.start, columns.stop))
        for _, columns, _ in structure.slices()
    ]
    return np.concatenate(parts)


def draw_theta(structure, rng):
    """Draw a theta with deviations well above zero, and angles in their first range."""
    theta = rng.standard_normal(structure.n_theta)
    for block, _, parameters in structure.slices():
        part = theta[parameters]
        if isinstance(block, tuple(LAWS)):
            part[block.angles] = rng.uniform(0.1, 1.4, block.n_angles)
            if not isinstance(block, CompoundSymmetric):
                part[block.angles] *= rng.choice([-1.0, 1.0], block.n_angles)
            is_deviation = ~block.angles
        else:
            diagonal = block.lam(np.eye(block.n_theta), block.natural_order).diagonal(0, 1, 2)
            is_deviation = diagonal.any(axis=1)
        part[is_deviation] = 0.1 + np.abs(part[is_deviation])
        if isinstance(block, tuple(LAWS)) and not block.is_homogeneous:  # there are their roots
            part[is_deviation] **= 0.5
    return theta


def omega_of(structure, theta, order=None):
    lam = structure.lam(theta, structure.natural_order if order is None else order)
    return lam @ lam.swapaxes(-1, -2)


@pytest.mark.parametrize(
    ("name", "n_theta"),
    [
        ("unstructured", 6),
        ("diagonal", 3),
        ("identity", 1),
        ("cs", 4),
        ("homcs", 2),
        ("ar1", 2),
        ("hetar1", 4),
        ("toep", 5),
        ("homtoep", 3),
        ("rr", 5),
        ("rr(1)", 3),
        ("rr(3)", 6),
    ],
)
def test_numbers_of_parameters(name, n_theta):
    block = structure_named(name, 3)
    assert block.n_theta == n_theta
    assert block.directions(np.ones(n_theta), np.arange(3)).shape == (n_theta, 3, 3)
    structure = joined((block, Unstructured(1)))
    assert (structure.size, structure.n_theta) == (4, n_theta + 1)
    assert joined((block,)) == block


def test_names():
    assert [*STRUCTURES, "fa"] == [*get_args(StructureName)]
    written = [structure_named(name, 2).written("1 + x", "g") for name in STRUCTURES]
    assert written[:3] == ["(1 + x | g)", "(1 + x || g)", "(1 + x |identity| g)"]
    functions = [text.removesuffix("(1 + x | g)") for text in written[3:-1]]
    assert functions == list(STRUCTURES)[3:-1]
    assert structure_named("rr(2)", 3).written("0 + f", "g") == "rr(0 + f | g, d=2)"
    assert {STRUCTURES[name](1).written("1", "g") for name in list(STRUCTURES)[:-1]} == {"(1 | g)"}


@pytest.mark.parametrize("name", ["nothing", "cs(2)", "rr(0)", "fa(4)", "rr(1,2)", "rr ( 2)"])
def test_structures_that_there_are_not(name):
    with pytest.raises(ValueError, match=r"is not one of 'unstructured'|has a rank from 1 to 3"):
        structures_of_terms(name, 3)


def test_structures_of_terms():
    assert structures_of_terms("fa(3)", 4) == ("rr(3)", "diagonal")
    assert structures_of_terms("fa", 4) == ("rr", "diagonal")
    assert structures_of_terms("toep", 4) == ("toep",)
    assert structures_of_terms("identity", 1) == ("identity",)
    assert {structures_of_terms(name, 1) for name in ("cs", "ar1", "rr", "fa(3)")} == {
        ("unstructured",)
    }
    assert [name for name in STRUCTURES if is_ordered(name)] == ["ar1", "hetar1", "toep", "homtoep"]


def test_theta_is_in_the_order_of_lme4():
    """Down the columns of the lower triangle."""
    structure = Unstructured(3)
    lam = structure.lam(np.arange(1.0, 7.0), structure.natural_order)
    assert np.array_equal(lam, [[1, 0, 0], [2, 4, 0], [3, 5, 6]])
    theta = structure.theta(lam @ lam.T, structure.natural_order)
    np.testing.assert_allclose(theta, np.arange(1.0, 7.0), rtol=1e-14)


def central(function, theta, step=1e-5):
    """Return central differences of a function of theta, the derivative's index first."""
    steps = step * np.eye(len(theta))
    return np.stack([(function(theta + s) - function(theta - s)) / (2.0 * step) for s in steps])


@examples(100)
@given(structures(), SEEDS)
def test_directions_and_curvature_are_the_derivatives_of_omega(structure, seed):
    rng = np.random.default_rng(seed)
    theta, order = rng.standard_normal(structure.n_theta), draw_order(structure, rng)
    gradient = rng.standard_normal((structure.size, structure.size))
    gradient += gradient.T
    np.testing.assert_allclose(
        structure.directions(theta, order),
        central(lambda at: omega_of(structure, at, order), theta),
        atol=1e-8,
    )
    slopes = central(lambda at: structure.directions(at, order), theta)
    np.testing.assert_allclose(
        structure.curvature(theta, order, gradient),
        np.einsum("abij,ij->ab", slopes, gradient),
        atol=1e-7,
    )


@examples(150)
@given(structures(), SEEDS)
def test_theta_of_omega_of_theta_under_any_pivot_order(structure, seed):
    rng = np.random.default_rng(seed)
    order, theta = draw_order(structure, rng), draw_theta(structure, rng)
    omega = omega_of(structure, theta, order)
    np.testing.assert_allclose(structure.theta(omega, order), theta, rtol=0, atol=1e-9)


@examples(100)
@given(structures(), SEEDS)
def test_theta_is_read_off_a_root(structure, seed):
    rng = np.random.default_rng(seed)
    theta = draw_theta(structure, rng)
    lam = structure.lam(theta, structure.natural_order)
    np.testing.assert_allclose(structure.read(lam), theta, rtol=0, atol=1e-9)
    turn = np.linalg.qr(rng.standard_normal(lam.shape))[0]
    np.testing.assert_allclose(structure.read(lam @ turn), theta, rtol=0, atol=1e-9)
    if all(type(block) in LINEAR for block in structure.blocks):
        assert np.array_equal(structure.read(lam), theta)


@examples(100)
@given(structures(), SEEDS)
def test_every_pivot_order_gives_a_square_root_of_the_same_omega(structure, seed):
    rng = np.random.default_rng(seed)
    omega = omega_of(structure, rng.standard_normal(structure.n_theta))
    for _ in range(3):
        order = draw_order(structure, rng)
        root = structure.lam(structure.theta(omega, order), order)
        np.testing.assert_allclose(
            root @ root.T, omega, rtol=0, atol=1e-9 * (1 + np.abs(omega).max())
        )
        for block, columns, _ in structure.slices():
            rows = root[order] if isinstance(block, Unstructured | LowRank) else root
            assert np.array_equal(rows[columns, columns], np.tril(rows[columns, columns]))


@examples(60)
@given(structures(), SEEDS)
def test_theta_of_a_singular_omega_has_exact_zeros(structure, seed):
    rng = np.random.default_rng(seed)
    lam = structure.lam(draw_theta(structure, rng), structure.natural_order)
    # No effect of some columns: their rows and columns of lambda are zero.
    for block, columns, _ in structure.slices():
        group = block.deviations[rng.integers(len(block.deviations))]
        lam[columns.start + np.array(group)] = 0.0
    omega = lam @ lam.T
    again = structure.lam(structure.theta(omega, structure.natural_order), structure.natural_order)
    gone = np.diag(omega) == 0.0
    assert gone.any()
    assert not again[gone].any()
    for block, columns, _ in structure.slices():
        if not isinstance(block, LowRank):  # whose columns stand for no column of the data
            assert not again[columns, columns][:, gone[columns]].any()
    np.testing.assert_allclose(again @ again.T, omega, rtol=0, atol=1e-9)


@examples(100)
@given(structures(), SEEDS)
def test_blocks_are_independent_of_each_other(structure, seed):
    rng = np.random.default_rng(seed)
    theta, order = rng.standard_normal(structure.n_theta), draw_order(structure, rng)
    outside = np.ones((structure.size, structure.size), dtype=bool)
    for _, columns, _ in structure.slices():
        outside[columns, columns] = False
    assert not structure.lam(theta, order)[outside].any()
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
        if not isinstance(block, Unstructured | LowRank):
            assert np.array_equal(better[columns], order[columns])
            continue
        seen = variances[better[columns]]
        rank = block.rank_of_covariances
        assert all(seen[m] <= 4.0 * seen[n] for n in range(rank) for m in range(n, len(seen)))
    assert np.array_equal(structure.pivot(np.diag(variances), better), better)


def test_pivot_leaves_a_good_order_alone():
    structure = Unstructured(2)
    order = np.array([0, 1])
    assert np.array_equal(structure.pivot(np.diag([1.0, 3.9]), order), [0, 1])
    assert np.array_equal(structure.pivot(np.diag([1.0, 4.1]), order), [1, 0])
    assert np.array_equal(structure.pivot(np.zeros((2, 2)), order), [0, 1])


@examples(60)
@given(structures(), SEEDS)
def test_basis_spans_the_covariances(structure, seed):
    omega = omega_of(structure, np.random.default_rng(seed).standard_normal(structure.n_theta))
    basis = structure.basis
    assert np.array_equal(basis, basis.swapaxes(1, 2))
    flat = basis.reshape(len(basis), -1)
    assert np.linalg.matrix_rank(flat) == len(basis)
    found = np.linalg.lstsq(flat.T, omega.ravel(), rcond=None)[0] @ flat
    np.testing.assert_allclose(found, omega.ravel(), atol=1e-10 * (1.0 + np.abs(omega).max()))


def within(structure, omega):
    """Tell whether a covariance is one of the structure."""
    again = omega_of(structure, structure.theta(omega, structure.natural_order))
    return np.allclose(again, omega, rtol=0, atol=1e-8 * (1.0 + np.abs(omega).max()))


@examples(100)
@given(structures(), SEEDS)
def test_whatever_a_structure_makes_is_of_it(structure, seed):
    rng = np.random.default_rng(seed)
    omega = omega_of(structure, draw_theta(structure, rng))
    np.testing.assert_allclose(structure.projected(omega), omega, atol=1e-9 * (1 + omega.max()))
    root = rng.standard_normal(omega.shape)
    assert within(structure, structure.projected(root @ root.T))
    start = np.einsum("a,aij->ij", rng.standard_normal(len(structure.basis)), structure.basis)
    assert within(structure, structure.lifted(start))
    lifted = structure.lifted(start)
    for block, columns, _ in structure.slices():
        least = np.linalg.eigvalsh(lifted[columns, columns])[-block.rank_of_covariances]
        assert least > 1e-6


@examples(100)
@given(structures(), SEEDS)
def test_what_is_nearly_zero_snaps_to_exact_zeros(structure, seed):
    rng = np.random.default_rng(seed)
    omega = omega_of(structure, draw_theta(structure, rng))
    inside = structure.lifted(np.eye(structure.size))
    assert structure.snapped(inside) is inside
    assert not structure.is_on_boundary(inside)
    _, columns, _ = next(structure.slices())
    omega[columns, columns] *= 1e-9
    snapped = structure.snapped(omega)
    assert not snapped[columns, columns].any()
    assert structure.is_on_boundary(snapped)
    assert within(structure, snapped)
    np.testing.assert_allclose(snapped, omega, atol=1e-3 * (1.0 + omega.max()))


def test_a_correlation_of_nearly_one_snaps():
    lam = np.array([[2.0, 0.0], [1.0, 1e-3]])
    snapped = Unstructured(2).snapped(lam @ lam.T)
    assert Unstructured(2).theta(snapped, np.arange(2))[2] == 0.0
    np.testing.assert_allclose(snapped, lam @ lam.T, atol=1e-5)


def lowest_slope(block, gradient):
    """Return how steeply one leads down from zero, each block's direction having unit size."""
    if isinstance(block, Unstructured | LowRank):
        return np.linalg.eigvalsh(gradient)[0]
    variances = np.diag(gradient)
    if isinstance(block, Diagonal | Identity):
        return variances.min() if isinstance(block, Diagonal) else variances.sum()
    joint = (block.extremes * gradient).sum(axis=(1, 2)).min()
    return joint if block.is_homogeneous else min(joint, variances.min())


@examples(100)
@given(structures(), SEEDS)
def test_the_way_off_the_boundary_leads_down_within_the_structure(structure, seed):
    gradient = np.random.default_rng(seed).standard_normal((structure.size, structure.size))
    gradient += gradient.T
    inside = structure.lifted(np.eye(structure.size))
    assert structure.way_off(inside, gradient)[0] == np.inf
    zero = np.zeros_like(gradient)
    assert structure.is_on_boundary(zero)
    slope, direction = structure.way_off(zero, gradient)
    slopes = [lowest_slope(block, gradient[at, at]) for block, at, _ in structure.slices()]
    assert slope == pytest.approx(min(slopes))
    assert slope == pytest.approx((gradient * direction).sum())
    assert np.linalg.eigvalsh(direction)[0] > -1e-12
    assert within(structure, direction)


@examples(80)
@given(structures(), SEEDS)
def test_a_batch_is_as_its_data_sets_are(structure, seed):
    rng = np.random.default_rng(seed)
    shape = (2, 3)
    theta = rng.standard_normal((*shape, structure.n_theta))
    theta[1, :, rng.integers(structure.n_theta)] = 0.0
    orders = np.stack([draw_order(structure, rng) for _ in range(6)]).reshape(*shape, -1)
    gradient = rng.standard_normal((*shape, structure.size, structure.size))
    gradient += gradient.swapaxes(-1, -2)
    lam = structure.lam(theta, orders)
    omega = lam @ lam.swapaxes(-1, -2)
    calls = [
        (structure.lam, theta, orders),
        (structure.directions, theta, orders),
        (structure.curvature, theta, orders, gradient),
        (structure.theta, omega, orders),
        (structure.pivot, omega, orders),
        (structure.projected, omega),
        (structure.lifted, omega),
        (structure.snapped, omega),
        (structure.is_on_boundary, omega),
    ]
    for function, *arguments in calls:
        found = function(*arguments)
        for place in np.ndindex(shape):
            alone = function(*[argument[place] for argument in arguments])
            np.testing.assert_allclose(found[place], alone, rtol=0, atol=1e-9)
    slopes, directions = structure.way_off(omega, gradient)
    for place in np.ndindex(shape):
        slope, direction = structure.way_off(omega[place], gradient[place])
        np.testing.assert_allclose(slopes[place], slope, atol=1e-9)
        if slope < 0.0:
            np.testing.assert_allclose(directions[place], direction, atol=1e-7)


def test_what_contains_what():
    assert Unstructured(3).contains(Identity(2))
    assert not Identity(2).contains(Unstructured(1))
    parts = joined((Diagonal(2), Identity(2), Unstructured(1))).independent_parts()
    assert parts == (
        ((0,), Unstructured(1)),
        ((1,), Unstructured(1)),
        ((2, 3), Identity(2)),
        ((4,), Unstructured(1)),
    )


CONTAINED = {
    "unstructured": set(STRUCTURES),
    "diagonal": set(),  # its parts are compared one by one
    "identity": set(),
    "cs": {"diagonal", "identity", "cs", "homcs"},
    "homcs": {"identity", "homcs"},
    "ar1": {"identity", "ar1"},
    "hetar1": {"diagonal", "identity", "ar1", "hetar1"},
    "toep": {"diagonal", "identity", "cs", "homcs", "ar1", "hetar1", "toep", "homtoep"},
    "homtoep": {"identity", "homcs", "ar1", "homtoep"},
    "rr": {"rr"},
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_contained_in_structures_of_the_same_columns(name):
    structure = structure_named(name, 4)
    contained = {other for other in STRUCTURES if structure.contains(structure_named(other, 4))}
    assert contained == CONTAINED[name]
    for other in contained:
        inner = structure_named(other, 4)
        omega = omega_of(inner, draw_theta(inner, np.random.default_rng(0)))
        assert within(structure, omega)


def test_deviations_and_correlations():
    structure = joined((Unstructured(2), Diagonal(2), Identity(2), Toeplitz(3)))
    assert structure.deviations == ((0,), (1,), (2,), (3,), (4, 5), (6,), (7,), (8,))
    assert structure.correlations == ((0, 1), (6, 7), (6, 8))
    assert isinstance(structure, BlockDiagonal)


@examples(60)
@given(st.sampled_from(CORRELATED), st.integers(2, 5), SEEDS)
def test_no_correlation_of_a_law_is_lower_than_its_extremes(kind, size, seed):
    rng, structure = np.random.default_rng(seed), kind(size)
    gradient = rng.standard_normal((size, size))
    gradient += gradient.T
    angles = rng.uniform(-np.pi, np.pi, (200, structure.n_angles))
    values = (structure.correlation(angles) * gradient).sum(axis=(1, 2))
    lowest = (structure.extremes * gradient).sum(axis=(1, 2)).min()
    assert lowest <= values.min() + 0.01 * np.abs(gradient).sum()


@examples(60)
@given(st.sampled_from(CORRELATED), st.integers(2, 5), SEEDS)
def test_projection_is_the_most_likely_of_the_structure(kind, size, seed):
    rng, structure = np.random.default_rng(seed), kind(size)
    root = rng.standard_normal((size, 2 * size))
    moment = root @ root.T / (2 * size)

    def minus_log_likelihood(omega):
        return np.linalg.slogdet(omega)[1] + np.trace(np.linalg.solve(omega, moment))

    found = structure.projected(moment)
    theta = structure.theta(found, structure.natural_order)
    for size_of_step in (1e-3, 0.3):
        others = theta + size_of_step * rng.standard_normal((30, len(theta)))
        for other in others:
            assert minus_log_likelihood(omega_of(structure, other)) > minus_log_likelihood(found)


def test_correlations_on_their_boundary_are_points_like_others():
    """Both ends of compound symmetry, autocorrelations of one, and what snaps onto them."""
    for kind, size in [(CompoundSymmetric, 3), (Autoregressive, 4), (Toeplitz, 3)]:
        structure = kind(size, is_homogeneous=True)
        for edge in structure.extremes[[0, -1]]:
            assert structure.is_on_boundary(edge)
            theta = structure.theta(edge, structure.natural_order)
            np.testing.assert_allclose(omega_of(structure, theta), edge, atol=1e-15)
            near = 0.99999 * edge + 1e-5 * np.eye(size) if kind is not Autoregressive else None
            if near is not None:
                np.testing.assert_allclose(structure.snapped(near), edge, atol=1e-4)
                assert structure.is_on_boundary(structure.snapped(near))


def test_levinson_recursion_gives_the_partial_autocorrelations_back():
    """They are what is left of the correlation at a distance given all between."""
    structure = Toeplitz(4, is_homogeneous=True)
    c = structure.correlation(np.arcsin([0.5, -0.3, 0.2]))
    for lag, expected in [(1, 0.5), (2, -0.3), (3, 0.2)]:
        precision = np.linalg.inv(c[: lag + 1, : lag + 1])
        partial = -precision[0, -1] / np.sqrt(precision[0, 0] * precision[-1, -1])
        assert partial == pytest.approx(expected, abs=1e-14)
