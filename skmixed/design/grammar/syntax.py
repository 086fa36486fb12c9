"""lme4's formula syntax: a formula cut into its fixed part, random terms and offsets.

Only text is handled here; `skmixed.design.formula` learns what the pieces mean for a table.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

from skmixed.design.grammar.covariances import is_structured, structured_bar, structured_within
from skmixed.design.grammar.expressions import is_label
from skmixed.design.grammar.smooths import (
    MISPLACED,
    SmoothTerm,
    is_smooth,
    read_smooth,
    smooth_of,
    smooth_within,
)
from skmixed.design.grammar.terms import MAX_TERMS
from skmixed.design.grammar.tokens import (
    BARE_BAR,
    BARS,
    INFIX,
    SUM,
    Phrase,
    Token,
    is_called,
    read_phrase,
)
from skmixed.exceptions import FormulaSyntaxError

_MOST_NESTED = 30  # factors of a/b/c/...: each has a term with all before it


@dataclass(frozen=True, slots=True)
class RandomTerm:
    """Coefficients that vary, jointly, over the levels of one grouping factor.

    One bar of an lme4 formula, ``(1 + Days | Subject)``, with ``/`` and ``||`` expanded: the
    columns of a term have one covariance block, and different terms are independent. Raises
    ValueError without a grouping column or a column that varies, and for a repeated name.
    """

    group: tuple[str, ...]  # grouping columns; every combination that occurs is a level
    intercept: bool  # whether the constant varies over the levels
    slopes: tuple[str, ...] = ()  # terms that vary: "Days", "I(x ** 2)", "a:b"
    smooths: tuple[SmoothTerm, ...] = ()  # curves that vary
    covariance: str | None = None  # name of its structure, where the formula has it

    def __post_init__(self) -> None:
        if not self.group or not all(self.group):
            raise ValueError("a random term needs at least one grouping column, with a name")
        if len(set(self.group)) < len(self.group):
            raise ValueError(f"the random term '{self.name}' repeats a grouping column")
        if not self.intercept and not self.slopes and not self.smooths:
            raise ValueError(
                f"the random term of '{self.name}' has no columns: "
                "give it an intercept ('1') or a slope"
            )
        if not all(slope.strip() for slope in self.slopes):
            raise ValueError(f"the random term of '{self.name}' has a slope without a name")
        if len(set(self.slopes)) < len(self.slopes):
            raise ValueError(f"the random term of '{self.name}' repeats a slope: {self.slopes}")

    @property
    def name(self) -> str:
        """lme4's name of the factor, such as ``"class:school"``."""
        return ":".join(self.group)

    @property
    def slope_names(self) -> tuple[str, ...]:
        """The slopes without backticks: as columns are called, where they are columns."""
        return tuple(slope.strip("`") for slope in self.slopes)

    @property
    def expression(self) -> str:
        """The left side of the bar without curves, its intercept always explicit."""
        return " + ".join(("1" if self.intercept else "0", *self.slopes))

    @property
    def left(self) -> str:
        """The left side of the bar, its intercept always explicit."""
        return " + ".join((self.expression, *(smooth.text for smooth in self.smooths)))


@dataclass(frozen=True, slots=True)
class FormulaParts:
    """A whole formula, taken apart."""

    response: str | None  # the left side of ``~``
    fixed: str  # the right side without bars and offsets; "1" when nothing remains
    random: tuple[RandomTerm, ...]  # the bars, expanded, in the order of the text
    offsets: tuple[str, ...]  # the arguments of ``offset()``
    smooths: tuple[SmoothTerm, ...] = ()  # the curves


def parse_random(spec: str | Mapping[Any, Any]) -> tuple[RandomTerm, ...]:
    """Read the random part of a model: lme4's bars, or a mapping from factors to columns.

    Bars are a string, ``"(1 + Days | Subject) + (1 | school/class)"``; a mapping is like
    ``{"school/class": ["1", "open"]}``. A key is the right side of a bar, a tuple of column names
    (their interaction), or, taken literally, a column name that is not valid syntax. A value is a
    list of columns, with "1" for the intercept, or the left side of a bar. ``a/b`` and ``||`` are
    expanded in lme4's order: ``b:a`` before ``a``. Raises FormulaSyntaxError, whose message points
    at the place.
    """
    if isinstance(spec, str):
        return _terms_of_text(spec)
    if isinstance(spec, Mapping):
        terms = [term for key, value in spec.items() for term in _terms_of_entry(key, value)]
        repeated = _repeated(terms)
        if repeated:
            raise ValueError(repeated)
        return tuple(terms)
    raise TypeError(f"random must be a string or a mapping, not {type(spec).__name__}")


