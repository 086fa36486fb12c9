import numpy as np
import pandas as pd
import pytest

from skmixed import MixedLinearRegressor
from skmixed.core import linalg
from skmixed.core.elimination.crossed import Crossed
from skmixed.core.linalg import cholesky_in_place
from skmixed.core.posterior import several_factors
from skmixed.core.posterior.reduced_sums import Reduction
from skmixed.core.posterior.several_factors import SeveralFactors

SIZES = {"a": 60, "b": 30, "c": 9, "d": 25}
MODELS = {
    "intercepts, all meet": ("(1 | b) + (1 | c)", 400),
    "slopes, all meet": ("(x | b) + (1 + x | c)", 400),
    "few meet": ("(1 | a) + (1 | b) + (1 | c)", 130),
    "few meet, slopes": ("(x | a) + (x | b) + (1 | c)", 200),
    "nested": ("(1 | d/c)", 500),
    "nested, slopes, and crossed": ("(x | d/c) + (1 | b)", 900),
    "nested, slopes": ("(x | d/c)", 900),
}


def fitted(random, n, *, sizes=SIZES, weights=False, far=0.0):
    rng = np.random.default_rng(n)
    table = pd.DataFrame({name: rng.integers(size, size=n) for name, size in sizes.items()})
    table = table[[name for name in sizes if name in random]].astype(str)
    table.insert(0, "x", rng.standard_normal(n))
    y = far + 2.0 * table["x"] + rng.standard_normal(n)
    for name in table.columns[1:]:
        y = y + rng.standard_normal(sizes[name])[table[name].astype(int)]
    w = rng.uniform(0.2, 5.0, n) if weights else None
    weighting = "precision" if weights else "frequency"
    return MixedLinearRegressor(random, weighting=weighting).fit(table, y, w).fit_


def random_lambdas(fit, n, rng):
    sizes = [own.shape[0] for own in fit.problem.model.own]
    return [rng.uniform(0.0, 1.5, (n, 1, 1)) * rng.standard_normal((n, k, k)) for k in sizes]


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_many_lambdas_at_once_are_as_single_ones(name, weights):
    random, n = MODELS[name]
    for far in (0.0, 1e5):
        fit = fitted(random, n, weights=weights, far=far)
        reduction, rng = Reduction(fit.problem), np.random.default_rng(0)
        assert reduction.several is not None
        lambdas = random_lambdas(fit, 40, rng)
        for lam in lambdas:
            lam[0] = 0.0
        found, single = reduction.at(lambdas), reduction._by_single(lambdas)
        np.testing.assert_allclose(found.log_det, single.log_det, rtol=1e-11)
        scale = np.sqrt(np.diagonal(single.gram, axis1=1, axis2=2))
        apart = (found.gram - single.gram) / (scale[:, :, None] * scale[:, None, :])
        assert np.abs(apart).max() < 1e-10
        right = [
            rng.standard_normal((own.shape[0], 40, own.shape[2])) for own in fit.problem.model.own
        ]
        effects = reduction.several.effects(lambdas, right)
        for number in (0, 5, 39):
            one = [lam[number] for lam in lambdas]
            reduced = fit.problem.elimination.factorise(one).reduce(
                [each[:, number : number + 1] for each in right]
            )
            for f, (lam, cross) in enumerate(zip(one, reduced.cross(), strict=True)):
                expected = lam @ lam.T @ cross[:, 0]
                np.testing.assert_allclose(effects[f][:, number], expected, rtol=1e-8, atol=1e-9)


def test_wide_complements_do_not_hang_on_threads_or_on_who_factors_them(monkeypatch):
    fit = fitted("(1 | a) + (1 | b)", 4_000, sizes={"a": 400, "b": 230})
    reduction = Reduction(fit.problem)
    assert isinstance(fit.problem.elimination, Crossed)
    lambdas = random_lambdas(fit, 9, np.random.default_rng(1))
    one, two = (reduction.at(lambdas, n_jobs) for n_jobs in (1, 2))
    np.testing.assert_array_equal(one.gram, two.gram)
    single = reduction._by_single(lambdas)
    np.testing.assert_allclose(one.gram, single.gram, rtol=1e-10, atol=1e-8)
    np.testing.assert_allclose(one.log_det, single.log_det, rtol=1e-12)
    monkeypatch.setattr(linalg, "_unlocked_potrf", lambda: None)
    np.testing.assert_allclose(reduction.at(lambdas).gram, one.gram, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("m", [3, 260])
def test_cholesky_in_place_leaves_the_other_triangle_alone(m):
    rng = np.random.default_rng(m)
    root = rng.standard_normal((m, m))
    matrix = root @ root.T + m * np.eye(m)
    given = matrix.copy()
    assert cholesky_in_place(given)
    upper = np.triu(given)
    np.testing.assert_allclose(upper.T @ upper, matrix, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(np.tril(given, -1), np.tril(matrix, -1))
    matrix[1, 1] = -1.0
    assert not cholesky_in_place(matrix)


def test_lost_digits_are_said_and_others_stay(monkeypatch):
    fit = fitted("(1 | b) + (1 | c)", 400)
    lambdas = random_lambdas(fit, 3, np.random.default_rng(0))
    are_found, factored = [True, False, True], cholesky_in_place  # rounding decides which are lost
    monkeypatch.setattr(
        several_factors, "cholesky_in_place", lambda matrix: factored(matrix) and are_found.pop()
    )
    found = Reduction(fit.problem).at(lambdas)
    assert np.isnan(found.gram[1]).all()
    assert found.log_det[1] == -np.inf
    assert np.isfinite(found.gram[[0, 2]]).all()


def test_what_single_evaluations_do_faster_is_left_to_them():
    sizes = {"a": 500, "b": 1}
    wide = fitted("(1 | g/h)", 2_000, sizes={"g": 200, "h": 3})
    assert SeveralFactors.of(wide.problem) is None
    found = Reduction(wide.problem).at(random_lambdas(wide, 5, np.random.default_rng(0)))
    assert np.isfinite(found.log_det).all()
    assert Reduction(fitted("(1 | a)", 900, sizes=sizes).problem).several is None
