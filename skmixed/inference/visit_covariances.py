"""The residual covariance matrix over planned visits."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from skmixed.core.linalg import FloatArray
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.visits.visits_structure import VisitStructure
from skmixed.inference.fitted import determined_fit_of, formula_of, snapshot
from skmixed.inference.fixed_effects.degrees import Curvature
from skmixed.inference.table import Table

VisitMatrix = Literal["covariance", "correlation", "std_error"]

_TITLES = {
    "covariance": "Covariances",
    "correlation": "Correlations",
    "std_error": "Standard errors of covariances",
}


def visit_covariance(model: Any, *, kind: VisitMatrix = "covariance") -> Table:
    """Tabulate the residual covariance matrix over planned visits.

    Read more in the user guide: :doc:`/guide/repeated_measures`.

    Parameters
    ----------
    model : estimator
        A fitted linear model whose `residual` is a covariance of visits: ``"us(...)"``,
        ``"toeplitz(...)"``, or ``"cs(...)"`` or ``"ar1(...)"`` with ``hom=False``.
    kind : {"covariance", "correlation", "std_error"}, default="covariance"
        Entries of the matrix; "std_error" gives the standard errors of the covariances.

    Returns
    -------
    Table
        A row and a column for each visit, in their order.

    Raises
    ------
    ValueError
        If the model is not fitted, leaves no residual or has no such residual structure, and for an
        unknown kind.

    See Also
    --------
    confidence_intervals : Intervals of correlations and ratios of standard deviations.
    variance_table : Covariances of the random effects.

    Notes
    -----
    In R: ``VarCorr(model)`` of mmrm and ``getVarCov(model)`` of nlme. Standard errors follow from
    the delta method and exact second derivatives of the criterion. With few subjects a covariance
    is far from normal, and the intervals of `confidence_intervals`, on other scales, are better.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_orthodont
    >>> from skmixed.inference import visit_covariance
    >>> children = load_orthodont()
    >>> model = lmer("distance ~ C(age) * Sex", children, residual="us(age | Subject)")
    >>> print(visit_covariance(model, kind="correlation"))
    Correlations of visits: distance ~ C(age) * Sex, residual us(age | Subject)
              8       10       12       14
    8         1   0.5707  0.66132  0.52158
    10   0.5707        1  0.56317  0.72622
    12  0.66132  0.56317        1   0.7281
    14  0.52158  0.72622   0.7281        1
    """
    if kind not in get_args(VisitMatrix):
        raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, _TITLES))}")
    model = snapshot(model)
    fit = determined_fit_of(model)
    if not isinstance(fit, ResidualFit) or not isinstance(fit.structure, VisitStructure):
        raise ValueError(
            "the model has no covariance matrix of planned visits: fit one with residual="
            "'us(visit | subject)', or toeplitz(...), cs(...) or ar1(...) with hom=False"
        )
    matrix = {
        "covariance": fit.sigma2 * fit.structure.covariance(fit.phi),
        "correlation": fit.structure.visit_correlations(fit.phi),
    }
    found = _errors(fit, fit.structure) if kind == "std_error" else matrix[kind]
    visits = list(fit.structure.visits)
    title = f"{_TITLES[kind]} of visits: {formula_of(model)}"
    return Table(title, pd.DataFrame(found, index=visits, columns=visits))


def _errors(fit: ResidualFit, structure: VisitStructure) -> FloatArray:
    """Return the standard errors of the covariances, (V, V)."""
    n_own = len(fit.phi) + 1  # of phi and log sigma^2, which come last
    covariance = Curvature.of(fit).log_covariance()[-n_own:, -n_own:]
    sigma, slopes = structure.covariance(fit.phi), structure.slopes(fit.phi)
    changes = fit.sigma2 * np.concatenate([slopes, sigma[None]])
    variances = np.einsum("aij,ab,bij->ij", changes, covariance, changes)
    return np.asarray(np.sqrt(variances))
