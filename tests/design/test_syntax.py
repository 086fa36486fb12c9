import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skmixed.design.grammar.expressions import column_references, translate_r, uses_all_columns
from skmixed.design.grammar.random_part import RandomTerm
from skmixed.design.grammar.syntax import FormulaParts, parse_random, split_formula
from skmixed.exceptions import FormulaSyntaxError


def outline(terms):
    return [(term.name, term.expression) for term in terms]


BARS = {
    "(1 | g)": [("g", "1")],
    "(x | g)": [("g", "1 + x")],
    "(1 + x | g)": [("g", "1 + x")],
    "(0 + x | g)": [("g", "0 + x")],
    "(x + 0 | g)": [("g", "0 + x")],
    "(-1 + x | g)": [("g", "0 + x")],
    "(x - 1 | g)": [("g", "0 + x")],
    "(0 + x + 1 | g)": [("g", "1 + x")],
    "(x + x + z | g)": [("g", "1 + x + z")],
    "((1 + x) + z | g)": [("g", "1 + x + z")],
    "(a * b | g)": [("g", "1 + a * b")],
    "(I(x^2) + poly(x, 2) | g)": [("g", "1 + I(x^2) + poly(x, 2)")],
    "(I(x | z) | g)": [("g", "1 + I(x | z)")],
    "(x || g)": [("g", "1"), ("g", "0 + x")],
    "(1 || g)": [("g", "1")],
    "(0 + x + z || g)": [("g", "0 + x"), ("g", "0 + z")],
    "(a * b || g)": [("g", "1"), ("g", "0 + a"), ("g", "0 + b"), ("g", "0 + a:b")],
    "(a:b || g)": [("g", "1"), ("g", "0 + a:b")],
    "(1 | a/b)": [("b:a", "1"), ("a", "1")],
    "(1 | (a/b))": [("b:a", "1"), ("a", "1")],
    "(1 | a/b/c)": [("c:b:a", "1"), ("b:a", "1"), ("a", "1")],
    "(1 | a/(b/c))": [("c:b:a", "1"), ("b:a", "1"), ("a", "1")],
    "(1 + x | a/b)": [("b:a", "1 + x"), ("a", "1 + x")],
    "(x || a/b)": [("b:a", "1"), ("a", "1"), ("b:a", "0 + x"), ("a", "0 + x")],
    "(1 | a:b)": [("a:b", "1")],
    "(1 | a:b/c)": [("c:a:b", "1"), ("a:b", "1")],
    "(1 | a/b:c)": [("b:c:a", "1"), ("a", "1")],
    "(1 | factor(g))": [("g", "1")],
    "(1 | C(a)/as.factor(b))": [("b:a", "1"), ("a", "1")],
    "(total.x | sub.ject)": [("sub.ject", "1 + total.x")],
    "(`my x` | `my g`)": [("my g", "1 + `my x`")],
    "(1 | `a/b`)": [("a/b", "1")],
    "(`a|b` | g)": [("g", "1 + `a|b`")],
    "((1 | g))": [("g", "1")],
    "(1|a)+(0+x|a)": [("a", "1"), ("a", "0 + x")],
    "((1 | a) + (1 | b)) + (1 | c)": [("a", "1"), ("b", "1"), ("c", "1")],
    "(1 | a)\n  + (1 | b)": [("a", "1"), ("b", "1")],
}


@pytest.mark.parametrize("text", BARS)
def test_bars_expand_as_in_lme4(text):
    assert outline(parse_random(text)) == BARS[text]


def test_the_grouping_columns_of_a_nested_term_are_kept_apart():
    inner, outer = parse_random("(1 + open | school/class)")
    assert inner == RandomTerm(("class", "school"), True, ("open",))
    assert outer == RandomTerm(("school",), True, ("open",))
    assert parse_random("(1 | `a:b`)")[0].group == ("a:b",)


