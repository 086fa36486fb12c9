"""Fits of random tables are what dense algebra makes of them at the variances found."""

import re
import warnings

import numpy as np
import pytest
from scipy.optimize import minimize

from skmixed.core.model.structures.linear_roots import Unstructured
from skmixed.core.model.structures.named import structure_named
from tests.fuzz.cases import draw_case, seeds
from tests.oracle import dense_fit, independent_columns, levels_to_columns

DIGITS = 1e-13  # of dense algebra, times the condition of V or the square of that of X
OF_LAMBDA = 1e-12  # of cross-products, times the largest relative variance
NEARLY_DEPENDENT = 1e6  # condition of columns of which none or one may be left out
MOST = 1e-4  # relative error beyond which a comparison says nothing


class Dense:
    """Rows of a case in units of their own, columns orthonormal, with their criterion."""

    def __init__(self, case):
        w = np.ones(len(case.y)) if case.weights is None else case.weights
        rows = w > 0
        if case.parameters["weighting"] == "frequency":
            rows = np.repeat(np.arange(len(w)), w.astype(int))
            w = np.ones(len(w))
        self.rows = case.X.iloc[rows] if rows.dtype != bool else case.X[rows]
        self.w, y = w[rows], case.y[rows]
        self.reml = case.parameters["method"] == "reml"
        self.unit = np.std(y) or 1.0
        self.y = y / self.unit
        numbers = [self.rows[name].to_numpy(float) for name in case.features]
        X = np.column_stack([np.ones(len(y))] * case.has_intercept + numbers)
        root = np.sqrt(self.w)[:, None]
        sizes = np.linalg.norm(X * root, axis=0)
        self.kept = independent_columns(X * root / np.where(sizes > 0, sizes, 1.0), 1e-10)
        Q, R = np.linalg.qr(X[:, self.kept] * root)
        self.Q = Q / root
        self.condition = np.linalg.cond(R / np.linalg.norm(R, axis=0)) if self.kept else 1.0
        nu = len(y) - len(self.kept) * self.reml
        self.change = 2.0 * nu * np.log(self.unit)
        if self.reml:
            self.change += 2.0 * np.log(np.abs(np.diag(R))).sum()
        self.terms = []
        for name, columns, kind in case.terms:
            own = [np.ones(len(y)) if c == "1" else self.rows[c].to_numpy(float) for c in columns]
            own = np.column_stack(own)
            unit = np.linalg.norm(own, axis=0) / np.sqrt(len(y))
            unit[unit == 0.0] = 1.0
            codes = case.codes[name][rows]
            self.terms.append((levels_to_columns(codes, own / unit, codes.max() + 1), unit, kind))

    def at(self, lambdas):
        return dense_fit(
            self.y, self.Q, [Z for Z, _, _ in self.terms], lambdas,
            weights=self.w, reml=self.reml, weighting="precision",
        )  # fmt: skip

    def marginal(self, lambdas):
        """Return the covariance of the random effects of the rows, and V."""
        A = sum(
            Z @ np.kron(np.eye(Z.shape[1] // len(lam)), lam @ lam.T) @ Z.T
            for (Z, _, _), lam in zip(self.terms, lambdas, strict=True)
        )
        return A, A + np.diag(1.0 / self.w)

    def deviations(self, lambdas, sigma2):
        """Return the standard errors of what is predicted for the rows."""
        A, V = self.marginal(lambdas)
        Vi = np.linalg.inv(V)
        rest = self.Q - A @ Vi @ self.Q
        variances = np.diag(A - A @ Vi @ A) + np.einsum(
            "ij,jk,ik->i", rest, np.linalg.inv(self.Q.T @ Vi @ self.Q), rest
        )
        return np.sqrt(np.maximum(variances, 0.0) * sigma2)

    def digits(self, lambdas):
        """Return the relative error to expect at some factors."""
        condition = np.linalg.cond(self.marginal(lambdas)[1]) + self.condition**2
        return (
            1e-8 + DIGITS * condition + OF_LAMBDA * max(np.abs(lam).max() for lam in lambdas) ** 2
        )

    def lambdas_of(self, theta):
        """Write parameters as factors: of an identity in the units of the columns."""
        found, start = [], 0
        for _, unit, kind in self.terms:
            k = len(unit)
            structure = structure_named(kind, k) if k > 1 else Unstructured(1)
            size = structure.n_theta
            part, start = theta[start : start + size], start + size
            lam = structure.lam(part, structure.natural_order)
            found.append((unit / unit.max())[:, None] * lam if structure.one_unit else lam)
        return found, start

    def n_theta(self):
        return self.lambdas_of(np.zeros(100))[1]


def lambdas_of_model(model, case, dense):
    """Return the relative factors of a fitted model in the units of the dense columns."""
    found = []
    for (name, _, _), (_, unit, _) in zip(case.terms, dense.terms, strict=True):
        covariance = model.random_covariance_[name].to_numpy() * np.outer(unit, unit)
        values, vectors = np.linalg.eigh(covariance / model.residual_variance_)
        found.append(vectors * np.sqrt(np.maximum(values, 0.0)))
    return found


def checked(seed):
    """Fit a case and compare; return the dense figures if they say something."""
    case = draw_case(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = case.fit()
    said = " ".join(str(warning.message) for warning in caught)
    assert not any(issubclass(w.category, RuntimeWarning) for w in caught), said
    dense = Dense(case)
    if dense.condition > NEARLY_DEPENDENT:
        return None
    assert model.rank_ == len(dense.kept)
    if re.search("without a rest|response completely|fits? the data exactly", said):
        return None
    assert np.isfinite(model.criterion_)
    lambdas = lambdas_of_model(model, case, dense)
    tol = dense.digits(lambdas)
    if tol > MOST:
        return None
    there = dense.at(lambdas)
    size = np.abs(dense.y).max()
    assert model.criterion_ == pytest.approx(there.criterion + dense.change, rel=tol, abs=10 * tol)
    np.testing.assert_allclose(
        model.predict(dense.rows) / dense.unit, there.fitted, rtol=0, atol=tol * size
    )
    population = model.predict(dense.rows, random="none") / dense.unit
    np.testing.assert_allclose(population, dense.Q @ there.beta, rtol=0, atol=tol * size)
    assert model.residual_variance_ == pytest.approx(there.sigma2 * dense.unit**2, rel=10 * tol)
    errors = model.predict(dense.rows, return_std=True)[1] / dense.unit
    if tol < 1e-6:  # variances of predictions are differences, which have half of the digits
        expected = dense.deviations(lambdas, there.sigma2)
        atol = 10 * np.sqrt(tol * there.sigma2)
        np.testing.assert_allclose(errors, expected, rtol=0, atol=atol)
    return dense, there, tol


@seeds(40, 600)
def test_a_fit_is_what_dense_algebra_makes_of_it(seed):
    checked(seed)


@pytest.mark.study
@seeds(0, 250)
def test_no_dense_search_gets_lower(seed):
    found = checked(seed)
    if found is None:
        return
    dense, there, tol = found

    def objective(theta):
        try:
            found = dense.at(dense.lambdas_of(theta)[0]).criterion
        except np.linalg.LinAlgError:
            return 1e10
        return found if np.isfinite(found) else 1e10

    rng = np.random.default_rng(seed)
    for scale in (0.1, 1.0, 3.0):
        start = scale * rng.normal(size=dense.n_theta())
        end = minimize(objective, start, method="L-BFGS-B", options={"maxiter": 100})
        allowed = 1e-5 + 10 * tol + 10 * dense.digits(dense.lambdas_of(end.x)[0])
        assert there.criterion <= end.fun + allowed, (end.x, there.criterion - end.fun)
