"""The unit of weights is not seen: it scales sigma^2, and nothing else."""

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skmixed.core.fit import Fit
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.search.em import EM
from skmixed.core.search.newton import Newton
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows

UNITS = [1e-300, 1e-100, 1e-16, 1e-6, 1e8, 1e100, 1e300]
# Factors of a design, and what varies over each: the constant, or it and the feature.
KINDS = ["one", "one slope", "two", "two slopes", "nested", "three"]
FACTORS = {"one": 1, "one slope": 1, "two": 2, "two slopes": 2, "nested": 2, "three": 3}
N = 72


def draw(seed):
    """Draw columns [1, x, y], codes, weights and the model of a design."""
    kind, rng = KINDS[seed % len(KINDS)], np.random.default_rng(seed)
    codes = [rng.permutation(np.arange(N) % size) for size in (9, 6, 4)][: FACTORS[kind]]
    if kind == "nested":
        codes[1] = codes[0] // 3
    x, weights = rng.normal(size=N), rng.uniform(0.3, 4.0, size=N)
    y = 1.0 + 0.5 * x + rng.normal(size=N) / np.sqrt(weights)
    for of_rows in codes:
        y += rng.normal(size=9)[of_rows] + 0.6 * ("slope" in kind) * rng.normal(size=9)[of_rows] * x
    varying = (0, 1) if "slope" in kind else (0,)
    spec = ModelSpec(
        (0, 1),
        tuple(Term(factor, varying) for factor in range(len(codes))),
        method="reml" if seed % 4 < 2 else "ml",
        weighting="precision",
    )
    return np.column_stack([np.ones(N), x, y]), codes, weights, spec


def rows_of(columns, codes, weights, chosen=slice(None)):
    indexes, numbers = [], []
    for factor, of_rows in enumerate(codes):
        levels, number = np.unique(of_rows[chosen], return_inverse=True)
        indexes.append(GroupIndex((f"f{factor}",), (levels,)))
        numbers.append(number.astype(np.intp))
    given = None if weights is None else weights[chosen]
    return Rows(np.ascontiguousarray(columns[chosen]), tuple(numbers), tuple(indexes), given)


def summed(columns, codes, weights, spec, parts=(slice(None),)):
    varying = spec.terms[0].columns
    factors = tuple(FactorLayout((f"f{n}",), varying) for n in range(len(codes)))
    layout = Layout(("1", "x", "y"), factors)
    rows = [rows_of(columns, codes, weights, part) for part in parts]
    return CrossProducts.merged([CrossProducts.of(layout, part) for part in rows])


@cache
def plain_fit(seed):
    columns, codes, weights, spec = draw(seed)
    return Fit.of(summed(columns, codes, weights, spec), spec, Newton())


def assert_same_fit(found, expected, *, weights=1.0, x=1.0, y=1.0):
    """Compare a fit of weights, x and y in these units with one in units of one."""
    assert found.report.converged
    change = 2.0 * (found.problem.degrees * np.log(y))
    if found.spec.method == "reml":
        change += 2.0 * np.log(x)
    assert_allclose(found.criterion - change, expected.criterion, rtol=1e-11, atol=1e-8)
    per_y = np.array([1.0, x]) / y
    assert_allclose(found.beta * per_y, expected.beta, rtol=1e-6, atol=1e-8)
    errors = (np.sqrt(np.diag(each)) for each in (found.beta_covariance, expected.beta_covariance))
    assert_allclose(next(errors) * per_y, next(errors), rtol=1e-5)
    assert_allclose(found.sigma2 / weights / y / y, expected.sigma2, rtol=1e-6)
    pairs = zip(found.covariances, expected.covariances, strict=True)
    for position, (ours, theirs) in enumerate(pairs):
        scales = per_y[: len(ours)]
        assert_allclose(scales[:, None] * ours * scales, theirs, atol=1e-5 * (1e-3 + theirs.max()))
        assert_allclose(found.modes[position] * scales, expected.modes[position], atol=1e-5)
        mine = found.conditional_covariance(position) * scales[:, None] * scales
        assert_allclose(mine, expected.conditional_covariance(position), atol=1e-5)


def check_units(seed, units):
    columns, codes, weights, spec = draw(seed)
    for unit in units:
        fit = Fit.of(summed(columns, codes, weights * unit, spec), spec, Newton())
        assert_same_fit(fit, plain_fit(seed), weights=unit)


@pytest.mark.parametrize("seed", range(60))
def test_the_unit_of_weights_is_that_of_sigma2(seed):
    check_units(seed, [UNITS[seed % len(UNITS)]])


