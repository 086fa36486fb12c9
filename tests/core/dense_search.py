"""The optimum by brute force: dense derivatives, a general optimiser, many starts."""

import numpy as np
from scipy.optimize import minimize

from tests.core.designs import draw_lambdas
from tests.core.textbook import Textbook


class Parameters:
    """theta in plain units: the free entries of the factors of a design."""

    def __init__(self, design):
        self.design = design
        self.masks = []
        for factor in design.spec.used_factors:
            size = len(design.spec.factor_columns(factor))
            patterns, start = [], 0
            for term in design.spec.factor_terms(factor):
                k = len(term.columns)
                places = [(i, j) for j in range(k) for i in range(j, k)]
                if term.covariance != "unstructured":
                    places = [(i, i) for i in range(k)]
                groups = (
                    [places] if term.covariance == "identity" else [[place] for place in places]
                )
                for group in groups:
                    pattern = np.zeros((size, size))
                    for i, j in group:
                        pattern[start + i, start + j] = 1.0
                    patterns.append(pattern)
                start += k
            self.masks.append(np.stack(patterns))

    def lambdas(self, theta):
        ends = np.cumsum([len(masks) for masks in self.masks])[:-1]
        parts = np.split(theta, ends)
        return [np.tensordot(t, m, axes=1) for t, m in zip(parts, self.masks, strict=True)]

    def theta(self, lambdas):
        return np.concatenate(
            [
                (masks * lam).sum(axis=(1, 2)) / masks.sum(axis=(1, 2))
                for masks, lam in zip(self.masks, lambdas, strict=True)
            ]
        )

    def criterion(self, theta):
        """Return the criterion in plain units and its gradient."""
        lambdas = self.lambdas(theta)
        textbook = Textbook(self.design, [lam @ lam.T for lam in lambdas])
        slopes = [
            2.0 * np.einsum("aij,ij->a", masks, gradient @ lam)
            for masks, gradient, lam in zip(self.masks, textbook.gradients(), lambdas, strict=True)
        ]
        return textbook.criterion, np.concatenate(slopes)


def lowest_criterion(design, seed=0, n_starts=4):
    """Return the lowest criterion that any start leads to, in raw units."""
    parameters = Parameters(design)
    rng = np.random.default_rng(seed)
    starts = [draw_lambdas(design, rng) for _ in range(n_starts - 1)]
    starts.append([np.eye(len(lam)) for lam in starts[0]])
    best = np.inf
    for lambdas in starts:
        options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500, "maxls": 50}
        found = minimize(
            parameters.criterion, parameters.theta(lambdas), jac=True, method="L-BFGS-B",
            options=options,
        )  # fmt: skip
        best = min(best, found.fun)
    return best + design.criterion_change
