"""Whether a posterior integrates to one where a prior distribution does not.

As a deviation s of an effect with L levels grows, the likelihood falls as s^-(L - d), d being the
number of fixed columns with flat coefficients that the levels determine; with a density of s that
is s^(a - 1), flat for a = 1, that has an integral for L - d > a (Gelman 2006,
doi:10.1214/06-BA117A, for a = d = 1). As sigma
vanishes, the likelihood stays where random effects can follow every row.
"""

from __future__ import annotations

import numpy as np

from skmixed.bayes.priors import ModelPrior
from skmixed.bayes.scale_distributions import Decov, Flat, ScaleDistribution
from skmixed.core.batch.error_sums import ErrorSums, NeedsRowsError
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray

_DETERMINED = 1e-9  # share of a column's squares that its level means leave: rounding
_REMEDY = "give it a distribution that integrates to one, as prior='weak' does"


def check_posterior(fit: Fit, prior: ModelPrior) -> None:
    """Raise ValueError for a prior under which the posterior of a fit does not integrate to one."""
    for number, term in enumerate(prior.terms):
        if isinstance(term.scales, Decov):
            continue
        for scale, group in zip(term.scales, term.shape.deviations, strict=True):
            name = term.shape.columns[group[0]]
            where = f"the standard deviation of {name!r} over {term.shape.factor!r}"
            if isinstance(scale, Flat) and scale.log:
                raise ValueError(
                    f"with Flat(log=True) {where} has a posterior that does not integrate to one, "
                    f"since the data cannot exclude a variance of zero: {_REMEDY}"
                )
            if not scale.is_proper:
                _check_levels(fit, prior, number, group, scale, where)
    if prior.noise is not None and not prior.noise.is_proper and not _leaves_residual(fit):
        raise ValueError(
            f"with {prior.noise!r} the residual deviation has a posterior that does not integrate "
            f"to one, since the random effects can follow every row: {_REMEDY}"
        )


def _check_levels(
    fit: Fit,
    prior: ModelPrior,
    number: int,
    group: tuple[int, ...],
    scale: ScaleDistribution,
    where: str,
) -> None:
    shape = prior.terms[number].shape
    columns = [shape.block.start + place for place in group]
    n_effects, n_determined = _determined(fit, shape.position, columns, _flat_columns(prior))
    power = scale.power
    if n_effects - n_determined <= power:
        named = "a flat distribution" if power == 1.0 else repr(scale)
        needed = "two" if power == 1.0 else f"more than {power:g}"
        raise ValueError(
            f"with {named} {where} has a posterior that does not integrate to one: "
            f"{n_effects} effects, of which the fixed columns leave {n_effects - n_determined}, "
            f"and {needed} are needed. {_REMEDY[0].upper()}{_REMEDY[1:]}"
        )


def _flat_columns(prior: ModelPrior) -> FloatArray:
    """Return combinations of the fixed columns that are flat, (p, m)."""
    inverse = np.linalg.inv(prior.coef.combinations)
    return np.asarray(inverse[:, prior.coef.precision == 0.0])


def _determined(fit: Fit, position: int, columns: list[int], flat: FloatArray) -> tuple[int, int]:
    """Return how many effects of some columns there are, and how many flat columns these span."""
    model = fit.problem.model
    to_raw = model.to_raw[[fit.spec.fixed[place] for place in fit.kept], :-1]
    # scaled columns, whose coefficients are to_raw^-1 times raw ones
    maps = np.linalg.solve(to_raw, flat)
    inverse = np.linalg.inv(model.random_maps[position])[:, columns]
    own = np.einsum("ac,abl,bd->lcd", inverse, model.own[position], inverse)
    right = np.einsum("ac,apl,pm->lcm", inverse, model.right[position][:, :-1], maps)
    values, vectors = np.linalg.eigh(own)
    felt = values > _DETERMINED * values.max(initial=0.0)
    scores = np.einsum("lab,lam->lbm", vectors, right)
    taken = np.where(felt, 1.0 / np.where(felt, values, 1.0), 0.0)
    explained = np.einsum("lbm,lb,lbn->mn", scores, taken, scores)
    gram = maps.T @ model.gram[:-1, :-1] @ maps
    sizes = np.sqrt(np.diag(gram))
    left = np.linalg.eigvalsh((gram - explained) / np.outer(sizes, sizes))
    return int(felt.sum()), int((left < _DETERMINED).sum())


def _leaves_residual(fit: Fit) -> bool:
    """Tell whether fixed columns and effects cannot follow every row."""
    n_rows = fit.products.n_rows
    if n_rows > fit.problem.n_effects + fit.rank:
        return True
    try:
        return ErrorSums.of(fit).rank < n_rows
    except NeedsRowsError:
        return False