@pytest.mark.study
@pytest.mark.parametrize("seed", range(60))
def test_every_unit_of_weights_is_that_of_sigma2(seed):
    check_units(seed, UNITS)


@pytest.mark.parametrize("seed", range(0, 60, 11))
def test_em_does_not_see_it_either(seed):
    columns, codes, weights, spec = draw(seed)
    for unit in UNITS[::2]:
        fit = Fit.of(summed(columns, codes, weights * unit, spec), spec, EM())
        assert_same_fit(fit, plain_fit(seed), weights=unit)


@pytest.mark.parametrize("unit", UNITS)
def test_large_columns_and_weights_do_not_overflow(unit):
    columns, codes, weights, spec = draw(3)
    grown = columns * [1.0, 1e6, 1e3]
    fit = Fit.of(summed(grown, codes, weights * unit, spec), spec, Newton())
    assert_same_fit(fit, plain_fit(3), weights=unit, x=1e6, y=1e3)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("unit", [1e-300, 1e-12, 1e290])
def test_pieces_of_very_different_weights_add_up(seed, unit):
    columns, codes, weights, spec = draw(seed)
    weights = unit * np.where(np.arange(N) < 40, weights, 1e12 * weights)
    parts = (slice(None, 40), slice(40, None))
    for order in (parts, parts[::-1]):
        pieces = summed(columns, codes, weights, spec, order)
        whole = summed(columns, codes, weights, spec)
        assert_allclose(pieces.in_unit(whole.unit).gram, whole.gram, rtol=1e-12)
        found, expected = (Fit.of(each, spec, Newton()) for each in (pieces, whole))
        assert_allclose(found.criterion, expected.criterion, atol=1e-7)
        assert_allclose(found.beta, expected.beta, rtol=1e-6)


def test_rows_are_taken_out_in_the_unit_of_the_sums():
    columns, codes, weights, spec = draw(1)
    weights = 1e250 * weights
    whole, kept = summed(columns, codes, weights, spec), slice(10, None)
    left = whole.without(rows_of(columns, codes, weights).take(np.arange(10)))
    other = summed(columns, codes, weights, spec, (kept,)).in_unit(whole.unit)
    assert_allclose(left.gram, other.gram, rtol=1e-12)
    assert left.unit == whole.unit


@pytest.mark.parametrize("unit", [1e-305, 1e305])
def test_a_residual_variance_beyond_double_precision_is_refused(unit):
    columns, codes, weights, spec = draw(0)
    grown = columns * [1.0, 1.0, 1e4 if unit > 1.0 else 1e-4]
    with pytest.raises(ValueError, match=r"residual variance .* cannot be written"):
        Fit.of(summed(grown, codes, weights * unit, spec), spec, Newton())


@pytest.mark.parametrize("part", [slice(None), slice(1, None)])
def test_weights_that_vanish_beside_others_are_refused(part):
    columns, codes, weights, spec = draw(0)
    weights = np.where(np.arange(N) == 0, 1e-290, weights)
    parts = (slice(None),) if part == slice(None) else (slice(0, 1), part)
    with pytest.raises(ValueError, match="more than 1e200 times the smallest"):
        summed(columns, codes, weights, spec, parts)


@pytest.mark.parametrize("unit", [1e153, 1e200, 1e-160, 1e-200, 1e-300])
@pytest.mark.parametrize("place", [1, 2])
def test_columns_whose_squares_cannot_be_written_are_refused(unit, place):
    columns, codes, weights, spec = draw(1)
    for shift in (0.0, 100.0):
        grown = columns.copy()
        grown[:, place] = unit * (8.0 * grown[:, place] + shift)
        with pytest.raises(ValueError, match=f"numbers of '{'1xy'[place]}' are so"):
            summed(grown, codes, weights, spec)


@pytest.mark.parametrize("unit", [1e130, 1e-130])
@pytest.mark.parametrize("place", [1, 2])
def test_columns_whose_squares_can_be_written_are_fitted(unit, place):
    columns, codes, weights, spec = draw(1)
    grown = columns.copy()
    grown[:, place] *= unit
    fit = Fit.of(summed(grown, codes, weights, spec), spec, Newton())
    assert_same_fit(fit, plain_fit(1), **{"xy"[place - 1]: unit})


def test_a_column_of_zeros_is_not_refused():
    columns, codes, weights, spec = draw(1)
    columns[:, 1] = 0.0
    assert Fit.of(summed(columns, codes, weights, spec), spec, Newton()).rank == 1
