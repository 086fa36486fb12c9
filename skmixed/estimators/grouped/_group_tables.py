"""Coefficients, weights and heterogeneity of the groups, as arrays and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from skmixed.core.linalg import FloatArray
from skmixed.core.pooling.hierarchy import PooledHierarchy
from skmixed.core.pooling.stage import PooledStage
from skmixed.estimators.grouped._estimator_fits import EstimatorGroupFits
from skmixed.estimators.grouped._linear_fits import LinearGroupFits
from skmixed.estimators.grouped._shares import BLUP
from skmixed.estimators.grouped._tree import Tree

_INFORMATION_ROUNDING = 1e-10  # eigenvalue, scaled to a unit diagonal, that counts as zero


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Coefficients of the finest groups, with their standard errors."""

    coef: FloatArray  # (n_groups, n_outputs, k), NaN where there are none
    se: FloatArray  # (n_groups, n_outputs, k), NaN where they are not known
    sd: FloatArray  # (n_groups, n_outputs), of the residuals, NaN where there is none


def estimates(group_fits: LinearGroupFits | EstimatorGroupFits, *, shrunk: bool) -> Estimates:
    """Return the coefficients of the finest groups, shrunk or of each group by itself."""
    if isinstance(group_fits, LinearGroupFits):
        return _shrunk_linear(group_fits) if shrunk else _own_linear(group_fits)
    return _of_estimators(group_fits, shrunk=shrunk)


def _own_linear(group_fits: LinearGroupFits) -> Estimates:
    """Return the estimates of each group by itself, with the standard errors of least squares.

    Those of ridge regression are of (C + alpha I)^-1 C (C + alpha I)^-1, C being the
    cross-products.
    """
    cells, p = group_fits.cells, group_fits.p
    fits = group_fits.fits(cells)
    coef = group_fits.own(group_fits.tree.depth)
    spare = cells.counts - group_fits.k
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = np.sqrt(np.where(spare > 0.0, group_fits.rss / spare, np.nan)).T
    inverse = np.moveaxis(fits.inverse, -1, 0)
    if group_fits.kind.penalty:
        inverse = inverse @ np.moveaxis(cells.products[:p, :p], -1, 0) @ inverse
    variances = np.einsum("gii->gi", inverse)
    if group_fits.kind.fit_intercept:
        mean = (cells.means[:p] + cells.origin[:p, None]).T
        at_zero = 1.0 / cells.counts + np.einsum("gi,gij,gj->g", mean, inverse, mean)
        variances = np.column_stack([at_zero, variances])
    se = sd[:, :, None] * np.sqrt(np.maximum(variances, 0.0))[:, None]
    se[~fits.determined] = np.nan
    se[np.isnan(coef)] = np.nan
    return Estimates(coef, se, sd)


def _shrunk_linear(group_fits: LinearGroupFits) -> Estimates:
    """Return the coefficients that predict.

    Their standard errors are posterior ones given the variances; by rules other than "blup" only
    groups that keep all of their own have any.
    """
    coef = group_fits.final[-1]
    if group_fits.scheme.name != BLUP:
        own = _own_linear(group_fits)
        assert group_fits.shares is not None
        alone = group_fits.shares[:, -1] == 1.0
        se = np.where(alone[:, None, None], own.se, np.nan)
        return Estimates(coef, se, np.where(alone[:, None], own.sd, np.nan))
    to_zero = _uncentring_matrix(
        group_fits.k, group_fits.cells.origin[: group_fits.p], group_fits.kind.fit_intercept
    )
    found = group_fits.pooled_outputs()
    se = np.stack([_errors(each.covariances[-1], to_zero) for each in found], axis=1)
    sd = np.sqrt([[group_fits.residual_variance(n, each) for n, each in enumerate(found)]])
    return Estimates(coef, se, np.repeat(sd, len(coef), axis=0))


