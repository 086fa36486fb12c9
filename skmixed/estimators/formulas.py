"""Models from complete formulas: `lmer`, `glmer`, `clmm` and `nlmer`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

from skmixed.core.linalg import FloatArray
from skmixed.estimators.generalized_regressor import FamilyName, MixedGeneralizedRegressor
from skmixed.estimators.linear import MixedLinearRegressor
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.estimators.nonlinear_regressor import MixedNonlinearRegressor
from skmixed.estimators.ordinal_classifier import OrdinalMixedClassifier
from skmixed.estimators.reading._curve_formula import CurveFormula
from skmixed.estimators.reading._formula_rows import FormulaRows, fixed_text, random_text
from skmixed.estimators.reading._r_arguments import (
    DECIDED,
    DECIDED_FOR_GLMER,
    DECIDED_FOR_NLMER,
    check_call,
    family_of_r,
)
from skmixed.estimators.reading._written_response import proportions

Fitted = TypeVar("Fitted", bound=MixedEstimator[Any])


def fit_formula(
    model: Fitted, formula: str, data: Any, weights: Any = None, na_action: str = "drop"
) -> Fitted:
    """Fit an estimator to the rows of a data frame, as a complete formula describes.

    The formula sets `random` and `fixed` of the estimator; all other parameters are its own.
    """
    read, response, weights = read_formula(model, formula, data, weights, na_action)
    model.random, model.fixed = random_text(read.parts.random), fixed_text(read.parts)
    read.fit(model, response, weights)
    return model


def read_formula(
    model: MixedEstimator[Any], formula: str, data: Any, weights: Any, na_action: str
) -> tuple[FormulaRows, Any, FloatArray | None]:
    """Return the rows that a complete formula names, their response, (n,), and weights, (n,).

    The response has the form that `fit` of the estimator takes.
    """
    is_ordinal = isinstance(model, OrdinalMixedClassifier)
    read = FormulaRows.read(
        formula,
        data,
        weights,
        na_action,
        model.context,
        getattr(model, "exposure", None),
        residual=getattr(model, "residual", None),
        of_categories=is_ordinal,
    )
    if is_ordinal:
        return read, read.categories(), read.weights
    if isinstance(model, MixedGeneralizedRegressor):
        return read, *_events(read, model.family)
    return read, read.evaluate(str(read.parts.response)), read.weights


def _events(read: FormulaRows, family: str) -> tuple[FloatArray, FloatArray | None]:
    """Return the response of a generalized model, (n,), and its weights."""
    counts = read.trials(family)
    if counts is None:
        response = read.evaluate(str(read.parts.response), has_outcomes=family == "binomial")
        return response, read.weights
    total = counts.sum(axis=1)
    weights = total if read.weights is None else total * read.weights
    return proportions(counts[:, 0], total), weights


def lmer(
    formula: str,
    data: Any,
    *,
    reml: bool = True,
    weights: Any = None,
    residual: str | None = None,
    na_action: Literal["drop", "exclude", "raise"] = "drop",
    context: Mapping[str, Any] | None = None,
    **params: Any,
) -> MixedLinearRegressor:
    """Fit a linear mixed model from an lme4 formula and a data frame.

    The counterpart of R's ``lmer``; it returns a fitted `MixedLinearRegressor`, to which the
    functions of ``skmixed.inference`` apply. For use within scikit-learn's pipelines and
    cross-validation, take the estimator itself. :doc:`Coming from lme4 </coming_from/lme4>`
    compares the two.

    Parameters
    ----------
    formula : str
        Model formula, such as ``"extro ~ open + agree + (1 + open | school/class)"``. Without a
        random-effects term it is an ordinary linear model.
    data : data frame
        A pandas, polars or pyarrow data frame, or any other that narwhals supports.
    reml : bool, default=True
        Whether to use restricted (REML) rather than full maximum likelihood.
    weights : str or array-like of shape (n_samples,), default=None
        Prior weights, as in R: the residual variance of a row is sigma^2 / weight. A string is an
        expression in the columns. For rows with known variances ``v``, use ``"1 / v"`` and
        ``residual_variance=1``.
    residual : str or None, default=None
        Correlation and variances of the residuals, as in `MixedLinearRegressor`:
        ``"ar1(visit | subject)"``, ``"us(visit | subject)"``, ``"var(sex)"``. Within the formula,
        ``us(visit | subject)`` is a random-effects term, as in lme4.
    na_action : {"drop", "exclude", "raise"}, default="drop"
        Treatment of rows with missing values: "drop" omits them and counts them in ``n_dropped_``;
        "exclude" also omits them, but pads predictions, `skmixed.inference.residuals` and other
        row-wise results with NaN; "raise" is an error.
    context : dict of str to object, default=None
        User-defined functions and values that `formula` and `weights` may refer to: ``{"f": f}``
        for ``f(x)``. Without it, both may contain only columns, numbers, text, operators and known
        functions, so that those from untrusted sources run no code
        (:doc:`security </guide/security>`).
    **params
        Further parameters of `MixedLinearRegressor`.

    Returns
    -------
    MixedLinearRegressor
        Fitted estimator, with the additional attributes ``formula_`` and ``n_dropped_``. Its
        `predict` takes data frames with the columns of the right-hand side.

    Raises
    ------
    FormulaSyntaxError
        If the formula cannot be parsed; the message points at the position.
    TypeError
        If a parameter is given that the formula or `reml` already determines, or `data` is not a
        data frame.
    ValueError
        If the formula has no response or contains what formulas may not contain, a column does not
        exist, or, with na_action="raise", values are missing.

    Warns
    -----
    UserWarning
        If ``.`` includes a grouping column, as it does in R.

    See Also
    --------
    MixedLinearRegressor : The estimator it fits.
    glmer : Generalized linear mixed models.
    skmixed.inference.coefficient_table : Coefficients with standard errors and tests.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> round(model.criterion_, 4)
    1743.6283
    """
    check_call("lmer", formula, data, params, DECIDED)
    model = MixedLinearRegressor(
        context=context,
        residual=residual,
        method="reml" if reml else "ml",
        weighting="precision",
        **params,
    )
    return fit_formula(model, formula, data, weights, na_action)


def glmer(
    formula: str,
    data: Any,
    *,
    family: FamilyName = "binomial",
    link: Literal["auto", "log", "logit", "probit", "cloglog"] = "auto",
    weights: Any = None,
    exposure: str | None = None,
    quadrature: int = 1,
    na_action: Literal["drop", "exclude", "raise"] = "drop",
    context: Mapping[str, Any] | None = None,
    **params: Any,
) -> MixedGeneralizedRegressor:
    """Fit a generalized linear mixed model from an lme4 formula and a data frame.

    The counterpart of R's ``glmer``, for counts, rates, proportions and binary outcomes; it returns
    a fitted `MixedGeneralizedRegressor`.

    Parameters
    ----------
    formula : str
        Model formula, such as ``"cbind(ill, size - ill) ~ period + (1 | herd)"``. The response is a
        column or expression, ``cbind(successes, failures)``, or, with `weights`, a proportion of so
        many trials. Of two labels, the second is the success, in the order of a categorical column
        or else sorted, as in R.
    data : data frame
        A pandas, polars or pyarrow data frame, or any other that narwhals supports.
    family : {"binomial", "poisson", "gamma", "negative_binomial"}, default="binomial"
        Distribution of the response, as in `MixedGeneralizedRegressor`. R's notation with the link
        is accepted, ``"binomial(link='probit')"``.
    link : {"auto", "log", "logit", "probit", "cloglog"}, default="auto"
        Link function, as in `MixedGeneralizedRegressor`.
    weights : str or array-like of shape (n_samples,), default=None
        Weights of the log-densities, as in R: for proportions, the numbers of trials. A string is
        an expression in the columns.
    exposure : str, default=None
        Exposure column, to which the mean is proportional; equivalent to ``offset(log(...))``.
    quadrature : int, default=1
        Number of adaptive Gauss-Hermite quadrature nodes per random effect, lme4's ``nAGQ``; 1 is
        the Laplace approximation.
    na_action : {"drop", "exclude", "raise"}, default="drop"
        Treatment of rows with missing values: "drop" omits them and counts them in ``n_dropped_``;
        "exclude" also omits them, but pads predictions, `skmixed.inference.residuals` and other
        row-wise results with NaN; "raise" is an error.
    context : dict of str to object, default=None
        User-defined functions and values that `formula` and `weights` may refer to, as in `lmer`.
    **params
        Further parameters of `MixedGeneralizedRegressor`.

    Returns
    -------
    MixedGeneralizedRegressor
        Fitted estimator, with the additional attributes ``formula_`` and ``n_dropped_``. Its
        `predict` takes data frames with the columns of the right-hand side and the exposure.

    Raises
    ------
    FormulaSyntaxError
        If the formula cannot be parsed; the message points at the position.
    TypeError
        If a parameter is given that the formula already determines, or `data` is not a data frame.
    ValueError
        As in `lmer` and `MixedGeneralizedRegressor.fit`; if ``cbind`` is used with a family other
        than binomial, without exactly two columns or with negative numbers; and if there are not
        exactly two labels.

    See Also
    --------
    MixedGeneralizedRegressor : The estimator it fits.
    MixedClassifier : Two classes, with the methods of a classifier.
    lmer : Normal responses.

    Notes
    -----
    Predictions are averaged over the uncertain random effects (marginal predictions); pass
    ``averaging="plug-in"`` for those of R.

    Examples
    --------
    >>> import pandas as pd
    >>> from skmixed import glmer
    >>> data = pd.DataFrame(
    ...     {"hits": [3, 5, 1, 8, 2, 7, 4, 6], "n": 10, "x": [0, 1] * 4, "g": list("aabbccdd")}
    ... )
    >>> model = glmer("cbind(hits, n - hits) ~ x + (1 | g)", data)
    >>> model.coef_.round(2)
    array([1.72])
    """
    check_call("glmer", formula, data, params, DECIDED_FOR_GLMER)
    family, link = family_of_r(family, link)
    model = MixedGeneralizedRegressor(
        context=context,
        family=family,
        link=link,
        exposure=exposure,
        quadrature=quadrature,
        **params,
    )
    return fit_formula(model, formula, data, weights, na_action)


def clmm(
    formula: str,
    data: Any,
    *,
    link: Literal["logit", "probit", "cloglog"] = "logit",
    weights: Any = None,
    quadrature: int = 1,
    na_action: Literal["drop", "exclude", "raise"] = "drop",
    context: Mapping[str, Any] | None = None,
    **params: Any,
) -> OrdinalMixedClassifier:
    """Fit a cumulative link mixed model from a formula and a data frame.

    The counterpart of ``clmm`` in R's ordinal, for ordered categories such as ratings; it returns a
    fitted `OrdinalMixedClassifier`.

    Parameters
    ----------
    formula : str
        Model formula, such as ``"rating ~ temp + contact + (1 | judge)"``. The response is a column
        of categories or a numeric expression. Categories have the order of an ordered categorical
        or an Enum, of numbers, or of ``categories=[...]``. Wrapping it in R's ``factor(...)`` or
        ``ordered(...)`` has no effect.
    data : data frame
        A pandas, polars or pyarrow data frame, or any other that narwhals supports.
    link : {"logit", "probit", "cloglog"}, default="logit"
        Link function of the cumulative probabilities, as in `OrdinalMixedClassifier`.
    weights : str or array-like of shape (n_samples,), default=None
        Frequency weights: the number of rows that each row counts as. A string is an expression in
        the columns.
    quadrature : int, default=1
        Number of adaptive Gauss-Hermite quadrature nodes per random effect, ordinal's ``nAGQ``; 1
        is the Laplace approximation.
    na_action : {"drop", "exclude", "raise"}, default="drop"
        Treatment of rows with missing values: "drop" omits them and counts them in ``n_dropped_``;
        "exclude" also omits them, but pads predictions, `skmixed.inference.residuals` and other
        row-wise results with NaN; "raise" is an error.
    context : dict of str to object, default=None
        User-defined functions and values that `formula` and `weights` may refer to, as in `lmer`.
    **params
        Further parameters of `OrdinalMixedClassifier`.

    Returns
    -------
    OrdinalMixedClassifier
        Fitted estimator, with the additional attributes ``formula_`` and ``n_dropped_``. Its
        `predict` takes data frames with the columns of the right-hand side.

    Raises
    ------
    FormulaSyntaxError
        If the formula cannot be parsed; the message points at the position.
    TypeError
        If a parameter is given that the formula already determines, or `data` is not a data frame.
    ValueError
        As in `lmer` and `OrdinalMixedClassifier.fit`.

    Warns
    -----
    UserWarning
        If text labels are ordered alphabetically.

    See Also
    --------
    OrdinalMixedClassifier : The estimator it fits.
    skmixed.inference.proportional_odds : Test whether coefficients are equal at all thresholds.

    Notes
    -----
    The thresholds are unstructured, "flexible" in R. The "cloglog" link is that of ``clm``;
    ``clmm`` of ordinal 2022.11-16 calls it "loglog".

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmixed import clmm
    >>> rng = np.random.default_rng(0)
    >>> data = pd.DataFrame({"price": rng.normal(size=600), "shop": np.arange(600) % 30})
    >>> latent = rng.logistic(size=600) - data["price"] + rng.normal(size=30)[data["shop"]]
    >>> data["stars"] = np.digitize(latent, [-1.0, 0.5]) + 1
    >>> model = clmm("stars ~ price + (1 | shop)", data)
    >>> model.coef_.round(1)
    array([-0.9])
    """
    check_call("clmm", formula, data, params, DECIDED_FOR_GLMER)
    model = OrdinalMixedClassifier(context=context, link=link, quadrature=quadrature, **params)
    return fit_formula(model, formula, data, weights, na_action)


def nlmer(
    formula: str,
    data: Any,
    *,
    start: Any = None,
    fixed: Mapping[str, str] | None = None,
    weights: Any = None,
    residual: str | None = None,
    na_action: Literal["drop", "exclude", "raise"] = "drop",
    context: Mapping[str, Any] | None = None,
    **params: Any,
) -> MixedNonlinearRegressor:
    """Fit a nonlinear mixed model from a three-part formula and a data frame.

    The counterpart of R's ``nlmer``, for growth, dose-response and other parametric curves; it
    returns a fitted `MixedNonlinearRegressor`.

    Parameters
    ----------
    formula : str
        Response, curve and random effects, as in lme4:
        ``"height ~ SSasymp(age, Asym, R0, lrc) ~ Asym | Seed"``. The curve is a named one, R's or
        this package's, called with its columns and the names of its parameters, or a function in
        `context`, of whose arguments those in `start` are parameters and the others columns.
        Without random effects, ``~ 1``, it is nonlinear least squares.
    data : data frame
        A pandas, polars or pyarrow data frame, or any other that narwhals supports.
    start : dict or None, default=None
        Starting values, as in `MixedNonlinearRegressor`; named curves need none.
    fixed : dict or None, default=None
        Fixed-effects formulas of parameters, ``{"Asym": "1 + treatment"}``.
    weights : str or array-like of shape (n_samples,), default=None
        Prior weights, as in R: the residual variance of a row is sigma^2 / weight. A string is an
        expression in the columns.
    residual : str or None, default=None
        Residual variances, as in `MixedNonlinearRegressor`: ``"var(sex)"``, ``"power(x)"``.
    na_action : {"drop", "exclude", "raise"}, default="drop"
        Treatment of rows with missing values: "drop" omits them and counts them in ``n_dropped_``;
        "exclude" also omits them, but pads predictions, `skmixed.inference.residuals` and other
        row-wise results with NaN; "raise" is an error.
    context : dict of str to object, default=None
        User-defined functions and values that `formula` and `fixed` may refer to, as in `lmer`.
    **params
        Further parameters of `MixedNonlinearRegressor`.

    Returns
    -------
    MixedNonlinearRegressor
        Fitted estimator, with the additional attributes ``formula_`` and ``n_dropped_``. Its
        `predict` takes data frames with the columns of the curve, the formulas and the groups.

    Raises
    ------
    FormulaSyntaxError
        If a part of the formula cannot be parsed.
    TypeError
        If a parameter is given that the formula already determines, or `data` is not a data frame.
    ValueError
        If the formula does not have three parts or the curve is unknown, and as in
        `MixedNonlinearRegressor.fit`.

    See Also
    --------
    MixedNonlinearRegressor : The estimator it fits.
    lmer : Linear mixed models.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmixed import nlmer
    >>> rng = np.random.default_rng(0)
    >>> data = pd.DataFrame({"age": np.tile(np.arange(1.0, 9.0), 10), "tree": np.arange(80) // 8})
    >>> top = 100.0 + 10.0 * rng.normal(size=10)[data["tree"]]
    >>> data["size"] = top / (1.0 + np.exp(4.0 - data["age"])) + rng.normal(size=80)
    >>> model = nlmer("size ~ SSlogis(age, Asym, xmid, scal) ~ Asym | tree", data)
    >>> model.coef_.round(1)
    array([101.3,   4. ,   1. ])
    """
    check_call("nlmer", formula, data, params, DECIDED_FOR_NLMER)
    parts = CurveFormula.read(formula, start, context)
    text = parts.linear_text(fixed, data)
    read = FormulaRows.read(text, data, weights, na_action, context, residual=residual)
    model = MixedNonlinearRegressor(
        parts.curve,
        start,
        random=parts.random,
        fixed=fixed,
        residual=residual,
        context=context,
        weighting="precision",
        **params,
    )
    replace(read, text=formula).fit(model, read.evaluate(str(read.parts.response)), read.weights)
    return model
