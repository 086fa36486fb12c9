"""How much of the variance belongs to which part of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from skmixed.core.fit import Fit
from skmixed.core.model.spec import factors_of
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import CONSTANT
from skmixed.inference.fitted import MixedFit, formula_of, mixed_fit_of, snapshot
from skmixed.inference.table import Table, TabularResult

Scale = Literal["latent", "observation"]


@dataclass(frozen=True, slots=True, repr=False)
class RSquared(TabularResult):
    """Shares of variance that a mixed model explains.

    Parameters
    ----------
    marginal : float
        By the fixed part.
    conditional : float
        By the fixed part and the random effects.

    See Also
    --------
    r2 : The function that returns it.

    Examples
    --------
    >>> from skmixed.inference import RSquared
    >>> RSquared(marginal=0.25, conditional=0.75).to_frame()
                 estimate
    marginal         0.25
    conditional      0.75
    """

    marginal: float
    conditional: float

    def _table(self) -> Table:
        index = ["marginal", "conditional"]
        frame = pd.DataFrame({"estimate": [self.marginal, self.conditional]}, index=index)
        return Table("R2, shares of the variance", frame)


def r2(model: Any, *, scale: Scale = "latent", mean: float | None = None) -> RSquared:
    """Return the share of variance explained by the fixed part, and with the random effects.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    scale : {"latent", "observation"}, default="latent"
        What the variance of single responses is, of generalized models, whose parts are on the
        scale of the link; see the notes of `variance_partition`.
    mean : float or None, default=None
        Mean of the response near which it is taken; None is the mean over the rows.

    Returns
    -------
    RSquared
        Attributes marginal and conditional, between 0 and 1. Without random terms both are the
        variance of the fixed part over that and the residual variance.

    Raises
    ------
    ValueError
        For an unknown scale, and a mean that the response cannot have.

    See Also
    --------
    variance_partition : The parts themselves.
    icc : Shares of the factors.

    Notes
    -----
    With var_f the variance of X beta over rows, var_r the mean over rows of z'Psi z, Psi being the
    covariance of the random effects, and sigma^2: marginal = var_f / (var_f + var_r + sigma^2),
    conditional = (var_f + var_r) / (var_f + var_r + sigma^2). In R: ``r.squaredGLMM`` of MuMIn,
    ``r2_nakagawa`` of performance. With weights both are means weighted by them. For generalized
    models the parts are those of `variance_partition`.

    References
    ----------
    .. [1] Nakagawa, S. & Schielzeth, H. (2013). A general and simple method for obtaining R2 from
       generalized linear mixed-effects models. Methods in Ecology and Evolution 4, 133-142,
       :doi:`10.1111/j.2041-210x.2012.00261.x`, eqs 29 and 30.
    .. [2] Johnson, P. C. D. (2014). Extension of Nakagawa & Schielzeth's R2GLMM to random slopes
       models. Methods in Ecology and Evolution 5, 944-946, :doi:`10.1111/2041-210X.12225`, eq. 10.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import r2
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> print(r2(model))
    R2, shares of the variance
                 estimate
    marginal      0.27865
    conditional   0.79922
    """
    _, values = _variances(mixed_fit_of(model), scale, mean)
    total = sum(values)
    return RSquared(_share(values[0], total), _share(total - values[-1], total))


def icc(model: Any, *, scale: Scale = "latent", mean: float | None = None) -> Table:
    """Return the share of every factor in the variance that the fixed part leaves.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    scale : {"latent", "observation"}, default="latent"
        What the variance of single responses is, of generalized models, whose parts are on the
        scale of the link; see the notes of `variance_partition`.
    mean : float or None, default=None
        Mean of the response near which it is taken; None is the mean over the rows.

    Returns
    -------
    Table
        Column estimate; a row a factor, and one for all of them together, which is the adjusted
        intraclass correlation.

    Raises
    ------
    ValueError
        If the model has no random terms, for an unknown scale, and for a mean that the response
        cannot have.

    See Also
    --------
    variance_partition : Shares that count the fixed part too.
    r2 : Explained variance.

    Notes
    -----
    For random intercepts it is the correlation between two rows of a level that the other factors
    do not share. With random slopes the correlation depends on the rows, and variances are means
    over rows. In R: ``icc`` of performance, ``ICC`` of merTools. Of a generalized model with
    scale="latent" it is the correlation on the scale of the link, of latent variables for two
    classes.

    References
    ----------
    .. [1] Nakagawa, S., Johnson, P. C. D. & Schielzeth, H. (2017). The coefficient of determination
       R2 and intra-class correlation coefficient from generalized linear mixed-effects models
       revisited and expanded. Journal of the Royal Society Interface 14, 20170213,
       :doi:`10.1098/rsif.2017.0213`, eq. 2.5.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import icc
    >>> model = lmer("Reaction ~ 1 + (1 | Subject)", load_sleepstudy())
    >>> icc(model).to_frame().round(4)
                 estimate
    Subject        0.3949
    all factors    0.3949
    """
    model = snapshot(model)
    fit = mixed_fit_of(model)
    if not fit.spec.terms:
        raise ValueError("the model has no random terms: there are no groups to be alike within")
    names, values = _variances(fit, scale, mean)
    total = sum(values[1:])
    shares = [_share(value, total) for value in [*values[1:-1], total - values[-1]]]
    frame = pd.DataFrame({"estimate": shares}, index=pd.Index([*names[1:-1], "all factors"]))
    return Table(f"Intraclass correlation: {formula_of(model)}", frame, _note(fit))


def variance_partition(model: Any, *, scale: Scale = "latent", mean: float | None = None) -> Table:
    """Split the variance of the response among the fixed part, the factors and the residual.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    scale : {"latent", "observation"}, default="latent"
        What the variance of single responses is, of generalized models, whose parts are on the
        scale of the link; see the notes of `variance_partition`.
    mean : float or None, default=None
        Mean of the response near which it is taken; None is the mean over the rows.

    Returns
    -------
    Table
        Columns estimate, the variance in squared units of y, of generalized models on the scale of
        the link, and share, which adds up to one; rows fixed, a row a factor, and residual.

    Raises
    ------
    ValueError
        For an unknown scale, and a mean that the response cannot have.

    See Also
    --------
    icc : Shares that leave the fixed part out.
    r2 : Sums of these shares.

    Notes
    -----
    The parts are those of `r2`: the variance of X beta over rows and means of z'Psi z over rows.
    The residual of a generalized model is the variance of a response given its mean, expressed on
    the scale of the link (Nakagawa and others). With scale="latent" it is, for two outcomes, that
    of the variable which is positive for one of them, pi^2 / 3, 1 or pi^2 / 6 by the link; and for
    the link log that of the logarithm of the response, log(1 + 1 / mu) of Poisson, the trigamma
    functions of 1 / (1 / mu + 1 / theta) and of 1 / dispersion of the negative binomial and gamma
    families. With scale="observation" it is the variance of the response by the squared derivative
    of its mean in the linear predictor (the delta method): 1 / (mu (1 - mu)) for the link logit,
    1 / mu of Poisson. R takes mu from a model without fixed effects, which `mean` can be.

    Rows of several trials, and rates, count once each, as in R; where weights count rows they are
    counted so.

    References
    ----------
    .. [1] Johnson, P. C. D. (2014). Extension of Nakagawa & Schielzeth's R2GLMM to random slopes
       models. Methods in Ecology and Evolution 5, 944-946, :doi:`10.1111/2041-210X.12225`, eq. 10.
    .. [2] Nakagawa, S., Johnson, P. C. D. & Schielzeth, H. (2017). The coefficient of determination
       R2 and intra-class correlation coefficient from generalized linear mixed-effects models
       revisited and expanded. Journal of the Royal Society Interface 14, 20170213,
       :doi:`10.1098/rsif.2017.0213`, tables 1 and 2.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import variance_partition
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> variance_partition(model).to_frame().round(2)
              estimate  share
    fixed       908.95   0.28
    Subject    1698.07   0.52
    residual    654.94   0.20
    """
    model = snapshot(model)
    fit = mixed_fit_of(model)
    names, values = _variances(fit, scale, mean)
    total = sum(values)
    shares = [_share(value, total) for value in values]
    frame = pd.DataFrame({"estimate": values, "share": shares}, index=pd.Index(names))
    return Table(f"Parts of the variance: {formula_of(model)}", frame, _note(fit))


def _variances(fit: MixedFit, scale: Scale, mean: float | None) -> tuple[list[str], list[float]]:
    """Return names and variances of the fixed part, of every factor and of the residual.

    Curves of all rows are of the fixed part.
    """
    products = fit.row_products
    if products is None:
        raise ValueError(
            "this model was stored by a version that did not keep the variances of its columns: "
            "fit it again"
        )
    names, values = ["fixed"], [_fixed_variance(fit, products)]
    layout = products.layout
    covariances = fit.covariances
    for factor in factors_of(fit.ordered_terms):
        position = fit.spec.used_factors.index(factor)
        covariance = covariances[position]
        if products.factors[factor].index.is_whole:
            continue
        columns = np.eye(len(products.basis))[:, list(fit.spec.factor_columns(factor))]
        means, about_means = products.moments(columns)
        mean_square = float((covariance * (about_means + np.outer(means, means))).sum())
        if isinstance(fit, Fit):
            mean_square *= fit.problem.mean_square(position)
        names.append(":".join(layout.factors[factor].key))
        values.append(mean_square)
    return [*names, "residual"], [*values, _own_variance(fit, products, scale, mean)]


def _fixed_variance(fit: MixedFit, products: CrossProducts) -> float:
    """Return the variance of X beta and curves over rows, with divisor n - 1."""
    combination = np.zeros((len(products.basis), 1))
    combination[list(fit.spec.fixed), 0] = fit.beta
    for position, factor in enumerate(fit.spec.used_factors):
        if products.factors[factor].index.is_whole:
            places = list(fit.spec.factor_columns(factor))
            combination[places, 0] += fit.modes[position][0]
    square = float(products.moments(combination)[1][0, 0])
    n = fit.n_observations
    return max(square, 0.0) * n / (n - 1.0) if n > 1 else 0.0


def _own_variance(
    fit: MixedFit, products: CrossProducts, scale: Scale, mean: float | None
) -> float:
    """Return the variance of a response given its mean, near `mean`, on the scale of the link."""
    if scale not in get_args(Scale):
        raise ValueError(f"scale={scale!r} is neither 'latent' nor 'observation'")
    if isinstance(fit, ResidualFit):
        return fit.mean_residual_variance
    if isinstance(fit, Fit):
        return fit.sigma2
    family = fit.mean_family
    if mean is None:
        response = np.eye(len(products.basis))[:, [products.layout.response]]
        mean = float(products.moments(response)[0][0])
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            is_possible = np.isfinite(family.eta_of(np.array([mean])))
        if not is_possible.all():
            raise ValueError(f"mean={mean!r} is no mean of a {family.name} response")
    at = np.array([mean])
    with np.errstate(divide="ignore"):  # all responses are on the boundary: all variance is theirs
        if scale == "latent":
            return family.latent_variance(at, fit.phi).item()
        return (family.variance(at, fit.phi) / np.square(family.mean_slope(at))).item()


def _share(value: float, total: float) -> float:
    return value / total if total > 0 else float("nan")


def _note(fit: MixedFit) -> tuple[str, ...]:
    has_slopes = any(term.columns != (CONSTANT,) for term in fit.spec.terms)
    slopes: tuple[str, ...] = ()
    if has_slopes:
        slopes = ("Variances of random slopes are means over rows.",)
    if isinstance(fit, ResidualFit):
        slopes += ("The residual variance is a mean over rows, whatever their correlation.",)
    return slopes if isinstance(fit, Fit) else ("On the scale of the link.", *slopes)
