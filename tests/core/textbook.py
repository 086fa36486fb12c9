"""First and second derivatives of the criterion by dense matrices, in plain units.

With P = V^-1 - V^-1 X (X'V^-1X)^-1 X'V^-1 and V_E = Z (I x E) Z' for a direction E of a covariance,

    d/dE = tr(P V_E) - y'P V_E P y / sigma^2     (REML; V^-1 in place of the first P for ML)

(Gilmour, Thompson & Cullis 1995, doi:10.2307/2533274). Omega need not be positive semidefinite, so
finite differences can straddle the boundary.
"""

import numpy as np

from tests.oracle import independent_columns


class Textbook:
    """The model of a design at given covariances Omega, one a factor, and sigma^2 if given."""

    def __init__(self, design, omegas, sigma2=None):
        self.reml = design.spec.method == "reml"
        y, X, self.Zs = design.dense_columns()
        w = np.ones(design.n_rows) if design.weights is None else design.weights
        X = X[:, independent_columns(np.sqrt(w)[:, None] * X)]
        self.levels = [Z.shape[1] // len(om) for Z, om in zip(self.Zs, omegas, strict=True)]
        V = np.diag(1.0 / w)
        for Z, om, q in zip(self.Zs, omegas, self.levels, strict=True):
            V += Z @ np.kron(np.eye(q), om) @ Z.T
        self.Vi = np.linalg.inv(V)
        information = X.T @ self.Vi @ X
        if X.shape[1]:
            self.P = self.Vi - self.Vi @ X @ np.linalg.solve(information, X.T @ self.Vi)
        else:
            self.P = self.Vi
        self.nu = design.n_observations - X.shape[1] * self.reml
        self.Py = self.P @ y
        self.sigma2 = y @ self.Py / self.nu if sigma2 is None else sigma2
        self.degrees = self.nu if sigma2 is None else np.inf
        frequency = design.spec.weighting == "frequency"
        self.criterion = (
            np.linalg.slogdet(V)[1] + frequency * np.log(w).sum()
            + self.nu * np.log(2.0 * np.pi * self.sigma2) + y @ self.Py / self.sigma2
        )  # fmt: skip
        if self.reml:
            self.criterion += np.linalg.slogdet(information)[1]

    def gradients(self):
        """Return the matrices G with d criterion = tr(G dOmega), one a factor."""
        middle = (self.P if self.reml else self.Vi) - np.outer(self.Py, self.Py) / self.sigma2
        results = []
        for Z, q in zip(self.Zs, self.levels, strict=True):
            blocks = (Z.T @ middle @ Z).reshape(q, Z.shape[1] // q, q, Z.shape[1] // q)
            results.append(np.einsum("lalb->ab", blocks))
        return results

    def slope(self, direction):
        """Return the derivative along one direction: (factor, matrix)."""
        factor, E = direction
        return np.sum(self.gradients()[factor] * E)

    def average_information(self, directions):
        """Return f'P f / sigma^2 - q q'/nu with f_E = V_E P y and q_E = y'P V_E P y / sigma^2.

        nu is infinite where sigma^2 is given.
        """
        f = np.stack(
            [
                self.Zs[n] @ np.kron(np.eye(self.levels[n]), E) @ self.Zs[n].T @ self.Py
                for n, E in directions
            ]
        )
        q = f @ self.Py / self.sigma2
        return f @ self.P @ f.T / self.sigma2 - np.outer(q, q) / self.degrees


def finite_difference(function, step):
    """Derivative at 0 of a function of one number, by the five-point rule."""
    far = function(2 * step) - function(-2 * step)
    return (8.0 * (function(step) - function(-step)) - far) / (12.0 * step)


def directions_of(sizes):
    """Return the symmetric directions E_ij of every factor: (factor, matrix)."""
    result = []
    for factor, k in enumerate(sizes):
        for i in range(k):
            for j in range(i + 1):
                E = np.zeros((k, k))
                E[i, j] = E[j, i] = 1.0
                result.append((factor, E))
    return result


def moved(omegas, direction, step):
    """Return the covariances a step along a direction."""
    factor, E = direction
    return [om + step * E if n == factor else om for n, om in enumerate(omegas)]
