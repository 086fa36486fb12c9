"""Heritability: a factor's share of the variance given the fixed effects, with an interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit, logit

from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.rows.prediction_errors import MovedFits
from skmixed.core.sums.layout import CONSTANT
from skmixed.inference.fitted import determined_mixed_fit_of, formula_of, snapshot
from skmixed.inference.table import Table


def heritability(model: Any, factor: str | None = None, *, level: float = 0.95) -> Table:
    """Estimate heritability: a factor's share of the variance that the fixed effects leave.

    It is the intraclass correlation of one factor, with a confidence interval, and allows for
    related levels. For all factors at once, without intervals, use `icc`.

    Read more in the user guide: :doc:`/guide/related_levels`.

    Parameters
    ----------
    model : estimator
        A fitted `MixedLinearRegressor` with random intercepts only.
    factor : str, default=None
        The grouping factor whose levels are animals, lines or species; None takes the one with a
        relationship.
    level : float, default=0.95
        Confidence level of the intervals, between 0 and 1.

    Returns
    -------
    Table
        One row: estimate, std_error, lower and upper.

    Raises
    ------
    ValueError
        For an unknown factor, random slopes, a residual structure, and a model that is not linear.

    See Also
    --------
    icc : Intraclass correlations of all factors.
    confidence_intervals : Intervals of the standard deviations.

    Notes
    -----
    With a relationship K the variance of the factor is its variance component times the mean of the
    diagonal of K. The standard error follows from the delta method and the second derivatives of
    the likelihood. The interval is computed on the logit scale, so it stays between 0 and 1; for a
    variance of zero it is the whole range.

    References
    ----------
    .. [1] Lynch, M. & Walsh, B. (1998). Genetics and analysis of quantitative traits. Sinauer,
       appendix 1, delta method.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import heritability
    >>> model = lmer("Reaction ~ Days + (1 | Subject)", load_sleepstudy())
    >>> heritability(model, "Subject").to_frame().round(2)
             estimate  std_error  lower  upper
    Subject      0.59       0.09    0.4   0.75
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level!r} is not between 0 and 1")
    model = snapshot(model)
    fit = determined_mixed_fit_of(model)
    if not isinstance(fit, Fit) or isinstance(fit, ResidualFit):
        raise ValueError(
            "heritability needs a linear model with a single residual variance: use "
            "variance_partition for other models"
        )
    if any(term.columns != (CONSTANT,) for term in fit.spec.terms):
        raise ValueError(
            "with random slopes or curves the share differs from row to row: use "
            "variance_partition, which averages over rows"
        )
    name, position = _chosen(fit, factor)
    share, slopes = _share(fit, position)
    moved = MovedFits.of(fit)
    error = float(np.sqrt(slopes @ moved.covariance @ slopes))
    width = float(stats.norm.ppf(0.5 + 0.5 * level)) * error
    if 0.0 < share < 1.0:
        width /= share * (1.0 - share)
        lower, upper = expit(logit(share) + width * np.array([-1.0, 1.0])).tolist()
    else:
        lower, upper = 0.0, 1.0
    columns = {"estimate": share, "std_error": error, "lower": lower, "upper": upper}
    frame = pd.DataFrame(columns, index=pd.Index([name]))
    return Table(f"Heritability: {formula_of(model)}", frame)


def _chosen(fit: Fit, factor: str | None) -> tuple[str, int]:
    """Return the name of a factor and its position among the used ones."""
    used = fit.spec.used_factors
    names = [fit.products.factors[each].index.name for each in used]
    related = [name for name, f in zip(names, used, strict=True) if fit.spec.relation(f)]
    if factor is None and len(related) == 1:
        factor = related[0]
    if factor not in names:
        asked = "name the factor" if factor is None else f"factor={factor!r} is not in the model"
        raise ValueError(f"{asked}: the factors are {names}")
    return factor, names.index(factor)


def _share(fit: Fit, position: int) -> tuple[float, FloatArray]:
    """Return the share of a factor, and its derivatives in theta, (t,), in scaled units."""
    theta = np.array([float(lam[0, 0]) for lam in fit.scaled_lambdas])
    maps = [float(random_map[0, 0]) for random_map in fit.problem.model.random_maps]
    squares = [fit.problem.mean_square(f) * scale**2 for f, scale in enumerate(maps)]
    weights = np.array(squares)
    parts = weights * theta**2
    total = 1.0 + parts.sum()
    slopes = -parts[position] * 2.0 * weights * theta / total**2
    slopes[position] += 2.0 * weights[position] * theta[position] / total
    return float(parts[position] / total), slopes
