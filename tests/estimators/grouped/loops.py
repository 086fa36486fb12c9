"""Plain loops over groups, and data to loop over."""

import numpy as np
import pandas as pd
from sklearn.base import clone


def rows_in_groups(n_groups=8, n=160, p=2, spread=1.0, noise=0.5, seed=0):
    """Rows of groups with coefficients of their own; returns X, y and labels."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.arange(n) % n_groups)
    X = rng.normal(size=(n, p)) + rng.normal(size=p)
    coef = 1.0 + spread * rng.normal(size=(n_groups, p))
    y = np.einsum("ij,ij->i", X, coef[group]) + spread * rng.normal(size=n_groups)[group]
    labels = np.array([f"g{i:04d}" for i in range(n_groups)], dtype=object)[group]
    return X, y + noise * rng.normal(size=n), pd.Series(labels, name="group")


def separate_fits(estimator, X, y, groups, weights=None):
    """One fit a group, by a loop."""
    models = {}
    for label in sorted(set(groups)):
        rows = np.flatnonzero(groups == label)
        params = {} if weights is None else {"sample_weight": weights[rows]}
        models[label] = clone(estimator).fit(X[rows], y[rows], **params)
    return models


def separate_predictions(models, X, groups, method="predict"):
    """Predict row by row, each by the model of its group."""
    found = [getattr(models[label], method)(X[[i]])[0] for i, label in enumerate(groups)]
    return np.array(found)
