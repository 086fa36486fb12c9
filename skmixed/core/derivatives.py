"""Gradient and second derivatives of the criterion in the relative covariances Omega.

Notation: w = (-beta, 1), U = Z'V^-1[X y] and F = Z'V^-1 Z of every level, W_m = blockdiag(V_b, 0)
+ w w'/sigma^2 (REML) or w w'/sigma^2 (ML) with V_b = (X'V^-1 X)^-1. E and D are symmetric
directions of Omega of one factor each, Y_E = sum U'E U over its levels, q_E = w'Y_E w / sigma^2.
"""

from __future__ import annotations

import numpy as np

from skmixed.core.elimination import Blocks
from skmixed.core.layout import FloatArray
from skmixed.core.problem import Evaluation

Directions = list[tuple[int, FloatArray]]
"""Factors with symmetric matrices of shape (k, k)."""


def middle_matrix(evaluation: Evaluation) -> FloatArray:
    """Return W_m, of shape (p + 1, p + 1)."""
    w = evaluation.contrast
    middle = np.outer(w, w) / evaluation.sigma2
    if evaluation.problem.spec.method == "reml":
        middle[:-1, :-1] += evaluation.beta_covariance
    return middle


def gradient(evaluation: Evaluation) -> Blocks:
    """Differentiate the criterion in Omega of every factor.

    Parameters
    ----------
    evaluation : Evaluation
        The model at one value of the factors.

    Returns
    -------
    list of ndarray of shape (k, k)
        G = sum F - sum U W_m U' over levels, so that the criterion changes by tr(G dOmega).
    """
    middle = middle_matrix(evaluation)
    return [
        evaluation.factorisation.total_information(factor)
        - np.einsum("apbq,pq->ab", level_grams(cross), middle)
        for factor, cross in enumerate(evaluation.cross)
    ]


def level_grams(cross: FloatArray) -> FloatArray:
    """Return the sum over levels of the outer products of U with itself.

    Parameters
    ----------
    cross : ndarray of shape (k, m, n_levels)
        U.

    Returns
    -------
    ndarray of shape (k, m, k, m)
        The sums.
    """
    k, m, n_levels = cross.shape
    flat = cross.reshape(k * m, n_levels)
    return np.asarray((flat @ flat.T).reshape(k, m, k, m))


def average_information(evaluation: Evaluation, directions: Directions) -> FloatArray:
    """Average information: positive semidefinite, for any factors.

    With the working variates f_E = Z E u (Gilmour, Thompson & Cullis 1995, doi:10.2307/2533274),
    AI = f'P f / sigma^2 - q q'/nu, where sigma^2 is profiled out. It equals the exact second
    derivatives of the criterion on average over y.

    Parameters
    ----------
    evaluation : Evaluation
        The model at one value of the factors.
    directions : list of (int, ndarray)
        t directions.

    Returns
    -------
    ndarray of shape (t, t)
        The information.
    """
    problem, sigma2 = evaluation.problem, evaluation.sigma2
    scores = evaluation.scores()
    variates = [np.zeros((len(u), len(directions), u.shape[1])) for u in scores]
    for column, (factor, matrix) in enumerate(directions):
        variates[factor][:, column] = matrix @ scores[factor]
    products = problem.multiply(variates)
    plain = sum(
        np.einsum("aml,anl->mn", variate, product, optimize=True)
        for variate, product in zip(variates, products, strict=True)
    )
    through_v = np.asarray(plain - evaluation.factorisation.reduce(products).gram())
    h, q = _response_terms(evaluation, directions)
    fixed = h @ evaluation.beta_covariance @ h.T
    return (through_v - fixed) / sigma2 - np.outer(q, q) / problem.degrees


def _response_terms(
    evaluation: Evaluation, directions: Directions
) -> tuple[FloatArray, FloatArray]:
    """Return h_E = (Y_E w)[:p] and q_E of every direction."""
    grams = [level_grams(cross) for cross in evaluation.cross]
    w = evaluation.contrast
    through = np.stack(
        [np.einsum("apbq,ab,q->p", grams[factor], matrix, w) for factor, matrix in directions]
    )
    return through[:, :-1], through @ w / evaluation.sigma2


def exact_hessian(evaluation: Evaluation, directions: Directions) -> FloatArray:
    """Exact second derivatives for one grouping factor.

    Parameters
    ----------
    evaluation : Evaluation
        The model at one value of the factors; it has one factor.
    directions : list of (int, ndarray)
        t directions.

    Returns
    -------
    ndarray of shape (t, t)
        Second derivatives of the criterion along the directions.

    Notes
    -----
    REML: sum tr(F E (2 U W_m U' - F) D) - tr(W_m Y_E W_m Y_D) + (1 - 1/nu) q_E q_D;
    ML: the last two terms are -(2/sigma^2) h_E'V_b h_D - q_E q_D / nu, with h_E = (Y_E w)[:p].
    All comes from two Gram matrices over levels.
    """
    problem = evaluation.problem
    (cross,) = evaluation.cross
    information = evaluation.factorisation.information(0)
    k, _, n_levels = information.shape
    middle = middle_matrix(evaluation)
    through = np.einsum("apl,bpl->abl", cross, np.matmul(middle, cross), optimize=True)
    second = (2.0 * through - information).reshape(k * k, n_levels)
    quartic = (information.reshape(k * k, n_levels) @ second.T).reshape(k, k, k, k)
    matrices = np.stack([matrix for _, matrix in directions])
    hessian = np.einsum("ijmn,ejm,dni->ed", quartic, matrices, matrices, optimize=True)
    hessian = (hessian + hessian.T) / 2.0
    grams = level_grams(cross)
    y = np.einsum("apbq,eab->epq", grams, matrices, optimize=True)
    w = evaluation.contrast
    h = (y @ w)[:, :-1]
    q = y @ w @ w / evaluation.sigma2
    if problem.spec.method == "reml":
        my = middle @ y
        hessian -= np.einsum("epq,dqp->ed", my, my, optimize=True)
        return np.asarray(hessian + (1.0 - 1.0 / problem.degrees) * np.outer(q, q))
    hessian -= 2.0 / evaluation.sigma2 * (h @ evaluation.beta_covariance @ h.T)
    return np.asarray(hessian - np.outer(q, q) / problem.degrees)
