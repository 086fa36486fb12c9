"""The parameters of a model: coefficients, standard deviations, correlations.

Names follow lme4: ``sd_x|g``, ``cor_x.z|g``, ``sigma``, and those of the coefficients. In place of
sigma a generalized model may have its ``dispersion``. Thresholds between ordered categories are
called ``low|high``, and parameters of a residual structure ``ar1``, ``ratio a/b`` and ``power``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from skmixed.core.batch.refits import Refits
from skmixed.core.batch.residual_refits import ResidualRefits
from skmixed.core.fit import Fit
from skmixed.core.generalized.after_fit.redrawn import GeneralizedRefits
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import Term
from skmixed.core.residual.structure import ResidualParameter
from skmixed.inference.fitted import (
    AnyFit,
    MixedFit,
    coefficient_names,
    residual_fit_of,
    stated_places,
)

_AT_ONE = 1e-12  # distance from a correlation of +-1 that is rounding error on the boundary
_NAMED_OF_SHARED = 3  # columns that share a deviation: of more, the first and last are named


@dataclass(frozen=True, slots=True)
class Component:
    """One parameter: a standard deviation, a correlation, sigma, a dispersion or a coefficient."""

    name: str
    # A dispersion is a scale; a parameter of a residual structure is "residual".
    kind: Literal["sd", "cor", "scale", "residual", "threshold", "coefficient"]
    estimate: float  # in raw units; NaN for a correlation with an effect of variance zero
    term: Term | None = None  # the random term it belongs to
    columns: tuple[int, ...] = ()  # places in the term, or among the others of its kind


def components_of(fit: AnyFit) -> list[Component]:
    """List the parameters of a fit: of the random terms, scales, thresholds and coefficients.

    Terms are ordered by decreasing number of levels; coefficients of dropped columns are left out.
    """
    of_terms = [part for term in fit.ordered_terms for part in _of_term(fit, term)]
    kept = [place for place in stated_places(fit) if place in fit.kept]
    of_rest = [*_of_structure(fit), *_scales(fit), *_thresholds(fit)]
    return [*of_terms, *of_rest, *_coefficients(fit, kept)]


def parameters_of(fit: AnyFit) -> list[Component]:
    """List the parameters in the order of a bootstrap: coefficients first, scales last.

    Dropped columns are included, standard deviations precede correlations, and every column has
    one, even where columns share it.
    """
    of_terms = [
        part
        for term in fit.ordered_terms
        for part in sorted(_of_term(fit, term, shared=False), key=lambda part: part.kind == "cor")
    ]
    coefficients = _coefficients(fit, stated_places(fit))
    return [*_thresholds(fit), *coefficients, *of_terms, *_of_structure(fit), *_scales(fit)]


_KINDS = {"fixed": ("threshold", "coefficient"), "random": ("sd", "cor")}


def chosen_components(
    components: list[Component], parameters: str | Sequence[str] | None
) -> list[Component]:
    """Return the components asked for, in their own order; None asks for all.

    "fixed" stands for the coefficients and thresholds, "random" for the standard deviations and
    correlations of random effects. Raises ValueError for unknown names.
    """
    if parameters is None:
        return components
    if isinstance(parameters, str) and parameters in _KINDS:
        return [part for part in components if part.kind in _KINDS[parameters]]
    names = {parameters} if isinstance(parameters, str) else set(parameters)
    known = [part.name for part in components]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(
            f"parameters={parameters!r} names {unknown or 'nothing'}; the model has {known}, and "
            "'fixed' and 'random' stand for groups of these"
        )
    return [part for part in components if part.name in names]


def _of_structure(fit: AnyFit) -> list[Component]:
    near = residual_fit_of(fit)
    return [
        Component(each.name, "residual", each.value, None, (place,))
        for place, each in enumerate(() if near is None else near.residual_parameters)
    ]


def _scales(fit: AnyFit) -> list[Component]:
    return [Component(name, "scale", value) for name, value in fit.scales.items()]


def _thresholds(fit: AnyFit) -> list[Component]:
    if not isinstance(fit, GeneralizedFit) or not fit.has_thresholds:
        return []
    return [
        Component(name, "threshold", float(value), None, (place,))
        for place, (name, value) in enumerate(zip(fit.threshold_names, fit.thresholds, strict=True))
    ]


def _coefficients(fit: AnyFit, places: Iterable[int]) -> list[Component]:
    names, beta = coefficient_names(fit), fit.beta
    return [
        Component(names[place], "coefficient", float(beta[place]), None, (place,))
        for place in places
    ]


def is_identified(fit: AnyFit, component: Component) -> bool:
    """Tell whether the data identify a parameter."""
    if np.isnan(component.estimate):
        return False
    return component.term is None or component.term.factor not in fit.unidentified


def identified_part(fit: Fit) -> Fit:
    """Return a fit without the terms that the data do not identify.

    It has the same likelihood, and is the fit itself if there are none.
    """
    if not fit.unidentified:
        return fit
    kept = tuple(term for term in fit.spec.terms if term.factor not in fit.unidentified)
    return fit.refit(terms=kept)


def _of_term(fit: AnyFit, term: Term, *, shared: bool = True) -> list[Component]:
    """List the parameters of a term; if `shared`, a standard deviation that columns share once."""
    names = [fit.products.layout.columns[place] for place in term.columns]
    deviations, correlations = deviations_and_correlations(fit.term_covariance(term))
    factor = ":".join(fit.products.layout.factors[term.factor].key) + _told_apart(fit, term)
    step = 1
    if term.members:
        small, step = slice(None, None, term.copies), term.copies
        deviations, correlations = deviations[small], correlations[small, small]
        names = list(term.effects)
    elif term.curve:
        label = f"sd_{term.curve}" + (factor and f"|{factor}")
        return [Component(label, "sd", float(deviations[0]), term, tuple(range(len(names))))]
    structure, found = term.level_structure, []
    for columns in structure.deviations if shared else [(i,) for i in range(len(names))]:
        i, shared_by = columns[0], [names[column] for column in columns]
        if len(columns) > _NAMED_OF_SHARED:
            shared_by[1:-1] = ["..."]
        label = ",".join(shared_by)
        places = tuple(column * step for column in columns)
        found.append(Component(f"sd_{label}|{factor}", "sd", float(deviations[i]), term, places))
        for j in (second for first, second in structure.correlations if first == i):
            label = f"cor_{names[j]}.{names[i]}|{factor}"
            places = (i * step, j * step)
            found.append(Component(label, "cor", float(correlations[i, j]), term, places))
    return found


def _told_apart(fit: AnyFit, term: Term) -> str:
    """Return the suffix, after a dot, that distinguishes a term from others with the same columns.

    It is a number, as in lme4, empty for the first; for the parts of a structure, what they are.
    """
    if term.whole:
        return ".common" if term.structure.n_latent else ".unique"
    siblings = fit.spec.factor_terms(term.factor)
    number = next(place for place, sibling in enumerate(siblings) if sibling is term)
    same = sum(not set(term.columns).isdisjoint(each.columns) for each in siblings[:number])
    return f".{same}" if same else ""


def deviations_and_correlations(covariances: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return standard deviations, (..., k), and correlations, of covariances, (..., k, k).

    Correlations with an effect of variance zero are NaN.
    """
    deviations = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = covariances / (deviations[..., :, None] * deviations[..., None, :])
    return deviations, np.clip(correlations, -1.0, 1.0)


