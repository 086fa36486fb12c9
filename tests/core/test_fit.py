"""A fit is frozen, free of rows, in the units of the data, and says what lme4 says."""

import operator
import pickle
from dataclasses import FrozenInstanceError, replace
from fractions import Fraction
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import scipy
from hypothesis import given

from skmixed.core.fit import Fit
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from tests.core.designs import draw_lambdas, random_design
from tests.core.strategies import SEEDS, designs, examples

FIGURES = [
    "kept", "rank", "sigma2", "beta", "beta_covariance", "lambdas", "covariances", "theta",
    "criterion", "deviance", "log_likelihood", "aic", "bic", "n_parameters", "is_singular",
    "unidentified", "is_determined", "modes", "scaled_lambdas",
]  # fmt: skip
# What a restart from merged or transformed sums may change at the optimum.
AT_OPTIMUM = 1e-5


def figures(fit):
    """Return all that can be read off a fit."""
    found = {name: getattr(fit, name) for name in FIGURES}
    found["conditional covariances"] = [
        fit.conditional_covariance(n) for n in range(len(fit.spec.used_factors))
    ]
    found["term covariances"] = [fit.term_covariance(term) for term in fit.spec.terms]
    found["report"] = without_times(fit.report)
    return found


def without_times(report):
    return replace(report, trace=tuple(replace(line, seconds=0.0) for line in report.trace))


def assert_same(ours, theirs, rtol=0.0):
    """Compare figures in the units of their largest entries; none means bit by bit."""
    assert ours["report"] == theirs["report"]
    for name in ours.keys() - {"report"}:
        for mine, other in zip(as_list(ours[name]), as_list(theirs[name]), strict=True):
            atol = rtol * np.abs(other).max(initial=0.0) if rtol else 0.0
            np.testing.assert_allclose(mine, other, rtol=0, atol=atol, err_msg=name)


def as_list(value):
    return value if isinstance(value, list | tuple) else [value]


def sample_fit(seed=0, **options):
    options = {
        "relations": ("nested",), "n_slopes": (1, 0), "terms": ("unstructured",) * 2, "n_rows": 80,
        **options,
    }  # fmt: skip
    design = random_design(seed, **options)
    return Fit.of(design.products(), design.spec)


def test_pickle_holds_no_caches():
    fit = sample_fit(n_rows=200)
    fresh = len(pickle.dumps(fit))
    before = figures(fit)
    assert len(pickle.dumps(fit)) == fresh
    again = pickle.loads(pickle.dumps(fit))
    assert len(pickle.dumps(again)) == fresh
    assert_same(before, figures(again), 1e-11)


