"""Newton's method on many data sets of one design at once, in lock-step.

Each data set has its own theta, pivot order and trust region; those that have arrived drop out.
What only few of them need (leaving the boundary, a search that does not settle) is left to
`Newton`, which the caller is told of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.batch.stack import LockstepData, evaluate_stack
from skmixed.core.linalg import (
    ACCEPTED_RATIO,
    FAIR_RATIO,
    FLAT_DIRECTION,
    GOOD_RATIO,
    INTERIOR,
    POOR_RATIO,
    WIDENING,
    BoolArray,
    FloatArray,
    IntArray,
)
from skmixed.core.model.evaluation import CRITERION_DIGITS, CRITERION_ROUNDING
from skmixed.core.model.structures import PIVOT_RATIO, ZERO_PIVOT, Structure
from skmixed.core.search.boundary import DESCENDS, NEARLY_ZERO, ON_BOUNDARY, SNAP_RISE
from skmixed.core.search.newton import NO_GAIN, ROUNDING_MARGIN, SMALL_GAIN, SMALLEST_RADIUS

_MOST_ITERATIONS = 60  # a search that takes more is left to `Newton`
_ARRIVED = 1e-7  # predicted decrease of a last step: after it, next to nothing is left
_CHUNK_NUMBERS = 2**16  # in the largest array of a chunk: half a megabyte stays in the cache
_LEAST_CHUNK = 16  # data sets at once: with fewer, calls of numpy cost more than the arithmetic
_HALVINGS = 40  # of the bracket of a shift: to 1e-12 of it


@dataclass(frozen=True, slots=True, eq=False)
class Optima:
    """Where the searches of R data sets ended."""

    lambdas: FloatArray  # (R, k, k), in scaled units, lower triangular
    criterion: FloatArray  # (R,), but for a constant; infinite where no point could be evaluated
    beta: FloatArray  # (R, p), coefficients of the scaled columns
    sigma2: FloatArray  # (R,), in scaled units
    settled: BoolArray  # (R,), whether nothing leads down from where the search arrived


def solve_stack(stack: LockstepData, start: FloatArray) -> Optima:
    """Minimise the criterion of every data set from one relative covariance, (k, k).

    Singular optima are searched for again from the identity, and the better end is kept.
    """
    n_elements = stack.response.shape[0] * (stack.fixed.shape[1] + 1) * stack.response.shape[2]
    chunk = max(_LEAST_CHUNK, _CHUNK_NUMBERS // n_elements)
    parts = [
        _solve_chunk(stack.take(slice(first, first + chunk)), start)
        for first in range(0, len(stack), chunk)
    ]
    return Optima(*(np.concatenate([getattr(p, n) for p in parts]) for n in Optima.__slots__))


def _solve_chunk(stack: LockstepData, start: FloatArray) -> Optima:
    """Minimise the criterion of as many data sets as are worked on at once."""
    first = _finished(_StackSearch(stack, start))
    diagonals = np.diagonal(first.lambdas, axis1=1, axis2=2)
    again = np.flatnonzero((diagonals == 0.0).any(axis=1))
    if len(again):
        second = _finished(_StackSearch(stack.take(again), np.eye(len(start))))
        better = second.criterion < first.criterion[again] - SNAP_RISE
        for name in Optima.__slots__:
            getattr(first, name)[again[better]] = getattr(second, name)[better]
    return first


class _StackSearch:
    """Where R searches stand, each with its theta, (t,), radius and pivot order."""

    def __init__(self, stack: LockstepData, start: FloatArray) -> None:
        self.stack = stack
        n, k = len(stack), len(start)
        self.orders = np.tile(np.arange(k), (n, 1))
        self.patterns = np.tile(stack.structure.patterns(np.arange(k)), (n, 1, 1, 1))
        self.theta = np.zeros((n, self.patterns.shape[1]))
        self.settled = np.zeros(n, dtype=bool)
        self.move_to(np.tile(start, (n, 1, 1)), np.arange(n))
        self.point = evaluate_stack(stack, self.lambdas(np.arange(n)), self.patterns)
        self.radius = np.maximum(1.0, np.linalg.norm(self.theta, axis=1) / 2.0)
        self.run()

    def lambdas(self, which: IntArray) -> FloatArray:
        """Return lambda of the chosen data sets, (len(which), k, k)."""
        return np.asarray(np.einsum("ra,raij->rij", self.theta[which], self.patterns[which]))

    def move_to(self, omegas: FloatArray, which: IntArray) -> None:
        """Put some data sets at given covariances, in the best order of their columns."""
        self.orders[which] = _pivoted(self.stack.structure, omegas, self.orders[which])
        natural = self.stack.structure.patterns(self.stack.structure.natural_order)
        places = np.argsort(self.orders[which], axis=1)
        self.patterns[which] = natural[:, places].transpose(1, 0, 2, 3)
        self.theta[which] = _theta(self.stack.structure, omegas, self.orders[which])

    def run(self) -> None:
        active = np.flatnonzero(np.isfinite(self.point.criterion))
        for _ in range(_MOST_ITERATIONS):
            if not len(active):
                return
            arrived = self.descend(active)
            self.settled[active[arrived]] = True
            active = active[~arrived & (self.radius[active] > SMALLEST_RADIUS)]

    def descend(self, active: IntArray) -> BoolArray:
        """Try one step of every active data set; return which of them have arrived."""
        units = np.maximum(1.0, np.abs(self.theta[active]).max(axis=1))
        slope = self.point.slope[active] * units[:, None]
        hessian = self.point.hessian[active] * np.square(units)[:, None, None]
        step, predicted = _steps(slope, hessian, self.radius[active])
        nothing = predicted < NO_GAIN
        old = self.theta[active].copy()
        self.theta[active] += units[:, None] * step
        trial = evaluate_stack(self.stack.take(active), self.lambdas(active), self.patterns[active])
        gained = self.point.criterion[active] - trial.criterion
        rounding = CRITERION_DIGITS * np.abs(self.point.criterion[active]) + CRITERION_ROUNDING
        noise = ROUNDING_MARGIN * rounding
        drowned = (predicted < np.maximum(SMALL_GAIN, noise)) & (gained > -noise)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(drowned, 1.0, gained / predicted)
        length = np.linalg.norm(step, axis=1)
        interior = length < INTERIOR * self.radius[active]
        self.radius[active] = _new_radius(ratio, length, interior, self.radius[active])
        accepted = ratio > ACCEPTED_RATIO
        self.theta[active[~accepted]] = old[~accepted]
        self.point.put(active[accepted], trial, np.flatnonzero(accepted))
        self.pivot(active[accepted])
        return np.asarray(nothing | (accepted & interior & (predicted < _ARRIVED)))

    def pivot(self, which: IntArray) -> None:
        """Put the columns of data sets that need it into a better order."""
        lambdas = self.lambdas(which)
        omegas = lambdas @ lambdas.transpose(0, 2, 1)
        better = _pivoted(self.stack.structure, omegas, self.orders[which])
        changed = (better != self.orders[which]).any(axis=1)
        if changed.any():
            moved = which[changed]
            self.move_to(omegas[changed], moved)
            there = evaluate_stack(
                self.stack.take(moved), self.lambdas(moved), self.patterns[moved]
            )
            self.point.put(moved, there, np.arange(len(moved)))


def _steps(slope: FloatArray, hessian: FloatArray, radius: FloatArray) -> tuple[FloatArray, ...]:
    """Return steps within the radius, (R, t), and what they are predicted to gain, (R,).

    Eigenvalues of the wrong sign are turned; the shift that keeps a step within its radius is found
    by bisection.
    """
    values, vectors = np.linalg.eigh(hessian)
    along = (vectors.transpose(0, 2, 1) @ slope[:, :, None])[:, :, 0]
    largest = np.abs(values).max(axis=1, keepdims=True)
    flat = np.abs(values) <= FLAT_DIRECTION * largest + np.finfo(float).tiny
    curved = np.where(flat, 1.0, np.abs(values))
    along = np.where(flat, 0.0, along)
    low = np.zeros(len(slope))
    high = np.linalg.norm(along, axis=1) / radius
    long = np.linalg.norm(along / curved, axis=1) > radius
    shift = np.where(long, high, 0.0)
    if long.any():
        for _ in range(_HALVINGS):
            middle = (low + high) / 2.0
            too_long = np.linalg.norm(along / (curved + middle[:, None]), axis=1) > radius
            low, high = np.where(too_long, middle, low), np.where(too_long, high, middle)
        shift = np.where(long, high, 0.0)
    inner = -along / (curved + shift[:, None])
    predicted = -(along * inner + values * inner**2 / 2.0).sum(axis=1)
    return (vectors @ inner[:, :, None])[:, :, 0], predicted


def _new_radius(
    ratio: FloatArray, length: FloatArray, interior: BoolArray, radius: FloatArray
) -> FloatArray:
    """Return the radii after steps, by the rule of `Newton`, (R,)."""
    radius = np.where((ratio > GOOD_RATIO) & ~interior, WIDENING * radius, radius)
    radius = np.where(ratio < FAIR_RATIO, length / 2.0, radius)
    return np.where(ratio >= POOR_RATIO, radius, length / 4.0)


def _finished(search: _StackSearch) -> Optima:
    """Put exact zeros where they cost nothing and rows back in their natural order."""
    everyone = np.arange(len(search.stack))
    lambdas = search.lambdas(everyone)
    omegas = lambdas @ lambdas.transpose(0, 2, 1)
    zeroed, small = _snapped(search.stack.structure, omegas)
    which = np.flatnonzero(small & np.isfinite(search.point.criterion))
    if len(which):
        before = omegas[which].copy(), search.point.take(which)
        search.move_to(zeroed[which], which)
        trial = evaluate_stack(
            search.stack.take(which), search.lambdas(which), search.patterns[which]
        )
        rounding = CRITERION_DIGITS * np.abs(before[1].criterion)
        kept = trial.criterion < before[1].criterion + SNAP_RISE + rounding
        search.point.put(which[kept], trial, np.flatnonzero(kept))
        omegas[which[kept]] = zeroed[which[kept]]
    structure = search.stack.structure
    settled = search.settled & ~_leads_off(structure, omegas, search.point.gradient)
    natural = np.tile(structure.natural_order, (len(omegas), 1))
    theta = _theta(structure, omegas, natural)
    lambdas = np.einsum("ra,aij->rij", theta, structure.patterns(structure.natural_order))
    point = search.point
    return Optima(lambdas, point.criterion, -point.contrast[:, :-1], point.sigma2, settled)


def _pivoted(structure: Structure, omegas: FloatArray, orders: IntArray) -> IntArray:
    """Return better orders of the columns, by falling variance, where the present ones are bad."""
    better = orders.copy()
    for block, columns, _ in structure.slices():
        if block.kind != "unstructured" or block.size == 1:
            continue
        variances = np.diagonal(omegas, axis1=1, axis2=2)[:, columns]
        present = np.take_along_axis(variances, orders[:, columns] - columns.start, axis=1)
        later = np.maximum.accumulate(present[:, ::-1], axis=1)[:, ::-1]
        bad = (later[:, 1:] > PIVOT_RATIO * present[:, :-1]).any(axis=1)
        sorted_places = np.argsort(-variances[bad], axis=1, kind="stable")
        better[bad, columns] = sorted_places + columns.start
    return better


def _theta(structure: Structure, omegas: FloatArray, orders: IntArray) -> FloatArray:
    """Return theta, (R, t), of covariances, (R, k, k), under their pivot orders, (R, k)."""
    theta = np.zeros((len(omegas), structure.n_theta))
    for block, columns, parameters in structure.slices():
        part = omegas[:, columns, columns]
        if block.kind == "unstructured":
            order = orders[:, columns] - columns.start
            part = np.take_along_axis(part, order[:, :, None], axis=1)
            part = np.take_along_axis(part, order[:, None, :], axis=2)
            lower = _semidefinite_cholesky(part)
            theta[:, parameters] = np.concatenate(
                [lower[:, j:, j] for j in range(block.size)], axis=1
            )
        else:
            scales = np.sqrt(np.maximum(np.diagonal(part, axis1=1, axis2=2), 0.0))
            theta[:, parameters] = scales if block.kind == "diagonal" else scales[:, :1]
    return theta


def _semidefinite_cholesky(matrices: FloatArray) -> FloatArray:
    """Return lower Cholesky factors, (R, k, k), as `semidefinite_cholesky` does."""
    rest = matrices.copy()
    lower = np.zeros_like(rest)
    for j in range(rest.shape[1]):
        pivot = rest[:, j, j]
        felt = pivot > ZERO_PIVOT * matrices[:, j, j]
        column = np.where(felt, 1.0, 0.0)[:, None] * rest[:, j:, j]
        column = column / np.sqrt(np.where(felt, pivot, 1.0))[:, None]
        lower[:, j:, j] = column
        rest[:, j:, j:] -= column[:, :, None] * column[:, None, :]
    return lower


def _snapped(structure: Structure, omegas: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Return covariances with exact zeros for nearly zero eigenvalues, and which have any.

    As `snapped` in `boundary` does.
    """
    result, changed = omegas.copy(), np.zeros(len(omegas), dtype=bool)
    for block, columns, _ in structure.slices():
        part = omegas[:, columns, columns]
        if block.kind == "unstructured":
            values, vectors = np.linalg.eigh(part)
            small = values < NEARLY_ZERO * np.maximum(1.0, values[:, -1:])
            kept = vectors * np.where(small, 0.0, values)[:, None, :]
            snapped = kept @ vectors.transpose(0, 2, 1)
        else:
            variances = np.diagonal(part, axis1=1, axis2=2)
            small = variances < NEARLY_ZERO * np.maximum(1.0, variances.max(axis=1))[:, None]
            snapped = np.where(small[:, :, None] & small[:, None, :], 0.0, part)
        felt = small.any(axis=1)
        result[felt, columns, columns] = snapped[felt]
        changed |= felt
    return result, changed


def _leads_off(structure: Structure, omegas: FloatArray, gradient: FloatArray) -> BoolArray:
    """Tell where a direction off the boundary lowers the criterion, as `way_off` does."""
    down = np.zeros(len(omegas), dtype=bool)
    for block, columns, _ in structure.slices():
        part, slope = omegas[:, columns, columns], gradient[:, columns, columns]
        if block.kind == "unstructured":
            values, vectors = np.linalg.eigh(part)
            null = values < ON_BOUNDARY * np.maximum(1.0, values[:, -1:])
            kept = vectors * null[:, None, :]
            within = kept.transpose(0, 2, 1) @ slope @ kept
            down |= null.any(axis=1) & (np.linalg.eigvalsh(within)[:, 0] < DESCENDS)
        else:
            variances = np.diagonal(part, axis1=1, axis2=2)
            null = variances < ON_BOUNDARY * np.maximum(1.0, variances.max(axis=1))[:, None]
            slopes = np.diagonal(slope, axis1=1, axis2=2)
            if block.kind == "identity":
                slopes = np.tile(slopes.sum(axis=1)[:, None], (1, block.size))
            down |= (null & (slopes < DESCENDS)).any(axis=1)
    return down