WRONG_BARS = [
    ("", 0, "expected a term"),
    ("x + 1 | g", 6, "needs parentheses"),
    ("(1 | g", 0, "never closed"),
    ("(1 | g))", 7, "closes nothing"),
    ("(1 | g]", 6, "expected ')' to close '('"),
    ("(`a | g)", 1, "never closed"),
    ("( | g)", 2, "expected a term before '|'"),
    ("(1 | )", 5, "expected a term before ')'"),
    ("()", 1, "expected a term before ')'"),
    ("(1 | a | b)", 7, "one bar"),
    ("(1 | a || b)", 7, "one bar"),
    ("((1 | a) | b)", 4, "one bar"),
    ("(1 | (a | b))", 8, "one bar"),
    ("x:(1 | g)", 5, "by itself"),
    ("x * (1 | g)", 7, "by itself"),
    ("(1 | g)^2", 3, "by itself"),
    ("x + (1 | g)", 0, "only random terms"),
    ("y ~ (1 | g)", 2, "without '~'"),
    ("(1 | a)(1 | b)", 7, "expected an operator"),
    ("(1 | a) +", 9, "expected a term after '+'"),
    ("-(1 | g)", 1, "not subtracted"),
    ("(x - z | g)", 5, "only '- 1'"),
    ("(2 | g)", 1, "only numbers here are 0 and 1"),
    ("(0 | g)", 1, "at least one column"),
    ("(x & z | g)", 3, "I(...)"),
    ("(1 | a + b)", 7, "write (1 | a) + (1 | b)"),
    ("(1 | a * b)", 7, "(1 | a:b)"),
    ("(1 | a - b)", 7, "not '-'"),
    ("(1 | (a/b):c)", 7, "not '/'"),
    ("(1 | f(g))", 5, "a grouping column"),
    ("(1 | factor(g, h))", 5, "a grouping column"),
    ("(1 | 1)", 5, "a grouping column"),
    ("(1 | 'g')", 5, "a grouping column"),
    ("(1 | a:a)", 5, "different columns"),
    ("((a + b) * c || g)", 1, "every term"),
    ("(a/b || g)", 2, "every term"),
]


@pytest.mark.parametrize(("text", "position", "message"), WRONG_BARS)
def test_errors_point_at_the_place(text, position, message):
    with pytest.raises(FormulaSyntaxError) as caught:
        parse_random(text)
    reason, line, caret = str(caught.value).split("\n")
    assert message in reason
    assert line == f"    {text}"
    assert caret == " " * (4 + position) + "^"


def test_the_formula_of_an_error_is_on_one_line():
    with pytest.raises(FormulaSyntaxError) as caught:
        split_formula("y ~ x +\n\t(1 | a + b)")
    _, line, caret = str(caught.value).split("\n")
    assert line == "    y ~ x +  (1 | a + b)"
    assert line[len(caret) - 1] == "+"
    assert len(caret) - 1 == line.rindex("+")


def test_the_error_survives_pickling():
    error = pickle.loads(pickle.dumps(FormulaSyntaxError("reason", "a + b", 2)))
    assert str(error) == "reason\n    a + b\n      ^"
    assert isinstance(error, ValueError)


MAPPINGS = [
    ({"g": ["1"]}, [("g", "1")]),
    ({"g": ["x"]}, [("g", "0 + x")]),
    ({"g": ["0", "x"]}, [("g", "0 + x")]),
    ({"g": [1, "x"]}, [("g", "1 + x")]),
    ({"g": ("1", "x", "a:b")}, [("g", "1 + x + a:b")]),
    ({"g": "x"}, [("g", "1 + x")]),
    ({"g": "0 + x"}, [("g", "0 + x")]),
    ({"a": ["1"], "b": ["x"]}, [("a", "1"), ("b", "0 + x")]),
    ({"a:b": ["1"]}, [("a:b", "1")]),
    ({"school/class": ["1", "open"]}, [("class:school", "1 + open"), ("school", "1 + open")]),
    ({"factor(g)": ["1"]}, [("g", "1")]),
    ({"g": ["1", "my x"]}, [("g", "1 + `my x`")]),
    ({"g": ["`my x`", "I(x ** 2)"]}, [("g", "0 + `my x` + I(x ** 2)")]),
    ({}, []),
]