@examples(15)
@given(designs(traits=["scaled", "collinear", "response offset", "spare factor"]), SEEDS)
def test_pickle_gives_the_same_numbers(design, seed):
    fit = design.fit_at(draw_lambdas(design, np.random.default_rng(seed)))
    again = pickle.loads(pickle.dumps(fit))
    assert again.criterion == fit.criterion
    assert again.criterion_at(fit.theta) == fit.criterion_at(fit.theta)
    for mine, other in zip(again.modes, fit.modes, strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("relation", ["nested", "crossed"])
def test_pickle_gives_the_same_optimum(relation):
    """But for the last digits: what was pickled is evaluated afresh."""
    fit = sample_fit(relations=(relation,))
    assert_same(figures(pickle.loads(pickle.dumps(fit))), figures(fit), 1e-11)


def test_pickle_does_not_grow_with_rows():
    sizes = []
    for n_rows in (500, 5000):
        design = random_design(1, n_slopes=(1,), n_rows=n_rows)
        sizes.append(len(pickle.dumps(Fit.of(design.products(), design.spec))))
    assert sizes[1] < 1.5 * sizes[0]


@pytest.mark.parametrize("change", [{"method": "ml"}, {"terms": ()}, {"weighting": "precision"}])
def test_refit_leaves_the_fit_untouched(change):
    fit = sample_fit(weights="fractional")
    before = figures(fit)
    assert_same(before, figures(sample_fit(weights="fractional")))
    other = fit.refit(**change)
    assert other.spec == replace(fit.spec, **change)
    assert other.criterion != fit.criterion
    assert_same(before, figures(fit))
    assert_same(figures(other), figures(Fit.of(fit.products, other.spec)))


def test_fit_by_the_other_method():
    fit = sample_fit()
    assert fit.with_method("reml") is fit
    ml = fit.with_method("ml")
    assert ml is fit.with_method("ml")
    assert ml.spec.method == "ml"
    assert fit.deviance == ml.criterion
    assert ml.deviance == ml.criterion


def test_fit_is_frozen():
    with pytest.raises(FrozenInstanceError):
        sample_fit().spec = None


def sleep(shift=0.0, scale=1.0, kind="unstructured", sd=(25.0, 6.0), correlation=0.3):
    """Fit simulated series of ten days for eighteen subjects: (1 + Days | Subject)."""
    rng = np.random.default_rng(0)
    days, subjects = np.tile(np.arange(10.0), 18), np.repeat(np.arange(18), 10)
    cross = correlation * sd[0] * sd[1]
    root = np.linalg.cholesky([[sd[0] ** 2, cross], [cross, sd[1] ** 2]])
    effects = rng.standard_normal((18, 2)) @ root.T
    effects += [251.0, 10.5]
    noise = np.round(25.0 * rng.standard_normal(180) * 64) / 64
    y = np.round((effects[subjects, 0] + effects[subjects, 1] * days) * 64) / 64 + noise
    columns = np.column_stack([np.ones(180), (days + shift) * scale, y])
    layout = Layout(("(Intercept)", "Days", "y"), (FactorLayout(("Subject",), (0, 1)),))
    index = GroupIndex(("Subject",), (np.arange(18),))
    spec = ModelSpec((0, 1), (Term(0, (0, 1), kind),))
    return Fit.of(CrossProducts.of(layout, Rows(columns, (subjects,), (index,))), spec)


@pytest.mark.parametrize("shift", [0.0, 50.0, 1e3, 1e6, -1e6])
@pytest.mark.parametrize("correlation", [0.3, -0.9])
def test_factors_in_raw_units_of_a_column_far_from_zero(shift, correlation):
    """The same model, so the same fit with the intercept seen from elsewhere."""
    plain, fit = sleep(correlation=correlation), sleep(shift, correlation=correlation)
    assert not plain.is_singular
    assert not fit.is_singular
    np.testing.assert_allclose(fit.criterion, plain.criterion, rtol=1e-9)
    np.testing.assert_allclose(fit.sigma2, plain.sigma2, rtol=AT_OPTIMUM)
    (lam,) = fit.lambdas
    assert np.array_equal(lam, np.tril(lam))
    assert (np.diag(lam) >= 0).all()
    np.testing.assert_allclose(fit.theta, [lam[0, 0], lam[1, 0], lam[1, 1]], rtol=1e-15)
    move = np.array([[1.0, -shift], [0.0, 1.0]])  # raw effects = move @ plain effects
    (omega,) = plain.covariances
    there = move @ omega @ move.T
    deviations = np.sqrt(np.diag(there))
    unit = np.outer(deviations, deviations)
    np.testing.assert_allclose(fit.covariances[0] / unit, there / unit, rtol=0, atol=AT_OPTIMUM)
    np.testing.assert_allclose(fit.beta[1], plain.beta[1], rtol=AT_OPTIMUM)
    np.testing.assert_allclose(fit.modes[0][:, 1], plain.modes[0][:, 1], rtol=0, atol=1e-3)
    np.testing.assert_allclose(
        fit.conditional_covariance(0)[:, 1, 1], plain.conditional_covariance(0)[:, 1, 1],
        rtol=AT_OPTIMUM * 10,
    )  # fmt: skip


@pytest.mark.parametrize("shift", [0.0, 1e3, 1e6])
def test_singular_factor_in_raw_units_of_a_column_far_from_zero(shift):
    fit = sleep(shift, sd=(25.0, 2.0), correlation=-0.999)
    assert fit.is_singular
    (lam,) = fit.lambdas
    assert np.array_equal(lam, np.tril(lam))
    assert (np.diag(lam) >= 0).all()
    assert lam[0, 0] > 0
    assert lam[1, 1] <= 1e-12 * np.abs(lam).max()


def test_no_slope_variance_but_an_offset():
    fit = sleep(1e6, sd=(40.0, 1e-9), correlation=0.0)
    plain = sleep(0.0, sd=(40.0, 1e-9), correlation=0.0)
    np.testing.assert_allclose(fit.criterion, plain.criterion, rtol=1e-9)
    assert fit.is_singular == plain.is_singular


@pytest.mark.parametrize("kind", ["diagonal", "identity"])
def test_shifting_a_slope_without_correlation_is_another_model(kind):
    assert abs(sleep(50.0, kind=kind).criterion - sleep(kind=kind).criterion) > 0.1
    lam = sleep(1e3, kind=kind).lambdas[0]
    assert np.array_equal(lam, np.diag(np.diag(lam)))


@pytest.mark.parametrize("scale", [1e-6, 2.0**-10, 1e6])
def test_factors_in_other_units(scale):
    plain, fit = sleep(), sleep(scale=scale)
    units = np.array([1.0, 1.0 / scale])
    np.testing.assert_allclose(fit.lambdas[0], units[:, None] * plain.lambdas[0], rtol=1e-4)
    np.testing.assert_allclose(fit.beta, units * plain.beta, rtol=AT_OPTIMUM)
    change = 2.0 * np.log(scale)  # of log|X'V^-1X|
    np.testing.assert_allclose(fit.criterion, plain.criterion + change, rtol=1e-9)


def crossed_fit(terms, sizes=(4, 6), n=160, method="reml"):
    """Fit random terms on factors with the given numbers of levels; terms are (factor, ...)."""
    rng = np.random.default_rng(0)
    x = np.round(rng.standard_normal(n) * 1024) / 1024
    codes = [rng.permutation(np.arange(n) % size) for size in sizes]
    y = rng.standard_normal(n) + x
    for code, size in zip(codes, sizes, strict=True):
        effects = rng.standard_normal((size, 2))
        y += effects[code, 0] + effects[code, 1] * x
    layout = Layout(
        ("1", "x", "y"), tuple(FactorLayout((f"g{f}",), (0, 1)) for f in range(len(sizes)))
    )
    indexes = tuple(GroupIndex((f"g{f}",), (np.arange(size),)) for f, size in enumerate(sizes))
    rows = Rows(np.column_stack([np.ones(n), x, y]), tuple(codes), indexes)
    spec = ModelSpec((0, 1), tuple(Term(*term) for term in terms), method)
    return Fit.of(CrossProducts.of(layout, rows), spec)


def lower(lam):
    return np.concatenate([lam[j:, j] for j in range(len(lam))])


def test_theta_is_by_falling_number_of_levels():
    fit = crossed_fit([(0, (0, 1)), (1, (0,))])
    few, many = fit.lambdas
    np.testing.assert_array_equal(fit.theta, [*lower(many), *lower(few)])
    assert [term.factor for term in fit.ordered_terms] == [1, 0]


def test_theta_of_factors_with_as_many_levels_is_in_the_order_of_the_formula():
    fit = crossed_fit([(1, (0,)), (0, (0, 1))], sizes=(5, 5))
    np.testing.assert_array_equal(fit.theta, [*lower(fit.lambdas[0]), *lower(fit.lambdas[1])])
    assert fit.spec.used_factors == (1, 0)


def test_theta_of_several_terms_on_one_factor():
    fit = crossed_fit([(1, (1,)), (0, (0, 1), "diagonal"), (1, (0,))])
    many, few = fit.lambdas
    np.testing.assert_array_equal(fit.theta, [*np.diag(many), *np.diag(few)])
    first, second, third = fit.spec.terms
    np.testing.assert_array_equal(fit.term_covariance(first), fit.covariances[0][:1, :1])
    np.testing.assert_array_equal(fit.term_covariance(third), fit.covariances[0][1:, 1:])
    np.testing.assert_array_equal(fit.term_covariance(second), fit.covariances[1])


def test_theta_of_one_shared_variance():
    fit = crossed_fit([(1, (0, 1), "identity")])
    assert fit.theta.shape == (1,)
    np.testing.assert_allclose(fit.lambdas[0], fit.theta[0] * np.eye(2), rtol=1e-14)


def test_two_equal_terms_are_told_apart():
    fit = crossed_fit([(1, (0,)), (0, (0,)), (1, (0,))])
    assert len(fit.theta) == 3
    variances = [fit.term_covariance(term) for term in fit.spec.terms]
    np.testing.assert_array_equal(variances[0], fit.covariances[0][:1, :1])
    np.testing.assert_array_equal(variances[2], fit.covariances[0][1:, 1:])


@pytest.mark.parametrize("terms", [[(0, (0, 1)), (1, (0,))], [(1, (1,)), (0, (0, 1), "diagonal")]])
def test_criterion_at_theta_is_lowest_there(terms):
    fit = crossed_fit(terms)
    np.testing.assert_allclose(fit.criterion_at(fit.theta), fit.criterion, rtol=1e-12)
    for n in range(len(fit.theta)):
        for step in (-0.01, 0.01):
            theta = fit.theta + step * np.eye(len(fit.theta))[n]
            assert fit.criterion_at(theta) > fit.criterion
            assert np.isfinite(fit.criterion_at(theta))


def test_criterion_does_not_depend_on_signs_of_columns():
    fit = crossed_fit([(1, (0, 1))])
    theta = fit.theta * [-1.0, -1.0, 1.0]
    np.testing.assert_allclose(fit.criterion_at(theta), fit.criterion, rtol=1e-12)


@pytest.mark.parametrize("theta", [[], [1.0], [[1.0, 0.0, 1.0, 1.0]], [1.0] * 5])
def test_theta_of_wrong_shape(theta):
    with pytest.raises(ValueError, match=r"expected \(4,\)"):
        crossed_fit([(0, (0, 1)), (1, (0,))]).criterion_at(theta)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_information_criteria(method):
    fit = crossed_fit([(0, (0, 1)), (1, (0,))], method=method)
    assert fit.n_parameters == 2 + 4 + 1
    assert fit.log_likelihood == -fit.criterion / 2
    np.testing.assert_allclose(fit.aic, fit.criterion + 14, rtol=1e-14)
    np.testing.assert_allclose(fit.bic, fit.criterion + 7 * np.log(160), rtol=1e-14)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("weighting", ["frequency", "precision"])
def test_without_random_terms_it_is_least_squares(method, weighting):
    design = random_design(
        3, n_slopes=(0,), weights="fractional", method=method, weighting=weighting, n_fixed=2
    )
    fit = Fit.of(design.products(), replace(design.spec, terms=()))
    root = np.sqrt(design.weights)
    X, y = design.columns[:, list(design.spec.fixed)], design.columns[:, -1]
    beta = np.linalg.lstsq(root[:, None] * X, root * y, rcond=None)[0]
    n = design.weights.sum() if weighting == "frequency" else design.n_rows
    residual = np.sum((root * (y - X @ beta)) ** 2)
    nu = n - 3 if method == "reml" else n
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-10)
    np.testing.assert_allclose(fit.sigma2, residual / nu, rtol=1e-10)
    inverse = np.linalg.inv(X.T @ (design.weights[:, None] * X))
    np.testing.assert_allclose(fit.beta_covariance, residual / nu * inverse, rtol=1e-9)
    # As R's logLik of a linear model: the full likelihood also where sigma^2 has divisor n - p.
    full = n * (1 + np.log(2 * np.pi * residual / n))
    full -= np.log(design.weights).sum() if weighting == "precision" else 0.0
    np.testing.assert_allclose(fit.log_likelihood, -full / 2, rtol=1e-10)
    np.testing.assert_allclose(fit.aic, full + 2 * 4, rtol=1e-10)
    assert fit.theta.shape == (0,)
    assert (fit.lambdas, fit.modes, fit.unidentified) == ([], [], ())
    assert not fit.is_singular
    assert fit.report.converged
    assert fit.criterion_at(np.empty(0)) == fit.criterion


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_as_many_columns_as_rows_leaves_nothing_to_estimate(method):
    design = random_design(4, n_rows=4, n_fixed=3, n_slopes=(0,), method=method)
    fit = Fit.of(design.products(), design.spec)
    assert not fit.is_determined
    assert fit.sigma2 == 0.0
    assert fit.criterion == -np.inf
    assert np.isnan(fit.beta_covariance).all()
    assert not fit.theta.any()
    assert not fit.modes[0].any()
    assert not fit.conditional_covariance(0).any()
    X, y = design.columns[:, list(design.spec.fixed)], design.columns[:, -1]
    np.testing.assert_allclose(X @ fit.beta, y, rtol=0, atol=1e-9)


