"""Coefficients, weights and heterogeneity of the groups, as arrays and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from skmixed.core.hierarchy import PooledHierarchy
from skmixed.core.pooling import Pooled
from skmixed.estimators.grouped._estimators import EstimatorsRoad
from skmixed.estimators.grouped._linear import LinearRoad
from skmixed.estimators.grouped._shares import BLUP
from skmixed.estimators.grouped._tree import Tree

FloatArray = NDArray[np.float64]

_SINGULAR = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Coefficients of the finest groups.

    Parameters
    ----------
    coef : ndarray of shape (n_groups, n_outputs, k)
        The coefficients; NaN where there are none.
    se : ndarray of shape (n_groups, n_outputs, k)
        Standard errors; NaN where they are not known.
    sd : ndarray of shape (n_groups, n_outputs)
        Residual standard deviations; NaN where there is none.
    """

    coef: FloatArray
    se: FloatArray
    sd: FloatArray


def estimates(road: LinearRoad | EstimatorsRoad, *, shrunk: bool) -> Estimates:
    """Return the coefficients of the finest groups.

    Parameters
    ----------
    road : LinearRoad or EstimatorsRoad
        A fitted model.
    shrunk : bool
        Whether those that predict are wanted, or those of each group by itself.

    Returns
    -------
    Estimates
        With standard errors where they are known.
    """
    if isinstance(road, LinearRoad):
        return _shrunk_linear(road) if shrunk else _own_linear(road)
    return _of_estimators(road, shrunk=shrunk)


def _own_linear(road: LinearRoad) -> Estimates:
    cells, p = road.cells, road.p
    fits = road.fits(cells)
    coef = road.own(road.tree.depth)
    spare = cells.counts - road.k
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = np.sqrt(np.where(spare > 0.0, road.rss / spare, np.nan)).T
    inverse = np.moveaxis(fits.inverse, -1, 0)
    if road.kind.penalty:
        inverse = inverse @ np.moveaxis(cells.products[:p, :p], -1, 0) @ inverse
    variances = np.einsum("gii->gi", inverse)
    if road.kind.fit_intercept:
        mean = (cells.means[:p] + cells.origin[:p, None]).T
        at_zero = 1.0 / cells.counts + np.einsum("gi,gij,gj->g", mean, inverse, mean)
        variances = np.column_stack([at_zero, variances])
    se = sd[:, :, None] * np.sqrt(np.maximum(variances, 0.0))[:, None]
    se[~fits.determined] = np.nan
    se[np.isnan(coef)] = np.nan
    return Estimates(coef, se, sd)


def _shrunk_linear(road: LinearRoad) -> Estimates:
    coef = road.final[-1]
    if road.scheme.name != BLUP:
        own = _own_linear(road)
        assert road.shares is not None
        alone = road.shares[:, -1] == 1.0
        se = np.where(alone[:, None, None], own.se, np.nan)
        return Estimates(coef, se, np.where(alone[:, None], own.sd, np.nan))
    turn = _turn(road.k, road.cells.origin[: road.p], road.kind.fit_intercept)
    found = road.pooled_outputs()
    se = np.stack([_errors(each.covariances[-1], turn) for each in found], axis=1)
    sd = np.sqrt([[road.residual_variance(n, each) for n, each in enumerate(found)]])
    return Estimates(coef, se, np.repeat(sd, len(coef), axis=0))


def _of_estimators(road: EstimatorsRoad, *, shrunk: bool) -> Estimates:
    models = road.final[-1] if shrunk else road.own[-1]
    if not hasattr(road.own[0][0], "coef_"):
        raise ValueError(
            f"{type(road.own[0][0]).__name__} has no coefficients to tabulate; estimators_ has the "
            "model of every group"
        )
    coef = _stacked(models, road.own[0][0])
    se, sd = np.full(coef.shape, np.nan), np.full(coef.shape[:2], np.nan)
    if road.pooled is not None and road.origin is not None:
        k = coef.shape[2]
        turn = _turn(k, road.origin, k > len(road.origin))
        if shrunk:
            se[:, 0] = _errors(road.pooled.covariances[-1], turn)
        else:
            se[:, 0] = np.sqrt(_sampling(road.precision, turn))
    return Estimates(coef, se, sd)


def _stacked(models: Sequence[Any], pooled: Any) -> FloatArray:
    """Return coefficients of many estimators, of shape (n_groups, n_outputs, k)."""
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


def _turn(k: int, origin: FloatArray, fit_intercept: bool) -> FloatArray:
    """Return the matrix that takes the intercept from the origin to zero."""
    turn = np.eye(k)
    if fit_intercept:
        turn[0, 1:] = -origin
    return turn


def _errors(covariances: FloatArray, turn: FloatArray) -> FloatArray:
    turned = turn @ np.moveaxis(covariances, -1, 0) @ turn.T
    return np.sqrt(np.maximum(np.einsum("gii->gi", turned), 0.0))


def _sampling(precision: FloatArray, turn: FloatArray) -> FloatArray:
    """Return sampling variances of estimates; NaN where they are not determined."""
    own = np.moveaxis(precision, -1, 0)
    scale = np.sqrt(np.einsum("gii->gi", own))
    scale = np.where(scale > 0.0, scale, 1.0)
    values, vectors = np.linalg.eigh(own / (scale[:, :, None] * scale[:, None]))
    known = np.asarray((values > _SINGULAR).all(axis=1))
    roots = np.where(known[:, None], 1.0 / np.sqrt(np.where(values > _SINGULAR, values, 1.0)), 0.0)
    half = turn @ (vectors / scale[:, :, None] * roots[:, None])
    return np.where(known[:, None], (half**2).sum(axis=2), np.nan)