@pytest.mark.parametrize(("mapping", "expected"), MAPPINGS)
def test_mappings(mapping, expected):
    assert outline(parse_random(mapping)) == expected


@pytest.mark.parametrize("key", ["my school", "a-b", "a + b", "50%", "(a"])
def test_a_key_that_is_no_syntax_is_a_column_name(key):
    assert parse_random({key: ["1"]})[0].group == (key,)


def test_a_tuple_key_is_an_interaction_of_columns_taken_literally():
    assert parse_random({("a/b", "c"): ["1"]})[0].group == ("a/b", "c")


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ({"g": []}, ValueError, "names no columns"),
        ({"g": ["0"]}, ValueError, "has no columns"),
        ({"g": [""]}, ValueError, "slope without a name"),
        ({"g": ["x", "x"]}, ValueError, "repeats a slope"),
        ({"g": "x +"}, FormulaSyntaxError, "expected a term"),
        ({"g": None}, TypeError, "list of columns"),
        ({"g": [2.5]}, TypeError, "must hold strings"),
        ({3: ["1"]}, TypeError, "a key of random"),
        ({("a", 3): ["1"]}, TypeError, "a key of random"),
        (3, TypeError, "string or a mapping, not int"),
    ],
)
def test_wrong_mappings(spec, kind, message):
    with pytest.raises(kind, match=message):
        parse_random(spec)


def test_split_a_whole_formula():
    parts = split_formula(
        "extro ~ open + agree + social + (1 + open | school/class) + offset(2 * x)"
    )
    assert parts == FormulaParts(
        response="extro",
        fixed="open + agree + social",
        random=(
            RandomTerm(("class", "school"), True, ("open",)),
            RandomTerm(("school",), True, ("open",)),
        ),
        offsets=("2 * x",),
    )


@pytest.mark.parametrize(
    ("text", "response", "fixed", "random", "offsets"),
    [
        ("y ~ x", "y", "x", [], []),
        ("~ x + (1 | g)", None, "x", [("g", "1")], []),
        ("x + (1 | g)", None, "x", [("g", "1")], []),
        ("y ~ (1 | g)", "y", "1", [("g", "1")], []),
        ("y ~ 0 + (1 | g)", "y", "0", [("g", "1")], []),
        ("y ~ (1 | g) + 0 + x", "y", "0 + x", [("g", "1")], []),
        ("y ~ x - 1 + (1 | g)", "y", "x - 1", [("g", "1")], []),
        ("y ~ x + -1", "y", "x - 1", [], []),
        ("y ~ -1 + (1 | g)", "y", "- 1", [("g", "1")], []),
        ("log1p(total.fruits) ~ a*b + (1|g)", "log1p(total.fruits)", "a*b", [("g", "1")], []),
        ("`my y` ~ (a + b)^2 + c %in% d", "`my y`", "(a + b)^2 + c %in% d", [], []),
        ("y ~ (x + (1 | g)) + z", "y", "x + z", [("g", "1")], []),
        ("y ~ (x + z + (1 | g))", "y", "x + z", [("g", "1")], []),
        ("y ~ I((x > 1) | (z > 2)) + (1 | g)", "y", "I((x > 1) | (z > 2))", [("g", "1")], []),
        ("y ~ {x + 1} + (1 | g)", "y", "{x + 1}", [("g", "1")], []),
        ("y ~ f('(a | b') + (1 | g)", "y", "f('(a | b')", [("g", "1")], []),
        ("y ~ offset(log(n)) + offset(z)", "y", "1", [], ["log(n)", "z"]),
        ("y ~ offset + x", "y", "offset + x", [], []),
        ("y ~ . + (1 | g)", "y", ".", [("g", "1")], []),
        ("y ~ x +\n (1 | g)", "y", "x", [("g", "1")], []),
    ],
)
def test_split(text, response, fixed, random, offsets):
    parts = split_formula(text)
    assert (parts.response, parts.fixed) == (response, fixed)
    assert outline(parts.random) == random
    assert list(parts.offsets) == offsets


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "expected a term"),
        ("y ~", 3, "expected a term after '~'"),
        ("y ~ x ~ z", 6, "one '~'"),
        ("(y ~ x)", 3, "one '~'"),
        ("y ~ x + 1 | g", 10, "needs parentheses"),
        ("y ~ x:(1 | g)", 9, "by itself"),
        ("y ~ x*offset(z)", 6, "by itself"),
        ("y ~ x - offset(z)", 8, "not subtracted"),
        ("y ~ offset()", 11, "inside offset()"),
        ("y | z ~ x", 2, "part of the response"),
        ("y ~ x z", 6, "expected an operator"),
        ("y ~ x + * z", 8, "expected a term before '*'"),
        ("y ~ x * -z", 8, "expected a term before '-'"),
        ("y ~ x == 2", 6, "I(...)"),
        ("y ~ x, z", 5, "I(...)"),
        ("y ~ [x]", 4, "I(...)"),
        ("y ~ f('a)", 6, "never closed"),
        ("y ~ (1 | a + b)", 11, "a grouping column"),
    ],
)
def test_split_errors_point_at_the_place(text, position, message):
    with pytest.raises(FormulaSyntaxError) as caught:
        split_formula(text)
    assert message in caught.value.expected
    assert caught.value.position == position