def test_dependent_columns_have_no_effect():
    design = random_design(5, traits={"collinear"}, n_slopes=(0,), n_rows=60)
    fit = Fit.of(design.products(), design.spec)
    assert len(design.spec.fixed) == 4
    assert fit.rank == 3
    (dropped,) = set(range(4)) - set(fit.kept)
    assert fit.beta[dropped] == 0.0
    assert not fit.beta_covariance[dropped].any()
    assert not fit.beta_covariance[:, dropped].any()
    # Left to right: what comes first is kept.
    assert fit.kept == (0, 1, 2)
    fewer = replace(design.spec, fixed=tuple(design.spec.fixed[n] for n in fit.kept))
    np.testing.assert_allclose(fit.criterion, Fit.of(fit.products, fewer).criterion, rtol=1e-12)


@examples(60)
@given(designs(traits=["scaled", "collinear", "spare factor"]), SEEDS)
def test_conditional_variances_lie_between_zero_and_the_prior(design, seed):
    fit = design.fit_at(draw_lambdas(design, np.random.default_rng(seed)))
    for position, prior in enumerate(fit.covariances):
        units = np.sqrt(np.maximum(np.diag(prior), np.finfo(float).tiny))
        for variance in fit.conditional_covariance(position):
            for matrix in (variance, prior - variance):
                scaled = matrix / np.outer(units, units)
                assert np.linalg.eigvalsh(scaled)[0] >= -1e-8


