"""F tests of the terms of the fixed part, by type I, II or III.

With R the upper Cholesky factor of X'X, the rows of R beta that belong to a term are what it adds
to the terms before it: type I. Type II puts the term, and those that contain it, last. Type III
compares means over the levels of the other factors, every combination counting alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import linalg

from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray
from skmixed.core.model.fixed_part import FixedColumn, FixedPart
from skmixed.inference.fitted import design_of, formula_of, snapshot
from skmixed.inference.table import Table
from skmixed.inference.testing import (
    NO_RESTRICTIONS,
    CoefficientTests,
    DfMethod,
    JointTest,
    dropped_places,
    estimable_combinations,
)

TermTests = dict[str, JointTest]


def sequential_tests(tests: CoefficientTests, part: FixedPart) -> TermTests:
    """Test every term but the constant after those before it (type I).

    A term all of whose columns are dropped has a test without restrictions.
    """
    fit = tests.fit
    rows = _sequential_rows(tests, list(range(fit.rank)))
    return {
        term: _scaled_test(tests, rows[_kept_places(fit, places)])
        for term, places in tested_terms(part).items()
    }


def marginal_tests(tests: CoefficientTests, part: FixedPart) -> TermTests:
    """Test every term but the constant after all that do not contain it (type II)."""
    if len(tested_terms(part)) == 1:
        return sequential_tests(tests, part)
    fit = tests.fit
    terms = part.terms
    found = {}
    for term, places in tested_terms(part).items():
        own = _kept_places(fit, places)
        containing = [other for other in terms if contains(part, other, term)]
        if not containing:  # every order with the term at the end says the same
            found[term] = _scaled_test(tests, tests.to_raw[own])
            continue
        above = [place for other in containing for place in _kept_places(fit, terms[other])]
        last = {*own, *above}
        order = [place for place in range(fit.rank) if place not in last] + sorted(last)
        rows = np.zeros((fit.rank, fit.rank))
        rows[np.ix_(order, order)] = _sequential_rows(tests, order)
        found[term] = _scaled_test(tests, rows[own])
    return found


def mean_tests(tests: CoefficientTests, part: FixedPart) -> TermTests:
    """Test every term but the constant at means over the other factors (type III)."""
    if len(tested_terms(part)) == 1:
        return sequential_tests(tests, part)
    found = {}
    for term, places in tested_terms(part).items():
        if _is_full(part, term):
            kept = _kept_places(tests.fit, places)
            found[term] = _scaled_test(tests, tests.to_raw[kept])
            continue
        hypotheses = [
            estimable_combinations(tests.fit, functions, sharing)
            for functions, sharing in mean_hypotheses(part, places)
        ]
        functions = np.concatenate(hypotheses)
        functions[:, dropped_places(tests.fit)] = 0.0
        functions = functions[functions.any(axis=1)]
        found[term] = tests.joint(functions) if len(functions) else NO_RESTRICTIONS
    return found


BY_TYPE: dict[str, Callable[[CoefficientTests, FixedPart], TermTests]] = {
    "I": sequential_tests,
    "II": marginal_tests,
    "III": mean_tests,
}


def tested_terms(part: FixedPart) -> dict[str, list[int]]:
    """Return the positions of the columns of every term but the constant."""
    return {
        term: places
        for term, places in part.terms.items()
        if part.columns[places[0]].codes or part.columns[places[0]].numbers
    }


def contains(part: FixedPart, larger: str, smaller: str) -> bool:
    """Tell whether one term has the numbers of another, and its factors and more."""
    first = [part.columns[place] for place in part.terms[larger]]
    second = [part.columns[place] for place in part.terms[smaller]]
    same_numbers = {number for column in first for number in column.numbers} == {
        number for column in second for number in column.numbers
    }
    return same_numbers and set(first[0].codes) > set(second[0].codes)


def _is_full(part: FixedPart, term: str) -> bool:
    """Tell whether a term has a column for every level of a factor and no other term contains it.

    So it is without an intercept, or with slopes for levels only; its hypothesis is that all its
    coefficients are zero.
    """
    columns = [part.columns[place] for place in part.terms[term]]
    if any(contains(part, other, term) for other in part.terms):
        return False
    return any(
        len({tuple(column.codes[factor]) for column in columns}) >= len(codes)
        for factor, codes in columns[0].codes.items()
    )


def _scaled_test(tests: CoefficientTests, rows: FloatArray) -> JointTest:
    if not len(rows):
        return NO_RESTRICTIONS
    fit = tests.fit
    scaled = np.linalg.solve(tests.to_raw, fit.beta[list(fit.kept)])
    return tests.joint_scaled(rows, rows @ scaled)


def _sequential_rows(tests: CoefficientTests, order: list[int]) -> FloatArray:
    """Return the rows of R for columns in an order, (p, p), in raw units with 1 for its own."""
    root = _root(tests.fit, order)
    return root * (np.diag(tests.to_raw)[order] / np.diag(root))[:, None]


def _root(fit: Fit, order: list[int]) -> FloatArray:
    """Return the upper Cholesky factor of X'X with the columns in another order, (p, p)."""
    gram = fit.problem.model.gram[:-1, :-1]
    return np.asarray(linalg.cholesky(gram[np.ix_(order, order)], lower=False))


def _kept_places(fit: Fit, places: list[int]) -> list[int]:
    """Return where columns stand among those kept."""
    return [fit.kept.index(place) for place in places if place in fit.kept]


