"""The optimum: as low as brute force finds it, whatever the units, order and names of the data."""

from dataclasses import replace

import numpy as np
import pytest

from skmixed import MixedLinearRegressor
from skmixed.core.fit import Fit
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import Term
from skmixed.core.search.em import EM
from skmixed.core.search.newton import Newton
from skmixed.datasets import load_sleepstudy
from tests.core.dense_search import lowest_criterion
from tests.core.designs import TERMS, draw_lambdas, on_grid, random_design

# The criterion is flat at its minimum: an excess of 1e-10 moves estimates by about 1e-5.
ABOVE_OPTIMUM = 1e-6
ESTIMATES = 1e-4


def assert_lowest(fit, lowest):
    assert fit.report.converged, fit.report
    assert fit.criterion - lowest <= ABOVE_OPTIMUM, fit.report


def any_design(seed):
    """Draw a small model of one to three factors; every fourth has only noise for a response."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 4))
    relations = tuple(rng.choice(["nested", "crossed", "partial"], size=count - 1).tolist())
    design = random_design(
        seed,
        relations=relations,
        n_slopes=tuple(rng.integers(0, 3, size=count).tolist()) if count < 3 else (0, 1, 0),
        terms=tuple(rng.choice(TERMS, size=count).tolist()),
        traits={str(rng.choice(["scaled", "collinear", "response offset", "spare factor"]))},
        n_rows=int(rng.integers(15, 45)),
        weights=[None, "integer", "fractional"][seed % 3],
        weighting=["frequency", "precision"][seed % 2],
        method=["reml", "ml"][seed // 2 % 2],
        intercept=bool(seed % 5),
    )
    return only_noise(design, rng) if seed % 4 == 0 else design


def only_noise(design, rng):
    return replace(design, response=on_grid(rng.standard_normal(design.n_rows), 12))


@pytest.mark.parametrize("seed", range(60))
def test_no_other_search_finds_a_lower_criterion(seed):
    design = any_design(seed)
    fit = Fit.of(design.products(), design.spec)
    assert_lowest(fit, lowest_criterion(design, n_starts=3))
    assert fit.report.n_evaluations == 1 + fit.report.n_iter or fit.report.n_evaluations > 1


@pytest.mark.parametrize("seed", range(12))
def test_two_slopes_of_one_factor_with_singular_optima(seed):
    """Few rows a level and three random columns: nearly every optimum is on the boundary."""
    design = random_design(seed, n_slopes=(2,), n_rows=24, traits={"offset"}, method="ml")
    fit = Fit.of(design.products(), design.spec)
    assert_lowest(fit, lowest_criterion(design))
    if fit.is_singular:
        lam = fit.scaled_lambdas[0]
        assert (np.diag(lam) == 0.0).any()
        assert np.linalg.matrix_rank(lam) < 3


def test_a_lower_second_minimum_at_zero_is_found():
    """The criterion has a minimum at 0.20 and another, lower by 0.005, at zero."""
    design = random_design(
        34, traits={"spare factor", "offset"}, n_rows=22, weights="integer", method="ml"
    )
    fit = Fit.of(design.products(), design.spec)
    zero = design.fit_at([np.zeros((1, 1))])
    assert fit.criterion <= zero.criterion + ABOVE_OPTIMUM


def one_way(n_levels, per_level, rng, between=1.0):
    """Draw a balanced one-way layout with random intercepts and nothing else."""
    n = n_levels * per_level
    codes = np.repeat(np.arange(n_levels), per_level)
    design = random_design(0, n_rows=n, n_fixed=0)
    y = on_grid(between * rng.standard_normal(n_levels)[codes] + rng.standard_normal(n), 12)
    return replace(design, codes=(codes,), labels=((np.arange(n_levels),),), response=y)


@pytest.mark.parametrize("seed", range(8))
def test_balanced_one_way_has_a_closed_form(seed):
    n_levels, per_level = 7, 4
    design = one_way(n_levels, per_level, np.random.default_rng(seed), between=seed / 4)
    y = design.response.reshape(n_levels, per_level)
    mse = ((y - y.mean(axis=1, keepdims=True)) ** 2).sum() / (n_levels * (per_level - 1))
    mst = per_level * ((y.mean(axis=1) - y.mean()) ** 2).sum() / (n_levels - 1)
    fit = Fit.of(design.products(), design.spec)
    if mst > mse:
        np.testing.assert_allclose(fit.sigma2, mse, rtol=1e-8)
        np.testing.assert_allclose(fit.covariances[0][0, 0], (mst - mse) / per_level, rtol=1e-7)
        assert not fit.is_singular
    else:
        assert fit.covariances[0][0, 0] == 0.0
        assert fit.is_singular
        np.testing.assert_allclose(fit.sigma2, y.var(ddof=1), rtol=1e-12)
    np.testing.assert_allclose(fit.beta, [y.mean()], rtol=1e-9)
    assert fit.report.n_evaluations <= 12


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("relations", [(), ("nested",), ("crossed",)])
def test_variances_that_are_zero_are_exactly_zero(relations, method):
    """Every level of every factor has the same mean."""
    count = len(relations) + 1
    design = random_design(
        1, relations=relations, n_slopes=(0,) * count, terms=("unstructured",) * count,
        n_fixed=0, method=method, n_rows=32,
    )  # fmt: skip
    first = np.repeat(np.arange(8), 4)
    second = {(): None, ("nested",): first // 2, ("crossed",): np.tile(np.arange(4), 8)}[relations]
    codes = (first, second)[:count]
    labels = tuple((np.arange(code.max() + 1),) for code in codes)
    signs = np.array([1.0, -1.0, -1.0, 1.0])
    y = np.concatenate([np.roll(signs, level) for level in range(8)])
    design = replace(design, codes=codes, labels=labels, response=y)
    fit = Fit.of(design.products(), design.spec)
    assert all((covariance == 0.0).all() for covariance in fit.covariances)
    assert fit.is_singular
    assert fit.report.converged
    assert all((modes == 0.0).all() for modes in fit.modes)
    np.testing.assert_allclose(fit.sigma2, 32 / (31 if method == "reml" else 32), rtol=1e-12)


STRUCTURES = [
    ((), (2,), ("unstructured",)),
    (("nested",), (1, 0), ("unstructured", "diagonal")),
    (("crossed",), (1, 0), ("split", "unstructured")),
]


def one_of(structure, seed, **options):
    relations, n_slopes, terms = structure
    return random_design(
        seed, relations=relations, n_slopes=n_slopes, terms=terms, n_rows=60, **options
    )


def assert_same_fit(design, fit, other, other_fit):
    """Compare two fits in plain units, where they are to be the same."""
    ours, theirs = design.in_plain_units(fit), other.in_plain_units(other_fit)
    np.testing.assert_allclose(ours["criterion"], theirs["criterion"], rtol=1e-9)
    np.testing.assert_allclose(ours["sigma2"], theirs["sigma2"], rtol=ESTIMATES)
    np.testing.assert_allclose(ours["beta"], theirs["beta"], atol=ESTIMATES)
    for mine, their in zip(ours["modes"], theirs["modes"], strict=True):
        np.testing.assert_allclose(mine, their, atol=ESTIMATES)
    assert fit.is_singular == other_fit.is_singular


@pytest.mark.parametrize("structure", STRUCTURES, ids=["one", "nested", "crossed"])
@pytest.mark.parametrize("seed", range(3))
def test_order_of_rows_does_not_matter(structure, seed):
    design = one_of(structure, seed, weights="fractional")
    order = np.random.default_rng(seed).permutation(design.n_rows)
    fit = Fit.of(design.products(), design.spec)
    assert_same_fit(design, fit, design, Fit.of(design.products(order), design.spec))


@pytest.mark.parametrize("structure", STRUCTURES, ids=["one", "nested", "crossed"])
@pytest.mark.parametrize("seed", range(3))
def test_names_of_levels_do_not_matter(structure, seed):
    design = one_of(structure, seed)
    rng = np.random.default_rng(seed)
    codes, labels = [], []
    for code, label in zip(design.codes, design.labels, strict=True):
        renamed = rng.permutation(code.max() + 1)
        codes.append(renamed[code])
        columns = [np.empty_like(column) for column in label]
        for column, old in zip(columns, label, strict=True):
            column[renamed] = old
        labels.append(tuple(columns))
    other = replace(design, codes=tuple(codes), labels=tuple(labels))
    fit = Fit.of(design.products(), design.spec)
    assert_same_fit(design, fit, design, Fit.of(other.products(), other.spec))


@pytest.mark.parametrize("structure", STRUCTURES, ids=["one", "nested", "crossed"])
@pytest.mark.parametrize("unit", [2.0**-20, 2.0**20, 1e-6, 1e6, 1e-3])
def test_units_do_not_matter(structure, unit):
    design = one_of(structure, 4)
    other = replace(
        design, scale=np.array([unit, 1.0 / unit, 1.0]), response_scale=2.0 ** round(np.log2(unit))
    )
    fit = Fit.of(design.products(), design.spec)
    other_fit = Fit.of(other.products(), other.spec)
    # of many searches side by side, rounding decides which come together when
    assert other_fit.report.n_evaluations <= 1.5 * fit.report.n_evaluations + 2
    assert_same_fit(design, fit, other, other_fit)


@pytest.mark.parametrize("seed", range(3))
def test_units_that_are_powers_of_two_round_nothing(seed):
    design = one_of(STRUCTURES[0], seed)
    other = replace(design, scale=np.array([2.0**-30, 2.0**20, 2.0**5]), response_scale=2.0**-7)
    fit, other_fit = (Fit.of(d.products(), d.spec) for d in (design, other))
    for mine, theirs in zip(fit.scaled_lambdas, other_fit.scaled_lambdas, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert other_fit.sigma2 == fit.sigma2 * 2.0**-14


@pytest.mark.parametrize("structure", STRUCTURES, ids=["one", "nested", "crossed"])
def test_adding_a_fixed_column_to_the_response_moves_its_coefficient_alone(structure):
    design = one_of(structure, 5)
    column = design.spec.fixed[1]
    other = replace(design, response=design.response + 8.0 * design.features[:, column - 1])
    fit, other_fit = (Fit.of(d.products(), d.spec) for d in (design, other))
    expected = np.array([0.0, 8.0, 0.0])
    np.testing.assert_allclose(other_fit.beta - fit.beta, expected, atol=ESTIMATES)
    np.testing.assert_allclose(other_fit.criterion, fit.criterion, rtol=1e-9)


def series_with_mirror_images():
    """Pair each series with its time reversal: the slope in the covariance vanishes by symmetry."""
    rng = np.random.default_rng(0)
    days = np.arange(10.0)
    series = [
        0.2 * rng.standard_normal() + 0.5 * rng.standard_normal() * (days - 4.5)
        + rng.standard_normal(10)
        for _ in range(9)
    ]  # fmt: skip
    series += [one[::-1] for one in series]
    codes = np.repeat(np.arange(18), 10)
    design = random_design(0, n_slopes=(1,), n_rows=180)
    slope = design.spec.terms[0].columns[1]
    features = design.features.copy()
    features[:, slope - 1] = np.tile(days - 4.5, 18)
    return replace(
        design, codes=(codes,), labels=((np.arange(18),),), features=features,
        response=on_grid(np.concatenate(series), 12), spec=replace(design.spec, fixed=(0, slope)),
    )  # fmt: skip


@pytest.mark.parametrize("theta", [(0, 0.3, 0), (0, 0.3, 0.1), (0, 0, 0.3), (0, 0, 0), (3, 0, 0)])
def test_bad_starts_are_left(theta):
    design = series_with_mirror_images()
    problem = Problem.of(design.products(), design.spec)
    best, _ = Newton().solve(problem)
    start = np.array([[theta[0], 0.0], [theta[1], theta[2]]])
    found, report = Newton().solve(problem, [start @ start.T])
    assert report.converged
    assert found.criterion <= best.criterion + ABOVE_OPTIMUM
    np.testing.assert_allclose(found.lambdas[0], best.lambdas[0], atol=1e-4)
    fit = Fit.of(design.products(), design.spec)
    assert fit.criterion <= lowest_criterion(design) + ABOVE_OPTIMUM


@pytest.mark.parametrize("structure", STRUCTURES, ids=["one", "nested", "crossed"])
@pytest.mark.parametrize("seed", range(4))
def test_every_start_leads_to_the_optimum(structure, seed):
    """The signal is strong enough for a single minimum."""
    design = one_of(structure, seed)
    problem = Problem.of(design.products(), design.spec)
    best, _ = Newton().solve(problem)
    lambdas = draw_lambdas(design, np.random.default_rng(seed))
    scaled = design.scaled_lambdas(problem, lambdas)
    for start in [[100.0 * lam @ lam.T for lam in scaled], [0.0 * lam for lam in scaled]]:
        found, report = Newton().solve(problem, start)
        assert report.converged
        assert found.criterion <= best.criterion + ABOVE_OPTIMUM


def test_settings_of_the_search():
    design = one_of(STRUCTURES[2], 0)
    lines = []
    fit = Fit.of(design.products(), design.spec, Newton(callback=lines.append))
    assert len(lines) >= fit.report.n_iter > 0
    assert all(line in lines for line in fit.report.trace)
    values = [line.criterion for line in fit.report.trace]
    assert np.max(np.diff(values)) <= 1e-9
    short = Fit.of(design.products(), design.spec, Newton(max_iter=2))
    assert not short.report.converged
    assert "max_iter" in short.report.message


def test_em_ends_where_newton_does_and_never_climbs():
    for structure in STRUCTURES:
        design = one_of(structure, 1)
        newton = Fit.of(design.products(), design.spec)
        em = Fit.of(design.products(), design.spec, EM())
        np.testing.assert_allclose(em.criterion, newton.criterion, atol=ABOVE_OPTIMUM)
        values = [line.criterion for line in em.report.trace]
        assert np.max(np.diff(values)) <= 1e-9 * abs(values[0])
        assert em.report.converged


# --- designs at the edge of what can be fitted ----------------------------------------------------


def test_singleton_levels():
    """A level for every row: its variance cannot be told from the residual's."""
    rng = np.random.default_rng(0)
    design = one_way(20, 1, rng)
    fit = Fit.of(design.products(), design.spec)
    assert fit.report.converged
    np.testing.assert_allclose(fit.beta, [design.response.mean()], rtol=1e-12)
    total = fit.sigma2 + fit.covariances[0][0, 0]
    np.testing.assert_allclose(total, design.response.var(ddof=1), rtol=1e-8)
    assert fit.covariances[0][0, 0] == 0.0


