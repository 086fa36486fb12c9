"""Compare encoders of categorical columns: held-out error, time, and whether noise leaks.

Usage: SKMIXED_REFERENCE=... python benchmarks/encoders.py [accuracy] [leak] [speed] [quick]

Accuracy is that of nested cross-validation: each encoder is fitted in the training part of five
outer folds, those of scikit-learn and of this package with their inner folds, and a regressor
follows. Rows are held out at random, whose labels are known, and with all rows of some labels of
one column, which are new. Data: students' ratings of teachers (InstEval, from the reference data of
the tests, where the environment variable says where they are) and scikit-learn's diabetes data,
their measurements cut into classes of a few people. Encoders of category_encoders take part where
it is installed. Times are of the processor, one thread; quick leaves out the one that takes
minutes. Targets of two classes are compared in `encoders_classes.py`.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder

from skmixed import BLUPEncoder

CROSSED, GLMM = "`BLUPEncoder(joint=True)`", "`GLMMEncoder`"
MOST_ROWS_OF_GLMM = 10_000


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


def has_category_encoders():
    return importlib.util.find_spec("category_encoders") is not None


def encoders(kind="continuous"):
    folds = KFold(5, shuffle=True, random_state=0)
    yield "`BLUPEncoder`", BLUPEncoder(target_type=kind, random_state=0)
    yield CROSSED, BLUPEncoder(target_type=kind, joint=True, random_state=0)
    yield '``cross_fit="loo"``', BLUPEncoder(target_type=kind, cross_fit="loo")
    yield (
        "`TargetEncoder`",
        TargetEncoder(target_type="continuous" if kind == "count" else kind, cv=folds),
    )
    yield "one-hot", OneHotEncoder(handle_unknown="ignore")
    if has_category_encoders() and kind != "multiclass":
        yield "`JamesSteinEncoder`", FromCategoryEncoders("JamesSteinEncoder")
        if kind != "count":
            yield GLMM, FromCategoryEncoders("GLMMEncoder", classes=kind == "binary")


def data_sets():
    """Yield names, labels, numbers, the target, and the column whose labels are held out."""
    reference = os.environ.get("SKMIXED_REFERENCE")
    if reference:
        table = pd.read_csv(Path(reference) / "data" / "InstEval.csv.gz")
        columns = ["s", "d", "dept"]
        yield "InstEval", table[columns].astype(str), table[[]], table["y"].astype(float), "d"
    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    cut = X[["bmi", "bp", "s5", "age"]]
    labels = pd.DataFrame(
        {name: pd.qcut(cut[name], 60, labels=False, duplicates="drop") for name in cut}
    ).astype(str)
    yield "diabetes in classes", labels, X[["sex", "s1"]], y, "bmi"


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


def line(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def accuracy():
    line("data", "encoder", "regressor", "training", "known", "new", "CPU s")
    print("|---" * 7 + "|")
    for data, labels, numbers, y, held_out in data_sets():
        X = pd.concat([labels, numbers], axis=1)
        ways = [
            list(KFold(5, shuffle=True, random_state=1).split(X)),
            list(GroupKFold(5).split(X, groups=labels[held_out])),
        ]
        for name, encoder in encoders():
            if name == GLMM and len(X) > MOST_ROWS_OF_GLMM:
                continue  # hours
            for kind, regressor in regressors(encoder):
                start, found = time.process_time(), []
                for splits in ways:
                    shown, held = errors(encoder, regressor, labels, numbers, y, splits)
                    found.append(held)
                    if len(found) == 1:
                        training, spent = shown, time.process_time() - start
                values = (f"{value:.4g}" for value in (training, *found))
                line(data, name, kind, *values, f"{spent:.1f}")


def errors(encoder, regressor, labels, numbers, y, splits):
    """Return the errors in training, of what the regressor was shown, and of rows held out."""
    X, shown, held = pd.concat([labels, numbers], axis=1), [], []
    for train, test in splits:
        model = pipeline(encoder, labels, numbers, regressor)
        A = model[0].fit_transform(X.iloc[train], y.iloc[train])
        model[1].fit(A, y.iloc[train])
        shown.append(y.iloc[train] - model[1].predict(A))
        held.append(y.iloc[test] - model.predict(X.iloc[test]))
    return [root_mean_square(np.concatenate(parts)) for parts in (shown, held)]


def leak(n_rows=2_000, n_levels=400, repeats=10):
    """A column of noise beside nothing: R2 in training and on new rows of the same levels."""
    kinds = [kind for kind, _ in regressors(None)]
    heads = [f"{kind}: {rows}" for kind in kinds for rows in ("training", "new rows")]
    line("encoder", *heads)
    print("|---" * (1 + len(heads)) + "|")
    for name, encoder in [("random numbers", RandomNumbers()), *encoders()]:
        if name == CROSSED:
            continue  # there is but one column
        cells = []
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
            cells += [f"{value:.3f}" for value in np.mean(scores, axis=0)]
        line(name, *cells, *[""] * (len(heads) - len(cells)))


def speed(repeats=7):
    """CPU seconds of `fit_transform`, the encoders taking turns; medians."""
    names = [name for name, _ in encoders() if name not in (CROSSED, "one-hot")]
    line("rows x labels, target", *names)
    print("|---" * (1 + len(names)) + "|")
    for n_rows, n_levels, text, kind in [
        (20_000, 500, True, "continuous"),
        (20_000, 500, True, "binary"),
        (20_000, 500, True, "multiclass"),
        (20_000, 500, True, "count"),
        (1_000_000, 100_000, False, "continuous"),
        (1_000_000, 100_000, True, "continuous"),
        (1_000_000, 100_000, False, "binary"),
    ]:
        rng = np.random.default_rng(0)
        level = rng.integers(n_levels, size=n_rows)
        latent = rng.normal(size=n_levels)[level] + rng.normal(size=n_rows)
        y = {
            "continuous": latent,
            "binary": (latent > 0.0).astype(int),
            "multiclass": np.digitize(latent, [-0.7, 0.7]),
            "count": rng.poisson(np.exp(0.5 * latent)),
        }[kind]
        X = pd.DataFrame({"g": level.astype(str).astype(object) if text else level})
        spent = {name: [] for name in names}
        for turn in range(repeats if n_rows < 100_000 else 3):
            for name, encoder in encoders(kind):
                slow = name == GLMM and (turn > 0 or n_rows > 100_000 or "quick" in sys.argv)
                if name in spent and not slow:
                    start = time.process_time()
                    clone(encoder).fit_transform(X, y)
                    spent[name].append(time.process_time() - start)
        what = f"{n_rows:,} x {n_levels:,}, {'text' if text else 'integers'}, {kind}"
        line(what, *(f"{np.median(spent[name]):.3f}" if spent[name] else "" for name in names))


def main():
    warnings.simplefilter("ignore")
    parts = {"accuracy": accuracy, "leak": leak, "speed": speed}
    wanted = [part for part in sys.argv[1:] if part in parts]
    for part in wanted or parts:
        parts[part]()
        print()


if __name__ == "__main__":
    main()
