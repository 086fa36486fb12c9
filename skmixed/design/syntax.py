"""lme4's formula syntax: cut a formula into its fixed part, random terms and offsets.

Only text is handled here. What the pieces mean for a table is learned in `skmixed.design.formula`.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

from skmixed.design.terms import RandomTerm
from skmixed.exceptions import FormulaSyntaxError

__all__ = [
    "FormulaParts",
    "Reference",
    "column_references",
    "parse_random",
    "split_formula",
    "translate_r",
    "uses_all_columns",
]


@dataclass(frozen=True, slots=True)
class FormulaParts:
    """A whole formula, taken apart.

    Parameters
    ----------
    response : str or None
        The side left of ``~``; None when there is none.
    fixed : str
        The right side without bars and offsets; ``"1"`` when nothing remains.
    random : tuple of RandomTerm
        The bars, expanded, in the order of the text.
    offsets : tuple of str
        The arguments of ``offset()``.
    """

    response: str | None
    fixed: str
    random: tuple[RandomTerm, ...]
    offsets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A place in an expression that names a column of the data.

    Parameters
    ----------
    start, end : int
        The characters ``[start, end)`` of the expression, backticks included.
    column : str
        The column.
    as_label : bool
        Whether the place is the first argument of ``C()``: the values only tell categories apart.
    """

    start: int
    end: int
    column: str
    as_label: bool


def parse_random(spec: str | Mapping[Any, Any]) -> tuple[RandomTerm, ...]:
    """Read the random part of a model: lme4's bars, or a mapping from factors to columns.

    Parameters
    ----------
    spec : str or mapping
        A sum of bars, ``"(1 + Days | Subject) + (1 | school/class)"``; or a mapping such as
        ``{"school/class": ["1", "open"]}``. A key is the right side of a bar, a tuple of column
        names (their interaction), or a column name, taken literally, that is not valid syntax. A
        value is a list of columns, with "1" for the intercept, or the left side of a bar.

    Returns
    -------
    tuple of RandomTerm
        ``a/b`` and ``||`` expanded, in lme4's order: ``b:a`` comes before ``a``.

    Raises
    ------
    FormulaSyntaxError
        When the text cannot be read; its message points at the place.
    """
    if isinstance(spec, str):
        return _terms_of_text(spec)
    if isinstance(spec, Mapping):
        return tuple(term for key, value in spec.items() for term in _terms_of_entry(key, value))
    raise TypeError(f"random must be a string or a mapping, not {type(spec).__name__}")


def split_formula(text: str) -> FormulaParts:
    """Cut a whole lme4 formula into response, fixed part, random terms and offsets.

    Parameters
    ----------
    text : str
        Such as ``"extro ~ open + agree + (1 + open | school/class) + offset(2 * x)"``.

    Returns
    -------
    FormulaParts
        The pieces. Text that is not taken apart is returned as it was written.

    Raises
    ------
    FormulaSyntaxError
        When the text cannot be read; its message points at the place.
    """
    formula = _read(text)
    response, right = _split_response(formula)
    fixed: list[tuple[int, _Phrase]] = []
    random: list[RandomTerm] = []
    offsets: list[str] = []
    for sign, summand in _formula_summands(right):
        if summand.is_bar:
            random += _terms_of_bar(sign, summand)
        elif summand.is_offset:
            offsets.append(_offset_argument(sign, summand))
        else:
            _refuse_misplaced(summand)
            fixed.append((sign, summand))
    return FormulaParts(response, _join(fixed) or "1", tuple(random), tuple(offsets))


def translate_r(expression: str, columns: Collection[str]) -> str:
    """Rewrite R's spellings in an expression in Python's.

    Inside calls ``^`` becomes ``**``, ``%%`` and ``%/%`` become ``%`` and ``//``, TRUE and FALSE
    become True and False; ``factor()`` and ``as.factor()`` become ``C()``; the names of columns
    that are no Python identifiers (``total.fruits``) get backticks. All else stays as it is.

    Parameters
    ----------
    expression : str
        A fixed part, or the left side of a bar.
    columns : collection of str
        The columns of the data.

    Returns
    -------
    str
        The expression for formulaic.
    """
    tokens = _tokenize(expression)
    edits = [
        (reference.start, reference.end, f"`{reference.column}`")
        for reference in _references(tokens, frozenset(columns))
        if not reference.column.isidentifier() and expression[reference.start] != "`"
    ]
    for index, token in enumerate(tokens):
        spelling = _python_spelling(token, _is_called(tokens, index))
        if spelling is not None and token.text not in columns:
            edits.append((token.start, token.end, spelling))
    return replace_spans(expression, edits)


