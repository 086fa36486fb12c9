"""Simulation tests of residuals: dispersion, zeros, outliers, uniformity."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import special

from skmixed.core.fit import Fit
from skmixed.core.generalized.after_fit.other_responses import predictors_given
from skmixed.core.generalized.after_fit.row_residuals import (
    check_whole,
    pearson_residuals,
    probabilities,
)
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, generator_of
from skmixed.inference.fitted import (
    MixedFit,
    design_of,
    determined_mixed_fit_of,
    formula_of,
    snapshot,
)
from skmixed.inference.residuals import marginal_distribution
from skmixed.inference.table import Table

_DRAWN_AT_ONCE = 2e6  # responses: 16 MB
Alternative = Literal["two-sided", "greater", "less"]


def residual_tests(
    model: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    *,
    alternative: Alternative = "two-sided",
    n_samples: int = 250,
    random_state: Any = None,
) -> Table:
    """Test residuals for dispersion, excess zeros, outliers and uniformity by simulation.

    The tests compare the data with simulations from the fitted model, in the manner of DHARMa. For
    pictures use `skmixed.display.ResidualsDisplay`.

    Read more in the user guide: :doc:`/guide/generalized`.

    Parameters
    ----------
    model : MixedLinearRegressor, MixedClassifier or MixedGeneralizedRegressor
        A fitted mixed model.
    X, y, sample_weight, groups : array-like
        The training data, as passed to ``fit``, or new data with known levels. Weights are numbers
        of trials, or exposures of rates. After `lmer`, `glmer`, `clmm` or `nlmer` the data frame X
        is enough: y and the weights, such as trials, are read from it.
    alternative : {"two-sided", "greater", "less"}, default="two-sided"
        Alternative hypothesis: any departure, too much dispersion, zeros and outliers, or too
        little. It does not apply to the test of uniformity.
    n_samples : int, default=250
        Number of simulations; p-values are at least 1 / (`n_samples` + 1).
    random_state : int, RandomState instance, Generator or None, default=None
        Seed of the random number generator; pass an int for reproducible results.

    Returns
    -------
    Table
        Columns observed, expected (the mean of the simulations), ratio and p_value. The row
        dispersion is the sum of squared Pearson residuals divided by its degrees of freedom; zeros,
        for counts and proportions, their number; uniformity the Kolmogorov-Smirnov distance of the
        quantile residuals from the uniform distribution. A linear model has, instead of zeros,
        outliers: the number of responses beyond the quantiles 1 / (`n_samples` + 1) and 1 minus
        this.

    Raises
    ------
    TypeError
        For nonlinear and Bayesian models.
    ValueError
        For invalid rows, fractional responses where only whole numbers are possible, unknown
        levels, and weights that count rows.

    See Also
    --------
    residuals : The residuals themselves.
    skmixed.display.ResidualsDisplay : Residual plots.

    Notes
    -----
    For a linear model each simulation draws new random effects and residuals, which is DHARMa's
    default, and quantile residuals are those over all groups: rows of a group are dependent in the
    simulations too. The residual variance is estimated, so only the form of the dispersion is
    tested.

    For a generalized model each simulation draws random effects and responses from the fitted
    model, and finds the conditional modes for these responses at the estimated coefficients and
    variances. Residuals are those at these modes, so the shrinkage of residuals by fitted modes is
    the same in data and simulations. The number of zeros is judged by its distance from that
    expected at the modes. Coefficients are not re-estimated; the degrees of freedom of the
    dispersion allow for this.

    An estimated dispersion, as in the negative binomial and gamma families, has adapted to the
    data, so only its form is tested. Binary responses cannot be over-dispersed, and their zeros are
    fitted: only uniformity is tested.

    References
    ----------
    .. [1] Hartig, F. (2022). DHARMa: residual diagnostics for hierarchical (multi-level / mixed)
       regression models. R package, https://CRAN.R-project.org/package=DHARMa.

    Examples
    --------
    >>> import numpy as np
    >>> from skmixed import MixedGeneralizedRegressor
    >>> from skmixed.inference import residual_tests
    >>> rng = np.random.default_rng(0)
    >>> X = np.repeat(np.arange(20), 10)[:, None]
    >>> y = rng.negative_binomial(2, 0.4, 200)
    >>> model = MixedGeneralizedRegressor(group_features=[0]).fit(X, y)
    >>> tests = residual_tests(model, X, y, random_state=0).to_frame()
    >>> bool(tests.loc["dispersion", "p_value"] < 0.01)
    True
    """
    if alternative not in ("two-sided", "greater", "less"):
        raise ValueError(f"alternative={alternative!r} is not 'two-sided', 'greater' or 'less'")
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples} must be at least 1")
    model = snapshot(model)
    fit = determined_mixed_fit_of(model)
    design_of(model)  # a bare fit has none
    observed = model._observed_rows(X, y, sample_weight, groups)
    sizes = _drawn_weights(fit, observed)
    generator = generator_of(random_state)
    n = len(observed.y)

    def simulated() -> Iterator[FloatArray]:
        size = int(max(1, min(n_samples, _DRAWN_AT_ONCE // n)))
        for first in range(0, n_samples, size):
            drawn = model.simulate(
                X,
                groups,
                n_samples=min(size, n_samples - first),
                random_state=generator,
                **({} if sizes is None else {"sample_weight": sizes}),
            )
            yield from observed.coded(drawn).T

    if isinstance(fit, Fit):
        edge = 1.0 / (n_samples + 1)
        linear = np.array(list(_linear_statistics(fit, observed, simulated(), edge)))
        return _linear_tested(linear, alternative, formula_of(model))
    found = np.array(list(_statistics(fit, observed, sizes, simulated(), generator)))
    return _tested(fit, observed.y, sizes, found, alternative, formula_of(model))


def _drawn_weights(fit: MixedFit, observed: Any) -> FloatArray | None:
    """Return the weights that responses are drawn with, (n,): trials, exposures or precisions.

    Raises ValueError for weights that count rows, and responses that the family cannot have.
    """
    weights: FloatArray | None = observed.weights
    if isinstance(fit, Fit):
        sizes = weights if fit.spec.weighting == "precision" else None
    else:
        fit.mean_family.check(observed.y, weights)
        sizes = fit.mean_family.sizes(observed.y, weights)
        check_whole(fit.mean_family, observed.y, sizes)
    if sizes is None and weights is not None and (weights != 1.0).any():
        raise ValueError(
            "sample_weight counts rows in this model, and tied rows are not simulated together: "
            "repeat the rows instead of weighting them"
        )
    return sizes


def _linear_statistics(
    fit: Fit,
    observed: Any,  # `ObservedRows`
    simulated: Iterator[FloatArray],
    edge: float,  # probability beyond which a response is an outlier
) -> Iterator[tuple[float, float, float]]:
    """Yield dispersion, outliers and distance from uniformity, as `_statistics`."""
    means, deviations = marginal_distribution(fit, observed)
    n = len(means)
    degrees = n - fit.rank
    for y in chain([observed.y], simulated):
        scaled = (y - means) / deviations
        between = special.ndtr(scaled)
        outliers = float((np.minimum(between, special.ndtr(-scaled)) < edge).sum())
        dispersion = float(np.square(scaled).sum()) / max(degrees, 1)
        yield dispersion, outliers, _distance_from_uniform(between)
        degrees = n  # coefficients are estimated from the observed response alone


def _distance_from_uniform(values: FloatArray) -> float:
    """Return the largest distance of an empirical distribution function from the uniform one."""
    steps, values = np.arange(len(values) + 1) / len(values), np.sort(values)
    return float(max((steps[1:] - values).max(), (values - steps[:-1]).max()))


def _linear_tested(found: FloatArray, alternative: Alternative, formula: str) -> Table:
    """Compare the statistics of a linear model, the data's first, with those simulated."""
    data, drawn = found[0], found[1:]
    ways: dict[str, Alternative] = {
        "dispersion": alternative,
        "outliers": alternative,
        "uniformity": "greater",
    }
    rows = {
        name: (data[place], drawn[:, place].mean(), _p_value(data[place], drawn[:, place], way))
        for place, (name, way) in enumerate(ways.items())
    }
    notes = (
        f"{len(drawn)} simulations with new random effects, alternative: {alternative}.",
        "The residual variance is estimated: only the form of the dispersion is tested.",
    )
    return _table_of(rows, formula, notes)


