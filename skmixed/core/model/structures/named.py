"""The covariance structures by name, and those of several terms side by side."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
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
_WITH_RANK = re.compile(r"(\w+)\((\d+)\)")  # "rr(3)"


def structure_named(name: str, size: int) -> Structure:
    """Return a structure of some columns; "rr(3)" is of rank three.

    Raises ValueError for an unknown name, and for a rank that the columns cannot have.
    """
    found = _WITH_RANK.fullmatch(name.replace(" ", ""))
    kind, *rank = (found[1], int(found[2])) if found else (name,)
    if kind not in STRUCTURES or (rank and kind != "rr"):
        known = ", ".join(map(repr, STRUCTURES))
        raise ValueError(f"covariance {name!r} is not one of {known}, nor 'rr(3)' of a rank")
    return STRUCTURES[kind](size, *rank)


def joined(terms: tuple[Structure, ...]) -> Structure:
    """Return the structure of all terms of a factor: that of the only one, or their blocks."""
    if len(terms) == 1:
        return terms[0]
    kind = LinearBlocks if all(isinstance(term, Linear) for term in terms) else BlockDiagonal
    return kind(sum(term.size for term in terms), terms)
