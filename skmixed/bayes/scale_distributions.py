"""Prior distributions of standard deviations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.special import gammaln

from skmixed.core.linalg import FloatArray, generator_of
from skmixed.design.records import stored


class ScaleDistribution(ABC):
    """A prior of a standard deviation."""

    @property
    def is_proper(self) -> bool:
        """Whether the density integrates to one."""
        return True

    @property
    def power(self) -> float:
        """The power of s to which the probability below s is proportional near zero."""
        return 1.0

    def logpdf(self, s: Any) -> FloatArray:
        """Evaluate the log density.

        Parameters
        ----------
        s : array-like
            Standard deviations.

        Returns
        -------
        ndarray
            Log densities of the same shape; minus infinity for negative values.
        """
        values = np.asarray(s, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.where(values >= 0.0, self._log_density(np.abs(values)), -np.inf)

    def sample(self, size: Any, random_state: Any = None) -> FloatArray:
        """Draw standard deviations.

        Parameters
        ----------
        size : int or tuple of int
            Shape of the result.
        random_state : int, RandomState instance, Generator or None, default=None
            Seed of the random number generator; pass an int for reproducible results.

        Returns
        -------
        ndarray of shape `size`
            The draws.

        Raises
        ------
        ValueError
            If the prior is improper.
        """
        return self._drawn(generator_of(random_state), size)

    @abstractmethod
    def _log_density(self, s: FloatArray) -> FloatArray:
        """Return log densities of nonnegative numbers."""

    @abstractmethod
    def _slope(self, s: FloatArray) -> FloatArray:
        """Return derivatives of the log density of positive numbers in their logarithms."""

    @abstractmethod
    def _drawn(self, generator: np.random.Generator, size: Any) -> FloatArray:
        """Draw numbers."""

    def __post_init__(self) -> None:
        """Check that parameters are positive."""
        for each in fields(self):  # type: ignore[arg-type]
            check_positive(self, each.name)


def check_positive(owner: Any, name: str) -> None:
    """Raise ValueError for a parameter that is not a positive number."""
    value = getattr(owner, name)
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not 0.0 < value < np.inf:
        raise ValueError(
            f"{type(owner).__name__}({name}={value!r}): {name} must be a positive number"
        )


@stored
@dataclass(frozen=True)
class HalfT(ScaleDistribution):
    """Half-t prior for a standard deviation, the usual choice.

    It is weakly informative: heavy-tailed, with positive density at zero, so the posterior may be
    near zero. Use `Gamma` to keep it away from zero.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    df : float
        Degrees of freedom; smaller values have heavier tails.
    scale : float
        Scale, in units of the standard deviation: for ``df=3`` about two thirds of the probability
        is below it.

    See Also
    --------
    HalfNormal : Lighter tails; the limit for many degrees of freedom.
    Gamma : A prior that avoids zero.

    References
    ----------
    .. [1] Gelman, A. (2006). Prior distributions for variance parameters in hierarchical models.
       Bayesian Analysis 1(3), 515-534, :doi:`10.1214/06-BA117A`.

    Examples
    --------
    >>> from skmixed.bayes import HalfT
    >>> HalfT(3, 10).logpdf([0.0, 10.0]).round(3)
    array([-2.61 , -3.186])
    """

    df: float
    scale: float

    def _log_density(self, s: FloatArray) -> FloatArray:
        v = self.df
        constant = gammaln((v + 1.0) / 2.0) - gammaln(v / 2.0) - 0.5 * np.log(v * np.pi)
        constant += np.log(2.0) - np.log(self.scale)
        return np.asarray(constant - (v + 1.0) / 2.0 * np.log1p((s / self.scale) ** 2 / v))

    def _slope(self, s: FloatArray) -> FloatArray:
        return np.asarray(-(self.df + 1.0) * s**2 / (self.df * self.scale**2 + s**2))

    def _drawn(self, generator: np.random.Generator, size: Any) -> FloatArray:
        return np.asarray(np.abs(generator.standard_t(self.df, size)) * self.scale)


@stored
@dataclass(frozen=True)
class HalfNormal(ScaleDistribution):
    """Half-normal prior for a standard deviation, with light tails.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    scale : float
        Standard deviation of the full normal distribution; values above three times this hardly
        occur.

    See Also
    --------
    HalfT : Heavier tails.
    Exponential : Tails in between.

    Examples
    --------
    >>> from skmixed.bayes import HalfNormal
    >>> HalfNormal(2.0).logpdf([0.0, 2.0]).round(3)
    array([-0.919, -1.419])
    """

    scale: float

    def _log_density(self, s: FloatArray) -> FloatArray:
        return np.asarray(
            0.5 * np.log(2.0 / np.pi) - np.log(self.scale) - 0.5 * (s / self.scale) ** 2
        )

    def _slope(self, s: FloatArray) -> FloatArray:
        return np.asarray(-((s / self.scale) ** 2))

    def _drawn(self, generator: np.random.Generator, size: Any) -> FloatArray:
        return np.asarray(np.abs(generator.standard_normal(size)) * self.scale)


@stored
@dataclass(frozen=True)
class Exponential(ScaleDistribution):
    """Exponential prior for a standard deviation.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    mean : float
        Mean.

    See Also
    --------
    Gamma : The generalisation, with a shape.

    Notes
    -----
    It is the penalised-complexity prior of a standard deviation: for P(s > u) = alpha, set the mean
    to ``u / -log(alpha)``.

    References
    ----------
    .. [1] Simpson, D., Rue, H., Riebler, A., Martins, T. G. & Sorbye, S. H. (2017). Penalising
       model component complexity. Statistical Science 32(1), 1-28, :doi:`10.1214/16-STS576`.

    Examples
    --------
    >>> from skmixed.bayes import Exponential
    >>> Exponential(2.0).logpdf([0.0, 2.0]).round(3)
    array([-0.693, -1.693])
    """

    mean: float

    def _log_density(self, s: FloatArray) -> FloatArray:
        return np.asarray(-np.log(self.mean) - s / self.mean)

    def _slope(self, s: FloatArray) -> FloatArray:
        return np.asarray(-s / self.mean)

    def _drawn(self, generator: np.random.Generator, size: Any) -> FloatArray:
        return np.asarray(generator.exponential(self.mean, size))


@stored
@dataclass(frozen=True)
class Gamma(ScaleDistribution):
    """Gamma prior for a standard deviation.

    With a shape above 1 it keeps standard deviations away from zero, in posteriors and in penalised
    fits.

    Read more in the user guide: :doc:`/guide/posterior` and :doc:`/guide/reml`.

    Parameters
    ----------
    shape : float
        Shape; above 1 the density is zero at zero.
    scale : float
        Scale; the mean is ``shape * scale``. Infinity leaves the improper power ``s ** (shape -
        1)``: blme's rate of 0.

    See Also
    --------
    Exponential : The case of shape 1.
    Wishart : The counterpart for a covariance matrix, in penalised fits.

    Examples
    --------
    >>> from skmixed.bayes import Gamma
    >>> Gamma(2.0, 5.0).logpdf([0.0, 5.0]).round(3)
    array([  -inf, -2.609])
    """

    shape: float
    scale: float

    def __post_init__(self) -> None:
        """Check that the shape is positive, and the scale positive or infinite."""
        check_positive(self, "shape")
        if self.scale != np.inf:
            check_positive(self, "scale")

    @property
    def is_proper(self) -> bool:
        """Whether the density integrates to one."""
        return bool(self.scale != np.inf)

    @property
    def power(self) -> float:
        """The power of s that the probability below s is proportional to, near zero."""
        return self.shape

    def _log_density(self, s: FloatArray) -> FloatArray:
        scale = self.scale if self.is_proper else 1.0
        u = s / scale
        power = np.asarray((self.shape - 1.0) * np.log(u) if self.shape != 1.0 else 0.0 * u)
        if not self.is_proper:
            return power
        return np.asarray(power - u - gammaln(self.shape) - np.log(scale))

    def _slope(self, s: FloatArray) -> FloatArray:
        return np.asarray(self.shape - 1.0 - s / self.scale)

    def _drawn(self, generator: np.random.Generator, size: Any) -> FloatArray:
        if not self.is_proper:
            raise _improper(self)
        return np.asarray(generator.gamma(self.shape, self.scale, size))


@stored
@dataclass(frozen=True)
class InverseGamma(ScaleDistribution):
    """Inverse gamma prior for the variance, the square of the standard deviation.

    Its density vanishes at zero faster than any power, so it always influences the posterior of
    small variances, however small the scale. `HalfT` is the usual choice.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    shape : float
        Shape.
    scale : float
        Scale, in squared units of the standard deviation.

    See Also
    --------
    HalfT : The usual choice.
    Gamma : A prior of the standard deviation that avoids zero.

    Examples
    --------
    >>> from skmixed.bayes import InverseGamma
    >>> InverseGamma(1.0, 1.0).logpdf([0.0, 1.0]).round(3)
    array([  -inf, -0.307])
    """

    shape: float
    scale: float

    def _log_density(self, s: FloatArray) -> FloatArray:
        a, b = self.shape, self.scale
        value = a * np.log(b) - gammaln(a) + np.log(2.0) - (2.0 * a + 1.0) * np.log(s) - b / s**2
        return np.where(s > 0.0, value, -np.inf)

    def _slope(self, s: FloatArray) -> FloatArray:
        return np.asarray(2.0 * self.scale / s**2 - (2.0 * self.shape + 1.0))

    def _drawn(self, generator: np.random.Generator, size: Any) -> FloatArray:
        return np.asarray(np.sqrt(self.scale / generator.gamma(self.shape, 1.0, size)))


@stored
@dataclass(frozen=True)
class Flat(ScaleDistribution):
    """Flat, improper prior for a coefficient, a standard deviation or its logarithm.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    log : bool, default=False
        Whether the density of the logarithm is constant; for the residual standard deviation only.

    See Also
    --------
    HalfT : A weakly informative, proper prior.

    Notes
    -----
    A model with an improper prior has no evidence, and no prior predictive distribution. `sample`
    raises an error if the posterior is improper as well.

    Examples
    --------
    >>> from skmixed.bayes import Flat
    >>> Flat().logpdf([1.0, 100.0])
    array([0., 0.])
    """

    log: bool = False

    def __post_init__(self) -> None:
        """Check that the parameter is a boolean."""
        if not isinstance(self.log, bool):
            raise ValueError(f"Flat(log={self.log!r}): log must be True or False")

    @property
    def is_proper(self) -> bool:
        """Whether the density integrates to one; always False."""
        return False

    def _log_density(self, s: FloatArray) -> FloatArray:
        return np.asarray(-np.log(s) if self.log else np.zeros(s.shape))

    def _slope(self, s: FloatArray) -> FloatArray:
        return np.asarray(np.full(s.shape, -1.0 if self.log else 0.0))

    def _drawn(self, generator: np.random.Generator, size: Any) -> FloatArray:
        raise _improper(self)


def _improper(distribution: ScaleDistribution) -> ValueError:
    return ValueError(
        f"{distribution!r} is improper, so there is nothing to draw from: use a proper prior"
    )


@dataclass(frozen=True)
class InverseSquare(ScaleDistribution):
    """Distribution of s implied by one of 1 / s^2."""

    inner: ScaleDistribution

    def __post_init__(self) -> None:
        """Skip the check of parameters."""

    @property
    def is_proper(self) -> bool:
        """Whether the density integrates to one."""
        return self.inner.is_proper

    def _log_density(self, s: FloatArray) -> FloatArray:
        return np.asarray(self.inner.logpdf(s**-2.0) + np.log(2.0) - 3.0 * np.log(s))

    def _slope(self, s: FloatArray) -> FloatArray:
        return np.asarray(-2.0 * self.inner._slope(s**-2.0) - 3.0)

    def _drawn(self, generator: np.random.Generator, size: Any) -> FloatArray:
        return np.asarray(self.inner.sample(size, generator) ** -0.5)


@dataclass(frozen=True)
class Decov:
    """The decov prior of rstanarm for a covariance matrix relative to the residual variance.

    With r = s / sigma, t = sqrt(sum r^2 / k) is gamma distributed, r^2 / sum r^2 has a symmetric
    Dirichlet distribution, and the correlations an LKJ distribution.
    """

    regularization: float = 1.0
    concentration: float = 1.0
    shape: float = 1.0
    scale: float = 1.0

    def log_density(self, log_ratio: FloatArray) -> FloatArray:
        """Return log densities, (n,), of log r, (n, k)."""
        k = log_ratio.shape[1]
        gamma = Gamma(self.shape, self.scale)
        squares = np.exp(2.0 * log_ratio).sum(axis=1)
        t = np.sqrt(squares / k)
        log_shares = 2.0 * log_ratio - np.log(squares)[:, None]
        dirichlet = gammaln(k * self.concentration) - k * gammaln(self.concentration)
        dirichlet = dirichlet + self.concentration * log_shares.sum(axis=1)
        return np.asarray(gamma.logpdf(t) + np.log(t) + dirichlet + (k - 1) * np.log(2.0))

    def slopes(self, log_ratio: FloatArray) -> FloatArray:
        """Return derivatives of the log density in log r, (n, k)."""
        k = log_ratio.shape[1]
        squares = np.exp(2.0 * log_ratio)
        total = squares.sum(axis=1, keepdims=True)
        t = np.sqrt(total / k)
        of_t = self.shape - t / self.scale - 2.0 * k * self.concentration
        return np.asarray(of_t * squares / total + 2.0 * self.concentration)

    def draw(self, n: int, k: int, generator: np.random.Generator) -> FloatArray:
        """Draw r, (n, k)."""
        t = generator.gamma(self.shape, self.scale, n)
        shares = generator.dirichlet(np.full(k, self.concentration), n)
        return np.sqrt(shares * k) * t[:, None]