def test_mostly_singleton_levels():
    design = one_way(20, 1, np.random.default_rng(1))
    codes = np.r_[np.arange(18), 0, 1]
    design = replace(design, codes=(codes,), labels=((np.arange(18),),))
    fit = Fit.of(design.products(), design.spec)
    assert_lowest(fit, lowest_criterion(design))


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_one_level(method):
    design = one_way(1, 12, np.random.default_rng(0))
    design = replace(design, spec=replace(design.spec, method=method))
    fit = Fit.of(design.products(), design.spec)
    divisor = 11 if method == "reml" else 12
    assert fit.report.converged
    assert fit.covariances[0][0, 0] == 0.0
    np.testing.assert_allclose(fit.sigma2, design.response.var() * 12 / divisor, rtol=1e-9)
    np.testing.assert_allclose(fit.beta, [design.response.mean()], rtol=1e-9)


def test_factor_that_is_also_fixed():
    """Fixed effects of the levels leave nothing for their random intercepts."""
    design = random_design(0, n_rows=40, n_fixed=1)
    codes = (design.features[:, 2] > 0).astype(int)
    spec = replace(design.spec, fixed=(0, 3, 1))
    design = replace(design, codes=(codes,), labels=((np.arange(2),),), spec=spec)
    fit = Fit.of(design.products(), spec)
    assert fit.report.converged
    assert fit.covariances[0][0, 0] == 0.0
    np.testing.assert_allclose(
        fit.criterion, design.fit_at([np.zeros((1, 1))]).criterion, rtol=1e-9
    )


