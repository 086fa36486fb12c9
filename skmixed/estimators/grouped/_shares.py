"""Weights of the estimates of a group and of its ancestors, by a rule or estimated.

Here they are estimated from predictions of held-out rows, for any estimator; the shrinkage of
coefficients is in the core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.pooling.blending import (
    BlendComponents,
    MixtureShares,
    components,
    mixture_shares,
)
from skmixed.core.pooling.hierarchy import Hierarchy
from skmixed.design.records import stored
from skmixed.estimators._cross_fitting import N_FOLDS
from skmixed.estimators.grouped._arguments import Training
from skmixed.estimators.grouped._subset_fits import Job, answers, jobs_of
from skmixed.estimators.grouped._tree import Tree
from skmixed.estimators.reading._input_table import pick_rows

Shares = list[FloatArray]
"""By level from the root: of shape (n_groups, level + 1), rows that sum to one."""

BLUP = "blup"
_FOLD_SEED = 0  # of the folds of classes: any, so that fits can be repeated
_DEFAULT_ALPHA = 0.5  # of "constant" without a setting: the parent counts as much as the group


@stored
@dataclass(frozen=True, slots=True)
class Scheme:
    """A reading of the parameter `shrinkage`."""

    name: str  # "none", "blup", "keep", "equal", "relative", "min_n_obs" or "callable"
    value: Any = None  # the share kept, the least number of rows, or the function
    uses_pooled: bool = True  # whether all rows are a level that counts


def read_scheme(shrinkage: Any, min_samples: int | None, *, uses_pooled: bool = True) -> Scheme:
    """Read the parameters `shrinkage` and `use_pooled` of `GroupedModels`.

    `min_samples` is the setting of "min_n_obs" given without one. Raises a ValueError if there is
    no such rule, or its setting is out of range.
    """
    scheme = _read_rule(shrinkage, min_samples)
    if scheme.name == BLUP and not uses_pooled:
        raise ValueError(
            "use_pooled=False applies to weighting rules only: with shrinkage='blup' the weight "
            "of all rows is estimated"
        )
    return replace(scheme, uses_pooled=uses_pooled)


def _read_rule(shrinkage: Any, min_samples: int | None) -> Scheme:
    """Return the rule that is meant."""
    if shrinkage is None:
        return Scheme("none")
    if callable(shrinkage):
        return Scheme("callable", shrinkage)
    if isinstance(shrinkage, Real) and not isinstance(shrinkage, bool):
        return Scheme("keep", _share(shrinkage, "shrinkage"))
    name, value = (shrinkage, None) if isinstance(shrinkage, str) else _pair(shrinkage)
    if name == BLUP and value is None:
        return Scheme(BLUP)
    if name == "constant":  # alpha is what the parent gets, as in scikit-lego
        alpha = _DEFAULT_ALPHA if value is None else _share(value, "alpha of shrinkage='constant'")
        return Scheme("keep", 1.0 - alpha)
    if name == "min_n_obs":
        least = min_samples if value is None else value
        if least is None:
            raise ValueError(
                "shrinkage='min_n_obs' requires a number of rows: set min_samples, or "
                "shrinkage=('min_n_obs', 20)"
            )
        return Scheme(name, float(least))
    if name in ("equal", "relative") and value is None:
        return Scheme(name)
    raise ValueError(
        f"shrinkage={shrinkage!r} is not one of 'blup', None, a weight between 0 and 1, 'equal', "
        "'relative', ('constant', alpha), ('min_n_obs', n) or a function of the numbers of rows"
    )


def _pair(shrinkage: Any) -> tuple[Any, Any]:
    """Return the name and the setting of a rule, None where it is not given as a pair."""
    if isinstance(shrinkage, tuple | list) and len(shrinkage) == 2:
        return shrinkage[0], shrinkage[1]
    return shrinkage, None


def _share(value: Any, name: str) -> float:
    """Return a share between 0 and 1 as a float, or raise a ValueError that names it."""
    if not isinstance(value, Real) or not 0.0 <= float(value) <= 1.0:
        raise ValueError(f"{name} is {value!r}; a weight must lie between 0 and 1")
    return float(value)


def shares_of(scheme: Scheme, hierarchy: Hierarchy, counts: Sequence[FloatArray]) -> Shares:
    """Return the share of every ancestor in the estimate of every group, by any rule but "blup".

    `counts`, (n_groups,) each, are numbers of rows by level from the root.
    """
    if scheme.name in ("none", "keep"):
        kept = 1.0 if scheme.name == "none" else scheme.value
        parts = [np.full(size, kept) for size in hierarchy.sizes[1:]]
        if parts and not scheme.uses_pooled:
            parts[0][:] = 1.0
        return nested_shares(parts, hierarchy)
    if scheme.name == "min_n_obs" and scheme.value > counts[0][0]:
        raise ValueError(
            f"shrinkage='min_n_obs' requires {scheme.value:.15g} rows, but the data have "
            f"{counts[0][0]:.15g}: use a smaller number"
        )
    first = 0 if scheme.uses_pooled else 1
    result: Shares = [np.ones((1, 1))]
    for level in range(1, hierarchy.depth + 1):
        chain = hierarchy.ancestors(level)
        sizes = np.column_stack([counts[at][group] for at, group in enumerate(chain)])
        found = np.zeros(sizes.shape)
        found[:, first:] = _by_size(scheme, sizes[:, first:], hierarchy.depth - level)
        result.append(found)
    return result


def nested_shares(kept: Sequence[FloatArray], hierarchy: Hierarchy) -> Shares:
    """Return shares where each group keeps a part of its own and has the rest from its parent.

    `kept`, (n_groups,) for each level below the root, is what groups keep.
    """
    result: Shares = [np.ones((1, 1))]
    for own, parents in zip(kept, hierarchy.parents, strict=True):
        passed = result[-1][parents] * (1.0 - own)[:, None]
        result.append(np.column_stack([passed, own]))
    return result


def own_shares(tree: Tree) -> Shares:
    """Return shares where every group keeps all of its own."""
    return [np.eye(level + 1)[[-1] * size] for level, size in enumerate(tree.hierarchy.sizes)]


def _by_size(scheme: Scheme, sizes: FloatArray, n_finer: int) -> FloatArray:
    """Return the shares of one level, (n_groups, level + 1), from numbers of rows of that shape.

    There are `n_finer` levels below.
    """
    if scheme.name == "equal":
        return np.full(sizes.shape, 1.0 / sizes.shape[1])
    if scheme.name == "relative":
        return np.asarray(sizes / sizes.sum(axis=1, keepdims=True))
    if scheme.name == "min_n_obs":
        large = sizes >= scheme.value
        large[:, 0] = True  # the root is the last resort
        deepest = sizes.shape[1] - 1 - np.argmax(large[:, ::-1], axis=1)
        return np.eye(sizes.shape[1])[deepest]
    distinct, place = np.unique(sizes, axis=0, return_inverse=True)
    found = np.array([_called(scheme.value, row, n_finer) for row in distinct])
    return found[place.ravel()]


def _called(function: Callable[[list[Any]], Any], sizes: FloatArray, n_finer: int) -> FloatArray:
    """Return the weights of the user's function for one chain of groups, summing to one.

    It gets the numbers of rows, (level + 1,), the root's first. One that has weights for all levels
    whatever it gets is a rule for the finest groups: in a parent, which stands for groups that are
    not known, it gets no rows for the `n_finer` levels below, whose weights the parent has. Raises
    a ValueError unless there is one finite weight a level, none negative and one positive.
    """
    listed = [int(size) if size == int(size) else float(size) for size in sizes]
    if n_finer and not _suits(function, listed):
        listed += [0] * n_finer
        given = np.asarray(function(listed), dtype=np.float64)
        if given.shape == (len(listed),):
            given = np.append(given[: len(sizes) - 1], given[len(sizes) - 1 :].sum())
    else:
        given = np.asarray(function(listed), dtype=np.float64)
    if given.shape != sizes.shape or not np.isfinite(given).all():
        raise ValueError(
            f"shrinkage({listed}) returned {given!r}; expected {len(listed)} finite weights, one "
            "per level from all rows to the group itself"
        )
    total = given.sum()
    if (given < 0.0).any() or total <= 0.0:
        raise ValueError(
            f"shrinkage({listed}) returned {given.tolist()}; weights must not be negative, and "
            "at least one must be positive"
        )
    return np.asarray(given / total)


def _suits(function: Callable[[list[Any]], Any], listed: list[Any]) -> bool:
    """Tell whether a function returns a weight for each of fewer levels than there are."""
    try:
        return np.shape(function(listed)) == (len(listed),)
    except (IndexError, ValueError):
        return False


def moved_to_parents(
    shares: Shares, usable: Sequence[NDArray[np.bool_]], hierarchy: Hierarchy
) -> Shares:
    """Return shares where groups that have no estimate hand theirs to their parents.

    `usable`, (n_groups,) each, goes by level from the root, which has an estimate.
    """
    result = []
    for level, given in enumerate(shares):
        kept = given.copy()
        chain = hierarchy.ancestors(level)
        for at in range(level, 0, -1):
            missing = ~usable[at][chain[at]]
            kept[missing, at - 1] += kept[missing, at]
            kept[missing, at] = 0.0
        result.append(kept)
    return result


@stored
@dataclass(frozen=True, slots=True)
class Blend:
    """What the groups of one level keep of their own predictions."""

    components: BlendComponents
    statistic: float  # of a one-sided t test that own predictions help
    p_value: float
    n_groups: int  # that the test rests on
    mixture: MixtureShares | None = None  # of probabilities

    def kept(self, n_rows: FloatArray) -> FloatArray:
        """Return what groups of so many rows keep of their own predictions, (n_groups,)."""
        return (self.mixture or self.components).share(n_rows)


def blend(
    training: Training,
    codes: Sequence[IntArray],
    tree: Tree,
    usable: list[NDArray[np.bool_]],
    fit: Callable[[list[Job]], list[Any]],
    method: str,
    classes: Any,
) -> list[Blend]:
    """Estimate what the groups of each level below the root keep of their own predictions.

    `codes`, (n,) each, go by level from the root, and so do `usable`, (n_groups,): which groups
    have an estimate of their own; `fit` fits the inner estimator to each of a list
    of jobs; `method` is the one whose answers are blended, with a column for each of `classes`,
    which is None for a regressor.
    """
    fold = _folds(codes[-1], is_dealt_at_random=classes is not None)
    own, sizes = _predictions(training, codes, fold, usable, fit, method, classes)
    truth = _truth(training.y, classes)
    parent, result = own[0], []
    for level in range(1, tree.depth + 1):
        known = np.asarray(np.isfinite(own[level] + parent).all(axis=1))
        found = _blend_level(
            (truth - parent)[known],
            (own[level] - parent)[known],
            sizes[level][known],
            codes[level][known],
            fold[known],
            None if training.weights is None else training.weights[known],
        )
        if classes is not None:
            rows = np.flatnonzero(known)
            hit = truth[rows] > 0.0
            weights = np.ones(len(rows)) if training.weights is None else training.weights[rows]
            mixture = mixture_shares(
                own[level][rows][hit], parent[rows][hit], weights, sizes[level][rows]
            )
            found = replace(found, mixture=mixture)
        result.append(found)
        kept = np.zeros(len(parent))
        kept[known] = found.kept(sizes[level][known])
        change = np.where(known[:, np.newaxis], own[level] - parent, 0.0)
        parent = np.asarray(parent + kept[:, np.newaxis] * change)
    return result


def _folds(groups: IntArray, *, is_dealt_at_random: bool) -> IntArray:
    """Deal the rows of every group to the folds, (n,).

    Classes are dealt at random: with as many of each in every fold, the models would know the share
    of a class among the rows that they are to predict.
    """
    order = np.argsort(groups, kind="stable")
    if is_dealt_at_random:
        order = np.lexsort((np.random.default_rng(_FOLD_SEED).permutation(len(groups)), groups))
    fold = np.empty(len(groups), dtype=np.intp)
    fold[order] = np.arange(len(groups)) % N_FOLDS
    return fold


def _truth(y: NDArray[Any], classes: Any) -> FloatArray:
    """Return what predictions are compared with, (n, n_outputs), or indicators (n, n_classes)."""
    if classes is None:
        return np.asarray(y.reshape(len(y), -1), dtype=np.float64)
    return np.asarray(y[:, None] == classes, dtype=np.float64)


def _predictions(
    training: Training,
    codes: Sequence[IntArray],
    fold: IntArray,
    usable: list[NDArray[np.bool_]],
    fit: Callable[[list[Job]], list[Any]],
    method: str,
    classes: Any,
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Predict every row, in every level, by models of the other folds.

    Returns the predictions, (n, n_outputs or n_classes) by level, NaN where there is no model, and
    the numbers of rows, or sums of their weights, that the models were fitted to, (n,) by level.
    """
    n = len(training.y)
    n_columns = len(classes) if classes is not None else np.reshape(training.y, (n, -1)).shape[1]
    own = [np.full((n, n_columns), np.nan) for _ in codes]
    sizes = [np.zeros(n) for _ in codes]
    for number in range(N_FOLDS):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if not len(inside) or not len(outside):
            continue
        jobs = jobs_of(codes, inside, range(len(codes)), usable)
        models: list[dict[int, Any]] = [{} for _ in codes]
        counts: list[dict[int, float]] = [{} for _ in codes]
        for job, model in zip(jobs, fit(jobs), strict=True):
            if not isinstance(model, str):
                models[job.level][job.group] = model
                weights = training.weights
                counts[job.level][job.group] = (
                    len(job.rows) if weights is None else float(weights[job.rows].sum())
                )
        for level, of_level in enumerate(models):
            rows = outside[np.isin(codes[level][outside], list(of_level))]
            if len(rows):
                groups = codes[level][rows]
                table = pick_rows(training.table, rows)
                part = answers(of_level, method, table, groups, classes)
                own[level][rows] = part.reshape(len(rows), -1)
                sizes[level][rows] = np.vectorize(counts[level].get, otypes=[float])(groups)
    return own, sizes