def _repeated(terms: Iterable[RandomTerm]) -> str:
    """Say which term has the columns and the factor of another: only their sum is identified."""
    known: set[tuple[Any, ...]] = set()
    for term in terms:
        key = (
            frozenset(term.group),
            term.intercept,
            frozenset(term.slope_names),
            frozenset(term.smooths),
            (term.covariance or "").startswith("rr"),  # which may stand beside variances
        )
        if key in known:
            return (
                f"the random term ({term.left} | {term.name}) is there twice; a/b stands for "
                "a and b:a, || for a term of each column"
            )
        known.add(key)
    return ""


@lru_cache(maxsize=128)  # a model reads its text at every fit, and a session has few
def split_formula(text: str) -> FormulaParts:
    """Cut a whole lme4 formula into response, fixed part, curves, random terms and offsets.

    The text is like ``"extro ~ open + (1 + open | school/class) + offset(2 * x)"``; what is not
    taken apart is returned as it was written. Raises FormulaSyntaxError, whose message points at
    the place.
    """
    formula = read_phrase(text)
    response, right = _split_response(formula)
    fixed: list[tuple[int, Phrase]] = []
    random: list[RandomTerm] = []
    offsets: list[str] = []
    smooths: list[SmoothTerm] = []
    for sign, summand in _formula_summands(right):
        if is_smooth(summand):
            smooths.append(_added_smooth(sign, summand))
        elif _is_random(summand):
            random += _terms_of_bar(sign, summand)
        elif summand.is_offset:
            offsets.append(_offset_argument(sign, summand))
        else:
            _refuse_misplaced(summand)
            fixed.append((sign, summand))
    repeated = _repeated(random)
    if repeated:
        raise right.error(repeated)
    twice = [smooth for smooth in smooths if smooths.count(smooth) > 1]
    if twice:
        raise right.error(f"the curve {twice[0].text} is there twice")
    return FormulaParts(
        response, _join(fixed) or "1", tuple(random), tuple(offsets), tuple(smooths)
    )


def _added_smooth(sign: int, summand: Phrase) -> SmoothTerm:
    if sign < 0:
        raise summand.error("a curve can be added, not subtracted")
    return smooth_of(summand)


def _summands(phrase: Phrase) -> Iterator[tuple[int, Phrase]]:
    """Yield the terms of a sum with their signs; brackets around the whole are ignored."""
    phrase = phrase.content
    cuts = phrase.operators(SUM)
    sign, start = 1, 0
    for cut in [*cuts, len(phrase.tokens)]:
        if cut > start:
            yield sign, phrase.between(start, cut)
            sign = 1
        if cut < len(phrase.tokens) and phrase.tokens[cut].text == "-":
            sign = -sign
        start = cut + 1


def _formula_summands(phrase: Phrase) -> Iterator[tuple[int, Phrase]]:
    """Yield the terms of a sum, entering brackets that hold bars or offsets."""
    if _is_random(phrase):
        yield 1, phrase
        return
    for sign, summand in _summands(phrase):
        is_sum = summand.is_group and not _is_random(summand)
        if is_sum and sign > 0 and _own_term(summand) is not None:
            yield from _formula_summands(summand)
        else:
            yield sign, summand


def _own_term(phrase: Phrase) -> Token | None:
    """Return the first bar, ``offset`` or ``s`` of a phrase that is not within a function.

    Of a bar with a covariance structure it is the name of that.
    """
    for index, token in enumerate(phrase.tokens):
        is_own = token.text in ("offset", "s") and is_called(phrase.tokens, index)
        if not token.in_call and (token.text in BARS or is_own):
            return token
    return structured_within(phrase)


def _split_response(formula: Phrase) -> tuple[str | None, Phrase]:
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
    found = _own_term(response) or smooth_within(response)
    if found is not None:
        raise formula.error(f"'{found.text}' cannot be part of the response", found)
    return response.text, right


def _offset_argument(sign: int, summand: Phrase) -> str:
    if sign < 0:
        raise summand.error("an offset can be added, not subtracted")
    if len(summand.tokens) == 3:
        raise summand.error("expected an expression inside offset()", summand.tokens[2])
    return summand.between(2, -1).text


