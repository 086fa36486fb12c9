"""Compare classifiers with random effects: held-out log-loss for known and new groups, and time.

Usage: python benchmarks/effects_classes.py [--data NAME ...] [--only NAME ...] [--trees N]

Three data sets of two classes: rows simulated from a non-linear f and random intercepts, one
feature being constant within groups; students' ratings of teachers, 4 and 5 or less (InstEval);
and answers of persons to items (VerbAgg). The last two are from the reference data of the tests,
where the environment variable SKMIXED_REFERENCE says where they are. A fifth of the groups is new,
and of the others a fifth of the rows is held out. gpboost takes part where it is installed, and the
alternation of a forest with working responses, which are those of the training rows, as merf would
have it. Times are of the processor, of fit and predictions.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from effects import SIMULATED, truth
from scipy.special import expit
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import TargetEncoder

from skmixed import MixedClassifier, MixedEffectsClassifier

_EFFECTS_OF_MERF = 20  # iterations


def simulated(n_rows, seed, n_groups=500):
    """Return parts of simulated rows, whose groups have effects of standard deviation one."""
    rng = np.random.default_rng(seed)
    effects, levels = rng.normal(size=2 * n_groups), rng.uniform(size=2 * n_groups)
    parts = {}
    for name, size, low in [("train", n_rows, 0), ("known", 20_000, 0), ("new", 20_000, n_groups)]:
        group = rng.integers(low, low + n_groups, size=size)
        X = pd.DataFrame(rng.uniform(size=(size, 4)), columns=SIMULATED[:4])
        X = X.assign(level=levels[group], group=group)
        eta = 0.7 * (truth(X).to_numpy() - 5.0) + effects[group]
        parts[name] = X, (rng.random(size) < expit(eta)).astype(int)
    return parts


def reference(name):
    return pd.read_csv(Path(os.environ["SKMIXED_REFERENCE"]) / "data" / f"{name}.csv.gz")


def split(table, y, seed):
    """Return training rows, held-out rows of their groups, and rows of new groups."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(table["group"].unique())
    new = table["group"].isin(groups[: len(groups) // 5]).to_numpy()
    held_out = ~new & (rng.random(len(table)) < 0.2)
    rows = {"train": ~new & ~held_out, "known": held_out, "new": new}
    return {name: (table[each].reset_index(drop=True), y[each]) for name, each in rows.items()}


def ratings(seed):
    table = reference("InstEval").rename(columns={"d": "group"}).drop(columns="s")
    y = (table.pop("y").to_numpy() >= 4).astype(int)
    return split(table, y, seed)


def answers(seed):
    table = reference("VerbAgg").rename(columns={"id": "group"})
    y = (table.pop("r2") == "Y").to_numpy().astype(int)
    table = table.drop(columns=["resp", "rownames"], errors="ignore")
    for name in table.columns.drop("group"):
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].astype("category").cat.codes
    table["group"] = table["group"].astype("category").cat.codes
    return split(table, y, seed)


DATA = {
    "simulated": lambda seed: simulated(5_000, seed),
    "ratings": ratings,
    "answers": answers,
}


def features_of(X):
    return X.drop(columns="group")


def by_skmixed(model):
    def run(train, y, tests):
        fitted = model.fit(train, y)
        variance = fitted.random_covariance_["group"].iloc[0, 0]
        return [fitted.predict_proba(X)[:, 1] for X in tests], variance

    return run


def without_groups(train, y, tests):
    model = HistGradientBoostingClassifier(random_state=0).fit(features_of(train), y)
    return [model.predict_proba(features_of(X))[:, 1] for X in tests], None


def encoded(train, y, tests):
    columns = make_column_transformer(
        (TargetEncoder(random_state=0), ["group"]), remainder="passthrough"
    )
    model = make_pipeline(columns, HistGradientBoostingClassifier(random_state=0)).fit(train, y)
    return [model.predict_proba(X)[:, 1] for X in tests], None


def by_gpboost(train, y, tests):
    import gpboost as gpb

    effects = gpb.GPModel(group_data=train["group"].to_numpy(), likelihood="bernoulli_logit")
    params = {
        "learning_rate": 0.1,
        "num_leaves": 31,
        "min_data_in_leaf": 20,
        "verbose": -1,
        "num_threads": 1,
    }
    data = gpb.Dataset(features_of(train), y)
    model = gpb.train(params=params, train_set=data, gp_model=effects, num_boost_round=100)
    found = [
        model.predict(
            data=features_of(X), group_data_pred=X["group"].to_numpy(), pred_latent=False
        )["response_mean"]
        for X in tests
    ]
    return found, float(np.ravel(effects.get_cov_pars(format_pandas=False))[0])


def by_working_responses(n_trees):
    """A forest and BLUPs of working responses, of the training rows, fitted in turn."""

    def run(train, y, tests):
        labels, codes = np.unique(train["group"], return_inverse=True)
        effects, variance, f = np.zeros(len(labels)), 1.0, np.full(len(y), np.log(y.mean()))
        for _ in range(_EFFECTS_OF_MERF):
            eta = np.clip(f + effects[codes], -4.0, 4.0)
            p = expit(eta)
            weights = p * (1.0 - p)
            working = eta + (y - p) / weights
            forest = RandomForestRegressor(n_trees, min_samples_leaf=5, random_state=0)
            forest.fit(features_of(train), working - effects[codes], weights)
            f = forest.predict(features_of(train))
            of_group = np.bincount(codes, weights)
            known = of_group + 1.0 / variance
            effects = np.bincount(codes, weights * (working - f)) / known
            variance = float(np.mean(effects**2 + 1.0 / known))
        found = []
        for X in tests:
            place = pd.Index(labels).get_indexer(X["group"])
            shift = np.where(place < 0, 0.0, effects[place])
            found.append(expit(forest.predict(features_of(X)) + shift))
        return found, variance

    return run


def contestants(n_trees):
    boosting = HistGradientBoostingClassifier(random_state=0)
    yield "boosting, no groups", without_groups
    yield "boosting after TargetEncoder", encoded
    yield "MixedClassifier", by_skmixed(MixedClassifier(group_features="group"))
    effects = MixedEffectsClassifier(boosting, "(1 | group)")
    yield "MixedEffectsClassifier, boosting", by_skmixed(effects)
    rows = MixedEffectsClassifier(boosting, "(1 | group)", cross_fit="rows", random_state=0)
    yield "the same, rows", by_skmixed(rows)
    none = MixedEffectsClassifier(boosting, "(1 | group)", cross_fit="none")
    yield "the same, none", by_skmixed(none)
    yield "gpboost", by_gpboost
    yield "forest and working responses", by_working_responses(n_trees)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--trees", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| data | model | log-loss, known groups | new groups | variance | CPU s |")
    print("|---|---|---|---|---|---|")
    for data in options.data:
        parts = DATA[data](options.seed)
        tests = [parts[name] for name in ("known", "new")]
        for name, run in contestants(options.trees):
            if options.only and name not in options.only:
                continue
            start = time.process_time()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found, variance = run(*parts["train"], [X for X, _ in tests])
            except ImportError as error:
                print(f"| {data} | {name} | {error.name} is not installed | | | |")
                continue
            spent = time.process_time() - start
            known, new = (log_loss(y, p) for p, (_, y) in zip(found, tests, strict=True))
            shown = "" if variance is None else f"{variance:.2f}"
            print(
                f"| {data} | {name} | {known:.4f} | {new:.4f} | {shown} | {spent:.1f} |", flush=True
            )


if __name__ == "__main__":
    main()
