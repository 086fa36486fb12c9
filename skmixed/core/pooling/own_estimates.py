"""The estimates of all groups by themselves, for responses of a family, by Newton's method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.families.family import Family
from skmixed.core.linalg import BoolArray, FloatArray, IntArray
from skmixed.core.pooling.stage import UNINFORMED, information_eigenpairs
from skmixed.core.sums.summation import level_sums

_MOST_OWN_STEPS = 30  # ten arrive; without a finite estimate, all are as long as the first
_ETA_SETTLED = 1e-6  # of eta, root mean square: the next step is its square
_LONGEST_STEP = 5.0  # of eta, root mean square: exp of a longer one may overflow
_HALF = 0.5  # of a step that led uphill


@dataclass(frozen=True, slots=True, eq=False)
class OwnEstimates:
    """Penalised maximum likelihood within every group."""

    coef: FloatArray  # (k, n_groups), NaN where there is no finite or no single estimate
    information: FloatArray  # (k, k, n_groups), with the penalty


def own_estimates(
    columns: FloatArray,
    y: FloatArray,
    weights: FloatArray | None,
    codes: IntArray,
    n_groups: int,
    family: Family,
    phi: FloatArray,
    penalty: FloatArray,
    start: FloatArray,
) -> OwnEstimates:
    """Fit `columns`, (n, k), to y, (n,), within every group, from coefficients (k,) on.

    `codes`, (n,), says which group a row is of; `penalty`, (k,), is of the squares in -2
    log-likelihood.
    """
    k = columns.shape[1]
    coef = np.repeat(start[:, None], n_groups, axis=1)
    information = np.zeros((k, k, n_groups))
    active = np.bincount(codes, minlength=n_groups) > 0
    settled = np.zeros(n_groups, dtype=bool)
    step, last = np.zeros((k, n_groups)), np.full(n_groups, np.inf)
    for _ in range(_MOST_OWN_STEPS):
        rows = np.flatnonzero(active[codes])
        if not len(rows):
            break
        part, own = columns[rows], codes[rows]
        own_weights = None if weights is None else weights[rows]
        with np.errstate(over="ignore", invalid="ignore"):
            eta = np.einsum("ij,ji->i", part, coef[:, own])
            f, g, w = family.derivatives(eta, y[rows], own_weights, phi)
        value = np.bincount(own, f, minlength=n_groups) + 0.5 * penalty @ coef**2
        uphill = active & ~(value <= last + _ETA_SETTLED**2 * np.abs(last))
        step[:, uphill] *= _HALF
        coef[:, uphill] -= step[:, uphill]
        forward = active & ~uphill
        if not forward.any():
            continue
        last = np.where(forward, value, last)
        found = level_sums(own, n_groups, list(part.T), part, w)
        found[np.arange(k), np.arange(k)] += penalty[:, None]
        sums = [np.bincount(own, g * z, minlength=n_groups) for z in part.T]
        slope = np.array(sums, dtype=float) + penalty[:, None] * coef
        information[:, :, forward] = found[:, :, forward]
        move = np.where(forward, -_solved(found, slope), 0.0)
        size = np.sqrt(_mean_squares(part, move, own, n_groups))
        move *= np.minimum(1.0, _LONGEST_STEP / np.maximum(size, _LONGEST_STEP))
        coef += move
        step = np.where(forward, move, step)
        done = forward & (size < _ETA_SETTLED)
        settled |= done
        active &= ~done
    coef[:, ~settled | ~_is_known(information)] = np.nan
    return OwnEstimates(coef, information)


def _solved(matrices: FloatArray, vectors: FloatArray) -> FloatArray:
    """Solve systems (k, k, n_groups) for vectors (k, n_groups), along what is known about."""
    values, along = information_eigenpairs(np.moveaxis(np.nan_to_num(matrices), -1, 0))
    known = values > UNINFORMED
    inverse = np.where(known, 1.0 / np.where(known, values, 1.0), 0.0)
    return np.asarray(np.einsum("gij,gj,gkj,kg->ig", along, inverse, along, vectors, optimize=True))


def _is_known(information: FloatArray) -> BoolArray:
    """Tell where information (k, k, n_groups) determines all coefficients, (n_groups,)."""
    values, _ = information_eigenpairs(np.moveaxis(np.nan_to_num(information), -1, 0))
    return np.asarray((values > UNINFORMED).all(axis=1), dtype=bool)


def _mean_squares(
    columns: FloatArray, move: FloatArray, codes: IntArray, n_groups: int
) -> FloatArray:
    """Return the mean square of what a move, (k, n_groups), does to eta, in every group."""
    change = np.einsum("ij,ji->i", columns, move[:, codes])
    counts = np.maximum(np.bincount(codes, minlength=n_groups), 1)
    return np.bincount(codes, change**2, minlength=n_groups) / counts
