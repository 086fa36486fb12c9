"""Prior distributions of covariance matrices, for penalised fits."""

from __future__ import annotations

from dataclasses import dataclass

from skmixed.bayes.scale_distributions import check_positive
from skmixed.design.records import stored


@stored
@dataclass(frozen=True)
class Wishart:
    """Wishart prior for a covariance matrix, with infinite scale, to avoid singular fits.

    It is for penalised fits, which maximise the product of prior and likelihood: the density is
    zero at singular matrices, and not integrable. With k random columns it is proportional to
    ``det(Omega) ** ((df - k - 1) / 2)``, Omega being the covariance of the random effects, in
    linear models relative to the residual variance.

    Read more in the user guide: :doc:`/guide/reml`.

    Parameters
    ----------
    df : float or None, default=None
        Degrees of freedom, more than k + 1; larger values keep the estimate farther from singular.
        None is k + 2.5, which moves a standard deviation estimated as zero to about one standard
        error.

    See Also
    --------
    skmixed.MixedLinearRegressor : Takes it as its `prior`.
    Gamma : The counterpart for a single standard deviation.

    Notes
    -----
    In R: ``wishart(df)`` of blme, with its infinite scale. A standard deviation that columns share
    counts once, and for independent columns k = 1 each.

    References
    ----------
    .. [1] Chung, Y., Gelman, A., Rabe-Hesketh, S., Liu, J. & Dorie, V. (2015). Weakly informative
       prior for point estimation of covariance matrices in hierarchical models. Journal of
       Educational and Behavioral Statistics 40(2), 136-157, :doi:`10.3102/1076998615570945`.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.bayes import Wishart
    >>> MixedLinearRegressor("(1 | g)", prior=Wishart(df=4)).prior
    Wishart(df=4)
    """

    df: float | None = None

    def __post_init__(self) -> None:
        """Check the parameter."""
        if self.df is not None:
            check_positive(self, "df")
