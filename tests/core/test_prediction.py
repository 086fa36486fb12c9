"""Variances of predictions are those of dense matrices, row by row."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skmixed import MixedLinearRegressor, lmer
from skmixed.core.given_parameters import Posterior
from skmixed.core.rows.prediction_errors import (
    MovedFits,
    PredictionErrors,
    mean_predictions,
    mean_variances,
)
from skmixed.core.sums.layout import Rows
from tests.core.designs import draw_lambdas, random_design
from tests.core.strategies import BOUNDARIES, SEEDS, designs, examples
from tests.oracle import independent_columns, levels_to_columns

TAME = ["offset", "scaled", "spare factor", "collinear"]


class Dense:
    """Henderson's covariances by explicit matrices, relative to sigma^2, in plain units."""

    def __init__(self, design, lambdas, chosen=slice(None)):
        _, X, Zs = design.dense_columns()
        w = np.ones(design.n_rows) if design.weights is None else design.weights
        self.kept = independent_columns(np.sqrt(w)[chosen, None] * X[chosen])
        self.X, self.Zs = X, Zs
        self.omegas = [
            np.kron(np.eye(Z.shape[1] // len(lam)), lam @ lam.T)
            for Z, lam in zip(Zs, lambdas, strict=True)
        ]
        V = np.diag(1.0 / w[chosen])
        for Z, omega in zip(Zs, self.omegas, strict=True):
            V = V + Z[chosen] @ omega @ Z[chosen].T
        X = X[chosen][:, self.kept]
        Z = np.concatenate([Z[chosen] for Z in Zs], axis=1)
        size = Z.shape[1]
        omega = np.zeros((size, size))
        start = 0
        for block in self.omegas:
            omega[start : start + len(block), start : start + len(block)] = block
            start += len(block)
        self.through = omega @ Z.T @ np.linalg.inv(V)
        self.conditional = omega - self.through @ Z @ omega
        self.shift = self.through @ X
        self.coefficients = np.linalg.inv(X.T @ np.linalg.solve(V, X)) if X.shape[1] else X.T @ X

    def variances(self, known, coefficients=None):
        """Variance of X beta + Z b; `known` says for every factor which rows know their level."""
        Z = np.concatenate(
            [Z * of_rows[:, None] for Z, of_rows in zip(self.Zs, known, strict=True)], axis=1
        )
        d = self.X[:, self.kept] - Z @ self.shift
        total = np.einsum("ij,jk,ik->i", Z, self.conditional, Z)
        covariance = self.coefficients if coefficients is None else coefficients
        total += np.einsum("ij,jk,ik->i", d, covariance, d)
        for Z, omega, of_rows in zip(self.Zs, self.omegas, known, strict=True):
            prior = np.einsum("ij,jk,ik->i", Z, omega, Z)
            total += np.where(of_rows, 0.0, prior)
        return total


def with_unknown(design, rng):
    """Rows of a design some of whose levels are not known, and which are."""
    rows = design.rows()
    known = [rng.random(design.n_rows) < 0.7 for _ in rows.codes]
    codes = tuple(np.where(k, code, -1) for k, code in zip(known, rows.codes, strict=True))
    return replace(rows, codes=codes), [known[f] for f in design.spec.used_factors]


@examples(60)
@given(designs(traits=TAME), BOUNDARIES, SEEDS)
def test_variances_of_rows(design, boundary, seed):
    rng = np.random.default_rng(seed)
    lambdas = draw_lambdas(design, rng, boundary)
    fit = design.fit_at(lambdas)
    assume(fit.is_determined)
    rows, known = with_unknown(design, rng)
    theirs = fit.sigma2 * Dense(design, lambdas).variances(known)
    np.testing.assert_allclose(mean_variances(fit, rows), theirs, rtol=1e-6, atol=1e-9 * fit.sigma2)


@examples(30)
@given(designs(n_factors=(1, 2), traits=[], weights=None), SEEDS)
def test_variances_given_further_rows(design, seed):
    rng = np.random.default_rng(seed)
    lambdas = draw_lambdas(design, rng, "inside")
    half = np.arange(0, design.n_rows, 2)
    assume(len(np.unique(half)) > 5)
    fit = design.fit_at(lambdas, design.products(half))
    first, both = Dense(design, lambdas, half), Dense(design, lambdas)
    assume(fit.is_determined and first.kept == both.kept)
    posterior = Posterior.of(fit, design.products())
    rows, known = with_unknown(design, rng)
    theirs = fit.sigma2 * both.variances(known, first.coefficients)
    np.testing.assert_allclose(mean_variances(posterior, rows), theirs, rtol=1e-6)


@examples(30)
@given(designs(traits=TAME), SEEDS, st.booleans())
def test_a_row_does_not_depend_on_the_others(design, seed, observation):
    rng = np.random.default_rng(seed)
    fit = design.fit_at(draw_lambdas(design, rng, "inside"))
    assume(fit.is_determined)
    rows, _ = with_unknown(design, rng)
    whole = PredictionErrors.of(fit, fit, rows, observation=observation)
    chosen = rng.permutation(design.n_rows)[: 1 + design.n_rows // 3]
    part = PredictionErrors.of(fit, fit, rows.take(chosen), observation=observation)
    np.testing.assert_allclose(part.squares, whole.squares[chosen], rtol=1e-7)
    np.testing.assert_allclose(part.degrees, whole.degrees[chosen], rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_rows_may_say_that_levels_lie_elsewhere_than_in_the_fit(seed):
    rng = np.random.default_rng(seed)
    design = random_design(
        seed, relations=("nested", "nested"), n_slopes=(1, 0, 1), terms=("unstructured",) * 3
    )
    lambdas = draw_lambdas(design, rng, "inside")
    fit, rows, dense = design.fit_at(lambdas), design.rows(), Dense(design, lambdas)
    codes = tuple(rng.permutation(code) for code in rows.codes)
    dense.Zs = [
        levels_to_columns(codes[f], design.random(f).columns, rows.codes[f].max() + 1)
        for f in design.spec.used_factors
    ]
    theirs = fit.sigma2 * dense.variances([np.ones(design.n_rows, dtype=bool)] * 3)
    np.testing.assert_allclose(mean_variances(fit, replace(rows, codes=codes)), theirs, rtol=1e-8)


def test_a_balanced_design_in_closed_form():
    """J groups of n rows and an intercept, known and new (Searle et al. 1992, section 3.4)."""
    J, n = 6, 5
    y = np.random.default_rng(0).standard_normal(J * n)
    y += np.repeat(np.random.default_rng(1).standard_normal(J), n)
    data = pd.DataFrame({"y": y, "g": np.repeat(np.arange(J), n)})
    model = lmer("y ~ 1 + (1 | g)", data)
    fit = model.fit_
    omega, s2 = fit.covariances[0][0, 0] / fit.sigma2, fit.sigma2
    assert omega > 0
    shrinkage = n * omega / (1.0 + n * omega)
    grand = (omega + 1.0 / n) / J
    known = omega * (1.0 - shrinkage) + (1.0 - shrinkage) ** 2 * grand
    _, std = model.predict(pd.DataFrame({"g": [0, 99]}), return_std=True)
    np.testing.assert_allclose(std**2, s2 * np.array([known, omega + grand]), rtol=1e-10)


def test_degrees_of_freedom_of_a_balanced_design():
    """A new mean has var(v) of MSA / n alone: J - 1 degrees, times what the factor (J + 1) / J
    on one part and 1 / J on the other leave, by Satterthwaite's formula for mean squares."""
    J, n = 12, 4
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(J), n)
    y = rng.standard_normal(J * n) + 2.0 * rng.standard_normal(J)[g]
    fit = lmer("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": g})).fit_
    msa, mse = fit.sigma2 + n * fit.covariances[0][0, 0], fit.sigma2
    new = Rows(np.array([[1.0, 0.0]]), (np.array([-1]),), fit.products.levels, None)
    found = PredictionErrors.of(fit, fit, new, observation=False)
    # v = (MSA - MSE) / n + MSA / (J n)
    a, b = (1.0 + 1.0 / J) / n, -1.0 / n
    v = a * msa + b * mse
    theirs = 2.0 * v**2 / (2 * (a * msa) ** 2 / (J - 1) + 2 * (b * mse) ** 2 / (J * (n - 1)))
    np.testing.assert_allclose(found.degrees, theirs, rtol=1e-5)
    np.testing.assert_allclose(found.squares, v, rtol=1e-8)


def test_without_random_terms_it_is_ordinary_least_squares():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 2)), rng.standard_normal(20)
    fit = MixedLinearRegressor().fit(X, y).fit_
    full = np.column_stack([np.ones(20), X])
    rows = Rows(np.column_stack([full, y]), (), (), None)
    accuracy = PredictionErrors.of(fit, fit, rows, observation=True)
    hat = np.einsum("ij,jk,ik->i", full, np.linalg.inv(full.T @ full), full)
    np.testing.assert_allclose(accuracy.squares, fit.sigma2 * (1.0 + hat))
    np.testing.assert_allclose(accuracy.degrees, 17.0)
    assert MovedFits.of(fit).pairs == []
    np.testing.assert_allclose(mean_predictions(fit, rows), full @ fit.beta)
