"""Compare classifiers, and regressors of counts, with random effects: held-out rows, and time.

Usage: python benchmarks/effects_classes.py [--data NAME ...] [--only NAME ...] [--trees N]
    [--seeds N]

Data of two classes are rows simulated from a non-linear f and random intercepts, one feature being
constant within groups; students' ratings of teachers, 4 and 5 or less (InstEval); and answers of
persons to items (VerbAgg). Counts are simulated likewise; ticks on grouse chicks by place
(grouseticks); and fruits by genotype (Arabidopsis). All but the simulated ones are from the
reference data of the tests, where the environment variable SKMIXED_REFERENCE says where they are. A
fifth of the groups is new, and of the others a fifth of the rows is held out; of several seeds
figures are means. Judged are log-loss and area under the curve, or the mean Poisson deviance.
gpboost takes part where it is installed, and the alternation of a forest with working responses of
classes, which are those of the training rows, as merf would have it. Times are of the processor, of
fit and predictions.
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
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.metrics import log_loss, mean_poisson_deviance, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import TargetEncoder

from skmixed import (
    MixedClassifier,
    MixedEffectsClassifier,
    MixedEffectsRegressor,
    MixedGeneralizedRegressor,
)

_EFFECTS_OF_MERF = 20  # iterations


def simulated(n_rows, seed, n_groups=500, counts=False):
    """Return parts of simulated rows, whose groups have effects of standard deviation one."""
    rng = np.random.default_rng(seed)
    effects, levels = rng.normal(size=2 * n_groups), rng.uniform(size=2 * n_groups)
    parts = {}
    for name, size, low in [("train", n_rows, 0), ("known", 20_000, 0), ("new", 20_000, n_groups)]:
        group = rng.integers(low, low + n_groups, size=size)
        X = pd.DataFrame(rng.uniform(size=(size, 4)), columns=SIMULATED[:4])
        X = X.assign(level=levels[group], group=group)
        eta = 0.7 * (truth(X).to_numpy() - 5.0) + effects[group]
        y = rng.poisson(np.exp(0.5 * eta)) if counts else rng.random(size) < expit(eta)
        parts[name] = X, y.astype(int)
    return parts


def reference(name):
    found = Path(os.environ["SKMIXED_REFERENCE"]) / "data" / f"{name}.csv.gz"
    return pd.read_csv(found if found.exists() else found.with_suffix(""))


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
    return split(coded(table.drop(columns=["resp", "rownames"], errors="ignore")), y, seed)


def coded(table):
    """Return a table whose text, and whose groups, are numbers."""
    text = [n for n in table if n == "group" or not pd.api.types.is_numeric_dtype(table[n])]
    return table.assign(**{name: table[name].astype("category").cat.codes for name in text})


def ticks(seed):
    table = reference("grouseticks").rename(columns={"LOCATION": "group"})
    y = table.pop("TICKS").to_numpy()
    return split(coded(table[["HEIGHT", "YEAR", "group"]]), y, seed)


def fruits(seed):
    table = reference("Arabidopsis").rename(columns={"gen": "group"})
    y = table.pop("total.fruits").to_numpy()
    return split(coded(table.drop(columns=["X", "rownames"], errors="ignore")), y, seed)


DATA = {
    "simulated": lambda seed: simulated(5_000, seed),
    "ratings": ratings,
    "answers": answers,
    "simulated counts": lambda seed: simulated(5_000, seed, counts=True),
    "ticks": ticks,
    "fruits": fruits,
}
COUNTS = {"simulated counts", "ticks", "fruits"}


def features_of(X):
    return X.drop(columns="group")


def by_skmixed(model):
    def run(train, y, tests):
        fitted = model.fit(train, y)
        variance = fitted.random_covariance_["group"].iloc[0, 0]
        return [said_by(fitted, X) for X in tests], variance

    return run


def said_by(model, X):
    """Return the probabilities of the second class, or means."""
    return model.predict_proba(X)[:, 1] if hasattr(model, "predict_proba") else model.predict(X)


def without_groups(boosting):
    def run(train, y, tests):
        model = boosting.fit(features_of(train), y)
        return [said_by(model, features_of(X)) for X in tests], None

    return run


def encoded(boosting):
    def run(train, y, tests):
        kind = "continuous" if isinstance(boosting, HistGradientBoostingRegressor) else "auto"
        encoder = TargetEncoder(random_state=0, target_type=kind)
        columns = make_column_transformer((encoder, ["group"]), remainder="passthrough")
        model = make_pipeline(columns, boosting).fit(train, y)
        return [said_by(model, X) for X in tests], None

    return run


def by_gpboost(likelihood):
    return lambda *data: boosted_by_gpboost(likelihood, *data)


def boosted_by_gpboost(likelihood, train, y, tests):
    import gpboost as gpb

    effects = gpb.GPModel(group_data=train["group"].to_numpy(), likelihood=likelihood)
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


def contestants(n_trees, counts):
    if counts:
        boosting = HistGradientBoostingRegressor(loss="poisson", random_state=0)
        linear = MixedGeneralizedRegressor(group_features="group")
        effects = MixedEffectsRegressor(boosting, "(1 | group)", family="poisson")
    else:
        boosting = HistGradientBoostingClassifier(random_state=0)
        linear = MixedClassifier(group_features="group")
        effects = MixedEffectsClassifier(boosting, "(1 | group)")
    yield "boosting, without groups", without_groups(boosting)
    yield "boosting after `TargetEncoder`", encoded(boosting)
    yield f"`{type(linear).__name__}`", by_skmixed(linear)
    yield f"`{type(effects).__name__}`, boosting", by_skmixed(effects)
    rows = clone(effects).set_params(cross_fit="rows", random_state=0)
    yield 'the same, ``cross_fit="rows"``', by_skmixed(rows)
    none = clone(effects).set_params(cross_fit="none")
    yield 'the same, ``cross_fit="none"``', by_skmixed(none)
    yield "gpboost", by_gpboost("poisson" if counts else "bernoulli_logit")
    if not counts:
        yield "forest and working responses, as merf", by_working_responses(n_trees)


def scores(counts, y, said):
    """Return what is shown of held-out rows: the mean deviance, or log-loss and area."""
    if counts:
        return [mean_poisson_deviance(y, said)]
    return [log_loss(y, said), roc_auc_score(y, said)]


def measured(run, data, seed):
    """Return the scores of known and of new groups, the variance and seconds."""
    parts = DATA[data](seed)
    tests = [parts[name] for name in ("known", "new")]
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, variance = run(*parts["train"], [X for X, _ in tests])
    spent = time.process_time() - start
    shown = [scores(data in COUNTS, y, said) for said, (_, y) in zip(found, tests, strict=True)]
    return [*shown[0], *shown[1], np.nan if variance is None else variance, spent]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--trees", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    for data in options.data:
        for name, run in contestants(options.trees, data in COUNTS):
            if options.only and name not in options.only:
                continue
            try:
                found = [measured(run, data, seed) for seed in range(options.seeds)]
            except ImportError as error:
                print(f"| {data} | {name} | {error.name} is not installed |")
                continue
            *shown, variance, spent = np.mean(found, axis=0)
            cells = [f"{each:.3f}" for each in shown]
            cells += ["" if np.isnan(variance) else f"{variance:.2f}", f"{spent:.1f}"]
            print(f"| {data} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
