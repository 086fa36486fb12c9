"""Terms of many random columns: time of a fit in units of one with a random slope, and its length.

Curves are P-splines by `s(x)`, alone, four at once and beside groups; then the maximal model of an
experiment, with eight uncorrelated effects of subjects and of items, and unstructured covariances
of 8, 20 and 32 columns. The unit is ``(x | g)`` of as many rows.

Usage: OPENBLAS_NUM_THREADS=1 python benchmarks/wide_terms.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import time
import warnings
from itertools import combinations

import numpy as np
import pandas as pd

from skmixed import lmer

CURVES = " + ".join(f"s(x{number}, k=20)" for number in range(4))


def curves(rng, n=400, n_groups=20):
    """Draw four covariates, of which three matter, and groups."""
    table = pd.DataFrame(rng.uniform(size=(n, 4)), columns=[f"x{number}" for number in range(4)])
    table["g"] = rng.integers(0, n_groups, n)
    smooth = 2.0 * np.sin(np.pi * table.x0) + np.exp(2.0 * table.x1) + 4.0 * np.sin(9.0 * table.x2)
    effects = rng.standard_normal(n_groups)
    table["y"] = smooth + effects[table.g] + 2.0 * rng.standard_normal(n)
    return table


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


def cases(rng):
    """Yield names, formulas and tables."""
    table = curves(rng)
    yield "one curve", "y ~ s(x2, k=20)", table
    yield "four curves", f"y ~ {CURVES}", table
    yield "four curves, 20 groups", f"y ~ {CURVES} + (1 | g)", table
    yield "four curves, 5,000 groups", f"y ~ {CURVES} + (1 | g)", curves(rng, 200_000, 5_000)
    yield (
        "8 + 8 uncorrelated",
        "y ~ a * b * c + (a * b * c || subject) + (a * b * c || item)",
        experiment(rng),
    )
    for k, n_groups, n in ((8, 60, 2_000), (20, 100, 5_000)):
        slopes = " + ".join(f"x{number}" for number in range(k - 1))
        yield f"{k} unstructured", f"y ~ 1 + ({slopes} | g)", free(rng, k, n_groups, n)
    levels = free(rng, 2, 60, 1_500).assign(f=rng.integers(0, 32, 1_500).astype(str))
    yield "32 levels unstructured", "y ~ 1 + (f | g)", levels


def seconds(formula, table, repeats):
    """Return the least CPU seconds of some fits, and the number of iterations."""
    spent = []
    for _ in range(repeats):
        began = time.process_time()
        model = lmer(formula, table)
        spent.append(time.process_time() - began)
    return min(spent), model.n_iter_


def main():
    """Print a line a case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    print(f"{'model':28}{'ms of CPU':>12}{'times a slope':>15}{'iterations':>12}")
    for name, formula, table in cases(rng):
        slope = table.columns[0]
        group = "subject" if "subject" in table else "g"
        unit, _ = seconds(f"y ~ {slope} + ({slope} | {group})", table, repeats)
        spent, n_iter = seconds(formula, table, repeats)
        print(f"{name:28}{1e3 * spent:12.1f}{spent / unit:15.1f}{n_iter:12d}", flush=True)


if __name__ == "__main__":
    main()
