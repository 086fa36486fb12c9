"""Where the search of a generalized model begins: without random effects, then their variances.

A few steps of iteratively weighted least squares give beta. With A = Z'W Z and s = -Z'g of every
level there, the variances solve one system a factor, in which D and E are directions of Omega,

    sum over D of sum tr(A E A D) psi_D = sum s'E s - tr(A E):

Fisher's scoring from zero variances. Without random effects beta is that of means over all levels,
and nearer to zero or shifted, so that the family puts beta and the variances where their means are
the same. Small variances are looked for first, because with few rows a
level the approximation can have a spurious minimum at an absurdly large one.
"""

from __future__ import annotations

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.families.family import trials_of, weighted
from skmixed.core.generalized.approximation.modes import Point
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.linalg import WIDE, FloatArray, inverse_felt, traces

_LEAST_SQUARES = 4  # steps at most: what follows does not need more digits
_SETTLED = 1e-4  # of the objective: a smaller gain is not worth another pass
_WEIGHT_SHARE = 1e-10  # of the largest weight: less would leave the columns dependent
_DEPENDENT_SHARE = 1e-12  # eigenvalue of X'W X relative to the largest: less is rounding
_INDISTINCT = 1e-12  # singular value relative to the largest, of directions told from each other


def first_point(observations: Observations) -> Point:
    """Return beta, lambdas and phi to begin with."""
    with np.errstate(over="ignore", invalid="ignore"):
        beta, phi = _without_effects(observations)
        omegas, size = _variances(observations, beta, phi)
        beta, share = _conditional(observations, beta, size)
        omegas = [share * omega for omega in omegas]
    natural = [structure.natural_order for structure in observations.structures]
    zipped = zip(observations.structures, omegas, natural, strict=True)
    lambdas = [s.lam(s.theta(omega, order), order) for s, omega, order in zipped]
    return Point(beta, lambdas, phi)


def point_of(
    observations: Observations, beta: FloatArray, covariances: Blocks, phi: FloatArray
) -> Point:
    """Return parameters in scaled units, those of a model of other rows for instance.

    `beta`, (n_fixed,), and covariances, (k, k) a factor, are in raw units; the point lies inside
    the boundary.
    """
    units = observations.units
    maps = units.to_raw[list(observations.spec.fixed), :-1]
    scaled = np.linalg.lstsq(maps, beta, rcond=None)[0]
    lambdas = []
    zipped = zip(observations.structures, units.random_maps, covariances, strict=True)
    for structure, R, covariance in zipped:
        back = np.linalg.inv(R)
        omega = structure.lifted(back @ covariance @ back.T)
        order = structure.natural_order
        lambdas.append(structure.lam(structure.theta(omega, order), order))
    return Point(np.asarray(scaled, dtype=np.float64), lambdas, phi)


def _without_effects(observations: Observations) -> tuple[FloatArray, FloatArray]:
    """Return beta by least squares of working responses, and the dispersions beside it."""
    family, p = observations.family, observations.rank
    phi, beta, ahead, last = family.first_phi, np.zeros(p), None, np.inf
    for _ in range(_LEAST_SQUARES + 1):
        gram, right, objective = np.zeros((p, p)), np.zeros(p), 0.0
        for rows in observations.blocks:
            eta = family.start(rows.y, rows.weights) if ahead is None else rows.predictor(ahead)
            f, g, w = family.derivatives(eta, rows.y, rows.weights, phi)
            objective += float(f.sum())
            w = np.maximum(w, _WEIGHT_SHARE * w.max(initial=0.0))
            shift = 0.0 if rows.offset is None else rows.offset
            gram += rows.gram(w)
            right += rows.fixed.T @ (w * (eta - shift) - g)
        if not np.isfinite(objective):
            break
        if ahead is not None:
            gained, last = last - objective, objective
            if gained > 0.0:
                beta = ahead
            if gained < _SETTLED * abs(objective):
                break
        ahead = inverse_felt(gram, _DEPENDENT_SHARE) @ right
    if not family.n_dispersions:
        return beta, phi
    blocks = observations.blocks
    y = np.concatenate([rows.y for rows in blocks])
    found = family.moment_phi(y, np.concatenate([rows.predictor(beta) for rows in blocks]))
    return beta, found if np.isfinite(found).all() else phi


def _variances(
    observations: Observations, beta: FloatArray, phi: FloatArray
) -> tuple[Blocks, float]:
    """Return covariances, (k, k) a factor, inside the boundary, and the mean variance of z'b."""
    sums: list[list[FloatArray]] = []
    weight = 0.0
    for rows in observations.blocks:
        _, g, w = observations.family.derivatives(rows.predictor(beta), rows.y, rows.weights, phi)
        weight += float(w.sum())
        parts: list[FloatArray] = []
        for score, own in zip(rows.sums(g), rows.own(w), strict=True):
            s, structure = score[:, 0], observations.structures[len(parts) // 3]
            parts += [_pair_traces(own, structure.basis), own.sum(axis=2), s @ s.T]
        sums.append(parts)
    totals = [np.sum(parts, axis=0) for parts in zip(*sums, strict=True)]
    result, size = [], 0.0
    for factor, structure in enumerate(observations.structures):
        system, total, square = totals[3 * factor : 3 * factor + 3]
        basis = structure.basis
        wanted = np.tensordot(basis, square - total, axes=([1, 2], [0, 1]))
        found = np.zeros(len(basis))
        if np.isfinite(system).all() and np.isfinite(wanted).all():
            found = np.linalg.lstsq(system, wanted, rcond=_INDISTINCT)[0]
        result.append(structure.lifted(np.tensordot(found, basis, axes=1)))
        size += float(np.vdot(result[-1], total)) / weight
    return result, size


def _pair_traces(own: FloatArray, basis: FloatArray) -> FloatArray:
    """Return tr(A E A D) summed over levels, (d, d), of A, (k, k, n_levels), and E, (d, k, k)."""
    k, _, n_levels = own.shape
    if k >= WIDE and n_levels == 1:
        along = own[:, :, 0] @ basis
        return traces(along, along)
    flat = own.reshape(k * k, n_levels)
    quartic = (flat @ flat.T).reshape(k, k, k, k)
    half = np.tensordot(basis, quartic, axes=([1, 2], [1, 2]))
    return np.asarray(np.tensordot(half, basis, axes=([1, 2], [2, 1])))


def _conditional(
    observations: Observations, beta: FloatArray, size: float
) -> tuple[FloatArray, float]:
    """Return beta at the center of random effects, and by what their variances are multiplied.

    Given are beta of the means over all levels, and the mean variance that is read off them.
    """
    family, p = observations.family, len(beta)
    behind = family.variance_behind(size)
    if not size > 0.0 or behind == size:
        return beta, 1.0
    gram, right = np.zeros((p, p)), np.zeros(p)
    for rows in observations.blocks:
        shift = 0.0 if rows.offset is None else rows.offset
        center = family.center_behind(rows.predictor(beta), behind)
        gram += rows.gram(trials_of(rows.weights, len(rows.y)))
        right += rows.fixed.T @ weighted((center - shift,), rows.weights)[0]
    found = inverse_felt(gram, _DEPENDENT_SHARE) @ right
    if not np.isfinite(found).all() or not np.isfinite(behind):
        return beta, 1.0
    return found, behind / size
