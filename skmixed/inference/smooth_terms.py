"""Smooths: effective degrees of freedom and approximate tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import linalg, stats

from skmixed.core.fit import Fit
from skmixed.core.generalized.after_fit.curve_estimates import CurveEstimate
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray
from skmixed.inference.conditional_aic import effective_parameters
from skmixed.inference.fitted import (
    MixedFit,
    design_of,
    determined_mixed_fit_of,
    formula_of,
    snapshot,
)
from skmixed.inference.table import Table

_ROUNDED_RANK = 1e-6  # of degrees of freedom: distance from an integer that is rounding
_LEAST_SPREAD = 1e-12  # of the largest: less is rounding of the covariance
_NOTE = (
    "edf: effective degrees of freedom, counting the linear part as one. p_value: approximate test "
    "of no effect (Wood 2013), with the smoothness taken as known"
)


def smooth_table(model: Any) -> Table:
    """Tabulate effective degrees of freedom and approximate tests of the smooths.

    Use it to see how nonlinear a smooth ``s(x)`` is and whether x has any effect; `ranova` tests
    whether the effect is nonlinear.

    Read more in the user guide: :doc:`/guide/curves`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model, linear or generalized, with smooths ``s(x)`` in its fixed part.

    Returns
    -------
    Table
        A row for each smooth. Columns edf (effective degrees of freedom, counting the linear part
        as one), ref_df (those of the test), statistic (F, or chi-squared if the dispersion is
        known) and p_value for no effect at all, and std_dev: the standard deviation of the smooth
        about its linear part, averaged over its range, in units of the linear predictor.

    Raises
    ------
    ValueError
        If the model has no smooths.

    See Also
    --------
    ranova : Tests of a smooth against its linear part.
    skmixed.display.SmoothDisplay : Plots of the smooths.

    Notes
    -----
    As ``summary(gam)`` of mgcv. The statistic is f'V^-f for the estimated smooth f at the rows,
    minus its mean, V being the covariance of its error and V^- a pseudo-inverse of rank ref_df,
    which need not be an integer [1]_. P-values are those of F or chi-squared with ref_df degrees of
    freedom, which match the mean and variance of the statistic under the null hypothesis. They
    ignore that the smoothness is estimated: read p-values between 0.01 and 0.1 with care.

    References
    ----------
    .. [1] Wood, S. N. (2013). On p-values for smooth components of an extended generalized
       additive model. Biometrika 100(1), :doi:`10.1093/biomet/ass048`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.inference import smooth_table
    >>> x = np.linspace(0, 1, 100)
    >>> y = np.sin(6 * x) + 0.1 * np.cos(77 * np.arange(100) ** 2)
    >>> model = MixedLinearRegressor(fixed="s(x)").fit(pd.DataFrame({"x": x}), y)
    >>> smooth_table(model).to_frame()["edf"].round(1)
    s(x)    7.3
    Name: edf, dtype: float64
    """
    model = snapshot(model)
    fit = determined_mixed_fit_of(model)
    if not design_of(model).curves:
        raise ValueError("the model has no smooth terms s(x) in its fixed part")
    frame = smooth_frame(fit, design_of(model))
    return Table(f"Smooth terms: {formula_of(model)}", frame, (f"{_NOTE}.",))


def smooth_frame(fit: MixedFit, design: Any) -> pd.DataFrame:
    """Return the figures of the smooths of a design, a row each."""
    scale = np.inf
    if isinstance(fit, Fit) and fit.spec.sigma2 is None:
        omegas = [lam @ lam.T for lam in fit.evaluation.lambdas]
        scale = max(1.0, fit.n_observations - effective_parameters(fit, omegas))
    rows = []
    for curve in design.curves:
        estimate = CurveEstimate.of(fit, curve.term, curve.free)
        statistic, rank = _statistic(estimate)
        if np.isinf(scale):
            p_value = stats.chi2.sf(statistic, rank)
        else:
            statistic /= rank
            p_value = stats.f.sf(statistic, rank, scale)
        rows.append([estimate.edf, rank, statistic, p_value, estimate.deviation])
    columns = ["edf", "ref_df", "statistic", "p_value", "std_dev"]
    return pd.DataFrame(rows, index=[curve.name for curve in design.curves], columns=columns)


def curve_points(model: Any, n_points: int, level: float) -> pd.DataFrame:
    """Tabulate the smooths of a fitted model on grids of their ranges, with pointwise intervals.

    Columns curve, argument (the variable), x, estimate, std_error, lower and upper. Estimates are
    centred over the range; those of a smooth that multiplies a number are its coefficient. Raises
    ValueError if there are no smooths.
    """
    fit, design = determined_mixed_fit_of(model), design_of(model)
    if not design.curves:
        raise ValueError("the model has no smooth terms s(x) in its fixed part")
    half, parts = stats.norm.ppf(0.5 + 0.5 * level), []
    for curve in design.curves:
        smooth, estimate = curve.smooth, CurveEstimate.of(fit, curve.term, curve.free)
        x = np.linspace(smooth.basis.low, smooth.basis.high, n_points)
        columns = smooth.single(x)[:, -len(estimate.coefficients) :]
        value = columns @ estimate.coefficients
        error = np.sqrt(((columns @ estimate.covariance) * columns).sum(axis=1))
        part = {"curve": curve.name, "argument": smooth.term.argument, "x": x}
        limits = {"lower": value - half * error, "upper": value + half * error}
        parts.append(pd.DataFrame({**part, "estimate": value, "std_error": error, **limits}))
    return pd.concat(parts, ignore_index=True)


def summarised_curves(fit: MixedFit, design: Any) -> pd.DataFrame | None:
    """Return the smooths for a summary; None if there are none, or no residual to test them by."""
    is_exact = isinstance(fit, GeneralizedFit) or fit.report.monte_carlo is None
    if not design.curves or not fit.is_determined or not is_exact:
        return None
    return smooth_frame(fit, design).drop(columns="std_dev")


def _statistic(estimate: CurveEstimate) -> tuple[float, float]:
    """Return f'V^-f of a smooth at the rows, and the rank of the inverse.

    Between two whole ranks k - 1 and k + 1 the last two directions count 1 and r - k; the sign of
    the term that couples them is arbitrary, and averaged over.
    """
    root = _root(estimate.moments)
    values, vectors = linalg.eigh(root @ estimate.covariance @ root.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    n_felt = int((values > _LEAST_SPREAD * values[0]).sum())
    rank = min(max(1.0, estimate.reference), float(n_felt))
    if abs(rank - round(rank)) < _ROUNDED_RANK:
        rank = float(round(rank))
    shares = np.clip(rank - np.arange(n_felt), 0.0, 1.0)
    along = vectors[:, :n_felt].T @ (root @ estimate.coefficients)
    return float((shares * along**2 / values[:n_felt]).sum()), rank


def _root(moments: FloatArray) -> FloatArray:
    """Return R with R'R a matrix of moments, (m, m)."""
    values, vectors = linalg.eigh(moments)
    return np.asarray(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T)
