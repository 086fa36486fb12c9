"""How the cost of a fit grows with rows, levels, fixed columns and random columns.

Usage: python benchmarks/growth.py
"""

from __future__ import annotations

import statistics

import numpy as np
from timing import seconds

from skmixed import MixedLinearRegressor

BASE = {"rows": 100_000, "levels": 10_000, "fixed": 5, "random": 2}
RANGES = {
    "rows": [100_000, 200_000, 400_000, 800_000, 1_600_000],
    "levels": [1_000, 5_000, 10_000, 25_000, 50_000],
    "fixed": [2, 5, 10, 20, 40],
    "random": [1, 2, 3, 4, 5],
}


def median(rows, levels, fixed, random, repeats=5):
    """Return the median time of a fit of random effects of the first columns."""
    rng = np.random.default_rng(0)
    X, g = rng.standard_normal((rows, fixed)), rng.integers(0, levels, rows)
    Z = np.column_stack([np.ones(rows), X])[:, :random]
    y = X.sum(axis=1) + (Z * rng.standard_normal((levels, random))[g]).sum(axis=1)
    y += rng.standard_normal(rows)
    slopes = "".join(f" + x{i}" for i in range(random - 1))
    model = MixedLinearRegressor(f"(1{slopes} | group)")
    times, _ = seconds(lambda: model.fit(X, y, groups=g), repeats)
    return statistics.median(times), model.fit_.report.n_evaluations


def main():
    """Vary one size at a time and print tables."""
    print(f"One factor, sizes {BASE} unless varied.")
    for name, values in RANGES.items():
        print(f"\n| {name} | seconds | evaluations |\n|---|---|---|")
        for value in values:
            sizes = {**BASE, name: value}
            sizes["fixed"] = max(sizes["fixed"], sizes["random"] - 1)
            taken, evaluations = median(**sizes)
            print(f"| {value} | {taken:.3f} | {evaluations} |", flush=True)


if __name__ == "__main__":
    main()
