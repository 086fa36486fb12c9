"""Where a search for a curve starts: the best point of a grid, its other parameters in closed form.

Given its nonlinear parameters, a named curve is linear in others, which are regressed.
"""

from __future__ import annotations

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.nonlinear.named_curves import NamedCurve
from skmixed.core.sums.layout import unique_rows

_MOST_AVERAGES = 200  # of the axis, on which a curve of a few parameters is told well enough
_LEAST_RIDGE = 1e-12  # of the largest square: keeps columns that are alike from dividing by nothing


def closed_form_start(
    curve: NamedCurve, inputs: FloatArray, y: FloatArray, weights: FloatArray | None
) -> FloatArray | None:
    """Return parameters, (P,), near the least squares of all rows as one group, None without any.

    Inputs are (n, m), y and weights (n,).
    """
    inputs, y, weights = _averaged(inputs, y, np.ones(len(y)) if weights is None else weights)
    with np.errstate(all="ignore"):
        grid = curve.grid(inputs)
        columns = curve.columns(grid, inputs)
        gram = np.einsum("gnc,n,gnd->gcd", columns, weights, columns)
        right = np.einsum("gnc,n,n->gc", columns, weights, y)
        largest = gram.diagonal(axis1=1, axis2=2).max(axis=1)
        usable = np.isfinite(gram).all(axis=(1, 2)) & (largest > 0.0)
        gram[~usable] = np.eye(gram.shape[1])
        gram += (
            _LEAST_RIDGE * largest[:, None, None] * np.eye(gram.shape[1]) * usable[:, None, None]
        )
        coefficients = np.linalg.solve(gram, right[..., None])[..., 0]
        residual = y - np.einsum("gnc,gc->gn", columns, coefficients)
        squares = np.einsum("gn,n,gn->g", residual, weights, residual)
        parameters = curve.joined(grid, coefficients, inputs)
    usable &= np.isfinite(parameters).all(axis=1) & np.isfinite(squares)
    if not usable.any():
        return None
    return np.asarray(parameters[np.where(usable, squares, np.inf).argmin()])


def _averaged(
    inputs: FloatArray, y: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Average rows of the same inputs, and neighbours along the last input where they are many."""
    numbers, _ = unique_rows(list(inputs.T))
    if numbers.max(initial=0) >= _MOST_AVERAGES:
        order = np.argsort(inputs[:, -1], kind="stable")
        numbers = np.empty(len(y), dtype=np.intp)
        numbers[order] = np.arange(len(y)) * _MOST_AVERAGES // len(y)
    total = np.bincount(numbers, weights).astype(np.float64)
    means = [np.bincount(numbers, weights * each) / total for each in (*inputs.T, y)]
    return np.stack(means[:-1], axis=-1), means[-1], total
