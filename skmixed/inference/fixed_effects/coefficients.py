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
    """Tabulate the fixed coefficients with standard errors and tests.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    df : {"auto", "satterthwaite", "kenward-roger", "residual", "normal"}, default="auto"
        Where degrees of freedom come from. "auto" is "satterthwaite" for linear models and "normal"
        for generalized ones, which allow no other: their tests are Wald's. "kenward-roger" also
        corrects the standard errors for the uncertainty of the variances and needs a fit by REML;
        "residual" counts rows minus coefficients, "normal" takes the variances for known. Of a
        robust covariance of a linear model there are "satterthwaite" and "normal".
    level : float or None, default=None
        Probability of intervals, which then stand beside the tests in columns lower and upper.
    covariance : RobustCovariance or None, default=None
        What `robust_covariance` returns, for standard errors that do not trust the model's; None is
        the model's own.
    exponentiate : bool, default=False
        Whether to show the exponentials of the coefficients and of their limits: odds ratios with
        the link "logit", rate ratios of counts, ratios of means of other responses with the link
        "log", hazard ratios with "cloglog". Of an intercept it is the odds, rate or mean at zero.
        Standard errors are by the delta method, tests those of the coefficients.

    Returns
    -------
    Table
        Columns estimate, std_error, df, statistic (t, or z of generalized models) and p_value; a
        row a coefficient. Columns that depend on others have a row of NaN; a coefficient in
        `separated_`, which is infinite, has its estimate as it stands and NaN beside it. Thresholds
        between ordered categories are no coefficients: `confidence_intervals` has them.

    Raises
    ------
    ValueError
        If the model is not fitted, leaves no residual, or is an ML fit and df="kenward-roger", for
        any df but "auto" and "normal" if it is a generalized one, and for a level that is no
        probability; for exponentials with the link "probit", which are no ratios.

    See Also
    --------
    anova : F tests of whole terms.
    robust_covariance : Standard errors that are right whatever rows of a cluster have in common.
    confidence_intervals : Intervals, of the variance components too.
    linear_hypothesis : Tests of linear functions of the coefficients.

    Notes
    -----
    In R: ``coef(summary(model))`` of lmerTest, and of lme4 or glmmTMB for generalized models, and
    ``tidy(model, exponentiate = TRUE)`` of broom.mixed. Of generalized models the
    standard errors have the estimation of the variances in them. For one grouping factor the
    derivatives behind Satterthwaite's method are exact. Without random terms degrees of freedom of
    linear models are rows minus coefficients and the residual variance is the unbiased one,
    whatever `method` the model was fitted by.

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

    Odds ratios of shares of trials:

    >>> from skmixed import glmer
    >>> from skmixed.datasets import load_cbpp
    >>> trials = glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", load_cbpp())
    >>> ratios = coefficient_table(trials, exponentiate=True, level=0.95)
    >>> ratios.to_frame().loc["period[T.2]", ["estimate", "lower", "upper"]].round(2).tolist()
    [0.37, 0.2, 0.67]
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
                "exponentiate=True: with the link of this model coefficients are no logarithms of "
                "ratios; marginal_means(model, ..., scale='response') has means to compare"
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
    has the values that the functions are tested against, 0 by default.
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
    """Return a table of linear functions with columns lower and upper, of their intervals."""
    check_probability(level)
    half = t_quantiles(level, frame["df"].to_numpy()) * frame["std_error"].to_numpy()
    return frame.assign(lower=frame["estimate"] - half, upper=frame["estimate"] + half)