def _of_estimators(group_fits: EstimatorGroupFits, *, shrunk: bool) -> Estimates:
    """Return the coefficients of fitted estimators, or raise a ValueError if they have none."""
    models = group_fits.final[-1] if shrunk else group_fits.own[-1]
    if not hasattr(group_fits.own[0][0], "coef_"):
        raise ValueError(
            f"{type(group_fits.own[0][0]).__name__} has no coefficients to tabulate; estimators_ "
            "has the model of every group"
        )
    coef = _stacked(models, group_fits.own[0][0])
    se, sd = np.full(coef.shape, np.nan), np.full(coef.shape[:2], np.nan)
    if group_fits.pooled is not None and group_fits.origin is not None:
        k = coef.shape[2]
        to_zero = _uncentring_matrix(k, group_fits.origin, k > len(group_fits.origin))
        if shrunk:
            se[:, 0] = _errors(group_fits.pooled.covariances[-1], to_zero)
        else:
            se[:, 0] = np.sqrt(_sampling(group_fits.precision, to_zero))
    return Estimates(coef, se, sd)


def _stacked(models: Sequence[Any], pooled: Any) -> FloatArray:
    """Return the coefficients of estimators, (n_groups, n_outputs, k), NaN where there are none."""
    with_intercept = hasattr(pooled, "intercept_") and getattr(pooled, "fit_intercept", True)
    coef = np.atleast_2d(pooled.coef_)
    shape = (len(coef), coef.shape[1] + bool(with_intercept))
    result = np.full((len(models), *shape), np.nan)
    for place, model in enumerate(models):
        if model is None or np.shape(np.atleast_2d(model.coef_)) != coef.shape:
            continue
        result[place, :, shape[1] - coef.shape[1] :] = model.coef_
        if with_intercept:
            result[place, :, 0] = model.intercept_
    return result


def _uncentring_matrix(k: int, origin: FloatArray, fit_intercept: bool) -> FloatArray:
    """Return the matrix (k, k) that takes coefficients from the origin (p,) to zero."""
    to_zero = np.eye(k)
    if fit_intercept:
        to_zero[0, 1:] = -origin
    return to_zero


def _errors(covariances: FloatArray, to_zero: FloatArray) -> FloatArray:
    """Return the standard errors (n_groups, k) of covariances (k, k, n_groups), taken to zero."""
    moved = to_zero @ np.moveaxis(covariances, -1, 0) @ to_zero.T
    return np.sqrt(np.maximum(np.einsum("gii->gi", moved), 0.0))


def _sampling(precision: FloatArray, to_zero: FloatArray) -> FloatArray:
    """Return sampling variances (n_groups, k) from information (k, k, n_groups), taken to zero.

    NaN where the information does not determine the estimates.
    """
    own = np.moveaxis(precision, -1, 0)
    scale = np.sqrt(np.einsum("gii->gi", own))
    scale = np.where(scale > 0.0, scale, 1.0)
    values, vectors = np.linalg.eigh(own / (scale[:, :, None] * scale[:, None]))
    large = values > _INFORMATION_ROUNDING
    known = np.asarray(large.all(axis=1))
    roots = np.where(known[:, None], 1.0 / np.sqrt(np.where(large, values, 1.0)), 0.0)
    half = to_zero @ (vectors / scale[:, :, None] * roots[:, None])
    return np.where(known[:, None], (half**2).sum(axis=2), np.nan)


def coefficient_table(
    group_fits: LinearGroupFits | EstimatorGroupFits, names: Sequence[str], *, shrunk: bool
) -> pd.DataFrame:
    """Tabulate the coefficients of the finest groups, a row a group, or an output and group."""
    found = estimates(group_fits, shrunk=shrunk)
    columns = coefficient_names(names, found.coef.shape[2])
    tables = []
    for output in range(found.coef.shape[1]):
        table = pd.DataFrame(found.coef[:, output], columns=columns)
        table.insert(0, "n", group_fits.tree.counts[-1])
        errors = pd.DataFrame(found.se[:, output], columns=[f"se {name}" for name in columns])
        table = pd.concat([table, errors], axis=1)
        table["residual sd"] = found.sd[:, output]
        table.index = group_fits.tree.index(group_fits.tree.depth)
        tables.append(table)
    if len(tables) == 1:
        return tables[0]
    return pd.concat(dict(enumerate(tables)), names=["output"])


def coefficient_names(names: Sequence[str], k: int) -> list[str]:
    """Return the names of k coefficients, the intercept first if it is one of them."""
    return list(names) if k == len(names) else ["(Intercept)", *names]


