"""The iterative search against the exact one: estimates, their errors, and the choice."""

import pickle

import numpy as np
import pytest

from skmixed.core.elimination import choose
from skmixed.core.fit import Fit
from skmixed.core.model.evaluation import evaluate
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.rows.monte_carlo import MonteCarloErrors
from skmixed.core.search import auto
from skmixed.core.search.average_information import IterativeSolver
from skmixed.core.search.newton import Newton
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from tests.core.optimum import draw_problem

SIZES = {
    "two factors": {"sizes": (600, 300), "sds": (1.0, 0.7)},
    "three factors": {"sizes": (500, 400, 12), "sds": (0.5, 0.7, 0.3)},
    "slopes": {"sizes": (400, 300), "sds": (1.0, 0.7), "slopes": (0,)},
    "slopes everywhere": {"sizes": (300, 250, 60), "sds": (1.0, 0.7, 0.5), "slopes": (0, 1)},
    "weights": {"sizes": (600, 300), "sds": (1.0, 0.7), "weighted": True},
    "precision weights": {
        "sizes": (600, 300), "sds": (1.0, 0.7), "weighted": True, "weighting": "precision",
    },
    "maximum likelihood": {"sizes": (600, 300), "sds": (0.4, 0.3), "method": "ml"},
    "few rows a level": {"n": 2000, "sizes": (1000, 700), "sds": (1.0, 1.0)},
    "large variances": {"sizes": (600, 300), "sds": (100.0, 50.0)},
    "nested inside": {"sizes": (600, 200), "sds": (1.0, 0.7), "parents": 20},
    "a diagonal": {"sizes": (400, 300), "sds": (1.0, 0.7), "slopes": (0,), "kind": "diagonal"},
}  # fmt: skip


