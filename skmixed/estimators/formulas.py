"""Models from whole lme4 formulas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.estimators.generalized_regressor import FamilyName, MixedGeneralizedRegressor
from skmixed.estimators.linear import MixedLinearRegressor
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.estimators.nonlinear_regressor import MixedNonlinearRegressor
from skmixed.estimators.ordinal_classifier import OrdinalMixedClassifier
from skmixed.estimators.reading._curve_formula import CurveFormula
from skmixed.estimators.reading._formula_rows import FormulaRows, fixed_text, random_text

Fitted = TypeVar("Fitted", bound=MixedEstimator[Any])

# What the formula and the arguments of R decide already, and where.
_DECIDED = {
    "method": "write reml=True or reml=False",
    "REML": "write reml=True or reml=False",
    "random": "write the random terms into the formula",
    "fixed": "write the fixed part into the formula",
    "groups": "name the grouping columns in the formula",
    "weighting": "weights are inverse variances, as in R; frequencies are the `sample_weight` of "
    "MixedLinearRegressor",
    "sample_weight": "write weights=...",
}
_DECIDED_FOR_GLMER = {
    **{name: _DECIDED[name] for name in ("random", "fixed", "groups", "sample_weight")},
    "nAGQ": "write quadrature=...",
}


_DECIDED_FOR_NLMER = {
    **{name: _DECIDED[name] for name in ("random", "groups", "sample_weight", "weighting")},
    "model": "write the curve into the formula",
    "inputs": "write the columns into the brackets of the curve",
    "nAGQ": "it is one node, Laplace's approximation",
}


def _check_call(
    caller: str, formula: Any, data: Any, params: Mapping[str, Any], decided: Mapping[str, str]
) -> None:
    """Raise TypeError for a formula in the place of the data, and for what formulas decide."""
    if not isinstance(formula, str):
        if isinstance(data, str):
            raise TypeError(
                f"{caller} takes the formula first, then the data: {caller}({data!r}, data)"
            )
        raise TypeError(f"formula is a {type(formula).__name__}; text, as in R, is expected")
    for name, instead in decided.items():
        if name in params:
            raise TypeError(f"{caller} takes no {name!r}: {instead}")


def fit_formula(
    model: Fitted, formula: str, data: Any, weights: Any = None, na_action: str = "drop"
) -> Fitted:
    """Fit an estimator to the rows of a data frame that a whole formula names.

    `random` and `fixed` of the estimator become those of the formula; all else is its parameters.
    """
    read, response, weights = read_formula(model, formula, data, weights, na_action)
    model.random, model.fixed = random_text(read.parts.random), fixed_text(read.parts)
    read.fit(model, response, weights)
    return model


def read_formula(
    model: MixedEstimator[Any], formula: str, data: Any, weights: Any, na_action: str
) -> tuple[FormulaRows, Any, FloatArray | None]:
    """Return the rows that a whole formula names, their response, (n,), and weights, (n,).

    The response is such as `fit` of the estimator takes.
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
    """Return the response of a generalized model, (n,), shares of ``cbind``, and its weights."""
    counts = read.trials(family)
    if counts is None:
        response = read.evaluate(str(read.parts.response), has_outcomes=family == "binomial")
        return response, read.weights
    total = counts.sum(axis=1)
    weights = total if read.weights is None else total * read.weights
    share = np.divide(counts[:, 0], total, out=np.zeros(len(total)), where=total > 0.0)
    return share, weights


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

    Parameters
    ----------
    formula : str
        Such as ``"extro ~ open + agree + (1 + open | school/class)"``. Without a bar it is an
        ordinary linear model.
    data : data frame
        A pandas, polars or pyarrow data frame, or any other that narwhals supports.
    reml : bool, default=True
        Restricted instead of full maximum likelihood.
    weights : str or array-like of shape (n_samples,), default=None
        Prior weights as in R: the residual variance of a row is sigma^2 / weight. A string is an
        expression in the columns. Rows of known variances ``v`` have weights ``"1 / v"`` and
        ``residual_variance=1``.
    residual : str or None, default=None
        Correlation and variances of the residuals, as in `MixedLinearRegressor`:
        ``"ar1(visit | subject)"``, ``"us(visit | subject)"``, ``"var(sex)"``. In the formula
        itself ``us(visit | subject)`` is a random term, as in lme4.
    na_action : {"drop", "exclude", "raise"}, default="drop"
        Treatment of rows with missing values: "drop" omits them and counts them in ``n_dropped_``;
        "exclude" also omits them, but pads predictions, `skmixed.inference.residuals` and other
        row-wise results with NaN; "raise" is an error.
    context : dict of str to object, default=None
        User-defined functions and values that `formula` and `weights` may refer to, as in `lmer`.
    **params
        Further parameters of `MixedLinearRegressor`.

    Returns
    -------
    MixedLinearRegressor
        Fitted, with attributes ``formula_`` and ``n_dropped_``. Its `predict` takes data frames
        that have the columns of the right-hand side.

    Raises
    ------
    FormulaSyntaxError
        If the formula cannot be parsed; the message points at the position.
    TypeError
        For parameters that the formula or `reml` decides, and data that is no data frame.
    ValueError
        For a formula without a response, columns that are not there, what formulas may not hold,
        and, with na_action="raise", missing values.

    Warns
    -----
    UserWarning
        If a ``.`` stands for a grouping column, too, as it does in R.

    See Also
    --------
    MixedLinearRegressor : The estimator behind it.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> round(model.criterion_, 4)
    1743.6283
    """
    _check_call("lmer", formula, data, params, _DECIDED)
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

    Parameters
    ----------
    formula : str
        Such as ``"cbind(ill, size - ill) ~ period + (1 | herd)"``. The response is one column or
        expression, ``cbind(hits, misses)``, or, with `weights`, a share of so many trials. Of two
        labels the second is a hit, in the order of a categorical column or sorted, as in R.
    data : data frame
        A pandas, polars or pyarrow data frame, or any other that narwhals supports.
    family : {"binomial", "poisson", "gamma", "negative_binomial"}, default="binomial"
        Distribution of the response, as in `MixedGeneralizedRegressor`.
    link : {"auto", "log", "logit", "probit", "cloglog"}, default="auto"
        Link of the mean.
    weights : str or array-like of shape (n_samples,), default=None
        Weights of the log densities as in R: numbers of trials, for shares. A string is an
        expression in the columns.
    exposure : str, default=None
        Column that the mean is proportional to; the same as ``offset(log(...))``.
    quadrature : int, default=1
        Nodes of the quadrature for every random column, lme4's ``nAGQ``; 1 is Laplace's
        approximation.
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
        Fitted, with attributes ``formula_`` and ``n_dropped_``. Its `predict` takes data frames
        that have the columns of the right-hand side, and that of exposures.

    Raises
    ------
    FormulaSyntaxError
        If the formula cannot be parsed; the message points at the position.
    TypeError
        If a parameter is given that the formula already determines, or `data` is not a data frame.
    ValueError
        As in `lmer` and `MixedGeneralizedRegressor.fit`; for ``cbind`` of another family than
        binomial, of other than two columns, or of negative numbers; for other than two labels.

    See Also
    --------
    MixedGeneralizedRegressor : The estimator behind it.
    MixedClassifier : Two classes, with the methods of a classifier.
    lmer : Normal responses.

    Notes
    -----
    Predictions are averaged over what is not known of the random effects; give
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
    _check_call("glmer", formula, data, params, _DECIDED_FOR_GLMER)
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

    Parameters
    ----------
    formula : str
        Such as ``"rating ~ temp + contact + (1 | judge)"``. The response is a column of categories,
        whose order is that of an ordered categorical or an Enum, of numbers, or the one that
        ``categories=[...]`` says, or a numeric expression. R's ``factor(...)`` and ``ordered(...)``
        around it say nothing more.
    data : data frame
        A pandas, polars or pyarrow data frame, or any other that narwhals supports.
    link : {"logit", "probit", "cloglog"}, default="logit"
        Link of the cumulative probabilities.
    weights : str or array-like of shape (n_samples,), default=None
        Numbers of rows that each row stands for. A string is an expression in the columns.
    quadrature : int, default=1
        Nodes of the quadrature for every random column, ordinal's ``nAGQ``; 1 is Laplace's
        approximation.
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
        Fitted, with attributes ``formula_`` and ``n_dropped_``. Its `predict` takes data frames
        that have the columns of the right-hand side.

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
    OrdinalMixedClassifier : The estimator behind it.
    skmixed.inference.proportional_odds : Whether every threshold has the same coefficients.

    Notes
    -----
    The thresholds are "flexible", as R calls them. The link "cloglog" is that of ``clm``; ``clmm``
    of ordinal 2022.11-16 has it under the name "loglog".

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
    _check_call("clmm", formula, data, params, _DECIDED_FOR_GLMER)
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
    """Fit a nonlinear mixed model from a formula of three parts and a data frame.

    Parameters
    ----------
    formula : str
        Response, curve and random effects, as in lme4:
        ``"height ~ SSasymp(age, Asym, R0, lrc) ~ Asym | Seed"``. The curve is one that is known by
        name, R's or this package's, called with its columns and the names of its parameters, or a
        function in `context`, called likewise; names in `start` are then parameters, the others
        columns. Without random effects, ``~ 1``, it is nonlinear least squares.
    data : data frame
        A pandas, polars or pyarrow data frame, or any other that narwhals supports.
    start : dict or None, default=None
        Where the search starts, as in `MixedNonlinearRegressor`; known curves start themselves.
    fixed : dict or None, default=None
        Formulas of parameters, ``{"Asym": "1 + treatment"}``.
    weights : str or array-like of shape (n_samples,), default=None
        Prior weights as in R: the residual variance of a row is sigma^2 / weight. A string is an
        expression in the columns.
    residual : str or None, default=None
        Variances of the residuals, as in `MixedNonlinearRegressor`: ``"var(sex)"``, ``"power(x)"``.
    na_action : {"drop", "exclude", "raise"}, default="drop"
        Treatment of rows with missing values: "drop" omits them and counts them in ``n_dropped_``;
        "exclude" also omits them, but pads predictions, `skmixed.inference.residuals` and other
        row-wise results with NaN; "raise" is an error.
    context : dict of str to object, default=None
        User-defined functions and values that `formula` and `weights` may refer to, as in `lmer`.
    **params
        Further parameters of `MixedNonlinearRegressor`.

    Returns
    -------
    MixedNonlinearRegressor
        Fitted, with attributes ``formula_`` and ``n_dropped_``. Its `predict` takes data frames
        that have the columns of the curve, of formulas and of groups.

    Raises
    ------
    FormulaSyntaxError
        If a part of the formula cannot be read.
    TypeError
        If a parameter is given that the formula already determines, or `data` is not a data frame.
    ValueError
        For a formula of other than three parts, an unknown curve, and as in
        `MixedNonlinearRegressor.fit`.

    See Also
    --------
    MixedNonlinearRegressor : The estimator behind it.
    lmer : Lines instead of curves.

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
    _check_call("nlmer", formula, data, params, _DECIDED_FOR_NLMER)
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
