"""Penalties that priors add to the criterion of a fit (maximum penalised likelihood).

Priors apply, in linear models relative to the residual variance, to what they are named for: a
gamma to a standard deviation, an inverse gamma to a variance, a Wishart to a covariance. The
penalty is -2 times the log of that density, as in blme, with no change of variables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from scipy.special import gammaln

from skmixed.bayes.correlation_distributions import LKJ
from skmixed.bayes.covariance_distributions import Wishart
from skmixed.bayes.priors import Prior, check_names
from skmixed.bayes.scale_distributions import Gamma, InverseGamma, ScaleDistribution
from skmixed.core.model.covariance import Structure
from skmixed.core.model.penalty import Penalty, VariancePenalty
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.sums.layout import GroupIndex

PenaltyName = Literal["wishart"]
PENALTY_NAMES = ("wishart",)
Penalising = PenaltyName | Wishart | ScaleDistribution | Prior | Mapping[str, Any] | None
"""The type of a fit's argument `prior`."""

_DEFAULT_EXCESS = 1.5  # degrees of freedom above k + 1, as in blme: a penalty of -3 log s
_INSTEAD = (
    "use prior='wishart', Gamma(2, ...) or InverseGamma; or sample the posterior, which allows "
    "other priors, with BayesianMixedRegressor or skmixed.bayes.sample"
)


def with_penalties(
    spec: ModelSpec, columns: Sequence[str], indexes: Sequence[GroupIndex], prior: Any
) -> ModelSpec:
    """Return a model whose terms have the penalties of a prior, or of one for each factor.

    The columns are those of the layout by name, the indexes those of all its factors. Raises
    ValueError for a prior that does not keep the optimum off the boundary, and TypeError for
    anything that is not a prior.
    """
    names = {factor: indexes[factor].name for factor in spec.used_factors}
    for where, given in _by_factor(prior):
        check_names(given, names.values(), where, "a factor with random effects")
        for factor, name in names.items():
            if isinstance(given.get(name), Mapping):
                known = [columns[place] for place in spec.factor_columns(factor)]
                check_names(given[name], known, where, f"a random column of {name!r}")
    terms = [
        replace(term, penalty=_penalty(term, names[term.factor], columns, prior))
        for term in spec.terms
    ]
    return replace(spec, terms=tuple(terms))


def _by_factor(prior: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Return priors given by names of factors, each with its name in messages."""
    parts = [("prior", prior)]
    if isinstance(prior, Prior):
        parts = [(f"Prior({part}=...)", getattr(prior, part)) for part in ("scales", "correlation")]
    return [(where, part) for where, part in parts if isinstance(part, Mapping)]


def _penalty(term: Term, name: str, columns: Sequence[str], prior: Any) -> Penalty | None:
    """Return the penalty of a term of a named factor."""
    given = prior.get(name) if isinstance(prior, Mapping) else prior
    where, structure = f"the covariance of {name!r}", term.structure
    if given is None:
        return None
    if len(term.effects) > 1:
        raise ValueError(
            f"{where} has correlated effects of multiple memberships, for which there is no "
            "prior: write || for independent effects, or set no prior"
        )
    if structure.rank_of_covariances < structure.size:
        raise ValueError(
            f"{where} has reduced rank and is singular by design: a prior needs another structure, "
            "such as 'unstructured' or 'diagonal'"
        )
    if isinstance(given, str) and given in PENALTY_NAMES:
        given = Wishart()
    if isinstance(given, Wishart):
        return _of_covariance(structure, where, given)
    if isinstance(given, Prior):
        return _of_prior(term, name, columns, given)
    if isinstance(given, ScaleDistribution):
        return _of_deviations(structure, where, [given] * len(structure.deviations), LKJ())
    raise TypeError(f"prior={given!r} for {name!r} cannot be used in a penalised fit: {_INSTEAD}")


def _of_covariance(structure: Structure, where: str, given: Wishart) -> Penalty:
    """Return the penalty of a Wishart density, counting a deviation that columns share once."""
    k = structure.size if structure.correlations else 1
    excess = _DEFAULT_EXCESS if given.df is None else given.df - k - 1.0
    name = f"Wishart(df={excess + k + 1.0:g})"
    if excess <= 0.0:
        raise ValueError(
            f"{name} allows {where} to be singular: df must be more than k + 1, "
            f"{k + 1} with {k} correlated column{'s' * (k > 1)}"
        )
    shared = [(group, excess * (len(group) - 1)) for group in structure.deviations]
    if structure.correlations:
        variances = tuple(VariancePenalty(*each) for each in shared if each[1])
        return Penalty(excess, variances, name=name)
    alone = tuple(VariancePenalty(group, -excess) for group in structure.deviations)
    return Penalty(0.0, alone, name=name)


def _of_prior(term: Term, name: str, columns: Sequence[str], prior: Prior) -> Penalty:
    """Return the penalty of priors for standard deviations and correlations."""
    where = f"the covariance of {name!r}"
    for part in ("sigma", "coef"):
        if getattr(prior, part) is not None:
            raise ValueError(
                f"Prior({part}=...) has no effect in a penalised fit, which penalises covariances "
                "only: leave it out, or sample the posterior with BayesianMixedRegressor"
            )
    given, correlation = prior.scales, prior.correlation
    if isinstance(given, Mapping):
        given = given.get(name)
    names = [columns[place] for place in term.columns]
    if isinstance(correlation, Mapping):
        correlation = correlation.get(name, LKJ())
    scales = []
    for group in term.structure.deviations:
        own = given
        if isinstance(given, Mapping):
            own = next((given[names[place]] for place in group if names[place] in given), None)
        scales.append(own)
    return _of_deviations(term.structure, where, scales, correlation)


def _of_deviations(
    structure: Structure, where: str, scales: Sequence[Any], correlation: LKJ
) -> Penalty:
    """Return the penalty of a prior for each standard deviation and one for the correlations."""
    parts = [_of_scale(scale, where) for scale in scales]
    determinant = 2.0 * (correlation.eta - 1.0) if structure.correlations else 0.0
    if structure.correlations and determinant <= 0.0:
        raise ValueError(
            f"{where} has correlations, which {correlation!r} allows to be 1 or -1: use "
            "prior='wishart', Prior(scales=..., correlation=LKJ(2)), or independent columns, ||"
        )
    variances = [
        VariancePenalty(group, log + determinant * len(group), rate, power)
        for group, (log, rate, power, _) in zip(structure.deviations, parts, strict=True)
    ]
    named = [*dict.fromkeys(map(repr, scales)), *[repr(correlation)] * bool(determinant)]
    constant = sum(constant for *_, constant in parts)
    return Penalty(determinant, tuple(variances), constant, ", ".join(named))


def _of_scale(scale: Any, where: str) -> tuple[float, float, float, float]:
    """Return a, r and p of a log v + r v^p, v being the variance, and a constant."""
    if isinstance(scale, Gamma) and scale.shape > 1.0:
        constant = 0.0
        if scale.is_proper:
            constant = 2.0 * float(gammaln(scale.shape) + scale.shape * np.log(scale.scale))
        return 1.0 - scale.shape, 2.0 / scale.scale, 0.5, constant
    if isinstance(scale, InverseGamma):
        a, b = scale.shape, scale.scale
        constant = 2.0 * float(gammaln(a) - a * np.log(b))
        return 2.0 * (a + 1.0), 2.0 * b, -1.0, constant
    named = "the default, a half-t" if scale is None else repr(scale)
    raise ValueError(
        f"the density of {named}, for {where}, is not zero at a standard deviation of zero, so a "
        f"penalised fit may still be singular: {_INSTEAD}"
    )
