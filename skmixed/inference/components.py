"""What a model estimates: coefficients, standard deviations, correlations.

Names are those of lme4: ``sd_x|g``, ``cor_x.z|g``, ``sigma``, and the coefficients' own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from skmixed.core.batch.refits import Refits
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import Term
from skmixed.inference.fitted import coefficient_names


@dataclass(frozen=True, slots=True)
class Component:
    """One parameter: a standard deviation, a correlation, sigma or a coefficient."""

    name: str
    kind: Literal["sd", "cor", "sigma", "coefficient"]
    estimate: float  # in raw units; NaN for the correlation of what does not vary
    term: Term | None = None  # the random term it belongs to
    columns: tuple[int, ...] = ()  # its columns' places in the term, or among the fixed columns


def components_of(fit: Fit) -> list[Component]:
    """List the parameters of a fit: those of the random terms, sigma, and the coefficients.

    Terms come by falling number of levels; coefficients of dropped columns are left out.
    """
    found = [part for term in fit.ordered_terms for part in _of_term(fit, term)]
    found.append(Component("sigma", "sigma", float(np.sqrt(fit.sigma2))))
    names, beta = coefficient_names(fit), fit.beta
    for place in fit.kept:
        found.append(Component(names[place], "coefficient", float(beta[place]), None, (place,)))
    return found


def is_identified(fit: Fit, component: Component) -> bool:
    """Tell whether the data say anything about a parameter."""
    if np.isnan(component.estimate):
        return False
    return component.term is None or component.term.factor not in fit.unidentified


def identified_part(fit: Fit) -> Fit:
    """Return a fit without the terms that nothing tells from other parts of the model.

    It has the same likelihood, and is the fit itself where there are none.
    """
    if not fit.unidentified:
        return fit
    kept = tuple(term for term in fit.spec.terms if term.factor not in fit.unidentified)
    return fit.refit(terms=kept)


def _of_term(fit: Fit, term: Term) -> list[Component]:
    layout = fit.products.layout
    factor = ":".join(layout.factors[term.factor].key)
    names = [layout.columns[place] for place in term.columns]
    covariance = fit.term_covariance(term)
    deviations = np.sqrt(np.diag(covariance))
    if term.kind == "identity":
        name = f"sd_{','.join(names)}|{factor}"
        return [Component(name, "sd", float(deviations[0]), term, tuple(range(len(names))))]
    found = []
    for i, name in enumerate(names):
        found.append(Component(f"sd_{name}|{factor}", "sd", float(deviations[i]), term, (i,)))
        for j in range(i + 1, len(names) if term.kind == "unstructured" else 0):
            product = float(deviations[i] * deviations[j])
            value = float(covariance[i, j]) / product if product > 0 else float("nan")
            label = f"cor_{names[j]}.{name}|{factor}"
            value = float(np.clip(value, -1.0, 1.0))
            found.append(Component(label, "cor", value, term, (i, j)))
    return found


def estimates_of(fit: Fit) -> Refits:
    """Return the estimates of a fit as those of one replicate."""
    return Refits(
        fit.beta[None],
        np.array([fit.sigma2]),
        [lam[None] for lam in fit.scaled_lambdas],
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