def coefficient_table(
    road: LinearRoad | EstimatorsRoad, names: Sequence[str], *, shrunk: bool
) -> pd.DataFrame:
    """Tabulate the coefficients of the finest groups.

    Parameters
    ----------
    road : LinearRoad or EstimatorsRoad
        A fitted model.
    names : sequence of str
        Names of the features.
    shrunk : bool
        Whether the coefficients that predict are wanted.

    Returns
    -------
    DataFrame
        One row a group, or a group and output.
    """
    found = estimates(road, shrunk=shrunk)
    columns = coefficient_names(names, found.coef.shape[2])
    tables = []
    for output in range(found.coef.shape[1]):
        table = pd.DataFrame(found.coef[:, output], columns=columns)
        table.insert(0, "n", road.tree.counts[-1])
        errors = pd.DataFrame(found.se[:, output], columns=[f"se {name}" for name in columns])
        table = pd.concat([table, errors], axis=1)
        table["residual sd"] = found.sd[:, output]
        table.index = road.tree.index(road.tree.depth)
        tables.append(table)
    if len(tables) == 1:
        return tables[0]
    return pd.concat(dict(enumerate(tables)), names=["output"])


def coefficient_names(names: Sequence[str], k: int) -> list[str]:
    """Return the names of the coefficients.

    Parameters
    ----------
    names : sequence of str
        Of the features.
    k : int
        Number of coefficients, one more with an intercept.

    Returns
    -------
    list of str
        The intercept first.
    """
    return list(names) if k == len(names) else ["(Intercept)", *names]


def reliability_table(
    tree: Tree, pooled: Sequence[PooledHierarchy], origin: FloatArray, names: Sequence[str]
) -> pd.DataFrame:
    """Tabulate how much of its own estimate each group keeps, by coefficient.

    Parameters
    ----------
    tree : Tree
        The groups.
    pooled : sequence of PooledHierarchy
        One an output.
    origin : ndarray of shape (p,)
        Where intercepts are taken.
    names : sequence of str
        Names of the features.

    Returns
    -------
    DataFrame
        The share of the variance between groups that the data of the group resolve, 0 to 1.
    """
    tables = []
    for each in pooled:
        stage = each.stages[-1]
        k = stage.stage.k
        turn = _turn(k, origin, k > len(origin))
        before = np.diag(turn @ stage.between @ turn.T)
        after = _errors(stage.conditional, turn) ** 2
        kept = np.where(before > 0.0, 1.0 - after / np.where(before > 0.0, before, 1.0), 0.0)
        index = tree.index(tree.depth)
        columns = coefficient_names(names, k)
        tables.append(pd.DataFrame(np.clip(kept, 0.0, 1.0), index, columns))
    return tables[0] if len(tables) == 1 else pd.concat(dict(enumerate(tables)), names=["output"])


def heterogeneity_table(
    tree: Tree, pooled: Sequence[PooledHierarchy], origin: FloatArray, names: Sequence[str]
) -> pd.DataFrame:
    """Tabulate how much of the variance of every coefficient is between groups.

    Parameters
    ----------
    tree : Tree
        The groups.
    pooled : sequence of PooledHierarchy
        One an output.
    origin : ndarray of shape (p,)
        Where intercepts are taken.
    names : sequence of str
        Names of the features.

    Returns
    -------
    DataFrame
        One row a level and coefficient, and output if there are several.
    """
    tables = []
    for each in pooled:
        parts = {
            name: _stage_table(stage, origin, names)
            for name, stage in zip(tree.level_names[1:], each.stages, strict=True)
        }
        tables.append(pd.concat(parts, names=["groups", "coefficient"]))
    return tables[0] if len(tables) == 1 else pd.concat(dict(enumerate(tables)), names=["output"])


def _stage_table(point: Pooled, origin: FloatArray, names: Sequence[str]) -> pd.DataFrame:
    stage = point.stage
    turn = _turn(stage.k, origin, stage.k > len(origin))
    within = stage.s2_within or point.s2
    sampling = _sampling(stage.precision, turn)
    estimate = (turn @ stage.estimate).T
    between = np.diag(turn @ point.between @ turn.T)
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
    """Return Cochran's Q of estimates about the means of their parents, and its degrees."""
    if not len(values) or not (variances > 0.0).all():
        return np.nan, 0
    weight = 1.0 / variances
    total = np.bincount(parents, weight)
    mean = np.bincount(parents, weight * values) / np.where(total > 0.0, total, 1.0)
    degrees = len(values) - int((total > 0.0).sum())
    return float(np.sum(weight * (values - mean[parents]) ** 2)), degrees


def blend_table(road: EstimatorsRoad) -> pd.DataFrame:
    """Tabulate the variance components of blended predictions.

    Parameters
    ----------
    road : EstimatorsRoad
        A fitted model whose predictions are blended by "blup".

    Returns
    -------
    DataFrame
        One row a level, columns as of the coefficients.
    """
    rows = []
    for found in road.blends:
        a, s = found.components.between, found.components.noise
        share = a / (a + s) if a + s > 0.0 else 0.0
        rows.append([np.sqrt(a), share, found.statistic, found.n_groups - 1, found.p_value])
    index = pd.Index(road.tree.level_names[1:], name="groups")
    return pd.DataFrame(rows, index, ["sd", "share", "statistic", "df", "p_value"])
