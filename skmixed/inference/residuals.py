"""What responses differ from the model by."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Literal, Protocol, get_args

import numpy as np
import pandas as pd
from scipy import special

from skmixed.core.fit import Fit
from skmixed.core.generalized.after_fit.row_residuals import (
    check_whole,
    deviance_residuals,
    pearson_residuals,
    probabilities,
)
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, generator_of
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.sums.layout import Rows
from skmixed.inference.fitted import (
    any_fit_of,
    design_of,
    mixed_fit_of,
    residual_fit_of,
    snapshot,
)
from skmixed.inference.influence import leverages, studentised

ResidualKind = Literal["quantile", "deviance", "pearson", "response", "normalized", "studentised"]


class Observed(Protocol):
    """What is read of rows and their responses."""

    y: FloatArray
    weights: FloatArray | None
    residual: ResidualRows | None

    @property
    def table(self) -> pd.DataFrame:
        """The columns of X by name."""
        ...

    def fixed_part(self) -> FloatArray:
        """Return the linear predictor without random effects."""
        ...

    def predictor(self, handle_unknown: str) -> FloatArray:
        """Return the linear predictor at the modes of the random effects."""
        ...

    def random_variance(self, covariances: list[FloatArray], *, known_too: bool) -> FloatArray:
        """Return the variance of random effects that are not known, or of all."""
        ...

    def rows_at_known_levels(self) -> Rows:
        """Return the rows of the layout."""
        ...


def residuals(
    model: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    *,
    kind: ResidualKind = "quantile",
    random: Literal["new", "fitted"] | None = None,
    random_state: Any = None,
    missing: Literal["raise", "nan"] | None = None,
) -> FloatArray:
    """Return the residuals of rows.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    X, y, sample_weight, groups : array-like
        The rows of the fit, as given to `fit`, or others. After `lmer`, `glmer`, `clmm` or `nlmer`
        the data frame X is enough: y and the weights, such as trials, are read from it.
    kind : str, default="quantile"
        "quantile", "deviance", "pearson", "response", "normalized" or "studentised".
        Quantile residuals are the probability of a response below y, between 0 and 1, and uniform
        if the model is true, whatever the family; where y itself has a probability, a random number
        within it is added. Pearson residuals are y less its mean, by its standard deviation.
        Deviance residuals are signed roots of what rows add to the deviance at the given random
        effects. Response residuals are y less its mean, in units of y. Normalized residuals, of
        linear models, are Pearson residuals from which the correlation of a residual structure is
        taken out: independent and of variance one if the structure is true. Studentised residuals,
        of the rows of the fit alone, are by the standard deviation that residuals have, which is
        smaller the more a row pulls its own prediction; of generalized models they combine those of
        deviance and Pearson by the leverage.
    random : {"new", "fitted"} or None, default=None
        What is known of the random effects: their distribution alone, so that groups that differ
        do not make residuals differ from uniform ones (DHARMa's default), or their modes (R's
        ``residuals``; DHARMa with ``use.u``). Levels that the model does not know have their
        distribution in either case. None is "new" for quantile residuals. The other kinds are those
        at the modes.
    random_state : None, int, RandomState or Generator, default=None
        Seed of the random part of quantile residuals, which classes and counts have.
    missing : {"raise", "nan"} or None, default=None
        Whether rows with missing values in columns, labels, y or weights are an error or have NaN.
        None is "raise", or "nan" of a model by na_action="exclude".

    Returns
    -------
    ndarray of shape (n,)
        One for every row; NaN where handle_unknown="nan" leaves a row without a prediction. Of a
        classifier they are those of the second class, y being 0 or 1; of ordered categories those
        of their numbers.

    Raises
    ------
    TypeError
        For what is no mixed model, for ordered categories, which have no mean, if it is another
        kind than "quantile", for "normalized" of generalized models, and for other kinds than
        "response" and "pearson" of nonlinear and Bayesian ones, and "normalized" of nonlinear ones
        with a residual structure.
    ValueError
        For invalid rows, for responses that the family cannot have, for an unknown kind, and for
        random="new" with another kind than "quantile". With "studentised" also if these are not the
        rows of the fit, and as in `influence`.

    See Also
    --------
    influence : Leverages, and what rows change.
    residual_tests : Tests of too much or too little dispersion, and of zeros.
    skmixed.display.ResidualsDisplay : Pictures of them.

    Notes
    -----
    Quantile residuals are those that DHARMa approaches with ever more simulations: the distribution
    of a response is known, and where random effects are new it is averaged over theirs, to 1e-4, or
    to 1/200 where numbers of trials or counts are large. Under random="new" rows of a group are
    dependent, and residuals are uniform over many groups. Under "fitted" they are independent, but
    the modes have taken in some of the noise, so that they lie nearer to one half the fewer rows a
    group has.

    Weights are numbers of trials of a share; exposures, where counts are rates; precisions of a
    linear model that says so; otherwise a row of weight w stands for w rows of its residual, and
    deviance and Pearson residuals are multiplied by the root of it, as in R. Deviance residuals of
    gamma models are those of a dispersion of one, as in R; Pearson residuals are not.

    In R: ``residuals(model, type, scaled = TRUE)`` for Pearson and response residuals, and
    ``rstudent(model)`` of lme4 for studentised ones, y - fitted over sigma (1 - h)^(1/2), where h
    is the leverage of `influence`; of generalized models it is that of the weights of the working
    model, as in ``rstudent`` of ``glm``, where lme4 has weights of one. With r such a residual and
    nu rows less coefficients, r ((nu - 1) / (nu - r^2))^(1/2) is by the sigma of the other rows.

    References
    ----------
    .. [1] Dunn, P. K. & Smyth, G. K. (1996). Randomized quantile residuals. Journal of
       Computational and Graphical Statistics 5(3), :doi:`10.1080/10618600.1996.10474708`.
    .. [2] Williams, D. A. (1987). Generalized linear model diagnostics using the deviance and
       single case deletions. Applied Statistics 36(2), :doi:`10.2307/2347550`.

    Examples
    --------
    >>> import numpy as np
    >>> from skmixed import MixedGeneralizedRegressor
    >>> from skmixed.inference import residuals
    >>> X = np.repeat(np.arange(20), 5)[:, None]
    >>> y = np.random.default_rng(0).poisson(3.0, 100)
    >>> model = MixedGeneralizedRegressor(group_features=[0]).fit(X, y)
    >>> residuals(model, X, y, random_state=0).shape
    (100,)
    """
    if kind not in get_args(ResidualKind):
        raise ValueError(f"kind={kind!r} is not one of {', '.join(get_args(ResidualKind))}")
    if random not in (None, "new", "fitted"):
        raise ValueError(f"random={random!r} is neither 'new' nor 'fitted'")
    if random == "new" and kind != "quantile":
        raise ValueError(
            f"kind={kind!r} compares with the mean at the modes of the random effects, "
            "random='fitted'; kind='quantile' compares with the distribution over new ones"
        )
    model = snapshot(model)
    is_simple = hasattr(model, "posterior_") or isinstance(any_fit_of(model), NonlinearFit)
    design_of(model)  # which a bare fit has not
    complete = model._complete_rows(X, y, sample_weight, groups, missing)
    if complete is not None:
        settings: dict[str, Any] = {"random": random, "random_state": random_state}
        found: FloatArray = complete.spread(
            partial(residuals, model, kind=kind, **settings, missing="raise")
        )
        return found
    if is_simple:
        return _from_means(model, X, y, sample_weight, groups, kind)
    if kind == "studentised":
        return _studentised(model, X, y, sample_weight, groups)
    observed: Observed = model._observed_rows(X, y, sample_weight, groups)
    return residuals_of(model, observed, kind, random, random_state)


def _from_means(
    model: Any, X: Any, y: Any, sample_weight: Any, groups: Any, kind: ResidualKind
) -> FloatArray:
    """Return residuals, (n,), of a model of which its means and their deviations are known."""
    near = None if hasattr(model, "posterior_") else residual_fit_of(any_fit_of(model))
    kinds = ("response", "pearson", *(() if near is None else ("normalized",)))
    is_known = near is not None or getattr(model, "residual", None) is None
    if kind not in kinds or not is_known:
        *others, last = map(repr, kinds)
        raise TypeError(
            f"a {type(model).__name__} has residuals of the kinds {', '.join(others)} and {last}, "
            f"and not of kind={kind!r}"
        )
    observed: Observed = model._observed_rows(X, y, sample_weight, groups)
    means: FloatArray = model._fitted_means(X, groups)
    found = observed.y - means
    if kind == "response":
        return found
    scaled: FloatArray = found / np.sqrt(model.residual_variance_)
    scaled = scaled if observed.weights is None else np.sqrt(observed.weights) * scaled
    if near is None or observed.residual is None:
        return scaled
    rows = observed.residual
    if model.design_.residual.parts.is_of_fitted:
        rows = replace(rows, value=np.maximum(np.abs(means), np.finfo(float).tiny))
    if kind == "normalized":
        return _whitened(near, rows, scaled)
    return scaled / near.structure.deviations(near.phi, rows)


def _studentised(model: Any, X: Any, y: Any, sample_weight: Any, groups: Any) -> FloatArray:
    """Return residuals by their standard deviations, (n,), of the rows of a fit."""
    fit = mixed_fit_of(model)
    if not isinstance(fit, GeneralizedFit):
        return studentised(model, X, y, sample_weight, groups)
    leverage = leverages(model, X, y, sample_weight, groups)
    observed: Observed = model._observed_rows(X, y, sample_weight, groups)
    deviance, pearson = (residuals_of(model, observed, kind) for kind in ("deviance", "pearson"))
    square = np.square(deviance) / fit.mean_family.deviance_unit(fit.phi)
    with np.errstate(divide="ignore", invalid="ignore"):
        square += np.square(pearson) * leverage / (1.0 - leverage)
    return np.asarray(np.sign(deviance) * np.sqrt(square))


def residuals_of(
    model: Any,
    observed: Observed,
    kind: ResidualKind,
    random: Literal["new", "fitted"] | None = "fitted",
    random_state: Any = None,
) -> FloatArray:
    """Return the residuals, (n,), of rows that have been read; `residuals` documents the rest.

    Raises ValueError for studentised ones, which take the rows of the fit.
    """
    if kind not in (kinds := get_args(ResidualKind)[:-1]):
        raise ValueError(f"kind={kind!r} is not one of {', '.join(kinds)}")
    fit = mixed_fit_of(model)
    known_too = kind == "quantile" and random != "fitted"
    center = observed.fixed_part() if known_too else observed.predictor(model.handle_unknown)
    variance = np.zeros(len(center))
    if kind == "quantile":
        variance = observed.random_variance(fit.covariances, known_too=known_too)
    if isinstance(fit, GeneralizedFit):
        if kind == "normalized":
            raise TypeError(
                f"a {type(model).__name__} has no residual structure: take kind='pearson'"
            )
        below, upto = _generalized(fit, observed, kind, center, variance)
    else:
        below, upto = _linear(fit, observed, kind, center, variance)
    if below is upto:
        return upto
    return below + generator_of(random_state).random(len(upto)) * (upto - below)


def _generalized(
    fit: GeneralizedFit,
    observed: Observed,
    kind: ResidualKind,
    center: FloatArray,
    variance: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return the limits of the residuals, (n,) each, one array twice where nothing is random."""
    phi, y, weights = fit.phi, observed.y, observed.weights
    fit.family.check(y, weights)
    if kind == "quantile":
        sizes = fit.family.sizes(y, weights)
        check_whole(fit.family, y, sizes)
        return probabilities(fit.family, y, sizes, phi, center, variance)
    family = fit.mean_family
    mean = family.mean(center)
    if kind == "response":
        found = y - mean
    elif kind == "pearson":
        found = pearson_residuals(family, y, mean, weights, phi)
    else:
        found = deviance_residuals(family, y, mean, weights, phi)
    return found, found


