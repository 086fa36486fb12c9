"""Data of the contract's checks, and what they ask of an estimator."""

from functools import partial

import numpy as np
import pandas as pd
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.utils import get_tags

from tests.estimators.example import pupils

NUMBERS, GROUPS = ["x", "z"], ["school", "class"]
TABLE = pupils()
X, Y = TABLE[NUMBERS + GROUPS], TABLE["y"]
NOISE = 3.0  # deviation that keeps two classes from being told apart for certain


def by_column(estimator):
    """Return an unfitted copy that finds its groups in the data frame X."""
    return clone(estimator).set_params(group_features=GROUPS)


def response(estimator, y=Y):
    """Return the response of a regressor as its estimator takes it; NaN stays NaN."""
    family = estimator.get_params().get("family")
    if is_classifier(estimator) or family == "binomial":
        noise = np.random.default_rng(len(y)).normal(scale=NOISE, size=len(y))
        return (y + noise > np.nanmedian(y)).astype(float).where(y.notna())
    if family is not None:
        return np.exp(y / 3.0).round(1 if family == "gamma" else 0) + (family == "gamma")
    if get_tags(estimator).target_tags.positive_only:
        return np.exp(y / 3.0).round()
    return y


def fitted(estimator, table=X, y=None, sample_weight=None):
    """Return a copy fitted to a data frame, by default the one with its response."""
    y = response(estimator) if y is None else y
    return by_column(estimator).fit(table, y, sample_weight)


def highest_probability(model, table, **settings):
    """Return the probability of the highest of ordered categories, (n,)."""
    return model.predict_proba(table, **settings)[:, -1]


def assert_same_answer(found, wanted):
    """Two fits to the same rows agree but for last bits, which hang on where arrays lie."""
    if np.asarray(found).dtype.kind == "f":
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)
    else:
        np.testing.assert_array_equal(found, wanted)


def answer(model, table=X, groups=None):
    """What a fitted estimator makes of rows: predictions, log odds, probabilities, or columns."""
    methods = ("decision_function", "predict", "transform")
    ask = next(getattr(model, name) for name in methods if hasattr(model, name))
    if is_classifier(model) and (hasattr(model, "thresholds_") or ask.__name__ == "predict"):
        ask = partial(highest_probability, model)
    return np.asarray(ask(table) if groups is None else ask(table, groups=groups))


def population(model, table):
    """Return what it makes of rows that belong to no known group."""
    if hasattr(model, "pooled_"):
        # Averaged over the groups that there could be, it is the answer of no estimator.
        if isinstance(model.pooled_, LogisticRegression | PoissonRegressor):
            return answer(model, table.assign(**dict.fromkeys(GROUPS, "elsewhere")))
        return answer(model.parent_estimators_[()], table[NUMBERS])
    ask = getattr(model, "decision_function", None) or model.predict
    if hasattr(model, "thresholds_"):
        ask = partial(highest_probability, model)
    return np.asarray(ask(table, random="none"))


def same_rows(estimator, n_copies, seed=0):
    """Return the table several times over, with a response of its own."""
    table = pd.concat([TABLE] * n_copies, ignore_index=True)
    noise = np.random.default_rng(seed).normal(size=len(table))
    return table[NUMBERS + GROUPS], response(estimator, table["y"] + noise)


def many_levels(estimator, n_schools):
    """Return six rows of each of many schools, two in each of three classes."""
    rng = np.random.default_rng(n_schools)
    rows = np.arange(6 * n_schools)
    x, z, noise = rng.normal(size=(3, len(rows)))
    school, of_school = rows // 6, rng.normal(size=(2, n_schools))
    y = x + of_school[0][school] + of_school[1][school] * x + rows % 3 + noise
    return pd.DataFrame({"x": x, "z": z, "school": school, "class": rows % 3}), response(
        estimator, pd.Series(y)
    )
