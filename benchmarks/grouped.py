"""Time GroupedModels against one pooled LinearRegression and, where installed, scikit-lego.

Prints a Markdown table: best seconds of fit and predict, and how many times as long as
GroupedModels in the same run. Give BLAS one thread: OPENBLAS_NUM_THREADS=1.

Usage: python benchmarks/grouped.py [--groups 2000] [--rows 50] [--features 5]
"""

from __future__ import annotations

import argparse
from functools import partial
from importlib.util import find_spec

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from timing import seconds

from skmixed import GroupedModels


def table(n_groups, n_rows, n_features, seed=0):
    """Return shuffled rows of groups of equal size, labels in the last column, and y."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(n_groups), n_rows))
    X = rng.normal(size=(len(group), n_features))
    coef = 1.0 + rng.normal(size=(n_groups, n_features))
    y = np.einsum("ij,ij->i", X, coef[group]) + rng.normal(size=len(group))
    names = [f"x{i}" for i in range(n_features)]
    return pd.DataFrame(X, columns=names).assign(group=group), y


def contenders(X):
    """Return models by name, with the columns each takes and how often it is timed."""
    numbers = X.drop(columns="group").to_numpy()
    models = {
        "GroupedModels, blup": (GroupedModels(group_features="group"), X, 7),
        "GroupedModels, None": (GroupedModels(group_features="group", shrinkage=None), X, 7),
        "LinearRegression, pooled": (LinearRegression(), numbers, 15),
    }
    if find_spec("sklego"):
        from sklego.meta import GroupedPredictor

        models["GroupedPredictor"] = (GroupedPredictor(LinearRegression(), ["group"]), X, 1)
    return models


def main():
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=2_000)
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--features", type=int, default=5)
    options = parser.parse_args()
    X, y = table(options.groups, options.rows, options.features)
    found = {}
    for name, (model, columns, repeats) in contenders(X).items():
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
    allowed = 3.0 * found["LinearRegression, pooled"][0] + 0.02
    print(f"\nThree pooled fits and 20 ms: {1e3 * allowed:.1f} ms")


if __name__ == "__main__":
    main()