def _linear(
    fit: Fit,
    observed: Observed,
    kind: ResidualKind,
    center: FloatArray,
    variance: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return the same of a linear mixed model."""
    found, weights = observed.y - center, observed.weights
    relative = _relative_deviations(fit, observed)
    if kind == "quantile":
        found = special.ndtr(found / np.sqrt(variance + _noise(fit, observed)))
    elif kind != "response":
        found = found if weights is None else np.sqrt(weights) * found
        found = found / np.sqrt(fit.sigma2) if kind != "deviance" else found
        if kind == "normalized" and isinstance(fit, ResidualFit) and observed.residual is not None:
            return (whitened := _whitened(fit, observed.residual, found)), whitened
        found = found / relative
    return found, found


def _relative_deviations(fit: Fit, observed: Observed) -> FloatArray:
    """Return the standard deviations of residuals, relative to sigma, (n,)."""
    if isinstance(fit, ResidualFit) and observed.residual is not None:
        return fit.structure.deviations(fit.phi, observed.residual)
    return np.ones(len(observed.y))


def _noise(fit: Fit, observed: Observed) -> FloatArray:
    """Return the residual variances of rows, (n,), of weights that are precisions."""
    noise: FloatArray = fit.sigma2 * np.square(_relative_deviations(fit, observed))
    if observed.weights is not None and fit.spec.weighting == "precision":
        noise = noise / observed.weights
    return noise


def marginal_distribution(fit: Fit, observed: Observed) -> tuple[FloatArray, FloatArray]:
    """Return means and standard deviations of responses over new random effects, (n,) each."""
    variance = observed.random_variance(fit.covariances, known_too=True)
    return observed.fixed_part(), np.sqrt(variance + _noise(fit, observed))


def _whitened(fit: ResidualFit, rows: ResidualRows, residuals: FloatArray) -> FloatArray:
    return fit.structure.whitened(fit.phi, rows, residuals[:, None])[:, 0]
