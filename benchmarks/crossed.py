"""A massive crossed design, like MovieLens 25M: time and peak memory of solver="iterative".

25 million ratings of 59,000 items by 160,000 users, whose counts follow power laws, no pair twice.
The rows are simulated into parquet files, a chunk of users at a time (in MovieLens, too, rows come
by user), and streamed through `skmixed.distributed.fit`. The fit is a process of its own.

Usage: python benchmarks/crossed.py [--rows 2.5e7] [--users 160000] [--items 59000] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

CHUNKS = 25
SDS = {"user": 0.45, "item": 0.5, "residual": 0.85}
FEWEST = 20


def simulate(folder, rows, users, items):
    """Write about as many rows as wanted, a file at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    popularity = (np.arange(items) + items / 200) ** -2.05
    cumulated = np.cumsum(popularity) / popularity.sum()
    activity = FEWEST + rng.pareto(1.4, users) * 60.0
    activity = np.minimum(activity, items / 8)
    activity *= rows / activity.sum()
    effects = {
        name: SDS[name] * rng.standard_normal(n) for name, n in (("user", users), ("item", items))
    }
    for number, chunk in enumerate(np.array_split(rng.permutation(users), CHUNKS)):
        wanted = int(activity[chunk].sum())
        found = np.empty(0, dtype=np.int64)
        while len(found) < wanted:
            n = rng.poisson(activity[chunk] * 1.1 * (wanted - len(found)) / wanted) + 1
            user = np.repeat(chunk, n).astype(np.int64)
            item = np.searchsorted(cumulated, rng.random(len(user)))
            found = np.union1d(found, user * items + np.minimum(item, items - 1))
        found = np.sort(rng.permutation(found)[:wanted])
        user, item = np.divmod(found, items)
        rating = 3.5 + effects["user"][user] + effects["item"][item]
        rating += SDS["residual"] * rng.standard_normal(wanted)
        columns = {"user": user.astype(np.int32), "item": item.astype(np.int32), "rating": rating}
        pq.write_table(pa.table(columns), folder / f"part-{number:05d}.parquet")


def run(folder, solver, n_jobs):
    """Fit, and print what it took."""
    from skmixed import MixedLinearRegressor, distributed
    from skmixed.core.fit import Fit

    marks = {}
    search = Fit.of.__func__

    def now():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        return time.perf_counter(), time.process_time(), peak

    def timed(cls, *arguments, **options):
        marks["summed"] = now()
        fit = search(cls, *arguments, **options)
        marks["searched"] = now()
        return fit

    Fit.of = classmethod(timed)
    model = MixedLinearRegressor("(1 | user) + (1 | item)", solver=solver, n_jobs=n_jobs)
    marks["start"] = now()
    files = sorted(map(str, folder.glob("*.parquet")))
    distributed.fit(model, files, target="rating", features=["user", "item"])
    marks["end"] = now()
    order = ["start", "summed", "searched", "end"]
    stages = {}
    for before, after in pairwise(order):
        wall, busy = (marks[after][n] - marks[before][n] for n in (0, 1))
        stages[after] = {"seconds": wall, "of processors": busy, "peak GB": marks[after][2]}
    fit = model.fit_
    print(
        json.dumps(
            {
                "rows": fit.products.n_rows,
                "levels": model.n_groups_,
                "pairs": [len(pair.rows) for pair in fit.products.pairs.values()],
                "stages": stages,
                "evaluations": fit.report.n_evaluations,
                "summary": str(model.summary(4)),
            }
        )
    )


def main():
    """Simulate, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=float, default=2.5e7)
    parser.add_argument("--users", type=float, default=1.6e5)
    parser.add_argument("--items", type=float, default=5.9e4)
    parser.add_argument("--solver", default="auto")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run(arguments.folder, arguments.solver, arguments.jobs)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "rows"
        if not folder.exists():
            simulate(folder, *(int(n) for n in (arguments.rows, arguments.users, arguments.items)))
        command = [sys.executable, __file__, "--one", "--folder", str(folder)]
        command += ["--solver", arguments.solver, "--jobs", str(arguments.jobs)]
        done = json.loads(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
        )
        print(f"{done['rows']:.3g} rows, {done['levels']}, pairs {done['pairs']}\n")
        print("| stage | s passed | s of processors | peak memory so far, GB |")
        print("|---|---|---|---|")
        for name, took in done["stages"].items():
            print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in took.values()) + " |")
        print(f"\n{done['evaluations']} evaluations\n\n{done['summary']}")


if __name__ == "__main__":
    main()
