"""Expected ranks of independent normal variables."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev
from scipy.special import ndtr

from skmixed.core.layout import FloatArray

_RANK_CELLS = 2**22  # probabilities, or values of polynomials, computed together: 32 MB
_INTERPOLATION_GAIN = 4  # the sums are interpolated where that takes this many times fewer of them


def expected_ranks(values: FloatArray, variances: FloatArray) -> FloatArray:
    """Return 1 plus the sum over other variables of the probability that they are lower, (n,).

    To about 1e-6 where there are many. As a function of mean and variance of a variable the sum is
    analytic, the distribution functions in it being no narrower than two of the smallest variances:
    of thousands of variables, a Chebyshev series on a grid of both takes far fewer sums.
    """
    low, high = float(variances.min()), float(variances.max())
    if low > 0.0:
        widths = float(np.ptp(values)) / np.sqrt(2.0 * low)
        # So many nodes of the series in mean and log-variance give about six digits.
        sizes = (int(4.0 * widths) + 10, 12 + int(4.0 * np.log(high / low)))
        if _INTERPOLATION_GAIN * sizes[0] * sizes[1] < len(values):
            return _interpolated(values, variances, sizes) + 0.5
    return _sums(values, variances, values, variances) + 0.5  # a variable itself counted one half


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
        with np.errstate(invalid="ignore", divide="ignore"):
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
    """Return values mapped to [-1, 1], the nodes, and what makes coefficients of values there."""
    middle, half = 0.5 * (values.max() + values.min()), 0.5 * float(np.ptp(values)) or 1.0
    nodes = chebyshev.chebpts1(size)
    weights = np.full(size, 2.0 / size)
    weights[0] = 1.0 / size
    transform = (chebyshev.chebvander(nodes, size - 1) * weights).T
    return (values - middle) / half, middle + half * nodes, transform
