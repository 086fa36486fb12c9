"""Likelihoods without a maximum: random effects that explain the response without a rest.

Then the residual sum of squares r^2 falls with the inverse square of the lambdas for ever,
and with more observations than effects the criterion falls with its logarithm. Such a model is
fitted as if the response had a little noise of its own.
"""

from __future__ import annotations

import numpy as np

from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.linalg import least_squares
from skmixed.core.model.evaluation import Evaluation, evaluate
from skmixed.core.model.problem import Problem

_SUSPICIOUS = 1e-8  # r^2 as a share of y'Wy: real data leave more, and a look far out is cheap
_FAR_OUT = 2.0**34  # relative variances, in units of the rows' information: 1e10, none is so large
_FARTHER = 4.0  # by which lambda grows between the two points: r^2 would fall to a sixteenth
_FALLS = 0.1  # of the criterion between the points: one observation more than effects makes it 2.8
_VANISHING = 1e-3  # r^2 at the far point as a share of all: what is not on its way to zero has more
_DIGITS = 64.0 * float(np.finfo(float).eps)  # relative rounding of r^2 extrapolated


class NoMaximumError(ArithmeticError):
    """The criterion of a problem falls without end."""


def evaluate_bounded(problem: Problem, lambdas: Blocks) -> Evaluation:
    """Evaluate the criterion at the lambdas, (k, k), of every factor, if it has a minimum.

    Raises `NoMaximumError` if next to nothing is left for the residual and the criterion falls
    without end, `LostPrecisionError` if it does not, but the cross-products have too few digits. A
    response with noise of its own has a minimum.
    """
    if problem.is_noisy:
        return evaluate(problem, lambdas)
    try:
        evaluation = evaluate(problem, lambdas)
    except LostPrecisionError:
        if is_unbounded(problem):
            raise NoMaximumError from None
        raise
    total = float(problem.model.gram[-1, -1])
    if evaluation.square < _SUSPICIOUS * total and is_unbounded(problem):
        raise NoMaximumError
    return evaluation


def is_unbounded(problem: Problem) -> bool:
    """Tell whether the criterion falls without end as the relative covariances grow.

    It does if, far out, it falls and r^2 goes to zero as far as its digits tell. That is where it
    would go by its values at two points, or what is left within the levels of a random intercept
    where that is kept.
    """
    try:
        first, second = (_far_out(problem, size) for size in (_FAR_OUT, _FARTHER**2 * _FAR_OUT))
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
    squares = [evaluation.square for evaluation in (first, second)]
    limit = (_FARTHER**2 * squares[1] - squares[0]) / (_FARTHER**2 - 1.0)
    return limit <= _DIGITS * of_all and squares[1] <= _VANISHING * of_all


def _far_out(problem: Problem, size: float) -> Evaluation:
    """Evaluate where the random effects have `size` times the information of the rows."""
    lambdas = []
    for factor, own in enumerate(problem.model.own):
        k, n_levels = own.shape[0], problem.model.n_levels(factor)
        information = float(np.trace(problem.model.total(factor))) / (k * n_levels)
        lambdas.append(np.sqrt(size / information) * np.eye(k))
    return evaluate(problem, lambdas)
