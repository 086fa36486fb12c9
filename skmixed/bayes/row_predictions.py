"""Posterior predictions of a linear model: moments, quantiles and draws.

Given phi the predictor of a row is normal, so over phi it is a mixture of normal distributions.
Each row is computed from itself alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from skmixed.bayes.memory import check_fits
from skmixed.bayes.posterior_draws import PosteriorDraws, drawn_effects
from skmixed.core.batch.error_sums import NeedsRowsError
from skmixed.core.given_parameters import Posterior
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.posterior.conditional import AverageSoFar
from skmixed.core.rows.linear_predictor import x_beta, z_b
from skmixed.core.rows.prediction_errors import mean_variances
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Rows
from skmixed.design.grouping import number_levels

_BISECTIONS = 50  # of a bracket of some standard deviations: to the last digits
_MIXTURE_CELLS = 2**20  # rows times nodes at a time: 8 MB
_MOMENTS_CELLS = 2e7  # rows times nodes whose moments are held at once: 320 MB
_SEEDS_OF_EFFECTS = 2**31  # for effects drawn in one call


def predictor_variances(
    draws: PosteriorDraws,
    rows: Rows,
    wanted: tuple[bool, ...],
    products: CrossProducts | None,
) -> FloatArray:
    """Return posterior variances of X beta + Z b, (n,).

    Rows are as in `mean_variances`; `products` are other sums that the effects condition on.
    """
    nodes, average = draws.nodes.for_moments(draws.fit), AverageSoFar()
    for posterior in nodes.posteriors(draws.fit, products):
        means = _mean(posterior, rows, wanted)[:, None]
        variances = mean_variances(posterior, rows, wanted)[:, None, None]
        average.add(1.0 / len(nodes), means, variances)
    return np.maximum(average.average().covariance[:, 0, 0], 0.0)


def predictor_quantiles(
    draws: PosteriorDraws,
    rows: Rows,
    wanted: tuple[bool, ...],
    products: CrossProducts | None,
    probabilities: FloatArray,
    *,
    observation: bool,
) -> FloatArray:
    """Return quantiles of X beta + Z b, (n, m), or, with `observation`, of responses.

    Batches of rows are taken through all nodes.
    """
    n, size = len(rows.columns), max(1, int(_MOMENTS_CELLS / len(draws.nodes)))
    found = np.empty((n, len(probabilities)))
    for start in range(0, n, size):
        chosen = np.arange(start, min(start + size, n))
        some, means, variances = rows.take(chosen), [], []
        for posterior in draws._posteriors(products):
            means.append(_mean(posterior, some, wanted))
            noise = posterior.sigma2 if observation else 0.0
            variances.append(mean_variances(posterior, some, wanted) + noise)
        found[chosen] = mixture_quantiles(np.stack(means), np.stack(variances), probabilities)
    return found


def _mean(posterior: Posterior, rows: Rows, wanted: tuple[bool, ...]) -> FloatArray:
    fixed = x_beta(posterior.spec, rows.columns, posterior.beta)
    return fixed + z_b(posterior.spec, rows.columns, rows.codes, posterior.modes, wanted)


def mixture_quantiles(
    means: FloatArray, variances: FloatArray, probabilities: FloatArray
) -> FloatArray:
    """Return quantiles, (n, m), of equal mixtures of normal distributions, (S, n)."""
    n = means.shape[1]
    found = np.empty((n, len(probabilities)))
    size = max(1, _MIXTURE_CELLS // len(means))
    for start in range(0, n, size):
        chosen = slice(start, start + size)
        for place, probability in enumerate(probabilities):
            found[chosen, place] = _quantile(
                means[:, chosen], np.sqrt(variances[:, chosen]), float(probability)
            )
    return found


def _quantile(means: FloatArray, deviations: FloatArray, probability: float) -> FloatArray:
    """Bisect between the lowest and highest quantile of the components."""
    each = means + ndtri(probability) * deviations
    low, high = each.min(axis=0), each.max(axis=0)
    deviations = np.maximum(deviations, np.finfo(float).tiny)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        is_low = ndtr((middle - means) / deviations).mean(axis=0) < probability
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    return np.asarray((low + high) / 2.0)


def drawn_responses(
    draws: PosteriorDraws,
    source: Any,
    predicted: Any,  # `PredictionRows`, all factors wanted
    products: CrossProducts | None,
    n_samples: int,
    generator: np.random.Generator,
    *,
    precisions: FloatArray | None = None,  # (n,), one for every row by default
) -> FloatArray:
    """Draw responses of rows, (n, n_samples): parameters and effects of levels given the data.

    Unknown levels have new effects, shared by rows with the same label. Raises ValueError for
    several factors with too many random effects, and MemoryError for too many draws.
    """
    check_fits(
        3.0 * len(predicted.columns) * n_samples,  # means, noise and their sum
        f"{n_samples} draws of {len(predicted.columns)} rows",
        "Draw fewer, or use fewer rows at a time",
    )
    phi, beta, _ = chosen_draws(draws, n_samples, generator)
    seed = int(generator.integers(_SEEDS_OF_EFFECTS))
    known = drawn_effects(draws, phi, beta, seed, products)
    means = drawn_predictors(draws, source, predicted, phi, beta, known.of, generator)
    noise = np.exp(phi[:, -1]) * generator.standard_normal(means.shape)
    if precisions is not None:
        noise /= np.sqrt(precisions)[:, None]
    return np.asarray(means + noise)


def chosen_draws(
    draws: PosteriorDraws, n_samples: int, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return phi, (n_samples, d), and coefficients of some draws, and which they are."""
    total = draws.n_chains * draws.n_draws
    chosen = generator.choice(total, n_samples, replace=n_samples > total)
    phi, beta = draws.phi.reshape(total, -1), draws.coef.reshape(total, -1)
    return phi[chosen], beta[chosen], chosen


