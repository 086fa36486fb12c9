"""Tests of single terms, by removing them from a model or adding them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from skmixed.core.fit import Fit
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.design.grammar.updating import fixed_terms_of, spelled, updated_parts
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.estimators.reading._formula_rows import random_text
from skmixed.inference.comparable import check_same_data
from skmixed.inference.compare import BOUNDARY_NOTE, ratio_row, ratio_test
from skmixed.inference.fitted import MixedFit, check_unpenalised, formula_of, snapshot
from skmixed.inference.fixed_effects.term_tests import marginal_tests
from skmixed.inference.fixed_effects.testing import CoefficientTests, DfMethod
from skmixed.inference.table import Table
from skmixed.model_selection.changed._updates import (
    GivenRows,
    changed,
    evaluated,
    fitted_estimator,
    parts_of,
)
from skmixed.model_selection.changed._variants import (
    F_COLUMNS,
    NONE,
    RATIO_COLUMNS,
    Variant,
    f_row,
    row_frame,
)

TermTest = Literal["auto", "f", "lrt"]
BY_RATIO = "Likelihood ratios by maximum likelihood."


def drop1(
    model: Any,
    scope: str | Sequence[str] | None = None,
    *,
    test: TermTest = "auto",
    df: DfMethod = "auto",
    X: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
) -> Table:
    """Test each fixed-effect term by removing it from the model.

    Parameters
    ----------
    model : estimator
        A fitted mixed model, linear or generalized.
    scope : str, list of str or None, default=None
        Terms to test; a string is a formula, ``"~ x + z"``. None for all terms that can be removed,
        those contained in no interaction.
    test : {"auto", "f", "lrt"}, default="auto"
        F tests, or likelihood-ratio tests of fits by maximum likelihood. "auto" is "f" for linear
        models and "lrt" for generalized ones, which have no F test.
    df : {"auto", "satterthwaite", "kenward-roger", "residual", "normal"}, default="auto"
        Method for the denominator degrees of freedom of F tests, as in
        `skmixed.inference.coefficient_table`.
    X, y, sample_weight, groups : array-like, default=None
        The training data, as passed to `fit`, to which generalized models are refitted. Linear
        models need none. After `lmer`, `glmer`, `clmm` or `nlmer` the data frame X is enough: y and
        the weights, such as trials, are read from it.

    Returns
    -------
    Table
        For F tests a row per term: sum_sq, mean_sq, num_df, df (denominator), statistic and
        p_value. For likelihood ratios a row for the model, ``<none>``, then one for the model
        without each term: n_parameters, log_likelihood, aic, statistic, df and p_value
        (chi-squared).

    Raises
    ------
    ValueError
        If a term is not in the model or is contained in another, test="f" is given for a
        generalized model, the model has a `prior`, or a generalized model gets no data.
    TypeError
        If the model is nonlinear or a posterior.

    See Also
    --------
    add1 : Test terms that are not in the model.
    step : Remove terms until all that remain are significant.
    skmixed.inference.anova : Type I, II and III tests of all terms.

    Notes
    -----
    In R: ``drop1`` of lmerTest for F, ``drop1(test = "Chisq")`` of lme4 for likelihood ratios. All
    reduced linear models are fitted from the cross-products.

    References
    ----------
    .. [1] Kuznetsova, A., Brockhoff, P. B. & Christensen, R. H. B. (2017). lmerTest package: tests
       in linear mixed effects models. Journal of Statistical Software 82(13),
       :doi:`10.18637/jss.v082.i13`.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.model_selection import drop1
    >>> model = lmer("Reaction ~ Days + I(Days^2) + (Days | Subject)", load_sleepstudy())
    >>> print(drop1(model, test="lrt").to_frame()[["aic", "statistic", "p_value"]].round(3))
                       aic  statistic  p_value
    <none>        1764.282        NaN      NaN
    Days          1769.185      6.903    0.009
    I(Days ** 2)  1763.939      1.658    0.198
    """
    model = fitted_estimator(snapshot(model))
    rows = evaluated(model, GivenRows(X, y, sample_weight, groups))
    variant = Variant.of(model, rows, "drop1")
    names = _in_question(variant, scope)
    title = f"Terms left out one at a time: {formula_of(model)}"
    if by_f(variant.fit, test):
        return Table(title, variant.dropped_tests(names, df), (f_note(variant.fit, df),))
    return Table(title, variant.dropped_ratios(names), (BY_RATIO,))


def by_f(fit: MixedFit, test: str) -> bool:
    """Tell whether terms are tested by F. Raises ValueError for an unavailable test."""
    if test not in ("auto", "f", "lrt"):
        raise ValueError(f"test={test!r} is not one of 'auto', 'f' and 'lrt'")
    if test == "f" and not isinstance(fit, Fit):
        raise ValueError(
            "a generalized model has no F test: use test='lrt', or Wald tests by "
            "skmixed.inference.anova"
        )
    return test == "f" or (test == "auto" and isinstance(fit, Fit))


def f_note(fit: MixedFit, df: DfMethod) -> str:
    """Return the note on the degrees of freedom."""
    return CoefficientTests.of(fit, df).note


def _in_question(variant: Variant, scope: str | Sequence[str] | None) -> Sequence[str]:
    """Return the terms to remove. Raises ValueError for those that cannot be removed."""
    droppable = variant.droppable
    if scope is None:
        return droppable
    names = named_terms(variant, scope)
    for name in names:
        if name not in droppable:
            raise ValueError(
                f"{name!r} is contained in another term, which must be removed first; terms that "
                f"can be removed are {droppable}"
            )
    return names


def named_terms(variant: Variant, asked: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of terms as spelled by a user; ValueError if one is not in the model."""
    text = asked if isinstance(asked, str) else " + ".join(asked)
    known = {identity(operands): name for name, operands in variant.terms.items()}
    terms = fixed_terms_of(text.partition("~")[2] or text) if text else []
    unknown = [":".join(each) for each in terms if identity(each) not in known]
    if unknown:
        raise ValueError(f"{unknown} are not terms of the model, which has {list(variant.terms)}")
    return tuple(known[identity(each)] for each in terms)


