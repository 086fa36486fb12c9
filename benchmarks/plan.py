"""What a plan of rows saves, what its users take, and what a fit from files takes beyond reading.

Usage: python benchmarks/plan.py [refills] [users] [files] [--rows 8e6] [--folder DIR]

All times are of the processor, one thread, medians. `refills` sums the same rows from scratch and
by a plan in turn, and takes the median ratio of nine pairs; the sums are compared. `users` times
functions that sum the same rows more than once. `files` simulates parquet files of two million rows
and splits a fit to them into stages; reading is that of the files alone, in record batches.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scaling import CASES, FEATURES, simulate
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from timing import seconds

from skmixed import BLUPEncoder, MixedEffectsRegressor, MixedLinearRegressor
from skmixed.core.fit import Fit
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from skmixed.core.sums.plan import Plan
from skmixed.core.sums.summed_rows import SummedRows
from skmixed.design.column_collection import empty_columns
from skmixed.inference import bootstrap
from skmixed.model_selection import cross_validate

N_ROWS, N_LEVELS = 500_000, (30_000, 2_000)
FILE_LEVELS = 100_000
PAIRS = 9
USED = "(1 | g) + (1 | h)"


def median_ratio(first, second, pairs=PAIRS):
    """Return median times of two calls, and the median ratio of calls one after the other."""
    times = [
        [seconds(call, 1, time.process_time)[0][0] for call in (first, second)]
        for _ in range(pairs)
    ]
    one, other = (statistics.median(of_call) for of_call in zip(*times, strict=True))
    return one, other, statistics.median(a / b for a, b in times)


def crossed_rows(weighted, slopes):
    """Return a layout with two crossed factors, and rows of it."""
    rng = np.random.default_rng(1)
    columns = empty_columns(N_ROWS, 3)
    columns[:, 0], columns[:, 1:] = 1.0, rng.normal(size=(N_ROWS, 2))
    codes = tuple(rng.integers(0, size, N_ROWS) for size in N_LEVELS)
    indexes = tuple(
        GroupIndex((name,), (np.arange(size),)) for name, size in zip("gh", N_LEVELS, strict=True)
    )
    weights = rng.uniform(0.1, 1.1, N_ROWS) if weighted else None
    factors = (FactorLayout(("g",), (0, 1) if slopes else (0,)), FactorLayout(("h",), (0,)))
    return Layout(("one", "x", "y"), factors), Rows(columns, codes, indexes, weights)


def compare_sums(ours, theirs):
    """Check that two sums over the same rows are the same to 1e-12 of their size."""
    for mine, other in (
        (ours.gram, theirs.gram),
        *((a.products, b.products) for a, b in zip(ours.factors, theirs.factors, strict=True)),
        *((ours.pairs[key].products, theirs.pairs[key].products) for key in ours.pairs),
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-12 * np.abs(other).max())


def refills():
    """Print what sums take from scratch and by a plan: of all rows, and of the rows of folds."""
    print(f"{N_ROWS:,} rows, {N_LEVELS[0]:,} x {N_LEVELS[1]:,} crossed levels, ms\n")
    print("| sums | from scratch | by a plan | ratio | bytes of the plan, a row |")
    print("|---|---|---|---|---|")
    for weighted in (False, True):
        for slopes in (False, True):
            layout, rows = crossed_rows(weighted, slopes)
            plan = Plan.of(layout, rows)

            def refilled(plan=plan, rows=rows):
                return CrossProducts.filled(plan, rows.columns, rows.weights)

            def summed(layout=layout, rows=rows):
                return CrossProducts.of(layout, rows)

            compare_sums(refilled(), summed())
            kind = f"{'weighted' if weighted else 'not weighted'}{', a slope' if slopes else ''}"
            scratch, refill, ratio = median_ratio(summed, refilled)
            print(
                f"| {kind} | {1e3 * scratch:.1f} | {1e3 * refill:.1f} | {ratio:.1f} "
                f"| {plan.n_bytes / N_ROWS:.0f} |",
                flush=True,
            )
    layout, rows = crossed_rows(weighted=False, slopes=False)
    test = np.flatnonzero(np.random.default_rng(0).random(N_ROWS) < 0.1)
    train = np.setdiff1d(np.arange(N_ROWS), test)
    kept = SummedRows.of(layout, rows)
    scratch, refill, ratio = median_ratio(
        lambda: CrossProducts.of(layout, rows.take(train)), lambda: kept.without(test)
    )
    print(
        f"| training rows, a tenth left out | {1e3 * scratch:.1f} | {1e3 * refill:.1f} "
        f"| {ratio:.1f} | |"
    )


def used_table(n_rows, n_first, n_second, nested=False):
    """Return a table with two factors, and a response."""
    rng = np.random.default_rng(0)
    g = rng.integers(n_first, size=n_rows)
    h = g % n_second if nested else rng.integers(n_second, size=n_rows)
    x = rng.normal(size=(n_rows, 2))
    y = x.sum(axis=1) + rng.normal(size=n_first)[g] + rng.normal(size=n_second)[h]
    return pd.DataFrame(x, columns=["a", "b"]).assign(g=g, h=h), y + rng.normal(size=n_rows)


def users(repeats=5):
    """Print what functions take that sum the same rows, or parts of them, more than once."""
    X, y = used_table(200_000, 5_000, 200)
    few, response = used_table(20_000, 1_000, 60)
    nested, of_nested = used_table(100_000, 5_000, 250, nested=True)
    cv = KFold(5, shuffle=True, random_state=0)
    one = MixedLinearRegressor(USED).fit(X, y)
    small = MixedLinearRegressor(USED).fit(few, response)
    chain = MixedLinearRegressor(USED).fit(nested, of_nested)
    classes = np.digitize(y, np.quantile(y, [0.25, 0.5, 0.75]))
    encoder = BLUPEncoder(joint=True, random_state=0)
    calls = {
        "cross_validate, 5 folds": lambda: cross_validate(MixedLinearRegressor(USED), X, y, cv=cv),
        "BLUPEncoder, joint": lambda: encoder.fit_transform(X[["g", "h"]], y),
        "the same, four classes": lambda: encoder.fit_transform(X[["g", "h"]], classes),
        "loo_predict": lambda: one.loo_predict(X, y),
        "the same, 60 levels": lambda: small.loo_predict(few, response, leave_out="h"),
        "MixedEffectsRegressor, 8 steps": lambda: MixedEffectsRegressor(
            Ridge(), random=USED, max_iter=8, tol=1e-12
        ).fit(X, y),
        "residual bootstrap, 20 samples": lambda: bootstrap(
            small, 20, kind="residual", X=few, y=response, random_state=0
        ),
        "cases bootstrap of a chain, 20 samples": lambda: bootstrap(
            chain, 20, kind="cases", X=nested, y=of_nested, random_state=0
        ),
    }
    print("| crossed factors | CPU s |\n|---|---|")
    for name, call in calls.items():
        times, _ = seconds(call, repeats, time.process_time)
        print(f"| {name} | {statistics.median(times):.3f} |", flush=True)


class Stages:
    """The time of the main thread in each stage of a fit, from outside."""

    def __init__(self):
        self.spent = dict.fromkeys(("sums", "merge", "search"), 0.0)
        for owner, name, stage in (
            (CrossProducts, "of", "sums"),
            (CrossProducts, "merged", "merge"),
            (Fit, "of", "search"),
        ):
            setattr(owner, name, classmethod(self.timed(getattr(owner, name).__func__, stage)))

    def timed(self, function, stage):
        def call(*arguments, **options):
            start = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                self.spent[stage] += time.thread_time() - start

        return call


def files(rows, folder, repeats=7):
    """Print what a fit from files takes, stage by stage, beside reading the files."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    from skmixed import distributed
    from skmixed.distributed._files import BLOCK_ROWS

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    simulate(folder, rows, FILE_LEVELS)
    paths = sorted(map(str, folder.glob("*.parquet")))
    stages = Stages()

    def read(columns):
        for path in paths:
            for _ in ds.dataset(path).scanner(columns=columns, batch_size=BLOCK_ROWS).to_batches():
                pass

    print(f"{rows:,} rows, {FILE_LEVELS:,} levels; of the sums, those over rows; s\n")
    print("| model | reading alone | until the search | of it sums | merging | ratio | search |")
    print("|---|---|---|---|---|---|---|")
    for settings in CASES.values():
        features = [*FEATURES, *settings["columns"]]
        found = []
        for _ in range(repeats):
            reading = seconds(lambda: read([*features, "y"]), 1, time.process_time)[0][0]  # noqa: B023
            stages.spent = dict.fromkeys(stages.spent, 0.0)
            whole = seconds(
                lambda: distributed.fit(
                    MixedLinearRegressor(settings["random"]),  # noqa: B023
                    paths,
                    target="y",
                    features=features,  # noqa: B023
                ),
                1,
                time.process_time,
            )[0][0]
            spent = dict(stages.spent)
            before = whole - spent["search"]
            found.append(
                [reading, before, spent["sums"], spent["merge"], before / reading, spent["search"]]
            )
        cells = [f"{statistics.median(of_run):.2f}" for of_run in zip(*found, strict=True)]
        print(
            "| " + " | ".join([settings["random"].replace("|", "\\|"), *cells]) + " |", flush=True
        )


def main():
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tables", nargs="*", choices=["refills", "users", "files", []], default=[])
    parser.add_argument("--rows", type=float, default=8e6)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    wanted = options.tables or ["refills", "users", "files"]
    if "refills" in wanted:
        refills()
    if "users" in wanted:
        print()
        users()
    if "files" in wanted:
        print()
        with tempfile.TemporaryDirectory() as temporary:
            files(int(options.rows), options.folder or Path(temporary) / "rows")


if __name__ == "__main__":
    main()
