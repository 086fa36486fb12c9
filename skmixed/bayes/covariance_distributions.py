"""Distributions of covariance matrices before the data, for penalised fits."""

from __future__ import annotations

from dataclasses import dataclass

from skmixed.bayes.scale_distributions import check_positive
from skmixed.design.records import stored


@stored
@dataclass(frozen=True)
class Wishart:
    """A Wishart density of a covariance matrix with infinite scale: zero where it is singular.

    With k random columns it is proportional to ``det(Omega) ** ((df - k - 1) / 2)``, for Omega the
    covariance of the random effects, in linear models over the residual variance. It does not
    integrate to one, and is for penalised fits, which find where its product with the likelihood is
    largest.

    Parameters
    ----------
    df : float or None, default=None
        Degrees of freedom, more than k + 1; the more, the farther from singular. None is k + 2.5:
        a standard deviation that would be zero is about one of its standard errors instead.

    See Also
    --------
    skmixed.MixedLinearRegressor : Takes it as its `prior`.
    Gamma : A distribution of one standard deviation.

    Notes
    -----
    In R: ``wishart(df)`` of blme, with its infinite scale. A structure that shares one deviation
    among columns counts that once, and independent columns each have k = 1.

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
