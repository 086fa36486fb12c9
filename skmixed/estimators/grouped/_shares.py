"""How much the estimates of a group and of its ancestors count, by every rule but REML's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmixed.core.linalg import FloatArray
from skmixed.core.pooling.hierarchy import Hierarchy

Shares = list[FloatArray]
"""By level from the root: of shape (n_groups, level + 1), rows that sum to one."""

BLUP = "blup"
_DEFAULT_ALPHA = 0.5  # of "constant" without a setting: the parent counts as much as the group


@dataclass(frozen=True, slots=True)
class Scheme:
    """A reading of the parameter `shrinkage`."""

    name: str  # "none", "blup", "keep", "equal", "relative", "min_n_obs" or "callable"
    value: Any = None  # the share kept, the least number of rows, or the function


def read_scheme(shrinkage: Any, min_samples: int | None) -> Scheme:
    """Read the parameter `shrinkage` of `GroupedModels`.

    `min_samples` is the setting of "min_n_obs" given without one. Raises a ValueError if there is
    no such rule, or its setting is out of range.
    """
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
                "shrinkage='min_n_obs' needs a number of rows: give min_samples, or "
                "shrinkage=('min_n_obs', 20)"
            )
        return Scheme(name, float(least))
    if name in ("equal", "relative") and value is None:
        return Scheme(name)
    raise ValueError(
        f"shrinkage={shrinkage!r} is none of 'blup', None, a share between 0 and 1, 'equal', "
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
        raise ValueError(f"{name} is {value!r}; a share lies between 0 and 1")
    return float(value)


def shares_of(scheme: Scheme, hierarchy: Hierarchy, counts: Sequence[FloatArray]) -> Shares:
    """Return the share of every ancestor in the estimate of every group, by any rule but "blup".

    `counts`, (n_groups,) each, are numbers of rows by level from the root.
    """
    if scheme.name in ("none", "keep"):
        kept = 1.0 if scheme.name == "none" else scheme.value
        return nested_shares([np.full(size, kept) for size in hierarchy.sizes[1:]], hierarchy)
    result: Shares = [np.ones((1, 1))]
    for level in range(1, hierarchy.depth + 1):
        chain = hierarchy.ancestors(level)
        sizes = np.column_stack([counts[at][group] for at, group in enumerate(chain)])
        result.append(_by_size(scheme, sizes))
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


def _by_size(scheme: Scheme, sizes: FloatArray) -> FloatArray:
    """Return the shares of one level, (n_groups, level + 1), from numbers of rows of that shape."""
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
    found = np.array([_called(scheme.value, row) for row in distinct])
    return found[place.ravel()]


def _called(function: Callable[[list[Any]], Any], sizes: FloatArray) -> FloatArray:
    """Return the weights of the user's function for one chain of groups, summing to one.

    It gets the numbers of rows, (level + 1,), the root's first. Raises a ValueError unless there is
    one finite weight a level, none negative and one positive.
    """
    listed = [int(size) if size == int(size) else float(size) for size in sizes]
    given = np.asarray(function(listed), dtype=np.float64)
    if given.shape != sizes.shape or not np.isfinite(given).all():
        raise ValueError(
            f"shrinkage({listed}) returned {given!r}; expected {len(listed)} finite weights, one a "
            "level from all rows to the group itself"
        )
    total = given.sum()
    if (given < 0.0).any() or total <= 0.0:
        raise ValueError(
            f"shrinkage({listed}) returned {given.tolist()}; weights cannot be negative, and one "
            "must be positive"
        )
    return np.asarray(given / total)


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
