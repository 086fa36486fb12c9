"""Tests of linear hypotheses about the fixed coefficients.

They may be written as equations in the names of coefficients, such as ``"2 * Days - x = 1"``.
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
    """Linear functions of the coefficients, tested one by one and together.

    Parameters
    ----------
    table : Table
        A row a function, each with its t test, or z test of a generalized model, and interval; a
        column rhs has the values tested against where they are not 0.
    statistic : float
        F of all together, or Wald's chi-squared of a generalized model, whose degrees are num_df.
    num_df : int
        Number of independent restrictions.
    df : float
        Denominator degrees of freedom.
    p_value : float
        Probability of a larger statistic.

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
    """Test linear hypotheses about the fixed coefficients.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    L : str, list of str, DataFrame or array-like of shape (m, n_fixed) or (n_fixed,)
        Equations in the names of the coefficients, ``"Days = 10"`` or ``"2 * a - b"`` (which is
        about 0), or a matrix with a row for every function and a column for every coefficient,
        the intercept first if there is one (thresholds between ordered categories are none).
    rhs : float or array-like of shape (m,), default=None
        Values that the functions are tested against, with a matrix; None is 0.
    df : {"auto", "satterthwaite", "kenward-roger", "residual", "normal"}, default="auto"
        Where degrees of freedom come from, as in `coefficient_table`.
    level : float, default=0.95
        Probability of the intervals.
    covariance : RobustCovariance or None, default=None
        What `robust_covariance` returns, for standard errors that do not trust the model's; None is
        the model's own.

    Returns
    -------
    LinearHypothesis
        A t test of every function with its interval, lower and upper, and in statistic, num_df, df
        and p_value an F test of all; for generalized models z and chi-squared tests. NaN where a
        coefficient is infinite.

    Raises
    ------
    ValueError
        If an equation cannot be read, shapes do not fit, hypotheses contradict each other, the data
        do not determine a function because columns depend on others, or the level is no
        probability.

    See Also
    --------
    coefficient_table : Each coefficient by itself.
    anova : Hypotheses about whole terms.
    marginal_means : Means and comparisons of levels.

    Notes
    -----
    In R: ``contest(model, L)`` of lmerTest, ``KRmodcomp`` of pbkrtest, and ``linearHypothesis`` of
    car for generalized models. With Satterthwaite's method
    the F statistic is a mean of squares of independent t statistics, whose degrees of freedom give
    those of F.

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
            f"the data do not determine this: the columns {dropped} depend on those before them "
            "and were dropped; state the hypothesis in the other coefficients"
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
    """Return the functions, their labels and the values they are tested against."""
    texts = [L] if isinstance(L, str) else L
    if not isinstance(texts, pd.DataFrame) and all(isinstance(text, str) for text in texts):
        if rhs is not None:
            raise ValueError("rhs goes with a matrix; write the value into the equation: 'x = 1'")
        if not len(texts):
            raise ValueError("L holds no hypothesis")
        read = [read_equation(text, names) for text in texts]
        return np.array([row for row, _ in read]), list(texts), np.array([v for _, v in read])
    functions = _matrix(L, names)
    values = np.zeros(len(functions)) if rhs is None else np.asarray(rhs, dtype=np.float64)
    if values.shape not in ((), (len(functions),)) or not np.isfinite(values).all():
        raise ValueError(
            f"rhs has shape {values.shape}; {len(functions)} finite numbers are needed"
        )
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
            f"L has shape {functions.shape}; it needs a column for each of the {len(names)} "
            f"coefficients {list(names)}"
        )
    if not np.isfinite(functions).all() or not functions.any(axis=1).all():
        raise ValueError("every row of L needs finite numbers that are not all zero")
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
    """Read an equation; return what multiplies each coefficient, and the right-hand side.

    The text has sums of coefficients times numbers on one or both sides of "="; without "=" it is
    about zero. Names may hold any characters; the longest that fits is taken. Raises ValueError if
    the text cannot be read or names no coefficient.
    """
    reader = _EquationReader(text, names)
    left = reader.side()
    right = np.zeros_like(left)
    if reader.take("="):
        right = reader.side()
    reader.end()
    difference = left - right
    if not difference[:-1].any():
        raise ValueError(f"the hypothesis {text!r} is about no coefficient; {_listed(names)}")
    return difference[:-1], float(0.0 - difference[-1])


def _listed(names: Sequence[str]) -> str:
    return f"the coefficients are {', '.join(map(repr, names))}"


class _EquationReader:
    """Reads a text from left to right; `place` is where the next thing begins.

    Back-ticks, which formulas want around some names, may stand there or not.
    """

    def __init__(self, text: str, names: Sequence[str]) -> None:
        self.text = text.replace("`", "")
        self.names = [name.replace("`", "") for name in names]
        self.place = 0

    def side(self) -> FloatArray:
        """Read a sum; return multipliers of the coefficients and, last, the number."""
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
            raise self.error("a coefficient or a number is expected")
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
            raise self.error("'+', '-', '*', '=' or the end is expected")

    def error(self, reason: str) -> ValueError:
        rest = self.text[self.place :] or "the end"
        return ValueError(
            f"cannot read the hypothesis {self.text!r} at {rest!r}: {reason}; {_listed(self.names)}"
        )


def _starts_with(text: str, name: str) -> bool:
    """Tell whether a text starts with a name that does not go on."""
    if not text.startswith(name):
        return False
    after = text[len(name) : len(name) + 1]
    return not (_in_word(name[-1:]) and _in_word(after))


def _in_word(character: str) -> bool:
    return character.isalnum() or (character != "" and character in "_.")