def column_references(expression: str, columns: Collection[str]) -> tuple[Reference, ...]:
    """Find the places of an expression that name a column of the data.

    Functions (``log`` in ``log(x)``) and keywords (``degree`` in ``poly(x, degree=2)``) are not
    columns, whatever their names. Of ``x.mean()`` the column is ``x``, unless the data have a
    column of the longer name.

    Parameters
    ----------
    expression : str
        A fixed part, a response, an offset, or the left side of a bar.
    columns : collection of str
        The columns of the data.

    Returns
    -------
    tuple of Reference
        From left to right.
    """
    return tuple(_references(_tokenize(expression), frozenset(columns)))


def uses_all_columns(expression: str) -> bool:
    """Return whether the term ``.``, every column of the data, occurs in an expression."""
    return any(token.kind == "name" and token.text == "." for token in _tokenize(expression))


def replace_spans(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """Replace the spans ``[start, end)`` of a text, which do not overlap."""
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text


_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<quoted>`[^`]+`)
    | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<name>(?:[^\W\d]|\.)[\w.]*)
    | (?P<open>[(\[{])
    | (?P<close>[)\]}])
    | (?P<operator>\|\||\*\*|//|%(?:in|/)?%|[=!<>]=|.)
    """,
    re.VERBOSE,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_OPERANDS = frozenset({"name", "quoted", "string", "number"})
_SUM = frozenset({"+", "-"})
_BARS = frozenset({"|", "||"})
_INFIX = frozenset({"+", "-", "*", "/", ":", "^", "**", "%in%", "in", "|", "||", "~"})
_BARE_BAR = "a bar needs parentheses: write (1 | g)"
_FACTOR_FUNCTIONS = frozenset({"C", "factor", "as.factor"})
_PYTHON_OPERATORS = {"^": "**", "%%": "%", "%/%": "//"}
_PYTHON_CONSTANTS = {"TRUE": "True", "FALSE": "False"}


@dataclass(frozen=True, slots=True)
class _Token:
    """A piece of a formula.

    `depth` counts the brackets around it; `in_call` says whether one of these belongs to a
    function call, an index or braces, within which the text is Python. The brackets of a call are
    of the kinds "call" and "endcall" and stand outside it.
    """

    kind: str
    text: str
    start: int
    depth: int
    in_call: bool

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def value(self) -> str:
        """Return the name meant, without backticks."""
        return self.text[1:-1] if self.kind == "quoted" else self.text

    @property
    def is_name(self) -> bool:
        return self.kind in ("name", "quoted")


def _tokenize(text: str) -> tuple[_Token, ...]:
    """Cut a text into tokens, white space left out; check that quotes and brackets are closed."""
    tokens: list[_Token] = []
    opened: list[_Token] = []
    for match in _TOKEN.finditer(text):
        kind, piece = str(match.lastgroup), match.group()
        if kind == "space":
            continue
        if piece in ("`", '"', "'"):
            raise FormulaSyntaxError(f"this {piece} is never closed", text, match.start())
        if kind == "close":
            token = _close(opened, piece, text, match.start())
        else:
            kind = _refined_kind(kind, piece, tokens)
            in_call = any(bracket.kind == "call" for bracket in opened)
            token = _Token(kind, piece, match.start(), len(opened), in_call)
        if kind in ("open", "call"):
            opened.append(token)
        tokens.append(token)
    if opened:
        raise FormulaSyntaxError(
            f"this '{opened[-1].text}' is never closed", text, opened[-1].start
        )
    return tuple(tokens)


def _refined_kind(kind: str, piece: str, before: list[_Token]) -> str:
    """Tell calls from grouping brackets, and the operator ``in`` from names."""
    if piece == "in":
        return "operator"
    if kind != "open":
        return kind
    after_operand = bool(before) and (before[-1].is_name or before[-1].kind == "endcall")
    return "call" if piece == "{" or after_operand else "open"


