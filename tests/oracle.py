"""The linear mixed model written out densely: slow, plain, and the truth for other code.

Everything is formed as the textbook has it, with the n x n marginal covariance of y,

    V = W^-1 + sum_f Z_f (I x lambda_f lambda_f') Z_f'        (in units of sigma^2),

at given relative factors lambda_f; beta and sigma^2 are profiled out. Nothing here is shared
with the package. References: Bates et al. (2015), doi:10.18637/jss.v067.i01; Henderson (1975).
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Dense:
    """The fit at fixed lambdas: n rows, p columns of which the independent ones are kept."""

    criterion: float  # -2 log-likelihood, restricted if reml, with lme4's constants
    beta: np.ndarray  # (p,), 0 for a dropped column
    beta_covariance: np.ndarray  # (p, p), 0 for a dropped column
    sigma2: float
    modes: list[np.ndarray]  # per factor (levels, k): E(b | y)
    mode_covariances: list[np.ndarray]  # per factor (levels, k, k): var(b | y) at known beta
    fitted: np.ndarray  # (n,)
    rank: int


def independent_columns(X, tol=1e-9):
    """Keep, left to right, each column that is no combination of those kept before it."""
    kept = []
    for j in range(X.shape[1]):
        x = X[:, j]
        basis = X[:, kept]
        rest = x - basis @ np.linalg.lstsq(basis, x, rcond=None)[0] if kept else x
        if np.linalg.norm(rest) > tol * max(np.linalg.norm(x), np.finfo(float).tiny):
            kept.append(j)
    return kept


def levels_to_columns(codes, columns, n_levels):
    """Z of one factor, (n, levels * k) with the k columns of a level side by side."""
    n, k = columns.shape
    Z = np.zeros((n, n_levels * k))
    for row, code in enumerate(codes):
        Z[row, code * k : (code + 1) * k] = columns[row]
    return Z


def dense_fit(y, X, Zs, lambdas, *, weights=None, reml=True, weighting="frequency"):
    """Evaluate the model with dense algebra.

    Zs are dense (n, levels_f * k_f) matrices, level by level; lambdas are (k_f, k_f). A weight
    w is w rows ("frequency") or a variance sigma^2 / w ("precision").
    """
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=float)
    covered = w > 0
    omegas = [np.kron(np.eye(Z.shape[1] // len(lam)), lam @ lam.T)
              for Z, lam in zip(Zs, lambdas, strict=True)]  # fmt: skip
    V = sum((Z @ Om @ Z.T for Z, Om in zip(Zs, omegas, strict=True)), np.zeros((len(y),) * 2))
    V = V[np.ix_(covered, covered)] + np.diag(1 / w[covered])
    ys, Xs = y[covered], X[covered]

    kept = independent_columns(np.sqrt(w[covered])[:, None] * Xs)
    Xk = Xs[:, kept]
    Vi = np.linalg.inv(V)
    information = Xk.T @ Vi @ Xk
    beta = np.linalg.solve(information, Xk.T @ Vi @ ys) if kept else np.zeros(0)
    r = ys - Xk @ beta
    n = w.sum() if weighting == "frequency" else covered.sum()
    nu = n - len(kept) if reml else n
    rss = r @ Vi @ r
    sigma2 = rss / nu

    # A row of weight w is w rows: their log-determinant lacks the log w of 1 / w on the diagonal.
    log_det = np.linalg.slogdet(V)[1]
    if weighting == "frequency":
        log_det += np.log(w[covered]).sum()
    criterion = nu * (1 + np.log(2 * np.pi * sigma2)) + log_det
    if reml:
        criterion += np.linalg.slogdet(information)[1]

    full_beta = np.zeros(X.shape[1])
    full_beta[kept] = beta
    covariance = np.zeros((X.shape[1],) * 2)
    covariance[np.ix_(kept, kept)] = sigma2 * np.linalg.inv(information) if kept else 0.0

    # All factors together: b ~ N(0, sigma^2 G), b | y by the normal regression of b on y.
    modes, variances, fitted = [], [], X @ full_beta
    for Z, Om, lam in zip(Zs, omegas, lambdas, strict=True):
        k = len(lam)
        gain = Om @ Z[covered].T @ Vi
        b = gain @ r
        variance = sigma2 * (Om - gain @ Z[covered] @ Om)
        modes.append(b.reshape(-1, k))
        starts = range(0, len(b), k)
        variances.append(np.array([variance[s : s + k, s : s + k] for s in starts]))
        fitted = fitted + Z @ b
    return Dense(criterion, full_beta, covariance, sigma2, modes, variances, fitted, len(kept))