COLUMNS = ["total.fruits", "my col", "x", "total", "degree", "TRUE.x"]


@pytest.mark.parametrize(
    ("r", "python"),
    [
        ("log1p(total.fruits)", "log1p(`total.fruits`)"),
        ("total.fruits:x", "`total.fruits`:x"),
        ("log(x.fruits)", "log(x.fruits)"),
        ("I(x^2) + (x + total)^2", "I(x**2) + (x + total)^2"),
        ("poly(log(x^2)^2, 2)", "poly(log(x**2)**2, 2)"),
        ("{x^2}", "{x**2}"),
        ("I(x %% 2) + I(x %/% 2)", "I(x % 2) + I(x // 2)"),
        ("factor(x) + as.factor(total.fruits)", "C(x) + C(`total.fruits`)"),
        ("poly(x, 2, raw = TRUE)", "poly(x, 2, raw = True)"),
        ("f('x^2')", "f('x^2')"),
    ],
)
def test_translate(r, python):
    assert translate_r(r, COLUMNS) == python


@pytest.mark.parametrize(
    "expression",
    [
        "x * total + poly(x, degree=2) - 1",
        "C(x, contr.treatment(base='a'))",
        "np.log(x) + `my col` + log(`my col`)",
        "(x + total)**2 + x %in% total",
        "I(x % 2 + total % 3)",
        ". - x",
    ],
)
def test_translate_leaves_what_formulaic_knows(expression):
    assert translate_r(expression, COLUMNS) == expression


@pytest.mark.parametrize(
    ("expression", "columns"),
    [
        ("x + log(total.fruits) + x", ["x", "total.fruits", "x"]),
        ("poly(x, degree=2)", ["x"]),
        ("I(x == degree)", ["x", "degree"]),
        ("f(x, degree=total)", ["x", "total"]),
        ("total(x)", ["x"]),
        ("total.fruits + total.mean + total()", ["total.fruits"]),
        ("`my col` + `no such`", ["my col"]),
        ("f('x') + unknown", []),
    ],
)
def test_column_references(expression, columns):
    references = column_references(expression, COLUMNS)
    assert [reference.column for reference in references] == columns
    for reference in references:
        text = expression[reference.start : reference.end]
        assert text.strip("`") == reference.column


