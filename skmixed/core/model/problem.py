"""A linear mixed model on its cross-products: what `evaluate` computes the criterion from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skmixed.core.elimination.chain import Chain
from skmixed.core.elimination.choose import arrange
from skmixed.core.elimination.iterative.settings import Krylov
from skmixed.core.elimination.protocol import Blocks, Elimination
from skmixed.core.linalg import WIDE, FloatArray, IntArray, least_squares, semidefinite_root
from skmixed.core.model.covariance import Structure
from skmixed.core.model.directions import LevelDirections, rotated
from skmixed.core.model.penalty import ScaledPenalty
from skmixed.core.model.scaling import ScaledModel, scaled_pairs
from skmixed.core.model.spec import ModelSpec
from skmixed.core.one_thread import one_thread
from skmixed.core.sums.blocks import PairBlock
from skmixed.core.sums.crossproducts import CrossProducts

_EXACT_FIT = 1e-14  # of y'Wy for each column: what rounding leaves of a residual of zero
_NOISE = 2.0**-30  # of y'Wy: 1e-9, less than any data mean and far more than rounding
_WORTH_THREADS = 1_000  # rows of a dense matrix: to factor one takes long enough for threads to pay
_LEAST_LEVELS = 5_000  # a search over fewer is a matter of milliseconds anyway
_LARGEST_SIZE = 2**16 - 1  # sizes are counted in a table and sorted as 16-bit integers
_MOST_SIZES = 500  # each takes a root in Python, which more levels a size must pay for
_LEVELS_A_ROW = 8  # that each row must stand for on average; with fewer little is saved


@dataclass(frozen=True, eq=False)
class Problem:
    """A linear mixed model on its cross-products, ready to be evaluated."""

    spec: ModelSpec
    model: ScaledModel  # its cross-products, in scaled units
    structures: tuple[Structure, ...]  # covariance of every used factor
    elimination: Elimination  # how the random effects are eliminated
    pairs: dict[tuple[int, int], PairBlock]  # scaled products of the pairs of levels that occur
    n_observations: float  # rows, or the sum of frequency weights
    constant: float  # beside the scaled criterion: scales of the columns, precision weights
    is_noisy: bool = False  # whether the response has noise of its own, see `with_noise`
    directions: tuple[
        LevelDirections | None, ...
    ] = ()  # of every used factor; empty if none has them

    @classmethod
    def of(cls, products: CrossProducts, spec: ModelSpec, krylov: Krylov | None = None) -> Problem:
        """Set up a model; with `krylov`, crossed factors are solved for by conjugate gradients."""
        frequency = spec.weighting == "frequency"
        if frequency:  # which are numbers of rows
            products = products.in_unit(1.0)
        model = ScaledModel.of(products, spec)
        pairs = scaled_pairs(products, spec, model)
        directions: tuple[LevelDirections | None, ...] = ()
        if spec.relations:
            indexes = [products.factors[factor].index for factor in spec.used_factors]
            relations = [spec.relation(factor) for factor in spec.used_factors]
            if any(relation is not None for relation in relations):
                model, pairs, directions = rotated(model, pairs, indexes, relations)
        n = products.sum_weights if frequency else float(products.n_rows)
        nu = n - len(model.kept) if spec.method == "reml" else n
        constant = -2.0 * nu * math.log(model.response_scale * math.sqrt(products.unit))
        constant += products.log_det
        if spec.method == "reml":
            constant -= 2.0 * model.log_scales
        if not frequency:
            constant -= products.sum_log_weights
        structures = tuple(spec.structure(factor) for factor in spec.used_factors)
        return cls(
            spec,
            model,
            structures,
            arrange(model.own, pairs, model.first, krylov, held=products.plan_bytes),
            pairs,
            n,
            constant,
            directions=directions,
        )

    def with_noise(self) -> Problem:
        """Return the same model for the response with a little noise.

        The noise has nothing to do with any column and a sum of squares of 1e-9 of that of the
        response. It keeps the criterion from falling without end.
        """
        gram, within = self.model.gram.copy(), self.model.within
        noise = _NOISE * gram[-1, -1]
        gram[-1, -1] += noise
        if within is not None:
            within = within.copy()
            within[-1, -1] += noise
        return replace(self, model=replace(self.model, gram=gram, within=within), is_noisy=True)

    def of_levels(self, blocks: Blocks) -> Blocks:
        """Return what belongs to levels, (..., n_levels), where some is of their directions."""
        found = self.directions or [None] * len(blocks)
        return [
            block if each is None else each.spread(block)
            for block, each in zip(blocks, found, strict=True)
        ]

    def mean_square(self, position: int) -> float:
        """Return the mean variance of the effects of levels of a used factor, over its variance."""
        found = self.directions[position] if self.directions else None
        return 1.0 if found is None else found.mean_square

    def scaled_lambdas(self, lambdas: Blocks) -> Blocks:
        """Return lambda of every used factor in scaled units, given in those of the data."""
        return [
            np.asarray(np.linalg.solve(random_map, lam), dtype=np.float64)
            for random_map, lam in zip(self.model.random_maps, lambdas, strict=True)
        ]

    @cached_property
    def penalties(self) -> tuple[ScaledPenalty, ...]:
        """The penalties of every used factor; none at all where no term has one."""
        return self.spec.penalties(self.model.random_maps)

    @property
    def joint_penalty(self) -> ScaledPenalty | None:
        """The penalties of the columns of all factors side by side, if there are any."""
        if not self.penalties:
            return None
        return ScaledPenalty.joined(self.penalties, [s.size for s in self.structures])

    def is_penalised(self, factor: int) -> bool:
        """Tell whether the covariance of some term of a used factor has a penalty."""
        return bool(self.penalties) and bool(self.penalties[factor].parts)

    @property
    def rank(self) -> int:
        """Number of independent fixed columns."""
        return len(self.model.kept)

    @cached_property
    def n_levels(self) -> tuple[float, ...]:
        """Number of levels of every used factor."""
        return tuple(map(self.model.n_levels, range(len(self.structures))))

    @cached_property
    def n_effects(self) -> int:
        """Number of random effects, of all factors together."""
        zipped = zip(self.structures, self.n_levels, strict=True)
        return sum(structure.size * int(n) for structure, n in zipped)

    @cached_property
    def sigma2(self) -> float | None:
        """The residual variance, in scaled units, where it is known."""
        known, scale = self.spec.sigma2, self.model.response_scale
        return None if known is None else known * scale * scale

    @property
    def residual_degrees(self) -> float:
        """Degrees of freedom of the residual variance: nu, infinite where it is known."""
        return self.degrees if self.spec.sigma2 is None else math.inf

    @property
    def degrees(self) -> float:
        """Divisor nu of the residual sum of squares."""
        reml = self.spec.method == "reml"
        return self.n_observations - self.rank if reml else self.n_observations

    @cached_property
    def least_squares(self) -> tuple[FloatArray, float]:
        """Coefficients, (p,), and residual sum of squares without random effects."""
        return least_squares(self.model.gram)

    @property
    def is_determined(self) -> bool:
        """Whether there is a residual variance: it is known, or something is left for it."""
        return self.spec.sigma2 is not None or self.leaves_residual

    @cached_property
    def leaves_residual(self) -> bool:
        """Whether anything is left for the residual: more rows than fixed columns, no exact fit."""
        gram = self.model.gram
        if self.n_observations <= self.rank:
            return False
        return bool(self.least_squares[1] > _EXACT_FIT * len(gram) * gram[-1, -1])


def threads_for(
    structures: Sequence[Structure], n_levels: Sequence[float], n_fixed: int
) -> AbstractContextManager[None]:
    """Return a context for a search over terms, in which BLAS has one thread unless they are large.

    Of one narrow term it makes no calls that BLAS would spread over threads.
    """
    widest = max((structure.size for structure in structures), default=0)
    if len(structures) < 2 and widest < WIDE:
        return nullcontext()
    n_effects = [s.size * n for s, n in zip(structures, n_levels, strict=True)]
    n_theta = sum(structure.n_theta for structure in structures)
    beside = sum(n_effects) - max(n_effects)
    is_small = max(beside, n_theta, widest, n_fixed) < _WORTH_THREADS
    return one_thread() if is_small else nullcontext()


def collapsed(problem: Problem) -> Problem:
    """Put levels of equal size together where that makes a search much shorter.

    Levels of one random intercept with the same Z'WZ have the same H and B, so that the criterion
    and its derivatives need of all their C = Z'W[X y] no more than the sum of C'C. A root of it has
    at most p + 1 rows, which stand for the levels. There are no effects of single levels then.
    `problem` itself is returned unless it has one random intercept, of many levels whose sums of
    weights are whole numbers and of few sizes, and no sums within levels are kept.
    """
    model = problem.model
    if len(model.own) != 1 or model.own[0].shape[0] != 1 or model.within is not None:
        return problem
    if model.own[0].shape[2] < _LEAST_LEVELS:
        return problem
    sizes, right = model.own[0][0, 0], model.right[0][0]
    numbers = _numbers_of_levels(sizes)
    distinct = np.flatnonzero(numbers)
    if not 0 < len(distinct) <= min(_MOST_SIZES, len(sizes) / (_LEVELS_A_ROW * len(right))):
        return problem
    if len(distinct) > 1:
        right = right[:, np.argsort(sizes.astype(np.uint16), kind="stable")]
    parts = np.split(right, np.cumsum(numbers[distinct])[:-1], axis=1)
    roots = [_gram_root(part) for part in parts]
    widths = [root.shape[1] for root in roots]
    own = np.repeat(distinct.astype(np.float64), widths)[None, None]
    times = np.repeat(numbers[distinct] / widths, widths)
    return replace(
        problem,
        model=replace(model, own=[own], right=[np.concatenate(roots, axis=1)[None]], times=times),
        elimination=Chain([0], [own], {}, {}, times),
    )


def _numbers_of_levels(sizes: FloatArray) -> IntArray:
    """Return how many levels there are of size 0, 1, 2 and so on, nothing if it does not apply."""
    if sizes.max() > _LARGEST_SIZE:
        return np.empty(0, dtype=np.intp)
    whole = sizes.astype(np.intp)
    return np.bincount(whole if np.array_equal(whole, sizes) else whole[:0])


def _gram_root(columns: FloatArray) -> FloatArray:
    """Return at most as many columns as rows whose products sum to the same: R R' = C C'."""
    if columns.shape[1] <= columns.shape[0]:
        return columns
    return semidefinite_root(columns @ columns.T)