def values_of(
    fit: MixedFit, components: Sequence[Component], refits: Refits | GeneralizedRefits
) -> FloatArray:
    """Tabulate the values of components in R replicates of a fit, (R, n_components)."""
    spreads = [deviations_and_correlations(each) for each in refits.covariances]

    def values(part: Component) -> FloatArray:
        if part.kind == "scale":
            return refits.scales[:, 0]
        if part.kind == "residual":
            assert isinstance(refits, ResidualRefits)
            return refits.residual[:, part.columns[0]]
        if part.kind == "threshold":
            assert isinstance(refits, GeneralizedRefits)
            return refits.thresholds[:, part.columns[0]]
        if part.term is None:
            return refits.beta[:, part.columns[0]]
        position, block = fit.place_of(part.term)
        deviations, correlations = spreads[position]
        first, *other = (block.start + column for column in part.columns)
        return correlations[:, first, other[0]] if part.kind == "cor" else deviations[:, first]

    return np.stack([values(part) for part in components], axis=1)


def range_of(fit: AnyFit, component: Component) -> tuple[float, float]:
    """Return the lower and upper bound of a parameter."""
    if component.kind == "residual":
        near = residual_fit_of(fit)
        assert near is not None
        parameter = near.residual_parameters[component.columns[0]]
        return parameter.lower, parameter.upper
    return (-1.0, 1.0) if component.kind == "cor" else (0.0, np.inf)


def scale_of(estimate: float, within: tuple[float, float]) -> tuple[float, Any] | None:
    """Return the estimate on the scale of its range, and the way back; None on the boundary."""
    if within[0] == -np.inf:
        return estimate, float
    if within[1] == 1.0:
        inside = abs(estimate) < 1.0 - _AT_ONE
        return (float(np.arctanh(estimate)), np.tanh) if inside else None
    return (float(np.log(estimate)), np.exp) if 0.0 < estimate < np.inf else None


def steepness(parameter: ResidualParameter) -> float:
    """Return the derivative of the scale of a parameter's range in its value."""
    if parameter.lower == -np.inf:
        return 1.0
    if parameter.upper == 1.0:
        return 1.0 / (1.0 - parameter.value**2)
    return 1.0 / parameter.value
