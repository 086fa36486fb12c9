"""Fits to more rows than one wants in memory: time and peak memory, beside a plain group-by.

Simulates parquet files, streams them through `skmixed.distributed.fit`, and lets polars and DuckDB
compute the sums of the same products from the same files by a group-by. Every measurement is a
process of its own.

Usage: python benchmarks/scaling.py [--rows 2e7] [--levels 1e6] [--folder DIR] [--cases ...]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FEATURES = ["x1", "x2", "x3"]
FILE_ROWS = 2_000_000
ITEMS = 200
CASES = {
    "one factor": {"random": "(x1 | user)", "columns": ["user"]},
    "crossed": {"random": "(1 | user) + (1 | item)", "columns": ["user", "item"]},
}


def simulate(folder, rows, users):
    """Write the rows, a file at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    intercepts, slopes = rng.standard_normal((2, users)) * [[1.0], [0.5]]
    of_items = rng.standard_normal(ITEMS)
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, rows, FILE_ROWS)):
        n = min(FILE_ROWS, rows - start)
        user, item = rng.integers(0, users, n), rng.integers(0, ITEMS, n)
        X = rng.standard_normal((n, len(FEATURES)))
        y = X.sum(axis=1) + intercepts[user] + slopes[user] * X[:, 0] + of_items[item]
        y += rng.standard_normal(n)
        table = {"user": user, "item": item, **dict(zip(FEATURES, X.T, strict=True)), "y": y}
        pq.write_table(pa.table(table), folder / f"part-{number:05d}.parquet")


def sums_of(case):
    """Return for every group-by its keys and the products to sum: Z'W[1, X, y]."""
    columns = [*FEATURES, "y"]
    products = [(column, None) for column in columns]
    if case == "one factor":
        products += [("x1", column) for column in columns]
        return [(["user"], products)]
    return [(["user"], products), (["item"], products)]


def by_skmixed(folder, case, n_jobs=1):
    """Return rows, seconds of the sums and of the search, and the criterion."""
    from skmixed import MixedLinearRegressor, distributed
    from skmixed.core.fit import Fit

    seconds = {}
    search = Fit.of.__func__

    def timed(cls, *arguments, **options):
        seconds["processor"] = time.process_time() - busy
        seconds["sums"] = time.perf_counter() - start
        fit = search(cls, *arguments, **options)
        seconds["search"] = time.perf_counter() - start - seconds["sums"]
        return fit

    Fit.of = classmethod(timed)
    model = MixedLinearRegressor(CASES[case]["random"], n_jobs=n_jobs)
    start, busy = time.perf_counter(), time.process_time()
    files = sorted(map(str, folder.glob("*.parquet")))
    features = FEATURES + CASES[case]["columns"]
    distributed.fit(model, files, target="y", features=features)
    products = model.fit_.products
    return {
        **seconds,
        "pairs": {str(key): len(pair.rows) for key, pair in products.pairs.items()},
        "criterion": model.criterion_,
    }


def by_polars(folder, case, pairs=False):
    """Compute the same sums by polars' streaming engine."""
    import polars as pl

    frame = pl.scan_parquet(folder / "*.parquet")
    start, busy = time.perf_counter(), time.process_time()
    for keys, products in [(["user", "item"], [])] if pairs else sums_of(case):
        sums = [pl.len().alias("count")]
        for a, b in products:
            product = pl.col(a) if b is None else pl.col(a) * pl.col(b)
            sums.append(product.sum().alias(f"{a}.{b}"))
        frame.group_by(keys).agg(sums).collect(engine="streaming")
    return {"sums": time.perf_counter() - start, "processor": time.process_time() - busy}


def by_duckdb(folder, case, pairs=False):
    """Compute the same sums by DuckDB."""
    import duckdb

    start, busy = time.perf_counter(), time.process_time()
    for keys, products in [(["user", "item"], [])] if pairs else sums_of(case):
        sums = [f"sum({a})" if b is None else f"sum({a} * {b})" for a, b in products]
        columns = ", ".join([*keys, "count(*)", *sums])
        query = f"select {columns} from '{folder}/*.parquet' group by {', '.join(keys)}"
        duckdb.sql(query).to_arrow_table()
    return {"sums": time.perf_counter() - start, "processor": time.process_time() - busy}


METHODS = {
    "skmixed": by_skmixed,
    "skmixed, n_jobs=2": lambda folder, case: by_skmixed(folder, case, n_jobs=2),
    "polars": by_polars,
    "duckdb": by_duckdb,
    "polars, pairs": lambda folder, case: by_polars(folder, case, pairs=True),
    "duckdb, pairs": lambda folder, case: by_duckdb(folder, case, pairs=True),
}


def measured(method, folder, case):
    """Run one method in a process of its own."""
    command = [sys.executable, __file__, "--one", method, case, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def run_one(method, case, folder):
    """Print what one method took, with its peak memory beyond that of the imports."""
    result = METHODS[method](folder, case)
    result["peak GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps(result))


def print_table(folder, rows, users, cases):
    """Measure every method on some cases."""
    size = sum(path.stat().st_size for path in folder.glob("*.parquet")) / 1e9
    print(f"\n{rows:.0e} rows, {users:.0e} users, {ITEMS} items, {size:.2f} GB of parquet\n")
    print("| case | method | sums, s | of processors, s | search, s | peak memory, GB | pairs |")
    print("|---|---|---|---|---|---|---|")
    for case in cases:
        for method in METHODS:
            if "pairs" in method and case != "crossed":
                continue
            r = measured(method, folder, case)
            search = f"{r['search']:.1f}" if "search" in r else ""
            pairs = ", ".join(str(n) for n in r.get("pairs", {}).values())
            cells = [case, method, f"{r['sums']:.1f}", f"{r['processor']:.1f}", search]
            print("| " + " | ".join([*cells, f"{r['peak GB']:.2f}", pairs]) + " |", flush=True)


def main():
    """Simulate, measure, print tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=float, default=2e7)
    parser.add_argument("--levels", type=float, default=1e6)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run_one(*arguments.one, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "rows"
        rows, users = int(arguments.rows), int(arguments.levels)
        if not folder.exists():
            simulate(folder, rows, users)
        print_table(folder, rows, users, arguments.cases)


if __name__ == "__main__":
    main()