def drawn_predictors(
    draws: PosteriorDraws,
    source: Any,
    predicted: Any,  # `PredictionRows`, all factors wanted
    phi: FloatArray,  # (R, d)
    beta: FloatArray,  # (R, n_fixed)
    known: Callable[[int, IntArray], FloatArray],  # effects of levels, as `EffectDraws.of`
    generator: np.random.Generator,
) -> FloatArray:
    """Draw X beta + Z b of rows, including offsets, (n, R); see `drawn_responses`."""
    spec, columns, n_samples = draws.fit.spec, predicted.columns, len(phi)
    means = columns[:, list(spec.fixed)] @ beta.T
    if predicted.offset is not None:
        means += predicted.offset[:, None]
    roots = draws._parametrization.roots(phi)
    codes, effects = list(predicted.codes), []
    for position, (factor, root) in enumerate(zip(spec.used_factors, roots, strict=True)):
        levels, own = np.unique(codes[factor], return_inverse=True)
        of_levels = np.zeros((len(levels), root.shape[1], n_samples))
        felt = levels >= 0
        if felt.any():
            try:
                of_levels[felt] = known(position, levels[felt]).transpose(1, 2, 0)
            except NeedsRowsError:
                raise ValueError(
                    "the model has too many random effects of several factors for joint draws: "
                    "predict_interval has quantiles"
                ) from None
        own = _with_new_levels(own, codes[factor], source, predicted.indexes[factor].key)
        n_new = max(0, int(own.max(initial=-1)) + 1 - len(levels))
        deviates = generator.standard_normal((n_new, n_samples, root.shape[1]))
        new = np.einsum("rab,lrb->lar", root, deviates)
        effects.append(np.concatenate([of_levels, new]))
        codes[factor] = own
    return np.asarray(means + z_b(spec, columns, codes, effects))


def _with_new_levels(own: IntArray, codes: IntArray, source: Any, key: tuple[str, ...]) -> IntArray:
    """Assign codes after the known ones to the unknown levels of rows, by label."""
    unknown = codes < 0
    if not unknown.any():
        return own
    if any(name not in source.groups for name in key):
        numbers = np.arange(len(codes))
    else:
        numbers = number_levels(source.groups, key)
    fresh = np.unique(numbers[unknown], return_inverse=True)[1]
    found = own.copy()
    found[unknown] = int(own.max()) + 1 + fresh
    return found
