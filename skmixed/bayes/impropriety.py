"""Checks that the posterior is proper if a prior is not.

As m standard deviations grow together, the likelihood decreases as s^-r, r being the dimension of
their effects beyond the fixed columns with flat coefficients: the rank of both minus that of the
columns. With densities s^(a - 1), flat for a = 1, the integral is finite if r > sum of a, for every
set of the deviations (for one, r = L - 1 levels: Gelman 2006, doi:10.1214/06-BA117A), and the mean
is finite if r > a + 1. As sigma grows with them, r is n - p. As sigma vanishes, the likelihood
stays positive where random effects can fit every row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from skmixed.bayes.priors import ModelPrior
from skmixed.bayes.scale_distributions import Decov, Flat, ScaleDistribution
from skmixed.core.batch.error_sums import ErrorSums, NeedsRowsError
from skmixed.core.fit import Fit
from skmixed.core.linalg import BoolArray, FloatArray
from skmixed.core.sums.blocks import pair_between
from skmixed.exceptions import SamplingWarning, warn

_DETERMINED = 1e-9  # share of a column's squares beyond others that is rounding
_MOST_TOGETHER = 12  # deviations with few effects of which every set is checked: 4,095 sets
_REMEDY = "use a proper prior, as in prior='weak'"
_REMEDY_OF_ONE = "Use a proper prior for one of them, as in prior='weak'"


def check_posterior(fit: Fit, prior: ModelPrior) -> None:
    """Raise ValueError for a prior under which the posterior of a fit is improper.

    Warns of standard deviations whose posterior has no mean.
    """
    flat = []
    for term in prior.terms:
        if isinstance(term.scales, Decov):
            continue
        for scale, group in zip(term.scales, term.shape.deviations, strict=True):
            name = term.shape.columns[group[0]]
            where = f"the standard deviation of {name!r} over {term.shape.factor!r}"
            if isinstance(scale, Flat) and scale.log:
                raise ValueError(
                    f"with Flat(log=True) {where} has an improper posterior, since the data cannot "
                    f"exclude a variance of zero: {_REMEDY}"
                )
            if not scale.is_proper:
                columns = [term.shape.block.start + place for place in group]
                flat.append(_ImproperDeviation(term.shape.position, tuple(columns), scale, where))
    if flat:
        _check_ways(_Ways(fit, _flat_columns(prior)), flat)
    if prior.noise is not None and not prior.noise.is_proper:
        _check_sigma(fit, prior, prior.noise, sum(each.scale.power for each in flat))


@dataclass(frozen=True, slots=True)
class _ImproperDeviation:
    """A standard deviation with an improper prior."""

    position: int  # of its factor among the used ones
    columns: tuple[int, ...]  # of the factor, that share it
    scale: ScaleDistribution
    where: str  # what it is, in words

    @property
    def named(self) -> str:
        """Name its prior in a message."""
        return "a flat prior" if self.scale.power == 1.0 else repr(self.scale)


def _check_ways(ways: _Ways, flat: list[_ImproperDeviation]) -> None:
    """Check each deviation by itself, and those with few effects together."""
    single = {}
    for each in flat:
        n_effects, single[each] = ways.of_one(each)
        power = each.scale.power
        if single[each] <= power:
            needed = "two" if power == 1.0 else f"more than {power:g}"
            raise ValueError(
                f"with {each.named} {each.where} has an improper posterior: the fixed columns "
                f"leave {single[each]} of its {n_effects} effects, and {needed} are needed. "
                f"{_REMEDY[0].upper()}{_REMEDY[1:]}"
            )
    for several in _sets_of_few(single):
        left, power = ways.of(several), sum(each.scale.power for each in several)
        if left <= power:
            names = " and ".join(each.where for each in several)
            raise ValueError(
                f"with flat priors {names} have an improper posterior: together their effects have "
                f"{left} dimensions beyond the fixed columns, and more than {power:g} are needed. "
                f"{_REMEDY_OF_ONE}"
            )
    for each, left in single.items():
        if left <= each.scale.power + 1.0:
            warn(
                f"with {each.named} {each.where} has a posterior without a mean, since its effects "
                f"have only {left} dimensions beyond the fixed columns: report quantiles, or "
                f"{_REMEDY}",
                SamplingWarning,
            )


def _sets_of_few(single: dict[_ImproperDeviation, int]) -> Iterator[tuple[_ImproperDeviation, ...]]:
    """Yield sets of two or more deviations that may have too few dimensions together.

    They have at least as many dimensions as each of them.
    """
    total = sum(each.scale.power for each in single)
    few = sorted((each for each in single if single[each] <= total), key=single.__getitem__)
    few = few[:_MOST_TOGETHER]
    for m in range(2, len(few) + 1):
        for several in combinations(few, m):
            power = sum(each.scale.power for each in several)
            if max(single[each] for each in several) <= power:
                yield several


def _check_sigma(fit: Fit, prior: ModelPrior, sigma: ScaleDistribution, power: float) -> None:
    """Check sigma, beside deviations of effects whose powers have this sum."""
    if not _leaves_residual(fit):
        raise ValueError(
            f"with {sigma!r} the residual standard deviation has an improper posterior, since the "
            f"random effects can fit every row: {_REMEDY}"
        )
    needed = power + (0.0 if isinstance(sigma, Flat) and sigma.log else sigma.power)
    left = fit.n_observations - _flat_columns(prior).shape[1]
    if left <= needed:
        raise ValueError(
            f"with {sigma!r} the residual standard deviation has an improper posterior: the fixed "
            f"columns leave {left:g} of {fit.n_observations:g} rows, and more than {needed:g} are "
            f"needed. {_REMEDY[0].upper()}{_REMEDY[1:]}"
        )


def _flat_columns(prior: ModelPrior) -> FloatArray:
    """Return combinations of the fixed columns with flat priors, (p, m)."""
    inverse = np.linalg.inv(prior.coef.combinations)
    return np.asarray(inverse[:, prior.coef.precision == 0.0])


@dataclass(frozen=True, eq=False)
class _Ways:
    """Dimension of effects beyond the fixed columns with flat coefficients."""

    fit: Fit
    flat: FloatArray  # (p, m), combinations of raw fixed columns with flat coefficients

    @cached_property
    def _maps(self) -> FloatArray:
        """The same combinations of scaled columns, whose coefficients are to_raw^-1 times raw."""
        model = self.fit.problem.model
        to_raw = model.to_raw[[self.fit.spec.fixed[place] for place in self.fit.kept], :-1]
        return np.asarray(np.linalg.solve(to_raw, self.flat), dtype=np.float64)

    @cached_property
    def _gram(self) -> FloatArray:
        return np.asarray(self._maps.T @ self.fit.problem.model.gram[:-1, :-1] @ self._maps)

    def _columns(self, each: _ImproperDeviation) -> FloatArray:
        """Return the map to its columns from the scaled ones of its factor, (k, columns)."""
        random_map = self.fit.problem.model.random_maps[each.position]
        return np.asarray(np.linalg.inv(random_map)[:, list(each.columns)])

    def of_one(self, each: _ImproperDeviation) -> tuple[int, int]:
        """Return the number of effects, and how many of them the flat columns leave."""
        model, inverse = self.fit.problem.model, self._columns(each)
        own = np.einsum("ac,abl,bd->lcd", inverse, model.own[each.position], inverse)
        right = model.right[each.position][:, :-1]
        right = np.einsum("ac,apl,pm->lcm", inverse, right, self._maps)
        values, vectors = np.linalg.eigh(own)
        felt = values > _DETERMINED * values.max(initial=0.0)
        scores = np.einsum("lab,lam->lbm", vectors, right)
        taken = np.where(felt, 1.0 / np.where(felt, values, 1.0), 0.0)
        explained = np.einsum("lbm,lb,lbn->mn", scores, taken, scores)
        left = _correlations(self._gram - explained, np.diag(self._gram))
        n_determined = int((np.linalg.eigvalsh(left) < _DETERMINED).sum())
        return int(felt.sum()), int(felt.sum()) - n_determined

    def of(self, several: tuple[_ImproperDeviation, ...]) -> int:
        """Return the dimension of the effects of several deviations together."""
        blocks = [[self._gram, *(self._fixed(each) for each in several)]]
        for i, one in enumerate(several):
            row = [self._between(one, other) for other in several]
            blocks.append([blocks[0][i + 1].T, *row])
        joint = np.block(blocks)
        return _rank(joint) - _rank(self._gram)

    def _fixed(self, each: _ImproperDeviation) -> FloatArray:
        """Return products of the flat columns and of all effects, (m, effects)."""
        right = self.fit.problem.model.right[each.position][:, :-1]
        found = np.einsum("ac,apl,pm->mcl", self._columns(each), right, self._maps)
        m, k, n_levels = found.shape
        return np.asarray(found.reshape(m, k * n_levels))

    def _between(self, one: _ImproperDeviation, other: _ImproperDeviation) -> FloatArray:
        """Return products of the effects of two deviations, (effects, effects)."""
        problem = self.fit.problem
        own = problem.model.own
        sizes = [own[each.position].shape[2] for each in (one, other)]
        if one.position == other.position:
            rows = columns = np.arange(sizes[0])
            products = own[one.position]
        else:
            pair = pair_between(problem.pairs, one.position, other.position)
            rows, columns, products = pair.rows, pair.columns, pair.products
        left, right = self._columns(one), self._columns(other)
        turned = np.einsum("ac,abn,bd->cdn", left, products, right)
        found = np.zeros((left.shape[1], sizes[0], right.shape[1], sizes[1]))
        found[:, rows, :, columns] = turned.transpose(2, 0, 1)
        return found.reshape(left.shape[1] * sizes[0], -1)


def _correlations(gram: FloatArray, squares: FloatArray) -> FloatArray:
    """Return products of columns divided by square roots of squares; zero for zero columns."""
    felt: BoolArray = squares > 0.0
    roots = np.sqrt(np.where(felt, squares, 1.0))
    return np.asarray(gram / np.outer(roots, roots))


def _rank(gram: FloatArray) -> int:
    """Return the number of independent columns."""
    if not len(gram):
        return 0
    values = np.linalg.eigvalsh(_correlations(gram, np.diag(gram)))
    return int((values > _DETERMINED * len(gram)).sum())


def _leaves_residual(fit: Fit) -> bool:
    """Tell whether fixed columns and random effects cannot fit every row."""
    n_rows = fit.products.n_rows
    if n_rows > fit.problem.n_effects + fit.rank:
        return True
    try:
        return ErrorSums.of(fit).rank < n_rows
    except NeedsRowsError:
        return False
