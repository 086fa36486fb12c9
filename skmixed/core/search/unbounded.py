"""Likelihoods without a maximum: random effects that explain the response without a rest.

Then the residual sum of squares r^2 falls with the inverse square of the lambdas for ever,
and with more observations than effects the criterion falls with its logarithm. Such a model is
fitted as if the response had a little noise of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.linalg import eigenpairs, least_squares, semidefinite_root
from skmixed.core.model.evaluation import Evaluation, evaluate
from skmixed.core.model.problem import Problem

_SUSPICIOUS = 1e-8  # r^2 as a share of y'Wy: real data leave more, and a look far out is cheap
_FAR_OUT = 2.0**34  # relative variances, in units of the rows' information: 1e10, none is so large
_FARTHER = 4.0  # by which lambda grows between the two points: r^2 would fall to a sixteenth
_FALLS = 0.1  # of the criterion between the points: one observation more than effects makes it 2.8
_PULLED = 1e8  # relative variance, likewise: no data have it, and a penalty may be behind it
_VANISHING = 1e-3  # r^2 at the far point as a share of all: what is not on its way to zero has more
_DIGITS = 64.0 * float(np.finfo(float).eps)  # relative rounding of r^2 extrapolated


class NoMaximumError(ArithmeticError):
    """The criterion of a problem falls without end."""


def evaluate_bounded(problem: Problem, lambdas: Blocks, below: float = np.inf) -> Evaluation:
    """Evaluate the criterion at the lambdas, (k, k), of every factor, if it has a minimum.

    Raises `NoMaximumError` if next to nothing, and less than `below`, is left for the residual and
    the criterion falls without end, `LostPrecisionError` if it does not, but the cross-products
    have too few digits. A response with noise of its own has a minimum.
    """
    if problem.is_noisy:
        return evaluate(problem, lambdas)
    try:
        evaluation = evaluate(problem, lambdas)
    except LostPrecisionError:
        if is_unbounded(problem, lambdas):
            raise NoMaximumError from None
        raise
    square = evaluation.square
    if square < below and has_vanished(problem, square) and is_unbounded(problem, lambdas):
        raise NoMaximumError
    return evaluation


def has_vanished(problem: Problem, square: Any) -> Any:
    """Tell whether so little is left for the residual that the criterion may have no minimum.

    The residual sum of squares may be one for each of many searches, (n,).
    """
    is_bounded = problem.is_noisy or problem.sigma2 is not None
    least = 0.0 if is_bounded else _SUSPICIOUS * float(problem.model.gram[-1, -1])
    return square < least


def is_unbounded(problem: Problem, lambdas: Blocks | None = None) -> bool:
    """Tell whether the criterion falls without end as relative covariances grow.

    It does if, far out, it falls and r^2 goes to zero as far as its digits tell. Either all
    covariances grow, or those alone that are large at the lambdas, (k, k) of every factor.
    """
    if problem.is_noisy or problem.sigma2 is not None:
        return False
    far_out = [criterion_far_out(problem)]
    if lambdas is not None:
        far_out.append(criterion_far_out(problem, lambdas))
    return min(far_out) < np.inf


def runaway(problem: Problem) -> int | None:
    """Return the first factor whose penalty pulls a variance up for ever, None without one.

    A penalty that falls with a variance, as c log of it, has a minimum beside the likelihood where
    more than c effects have it, besides those that the fixed columns stand for.
    """
    if not problem.penalties:
        return None
    ordinary = [
        _unit(problem, f) * np.eye(structure.size) for f, structure in enumerate(problem.structures)
    ]
    for factor, penalty in enumerate(problem.penalties):
        for _, place, _ in penalty.parts:
            for columns in _deviations(problem, factor, place):
                large = [np.zeros_like(omega) for omega in ordinary]
                large[factor][columns, columns] = ordinary[factor][columns, columns]
                if _is_pulled(problem, ordinary, large):
                    return factor
    return None


def runaway_beside(problem: Problem, lambdas: Blocks) -> int | None:
    """Return a factor whose penalty has pulled its variance up together with others, or None.

    That is where a search ended, at lambdas, (k, k) of every factor, far out: terms that share
    effects may each be held alone.
    """
    if not problem.penalties:
        return None
    units = [_unit(problem, factor) for factor in range(len(problem.structures))]
    traces = [float(np.square(lam).sum()) / u for lam, u in zip(lambdas, units, strict=True)]
    largest = int(np.argmax(traces))
    if traces[largest] < _PULLED or not _is_pulled(problem, *_parts(units, lambdas)):
        return None
    return largest


def _deviations(problem: Problem, factor: int, place: slice) -> list[list[int]]:
    """Return the columns of every deviation of a factor that are in some place."""
    every = [list(columns) for columns in problem.structures[factor].deviations]
    return [columns for columns in every if place.start <= columns[0] < place.stop]


def _is_pulled(problem: Problem, ordinary: Blocks, large: Blocks) -> bool:
    """Tell whether the criterion falls, or hardly rises, as variances grow beside others."""
    try:
        first, second = _two_far_out(problem, ordinary, large)
    except LostPrecisionError:
        return False
    return second.criterion < first.criterion + _FALLS


def _two_far_out(problem: Problem, rest: Blocks, large: Blocks) -> tuple[Evaluation, Evaluation]:
    """Evaluate with some covariances far out, and four times as far, beside others."""
    first, second = (
        evaluate(
            problem,
            [semidefinite_root(a + size * b) for a, b in zip(rest, large, strict=True)],
        )
        for size in (_FAR_OUT, _FARTHER**2 * _FAR_OUT)
    )
    return first, second


def criterion_far_out(problem: Problem, lambdas: Blocks | None = None) -> float:
    """Return how low the criterion is far out in a direction in which it falls without end.

    That is where r^2 has no digits any more. The direction is that of covariances that are large at
    the lambdas, (k, k) of every factor, or of all. Infinite where the criterion has a minimum,
    minus infinity where digits are lost on the way.
    """
    units = [_unit(problem, factor) for factor in range(len(problem.structures))]
    if lambdas is not None:
        return _falling_along(problem, *_parts(units, lambdas))
    whole = [unit * np.eye(s.size) for unit, s in zip(units, problem.structures, strict=True)]
    return _falling_along(problem, [0.0 * omega for omega in whole], whole)


def _unit(problem: Problem, factor: int) -> float:
    """Return the variance whose effects have the information of the rows of a level."""
    own = problem.model.own[factor]
    effects = own.shape[0] * problem.model.n_levels(factor)
    return float(effects / np.trace(problem.model.total(factor)))


def _parts(units: list[float], lambdas: Blocks) -> tuple[Blocks, Blocks]:
    """Split the covariances into what is of ordinary size and what is large, relative to that."""
    spectra = [eigenpairs(lam @ lam.T) for lam in lambdas]
    sizes = [values / unit for unit, (values, _) in zip(units, spectra, strict=True)]
    largest = max(1.0, *(float(size[-1]) for size in sizes))
    rest, large = [], []
    for size, (values, vectors) in zip(sizes, spectra, strict=True):
        is_large = size > np.sqrt(largest)
        rest.append((vectors * np.where(is_large, 0.0, values)) @ vectors.T)
        large.append((vectors * np.where(is_large, values / largest, 0.0)) @ vectors.T)
    return rest, large


def _falling_along(problem: Problem, rest: Blocks, large: Blocks) -> float:
    """Return how low the criterion falls as some covariances grow, infinity if not for ever."""
    try:
        first, second = _two_far_out(problem, rest, large)
    except LostPrecisionError:
        return -np.inf
    if second.criterion > first.criterion - _FALLS:
        return np.inf
    model = problem.model
    of_all = float(model.gram[-1, -1])
    if model.within is not None:
        of_all = max(least_squares(model.within)[1], 0.0)
        if of_all <= _DIGITS**2 * model.gram[-1, -1]:
            return -np.inf
        if len(model.own) == 1:
            return np.inf
    # r^2 goes where its values at two points say, or what is left within levels where that is kept
    squares = [evaluation.square for evaluation in (first, second)]
    limit = (_FARTHER**2 * squares[1] - squares[0]) / (_FARTHER**2 - 1.0)
    if limit > _DIGITS * of_all or squares[1] > _VANISHING * of_all:
        return np.inf
    farther = max(0.0, np.log(squares[1] / (_DIGITS * of_all)) / np.log(_FARTHER**2))
    return float(second.criterion - farther * (first.criterion - second.criterion))