def reliability_table(
    tree: Tree, pooled: Sequence[PooledHierarchy], origin: FloatArray, names: Sequence[str]
) -> pd.DataFrame:
    """Tabulate how much of its own estimate each group keeps, by coefficient, from 0 to 1.

    It is the share of the variance between groups that the data of the group resolve. `pooled` has
    one an output; intercepts were taken at `origin`, (p,).
    """
    tables = []
    for each in pooled:
        stage = each.stages[-1]
        k = stage.stage.k
        to_zero = _uncentring_matrix(k, origin, k > len(origin))
        before = np.diag(to_zero @ stage.between @ to_zero.T)
        after = _errors(stage.conditional, to_zero) ** 2
        kept = np.where(before > 0.0, 1.0 - after / np.where(before > 0.0, before, 1.0), 0.0)
        index = tree.index(tree.depth)
        columns = coefficient_names(names, k)
        tables.append(pd.DataFrame(np.clip(kept, 0.0, 1.0), index, columns))
    return tables[0] if len(tables) == 1 else pd.concat(dict(enumerate(tables)), names=["output"])


def heterogeneity_table(
    tree: Tree, pooled: Sequence[PooledHierarchy], origin: FloatArray, names: Sequence[str]
) -> pd.DataFrame:
    """Tabulate how much of the variance of every coefficient is between groups.

    There is a row a level and coefficient, and output if there are several. `pooled` has one an
    output; intercepts were taken at `origin`, (p,).
    """
    tables = []
    for each in pooled:
        parts = {
            name: _stage_table(stage, origin, names)
            for name, stage in zip(tree.level_names[1:], each.stages, strict=True)
        }
        tables.append(pd.concat(parts, names=["groups", "coefficient"]))
    return tables[0] if len(tables) == 1 else pd.concat(dict(enumerate(tables)), names=["output"])


def _stage_table(point: PooledStage, origin: FloatArray, names: Sequence[str]) -> pd.DataFrame:
    """Tabulate the heterogeneity of one level, a row a coefficient."""
    stage = point.stage
    to_zero = _uncentring_matrix(stage.k, origin, stage.k > len(origin))
    within = stage.s2_within or point.s2
    sampling = _sampling(stage.precision, to_zero)
    estimate = (to_zero @ stage.estimate).T
    between = np.diag(to_zero @ point.between @ to_zero.T)
    rows = []
    for column in range(stage.k):
        known = np.isfinite(sampling[:, column])
        variance, group = within * sampling[known, column], stage.parents[known]
        typical = float(variance.mean()) if known.any() else np.nan
        share = between[column] / (between[column] + typical)
        statistic, degrees = _cochran(estimate[known, column], variance, group)
        p_value = np.nan
        if degrees and stage.noise is not None and stage.noise.degrees >= 1.0:
            p_value = float(stats.f.sf(statistic / degrees, degrees, stage.noise.degrees))
        elif degrees:
            p_value = float(stats.chi2.sf(statistic, degrees))
        rows.append([np.sqrt(between[column]), share, statistic, degrees, p_value])
    return pd.DataFrame(
        rows,
        index=coefficient_names(names, stage.k),
        columns=["sd", "share", "statistic", "df", "p_value"],
    )


def _cochran(
    values: FloatArray, variances: FloatArray, parents: NDArray[np.intp]
) -> tuple[float, int]:
    """Return Cochran's Q of estimates (n,) about the means of their parents, and its degrees."""
    if not len(values) or not (variances > 0.0).all():
        return np.nan, 0
    weight = 1.0 / variances
    total = np.bincount(parents, weight)
    mean = np.bincount(parents, weight * values) / np.where(total > 0.0, total, 1.0)
    degrees = len(values) - int((total > 0.0).sum())
    return float(np.sum(weight * (values - mean[parents]) ** 2)), degrees


def blend_table(group_fits: EstimatorGroupFits) -> pd.DataFrame:
    """Tabulate the variance components of predictions blended by "blup", a row a level.

    The columns are as of the heterogeneity of coefficients.
    """
    rows = []
    for found in group_fits.blends:
        a, s = found.components.between, found.components.noise
        share = a / (a + s) if a + s > 0.0 else 0.0
        rows.append([np.sqrt(a), share, found.statistic, found.n_groups - 1, found.p_value])
    index = pd.Index(group_fits.tree.level_names[1:], name="groups")
    return pd.DataFrame(rows, index, ["sd", "share", "statistic", "df", "p_value"])