def identity(operands: Sequence[str]) -> frozenset[str]:
    """Return what identifies a term, however it is spelled."""
    return frozenset(map(spelled, operands))


def add1(
    model: Any,
    scope: str | Sequence[str],
    *,
    test: TermTest = "auto",
    df: DfMethod = "auto",
    X: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
) -> Table:
    """Test terms that are not in the model by adding each in turn.

    Parameters
    ----------
    model : estimator
        A fitted mixed model, linear or generalized.
    scope : str or list of str
        Terms to test: a formula in which a dot stands for the model, ``"~ . + x + z"`` or
        ``"~ .^2"``, or a list of terms, ``["x", "z"]``. Either fixed-effect terms, or only
        random-effects terms, ``"~ . + (1 | item)"``. An interaction is tested only once the terms
        it contains are in the model.
    test : {"auto", "f", "lrt"}, default="auto"
        As in `drop1`. Random-effects terms are always tested by likelihood ratios.
    df : {"auto", "satterthwaite", "kenward-roger", "residual", "normal"}, default="auto"
        Method for the denominator degrees of freedom of F tests, as in
        `skmixed.inference.coefficient_table`.
    X, y, sample_weight, groups : array-like
        The training data, as passed to `fit`, with the columns of the new terms: for a model fitted
        from a formula, the data frame as X alone.

    Returns
    -------
    Table
        As in `drop1`, a row per term added. Likelihood ratios of random-effects terms use the
        criterion of the model and have p_boundary as well, as in `skmixed.inference.ranova`.

    Raises
    ------
    ValueError
        If no data are given, the scope has no new terms or terms of both kinds, the new columns
        have missing values in rows of the fit, and as in `drop1`.
    TypeError
        If the model is nonlinear or a posterior.

    See Also
    --------
    drop1 : Test terms that are in the model.
    update : Fit the model with the term.

    Notes
    -----
    In R: ``add1``, or ``anova`` of two fits. Every larger model is fitted to the data.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.model_selection import add1
    >>> data = load_sleepstudy()
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", data)
    >>> add1(model, "~ . + I(Days^2)", X=data).to_frame()[["statistic", "p_value"]].round(3)
               statistic  p_value
    I(Days^2)      1.656      0.2
    """
    model = fitted_estimator(snapshot(model))
    rows = GivenRows(X, y, sample_weight, groups, "raise")
    if not rows.are_there:
        raise ValueError(
            "adding terms requires the training data, which the model does not keep: pass X"
        )
    check_kind(model, "add1")
    fixed, random = additions(model, scope)
    if not fixed and not random:
        raise ValueError(f"{scope!r} has no term that is not already in the model")
    if fixed and random:
        raise ValueError(
            "the scope has both fixed-effect and random-effects terms, whose tests differ: test "
            "one kind at a time"
        )
    title = f"Terms added one at a time: {formula_of(model)}"
    if random:
        frame = random_additions(model, larger_models(model, random, rows))
        note = "By restricted likelihood." if model.fit_.spec.method == "reml" else BY_RATIO
        return Table(title, frame, (note, BOUNDARY_NOTE))
    larger = larger_models(model, fixed, rows)
    if by_f(model.fit_, test):
        return Table(title, added_tests(model, larger, df), (f_note(model.fit_, df),))
    return Table(title, added_ratios(model, larger), (BY_RATIO,))