def _close(opened: list[_Token], piece: str, text: str, start: int) -> _Token:
    if not opened:
        raise FormulaSyntaxError(f"this '{piece}' closes nothing", text, start)
    bracket = opened.pop()
    expected = _CLOSING[bracket.text]
    if piece != expected:
        raise FormulaSyntaxError(
            f"expected '{expected}' to close '{bracket.text}', found '{piece}'", text, start
        )
    kind = "endcall" if bracket.kind == "call" else "close"
    return _Token(kind, piece, start, bracket.depth, bracket.in_call)


def _is_called(tokens: tuple[_Token, ...], index: int) -> bool:
    following = tokens[index + 1 : index + 2]
    return bool(following) and following[0].kind == "call" and following[0].text == "("


def _is_keyword_argument(tokens: tuple[_Token, ...], index: int) -> bool:
    return (
        0 < index < len(tokens) - 1
        and tokens[index].in_call
        and tokens[index + 1].text == "="
        and tokens[index - 1].text in ("(", ",")
    )


def _references(tokens: tuple[_Token, ...], columns: frozenset[str]) -> Iterator[Reference]:
    for index, token in enumerate(tokens):
        if not token.is_name or _is_keyword_argument(tokens, index):
            continue
        column = _column_named(token, columns, called=_is_called(tokens, index))
        if column is not None:
            end = token.end if token.kind == "quoted" else token.start + len(column)
            yield Reference(token.start, end, column, _is_label(tokens, index))


def _is_label(tokens: tuple[_Token, ...], index: int) -> bool:
    """Return whether a token is a name and the first argument of ``C()`` or ``factor()``."""
    return (
        index >= 2
        and tokens[index].is_name
        and _is_called(tokens, index - 2)
        and tokens[index - 2].text in _FACTOR_FUNCTIONS
    )


def _column_named(token: _Token, columns: frozenset[str], *, called: bool) -> str | None:
    """Return the longest dotted beginning of a name that is a column."""
    if token.kind == "quoted":
        return token.value if token.value in columns else None
    parts = token.text.split(".")
    for length in range(len(parts) - called, 0, -1):
        name = ".".join(parts[:length])
        if name in columns:
            return name
    return None


def _python_spelling(token: _Token, called: bool) -> str | None:
    if token.kind == "operator" and token.in_call:
        return _PYTHON_OPERATORS.get(token.text)
    if token.kind != "name":
        return None
    if called:
        return "C" if token.text in ("factor", "as.factor") else None
    return _PYTHON_CONSTANTS.get(token.text) if token.in_call else None


@dataclass(frozen=True, slots=True)
class _Phrase:
    """Consecutive tokens of a formula, never none, their brackets balanced."""

    source: str
    tokens: tuple[_Token, ...]

    @property
    def text(self) -> str:
        return self.source[self.tokens[0].start : self.tokens[-1].end]

    @property
    def depth(self) -> int:
        return min(token.depth for token in self.tokens)

    @property
    def content(self) -> "_Phrase":
        """Return what stands inside the brackets around the whole phrase, if there are any."""
        phrase = self
        while phrase.is_group:
            phrase = phrase.between(1, -1)
        return phrase

    @property
    def is_group(self) -> bool:
        """Return whether one pair of parentheses is around the whole phrase."""
        first, last = self.tokens[0], self.tokens[-1]
        level = [token for token in self.tokens if token.depth == first.depth]
        return first.kind == "open" and last.kind == "close" and len(level) == 2

    @property
    def is_bar(self) -> bool:
        return self.is_group and bool(self.content.operators(_BARS))

    @property
    def is_offset(self) -> bool:
        return self.tokens[0].text == "offset" and self.is_call

    @property
    def is_call(self) -> bool:
        """Return whether the phrase is one call of a function, ``f(...)``, and no more."""
        level = [token for token in self.tokens if token.depth == self.tokens[0].depth]
        return [token.kind for token in level] == ["name", "call", "endcall"]

    def between(self, start: int, stop: int | None) -> "_Phrase":
        return _Phrase(self.source, self.tokens[start:stop])

    def operators(self, texts: Collection[str]) -> list[int]:
        """Return where these operators stand between the operands of the phrase itself."""
        depth = self.depth
        return [
            index
            for index, token in enumerate(self.tokens)
            if token.kind == "operator" and token.depth == depth and token.text in texts
        ]

    def split(self, operator: str) -> list["_Phrase"]:
        cuts = self.operators({operator})
        starts = [0, *(cut + 1 for cut in cuts)]
        return [
            self.between(start, stop) for start, stop in zip(starts, [*cuts, None], strict=True)
        ]

    def error(self, expected: str, token: _Token | None = None) -> FormulaSyntaxError:
        position = (token or self.tokens[0]).start
        return FormulaSyntaxError(expected, self.source, position)


