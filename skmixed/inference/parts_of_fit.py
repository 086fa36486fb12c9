"""Matrices and vectors of a fit, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy import sparse

from skmixed.core.fit import Fit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.model.spec import factors_of
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.inference.fitted import (
    AnyFit,
    any_fit_of,
    design_of,
    snapshot,
)
from skmixed.inference.random_effects import below_each_other, effects_index

ComponentName = Literal["X", "Z", "Lambda", "L", "theta", "beta", "b", "u", "sigma"]

_OF_ROWS = ("X", "Z", "L")
_MOST_OF_DENSE_ROOT = 5_000  # of a dense factor L: 200 MB


def model_matrix(model: Any, X: Any, groups: Any = None) -> pd.DataFrame:
    """Compute the model matrix of the fixed effects.

    Parameters
    ----------
    model : estimator
        A fitted mixed model: linear, generalized or Bayesian.
    X : array-like or data frame of shape (n, n_features)
        The training data or new data, as for ``predict``.
    groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
        Not needed; accepted as in ``predict``.

    Returns
    -------
    DataFrame of shape (n, n_fixed)
        A column for each coefficient, named and ordered as in `fixed_effects_`, the constant first
        if there is one, under the index of X.

    Raises
    ------
    TypeError
        If the model is not a mixed model, or is a nonlinear one, which has a model matrix for each
        of its parameters.
    ValueError
        For invalid rows, and categories unseen in the fit.

    See Also
    --------
    components : The model matrix of the random effects, and other parts of a fit.
    linear_predictor : Its product with the coefficients, with or without random effects.

    Notes
    -----
    In R: ``model.matrix(model)``. Columns that depend linearly on earlier ones are included; their
    coefficients are zero.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import model_matrix
    >>> data = load_sleepstudy()
    >>> model_matrix(lmer("Reaction ~ Days + (1 | Subject)", data), data).head(2)
       (Intercept)  Days
    0          1.0   0.0
    1          1.0   1.0
    """
    model = snapshot(model)
    if not hasattr(model, "posterior_"):
        _refuse_curves(any_fit_of(model), model, "model matrix")
    design_of(model)  # a bare fit has none
    rows = model._columns_of(X, groups, random="none")
    spec, design = rows.by.spec, rows.by.design
    names = design.fixed_names
    index = getattr(X, "index", None)
    table = pd.DataFrame(
        rows.columns[:, list(spec.fixed)],
        index if isinstance(index, pd.Index) else None,
        names,
    )
    stated = model.fixed_effects_.index  # no intercept where thresholds take its place
    return table.iloc[:, len(names) - len(stated) :]


def components(
    model: Any,
    name: ComponentName,
    X: Any = None,
    groups: Any = None,
    *,
    sample_weight: Any = None,
) -> Any:
    """Return a part of a fit by its name, such as the model matrix of the random effects.

    Use it for matrix computations of your own; for figures to report there are `variance_table`,
    `random_effects_table` and the attributes of the model.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    name : {"X", "Z", "Lambda", "L", "theta", "beta", "b", "u", "sigma"}
        Name of the part; see Returns.
    X, groups : array-like, default=None
        The training data or new data, as for ``predict``. Needed for "X", "Z" and "L", since the
        model does not store rows.
    sample_weight : array-like of shape (n,), default=None
        Weights of the rows, for "L".

    Returns
    -------
    object
        "X" is `model_matrix` as a sparse matrix, (n, n_fixed), and "Z" the model matrix of the
        random effects, (n, q). "Lambda" is the lower Cholesky factor of their covariance relative
        to sigma^2, (q, q), and "L" that of Lambda'Z'WZ Lambda + I, both sparse. "theta" and "beta"
        are the parameters. "b" holds the random effects, a Series of length q indexed by factor,
        level and column, and "u" the spherical ones, b = Lambda u. "sigma" is the residual standard
        deviation, 1 for a generalized model.

    Raises
    ------
    TypeError
        If the model is not a mixed model or has posterior draws instead of a fit, and for "X", "Z"
        and "L" of nonlinear models.
    ValueError
        For an unknown name, if rows are needed but missing or invalid, and for "L" of generalized
        models, of models with a residual structure and of very many effects.

    See Also
    --------
    model_matrix : The fixed columns by name.
    random_effects_table : Random effects with standard errors.

    Notes
    -----
    In R: ``getME(model, name)``. Effects are ordered by factor (by decreasing number of levels),
    then level, then column, as the index of "b" shows. lme4 keeps the terms of a factor apart where
    there are several, and permutes the effects of L. For structures such as compound symmetry
    Lambda is the Cholesky factor of the whole covariance.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import components
    >>> data = load_sleepstudy()
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", data)
    >>> Z, b = components(model, "Z", data), components(model, "b")
    >>> Z.shape, b.head(2).round(2).to_list()
    ((180, 36), [2.26, 9.2])
    """
    if name not in get_args(ComponentName):
        raise ValueError(f"name={name!r} is not one of {', '.join(get_args(ComponentName))}")
    model = snapshot(model)
    fit = any_fit_of(model)
    design_of(model)  # a bare fit has none
    if name in _OF_ROWS:
        _refuse_curves(fit, model, repr(name))
        if X is None:
            raise ValueError(f"{name!r} needs rows, which the model does not store: pass X")
    parts: dict[str, Callable[[], Any]] = {
        "X": lambda: sparse.csr_array(model_matrix(model, X, groups).to_numpy()),
        "Z": lambda: _random_columns(model, fit, X, groups),
        "L": lambda: _root(model, fit, X, groups, sample_weight),
        "Lambda": lambda: _lambda(fit),
        "theta": lambda: np.array(fit.theta),
        "beta": lambda: np.array(fit.beta),
        "sigma": lambda: 1.0 if isinstance(fit, GeneralizedFit) else float(np.sqrt(fit.sigma2)),
        "b": lambda: _effects(model, fit, name),
        "u": lambda: _effects(model, fit, name),
    }
    return parts[name]()


def _effects(model: Any, fit: AnyFit, name: str) -> pd.Series[float]:
    """Return the random effects, "b", or the spherical random effects, "u", (q,)."""
    parts = [np.empty(0)]
    for place in _places(fit):
        modes = fit.modes[place]
        parts.append(
            (modes if name == "b" else modes @ np.linalg.pinv(fit.lambdas[place]).T).ravel()
        )
    return pd.Series(np.concatenate(parts), _effect_labels(model, fit), name=name)


def _refuse_curves(fit: AnyFit, model: Any, what: str) -> None:
    if isinstance(fit, NonlinearFit):
        raise TypeError(
            f"a {type(model).__name__} is not linear in its coefficients, so there is no {what}: "
            "use its predict_parameters(X) for the parameters of the curve in each row"
        )


def _places(fit: AnyFit) -> list[int]:
    """Return the positions of the used factors, by falling number of levels."""
    return [fit.spec.used_factors.index(factor) for factor in factors_of(fit.ordered_terms)]


def _effect_labels(model: Any, fit: AnyFit) -> pd.MultiIndex:
    """Return factor, level and column of each effect; population-level smooths have one level."""
    labelled, columns = model._fitted.random_labels, fit.products.layout.columns
    tables = []
    for place in _places(fit):
        factor = fit.spec.used_factors[place]
        names = pd.Index([columns[column] for column in fit.spec.factor_columns(factor)])
        levels = labelled[place].levels if place in labelled else pd.Index([""])
        name = labelled[place].name if place in labelled else ""
        if len(levels) != len(fit.modes[place]):  # memberships, whose levels are columns
            levels = pd.RangeIndex(len(fit.modes[place]))
        tables.append(pd.DataFrame(index=effects_index(name, levels, names)))
    if not tables:
        return pd.MultiIndex.from_arrays([[], [], []], names=["factor", "level", "column"])
    index = below_each_other(tables).index
    assert isinstance(index, pd.MultiIndex)
    return index


def _random_columns(model: Any, fit: AnyFit, X: Any, groups: Any) -> sparse.csr_array:
    """Return Z, (n, q), with zeros in rows of unknown levels."""
    rows = model._columns_of(X, groups, random="all")
    blocks = []
    for place in _places(fit):
        factor = fit.spec.used_factors[place]
        codes, columns = rows.codes[factor], list(fit.spec.factor_columns(factor))
        known, k = np.flatnonzero(codes >= 0), len(columns)
        values = rows.columns[known][:, columns]
        where = codes[known, None] * k + np.arange(k)
        shape = (len(codes), len(fit.modes[place]) * k)
        entries = (values.ravel(), (np.repeat(known, k), where.ravel()))
        blocks.append(sparse.csr_array(entries, shape=shape))
    if not blocks:
        return sparse.csr_array((len(rows.columns), 0))
    found = sparse.csr_array(sparse.hstack(blocks))
    found.eliminate_zeros()
    return found


def _lambda(fit: AnyFit) -> sparse.csr_array:
    """Return Lambda, (q, q)."""
    blocks = [
        sparse.kron(sparse.eye(len(fit.modes[place])), sparse.csr_array(fit.lambdas[place]))
        for place in _places(fit)
    ]
    return sparse.csr_array(sparse.block_diag(blocks)) if blocks else sparse.csr_array((0, 0))


def _root(model: Any, fit: AnyFit, X: Any, groups: Any, sample_weight: Any) -> sparse.csr_array:
    """Return L, (q, q): L L' = Lambda'Z'WZ Lambda + I."""
    if not isinstance(fit, Fit) or isinstance(fit, ResidualFit):
        raise ValueError(
            "'L' needs independent residuals of equal variance, which this model does not have: "
            "compute it from 'Z' and 'Lambda'"
        )
    Z, lam = _random_columns(model, fit, X, groups), _lambda(fit)
    if Z.shape[1] > _MOST_OF_DENSE_ROOT:
        raise ValueError(
            f"'L' for {Z.shape[1]} effects would be dense: compute Lambda'Z'WZ Lambda + I from 'Z' "
            "and 'Lambda', and factorise it with a sparse library such as scikit-sparse"
        )
    weights = np.ones(Z.shape[0]) if sample_weight is None else np.asarray(sample_weight, float)
    weighted = sparse.diags(weights) @ Z @ lam
    inner = (lam.T @ (Z.T @ weighted)).toarray() + np.eye(Z.shape[1])
    return sparse.csr_array(np.linalg.cholesky(inner))
