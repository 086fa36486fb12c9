"""What a fit is made of: matrices and vectors by name."""

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
    """Return the columns that the fixed coefficients multiply.

    Parameters
    ----------
    model : estimator
        A fitted mixed model, linear, generalized or Bayesian.
    X : array-like or data frame of shape (n, n_features)
        Rows, those of the fit or others, as in `predict` of the model.
    groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
        Not needed; as in `predict`.

    Returns
    -------
    DataFrame of shape (n, n_fixed)
        A column for every coefficient, in the order and with the names of `fixed_effects_`, the
        constant first if there is one; under the index of X.

    Raises
    ------
    TypeError
        For what is no mixed model, and for nonlinear ones, each of whose parameters has columns of
        its own.
    ValueError
        For invalid rows, and categories that the fit did not know.

    See Also
    --------
    components : The columns of the random effects, and further parts of a fit.

    Notes
    -----
    In R: ``model.matrix(model)``. Columns that depend on those before them are among these; their
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
        _refuse_curves(any_fit_of(model), model, "a matrix")
    design_of(model)  # which a bare fit has not
    rows = model._columns_of(X, groups, random="none")
    spec, design = rows.by.spec, rows.by.design
    names = design.fixed_names
    index = getattr(X, "index", None)
    table = pd.DataFrame(
        rows.columns[:, list(spec.fixed)],
        index if isinstance(index, pd.Index) else None,
        names,
    )
    stated = model.fixed_effects_.index  # not the intercept where thresholds take its place
    return table.iloc[:, len(names) - len(stated) :]


def components(
    model: Any,
    name: ComponentName,
    X: Any = None,
    groups: Any = None,
    *,
    sample_weight: Any = None,
) -> Any:
    """Return a part of a fit by its name.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    name : {"X", "Z", "Lambda", "L", "theta", "beta", "b", "u", "sigma"}
        Which part.
    X, groups : array-like, default=None
        Rows, those of the fit or others, as in `predict`: for "X", "Z" and "L", since a model keeps
        no rows.
    sample_weight : array-like of shape (n,), default=None
        Their weights, for "L".

    Returns
    -------
    object
        "X" is `model_matrix` as a sparse matrix, (n, n_fixed), and "Z" that of the random effects,
        (n, q); "Lambda" the triangular root of their covariance relative to sigma^2, (q, q), and
        "L" the lower triangular root of Lambda'Z'WZ Lambda + I, both sparse; "theta" and "beta" the
        parameters; "b" the random effects, a Series of length q under factor, level and column, and
        "u" what Lambda makes b of; "sigma" the residual standard deviation, 1 of a generalized
        model.

    Raises
    ------
    TypeError
        For what is no mixed model or has a posterior in the place of a fit, and for matrices of
        rows of nonlinear models.
    ValueError
        For an unknown name, where rows are needed and not given or are invalid, and for "L" of
        generalized models, of residual structures and of very many effects.

    See Also
    --------
    model_matrix : The fixed columns by name.
    random_effects_table : Random effects with their errors.

    Notes
    -----
    In R: ``getME(model, name)``. Effects come factor by factor, by falling number of levels, within
    a factor level by level, and of a level column by column: as `b` names them. lme4 has every term
    of a factor by itself where there are several, and L of permuted effects. Of structures such as
    compound symmetry Lambda is the triangular root of the whole covariance.

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
    design_of(model)  # which a bare fit has not
    if name in _OF_ROWS:
        _refuse_curves(fit, model, repr(name))
        if X is None:
            raise ValueError(f"{name!r} is of rows, which the model does not keep: pass X")
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
    """Return random effects, "b", or what Lambda makes them of, "u", (q,)."""
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
            f"a {type(model).__name__} has a curve between its columns and the response, so that "
            f"there is no {what} that multiplies coefficients: predict_parameters has what these "
            "make of rows"
        )


def _places(fit: AnyFit) -> list[int]:
    """Return the positions of the used factors, by falling number of levels."""
    return [fit.spec.used_factors.index(factor) for factor in factors_of(fit.ordered_terms)]


def _effect_labels(model: Any, fit: AnyFit) -> pd.MultiIndex:
    """Return factor, level and column of every effect; curves of all rows have one level."""
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
    """Return Z, (n, q); rows of unknown levels have zeros."""
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
            "'L' is of models whose residuals are alike: those of this one have weights or "
            "correlations of their own; make it of 'Z' and 'Lambda'"
        )
    Z, lam = _random_columns(model, fit, X, groups), _lambda(fit)
    if Z.shape[1] > _MOST_OF_DENSE_ROOT:
        raise ValueError(
            f"'L' of {Z.shape[1]} effects would be dense: hand Lambda'Z'WZ Lambda + I, of 'Z' and "
            "'Lambda', to a sparse factorisation such as that of scikit-sparse"
        )
    weights = np.ones(Z.shape[0]) if sample_weight is None else np.asarray(sample_weight, float)
    weighted = sparse.diags(weights) @ Z @ lam
    inner = (lam.T @ (Z.T @ weighted)).toarray() + np.eye(Z.shape[1])
    return sparse.csr_array(np.linalg.cholesky(inner))
