"""Random terms of formulas, ``(1 + x | a/b)``, and of mappings from factors to columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from skmixed.design.grammar.covariances import is_structured, structured_bar
from skmixed.design.grammar.expressions import is_label
from skmixed.design.grammar.members import FUNCTION, MembersTerm, is_members, members_of
from skmixed.design.grammar.smooths import (
    MISPLACED,
    SmoothTerm,
    is_smooth,
    read_smooth,
    smooth_of,
    smooth_within,
)
from skmixed.design.grammar.terms import MAX_TERMS
from skmixed.design.grammar.tokens import BARS, INFIX, SUM, Phrase, arguments_of, read_phrase
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
    members: MembersTerm | None = (
        None  # where rows belong to several levels; `group` is its columns
    )

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
        return ":".join(self.group) if self.members is None else self.members.text

    @property
    def key(self) -> tuple[str, ...]:
        """The columns whose combinations are the levels of the factor, or its name as one."""
        return self.group if self.members is None else (self.name,)

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


def summands(phrase: Phrase) -> Iterator[tuple[int, Phrase]]:
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


def terms_of_bar(sign: int, summand: Phrase) -> list[RandomTerm]:
    """Read a random term of a sum. Raises FormulaSyntaxError for a malformed one."""
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
    members = members_of(right.content) if is_members(right.content) else None
    if members is not None and covariance is not None:
        raise right.error(f"expected no {summand.tokens[0].text}(...) around {members.text}")
    groups = _nested_groups(right) if members is None else [members.columns]
    if len(set(groups[0])) < len(groups[0]):
        raise right.error("expected different columns on the right of the bar")
    uncorrelated = bar.tokens[first].text == "||"
    blocks = _uncorrelated_blocks(left) if uncorrelated else [_left_side(left)]
    return [RandomTerm(group, *block, covariance, members) for block in blocks for group in groups]


def is_random(phrase: Phrase) -> bool:
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
    for sign, summand in summands(phrase):
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
    if len(parts) == 1 and phrase.is_call and phrase.tokens[0].text == "interaction":
        return tuple(name for _, part in arguments_of(phrase) for name in _interaction(part))
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


def terms_of_entry(key: Any, value: Any) -> list[RandomTerm]:
    """Read an entry of a mapping from factors to columns, as `parse_random` documents it."""
    left = _columns_of_value(key, value)
    if isinstance(key, str) and (members := _members_of_key(key)) is not None:
        return [RandomTerm(members.columns, *left, None, members)]
    return [RandomTerm(group, *left) for group in _groups_of_key(key)]


def _members_of_key(key: str) -> MembersTerm | None:
    """Return what a key says of rows in several levels, None where it is of single ones."""
    if not key.startswith(f"{FUNCTION}("):
        return None
    phrase = read_phrase(key)
    return members_of(phrase) if is_members(phrase) else None


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
