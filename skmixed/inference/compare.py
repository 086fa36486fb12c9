"""Comparisons of models fitted to the same data.

If one variance is zero under the null hypothesis, and the larger model adds r covariances and f
coefficients, the likelihood ratio has an equal mixture of chi-squared distributions with f + r and
f + r + 1 degrees of freedom (Self & Liang 1987, doi:10.1080/01621459.1987.10478472, case 5; Stram &
Lee 1994, doi:10.2307/2533455, section 3). With several variances the weights of the mixture depend
on the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from skmixed.core.fit import Fit
from skmixed.core.model.covariance import Structure
from skmixed.core.model.spec import Method
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.rows.monte_carlo import check_exact
from skmixed.core.sums.layout import CONSTANT
from skmixed.inference.comparable import check_same_data, check_same_kind
from skmixed.inference.conditional_aic import conditional_aic
from skmixed.inference.fitted import (
    AnyFit,
    check_unpenalised,
    coefficient_names,
    design_of,
    determined_any_fit_of,
    formula_of,
    residual_fit_of,
    snapshot,
)
from skmixed.inference.table import Table

_SEARCH_ERROR = 1e-8  # in the criterion: searches end within that of each other

Lines = Mapping[int, str]
"""The columns of a layout that are linear parts of smooths, with their variables."""

_NO_LINES: Lines = {}

NO_TEST = dict.fromkeys(["statistic", "df", "p_value", "p_boundary"], np.nan)
BOUNDARY_NOTE = (
    "p_boundary: a variance is zero under the smaller model, so the ratio has a mixture of "
    "chi-squared distributions; p_value ignores this and is conservative."
)


def compare_models(
    *models: Any,
    names: Sequence[str] | None = None,
    method: Literal["auto", "ml", "reml"] = "auto",
) -> Table:
    """Compare fitted models by likelihood-ratio tests and information criteria.

    Use it for models of your own. `ranova` drops each random term in turn; for fixed terms, the F
    tests of `anova` are more accurate in small samples.

    Read more in the user guide: :doc:`/guide/inference` and :doc:`/guide/reml`.

    Parameters
    ----------
    *models : estimators
        Two or more models fitted to the same data, all linear or all generalized. They are not
        changed.
    names : sequence of str, default=None
        Names of the models; None is "model 1" and so on.
    method : {"auto", "ml", "reml"}, default="auto"
        Likelihood to compare. "auto" is the restricted likelihood if all models were fitted by REML
        and have the same fixed columns, and the full likelihood otherwise. Models fitted by the
        other method are refitted, from their cross-products.

    Returns
    -------
    Table
        A row for each model, by number of parameters. Columns n_parameters, log_likelihood, aic,
        bic, caic (conditional AIC, linear models only), and for the test against the row above
        statistic, df, p_value (chi-squared) and p_boundary. The latter allows for a variance on the
        boundary: the chi-squared mixture if one variance is added, chi-squared itself if only
        covariances or parameters of the residuals are, NaN otherwise. If all models are linear
        without random terms, F tests: residual_df, rss, num_df, df, statistic and p_value.

    Raises
    ------
    ValueError
        For fewer than two models; models fitted to different data; method="reml" with different
        fixed columns or with generalized models; linear beside generalized models; different
        families, links or numbers of quadrature nodes; and models with a prior, whose likelihoods
        are not at their maxima.

    See Also
    --------
    ranova : Likelihood-ratio tests of each random term.
    anova : F tests of fixed terms.
    skmixed.model_selection.bootstrap_test : Parametric bootstrap of the likelihood ratio.

    Notes
    -----
    In R: ``anova(m1, m2)``, which refits by maximum likelihood unless ``refit = FALSE``. Whether
    the data are the same is checked by the numbers of rows, the weights and the sums of the
    response, overall and within levels; whether the models are nested is not checked. The F tests
    of linear models without random terms take the residual variance of the largest model.

    References
    ----------
    .. [1] Stram, D. O. & Lee, J. W. (1994). Variance components testing in the longitudinal mixed
       effects model. Biometrics 50, 1171-1177, :doi:`10.2307/2533455`, section 3.
    .. [2] Vaida, F. & Blanchard, S. (2005). Conditional Akaike information for mixed-effects
       models. Biometrika 92, 351-370, :doi:`10.1093/biomet/92.2.351`, eq. 8.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import compare_models
    >>> data = load_sleepstudy()
    >>> small = lmer("Reaction ~ Days + (1 | Subject)", data)
    >>> large = lmer("Reaction ~ Days + (Days || Subject)", data)
    >>> table = compare_models(small, large).to_frame()
    >>> table[["aic", "statistic", "df"]].round(2)
                 aic  statistic   df
    model 1  1794.47        NaN  NaN
    model 2  1753.67       42.8  1.0
    """
    if len(models) < 2:
        raise ValueError(f"compare_models needs two or more models, got {len(models)}")
    labels = [f"model {n + 1}" for n in range(len(models))] if names is None else list(names)
    if len(labels) != len(models):
        raise ValueError(f"names has {len(labels)} entries for {len(models)} models")
    models = tuple(snapshot(model) for model in models)
    fits = [determined_any_fit_of(model) for model in models]
    for fit in fits:
        check_unpenalised(fit, "a comparison of likelihoods")
        if isinstance(fit, Fit):
            check_exact(fit, "a comparison of likelihoods")
    check_same_kind(fits, labels)
    check_same_data(fits, labels)
    titles = [f"{label}: {formula_of(model)}" for label, model in zip(labels, models, strict=True)]
    linear = [fit for fit in fits if isinstance(fit, Fit)]
    is_ordinary = not any(_has_search(fit) or fit.spec.sigma2 is not None for fit in linear)
    if method == "auto" and linear and is_ordinary:
        return _f_table(linear, labels, titles)
    chosen = _common_method(fits, method)
    compared: list[AnyFit] = [fit.with_method(chosen) for fit in fits]
    order = sorted(range(len(fits)), key=lambda n: compared[n].n_parameters)
    lines = [design_of(models[n]).lines for n in order]
    frame = _likelihood_frame([compared[n] for n in order], lines)
    frame.index = pd.Index([labels[n] for n in order])
    title = "\n".join(["Likelihood-ratio tests:", *titles])
    return Table(title, frame, _notes(fits, [compared[n] for n in order], lines, chosen))


def _has_search(fit: Fit) -> bool:
    """Tell whether anything besides coefficients and the residual variance was estimated."""
    return bool(fit.spec.terms) or isinstance(fit, ResidualFit)


def _common_method(fits: Sequence[AnyFit], wanted: str) -> Method:
    if wanted not in ("auto", "ml", "reml"):
        raise ValueError(f"method={wanted!r} is not one of 'auto', 'ml' and 'reml'")
    alike = all(set(coefficient_names(fit)) == set(coefficient_names(fits[0])) for fit in fits)
    if wanted == "reml" and not alike:
        raise ValueError(
            "restricted likelihoods of models with different fixed columns cannot be compared: "
            "use method='ml'"
        )
    if wanted == "reml" or (
        wanted == "auto" and alike and all(fit.spec.method == "reml" for fit in fits)
    ):
        return "reml"
    return "ml"


def _likelihood_frame(fits: Sequence[AnyFit], lines: Sequence[Lines]) -> pd.DataFrame:
    rows = []
    for place, fit in enumerate(fits):
        row = {
            "n_parameters": fit.n_parameters,
            "log_likelihood": -0.5 * fit.criterion,
            "aic": fit.criterion + 2.0 * fit.n_parameters,
            "bic": fit.criterion + float(np.log(fit.n_observations)) * fit.n_parameters,
        }
        if isinstance(fit, Fit):
            row["caic"] = conditional_aic(fit)
        before = place - 1
        test = ratio_test(fits[before], fit, lines[before], lines[place]) if place else NO_TEST
        rows.append({**row, **test})
    return pd.DataFrame(rows)


def ratio_test(
    smaller: AnyFit, larger: AnyFit, lines: Lines = _NO_LINES, more_lines: Lines = _NO_LINES
) -> dict[str, float]:
    """Test a model against a larger one by their likelihood ratio.

    Both are fitted by the same method, and `smaller` has no more parameters. Each may have lines
    of curves, by place. The keys statistic, df, p_value and p_boundary are columns of a table;
    `NO_TEST` has the same.
    """
    statistic = smaller.criterion - larger.criterion
    if abs(statistic) < _SEARCH_ERROR:
        statistic = max(statistic, 0.0)
    df = larger.n_parameters - smaller.n_parameters
    added = added_random_parameters(smaller, larger, lines, more_lines)
    return {
        "statistic": statistic,
        "df": float(df),
        "p_value": float(stats.chi2.sf(statistic, df)) if df else float("nan"),
        "p_boundary": mixture_p_value(statistic, added, larger.rank - smaller.rank),
    }


def ratio_row(fit: AnyFit, larger: AnyFit | None) -> dict[str, float]:
    """Return the figures of a model, and its test against a larger one as `ratio_test` has it."""
    test = NO_TEST if larger is None else ratio_test(fit, larger)
    return {
        "n_parameters": fit.n_parameters,
        "log_likelihood": -0.5 * fit.criterion,
        "aic": fit.criterion + 2.0 * fit.n_parameters,
        **test,
    }


def _notes(
    fits: Sequence[AnyFit],
    compared: Sequence[AnyFit],  # by number of parameters, fitted as `method` says
    lines: Sequence[Lines],  # of these
    method: Method,
) -> tuple[str, ...]:
    notes = [
        "By restricted likelihood." if method == "reml" else "By maximum likelihood.",
    ]
    if not all(any(after is before for before in fits) for after in compared):
        notes[0] = f"{notes[0][:-1]}; models fitted otherwise were refitted."
    pairs = zip(pairwise(compared), pairwise(lines), strict=True)
    if any(_is_on_the_boundary(*fits, *places) for fits, places in pairs):
        notes.append(BOUNDARY_NOTE)
    if not all(fit.report.converged for fit in compared):
        notes.append("Some model did not converge: its figures may be wrong.")
    return tuple(notes)


def _is_on_the_boundary(smaller: AnyFit, larger: AnyFit, lines: Lines, more_lines: Lines) -> bool:
    """Tell whether the p-value of a ratio is that of a mixture."""
    added = added_random_parameters(smaller, larger, lines, more_lines)
    return added is not None and added.variances == 1 and larger.rank >= smaller.rank


def _f_table(fits: list[Fit], labels: list[str], titles: list[str]) -> Table:
    n = fits[0].problem.n_observations
    order = sorted(range(len(fits)), key=lambda place: fits[place].rank)
    squares = [fits[place].sigma2 * fits[place].problem.degrees for place in order]
    left = [n - fits[place].rank for place in order]
    scale = squares[-1] / left[-1]
    rows = []
    for place, (square, residual) in enumerate(zip(squares, left, strict=True)):
        row = {"residual_df": residual, "rss": square}
        row.update(num_df=np.nan, df=np.nan, statistic=np.nan, p_value=np.nan)
        num_df = left[place - 1] - residual
        if place and num_df:
            statistic = (squares[place - 1] - square) / num_df / scale
            p_value = float(stats.f.sf(statistic, num_df, left[-1]))
            row.update(num_df=num_df, df=left[-1], statistic=statistic, p_value=p_value)
        rows.append(row)
    frame = pd.DataFrame(rows, index=pd.Index([labels[place] for place in order]))
    title = "\n".join(["F tests of ordinary linear models:", *titles])
    return Table(title, frame, ("The residual variance is that of the largest model.",))


@dataclass(frozen=True, slots=True)
class AddedRandomParameters:
    """Number of parameters that a larger model adds to the random part and the residuals."""

    variances: int  # zero under the smaller model
    others: int  # in the interior of their range under the smaller model


@dataclass(frozen=True, slots=True)
class _NamedPart:
    """Random effects that are independent of all others, by the names of their columns."""

    factor: frozenset[str]  # columns of its key
    columns: tuple[str, ...]  # whose effects vary
    structure: Structure  # of their covariance

    def contains(self, other: _NamedPart) -> bool:
        """Tell whether this part can have every covariance matrix that another can."""
        return (
            self.factor == other.factor
            and set(self.columns) >= set(other.columns)
            and self.structure.contains(other.structure)
        )

    def new_variances(self, known: set[tuple[frozenset[str], str]]) -> int:
        """Count the variances none of whose columns varied before."""
        return sum(
            not any((self.factor, self.columns[place]) in known for place in group)
            for group in self.structure.deviations
        )


def added_random_parameters(
    smaller: AnyFit, larger: AnyFit, lines: Lines = _NO_LINES, more_lines: Lines = _NO_LINES
) -> AddedRandomParameters | None:
    """Count the parameters added to a random part and residuals; None if the models are not nested.

    Terms are compared by the names of factors and columns, since layouts may differ. The linear
    part of a smooth counts as its variable, where it varies together with a constant.
    """
    n_residual = _added_to_residuals(smaller, larger)
    if n_residual is None:
        return None
    few, many = _named_parts(smaller, lines), _named_parts(larger, more_lines)
    added, lost = list((many - few).elements()), list((few - many).elements())
    if not all(any(part.contains(other) for part in added) for other in lost):
        return None
    known = {(part.factor, column) for part in lost for column in part.columns}
    variances = sum(part.new_variances(known) for part in added)
    n_theta = sum(p.structure.n_theta for p in added) - sum(p.structure.n_theta for p in lost)
    if any(part.structure.rank_of_covariances < len(part.columns) for part in lost):
        variances = max(variances, n_theta)  # the smaller model is on the boundary in all of them
    if n_theta < variances:
        return None
    return AddedRandomParameters(variances, n_theta - variances + n_residual)


def _added_to_residuals(smaller: AnyFit, larger: AnyFit) -> int | None:
    """Count the parameters that a residual structure adds to another; None if they are not nested.

    Zero correlation and equal variances are interior points, except for a correlation that cannot
    be negative.
    """
    before, after = residual_fit_of(smaller), residual_fit_of(larger)
    if after is None:
        return 0 if before is None else None
    if before is None:
        is_inside = all(part.lower < part.null for part in after.residual_parameters)
        return len(after.phi) if is_inside else None
    is_contained = after.tables.structure.contains(before.tables.structure)
    return len(after.phi) - len(before.phi) if is_contained else None


def mixture_p_value(statistic: float, added: AddedRandomParameters | None, n_fixed: int) -> float:
    """Return the p-value of a likelihood ratio that allows for the boundary.

    `statistic` is twice the difference of the log-likelihoods, and `n_fixed` the number of
    coefficients that the larger model adds. NaN if more than one variance is added, only
    coefficients are, or the models are not nested. If covariances or residual parameters are added
    but no variance, it is the ordinary p-value, which takes the variances of the smaller model to
    be positive.
    """
    if added is None or added.variances > 1 or n_fixed < 0:
        return float("nan")
    below = n_fixed + added.others
    if added.variances == 0:
        return _tail(statistic, below) if added.others else float("nan")
    return 0.5 * (_tail(statistic, below) + _tail(statistic, below + 1))


def _tail(statistic: float, df: int) -> float:
    """Return the upper tail of chi-squared, a point mass at zero with no degrees of freedom."""
    if df == 0:
        return float(statistic <= 0.0)
    return float(stats.chi2.sf(max(statistic, 0.0), df))


def _named_parts(fit: AnyFit, lines: Lines) -> Counter[_NamedPart]:
    layout, parts = fit.products.layout, []
    for term in fit.spec.terms:
        key = frozenset(layout.factors[term.factor].key)
        for places, structure in term.level_structure.independent_parts():
            if term.members:
                names = tuple(term.effects[place] for place in places)
                parts.append(_NamedPart(key, names, structure))
                continue
            columns = [term.columns[place] for place in places]
            is_shifted = structure.may_shift and CONSTANT in columns
            named = lines if is_shifted else _NO_LINES  # linear part: x but for origin and unit
            names = tuple(named.get(column, layout.columns[column]) for column in columns)
            parts.append(_NamedPart(key, names, structure))
    return Counter(parts)
