"""Whether ordered categories have the same coefficients at every threshold.

Behind every threshold lies a model of two classes, the categories up to it and those above, with
the same random effects. If odds are proportional, the coefficients of all of them estimate those of
the cumulative model; how far apart they then fall is seen in data drawn from it.
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

_IN_BLOCK = 5  # data sets with a random generator of their own: threads get shares of a hundred


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ProportionalOdds(TabularResult):
    """Coefficients at every threshold, and tests that they are the same.

    Parameters
    ----------
    table : Table
        A row a fixed column: its coefficient in the cumulative model, those at the thresholds, and
        the test of the latter, statistic (F), num_df and p_value.
    statistic : float
        F of all columns together.
    num_df, df : int
        Its degrees of freedom.
    p_value : float
        Probability of a larger one.

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
    """Test whether coefficients are the same at every threshold between ordered categories.

    Parameters
    ----------
    model : OrdinalMixedClassifier
        Fitted, of three categories or more.
    X, y, sample_weight, groups : array-like
        The rows of the fit, as given to `fit`. After `lmer`, `glmer`, `clmm` or `nlmer` the data
        frame X is enough: y and the weights, such as trials, are read from it.
    n_samples : int, default=100
        Number of data sets that are drawn from the model.
    random_state : None, int, RandomState or Generator, default=None
        Seed of these, which do not depend on `n_jobs`.
    n_jobs : int or None, default=None
        Number of threads; -1 is one a processor.
    verbose : int, default=0
        Show a progress bar if 1 or more.

    Returns
    -------
    ProportionalOdds
        The coefficients of a model of two classes at each threshold, the categories above against
        those up to it, beside those of `model`, and tests that they are the same: of each column
        and of all together. NaN where the categories on both sides of a threshold are separated,
        so that there is no coefficient.

    Raises
    ------
    TypeError
        For a model of other responses than ordered categories.
    ValueError
        For two categories, no fixed columns, infinite coefficients, rows that are not those of the
        fit, weights that are no numbers of rows, and too few data sets for a test.

    See Also
    --------
    OrdinalMixedClassifier : The model.
    compare_models : Other columns, by likelihood-ratio tests; other links by `aic_`.

    Notes
    -----
    In R, without random effects: ``brant::brant`` and ``nominal_test`` of ordinal. The models at
    the thresholds have the link, the random effects and the quadrature of `model`. They share their
    rows, so that their coefficients depend on each other: the covariance of the differences, and
    their mean where an approximation is not free of bias, are those in data drawn from the fitted
    model, to which all are fitted again. From R data sets Hotelling's statistic gives an F of q and
    R - q degrees of freedom. With the links "probit" and "cloglog" it is the same assumption of
    parallel lines. A small p-value in many rows may belong to differences that do not matter: look
    at the coefficients.

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
            "proportional odds are those of categories in an order: an OrdinalMixedClassifier is "
            f"needed, as clmm returns it, not a {type(model).__name__}"
        )
    places = [place for place in stated_places(fit) if place in fit.kept]
    if fit.family.n_dispersions == 0 or not places:
        what = "two categories have one threshold" if places else "there are no fixed columns"
        raise ValueError(f"{what}, so that nothing can differ between thresholds")
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples}: at least one data set is needed")
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
            f"n_samples={n_samples} is too few: {whole[1]} differences are tested, and "
            f"{whole[2] + whole[1]} data sets could be used"
        )
    line = f"All columns: F({whole[1]}, {whole[2]}) = {whole[0]:.5g}, p = {whole[3]:.4g}"
    note = f"Differences by {n_samples} data sets drawn from the model."
    return ProportionalOdds(
        Table(f"Coefficients at thresholds: {formula_of(model)}", frame, (line, note)), *whole
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Splits:
    """The rows of a cumulative model as those of models of two classes, one a threshold."""

    parts: tuple[Observations, ...]  # (J - 1,); a hit is a category up to the threshold
    quadrature: int

    @classmethod
    def of(cls, fit: GeneralizedFit, observations: Observations) -> _Splits:
        """Make them; the offset counts against a hit."""
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
        """Return those at some places in data drawn from the fit, (size or fewer, J - 1, p)."""
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
    """Return F, its degrees of freedom and the p-value, that coefficients are the same.

    `found` are those at all thresholds, (J - 1, p), and `replicates`, (R, J - 1, p), those of drawn
    data. NaN are F and the p-value where a coefficient is, or there are too few replicates.
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
