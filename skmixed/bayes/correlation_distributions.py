"""Prior distributions of correlation matrices, by partial correlations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import betaln

from skmixed.bayes.scale_distributions import check_positive
from skmixed.core.linalg import FloatArray, generator_of
from skmixed.design.records import stored


@stored
@dataclass(frozen=True)
class LKJ:
    """LKJ prior for a correlation matrix, with density proportional to det(R)^(eta - 1).

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    eta : float, default=1.0
        Shape. 1 is uniform over correlation matrices; larger values concentrate correlations about
        zero.

    See Also
    --------
    Prior : Assigns it to terms.

    References
    ----------
    .. [1] Lewandowski, D., Kurowicka, D. & Joe, H. (2009). Generating random correlation matrices
       based on vines and extended onion method. Journal of Multivariate Analysis 100(9),
       1989-2001, :doi:`10.1016/j.jmva.2009.04.008`.

    Examples
    --------
    >>> from skmixed.bayes import LKJ
    >>> LKJ(2.0).sample(3, 5, random_state=0).shape
    (5, 3, 3)
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        """Check the parameter."""
        check_positive(self, "eta")

    def sample(self, k: int, size: int, random_state: Any = None) -> FloatArray:
        """Draw correlation matrices.

        Parameters
        ----------
        k : int
            Number of rows and columns.
        size : int
            Number of matrices.
        random_state : int, RandomState instance, Generator or None, default=None
            Seed of the random number generator; pass an int for reproducible results.

        Returns
        -------
        ndarray of shape (size, k, k)
            The correlation matrices.
        """
        root = correlation_root(self.partial_draws(k, size, generator_of(random_state)), k)
        return np.asarray(root @ root.swapaxes(1, 2))

    def partial_draws(self, k: int, size: int, generator: np.random.Generator) -> FloatArray:
        """Draw partial correlations.

        Parameters
        ----------
        k : int
            Number of rows and columns.
        size : int
            Number of draws.
        generator : Generator
            Random number generator.

        Returns
        -------
        ndarray of shape (size, k (k - 1) / 2)
            Partial correlations of columns i > j given those before j, row by row of the lower
            triangle.
        """
        b = self.partial_shapes(k)
        return np.asarray(2.0 * generator.beta(b, b, (size, len(b))) - 1.0)

    def partial_logpdf(self, z: FloatArray, k: int) -> FloatArray:
        """Evaluate the log density of Fisher-transformed partial correlations.

        Parameters
        ----------
        z : ndarray of shape (n, k (k - 1) / 2)
            Inverse hyperbolic tangents of partial correlations, in the order of `partial_draws`.
        k : int
            Number of rows and columns.

        Returns
        -------
        ndarray of shape (n,)
            Log densities. The partial correlations are independent, and beta distributed on (-1,
            1).
        """
        b = self.partial_shapes(k)
        constant = (2.0 * b - 1.0) * np.log(2.0) + betaln(b, b)
        with np.errstate(divide="ignore"):
            return np.asarray((b * np.log1p(-(z**2)) - constant).sum(axis=1))

    def partial_slopes(self, z: FloatArray, k: int) -> FloatArray:
        """Return the derivatives of `partial_logpdf` in `z`.

        Parameters
        ----------
        z : ndarray of shape (n, k (k - 1) / 2)
            Inverse hyperbolic tangents of partial correlations.
        k : int
            Number of rows and columns.

        Returns
        -------
        ndarray of shape (n, k (k - 1) / 2)
            The derivatives.
        """
        return np.asarray(-2.0 * self.partial_shapes(k) * z)

    def partial_shapes(self, k: int) -> FloatArray:
        """Return the parameters of the beta distributions of partial correlations.

        Parameters
        ----------
        k : int
            Number of rows and columns.

        Returns
        -------
        ndarray of shape (k (k - 1) / 2,)
            Both parameters of each distribution, which is stretched to (-1, 1).
        """
        columns = np.array([j + 1 for i in range(k) for j in range(i)], dtype=np.float64)
        return np.asarray(self.eta + (k - 1 - columns) / 2.0)


def correlation_root(z: FloatArray, k: int) -> FloatArray:
    """Return Cholesky factors of correlation matrices, (n, k, k), from partial correlations."""
    root = np.zeros((len(z), k, k))
    root[:, 0, 0] = 1.0
    for i in range(1, k):
        own, left = _row(z, i)
        root[:, i, :i] = own * left[:, :-1]
        root[:, i, i] = left[:, -1]
    return root


def _row(z: FloatArray, i: int) -> tuple[FloatArray, FloatArray]:
    """Return partial correlations of a row, (n, i), and square roots of the rest, (n, i + 1)."""
    own = z[:, i * (i - 1) // 2 : i * (i + 1) // 2]
    left = np.ones((len(z), i + 1))
    np.cumprod(1.0 - own**2, axis=1, out=left[:, 1:])
    return own, np.sqrt(left)


def slopes_in_partial(z: FloatArray, k: int, slopes: FloatArray) -> FloatArray:
    """Return derivatives in atanh of partial correlations, given those in the Cholesky factors.

    Of L_ij = z_ij sqrt(prod of 1 - z_il^2 over l < j) all entries to the right of j shrink with
    z_ij. `slopes` are (n, k, k), the result (n, k (k - 1) / 2).
    """
    found = np.empty(z.shape)
    for i in range(1, k):
        own, left = _row(z, i)
        weighted = slopes[:, i, : i + 1] * left
        weighted[:, :-1] *= own
        rest = np.cumsum(weighted[:, :0:-1], axis=1)[:, ::-1]
        straight = slopes[:, i, :i] * (1.0 - own**2) * left[:, :-1]
        found[:, i * (i - 1) // 2 : i * (i + 1) // 2] = straight - own * rest
    return found


def partial_correlations(root: FloatArray) -> FloatArray:
    """Return partial correlations, (k (k - 1) / 2,), of the Cholesky factor of correlations."""
    found = []
    for i in range(1, len(root)):
        left = 1.0
        for j in range(i):
            found.append(root[i, j] / np.sqrt(left))
            left -= root[i, j] ** 2
    return np.array(found)
