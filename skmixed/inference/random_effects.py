"""Random effects of each level, with their uncertainty and expected ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.polynomial import chebyshev
from scipy import stats
from scipy.special import ndtr

from skmixed.core.linalg import FloatArray
from skmixed.inference.fitted import (
    design_of,
    determined_any_fit_of,
    fitted_inside,
    formula_of,
    snapshot,
)
from skmixed.inference.fixed_effects.testing import check_probability
from skmixed.inference.table import Table


def random_effects_table(model: Any, *, level: float = 0.95, ranks: bool = True) -> Table:
    """Tabulate the random effects with intervals and expected ranks.

    These are the conditional modes (BLUPs) with conditional standard errors, the figures of a
    caterpillar plot. For draws that also carry the uncertainty of the coefficients use `sim`.

    Read more in the user guide: :doc:`/guide/intervals`.

    Parameters
    ----------
    model : MixedLinearRegressor, MixedClassifier or MixedGeneralizedRegressor
        A fitted mixed model, a pipeline that ends in one, or a search over one. After
        ``update_groups`` the effects are conditional on all rows so far.
    level : float, default=0.95
        Confidence level of the intervals, between 0 and 1.
    ranks : bool, default=True
        Whether to compute expected ranks, which takes seconds for 100,000 levels.

    Returns
    -------
    Table
        A row for each factor, level and column, which are the index: estimate (conditional mode),
        std_error (conditional, at the estimated parameters), lower and upper; with `ranks` also
        expected_rank, from 1 for the lowest, and percentile. Effects of generalized models are on
        the scale of the link.

    Raises
    ------
    ValueError
        For a level outside (0, 1), a model without random effects, and one that leaves no residual.

    See Also
    --------
    sim : Draws of the coefficients and random effects.
    skmixed.display.RandomEffectsDisplay : Caterpillar plot.

    Notes
    -----
    The expected rank of an effect is 1 plus the sum, over the other levels, of the probability that
    their effect is lower, effects being taken as independent and normal; the percentile is 100
    (rank - 1/2) / n. Levels with little data have ranks near the middle. In R: ``ranef(model,
    condVar = TRUE)``, and ``expectedRank`` of merTools. In generalized models the modes are those
    of Laplace's approximation.

    References
    ----------
    .. [1] Lingsma, H. F. et al. (2010). Comparing and ranking hospitals based on outcome. QJM
       103(2), :doi:`10.1093/qjmed/hcp169`.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import random_effects_table
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> table = random_effects_table(model).to_frame()
    >>> table.loc[("Subject", "308", "Days"), ["estimate", "std_error", "expected_rank"]].round(2)
    estimate          9.20
    std_error         2.30
    expected_rank    17.19
    Name: (Subject, 308, Days), dtype: float64
    """
    model = snapshot(fitted_inside(model))
    determined_any_fit_of(model)
    design_of(model)  # a bare fit has none
    check_probability(level)
    effects = model.random_effects_
    if not effects:
        raise ValueError("the model has no random effects")
    covariances = model.random_effects_covariance_
    quantile = float(stats.norm.isf((1.0 - level) / 2.0))
    parts = [
        _factor_table(name, frame, covariances[name], quantile, ranks)
        for name, frame in effects.items()
    ]
    notes = f"{100 * level:.4g}% intervals, at the estimated variances."
    return Table(f"Random effects: {formula_of(model)}", below_each_other(parts), (notes,))


def effects_index(factor: str, levels: pd.Index[Any], columns: pd.Index[Any]) -> pd.MultiIndex:
    """Return the index of a table of random effects: factor, level and column.

    Levels are tuples if several columns form them.
    """
    labels = np.empty(len(levels), dtype=object)
    labels[:] = list(levels)
    level = np.repeat(labels, len(columns))
    column = np.tile(np.asarray(columns, dtype=object), len(levels))
    arrays = [np.full(len(level), factor, dtype=object), level, column]
    return pd.MultiIndex.from_arrays(arrays, names=["factor", "level", "column"])


def below_each_other(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Stack tables of random effects whose levels may be of different types.

    They keep their order: pandas would try to sort the levels, and numbers, text and tuples do not
    compare.
    """
    if len(tables) == 1:
        return tables[0]
    indexes = [table.index for table in tables]
    arrays = [
        np.concatenate([index.get_level_values(place).to_numpy(dtype=object) for index in indexes])
        for place in range(indexes[0].nlevels)
    ]
    codes, labels = zip(*(pd.factorize(array) for array in arrays), strict=True)
    levels = [pd.Index(found, tupleize_cols=False) for found in labels]
    index = pd.MultiIndex(levels, codes, names=indexes[0].names)
    return pd.concat(tables, ignore_index=True).set_axis(index)


