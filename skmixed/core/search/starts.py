"""Where a search begins, and where to begin others when one is not enough.

The start comes from the cross-products alone: minimum norm quadratic unbiased estimation at zero
prior variances, MINQUE(0) (Rao 1971, doi:10.1016/0047-259X(71)90001-7): one linear system, no
factorisation. With P the residual projection of least squares, for directions E and D of the
covariances and V_E = Z E Z',

    sum over D of tr(P V_E P V_D) psi_D + tr(P V_E) sigma^2 = y'P V_E P y.

In a balanced design it is the REML estimate itself.

The criterion of several factors that resemble each other, or of one variance shared by columns of
different size, can have more than one minimum. On small problems more searches cost little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import accumulate, pairwise

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.linalg import (
    WIDE,
    BoolArray,
    FloatArray,
    diagonal,
    diagonals,
    semidefinite_cholesky,
    transposed,
    triangular_inverse,
)
from skmixed.core.model.covariance import Structure
from skmixed.core.model.dense import MOST_EFFECTS
from skmixed.core.model.evaluation import Evaluation, evaluate, sums_along
from skmixed.core.model.problem import Problem
from skmixed.core.sums.blocks import PairBlock

_N_PROJECTED = 8  # fixed columns in the traces: each takes a pass, and a start need not be exact
_RANK_CUTOFF = 1e-12  # singular values of the system, relative to the largest: less is confounded
_NOISE_SHARE = 1e-3  # of the mean square that level means leave: keeps variance ratios finite
_NO_RESIDUAL = 1e-12  # of the residual sum of squares: what subtraction leaves of nothing
_MANY_EQUATIONS = 100  # the singular values of more take longer than the rest of a start
_TINY_WEIGHT = 1e-300  # divisor where the first column of a level is zero, and so its score


def minque_start(problem: Problem) -> Blocks:
    """Estimate the relative covariances, (k, k) of every factor, by MINQUE(0).

    They are positive definite, of the structure wanted, and in scaled units. Of the fixed columns
    only the first eight enter the projections in tr(P V_E P V_D), which keeps the cost at a few
    passes over levels and pairs; all enter the residuals.
    """
    gram = problem.model.gram
    p = len(gram) - 1
    beta, residual = problem.least_squares
    root = _projection_root(gram[:p, :p])
    projected = [_projected(right[:, : len(root)], root) for right in problem.model.right]
    scores = [right[:, p] - np.matmul(beta, right[:, :p]) for right in problem.model.right]
    bases = [structure.basis for structure in problem.structures]
    ends = list(accumulate((len(matrices) for matrices in bases), initial=0))
    places = [slice(*place) for place in pairwise(ends)]

    system = np.empty((ends[-1] + 1, ends[-1] + 1))
    target = np.empty(len(system))
    system[-1, -1], target[-1] = problem.n_observations - p, residual
    _fill_traces(system, places, problem, bases, projected)
    flat = [matrices.reshape(len(matrices), -1) for matrices in bases]
    for factor, (place, matrices) in enumerate(zip(places, flat, strict=True)):
        score, block = scores[factor], projected[factor].reshape(len(scores[factor]), -1)
        kept = problem.model.total(factor) - block @ block.T
        system[place, -1] = system[-1, place] = matrices @ kept.ravel()
        target[place] = matrices @ (score @ score.T).ravel()
    solution = _solution(system, target)
    noise = _noise(problem, float(solution[-1]), residual, scores)
    return [
        structure.lifted((solution[place] @ matrices / noise).reshape(structure.size, -1))
        for structure, place, matrices in zip(problem.structures, places, flat, strict=True)
    ]


def _noise(problem: Problem, estimate: float, residual: float, scores: Blocks) -> float:
    """Keep the residual variance off zero, by what varies within levels.

    Where the levels lie so far apart that the sums within them are kept, these give it.
    """
    model = problem.model
    if model.within is not None:
        degrees = problem.n_observations - max(map(model.n_levels, range(len(model.own))))
        if degrees > 0 and model.within[-1, -1] > 0:
            return float(model.within[-1, -1] / degrees)
    within = [
        residual - float((score[0] ** 2 / np.maximum(own[0, 0], _TINY_WEIGHT)).sum())
        for own, score in zip(model.own, scores, strict=True)
    ]
    degrees = problem.n_observations - problem.rank
    floor = _NOISE_SHARE * max(min(within), _NO_RESIDUAL * residual) / degrees
    return float(max(estimate, floor))


def _projection_root(gram: FloatArray) -> FloatArray:
    """Return the Cholesky factor of the cross-products of the first few fixed columns."""
    few = min(_N_PROJECTED, len(gram))
    root, info = lapack.dpotrf(gram[:few, :few], lower=1, clean=1)
    if info:
        raise LostPrecisionError(
            "too few digits are left for the fixed columns, which are nearly dependent: rescale or "
            "centre the columns, or drop some"
        )
    return np.asarray(root)


def _projected(right: FloatArray, root: FloatArray) -> FloatArray:
    """Return Z'X times the inverse transpose of `root`, of shape (k, p, n_levels)."""
    k, p, n_levels = right.shape
    if p == 0:
        return right
    flat = right.transpose(1, 0, 2).reshape(p, k * n_levels)
    solved = triangular_inverse(root, lower=True) @ flat
    return np.asarray(solved.reshape(p, k, n_levels).transpose(1, 0, 2))


