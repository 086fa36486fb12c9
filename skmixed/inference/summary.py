"""Summaries of fitted models, in the layout of ``arm::display`` and ``print(lmer)``."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.fit import Fit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.model.spec import ModelSpec, wholes
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.rows.monte_carlo import MonteCarloErrors
from skmixed.core.search.report import MonteCarlo
from skmixed.core.sums.layout import CONSTANT
from skmixed.inference.components import deviations_and_correlations, parameters_of
from skmixed.inference.fitted import (
    AnyFit,
    coefficient_names,
    infinite_names,
    residual_fit_of,
    stated_places,
)
from skmixed.inference.table import p_text


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """A one-screen summary of a fitted model; prints as text, shows as HTML in a notebook.

    `coefficients` has estimates and standard errors in units of y per unit of x, NaN for columns
    that depend linearly on earlier ones, which are shown as dropped. `error_terms` has group, name,
    standard deviation and correlations of each random effect, then the residual. `curves` is
    `smooth_table`, and `correlations` are those of the coefficients, if requested.
    """

    formula: str
    coefficients: pd.DataFrame  # (n_fixed, 2)
    error_terms: pd.DataFrame | None  # None for a model without random terms
    notes: tuple[str, ...]  # sizes and criteria, a line each
    estimates: pd.DataFrame  # (n_parameters, 2), all of them by name, with standard errors
    digits: int = 2  # decimals of estimates, standard errors and deviations
    thresholds: pd.DataFrame | None = None  # (J - 1, 2), as the coefficients, of ordered categories
    curves: pd.DataFrame | None = None  # a row each; None for a model without curves
    correlations: pd.DataFrame | None = None  # (n_fixed, n_fixed)

    def to_frame(self) -> pd.DataFrame:
        """Return all parameters, (n_parameters, 2), with standard errors where they are known.

        They are named as in `confidence_intervals`. Coefficients and thresholds have standard
        errors; standard deviations, correlations and scales have NaN.
        """
        return self.estimates.copy()

    def __str__(self) -> str:
        """Return the summary as text."""
        parts = [self.formula]
        if self.thresholds is None or len(self.coefficients):
            parts.append(as_text(self._coefficient_texts()))
        if self.thresholds is not None:
            parts += ["", "Thresholds:", as_text(rounded(self.thresholds, self.digits))]
        if self.correlations is not None:
            parts += ["", CORRELATIONS, as_text(below_diagonal(self.correlations, self.digits))]
        if self.error_terms is not None:
            table = rounded(self.error_terms, self.digits)
            parts += ["", "Error terms:", as_text(table, index=False)]
        if self.curves is not None:
            parts += ["", "Smooth terms:", as_text(self._curve_texts(self.curves))]
        return "\n".join([*parts, "---", *self.notes])

    __repr__ = __str__

    def _coefficient_texts(self) -> pd.DataFrame:
        texts = rounded(self.coefficients, self.digits)
        texts.loc[self.coefficients["coef.est"].isna(), "coef.est"] = "dropped"
        return texts

    def _curve_texts(self, curves: pd.DataFrame) -> pd.DataFrame:
        texts = rounded(curves.drop(columns="p_value"), self.digits)
        return texts.assign(p_value=curves["p_value"].map(p_text))

    def _repr_html_(self) -> str:
        parts = [self._coefficient_texts().to_html(border=0)]
        if self.thresholds is not None:
            parts.append("<p>Thresholds</p>")
            parts.append(rounded(self.thresholds, self.digits).to_html(border=0))
        if self.correlations is not None:
            parts.append(f"<p>{CORRELATIONS}</p>")
            parts.append(below_diagonal(self.correlations, self.digits).to_html(border=0))
        if self.error_terms is not None:
            parts.append("<p>Error terms</p>")
            parts.append(rounded(self.error_terms, self.digits).to_html(border=0, index=False))
        if self.curves is not None:
            parts.append("<p>Smooth terms</p>")
            parts.append(self._curve_texts(self.curves).to_html(border=0))
        return _as_html(self.formula, parts, self.notes)


def summarise(
    fit: Fit | GeneralizedFit | NonlinearFit,
    formula: str,
    n_dropped: int = 0,
    digits: int = 2,
    curves: pd.DataFrame | None = None,
    *,
    correlations: bool = False,
) -> Summary:
    """Summarise a fitted model: estimates, error terms, smooth terms, sizes and criteria.

    `correlations` adds those of the coefficients; `n_dropped` is the number of rows left out
    because of missing values. The criteria are those of ``arm::display``: deviance is -2
    log-likelihood by maximum likelihood, even for a REML fit, AIC = criterion + 2 (number of
    parameters), and DIC = 2 deviance - criterion.
    """
    names = coefficient_names(fit)
    covariance = fit.beta_covariance
    errors = np.sqrt(np.diag(covariance))
    coefficients = pd.DataFrame({"coef.est": fit.beta, "coef.se": errors}, index=names)
    is_dropped = ~np.isin(np.arange(len(names)), fit.kept)
    coefficients.loc[is_dropped] = np.nan
    if isinstance(fit, GeneralizedFit):
        notes = _generalized_notes(fit)
    elif isinstance(fit, NonlinearFit):
        notes = _nonlinear_notes(fit)
    else:
        has_search = fit.spec.terms or isinstance(fit, ResidualFit)
        notes = _mixed_notes(fit) if has_search else _linear_notes(fit, digits)
    if is_dropped.any():
        dropped = ", ".join(coefficients.index[is_dropped])
        notes.append(f"dropped, because they depend linearly on earlier columns: {dropped}")
    if n_dropped:
        rows = (
            "1 row with missing values was"
            if n_dropped == 1
            else (f"{n_dropped} rows with missing values were")
        )
        notes.append(f"{rows} left out")
    has_terms = bool(fit.spec.terms) or isinstance(fit, ResidualFit | NonlinearFit)
    terms = error_terms(fit) if has_terms else None
    stated = stated_places(fit)
    coefficients, thresholds = coefficients.iloc[stated], _thresholds(fit)
    table = pd.DataFrame(covariance, names, names).iloc[stated, stated]
    return Summary(
        formula,
        coefficients,
        terms,
        tuple(notes),
        _estimates(fit, coefficients, thresholds),
        digits,
        thresholds,
        curves,
        correlations_of(table) if correlations else None,
    )


def _estimates(
    fit: AnyFit, coefficients: pd.DataFrame, thresholds: pd.DataFrame | None
) -> pd.DataFrame:
    """Tabulate all parameters, (n_parameters, 2), with standard errors where they are known.

    The columns of these tables are their estimates and standard errors.
    """
    tables = [each for each in (thresholds, coefficients) if each is not None]
    stated = np.concatenate([each.to_numpy(dtype=np.float64) for each in tables])
    others = parameters_of(fit)[len(stated) :]
    more = np.array([[part.estimate, np.nan] for part in others]).reshape(-1, 2)
    names = [*(name for each in tables for name in each.index), *(part.name for part in others)]
    return pd.DataFrame(np.concatenate([stated, more]), names, ["estimate", "std_error"])


CORRELATIONS = "Correlations of coefficients:"


def correlations_of(covariance: pd.DataFrame) -> pd.DataFrame:
    """Return the correlations of a covariance matrix; NaN where there is no variance."""
    _, correlations = deviations_and_correlations(covariance.to_numpy())
    return pd.DataFrame(correlations, covariance.index, covariance.columns)


def below_diagonal(correlations: pd.DataFrame, digits: int) -> pd.DataFrame:
    """Write correlations, (p, p), as text below the diagonal, (p - 1, p - 1)."""
    texts = rounded(correlations, digits)
    above = ~np.tri(len(texts), k=-1, dtype=bool)
    return texts.mask(above, "").iloc[1:, :-1]


def _thresholds(fit: Fit | GeneralizedFit | NonlinearFit) -> pd.DataFrame | None:
    if not isinstance(fit, GeneralizedFit) or not fit.has_thresholds:
        return None
    errors = np.sqrt(np.diag(fit.thresholds_covariance))
    table = {"threshold": fit.thresholds, "std.err": errors}
    return pd.DataFrame(table, index=fit.threshold_names)


def error_terms(fit: Fit | GeneralizedFit | NonlinearFit) -> pd.DataFrame:
    """Tabulate standard deviations and correlations of the random effects and any residual.

    Columns Groups, Name, Std.Dev. and, if there are correlations, Corr and further ones.
    """
    rows: list[list[Any]] = []
    for parts in wholes(fit.ordered_terms):
        term, covariance = parts[0], np.sum([fit.term_covariance(part) for part in parts], axis=0)
        deviations, correlations = deviations_and_correlations(covariance)
        factor = fit.products.layout.factors[term.factor]
        names = [fit.products.layout.columns[place] for place in term.columns]
        if term.members:
            small = slice(None, None, term.copies)
            deviations, correlations = deviations[small], correlations[small, small]
            names = list(term.effects)
        elif term.curve:
            both = (":".join(factor.key), term.curve) if factor.key else (term.curve, "")
            rows.append([*both, deviations[0]])
            continue
        for i, name in enumerate(names):
            label = term.label and f" ({term.label})"
            first = ":".join(factor.key) + label if i == 0 else ""
            others = [correlations[a, i] for a, b in term.level_structure.tabulated if b == i]
            rows.append([first, name, deviations[i], *others])
    if isinstance(fit, Fit | NonlinearFit):
        rows += residual_terms(fit)
    width = max(map(len, rows))
    columns = ["Groups", "Name", "Std.Dev.", "Corr", *[""] * width][:width]
    return pd.DataFrame([row + [np.nan] * (width - len(row)) for row in rows], columns=columns)


def residual_terms(fit: Fit | NonlinearFit) -> list[list[Any]]:
    """List the residual standard deviations, and the correlations between visits, if any."""
    near = residual_fit_of(fit)
    if near is None:
        known = "(known)" if isinstance(fit, Fit) and fit.spec.sigma2 is not None else ""
        return [["Residual", known, np.sqrt(fit.sigma2)]]
    named = near.structure.named_deviations(near.phi)
    correlations = near.structure.visit_correlations(near.phi)
    return [
        [
            "Residual" if i == 0 else "",
            name,
            np.sqrt(fit.sigma2) * relative,
            *(() if correlations is None else correlations[i, :i]),
        ]
        for i, (name, relative) in enumerate(named)
    ]


def _sizes(fit: Fit | GeneralizedFit | NonlinearFit, n_rows: float) -> str:
    layout = fit.products.layout
    blocks = fit.products.factors
    factors = dict.fromkeys(term.factor for term in fit.ordered_terms)
    sizes = {
        blocks[factor].index.name: fit.spec.members(factor) or len(blocks[factor].index)
        for factor in factors
        if layout.factors[factor].key
    }
    groups = "; ".join(f"{name}, {size}" for name, size in sizes.items())
    return f"number of obs: {n_rows:.15g}" + (groups and f", groups: {groups}")


def _generalized_notes(fit: GeneralizedFit) -> list[str]:
    family = fit.family
    way = "Laplace's approximation" if fit.quadrature == 1 else f"{fit.quadrature} nodes"
    stated = f"family: {family.name}, link: {family.link}" + (f", {way}" if fit.spec.terms else "")
    for name, value in fit.scales.items():
        stated += f", {name} = {value:.3g}"
    notes = [_sizes(fit, fit.n_observations), stated]
    notes += [*_priors(fit), f"AIC = {fit.aic:.1f}, deviance = {fit.deviance:.1f}"]
    if fit.separated:
        names = ", ".join(infinite_names(fit))
        notes.append(f"infinite, because of separation: {names}")
    return [*notes, _state(fit)]


def _nonlinear_notes(fit: NonlinearFit) -> list[str]:
    ways = {"laplace": "Laplace's approximation", "lindstrom-bates": "Lindstrom and Bates's method"}
    way = ways[fit.method] if fit.spec.terms else "least squares"
    restricted = fit.spec.method == "reml" and bool(fit.spec.terms)
    stated = f"{way}{', by REML' if restricted else ''}, derivatives: {fit.derivatives}"
    name = "REML criterion" if restricted else "deviance"
    criteria = f"AIC = {fit.aic:.1f}, {name} = {fit.criterion:.1f}"
    of_residuals = residual_fit_of(fit)
    found = [] if of_residuals is None else _of_residuals(of_residuals)
    return [_sizes(fit, fit.n_observations), *found, stated, criteria, _state(fit)]


def _mixed_notes(fit: Fit) -> list[str]:
    notes = [_sizes(fit, fit.problem.n_observations)]
    if isinstance(fit, ResidualFit):
        notes += _of_residuals(fit)
    if fit.is_determined:
        notes += _criteria(fit)
    return [*notes, _state(fit)]


def _of_residuals(fit: ResidualFit) -> list[str]:
    """Report the parameters of a residual structure that are not in the table of error terms."""
    shown = [each for each in fit.residual_parameters if not each.name.startswith("ratio ")]
    if fit.structure.visit_correlations(fit.phi) is not None or not shown:
        return []
    return ["residuals: " + ", ".join(f"{each.name} = {each.value:.3g}" for each in shown)]


def _criteria(fit: Fit) -> list[str]:
    if fit.report.monte_carlo is not None:
        return _estimated(fit, fit.report.monte_carlo)
    deviance, value = fit.deviance, fit.criterion - fit.penalty
    restricted = fit.spec.method == "reml"
    return [
        *_priors(fit),
        f"AIC = {fit.aic:.1f}, DIC = {2.0 * deviance - value:.1f}",
        f"deviance = {deviance:.1f}" + (f", REML criterion = {value:.1f}" if restricted else ""),
    ]


def _priors(fit: Fit | GeneralizedFit) -> list[str]:
    """Report the priors of the covariances, and their penalty."""
    named = [
        f"{fit.products.factors[term.factor].index.name} ~ {term.penalty.name}"
        for term in fit.spec.terms
        if term.penalty is not None
    ]
    named = list(dict.fromkeys(named))
    return [f"prior: {'; '.join(named)}; penalty = {fit.penalty:.1f}"] if named else []


def _estimated(fit: Fit, noise: MonteCarlo) -> list[str]:
    """Report the Monte Carlo errors of a fit by the iterative solver, and why it was chosen."""
    errors = MonteCarloErrors.of(fit)
    name = "REML criterion" if fit.spec.method == "reml" else "deviance"
    names = [fit.products.factors[factor].index.name for factor in fit.spec.used_factors]
    parts = []
    for factor, covariance, error in zip(names, fit.covariances, errors.covariances, strict=True):
        deviations = np.sqrt(np.diag(covariance))
        halves = np.diag(error) / np.where(deviations > 0, 2.0 * deviations, np.inf)
        parts.append(f"{factor} {', '.join(f'{half:.2g}' for half in halves)}")
    parts.append(f"residual {errors.sigma2 / (2.0 * np.sqrt(fit.sigma2)):.2g}")
    numbers = ", ".join(
        f"{factor} {n}" if n else f"{factor} none"
        for factor, n in zip(names, noise.n_probes, strict=True)
    )
    return [
        f"AIC = {fit.aic:.1f}, {name} = {fit.criterion:.1f}, "
        f"Monte Carlo s.e. {errors.criterion:.2g}",
        f"solver: iterative ({fit.report.reason})",
        f"random vectors: {numbers}",
        f"Monte Carlo s.e. of Std.Dev.: {'; '.join(parts)}",
    ]


def _state(fit: Fit | GeneralizedFit | NonlinearFit) -> str:
    """Report in one sentence whether the search converged, and where to."""
    if not isinstance(fit, GeneralizedFit) and not fit.is_determined:
        return "The fixed part fits the data exactly, so there is no variance left to estimate."
    if not fit.report.converged:
        return f"The search did not converge: {fit.report.message}."
    if fit.is_singular:
        return "The search converged to a singular fit: a variance is zero or a correlation is +-1."
    return "The search converged."


def _linear_notes(fit: Fit, digits: int) -> list[str]:
    n = fit.problem.n_observations
    return [
        f"n = {n:.15g}, k = {fit.rank}",
        f"residual sd = {np.sqrt(fit.sigma2):.{digits}f}, R-Squared = {r_squared(fit):.2f}",
    ]


def r_squared(fit: Fit) -> float:
    """Return the R-squared of an ordinary linear model.

    It is taken about the mean if there is an intercept, otherwise about zero, as in R.
    """
    fixed = (CONSTANT,) if fit.spec.has_intercept else ()
    null = Fit.of(fit.products, ModelSpec(fixed, (), fit.spec.method, fit.spec.weighting))
    residual = fit.optimum.square / fit.problem.model.response_scale**2
    total = null.sigma2 * null.problem.degrees
    return 1.0 - residual / total if total > 0 else float("nan")


def rounded(table: pd.DataFrame, digits: int) -> pd.DataFrame:
    """Write the numbers of a table as text with a given number of decimals; NaN as empty text."""

    def text(value: Any) -> str:
        if isinstance(value, str):
            return value
        if np.isnan(value):
            return ""
        return f"{value if round(value, digits) else 0.0:.{digits}f}"

    return table.map(text)


def as_text(table: pd.DataFrame, *, index: bool = True) -> str:
    """Lay out a table of text in lines: names to the left, numbers to the right."""
    columns = [list(table.iloc[:, i]) for i in range(table.shape[1])]
    heads = [str(name) for name in table.columns]
    if index:
        columns.insert(0, [str(label) for label in table.index])
        heads.insert(0, "")
    lines = []
    widths = [
        max(len(text) for text in [head, *column])
        for head, column in zip(heads, columns, strict=True)
    ]
    left = 1 if index else 2
    for cells in [heads, *zip(*columns, strict=True)]:
        padded = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append((" " if not index else "") + " ".join(padded).rstrip())
    return "\n".join(lines)


def _as_html(title: str, parts: Sequence[str], notes: Sequence[str]) -> str:
    """Put the parts of a summary beneath its title and above its notes."""
    head = f"<p><code>{html.escape(title)}</code></p>"
    return "<div>" + "\n".join([head, *parts, _as_lines(notes)]) + "</div>"


def _as_lines(notes: Sequence[str]) -> str:
    return "<p>" + "<br>".join(map(html.escape, notes)) + "</p>"


@dataclass(frozen=True, slots=True, eq=False)
class GroupModel:
    """The model of one group."""

    title: str  # which group
    coefficients: pd.DataFrame  # (k, 2), estimate and standard error of every coefficient
    notes: tuple[str, ...]  # sizes and deviances, a line each


@dataclass(frozen=True, slots=True, eq=False)
class GroupSummary:
    """Summary of grouped models; prints as text, shows as HTML in a notebook."""

    title: str
    models: tuple[GroupModel, ...]  # of the groups shown
    notes: tuple[str, ...]  # about all groups, a line each
    digits: int = 2  # decimals of estimates and standard errors

    def __str__(self) -> str:
        """Return the summary as text."""
        parts = [self.title]
        for model in self.models:
            table = as_text(self._texts(model))
            parts += ["", model.title, table, "---", *(f"  {note}" for note in model.notes)]
        return "\n".join([*parts, "", *self.notes])

    __repr__ = __str__

    def _texts(self, model: GroupModel) -> pd.DataFrame:
        texts = rounded(model.coefficients, self.digits)
        return texts.mask(model.coefficients.isna(), "-")

    def _repr_html_(self) -> str:
        parts = []
        for model in self.models:
            parts.append(f"<p>{html.escape(model.title)}</p>")
            parts.append(self._texts(model).to_html(border=0))
            parts.append(_as_lines(model.notes))
        return _as_html(self.title, parts, self.notes)


def deviance_notes(
    n: float, k: int, deviance: float, null_deviance: float, sd: float, digits: int
) -> tuple[str, ...]:
    """Write the lines below the coefficients of a linear model, as ``arm::display`` does.

    `n` is the number of rows and `k` that of coefficients. The deviances are residual sums of
    squares, of the model and of the intercept-only model. `sd` is NaN if no residual degrees of
    freedom are left; it has `digits` decimals.
    """
    lines = [
        f"n = {n:.15g}, k = {k}",
        f"residual deviance = {deviance:.1f}, null deviance = {null_deviance:.1f} "
        f"(difference = {null_deviance - deviance:.1f})",
    ]
    if np.isfinite(sd):
        lines += [
            f"overdispersion parameter = {sd**2:.1f}",
            f"residual sd is sqrt(overdispersion) = {sd:.{digits}f}",
        ]
    return tuple(lines)
