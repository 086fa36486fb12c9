"""Likelihood-ratio tests by simulation from the smaller model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from skmixed.core.linalg import FloatArray, generator_of
from skmixed.inference.fitted import formula_of, snapshot
from skmixed.inference.replicators import in_blocks
from skmixed.inference.table import Table, TabularResult
from skmixed.model_selection.changed._ratio_pairs import model_pair
from skmixed.model_selection.changed._updates import GivenRows, changed, fitted_estimator

_NO_RATIO = 1e-7  # of a ratio: below the precision of two searches, it counts as zero


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RatioBootstrap(TabularResult):
    """Likelihood ratio with its bootstrap distribution under the smaller model.

    Parameters
    ----------
    statistic : float
        Likelihood ratio: twice the difference of the log-likelihoods.
    df : int
        Number of additional parameters of the larger model.
    reference : ndarray of shape (n_samples,)
        Likelihood ratios of responses simulated from the smaller model; NaN where a model could not
        be fitted.
    title : str
        Formulas of the two models.

    See Also
    --------
    bootstrap_test : Returns it.

    Examples
    --------
    >>> import numpy as np
    >>> from skmixed.model_selection import RatioBootstrap
    >>> drawn = np.random.default_rng(0).chisquare(1, 999)
    >>> RatioBootstrap(3.84, 1, drawn).to_frame().index.tolist()
    ['LRT', 'PBtest', 'Gamma', 'Bartlett', 'F']
    """

    statistic: float
    df: int
    reference: FloatArray
    title: str = "Parametric bootstrap of a likelihood ratio"

    @property
    def p_value(self) -> float:
        """Fraction of the ratios, the observed one included, that reach the statistic.

        That of the table excludes replicates in which the larger model was no better, of which
        there are many when a variance is tested.
        """
        drawn = self.reference[np.isfinite(self.reference)]
        return float((1 + (drawn > self.statistic).sum()) / (1 + len(drawn)))

    def _table(self) -> Table:
        drawn = self.reference[np.isfinite(self.reference)]
        above = drawn[drawn > 0.0]
        n_extreme = int((above > self.statistic).sum())
        columns = ["statistic", "df", "denominator_df", "p_value"]
        rows = _p_values(self.statistic, self.df, above, n_extreme)
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        lost = len(self.reference) - len(drawn)
        note = f"{len(drawn)} replicates, {len(above)} of them positive, {n_extreme} extreme."
        notes = [note] + [f"{lost} replicates could not be fitted."] * bool(lost)
        return Table(self.title, frame, tuple(notes))


def _p_values(
    statistic: float, df: int, above: FloatArray, n_extreme: int
) -> dict[str, tuple[float, float, float, float]]:
    """Return statistic, df, denominator df and p-value of each of pbkrtest's tests.

    `above` are the positive ratios that were drawn.
    """
    nan = float("nan")
    mean = float(above.mean()) if len(above) else nan
    variance = float(above.var(ddof=1)) if len(above) > 1 else nan
    corrected = df * statistic / mean
    denominator = 2.0 * mean / (mean - 1.0) if mean != 1.0 else np.inf
    by_f = stats.f.sf(statistic / df, df, denominator) if denominator > 0.0 else nan
    gamma = stats.gamma.sf(statistic, mean**2 / variance, scale=variance / mean)
    return {
        "LRT": (statistic, df, nan, float(stats.chi2.sf(statistic, df))),
        "PBtest": (statistic, nan, nan, (1 + n_extreme) / (1 + len(above)) if len(above) else nan),
        "Gamma": (statistic, nan, nan, float(gamma)),
        "Bartlett": (corrected, df, nan, float(stats.chi2.sf(corrected, df))),
        "F": (statistic / df, df, denominator, float(by_f)),
    }


def bootstrap_test(
    larger: Any,
    smaller: Any,
    n_samples: int = 1000,
    *,
    X: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    random_state: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> RatioBootstrap:
    """Test a model against a larger one by a parametric bootstrap of the likelihood ratio.

    Parameters
    ----------
    larger : estimator
        Fitted mixed model of any kind.
    smaller : estimator or str
        Model nested in it, fitted to the same data, or a change that makes one, as in `update`:
        ``". ~ . - x"``, which requires the data.
    n_samples : int, default=1000
        Number of bootstrap replicates.
    X, y, sample_weight, groups : array-like, default=None
        The training data, as passed to `fit`. Not needed for linear models of which one has all
        columns of the other, unless there are several large factors. After `lmer`, `glmer`, `clmm`
        or `nlmer` the data frame X is enough: y and the weights, such as trials, are read from it.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed or generator of the bootstrap. Replicates do not depend on `n_jobs`.
    n_jobs : int or None, default=None
        Number of threads; None means 1, -1 all processors.
    verbose : int, default=0
        If 1 or more, show a progress bar.

    Returns
    -------
    RatioBootstrap
        Shows the p-values of pbkrtest: LRT (chi-squared), PBtest (fraction of the positive ratios
        above the observed one), Gamma (gamma distribution with their mean and variance), Bartlett
        (chi-squared, of the ratio divided by their mean) and F.

    Raises
    ------
    ValueError
        If data are required but not given, the models differ in data or kind, the larger one is not
        larger, or one has a `prior`.
    TypeError
        If a model is not a mixed model, or is a posterior.

    See Also
    --------
    skmixed.inference.compare_models : The same likelihood ratio by chi-squared.
    skmixed.inference.linear_hypothesis : F tests with small-sample degrees of freedom.

    Notes
    -----
    In R: ``PBmodcomp`` of pbkrtest. Both models are fitted by maximum likelihood. For linear
    models, cross-products are simulated rather than rows, and models with one grouping factor are
    fitted to all replicates simultaneously.

    References
    ----------
    .. [1] Halekoh, U. & Højsgaard, S. (2014). A Kenward-Roger approximation and parametric
       bootstrap methods for tests in linear mixed models: the R package pbkrtest. Journal of
       Statistical Software 59(9), :doi:`10.18637/jss.v059.i09`, section 4.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.model_selection import bootstrap_test
    >>> data = load_sleepstudy()
    >>> large = lmer("Reaction ~ Days + I(Days^2) + (Days | Subject)", data)
    >>> small = lmer("Reaction ~ Days + (Days | Subject)", data)
    >>> result = bootstrap_test(large, small, 500, random_state=0)
    >>> result.to_frame().loc[["LRT", "PBtest"], "p_value"].round(1)
    LRT       0.2
    PBtest    0.2
    Name: p_value, dtype: float64
    """
    larger = fitted_estimator(snapshot(larger))
    rows = GivenRows(X, y, sample_weight, groups, "raise")
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples}: at least one replicate is required")
    if isinstance(smaller, str):
        if not rows.are_there:
            raise ValueError(
                f"{smaller!r} must be fitted to the training data, which a model does not keep: "
                "pass X, or a fitted smaller model"
            )
        smaller = changed(larger, smaller, rows, {})
    smaller = fitted_estimator(snapshot(smaller))
    pair = model_pair(larger, smaller, rows)
    drawn = in_blocks(
        pair,
        n_samples,
        pair.block_size,
        generator_of(random_state),
        n_jobs=n_jobs,
        name="bootstrap" if verbose else None,
    )
    reference = np.concatenate(drawn)
    reference[np.abs(reference) < _NO_RATIO] = 0.0
    title = f"Parametric bootstrap: {formula_of(larger)}\nagainst {formula_of(smaller)}"
    return RatioBootstrap(*pair.observed, reference, title)
