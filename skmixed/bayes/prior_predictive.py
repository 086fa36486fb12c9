"""Responses drawn from the prior predictive distribution."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from skmixed.bayes.memory import check_fits
from skmixed.bayes.priors import ModelPrior, Prior, PriorName
from skmixed.bayes.sampling import checked_fit
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, generator_of
from skmixed.core.rows.linear_predictor import z_b
from skmixed.design.grouping import numbers_to_draw
from skmixed.inference.fitted import snapshot


def prior_predict(
    model: Any,
    X: Any,
    groups: Any = None,
    *,
    prior: Prior | PriorName = "weak",
    n_draws: int = 100,
    random_state: Any = None,
) -> FloatArray:
    """Draw responses from the prior predictive distribution.

    Use it to check priors before looking at the data: impossible values, such as negative times,
    show that a prior does not say what was meant. Weak priors are wide on purpose and produce some.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    model : estimator
        A fitted `MixedLinearRegressor`. It provides the columns, and the data for priors scaled to
        them; its estimates are not used.
    X : array-like or data frame of shape (n, n_features)
        Rows to predict, as for ``predict``.
    groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
        Group labels of the rows, if they were passed to ``fit`` as `groups`.
    prior : {"weak", "rstanarm"} or Prior, default="weak"
        Prior distributions; see `sample`.
    n_draws : int, default=100
        Number of draws.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed of the random number generator; pass an int for reproducible results.

    Returns
    -------
    ndarray of shape (n, n_draws)
        Responses in units of y. Each draw has new coefficients, variances and random effects; rows
        with the same label share an effect.

    Raises
    ------
    ValueError
        If a prior is improper, and if labels are missing.
    MemoryError
        If the draws need more than half of the machine's memory.

    See Also
    --------
    Prior : The prior distributions.
    posterior_predictive_check : The same given the data.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.bayes import HalfNormal, Normal, Prior, prior_predict
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
    >>> prior = Prior(
    ...     scales=HalfNormal(20),
    ...     coef={"(Intercept)": Normal(300, 50), "Days": Normal(0, 10)},
    ...     sigma=HalfNormal(30),
    ... )
    >>> prior_predict(model, X, prior=prior, random_state=0).shape
    (180, 100)
    """
    if not isinstance(n_draws, Integral) or isinstance(n_draws, bool) or n_draws < 1:
        raise ValueError(f"n_draws={n_draws!r} must be a whole number of at least 1")
    model = snapshot(model)
    fit = checked_fit(model)
    distributions = ModelPrior.of(fit, prior)
    if not distributions.is_proper:
        raise ValueError(
            f"prior={prior!r} is improper, so there is nothing to draw from: use proper priors"
        )
    source, rows = model._state().predictor.read(model, X, groups, "all", all_columns=True)
    check_fits(
        3.0 * len(rows.columns) * int(n_draws),  # means, noise and their sum
        f"{n_draws} draws of {len(rows.columns)} rows",
        "Draw fewer, or use fewer rows at a time",
    )
    generator = generator_of(random_state)
    phi = distributions.draw(int(n_draws), generator)
    drawn = np.zeros((len(rows.columns), int(n_draws)))
    places = [fit.spec.fixed[kept] for kept in fit.kept]
    drawn += rows.columns[:, places] @ distributions.coef.draw(int(n_draws), generator).T
    if rows.offset is not None:
        drawn += rows.offset[:, None]
    roots = distributions.parametrization.roots(phi)
    drawn += _random_part(fit, source, rows.columns, roots, generator)
    return drawn + np.exp(phi[:, -1]) * generator.standard_normal(drawn.shape)


def _random_part(
    fit: Fit, source: Any, columns: FloatArray, roots: list[FloatArray], generator: Any
) -> FloatArray:
    """Draw Z b of rows, (n, R), with R roots of covariances, (R, k, k), of each used factor."""
    codes = [np.empty(0, dtype=np.intp) for _ in fit.products.factors]
    effects = []
    for factor, root in zip(fit.spec.used_factors, roots, strict=True):
        key = fit.products.factors[factor].index.key
        if key:
            codes[factor] = numbers_to_draw(source.groups, key)
        else:  # a single level holds all rows
            codes[factor] = np.zeros(len(columns), dtype=np.intp)
        n_levels = int(codes[factor].max(initial=-1)) + 1
        deviates = generator.standard_normal((n_levels, len(root), root.shape[1]))
        effects.append(np.einsum("rab,lrb->lar", root, deviates))
    return z_b(fit.spec, columns, codes, effects)