def crossed(
    n=8000, sizes=(), sds=(), slopes=(), seed=0, weighted=False, method="reml",
    weighting="frequency", parents=0, kind="unstructured",
):  # fmt: skip
    """Simulate rows with levels whose counts follow a power law; return their sums and a model."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    y = 1.0 + 0.5 * x + rng.standard_normal(n)
    codes = []
    for factor, (size, sd) in enumerate(zip(sizes, sds, strict=True)):
        shares = rng.pareto(1.5, size) + 0.3
        code = np.unique(rng.choice(size, n, p=shares / shares.sum()), return_inverse=True)[1]
        y += sd * rng.standard_normal(size)[code]
        if factor in slopes:
            y += x * 0.6 * sd * rng.standard_normal(size)[code]
        codes.append(code)
    if parents:  # of the last factor
        codes.append(codes[-1] % parents)
        y += 0.6 * rng.standard_normal(parents)[codes[-1]]
    weights = rng.integers(1, 4, n).astype(float) if weighted else None
    columns = [(0, 1) if factor in slopes else (0,) for factor in range(len(codes))]
    layout = Layout(
        ("1", "x", "y"),
        tuple(FactorLayout((f"g{factor}",), carried) for factor, carried in enumerate(columns)),
    )
    indexes = tuple(
        GroupIndex(factor.key, (np.arange(code.max() + 1),))
        for factor, code in zip(layout.factors, codes, strict=True)
    )
    rows = Rows(np.column_stack([np.ones(n), x, y]), tuple(codes), indexes, weights)
    terms = tuple(Term(factor, carried, kind) for factor, carried in enumerate(columns))
    return CrossProducts.of(layout, rows), ModelSpec((0, 1), terms, method, weighting)


@pytest.mark.parametrize("case", SIZES)
def test_estimates_are_the_exact_ones_within_their_errors(case):
    products, spec = crossed(**SIZES[case])
    exact, ours = Fit.of(products, spec, Newton()), Fit.of(products, spec, IterativeSolver())
    assert ours.report.solver == "iterative"
    assert ours.report.converged
    errors = MonteCarloErrors.of(ours)
    for mine, theirs, error in zip(
        ours.covariances, exact.covariances, errors.covariances, strict=True
    ):
        deviations = np.sqrt(np.diag(theirs))
        unit = np.outer(deviations, deviations)
        assert (np.abs(mine - theirs) <= 3.0 * error + 1e-6 * unit).all()
        assert (np.abs(mine - theirs) <= 0.005 * unit).all()
        assert (np.diag(error) <= 1.5e-3 * np.diag(theirs)).all()
    np.testing.assert_allclose(ours.sigma2, exact.sigma2, rtol=1e-3)
    assert abs(ours.sigma2 - exact.sigma2) <= 3.0 * errors.sigma2 + 1e-6 * exact.sigma2
    assert abs(ours.criterion - exact.criterion) <= 4.0 * errors.criterion + 0.01
    standard_errors = np.sqrt(np.diag(exact.beta_covariance))
    np.testing.assert_allclose(ours.beta, exact.beta, rtol=0, atol=2e-3 * standard_errors.min())
    np.testing.assert_allclose(np.sqrt(np.diag(ours.beta_covariance)), standard_errors, rtol=0.005)
    for mine, theirs in zip(ours.modes, exact.modes, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=0.005 * np.abs(theirs).std())


def test_a_variance_of_zero_is_exactly_zero():
    products, spec = crossed(sizes=(500, 300, 200), sds=(1.0, 0.5, 0.0), seed=2)
    exact, ours = Fit.of(products, spec, Newton()), Fit.of(products, spec, IterativeSolver())
    assert exact.is_singular
    assert ours.is_singular
    assert ours.covariances[2][0, 0] == 0.0
    assert MonteCarloErrors.of(ours).covariances[2][0, 0] == 0.0
    np.testing.assert_allclose(ours.covariances[0], exact.covariances[0], rtol=0.005)


@pytest.mark.parametrize("seed", range(12))
def test_without_randomness_the_search_finds_an_optimum(seed):
    products, spec = draw_problem(seed + 40)
    if len(spec.used_factors) < 2:
        return
    ours = Fit.of(products, spec, IterativeSolver(n_probes=512))
    if ours.krylov is None:  # nested
        return
    assert ours.report.converged
    assert ours.report.monte_carlo.n_probes == (0,) * len(spec.used_factors)
    again = Newton().solve(Fit.of(products, spec, Newton()).problem, _omegas(ours))[0]
    reached = evaluate(again.problem, list(ours.scaled_lambdas)).criterion
    assert reached < again.criterion + 1e-6


def _omegas(fit):
    return [lam @ lam.T for lam in fit.scaled_lambdas]


def test_reported_errors_are_those_of_other_seeds():
    products, spec = crossed(n=4000, sizes=(700, 500), sds=(1.0, 1.0), seed=8)
    exact = Fit.of(products, spec, Newton(tol=1e-12))
    misses = []
    for seed in range(16):
        ours = Fit.of(products, spec, IterativeSolver(random_state=seed, n_probes=24))
        errors = MonteCarloErrors.of(ours)
        misses += [
            float((mine - theirs)[0, 0] / error[0, 0])
            for mine, theirs, error in zip(
                ours.covariances, exact.covariances, errors.covariances, strict=True
            )
        ]
    assert 0.5 < np.std(misses) < 1.4
    assert np.abs(misses).max() < 3.5


def test_the_same_seed_gives_the_same_fit_and_a_pickle_too():
    products, spec = crossed(**SIZES["slopes"])
    first, second = (Fit.of(products, spec, IterativeSolver(random_state=3)) for _ in range(2))
    other = Fit.of(products, spec, IterativeSolver(random_state=4))
    loaded = pickle.loads(pickle.dumps(first))
    for again in (second, loaded):
        np.testing.assert_array_equal(first.theta, again.theta)
        np.testing.assert_allclose(first.criterion, again.criterion, rtol=1e-12)
    assert not np.array_equal(first.theta, other.theta)
    np.testing.assert_allclose(first.theta, other.theta, rtol=0.01)
    errors = [MonteCarloErrors.of(fit).sigma2 for fit in (first, loaded)]
    np.testing.assert_allclose(*errors, rtol=1e-9)


def test_more_precision_takes_more_vectors():
    products, spec = crossed(n=6000, sizes=(3000, 2500), sds=(1.0, 1.0))
    rough, fine = (
        Fit.of(products, spec, IterativeSolver(precision=p, n_probes=8)) for p in (0.1, 1e-4)
    )
    assert min(fine.report.monte_carlo.n_probes) > max(rough.report.monte_carlo.n_probes) == 8
    errors = [MonteCarloErrors.of(fit).covariances[0][0, 0] for fit in (rough, fine)]
    assert errors[1] < errors[0]


def test_a_search_that_is_cut_short_says_so():
    products, spec = crossed(**SIZES["slopes"])
    report = Fit.of(products, spec, IterativeSolver(max_iter=2)).report
    assert not report.converged
    assert "max_iter" in report.message


def test_nested_factors_are_eliminated_exactly():
    products, spec = crossed(sizes=(100,), sds=(1.0,), parents=10)
    exact, ours = Fit.of(products, spec, Newton()), Fit.of(products, spec, IterativeSolver())
    assert ours.report.solver == "newton"
    assert "nested" in ours.report.reason
    np.testing.assert_array_equal(ours.theta, exact.theta)
    with pytest.raises(ValueError, match="nothing is random"):
        MonteCarloErrors.of(ours)


def test_a_factor_of_one_level_has_no_variance():
    rng = np.random.default_rng(0)
    n = 2000
    codes = (rng.integers(0, 50, n), rng.integers(0, 40, n), np.zeros(n, dtype=np.intp))
    y = rng.standard_normal(n) + rng.standard_normal(50)[codes[0]]
    layout = Layout(("1", "y"), tuple(FactorLayout((f"g{f}",), (0,)) for f in range(3)))
    indexes = tuple(
        GroupIndex(factor.key, (np.arange(code.max() + 1),))
        for factor, code in zip(layout.factors, codes, strict=True)
    )
    rows = Rows(np.column_stack([np.ones(n), y]), codes, indexes)
    spec = ModelSpec((0,), tuple(Term(f, (0,)) for f in range(3)))
    products = CrossProducts.of(layout, rows)
    exact, ours = Fit.of(products, spec, Newton()), Fit.of(products, spec, IterativeSolver())
    assert ours.unidentified == exact.unidentified == (2,)
    np.testing.assert_allclose(ours.theta, exact.theta, atol=1e-4)


def chosen_fit(products, spec):
    return Fit.of(products, spec, *auto.choose(products, spec, Newton(), IterativeSolver()))


def test_the_choice_is_by_memory(monkeypatch):
    products, spec = crossed(**SIZES["two factors"])
    fit = chosen_fit(products, spec)
    assert fit.report.solver == "newton"
    assert "fits into memory" in fit.report.reason
    monkeypatch.setattr(auto, "memory_installed", lambda: 2**20)
    fit = chosen_fit(products, spec)
    assert fit.report.solver == "iterative"
    assert "more than half of the" in fit.report.reason
    width = min(len(block.index) for block in products.factors)
    assert f"{width} x {width} random effects" in fit.report.reason


def test_the_choice_is_by_time(monkeypatch):
    products, spec = crossed(**SIZES["few rows a level"])
    monkeypatch.setattr(auto, "_LONG", 0.0)
    monkeypatch.setattr(auto, "_MUCH_SLOWER", 0.1)
    fit = chosen_fit(products, spec)
    assert fit.report.solver == "iterative"
    assert "times as long" in fit.report.reason


def test_nothing_is_chosen_where_factors_do_not_cross():
    products, spec = crossed(sizes=(100,), sds=(1.0,), parents=10)
    assert chosen_fit(products, spec).report.reason == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": 0.0}, "precision"),
        ({"n_probes": 1}, "two random vectors"),
        ({"n_probes": 64, "max_probes": 32}, "max_probes"),
        ({"random_state": -1}, "random_state"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        IterativeSolver(**settings)


def test_the_exact_search_points_at_the_iterative_one_where_memory_is_short(monkeypatch):
    products, spec = crossed(**SIZES["two factors"])
    monkeypatch.setattr(choose, "memory_installed", lambda: 2**10)
    with pytest.raises(MemoryError, match=r"solver='iterative'\) does without"):
        Fit.of(products, spec, Newton())
    assert Fit.of(products, spec, IterativeSolver()).report.converged
