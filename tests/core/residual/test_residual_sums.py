"""Tables of residual structures: parts add up, points stand for values, bad rows are refused."""

from dataclasses import replace

import numpy as np
import pytest

from skmixed.core.residual import selections
from skmixed.core.residual.partition import Part, Points
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_rows import SeriesOrder
from skmixed.core.residual.structure import draw
from tests.core.residual.series_designs import STRUCTURES, SeriesDesign, structure_of


def near(first, second, rel=1e-12):
    first, second = np.asarray(first), np.asarray(second)
    assert np.abs(first - second).max(initial=0.0) <= rel * max(1.0, np.abs(second).max(initial=0))


def combined(tables, fit):
    return tables.combined(fit.phi, fit.structure, fit.spec.weighting)


@pytest.mark.parametrize("factors", ["slope", "crossed"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_tables_of_parts_add_up_to_those_of_all_rows(name, factors):
    design = SeriesDesign.drawn(11, factors, whole="car1" not in name, n_series=20, weighted=True)
    structure = structure_of(name)
    part = np.isin(design.series, [0, 3, 4, 7])
    whole = design.tables(structure)
    both = design.tables(structure, np.flatnonzero(part)) + design.tables(
        structure, np.flatnonzero(~part)
    )
    fit = ResidualFit.of_tables(whole, design.spec())
    mine = combined(both, fit).rebased(whole.base.basis)
    theirs = combined(whole, fit)
    near(mine.log_det, theirs.log_det)
    near(mine.gram, theirs.gram)
    for one, other in zip(mine.factors, theirs.factors, strict=True):
        near(one.products, other.products)
    for pair in mine.pairs:
        near(mine.pairs[pair].products, theirs.pairs[pair].products)
    assert np.array_equal(both.counts, whole.counts)
    assert ResidualFit.of_tables(both, design.spec()).criterion == pytest.approx(
        fit.criterion, abs=1e-7
    )


def test_a_torn_series_is_refused():
    design = SeriesDesign.drawn(2)
    rows = np.flatnonzero(design.series == 1)
    rest = np.setdiff1d(np.arange(len(design.series)), rows[1:])
    structure = structure_of("ar1")
    part = design.tables(structure, rest[rest != rows[0]])
    with pytest.raises(ValueError, match="rows of 1 series of 'series', '1' for one"):
        part + design.tables(structure, rows[1:]) + design.tables(structure, rows[:1])


@pytest.mark.parametrize("factors", ["none", "chain", "crossed"])
@pytest.mark.parametrize("name", ["ar1", "car1 var", "cs power", "var"])
def test_whole_series_are_taken_out(name, factors):
    design = SeriesDesign.drawn(12, factors, whole="car1" not in name, n_series=24, weighted=True)
    structure = structure_of(name)
    whole = design.tables(structure)
    out = np.isin(design.series, [1, 5, 9])
    rows, residual_rows = design.rows(np.flatnonzero(out), whole.base.levels)
    left = whole.without(rows, residual_rows)
    wanted = design.tables(structure, np.flatnonzero(~out))
    fit = ResidualFit.of_tables(wanted, design.spec())
    assert ResidualFit.of_tables(left, design.spec()).criterion == pytest.approx(
        fit.criterion, abs=1e-7
    )
    near(combined(left, fit).rebased(wanted.base.basis).gram, combined(wanted, fit).gram, 1e-10)
    if name != "var":
        torn = np.flatnonzero(out)[1:]
        with pytest.raises(ValueError, match="are taken out and others are not"):
            whole.without(*design.rows(torn, whole.base.levels))


def test_variances_alone_need_no_whole_series():
    design = SeriesDesign.drawn(2, "intercept")
    structure, half = structure_of("var power"), np.arange(len(design.series)) % 2 == 0
    parts = [design.tables(structure, np.flatnonzero(chosen)) for chosen in (half, ~half)]
    fit = ResidualFit.of_tables(parts[0] + parts[1], design.spec())
    whole = ResidualFit.of_tables(design.tables(structure), design.spec())
    assert fit.criterion == pytest.approx(whole.criterion, abs=1e-8)


def test_frequency_weights_of_variances_are_repeated_rows():
    design = SeriesDesign.drawn(2, "intercept")
    times = np.random.default_rng(0).integers(1, 4, len(design.series))
    weighted = replace(design, weights=times.astype(float))
    spec = replace(weighted.spec(), weighting="frequency")
    fit = ResidualFit.of_tables(weighted.tables(structure_of("var power")), spec)
    repeated = np.repeat(np.arange(len(times)), times)
    again = ResidualFit.of_tables(design.tables(structure_of("var power"), repeated), spec)
    assert fit.criterion == pytest.approx(again.criterion, abs=1e-7)
    assert fit.phi == pytest.approx(again.phi, abs=1e-5)
    with pytest.raises(ValueError, match="have no meaning for residuals that depend"):
        ResidualFit.of_tables(weighted.tables(structure_of("ar1")), spec)


@pytest.mark.parametrize(
    "name", ["car1", "car1 var", "power", "car1 power", "cs power", "cs var power"]
)
def test_many_gaps_and_values_are_summed_at_points(name):
    design = SeriesDesign.drawn(8, "intercept", n_series=60)
    rng = np.random.default_rng(0)
    design = replace(
        design,
        position=design.position + rng.uniform(-0.2, 0.2, len(design.position)),
        value=rng.uniform(0.5, 3.0, len(design.value)),
    )
    fit = ResidualFit.of_tables(design.tables(structure_of(name)), design.spec())
    R = design.covariance_of_residuals(name, fit)
    _, criterion = design.dense(R, fit.lambdas, reml=True)
    assert fit.criterion == pytest.approx(criterion, abs=1e-7)
    assert len(fit.tables.keys) < 4000


def test_too_many_pairs_of_rows_are_refused(monkeypatch):
    design = SeriesDesign.drawn(8, n_series=60)
    values = np.random.default_rng(0).uniform(0.5, 3.0, len(design.value))
    monkeypatch.setattr(selections, "_MOST_ROW_PAIRS", 100)
    refused(replace(design, value=values), "cs power", "pairs of rows, more than 100: use car1")


def test_points_stand_for_any_number_of_values():
    points, values = Points(np.log(8.0), 20), np.random.default_rng(0).uniform(-3.0, 4.0, 500)
    parts = points.cut(values)(Part(()))
    for rate in (0.01, 0.5, 3.0):

        def of(x, rate=rate):
            return 1.0 / np.expm1(2.0 * rate * np.exp(x))

        found = np.zeros(len(values))
        for part in parts:
            found[part.members] += part.weights * of(part.key[-1])
        assert found == pytest.approx(of(values), rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("name", STRUCTURES)
def test_whitening_undoes_colouring_and_gives_the_covariance(name):
    design = SeriesDesign.drawn(9, whole="car1" not in name)
    fit = ResidualFit.of_tables(design.tables(structure_of(name)), design.spec())
    rows, n = design.residual_rows(), len(design.series)
    root = fit.structure.coloured(fit.phi, rows, np.eye(n))
    near(root @ root.T, design.covariance_of_residuals(name, fit), 1e-10)
    near(fit.structure.whitened(fit.phi, rows, root), np.eye(n), 1e-10)
    near(fit.structure.deviations(fit.phi, rows) ** 2, (root**2).sum(axis=1), 1e-10)
    draws = draw(fit.structure, fit.phi, rows, np.random.default_rng(0), 3)
    assert draws.shape == (n, 3)


def refused(design, name, match, spec=None):
    with pytest.raises(ValueError, match=match):
        ResidualFit.of_tables(design.tables(structure_of(name)), spec or design.spec())


def test_bad_rows_are_refused_by_name():
    design = SeriesDesign.drawn(2, "intercept")
    order = SeriesOrder.of(design.residual_rows())
    first, second = int(order.earlier[0]), int(order.later[0])
    position = design.position.copy()
    position[second] = position[first]
    refused(replace(design, position=position), "car1", "rows .* stand at one position: rows")
    refused(replace(design, position=design.position / 2), "ar1", "car1.. takes times of any kind")
    value = design.value.copy()
    value[4] = 0.0
    refused(replace(design, value=value), "power", "has 0.0 in row 4")
    n = len(design.series)
    refused(replace(design, series=np.arange(n), codes=(np.arange(n) % 3,)), "ar1", "has one row")
    refused(replace(design, codes=(np.arange(n) % 3,)), "ar1", "several levels of 'f0'")


def test_what_the_rows_do_not_tell_is_refused():
    design = SeriesDesign.drawn(2, "intercept", n_series=20)
    n = len(design.series)
    refused(replace(design, value=np.full(n, 2.0)), "power", "has one value")
    refused(replace(design, stratum=np.zeros(n, int)), "var", "all rows are in the stratum 'low'")
    refused(replace(design, stratum=(np.arange(n) == 3) * 1), "var", "'mid' .* has one row")
    refused(replace(design, codes=(design.series,)), "cs", "apart from the random effects")


def test_a_stratum_that_is_fitted_exactly_has_no_maximum():
    design = SeriesDesign.drawn(2, n_series=20)
    columns, stratum = design.columns.copy(), (design.series == 0) * 1
    columns[:, 1] = stratum
    columns[stratum == 1, 3] = 2.0
    design, spec = replace(design, columns=columns, stratum=stratum), design.spec()
    refused(design, "var", "'mid' runs to zero", replace(spec, fixed=(0, 1)))


def test_a_walk_without_return_has_no_correlation_below_one():
    rng, n = np.random.default_rng(3), 12
    design = SeriesDesign.drawn(2)
    columns = np.column_stack([np.ones(n), rng.standard_normal(n), np.arange(n), np.arange(n) ** 2])
    design = replace(
        design, columns=columns * 1.0, series=np.zeros(n, int), position=np.arange(n) * 1.0,
        stratum=np.zeros(n, int), value=np.ones(n),
    )  # fmt: skip
    refused(design, "ar1", "runs to 1", replace(design.spec(), fixed=(0, 1)))


def test_levels_far_apart_and_far_from_zero_keep_their_digits():
    design = SeriesDesign.drawn(4, "intercept", n_series=20)
    fit = ResidualFit.of_tables(design.tables(structure_of("ar1")), design.spec())
    columns = design.columns.copy()
    columns[:, 3] += 2.0**20
    far = replace(design, columns=columns)
    moved = ResidualFit.of_tables(far.tables(structure_of("ar1")), design.spec())
    assert moved.criterion == pytest.approx(fit.criterion, abs=1e-6)
    assert moved.phi == pytest.approx(fit.phi, abs=1e-4)


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 86_400.0, 1e14])
def test_a_unit_of_time_changes_nothing_but_where_the_correlation_is_read(unit):
    design = SeriesDesign.drawn(6, "intercept", whole=False, n_series=40)
    fit = ResidualFit.of_tables(design.tables(structure_of("car1")), design.spec())
    moved = replace(design, position=unit * design.position)
    other = ResidualFit.of_tables(moved.tables(structure_of("car1")), design.spec())
    assert other.criterion == pytest.approx(fit.criterion, abs=1e-9)
    (known,), (found,) = fit.residual_parameters, other.residual_parameters
    assert known.name == "car1"
    gap = float(found.name.removeprefix("car1 at a gap of "))
    assert gap == pytest.approx(0.5 * unit, rel=1e-2)
    assert found.value == pytest.approx(known.value ** (gap / unit), rel=1e-5)
