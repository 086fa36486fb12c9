"""Grouped data in which the groups explain most of the variance, and loops written by hand."""

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold


def shops(n=240, n_shops=12, seed=0):
    """Return rows in no order of the shops: columns x, z and shop, and the response."""
    rng = np.random.default_rng(seed)
    shop = rng.permutation(np.arange(n) % n_shops)
    x, z = rng.normal(size=(2, n))
    y = 0.4 * x - 0.2 * z + rng.normal(scale=3.0, size=n_shops)[shop]
    y += rng.normal(scale=0.5, size=n)
    frame = pd.DataFrame({"x": x, "z": z, "shop": [f"shop {code:02}" for code in shop]})
    return frame, y


FRAME, Y = shops()
X, SHOP = FRAME[["x", "z"]], FRAME["shop"]
FOLDS = KFold(4, shuffle=True, random_state=0)


def rows(table, places):
    return table.iloc[places] if hasattr(table, "iloc") else np.asarray(table)[places]


def loop(model, X, y, groups, splits):
    """Return the predictions of every row and the R^2 of every fold, with groups handed on."""
    prediction, scores = np.full(len(y), np.nan), []
    for train, test in splits:
        fitted = clone(model).fit(rows(X, train), y[train], groups=rows(groups, train))
        prediction[test] = fitted.predict(rows(X, test), groups=rows(groups, test))
        scores.append(r2_score(y[test], prediction[test]))
    return prediction, np.array(scores)
