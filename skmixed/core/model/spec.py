"""Which of the summed columns a model uses, and how."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np

from skmixed.core.linalg import FloatArray, block_diagonal
from skmixed.core.model.covariance import Structure
from skmixed.core.model.penalty import Penalty, ScaledPenalty
from skmixed.core.model.relation import Relation
from skmixed.core.model.structures.named import (
    joined,
    kind_of,
    structure_named,
    structures_of_terms,
)
from skmixed.core.model.structures.repeated import Repeated
from skmixed.core.sums.layout import CONSTANT

Method = Literal["reml", "ml"]
Weighting = Literal["frequency", "precision"]


@dataclass(frozen=True, slots=True)
class Term:
    """One random-effects term."""

    factor: int  # position in `Layout.factors`
    columns: tuple[int, ...]  # positions in `Layout.columns` of what varies
    covariance: str = "unstructured"  # name of its structure, in `STRUCTURES`
    curve: str = ""  # what it is called if its columns are one thing, such as a curve
    whole: str = ""  # name of the structure of which it is one of several independent parts
    penalty: Penalty | None = None  # of its covariance, added to the criterion
    members: int = 0  # levels whose effects its columns have; 0 where these vary over levels
    effects: tuple[str, ...] = ()  # what such levels have, whose columns stand one after the other

    @property
    def structure(self) -> Structure:
        """Its covariance structure."""
        k, size = len(self.effects), len(self.columns)
        if k < 2:
            return structure_named(self.covariance, size)
        return Repeated(size, structure_named(self.covariance, k))

    @property
    def level_structure(self) -> Structure:
        """That of the effects of one level, whether these are columns or kinds of columns."""
        k = len(self.effects)
        if not self.members:
            return self.structure
        return structure_named(self.covariance if k > 1 else "unstructured", k)

    @property
    def copies(self) -> int:
        """Number of columns of each of its effects."""
        return len(self.columns) // max(1, len(self.effects))

    @property
    def label(self) -> str:
        """What a table of deviations calls the structure; empty where these say it themselves."""
        return kind_of(self.whole) if self.whole else self.structure.label

    def written(self, columns: str, factor: str) -> str:
        """Write the term as a formula does, with all parts of its structure."""
        own = self.structure
        return self.label + own.written(columns, factor).removeprefix(own.label)


def terms_of(factor: int, columns: tuple[int, ...], covariance: str) -> tuple[Term, ...]:
    """Return the terms that a structure of some columns, by name, is made of.

    Raises ValueError for an unknown name, and for a rank that the columns cannot have.
    """
    parts = structures_of_terms(covariance, len(columns))
    whole = covariance if len(parts) > 1 else ""
    return tuple(Term(factor, columns, part, whole=whole) for part in parts)


def factors_of(terms: Iterable[Term]) -> tuple[int, ...]:
    """Return the factors of terms, in the order of the first term of each."""
    return tuple(dict.fromkeys(term.factor for term in terms))


def wholes(terms: Sequence[Term]) -> list[tuple[Term, ...]]:
    """Return terms in their order, the parts of one structure together."""
    numbered = enumerate(terms)
    runs = groupby(numbered, lambda at: (at[1].factor, at[1].columns, at[1].whole or at[0]))
    return [tuple(term for _, term in run) for _, run in runs]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A linear mixed model on given cross-products."""

    fixed: tuple[int, ...]  # positions in `Layout.columns`; 0 is the intercept
    terms: tuple[Term, ...] = ()  # in the order of the formula
    method: Method = "reml"
    weighting: Weighting = "frequency"  # what the weights of the rows mean
    relations: tuple[tuple[int, Relation], ...] = ()  # known covariances of levels, by factor
    sigma2: float | None = None  # residual variance of a row of weight one, where it is known

    @property
    def has_intercept(self) -> bool:
        """Whether the constant is a fixed column."""
        return CONSTANT in self.fixed

    @property
    def is_penalised(self) -> bool:
        """Whether the covariance of some term has a penalty."""
        return any(term.penalty is not None for term in self.terms)

    @property
    def used_factors(self) -> tuple[int, ...]:
        """The factors that have a term, in the order of their first one."""
        return factors_of(self.terms)

    def relation(self, factor: int) -> Relation | None:
        """Return the known covariance of the levels of one factor, None for independent ones."""
        return dict(self.relations).get(factor)

    def members(self, factor: int) -> int:
        """Return how many levels of a factor have columns of their own, 0 where none has.

        A row may belong to several of these.
        """
        return max((term.members for term in self.factor_terms(factor)), default=0)

    def factor_terms(self, factor: int) -> tuple[Term, ...]:
        """Return the terms of one factor, in the order of the formula."""
        return tuple(term for term in self.terms if term.factor == factor)

    def factor_columns(self, factor: int) -> tuple[int, ...]:
        """Return the columns of the terms of one factor, side by side."""
        return tuple(column for term in self.factor_terms(factor) for column in term.columns)

    def shown_columns(self, factor: int) -> tuple[int, ...]:
        """Return the columns of one factor as users see them, parts of a structure added up."""
        whole_terms = wholes(self.factor_terms(factor))
        return tuple(column for first, *_ in whole_terms for column in first.columns)

    def shown_sums(self, factor: int) -> FloatArray:
        """Return what adds up the effects of one factor, (n_shown, k), to those of such columns."""
        blocks = []
        for parts in wholes(self.factor_terms(factor)):
            blocks.append(np.tile(np.eye(len(parts[0].columns)), len(parts)))
        return block_diagonal(blocks)

    def penalties(self, random_maps: Sequence[FloatArray]) -> tuple[ScaledPenalty, ...]:
        """Return the penalties of every used factor; none at all where no term has one.

        The maps, (k, k) of every used factor, make raw effects of scaled ones.
        """
        if not self.is_penalised:
            return ()
        result = []
        for factor, change in zip(self.used_factors, random_maps, strict=True):
            places = (columns for _, columns, _ in self.structure(factor).slices())
            zipped = zip(self.factor_terms(factor), places, strict=True)
            parts = [(t.penalty, at, change[at, at]) for t, at in zipped if t.penalty is not None]
            result.append(ScaledPenalty(tuple(parts)))
        return tuple(result)

    def structure(self, factor: int) -> Structure:
        """Return the covariance structure of one factor, its terms being independent."""
        return joined(tuple(term.structure for term in self.factor_terms(factor)))