def _solution(system: FloatArray, target: FloatArray) -> FloatArray:
    """Solve a positive semidefinite system, (t, t), for (t,); the shortest of many solutions."""
    if len(system) > _MANY_EQUATIONS:
        units = 1.0 / np.sqrt(np.maximum(system.diagonal(), _TINY_WEIGHT))
        scaled = system * units[:, None] * units
        lower, info = lapack.dpotrf(scaled, lower=1)
        if (
            not info
            and lapack.dpocon(lower, np.abs(scaled).sum(axis=0).max(), uplo="L")[0] > _RANK_CUTOFF
        ):
            return np.asarray(units * lapack.dpotrs(lower, target * units, lower=1)[0])
    return np.asarray(lapack.dgelss(system, target, cond=_RANK_CUTOFF)[1])


def _fill_traces(
    system: FloatArray, places: list[slice], problem: Problem, bases: Blocks, projected: Blocks
) -> None:
    """Write tr(P V_E P V_D) of all directions into the system, (> t, > t), in place."""
    sums = [sums_along(*each) for each in zip(bases, projected, strict=True)]
    for i, own in enumerate(problem.model.own):
        pairs = [(i, PairBlock.diagonal(own))]
        pairs += [(j, pair) for (first, j), pair in problem.pairs.items() if first == i]
        for j, pair in pairs:
            rest = _rest_of_pairs(pair, projected[i], projected[j], problem.model.times)
            part = _traces(bases[i], bases[j], pair.products, rest) + sums[i] @ sums[j].T
            system[places[i], places[j]] = part
            system[places[j], places[i]] = part.T


def _rest_of_pairs(
    pair: PairBlock, first: FloatArray, second: FloatArray, times: FloatArray | None
) -> FloatArray:
    """Return A - 2 R of pairs of levels, (k, m, n_pairs), A being their products.

    R = Z_i'X K X'Z_j are the products of their projections on the fixed columns.
    """
    products = pair.products
    through = np.zeros(products.shape)
    is_own = pair.rows is pair.columns
    for column in range(first.shape[1]):
        left = first[:, column] if is_own else first[:, column][:, pair.rows]
        right = second[:, column] if is_own else second[:, column][:, pair.columns]
        through += left[:, None] * right[None]
    return np.asarray((products if times is None else products * times) - 2.0 * through)


