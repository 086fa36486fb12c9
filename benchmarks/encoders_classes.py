"""Compare encoders of labels where the target is one of two classes.

Usage: SKMIXED_REFERENCE=... python benchmarks/encoders_classes.py [auc] [noise]

`auc`: areas under the ROC curve of a logistic regression and of boosting after an encoder, for rows
held out at random, whose labels are known, and for whole groups held out, whose labels are new;
three folds each. Data and their preparation are those of `new_labels.py`. `noise`: the areas in
training and on new rows of one column of labels that mean nothing, where 0.5 is the truth. Encoders
of category_encoders take part where it is installed; GLMMEncoder, which needs statsmodels, takes
most of the time.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pandas as pd
from encoders import FromCategoryEncoders, RandomNumbers, has_category_encoders
from new_labels import FOLDS, models, prepared, reference, simulated
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, KFold, train_test_split
from sklearn.preprocessing import TargetEncoder

from skmixed import BLUPEncoder


def encoders():
    """Yield names and encoders of the column "label", the others being handed on."""
    given = {"columns": "label", "random_state": 0}
    yield "`BLUPEncoder`", BLUPEncoder(**given)
    yield "the same, ``adjust=False``", BLUPEncoder(adjust=False, **given)
    others = [("`TargetEncoder`", TargetEncoder(cv=KFold(5, shuffle=True, random_state=0)))]
    if has_category_encoders():
        others += [
            ("`JamesSteinEncoder`", FromCategoryEncoders("JamesSteinEncoder")),
            ("`GLMMEncoder`", FromCategoryEncoders("GLMMEncoder", classes=True)),
        ]
    for name, encoder in others:
        yield name, make_column_transformer((encoder, ["label"]), remainder="passthrough")


def data_sets():
    yield reference("Contraception", "district", "district", "use", ["livch", "age", "urban"])
    items = ["Anger", "Gender", "btype", "situ", "mode"]
    yield reference("VerbAgg", "id", "id", "r2", items)
    for kind in ("range", "apart"):
        name, label, group, others, y = simulated(kind)
        yield name, label, group, others, (y > y.median()).astype(int)


def area(model, X, y):
    return roc_auc_score(y, model.predict_proba(X)[:, 1])


def line(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def areas(encoder, X, y, splits):
    """Return the area of every model, (n_models,), the mean of all folds."""
    found = []
    for train, test in splits:
        A, B, a, b = X.iloc[train], X.iloc[test], y.iloc[train], y.iloc[test]
        if encoder is None:
            A, B = A.drop(columns="label"), B.drop(columns="label")
        else:
            fresh = clone(encoder)
            A, B = fresh.fit_transform(A, a), fresh.transform(B)
        found.append([area(clone(model).fit(A, a), B, b) for _, model in models(True)])
    return np.mean(found, axis=0)


def auc():
    kinds = [kind for kind, _ in models(True)]
    heads = [f"{kind}: {way}" for kind in kinds for way in ("known", "new")]
    for found in filter(None, data_sets()):
        name, label, group, others, y = found
        X, y = prepared(label, others).reset_index(drop=True), y.reset_index(drop=True)
        ways = [
            list(KFold(FOLDS, shuffle=True, random_state=1).split(X)),
            list(GroupKFold(FOLDS).split(X, groups=group)),
        ]
        line(f"{name}, {len(X):,} rows", *heads)
        print("|---" * (1 + len(heads)) + "|")
        for encoder_name, encoder in [("no labels", None), *encoders()]:
            both = np.array([areas(encoder, X, y, splits) for splits in ways])
            line(encoder_name, *(f"{value:.3f}" for value in both.T.ravel()))
        print()


def noise(n_rows=2_000, n_levels=400, repeats=5):
    kinds = [kind for kind, _ in models(True)]
    heads = [f"{kind}: {rows}" for kind in kinds for rows in ("training", "new rows")]
    line("encoder", *heads)
    print("|---" * (1 + len(heads)) + "|")
    for name, encoder in [("random numbers", RandomNumbers()), *encoders()]:
        found = []
        for seed in range(repeats):
            rng = np.random.default_rng(seed)
            X = pd.DataFrame({"label": rng.integers(n_levels, size=2 * n_rows).astype(str)})
            y = pd.Series(rng.integers(2, size=2 * n_rows))
            A, B, a, b = train_test_split(X, y, test_size=0.5, random_state=seed)
            fresh = clone(encoder)
            A, B = fresh.fit_transform(A, a), fresh.transform(B)
            fitted = [clone(model).fit(A, a) for _, model in models(True)]
            found.append([area(model, *rows) for model in fitted for rows in ((A, a), (B, b))])
        line(name, *(f"{value:.3f}" for value in np.mean(found, axis=0)))


def main():
    warnings.simplefilter("ignore")
    for part in sys.argv[1:] or ["auc", "noise"]:
        {"auc": auc, "noise": noise}[part]()
        print()


if __name__ == "__main__":
    main()
