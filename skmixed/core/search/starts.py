"""Where to begin other searches when one is not enough.

The criterion of several factors that resemble each other, or of one variance shared by columns of
different size, can have more than one minimum. On small problems more searches cost little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np

from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.linalg import (
    WIDE,
    BoolArray,
    FloatArray,
    diagonal,
    semidefinite_cholesky,
    transposed,
)
from skmixed.core.model.covariance import Structure
from skmixed.core.model.dense import MOST_EFFECTS
from skmixed.core.model.evaluation import Evaluation, evaluate
from skmixed.core.model.problem import Problem

_MOST_EFFECTS = 20_000  # random effects; with more, searches from other starts would cost too much
_FEW_EFFECTS = 500  # with so few, a search without each weak term costs next to nothing
_HANDFUL = 30  # random effects of a slope: with more and plenty of rows no second minimum was seen
_CLEARLY = 50.0  # of the criterion: seven standard errors of a correlation
_LARGE_VARIANCE = 10.0  # relative to the residual variance: the term that is to explain the most
_LITTLE_VARIANCE = 0.1  # the same of the other terms: inside, but explaining little
_ALIKE = 4.0  # numbers of levels and sizes of columns within this ratio are taken for alike
_RESEMBLING = 0.4  # of the overlap of two nested factors: so much makes two minima likely
_WEAK_VARIANCE = 0.3  # relative to the residual's: less may be nothing at a lower minimum
_MANY_ROWS_AN_EFFECT = 1.5  # of several factors or wide terms: of 120 models none had two minima
_MOST_PARAMETERS = 150  # of many columns: more take seconds a search, and data tell few of them
_CURVED = (1.0, 30.0, 1000.0)  # relative variances of a curve that follows much, and spikes
_CLEARLY_LARGER = 3.0  # times the variance found: nearer ones belong to the same minimum
_PLENTY = 4.0  # rows for each random effect: with so many, of 880 random models none had two minima


Start = tuple[Blocks, BoolArray]
"""Covariances, (..., k, k) of every factor, and which searches are to start there, (...)."""


def other_starts(found: Evaluation) -> list[Blocks]:
    """Return covariances, (k, k) of every factor, to search from again after a first search."""
    problem = found.problem
    starts = starts_beside(
        problem.structures,
        found.lambdas,
        problem.model.total,
        np.asarray(problem.n_observations),
        problem.n_levels,
        has_resembling=problem.n_effects <= _MOST_EFFECTS and _has_resembling_factors(problem),
        is_clear=_has_clear_correlations(found),
    )
    if len(problem.structures) > 1 and problem.n_effects <= _FEW_EFFECTS:
        starts += without_weak_terms(problem.structures, found.lambdas)
    return [omegas for omegas, is_wanted in starts if is_wanted]


def starts_beside(
    structures: Sequence[Structure],
    lambdas: Blocks,
    total: Callable[[int], FloatArray],
    n_observations: FloatArray,
    n_levels: Sequence[float],
    *,
    has_resembling: bool = False,
    is_clear: bool = False,
) -> list[Start]:
    """Return where to search again, a batch of first searches having ended at `lambdas`.

    For every term, that term large and the others small, if the fit is singular or crossed factors
    resemble each other; for a variance shared by columns of different size, the size that fits each
    of them; and what structures name themselves. Empty for more than 20,000 random effects, and for
    one factor with four rows for each, but for a handful of effects of several columns and where
    structures name some; and of several with more effects than small models have, for more than
    one and a half. Where correlations that follow a law are clear, the search needs no other start
    for them. Curves are left out: `beside_curve` is for them. `total` is Z'W Z of a factor,
    (..., k, k).
    """
    n_effects = sum([s.size * n for s, n in zip(structures, n_levels, strict=True)])
    if n_effects > _MOST_EFFECTS:
        return []
    kinds = term_kinds(tuple(structures), tuple(n_levels))
    starts: list[Start] = []
    if kinds.shared:
        starts += _shared_variance_starts(structures, kinds.shared, total, n_observations)
    if kinds.with_alternatives:
        has_few = n_effects <= _FEW_EFFECTS
        starts += _alternatives(kinds.with_alternatives, lambdas, has_few, is_clear)
    rest = kinds.beside_curves
    if not rest:
        return starts
    singular = _singular_ends(structures, lambdas, rest, n_observations, n_levels)
    n_terms = sum(len(structures[f].blocks) for f in rest)
    if n_terms == 1:
        if singular.any():
            starts.append(([np.eye(structure.size) for structure in structures], singular))
    elif has_resembling or singular.any():
        is_wanted = singular | has_resembling
        starts += [(omegas, is_wanted) for omegas in _with_large(structures, rest)]
    return starts


def _singular_ends(
    structures: Sequence[Structure],
    lambdas: Blocks,
    rest: Sequence[int],
    n_observations: FloatArray,
    n_levels: Sequence[float],
) -> BoolArray:
    """Tell which searches ended where a variance of some factors is zero and another end may be.

    None may be where one factor has plenty of rows for each effect, but for a handful of these.
    """
    n_effects = sum([structures[f].size * n_levels[f] for f in rest])
    widest = max([structures[f].size for f in rest])
    is_wanted = np.ones(n_observations.shape, dtype=np.bool_)
    if len(rest) == 1 and (widest == 1 or n_effects > _HANDFUL):
        is_wanted = np.asarray(n_observations < _PLENTY * n_effects)
        if not is_wanted.any():
            return is_wanted
    is_wide = len(rest) == 1 and widest >= WIDE
    if is_wide or (len(rest) > 1 and n_effects > MOST_EFFECTS):
        n_theta = sum([structures[f].n_theta for f in rest])
        is_wanted &= n_observations < _MANY_ROWS_AN_EFFECT * n_effects
        is_wanted &= n_theta <= _MOST_PARAMETERS
    singular = [(diagonal(lambdas[f]) == 0.0).any(axis=-1) for f in rest]
    return np.asarray(reduce(np.logical_or, singular) & is_wanted)


@dataclass(frozen=True, slots=True)
class TermKinds:
    """Which terms ask for other starts, as factor and columns."""

    curves: tuple[tuple[int, slice], ...]
    shared: tuple[tuple[int, slice], ...]  # one variance of columns of whatever size, not a curve
    with_alternatives: tuple[tuple[int, Structure, slice], ...]
    beside_curves: tuple[int, ...]  # all factors but those that stand for curves over all rows


@lru_cache(maxsize=256)
def term_kinds(structures: tuple[Structure, ...], n_levels: tuple[float, ...]) -> TermKinds:
    """Find the terms of factors of so many levels that ask for other starts."""
    terms = [
        (factor, block, columns, block.is_curve(n))
        for factor, (structure, n) in enumerate(zip(structures, n_levels, strict=True))
        for block, columns, _ in structure.slices()
    ]
    return TermKinds(
        tuple((f, columns) for f, _, columns, is_curve in terms if is_curve),
        tuple((f, columns) for f, b, columns, is_curve in terms if b.one_unit and not is_curve),
        tuple((f, block, columns) for f, block, columns, _ in terms if block.has_alternatives),
        tuple(dict.fromkeys(f for f, _, _, is_curve in terms if n_levels[f] > 1 or not is_curve)),
    )


def largest_root(found: Evaluation) -> float:
    """Return the largest entry of the lambdas, but for those of curves over all rows."""
    rest = term_kinds(found.problem.structures, found.problem.n_levels).beside_curves
    return max([max(map(abs, found.lambdas[f].ravel().tolist())) for f in rest], default=0.0)


def beside_curve(found: Evaluation, factor: int, columns: slice) -> list[Blocks]:
    """Return covariances in which the variance of a curve is larger, to look at.

    A search may have taken for noise what a curve of a larger variance follows.
    """
    omegas = found.omegas
    result, variance = [], float(omegas[factor][columns.start, columns.start])
    for size in _CURVED:
        if size > _CLEARLY_LARGER * variance:
            changed = omegas[factor].copy()
            changed[columns, columns] = size * np.eye(columns.stop - columns.start)
            result.append([*omegas[:factor], changed, *omegas[factor + 1 :]])
    return result


def has_plenty(problem: Problem) -> bool:
    """Tell whether rows are so many that the criterion has no second minimum inside.

    It may have one where a term is left out, where one variance is shared by columns, and, of
    several factors, where slopes vary or crossed ones resemble each other; many effects of several
    factors have not been tried.
    """
    structures, n_levels = problem.structures, problem.n_levels
    kinds = term_kinds(structures, n_levels)
    rest = kinds.beside_curves
    n_effects = sum([structures[f].size * n_levels[f] for f in rest])
    if kinds.with_alternatives or problem.n_observations < _PLENTY * n_effects:
        return False
    if any(columns.stop - columns.start > 1 for _, columns in kinds.shared):
        return False
    if len(rest) <= 1:
        return True
    are_few = all(structures[f].size == 1 for f in rest) and n_effects <= MOST_EFFECTS
    return are_few and not _has_resembling_factors(problem)


def without_weak_terms(structures: Sequence[Structure], lambdas: Blocks) -> list[Start]:
    """Return covariances in which one term of small variance is left out."""
    omegas = [lam @ transposed(lam) for lam in lambdas]
    starts = []
    for factor, structure in enumerate(structures):
        for _, columns, _ in structure.slices():
            largest = diagonal(omegas[factor])[..., columns].max(axis=-1)
            is_weak = (largest > 0.0) & (largest < _WEAK_VARIANCE)
            if is_weak.any():
                without = omegas.copy()
                without[factor] = omegas[factor].copy()
                without[factor][..., columns, columns] = 0.0
                starts.append((without, is_weak))
    return starts


def is_like_residual(problem: Problem, factor: int) -> bool:
    """Tell whether the random effects of a factor are the residuals under another name.

    So they are for a random intercept with a level for every row, all of one weight, unless a
    penalty tells its variance, or that of the residuals is known.
    """
    if problem.is_penalised(factor) or problem.sigma2 is not None:
        return False
    own = problem.model.own[factor]
    of_rows = problem.model.n_levels(factor) >= problem.n_observations
    return of_rows and own.shape[0] == 1 and bool(np.all(own == own[0, 0, 0]))


def _has_resembling_factors(problem: Problem) -> bool:
    """Tell whether two crossed factors of similar size have much the same levels.

    With n_lm rows in a pair of levels, the sum of n_lm^2 / (n_l n_m) is 1 for independent factors
    and the number of levels of the coarser one for nested factors.
    """
    if problem.elimination.outermost is not None:
        return False
    sizes = [own[0, 0] for own in problem.model.own]
    for (i, j), pair in problem.pairs.items():
        few, many = sorted((len(sizes[i]), len(sizes[j])))
        if few == 1 or many > _ALIKE * few:
            continue
        product = sizes[i][pair.rows] * sizes[j][pair.columns]
        shares = pair.products[0, 0] ** 2 / np.where(product > 0, product, 1.0)
        if shares.sum() > _RESEMBLING * few:
            return True
    return False


def _with_large(structures: Sequence[Structure], chosen: Sequence[int]) -> list[Blocks]:
    """Return a start for every term of the chosen factors, in which it is large."""
    starts = []
    for factor in chosen:
        for _, columns, _ in structures[factor].slices():
            omegas = [_LITTLE_VARIANCE * np.eye(structure.size) for structure in structures]
            omegas[factor][columns, columns] *= _LARGE_VARIANCE / _LITTLE_VARIANCE
            starts.append(omegas)
    return starts


def _shared_variance_starts(
    structures: Sequence[Structure],
    shared: Sequence[tuple[int, slice]],
    total: Callable[[int], FloatArray],
    n_observations: FloatArray,
) -> list[Start]:
    """Return starts for a variance shared by columns of different size, one for each size.

    Each is the variance with which a column of that size matters as much as the residual. Where
    several terms share one, the last start has the largest of all of them together.
    """
    starts: list[Start] = []
    shape = (*n_observations.shape, 1, 1)
    together = [np.tile(np.eye(structure.size), shape) for structure in structures]
    for factor, columns in shared:
        sizes = np.sort(diagonal(total(factor))[..., columns], axis=-1)
        is_kept = _are_distinct(sizes)
        natural = n_observations[..., None] / np.where(is_kept, sizes, n_observations[..., None])
        for place in np.flatnonzero(is_kept.any(axis=tuple(range(is_kept.ndim - 1)))):
            omegas = [np.tile(np.eye(structure.size), shape) for structure in structures]
            omegas[factor][..., columns, columns] *= natural[..., place, None, None]
            starts.append((omegas, is_kept[..., place]))
        largest = np.maximum(natural.max(axis=-1), 1.0)
        together[factor][..., columns, columns] *= largest[..., None, None]
    if len(shared) < 2:
        return starts
    is_any = np.any([is_wanted for _, is_wanted in starts], axis=0)
    return [*starts, (together, np.asarray(is_any))]


def _has_clear_correlations(found: Evaluation) -> bool:
    """Tell whether the criterion is far lower than without correlations that follow laws."""
    if not any(structure.n_angles for structure in found.problem.structures):
        return False
    roots = []
    for structure, omega in zip(found.problem.structures, found.omegas, strict=True):
        without = omega.copy()
        for block, columns, _ in structure.slices():
            if block.n_angles:
                without[columns, columns] = np.diag(np.diag(omega[columns, columns]))
        roots.append(semidefinite_cholesky(without))
    try:
        return evaluate(found.problem, roots).criterion > found.criterion + _CLEARLY
    except LostPrecisionError:
        return False


def _alternatives(
    places: Sequence[tuple[int, Structure, slice]],
    lambdas: Blocks,
    has_few: bool = False,
    is_clear: bool = False,
) -> list[Start]:
    """Return the starts that structures name themselves, one term changed in each.

    Of few effects also those without one of the deviations that a law of correlation ties together;
    none of a law where it `is_clear` what the correlations are.
    """
    starts: list[Start] = []
    omegas = [lam @ transposed(lam) for lam in lambdas]
    for factor, block, columns in places:
        if is_clear and block.n_angles:
            continue
        omega = omegas[factor][..., columns, columns]
        others = block.alternatives(omega)
        if has_few and block.n_angles and len(block.deviations) > 1:
            kept = 1.0 - np.eye(block.size)
            others += [omega * np.outer(one, one) for one in kept]
        for other in others:
            changed = omegas.copy()
            changed[factor] = omegas[factor].copy()
            changed[factor][..., columns, columns] = other
            starts.append((changed, np.ones(other.shape[:-2], dtype=np.bool_)))
    return starts


def _are_distinct(sizes: FloatArray) -> BoolArray:
    """Tell which of ascending sizes differ by a factor of more than four, (..., m).

    None where all are alike.
    """
    is_kept, last = np.zeros(sizes.shape, dtype=np.bool_), np.zeros(sizes.shape[:-1])
    for place in range(sizes.shape[-1]):
        size = sizes[..., place]
        is_kept[..., place] = size > _ALIKE * last
        last = np.where(is_kept[..., place], size, last)
    return np.asarray(is_kept & (is_kept.sum(axis=-1, keepdims=True) > 1))
