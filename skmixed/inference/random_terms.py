"""Tests of the random terms: every one reduced in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from skmixed.core.fit import Fit
from skmixed.core.model.spec import Term
from skmixed.core.rows.monte_carlo import check_exact
from skmixed.core.sums.layout import CONSTANT
from skmixed.inference.compare import BOUNDARY_NOTE, NO_TEST, ratio_test
from skmixed.inference.fitted import design_of, determined_fit_of, formula_of, snapshot
from skmixed.inference.table import Table

Slopes = tuple[tuple[str, tuple[int, ...]], ...]  # of a term, as written: name, columns


def ranova(model: Any, *, reduce_terms: bool = True) -> Table:
    """Test the random terms by dropping each in turn.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    reduce_terms : bool, default=True
        Take single slopes out of a term, so that ``(x | g)`` becomes ``(1 | g)``; False takes out
        whole terms.

    Returns
    -------
    Table
        Columns n_parameters, log_likelihood, aic, statistic (likelihood ratio), df, p_value
        (chi-squared) and p_boundary (the mixture that holds where one variance is dropped); first
        a row for the model itself, then one for each reduction.

    Raises
    ------
    ValueError
        If the model has no random terms.

    See Also
    --------
    compare_models : Comparisons of models of your own.

    Notes
    -----
    In R: ``ranova`` of lmerTest. A model fitted by REML is compared by restricted likelihood. The
    reductions are refitted from the cross-products of the model. A term ``(0 + x | g)`` of one
    slope is reduced to ``(1 | g)``, as lmerTest does, unless the model has that term already;
    then it goes.

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
    fit = determined_fit_of(model)
    check_exact(fit, "a comparison of likelihoods")
    if not fit.spec.terms:
        raise ValueError("the model has no random terms to drop")
    slopes = design_of(model).slopes
    rows, names = [_row(fit, None)], ["<none>"]
    for name, terms in _reductions(fit, slopes, reduce_terms):
        names.append(name)
        rows.append(_row(fit.refit(terms=terms), fit))
    frame = pd.DataFrame(rows, index=pd.Index(names))
    restricted = fit.spec.method == "reml"
    notes = ["By restricted likelihood." if restricted else "By maximum likelihood."]
    if not frame["p_boundary"].isna().all():
        notes.append(BOUNDARY_NOTE)
    return Table(f"Random terms dropped one at a time: {formula_of(model)}", frame, tuple(notes))


def _row(fit: Fit, larger: Fit | None) -> dict[str, float]:
    test = NO_TEST if larger is None else ratio_test(fit, larger)
    return {
        "n_parameters": fit.n_parameters,
        "log_likelihood": -0.5 * fit.criterion,
        "aic": fit.criterion + 2.0 * fit.n_parameters,
        **test,
    }


def _reductions(
    fit: Fit, slopes: tuple[Slopes, ...], reduce_terms: bool
) -> Iterator[tuple[str, tuple[Term, ...]]]:
    """Yield the name of every reduction and the random terms that it leaves."""
    terms = fit.spec.terms
    for place, (term, of_term) in enumerate(zip(terms, slopes, strict=True)):
        others = terms[:place] + terms[place + 1 :]
        text = _text(fit, term, of_term)
        if not reduce_terms or not of_term:
            yield text, others
            continue
        for name, columns in of_term:
            left = tuple(column for column in term.columns if column not in columns)
            reduced = Term(term.factor, left or (CONSTANT,), term.covariance)
            again = not left and any(
                other.factor == term.factor and CONSTANT in other.columns for other in others
            )
            smaller = others if again else (*terms[:place], reduced, *terms[place + 1 :])
            yield f"{name} in {text}", smaller


def _text(fit: Fit, term: Term, slopes: Slopes) -> str:
    """Write a term as a formula does."""
    names = [name for name, _ in slopes]
    if CONSTANT not in term.columns:
        names = ["0", *names]
    elif not names:
        names = ["1"]
    factor = ":".join(fit.products.layout.factors[term.factor].key)
    return term.structure.written(" + ".join(names), factor)
