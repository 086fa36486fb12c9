"""Levels of known covariance against the model written out densely."""

from dataclasses import dataclass

import numpy as np
import pytest

from skmixed.core.batch.responses import draw_effects
from skmixed.core.fit import Fit
from skmixed.core.given_parameters import Posterior
from skmixed.core.model.evaluation import evaluate
from skmixed.core.model.relation import Relation
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.rows.leave_out import leave_levels_out, leave_rows_out
from skmixed.core.rows.prediction_errors import mean_predictions, mean_variances
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows

Q, OTHERS = 12, 4  # related levels, and levels of a factor beside them


def kinship(rng, q=Q, rank=None):
    """A covariance of q levels, singular with a rank."""
    root = rng.standard_normal((q, q if rank is None else rank))
    matrix = root @ root.T / root.shape[1]
    return matrix + (0.3 * np.eye(q) if rank is None else 0.0)


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@dataclass
class Table:
    """Rows of related levels, and what a dense model needs of them."""

    rows: Rows
    X: np.ndarray
    y: np.ndarray
    Zs: list
    weights: np.ndarray


def table(rng, *, n=60, seen=Q, weighted=False, z=None):
    """Rows of `seen` of the levels; `z` is a column that the related effects multiply."""
    codes = np.append(np.arange(seen), rng.integers(0, seen, n - seen))
    other = rng.integers(0, OTHERS, n)
    x = rng.standard_normal(n)
    column = np.ones(n) if z is None else x
    y = 1.0 + x + rng.standard_normal(Q)[codes] * column + rng.standard_normal(n)
    weights = rng.integers(1, 4, n).astype(float) if weighted else np.ones(n)
    indexes = (GroupIndex(("g",), (np.arange(Q),)), GroupIndex(("h",), (np.arange(OTHERS),)))
    rows = Rows(np.column_stack([np.ones(n), x, y]), (codes, other), indexes,
                weights if weighted else None)  # fmt: skip
    Zs = [np.eye(Q)[codes] * column[:, None], np.eye(OTHERS)[other]]
    return Table(rows, np.column_stack([np.ones(n), x]), y, Zs, weights)


def summed(layout, rows, basis=None):
    """Sum rows over all levels, those without rows too."""
    seen = [np.unique(codes) for codes in rows.codes]
    indexes = [index.take(levels) for index, levels in zip(rows.indexes, seen, strict=True)]
    codes = [np.searchsorted(levels, codes) for levels, codes in zip(seen, rows.codes, strict=True)]
    found = Rows(rows.columns, tuple(codes), tuple(indexes), rows.weights)
    return CrossProducts.of(layout, found, basis).at_levels(rows.indexes)


def fitted(data, K, *, beside=False, column=0, weighting="precision", method="reml"):
    """Fit related levels, perhaps beside another factor."""
    layout = Layout(("1", "x", "y"), (FactorLayout(("g",), (0, 1)), FactorLayout(("h",), (0,))))
    terms = (Term(0, (column,)), *([Term(1, (0,))] if beside else []))
    relations = ((0, Relation(data.rows.indexes[0], K)),)
    products = summed(layout, data.rows)
    return Fit.of(products, ModelSpec((0, 1), terms, method, weighting, relations))


class Dense:
    """The same model at the covariances of a fit, by n x n matrices."""

    def __init__(self, fit, data, K):
        self.X, self.y = data.X, data.y
        Ks = [K, np.eye(OTHERS)]
        parts = [C[0, 0] * k for C, k in zip(fit.covariances, Ks, strict=False)]
        self.Z = np.hstack(data.Zs[: len(parts)])
        self.D = np.zeros((self.Z.shape[1],) * 2)
        start = 0
        for part in parts:
            stop = start + len(part)
            self.D[start:stop, start:stop] = part
            start = stop
        self.V = self.Z @ self.D @ self.Z.T + fit.sigma2 * np.diag(1.0 / data.weights)
        self.inverse = np.linalg.inv(self.V)
        self.beta_covariance = np.linalg.inv(self.X.T @ self.inverse @ self.X)
        self.beta = self.beta_covariance @ self.X.T @ self.inverse @ self.y
        self.rest = self.y - self.X @ self.beta

    def criterion(self, reml=True):
        logs = np.linalg.slogdet(self.V)[1] + self.rest @ self.inverse @ self.rest
        n, p = self.X.shape
        if reml:
            logs += np.linalg.slogdet(self.X.T @ self.inverse @ self.X)[1]
        return logs + (n - p * reml) * np.log(2 * np.pi)

    @property
    def modes(self):
        return self.D @ self.Z.T @ self.inverse @ self.rest

    @property
    def covariance(self):
        through = self.D @ self.Z.T
        return self.D - through @ self.inverse @ through.T

    def variances(self, X, Z):
        """Errors of predictions of rows X, Z."""
        left = X - Z @ self.D @ self.Z.T @ self.inverse @ self.X
        own = np.einsum("ij,jk,ik->i", Z, self.covariance, Z)
        return own + np.einsum("ij,jk,ik->i", left, self.beta_covariance, left)


