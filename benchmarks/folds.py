"""Time cross-validation by subtraction against cross-validation by refits.

Usage: python benchmarks/folds.py [--rows N] [--folds K] [--repeats R]

Both are scored alike and give the same scores; the table has the medians of several runs.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.model_selection import cross_validate as by_refits
from timing import seconds

from skmixed import MixedLinearRegressor, MixedLinearRegressorCV
from skmixed.model_selection import cross_validate

CANDIDATES = ["(1 | g)", "(0 + a | g)", "(a || g)", "(a | g)", "(b | g)", "(a + b | g)"]


def table(n_rows, n_levels, text):
    rng = np.random.default_rng(0)
    level = rng.integers(n_levels, size=n_rows)
    X = rng.normal(size=(n_rows, 4))
    effects = rng.normal(size=(2, n_levels))
    y = X.sum(axis=1) + effects[0][level] + 0.5 * effects[1][level] * X[:, 0]
    labels = np.char.add("shop ", level.astype(str)).astype(object) if text else level
    return pd.DataFrame(X, columns=list("abcd")).assign(g=labels), y + rng.normal(size=n_rows)


def compare(ours, theirs, scores, repeats):
    times = {"ours": [], "theirs": []}
    for _ in range(repeats):
        for name, call in (("ours", ours), ("theirs", theirs)):
            spent, result = seconds(call, 1)
            times[name] += spent
            found = scores(result)
            if name == "ours":
                first = found
        np.testing.assert_allclose(first, found, rtol=1e-8)
    return [statistics.median(times[name]) for name in ("ours", "theirs")]


def lines(n_rows, folds, repeats):
    cv = KFold(folds, shuffle=True, random_state=0)
    for n_levels in (1_000, 100_000):
        for text in (False, True):
            X, y = table(n_rows, n_levels, text)
            kind = f"{n_levels:,} {'text labels' if text else 'integers'}"
            yield (
                f"{kind}, one model",
                *compare(
                    lambda X=X, y=y: cross_validate(MixedLinearRegressor("(a | g)"), X, y, cv=cv),
                    lambda X=X, y=y: by_refits(MixedLinearRegressor("(a | g)"), X, y, cv=cv),
                    lambda result: result["test_score"],
                    repeats,
                ),
            )
            yield (
                f"{kind}, {len(CANDIDATES)} candidates",
                *compare(
                    lambda X=X, y=y: MixedLinearRegressorCV(CANDIDATES, cv=cv).fit(X, y),
                    lambda X=X, y=y: GridSearchCV(
                        MixedLinearRegressor(), {"random": CANDIDATES}, cv=cv
                    ).fit(X, y),
                    lambda result: result.cv_results_["mean_test_score"],
                    repeats,
                ),
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print("| levels | by subtraction, s | by refits, s | ratio |\n|---|---|---|---|")
    for name, ours, theirs in lines(options.rows, options.folds, options.repeats):
        print(f"| {name} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f} |", flush=True)


if __name__ == "__main__":
    main()
