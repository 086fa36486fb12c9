"""Models of tables by simple formulas: sums of names, squares and an offset, and random terms."""

import re

import numpy as np

from skmixed.core.families.catalogue import family_of
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows, unique_rows
from tests.core.generalized.drawn import Drawn


def read(table, formula, name, link="auto", covariance="unstructured"):
    """Rows and model of a formula such as ``y ~ x + I(x^2) + (1 + x | g)``."""
    left, right = (side.strip() for side in formula.split("~"))
    random = re.findall(r"\(([^()|]*)\|([^()]*)\)", right)
    fixed = re.sub(r"\([^()|]*\|[^()]*\)", "", right)
    columns, offset = {"1": np.ones(len(table))}, None
    for term in [part.strip() for part in split_plus(fixed)]:
        if term.startswith("offset("):
            offset = value(table, term[len("offset(") : -1])
        elif term not in ("", "1"):
            columns |= encoded(table, term)
    places = {name: place for place, name in enumerate(columns)}
    n_fixed = len(columns)
    terms, keys = [], []
    for effects, factor in random:
        varying = [part.strip() for part in effects.split("+")]
        if "0" not in varying:
            varying = ["1", *[part for part in varying if part != "1"]]
        varying = [part for part in varying if part != "0"]
        for part in varying:
            if part not in places:
                places[part] = len(columns)
                columns |= encoded(table, part)
        if factor.strip() not in keys:
            keys.append(factor.strip())
        place = keys.index(factor.strip())
        terms.append(Term(place, tuple(places[part] for part in varying), covariance))
    y, weights = response(table, left)
    carried = [
        (0, *sorted({c for term in terms if term.factor == f for c in term.columns} - {0}))
        for f in range(len(keys))
    ]
    coded = [unique_rows([table[column].to_numpy() for column in key.split(":")]) for key in keys]
    layout = Layout(
        (*columns, "y"),
        tuple(FactorLayout(tuple(key.split(":")), c) for key, c in zip(keys, carried, strict=True)),
    )
    indexes = [
        GroupIndex(tuple(key.split(":")), tuple(table[c].to_numpy()[first] for c in key.split(":")))
        for key, (_, first) in zip(keys, coded, strict=True)
    ]
    values = np.column_stack([*columns.values(), y])
    rows = Rows(values, tuple(codes for codes, _ in coded), tuple(indexes), weights)
    spec = ModelSpec(tuple(range(n_fixed)), tuple(terms), "ml")
    return Drawn(layout, rows, spec, family_of(name, link), offset)


def split_plus(text):
    return re.split(r"\+(?![^(]*\))", text)


def encoded(table, term):
    """Columns of one term: a number, or a treatment coding of strings."""
    if term in table and table[term].dtype.kind not in "fiu":
        series = table[term]
        ordered = getattr(series.dtype, "categories", None)
        levels = sorted(series.unique()) if ordered is None else list(ordered)
        return {f"{term}{v}": (series == v).to_numpy(dtype=float) for v in levels[1:]}
    return {term: value(table, term)}


def value(table, text):
    """A number of every row: a column, I(x^2), x - z, log(x/c)."""
    expression = re.sub(r"^I\((.*)\)$", r"\1", text.strip()).replace("^", "**")
    names = {column: table[column].to_numpy(dtype=float) for column in table
             if re.fullmatch(r"\w+", column) and table[column].dtype.kind in "fiu"}  # fmt: skip
    return np.asarray(eval(expression, {"log": np.log}, names), dtype=float)


def response(table, left):
    """y and weights: counts of two kinds, shares `a/b` of trials, or one column."""
    both = re.match(r"cbind\((.*),(.*)\)", left)
    if both:
        hits, misses = (value(table, part) for part in both.groups())
        return hits / (hits + misses), hits + misses
    share = re.match(r"(\w+)\s*/\s*(\w+)$", left)
    if share:
        return value(table, left), value(table, share.group(2))
    return value(table, left), None
