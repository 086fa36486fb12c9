"""A covariance structure that is not linear in theta, as others will be: AR(1), equal variances."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skmixed.core.linalg import semidefinite_cholesky
from skmixed.core.model.covariance import Structure
from skmixed.core.model.structures import Identity

FARTHEST = 1.0 - 1e-9  # correlation that counts as one
INSIDE = 0.9  # largest correlation to start from


@dataclass(frozen=True, slots=True)
class Autoregressive(Structure):
    """Omega_ij = d^2 r^|i - j|, of two columns or more; theta is d and x, with r = tanh(x / 2)."""

    one_unit: ClassVar[bool] = True

    @property
    def n_theta(self):
        return 2

    @property
    def basis(self):
        lags = self._lags()
        return np.stack([lags == 0, lags == 1]).astype(float)

    @property
    def deviations(self):
        return (tuple(range(self.size)),)

    @property
    def correlations(self):
        return ((0, 1),)

    def lam(self, theta, order):
        return theta[..., 0, None, None] * semidefinite_cholesky(self._powers(theta)[0])

    def directions(self, theta, order):
        d = theta[..., 0, None, None]
        c, c_x, _ = self._powers(theta)
        return np.stack([2.0 * d * c, d**2 * c_x], axis=-3)

    def curvature(self, theta, order, gradient):
        d = theta[..., 0, None, None]
        c, c_x, c_xx = self._powers(theta)
        dd, dx, xx = (
            (gradient * second).sum(axis=(-2, -1))
            for second in (2.0 * c, 2.0 * d * c_x, d**2 * c_xx)
        )
        return np.stack([np.stack([dd, dx], axis=-1), np.stack([dx, xx], axis=-1)], axis=-2)

    def theta(self, omega, order):
        variance = np.maximum(omega[..., 0, 0], 0.0)
        r = omega[..., 0, 1] / np.where(variance > 0.0, variance, np.inf)
        x = 2.0 * np.arctanh(np.clip(r, -FARTHEST, FARTHEST))
        return np.stack([np.sqrt(variance), x], axis=-1)

    def projected(self, moment):
        """Solve the cubic equation of the most likely correlation by halving."""
        variances = np.diagonal(moment, axis1=-2, axis2=-1)
        every, inner = variances.sum(axis=-1), variances[..., 1:-1].sum(axis=-1)
        beside = 2.0 * np.diagonal(moment, 1, axis1=-2, axis2=-1).sum(axis=-1)
        low, high = np.full(every.shape, -FARTHEST), np.full(every.shape, FARTHEST)
        for _ in range(80):
            r = (low + high) / 2.0
            rest = every - r * beside + r**2 * inner
            slope = self.size * (2.0 * r * inner - beside) * (1.0 - r**2) + 2.0 * r * rest
            low, high = np.where(slope < 0.0, r, low), np.where(slope < 0.0, high, r)
        variance = (every - r * beside + r**2 * inner) / (self.size * (1.0 - r**2))
        return variance[..., None, None] * r[..., None, None] ** self._lags()

    def lifted(self, omega):
        variance = np.maximum(omega[..., :1, :1], 1e-4)
        return variance * np.clip(omega[..., :1, 1:2] / variance, -INSIDE, INSIDE) ** self._lags()

    def snapped(self, omega):
        return Identity(self.size).snapped(omega)

    def is_on_boundary(self, omega):
        return Identity(self.size).is_on_boundary(omega)

    def way_off(self, omega, gradient):
        return Identity(self.size).way_off(omega, gradient)

    def _lags(self):
        return np.abs(np.subtract.outer(np.arange(self.size), np.arange(self.size)))

    def _powers(self, theta):
        """Return r^|i - j| and its first and second derivatives in x, (..., k, k)."""
        r, lags = np.tanh(theta[..., 1, None, None] / 2.0), self._lags()
        slope = (1.0 - r**2) / 2.0
        first = lags * r ** np.maximum(lags - 1, 0)
        second = lags * (lags - 1) * r ** np.maximum(lags - 2, 0)
        return r**lags, first * slope, second * slope**2 - first * r * slope
