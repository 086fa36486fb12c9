"""Random intercepts under several sets of sums of the same levels, fitted at once.

Where rows of a level need no more than their weight and their mean, a generalized model of a
constant beta and random intercepts of variance omega is a line of an array, and some lines hardly
take longer than one. With f, g, w, w1 and w2 the derivatives of -log density of a level at the mode
b of its effect, q = 1 / (1 + w omega) and a = omega q, Laplace's approximation is

    l = sum of 2 f + omega g^2 + log(1 + w omega),        b = -omega g,
    dl / dbeta = sum of 2 g + a q w1,    dl / domega = sum of w q - g^2 - a q g w1,

and as both move eta = beta + b, by q and by -g q, second derivatives follow by the chain rule.
Nothing divides by omega: zero is a point like any other. Steps are Newton's, from an optimum of
similar sums; what they do not settle is left to a search that looks around.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.families.family import Family
from skmixed.core.linalg import BoolArray, FloatArray

_MOST_INTERCEPT_STEPS = 20  # four are usual
_MOST_LEVEL_STEPS = 20  # of Newton's method for the modes: four are usual
_LAST_LEVEL_STEP = 1e-7  # of a mode, in eta: the next one is its square, and is taken
_SETTLED_GAIN = 1e-10  # of l: moves encodings by 1e-5 of their errors
_RISE_OF_SUM = 1e-11  # of l: more is no rounding


@dataclass(frozen=True, slots=True, eq=False)
class Intercepts:
    """Models of several sets of sums."""

    beta: FloatArray  # (m,)
    omega: FloatArray  # (m,)
    effects: FloatArray  # (m, n_levels), the modes b
    variances: FloatArray  # (m, n_levels), conditional ones, a
    settled: BoolArray  # (m,), whether this is an optimum


def fit_intercepts(
    family: Family,
    weights: FloatArray,
    means: FloatArray,
    beta: float,
    omega: float,
    effects: FloatArray,
) -> Intercepts:
    """Fit a model to every line of weights and means, both (m, n_levels), a weight of 0 being none.

    All start from the same beta, omega and effects, (n_levels,). Means of a line must not all be at
    one extreme: beta is infinite there, which is not looked for.
    """
    n = len(weights)
    at, b = np.array([np.full(n, beta), np.full(n, omega)]), np.tile(effects, (n, 1))
    step, lowest, settled = np.zeros((2, n)), np.full(n, np.inf), np.zeros(n, dtype=bool)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        here = _Place.of(family, weights, means, at, b)
        for _ in range(_MOST_INTERCEPT_STEPS):
            value = here.criterion
            sinks = here.is_mode & (value <= lowest + _RISE_OF_SUM * np.abs(value))
            ahead, gain = here.newton()
            lowest = np.where(sinks, value, lowest)
            step = np.where(sinks, ahead, 0.5 * step)
            at, b = np.where(sinks, here.at, at), np.where(sinks[:, None], here.effects, b)
            settled = sinks & (gain < _SETTLED_GAIN)
            if settled.all():
                break
            tried = at + np.where(settled, 0.0, step)
            tried[1] = np.maximum(tried[1], 0.0)
            here = _Place.of(family, weights, means, tried, b)
    return Intercepts(here.at[0], here.at[1], here.effects, here.a, settled)


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """The models at some parameters, with the modes there and derivatives by level."""

    at: FloatArray  # (2, m), beta and omega
    effects: FloatArray  # (m, n_levels), b
    derivatives: tuple[FloatArray, ...]  # (m, n_levels) each: f, g, w, w1, w2
    q: FloatArray  # (m, n_levels)
    is_mode: BoolArray  # (m,), whether the modes were found

    @classmethod
    def of(
        cls,
        family: Family,
        weights: FloatArray,
        means: FloatArray,
        at: FloatArray,
        b: FloatArray,
    ) -> _Place:
        """Seek the modes from some effects, (m, n_levels), and go through the levels there."""
        beta, wide = at[:, :, None]
        found = np.zeros(len(b), dtype=bool)
        for _ in range(_MOST_LEVEL_STEPS):
            _, g, w = family.derivatives(beta + b, means, weights, family.first_phi)
            step = (b + wide * g) / (1.0 + w * wide)
            b = b - step
            found = np.abs(step).max(axis=1, initial=0.0) < _LAST_LEVEL_STEP
            if found.all():
                break
        derivatives = family.derivatives(beta + b, means, weights, family.first_phi, 4)
        return cls(at, b, derivatives, 1.0 / (1.0 + derivatives[2] * wide), found)

    @property
    def a(self) -> FloatArray:
        """Conditional variances of the effects, (m, n_levels)."""
        return np.asarray(self.at[1][:, None] * self.q)

    @property
    def criterion(self) -> FloatArray:
        """-2 log-likelihood, (m,), without its constant."""
        f, g = self.derivatives[:2]
        return np.asarray((2.0 * f + self.at[1][:, None] * g * g - np.log(self.q)).sum(axis=1))

    def newton(self) -> tuple[FloatArray, FloatArray]:
        """Return the step of beta and omega, (2, m), and the gain that it promises, (m,).

        The gain is infinite where the criterion is not convex. Omega stays zero where it is and
        would fall.
        """
        _, g, w, w1, w2 = self.derivatives
        q, a = self.q, self.a
        by_eta = 2.0 * w + a * q * (w2 - 2.0 * a * w1 * w1)  # of dl / dbeta, at a given omega
        bend = w1 * q * q * (q - a * w)
        shift = w1 * q * (1.0 - 2.0 * a * w) - g * by_eta  # of dl / domega
        slope_beta = (2.0 * g + a * q * w1).sum(axis=1)
        slope_omega = (w * q - g * (g + a * q * w1)).sum(axis=1)
        h_bb, h_bo = (q * by_eta).sum(axis=1), (q * shift).sum(axis=1)
        h_oo = (-w * w * q * q - g * bend - g * q * shift).sum(axis=1)
        held = (self.at[1] <= 0.0) & (slope_omega >= 0.0)
        slope_omega, h_bo = np.where(held, 0.0, slope_omega), np.where(held, 0.0, h_bo)
        h_oo = np.where(held, 1.0, h_oo)
        bend_omega = h_oo - h_bo * h_bo / h_bb  # of l, beta being the best for omega
        step_omega = (h_bo * slope_beta / h_bb - slope_omega) / np.abs(bend_omega)
        step_beta = -(slope_beta + h_bo * step_omega) / h_bb
        gain = -0.5 * (slope_beta * step_beta + slope_omega * step_omega)
        is_convex = (h_bb > 0.0) & (bend_omega > 0.0)
        return np.array([step_beta, step_omega]), np.where(is_convex, gain, np.inf)
