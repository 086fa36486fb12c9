"""Which of the summed columns a model uses, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skmixed.core.model.covariance import Structure
from skmixed.core.model.structures.named import joined, structure_named
from skmixed.core.sums.layout import CONSTANT

Method = Literal["reml", "ml"]
Weighting = Literal["frequency", "precision"]


@dataclass(frozen=True, slots=True)
class Term:
    """One random-effects term."""

    factor: int  # position in `Layout.factors`
    columns: tuple[int, ...]  # positions in `Layout.columns` of what varies
    covariance: str = "unstructured"  # name of its structure, in `STRUCTURES`
    curve: str = ""  # what it is called if its columns are those of one curve

    @property
    def structure(self) -> Structure:
        """Its covariance structure."""
        return structure_named(self.covariance, len(self.columns))


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A linear mixed model on given cross-products."""

    fixed: tuple[int, ...]  # positions in `Layout.columns`; 0 is the intercept
    terms: tuple[Term, ...] = ()  # in the order of the formula
    method: Method = "reml"
    weighting: Weighting = "frequency"  # what the weights of the rows mean

    @property
    def has_intercept(self) -> bool:
        """Whether the constant is a fixed column."""
        return CONSTANT in self.fixed

    @property
    def used_factors(self) -> tuple[int, ...]:
        """The factors that have a term, in the order of their first one."""
        return tuple(dict.fromkeys(term.factor for term in self.terms))

    def factor_terms(self, factor: int) -> tuple[Term, ...]:
        """Return the terms of one factor, in the order of the formula."""
        return tuple(term for term in self.terms if term.factor == factor)

    def factor_columns(self, factor: int) -> tuple[int, ...]:
        """Return the columns of the terms of one factor, side by side."""
        return tuple(column for term in self.factor_terms(factor) for column in term.columns)

    def structure(self, factor: int) -> Structure:
        """Return the covariance structure of one factor, its terms being independent."""
        return joined(tuple(term.structure for term in self.factor_terms(factor)))
