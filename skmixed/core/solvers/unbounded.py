"""Likelihoods without a maximum: random effects that explain the response without a rest.

Then the residual sum of squares r^2 falls with the inverse square of the relative factors for ever,
and with more observations than effects the criterion falls with its logarithm. Such a model is
fitted as if the response had a little noise of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from skmixed.core.elimination import Blocks, LostPrecisionError
from skmixed.core.evaluation import Evaluation
from skmixed.core.least_squares import least_squares
from skmixed.core.problem import Problem
from skmixed.core.solvers.report import SolverReport

_SUSPICIOUS = 1e-8
_LARGE, _FACTOR = 2.0**34, 4.0
_FALLS = 0.1
_NOTHING = 1e-3
_DIGITS = 64.0 * float(np.finfo(float).eps)

Solution = tuple[Evaluation, SolverReport]


class NoMaximumError(ArithmeticError):
    """The criterion of a problem falls without end."""


def evaluate(problem: Problem, factors: Blocks) -> Evaluation:
    """Evaluate the criterion, if it has a minimum.

    Parameters
    ----------
    problem : Problem
        The criterion.
    factors : list of ndarray of shape (k, k)
        lambda of every used factor.

    Returns
    -------
    Evaluation
        The model there.

    Raises
    ------
    NoMaximumError
        If next to nothing is left for the residual and the criterion falls without end.
    LostPrecisionError
        If it does not, but the cross-products have too few digits.
    """
    try:
        evaluation = problem.evaluate(factors)
    except LostPrecisionError:
        if is_unbounded(problem):
            raise NoMaximumError from None
        raise
    total = float(problem.model.gram[-1, -1])
    if evaluation.lower[-1, -1] ** 2 < _SUSPICIOUS * total and is_unbounded(problem):
        raise NoMaximumError
    return evaluation


def solve_bounded(solve: Callable[[Problem], Solution], problem: Problem) -> Solution:
    """Search, with a little noise in the response if there is no optimum without.

    Parameters
    ----------
    solve : callable
        The search; it evaluates the criterion by `evaluate`.
    problem : Problem
        What is searched.

    Returns
    -------
    evaluation : Evaluation
        The model at the optimum; its problem is the one with the noise, if there is any.
    report : SolverReport
        How it got there.
    """
    try:
        return solve(problem)
    except NoMaximumError:
        evaluation, report = solve(problem.with_noise())
        return evaluation, replace(report, is_unbounded=True)


def is_unbounded(problem: Problem) -> bool:
    """Tell whether the criterion falls without end as the relative covariances grow.

    Parameters
    ----------
    problem : Problem
        The criterion.

    Returns
    -------
    bool
        Whether, far out, it falls and r^2 goes to zero as far as its digits tell. That is where
        it would go by its values at two points, or what is left within the levels of a random
        intercept where that is kept.
    """
    try:
        first, second = (_far_out(problem, size) for size in (_LARGE, _FACTOR**2 * _LARGE))
    except LostPrecisionError:
        return True
    if second.criterion > first.criterion - _FALLS:
        return False
    model = problem.model
    of_all = float(model.gram[-1, -1])
    if model.within is not None:
        of_all = max(least_squares(model.within)[1], 0.0)
        if of_all <= _DIGITS**2 * model.gram[-1, -1]:
            return True
        if len(model.own) == 1:
            return False
    squares = [float(evaluation.lower[-1, -1] ** 2) for evaluation in (first, second)]
    limit = (_FACTOR**2 * squares[1] - squares[0]) / (_FACTOR**2 - 1.0)
    return limit <= _DIGITS * of_all and squares[1] <= _NOTHING * of_all


def _far_out(problem: Problem, size: float) -> Evaluation:
    """Evaluate where the random effects have `size` times the information of the rows."""
    factors = []
    for factor, own in enumerate(problem.model.own):
        k, n_levels = own.shape[0], problem.model.n_levels(factor)
        information = float(np.trace(problem.model.total(factor))) / (k * n_levels)
        factors.append(np.sqrt(size / information) * np.eye(k))
    return problem.evaluate(factors)
