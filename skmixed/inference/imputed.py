"""Pooling of fits to several imputed data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.linalg import FloatArray
from skmixed.inference.components import components_of
from skmixed.inference.fitted import AnyFit, coefficient_names, formula_of, snapshot, stated_places
from skmixed.inference.fixed_effects.testing import (
    CoefficientTests,
    DfMethod,
    dropped_places,
    t_p_values,
    t_quantiles,
)
from skmixed.inference.table import Table, TabularResult

_RULES = "Rubin's rules; degrees of freedom by Barnard and Rubin."


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PooledFits(TabularResult):
    """Pooled estimates of fits to multiply imputed data.

    Parameters
    ----------
    table : Table
        The coefficients: estimate, std_error, df, statistic, p_value, lower, upper, and
        missing_information, the fraction of information lost to missing values.
    components : Table
        Standard deviations and correlations of the random effects and other parameters: the mean
        over the fits, and the standard deviation between fits.
    n_models : int
        Number of fits.

    See Also
    --------
    pool : The function that returns it.

    Examples
    --------
    >>> import numpy as np
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import pool
    >>> data, rng = load_sleepstudy(), np.random.default_rng(0)
    >>> completed = [data.assign(Reaction=data["Reaction"] + rng.normal(size=180)) for _ in "abc"]
    >>> fits = [lmer("Reaction ~ Days + (1 | Subject)", each) for each in completed]
    >>> pool(fits).components.to_frame()["estimate"].round(0)
    sd_(Intercept)|Subject    37.0
    sigma                     31.0
    Name: estimate, dtype: float64
    """

    table: Table
    components: Table
    n_models: int

    def _table(self) -> Table:
        return self.table


def pool(
    models: Sequence[Any], *, df: DfMethod | float = "auto", level: float = 0.95
) -> PooledFits:
    """Pool fits to multiply imputed data by Rubin's rules.

    Read more in the user guide: :doc:`/guide/inference`.

    Parameters
    ----------
    models : sequence of estimators
        Two or more fitted mixed models of one kind, with the same coefficients, one for each
        imputed data set.
    df : {"auto", "satterthwaite", "kenward-roger", "residual", "normal"} or float, default="auto"
        Degrees of freedom for complete data: a method of `coefficient_table`, averaged over the
        fits, or a number.
    level : float, default=0.95
        Confidence level of the intervals, between 0 and 1.

    Returns
    -------
    PooledFits
        The coefficients with their tests, and means of the other parameters in `components`.

    Raises
    ------
    TypeError
        If one of the models is not a mixed model.
    ValueError
        For fewer than two models, models with different coefficients or parameters, and infinite
        coefficients.

    See Also
    --------
    coefficient_table : Coefficients of a single model.

    Notes
    -----
    Let U be the mean of the squared standard errors and B the variance of the m estimates. The
    pooled standard error is the square root of T = U + (1 + 1/m) B. With s = (1 + 1/m) B / T the
    degrees of freedom are those of [2]_: 1/df = s^2 / (m - 1) + 1/d', d' = (1 - s) d (d + 1) / (d +
    3), d being those for complete data. In R: ``pool`` of mice gives the same figures for the same
    `df`, its ``dfcom``. ``modelFixedEff`` of merTools gives other standard errors, because it adds
    a standard error where its square belongs.

    Means of standard deviations and correlations are those of ``modelRandEffStats`` of merTools.
    The standard deviation between fits is not a standard error: it lacks the variance within fits.

    References
    ----------
    .. [1] Rubin, D. B. (1987). Multiple imputation for nonresponse in surveys. Wiley,
       :doi:`10.1002/9780470316696`, section 3.3.
    .. [2] Barnard, J. & Rubin, D. B. (1999). Small-sample degrees of freedom with multiple
       imputation. Biometrika 86(4), :doi:`10.1093/biomet/86.4.948`.

    Examples
    --------
    >>> import numpy as np
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import pool
    >>> data, rng = load_sleepstudy(), np.random.default_rng(0)
    >>> completed = [data.assign(Reaction=data["Reaction"] + rng.normal(size=180)) for _ in "abc"]
    >>> fits = [lmer("Reaction ~ Days + (1 | Subject)", each) for each in completed]
    >>> pool(fits).to_frame()[["estimate", "std_error", "df"]].round(2)
                 estimate  std_error      df
    (Intercept)    251.39       9.76   21.00
    Days            10.47       0.80  159.02
    """
    fits = [snapshot(model) for model in models]
    if len(fits) < 2:
        raise ValueError(f"pool needs two or more fits, got {len(fits)}")
    method, complete = _complete_degrees(df)
    tests = [CoefficientTests.of(model, method) for model in fits]
    _check_alike([each.fit for each in tests])
    fit = tests[0].fit
    names, stated, dropped = coefficient_names(fit), stated_places(fit), dropped_places(fit)
    functions = np.eye(len(names))
    functions[dropped] = 0.0
    estimates = np.array([each.estimates(functions) for each in tests])
    variances = np.array([each.errors(functions) for each in tests]) ** 2
    if complete is None:
        with np.errstate(invalid="ignore"):
            degrees = np.mean([each.degrees(functions) for each in tests], axis=0)
    else:
        degrees = np.full(len(names), complete)
    frame = pd.DataFrame(pooled(estimates, variances, degrees, level), index=pd.Index(names))
    frame.iloc[dropped] = np.nan
    title = f"{len(fits)} fits: {formula_of(fits[0])}"
    table = Table(title, frame.iloc[stated], (_RULES,))
    return PooledFits(table, _components([each.fit for each in tests], title), len(fits))


def pooled(
    estimates: FloatArray, variances: FloatArray, degrees: FloatArray, level: float
) -> dict[str, FloatArray]:
    """Pool m estimates of k parameters, (m, k), with their variances, (m, k).

    `degrees`, (k,), are those for complete data.
    """
    m = len(estimates)
    mean, within = estimates.mean(axis=0), variances.mean(axis=0)
    between = (1.0 + 1.0 / m) * estimates.var(axis=0, ddof=1)
    total = within + between
    with np.errstate(divide="ignore", invalid="ignore"):
        share, increase = between / total, between / within
        observed = (1.0 - share) / (1.0 / degrees + 2.0 / (degrees * (degrees + 1.0)))
        df = 1.0 / (share**2 / (m - 1.0) + 1.0 / observed)
        error = np.sqrt(total)
        statistic = mean / error
        missing = (increase + 2.0 / (df + 3.0)) / (increase + 1.0)
    half = t_quantiles(level, df) * error
    return {
        "estimate": mean,
        "std_error": error,
        "df": df,
        "statistic": statistic,
        "p_value": t_p_values(statistic, df),
        "lower": mean - half,
        "upper": mean + half,
        "missing_information": missing,
    }


def _complete_degrees(df: DfMethod | float) -> tuple[DfMethod, float | None]:
    """Return a method, and the number of degrees of freedom of complete data if it is given."""
    if isinstance(df, str):
        return df, None
    if not isinstance(df, Real) or not df > 0.0:
        raise ValueError(f"df={df!r} is neither a method nor a positive number")
    return "auto", float(df)


def _check_alike(fits: Sequence[AnyFit]) -> None:
    """Raise ValueError unless all fits are of one model."""
    first = fits[0]
    for number, fit in enumerate(fits):
        if getattr(fit, "separated", ()):
            raise ValueError(
                f"model {number} has an infinite coefficient, which cannot be averaged"
            )
        parts = ((coefficient_names(each), dropped_places(each)) for each in (first, fit))
        if type(fit) is not type(first) or len({str(part) for part in parts}) > 1:
            raise ValueError(
                f"model {number} has the coefficients {coefficient_names(fit)} and model 0 has "
                f"{coefficient_names(first)}, or others are dropped: pool takes fits of one model"
            )
        if [part.name for part in components_of(fit)] != [p.name for p in components_of(first)]:
            raise ValueError(
                f"model {number} differs from model 0 in its random effects or residuals"
            )


def _components(fits: Sequence[AnyFit], title: str) -> Table:
    parts = [
        {p.name: p.estimate for p in components_of(fit) if p.kind != "coefficient"} for fit in fits
    ]
    values = pd.DataFrame(parts)
    frame = pd.DataFrame({"estimate": values.mean(), "between_sd": values.std(ddof=1)})
    return Table(f"Means of {title}", frame, ("between_sd: standard deviation between the fits.",))