def _refuse_misplaced(summand: Phrase) -> None:
    """Refuse a bar, an offset or a curve that is not a term of the sum by itself."""
    found = _own_term(summand) or smooth_within(summand)
    if found is None:
        return
    if found.text == "s":
        expected = MISPLACED
    elif found.text == "offset":
        expected = "offset(...) must be a term of the sum by itself"
    elif found.text in BARS and found.depth == summand.depth:
        expected = BARE_BAR
    else:
        expected = "a bar must be a term of the sum by itself, not part of an interaction"
    raise summand.error(expected, found)


def _join(summands: Iterable[tuple[int, Phrase]]) -> str:
    text = " ".join(f"{'-' if sign < 0 else '+'} {summand.text}" for sign, summand in summands)
    return text.removeprefix("+ ")


@lru_cache(maxsize=128)  # as many as whole formulas
def _terms_of_text(text: str) -> tuple[RandomTerm, ...]:
    phrase = read_phrase(text)
    for token in phrase.tokens:
        if token.text == "~" and not token.in_call:
            raise phrase.error("expected only random terms, without '~'", token)
    for index in phrase.operators(BARS):
        raise phrase.error(BARE_BAR, phrase.tokens[index])
    terms: list[RandomTerm] = []
    for sign, summand in _formula_summands(phrase):
        if is_smooth(summand):
            raise summand.error(
                "a curve of all rows belongs to `fixed`, one a level into (s(x) | g)"
            )
        if not _is_random(summand):
            _refuse_misplaced(summand)
            raise summand.error("expected only random terms, (x | g); all else belongs to `fixed`")
        terms += _terms_of_bar(sign, summand)
    repeated = _repeated(terms)
    if repeated:
        raise phrase.error(repeated)
    return tuple(terms)


def _terms_of_bar(sign: int, summand: Phrase) -> list[RandomTerm]:
    if sign < 0:
        raise summand.error("a random term can be added, not subtracted")
    bar, covariance = summand.content, None
    if is_structured(bar):
        bar, covariance = structured_bar(bar)
    first = bar.operators(BARS)[0]
    extra = [t for t in bar.tokens[first + 1 :] if t.text in BARS and not t.in_call]
    nested = [t for t in bar.tokens[:first] if t.text in BARS and not t.in_call]
    if nested or extra:
        raise bar.error("expected one bar to a pair of parentheses", (nested + extra)[0])
    left, right = bar.between(0, first), bar.between(first + 1, None)
    groups = _nested_groups(right)
    if len(set(groups[0])) < len(groups[0]):
        raise right.error("expected different columns on the right of the bar")
    uncorrelated = bar.tokens[first].text == "||"
    blocks = _uncorrelated_blocks(left) if uncorrelated else [_left_side(left)]
    return [RandomTerm(group, *block, covariance) for block in blocks for group in groups]


def _is_random(phrase: Phrase) -> bool:
    """Tell whether a phrase is a random term, ``(x | g)`` or ``cs(x | g)``."""
    return phrase.is_bar or is_structured(phrase.content)


# Whether the intercept varies, the slopes, and the curves of a random term.
_Left = tuple[bool, tuple[str, ...], tuple[SmoothTerm, ...]]


def _left_side(phrase: Phrase) -> _Left:
    """Return what varies."""
    intercept, slopes, smooths = _left_summands(phrase)
    return intercept, tuple(dict.fromkeys(slope.text for slope in slopes)), smooths


def _uncorrelated_blocks(phrase: Phrase) -> list[_Left]:
    """Return one block for the intercept and one for every slope and every curve."""
    intercept, slopes, smooths = _left_summands(phrase)
    names = dict.fromkeys(name for slope in slopes for name in _product_terms(slope))
    constant: list[_Left] = [(True, (), ())] if intercept else []
    curves: list[_Left] = [(False, (), (smooth,)) for smooth in smooths]
    return [*constant, *((False, (name,), ()) for name in names), *curves]


def _left_summands(phrase: Phrase) -> tuple[bool, list[Phrase], tuple[SmoothTerm, ...]]:
    intercept = True
    slopes = []
    smooths: dict[SmoothTerm, None] = {}
    for sign, summand in _flat_summands(phrase):
        if summand.tokens[0].kind == "number" and len(summand.tokens) == 1:
            if summand.text not in ("0", "1"):
                raise summand.error("expected a column; the only numbers here are 0 and 1")
            intercept = (summand.text == "1") == (sign > 0)
        elif sign < 0:
            raise summand.error("only '- 1' can be subtracted here")
        elif is_smooth(summand):
            smooths[smooth_of(summand)] = None
        elif (inner := smooth_within(summand)) is not None:
            raise summand.error(MISPLACED, inner)
        else:
            slopes.append(summand)
    if not intercept and not slopes and not smooths:
        raise phrase.error("expected at least one column: 1, or a slope")
    return intercept, slopes, tuple(smooths)


