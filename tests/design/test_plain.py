"""What numpy makes of plain terms is what formulaic makes of them, to the bit."""

import sys
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skmixed.design import formula
from skmixed.design.formula import evaluate_expression, learn_matrix
from skmixed.design.grammar.terms import NotATermError, expand
from skmixed.design.grammar.tokens import read_phrase

formulaic = pytest.importorskip("formulaic")

NUMBERS = ["a", "b", "k", "my col", "flag"]
CATEGORIES = ["g", "h", "o"]
CODE = [
    "I(a**2)", "I(a^2)", "I(-a + 2 * b / k)", "log(b)", "sqrt(b)", "exp2(a)", "I(a ** -1)",
    "I(1 / `my col`)", "abs(a - b)", "I(log1p(b) * 1e-3)", "C(k)", "factor(g)", "C(flag)", "C(o)",
    "I(b)", "exp10(a)",
]  # fmt: skip
NOT_PLAIN = ["poly(a, 2)", "scale(b)", "I(a > 1)", "C(g, contr.sum)", "np.cos(a)", "2:a", "a:I(+b)"]


def operand(names):
    return st.sampled_from([f"`{name}`" if " " in name else name for name in names])


def joined(children):
    return st.one_of(
        st.tuples(children, st.sampled_from(["+", "*", ":", "/", "-"]), children).map(" ".join),
        st.tuples(children, st.integers(1, 3)).map(lambda pair: f"({pair[0]})^{pair[1]}"),
        children.map("({})".format),
    )


def formulas(operands, max_leaves):
    sums = st.recursive(operand(operands), joined, max_leaves=max_leaves)
    around = st.sampled_from(["{}", "0 + {}", "{} - 1", "-1 + {}", "1 + {}", "{} + 0 + b"])
    return st.builds(str.format, around, sums)


PLAIN = formulas(NUMBERS + CATEGORIES + CODE, 5)
ANY = formulas(NUMBERS + CATEGORIES + CODE + NOT_PLAIN, 4)


TYPES = {"a": "float64", "k": "int64", "flag": "bool", "g": "str"}
OTHER_TYPES = {"a": "float32", "k": "Int16", "flag": "boolean", "g": "category"}


def make_frame(n=9, seed=0, types=TYPES):
    numbers = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "a": numbers.normal(size=n),
            "b": numbers.gamma(2, size=n),
            "k": numbers.integers(1, 4, n),
            "my col": numbers.gamma(1, size=n) + 0.1,
            "flag": numbers.integers(0, 2, n),
            "g": numbers.choice(list("xyz"), n),
            "h": pd.Categorical(numbers.choice(list("pq"), n), categories=list("qrp")),
            "o": pd.Series([(1, "two")[i] for i in numbers.integers(0, 2, n)], dtype="object"),
        },
    )
    return frame.astype(types).set_axis(numbers.integers(0, 3, n))


@st.composite
def frames(draw):
    types = {name: draw(st.sampled_from([kind, OTHER_TYPES[name]])) for name, kind in TYPES.items()}
    return make_frame(draw(st.integers(4, 12)), draw(st.integers(0, 10**6)), types)


def outcome(function, *arguments):
    """What a call returns, or the words of its error."""
    try:
        return function(*arguments)
    except ValueError as error:
        return str(error)


def by_formulaic(function, *arguments):
    with mock.patch.object(formula, "read_plain", return_value=None):
        return outcome(function, *arguments)


