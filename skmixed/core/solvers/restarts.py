"""When one search is not enough, and where to begin others.

The criterion of several factors that resemble each other, or of one variance shared by columns of
different size, can have more than one minimum. On small problems more searches cost little.
"""

from __future__ import annotations

import numpy as np

from skmixed.core.chain import Chain
from skmixed.core.elimination import Blocks
from skmixed.core.evaluation import Evaluation
from skmixed.core.layout import FloatArray
from skmixed.core.problem import Problem

_MOST_EFFECTS = 20_000  # random effects; with more, searches from other starts would cost too much
_FEW_EFFECTS = 500  # with so few, a search without each weak term costs next to nothing
_LARGE_VARIANCE = 10.0  # relative to the residual variance: the term that is to explain the most
_LITTLE_VARIANCE = 0.1  # the same of the other terms: inside, but explaining little
_ALIKE = 4.0  # numbers of levels and sizes of columns within this ratio are taken for alike
_RESEMBLING = 0.4  # of the overlap of two nested factors: so much makes two minima likely
_WEAK_VARIANCE = 0.3  # relative to the residual's: less may be nothing at a lower minimum


def other_starts(found: Evaluation) -> list[Blocks]:
    """Return covariances, (k, k) of every factor, to search from again.

    For every term, that term large and the others small, if the fit is singular or crossed factors
    resemble each other; for a variance shared by columns of different size, the size that fits each
    of them; and of at most 500 random effects, each term of small variance left out. Empty for more
    than 20,000 random effects.
    """
    problem = found.problem
    model = problem.model
    n_effects = sum(own.shape[0] * model.n_levels(f) for f, own in enumerate(model.own))
    if n_effects > _MOST_EFFECTS:
        return []
    starts = _shared_variance_starts(problem)
    n_terms = sum(len(structure.blocks) for structure in problem.structures)
    if n_terms == 1 and _is_singular(found):
        starts.append([np.eye(structure.size) for structure in problem.structures])
    if n_terms > 1 and (_is_singular(found) or _has_resembling_factors(problem)):
        starts += [_with_large(problem, number) for number in range(n_terms)]
    if n_effects <= _FEW_EFFECTS:
        starts += _without_weak_terms(found)
    return starts


def _without_weak_terms(found: Evaluation) -> list[Blocks]:
    """Return starts in which one term of small variance is left out."""
    omegas = [lam @ lam.T for lam in found.factors]
    starts = []
    for factor, structure in enumerate(found.problem.structures):
        for _, columns, _ in structure.slices():
            variances = np.diag(omegas[factor])[columns]
            if 0.0 < variances.max() < _WEAK_VARIANCE:
                without = [omega.copy() for omega in omegas]
                without[factor][columns, columns] = 0.0
                starts.append(without)
    return starts


def is_like_residual(problem: Problem, factor: int) -> bool:
    """Tell whether the random effects of a factor are the residuals under another name.

    So they are for a random intercept with a level for every row, all of one weight.
    """
    own = problem.model.own[factor]
    of_rows = problem.model.n_levels(factor) >= problem.n_observations
    return of_rows and own.shape[0] == 1 and bool(np.all(own == own[0, 0, 0]))


def _is_singular(found: Evaluation) -> bool:
    return any(bool((np.diag(lam) == 0.0).any()) for lam in found.factors)


def _has_resembling_factors(problem: Problem) -> bool:
    """Tell whether two crossed factors of similar size have much the same levels.

    With n_lm rows in a pair of levels, the sum of n_lm^2 / (n_l n_m) is 1 for independent factors
    and the number of levels of the coarser one for nested factors.
    """
    if isinstance(problem.elimination, Chain):
        return False
    sizes = [own[0, 0] for own in problem.model.own]
    for (i, j), pair in problem.pairs.items():
        few, many = sorted((len(sizes[i]), len(sizes[j])))
        if many > _ALIKE * few:
            continue
        product = sizes[i][pair.rows] * sizes[j][pair.columns]
        shares = pair.products[0, 0] ** 2 / np.where(product > 0, product, 1.0)
        if shares.sum() > _RESEMBLING * few:
            return True
    return False


def _with_large(problem: Problem, wanted: int) -> Blocks:
    """Return a start in which one term, counted over all factors, is large."""
    number, omegas = 0, []
    for structure in problem.structures:
        diagonal = np.empty(structure.size)
        for _, columns, _ in structure.slices():
            diagonal[columns] = _LARGE_VARIANCE if number == wanted else _LITTLE_VARIANCE
            number += 1
        omegas.append(np.diag(diagonal))
    return omegas


def _shared_variance_starts(problem: Problem) -> list[Blocks]:
    """Return starts for a variance shared by columns of different size, one for each size.

    Each is the variance with which a column of that size matters as much as the residual; the last
    start has the largest of all terms together.
    """
    starts = []
    together: Blocks = [np.eye(structure.size) for structure in problem.structures]
    for factor, structure in enumerate(problem.structures):
        for block, columns, _ in structure.slices():
            if block.kind != "identity":
                continue
            for size in _distinct(np.diag(problem.model.total(factor))[columns]):
                omegas: Blocks = [np.eye(other.size) for other in problem.structures]
                natural = np.eye(block.size) * problem.n_observations / size
                omegas[factor][columns, columns] = natural
                starts.append(omegas)
                if together[factor][columns, columns][0, 0] < natural[0, 0]:
                    together[factor][columns, columns] = natural
    return [*starts, together] if starts else []


def _distinct(sizes: FloatArray) -> list[float]:
    """Return the sizes that differ by a factor of more than four, none if all are alike."""
    kept: list[float] = []
    for size in sorted(float(size) for size in sizes if size > 0):
        if not kept or size > _ALIKE * kept[-1]:
            kept.append(size)
    return kept if len(kept) > 1 else []
