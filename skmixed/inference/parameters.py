"""What a model estimates, in lme4's words: coefficients, standard deviations, correlations."""

from __future__ import annotations

import numpy as np

from skmixed.core.fit import Fit
from skmixed.core.layout import FloatArray
from skmixed.core.replicates import Refits


def estimates_of(fit: Fit) -> Refits:
    """Return the estimates of a fit as those of one replicate."""
    return Refits(
        fit.beta[None],
        np.array([fit.sigma2]),
        [lam[None] for lam in fit.scaled_factors],
        [covariance[None] for covariance in fit.covariances],
        np.array([fit.report.converged]),
    )


def parameter_names(fit: Fit) -> list[str]:
    """Name what a model estimates, as lme4 does.

    The fixed columns, ``sd_Days|Subject`` and ``cor_Days.(Intercept)|Subject`` of the random ones,
    then ``sigma``.
    """
    columns = fit.products.layout.columns
    names = [columns[place] for place in fit.spec.fixed]
    for term in fit.ordered_terms:
        group = ":".join(fit.products.layout.factors[term.factor].key)
        own = [columns[place] for place in term.columns]
        names += [f"sd_{name}|{group}" for name in own]
        if term.kind == "unstructured":
            pairs = [(i, j) for j in range(len(own)) for i in range(j + 1, len(own))]
            names += [f"cor_{own[i]}.{own[j]}|{group}" for i, j in pairs]
    return [*names, "sigma"]


def parameter_values(fit: Fit, refits: Refits) -> FloatArray:
    """Tabulate estimates of R replicates in the order of `parameter_names`, (R, n_parameters).

    Random effects and residual have standard deviations; NaN is a correlation of what does not
    vary.
    """
    parts = [refits.beta]
    for term in fit.ordered_terms:
        position, block = fit.place_of(term)
        covariances = refits.covariances[position][:, block, block]
        deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
        parts.append(deviations)
        if term.kind == "unstructured":
            size = deviations.shape[1]
            with np.errstate(invalid="ignore"):
                parts += [
                    covariances[:, i, j, None] / (deviations[:, [i]] * deviations[:, [j]])
                    for j in range(size)
                    for i in range(j + 1, size)
                ]
    return np.concatenate([*parts, np.sqrt(refits.sigma2)[:, None]], axis=1)
