"""Where the criterion of one or two parameters is lowest on a grid: searches begin there.

One batch of criteria without derivatives says more of so few parameters than many searches do, and
takes less than two rounds of these.
"""

from __future__ import annotations

from itertools import accumulate, pairwise, product

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import BoolArray, FloatArray, IntArray, block_diagonal
from skmixed.core.model.dense import DenseStack
from skmixed.core.model.evaluation import CRITERION_DIGITS
from skmixed.core.model.problem import Problem
from skmixed.core.model.stack import LockstepData
from skmixed.core.model.structures.named import joined
from skmixed.core.search.spread import Spread, natural_sizes
from skmixed.core.search.starts import is_like_residual
from skmixed.core.search.state import ESCAPE_GAIN

_MOST_AXES = 2  # a grid of three has as many points as searches take evaluations
_SMALLEST, _LARGEST = -1.5, 2.5  # powers of ten between which deviations lie, as of drawn starts
_A_DECADE = 4.0  # points: a minimum at zero was taken for one beside it with two and a half
_N_ANGLES = 9  # eleven degrees apart, or twice that where correlations have a sign
_STEPS_ACROSS = 2.0  # steps of the grid to which valleys that run across it lead astray


def is_gridded(problem: Problem) -> bool:
    """Tell whether a grid takes the place of many searches: over few deviations and angles."""
    if sum([structure.n_theta for structure in problem.structures]) > _MOST_AXES:
        return False
    blocks = [block for structure in problem.structures for block in structure.blocks]
    return all(
        block.n_theta == block.n_angles + len(block.deviations)
        and block.rank_of_covariances == block.size
        for block in blocks
    )


def lowest_on_grid(problem: Problem, known: Blocks | None) -> Spread | None:
    """Return the points of a grid that are lower than all beside them, the lowest first.

    But for the one to which the grid leads from a known end, covariances, (k, k) a factor. None
    where one is at the far edge of the grid, or the known end beyond it.
    """
    structure, axes = joined(problem.structures), _axes(problem)
    theta = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    shape, theta = theta.shape[:-1], theta.reshape(-1, len(axes))
    orders = np.tile(structure.natural_order, (len(theta), 1))
    kind = LockstepData if len(problem.structures) == 1 else DenseStack
    criterion = kind.of(problem, len(theta)).criteria(theta, orders)
    values = np.where(np.isnan(criterion), np.inf, criterion).reshape(shape)
    lowest = np.argwhere(_are_lowest(values))
    lowest = lowest[np.argsort(values[tuple(lowest.T)], kind="stable")]
    sizes = np.flatnonzero(~structure.angles)
    edge = np.array(shape) - 1
    if not len(lowest) or ((lowest == edge) & (edge > 0))[:, sizes].any():
        return None
    if known is not None:
        at = structure.theta(block_diagonal(known), structure.natural_order)
        zipped = zip(at, axes, strict=True)
        steps = np.array([np.interp(each, axis, np.arange(len(axis))) for each, axis in zipped])
        if ((steps == edge) & (edge > 0))[sizes].any():
            return None
        foot = _foot(values, np.rint(steps).astype(np.intp))
        is_same = (lowest == foot).all(axis=1) & (np.abs(lowest - steps) <= _STEPS_ACROSS).all(
            axis=1
        )
        lowest = lowest[~is_same]
    places = np.ravel_multi_index(tuple(lowest.T), shape)
    omegas = structure.omega(theta[places], orders[places])
    ends = list(accumulate((each.size for each in problem.structures), initial=0))
    columns = [slice(*place) for place in pairwise(ends)]
    return Spread(
        [[omega[own, own] for own in columns] for omega in omegas],
        values.ravel()[places] + problem.constant,
        np.zeros(len(places), dtype=np.bool_),
        (),
    )


def _axes(problem: Problem) -> list[FloatArray]:
    """Return the points along every parameter; zero alone where it does not matter."""
    axes = []
    for factor, structure in enumerate(problem.structures):
        is_nothing = is_like_residual(problem, factor)
        for block, columns, _ in structure.slices():
            natural = np.sqrt(natural_sizes(problem, factor, block, columns))
            low = _SMALLEST + float(np.log10(natural.min()))
            high = _LARGEST + float(np.log10(natural.max()))
            n = 1 + int(np.ceil(_A_DECADE * (high - low)))
            sizes = np.logspace(low, high, n)
            if not block.n_angles:  # which of nothing are all the same
                sizes = np.concatenate([[0.0], sizes])
            axes += [sizes[:1] if is_nothing else sizes] * len(block.deviations)
            angles = np.linspace(block.least_angle, np.pi / 2.0, _N_ANGLES)
            axes += [angles[:1] if is_nothing else angles] * block.n_angles
    return axes


def _are_lowest(values: FloatArray) -> BoolArray:
    """Tell which values of a grid are lower than those beside them, across corners too.

    Of many that are equal the first is.
    """
    lowest = np.isfinite(values)
    margin = ESCAPE_GAIN + CRITERION_DIGITS * np.abs(values)
    padded = np.pad(values, 1, constant_values=np.inf)
    for shift in product((0, 1, 2), repeat=values.ndim):
        beside = padded[tuple(slice(s, s + n) for s, n in zip(shift, values.shape, strict=True))]
        centre = (1,) * values.ndim
        if shift < centre:
            lowest &= values + margin < beside
        elif shift > centre:
            lowest &= values <= beside + margin
    return lowest


def _foot(values: FloatArray, index: IntArray) -> IntArray:
    """Return where steps to the lowest value beside, from a point of a grid, end, (t,)."""
    while True:
        start = np.maximum(index - 1, 0)
        window = values[tuple(map(slice, start, index + 2))]
        lower = start + np.array(np.unravel_index(np.argmin(window), window.shape))
        if values[tuple(lower)] >= values[tuple(index)]:
            return index
        index = lower