def mean_hypotheses(part: FixedPart, places: list[int]) -> Iterator[tuple[FloatArray, list[int]]]:
    """State the type III hypothesis of a term: functions, (m, n_fixed), and their columns.

    The columns that share the numbers of the term span a function on the combinations of levels of
    their factors: a mean, or the slope in the numbers. Its contrasts over the factors of the term,
    averaged over the other factors, are zero. One pair is yielded for every set of numbers in the
    term.
    """
    for numbers in dict.fromkeys(_numbers(part.columns[place]) for place in places):
        own = [part.columns[place] for place in places if _numbers(part.columns[place]) == numbers]
        sharing = [n for n, column in enumerate(part.columns) if _numbers(column) == numbers]
        sizes = {
            factor: len(codes) for n in sharing for factor, codes in part.columns[n].codes.items()
        }
        combine: FloatArray = np.ones((1, 1))
        for factor, size in sizes.items():
            combine = np.asarray(np.kron(combine, _level_contrasts(factor, size, own)))
        cells = np.column_stack([_on_cells(part.columns[n], sizes) for n in sharing])
        functions = np.zeros((len(combine), len(part.columns)))
        functions[:, sharing] = combine @ cells
        yield functions, sharing


def _numbers(column: FixedColumn) -> tuple[str, ...]:
    return tuple(sorted(column.numbers))


def _level_contrasts(factor: str, size: int, own: list[FixedColumn]) -> FloatArray:
    """Return what is asked of a factor's levels: their mean, differences, or every one."""
    codes = {tuple(column.codes[factor]) for column in own if factor in column.codes}
    if not codes:
        return np.full((1, size), 1.0 / size)
    if len(codes) >= size:
        return np.eye(size)
    return np.asarray(np.eye(size)[1:] - np.eye(size)[:1])


def _on_cells(column: FixedColumn, sizes: dict[str, int]) -> FloatArray:
    """Return a column at all combinations of levels, its numbers being one, (n_cells,)."""
    values = [column.codes.get(factor, np.ones(size)) for factor, size in sizes.items()]
    return np.array([np.prod(cell) for cell in itertools.product(*values)])


_TYPES = {1: "I", 2: "II", 3: "III", "1": "I", "2": "II", "3": "III"}


def anova(
    model: Any,
    type: Literal["I", "II", "III", 1, 2, 3] = "III",
    *,
    df: DfMethod = "satterthwaite",
) -> Table:
    """Test every term of the fixed part by an F test.

    Parameters
    ----------
    model : estimator
        A fitted mixed model. Without a formula every column is a term.
    type : {"I", "II", "III", 1, 2, 3}, default="III"
        What a term is tested against: the terms before it (I), all terms that do not contain it
        (II), or all others, as a comparison of means over the levels of the other factors, each
        combination counting alike (III).
    df : {"satterthwaite", "kenward-roger", "residual", "normal"}, default="satterthwaite"
        Where denominator degrees of freedom come from, as in `coefficient_table`.

    Returns
    -------
    Table
        Columns num_df, df (denominator), statistic (F) and p_value; a row a term. A term all of
        whose columns depend on others has num_df 0.

    Raises
    ------
    ValueError
        For an unknown type, and as in `coefficient_table`.

    See Also
    --------
    coefficient_table : Tests of single coefficients.
    compare_models : Likelihood-ratio tests between models.
    ranova : Tests of the random terms.

    Notes
    -----
    In R: ``anova(model, type = ...)`` of lmerTest. A term contains another if it has the same
    numeric columns and its factors and more. Under treatment contrasts or any others, type III
    tests are the same. Where combinations of levels are missing, type III tests only what the data
    determine of a hypothesis, and lmerTest something else, with a warning. With precision weights,
    types I and II go by weighted sums of squares, where lmerTest takes unweighted ones.

    References
    ----------
    .. [1] Kuznetsova, A., Brockhoff, P. B. & Christensen, R. H. B. (2017). lmerTest package: tests
       in linear mixed effects models. Journal of Statistical Software 82(13),
       :doi:`10.18637/jss.v082.i13`, section 3.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import anova
    >>> model = lmer("Reaction ~ Days + I(Days**2) + (Days | Subject)", load_sleepstudy())
    >>> print(anova(model, type="I"))
    Analysis of variance, type I: Reaction ~ Days + I(Days**2) + (Days | Subject)
                 num_df   df statistic p_value
    Days              1   17    45.853 <0.0001
    I(Days ** 2)      1  143    1.6558  0.2003
    Degrees of freedom by Satterthwaite's method.
    """
    wanted = _TYPES.get(type, type)
    if wanted not in BY_TYPE:
        raise ValueError(f"type={type!r} is not one of 'I', 'II' and 'III'")
    model = snapshot(model)
    tests = CoefficientTests.of(model, df)
    results = BY_TYPE[str(wanted)](tests, design_of(model).fixed_part)
    frame = pd.DataFrame(
        {
            "num_df": [test.num_df for test in results.values()],
            "df": [test.df for test in results.values()],
            "statistic": [test.statistic for test in results.values()],
            "p_value": [test.p_value for test in results.values()],
        },
        index=pd.Index(list(results), dtype=object),
    )
    title = f"Analysis of variance, type {wanted}: {formula_of(model)}"
    return Table(title, frame, (tests.note,))
