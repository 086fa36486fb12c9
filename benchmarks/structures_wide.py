"""Terms of many random columns, whose fits are longer than those of slopes."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from structures_case import Case
from structures_curves import CURVES, additive

from skmixed import lmer


def experiment(rng, n_subjects=40, n_items=30):
    """Draw a Latin square of two by two by two conditions."""
    subject, item = np.divmod(np.arange(n_subjects * n_items), n_items)
    condition = (subject + item) % 8
    table = pd.DataFrame({name: 2.0 * ((condition >> b) & 1) - 1 for b, name in enumerate("abc")})
    table["subject"], table["item"] = subject, item
    parts = [
        np.prod(table[list(names)].to_numpy(), axis=1)
        for size in range(4)
        for names in combinations("abc", size)
    ]
    columns = np.column_stack(parts)
    sizes = rng.uniform(0.0, 0.6, 8) * (rng.random(8) < 0.5)
    of_subjects = rng.standard_normal((n_subjects, 8)) * sizes
    table["y"] = (
        (columns * of_subjects[subject]).sum(axis=1)
        + rng.standard_normal(n_items)[item]
        + rng.standard_normal(len(table))
    )
    return table


def free(rng, k, n_groups, n):
    """Draw rows of groups with k - 1 slopes, correlated."""
    x = rng.standard_normal((n, k - 1))
    table = pd.DataFrame(x, columns=[f"x{number}" for number in range(k - 1)])
    table["g"] = rng.integers(0, n_groups, n)
    effects = rng.standard_normal((n_groups, k)) @ rng.standard_normal((k, k)) / np.sqrt(k)
    table["y"] = (np.column_stack([np.ones(n), x]) * effects[table.g]).sum(axis=1)
    table["y"] += rng.standard_normal(n)
    return table


def _models():
    """Yield titles, formulas and tables."""
    rng = np.random.default_rng(0)
    table = additive(400, 20)
    yield "one curve", "y ~ s(x2, k=20)", table
    yield "four curves", f"y ~ {CURVES}", table
    yield "four curves, 20 groups", f"y ~ {CURVES} + (1 | g)", table
    maximal = "y ~ a * b * c + (a * b * c || subject) + (a * b * c || item)"
    yield "8 + 8 uncorrelated, crossed", maximal, experiment(rng)
    for k, n_groups, n in ((8, 60, 2_000), (20, 100, 5_000)):
        slopes = " + ".join(f"x{number}" for number in range(k - 1))
        yield f"{k} unstructured", f"y ~ 1 + ({slopes} | g)", free(rng, k, n_groups, n)
    levels = free(rng, 2, 60, 1_500).assign(f=rng.integers(0, 32, 1_500).astype(str))
    yield "32 levels unstructured", "y ~ 1 + (f | g)", levels


def wide(arguments):
    """Yield wide terms, and a random slope of one of their tables as a measure."""
    models = list(_models())
    table = models[-2][-1]
    yield Case("a slope", len(table), partial(lmer, "y ~ x0 + (x0 | g)", table))
    for title, formula, table in models:
        yield Case(title, len(table), partial(lmer, formula, table))