def _table_of(
    rows: dict[str, tuple[float, float, float]], formula: str, notes: tuple[str, ...]
) -> Table:
    """Tabulate what was observed and expected, and p-values."""
    frame = pd.DataFrame.from_dict(rows, "index", columns=["observed", "expected", "p_value"])
    expected = frame["expected"].where(frame["expected"] > 0.0)
    frame.insert(2, "ratio", frame["observed"] / expected)
    return Table(f"Residual tests: {formula}", frame, notes)


def _statistics(
    fit: GeneralizedFit,
    observed: Any,  # `ObservedRows`
    sizes: FloatArray | None,
    simulated: Iterator[FloatArray],
    generator: np.random.Generator,
) -> Iterator[tuple[float, float, float, float]]:
    """Yield dispersion, zeros, zeros beyond those expected, and distance from uniformity.

    The first are those of the observed response, then follow the simulated ones.
    """
    family, phi, n = fit.mean_family, fit.phi, len(observed.y)
    rows, base = observed.rows_at_known_levels(), observed.coefficient_part()
    degrees = n - fit.rank
    for y, eta in predictors_given(fit, rows, base, chain([observed.y], simulated)):
        squares = np.square(pearson_residuals(family, y, family.mean(eta), sizes, phi))
        below, upto = probabilities(family, y, sizes, phi, eta, np.zeros(n))
        distance = _distance_from_uniform(below + generator.random(n) * (upto - below))
        zeros = float((y == 0.0).sum())
        beyond = zeros - float(family.cdf(np.zeros(n), eta, sizes, phi).sum())
        yield float(squares.sum() / max(degrees, 1)), zeros, beyond, distance
        degrees = n  # coefficients are estimated from the observed response alone


