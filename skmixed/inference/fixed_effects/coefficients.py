"""The table of fixed coefficients with their tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.linalg import FloatArray
from skmixed.inference.fitted import coefficient_names, formula_of, snapshot, stated_places
from skmixed.inference.fixed_effects.ratios import exponentiated, ratio_name, ratio_note
from skmixed.inference.fixed_effects.robust import RobustCovariance
from skmixed.inference.fixed_effects.testing import (
    CoefficientTests,
    DfMethod,
    check_probability,
    dropped_places,
    t_p_values,
    t_quantiles,
)
from skmixed.inference.table import Table


def coefficient_table(
    model: Any,
    *,
    df: DfMethod = "auto",
    level: float | None = None,
    covariance: RobustCovariance | None = None,
    exponentiate: bool = False,
) -> Table:
    """Tabulate the fixed coefficients with standard errors, tests and intervals.

    For terms with several coefficients use `anova`, for linear combinations `linear_hypothesis`,
    for variance components `confidence_intervals`.

    Read more in the user guide: :doc:`/guide/inference`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    df : {"auto", "satterthwaite", "kenward-roger", "residual", "normal"}, default="auto"
        Method for the degrees of freedom. "auto" means "satterthwaite" for linear models and
        "normal" (Wald tests) for generalized ones, which allow no other. "kenward-roger" also
        adjusts the standard errors for the uncertainty of the variances, and needs a REML fit.
        "residual" is rows minus coefficients. "normal" takes the variances as known. With a robust
        covariance of a linear model, "satterthwaite" and "normal" are available.
    level : float or None, default=None
        Confidence level of intervals, added as columns lower and upper; None adds none.
    covariance : RobustCovariance or None, default=None
        Result of `robust_covariance`, for cluster-robust standard errors; None uses the model-based
        covariance.
    exponentiate : bool, default=False
        Whether to exponentiate the coefficients and their limits: odds ratios with the link
        "logit", rate ratios of counts and ratios of means of other responses with "log", hazard
        ratios with "cloglog". For an intercept it is the odds, rate or mean at zero. Standard
        errors are by the delta method, tests those of the coefficients.

    Returns
    -------
    Table
        A row for each coefficient; columns estimate, std_error, df, statistic (t, or z for
        generalized models) and p_value. Rows of columns that depend linearly on others are NaN; an
        infinite coefficient, as listed in ``separated_``, keeps its estimate and is NaN otherwise.
        For thresholds between ordered categories see `confidence_intervals`.

    Raises
    ------
    ValueError
        If the model is not fitted or leaves no residual; for df="kenward-roger" with a fit by
        maximum likelihood; for a df other than "auto" and "normal" with a generalized model; for a
        level outside (0, 1); and for exponentiate=True with the link "probit", where exponentials
        are not ratios.

    See Also
    --------
    anova : F tests of whole terms.
    linear_hypothesis : Tests of linear functions of the coefficients.
    confidence_intervals : Profile and bootstrap intervals, also for variance components.
    robust_covariance : Cluster-robust standard errors.
    skmixed.display.CoefficientDisplay : Plot of the coefficients.

    Notes
    -----
    In R: ``coef(summary(model))`` of lmerTest; for generalized models of lme4 or glmmTMB, and
    ``tidy(model, exponentiate = TRUE)`` of broom.mixed. The standard errors of generalized models
    include the uncertainty of the variances. With one grouping factor the derivatives behind
    Satterthwaite's method are exact. Linear models without random terms have exact t tests: the
    residual variance is the unbiased one, whatever `method` the model was fitted by.

    References
    ----------
    .. [1] Kuznetsova, A., Brockhoff, P. B. & Christensen, R. H. B. (2017). lmerTest package: tests
       in linear mixed effects models. Journal of Statistical Software 82(13),
       :doi:`10.18637/jss.v082.i13`, section 2.
    .. [2] Kenward, M. G. & Roger, J. H. (1997). Small sample inference for fixed effects from
       restricted maximum likelihood. Biometrics 53, 983-997, :doi:`10.2307/2533558`, section 2.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import coefficient_table
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> print(coefficient_table(model))
    Reaction ~ Days + (Days | Subject)
                estimate std_error  df statistic p_value
    (Intercept)   251.41    6.8246  17    36.838 <0.0001
    Days          10.467    1.5458  17    6.7715 <0.0001
    Degrees of freedom by Satterthwaite's method.

    Odds ratios for binomial proportions:

    >>> from skmixed import glmer
    >>> from skmixed.datasets import load_cbpp
    >>> trials = glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", load_cbpp())
    >>> ratios = coefficient_table(trials, exponentiate=True, level=0.95)
    >>> ratios.to_frame().loc["period[T.2]", ["estimate", "lower", "upper"]].round(2).tolist()
    [0.37, 0.2, 0.68]
    """
    model = snapshot(model)
    tests = CoefficientTests.of(model, df, covariance)
    names, stated = coefficient_names(tests.fit), stated_places(tests.fit)
    functions = np.eye(len(names))
    dropped = dropped_places(tests.fit)
    functions[dropped] = 0.0
    frame = function_frame(tests, functions, names)
    frame = frame if level is None else with_interval(frame, level)
    frame.iloc[dropped] = np.nan
    notes = [tests.note]
    if exponentiate:
        name = ratio_name(tests.fit)
        if name is None:
            raise ValueError(
                "exponentiate=True: with the link of this model coefficients are not logarithms of "
                "ratios; use marginal_means(model, ..., scale='response') to compare means"
            )
        frame, notes = exponentiated(frame), [*notes, ratio_note(name)]
    return Table(formula_of(model), frame.iloc[stated], tuple(notes))


def function_frame(
    tests: CoefficientTests,
    functions: FloatArray,
    names: Sequence[Any] | pd.Index[Any],
    rhs: FloatArray | None = None,
) -> pd.DataFrame:
    """Tabulate linear functions of the coefficients, (m, n_fixed), with their tests.

    Columns estimate, std_error, df, statistic and p_value, indexed by the m `names`. `rhs`, (m,),
    are the values under the null hypothesis, 0 by default.
    """
    estimates, errors = tests.estimates(functions), tests.errors(functions)
    degrees = tests.degrees(functions)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistics = (estimates if rhs is None else estimates - rhs) / errors
    return pd.DataFrame(
        {
            "estimate": estimates,
            "std_error": errors,
            "df": degrees,
            "statistic": statistics,
            "p_value": t_p_values(statistics, degrees),
        },
        index=names if isinstance(names, pd.Index) else pd.Index(list(names)),
    )


def with_interval(frame: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return a table of linear functions with the limits of their intervals, lower and upper."""
    check_probability(level)
    half = t_quantiles(level, frame["df"].to_numpy()) * frame["std_error"].to_numpy()
    return frame.assign(lower=frame["estimate"] - half, upper=frame["estimate"] + half)
