"""Relationships that an estimator is given, made part of the model of its sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from skmixed.core.model.relation import Relation
from skmixed.core.model.spec import ModelSpec
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import GroupIndex
from skmixed.design.grammar.random_part import RandomTerm
from skmixed.design.relationships import Relationship, relations_of

_LABELS_SHOWN = 3  # missing columns shown: enough to see what went wrong


def related(
    model: Any, products: CrossProducts, spec: ModelSpec
) -> tuple[CrossProducts, ModelSpec]:
    """Return sums over all levels of the relationships of an estimator, and the model with them.

    Raises ValueError for relationships that do not know a level, that are of no factor, or of one
    with several random columns, and for searches that do not take any.
    """
    if model.solver not in ("auto", "newton"):
        raise ValueError(
            f"solver={model.solver!r} does not support relationships: use 'auto' or 'newton'"
        )
    columns = {products.levels[factor].name for factor in spec.used_factors if spec.members(factor)}
    known = {
        name: as_relationship(name, each)
        for name, each in model.relationship.items()
        if name not in columns
    }
    if not known:
        return products, spec
    keys = [each.key for each in products.layout.factors]
    relations = relations_of(known, keys)
    indexes = list(products.levels)
    for factor, relation in relations:
        _check_columns(spec, factor, indexes[factor].name)
        _check_levels(relation, indexes[factor])
        indexes[factor] = relation.index
    return products.at_levels(indexes), replace(spec, relations=relations)


def of_columns(model: Any, terms: Sequence[RandomTerm]) -> dict[str, Relationship]:
    """Return the relationships of an estimator by factor, whose levels are to be columns.

    Raises ValueError for those that are of no factor of one grouping column.
    """
    found = {}
    for name, each in (model.relationship or {}).items():
        known = [term.name for term in terms if len(term.key) == 1]
        if name not in known:
            raise ValueError(
                f"relationship={{{name!r}: ...}} is of no grouping column that has a random term; "
                f"there are {list(dict.fromkeys(known))}"
            )
        found[name] = as_relationship(name, each)
    return found


def of_members(model: Any, terms: Sequence[RandomTerm]) -> dict[str, Relationship]:
    """Return the relationships of a linear model whose levels are to be columns.

    They are those of terms in which rows belong to several levels, of factors with several random
    effects, and all beside a residual structure.
    """
    if model.residual is not None:
        return of_columns(model, terms)
    given = model.relationship
    known = [term.name for term in terms for _ in range(term.intercept + len(term.slopes))]
    names = {term.name for term in terms if term.members is not None or known.count(term.name) > 1}
    return {name: as_relationship(name, each) for name, each in given.items() if name in names}


def as_relationship(name: str, given: Any) -> Relationship:
    """Return what was given for a factor as a relationship."""
    if isinstance(given, Relationship):
        return given
    try:
        return Relationship(given)
    except ValueError as error:
        raise ValueError(f"relationship={{{name!r}: ...}}: {error}") from error


def _check_columns(spec: ModelSpec, factor: int, name: str) -> None:
    n_columns = len(spec.factor_columns(factor))
    if n_columns != 1:
        raise ValueError(
            f"levels of {name!r} are related and have {n_columns} random effects each, which can "
            "be fitted only to all rows at once: use fit"
        )


def _check_levels(relation: Relation, index: GroupIndex) -> None:
    known, labels = relation.index.labels[0], index.labels[0]
    missing = ~np.isin(labels.astype(object), known.astype(object))
    if missing.any():
        shown = [repr(each) for each in labels[missing][:_LABELS_SHOWN].tolist()]
        kinds = f"; known ones are like {known[:1].tolist()}" if missing.all() else ""
        raise ValueError(
            f"the relationship of {index.name!r} lacks {int(missing.sum())} of its levels, such "
            f"as {', '.join(shown)}{kinds}"
        )