def _read(text: str) -> _Phrase:
    """Tokenize a formula and check that terms and operators take turns in it."""
    source = re.sub(r"\s", " ", text)
    tokens = _tokenize(source)
    previous: _Token | None = None
    for token in tokens:
        if token.in_call or token.kind == "endcall" or (token.kind == "call" and token.text != "{"):
            continue
        _check_turn(source, token, previous)
        previous = token
    if previous is None or _leaves_open(previous):
        after = f" after '{previous.text}'" if previous else ""
        raise FormulaSyntaxError(f"expected a term{after}", source, len(source.rstrip()))
    return _Phrase(source, tokens)


def _leaves_open(token: _Token) -> bool:
    """Return whether an operand must follow a token."""
    return token.kind in ("operator", "open")


def _check_turn(source: str, token: _Token, previous: _Token | None) -> None:
    expects_operand = previous is None or _leaves_open(previous)
    if token.text == "[" or (token.kind == "operator" and token.text not in _INFIX):
        expected = f"'{token.text}' has no meaning between terms: put the expression into I(...)"
    elif token.kind in ("operator", "close") and expects_operand:
        if _may_be_unary(token, previous):
            return
        expected = f"expected a term before '{token.text}'"
    elif token.kind not in ("operator", "close") and not expects_operand:
        expected = f"expected an operator, such as '+', before '{token.text}'"
    else:
        return
    raise FormulaSyntaxError(expected, source, token.start)


def _may_be_unary(token: _Token, previous: _Token | None) -> bool:
    if token.text == "~":
        return previous is None
    after_sum = previous is None or previous.kind == "open" or previous.text in _SUM | _BARS | {"~"}
    return token.text in _SUM and after_sum


def _summands(phrase: _Phrase) -> Iterator[tuple[int, _Phrase]]:
    """Yield the terms of a sum with their signs; brackets around the whole are ignored."""
    phrase = phrase.content
    cuts = phrase.operators(_SUM)
    sign, start = 1, 0
    for cut in [*cuts, len(phrase.tokens)]:
        if cut > start:
            yield sign, phrase.between(start, cut)
            sign = 1
        if cut < len(phrase.tokens) and phrase.tokens[cut].text == "-":
            sign = -sign
        start = cut + 1


def _formula_summands(phrase: _Phrase) -> Iterator[tuple[int, _Phrase]]:
    """Yield the terms of a sum, going into brackets for the bars and offsets in them."""
    if phrase.is_bar:
        yield 1, phrase
        return
    for sign, summand in _summands(phrase):
        is_sum = summand.is_group and not summand.is_bar
        if is_sum and sign > 0 and _special(summand) is not None:
            yield from _formula_summands(summand)
        else:
            yield sign, summand


def _special(phrase: _Phrase) -> _Token | None:
    """Return the first bar or ``offset`` of a phrase that is not an argument of a function."""
    for index, token in enumerate(phrase.tokens):
        is_offset = token.text == "offset" and _is_called(phrase.tokens, index)
        if not token.in_call and (token.text in _BARS or is_offset):
            return token
    return None


def _split_response(formula: _Phrase) -> tuple[str | None, _Phrase]:
    tildes = [i for i, t in enumerate(formula.tokens) if t.text == "~" and not t.in_call]
    if not tildes:
        return None, formula
    first = tildes[0]
    for tilde in tildes:
        if tilde != first or formula.tokens[tilde].depth:
            raise formula.error("expected one '~', outside brackets", formula.tokens[tilde])
    right = formula.between(first + 1, None)
    if first == 0:
        return None, right
    response = formula.between(0, first)
    special = _special(response)
    if special is not None:
        raise formula.error(f"'{special.text}' cannot be part of the response", special)
    return response.text, right


