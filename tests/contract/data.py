"""Data of the contract's checks, and what they ask of an estimator."""

import numpy as np
import pandas as pd
from sklearn.base import clone

from tests.estimators.example import pupils

NUMBERS, GROUPS = ["x", "z"], ["school", "class"]
TABLE = pupils()
X, Y = TABLE[NUMBERS + GROUPS], TABLE["y"]


def by_column(estimator):
    """Return an unfitted copy that finds its groups in the data frame X."""
    return clone(estimator).set_params(group_features=GROUPS)


def fitted(estimator, table=X, y=Y, sample_weight=None):
    """Return a copy fitted to a data frame."""
    return by_column(estimator).fit(table, y, sample_weight)


def answer(model, table=X, groups=None):
    """What a fitted estimator makes of rows: predictions, or columns."""
    ask = model.predict if hasattr(model, "predict") else model.transform
    return np.asarray(ask(table) if groups is None else ask(table, groups=groups))


def population(model, table):
    """Return what it makes of rows that belong to no known group."""
    if hasattr(model, "pooled_"):
        return np.asarray(model.parent_estimators_[()].predict(table[NUMBERS]))
    return np.asarray(model.predict(table, random="none"))


def same_rows(n_copies, seed=0):
    """Return the table several times over, with a response of its own."""
    table = pd.concat([TABLE] * n_copies, ignore_index=True)
    noise = np.random.default_rng(seed).normal(size=len(table))
    return table[NUMBERS + GROUPS], table["y"] + noise


def many_levels(n_schools):
    """Return six rows of each of many schools, two in each of three classes."""
    rng = np.random.default_rng(n_schools)
    rows = np.arange(6 * n_schools)
    x, z, noise = rng.normal(size=(3, len(rows)))
    school, of_school = rows // 6, rng.normal(size=(2, n_schools))
    y = x + of_school[0][school] + of_school[1][school] * x + rows % 3 + noise
    return pd.DataFrame({"x": x, "z": z, "school": school, "class": rows % 3}), y
