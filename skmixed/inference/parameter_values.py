"""Parameter values of a fit, some replaced by given ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, semidefinite_root
from skmixed.core.model.spec import Term
from skmixed.inference.components import (
    Component,
    components_of,
    deviations_and_correlations,
)

_CONTRADICTION_OF_CORRELATIONS = 1e-10  # of the variances: smaller eigenvalues are rounding


@dataclass(frozen=True, slots=True, eq=False)
class ParameterValues:
    """Parameter values from which responses are simulated."""

    beta: FloatArray  # (n_fixed,)
    roots: Blocks  # (k, k) of every used factor, lower triangular, of covariances of effects
    sigma: float  # residual standard deviation, 1 of a generalized model

    @classmethod
    def of(cls, fit: Fit | GeneralizedFit, given: Mapping[str, float]) -> ParameterValues:
        """Take the estimates, except for parameters given by name.

        The names are those of `confidence_intervals`. Raises ValueError for unknown names,
        parameters that cannot be changed, and impossible values.
        """
        known = {part.name: part for part in components_of(fit)}
        unknown = [name for name in given if name not in known]
        if unknown:
            raise ValueError(f"parameters names {unknown}; the model has {list(known)}")
        beta, sigma = fit.beta.copy(), 1.0
        if isinstance(fit, Fit):
            sigma = float(np.sqrt(fit.sigma2))
        of_terms: list[tuple[Component, float]] = []
        for name, value in given.items():
            part, number = known[name], float(value)
            _check(part, number)
            if part.kind == "coefficient":
                beta[part.columns[0]] = number
            elif part.kind == "scale":
                sigma = number
            else:
                of_terms.append((part, number))
        covariances = [np.zeros_like(each) for each in fit.covariances]
        for term in fit.ordered_terms:
            position, block = fit.place_of(term)
            changed = [(part, number) for part, number in of_terms if part.term is term]
            covariances[position][block, block] = _covariance(fit, term, changed)
        return cls(beta, [_lower_root(each) for each in covariances], sigma)


def _check(part: Component, value: float) -> None:
    """Raise ValueError for an impossible value, or for a parameter that cannot be changed."""
    if part.kind in ("threshold", "residual") or part.name == "dispersion":
        raise ValueError(
            f"{part.name!r} cannot be changed: only coefficients, standard deviations and "
            "correlations of random effects, and sigma can"
        )
    lowest = {"coefficient": -np.inf, "cor": -1.0}.get(part.kind, 0.0)
    highest = 1.0 if part.kind == "cor" else np.inf
    if not (np.isfinite(value) and lowest <= value <= highest):
        raise ValueError(f"{part.name!r} cannot be {value:g}")


def _covariance(
    fit: Fit | GeneralizedFit, term: Term, changed: list[tuple[Component, float]]
) -> FloatArray:
    """Return the covariance of a term, (k, k), with some deviations and correlations replaced."""
    estimated = fit.term_covariance(term)
    if not changed:
        return estimated
    deviations, correlations = deviations_and_correlations(estimated)
    correlations = np.where(np.isnan(correlations), np.eye(len(deviations)), correlations)
    free = len(term.structure.correlations) in (0, len(deviations) * (len(deviations) - 1) // 2)
    for part, value in changed:
        if part.kind == "sd":
            deviations[list(part.columns)] = value
        elif free:
            i, j = part.columns
            correlations[i, j] = correlations[j, i] = value
        else:
            raise ValueError(
                f"{part.name!r} is one of several correlations that share parameters of a "
                "structure: it cannot be changed by itself"
            )
    covariance = correlations * np.outer(deviations, deviations)
    least = float(np.linalg.eigvalsh(covariance)[0])
    if least < -_CONTRADICTION_OF_CORRELATIONS * float(np.trace(covariance)):
        names = ", ".join(repr(part.name) for part, _ in changed)
        raise ValueError(
            f"with {names} changed, the covariance matrix is not positive semidefinite"
        )
    return np.asarray(covariance)


def _lower_root(covariance: FloatArray) -> FloatArray:
    """Return the lower triangular root of a covariance, (k, k), which may be singular."""
    root = semidefinite_root(covariance)
    upper = np.linalg.qr(root.T)[1]
    return np.asarray((upper * np.where(np.diag(upper) < 0.0, -1.0, 1.0)[:, None]).T)