def _offset_argument(sign: int, summand: _Phrase) -> str:
    if sign < 0:
        raise summand.error("an offset can be added, not subtracted")
    if len(summand.tokens) == 3:
        raise summand.error("expected an expression inside offset()", summand.tokens[2])
    return summand.between(2, -1).text


def _refuse_misplaced(summand: _Phrase) -> None:
    """Raise for a bar or an offset that is not a term of the sum by itself."""
    special = _special(summand)
    if special is None:
        return
    if special.text == "offset":
        expected = "offset(...) must be a term of the sum by itself"
    elif special.depth == summand.depth:
        expected = _BARE_BAR
    else:
        expected = "a bar must be a term of the sum by itself, not part of an interaction"
    raise summand.error(expected, special)


def _join(summands: Iterable[tuple[int, _Phrase]]) -> str:
    text = " ".join(f"{'-' if sign < 0 else '+'} {summand.text}" for sign, summand in summands)
    return text.removeprefix("+ ")


@lru_cache(maxsize=128)
def _terms_of_text(text: str) -> tuple[RandomTerm, ...]:
    phrase = _read(text)
    for token in phrase.tokens:
        if token.text == "~" and not token.in_call:
            raise phrase.error("expected only random terms, without '~'", token)
    for index in phrase.operators(_BARS):
        raise phrase.error(_BARE_BAR, phrase.tokens[index])
    terms: list[RandomTerm] = []
    for sign, summand in _formula_summands(phrase):
        if not summand.is_bar:
            _refuse_misplaced(summand)
            raise summand.error("expected only random terms, (x | g); all else belongs to `fixed`")
        terms += _terms_of_bar(sign, summand)
    return tuple(terms)


def _terms_of_bar(sign: int, summand: _Phrase) -> list[RandomTerm]:
    if sign < 0:
        raise summand.error("a random term can be added, not subtracted")
    bar = summand.content
    first = bar.operators(_BARS)[0]
    extra = [t for t in bar.tokens[first + 1 :] if t.text in _BARS and not t.in_call]
    nested = [t for t in bar.tokens[:first] if t.text in _BARS and not t.in_call]
    if nested or extra:
        raise bar.error("expected one bar to a pair of parentheses", (nested + extra)[0])
    left, right = bar.between(0, first), bar.between(first + 1, None)
    groups = _nested_groups(right)
    if len(set(groups[0])) < len(groups[0]):
        raise right.error("expected different columns on the right of the bar")
    uncorrelated = bar.tokens[first].text == "||"
    blocks = _uncorrelated_blocks(left) if uncorrelated else [_left_side(left)]
    return [RandomTerm(group, *block) for block in blocks for group in groups]


def _left_side(phrase: _Phrase) -> tuple[bool, tuple[str, ...]]:
    """Return whether the intercept varies, and the slopes."""
    intercept, slopes = _left_summands(phrase)
    return intercept, tuple(dict.fromkeys(slope.text for slope in slopes))


def _uncorrelated_blocks(phrase: _Phrase) -> list[tuple[bool, tuple[str, ...]]]:
    """Return one block for the intercept and one for every slope."""
    intercept, slopes = _left_summands(phrase)
    names = dict.fromkeys(name for slope in slopes for name in _product_terms(slope))
    constant: list[tuple[bool, tuple[str, ...]]] = [(True, ())] if intercept else []
    return [*constant, *((False, (name,)) for name in names)]


def _left_summands(phrase: _Phrase) -> tuple[bool, list[_Phrase]]:
    intercept = True
    slopes = []
    for sign, summand in _flat_summands(phrase):
        if summand.tokens[0].kind == "number" and len(summand.tokens) == 1:
            if summand.text not in ("0", "1"):
                raise summand.error("expected a column; the only numbers here are 0 and 1")
            intercept = (summand.text == "1") == (sign > 0)
        elif sign < 0:
            raise summand.error("only '- 1' can be subtracted here")
        else:
            slopes.append(summand)
    if not intercept and not slopes:
        raise phrase.error("expected at least one column: 1, or a slope")
    return intercept, slopes