def _flat_summands(phrase: Phrase) -> Iterator[tuple[int, Phrase]]:
    for sign, summand in _summands(phrase):
        if summand.is_group and sign > 0:
            yield from _flat_summands(summand)
        else:
            yield sign, summand


def _product_terms(phrase: Phrase) -> list[str]:
    """Expand ``a * b`` into a, b and a:b."""
    operands = phrase.split("*")
    if 2 ** len(operands) > MAX_TERMS:
        raise phrase.error(f"this product has more than {MAX_TERMS:,} terms when it is expanded")
    for token in phrase.tokens:
        if not token.in_call and (token.kind == "open" or token.text in ("/", "^", "**", "%in%")):
            raise phrase.error("beside '||' write every term out, with '+' and ':' only", token)
    return [
        ":".join(operand.text for operand in chosen)
        for degree in range(1, len(operands) + 1)
        for chosen in combinations(operands, degree)
    ]


def _nested_groups(phrase: Phrase) -> list[tuple[str, ...]]:
    """Expand ``a/b/c`` into c:b:a, b:a and a."""
    chain = _nesting_chain(phrase)
    if len(chain) > _MOST_NESTED:
        raise phrase.error(f"more than {_MOST_NESTED} factors are nested here")
    return [
        tuple(name for part in reversed(chain[:length]) for name in part)
        for length in range(len(chain), 0, -1)
    ]


def _nesting_chain(phrase: Phrase) -> list[tuple[str, ...]]:
    """Return the interactions between the slashes of ``a/b/c``, coarse to fine."""
    phrase = phrase.content
    parts = phrase.split("/")
    if len(parts) == 1:
        return [_interaction(phrase)]
    return [element for part in parts for element in _nesting_chain(part)]


def _interaction(phrase: Phrase) -> tuple[str, ...]:
    phrase = phrase.content
    parts = phrase.split(":")
    if len(parts) == 1:
        return (_group_name(phrase),)
    return tuple(name for part in parts for name in _interaction(part))


def _group_name(phrase: Phrase) -> str:
    tokens = phrase.tokens
    if len(tokens) == 1 and tokens[0].is_name:
        return tokens[0].value
    if phrase.is_call and len(tokens) == 4 and is_label(tokens, 2):
        return tokens[2].value
    operators = phrase.operators(INFIX)
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
    left = _columns_of_value(key, value)
    return [RandomTerm(group, *left) for group in groups]


def _groups_of_key(key: Any) -> list[tuple[str, ...]]:
    if isinstance(key, tuple) and all(isinstance(name, str) for name in key):
        return [key]
    if not isinstance(key, str):
        raise TypeError(f"a key of random must be a string or a tuple of strings, not {key!r}")
    try:
        return _nested_groups(read_phrase(key))
    except FormulaSyntaxError:
        return [(key,)]


def _columns_of_value(key: Any, value: Any) -> _Left:
    if isinstance(value, str):
        return _left_side(read_phrase(value))
    if not isinstance(value, list | tuple):
        raise TypeError(f"random[{key!r}] must be a list of columns or a string, not {value!r}")
    entries = [_column_text(key, entry) for entry in value]
    if not entries:
        raise ValueError(f"random[{key!r}] names no columns: '1' stands for the intercept")
    slopes = tuple(entry for entry in entries if entry not in ("0", "1"))
    curves = tuple(slope for slope in slopes if _is_curve(slope))
    kept = tuple(slope for slope in slopes if slope not in curves)
    return "1" in entries, kept, tuple(map(read_smooth, curves))


def _is_curve(slope: str) -> bool:
    return slope.startswith("s(") and is_smooth(read_phrase(slope))


def _column_text(key: Any, entry: Any) -> str:
    """Return a column of a mapping as a term; a name that is not valid syntax gets backticks."""
    if isinstance(entry, int) and entry in (0, 1):
        return str(int(entry))
    if not isinstance(entry, str):
        raise TypeError(f"random[{key!r}] must hold strings, not {entry!r}")
    try:
        read_phrase(entry)
    except FormulaSyntaxError:
        return entry if "`" in entry or not entry.strip() else f"`{entry}`"
    return entry.strip()
