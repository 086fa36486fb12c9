"""Marginal means: what the model expects at chosen levels, averaged evenly over all others.

Every two of several means are compared allowing for their number.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from skmixed.core.families.ordinal import Cumulative
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.fixed_part import FixedPart
from skmixed.inference.fitted import (
    MixedFit,
    design_of,
    formula_of,
    mixed_fit_of,
    snapshot,
    threshold_names,
)
from skmixed.inference.fixed_effects.coefficients import function_frame, with_interval
from skmixed.inference.fixed_effects.ratios import exponentiated, ratio_name, ratio_note
from skmixed.inference.fixed_effects.response_means import (
    INVERSE_LINK_NOTE,
    NOTE,
    SHARES_NOTE,
    ResponseMeans,
    inverse_link_means,
)
from skmixed.inference.fixed_effects.robust import RobustCovariance
from skmixed.inference.fixed_effects.testing import (
    CoefficientTests,
    DfMethod,
    check_probability,
    is_determined,
    t_quantiles,
)
from skmixed.inference.table import Table, TabularResult


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MarginalMeans(TabularResult):
    """Means at combinations of levels.

    Parameters
    ----------
    table : Table
        A row a combination, with its interval and the test that it is zero.
    functions : ndarray of shape (m, n_fixed)
        The means as functions of the coefficients; on the scale of a response that is not linear
        their derivatives.

    See Also
    --------
    marginal_means : The function that returns it.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import marginal_means
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> marginal_means(model, "Days", at={"Days": [0, 9]}).pairs().to_frame()["estimate"].round(1)
    0 - 9   -94.2
    Name: estimate, dtype: float64
    """

    table: Table
    functions: FloatArray
    _compare: Callable[[IntArray, list[str]], pd.DataFrame]  # (r, 2), pairs of means, and names
    _level: float
    _categories: tuple[str, ...] = ()  # whose probabilities the rows of a combination are
    _ratios: str | None = None  # what exponentials of differences are, where they are shown

    def _table(self) -> Table:
        return self.table

    def pairs(self, adjust: Adjustment | None = None, *, within: str | Sequence[str] = ()) -> Table:
        """Compare every two means, of a category if they are probabilities of categories.

        Parameters
        ----------
        adjust : {"tukey", "bonferroni", "holm"} or None, default=None
            How p-values and intervals allow for the number of comparisons; None is not at all, as
            in lmerTest. emmeans takes "tukey".
        within : str or list of str, default=()
            Variables whose levels the two means must share, as treatments are compared visit by
            visit. The comparisons at every combination of their levels are adjusted for by
            themselves, as by emmeans after a bar.

        Returns
        -------
        Table
            The first minus the second of each pair, in the order of the rows. With
            ``scale="inverse-link"`` the ratio of the two, on the scale on which differences of
            linear predictors are ratios: of odds with the link "logit", as emmeans has them.

        Raises
        ------
        ValueError
            For an unknown adjustment, or a variable that the means are not of.

        Notes
        -----
        "tukey" is exact for independent means of equal variance [1]_. "holm" has smaller p-values
        than "bonferroni" at the same guarantee, and the intervals of the latter.

        References
        ----------
        .. [1] Hochberg, Y. & Tamhane, A. C. (1987). Multiple comparison procedures. Wiley,
           :doi:`10.1002/9780470316672`, chapters 2 and 3.
        """
        index = self.table.frame.index
        names, n_each = [_label(label) for label in index], max(1, len(self._categories))
        shared = [within] if isinstance(within, str) else list(within)
        found, note = [], ""
        for means in _sharing(index[::n_each], shared):
            pairs = [
                (i * n_each + category, j * n_each + category)
                for i, j in itertools.combinations(means, 2)
                for category in range(n_each)
            ]
            sign = "-" if self._ratios is None else "/"
            labels = [f"{names[i]} {sign} {names[j]}" for i, j in pairs]
            frame = self._compare(np.reshape(pairs, (-1, 2)).astype(np.intp), labels)
            adjusted, note = adjusted_pairs(frame, len(means), self._level, adjust)
            found.append(adjusted)
        notes = [*self.table.notes, note]
        if shared and adjust is not None:
            notes.append(f"Each {', '.join(shared)} is adjusted for by itself.")
        frame = pd.concat(found)
        if self._ratios is None:
            return Table(f"Differences of {self.table.title}", frame, tuple(notes))
        notes[0] = ratio_note(self._ratios)
        return Table(f"{self._ratios} of {self.table.title}", exponentiated(frame), tuple(notes))


def _sharing(index: pd.Index[Any], shared: list[str]) -> list[list[int]]:
    """Return the places of the means, (m,), that share the levels of some variables."""
    unknown = [name for name in shared if name not in index.names]
    if unknown:
        raise ValueError(f"the means are of {list(index.names)}, and not of {unknown}")
    if not shared:
        return [list(range(len(index)))]
    levels = list(zip(*[index.get_level_values(name) for name in shared], strict=True))
    places: dict[Any, list[int]] = {}
    for place, level in enumerate(levels):
        places.setdefault(level, []).append(place)
    return list(places.values())


def marginal_means(
    model: Any,
    specs: str | Sequence[str],
    *,
    at: Mapping[str, Any] | None = None,
    df: DfMethod = "auto",
    level: float = 0.95,
    covariance: RobustCovariance | None = None,
    scale: Literal["link", "response", "inverse-link"] = "link",
    offset: float | Literal["mean"] = 0.0,
) -> MarginalMeans:
    """Estimate means at the levels of factors, averaged evenly over the levels of the others.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    specs : str or list of str
        The variables at whose levels the means are wanted.
    at : mapping of str to value or list of values, default=None
        Values of variables: several for those in `specs`, one for others. By default a categorical
        variable takes all its levels and a number its mean.
    df : {"auto", "satterthwaite", "kenward-roger", "residual", "normal"}, default="auto"
        Where degrees of freedom come from, as in `coefficient_table`.
    level : float, default=0.95
        Probability of the intervals.
    covariance : RobustCovariance or None, default=None
        What `robust_covariance` returns, for standard errors that do not trust the model's; None is
        the model's own.
    scale : {"link", "response", "inverse-link"}, default="link"
        Whether the means of a generalized model are those of its linear predictor, or of the
        response, averaged over all groups as ``predict(X, random="none")`` is. Of a linear model
        they are the same. Of ordered categories the linear predictor is less the first threshold,
        and the response has the probabilities of all of them, a row each.
        "inverse-link" takes the inverse link of the means of the linear predictor and of their
        limits, the random effects being zero: emmeans' ``type = "response"``, whose ``pairs()`` are
        odds ratios, or rate ratios of counts.
    offset : float or "mean", default=0.0
        What is added to every linear predictor of a model with offsets or exposures, 0 being their
        rate; "mean" is the mean of the offsets of the rows of the fit.

    Returns
    -------
    MarginalMeans
        Columns estimate, std_error, df, statistic, p_value, lower and upper; on the scale of a
        response that is not linear without the test that it is zero. A row for every combination. A
        mean that the data do not determine, as at a combination of levels that does not occur, is
        NaN. ``pairs()`` compares them, by their differences on the same scale.

    Raises
    ------
    ValueError
        For variables that are not in the fixed part, and where a number that enters only within a
        transform has no mean to be found without rows: give its value in `at`. On the scale of the
        response also for random slopes of columns that are not in the fixed part.

    See Also
    --------
    anova : Whether any of them differ.
    linear_hypothesis : Other comparisons.

    Notes
    -----
    In R: ``emmeans(model, specs)`` or ``ls_means`` of lmerTest. The means are those of the
    population, random effects being zero, or averaged over on the scale of the response.
    ``scale="inverse-link"`` is emmeans with ``type = "response"``: the inverse link of the mean on
    the scale of the link, that of a group in the middle, which is nearer to the end of the scale
    than the mean over all groups. On the scale of the response the means at several levels of other
    factors are averaged as responses, errors have the estimation of the variances in them, and
    intervals are symmetric on the scale of the link. Offsets are left out unless `offset` adds one;
    emmeans adds their mean.
    Weighted rows enter the mean of a number by their weights; the trials of shares do not, as in
    emmeans: each share is one row.

    References
    ----------
    .. [1] Searle, S. R., Speed, F. M. & Milliken, G. A. (1980). Population marginal means in the
       linear model: an alternative to least squares means. The American Statistician 34, 216-221,
       :doi:`10.1080/00031305.1980.10483031`, section 2.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import marginal_means
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> marginal_means(model, "Days", at={"Days": [0, 9]}).to_frame()[["estimate", "df"]].round(1)
          estimate    df
    Days
    0        251.4  17.0
    9        345.6  17.0
    """
    model = snapshot(model)
    tests = CoefficientTests.of(model, df, covariance)
    design = design_of(model)
    wanted = [specs] if isinstance(specs, str) else list(specs)
    if scale not in ("link", "response", "inverse-link"):
        raise ValueError(f"scale={scale!r} is not one of 'link', 'response', 'inverse-link'")
    fit, title = tests.fit, f"Marginal means: {formula_of(model)}"
    grid = _grid(mixed_fit_of(model), design.fixed_design.part, wanted, dict(at or {}))
    rows = design.fixed_design.matrix(grid.reset_index(drop=True))
    weights, labels = _shares(grid, wanted)
    functions = weights @ rows
    unknown = ~is_determined(fit, functions)
    functions[unknown] = np.nan
    shift, said = _offset(model, offset)
    held = [*_fixed_numbers(design.fixed_design.part, grid, wanted), *said]
    if scale == "response" and isinstance(fit, GeneralizedFit):
        check_probability(level)
        response = ResponseMeans.of(fit, tests.joint_covariance, rows, weights, unknown, shift)
        categories = fit.family.category_names if isinstance(fit.family, Cumulative) else ()
        if categories:
            labels = _by_category(labels, categories)
        note = SHARES_NOTE if categories else NOTE
        notes = (note, *held) if covariance is None else (note, covariance._note(), *held)
        table = Table(title, response.table(labels, level), notes)
        slopes = response.slopes[:, : rows.shape[1]]
        return MarginalMeans(table, slopes, response.differences, level, categories)
    if threshold_names(fit):
        held = [f"Linear predictors less the first threshold, {threshold_names(fit)[0]}.", *held]
    frame = function_frame(tests, functions, labels, np.full(len(functions), -shift))
    frame = with_interval(frame.assign(estimate=frame["estimate"] + shift), level)
    note, ratios = tests.note, None
    if scale == "inverse-link" and isinstance(fit, GeneralizedFit):
        if threshold_names(fit):
            raise ValueError(
                "scale='inverse-link' is a mean, which ordered categories have none of: take "
                "scale='response', their probabilities, or coefficient_table(exponentiate=True)"
            )
        frame, note, ratios = inverse_link_means(frame, fit), INVERSE_LINK_NOTE, ratio_name(fit)
    return MarginalMeans(
        Table(title, frame, (note, *held)),
        functions,
        lambda pairs, names: function_frame(
            tests, functions[pairs[:, 0]] - functions[pairs[:, 1]], names
        ),
        level,
        _ratios=ratios,
    )


def _offset(model: Any, offset: Any) -> tuple[float, list[str]]:
    """Return what is added to linear predictors, and what is to be said of it."""
    mean = getattr(model._fitted, "mean_offset", None)
    if isinstance(offset, str) and offset == "mean":
        if mean is None:
            raise ValueError(
                "offset='mean': this model has no offsets whose mean is known, none at all or "
                "those of several parts of the data: give a number"
            )
        offset = mean
    if not isinstance(offset, Real) or not np.isfinite(float(offset)):
        raise ValueError(f"offset={offset!r} is neither a finite number nor 'mean'")
    if offset:
        return float(offset), [f"An offset of {float(offset):.6g} is in them."]
    has_offsets = mean is not None or bool(model.design_.offsets)
    return 0.0, ["Offsets are left out."] if has_offsets else []


def _grid(fit: MixedFit, part: FixedPart, wanted: list[str], at: dict[str, Any]) -> pd.DataFrame:
    """Return every combination of levels and values."""
    known = [*part.levels, *part.numbers]
    unknown = [name for name in (*wanted, *at) if name not in known]
    if unknown or not wanted:
        raise ValueError(
            f"{unknown or 'no variables'} cannot be taken for the means: the fixed part has the "
            f"variables {known}"
        )
    values = {}
    for name in known:
        values[name] = _values(fit, part, name, at)
        if name not in wanted and name in part.numbers and len(values[name]) > 1:
            raise ValueError(f"at gives {name!r} several values: name it in specs, or give one")
    combinations = pd.MultiIndex.from_product(list(values.values()), names=list(values))
    return combinations.to_frame()


def _values(fit: MixedFit, part: FixedPart, name: str, at: dict[str, Any]) -> list[Any]:
    if name in at:
        given = at[name]
        chosen = [given] if isinstance(given, str) or np.ndim(given) == 0 else list(given)
        missing = [
            value for value in chosen if name in part.levels and value not in part.levels[name]
        ]
        if missing or not chosen:
            raise ValueError(f"{name!r} has no levels {missing}; it has {list(part.levels[name])}")
        return chosen
    if name in part.levels:
        return list(part.levels[name])
    columns = fit.products.layout.columns
    if name not in columns:
        raise ValueError(
            f"the mean of {name!r} is not known, because it enters the model only within a "
            f"transform: give a value, at={{{name!r}: ...}}"
        )
    return [_mean(fit, columns.index(name))]


def _mean(fit: MixedFit, place: int) -> float:
    """Return the weighted mean of a column."""
    products = fit.row_products or fit.products
    means, _ = products.moments(np.eye(len(products.basis))[:, [place]])
    return float(means[0])


def _shares(grid: pd.DataFrame, wanted: list[str]) -> tuple[FloatArray, pd.Index[Any]]:
    """Return the weights of rows of the grid in the mean of every combination, (m, n)."""
    rows = grid.reset_index(drop=True).groupby(
        [grid[name].to_numpy() for name in wanted], sort=False
    )
    numbers = rows.ngroup().to_numpy()
    index = rows.size().index
    index.names = wanted
    chosen = numbers == np.arange(len(index))[:, None]
    return chosen / chosen.sum(axis=1, keepdims=True), index


def _by_category(labels: pd.Index[Any], categories: tuple[str, ...]) -> pd.MultiIndex:
    """Return labels of combinations, (m,), with those of all categories, (m J,)."""
    tuples = [label if isinstance(label, tuple) else (label,) for label in labels]
    names = [*labels.names, "category"]
    return pd.MultiIndex.from_tuples(
        [(*label, category) for label in tuples for category in categories], names=names
    )


def _fixed_numbers(part: FixedPart, grid: pd.DataFrame, wanted: list[str]) -> list[str]:
    held = [f"{name} = {grid[name].iloc[0]:.6g}" for name in part.numbers if name not in wanted]
    return [f"At {', '.join(held)}."] if held else []


def _label(label: Any) -> str:
    return ", ".join(map(str, label)) if isinstance(label, tuple) else str(label)


Adjustment = Literal["tukey", "bonferroni", "holm"]

_ADJUSTMENT_NOTES = {
    None: "p-values and intervals are not adjusted for their number.",
    "tukey": "p-values and intervals: Tukey's method for {n_means} means.",
    "bonferroni": "p-values and intervals: Bonferroni's method for {n_pairs} comparisons.",
    "holm": "p-values: Holm's method for {n_pairs} comparisons; intervals: Bonferroni's.",
}
_INFINITE_DF = 1e5  # from here on scipy takes the studentized range for that of infinitely many


def adjusted_pairs(
    frame: pd.DataFrame, n_means: int, level: float, adjust: Adjustment | None
) -> tuple[pd.DataFrame, str]:
    """Adjust p-values of differences, add their intervals, and say so in a note.

    `frame` has estimate, std_error, df, statistic and p_value of every difference between two of
    `n_means` means; those whose p-value is NaN do not count. `level` is the probability that all
    intervals hold; without an adjustment, that each does. Raises ValueError for an unknown method.
    """
    if adjust not in _ADJUSTMENT_NOTES:
        allowed = ", ".join(repr(name) for name in _ADJUSTMENT_NOTES)
        raise ValueError(f"adjust={adjust!r} is not one of {allowed}")
    df = frame["df"].to_numpy(dtype=float)
    p_value = frame["p_value"].to_numpy(dtype=float)
    known = np.isfinite(p_value)
    n_pairs = int(known.sum())
    quantile = t_quantiles(level if adjust is None else 1.0 - (1.0 - level) / max(n_pairs, 1), df)
    if adjust == "tukey":
        finite = np.minimum(df, _INFINITE_DF)
        spread = np.sqrt(2.0) * np.abs(frame["statistic"].to_numpy(dtype=float))
        p_value = np.asarray(stats.studentized_range.sf(spread, n_means, finite))
        quantile = np.asarray(stats.studentized_range.isf(1.0 - level, n_means, finite))
        quantile = quantile / np.sqrt(2.0)
    elif adjust == "bonferroni":
        p_value = np.minimum(n_pairs * p_value, 1.0)
    elif adjust == "holm":
        p_value = _holm(p_value)
    half = quantile * frame["std_error"]
    lower, upper = frame["estimate"] - half, frame["estimate"] + half
    note = _ADJUSTMENT_NOTES[adjust].format(n_means=n_means, n_pairs=n_pairs)
    return frame.assign(p_value=p_value, lower=lower, upper=upper), note


def _holm(p_value: FloatArray) -> FloatArray:
    """Return the p-values of Holm's step-down method; NaN stays and does not count."""
    result = np.full(len(p_value), np.nan)
    order = np.argsort(p_value)[: int(np.isfinite(p_value).sum())]
    steps = np.arange(len(order), 0, -1) * p_value[order]
    result[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return result