@settings(max_examples=150, deadline=None)
@given(PLAIN, frames(), st.data())
def test_plain_terms_are_what_formulaic_makes_of_them(expression, frame, data):
    expected, found = (
        by_formulaic(learn_matrix, expression, frame),
        outcome(learn_matrix, expression, frame),
    )
    if isinstance(expected, str):
        assert found == expected
        return
    (slow, values), (fast, plain_values) = expected, found
    assert fast.is_plain
    assert not slow.is_plain
    assert fast.names == slow.names
    assert fast.term_names == slow.term_names
    assert fast.variables == slow.variables
    assert fast.categories == slow.categories
    assert fast.has_intercept == slow.has_intercept
    assert_array_equal(plain_values, values, strict=True)
    told, expected_part = fast.fixed_part, slow.fixed_part
    assert told.terms == expected_part.terms
    assert told.numbers == expected_part.numbers
    assert told.levels == expected_part.levels
    new = data.draw(new_rows(frame))
    rows, expected_rows = outcome(fast.matrix, new), outcome(slow.matrix, new)
    if isinstance(expected_rows, str):
        assert rows == expected_rows
    else:
        assert_array_equal(rows, expected_rows, strict=True)


@st.composite
def new_rows(draw, frame):
    """Rows in another order, some of them with something wrong."""
    rows = draw(st.lists(st.integers(0, len(frame) - 1), min_size=1, max_size=5))
    new = frame.iloc[rows]
    change = draw(st.sampled_from(["nothing", "columns", "missing", "gone", "level", "kind"]))
    if change == "columns":
        new = new.iloc[:, ::-1]
    elif change == "missing":
        name = draw(st.sampled_from(["a", "g", "h", "my col"]))
        new = new.assign(**{name: new[name].where(np.arange(len(new)) > 0)})
    elif change == "gone":
        new = new.drop(columns=draw(st.sampled_from(["a", "b", "g", "flag"])))
    elif change == "level":
        new = new.assign(g="other")
    elif change == "kind":
        new = new.assign(**{draw(st.sampled_from(["a", "k"])): "text"})
    return new


@settings(max_examples=300, deadline=None)
@given(ANY)
def test_the_terms_are_those_that_formulaic_reads(expression):
    text = expression.replace("`my col`", "c").replace("factor", "C").replace("a^2", "a**2")
    try:
        expected = [str(term) for term in formulaic.Formula(text)]
    except formulaic.errors.FormulaicError:
        with pytest.raises(NotATermError):
            expand(read_phrase(text), [])
        return
    found = [":".join(each.text for each in term) for term in expand(read_phrase(text), [])]
    assert found == expected


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["a", "k", "my col", "2 * a - b", "log(b)", "flag", "a > 0"]), frames())
def test_a_response_is_what_formulaic_makes_of_it(expression, frame):
    values = evaluate_expression(expression, frame)
    assert_array_equal(values, by_formulaic(evaluate_expression, expression, frame))


@pytest.mark.parametrize(
    "expression", ["a * g", "log(b) + I(a^2):h + C(k)", ".", "flag", "(a + b)^2"]
)
def test_plain_terms_need_no_formulaic(expression, monkeypatch):
    monkeypatch.setitem(sys.modules, "formulaic", None)
    frame = make_frame()
    learned, values = learn_matrix(expression, frame)
    assert_array_equal(learned.matrix(frame), values)
    assert learned.fixed_part.terms


@pytest.mark.parametrize("expression", NOT_PLAIN[:-1])
def test_other_terms_say_that_they_need_it(expression, monkeypatch):
    monkeypatch.setitem(sys.modules, "formulaic", None)
    with pytest.raises(ImportError, match=r"needs formulaic, .*scikit-mixed\[formula\]"):
        learn_matrix(expression, make_frame())


def test_numbers_may_be_truth_values_later():
    frame = pd.DataFrame({"a": [0.0, 1.0, 2.0]})
    learned, _ = learn_matrix("a + I(a + a)", frame)
    new = pd.DataFrame({"a": [True, False]})
    assert_array_equal(learned.matrix(new), [[1, 1, 2], [1, 0, 0]])


def test_numbers_may_not_be_dates_later():
    learned, _ = learn_matrix("a", pd.DataFrame({"a": [0.0, 1.0]}))
    with pytest.raises(ValueError, match="the column 'a' holds dates or durations"):
        learned.matrix(pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}))
