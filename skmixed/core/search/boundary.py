"""The boundary of the parameter space: singular covariance matrices of the random effects.

A zero variance or a correlation of one is a legal optimum. Whether a singular Omega is one depends
on its structure, since only directions within the structure count.
"""

from __future__ import annotations

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray, eigenpairs, eigenvalues
from skmixed.core.model.evaluation import Evaluation
from skmixed.core.model.structures import Block, Structure

# Eigenvalues of Omega are relative to the largest of the block or to 1, whichever is larger.
ON_BOUNDARY = 1e-6  # less counts as zero where directions off the boundary are sought
DESCENDS = -1e-4  # a flatter slope is not told from the gradient that a search to 1e-8 leaves
NEARLY_ZERO = 1e-4  # tried as an exact zero: a deviation of 1 % of the residual's
SNAP_RISE = 1e-8  # of the criterion, that an exact zero may cost: the default tolerance of a search


def way_off(
    structures: tuple[Structure, ...], omegas: Blocks, evaluation: Evaluation
) -> tuple[int, FloatArray] | None:
    """Find the steepest direction that leaves the boundary and lowers the criterion.

    It comes as the factor to change and the direction, (k, k), positive semidefinite and within the
    structure; None where the Karush-Kuhn-Tucker conditions hold. `omegas` are in scaled units. The
    gradient of `evaluation` is asked for on the boundary only.
    """
    best, found = DESCENDS, None
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
    return bool(values[0] < ON_BOUNDARY * max(1.0, values[-1]))


def _steepest(block: Block, omega: FloatArray, gradient: FloatArray) -> tuple[float, FloatArray]:
    """Return the lowest slope off the boundary and its direction, (k, k), within a block."""
    if block.kind == "unstructured":
        values, vectors = eigenpairs(omega)
        null = vectors[:, values < ON_BOUNDARY * max(1.0, values[-1])]
        slopes, inner = eigenpairs(null.T @ gradient @ null)
        direction = null @ inner[:, 0]
        return float(slopes[0]), np.outer(direction, direction)
    variances = np.diag(omega)
    on_boundary = variances < ON_BOUNDARY * max(1.0, variances.max())
    if block.kind == "identity":
        return float(np.trace(gradient)), np.eye(block.size)
    slopes = np.where(on_boundary, np.diag(gradient), np.inf)
    lowest = int(np.argmin(slopes))
    return float(slopes[lowest]), np.diag(np.eye(block.size)[lowest])


def snapped(structure: Structure, omega: FloatArray) -> FloatArray:
    """Replace the nearly zero eigenvalues of a covariance, (k, k), by exact zeros.

    `omega` is in scaled units and equal to the result where no eigenvalue of a block is below 1e-4
    of its largest or of 1.
    """
    result = omega.copy()
    for block, columns, _ in structure.slices():
        part = omega[columns, columns]
        if block.kind == "unstructured":
            values, vectors = eigenpairs(part)
            small = values < NEARLY_ZERO * max(1.0, values[-1])
            if small.any():
                result[columns, columns] = (vectors * np.where(small, 0.0, values)) @ vectors.T
        else:
            small = np.diag(part) < NEARLY_ZERO * max(1.0, np.diag(part).max())
            result[columns, columns] = np.where(np.outer(small, small), 0.0, part)
    return result
