"""The posterior of a linear mixed model at given variances, written out densely."""

import numpy as np
import pandas as pd
from scipy.stats import multivariate_normal

from skmixed import MixedLinearRegressor
from skmixed.core.posterior.coefficient_prior import CoefficientPrior
from tests.oracle import levels_to_columns

MODELS = {
    "no factor": ("x", []),
    "one intercept": ("x", [("g", ["1"])]),
    "one slope": ("x", [("g", ["1", "x"])]),
    "nested": ("x", [("g", ["1"]), ("g:h", ["1", "x"])]),
    "crossed": ("x", [("g", ["1", "x"]), ("c", ["1"])]),
}


class Case:
    """A small table, its fit, one phi and a prior, with all of it dense."""

    def __init__(self, name, *, weights=None, shift=0.0, prior="proper", seed=0, n=40):
        rng = np.random.default_rng(seed)
        table = pd.DataFrame(
            {
                "x": shift + rng.standard_normal(n),
                "w": rng.standard_normal(n) * 3.0,
                "g": rng.integers(5, size=n).astype(str),
                "h": rng.integers(3, size=n).astype(str),
                "c": rng.integers(4, size=n).astype(str),
            }
        )
        y = 3.0 * shift + 2.0 * table["x"] + rng.standard_normal(n)
        for column in "gc":
            y = y + rng.standard_normal(5)[table[column].astype(int)]
        terms = MODELS[name][1]
        text = " + ".join(f"({' + '.join(columns)} | {factor})" for factor, columns in terms)
        used = [column for column in "ghc" if column in text]
        self.X, self.y = table[["x", "w", *used]], y.to_numpy()
        self.weights = None
        kind = weights or "frequency"
        if weights == "frequency":
            self.weights = rng.integers(1, 4, size=n).astype(float)
        elif weights == "precision":
            self.weights = rng.uniform(0.3, 9.0, size=n)
        self.kind, self.terms = kind, terms
        self.random = text or None
        self.model = MixedLinearRegressor(self.random, weighting=kind)
        self.model.fit(self.X, self.y, self.weights)
        self.fit = self.model.fit_
        self.sigma = float(rng.uniform(0.5, 2.0))
        roots = [np.tril(rng.standard_normal((len(c), len(c)))) for _, c in terms]
        self.covariances = [root @ root.T for root in roots]
        # factors of the fit stand in the order of the formula
        self.lambdas = [np.linalg.cholesky(c) / self.sigma for c in self.covariances]
        self.prior = self.make_prior(prior, rng)

    def make_prior(self, kind, rng):
        p = len(self.fit.kept)
        combinations = np.eye(p)
        combinations[0, 1:] = [self.X["x"].mean(), self.X["w"].mean()]
        precision = {"proper": [0.5, 2.0, 1.0], "singular": [0.0, 2.0, 1.0], "flat": [0.0] * 3}
        mean = rng.standard_normal(p)
        mean[0] += self.y.mean()
        return CoefficientPrior(combinations, mean, np.array(precision[kind]))

    @property
    def fixed_columns(self):
        return np.column_stack([np.ones(len(self.X)), self.X["x"], self.X["w"]])

    @property
    def counts(self):
        """How often each row stands, and what its residual variance is divided by."""
        n = len(self.X)
        if self.weights is None:
            return np.arange(n), np.ones(n)
        if self.kind == "precision":
            return np.arange(n), self.weights
        repeated = np.repeat(np.arange(n), self.weights.astype(int))
        return repeated, np.ones(len(repeated))

    def random_columns(self):
        found = []
        for position, (factor, columns) in enumerate(self.terms):
            index = self.fit.products.factors[self.fit.spec.used_factors[position]].index
            places = {label: place for place, label in enumerate(zip(*index.labels, strict=True))}
            keys = list(zip(*[self.X[name] for name in factor.split(":")], strict=True))
            codes = np.array([places[tuple(key)] for key in keys])
            z = np.column_stack([np.ones(len(self.X)) if c == "1" else self.X[c] for c in columns])
            found.append(levels_to_columns(codes, z, len(index)))
        return found

    def joint(self):
        """Return the design of all effects, and the precision of their prior, and the rows."""
        rows, divisors = self.counts
        Zs = self.random_columns()
        C = self.prior.combinations
        blocks = [C.T @ np.diag(self.prior.precision) @ C]
        blocks += [
            np.kron(np.eye(Z.shape[1] // len(c)), np.linalg.inv(c))
            for Z, c in zip(Zs, self.covariances, strict=True)
        ]
        size = sum(len(block) for block in blocks)
        precision, start = np.zeros((size, size)), 0
        for block in blocks:
            precision[start : start + len(block), start : start + len(block)] = block
            start += len(block)
        design = np.column_stack([self.fixed_columns, *Zs])[rows]
        target = np.zeros(size)
        target[:3] = C.T @ (self.prior.precision * self.prior.mean)
        return design, precision, target, rows, divisors

    def dense_posterior(self):
        """Return mean and covariance of beta and all random effects given y."""
        design, precision, target, rows, divisors = self.joint()
        weighted = design.T * divisors / self.sigma**2
        covariance = np.linalg.inv(weighted @ design + precision)
        return covariance @ (weighted @ self.y[rows] + target), covariance

    def dense_log_likelihood(self, kept=slice(None)):
        """Return log p(y), of some rows, flat combinations having density one."""
        rows, divisors = self.counts
        chosen = np.zeros(len(self.y), dtype=bool)
        chosen[kept] = True
        rows, divisors = rows[chosen[rows]], divisors[chosen[rows]]
        V = np.diag(self.sigma**2 / divisors)
        for Z, c in zip(self.random_columns(), self.covariances, strict=True):
            Z = Z[rows]
            V += Z @ np.kron(np.eye(Z.shape[1] // len(c)), c) @ Z.T
        X, y, C = self.fixed_columns[rows], self.y[rows], self.prior.combinations
        along = X @ np.linalg.inv(C)
        felt = self.prior.precision > 0
        V += (along[:, felt] / self.prior.precision[felt]) @ along[:, felt].T
        rest = y - along[:, felt] @ self.prior.mean[felt]
        flat = along[:, ~felt]
        if not flat.shape[1]:
            return multivariate_normal(np.zeros(len(y)), V).logpdf(rest)
        inverse = np.linalg.inv(V)
        information = flat.T @ inverse @ flat
        beta = np.linalg.solve(information, flat.T @ inverse @ rest)
        rest = rest - flat @ beta
        n, m = flat.shape
        value = (n - m) * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + rest @ inverse @ rest
        return -0.5 * (value + np.linalg.slogdet(information)[1])
