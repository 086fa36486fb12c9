"""Compare regressors with random effects: held-out error for known and new groups, and time.

Usage: python benchmarks/effects.py [--rows N ...] [--groups N] [--trees N] [--real]

Data are simulated from a non-linear f with known truth and a random intercept; one feature is
constant within groups, so that a flexible f could tell them by it. Errors are root mean squared
errors of the noiseless mean: of further rows of known groups, and of f for groups never seen. With
--real they are students' ratings of teachers (InstEval, from the reference data of the tests, where
the environment variable SKMIXED_REFERENCE says where they are), and errors are those of the
ratings. merf and gpboost take part where they are installed. Times are of the processor.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

from skmixed import MixedEffectsRegressor

SIMULATED = ["a", "b", "c", "d", "level"]


def truth(X):
    """Friedman's function, a little smaller, and a step in the feature of the group."""
    wave = 5.0 * np.sin(np.pi * X["a"] * X["b"])
    return wave + 10.0 * (X["c"] - 0.5) ** 2 + 3.0 * X["d"] + (X["level"] > 0.5)


def simulate(n_rows, n_groups, seed):
    """Return training rows, further rows of their groups and rows of new groups, with the truth."""
    rng = np.random.default_rng(seed)
    effects, levels = rng.normal(scale=1.5, size=2 * n_groups), rng.uniform(size=2 * n_groups)
    parts = {}
    for name, size, low in [("train", n_rows, 0), ("known", 20_000, 0), ("new", 20_000, n_groups)]:
        group = rng.integers(low, low + n_groups, size=size)
        X = pd.DataFrame(rng.uniform(size=(size, 4)), columns=SIMULATED[:4])
        X["level"] = levels[group]
        mean = truth(X).to_numpy() + (0.0 if name == "new" else effects[group])
        parts[name] = X.assign(group=group), mean, mean + rng.normal(size=size)
    return parts


def ratings(seed):
    """Return the same parts of the ratings; a fifth of the teachers are new."""
    table = pd.read_csv(Path(os.environ["SKMIXED_REFERENCE"]) / "data" / "InstEval.csv.gz")
    table = table.rename(columns={"d": "group"})
    y = table.pop("y").to_numpy(dtype=float)
    rng = np.random.default_rng(seed)
    teachers = rng.permutation(table["group"].unique())
    new = table["group"].isin(teachers[: len(teachers) // 5]).to_numpy()
    held_out = ~new & (rng.random(len(table)) < 0.2)
    rows = {"train": ~new & ~held_out, "known": held_out, "new": new}
    return {
        name: (table[chosen].reset_index(drop=True), y[chosen], y[chosen])
        for name, chosen in rows.items()
    }


def features_of(X):
    return X.drop(columns=["group", "s"], errors="ignore")


def forest(n_trees, **params):
    return RandomForestRegressor(n_trees, min_samples_leaf=5, n_jobs=2, random_state=0, **params)


def used(X):
    return features_of(X).assign(group=X["group"])


def ours(regressor, **params):
    def run(train, y, tests):
        model = MixedEffectsRegressor(regressor, "(1 | group)", **params).fit(used(train), y)
        return [model.predict(used(X)) for X in tests], {
            "iterations": model.n_iter_,
            "variance": model.random_covariance_["group"].iloc[0, 0],
        }

    return run


def without_groups(regressor):
    def run(train, y, tests):
        model = regressor.fit(features_of(train), y)
        return [model.predict(features_of(X)) for X in tests], {}

    return run


def by_merf(n_trees, iterations):
    def run(train, y, tests):
        import logging

        from merf import MERF

        logging.disable(logging.INFO)
        model = MERF(forest(n_trees), max_iterations=iterations)
        one = np.ones((len(train), 1))
        model.fit(features_of(train), one, train["group"], pd.Series(y))
        found = [model.predict(features_of(X), np.ones((len(X), 1)), X["group"]) for X in tests]
        return found, {"iterations": iterations, "variance": float(model.D_hat_history[-1][0, 0])}

    return run


def by_gpboost(train, y, tests):
    import gpboost as gpb

    effects = gpb.GPModel(group_data=train["group"].to_numpy(), likelihood="gaussian")
    data = gpb.Dataset(features_of(train), y)
    params = {
        "learning_rate": 0.1,
        "num_leaves": 31,
        "min_data_in_leaf": 20,
        "verbose": -1,
        "num_threads": 2,
    }
    model = gpb.train(params=params, train_set=data, gp_model=effects, num_boost_round=100)
    found = []
    for X in tests:
        prediction = model.predict(
            data=features_of(X), group_data_pred=X["group"].to_numpy(), pred_latent=False
        )
        found.append(prediction["response_mean"])
    variance = effects.get_cov_pars(format_pandas=False)
    return found, {"iterations": 100, "variance": float(np.ravel(variance)[1])}


def contestants(n_trees, iterations):
    boosting = HistGradientBoostingRegressor(random_state=0)
    yield "boosting, no groups", without_groups(boosting)
    yield "skmixed, boosting", ours(boosting)
    yield "skmixed, boosting, rows", ours(boosting, cross_fit="rows", random_state=0)
    yield "skmixed, boosting, none", ours(boosting, cross_fit="none")
    yield "skmixed, forest, oob", ours(forest(n_trees), cross_fit="oob")
    yield "skmixed, forest", ours(forest(n_trees))
    yield "gpboost", by_gpboost
    yield "merf", by_merf(n_trees, iterations)


def lines(parts, options):
    train, _, y = parts["train"]
    tests = [parts[name][0] for name in ("known", "new")]
    for name, run in contestants(options.trees, options.iterations):
        if options.only and name not in options.only:
            continue
        n_rows = len(y)
        start = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found, notes = run(train, y, tests)
        except ImportError as error:
            yield f"| {n_rows:,} | {name} | {error.name} is not installed | | | | |"
            continue
        spent = time.process_time() - start
        errors = [
            float(np.sqrt(np.mean((prediction - parts[part][1]) ** 2)))
            for prediction, part in zip(found, ("known", "new"), strict=True)
        ]
        variance = notes.get("variance")
        shown = "" if variance is None else f"{variance:.2f}"
        yield (
            f"| {n_rows:,} | {name} | {errors[0]:.3f} | {errors[1]:.3f} | {shown} | "
            f"{notes.get('iterations', '')} | {spent:.1f} |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000, 100_000])
    parser.add_argument("--groups", type=int, default=500)
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--iterations", type=int, default=20, help="of merf")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--real", action="store_true", help="ratings instead of simulated rows")
    options = parser.parse_args()
    variance = "variance" if options.real else "variance (2.25)"
    print(f"| rows | model | error, known groups | new groups | {variance} | iterations | CPU s |")
    print("|---|---|---|---|---|---|---|")
    tasks = [options.seed] if options.real else options.rows
    for task in tasks:
        parts = ratings(task) if options.real else simulate(task, options.groups, options.seed)
        for line in lines(parts, options):
            print(line, flush=True)


if __name__ == "__main__":
    main()
