"""Confidence intervals for coefficients and variance components.

Wald intervals for variance components come from the curvature of the criterion at the optimum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.search.coordinates import Coordinates
from skmixed.inference.bootstrap import bootstrap, bootstrap_intervals
from skmixed.inference.components import (
    Component,
    chosen_components,
    components_of,
    parameters_of,
    range_of,
    scale_of,
    steepness,
)
from skmixed.inference.fitted import (
    GivenRows,
    MixedFit,
    coefficient_names,
    determined_any_fit_of,
    formula_of,
    snapshot,
    threshold_names,
)
from skmixed.inference.fixed_effects.degrees import Curvature
from skmixed.inference.fixed_effects.robust import RobustCovariance
from skmixed.inference.fixed_effects.testing import (
    CoefficientTests,
    DfMethod,
    check_probability,
    t_quantiles,
)
from skmixed.inference.profiling.profiles import (
    ProfileCurve,
    farthest_zeta,
    of_one_parameter,
    profiled,
)
from skmixed.inference.table import Table

Limits = tuple[float, float]
_NO_LIMITS: Limits = (float("nan"), float("nan"))
_MOST_LOG_ERROR = 1.0  # of a log deviation: beyond, zero is within one standard error
_NEAR_ZERO_NOTE = (
    "No Wald limits for {names}: zero is within one standard error, where the logarithm is far "
    "from normal. Use method='profile'."
)


def variance_limits(fit: MixedFit, components: list[Component], quantile: float) -> list[Limits]:
    """Return Wald intervals for deviations, correlations, sigma or a dispersion (delta method).

    Deviations, their ratios and dispersions are taken as normal on the logarithmic scale,
    correlations on that of Fisher's z = atanh r, powers on their own. `components` contain no
    coefficients; `quantile` is the half-width in standard errors. NaN if the estimate is on the
    boundary, is a standard deviation below its standard error, or a variance of a generalized model
    without a maximum, which is held.
    """
    covariance = _log_covariance(fit)
    changes = _covariance_changes(fit)
    without_maximum = isinstance(fit, GeneralizedFit) and fit.report.is_unbounded
    limits = []
    for component in components:
        scale = scale_of(component.estimate, range_of(fit, component))
        if scale is None or (without_maximum and component.term is not None):
            limits.append(_NO_LIMITS)
            continue
        gradient = _gradient(fit, component, changes)
        error = float(np.sqrt(gradient @ covariance @ gradient))
        middle, back = scale
        if back is np.exp and error > _MOST_LOG_ERROR:
            limits.append(_NO_LIMITS)
            continue
        half = quantile * error
        limits.append((float(back(middle - half)), float(back(middle + half))))
    return limits


def _log_covariance(fit: MixedFit) -> FloatArray:
    """Return the covariance of theta and of log sigma^2 or log dispersion, (t + 1, t + 1).

    Parameters of a residual structure stand between them. A known residual variance has no entry.
    """
    if not isinstance(fit, GeneralizedFit):
        return Curvature.of(fit).log_covariance()
    end = len(fit.beta) + len(fit.theta) + len(fit.scales)
    of_rest = fit.parameter_covariance[len(fit.beta) : end, len(fit.beta) : end]
    return np.pad(of_rest, (0, 1 - len(fit.scales)))


def _covariance_changes(fit: MixedFit) -> list[FloatArray]:
    """Return the derivative in theta of each factor's covariance, (t_f, k, k).

    The covariance is relative to sigma^2 in scaled units, of effects in raw units.
    """
    coordinates = Coordinates.natural(fit.problem.structures)
    directions = coordinates.directions(coordinates.read(fit.evaluation.lambdas))
    model = fit.problem.model
    maps = [random_map / model.response_scale for random_map in model.random_maps]
    return [
        random_map @ change @ random_map.T
        for random_map, change in zip(maps, directions, strict=True)
    ]


def _gradient(fit: MixedFit, component: Component, changes: list[FloatArray]) -> FloatArray:
    """Return the derivative of a component on its scale, (t + 1,).

    It is in theta, the parameters of a residual structure, and log sigma^2 or log dispersion, on
    which Omega does not depend.
    """
    places = np.cumsum([0] + [len(change) for change in changes])
    n_phi = len(fit.phi) if isinstance(fit, ResidualFit) else 0
    gradient = np.zeros(places[-1] + n_phi + 1)
    if component.kind == "residual":
        assert isinstance(fit, ResidualFit)
        parameter = fit.residual_parameters[component.columns[0]]
        gradient[places[-1] : -1] = parameter.slopes * steepness(parameter)
        return gradient
    if not isinstance(fit, GeneralizedFit):
        gradient[-1] = 0.0 if component.kind == "cor" else 0.5
    elif component.kind == "scale":
        gradient[-1] = 1.0
    if component.term is None:
        return gradient
    position, block = fit.place_of(component.term)
    omega = fit.covariances[position] / fit.evaluation.sigma2
    own = gradient[places[position] : places[position + 1]]
    i = block.start + component.columns[0]
    by_variance = changes[position][:, i, i] / omega[i, i]
    if component.kind == "sd":
        own[:] = by_variance / 2.0
        return gradient
    j = block.start + component.columns[1]
    root = np.sqrt(omega[i, i] * omega[j, j])
    by_other = changes[position][:, j, j] / omega[j, j]
    r = component.estimate
    own[:] = changes[position][:, i, j] / root - r * (by_variance + by_other) / 2.0
    own /= 1.0 - r**2
    return gradient


Parameters = str | Sequence[str] | None
Intervals = tuple[list[Component], list[Limits], tuple[str, ...]]


def confidence_intervals(
    model: Any,
    *,
    parameters: str | Sequence[str] | None = None,
    method: Literal["wald", "profile", "bootstrap"] = "wald",
    level: float = 0.95,
    df: DfMethod = "auto",
    covariance: RobustCovariance | None = None,
    n_samples: int = 1000,
    random_state: Any = None,
    X: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
) -> Table:
    """Compute confidence intervals for variance components and fixed coefficients.

    Wald intervals are instant and suit coefficients; profile intervals suit variance components,
    whose estimates have skewed distributions; the bootstrap makes the fewest assumptions and takes
    longest. For tests use `coefficient_table`, for intervals of predictions ``predict_interval``.

    Read more in the user guide: :doc:`/guide/intervals`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    parameters : str, list of str or None, default=None
        Names of the parameters, as in the table. ``"fixed"`` stands for the coefficients and
        thresholds, ``"random"`` for the standard deviations and correlations of the random effects;
        None for all. Only their profiles are computed.
    method : {"wald", "profile", "bootstrap"}, default="wald"
        "wald" uses the curvature at the optimum: t intervals for coefficients (normal for
        generalized models), symmetric intervals on the logarithmic scale for standard deviations
        and dispersions and on that of Fisher's z for correlations. "profile" contains the values
        that a likelihood-ratio test does not reject. "bootstrap" takes percentiles of a parametric
        bootstrap.
    level : float, default=0.95
        Confidence level of the intervals, between 0 and 1.
    df : {"auto", "satterthwaite", "kenward-roger", "residual", "normal"}, default="auto"
        For "wald": method for the degrees of freedom of coefficients; see `coefficient_table`.
    covariance : RobustCovariance or None, default=None
        For "wald": result of `robust_covariance`, for cluster-robust intervals of coefficients and
        thresholds; None uses the model-based covariance. Intervals of variance components do not
        change.
    n_samples : int, default=1000
        For "bootstrap": number of replicates.
    random_state : int, RandomState instance, Generator or None, default=None
        For "bootstrap": seed of the random number generator; pass an int for reproducible results.
    X, y, sample_weight, groups : array-like, default=None
        The training data, as passed to ``fit``; the model does not store it. Needed for profiles
        and bootstraps of generalized and nonlinear models. After `lmer`, `glmer`, `clmm` or `nlmer`
        the data frame X is enough: y and the weights, such as trials, are read from it.

    Returns
    -------
    Table
        Columns estimate, lower and upper. Rows are named as in lme4: ``sd_x|g``, ``cor_x.z|g``,
        parameters of a residual structure, ``sigma`` or ``dispersion``, thresholds between ordered
        categories (``low|high``; they have no profile), and the coefficients. NaN are Wald
        intervals for a variance of zero, a standard deviation below its standard error or a
        correlation of one (a profile interval extends to the boundary if that is not rejected);
        profile limits that cannot be found; and intervals of infinite coefficients, of correlations
        with an effect of variance zero, and of variances that the data do not identify.

    Raises
    ------
    ValueError
        For an unknown method or parameter, a robust covariance with another method than "wald", if
        training data are needed but missing or are other rows, and as in `coefficient_table`.

    Warns
    -----
    UserWarning
        If a limit of a profile cannot be found; it is then NaN.

    See Also
    --------
    profile : The curves behind profile intervals.
    bootstrap : The replicates behind bootstrap intervals; `bootstrap_intervals` has other kinds.
    coefficient_table : Tests of the coefficients.
    skmixed.display.ProfileDisplay : Plots of the profiles.

    Notes
    -----
    In R: ``confint(model)`` is ``method="profile"``; ``confint(model, method = "Wald")`` is
    ``df="normal"``, with NA for the variance components. As in R, profiles are those of the full
    likelihood: a model fitted by REML is refitted by maximum likelihood, and the estimates are
    those of the refit. Limits are found by Newton's method on the signed root of the profile
    deviance, with exact derivatives.

    References
    ----------
    .. [1] Bates, D., Maechler, M., Bolker, B. & Walker, S. (2015). Fitting linear mixed-effects
       models using lme4. Journal of Statistical Software 67(1), :doi:`10.18637/jss.v067.i01`,
       section 5.1.
    .. [2] Pinheiro, J. C. & Bates, D. M. (2000). Mixed-Effects Models in S and S-PLUS. Springer,
       :doi:`10.1007/b98882`, section 2.4.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import confidence_intervals
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> confidence_intervals(model, method="profile").to_frame().round(2)
                                  estimate   lower   upper
    sd_(Intercept)|Subject           23.78   14.38   37.72
    cor_Days.(Intercept)|Subject      0.08   -0.48    0.69
    sd_Days|Subject                   5.72    3.80    8.75
    sigma                            25.59   22.90   28.86
    (Intercept)                     251.41  237.68  265.13
    Days                             10.47    7.36   13.58
    >>> confidence_intervals(model, parameters="Days", method="profile")["upper"].round(2)
    Days    13.58
    Name: upper, dtype: float64
    """
    model, rows = snapshot(model), (X, y, sample_weight, groups)
    makers: dict[str, Callable[[], Intervals]] = {
        "wald": lambda: _wald(model, parameters, level, df, covariance),
        "profile": lambda: _profile(model, parameters, level, rows),
        "bootstrap": lambda: _bootstrap(model, parameters, level, n_samples, random_state, rows),
    }
    spelled = str(method).lower()  # R writes "Wald" and "boot"
    method = {"boot": "bootstrap"}.get(spelled, spelled)  # type: ignore[assignment]
    if method not in makers:
        raise ValueError(f"method={method!r} is not one of {', '.join(map(repr, makers))}")
    if covariance is not None and method != "wald":
        raise ValueError(f"a robust covariance needs method='wald', not {method!r}")
    check_probability(level)
    components, limits, notes = makers[method]()
    frame = pd.DataFrame(
        {
            "estimate": [component.estimate for component in components],
            "lower": [low for low, _ in limits],
            "upper": [high for _, high in limits],
        },
        index=pd.Index([component.name for component in components]),
    )
    title = f"{100 * level:.4g}% intervals: {formula_of(model)}"
    return Table(title, frame, notes)


def _wald(
    model: Any,
    parameters: Parameters,
    level: float,
    df: DfMethod,
    covariance: RobustCovariance | None,
) -> Intervals:
    tests = CoefficientTests.of(model, df, covariance)
    fit = tests.fit
    components = chosen_components(components_of(fit), parameters)
    quantile = float(stats.norm.ppf((1.0 + level) / 2.0))
    of_variances = [part for part in components if part.kind not in ("threshold", "coefficient")]
    near = fit.linear if isinstance(fit, NonlinearFit) else fit
    limits = variance_limits(near, of_variances, quantile)
    if isinstance(fit, GeneralizedFit) and fit.has_thresholds:
        of_thresholds = fit.thresholds_covariance
        if covariance is not None:
            of_thresholds = fit.thresholds_covariance_by(tests.joint_covariance)
        half = quantile * np.sqrt(np.diag(of_thresholds))
        ends = list(zip(fit.thresholds - half, fit.thresholds + half, strict=True))
        limits += [ends[part.columns[0]] for part in components if part.kind == "threshold"]
    places = [part.columns[0] for part in components if part.kind == "coefficient"]
    functions = np.eye(len(coefficient_names(fit)))[places]
    half = t_quantiles(level, tests.degrees(functions)) * tests.errors(functions)
    limits += [
        (float(value - width), float(value + width))
        for value, width in zip(tests.estimates(functions), half, strict=True)
    ]
    if not of_variances:
        return components, limits, (tests.note,)
    near_zero = [
        part.name
        for part, found in zip(components, limits, strict=False)
        if part.kind in ("sd", "scale") and part.estimate > 0.0 and np.isnan(found[0])
    ]
    if isinstance(fit, GeneralizedFit) and fit.report.is_unbounded:
        near_zero = []  # a variance without a maximum is held
    dispersion = " and the dispersion" if "dispersion" in fit.scales else ""
    scale = f"Standard deviations{dispersion} on the logarithmic scale"
    has_correlations = any(range_of(fit, part) == (-1.0, 1.0) for part in of_variances)
    scale += ", correlations on that of Fisher's z." if has_correlations else "."
    if near_zero:
        scale += " " + _NEAR_ZERO_NOTE.format(names=" and ".join(near_zero))
    return components, limits, (tests.note, scale)


def _bootstrap(
    model: Any,
    parameters: Parameters,
    level: float,
    n_samples: int,
    random_state: Any,
    rows: GivenRows,
) -> Intervals:
    fit = determined_any_fit_of(model)
    components = chosen_components(components_of(fit), parameters)
    X, y, sample_weight, groups = rows
    result = bootstrap(
        model,
        n_samples,
        X=X,
        y=y,
        sample_weight=sample_weight,
        groups=groups,
        random_state=random_state,
    )
    found = bootstrap_intervals(result, level=level).frame[["lower", "upper"]]
    drawn = {
        (part.kind, part.term, part.columns): (float(low), float(high))
        for part, (low, high) in zip(parameters_of(fit), found.to_numpy(), strict=True)
    }
    limits = []
    for part in components:  # of columns that share a deviation the first has it
        columns = part.columns if part.kind == "cor" else part.columns[:1]
        limits.append(drawn[part.kind, part.term, columns])
    return components, limits, (f"Percentiles of {n_samples} parametric bootstrap replicates.",)


def _profile(model: Any, parameters: Parameters, level: float, rows: GivenRows) -> Intervals:
    fit, curves = profiled(model, rows, parameters)
    target = farthest_zeta(level)
    limits = [_NO_LIMITS if curve is None else _limits(curve, target) for _, curve in curves]
    is_given = fit is determined_any_fit_of(model)
    profile = (
        "Profile of the penalised likelihood" if fit.spec.is_penalised else "Profile likelihood"
    )
    note = f"{profile}." if is_given else f"{profile}, after a refit by ML."
    notes: tuple[str, ...] = (note,)
    if threshold_names(fit):
        notes += ("Thresholds have no profile.",)
    return [component for component, _ in curves], limits, notes


def _limits(curve: ProfileCurve, target: float) -> Limits:
    constrained, ends = curve.constrained, [np.nan, np.nan]
    for end, sign in enumerate((-1.0, 1.0)):
        with of_one_parameter(constrained.component):
            ends[end] = constrained.limit(curve.solve(sign * target)[0])
    low, high = ends if constrained.rises else ends[::-1]
    return low, high
