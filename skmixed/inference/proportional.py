"""Test of the proportional-odds assumption.

Each threshold defines a binary model, of the categories up to it against those above, with the same
random effects. If odds are proportional, the coefficients of all of these estimate those of the
cumulative model; how far apart they then fall is found by simulating from it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from skmixed.core.families.catalogue import BINOMIAL
from skmixed.core.generalized.after_fit.redrawn import (
    Refitted,
    draw_observations,
    one_response_a_row,
)
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, generator_of
from skmixed.inference.fitted import (
    check_maximum,
    coefficient_names,
    determined_mixed_fit_of,
    formula_of,
    observations_of_fit,
    snapshot,
    stated_places,
    threshold_names,
)
from skmixed.inference.replicators import in_blocks
from skmixed.inference.table import Table, TabularResult

_IN_BLOCK = 5  # data sets per random generator: small enough to spread a hundred over threads


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ProportionalOdds(TabularResult):
    """Coefficients at each threshold, with tests of proportional odds.

    Parameters
    ----------
    table : Table
        A row for each fixed column: its coefficient in the cumulative model, those at the
        thresholds, and a test that the latter are equal: statistic (F), num_df and p_value.
    statistic : float
        F statistic for all columns together.
    num_df, df : int
        Its numerator and denominator degrees of freedom.
    p_value : float
        Its p-value.

    See Also
    --------
    proportional_odds : The function that returns it.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmixed import clmm
    >>> from skmixed.inference import proportional_odds
    >>> rng = np.random.default_rng(0)
    >>> data = pd.DataFrame({"x": rng.normal(size=300)})
    >>> data["y"] = np.digitize(data["x"] + rng.logistic(size=300), [-1.0, 1.0])
    >>> proportional_odds(clmm("y ~ x", data), data, data["y"], n_samples=50, random_state=0).num_df
    1
    """

    table: Table
    statistic: float
    num_df: int
    df: int
    p_value: float

    def _table(self) -> Table:
        return self.table


def proportional_odds(
    model: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    *,
    n_samples: int = 100,
    random_state: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> ProportionalOdds:
    """Test the proportional-odds assumption of an ordinal mixed model.

    It compares the coefficients of the binary models at the thresholds between categories, which
    are equal if odds are proportional.

    Read more in the user guide: :doc:`/guide/ordinal`.

    Parameters
    ----------
    model : OrdinalMixedClassifier
        A fitted model with three or more categories.
    X, y, sample_weight, groups : array-like
        The training data, as passed to ``fit``; the model does not store it. After `lmer`, `glmer`,
        `clmm` or `nlmer` the data frame X is enough: y and the weights, such as trials, are read
        from it.
    n_samples : int, default=100
        Number of data sets simulated from the model.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed of the random number generator; pass an int for reproducible results.
    n_jobs : int or None, default=None
        Number of threads; None means one, and -1 one per processor. Results do not depend on it.
    verbose : int, default=0
        Whether to show a progress bar, if 1 or more.

    Returns
    -------
    ProportionalOdds
        The coefficients of a binary model at each threshold, of the categories above against those
        up to it, beside those of `model`, with tests for each column and for all together. NaN if
        the categories on the two sides of a threshold are separated, so that the coefficient is
        infinite.

    Raises
    ------
    TypeError
        If the model is not an ordinal one.
    ValueError
        For two categories, no fixed columns, infinite coefficients, rows that are not the training
        data, fractional weights, and too few data sets for a test.

    See Also
    --------
    OrdinalMixedClassifier : The model.
    compare_models : Likelihood-ratio tests, for other columns; compare links by ``aic_``.

    Notes
    -----
    In R, without random effects: ``brant::brant`` and ``nominal_test`` of ordinal.

    The binary models have the link, random effects and quadrature of `model`. They share their
    rows, so their coefficients are correlated. The covariance of the differences, and their mean
    where the approximation is biased, are estimated by refitting all models to data simulated from
    `model`. With R data sets, Hotelling's statistic gives an F test with q and R - q degrees of
    freedom. With the links "probit" and "cloglog" the test is one of parallel lines. In large data
    a small p-value may reflect differences too small to matter: look at the coefficients.

    References
    ----------
    .. [1] Brant, R. (1990). Assessing proportionality in the proportional odds model for ordinal
       logistic regression. Biometrics 46(4), 1171-1178, :doi:`10.2307/2532457`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmixed import clmm
    >>> from skmixed.inference import proportional_odds
    >>> rng = np.random.default_rng(0)
    >>> data = pd.DataFrame({"x": rng.normal(size=600), "g": np.arange(600) % 30})
    >>> latent = data["x"] + rng.normal(size=30)[data["g"]] + rng.logistic(size=600)
    >>> data["y"] = np.digitize(latent, [-1.0, 1.0])
    >>> model = clmm("y ~ x + (1 | g)", data)
    >>> found = proportional_odds(model, data, data["y"], n_samples=50, random_state=0)
    >>> found.to_frame().columns.tolist()
    ['proportional', '0|1', '1|2', 'statistic', 'num_df', 'p_value']
    """
    model = snapshot(model)
    fit = determined_mixed_fit_of(model)
    if not isinstance(fit, GeneralizedFit) or not fit.has_thresholds:
        raise TypeError(
            "proportional_odds needs an OrdinalMixedClassifier, as returned by clmm, not a "
            f"{type(model).__name__}"
        )
    places = [place for place in stated_places(fit) if place in fit.kept]
    if fit.family.n_dispersions == 0 or not places:
        what = "two categories have one threshold" if places else "there are no fixed columns"
        raise ValueError(f"{what}, so there are no coefficients to compare between thresholds")
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples} must be at least 1")
    check_maximum(fit, "a comparison of thresholds")
    observations = one_response_a_row(
        observations_of_fit(model, X, y, sample_weight, groups, "a comparison of thresholds")
    )
    splits = _Splits.of(fit, observations)
    found = splits.coefficients(observations)[:, places]
    blocks = in_blocks(
        partial(splits.drawn_coefficients, fit, observations, places),
        n_samples,
        _IN_BLOCK,
        generator_of(random_state),
        n_jobs=n_jobs,
        name="data sets" if verbose else None,
    )
    frame, whole = _tested(fit, places, found, np.concatenate(blocks))
    if np.isnan(whole[3]) and not np.isnan(found).any(axis=0).all():
        raise ValueError(
            f"n_samples={n_samples} is too small: {whole[1]} differences are tested, and only "
            f"{whole[2] + whole[1]} data sets could be used"
        )
    line = f"All columns: F({whole[1]}, {whole[2]}) = {whole[0]:.5g}, p = {whole[3]:.4g}"
    note = f"Based on {n_samples} data sets simulated from the model."
    return ProportionalOdds(
        Table(f"Coefficients at thresholds: {formula_of(model)}", frame, (line, note)), *whole
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Splits:
    """The rows of a cumulative model as those of binary models, one per threshold."""

    parts: tuple[Observations, ...]  # (J - 1,); a hit is a category up to the threshold
    quadrature: int

    @classmethod
    def of(cls, fit: GeneralizedFit, observations: Observations) -> _Splits:
        """Make them; the offset acts against a hit."""
        family = BINOMIAL[fit.family.link]()
        rows, offset = observations.given, observations.offset
        against = None if offset is None else -offset
        parts = []
        for threshold in range(len(fit.threshold_names)):
            columns = rows.columns.copy()
            response = columns[:, observations.layout.response]
            columns[:, observations.layout.response] = response <= threshold
            split = replace(rows, columns=columns)
            parts.append(Observations.of(observations.layout, split, fit.spec, family, against))
        return cls(tuple(parts), fit.quadrature)

    def coefficients(self, observations: Observations) -> FloatArray:
        """Return the coefficients, (J - 1, n_fixed), given rows of categories; NaN if infinite."""
        y = observations.given.columns[:, observations.layout.response]
        found = []
        for threshold, part in enumerate(self.parts):
            refitted = Refitted.of(
                part.with_response((y <= threshold).astype(np.float64)), self.quadrature
            )
            beta = refitted.beta
            found.append(np.full(len(part.spec.fixed), np.nan) if beta is None else -beta)
        return np.array(found)

    def drawn_coefficients(
        self,
        fit: GeneralizedFit,
        observations: Observations,
        places: list[int],
        size: int,
        generator: np.random.Generator,
    ) -> FloatArray:
        """Return the coefficients in data drawn from the fit, (size or fewer, J - 1, p)."""
        drawn = draw_observations(fit, observations, size, generator)
        found = [self.coefficients(each)[:, places] for each in drawn if each is not None]
        return np.reshape(found, (-1, len(self.parts), len(places)))


def _tested(
    fit: GeneralizedFit, places: list[int], found: FloatArray, replicates: FloatArray
) -> tuple[pd.DataFrame, tuple[float, int, int, float]]:
    """Return the table of columns with their tests, and the test of all together.

    See `_hotelling` for `found` and `replicates`.
    """
    names = coefficient_names(fit)
    frame = pd.DataFrame(
        {
            "proportional": fit.beta[places],
            **dict(zip(threshold_names(fit), found, strict=True)),
        },
        index=[names[place] for place in places],
    )
    tests = [_hotelling(found[:, [n]], replicates[:, :, [n]]) for n in range(len(places))]
    frame["statistic"] = [test[0] for test in tests]
    frame["num_df"] = [test[1] for test in tests]
    frame["p_value"] = [test[3] for test in tests]
    determined = ~np.isnan(found).any(axis=0)
    return frame, _hotelling(found[:, determined], replicates[:, :, determined])


def _hotelling(found: FloatArray, replicates: FloatArray) -> tuple[float, int, int, float]:
    """Return F, its degrees of freedom and the p-value, that coefficients are equal.

    `found` are those at all thresholds, (J - 1, p), and `replicates`, (R, J - 1, p), those in
    simulated data. F and the p-value are NaN if a coefficient is, or if there are too few
    replicates.
    """
    difference = np.diff(found, axis=0).ravel()
    drawn = np.diff(replicates, axis=1).reshape(len(replicates), -1)
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    n, q = len(drawn), len(difference)
    left = n - q
    if left < 1 or n < 2 or np.isnan(difference).any() or not q:
        return np.nan, q, left, np.nan
    distance = difference - drawn.mean(axis=0)
    covariance = np.atleast_2d(np.cov(drawn, rowvar=False))
    square = float(distance @ np.linalg.solve(covariance, distance)) * n / (n + 1.0)
    statistic = square * left / (q * (n - 1.0))
    return statistic, q, left, float(stats.f.sf(statistic, q, left))
