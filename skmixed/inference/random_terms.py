"""Likelihood-ratio tests of the random terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from skmixed.core.fit import Fit
from skmixed.core.generalized.generalized_fitting import fit_rows
from skmixed.core.model.spec import Term, terms_of, wholes
from skmixed.core.model.structures.named import of_fewer
from skmixed.core.rows.monte_carlo import check_exact
from skmixed.core.sums.layout import CONSTANT
from skmixed.inference.compare import BOUNDARY_NOTE, ratio_row
from skmixed.inference.fitted import (
    GivenRows,
    MixedFit,
    check_unpenalised,
    design_of,
    determined_mixed_fit_of,
    formula_of,
    observations_of_fit,
    snapshot,
)
from skmixed.inference.table import Table

Terms = tuple[Term, ...]
Slopes = tuple[tuple[str, tuple[int, ...]], ...]  # of a term, as written: name, columns


def ranova(
    model: Any,
    *,
    reduce_terms: bool = True,
    X: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
) -> Table:
    """Test each random term by a likelihood-ratio test against the model without it.

    For models of your own use `compare_models`; for exact p-values with variances on the boundary,
    `skmixed.model_selection.bootstrap_test`.

    Read more in the user guide: :doc:`/guide/inference` and :doc:`/guide/reml`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    reduce_terms : bool, default=True
        Whether to remove single slopes from a term, so that ``(x | g)`` becomes ``(1 | g)``; False
        removes whole terms.
    X, y, sample_weight, groups : array-like, default=None
        The training data, as passed to ``fit``, to which a generalized model is refitted; the model
        does not store it. Not needed for linear models. After `lmer`, `glmer`, `clmm` or `nlmer`
        the data frame X is enough: y and the weights, such as trials, are read from it.

    Returns
    -------
    Table
        Columns n_parameters, log_likelihood, aic, statistic (likelihood ratio), df, p_value
        (chi-squared) and p_boundary (the chi-squared mixture that holds if one variance is
        removed); a row for the model itself, then one for each reduction.

    Raises
    ------
    ValueError
        If the model has no random terms or was fitted with a prior, and for a generalized model
        without its training data.

    See Also
    --------
    compare_models : Comparisons of models of your own.
    anova : Tests of the fixed terms.
    skmixed.model_selection.bootstrap_test : Parametric bootstrap of a likelihood ratio.

    Notes
    -----
    In R: ``ranova`` of lmerTest; for generalized models ``anova`` of two fits. A model fitted by
    REML is compared by restricted likelihood. Linear models are refitted from their cross-products,
    generalized ones by their own approximation. A term ``(0 + x | g)`` with one slope is reduced to
    ``(1 | g)``, as in lmerTest, unless the model already has that term; then it is removed. From a
    smooth the penalised part is removed and the linear part stays; restricted likelihoods are
    compared in that case too.

    References
    ----------
    .. [1] Self, S. G. & Liang, K.-Y. (1987). Asymptotic properties of maximum likelihood estimators
       and likelihood ratio tests under nonstandard conditions. Journal of the American Statistical
       Association 82, 605-610, :doi:`10.1080/01621459.1987.10478472`, case 5.
    .. [2] Kuznetsova, A., Brockhoff, P. B. & Christensen, R. H. B. (2017). lmerTest package: tests
       in linear mixed effects models. Journal of Statistical Software 82(13),
       :doi:`10.18637/jss.v082.i13`.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import ranova
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> ranova(model).to_frame()[["statistic", "df"]].round(3)
                              statistic   df
    <none>                          NaN  NaN
    Days in (Days | Subject)     42.837  2.0
    """
    model = snapshot(model)
    fit = determined_mixed_fit_of(model)
    if not fit.spec.terms:
        raise ValueError("the model has no random terms to drop")
    check_unpenalised(fit, "a comparison of likelihoods")
    refit = refitting(model, fit, (X, y, sample_weight, groups), "a test of the random terms")
    slopes = design_of(model).slopes
    frame, notes = reduced_fits(fit, slopes, refit, reduce_terms=reduce_terms).tabulated(fit)
    return Table(f"Random terms dropped one at a time: {formula_of(model)}", frame, notes)


Refitting = Callable[..., MixedFit]
"""Fits a variant of a model to the same data; its arguments are fields of `ModelSpec`."""


def refitting(model: Any, fit: MixedFit, rows: GivenRows, use: str) -> Refitting:
    """Return a function that fits variants of a model; `rows` are X, y, weights and groups.

    `use` is what they are needed for.
    """
    if isinstance(fit, Fit):
        check_exact(fit, "a comparison of likelihoods")
        return lambda **changes: fit.refit(**changes)
    observations = observations_of_fit(model, *rows, use)
    return lambda **changes: fit_rows(
        observations.layout,
        observations.given,
        replace(fit.spec, **changes),
        fit.family,
        offset=observations.offset,
        quadrature=fit.quadrature,
    )


@dataclass(frozen=True, slots=True, eq=False)
class ReducedFits:
    """Fits that each lack one random term, or one slope."""

    names: tuple[str, ...]  # of what is left out
    fits: tuple[MixedFit, ...]
    slopes: tuple[tuple[Slopes, ...], ...]  # that are left, of every term of every fit

    def tabulated(self, fit: MixedFit) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """Compare them with the fit that has all terms; return the figures and notes."""
        rows = [ratio_row(each, None if each is fit else fit) for each in (fit, *self.fits)]
        frame = pd.DataFrame(rows, index=pd.Index(["<none>", *self.names]))
        restricted = fit.spec.method == "reml"
        notes = ["By restricted likelihood." if restricted else "By maximum likelihood."]
        if any(not each.report.converged for each in (fit, *self.fits)):
            notes.append("Some model did not converge: its figures may be wrong.")
        if not frame["p_boundary"].isna().all():
            notes.append(BOUNDARY_NOTE)
        return frame, tuple(notes)


def reduced_fits(
    fit: MixedFit,
    slopes: tuple[Slopes, ...],  # of every random term
    refit: Callable[..., MixedFit],
    *,
    reduce_terms: bool = True,
) -> ReducedFits:
    """Fit every reduction of the random part."""
    found = list(_reductions(fit, slopes, reduce_terms))
    return ReducedFits(
        tuple(name for name, _, _ in found),
        tuple(refit(terms=terms) for _, terms, _ in found),
        tuple(left for _, _, left in found),
    )


def _reductions(
    fit: MixedFit, slopes: tuple[Slopes, ...], reduce_terms: bool
) -> Iterator[tuple[str, Terms, tuple[Slopes, ...]]]:
    """Yield the name of each reduction, its random terms, and their slopes."""
    terms, end = fit.spec.terms, 0
    for parts in wholes(terms):
        term, place, end = parts[0], end, end + len(parts)
        of_term, others = slopes[place], terms[:place] + terms[end:]
        of_others = slopes[:place] + slopes[end:]
        text = term_text(fit, term, of_term)
        if reduce_terms and len(term.effects) > 1:
            for kind, name in enumerate(term.effects):
                if name != fit.products.layout.columns[CONSTANT]:
                    smaller = (*terms[:place], _without(term, kind), *terms[end:])
                    yield f"{name} in {text}", smaller, slopes
            continue
        if not reduce_terms or not of_term:
            yield text, others, of_others
            continue
        for name, columns in of_term:
            left = tuple(column for column in term.columns if column not in columns)
            reduced = _of_columns(term, left or (CONSTANT,))
            again = not left and any(
                other.factor == term.factor and CONSTANT in other.columns for other in others
            )
            if again:
                yield f"{name} in {text}", others, of_others
                continue
            rest = tuple(slope for slope in of_term if slope[1] != columns)
            smaller = (*terms[:place], *reduced, *terms[end:])
            of_smaller = (*slopes[:place], *(rest,) * len(reduced), *slopes[end:])
            yield f"{name} in {text}", smaller, of_smaller


def _of_columns(term: Term, columns: tuple[int, ...]) -> Terms:
    """Return a term, or all parts of its structure, with fewer columns."""
    name = of_fewer(term.whole or term.covariance, len(columns))
    return terms_of(term.factor, columns, name)


def _without(term: Term, kind: int) -> Term:
    """Return a multiple-membership term without one of the effects of a level."""
    gone = range(kind * term.copies, (kind + 1) * term.copies)
    left = tuple(name for place, name in enumerate(term.effects) if place != kind)
    return replace(
        term,
        columns=tuple(column for place, column in enumerate(term.columns) if place not in gone),
        covariance=term.covariance if len(left) > 1 else "identity",
        curve=", ".join(left),
        effects=left,
    )


def term_text(fit: MixedFit, term: Term, slopes: Slopes) -> str:
    """Write a term as in a formula; for a smooth, its nonlinear part."""
    if term.members:
        constant = fit.products.layout.columns[CONSTANT]
        others = [name for name in term.effects if name != constant]
        varying = " + ".join(["01"[constant in term.effects], *others])
        return f"({varying} | {fit.products.factors[term.factor].index.name})"
    if term.curve:
        key = fit.products.layout.factors[term.factor].key
        return f"({term.curve} | {':'.join(key)})" if key else term.curve
    names = [name for name, _ in slopes]
    if CONSTANT not in term.columns:
        names = ["0", *names]
    elif not names:
        names = ["1"]
    factor = ":".join(fit.products.layout.factors[term.factor].key)
    return term.written(" + ".join(names), factor)
