"""Compare encoders of categorical columns: held-out error, time, and whether noise leaks.

Usage: SKMIXED_REFERENCE=... python benchmarks/encoders.py [accuracy] [leak] [speed]

Accuracy is that of nested cross-validation: each encoder is fitted in the training part of five
outer folds, those of scikit-learn and of this package with their inner folds, and a regressor
follows. Data: students' ratings of teachers (InstEval, from the reference data of the tests, where
the environment variable says where they are) and scikit-learn's diabetes data, their measurements
cut into classes of a few people. Encoders of category_encoders take part where it is installed.
Times are of the processor.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder
from timing import seconds

from skmixed import BLUPEncoder

SLOW = {"GLMM"}


class FromCategoryEncoders(TransformerMixin, BaseEstimator):
    """An encoder of category_encoders on columns of text, which is what these look for."""

    def __init__(self, name="GLMMEncoder", classes=False):
        self.name = name
        self.classes = classes

    def fit(self, X, y):
        import category_encoders

        settings = {"binomial_target": self.classes} if self.name == "GLMMEncoder" else {}
        self.encoder_ = getattr(category_encoders, self.name)(cols=list(X), **settings)
        self.encoder_.fit(X.astype(str), y)
        return self

    def transform(self, X):
        return self.encoder_.transform(X.astype(str)).to_numpy()


class RandomNumbers(TransformerMixin, BaseEstimator):
    """New numbers on every call: what a regressor makes of a column that nothing was encoded by."""

    def fit(self, X, y):
        self.rng_ = np.random.default_rng(0)
        return self

    def transform(self, X):
        return self.rng_.normal(size=(len(X), 1))


def encoders(kind="continuous"):
    folds = KFold(5, shuffle=True, random_state=0)
    yield "BLUP", BLUPEncoder(target_type=kind, random_state=0)
    yield "BLUP, joint", BLUPEncoder(target_type=kind, joint=True, random_state=0)
    yield "BLUP, leave one out", BLUPEncoder(target_type=kind, cross_fit="loo")
    yield "TargetEncoder", TargetEncoder(target_type=kind, cv=folds)
    yield "one-hot", OneHotEncoder(handle_unknown="ignore")
    try:
        import category_encoders  # noqa: F401
    except ImportError:
        return
    yield "James-Stein", FromCategoryEncoders("JamesSteinEncoder")
    yield "GLMM", FromCategoryEncoders("GLMMEncoder", classes=kind == "binary")


def data_sets():
    reference = os.environ.get("SKMIXED_REFERENCE")
    if reference:
        table = pd.read_csv(Path(reference) / "data" / "InstEval.csv.gz")
        columns = ["s", "d", "dept"]
        yield "InstEval", table[columns].astype(str), table[[]], table["y"].astype(float)
    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    cut = X[["bmi", "bp", "s5", "age"]]
    labels = pd.DataFrame(
        {name: pd.qcut(cut[name], 60, labels=False, duplicates="drop") for name in cut}
    ).astype(str)
    yield "diabetes in classes", labels, X[["sex", "s1"]], y


def regressors(encoder):
    yield "ridge", Ridge()
    if not isinstance(encoder, OneHotEncoder):
        yield "boosting", HistGradientBoostingRegressor(random_state=0)


def pipeline(encoder, labels, numbers, regressor):
    parts = [(clone(encoder), list(labels))]
    if len(numbers.columns):
        parts.append((StandardScaler(), list(numbers)))
    return make_pipeline(make_column_transformer(*parts), regressor)


def root_mean_square(errors):
    return float(np.sqrt(np.mean(np.square(errors))))


def accuracy():
    print(
        "| data | encoder | regressor | error, training | held out | CPU s |\n"
        "|---|---|---|---|---|---|"
    )
    for data, labels, numbers, y in data_sets():
        X = pd.concat([labels, numbers], axis=1)
        for name, encoder in encoders():
            if name in SLOW and len(X) > 10_000:
                continue  # hours
            for kind, regressor in regressors(encoder):
                start = time.process_time()
                errors = {"train": [], "test": []}
                for train, test in KFold(5, shuffle=True, random_state=1).split(X):
                    model = pipeline(encoder, labels, numbers, regressor)
                    # What the regressor was shown, for the gap between training and held out.
                    shown = model[0].fit_transform(X.iloc[train], y.iloc[train])
                    model[1].fit(shown, y.iloc[train])
                    errors["train"].append(y.iloc[train] - model[1].predict(shown))
                    errors["test"].append(y.iloc[test] - model.predict(X.iloc[test]))
                spent = time.process_time() - start
                train, test = (root_mean_square(np.concatenate(e)) for e in errors.values())
                print(
                    f"| {data} | {name} | {kind} | {train:.4f} | {test:.4f} | {spent:.1f} |",
                    flush=True,
                )


def leak(n_rows=5_000, n_levels=1_000, repeats=5):
    """A column of noise beside a feature: R2 in training and on new rows of the same levels."""
    print("| encoder | regressor | R2, training | new rows | gap |\n|---|---|---|---|---|")
    for name, encoder in [("random numbers", RandomNumbers()), *encoders()]:
        if name in SLOW:
            continue
        for kind, regressor in regressors(encoder):
            scores = []
            for seed in range(repeats):
                rng = np.random.default_rng(seed)
                X = pd.DataFrame({"noise": rng.integers(n_levels, size=2 * n_rows).astype(str)})
                y = pd.Series(rng.normal(size=2 * n_rows))
                A, B, a, b = train_test_split(X, y, test_size=0.5, random_state=seed)
                if kind == "boosting":
                    regressor = HistGradientBoostingRegressor(max_iter=30, random_state=seed)
                model = pipeline(encoder, X, X[[]], regressor)
                shown = model[0].fit_transform(A, a)
                model[1].fit(shown, a)
                scores.append([model[1].score(shown, a), model.score(B, b)])
            train, test = np.mean(scores, axis=0)
            print(
                f"| {name} | {kind} | {train:.3f} | {test:.3f} | {train - test:.3f} |", flush=True
            )


def speed():
    print("| rows x levels, labels, y | encoder | CPU s |\n|---|---|---|")
    for n_rows, n_levels, text, kind in [
        (20_000, 500, True, "continuous"),
        (20_000, 500, True, "binary"),
        (1_000_000, 100_000, False, "continuous"),
        (1_000_000, 100_000, True, "continuous"),
    ]:
        rng = np.random.default_rng(0)
        level = rng.integers(n_levels, size=n_rows)
        y = rng.normal(size=n_levels)[level] + rng.normal(size=n_rows)
        y = (y > 0.0).astype(int) if kind == "binary" else y
        X = pd.DataFrame({"g": level.astype(str).astype(object) if text else level})
        for name, encoder in encoders(kind):
            slow = name in SLOW and n_rows > 100_000
            if slow or name == "one-hot" or name == "BLUP, joint":
                continue
            repeats = 1 if name in SLOW else 3
            encode = clone(encoder).fit_transform
            spent = min(seconds(partial(encode, X, y), repeats, time.process_time)[0])
            what = f"{n_rows:,} x {n_levels:,}, {'text' if text else 'integers'}, {kind}"
            print(f"| {what} | {name} | {spent:.3f} |", flush=True)


def main():
    warnings.simplefilter("ignore")
    wanted = sys.argv[1:] or ["accuracy", "leak", "speed"]
    for part in wanted:
        {"accuracy": accuracy, "leak": leak, "speed": speed}[part]()
        print()


if __name__ == "__main__":
    main()
