"""What a family of responses is, and what several of them share.

A row has the linear predictor eta, a mean that follows from it by the inverse of the link, a prior
weight by which its log density is multiplied, and dispersion parameters phi that all rows share. A
dispersion is unbounded, the logarithm of what is usually stated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skmixed.core.linalg import BoolArray, FloatArray

_REACH = 8.5  # standard deviations of the rule for a mean: the density beyond is below rounding
_STANDARD, _BROAD = 1.0, 3.0  # deviations up to which rows share the number of nodes of the largest
_STEP_LIKE = 100.0  # deviation beyond which nodes come no closer: it is never told so well by data
_STEP = 1e-3  # of eta: differences err by its square, and rounding stays far below
_WHOLE = 1e-6  # from a whole number: shares are quotients, which are rounded

PhiSlopes = tuple[FloatArray, FloatArray, FloatArray]
"""Derivatives in phi of -log density, constants included, of f' and of f'', (m, n) each."""


@dataclass(frozen=True, slots=True)
class Family(ABC):
    """How a response is distributed, given eta, (n,), and phi, (m,).

    `weights` are (n,), or None for ones. With f = -log density of a row, a family gives f and its
    derivatives in eta, of which the second is never negative.
    """

    name: ClassVar[str]
    link: ClassVar[str]
    limit_phi: ClassVar[float | None] = None  # that stands for an infinite dispersion
    has_peak: ClassVar[bool] = False  # whether the density has no bound near that limit
    collapses: ClassVar[bool] = False  # whether rows of one eta need only sums of w and of w y
    counts_trials: ClassVar[bool] = False  # whether weights may be numbers of trials

    @property
    def n_dispersions(self) -> int:
        """Number m of dispersion parameters."""
        return 0

    def leaves_no_rest(self, phi: FloatArray) -> bool:
        """Tell whether responses are explained to rounding, the density having no bound there."""
        limit = self.limit_phi if self.has_peak else None
        return limit is not None and bool((phi > limit - 1.0).all())

    @abstractmethod
    def check(self, y: FloatArray, weights: FloatArray | None) -> None:
        """Raise ValueError, saying what is wrong and where, if some response is impossible."""

    @abstractmethod
    def derivatives(
        self,
        eta: FloatArray,
        y: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        order: int = 2,
    ) -> tuple[FloatArray, ...]:
        """Return f and its derivatives in eta up to an order of at most four, (n,) each.

        f lacks what `constant` has, which does not depend on eta.
        """

    def losses(
        self, eta: FloatArray, y: FloatArray, weights: FloatArray | None, phi: FloatArray
    ) -> FloatArray:
        """Return f alone, of the shape of eta."""
        return self.derivatives(eta, y, weights, phi)[0]

    @abstractmethod
    def constants(self, y: FloatArray, weights: FloatArray | None, phi: FloatArray) -> FloatArray:
        """Return the parts of -log density that do not depend on eta, (n,) or (R, n).

        Here and in `derivatives` phi may be (m, R, 1), for R dispersions, and eta (R, n).
        """

    def constant(self, y: FloatArray, weights: FloatArray | None, phi: FloatArray) -> float:
        """Return their sum."""
        return float(self.constants(y, weights, phi).sum())

    def by_phi(
        self, eta: FloatArray, y: FloatArray, weights: FloatArray | None, phi: FloatArray
    ) -> PhiSlopes:
        """Return the derivatives of -log density, of f' and of f'' in phi."""
        nothing = np.empty((0, len(eta)))
        return nothing, nothing, nothing

    def curvature_in_phi(
        self, eta: FloatArray, y: FloatArray, weights: FloatArray | None, phi: FloatArray
    ) -> FloatArray | None:
        """Return second derivatives of the sum of -log density in phi, (m, m), None if unknown."""
        return None

    def dispersion(self, phi: FloatArray) -> float:
        """Return the dispersion as it is usually stated, 1 where there is none."""
        return 1.0

    def variance_behind(self, variance: float) -> float:
        """Return the variance of eta, roughly, of which so much is seen from its mean over all."""
        return variance

    def center_behind(self, eta: FloatArray, variance: float) -> FloatArray:
        """Return the centers of eta of a variance whose means are those at `eta`, roughly, (n,)."""
        return eta

    @abstractmethod
    def start(self, y: FloatArray, weights: FloatArray | None) -> FloatArray:
        """Return an eta near which each row is likely, and finite, (n,)."""

    @property
    def first_phi(self) -> FloatArray:
        """Dispersions to begin with, (m,)."""
        return np.zeros(self.n_dispersions)

    def moment_phi(self, y: FloatArray, eta: FloatArray) -> FloatArray:
        """Return dispersions, (m,), with which the squared residuals are as large as they are."""
        return self.first_phi

    @abstractmethod
    def draw(
        self,
        eta: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        generator: np.random.Generator,
    ) -> FloatArray:
        """Return a random response of every row, (n,)."""

    @abstractmethod
    def cdf(
        self, y: FloatArray, eta: FloatArray, weights: FloatArray | None, phi: FloatArray
    ) -> FloatArray:
        """Return the probability of a response of at most y, (n,)."""

    def sizes(self, y: FloatArray, weights: FloatArray | None) -> FloatArray | None:
        """Return weights, (n,), that are trials or exposures, None where they count rows."""
        return None

    def steps(self, n: int, sizes: FloatArray | None) -> FloatArray | None:
        """Return how far the possible responses of n rows are apart, (n,); None if dense."""
        return None

    @abstractmethod
    def ways_out(self, y: FloatArray) -> FloatArray:
        """Return the sign of the infinite eta that makes y the most likely, 0 for none, (n,)."""

    def tells_only_side(self, y: FloatArray) -> bool:
        """Tell whether responses, (n,), only say on which side of a point a latent number lies.

        Then one response a level does not tell the variance of the levels from the link.
        """
        return False

    def has_maximum(self, y: FloatArray) -> bool:
        """Tell whether responses, (n,), leave the dispersions finite, as far as they alone say."""
        return True

    def opposition(
        self, y: FloatArray, move: FloatArray, phi: FloatArray, phi_move: FloatArray
    ) -> FloatArray:
        """Return how far a move of eta, (n,), and of phi, (m,), makes responses less likely, (n,).

        It is negative or zero where they become no less likely however far it goes.
        """
        ways = self.ways_out(y)
        return np.where(ways == 0.0, np.abs(move), -ways * move)

    def phi_beside(self, phi: FloatArray) -> FloatArray:
        """Return the move of phi, (m,), that goes with one of eta to its double."""
        return np.zeros(len(phi))


