"""Whether models were fitted to the same data, as far as fits without rows can tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skmixed.core.fit import Fit
from skmixed.core.layout import CONSTANT, FloatArray

_SAME_SUM = 1e-8  # relative, of sums over the same rows in another order: rounding, with room


def check_same_data(fits: Sequence[Fit], names: Sequence[str]) -> None:
    """Refuse fits to different rows, weights or responses, called by their names.

    Raises ValueError if the numbers of rows, the weights, what they mean, or the sums of the
    response differ, those of single levels too where the models share a factor.
    """
    first = fits[0]
    for fit, name in zip(fits[1:], names[1:], strict=True):
        reason = _difference(first, fit)
        if reason:
            raise ValueError(
                f"{names[0]!r} and {name!r} were not fitted to the same data: {reason}. "
                "Likelihoods can only be compared on the same rows and response; rows with missing "
                "values may have been left out of one of them"
            )


def _difference(first: Fit, second: Fit) -> str:
    rows = first.products.n_rows, second.products.n_rows
    if rows[0] != rows[1]:
        return f"{rows[0]} rows and {rows[1]} rows"
    if first.spec.weighting != second.spec.weighting and _is_weighted(first):
        return "weights are frequencies in one and precisions in the other"
    weights = [(f.products.sum_weights, f.products.sum_log_weights) for f in (first, second)]
    if not np.allclose(weights[0], weights[1], rtol=_SAME_SUM, atol=_SAME_SUM):
        return "their weights differ"
    if not np.allclose(_moments(first), _moments(second), rtol=_SAME_SUM, atol=0.0):
        return "the responses or offsets differ"
    return _level_difference(first, second)


def _is_weighted(fit: Fit) -> bool:
    return fit.products.sum_weights != fit.products.n_rows or fit.products.sum_log_weights != 0.0


def _moments(fit: Fit) -> tuple[float, float]:
    """Return two moments of the response: mean square, and mean plus its root.

    The sum keeps a mean near zero from being compared with nothing but its rounding.
    """
    products = fit.products
    undo = np.linalg.inv(products.basis)[:, -1]
    square = float(undo @ products.gram @ undo) / products.sum_weights
    mean = float(products.gram[CONSTANT] @ undo) / products.sum_weights
    return mean + np.sqrt(square), square


def _level_difference(first: Fit, second: Fit) -> str:
    """Compare the sums of the response over levels of the factors that both have."""
    theirs = {index.key: n for n, index in enumerate(second.products.levels)}
    for n, index in enumerate(first.products.levels):
        if index.key not in theirs:
            continue
        other = second.products.levels[theirs[index.key]]
        if not len(index) == len(other) == len(index.union(other).index):
            return f"their levels of {index.name!r} differ"
        place = other.find(index)
        mine, sums = _level_sums(first, n), _level_sums(second, theirs[index.key])
        if not np.allclose(
            mine, sums[:, place], rtol=_SAME_SUM, atol=_SAME_SUM * np.abs(mine).max()
        ):
            return f"the responses within levels of {index.name!r} differ"
    return ""


def _level_sums(fit: Fit, factor: int) -> FloatArray:
    """Return the weights and the sum of the response of every level, (2, n_levels)."""
    products = fit.products
    undo = np.linalg.inv(products.basis)
    of_constant = products.factors[factor].products[0]
    return np.asarray((undo.T @ of_constant)[[CONSTANT, -1]])
