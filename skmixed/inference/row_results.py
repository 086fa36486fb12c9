"""Results for single rows, under their index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from skmixed.inference.fitted import any_fit_of, design_of, formula_of, snapshot
from skmixed.inference.influence import influence
from skmixed.inference.residuals import residuals
from skmixed.inference.table import Table


def linear_predictor(
    model: Any,
    X: Any,
    groups: Any = None,
    *,
    random: str | Sequence[str] = "all",
    fixed: bool = True,
    missing: Literal["raise", "nan"] | None = None,
) -> pd.Series[float]:
    """Compute the linear predictor, or parts of it.

    Use it for the contribution of single random effects, and for values on the scale of the link;
    ``predict`` has means of the response.

    Read more in the user guide: :doc:`/guide/prediction`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model: linear, generalized or Bayesian.
    X : array-like or data frame of shape (n, n_features)
        The training data or new data, as for ``predict``.
    groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
        Group labels, if they were passed to ``fit`` as `groups`.
    random : {"all", "none"}, list of str, or str, default="all"
        Random effects to include: all, none, those of the named factors, or those of terms as
        written, such as ``"(1 | g)"`` in a model that also has slopes (lme4's ``re.form``).
    fixed : bool, default=True
        Whether to include the fixed effects, offsets and population-level smooths; False gives Z b
        (lme4's ``random.only``).
    missing : {"raise", "nan"} or None, default=None
        Whether rows with missing values raise an error or get NaN. None means "raise", or "nan" for
        a model fitted with na_action="exclude".

    Returns
    -------
    Series of shape (n,)
        X beta + Z b at the estimates, on the scale of the link, under the index of X if it has one;
        without the thresholds for ordered categories. Unknown levels have no random effect, unless
        the model's `handle_unknown` says otherwise.

    Raises
    ------
    TypeError
        If the model is not a mixed model, or is a nonlinear one: use its ``predict_parameters``.
    ValueError
        For invalid input, and random effects that the model does not have.

    See Also
    --------
    row_table : Fitted values and residuals side by side.
    model_matrix : The columns of the fixed effects.

    Notes
    -----
    In R: ``predict(model, newdata, type = "link", re.form = ..., random.only = ...)``.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import linear_predictor
    >>> data = load_sleepstudy()
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", data)
    >>> linear_predictor(model, data, random="(1 | Subject)", fixed=False).head(2).round(2)
    0    2.26
    1    2.26
    Name: linear_predictor, dtype: float64
    """
    model = snapshot(model)
    if not hasattr(model, "_linear_predictor"):
        any_fit_of(model)
        raise TypeError("expected a fitted estimator: a bare fit does not read rows")
    values = model._linear_predictor(X, groups, random, fixed=fixed, missing=missing)
    return pd.Series(values, _index_of(X), name="linear_predictor")


def row_table(
    model: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    *,
    leverage: bool = False,
    missing: Literal["raise", "nan"] | None = None,
) -> Table:
    """Tabulate fitted values and residuals, row by row.

    Read more in the user guide: :doc:`/guide/after_generalized`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model that predicts means; for a classifier these are probabilities.
    X, y, sample_weight, groups : array-like
        The training data, as passed to ``fit``, or new data. After `lmer`, `glmer`, `clmm` or
        `nlmer` the data frame X is enough: y and the weights, such as trials, are read from it.
    leverage : bool, default=False
        Whether to add leverage, studentised residuals and Cook's distance, as in `influence`; for
        training data only.
    missing : {"raise", "nan"} or None, default=None
        Whether rows with missing values raise an error or get NaN. None means "raise", or "nan" for
        a model fitted with na_action="exclude".

    Returns
    -------
    Table
        A row for each row of X, under its index: y, fitted (at the conditional modes of the random
        effects), population (averaged over groups, ``predict(X, random="none")``), residual (y
        minus fitted) and pearson (the residual divided by its standard deviation).

    Raises
    ------
    TypeError
        If the model is not a mixed model, or is an ordinal one, which has no mean.
    ValueError
        For invalid rows, and with `leverage` as in `influence`.

    See Also
    --------
    residuals : Residuals of all kinds.
    influence : Leverage, Cook's distance and case deletion.
    linear_predictor : Parts of the linear predictor.

    Notes
    -----
    In R: ``augment(model)`` of broom.mixed, and ``fortify`` of lme4. The model does not store rows,
    so they are passed again.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import row_table
    >>> data = load_sleepstudy()
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", data)
    >>> row_table(model, data, data["Reaction"]).to_frame().head(2).round(2)
            y  fitted  population  residual  pearson
    0  249.56  253.66      251.41     -4.10    -0.16
    1  258.70  273.33      261.87    -14.63    -0.57
    """
    model = snapshot(model)
    design_of(model)  # which a bare fit has not
    X, y, sample_weight, groups = rows = model._with_response(X, y, sample_weight, groups)
    found = residuals(model, *rows, kind="response", missing=missing)
    pearson = residuals(model, *rows, kind="pearson", missing=missing)
    classes = getattr(model, "classes_", None)
    observed = np.asarray(y) if classes is None else np.asarray(y) == classes[1]
    response = np.where(pd.isna(np.asarray(y)), np.nan, observed).astype(np.float64)
    predict = model.predict if classes is None else model.predict_proba
    population = predict(X, groups, random="none", missing=missing)
    columns = {
        "y": response,
        "fitted": response - found,
        "population": population if classes is None else population[:, 1],
        "residual": found,
        "pearson": pearson,
    }
    frame = pd.DataFrame(columns, index=_index_of(X))
    if leverage:
        more = influence(model, *rows, missing=missing)
        frame = frame.join(
            more[["leverage", "studentised", "cooks_distance"]].set_axis(frame.index)
        )
    return Table(f"Rows: {formula_of(model)}", frame)


def _index_of(X: Any) -> pd.Index[Any] | None:
    index = getattr(X, "index", None)
    return index if isinstance(index, pd.Index) else None