def in_other_units(design, delta):
    """Return the cross-products of 4 y + X delta."""
    rows = design.rows()
    columns = rows.columns.copy()
    columns[:, -1] = 4.0 * columns[:, -1] + columns[:, list(design.spec.fixed)] @ delta
    return CrossProducts.of(design.layout, replace(rows, columns=columns))


@examples(60)
@given(designs(traits=["scaled", "collinear", "spare factor"]), SEEDS)
def test_response_in_other_units_at_one_theta(design, seed):
    """y -> 4 y + X delta scales beta and sigma, and moves beta by delta."""
    rng = np.random.default_rng(seed)
    lambdas = draw_lambdas(design, rng)
    X = design.columns[:, list(design.spec.fixed)]
    delta = rng.integers(-2, 3, size=X.shape[1]) / np.abs(X).max(axis=0)
    ours = design.fit_at(lambdas)
    theirs = design.fit_at(lambdas, in_other_units(design, delta))
    change = 2.0 * np.log(4.0) * ours.problem.degrees
    np.testing.assert_allclose(theirs.criterion, ours.criterion + change, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(theirs.sigma2, 16.0 * ours.sigma2, rtol=1e-9)
    np.testing.assert_allclose(theirs.theta, ours.theta, rtol=1e-12, atol=1e-12)
    expected = X @ (4.0 * ours.beta + delta)
    size = np.abs(expected).max()
    np.testing.assert_allclose(X @ theirs.beta, expected, rtol=0, atol=1e-9 * size)
    for mine, other in zip(theirs.modes, ours.modes, strict=True):
        largest = np.abs(other).max(axis=0) + size
        assert (np.abs(mine - 4.0 * other) <= 1e-8 * largest).all()


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_response_in_other_units_at_the_optimum(method):
    design = random_design(0, n_slopes=(1,), n_rows=80, method=method)
    delta = np.array([3.0, -1.0, 0.5])
    ours = Fit.of(design.products(), design.spec)
    theirs = Fit.of(in_other_units(design, delta), design.spec)
    np.testing.assert_allclose(theirs.theta, ours.theta, rtol=AT_OPTIMUM)
    np.testing.assert_allclose(theirs.sigma2, 16.0 * ours.sigma2, rtol=AT_OPTIMUM)
    np.testing.assert_allclose(theirs.beta, 4.0 * ours.beta + delta, rtol=AT_OPTIMUM)


def test_unidentified_factor_is_named_by_its_place_in_the_layout():
    """A factor with a level for every row cannot be told from the residual."""
    n = 30
    rng = np.random.default_rng(0)
    codes = (np.arange(n), np.arange(n) % 5)
    layout = Layout(("1", "y"), (FactorLayout(("row",), (0,)), FactorLayout(("g",), (0,))))
    indexes = (GroupIndex(("row",), (np.arange(n),)), GroupIndex(("g",), (np.arange(5),)))
    y = rng.standard_normal(n) + 3 * rng.standard_normal(5)[codes[1]]
    products = CrossProducts.of(layout, Rows(np.column_stack([np.ones(n), y]), codes, indexes))
    for order in [(0, 1), (1, 0)]:
        fit = Fit.of(products, ModelSpec((0,), tuple(Term(f, (0,)) for f in order)))
        assert fit.unidentified == (0,)
        row, group = fit.spec.used_factors.index(0), fit.spec.used_factors.index(1)
        assert fit.lambdas[row][0, 0] == 0.0
        assert fit.lambdas[group][0, 0] > 0.0
        alone = fit.refit(terms=(Term(1, (0,)),))
        np.testing.assert_allclose(fit.criterion, alone.criterion, rtol=1e-9)
        assert alone.unidentified == ()


# --- NIST StRD, one-way analysis of variance ------------------------------------------------------

NIST = Path(scipy.__file__).parent / "stats" / "tests" / "data" / "nist_anova"
NAMES = ["AtmWtAg", "SiRstv", *[f"SmLs{n:02}" for n in range(1, 10)]]
# Against the responses as they are stored: the double nearest to 1e12 + 0.1 is off by 2e-5.
OF_STORED = 1e-12
# Against the certified values, to the digits that the responses have once they are stored.
OF_CERTIFIED = {
    **dict.fromkeys(NAMES, 1e-9), "AtmWtAg": 1e-6,
    **dict.fromkeys(["SmLs04", "SmLs05", "SmLs06"], 1e-8),
    **dict.fromkeys(["SmLs07", "SmLs08", "SmLs09"], 1e-3),
}  # fmt: skip


def nist_lines(name):
    """Return the lines of a file of NIST, or skip."""
    path = NIST / f"{name}.dat"
    if not path.exists():
        pytest.skip("this scipy was installed without its tests, which hold the data of NIST")
    return path.read_text(encoding="utf-8").splitlines()


def nist_data(name):
    """Return levels and responses: all files have them from line 61 on."""
    table = np.array([line.split() for line in nist_lines(name)[60:] if line.strip()], dtype=float)
    return table[:, 0].astype(int), table[:, 1]


def certified_variances(name):
    """Return MSE and (MST - MSE) / J of the certified mean squares."""
    table = [line.split() for line in nist_lines(name)[40:46]]
    (mst,) = [float(line[-2]) for line in table if line and line[0] == "Between"]
    (mse,) = [float(line[-1]) for line in table if line and line[0] == "Within"]
    levels, _ = nist_data(name)
    return mse, (mst - mse) / np.bincount(levels)[1]


def exact_variances(levels, y):
    """REML of balanced groups in rational arithmetic: MSE and (MST - MSE) / J."""
    groups = [[Fraction(v) for v in y[levels == level]] for level in np.unique(levels)]
    (size,) = {len(group) for group in groups}
    means = [sum(group) / size for group in groups]
    mean = sum(means) / len(means)
    within = sum((v - m) ** 2 for group, m in zip(groups, means, strict=True) for v in group)
    mse = within / (len(y) - len(groups))
    mst = size * sum((m - mean) ** 2 for m in means) / (len(groups) - 1)
    return mse, max(Fraction(0), (mst - mse) / size)


def relative_error(value, exact):
    return float(abs((Fraction(value) - exact) / exact))


def one_way(levels, y):
    """Return cross-products of one response and its groups."""
    labels, codes = np.unique(levels, return_inverse=True)
    layout = Layout(("(Intercept)", "y"), (FactorLayout(("g",), (0,)),))
    columns = np.column_stack([np.ones(len(y)), y])
    return CrossProducts.of(layout, Rows(columns, (codes,), (GroupIndex(("g",), (labels,)),)))


@pytest.mark.parametrize("n_parts", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_nist_analysis_of_variance(name, n_parts):
    levels, y = nist_data(name)
    order = np.random.default_rng(0).permutation(len(y)) if n_parts > 1 else np.arange(len(y))
    parts = [one_way(levels[rows], y[rows]) for rows in np.array_split(order, n_parts)]
    fit = Fit.of(reduce(operator.add, parts), ModelSpec((0,), (Term(0, (0,)),)))
    found = fit.sigma2, fit.covariances[0][0, 0]
    for value, exact in zip(found, exact_variances(levels, y), strict=True):
        assert exact > 0
        assert relative_error(value, exact) <= OF_STORED
    np.testing.assert_allclose(found, certified_variances(name), rtol=OF_CERTIFIED[name])
    assert relative_error(fit.beta[0], sum(map(Fraction, y)) / len(y)) <= 1e-11
    assert fit.report.converged
    assert not fit.is_singular