def _tested(
    fit: GeneralizedFit,
    y: FloatArray,
    sizes: FloatArray | None,
    found: FloatArray,
    alternative: Alternative,
    formula: str,
) -> Table:
    """Compare the statistics of the data, the first row of `found`, with those simulated."""
    data, drawn = found[0], found[1:]
    means = drawn.mean(axis=0)
    dispersion, zeros, beyond, distance = range(4)
    rows = {}
    is_single = fit.mean_family.counts_trials and (sizes is None or bool((sizes == 1.0).all()))
    if not is_single:
        p = _p_value(data[dispersion], drawn[:, dispersion], alternative)
        rows["dispersion"] = (data[dispersion], means[dispersion], p)
    if not is_single and fit.mean_family.steps(1, None) is not None:
        expected = data[zeros] - data[beyond] + means[beyond]
        p = _p_value(data[beyond], drawn[:, beyond], alternative)
        rows["zeros"] = (data[zeros], expected, p)
    p = _p_value(data[distance], drawn[:, distance], "greater")
    rows["uniformity"] = (data[distance], means[distance], p)
    notes = [f"{len(drawn)} simulations, alternative: {alternative}."]
    if is_single:
        notes.append("Binary responses have no tests of dispersion and zeros.")
    elif fit.mean_family.n_dispersions:
        notes.append("The dispersion is estimated: only its form is tested.")
    return _table_of(rows, formula, tuple(notes))


def _p_value(value: float, drawn: FloatArray, alternative: Alternative) -> float:
    """Return the proportion of draws at least as extreme as a value, which itself counts as one."""
    upper = (1 + int((drawn >= value).sum())) / (len(drawn) + 1)
    lower = (1 + int((drawn <= value).sum())) / (len(drawn) + 1)
    if alternative == "two-sided":
        return min(1.0, 2.0 * min(lower, upper))
    return upper if alternative == "greater" else lower