CASES = {
    "alone": {},
    "levels without rows": {"seen": 8},
    "beside another factor": {"beside": True},
    "beside another factor, levels without rows": {"seen": 9, "beside": True},
    "weights": {"weighted": True},
    "a slope": {"z": 1, "column": 1},
    "fewer dimensions than levels": {"rank": 5},
    "fewer dimensions, levels without rows": {"rank": 5, "seen": 8},
    "maximum likelihood": {"method": "ml", "beside": True},
}


@pytest.mark.parametrize("case", CASES)
def test_all_that_a_fit_says_is_that_of_the_dense_model(case, rng):
    options = dict(CASES[case])
    made = {name: options.pop(name) for name in ("seen", "weighted", "z") if name in options}
    K = kinship(rng, rank=options.pop("rank", None))
    data = table(rng, **made)
    fit = fitted(data, K, **options)
    dense = Dense(fit, data, K)
    reml = options.get("method", "reml") == "reml"
    assert fit.criterion == pytest.approx(dense.criterion(reml), rel=1e-9)
    assert fit.beta == pytest.approx(dense.beta, rel=1e-8)
    assert fit.beta_covariance == pytest.approx(dense.beta_covariance, rel=1e-8)
    modes = np.concatenate([each[:, 0] for each in fit.modes])
    assert modes == pytest.approx(dense.modes, abs=1e-8)
    found = np.concatenate([fit.conditional_covariance(f)[:, 0, 0] for f in range(len(fit.modes))])
    assert found == pytest.approx(np.diag(dense.covariance), abs=1e-9)


@pytest.mark.parametrize("case", ["alone", "levels without rows", "beside another factor"])
def test_rows_of_any_level_have_the_dense_errors(case, rng):
    options = dict(CASES[case])
    seen = options.pop("seen", Q)
    K = kinship(rng)
    data = table(rng, seen=seen)
    fit = fitted(data, K, **options)
    dense = Dense(fit, data, K)
    new = table(rng, n=30)  # of all levels
    Z = np.hstack(new.Zs[: 1 + options.get("beside", False)])
    variances = mean_variances(fit, new.rows)
    assert variances == pytest.approx(dense.variances(new.X, Z), rel=1e-8)
    assert mean_predictions(fit, new.rows) == pytest.approx(new.X @ dense.beta + Z @ dense.modes)


def test_a_level_that_is_not_known_adds_the_mean_variance(rng):
    K = kinship(rng)
    data = table(rng)
    fit = fitted(data, K)
    rows = Rows(data.rows.columns[:1], (np.array([-1]), np.array([0])), data.rows.indexes)
    without = Dense(fit, data, K).variances(data.X[:1], np.zeros((1, Q)))
    known = mean_variances(fit, rows)
    assert known - without == pytest.approx(fit.covariances[0][0, 0] * np.diag(K).mean())


def test_independent_levels_are_those_of_the_plain_model(rng):
    data = table(rng)
    fit = fitted(data, np.eye(Q))
    plain = Fit.of(fit.products, ModelSpec((0, 1), (Term(0, (0,)),), weighting="precision"))
    assert fit.criterion == pytest.approx(plain.criterion, abs=1e-9)
    assert fit.modes[0] == pytest.approx(plain.modes[0], abs=1e-7)


