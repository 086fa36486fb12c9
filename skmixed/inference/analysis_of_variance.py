"""F tests of the terms of the fixed part."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd

from skmixed.inference.fitted import design_of, formula_of
from skmixed.inference.table import Table
from skmixed.inference.term_hypotheses import BY_TYPE
from skmixed.inference.testing import CoefficientTests, DfMethod

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
