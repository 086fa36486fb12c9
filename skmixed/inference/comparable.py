"""Whether the likelihoods of fits can be compared: their kind, and their data.

Whether the data are the same is checked as far as fits that store no rows allow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skmixed.core.fit import Fit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.generalized.response_sums import SAME_SUM
from skmixed.core.linalg import FloatArray
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.sums.layout import CONSTANT, GroupIndex
from skmixed.inference.fitted import AnyFit


def check_same_data(fits: Sequence[AnyFit], names: Sequence[str]) -> None:
    """Raise ValueError for fits to different rows, weights or responses.

    Compared are the numbers of rows, the weights and their meaning, and the sums of the response,
    within levels too where the models share a factor. `names` are those of the fits in the message.
    """
    first = fits[0]
    for fit, name in zip(fits[1:], names[1:], strict=True):
        reason = _difference(first, fit)
        if reason:
            raise ValueError(
                f"{names[0]!r} and {name!r} were not fitted to the same data: {reason}. "
                "Likelihoods can be compared only on the same rows and response; one of the models "
                "may have dropped rows with missing values"
            )


def check_same_kind(fits: Sequence[AnyFit], names: Sequence[str]) -> None:
    """Raise ValueError for fits whose likelihoods are of different kinds.

    These are linear models beside generalized ones, and generalized models with different families,
    links or approximations; without random effects nothing is approximated. `names` are those of
    the fits in the message.
    """
    kinds = [_kind_of(fit) for fit in fits]
    for kind, name in zip(kinds[1:], names[1:], strict=True):
        if kind != kinds[0]:
            raise ValueError(
                f"{names[0]!r} is a {kinds[0]} and {name!r} a {kind}: likelihood-ratio tests need "
                "models of one kind, with one response distribution"
            )
    nodes = [fit.quadrature if isinstance(fit, GeneralizedFit) else 1 for fit in fits]
    approximated = [place for place, fit in enumerate(fits) if fit.spec.terms]
    for place in approximated[1:]:
        first = approximated[0]
        if nodes[place] != nodes[first]:
            raise ValueError(
                f"{names[first]!r} was fitted with quadrature={nodes[first]} and "
                f"{names[place]!r} with quadrature={nodes[place]}: such likelihoods differ by "
                "their approximation too, so fit both with the same quadrature"
            )


def _kind_of(fit: AnyFit) -> str:
    if isinstance(fit, NonlinearFit):
        way = {"laplace": "Laplace's method", "lindstrom-bates": "Lindstrom and Bates's method"}
        return f"nonlinear model fitted by {way[fit.method]}"
    if not isinstance(fit, GeneralizedFit):
        return "linear model"
    return f"generalized model with family {fit.family.name!r} and link {fit.family.link!r}"


def _difference(first: AnyFit, second: AnyFit) -> str:
    if not isinstance(first, Fit) and not isinstance(second, Fit):
        return _response_difference(first, second)
    assert isinstance(first, Fit)  # by `check_same_kind`
    assert isinstance(second, Fit)
    return _linear_difference(first, second)


def _response_difference(
    first: GeneralizedFit | NonlinearFit, second: GeneralizedFit | NonlinearFit
) -> str:
    one, other = first.responses, second.responses
    n = first.n_observations, second.n_observations
    if n[0] != n[1]:
        return f"{n[0]:.15g} rows and {n[1]:.15g} rows"
    if not one.are_those_of(other):
        return "the responses or weights differ"
    sums = dict(zip(second.spec.used_factors, other.of_levels, strict=True))
    keys = {second.products.levels[f].key: f for f in sums}
    for factor, mine in zip(first.spec.used_factors, one.of_levels, strict=True):
        index = first.products.levels[factor]
        if index.key in keys:
            theirs = keys[index.key]
            reason = _unlike_levels(index, mine, second.products.levels[theirs], sums[theirs])
            if reason:
                return reason
    return ""


def _linear_difference(first: Fit, second: Fit) -> str:
    rows = first.row_products.n_rows, second.row_products.n_rows
    if rows[0] != rows[1]:
        return f"{rows[0]} rows and {rows[1]} rows"
    if first.spec.weighting != second.spec.weighting and _is_weighted(first):
        return "weights are frequencies in one and precisions in the other"
    weights = [
        (f.row_products.total_weight, f.row_products.total_log_weight) for f in (first, second)
    ]
    if not np.allclose(weights[0], weights[1], rtol=SAME_SUM, atol=SAME_SUM):
        return "their weights differ"
    if not np.allclose(_moments(first), _moments(second), rtol=SAME_SUM, atol=0.0):
        return "the responses or offsets differ"
    return _level_difference(first, second)


def _is_weighted(fit: Fit) -> bool:
    return (
        fit.row_products.total_weight != fit.row_products.n_rows
        or fit.row_products.total_log_weight != 0.0
    )


def _moments(fit: Fit) -> tuple[float, float]:
    """Return two moments of the response: mean square, and mean plus root mean square.

    The sum keeps a mean near zero from being compared by its rounding error alone.
    """
    products = fit.row_products
    (mean,), ((about_mean,),) = products.moments(np.eye(len(products.basis))[:, -1:])
    square = float(about_mean + mean**2)
    return float(mean) + np.sqrt(square), square


def _level_difference(first: Fit, second: Fit) -> str:
    """Compare the sums of the response over levels of the factors that both have."""
    theirs = {index.key: n for n, index in enumerate(second.row_products.levels)}
    for n, index in enumerate(first.row_products.levels):
        if index.key not in theirs:
            continue
        index, mine = _level_sums(first, n)
        other, sums = _level_sums(second, theirs[index.key])
        sums = sums * (second.row_products.unit / first.row_products.unit)
        reason = _unlike_levels(index, mine, other, sums)
        if reason:
            return reason
    return ""


def _unlike_levels(
    index: GroupIndex, mine: FloatArray, other: GroupIndex, theirs: FloatArray
) -> str:
    """Say how levels, or sums of theirs, (..., n_levels), differ; nothing if they do not."""
    if not len(index) == len(other) == len(index.union(other)[0]):
        return f"their levels of {index.name!r} differ"
    found = theirs[..., other.find(index)]
    if not np.allclose(mine, found, rtol=SAME_SUM, atol=SAME_SUM * np.abs(mine).max()):
        return f"the responses within levels of {index.name!r} differ"
    return ""


def _level_sums(fit: Fit, factor: int) -> tuple[GroupIndex, FloatArray]:
    """Return the levels that have rows, and their weights and sums of the response, (2, n_levels).

    A relationship may hold further levels.
    """
    products = fit.row_products
    block = products.factors[factor]
    sums = (products.undo.T @ block.products[0])[[CONSTANT, -1]]
    if block.counts.all():
        return block.index, np.asarray(sums)
    seen = np.flatnonzero(block.counts)
    return block.index.take(seen), np.asarray(sums[:, seen])
