"""Data drawn from a linear mixed model whose parameters are known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_random_state

_EIGENVALUE_ROUNDING = 1e-12  # a singular correlation matrix may have an eigenvalue of -1e-16


def make_mixed_regression(
    n_samples: int = 1000,
    n_features: int = 3,
    *,
    n_levels: int | Sequence[int] = 50,
    n_slopes: int = 0,
    nested: bool = False,
    random_sd: float | Sequence[float] = 1.0,
    correlation: float = 0.0,
    residual_sd: float = 1.0,
    intercept: float = 0.0,
    coef: Any = None,
    random_state: Any = None,
    as_frame: bool = True,
) -> Bunch:
    """Generate a random regression problem with random effects, and its true parameters.

    The response is ``intercept + X @ coef``, plus a random intercept and ``n_slopes`` random slopes
    (of the first features) for every grouping factor, plus noise. Rows are assigned to levels at
    random and as evenly as possible.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows.
    n_features : int, default=3
        Number of features, standard normal and independent.
    n_levels : int or tuple of int, default=50
        Number of levels of the grouping factor; a tuple has one entry per factor. In a nested
        design the entries are the numbers of children per parent: ``(10, 4)`` is 10 coarse levels
        with 4 fine ones each.
    n_slopes : int, default=0
        Number of features with random slopes over every factor.
    nested : bool, default=False
        Whether each factor is nested in the one before it, coarse to fine. The labels of a nested
        factor then repeat within every parent, as class ``0`` does in every school. If False, the
        factors are crossed.
    random_sd : float or tuple of float, default=1.0
        Standard deviation of the random effects, in units of the response; a tuple has one entry
        per factor.
    correlation : float, default=0.0
        Correlation between any two random effects of the same level.
    residual_sd : float, default=1.0
        Standard deviation of the noise, in units of the response.
    intercept : float, default=0.0
        Fixed intercept.
    coef : array-like of shape (n_features,), default=None
        Fixed slopes; None draws them from the standard normal distribution.
    random_state : int, RandomState instance or None, default=None
        Seed of the random numbers.
    as_frame : bool, default=True
        Whether ``data`` and ``groups`` are data frames and ``target`` is a Series.

    Returns
    -------
    sklearn.utils.Bunch
        With the attributes

        - ``data``: the features ``x0``, ``x1``, ... followed by the group columns; without
          ``as_frame`` an array of the features alone;
        - ``target``: the response;
        - ``groups``: the group columns, integers from 0; they are called ``group``, or
          ``group0``, ``group1``, ... when there are several;
        - ``intercept``, ``coef``, ``residual_sd``: the parameters of the model;
        - ``random_effects``: by factor name, an array of shape (levels, 1 + n_slopes), the
          intercept first. Row ``j`` is level ``j``; in a nested design the finer factor is
          called ``group1:group0``, and its row ``j * children + i`` is child ``i`` of parent
          ``j``;
        - ``random_covariance``: by factor name, the covariance matrix of those columns.

    See Also
    --------
    make_schools : A nested example with named columns.
    sklearn.datasets.make_regression : Data without groups.

    Examples
    --------
    >>> from skmixed.datasets import make_mixed_regression
    >>> problem = make_mixed_regression(200, 2, n_levels=(10, 5), random_state=0)
    >>> list(problem.data.columns)
    ['x0', 'x1', 'group0', 'group1']
    >>> {name: effects.shape for name, effects in problem.random_effects.items()}
    {'group0': (10, 1), 'group1': (5, 1)}
    """
    sizes = np.atleast_1d(n_levels)
    sds = np.broadcast_to(np.asarray(random_sd, dtype=float), sizes.shape)
    if not 0 <= n_slopes <= n_features:
        raise ValueError(f"n_slopes must lie between 0 and n_features, got {n_slopes}.")
    rng = check_random_state(random_state)
    features = rng.standard_normal((n_samples, n_features))
    coef = rng.standard_normal(n_features) if coef is None else np.asarray(coef, dtype=float)
    columns = ["group"] if len(sizes) == 1 else [f"group{i}" for i in range(len(sizes))]
    deal = _deal_nested if nested else _deal_crossed
    groups = deal(n_samples, sizes, rng)
    names, codes = columns, groups.T
    if nested:
        depths = range(1, 1 + len(sizes))
        names = [":".join(reversed(columns[:depth])) for depth in depths]
        codes = [np.ravel_multi_index(groups.T[:depth], sizes[:depth]) for depth in depths]
        sizes = np.cumprod(sizes)

    design = np.column_stack([np.ones(n_samples), features[:, :n_slopes]])
    unit = _equicorrelated(design.shape[1], correlation)
    covariances = {name: sd**2 * unit for name, sd in zip(names, sds, strict=True)}
    effects = {
        name: _draw(covariance, n, rng)
        for (name, covariance), n in zip(covariances.items(), sizes, strict=True)
    }
    target = intercept + features @ coef + residual_sd * rng.standard_normal(n_samples)
    for name, code in zip(names, codes, strict=True):
        target += np.einsum("ij,ij->i", design, effects[name][code])

    data = features
    if as_frame:
        data = pd.DataFrame(features, columns=[f"x{i}" for i in range(n_features)])
        groups = pd.DataFrame(groups, columns=columns)
        data = pd.concat([data, groups], axis=1)
        target = pd.Series(target, name="y")
    return Bunch(
        data=data,
        target=target,
        groups=groups,
        intercept=float(intercept),
        coef=coef,
        residual_sd=float(residual_sd),
        random_effects=effects,
        random_covariance=covariances,
    )


def _deal_crossed(n_rows, sizes, rng):
    """Deal rows to the levels of every factor independently, (n_rows, n_factors)."""
    return np.column_stack([rng.permutation(np.arange(n_rows) % size) for size in sizes])


def _deal_nested(n_rows, sizes, rng):
    """Deal rows to the finest levels; the columns, (n_rows, n_factors), count within the parent."""
    leaf = rng.permutation(np.arange(n_rows) % np.prod(sizes))
    return np.column_stack(np.unravel_index(leaf, tuple(sizes)))


def _equicorrelated(size, correlation):
    """Return the correlation matrix with one value off the diagonal, (size, size).

    Raises ValueError if it is not positive semidefinite; it may be singular.
    """
    matrix = np.full((size, size), float(correlation))
    np.fill_diagonal(matrix, 1.0)
    if np.linalg.eigvalsh(matrix)[0] < -_EIGENVALUE_ROUNDING:
        raise ValueError(f"{size} variables cannot all have pairwise correlation {correlation}.")
    return matrix


def _draw(covariance, n_levels, rng):
    """Draw normal vectors, (n_levels, k), from a covariance matrix that may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return rng.standard_normal((n_levels, len(values))) @ root.T
