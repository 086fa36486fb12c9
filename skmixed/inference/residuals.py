"""Residuals of all kinds."""

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
    """The part of rows and their responses that residuals read."""

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
        """Return the variance of random effects of unknown levels, or of all."""
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
    """Compute residuals: quantile, deviance, Pearson, response, normalized or studentised.

    Quantile residuals suit checks of any family, since they are uniform if the model is correct;
    response and Pearson residuals are the usual ones of linear models. For plots use
    `skmixed.display.ResidualsDisplay`, for tests `residual_tests`.

    Read more in the user guide: :doc:`/guide/generalized` and :doc:`/guide/after_generalized`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    X, y, sample_weight, groups : array-like
        The training data, as passed to ``fit``, or new data. After `lmer`, `glmer`, `clmm` or
        `nlmer` the data frame X is enough: y and the weights, such as trials, are read from it.
    kind : str, default="quantile"
        - "quantile": the probability of a response below y, uniform on (0, 1) if the model is
          correct, for any family; for discrete responses randomised within the probability of y.
        - "deviance": signed square roots of the contributions to the deviance, given the random
          effects.
        - "pearson": y minus its mean, divided by its standard deviation.
        - "response": y minus its mean, in units of y.
        - "normalized", for linear models: Pearson residuals decorrelated by the residual structure,
          independent with unit variance if it is correct.
        - "studentised", for training data only: residuals divided by their standard deviation,
          which decreases with leverage; for generalized models deviance and Pearson residuals are
          combined by the leverage.
    random : {"new", "fitted"} or None, default=None
        Whether responses are compared with their distribution over new groups, so that differences
        between groups do not show up as misfit (the default of DHARMa), or given the conditional
        modes of the random effects (R's ``residuals``; ``use.u`` in DHARMa). Unknown levels count
        as new in either case. None is "new" for quantile residuals; the other kinds allow "fitted"
        only.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed for the randomisation of discrete quantile residuals; pass an int for reproducible
        results.
    missing : {"raise", "nan"} or None, default=None
        Whether rows with missing values raise an error or get NaN. None means "raise", or "nan" for
        a model fitted with na_action="exclude".

    Returns
    -------
    ndarray of shape (n,)
        The residual of each row; NaN where handle_unknown="nan" leaves a row without a prediction.
        For a classifier, those of the second class, with y coded 0 and 1; for ordered categories,
        those of their numbers.

    Raises
    ------
    TypeError
        If the model is not a mixed model, or does not have this kind: ordered categories have no
        mean, and only "quantile"; generalized models lack "normalized"; nonlinear and Bayesian
        models have "response" and "pearson", and nonlinear ones with a residual structure
        "normalized".
    ValueError
        For invalid rows, responses outside the range of the family, an unknown kind, and
        random="new" with another kind than "quantile". For "studentised" also if these are not the
        training data, and as in `influence`.

    See Also
    --------
    influence : Leverage, Cook's distance and case deletion.
    residual_tests : Tests of dispersion, zeros and uniformity.
    row_table : Fitted values and residuals side by side.
    skmixed.display.ResidualsDisplay : Residual plots.

    Notes
    -----
    Quantile residuals are the limit of DHARMa's for many simulations: the distribution of a
    response is known, and for new groups it is averaged over that of the random effects, to 1e-4,
    or to 1/200 for large numbers of trials or counts. With random="new" the residuals of a group
    are dependent, and uniform over many groups. With "fitted" they are independent, but shrunk
    towards one half, the more so the fewer rows a group has.

    Weights are numbers of trials of a proportion, exposures of a rate, or precisions in a linear
    model fitted with them. Otherwise a weight counts rows, and deviance and Pearson residuals are
    multiplied by its square root, as in R. Deviance residuals of gamma models are those for a
    dispersion of one, as in R; Pearson residuals are not.

    In R: ``residuals(model, type, scaled = TRUE)`` for Pearson and response residuals, and
    ``rstudent(model)`` of lme4 for studentised residuals of linear models, (y - fitted) / (sigma (1
    - h)^(1/2)) with the leverage h of `influence`. For generalized models h uses the working
    weights, as in ``rstudent`` for ``glm``, where lme4 uses weights of one. Externally studentised
    residuals are r ((nu - 1) / (nu - r^2))^(1/2), r being such a residual and nu rows minus
    coefficients.

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
            f"kind={kind!r} needs random='fitted', since it compares with the mean at the modes of "
            "the random effects; kind='quantile' allows random='new'"
        )
    model = snapshot(model)
    is_simple = hasattr(model, "posterior_") or isinstance(any_fit_of(model), NonlinearFit)
    design_of(model)  # a bare fit has none
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
    """Return residuals, (n,), of a model known by its means and standard deviations alone."""
    near = None if hasattr(model, "posterior_") else residual_fit_of(any_fit_of(model))
    kinds = ("response", "pearson", *(() if near is None else ("normalized",)))
    is_known = near is not None or getattr(model, "residual", None) is None
    if kind not in kinds or not is_known:
        *others, last = map(repr, kinds)
        raise TypeError(
            f"kind={kind!r} is not available for a {type(model).__name__}, which has the kinds "
            f"{', '.join(others)} and {last}"
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
    """Return studentised residuals, (n,), of the training rows."""
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
    """Return the residuals, (n,), of rows already read; see `residuals` for the arguments.

    Raises ValueError for studentised ones, which need the training rows.
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
                f"a {type(model).__name__} has no residual structure: use kind='pearson'"
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
    """Return the limits of the residuals, (n,) each, one array twice if nothing is random."""
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
    """Return residual standard deviations relative to sigma, (n,)."""
    if isinstance(fit, ResidualFit) and observed.residual is not None:
        return fit.structure.deviations(fit.phi, observed.residual)
    return np.ones(len(observed.y))


def _noise(fit: Fit, observed: Observed) -> FloatArray:
    """Return residual variances, (n,), allowing for precision weights."""
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