def _blend_level(
    residual: FloatArray,
    difference: FloatArray,
    sizes: FloatArray,
    groups: IntArray,
    fold: IntArray,
    weights: FloatArray | None,
) -> Blend:
    """Estimate the components of one level from residuals of the parent's predictions, (n, d).

    `difference`, (n, d), is the group's own prediction less the parent's; `sizes`, (n,), the
    numbers of rows that own models were fitted to. Outputs are put on one scale. The test is a t
    test over the groups' means of residual times difference.
    """
    if not len(residual):
        return Blend(BlendComponents(0.0, 0.0, 0.0), np.nan, np.nan, 0)
    weights = np.ones(len(residual)) if weights is None else weights
    scale = np.average(residual**2, axis=0, weights=weights)
    use = scale > 0.0
    unit = np.where(use, scale, 1.0)
    sums = [
        weights * (product[:, use] / unit[use]).sum(axis=1)
        for product in (residual**2, residual * difference, difference**2)
    ]
    _, part = np.unique(groups * N_FOLDS + fold, return_inverse=True)
    first = np.unique(part, return_index=True)[1]
    squares, products, differences = (np.bincount(part, values).astype(float) for values in sums)
    counts = np.bincount(part, weights).astype(float) * max(int(use.sum()), 1)
    found = components(squares, products, differences, counts, sizes[first])
    a, e, v, c = (
        float(scale.mean()) * each for each in (found.between, found.noise, found.error, found.bias)
    )
    found = BlendComponents(a, e, v, c)
    distinct, of_group = np.unique(groups, return_inverse=True)
    means = np.bincount(of_group, sums[1]) / np.bincount(of_group, weights)
    if len(distinct) < 2 or not np.ptp(means) > 0.0:
        return Blend(found, np.nan, np.nan, len(distinct))
    test = stats.ttest_1samp(means, 0.0, alternative="greater")
    return Blend(found, float(test.statistic), float(test.pvalue), len(distinct))