@dataclass(frozen=True, slots=True)
class MeanFamily(Family):
    """A family of responses that are numbers, whose mean follows from eta alone."""

    @abstractmethod
    def mean(self, eta: FloatArray) -> FloatArray:
        """Return the mean, of the shape of eta."""

    @abstractmethod
    def eta_of(self, mean: FloatArray) -> FloatArray:
        """Return the link of means, of their shape."""

    @abstractmethod
    def mean_slope(self, mean: FloatArray) -> FloatArray:
        """Return the derivative of the mean in eta at means, of their shape."""

    @abstractmethod
    def latent_variance(self, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return the variance on the scale of the link that is the response's own, at means.

        For the log link it is that of the logarithm of a variable that varies as much.
        """

    @abstractmethod
    def integrated_mean(self, center: FloatArray, variance: FloatArray) -> FloatArray:
        """Return the mean where eta is normal, with its mean and variance given, (n,) each."""

    def integrated_slope(self, center: FloatArray, variance: FloatArray) -> FloatArray:
        """Return the derivative of `integrated_mean` in the center, (n,)."""
        low, high = (self.integrated_mean(center + step, variance) for step in (-_STEP, _STEP))
        return np.asarray((high - low) / (2.0 * _STEP))

    def variance_weight(self, center: FloatArray, variance: FloatArray) -> FloatArray:
        """Return how much of the center moves `integrated_mean` as a unit of variance does, (n,).

        The mean has half its second derivative in the center as that in the variance.
        """
        slope = self.integrated_slope(center, variance)
        low, high = (self.integrated_slope(center + step, variance) for step in (-_STEP, _STEP))
        half = (high - low) / (4.0 * _STEP)
        return np.divide(half, slope, out=np.zeros(len(slope)), where=slope > 0.0)

    @abstractmethod
    def mean_deviation(
        self, center: FloatArray, variance: FloatArray, averaged: FloatArray
    ) -> FloatArray:
        """Return the standard deviation of `integrated_mean` over `averaged`, (n,).

        Its center is normal, with its mean and variance given, (n,) each.
        """

    @abstractmethod
    def variance(self, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return the variance of a response of weight one, of the shape of the mean."""

    @abstractmethod
    def deviance(self, y: FloatArray, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return twice the log density at the mean y less that at `mean`, for weight one, (n,)."""

    def deviance_unit(self, phi: FloatArray) -> float:
        """Return what it is divided by to have a mean of about one: a dispersion outside of it."""
        return 1.0


def explained_deviance(
    family: MeanFamily,
    phi: FloatArray,
    y: FloatArray,
    mean: FloatArray,
    constant: FloatArray,
    weights: FloatArray,
) -> float:
    """Return the share of the deviance from constant means that means explain, (n,) each."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        each = family.deviance(y, mean, phi)
    left = weights @ np.where(np.isinf(mean), np.inf, each)
    whole = weights @ family.deviance(y, constant, phi)
    if whole == 0.0:  # as r2_score has it
        return 1.0 if left == 0.0 else 0.0
    return float(1.0 - left / whole)


def fractional_events(
    family: Family, y: FloatArray, sizes: FloatArray | None
) -> tuple[FloatArray, BoolArray]:
    """Return numbers of events, and which are not whole as the family has them, (n,) each.

    Sizes are trials or exposures, (n,), None for ones.
    """
    steps = family.steps(len(y), sizes)
    if steps is None:
        return y, np.zeros(len(y), dtype=bool)
    events = y / steps
    return events, np.abs(events - np.round(events)) > _WHOLE * np.maximum(1.0, events)


def weighted(values: tuple[FloatArray, ...], weights: FloatArray | None) -> tuple[FloatArray, ...]:
    """Multiply arrays, (n,) each, by the weights of the rows."""
    return values if weights is None else tuple(weights * value for value in values)


def softplus(x: FloatArray) -> FloatArray:
    """Return log(1 + exp(x)), for which numpy's own function takes ten times as long."""
    result = np.log1p(np.exp(-np.abs(x)))
    result += np.maximum(x, 0.0)
    return np.asarray(result)


def logistic(x: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-x)), by the hyperbolic tangent that numpy vectorises."""
    result = np.tanh(0.5 * x)
    result += 1.0
    result *= 0.5
    return np.asarray(result)


def require(is_right: BoolArray, y: FloatArray, what: str) -> None:
    """Raise ValueError, naming the first row that is not right, if there is one."""
    if not is_right.all():
        row = int(np.argmin(is_right))
        raise ValueError(f"{what}, but row {row} has y = {float(y[row]):g}")


def trials_of(weights: FloatArray | None, n: int) -> FloatArray:
    """Return weights as numbers of trials, (n,)."""
    return np.ones(n) if weights is None else weights


def gaussian_mean(
    function: Callable[..., FloatArray],
    center: FloatArray,
    variance: FloatArray,
    halves: int,
    *beside: FloatArray,  # (n,) each, further arguments of the function
    width: FloatArray | float = 1.0,  # (n,), on which the function changes
) -> FloatArray:
    """Return the mean of a smooth function of normal variables, (n,), to rounding.

    The trapezoidal rule, with 2 `halves` nodes a deviation of one, converges at an exponential rate
    that depends on how far from the real line the function is analytic. The nodes are as many as
    the largest deviation needs, rows of about one size together. Of deviations so large that the
    function is but a step, a thousandth of its height is lost at most.
    """
    center, deviation, width = np.broadcast_arrays(center, np.sqrt(variance), width)
    result = np.empty(center.shape)
    size = np.digitize(deviation, [_STANDARD, _BROAD], right=True)
    for kind in range(3):
        chosen = np.flatnonzero(size == kind)
        if not len(chosen):
            continue
        few, wide = center[chosen], deviation[chosen]
        others = [values[chosen] for values in beside]
        relative = float((wide / width[chosen]).max())
        n_half = int(np.ceil(halves * min(max(1.0, relative), _STEP_LIKE)))
        nodes = np.linspace(-_REACH, _REACH, 2 * n_half + 1)
        weights = np.exp(-0.5 * nodes**2)
        weights /= weights.sum()
        mean = np.zeros(len(chosen))
        for node, weight in zip(nodes, weights, strict=True):
            mean += weight * function(few + node * wide, *others)
        result[chosen] = mean
    return result
