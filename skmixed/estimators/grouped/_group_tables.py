"""Coefficients, weights and heterogeneity of the groups as tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from skmixed.core.linalg import FloatArray
from skmixed.core.pooling.hierarchy import PooledHierarchy
from skmixed.core.pooling.stage import PooledStage
from skmixed.estimators.grouped._group_fits import (
    GroupFits,
    sampling_variances,
    standard_errors,
    to_zero,
    uncentred,
)
from skmixed.estimators.grouped._tree import Tree


def _by_output(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the table of the one output, or those of several below each other."""
    return tables[0] if len(tables) == 1 else pd.concat(dict(enumerate(tables)), names=["output"])


def coefficient_table(group_fits: GroupFits, names: Sequence[str], *, shrunk: bool) -> pd.DataFrame:
    """Tabulate the coefficients of the finest groups, a row a group, or an output and group."""
    found = group_fits.estimates(shrunk=shrunk)
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
    return _by_output(tables)


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
        turn = to_zero(k, origin)
        before = np.diag(turn @ stage.between @ turn.T)
        after = standard_errors(stage.conditional, origin) ** 2
        kept = np.where(before > 0.0, 1.0 - after / np.where(before > 0.0, before, 1.0), 0.0)
        index = tree.index(tree.depth)
        columns = coefficient_names(names, k)
        tables.append(pd.DataFrame(np.clip(kept, 0.0, 1.0), index, columns))
    return _by_output(tables)


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
    return _by_output(tables)


def _stage_table(point: PooledStage, origin: FloatArray, names: Sequence[str]) -> pd.DataFrame:
    """Tabulate the heterogeneity of one level, a row a coefficient."""
    stage = point.stage
    turn = to_zero(stage.k, origin)
    within = stage.s2_within or point.s2
    sampling = sampling_variances(stage.precision, origin)
    estimate = uncentred(stage.estimate.T, origin)
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
    """Return Cochran's Q of estimates (n,) about the means of their parents, and its degrees."""
    if not len(values) or not (variances > 0.0).all():
        return np.nan, 0
    weight = 1.0 / variances
    total = np.bincount(parents, weight)
    mean = np.bincount(parents, weight * values) / np.where(total > 0.0, total, 1.0)
    degrees = len(values) - int((total > 0.0).sum())
    return float(np.sum(weight * (values - mean[parents]) ** 2)), degrees


def blend_table(group_fits: GroupFits) -> pd.DataFrame:
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