@pytest.mark.parametrize("times", [1e-14, 0.04, 4.0, 1e14])
@pytest.mark.parametrize("case", ["alone", "beside another factor", "levels without rows"])
def test_a_multiple_of_the_covariance_divides_the_variance(case, times, rng):
    options = dict(CASES[case])
    K = kinship(rng)
    data = table(rng, seen=options.pop("seen", Q))
    one, many = (fitted(data, each, **options) for each in (K, times * K))
    assert many.criterion == pytest.approx(one.criterion, abs=1e-9)
    assert many.covariances[0] * times == pytest.approx(one.covariances[0], rel=1e-6)
    assert many.modes[0] == pytest.approx(one.modes[0], abs=1e-7)
    errors = [each.conditional_covariance(0) for each in (one, many)]
    assert errors[1] == pytest.approx(errors[0], rel=1e-6)
    new = table(rng, n=30).rows  # of all levels
    assert mean_variances(many, new) == pytest.approx(mean_variances(one, new), rel=1e-6)
    left_out = [leave_levels_out(each, data.rows, 0) for each in (one, many)]
    assert left_out[1] == pytest.approx(left_out[0], rel=1e-6)
    drawn = [draw_effects(each, 5, np.random.default_rng(0))[0][0] for each in (one, many)]
    assert drawn[1] == pytest.approx(drawn[0], rel=1e-5)


def test_rows_are_left_out_exactly(rng):
    K = kinship(rng)
    data = table(rng, n=30)
    fit = fitted(data, K)
    dense = Dense(fit, data, K)
    hat = fit.sigma2 * (dense.inverse - dense.inverse @ data.X @ dense.beta_covariance
                        @ data.X.T @ dense.inverse)  # fmt: skip
    expected = data.y - fit.sigma2 * (dense.inverse @ dense.rest) / np.diag(hat)
    assert leave_rows_out(fit, data.rows) == pytest.approx(expected, rel=1e-8)


def test_a_level_that_is_left_out_is_predicted_by_its_relatives(rng):
    K = kinship(rng)
    data = table(rng, n=40)
    fit = fitted(data, K)
    found = leave_levels_out(fit, data.rows, 0)
    codes = data.rows.codes[0]
    for level in range(3):
        out = codes == level
        V = Dense(fit, data, K).V
        inverse = np.linalg.inv(V[np.ix_(~out, ~out)])
        X, y = data.X[~out], data.y[~out]
        beta = np.linalg.solve(X.T @ inverse @ X, X.T @ inverse @ y)
        expected = data.X[out] @ beta + V[np.ix_(out, ~out)] @ inverse @ (y - X @ beta)
        assert found[out] == pytest.approx(expected, rel=1e-7)


def test_further_rows_move_the_effects_of_relatives(rng):
    K = kinship(rng)
    first, more = table(rng, n=40, seen=8), table(rng, n=30)
    fit = fitted(first, K)
    layout = fit.products.layout
    further = summed(layout, more.rows, fit.products.basis)
    both = Posterior.of(fit, fit.products + further)
    y, X = np.append(first.y, more.y), np.vstack([first.X, more.X])
    Z = np.vstack([first.Zs[0], more.Zs[0]])
    D = fit.covariances[0][0, 0] * K
    V = Z @ D @ Z.T + fit.sigma2 * np.eye(len(y))
    expected = D @ Z.T @ np.linalg.solve(V, y - X @ fit.beta)
    assert both.modes[0][:, 0] == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("seen", [Q, 8])
def test_drawn_effects_have_the_covariance(seen, rng):
    K = kinship(rng)
    fit = fitted(table(rng, seen=seen), K)
    (drawn,), _ = draw_effects(fit, 40_000, np.random.default_rng(0))
    found = np.cov(drawn[0].T) / fit.covariances[0][0, 0]
    assert np.abs(found - K).max() < 0.05 * np.diag(K).max()


def test_gradients_are_differences(rng):
    K = kinship(rng)
    fit = fitted(table(rng), K, beside=True)
    at = [lam + 0.1 for lam in fit.scaled_lambdas]
    for position in range(2):
        step = 1e-6
        ends = []
        for sign in (1.0, -1.0):
            moved = [lam.copy() for lam in at]
            moved[position] += sign * step
            ends.append(evaluate(fit.problem, moved).criterion)
        gradient = evaluate(fit.problem, at).gradient[position][0, 0]
        slope = 2.0 * gradient * at[position][0, 0]
        assert slope == pytest.approx((ends[0] - ends[1]) / (2.0 * step), rel=1e-5)


def test_a_matrix_with_a_negative_eigenvalue_is_refused(rng):
    K = kinship(rng)
    K[0, 1] = K[1, 0] = 5.0
    with pytest.raises(ValueError, match="positive semidefinite"):
        fitted(table(rng), K)
