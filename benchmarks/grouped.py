"""Time GroupedModels against one pooled fit, a loop over groups and, where installed, scikit-lego.

Prints a Markdown table: best seconds of fit and predict, and how many times as long as
GroupedModels in the same run. Give BLAS one thread: OPENBLAS_NUM_THREADS=1.

Usage: python benchmarks/grouped.py [--groups 2000] [--rows 50] [--features 5] [--classes]
"""

from __future__ import annotations

import argparse
from functools import partial
from importlib.util import find_spec

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression
from timing import seconds

from skmixed import GroupedModels


def table(n_groups, n_rows, n_features, *, has_classes, seed=0):
    """Return shuffled rows of groups of equal size, labels in the last column, and y.

    Where y has classes, rows of a group are of both.
    """
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(n_groups), n_rows))
    X = rng.normal(size=(len(group), n_features))
    coef = 1.0 + rng.normal(size=(n_groups, n_features))
    y = np.einsum("ij,ij->i", X, coef[group]) + rng.normal(size=len(group))
    if has_classes:
        eta = rng.normal(size=n_groups)[group] + X @ np.linspace(-1.0, 1.0, n_features)
        y = (rng.random(len(y)) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
        first = np.unique(group, return_index=True)[1]
        y[first] = 1 - np.bincount(group, y)[group[first]].astype(bool)
    names = [f"x{i}" for i in range(n_features)]
    return pd.DataFrame(X, columns=names).assign(group=group), y


class Loop:
    """One fit a group, by a loop in Python, without a parent."""

    def __init__(self, inner):
        self.inner = inner

    def fit(self, X, y):
        """Fit every group."""
        numbers = X.drop(columns="group").to_numpy()
        rows = pd.Series(np.arange(len(X))).groupby(X["group"].to_numpy()).indices
        self.models = {g: clone(self.inner).fit(numbers[at], y[at]) for g, at in rows.items()}
        return self

    def predict(self, X):
        """Predict every group."""
        numbers, found = X.drop(columns="group").to_numpy(), np.empty(len(X))
        for g, at in pd.Series(np.arange(len(X))).groupby(X["group"].to_numpy()).indices.items():
            found[at] = self.models[g].predict(numbers[at])
        return found


def contenders(X, inner):
    """Return models by name, with the columns each takes and how often it is timed."""
    name = type(inner).__name__
    numbers = X.drop(columns="group").to_numpy()
    models = {
        "GroupedModels, blup": (GroupedModels(inner, group_features="group"), X, 5),
        f"{name}, pooled": (inner, numbers, 15),
        "loop over groups": (Loop(inner), X, 1),
    }
    if isinstance(inner, LinearRegression):  # of others this is a loop too
        apart = GroupedModels(inner, group_features="group", shrinkage=None)
        models["GroupedModels, None"] = apart, X, 7
    if find_spec("sklego"):
        from sklego.meta import GroupedPredictor

        models["GroupedPredictor"] = (GroupedPredictor(inner, ["group"]), X, 1)
    return models


def main():
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=2_000)
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--features", type=int, default=5)
    parser.add_argument("--classes", action="store_true", help="logistic regression of two")
    options = parser.parse_args()
    sizes = options.groups, options.rows, options.features
    X, y = table(*sizes, has_classes=options.classes)
    inner = LogisticRegression() if options.classes else LinearRegression()
    found = {}
    for name, (model, columns, repeats) in contenders(X, inner).items():
        fits, fitted = seconds(partial(model.fit, columns, y), repeats)
        predictions, _ = seconds(partial(fitted.predict, columns), repeats)
        found[name] = min(fits), min(predictions)
    ours = found["GroupedModels, blup"]
    print("| model | fit | times ours | predict | times ours |\n|---|---|---|---|---|")
    for name, (fit, predict) in found.items():
        print(
            f"| {name} | {1e3 * fit:.1f} ms | {fit / ours[0]:.1f} | {1e3 * predict:.1f} ms "
            f"| {predict / ours[1]:.1f} |"
        )


if __name__ == "__main__":
    main()
