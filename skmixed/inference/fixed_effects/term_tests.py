"""Tests of the fixed terms, of type I, II or III: F tests, or Wald's chi-squared tests.

Type I asks what a term adds to those before it, type II what it adds to all that do not contain it.
Both are rows of R beta, R being the upper Cholesky factor of X'X for all columns of X in the order
required, so that the hypothesis does not depend on which dependent columns were dropped. For
generalized models the information on the coefficients takes the place of X'X, and statistics are
differences of Wald statistics. Type III is in `skmixed.inference.fixed_effects.type_three`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import linalg

from skmixed.core.linalg import FloatArray, triangular_solution
from skmixed.core.model.fixed_part import FixedPart
from skmixed.core.model.scaling import independent_columns
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.inference.fitted import design_of, formula_of, snapshot
from skmixed.inference.fixed_effects.robust import RobustCovariance
from skmixed.inference.fixed_effects.testing import (
    NO_RESTRICTIONS,
    CoefficientTests,
    DfMethod,
    JointTest,
)
from skmixed.inference.fixed_effects.type_three import mean_functions
from skmixed.inference.table import Table

TermTests = dict[str, JointTest]


def tested_terms(part: FixedPart) -> dict[str, list[int]]:
    """Return the positions of the columns of each term except the constant."""
    return {
        term: places
        for term, places in part.terms.items()
        if part.columns[places[0]].codes or part.columns[places[0]].numbers
    }


def sequential_tests(tests: CoefficientTests, part: FixedPart) -> TermTests:
    """Test each term except the constant after those before it (type I)."""
    return {
        term: _test_after(tests, places, list(range(places[0])))
        for term, places in tested_terms(part).items()
    }


def marginal_tests(tests: CoefficientTests, part: FixedPart) -> TermTests:
    """Test each term except the constant after all that do not contain it (type II)."""
    found = {}
    for term, places in tested_terms(part).items():
        others = [
            place
            for other, its in part.terms.items()
            if other != term and not part.contains(other, term)
            for place in its
        ]
        found[term] = _test_after(tests, places, others)
    return found


def mean_tests(tests: CoefficientTests, part: FixedPart) -> TermTests:
    """Test each term except the constant at means over the other factors (type III)."""
    terms = tested_terms(part)
    if len(terms) == 1:
        return sequential_tests(tests, part)
    return {term: _test_of(tests, mean_functions(tests, part, term)) for term in terms}


BY_TYPE = {"I": sequential_tests, "II": marginal_tests, "III": mean_tests}
_ADDS_NOTHING_TO = {
    "I": "the terms before",
    "II": "the terms that do not contain it",
    "III": "the other terms",
}


def _notes(results: TermTests, type: str) -> list[str]:
    """Return notes on the terms without a test."""
    return [
        f"{term} is not tested: "
        + ("its coefficients are infinite." if test.num_df else f"it adds nothing to {others}.")
        for others in [_ADDS_NOTHING_TO[type]]
        for term, test in results.items()
        if np.isnan(test.statistic)
    ]


def _without_infinite(tests: CoefficientTests, part: FixedPart, results: TermTests) -> TermTests:
    """Remove the tests of terms that have infinite coefficients, or are contained in such terms."""
    infinite = {
        term for term, places in part.terms.items() if not set(places).isdisjoint(tests.infinite)
    }
    kept = set(tests.fit.kept)
    return {
        term: JointTest(np.nan, len(kept & set(part.terms[term])), np.inf, np.nan)
        if any(other == term or part.contains(other, term) for other in infinite)
        else test
        for term, test in results.items()
    }


def _test_after(tests: CoefficientTests, own: list[int], before: list[int]) -> JointTest:
    """Test what columns add to others, by their positions among all fixed columns."""
    gram = tests.gram.products
    order = before + own
    chosen = [order[n] for n in independent_columns(gram[np.ix_(order, order)])]
    root = linalg.cholesky(gram[np.ix_(chosen, chosen)], lower=True)
    rows = triangular_solution(root, gram[chosen], lower=True)
    return _test_of(tests, rows[[place in own for place in chosen]])


def _test_of(tests: CoefficientTests, functions: FloatArray) -> JointTest:
    """Test estimable functions, (m, n_fixed), of coefficients as in a `FixedGram`."""
    if not len(functions):
        return NO_RESTRICTIONS
    fit, kept = tests.fit, list(tests.fit.kept)
    scales = tests.gram.units[kept] * np.diag(tests.to_raw)
    rows = functions[:, kept] * scales
    return tests.joint_scaled(rows, rows @ np.linalg.solve(tests.to_raw, fit.beta[kept]))


_TYPES = {1: "I", 2: "II", 3: "III", "1": "I", "2": "II", "3": "III"}


def anova(
    model: Any,
    type: Literal["I", "II", "III", 1, 2, 3] = "III",
    *,
    df: DfMethod = "auto",
    covariance: RobustCovariance | None = None,
) -> Table:
    """Compute an analysis-of-variance table with a test of each fixed term.

    Use it for terms with several coefficients, such as factors and interactions. `compare_models`
    has likelihood-ratio tests instead, and `ranova` tests the random terms.

    Read more in the user guide: :doc:`/guide/inference`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model. Without a formula each column is a term.
    type : {"I", "II", "III", 1, 2, 3}, default="III"
        Type of the hypotheses. I: a term after those before it. II: a term after all that do not
        contain it. III: a term after all others, as a comparison of means over the levels of the
        other factors, with equal weights.
    df : {"auto", "satterthwaite", "kenward-roger", "residual", "normal"}, default="auto"
        Method for the denominator degrees of freedom; see `coefficient_table`.
    covariance : RobustCovariance or None, default=None
        Result of `robust_covariance`, for cluster-robust standard errors; None uses the model-based
        covariance.

    Returns
    -------
    Table
        A row for each term; columns sum_sq, mean_sq, num_df, df (denominator), statistic (F) and
        p_value. The sums of squares are scaled so that mean_sq is F times the residual variance;
        there are none with a residual structure. Generalized and nonlinear models have none either,
        and their statistic is Wald's chi-squared with num_df degrees of freedom. A term that adds
        nothing to those it is tested against has num_df 0 and NaN, with a note; terms with infinite
        coefficients are NaN as well.

    Raises
    ------
    ValueError
        For an unknown type, and as in `coefficient_table`.
    TypeError
        For a second model: use `compare_models`.

    See Also
    --------
    coefficient_table : Tests of single coefficients.
    marginal_means : Means at the levels of a factor, and their differences.
    compare_models : Likelihood-ratio tests of models.
    ranova : Tests of the random terms.
    skmixed.model_selection.drop1 : Likelihood-ratio tests of each term.

    Notes
    -----
    In R: ``anova(model, type = ...)`` of lmerTest; for generalized models ``Anova`` of car, with
    ``contr.sum`` for type III.

    A term contains another if it has the same numeric columns and all of its factors. Types II and
    III do not depend on coding, reference level and order of terms, even if a numeric column is a
    function of a factor, where lmerTest depends on the columns it dropped. If combinations of
    levels are missing, type III is that of SAS and lmerTest [2]_. With precision weights, types I
    and II use weighted sums of squares, lmerTest unweighted ones. The degrees of freedom of several
    restrictions depend on the hypothesis only; those of lmerTest vary slightly with the reference
    level.

    References
    ----------
    .. [1] Kuznetsova, A., Brockhoff, P. B. & Christensen, R. H. B. (2017). lmerTest package: tests
       in linear mixed effects models. Journal of Statistical Software 82(13),
       :doi:`10.18637/jss.v082.i13`, section 3.
    .. [2] Goodnight, J. H. (1980). Tests of hypotheses in fixed effects linear models.
       Communications in Statistics - Theory and Methods 9(2), 167-180,
       :doi:`10.1080/03610928008827869`.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import anova
    >>> model = lmer("Reaction ~ Days + I(Days**2) + (Days | Subject)", load_sleepstudy())
    >>> print(anova(model, type="I"))
    Analysis of variance, type I: Reaction ~ Days + I(Days**2) + (Days | Subject)
                 sum_sq mean_sq num_df   df statistic p_value
    Days          29895   29895      1   17    45.853 <0.0001
    I(Days ** 2) 1079.5  1079.5      1  143    1.6558  0.2003
    Degrees of freedom by Satterthwaite's method.
    """
    if hasattr(type, "fit"):
        raise TypeError(
            "anova tests the terms of one model: use compare_models(m1, m2) for the "
            "likelihood-ratio test of two, R's anova(m1, m2)"
        )
    wanted = _TYPES.get(type, type)
    if wanted not in BY_TYPE:
        raise ValueError(f"type={type!r} is not one of 'I', 'II' and 'III'")
    model = snapshot(model)
    tests = CoefficientTests.of(model, df, covariance)
    part = design_of(model).fixed_design.part
    results = _without_infinite(tests, part, BY_TYPE[str(wanted)](tests, part))
    frame = pd.DataFrame(
        {
            "num_df": [test.num_df for test in results.values()],
            "df": [test.df for test in results.values()],
            "statistic": [test.statistic for test in results.values()],
            "p_value": [test.p_value for test in results.values()],
        },
        index=pd.Index(list(results), dtype=object),
    )
    if not (tests.is_wald or isinstance(tests.fit, ResidualFit)):
        mean_squares = tests.fit.sigma2 * frame["statistic"]
        frame.insert(0, "sum_sq", mean_squares * frame["num_df"])
        frame.insert(1, "mean_sq", mean_squares)
    kind = "deviance" if tests.is_wald else "variance"
    title = f"Analysis of {kind}, type {wanted}: {formula_of(model)}"
    what = (
        ["The statistic is chi-squared, with num_df degrees of freedom."] if tests.is_wald else []
    )
    return Table(title, frame, (tests.note, *what, *_notes(results, str(wanted))))
