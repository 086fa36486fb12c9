"""Explained variance, intraclass correlations and the partition of variance."""

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
    """Marginal and conditional R2 of a mixed model.

    Parameters
    ----------
    marginal : float
        Proportion of variance explained by the fixed effects.
    conditional : float
        Proportion of variance explained by fixed and random effects.

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
        return Table("R2, proportion of variance explained", frame)


def r2(model: Any, *, scale: Scale = "latent", mean: float | None = None) -> RSquared:
    """Compute the marginal and conditional R2 of Nakagawa and Schielzeth.

    The marginal R2 is the proportion of variance explained by the fixed effects, the conditional R2
    that explained by fixed and random effects. `variance_partition` has their parts.

    Read more in the user guide: :doc:`/guide/inference` and :doc:`/guide/after_generalized`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    scale : {"latent", "observation"}, default="latent"
        Scale of the residual variance of a generalized model; see the notes of
        `variance_partition`.
    mean : float or None, default=None
        Mean response at which the residual variance of a generalized model is evaluated; None is
        the mean over rows.

    Returns
    -------
    RSquared
        Attributes marginal and conditional, between 0 and 1; equal if there are no random terms.

    Raises
    ------
    ValueError
        For an unknown scale, and a mean outside the range of the response.

    See Also
    --------
    variance_partition : The variance of each part of the model.
    icc : Intraclass correlation of each grouping factor.

    Notes
    -----
    Let var_f be the variance of X beta over rows and var_r the mean over rows of z'Psi z, Psi being
    the covariance of the random effects. Then marginal = var_f / (var_f + var_r + sigma^2) and
    conditional = (var_f + var_r) / (var_f + var_r + sigma^2). With weights, both are weighted by
    them. For generalized models the parts are those of `variance_partition`. In R:
    ``r.squaredGLMM`` of MuMIn and ``r2_nakagawa`` of performance.

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
    R2, proportion of variance explained
                 estimate
    marginal      0.27865
    conditional   0.79922
    """
    _, values = _variances(mixed_fit_of(model), scale, mean)
    total = sum(values)
    return RSquared(_share(values[0], total), _share(total - values[-1], total))


def icc(model: Any, *, scale: Scale = "latent", mean: float | None = None) -> Table:
    """Compute the intraclass correlation of each grouping factor.

    It is the factor's share of the variance that the fixed effects leave unexplained. For the share
    of all variance use `variance_partition`; for a share with an interval, `heritability`.

    Read more in the user guide: :doc:`/guide/inference` and :doc:`/guide/after_generalized`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    scale : {"latent", "observation"}, default="latent"
        Scale of the residual variance of a generalized model; see the notes of
        `variance_partition`.
    mean : float or None, default=None
        Mean response at which the residual variance of a generalized model is evaluated; None is
        the mean over rows.

    Returns
    -------
    Table
        Column estimate; a row for each factor, and one for all factors together, the adjusted
        intraclass correlation.

    Raises
    ------
    ValueError
        If the model has no random terms, for an unknown scale, and for a mean outside the range of
        the response.

    See Also
    --------
    variance_partition : Shares of the total variance.
    r2 : Marginal and conditional R2.
    heritability : One such share with a confidence interval.

    Notes
    -----
    With random intercepts it is the correlation between two rows that share a level of this factor
    and no other. With random slopes this correlation differs between rows, and variances are
    averaged over them. For a generalized model with scale="latent" it is the correlation on the
    scale of the link; for binary responses, of the latent variables. In R: ``icc`` of performance
    and ``ICC`` of merTools.

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
        raise ValueError("the model has no random terms, so there is no intraclass correlation")
    names, values = _variances(fit, scale, mean)
    total = sum(values[1:])
    shares = [_share(value, total) for value in [*values[1:-1], total - values[-1]]]
    frame = pd.DataFrame({"estimate": shares}, index=pd.Index([*names[1:-1], "all factors"]))
    return Table(f"Intraclass correlation: {formula_of(model)}", frame, _note(fit))


def variance_partition(model: Any, *, scale: Scale = "latent", mean: float | None = None) -> Table:
    """Partition the variance of the response into fixed effects, grouping factors and residual.

    Read more in the user guide: :doc:`/guide/inference` and :doc:`/guide/after_generalized`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    scale : {"latent", "observation"}, default="latent"
        Scale of the residual variance of a generalized model; see Notes.
    mean : float or None, default=None
        Mean response at which the residual variance of a generalized model is evaluated; None is
        the mean over rows.

    Returns
    -------
    Table
        Columns estimate, a variance in squared units of y (of the linear predictor in generalized
        models), and share, which sums to one. Rows fixed, one for each factor, and residual.

    Raises
    ------
    ValueError
        For an unknown scale, and a mean outside the range of the response.

    See Also
    --------
    icc : Shares of the variance that the fixed effects leave.
    r2 : Sums of these shares.
    variance_table : Variances and covariances of the random effects.

    Notes
    -----
    The variance of the fixed effects is that of X beta over rows, and the variance of a factor the
    mean of z'Psi z over rows, Psi being the covariance of its effects.

    The residual variance of a generalized model is that of a response given its mean, on the scale
    of the link [2]_. With scale="latent" it is, for binary responses, the variance of the latent
    variable: pi^2 / 3, 1 or pi^2 / 6, depending on the link. For a log link it is the variance of
    the logarithm of the response: log(1 + 1 / mu) for Poisson, and the trigamma function of 1 / (1
    / mu + 1 / theta) and of 1 / dispersion for the negative binomial and gamma families. With
    scale="observation" it follows from the delta method: 1 / (mu (1 - mu)) for the logit link, 1 /
    mu for Poisson. R evaluates mu in a model without fixed effects; pass that as `mean` for the
    same figures.

    Proportions and rates count as one row each, as in R; frequency weights count as rows.

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
    return Table(f"Variance partition: {formula_of(model)}", frame, _note(fit))


def _variances(fit: MixedFit, scale: Scale, mean: float | None) -> tuple[list[str], list[float]]:
    """Return names and variances of the fixed effects, of each factor and of the residual.

    Population-level smooths belong to the fixed effects.
    """
    products = fit.row_products
    if products is None:
        raise ValueError(
            "this model was saved by a version that did not store the variances of its columns: "
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
    """Return the variance of X beta and smooths over rows, with divisor n - 1."""
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
    """Return the variance of a response given its mean, at `mean`, on the scale of the link."""
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
            raise ValueError(f"mean={mean!r} is not a possible mean of a {family.name} response")
    at = np.array([mean])
    with np.errstate(divide="ignore"):  # all responses on the boundary: infinite residual variance
        if scale == "latent":
            return family.latent_variance(at, fit.phi).item()
        return (family.variance(at, fit.phi) / np.square(family.mean_slope(at))).item()


def _share(value: float, total: float) -> float:
    return value / total if total > 0 else float("nan")


def _note(fit: MixedFit) -> tuple[str, ...]:
    has_slopes = any(term.columns != (CONSTANT,) for term in fit.spec.terms)
    slopes: tuple[str, ...] = ()
    if has_slopes:
        slopes = ("Variances of random slopes are averaged over rows.",)
    if isinstance(fit, ResidualFit):
        slopes += ("The residual variance is averaged over rows, ignoring their correlation.",)
    return slopes if isinstance(fit, Fit) else ("On the scale of the link.", *slopes)