def _flat_summands(phrase: _Phrase) -> Iterator[tuple[int, _Phrase]]:
    for sign, summand in _summands(phrase):
        if summand.is_group and sign > 0:
            yield from _flat_summands(summand)
        else:
            yield sign, summand


def _product_terms(phrase: _Phrase) -> list[str]:
    """Expand ``a * b`` into a, b and a:b."""
    factors = phrase.split("*")
    for token in phrase.tokens:
        if not token.in_call and (token.kind == "open" or token.text in ("/", "^", "**", "%in%")):
            raise phrase.error("beside '||' write every term out, with '+' and ':' only", token)
    return [
        ":".join(factor.text for factor in chosen)
        for degree in range(1, len(factors) + 1)
        for chosen in combinations(factors, degree)
    ]


def _nested_groups(phrase: _Phrase) -> list[tuple[str, ...]]:
    """Expand ``a/b/c`` into c:b:a, b:a and a."""
    chain = _chain(phrase)
    return [
        tuple(name for part in reversed(chain[:length]) for name in part)
        for length in range(len(chain), 0, -1)
    ]


def _chain(phrase: _Phrase) -> list[tuple[str, ...]]:
    phrase = phrase.content
    parts = phrase.split("/")
    if len(parts) == 1:
        return [_interaction(phrase)]
    return [element for part in parts for element in _chain(part)]


def _interaction(phrase: _Phrase) -> tuple[str, ...]:
    phrase = phrase.content
    parts = phrase.split(":")
    if len(parts) == 1:
        return (_group_name(phrase),)
    return tuple(name for part in parts for name in _interaction(part))


def _group_name(phrase: _Phrase) -> str:
    tokens = phrase.tokens
    if len(tokens) == 1 and tokens[0].is_name:
        return tokens[0].value
    if phrase.is_call and len(tokens) == 4 and _is_label(tokens, 2):
        return tokens[2].value
    operators = phrase.operators(_INFIX)
    if not operators:
        raise phrase.error("expected a grouping column, a:b or a/b on the right of the bar")
    operator = tokens[operators[0]]
    hint = {
        "+": "; write (1 | a) + (1 | b) for two factors",
        "*": "; write (1 | a) + (1 | b) + (1 | a:b) for a * b",
    }
    raise phrase.error(
        f"expected a grouping column, a:b or a/b on the right of the bar, not '{operator.text}'"
        + hint.get(operator.text, ""),
        operator,
    )


def _terms_of_entry(key: Any, value: Any) -> list[RandomTerm]:
    groups = _groups_of_key(key)
    intercept, slopes = _columns_of_value(key, value)
    return [RandomTerm(group, intercept, slopes) for group in groups]


def _groups_of_key(key: Any) -> list[tuple[str, ...]]:
    if isinstance(key, tuple) and all(isinstance(name, str) for name in key):
        return [key]
    if not isinstance(key, str):
        raise TypeError(f"a key of random must be a string or a tuple of strings, not {key!r}")
    try:
        return _nested_groups(_read(key))
    except FormulaSyntaxError:
        return [(key,)]


def _columns_of_value(key: Any, value: Any) -> tuple[bool, tuple[str, ...]]:
    if isinstance(value, str):
        return _left_side(_read(value))
    if not isinstance(value, list | tuple):
        raise TypeError(f"random[{key!r}] must be a list of columns or a string, not {value!r}")
    entries = [_entry(key, entry) for entry in value]
    if not entries:
        raise ValueError(f"random[{key!r}] names no columns: '1' stands for the intercept")
    slopes = tuple(entry for entry in entries if entry not in ("0", "1"))
    return "1" in entries, slopes


def _entry(key: Any, entry: Any) -> str:
    """Return a column of a mapping as a term; a name that is not valid syntax gets backticks."""
    if isinstance(entry, int) and entry in (0, 1):
        return str(int(entry))
    if not isinstance(entry, str):
        raise TypeError(f"random[{key!r}] must hold strings, not {entry!r}")
    try:
        _read(entry)
    except FormulaSyntaxError:
        return entry if "`" in entry or not entry.strip() else f"`{entry}`"
    return entry.strip()
