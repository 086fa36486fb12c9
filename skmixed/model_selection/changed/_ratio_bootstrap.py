"""Likelihood-ratio tests whose null distribution is drawn from the smaller model."""

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

_NO_RATIO = 1e-7  # of a ratio: two searches end within that of each other, and it is zero


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RatioBootstrap(TabularResult):
    """A likelihood ratio beside its distribution under the smaller model.

    Parameters
    ----------
    statistic : float
        Twice the difference of the log-likelihoods.
    df : int
        Number of parameters that the larger model has more.
    reference : ndarray of shape (n_samples,)
        The same of responses drawn from the smaller model; NaN where one could not be fitted.
    title : str
        The two models.

    See Also
    --------
    bootstrap_test : Makes it.

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
        """Share of all ratios that are above the statistic, itself counted among them.

        That of the table leaves out replicates in which the larger model was no better, of which
        there are many where a variance is tested.
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
    """Test a model against a larger one by a parametric bootstrap of their likelihood ratio.

    Parameters
    ----------
    larger : estimator
        A fitted mixed model of any kind.
    smaller : estimator or str
        A model within it, fitted to the same data, or what makes one of it, as for `update`:
        ``". ~ . - x"``, which takes the rows.
    n_samples : int, default=1000
        Number of responses drawn from the smaller model.
    X, y, sample_weight, groups : array-like, default=None
        The rows of the fit, as given to `fit`. Linear models of which one has all columns of the
        other need none, unless there are several large factors.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed. Replicates do not depend on `n_jobs`.
    n_jobs : int or None, default=None
        Number of threads; -1 is one a processor.
    verbose : int, default=0
        Show a progress bar if 1 or more.

    Returns
    -------
    RatioBootstrap
        Shows the p-values of pbkrtest: LRT (chi-squared), PBtest (the share of ratios above the
        one observed, of those that are positive), Gamma (a gamma distribution of their mean and
        variance), Bartlett (chi-squared of the ratio divided by their mean) and F.

    Raises
    ------
    ValueError
        Without the rows where they are needed, for models of different data or kinds, for one that
        is not larger, and for models with a `prior`.
    TypeError
        If a model is not a mixed model, or is a posterior.

    See Also
    --------
    skmixed.inference.compare_models : The same ratio by chi-squared.
    skmixed.inference.linear_hypothesis : F tests with small-sample degrees of freedom.

    Notes
    -----
    In R: ``PBmodcomp`` of pbkrtest. Both models are fitted by maximum likelihood. Responses of a
    linear model are drawn as sums, and models of one factor fitted in lock-step.

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
        raise ValueError(f"n_samples={n_samples}: at least one replicate is needed")
    if isinstance(smaller, str):
        if not rows.are_there:
            raise ValueError(
                f"{smaller!r} has to be fitted to the rows, which a model does not keep: pass X, "
                "or a fitted smaller model"
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
