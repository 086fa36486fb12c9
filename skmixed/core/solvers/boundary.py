"""The boundary of the parameter space: singular covariance matrices of the random effects.

A zero variance or a correlation of one is a legal optimum. Whether a singular Omega is one depends
on its structure, since only directions within the structure count.
"""

from __future__ import annotations

import numpy as np

from skmixed.core.covariance import Block, Structure
from skmixed.core.elimination import Blocks
from skmixed.core.evaluation import Evaluation
from skmixed.core.layout import FloatArray
from skmixed.core.symmetric import eigenpairs, eigenvalues

_ON_BOUNDARY = 1e-6
_DESCENDS = -1e-4
_NEARLY_ZERO = 1e-4


def way_off(
    structures: tuple[Structure, ...], omegas: Blocks, evaluation: Evaluation
) -> tuple[int, FloatArray] | None:
    """Find the steepest direction that leaves the boundary and lowers the criterion.

    Parameters
    ----------
    structures : tuple of Structure
        Of every factor.
    omegas : list of ndarray of shape (k, k)
        Relative covariances in scaled units.
    evaluation : Evaluation
        The model there; its gradient is asked for on the boundary only.

    Returns
    -------
    factor : int
        The factor to change.
    direction : ndarray of shape (k, k)
        Positive semidefinite and within the structure. None is returned in place of the pair
        where the Karush-Kuhn-Tucker conditions hold.
    """
    best, found = _DESCENDS, None
    for factor, (structure, omega) in enumerate(zip(structures, omegas, strict=True)):
        for block, columns, _ in structure.slices():
            part = omega[columns, columns]
            if not _is_on_boundary(part):
                continue
            gradient = evaluation.gradient[factor][columns, columns]
            slope, direction = _steepest(block, part, gradient)
            if slope < best:
                full = np.zeros_like(omega)
                full[columns, columns] = direction
                best, found = slope, (factor, full)
    return found


def _is_on_boundary(omega: FloatArray) -> bool:
    values = eigenvalues(omega)
    return bool(values[0] < _ON_BOUNDARY * max(1.0, values[-1]))


def _steepest(block: Block, omega: FloatArray, gradient: FloatArray) -> tuple[float, FloatArray]:
    if block.kind == "unstructured":
        values, vectors = eigenpairs(omega)
        null = vectors[:, values < _ON_BOUNDARY * max(1.0, values[-1])]
        slopes, inner = eigenpairs(null.T @ gradient @ null)
        direction = null @ inner[:, 0]
        return float(slopes[0]), np.outer(direction, direction)
    variances = np.diag(omega)
    on_boundary = variances < _ON_BOUNDARY * max(1.0, variances.max())
    if block.kind == "identity":
        return float(np.trace(gradient)), np.eye(block.size)
    slopes = np.where(on_boundary, np.diag(gradient), np.inf)
    lowest = int(np.argmin(slopes))
    return float(slopes[lowest]), np.diag(np.eye(block.size)[lowest])


def snapped(structure: Structure, omega: FloatArray) -> FloatArray:
    """Replace the nearly zero eigenvalues of a covariance by exact zeros.

    Parameters
    ----------
    structure : Structure
        Its structure.
    omega : ndarray of shape (k, k)
        In scaled units.

    Returns
    -------
    ndarray of shape (k, k)
        Equal to `omega` where no eigenvalue of a block is below 1e-4 of its largest or of 1.
    """
    result = omega.copy()
    for block, columns, _ in structure.slices():
        part = omega[columns, columns]
        if block.kind == "unstructured":
            values, vectors = eigenpairs(part)
            small = values < _NEARLY_ZERO * max(1.0, values[-1])
            if small.any():
                result[columns, columns] = (vectors * np.where(small, 0.0, values)) @ vectors.T
        else:
            small = np.diag(part) < _NEARLY_ZERO * max(1.0, np.diag(part).max())
            result[columns, columns] = np.where(np.outer(small, small), 0.0, part)
    return result
