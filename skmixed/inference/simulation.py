"""Draws of coefficients and random effects given the data, at the estimated relative variances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.batch.error_sums import NeedsRowsError
from skmixed.core.batch.responses import ScaledResponses, draw_responses
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.families.family import softplus
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, generator_of
from skmixed.inference.fitted import (
    MixedFit,
    coefficient_names,
    design_of,
    determined_mixed_fit_of,
    snapshot,
    stated_places,
)
from skmixed.inference.random_effects import below_each_other, effects_index
from skmixed.inference.table import Table, TabularResult

_DRAWN_CELLS = 2e7  # random effects drawn at once: 160 MB


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Draws(TabularResult):
    """Draws of the coefficients, the random effects and the residual standard deviation.

    Parameters
    ----------
    coef : DataFrame of shape (n_samples, p)
        Fixed coefficients, the intercept first if there is one.
    random_effects : dict of str to ndarray of shape (n_samples, n_levels, k)
        Random effects of each factor, in the order of `random_effects_`.
    sigma : ndarray of shape (n_samples,) or None
        Residual standard deviations; None for generalized models.
    labels : dict of str to (Index, Index)
        Levels and columns of each factor.
    thresholds : DataFrame of shape (n_samples, n_classes - 1) or None
        Thresholds between ordered categories; None for other models.

    See Also
    --------
    sim : The function that returns it.

    Notes
    -----
    It prints the mean, median and standard deviation of the coefficients (as ``FEsim`` of
    merTools), thresholds and sigma.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import sim
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> sim(model, 100, random_state=0).to_frame().index.tolist()
    ['(Intercept)', 'Days', 'sigma']
    """

    coef: pd.DataFrame
    random_effects: dict[str, FloatArray]
    sigma: FloatArray | None
    labels: dict[str, tuple[pd.Index[Any], pd.Index[Any]]]
    thresholds: pd.DataFrame | None = None

    def _table(self) -> Table:
        draws = self.coef
        if self.thresholds is not None:
            draws = pd.concat([self.thresholds, draws], axis=1)
        if self.sigma is not None:
            sigma = pd.Series(self.sigma, self.coef.index, name="sigma")
            draws = pd.concat([draws, sigma], axis=1)
        frame = pd.DataFrame({"mean": draws.mean(), "median": draws.median(), "sd": draws.std()})
        return Table(f"{len(draws)} draws", frame)

    def random_effects_table(self) -> Table:
        """Summarise the draws of the random effects.

        Returns
        -------
        Table
            Columns mean, median and sd, as in ``REsim`` of merTools; a row for each factor, level
            and column.
        """
        parts = []
        for name, draws in self.random_effects.items():
            columns = {
                "mean": draws.mean(axis=0).ravel(),
                "median": np.median(draws, axis=0).ravel(),
                "sd": draws.std(axis=0, ddof=1).ravel(),
            }
            parts.append(pd.DataFrame(columns, index=effects_index(name, *self.labels[name])))
        return Table(f"Random effects, {len(self.coef)} draws", below_each_other(parts))


def sim(model: Any, n_samples: int = 1000, *, random_state: Any = None) -> Draws:
    """Draw coefficients, random effects and residual standard deviation, as ``arm::sim`` does.

    Use it to propagate the uncertainty of coefficients and random effects into any quantity. It
    conditions on the estimated relative variances; `bootstrap` and `skmixed.bayes.sample` do not.

    Read more in the user guide: :doc:`/guide/intervals`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    n_samples : int, default=1000
        Number of draws.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed of the random number generator; pass an int for reproducible results.

    Returns
    -------
    Draws
        sigma^2 times nu over a chi-squared variable with nu = n - p degrees of freedom, and, given
        this, coefficients and random effects from their joint normal distribution. For a
        generalized model, coefficients from the normal distribution with covariance
        `coef_covariance_`, and random effects given these by Laplace's approximation; infinite
        coefficients stay as they are.

    Raises
    ------
    ValueError
        If the fit leaves no residual, after ``update_groups``, and for several factors with too
        many random effects.

    See Also
    --------
    bootstrap : Replicates that re-estimate the variances too.
    random_effects_table : Conditional modes with standard errors, without simulation.
    skmixed.bayes.sample : Draws from the full posterior.

    Notes
    -----
    The joint distribution is drawn without forming its covariance matrix: errors of the estimates
    in simulated data have the same distribution, at any true values.

    References
    ----------
    .. [1] Gelman, A. & Hill, J. (2007). Data analysis using regression and multilevel/hierarchical
       models. Cambridge University Press, :doi:`10.1017/CBO9780511790942`, section 7.2.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import sim
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> draws = sim(model, 100, random_state=0)
    >>> draws.random_effects["Subject"].shape
    (100, 18, 2)
    """
    model = snapshot(model)
    fit = determined_mixed_fit_of(model)
    design_of(model)  # a bare fit has none
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples} must be at least 1")
    if model._fitted.has_further_rows:
        raise ValueError(
            "sim needs the joint distribution of a fit, which update_groups does not provide: fit "
            "the model to all rows instead, with partial_fit if it is linear"
        )
    generator = generator_of(random_state)
    stretch = _stretch(fit, n_samples, generator)
    size = int(max(1, _DRAWN_CELLS // max(1, sum(b.size for b in fit.modes))))
    parts = [
        _errors(fit, min(size, n_samples - first), generator) for first in range(0, n_samples, size)
    ]
    beta = np.concatenate([beta for beta, _ in parts])
    coef = fit.beta + stretch[:, None] * beta
    effects = {}
    labelled = model._fitted.random_labels
    for position, each in labelled.items():
        errors = np.concatenate([blocks[position] for _, blocks in parts])
        drawn = fit.modes[position] + stretch[:, None, None] * errors
        effects[each.name] = each.summed(drawn)
    labels = {each.name: (each.levels, pd.Index(each.columns)) for each in labelled.values()}
    sigma = None if isinstance(fit, GeneralizedFit) else np.sqrt(fit.sigma2) * stretch
    table = pd.DataFrame(coef, columns=coefficient_names(fit)).iloc[:, stated_places(fit)]
    return Draws(table, effects, sigma, labels, _draw_thresholds(fit, coef, generator))


def _draw_thresholds(
    fit: MixedFit, beta: FloatArray, generator: np.random.Generator
) -> pd.DataFrame | None:
    """Draw thresholds between ordered categories given coefficients, (R, n_fixed).

    The first finite threshold, and the parameters of the gaps to the following ones, are jointly
    normal with the finite coefficients kept in the model. Infinite thresholds stay.
    """
    if not isinstance(fit, GeneralizedFit) or not fit.has_thresholds:
        return None
    thresholds = np.tile(fit.thresholds, (len(beta), 1))
    finite = np.setdiff1d(np.arange(thresholds.shape[1]), fit.separated_thresholds)
    if len(finite):
        covariance, m = fit.covariance_beside, len(fit.phi)
        gaps = np.eye(len(covariance))[len(covariance) - m + finite[:-1]]
        ways = np.concatenate([fit.threshold_slopes[finite[:1]], gaps])
        known = [place for place in fit.kept if place not in fit.separated]
        across, own = ways @ covariance[:, known], covariance[np.ix_(known, known)]
        slopes = np.linalg.solve(own, across.T)
        values, vectors = np.linalg.eigh(ways @ covariance @ ways.T - across @ slopes)
        noise = generator.standard_normal((len(beta), len(values)))
        drawn = (beta - fit.beta)[:, known] @ slopes
        drawn += noise @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
        drawn += np.concatenate([thresholds[0, finite[:1]], fit.phi[finite[:-1]]])
        drawn[:, 1:] = softplus(drawn[:, 1:])
        thresholds[:, finite] = np.cumsum(drawn, axis=1)
    return pd.DataFrame(thresholds, columns=fit.threshold_names)


def _stretch(fit: MixedFit, n_samples: int, generator: np.random.Generator) -> FloatArray:
    """Draw residual standard deviations relative to the estimate, (R,); ones if it is known."""
    if isinstance(fit, GeneralizedFit) or fit.spec.sigma2 is not None:
        return np.ones(n_samples)
    degrees = fit.problem.n_observations - fit.rank
    return np.asarray(np.sqrt(degrees / generator.chisquare(degrees, n_samples)))


def _errors(
    given: MixedFit, n_samples: int, generator: np.random.Generator
) -> tuple[FloatArray, Blocks]:
    """Draw errors of the estimates at the true variances: of beta and of the random effects.

    Shapes are (R, n_fixed), and (R, n_levels, k) for each factor. Raises ValueError for several
    factors with too many random effects.
    """
    fit = given.working if isinstance(given, GeneralizedFit) else given
    try:
        responses = draw_responses(fit, n_samples, generator)
    except NeedsRowsError:
        raise ValueError(
            "the model has too many random effects of several factors for joint draws: "
            "random_effects_table has the standard error of each"
        ) from None
    model, evaluation = fit.problem.model, fit.evaluation
    scaled, p = ScaledResponses.of(fit, responses), fit.rank
    xvy = scaled.fixed.copy()  # X'V^-1 y, (R, p)
    for lam, cross, sums in zip(evaluation.lambdas, evaluation.cross, scaled.levels, strict=True):
        shrunk = (lam @ lam.T) @ sums.reshape(len(sums), -1)
        for row, column in zip(shrunk.reshape(sums.shape), cross, strict=True):
            xvy -= row @ column[:p].T
    beta = xvy @ evaluation.beta_covariance
    if isinstance(
        given, GeneralizedFit
    ):  # the covariance includes the uncertainty of the variances
        drawn = beta @ _between(fit.scaled_beta_covariance, given.scaled_beta_covariance)
    else:
        drawn = beta
    effects = []
    found = evaluation.factorisation.reduce(scaled.levels).cross() if scaled.levels else []
    zipped = zip(
        evaluation.lambdas,
        evaluation.cross_of_levels,
        fit.problem.of_levels(found),
        model.random_maps,
        responses.effects,
        strict=True,
    )
    for lam, cross, of_responses, random_map, true in zipped:
        score = of_responses - np.einsum("apl,rp->arl", cross[:, :p], drawn)
        root = random_map @ (lam @ lam.T) / model.response_scale
        modes = (root @ score.reshape(len(score), -1)).reshape(true.shape)
        effects.append((modes - true).transpose(1, 2, 0))
    to_fixed = model.to_raw[list(fit.spec.fixed), :-1] / model.response_scale
    return drawn @ to_fixed.T, effects


def _between(covariance: FloatArray, wanted: FloatArray) -> FloatArray:
    """Return the map that gives draws, (R, p), with one covariance another one, (p, p)."""
    lower = np.linalg.cholesky(covariance)
    values, vectors = np.linalg.eigh(wanted)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return np.asarray(np.linalg.solve(lower.T, root.T))