def _traces(
    first: FloatArray, second: FloatArray, products: FloatArray, rest: FloatArray
) -> FloatArray:
    """Return tr(V_E V_D) - 2 tr(X K X'V_E V_D), of directions, (t, k, k) and (u, m, m), (t, u).

    It is the sum over pairs of levels of E_ab A_ac B_bd D_cd, with A = `products` and B = `rest`,
    (k, m, n_pairs). Diagonal directions pick entries of A and B that belong together.
    """
    along, across = diagonals(first), diagonals(second)
    if along is not None and across is not None:
        return np.asarray(along @ np.einsum("acl,acl->ac", products, rest) @ across.T)
    k, m, n_pairs = products.shape
    mixed = products.reshape(k * m, n_pairs) @ rest.reshape(k * m, n_pairs).T
    form = mixed.reshape(k, m, k, m).transpose(0, 2, 1, 3).reshape(k * k, m * m)
    flat = [each.reshape(len(each), -1) for each in (first, second)]
    if max(k, m) < WIDE:
        return np.asarray(flat[0] @ form @ flat[1].T)
    sides = [sparse.csr_matrix(each) for each in flat]  # of few entries
    return np.asarray((sides[1] @ (sides[0] @ form).T).T)


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
    n_effects = sum(s.size * n for s, n in zip(structures, n_levels, strict=True))
    if n_effects > _MOST_EFFECTS:
        return []
    starts = _shared_variance_starts(structures, total, n_observations, n_levels)
    starts += _alternatives(structures, lambdas, n_effects <= _FEW_EFFECTS, is_clear)
    rest = _beside_curves(structures, n_levels)
    if not rest:
        return starts
    singular = reduce(np.logical_or, [(diagonal(lambdas[f]) == 0.0).any(axis=-1) for f in rest])
    n_effects = sum(structures[f].size * n_levels[f] for f in rest)
    if len(rest) == 1 and (structures[rest[0]].size == 1 or n_effects > _HANDFUL):
        singular = singular & (n_observations < _PLENTY * n_effects)
    is_wide = len(rest) == 1 and structures[rest[0]].size >= WIDE
    if is_wide or (len(rest) > 1 and n_effects > MOST_EFFECTS):
        n_theta = sum(structures[f].n_theta for f in rest)
        is_scarce = (n_observations < _MANY_ROWS_AN_EFFECT * n_effects) & (
            n_theta <= _MOST_PARAMETERS
        )
        singular = singular & is_scarce
    n_terms = sum(len(structures[f].blocks) for f in rest)
    if n_terms == 1:
        if singular.any():
            starts.append(([np.eye(structure.size) for structure in structures], singular))
    elif has_resembling or singular.any():
        is_wanted = singular | has_resembling
        starts += [(omegas, is_wanted) for omegas in _with_large(structures, rest)]
    return starts


def _beside_curves(structures: Sequence[Structure], n_levels: Sequence[float]) -> list[int]:
    """Return the positions of all factors but those that stand for curves over all rows."""
    return [
        f
        for f, (structure, n) in enumerate(zip(structures, n_levels, strict=True))
        if n > 1 or not all(block.is_curve(n) for block in structure.blocks)
    ]


def largest_root(found: Evaluation) -> float:
    """Return the largest entry of the lambdas, but for those of curves over all rows."""
    rest = _beside_curves(found.problem.structures, found.problem.n_levels)
    return max((max(map(abs, found.lambdas[f].ravel().tolist())) for f in rest), default=0.0)


def curves(problem: Problem) -> list[tuple[int, slice]]:
    """Return the factor and the columns of every curve."""
    return [
        (factor, columns)
        for factor, structure in enumerate(problem.structures)
        for block, columns, _ in structure.slices()
        if block.is_curve(problem.n_levels[factor])
    ]


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
    has_others = any(
        (block.one_unit and block.size > 1 and not block.is_curve(n)) or block.has_alternatives
        for structure, n in zip(structures, n_levels, strict=True)
        for block in structure.blocks
    )
    rest = _beside_curves(structures, n_levels)
    n_effects = sum(structures[f].size * n_levels[f] for f in rest)
    plenty = problem.n_observations >= _PLENTY * n_effects
    if has_others or not plenty:
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
    penalty tells its variance.
    """
    if problem.is_penalised(factor):
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
    total: Callable[[int], FloatArray],
    n_observations: FloatArray,
    n_levels: Sequence[float],
) -> list[Start]:
    """Return starts for a variance shared by columns of different size, one for each size.

    Each is the variance with which a column of that size matters as much as the residual. Where
    several terms share one, the last start has the largest of all of them together.
    """
    shared = [
        (factor, columns)
        for factor, structure in enumerate(structures)
        for block, columns, _ in structure.slices()
        if block.one_unit and not block.is_curve(n_levels[factor])
    ]
    starts: list[Start] = []
    if not shared:
        return starts
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
    structures: Sequence[Structure],
    lambdas: Blocks,
    has_few: bool = False,
    is_clear: bool = False,
) -> list[Start]:
    """Return the starts that structures name themselves, one term changed in each.

    Of few effects also those without one of the deviations that a law of correlation ties together;
    none of a law where it `is_clear` what the correlations are.
    """
    places = [
        (factor, block, columns)
        for factor, structure in enumerate(structures)
        for block, columns, _ in structure.slices()
        if block.has_alternatives and not (is_clear and block.n_angles)
    ]
    starts: list[Start] = []
    if not places:
        return starts
    omegas = [lam @ transposed(lam) for lam in lambdas]
    for factor, block, columns in places:
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
