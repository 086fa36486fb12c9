"""Tests of linear hypotheses about the fixed coefficients.

Hypotheses may be written as equations in the names of coefficients, such as ``"2 * Days - x = 1"``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.linalg import FloatArray
from skmixed.inference.fitted import coefficient_names, formula_of, snapshot, stated_places
from skmixed.inference.fixed_effects.coefficients import function_frame, with_interval
from skmixed.inference.fixed_effects.robust import RobustCovariance
from skmixed.inference.fixed_effects.testing import CoefficientTests, DfMethod
from skmixed.inference.table import Table, TabularResult


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LinearHypothesis(TabularResult):
    """Tests of linear functions of the coefficients, singly and jointly.

    Parameters
    ----------
    table : Table
        A row for each function, with its t test (z for a generalized model) and interval; a column
        rhs holds the values under the null hypothesis unless all are 0.
    statistic : float
        F statistic of the joint test, or Wald's chi-squared for a generalized model.
    num_df : int
        Number of independent restrictions: numerator degrees of freedom, or those of chi-squared.
    df : float
        Denominator degrees of freedom.
    p_value : float
        P-value of the joint test.

    See Also
    --------
    linear_hypothesis : The function that returns it.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import linear_hypothesis
    >>> model = lmer("Reaction ~ Days + (1 | Subject)", load_sleepstudy())
    >>> linear_hypothesis(model, ["(Intercept) = 250", "Days = 10"]).num_df
    2
    """

    table: Table
    statistic: float
    num_df: int
    df: float
    p_value: float

    def _table(self) -> Table:
        return self.table


def linear_hypothesis(
    model: Any,
    L: Any,
    rhs: Any = None,
    *,
    df: DfMethod = "auto",
    level: float = 0.95,
    covariance: RobustCovariance | None = None,
) -> LinearHypothesis:
    """Test linear hypotheses about the fixed coefficients, singly and jointly.

    For whole terms use `anova`, for means of levels and their differences `marginal_means`.

    Read more in the user guide: :doc:`/guide/inference`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    L : str, list of str, DataFrame or array-like of shape (m, n_fixed) or (n_fixed,)
        Equations in the names of the coefficients, such as ``"Days = 10"`` or ``"2 * a - b"``
        (which is tested against 0); or a matrix with a row for each function and a column for each
        coefficient, the intercept first if there is one. Thresholds between ordered categories are
        not coefficients.
    rhs : float or array-like of shape (m,), default=None
        With a matrix, the values under the null hypothesis; None is 0.
    df : {"auto", "satterthwaite", "kenward-roger", "residual", "normal"}, default="auto"
        Method for the degrees of freedom; see `coefficient_table`.
    level : float, default=0.95
        Confidence level of the intervals, between 0 and 1.
    covariance : RobustCovariance or None, default=None
        Result of `robust_covariance`, for cluster-robust standard errors; None uses the model-based
        covariance.

    Returns
    -------
    LinearHypothesis
        A t test for each function, with its interval, and a joint F test in statistic, num_df, df
        and p_value; z and chi-squared tests for generalized models. NaN if a coefficient is
        infinite.

    Raises
    ------
    ValueError
        If an equation cannot be parsed, shapes do not match, hypotheses contradict each other, a
        function is not estimable because columns are linearly dependent, or the level is outside
        (0, 1).

    See Also
    --------
    coefficient_table : Tests of single coefficients.
    anova : Tests of whole terms.
    marginal_means : Means of levels and their pairwise differences.

    Notes
    -----
    In R: ``contest(model, L)`` of lmerTest, ``KRmodcomp`` of pbkrtest, and ``linearHypothesis`` of
    car for generalized models. With Satterthwaite's method the F statistic is a mean of squared
    independent t statistics, whose degrees of freedom determine those of F.

    References
    ----------
    .. [1] Kuznetsova, A., Brockhoff, P. B. & Christensen, R. H. B. (2017). lmerTest package: tests
       in linear mixed effects models. Journal of Statistical Software 82(13),
       :doi:`10.18637/jss.v082.i13`, section 2.
    .. [2] Halekoh, U. & Hojsgaard, S. (2014). A Kenward-Roger approximation and parametric
       bootstrap methods for tests in linear mixed models. Journal of Statistical Software 59(9),
       :doi:`10.18637/jss.v059.i09`, section 3.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import linear_hypothesis
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> test = linear_hypothesis(model, "Days = 10")
    >>> round(test.p_value, 3)
    0.766
    """
    model = snapshot(model)
    tests = CoefficientTests.of(model, df, covariance)
    names, stated = coefficient_names(tests.fit), stated_places(tests.fit)
    given, labels, values = _read(L, rhs, [names[place] for place in stated])
    functions = np.zeros((len(given), len(names)))
    functions[:, stated] = given
    if np.isnan(tests.estimates(functions)).any():
        kept = set(tests.fit.kept)
        dropped = [name for place, name in enumerate(names) if place not in kept]
        raise ValueError(
            f"the hypothesis is not estimable: the columns {dropped} depend linearly on earlier "
            "ones and were dropped; state it in the other coefficients"
        )
    joint = tests.joint(functions, values)
    frame = with_interval(function_frame(tests, functions, labels, values), level)
    if values.any():
        frame.insert(1, "rhs", values)
    name = f"chi2({joint.num_df})" if tests.is_wald else f"F({joint.num_df}, {joint.df:.5g})"
    line = f"{name} = {joint.statistic:.5g}, p = {joint.p_value:.4g}"
    table = Table(formula_of(model), frame, (line, tests.note))
    return LinearHypothesis(table, joint.statistic, joint.num_df, joint.df, joint.p_value)


def _read(L: Any, rhs: Any, names: Sequence[str]) -> tuple[FloatArray, list[str], FloatArray]:
    """Return the functions, their labels and the values under the null hypothesis."""
    texts = [L] if isinstance(L, str) else L
    if not isinstance(texts, pd.DataFrame) and all(isinstance(text, str) for text in texts):
        if rhs is not None:
            raise ValueError(
                "rhs needs a matrix: write the value into the equation instead, as in 'x = 1'"
            )
        if not len(texts):
            raise ValueError("L is empty: give one or more hypotheses")
        read = [read_equation(text, names) for text in texts]
        return np.array([row for row, _ in read]), list(texts), np.array([v for _, v in read])
    functions = _matrix(L, names)
    values = np.zeros(len(functions)) if rhs is None else np.asarray(rhs, dtype=np.float64)
    if values.shape not in ((), (len(functions),)) or not np.isfinite(values).all():
        raise ValueError(f"rhs has shape {values.shape}; expected {len(functions)} finite numbers")
    labels = [str(label) for label in L.index] if isinstance(L, pd.DataFrame) else [
        _label(row, names) for row in functions
    ]  # fmt: skip
    return functions, labels, np.broadcast_to(values, len(functions)).copy()


def _matrix(L: Any, names: Sequence[str]) -> FloatArray:
    if isinstance(L, pd.DataFrame):
        unknown = [name for name in L.columns if name not in names]
        if unknown:
            raise ValueError(f"L has columns {unknown}; the coefficients are {list(names)}")
        L = L.reindex(columns=list(names), fill_value=0.0)
    functions = np.atleast_2d(np.asarray(L, dtype=np.float64))
    if functions.ndim != 2 or functions.shape[1] != len(names):
        raise ValueError(
            f"L has shape {functions.shape}; expected a column for each of the {len(names)} "
            f"coefficients {list(names)}"
        )
    if not np.isfinite(functions).all() or not functions.any(axis=1).all():
        raise ValueError("each row of L needs finite numbers that are not all zero")
    return functions


def _label(row: FloatArray, names: Sequence[str]) -> str:
    parts = []
    for value, name in zip(row, names, strict=True):
        if value:
            sign = "-" if value < 0 else "+"
            size = "" if abs(value) == 1.0 else f"{abs(value):.4g}*"
            parts.append(f"{sign} {size}{name}")
    text = " ".join(parts)
    return text[2:] if text.startswith("+ ") else text.replace("- ", "-", 1)


_NUMBER = re.compile(r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?")


def read_equation(text: str, names: Sequence[str]) -> tuple[FloatArray, float]:
    """Parse an equation; return the multiplier of each coefficient, and the right-hand side.

    It has sums of multiples of coefficients on one or both sides of "="; without "=" the other side
    is zero. Names may contain any characters; the longest match counts. Raises ValueError if the
    text cannot be parsed or names no coefficient.
    """
    reader = _EquationReader(text, names)
    left = reader.side()
    right = np.zeros_like(left)
    if reader.take("="):
        right = reader.side()
    reader.end()
    difference = left - right
    if not difference[:-1].any():
        raise ValueError(f"the hypothesis {text!r} contains no coefficient; {_listed(names)}")
    return difference[:-1], float(0.0 - difference[-1])


def _listed(names: Sequence[str]) -> str:
    return f"the coefficients are {', '.join(map(repr, names))}"


class _EquationReader:
    """Parses a text from left to right; `place` is where the next token begins.

    Backticks, which formulas need around some names, are optional.
    """

    def __init__(self, text: str, names: Sequence[str]) -> None:
        self.text = text.replace("`", "")
        self.names = [name.replace("`", "") for name in names]
        self.place = 0

    def side(self) -> FloatArray:
        """Parse a sum; return multipliers of the coefficients and, last, the constant."""
        total = np.zeros(len(self.names) + 1)
        sign = -1.0 if self.take("-") else 1.0
        self.take("+")
        while True:
            total += sign * self.product()
            if self.take("+"):
                sign = 1.0
            elif self.take("-"):
                sign = -1.0
            else:
                return total

    def product(self) -> FloatArray:
        multiplier, coefficient = 1.0, None
        while True:
            found = self.coefficient()
            if found is not None and coefficient is None:
                coefficient = found
            elif found is None:
                multiplier *= self.number()
            else:
                raise self.error("a product of two coefficients is not linear")
            if not self.take("*"):
                break
        row = np.zeros(len(self.names) + 1)
        row[-1 if coefficient is None else coefficient] = multiplier
        return row

    def coefficient(self) -> int | None:
        self.skip()
        rest = self.text[self.place :]
        fitting = [n for n, name in enumerate(self.names) if _starts_with(rest, name)]
        if not fitting:
            return None
        longest = max(fitting, key=lambda n: len(self.names[n]))
        self.place += len(self.names[longest])
        return longest

    def number(self) -> float:
        self.skip()
        match = _NUMBER.match(self.text, self.place)
        if match is None:
            raise self.error("expected a coefficient or a number")
        self.place = match.end()
        return float(match[0])

    def take(self, symbol: str) -> bool:
        self.skip()
        found = self.text.startswith(symbol, self.place)
        self.place += len(symbol) * found
        return found

    def skip(self) -> None:
        while self.text[self.place : self.place + 1].isspace():
            self.place += 1

    def end(self) -> None:
        self.skip()
        if self.place < len(self.text):
            raise self.error("expected '+', '-', '*', '=' or the end")

    def error(self, reason: str) -> ValueError:
        rest = self.text[self.place :] or "the end"
        return ValueError(
            f"cannot parse the hypothesis {self.text!r} at {rest!r}: {reason}; "
            f"{_listed(self.names)}"
        )


def _starts_with(text: str, name: str) -> bool:
    """Tell whether a text starts with a name that ends there."""
    if not text.startswith(name):
        return False
    after = text[len(name) : len(name) + 1]
    return not (_in_word(name[-1:]) and _in_word(after))


def _in_word(character: str) -> bool:
    return character.isalnum() or (character != "" and character in "_.")