def test_references_tell_labels_from_numbers():
    references = column_references("C(x) + factor(total) + I(x) + degree", COLUMNS)
    assert [reference.as_label for reference in references] == [True, True, False, False]


def test_the_dot_is_a_term_and_not_a_part_of_a_name():
    assert uses_all_columns("y + . - x")
    assert not uses_all_columns("total.fruits + np.log(x) + 1.5")


SYMBOLS = ["||", "**", "%in%", "0", "2.5", "x", "a.b", "offset(", "f(", "factor(", "\n"]
FRAGMENTS = st.lists(st.sampled_from([*"()|~+-*/:^,=`'{}[]1g", *SYMBOLS]), max_size=12).map(
    " ".join
)


def place_of_error(read, text):
    try:
        read(text)
    except FormulaSyntaxError as error:
        return error.position
    return 0


@given(FRAGMENTS)
def test_every_text_is_read_or_refused_with_its_place(text):
    assert 0 <= place_of_error(parse_random, text) <= len(text)
    assert 0 <= place_of_error(split_formula, text) <= len(text)


@given(FRAGMENTS)
def test_translating_twice_changes_nothing_more(text):
    try:
        once = translate_r(text, ["a.b", "x"])
    except FormulaSyntaxError:
        return
    assert translate_r(once, ["a.b", "x"]) == once


@given(
    st.lists(st.sampled_from(["x", "a:b", "log(x)", "(a + b)^2", "`my x`"]), unique=True),
    st.lists(st.sampled_from(["(1 | g)", "(0 + x | a/b)", "(x || `my g`)"]), unique=True),
    st.lists(st.sampled_from(["offset(n)", "offset(2 * log(n))"]), unique=True),
    st.randoms(),
)
def test_the_kinds_of_terms_may_be_mixed_in_any_order(fixed, bars, offsets, random):
    terms = fixed + bars + offsets
    if not terms:
        return
    random.shuffle(terms)
    parts = split_formula("y ~ " + " + ".join(terms))
    assert parts.fixed == (" + ".join(term for term in terms if term in fixed) or "1")
    expected = [term for bar in terms if bar in bars for term in parse_random(bar)]
    assert list(parts.random) == expected
    assert [f"offset({text})" for text in parts.offsets] == [t for t in terms if t in offsets]


def test_name_joins_the_grouping_columns_as_lme4_does():
    assert RandomTerm(("class", "school"), True).name == "class:school"


@pytest.mark.parametrize(
    ("intercept", "slopes", "expression"),
    [
        (True, (), "1"),
        (True, ("Days",), "1 + Days"),
        (False, ("Machine",), "0 + Machine"),
        (True, ("I(x ** 2)", "poly(x, 2)", "a:b"), "1 + I(x ** 2) + poly(x, 2) + a:b"),
    ],
)
def test_expression_makes_the_intercept_explicit(intercept, slopes, expression):
    assert RandomTerm(("g",), intercept, slopes).expression == expression


def test_is_a_value():
    term = RandomTerm(("g",), True, ("x",))
    assert term == RandomTerm(("g",), True, ("x",))
    assert len({term, RandomTerm(("g",), True, ("x",))}) == 1
    assert pickle.loads(pickle.dumps(term)) == term
    with pytest.raises(dataclasses.FrozenInstanceError):
        term.intercept = False


@pytest.mark.parametrize(
    ("group", "intercept", "slopes", "message"),
    [
        ((), True, (), "at least one grouping column"),
        (("",), True, (), "at least one grouping column"),
        (("g", "g"), True, (), "'g:g' repeats a grouping column"),
        (("g",), False, (), "'g' has no columns"),
        (("g",), True, (" ",), "slope without a name"),
        (("g",), True, ("x", "x"), "'g' repeats a slope"),
    ],
)
def test_refuses_terms_that_mean_nothing(group, intercept, slopes, message):
    with pytest.raises(ValueError, match=message):
        RandomTerm(group, intercept, slopes)
