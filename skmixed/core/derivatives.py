"""Second derivatives of the criterion in the relative covariances Omega.

Notation as in `skmixed.core.evaluation`: w = (-beta, 1), U = Z'V^-1[X y] and F = Z'V^-1 Z of every
level, V_b = (X'V^-1 X)^-1 and W_m the middle matrix. E and D are symmetric directions of Omega of
one factor each, Y_E = sum U'E U over its levels, h_E = (Y_E w)[:p] and q_E = w'Y_E w / sigma^2.
"""

from __future__ import annotations

import numpy as np

from skmixed.core.evaluation import Evaluation
from skmixed.core.layout import FloatArray

Directions = list[tuple[int, FloatArray]]
"""Positions of factors, with t symmetric directions of shape (t, k, k) each."""


def average_information(evaluation: Evaluation, directions: Directions) -> FloatArray:
    """Return the average information along t directions, (t, t), for any factors.

    With the working variates f_E = Z E u, it is f'P f / sigma^2 - q q'/nu, where sigma^2 is
    profiled out (Gilmour, Thompson & Cullis 1995, doi:10.2307/2533274). It is positive semidefinite
    and equals the exact second derivatives of the criterion on average over y.
    """
    scores = evaluation.scores()
    n_directions = sum(len(matrices) for _, matrices in directions)
    variates = [np.zeros((len(u), n_directions, u.shape[1])) for u in scores]
    start = 0
    for factor, matrices in directions:
        stop = start + len(matrices)
        variates[factor][:, start:stop] = np.matmul(matrices, scores[factor]).transpose(1, 0, 2)
        start = stop
    products = evaluation.problem.multiply(variates)
    through = np.zeros((n_directions, n_directions))
    for variate, product in zip(variates, products, strict=True):
        for rows, columns in zip(variate, product, strict=True):
            through += rows @ columns.T
    through = evaluation.factorisation.reduce(products).remaining(through)
    y = _response_terms(evaluation, directions)
    h, q = y @ evaluation.contrast, _quadratic(evaluation, y)
    fixed = h[:, :-1] @ evaluation.beta_covariance @ h[:, :-1].T
    information = (through - fixed) / evaluation.sigma2
    return np.asarray(information - np.outer(q, q) / evaluation.problem.degrees)


def _response_terms(evaluation: Evaluation, directions: Directions) -> FloatArray:
    """Return Y_E of every direction, of shape (t, p + 1, p + 1)."""
    m = len(evaluation.contrast)
    return np.concatenate(
        [
            matrices.reshape(len(matrices), -1) @ evaluation.grams[factor]
            for factor, matrices in directions
        ]
    ).reshape(-1, m, m)


def _quadratic(evaluation: Evaluation, y: FloatArray) -> FloatArray:
    """Return q_E of every direction, of shape (t,)."""
    w = evaluation.contrast
    return np.asarray(y @ w @ w / evaluation.sigma2)


def exact_hessian(evaluation: Evaluation, directions: Directions) -> FloatArray:
    """Return the exact second derivatives along t directions, (t, t), for one grouping factor.

    REML: sum tr(F E (2 U W_m U' - F) D) - tr(W_m Y_E W_m Y_D) + (1 - 1/nu) q_E q_D;
    ML: the last two terms are -(2/sigma^2) h_E'V_b h_D - q_E q_D / nu. All comes from two Gram
    matrices over levels. `directions` has one entry.
    """
    ((_, matrices),) = directions
    flat = matrices.reshape(len(matrices), -1)
    hessian = flat @ _quartic(evaluation) @ flat.T
    hessian = (hessian + hessian.T) / 2.0
    y = _response_terms(evaluation, directions)
    q = _quadratic(evaluation, y)
    if evaluation.problem.spec.method == "reml":
        my = evaluation.middle @ y
        hessian -= my.reshape(len(y), -1) @ my.transpose(0, 2, 1).reshape(len(y), -1).T
        return np.asarray(hessian + (1.0 - 1.0 / evaluation.problem.degrees) * np.outer(q, q))
    h = (y @ evaluation.contrast)[:, :-1]
    hessian -= 2.0 / evaluation.sigma2 * (h @ evaluation.beta_covariance @ h.T)
    return np.asarray(hessian - np.outer(q, q) / evaluation.problem.degrees)


def _quartic(evaluation: Evaluation) -> FloatArray:
    """Return the matrix whose form in vec E and vec D is sum tr(F E (2 U W_m U' - F) D).

    Of shape (k * k, k * k).
    """
    (cross,) = evaluation.cross
    information = evaluation.factorisation.information(0)
    k, _, n_levels = information.shape
    weighted = np.matmul(2.0 * evaluation.middle, cross)
    times = evaluation.problem.model.times
    second = np.einsum("apl,bpl->abl", cross, weighted)
    second -= information if times is None else information * times
    quartic = information.reshape(k * k, n_levels) @ second.reshape(k * k, n_levels).T
    return np.asarray(quartic.reshape(k, k, k, k).transpose(1, 2, 3, 0).reshape(k * k, k * k))
