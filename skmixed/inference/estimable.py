"""Which linear functions of the coefficients the data determine, where columns were dropped.

If some fixed columns depend on others, X_D = X_K A, a function l'beta has the same value for all
least-squares solutions, if and only if l_D = A'l_K (Searle 1971, Linear Models, section 5.4). Then
it is l_K'beta_K, the dropped coefficients being 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from skmixed.core.fit import Fit
from skmixed.core.layout import FloatArray

_ESTIMABLE = 1e-6  # excess that is rounding: dropped columns repeat others to about that accuracy


def excess(fit: Fit, functions: FloatArray) -> FloatArray:
    """Return l_D - A'l_K of m functions, (m, n_dropped), zero for what the data determine.

    `functions`, (m, n_fixed), are of all fixed coefficients in raw units. The excess is relative to
    the size of the function, in units in which columns have a root mean square of one.
    """
    products, spec = fit.products, fit.spec
    fixed = list(spec.fixed)
    if len(fit.kept) == len(fixed):
        return np.zeros((len(functions), 0))
    undo = np.linalg.inv(products.basis)
    shift = np.asarray(products.basis if spec.has_intercept else np.eye(len(undo)))
    gram = products.gram if spec.has_intercept else undo.T @ products.gram @ undo
    gram = gram[np.ix_(fixed, fixed)]
    units = np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
    units = np.where(np.diag(gram) > 0, units, 1.0)
    shifted = functions @ shift[np.ix_(fixed, fixed)] / units
    gram = gram / np.outer(units, units)
    kept = list(fit.kept)
    dropped = dropped_places(fit)
    alias = linalg.solve(gram[np.ix_(kept, kept)], gram[np.ix_(kept, dropped)], assume_a="pos")
    size = np.maximum(np.abs(shifted).max(axis=1, initial=0.0), np.finfo(float).tiny)
    return np.asarray((shifted[:, dropped] - shifted[:, kept] @ alias) / size[:, None])


def dropped_places(fit: Fit) -> list[int]:
    """Return the positions of the fixed columns that depend on those before them."""
    return [place for place in range(len(fit.spec.fixed)) if place not in fit.kept]


def is_determined(fit: Fit, functions: FloatArray) -> NDArray[np.bool_]:
    """Tell which of m functions have one value whichever dependent columns are left out, (m,).

    `functions`, (m, n_fixed), are of all fixed coefficients in raw units.
    """
    return np.asarray(np.abs(excess(fit, functions)).max(axis=1, initial=0.0) <= _ESTIMABLE)


def kept_part(fit: Fit, functions: FloatArray) -> FloatArray:
    """Return functions, (m, n_fixed), of the coefficients that were kept, in raw units.

    They are zero for dropped columns, and NaN throughout for functions of dropped columns that the
    data do not determine. A function of kept columns alone is one of the model without the others.
    """
    kept = np.zeros_like(functions)
    kept[:, list(fit.kept)] = functions[:, list(fit.kept)]
    of_dropped = functions[:, dropped_places(fit)].any(axis=1)
    kept[of_dropped & ~is_determined(fit, functions)] = np.nan
    return kept


def estimable_combinations(fit: Fit, functions: FloatArray, among: list[int]) -> FloatArray:
    """Return the combinations of m functions that the data determine, (r, n_fixed).

    `among` are the columns in question; dropped ones beside them count as left out for good. The
    functions themselves are returned where all are determined.
    """
    chosen = [n for n, place in enumerate(dropped_places(fit)) if place in among]
    beyond = excess(fit, functions)[:, chosen]
    if np.abs(beyond).max(initial=0.0) <= _ESTIMABLE:
        return functions
    size = np.maximum(np.abs(functions).max(axis=1), np.finfo(float).tiny)
    free = linalg.null_space(beyond.T, rcond=_ESTIMABLE)
    return np.asarray(free.T @ (functions / size[:, None]))