def _factor_table(
    name: str, effects: pd.DataFrame, covariance: FloatArray, quantile: float, ranks: bool
) -> pd.DataFrame:
    values = effects.to_numpy()
    variances = np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0)
    errors = np.sqrt(variances)
    n_levels, k = values.shape
    table = pd.DataFrame(
        {
            "estimate": values.ravel(),
            "std_error": errors.ravel(),
            "lower": (values - quantile * errors).ravel(),
            "upper": (values + quantile * errors).ravel(),
        },
        index=effects_index(name, effects.index, effects.columns),
    )
    if ranks:
        expected = np.stack([expected_ranks(values[:, a], variances[:, a]) for a in range(k)], 1)
        table["expected_rank"] = expected.ravel()
        table["percentile"] = 100.0 * (expected.ravel() - 0.5) / n_levels
    return table


_RANK_CELLS = 2**22  # probabilities, or values of polynomials, computed at once: 32 MB
_INTERPOLATION_GAIN = 4  # interpolate where that takes this many times fewer sums


def expected_ranks(values: FloatArray, variances: FloatArray) -> FloatArray:
    """Return 1 plus the sum over other variables of the probability that they are lower, (n,).

    Accurate to about 1e-6 where there are many. The sum is an analytic function of the mean and
    variance of a variable, since no distribution function in it is narrower than two of the
    smallest variances: for thousands of variables, a Chebyshev series on a grid of both takes far
    fewer sums.
    """
    low, high = float(variances.min()), float(variances.max())
    widths = float(np.ptp(values)) / np.sqrt(2.0 * low) if low > 0.0 else np.inf
    if widths < len(values):
        # This many nodes in mean and log-variance give about six digits.
        sizes = (int(4.0 * widths) + 10, 12 + int(4.0 * np.log(high / low)))
        if _INTERPOLATION_GAIN * sizes[0] * sizes[1] < len(values):
            return _interpolated(values, variances, sizes) + 0.5
    return (
        _sums(values, variances, values, variances) + 0.5
    )  # a variable counts one half against itself


def _sums(
    at: FloatArray, at_variances: FloatArray, values: FloatArray, variances: FloatArray
) -> FloatArray:
    """Sum the probabilities that the variables are lower than others."""
    sums = np.empty(len(at))
    step = max(1, _RANK_CELLS // len(values))
    for first in range(0, len(at), step):
        chosen = slice(first, first + step)
        spread = np.sqrt(at_variances[chosen, None] + variances)
        apart = at[chosen, None] - values
        tied = np.where(apart == 0.0, 0.5, apart > 0.0)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            lower = np.where(spread > 0.0, ndtr(apart / spread), tied)
        sums[chosen] = lower.sum(axis=1)
    return sums


def _interpolated(values: FloatArray, variances: FloatArray, sizes: tuple[int, int]) -> FloatArray:
    """Return the sums at the variables themselves by a series in mean and log-variance."""
    logs = np.log(variances)
    (mean, mean_grid, of_mean), (log, log_grid, of_log) = (
        _basis(values, sizes[0]),
        _basis(logs, sizes[1]),
    )
    at, at_logs = (grid.ravel() for grid in np.meshgrid(mean_grid, log_grid, indexing="ij"))
    sums = _sums(at, np.exp(at_logs), values, variances).reshape(sizes)
    series = of_mean @ sums @ of_log.T
    result = np.empty(len(values))
    step = max(1, _RANK_CELLS // sum(sizes))
    for first in range(0, len(values), step):
        chosen = slice(first, first + step)
        across = chebyshev.chebvander(mean[chosen], sizes[0] - 1) @ series
        along = chebyshev.chebvander(log[chosen], sizes[1] - 1)
        result[chosen] = np.einsum("nj,nj->n", across, along)
    return result


def _basis(values: FloatArray, size: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return values mapped to [-1, 1], the nodes, and the map from values there to coefficients."""
    middle, half = 0.5 * (values.max() + values.min()), 0.5 * float(np.ptp(values)) or 1.0
    nodes = chebyshev.chebpts1(size)
    weights = np.full(size, 2.0 / size)
    weights[0] = 1.0 / size
    transform = (chebyshev.chebvander(nodes, size - 1) * weights).T
    return (values - middle) / half, middle + half * nodes, transform