@pytest.mark.parametrize("extra", [0, 2])
def test_as_many_columns_as_rows(extra):
    rng = np.random.default_rng(0)
    design = random_design(1, n_rows=6, n_fixed=2)
    wide = on_grid(rng.standard_normal((6, 5 + extra)), 10)
    width = 6 + extra
    layout = replace(design.layout, columns=("1", *[f"x{j}" for j in range(width - 1)], "y"))
    design = replace(
        design, layout=layout, spec=replace(design.spec, fixed=tuple(range(width))), features=wide,
        shift=np.zeros(width - 1), scale=np.ones(width - 1), dominant=np.zeros(width - 1),
    )  # fmt: skip
    fit = Fit.of(design.products(), design.spec)
    assert fit.sigma2 == 0.0
    assert fit.rank == 6
    X = design.columns[:, :-1]
    np.testing.assert_allclose(X @ fit.beta, design.response, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        fit.beta[:6], np.linalg.solve(X[:, :6], design.response), rtol=1e-6, atol=1e-6
    )
    assert (fit.beta[6:] == 0.0).all()
    assert (fit.covariances[0] == 0.0).all()
    assert (fit.modes[0] == 0.0).all()


def test_response_explained_exactly():
    design = random_design(2, n_slopes=(1,), n_rows=30)
    y = 3.0 + 2.0 * design.features[:, design.spec.fixed[1] - 1]
    design = replace(design, response=y)
    fit = Fit.of(design.products(), design.spec)
    assert fit.sigma2 == 0.0
    np.testing.assert_allclose(fit.beta[:2], [3.0, 2.0], rtol=1e-9)