def check_kind(model: MixedEstimator[Any], use: str) -> None:
    """Raise TypeError or ValueError for models whose terms cannot be compared by likelihood."""
    state = model._state()
    rowless = isinstance(state.fit, Fit) or not hasattr(model, "fit_")
    if rowless or isinstance(state.fit, NonlinearFit):
        Variant.of(model, GivenRows(), use)
    check_unpenalised(state.fit, use)


def additions(
    model: MixedEstimator[Any], scope: str | Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the terms of a scope that can be added next: fixed-effect and random-effects terms."""
    parts = parts_of(model)
    text = scope if isinstance(scope, str) else " + ".join([".", *scope])
    upper = updated_parts(parts, text)
    known = {identity(each) for each in fixed_terms_of(parts.fixed)}
    new = {identity(each): ":".join(each) for each in fixed_terms_of(upper.fixed)}
    new = {key: term for key, term in new.items() if key not in known}
    fixed = [term for key, term in new.items() if not any(other < key for other in new)]
    random = [str(random_text((each,))) for each in upper.random if each not in parts.random]
    return fixed, random


Larger = dict[str, MixedEstimator[Any]]
"""Models with one term more, by the term."""


def larger_models(model: MixedEstimator[Any], terms: Sequence[str], rows: GivenRows) -> Larger:
    """Fit a model with each of some terms added. Raises ValueError if these omit rows."""
    larger = {term: changed(model, f". ~ . + {term}", rows, {}) for term in terms}
    for term, each in larger.items():
        check_same_data([model._state().fit, each._state().fit], ["the model", f"that with {term}"])
    return larger


def added_tests(model: MixedEstimator[Any], larger: Larger, df: DfMethod) -> pd.DataFrame:
    """Test by F what each added term contributes, (n_terms, 6)."""
    known, rows = model._state().design.fixed_design.terms, {}
    for term, each in larger.items():
        design = each._state().design
        (name,) = (name for name in design.fixed_design.terms if name not in known)
        tests = CoefficientTests.of(each, df)
        rows[term] = f_row(tests.fit, marginal_tests(tests, design.fixed_design.part)[name])
    return row_frame(rows, F_COLUMNS)


def added_ratios(model: MixedEstimator[Any], larger: Larger) -> pd.DataFrame:
    """Test the same by likelihood ratios of ML fits; the model's row comes first."""
    before = model._state().fit.with_method("ml")
    fits = {term: each._state().fit.with_method("ml") for term, each in larger.items()}
    return _compared(before, fits)[list(RATIO_COLUMNS)]


def random_additions(model: MixedEstimator[Any], larger: Larger) -> pd.DataFrame:
    """Compare models with one more random-effects term by the criterion of the model."""
    return _compared(model._state().fit, {term: e._state().fit for term, e in larger.items()})


def _compared(before: MixedFit, fits: Mapping[str, MixedFit]) -> pd.DataFrame:
    rows = {NONE: ratio_row(before, None)}
    for term, fit in fits.items():
        rows[term] = {**ratio_row(fit, None), **ratio_test(before, fit)}
    return row_frame(rows, (*RATIO_COLUMNS, "p_boundary"))
