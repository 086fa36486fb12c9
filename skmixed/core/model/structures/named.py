"""The covariance structures by name, and those of several terms side by side."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Literal

from skmixed.core.model.covariance import BlockDiagonal, Structure
from skmixed.core.model.structures.correlations import (
    Autoregressive,
    CompoundSymmetric,
    Toeplitz,
)
from skmixed.core.model.structures.linear_roots import (
    Diagonal,
    Identity,
    Linear,
    LinearBlocks,
    Unstructured,
)
from skmixed.core.model.structures.low_rank import LowRank

StructureName = Literal[
    "unstructured",
    "diagonal",
    "identity",
    "cs",
    "homcs",
    "ar1",
    "hetar1",
    "toep",
    "homtoep",
    "rr",
    "fa",
]
STRUCTURES: dict[str, Callable[..., Structure]] = {
    "unstructured": Unstructured,
    "diagonal": Diagonal,
    "identity": Identity,
    "cs": CompoundSymmetric,
    "homcs": partial(CompoundSymmetric, is_homogeneous=True),
    "ar1": partial(Autoregressive, is_homogeneous=True),
    "hetar1": Autoregressive,
    "toep": Toeplitz,
    "homtoep": partial(Toeplitz, is_homogeneous=True),
    "rr": LowRank,
}
OF_RANK = ("rr", "fa")  # names that may be followed by a rank
_WITH_RANK = re.compile(r"(rr|fa)\((\d{1,3})\)")  # "rr(3)"


@lru_cache(maxsize=256)
def structure_named(name: str, size: int) -> Structure:
    """Return a structure of some columns; "rr(3)" is of rank three.

    Raises ValueError for a rank that the columns cannot have, and KeyError for an unknown name.
    """
    kind, rank = _kind_and_rank(name)
    return STRUCTURES[kind](size, *rank)


@lru_cache(maxsize=256)
def structures_of_terms(name: str, size: int) -> tuple[str, ...]:
    """Return the names of the structures of the independent terms that a name stands for.

    "fa" is "rr" and a variance for each column; all are the same for one column. Raises ValueError
    for an unknown name, and for a rank that the columns cannot have.
    """
    kind, rank = _kind_and_rank(name)
    if kind not in (*STRUCTURES, *OF_RANK):
        known = ", ".join(map(repr, [*STRUCTURES, "fa"]))
        raise ValueError(
            f"covariance {name!r} is not one of {known}; with a rank, 'rr(3)' and 'fa(3)'"
        )
    if size == 1 and kind not in ("diagonal", "identity"):
        return ("unstructured",)
    if kind in OF_RANK:
        LowRank(size, *rank)
    return (name.replace("fa", "rr"), "diagonal") if kind == "fa" else (name,)


@lru_cache(maxsize=64)
def is_ordered(name: str) -> bool:
    """Tell whether a structure asks for the order of the columns."""
    kind, _ = _kind_and_rank(name)
    return kind in STRUCTURES and STRUCTURES[kind](2).is_ordered


def kind_of(name: str) -> str:
    """Return the name of a structure without its rank."""
    return _kind_and_rank(name)[0]


def of_fewer(name: str, size: int) -> str:
    """Return the name for fewer columns, (size,), whose rank may be lower."""
    kind, rank = _kind_and_rank(name)
    return f"{kind}({min(size, *rank)})" if rank else name


def _kind_and_rank(name: str) -> tuple[str, list[int]]:
    found = _WITH_RANK.fullmatch(name)
    return (found[1], [int(found[2])]) if found else (name, [])


@lru_cache(maxsize=256)
def joined(terms: tuple[Structure, ...]) -> Structure:
    """Return the structure of all terms of a factor: that of the only one, or their blocks."""
    if len(terms) == 1:
        return terms[0]
    kind = LinearBlocks if all(isinstance(term, Linear) for term in terms) else BlockDiagonal
    return kind(sum(term.size for term in terms), terms)