def test_constant_response():
    design = one_way(4, 5, np.random.default_rng(0))
    design = replace(design, response=np.full(20, 7.0))
    fit = Fit.of(design.products(), design.spec)
    assert fit.sigma2 == 0.0
    np.testing.assert_allclose(fit.beta, [7.0], rtol=1e-12)


def test_no_random_term_is_least_squares():
    design = random_design(3, n_rows=30, weights="fractional")
    spec = replace(design.spec, terms=())
    fit = Fit.of(design.products(), spec)
    X, root = design.columns[:, list(spec.fixed)], np.sqrt(design.weights)
    beta = np.linalg.lstsq(root[:, None] * X, root * design.response, rcond=None)[0]
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-9)
    rest = root * (design.response - X @ beta)
    np.testing.assert_allclose(fit.sigma2, rest @ rest / (design.weights.sum() - 3), rtol=1e-9)
    assert fit.theta.shape == (0,)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_levels_far_apart_keep_the_digits_of_the_residual(size):
    """Balanced, so the residual variance is the mean square within levels."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(8), 5)
    noise = on_grid(rng.standard_normal(40), 10)
    design = one_way(8, 5, rng)
    design = replace(design, response=np.round(size * rng.standard_normal(8))[codes] + noise)
    means = np.bincount(codes, noise) / 5
    fit = Fit.of(design.products(), design.spec)
    assert fit.report.converged
    np.testing.assert_allclose(fit.sigma2, np.sum((noise - means[codes]) ** 2) / 32, rtol=1e-6)


def test_random_slope_alone():
    design = random_design(6, n_slopes=(1,), terms=("no intercept",), n_rows=40)
    assert design.spec.terms[0].columns != (0,)
    fit = Fit.of(design.products(), design.spec)
    assert_lowest(fit, lowest_criterion(design))


def test_duplicate_factors_leave_a_ridge():
    """Two names for the same levels: only the sum of the variances is determined."""
    design = random_design(
        7, relations=("same",), n_slopes=(0, 0), terms=("unstructured",) * 2, n_rows=40
    )
    fit = Fit.of(design.products(), design.spec)
    alone = Fit.of(design.products(), replace(design.spec, terms=design.spec.terms[:1]))
    np.testing.assert_allclose(fit.criterion, alone.criterion, atol=ABOVE_OPTIMUM)
    total = sum(covariance[0, 0] for covariance in fit.covariances)
    np.testing.assert_allclose(total, alone.covariances[0][0, 0], rtol=1e-4)
    assert fit.report.converged


def test_random_column_of_zeros():
    design = random_design(8, n_slopes=(1,), n_rows=30)
    slope = design.spec.terms[0].columns[1]
    features = design.features.copy()
    features[:, slope - 1] = 0.0
    design = replace(design, features=features)
    fit = Fit.of(design.products(), design.spec)
    alone = Fit.of(design.products(), replace(design.spec, terms=(Term(0, (0,)),)))
    np.testing.assert_allclose(fit.criterion, alone.criterion, atol=ABOVE_OPTIMUM)
    assert np.isfinite(fit.covariances[0]).all()


def test_crossed_slopes_with_a_level_of_zeros():
    design = random_design(
        165, relations=("crossed",), n_slopes=(2, 1), terms=("no intercept",) * 2,
        traits={"spare factor", "offset"}, n_rows=44, weighting="precision", intercept=False,
    )  # fmt: skip
    assert Fit.of(design.products(), design.spec).report.converged


def test_variances_of_which_only_the_sum_is_determined_end_soon():
    """A slope far from where its column is zero is an intercept, nearly: steps lie on a circle."""
    data = load_sleepstudy()
    X = np.column_stack([data["Days"] + 1e6, data["Subject"].astype(int)])
    model = MixedLinearRegressor("(x0 || x1)").fit(X, data["Reaction"])
    assert model.converged_
    slope_alone = MixedLinearRegressor("(0 + x0 | x1)").fit(X, data["Reaction"])
    assert model.criterion_ <= slope_alone.criterion_ + 1e-8
